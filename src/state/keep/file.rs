//! The files in which the state is kept: a head, then blocks, each with its length, its
//! checksum and what all clocks said when it was begun, so that no block needs another.
//!
//! They are our own, but a disk may have damaged them and anybody with root have put
//! others in their place. A block has at most [`MAX_BLOCK_BYTES`]; nothing is read that
//! does not sum up.

use super::super::clock::Nanos;
use super::super::clock::Reading;
use super::fields::Output;
use std::io;
use std::io::Read;

/// What a reader of this version understands. A higher one says that something can't
/// be read as before; a new kind of record needs none.
pub(super) const VERSION: u16 = 1;

const MAGIC: &[u8; 8] = b"gatepost";
const HEAD_BYTES: usize = 32;

/// Length and sum.
const FRAME_BYTES: usize = 8;
const READING_BYTES: usize = 40;

/// Twice what is ever written at once: 64 keys with all windows there may be, in all
/// their parts.
const MAX_BLOCK_BYTES: usize = 8 << 20;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum What {
    Journal,
    Snapshot,
}

/// How a file begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Head {
    pub what: What,
    /// A journal's own number; of a snapshot that of the first journal that goes on
    /// from it.
    pub number: u64,
    /// Differs for each process that writes: the times of one are told by one clock.
    pub run: u64,
}

/// Why a file, or the rest of it, can't be read.
#[derive(Debug)]
pub(super) enum Bad {
    /// It is none of ours, or a head that nobody wrote.
    Foreign,
    Newer(u16),
    /// A block's sum is wrong.
    Damaged,
    /// It ends within a block: what a stop in the midst of writing leaves.
    Torn,
    Io(io::Error),
}

impl std::fmt::Display for Bad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Foreign => f.write_str("it is no file of gatepost's state"),
            Self::Newer(version) => {
                write!(f, "it is of version {version}, written by a newer gatepost; this one reads {VERSION}")
            }
            Self::Damaged => f.write_str("a checksum is wrong"),
            Self::Torn => f.write_str("its end is missing"),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

impl Head {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(match self.what {
            What::Journal => b"j\0",
            What::Snapshot => b"s\0",
        });
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.run.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    fn read(from: &mut impl Read) -> Result<Self, Bad> {
        let mut bytes = [0; HEAD_BYTES];
        match fill(from, &mut bytes)? {
            0 => return Err(Bad::Torn),
            HEAD_BYTES => {}
            some => {
                let is_ours = bytes.iter().zip(MAGIC).take(some).all(|(byte, magic)| byte == magic);
                return Err(if is_ours { Bad::Torn } else { Bad::Foreign });
            }
        }
        let mut fields = Fields(&bytes);
        if fields.take::<8>() != *MAGIC {
            return Err(Bad::Foreign);
        }
        // First, since all after it may be otherwise there.
        let version = u16::from_le_bytes(fields.take());
        if version > VERSION {
            return Err(Bad::Newer(version));
        }
        let what = match &fields.take::<2>() {
            b"j\0" => What::Journal,
            b"s\0" => What::Snapshot,
            _ => return Err(Bad::Foreign),
        };
        let (number, run) = (u64::from_le_bytes(fields.take()), u64::from_le_bytes(fields.take()));
        let head = Self { what, number, run };
        if version != VERSION || head.to_bytes() != bytes {
            return Err(Bad::Foreign);
        }
        Ok(head)
    }
}

/// A block, as it stands in a file.
pub(super) fn block(reading: Reading, records: &Output) -> Vec<u8> {
    let length = READING_BYTES + records.bytes().len();
    let mut bytes = Vec::with_capacity(FRAME_BYTES + length);
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    for part in [reading.nanos, reading.wall, reading.uptime] {
        bytes.extend_from_slice(&part.to_le_bytes());
    }
    bytes.extend_from_slice(&reading.boot.to_le_bytes());
    bytes.extend_from_slice(records.bytes());
    let sum = sum(&bytes).to_le_bytes();
    if let Some(place) = bytes.get_mut(4..FRAME_BYTES) {
        place.copy_from_slice(&sum);
    }
    bytes
}

/// Of the length too, so that a wrong one is not believed.
fn sum(block: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(block.get(..4).unwrap_or_default());
    hasher.update(block.get(FRAME_BYTES..).unwrap_or_default());
    hasher.finalize()
}

/// A file being read.
#[derive(Debug)]
pub(super) struct Blocks<R> {
    from: R,
    pub head: Head,
    buffer: Vec<u8>,
    /// Where the block after the last good one begins.
    pub good: u64,
}

impl<R: Read> Blocks<R> {
    pub(super) fn open(mut from: R) -> Result<Self, Bad> {
        let head = Head::read(&mut from)?;
        Ok(Self { from, head, buffer: Vec::new(), good: HEAD_BYTES as u64 })
    }

    /// The next block's reading and records; None at the end.
    pub(super) fn next(&mut self) -> Result<Option<(Reading, &[u8])>, Bad> {
        let mut frame = [0; FRAME_BYTES];
        match fill(&mut self.from, &mut frame)? {
            0 => return Ok(None),
            FRAME_BYTES => {}
            _ => return Err(Bad::Torn),
        }
        let mut fields = Fields(&frame);
        let length = usize::try_from(u32::from_le_bytes(fields.take())).unwrap_or(usize::MAX);
        let told = u32::from_le_bytes(fields.take());
        if !(READING_BYTES..=MAX_BLOCK_BYTES).contains(&length) {
            return Err(Bad::Damaged);
        }
        self.buffer.clear();
        self.buffer.extend_from_slice(&frame);
        self.buffer.resize(FRAME_BYTES + length, 0);
        let body = self.buffer.get_mut(FRAME_BYTES..).unwrap_or_default();
        if fill(&mut self.from, body)? < length {
            return Err(Bad::Torn);
        }
        if sum(&self.buffer) != told {
            return Err(Bad::Damaged);
        }
        self.good += (FRAME_BYTES + length) as u64;
        let mut fields = Fields(self.buffer.get(FRAME_BYTES..).unwrap_or_default());
        let mut time = || Nanos::from_le_bytes(fields.take());
        let (nanos, wall, uptime) = (time(), time(), time());
        let boot = u128::from_le_bytes(fields.take());
        Ok(Some((Reading { nanos, wall, uptime, boot }, fields.0)))
    }
}

/// Bytes of a known number, taken from the front; zeros where there are none.
struct Fields<'b>(&'b [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((taken, rest)) = self.0.split_first_chunk::<N>() else {
            return [0; N];
        };
        self.0 = rest;
        *taken
    }
}

/// As many bytes as there are, up to all that are wanted.
fn fill(from: &mut impl Read, mut place: &mut [u8]) -> Result<usize, Bad> {
    let mut filled = 0;
    while !place.is_empty() {
        match from.read(place) {
            Ok(0) => break,
            Ok(count) => {
                filled += count;
                place = place.get_mut(count..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Bad::Io(error)),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head = Head { what: What::Journal, number: 7, run: 9 };
    const READING: Reading = Reading { nanos: 5, wall: 6, uptime: 7, boot: 8 };

    fn file() -> Vec<u8> {
        let mut bytes = HEAD.to_bytes();
        for text in ["one", "two"] {
            let mut out = Output::begin(READING.nanos);
            out.record(1, |out| out.text(text.as_bytes()));
            bytes.extend(block(READING, &out));
        }
        bytes
    }

    /// How many blocks are read, and why no more.
    fn read(bytes: &[u8]) -> (usize, String) {
        let mut blocks = match Blocks::open(bytes) {
            Ok(blocks) => blocks,
            Err(bad) => return (0, bad.to_string()),
        };
        let mut count = 0;
        loop {
            match blocks.next() {
                Ok(Some(_)) => count += 1,
                Ok(None) => return (count, String::new()),
                Err(bad) => return (count, bad.to_string()),
            }
        }
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let bytes = file();
        let mut blocks = Blocks::open(&bytes[..]).unwrap();
        assert_eq!(blocks.head, HEAD);
        let (reading, records) = blocks.next().unwrap().unwrap();
        assert_eq!((reading, &records[5..]), (READING, &b"\x03one"[..]));
        assert!(blocks.next().unwrap().is_some());
        assert!(blocks.next().unwrap().is_none());
        assert_eq!(blocks.good, bytes.len() as u64);
    }

    #[test]
    fn no_flipped_byte_is_believed() {
        let whole = file();
        let second = HEAD_BYTES + (whole.len() - HEAD_BYTES) / 2;
        for at in 0..whole.len() {
            for flip in [1, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                let (count, why) = read(&bytes);
                let most = usize::from(at >= second);
                assert!(count == most && !why.is_empty(), "{at} ^ {flip}: {count} {why}");
            }
        }
    }

    #[test]
    fn a_cut_file_is_read_up_to_the_cut() {
        let whole = file();
        let second = HEAD_BYTES + (whole.len() - HEAD_BYTES) / 2;
        for length in 0..whole.len() {
            let (count, why) = read(&whole[..length]);
            let expected = match length {
                length if length == HEAD_BYTES || length == second => "",
                _ => "its end is missing",
            };
            assert_eq!((count, why.as_str()), (usize::from(length >= second), expected), "{length}");
        }
    }

    #[test]
    fn others_files_and_newer_ones_are_told_apart() {
        let mut newer = file();
        newer[8] = 2;
        for (bytes, expected) in [
            (
                &b"#!/bin/sh\necho a file of somebody else, of some length\n"[..],
                "it is no file of gatepost's state",
            ),
            (b"short", "it is no file of gatepost's state"),
            (&newer, "it is of version 2, written by a newer gatepost; this one reads 1"),
        ] {
            assert_eq!(read(bytes), (0, expected.to_owned()));
        }
    }
}
