//! One archive while it is read: where its reader puts what it finds.

use super::Budget;
use super::Given;
use super::Kind;
use super::Kinds;
use super::Names;
use super::codec::Decoder;
use super::look;
use super::unpack::Allowance;
use super::unpack::End;
use super::unpack::GAVE_UP;
use super::unpack::unpack;
use crate::content::File;
use crate::content::Wants;

/// Whether a reader goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub(super) enum Go {
    On,
    Stop,
}

/// An archive and what was found of it.
pub(super) struct Opened<'a, 'b> {
    pub bytes: &'a [u8],
    /// Every name that the archive goes by.
    pub names: &'a [String],
    /// What it is, beyond what its beginning says.
    pub kinds: Kinds,
    /// Its place among the files.
    pub place: u32,
    pub depth: u8,
    pub wants: Wants,
    pub budget: &'b mut Budget,
    pub files: &'b mut Vec<File>,
    pub allowance: Allowance,
}

impl Opened<'_, '_> {
    pub(super) fn is(&mut self, kind: Kind) {
        self.kinds.add(kind);
    }

    /// A cap was hit: there is more in it than is known.
    pub(super) fn limit(&mut self, limit: &'static str) -> Go {
        self.budget.hit(limit);
        self.is(Kind::Limits);
        Go::Stop
    }

    /// A file that is not unpacked.
    pub(super) fn list(&mut self, names: Names, size: u64) -> Go {
        if !self.has_room(&names) {
            return Go::Stop;
        }
        let within = Some(self.place);
        self.files.push(File { names: names.found, size, within, ..File::default() });
        Go::On
    }

    /// A file that there is no decoder for; one that by its name is an archive again, or a
    /// document that hides macros under any name, is known and not opened.
    pub(super) fn packed_for_good(&mut self, names: Names, size: u64) -> Go {
        if names.found.iter().any(|name| is_opened_by_name(name)) {
            self.is(Kind::Unscannable);
        }
        self.list(names, size)
    }

    /// Why a decoder did not begin.
    pub(super) fn cannot(&mut self, kind: Kind) {
        if kind == Kind::Limits {
            self.budget.hit("a compression that wants more memory than it gets");
        }
        self.is(kind);
    }

    /// Others' code gave up on it.
    pub(super) fn gave_up(&mut self) {
        self.budget.hit(GAVE_UP);
        self.is(Kind::Damaged);
    }

    /// For bytes that are put together before they are looked at.
    pub(super) fn charge(&mut self, bytes: usize) -> Go {
        if self.allowance.take(bytes as u64, self.budget) {
            return Go::On;
        }
        self.is(Kind::Limits);
        Go::Stop
    }

    /// A file that stands in the archive as it is.
    pub(super) fn stored(&mut self, names: Names, bytes: &[u8]) -> Go {
        // Many may stand at one place.
        if !self.allowance.take(bytes.len() as u64, self.budget) {
            self.is(Kind::Limits);
            return self.list(names, bytes.len() as u64);
        }
        self.file(names, bytes, bytes.len() as u64)
    }

    /// A file that `decoder` makes, of which the archive says that it has so many
    /// bytes; returns how many were made.
    pub(super) fn packed(&mut self, names: Names, size: u64, mut decoder: Decoder<'_>) -> (Go, u64) {
        let source = &mut *decoder.source;
        let (bytes, end) = unpack(source, decoder.window, size, &mut self.allowance, self.budget);
        drop(decoder);
        let made = bytes.len() as u64;
        match end {
            End::Damaged => self.is(Kind::Damaged),
            End::Limit => self.is(Kind::Limits),
            End::Whole => {}
        }
        let size = if end == End::Whole { made } else { made.max(size) };
        let go = self.file(names, &bytes, size);
        drop(bytes);
        self.budget.give_back(made);
        (go, made)
    }

    fn file(&mut self, names: Names, bytes: &[u8], size: u64) -> Go {
        if !self.has_room(&names) {
            return Go::Stop;
        }
        let given = Given { bytes, names: &names.found, media_type: None };
        let place = self.files.len();
        look(given, Some(self.place), self.depth + 1, self.wants, self.budget, self.files);
        if let Some(file) = self.files.get_mut(place) {
            file.size = size;
        }
        Go::On
    }

    fn has_room(&mut self, names: &Names) -> bool {
        if let Some(limit) = names.limit {
            self.budget.hit(limit);
            self.is(Kind::Limits);
        }
        let bytes = names.found.iter().map(String::len).sum();
        let room = self.budget.take_file() && self.budget.take_names(bytes);
        if !room {
            self.is(Kind::Limits);
        }
        room
    }
}

/// What hides files of its own, or macros that its name does not tell of.
const ENDINGS: &[&str] = &[
    "7z", "ace", "alz", "arj", "bz2", "cab", "doc", "dot", "egg", "gz", "img", "iso", "lha", "lzh", "pot",
    "pps", "ppt", "pub", "rar", "rtf", "tar", "tbz", "tgz", "txz", "udf", "vhd", "vhdx", "xls", "xlsb",
    "xlt", "xz", "z", "zip", "zipx", "zst",
];

fn is_opened_by_name(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, ending)| ENDINGS.iter().any(|e| e.eq_ignore_ascii_case(ending)))
}
