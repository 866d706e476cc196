//! Base64 (RFC 2045, 6.8): at once where it is as it should be; else in the ways in
//! which decoders take what it should not have.

use memchr::memchr;

use crate::content::Stop;
use crate::message::charset::sextet;

/// Digits gathered from lines before they are decoded; fits into the nearest cache.
const BLOCK_BYTES: usize = 8 << 10;
/// A longer line was broken in transport, wherever that was (RFC 5321, 4.5.3.1.6).
const MIN_BROKEN_BYTES: usize = 900;
/// A text that is shorter is not taken for base64 by its looks.
const MIN_LOOKS_BYTES: usize = 60;

/// Tells each way to decode it, and whether it is the only one; true if there is more
/// in it than digits, blanks and an end.
pub(super) fn readings(
    text: &[u8],
    stop: &Stop,
    buffer: &mut Vec<u8>,
    mut tell: impl FnMut(&[u8], bool),
) -> bool {
    buffer.clear();
    if push_clean(buffer, text) {
        tell(buffer, true);
        return false;
    }
    let has_junk = has_junk(text);
    let mut ways = vec![Way::Padded];
    if has_junk {
        ways.extend([Way::FirstEnd, Way::Joined, Way::Lines, Way::CleanLines, Way::LineHeads]);
        ways.extend([Way::Quanta, Way::FirstJunk]);
        if text.iter().any(|b| matches!(b, b'-' | b'_')) {
            ways.push(Way::Url);
        }
        ways.push(Way::LastPart);
    }
    for way in ways.iter().take_while(|_| !stop.is_wanted()) {
        buffer.clear();
        way.push(buffer, text);
        tell(buffer, ways.len() == 1);
    }
    has_junk
}

/// How many digits there are.
pub(super) fn digits(text: &[u8]) -> usize {
    clean_digits(text).unwrap_or_else(|| count_digits(text))
}

fn count_digits(text: &[u8]) -> usize {
    text.iter().map(|b| usize::from(b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))).sum()
}

/// Digits in lines of one length, and nothing else.
pub(super) fn looks_like(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    let is_digit = |b: &u8| sextet(*b).is_some() || matches!(b, b'=' | b'\r' | b'\n');
    let begin = text.get(..MIN_LOOKS_BYTES);
    begin.is_some_and(|begin| begin.iter().all(is_digit)) && text.iter().all(is_digit)
}

/// False if it is not as it should be.
fn push_clean(output: &mut Vec<u8>, text: &[u8]) -> bool {
    output.reserve(text.len() / 4 * 3 + 3);
    each_block(text, |digits| base64_simd::STANDARD_NO_PAD.decode_append(digits, output).is_ok())
}

/// How many digits there are in what is as it should be.
fn clean_digits(text: &[u8]) -> Option<usize> {
    let mut count = 0;
    let is_clean = each_block(text, |digits| {
        count += digits.len();
        base64_simd::STANDARD_NO_PAD.check(digits).is_ok()
    });
    is_clean.then_some(count)
}

/// Hands over the digits, lines joined, some at once, as long as they are taken; false if
/// they are not, or if lines are not as they should be.
fn each_block(text: &[u8], mut take: impl FnMut(&[u8]) -> bool) -> bool {
    let mut block = [0; BLOCK_BYTES];
    let mut filled = 0;
    let mut rest = text.trim_ascii();
    for _ in 0..2 {
        rest = rest.strip_suffix(b"=").unwrap_or(rest);
    }
    while !rest.is_empty() {
        let end = memchr(b'\n', rest).unwrap_or(rest.len());
        let (line, tail) = rest.split_at(end);
        rest = tail.get(1..).unwrap_or_default();
        let mut line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.len().is_multiple_of(4) && !rest.is_empty() && line.len() < MIN_BROKEN_BYTES {
            return false;
        }
        while !line.is_empty() {
            let room = block.get_mut(filled..).unwrap_or_default();
            let (now, later) = line.split_at(line.len().min(room.len()));
            if let Some(room) = room.get_mut(..now.len()) {
                room.copy_from_slice(now);
            }
            filled += now.len();
            line = later;
            if filled == BLOCK_BYTES {
                if !take(&block) {
                    return false;
                }
                filled = 0;
            }
        }
    }
    take(block.get(..filled).unwrap_or_default())
}

/// Anything but digits, blanks and line ends before an end that is padding; or a line
/// whose digits are not four by four, where some decoders begin anew.
pub(super) fn has_junk(text: &[u8]) -> bool {
    if clean_digits(text).is_some() {
        return false;
    }
    let is_blank = |b: &u8| b.is_ascii_whitespace() || *b == 0x0b;
    let body = text.trim_ascii();
    let last = memchr::memrchr(b'\n', body).unwrap_or(0);
    let lines = body.get(..last).unwrap_or_default().split(|b| *b == b'\n');
    if lines.filter(|line| line.len() < MIN_BROKEN_BYTES).any(|line| !count_digits(line).is_multiple_of(4)) {
        return true;
    }
    let mut ends = 0;
    for byte in text.iter().rev().skip_while(|b| is_blank(b)) {
        match byte {
            b'=' if ends < 2 => ends += 1,
            _ => break,
        }
    }
    let mut pads = 0;
    for byte in text {
        match byte {
            b'=' => pads += 1,
            byte if sextet(*byte).is_some() || is_blank(byte) => {}
            _ => return true,
        }
    }
    pads > ends
}

/// What a decoder makes of what it should not meet.
#[derive(Clone, Copy)]
enum Way {
    /// Lines with anything foreign are passed over.
    CleanLines,
    /// `=` ends the text.
    FirstEnd,
    /// Anything foreign ends the text.
    FirstJunk,
    /// All that is foreign is passed over, `=` too.
    Joined,
    /// Only what stands behind the last empty line counts.
    LastPart,
    /// Of each line only what is before anything foreign.
    LineHeads,
    /// Each line for itself.
    Lines,
    /// `=` ends four digits, and more may follow; what is foreign is passed over.
    Padded,
    /// Four characters at once, digits or not.
    Quanta,
    /// `-` and `_` are digits (RFC 4648, 5).
    Url,
}

impl Way {
    fn push(self, output: &mut Vec<u8>, text: &[u8]) {
        let mut group = Group::default();
        match self {
            Self::Padded => text.iter().for_each(|byte| match byte {
                b'=' => group.end(),
                byte => group.push(output, sextet(*byte)),
            }),
            Self::FirstEnd => {
                let end = memchr(b'=', text).unwrap_or(text.len());
                text.iter().take(end).for_each(|byte| group.push(output, sextet(*byte)));
            }
            Self::FirstJunk => {
                let is_known = |byte: &&u8| sextet(**byte).is_some() || byte.is_ascii_whitespace();
                text.iter().take_while(is_known).for_each(|byte| group.push(output, sextet(*byte)));
            }
            Self::Joined => text.iter().for_each(|byte| group.push(output, sextet(*byte))),
            Self::Url => text.iter().for_each(|byte| {
                let byte = match byte {
                    b'-' => b'+',
                    b'_' => b'/',
                    byte => *byte,
                };
                group.push(output, sextet(byte));
            }),
            Self::Lines => {
                for line in text.split(|byte| *byte == b'\n') {
                    line.iter().for_each(|byte| group.push(output, sextet(*byte)));
                    group.end();
                }
            }
            Self::LineHeads => {
                for line in text.split(|byte| *byte == b'\n') {
                    let digits = line.iter().map_while(|byte| sextet(*byte));
                    digits.for_each(|digit| group.push(output, Some(digit)));
                }
            }
            Self::CleanLines => {
                for line in text.split(|byte| *byte == b'\n') {
                    let line = line.trim_ascii();
                    if line.iter().all(|byte| sextet(*byte).is_some() || *byte == b'=') {
                        line.iter().for_each(|byte| group.push(output, sextet(*byte)));
                    }
                }
            }
            Self::Quanta => {
                let mut four = [0; 4];
                let mut filled = 0;
                for byte in text.iter().filter(|byte| !byte.is_ascii_whitespace()) {
                    if let Some(place) = four.get_mut(filled) {
                        *place = *byte;
                    }
                    filled += 1;
                    if filled == 4 {
                        filled = 0;
                        let digits = four.iter().take_while(|byte| sextet(**byte).is_some()).count();
                        let rest_is_end = four.iter().skip(digits).all(|byte| *byte == b'=');
                        if rest_is_end {
                            four.iter().for_each(|byte| group.push(output, sextet(*byte)));
                            group.end();
                        }
                    }
                }
            }
            Self::LastPart => {
                let text = text.trim_ascii_end();
                let behind =
                    |empty: &[u8]| memchr::memmem::rfind(text, empty).map_or(0, |at| at + empty.len());
                let from = behind(b"\n\n").max(behind(b"\r\n\r\n"));
                text.iter().skip(from).for_each(|byte| group.push(output, sextet(*byte)));
            }
        }
    }
}

/// Four digits are three bytes.
#[derive(Default)]
struct Group {
    bits: u32,
    count: u32,
}

impl Group {
    fn push(&mut self, output: &mut Vec<u8>, digit: Option<u32>) {
        let Some(value) = digit else { return };
        self.bits = (self.bits << 6) | value;
        self.count += 6;
        if self.count >= 8 {
            self.count -= 8;
            output.push((self.bits >> self.count) as u8);
            self.bits &= (1 << self.count) - 1;
        }
    }

    fn end(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> (Vec<String>, bool) {
        let mut told = Vec::new();
        let junk = readings(text.as_bytes(), &Stop::default(), &mut Vec::new(), |bytes, _| {
            told.push(String::from_utf8_lossy(bytes).into_owned());
        });
        (told, junk)
    }

    #[test]
    fn what_is_as_it_should_be_has_one_reading() {
        for (text, expected) in [
            ("", ""),
            ("aGVsbG8gd29ybGQ=", "hello world"),
            ("aGVsbG8gd29ybGQ", "hello world"),
            ("aGVs\r\nbG8gd29y\r\nbGQ=\r\n\r\n", "hello world"),
            (" aGVs bG8gd29y\tbGQ=\n", "hello world"),
            ("YQ==", "a"),
            ("YR==", "a"),
        ] {
            assert_eq!(all(text), (vec![expected.to_owned()], false), "{text:?}");
        }
        let long = "QUJD".repeat(50_000);
        let lines: Vec<_> = long.as_bytes().chunks(76).map(|line| str::from_utf8(line).unwrap()).collect();
        assert_eq!(all(&lines.join("\r\n")), (vec!["ABC".repeat(50_000)], false));
    }

    #[test]
    fn what_decoders_differ_over_is_read_in_every_way() {
        for (text, expected) in [
            ("aGVs=bG8=", "hello"),
            ("aGVs.bG8=", "hello"),
            ("aGVsbG8=aGVsbG8=", "hellohello"),
            ("aGVsbG8=aGVsbG8=", "hello"),
            ("aGV=sbG8=", "hello"),
            ("junk-line!\naGVsbG8=", "hello"),
            ("aGVsbG8=\nQUJD", "helloABC"),
            ("aGVs----bG8=", "hello"),
            ("aGVsX\nbG8=", "hello"),
            ("A\n\naGVsbG8=", "hello"),
            ("aGV#junk\nsbG8=", "hello"),
            ("--__", "\u{FFFD}\u{FFFD}\u{FFFD}"),
        ] {
            let (told, junk) = all(text);
            assert!(junk && told.iter().any(|reading| reading == expected), "{text}: {told:?}");
        }
    }

    #[test]
    fn looks_are_those_of_whole_lines() {
        assert!(looks_like("aGVsbG8gd29ybGQhaGVsbG8gd29ybGQh\r\n".repeat(3).as_bytes()));
        assert!(!looks_like(b"aGVsbG8="));
        assert!(!looks_like("hello world, how are you\r\n".repeat(5).as_bytes()));
    }
}
