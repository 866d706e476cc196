//! A bounded map from keys to what is kept of them, and which of them may go.
//!
//! Anybody on the net can invent keys. What bounds them: so many as the shard was
//! made for, [`MAX_KEY_BYTES`] each. A key that has used nothing any more goes first,
//! then the one that has used least of a few; never one that is at a limit, else a
//! flood of invented keys would free it.

use super::Question;
use super::clock::Nanos;
use super::entry::Entry;
use super::entry::LIMITED;
use foldhash::fast::RandomState;
use indexmap::Equivalent;
use indexmap::IndexMap;

/// The longest mail address (RFC 5321, 4.5.3.1) and something before it. What is
/// longer is cut: such keys share a bucket if they begin alike.
const MAX_KEY_BYTES: usize = 384;

/// How many keys are looked at to find one that may go.
const SAMPLE: usize = 16;

/// How many keys each new one looks at to clear away what is idle: above one, so
/// that clearing keeps ahead of growing.
const SWEEP: usize = 2;

#[derive(Debug)]
pub(super) struct Shard {
    pub keys: IndexMap<Key, Entry, RandomState>,
    max_keys: usize,
    /// Where looking for keys to forget goes on.
    hand: usize,
    /// Keys in use, and keys not in use, that went.
    pub evicted: u64,
    pub expired: u64,
}

#[derive(Debug, Eq, Hash, PartialEq)]
pub(super) struct Key {
    bucket: u32,
    text: Box<str>,
}

/// Hashes as [`Key`] does.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct KeyRef<'a> {
    bucket: u32,
    text: &'a str,
}

impl Shard {
    pub(super) fn new(max_keys: usize) -> Self {
        Self { keys: IndexMap::default(), max_keys, hand: 0, evicted: 0, expired: 0 }
    }

    /// Makes sure that the key is there, and says where; None when there is no room
    /// for it.
    pub(super) fn settle(&mut self, key: KeyRef<'_>, spare: &[KeyRef<'_>], now: Nanos) -> Option<usize> {
        if let Some(at) = self.keys.get_index_of(&key) {
            return Some(at);
        }
        self.sweep(spare, now);
        if self.keys.len() >= self.max_keys {
            let (victim, load) = self.victim(spare, now)?;
            self.keys.swap_remove_index(victim);
            self.hand = self.hand.saturating_add(SAMPLE);
            *(if load == 0 { &mut self.expired } else { &mut self.evicted }) += 1;
        }
        Some(self.keys.insert_full(key.to_key(), Entry::default()).0)
    }

    pub(super) fn has_room(&mut self, spare: &[KeyRef<'_>], now: Nanos) -> bool {
        self.keys.len() < self.max_keys || self.victim(spare, now).is_some()
    }

    /// The network's key, if it is here or has room, else the one for all the rest.
    pub(super) fn coarse_key<'q>(
        &mut self,
        question: &Question<'q>,
        spare: &[KeyRef<'_>],
        now: Nanos,
    ) -> KeyRef<'q> {
        let key = KeyRef::coarse(question);
        if self.keys.contains_key(&key) || self.has_room(spare, now) {
            return key;
        }
        KeyRef { bucket: question.bucket, text: "" }
    }

    /// Forgets the next few keys if nothing counts against them.
    fn sweep(&mut self, spare: &[KeyRef<'_>], now: Nanos) {
        for _ in 0..SWEEP.min(self.keys.len()) {
            self.hand = if self.hand < self.keys.len() { self.hand } else { 0 };
            let idle = self.keys.get_index(self.hand).is_some_and(|(key, entry)| {
                entry.load(now) == 0 && !spare.iter().any(|spared| spared.equivalent(key))
            });
            if idle {
                // The last key takes its place, and is looked at next.
                self.keys.swap_remove_index(self.hand);
                self.expired += 1;
            } else {
                self.hand += 1;
            }
        }
    }

    /// Of a few keys the one that has used least, and how much; none at a limit.
    fn victim(&mut self, spare: &[KeyRef<'_>], now: Nanos) -> Option<(usize, u64)> {
        let len = self.keys.len().max(1);
        let sample = (0..SAMPLE.min(self.keys.len())).map(|step| (self.hand % len + step) % len);
        let least = sample
            .filter_map(|at| {
                let (key, entry) = self.keys.get_index(at)?;
                let spared = spare.iter().any(|spared| spared.equivalent(key));
                let load = entry.load(now);
                (!spared && load < LIMITED).then_some((at, load))
            })
            .min_by_key(|(_, load)| *load);
        if least.is_none() {
            // Else the same few would be asked again and again.
            self.hand = (self.hand % len + SAMPLE) % len;
        }
        least
    }
}

impl<'a> KeyRef<'a> {
    pub(super) fn own(question: &Question<'a>) -> Self {
        Self { bucket: question.bucket, text: cut(question.key) }
    }

    pub(super) fn coarse(question: &Question<'a>) -> Self {
        Self { bucket: question.bucket, text: cut(question.coarse.unwrap_or("")) }
    }

    pub(super) fn to_key(self) -> Key {
        Key { bucket: self.bucket, text: self.text.into() }
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.bucket == key.bucket && self.text == &*key.text
    }
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_KEY_BYTES)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::super::limits::Limits;
    use super::*;

    const NOW: Nanos = 1_800_000_000_000_000_000;

    #[test]
    fn the_networks_that_share_are_bounded_too() {
        let mut shard = Shard::new(2);
        let limits = "1/1h".parse::<Limits>().unwrap();
        for (network, counted_under) in [("a", "a"), ("b", "b"), ("c", ""), ("a", "a"), ("d", "")] {
            let question = Question {
                bucket: 1,
                key: "x",
                coarse: Some(network),
                limits: &limits,
                n: 1,
                counted: 0,
                must_fit: true,
            };
            let key = shard.coarse_key(&question, &[], NOW);
            assert_eq!(key.text, counted_under, "{network}");
            if shard.settle(key, &[], NOW).is_some() {
                shard.keys.get_mut(&key).unwrap().charge(limits.windows(), 1, NOW);
            }
        }
        assert_eq!(shard.keys.len(), 2);
    }

    #[test]
    fn long_keys_are_cut_between_characters() {
        for (text, kept) in [
            ("ä".repeat(1_000), 384),
            ("xä".repeat(1_000), 384),
            ("€".repeat(1_000), 384),
            ("xx€".repeat(1_000), 382),
            ("x".repeat(10), 10),
        ] {
            assert_eq!(cut(&text).len(), kept);
        }
    }
}
