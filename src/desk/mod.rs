//! Where both protocols' views of a session meet: finds the session, asks the
//! engine, keeps what was answered, and says what to reply.
//!
//! Strangers decide what is in a session; how many there are is bounded in
//! `sessions`, how large one may get in `session`. A decision is made under the
//! session's lock: Postfix asks one thing at a time, whoever does not waits.

mod control;
mod delegation;
mod envelope;
mod milter;
mod outbox;
mod reading;
mod refusals;
mod report;
mod session;
mod sessions;
mod usage;

pub use crate::checks::pool_of;
pub use crate::facts::Macros;
pub use crate::state::LONGEST_LISTING;
pub use crate::state::Listing;
pub use crate::values::is_word;
pub use control::LimitUse;
pub use milter::MilterSession;
pub use usage::EntryUse;

use crate::config::Decides;
use crate::dns::Resolver;
use crate::dns::Settings;
use crate::engine;
use crate::engine::Ask;
use crate::engine::Decided;
use crate::engine::Outcome;
use crate::engine::Recall;
use crate::engine::Store;
use crate::facts::DayTime;
use crate::facts::Facts;
use crate::facts::Moment;
use crate::facts::Stage;
use crate::journal::Journal;
use crate::metrics::FailOpen;
use crate::metrics::Metrics;
use crate::metrics::RuleCounters;
use crate::policy::Policy;
use crate::state::Clock;
use crate::state::Event;
use crate::state::Keeper;
use crate::state::Reading;
use crate::state::State;
use crate::state::Turned;
use arc_swap::ArcSwap;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use reading::Readers;
use refusals::DataPorts;
use session::Session;
use sessions::Key;
use sessions::Sessions;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Who is at the other end of one of our sockets: always a Postfix process.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The listener's name from the configuration, for `listener:` in rules.
    pub listener: Arc<str>,
    /// The smtpd's (or cleanup's) process id, on a unix socket.
    pub pid: Option<u32>,
    /// Differs for every connection we ever accepted.
    pub connection: u64,
    /// Lives as long as the connection.
    pub line: Arc<Line>,
    /// For a milter listener: whether it also decides on recipients.
    pub decides: Decides,
}

/// What is remembered of a connection of ours.
#[derive(Debug, Default)]
pub struct Line {
    /// The session that was last asked about on it.
    asked: parking_lot::Mutex<Option<Asked>>,
}

/// A smtpd has one session at a time, and a policy connection one smtpd.
#[derive(Debug)]
struct Asked {
    pid: u32,
    key: Key,
    session: Weak<tokio::sync::Mutex<Session>>,
}

/// Which milter events the loaded rules need beside those always asked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MilterNeeds {
    pub helo: bool,
    pub headers: bool,
    /// The whole body, in chunks without replies.
    pub body: bool,
}

/// Macro names by the milter stage at which they are wanted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MacroNames {
    pub connect: Vec<&'static str>,
    pub helo: Vec<&'static str>,
    pub mail: Vec<&'static str>,
    pub rcpt: Vec<&'static str>,
    pub data: Vec<&'static str>,
    pub end_of_message: Vec<&'static str>,
}

/// The policy in force, with the counters of its rules.
#[derive(Debug, Default)]
pub struct Active {
    pub policy: Policy,
    pub counters: Arc<RuleCounters>,
}

/// By when an answer is due.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// Up to DATA.
    pub envelope: Duration,
    /// At the end of a message.
    pub message: Duration,
}

/// What the desk is made of.
#[derive(Debug)]
pub struct Parts {
    pub policy: Policy,
    pub state: State,
    /// Who is asked about the world.
    pub resolver: Resolver,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    /// None: decisions are not written down.
    pub journal: Option<Journal>,
    pub deadlines: Deadlines,
    /// The time of day, for the check `time` and for no limit.
    pub wall: fn() -> Timestamp,
}

/// The one place that is asked by all listeners.
#[derive(Debug)]
pub struct Desk {
    active: ArcSwap<Active>,
    sessions: Sessions,
    data_ports: DataPorts,
    state: State,
    resolver: Resolver,
    readers: Readers,
    clock: Clock,
    metrics: Arc<Metrics>,
    journal: Option<Journal>,
    deadlines: Deadlines,
    wall: fn() -> Timestamp,
    zone: TimeZone,
    /// For this minute since 1970.
    day_time: ArcSwap<(i64, DayTime)>,
    ids: AtomicU64,
}

impl Desk {
    pub fn new(parts: Parts) -> Self {
        let first = parts.clock.now() / 1000;
        parts.state.count_uses(parts.clock.now());
        let counters = parts.metrics.load_rules(report::labels(&parts.policy));
        let active = Active { policy: parts.policy, counters };
        Self {
            active: ArcSwap::from_pointee(active),
            sessions: Sessions::default(),
            data_ports: DataPorts::default(),
            state: parts.state,
            resolver: parts.resolver,
            readers: Readers::default(),
            clock: parts.clock,
            metrics: parts.metrics,
            journal: parts.journal,
            deadlines: parts.deadlines,
            wall: parts.wall,
            zone: TimeZone::system(),
            day_time: ArcSwap::from_pointee((i64::MIN, DayTime::default())),
            ids: AtomicU64::new(first),
        }
    }

    /// Puts a policy in force. A transaction that has begun keeps the one it
    /// began with; counters of limits are kept.
    pub fn enforce(&self, policy: Policy) {
        let counters = self.metrics.load_rules(report::labels(&policy));
        self.active.store(Arc::new(Active { policy, counters }));
    }

    pub fn active(&self) -> Arc<Active> {
        self.active.load_full()
    }

    /// Sizes of the tables, for the metrics.
    pub fn sample(&self) {
        report::sample(self);
    }

    /// Names are looked up elsewhere from now on.
    pub fn ask_dns_of(&self, settings: Settings) {
        self.resolver.change(settings);
    }

    /// Ends sessions that nobody has asked about for long. To be called now and
    /// then; a session without a milter has no other end.
    pub async fn sweep(&self) {
        for session in self.sessions.sweep() {
            let mut session = session.lock().await;
            self.end_transaction(&mut session, "accept").await;
        }
        let now = self.clock.now();
        self.state.sweep(now);
        self.state.settle(now).await;
    }

    /// Writes down a little of what is remembered.
    pub fn keep(&self, keeper: &mut Keeper, now: Reading) -> Turned {
        keeper.turn(&self.state, now)
    }

    /// Writes down all that is not yet written.
    pub fn keep_all(&self, keeper: &mut Keeper, now: impl FnMut() -> Reading) -> Vec<Event> {
        keeper.finish(&self.state, now)
    }

    /// Ends all sessions, when the daemon stops: mail whose end nobody told is told now.
    pub async fn end_all(&self) {
        for session in self.sessions.drain() {
            sessions::cut(&session);
            self.end_replaced(&session).await;
        }
    }

    /// Short, and never the same twice: microseconds since the start of the
    /// process, counted on, in base 32.
    fn next_id(&self) -> String {
        const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let number = self.ids.fetch_add(1, Ordering::Relaxed);
        let digits = (u64::BITS - number.leading_zeros()).div_ceil(5);
        let digit = |place: u32| char::from(DIGITS[(number >> (place * 5)) as usize % 32]);
        (0..digits).rev().map(digit).collect()
    }

    /// The time of the request. Looking up a time zone costs as much as a rule, so
    /// hour and day are kept for the minute.
    fn set_moment(&self, facts: &mut Facts) {
        let now = Moment::at((self.wall)());
        let minute = now.timestamp.map(|now| now.as_second().div_euclid(60)).unwrap_or_default();
        let known = self.day_time.load();
        let day = if known.0 == minute {
            known.1
        } else {
            let day = DayTime::of(&now, &self.zone);
            self.day_time.store(Arc::new((minute, day)));
            day
        };
        facts.set_moment(now, &day);
    }

    /// Asks the engine and counts what must be counted of every decision.
    async fn decide(&self, asked: Inquiry<'_>, recall: &mut Recall) -> Decided {
        let deadline = match asked.stage {
            Stage::Message => self.deadlines.message,
            _ => self.deadlines.envelope,
        };
        let Inquiry { active, facts, stage, decides_envelope, id, spent } = asked;
        let ask = Ask { decides_envelope, id, ..Ask::new(&active.policy, facts, stage) };
        let store = Store { deadline: deadline.saturating_sub(spent), ..self.store() };
        let decided = engine::decide(ask, recall, store).await;
        for hit in &decided.hits {
            asked.active.counters.hit(hit.rule as usize);
            if let Some(rule) = asked.active.policy.rules.get(hit.rule as usize) {
                self.note_use(&asked.active.policy, rule, asked.facts);
            }
        }
        for &(rule, action) in &decided.failed {
            let rule = asked.active.policy.rules.get(rule as usize).map_or("", |rule| rule.name.as_str());
            tracing::info!(id = asked.id, rule, action, "an action could not be done");
        }
        for (method, result) in &decided.told {
            self.metrics.authentication(method, result);
        }
        for rule in 0..decided.unknown {
            let reason = if rule < decided.unanswered { FailOpen::Dns } else { FailOpen::Store };
            self.metrics.fail_open(reason);
        }
        decided
    }
}

impl Desk {
    fn store(&self) -> Store<'_> {
        let (now, deadline) = (self.clock.now(), self.deadlines.message);
        Store { state: &self.state, resolver: &self.resolver, now, deadline, charges: true }
    }

    /// What was reserved for a mail is charged, or given back.
    async fn settle(&self, recall: &mut Recall, outcome: Outcome) {
        engine::settle(recall, outcome, self.store()).await;
    }

    async fn settle_recipient(&self, recall: &mut Recall, recipient: &str) {
        engine::settle_recipient(recall, recipient, self.store()).await;
    }

    async fn settle_count(&self, recall: &mut Recall, accepted: usize) {
        engine::settle_count(recall, accepted, self.store()).await;
    }

    /// Limits in bytes are charged what was not announced.
    async fn settle_size(&self, recall: &mut Recall, size: Option<u64>, is_refused: bool) {
        if let Some(size) = size {
            engine::settle_size(recall, size, is_refused, self.store()).await;
        }
    }
}

/// One question to the engine, in the words of the desk.
#[derive(Clone, Copy)]
struct Inquiry<'a> {
    active: &'a Active,
    facts: &'a Facts,
    stage: Stage,
    decides_envelope: bool,
    id: &'a str,
    /// Of the deadline, before it was asked.
    spent: Duration,
}

#[cfg(test)]
impl Default for Desk {
    /// Without rules, for the tests of listeners.
    fn default() -> Self {
        testing::desk(&[])
    }
}

#[cfg(test)]
pub mod testing;

#[cfg(test)]
mod tests;
