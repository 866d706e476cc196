//! Decoders, each behind the same face: compressed bytes in, a reader out. What one
//! needs of memory is capped by what it says of itself before it begins.

use std::io::Read;

use ruzstd::decoding::FrameDecoder;
use ruzstd::decoding::StreamingDecoder;
use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::errors::ReadFrameHeaderError;

use super::bytes::byte;
use super::bytes::slice;
use super::bytes::u32;

/// Bytes that a decoder looks back (64 MiB: what `xz -9` wants).
pub(in crate::content) const MAX_WINDOW_BYTES: u32 = 64 << 20;
/// The same as memory in KiB, with what the decoder has beside it.
const MAX_LZMA_KILOBYTES: u32 = (MAX_WINDOW_BYTES >> 10) + 1_024;

pub(super) type Decoder<'a> = Box<dyn Read + 'a>;

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
    /// None if it wants more memory than it gets, or does not even begin right.
    pub(super) fn open(self, bytes: &[u8]) -> Option<Decoder<'_>> {
        Some(match self {
            Self::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(bytes)),
            Self::Compress => Box::new(super::compress::Decoder::new(bytes)?),
            Self::Deflate => Box::new(flate2::bufread::DeflateDecoder::new(bytes)),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(bytes)),
            Self::Lzip => {
                // The window is a power of two less some sixteenths.
                (byte(bytes, 5)? & 31 <= 26).then_some(())?;
                Box::new(lzma_rust2::LzipReader::new(bytes))
            }
            Self::Lzma => {
                Box::new(lzma_rust2::LzmaReader::new_mem_limit(bytes, MAX_LZMA_KILOBYTES, None).ok()?)
            }
            Self::LzmaInZip => lzma_in_zip(bytes)?,
            Self::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(bytes, true, MAX_LZMA_KILOBYTES)),
            Self::Zstd => Box::new(Zstd { rest: bytes, frame: None }),
        })
    }
}

/// APPNOTE, 5.8.8: the version of an SDK, the length of properties, properties.
fn lzma_in_zip(bytes: &[u8]) -> Option<Decoder<'_>> {
    (slice(bytes, 2, 2)? == [5, 0]).then_some(())?;
    let window = u32(bytes, 5)?;
    (window <= MAX_WINDOW_BYTES).then_some(())?;
    let rest = bytes.get(9..)?;
    let reader = lzma_rust2::LzmaReader::new_with_props(rest, u64::MAX, byte(bytes, 4)?, window, None);
    Some(Box::new(reader.ok()?))
}

/// Frames one after another, some of them to be skipped (RFC 8878, 3.1).
struct Zstd<'a> {
    rest: &'a [u8],
    frame: Option<StreamingDecoder<&'a [u8], FrameDecoder>>,
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
            match StreamingDecoder::new_with_max_window_size(self.rest, u64::from(MAX_WINDOW_BYTES)) {
                Ok(frame) => self.frame = Some(frame),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let rest = self.rest.get(8..).and_then(|rest| rest.get(length as usize..));
                    self.rest = rest.ok_or(std::io::ErrorKind::UnexpectedEof)?;
                }
                Err(error) => return Err(std::io::Error::other(error.to_string())),
            }
        }
    }
}
