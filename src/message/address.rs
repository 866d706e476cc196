//! The bare addresses of an address field: From, Reply-To, To and their like.
//!
//! The field is a stranger's, written to be read differently by others. Where
//! readings differ, all addresses that a client could take are given. One pass
//! over the characters, nesting is a counter, the number of addresses is capped.
//! Encoded-words are not decoded first: what they hold is display, never syntax.

use crate::names::internal_form;

/// Addresses read of one field.
pub(super) const MAX_ADDRESSES: usize = 1_000;

/// In internal form (no brackets, unquoted), case as written, in order. What has
/// no `@` counts only in brackets; `<>` is none.
pub(super) fn addresses(field: &str) -> Vec<String> {
    let mut reader = Reader::default();
    reader.read(field, 0);
    if let Some(open) = reader.open() {
        // A quote or comment never ends. Some clients skip to the end, others take
        // its opening for a plain character: read on behind it as those do.
        reader.stop_nesting();
        reader.read(field, open + 1);
    }
    reader.finish();
    reader.found.truncate(MAX_ADDRESSES);
    reader.found
}

#[derive(Default)]
struct Reader {
    found: Vec<String>,
    word: String,
    /// Blanks or a comment stood after `word`.
    gap: bool,
    place: Place,
    comment_depth: usize,
    escaped: bool,
    quoted: bool,
    /// Where the last quote or outermost comment opened, and the length of `word` then.
    opened: (usize, usize),
    /// Quotes and parentheses are plain characters from here on.
    flat: bool,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Place {
    Brackets,
    #[default]
    Outside,
}

impl Reader {
    fn read(&mut self, field: &str, from: usize) {
        for (at, c) in field.get(from..).unwrap_or_default().char_indices() {
            self.take(from + at, c);
            if self.found.len() >= MAX_ADDRESSES {
                return;
            }
        }
    }

    fn open(&self) -> Option<usize> {
        (self.quoted || self.comment_depth > 0).then_some(self.opened.0)
    }

    fn stop_nesting(&mut self) {
        self.word.truncate(self.opened.1);
        self.quoted = false;
        self.comment_depth = 0;
        self.escaped = false;
        self.flat = true;
    }

    fn take(&mut self, at: usize, c: char) {
        if self.comment_depth > 0 {
            return self.take_in_comment(c);
        }
        if self.quoted {
            return self.take_in_quotes(c);
        }
        match (c, self.place) {
            ('(' | ')' | '"', _) if self.flat => self.gap = true,
            ('(', _) => {
                self.opened = (at, self.word.len());
                self.comment_depth = 1;
                self.gap = true;
            }
            ('"', _) => {
                // This may end the word before, so its length is taken behind it.
                self.push(c);
                self.opened = (at, self.word.len() - c.len_utf8());
                self.quoted = true;
            }
            (' ' | '\t' | '\r' | '\n', _) => self.gap = true,
            ('<', _) => {
                // What stood before is the display name, and a second `<` begins anew.
                self.word.clear();
                self.place = Place::Brackets;
            }
            ('>', _) => self.finish(),
            // The commas of a source route, `<@one,@two:user@example.com>`, separate nothing.
            (',', Place::Brackets) if self.word.starts_with('@') => self.push(c),
            (',' | ';', _) => self.finish(),
            // The name of a group ends.
            (':', Place::Outside) => self.word.clear(),
            _ => self.push(c),
        }
    }

    fn take_in_comment(&mut self, c: char) {
        match c {
            _ if self.escaped => self.escaped = false,
            '\\' => self.escaped = true,
            '(' => self.comment_depth += 1,
            ')' => self.comment_depth -= 1,
            _ => {}
        }
    }

    fn take_in_quotes(&mut self, c: char) {
        match c {
            '\r' | '\n' => return,
            _ if self.escaped => self.escaped = false,
            '\\' => self.escaped = true,
            '"' => self.quoted = false,
            _ => {}
        }
        self.word.push(c);
    }

    fn push(&mut self, c: char) {
        // Blanks around `@` and `.` are allowed and mean nothing (RFC 5322, 4.4);
        // elsewhere they end a word, and in brackets they are dropped.
        let joins = |c: char| matches!(c, '@' | '.');
        if self.gap && self.place == Place::Outside && !joins(c) && !self.word.ends_with(joins) {
            self.finish();
        }
        self.gap = false;
        self.word.push(c);
    }

    fn finish(&mut self) {
        let in_brackets = self.place == Place::Brackets;
        self.place = Place::Outside;
        self.gap = false;
        let word = std::mem::take(&mut self.word);
        // An `@` in quotes makes no address: `"a@example.com" b@example.com`.
        let bare = word.rsplit_once('"').map_or(word.as_str(), |(_, rest)| rest);
        if !in_brackets && !bare.contains('@') {
            return;
        }
        let address = internal_form(&format!("<{word}>"));
        if !address.is_empty() {
            self.found.push(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_every_form_of_the_grammar() {
        for (field, expected) in [
            (" a@example.com", &["a@example.com"][..]),
            ("Ann <a@example.com>", &["a@example.com"]),
            ("\"Doe, Ann\" <a@example.com>, b@example.com", &["a@example.com", "b@example.com"]),
            ("a@example.com (Ann (the first))", &["a@example.com"]),
            ("a(x)@(y)example.com", &["a@example.com"]),
            ("a @ example . com", &["a@example.com"]),
            (
                "team: a@example.com, B <b@example.com>; c@example.com",
                &["a@example.com", "b@example.com", "c@example.com"],
            ),
            ("undisclosed recipients:;", &[]),
            ("<@one.example,@two.example:a@example.com>", &["a@example.com"]),
            ("\"a b\"@example.com", &["a b@example.com"]),
            ("<\"a>b\"@example.com>", &["a>b@example.com"]),
            ("\"x\\\"y\" <a@example.com>", &["a@example.com"]),
            ("A\n <a@example.com>,\n b@example.com", &["a@example.com", "b@example.com"]),
            ("<a@[192.0.2.1]>", &["a@[192.0.2.1]"]),
            ("jürgen@bücher.example", &["jürgen@bücher.example"]),
            ("<root>", &["root"]),
            ("", &[]),
            ("nobody", &[]),
            ("<>", &[]),
        ] {
            assert_eq!(addresses(field), expected, "{field}");
        }
    }

    #[test]
    fn odd_fields_give_every_address_a_client_could_take() {
        for (field, expected) in [
            ("<a@x.example> <b@y.example>", &["a@x.example", "b@y.example"][..]),
            ("a@x.example b@y.example", &["a@x.example", "b@y.example"]),
            ("Ann a@x.example", &["a@x.example"]),
            ("a@x.example <b@y.example>", &["b@y.example"]),
            ("\"a@x.example\" <b@y.example>", &["b@y.example"]),
            ("=?utf-8?Q?a=40x.example?= <b@y.example>", &["b@y.example"]),
            ("<a@x.example, b@y.example", &["a@x.example", "b@y.example"]),
            ("<a@x.example", &["a@x.example"]),
            ("a@x.example (open", &["a@x.example"]),
            ("a@x.example, \"open b@y.example", &["a@x.example", "b@y.example"]),
            ("(open <a@x.example>", &["a@x.example"]),
            ("ab@x.example \"öööööö b@y.example", &["ab@x.example", "b@y.example"]),
            ("a@x.example \"b@y.example", &["a@x.example", "b@y.example"]),
        ] {
            assert_eq!(addresses(field), expected, "{field}");
        }
    }

    #[test]
    fn hostile_fields_end_at_the_cap_and_in_linear_time() {
        assert_eq!(addresses(&"a@b,".repeat(100_000)).len(), MAX_ADDRESSES);
        for hostile in ["(", "((a)", "<", "\"", "\\", "@", "a:", ",", "<a"] {
            addresses(&hostile.repeat(300_000));
        }
    }
}
