//! The names that a file may be saved under, as they are gathered.
//!
//! Names are a stranger's, of any length and with any characters. They are capped
//! in number and length here; whoever shows one has to clean it.

/// Names of one file, all readings of all parameters.
const MAX_NAMES: usize = 64;
/// Bytes of one name. Of a longer one the beginning and the end stay, for there
/// is its extension.
const MAX_NAME_BYTES: usize = 1_024;
const NAME_TAIL_BYTES: usize = 256;

/// The names of one file while they are gathered.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pub found: Vec<String>,
    /// The first cap that was hit, in words.
    pub limit: Option<&'static str>,
}

impl Names {
    /// `name` and what programs make of it.
    pub fn add(&mut self, name: &str) {
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
            self.limit.get_or_insert("a longer name of a file than is read");
            let tail = name.ceil_char_boundary(name.len() - NAME_TAIL_BYTES);
            shown.push_str(cut(name, MAX_NAME_BYTES - NAME_TAIL_BYTES));
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
            self.limit.get_or_insert("more names of a file than are read");
            return;
        }
        self.found.push(shown);
    }
}

/// The first `limit` bytes of `text`, to the last whole character.
fn cut(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
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
