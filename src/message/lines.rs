//! A stranger's body by lines, and by the few that may be boundaries. A line ends
//! with LF, with CR, or with both, and CR CR LF is one end, as in what some gateways
//! make of it.
//!
//! Nothing is copied; each byte is looked at a fixed number of times.

use memchr::memchr2;
use memchr::memmem;

/// Bytes looked at of one line of a header.
pub(super) const MAX_LINE_BYTES: usize = 64 * 1024;

/// How a line ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// A carriage return, and no line feed behind it.
    Cr,
    /// With one carriage return or more.
    CrLf,
    Lf,
    /// The text is over.
    None,
}

/// A line without its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub text: &'a [u8],
    pub start: usize,
    pub end: End,
}

impl<'a> Line<'a> {
    /// Of a very long one the beginning, and whether that is all.
    pub(super) fn begin(&self) -> (&'a [u8], bool) {
        match self.text.get(..MAX_LINE_BYTES) {
            Some(begin) if begin.len() < self.text.len() => (begin, false),
            _ => (self.text, true),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Where the next line begins.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Goes on to the next line that begins with `--`, whatever is in front of it that is
    /// not seen, or to the end.
    pub(super) fn skip_to_dashes(&mut self) {
        let line_of = |dashes: usize| {
            let before = self.bytes.get(self.at..dashes).unwrap_or_default();
            let unseen = before.iter().rev().take_while(|b| is_unseen(**b)).count();
            let line = dashes - unseen;
            let is_start = line == self.at || matches!(self.bytes.get(line - 1), Some(b'\n' | b'\r'));
            is_start.then_some(line)
        };
        let mut at = self.at;
        while let Some(found) = self.bytes.get(at..).and_then(|rest| memmem::find(rest, b"--")) {
            let begin = at + found;
            if let Some(line) = line_of(begin) {
                self.at = line;
                return;
            }
            // A long row of dashes is one place, not many.
            let row = self.bytes.get(begin..).unwrap_or_default();
            at = begin + row.iter().position(|b| *b != b'-').unwrap_or(row.len());
        }
        self.at = self.bytes.len();
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
        let start = self.at;
        let length = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        let (text, tail) = rest.split_at(length);
        let returns = tail.iter().take_while(|b| **b == b'\r').count();
        let (end, ends) = match (returns, tail.get(returns)) {
            (0, None) => (End::None, 0),
            (0, Some(_)) => (End::Lf, 1),
            (_, Some(b'\n')) => (End::CrLf, returns + 1),
            // Two returns are two ends, and so are more: the second takes the rest.
            _ if self.at > 0 && text.is_empty() && self.bytes.get(self.at - 1) == Some(&b'\r') => {
                (End::Cr, returns)
            }
            _ => (End::Cr, 1),
        };
        self.at += length + ends;
        Some(Line { text, start, end })
    }
}

/// What stands in front of a line for some readers, and for others does not.
pub(super) fn is_unseen(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0 | 0x0b | 0x0c)
}

/// Where what is before `at` ends, without the end of its last line.
pub(super) fn before_line_end(bytes: &[u8], at: usize) -> usize {
    let before = bytes.get(..at).unwrap_or(bytes);
    let before = before.strip_suffix(b"\n").unwrap_or(before);
    before.strip_suffix(b"\r").unwrap_or(before).len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_are_told_apart() {
        for (text, expected) in [
            ("a\nb", &["a", "b"][..]),
            ("a\r\nb\r\n", &["a", "b"]),
            ("a\rb\r", &["a", "b"]),
            ("a\r\r\nb", &["a", "b"]),
            ("a\r\rb", &["a", "", "b"]),
            ("a\r\r\r\rb", &["a", "", "b"]),
            ("a\n\r\n\nb", &["a", "", "", "b"]),
            ("\r", &[""]),
            ("", &[]),
        ] {
            let told: Vec<_> = Lines::new(text.as_bytes()).map(|line| line.text).collect();
            assert_eq!(told, expected.iter().map(|line| line.as_bytes()).collect::<Vec<_>>(), "{text:?}");
        }
    }

    #[test]
    fn lines_that_begin_with_dashes_are_found() {
        for (text, expected) in [
            ("--a", Some("--a")),
            ("x--a\n--b\n", Some("--b")),
            ("x\r--b", Some("--b")),
            ("----a\nx", Some("----a")),
            ("x----a\nx\n-\n---", Some("---")),
            ("x--a", None),
            ("a\n \0--b\nc", Some(" \0--b")),
            ("a\n \u{1}--b\n\t--c", Some("\t--c")),
            (" --a", Some(" --a")),
            ("", None),
        ] {
            let mut lines = Lines::new(text.as_bytes());
            lines.skip_to_dashes();
            assert_eq!(lines.next().map(|line| line.text), expected.map(str::as_bytes), "{text:?}");
        }
    }

    #[test]
    fn rows_of_one_byte_take_linear_time() {
        for hostile in ["\r", "-", "x-", "--\r", "\n-", " ", " --", "x  --", "\n -"] {
            let text = hostile.repeat(1 << 20);
            Lines::new(text.as_bytes()).count();
            let mut lines = Lines::new(text.as_bytes());
            loop {
                lines.skip_to_dashes();
                if lines.next().is_none() {
                    break;
                }
            }
        }
    }
}
