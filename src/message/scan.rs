//! The parts of a message and their file names, found while the body streams by.
//!
//! The body is a stranger's and made to be read differently by others. No tree is
//! built and nothing is kept of it but an unfinished line and the fields of the
//! part header now read, so memory depends on the caps below and not on the body;
//! nothing recurses, and every byte is looked at a fixed number of times. What may
//! be a part to any reader is one here: a part too many costs nothing, a part
//! unseen is a hole. Where a cap is hit, that is said (`limit`).
//!
//! It does not decode bodies: an encoded message within a message stays shut, and
//! uuencoded files in a text are not seen.

use crate::content::Names;
use crate::message::boundaries::Boundaries;
use crate::message::boundaries::Delimiter;
use crate::message::boundaries::Level;
use crate::message::lines::Line;
use crate::message::lines::Lines;
use crate::message::lines::MAX_LINE_BYTES;
use crate::message::parameters;
use crate::message::parameters::Field;
use crate::message::part::Part;
use crate::message::part_header::Kind;
use crate::message::part_header::MAX_FIELDS_BYTES;
use crate::message::part_header::PartHeader;
use crate::message::part_header::begins_content_field;
use crate::message::part_header::split_field;

/// Parts read of one message (as rspamd).
pub(super) const MAX_PARTS: usize = 10_000;
/// Multiparts and messages within each other (as Postfix's `mime_nesting_limit`).
pub(super) const MAX_DEPTH: usize = 100;
/// Boundaries of one part header: readings of one, and doubled ones.
pub(super) const MAX_BOUNDARIES: usize = 16;
/// Bytes of all names of a message.
pub(super) const MAX_ALL_NAMES_BYTES: usize = 1 << 20;
/// Bytes decoded to find one name.
const MAX_DECODED_NAME_BYTES: usize = MAX_FIELDS_BYTES * 3;

/// Media types below `message/` that hold reports, not messages.
const REPORTS: &[&str] = &[
    "message/delivery-status",
    "message/disposition-notification",
    "message/feedback-report",
    "message/global-delivery-status",
    "message/global-disposition-notification",
    "message/tracking-status",
];

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    /// Text of a part. It has no parts until a boundary comes.
    Body,
    /// A cap was hit, nothing more is read.
    Done,
    /// Before the first boundary or behind the last: no reader shows it, but
    /// some find parts here that have no boundary of ours.
    Gap,
    #[default]
    Header,
    /// The first lines behind a header without fields: some readers skip empty
    /// lines before a header.
    Start,
}

#[derive(Debug, Default)]
pub(super) struct Scan {
    state: State,
    parts: Vec<Part>,
    limit: Option<&'static str>,
    boundaries: Boundaries,
    names_bytes: usize,
    /// Of the part, or in a gap of the parts beside it.
    level: Level,

    /// In a gap: the last line with `--` in front, while only fields have followed.
    guess: Vec<u8>,

    lines: Lines,
    /// The header now read.
    header: PartHeader,
    /// It is that of a message within, opened without a boundary.
    is_message: bool,
}

impl Scan {
    /// A field of the message's own header.
    pub(super) fn field(&mut self, name: &[u8], value: &[u8]) {
        self.header.field(name, value);
    }

    pub(super) fn end_of_header(&mut self) {
        self.end_header();
        if self.state == State::Start {
            self.state = State::Body;
        }
    }

    /// The body, in pieces of any size.
    pub(super) fn body(&mut self, chunk: &[u8]) {
        if self.state == State::Done {
            return;
        }
        let mut lines = std::mem::take(&mut self.lines);
        lines.feed(chunk, |line| self.take_line(line));
        self.lines = lines;
    }

    /// The body is over.
    pub(super) fn finish(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        lines.finish(|line| self.take_line(line));
        if self.state == State::Header {
            self.end_header();
        }
        self.state = State::Done;
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The first cap that was hit, in words.
    pub(super) fn limit(&self) -> Option<&'static str> {
        self.limit
    }

    fn hit(&mut self, limit: &'static str) {
        self.limit.get_or_insert(limit);
    }

    fn take_line(&mut self, line: Line<'_>) {
        if self.state == State::Done {
            return;
        }
        if let Some(delimiter) = self.boundaries.delimiter(line.text) {
            return self.take_delimiter(delimiter);
        }
        match self.state {
            State::Header if line.text.is_empty() => self.end_header(),
            State::Header => self.header.line(line),
            State::Start if line.text.is_empty() => {}
            State::Gap | State::Start if begins_content_field(line.text) => {
                self.learn_boundary();
                self.begin_header(self.level, false);
                self.header.line(line);
            }
            State::Gap => self.guess_boundary(line.text),
            State::Start => self.state = State::Body,
            State::Body | State::Done => {}
        }
    }

    fn guess_boundary(&mut self, line: &[u8]) {
        if split_field(line).is_some() {
            return;
        }
        self.guess.clear();
        if let Some(text) = line.strip_prefix(b"--") {
            self.guess.extend_from_slice(text.trim_ascii_end());
        }
    }

    /// A part has begun behind a boundary that no reading of the field gave: we
    /// have misread it, and the parts that follow have the same.
    fn learn_boundary(&mut self) {
        let guess = std::mem::take(&mut self.guess);
        if !guess.is_empty() && self.state == State::Gap && !self.boundaries.add(&guess, self.level) {
            self.hit("more boundaries than are read");
        }
    }

    fn take_delimiter(&mut self, delimiter: Delimiter) {
        if self.state == State::Header {
            self.end_header();
        }
        if self.state == State::Done {
            return;
        }
        if delimiter.is_end {
            self.level = delimiter.level;
            self.state = State::Gap;
        } else {
            self.begin_header(delimiter.level, false);
        }
    }

    fn begin_header(&mut self, level: Level, is_message: bool) {
        self.level = level;
        self.is_message = is_message;
        self.header = PartHeader::default();
        self.guess.clear();
        self.state = State::Header;
    }

    fn end_header(&mut self) {
        let header = std::mem::take(&mut self.header);
        if let Some(limit) = header.limit() {
            self.hit(limit);
        }
        let fields = header.content();
        self.state = if header.is_empty() { State::Start } else { State::Body };
        if fields.iter().any(|(_, field)| field.is_cut) {
            self.hit("more parameters of a part than are read");
        }
        // What claims to be a message but has no header is the text of its part.
        if !self.is_message || !header.is_empty() {
            self.add_part(&fields);
        }
        if self.state != State::Done {
            self.look_inside(&fields);
        }
    }

    fn add_part(&mut self, fields: &[(Kind, Field)]) {
        if self.parts.len() >= MAX_PARTS {
            self.hit("more parts than are read");
            self.state = State::Done;
            return;
        }
        let first = |kind| fields.iter().find(|(k, f)| *k == kind && !f.value.is_empty());
        let mut names = Names::default();
        let all: Vec<_> = fields.iter().map(|(_, field)| field).collect();
        for reading in ["filename", "name"].iter().flat_map(|name| parameters::readings(&all, name)) {
            names.add(&reading.text(MAX_DECODED_NAME_BYTES));
        }
        if let Some(limit) = names.limit {
            self.hit(limit);
        }
        self.names_bytes += names.found.iter().map(String::len).sum::<usize>();
        if self.names_bytes > MAX_ALL_NAMES_BYTES {
            self.hit("longer names of parts than are read");
            self.state = State::Done;
            return;
        }
        self.parts.push(Part {
            names: names.found,
            content_type: first(Kind::Type).map(|(_, field)| field.value.clone()),
            disposition: first(Kind::Disposition).map(|(_, field)| field.value.clone()),
            depth: self.level.depth,
            ..Part::default()
        });
    }

    /// Of several Content-Types each may be the one that counts.
    fn look_inside(&mut self, fields: &[(Kind, Field)]) {
        let types: Vec<_> = fields.iter().filter(|(kind, _)| *kind == Kind::Type).map(|(_, f)| f).collect();
        let is_multipart = types.iter().any(|field| field.value.starts_with("multipart"));
        let is_message = types.iter().any(|field| is_message(&field.value))
            || (types.is_empty() && self.level.is_digest && !self.is_message);
        let boundaries = self.boundaries_of(&types, is_multipart);
        if !is_multipart && !is_message && boundaries.is_empty() {
            return;
        }
        let depth = self.level.depth + 1;
        if depth > MAX_DEPTH {
            return self.hit("deeper nested parts than are read");
        }
        let is_digest = types.iter().any(|field| field.value == "multipart/digest");
        for boundary in boundaries {
            if !self.boundaries.add(&boundary, Level { depth, is_digest }) {
                self.hit("more boundaries than are read");
            }
        }
        if is_message {
            self.begin_header(Level { depth, is_digest: false }, true);
        } else if is_multipart {
            self.level = Level { depth, is_digest };
            self.state = State::Gap;
        }
    }

    fn boundaries_of(&mut self, types: &[&Field], is_multipart: bool) -> Vec<Vec<u8>> {
        let mut found: Vec<Vec<u8>> = Vec::new();
        let mut has_empty = false;
        for reading in parameters::readings(types, "boundary") {
            let decoded = reading.text(MAX_LINE_BYTES).into_bytes();
            for bytes in [reading.bytes, decoded] {
                // A blank at its end may be lost in transport: RFC 2046 forbids it.
                let bytes = bytes.trim_ascii_end();
                has_empty |= bytes.is_empty();
                if bytes.is_empty() || found.iter().any(|known| known == bytes) {
                    continue;
                }
                if found.len() >= MAX_BOUNDARIES {
                    self.hit("more boundaries of a part than are read");
                    return found;
                }
                found.push(bytes.to_vec());
            }
        }
        if found.is_empty() && has_empty && is_multipart {
            found.push(Vec::new());
        }
        found
    }
}

fn is_message(media_type: &str) -> bool {
    media_type.starts_with("message/") && !REPORTS.contains(&media_type)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The scan of a message whose header and body are split at the first empty line.
    fn scan_in(mail: &[u8], chunks: impl IntoIterator<Item = usize>) -> Scan {
        let mut scan = Scan::default();
        let end = memchr::memmem::find(mail, b"\n\n").map_or(mail.len(), |at| at + 1);
        let (header, body) = mail.split_at(end);
        // Continuation lines have been joined to their field by whoever calls.
        let header = String::from_utf8_lossy(header).replace("\n ", "\u{0}");
        for line in header.lines() {
            let (name, value) = line.split_once(':').unwrap();
            scan.field(name.as_bytes(), value.replace('\u{0}', "\n ").as_bytes());
        }
        scan.end_of_header();
        let mut rest = body.get(1..).unwrap_or_default();
        for chunk in chunks {
            let (now, later) = rest.split_at(chunk.min(rest.len()));
            scan.body(now);
            rest = later;
        }
        scan.body(rest);
        scan.finish();
        scan
    }

    fn scan(mail: &str) -> Scan {
        scan_in(mail.as_bytes(), [])
    }

    fn names(mail: &str) -> Vec<String> {
        scan(mail).parts().iter().flat_map(|part| part.names.clone()).collect()
    }

    const MIXED: &str = "Content-Type: multipart/mixed; boundary=b\n\n";

    #[test]
    fn parts_are_told_with_type_disposition_depth_and_names() {
        let mail = "From: a@example.com\nContent-Type: multipart/mixed;\n boundary=\"out\"\n\npreamble\n\
            --out\nContent-Type: multipart/alternative; boundary=in\n\n\
            --in\n\nplain\n--in\nContent-Type: TEXT/html\n\nhtml\n--in--\n\
            --out\nContent-Type: application/pdf; name=\"a.pdf\"\nContent-Disposition: Attachment;\n filename=\"b.pdf\"\n\nx\n--out--\n";
        let scan = scan(mail);
        let told: Vec<_> = scan.parts().iter().map(|p| (p.depth, p.content_type.as_deref())).collect();
        let expected = [
            (0, Some("multipart/mixed")),
            (1, Some("multipart/alternative")),
            (2, None),
            (2, Some("text/html")),
            (1, Some("application/pdf")),
        ];
        assert_eq!(told, expected);
        let last = scan.parts().last().unwrap();
        assert_eq!(last.disposition.as_deref(), Some("attachment"));
        assert_eq!(last.names, ["b.pdf", "a.pdf"]);
        assert_eq!(scan.limit(), None);
    }

    #[test]
    fn names_are_found_however_they_are_written() {
        for (field, expected) in [
            ("Content-Disposition: attachment; filename=invoice.pdf.exe", "invoice.pdf.exe"),
            ("content-disposition: attachment; filename*=utf-8''a%2Eexe", "a.exe"),
            ("Content-Disposition: attachment;\n filename*0=\"a.\";\n filename*1=\"exe\"", "a.exe"),
            ("Content-Type: application/x; name=\"=?utf-8?B?YS5leGU=?=\"", "a.exe"),
            ("Content-Type: application/x; name=a.txt\nContent-Disposition: x; filename=b.exe", "b.exe"),
            ("Content-Disposition: x; filename=a.txt\nContent-Disposition: x; filename=b.exe", "b.exe"),
            ("Content-Type : application/x; name=a.exe", "a.exe"),
            // A fold without its blank.
            ("Content-Disposition: attachment;\nfilename=a.exe", "a.exe"),
            ("Content-Disposition: attachment; filename=a.exe\0.txt", "a.exe"),
            ("Content-Disposition: attachment; filename=a.exe\0.txt", "a.exe\u{FFFD}.txt"),
            ("Content-Disposition: attachment; filename=\"a.exe. .\"", "a.exe"),
            ("Content-Disposition: attachment; filename=\"a\u{1}.exe\"", "a\u{FFFD}.exe"),
        ] {
            let found = names(&format!("{MIXED}--b\n{field}\n\nbody\n--b--\n"));
            assert!(found.iter().any(|name| name == expected), "{field}: {found:?}");
        }
        assert_eq!(names("Content-Disposition: attachment; filename=a.exe\n\nbody"), ["a.exe"]);
    }

    #[test]
    fn parts_are_found_wherever_a_reader_could_see_one() {
        let part = "Content-Disposition: attachment; filename=a.exe\n\nx\n";
        for mail in [
            format!("{MIXED}--b\n{part}"),
            format!("{MIXED}--b--\n--b\n{part}"),
            format!("{MIXED}--b--\n{part}"),
            format!("{MIXED}{part}--b\n\ntext\n--b--\n"),
            format!("{MIXED}--b\n\n{part}--b--\n"),
            format!("{MIXED}--b\n\ntext\n--b trailing\n{part}--b--\n"),
            format!("{MIXED}--b\nX: no empty line\n--b\n{part}"),
            format!("{MIXED}--b\nnot a field\n{part}"),
            format!("Content-Type: text/plain\n{MIXED}--b\n{part}"),
            format!("Content-Type: multipart/mixed; boundary=a; boundary=b\n\n--b\n{part}"),
            format!("Content-Type: multipart/mixed; boundary=\"b\n\n--b\n{part}"),
            format!("Content-Type: multipart/mixed; boundary=b(x)\n\n--b\n{part}"),
            format!("Content-Type: multipart/mixed; boundary=\"b \"\n\n--b\n{part}"),
            format!("Content-Type: multipart/mixed; boundary*0=b; boundary*1=c\n\n--bc\n{part}"),
            format!("Content-Type: multipart/mixed; boundary=\"\"\n\n--\n{part}"),
            format!("Content-Type: multipart/mixed\n\n--unknown\n{part}"),
            format!(
                "Content-Type: multipart/mixed; boundary=b\\\n\n--x\nX: y\nContent-Type: text/plain\n\n--x\n{part}"
            ),
            format!(
                "{MIXED}--b\nContent-Disposition: x; filename*0=a.\nContent-Disposition: x; filename*1=exe\n\n"
            ),
            format!("{MIXED}--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n{part}"),
            format!("{MIXED}--b\nContent-Type: multipart/mixed; boundary=bb\n\n--b--\n--bb\n{part}"),
            format!("{MIXED}--b\nContent-Type: message/rfc822\n\nSubject: x\n{part}--b--\n"),
            format!("Content-Type: message/rfc822\n\nSubject: x\n{MIXED}--b\n{part}"),
            format!("Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: x\n{part}--b--\n"),
        ] {
            assert!(names(&mail).contains(&"a.exe".to_owned()), "{mail}");
        }
    }

    #[test]
    fn line_ends_of_every_kind_are_understood() {
        let mail = format!(
            "{MIXED}--b\nContent-Type: x/y;\n name=a.exe\n\nx\n\n--b\nContent-Type: x/y; name=b.exe\n\nx"
        );
        let (header, body) = mail.split_at(MIXED.len());
        for end in ["\n", "\r\n", "\r", "\r\r\n"] {
            let mail = format!("{header}{}", body.replace('\n', end));
            assert_eq!(names(&mail), ["a.exe", "b.exe"], "{end:?}");
        }
    }

    #[test]
    fn text_is_no_part() {
        let field = "Content-Disposition: attachment; filename=a.exe\n";
        for mail in [
            format!("Subject: x\n\n{field}\n"),
            format!("Subject: x\n\ntext\n\n--b\n{field}\n"),
            format!("{MIXED}--b\nContent-Type: text/plain\n\n{field}\n--c\n{field}--b--\n"),
            format!("{MIXED}--b\n\ntext\n{field}--b--\n"),
            format!("{MIXED}--b\nContent-Type: message/delivery-status\n\n{field}--b--\n"),
        ] {
            assert_eq!(names(&mail), [""; 0], "{mail}");
        }
    }

    #[test]
    fn caps_are_flagged_and_what_was_read_stays() {
        let many = format!("{MIXED}{}", "--b\n\n".repeat(1_000_000));
        let deep: String = (0..300_000)
            .map(|n| format!("--b{n:06}\nContent-Type: multipart/mixed; boundary=b{:06}\n\n", n + 1))
            .collect();
        let deep = format!("Content-Type: multipart/mixed; boundary=b000000\n\n{deep}");
        let messages =
            format!("Content-Type: message/rfc822\n\n{}", "Content-Type: message/rfc822\n\n".repeat(35_000));
        let flat: String = (0..40_000)
            .map(|n| format!("--b\nContent-Type: multipart/mixed; boundary=\"{n}{n:070}\"\n\n"))
            .collect();
        let wide = format!("{MIXED}--b\nContent-Disposition: x{}\n\n", "; filename=a".repeat(100_000));
        let long = format!("{MIXED}--b\nContent-Disposition: x; filename={}.exe\n\n", "a".repeat(5_000));
        let fields = format!("{MIXED}--b\n{}\n", "Content-Type: text/plain\n".repeat(100));
        let cases = [
            (many, MAX_PARTS),
            (deep, MAX_DEPTH + 1),
            (messages, MAX_DEPTH + 1),
            (format!("{MIXED}{flat}"), MAX_PARTS),
            (wide, 2),
            (long, 2),
            (fields, 2),
        ];
        for (mail, parts) in cases {
            let scan = scan(&mail);
            assert!(scan.limit().is_some());
            assert_eq!(scan.parts().len(), parts, "{:?}", scan.limit());
            assert!(scan.parts().iter().all(|part| part.depth <= MAX_DEPTH));
        }
    }

    #[test]
    fn a_long_line_is_a_limit_in_a_header_and_none_in_a_body() {
        let long = "x".repeat(300_000);
        assert_eq!(scan(&format!("{MIXED}--b\n\n{long}\n--b--\n")).limit(), None);
        assert!(scan(&format!("{MIXED}--b\nX: {long}\n\n--b--\n")).limit().is_some());
        assert!(scan(&format!("{MIXED}--b\nContent-Type: {long}\n\n--b--\n")).limit().is_some());
    }

    #[test]
    fn hostile_bodies_take_linear_time() {
        let prefixes: String = (1..300)
            .map(|n| format!("--b\nContent-Type: multipart/mixed; boundary={}\n\n", "a".repeat(n)))
            .collect();
        for (setup, hostile) in [
            ("", "--a\n"),
            ("", "--"),
            ("", "\r"),
            ("", "--b\n"),
            ("", "--b--\nContent-Type:\n"),
            ("", "Content-Type:(\n"),
            ("--b\nContent-Type: x/y", ";name=\"\n "),
            ("--b\nContent-Type: x/y", ";name*1=a\n "),
            (prefixes.as_str(), "--aaaaaaaaaaaaaaaaaaaaaaaaaaaaab\n"),
        ] {
            scan(&format!("{MIXED}{setup}{}", hostile.repeat(1 << 18)));
        }
    }

    proptest! {
        #[test]
        fn chunk_borders_change_nothing(
            lines in prop::collection::vec(
                prop::sample::select(vec![
                    "--b", "--b--", "--c", "--c--", "", "text", " name=y.exe", "Subject: x", "name=z.exe",
                    "Content-Type: multipart/mixed; boundary=c", "Content-Type: message/rfc822",
                    "Content-Disposition: attachment; filename=\"a b.exe\"", "Content-Type: x/y;",
                ]),
                0..40,
            ),
            ends in prop::collection::vec(prop::sample::select(vec!["\n", "\r\n", "\r", "\r\r\n"]), 40),
            chunks in prop::collection::vec(0usize..40, 0..60),
        ) {
            let body: String = lines.iter().zip(ends).flat_map(|(line, end)| [*line, end]).collect();
            let mail = format!("{MIXED}{body}");
            let whole = scan_in(mail.as_bytes(), []);
            let split = scan_in(mail.as_bytes(), chunks);
            let bytes = scan_in(mail.as_bytes(), vec![1; mail.len()]);
            prop_assert_eq!(whole.parts(), split.parts());
            prop_assert_eq!(whole.parts(), bytes.parts());
        }

        #[test]
        fn no_bytes_do_harm(body in prop::collection::vec(any::<u8>(), 0..2_000)) {
            let mut mail = MIXED.as_bytes().to_vec();
            mail.extend_from_slice(b"--b\nContent-Type: ");
            mail.extend_from_slice(&body);
            scan_in(&mail, [7, 700]);
        }
    }
}
