//! Discs by UDF (ECMA-167), which stand alone or beside the listings of ISO 9660:
//! Windows shows this one where there is one. Only what discs of one layer have.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::Kind;
use super::Names;
use super::bytes::byte;
use super::bytes::place;
use super::bytes::slice;
use super::bytes::u16;
use super::bytes::u32;
use super::bytes::u64;
use super::opened::Go;
use super::opened::Opened;

const SECTOR_BYTES: usize = 2_048;
/// Where the first descriptor stands.
const ANCHOR: usize = 256;
const MAX_DESCRIPTORS: usize = 64;
const MAX_FOLDERS: usize = 10_000;
const MAX_FILES: usize = 20_000;

/// What a block is, by its tag.
mod tag {
    pub(super) const ANCHOR: u16 = 2;
    pub(super) const PARTITION: u16 = 5;
    pub(super) const VOLUME: u16 = 6;
    pub(super) const END: u16 = 8;
    pub(super) const FILE_SET: u16 = 256;
    pub(super) const FILE_NAME: u16 = 257;
    pub(super) const FILE: u16 = 261;
    pub(super) const LONG_FILE: u16 = 266;
}

/// Adds the files of the disc; false if it is none of UDF.
pub(super) fn list(opened: &mut Opened<'_, '_>, files: &mut BTreeMap<(usize, usize), Names>) -> bool {
    let Some(disc) = Disc::read(opened.bytes) else { return false };
    let mut folders = vec![disc.root];
    let mut known = BTreeSet::new();
    let mut entries = 0;
    while let Some(folder) = folders.pop() {
        // Folders may be within themselves.
        if !known.insert(folder) {
            continue;
        }
        if known.len() > MAX_FOLDERS {
            let _ = opened.limit("more folders of a disc than are read");
            break;
        }
        let Some((start, length)) = disc.content(folder) else {
            opened.is(Kind::Damaged);
            continue;
        };
        let mut rest = slice(disc.bytes, start, length).unwrap_or_default();
        // Folders may share their bytes.
        if opened.charge(rest.len()) == Go::Stop {
            break;
        }
        while let Some(entry) = Entry::read(rest) {
            rest = rest.get(entry.length..).unwrap_or_default();
            if entry.flags & 0b1100 != 0 {
                continue;
            }
            if entry.flags & 2 != 0 {
                folders.push(entry.icb);
                continue;
            }
            entries += 1;
            if entries > MAX_FILES {
                let _ = opened.limit("more files than are listed");
                return true;
            }
            match disc.content(entry.icb) {
                Some(place) => files.entry(place).or_default().add(&entry.name),
                None => {
                    opened.is(Kind::Damaged);
                    files.entry((usize::MAX, 0)).or_default().add(&entry.name);
                }
            }
        }
    }
    true
}

struct Disc<'a> {
    bytes: &'a [u8],
    /// Where its one partition begins.
    partition: usize,
    /// The block of the first folder.
    root: u32,
}

impl<'a> Disc<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let anchor = block(bytes, ANCHOR, tag::ANCHOR)?;
        let first = place(u32(anchor, 20)?.into());
        let (mut partition, mut set) = (None, None);
        for index in 0..MAX_DESCRIPTORS {
            let at = first.checked_add(index)?.checked_mul(SECTOR_BYTES)?;
            let descriptor = slice(bytes, at, SECTOR_BYTES)?;
            match u16(descriptor, 0)? {
                tag::PARTITION => partition = Some(place(u32(descriptor, 188)?.into())),
                tag::VOLUME => set = Some(place(u32(descriptor, 252)?.into())),
                tag::END => break,
                _ => {}
            }
        }
        let (partition, set) = (partition?, set?);
        let set = block(bytes, partition.checked_add(set)?, tag::FILE_SET)?;
        Some(Self { bytes, partition, root: u32(set, 404)? })
    }

    /// Where the bytes of a file stand: of one in several pieces, the first.
    fn content(&self, icb: u32) -> Option<(usize, usize)> {
        let at = self.partition.checked_add(place(icb.into()))?.checked_mul(SECTOR_BYTES)?;
        let file = slice(self.bytes, at, SECTOR_BYTES)?;
        let (lengths, fields) = match u16(file, 0)? {
            tag::FILE => (168, 176),
            tag::LONG_FILE => (208, 216),
            _ => return None,
        };
        let length = place(u64(file, 56)?);
        let descriptors = fields + place(u32(file, lengths)?.into());
        // How they are written (ECMA-167, 14.6.8); or the bytes themselves.
        match u16(file, 34)? & 7 {
            0 | 1 => {
                let block = self.partition.checked_add(place(u32(file, descriptors + 4)?.into()))?;
                Some((block.checked_mul(SECTOR_BYTES)?, length))
            }
            3 => Some((at + descriptors, length)),
            _ => None,
        }
    }
}

fn block(bytes: &[u8], at: usize, wanted: u16) -> Option<&[u8]> {
    let block = slice(bytes, at.checked_mul(SECTOR_BYTES)?, SECTOR_BYTES)?;
    (u16(block, 0)? == wanted).then_some(block)
}

/// One name in a folder.
struct Entry {
    flags: u8,
    icb: u32,
    name: String,
    length: usize,
}

impl Entry {
    fn read(bytes: &[u8]) -> Option<Self> {
        (u16(bytes, 0)? == tag::FILE_NAME).then_some(())?;
        let length = usize::from(byte(bytes, 19)?);
        let name = 38 + usize::from(u16(bytes, 36)?);
        let raw = slice(bytes, name, length)?;
        // A byte or two for each character (OSTA, 2.1.1).
        let name_text = match raw.split_first() {
            Some((8, rest)) => rest.iter().map(|byte| char::from(*byte)).collect(),
            Some((16, rest)) => {
                let units = rest.chunks_exact(2).map(|pair| match pair {
                    [high, low] => u16::from_be_bytes([*high, *low]),
                    _ => 0,
                });
                String::from_utf16_lossy(&units.collect::<Vec<_>>())
            }
            _ => String::new(),
        };
        Some(Self {
            flags: byte(bytes, 18)?,
            icb: u32(bytes, 24)?,
            name: name_text,
            length: (name + length).next_multiple_of(4),
        })
    }
}
