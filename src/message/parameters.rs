//! Content-Type and Content-Disposition taken apart, in every way a mail client
//! could.
//!
//! The field is a stranger's, and written so that clients and filters differ
//! over it: doubled parameters, half quotes, comments, folds inside names, RFC
//! 2231 pieces out of order. So a parameter has no value but readings, and all of
//! them are given. One pass for the parameters, a fixed number of passes for the
//! readings of each; their number is capped; nothing recurses.

use std::borrow::Cow;

use crate::message::charset;
use crate::message::words;

/// Parameters read of one field; RFC 2231 may cut one long name into many.
pub(super) const MAX_PARAMETERS: usize = 1_000;
/// Parameters looked for inside the value of another, where a `;` is missing.
const MAX_HIDDEN_PARAMETERS: usize = 4;
/// The longest parameter name of interest: `filename*9999*`.
const MAX_NAME_BYTES: usize = 32;
/// What is kept of the word before the parameters.
const MAX_VALUE_BYTES: usize = 100;

/// One field.
#[derive(Debug, Default)]
pub(super) struct Field {
    /// The media type or the disposition: lower-case, without comments and blanks.
    pub value: String,
    /// All of it in lower case, as written, decoded; no more than its beginning.
    pub whole: String,
    /// The value is written as it is read.
    pub is_plain: bool,
    /// A parameter that matters is written so that some may not see it.
    pub is_odd: bool,
    /// What stands between semicolons, the value counted.
    pub segments: usize,
    parameters: Vec<Parameter>,
    /// There were more parameters than are read.
    pub is_cut: bool,
}

#[derive(Debug)]
struct Parameter {
    name: String,
    readings: Vec<Vec<u8>>,
    has_rest: bool,
}

/// Octets and, where the field says so, their charset.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Reading {
    pub bytes: Vec<u8>,
    charset: Option<String>,
}

impl Reading {
    /// As text, with encoded-words decoded if no charset was given.
    pub(super) fn text(&self, limit: usize) -> String {
        let text = match &self.charset {
            Some(label) => Cow::Owned(charset::decode(label, &self.bytes)),
            None => String::from_utf8_lossy(&self.bytes),
        };
        // Clients decode both, if a sender used both.
        words::decode(&text, limit).into_owned()
    }
}

impl Field {
    pub(super) fn parse(field: &[u8]) -> Self {
        let mut parsed = Self::default();
        let mut segments = Segments { rest: field, flat_quotes: false, flat_comments: false };
        let begin = field.get(..MAX_VALUE_BYTES).unwrap_or(field);
        parsed.whole = words::decode(&String::from_utf8_lossy(begin), MAX_VALUE_BYTES).to_ascii_lowercase();
        while let Some(segment) = segments.next() {
            parsed.segments += 1;
            if parsed.segments == 1 {
                parsed.value = word_of(segment);
                parsed.is_plain = segment.trim_ascii().eq_ignore_ascii_case(parsed.value.as_bytes());
            }
            if memchr::memchr(b'=', segment).is_none() {
                parsed.add_rest(segment);
            }
            parsed.add_segment(segment);
            if parsed.parameters.len() >= MAX_PARAMETERS {
                parsed.is_cut = true;
                break;
            }
        }
        parsed
    }

    /// `filename=a;.exe`: what stands between semicolons and is no parameter may
    /// belong to the one before.
    fn add_rest(&mut self, segment: &[u8]) {
        let Some(parameter) = self.parameters.last_mut() else { return };
        let Some(first) = parameter.readings.first() else { return };
        if segment.trim_ascii().is_empty() || parameter.has_rest {
            return;
        }
        parameter.has_rest = true;
        let first = first.strip_suffix(b"\\").unwrap_or(first);
        let rest = without_quotes(segment.trim_ascii_end());
        parameter.readings.push([first, b";", &rest].concat());
    }

    fn add_segment(&mut self, segment: &[u8]) {
        let mut from = 0;
        for hidden in 0..=MAX_HIDDEN_PARAMETERS {
            let Some(rest) = segment.get(from..) else { return };
            let Some(equals) = memchr::memchr(b'=', rest) else { return };
            let (before, after) = rest.split_at(equals);
            let name = parameter_name(before);
            // The first `=` ends a name, whatever it is; a later one does so only
            // for the names somebody hides.
            if !name.is_empty() && (hidden == 0 || is_of_interest(&name)) {
                let is_plain = hidden == 0 && before.trim_ascii().eq_ignore_ascii_case(name.as_bytes());
                self.is_odd |= !is_plain && is_of_interest(&name);
                let value = after.get(1..).unwrap_or_default();
                self.parameters.push(Parameter { name, readings: readings_of(value), has_rest: false });
            }
            from += equals + 1;
            // A whole quoted string hides nothing: there a `=` is text.
            let value = rest.get(equals + 1..).unwrap_or_default();
            let quote = value.len() - value.trim_ascii_start().len();
            if value.get(quote) == Some(&b'"') {
                let length = value.get(quote..).and_then(quoted_length);
                self.is_odd |= length.is_none() && is_of_interest(&parameter_name(before));
                from += quote + length.unwrap_or(0);
            }
        }
    }
}

/// Every reading of the parameter `name` in the fields of one header: plain,
/// extended and in pieces, which may be spread over doubled fields.
pub(super) fn readings(fields: &[&Field], name: &str) -> Vec<Reading> {
    let mut found = Vec::new();
    let mut all_pieces = Vec::new();
    for field in fields {
        let mut pieces = Vec::new();
        for parameter in &field.parameters {
            let Some(suffix) = parameter.name.strip_prefix(name) else { continue };
            match suffix.strip_prefix('*') {
                None if suffix.is_empty() => found.extend(parameter.readings.iter().flat_map(|r| plain(r))),
                None => {}
                Some("") => found.extend(parameter.readings.iter().map(|r| extended(r))),
                Some(number) => pieces.extend(Piece::new(number, parameter)),
            }
        }
        add_joined(&mut found, &pieces);
        all_pieces.append(&mut pieces);
    }
    if fields.len() > 1 {
        add_joined(&mut found, &all_pieces);
    }
    found
}

/// The pieces of a field between its semicolons.
struct Segments<'a> {
    rest: &'a [u8],
    /// A quote or a comment that never ends is taken for plain characters, from
    /// there to the end: also so that no end is looked for twice.
    flat_quotes: bool,
    flat_comments: bool,
}

impl<'a> Segments<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.rest;
        let mut at = 0;
        while let Some(&byte) = field.get(at) {
            let tail = field.get(at..).unwrap_or_default();
            match byte {
                b';' => break,
                b'"' if !self.flat_quotes => match quoted_length(tail) {
                    Some(length) => at += length,
                    None => {
                        self.flat_quotes = true;
                        at += 1;
                    }
                },
                b'(' if !self.flat_comments => match comment_length(tail) {
                    Some(length) => at += length,
                    None => {
                        self.flat_comments = true;
                        at += 1;
                    }
                },
                _ => at += 1,
            }
        }
        self.rest = field.get(at + 1..).unwrap_or_default();
        field.get(..at)
    }
}

/// With both quotes; None if it never ends.
fn quoted_length(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        match text.get(at) {
            Some(b'"') => return Some(at + 1),
            _ => at += 2,
        }
    }
}

fn comment_length(text: &[u8]) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = 0;
    loop {
        at += memchr::memchr3(b'(', b')', b'\\', text.get(at..)?)?;
        match text.get(at) {
            Some(b'(') => depth += 1,
            Some(b'\\') => at += 1,
            _ => depth = depth.saturating_sub(1),
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

fn without_comments(text: &[u8]) -> Vec<u8> {
    let mut output = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        if first != b'(' {
            output.push(first);
            rest = tail;
            continue;
        }
        let Some(length) = comment_length(rest) else { break };
        rest = rest.get(length..).unwrap_or_default();
    }
    output.extend_from_slice(rest);
    output
}

/// `multipart/mixed` of ` Multipart (x) / mixed`.
fn word_of(segment: &[u8]) -> String {
    let mut word = without_comments(segment);
    word.retain(|b| !b.is_ascii_whitespace() && *b != b'"');
    let word = words::decode(&String::from_utf8_lossy(&word), MAX_VALUE_BYTES).to_ascii_lowercase();
    word.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// The last word before a `=`: in `attachment filename=x` a `;` is missing.
fn parameter_name(before: &[u8]) -> String {
    let before = match memchr::memchr(b'(', before) {
        Some(_) => Cow::Owned(without_comments(before)),
        None => Cow::Borrowed(before),
    };
    let word = before.trim_ascii_end();
    let start = word.iter().rposition(|b| b.is_ascii_whitespace() || matches!(b, b',' | b'"'));
    let word = word.get(start.map_or(0, |at| at + 1)..).unwrap_or_default();
    let graphic = word.iter().filter(|b| b.is_ascii_graphic()).take(MAX_NAME_BYTES);
    graphic.map(|&b| char::from(b.to_ascii_lowercase())).collect()
}

fn is_of_interest(name: &str) -> bool {
    let base = name.split('*').next().unwrap_or(name);
    matches!(base, "boundary" | "filename" | "name")
}

/// What stands behind the `=`, as each kind of reader would take it; the one
/// that the RFCs mean comes first.
fn readings_of(value: &[u8]) -> Vec<Vec<u8>> {
    let value = value.trim_ascii();
    let mut readings = Vec::new();
    let mut add = |bytes: &[u8]| {
        // A name broken by a fold: some join it with a blank, some without.
        for reading in [unfolded(bytes, b" "), unfolded(bytes, b"")] {
            if !readings.contains(&reading) {
                readings.push(reading);
            }
        }
    };
    if value.first() == Some(&b'"') {
        let length = quoted_length(value);
        let end = length.map_or(value.len(), |length| length - 1);
        let inner = value.get(1..end).unwrap_or_default();
        add(&unescaped(inner));
        // `C:\file.exe`: Windows programs write, and read, no escapes.
        add(inner);
        if end + 1 < value.len() {
            add(&without_quotes(value));
            add(&without_comments(&without_quotes(value)));
        }
        return readings;
    }
    add(&without_quotes(value));
    if memchr::memchr(b'(', value).is_some() {
        add(&without_quotes(without_comments(value).trim_ascii()));
    }
    if let Some(word) = value.split(u8::is_ascii_whitespace).next() {
        add(&without_quotes(word));
    }
    if let Some(inner) = value.strip_prefix(b"'").and_then(|v| v.strip_suffix(b"'")) {
        add(inner);
    }
    readings
}

fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut output = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\\' => output.extend(bytes.next()),
            _ => output.push(byte),
        }
    }
    output
}

fn without_quotes(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|&b| b != b'"').collect()
}

fn unfolded(text: &[u8], joint: &[u8]) -> Vec<u8> {
    let mut lines = text.split(|b| matches!(b, b'\r' | b'\n'));
    let mut output = lines.next().unwrap_or_default().to_vec();
    for line in lines {
        let line = line.trim_ascii_start();
        if !line.is_empty() {
            output.truncate(output.trim_ascii_end().len());
            output.extend_from_slice(joint);
            output.extend_from_slice(line);
        }
    }
    output
}

fn plain(bytes: &[u8]) -> Vec<Reading> {
    let mut readings = vec![Reading { bytes: bytes.to_vec(), charset: None }];
    if memchr::memchr(b'%', bytes).is_some() {
        let mut undone = Vec::with_capacity(bytes.len());
        words::push_percent(&mut undone, bytes);
        readings.push(Reading { bytes: undone, charset: None });
    }
    readings
}

/// `charset'language'percent-encoded` (RFC 2231, section 4).
fn extended(bytes: &[u8]) -> Reading {
    let (charset, encoded) = split_charset(bytes);
    let mut undone = Vec::with_capacity(encoded.len());
    words::push_percent(&mut undone, encoded);
    Reading { bytes: undone, charset }
}

fn split_charset(bytes: &[u8]) -> (Option<String>, &[u8]) {
    let mut parts = bytes.splitn(3, |&b| b == b'\'');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(charset), Some(_), Some(encoded)) => {
            let label = String::from_utf8_lossy(charset).into_owned();
            (Some(label).filter(|label| !label.is_empty()), encoded)
        }
        _ => (None, bytes),
    }
}

/// `filename*3*=…`: one piece of a value (RFC 2231, section 3).
#[derive(Clone, Copy)]
struct Piece<'a> {
    number: u32,
    is_extended: bool,
    bytes: &'a [u8],
}

impl<'a> Piece<'a> {
    fn new(number: &str, parameter: &'a Parameter) -> Option<Self> {
        let is_extended = number.ends_with('*');
        let number = number.trim_end_matches('*').parse().ok()?;
        Some(Self { number, is_extended, bytes: parameter.readings.first()? })
    }
}

/// The pieces put together in each way readers do: up to the first gap, over
/// gaps, with the first or the last of two of one number, in the order written.
fn add_joined(found: &mut Vec<Reading>, pieces: &[Piece]) {
    if pieces.is_empty() {
        return;
    }
    let mut sorted = pieces.to_vec();
    sorted.sort_by_key(|piece| piece.number);
    let mut firsts = sorted.clone();
    firsts.dedup_by_key(|piece| piece.number);
    let mut lasts: Vec<_> = sorted.iter().rev().copied().collect();
    lasts.dedup_by_key(|piece| piece.number);
    lasts.reverse();
    let whole = firsts.iter().zip(0u32..).take_while(|(piece, at)| piece.number == *at).count();
    let up_to_gap = firsts.get(..whole).unwrap_or_default();
    for order in [up_to_gap, &firsts, &lasts, pieces] {
        for reading in joined(order) {
            if !found.contains(&reading) {
                found.push(reading);
            }
        }
    }
}

fn joined(pieces: &[Piece]) -> Vec<Reading> {
    let Some(first) = pieces.first() else { return Vec::new() };
    let (charset, start) = if first.is_extended { split_charset(first.bytes) } else { (None, first.bytes) };
    let mut bytes = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let text = if at == 0 { start } else { piece.bytes };
        if piece.is_extended {
            words::push_percent(&mut bytes, text);
        } else {
            bytes.extend_from_slice(text);
        }
    }
    if first.is_extended { vec![Reading { bytes, charset }] } else { plain(&bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(field: &str, name: &str) -> Vec<String> {
        readings(&[&Field::parse(field.as_bytes())], name).iter().map(|r| r.text(1000)).collect()
    }

    #[test]
    fn the_reading_the_rfcs_mean_comes_first() {
        for (field, expected) in [
            ("attachment; filename=a.exe", "a.exe"),
            ("attachment; FileName = \"a b.exe\"", "a b.exe"),
            ("attachment;\n filename=\"a;b.exe\"; size=1", "a;b.exe"),
            ("attachment; filename=\"a\\\"b.exe\"", "a\"b.exe"),
            ("attachment; (x) filename=a.exe", "a.exe"),
            ("attachment; x=\"; filename=no\"; filename=a.exe", "a.exe"),
            ("attachment; filename=\"=?utf-8?B?w6kuZXhl?=\"", "é.exe"),
            ("attachment; filename=\"=?utf-8?Q?a?=\n =?utf-8?Q?.exe?=\"", "a.exe"),
            ("attachment; filename*=utf-8'en'%C3%A9.exe", "é.exe"),
            ("attachment; filename*=iso-8859-1''%E9.exe", "é.exe"),
            ("attachment; filename*=a%2Eexe", "a.exe"),
            ("attachment; filename*0=a; filename*1=.e; filename*2=xe", "a.exe"),
            ("attachment; filename*1*=%2Eexe; filename*0*=utf-8''%C3%A9", "é.exe"),
            // One character split between two pieces.
            ("attachment; filename*0*=utf-8''%C3; filename*1*=%A9.exe", "é.exe"),
            ("attachment; filename*0*=utf-8''a%20; filename*1=\"%20.exe\"", "a %20.exe"),
        ] {
            assert_eq!(texts(field, "filename").first().map(String::as_str), Some(expected), "{field}");
        }
    }

    #[test]
    fn every_reading_of_an_ambiguous_name_is_given() {
        for (field, expected) in [
            ("attachment; filename=a.txt; filename=b.exe", "b.exe"),
            ("attachment; filename=\"a.txt\"; filename*=utf-8''b.exe", "b.exe"),
            ("attachment; filename=my file.exe", "my file.exe"),
            ("attachment; filename=my file.exe", "my"),
            ("attachment; filename=a(1).exe", "a(1).exe"),
            ("attachment; filename=a(1).exe", "a.exe"),
            ("attachment; filename=\"a\".exe", "a.exe"),
            ("attachment; filename=\"a.txt\" \".exe\"", "a.txt .exe"),
            ("attachment; filename=a.e\"xe\"", "a.exe"),
            ("attachment; filename=\"a.exe", "a.exe"),
            ("attachment; filename=\"a.txt; filename=b.exe", "b.exe"),
            ("attachment; filename=\"c:\\b.exe\"", "c:\\b.exe"),
            ("attachment; filename=\"c:\\b.exe\"", "c:b.exe"),
            ("attachment; filename=a;.exe", "a;.exe"),
            ("attachment; filename=a\\;.exe", "a;.exe"),
            ("attachment; filename='a.exe'", "a.exe"),
            ("attachment; filename=a%2Eexe", "a.exe"),
            ("attachment; filename=\"a.e\n xe\"", "a.exe"),
            ("attachment filename=a.exe", "a.exe"),
            ("attachment; x=y filename=a.exe", "a.exe"),
            ("attachment; x=y, filename=\"a.exe\"", "a.exe"),
            ("(attachment; filename=a.exe", "a.exe"),
            ("attachment; filename*0=a; filename*2=.exe", "a"),
            ("attachment; filename*0=a; filename*2=.exe", "a.exe"),
            ("attachment; filename*1=a; filename*2=.exe", "a.exe"),
            ("attachment; filename*0=a.txt; filename*0=b.exe", "b.exe"),
            ("attachment; filename*0=a.txt; filename*0=b.exe", "a.txt"),
            ("attachment; filename*1=b; filename*0=a", "ba"),
            ("attachment; filename*0=\"=?utf-8?Q?a\"; filename*1=\".exe?=\"", "a.exe"),
        ] {
            let found = texts(field, "filename");
            assert!(found.iter().any(|name| name == expected), "{field}: {found:?}");
        }
    }

    #[test]
    fn other_parameters_are_no_names() {
        for field in ["attachment", "attachment; filenames=a", "attachment; filename", "a; filename*x=b", ""]
        {
            assert_eq!(texts(field, "filename"), [""; 0], "{field}");
        }
    }

    #[test]
    fn the_value_is_lower_case_without_comments_and_blanks() {
        for (field, expected) in [
            (" Multipart (x) / Mixed ; boundary=a", "multipart/mixed"),
            ("text/plain", "text/plain"),
            ("=?utf-8?Q?text/html?=; charset=x", "text/html"),
            ("", ""),
        ] {
            assert_eq!(Field::parse(field.as_bytes()).value, expected, "{field}");
        }
    }

    #[test]
    fn hostile_fields_take_linear_time() {
        for hostile in
            [";", "\"", "(", "(\"", "a=", "a=b;", "=", "\\", "\"\\", "filename*1=a;", "filename=(", "'"]
        {
            let field = Field::parse(hostile.repeat(64 * 1024 / hostile.len()).as_bytes());
            assert!(field.parameters.len() <= MAX_PARAMETERS + MAX_HIDDEN_PARAMETERS);
            readings(&[&field], "filename");
        }
    }
}
