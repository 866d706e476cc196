//! The table of keys in this process: shards behind a lock each, and what a batch of
//! questions does with them in one step.
//!
//! When a shard is full of keys that may not go, a new key shares a coarse bucket with
//! all new ones of its network. The worst a flood of invented keys can do is thus that
//! strangers of one network are limited together.

use super::Answer;
use super::Charge;
use super::Question;
use super::Stats;
use super::clock::Nanos;
use super::entry::Entry;
use super::shard::KeyRef;
use super::shard::Shard;
use foldhash::fast::RandomState;
use parking_lot::Mutex;
use parking_lot::MutexGuard;
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// Two cores per shard would still seldom meet on the largest of mail servers.
const MAX_SHARDS: usize = 64;

/// A shard smaller than this would be full long before its neighbours.
const KEYS_PER_SHARD: usize = 1_024;

/// Networks that share. Beyond them there is one bucket for all the rest.
const MAX_COARSE_KEYS: usize = 65_536;

#[derive(Debug)]
pub(super) struct Table {
    shards: Box<[Mutex<Shard>]>,
    coarse: Mutex<Shard>,
    /// Not the shards' own: else all keys of a shard would hash alike in it.
    hasher: RandomState,
    coarse_answers: AtomicU64,
    capacity: usize,
}

/// The shards of a batch, locked by rising number, and the coarse table after them.
struct Locked<'t> {
    table: &'t Table,
    shards: BTreeMap<usize, MutexGuard<'t, Shard>>,
    coarse: Option<MutexGuard<'t, Shard>>,
}

/// Where a question of a batch is counted.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Place<'a> {
    Coarse(KeyRef<'a>),
    Own(usize, KeyRef<'a>),
}

impl Table {
    pub(super) fn new(max_keys: usize) -> Self {
        let max_keys = max_keys.max(1);
        let shards = (max_keys / KEYS_PER_SHARD).clamp(1, MAX_SHARDS);
        Self {
            shards: (0..shards).map(|_| Mutex::new(Shard::new(max_keys / shards))).collect(),
            coarse: Mutex::new(Shard::new(MAX_COARSE_KEYS)),
            hasher: RandomState::default(),
            coarse_answers: AtomicU64::new(0),
            capacity: max_keys,
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn peek(&self, question: &Question<'_>, now: Nanos) -> Answer {
        let key = KeyRef::own(question);
        let weigh = |entry: &Entry| entry.weigh(question.limits, question.n, 0, now);
        let mut shard = self.shards[self.shard_of(key)].lock();
        if let Some(entry) = shard.keys.get(&key) {
            return weigh(entry);
        }
        if shard.has_room(&[], now) {
            return weigh(&Entry::default());
        }
        self.coarse_answers.fetch_add(1, Ordering::Relaxed);
        let mut coarse = self.coarse.lock();
        let key = coarse.coarse_key(question, &[], now);
        coarse.keys.get(&key).map_or_else(|| weigh(&Entry::default()), weigh)
    }

    pub(super) fn admit(&self, questions: &[Question<'_>], now: Nanos) -> Vec<Answer> {
        if let [question] = questions
            && let Some(answer) = self.admit_one(question, now)
        {
            return vec![answer];
        }
        let mut locked = self.lock(questions);
        let places = locked.settle(questions, now);
        let mut answers = Vec::with_capacity(questions.len());
        for (at, (question, place)) in questions.iter().zip(&places).enumerate() {
            let ahead = ahead(questions, &places, at);
            let weigh = |entry: &Entry| entry.weigh(question.limits, question.n, ahead, now);
            answers.push(locked.entry(place).map_or_else(|| weigh(&Entry::default()), |entry| weigh(entry)));
        }
        if answers.iter().zip(questions).all(|(answer, question)| answer.allowed || !question.must_fit) {
            locked.charge(questions, &places, now);
        }
        answers
    }

    /// Most requests have one question, which is answered in its own place.
    fn admit_one(&self, question: &Question<'_>, now: Nanos) -> Option<Answer> {
        let key = KeyRef::own(question);
        let mut shard = self.shards[self.shard_of(key)].lock();
        let at = shard.settle(key, &[key], now)?;
        let (_, entry) = shard.keys.get_index_mut(at)?;
        let answer = entry.weigh(question.limits, question.n, 0, now);
        if answer.allowed || !question.must_fit {
            entry.charge(question.limits.windows(), question.n.saturating_sub(question.counted), now);
        }
        Some(answer)
    }

    pub(super) fn charge(&self, charges: &[Charge<'_>], now: Nanos) {
        let mut locked = self.lock(charges);
        let places = locked.settle(charges, now);
        locked.charge(charges, &places, now);
    }

    pub(super) fn stats(&self) -> Stats {
        let mut stats = Stats { coarse: self.coarse_answers.load(Ordering::Relaxed), ..Stats::default() };
        for shard in &self.shards {
            let shard = shard.lock();
            stats.keys += shard.keys.len() as u64;
            stats.evicted += shard.evicted;
            stats.expired += shard.expired;
        }
        stats.coarse_keys = self.coarse.lock().keys.len() as u64;
        stats
    }

    fn lock(&self, questions: &[Question<'_>]) -> Locked<'_> {
        let mut numbers: Vec<usize> =
            questions.iter().map(|question| self.shard_of(KeyRef::own(question))).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let shards = numbers.into_iter().map(|number| (number, self.shards[number].lock())).collect();
        Locked { table: self, shards, coarse: None }
    }

    fn shard_of(&self, key: KeyRef<'_>) -> usize {
        let shards = self.shards.len() as u64;
        (self.hasher.hash_one(key) % shards) as usize
    }
}

impl Locked<'_> {
    /// Finds or makes each question's entry. None of them goes to make room for another.
    fn settle<'q>(&mut self, questions: &[Question<'q>], now: Nanos) -> Vec<Place<'q>> {
        let own: Vec<KeyRef<'q>> = questions.iter().map(KeyRef::own).collect();
        let shared: Vec<KeyRef<'q>> = questions.iter().map(KeyRef::coarse).collect();
        let mut places = Vec::with_capacity(questions.len());
        for (question, &key) in questions.iter().zip(&own) {
            let number = self.table.shard_of(key);
            if self.shards.get_mut(&number).is_some_and(|shard| shard.settle(key, &own, now).is_some()) {
                places.push(Place::Own(number, key));
                continue;
            }
            self.table.coarse_answers.fetch_add(1, Ordering::Relaxed);
            let coarse = self.coarse.get_or_insert_with(|| self.table.coarse.lock());
            let key = coarse.coarse_key(question, &shared, now);
            if coarse.settle(key, &shared, now).is_none() {
                // The bucket for all the rest: one per bucket of the policy.
                coarse.keys.insert(key.to_key(), Entry::default());
            }
            places.push(Place::Coarse(key));
        }
        places
    }

    fn charge(&mut self, questions: &[Question<'_>], places: &[Place<'_>], now: Nanos) {
        for (at, (question, place)) in questions.iter().zip(places).enumerate() {
            if !is_first(questions, at) {
                continue;
            }
            let Some(entry) = self.entry(place) else {
                continue;
            };
            let uncounted = |question: &Question<'_>| question.n.saturating_sub(question.counted);
            let mut others =
                questions.iter().skip(at + 1).filter(|other| is_same(question, other)).peekable();
            if others.peek().is_none() {
                entry.charge(question.limits.windows(), uncounted(question), now);
                continue;
            }
            let mut n = uncounted(question);
            let mut windows = question.limits.windows().to_vec();
            for other in others {
                n = n.max(uncounted(other));
                windows.extend_from_slice(other.limits.windows());
            }
            entry.charge(&windows, n, now);
        }
    }

    fn entry(&mut self, place: &Place<'_>) -> Option<&mut Entry> {
        match place {
            Place::Coarse(key) => self.coarse.as_mut()?.keys.get_mut(key),
            Place::Own(number, key) => self.shards.get_mut(number)?.keys.get_mut(key),
        }
    }
}

/// Whether two questions are about the same thing, under different limits perhaps.
fn is_same(one: &Question<'_>, other: &Question<'_>) -> bool {
    KeyRef::own(one) == KeyRef::own(other)
}

/// Whether no question before it is about the same.
fn is_first(questions: &[Question<'_>], at: usize) -> bool {
    let earlier = questions.iter().take(at);
    questions.get(at).is_some_and(|question| !earlier.clone().any(|other| is_same(question, other)))
}

/// How much of other keys is counted in the same place before a question.
fn ahead(questions: &[Question<'_>], places: &[Place<'_>], at: usize) -> u64 {
    let (Some(question), Some(place)) = (questions.get(at), places.get(at)) else {
        return 0;
    };
    let before = questions.iter().zip(places).enumerate().take(at);
    before
        .filter(|(other_at, (other, other_place))| {
            *other_place == place && !is_same(question, other) && is_first(questions, *other_at)
        })
        .fold(0, |sum: u64, (_, (other, _))| sum.saturating_add(other.n))
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
    fn when_all_keys_are_limited_new_ones_share_by_network() {
        let table = Table::new(50);
        let limits = limits("2/1h");
        for at in 0..50 {
            assert!(admitted(&table, &[ask(&format!("full{at}"), &limits, 2)], NOW));
        }
        let from = |key, coarse| Question { coarse, ..ask(key, &limits, 1) };
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
            assert_eq!(table.admit(&[question], NOW), [peeked], "{key}");
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
