//! One SMTP session and the transaction in it, as both protocols see them.

use super::Active;
use super::Line;
use super::outbox::Outbox;
use super::refusals::Counted;
use crate::decision::Ruling;
use crate::engine::Recall;
use crate::engine::usual_direction;
use crate::facts::Fact;
use crate::facts::Facts;
use crate::facts::Stage;
use crate::reply::PolicyAction;
use foldhash::fast::RandomState;
use smallvec::SmallVec;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::Weak;

/// Answers kept of one transaction, for requests that are made again. Postfix
/// takes 1,000 recipients a transaction (smtpd_recipient_limit).
const MAX_ANSWERS: usize = 5_000;

/// Recipients kept of one transaction.
const MAX_RECIPIENTS: usize = 50_000;

#[derive(Debug, Default)]
pub(super) struct Session {
    /// Of the policy whose tags are in `recall`.
    pub generation: u64,
    pub recall: Recall,
    /// The last that delegation said of the connection.
    pub connection: Option<Arc<Facts>>,
    /// The milter's view, while there is one.
    pub milter: Option<Box<Facts>>,
    /// The smtpd process as `instance` names it. A unix socket's peer may be the
    /// same process under another number, in another namespace.
    pub pid: Option<u32>,
    pub transaction: Option<Transaction>,
    /// Whether there ever was one: a milter that comes later is another's.
    pub had_transaction: bool,
    /// Forgotten before its time: what became of its mail nobody knows.
    pub is_cut: bool,
}

impl Session {
    /// Forgets what was found out about the connection when it is no longer the
    /// same: another HELO, or XCLIENT.
    pub(super) fn hear(&mut self, facts: &Facts) {
        let before = self.connection.as_deref().or(self.milter.as_deref());
        if before.is_some_and(|before| !before.same_connection(facts)) {
            self.recall.connection = Default::default();
        }
    }
}

/// Most mails have one.
pub(super) type Recipients = SmallVec<[String; 1]>;

/// One MAIL and all that follows.
#[derive(Debug)]
pub(super) struct Transaction {
    pub id: String,
    /// Pinned: a reload changes nothing for what has begun.
    pub active: Arc<Active>,
    pub instance: Option<String>,
    /// Who has seen it.
    pub by_policy: bool,
    pub by_milter: bool,
    /// As the last policy request had them.
    pub facts: Option<Arc<Facts>>,
    answers: SmallVec<[Answer; 1]>,
    /// Of requests; random, since clients choose what is in them.
    hasher: RandomState,
    /// Accepted by us, in the order of `recall.recipients`.
    pub recipients: Recipients,
    /// Refused, by whomever.
    pub refused: Vec<String>,
    /// Of these, what limits have counted.
    pub counted: Counted,
    /// The client went on to DATA, or Postfix told us nothing more of it.
    pub had_data: bool,
    pub outbox: Outbox,
    /// Of a recipient or the message, the first that is not plain.
    pub ruling: Option<Ruling>,
    pub would: Option<Ruling>,
    pub size: Option<u64>,
    /// What was found in the message.
    pub found: Vec<&'static str>,
    /// What was changed in the parts of the message.
    pub changed: String,
    /// Its line has been written.
    pub is_told: bool,
}

/// An answer to a policy request. What it was about is kept as a hash: a wrong
/// match, in 2^64, repeats an answer.
#[derive(Clone, Debug)]
struct Answer {
    subject: u64,
    context: u64,
    /// The connection on which it was given, while it is open: Postfix asks again
    /// only when it has given that one up.
    connection: Weak<Line>,
    action: PolicyAction,
}

/// What is known about a request that was heard before.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Before {
    /// The very same, on another connection: Postfix asks again.
    Again(PolicyAction),
    /// Another restriction list asks about the same; this was the first answer.
    Elsewhere(PolicyAction),
}

impl Transaction {
    pub(super) fn new(id: String, active: Arc<Active>) -> Self {
        Self {
            id,
            active,
            instance: None,
            by_policy: false,
            by_milter: false,
            facts: None,
            answers: SmallVec::new(),
            hasher: RandomState::default(),
            recipients: Recipients::new(),
            refused: Vec::new(),
            counted: Counted::default(),
            had_data: false,
            outbox: Outbox::default(),
            ruling: None,
            would: None,
            size: None,
            found: Vec::new(),
            changed: String::new(),
            is_told: false,
        }
    }

    pub(super) fn before(&self, stage: Stage, facts: &Facts) -> Option<Before> {
        if self.answers.is_empty() {
            return None;
        }
        let (subject, context) = self.hashes(stage, facts);
        let mut same = self.answers.iter().filter(|given| given.subject == subject);
        let first = same.clone().next()?;
        // A repeated request comes when the old connection has timed out or broken.
        let again = same.find(|given| given.context == context && given.connection.strong_count() == 0);
        Some(match again {
            Some(given) => Before::Again(given.action.clone()),
            None => Before::Elsewhere(first.action.clone()),
        })
    }

    pub(super) fn keep(
        &mut self,
        stage: Stage,
        facts: &Facts,
        connection: &Arc<Line>,
        action: &PolicyAction,
    ) {
        if self.answers.len() < MAX_ANSWERS {
            let (subject, context) = self.hashes(stage, facts);
            let connection = Arc::downgrade(connection);
            self.answers.push(Answer { subject, context, connection, action: action.clone() });
        }
    }

    fn hashes(&self, stage: Stage, facts: &Facts) -> (u64, u64) {
        // Behind RCPT a request is about the whole message.
        let recipient = facts.text(Fact::Recipient).filter(|_| stage == Stage::Rcpt);
        let subject = (stage, recipient);
        (self.hasher.hash_one(subject), self.hasher.hash_one(facts.text(Fact::PolicyContext)))
    }

    pub(super) fn hash_of(&self, recipient: &str) -> u64 {
        self.hasher.hash_one(recipient)
    }

    /// What both sides know of it: as delegation asked, else as the milter has it, at the
    /// listener where delegation last asked about the connection.
    pub(super) fn seen(&self, milter: Option<&Facts>, connection: Option<&Facts>) -> Facts {
        let mut facts = self.facts.as_deref().cloned().unwrap_or_default();
        if let Some(listener) = connection.and_then(|connection| connection.text(Fact::Listener)) {
            facts.set(Fact::Listener, listener);
        }
        if let Some(milter) = milter {
            facts.complete_from(milter);
        }
        if !facts.is_known(Fact::Direction) {
            facts.set_direction(usual_direction(&facts, &self.active.policy.lists));
        }
        facts
    }

    pub(super) fn accept(&mut self, recipient: &str) -> bool {
        let room = self.recipients.len() < MAX_RECIPIENTS;
        if room {
            self.recipients.push(recipient.to_owned());
        }
        room
    }

    pub(super) fn refuse(&mut self, recipient: &str) {
        if self.refused.len() < MAX_RECIPIENTS && !self.refused.iter().any(|known| known == recipient) {
            self.refused.push(recipient.to_owned());
        }
    }

    /// The gravest ruling is the one that is told; the first of equals.
    pub(super) fn note(&mut self, ruling: Option<Ruling>, would: Option<Ruling>) {
        if let Some(ruling) = ruling.filter(|ruling| !ruling.is_plain()) {
            self.ruling.get_or_insert(ruling);
        }
        if let Some(would) = would.filter(|would| !would.is_plain()) {
            self.would.get_or_insert(would);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Reply;

    fn facts(recipient: &str, context: &str) -> Facts {
        let mut facts = Facts::default();
        facts.set(Fact::Recipient, recipient);
        facts.set(Fact::PolicyContext, context);
        facts
    }

    #[test]
    fn a_request_made_again_is_told_from_another_list() {
        let mut transaction = Transaction::new("x".into(), Arc::default());
        let refusal = PolicyAction::Reject(Reply::new(550, [5, 7, 1], "no"));
        let asked = facts("a@x.test", "rcpt");
        let connection = Arc::default();
        assert_eq!(transaction.before(Stage::Rcpt, &asked), None);
        transaction.keep(Stage::Rcpt, &asked, &connection, &refusal);
        let elsewhere = Some(Before::Elsewhere(refusal.clone()));
        // While the first connection is open nobody waits for its answer any more.
        assert_eq!(transaction.before(Stage::Rcpt, &asked), elsewhere);
        drop(connection);
        for (recipient, context, expected) in [
            ("a@x.test", "rcpt", Some(Before::Again(refusal.clone()))),
            ("a@x.test", "client", elsewhere),
            ("b@x.test", "rcpt", None),
        ] {
            assert_eq!(transaction.before(Stage::Rcpt, &facts(recipient, context)), expected);
        }
        assert_eq!(transaction.before(Stage::Data, &asked), None);
    }
}
