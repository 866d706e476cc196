//! The table of how many different values each key has shown.
//!
//! Keys and values are made of what strangers send. What bounds them: so many keys,
//! so many values of all keys together (when there are as many, a key that goes on
//! becomes coarser instead of larger), 384 bytes a key (`shard`). What has shown least
//! goes first, never a key that is at its limit; when nothing may go, a new key is
//! not counted, and the answer is that there is no room.
//!
//! Lock order: the shards of a batch by rising number.

use super::Answer;
use super::clock::Nanos;
use super::keep::SetBack;
use super::limits::Limits;
use super::limits::Window;
use super::ring::Gone;
use super::ring::Ring;
use super::ring::Worth;
use super::seed::Secret;
use super::shard::cut;
use super::shown::KeyUse;
use super::variety::MAX_VALUES;
use super::variety::SeenValue;
use super::variety::Variety;
use super::weigh::LIMITED;
use parking_lot::Mutex;
use parking_lot::MutexGuard;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

/// Keys at most; some 20 MiB if each has shown one or two values.
pub const MAX_DISTINCT_KEYS: usize = 100_000;

/// Values of all keys together; 24 MiB, and up to twice that while they grow.
const MAX_ALL_VALUES: usize = 2_000_000;

/// What a key may still keep once there are as many.
const LEAST_VALUES: usize = 64;

const SHARDS: usize = 16;

/// One more value of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Showing {
    /// Which rule's; the same key of another one is another thing.
    pub bucket: u32,
    pub key: String,
    pub value: String,
    pub limits: Arc<Limits>,
}

#[derive(Debug)]
pub(super) struct Distinct {
    shards: [Mutex<Shard>; SHARDS],
    seed: Secret,
    /// Which shard is swept next.
    turn: AtomicUsize,
    /// What the operator has set back; see `keep`.
    pub set_back: SetBack,
}

#[derive(Debug)]
pub(super) struct Shard {
    pub keys: Ring<Kept>,
    /// Of all of them.
    values: usize,
}

#[derive(Debug)]
pub(super) struct Kept {
    pub bucket: u32,
    pub key: Box<str>,
    /// Those last asked about.
    pub limits: Limits,
    /// The longest period that was ever asked about.
    longest: Nanos,
    pub variety: Variety,
}

/// The shards of a batch, and where each question is.
struct Locked<'t, 'q> {
    shards: Vec<(usize, MutexGuard<'t, Shard>)>,
    questions: Vec<(&'q Showing, Place)>,
}

#[derive(Clone, Copy)]
struct Place {
    shard: usize,
    key: u64,
    value: u32,
}

impl Distinct {
    pub(super) fn new(most: usize, seed: Secret) -> Self {
        let shard = |_| Mutex::new(Shard { keys: Ring::new(most.div_ceil(SHARDS)), values: 0 });
        let set_back = SetBack::default();
        Self { shards: std::array::from_fn(shard), seed, turn: AtomicUsize::new(0), set_back }
    }

    /// What [`show`](Self::show) would say of each alone; None: there is no room.
    pub(super) fn peek(&self, showing: &Showing, now: Nanos) -> Option<Answer> {
        let place = self.place(showing);
        let mut shard = self.shards[place.shard].lock();
        self.weigh(showing, place, &mut shard, now)
    }

    /// Adds the values if all that must fit do, else none of them: in one step. Those
    /// that need not are added whatever their limits say.
    pub(super) fn show(&self, questions: &[(&Showing, bool)], now: Nanos) -> Vec<Option<Answer>> {
        let mut locked = self.lock(questions.iter().map(|(showing, _)| *showing));
        let mut answers = Vec::with_capacity(questions.len());
        for (showing, place) in &locked.questions {
            let shard = locked.shards.iter_mut().find(|(number, _)| *number == place.shard);
            answers.push(shard.and_then(|(_, shard)| self.weigh(showing, *place, shard, now)));
        }
        let fits = |((_, must_fit), answer): (&(&Showing, bool), &Option<Answer>)| {
            !must_fit || answer.is_none_or(|answer| answer.allowed)
        };
        if questions.iter().zip(&answers).all(fits) {
            for (showing, place) in &locked.questions {
                if let Some((_, shard)) = locked.shards.iter_mut().find(|(number, _)| *number == place.shard)
                {
                    shard.add(showing, *place, now);
                }
            }
        }
        answers
    }

    /// What a key has shown of each of the buckets it is in.
    pub(super) fn look(&self, buckets: &[u32], key: &str, now: Nanos) -> Vec<KeyUse> {
        let each = buckets.iter().filter_map(|bucket| {
            let (shard, hash) = self.locate(*bucket, key);
            self.shards[shard].lock().keys.get(hash).map(|kept| kept.shown(now))
        });
        each.collect()
    }

    /// Forgets a key; in how many buckets it was.
    pub(super) fn reset(&self, buckets: &[u32], key: &str) -> usize {
        let reset = |bucket: &&u32| {
            let (shard, hash) = self.locate(**bucket, key);
            let is_reset = self.shards[shard].lock().remove(hash);
            if is_reset {
                self.set_back.note(**bucket, cut(key));
            }
            is_reset
        };
        buckets.iter().filter(reset).count()
    }

    /// The keys nearest their limits.
    pub(super) fn fullest(&self, most: usize, now: Nanos) -> Vec<KeyUse> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let loads = shard.keys.iter().map(|(hash, kept)| (kept.load(now), hash));
            let mut loads: Vec<_> = loads.filter(|(load, _)| *load > 0).collect();
            loads.sort_unstable_by(|one, other| other.cmp(one));
            let shown = |(_, hash): &(u64, u64)| shard.keys.get(*hash).map(|kept| kept.shown(now));
            found.extend(loads.iter().take(most).filter_map(shown));
        }
        found
    }

    /// Puts in what a file has of a key, instead of what there was; false if there is no
    /// room for it. Only with the seed under which its values were hashed.
    pub(super) fn put(
        &self,
        bucket: u32,
        key: &str,
        limits: &Limits,
        values: Vec<SeenValue>,
        now: Nanos,
    ) -> bool {
        let (shard, hash) = self.locate(bucket, key);
        let mut shard = self.shards[shard].lock();
        shard.remove(hash);
        let mut kept = Kept::new(bucket, key, limits);
        let room = if shard.is_full() { LEAST_VALUES } else { MAX_VALUES };
        kept.variety = Variety::restored(values, kept.longest, room, now);
        kept.worth(now) == Worth::Over || shard.restore(hash, kept, now)
    }

    pub(super) fn shards(&self) -> &[Mutex<Shard>] {
        &self.shards
    }

    /// Looks at a key, if it is there.
    pub(super) fn with<T>(&self, bucket: u32, key: &str, look: impl FnOnce(Option<&Kept>) -> T) -> T {
        let (shard, hash) = self.locate(bucket, key);
        look(self.shards[shard].lock().keys.get(hash))
    }

    /// Forgets what has shown nothing for long, in one shard after the other.
    pub(super) fn sweep(&self, now: Nanos) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut shard = self.shards[turn % SHARDS].lock();
        shard.keys.sweep(|kept| kept.worth(now));
        shard.values = shard.keys.iter().map(|(_, kept)| kept.variety.len()).sum();
    }

    /// How many keys there are, and how many were forgotten to make room.
    pub(super) fn sizes(&self) -> (u64, u64) {
        self.shards.iter().fold((0, 0), |(keys, evicted), shard| {
            let shard = shard.lock();
            (keys + shard.keys.len() as u64, evicted + shard.keys.evicted)
        })
    }

    fn weigh(&self, showing: &Showing, place: Place, shard: &mut Shard, now: Nanos) -> Option<Answer> {
        if let Some(kept) = shard.keys.get(place.key) {
            return Some(kept.variety.weigh(&showing.limits, place.value, now));
        }
        let has_room = shard.keys.has_room(|kept| kept.worth(now));
        has_room.then(|| Variety::default().weigh(&showing.limits, place.value, now))
    }

    fn lock<'q>(&self, showings: impl Iterator<Item = &'q Showing>) -> Locked<'_, 'q> {
        let questions: Vec<_> = showings.map(|showing| (showing, self.place(showing))).collect();
        let mut numbers: Vec<usize> = questions.iter().map(|(_, place)| place.shard).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let shards = numbers.into_iter().map(|number| (number, self.shards[number].lock())).collect();
        Locked { shards, questions }
    }

    fn place(&self, showing: &Showing) -> Place {
        let (shard, key) = self.locate(showing.bucket, &showing.key);
        // Half of a hash tells a thousand values apart.
        let value = self.seed.hash(showing.bucket, &[&showing.value]) as u32;
        Place { shard, key, value }
    }

    fn locate(&self, bucket: u32, key: &str) -> (usize, u64) {
        let hash = self.seed.hash(bucket, &[cut(key)]);
        ((hash >> 32) as usize % SHARDS, hash)
    }
}

impl Shard {
    fn add(&mut self, showing: &Showing, place: Place, now: Nanos) {
        if self.keys.get(place.key).is_none() {
            let kept = Kept::new(showing.bucket, &showing.key, &showing.limits);
            if !self.insert(place.key, kept, now) {
                return;
            }
        }
        let is_full = self.is_full();
        let Some(kept) = self.keys.get_mut(place.key) else {
            return;
        };
        let before = kept.variety.len();
        let room = if is_full { before.clamp(LEAST_VALUES, MAX_VALUES) } else { MAX_VALUES };
        kept.note(&showing.limits);
        kept.variety.add(place.value, kept.longest, room, now);
        self.values = (self.values + kept.variety.len()).saturating_sub(before);
    }

    /// A new one, which has no values yet.
    fn insert(&mut self, hash: u64, kept: Kept, now: Nanos) -> bool {
        let gone = self.keys.insert(hash, kept, |kept| kept.worth(now));
        self.account(0, gone)
    }

    fn restore(&mut self, hash: u64, kept: Kept, now: Nanos) -> bool {
        let new = kept.variety.len();
        let gone = self.keys.restore(hash, kept, |kept| kept.worth(now));
        self.account(new, gone)
    }

    /// Whether there was room.
    fn account(&mut self, new: usize, gone: Option<Gone<Kept>>) -> bool {
        let Some(gone) = gone else {
            return false;
        };
        let gone: usize = gone.iter().map(|kept| kept.variety.len()).sum();
        self.values = (self.values + new).saturating_sub(gone);
        true
    }

    fn is_full(&self) -> bool {
        self.values >= MAX_ALL_VALUES / SHARDS
    }

    fn remove(&mut self, hash: u64) -> bool {
        let removed = self.keys.remove(hash);
        let values = removed.as_ref().map_or(0, |kept| kept.variety.len());
        self.values = self.values.saturating_sub(values);
        removed.is_some()
    }
}

impl Kept {
    fn new(bucket: u32, key: &str, limits: &Limits) -> Self {
        let mut kept = Self {
            bucket,
            key: cut(key).into(),
            limits: limits.clone(),
            longest: 0,
            variety: Variety::default(),
        };
        kept.note(limits);
        kept
    }

    fn note(&mut self, limits: &Limits) {
        let longest = limits.windows().iter().map(Window::period_nanos).max();
        self.longest = self.longest.max(longest.unwrap_or(0));
        self.limits = limits.clone();
    }

    fn load(&self, now: Nanos) -> u64 {
        self.variety.load(&self.limits, now)
    }

    pub(super) fn worth(&self, now: Nanos) -> Worth {
        match self.load(now) {
            0 => Worth::Over,
            LIMITED.. => Worth::Stays,
            load => Worth::Some(load),
        }
    }

    fn shown(&self, now: Nanos) -> KeyUse {
        KeyUse {
            bucket: self.bucket,
            key: self.key.to_string(),
            windows: self.variety.windows(&self.limits, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Nanos = 1_800_000_000_000_000_000;
    const HOUR: Nanos = 3_600_000_000_000;

    fn showing(key: &str, value: impl ToString, limits: &str) -> Showing {
        let limits = Arc::new(limits.parse().unwrap());
        Showing { bucket: 1, key: key.into(), value: value.to_string(), limits }
    }

    fn show(table: &Distinct, showing: &Showing, now: Nanos) -> bool {
        table.show(&[(showing, true)], now)[0].unwrap().allowed
    }

    fn used(table: &Distinct, key: &str, now: Nanos) -> u64 {
        table.look(&[1], key, now).first().map_or(0, |found| found.windows[0].used)
    }

    #[test]
    fn the_values_of_all_questions_are_added_or_none() {
        let table = Distinct::new(1_000, Secret::default());
        let (wide, narrow) = (showing("a", 1, "9/1h"), showing("b", 1, "1/1h"));
        assert!(show(&table, &showing("b", 0, "1/1h"), NOW));
        for (must_fit, expected) in [(true, (0, 1)), (false, (1, 2))] {
            let answers = table.show(&[(&wide, true), (&narrow, must_fit)], NOW);
            assert_eq!(answers.iter().map(|it| it.unwrap().allowed).collect::<Vec<_>>(), [true, false]);
            assert_eq!((used(&table, "a", NOW), used(&table, "b", NOW)), expected);
        }
        // Asking adds nothing, and a value that was let through stays within.
        assert_eq!(table.peek(&showing("a", 2, "9/1h"), NOW).unwrap().used, 2);
        assert_eq!(used(&table, "a", NOW), 1);
        assert_eq!((used(&table, "a", NOW + 2 * HOUR), table.reset(&[1, 2], "a")), (0, 1));
        assert_eq!(table.look(&[1], "a", NOW), []);
    }

    #[test]
    fn threads_let_exactly_the_allowed_number_through() {
        let table = Distinct::new(1_000, Secret::default());
        let hammer = |thread: u64| {
            let values = (0..500).map(move |value| showing("a", thread * 1_000 + value, "700/1d"));
            values.filter(|showing| show(&table, showing, NOW)).count()
        };
        let total: usize = std::thread::scope(|scope| {
            let threads = [1, 2, 3].map(|thread| scope.spawn(move || hammer(thread)));
            threads.map(|thread| thread.join().unwrap()).iter().sum()
        });
        assert_eq!(total, 700);
    }

    #[test]
    fn a_flood_of_keys_frees_none_that_is_at_its_limit() {
        let table = Distinct::new(320, Secret::default());
        for value in 0..3 {
            assert!(show(&table, &showing("worm", value, "3/1h"), NOW));
        }
        for flood in 0..5_000 {
            show(&table, &showing(&format!("flood{flood}"), 1, "3/1h"), NOW);
        }
        let (keys, evicted) = table.sizes();
        assert!(keys <= 320 && evicted >= 4_600, "{keys} {evicted}");
        assert!(!show(&table, &showing("worm", 4, "3/1h"), NOW));
        (0..SHARDS).for_each(|_| table.sweep(NOW + 2 * HOUR));
        assert_eq!(table.sizes().0, 0);
    }

    #[test]
    fn where_no_key_may_go_a_new_one_is_not_counted() {
        let table = Distinct::new(16, Secret::default());
        let full: Vec<_> = (0..400).map(|key| showing(&format!("full{key}"), 1, "1/1h")).collect();
        let told = full.iter().filter(|showing| table.show(&[(showing, true)], NOW)[0].is_some()).count();
        let (keys, evicted) = table.sizes();
        assert_eq!((told as u64, evicted), (keys, 0));
        assert!(keys <= 16);
        // It does not keep another's value from being added.
        let known = full.iter().find(|it| used(&table, &it.key, NOW) > 0).unwrap();
        let other = full.iter().find(|it| used(&table, &it.key, NOW) == 0).unwrap();
        let again = Showing { value: "2".into(), limits: Arc::new("2/1h".parse().unwrap()), ..known.clone() };
        table.show(&[(&again, true), (other, true)], NOW);
        assert_eq!(used(&table, &known.key, NOW), 2);
        assert!(table.show(&[(other, true)], NOW + 2 * HOUR)[0].is_some());
    }

    #[test]
    fn values_of_all_keys_are_bounded() {
        let table = Distinct::new(320, Secret::default());
        let shard = || table.shards[0].lock();
        let key = (0..).map(|at| format!("k{at}")).find(|key| table.locate(1, key).0 == 0).unwrap();
        shard().values = MAX_ALL_VALUES;
        for value in 0..5_000 {
            table.show(&[(&showing(&key, value, "9/1h"), false)], NOW);
        }
        let values = |shard: &Shard| shard.keys.iter().map(|(_, kept)| kept.variety.len()).sum::<usize>();
        assert!(values(&shard()) <= LEAST_VALUES);
        let counted = used(&table, &key, NOW);
        assert!((2_000..12_000).contains(&counted), "{counted}");
        (0..SHARDS).for_each(|_| table.sweep(NOW));
        let shard = shard();
        assert_eq!(shard.values, values(&shard));
    }

    #[test]
    fn what_went_to_make_room_takes_none_and_new_limits_hold() {
        let table = Distinct::new(16, Secret::default());
        for key in 0..300 {
            for value in 0..3 {
                table.show(&[(&showing(&format!("k{key}"), value, "9/1h"), true)], NOW);
            }
        }
        let values = |shard: &Shard| shard.keys.iter().map(|(_, kept)| kept.variety.len()).sum::<usize>();
        assert!(table.shards.iter().all(|shard| {
            let shard = shard.lock();
            shard.values == values(&shard)
        }));
        let changed = Distinct::new(16, Secret::default());
        for limits in ["9/1h", "7/2h"] {
            show(&changed, &showing("a", limits, limits), NOW);
        }
        let shown = changed.look(&[1], "a", NOW + HOUR + HOUR / 2);
        assert_eq!((shown[0].windows[0].window.allowed, shown[0].windows[0].used), (7, 2));
    }
}
