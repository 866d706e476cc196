//! LHA archives (`.lzh`), headers of levels 0 to 3: the names alone, but for what is
//! only stored.

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

/// Fields behind one header.
const MAX_FIELDS: usize = 1_000;

/// Whether a header of a file stands here.
pub(super) fn is_header(bytes: &[u8]) -> bool {
    matches!(slice(bytes, 2, 5), Some([b'-', b'l', b'h' | b'z' | b'p', _, b'-']))
        && matches!(byte(bytes, 20), Some(0..=3))
}

struct Header<'a> {
    method: &'a [u8],
    size: u64,
    name: Vec<u8>,
    folder: Vec<u8>,
    data: usize,
    packed: usize,
}

pub(super) fn open(opened: &mut Opened<'_, '_>) {
    let bytes = opened.bytes;
    let mut at = 0;
    // One byte of zero is the end.
    while !matches!(byte(bytes, at), None | Some(0)) {
        let Some(header) = Header::read(bytes, at) else { return opened.is(Kind::Damaged) };
        let mut found = Names::default();
        let folder = header.folder.iter().map(|byte| if *byte == 0xFF { b'/' } else { *byte });
        let name: Vec<u8> = folder.chain(header.name.iter().copied()).collect();
        names::add(&mut found, &name, Charset::Unsaid);
        let data = slice(bytes, header.data, header.packed);
        if data.is_none() {
            opened.is(Kind::Damaged);
        }
        let go = match data {
            _ if header.method == b"-lhd-" => Go::On,
            Some(data) if matches!(header.method, b"-lh0-" | b"-lz4-" | b"-pm0-") => {
                opened.stored(found, data)
            }
            _ => opened.packed_for_good(found, header.size),
        };
        if go == Go::Stop || data.is_none() {
            return;
        }
        at = header.data + header.packed;
    }
}

impl<'a> Header<'a> {
    fn read(bytes: &'a [u8], at: usize) -> Option<Self> {
        is_header(bytes.get(at..)?).then_some(())?;
        let level = byte(bytes, at + 20)?;
        let mut header = Self {
            method: slice(bytes, at + 2, 5)?,
            size: u32(bytes, at + 11)?.into(),
            name: Vec::new(),
            folder: Vec::new(),
            data: 0,
            packed: place(u32(bytes, at + 7)?.into()),
        };
        if level < 2 {
            let length = usize::from(byte(bytes, at + 21)?);
            header.name = slice(bytes, at + 22, length)?.to_vec();
            header.data = at + 2 + usize::from(byte(bytes, at)?);
        }
        match level {
            0 => {
                // Unix writes its own behind a NUL.
                let end = memchr::memchr(0, &header.name).unwrap_or(header.name.len());
                header.name.truncate(end);
            }
            1 => {
                // The packed size has the fields in it, each of which tells the size of the next.
                let fields = header.data;
                let behind = header.fields(bytes, fields.checked_sub(2)?, 2)?;
                header.packed = header.packed.checked_sub(behind - fields)?;
                header.data = behind;
            }
            2 => {
                header.fields(bytes, at + 24, 2)?;
                header.data = at + usize::from(u16(bytes, at)?);
            }
            _ => {
                header.fields(bytes, at + 28, 4)?;
                header.data = at.checked_add(place(u32(bytes, at + 24)?.into()))?;
            }
        }
        (header.data > at).then_some(header)
    }

    /// What stands in fields from `at`, where the size of the first is, in so many
    /// bytes; returns where they end.
    fn fields(&mut self, bytes: &[u8], mut at: usize, width: usize) -> Option<usize> {
        for _ in 0..MAX_FIELDS {
            let length = match width {
                2 => usize::from(u16(bytes, at)?),
                _ => place(u32(bytes, at)?.into()),
            };
            at += width;
            if length == 0 {
                return Some(at);
            }
            let field = slice(bytes, at, length.checked_sub(width)?)?;
            match field.split_first() {
                Some((1, name)) => self.name = name.to_vec(),
                Some((2, folder)) => self.folder = folder.to_vec(),
                _ => {}
            }
            at += field.len();
        }
        None
    }
}
