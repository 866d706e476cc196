//! Compound files: streams in folders, in sectors that are linked to each other.
//!
//! Office reads many that are against the rules, so nothing is checked that isn't
//! needed: a reader that refuses a file as a whole would be the way past us, which is
//! why this is not left to a library. Each chain is followed no further than the file
//! has sectors, so a circle ends; the tables are read where they stand.

use super::Budget;
use super::u16_at;
use super::u32_at;
use super::usize_at;
use super::utf16;

/// Entries of folders that are read; a message with hundreds of attachments has fewer.
const MAX_ENTRIES: usize = 65_536;
const ENTRY_BYTES: usize = 128;
const MINI_BYTES: usize = 64;
/// Above these are marks: end of a chain, free, and so on.
const LAST_SECTOR: u32 = 0xffff_fffa;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Holds {
    Folder,
    Stream,
}

/// A stream or folder.
#[derive(Debug)]
pub(super) struct Entry {
    pub name: String,
    pub holds: Holds,
    pub class: [u8; 16],
    pub size: u64,
    /// The folder that it is in, by its place.
    pub parent: Option<usize>,
    start: u32,
    left: u32,
    right: u32,
    child: u32,
}

pub(super) struct Ole<'a> {
    bytes: &'a [u8],
    sector_bytes: usize,
    /// The sectors that have the table of what follows what.
    table: Vec<u32>,
    /// Those of the table for small streams, and of the stream that has them all.
    mini_table: Vec<u32>,
    mini_stream: Vec<u32>,
    mini_below: u64,
    pub entries: Vec<Entry>,
    /// There are more of them.
    pub is_cut: bool,
    /// Of each folder, what is in it.
    children: Vec<Vec<usize>>,
}

impl<'a> Ole<'a> {
    /// None: not even its folders can be found.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let shift = u16_at(bytes, 30).filter(|shift| (7..=16).contains(shift))?;
        let mut ole = Self {
            bytes,
            sector_bytes: 1 << shift,
            table: Vec::new(),
            mini_table: Vec::new(),
            mini_stream: Vec::new(),
            mini_below: u64::from(u32_at(bytes, 56)?),
            entries: Vec::new(),
            is_cut: false,
            children: Vec::new(),
        };
        ole.read_table();
        let folders = ole.chain(u32_at(bytes, 48)?);
        for sector in folders {
            let Some(entries) = ole.sector(sector) else { break };
            for entry in entries.chunks_exact(ENTRY_BYTES) {
                if ole.entries.len() >= MAX_ENTRIES {
                    ole.is_cut = true;
                    break;
                }
                ole.entries.push(Entry::read(entry)?);
            }
        }
        ole.mini_table = ole.chain(u32_at(bytes, 60)?);
        ole.mini_stream = ole.chain(ole.entries.first()?.start);
        ole.find_parents();
        Some(ole)
    }

    /// What is in a folder.
    pub(super) fn within(&self, folder: usize) -> impl Iterator<Item = &Entry> {
        self.children.get(folder).into_iter().flatten().filter_map(|at| self.entries.get(*at))
    }

    fn sectors(&self) -> usize {
        self.bytes.len() / self.sector_bytes + 1
    }

    /// The last one may be cut.
    fn sector(&self, number: u32) -> Option<&'a [u8]> {
        let at = usize::try_from(number).ok()?.checked_add(1)?.checked_mul(self.sector_bytes)?;
        let rest = self.bytes.get(at..).filter(|rest| !rest.is_empty())?;
        rest.get(..self.sector_bytes).or(Some(rest))
    }

    /// 109 in the header, the rest in sectors of their own.
    fn read_table(&mut self) {
        const IN_HEADER: usize = 109;
        let max = self.sectors();
        let in_header = (0..IN_HEADER).filter_map(|at| u32_at(self.bytes, 76 + at * 4));
        self.table.extend(in_header.filter(|sector| *sector < LAST_SECTOR));
        let mut next = u32_at(self.bytes, 68).unwrap_or(LAST_SECTOR);
        let mut seen = 0;
        while next < LAST_SECTOR && seen < max && self.table.len() < max {
            seen += 1;
            let Some(sector) = self.sector(next) else { return };
            let numbers = sector.as_chunks().0.iter().map(|number| u32::from_le_bytes(*number));
            let mut numbers: Vec<u32> = numbers.collect();
            next = numbers.pop().unwrap_or(LAST_SECTOR);
            self.table.extend(numbers.into_iter().filter(|sector| *sector < LAST_SECTOR));
        }
        self.table.truncate(max);
    }

    /// What follows a sector.
    fn next(&self, sector: u32) -> Option<u32> {
        Self::entry(self, &self.table, sector)
    }

    fn entry(&self, table: &[u32], sector: u32) -> Option<u32> {
        let sector = usize::try_from(sector).ok()?;
        let in_each = self.sector_bytes / 4;
        let part = self.sector(*table.get(sector / in_each)?)?;
        u32_at(part, sector % in_each * 4).filter(|next| *next < LAST_SECTOR)
    }

    fn chain(&self, start: u32) -> Vec<u32> {
        let first = Some(start).filter(|start| *start < LAST_SECTOR);
        let chain = std::iter::successors(first, |sector| self.next(*sector));
        chain.take(self.sectors()).take_while(|sector| self.sector(*sector).is_some()).collect()
    }

    /// Folders have their entries in trees. What stands in none is in no folder.
    fn find_parents(&mut self) {
        let mut seen = vec![false; self.entries.len()];
        self.children.resize(self.entries.len(), Vec::new());
        let mut todo: Vec<(u32, usize)> = Vec::new();
        todo.extend(self.entries.first().map(|root| (root.child, 0)));
        while let Some((at, parent)) = todo.pop() {
            let Ok(at) = usize::try_from(at) else { continue };
            let (Some(entry), Some(seen)) = (self.entries.get_mut(at), seen.get_mut(at)) else { continue };
            if std::mem::replace(seen, true) {
                continue;
            }
            entry.parent = Some(parent);
            if let Some(children) = self.children.get_mut(parent) {
                children.push(at);
            }
            todo.extend([(entry.left, parent), (entry.right, parent)]);
            if entry.holds == Holds::Folder {
                todo.push((entry.child, at));
            }
        }
    }

    /// The stream, as far as it can be followed, or its beginning of `max` bytes. None:
    /// the budget does not have them.
    pub(super) fn stream(&self, entry: &Entry, max: usize, budget: &mut Budget) -> Option<Vec<u8>> {
        let size = usize::try_from(entry.size).unwrap_or(usize::MAX).min(max).min(self.bytes.len());
        if !budget.take_bytes(size as u64) {
            return None;
        }
        let mut stream = Vec::with_capacity(size);
        if entry.size < self.mini_below {
            let in_sector = self.sector_bytes / MINI_BYTES;
            let mut next = Some(entry.start).filter(|start| *start < LAST_SECTOR);
            while let Some(mini) = next
                && stream.len() < size
            {
                let Ok(at) = usize::try_from(mini) else { break };
                let Some(sector) = self.mini_stream.get(at / in_sector).and_then(|it| self.sector(*it))
                else {
                    break;
                };
                let from = at % in_sector * MINI_BYTES;
                let Some(part) = sector.get(from..) else { break };
                stream.extend(part.get(..MINI_BYTES).unwrap_or(part));
                next = self.entry(&self.mini_table, mini);
            }
        } else {
            let mut next = Some(entry.start).filter(|start| *start < LAST_SECTOR);
            while let Some(sector) = next
                && stream.len() < size
            {
                let Some(part) = self.sector(sector) else { break };
                stream.extend(part);
                next = self.next(sector);
            }
        }
        stream.truncate(size);
        Some(stream)
    }
}

impl Entry {
    fn read(entry: &[u8]) -> Option<Self> {
        let name_bytes = usize::from(u16_at(entry, 64)?).min(64);
        let mut name = utf16(entry.get(..name_bytes)?);
        name.truncate(name.trim_end_matches('\0').len());
        Some(Self {
            name,
            holds: if entry.get(66) == Some(&2) { Holds::Stream } else { Holds::Folder },
            class: entry.get(80..)?.first_chunk().copied()?,
            // The upper half is not to be believed in files of version 3.
            size: u64::try_from(usize_at(entry, 120)?).ok()?,
            parent: None,
            start: u32_at(entry, 116)?,
            left: u32_at(entry, 68)?,
            right: u32_at(entry, 72)?,
            child: u32_at(entry, 76)?,
        })
    }
}
