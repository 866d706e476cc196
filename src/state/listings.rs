//! Timed listings: what is under suspicion, why, and until when.
//!
//! Rules make them (`list`) of what strangers send, so their number and length are
//! bounded: what is listed is never forgotten to make room, so that nobody gets off
//! a list by having others put on it; when all places are taken, a new one is
//! refused and counted.

use super::clock::Nanos;
use parking_lot::Mutex;
use parking_lot::MutexGuard;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

/// Keys at most; some 20 MiB with usual ones.
pub const MAX_LISTED_KEYS: usize = 100_000;

/// A suspicion that lasts longer belongs into a list's file.
pub const LONGEST_LISTING: Duration = Duration::from_secs(366 * 86_400);

/// The longest mail address (RFC 5321, 4.5.3.1) and something before it.
pub(super) const MAX_KEY_BYTES: usize = 384;

/// Reasons are words of rules, of which few name one key.
pub(super) const MAX_REASONS: usize = 32;

/// All keys that there may be, and as many that the operator took off, one by one,
/// between two writings. Beyond, such a one may be back after a restart.
const MAX_CHANGED: usize = 2 * MAX_LISTED_KEYS;

/// A key's listing for one reason.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listing {
    pub reason: String,
    /// The rule that made it, or `operator`.
    pub by: String,
    /// When it was first made, and until when it holds by enforced rules alone;
    /// zero if only rules in observe made it.
    pub since: Nanos,
    pub until: Nanos,
    /// The same by all rules.
    pub observed_until: Nanos,
    /// How often it began anew within the memory of repeats.
    pub times: u32,
    /// Until when a repeat is remembered.
    pub(super) forget_at: Nanos,
}

/// A listing to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewListing<'a> {
    pub key: &'a str,
    pub reason: &'a str,
    /// For the first time, for the second, and so on; the last holds for all that
    /// come after. A time counts when the listing before it was over.
    pub periods: &'a [Duration],
    pub by: &'a str,
    /// By a rule in observe: it does not hold for those that are enforced.
    pub observed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Listings {
    table: Mutex<Keys>,
    capacity: usize,
}

#[derive(Debug, Default)]
pub(super) struct Keys {
    /// In order, so that a file can be written a few at a time.
    pub keys: BTreeMap<Box<str>, Vec<Listing>>,
    /// What has changed since it was last written to a file, if there is one. What is
    /// only over is not among it: that shows by its times.
    pub changed: Option<BTreeSet<Box<str>>>,
}

impl Listing {
    /// Whether it holds now, by enforced rules alone or by all.
    pub fn holds(&self, observed: bool, now: Nanos) -> bool {
        self.holds_until(observed) > now
    }

    pub fn holds_until(&self, observed: bool) -> Nanos {
        if observed { self.observed_until } else { self.until }
    }
}

impl Listings {
    pub(super) fn new(capacity: usize) -> Self {
        Self { table: Mutex::default(), capacity }
    }

    /// Lists a key, or keeps it listed for longer; false when there is no room.
    pub(super) fn add(&self, new: NewListing<'_>, now: Nanos) -> bool {
        let Some(longest) = new.periods.iter().max().copied() else {
            return false;
        };
        let mut table = self.table.lock();
        let key = cut(new.key);
        if !table.has_room(key, self.capacity, now) {
            return false;
        }
        table.note(key);
        let listings = table.keys.entry(key.into()).or_default();
        listings.retain(|listing| listing.is_remembered(now));
        if !listings.iter().any(|listing| listing.reason == new.reason) {
            if listings.len() >= MAX_REASONS {
                return false;
            }
            listings.push(Listing {
                reason: new.reason.to_owned(),
                by: new.by.to_owned(),
                since: now,
                until: 0,
                observed_until: 0,
                times: 0,
                forget_at: 0,
            });
        }
        let Some(listing) = listings.iter_mut().find(|listing| listing.reason == new.reason) else {
            return false;
        };
        if !listing.holds(true, now) {
            listing.times = listing.times.saturating_add(1);
            listing.since = now;
            new.by.clone_into(&mut listing.by);
        }
        let time = usize::try_from(listing.times).unwrap_or(usize::MAX).clamp(1, new.periods.len());
        let until = after(now, new.periods[time - 1]);
        listing.observed_until = listing.observed_until.max(until);
        if !new.observed {
            listing.until = listing.until.max(until);
        }
        listing.forget_at = listing.forget_at.max(after(listing.observed_until, longest));
        true
    }

    /// All that a key is listed for.
    pub(super) fn of(&self, key: &str, now: Nanos) -> Vec<Listing> {
        let table = self.table.lock();
        let listings = table.keys.get(cut(key)).map(Vec::as_slice).unwrap_or_default();
        listings.iter().filter(|listing| listing.holds(true, now)).cloned().collect()
    }

    /// Takes a key off its lists, or one of them; how many listings went. Repeats are
    /// forgotten with them.
    pub(super) fn remove(&self, key: &str, reason: Option<&str>, now: Nanos) -> usize {
        let (mut table, key) = (self.table.lock(), cut(key));
        if table.keys.contains_key(key) {
            table.note(key);
        }
        let Some(listings) = table.keys.get_mut(key) else {
            return 0;
        };
        let is_meant = |listing: &Listing| reason.is_none_or(|reason| listing.reason == reason);
        let removed = listings.iter().filter(|listing| is_meant(listing) && listing.holds(true, now)).count();
        listings.retain(|listing| !is_meant(listing));
        removed
    }

    /// Everything that is listed, by key.
    pub(super) fn all(&self, now: Nanos) -> Vec<(String, Listing)> {
        let table = self.table.lock();
        let each =
            table.keys.iter().flat_map(|(key, listings)| listings.iter().map(move |listing| (key, listing)));
        let holding = each.filter(|(_, listing)| listing.holds(true, now));
        let mut all: Vec<_> = holding.map(|(key, listing)| (key.to_string(), listing.clone())).collect();
        drop(table);
        all.sort_by(|(one, a), (other, b)| (one, &a.reason).cmp(&(other, &b.reason)));
        all
    }

    /// Forgets what is over and no repeat of which would count.
    pub(super) fn sweep(&self, now: Nanos) {
        self.table.lock().forget(now);
    }

    /// Puts in what a file has of a key, instead of what there was; false if there is no
    /// room for it.
    pub(super) fn put(&self, key: &str, mut listings: Vec<Listing>, now: Nanos) -> bool {
        listings.retain(|listing| listing.is_remembered(now));
        let mut table = self.table.lock();
        if listings.is_empty() {
            table.keys.remove(key);
            return true;
        }
        let has_room = table.has_room(key, self.capacity, now);
        if has_room {
            table.keys.insert(key.into(), listings);
        }
        has_room
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Keys> {
        self.table.lock()
    }

    /// How many keys there are, listed or remembered.
    pub(super) fn len(&self) -> usize {
        self.table.lock().keys.len()
    }
}

impl Listing {
    fn is_remembered(&self, now: Nanos) -> bool {
        self.forget_at > now
    }
}

impl Keys {
    /// Whether a key is there, or may come.
    fn has_room(&mut self, key: &str, capacity: usize, now: Nanos) -> bool {
        if self.keys.len() >= capacity && !self.keys.contains_key(key) {
            self.forget(now);
        }
        self.keys.len() < capacity || self.keys.contains_key(key)
    }

    /// That it changes.
    fn note(&mut self, key: &str) {
        if let Some(changed) = self.changed.as_mut().filter(|changed| changed.len() < MAX_CHANGED) {
            changed.insert(key.into());
        }
    }

    fn forget(&mut self, now: Nanos) {
        self.keys.retain(|_, listings| {
            listings.retain(|listing| listing.is_remembered(now));
            !listings.is_empty()
        });
    }
}

fn after(start: Nanos, period: Duration) -> Nanos {
    start.saturating_add(u64::try_from(period.as_nanos()).unwrap_or(u64::MAX))
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_KEY_BYTES)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Nanos = 1_800_000_000_000_000_000;
    const HOUR: Nanos = 3_600_000_000_000;
    const HOURS: [Duration; 3] =
        [Duration::from_secs(3_600), Duration::from_secs(4 * 3_600), Duration::from_secs(24 * 3_600)];

    fn new<'a>(key: &'a str, reason: &'a str) -> NewListing<'a> {
        NewListing { key, reason, periods: &HOURS, by: "rule", observed: false }
    }

    #[test]
    fn each_repeat_lasts_longer_and_what_goes_on_is_no_repeat() {
        let listings = Listings::new(10);
        // Listed at this hour, until that one.
        for (at, until) in [
            (0, 1),
            // Still listed: it is the same trouble, counted from now on.
            (0, 1),
            // An hour later it is over: the second time.
            (1, 5),
            (2, 6),
            (6, 30),
            (40, 64),
            // All that was remembered is over: the first time again.
            (64 + 24, 64 + 24 + 1),
        ] {
            assert!(listings.add(new("192.0.2.1", "bot"), NOW + at * HOUR));
            let found = listings.of("192.0.2.1", NOW + at * HOUR);
            assert_eq!(
                found.iter().map(|listing| (listing.until - NOW) / HOUR).collect::<Vec<_>>(),
                [until],
                "{at}"
            );
        }
    }

    #[test]
    fn what_a_rule_in_observe_lists_holds_for_those_in_observe() {
        let listings = Listings::new(10);
        assert!(listings.add(NewListing { observed: true, ..new("a", "bot") }, NOW));
        let found = &listings.of("a", NOW)[0];
        assert_eq!((found.holds(true, NOW), found.holds(false, NOW)), (true, false));
        assert!(listings.add(new("a", "bot"), NOW + 1));
        assert!(listings.of("a", NOW + 1)[0].holds(false, NOW + 1));
    }

    #[test]
    fn nobody_is_forgotten_while_listed_and_all_are_afterwards() {
        let listings = Listings::new(2);
        assert!(listings.add(new("a", "bot"), NOW));
        assert!(listings.add(new("b", "bot"), NOW));
        assert!(!listings.add(new("c", "bot"), NOW));
        assert!(listings.add(new("a", "virus"), NOW));
        assert_eq!(listings.of("a", NOW).len(), 2);
        let later = NOW + 100 * HOUR;
        assert!(listings.add(new("c", "bot"), later));
        assert_eq!((listings.of("a", later).len(), listings.of("c", later).len()), (0, 1));
        listings.sweep(later + 100 * HOUR);
        assert_eq!(listings.len(), 0);
    }

    #[test]
    fn a_key_is_taken_off_one_list_or_all() {
        let listings = Listings::new(10);
        for (key, reason) in [("b", "bot"), ("a", "virus"), ("a", "bot")] {
            assert!(listings.add(new(key, reason), NOW));
        }
        let names = |listings: &Listings| {
            let all = listings.all(NOW).into_iter();
            all.map(|(key, listing)| format!("{key} {}", listing.reason)).collect::<Vec<_>>()
        };
        assert_eq!(names(&listings), ["a bot", "a virus", "b bot"]);
        assert_eq!(listings.remove("a", Some("virus"), NOW), 1);
        assert_eq!(listings.remove("a", Some("virus"), NOW), 0);
        assert_eq!(listings.remove("b", None, NOW), 1);
        assert_eq!(names(&listings), ["a bot"]);
        // Not a second time: the operator has looked at it.
        assert!(listings.add(new("b", "bot"), NOW + 1));
        assert_eq!(listings.of("b", NOW + 1)[0].times, 1);
    }

    #[test]
    fn long_keys_and_many_reasons_are_bounded() {
        let listings = Listings::new(10);
        let key = "ä".repeat(10_000);
        for number in 0..100 {
            listings.add(new(&key, &format!("r{number}")), NOW);
        }
        assert_eq!(listings.of(&key, NOW).len(), MAX_REASONS);
    }
}
