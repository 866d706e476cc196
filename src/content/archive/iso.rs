//! Discs by ISO 9660, with the longer names of Joliet and Rock Ridge. A file stands
//! in up to three listings, of which each system shows one; all its names are told.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::Kind;
use super::Names;
use super::bytes::byte;
use super::bytes::place;
use super::bytes::slice;
use super::bytes::u16;
use super::bytes::u32;
use super::opened::Go;
use super::opened::Opened;
use super::udf;
use super::zip::names;
use super::zip::names::Charset;

const SECTOR_BYTES: usize = 2_048;
const FIRST_DESCRIPTOR: usize = 16 * SECTOR_BYTES;
const MAX_DESCRIPTORS: usize = 32;
/// Folders of one listing, and entries of files in all.
const MAX_FOLDERS: usize = 10_000;
const MAX_FILES: usize = 20_000;
/// Pieces of one name, and bytes of each that stands elsewhere: all records may share them.
const MAX_CONTINUED: usize = 4;
const MAX_CONTINUED_BYTES: usize = 1_024;

/// Whether one begins here.
pub(super) fn is_disc(bytes: &[u8]) -> bool {
    slice(bytes, FIRST_DESCRIPTOR + 1, 5) == Some(b"CD001")
        || slice(bytes, FIRST_DESCRIPTOR + 1, 5) == Some(b"BEA01")
        || slice(bytes, FIRST_DESCRIPTOR + 1, 5) == Some(b"NSR02")
        || slice(bytes, FIRST_DESCRIPTOR + 1, 5) == Some(b"NSR03")
}

/// By where it begins and how long it is.
type Files = BTreeMap<(usize, usize), Names>;

#[derive(Clone, Copy, Eq, PartialEq)]
enum Listing {
    Joliet,
    Plain,
}

pub(super) fn open(opened: &mut Opened<'_, '_>) {
    let mut files = Files::new();
    let mut records = 0;
    let mut plain = BTreeSet::new();
    let mut joliet = BTreeSet::new();
    let (mut is_plain, mut is_joliet) = (false, false);
    for index in 0..MAX_DESCRIPTORS {
        let Some(descriptor) = slice(opened.bytes, FIRST_DESCRIPTOR + index * SECTOR_BYTES, SECTOR_BYTES)
        else {
            break;
        };
        if slice(descriptor, 1, 5) != Some(b"CD001") {
            break;
        }
        let is_unicode = matches!(slice(descriptor, 88, 3), Some([b'%', b'/', b'@' | b'C' | b'E']));
        match byte(descriptor, 0) {
            Some(1) => {
                is_plain = true;
                list(opened, descriptor, Listing::Plain, &mut files, &mut records, &mut plain);
            }
            Some(2) if is_unicode => {
                is_joliet = true;
                list(opened, descriptor, Listing::Joliet, &mut files, &mut records, &mut joliet);
            }
            Some(255) => break,
            _ => {}
        }
    }
    let has_udf = udf::list(opened, &mut files);
    if is_plain && is_joliet && !has_udf && plain != joliet {
        opened.is(Kind::AmbiguousArchive);
    }
    if !is_plain && !is_joliet && !has_udf {
        opened.is(Kind::Damaged);
    }
    for ((start, length), names) in files {
        let go = match slice(opened.bytes, start, length) {
            Some(bytes) => opened.stored(names, bytes),
            None => {
                opened.is(Kind::Damaged);
                opened.list(names, length as u64)
            }
        };
        if go == Go::Stop {
            return;
        }
    }
}

fn list(
    opened: &mut Opened<'_, '_>,
    descriptor: &[u8],
    listing: Listing,
    files: &mut Files,
    records: &mut usize,
    seen: &mut BTreeSet<(usize, usize)>,
) {
    let bytes = opened.bytes;
    let block = match u16(descriptor, 128) {
        Some(block @ (512 | 1_024 | 2_048 | 4_096)) => usize::from(block),
        _ => SECTOR_BYTES,
    };
    let Some(root) = Record::read(descriptor.get(156..190).unwrap_or_default(), block) else {
        return opened.is(Kind::Damaged);
    };
    let mut folders = vec![(root.start, root.length)];
    let mut known = BTreeSet::new();
    while let Some((start, length)) = folders.pop() {
        // Folders may be within themselves.
        if !known.insert(start) {
            continue;
        }
        if known.len() > MAX_FOLDERS {
            let _ = opened.limit("more folders of a disc than are read");
            return;
        }
        let Some(mut rest) = slice(bytes, start, length) else {
            opened.is(Kind::Damaged);
            continue;
        };
        // Folders may share their bytes.
        if opened.charge(length) == Go::Stop {
            return;
        }
        while let Some(&size) = rest.first() {
            // No record goes over the border of a sector: the rest of one is empty.
            let step = if size == 0 { (rest.len() - 1) % SECTOR_BYTES + 1 } else { usize::from(size) };
            let Some((record, after)) = rest.split_at_checked(step) else { break };
            rest = after;
            let Some(record) = Record::read(record, block) else { continue };
            if matches!(record.name, [0 | 1]) {
                continue;
            }
            if record.flags & 2 != 0 {
                folders.push((record.start, record.length));
                continue;
            }
            *records += 1;
            if *records > MAX_FILES {
                let _ = opened.limit("more files than are listed");
                return;
            }
            let file = (record.start, record.length);
            if record.length > 0 {
                seen.insert(file);
            }
            let names = files.entry(file).or_default();
            record.add_names(bytes, names, listing);
        }
    }
}

struct Record<'a> {
    start: usize,
    length: usize,
    flags: u8,
    name: &'a [u8],
    /// What Rock Ridge has in it.
    more: &'a [u8],
}

impl<'a> Record<'a> {
    fn read(record: &'a [u8], block: usize) -> Option<Self> {
        let length = usize::from(byte(record, 32)?);
        let behind = 33 + length + usize::from(length.is_multiple_of(2));
        Some(Self {
            start: place(u32(record, 2)?.into()).saturating_mul(block),
            length: place(u32(record, 10)?.into()),
            flags: byte(record, 25)?,
            name: slice(record, 33, length)?,
            more: record.get(behind..).unwrap_or_default(),
        })
    }

    fn add_names(&self, bytes: &[u8], names: &mut Names, listing: Listing) {
        match listing {
            Listing::Joliet => {
                let units = self.name.chunks_exact(2).map(|pair| match pair {
                    [high, low] => u16::from_be_bytes([*high, *low]),
                    _ => 0,
                });
                names.add(without_version(&String::from_utf16_lossy(&units.collect::<Vec<_>>())));
            }
            Listing::Plain => {
                let name = String::from_utf8_lossy(self.name);
                if let Some(long) = self.rock_ridge(bytes) {
                    names::add(names, &long, Charset::Unsaid);
                }
                names.add(without_version(&name));
            }
        }
    }

    /// The name of the entries `NM`, which go on where `CE` says (IEEE P1282).
    fn rock_ridge(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        let mut rest = self.more;
        for _ in 0..MAX_CONTINUED {
            let mut elsewhere = None;
            while let Some([kind @ .., length]) = slice(rest, 0, 3) {
                let Some((entry, after)) = rest.split_at_checked(usize::from(*length).max(4)) else { break };
                match kind {
                    b"NM" => {
                        name.extend_from_slice(entry.get(5..).unwrap_or_default());
                        if entry.get(4)? & 1 == 0 {
                            return Some(name);
                        }
                    }
                    b"CE" => {
                        let at = place(u32(entry, 4)?.into()).saturating_mul(SECTOR_BYTES);
                        let at = at.saturating_add(place(u32(entry, 12)?.into()));
                        let length = place(u32(entry, 20)?.into());
                        elsewhere = slice(bytes, at, length.min(MAX_CONTINUED_BYTES));
                    }
                    _ => {}
                }
                rest = after;
            }
            rest = elsewhere?;
        }
        None
    }
}

fn without_version(name: &str) -> &str {
    name.strip_suffix(";1").unwrap_or(name)
}
