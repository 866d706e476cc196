//! What limits count when it happens: recipients that were refused, by whomever, users
//! that don't exist, transactions given up before DATA.
//!
//! Both protocols tell of it, and more than once: of a transaction each recipient counts
//! once. Which it was is kept as a hash, bounded by [`MAX_COUNTED`].

use super::Desk;
use super::session::Session;
use super::session::Transaction;
use crate::checks::Count;
use crate::engine::Decided;
use crate::engine::Event;
use crate::engine::Happened;
use crate::engine::Recall;
use crate::engine::count_event;
use crate::facts::Fact;
use crate::facts::Facts;
use crate::facts::Stage;
use crate::reply::is_of_unknown_user;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Refused recipients of one transaction that are counted. Postfix hangs up after 20
/// errors (smtpd_hard_error_limit).
const MAX_COUNTED: usize = 5_000;

/// Ports of ours of which it is remembered that DATA is asked there; a site has a few.
const MAX_PORTS: usize = 256;

/// What was counted of each recipient of a transaction, in which world.
#[derive(Debug, Default)]
pub(super) struct Counted {
    recipients: HashMap<u64, u8>,
    /// Refused behind us, of whom only the number is known.
    missing: usize,
}

impl Counted {
    /// Whether it is the first of its kind of this recipient, in each world.
    fn is_new(&mut self, recipient: u64, count: Count, happened: [Happened; 2]) -> [Happened; 2] {
        if self.recipients.len() >= MAX_COUNTED && !self.recipients.contains_key(&recipient) {
            return [Happened::No; 2];
        }
        let known = self.recipients.entry(recipient).or_default();
        let shift = if count == Count::UnknownUsers { 2 } else { 0 };
        let mut world = 0;
        happened.map(|happened| {
            let bit = 1_u8 << (shift + world);
            world += 1;
            if happened == Happened::No || *known & bit != 0 {
                return Happened::No;
            }
            *known |= bit;
            happened
        })
    }
}

/// Where DATA has been asked: by listener and port of ours. Elsewhere a mail without a
/// milter looks as if its client had given it up.
#[derive(Debug, Default)]
pub(super) struct DataPorts(Mutex<Vec<(Arc<str>, Option<u64>)>>);

impl DataPorts {
    pub(super) fn note(&self, listener: &Arc<str>, facts: &Facts) {
        let port = facts.number(Fact::ServerPort);
        let mut known = self.0.lock();
        let is_new = !known.iter().any(|(name, at)| name == listener && *at == port);
        if is_new && known.len() < MAX_PORTS {
            known.push((Arc::clone(listener), port));
        }
    }

    fn know(&self, facts: &Facts) -> bool {
        let (listener, port) = (facts.text(Fact::Listener), facts.number(Fact::ServerPort));
        self.0.lock().iter().any(|(name, at)| Some(&**name) == listener && *at == port)
    }
}

/// How Postfix refused a recipient: its enhanced code and its words.
#[derive(Clone, Debug, Default)]
pub(super) struct Rejection {
    pub enhanced: String,
    pub text: String,
}

impl Desk {
    /// A recipient that a rule of ours refused, or would have.
    pub(super) async fn count_own_refusal(
        &self,
        facts: &Facts,
        decided: &Decided,
        transaction: &mut Transaction,
        recall: &Recall,
    ) {
        self.count_refusals(facts, &decided.refusals(), transaction, recall).await;
    }

    /// A recipient that Postfix refused, for whatever reason, or that we did, which it
    /// tells the milter as well.
    pub(super) async fn count_rejection(&self, recipient: &str, why: &Rejection, session: &mut Session) {
        let Session { recall, transaction: Some(transaction), milter, connection, .. } = session else {
            return;
        };
        if transaction.active.policy.events.is_empty() {
            return;
        }
        let mut facts = transaction.seen(milter.as_deref(), connection.as_deref());
        self.set_moment(&mut facts);
        facts.recipients.clear();
        facts.set(Fact::Recipient, recipient);
        let mut refusals = vec![(Count::Refused, [Happened::ByOthers; 2])];
        if is_of_unknown_user(&why.enhanced, &why.text) {
            refusals.push((Count::UnknownUsers, [Happened::ByOthers; 2]));
        }
        self.count_refusals(&facts, &refusals, transaction, recall).await;
    }

    async fn count_refusals(
        &self,
        facts: &Facts,
        refusals: &[(Count, [Happened; 2])],
        transaction: &mut Transaction,
        recall: &Recall,
    ) {
        let recipient = transaction.hash_of(facts.text(Fact::Recipient).unwrap_or_default());
        for (count, happened) in refusals {
            let happened = transaction.counted.is_new(recipient, *count, *happened);
            let policy = &transaction.active.policy;
            let event = Event {
                policy,
                facts,
                stage: Stage::Rcpt,
                count: *count,
                n: 1,
                happened,
                only: None,
                given: &[],
            };
            count_event(&event, recall, self.store()).await;
        }
    }

    /// Fewer recipients were accepted than we let through, and no milter says which.
    pub(super) async fn count_missing(
        &self,
        facts: &Facts,
        accepted: usize,
        transaction: &mut Transaction,
        recall: &Recall,
    ) {
        let missing = transaction.recipients.len().saturating_sub(accepted);
        let more = missing.saturating_sub(transaction.counted.missing);
        if transaction.by_milter || more == 0 {
            return;
        }
        transaction.counted.missing = missing;
        let policy = &transaction.active.policy;
        let (count, n, happened) = (Count::Refused, more as u64, [Happened::ByOthers; 2]);
        let event = Event { policy, facts, stage: Stage::Data, count, n, happened, only: None, given: &[] };
        count_event(&event, recall, self.store()).await;
    }

    /// A transaction is over. If it came to recipients but not to DATA, its client has given
    /// it up.
    pub(super) async fn count_probe(&self, session: &Session) {
        let Session { recall, transaction: Some(transaction), milter, connection, is_cut, .. } = session
        else {
            return;
        };
        let asks = !transaction.active.policy.events.is_empty();
        if !asks || transaction.had_data || transaction.recipients.is_empty() {
            return;
        }
        // The milter hears of every end but ours; else the session may just have been forgotten.
        let is_known = || transaction.facts.as_ref().is_some_and(|facts| self.data_ports.know(facts));
        if *is_cut || !transaction.by_milter && !is_known() {
            return;
        }
        let mut facts = transaction.seen(milter.as_deref(), connection.as_deref());
        self.set_moment(&mut facts);
        facts.unset(Fact::Recipient);
        facts.recipients = transaction.recipients.to_vec();
        let policy = &transaction.active.policy;
        let (count, happened) = (Count::Probes, [Happened::ByOthers; 2]);
        let event = Event {
            policy,
            facts: &facts,
            stage: Stage::Data,
            count,
            n: 1,
            happened,
            only: None,
            given: &[],
        };
        count_event(&event, recall, self.store()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_counts_once_a_recipient_in_each_world() {
        use Happened::ByOthers;
        use Happened::ByRule;
        use Happened::No;
        let mut counted = Counted::default();
        for (recipient, count, happened, expected) in [
            (1, Count::Refused, [No, ByRule(3)], [No, ByRule(3)]),
            (1, Count::Refused, [ByOthers; 2], [ByOthers, No]),
            (1, Count::Refused, [ByOthers; 2], [No; 2]),
            (1, Count::UnknownUsers, [ByOthers; 2], [ByOthers; 2]),
            (1, Count::UnknownUsers, [ByOthers; 2], [No; 2]),
            (2, Count::Refused, [ByOthers; 2], [ByOthers; 2]),
        ] {
            assert_eq!(counted.is_new(recipient, count, happened), expected, "{recipient} {count:?}");
        }
        for recipient in 3..MAX_COUNTED as u64 * 2 {
            counted.is_new(recipient, Count::Refused, [ByOthers; 2]);
        }
        assert_eq!(counted.recipients.len(), MAX_COUNTED);
    }

    #[test]
    fn ports_where_data_is_asked_are_few() {
        let ports = DataPorts::default();
        let facts = |listener: &str, port: &str| {
            let mut facts = Facts::default();
            facts.set(Fact::Listener, listener);
            facts.set(Fact::ServerPort, port);
            facts
        };
        ports.note(&"a".into(), &facts("a", "25"));
        assert!(ports.know(&facts("a", "25")));
        assert!(!ports.know(&facts("a", "587")) && !ports.know(&facts("b", "25")));
        for port in 0..1_000 {
            ports.note(&"a".into(), &facts("a", &port.to_string()));
        }
        assert_eq!(ports.0.lock().len(), MAX_PORTS);
    }
}
