//! What files of a kind begin with: one table, found by the first byte.
//!
//! A row says what must stand at the beginning, what else must stand elsewhere, and
//! what the file then is. The first row that fits answers.

use crate::content::Kind;
use crate::content::Kinds;

struct Row {
    begins: &'static [u8],
    /// And this, at this place.
    has: Option<(usize, &'static [u8])>,
    kinds: Kinds,
}

impl Row {
    /// A few printable letters alone.
    fn is_by_chance(&self) -> bool {
        self.has.is_none()
            && self.begins.len() < 5
            && self.begins.iter().all(u8::is_ascii_graphic)
            && self.begins != b"{\\rt"
    }
}

const fn row(begins: &'static [u8], kind: Kind) -> Row {
    Row { begins, has: None, kinds: Kinds::NONE.with(kind) }
}

const fn two(begins: &'static [u8], kind: Kind, other: Kind) -> Row {
    Row { begins, has: None, kinds: Kinds::NONE.with(kind).with(other) }
}

const fn has(begins: &'static [u8], at: usize, bytes: &'static [u8], kind: Kind) -> Row {
    Row { begins, has: Some((at, bytes)), kinds: Kinds::NONE.with(kind) }
}

/// In the order of their first bytes; of those that begin alike the longer first.
const ROWS: &[Row] = &[
    // ISO media whose first box is longer than 255 bytes come here too.
    has(b"\x00\x00", 4, b"ftyp3g", Kind::Video),
    has(b"\x00\x00", 4, b"ftypM4A", Kind::Audio),
    has(b"\x00\x00", 4, b"ftypM4B", Kind::Audio),
    has(b"\x00\x00", 4, b"ftypavi", Kind::Image),
    has(b"\x00\x00", 4, b"ftypcrx", Kind::Image),
    has(b"\x00\x00", 4, b"ftyphei", Kind::Image),
    has(b"\x00\x00", 4, b"ftyphev", Kind::Image),
    has(b"\x00\x00", 4, b"ftypmif", Kind::Image),
    has(b"\x00\x00", 4, b"ftypmsf", Kind::Image),
    has(b"\x00\x00", 4, b"ftyp", Kind::Video),
    row(b"\x00\x00\x00\x0cjP  \r\n\x87\n", Kind::Image),
    row(b"\x00\x00\x00\x0cJXL \r\n\x87\n", Kind::Image),
    row(b"\x00\x00\x01\x00", Kind::Image),
    row(b"\x00\x00\x01\xb3", Kind::Video),
    row(b"\x00\x00\x01\xba", Kind::Video),
    row(b"\x00\x00\x02\x00", Kind::Image),
    row(b"\x00\x01\x00\x00Standard ACE DB", Kind::Document),
    row(b"\x00\x01\x00\x00Standard Jet DB", Kind::Document),
    row(b"\x00asm", Kind::Executable),
    has(b"\x01\x00\x00\x00", 40, b" EMF", Kind::Image),
    row(b"\x02\x21\x4c\x18", Kind::Archive),
    row(b"\x04\x22\x4d\x18", Kind::Archive),
    row(b"\x07\x64\x00\x00", Kind::Archive),
    // BIFF 2 to 4: a sheet, or a sheet of macros, without anything around it.
    has(b"\x09\x00\x04\x00", 6, b"\x10\x00", Kind::Document),
    has(b"\x09\x00\x04\x00", 6, b"\x40\x00", Kind::Macros),
    has(b"\x09\x02\x06\x00", 6, b"\x10\x00", Kind::Document),
    has(b"\x09\x02\x06\x00", 6, b"\x40\x00", Kind::Macros),
    has(b"\x09\x04\x06\x00", 6, b"\x10\x00", Kind::Document),
    has(b"\x09\x04\x06\x00", 6, b"\x40\x00", Kind::Macros),
    has(b"\x09\x04\x06\x00", 6, b"\x00\x01", Kind::Document),
    has(b"\x09\x08", 6, b"\x05\x00", Kind::Document),
    row(b"\x1a\x45\xdf\xa3", Kind::Video),
    row(b"\x1f\x8b", Kind::Archive),
    row(b"\x1f\x9d", Kind::Archive),
    row(b"\x1f\xa0", Kind::Archive),
    row(b"!<arch>\ndebian-binary", Kind::Installer),
    row(b"!<arch>\n", Kind::Archive),
    row(b"#!AMR", Kind::Audio),
    row(b"(\xb5\x2f\xfd", Kind::Archive),
    row(b"060106", Kind::Archive),
    row(b"070701", Kind::Archive),
    row(b"070702", Kind::Archive),
    row(b"070707", Kind::Archive),
    row(b"0&\xb2\x75\x8e\x66\xcf\x11", Kind::Video),
    row(b"7z\xbc\xaf\x27\x1c", Kind::Archive),
    row(b"8BPS", Kind::Image),
    row(b"?_\x03\x00", Kind::Help),
    row(b"ALZ\x01", Kind::Archive),
    row(b"AC10", Kind::Image),
    has(b"AT&TFORM", 12, b"DJV", Kind::Image),
    has(b"BM", 6, b"\0\0\0\0", Kind::Image),
    has(b"BZh", 4, b"1AY&SY", Kind::Archive),
    has(b"BZh", 4, b"\x17\x72\x45\x38\x50\x90", Kind::Archive),
    row(b"CWS", Kind::Executable),
    row(b"Cr24", Kind::Installer),
    row(b"DMS!", Kind::Archive),
    row(b"EGGA", Kind::Archive),
    has(b"FLV\x01", 5, b"\0\0\0\x09", Kind::Video),
    row(b"FORM", Kind::Audio),
    row(b"FWS", Kind::Executable),
    row(b"GRZipII\0", Kind::Archive),
    row(b"GIF8", Kind::Image),
    row(b"ID3", Kind::Audio),
    row(b"II*\0", Kind::Image),
    row(b"II\xbc\x01", Kind::Image),
    row(b"IIRO", Kind::Image),
    row(b"ISc(", Kind::Archive),
    row(b"ITSF\x03\0\0\0", Kind::Help),
    row(b"KDMV", Kind::DiskImage),
    row(b"L\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46", Kind::Shortcut),
    row(b"LRZI", Kind::Archive),
    row(b"LZIP", Kind::Archive),
    row(b"MM\0*", Kind::Image),
    row(b"MSCF\0\0\0\0", Kind::Archive),
    row(b"MSWIM\0\0\0", Kind::DiskImage),
    row(b"MThd", Kind::Audio),
    row(b"OggS", Kind::Audio),
    row(b"PK\x03\x04", Kind::Archive),
    row(b"PK\x05\x06", Kind::Archive),
    row(b"PK\x07\x08", Kind::Archive),
    row(b"PK00PK\x03\x04", Kind::Archive),
    // A frame of lz4 or zstd that is skipped, before one that is not.
    has(b"P", 1, b"\x2a\x4d\x18", Kind::Archive),
    row(b"QFI\xfb", Kind::DiskImage),
    row(b"RE~^", Kind::Archive),
    has(b"RIFF", 8, b"ACON", Kind::Image),
    has(b"RIFF", 8, b"AVI ", Kind::Video),
    has(b"RIFF", 8, b"WAVE", Kind::Audio),
    has(b"RIFF", 8, b"WEBP", Kind::Image),
    row(b"Rar!\x1a\x07", Kind::Archive),
    row(b"SIT!", Kind::Archive),
    row(b"StuffIt (c)", Kind::Archive),
    row(b"SZDD\x88\xf0", Kind::Archive),
    row(b"UFA", Kind::Archive),
    row(b"ZWS", Kind::Executable),
    row(b"]\0\0", Kind::Archive),
    row(b"\x60\xea", Kind::Archive),
    row(b"caff", Kind::Audio),
    row(b"conectix", Kind::DiskImage),
    row(b"cush", Kind::Archive),
    row(b"dex\n", Kind::Executable),
    row(b"fLaC", Kind::Audio),
    row(b"gimp xcf", Kind::Image),
    row(b"hsqs", Kind::DiskImage),
    row(b"q\xc7", Kind::Archive),
    row(b"vhdxfile", Kind::DiskImage),
    row(b"x\x9f>\x22", Kind::Message),
    row(b"xar!", Kind::Installer),
    row(b"{\\rt", Kind::Document),
    row(b"\x7fELF", Kind::Executable),
    row(b"\x89LZO\0\r\n\x1a\n", Kind::Archive),
    row(b"\x89PNG\r\n\x1a\n", Kind::Image),
    row(b"\x8aMNG", Kind::Image),
    row(b"\xc7\x71", Kind::Archive),
    row(b"\xca\xfe\xba\xbe", Kind::Executable),
    row(b"\xca\xfe\xba\xbf", Kind::Executable),
    row(b"\xca\xfe\xd0\x0d", Kind::Executable),
    row(b"\xce\xfa\xed\xfe", Kind::Executable),
    row(b"\xcf\xfa\xed\xfe", Kind::Executable),
    row(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Kind::Document),
    row(b"\xd7\xcd\xc6\x9a", Kind::Image),
    two(b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d\xae\xb1\x53\x78\xd0\x29\x96\xd3", Kind::Document, Kind::Onenote),
    row(b"\xed\xab\xee\xdb", Kind::Installer),
    row(b"\xfd7zXZ\0", Kind::Archive),
    row(b"\xfe\xed\xfa\xce", Kind::Executable),
    row(b"\xfe\xed\xfa\xcf", Kind::Executable),
    row(b"\xfe\xed\xfe\xed", Kind::Certificate),
    row(b"\xff\x0a", Kind::Image),
    row(b"\xff\xd8\xff", Kind::Image),
    row(b"\xff\xf1", Kind::Audio),
    row(b"\xff\xf2", Kind::Audio),
    row(b"\xff\xf3", Kind::Audio),
    row(b"\xff\xf9", Kind::Audio),
    row(b"\xff\xfa", Kind::Audio),
    row(b"\xff\xfb", Kind::Audio),
];

/// Where the rows of each first byte begin, and behind the last where they end.
const STARTS: [u8; 257] = starts();

const fn starts() -> [u8; 257] {
    let mut starts = [0; 257];
    let mut byte = 0;
    let mut at = 0;
    while byte < 256 {
        starts[byte] = at as u8;
        while at < ROWS.len() && ROWS[at].begins[0] as usize == byte {
            at += 1;
        }
        byte += 1;
    }
    assert!(at == ROWS.len() && at < 256, "rows are in the order of their first bytes");
    starts[256] = at as u8;
    starts
}

/// What it is by its beginning; none if no row fits. Text may begin with a few letters
/// by chance: of it only rows that say more are believed.
pub(super) fn beginning(bytes: &[u8], is_text: bool) -> Kinds {
    let Some(first) = bytes.first() else { return Kinds::NONE };
    let first = usize::from(*first);
    let start = STARTS.get(first).copied().unwrap_or_default();
    let end = STARTS.get(first + 1).copied().unwrap_or_default();
    let rows = ROWS.get(usize::from(start)..usize::from(end)).unwrap_or_default();
    let fits = |row: &&Row| {
        bytes.starts_with(row.begins)
            && !(is_text && row.is_by_chance())
            && row.has.is_none_or(|(at, has)| bytes.get(at..).is_some_and(|rest| rest.starts_with(has)))
    };
    rows.iter().find(fits).map_or(Kinds::NONE, |row| row.kinds)
}
