//! Microsoft's cabinets. Files stand one after another in folders, which are
//! compressed as a whole: each folder is unpacked once, and the files are pieces of it.

use std::io::Read;

use lzxd::Lzxd;
use lzxd::WindowSize;

use super::Kind;
use super::Names;
use super::bytes::byte;
use super::bytes::place;
use super::bytes::slice;
use super::bytes::u16;
use super::bytes::u32;
use super::opened::Go;
use super::opened::Opened;
use super::unpack::End;
use super::unpack::unpack;
use super::zip::names;
use super::zip::names::Charset;

/// MSZIP looks back so far, over the borders of its blocks.
const MSZIP_WINDOW_BYTES: usize = 32 << 10;

/// What a block is charged as, beside what it makes.
const BLOCK_COST_BYTES: usize = 16 << 10;

/// A folder and the files in it.
struct Folder<'a> {
    data: usize,
    blocks: usize,
    compression: u16,
    files: Vec<File<'a>>,
}

struct File<'a> {
    name: &'a [u8],
    is_utf8: bool,
    start: usize,
    length: usize,
}

struct Cabinet<'a> {
    folders: Vec<Folder<'a>>,
    /// Bytes before the data of each block that others may use.
    reserved: usize,
    is_part: bool,
    is_damaged: bool,
}

/// Whether one begins here that can be read.
pub(super) fn is_cabinet(bytes: &[u8]) -> bool {
    bytes.starts_with(b"MSCF\0\0\0\0")
        && slice(bytes, 24, 2) == Some(&[3, 1])
        && Cabinet::read(bytes).is_some()
}

pub(super) fn open(opened: &mut Opened<'_, '_>) {
    let Some(cabinet) = Cabinet::read(opened.bytes) else { return opened.is(Kind::Damaged) };
    if cabinet.is_part {
        opened.is(Kind::Unscannable);
    }
    if cabinet.is_damaged {
        opened.is(Kind::Damaged);
    }
    for folder in &cabinet.folders {
        if unpack_folder(opened, folder, cabinet.reserved) == Go::Stop {
            return;
        }
    }
}

fn unpack_folder(opened: &mut Opened<'_, '_>, folder: &Folder<'_>, reserved: usize) -> Go {
    // Blocks cost time even if nothing is in them, and folders may share them.
    if folder.files.is_empty() {
        return Go::On;
    }
    if opened.charge(folder.blocks.saturating_mul(BLOCK_COST_BYTES)) == Go::Stop {
        return Go::Stop;
    }
    let mut blocks = Blocks {
        bytes: opened.bytes,
        at: folder.data,
        left: folder.blocks,
        reserved,
        compression: Compression::of(folder.compression),
        made: Vec::new(),
        taken: 0,
    };
    let (bytes, end) = if matches!(blocks.compression, Compression::Unknown) {
        opened.is(Kind::Unscannable);
        (Vec::new(), End::Whole)
    } else {
        unpack(&mut blocks, 0, 0, &mut opened.allowance, opened.budget)
    };
    match end {
        End::Damaged => opened.is(Kind::Damaged),
        End::Limit => opened.is(Kind::Limits),
        End::Whole => {}
    }
    let mut go = Go::On;
    for file in &folder.files {
        let charset = if file.is_utf8 { Charset::Utf8 } else { Charset::Unsaid };
        let mut found = Names::default();
        names::add(&mut found, file.name, charset);
        let whole = slice(&bytes, file.start, file.length);
        let part = whole.or(bytes.get(file.start..).filter(|part| !part.is_empty()));
        go = match part {
            Some(part) => opened.stored(found, part),
            None => opened.list(found, file.length as u64),
        };
        if go == Go::Stop {
            break;
        }
    }
    opened.budget.give_back(bytes.len() as u64);
    go
}

impl<'a> Cabinet<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let first_file = place(u32(bytes, 16)?.into());
        let (folders, files, flags) = (u16(bytes, 26)?, u16(bytes, 28)?, u16(bytes, 30)?);
        let (mut at, mut of_folder, mut reserved) = (36, 0, 0);
        if flags & 4 != 0 {
            of_folder = usize::from(byte(bytes, 38)?);
            reserved = usize::from(byte(bytes, 39)?);
            at = 40 + usize::from(u16(bytes, 36)?);
        }
        // Names of the cabinets before and behind, and of their disks.
        for _ in 0..(flags & 3).count_ones() * 2 {
            at += memchr::memchr(0, bytes.get(at..)?)? + 1;
        }
        let mut cabinet = Self { folders: Vec::new(), reserved, is_part: flags & 3 != 0, is_damaged: false };
        for _ in 0..folders {
            cabinet.folders.push(Folder {
                data: place(u32(bytes, at)?.into()),
                blocks: usize::from(u16(bytes, at + 4)?),
                compression: u16(bytes, at + 6)?,
                files: Vec::new(),
            });
            at += 8 + of_folder;
        }
        at = first_file;
        for _ in 0..files {
            let Some(next) = cabinet.file(bytes, at) else {
                cabinet.is_damaged = true;
                break;
            };
            at = next;
        }
        Some(cabinet)
    }

    fn file(&mut self, bytes: &'a [u8], at: usize) -> Option<usize> {
        let index = u16(bytes, at + 8)?;
        let name = bytes.get(at + 16..)?;
        let name = name.get(..memchr::memchr(0, name)?)?;
        let file = File {
            name,
            is_utf8: u16(bytes, at + 14)? & 0x80 != 0,
            start: place(u32(bytes, at + 4)?.into()),
            length: place(u32(bytes, at)?.into()),
        };
        // From the cabinet before: the first folder; into the next: the last.
        let folder = match index {
            0xFFFD | 0xFFFF => self.folders.first_mut(),
            0xFFFE => self.folders.last_mut(),
            _ => self.folders.get_mut(usize::from(index)),
        };
        self.is_part |= index >= 0xFFFD;
        folder?.files.push(file);
        Some(at + 16 + name.len() + 1)
    }
}

enum Compression {
    None,
    /// With what was made last.
    MsZip(Vec<u8>),
    Lzx(Box<Lzxd>),
    Unknown,
}

impl Compression {
    fn of(bits: u16) -> Self {
        let window = match bits >> 8 & 0x1F {
            15 => WindowSize::KB32,
            16 => WindowSize::KB64,
            17 => WindowSize::KB128,
            18 => WindowSize::KB256,
            19 => WindowSize::KB512,
            20 => WindowSize::MB1,
            _ => WindowSize::MB2,
        };
        match bits & 0xF {
            0 => Self::None,
            1 => Self::MsZip(Vec::new()),
            3 if (15..=21).contains(&(bits >> 8 & 0x1F)) => Self::Lzx(Box::new(Lzxd::new(window))),
            _ => Self::Unknown,
        }
    }

    fn unpack(&mut self, packed: &[u8], size: usize) -> Option<Vec<u8>> {
        match self {
            Self::None => Some(packed.to_vec()),
            Self::MsZip(window) => {
                // What was made before stands in front as a block that is only stored.
                let length = u16::try_from(window.len()).ok()?;
                let mut source = vec![0];
                source.extend_from_slice(&length.to_le_bytes());
                source.extend_from_slice(&(!length).to_le_bytes());
                source.extend_from_slice(window);
                source.extend_from_slice(packed.strip_prefix(b"CK")?);
                let mut made = Vec::with_capacity(window.len() + size);
                flate2::bufread::DeflateDecoder::new(source.as_slice())
                    .take((window.len() + size) as u64)
                    .read_to_end(&mut made)
                    .ok()?;
                let block = made.split_off(window.len().min(made.len()));
                let kept = made.len() + block.len();
                made.extend_from_slice(&block);
                *window = made.split_off(kept.saturating_sub(MSZIP_WINDOW_BYTES));
                Some(block)
            }
            Self::Lzx(decoder) => decoder.decompress_next(packed, size).ok().map(<[u8]>::to_vec),
            Self::Unknown => None,
        }
    }
}

/// The blocks of one folder, each of at most 64 KiB.
struct Blocks<'a> {
    bytes: &'a [u8],
    at: usize,
    left: usize,
    reserved: usize,
    compression: Compression,
    made: Vec<u8>,
    taken: usize,
}

impl Blocks<'_> {
    fn next(&mut self) -> Option<Vec<u8>> {
        let packed = usize::from(u16(self.bytes, self.at + 4)?);
        let size = usize::from(u16(self.bytes, self.at + 6)?);
        let data = self.at + 8 + self.reserved;
        let block = slice(self.bytes, data, packed)?;
        self.at = data + packed;
        self.compression.unpack(block, size)
    }
}

impl Read for Blocks<'_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        while self.taken >= self.made.len() {
            if self.left == 0 {
                return Ok(0);
            }
            self.left -= 1;
            self.made = self.next().ok_or(std::io::ErrorKind::InvalidData)?;
            self.taken = 0;
        }
        let rest = self.made.get(self.taken..).unwrap_or_default();
        let taken = rest.len().min(to.len());
        for (space, byte) in to.iter_mut().zip(rest) {
            *space = *byte;
        }
        self.taken += taken;
        Ok(taken)
    }
}
