//! A stranger's body, in pieces of any size, into lines. A line ends with LF, with
//! CR, or with both, and CR CR LF is one end, as in what some gateways make of it.
//!
//! Of a line whose end has not come [`MAX_LINE_BYTES`] are kept, and of the rest
//! nothing but that there was more.

/// Bytes looked at of one line; no line of a header may be longer.
pub(super) const MAX_LINE_BYTES: usize = 64 * 1024;

/// A line without its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub text: &'a [u8],
    /// It was longer.
    pub is_cut: bool,
}

#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The beginning of a line whose end has not come.
    kept: Vec<u8>,
    is_cut: bool,
    /// Carriage returns at the end of what has come, at most 2: with a line feed
    /// behind them they are one line end, else each is one.
    returns: u8,
}

impl Lines {
    /// Tells each line that ends in the piece.
    pub(super) fn feed(&mut self, piece: &[u8], mut tell: impl FnMut(Line<'_>)) {
        let mut rest = piece;
        while let Some(&first) = rest.first() {
            if self.returns > 0 {
                match first {
                    b'\r' => self.returns = 2,
                    b'\n' => self.end(1, &mut tell),
                    _ => self.end(self.returns, &mut tell),
                }
                if matches!(first, b'\r' | b'\n') {
                    rest = rest.get(1..).unwrap_or_default();
                }
                continue;
            }
            let Some(end) = memchr::memchr2(b'\r', b'\n', rest) else {
                return self.keep(rest);
            };
            let (text, tail) = rest.split_at(end);
            rest = match tail {
                [b'\n', after @ ..] | [b'\r', b'\n', after @ ..] => {
                    self.whole(text, &mut tell);
                    after
                }
                _ => {
                    self.keep(text);
                    self.returns = 1;
                    tail.get(1..).unwrap_or_default()
                }
            };
        }
    }

    /// Tells the last line, which needs no end.
    pub(super) fn finish(mut self, mut tell: impl FnMut(Line<'_>)) {
        if self.returns > 0 || !self.kept.is_empty() {
            self.end(1, &mut tell);
        }
    }

    fn keep(&mut self, text: &[u8]) {
        let room = MAX_LINE_BYTES.saturating_sub(self.kept.len());
        self.is_cut |= text.len() > room;
        self.kept.extend_from_slice(text.get(..room).unwrap_or(text));
    }

    fn whole(&mut self, text: &[u8], tell: &mut impl FnMut(Line<'_>)) {
        if self.kept.is_empty() && text.len() <= MAX_LINE_BYTES {
            return tell(Line { text, is_cut: false });
        }
        self.keep(text);
        self.end(1, tell);
    }

    /// The kept line is over, and with a second line end an empty one follows.
    fn end(&mut self, ends: u8, tell: &mut impl FnMut(Line<'_>)) {
        tell(Line { text: &self.kept, is_cut: self.is_cut });
        self.kept.clear();
        self.is_cut = false;
        self.returns = 0;
        if ends > 1 {
            tell(Line { text: b"", is_cut: false });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, size: usize) -> Vec<(String, bool)> {
        let mut told = Vec::new();
        let mut tell = |line: Line<'_>| {
            told.push((String::from_utf8_lossy(line.text).into_owned(), line.is_cut));
        };
        let mut lines = Lines::default();
        for piece in text.as_bytes().chunks(size) {
            lines.feed(piece, &mut tell);
        }
        lines.finish(tell);
        told
    }

    #[test]
    fn line_ends_are_told_apart_however_they_arrive() {
        for (text, expected) in [
            ("a\nb", &["a", "b"][..]),
            ("a\r\nb\r\n", &["a", "b"]),
            ("a\rb\r", &["a", "b"]),
            ("a\r\r\nb", &["a", "b"]),
            ("a\r\rb", &["a", "", "b"]),
            ("a\n\r\n\nb", &["a", "", "", "b"]),
            ("\r", &[""]),
            ("", &[]),
        ] {
            for size in [1, 2, 100] {
                let told: Vec<_> = lines(text, size).into_iter().map(|(line, _)| line).collect();
                assert_eq!(told, expected, "{text:?} by {size}");
            }
        }
    }

    #[test]
    fn a_long_line_is_cut_and_the_next_is_whole() {
        let fits = "a".repeat(MAX_LINE_BYTES);
        for size in [1_000, 1_000_000] {
            let text = format!("{fits}\n{fits}b\r\nc");
            let expected = [(fits.clone(), false), (fits.clone(), true), ("c".to_owned(), false)];
            assert_eq!(lines(&text, size), expected, "by {size}");
        }
    }
}
