//! # What it does
//! Matches when the message has a header field that fits: by name, as people
//! read it (decoded, unfolded) or as it was sent; or any line of the header that
//! is in a list.
//!
//! # Why
//! What mail programs write, scripts leave behind and forgers forget stands in
//! the header. Postfix's header_checks see encoded words only encoded.
//!
//! # Options
//! Names of header fields, each with a value; several must all fit, and of
//! several fields of one name any may:
//! - `Subject: /invoice/`: a text, by its form; `present`, `absent`.
//! - `{raw: …}`: the same, of the field as it was sent, encoded words and all.
//! - `{address: …}`: any mail address in the field.
//! - `{count: …}`: how many fields of this name there are, a number.
//!
//! Or one of
//! - `in`: lists of header lines; each line is asked raw and decoded. With
//!   `then: as_listed` this is header_checks(5) as it is.
//! - a `/pattern/` over whole lines.
//!
//! A text may say `{subject}`, `{reply_to}`: the first field of a name that the
//! check asks for.
//!
//! # Example
//! ```yaml
//! - header: {Subject: /invoice/, Reply-To: {address: .freemail.test}}
//! ```
//!
//! # Unknown when
//! Never: without the milter its rule is not asked at all.

use super::Bindings;
use super::Check;
use super::Context;
use super::ListedHit;
use super::Needs;
use super::Truth;
use crate::facts::Fact;
use crate::lists::List;
use crate::lists::Pattern;
use crate::lists::Query;
use crate::lists::Subject;
use crate::lists::To;
use crate::message::Header as HeaderField;
use crate::message::Wants;
use crate::values::Loader;
use crate::values::NumberTest;
use crate::values::TextTest;
use crate::yaml::Entry;
use crate::yaml::Node;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct Header {
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Fields(Vec<Field>),
    /// Any line that is in one of the lists.
    Listed(Vec<Arc<List>>),
    Line(Pattern),
}

#[derive(Clone, Debug)]
struct Field {
    name: String,
    view: View,
}

#[derive(Clone, Debug)]
enum View {
    Address(TextTest),
    Count(NumberTest),
    Decoded(TextTest),
    Raw(TextTest),
}

impl Check for Header {
    const OPTIONS: &'static [&'static str] = &["in"];

    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
        let node = &entry.value;
        let Some(options) = node.as_map() else {
            return line_pattern(node, cx).map(|test| Self { test });
        };
        if let Some(lists) = node.get("in") {
            cx.only_keys(options, Self::OPTIONS, "header");
            let lists = crate::values::lists(lists, Subject::Header, cx)?;
            return Some(Self { test: Test::Listed(lists) });
        }
        if options.is_empty() {
            cx.mistake(node.place, "header needs the name of a header field, or in: LIST");
            return None;
        }
        let fields: Vec<_> = options.iter().map(|option| field(option, cx)).collect();
        Some(Self { test: Test::Fields(fields.into_iter().collect::<Option<_>>()?) })
    }

    fn needs(&self) -> Needs {
        Needs::of_message(Wants::NOTHING)
    }

    fn evaluate(&self, cx: &Context<'_>) -> Truth {
        let Some(message) = &cx.facts.message else {
            return Truth::NoMatch;
        };
        match &self.test {
            Test::Fields(fields) => fields.iter().all(|field| field.fits(cx)).into(),
            Test::Listed(_) => (!self.lines(None, cx, 1).is_empty()).into(),
            Test::Line(pattern) => message.headers().iter().any(|field| line_fits(pattern, field)).into(),
        }
    }

    fn because(&self, cx: &Context<'_>) -> String {
        match &self.test {
            Test::Fields(fields) => {
                let shown = fields.iter().map(|field| match field.values(cx).next() {
                    Some(value) => format!("{}: {value}", field.name),
                    None => format!("no {}", field.name),
                });
                shown.collect::<Vec<_>>().join(", ")
            }
            Test::Listed(_) => match self.lines(None, cx, 1).first() {
                Some(found) => format!("a line fits `{}`", found.hit.entry),
                None => "no line is listed".into(),
            },
            Test::Line(pattern) => format!("a line that fits `{}`", pattern.text()),
        }
    }

    fn variables(&self) -> Vec<String> {
        match &self.test {
            Test::Fields(fields) => fields.iter().flat_map(Field::variables).collect(),
            Test::Listed(lists) => TextTest::in_lists(lists.iter().cloned()).variables(),
            Test::Line(pattern) => pattern.capture_names(),
        }
    }

    fn bind(&self, cx: &Context<'_>, bindings: &mut Bindings) {
        let Some(message) = &cx.facts.message else {
            return;
        };
        match &self.test {
            Test::Fields(fields) => fields.iter().for_each(|field| field.bind(cx, bindings)),
            Test::Listed(_) => {
                if let Some(line) = self.lines(None, cx, 1).into_iter().next() {
                    line.hit.bind(bindings);
                }
            }
            Test::Line(pattern) => {
                let line = message.headers().iter().find(|field| line_fits(pattern, field));
                if let Some(field) = line {
                    bindings.extend(pattern.captures(&query(&field.line(), &mut String::new())));
                }
            }
        }
    }
}

impl Header {
    pub fn lists(&self) -> Vec<Arc<List>> {
        match &self.test {
            Test::Listed(lists) => lists.clone(),
            _ => Vec::new(),
        }
    }

    /// The lists that only a part of a line is asked of.
    pub fn lists_of_fields(&self) -> Vec<Arc<List>> {
        match &self.test {
            Test::Fields(fields) => {
                fields.iter().filter_map(Field::test).flat_map(TextTest::lists).cloned().collect()
            }
            _ => Vec::new(),
        }
    }

    /// Which facts its values are compared with or looked up by.
    pub fn reads(&self) -> Vec<Fact> {
        match &self.test {
            Test::Fields(fields) => fields.iter().flat_map(Field::reads).collect(),
            _ => Vec::new(),
        }
    }

    /// The first `max` lines that are listed, in the order of the header; with
    /// `to`, in a list with such values.
    pub fn lines(&self, to: Option<To>, cx: &Context<'_>, max: usize) -> Vec<ListedHit> {
        let (Test::Listed(lists), Some(message)) = (&self.test, &cx.facts.message) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for field in message.headers().iter() {
            if found.len() >= max {
                break;
            }
            let mut asked = lists.iter().filter(|list| to.is_none() || list.to() == to);
            let hit = asked.find_map(|list| {
                let raw = field.line();
                let mut folded = String::new();
                list.lookup(&query(&raw, &mut folded)).or_else(|| {
                    let decoded = format!("{}: {}", field.name, field.decoded());
                    list.lookup(&query(&decoded, &mut folded))
                })
            });
            if let Some(hit) = hit {
                found.push(ListedHit { hit, line: Some((field.name.clone(), field.occurrence)) });
            }
        }
        found
    }
}

impl Field {
    fn fits(&self, cx: &Context<'_>) -> bool {
        match &self.view {
            View::Count(test) => test.matches(self.fields(cx).count() as f64, cx.facts),
            View::Address(test) | View::Decoded(test) | View::Raw(test) => match test {
                TextTest::Absent => self.values(cx).next().is_none(),
                TextTest::Present => self.values(cx).next().is_some(),
                TextTest::AnyOf(_) => self
                    .values(cx)
                    .any(|value| test.matches(Some(&query(&value, &mut String::new())), cx.facts)),
            },
        }
    }

    fn test(&self) -> Option<&TextTest> {
        match &self.view {
            View::Address(test) | View::Decoded(test) | View::Raw(test) => Some(test),
            View::Count(_) => None,
        }
    }

    fn reads(&self) -> Vec<Fact> {
        match &self.view {
            View::Address(test) | View::Decoded(test) | View::Raw(test) => test.reads(),
            View::Count(test) => test.reads(),
        }
    }

    fn fields<'m>(&self, cx: &Context<'m>) -> impl Iterator<Item = &'m HeaderField> {
        cx.facts.message.iter().flat_map(|message| message.headers().named(&self.name))
    }

    /// What is asked of them; a field is read when its turn comes.
    fn values(&self, cx: &Context<'_>) -> impl Iterator<Item = String> {
        self.fields(cx).flat_map(|field| match &self.view {
            View::Address(_) => field.addresses(),
            View::Raw(_) => vec![field.unfolded().into_owned()],
            View::Count(_) | View::Decoded(_) => vec![field.decoded().into_owned()],
        })
    }

    fn variables(&self) -> Vec<String> {
        let mut names = vec![variable(&self.name)];
        names.extend(self.test().map(TextTest::variables).unwrap_or_default());
        names
    }

    fn bind(&self, cx: &Context<'_>, bindings: &mut Bindings) {
        let values: Vec<_> = self.values(cx).collect();
        bindings.push((variable(&self.name), values.first().cloned().unwrap_or_default()));
        let Some(test) = self.test() else {
            return;
        };
        for value in &values {
            let mut folded = String::new();
            let query = query(value, &mut folded);
            if let Some(way) = test.way(&query, cx.facts) {
                way.bind(&query, bindings);
                break;
            }
        }
    }
}

/// `Reply-To` → `reply_to`.
fn variable(name: &str) -> String {
    name.to_ascii_lowercase().replace('-', "_")
}

fn query<'a>(text: &'a str, folded: &'a mut String) -> Query<'a> {
    *folded = text.to_ascii_lowercase();
    Query { text, folded, ip: None }
}

fn line_fits(pattern: &Pattern, field: &HeaderField) -> bool {
    // It is an expression, which minds case by itself.
    let fits = |line: &str| pattern.matches(&Query { text: line, folded: line, ip: None });
    fits(&field.line()) || (field.is_encoded() && fits(&format!("{}: {}", field.name, field.decoded())))
}

fn line_pattern(node: &Node, cx: &mut Loader<'_>) -> Option<Test> {
    let text = cx.text(node, "header")?;
    match Pattern::parse(text, node.as_word().is_none(), Subject::Header) {
        Ok(pattern) if pattern.is_regex() => Some(Test::Line(pattern)),
        Ok(_) => {
            cx.mistake(node.place, "header needs a map such as {Subject: /x/}, in: LIST, or a /pattern/");
            None
        }
        Err(message) => {
            cx.mistake(node.place, message);
            None
        }
    }
}

fn field(option: &Entry, cx: &mut Loader<'_>) -> Option<Field> {
    let name = &option.key;
    let is_name = name.bytes().all(|b| b.is_ascii_graphic() && b != b':') && !name.is_empty();
    if !is_name || !name.starts_with(|c: char| c.is_ascii_uppercase()) {
        let mut capital = name.clone();
        if let Some(first) = capital.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let message =
            format!("unknown option `{name}` of header; the name of a header has a capital: {capital}");
        cx.mistake(option.key_place, message);
        return None;
    }
    Some(Field { name: name.clone(), view: view(&option.value, name, cx)? })
}

fn view(node: &Node, name: &str, cx: &mut Loader<'_>) -> Option<View> {
    for (word, inner) in
        [("raw", node.get("raw")), ("address", node.get("address")), ("count", node.get("count"))]
    {
        let Some(inner) = inner else {
            continue;
        };
        cx.only_keys(node.as_map().unwrap_or_default(), &[word], name);
        return match word {
            "raw" => TextTest::parse(inner, name, Subject::Text, cx).map(View::Raw),
            "address" => TextTest::parse(inner, name, Subject::Address, cx).map(View::Address),
            _ => NumberTest::parse(inner, name, cx).map(View::Count),
        };
    }
    TextTest::parse(node, name, Subject::Text, cx).map(View::Decoded)
}

#[cfg(test)]
mod tests {
    use super::super::Truth::Match;
    use super::super::Truth::NoMatch;
    use super::super::testing::check;
    use super::super::testing::wrong;

    const MAIL: &str = "\n\nSubject: =?utf-8?B?VmlhZ3Jh?= today\nReply-To: Me <x@freemail.test>, y@b.test\n\
                        Received: from a\nReceived: from b\n\n";

    #[test]
    fn fields_are_asked_decoded_raw_and_by_address() {
        for (yaml, expected) in [
            ("header: {Subject: /viagra/}", Match),
            ("header: {Subject: viagra today}", Match),
            ("header: {Subject: viagra}", NoMatch),
            ("header: {Subject: {raw: /viagra/}}", NoMatch),
            ("header: {Subject: {raw: /utf-8/}}", Match),
            ("header: {Reply-To: {address: x@freemail.test}}", Match),
            ("header: {Reply-To: {address: .test}}", Match),
            ("header: {Reply-To: {address: z@freemail.test}}", NoMatch),
            ("header: {Received: {count: 2}}", Match),
            ("header: {Received: {count: {over: 2}}}", NoMatch),
            ("header: {Received: /from b/}", Match),
            ("header: {X-Mailer: absent}", Match),
            ("header: {Subject: present, X-Mailer: present}", NoMatch),
            ("header: '/^subject: viagra/'", Match),
            ("header: '/^viagra/'", NoMatch),
        ] {
            check(yaml, MAIL, expected);
        }
    }

    #[test]
    fn mistakes_tell_names_from_options() {
        wrong(
            "header: {subject: /x/}",
            &["unknown option `subject` of header; the name of a header has a capital: Subject"],
        );
        wrong("header: Subject", &["header needs a map such as {Subject: /x/}, in: LIST, or a /pattern/"]);
        wrong("header: {Subject: {raw: /x/, min: 1}}", &["unknown option `min` of Subject"]);
    }
}
