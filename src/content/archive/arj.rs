//! ARJ archives: the names alone, but for what is only stored.

use super::Kind;
use super::Names;
use super::bytes::byte;
use super::bytes::place;
use super::bytes::slice;
use super::bytes::u16;
use super::bytes::u32;
use super::opened::Go;
use super::opened::Opened;
use super::zip::names;
use super::zip::names::Charset;

pub(super) const SIGNATURE: &[u8] = b"\x60\xEA";
/// Bytes of a header at most.
const MAX_HEADER_BYTES: u16 = 2_600;
const MAX_FIELDS: usize = 100;

/// Whether one begins here: its header has the right sum.
pub(super) fn is_arj(bytes: &[u8]) -> bool {
    bytes.starts_with(SIGNATURE) && Header::read(bytes, 0).is_some_and(|header| header.kind == 2)
}

struct Header<'a> {
    flags: u8,
    method: u8,
    kind: u8,
    packed: usize,
    size: u64,
    name: &'a [u8],
    end: usize,
}

pub(super) fn open(opened: &mut Opened<'_, '_>) {
    let bytes = opened.bytes;
    let Some(main) = Header::read(bytes, 0) else { return opened.is(Kind::Damaged) };
    if main.flags & 4 != 0 {
        opened.is(Kind::Unscannable);
    }
    if main.flags & 1 != 0 {
        opened.is(Kind::EncryptedArchive);
    }
    let mut at = main.end;
    // A header of no bytes is the end.
    while slice(bytes, at, 4) != Some(b"\x60\xEA\0\0") {
        let Some(header) = Header::read(bytes, at) else { return opened.is(Kind::Damaged) };
        let mut found = Names::default();
        names::add(&mut found, header.name, Charset::Unsaid);
        let data = slice(bytes, header.end, header.packed);
        if header.flags & 1 != 0 {
            opened.is(Kind::EncryptedArchive);
        }
        if header.flags & 0xC != 0 {
            opened.is(Kind::Unscannable);
        }
        let go = match data {
            // Folders, labels of disks, chapters.
            _ if header.kind > 2 => Go::On,
            Some(data) if header.method == 0 && header.flags & 0xD == 0 => opened.stored(found, data),
            _ if header.flags & 1 != 0 => opened.list(found, header.size),
            _ => opened.packed_for_good(found, header.size),
        };
        if go == Go::Stop {
            return;
        }
        if data.is_none() {
            return opened.is(Kind::Damaged);
        }
        at = header.end + header.packed;
    }
}

impl<'a> Header<'a> {
    fn read(bytes: &'a [u8], at: usize) -> Option<Self> {
        (slice(bytes, at, 2)? == SIGNATURE).then_some(())?;
        let length = u16(bytes, at + 2)?;
        (30..=MAX_HEADER_BYTES).contains(&length).then_some(())?;
        let header = slice(bytes, at + 4, length.into())?;
        let mut end = at + 4 + header.len();
        (u32(bytes, end)? == crc32fast::hash(header)).then_some(())?;
        end += 4;
        for _ in 0..MAX_FIELDS {
            let more = usize::from(u16(bytes, end)?);
            end += 2;
            if more == 0 {
                let name = header.get(usize::from(byte(header, 0)?)..)?;
                return Some(Self {
                    flags: byte(header, 4)?,
                    method: byte(header, 5)?,
                    kind: byte(header, 6)?,
                    packed: place(u32(header, 12)?.into()),
                    size: u32(header, 16)?.into(),
                    name: name.get(..memchr::memchr(0, name)?)?,
                    end,
                });
            }
            end += more + 4;
        }
        None
    }
}
