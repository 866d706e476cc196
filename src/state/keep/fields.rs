//! The fields of a record: numbers, texts and times, written one after the other, and
//! read back from bytes that may be anybody's. Reading never panics; None is what no
//! version of ours has written. Nothing is taken that is longer than what is there.

use super::super::clock::Nanos;

/// Bytes of the head of a record: its kind and how long it is.
const HEAD: usize = 5;

/// Beyond this a block is written. What one word of marks stands for, or one key, still
/// comes in: some megabytes at most.
const FULL: usize = 64 << 10;

/// Records being written. Times in them count from one moment.
#[derive(Debug, Default)]
pub(in crate::state) struct Output {
    bytes: Vec<u8>,
    base: Nanos,
    count: usize,
}

/// One record being read.
#[derive(Debug)]
pub(in crate::state) struct Input<'b> {
    rest: &'b [u8],
    base: Nanos,
}

impl Output {
    pub(in crate::state) fn begin(base: Nanos) -> Self {
        Self { base, ..Self::default() }
    }

    /// How many records there are.
    pub(in crate::state) fn count(&self) -> usize {
        self.count
    }

    /// Whether a block has grown as large as blocks should.
    pub(in crate::state) fn is_full(&self) -> bool {
        self.bytes.len() >= FULL
    }

    /// The moment from which its times count.
    pub(in crate::state) fn now(&self) -> Nanos {
        self.base
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(in crate::state) fn record(&mut self, kind: u8, fields: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&[0; HEAD - 1]);
        fields(self);
        // What is kept of one thing is bounded far below 4 GiB.
        let length = u32::try_from(self.bytes.len() - start - HEAD).unwrap_or(u32::MAX).to_le_bytes();
        if let Some(place) = self.bytes.get_mut(start + 1..start + HEAD) {
            place.copy_from_slice(&length);
        }
        self.count += 1;
    }

    /// Seven bits a byte, the lowest first.
    pub(in crate::state) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    pub(in crate::state) fn text(&mut self, text: &[u8]) {
        self.number(text.len() as u64);
        self.bytes.extend_from_slice(text);
    }

    /// Any time of three centuries.
    pub(in crate::state) fn time(&mut self, time: Nanos) {
        let ahead = time.wrapping_sub(self.base).cast_signed();
        self.number((ahead << 1 ^ ahead >> 63).cast_unsigned());
    }

    /// A time that means nothing any more once it is past.
    pub(in crate::state) fn coming(&mut self, time: Nanos) {
        self.number(time.saturating_sub(self.base));
    }
}

impl<'b> Input<'b> {
    pub(in crate::state) fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..70).step_by(7) {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub(in crate::state) fn small(&mut self) -> Option<u32> {
        self.number().and_then(|number| u32::try_from(number).ok())
    }

    /// UTF-8 of at most so many bytes.
    pub(in crate::state) fn text(&mut self, most: usize) -> Option<&'b str> {
        let length = usize::try_from(self.number()?).ok().filter(|length| *length <= most)?;
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        std::str::from_utf8(text).ok()
    }

    pub(in crate::state) fn time(&mut self) -> Option<Nanos> {
        let coded = self.number()?;
        let ahead = (coded >> 1).cast_signed() ^ -(coded & 1).cast_signed();
        Some(self.base.saturating_add_signed(ahead))
    }

    pub(in crate::state) fn coming(&mut self) -> Option<Nanos> {
        Some(self.base.saturating_add(self.number()?))
    }

    pub(in crate::state) fn is_over(&self) -> bool {
        self.rest.is_empty()
    }
}

/// The records of a block, each with its kind; None at the end for one that is cut.
/// Times are told from `base`.
pub(super) fn records(mut bytes: &[u8], base: Nanos) -> impl Iterator<Item = Option<(u8, Input<'_>)>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let cut = (|| {
            let (head, rest) = bytes.split_at_checked(HEAD)?;
            let (kind, length) = head.split_first()?;
            let length = u32::from_le_bytes(length.try_into().ok()?);
            let (record, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            Some((*kind, record, rest))
        })();
        let Some((kind, record, rest)) = cut else {
            bytes = &[];
            return Some(None);
        };
        bytes = rest;
        Some(Some((kind, Input { rest: record, base })))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Nanos = 1_800_000_000_000_000_000;

    #[test]
    fn what_is_written_is_read() {
        let mut out = Output::begin(NOW);
        let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX];
        let times = [0, 1, NOW - 1, NOW, NOW + 1, i64::MAX as u64];
        out.record(7, |out| {
            numbers.iter().for_each(|number| out.number(*number));
            times.iter().for_each(|time| out.time(*time));
            times.iter().for_each(|time| out.coming(*time));
            out.text("ä".as_bytes());
        });
        out.record(8, |_| {});
        let mut found = records(out.bytes(), NOW);
        let (kind, mut record) = found.next().flatten().unwrap();
        assert_eq!(kind, 7);
        numbers.iter().for_each(|number| assert_eq!(record.number(), Some(*number)));
        times.iter().for_each(|time| assert_eq!(record.time(), Some(*time), "{time}"));
        times.iter().for_each(|time| assert_eq!(record.coming(), Some((*time).max(NOW)), "{time}"));
        assert_eq!(record.text(2), Some("ä"));
        assert!(record.is_over());
        assert!(found.next().flatten().is_some_and(|(kind, record)| kind == 8 && record.is_over()));
        assert!(found.next().is_none());
    }

    #[test]
    fn times_move_with_their_base() {
        let mut out = Output::begin(NOW);
        out.record(1, |out| {
            out.time(NOW - 5);
            out.coming(NOW + 5);
        });
        let (_, mut record) = records(out.bytes(), 1_000).next().flatten().unwrap();
        assert_eq!((record.time(), record.coming()), (Some(995), Some(1_005)));
    }

    #[test]
    fn what_nobody_wrote_is_not_read() {
        for bytes in [&[0x80_u8][..], &[0xff; 10], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]]
        {
            assert_eq!(Input { rest: bytes, base: 0 }.number(), None, "{bytes:?}");
        }
        for (bytes, most) in [(&b"\x03ab"[..], 9), (b"\x03abc", 2), (b"\x02\xff\xfe", 9)] {
            assert_eq!(Input { rest: bytes, base: 0 }.text(most), None, "{bytes:?}");
        }
        for bytes in [&b"\x01"[..], b"\x01\x05\0\0\0abcd", b"\x01\xff\xff\xff\xff"] {
            let found: Vec<_> = records(bytes, 0).collect();
            assert!(matches!(found[..], [None]), "{bytes:?}");
        }
    }
}
