//! Policy requests: one recipient, or one step of the session, at a time.
//!
//! A request may be made again after a timeout, by several restriction lists, for
//! a recipient that was refused before; it is decided and charged once.

use super::Asked;
use super::Desk;
use super::Inquiry;
use super::Peer;
use super::envelope::Settled;
use super::report::marks;
use super::report::ruling;
use super::session::Before;
use super::session::Session;
use super::session::Transaction;
use super::sessions::Handle;
use super::sessions::Key;
use crate::decision::About;
use crate::decision::Ruling;
use crate::engine::Outcome;
use crate::engine::usual_direction;
use crate::facts::Fact;
use crate::facts::Facts;
use crate::facts::Name;
use crate::facts::Stage;
use crate::metrics;
use crate::metrics::Interface;
use crate::reply::PolicyAction;
use crate::verdict::Refusal;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What a request is about, by its `protocol_state`: an open set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Occasion {
    Step(Stage),
    /// The client is now another.
    Xclient,
    /// VRFY, ETRN and what is not known: no mail, never counted.
    Aside,
}

impl Occasion {
    fn of(state: &str) -> Self {
        match state {
            "RCPT" => Self::Step(Stage::Rcpt),
            "DATA" => Self::Step(Stage::Data),
            "END-OF-MESSAGE" => Self::Step(Stage::Message),
            "MAIL" => Self::Step(Stage::Mail),
            "HELO" | "EHLO" => Self::Step(Stage::Helo),
            "CONNECT" => Self::Step(Stage::Connect),
            "XCLIENT" => Self::Xclient,
            _ => Self::Aside,
        }
    }
}

impl Desk {
    /// Answers one policy request: attributes in the order sent, values raw.
    pub async fn delegation<'a>(
        &self,
        peer: &Peer,
        attributes: impl Iterator<Item = (impl Into<Name>, &'a str)> + Clone,
    ) -> PolicyAction {
        let began = Instant::now();
        let attributes = attributes.map(|(name, value)| (name.into(), value));
        let state = attributes.clone().find(|(name, _)| *name == Name::ProtocolState);
        let occasion = Occasion::of(state.map_or("", |(_, state)| state));
        let (stage, action) = match occasion {
            Occasion::Aside => (metrics::Stage::Other, PolicyAction::Dunno),
            Occasion::Xclient => {
                (metrics::Stage::Connect, self.request(peer, attributes, Stage::Connect, true).await)
            }
            Occasion::Step(stage) => {
                (super::report::metric_stage(stage), self.request(peer, attributes, stage, false).await)
            }
        };
        self.metrics.answered(Interface::Policy, stage, metrics::Action::from(&action), began.elapsed());
        action
    }

    async fn request<'a>(
        &self,
        peer: &Peer,
        attributes: impl Iterator<Item = (Name, &'a str)>,
        stage: Stage,
        anew: bool,
    ) -> PolicyAction {
        let mut facts = Facts::from_attributes(attributes, stage);
        facts.set(Fact::Listener, &peer.listener);
        self.set_moment(&mut facts);
        let handle = self.session_of_request(&facts, peer, anew).await;
        let mut session = handle.lock().await;
        session.hear(&facts);
        if let Some(milter) = &session.milter {
            // What only the milter knows of the connection, such as {daemon_name}.
            facts.complete_connection_from(milter);
        }
        if stage < Stage::Mail {
            return self.before_mail(facts, &mut session, stage).await;
        }
        self.join_request(&facts, &mut session, stage).await;
        let Session { recall, transaction: Some(transaction), .. } = &mut *session else {
            return PolicyAction::Dunno;
        };
        match transaction.before(stage, &facts) {
            Some(Before::Again(action)) => return action,
            // Another list may carry what the first answer had no room for.
            Some(Before::Elsewhere(action)) => match action {
                PolicyAction::Reject(_)
                | PolicyAction::Defer(_)
                | PolicyAction::DeferIfPermit(_)
                | PolicyAction::Ok => return action,
                _ => return transaction.outbox.next_policy_action(stage),
            },
            None => {}
        }
        facts.set_direction(usual_direction(&facts, &transaction.active.policy.lists));
        if stage >= Stage::Data {
            transaction.had_data = true;
        }
        if stage == Stage::Data {
            if !transaction.active.policy.events.is_empty() {
                self.data_ports.note(&peer.listener, &facts);
            }
            let accepted = facts.number(Fact::RecipientCount).and_then(|count| usize::try_from(count).ok());
            if let Some(accepted) = accepted.filter(|count| *count < transaction.recipients.len()) {
                self.settle_count(recall, accepted).await;
            }
            facts.recipients = transaction.recipients.to_vec();
            // It names one recipient only if there is but one.
            facts.unset(Fact::Recipient);
            facts.set_number(Fact::RefusedRecipients, transaction.refused.len() as u64);
            if let Some(accepted) = accepted {
                self.count_missing(&facts, accepted, transaction, recall).await;
            }
        }
        transaction.active.policy.derived.add_to(&mut facts);
        let facts = Arc::new(facts);
        session.connection = Some(Arc::clone(&facts));
        let action = match stage {
            Stage::Message => self.end_of_message_seen(&facts, &mut session).await,
            _ => self.envelope(&facts, &mut session, stage).await,
        };
        if let Some(transaction) = session.transaction.as_mut() {
            transaction.keep(stage, &facts, &peer.line, &action);
            transaction.facts = Some(facts);
        }
        action
    }

    /// The session a request belongs to, made if there is none.
    async fn session_of_request(&self, facts: &Facts, peer: &Peer, anew: bool) -> Handle {
        let instance = facts.text(Fact::Instance);
        let pid = instance.and_then(|text| u32::from_str_radix(text.split('.').next()?, 16).ok());
        let key = Key::of_client(facts);
        let known = match &key {
            Some(key) => self.sessions.get(key),
            // Only where there is no better key: other machines have such a process too.
            None => self.sessions.get_of_process(pid.or(peer.pid), facts),
        };
        let key = key.or_else(|| instance.map(|instance| Key::Instance(instance.into())));
        let known = known.or_else(|| self.sessions.get(key.as_ref()?)).filter(|_| !anew);
        let is_first = known.is_none() && !anew;
        if let Some(handle) = known {
            // A port is used again by another client process: another smtpd tells.
            let other = handle.try_lock().is_ok_and(|mut session| {
                let other = session.pid.is_some() && pid.is_some() && session.pid != pid;
                session.pid = session.pid.or(pid);
                other
            });
            if !other {
                self.settle_line(peer, pid, key, &handle).await;
                return handle;
            }
        }
        let mut handle = Handle::new(tokio::sync::Mutex::new(Session { pid, ..Session::default() }));
        if let Some(key) = &key {
            let put = match is_first {
                true => self.sessions.put_first(key.clone(), Arc::clone(&handle)),
                false => Ok(self.sessions.put(key.clone(), Arc::clone(&handle))),
            };
            match put {
                Ok(gone) => {
                    for gone in gone {
                        self.end_replaced(&gone).await;
                    }
                }
                Err(known) => handle = known,
            }
        }
        self.settle_line(peer, pid, key, &handle).await;
        handle
    }

    /// A smtpd that asks about another session has ended the one before.
    async fn settle_line(&self, peer: &Peer, pid: Option<u32>, key: Option<Key>, now: &Handle) {
        let (Some(pid), Some(key)) = (pid, key) else {
            return;
        };
        let before = {
            let mut asked = peer.line.asked.lock();
            if asked.as_ref().is_some_and(|asked| std::ptr::eq(asked.session.as_ptr(), Arc::as_ptr(now))) {
                return;
            }
            asked.replace(Asked { pid, key, session: Arc::downgrade(now) })
        };
        if let Some(before) = before.filter(|before| before.pid == pid)
            && let Some(session) = before.session.upgrade()
            && self.end_replaced(&session).await
        {
            self.sessions.remove(&before.key, &session);
        }
    }

    /// Requests before MAIL (only with `smtpd_delay_reject = no`): there is no
    /// transaction yet, and only a refusal can be told.
    async fn before_mail(&self, mut facts: Facts, session: &mut Session, stage: Stage) -> PolicyAction {
        let active = self.active();
        self.settle_generation(session, &active);
        let direction = usual_direction(&facts, &active.policy.lists);
        facts.set_direction(direction);
        active.policy.derived.add_to(&mut facts);
        let id = self.next_id();
        let spent = Duration::ZERO;
        let asked = Inquiry { active: &active, facts: &facts, stage, decides_envelope: true, id: &id, spent };
        let decided = self.decide(asked, &mut session.recall).await;
        let (now, would) = ruling(&active.policy, &decided);
        let refusal = decided.verdict.refusal.as_ref().map(|(_, refusal)| refusal);
        // Postfix has no message to discard yet: it is said at MAIL.
        let refusal = refusal.filter(|refusal| !matches!(refusal, Refusal::Discard(_)));
        if refusal.is_some() || would.is_some() {
            let transaction = Transaction::new(id, Arc::clone(&active));
            let now = match refusal {
                Some(_) => now,
                None => Ruling { verdict: "accept", ..Ruling::default() },
            };
            self.tell(About::Client, &transaction, &facts, &marks(&decided.known), now, would, "policy");
        }
        session.connection = Some(Arc::new(facts));
        refusal.map(refusal_action).unwrap_or_default()
    }

    /// Binds a request to the transaction that is under way, or begins one.
    async fn join_request(&self, facts: &Facts, session: &mut Session, stage: Stage) {
        let instance = facts.text(Fact::Instance);
        let goes_on = session.transaction.as_ref().is_some_and(|transaction| {
            match (transaction.instance.as_deref(), instance) {
                (Some(known), Some(now)) => known == now,
                // MAIL without an instance begins anew, unless the milter has just
                // begun the same.
                (_, None) => stage != Stage::Mail || !transaction.by_policy,
                (None, Some(_)) => !transaction.is_told,
            }
        });
        if !goes_on {
            self.begin_transaction(session).await;
        }
        if let Some(transaction) = session.transaction.as_mut() {
            transaction.by_policy = true;
            if transaction.instance.as_deref() != instance.or(transaction.instance.as_deref()) {
                transaction.instance = instance.map(str::to_owned);
            }
        }
    }

    /// MAIL, RCPT and DATA.
    async fn envelope(&self, facts: &Facts, session: &mut Session, stage: Stage) -> PolicyAction {
        let Session { recall, transaction: Some(transaction), .. } = session else {
            return PolicyAction::Dunno;
        };
        match self.settle_envelope(facts, stage, transaction, recall, "policy").await {
            Settled::Refused(refusal) => return refusal_action(&refusal),
            Settled::GoesOn { permits: true } => return PolicyAction::Ok,
            Settled::GoesOn { permits: false } => {}
        }
        transaction.outbox.next_policy_action(stage)
    }

    /// END-OF-MESSAGE: nothing is refused here (Postfix before mid-2026 mishandles
    /// it), but what waits can be told.
    async fn end_of_message_seen(&self, facts: &Arc<Facts>, session: &mut Session) -> PolicyAction {
        let Session { recall, transaction: Some(transaction), .. } = session else {
            return PolicyAction::Dunno;
        };
        transaction.size = facts.number(Fact::Size);
        let action = transaction.outbox.next_policy_action(Stage::Message);
        transaction.facts = Some(Arc::clone(facts));
        // Without a queue id it goes to smtpd_proxy_filter, past the milter.
        if !transaction.by_milter || !facts.is_known(Fact::QueueId) {
            // Nobody else will say how it ends.
            self.settle_size(recall, transaction.size, false).await;
            self.settle(recall, Outcome::Accepted).await;
            self.tell_message(session, "accept");
        }
        action
    }
}

/// The reply to a recipient or step that is refused.
fn refusal_action(refusal: &Refusal) -> PolicyAction {
    match refusal {
        Refusal::Defer(reply) => PolicyAction::Defer(reply.clone()),
        Refusal::DeferIfPermit(reply) => PolicyAction::DeferIfPermit(reply.clone()),
        Refusal::Discard(text) => PolicyAction::Discard(text.clone()),
        Refusal::Reject(reply) => PolicyAction::Reject(reply.clone()),
    }
}
