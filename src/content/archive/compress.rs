//! What compress(1) makes, `.Z`: Lempel, Ziv and Welch with codes of 9 to 16 bits.

use std::io::Read;

use super::bytes::byte;

const MIN_BITS: u32 = 9;
const MAX_BITS: u32 = 16;
/// Empties the table, where the file says that it is ever emptied.
const CLEAR: u16 = 256;

pub(super) struct Decoder<'a> {
    bytes: &'a [u8],
    /// The next code, in bits from the first.
    at: u64,
    /// Where the codes of this width began: they come in groups of eight.
    group: u64,
    bits: u32,
    max_bits: u32,
    can_clear: bool,
    /// Of each code above 256 the code before and the byte behind.
    table: Vec<(u16, u8)>,
    previous: Option<(u16, u8)>,
    /// Made and not yet taken, the last byte first.
    made: Vec<u8>,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        let flags = byte(bytes, 2)?;
        let max_bits = u32::from(flags & 0x1F);
        if !(MIN_BITS..=MAX_BITS).contains(&max_bits) {
            return None;
        }
        Some(Self {
            bytes: bytes.get(3..)?,
            at: 0,
            group: 0,
            bits: MIN_BITS,
            max_bits,
            can_clear: flags & 0x80 != 0,
            table: Vec::new(),
            previous: None,
            made: Vec::new(),
        })
    }

    fn first(&self) -> usize {
        if self.can_clear { 257 } else { 256 }
    }

    /// The codes left of a group are not used when the width changes.
    fn widen(&mut self, bits: u32) {
        let group = u64::from(self.bits) * 8;
        let into = self.at - self.group;
        self.at = self.group + into.div_ceil(group) * group;
        self.group = self.at;
        self.bits = bits;
    }

    fn code(&mut self) -> Option<u16> {
        if self.first() + self.table.len() >= 1 << self.bits && self.bits < self.max_bits {
            self.widen(self.bits + 1);
        }
        let at = usize::try_from(self.at / 8).ok()?;
        if self.at + u64::from(self.bits) > self.bytes.len() as u64 * 8 {
            return None;
        }
        let three = [byte(self.bytes, at)?, byte(self.bytes, at + 1).unwrap_or(0)];
        let third = byte(self.bytes, at + 2).unwrap_or(0);
        let word = u32::from_le_bytes([three[0], three[1], third, 0]);
        let shift = self.at % 8;
        self.at += u64::from(self.bits);
        Some(((word >> shift) & ((1 << self.bits) - 1)) as u16)
    }

    /// Makes what one code stands for; false at the end.
    fn step(&mut self) -> std::io::Result<bool> {
        let Some(code) = self.code() else { return Ok(false) };
        if code == CLEAR && self.can_clear {
            self.widen(MIN_BITS);
            self.table.clear();
            self.previous = None;
            return Ok(true);
        }
        let mut at = usize::from(code);
        let first = self.first();
        let known = first + self.table.len();
        if at >= known {
            // The one that is just being made, which begins and ends alike.
            match self.previous {
                Some((before, byte)) if at == known => {
                    self.made.push(byte);
                    at = usize::from(before);
                }
                _ => return Err(std::io::ErrorKind::InvalidData.into()),
            }
        }
        while at >= first {
            let Some(&(before, byte)) = self.table.get(at - first) else {
                return Err(std::io::ErrorKind::InvalidData.into());
            };
            self.made.push(byte);
            at = usize::from(before);
        }
        let Ok(byte) = u8::try_from(at) else { return Err(std::io::ErrorKind::InvalidData.into()) };
        self.made.push(byte);
        if let Some((before, _)) = self.previous
            && known < 1 << self.max_bits
        {
            self.table.push((before, byte));
        }
        self.previous = Some((code, byte));
        Ok(true)
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let mut written = 0;
        for space in to {
            while self.made.is_empty() {
                if !self.step()? {
                    return Ok(written);
                }
            }
            if let Some(byte) = self.made.pop() {
                *space = byte;
                written += 1;
            }
        }
        Ok(written)
    }
}
