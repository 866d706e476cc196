//! What is kept of most keys: up to three token buckets, all of one limit, each a
//! single number. All else is an [`Entry`], on the heap.

use super::Answer;
use super::Question;
use super::clock::Nanos;
use super::entry::Entry;
use super::entry::UNLIMITED;
use super::limits::Limits;
use super::limits::PLAIN_WINDOWS;
use super::weigh;
use super::weigh::Weighed;

/// What one key has used.
#[derive(Debug)]
pub(super) enum Uses {
    Plain(Plain),
    Mixed(Box<Entry>),
}

#[derive(Debug)]
pub(super) struct Plain {
    limits: Limits,
    /// When it was last charged.
    asked: Nanos,
    /// One for each window; see `tokens`.
    arrivals: [Nanos; PLAIN_WINDOWS],
}

impl Uses {
    /// Nothing yet, and probably to be asked for under these limits.
    pub(super) fn none(limits: &Limits) -> Self {
        match limits.is_plain() {
            true => Self::Plain(Plain { limits: limits.clone(), asked: 0, arrivals: [0; PLAIN_WINDOWS] }),
            false => Self::Mixed(Box::default()),
        }
    }

    /// Says whether `n` more would be allowed after `ahead` others.
    pub(super) fn weigh(&self, limits: &Limits, n: u64, ahead: u64, now: Nanos) -> Answer {
        match self {
            Self::Plain(plain) if plain.limits == *limits => plain.weigh(n, ahead, now).0,
            Self::Plain(plain) => plain.to_entry().weigh(limits, n, ahead, now),
            Self::Mixed(entry) => entry.weigh(limits, n, ahead, now),
        }
    }

    /// Weighs a question and, if that lets it, charges it, in one step.
    pub(super) fn admit(&mut self, question: &Question<'_>, ahead: u64, now: Nanos) -> Answer {
        let Question { limits, n, counted, must_fit, .. } = *question;
        if let Self::Plain(plain) = self
            && plain.is_under(limits)
        {
            let (answer, after) = plain.weigh(n, ahead, now);
            if answer.allowed && counted == 0 && ahead == 0 {
                plain.arrivals = after;
                plain.asked = plain.asked.max(now);
            } else if answer.allowed || !must_fit {
                plain.charge(n.saturating_sub(counted), now);
            }
            return answer;
        }
        let answer = self.weigh(limits, n, ahead, now);
        if answer.allowed || !must_fit {
            self.charge(limits, n.saturating_sub(counted), now);
        }
        answer
    }

    /// Counts `n` in the windows of these limits and in all others that are kept,
    /// whether it fits or not.
    pub(super) fn charge(&mut self, limits: &Limits, n: u64, now: Nanos) {
        if let Self::Plain(plain) = self {
            if plain.is_under(limits) {
                return plain.charge(n, now);
            }
            *self = Self::Mixed(Box::new(plain.to_entry()));
        }
        if let Self::Mixed(entry) = self {
            entry.charge(limits.windows(), n, now);
            if let Some((arrivals, asked)) = entry.as_tokens(limits) {
                *self = Self::Plain(Plain { limits: limits.clone(), asked, arrivals });
            }
        }
    }

    /// How near its limits the key is: 0 when nothing is used, [`weigh::LIMITED`] or
    /// above when a window has no room for even one.
    pub(super) fn load(&self, now: Nanos) -> u64 {
        match self {
            Self::Plain(plain) => plain.load(now),
            Self::Mixed(entry) => entry.load(now),
        }
    }
}

impl Plain {
    /// Whether the limits are its own. Those that are alike take the place of its
    /// own, so that a former policy's do not stay.
    fn is_under(&mut self, limits: &Limits) -> bool {
        if self.limits.is_same(limits) {
            return true;
        }
        let alike = self.limits == *limits;
        if alike {
            self.limits = limits.clone();
        }
        alike
    }

    /// The arrival times beside it are those after `n` and `ahead`, if it is allowed.
    fn weigh(&self, n: u64, ahead: u64, now: Nanos) -> (Answer, [Nanos; PLAIN_WINDOWS]) {
        let mut after = self.arrivals;
        let weighed = self.limits.in_cells().zip(&mut after).map(|((window, cells), arrival)| {
            let (weighed, next) = Weighed::tokens(window, cells, *arrival, (n, ahead), now);
            *arrival = next;
            weighed
        });
        let told = weighed.reduce(|one, other| one.deciding(other, n));
        (told.map_or(UNLIMITED, |told| told.answer(n)), after)
    }

    fn charge(&mut self, n: u64, now: Nanos) {
        for ((window, cells), arrival) in self.limits.in_cells().zip(&mut self.arrivals) {
            *arrival = weigh::charged(window, cells, *arrival, n, now);
        }
        self.asked = self.asked.max(now);
    }

    fn load(&self, now: Nanos) -> u64 {
        let of = |((window, cells), arrival): ((_, _), &Nanos)| {
            weigh::load(window, weigh::used(window, cells, *arrival, now))
        };
        self.limits.in_cells().zip(&self.arrivals).map(of).max().unwrap_or(0)
    }

    fn to_entry(&self) -> Entry {
        Entry::of_tokens(&self.limits, &self.arrivals, self.asked)
    }
}
