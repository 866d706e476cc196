//! Quoted-printable (RFC 2045, 6.7), and what decoders make of a `=` that it should
//! not have.

use memchr::memchr;

use crate::content::Stop;

/// Tells each way to decode it; true if there is a `=` that means nothing.
pub(super) fn readings(text: &[u8], stop: &Stop, buffer: &mut Vec<u8>, mut tell: impl FnMut(&[u8])) -> bool {
    buffer.clear();
    let has_junk = push(buffer, text, Way::Kept);
    tell(buffer);
    // Small letters are no digits to some (RFC 2045, 6.7, rule 1).
    if has_small_digits(text) {
        buffer.clear();
        push(buffer, text, Way::Large);
        tell(buffer);
    }
    if has_junk {
        let ways = [Way::Dropped, Way::OneDropped, Way::TwoDropped, Way::Read];
        for way in ways.into_iter().take_while(|_| !stop.is_wanted()) {
            buffer.clear();
            push(buffer, text, way);
            tell(buffer);
        }
    }
    has_junk
}

pub(super) fn decoded_len(text: &[u8]) -> usize {
    let mut length = text.len();
    let mut rest = text;
    while let Some((_, found)) = next_escape(&mut rest) {
        length -= match found {
            Escape::Byte(..) => 2,
            Escape::Junk => 0,
            Escape::SoftBreak(bytes) => bytes + 1,
        };
    }
    length
}

pub(super) fn has_junk(text: &[u8]) -> bool {
    let mut rest = text;
    std::iter::from_fn(|| next_escape(&mut rest)).any(|(_, escape)| matches!(escape, Escape::Junk))
}

fn has_small_digits(text: &[u8]) -> bool {
    memchr::memchr_iter(b'=', text).any(|at| {
        let two = text.get(at + 1..at + 3).filter(|two| two.iter().all(u8::is_ascii_hexdigit));
        two.is_some_and(|two| two.iter().any(u8::is_ascii_lowercase))
    })
}

/// What becomes of a `=` that begins nothing.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Way {
    Dropped,
    Kept,
    /// And what has small digits is passed over.
    Large,
    OneDropped,
    /// The two behind it are digits, whatever they are.
    Read,
    TwoDropped,
}

enum Escape {
    /// And whether one of its digits is a small letter.
    Byte(u8, bool),
    Junk,
    /// A line goes on; so many bytes behind the `=` are its end.
    SoftBreak(usize),
}

/// The next one and what stands before it; `rest` is what follows.
fn next_escape<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], Escape)> {
    let at = memchr(b'=', rest)?;
    let (before, tail) = rest.split_at(at);
    let tail = tail.get(1..).unwrap_or_default();
    let (escape, length) = match tail {
        [high, low, ..] if hex(*high).is_some() && hex(*low).is_some() => {
            let digit = |byte: &u8| hex(*byte).unwrap_or(0);
            let is_small = high.is_ascii_lowercase() || low.is_ascii_lowercase();
            (Escape::Byte(digit(high) << 4 | digit(low), is_small), 2)
        }
        _ => match soft_break(tail) {
            Some(bytes) => (Escape::SoftBreak(bytes), bytes),
            None => (Escape::Junk, 0),
        },
    };
    *rest = tail.get(length..).unwrap_or_default();
    Some((before, escape))
}

/// Blanks may have been added in transport (RFC 2045, 6.7, rule 3).
fn soft_break(tail: &[u8]) -> Option<usize> {
    let blanks = tail.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    match tail.get(blanks..).unwrap_or_default() {
        [] => Some(blanks),
        [b'\n', ..] => Some(blanks + 1),
        [b'\r', b'\n', ..] => Some(blanks + 2),
        _ => None,
    }
}

fn push(output: &mut Vec<u8>, text: &[u8], way: Way) -> bool {
    output.reserve(text.len());
    let mut has_junk = false;
    let mut rest = text;
    while let Some((before, escape)) = next_escape(&mut rest) {
        output.extend_from_slice(before);
        match escape {
            Escape::Byte(_, true) if way == Way::Large => {}
            Escape::Byte(byte, _) => output.push(byte),
            Escape::SoftBreak(_) => {}
            Escape::Junk => {
                has_junk = true;
                let skipped = match way {
                    Way::Kept | Way::Large => {
                        output.push(b'=');
                        0
                    }
                    Way::Dropped => 0,
                    Way::OneDropped => 1,
                    Way::TwoDropped => 2,
                    Way::Read => {
                        let digit = |at: usize| rest.get(at).map_or(0, |b| b.wrapping_sub(b'0') & 0x0f);
                        output.push(digit(0) << 4 | digit(1));
                        2
                    }
                };
                rest = rest.get(skipped..).unwrap_or_default();
            }
        }
    }
    output.extend_from_slice(rest);
    has_junk
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> (Vec<String>, bool) {
        let mut told = Vec::new();
        let junk = readings(text.as_bytes(), &Stop::default(), &mut Vec::new(), |bytes| {
            told.push(String::from_utf8_lossy(bytes).into_owned());
        });
        (told, junk)
    }

    #[test]
    fn what_is_as_it_should_be_has_one_reading() {
        for (text, expected) in [
            ("a=20b", "a b"),
            ("caf=C3=A9", "café"),
            ("a=\r\nb=\nc= \t\r\nd=", "abcd"),
            ("plain\r\n", "plain\r\n"),
        ] {
            assert_eq!(all(text), (vec![expected.to_owned()], false), "{text:?}");
            assert_eq!(decoded_len(text.as_bytes()), expected.len(), "{text:?}");
        }
    }

    #[test]
    fn what_decoders_differ_over_is_read_in_every_way() {
        for (text, expected) in
            [("a=ZZb", "a=ZZb"), ("a=ZZb", "aZZb"), ("a=Zb", "ab"), ("a=ZZb", "ab"), ("a==41", "a=A")]
        {
            let (told, junk) = all(text);
            assert!(junk && told.iter().any(|reading| reading == expected), "{text}: {told:?}");
        }
    }
}
