//! RTF: objects in hexadecimal, templates and fields. Word skips whatever it does not
//! know, also in the middle of numbers, and so does this.

use super::Budget;
use super::Inside;
use super::Kind;
use super::ooxml::is_remote;
use super::package;
use memchr::memmem;

/// Bytes of a field or of the name of a template.
const MAX_TEXT: usize = 1024;
/// Fields, templates and classes that are read.
const MAX_TEXTS: usize = 10_000;

/// Programs take four letters for enough.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let head = bytes.get(..64).unwrap_or(bytes);
    head.trim_ascii_start().starts_with(b"{\\rt")
}

pub(super) fn look(bytes: &[u8], inside: &mut Inside<'_>, budget: &mut Budget) {
    let mut from = 0;
    for at in memmem::find_iter(bytes, b"\\objdata") {
        // An object that stands in another's is a part of it.
        if at < from {
            continue;
        }
        let data = bytes.get(at + b"\\objdata".len()..).unwrap_or_default();
        let (object, read) = hexadecimal(data);
        from = at + read;
        if !budget.take_bytes(object.len() as u64) {
            return inside.is(Kind::Limits);
        }
        package::object(&object, inside, budget);
    }
    let is_updated = memmem::find(bytes, b"\\objupdate").is_some();
    if is_updated && from > 0 {
        inside.is(Kind::EmbeddedObject);
    }
    for (word, look) in TEXTS {
        let mut places = memmem::find_iter(bytes, word);
        for at in places.by_ref().take(MAX_TEXTS) {
            let found = look(text(bytes, at + word.len()).trim_ascii());
            found.into_iter().for_each(|kind| inside.is(kind));
        }
        if places.next().is_some() {
            inside.limit("more fields in a document than are read", budget);
        }
    }
}

/// What a text behind a control word tells.
type Look = fn(&[u8]) -> Option<Kind>;

const TEXTS: [(&[u8], Look); 3] = [
    (b"\\fldinst", |field| {
        let is_fetched = field.starts_with(b"includetext") || field.starts_with(b"link ");
        if field.starts_with(b"dde") {
            Some(Kind::Dde)
        } else if is_fetched && field.split(|byte| matches!(byte, b' ' | b'"')).any(is_remote) {
            Some(Kind::ExternalTemplate)
        } else {
            None
        }
    }),
    (b"\\objclass", |class| class.starts_with(b"equation").then_some(Kind::EquationObject)),
    (b"\\*\\template", |name| is_remote(name).then_some(Kind::ExternalTemplate)),
];

/// Bytes of an object to the end of its group, and how far that is.
fn hexadecimal(data: &[u8]) -> (Vec<u8>, usize) {
    let mut made = Vec::new();
    let mut half: Option<u8> = None;
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = data.get(at).copied() {
        at += 1;
        match byte {
            b'{' => depth += 1,
            b'}' => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => break,
            },
            b'\\' => {
                let (word, number, size) = control(data.get(at..).unwrap_or_default());
                // Another object, if this one is not closed.
                if word == b"objdata" {
                    return (made, at - 1);
                }
                at += size;
                if word == b"bin" {
                    let raw = data.get(at..).unwrap_or_default();
                    let raw = raw.get(..number).unwrap_or(raw);
                    made.extend(raw);
                    at += raw.len();
                }
            }
            _ => {
                let Some(digit) = char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
                else {
                    continue;
                };
                match half.take() {
                    Some(high) => made.push(high << 4 | digit),
                    None => half = Some(digit),
                }
            }
        }
    }
    (made, at)
}

/// A control word behind its `\`, its number, and how long both are with the blank that
/// ends them.
fn control(text: &[u8]) -> (&[u8], usize, usize) {
    let letters = text.iter().take(64).take_while(|byte| byte.is_ascii_alphabetic()).count();
    if letters == 0 {
        // `\'hh` or one character.
        return (&[], 0, if text.first() == Some(&b'\'') { 3 } else { 1 });
    }
    let word = text.get(..letters).unwrap_or_default();
    let rest = text.get(letters..).unwrap_or_default();
    let sign = usize::from(rest.first() == Some(&b'-'));
    let digits =
        rest.get(sign..).unwrap_or_default().iter().take(16).take_while(|byte| byte.is_ascii_digit()).count();
    let number = rest.get(sign..sign + digits).and_then(|digits| std::str::from_utf8(digits).ok());
    let number = number.and_then(|number| number.parse().ok()).unwrap_or_default();
    let blank = usize::from(rest.get(sign + digits) == Some(&b' '));
    (word, number, letters + sign + digits + blank)
}

/// What is shown of what follows, in lower-case, to the end of the group that it is in.
fn text(bytes: &[u8], at: usize) -> Vec<u8> {
    let rest = bytes.get(at..).unwrap_or_default();
    let rest = rest.get(..4 * MAX_TEXT).unwrap_or(rest);
    let mut text = Vec::new();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = rest.get(at).copied()
        && text.len() < MAX_TEXT
    {
        at += 1;
        match byte {
            b'{' => depth += 1,
            b'}' => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => break,
            },
            b'\r' | b'\n' => {}
            b'\\' => {
                let after = rest.get(at..).unwrap_or_default();
                let (word, number, size) = control(after);
                match (word, after) {
                    ([], [b'\'', high, low, ..]) => {
                        let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default();
                        text.extend(u8::try_from(digit(*high) * 16 + digit(*low)));
                    }
                    ([], [char, ..]) => text.push(*char),
                    // What follows is shown by those who don't know the character.
                    (b"u", _) => {
                        let is_negative = after.get(1) == Some(&b'-');
                        let code = if is_negative { 0x1_0000_usize.saturating_sub(number) } else { number };
                        // Characters of the area for private use stand for those of fonts.
                        text.push(u8::try_from(code & 0xfff).ok().unwrap_or(b'?'));
                        at += usize::from(after.get(size) == Some(&b'?'));
                    }
                    _ => {}
                }
                at += size;
            }
            _ => text.push(byte),
        }
    }
    text.make_ascii_lowercase();
    text
}
