//! List files as Postfix and postgrey read them: plain, `cidr:`, `pcre:`,
//! `regexp:` and `texthash:`, line by line into rows.
//!
//! The files are the operator's, often fetched from others: a line has at most
//! [`MAX_LINE_BYTES`], a file [`MAX_FILE_BYTES`]. It is never held as a whole.

use super::location::Format;
use super::location::MAX_FILE_BYTES;
use super::pattern::Subject;
use super::row::Row;
use super::row::Wrong;
use super::row::row;
use crate::yaml::Mistake;
use crate::yaml::Place;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;

/// A logical line, with its continuations.
pub(super) const MAX_LINE_BYTES: usize = 64 << 10;

/// A file in the wrong format has a mistake in each line.
const MAX_MISTAKES: usize = 100;

/// Of a line that is shown with its mistake.
const MAX_SHOWN_CHARS: usize = 200;

/// Reads all rows. `shown` is the file's name in mistakes.
pub(super) fn read(
    file: impl Read,
    shown: &str,
    format: Format,
    subject: Subject,
    take: &mut dyn FnMut(Row<'_>) -> Result<(), Wrong>,
) -> Vec<Mistake> {
    let mut lines = Lines {
        reader: BufReader::with_capacity(64 << 10, file.take(MAX_FILE_BYTES)),
        shown,
        number: 0,
        buffer: Vec::new(),
        logical: Logical::default(),
        mistakes: Vec::new(),
    };
    let mut more = true;
    while more && lines.mistakes.len() < MAX_MISTAKES {
        more = match lines.physical() {
            Physical::End => false,
            Physical::Bad => true,
            Physical::Line => {
                lines.add(format, subject, take);
                true
            }
        };
    }
    if !more {
        lines.flush(format, take);
    } else {
        let message = format!("reading stopped after {MAX_MISTAKES} mistakes");
        lines.mistakes.push(Mistake::whole(shown, message));
    }
    lines.mistakes
}

enum Physical {
    Bad,
    End,
    Line,
}

struct Lines<'s, R> {
    reader: BufReader<R>,
    shown: &'s str,
    number: usize,
    buffer: Vec<u8>,
    logical: Logical,
    mistakes: Vec<Mistake>,
}

/// A line with its continuations, and where each of them began.
#[derive(Debug, Default)]
struct Logical {
    text: String,
    /// Offset and number of the line.
    parts: Vec<(usize, usize)>,
}

impl Logical {
    fn clear(&mut self) {
        self.text.clear();
        self.parts.clear();
    }

    fn place(&self, offset: usize) -> Place {
        let part = self.parts.iter().rev().find(|(start, _)| *start <= offset);
        let (start, line) = part.copied().unwrap_or_default();
        let before = self.text.get(start..offset).unwrap_or_default();
        Place { line, col: before.chars().count() + 1 }
    }

    fn line_at(&self, offset: usize) -> String {
        let next =
            self.parts.iter().find(|(start, _)| *start > offset).map_or(self.text.len(), |(start, _)| *start);
        let start =
            self.parts.iter().rev().find(|(start, _)| *start <= offset).map_or(0, |(start, _)| *start);
        let line = self.text.get(start..next).unwrap_or_default();
        line.trim().chars().take(MAX_SHOWN_CHARS).collect()
    }
}

impl<R: Read> Lines<'_, R> {
    /// The next line into the buffer.
    fn physical(&mut self) -> Physical {
        self.buffer.clear();
        self.number += 1;
        let limit = MAX_LINE_BYTES as u64 + 2;
        match self.reader.by_ref().take(limit).read_until(b'\n', &mut self.buffer) {
            Ok(0) => return Physical::End,
            Ok(_) => {}
            Err(error) => {
                self.wrong_here(format!("cannot be read: {error}"));
                return Physical::End;
            }
        }
        if self.buffer.last() == Some(&b'\n') {
            self.buffer.pop();
        } else if self.buffer.len() > MAX_LINE_BYTES {
            self.wrong_here(format!("a line has at most {MAX_LINE_BYTES} bytes"));
            return if self.skip_line() { Physical::Bad } else { Physical::End };
        }
        if std::str::from_utf8(&self.buffer).is_err() {
            self.wrong_here("the line is not UTF-8: convert the file, for instance with iconv".to_owned());
            return Physical::Bad;
        }
        Physical::Line
    }

    /// To the end of a line that is too long.
    fn skip_line(&mut self) -> bool {
        loop {
            let Ok(bytes) = self.reader.fill_buf() else {
                return false;
            };
            if bytes.is_empty() {
                return false;
            }
            let end = memchr::memchr(b'\n', bytes);
            let count = end.map_or(bytes.len(), |at| at + 1);
            self.reader.consume(count);
            if end.is_some() {
                return true;
            }
        }
    }

    fn wrong_here(&mut self, message: String) {
        self.mistakes.push(Mistake {
            file: self.shown.to_owned(),
            place: Some(Place { line: self.number, col: 1 }),
            message,
            source_line: String::new(),
            is_unread: false,
        });
    }

    /// Takes the buffer's line: a comment, a continuation, or a new beginning.
    fn add(&mut self, format: Format, subject: Subject, take: &mut dyn FnMut(Row<'_>) -> Result<(), Wrong>) {
        let Ok(line) = std::str::from_utf8(&self.buffer) else {
            return;
        };
        let line = if self.number == 1 { line.strip_prefix('\u{feff}').unwrap_or(line) } else { line };
        let line = line.trim_end();
        let trimmed = line.trim_start();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            return;
        }
        let line = line.to_owned();
        if format == Format::Plain {
            self.flush(format, take);
            self.logical.parts.push((0, self.number));
            self.logical.text.push_str(without_comment(&line, subject));
            return;
        }
        let goes_on = trimmed.len() < line.len() && !self.logical.text.is_empty();
        if !goes_on {
            self.flush(format, take);
        }
        if self.logical.text.len() + line.len() > MAX_LINE_BYTES {
            self.wrong_here(format!("a line has at most {MAX_LINE_BYTES} bytes, continuations included"));
            return;
        }
        self.logical.parts.push((self.logical.text.len(), self.number));
        self.logical.text.push_str(&line);
    }

    fn flush(&mut self, format: Format, take: &mut dyn FnMut(Row<'_>) -> Result<(), Wrong>) {
        let text = &self.logical.text;
        if !text.trim().is_empty()
            && let Err((offset, message)) = row(text, format).and_then(take)
        {
            self.mistakes.push(Mistake {
                file: self.shown.to_owned(),
                place: Some(self.logical.place(offset)),
                message,
                source_line: self.logical.line_at(offset),
                is_unread: false,
            });
        }
        self.logical.clear();
    }
}

/// A comment behind an entry begins with ` #`; block lists of networks use `;` too.
fn without_comment(line: &str, subject: Subject) -> &str {
    let networks = matches!(subject, Subject::Client | Subject::Network);
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        if before.is_whitespace() && (c == '#' || networks && c == ';') {
            return line.get(..at).unwrap_or_default().trim_end();
        }
        before = c;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::row::Body;
    use super::super::row::Key;
    use super::*;

    fn rows(text: impl AsRef<[u8]>, format: Format) -> Vec<String> {
        let mut rows = Vec::new();
        let subject = Subject::Client;
        let mistakes = read(text.as_ref(), "t", format, subject, &mut |row| {
            let shown = |key: &Key<'_>, negate: bool| {
                let text = match key {
                    Key::Expression { body, .. } => (*body).to_owned(),
                    Key::Network { network, .. } => network.to_string(),
                    Key::Text(text) => (*text).to_owned(),
                };
                format!("{}{text}", if negate { "!" } else { "" })
            };
            rows.push(match &row.body {
                Body::Endif => "endif".to_owned(),
                Body::Entry { key, negate, value } => {
                    format!("{} -> {}", shown(key, *negate), value.unwrap_or("-"))
                }
                Body::If { key, negate } => format!("if {}", shown(key, *negate)),
            });
            Ok(())
        });
        rows.extend(mistakes.iter().map(|m| m.to_string().lines().next().unwrap_or_default().to_owned()));
        rows
    }

    #[test]
    fn plain_files_have_one_pattern_a_line() {
        let text = "\u{feff}# postgrey\n\n  debian.org\r\n/^mx\\d+#x\\.test$/  # pool\n1.10.16.0/20 ; SBL256894\n; x\n195.235.39\n";
        assert_eq!(
            rows(text, Format::Plain),
            ["debian.org -> -", "/^mx\\d+#x\\.test$/ -> -", "1.10.16.0/20 -> -", "195.235.39 -> -"]
        );
    }

    #[test]
    fn texthash_files_have_keys_values_and_continuations() {
        let text = "sales@b.test  a@b.test,\n# between\n\n   b@b.test\n\nkey\n";
        assert_eq!(rows(text, Format::Texthash), ["sales@b.test -> a@b.test,   b@b.test", "key -> -"]);
    }

    #[test]
    fn cidr_files_have_negations_and_conditions() {
        let text = "10.0.0.9/8 REJECT x\n!192.0.2.0/24  OK\nif !2001:db8::/32\n::/0 DUNNO\nendif\n[::1]\n10.0.0.0/33 OK\n";
        assert_eq!(
            rows(text, Format::Cidr),
            [
                "10.0.0.0/8 -> REJECT x",
                "!192.0.2.0/24 -> OK",
                "if !2001:db8::/32",
                "::/0 -> DUNNO",
                "endif",
                "::1/128 -> -",
                "t:7:1: `10.0.0.0/33` is not an address or network"
            ]
        );
    }

    #[test]
    fn expression_files_have_delimiters_flags_and_conditions() {
        let text = "/a\\/b/ REJECT\n!/x/i OK\n#/c/ X\n!c! DUNNO\n%a b%xm  5 %\nIF /^a/\n/b/\nENDIF\n";
        assert_eq!(
            rows(text, Format::Pcre),
            [
                "a\\/b -> REJECT",
                "!x -> OK",
                "a b -> 5 %",
                "if ^a",
                "b -> -",
                "endif",
                "t:4:2: a line begins with `/pattern/`, `if` or `endif`"
            ]
        );
    }

    #[test]
    fn mistakes_have_line_and_column() {
        for (text, format, expected) in [
            ("ok\n/a OK\n", Format::Pcre, "t:1:1: a line begins with `/pattern/`, `if` or `endif`"),
            ("/a OK", Format::Pcre, "t:1:1: the closing `/` of the pattern is missing"),
            ("/a/q OK", Format::Pcre, "t:1:4: `q` is no flag of such a table; blanks stand before the value"),
            (
                "/a/x OK",
                Format::Regexp,
                "t:1:4: basic expressions are not read: write an extended one, without `x`",
            ),
            (
                "if /a/ OK",
                Format::Pcre,
                "t:1:8: nothing follows the pattern of an `if`; its lines come below",
            ),
        ] {
            assert_eq!(rows(text, format).first().map(String::as_str), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_strangers_files_may_hold_is_bounded() {
        let long = "a".repeat(MAX_LINE_BYTES + 1);
        assert_eq!(
            rows(format!("{long}{long}\nb\n"), Format::Plain),
            ["b -> -", "t:1:1: a line has at most 65536 bytes"]
        );
        assert_eq!(
            rows(b"a\n\xff\nb", Format::Plain),
            ["a -> -", "b -> -", "t:2:1: the line is not UTF-8: convert the file, for instance with iconv"]
        );
        let many = rows("x\n".repeat(1000), Format::Cidr);
        assert_eq!(many.len(), MAX_MISTAKES + 1);
        assert_eq!(many.last().map(String::as_str), Some("t: reading stopped after 100 mistakes"));
        let mut continued = String::from("a b\n");
        continued.push_str(&format!(" {}\n", "c".repeat(60_000)).repeat(3));
        assert_eq!(rows(continued, Format::Texthash).len(), 3);
    }
}
