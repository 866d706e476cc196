//! One part of a message, and the names it may be saved under.
//!
//! Names are a stranger's, of any length and with any characters. They are capped
//! in number and length here; whoever shows one has to clean it.

use std::ops::Range;

use crate::message::words;

/// Names of one part, all readings of all parameters.
pub(super) const MAX_NAMES: usize = 64;
/// Bytes of one name. Of a longer one the beginning and the end stay, for there
/// is its extension.
pub(super) const MAX_NAME_BYTES: usize = 1_024;
const NAME_TAIL_BYTES: usize = 256;

/// One part, with or without a file name: also each multipart and each message
/// within the message. The first is the message itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Part {
    /// Every name that some client could show or save it under; no two the same.
    /// Control characters have become U+FFFD; nothing else is cleaned.
    pub names: Vec<String>,
    /// `text/plain`: lower-case, of the first Content-Type.
    pub content_type: Option<String>,
    /// `attachment`: lower-case, of the first Content-Disposition.
    pub disposition: Option<String>,
    /// 0 for the message itself.
    pub depth: usize,
    /// `2.1.3`: the first part of the second of the message's third (as IMAP numbers
    /// them, RFC 9051, 6.4.5); empty for the message itself.
    pub path: String,
    /// The part that it is in, by its place in the same list.
    pub within: Option<u32>,
    /// Bytes of its content, decoded.
    pub size: u64,
    /// Where it stands in the body; None: in a part that is encoded itself.
    pub place: Option<Place>,
}

/// Where in the body a part stands, in bytes from its first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Place {
    /// From behind the line of its boundary to before the line end that belongs to the
    /// next one. The message itself: all of the body.
    pub whole: Range<usize>,
    /// Of that what is behind its header and the empty line.
    pub content: Range<usize>,
}

/// The names of one part while they are gathered.
#[derive(Default)]
pub(super) struct Names {
    pub found: Vec<String>,
    /// The first cap that was hit, in words.
    pub limit: Option<&'static str>,
}

impl Names {
    /// `name` and what programs make of it.
    pub(super) fn add(&mut self, name: &str) {
        self.add_one(name);
        // Some programs, Postfix among them, end a string at a NUL.
        if let Some((before, _)) = name.split_once('\0') {
            self.add_one(before);
        }
        // Windows drops dots and blanks at the end.
        self.add_one(name.trim_end_matches(['.', ' ', '\t']));
    }

    fn add_one(&mut self, name: &str) {
        let name = name.trim();
        if name.is_empty() {
            return;
        }
        let mut shown = String::with_capacity(name.len().min(MAX_NAME_BYTES));
        if name.len() > MAX_NAME_BYTES {
            self.limit.get_or_insert("a longer name of a part than is read");
            let tail = name.ceil_char_boundary(name.len() - NAME_TAIL_BYTES);
            shown.push_str(words::cut(name, MAX_NAME_BYTES - NAME_TAIL_BYTES));
            shown.push_str(name.get(tail..).unwrap_or_default());
        } else {
            shown.push_str(name);
        }
        if shown.contains(char::is_control) {
            shown = shown.replace(char::is_control, "\u{FFFD}");
        }
        if self.found.contains(&shown) {
            return;
        }
        if self.found.len() >= MAX_NAMES {
            self.limit.get_or_insert("more names of a part than are read");
            return;
        }
        self.found.push(shown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(name: &str) -> Names {
        let mut names = Names::default();
        names.add(name);
        names
    }

    #[test]
    fn a_name_is_told_as_programs_may_take_it() {
        for (name, expected) in [
            ("a.exe", &["a.exe"][..]),
            (" a.exe ", &["a.exe"]),
            ("a.exe. .", &["a.exe. .", "a.exe"]),
            ("a.exe\0.txt", &["a.exe\u{FFFD}.txt", "a.exe"]),
            ("a\r\nb", &["a\u{FFFD}\u{FFFD}b"]),
            (" ", &[]),
        ] {
            assert_eq!(names(name).found, expected, "{name:?}");
        }
    }

    #[test]
    fn a_long_name_keeps_its_extension_and_is_flagged() {
        let names = names(&format!("{}.exe", "é".repeat(2_000)));
        let [name] = names.found.as_slice() else { panic!("one name") };
        assert!(name.len() <= MAX_NAME_BYTES && name.ends_with(".exe"));
        assert!(names.limit.is_some());
    }

    #[test]
    fn names_beyond_the_cap_are_flagged() {
        let mut names = Names::default();
        for n in 0..=MAX_NAMES {
            assert!(names.limit.is_none());
            names.add(&n.to_string());
        }
        assert_eq!(names.found.len(), MAX_NAMES);
        assert!(names.limit.is_some());
    }
}
