//! The table of keys in this process: shards behind a lock each, and what a batch of
//! questions does with them in one step.
//!
//! When a shard is full of keys that may not go, a new key shares a coarse bucket with
//! all new ones of its network. The worst a flood of invented keys can do is thus that
//! strangers of one network are limited together.

use super::Answer;
use super::Answers;
use super::Charge;
use super::Question;
use super::Stats;
use super::clock::Nanos;
use super::holds::Part;
use super::keep::SetBack;
use super::limits::Limits;
use super::plain::Uses;
use super::shard::KeyRef;
use super::shard::Shard;
use super::slots::Slot;
use foldhash::fast::RandomState;
use parking_lot::Mutex;
use parking_lot::MutexGuard;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// Two cores per shard would still seldom meet on the largest of mail servers.
const MAX_SHARDS: usize = 64;

/// A shard smaller than this would be full long before its neighbours.
const KEYS_PER_SHARD: usize = 1_024;

/// Networks that share. Beyond them there is one bucket for all the rest.
const MAX_COARSE_KEYS: usize = 65_536;

/// So many of something of a batch, mostly.
type Few<T> = SmallVec<[T; 4]>;

#[derive(Debug)]
pub(super) struct Table {
    shards: Box<[Mutex<Shard>]>,
    coarse: Mutex<Shard>,
    hasher: RandomState,
    coarse_answers: AtomicU64,
    capacity: usize,
    /// What the operator has set back; see `keep`.
    pub(super) set_back: SetBack,
}

/// The shards of a batch, locked by rising number, and the coarse table after them.
struct Locked<'t> {
    table: &'t Table,
    shards: Few<(usize, MutexGuard<'t, Shard>)>,
    coarse: Option<MutexGuard<'t, Shard>>,
}

/// Where a question is counted. A place with something held does not become another's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    Coarse(u32),
    Own(usize, u32),
}

/// A batch of questions, each with its key and its place.
struct Batch<'b> {
    questions: &'b [Question<'b>],
    keys: Few<KeyRef<'b>>,
    places: Few<Place>,
}

impl Table {
    pub(super) fn new(max_keys: usize) -> Self {
        let max_keys = max_keys.max(1);
        let shards = (max_keys / KEYS_PER_SHARD).clamp(1, MAX_SHARDS);
        let hasher = RandomState::default();
        let shard = |max_keys| Mutex::new(Shard::new(max_keys, hasher.clone()));
        Self {
            shards: (0..shards).map(|_| shard(max_keys / shards)).collect(),
            coarse: shard(MAX_COARSE_KEYS),
            hasher,
            coarse_answers: AtomicU64::new(0),
            capacity: max_keys,
            set_back: SetBack::default(),
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn shards(&self) -> &[Mutex<Shard>] {
        &self.shards
    }

    pub(super) fn coarse(&self) -> &Mutex<Shard> {
        &self.coarse
    }

    pub(super) fn hasher(&self) -> &RandomState {
        &self.hasher
    }

    pub(super) fn shard_of(&self, key: &KeyRef<'_>) -> &Mutex<Shard> {
        &self.shards[key.shard(self.shards.len())]
    }

    pub(super) fn peek(&self, question: &Question<'_>, now: Nanos) -> Answer {
        self.look_for(question, now, |slot| match slot {
            Some(slot) => slot.uses.weigh(question.limits, question.n, slot.held, now),
            None => Uses::none(question.limits).weigh(question.limits, question.n, 0, now),
        })
    }

    /// As [`peek`](Self::peek), but says no more than whether it is allowed: of most
    /// strangers nothing is kept.
    pub(super) fn has_room(&self, question: &Question<'_>, now: Nanos) -> bool {
        self.look_for(question, now, |slot| match slot {
            Some(slot) => slot.uses.weigh(question.limits, question.n, slot.held, now).allowed,
            None => question.limits.fit_unused(question.n),
        })
    }

    /// Shows where a question would be counted, if there is such a place.
    fn look_for<T>(&self, question: &Question<'_>, now: Nanos, see: impl FnOnce(Option<&Slot>) -> T) -> T {
        let (number, key) = self.locate(question);
        let mut shard = self.shards[number].lock();
        let found = shard.find(key);
        if found.is_some() || shard.has_room(&[], now) {
            return see(found.and_then(|at| shard.get(at)));
        }
        self.coarse_answers.fetch_add(1, Ordering::Relaxed);
        let mut coarse = self.coarse.lock();
        let found = coarse.find_shared(question, now);
        see(found.and_then(|at| coarse.get(at)))
    }

    pub(super) fn admit(&self, questions: &[Question<'_>], now: Nanos) -> Answers {
        if let [question] = questions
            && let Some(answer) = self.admit_one(question, now)
        {
            return SmallVec::from_buf([answer]);
        }
        let mut locked = self.lock(questions);
        let batch = locked.settle(questions, now);
        let (answers, fit) = locked.weigh(&batch, now);
        if fit {
            locked.charge(&batch, now);
        }
        answers
    }

    /// Most requests have one question, which is answered in its own place.
    fn admit_one(&self, question: &Question<'_>, now: Nanos) -> Option<Answer> {
        let (number, key) = self.locate(question);
        let mut shard = self.shards[number].lock();
        let at = shard.find(key).or_else(|| shard.make(key, question.limits, &[], now))?;
        shard.admit(at, question, now)
    }

    pub(super) fn charge(&self, charges: &[Charge<'_>], now: Nanos) {
        let mut locked = self.lock(charges);
        let batch = locked.settle(charges, now);
        locked.charge(&batch, now);
    }

    /// As [`admit`](Self::admit), but only promises; beside each answer what it was.
    pub(super) fn reserve(&self, questions: &[Question<'_>], now: Nanos) -> (Answers, Few<Option<Part>>) {
        if let [question] = questions
            && let Some((answer, part)) = self.reserve_one(question, now)
        {
            return (SmallVec::from_buf([answer]), std::iter::once(part).collect());
        }
        let mut locked = self.lock(questions);
        let batch = locked.settle(questions, now);
        let (answers, fit) = locked.weigh(&batch, now);
        let parts = if fit { locked.hold(&batch, now) } else { questions.iter().map(|_| None).collect() };
        (answers, parts)
    }

    /// As [`admit_one`](Self::admit_one).
    fn reserve_one(&self, question: &Question<'_>, now: Nanos) -> Option<(Answer, Option<Part>)> {
        let (number, key) = self.locate(question);
        let mut shard = self.shards[number].lock();
        let at = shard.find(key).or_else(|| shard.make(key, question.limits, &[], now))?;
        let slot = shard.get(at)?;
        let answer = slot.uses.weigh(question.limits, question.n, slot.held, now);
        if !answer.allowed && question.must_fit {
            return Some((answer, None));
        }
        let n = question.n.saturating_sub(question.counted);
        let part = shard.get_mut(at)?.hold(Place::Own(number, at), question.limits, n, now);
        Some((answer, part))
    }

    /// Charges what was promised, however much is left.
    pub(super) fn commit(&self, part: &Part, now: Nanos) {
        self.with_slot(part.place, |slot| {
            slot.held = slot.held.saturating_sub(part.n);
            // A clock that went back since must not make the charge cheaper.
            slot.uses.charge(&part.limits, part.n, now.max(part.since));
        });
    }

    /// Takes back `n` of what was promised.
    pub(super) fn release(&self, part: &Part, n: u64) {
        self.with_slot(part.place, |slot| slot.held = slot.held.saturating_sub(n));
    }

    pub(super) fn stats(&self) -> Stats {
        let mut stats = Stats { coarse: self.coarse_answers.load(Ordering::Relaxed), ..Stats::default() };
        for shard in &self.shards {
            let shard = shard.lock();
            stats.keys += shard.len() as u64;
            stats.evicted += shard.evicted;
            stats.expired += shard.expired;
        }
        stats.coarse_keys = self.coarse.lock().len() as u64;
        stats
    }

    fn lock(&self, questions: &[Question<'_>]) -> Locked<'_> {
        let mut numbers: Few<usize> = questions.iter().map(|question| self.locate(question).0).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let shards = numbers.into_iter().map(|number| (number, self.shards[number].lock())).collect();
        Locked { table: self, shards, coarse: None }
    }

    /// The number of its shard, and its key.
    fn locate<'q>(&self, question: &Question<'q>) -> (usize, KeyRef<'q>) {
        let key = KeyRef::of(question.bucket, question.key, &self.hasher);
        (key.shard(self.shards.len()), key)
    }

    fn with_slot(&self, place: Place, work: impl FnOnce(&mut Slot)) {
        let (shard, at) = match place {
            Place::Coarse(at) => (Some(&self.coarse), at),
            Place::Own(number, at) => (self.shards.get(number), at),
        };
        if let Some(slot) = shard.map(Mutex::lock).as_mut().and_then(|shard| shard.get_mut(at)) {
            work(slot);
        }
    }
}

impl Slot {
    /// Promises `n`, which are counted in this place.
    fn hold(&mut self, place: Place, limits: &Limits, n: u64, now: Nanos) -> Option<Part> {
        let n = n.min(u64::MAX - self.held);
        self.uses.expect(limits, now);
        self.held += n;
        (n > 0).then(|| Part { place, limits: limits.clone(), n, since: now })
    }
}

impl Locked<'_> {
    /// Finds or makes each question's place. None of them goes to make room for another.
    fn settle<'b>(&mut self, questions: &'b [Question<'b>], now: Nanos) -> Batch<'b> {
        let (mut keys, mut found): (Few<KeyRef<'b>>, Few<Option<Place>>) = (Few::new(), Few::new());
        for question in questions {
            let (number, key) = self.table.locate(question);
            let at = self.shard(number).and_then(|shard| shard.find(key));
            keys.push(key);
            found.push(at.map(|at| Place::Own(number, at)));
        }
        let mut places = Few::new();
        for (at, question) in questions.iter().enumerate() {
            let key = keys.get(at).filter(|_| found.get(at).is_some_and(Option::is_none));
            if let Some(key) = key {
                let made = self.own_place(question, *key, &found, now);
                found.extend(made.map(Some));
                places.push(made.unwrap_or_else(|| self.shared_place(question, &places, now)));
            } else {
                places.extend(found.get(at).copied().flatten());
            }
        }
        Batch { questions, keys, places }
    }

    fn own_place(
        &mut self,
        question: &Question<'_>,
        key: KeyRef<'_>,
        spare: &[Option<Place>],
        now: Nanos,
    ) -> Option<Place> {
        let number = key.shard(self.table.shards.len());
        let shard = self.shard(number)?;
        // An earlier question of the batch may be about the same.
        let at = shard.find(key).or_else(|| {
            let spare: Few<u32> = spare.iter().flatten().filter_map(|place| place.in_shard(number)).collect();
            shard.make(key, question.limits, &spare, now)
        })?;
        Some(Place::Own(number, at))
    }

    fn shared_place(&mut self, question: &Question<'_>, spare: &[Place], now: Nanos) -> Place {
        self.table.coarse_answers.fetch_add(1, Ordering::Relaxed);
        let coarse = self.coarse.get_or_insert_with(|| self.table.coarse.lock());
        let spare: Few<u32> = spare.iter().filter_map(Place::in_coarse).collect();
        Place::Coarse(coarse.share(question, &spare, now))
    }

    /// The answers, and whether all is to be charged.
    fn weigh(&self, batch: &Batch<'_>, now: Nanos) -> (Answers, bool) {
        let mut answers = Answers::with_capacity(batch.questions.len());
        let mut fit = true;
        for (at, (question, place)) in batch.questions.iter().zip(&batch.places).enumerate() {
            let ahead = batch.ahead(at);
            let answer = match self.look(*place) {
                Some(slot) => {
                    let ahead = ahead.saturating_add(slot.held);
                    slot.uses.weigh(question.limits, question.n, ahead, now)
                }
                None => Uses::none(question.limits).weigh(question.limits, question.n, ahead, now),
            };
            fit &= answer.allowed || !question.must_fit;
            answers.push(answer);
        }
        (answers, fit)
    }

    fn charge(&mut self, batch: &Batch<'_>, now: Nanos) {
        for at in 0..batch.questions.len() {
            let Some((place, limits, n)) = batch.due(at) else {
                continue;
            };
            if let Some(slot) = self.slot(place) {
                slot.uses.charge(&limits, n, now);
            }
        }
    }

    fn hold(&mut self, batch: &Batch<'_>, now: Nanos) -> Few<Option<Part>> {
        let mut hold = |at| {
            let (place, limits, n) = batch.due(at)?;
            self.slot(place)?.hold(place, &limits, n, now)
        };
        (0..batch.questions.len()).map(&mut hold).collect()
    }

    fn look(&self, place: Place) -> Option<&Slot> {
        match place {
            Place::Coarse(at) => self.coarse.as_ref()?.get(at),
            Place::Own(number, at) => self.shards.iter().find(|(own, _)| *own == number)?.1.get(at),
        }
    }

    /// To change it.
    fn slot(&mut self, place: Place) -> Option<&mut Slot> {
        match place {
            Place::Coarse(at) => self.coarse.as_mut()?.get_mut(at),
            Place::Own(number, at) => self.shard(number)?.get_mut(at),
        }
    }

    fn shard(&mut self, number: usize) -> Option<&mut Shard> {
        self.shards.iter_mut().find(|(own, _)| *own == number).map(|(_, shard)| &mut **shard)
    }
}

impl Batch<'_> {
    /// Where, under which limits and how much is charged for a question: nothing if one
    /// before it is about the same, under whatever limits.
    fn due(&self, at: usize) -> Option<(Place, Cow<'_, Limits>, u64)> {
        if !self.is_first(at) {
            return None;
        }
        let uncounted = |question: &Question<'_>| question.n.saturating_sub(question.counted);
        let (question, place) = (self.questions.get(at)?, *self.places.get(at)?);
        let (mut n, mut others) = (uncounted(question), Few::new());
        for (other, key) in self.questions.iter().zip(&self.keys).skip(at + 1) {
            if Some(key) == self.keys.get(at) {
                n = n.max(uncounted(other));
                others.push(other.limits);
            }
        }
        let limits = match others.iter().all(|other| *other == question.limits) {
            true => Cow::Borrowed(question.limits),
            false => Cow::Owned(Limits::together(std::iter::once(question.limits).chain(others))),
        };
        Some((place, limits, n))
    }

    /// How much of other keys is counted in the same place before a question.
    fn ahead(&self, at: usize) -> u64 {
        let (Some(key), Some(place)) = (self.keys.get(at), self.places.get(at)) else {
            return 0;
        };
        let before = self.questions.iter().zip(&self.keys).zip(&self.places).enumerate().take(at);
        before
            .filter(|(other, ((_, other_key), other_place))| {
                *other_place == place && *other_key != key && self.is_first(*other)
            })
            .fold(0, |sum: u64, (_, ((other, _), _))| sum.saturating_add(other.n))
    }

    /// Whether no question before it is about the same.
    fn is_first(&self, at: usize) -> bool {
        self.keys.get(at).is_some_and(|key| !self.keys.iter().take(at).any(|other| other == key))
    }
}

impl Place {
    fn in_shard(&self, number: usize) -> Option<u32> {
        match self {
            Self::Own(own, at) if *own == number => Some(*at),
            _ => None,
        }
    }

    fn in_coarse(&self) -> Option<u32> {
        match self {
            Self::Coarse(at) => Some(*at),
            Self::Own(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::Limits;
    use super::*;
    use proptest::prelude::*;

    const NOW: Nanos = 1_800_000_000_000_000_000;
    const SECOND: Nanos = 1_000_000_000;

    fn limits(text: &str) -> Limits {
        text.parse().unwrap()
    }

    fn ask<'a>(key: &'a str, limits: &'a Limits, n: u64) -> Question<'a> {
        Question { bucket: 1, key, coarse: None, limits, n, counted: 0, must_fit: true }
    }

    fn admitted(table: &Table, questions: &[Question<'_>], now: Nanos) -> bool {
        table.admit(questions, now).iter().all(|answer| answer.allowed)
    }

    #[test]
    fn all_windows_of_all_questions_are_charged_or_none() {
        let table = Table::new(100);
        let (wide, narrow) = (limits("10/1m, 100/1h"), limits("2/1h"));
        let both = [ask("a", &wide, 1), ask("b", &narrow, 1)];
        assert!(admitted(&table, &both, NOW));
        assert!(admitted(&table, &both, NOW));
        for _ in 0..5 {
            let answers = table.admit(&both, NOW);
            assert_eq!([answers[0].allowed, answers[1].allowed], [true, false]);
        }
        assert_eq!(table.peek(&ask("a", &wide, 1), NOW).used, 3);
        assert_eq!(table.peek(&ask("b", &narrow, 1), NOW).used, 3);
    }

    #[test]
    fn a_window_that_refuses_leaves_the_others_uncharged() {
        let table = Table::new(100);
        let (both, day) = (limits("2/1m, 100/1d"), limits("100/1d"));
        for _ in 0..50 {
            table.admit(&[ask("a", &both, 1)], NOW);
        }
        assert_eq!(table.peek(&ask("a", &day, 1), NOW + 60 * SECOND).used, 3);
    }

    #[test]
    fn questions_about_one_key_are_one_thing_under_several_limits() {
        let (narrow, wide) = (limits("10/1h"), limits("20/1d strict"));
        // First, second: are both admitted, and used then of each.
        for (first, second, allowed, used) in [
            (ask("a", &narrow, 5), ask("a", &narrow, 5), true, (5, 5)),
            (ask("a", &narrow, 5), ask("a", &wide, 5), true, (5, 5)),
            (ask("a", &narrow, 11), ask("a", &wide, 11), false, (0, 0)),
            (Question { must_fit: false, ..ask("a", &narrow, 11) }, ask("a", &wide, 11), false, (10, 11)),
            (
                Question { counted: 4, ..ask("a", &narrow, 5) },
                Question { counted: 4, ..ask("a", &wide, 5) },
                true,
                (1, 1),
            ),
        ] {
            let table = Table::new(100);
            assert_eq!(admitted(&table, &[first, second], NOW), allowed, "{first:?}, {second:?}");
            let after = [&narrow, &wide].map(|limits| table.peek(&ask("a", limits, 0), NOW).used);
            assert_eq!(after, [used.0, used.1], "{first:?}, {second:?}");
        }
        let table = Table::new(100);
        let other_bucket = Question { bucket: 2, ..ask("a", &narrow, 6) };
        assert!(admitted(&table, &[ask("a", &narrow, 6), other_bucket], NOW));
        assert_eq!(table.peek(&other_bucket, NOW).used, 12);
    }

    #[test]
    fn what_one_limit_of_a_key_charges_the_others_count() {
        let table = Table::new(100);
        let (hour, day) = (limits("100/1h"), limits("5/1d"));
        for limits in [&hour, &day, &hour, &hour, &hour] {
            assert!(admitted(&table, &[ask("a", limits, 1)], NOW));
        }
        for limits in [&hour, &day] {
            assert_eq!(table.peek(&ask("a", limits, 0), NOW).used, 5, "{limits}");
        }
    }

    #[test]
    fn attempts_are_charged_although_refused() {
        let table = Table::new(100);
        let limits = limits("2/1h, 5/1d strict");
        for _ in 0..10 {
            table.charge(&[ask("a", &limits, 1)], NOW);
        }
        let answer = table.peek(&ask("a", &limits, 1), NOW);
        assert_eq!((answer.allowed, answer.used, answer.retry_after.as_secs()), (false, 11, 86_400));
    }

    #[test]
    fn the_cap_holds_and_a_limited_key_stays_limited() {
        let table = Table::new(2_500);
        let limits = limits("3/1h");
        assert!(admitted(&table, &[ask("spammer", &limits, 3)], NOW));
        for at in 0..50_000_u64 {
            let key = format!("flood{at}");
            table.admit(&[ask(&key, &limits, 1)], NOW + at);
            if at % 500 == 0 {
                assert!(!table.peek(&ask("spammer", &limits, 1), NOW + at).allowed);
            }
        }
        let stats = table.stats();
        assert!(stats.keys <= 2_500, "{stats:?}");
        assert!(stats.evicted >= 47_000, "{stats:?}");
        assert!(!table.peek(&ask("spammer", &limits, 1), NOW + 50_000).allowed);
    }

    #[test]
    fn keys_that_used_nothing_any_more_are_forgotten() {
        let table = Table::new(10_000);
        let limits = limits("10/1m");
        for at in 0..1_000 {
            table.admit(&[ask(&format!("old{at}"), &limits, 1)], NOW);
        }
        for at in 0..1_000 {
            table.admit(&[ask(&format!("new{at}"), &limits, 1)], NOW + 60 * SECOND);
        }
        let stats = table.stats();
        assert_eq!((stats.expired + stats.keys, stats.evicted), (2_000, 0));
        assert!(stats.keys < 1_100, "{stats:?}");
    }

    #[test]
    fn a_clock_that_goes_back_neither_frees_nor_locks() {
        for text in ["3/1h", "3/1h strict"] {
            let (table, limits) = (Table::new(100), limits(text));
            let question = [ask("a", &limits, 3)];
            assert!(admitted(&table, &question, NOW), "{text}");
            for back in [1, 3_600, 365 * 86_400] {
                let earlier = NOW - back * SECOND;
                assert!(!admitted(&table, &question, earlier), "{text}: {back}");
                table.charge(&[ask("a", &limits, 1)], earlier);
            }
            assert!(!admitted(&table, &[ask("a", &limits, 1)], NOW + SECOND), "{text}");
            assert!(admitted(&table, &question, NOW + 3_600 * SECOND), "{text}");
        }
    }

    #[test]
    fn what_is_held_of_a_key_keeps_it_from_being_forgotten() {
        let (table, limits) = (Table::new(50), limits("3/1h"));
        let (_, parts) = table.reserve(&[ask("a", &limits, 2)], NOW);
        let part = parts.into_iter().next().flatten().unwrap();
        for at in 0..2_000_u64 {
            table.admit(&[ask(&format!("flood{at}"), &limits, 1)], NOW + at * SECOND);
        }
        let now = NOW + 10_000 * SECOND;
        assert_eq!(table.peek(&ask("a", &limits, 0), now).used, 2);
        table.release(&part, 2);
        for at in 0..100 {
            table.admit(&[ask(&format!("after{at}"), &limits, 3)], now);
        }
        let (number, key) = table.locate(&ask("a", &limits, 0));
        assert_eq!(table.shards[number].lock().find(key), None);
    }

    #[test]
    fn what_is_held_of_a_network_counts_there() {
        let (table, limits) = (Table::new(1), limits("3/1h"));
        assert!(admitted(&table, &[ask("full", &limits, 3)], NOW));
        let from = |key, n| Question { coarse: "192.0.2.0/24".parse().ok(), ..ask(key, &limits, n) };
        let (answers, parts) = table.reserve(&[from("a", 1), from("b", 1), from("c", 1)], NOW);
        assert!(answers.iter().all(|answer| answer.allowed));
        assert_eq!(table.peek(&from("d", 1), NOW).used, 4);
        for (at, part) in parts.iter().flatten().enumerate() {
            if at == 0 { table.release(part, part.n) } else { table.commit(part, NOW) }
        }
        assert_eq!(table.peek(&from("d", 0), NOW).used, 2);
    }

    #[test]
    fn when_all_keys_are_limited_new_ones_share_by_network() {
        let table = Table::new(50);
        let limits = limits("2/1h");
        for at in 0..50 {
            assert!(admitted(&table, &[ask(&format!("full{at}"), &limits, 2)], NOW));
        }
        let from = |key, network: Option<&str>| Question {
            coarse: network.and_then(|network| network.parse().ok()),
            ..ask(key, &limits, 1)
        };
        for (key, coarse, allowed, used) in [
            ("new1", Some("192.0.2.0/24"), true, 1),
            ("new2", Some("192.0.2.0/24"), true, 2),
            ("new3", Some("192.0.2.0/24"), false, 3),
            ("new4", Some("198.51.100.0/24"), true, 1),
            ("new5", None, true, 1),
            ("new6", None, true, 2),
            ("new7", None, false, 3),
            ("full7", Some("198.51.100.0/24"), false, 3),
        ] {
            let question = from(key, coarse);
            let peeked = table.peek(&question, NOW);
            assert_eq!((peeked.allowed, peeked.used), (allowed, used), "{key}");
            assert_eq!(table.admit(&[question], NOW)[..], [peeked], "{key}");
        }
        let stats = table.stats();
        assert_eq!((stats.keys, stats.coarse_keys, stats.evicted, stats.coarse), (50, 3, 0, 14));
        // When the limited ones have their tokens back, there is room again.
        assert!(admitted(&table, &[from("new3", Some("192.0.2.0/24"))], NOW + 7_200 * SECOND));
        assert_eq!(table.stats().coarse, 14);
    }

    #[test]
    fn a_batch_does_not_push_out_its_own_keys() {
        let table = Table::new(3);
        let limits = limits("5/1h");
        let keys = ["a", "b", "c", "d", "e"];
        let batch: Vec<Question<'_>> = keys.iter().map(|key| ask(key, &limits, 1)).collect();
        assert!(admitted(&table, &batch, NOW));
        let stats = table.stats();
        assert_eq!((stats.keys, stats.coarse_keys, stats.coarse), (3, 1, 2));
        assert_eq!(table.peek(&batch[0], NOW).used, 2);
    }

    #[test]
    fn two_threads_admit_exactly_what_is_allowed() {
        for text in ["1000/1d", "1000/1d strict", "1000/1d, 1500/1d strict"] {
            let table = Table::new(10_000);
            let limits = limits(text);
            let hammer = || (0..1_500).filter(|_| admitted(&table, &[ask("a", &limits, 1)], NOW)).count();
            let total = std::thread::scope(|scope| {
                let threads = [scope.spawn(hammer), scope.spawn(hammer)];
                threads.map(|thread| thread.join().unwrap()).iter().sum::<usize>()
            });
            assert_eq!(total, 1_000, "{text}");
        }
    }

    #[test]
    fn batches_that_name_the_same_keys_in_another_order_do_not_wait_for_each_other() {
        let table = Table::new(64 * KEYS_PER_SHARD);
        let limits = limits("100000/1d");
        let keys: Vec<String> = (0..20).map(|at| format!("key{at}")).collect();
        let forward: Vec<Question<'_>> = keys.iter().map(|key| ask(key, &limits, 1)).collect();
        let backward: Vec<Question<'_>> = forward.iter().rev().copied().collect();
        std::thread::scope(|scope| {
            for batch in [&forward, &backward] {
                let table = &table;
                scope.spawn(move || (0..500).for_each(|_| assert!(admitted(table, batch, NOW))));
            }
            scope.spawn(|| (0..500).for_each(|_| assert!(table.stats().keys <= 20)));
        });
        assert!(keys.iter().all(|key| table.peek(&ask(key, &limits, 0), NOW).used == 1_000));
    }

    /// What passed: when, and how many.
    type Passed = Vec<(Nanos, u64)>;

    /// Lets two keys' requests through, in time order, and returns what passed of each.
    fn run(text: &str, steps: &[(u64, u64, bool, bool)]) -> [Passed; 2] {
        let table = Table::new(8);
        let limits = limits(text);
        let mut passed = [Vec::new(), Vec::new()];
        let mut now = NOW;
        for &(gap, n, second, attempt) in steps {
            now += gap;
            let question = ask(if second { "b" } else { "a" }, &limits, n);
            if attempt {
                table.charge(&[question], now);
            } else if admitted(&table, &[question], now) {
                passed[usize::from(second)].push((now, n));
            }
        }
        passed
    }

    proptest! {
        #[test]
        fn never_more_than_the_bucket_and_its_refill_pass(
            steps in prop::collection::vec((0..20 * SECOND, 1..6_u64, any::<bool>(), prop::bool::weighted(0.1)), 1..300)
        ) {
            for (text, bucket, allowed, period) in [("7/1m", 7, 7, 60), ("20/1m burst 6, 40/10m", 6, 20, 60)] {
                for passed in run(text, &steps) {
                    for from in 0..passed.len() {
                        let mut sum: u128 = 0;
                        for &(at, n) in &passed[from..] {
                            sum += u128::from(n);
                            let refilled = allowed * u128::from(at - passed[from].0);
                            let period = period * u128::from(SECOND);
                            prop_assert!(sum * period <= bucket * period + refilled, "{sum} in {text}");
                        }
                    }
                }
            }
        }

        #[test]
        fn never_more_than_a_strict_limit_passes_in_any_period(
            steps in prop::collection::vec((0..9 * SECOND, 1..4_u64, any::<bool>(), prop::bool::weighted(0.05)), 1..300)
        ) {
            for passed in run("12/1m strict, 60/10m strict", &steps) {
                for (from, &(begin, _)) in passed.iter().enumerate() {
                    for (period, allowed) in [(60, 12), (600, 60)] {
                        let within = passed[from..].iter().take_while(|(at, _)| at - begin < period * SECOND);
                        prop_assert!(within.map(|(_, n)| n).sum::<u64>() <= allowed);
                    }
                }
            }
        }

        #[test]
        fn whoever_waits_as_told_is_admitted(
            steps in prop::collection::vec((0..5 * SECOND, 1..8_u64), 1..60)
        ) {
            for text in ["7/1m", "7/1m, 20/10m", "20/1m burst 7", "7/1m strict", "7/1m strict, 20/7m"] {
                let (table, limits) = (Table::new(8), limits(text));
                let mut now = NOW;
                for &(gap, n) in &steps {
                    now += gap;
                    let question = [ask("a", &limits, n)];
                    let answer = table.admit(&question, now)[0];
                    prop_assert_eq!(answer.never, n > 7);
                    if !answer.allowed && !answer.never {
                        now += u64::try_from(answer.retry_after.as_nanos()).unwrap();
                        prop_assert!(admitted(&table, &question, now), "{} of {} in {}", n, answer.used, text);
                    }
                }
            }
        }
    }
}
