//! The header of one part while it is read: its content fields, as they were
//! written. A stranger wrote them; where a cap is hit, that is said (`limit`).

use crate::message::lines::Line;
use crate::message::parameters::Field;
use crate::message::trick::Trick;
use crate::message::trick::Tricks;

/// Bytes kept of the content fields of one part header.
pub(super) const MAX_FIELDS_BYTES: usize = 64 * 1024;
/// Content fields of one part header; three are needed.
const MAX_FIELDS: usize = 24;

/// A field that says what a part is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Disposition,
    Encoding,
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
    /// Where the first line stands that is neither a field nor the rest of one: the body
    /// begins there for some.
    broken_at: Option<usize>,
    tricks: Tricks,
    limit: Option<&'static str>,
}

impl PartHeader {
    /// A field with its continuations.
    pub(super) fn field(&mut self, name: &[u8], value: &[u8]) {
        self.seen += 1;
        self.is_open = false;
        self.look_at(name);
        self.look_at(value);
        if let Some(kind) = content_field(name) {
            // Some readers see no field where there is a blank before the colon.
            self.tricks.add_if(name.last().is_some_and(u8::is_ascii_whitespace), Trick::HeaderBroken);
            self.open(kind, value);
        }
        // A field in the fold of another, or behind a lone carriage return.
        for line in value.split(|byte| matches!(byte, b'\r' | b'\n')).skip(1).map(<[u8]>::trim_ascii_start) {
            self.add_hidden(line);
        }
    }

    /// What looks like a field where none should be; false if it does not. Signatures
    /// name fields, and their names may begin a line.
    fn add_hidden(&mut self, line: &[u8]) -> bool {
        if !begins_content_field(line) {
            return false;
        }
        let Some((name, value)) = split_field(line) else { return false };
        let text = String::from_utf8_lossy(value.trim_ascii()).to_ascii_lowercase();
        let word = text.split([';', ' ', ':']).next().unwrap_or_default();
        let kind = content_field(name).filter(|kind| match kind {
            Kind::Disposition => matches!(word, "attachment" | "inline"),
            Kind::Encoding => matches!(word, "7bit" | "8bit" | "base64" | "binary" | "quoted-printable"),
            Kind::Type => word.contains('/'),
        });
        let Some(kind) = kind else { return false };
        self.tricks.add(Trick::HeaderBroken);
        self.open(kind, value);
        true
    }

    /// There is no empty line behind it.
    pub(super) fn has_no_end(&mut self) {
        self.tricks.add(Trick::HeaderBroken);
    }

    /// A line of it that is not empty.
    pub(super) fn line(&mut self, line: Line<'_>) {
        let (text, is_whole) = line.begin();
        if !is_whole {
            self.hit("a longer line in the header of a part than is read");
        }
        // A line that is no field continues the one before, blank in front or not:
        // readers differ, and the joined field shows what either sees.
        if let Some((name, value)) = split_field(text) {
            return self.field(name, value);
        }
        self.look_at(text);
        // What mbox files have in front of a message.
        if self.seen == 0 && (text.starts_with(b"From ") || text.starts_with(b">From ")) {
            return;
        }
        let is_fold = self.seen > 0 && matches!(text.first(), Some(b' ' | b'\t'));
        // A line of blanks ends the header for some.
        self.tricks.add_if(!is_fold || text.trim_ascii().is_empty(), Trick::HeaderBroken);
        if !is_fold {
            self.broken_at.get_or_insert(line.start);
        } else if self.add_hidden(text.trim_ascii_start()) {
            return;
        }
        if self.is_open {
            self.extend(b"\n ");
            self.extend(text);
        }
    }

    /// No field of any kind was seen.
    pub(super) fn is_empty(&self) -> bool {
        self.seen == 0
    }

    pub(super) fn content(&self) -> Vec<(Kind, Field)> {
        self.fields.iter().map(|(kind, value)| (*kind, Field::parse(value))).collect()
    }

    pub(super) fn broken_at(&self) -> Option<usize> {
        self.broken_at
    }

    pub(super) fn tricks(&self) -> Tricks {
        self.tricks
    }

    /// The first cap that was hit, in words.
    pub(super) fn limit(&self) -> Option<&'static str> {
        self.limit
    }

    fn look_at(&mut self, text: &[u8]) {
        self.tricks.add_if(memchr::memchr(0, text).is_some(), Trick::NulInHeader);
        // Mail in the charsets of Asia has escapes.
        let is_odd = |b: &u8| b.is_ascii_control() && !matches!(b, b'\t' | b'\n' | b'\r' | 0x1b);
        self.tricks.add_if(text.iter().any(is_odd), Trick::ControlInHeader);
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
    let name = name.trim_ascii();
    let fields: [(&[u8], Kind); 3] = [
        (b"Content-Type", Kind::Type),
        (b"Content-Disposition", Kind::Disposition),
        (b"Content-Transfer-Encoding", Kind::Encoding),
    ];
    fields.iter().find(|(field, _)| name.eq_ignore_ascii_case(field)).map(|(_, kind)| *kind)
}

/// Whether a line may be the first of a part whose boundary was not seen.
pub(super) fn begins_content_field(line: &[u8]) -> bool {
    let begins = line.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"content-"));
    begins && split_field(line).is_some_and(|(name, _)| content_field(name).is_some())
}

/// Name and value, if the line begins a field. What has a `=`, `;` or quote before
/// its colon is rather the rest of another.
pub(super) fn split_field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', line)?;
    let (name, value) = line.split_at(colon);
    let shown = name.trim_ascii_end();
    let is_name = |b: &u8| b.is_ascii_graphic() && !matches!(b, b'=' | b';' | b'"');
    if shown.is_empty() || !shown.iter().all(is_name) {
        return None;
    }
    Some((name, value.get(1..)?))
}
