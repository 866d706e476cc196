//! The header of one part while it is read: its content fields, as they were
//! written. A stranger wrote them; where a cap is hit, that is said (`limit`).

use crate::message::lines::Line;
use crate::message::parameters::Field;

/// Bytes kept of the content fields of one part header.
pub(super) const MAX_FIELDS_BYTES: usize = 64 * 1024;
/// Content fields of one part header; two are needed.
const MAX_FIELDS: usize = 16;

/// A field that says what a part is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Disposition,
    Type,
}

#[derive(Debug, Default)]
pub(super) struct PartHeader {
    fields: Vec<(Kind, Vec<u8>)>,
    bytes: usize,
    /// Fields of any kind.
    seen: usize,
    /// The last line was of a content field, and its continuation belongs to it.
    is_open: bool,
    limit: Option<&'static str>,
}

impl PartHeader {
    /// A field with its continuations.
    pub(super) fn field(&mut self, name: &[u8], value: &[u8]) {
        self.seen += 1;
        self.is_open = false;
        if let Some(kind) = content_field(name) {
            self.open(kind, value);
        }
    }

    /// A line of it that is not empty.
    pub(super) fn line(&mut self, line: Line<'_>) {
        if line.is_cut {
            self.hit("a longer line in the header of a part than is read");
        }
        // A line that is no field continues the one before, blank in front or not:
        // readers differ, and the joined field shows what either sees.
        match split_field(line.text) {
            Some((name, value)) => self.field(name, value),
            None if self.is_open => {
                self.extend(b"\n ");
                self.extend(line.text);
            }
            None => {}
        }
    }

    /// No field of any kind was seen.
    pub(super) fn is_empty(&self) -> bool {
        self.seen == 0
    }

    pub(super) fn content(&self) -> Vec<(Kind, Field)> {
        self.fields.iter().map(|(kind, value)| (*kind, Field::parse(value))).collect()
    }

    /// The first cap that was hit, in words.
    pub(super) fn limit(&self) -> Option<&'static str> {
        self.limit
    }

    fn hit(&mut self, limit: &'static str) {
        self.limit.get_or_insert(limit);
    }

    fn open(&mut self, kind: Kind, value: &[u8]) {
        if self.fields.len() >= MAX_FIELDS {
            return self.hit("more content fields in the header of a part than are read");
        }
        self.fields.push((kind, Vec::new()));
        self.is_open = true;
        self.extend(value);
    }

    fn extend(&mut self, text: &[u8]) {
        let room = MAX_FIELDS_BYTES.saturating_sub(self.bytes);
        if text.len() > room {
            self.hit("longer content fields in the header of a part than are read");
        }
        let text = text.get(..room).unwrap_or(text);
        self.bytes += text.len();
        if let Some((_, value)) = self.fields.last_mut() {
            value.extend_from_slice(text);
        }
    }
}

fn content_field(name: &[u8]) -> Option<Kind> {
    let name = name.trim_ascii_end();
    if name.eq_ignore_ascii_case(b"Content-Type") {
        return Some(Kind::Type);
    }
    name.eq_ignore_ascii_case(b"Content-Disposition").then_some(Kind::Disposition)
}

pub(super) fn begins_content_field(line: &[u8]) -> bool {
    let begins = line.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"content-"));
    begins && split_field(line).is_some_and(|(name, _)| content_field(name).is_some())
}

/// Name and value, if the line begins a field. What has a `=`, `;` or quote before
/// its colon is rather the rest of another.
pub(super) fn split_field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', line)?;
    let (name, value) = line.split_at(colon);
    let name = name.trim_ascii_end();
    let is_name = |b: &u8| b.is_ascii_graphic() && !matches!(b, b'=' | b';' | b'"');
    if name.is_empty() || !name.iter().all(is_name) {
        return None;
    }
    Some((name, value.get(1..)?))
}
