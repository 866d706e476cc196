//! PDF: what it does when it is opened, and the files in it.
//!
//! Readers find objects by a table at the end, or, if that is broken, wherever they
//! stand. Here they are found wherever they stand: all text outside of streams is read
//! for the names of what is dangerous, however they are written, and so is what streams
//! of objects have in them. A stream in which objects stand is no stream.

use super::Budget;
use super::Inside;
use super::Kind;
use super::office::inflate;
use memchr::memmem;
use std::ops::Range;

/// Streams that are remembered, for those that are files.
const MAX_STREAMS: usize = 65_536;
/// References to files within.
const MAX_FILES: usize = 1000;
/// Longer names mean nothing here.
const MAX_NAME: usize = 32;

struct Stream {
    object: u64,
    dictionary: Vec<u8>,
    data: Range<usize>,
}

#[derive(Default)]
struct Found {
    is_encrypted: bool,
    /// Numbers of objects that are files, and how the files are called.
    files: Vec<(u64, String)>,
}

pub(super) fn look(bytes: &[u8], inside: &mut Inside<'_>, budget: &mut Budget) {
    let mut found = Found::default();
    let mut streams = Vec::new();
    let (mut from, mut text_from) = (0, 0);
    let mut ends = Next::new(bytes, |rest| memmem::find(rest, b"endstream"));
    let mut objects = Next::new(bytes, object);
    for at in memmem::find_iter(bytes, b"stream") {
        // All since the last one: more may be said before it than of it, never less.
        let before = bytes.get(from..at).unwrap_or_default();
        let after = bytes.get(at + b"stream".len()..).unwrap_or_default();
        let is_one = matches!(after.first(), Some(b'\r' | b'\n' | b' '))
            && before.last().is_some_and(|byte| !byte.is_ascii_alphanumeric());
        if at < from || !is_one {
            continue;
        }
        let data = at + b"stream".len() + if after.starts_with(b"\r\n") { 2 } else { 1 };
        let Some(end) = ends.from(data) else { break };
        let (number, dictionary) = dictionary(before);
        // What says that it is a stream may stand in a comment.
        let has_objects = objects.from(data).is_some_and(|object| object < end);
        from = if has_objects { data } else { end };
        if !has_objects {
            names(bytes.get(text_from..at).unwrap_or_default(), inside, &mut found);
            text_from = end;
        }
        if streams.len() >= MAX_STREAMS {
            inside.limit("more streams in a PDF than are looked into", budget);
            break;
        }
        streams.push(Stream { object: number, dictionary, data: data..end });
    }
    names(bytes.get(text_from..).unwrap_or_default(), inside, &mut found);
    // Whether all of it really is, nobody knows without a key.
    if found.is_encrypted {
        inside.is(Kind::EncryptedDocument);
    }
    for stream in &streams {
        if !has_name(&stream.dictionary, b"ObjStm") {
            continue;
        }
        match decode(bytes, stream, budget) {
            Some(objects) => names(&objects, inside, &mut found),
            None => inside.is(Kind::Limits),
        }
    }
    for stream in &streams {
        let name = found.files.iter().find(|(object, _)| *object == stream.object);
        if name.is_none() && !has_name(&stream.dictionary, b"EmbeddedFile") {
            continue;
        }
        match decode(bytes, stream, budget) {
            Some(file) => inside.add(name.map_or("", |(_, name)| name), file, budget),
            None => inside.is(Kind::Limits),
        }
    }
}

/// Places of something, asked for from the beginning on, each looked for once.
struct Next<'a> {
    bytes: &'a [u8],
    find: fn(&[u8]) -> Option<usize>,
    last: Option<usize>,
}

impl<'a> Next<'a> {
    fn new(bytes: &'a [u8], find: fn(&[u8]) -> Option<usize>) -> Self {
        Self { bytes, find, last: Some(0) }
    }

    /// The first that is not before `at`.
    fn from(&mut self, at: usize) -> Option<usize> {
        if self.last? < at {
            self.last = (self.find)(self.bytes.get(at..)?).map(|found| at + found);
        }
        self.last
    }
}

/// Where `1 0 obj` has its blank: by chance it stands in no stream.
fn object(text: &[u8]) -> Option<usize> {
    memmem::find_iter(text, b" obj").find(|at| {
        let before = at.checked_sub(1).and_then(|at| text.get(at));
        before.is_some_and(u8::is_ascii_digit)
            && text.get(at + 4).is_none_or(|byte| byte.is_ascii_whitespace() || *byte == b'<')
    })
}

/// The number of the object and what is said of it, with names as they are meant.
fn dictionary(before: &[u8]) -> (u64, Vec<u8>) {
    let at = memmem::rfind(before, b"obj").unwrap_or_default();
    let head = before.get(at.saturating_sub(64)..at).unwrap_or_default();
    let mut numbers = head.trim_ascii_end().rsplit(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let digits = |word: &[u8]| {
        let start = word.iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |at| at + 1);
        std::str::from_utf8(word.get(start..)?).ok()?.parse().ok()
    };
    let object = numbers.nth(1).and_then(digits).unwrap_or(u64::MAX);
    (object, unescape(before))
}

/// Without `#xx`.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, more)) = rest.split_first() {
        if let (b'#', [high, low, after @ ..]) = (byte, more)
            && let (Some(high), Some(low)) = (char::from(*high).to_digit(16), char::from(*low).to_digit(16))
        {
            plain.extend(u8::try_from(high * 16 + low));
            rest = after;
        } else {
            plain.push(*byte);
            rest = more;
        }
    }
    plain
}

fn is_end(byte: u8) -> bool {
    byte.is_ascii_whitespace()
        || matches!(byte, 0 | b'/' | b'<' | b'>' | b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'%')
}

fn has_name(dictionary: &[u8], name: &[u8]) -> bool {
    memmem::find_iter(dictionary, name).any(|at| {
        let before = at.checked_sub(1).and_then(|at| dictionary.get(at));
        before == Some(&b'/') && dictionary.get(at + name.len()).is_none_or(|byte| is_end(*byte))
    })
}

/// Reads a text for the names of what is dangerous.
fn names(text: &[u8], inside: &mut Inside<'_>, found: &mut Found) {
    let mut is_action = false;
    for at in memchr::memchr_iter(b'/', text) {
        let rest = text.get(at + 1..).unwrap_or_default();
        let size = rest
            .iter()
            .take(3 * MAX_NAME)
            .position(|byte| is_end(*byte))
            .unwrap_or(rest.len().min(3 * MAX_NAME));
        let name = rest.get(..size).unwrap_or_default();
        let plain;
        let name = if memchr::memchr(b'#', name).is_some() {
            plain = unescape(name);
            &plain
        } else {
            name
        };
        let value = rest.get(size..).unwrap_or_default();
        let value = value.get(..64).unwrap_or(value).trim_ascii_start();
        let next = value.first().copied().unwrap_or_default();
        match name {
            // What follows tells them from parts of addresses in texts.
            b"JS" if matches!(next, b'(' | b'<' | b'0'..=b'9' | b'%') => inside.is(Kind::PdfScript),
            b"JavaScript" if is_action || matches!(next, b'[' | b'<' | b'0'..=b'9') => {
                inside.is(Kind::PdfScript)
            }
            b"XFA" if matches!(next, b'[' | b'0'..=b'9') => inside.is(Kind::PdfScript),
            b"Launch" | b"GoToE" if is_action || is_object(text, at) => inside.is(Kind::PdfLaunch),
            b"Encrypt" if matches!(next, b'<' | b'0'..=b'9') => found.is_encrypted = true,
            b"EF" if value.starts_with(b"<<") => {
                if found.files.len() < MAX_FILES {
                    found.files.extend(file(text, at, value));
                } else {
                    inside.is(Kind::Limits);
                }
            }
            _ => {}
        }
        is_action = name == b"S" && (next == b'/' || next == b'%');
    }
}

/// Whether an object begins at a place: an action may say what it is by one of its own.
fn is_object(text: &[u8], at: usize) -> bool {
    let before = text.get(at.saturating_sub(64)..at).unwrap_or_default();
    before.trim_ascii_end().ends_with(b" obj")
}

/// The object of a file, as `/EF << /F 7 0 R >>` tells it, and what it is called.
fn file(text: &[u8], at: usize, value: &[u8]) -> Option<(u64, String)> {
    const NEAR: usize = 1024;
    let key = memmem::find(value, b"F ").or_else(|| memmem::find(value, b"F\n"))?;
    let number = value.get(key + 1..)?.trim_ascii_start();
    let digits = number.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let object = std::str::from_utf8(number.get(..digits)?).ok()?.parse().ok()?;
    let near = text.get(at.saturating_sub(NEAR)..text.len().min(at + NEAR))?;
    let middle = at.min(NEAR);
    let start = memmem::rfind(near.get(..middle)?, b" obj").unwrap_or_default();
    let end = memmem::find(near.get(middle..)?, b"endobj").map_or(near.len(), |end| middle + end);
    let near = near.get(start..end)?;
    let name = string(near, b"/UF").or_else(|| string(near, b"/F")).unwrap_or_default();
    Some((object, name))
}

/// `key (text)` or `key <68656c6c6f>`.
fn string(text: &[u8], key: &[u8]) -> Option<String> {
    memmem::find_iter(text, key).find_map(|at| {
        let value = text.get(at + key.len()..)?.trim_ascii_start();
        let bytes = match value.split_first()? {
            (b'(', rest) => literal(rest),
            (b'<', rest) if !rest.starts_with(b"<") => {
                from_hexadecimal(rest.get(..memchr::memchr(b'>', rest)?)?)
            }
            _ => return None,
        };
        Some(match bytes.strip_prefix(b"\xfe\xff") {
            Some(wide) => {
                let units = wide.as_chunks().0.iter().map(|pair| u16::from_be_bytes(*pair));
                char::decode_utf16(units).map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
            }
            None => String::from_utf8_lossy(&bytes).into_owned(),
        })
    })
}

/// A text in parentheses, behind the first.
fn literal(text: &[u8]) -> Vec<u8> {
    let mut made = Vec::new();
    let mut depth = 0_usize;
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                let Some(next) = bytes.next() else { break };
                let mut code = char::from(next).to_digit(8);
                for _ in 0..2 {
                    let digit = bytes.peek().and_then(|byte| char::from(*byte).to_digit(8));
                    if let (Some(so_far), Some(digit)) = (code, digit) {
                        code = Some(so_far * 8 + digit);
                        bytes.next();
                    }
                }
                made.push(code.map_or(next, |code| u8::try_from(code).unwrap_or(b'?')));
            }
            b'(' => {
                depth += 1;
                made.push(byte);
            }
            b')' => match depth.checked_sub(1) {
                Some(less) => {
                    depth = less;
                    made.push(byte);
                }
                None => break,
            },
            _ => made.push(byte),
        }
    }
    made
}

/// What a stream is when all its filters are taken off. None: one is not known, or the
/// budget does not have it.
fn decode(bytes: &[u8], stream: &Stream, budget: &mut Budget) -> Option<Vec<u8>> {
    /// Names of filters, and short for images.
    const MAX_FILTERS: usize = 8;
    let data = bytes.get(stream.data.clone())?;
    let filters = filters(&stream.dictionary);
    // One that stands elsewhere.
    let is_hidden = filters.is_empty() && has_name(&stream.dictionary, b"Filter");
    if is_hidden || filters.len() > MAX_FILTERS || !budget.take_bytes(data.len() as u64) {
        return None;
    }
    let mut data = data.to_vec();
    for filter in filters {
        data = match filter {
            b"FlateDecode" | b"Fl" => inflate(&data, budget)?,
            b"ASCIIHexDecode" | b"AHx" => {
                from_hexadecimal(data.split(|byte| *byte == b'>').next().unwrap_or_default())
            }
            b"ASCII85Decode" | b"A85" => from_85(&data),
            b"RunLengthDecode" | b"RL" => from_runs(&data, budget)?,
            _ => return None,
        };
    }
    Some(data)
}

/// Names behind `/Filter`, one or in brackets.
fn filters(dictionary: &[u8]) -> Vec<&[u8]> {
    let Some(at) = memmem::rfind(dictionary, b"/Filter") else { return Vec::new() };
    let value = dictionary.get(at + 7..).unwrap_or_default().trim_ascii_start();
    let value = match value.strip_prefix(b"[") {
        Some(list) => list.get(..memchr::memchr(b']', list).unwrap_or(list.len())).unwrap_or_default(),
        None => {
            let name = value.get(1..).unwrap_or_default();
            let size = name.iter().position(|byte| is_end(*byte)).unwrap_or(name.len());
            value.get(..size + 1).unwrap_or(value)
        }
    };
    let names = value.split(|byte| *byte == b'/').skip(1);
    names
        .map(|name| {
            name.get(..name.iter().position(|byte| is_end(*byte)).unwrap_or(name.len())).unwrap_or_default()
        })
        .collect()
}

fn from_hexadecimal(text: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> = text
        .iter()
        .filter_map(|byte| char::from(*byte).to_digit(16))
        .filter_map(|digit| u8::try_from(digit).ok())
        .collect();
    digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => high << 4 | low,
            [high, ..] => high << 4,
            [] => 0,
        })
        .collect()
}

fn from_85(text: &[u8]) -> Vec<u8> {
    let mut made = Vec::new();
    let mut group = Vec::with_capacity(5);
    for byte in text.iter().copied().take_while(|byte| *byte != b'~') {
        match byte {
            b'z' if group.is_empty() => made.extend([0; 4]),
            b'!'..=b'u' => group.push(u32::from(byte - b'!')),
            _ => {}
        }
        if group.len() == 5 {
            made.extend(group_of_85(&group));
            group.clear();
        }
    }
    if group.len() > 1 {
        let size = group.len() - 1;
        group.resize(5, 84);
        made.extend(group_of_85(&group).iter().take(size));
    }
    made
}

fn group_of_85(group: &[u32]) -> [u8; 4] {
    group.iter().fold(0_u32, |sum, digit| sum.wrapping_mul(85).wrapping_add(*digit)).to_be_bytes()
}

fn from_runs(data: &[u8], budget: &mut Budget) -> Option<Vec<u8>> {
    const END: u8 = 128;
    let mut made = Vec::new();
    let mut rest = data;
    while let Some((size, more)) = rest.split_first()
        && *size != END
    {
        let size = usize::from(*size);
        if size < usize::from(END) {
            let copied = more.get(..size + 1).unwrap_or(more);
            made.extend(copied);
            rest = more.get(size + 1..).unwrap_or_default();
        } else {
            let (byte, after) = more.split_first()?;
            made.resize(made.len() + 257 - size, *byte);
            rest = after;
        }
    }
    budget.take_bytes(made.len() as u64).then_some(made)
}
