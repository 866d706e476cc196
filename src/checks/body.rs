//! # What it does
//! Matches when a line of the message's text fits: what people read, decoded from
//! whatever it was sent as, of every part that is text.
//!
//! # Why
//! What a phish or a worm says is the same in base64 as in plain text. Postfix's
//! body_checks see it as it was sent, where nothing can be found.
//!
//! # Options
//! Patterns, of which any may fit any line: `/regex/`, or a whole line where there is no
//! `*` in it (`'*lottery*'`). `^` and `$` are the beginning and the end of a line; one of
//! more than 2048 bytes is looked at in pieces that overlap by 256. Also `present` and
//! `absent`, or
//! - `in`: lists of text. With `then: as_listed` this is body_checks(5), on decoded lines.
//! - `is`, `same_as`, `within`: as for any text.
//! - `raw`: the same values on the lines as they were sent, those between the parts and the
//!   fields of parts with them: body_checks(5), mime_header_checks and nested_header_checks
//!   as they are.
//!
//! A text may say `{line}`: the line that fitted, at most 200 bytes of it; of lists
//! `{entry}`, and `(?<name>…)` of expressions.
//!
//! # Example
//! ```yaml
//! - body: ['/bitcoin wallet/', '/^[> ]*Received: from +casino\.test /']
//! ```
//!
//! # Unknown when
//! Never. Of a text that is longer than what is read of it, the beginning is judged;
//! `limits` says so.

use super::Bindings;
use super::Check;
use super::Context;
use super::ListedHit;
use super::ListedLines;
use super::Needs;
use super::Spot;
use super::Truth;
use crate::facts::Fact;
use crate::facts::Facts;
use crate::lists::List;
use crate::lists::Query;
use crate::lists::Subject;
use crate::lists::To;
use crate::message::Wants;
use crate::values::Loader;
use crate::values::TextTest;
use crate::yaml::Entry;
use std::borrow::Cow;
use std::sync::Arc;

/// As Postfix's line_length_limit: what many patterns on one long line may cost.
const MAX_LINE_BYTES: usize = 2048;

/// So that no word is missed because it stands where a line was cut.
const OVERLAP_BYTES: usize = 256;

/// Of a line that is shown.
const MAX_SHOWN_BYTES: usize = 200;

#[derive(Clone, Debug)]
pub struct Body {
    test: TextTest,
    view: View,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum View {
    /// As it was sent.
    Raw,
    /// What is read.
    Text,
}

impl Check for Body {
    const OPTIONS: &'static [&'static str] = &["in", "is", "raw", "same_as", "within"];

    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
        let node = &entry.value;
        let (node, view) = match node.get("raw") {
            Some(inner) => {
                cx.only_keys(node.as_map().unwrap_or_default(), &["raw"], "body");
                (inner, View::Raw)
            }
            None => (node, View::Text),
        };
        TextTest::parse(node, "body", Subject::Text, cx).map(|test| Self { test, view })
    }

    fn needs(&self) -> Needs {
        Needs::of_message(match self.view {
            View::Raw => Wants { parts: true, whole: true, ..Wants::NOTHING },
            View::Text => Wants { text: true, ..Wants::NOTHING },
        })
    }

    fn evaluate(&self, cx: &Context<'_>) -> Truth {
        self.read(cx).is_some_and(|read| self.fits(&read, cx.facts)).into()
    }

    fn because(&self, cx: &Context<'_>) -> String {
        let Some(read) = self.read(cx) else {
            return "no message".into();
        };
        match read.found(&self.test, cx.facts) {
            Some(line) => format!("the line `{}`", line.shown()),
            None => format!("none of {} bytes", read.text.len()),
        }
    }

    fn variables(&self) -> Vec<String> {
        let mut names = self.test.variables();
        names.push("line".into());
        names
    }

    fn bind(&self, cx: &Context<'_>, bindings: &mut Bindings) {
        let read = self.read(cx);
        let line = read.as_ref().and_then(|read| read.found(&self.test, cx.facts));
        bindings.push(("line".into(), line.map(Line::shown).unwrap_or_default()));
        if let Some(line) = line
            && let Some(way) = self.test.way(&line.query(), cx.facts)
        {
            way.bind(&line.query(), bindings);
        }
    }
}

impl Body {
    pub fn lists(&self) -> Vec<Arc<List>> {
        self.test.lists().cloned().collect()
    }

    /// Which facts its values are compared with or looked up by.
    pub fn reads(&self) -> Vec<Fact> {
        self.test.reads()
    }

    /// The lines that are listed, in order, as [`ListedLines`] keeps them.
    pub fn hits(&self, to: To, cx: &Context<'_>, max: usize) -> Vec<ListedHit> {
        let mut found = ListedLines::new(Some(to), max);
        let Some(read) = self.read(cx) else {
            return found.hits;
        };
        for line in read.lines() {
            let Some(hit) = self.test.hit(to, &line.query()) else {
                continue;
            };
            if !found.add(ListedHit { hit, spot: Spot::BodyLine(line.shown()) }) {
                break;
            }
        }
        found.hits
    }

    fn read<'c>(&self, cx: &Context<'c>) -> Option<Read<'c>> {
        let message = cx.facts.message.as_ref()?;
        Some(Read::new(match self.view {
            View::Raw => String::from_utf8_lossy(message.raw_body()),
            View::Text => message.text().into(),
        }))
    }

    fn fits(&self, read: &Read<'_>, facts: &Facts) -> bool {
        match &self.test {
            TextTest::Absent => read.text.is_empty(),
            TextTest::Present => !read.text.is_empty(),
            TextTest::AnyOf(_) => read.found(&self.test, facts).is_some(),
        }
    }
}

/// A text, and the same folded all at once.
struct Read<'c> {
    text: Cow<'c, str>,
    folded: String,
}

impl<'c> Read<'c> {
    fn new(text: Cow<'c, str>) -> Self {
        Self { folded: text.to_ascii_lowercase(), text }
    }

    /// The first line that fits.
    fn found(&self, test: &TextTest, facts: &Facts) -> Option<Line<'_>> {
        self.lines().find(|line| test.matches(Some(&line.query()), facts))
    }

    fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let rest = self.text.get(at..).filter(|rest| !rest.is_empty())?;
            let end = memchr::memchr(b'\n', rest.as_bytes());
            let len = end.unwrap_or(rest.len());
            if len > MAX_LINE_BYTES {
                let piece = rest.floor_char_boundary(MAX_LINE_BYTES);
                let line = self.line(at, piece);
                at += rest.floor_char_boundary(piece.saturating_sub(OVERLAP_BYTES));
                return line;
            }
            let line = self.line(at, len);
            at += len + 1;
            line
        })
    }

    fn line(&self, from: usize, len: usize) -> Option<Line<'_>> {
        let text = self.text.get(from..from + len)?;
        let text = text.strip_suffix('\r').unwrap_or(text);
        // Folded it is as long.
        Some(Line { text, folded: self.folded.get(from..from + text.len())? })
    }
}

#[derive(Clone, Copy)]
struct Line<'r> {
    text: &'r str,
    folded: &'r str,
}

impl<'r> Line<'r> {
    fn query(&self) -> Query<'r> {
        Query { text: self.text, folded: self.folded, ip: None }
    }

    fn shown(self) -> String {
        let cut = self.text.get(..self.text.floor_char_boundary(MAX_SHOWN_BYTES)).unwrap_or_default();
        cut.trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::AnyCheck;
    use super::super::testing::load;
    use super::super::testing::wrong;
    use super::*;

    fn body(yaml: &str) -> Body {
        let (check, mistakes) = load(yaml);
        assert_eq!(mistakes, Vec::<String>::new(), "{yaml}");
        let Some(AnyCheck::Body(body)) = check else { panic!("{yaml}") };
        body
    }

    #[test]
    fn lines_are_asked_one_by_one() {
        let text = "Dear friend,\r\n\r\nsend  Bitcoin to\n> Received: from casino.test (x)\nlast";
        for (yaml, expected) in [
            ("body: /bitcoin/", Some("send  Bitcoin to")),
            ("body: /Bitcoin/c", Some("send  Bitcoin to")),
            ("body: /bitcoin/c", None),
            ("body: '/^bitcoin/'", None),
            ("body: '/friend,$/'", Some("Dear friend,")),
            ("body: '/friend.*send/'", None),
            ("body: LAST", Some("last")),
            ("body: friend", None),
            ("body: '*friend*'", Some("Dear friend,")),
            ("body: '/^[> ]*Received: +from +(casino)/'", Some("> Received: from casino.test (x)")),
            ("body: '/^$/'", Some("")),
            ("body: [/one/, /two/, /three/, /four/, /l.st$/]", Some("last")),
        ] {
            let body = body(yaml);
            let read = Read::new(text.into());
            let found = read.found(&body.test, &Facts::default()).map(|line| line.shown());
            assert_eq!(found.as_deref(), expected, "{yaml}");
            assert_eq!(body.fits(&read, &Facts::default()), expected.is_some(), "{yaml}");
        }
        for (yaml, text, expected) in [
            ("body: present", "x", true),
            ("body: present", "", false),
            ("body: absent", "", true),
            ("body: {raw: absent}", "x", false),
        ] {
            assert_eq!(body(yaml).fits(&Read::new(text.into()), &Facts::default()), expected, "{yaml}");
        }
    }

    #[test]
    fn a_word_is_found_wherever_a_long_line_is_cut() {
        let body = body("body: /needle/");
        for before in (MAX_LINE_BYTES - 300..MAX_LINE_BYTES + 20).chain([10_000, 100_001]) {
            let text = format!("{}\u{e9}needle{}", "x".repeat(before), "\u{e9}".repeat(5000));
            let read = Read::new(text.into());
            assert!(read.found(&body.test, &Facts::default()).is_some(), "{before}");
            assert!(read.lines().all(|line| line.text.len() <= MAX_LINE_BYTES));
        }
    }

    #[test]
    fn mistakes_name_the_options() {
        wrong("body: {in: nowhere}", &["no list `nowhere`"]);
        wrong("body: {rav: /x/}", &["unknown option `rav` of body"]);
        wrong("body: {raw: /x/, is: /y/}", &["unknown option `is` of body"]);
    }
}
