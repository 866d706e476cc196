//! Text from outside, made harmless for a log: one line, no control bytes, and
//! nothing that changes how the rest of the line looks.

use serde::Serialize;
use serde_json::ser::CompactFormatter;
use serde_json::ser::Formatter;
use serde_json::ser::Serializer;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

/// A value behind `key=`: bare if it is a plain word, else as a JSON string.
pub fn quote(value: &str) -> Cow<'_, str> {
    if is_word(value) {
        return Cow::Borrowed(value);
    }
    let mut quoted = String::with_capacity(value.len() + 8);
    push_in_quotes(&mut quoted, value);
    Cow::Owned(quoted)
}

/// Appends what [`quote`] makes of a value.
pub fn push_quoted(line: &mut String, value: &str) {
    if is_word(value) {
        line.push_str(value);
    } else {
        push_in_quotes(line, value);
    }
}

fn push_in_quotes(line: &mut String, value: &str) {
    line.push('"');
    for c in value.chars() {
        match c {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            c => push_visible(line, c),
        }
    }
    line.push('"');
}

/// Appends ` key=value`; `key` is ours.
pub fn field(line: &mut String, key: &str, value: &str) {
    line.reserve(key.len() + value.len() + 4);
    if !line.is_empty() {
        line.push(' ');
    }
    line.push_str(key);
    line.push('=');
    push_quoted(line, value);
}

/// A whole line that is already put together: whatever would end or bend it is
/// shown as an escape. Those who use [`quote`] never need it.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    // Nearly every line is printable ASCII, which needs no look at its characters.
    if is_printable(text) || !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 8);
    text.chars().for_each(|c| push_visible(&mut line, c));
    Cow::Owned(line)
}

/// Printable ASCII and nothing else; looks at many bytes at once.
fn is_printable(text: &str) -> bool {
    text.bytes().fold(true, |printable, byte| printable & matches!(byte, 0x20..=0x7e))
}

/// The same for JSON, where serde_json lets all but C0 pass.
pub(super) fn to_json(value: &impl Serialize) -> serde_json::Result<String> {
    let mut bytes = Vec::with_capacity(256);
    value.serialize(&mut Serializer::with_formatter(&mut bytes, Visible))?;
    // The serializer writes UTF-8 only.
    Ok(String::from_utf8(bytes).unwrap_or_default())
}

/// Writes strings with [`push_visible`].
struct Visible;

impl Formatter for Visible {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, out: &mut W, text: &str) -> io::Result<()> {
        CompactFormatter.write_string_fragment(out, &one_line(text))
    }
}

fn is_word(value: &str) -> bool {
    // Nearly every value is ASCII. A longer one is looked at in steps, without an early end
    // within one, the last of which may begin within the one before.
    let bytes = value.as_bytes();
    let (steps, _) = bytes.as_chunks::<16>();
    let bare = match bytes.last_chunk() {
        Some(last) => steps.iter().chain([last]).all(are_bare),
        None => bytes.iter().all(|byte| is_bare(*byte)),
    };
    if bare {
        return !value.is_empty();
    }
    value.chars().all(|c| match u8::try_from(c) {
        Ok(byte) if byte.is_ascii() => is_bare(byte),
        _ => c.is_alphanumeric(),
    })
}

fn are_bare(step: &[u8; 16]) -> bool {
    step.iter().fold(true, |bare, byte| bare & is_bare(*byte))
}

/// Whether a byte needs no quotes.
fn is_bare(byte: u8) -> bool {
    byte.is_ascii_graphic() & (byte != b'"') & (byte != b'\\') & (byte != b'=')
}

/// Control characters, line ends, and what is invisible or turns the direction
/// of text: with it a log line can be made to read as another one.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn push_visible(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if is_hidden(c) => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
        c => out.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each byte as a character, and each as what is left of bytes that are no UTF-8.
    fn every_byte() -> impl Iterator<Item = String> {
        let as_char = (0..=255_u8).map(|byte| char::from(byte).to_string());
        let lossy = (0..=255_u8).map(|byte| String::from_utf8_lossy(&[b'a', byte, b'b']).into_owned());
        as_char.chain(lossy)
    }

    const HOSTILE: &[&str] = &[
        "\u{2028}",
        "\u{2029}",
        "\u{202e}evil",
        "\u{2066}x\u{2069}",
        "\u{200b}",
        "\u{feff}",
        "\u{e0041}",
        "\u{85}",
        "\u{10ffff}",
        "a\r\nDec 1 00:00:00 mail gatepost: accept",
        "\u{1b}[2J",
    ];

    #[test]
    fn every_byte_survives_quoting_and_none_breaks_the_line() {
        for value in every_byte().chain(HOSTILE.iter().map(|text| (*text).to_owned())) {
            let quoted = quote(&value);
            assert!(!quoted.chars().any(is_hidden), "{value:?}");
            let bare = !quoted.starts_with('"');
            assert!(!bare || !quoted.contains([' ', '=', '"', '\\']), "{value:?}");
            let back = if bare { quoted.into_owned() } else { serde_json::from_str(&quoted).unwrap() };
            assert_eq!(back, value);
        }
    }

    #[test]
    fn every_byte_survives_json() {
        for value in every_byte().chain(HOSTILE.iter().map(|text| (*text).to_owned())) {
            let json = to_json(&[(&value, 1)]).unwrap();
            assert!(!json.chars().any(is_hidden), "{value:?}");
            let back: Vec<(String, u32)> = serde_json::from_str(&json).unwrap();
            assert_eq!(back[0].0, value);
            // Keys are strings as well.
            let json = to_json(&std::collections::BTreeMap::from([(&value, 1)])).unwrap();
            assert!(!json.chars().any(is_hidden), "{value:?}");
        }
    }

    #[test]
    fn plain_words_stay_bare() {
        for (value, expected) in [
            ("bob@example.com", "bob@example.com"),
            ("<>", "<>"),
            ("550/5.7.1", "550/5.7.1"),
            ("müller", "müller"),
            ("", "\"\""),
            ("two words", "\"two words\""),
            ("a=b", "\"a=b\""),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("a\nb\u{7f}", r#""a\nb\u007f""#),
            ("\u{e0041}", r#""\udb40\udc41""#),
        ] {
            assert_eq!(quote(value), expected, "{value:?}");
        }
        let mut line = String::from("decision");
        field(&mut line, "id", "x1");
        field(&mut line, "helo", "a b");
        assert_eq!(line, "decision id=x1 helo=\"a b\"");
    }
}
