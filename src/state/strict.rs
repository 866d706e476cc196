//! One strict window: never more than N in any stretch of time as long as its period.
//!
//! What passed is kept as at most [`MAX_STAMPS`] sums. A sum counts until the newest
//! thing in it is a period old, so the count may be too high for a sixtieth of the
//! period, and is never too low.

use super::clock::Nanos;
use super::keep::Input;
use super::keep::Output;
use std::collections::VecDeque;
use std::time::Duration;

/// Things closer together than this part of the period share a sum.
const PARTS: u64 = 60;

/// A period of 60 parts can touch 62 sums: one begun before it, one after a rest.
const MAX_STAMPS: usize = PARTS as usize + 2;

/// What passed, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Passed {
    stamps: VecDeque<Stamp>,
}

#[derive(Clone, Copy, Debug)]
struct Stamp {
    first: Nanos,
    newest: Nanos,
    count: u64,
}

impl Passed {
    /// How many passed in the period that ends now.
    pub(super) fn count(&self, period: u64, now: Nanos) -> u64 {
        self.live(period, now).fold(0, |sum, stamp| sum.saturating_add(stamp.count))
    }

    pub(super) fn add(&mut self, n: u64, period: u64, now: Nanos) {
        while self.stamps.front().is_some_and(|stamp| !stamp.counts(period, now)) {
            self.stamps.pop_front();
        }
        let full = self.stamps.len() >= MAX_STAMPS;
        let part = (period / PARTS).max(1);
        match self.stamps.back_mut() {
            Some(last) if full || now < last.first.saturating_add(part) => {
                last.newest = last.newest.max(now);
                last.count = last.count.saturating_add(n);
            }
            _ => self.stamps.push_back(Stamp { first: now, newest: now, count: n }),
        }
    }

    /// How long until `n` more keep within `allowed`, if nothing else passes.
    /// None when they never will.
    pub(super) fn wait(&self, n: u64, allowed: u64, period: u64, now: Nanos) -> Option<Duration> {
        let room = allowed.checked_sub(n)?;
        let mut counted = self.count(period, now);
        let mut until = now;
        for stamp in self.live(period, now) {
            if counted <= room {
                break;
            }
            counted = counted.saturating_sub(stamp.count);
            until = until.max(stamp.newest.saturating_add(period));
        }
        Some(Duration::from_nanos(until.saturating_sub(now)))
    }

    pub(super) fn write(&self, out: &mut Output) {
        out.number(self.stamps.len() as u64);
        for stamp in &self.stamps {
            out.time(stamp.newest);
            out.number(stamp.newest.saturating_sub(stamp.first));
            out.number(stamp.count);
        }
    }

    /// What was written; nothing in it is later than `now`.
    pub(super) fn read(from: &mut Input<'_>, now: Nanos) -> Option<Self> {
        let count = usize::try_from(from.number()?).ok().filter(|count| *count <= MAX_STAMPS)?;
        let mut stamps = VecDeque::new();
        for _ in 0..count {
            let newest = from.time()?.min(now);
            let first = newest.saturating_sub(from.number()?);
            stamps.push_back(Stamp { first, newest, count: from.number()? });
        }
        Some(Self { stamps })
    }

    fn live(&self, period: u64, now: Nanos) -> impl Iterator<Item = &Stamp> {
        self.stamps.iter().filter(move |stamp| stamp.counts(period, now))
    }
}

impl Stamp {
    fn counts(&self, period: u64, now: Nanos) -> bool {
        self.newest.saturating_add(period) > now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: u64 = 3_600;

    #[test]
    fn a_thing_counts_for_one_period_and_not_longer() {
        let mut passed = Passed::default();
        passed.add(3, PERIOD, 1_000);
        passed.add(2, PERIOD, 2_000);
        for (now, count) in [(2_000, 5), (4_599, 5), (4_600, 2), (5_599, 2), (5_600, 0)] {
            assert_eq!(passed.count(PERIOD, now), count, "{now}");
        }
    }

    #[test]
    fn the_wait_is_until_enough_is_a_period_old() {
        let mut passed = Passed::default();
        passed.add(3, PERIOD, 1_000);
        passed.add(2, PERIOD, 2_000);
        for (n, wait) in [(0, Some(0)), (1, Some(2_500)), (3, Some(2_500)), (4, Some(3_500)), (6, None)] {
            assert_eq!(passed.wait(n, 5, PERIOD, 2_100), wait.map(Duration::from_nanos), "{n}");
        }
    }

    #[test]
    fn memory_is_bounded_and_old_things_are_forgotten() {
        for step in [1, 7, 59, 60, 61, 200] {
            let mut passed = Passed::default();
            for at in 0..20_000 {
                passed.add(1, PERIOD, at * step);
                assert!(passed.stamps.len() <= MAX_STAMPS);
            }
            let now = 19_999 * step;
            let exact = PERIOD.div_ceil(step).min(20_000);
            let counted = passed.count(PERIOD, now);
            assert!(
                (exact..=exact + 60_u64.div_ceil(step)).contains(&counted),
                "{step}: {counted} not {exact}"
            );
        }
    }

    #[test]
    fn a_late_witness_frees_nothing() {
        let mut passed = Passed::default();
        passed.add(1, PERIOD, 5_000);
        passed.add(1, PERIOD, 4_000);
        assert_eq!(passed.count(PERIOD, 8_599), 2);
    }
}
