//! What can be read in a message: its text parts decoded, of web pages also what is
//! seen of them, of messages within their header fields.

use std::borrow::Cow;

use mail_parser::decoders::html::html_to_text;

use crate::message::charset;
use crate::message::lines::Lines;
use crate::message::words;

/// Bytes of all of it, and of what one part of it is decoded from.
pub(super) const MAX_TEXT_BYTES: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Text {
    text: String,
    limit: Option<&'static str>,
}

impl Text {
    pub(super) fn into_string(self) -> String {
        self.text
    }

    /// The first cap that was hit, in words.
    pub(super) fn limit(&self) -> Option<&'static str> {
        self.limit
    }

    pub(super) fn add(&mut self, bytes: &[u8], label: Option<&str>, is_html: bool) {
        if self.text.len() + 1 >= MAX_TEXT_BYTES && !bytes.is_empty() {
            return self.hit();
        }
        let begin = bytes.get(..MAX_TEXT_BYTES).unwrap_or(bytes);
        if begin.len() < bytes.len() {
            self.hit();
        }
        let text = match label {
            Some(label) => Cow::Owned(charset::decode(label, begin)),
            // Without a charset it may be any that has ASCII in it.
            None => String::from_utf8_lossy(begin),
        };
        self.push(&text);
        // Also where nobody said so.
        if is_html || begins_page(&text) {
            self.push(&html_to_text(&text));
        }
    }

    /// The fields of a message within, decoded, one a line.
    pub(super) fn add_header(&mut self, header: &[u8]) {
        if self.text.len() + 1 >= MAX_TEXT_BYTES {
            return self.hit();
        }
        let mut field = String::new();
        for line in Lines::new(header.get(..MAX_TEXT_BYTES).unwrap_or(header)) {
            let text = String::from_utf8_lossy(line.text);
            if !text.starts_with([' ', '\t']) && !field.is_empty() {
                self.push(&words::decode(&field, MAX_TEXT_BYTES));
                field.clear();
            }
            if !field.is_empty() {
                field.push(' ');
            }
            field.push_str(text.trim());
        }
        self.push(&words::decode(&field, MAX_TEXT_BYTES));
    }

    /// On lines of its own, with LF.
    fn push(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let room = MAX_TEXT_BYTES.saturating_sub(self.text.len() + 1);
        let kept = words::cut(text, room);
        if kept.len() < text.len() {
            self.hit();
        }
        for (at, piece) in kept.split("\r\n").enumerate() {
            if at > 0 {
                self.text.push('\n');
            }
            self.text.push_str(piece);
        }
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
    }

    fn hit(&mut self) {
        self.limit.get_or_insert("a longer text than is read");
    }
}

fn begins_page(text: &str) -> bool {
    let begin = text.trim_start().as_bytes();
    ["<html", "<!doctype html"]
        .iter()
        .any(|tag| begin.get(..tag.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(tag.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8], label: Option<&str>, is_html: bool) -> String {
        let mut text = Text::default();
        text.add(bytes, label, is_html);
        text.into_string()
    }

    #[test]
    fn text_is_decoded_with_lf() {
        for (bytes, label, expected) in [
            (&b"a\r\nb\r\n"[..], None, "a\nb\n"),
            (b"caf\xe9", Some("iso-8859-1"), "café\n"),
            (b"caf\xc3\xa9", None, "café\n"),
            (b"caf+AOk-", Some("utf-7"), "café\n"),
            (b"", None, ""),
        ] {
            assert_eq!(text(bytes, label, false), expected, "{bytes:?}");
        }
    }

    #[test]
    fn of_a_page_both_source_and_what_is_seen_are_there() {
        let page = b"<html><body>Buy <b>vi</b>agra&nbsp;n&#111;w</body></html>";
        for (label, is_html) in [(None, true), (None, false)] {
            let text = text(page, label, is_html);
            assert!(text.contains("<b>vi</b>agra"), "{text}");
            let seen = text.replace('\u{A0}', " ");
            assert!(seen.contains("viagra now"), "{seen}");
        }
    }

    #[test]
    fn a_header_is_one_line_a_field() {
        let mut text = Text::default();
        text.add_header(b"Subject: =?utf-8?Q?caf=C3=A9?=\r\n =?utf-8?Q?_noir?=\r\nTo: x\r\n");
        assert_eq!(text.into_string(), "Subject: café noir\nTo: x\n");
    }

    #[test]
    fn what_is_too_long_is_cut_and_told() {
        let mut text = Text::default();
        text.add(&vec![b'a'; MAX_TEXT_BYTES + 1], None, false);
        text.add(b"more", None, false);
        assert!(text.limit().is_some() && text.text.len() <= MAX_TEXT_BYTES);
    }
}
