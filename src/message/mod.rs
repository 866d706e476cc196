//! A message as the milter hands it over, piece by piece: its header fields, its
//! parts with their file names, what signatures need, its size.
//!
//! Who wrote it is unknown and hostile. The body is kept once, and only if something in
//! it is asked for; what is made of it is capped in the files below, nothing fails and
//! nothing recurses.
//! No envelope here, and nothing of rules: only what the message itself says.

mod address;
mod boundaries;
mod charset;
mod edit;
mod encoding;
mod header;
mod lines;
mod media;
mod names;
mod parameters;
mod part;
mod part_header;
mod parts;
mod read;
mod received;
mod scan;
mod signed;
mod smime;
mod text;
mod tnef;
mod trick;
mod wants;
mod words;

pub use edit::Change;
pub use edit::Edited;
pub use edit::Unchangeable;
pub use edit::file_name;
pub use header::Header;
pub use header::Headers;
pub use part::Part;
pub use part::Place;
pub use received::From as ReceivedFrom;
pub use received::comment;
pub use received::declared_address;
pub use received::received_from;
pub use signed::ARC_SIGNATURE;
pub use signed::BodyHash;
pub use signed::DKIM_SIGNATURE;
pub use signed::MAX_ARC_SETS;
pub use signed::MAX_SIGNATURES;
pub use signed::Signed;
pub use trick::Trick;
pub use wants::Wants;

use crate::content;
use crate::content::File;
use crate::content::Stop;
use part_header::PartHeader;
use read::Examine;
use read::Findings;

/// One message, while it comes and when it is there.
#[derive(Debug, Default)]
pub struct Message {
    headers: Headers,
    wants: Wants,
    /// What its own header says of the parts.
    content: PartHeader,
    /// None until it is whole, and if no rule asks for what is in it.
    findings: Option<Findings>,
    body: Vec<u8>,
    /// Of the body something was not kept.
    is_cut: bool,
    /// None if no rule asks for signatures.
    signed: Option<Signed>,
    size: u64,
}

impl Message {
    /// Only what is wanted is found out; the size is always right.
    pub fn new(wants: Wants) -> Self {
        Self { wants, ..Self::default() }
    }

    /// With what signatures need of it.
    pub fn with_signed(self) -> Self {
        Self { signed: Some(Signed::default()), ..self }
    }

    /// A whole message as stored in a file, with LF or CRLF.
    pub fn from_eml(eml: &[u8]) -> Self {
        Self::from_eml_with(eml, &mut content::examine)
    }

    fn from_eml_with(eml: &[u8], examine: &mut Examine<'_>) -> Self {
        let mut message = Self::new(Wants::ALL).with_signed();
        let mut rest = eml;
        // The line that mbox files and sendmail(1) put in front.
        if rest.starts_with(b"From ") {
            rest = split_line(rest).1;
        }
        while let Some((name, value, after)) = split_field(rest) {
            message.header(name, &value);
            rest = after;
        }
        message.end_of_header();
        let end = rest.strip_prefix(b"\r\n").or(rest.strip_prefix(b"\n"));
        if end.is_none() && !rest.is_empty() {
            message.content.has_no_end();
        }
        let body = end.unwrap_or(rest);
        let mut chunk = Vec::with_capacity(CHUNK_BYTES + 2);
        let mut lines = body;
        while !lines.is_empty() {
            let (line, after) = split_line(lines);
            chunk.extend_from_slice(line);
            if line.len() + after.len() < lines.len() {
                chunk.extend_from_slice(b"\r\n");
            }
            if chunk.len() >= CHUNK_BYTES {
                message.body(&chunk);
                chunk.clear();
            }
            lines = after;
        }
        message.body(&chunk);
        message.finish_with(&Stop::default(), examine);
        message
    }

    /// The next header field; the value with its leading blank and its folds.
    pub fn header(&mut self, name: &[u8], value: &[u8]) {
        // On the wire `Name:value` with CRLF behind each line.
        let folds = memchr::memchr_iter(b'\n', value).count();
        let returns = memchr::memmem::find_iter(value, b"\r\n").count();
        self.grow(name.len() + 1 + value.len() + folds - returns + 2);
        self.headers.push(name, value);
        if self.wants.any() {
            self.content.field(name, value);
        }
        if let Some(signed) = &mut self.signed {
            signed.header(name, value);
        }
    }

    pub fn end_of_header(&mut self) {
        self.grow(2);
        if let Some(signed) = &mut self.signed {
            signed.end_of_header();
        }
    }

    /// The next piece of the body, of any length.
    pub fn body(&mut self, chunk: &[u8]) {
        self.grow(chunk.len());
        if self.wants.any() {
            self.keep(chunk);
        }
        if let Some(signed) = &mut self.signed {
            signed.body(chunk);
        }
    }

    /// The message is whole: only now are the parts. This is where the work is; it
    /// ends soon after `stop` is told, and says so as any other cap ([`Self::limit`]).
    pub fn finish(&mut self, stop: &Stop) {
        self.finish_with(stop, &mut content::examine);
    }

    fn finish_with(&mut self, stop: &Stop, examine: &mut Examine<'_>) {
        if self.wants.any() {
            let header = std::mem::take(&mut self.content);
            let found = read::read(header, &self.body, self.wants, stop, examine);
            // Here, for it takes its time where there are many.
            if self.wants.content.names {
                found.files.iter().for_each(|(_, file)| _ = file.told.of(&file.names));
                found.parts.iter().for_each(|part| _ = part.told.of(&part.names));
            }
            self.findings = Some(found);
            if !self.wants.whole {
                self.body = Vec::new();
            }
        }
        if let Some(signed) = &mut self.signed {
            signed.finish();
        }
    }

    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The message itself first; empty if they are not wanted.
    pub fn parts(&self) -> &[Part] {
        self.findings.as_ref().map_or(&[], |found| &found.parts)
    }

    /// Every part that is no multipart, and every file in one, an archive before what
    /// is in it; each with the part that it is or is in. [`File::within`] counts in here.
    pub fn files(&self) -> impl Iterator<Item = (&File, &Part)> {
        let files = self.findings.as_ref().map_or(&[][..], |found| &found.files);
        files.iter().filter_map(|(part, file)| Some((file, self.parts().get(*part as usize)?)))
    }

    /// In place of what was found in a part, what a test of rules says; what of these is
    /// within another counts from the first of them.
    pub fn give_files(&mut self, part: u32, files: Vec<File>) {
        let Some(findings) = &mut self.findings else {
            return;
        };
        let mut places = Vec::with_capacity(findings.files.len());
        let mut kept: Vec<(u32, File)> = Vec::with_capacity(findings.files.len() + files.len());
        for (number, mut file) in std::mem::take(&mut findings.files) {
            places.push(u32::try_from(kept.len()).unwrap_or(u32::MAX));
            if number != part {
                file.within = file.within.and_then(|within| places.get(within as usize).copied());
                kept.push((number, file));
            }
        }
        let first = u32::try_from(kept.len()).unwrap_or(u32::MAX);
        kept.extend(files.into_iter().map(|file| {
            let within = file.within.map(|within| first.saturating_add(within));
            (part, File { within, ..file })
        }));
        findings.files = kept;
    }

    /// What readers of it disagree about, each kind once.
    pub fn tricks(&self) -> &[Trick] {
        self.findings.as_ref().map_or(&[], |found| &found.tricks)
    }

    /// What can be read in it, decoded, with LF; empty if it is not wanted.
    pub fn text(&self) -> &str {
        self.findings.as_ref().map_or("", |found| &found.text)
    }

    /// As it came; empty if nothing in it is wanted, and once it has been read if it is
    /// not wanted whole.
    pub fn raw_body(&self) -> &[u8] {
        &self.body
    }

    /// None without `with_signed`.
    pub fn signed(&self) -> Option<&Signed> {
        self.signed.as_ref()
    }

    /// What is left of a message that was lost while it was read: its header, and that
    /// nothing is known of what was in it.
    pub fn unread(headers: Headers, size: u64) -> Self {
        let findings = Findings {
            parts: vec![Part::default()],
            limit: Some("a message that could not be read"),
            ..Findings::default()
        };
        Self { headers, size, findings: Some(findings), ..Self::default() }
    }

    /// Its header, which reading it to its end takes nothing from.
    pub fn take_headers(&mut self) -> Headers {
        std::mem::take(&mut self.headers)
    }

    pub fn give_headers(&mut self, headers: Headers) {
        self.headers = headers;
    }

    /// Whether reading it to its end may take longer than a decision: there is much of
    /// it, or there may be archives in it.
    pub fn may_take_long(&self) -> bool {
        if self.size > MAX_QUICK_BYTES || !self.wants.content.inside {
            return self.size > MAX_QUICK_BYTES && self.wants.any();
        }
        let said = |name| self.headers.named(name).map(|field| field.raw.to_ascii_lowercase());
        let is_text = said("Content-Type").all(|value| value.trim_start().starts_with("text/"));
        let is_plain =
            !said("Content-Transfer-Encoding").any(|value| value.contains("base64") || value.contains("uu"));
        let has = |mark: &[u8]| memchr::memmem::find(self.raw_body(), mark).is_some();
        !is_text || !is_plain || [&b"begin "[..], b"=ybegin", b"BinHex"].into_iter().any(has)
    }

    /// Bytes so far, as they go over the wire.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// A cap was hit: there is more in the message than is known of it.
    pub fn limits(&self) -> bool {
        self.limit().is_some()
    }

    /// Which one, in words.
    pub fn limit(&self) -> Option<&'static str> {
        let body = self.is_cut.then_some("a larger body than is read");
        self.headers.limit().or(body).or(self.findings.as_ref().and_then(|found| found.limit))
    }

    /// Room is made for four times as much: what is not written to costs no memory, and
    /// moving what is there from room to room would.
    fn keep(&mut self, chunk: &[u8]) {
        let room = MAX_BODY_BYTES.saturating_sub(self.body.len());
        self.is_cut |= chunk.len() > room;
        let chunk = chunk.get(..room).unwrap_or(chunk);
        if self.body.capacity() - self.body.len() < chunk.len() {
            let room = MAX_BODY_BYTES - self.body.len();
            self.body.reserve_exact((chunk.len() + 3 * self.body.len()).min(room));
        }
        self.body.extend_from_slice(chunk);
    }

    fn grow(&mut self, bytes: usize) {
        self.size = self.size.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }
}

/// Up to here a message without archives is read in well under a millisecond.
const MAX_QUICK_BYTES: u64 = 64 << 10;

/// Bytes kept of a body: no server takes a larger message that was not told to.
const MAX_BODY_BYTES: usize = 1 << 30;

/// As the milter's body chunks.
const CHUNK_BYTES: usize = 65_535;

/// A line without its end, and what follows.
fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    let Some(end) = memchr::memchr(b'\n', text) else { return (text, b"") };
    let line = text.get(..end).unwrap_or_default();
    (line.strip_suffix(b"\r").unwrap_or(line), text.get(end + 1..).unwrap_or_default())
}

/// Name, value and what follows, if `text` begins with a header field, as Postfix
/// reads it: anything else ends the header.
fn split_field(text: &[u8]) -> Option<(&[u8], Vec<u8>, &[u8])> {
    let (line, mut rest) = split_line(text);
    let colon = memchr::memchr(b':', line)?;
    let (name, value) = line.split_at(colon);
    let name = name.trim_ascii_end();
    if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    let mut value = value.get(1..).unwrap_or_default().to_vec();
    while matches!(rest.first(), Some(b' ' | b'\t')) {
        let (line, after) = split_line(rest);
        value.push(b'\n');
        value.extend_from_slice(line);
        rest = after;
    }
    Some((name, value, rest))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_message_is_read_from_a_file_with_either_line_end() {
        let lf = "From a@example.com Mon\nFrom: A <a@example.com>\nSubject: one\n two\n\
            Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: x/y; name=a.exe\n\nz\n--b--\n";
        for eml in [lf.to_owned(), lf.replace('\n', "\r\n")] {
            let message = Message::from_eml(eml.as_bytes());
            let fields: Vec<_> =
                message.headers().iter().map(|h| (h.name.as_str(), h.raw.as_str())).collect();
            assert_eq!(fields[1], ("Subject", " one\n two"));
            assert_eq!(message.headers().named("subject").next().unwrap().decoded(), "one two");
            assert_eq!(message.parts().len(), 2);
            assert_eq!(message.parts()[1].names, ["a.exe"]);
            let from_line = "From a@example.com Mon\r\n".len();
            assert_eq!(message.size() as usize, lf.replace('\n', "\r\n").len() - from_line);
            assert!(!message.limits());
        }
    }

    #[test]
    fn a_line_that_is_no_field_ends_the_header() {
        for (eml, fields, size) in [
            ("A: b\n\nbody", 1, 12),
            ("A: b\nbody", 1, 12),
            ("A: b\n: c\n", 1, 13),
            (" A: b\n", 0, 9),
            ("A: b", 1, 8),
            ("", 0, 2),
            ("A: b\n\n\n", 1, 10),
        ] {
            let message = Message::from_eml(eml.as_bytes());
            assert_eq!((message.headers().len(), message.size()), (fields, size), "{eml:?}");
        }
    }

    #[test]
    fn the_pieces_of_a_milter_add_up() {
        let mut message = Message::new(Wants::NOTHING);
        message.header(b"Subject", b" a\n b");
        message.header(b"X", b"");
        assert_eq!(message.headers().len(), 2);
        message.end_of_header();
        message.body(b"x\r\n");
        message.body(b"y");
        message.finish(&Stop::default());
        assert_eq!(message.size() as usize, "Subject: a\r\n b\r\nX:\r\n\r\nx\r\ny".len());
        assert!(message.parts().is_empty());
    }

    #[test]
    fn content_fields_count_beyond_the_fields_that_are_kept() {
        let mut message = Message::new(Wants::ALL);
        for _ in 0..=header::MAX_HEADERS {
            message.header(b"X", b" y");
        }
        message.header(b"Content-Disposition", b" attachment; filename=a.exe");
        message.end_of_header();
        message.finish(&Stop::default());
        assert!(message.limits());
        assert_eq!(message.parts()[0].names, ["a.exe"]);
    }

    /// Mail that others collected, where it is at hand.
    #[test]
    fn collected_mail_is_read_without_harm() {
        let Some(corpora) = std::env::var_os("GATEPOST_CORPORA") else {
            eprintln!("skipped: GATEPOST_CORPORA names no folder of mail");
            return;
        };
        let folders = [
            "cyrus-imapd",
            "email-mime-perl",
            "enmime",
            "gmime",
            "haraka",
            "kmime",
            "mail-parser-stalwart",
            "mime-is-broken",
            "python-email-testsuite",
            "spamassassin-ham",
            "spamassassin-spam",
        ];
        for folder in folders {
            let files = files_below(&Path::new(&corpora).join(folder));
            let mut parts = 0;
            let mut flagged = 0;
            for file in &files {
                let message = Message::from_eml(&std::fs::read(file).unwrap());
                for header in message.headers().iter() {
                    assert!(header.decoded().len() <= header::MAX_DECODED_BYTES);
                    assert!(header.addresses().len() <= address::MAX_ADDRESSES);
                }
                parts += message.parts().len();
                if let Some(limit) = message.limit() {
                    eprintln!("{}: {limit}", file.display());
                    flagged += 1;
                }
            }
            eprintln!("{folder}: {} files, {parts} parts, {flagged} flagged", files.len());
        }
    }

    fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
        let mut folders = vec![folder.to_owned()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            for entry in entries.flatten() {
                let path = entry.path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files
    }
}
