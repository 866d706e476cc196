//! The milter's half of a session: records what becomes of the envelope, and
//! decides on the message at its end.
//!
//! Postfix asks delegation first at every step, so that what it was told is known
//! here. Where there is no delegation (sendmail(1), our own bounces, listeners
//! that decide on the envelope) the rules of the envelope are asked here too.

use super::Active;
use super::Desk;
use super::Inquiry;
use super::MacroNames;
use super::MilterNeeds;
use super::Peer;
use super::envelope::Settled;
use super::outbox::Whole;
use super::refusals::Rejection;
use super::report::changed;
use super::report::findings;
use super::report::metric_stage;
use super::report::ruling;
use super::session::Session;
use super::sessions::Handle;
use super::sessions::Key;
use crate::config::Decides;
use crate::engine::Decided;
use crate::engine::Outcome;
use crate::engine::usual_direction;
use crate::facts::Fact;
use crate::facts::Facts;
use crate::facts::MAX_VALUE_BYTES;
use crate::facts::Macros;
use crate::facts::Marks;
use crate::facts::MilterFacts;
use crate::facts::NULL_SENDER;
use crate::facts::Stage;
use crate::message::Message;
use crate::metrics;
use crate::metrics::Interface;
use crate::names::internal_form;
use crate::policy::Policy;
use crate::reply::Edit;
use crate::reply::Ending;
use crate::reply::MilterAnswer;
use crate::verdict::Refusal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Recipients of one sendmail(1) mail that are decided before others get a turn.
const YIELD_EVERY: usize = 16;

/// One milter connection's events, in Postfix's order. Dropped without `close`,
/// the session has broken off.
#[derive(Debug)]
pub struct MilterSession {
    desk: Arc<Desk>,
    peer: Peer,
    /// What this connection was negotiated for.
    negotiated: Arc<Active>,
    view: MilterFacts,
    handle: Option<Handle>,
    keys: Vec<Key>,
    /// sendmail(1) or our own bounce: there is no SMTP client.
    is_local: bool,
    /// The transaction that MAIL began here.
    transaction: Option<String>,
    message: Option<Message>,
}

impl Desk {
    /// The milter's half of a session; one per milter connection.
    pub fn milter(self: &Arc<Self>, peer: Peer) -> MilterSession {
        MilterSession {
            desk: Arc::clone(self),
            negotiated: self.active(),
            peer,
            view: MilterFacts::default(),
            handle: None,
            keys: Vec::new(),
            is_local: false,
            transaction: None,
            message: None,
        }
    }
}

impl MilterSession {
    pub fn needs(&self) -> MilterNeeds {
        let wants = self.negotiated.policy.milter;
        MilterNeeds { helo: wants.helo, headers: wants.header, body: wants.body }
    }

    /// Macro names to be asked for (without braces) per stage.
    pub fn macros() -> MacroNames {
        MacroNames {
            connect: MilterFacts::macros_at_connect().collect(),
            helo: Vec::new(),
            mail: std::iter::once("i").chain(MilterFacts::macros_at_mail()).collect(),
            rcpt: vec!["i", "rcpt_addr", "rcpt_host", "rcpt_mailer"],
            data: vec!["i"],
            end_of_message: vec!["i"],
        }
    }

    /// `address` is None for what has no network address (a unix socket, or
    /// `unknown` after XCLIENT); its port is 0 for sendmail(1) and our own bounces.
    pub async fn connect(
        &mut self,
        host: &[u8],
        address: Option<SocketAddr>,
        macros: Macros<'_>,
    ) -> MilterAnswer {
        let began = Instant::now();
        self.view.connect(host, address, macros);
        self.view.facts.set(Fact::Listener, &self.peer.listener);
        // As Postfix emulates a client for sendmail(1); XCLIENT can make others portless.
        self.is_local = host == b"localhost"
            && address.is_some_and(|address| address.port() == 0 && address.ip().is_loopback());
        let mut adopted = None;
        if let Some(key) = Key::of_client(&self.view.facts) {
            // With smtpd_delay_reject = no, delegation has heard of it first.
            adopted = self.desk.sessions.get(&key).filter(|handle| {
                handle.try_lock().is_ok_and(|session| session.milter.is_none() && !session.had_transaction)
            });
            self.keys.push(key);
        }
        if let Some(pid) = self.peer.pid.filter(|_| !self.is_local) {
            self.keys.push(Key::Pid(pid));
        }
        let handle = adopted.unwrap_or_default();
        {
            let mut session = handle.lock().await;
            session.milter = Some(Box::new(self.view.facts.clone()));
        }
        for key in &self.keys {
            for gone in self.desk.sessions.put(key.clone(), Arc::clone(&handle)) {
                if !Arc::ptr_eq(&gone, &handle) {
                    self.desk.end_replaced(&gone).await;
                }
            }
        }
        self.handle = Some(handle);
        self.answered(Stage::Connect, MilterAnswer::Continue, began)
    }

    pub async fn helo(&mut self, name: &[u8], _macros: Macros<'_>) -> MilterAnswer {
        let began = Instant::now();
        self.view.helo(name);
        if let Some(handle) = &self.handle {
            handle.lock().await.hear(&self.view.facts);
        }
        self.share().await;
        self.answered(Stage::Helo, MilterAnswer::Continue, began)
    }

    /// `sender` as it stands in the command, with its brackets; then the ESMTP
    /// parameters.
    pub async fn mail(&mut self, sender: &[u8], parameters: &[&[u8]], macros: Macros<'_>) -> MilterAnswer {
        let began = Instant::now();
        self.view.mail(sender, parameters, macros);
        if self.is_local {
            let is_bounce = self.view.facts.text(Fact::Sender) == Some(NULL_SENDER);
            self.view.facts.set(Fact::Direction, if is_bounce { "bounce" } else { "local" });
        }
        self.message = None;
        let desk = Arc::clone(&self.desk);
        let Some(handle) = self.handle.clone() else {
            return MilterAnswer::Continue;
        };
        let mut session = handle.lock().await;
        session.milter = Some(Box::new(self.view.facts.clone()));
        // With smtpd_delay_reject = no, delegation has just heard of this MAIL.
        let joins = session.transaction.as_ref().is_some_and(|transaction| {
            !transaction.by_milter && transaction.instance.is_none() && !transaction.is_told
        });
        if !joins {
            desk.begin_transaction(&mut session).await;
        }
        let Session { transaction: Some(transaction), generation, recall, .. } = &mut *session else {
            return MilterAnswer::Continue;
        };
        transaction.by_milter = true;
        // After a reload there may be rules that want a header this connection was
        // never to send: its mails keep the policy that it was negotiated for.
        let (wants, has) = (transaction.active.policy.milter, self.negotiated.policy.milter);
        if (wants.header && !has.header) || (wants.body && !has.body) {
            transaction.active = Arc::clone(&self.negotiated);
            *generation = self.negotiated.policy.generation;
            *recall = Default::default();
        }
        self.transaction = Some(transaction.id.clone());
        let wants = transaction.active.policy.milter;
        let message = Message::new(transaction.active.policy.wanted_now());
        self.message = Some(if wants.signatures { message.with_signed() } else { message });
        drop(session);
        self.answered(Stage::Mail, MilterAnswer::Continue, began)
    }

    pub async fn rcpt(
        &mut self,
        recipient: &[u8],
        _parameters: &[&[u8]],
        macros: Macros<'_>,
    ) -> MilterAnswer {
        let began = Instant::now();
        self.view.queue_id(macros);
        let mut recipient = internal_form(&String::from_utf8_lossy(recipient));
        recipient.truncate(recipient.floor_char_boundary(MAX_VALUE_BYTES));
        let rejected = macros("rcpt_mailer").as_deref() == Some("error");
        let Some(handle) = self.handle.clone() else {
            return MilterAnswer::Continue;
        };
        let mut session = handle.lock().await;
        if !self.is_current(&session) {
            return MilterAnswer::Continue;
        }
        let answer = if rejected {
            forget_recipient(&mut session, &recipient);
            self.desk.settle_recipient(&mut session.recall, &recipient).await;
            let said = |name| macros(name).unwrap_or_default();
            let why = Rejection { enhanced: said("rcpt_host"), text: said("rcpt_addr") };
            self.desk.count_rejection(&recipient, &why, &mut session).await;
            MilterAnswer::Continue
        } else {
            self.recipient(&recipient, &mut session).await
        };
        drop(session);
        self.answered(Stage::Rcpt, answer, began)
    }

    /// A recipient that Postfix accepts: known from delegation, or decided here,
    /// or only noted.
    async fn recipient(&self, recipient: &str, session: &mut Session) -> MilterAnswer {
        let Session { recall, transaction: Some(transaction), .. } = session else {
            return MilterAnswer::Continue;
        };
        if transaction.recipients.iter().any(|known| known == recipient) {
            return MilterAnswer::Continue;
        }
        // For sendmail(1) nothing may be refused here: all is decided at the end.
        if self.peer.decides == Decides::Envelope && !self.is_local {
            let mut facts = self.facts(&transaction.active);
            facts.set(Fact::Recipient, recipient);
            let settled = self.desk.settle_envelope(&facts, Stage::Rcpt, transaction, recall, "milter").await;
            if let Settled::Refused(refusal) = settled {
                return refusal_answer(&refusal);
            }
            return MilterAnswer::Continue;
        }
        if transaction.accept(recipient) {
            recall.recipients.push([Marks::default(), Marks::default()]);
        }
        MilterAnswer::Continue
    }

    pub async fn data(&mut self, macros: Macros<'_>) -> MilterAnswer {
        let began = Instant::now();
        self.view.queue_id(macros);
        self.share().await;
        if let Some(handle) = &self.handle {
            let mut session = handle.lock().await;
            let is_current = self.is_current(&session);
            if let Some(transaction) = session.transaction.as_mut().filter(|_| is_current) {
                transaction.had_data = true;
            }
        }
        self.answered(Stage::Data, MilterAnswer::Continue, began)
    }

    /// The value with its leading white space (SMFIP_HDR_LEADSPC) and folds as `\n`.
    pub fn header(&mut self, name: &[u8], value: &[u8]) {
        if let Some(message) = &mut self.message {
            message.header(name, value);
        }
    }

    pub fn end_of_header(&mut self) {
        if let Some(message) = &mut self.message {
            message.end_of_header();
        }
    }

    pub fn body(&mut self, chunk: &[u8]) {
        if let Some(message) = &mut self.message {
            message.body(chunk);
        }
    }

    pub async fn end_of_message(&mut self, macros: Macros<'_>) -> Ending {
        let began = Instant::now();
        self.view.queue_id(macros);
        let (Some(handle), Some(_)) = (self.handle.clone(), &self.transaction) else {
            return Ending::default();
        };
        let message = match self.message.take() {
            Some(message) => Some(self.desk.read(message).await),
            None => None,
        };
        let read = Read { message, spent: began.elapsed() };
        let mut session = handle.lock().await;
        session.milter = Some(Box::new(self.view.facts.clone()));
        let joined = self.is_current(&session) && self.names_the_same_mail(&session);
        let mut own = if joined { None } else { Some(self.session_of_its_own().await) };
        let ending = self.decide_message(own.as_deref_mut().unwrap_or(&mut session), read).await;
        drop(session);
        let action = metrics::Action::from(&ending.answer);
        let held = ending.edits.iter().any(|edit| matches!(edit, Edit::Quarantine(_)));
        let action = if held { metrics::Action::Hold } else { action };
        self.desk.metrics.answered(Interface::Milter, metrics::Stage::Message, action, began.elapsed());
        ending
    }

    /// False if delegation's requests were about another mail in Postfix's queue.
    fn names_the_same_mail(&self, session: &Session) -> bool {
        let asked = session.transaction.as_ref().and_then(|transaction| transaction.facts.as_ref());
        let theirs = asked.and_then(|facts| facts.text(Fact::QueueId));
        let ours = self.view.facts.text(Fact::QueueId);
        !matches!((ours, theirs), (Some(ours), Some(theirs)) if ours != theirs)
    }

    /// For a message whose transaction was taken by requests of another session,
    /// from the same port of the client: it is decided all the same, by what the
    /// milter knows.
    async fn session_of_its_own(&self) -> Box<Session> {
        let milter = Some(Box::new(self.view.facts.clone()));
        let mut session = Box::new(Session { milter, ..Session::default() });
        self.desk.begin_transaction(&mut session).await;
        if let Some(transaction) = session.transaction.as_mut() {
            transaction.by_milter = true;
        }
        session
    }

    async fn decide_message(&self, session: &mut Session, read: Read) -> Ending {
        let Session { recall, transaction: Some(transaction), .. } = session else {
            return Ending::default();
        };
        transaction.had_data = true;
        let active = Arc::clone(&transaction.active);
        let mut facts = self.facts(&active);
        if let Some(asked) = &transaction.facts {
            facts.complete_from(asked);
        }
        facts.unset(Fact::Recipient);
        facts.recipients = transaction.recipients.to_vec();
        facts.set_number(Fact::RecipientCount, transaction.recipients.len() as u64);
        facts.set_number(Fact::RefusedRecipients, transaction.refused.len() as u64);
        let message = read.message.map(Arc::new);
        if let Some(message) = &message {
            let wants = active.policy.milter;
            if wants.body {
                facts.set_number(Fact::Size, message.size());
                transaction.size = Some(message.size());
            }
            if wants.header {
                facts.set_number(Fact::HeaderCount, message.headers().count());
                facts.set_number(Fact::HeaderSize, message.headers().size());
            }
            if let Some(limit) = message.limit() {
                tracing::info!(id = %transaction.id, limit, "not all of the message was read");
            }
            transaction.found = findings(message);
            self.desk.metrics.content(&transaction.found);
            facts.message = Some(Arc::clone(message));
            active.policy.derived.add_to(&mut facts);
        }
        let id = transaction.id.clone();
        let mut refused = None;
        if self.is_local {
            refused = self.decide_local_envelope(&facts, recall, transaction, &active).await;
        }
        let decided = match refused {
            Some(decided) => decided,
            None => {
                let decides_envelope = self.is_local || self.peer.decides == Decides::Envelope;
                let asked = Inquiry {
                    active: &active,
                    facts: &facts,
                    stage: Stage::Message,
                    decides_envelope,
                    id: &id,
                    spent: read.spent,
                };
                self.desk.decide(asked, recall).await
            }
        };
        let (now, would) = ruling(&active.policy, &decided);
        transaction.ruling = Some(now.clone()).filter(|now| !now.is_plain()).or(transaction.ruling.take());
        transaction.note(None, would);
        let is_bounce = facts.text(Fact::Direction) == Some("bounce");
        let answer = self.answer(&decided, is_bounce);
        let is_refused = !matches!(answer, MilterAnswer::Continue | MilterAnswer::Accept);
        self.desk.settle_size(recall, transaction.size, is_refused).await;
        let outcome = if is_refused { Outcome::Refused } else { Outcome::Accepted };
        self.desk.settle(recall, outcome).await;
        let added = transaction.outbox.add(decided.verdict.effects.clone());
        self.desk.log_effects(&active.policy, &added, &id);
        let whole = Whole { message: message.as_deref(), name: own_name(&active.policy) };
        let (mut edits, impossible) = transaction.outbox.edits(&transaction.recipients, whole);
        if !is_refused {
            transaction.changed = changed(&added, whole.is_signed());
        }
        self.desk.tell_impossible(transaction, &impossible);
        let mut told = verdict_word(&answer, &edits);
        let mut answer = answer;
        if let (true, MilterAnswer::Reject(reply)) = (self.is_local, &answer) {
            // Refused, it would be returned to a sender that a script made up.
            edits = vec![Edit::Quarantine(reply.to_string())];
            answer = MilterAnswer::Continue;
            told = "hold";
        }
        if !matches!(answer, MilterAnswer::Continue | MilterAnswer::Accept) {
            edits.clear();
        }
        if let Some(ruling) = transaction.ruling.as_mut().filter(|_| told != "accept") {
            ruling.verdict = told;
        }
        // Nobody asks about it any more, and the connection may stay open for long.
        facts.message = None;
        transaction.facts = Some(Arc::new(facts));
        self.desk.tell_message(session, told);
        Ending { edits, answer }
    }

    /// For mail without an SMTP client the rules of the envelope are asked now, for
    /// each recipient; a refusal of one acts on the whole mail.
    async fn decide_local_envelope(
        &self,
        facts: &Facts,
        recall: &mut crate::engine::Recall,
        transaction: &mut super::session::Transaction,
        active: &Active,
    ) -> Option<Decided> {
        recall.recipients.clear();
        let mut one = facts.clone();
        one.recipients.clear();
        for (number, recipient) in transaction.recipients.clone().into_iter().enumerate() {
            if number % YIELD_EVERY == YIELD_EVERY - 1 {
                // Others live on this thread.
                tokio::task::yield_now().await;
            }
            let mut facts = one.clone();
            facts.set(Fact::Recipient, &recipient);
            let id = &transaction.id;
            let asked = Inquiry {
                active,
                facts: &facts,
                stage: Stage::Rcpt,
                decides_envelope: true,
                id,
                spent: Duration::ZERO,
            };
            let decided = self.desk.decide(asked, recall).await;
            if decided.verdict.refuses() && facts.text(Fact::Direction) != Some("bounce") {
                return Some(decided);
            }
            if decided.verdict.refuses() {
                recall.recipients.push([Marks::default(), Marks::default()]);
            }
            let (now, would) = ruling(&active.policy, &decided);
            transaction.note(Some(now).filter(|now| now.verdict == "hold"), would);
            let added = transaction.outbox.add(decided.verdict.effects);
            self.desk.log_effects(&active.policy, &added, &transaction.id);
        }
        None
    }

    fn answer(&self, decided: &Decided, is_bounce: bool) -> MilterAnswer {
        if is_bounce {
            return MilterAnswer::Continue;
        }
        if let Some((_, refusal)) = &decided.verdict.refusal {
            return refusal_answer(refusal);
        }
        if decided.verdict.permits() { MilterAnswer::Accept } else { MilterAnswer::Continue }
    }

    /// The transaction ended: RSET, a new MAIL, or after each message.
    /// Postfix has given the message up.
    pub async fn abort(&mut self) {
        self.end_before_its_time("aborted").await;
    }

    /// We go, and the message goes on without us: that is no word of its end.
    pub async fn cut(&mut self) {
        if let Some(handle) = &self.handle {
            handle.lock().await.is_cut = true;
        }
        self.end_before_its_time("accept").await;
    }

    async fn end_before_its_time(&mut self, verdict: &'static str) {
        self.message = None;
        self.view.end_transaction();
        let Some(handle) = self.handle.clone() else {
            return;
        };
        let mut session = handle.lock().await;
        // It reaches us late: delegation may have begun the next one already.
        if self.is_current(&session) {
            self.desk.end_transaction(&mut session, verdict).await;
        }
        self.transaction = None;
    }

    pub async fn close(&mut self) {
        let Some(handle) = self.handle.take() else {
            return;
        };
        for key in self.keys.drain(..) {
            self.desk.sessions.remove(&key, &handle);
        }
        let mut session = handle.lock().await;
        if self.transaction.is_some()
            && session.transaction.as_ref().map(|t| &t.id) == self.transaction.as_ref()
        {
            self.desk.end_transaction(&mut session, "aborted").await;
        }
        session.milter = None;
    }

    fn is_current(&self, session: &Session) -> bool {
        self.transaction.is_some() && session.transaction.as_ref().map(|t| &t.id) == self.transaction.as_ref()
    }

    /// Lets delegation see what the milter knows, and keeps the session young.
    async fn share(&self) {
        for key in &self.keys {
            self.desk.sessions.get(key);
        }
        if let Some(handle) = &self.handle {
            handle.lock().await.milter = Some(Box::new(self.view.facts.clone()));
        }
    }

    fn facts(&self, active: &Active) -> Facts {
        let mut facts = self.view.facts.clone();
        self.desk.set_moment(&mut facts);
        if !self.is_local {
            let direction = usual_direction(&facts, &active.policy.lists);
            facts.set_direction(direction);
        }
        active.policy.derived.add_to(&mut facts);
        facts
    }

    fn answered(&self, stage: Stage, answer: MilterAnswer, began: Instant) -> MilterAnswer {
        let action = metrics::Action::from(&answer);
        self.desk.metrics.answered(Interface::Milter, metric_stage(stage), action, began.elapsed());
        answer
    }
}

impl Drop for MilterSession {
    /// A session that broke off: its keys must not catch another's requests.
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            for key in self.keys.drain(..) {
                self.desk.sessions.remove(&key, &handle);
            }
            if let Ok(mut session) = handle.try_lock() {
                session.milter = None;
                if self.is_current(&session) {
                    // Nobody said how it ended: what is reserved is left to the timer.
                    self.desk.close_transaction(&mut session, "aborted");
                }
            }
        }
    }
}

/// A message that has been read, and how long that took.
struct Read {
    message: Option<Message>,
    spent: Duration,
}

/// The name that is told to those behind us.
fn own_name(policy: &Policy) -> Option<&str> {
    policy.lists.get("local.hostnames").ok()?.written().next()
}

/// Postfix refused a recipient, for whatever reason, behind our back or because
/// we said so.
fn forget_recipient(session: &mut Session, recipient: &str) {
    let Session { recall, transaction: Some(transaction), .. } = session else {
        return;
    };
    if let Some(at) = transaction.recipients.iter().position(|known| known == recipient) {
        transaction.recipients.remove(at);
        if at < recall.recipients.len() {
            recall.recipients.remove(at);
        }
    }
    transaction.refuse(recipient);
}

fn refusal_answer(refusal: &Refusal) -> MilterAnswer {
    match refusal {
        Refusal::Discard(_) => MilterAnswer::Discard,
        Refusal::Defer(reply) | Refusal::DeferIfPermit(reply) | Refusal::Reject(reply) => {
            match reply.is_permanent() {
                true => MilterAnswer::Reject(reply.clone()),
                false => MilterAnswer::Tempfail(reply.clone()),
            }
        }
    }
}

fn verdict_word(answer: &MilterAnswer, edits: &[Edit]) -> &'static str {
    match answer {
        MilterAnswer::Discard => "discard",
        MilterAnswer::Reject(_) => "reject",
        MilterAnswer::Tempfail(_) => "defer",
        MilterAnswer::Accept | MilterAnswer::Continue => {
            if edits.iter().any(|edit| matches!(edit, Edit::Quarantine(_))) { "hold" } else { "accept" }
        }
    }
}
