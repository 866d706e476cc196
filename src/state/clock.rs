//! The time that buckets live by: it starts at the wall clock and then only counts on.
//!
//! A wall clock that is set back or forward while we run neither frees a limited
//! key nor locks one out, since it is read once.

use std::time::SystemTime;
use std::time::UNIX_EPOCH;
use tokio::time::Instant;

/// Nanoseconds since the Unix epoch, as far as [`Clock`] knows; never goes back.
pub type Nanos = u64;

/// Later than any sensible start (the year 2100), and far enough from the end of
/// `u64` that ten years of debt can be added without a thought.
const LATEST_START: Nanos = 130 * 366 * 86_400 * 1_000_000_000;

/// Tells `now`. Under tokio's paused time it stands still as well.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started_at: Nanos,
    started: Instant,
}

impl Clock {
    /// Starts at the given wall time, which is not read again.
    pub fn starting_at(wall: SystemTime) -> Self {
        let since_epoch = wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let started_at = u64::try_from(since_epoch).unwrap_or(LATEST_START).min(LATEST_START);
        Self { started_at, started: Instant::now() }
    }

    pub fn now(&self) -> Nanos {
        let elapsed = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.started_at.saturating_add(elapsed)
    }
}

/// What all clocks said at one moment: what is kept in a file tells by it how long ago
/// that was, to another process.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Reading {
    /// The time that buckets live by.
    pub nanos: Nanos,
    /// Nanoseconds since the Unix epoch, as the wall clock has it now.
    pub wall: u64,
    /// Nanoseconds since the machine was started; nobody sets this clock.
    pub uptime: u64,
    /// Which start of the machine that was; zero if that is not known.
    pub boot: u128,
}

impl Reading {
    /// How much later this is than an earlier one. Since the same start of the machine
    /// the wall clock is not asked, so that setting it frees nobody and locks nobody out;
    /// else, if it says that less than nothing passed, nothing did.
    pub(super) fn since(&self, earlier: &Self) -> Nanos {
        let same_boot = self.boot != 0 && self.boot == earlier.boot;
        match self.uptime.checked_sub(earlier.uptime).filter(|_| same_boot) {
            Some(passed) => passed,
            None => self.wall.saturating_sub(earlier.wall),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn time_counts_on_from_the_wall_clock_of_the_start() {
        let clock = Clock::starting_at(UNIX_EPOCH + Duration::from_secs(1_000));
        assert_eq!(clock.now(), 1_000_000_000_000);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(clock.now(), 1_060_000_000_000);
    }

    #[test]
    fn a_wall_clock_that_was_set_is_not_believed() {
        let at = |wall, uptime, boot| Reading { nanos: 0, wall, uptime, boot };
        for (earlier, later, passed) in [
            (at(1_000, 10, 1), at(1_050, 60, 1), 50),
            // Set forward, and back, while the machine ran on.
            (at(1_000, 10, 1), at(9_000, 60, 1), 50),
            (at(1_000, 10, 1), at(5, 60, 1), 50),
            // Another start of it, or none that is known.
            (at(1_000, 10, 1), at(1_500, 60, 2), 500),
            (at(1_000, 10, 1), at(5, 60, 2), 0),
            (at(1_000, 10, 0), at(1_500, 60, 0), 500),
            // A container's that began anew.
            (at(1_000, 100, 1), at(1_500, 60, 1), 500),
        ] {
            assert_eq!(later.since(&earlier), passed, "{earlier:?} {later:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_absurd_wall_clock_leaves_room_to_count() {
        for (wall, expected) in [
            (UNIX_EPOCH - Duration::from_secs(5), 0),
            (UNIX_EPOCH + Duration::from_secs(400 * 366 * 86_400), LATEST_START),
        ] {
            assert_eq!(Clock::starting_at(wall).now(), expected);
        }
    }
}
