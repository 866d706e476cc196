//! Who has come back: attempts that wait, those that came again and passed, and the
//! networks whose mail need wait no more.
//!
//! Strangers make the attempts up, so only their hashes are kept, in three tables of
//! bounded size. What has proved itself is kept apart from what has not, so that no
//! flood of made-up attempts pushes it out. An attempt that waits is kept for
//! [`KEPT_WAITING`] whatever comes. If there is no room for a new one, all of its pool
//! wait together, as one attempt; so one client that makes them up takes the room of one
//! more. Only if there is no room for that either it is let through and counted: nobody
//! waits for ever because others fill the table.
//!
//! No lock is taken while another is held.

use super::clock::Nanos;
use super::ring::Ring;
use super::ring::Worth;
use super::seed::Secret;
use super::shard::cut;
use parking_lot::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Attempts of one moment that were not yet made again; some 11 MiB.
pub const MAX_WAITING: usize = 262_144;

/// Attempts that were made again, and passed; some 9 MiB.
pub const MAX_PROVED: usize = 262_144;

/// Networks from which attempts were made again; some 4 MiB.
pub const MAX_GREYLISTED_NETWORKS: usize = 65_536;

/// A server tries again after at most some hours (RFC 5321, 4.5.4.1, means half an
/// hour), a bot never.
const KEPT_WAITING: Nanos = 4 * 3_600 * SECOND;

/// Of [`MAX_WAITING`] so many in four are single attempts; the rest is for pools.
const SINGLE_OF_FOUR: usize = 3;

/// What comes back within the same time proves no more than once.
const PROOF_EVERY: Nanos = 3_600 * SECOND;

const SECOND: Nanos = 1_000_000_000;

pub(super) const SHARDS: usize = 16;

/// How long attempts wait, and what they prove.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Terms {
    pub delay: Duration,
    /// An attempt that was not made again until then was never made.
    pub retry_window: Duration,
    /// After so many proofs all mail of the network passes; None: never.
    pub auto_allow: Option<u32>,
    /// What has proved itself, since it was last used.
    pub remember: Duration,
}

/// One attempt to send a mail.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Which rule's.
    pub bucket: u32,
    /// What proves itself: the client's network.
    pub network: String,
    /// Where the same mail may come from again.
    pub pool: String,
    pub sender: String,
    pub recipient: String,
    pub terms: Terms,
}

/// How it stands with an attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// Its network has proved itself.
    Allowed,
    /// It has waited long enough, for the first time.
    CameBack { after: Duration },
    /// There is no room to remember it: it passes.
    Full,
    /// It has passed before.
    Known,
    /// Seen for the first time, or again before its time.
    Waits { left: Duration, is_new: bool },
}

impl Standing {
    pub fn passes(self) -> bool {
        !matches!(self, Self::Waits { .. })
    }
}

/// What became of the mail in the end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    Deferred,
    LetThrough,
    /// For good: nobody will try again.
    Refused,
}

/// How many there are of each, how many were forgotten to make room, and how often
/// there was none.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct GreylistSizes {
    pub waiting: u64,
    pub proved: u64,
    pub networks: u64,
    pub evicted_waiting: u64,
    pub evicted_proved: u64,
    pub evicted_networks: u64,
    pub full: u64,
}

#[derive(Debug)]
pub(super) struct Greylist {
    pub waiting: Sharded<Waiting>,
    pub proved: Sharded<Proved>,
    pub networks: Sharded<Network>,
    seed: Secret,
    /// Single attempts that may wait in each shard.
    most_single: usize,
    /// How often there was no room.
    full: AtomicU64,
    /// Which shard is swept next.
    turn: AtomicUsize,
}

#[derive(Debug)]
pub(super) struct Sharded<V>([Mutex<Ring<V>>; SHARDS]);

#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub first: Nanos,
    pub until: Nanos,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Proved {
    pub until: Nanos,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Network {
    pub proofs: u32,
    pub last_proof: Nanos,
    pub until: Nanos,
}

impl Greylist {
    pub(super) fn new(seed: Secret) -> Self {
        Self::with_room(MAX_WAITING, MAX_PROVED, MAX_GREYLISTED_NETWORKS, seed)
    }

    fn with_room(waiting: usize, proved: usize, networks: usize, seed: Secret) -> Self {
        Self {
            waiting: Sharded::new(waiting),
            proved: Sharded::new(proved),
            networks: Sharded::new(networks),
            seed,
            most_single: (waiting.div_ceil(SHARDS) * SINGLE_OF_FOUR).div_ceil(4),
            full: AtomicU64::new(0),
            turn: AtomicUsize::new(0),
        }
    }

    /// How it stands with an attempt; remembers nothing.
    pub(super) fn peek(&self, attempt: &Attempt, now: Nanos) -> Standing {
        let terms = &attempt.terms;
        if let Some(needed) = terms.auto_allow {
            let hash = self.network(attempt);
            let network = self.networks.of(hash).get(hash).copied();
            if network.is_some_and(|it| it.until > now && it.proofs >= needed) {
                return Standing::Allowed;
            }
        }
        let hash = self.triplet(attempt);
        if self.proved.of(hash).get(hash).is_some_and(|proved| proved.until > now) {
            return Standing::Known;
        }
        let mut waiting = self.waiting.of(hash);
        let found = waiting.get(hash).filter(|waiting| waiting.until > now);
        let single = found.map(|waiting| waiting.standing(terms, now));
        if let Some(standing) = single.filter(|standing| standing.passes()) {
            return standing;
        }
        let has_room =
            single.is_none() && waiting.has_room_within(self.most_single, |waiting| waiting.worth(now));
        drop(waiting);
        // Also if there is room again: who was told to wait with his pool has waited.
        let hash = self.pool(attempt.bucket, &attempt.pool);
        let mut waiting = self.waiting.of(hash);
        let found = waiting.get(hash).filter(|waiting| waiting.until > now);
        let together = found.map(|waiting| waiting.standing(terms, now));
        if let Some(standing) = together.filter(|standing| standing.passes()).or(single).or(together) {
            return standing;
        }
        if has_room || waiting.has_room(|waiting| waiting.worth(now)) {
            Standing::Waits { left: terms.delay, is_new: true }
        } else {
            Standing::Full
        }
    }

    /// Has all mail of a pool waited, for as long as a server may take to try again;
    /// false when there is no room.
    pub(super) fn pass(&self, bucket: u32, pool: &str, terms: &Terms, now: Nanos) -> bool {
        let delay = u64::try_from(terms.delay.as_nanos()).unwrap_or(u64::MAX);
        let waited = Waiting { first: now.saturating_sub(delay), until: now.saturating_add(KEPT_WAITING) };
        self.waiting.insert(self.pool(bucket, pool), waited, |it| it.worth(now))
    }

    /// Remembers an attempt, and what it has proved.
    pub(super) fn note(&self, attempt: &Attempt, fate: Fate, now: Nanos) {
        let standing = self.peek(attempt, now);
        match (standing, fate) {
            (_, Fate::Refused) | (Standing::Waits { is_new: false, .. }, _) => {}
            (Standing::Waits { is_new: true, .. }, _) => self.begin(attempt, now),
            (Standing::Full, _) => {
                self.full.fetch_add(1, Ordering::Relaxed);
            }
            (_, Fate::Deferred) => {}
            (Standing::Allowed, Fate::LetThrough) => self.renew_network(attempt, now),
            (Standing::CameBack { .. } | Standing::Known, Fate::LetThrough) => {
                self.renew_proved(attempt, now);
                self.prove_network(attempt, now);
            }
        }
    }

    /// Puts in what a file has, instead of what there was; false if there is no room.
    pub(super) fn restore_waiting(&self, hash: u64, waiting: Waiting, now: Nanos) -> bool {
        self.waiting.restore(hash, waiting, |it| it.worth(now))
    }

    pub(super) fn restore_proved(&self, hash: u64, proved: Proved, now: Nanos) -> bool {
        self.waiting.of(hash).remove(hash);
        self.proved.restore(hash, proved, |it| it.worth(now))
    }

    pub(super) fn restore_network(&self, hash: u64, network: Network, now: Nanos) -> bool {
        self.networks.restore(hash, network, |it| it.worth(now))
    }

    /// Forgets what is over, in one shard after the other.
    pub(super) fn sweep(&self, now: Nanos) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.waiting.0[turn % SHARDS].lock().sweep(|it| it.worth(now));
        self.proved.0[turn % SHARDS].lock().sweep(|it| it.worth(now));
        self.networks.0[turn % SHARDS].lock().sweep(|it| it.worth(now));
    }

    pub(super) fn sizes(&self) -> GreylistSizes {
        let (waiting, evicted_waiting) = self.waiting.sizes();
        let (proved, evicted_proved) = self.proved.sizes();
        let (networks, evicted_networks) = self.networks.sizes();
        let full = self.full.load(Ordering::Relaxed);
        GreylistSizes { waiting, proved, networks, evicted_waiting, evicted_proved, evicted_networks, full }
    }

    fn begin(&self, attempt: &Attempt, now: Nanos) {
        let Terms { delay, retry_window, .. } = attempt.terms;
        let single = Waiting { first: now, until: after(now, retry_window) };
        if self.waiting.insert_within(self.most_single, self.triplet(attempt), single, |it| it.worth(now)) {
            return;
        }
        // It stands for all mail of the pool, so for no longer than it must.
        let until = single.until.min(after(now, delay).saturating_add(KEPT_WAITING));
        if !self.waiting.insert(
            self.pool(attempt.bucket, &attempt.pool),
            Waiting { first: now, until },
            |it| it.worth(now),
        ) {
            self.full.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn renew_proved(&self, attempt: &Attempt, now: Nanos) {
        let hash = self.triplet(attempt);
        let until = after(now, attempt.terms.remember);
        // If there is no room it has to wait once more next time.
        if self.proved.insert(hash, Proved { until }, |it| it.worth(now)) {
            self.waiting.of(hash).remove(hash);
        }
    }

    fn prove_network(&self, attempt: &Attempt, now: Nanos) {
        let hash = self.network(attempt);
        let until = after(now, attempt.terms.remember);
        let mut networks = self.networks.of(hash);
        match networks.get_mut(hash).filter(|network| network.until > now) {
            Some(network) => {
                if network.last_proof.saturating_add(PROOF_EVERY) <= now {
                    network.proofs = network.proofs.saturating_add(1);
                    network.last_proof = now;
                }
                network.until = network.until.max(until);
            }
            None => {
                let network = Network { proofs: 1, last_proof: now, until };
                networks.insert(hash, network, |it| it.worth(now));
            }
        }
    }

    fn renew_network(&self, attempt: &Attempt, now: Nanos) {
        let hash = self.network(attempt);
        if let Some(network) = self.networks.of(hash).get_mut(hash) {
            network.until = network.until.max(after(now, attempt.terms.remember));
        }
    }

    fn triplet(&self, attempt: &Attempt) -> u64 {
        let Attempt { pool, sender, recipient, .. } = attempt;
        self.seed.hash(attempt.bucket, &[pool, sender, recipient].map(|text| cut(text)))
    }

    fn pool(&self, bucket: u32, pool: &str) -> u64 {
        self.seed.hash(bucket, &["pool", cut(pool)])
    }

    fn network(&self, attempt: &Attempt) -> u64 {
        self.seed.hash(attempt.bucket, &[cut(&attempt.network)])
    }
}

impl<V: Copy> Sharded<V> {
    fn new(most: usize) -> Self {
        Self(std::array::from_fn(|_| Mutex::new(Ring::new(most.div_ceil(SHARDS)))))
    }

    fn of(&self, hash: u64) -> parking_lot::MutexGuard<'_, Ring<V>> {
        self.0[(hash >> 32) as usize % SHARDS].lock()
    }

    fn insert(&self, hash: u64, value: V, worth: impl Fn(&V) -> Worth) -> bool {
        self.insert_within(usize::MAX, hash, value, worth)
    }

    /// If only so many may be in its shard.
    fn insert_within(&self, most: usize, hash: u64, value: V, worth: impl Fn(&V) -> Worth) -> bool {
        let mut ring = self.of(hash);
        if let Some(known) = ring.get_mut(hash) {
            *known = value;
            return true;
        }
        ring.insert_within(most, hash, value, worth).is_some()
    }

    fn restore(&self, hash: u64, value: V, worth: impl Fn(&V) -> Worth) -> bool {
        let mut ring = self.of(hash);
        if worth(&value) == Worth::Over {
            ring.remove(hash);
            return true;
        }
        ring.restore(hash, value, worth).is_some()
    }

    pub(super) fn rings(&self) -> &[Mutex<Ring<V>>; SHARDS] {
        &self.0
    }

    /// How many there are, and how many were forgotten to make room.
    fn sizes(&self) -> (u64, u64) {
        self.0.iter().fold((0, 0), |(len, evicted), ring| {
            let ring = ring.lock();
            (len + ring.len() as u64, evicted + ring.evicted)
        })
    }
}

impl Waiting {
    fn standing(&self, terms: &Terms, now: Nanos) -> Standing {
        let waited = Duration::from_nanos(now.saturating_sub(self.first));
        match terms.delay.checked_sub(waited).filter(|left| !left.is_zero()) {
            Some(left) => Standing::Waits { left, is_new: false },
            None => Standing::CameBack { after: waited },
        }
    }

    /// The one that has waited longest was hardly made by a server.
    pub(super) fn worth(&self, now: Nanos) -> Worth {
        if self.until <= now {
            return Worth::Over;
        }
        if self.first.saturating_add(KEPT_WAITING) > now { Worth::Stays } else { Worth::Some(self.first) }
    }
}

impl Proved {
    /// The one that was not used for longest.
    pub(super) fn worth(&self, now: Nanos) -> Worth {
        if self.until <= now { Worth::Over } else { Worth::Some(self.until) }
    }
}

impl Network {
    /// The same, but first those that have proved less.
    pub(super) fn worth(&self, now: Nanos) -> Worth {
        if self.until <= now {
            return Worth::Over;
        }
        let proofs = u64::from(self.proofs.min(15));
        Worth::Some(proofs << 60 | self.until >> 4)
    }
}

fn after(now: Nanos, period: Duration) -> Nanos {
    now.saturating_add(u64::try_from(period.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Nanos = 1_800_000_000 * SECOND;
    const MINUTE: Nanos = 60 * SECOND;
    const HOUR: Nanos = 60 * MINUTE;
    const DAY: Nanos = 24 * HOUR;

    const TERMS: Terms = Terms {
        delay: Duration::from_secs(300),
        retry_window: Duration::from_secs(2 * 86_400),
        auto_allow: Some(5),
        remember: Duration::from_secs(35 * 86_400),
    };

    fn greylist() -> Greylist {
        Greylist::new(Secret::default())
    }

    fn attempt(network: &str, sender: &str) -> Attempt {
        Attempt {
            bucket: 1,
            network: network.into(),
            pool: network.into(),
            sender: sender.into(),
            recipient: "user@example.com".into(),
            terms: TERMS,
        }
    }

    /// Asks and notes what became of it, as if nothing else had a say.
    fn try_at(greylist: &Greylist, attempt: &Attempt, now: Nanos) -> Standing {
        let standing = greylist.peek(attempt, now);
        let fate = if standing.passes() { Fate::LetThrough } else { Fate::Deferred };
        greylist.note(attempt, fate, now);
        standing
    }

    fn waits(seconds: u64, is_new: bool) -> Standing {
        Standing::Waits { left: Duration::from_secs(seconds), is_new }
    }

    #[test]
    fn an_attempt_waits_comes_back_and_is_known() {
        let greylist = greylist();
        let attempt = attempt("192.0.2.0/24", "a@b.test");
        // When, and how it stands then.
        for (at, expected) in [
            (0, waits(300, true)),
            (10 * SECOND, waits(290, false)),
            // A retry too soon does not start the wait again.
            (299 * SECOND, waits(1, false)),
            (300 * SECOND, Standing::CameBack { after: Duration::from_secs(300) }),
            (301 * SECOND, Standing::Known),
            (30 * DAY, Standing::Known),
            (64 * DAY, Standing::Known),
            // 35 days without it.
            (100 * DAY, waits(300, true)),
            // Not made again within two days: it was never made.
            (102 * DAY, waits(300, true)),
            (102 * DAY + HOUR, Standing::CameBack { after: Duration::from_secs(3_600) }),
        ] {
            assert_eq!(try_at(&greylist, &attempt, NOW + at), expected, "{at}");
        }
    }

    #[test]
    fn another_mail_and_another_rule_are_something_else() {
        let greylist = greylist();
        let known = attempt("192.0.2.0/24", "a@b.test");
        try_at(&greylist, &known, NOW);
        try_at(&greylist, &known, NOW + HOUR);
        for (other, passes) in [
            (known.clone(), true),
            (attempt("192.0.2.0/24", "other@b.test"), false),
            (Attempt { recipient: "x@example.com".into(), ..known.clone() }, false),
            (Attempt { pool: "198.51.100.0/24".into(), ..known.clone() }, false),
            (Attempt { network: "198.51.100.0/24".into(), ..known.clone() }, true),
            (Attempt { bucket: 2, ..known.clone() }, false),
        ] {
            assert_eq!(greylist.peek(&other, NOW + 2 * HOUR).passes(), passes, "{other:?}");
        }
    }

    #[test]
    fn a_network_that_came_back_in_five_different_hours_passes() {
        let greylist = greylist();
        let sender = |number: u64| attempt("192.0.2.0/24", &format!("a{number}@b.test"));
        for number in 0..5 {
            for minute in [0, 10, 11] {
                // Of several retries within an hour one is a proof.
                let at = NOW + number * 2 * HOUR + minute * MINUTE;
                assert_eq!(try_at(&greylist, &sender(number), at).passes(), minute > 0, "{number} {minute}");
                try_at(&greylist, &sender(100 + number), at);
            }
        }
        let now = NOW + 9 * HOUR;
        assert_eq!(greylist.peek(&sender(50), now), Standing::Allowed);
        let never = Attempt { terms: Terms { auto_allow: None, ..TERMS }, ..sender(50) };
        assert_eq!(greylist.peek(&never, now), waits(300, true));
        // Renewed by use, forgotten without.
        for (day, standing) in [(30, Standing::Allowed), (60, Standing::Allowed), (96, waits(300, true))] {
            assert_eq!(try_at(&greylist, &sender(50), NOW + day * DAY), standing, "{day}");
        }
    }

    #[test]
    fn what_is_refused_proves_nothing_and_what_is_deferred_by_others_has_been_tried() {
        let greylist = greylist();
        let attempt = attempt("192.0.2.0/24", "a@b.test");
        greylist.note(&attempt, Fate::Refused, NOW);
        assert_eq!(greylist.sizes().waiting, 0);
        greylist.note(&attempt, Fate::Deferred, NOW);
        let now = NOW + HOUR;
        for fate in [Fate::Refused, Fate::Deferred] {
            greylist.note(&attempt, fate, now);
            assert_eq!((greylist.sizes().proved, greylist.peek(&attempt, now).passes()), (0, true));
        }
        greylist.note(&attempt, Fate::LetThrough, now);
        let sizes = greylist.sizes();
        assert_eq!((sizes.waiting, sizes.proved, sizes.networks), (0, 1, 1));
    }

    #[test]
    fn a_flood_neither_pushes_out_what_has_proved_itself_nor_makes_anybody_wait_for_ever() {
        let greylist = Greylist::with_room(320, 320, 320, Secret::default());
        let (known, waiting) = (attempt("192.0.2.0/24", "a@b.test"), attempt("192.0.2.0/24", "w@b.test"));
        try_at(&greylist, &known, NOW);
        try_at(&greylist, &known, NOW + HOUR);
        try_at(&greylist, &waiting, NOW + HOUR);
        let flood = |network: &dyn Fn(u64) -> String, now: Nanos| {
            let attempts =
                (0..5_000).map(|number| attempt(&network(number), &format!("a{number}@flood.test")));
            attempts.filter(|attempt| try_at(&greylist, attempt, now).passes()).count() as u64
        };
        // What one client makes up passes no sooner, and leaves room.
        let now = NOW + HOUR + SECOND;
        assert_eq!(flood(&|_| "203.0.113.0/24".into(), now), 0);
        let sizes = greylist.sizes();
        assert_eq!((sizes.full, sizes.evicted_waiting), (0, 0));
        assert!(sizes.waiting < 240, "{sizes:?}");
        for hash in (0..320).map(|number| number << 32 | number) {
            let made_up = Waiting { first: now, until: now + DAY };
            greylist.waiting.insert_within(greylist.most_single, hash, made_up, |it| it.worth(now));
        }
        // All of a pool wait together.
        let server = attempt("198.51.100.0/24", "s@b.test");
        let neighbour = attempt("198.51.100.0/24", "other@b.test");
        assert_eq!(try_at(&greylist, &server, now), waits(300, true));
        assert_eq!(try_at(&greylist, &neighbour, now + 60 * SECOND), waits(240, false));
        assert_eq!((greylist.sizes().full, greylist.sizes().evicted_waiting), (0, 0));
        // So many pools are more than there is room for.
        let passed = flood(&|number| format!("pool{number}"), now + SECOND);
        let sizes = greylist.sizes();
        assert!(sizes.waiting <= 320, "{sizes:?}");
        assert_eq!((sizes.full, sizes.evicted_waiting), (passed, 0));
        assert!(passed >= 4_680, "{passed}");
        let later = NOW + 2 * HOUR;
        assert_eq!(greylist.peek(&known, later), Standing::Known);
        for waited in [&waiting, &server] {
            assert!(matches!(try_at(&greylist, waited, later), Standing::CameBack { .. }));
        }
        assert_eq!(try_at(&greylist, &server, later), Standing::Known);
        // It stood for its pool for a while only.
        assert!(!greylist.peek(&attempt("198.51.100.0/24", "third@b.test"), NOW + 7 * HOUR).passes());
        // After some hours the oldest of those that never came back go.
        let (later, new) = (NOW + 6 * HOUR, attempt("192.0.2.0/24", "new@b.test"));
        assert_eq!(try_at(&greylist, &new, later), waits(300, true));
        assert!(try_at(&greylist, &new, later + HOUR).passes());
        for number in 0..100 {
            let new = attempt(&format!("later{number}"), "new@b.test");
            assert_eq!(try_at(&greylist, &new, later), waits(300, true));
        }
        assert!(greylist.sizes().evicted_waiting > 0);
        (0..SHARDS).for_each(|_| greylist.sweep(NOW + 100 * DAY));
        let sizes = greylist.sizes();
        assert_eq!((sizes.waiting, sizes.proved, sizes.networks), (0, 0, 0));
    }

    #[test]
    fn a_pool_that_is_let_pass_has_waited_for_some_hours() {
        let greylist = greylist();
        let (known, other) = (attempt("192.0.2.0/24", "a@b.test"), attempt("198.51.100.0/24", "a@b.test"));
        assert_eq!(try_at(&greylist, &known, NOW), waits(300, true));
        assert!(greylist.pass(1, "192.0.2.0/24", &TERMS, NOW));
        let passed = Standing::CameBack { after: TERMS.delay };
        for (attempt, at, expected) in [
            (&other, 0, waits(300, true)),
            (&Attempt { bucket: 2, ..known.clone() }, 0, waits(300, true)),
            (&known, 0, passed),
            (&known, 5 * HOUR, Standing::Known),
            (
                &attempt("192.0.2.0/24", "b@b.test"),
                SECOND,
                Standing::CameBack { after: TERMS.delay + Duration::from_secs(1) },
            ),
            (&attempt("192.0.2.0/24", "c@b.test"), 4 * HOUR, waits(300, true)),
        ] {
            assert_eq!(try_at(&greylist, attempt, NOW + at), expected, "{attempt:?}");
        }
    }

    #[test]
    fn a_full_table_of_networks_keeps_those_that_proved_most() {
        let greylist = Greylist::with_room(10_000, 10_000, 160, Secret::default());
        let good = attempt("good", "a@b.test");
        for hour in 0..6 {
            try_at(&greylist, &good, NOW + hour * HOUR);
        }
        for number in 0..500 {
            let other = attempt(&format!("other{number}"), "a@b.test");
            try_at(&greylist, &other, NOW + 6 * HOUR);
            try_at(&greylist, &other, NOW + 7 * HOUR);
        }
        assert!(greylist.sizes().networks <= 160);
        assert_eq!(greylist.peek(&attempt("good", "new@b.test"), NOW + 8 * HOUR), Standing::Allowed);
    }

    #[test]
    fn a_clock_that_goes_back_lets_nobody_through() {
        let greylist = greylist();
        let attempt = attempt("192.0.2.0/24", "a@b.test");
        try_at(&greylist, &attempt, NOW);
        for back in [1, HOUR, 40 * DAY] {
            assert_eq!(try_at(&greylist, &attempt, NOW - back), waits(300, false));
        }
        assert!(try_at(&greylist, &attempt, NOW + 300 * SECOND).passes());
    }
}
