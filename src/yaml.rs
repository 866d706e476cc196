//! YAML text → a tree in which every node knows its place, so that a mistake
//! found long after parsing can still be shown with line, column and source.
//!
//! Scalars are kept raw, with whether they were quoted: `010`, `NO` and `1e3`
//! stay text, and `present` differs from `"present"`. What YAML would do behind
//! the operator's back (null, tags, anchors, doubled keys) is a mistake here.
//!
//! The input is written by the operator. It is bounded all the same: a nesting
//! of [`MAX_DEPTH`] and a file of [`MAX_BYTES`].

use saphyr_parser::Event;
use saphyr_parser::Parser;
use saphyr_parser::ScalarStyle;
use saphyr_parser::ScanError;
use saphyr_parser::Span;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Rule files are written by people; a deeper one is a mistake or an attack.
const MAX_DEPTH: usize = 64;

/// Long lists belong into list files, which have no such limit.
pub const MAX_BYTES: usize = 16 << 20;

const NOTHING: &str = "nothing given; the null sender is `<>`, a missing value is `absent`";

const ANCHORS: &str = "anchors and aliases are not used here: write the value out, or make a list";

const NO_WORD: &str = "a key must be a word";

/// Whether a mistake of this module's says that there is no value, so that
/// whatever else is said of the value follows from it.
pub fn leaves_nothing(message: &str) -> bool {
    matches!(message, NOTHING | ANCHORS) || message.starts_with(NO_WORD)
}

/// Where something stands in its file. Both count from 1; columns are characters.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Place {
    pub line: usize,
    pub col: usize,
}

/// A file's name and text, shared by all that was read from it.
#[derive(Debug)]
pub struct Source {
    /// As it is shown: relative to the directory that was loaded.
    pub name: String,
    pub text: String,
}

impl Source {
    /// One line, counted from 1, without its end.
    pub fn line(&self, line: usize) -> &str {
        self.text.lines().nth(line.saturating_sub(1)).unwrap_or_default()
    }
}

/// One thing that is wrong in a file, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    pub file: String,
    /// Absent for what concerns the file as a whole.
    pub place: Option<Place>,
    pub message: String,
    /// The line of the file, for the reader.
    pub source_line: String,
    /// The world's fault rather than the text's: a file that isn't there.
    pub is_unread: bool,
}

impl Mistake {
    /// A mistake that concerns a file as a whole, such as one that can't be opened.
    pub fn whole(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            place: None,
            message: message.into(),
            source_line: String::new(),
            is_unread: false,
        }
    }

    /// A file that can't be read at all.
    pub fn unread(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self { is_unread: true, ..Self::whole(file, message) }
    }

    /// A mistake at `place` of `source`.
    pub fn at(source: &Source, place: Place, message: impl Into<String>) -> Self {
        Self {
            file: source.name.clone(),
            place: Some(place),
            message: message.into(),
            source_line: source.line(place.line).trim().to_owned(),
            is_unread: false,
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(Place { line, col }) = self.place {
            write!(f, ":{line}:{col}")?;
        }
        write!(f, ": {}", self.message)?;
        if !self.source_line.is_empty() {
            write!(f, "\n    {}", self.source_line)?;
        }
        Ok(())
    }
}

/// Mistakes of one file as they are found, in any order.
#[derive(Debug)]
pub struct Mistakes {
    pub source: Arc<Source>,
    pub found: Vec<Mistake>,
}

impl Mistakes {
    pub fn new(source: Arc<Source>) -> Self {
        Self { source, found: Vec::new() }
    }

    pub fn add(&mut self, place: Place, message: impl Into<String>) {
        self.found.push(Mistake::at(&self.source, place, message));
    }
}

/// A value and where it begins.
#[derive(Clone, Debug)]
pub struct Node {
    pub place: Place,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub enum Value {
    Scalar(Scalar),
    Seq(Vec<Node>),
    /// In the order of the file; keys are unique.
    Map(Vec<Entry>),
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Scalar {
    pub text: String,
    /// `present` is a word, `"present"` a text.
    pub quoted: bool,
    /// An unquoted text that YAML ended at ` #`.
    pub cut: bool,
}

/// One key with its value.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: String,
    pub key_quoted: bool,
    pub key_place: Place,
    pub value: Node,
}

impl Node {
    pub fn as_scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The text of a scalar, quoted or not.
    pub fn as_text(&self) -> Option<&str> {
        self.as_scalar().map(|scalar| scalar.text.as_str())
    }

    /// The text of an unquoted scalar.
    pub fn as_word(&self) -> Option<&str> {
        self.as_scalar().filter(|scalar| !scalar.quoted).map(|scalar| scalar.text.as_str())
    }

    pub fn as_map(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub fn as_seq(&self) -> Option<&[Self]> {
        match &self.value {
            Value::Seq(items) => Some(items),
            _ => None,
        }
    }

    /// A list's items, or the one value as if it were a list of one.
    pub fn items(&self) -> &[Self] {
        self.as_seq().unwrap_or(std::slice::from_ref(self))
    }

    /// The value of a map's key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_map()?.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// What it is, for a message.
    pub fn form(&self) -> &'static str {
        match self.value {
            Value::Scalar(_) => "a text",
            Value::Seq(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// Reads one document. An empty file is an empty map.
///
/// The tree is returned as far as it makes sense, beside the mistakes, so that
/// the caller can go on and report its own in the same run. Only a text that is
/// no YAML at all has no tree.
pub fn parse(mistakes: &mut Mistakes) -> Option<Node> {
    let source = Arc::clone(&mistakes.source);
    let text = source.text.as_str();
    if text.len() > MAX_BYTES {
        let message = format!(
            "the file has {} bytes, {MAX_BYTES} are allowed; long lists go into files of their own",
            text.len()
        );
        mistakes.found.push(Mistake::whole(&source.name, message));
        return None;
    }
    let mut builder = Builder { mistakes, open: Vec::new(), root: None, documents: 0 };
    // Looking each one up from the top would make long lists slow.
    let lines: Vec<_> = text.lines().collect();
    for event in Parser::new_from_str(text) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let (place, message) = syntax_error(&source, &error);
                builder.mistakes.add(place, message);
                return None;
            }
        };
        if !builder.event(event, span, &lines) {
            return None;
        }
    }
    Some(builder.root.unwrap_or(Node { place: Place { line: 1, col: 1 }, value: Value::Map(Vec::new()) }))
}

/// A collection whose end has not been seen.
enum Open {
    Seq(Place, Vec<Node>),
    Map { place: Place, entries: Vec<Entry>, seen: HashMap<String, Place>, key: Option<PendingKey> },
}

struct PendingKey {
    text: String,
    quoted: bool,
    place: Place,
}

struct Builder<'m> {
    mistakes: &'m mut Mistakes,
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
}

impl Builder<'_> {
    /// Takes one event; false when there is no point in going on.
    fn event(&mut self, event: Event<'_>, span: Span, lines: &[&str]) -> bool {
        let place = place_of(&span);
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.mistakes.add(place, "a second document begins here; one file is one document");
                    return false;
                }
            }
            Event::Alias(_) => {
                self.mistakes.add(place, ANCHORS);
                self.push(text_node(place, String::new(), true));
            }
            Event::Scalar(value, style, anchor, tag) => {
                self.refuse_anchor(anchor, place);
                let tagged = tag.is_some();
                let place = if tagged { self.tag_place(place, lines) } else { place };
                if tagged {
                    self.mistakes.add(place, "a value that begins with `!` must be quoted");
                }
                let plain = style == ScalarStyle::Plain;
                // The parser writes a tilde where there is nothing.
                let value =
                    if plain && &*value == "~" && !stands_at(place, '~', lines) { "".into() } else { value };
                let null = plain && !tagged && matches!(&*value, "" | "~" | "null" | "Null" | "NULL");
                let key_next = matches!(self.open.last(), Some(Open::Map { key: None, .. }));
                if null && !key_next {
                    let alone = value.is_empty() && self.stray_key(lines);
                    if !alone {
                        self.mistakes.add(place, NOTHING);
                    }
                }
                let cut = plain && rest_is_comment(lines, &span);
                self.push(Node {
                    place,
                    value: Value::Scalar(Scalar {
                        text: value.into_owned(),
                        quoted: !plain || null && !key_next,
                        cut,
                    }),
                });
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_anchor(anchor, place);
                self.refuse_tag(tag.is_some(), place);
                self.open.push(Open::Seq(place, Vec::new()));
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_anchor(anchor, place);
                self.refuse_tag(tag.is_some(), place);
                self.open.push(Open::Map { place, entries: Vec::new(), seen: HashMap::new(), key: None });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let node = match self.open.pop() {
                    Some(Open::Seq(place, items)) => Node { place, value: Value::Seq(items) },
                    Some(Open::Map { place, entries, .. }) => Node { place, value: Value::Map(entries) },
                    None => return true,
                };
                self.push(node);
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        if self.open.len() > MAX_DEPTH {
            self.mistakes.add(place, format!("nested deeper than {MAX_DEPTH} levels"));
            return false;
        }
        true
    }

    /// `{reject: 5.7.1 no, thanks}` makes a key `thanks` with no value. That is
    /// told by whoever reads the map, in its own words.
    fn stray_key(&self, lines: &[&str]) -> bool {
        let Some(Open::Map { key: Some(key), .. }) = self.open.last() else {
            return false;
        };
        let line = lines.get(key.place.line - 1).copied().unwrap_or_default();
        let after: String = line.chars().skip(key.place.col - 1 + key.text.chars().count()).collect();
        !after.trim_start().starts_with(':') && !key.quoted
    }

    /// A tag without a value is reported behind it; the operator looks for the `!`.
    fn tag_place(&self, place: Place, lines: &[&str]) -> Place {
        let Some(Open::Map { key: Some(key), .. }) = self.open.last() else {
            return place;
        };
        let line = lines.get(key.place.line - 1).copied().unwrap_or_default();
        let bang = line.chars().skip(key.place.col - 1).position(|c| c == '!');
        bang.map_or(place, |offset| Place { line: key.place.line, col: key.place.col + offset })
    }

    fn refuse_anchor(&mut self, anchor: usize, place: Place) {
        if anchor != 0 {
            self.mistakes.add(place, ANCHORS);
        }
    }

    fn refuse_tag(&mut self, tagged: bool, place: Place) {
        if tagged {
            self.mistakes.add(place, "a value that begins with `!` must be quoted");
        }
    }

    fn push(&mut self, node: Node) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::Seq(_, items)) => items.push(node),
            Some(Open::Map { entries, seen, key, .. }) => {
                let Some(pending) = key.take() else {
                    let Value::Scalar(scalar) = node.value else {
                        self.mistakes.add(node.place, format!("{NO_WORD}, not {}", node.form()));
                        *key = Some(PendingKey { text: String::new(), quoted: true, place: node.place });
                        return;
                    };
                    *key = Some(PendingKey { text: scalar.text, quoted: scalar.quoted, place: node.place });
                    return;
                };
                if let Some(first) = seen.get(&pending.text) {
                    let message = format!("`{}` is given twice; first in line {}", pending.text, first.line);
                    self.mistakes.add(pending.place, message);
                    return;
                }
                seen.insert(pending.text.clone(), pending.place);
                entries.push(Entry {
                    key: pending.text,
                    key_quoted: pending.quoted,
                    key_place: pending.place,
                    value: node,
                });
            }
        }
    }
}

fn text_node(place: Place, text: String, quoted: bool) -> Node {
    Node { place, value: Value::Scalar(Scalar { text, quoted, cut: false }) }
}

fn stands_at(place: Place, c: char, lines: &[&str]) -> bool {
    let line = lines.get(place.line - 1).copied().unwrap_or_default();
    line.chars().nth(place.col - 1) == Some(c)
}

fn place_of(span: &Span) -> Place {
    Place { line: span.start.line(), col: span.start.col() + 1 }
}

/// Whether, behind an unquoted text, its line goes on with a comment.
fn rest_is_comment(lines: &[&str], span: &Span) -> bool {
    let line = lines.get(span.end.line().saturating_sub(1)).copied().unwrap_or_default();
    let rest: String = line.chars().skip(span.end.col()).collect();
    let rest = rest.trim_start();
    rest.starts_with('#')
}

/// The parser's complaint in words an operator can act on: the usual causes are
/// characters with a meaning in YAML at the start or inside of a pattern.
fn syntax_error(source: &Source, error: &ScanError) -> (Place, String) {
    let mark = error.marker();
    let mut place = Place { line: mark.line().max(1), col: mark.col() + 1 };
    let line: Vec<char> = source.line(place.line).chars().collect();
    let at = |col: usize| col.checked_sub(1).and_then(|index| line.get(index)).copied();
    let info = error.info();
    if info.contains("anchor") {
        // The parser stands at the asterisk or behind it.
        if matches!(at(place.col), Some('*' | '&')) {
            place.col += 1;
        }
        let found = at(place.col).unwrap_or(' ');
        return (
            place,
            format!(
                "expected alphabetic or numeric character, but found '{found}' (a pattern that begins with * must be quoted)"
            ),
        );
    }
    if info.contains("unknown escape character") {
        if at(place.col) == Some('\\') {
            place.col += 1;
        } else if at(place.col.saturating_sub(1)) != Some('\\')
            && let Some(index) = line.iter().position(|&c| c == '\\')
        {
            place.col = index + 2;
        }
        let found = at(place.col).unwrap_or(' ');
        return (
            place,
            format!("found unknown escape character '{found}' (patterns with \\ go in 'single quotes')"),
        );
    }
    if info.contains("unexpected character")
        && let Some(found @ ('@' | '`' | '%')) = at(place.col)
    {
        return (
            place,
            format!(
                "found character '{found}' that cannot start any token (a value that begins with {found} must be quoted)"
            ),
        );
    }
    if let Some((col, found)) = bracket_in_plain(&line, place.col) {
        place.col = col;
        return (
            place,
            format!(
                "expected ',' or '}}', but got '{found}' (inside {{…}} or […] a pattern or text with brackets must be quoted)"
            ),
        );
    }
    (place, info.to_owned())
}

/// The first bracket that stands in the middle of an unquoted text of the line,
/// at or before the place where the parser gave up.
fn bracket_in_plain(line: &[char], until: usize) -> Option<(usize, char)> {
    let mut quote = None;
    for (index, &c) in line.iter().enumerate().take(until) {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if matches!(c, '[' | ']' | '{' | '}') => {
                let before = index.checked_sub(1).map(|i| line[i]);
                let opens = matches!(c, '[' | '{');
                if opens && before.is_some_and(|b| !matches!(b, ' ' | '[' | '{' | ',' | '\t')) {
                    return Some((index + 1, c));
                }
            }
            None => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes_of(text: &str) -> Vec<String> {
        let source = Arc::new(Source { name: "x.yaml".into(), text: text.into() });
        let mut mistakes = Mistakes::new(source);
        parse(&mut mistakes);
        mistakes.found.iter().map(|m| m.to_string().lines().next().unwrap_or_default().to_owned()).collect()
    }

    fn tree(text: &str) -> Node {
        let mut mistakes = Mistakes::new(Arc::new(Source { name: "x.yaml".into(), text: text.into() }));
        let node = parse(&mut mistakes).unwrap();
        assert_eq!(mistakes.found, []);
        node
    }

    #[test]
    fn places_and_quoting_are_kept() {
        let node = tree("a: [010, \"present\"]\nb:\n  - {c: present}\n");
        let a = node.get("a").unwrap().items();
        assert_eq!((a[0].place.line, a[0].place.col, a[0].as_word()), (1, 5, Some("010")));
        assert_eq!((a[1].place.col, a[1].as_word(), a[1].as_text()), (10, None, Some("present")));
        let c = node.get("b").unwrap().items()[0].get("c").unwrap();
        assert_eq!((c.place.line, c.place.col, c.as_word()), (3, 9, Some("present")));
    }

    #[test]
    fn what_yaml_does_in_silence_is_a_mistake() {
        let null = "nothing given; the null sender is `<>`, a missing value is `absent`";
        assert_eq!(mistakes_of("when: {sender: null}"), [format!("x.yaml:1:16: {null}")]);
        assert_eq!(mistakes_of("when: {sender: ~}"), [format!("x.yaml:1:16: {null}")]);
        assert_eq!(mistakes_of("a: 1\nb: 2\na: 3"), ["x.yaml:3:1: `a` is given twice; first in line 1"]);
        assert_eq!(
            mistakes_of("a: !10.0.0.0/8"),
            ["x.yaml:1:4: a value that begins with `!` must be quoted"]
        );
        assert_eq!(mistakes_of("a: &x 1\nb: *x").len(), 2);
        assert_eq!(mistakes_of("a: 1\n---\nb: 2").len(), 1);
        assert_eq!(mistakes_of(&"[".repeat(20_000)).len(), 1);
    }

    #[test]
    fn syntax_errors_name_the_cause() {
        assert_eq!(
            mistakes_of("when: {client_name: *.example.com}"),
            [
                "x.yaml:1:22: expected alphabetic or numeric character, but found '.' (a pattern that begins with * must be quoted)"
            ]
        );
        assert_eq!(
            mistakes_of("a: 1\nsender: @example.com"),
            [
                "x.yaml:2:9: found character '@' that cannot start any token (a value that begins with @ must be quoted)"
            ]
        );
        assert_eq!(
            mistakes_of("when: {helo_name: \"/\\.local$/\"}"),
            ["x.yaml:1:22: found unknown escape character '.' (patterns with \\ go in 'single quotes')"]
        );
        assert_eq!(
            mistakes_of("when: {helo_name: /^[0-9.]+$/}"),
            [
                "x.yaml:1:21: expected ',' or '}', but got '[' (inside {…} or […] a pattern or text with brackets must be quoted)"
            ]
        );
    }

    #[test]
    fn a_text_cut_by_a_comment_is_known() {
        let node = tree("a: 5.7.1 see #12\nb: \"x\" # note\nc: observe   # note\n");
        assert!(node.get("a").unwrap().as_scalar().unwrap().cut);
        assert!(!node.get("b").unwrap().as_scalar().unwrap().cut);
        assert!(node.get("c").unwrap().as_scalar().unwrap().cut);
    }

    #[test]
    fn an_empty_file_is_an_empty_map() {
        assert!(tree("").as_map().unwrap().is_empty());
        assert!(tree("# nothing\n").as_map().unwrap().is_empty());
    }
}
