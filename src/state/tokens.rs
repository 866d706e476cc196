//! One token bucket: the generic cell rate algorithm, by `governor`, over a single number.
//!
//! The number is the arrival time: the absolute moment at which the bucket will be
//! full again. Sound limits (see `limits`) keep it within eleven years of `now`.

use super::clock::Nanos;
use super::limits::Cells;
use governor::Quota;
use governor::RateLimiter;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos as GovernorNanos;
use governor::state::NotKeyed;
use governor::state::StateStore;
use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::Duration;

/// The year 2262. `governor` adds without looking; clamping here keeps that safe.
const LATEST: Nanos = i64::MAX as Nanos;

/// How many cells are missing from a full bucket, a cell in the making included.
pub(super) fn missing(cells: &Cells, arrival: Nanos, now: Nanos) -> u32 {
    let debt = arrival.saturating_sub(now.min(LATEST)).div_ceil(cells.length.max(1));
    u32::try_from(debt).unwrap_or(u32::MAX)
}

/// Whether no cell is missing.
pub(super) fn is_full(arrival: Nanos, now: Nanos) -> bool {
    arrival <= now.min(LATEST)
}

/// Takes `cost` cells: the new arrival time, or how long until they are there.
///
/// What is above the capacity has to wait for a full bucket, and then again.
pub(super) fn take(cells: &Cells, arrival: Nanos, cost: u32, now: Nanos) -> Result<Nanos, Duration> {
    let (now, refill) = (now.min(LATEST), cells.refill);
    if cost > cells.capacity {
        return Err(Duration::from_nanos(refill));
    }
    let (Some(cost), Some(capacity)) = (NonZeroU32::new(cost), NonZeroU32::new(cells.capacity)) else {
        return Ok(arrival);
    };
    let Some(quota) = Quota::with_period(Duration::from_nanos(cells.length)) else {
        return Ok(arrival);
    };
    // More than a full bucket can't be owed, unless the clock was another one.
    let latest = now.saturating_add(refill);
    let store = Single { arrival: Cell::new(arrival.min(latest)) };
    let limiter = RateLimiter::<_, _, _, NoOpMiddleware<GovernorNanos>>::new(
        quota.allow_burst(capacity),
        store,
        Frozen { now, begun: Cell::new(false) },
    );
    match limiter.check_n(cost) {
        Ok(Ok(())) => Ok(limiter.into_state_store().arrival.get()),
        Ok(Err(not_until)) => Err(not_until.wait_time_from(GovernorNanos::new(now))),
        Err(_) => Err(Duration::from_nanos(refill)),
    }
}

/// Takes `cost` cells or as many as there are: nobody is kept out for longer than
/// a full bucket takes, however often he was refused. An earlier `now` than one
/// before gives nothing back.
pub(super) fn drain(cells: &Cells, arrival: Nanos, cost: u32, now: Nanos) -> Nanos {
    let now = now.min(LATEST);
    let empty = now.saturating_add(cells.refill);
    let taken = cells.length.saturating_mul(u64::from(cost));
    arrival.max(now).saturating_add(taken).min(empty).max(arrival)
}

/// `governor` measures from its first reading of the clock. That reading is zero
/// here, which makes arrival times absolute, so that they outlive the limiter.
struct Frozen {
    now: Nanos,
    begun: Cell<bool>,
}

impl Clock for Frozen {
    type Instant = GovernorNanos;

    fn now(&self) -> GovernorNanos {
        GovernorNanos::new(if self.begun.replace(true) { self.now } else { 0 })
    }
}

/// Where `governor` keeps the one number; zero is a bucket never touched.
struct Single {
    arrival: Cell<Nanos>,
}

impl StateStore for Single {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<GovernorNanos>) -> Result<(T, GovernorNanos), E>,
    {
        let before = Some(self.arrival.get()).filter(|&arrival| arrival > 0).map(GovernorNanos::new);
        let (outcome, after) = decide(before)?;
        self.arrival.set(after.as_u64());
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN_PER_MINUTE: Cells =
        Cells { capacity: 10, grain: 1, length: 6_000_000_000, refill: 60_000_000_000 };
    const NOW: Nanos = 1_800_000_000_000_000_000;
    const SECOND: Nanos = 1_000_000_000;

    #[test]
    fn a_bucket_empties_at_once_and_refills_evenly() {
        let mut arrival = 0;
        for (after, cost, expected, missing_then) in [
            (0, 1, Ok(()), 1),
            (0, 9, Ok(()), 10),
            (0, 1, Err(6), 10),
            (0, 10, Err(60), 10),
            (5, 1, Err(1), 10),
            (6, 1, Ok(()), 10),
            (12, 2, Err(6), 9),
            (12, 1, Ok(()), 10),
            (72, 10, Ok(()), 10),
            (1000, 0, Ok(()), 0),
        ] {
            let now = NOW + after * SECOND;
            let taken = take(&TEN_PER_MINUTE, arrival, cost, now);
            assert_eq!(taken.map(|_| ()), expected.map_err(Duration::from_secs), "{cost} at {after}");
            arrival = taken.unwrap_or(arrival);
            assert_eq!(missing(&TEN_PER_MINUTE, arrival, now), missing_then, "{cost} at {after}");
        }
    }

    #[test]
    fn refused_attempts_empty_the_bucket_but_do_not_pile_up() {
        let mut arrival = 0;
        for _ in 0..100 {
            arrival = drain(&TEN_PER_MINUTE, arrival, 7, NOW);
        }
        assert_eq!(arrival, NOW + 60 * SECOND);
        assert_eq!(take(&TEN_PER_MINUTE, arrival, 1, NOW), Err(Duration::from_secs(6)));
    }

    #[test]
    fn an_earlier_time_gives_nothing_back() {
        let emptied = drain(&TEN_PER_MINUTE, 0, 10, NOW);
        assert_eq!(drain(&TEN_PER_MINUTE, emptied, 1, NOW - 30 * SECOND), emptied);
        assert_eq!(take(&TEN_PER_MINUTE, emptied, 1, NOW), Err(Duration::from_secs(6)));
    }

    #[test]
    fn no_time_and_no_arrival_overflow() {
        let decade = Cells::new(1, 1, 10 * 366 * 86_400 * SECOND);
        for cells in [TEN_PER_MINUTE, decade] {
            for now in [0, NOW, u64::MAX] {
                for arrival in [0, 1, NOW, u64::MAX] {
                    let _ = take(&cells, arrival, cells.capacity, now);
                    let _ = take(&cells, arrival, u32::MAX, now);
                    let _ = drain(&cells, arrival, u32::MAX, now);
                    let _ = missing(&cells, arrival, now);
                }
            }
        }
    }
}
