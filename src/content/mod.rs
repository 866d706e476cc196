//! What a file is and what is in it, whatever its name says: kinds by content,
//! archives and documents opened in memory, never on a disk.
//!
//! Names, sizes and bytes are a stranger's. Nothing here knows of messages: a part
//! is handed over as bytes with the names that it may go by. Every reader takes from
//! one [`Budget`]; what it could not read is a kind of its own (`limits`, `damaged`,
//! `unscannable`), never silence.

mod archive;
mod budget;
mod document;
mod kind;
mod magic;
mod name;
mod names;
mod words;

pub use budget::Budget;
pub use budget::MAX_DEPTH;
pub use budget::MAX_FILES;
pub use budget::Stop;
pub use kind::Kind;
pub use kind::Kinds;
pub use kind::reference;
pub use name::Disguise;
pub use name::Name;
pub use name::Reading;
pub use name::Told;
pub use names::Names;
pub(crate) use words::words;

/// What a file is known to be without opening it.
const SHOWN_FIRST: &[Kind] = &[
    Kind::Archive,
    Kind::Audio,
    Kind::Binary,
    Kind::Certificate,
    Kind::DiskImage,
    Kind::Document,
    Kind::Empty,
    Kind::Executable,
    Kind::Html,
    Kind::Image,
    Kind::Installer,
    Kind::Message,
    Kind::Onenote,
    Kind::Pdf,
    Kind::Script,
    Kind::Shortcut,
    Kind::Signature,
    Kind::Text,
    Kind::Video,
];

/// What is to be found out.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Wants {
    /// What files are, by their content.
    pub kinds: bool,
    /// What is in archives and documents; has `kinds` with it.
    pub inside: bool,
    /// Their SHA-256.
    pub hashes: bool,
    /// What their names tell.
    pub names: bool,
}

impl Wants {
    /// For whoever asks whether a file is any of these: some show at its beginning.
    pub fn of_kinds(kinds: Kinds) -> Self {
        let is_hidden = |kind: Kind| !SHOWN_FIRST.contains(&kind);
        Self { kinds: !kinds.is_empty(), inside: kinds.iter().any(is_hidden), ..Self::default() }
    }

    #[must_use]
    pub fn join(self, other: Self) -> Self {
        Self {
            kinds: self.kinds || other.kinds,
            inside: self.inside || other.inside,
            hashes: self.hashes || other.hashes,
            names: self.names || other.names,
        }
    }
}

/// One file: a part of a message, or a file in an archive.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct File {
    /// Every name that a program may take it for; cleaned as those of parts.
    pub names: Vec<String>,
    /// What these tell.
    pub told: Told,
    pub kinds: Kinds,
    /// Bytes; of one that was not unpacked as its archive has it.
    pub size: u64,
    /// If asked for and if it was unpacked.
    pub sha256: Option<[u8; 32]>,
    /// What modules of macros in it are called, for texts.
    pub macros: Vec<String>,
    /// The archive or document that it is in, by its place in the same list.
    pub within: Option<u32>,
}

/// What is handed over to be looked at.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    pub bytes: &'a [u8],
    /// Every name that it may go by.
    pub names: &'a [String],
    /// `application/pdf`, as whoever sent it says; lower-case.
    pub media_type: Option<&'a str>,
}

/// Adds the file to `files`, and behind it, if asked for, what is in it.
pub fn examine(given: Given<'_>, wants: Wants, budget: &mut Budget, files: &mut Vec<File>) {
    archive::examine(given, wants, budget, files);
}
