//! List files as Postfix and postgrey read them: plain, `cidr:`, `pcre:`,
//! `regexp:` and `texthash:`, line by line into rows.
//!
//! The files are the operator's, often fetched from others: a line has at most
//! [`MAX_LINE_BYTES`], a file [`MAX_FILE_BYTES`], and what is no regular file is
//! not opened, for a pipe would never end. The file is never held as a whole.

use super::network;
use super::pattern::Subject;
use super::pcre::Flags;
use crate::yaml::Mistake;
use crate::yaml::Place;
use ipnet::IpNet;
use std::fs::File;
use std::fs::Metadata;
use std::io::BufRead;
use std::io::BufReader;
use std::io::ErrorKind;
use std::io::Read;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// A logical line, with its continuations.
pub(super) const MAX_LINE_BYTES: usize = 64 << 10;

/// Twenty million addresses.
pub(super) const MAX_FILE_BYTES: u64 = 512 << 20;

/// A file in the wrong format has a mistake in each line.
const MAX_MISTAKES: usize = 100;

/// Of a line that is shown with its mistake.
const MAX_SHOWN_CHARS: usize = 200;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Format {
    Cidr,
    Pcre,
    /// One pattern a line.
    Plain,
    Regexp,
    Texthash,
}

/// What `file:` says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Location {
    pub format: Format,
    pub path: String,
}

impl Location {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let prefix = text
            .split_once(':')
            .filter(|(word, _)| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric()));
        let (format, path) = match prefix {
            None => (Format::Plain, text),
            Some(("cidr", path)) => (Format::Cidr, path),
            Some(("pcre", path)) => (Format::Pcre, path),
            Some(("regexp", path)) => (Format::Regexp, path),
            Some(("texthash", path)) => (Format::Texthash, path),
            Some((word @ ("btree" | "cdb" | "dbm" | "hash" | "lmdb"), _)) => {
                return Err(format!(
                    "`{word}:` is a compiled table: give `texthash:` and the text it is made from"
                ));
            }
            Some((word, _)) => {
                return Err(format!(
                    "`{word}:` is not read here: cidr: pcre: regexp: texthash: or a plain file"
                ));
            }
        };
        if path.trim().is_empty() {
            return Err("a path is missing behind `file:`".to_owned());
        }
        Ok(Self { format, path: path.to_owned() })
    }
}

/// By what a changed file is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stamp {
    inode: u64,
    len: u64,
    seconds: i64,
    nanos: i64,
}

impl Stamp {
    /// None if there is no such file.
    pub(super) fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|metadata| Self::from_metadata(&metadata))
    }

    fn from_metadata(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            len: metadata.len(),
            seconds: metadata.mtime(),
            nanos: metadata.mtime_nsec(),
        }
    }
}

/// One line's meaning, and where its parts begin in it.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub body: Body<'a>,
    pub key_at: usize,
    pub value_at: usize,
}

#[derive(Debug)]
pub(super) enum Body<'a> {
    Endif,
    Entry { key: Key<'a>, negate: bool, value: Option<&'a str> },
    If { key: Key<'a>, negate: bool },
}

#[derive(Debug)]
pub(super) enum Key<'a> {
    Expression { shown: &'a str, body: &'a str, flags: Flags },
    Network { shown: &'a str, network: IpNet },
    Text(&'a str),
}

/// What is wrong, and where in the logical line.
pub(super) type Wrong = (usize, String);

/// Opens a file. `Ok(None)`: there is none.
pub(super) fn open(path: &Path) -> Result<Option<(File, Stamp)>, String> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot be opened: {error}")),
    };
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Err(format!("has {} bytes, {MAX_FILE_BYTES} are allowed", metadata.len()));
    }
    let file = File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    let metadata = file.metadata().map_err(|error| format!("cannot be read: {error}"))?;
    Ok(Some((file, Stamp::from_metadata(&metadata))))
}

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

fn row(text: &str, format: Format) -> Result<Row<'_>, Wrong> {
    let start = text.len() - text.trim_start().len();
    let (word, rest_at) = word_at(text, start);
    match format {
        Format::Plain => {
            let body = Body::Entry { key: Key::Text(text.trim()), negate: false, value: None };
            Ok(Row { body, key_at: start, value_at: start })
        }
        Format::Texthash => {
            let body = Body::Entry { key: Key::Text(word), negate: false, value: rest(text, rest_at) };
            Ok(Row { body, key_at: start, value_at: rest_at })
        }
        _ if word.eq_ignore_ascii_case("endif") => {
            Ok(Row { body: Body::Endif, key_at: start, value_at: rest_at })
        }
        _ if word.eq_ignore_ascii_case("if") => {
            let (key, negate, end) = key(text, rest_at, format)?;
            if rest(text, end).is_some() {
                return Err((end, "nothing follows the pattern of an `if`; its lines come below".to_owned()));
            }
            Ok(Row { body: Body::If { key, negate }, key_at: rest_at, value_at: end })
        }
        _ => {
            let (key, negate, end) = key(text, start, format)?;
            Ok(Row {
                body: Body::Entry { key, negate, value: rest(text, end) },
                key_at: start,
                value_at: end,
            })
        }
    }
}

/// The word at an offset, and where what follows it begins.
fn word_at(text: &str, start: usize) -> (&str, usize) {
    let tail = text.get(start..).unwrap_or_default();
    let word = tail.split(|c: char| c.is_ascii_whitespace()).next().unwrap_or_default();
    (word, skip_blanks(text, start + word.len()))
}

fn skip_blanks(text: &str, at: usize) -> usize {
    let tail = text.get(at..).unwrap_or_default();
    at + tail.len() - tail.trim_start().len()
}

fn rest(text: &str, at: usize) -> Option<&str> {
    text.get(at..).map(str::trim).filter(|value| !value.is_empty())
}

/// A network or expression at an offset, whether a `!` turns it round, and where
/// what follows begins.
fn key(text: &str, start: usize, format: Format) -> Result<(Key<'_>, bool, usize), Wrong> {
    let tail = text.get(start..).unwrap_or_default();
    let negate = tail.starts_with('!');
    let at = if negate { skip_blanks(text, start + 1) } else { start };
    if format != Format::Cidr {
        let (key, end) = expression(text, at, format)?;
        return Ok((key, negate, end));
    }
    let (word, end) = word_at(text, at);
    let network =
        network::parse(word).ok_or_else(|| (at, format!("`{word}` is not an address or network")))?;
    Ok((Key::Network { shown: word, network }, negate, end))
}

/// `/pattern/flags`, with any sign in place of the slashes.
fn expression(text: &str, at: usize, format: Format) -> Result<(Key<'_>, usize), Wrong> {
    let tail = text.get(at..).unwrap_or_default();
    let delimiter = tail.chars().next().unwrap_or('a');
    if delimiter.is_alphanumeric() || delimiter.is_whitespace() || delimiter == '\\' {
        return Err((at, "a line begins with `/pattern/`, `if` or `endif`".to_owned()));
    }
    let body_at = delimiter.len_utf8();
    let mut escaped = false;
    let close = tail.char_indices().skip(1).find(|&(_, c)| {
        let found = c == delimiter && !escaped;
        escaped = c == '\\' && !escaped;
        found
    });
    let Some((close, _)) = close else {
        return Err((at, format!("the closing `{delimiter}` of the pattern is missing")));
    };
    let flags_at = close + delimiter.len_utf8();
    let behind = tail.get(flags_at..).unwrap_or_default();
    let letters = behind.split(|c: char| c.is_ascii_whitespace()).next().unwrap_or_default();
    let flags = flags_of(letters, format).map_err(|message| (at + flags_at, message))?;
    let end = flags_at + letters.len();
    let shown = tail.get(..end).unwrap_or_default();
    let body = tail.get(body_at..close).unwrap_or_default();
    Ok((Key::Expression { shown, body, flags }, skip_blanks(text, at + end)))
}

/// Each letter turns its flag round; case does not count and `.` matches line
/// ends unless told otherwise.
fn flags_of(letters: &str, format: Format) -> Result<Flags, String> {
    let mut flags = Flags::default();
    for letter in letters.chars() {
        match (letter, format) {
            ('i', _) => flags.mind_case = !flags.mind_case,
            ('m', _) => flags.multi_line = !flags.multi_line,
            ('s', Format::Pcre) => flags.dot_stops = !flags.dot_stops,
            ('x', Format::Pcre) => flags.extended = !flags.extended,
            ('A', Format::Pcre) => flags.anchored = !flags.anchored,
            ('U', Format::Pcre) => flags.ungreedy = !flags.ungreedy,
            // The end of a text is its very end here, and wrong escapes are refused.
            ('E' | 'X', Format::Pcre) => {}
            ('x', _) => {
                return Err("basic expressions are not read: write an extended one, without `x`".to_owned());
            }
            _ => return Err(format!("`{letter}` is no flag of such a table; blanks stand before the value")),
        }
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn locations_are_read_by_their_prefix() {
        for (text, expected) in [
            ("lists/x", Ok((Format::Plain, "lists/x"))),
            ("texthash:lists/x", Ok((Format::Texthash, "lists/x"))),
            ("./a:b", Ok((Format::Plain, "./a:b"))),
            (
                "hash:lists/x",
                Err("`hash:` is a compiled table: give `texthash:` and the text it is made from"),
            ),
            ("mysql:x", Err("`mysql:` is not read here: cidr: pcre: regexp: texthash: or a plain file")),
            ("pcre:", Err("a path is missing behind `file:`")),
        ] {
            let location = Location::parse(text);
            let read = location.as_ref().map(|l| (l.format, l.path.as_str())).map_err(String::as_str);
            assert_eq!(read, expected, "{text}");
        }
    }
}
