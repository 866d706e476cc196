//! A bounded map by hash, and which of its entries goes when it is full.
//!
//! Strangers decide what comes in. What bounds it: its capacity; beside each entry
//! one place in a ring, and at most as many places again of entries that went before
//! their turn. Each new entry looks at a few others, so that clearing away what is
//! over keeps ahead of growing.

use foldhash::fast::RandomState;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::collections::VecDeque;

/// How many entries are looked at to find one that may go.
const SAMPLE: usize = 16;

/// How many each new one looks at to clear away what is over.
const SWEEP: usize = 2;

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
    entries: HashMap<u64, Entry<V>, RandomState>,
    /// By number, since a hash may come back after it has gone.
    ring: VecDeque<(u64, u64)>,
    next: u64,
    capacity: usize,
    /// Entries that were still worth something.
    pub evicted: u64,
}

#[derive(Debug)]
struct Entry<V> {
    number: u64,
    value: V,
}

impl<V> Ring<V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { entries: HashMap::default(), ring: VecDeque::new(), next: 0, capacity, evicted: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, hash: u64) -> Option<&V> {
        self.entries.get(&hash).map(|entry| &entry.value)
    }

    pub(super) fn get_mut(&mut self, hash: u64) -> Option<&mut V> {
        self.entries.get_mut(&hash).map(|entry| &mut entry.value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &V)> {
        self.entries.iter().map(|(hash, entry)| (*hash, &entry.value))
    }

    pub(super) fn remove(&mut self, hash: u64) -> Option<V> {
        self.entries.remove(&hash).map(|entry| entry.value)
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
            if let Some((hash, Worth::Over)) = self.turn(&worth) {
                gone.extend(self.remove(hash));
            }
        }
        if self.len() >= most.min(self.capacity) {
            let (victim, is_over) = self.victim(&worth)?;
            gone.extend(self.remove(victim));
            self.evicted += u64::from(!is_over);
        }
        let number = self.next;
        self.next += 1;
        let before = self.entries.insert(hash, Entry { number, value });
        gone.extend(before.map(|entry| entry.value));
        self.ring.push_back((hash, number));
        Some(gone)
    }

    /// Forgets all that is over.
    pub(super) fn sweep(&mut self, worth: impl Fn(&V) -> Worth) {
        self.entries.retain(|_, entry| worth(&entry.value) != Worth::Over);
        let entries = &self.entries;
        self.ring.retain(|(hash, number)| entries.get(hash).is_some_and(|entry| entry.number == *number));
    }

    /// Of a few entries the one that is worth least, and whether it is over.
    fn victim(&mut self, worth: &impl Fn(&V) -> Worth) -> Option<(u64, bool)> {
        let mut least: Option<(u64, u64)> = None;
        for _ in 0..SAMPLE {
            match self.turn(worth) {
                Some((hash, Worth::Over)) => return Some((hash, true)),
                Some((hash, Worth::Some(worth))) if least.is_none_or(|(_, least)| worth < least) => {
                    least = Some((hash, worth));
                }
                _ => {}
            }
        }
        least.map(|(hash, _)| (hash, false))
    }

    /// The entry whose turn it is, which comes last then; its place is gone if it is.
    fn turn(&mut self, worth: &impl Fn(&V) -> Worth) -> Option<(u64, Worth)> {
        let (hash, number) = self.ring.pop_front()?;
        let entry = self.entries.get(&hash).filter(|entry| entry.number == number)?;
        self.ring.push_back((hash, number));
        Some((hash, worth(&entry.value)))
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
    fn the_ring_stays_as_small_as_the_map() {
        let mut ring = Ring::new(100);
        for round in 0..10_000_u64 {
            let _ = ring.insert(round % 150, 1 + round % 3, worth);
            if round % 2 == 0 {
                ring.remove(round % 150);
            }
            assert!(ring.len() <= 100 && ring.ring.len() <= 210, "{}", ring.ring.len());
        }
        ring.sweep(|_| Worth::Over);
        assert_eq!((ring.len(), ring.ring.len()), (0, 0));
    }
}
