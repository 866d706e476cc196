//! A bounded map by hash, and which of its entries goes when it is full.
//!
//! Strangers decide what comes in. What bounds it: its capacity. Each entry has a place
//! that holds as long as it does, so that a file can be written a few places at a time.
//! Each new entry looks at a few others, so that clearing away what is over keeps ahead
//! of growing.

use super::changes::Changes;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use smallvec::SmallVec;
use std::hash::BuildHasher;

/// How many entries are looked at to find one that may go.
const SAMPLE: usize = 16;

/// How many each new one looks at to clear away what is over.
const SWEEP: usize = 2;

/// How often so many are looked at for an entry that a file has.
const LOOKS: usize = 8;

/// What went for a new entry.
pub(super) type Gone<V> = SmallVec<[V; 1]>;

/// Whether an entry may go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Worth {
    /// It means nothing any more.
    Over,
    /// To make room, the least first.
    Some(u64),
    Stays,
}

#[derive(Debug)]
pub(super) struct Ring<V> {
    places: Vec<Option<Entry<V>>>,
    free: Vec<u32>,
    /// The place of each entry.
    index: HashTable<u32>,
    hasher: RandomState,
    /// Whose turn it is to be looked at.
    hand: usize,
    capacity: usize,
    /// Entries that were still worth something.
    pub evicted: u64,
    pub changes: Changes,
}

#[derive(Debug)]
struct Entry<V> {
    hash: u64,
    value: V,
}

impl<V> Ring<V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            hasher: RandomState::default(),
            hand: 0,
            capacity,
            evicted: 0,
            changes: Changes::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn get(&self, hash: u64) -> Option<&V> {
        self.at(self.find(hash)?).map(|(_, value)| value)
    }

    /// To change it: what it becomes is written to a file, if there is one.
    pub(super) fn get_mut(&mut self, hash: u64) -> Option<&mut V> {
        let at = self.find(hash)?;
        self.changes.note(at);
        let entry = self.places.get_mut(at as usize)?.as_mut()?;
        Some(&mut entry.value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &V)> {
        self.places.iter().flatten().map(|entry| (entry.hash, &entry.value))
    }

    pub(super) fn remove(&mut self, hash: u64) -> Option<V> {
        self.clear(self.find(hash)?)
    }

    /// Whether one more could come in.
    pub(super) fn has_room(&mut self, worth: impl Fn(&V) -> Worth) -> bool {
        self.has_room_within(self.capacity, worth)
    }

    /// Whether one more could come in if only so many may be there.
    pub(super) fn has_room_within(&mut self, most: usize, worth: impl Fn(&V) -> Worth) -> bool {
        self.len() < most.min(self.capacity) || self.victim(&worth).is_some()
    }

    /// Takes a new entry in, if there is room or an entry that may go for it; what
    /// has gone. None: there is no room.
    pub(super) fn insert(&mut self, hash: u64, value: V, worth: impl Fn(&V) -> Worth) -> Option<Gone<V>> {
        self.insert_within(self.capacity, hash, value, worth)
    }

    /// The same, if only so many may be there.
    pub(super) fn insert_within(
        &mut self,
        most: usize,
        hash: u64,
        value: V,
        worth: impl Fn(&V) -> Worth,
    ) -> Option<Gone<V>> {
        let mut gone = Gone::new();
        for _ in 0..SWEEP {
            if let Some((at, Worth::Over)) = self.turn(&worth) {
                gone.extend(self.clear(at));
            }
        }
        let at = self.put(most, hash, value, &mut gone, 1, &worth)?;
        self.changes.note(at);
        Some(gone)
    }

    /// Puts in what a file has, instead of what there was.
    pub(super) fn restore(&mut self, hash: u64, value: V, worth: impl Fn(&V) -> Worth) -> Option<Gone<V>> {
        let mut gone = Gone::new();
        // There is time to look farther than a request does.
        self.put(self.capacity, hash, value, &mut gone, LOOKS, &worth).map(|_| gone)
    }

    /// Forgets all that is over.
    pub(super) fn sweep(&mut self, worth: impl Fn(&V) -> Worth) {
        for at in 0..self.end() {
            if self.at(at).is_some_and(|(_, value)| worth(value) == Worth::Over) {
                self.clear(at);
            }
        }
    }

    /// All places are below this, free ones included.
    pub(super) fn end(&self) -> u32 {
        u32::try_from(self.places.len()).unwrap_or(u32::MAX)
    }

    /// The entry in a place, and its hash.
    pub(super) fn at(&self, at: u32) -> Option<(u64, &V)> {
        self.places.get(at as usize)?.as_ref().map(|entry| (entry.hash, &entry.value))
    }

    fn find(&self, hash: u64) -> Option<u32> {
        let is = |at: &u32| self.at(*at).is_some_and(|(other, _)| other == hash);
        self.index.find(self.hasher.hash_one(hash), is).copied()
    }

    /// Where it is then.
    fn put(
        &mut self,
        most: usize,
        hash: u64,
        value: V,
        gone: &mut Gone<V>,
        looks: usize,
        worth: &impl Fn(&V) -> Worth,
    ) -> Option<u32> {
        let known = self.find(hash);
        if let Some(at) = known {
            gone.extend(self.clear(at));
        } else if self.len() >= most.min(self.capacity) {
            let (victim, is_over) = (0..looks).find_map(|_| self.victim(worth))?;
            gone.extend(self.clear(victim));
            self.evicted += u64::from(!is_over);
        }
        let at = self.free.pop().unwrap_or(self.end());
        let entry = Some(Entry { hash, value });
        match self.places.get_mut(at as usize) {
            Some(place) => *place = entry,
            None => self.places.push(entry),
        }
        self.changes.cover(self.end());
        let (places, hasher) = (&self.places, &self.hasher);
        let hashed = |at: &u32| {
            let entry = places.get(*at as usize).and_then(Option::as_ref);
            entry.map_or(0, |entry| hasher.hash_one(entry.hash))
        };
        self.index.insert_unique(hasher.hash_one(hash), at, hashed);
        Some(at)
    }

    /// Empties a place.
    fn clear(&mut self, at: u32) -> Option<V> {
        let entry = self.places.get_mut(at as usize)?.take()?;
        if let Ok(found) = self.index.find_entry(self.hasher.hash_one(entry.hash), |other| *other == at) {
            found.remove();
        }
        self.free.push(at);
        Some(entry.value)
    }

    /// Of a few entries the one that is worth least, and whether it is over.
    fn victim(&mut self, worth: &impl Fn(&V) -> Worth) -> Option<(u32, bool)> {
        let mut least: Option<(u32, u64)> = None;
        for _ in 0..SAMPLE {
            match self.turn(worth) {
                Some((at, Worth::Over)) => return Some((at, true)),
                Some((at, Worth::Some(worth))) if least.is_none_or(|(_, least)| worth < least) => {
                    least = Some((at, worth));
                }
                _ => {}
            }
        }
        least.map(|(at, _)| (at, false))
    }

    /// The entry in the place whose turn it is; the place comes last then.
    fn turn(&mut self, worth: &impl Fn(&V) -> Worth) -> Option<(u32, Worth)> {
        let at = if self.hand < self.places.len() { self.hand } else { 0 };
        self.hand = at + 1;
        let at = u32::try_from(at).ok()?;
        self.at(at).map(|(_, value)| (at, worth(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 0 is over, 9 stays.
    fn worth(value: &u64) -> Worth {
        match value {
            0 => Worth::Over,
            9 => Worth::Stays,
            other => Worth::Some(*other),
        }
    }

    #[test]
    fn what_is_over_goes_first_then_what_is_worth_least_and_some_never() {
        let mut ring = Ring::new(3);
        let insert = |ring: &mut Ring<u64>, hash, value| ring.insert(hash, value, worth).map(Gone::into_vec);
        for (hash, value, gone) in
            [(1, 9, Some(vec![])), (2, 5, Some(vec![])), (3, 4, Some(vec![])), (4, 9, Some(vec![4]))]
        {
            assert_eq!(insert(&mut ring, hash, value), gone, "{hash}");
        }
        assert_eq!(ring.evicted, 1);
        *ring.get_mut(2).unwrap() = 0;
        assert_eq!((insert(&mut ring, 5, 9), ring.evicted), (Some(vec![0]), 1));
        assert!(!ring.has_room(worth));
        assert_eq!(insert(&mut ring, 6, 1), None);
        *ring.get_mut(1).unwrap() = 1;
        assert!(ring.has_room(worth));
        assert_eq!((insert(&mut ring, 6, 9), ring.len()), (Some(vec![1]), 3));
    }

    #[test]
    fn a_part_of_the_room_can_be_kept_for_others() {
        let mut ring = Ring::new(3);
        for (most, hash, has_room) in [(2, 1, true), (2, 2, true), (2, 3, false), (3, 4, true), (9, 5, false)]
        {
            assert_eq!(ring.has_room_within(most, worth), has_room, "{hash}");
            assert_eq!(ring.insert_within(most, hash, 9, worth).is_some(), has_room, "{hash}");
        }
    }

    #[test]
    fn new_entries_clear_away_what_is_over() {
        let mut ring = Ring::new(1_000);
        for hash in 0..150 {
            let _ = ring.insert(hash, 9, worth);
        }
        for hash in 0..100 {
            *ring.get_mut(hash).unwrap() = 0;
        }
        for hash in 200..250 {
            let _ = ring.insert(hash, 9, worth);
        }
        assert!(ring.len() < 150 && ring.evicted == 0, "{}", ring.len());
    }

    #[test]
    fn places_are_used_again() {
        let mut ring = Ring::new(100);
        for round in 0..10_000_u64 {
            let _ = ring.insert(round % 150, 1 + round % 3, worth);
            if round % 2 == 0 {
                ring.remove(round % 150);
            }
            assert!(ring.len() <= 100 && ring.places.len() <= 100, "{}", ring.places.len());
            assert_eq!(ring.places.len(), ring.len() + ring.free.len());
        }
        ring.sweep(|_| Worth::Over);
        assert_eq!((ring.len(), ring.free.len(), ring.iter().count()), (0, ring.places.len(), 0));
    }

    #[test]
    fn each_change_is_told_once_if_somebody_wants_to_know() {
        let mut ring = Ring::new(200);
        let changed = |ring: &mut Ring<u64>| {
            let mut found: Vec<u64> = Vec::new();
            for word in 0..ring.changes.words() {
                while let Some(at) = ring.changes.take(word) {
                    found.extend(ring.at(at).map(|(hash, _)| hash));
                }
            }
            found.sort_unstable();
            found
        };
        for hash in 0..150 {
            ring.insert(hash, 1, worth);
        }
        assert_eq!(changed(&mut ring), [0; 0]);
        ring.changes.watch(true);
        ring.restore(500, 1, worth);
        for hash in [7, 149, 7, 999] {
            ring.get_mut(hash);
        }
        ring.insert(600, 1, worth);
        ring.insert(700, 1, worth);
        ring.remove(700);
        assert_eq!(changed(&mut ring), [7, 149, 600]);
        assert_eq!(changed(&mut ring), [0; 0]);
        ring.get_mut(7);
        ring.changes.watch(true);
        assert_eq!(changed(&mut ring), [0; 0]);
    }
}
