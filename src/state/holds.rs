//! Promises: what is held back of a limit until it is known whether the mail goes on.
//!
//! A reservation is a count beside the bucket. The tokens are taken when it is
//! committed, at that time; giving back only lowers the count, since tokens put back
//! into a bucket would let through more than it says. When its time is up it is
//! committed: time alone gives nothing back.
//!
//! Strangers' mail makes them: at most [`MAX_HOLDS`] are open, of about 100 bytes, and
//! one more commits the one that would be next in time anyway. While something of a
//! key is held it is not forgotten.

use super::buckets::Place;
use super::clock::Nanos;
use super::limits::Limits;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// Several for each of as many sessions as there are at all.
pub(super) const MAX_HOLDS: usize = 1 << 18;

/// Names what was reserved for one question. It is settled once, by whichever comes
/// first of commit, give-back and timer; after that the name means nothing.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Hold {
    /// First, so that they are in the order of their time.
    until: Nanos,
    number: u64,
}

/// What is held back for it.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub place: Place,
    /// Under which it will be charged.
    pub limits: Limits,
    pub n: u64,
    pub since: Nanos,
}

#[derive(Debug)]
pub(super) struct Holds {
    open: Mutex<Open>,
    most: usize,
}

#[derive(Debug, Default)]
struct Open {
    parts: BTreeMap<Hold, Part>,
    next: u64,
    /// How many the timer, or the lack of room, has committed.
    overdue: u64,
}

impl Holds {
    pub(super) fn new(most: usize) -> Self {
        Self { open: Mutex::default(), most }
    }

    /// Beside it what has to be committed to make room.
    pub(super) fn open(&self, part: Part, until: Nanos) -> (Hold, Option<Part>) {
        let mut open = self.open.lock();
        let evicted = if open.parts.len() >= self.most { open.parts.pop_first() } else { None };
        open.overdue += u64::from(evicted.is_some());
        let hold = Hold { until, number: open.next };
        open.next += 1;
        open.parts.insert(hold, part);
        (hold, evicted.map(|(_, part)| part))
    }

    pub(super) fn close(&self, hold: Hold) -> Option<Part> {
        self.open.lock().parts.remove(&hold)
    }

    /// Closes one whose time is up.
    pub(super) fn close_due(&self, now: Nanos) -> Option<Part> {
        let mut open = self.open.lock();
        let first = open.parts.first_entry().filter(|first| first.key().until <= now)?;
        let part = first.remove();
        open.overdue += 1;
        Some(part)
    }

    /// Leaves no more than `n`; beside the part how much that is less.
    pub(super) fn lower(&self, hold: Hold, n: u64) -> Option<(Part, u64)> {
        let mut open = self.open.lock();
        let part = open.parts.get_mut(&hold)?;
        let less = part.n.saturating_sub(n);
        part.n -= less;
        let lowered = part.clone();
        if n == 0 {
            open.parts.remove(&hold);
        }
        Some((lowered, less))
    }

    /// How many are open, and how many were overdue.
    pub(super) fn stats(&self) -> (u64, u64) {
        let open = self.open.lock();
        (open.parts.len() as u64, open.overdue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(n: u64) -> Part {
        Part { place: Place::Coarse(0), limits: "1/1h".parse().unwrap(), n, since: 0 }
    }

    #[test]
    fn one_too_many_closes_the_one_whose_time_is_next() {
        let holds = Holds::new(2);
        let (late, none) = holds.open(part(1), 30);
        assert!(none.is_none());
        let (soon, none) = holds.open(part(2), 10);
        assert!(none.is_none());
        let (_, closed) = holds.open(part(3), 20);
        assert_eq!(closed.map(|part| part.n), Some(2));
        assert!(holds.close(soon).is_none());
        assert_eq!(holds.stats(), (2, 1));
        for (now, due) in [(19, None), (20, Some(3)), (29, None), (30, Some(1)), (99, None)] {
            assert_eq!(holds.close_due(now).map(|part| part.n), due, "{now}");
        }
        assert!(holds.close(late).is_none());
        assert_eq!(holds.stats(), (0, 3));
    }
}
