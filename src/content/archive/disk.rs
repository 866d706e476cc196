//! Raw images of disks: FAT, as floppies, sticks and small images have it, is listed;
//! one with partitions is known. Windows opens neither by a click unless it is within
//! a virtual disk, but other programs do.

use super::Kind;
use super::Names;
use super::bytes::byte;
use super::bytes::place;
use super::bytes::slice;
use super::bytes::u16;
use super::bytes::u32;
use super::format::is_boot_sector;
use super::opened::Go;
use super::opened::Opened;
use super::zip::names;
use super::zip::names::Charset;

const ENTRY_BYTES: usize = 32;
const MAX_FOLDERS: usize = 1_000;
/// As many as FAT allows.
const MAX_FOLDER_BYTES: usize = 2 << 20;
/// Letters in each piece of a long name, and pieces of one.
const PIECE: usize = 13;
const MAX_PIECES: usize = 20;

/// Whether a volume begins here whose numbers are possible.
pub(super) fn is_fat(bytes: &[u8]) -> bool {
    is_boot_sector(bytes) && matches!(byte(bytes, 0), Some(0xEB | 0xE9)) && Volume::read(bytes).is_some()
}

/// A table of partitions, each active or not, of which one has a size.
pub(super) fn has_partitions(bytes: &[u8]) -> bool {
    let entries = || (446..510).step_by(16);
    is_boot_sector(bytes)
        && entries().all(|at| matches!(byte(bytes, at), Some(0 | 0x80)))
        && entries().any(|at| {
            let sectors = u32(bytes, at + 12).unwrap_or(0);
            byte(bytes, at + 4) != Some(0)
                && sectors > 0
                && place(u32(bytes, at + 8).unwrap_or(u32::MAX).into()).saturating_mul(512) < bytes.len()
        })
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Width {
    Twelve,
    Sixteen,
    ThirtyTwo,
}

struct Volume {
    table: usize,
    /// Of FAT12 and FAT16: the first folder, in bytes.
    root: (usize, usize),
    /// Of FAT32: its cluster.
    root_cluster: u32,
    data: usize,
    cluster: usize,
    clusters: u32,
    width: Width,
}

impl Volume {
    fn read(bytes: &[u8]) -> Option<Self> {
        let sector = usize::from(u16(bytes, 11)?);
        matches!(sector, 512 | 1_024 | 2_048 | 4_096).then_some(())?;
        let per_cluster = usize::from(byte(bytes, 13)?);
        per_cluster.is_power_of_two().then_some(())?;
        let table = usize::from(u16(bytes, 14)?);
        let tables = usize::from(byte(bytes, 16)?);
        (table > 0 && (1..=2).contains(&tables)).then_some(())?;
        let root = usize::from(u16(bytes, 17)?) * ENTRY_BYTES;
        let small = |short: usize, long: usize| match u16(bytes, short)? {
            0 => u32(bytes, long).map(u64::from),
            short => Some(short.into()),
        };
        let sectors = place(small(19, 32)?);
        let length = place(small(22, 36)?);
        let first = table.checked_add(tables.checked_mul(length)?)?;
        let data = first + root.div_ceil(sector);
        let clusters = u32::try_from(sectors.checked_sub(data)? / per_cluster).ok()?;
        let width = match clusters {
            0 => return None,
            1..4_085 => Width::Twelve,
            4_085..65_525 => Width::Sixteen,
            _ => Width::ThirtyTwo,
        };
        Some(Self {
            table: table * sector,
            root: (first.checked_mul(sector)?, root),
            root_cluster: if width == Width::ThirtyTwo { u32(bytes, 44)? } else { 0 },
            data: data.checked_mul(sector)?,
            cluster: per_cluster * sector,
            clusters,
            width,
        })
    }

    /// What follows a cluster; none at the end.
    fn next(&self, bytes: &[u8], cluster: u32) -> Option<u32> {
        let index = cluster as usize;
        let next = match self.width {
            Width::Twelve => {
                let pair = u16(bytes, self.table + index + index / 2)?;
                u32::from(if index.is_multiple_of(2) { pair & 0xFFF } else { pair >> 4 })
            }
            Width::Sixteen => u16(bytes, self.table + index * 2)?.into(),
            Width::ThirtyTwo => u32(bytes, self.table + index * 4)? & 0x0FFF_FFFF,
        };
        (2..self.clusters.saturating_add(2)).contains(&next).then_some(next)
    }

    /// The clusters from `first`, as many bytes as `length` or the chain has.
    fn gather(&self, bytes: &[u8], first: u32, length: usize) -> Vec<u8> {
        let mut gathered = Vec::new();
        let mut cluster = Some(first).filter(|first| *first >= 2);
        // A chain may be a circle: no file has more than all.
        for _ in 0..self.clusters {
            let Some(at) = cluster else { break };
            let start = (at as usize - 2).saturating_mul(self.cluster).saturating_add(self.data);
            let Some(piece) = slice(bytes, start, self.cluster) else { break };
            gathered.extend_from_slice(piece);
            if gathered.len() >= length {
                break;
            }
            cluster = self.next(bytes, at);
        }
        gathered.truncate(length);
        gathered
    }
}

pub(super) fn open(opened: &mut Opened<'_, '_>) {
    let bytes = opened.bytes;
    let Some(volume) = Volume::read(bytes) else { return opened.is(Kind::Damaged) };
    // None: the first one, which stands apart.
    let mut folders = vec![(volume.width == Width::ThirtyTwo).then_some(volume.root_cluster)];
    let mut known = std::collections::BTreeSet::new();
    while let Some(folder) = folders.pop() {
        let folder = match folder {
            Some(cluster) => volume.gather(bytes, cluster, MAX_FOLDER_BYTES),
            None => slice(bytes, volume.root.0, volume.root.1).unwrap_or_default().to_vec(),
        };
        if opened.charge(folder.len()) == Go::Stop {
            return;
        }
        if folder.len() >= MAX_FOLDER_BYTES {
            let _ = opened.limit("more of a folder of a disc than is read");
        }
        let mut long = LongName::default();
        for entry in folder.chunks_exact(ENTRY_BYTES) {
            match (byte(entry, 0), byte(entry, 11)) {
                (Some(0), _) => break,
                (Some(0xE5), _) => {
                    long = LongName::default();
                    continue;
                }
                (_, Some(0x0F)) => {
                    long.piece(entry);
                    continue;
                }
                _ => {}
            }
            let names = names_of(entry, &std::mem::take(&mut long));
            let attributes = byte(entry, 11).unwrap_or(0);
            let first = u32::from(u16(entry, 20).unwrap_or(0)) << 16 | u32::from(u16(entry, 26).unwrap_or(0));
            let first = if volume.width == Width::ThirtyTwo { first } else { first & 0xFFFF };
            if attributes & 8 != 0 || entry.starts_with(b".") {
                continue;
            }
            if attributes & 0x10 != 0 {
                if known.insert(first) {
                    if known.len() > MAX_FOLDERS {
                        let _ = opened.limit("more folders of a disc than are read");
                        return;
                    }
                    folders.push(Some(first));
                }
                continue;
            }
            let length = place(u32(entry, 28).unwrap_or(0).into());
            if opened.charge(length.min(bytes.len())) == Go::Stop {
                if opened.list(names, length as u64) == Go::Stop {
                    return;
                }
                continue;
            }
            let content = volume.gather(bytes, first, length.min(bytes.len()));
            if content.len() < length {
                opened.is(Kind::Damaged);
            }
            if opened.stored(names, &content) == Go::Stop {
                return;
            }
        }
    }
}

fn names_of(entry: &[u8], long: &LongName) -> Names {
    let mut found = Names::default();
    if !long.0.is_empty() {
        found.add(&long.text());
    }
    let stem = slice(entry, 0, 8).unwrap_or_default().trim_ascii_end();
    let ending = slice(entry, 8, 3).unwrap_or_default().trim_ascii_end();
    let mut short = stem.to_vec();
    if !ending.is_empty() {
        short.push(b'.');
        short.extend_from_slice(ending);
    }
    names::add(&mut found, &short, Charset::Unsaid);
    found
}

/// A long name, whose pieces stand before the short one, the last first.
#[derive(Default)]
struct LongName(Vec<[u16; PIECE]>);

impl LongName {
    fn piece(&mut self, entry: &[u8]) {
        let mut piece = [0xFFFF; PIECE];
        let places = [(1, 5), (14, 6), (28, 2)];
        let units = places.iter().flat_map(|(at, count)| (0..*count).map(move |index| at + index * 2));
        for (to, at) in piece.iter_mut().zip(units) {
            *to = u16(entry, at).unwrap_or(0xFFFF);
        }
        if self.0.len() < MAX_PIECES {
            self.0.push(piece);
        }
    }

    fn text(&self) -> String {
        let units = self.0.iter().rev().flatten().copied().take_while(|unit| !matches!(unit, 0 | 0xFFFF));
        String::from_utf16_lossy(&units.collect::<Vec<_>>())
    }
}
