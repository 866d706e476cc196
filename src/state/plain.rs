//! What is kept of most keys: up to three token buckets, all of one limit, each a
//! single number. All else is an [`Entry`], on the heap.

use super::Answer;
use super::Question;
use super::clock::Nanos;
use super::entry::Entry;
use super::entry::UNLIMITED;
use super::keep::Input;
use super::keep::Output;
use super::limits::Limits;
use super::limits::PLAIN_WINDOWS;
use super::limits::Window;
use super::shown::WindowUse;
use super::tokens;
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
    /// When it was last charged; for a clock that went back since, it stands still.
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

    /// What is used of each window, and when one more would fit.
    pub(super) fn windows(&self, held: u64, now: Nanos) -> Vec<WindowUse> {
        match self {
            Self::Plain(plain) => plain.to_entry().windows(held, now),
            Self::Mixed(entry) => entry.windows(held, now),
        }
    }

    /// Whether there is a window in which it was counted, or may be.
    pub(super) fn is_counted(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Mixed(entry) => !entry.is_empty(),
        }
    }

    /// As if nothing had been charged.
    pub(super) fn clear(&mut self) {
        match self {
            Self::Plain(plain) => plain.arrivals = [0; PLAIN_WINDOWS],
            Self::Mixed(entry) => entry.clear(),
        }
    }

    /// Prepares for a promise under these limits, so that a file knows where to charge
    /// it: a key that has used nothing keeps their windows.
    pub(super) fn expect(&mut self, limits: &Limits, now: Nanos) {
        let is_known = match self {
            Self::Plain(plain) => plain.is_under(limits),
            Self::Mixed(entry) => entry.knows(limits),
        };
        if !is_known && self.is_unused(now) {
            self.charge(limits, 0, now);
        }
    }

    pub(super) fn write(&self, out: &mut Output) {
        match self {
            Self::Plain(plain) => plain.write(out),
            Self::Mixed(entry) => entry.write(out),
        }
    }

    /// Counts `n` in all windows that are kept.
    pub(super) fn charge_kept(&mut self, n: u64, now: Nanos) {
        match self {
            Self::Plain(plain) => plain.charge(n, now),
            Self::Mixed(entry) => entry.charge_kept(n, now),
        }
    }

    /// What was written. Keys with the same windows share their `limits`.
    pub(super) fn read(
        from: &mut Input<'_>,
        now: Nanos,
        limits: impl FnOnce(Vec<Window>) -> Limits,
    ) -> Option<Self> {
        let entry = Entry::read(from, now)?;
        let windows = entry.all_windows();
        if windows.len() <= PLAIN_WINDOWS && !windows.is_empty() {
            let limits = limits(windows);
            if let Some((arrivals, asked)) = entry.as_tokens(&limits) {
                return Some(Self::Plain(Plain { limits, asked, arrivals }));
            }
        }
        Some(Self::Mixed(Box::new(entry)))
    }

    /// Whether nothing counts against it: most often asked, and told without a division.
    pub(super) fn is_unused(&self, now: Nanos) -> bool {
        match self {
            Self::Plain(plain) => plain.arrivals.iter().all(|arrival| tokens::is_full(*arrival, now)),
            Self::Mixed(entry) => entry.load(now) == 0,
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
        let now = now.max(self.asked);
        for ((window, cells), arrival) in self.limits.in_cells().zip(&mut self.arrivals) {
            *arrival = weigh::charged(window, cells, *arrival, n, now);
        }
        self.asked = now;
    }

    fn load(&self, now: Nanos) -> u64 {
        let of = |((window, cells), arrival): ((_, _), &Nanos)| {
            weigh::load(window, weigh::used(window, cells, *arrival, now))
        };
        self.limits.in_cells().zip(&self.arrivals).map(of).max().unwrap_or(0)
    }

    /// As [`Entry::write`] writes the same.
    fn write(&self, out: &mut Output) {
        out.number(self.limits.windows().len() as u64);
        for (window, arrival) in self.limits.windows().iter().zip(&self.arrivals) {
            window.write(out);
            out.time(self.asked);
            out.coming(*arrival);
        }
    }

    fn to_entry(&self) -> Entry {
        Entry::of_tokens(&self.limits, &self.arrivals, self.asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Nanos = 1_800_000_000_000_000_000;
    const SECOND: Nanos = 1_000_000_000;

    fn all() -> Vec<Limits> {
        let texts = ["7/1m", "7/1m, 20/10m", "20/10m, 7/1m", "9/1m burst 3, 20/10m, 40/1h", "7/1m strict"];
        texts.into_iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn few_buckets_of_one_limit_are_kept_in_place() {
        for (text, plain) in [
            ("7/1m", true),
            ("7/1m, 8/1h, 9/1d", true),
            ("5G/1m burst 1G", true),
            ("7/1m, 8/1h, 9/1d, 10/2d", false),
            ("7/1m, 7/1m", false),
            ("7/1m strict", false),
            ("7/1m, 7/1h strict", false),
        ] {
            let limits: Limits = text.parse().unwrap();
            let mut uses = Uses::none(&limits);
            uses.charge(&limits, 1, NOW);
            assert_eq!(matches!(uses, Uses::Plain(_)), plain, "{text}");
        }
        assert!(size_of::<Uses>() <= 40);
    }

    #[test]
    fn what_fits_where_nothing_is_used_is_what_an_unused_key_allows() {
        for text in
            ["7/1m", "7/1m strict", "9/1m burst 3, 20/10m", "5G/1m burst 3G", "3000000K/1s, 7/1h strict"]
        {
            let limits: Limits = text.parse().unwrap();
            let full = limits.windows().iter().map(Window::capacity).min().unwrap();
            for n in [0, 1, full - 1, full, full + 1, full * 2, u64::MAX] {
                let allowed = Uses::none(&limits).weigh(&limits, n, 0, NOW).allowed;
                assert_eq!(limits.fit_unused(n), allowed, "{n} of {text}");
            }
        }
    }

    #[test]
    fn changed_limits_are_kept_in_place_again_once_the_former_are_forgotten() {
        let [old, new]: [Limits; 2] = ["5/1h", "10/1h"].map(|text| text.parse().unwrap());
        let mut uses = Uses::none(&old);
        uses.charge(&old, 5, NOW);
        for (seconds, plain, used) in [(0, false, 6), (3_599, false, 1), (3_600, true, 2)] {
            uses.charge(&new, 1, NOW + seconds * SECOND);
            assert_eq!(matches!(uses, Uses::Plain(_)), plain, "{seconds}");
            assert_eq!(uses.weigh(&new, 0, 0, NOW + seconds * SECOND).used, used, "{seconds}");
        }
    }

    #[test]
    fn limits_that_are_alike_take_the_place_of_those_before() {
        let [old, new]: [Limits; 2] = ["5/1h", "5/1h"].map(|text| text.parse().unwrap());
        let mut uses = Uses::none(&old);
        for limits in [&old, &new] {
            uses.charge(limits, 1, NOW);
        }
        let Uses::Plain(plain) = &uses else {
            panic!("{uses:?}");
        };
        assert!(plain.limits.is_same(&new));
        assert_eq!(uses.weigh(&old, 0, 0, NOW).used, 2);
    }

    proptest! {
        /// Whatever happens to a key, in place or on the heap it comes to the same.
        #[test]
        fn both_ways_of_keeping_a_key_say_the_same(
            steps in prop::collection::vec((0..90 * SECOND, 0..5_usize, 0..6_u64, 0..3_u64, 0..3_u8), 1..80)
        ) {
            let limits = all();
            let (mut uses, mut entry) = (Uses::none(&limits[0]), Entry::default());
            let mut now = NOW;
            for (gap, which, n, other, kind) in steps {
                now += gap;
                let limits = &limits[which];
                let expected = entry.weigh(limits, n, if kind == 0 { 0 } else { other }, now);
                if kind == 0 {
                    let question = Question {
                        bucket: 1, key: "", coarse: None, limits, n, counted: other, must_fit: n % 2 == 0,
                    };
                    prop_assert_eq!(uses.admit(&question, 0, now), expected);
                    if expected.allowed || !question.must_fit {
                        entry.charge(limits.windows(), n.saturating_sub(other), now);
                    }
                } else {
                    prop_assert_eq!(uses.weigh(limits, n, other, now), expected);
                }
                if kind == 1 {
                    uses.charge(limits, n, now);
                    entry.charge(limits.windows(), n, now);
                }
                prop_assert_eq!(uses.load(now), entry.load(now));
                prop_assert_eq!(uses.is_unused(now), entry.load(now) == 0);
            }
        }
    }
}
