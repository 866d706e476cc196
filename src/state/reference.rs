//! The table against a plain reference that shares no arithmetic with it, and what
//! must hold of reservations whatever happens in whatever order.

use super::Hold;
use super::Limits;
use super::Nanos;
use super::Question;
use super::Reserved;
use super::State;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

const NOW: Nanos = 1_800_000_000_000_000_000;
const SECOND: Nanos = 1_000_000_000;
const KEYS: [&str; 2] = ["a", "b"];

/// What may happen next, and after how many seconds.
#[derive(Clone, Debug)]
enum Step {
    Admit { key: usize, n: u64 },
    Attempt { key: usize, n: u64 },
    Commit { hold: usize },
    GiveBack { hold: usize },
    Lower { hold: usize, n: u64 },
    Reserve { key: usize, n: u64, seconds: u64 },
    Timer,
}

fn steps(gaps: std::ops::Range<i64>) -> impl Strategy<Value = Vec<(i64, Step)>> {
    let (key, n, hold) = (0..KEYS.len(), 0..6_u64, 0..12_usize);
    let step = prop_oneof![
        2 => (key.clone(), n.clone()).prop_map(|(key, n)| Step::Admit { key, n }),
        1 => (key.clone(), n.clone()).prop_map(|(key, n)| Step::Attempt { key, n }),
        4 => hold.clone().prop_map(|hold| Step::Commit { hold }),
        2 => hold.clone().prop_map(|hold| Step::GiveBack { hold }),
        1 => (hold, n.clone()).prop_map(|(hold, n)| Step::Lower { hold, n }),
        6 => (key, n, 0..60_u64).prop_map(|(key, n, seconds)| Step::Reserve { key, n, seconds }),
        1 => Just(Step::Timer),
    ];
    prop::collection::vec((gaps, step), 1..120)
}

/// The store in memory is ready at once.
fn ready<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a store in memory that waits"),
    }
}

fn about<'a>(key: usize, limits: &'a Limits, n: u64) -> Question<'a> {
    Question { bucket: 1, key: KEYS[key], coarse: None, limits, n, counted: 0, must_fit: true }
}

/// A bucket as one would draw it: what is in it, in parts of a token, and since when.
#[derive(Clone, Debug)]
struct Bucket {
    size: u128,
    allowed: u128,
    /// In nanoseconds; as many parts make a token.
    period: u128,
    level: u128,
    filled: Nanos,
}

impl Bucket {
    fn new(size: u128, allowed: u128, seconds: u128) -> Self {
        let period = seconds * u128::from(SECOND);
        Self { size, allowed, period, level: size * period, filled: NOW }
    }

    fn fill(&mut self, now: Nanos) {
        self.level += u128::from(now - self.filled) * self.allowed;
        self.level = self.level.min(self.size * self.period);
        self.filled = now;
    }

    fn has(&self, n: u64) -> bool {
        u128::from(n) * self.period <= self.level
    }

    /// Something larger than the bucket empties it.
    fn take(&mut self, n: u64) {
        self.level = self.level.saturating_sub(u128::from(n) * self.period);
    }
}

/// What a key has, and what is promised of it.
#[derive(Clone, Debug)]
struct Account {
    buckets: Vec<Bucket>,
    held: u64,
}

impl Account {
    fn fits(&mut self, n: u64, now: Nanos) -> bool {
        self.buckets.iter_mut().for_each(|bucket| bucket.fill(now));
        n == 0 || self.buckets.iter().all(|bucket| bucket.has(self.held + n))
    }

    fn take(&mut self, n: u64, now: Nanos) {
        for bucket in &mut self.buckets {
            bucket.fill(now);
            bucket.take(n);
        }
    }
}

/// Until when, which it is, of which key, how much.
type Promises = BTreeMap<(Nanos, usize), (usize, u64)>;

#[derive(Clone, Debug)]
struct Plain {
    accounts: Vec<Account>,
    promises: Promises,
    made: Vec<Option<(Nanos, usize)>>,
}

impl Plain {
    fn new(buckets: &[Bucket]) -> Self {
        let account = Account { buckets: buckets.to_vec(), held: 0 };
        Self { accounts: vec![account; KEYS.len()], promises: BTreeMap::new(), made: Vec::new() }
    }

    fn keep(&mut self, id: (Nanos, usize), now: Nanos) {
        if let Some((key, n)) = self.promises.remove(&id) {
            self.accounts[key].held -= n;
            self.accounts[key].take(n, now);
        }
    }

    fn timer(&mut self, now: Nanos, most: usize) {
        let due: Vec<_> =
            self.promises.keys().take_while(|(until, _)| *until <= now).take(most).copied().collect();
        due.into_iter().for_each(|id| self.keep(id, now));
    }

    /// Whether it is let through.
    fn step(&mut self, step: &Step, now: Nanos) -> Option<bool> {
        let id = |hold: usize| self.made.get(hold % self.made.len().max(1)).copied().flatten();
        match *step {
            Step::Admit { key, n } => {
                let fits = self.accounts[key].fits(n, now);
                if fits {
                    self.accounts[key].take(n, now);
                }
                return Some(fits);
            }
            Step::Attempt { key, n } => self.accounts[key].take(n, now),
            Step::Commit { hold } => id(hold).into_iter().for_each(|id| self.keep(id, now)),
            Step::GiveBack { hold } => {
                if let Some((key, n)) = id(hold).and_then(|id| self.promises.remove(&id)) {
                    self.accounts[key].held -= n;
                }
            }
            Step::Lower { hold, n } => {
                if let Some((key, held)) = id(hold).and_then(|id| self.promises.get_mut(&id)) {
                    let less = held.saturating_sub(n);
                    *held -= less;
                    self.accounts[*key].held -= less;
                }
                self.promises.retain(|_, (_, held)| *held > 0);
            }
            Step::Reserve { key, n, seconds } => {
                self.timer(now, super::AT_ONCE);
                let fits = self.accounts[key].fits(n, now);
                let id = (fits && n > 0).then_some((now + seconds * SECOND, self.made.len()));
                if let Some(id) = id {
                    self.accounts[key].held += n;
                    self.promises.insert(id, (key, n));
                }
                self.made.push(id);
                return Some(fits);
            }
            Step::Timer => self.timer(now, usize::MAX),
        }
        None
    }
}

/// The store, and what it made.
struct Ours {
    state: State,
    limits: Limits,
    made: Vec<Option<Hold>>,
}

impl Ours {
    fn new(text: &str) -> Self {
        Self { state: State::in_memory(100), limits: text.parse().unwrap(), made: Vec::new() }
    }

    fn hold(&self, hold: usize) -> Option<Hold> {
        self.made.get(hold % self.made.len().max(1)).copied().flatten()
    }

    fn step(&mut self, step: &Step, now: Nanos) -> Option<bool> {
        match *step {
            Step::Admit { key, n } => {
                return Some(ready(self.state.admit(&[about(key, &self.limits, n)], now))[0].allowed);
            }
            Step::Attempt { key, n } => ready(self.state.charge(&[about(key, &self.limits, n)], now)),
            Step::Commit { hold } => ready(self.state.commit(self.hold(hold).as_slice(), now)),
            Step::GiveBack { hold } => ready(self.state.give_back(self.hold(hold).as_slice())),
            Step::Lower { hold, n } => {
                self.hold(hold).into_iter().for_each(|hold| ready(self.state.lower(hold, n)))
            }
            Step::Reserve { key, n, seconds } => {
                let question = [about(key, &self.limits, n)];
                let reserved = ready(self.state.reserve(&question, now + seconds * SECOND, now));
                self.made.push(reserved.holds[0]);
                return Some(reserved.answers[0].allowed);
            }
            Step::Timer => ready(self.state.settle(now)),
        }
        None
    }
}

/// What was accepted of one key: when it was charged, how much, and between which steps
/// it was asked for and accepted.
type Accepted = Vec<(Nanos, u64, (usize, usize))>;

/// Runs the steps with a clock that may go back, and tells what was accepted of each
/// key, and the readings of the clock.
fn accepted(text: &str, steps: &[(i64, Step)]) -> ([Accepted; 2], Vec<Nanos>) {
    let mut ours = Ours::new(text);
    let (mut accepted, mut now) = ([Vec::new(), Vec::new()], NOW);
    let mut readings: Vec<Nanos> = Vec::new();
    // Of each reservation the key, what is left of it, since which step, until when.
    let mut open: Vec<Option<(usize, u64, usize, Nanos)>> = Vec::new();
    for (number, (gap, step)) in steps.iter().enumerate() {
        now = now.saturating_add_signed(gap * SECOND as i64);
        readings.push(now);
        let mut keep = |part: &mut Option<(usize, u64, usize, Nanos)>| {
            if let Some((key, n, since, _)) = part.take() {
                accepted[key].push((now.max(readings[since]), n, (since, number)));
            }
        };
        // None is settled by a reservation but when the timer has come first.
        if matches!(step, Step::Timer | Step::Reserve { .. }) {
            ready(ours.state.settle(now));
            open.iter_mut().filter(|part| part.is_some_and(|(.., until)| until <= now)).for_each(&mut keep);
        }
        let at = |hold: usize| hold % ours.made.len().max(1);
        match *step {
            Step::Commit { hold } => open.get_mut(at(hold)).into_iter().for_each(keep),
            Step::GiveBack { hold } => open.get_mut(at(hold)).into_iter().for_each(|part| *part = None),
            Step::Lower { hold, n } => {
                for (_, left, ..) in open.get_mut(at(hold)).into_iter().flatten() {
                    *left = n.min(*left);
                }
            }
            _ => {}
        }
        let said = ours.step(step, now);
        match *step {
            Step::Admit { key, n } if said == Some(true) => accepted[key].push((now, n, (number, number))),
            Step::Reserve { key, n, seconds } => {
                let part = (key, n, number, now + seconds * SECOND);
                open.push((said == Some(true) && n > 0).then_some(part));
            }
            _ => {}
        }
    }
    (accepted, readings)
}

proptest! {
    #[test]
    fn the_table_says_what_a_plain_reference_says(steps in steps(0..20)) {
        for (text, buckets) in [
            ("6/1m", vec![Bucket::new(6, 6, 60)]),
            ("20/1m burst 5, 12/10m", vec![Bucket::new(5, 20, 60), Bucket::new(12, 12, 600)]),
            (
                "6/1m, 10/2m, 15/5m, 30/1h",
                vec![Bucket::new(6, 6, 60), Bucket::new(10, 10, 120), Bucket::new(15, 15, 300), Bucket::new(30, 30, 3_600)],
            ),
        ] {
            let (mut ours, mut plain, mut now) = (Ours::new(text), Plain::new(&buckets), NOW);
            for (gap, step) in &steps {
                now = now.saturating_add_signed(gap * SECOND as i64);
                prop_assert_eq!(ours.step(step, now), plain.step(step, now), "{:?} of {}", step, text);
                prop_assert_eq!(ours.state.stats().holds, plain.promises.len() as u64);
            }
        }
    }

    #[test]
    fn never_more_than_burst_and_rate_is_accepted_by_any_clock(steps in steps(-30..40)) {
        for (text, burst, allowed, period) in [("6/1m", 6, 6, 60), ("20/1m burst 5, 40/10m", 5, 20, 60)] {
            let (accepted, readings) = accepted(text, &steps);
            for accepted in accepted {
                for from in 0..accepted.len() {
                    let (mut sum, mut begun) = (0, usize::MAX);
                    for (_, n, (since, until)) in &accepted[from..] {
                        sum += u128::from(*n);
                        begun = begun.min(*since);
                        let between = &readings[begun..=*until];
                        let passed = between.iter().max().unwrap() - between.iter().min().unwrap();
                        let period = period * u128::from(SECOND);
                        let most = burst * period + allowed * u128::from(passed);
                        prop_assert!(sum * period <= most, "{} in {}: {:?}", sum, text, accepted);
                    }
                }
            }
        }
    }

    #[test]
    fn never_more_than_a_strict_limit_is_accepted_in_any_period(steps in steps(0..30)) {
        for accepted in accepted("8/1m strict", &steps).0 {
            for (begin, ..) in &accepted {
                let within = accepted.iter().filter(|(at, ..)| (*begin..begin + 60 * SECOND).contains(at));
                prop_assert!(within.map(|(_, n, _)| n).sum::<u64>() <= 8, "{:?}", accepted);
            }
        }
    }
}

#[test]
fn a_reservation_is_settled_once_by_whoever_comes_first() {
    let limits: Limits = "10/1h".parse().unwrap();
    let used = |state: &State, now| ready(state.peek(&[about(0, &limits, 0)], now))[0].unwrap().used;
    for (first, then) in [("commit", 4), ("give back", 0), ("lower", 3), ("timer", 4)] {
        let state = State::in_memory(10);
        let Reserved { answers, holds } = ready(state.reserve(&[about(0, &limits, 4)], NOW + SECOND, NOW));
        let hold = holds[0].unwrap();
        assert_eq!((answers[0].allowed, answers[0].used, used(&state, NOW)), (true, 4, 4));
        match first {
            "commit" => ready(state.commit(&[hold], NOW)),
            "give back" => ready(state.give_back(&[hold])),
            "lower" => {
                ready(state.lower(hold, 3));
                ready(state.lower(hold, 9));
            }
            _ => {
                ready(state.settle(NOW));
                assert_eq!(state.stats().holds, 1);
                ready(state.settle(NOW + SECOND));
            }
        }
        assert_eq!(used(&state, NOW + SECOND), then, "{first}");
        for _ in 0..2 {
            ready(state.commit(&[hold], NOW));
            ready(state.give_back(&[hold]));
            ready(state.lower(hold, 0));
            ready(state.settle(NOW + SECOND));
        }
        let stats = state.stats();
        assert_eq!((used(&state, NOW + SECOND), stats.holds), (then, 0), "{first}");
        assert_eq!(stats.overdue, u64::from(first == "timer"), "{first}");
    }
}

#[test]
fn a_batch_is_promised_whole_or_not_at_all() {
    let [narrow, wide]: [Limits; 2] = ["2/1h", "10/1h"].map(|text| text.parse().unwrap());
    let observed = |question| Question { must_fit: false, ..question };
    // What was asked, of which something is held, and used of each key then, and once
    // it is committed: no bucket gets emptier than empty.
    for (questions, held, promised, used) in [
        ([about(0, &narrow, 2), about(1, &wide, 2)], [true, true], [2, 2], [2, 2]),
        ([about(0, &narrow, 3), about(1, &wide, 3)], [false, false], [0, 0], [0, 0]),
        ([observed(about(0, &narrow, 3)), about(1, &wide, 3)], [true, true], [3, 3], [2, 3]),
        ([about(0, &narrow, 2), about(0, &wide, 2)], [true, false], [2, 0], [2, 0]),
        ([about(0, &narrow, 0), about(1, &wide, 1)], [false, true], [0, 1], [0, 1]),
        ([Question { counted: 1, ..about(0, &narrow, 2) }, about(1, &wide, 1)], [true, true], [1, 1], [1, 1]),
    ] {
        let state = State::in_memory(10);
        let reserved = ready(state.reserve(&questions, NOW + SECOND, NOW));
        assert_eq!(reserved.holds.iter().map(Option::is_some).collect::<Vec<_>>(), held, "{questions:?}");
        let of = |key| ready(state.peek(&[about(key, &wide, 0)], NOW))[0].unwrap().used;
        assert_eq!([of(0), of(1)], promised, "{questions:?}");
        let holds: Vec<Hold> = reserved.holds.into_iter().flatten().collect();
        ready(state.commit(&holds, NOW));
        assert_eq!([of(0), of(1)], used, "{questions:?}");
    }
}

#[test]
fn two_threads_that_reserve_and_settle_accept_what_is_allowed() {
    let limits: Limits = "300/1d".parse().unwrap();
    let state = State::in_memory(10);
    let work = |every: usize| {
        let mut accepted = 0;
        for at in 0..2_000 {
            let reserved = ready(state.reserve(&[about(0, &limits, 1)], NOW + SECOND, NOW));
            let holds: Vec<Hold> = reserved.holds.into_iter().flatten().collect();
            if at % every == 0 {
                ready(state.give_back(&holds));
            } else {
                ready(state.commit(&holds, NOW));
                accepted += holds.len();
            }
        }
        accepted
    };
    let accepted = std::thread::scope(|scope| {
        let threads = [2, 3].map(|every| scope.spawn(move || work(every)));
        threads.map(|thread| thread.join().unwrap()).iter().sum::<usize>()
    });
    assert_eq!((accepted, state.stats().holds), (300, 0));
}
