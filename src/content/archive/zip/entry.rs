//! One file of a zip archive: what the directory says of it and what stands before
//! its bytes.

use crate::content::Kind;
use crate::content::Names;
use crate::content::archive::bytes::byte;
use crate::content::archive::bytes::place;
use crate::content::archive::bytes::slice;
use crate::content::archive::bytes::u16;
use crate::content::archive::bytes::u32;
use crate::content::archive::bytes::u64;
use crate::content::archive::codec::Codec;
use crate::content::archive::codec::Decoder;
use crate::content::archive::zip::names;
use crate::content::archive::zip::names::Charset;

pub(super) const LOCAL: &[u8] = b"PK\x03\x04";
pub(super) const CENTRAL: &[u8] = b"PK\x01\x02";
const DESCRIPTOR: &[u8] = b"PK\x07\x08";
/// A number that stands in the extra field instead (APPNOTE, 4.5.3).
const ELSEWHERE: u64 = 0xFFFF_FFFF;

/// Of the flags (APPNOTE, 4.4.4).
const ENCRYPTED: u16 = 1;
const DESCRIBED_BEHIND: u16 = 1 << 3;
const UTF8: u16 = 1 << 11;
const MASKED: u16 = 1 << 13;

/// What both headers have.
#[derive(Clone, Debug, Default)]
pub(super) struct Header<'a> {
    pub name: &'a [u8],
    pub extra: &'a [u8],
    pub flags: u16,
    pub method: u16,
    pub sum: u32,
    pub packed: u64,
    pub size: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Entry<'a> {
    /// Of the directory, or where it has none, before the bytes.
    pub raw: &'a [u8],
    pub size: u64,
    /// It is only known behind the bytes, and no directory says it.
    pub is_size_unknown: bool,
    /// The two headers, where they are.
    pub central: Option<Header<'a>>,
    pub local: Option<Header<'a>>,
    /// Where its header begins, its bytes, and what follows.
    pub start: usize,
    pub data: usize,
    pub end: usize,
}

/// The bytes of a file.
pub(super) enum Stored<'a> {
    Packed(Decoder<'a>),
    Plain(&'a [u8]),
}

/// One of the directory, where its local header is said to be, and where it ends.
pub(super) fn central(bytes: &[u8], at: usize) -> Option<(Header<'_>, u64, usize)> {
    (slice(bytes, at, 4)? == CENTRAL).then_some(())?;
    let name = at + 46;
    let extra = name + usize::from(u16(bytes, at + 28)?);
    let comment = extra + usize::from(u16(bytes, at + 30)?);
    let end = comment + usize::from(u16(bytes, at + 32)?);
    bytes.get(..end)?;
    let mut header = header(bytes, at + 8, bytes.get(name..extra)?, bytes.get(extra..comment)?)?;
    let mut offset = u64::from(u32(bytes, at + 42)?);
    header.widen(Some(&mut offset));
    Some((header, offset, end))
}

/// One before the bytes of a file, and where those begin.
pub(super) fn local(bytes: &[u8], at: usize) -> Option<(Header<'_>, usize)> {
    (slice(bytes, at, 4)? == LOCAL).then_some(())?;
    let name = at + 30;
    let extra = name + usize::from(u16(bytes, at + 26)?);
    let data = extra + usize::from(u16(bytes, at + 28)?);
    let mut header = header(bytes, at + 6, bytes.get(name..extra)?, bytes.get(extra..data)?)?;
    header.widen(None);
    Some((header, data))
}

fn header<'a>(bytes: &[u8], at: usize, name: &'a [u8], extra: &'a [u8]) -> Option<Header<'a>> {
    Some(Header {
        name,
        extra,
        flags: u16(bytes, at)?,
        method: u16(bytes, at + 2)?,
        sum: u32(bytes, at + 8)?,
        packed: u32(bytes, at + 12)?.into(),
        size: u32(bytes, at + 16)?.into(),
    })
}

impl<'a> Header<'a> {
    /// Takes the numbers that did not fit (APPNOTE, 4.5.3).
    fn widen(&mut self, offset: Option<&mut u64>) {
        let Some(wide) = self.field(1) else { return };
        let mut at = 0;
        let numbers = [Some(&mut self.size), Some(&mut self.packed), offset];
        for number in numbers.into_iter().flatten().filter(|number| **number == ELSEWHERE) {
            if let Some(found) = u64(wide, at) {
                *number = found;
            }
            at += 8;
        }
    }

    /// Of the extra fields the first of this number.
    fn field(&self, wanted: u16) -> Option<&'a [u8]> {
        let mut at = 0;
        loop {
            let length = usize::from(u16(self.extra, at + 2)?);
            if u16(self.extra, at)? == wanted {
                return slice(self.extra, at + 4, length);
            }
            at += 4 + length;
        }
    }

    /// The name in Unicode that stands beside the other (APPNOTE, 4.6.9), and whether
    /// it is that of this name.
    fn unicode(&self) -> Option<(&'a [u8], bool)> {
        let field = self.field(0x7075)?;
        (byte(field, 0)? == 1).then_some(())?;
        Some((field.get(5..)?, u32(field, 1)? == crc32fast::hash(self.name)))
    }

    /// Adds its names; false if programs will not agree on them.
    fn name(&self, names: &mut Names) -> bool {
        let charset = if self.flags & UTF8 != 0 { Charset::Utf8 } else { Charset::Unsaid };
        let mut agreed = names::add(names, self.name, charset) && !self.name.contains(&0);
        if let Some((unicode, is_of_this)) = self.unicode() {
            agreed &= names::add(names, unicode, Charset::Utf8) && is_of_this;
            agreed &= ending(unicode).eq_ignore_ascii_case(ending(self.name));
        }
        agreed && !leaves_folder(self.name)
    }

    pub(super) fn is_described_behind(&self) -> bool {
        self.flags & DESCRIBED_BEHIND != 0
    }

    fn is_encrypted(&self) -> bool {
        self.flags & (ENCRYPTED | MASKED) != 0 || self.method == 99
    }
}

fn ending(name: &[u8]) -> &[u8] {
    memchr::memrchr(b'.', name).and_then(|dot| name.get(dot..)).unwrap_or_default()
}

/// Whether it is put elsewhere than below the folder that one unpacks into, by
/// programs that let it.
pub(in crate::content::archive) fn leaves_folder(name: &[u8]) -> bool {
    matches!(name, [b'/' | b'\\', ..] | [_, b':', b'/' | b'\\', ..])
        || name.split(|byte| matches!(byte, b'/' | b'\\')).any(|folder| folder == b"..")
}

impl<'a> Entry<'a> {
    pub(super) fn is_folder(&self) -> bool {
        matches!(self.raw.last(), Some(b'/' | b'\\'))
            && self.size == 0
            && self.headers().all(|header| {
                matches!(header.name.last(), Some(b'/' | b'\\')) && header.size == 0 && header.packed <= 2
            })
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.headers().any(Header::is_encrypted)
    }

    /// Bytes as they stand in the archive.
    pub(super) fn packed(&self) -> usize {
        self.end.saturating_sub(self.data)
    }

    fn headers(&self) -> impl Iterator<Item = &Header<'a>> {
        self.central.iter().chain(&self.local)
    }

    pub(super) fn names(&self) -> Names {
        let mut names = Names::default();
        for header in self.headers() {
            header.name(&mut names);
        }
        names
    }

    /// Whether all programs read the same of it.
    pub(super) fn is_agreed(&self, bytes: &[u8]) -> bool {
        let mut names = Names::default();
        if !self.headers().all(|header| header.name(&mut names)) {
            return false;
        }
        // A folder is no file, and a file no folder.
        if matches!(self.raw.last(), Some(b'/' | b'\\')) && !self.is_folder() {
            return false;
        }
        let (Some(central), Some(local)) = (&self.central, &self.local) else { return false };
        if (central.flags | local.flags) & MASKED != 0 {
            return true;
        }
        let same = central.name == local.name
            && central.method == local.method
            && (central.flags ^ local.flags)
                & (ENCRYPTED | UTF8 & if local.name.is_ascii() { 0 } else { UTF8 })
                == 0;
        if !same {
            return false;
        }
        if local.is_described_behind() {
            return is_described(bytes, self.end, central)
                && (local.size == 0 || local.size == ELSEWHERE || local.size == central.size)
                && (local.packed == 0 || local.packed == ELSEWHERE || local.packed == central.packed);
        }
        local.size == central.size && local.packed == central.packed
    }

    /// What holds its bytes, or what the archive is if none can be had.
    pub(super) fn stored(&self, bytes: &'a [u8]) -> Result<Stored<'a>, Kind> {
        let method = self.headers().next().map_or(0, |header| header.method);
        let data = bytes.get(self.data..self.end).ok_or(Kind::Damaged)?;
        let codec = match method {
            0 => return Ok(Stored::Plain(data)),
            8 => Codec::Deflate,
            12 => Codec::Bzip2,
            14 => Codec::LzmaInZip,
            93 => Codec::Zstd,
            95 => Codec::Xz,
            _ => return Err(Kind::Unscannable),
        };
        let decoder = codec.open(data)?;
        // Its end is marked or not; it never makes more than was said.
        if codec == Codec::LzmaInZip && !self.is_size_unknown {
            let source = Box::new(std::io::Read::take(decoder.source, self.size));
            return Ok(Stored::Packed(Decoder { source, ..decoder }));
        }
        Ok(Stored::Packed(decoder))
    }
}

/// Whether what stands behind the bytes of a file says the same as the directory:
/// with a signature or without, in four bytes or eight (APPNOTE, 4.3.9).
fn is_described(bytes: &[u8], end: usize, central: &Header<'_>) -> bool {
    let says = |at: usize| {
        u32(bytes, at) == Some(central.sum)
            && (u32(bytes, at + 4).map(u64::from) == Some(central.packed)
                && u32(bytes, at + 8).map(u64::from) == Some(central.size)
                || u64(bytes, at + 4) == Some(central.packed) && u64(bytes, at + 12) == Some(central.size))
    };
    slice(bytes, end, 4) == Some(DESCRIPTOR) && says(end + 4) || says(end)
}

/// Where what belongs to a file ends, if `entry` is described behind its bytes.
pub(super) fn behind_descriptor(bytes: &[u8], end: usize) -> usize {
    if slice(bytes, end, 4) == Some(DESCRIPTOR) { end + 16 } else { end }
}

/// A place as the directory tells it, in the whole file.
pub(super) fn shifted(offset: u64, prefix: usize) -> usize {
    place(offset).saturating_add(prefix)
}
