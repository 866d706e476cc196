//! What documents hide: macros, scripts, templates fetched from elsewhere, files
//! within.
//!
//! Strangers make them, and programs open what no standard allows. So each reader
//! takes what it can find, in whatever order it stands, and never looks for what a
//! document should have: a name that must be somewhere is enough. None is recursive,
//! each goes over its bytes a fixed number of times, and what is unpacked comes from
//! the budget.

mod flat;
mod html;
mod odf;
mod office;
mod ole;
mod onenote;
mod ooxml;
mod package;
mod pdf;
mod rtf;
mod shortcut;
mod vba;

use std::borrow::Cow;

use super::Budget;
use super::Given;
use super::Kind;
use super::Kinds;
use super::Names;
use super::archive::zip;
use super::magic;

/// Names of macros that are kept of one document.
const MAX_MACROS: usize = 16;
/// Files within one document that are looked at.
const MAX_MEMBERS: usize = 1000;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Inside<'a> {
    pub kinds: Kinds,
    /// What modules of macros are called.
    pub macros: Vec<String>,
    pub members: Vec<Member<'a>>,
}

/// A file within a document that is no archive.
#[derive(Debug)]
pub(super) struct Member<'a> {
    pub names: Names,
    pub bytes: Cow<'a, [u8]>,
}

impl Member<'_> {
    /// Bytes that it holds of the budget.
    pub(super) fn held(&self) -> u64 {
        match &self.bytes {
            Cow::Borrowed(_) => 0,
            Cow::Owned(bytes) => bytes.len() as u64,
        }
    }
}

impl<'a> Inside<'a> {
    fn is(&mut self, kind: Kind) {
        self.kinds.add(kind);
    }

    fn limit(&mut self, limit: &'static str, budget: &mut Budget) {
        budget.hit(limit);
        self.is(Kind::Limits);
    }

    fn add_macro(&mut self, name: String) {
        if self.macros.len() < MAX_MACROS && !self.macros.contains(&name) {
            self.macros.push(name);
        }
    }

    /// A file within; more than may be held at one time are not.
    fn add(&mut self, name: &str, bytes: impl Into<Cow<'a, [u8]>>, budget: &mut Budget) {
        let mut names = Names::default();
        names.add(name);
        let member = Member { names, bytes: bytes.into() };
        if self.members.len() >= MAX_MEMBERS {
            return self.limit("more files in a document than are looked at", budget);
        }
        if !budget.hold(member.held()) {
            return self.is(Kind::Limits);
        }
        self.members.push(member);
    }

    /// What is in a document within this one, but for its files: those are found with it.
    fn join(&mut self, other: Inside<'_>, budget: &mut Budget) {
        const ITS_OWN: Kinds = Kinds::NONE.with(Kind::Damaged).with(Kind::Document).with(Kind::Message);
        self.kinds.join(other.kinds.iter().filter(|kind| !ITS_OWN.has(*kind)).collect());
        other.macros.into_iter().for_each(|name| self.add_macro(name));
        budget.give_back(other.members.iter().map(Member::held).sum());
    }
}

/// What may be a document in one text.
const FLAT: Kinds = Kinds::NONE.with(Kind::Document).with(Kind::Html).with(Kind::Message);

/// What more it is, beyond what its beginning says, and the files in it that are found
/// by no reader of archives. It takes from the budget what it has to unpack; the kinds
/// are those that [`super::magic`] gave it.
pub(super) fn inside<'a>(given: Given<'a>, kinds: Kinds, budget: &mut Budget) -> Inside<'a> {
    let bytes = given.bytes;
    let hits = budget.hits();
    let mut inside = Inside::default();
    if bytes.starts_with(magic::OLE) {
        office::look(bytes, &mut inside, budget);
    } else if kinds.has(Kind::Onenote) {
        onenote::look(bytes, &mut inside, budget);
    } else if bytes.starts_with(magic::ZIP)
        && let Some(mut reader) = zip::Reader::new(bytes)
    {
        ooxml::look(&mut reader, &mut inside, budget);
        odf::look(&mut reader, &mut inside, budget);
    }
    if kinds.has(Kind::Pdf) {
        pdf::look(bytes, &mut inside, budget);
    }
    if kinds.has(Kind::Html) || kinds.has(Kind::Image) && html::may_be_svg(bytes) {
        html::look(bytes, &mut inside, budget);
    }
    if kinds.has(Kind::Shortcut) {
        shortcut::look(bytes, &mut inside);
    }
    if rtf::is_one(bytes) {
        rtf::look(bytes, &mut inside, budget);
    } else if !bytes.starts_with(magic::ZIP) && kinds.has_any(FLAT) {
        flat::look(bytes, &mut inside);
    }
    if !inside.kinds.has(Kind::Macros) {
        inside.kinds = inside.kinds.without(Kind::SignedMacros);
    }
    if budget.hits() > hits {
        inside.is(Kind::Limits);
    }
    inside
}

/// A number that stands at a place, its smallest byte first.
fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

/// The same as a place or length.
fn usize_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32_at(bytes, at)?).ok()
}

/// UTF-16 with the smaller byte first.
fn utf16(bytes: &[u8]) -> String {
    let units = bytes.as_chunks().0.iter().map(|pair| u16::from_le_bytes(*pair));
    char::decode_utf16(units).map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

#[cfg(test)]
mod tests;
