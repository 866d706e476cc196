//! What is kept of a key with unlike windows: the state of each it was charged under.
//! Most keys have few token buckets, all of one limit, and are kept in `plain`.
//!
//! A key's limits can be several: rules may share a bucket, a reload may change them,
//! a list may give the key others today. Whatever limits a charge comes with, all
//! windows that are kept count it, so that going to and fro between two limits frees
//! nothing. A window not met before starts with what the others know, so that it
//! neither strands the key nor forgives it; one that nobody asked for while all it
//! could have counted came back is forgotten.

use super::Answer;
use super::clock::Nanos;
use super::keep::Input;
use super::keep::Output;
use super::limits::Cells;
use super::limits::Limits;
use super::limits::MAX_WINDOWS;
use super::limits::PLAIN_WINDOWS;
use super::limits::Window;
use super::shown::WindowUse;
use super::strict::Passed;
use super::weigh;
use super::weigh::Weighed;
use std::time::Duration;

/// The present limits and as many other windows; of these the oldest goes first. What
/// one request asks for is kept even if it is more: that is as many as rules say.
const MAX_KEPT: usize = 2 * MAX_WINDOWS;

/// So many windows of one key are written and read: rules that say more are made up.
const MAX_WRITTEN: usize = 2 * MAX_KEPT;

#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    kept: Vec<Kept>,
}

#[derive(Clone, Debug)]
struct Kept {
    window: Window,
    held: Held,
    /// When it was last charged by limits that have it.
    asked: Nanos,
}

#[derive(Clone, Debug)]
enum Held {
    /// Boxed, so that the common kind does not pay for it.
    Strict(Box<Passed>),
    /// The arrival time; see `tokens`.
    Tokens(Nanos),
}

impl Entry {
    /// Of token buckets, all asked for at one time.
    pub(super) fn of_tokens(limits: &Limits, arrivals: &[Nanos], asked: Nanos) -> Self {
        let kept = limits.windows().iter().zip(arrivals);
        let kept =
            kept.map(|(window, arrival)| Kept { window: *window, held: Held::Tokens(*arrival), asked });
        Self { kept: kept.collect() }
    }

    /// The arrival time of each window of these limits, and when they were asked for;
    /// None if there is more to keep.
    pub(super) fn as_tokens(&self, limits: &Limits) -> Option<([Nanos; PLAIN_WINDOWS], Nanos)> {
        if !limits.is_plain() || self.kept.len() != limits.windows().len() {
            return None;
        }
        let (mut arrivals, mut asked) = ([0; PLAIN_WINDOWS], 0);
        for (window, arrival) in limits.windows().iter().zip(&mut arrivals) {
            let kept = self.kept.iter().find(|kept| kept.window == *window)?;
            let Held::Tokens(at) = kept.held else {
                return None;
            };
            *arrival = at;
            asked = asked.max(kept.asked);
        }
        Some((arrivals, asked))
    }

    /// Says whether `n` more would be allowed after `ahead` others.
    pub(super) fn weigh(&self, limits: &Limits, n: u64, ahead: u64, now: Nanos) -> Answer {
        let weigh = |window| match self.held(window) {
            Some(held) => held.weigh(window, n, ahead, now),
            None => self.start(window, now).weigh(window, n, ahead, now),
        };
        let weighed = limits.windows().iter().map(weigh);
        weighed.reduce(|one, other| one.deciding(other, n)).map_or(UNLIMITED, |told| told.answer(n))
    }

    /// What is used of each window, and when one more would fit.
    pub(super) fn windows(&self, held: u64, now: Nanos) -> Vec<WindowUse> {
        let each = self.kept.iter().map(|kept| WindowUse {
            window: kept.window,
            used: kept.held.used(&kept.window, now).saturating_add(held),
            next: kept.held.weigh(&kept.window, 1, held, now).answer(1).retry_after,
        });
        each.collect()
    }

    /// Counts `n` in the windows asked for and in all others that are kept, whether
    /// it fits or not.
    pub(super) fn charge(&mut self, asked: &[Window], n: u64, now: Nanos) {
        // For a clock that went back time stands still.
        let now = self.kept.iter().map(|kept| kept.asked).fold(now, Nanos::max);
        // All that are new begin with what the others knew before this charge.
        let new = asked.iter().filter(|window| self.held(window).is_none());
        let new: Vec<Kept> =
            new.map(|window| Kept { window: *window, held: self.start(window, now), asked: now }).collect();
        for kept in new {
            if self.held(&kept.window).is_none() {
                self.make_room(asked, now);
                self.kept.push(kept);
            }
        }
        self.kept.retain(|kept| asked.contains(&kept.window) || kept.is_wanted(now));
        for kept in &mut self.kept {
            if asked.contains(&kept.window) {
                kept.asked = now;
            }
            kept.held.charge(&kept.window, n, now);
        }
    }

    /// As if nothing had been counted; what is promised may still be charged.
    pub(super) fn clear(&mut self) {
        for kept in &mut self.kept {
            kept.held = Held::start(&kept.window, 0, kept.asked);
        }
    }

    /// Counts `n` in all windows that are kept, and forgets none.
    pub(super) fn charge_kept(&mut self, n: u64, now: Nanos) {
        for kept in &mut self.kept {
            kept.held.charge(&kept.window, n, now.max(kept.asked));
        }
    }

    pub(super) fn write(&self, out: &mut Output) {
        // The newest stand last.
        let kept = &self.kept[self.kept.len().saturating_sub(MAX_WRITTEN)..];
        out.number(kept.len() as u64);
        for kept in kept {
            kept.window.write(out);
            out.time(kept.asked);
            match &kept.held {
                Held::Strict(passed) => passed.write(out),
                Held::Tokens(arrival) => out.coming(*arrival),
            }
        }
    }

    /// What was written; nobody is kept out for longer than a full bucket takes.
    pub(super) fn read(from: &mut Input<'_>, now: Nanos) -> Option<Self> {
        let count = usize::try_from(from.number()?).ok().filter(|count| *count <= MAX_WRITTEN)?;
        let mut kept: Vec<Kept> = Vec::new();
        for _ in 0..count {
            let (window, asked) = (Window::read(from)?, from.time()?.min(now));
            let held = match window.strict {
                true => Held::Strict(Box::new(Passed::read(from, now)?)),
                false => {
                    let latest = now.saturating_add(Cells::of(&window).refill);
                    Held::Tokens(from.coming()?.min(latest))
                }
            };
            if kept.iter().any(|other| other.window == window) {
                return None;
            }
            kept.push(Kept { window, held, asked });
        }
        Some(Self { kept })
    }

    /// Whether it keeps no window.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Whether it keeps all windows of these limits.
    pub(super) fn knows(&self, limits: &Limits) -> bool {
        limits.windows().iter().all(|window| self.held(window).is_some())
    }

    /// All windows that are kept.
    pub(super) fn all_windows(&self) -> Vec<Window> {
        self.kept.iter().map(|kept| kept.window).collect()
    }

    /// How near its limits the key is: the fullest window decides.
    pub(super) fn load(&self, now: Nanos) -> u64 {
        let of = |kept: &Kept| weigh::load(&kept.window, kept.held.used(&kept.window, now));
        self.kept.iter().map(of).max().unwrap_or(0)
    }

    fn held(&self, window: &Window) -> Option<&Held> {
        self.kept.iter().find(|kept| kept.window == *window).map(|kept| &kept.held)
    }

    fn start(&self, window: &Window, now: Nanos) -> Held {
        Held::start(window, self.known_use(window, now), now)
    }

    /// What the other windows say of a new one. What passed in a shorter time passed
    /// in this one too; of a longer time its share is taken.
    fn known_use(&self, window: &Window, now: Nanos) -> u64 {
        let others = || self.kept.iter().map(|kept| (kept.window.period, kept));
        let shorter =
            others().filter(|(period, _)| *period <= window.period).max_by_key(|(period, _)| *period);
        if let Some((_, kept)) = shorter {
            return kept.held.used(&kept.window, now);
        }
        let Some((period, kept)) = others().min_by_key(|(period, _)| *period) else {
            return 0;
        };
        let whole = u128::from(kept.held.used(&kept.window, now));
        let share = (whole * window.period.as_nanos()).div_ceil(period.as_nanos().max(1));
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    fn make_room(&mut self, asked: &[Window], now: Nanos) {
        let present = |window: &Window| asked.contains(window);
        self.kept.retain(|kept| present(&kept.window) || kept.held.used(&kept.window, now) > 0);
        if self.kept.len() >= MAX_KEPT
            && let Some(oldest) = self.kept.iter().position(|kept| !present(&kept.window))
        {
            self.kept.remove(oldest);
        }
        if self.kept.is_empty() {
            self.kept.reserve_exact(asked.len());
        }
    }
}

impl Kept {
    /// Whether it was asked for within the time in which all it holds comes back.
    fn is_wanted(&self, now: Nanos) -> bool {
        let cells = Cells::of(&self.window);
        let refill = match self.held {
            Held::Strict(_) => self.window.period_nanos(),
            Held::Tokens(_) => cells.refill,
        };
        self.asked.saturating_add(refill) > now
    }
}

impl Held {
    fn start(window: &Window, used: u64, now: Nanos) -> Self {
        let mut held = if window.strict { Self::Strict(Box::default()) } else { Self::Tokens(0) };
        if used > 0 {
            held.charge(window, used.min(window.capacity()), now);
        }
        held
    }

    fn used(&self, window: &Window, now: Nanos) -> u64 {
        match self {
            Self::Strict(passed) => passed.count(window.period_nanos(), now),
            Self::Tokens(arrival) => weigh::used(window, &Cells::of(window), *arrival, now),
        }
    }

    fn charge(&mut self, window: &Window, n: u64, now: Nanos) {
        match self {
            Self::Strict(passed) if n > 0 => passed.add(n, window.period_nanos(), now),
            Self::Strict(_) => {}
            Self::Tokens(arrival) => {
                *arrival = weigh::charged(window, &Cells::of(window), *arrival, n, now);
            }
        }
    }

    fn weigh<'w>(&self, window: &'w Window, n: u64, ahead: u64, now: Nanos) -> Weighed<'w> {
        match self {
            Self::Strict(passed) => {
                let period = window.period_nanos();
                let used = passed.count(period, now).saturating_add(ahead);
                let wait = match n {
                    0 => Some(Duration::ZERO),
                    _ => passed.wait(n.saturating_add(ahead), window.allowed, period, now),
                };
                Weighed::new(window, used, wait)
            }
            Self::Tokens(arrival) => Weighed::tokens(window, &Cells::of(window), *arrival, (n, ahead), now).0,
        }
    }
}

/// `Limits` always have a window; this is what none would mean.
pub(super) const UNLIMITED: Answer = Answer {
    allowed: true,
    used: 0,
    window: Window { allowed: u64::MAX, period: Duration::MAX, burst: None, strict: false },
    retry_after: Duration::ZERO,
    never: false,
    remaining: u64::MAX,
};

#[cfg(test)]
mod tests {
    use super::super::weigh::LIMITED;
    use super::*;

    const NOW: Nanos = 1_800_000_000_000_000_000;

    fn at(seconds: u64) -> Nanos {
        NOW + seconds * 1_000_000_000
    }

    fn limits(text: &str) -> Limits {
        text.parse().unwrap()
    }

    /// `used` came before, then `n` is weighed after so many seconds.
    fn weighed(text: &str, used: u64, n: u64, after: u64) -> Answer {
        let limits = limits(text);
        let mut entry = Entry::default();
        for _ in 0..used {
            entry.charge(limits.windows(), 1, NOW);
        }
        entry.weigh(&limits, n, 0, at(after))
    }

    #[test]
    fn answers_say_how_much_is_used_and_when_to_come_back() {
        // limits, used before, n, seconds later: allowed, used, wait, never, remaining
        for (text, before, n, after, expected) in [
            ("100/10m", 0, 1, 0, (true, 1, 0, false, 99)),
            ("100/10m", 99, 1, 0, (true, 100, 0, false, 0)),
            ("100/10m", 100, 1, 0, (false, 101, 6, false, 0)),
            ("100/10m", 100, 1, 5, (false, 101, 1, false, 0)),
            ("100/10m", 100, 1, 6, (true, 100, 0, false, 0)),
            ("100/10m", 100, 50, 0, (false, 150, 300, false, 0)),
            ("100/10m", 50, 51, 0, (false, 101, 6, false, 50)),
            ("100/10m", 100, 1, 600, (true, 1, 0, false, 99)),
            ("100/10m", 0, 101, 0, (false, 101, 600, true, 100)),
            ("100/10m", 100, 0, 0, (true, 100, 0, false, 0)),
            ("500/1d burst 50", 50, 1, 0, (false, 51, 173, false, 0)),
            ("500/1d burst 50", 0, 51, 0, (false, 51, 86_400, true, 50)),
            ("100/1h strict", 0, 1, 0, (true, 1, 0, false, 99)),
            ("100/1h strict", 100, 1, 0, (false, 101, 3600, false, 0)),
            ("100/1h strict", 100, 1, 3599, (false, 101, 1, false, 0)),
            ("100/1h strict", 100, 1, 3600, (true, 1, 0, false, 99)),
            ("100/1h strict", 130, 1, 0, (false, 131, 3600, false, 0)),
            ("100/1h strict", 0, 101, 0, (false, 101, 3600, true, 100)),
            ("1M/1h", 3, 1 << 20, 0, (false, (1 << 20) + 3, 1, false, (1 << 20) - 3)),
        ] {
            let answer = weighed(text, before, n, after);
            let wait = answer.retry_after.as_nanos().div_ceil(1_000_000_000);
            let found = (answer.allowed, answer.used, wait, answer.never, answer.remaining);
            assert_eq!(found, expected, "{text}: {before} before, {n} after {after}s");
        }
    }

    #[test]
    fn the_wait_is_exactly_long_enough() {
        for text in ["7/1h", "100/10m", "500/1d burst 50", "4096M/6m", "10/1h strict"] {
            let limits = limits(text);
            let mut entry = Entry::default();
            entry.charge(limits.windows(), limits.windows()[0].capacity(), NOW);
            let refused = entry.weigh(&limits, 1, 0, NOW);
            let wait = u64::try_from(refused.retry_after.as_nanos()).unwrap();
            assert!(!entry.weigh(&limits, 1, 0, NOW + wait - 1).allowed, "{text}");
            assert!(entry.weigh(&limits, 1, 0, NOW + wait).allowed, "{text}");
        }
    }

    #[test]
    fn of_several_windows_the_one_that_refuses_longest_is_told() {
        for (text, before, n, period) in [
            ("100/10m, 200/1h, 500/1d", 10, 1, 600),
            ("100/10m, 200/1h, 11/1d", 10, 1, 86_400),
            ("10/10m, 10/1h", 10, 1, 3600),
            ("10/1h, 10/10m", 10, 1, 3600),
            ("10/1h, 5/10m", 10, 8, 600),
        ] {
            let answer = weighed(text, before, n, 0);
            assert_eq!(answer.window.period.as_secs(), period, "{text}");
        }
    }

    #[test]
    fn large_requests_are_told_in_bytes() {
        let limits = limits("4096M/6m");
        let mut entry = Entry::default();
        entry.charge(limits.windows(), 1 << 30, NOW);
        let answer = entry.weigh(&limits, 1 << 20, 0, NOW);
        assert_eq!(
            (answer.allowed, answer.used, answer.remaining),
            (true, (1 << 30) + (1 << 20), (3 << 30) - (1 << 20))
        );
        let answer = entry.weigh(&limits, 4 << 30, 0, NOW);
        assert_eq!((answer.allowed, answer.used, answer.retry_after.as_secs()), (false, 5 << 30, 90));
        assert!(entry.weigh(&limits, (4 << 30) + 1, 0, NOW).never);
    }

    #[test]
    fn changed_limits_neither_strand_a_key_nor_forgive_it() {
        // old limits, used, new limits: used then, this one included
        for (old, used, new, expected) in [
            ("10/1h", 10, "100/1h", 11),
            ("100/1h", 50, "10/1h", 11),
            ("100/1h", 60, "100/10m", 11),
            ("100/10m", 40, "100/1h", 41),
            ("100/1h", 40, "100/1h strict", 41),
            ("100/1h strict", 40, "100/1h", 41),
            ("100/10m, 500/1d", 40, "100/10m, 600/1d", 41),
        ] {
            let mut entry = Entry::default();
            entry.charge(limits(old).windows(), used, NOW);
            assert_eq!(entry.weigh(&limits(new), 1, 0, NOW).used, expected, "{old} to {new}");
        }
        let mut entry = Entry::default();
        entry.charge(limits("10/1h").windows(), 10, NOW);
        assert!(entry.weigh(&limits("100/1h"), 90, 0, NOW).allowed);
    }

    #[test]
    fn going_to_and_fro_between_limits_frees_nothing() {
        let (day, minute) = (limits("20/1d"), limits("20/1m"));
        let mut entry = Entry::default();
        for _ in 0..30 {
            for limits in [&day, &minute] {
                entry.charge(limits.windows(), 1, NOW);
            }
        }
        assert!(!entry.weigh(&day, 1, 0, at(120)).allowed);
        assert!(entry.weigh(&minute, 1, 0, at(120)).allowed);
    }

    #[test]
    fn limits_that_nobody_asks_for_any_more_are_forgotten() {
        let (former, present) = (limits("5/1h burst 10"), limits("1000/1h"));
        let mut entry = Entry::default();
        entry.charge(former.windows(), 10, NOW);
        for (seconds, load) in [(3_600, LIMITED), (7_199, LIMITED), (7_200, LIMITED / 5)] {
            entry.charge(present.windows(), 100, at(seconds));
            assert_eq!(entry.load(at(seconds)), load, "{seconds}");
        }
    }

    #[test]
    fn ever_new_limits_do_not_grow_a_key() {
        let mut entry = Entry::default();
        for n in 1..200 {
            entry.charge(limits(&format!("{n}/1d, {n}/1h")).windows(), 1, NOW);
            assert!(entry.kept.len() <= MAX_KEPT);
        }
    }

    #[test]
    fn the_load_tells_the_idle_from_the_limited() {
        for (text, used, after, expected) in [
            ("10/1h", 0, 0, 0),
            ("10/1h", 5, 0, LIMITED / 2),
            ("10/1h", 10, 0, LIMITED),
            ("10/1h", 10, 3600, 0),
            ("10/1h, 10/1d", 10, 3600, LIMITED),
            ("10/1h strict", 20, 0, 2 * LIMITED),
            ("16777215G/1h strict", 1, 0, 1),
        ] {
            let mut entry = Entry::default();
            entry.charge(limits(text).windows(), used, NOW);
            assert_eq!(entry.load(at(after)), expected, "{text} used {used} after {after}s");
        }
    }
}
