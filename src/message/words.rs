//! Encoded-words (RFC 2047) → text, as forgiving as the mail clients are.
//!
//! The text is a stranger's. Words are decoded wherever they stand, also inside
//! quotes and in the middle of other words, where the RFC forbids them: clients
//! do so, and a file name must be seen as they show it. One pass, linear time,
//! output cut at the caller's limit, never an error: what is no encoded-word is
//! text.

use std::borrow::Cow;

use memchr::memmem;

use crate::message::charset;

/// The longest charset name looked for after `=?`; the longest registered one
/// has 45 bytes, and a language tag may follow.
const MAX_CHARSET_BYTES: usize = 80;

/// `text` with its encoded-words decoded, at most `limit` bytes of it.
pub(super) fn decode(text: &str, limit: usize) -> Cow<'_, str> {
    if memmem::find(text.as_bytes(), b"=?").is_none() {
        return Cow::Borrowed(cut(text, limit));
    }
    let mut output = Output { text: String::new(), limit, run: Vec::new(), charset: "" };
    let mut words = Words { text, at: 0, unterminated: false };
    let mut copied = 0;
    let mut after_word = false;
    while let Some(word) = words.next() {
        let between = text.get(copied..word.start).unwrap_or_default();
        // Blanks between two words only separate them (RFC 2047, 6.2).
        if !after_word || !between.trim_ascii().is_empty() {
            output.plain(between);
        }
        output.word(&word);
        after_word = true;
        copied = word.end;
        if output.is_full() {
            break;
        }
    }
    output.plain(text.get(copied..).unwrap_or_default());
    Cow::Owned(output.text)
}

/// The first `limit` bytes of `text`, to the last whole character.
pub(super) fn cut(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}

#[derive(Clone, Copy)]
enum Encoding {
    Base64,
    Quoted,
}

struct Word<'a> {
    charset: &'a str,
    encoding: Encoding,
    encoded: &'a [u8],
    start: usize,
    end: usize,
}

/// Finds one word after the other.
struct Words<'a> {
    text: &'a str,
    at: usize,
    /// No `?=` is left ahead: without this, a text full of beginnings would be
    /// searched to its end for each of them.
    unterminated: bool,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<Word<'a>> {
        while !self.unterminated {
            let start = self.at + memmem::find(self.text.as_bytes().get(self.at..)?, b"=?")?;
            self.at = start + 2;
            if let Some(word) = self.word_at(start) {
                self.at = word.end;
                return Some(word);
            }
        }
        None
    }

    fn word_at(&mut self, start: usize) -> Option<Word<'a>> {
        let bytes = self.text.as_bytes();
        let after = bytes.get(start + 2..)?;
        let is_charset = |b: &u8| b.is_ascii_graphic() && !matches!(b, b'?' | b'=');
        let length = after.iter().take(MAX_CHARSET_BYTES + 1).position(|b| !is_charset(b))?;
        let encoding = match after.get(length..length + 3)? {
            [b'?', b'B' | b'b', b'?'] => Encoding::Base64,
            [b'?', b'Q' | b'q', b'?'] => Encoding::Quoted,
            _ => return None,
        };
        let encoded = after.get(length + 3..)?;
        let Some(end) = memmem::find(encoded, b"?=") else {
            self.unterminated = true;
            return None;
        };
        let charset = self.text.get(start + 2..start + 2 + length)?;
        // RFC 2231, section 5: `charset*language`.
        let charset = charset.split('*').next().unwrap_or(charset);
        let encoded = encoded.get(..end)?;
        Some(Word { charset, encoding, encoded, start, end: start + 2 + length + 3 + end + 2 })
    }
}

/// The text so far, and the bytes of neighbouring words of one charset: these
/// are decoded together, for a character may be split between them.
struct Output<'a> {
    text: String,
    limit: usize,
    run: Vec<u8>,
    charset: &'a str,
}

impl<'a> Output<'a> {
    fn plain(&mut self, text: &str) {
        self.flush();
        self.push(text);
    }

    fn word(&mut self, word: &Word<'a>) {
        if !word.charset.eq_ignore_ascii_case(self.charset) {
            self.flush();
            self.charset = word.charset;
        }
        match word.encoding {
            Encoding::Base64 => push_base64(&mut self.run, word.encoded),
            Encoding::Quoted => push_quoted(&mut self.run, word.encoded),
        }
    }

    fn flush(&mut self) {
        if self.run.is_empty() {
            return;
        }
        let text = charset::decode(self.charset, &self.run);
        self.run.clear();
        self.push(&text);
    }

    fn push(&mut self, text: &str) {
        let kept = cut(text, self.limit.saturating_sub(self.text.len()));
        self.text.push_str(kept);
        if kept.len() < text.len() {
            // Nothing may follow what was cut, even if it were short enough.
            self.limit = self.text.len();
        }
    }

    fn is_full(&self) -> bool {
        self.text.len() >= self.limit
    }
}

/// Whatever is no digit is skipped; padding ends a group wherever it stands, so
/// that none, too much or too early padding loses nothing.
fn push_base64(output: &mut Vec<u8>, encoded: &[u8]) {
    let (mut bits, mut count) = (0u32, 0u32);
    for &byte in encoded {
        if byte == b'=' {
            (bits, count) = (0, 0);
        }
        let Some(value) = charset::sextet(byte) else { continue };
        bits = (bits << 6) | value;
        count += 6;
        if count >= 8 {
            count -= 8;
            output.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
}

fn push_quoted(output: &mut Vec<u8>, encoded: &[u8]) {
    push_escaped(output, encoded, b'=', |byte| if byte == b'_' { b' ' } else { byte });
}

/// `percent`-decoding of RFC 2231 and of URLs; a `%` that begins no hexadecimal
/// byte stays.
pub(super) fn push_percent(output: &mut Vec<u8>, encoded: &[u8]) {
    push_escaped(output, encoded, b'%', |byte| byte);
}

fn push_escaped(output: &mut Vec<u8>, encoded: &[u8], escape: u8, plain: impl Fn(u8) -> u8) {
    let mut rest = encoded;
    while let Some((&first, tail)) = rest.split_first() {
        if first == escape
            && let [high, low, after @ ..] = tail
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            output.push(high << 4 | low);
            rest = after;
            continue;
        }
        output.push(plain(first));
        rest = tail;
    }
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_words_are_decoded_as_clients_do() {
        for (text, expected) in [
            ("plain", "plain"),
            ("=?UTF-8?B?Y2Fmw6k=?=", "café"),
            ("=?utf-8?b?Y2Fmw6k?=", "café"),
            ("=?utf-8?B?Y2Fmw6k====?=", "café"),
            ("=?utf-8?B?YQ==Yg==?=", "ab"),
            ("=?utf-8?B?Y2Fm\n w6k=?=", "café"),
            ("=?iso-8859-1?q?caf=E9_noir?=", "café noir"),
            ("=?iso-8859-1?Q?caf=e9 noir?=", "café noir"),
            ("=?iso-8859-1*fr?Q?caf=E9?=", "café"),
            ("=?x-nothing?Q?a=2Eexe?=", "a.exe"),
            ("a =?utf-8?Q?b?= c", "a b c"),
            ("=?utf-8?Q?a?= =?utf-8?Q?b?=", "ab"),
            ("=?utf-8?Q?a?=\r\n\t=?iso-8859-1?Q?=E9?=", "aé"),
            ("=?utf-8?Q?a?= x =?utf-8?Q?b?=", "a x b"),
            ("\"=?utf-8?Q?a?=\"=?utf-8?Q?b?=c", "\"a\"bc"),
            // One character split between two words.
            ("=?utf-8?B?w6==?= =?UTF-8?Q?=A9?=", "é"),
            ("=?utf-8?Q?bad=ZZ=4?=", "bad=ZZ=4"),
            ("=?utf-8?Q??=", ""),
        ] {
            assert_eq!(decode(text, 1000), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_encoded_word_stays_as_it_is() {
        for text in ["=?", "=?utf-8?X?a?=", "=?utf-8?Q?a", "=?utf 8?Q?a?=", "a=?=b", "=?utf-8?Q", "é=?"] {
            assert_eq!(decode(text, 1000), text);
        }
        assert_eq!(decode("=?=?utf-8?Q?a?=", 1000), "=?a");
        assert_eq!(decode("=?utf-8?Q?a?= =?utf-8?Q?b", 1000), "a =?utf-8?Q?b");
    }

    #[test]
    fn output_ends_at_the_limit_on_a_whole_character() {
        assert_eq!(decode("ééé", 3), "é");
        assert_eq!(decode("=?utf-8?Q?=C3=A9=C3=A9?= xyz", 3), "é");
        assert_eq!(decode(&"=?a?q?b?=x".repeat(1000), 10), "bxbxbxbxbx");
    }

    #[test]
    fn long_and_hostile_texts_take_linear_time() {
        assert_eq!(decode(&"=?utf-8?Q?a?= ".repeat(100_000), 1 << 20).len(), 100_001);
        for hostile in ["=?", "=?utf-8?Q?", "=?utf-8", "?=", "=?a?B??="] {
            decode(&hostile.repeat(200_000), 1 << 20);
        }
    }

    #[test]
    fn percent_escapes_are_undone_and_broken_ones_kept() {
        let mut output = Vec::new();
        push_percent(&mut output, b"a%2eexe%zz%4");
        assert_eq!(output, b"a.exe%zz%4");
    }
}
