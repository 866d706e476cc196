//! What a window says to one more request, and which of several windows is told.

use super::Answer;
use super::clock::Nanos;
use super::limits::Cells;
use super::limits::Window;
use super::tokens;
use std::cmp::Ordering;
use std::time::Duration;

/// The load of a key that is at a limit.
pub(super) const LIMITED: u64 = 1_000_000;

/// What one window says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weighed<'w> {
    window: &'w Window,
    /// What counts already, the others of the batch included.
    used: u64,
    /// None: never. Zero: now.
    wait: Option<Duration>,
}

impl<'w> Weighed<'w> {
    pub(super) fn new(window: &'w Window, used: u64, wait: Option<Duration>) -> Self {
        Self { window, used, wait }
    }

    /// A token bucket's, and its arrival time once all is taken; `ahead` is what
    /// others have been promised.
    pub(super) fn tokens(
        window: &'w Window,
        cells: &Cells,
        arrival: Nanos,
        (n, ahead): (u64, u64),
        now: Nanos,
    ) -> (Self, Nanos) {
        let used = used(window, cells, arrival, now).saturating_add(ahead);
        let taken = match cells.cost(n.saturating_add(ahead), window) {
            Some(cost) => tokens::take(cells, arrival, cost, now).map_err(Some),
            None => Err(None),
        };
        let (wait, after) = match taken {
            Ok(after) => (Some(Duration::ZERO), after),
            Err(_) if n == 0 => (Some(Duration::ZERO), arrival),
            Err(wait) => (wait, arrival),
        };
        (Self { window, used, wait }, after)
    }

    /// Of two the one to tell: what refuses for longest, else the fullest.
    pub(super) fn deciding(self, other: Self, n: u64) -> Self {
        let fuller = || {
            u128::from(other.with(n)) * u128::from(self.window.capacity())
                > u128::from(self.with(n)) * u128::from(other.window.capacity())
        };
        match other.rank().cmp(&self.rank()) {
            Ordering::Greater => other,
            Ordering::Equal if fuller() => other,
            _ => self,
        }
    }

    pub(super) fn answer(&self, n: u64) -> Answer {
        let allowed = self.is_allowed();
        let left = if allowed { self.used.saturating_add(n) } else { self.used };
        Answer {
            allowed,
            used: self.with(n),
            window: *self.window,
            retry_after: self.wait.unwrap_or(self.window.period),
            never: self.wait.is_none(),
            remaining: self.window.capacity().saturating_sub(left),
        }
    }

    fn is_allowed(&self) -> bool {
        self.wait.is_some_and(|wait| wait.is_zero())
    }

    /// What counts, this request included.
    fn with(&self, n: u64) -> u64 {
        let with = self.used.saturating_add(n);
        match self.is_allowed() && !self.window.strict {
            true => with.min(self.window.capacity().max(self.used)),
            false => with,
        }
    }

    fn rank(&self) -> (bool, bool, Duration) {
        let wait = self.wait.unwrap_or(self.window.period);
        (!self.is_allowed(), self.wait.is_none(), wait)
    }
}

/// The arrival time after `n` more, whether they fit or not.
pub(super) fn charged(window: &Window, cells: &Cells, arrival: Nanos, n: u64, now: Nanos) -> Nanos {
    let cost = cells.cost(n, window).unwrap_or(cells.capacity);
    match tokens::take(cells, arrival, cost, now) {
        Ok(next) => next,
        Err(_) => tokens::drain(cells, arrival, cost, now),
    }
}

/// What a bucket has given and not got back.
pub(super) fn used(window: &Window, cells: &Cells, arrival: Nanos, now: Nanos) -> u64 {
    let missing = tokens::missing(cells, arrival, now);
    if missing >= cells.capacity {
        return window.capacity();
    }
    u64::from(missing).saturating_mul(cells.grain)
}

/// How near a window is to its limit: 0 when nothing is used, [`LIMITED`] or above
/// when there is no room for even one.
pub(super) fn load(window: &Window, used: u64) -> u64 {
    let capacity = window.capacity();
    let part = (u128::from(used) * u128::from(LIMITED)).div_ceil(u128::from(capacity.max(1)));
    let part = u64::try_from(part).unwrap_or(u64::MAX);
    if used >= capacity { part.max(LIMITED) } else { part.min(LIMITED - 1) }
}
