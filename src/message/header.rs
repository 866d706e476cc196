//! The header fields of a message, as the milter gives them.
//!
//! Names and values are a stranger's: any bytes but NUL, any length up to what
//! Postfix passes (60,000 bytes a field, as many fields as the message has).
//! Kept are the first fields up to the caps below; what is beyond is only
//! counted. Nothing is decoded before somebody asks.

use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::fast::RandomState;
use memchr::memchr2;
use memchr::memmem;

use crate::message::address;
use crate::message::words;

/// Fields kept of one message.
pub(super) const MAX_HEADERS: usize = 2_000;
/// Bytes kept of all fields of one message, names and values.
pub(super) const MAX_HEADERS_BYTES: usize = 1 << 20;
/// Postfix cuts a field at 60,000 bytes and hands on what it has cut: from here
/// on the end may be missing, so that a reader behind us may see another field.
pub(super) const MAX_WHOLE_FIELD_BYTES: usize = 59_000;
/// Decoded text of one field: three bytes for each that Postfix passes, so only
/// what came another way is ever cut.
pub(super) const MAX_DECODED_BYTES: usize = 180_000;

/// The fields that hold addresses.
const ADDRESS_FIELDS: &[&str] = &["Bcc", "Cc", "From", "Reply-To", "Sender", "To"];

/// One field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    /// As written.
    pub name: String,
    /// The value with its leading blank and its folds (`\n` and blanks); bytes
    /// that are no UTF-8 have become U+FFFD.
    pub raw: String,
    /// How many fields of this name were seen, with this one: what a milter
    /// change or removal calls its index.
    pub occurrence: u32,
}

impl Header {
    /// As a person reads it: unfolded, encoded-words decoded, trimmed. At most
    /// [`MAX_DECODED_BYTES`].
    pub fn decoded(&self) -> Cow<'_, str> {
        match unfolded(&self.raw) {
            Cow::Borrowed(text) => words::decode(text, MAX_DECODED_BYTES),
            Cow::Owned(text) => Cow::Owned(words::decode(&text, MAX_DECODED_BYTES).into_owned()),
        }
    }

    /// Whether there may be encoded-words in it; if not, it is decoded as it is.
    pub fn is_encoded(&self) -> bool {
        memmem::find(self.raw.as_bytes(), b"=?").is_some()
    }

    /// On one line, as sent otherwise.
    pub fn unfolded(&self) -> Cow<'_, str> {
        unfolded(&self.raw)
    }

    /// Its bytes as it came, with name and folds, but for the end of the line.
    pub fn size(&self) -> u64 {
        (self.name.len() + 1 + self.raw.len()) as u64
    }

    /// `Name: value` on one line, as sent otherwise.
    pub fn line(&self) -> String {
        [&self.name, ": ", &*self.unfolded()].concat()
    }

    /// The bare addresses of this field: see [`address::addresses`].
    pub fn addresses(&self) -> Vec<String> {
        address::addresses(&self.raw)
    }
}

/// All fields of a message, in order.
#[derive(Debug, Default)]
pub struct Headers {
    kept: Vec<Header>,
    /// Lower-case name → places in `kept`.
    places: HashMap<String, Vec<usize>, RandomState>,
    bytes: usize,
    /// Of all, as they go over the wire.
    size: u64,
    beyond: u64,
    limit: Option<&'static str>,
}

impl Headers {
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        // A fold without its CR is one for the milter alone.
        let bare = memchr::memchr_iter(b'\n', value).count() - memmem::find_iter(value, b"\r\n").count();
        self.size = self.size.saturating_add((name.len() + 1 + value.len() + bare + 2) as u64);
        // Once one field is beyond, so are all after it: else the occurrences of
        // the later ones would be wrong, and a change would hit another field.
        let bytes = self.bytes.saturating_add(name.len()).saturating_add(value.len());
        if self.beyond > 0 || self.kept.len() >= MAX_HEADERS || bytes > MAX_HEADERS_BYTES {
            self.beyond = self.beyond.saturating_add(1);
            self.limit.get_or_insert("more header fields than are read");
            return;
        }
        self.bytes = bytes;
        let name = text_of(name).trim_ascii_end().to_owned();
        let raw = text_of(value).into_owned();
        let places = self.places.entry(name.to_ascii_lowercase()).or_default();
        places.push(self.kept.len());
        let occurrence = u32::try_from(places.len()).unwrap_or(u32::MAX);
        let header = Header { name, raw, occurrence };
        if let Some(limit) = limit_hit_by(&header) {
            self.limit.get_or_insert(limit);
        }
        self.kept.push(header);
    }

    /// Those named `name`, in whatever case, in order.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Header> {
        let places = self.places.get(&name.to_ascii_lowercase()).map_or(&[][..], Vec::as_slice);
        places.iter().filter_map(|&at| self.kept.get(at))
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Header> {
        self.kept.iter()
    }

    pub fn len(&self) -> usize {
        self.kept.len()
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// All that there were, whether or not they were kept.
    pub fn count(&self) -> u64 {
        self.beyond.saturating_add(self.kept.len() as u64)
    }

    /// The bytes of all of them, with their line ends.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Fields that were not kept.
    pub fn beyond(&self) -> u64 {
        self.beyond
    }

    /// The first cap that was hit, in words.
    pub fn limit(&self) -> Option<&'static str> {
        self.limit
    }
}

/// As `String::from_utf8_lossy`, which looks at each byte also of what is UTF-8.
fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

fn limit_hit_by(header: &Header) -> Option<&'static str> {
    if header.name.len() + header.raw.len() > MAX_WHOLE_FIELD_BYTES {
        return Some("a header field so long that it may have been cut");
    }
    // Addresses are read only where there may be too many: the shortest, with
    // its comma, has three bytes.
    let may_have_many = header.raw.len() > 3 * address::MAX_ADDRESSES
        && ADDRESS_FIELDS.iter().any(|name| header.name.eq_ignore_ascii_case(name));
    if may_have_many && header.addresses().len() >= address::MAX_ADDRESSES {
        return Some("more addresses in a header field than are read");
    }
    None
}

/// Each fold with the blanks around it becomes one blank (RFC 5322, 2.2.3 would
/// keep every blank; a rule's text should not depend on where a line was broken).
pub(super) fn unfolded(raw: &str) -> Cow<'_, str> {
    let trimmed = without_blanks(raw);
    if memchr2(b'\r', b'\n', trimmed.as_bytes()).is_none() {
        return Cow::Borrowed(trimmed);
    }
    let lines = trimmed.split(['\r', '\n']).map(|line| line.trim_matches([' ', '\t']));
    let mut text = String::with_capacity(trimmed.len());
    for line in lines.filter(|line| !line.is_empty()) {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(line);
    }
    Cow::Owned(text)
}

/// What is between blanks and line ends. By bytes: every header line comes by here.
fn without_blanks(text: &str) -> &str {
    let is_kept = |byte: &u8| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let bytes = text.as_bytes();
    let start = bytes.iter().position(is_kept).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(is_kept).map_or(start, |last| last + 1);
    text.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::default();
        for (name, value) in fields {
            headers.push(name.as_bytes(), value.as_bytes());
        }
        headers
    }

    #[test]
    fn values_are_read_as_a_person_reads_them() {
        for (raw, expected) in [
            (" hello", "hello"),
            (" a\n b\r\n\tc ", "a b c"),
            (" a \n  \n  b", "a b"),
            (" two  blanks", "two  blanks"),
            (" =?utf-8?Q?caf=C3=A9?=\n =?utf-8?Q?_noir?=", "café noir"),
            ("", ""),
        ] {
            let headers = headers(&[("Subject", raw)]);
            assert_eq!(headers.iter().next().unwrap().decoded(), expected, "{raw:?}");
        }
    }

    #[test]
    fn fields_are_found_in_any_case_and_numbered_by_name() {
        let headers = headers(&[("Received", " 1"), ("To", " x@example.com"), ("received", " 2")]);
        let found: Vec<_> = headers.named("RECEIVED").map(|h| (h.name.as_str(), h.occurrence)).collect();
        assert_eq!(found, [("Received", 1), ("received", 2)]);
        assert_eq!(headers.named("to").next().unwrap().addresses(), ["x@example.com"]);
        assert_eq!(headers.named("cc").count(), 0);
        assert_eq!((headers.len(), headers.beyond(), headers.limit()), (3, 0, None));
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let mut headers = Headers::default();
        headers.push(b"Subject", b" caf\xe9");
        assert_eq!(headers.iter().next().unwrap().decoded(), "caf\u{FFFD}");
    }

    #[test]
    fn fields_beyond_the_caps_are_counted_and_flagged() {
        let many = headers(&vec![("X", " y"); MAX_HEADERS + 5]);
        assert_eq!((many.len(), many.beyond()), (MAX_HEADERS, 5));
        assert_eq!((many.count(), many.size()), (MAX_HEADERS as u64 + 5, 6 * (MAX_HEADERS as u64 + 5)));
        assert!(many.limit().is_some());

        let value = "v".repeat(50_000);
        let big = headers(&vec![("X", value.as_str()); 30]);
        assert_eq!((big.len(), big.beyond()), (20, 10));
        assert!(headers(&[("X", &value)]).limit().is_none());
    }

    #[test]
    fn a_field_that_may_have_been_cut_and_one_of_too_many_addresses_are_flagged() {
        assert!(headers(&[("X", &"v".repeat(MAX_WHOLE_FIELD_BYTES))]).limit().is_some());
        assert!(headers(&[("to", &"a@b, ".repeat(1_001))]).limit().is_some());
        assert!(headers(&[("To", &"a@b, ".repeat(999))]).limit().is_none());
        assert!(headers(&[("Subject", &"a@b, ".repeat(1_001))]).limit().is_none());
    }
}
