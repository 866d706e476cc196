//! Where the keys of a shard are: places in chunks that never move, so that a place's
//! number holds as long as the key does, and growing copies nothing.

use super::changes::Changes;
use super::clock::Nanos;
use super::plain::Uses;
use super::weigh::LIMITED;

/// Key texts up to this are kept in the slot itself, longer ones on the heap.
const SHORT: usize = 34;

/// A size that the allocator hands out without waste.
const CHUNK_BYTES: usize = 24_576;

const PER_CHUNK: usize = CHUNK_BYTES / size_of::<Place>();

/// Ends the chain of free places.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Slots {
    chunks: Vec<Vec<Place>>,
    free: u32,
    len: usize,
    pub changes: Changes,
}

/// One key, what it used, and what it has been promised.
#[derive(Debug)]
pub(super) struct Slot {
    key: Key,
    /// Reserved and not yet charged; see `holds`.
    pub held: u64,
    pub uses: Uses,
}

#[derive(Debug)]
enum Place {
    Live(Slot),
    /// And the next free one.
    Free(u32),
}

#[derive(Debug)]
enum Key {
    Short { len: u8, text: [u8; SHORT], bucket: u32 },
    Long { bucket: u32, text: Box<[u8]> },
}

impl Slots {
    pub(super) fn new() -> Self {
        Self { chunks: Vec::new(), free: NONE, len: 0, changes: Changes::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// All places are below this, free ones included.
    pub(super) fn end(&self) -> u32 {
        let full = self.chunks.len().saturating_sub(1) * PER_CHUNK;
        u32::try_from(full + self.chunks.last().map_or(0, Vec::len)).unwrap_or(NONE)
    }

    pub(super) fn get(&self, at: u32) -> Option<&Slot> {
        match self.chunks.get(at as usize / PER_CHUNK)?.get(at as usize % PER_CHUNK)? {
            Place::Live(slot) => Some(slot),
            Place::Free(_) => None,
        }
    }

    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut Slot> {
        match self.place(at)? {
            Place::Live(slot) => Some(slot),
            Place::Free(_) => None,
        }
    }

    pub(super) fn insert(&mut self, slot: Slot) -> u32 {
        self.len += 1;
        let (at, end) = (self.free, self.end());
        if let Some(place) = self.place(at)
            && let Place::Free(next) = *place
        {
            *place = Place::Live(slot);
            self.free = next;
            return at;
        }
        self.changes.cover(end.saturating_add(1));
        match self.chunks.last_mut().filter(|chunk| chunk.len() < PER_CHUNK) {
            Some(chunk) => chunk.push(Place::Live(slot)),
            None => {
                let mut chunk = Vec::with_capacity(PER_CHUNK);
                chunk.push(Place::Live(slot));
                self.chunks.push(chunk);
            }
        }
        end
    }

    pub(super) fn remove(&mut self, at: u32) {
        let free = self.free;
        if let Some(place @ Place::Live(_)) = self.place(at) {
            *place = Place::Free(free);
            self.free = at;
            self.len -= 1;
        }
    }

    fn place(&mut self, at: u32) -> Option<&mut Place> {
        self.chunks.get_mut(at as usize / PER_CHUNK)?.get_mut(at as usize % PER_CHUNK)
    }
}

impl Slot {
    pub(super) fn new(bucket: u32, text: &str, uses: Uses) -> Self {
        let bytes = text.as_bytes();
        let mut short = [0; SHORT];
        let key = match (short.get_mut(..bytes.len()), u8::try_from(bytes.len())) {
            (Some(start), Ok(len)) => {
                start.copy_from_slice(bytes);
                Key::Short { len, text: short, bucket }
            }
            _ => Key::Long { bucket, text: bytes.into() },
        };
        Self { key, held: 0, uses }
    }

    /// Of which bucket of the policy, and its text.
    pub(super) fn key(&self) -> (u32, &[u8]) {
        match &self.key {
            Key::Short { len, text, bucket } => (*bucket, text.get(..usize::from(*len)).unwrap_or_default()),
            Key::Long { bucket, text } => (*bucket, text),
        }
    }

    /// Whether nothing is used of it, or has been promised.
    pub(super) fn is_unused(&self, now: Nanos) -> bool {
        self.held == 0 && self.uses.is_unused(now)
    }

    /// As [`Uses::load`]; what has been promised makes it one that may not go.
    pub(super) fn load(&self, now: Nanos) -> u64 {
        let load = self.uses.load(now);
        if self.held > 0 { load.max(LIMITED) } else { load }
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::Limits;
    use super::*;

    fn slot(text: &str) -> Slot {
        Slot::new(1, text, Uses::none(&"1/1m, 2/1h, 3/1d".parse::<Limits>().unwrap()))
    }

    #[test]
    fn a_bucket_stays_within_its_share_of_120_bytes() {
        // In the index: 8 bytes and a tag, 7/16 filled after it has grown.
        let index = (size_of::<(u32, u32)>() + 1) as f64 * 16.0 / 7.0;
        let place = CHUNK_BYTES as f64 / PER_CHUNK as f64;
        assert!(size_of::<Place>() <= 88, "{}", size_of::<Place>());
        assert!(place + index < 112.0, "{place} + {index}");
        const { assert!(SHORT >= 32) }
    }

    #[test]
    fn changes_are_taken_once() {
        let mut slots = Slots::new();
        slots.changes.watch(true);
        for at in 0..200_u32 {
            slots.insert(slot(&at.to_string()));
        }
        [0, 5, 63, 64, 199, 5_000].into_iter().for_each(|at| slots.changes.note(at));
        let mut taken = || -> Vec<u32> {
            let words = 0..slots.changes.words();
            words
                .flat_map(|word| std::iter::from_fn(|| slots.changes.take(word)).collect::<Vec<_>>())
                .collect()
        };
        assert_eq!((taken(), taken()), (vec![0, 5, 63, 64, 199], vec![]));
        slots.changes.note(7);
        assert!(slots.changes.has(7) && !slots.changes.has(8));
        slots.changes.watch(false);
        slots.changes.note(8);
        assert!(!slots.changes.has(7) && !slots.changes.has(8));
    }

    #[test]
    fn keys_are_told_apart_whatever_their_length() {
        for length in [0, 1, 33, 34, 35, 300] {
            let text = "x".repeat(length);
            assert_eq!(slot(&text).key(), (1, text.as_bytes()));
        }
    }

    #[test]
    fn places_are_taken_again_and_do_not_move() {
        let mut slots = Slots::new();
        let many = u32::try_from(PER_CHUNK).unwrap() + 5;
        for at in 0..many {
            assert_eq!(slots.insert(slot(&at.to_string())), at);
        }
        for at in [3, 7] {
            slots.remove(at);
            slots.remove(at);
            assert!(slots.get(at).is_none());
        }
        assert_eq!((slots.len(), slots.end()), (many as usize - 2, many));
        assert_eq!(slots.insert(slot("a")), 7);
        assert_eq!(slots.insert(slot("b")), 3);
        assert_eq!(slots.insert(slot("c")), many);
        assert!(slots.get(3).is_some_and(|slot| slot.key() == (1, b"b")));
        let last = (many - 1).to_string();
        assert_eq!(slots.get(many - 1).map(Slot::key), Some((1, last.as_bytes())));
    }
}
