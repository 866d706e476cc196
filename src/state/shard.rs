//! A bounded map from keys to what is kept of them, and which of them may go.
//!
//! Anybody on the net can invent keys. What bounds them: so many as the shard was
//! made for, [`MAX_KEY_BYTES`] each. A key that has used nothing any more goes first,
//! then the one that has used least of a few; never one that is at a limit, else a
//! flood of invented keys would free it.

use super::Answer;
use super::Question;
use super::changes::Changes;
use super::clock::Nanos;
use super::limits::Limits;
use super::plain::Uses;
use super::slots::Slot;
use super::slots::Slots;
use super::weigh::LIMITED;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;
use std::hash::Hasher;

/// The longest mail address (RFC 5321, 4.5.3.1) and something before it. What is
/// longer is cut: such keys share a bucket if they begin alike.
pub(super) const MAX_KEY_BYTES: usize = 384;

/// How many keys are looked at to find one that may go.
const SAMPLE: u32 = 16;

/// How often so many are looked at for a key that a file has.
const LOOKS: u32 = 8;

/// How many keys each new one looks at to clear away what is idle: above one, so
/// that clearing keeps ahead of growing.
const SWEEP: u32 = 2;

#[derive(Debug)]
pub(super) struct Shard {
    slots: Slots,
    index: HashTable<Mark>,
    hasher: RandomState,
    max_keys: usize,
    /// Where looking for keys to forget goes on.
    hand: u32,
    /// Keys in use, and keys not in use, that went.
    pub evicted: u64,
    pub expired: u64,
}

/// A key in the index. With part of its hash, so that growing needs no look at the
/// slots, nor does a key that is not here.
#[derive(Clone, Copy, Debug)]
struct Mark {
    hash: u32,
    at: u32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct KeyRef<'a> {
    hash: u64,
    bucket: u32,
    text: &'a str,
}

impl Shard {
    pub(super) fn new(max_keys: usize, hasher: RandomState) -> Self {
        let (slots, index) = (Slots::new(), HashTable::new());
        Self { slots, index, hasher, max_keys, hand: 0, evicted: 0, expired: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn find(&self, key: KeyRef<'_>) -> Option<u32> {
        let in_slot = |at| self.slots.get(at).map(Slot::key);
        let is = |mark: &Mark| {
            mark.hash == key.mark() && in_slot(mark.at) == Some((key.bucket, key.text.as_bytes()))
        };
        self.index.find(spread(key.mark()), is).map(|mark| mark.at)
    }

    /// All places are below this.
    pub(super) fn end(&self) -> u32 {
        self.slots.end()
    }

    pub(super) fn get(&self, at: u32) -> Option<&Slot> {
        self.slots.get(at)
    }

    /// To change it: what it becomes is written to a file, if there is one.
    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut Slot> {
        self.slots.changes.note(at);
        self.slots.get_mut(at)
    }

    /// As [`Uses::admit`]; a refusal changes nothing that would have to be written.
    pub(super) fn admit(&mut self, at: u32, question: &Question<'_>, now: Nanos) -> Option<Answer> {
        let slot = self.slots.get_mut(at)?;
        let answer = slot.uses.admit(question, slot.held, now);
        if answer.allowed || !question.must_fit {
            self.slots.changes.note(at);
        }
        Some(answer)
    }

    /// Which of its keys have changed, for a file.
    pub(super) fn changes(&mut self) -> &mut Changes {
        &mut self.slots.changes
    }

    /// Puts in what a file has of a key. Where: nowhere if it has used nothing; None if
    /// there is no room for it.
    pub(super) fn restore(&mut self, key: KeyRef<'_>, uses: Uses, now: Nanos) -> Option<Option<u32>> {
        if let Some(at) = self.find(key) {
            if let Some(slot) = self.slots.get_mut(at) {
                slot.uses = uses;
            }
            return Some(Some(at));
        }
        if uses.is_unused(now) {
            return Some(None);
        }
        // There is time to look farther than a request does.
        (0..LOOKS).any(|_| self.make_room(&[], now)).then(|| Some(self.add(key, uses)))
    }

    /// Makes a place for a key that has none, unless there is no room for it. The
    /// spared ones do not go for it.
    pub(super) fn make(
        &mut self,
        key: KeyRef<'_>,
        limits: &Limits,
        spare: &[u32],
        now: Nanos,
    ) -> Option<u32> {
        self.sweep(spare, now);
        self.make_room(spare, now).then(|| self.add(key, Uses::none(limits)))
    }

    fn make_room(&mut self, spare: &[u32], now: Nanos) -> bool {
        if self.len() < self.max_keys {
            return true;
        }
        let Some((victim, load)) = self.victim(spare, now) else {
            return false;
        };
        self.forget(victim);
        self.hand = self.hand.saturating_add(SAMPLE);
        *(if load == 0 { &mut self.expired } else { &mut self.evicted }) += 1;
        true
    }

    /// The place that a question's network shares, if there is one.
    pub(super) fn find_shared(&mut self, question: &Question<'_>, now: Nanos) -> Option<u32> {
        let network = network_text(question);
        let found = self.find(KeyRef::of(question.bucket, &network, &self.hasher));
        if found.is_some() || self.has_room(&[], now) {
            return found;
        }
        self.find(KeyRef::rest(question, &self.hasher))
    }

    /// Finds or makes it. Without room for one more network it is the place of all the
    /// rest: one for each bucket of the policy.
    pub(super) fn share(&mut self, question: &Question<'_>, spare: &[u32], now: Nanos) -> u32 {
        let network = network_text(question);
        let key = KeyRef::of(question.bucket, &network, &self.hasher);
        let network = self.find(key).or_else(|| self.make(key, question.limits, spare, now));
        let rest = KeyRef::rest(question, &self.hasher);
        network.or_else(|| self.find(rest)).unwrap_or_else(|| self.add(rest, Uses::none(question.limits)))
    }

    fn add(&mut self, key: KeyRef<'_>, uses: Uses) -> u32 {
        let at = self.slots.insert(Slot::new(key.bucket, key.text, uses));
        let mark = Mark { hash: key.mark(), at };
        self.index.insert_unique(spread(mark.hash), mark, |mark| spread(mark.hash));
        at
    }

    pub(super) fn has_room(&mut self, spare: &[u32], now: Nanos) -> bool {
        self.len() < self.max_keys || self.victim(spare, now).is_some()
    }

    /// Forgets the next few keys if nothing counts against them.
    fn sweep(&mut self, spare: &[u32], now: Nanos) {
        for _ in 0..SWEEP.min(self.slots.end()) {
            self.hand = if self.hand < self.slots.end() { self.hand } else { 0 };
            let slot = self.slots.get(self.hand);
            // What is written of it may be more: first that it is not.
            let may_go = !self.slots.changes.has(self.hand) && !spare.contains(&self.hand);
            if may_go && slot.is_some_and(|slot| slot.is_unused(now)) {
                self.forget(self.hand);
                self.expired += 1;
            }
            self.hand += 1;
        }
    }

    /// Of a few keys the one that has used least, and how much; none at a limit.
    fn victim(&mut self, spare: &[u32], now: Nanos) -> Option<(u32, u64)> {
        let end = self.slots.end().max(1);
        let sample = (0..SAMPLE.min(end)).map(|step| (self.hand % end + step) % end);
        let least = sample
            .filter_map(|at| {
                let load = self.slots.get(at)?.load(now);
                (load < LIMITED && !spare.contains(&at)).then_some((at, load))
            })
            .min_by_key(|(_, load)| *load);
        if least.is_none() {
            // Else the same few would be asked again and again.
            self.hand = (self.hand % end + SAMPLE) % end;
        }
        least
    }

    fn forget(&mut self, at: u32) {
        let Some((bucket, text)) = self.slots.get(at).map(Slot::key) else {
            return;
        };
        let mark = hash(bucket, text, &self.hasher) as u32;
        if let Ok(found) = self.index.find_entry(spread(mark), |mark| mark.at == at) {
            found.remove();
        }
        self.slots.remove(at);
    }
}

impl<'a> KeyRef<'a> {
    pub(super) fn of(bucket: u32, key: &'a str, hasher: &RandomState) -> Self {
        Self::new(bucket, cut(key), hasher)
    }

    /// The key for all the rest of a bucket.
    pub(super) fn rest(question: &Question<'a>, hasher: &RandomState) -> Self {
        Self::new(question.bucket, "", hasher)
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// Which of so many shards the key is in: by other bits than its place in it.
    pub(super) fn shard(&self, shards: usize) -> usize {
        (((self.hash >> 32) * shards as u64) >> 32) as usize
    }

    fn new(bucket: u32, text: &'a str, hasher: &RandomState) -> Self {
        Self { hash: hash(bucket, text.as_bytes(), hasher), bucket, text }
    }

    fn mark(&self) -> u32 {
        self.hash as u32
    }
}

/// As a key: asked for only where there is no room for another.
fn network_text(question: &Question<'_>) -> String {
    question.coarse.map(|network| network.to_string()).unwrap_or_default()
}

fn hash(bucket: u32, text: &[u8], hasher: &RandomState) -> u64 {
    let mut state = hasher.build_hasher();
    state.write_u32(bucket);
    state.write(text);
    state.finish()
}

/// A hash for the index, which looks at both ends of it.
fn spread(mark: u32) -> u64 {
    u64::from(mark) << 32 | u64::from(mark)
}

pub(super) fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_KEY_BYTES)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::super::limits::Limits;
    use super::*;

    const NOW: Nanos = 1_800_000_000_000_000_000;

    #[test]
    fn the_networks_that_share_are_bounded_too() {
        let mut shard = Shard::new(2, RandomState::default());
        let limits = "1/1h".parse::<Limits>().unwrap();
        for (network, counted_under) in [
            ("10.1.0.0/16", "10.1.0.0/16"),
            ("2001:db8:1::/48", "2001:db8:1::/48"),
            ("10.2.0.0/16", ""),
            ("10.1.0.0/16", "10.1.0.0/16"),
            ("10.3.0.0/16", ""),
        ] {
            let question = Question {
                bucket: 1,
                key: "x",
                coarse: network.parse().ok(),
                limits: &limits,
                n: 1,
                counted: 0,
                must_fit: true,
            };
            let at = shard.share(&question, &[], NOW);
            assert_eq!(shard.get(at).map(Slot::key), Some((1, counted_under.as_bytes())), "{network}");
            shard.get_mut(at).unwrap().uses.charge(&limits, 1, NOW);
            assert_eq!(shard.find_shared(&question, NOW), Some(at), "{network}");
        }
        assert_eq!(shard.len(), 3);
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
