//! Literal texts of a set by their kind, found by hash: they lie in one string.

use super::pattern::Kind;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;
use std::hash::Hasher;

/// An entry is a line of a file at most, and a look-up's key is an attribute.
pub(super) const MAX_ENTRY_BYTES: usize = u16::MAX as usize;

/// Literal texts by their kind: one string, and a table of places in it.
#[derive(Debug, Default)]
pub(super) struct Literals {
    pub(super) arena: String,
    table: HashTable<Slot>,
    state: RandomState,
    /// Of those that are looked for at parents.
    pub(super) longest: usize,
    /// Of each kind the lengths there are, one bit each: most texts that are not
    /// listed are told by their length, without a hash.
    lengths: [u64; Kind::COUNT],
}

/// Twelve bytes for each entry.
#[derive(Clone, Copy, Debug)]
struct Slot {
    start: u32,
    tag: u32,
    len: u16,
    kind: Kind,
}

impl Literals {
    /// Adds what has been written to the arena. False if it is there already.
    pub(super) fn insert(&mut self, kind: Kind, start: usize, len: usize, tag: u32) -> Result<bool, String> {
        let too_long = || format!("an entry has at most {MAX_ENTRY_BYTES} bytes");
        let short = u16::try_from(len).map_err(|_| too_long())?;
        let slot = Slot { start: u32::try_from(start).map_err(|_| too_long())?, tag, len: short, kind };
        let Self { arena, table, state, longest, lengths } = self;
        let name = slot_text(arena, &slot);
        let hash = hash_slot(state, arena, &slot);
        if table.find(hash, |other| other.kind == kind && slot_text(arena, other) == name).is_some() {
            return Ok(false);
        }
        table.insert_unique(hash, slot, |slot| hash_slot(state, arena, slot));
        lengths[kind as usize] |= length_bit(len);
        if kind != Kind::Mailbox && kind != Kind::Local {
            *longest = (*longest).max(len);
        }
        Ok(true)
    }

    /// The entry's text and number. With a domain: of `name@domain`.
    pub(super) fn find(&self, kind: Kind, name: &str, domain: Option<&str>) -> Option<(&str, u32)> {
        let len = name.len() + domain.map_or(0, |domain| domain.len() + 1);
        if self.lengths[kind as usize] & length_bit(len) == 0 {
            return None;
        }
        let hash = hash_parts(&self.state, kind, name, domain);
        let slot = self
            .table
            .find(hash, |slot| slot.kind == kind && is_made_of(slot_text(&self.arena, slot), name, domain))?;
        Some((slot_text(&self.arena, slot), slot.tag))
    }

    /// How long what is listed above a name of so many bytes can be, the longest first.
    /// Nothing is longer than the longest entry: a name of dots alone must not cost the
    /// square of its length.
    pub(super) fn parent_lengths(&self, exact: Option<Kind>, below: usize) -> impl Iterator<Item = usize> {
        let exact = exact.map_or(0, |kind| self.lengths[kind as usize]);
        let lengths = self.lengths[Kind::Below as usize] | exact;
        let end = if lengths & length_bit(SHARED) == 0 { SHARED } else { below.min(self.longest + 1) };
        let mut short = lengths & (length_bit(below) - 1);
        let short = std::iter::from_fn(move || {
            let length = short.checked_ilog2()?;
            short &= !(1 << length);
            Some(length as usize)
        });
        (SHARED..end).rev().chain(short)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Kind, &str, u32)> {
        self.table.iter().map(|slot| (slot.kind, slot_text(&self.arena, slot), slot.tag))
    }

    pub(super) fn shrink(&mut self) {
        let Self { arena, table, state, .. } = self;
        arena.shrink_to_fit();
        table.shrink_to_fit(|slot| hash_slot(state, arena, slot));
    }
}

/// From so many bytes on texts share a bit.
const SHARED: usize = 63;

fn length_bit(len: usize) -> u64 {
    1 << len.min(SHARED)
}

fn slot_text<'a>(arena: &'a str, slot: &Slot) -> &'a str {
    let start = slot.start as usize;
    arena.get(start..start + usize::from(slot.len)).unwrap_or_default()
}

/// A mailbox is hashed in its parts, so that a look-up need not join them.
fn hash_slot(state: &RandomState, arena: &str, slot: &Slot) -> u64 {
    let text = slot_text(arena, slot);
    match text.rsplit_once('@').filter(|_| slot.kind == Kind::Mailbox) {
        Some((local, domain)) => hash_parts(state, slot.kind, local, Some(domain)),
        None => hash_parts(state, slot.kind, text, None),
    }
}

fn hash_parts(state: &RandomState, kind: Kind, name: &str, domain: Option<&str>) -> u64 {
    let mut hasher = state.build_hasher();
    hasher.write_u8(kind as u8);
    hasher.write(name.as_bytes());
    if let Some(domain) = domain {
        hasher.write(domain.as_bytes());
    }
    hasher.finish()
}

fn is_made_of(text: &str, name: &str, domain: Option<&str>) -> bool {
    let Some(domain) = domain else {
        return text == name;
    };
    text.strip_prefix(name).and_then(|rest| rest.strip_prefix('@')) == Some(domain)
}
