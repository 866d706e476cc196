//! Parts of a message taken out, renamed, or replaced by a notice; every other byte
//! stays as it is.
//!
//! What is changed is found by where the reader of parts saw it. Where readers differ
//! over that, or where a signature of the author covers it, nothing is changed: see
//! [`Message::may_change`].

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::ops::Range;

use data_encoding::BASE64_MIME;
use memchr::memchr;
use memchr::memrchr;

use crate::message::Header;
use crate::message::Message;
use crate::message::Part;

/// The fields that say what a part is.
const CONTENT_FIELDS: &[&str] = &["Content-Disposition", "Content-Transfer-Encoding", "Content-Type"];

/// Lines longer than this are not sent as they are (RFC 5322, 2.1.1).
const MAX_LINE_BYTES: usize = 998;

/// What is done to a part.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    Remove,
    /// To this name, and to a type that no program opens by itself.
    Rename(String),
    /// By this text.
    Replace(String),
}

/// Why a part can't be changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unchangeable {
    /// Readers disagree about the message: what one of them is shown would stay.
    Ambiguous,
    /// Not all of it was read.
    Limits,
    /// Its author has signed or encrypted it (S/MIME, PGP).
    Signed,
    /// Nobody wanted the body as it came.
    Unknown,
}

impl Unchangeable {
    pub fn why(self) -> &'static str {
        match self {
            Self::Ambiguous => "readers disagree about what the message is",
            Self::Limits => "not all of the message was read",
            Self::Signed => "its author has signed or encrypted it",
            Self::Unknown => "the message was not kept",
        }
    }
}

/// A message after its changes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Edited {
    pub body: Vec<u8>,
    /// Fields of the message's own header: name, which of that name, and what it says
    /// from now on; None: it goes.
    pub fields: Vec<(String, u32, Option<String>)>,
    /// Fields that it had not.
    pub added: Vec<(String, String)>,
}

impl Message {
    /// Whether this part can be changed without breaking what only its author can
    /// make, and so that no reader is shown what was there before.
    pub fn may_change(&self, part: u32) -> Result<(), Unchangeable> {
        if !self.wants.whole {
            return Err(Unchangeable::Unknown);
        }
        if self.limits() {
            return Err(Unchangeable::Limits);
        }
        if !self.tricks().is_empty() {
            return Err(Unchangeable::Ambiguous);
        }
        // A sealed part may itself go from among others, but not what is in it.
        let mut around = if part == 0 { Some(0) } else { self.part(part).and_then(|part| part.within) };
        while let Some(part) = around.and_then(|at| self.part(at)) {
            if is_sealed(part.content_type.as_deref().unwrap_or_default()) {
                return Err(Unchangeable::Signed);
            }
            around = part.within;
        }
        Ok(())
    }

    /// The message with these parts changed. Of a part in another that is encoded, or
    /// changed too, the outer one is. Of several changes of one part the first counts,
    /// but none that leaves its content is kept where another takes it out.
    pub fn edited(&self, changes: &[(u32, Change)]) -> Edited {
        let mut wanted: BTreeMap<u32, &Change> = BTreeMap::new();
        for (part, change) in changes {
            let kept = wanted.entry(self.placed(*part)).or_insert(change);
            if matches!(kept, Change::Rename(_)) && !matches!(change, Change::Rename(_)) {
                *kept = change;
            }
        }
        let all: Vec<u32> = wanted.keys().copied().collect();
        // What is in a part that goes, goes with it.
        let is_in_another = |part: u32| {
            let mut within = self.part(part).and_then(|part| part.within);
            while let Some(at) = within {
                if wanted.get(&at).is_some_and(|change| !matches!(change, Change::Rename(_))) {
                    return true;
                }
                within = self.part(at).and_then(|part| part.within);
            }
            false
        };
        let to_stay = self.to_stay(&wanted);
        let mut edited = Edited::default();
        let mut splices: Vec<(Range<usize>, Vec<u8>)> = Vec::new();
        for part in all.iter().copied().filter(|part| !is_in_another(*part)) {
            let Some(change) = wanted.get(&part) else { continue };
            if part == 0 {
                splices.extend(self.edit_itself(change, &mut edited));
            } else if matches!(change, Change::Remove) && !to_stay.contains(&part) {
                splices.extend(self.without(part).map(|range| (range, Vec::new())));
            } else {
                splices.extend(self.rewritten(part, change));
            }
        }
        splices.sort_by_key(|(range, _)| (range.start, range.end));
        edited.body = spliced(self.raw_body(), splices);
        edited
    }

    fn part(&self, part: u32) -> Option<&Part> {
        self.parts().get(part as usize)
    }

    /// The part itself, or the one around it that stands in the body as it is.
    fn placed(&self, part: u32) -> u32 {
        let mut at = part;
        while let Some(found) = self.part(at) {
            match (&found.place, found.within) {
                (None, Some(within)) if within < at => at = within,
                _ => break,
            }
        }
        at
    }

    /// Of each multipart all of whose parts are to go the last, which stays without its
    /// content: some readers show an error for one without parts.
    fn to_stay(&self, wanted: &BTreeMap<u32, &Change>) -> HashSet<u32> {
        // Of each the last part, and whether one stays as it is.
        let mut last: HashMap<Option<u32>, (u32, bool)> = HashMap::new();
        for (at, part) in (1..).zip(self.parts().iter().skip(1)).filter(|(_, part)| part.place.is_some()) {
            let goes = matches!(wanted.get(&at), Some(Change::Remove));
            let (last, stays) = last.entry(part.within).or_default();
            *last = at;
            *stays |= !goes;
        }
        last.into_values().filter(|(_, stays)| !stays).map(|(last, _)| last).collect()
    }

    /// From the line of its boundary to before the line of the next one.
    fn without(&self, part: u32) -> Option<Range<usize>> {
        let place = self.part(part)?.place.as_ref()?;
        let body = self.raw_body();
        let before = body.get(..place.whole.start)?;
        let line_end = before.strip_suffix(b"\n").map(|text| text.strip_suffix(b"\r").unwrap_or(text));
        let line = line_end.unwrap_or(before);
        let start = memrchr(b'\n', line).map_or(0, |at| at + 1);
        let after = body.get(place.whole.end..)?;
        let end = match after {
            [b'\r', b'\n', ..] => 2,
            [b'\n' | b'\r', ..] => 1,
            _ => 0,
        };
        Some(start..place.whole.end + end)
    }

    /// The part with another header, and another content but for a new name.
    fn rewritten(&self, part: u32, change: &Change) -> Option<(Range<usize>, Vec<u8>)> {
        let place = self.part(part)?.place.as_ref()?;
        let body = self.raw_body();
        let header = body.get(place.whole.start..place.content.start)?;
        let new = Content::of(change);
        let mut fields = Vec::with_capacity(header.len() + 200);
        let mut goes = false;
        for line in header.split_inclusive(|byte| *byte == b'\n') {
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            if text.strip_suffix(b"\r").unwrap_or(text).is_empty() {
                continue;
            }
            if !matches!(line.first(), Some(b' ' | b'\t')) {
                let name = line.get(..memchr(b':', line).unwrap_or(0)).unwrap_or_default();
                goes = new.replaces(name);
            }
            if !goes {
                fields.extend_from_slice(line);
            }
        }
        for (name, value) in new.fields {
            fields.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        fields.extend_from_slice(b"\r\n");
        match new.text {
            Some(text) => {
                fields.extend_from_slice(&text);
                Some((place.whole.clone(), fields))
            }
            None => Some((place.whole.start..place.content.start, fields)),
        }
    }

    /// The same for a message that is one part: its header is elsewhere.
    fn edit_itself(&self, change: &Change, edited: &mut Edited) -> Option<(Range<usize>, Vec<u8>)> {
        let new = Content::of(change);
        for name in CONTENT_FIELDS.iter().filter(|name| new.replaces(name.as_bytes())) {
            let mut value =
                new.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone());
            let fields: Vec<&Header> = self.headers().named(name).collect();
            if let (true, Some(value)) = (fields.is_empty(), &value) {
                edited.added.push(((*name).to_owned(), value.clone()));
            }
            for field in fields {
                edited.fields.push(((*name).to_owned(), field.occurrence, value.take()));
            }
        }
        if self.headers().named("MIME-Version").next().is_none() {
            edited.added.push(("MIME-Version".to_owned(), "1.0".to_owned()));
        }
        new.text.map(|text| (0..self.raw_body().len(), text))
    }
}

/// What its author alone can make.
fn is_sealed(media_type: &str) -> bool {
    ["multipart/signed", "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"]
        .contains(&media_type)
}

/// What a changed part says of itself, and what is in it.
struct Content {
    fields: Vec<(&'static str, String)>,
    /// None: it stays.
    text: Option<Vec<u8>>,
}

impl Content {
    fn of(change: &Change) -> Self {
        match change {
            Change::Rename(name) => Self {
                fields: vec![
                    ("Content-Type", "application/octet-stream".to_owned()),
                    ("Content-Disposition", format!("attachment; {}", file_name(name))),
                ],
                text: None,
            },
            Change::Remove => Self::notice(""),
            Change::Replace(text) => Self::notice(text),
        }
    }

    fn notice(text: &str) -> Self {
        let lines: Vec<&str> = text.lines().collect();
        let mut text = lines.join("\r\n");
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        let is_plain = text.is_ascii() && lines.iter().all(|line| line.len() <= MAX_LINE_BYTES);
        // A line that looks like a boundary would end the part.
        let is_plain = is_plain && !lines.iter().any(|line| line.starts_with("--"));
        let (encoding, text) = match is_plain {
            true => ("7bit", text.into_bytes()),
            false => ("base64", BASE64_MIME.encode(text.as_bytes()).into_bytes()),
        };
        Self {
            fields: vec![
                ("Content-Type", "text/plain; charset=utf-8".to_owned()),
                ("Content-Disposition", "inline".to_owned()),
                ("Content-Transfer-Encoding", encoding.to_owned()),
            ],
            text: Some(text),
        }
    }

    /// Whether a field of this name goes.
    fn replaces(&self, name: &[u8]) -> bool {
        let name = name.trim_ascii_end();
        match self.text {
            // The content stays, and with it how it is encoded.
            None => self.fields.iter().any(|(field, _)| name.eq_ignore_ascii_case(field.as_bytes())),
            Some(_) => CONTENT_FIELDS.iter().any(|field| name.eq_ignore_ascii_case(field.as_bytes())),
        }
    }
}

/// As a parameter: a quoted string, or percent-encoded (RFC 2231) where that could not
/// hold it.
pub fn file_name(name: &str) -> String {
    let is_plain = name.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'"' && b != b'\\');
    if is_plain && name.len() <= 200 {
        return format!("filename=\"{name}\"");
    }
    let encoded: String = name
        .bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b == b'.' {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect();
    format!("filename*=utf-8''{encoded}")
}

/// What is written over stands in order; what begins within another is left out.
fn spliced(body: &[u8], splices: Vec<(Range<usize>, Vec<u8>)>) -> Vec<u8> {
    let more: usize = splices.iter().map(|(_, text)| text.len()).sum();
    let mut made = Vec::with_capacity(body.len() + more);
    let mut at = 0;
    for (range, text) in splices {
        if range.start < at {
            continue;
        }
        made.extend_from_slice(body.get(at..range.start).unwrap_or_default());
        made.extend_from_slice(&text);
        at = range.end;
    }
    made.extend_from_slice(body.get(at..).unwrap_or_default());
    made
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Stop;
    use crate::message::Wants;

    const HEADER: &str = "From: a@sender.example\r\nMIME-Version: 1.0\r\n";

    const PARTS: &str = "Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\n\
        Content-Type: text/plain\r\n\r\nhello\r\n--b\r\nX-Note: kept\r\n\
        Content-Type: application/x-msdownload;\r\n name=a.exe\r\nContent-Transfer-Encoding: base64\r\n\r\n\
        TVqQAAMAAAAEAAAA\r\n\r\n--b\r\nContent-Type: text/plain; name=b.txt\r\n\r\nbye\r\n--b--\r\nepilogue\r\n";

    fn read(mail: &str) -> Message {
        Message::from_eml(mail.as_bytes())
    }

    fn edited(mail: &str, changes: &[(u32, Change)]) -> String {
        String::from_utf8(read(mail).edited(changes).body).unwrap()
    }

    /// What stands between the header and the end of `mail`.
    fn body(mail: &str) -> &str {
        mail.split_once("\r\n\r\n").unwrap().1
    }

    fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
        text.split_once(from).unwrap().1.split_once(to).unwrap().0
    }

    #[test]
    fn a_part_goes_and_every_other_byte_stays() {
        let mail = format!("{HEADER}{PARTS}");
        let gone =
            format!("--b\r\nX-Note{}", between(&mail, "X-Note", "--b\r\nContent-Type: text/plain; name"));
        assert_eq!(edited(&mail, &[(2, Change::Remove)]), body(&mail).replace(&gone, ""));
        assert_eq!(edited(&mail, &[]), body(&mail));
    }

    #[test]
    fn of_a_multipart_whose_parts_all_go_an_empty_one_stays() {
        let mail = format!("{HEADER}{PARTS}");
        let changed = edited(&mail, &[(1, Change::Remove), (2, Change::Remove), (3, Change::Remove)]);
        assert_eq!(
            changed,
            "preamble\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Disposition: inline\r\n\
             Content-Transfer-Encoding: 7bit\r\n\r\n\r\n--b--\r\nepilogue\r\n"
        );
    }

    #[test]
    fn a_notice_takes_the_place_of_a_part_and_other_fields_of_it_stay() {
        let mail = format!("{HEADER}{PARTS}");
        let changed = edited(&mail, &[(2, Change::Replace("a.exe was removed".into()))]);
        assert_eq!(
            between(&changed, "hello\r\n", "--b\r\nContent-Type: text/plain; name"),
            "--b\r\nX-Note: kept\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Disposition: inline\r\n\
             Content-Transfer-Encoding: 7bit\r\n\r\na.exe was removed\r\n\r\n"
        );
        for notice in ["ä.exe", "--b--", &"x".repeat(2_000)] {
            let changed = edited(&mail, &[(2, Change::Replace(notice.into()))]);
            let again = read(&format!("{}\r\n\r\n{changed}", mail.split_once("\r\n\r\n").unwrap().0));
            assert_eq!(again.parts().len(), 4, "{notice}");
            assert_eq!(changed.matches(notice).count(), mail.matches(notice).count(), "{notice}");
        }
    }

    #[test]
    fn a_part_gets_another_name_and_keeps_its_content() {
        let mail = format!("{HEADER}{PARTS}");
        let changed = edited(&mail, &[(2, Change::Rename("a.exe.txt".into()))]);
        assert_eq!(
            between(&changed, "hello\r\n", "--b\r\nContent-Type: text/plain; name"),
            "--b\r\nX-Note: kept\r\nContent-Transfer-Encoding: base64\r\n\
             Content-Type: application/octet-stream\r\n\
             Content-Disposition: attachment; filename=\"a.exe.txt\"\r\n\r\nTVqQAAMAAAAEAAAA\r\n\r\n"
        );
        let changed = edited(&mail, &[(2, Change::Rename("a\"ä.txt".into()))]);
        assert!(changed.contains("filename*=utf-8''a%22%C3%A4.txt\r\n"), "{changed}");
    }

    #[test]
    fn what_takes_a_part_out_goes_before_a_new_name() {
        let mail = format!("{HEADER}{PARTS}");
        let (rename, replace) = (Change::Rename("a.txt".into()), Change::Replace("gone".into()));
        for (changes, expected) in [
            ([rename.clone(), Change::Remove], Change::Remove),
            ([Change::Remove, rename.clone()], Change::Remove),
            ([rename.clone(), replace.clone()], replace.clone()),
            ([replace.clone(), Change::Remove], replace.clone()),
            ([rename.clone(), Change::Rename("b.txt".into())], rename),
        ] {
            let both = changes.clone().map(|change| (2, change));
            assert_eq!(edited(&mail, &both), edited(&mail, &[(2, expected)]), "{changes:?}");
        }
    }

    #[test]
    fn of_thousands_of_parts_that_go_one_stays() {
        let mut mail = format!("{HEADER}Content-Type: multipart/mixed; boundary=b\r\n\r\n");
        let count = 9_000;
        (0..count).for_each(|_| mail += "--b\r\n\r\nx\r\n");
        let message = read(&format!("{mail}--b--\r\n"));
        let changes: Vec<_> = (1..=count).map(|part| (part, Change::Remove)).collect();
        assert_eq!(String::from_utf8(message.edited(&changes).body).unwrap().matches("--b").count(), 2);
    }

    #[test]
    fn a_message_of_one_part_is_changed_by_its_own_header() {
        let mail = format!(
            "{HEADER}Content-Type: application/x-msdownload; name=a.exe\r\n\
             Content-Disposition: attachment\r\ncontent-type: x/y\r\n\r\nMZ\r\n"
        );
        let edited = read(&mail).edited(&[(0, Change::Replace("gone".into()))]);
        assert_eq!(edited.body, b"gone\r\n");
        let says =
            |name: &str, number, value: Option<&str>| (name.to_owned(), number, value.map(str::to_owned));
        assert_eq!(
            edited.fields,
            [
                says("Content-Disposition", 1, Some("inline")),
                says("Content-Type", 1, Some("text/plain; charset=utf-8")),
                says("Content-Type", 2, None),
            ]
        );
        assert_eq!(edited.added, [("Content-Transfer-Encoding".to_owned(), "7bit".to_owned())]);
    }

    #[test]
    fn what_is_within_a_changed_part_goes_with_it() {
        let mail = format!(
            "{HEADER}Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: message/rfc822\r\n\r\n\
             {PARTS}\r\n--a\r\n\r\nend\r\n--a--\r\n"
        );
        let message = read(&mail);
        let inner =
            message.parts().iter().position(|part| part.names.iter().any(|name| name == "a.exe")).unwrap();
        let outer =
            message.parts().iter().position(|part| part.content_type.as_deref() == Some("message/rfc822"));
        let outer = outer.unwrap() as u32;
        let both = message.edited(&[(inner as u32, Change::Remove), (outer, Change::Remove)]).body;
        assert_eq!(String::from_utf8(both).unwrap(), "--a\r\n\r\nend\r\n--a--\r\n");
        let inside = message.edited(&[(inner as u32, Change::Remove)]).body;
        assert!(!String::from_utf8(inside).unwrap().contains("TVqQ"));
    }

    #[test]
    fn what_is_signed_ambiguous_or_not_kept_is_not_changed() {
        let signed = format!(
            "{HEADER}Content-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n{PARTS}\r\n--s\r\n\
             Content-Type: application/pkcs7-signature\r\n\r\nx\r\n--s--\r\n"
        );
        let message = read(&signed);
        assert_eq!(message.may_change(3), Err(Unchangeable::Signed));
        let sealed = read(&format!("{HEADER}Content-Type: application/pkcs7-mime\r\n\r\nx\r\n"));
        assert_eq!(sealed.may_change(0), Err(Unchangeable::Signed));
        let plain = format!("{HEADER}{PARTS}");
        assert_eq!(read(&plain).may_change(2), Ok(()));
        let encrypted = plain.replace("multipart/mixed", "multipart/encrypted");
        assert_eq!(read(&encrypted).may_change(2), Err(Unchangeable::Signed));
        let ambiguous = plain.replace("boundary=b", "boundary=b; boundary=c");
        assert_eq!(read(&ambiguous).may_change(2), Err(Unchangeable::Ambiguous));
        let beyond = plain.replace("epilogue", &"--b\r\n\r\nx\r\n".repeat(10_001));
        assert_eq!(read(&beyond).may_change(2), Err(Unchangeable::Limits));
        let mut unkept = Message::new(Wants { parts: true, ..Wants::NOTHING });
        unkept.finish(&Stop::default());
        assert_eq!(unkept.may_change(0), Err(Unchangeable::Unknown));
    }
}
