//! How often each entry of the operator's lists has found something, when first and when
//! last, so that those that are of no use any more can be told.
//!
//! Entries are the operator's; what strangers send decides only which of them are
//! counted. Their number is bounded all the same: lists may be long.

use super::clock::Nanos;
use parking_lot::Mutex;
use parking_lot::MutexGuard;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// Entries of all lists: some 200 bytes each.
pub const MAX_NOTED: usize = 20_000;

/// A list's name and an entry, with what is between them.
pub(super) const MAX_KEY_BYTES: usize = 2_048;

/// Between the name of a list and an entry, which have no such character.
const BETWEEN: char = '\0';

/// What one entry has found.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Used {
    pub count: u64,
    pub first: Nanos,
    pub last: Nanos,
}

#[derive(Debug, Default)]
pub(super) struct Usage {
    table: Mutex<Noted>,
}

#[derive(Debug, Default)]
pub(super) struct Noted {
    /// Since when is counted.
    pub since: Option<Nanos>,
    /// By list and entry, in order, so that a file can be written a few at a time.
    pub entries: BTreeMap<Box<str>, Used>,
    /// What has changed since it was last written to a file, if there is one.
    pub changed: Option<BTreeSet<Box<str>>>,
}

impl Usage {
    pub(super) fn lock(&self) -> MutexGuard<'_, Noted> {
        self.table.lock()
    }

    /// Counting goes on, or begins now.
    pub(super) fn begin(&self, now: Nanos) -> Nanos {
        let mut noted = self.lock();
        if noted.since.is_none() {
            noted.note("");
        }
        *noted.since.get_or_insert(now)
    }

    pub(super) fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// An entry of a list has found something.
    pub(super) fn add(&self, list: &str, entry: &str, now: Nanos) {
        let key = key(list, entry);
        let mut noted = self.lock();
        // An entry that has left its list makes room.
        let has_room = noted.entries.len() < MAX_NOTED && key.len() <= MAX_KEY_BYTES;
        if !has_room && !noted.entries.contains_key(key.as_str()) {
            return;
        }
        noted.note(&key);
        let used = noted.entries.entry(key.into()).or_insert(Used { count: 0, first: now, last: now });
        used.count = used.count.saturating_add(1);
        used.last = now;
    }

    pub(super) fn of(&self, list: &str, entry: &str) -> Option<Used> {
        self.lock().entries.get(key(list, entry).as_str()).copied()
    }

    /// Forgets what is in no list any more.
    pub(super) fn keep(&self, is_there: impl Fn(&str, &str) -> bool) {
        let mut noted = self.lock();
        let is_gone = |key: &str| key.split_once(BETWEEN).is_none_or(|(list, entry)| !is_there(list, entry));
        let gone: Vec<_> = noted.entries.keys().filter(|key| is_gone(key)).cloned().collect();
        for key in gone {
            noted.entries.remove(&key);
            noted.note(&key);
        }
    }
}

impl Noted {
    /// What is noted is bounded by what is there, and as much that has gone.
    fn note(&mut self, key: &str) {
        if let Some(changed) = self.changed.as_mut().filter(|changed| changed.len() < 2 * MAX_NOTED) {
            changed.insert(key.into());
        }
    }
}

fn key(list: &str, entry: &str) -> String {
    format!("{list}{BETWEEN}{entry}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_counted_until_they_leave_their_list() {
        let usage = Usage::default();
        for now in [5, 9] {
            usage.add("known", "192.0.2.0/28", now);
        }
        usage.add("known", ".good.example", 7);
        assert_eq!(usage.of("known", "192.0.2.0/28"), Some(Used { count: 2, first: 5, last: 9 }));
        assert_eq!(usage.of("other", "192.0.2.0/28"), None);
        usage.keep(|list, entry| (list, entry) == ("known", ".good.example"));
        assert_eq!((usage.len(), usage.of("known", "192.0.2.0/28")), (1, None));
    }

    #[test]
    fn counting_begins_once() {
        let usage = Usage::default();
        assert_eq!((usage.begin(5), usage.begin(9)), (5, 5));
    }

    #[test]
    fn there_are_no_more_than_there_is_room_for() {
        let usage = Usage::default();
        for number in 0..MAX_NOTED + 5 {
            usage.add("l", &number.to_string(), 1);
        }
        assert_eq!(usage.len(), MAX_NOTED);
        usage.add("l", "0", 2);
        assert_eq!(usage.of("l", "0").unwrap().count, 2);
        usage.add("l", &"x".repeat(MAX_KEY_BYTES), 2);
        assert_eq!(usage.len(), MAX_NOTED);
    }
}
