//! Decoders, each behind the same face: compressed bytes in, a reader out. What one
//! needs of memory is capped by what it says of itself before it begins.

use std::io::Read;

use ruzstd::decoding::FrameDecoder;
use ruzstd::decoding::StreamingDecoder;
use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::errors::ReadFrameHeaderError;

use super::Kind;
use super::bytes::byte;
use super::bytes::slice;
use super::bytes::u32;

/// Bytes that a decoder looks back (64 MiB: what `xz -9` wants).
pub(super) const MAX_WINDOW_BYTES: u32 = 64 << 20;
/// Of zstd, which tells it frame by frame (`zstd -19` wants 8 MiB).
const MAX_ZSTD_WINDOW_BYTES: u64 = 32 << 20;
/// Blocks of xz may follow with windows of their own: this much each of them gets.
const LITTLE_WINDOW_BYTES: u32 = 8 << 20;
/// [`MAX_WINDOW_BYTES`] as memory in KiB, with what the decoder has beside it.
const MAX_LZMA_KILOBYTES: u32 = (MAX_WINDOW_BYTES >> 10) + 1_024;

/// Files of one kind that stand in each other's wake, as gzip and its kin take them for
/// one: each costs time, even if nothing is in it. (`bgzip` begins one every 64 KiB.)
const MAX_PIECES: usize = 10_000;
/// The same where the decoder goes on by itself, in what it asks of its input.
const MAX_READS: usize = 200_000;

/// Makes bytes, with so many in memory that it looks back at.
pub(super) struct Decoder<'a> {
    pub source: Box<dyn Read + 'a>,
    pub window: u64,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(source: impl Read + 'a, window: u32) -> Self {
        Self { source: Box::new(source), window: window.into() }
    }
}

/// One compression, alone or within a zip archive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Codec {
    Bzip2,
    Compress,
    Deflate,
    Gzip,
    Lzip,
    /// With its 13 bytes of header.
    Lzma,
    /// As zip has it.
    LzmaInZip,
    Xz,
    Zstd,
}

impl Codec {
    /// What it is if it wants more memory than it gets, or does not even begin right.
    pub(super) fn open(self, bytes: &[u8]) -> Result<Decoder<'_>, Kind> {
        match self {
            Self::Bzip2 => Ok(Decoder::new(Pieces::of(bytes, Bzip2::new, Bzip2::into_inner, b"BZh"), 0)),
            Self::Compress => super::compress::Decoder::new(bytes)
                .map(|decoder| Decoder::new(decoder, 0))
                .ok_or(Kind::Damaged),
            Self::Deflate => Ok(Decoder::new(flate2::bufread::DeflateDecoder::new(bytes), 0)),
            Self::Gzip => Ok(Decoder::new(Pieces::of(bytes, Gzip::new, Gzip::into_inner, b"\x1F\x8B"), 0)),
            Self::Lzip => {
                // A power of two less some sixteenths.
                let bits = byte(bytes, 5).ok_or(Kind::Damaged)? & 31;
                let window = possible(1_u32.checked_shl(bits.into()).unwrap_or(u32::MAX))?;
                Ok(Decoder::new(lzma_rust2::LzipReader::new(Paced::of(bytes)), window))
            }
            Self::Lzma => {
                let window = possible(u32(bytes, 1).ok_or(Kind::Damaged)?)?;
                let reader = lzma_rust2::LzmaReader::new_mem_limit(bytes, MAX_LZMA_KILOBYTES, None);
                Ok(Decoder::new(reader.map_err(|_| Kind::Damaged)?, window))
            }
            Self::LzmaInZip => lzma_in_zip(bytes),
            Self::Xz => {
                let window = possible(xz_window(bytes).unwrap_or(0))?;
                let kilobytes = (window.max(LITTLE_WINDOW_BYTES) >> 10) + 1_024;
                let reader = lzma_rust2::XzReader::new_mem_limit(Paced::of(bytes), true, kilobytes);
                Ok(Decoder::new(reader, window))
            }
            Self::Zstd => Ok(Decoder::new(Zstd { rest: bytes, frame: None, left: MAX_PIECES }, 0)),
        }
    }
}

fn possible(window: u32) -> Result<u32, Kind> {
    if window > MAX_WINDOW_BYTES { Err(Kind::Limits) } else { Ok(window) }
}

/// What the size of a window is written as for LZMA2.
pub(super) fn lzma2_window(bits: u8) -> Option<u32> {
    match bits {
        40 => Some(u32::MAX),
        0..40 => Some((2 | u32::from(bits & 1)) << (bits / 2 + 11)),
        _ => None,
    }
}

/// That of the first block: behind the header of the stream, its size, its flags, its
/// sizes if they are told, and other filters.
fn xz_window(bytes: &[u8]) -> Option<u32> {
    let header = slice(bytes, 12, (usize::from(byte(bytes, 12)?) + 1) * 4)?;
    let mut at = 2;
    let flags = byte(header, 1)?;
    for _ in 0..(flags >> 6).count_ones() {
        while byte(header, at)? & 0x80 != 0 {
            at += 1;
        }
        at += 1;
    }
    for _ in 0..=(flags & 3) {
        let length = usize::from(byte(header, at + 1)?);
        if byte(header, at)? == 0x21 {
            return lzma2_window(byte(header, at + 2)?);
        }
        at += 2 + length;
    }
    None
}

/// APPNOTE, 5.8.8: the version of an SDK, the length of properties, properties.
fn lzma_in_zip(bytes: &[u8]) -> Result<Decoder<'_>, Kind> {
    if slice(bytes, 2, 2) != Some(&[5, 0]) {
        return Err(Kind::Damaged);
    }
    let window = possible(u32(bytes, 5).ok_or(Kind::Damaged)?)?;
    let (properties, rest) = byte(bytes, 4).zip(bytes.get(9..)).ok_or(Kind::Damaged)?;
    let reader = lzma_rust2::LzmaReader::new_with_props(rest, u64::MAX, properties, window, None);
    Ok(Decoder::new(reader.map_err(|_| Kind::Damaged)?, window))
}

type Bzip2<'a> = bzip2::bufread::BzDecoder<&'a [u8]>;
type Gzip<'a> = flate2::bufread::GzDecoder<&'a [u8]>;

/// One after another.
struct Pieces<'a, D> {
    piece: Option<D>,
    begin: fn(&'a [u8]) -> D,
    end: fn(D) -> &'a [u8],
    signature: &'static [u8],
    left: usize,
}

impl<'a, D> Pieces<'a, D> {
    fn of(
        bytes: &'a [u8],
        begin: fn(&'a [u8]) -> D,
        end: fn(D) -> &'a [u8],
        signature: &'static [u8],
    ) -> Self {
        Self { piece: Some(begin(bytes)), begin, end, signature, left: MAX_PIECES }
    }
}

impl<D: Read> Read for Pieces<'_, D> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let Some(piece) = &mut self.piece else { return Ok(0) };
            let read = piece.read(to)?;
            if read > 0 {
                return Ok(read);
            }
            let rest = self.piece.take().map(self.end).unwrap_or_default();
            // Something else behind it is not read by anyone.
            if !rest.starts_with(self.signature) {
                return Ok(0);
            }
            self.left = self.left.checked_sub(1).ok_or(std::io::ErrorKind::QuotaExceeded)?;
            self.piece = Some((self.begin)(rest));
        }
    }
}

/// Input that is asked for so often and no more.
struct Paced<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Paced<'a> {
    fn of(rest: &'a [u8]) -> Self {
        Self { rest, left: MAX_READS }
    }
}

impl Read for Paced<'_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        self.left = self.left.checked_sub(1).ok_or(std::io::ErrorKind::QuotaExceeded)?;
        self.rest.read(to)
    }
}

/// Frames one after another, some of them to be skipped (RFC 8878, 3.1).
struct Zstd<'a> {
    rest: &'a [u8],
    frame: Option<StreamingDecoder<&'a [u8], FrameDecoder>>,
    left: usize,
}

impl Read for Zstd<'_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        loop {
            if let Some(frame) = &mut self.frame {
                let read = frame.read(to)?;
                if read > 0 {
                    return Ok(read);
                }
            }
            if let Some(frame) = self.frame.take() {
                self.rest = frame.into_inner();
            }
            if self.rest.is_empty() {
                return Ok(0);
            }
            self.left = self.left.checked_sub(1).ok_or(std::io::ErrorKind::QuotaExceeded)?;
            match StreamingDecoder::new_with_max_window_size(self.rest, MAX_ZSTD_WINDOW_BYTES) {
                Ok(frame) => self.frame = Some(frame),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let rest = self.rest.get(8..).and_then(|rest| rest.get(length as usize..));
                    self.rest = rest.ok_or(std::io::ErrorKind::UnexpectedEof)?;
                }
                Err(FrameDecoderError::WindowSizeTooBig { .. }) => {
                    return Err(std::io::ErrorKind::OutOfMemory.into());
                }
                Err(_) => return Err(std::io::ErrorKind::InvalidData.into()),
            }
        }
    }
}
