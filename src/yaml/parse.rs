//! The parser's events into a tree.
//!
//! The text is written by the operator. It is bounded all the same: a nesting
//! of [`MAX_DEPTH`] and a file of [`MAX_BYTES`].

use super::Entry;
use super::Mistake;
use super::Mistakes;
use super::Node;
use super::Place;
use super::Scalar;
use super::Value;
use super::syntax::syntax_error;
use saphyr_parser::Event;
use saphyr_parser::Parser;
use saphyr_parser::ScalarStyle;
use saphyr_parser::Span;
use std::collections::HashMap;
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
