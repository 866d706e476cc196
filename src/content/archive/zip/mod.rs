//! Zip archives, read from both ends.
//!
//! Each file is told twice: in the directory at the end and before its bytes. Some
//! programs believe one, some the other, and archives are made so that both see what
//! they should. All names of both are names of the file; where the two differ, or
//! where something stands that only one of them sees, the archive is ambiguous.

mod directory;
pub(super) mod entry;
pub(super) mod names;

use std::borrow::Cow;

use super::Budget;
use super::Kind;
use super::Kinds;
use super::opened::Go;
use super::opened::Opened;
use super::unpack::Allowance;
use super::unpack::End;
use super::unpack::unpack;
use directory::Directory;
use entry::Entry;
use entry::Stored;

pub(super) use directory::ends_as_zip;
pub(super) use directory::has_end;

/// What is only packed so; if it is an archive as well, its names have told.
const PACKED_SO: Kinds = Kinds::NONE.with(Kind::Document).with(Kind::Executable).with(Kind::Installer);

pub(super) fn open(opened: &mut Opened<'_, '_>) {
    let bytes = opened.bytes;
    let directory = Directory::read(bytes);
    if directory.prefix > 0 || !opened.kinds.has_any(PACKED_SO) {
        opened.is(Kind::Archive);
    }
    opened.kinds.join(directory.kinds);
    if let Some(limit) = directory.limit {
        let _ = opened.limit(limit);
    }
    if directory.prefix > 0 {
        let is_program = bytes.starts_with(b"MZ") || bytes.starts_with(b"\x7FELF");
        opened.is(if is_program { Kind::SelfExtracting } else { Kind::AmbiguousArchive });
        if !is_program && !bytes.starts_with(b"PK") {
            opened.is(Kind::Polyglot);
        }
    }
    for entry in &directory.entries {
        if file(opened, entry) == Go::Stop {
            return;
        }
    }
}

fn file(opened: &mut Opened<'_, '_>, entry: &Entry<'_>) -> Go {
    if entry.is_folder() {
        return Go::On;
    }
    let names = entry.names();
    if entry.is_encrypted() {
        opened.is(Kind::EncryptedArchive);
        return opened.list(names, entry.size);
    }
    let stored = match entry.stored(opened.bytes) {
        Ok(stored) => stored,
        Err(kind) => {
            opened.cannot(kind);
            return opened.list(names, entry.size);
        }
    };
    // Many may stand at one place and make nothing.
    if opened.charge(entry.packed()) == Go::Stop {
        return opened.list(names, entry.size);
    }
    let (go, made) = match stored {
        Stored::Plain(bytes) => (opened.stored(names, bytes), bytes.len() as u64),
        Stored::Packed(decoder) => opened.packed(names, entry.size, decoder),
    };
    // Some programs end a file where it is said to end, others where it does.
    if made != entry.size && !entry.is_size_unknown && !opened.kinds.has(Kind::Limits) {
        opened.is(Kind::AmbiguousArchive);
    }
    go
}

/// The files of a document that is a zip archive, one at a time by their names, as
/// the directory at the end has them.
pub(in crate::content) struct Reader<'a> {
    bytes: &'a [u8],
    entries: Vec<Entry<'a>>,
    names: Vec<String>,
    allowance: Allowance,
}

impl<'a> Reader<'a> {
    /// None if there is nothing in it that can be read.
    pub(in crate::content) fn new(bytes: &'a [u8]) -> Option<Self> {
        let mut entries = Directory::read(bytes).entries;
        entries.retain(|entry| !entry.is_folder());
        if entries.is_empty() {
            return None;
        }
        let names = entries.iter().map(|entry| entry.names().found.into_iter().next().unwrap_or_default());
        Some(Self { bytes, names: names.collect(), entries, allowance: Allowance::of(bytes) })
    }

    pub(in crate::content) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// The first file of this name, or else of one that differs in case. None: there is none, or it can't be
    /// read. Of one that is longer than the budget has, the beginning; the budget then
    /// says so ([`Budget::limit`]).
    pub(in crate::content) fn read(&mut self, name: &str, budget: &mut Budget) -> Option<Cow<'a, [u8]>> {
        let own = self.names.iter().position(|known| known == name);
        let at = own.or_else(|| self.names.iter().position(|known| known.eq_ignore_ascii_case(name)))?;
        self.read_at(at, budget)
    }

    /// The same of the one at a place of [`Self::names`].
    pub(in crate::content) fn read_at(&mut self, at: usize, budget: &mut Budget) -> Option<Cow<'a, [u8]>> {
        let entry = self.entries.get(at)?;
        if entry.is_encrypted() {
            return None;
        }
        match entry.stored(self.bytes).ok()? {
            Stored::Plain(bytes) => self.allowance.take(bytes.len() as u64, budget).then_some(bytes.into()),
            Stored::Packed(mut decoder) => {
                let (bytes, end) =
                    unpack(&mut *decoder.source, decoder.window, entry.size, &mut self.allowance, budget);
                // Whoever asked drops it before asking for more.
                budget.give_back(bytes.len() as u64);
                (end != End::Damaged || !bytes.is_empty()).then_some(bytes.into())
            }
        }
    }
}

#[cfg(test)]
mod tests;
