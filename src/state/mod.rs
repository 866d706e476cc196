//! What gatepost remembers between requests: how much each key has used of its limits.
//!
//! Asked by the engine (`peek`) and, once a verdict is found, by the session
//! (`admit`, or `charge` for what is counted whatever becomes of it). The face is
//! async and takes all questions of a request in one batch, so that a store beside
//! the network can stand here; this one lives in the process and answers at once.
//!
//! Keys are made of what strangers send (senders, greetings, addresses), so their
//! number and length are bounded (`shard`), their hash is keyed, and time comes
//! from [`Clock`]. What one key costs: about 105 bytes with its place in the index, if
//! it has up to three token buckets of one limit (`plain`) and a text of up to 34
//! bytes; else also its text, and per window 72 bytes, or up to 1.5 KiB for a strict
//! one that is used without a pause.
//!
//! Beside limits: timed listings (`listings`), how many different values a key has
//! shown (`distinct`), and who has come back (`greylist`), each with bounds of its own.
//!
//! With a folder all of it outlives the process; what is reserved counts as charged
//! then (`keep`).
//!
//! Lock order: the shards of a batch by rising number, then the coarse table; those of
//! the reservations and of each other kind alone. No lock is held across an await.

mod buckets;
mod changes;
mod clock;
mod distinct;
mod entry;
mod greylist;
mod holds;
mod keep;
mod limits;
mod listings;
mod memory;
mod plain;
#[cfg(test)]
mod reference;
mod ring;
mod seed;
mod shard;
mod shown;
mod slots;
mod strict;
mod tokens;
mod usage;
mod variety;
mod weigh;

pub use clock::Clock;
pub use clock::Nanos;
pub use clock::Reading;
pub use distinct::MAX_DISTINCT_KEYS;
pub use distinct::Showing;
pub use greylist::Attempt;
pub use greylist::Fate;
pub use greylist::GreylistSizes;
pub use greylist::MAX_GREYLISTED_NETWORKS;
pub use greylist::MAX_PROVED;
pub use greylist::MAX_WAITING;
pub use greylist::Standing;
pub use greylist::Terms;
pub use holds::Hold;
pub use keep::Event;
pub use keep::Keeper;
pub use keep::Loaded;
pub use keep::Turned;
pub use keep::Written;
pub use limits::Limits;
pub use limits::MAX_WINDOWS;
pub use limits::Window;
pub use listings::LONGEST_LISTING;
pub use listings::Listing;
pub use listings::MAX_LISTED_KEYS;
pub use listings::NewListing;
pub use memory::Lesson;
pub use memory::Memory;
pub use memory::Remembered;
pub use shown::KeyUse;
pub use shown::WindowUse;
pub use usage::MAX_NOTED;
pub use usage::Used;

use buckets::Table;
use distinct::Distinct;
use greylist::Greylist;
use holds::Holds;
use holds::MAX_HOLDS;
use ipnet::IpNet;
use listings::Listings;
use seed::Secret;
use smallvec::SmallVec;
use std::time::Duration;
use usage::Usage;

/// So many overdue reservations are settled by each new one: above one, so that
/// settling keeps ahead.
const AT_ONCE: usize = 4;

/// Whether `n` more of `key` keep within `limits`, or that they are to be counted.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Which bucket of the policy; the same key in another one is another thing.
    pub bucket: u32,
    pub key: &'a str,
    /// The key's network: shared with its other strangers when the table is full
    /// of keys that may not be forgotten.
    pub coarse: Option<IpNet>,
    pub limits: &'a Limits,
    pub n: u64,
    /// Of these `n` so many have been charged before: they are weighed again, which
    /// may err to the strict side, but not charged again.
    pub counted: u64,
    /// Whether nothing of its batch is charged if it is above a limit. Else it is
    /// charged whatever its limits say.
    pub must_fit: bool,
}

/// A question whose answer nobody waits for.
pub type Charge<'a> = Question<'a>;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Answer {
    pub allowed: bool,
    /// What counts against `window`, this request included.
    pub used: u64,
    /// The refusing window with the longest wait; when all allow, the fullest.
    pub window: Window,
    /// Until the same request would be allowed; when `never`, the window's period.
    pub retry_after: Duration,
    /// The request is larger than the window could ever allow.
    pub never: bool,
    /// What `window` has left, after this request if it is allowed.
    pub remaining: u64,
}

/// One for each question: of most requests one.
pub type Answers = SmallVec<[Answer; 1]>;

/// What became of an attempt to reserve.
#[derive(Clone, Debug)]
pub struct Reserved {
    /// As of [`State::admit`].
    pub answers: Answers,
    /// What is held for each question, if anything: nothing if not all that must fit
    /// do, nor of a question about the same key as one before it.
    pub holds: SmallVec<[Option<Hold>; 1]>,
}

/// For metrics.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    pub keys: u64,
    pub coarse_keys: u64,
    /// Keys in use that were forgotten to make room.
    pub evicted: u64,
    /// Keys forgotten because all they had used came back.
    pub expired: u64,
    /// Answers and charges that a coarse bucket stood in for.
    pub coarse: u64,
    /// Reservations that are open, and that were committed because nobody else
    /// settled them in time.
    pub holds: u64,
    pub overdue: u64,
}

#[derive(Debug)]
pub struct State {
    table: Table,
    listings: Listings,
    usage: Usage,
    holds: Holds,
    // On the heap: they are some kilobytes each, and a future may hold a state.
    distinct: Box<Distinct>,
    greylist: Box<Greylist>,
    secret: Secret,
    #[cfg(test)]
    stuck: bool,
}

impl State {
    /// `max_keys` as in `state.max_keys`; at least one is kept.
    pub fn in_memory(max_keys: usize) -> Self {
        let secret = Secret::default();
        Self {
            table: Table::new(max_keys),
            listings: Listings::new(MAX_LISTED_KEYS),
            usage: Usage::default(),
            holds: Holds::new(MAX_HOLDS),
            distinct: Box::new(Distinct::new(MAX_DISTINCT_KEYS, secret.clone())),
            greylist: Box::new(Greylist::new(secret.clone())),
            secret,
            #[cfg(test)]
            stuck: false,
        }
    }

    /// A store that has gone away: nothing is ever answered.
    #[cfg(test)]
    pub fn stuck() -> Self {
        Self { stuck: true, ..Self::in_memory(1) }
    }

    /// Uses of entries of lists are counted from now on, or go on to be; since when.
    pub fn count_uses(&self, now: Nanos) -> Nanos {
        self.usage.begin(now)
    }

    /// An entry of a list has found something.
    pub fn add_use(&self, list: &str, entry: &str, now: Nanos) {
        self.usage.add(list, entry, now);
    }

    pub fn uses_of(&self, list: &str, entry: &str) -> Option<Used> {
        self.usage.of(list, entry)
    }

    /// Forgets what is in no list any more.
    pub fn keep_uses(&self, is_there: impl Fn(&str, &str) -> bool) {
        self.usage.keep(is_there);
    }

    /// How many entries have been used.
    pub fn used_entries(&self) -> usize {
        self.usage.len()
    }

    /// What [`admit`](Self::admit) would say of each question alone; charges nothing.
    /// None is unknown.
    pub async fn peek(&self, questions: &[Question<'_>], now: Nanos) -> Vec<Option<Answer>> {
        self.reached().await;
        questions.iter().map(|question| Some(self.table.peek(question, now))).collect()
    }

    /// Whether [`admit`](Self::admit) would let through each of them alone; charges nothing.
    pub async fn have_room(&self, questions: &[Question<'_>], now: Nanos) -> bool {
        self.reached().await;
        questions.iter().all(|question| self.table.has_room(question, now))
    }

    /// Charges all questions, if every window has room of every one that must fit,
    /// else none: in one step, so that no other request comes between asking and
    /// charging. Questions about one key of one bucket are one thing under several
    /// limits: charged once, in all windows that are kept of it.
    pub async fn admit(&self, questions: &[Question<'_>], now: Nanos) -> Answers {
        self.reached().await;
        self.table.admit(questions, now)
    }

    /// Charges all windows, and refuses nothing: for attempts that were refused.
    /// A bucket does not get emptier than empty; a strict window counts on.
    pub async fn charge(&self, charges: &[Charge<'_>], now: Nanos) {
        self.reached().await;
        self.table.charge(charges, now);
    }

    /// What each of the keys is listed for.
    pub async fn listed(&self, keys: &[&str], now: Nanos) -> Vec<Vec<Listing>> {
        self.reached().await;
        keys.iter().map(|key| self.listings.of(key, now)).collect()
    }

    /// Lists a key, or keeps it listed for longer; false when there is no room.
    pub async fn list(&self, new: NewListing<'_>, now: Nanos) -> bool {
        self.reached().await;
        self.listings.add(new, now)
    }

    /// Takes a key off its lists, or one of them; how many listings went.
    pub async fn unlist(&self, key: &str, reason: Option<&str>, now: Nanos) -> usize {
        self.reached().await;
        self.listings.remove(key, reason, now)
    }

    /// Everything that is listed, by key.
    pub async fn all_listed(&self, now: Nanos) -> Vec<(String, Listing)> {
        self.reached().await;
        self.listings.all(now)
    }

    /// Forgets what is over and would else be forgotten when something new comes. To
    /// be called now and then.
    pub fn sweep(&self, now: Nanos) {
        self.listings.sweep(now);
        self.distinct.sweep(now);
        self.greylist.sweep(now);
    }

    /// How many keys are listed, or remembered to have been.
    pub fn listed_keys(&self) -> usize {
        self.listings.len()
    }

    /// Promises what [`admit`](Self::admit) would charge, or nothing. What is promised
    /// counts against the limits as if it were charged, until it is committed or given
    /// back; at `until` it is committed.
    pub async fn reserve(&self, questions: &[Question<'_>], until: Nanos, now: Nanos) -> Reserved {
        self.reached().await;
        self.settle_due(now, AT_ONCE);
        let (answers, parts) = self.table.reserve(questions, now);
        let hold = |part| {
            let (hold, evicted) = self.holds.open(part, until);
            evicted.iter().for_each(|part| self.table.commit(part, now));
            hold
        };
        Reserved { answers, holds: parts.into_iter().map(|part| part.map(hold)).collect() }
    }

    /// Charges what was promised: the mail was accepted.
    pub async fn commit(&self, holds: &[Hold], now: Nanos) {
        self.reached().await;
        for part in holds.iter().filter_map(|hold| self.holds.close(*hold)) {
            self.table.commit(&part, now);
        }
    }

    /// Lets go what was promised. Only on evidence that the mail, or the recipient, did
    /// not get through.
    pub async fn give_back(&self, holds: &[Hold]) {
        self.reached().await;
        for part in holds.iter().filter_map(|hold| self.holds.close(*hold)) {
            self.table.release(&part, part.n);
        }
    }

    /// Lets go all but `n` of what was promised, on the same evidence.
    pub async fn lower(&self, hold: Hold, n: u64) {
        self.reached().await;
        if let Some((part, less)) = self.holds.lower(hold, n) {
            self.table.release(&part, less);
        }
    }

    /// Commits what nobody has settled until now. Until it is called such things only
    /// count on; each reservation settles a few.
    pub async fn settle(&self, now: Nanos) {
        self.reached().await;
        self.settle_due(now, usize::MAX);
    }

    /// What a key has used in each of the buckets it is in.
    pub async fn look(&self, buckets: &[u32], key: &str, now: Nanos) -> Vec<KeyUse> {
        self.reached().await;
        let mut found = self.table.look(buckets, key, now);
        found.extend(self.distinct.look(buckets, key, now));
        found
    }

    /// Sets a key back to unused, but for what is reserved of it; in how many buckets
    /// it was.
    pub async fn reset(&self, buckets: &[u32], key: &str) -> usize {
        self.reached().await;
        self.table.reset(buckets, key) + self.distinct.reset(buckets, key)
    }

    /// The keys nearest their limits, the nearest first. Looks at all keys: not for the
    /// way of a request.
    pub async fn fullest(&self, most: usize, now: Nanos) -> Vec<KeyUse> {
        self.reached().await;
        let mut found = self.table.fullest(most, now);
        found.extend(self.distinct.fullest(most, now));
        found.sort_by_key(|used| std::cmp::Reverse(used.load()));
        found.truncate(most);
        found
    }

    /// How many keys it holds at most.
    pub fn capacity(&self) -> usize {
        self.table.capacity()
    }

    pub fn stats(&self) -> Stats {
        let (holds, overdue) = self.holds.stats();
        Stats { holds, overdue, ..self.table.stats() }
    }

    fn settle_due(&self, now: Nanos, most: usize) {
        for _ in 0..most {
            let Some(part) = self.holds.close_due(now) else {
                return;
            };
            self.table.commit(&part, now);
        }
    }

    #[cfg(test)]
    async fn reached(&self) {
        if self.stuck {
            std::future::pending::<()>().await;
        }
    }

    #[cfg(not(test))]
    async fn reached(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn about<'a>(key: &'a str, limits: &'a Limits, n: u64) -> Question<'a> {
        Question { bucket: 1, key, coarse: None, limits, n, counted: 0, must_fit: true }
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_is_reached_and_passes() {
        let state = State::in_memory(100);
        let clock = Clock::starting_at(UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let limits: Limits = "100/10m".parse().unwrap();
        let question = about("bob@example.com", &limits, 1);
        for _ in 0..100 {
            assert!(state.admit(&[question], clock.now()).await[0].allowed);
        }
        let refused = state.admit(&[question], clock.now()).await[0];
        assert_eq!((refused.allowed, refused.used), (false, 101));
        assert_eq!(state.peek(&[question], clock.now()).await, [Some(refused)]);
        tokio::time::advance(refused.retry_after).await;
        assert!(state.admit(&[question], clock.now()).await[0].allowed);
        assert!(!state.peek(&[question], clock.now()).await[0].unwrap().allowed);
        assert!(state.peek(&[about("eve@example.com", &limits, 1)], clock.now()).await[0].unwrap().allowed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_gone_never_answers() {
        let limits: Limits = "1/1h".parse().unwrap();
        let questions = [about("a", &limits, 1)];
        let state = State::stuck();
        let peek = state.peek(&questions, 0);
        assert!(tokio::time::timeout(Duration::from_secs(60), peek).await.is_err());
    }
}
