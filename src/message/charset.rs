//! Bytes of a named charset → text.
//!
//! Label and bytes are a stranger's (encoded-words, RFC 2231 parameters). Every
//! input has an answer: what no table knows is read as UTF-8 with replacement
//! characters. Time and output are linear in the input (at most 3 bytes out for
//! one in).

use encoding_rs::Encoding;
use encoding_rs::REPLACEMENT;
use encoding_rs::UTF_16BE;
use encoding_rs::UTF_16LE;

/// Names in use in mail that the WHATWG table, made for the web, does not hold.
const ALIASES: &[(&str, &str)] = &[
    ("cp932", "shift_jis"),
    ("cp936", "gbk"),
    ("cp949", "euc-kr"),
    ("cp950", "big5"),
    ("latin-1", "iso-8859-1"),
    ("utf8mb4", "utf-8"),
];

/// Never fails.
pub(super) fn decode(label: &str, bytes: &[u8]) -> String {
    let label = label.trim();
    if label.eq_ignore_ascii_case("utf-7") || label.eq_ignore_ascii_case("unicode-1-1-utf-7") {
        return utf7(bytes);
    }
    let alias = ALIASES.iter().find(|(name, _)| label.eq_ignore_ascii_case(name));
    let label = alias.map_or(label, |(_, name)| name);
    if label.eq_ignore_ascii_case("utf-16") {
        return utf16(bytes);
    }
    match Encoding::for_label(label.as_bytes()) {
        // The table maps charsets that browsers refuse to a lone U+FFFD; a name
        // with its ASCII letters left says more.
        Some(encoding) if encoding != REPLACEMENT => encoding.decode(bytes).0.into_owned(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Without a byte order mark RFC 2781 says big-endian, the web's table little: the
/// order is where the zeros of ASCII letters stand.
fn utf16(bytes: &[u8]) -> String {
    let zeros_at = |from: usize| bytes.iter().skip(from).step_by(2).filter(|&&b| b == 0).count();
    let assumed = if zeros_at(1) > zeros_at(0) { UTF_16LE } else { UTF_16BE };
    assumed.decode(bytes).0.into_owned()
}

/// One base64 digit.
pub(super) fn sextet(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

/// RFC 2152. No table of charsets knows it any more, but old mail clients do,
/// and so a file name may hide in it.
fn utf7(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'+' {
            text.push(if first.is_ascii() { char::from(first) } else { char::REPLACEMENT_CHARACTER });
            continue;
        }
        let end = rest.iter().position(|&b| sextet(b).is_none()).unwrap_or(rest.len());
        let (shifted, tail) = rest.split_at(end);
        if shifted.is_empty() {
            text.push('+');
        }
        push_utf16(&mut text, shifted);
        rest = tail.strip_prefix(b"-").unwrap_or(tail);
    }
    text
}

fn push_utf16(text: &mut String, digits: &[u8]) {
    let mut units = Vec::with_capacity(digits.len() / 2);
    let (mut bits, mut count) = (0u32, 0u32);
    for value in digits.iter().filter_map(|&b| sextet(b)) {
        bits = (bits << 6) | value;
        count += 6;
        if count >= 16 {
            count -= 16;
            units.push((bits >> count) as u16);
            bits &= (1 << count) - 1;
        }
    }
    text.extend(char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charset_is_found_by_any_of_its_names_and_an_unknown_one_keeps_ascii() {
        for (label, bytes, expected) in [
            ("UTF-8", &b"caf\xc3\xa9"[..], "café"),
            (" iso-8859-1 ", b"caf\xe9", "café"),
            ("Latin-1", b"caf\xe9", "café"),
            ("koi8-r", b"\xc6\xc1\xca\xcc", "файл"),
            ("cp932", b"\x83e.exe", "テ.exe"),
            ("iso-2022-jp", b"\x1b$B%F\x1b(B.exe", "テ.exe"),
            ("utf-16be", b"\0a\0.\0e", "a.e"),
            ("utf-16", b"\0a\0.\0e", "a.e"),
            ("UTF-16", b"a\0.\0e\0", "a.e"),
            ("utf-16", b"\xff\xfea\0", "a"),
            ("utf-7", b"evil+AC4-exe +- +", "evil.exe + +"),
            ("utf-7", b"+2D3eAA", "\u{1F600}"),
            ("utf-7", b"+2D0-x\xff", "\u{FFFD}x\u{FFFD}"),
            ("x-unknown", b"a\xff.exe", "a\u{FFFD}.exe"),
            ("hz-gb-2312", b"a.exe", "a.exe"),
            ("", b"a.exe", "a.exe"),
        ] {
            assert_eq!(decode(label, bytes), expected, "{label}");
        }
    }
}
