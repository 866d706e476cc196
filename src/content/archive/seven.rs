//! 7z archives. Their headers are compressed themselves and may claim what they like,
//! so that is undone here, within bounds, before the library reads them.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;

use sevenz_rust2::Archive;
use sevenz_rust2::ArchiveEntry;
use sevenz_rust2::Block;
use sevenz_rust2::BlockDecoder;
use sevenz_rust2::Password;

use super::Kind;
use super::Names;
use super::bytes::byte;
use super::bytes::place;
use super::bytes::slice;
use super::bytes::u32;
use super::bytes::u64;
use super::codec::Decoder;
use super::codec::MAX_WINDOW_BYTES;
use super::codec::lzma2_window;
use super::opened::Go;
use super::opened::Opened;
use super::unpack::End;
use super::unpack::guarded;
use super::unpack::unpack;

pub(super) const SIGNATURE: &[u8] = b"7z\xBC\xAF\x27\x1C";
const START_BYTES: usize = 32;
/// Bytes of the header, unpacked: the library needs a hundred times as much memory.
const MAX_HEADER_BYTES: usize = 1 << 20;

const COPY: &[u8] = &[0];
const LZMA: &[u8] = &[3, 1, 1];
const LZMA2: &[u8] = &[0x21];
const PPMD: &[u8] = &[3, 4, 1];
const AES: &[u8] = &[6, 0xF1, 7, 1];

/// Whether one begins here: the first of its sums is right.
pub(super) fn is_seven(bytes: &[u8]) -> bool {
    bytes.starts_with(SIGNATURE) && slice(bytes, 12, 20).map(crc32fast::hash) == u32(bytes, 8)
}

pub(super) fn open(opened: &mut Opened<'_, '_>) {
    let mut source = match plain(opened) {
        Ok(source) => source,
        Err(kind) => return opened.cannot(kind),
    };
    let password = Password::empty();
    let archive = match guarded(|| Archive::read(&mut source, &password)) {
        Some(Ok(archive)) => archive,
        Some(Err(_)) => return opened.is(Kind::Damaged),
        None => return opened.gave_up(),
    };
    let mut of_block: BTreeMap<usize, Vec<&ArchiveEntry>> = BTreeMap::new();
    for (file, index) in archive.files.iter().zip(&archive.stream_map.file_block_index) {
        if let Some(index) = index {
            of_block.entry(*index).or_default().push(file);
        }
    }
    for (index, files) in of_block {
        if block(opened, &archive, index, &files, &mut source) == Go::Stop {
            return;
        }
    }
    for (file, block) in archive.files.iter().zip(&archive.stream_map.file_block_index) {
        if block.is_none() && !file.is_directory && opened.stored(names(file), b"") == Go::Stop {
            return;
        }
    }
}

/// The files of one block, which are compressed as one.
fn block(
    opened: &mut Opened<'_, '_>,
    archive: &Archive,
    index: usize,
    files: &[&ArchiveEntry],
    source: &mut Plain<'_>,
) -> Go {
    let password = Password::empty();
    let window = archive.blocks.get(index).map_or(Ok(0), window);
    let mut done = 0;
    let mut go = Go::On;
    if let Err(kind) = window {
        opened.cannot(kind);
    }
    if let Ok(window) = window {
        let read = guarded(|| {
            BlockDecoder::new(1, index, archive, &password, source).for_each_entries(&mut |file, source| {
                // Empty ones come later, all together.
                if !file.has_stream {
                    return Ok(true);
                }
                done += 1;
                let made;
                (go, made) =
                    opened.packed(names(file), file.size, Decoder { source: Box::new(source), window });
                // The rest of one that is too long, or damaged, is not unpacked to reach the next.
                Ok(go == Go::On && made == file.size)
            })
        });
        match read {
            Some(Ok(_)) => {}
            Some(Err(
                sevenz_rust2::Error::UnsupportedCompressionMethod(_) | sevenz_rust2::Error::Unsupported(_),
            )) => {
                opened.is(Kind::Unscannable);
            }
            Some(Err(_)) => opened.is(Kind::Damaged),
            None => opened.gave_up(),
        }
    }
    for file in files.iter().skip(done) {
        if go == Go::Stop {
            break;
        }
        go = opened.list(names(file), file.size);
    }
    go
}

fn names(file: &ArchiveEntry) -> Names {
    let mut names = Names::default();
    names.add(&file.name);
    names
}

/// What the decoders of a block look back at, or why they are not begun.
fn window(block: &Block) -> Result<u64, Kind> {
    let mut window = 0_u64;
    for coder in &block.coders {
        let properties = coder.properties();
        window += match coder.encoder_method_id() {
            AES => return Err(Kind::EncryptedArchive),
            LZMA | PPMD => u32(properties, 1).ok_or(Kind::Damaged)?.into(),
            LZMA2 => u64::from(byte(properties, 0).and_then(lzma2_window).ok_or(Kind::Damaged)?),
            _ => 0,
        };
    }
    if window > u64::from(MAX_WINDOW_BYTES) + (8 << 20) { Err(Kind::Limits) } else { Ok(window) }
}

/// The archive with a header that is not compressed.
fn plain<'a>(opened: &mut Opened<'a, '_>) -> Result<Plain<'a>, Kind> {
    let bytes = opened.bytes;
    if !is_seven(bytes) {
        return Err(Kind::Damaged);
    }
    let numbers = u64(bytes, 12).zip(u64(bytes, 20)).ok_or(Kind::Damaged)?;
    let (at, length) = (START_BYTES.saturating_add(place(numbers.0)), place(numbers.1));
    let header = slice(bytes, at, length).ok_or(Kind::Damaged)?;
    if header.is_empty() {
        return Ok(Plain::new(bytes, Vec::new()));
    }
    let packed = Packed::read(header);
    let plain = match packed {
        None if header.first() == Some(&0x17) => return Err(Kind::Damaged),
        None => {
            if header.len() > MAX_HEADER_BYTES {
                opened.budget.hit("a longer header of an archive than is read");
                return Err(Kind::Limits);
            }
            header.to_vec()
        }
        Some(packed) => packed.unpack(opened)?,
    };
    // The library would unpack another one by itself.
    if plain.first() == Some(&0x17) {
        return Err(Kind::Damaged);
    }
    Ok(Plain::new(bytes, plain))
}

/// Where a compressed header stands, and how it is compressed.
struct Packed {
    at: usize,
    length: usize,
    size: usize,
    method: Vec<u8>,
    properties: Vec<u8>,
}

impl Packed {
    /// Of one coder, or of two if one of them encrypts.
    fn read(header: &[u8]) -> Option<Self> {
        let mut fields = Fields(header);
        (fields.byte()? == 0x17 && fields.byte()? == 6).then_some(())?;
        let at = START_BYTES.checked_add(place(fields.number()?))?;
        let streams = fields.number()?;
        (streams == 1 && fields.byte()? == 9).then_some(())?;
        let length = place(fields.number()?);
        let mut next = fields.byte()?;
        if next == 0x0A {
            fields.sums()?;
            next = fields.byte()?;
        }
        // The end of this, then one folder that is not elsewhere.
        (next == 0 && fields.byte()? == 7 && fields.byte()? == 0x0B).then_some(())?;
        (fields.number()? == 1 && fields.byte()? == 0).then_some(())?;
        let coders = fields.number()?;
        (1..=4).contains(&coders).then_some(())?;
        let mut packed = Self { at, length, size: 0, method: Vec::new(), properties: Vec::new() };
        for _ in 0..coders {
            let flags = fields.byte()?;
            let method = fields.take(usize::from(flags & 0xF))?;
            if flags & 0x10 != 0 {
                fields.number()?;
                fields.number()?;
            }
            let length = if flags & 0x20 != 0 { fields.number()? } else { 0 };
            let properties = fields.take(place(length))?;
            if packed.method != AES {
                (packed.method, packed.properties) = (method.to_vec(), properties.to_vec());
            }
        }
        if packed.method == AES {
            return Some(packed);
        }
        (coders == 1 && fields.byte()? == 0x0C).then_some(())?;
        packed.size = place(fields.number()?);
        Some(packed)
    }

    fn unpack(&self, opened: &mut Opened<'_, '_>) -> Result<Vec<u8>, Kind> {
        let data = slice(opened.bytes, self.at, self.length).ok_or(Kind::Damaged)?;
        if self.size > MAX_HEADER_BYTES {
            opened.budget.hit("a longer header of an archive than is read");
            return Err(Kind::Limits);
        }
        let decoder: Box<dyn Read + '_> = match self.method.as_slice() {
            AES => return Err(Kind::EncryptedArchive),
            COPY => Box::new(data),
            LZMA => {
                let window = u32(&self.properties, 1).ok_or(Kind::Damaged)?;
                let properties = byte(&self.properties, 0).ok_or(Kind::Damaged)?;
                if window > MAX_WINDOW_BYTES {
                    return Err(Kind::Limits);
                }
                let size = self.size as u64;
                let reader = lzma_rust2::LzmaReader::new_with_props(data, size, properties, window, None);
                Box::new(reader.map_err(|_| Kind::Damaged)?)
            }
            LZMA2 => {
                let window = byte(&self.properties, 0).and_then(lzma2_window).ok_or(Kind::Damaged)?;
                if window > MAX_WINDOW_BYTES {
                    return Err(Kind::Limits);
                }
                Box::new(lzma_rust2::Lzma2Reader::new(data, window, None))
            }
            _ => return Err(Kind::Unscannable),
        };
        let mut decoder = decoder.take(self.size as u64);
        let (header, end) = unpack(&mut decoder, 0, self.size as u64, &mut opened.allowance, opened.budget);
        opened.budget.give_back(header.len() as u64);
        match end {
            End::Damaged => Err(Kind::Damaged),
            End::Limit => Err(Kind::Limits),
            End::Whole => Ok(header),
        }
    }
}

/// Numbers as 7z has them: the ones in front of the first byte tell how many follow.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number(&mut self) -> Option<u64> {
        let first = self.byte()?;
        let more = first.leading_ones();
        let lower = self.take(more as usize)?;
        let number = lower.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let upper = u64::from(first) & 0x7F_u64.checked_shr(more).unwrap_or(0);
        Some(number | upper.checked_shl(more * 8).unwrap_or(0))
    }

    /// The sum of one stream, if it is said.
    fn sums(&mut self) -> Option<()> {
        let all = self.byte()? != 0;
        let said = all || self.byte()? & 0x80 != 0;
        self.take(if said { 4 } else { 0 })?;
        Some(())
    }
}

/// The bytes of an archive with another beginning and another end.
struct Plain<'a> {
    start: [u8; START_BYTES],
    bytes: &'a [u8],
    header: Vec<u8>,
    at: u64,
}

impl<'a> Plain<'a> {
    fn new(bytes: &'a [u8], header: Vec<u8>) -> Self {
        let mut start = Cursor::new([0; START_BYTES]);
        let mut fields = Vec::with_capacity(20);
        let at = bytes.len().saturating_sub(START_BYTES) as u64;
        fields.extend_from_slice(&if header.is_empty() { 0 } else { at }.to_le_bytes());
        fields.extend_from_slice(&(header.len() as u64).to_le_bytes());
        fields.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
        let version = slice(bytes, 6, 2).unwrap_or(&[0, 4]);
        for piece in [SIGNATURE, version, &crc32fast::hash(&fields).to_le_bytes(), &fields] {
            // It fits: 6, 2, 4 and 20 bytes.
            let _ = std::io::Write::write_all(&mut start, piece);
        }
        Self { start: start.into_inner(), bytes, header, at: 0 }
    }

    fn len(&self) -> u64 {
        (self.bytes.len() + self.header.len()) as u64
    }
}

impl Read for Plain<'_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let at = place(self.at);
        let piece = if at < START_BYTES {
            self.start.get(at..)
        } else if at < self.bytes.len() {
            self.bytes.get(at..)
        } else {
            self.header.get(at - self.bytes.len()..)
        };
        let read = piece.unwrap_or_default().read(to)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Plain<'_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.len().checked_add_signed(by),
        };
        self.at = at.ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
