//! # What it does
//! Matches when the message has a header field that fits: by name, as people
//! read it (decoded, unfolded) or as it was sent; or any line of the header that
//! is in a list; or when fields are missing that each mail must have, or are there
//! more often than they may.
//!
//! # Why
//! What mail programs write, scripts leave behind and forgers forget stands in
//! the header. Postfix's header_checks see encoded words only encoded.
//!
//! # Options
//! Names of header fields, each with a value; several must all fit, and of
//! several fields of one name any may. A name with `*` stands for all that fit it,
//! `'*'` for all there are.
//! - `Subject: /invoice/`: a text, by its form; `present`, `absent`.
//! - `{raw: …}`: the same, of the field as it was sent, encoded words and all.
//! - `{address: …}`: any mail address in the field.
//! - `{size: …}`: its bytes with its name and folds, a number. Of the whole header
//!   these are `header_size`.
//! - `{count: …}`: how many fields of this name there are, a number.
//! - `{first: …}`, `{last: …}`, or a number (`{2: …}`): any of these of one field alone,
//!   counted from the top. Of `Received` the first is that of the last hop.
//! - `{every: …}`: all fields of the name, of which there is one at least, and all
//!   addresses in them.
//!
//! Beside them or alone
//! - `missing`: names of fields, of which one is not there; `any` for those that a mail
//!   must have (From, Date: RFC 5322, section 3.6).
//! - `repeated`: names of fields, of which one is there twice; `any` for those that may
//!   stand once (Bcc, Cc, Date, From, In-Reply-To, Message-ID, References, Reply-To, Sender,
//!   Subject, To, MIME-Version, Content-…).
//!
//! Or one of
//! - `in`: lists of header lines; each line is asked as it was sent and as people read it,
//!   and an entry fits it if it fits either. With `then: as_listed` this is header_checks(5)
//!   as it is.
//! - a `/pattern/` over whole lines.
//!
//! The fields of parts within the message are in its body: `attachment` asks their names
//! and types, `body: {raw: …}` their lines.
//!
//! A text may say `{subject}`, `{reply_to}`: the first field of a name that the
//! check asks for; `{missing}`, `{repeated}`: the name that was found.
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
use super::ListedLines;
use super::Needs;
use super::Spot;
use super::Truth;
use crate::facts::Fact;
use crate::lists::List;
use crate::lists::Pattern;
use crate::lists::Query;
use crate::lists::Subject;
use crate::lists::To;
use crate::message::Header as HeaderField;
use crate::message::Headers;
use crate::message::Wants;
use crate::values::Loader;
use crate::values::NumberTest;
use crate::values::TextTest;
use crate::yaml::Entry;
use crate::yaml::Node;
use std::sync::Arc;

/// RFC 5322, section 3.6: exactly one.
const MANDATORY: &[&str] = &["From", "Date"];

/// The same section's "0 or 1" and "1", and RFC 2045, 2183.
const AT_MOST_ONCE: &[&str] = &[
    "From",
    "Date",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Bcc",
    "Message-ID",
    "In-Reply-To",
    "References",
    "Subject",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Content-Disposition",
    "Content-ID",
    "Content-Description",
];

#[derive(Clone, Debug)]
pub struct Header {
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    /// All of them.
    Fields(Vec<Asked>),
    /// Any line that is in one of the lists.
    Listed(Vec<Arc<List>>),
    Line(Pattern),
}

#[derive(Clone, Debug)]
enum Asked {
    Field(Field),
    /// One of these is not there.
    Missing(Vec<String>),
    /// One of these is there twice.
    Repeated(Vec<String>),
}

#[derive(Clone, Debug)]
struct Field {
    name: String,
    /// The name has a `*`.
    names: Option<Pattern>,
    which: Which,
    view: View,
}

/// Of several fields of one name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Which {
    Any,
    /// From the top, beginning with 1.
    At(usize),
    Every,
    Last,
}

#[derive(Clone, Debug)]
enum View {
    Address(TextTest),
    Count(NumberTest),
    Decoded(TextTest),
    Raw(TextTest),
    Size(NumberTest),
}

impl Check for Header {
    const OPTIONS: &'static [&'static str] = &["in", "missing", "repeated"];

    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
        let node = &entry.value;
        let Some(options) = node.as_map() else {
            return line_pattern(node, cx).map(|test| Self { test });
        };
        if let Some(lists) = node.get("in") {
            cx.only_keys(options, &["in"], "header");
            let lists = crate::values::lists(lists, Subject::Header, cx)?;
            return Some(Self { test: Test::Listed(lists) });
        }
        if options.is_empty() {
            cx.mistake(node.place, "header needs the name of a header field, or in: LIST");
            return None;
        }
        let asked: Vec<_> = options.iter().map(|option| asked(option, cx)).collect();
        Some(Self { test: Test::Fields(asked.into_iter().collect::<Option<_>>()?) })
    }

    fn needs(&self) -> Needs {
        Needs::of_message(Wants::NOTHING)
    }

    fn evaluate(&self, cx: &Context<'_>) -> Truth {
        let Some(message) = &cx.facts.message else {
            return Truth::NoMatch;
        };
        match &self.test {
            Test::Fields(all) => all.iter().all(|asked| asked.fits(message.headers(), cx)).into(),
            Test::Listed(lists) => {
                let mut fields = message.headers().iter();
                fields.any(|field| Line::of(field).is_in(lists)).into()
            }
            Test::Line(pattern) => message.headers().iter().any(|field| Line::of(field).fits(pattern)).into(),
        }
    }

    fn because(&self, cx: &Context<'_>) -> String {
        match &self.test {
            Test::Fields(all) => {
                let shown = all.iter().map(|asked| asked.because(cx));
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
            Test::Fields(all) => all.iter().flat_map(Asked::variables).collect(),
            Test::Listed(lists) => TextTest::in_lists(lists.iter().cloned()).variables(),
            Test::Line(pattern) => pattern.capture_names(),
        }
    }

    fn bind(&self, cx: &Context<'_>, bindings: &mut Bindings) {
        let Some(message) = &cx.facts.message else {
            return;
        };
        match &self.test {
            Test::Fields(all) => all.iter().for_each(|asked| asked.bind(message.headers(), cx, bindings)),
            Test::Listed(_) => {
                if let Some(line) = self.lines(None, cx, 1).into_iter().next() {
                    line.hit.bind(bindings);
                }
            }
            Test::Line(pattern) => {
                let mut lines = message.headers().iter().map(Line::of);
                if let Some(line) = lines.find(|line| line.fits(pattern)) {
                    bindings.extend(pattern.captures(&line.query()));
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
        self.fields().filter_map(Field::test).flat_map(TextTest::lists).cloned().collect()
    }

    /// Which facts its values are compared with or looked up by.
    pub fn reads(&self) -> Vec<Fact> {
        self.fields().flat_map(Field::reads).collect()
    }

    fn fields(&self) -> impl Iterator<Item = &Field> {
        let all = match &self.test {
            Test::Fields(all) => all.as_slice(),
            _ => &[],
        };
        all.iter().filter_map(|asked| match asked {
            Asked::Field(field) => Some(field),
            _ => None,
        })
    }

    /// The lines that are listed, in the order of the header, as [`ListedLines`] keeps
    /// them; with `to`, in a list with such values.
    pub fn lines(&self, to: Option<To>, cx: &Context<'_>, max: usize) -> Vec<ListedHit> {
        let (Test::Listed(lists), Some(message)) = (&self.test, &cx.facts.message) else {
            return Vec::new();
        };
        let lists: Vec<_> = lists.iter().filter(|list| to.is_none() || list.to() == to).cloned().collect();
        let mut found = ListedLines::new(to, max);
        for (field, place) in message.headers().iter().zip(1..) {
            let Some(hit) = Line::of(field).hit(&lists) else {
                continue;
            };
            let spot = Spot::Field { name: field.name.clone(), occurrence: field.occurrence, place };
            if !found.add(ListedHit { hit, spot }) {
                break;
            }
        }
        found.hits
    }
}

/// A field's line in the forms in which it is asked.
struct Line {
    /// As it was sent, and behind a NUL as people read it where that is another: see [`Query`].
    text: String,
    folded: String,
}

impl Line {
    fn of(field: &HeaderField) -> Self {
        let decoded = [&field.name, ": ", &*field.decoded()].concat();
        let sent = [&*field.name, ":", &field.raw].concat();
        let folded = decoded.to_ascii_lowercase();
        let text = if sent == decoded { sent } else { [&sent, "\0", &decoded].concat() };
        Self { text, folded }
    }

    fn query(&self) -> Query<'_> {
        Query { text: &self.text, folded: &self.folded, ip: None }
    }

    fn fits(&self, pattern: &Pattern) -> bool {
        pattern.matches(&self.query())
    }

    fn is_in(&self, lists: &[Arc<List>]) -> bool {
        lists.iter().any(|list| list.contains(&self.query()))
    }

    fn hit(&self, lists: &[Arc<List>]) -> Option<crate::lists::Hit> {
        lists.iter().find_map(|list| list.lookup(&self.query()))
    }
}

impl Asked {
    fn fits(&self, headers: &Headers, cx: &Context<'_>) -> bool {
        match self {
            Self::Field(field) => field.fits(headers, cx),
            Self::Missing(names) => missing(names, headers).is_some(),
            Self::Repeated(names) => repeated(names, headers).is_some(),
        }
    }

    fn because(&self, cx: &Context<'_>) -> String {
        let Some(message) = &cx.facts.message else {
            return "no message".into();
        };
        let headers = message.headers();
        match self {
            Self::Field(field) => match field.values(headers).next() {
                Some(value) => format!("{}: {value}", field.name),
                None => format!("no {}", field.name),
            },
            Self::Missing(names) => match missing(names, headers) {
                Some(name) => format!("no {name}"),
                None => "no field is missing".into(),
            },
            Self::Repeated(names) => match repeated(names, headers) {
                Some(name) => format!("{} fields {name}", headers.named(name).count()),
                None => "no field is repeated".into(),
            },
        }
    }

    fn variables(&self) -> Vec<String> {
        match self {
            Self::Field(field) => field.variables(),
            Self::Missing(_) => vec!["missing".into()],
            Self::Repeated(_) => vec!["repeated".into()],
        }
    }

    fn bind(&self, headers: &Headers, cx: &Context<'_>, bindings: &mut Bindings) {
        match self {
            Self::Field(field) => field.bind(headers, cx, bindings),
            Self::Missing(names) => {
                bindings.push(("missing".into(), missing(names, headers).unwrap_or_default().into()));
            }
            Self::Repeated(names) => {
                bindings.push(("repeated".into(), repeated(names, headers).unwrap_or_default().into()));
            }
        }
    }
}

fn missing<'n>(names: &'n [String], headers: &Headers) -> Option<&'n str> {
    names.iter().find(|name| headers.named(name).next().is_none()).map(String::as_str)
}

fn repeated<'n>(names: &'n [String], headers: &Headers) -> Option<&'n str> {
    names.iter().find(|name| headers.named(name).nth(1).is_some()).map(String::as_str)
}

impl Field {
    fn fits(&self, headers: &Headers, cx: &Context<'_>) -> bool {
        match &self.view {
            View::Count(test) => test.matches(self.fields(headers).count() as f64, cx.facts),
            View::Size(test) => {
                let mut sizes = self.chosen(headers).map(HeaderField::size).peekable();
                let is_there = sizes.peek().is_some();
                let mut fits = sizes.map(|size| test.matches(size as f64, cx.facts));
                if self.which == Which::Every {
                    is_there && fits.all(|fits| fits)
                } else {
                    fits.any(|fits| fits)
                }
            }
            View::Address(test) | View::Decoded(test) | View::Raw(test) => {
                let mut values = self.values(headers);
                let fits = |value: String| test.matches(Some(&query(&value, &mut String::new())), cx.facts);
                match test {
                    TextTest::Absent => values.next().is_none(),
                    TextTest::Present => values.next().is_some(),
                    TextTest::AnyOf(_) if self.which == Which::Every => {
                        values.next().is_some_and(|first| fits(first) && values.all(fits))
                    }
                    TextTest::AnyOf(_) => values.any(fits),
                }
            }
        }
    }

    fn test(&self) -> Option<&TextTest> {
        match &self.view {
            View::Address(test) | View::Decoded(test) | View::Raw(test) => Some(test),
            View::Count(_) | View::Size(_) => None,
        }
    }

    fn reads(&self) -> Vec<Fact> {
        match &self.view {
            View::Address(test) | View::Decoded(test) | View::Raw(test) => test.reads(),
            View::Count(test) | View::Size(test) => test.reads(),
        }
    }

    /// All of the name, in order.
    fn fields<'f>(&'f self, headers: &'f Headers) -> Box<dyn Iterator<Item = &'f HeaderField> + 'f> {
        match &self.names {
            None => Box::new(headers.named(&self.name)),
            Some(names) => Box::new(
                headers.iter().filter(|field| names.matches(&query(&field.name, &mut String::new()))),
            ),
        }
    }

    /// Of these the ones that are asked.
    fn chosen<'f>(&'f self, headers: &'f Headers) -> Box<dyn Iterator<Item = &'f HeaderField> + 'f> {
        let fields = self.fields(headers);
        match self.which {
            Which::Any | Which::Every => fields,
            Which::At(number) => Box::new(fields.skip(number.saturating_sub(1)).take(1)),
            Which::Last => Box::new(fields.last().into_iter()),
        }
    }

    /// What is asked of them; a field is read when its turn comes.
    fn values<'f>(&'f self, headers: &'f Headers) -> impl Iterator<Item = String> + 'f {
        self.chosen(headers).flat_map(|field| match &self.view {
            View::Address(_) => field.addresses(),
            View::Raw(_) => vec![field.unfolded().into_owned()],
            View::Count(_) | View::Decoded(_) | View::Size(_) => vec![field.decoded().into_owned()],
        })
    }

    fn variables(&self) -> Vec<String> {
        let mut names: Vec<_> = self.names.is_none().then(|| variable(&self.name)).into_iter().collect();
        names.extend(self.test().map(TextTest::variables).unwrap_or_default());
        names
    }

    fn bind(&self, headers: &Headers, cx: &Context<'_>, bindings: &mut Bindings) {
        let values: Vec<_> = self.values(headers).collect();
        if self.names.is_none() {
            bindings.push((variable(&self.name), values.first().cloned().unwrap_or_default()));
        }
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

fn asked(option: &Entry, cx: &mut Loader<'_>) -> Option<Asked> {
    match option.key.as_str() {
        "missing" => names(&option.value, MANDATORY, "missing", cx).map(Asked::Missing),
        "repeated" => names(&option.value, AT_MOST_ONCE, "repeated", cx).map(Asked::Repeated),
        _ => field(option, cx).map(Asked::Field),
    }
}

/// Names of fields; `any` for those that RFC 5322 names.
fn names(node: &Node, any: &[&str], option: &str, cx: &mut Loader<'_>) -> Option<Vec<String>> {
    if node.as_word() == Some("any") {
        return Some(any.iter().map(|name| (*name).to_owned()).collect());
    }
    let mut names = Vec::new();
    for item in cx.some_items(node, option)? {
        let name = cx.text(item, "the name of a header field")?;
        if !is_name(name) {
            let message = format!("`{name}` is no name of a header field; `any` stands alone");
            cx.mistake(item.place, message);
            return None;
        }
        names.push(name.to_owned());
    }
    Some(names)
}

/// RFC 5322, section 2.2; a capital tells it from an option.
fn is_name(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_graphic() && b != b':')
        && name.starts_with(|c: char| c.is_ascii_uppercase())
}

fn field(option: &Entry, cx: &mut Loader<'_>) -> Option<Field> {
    let name = &option.key;
    let names = if name.contains('*') {
        Pattern::parse(name, true, Subject::Text).ok().filter(|pattern| !pattern.is_regex())
    } else {
        None
    };
    let is_fine = is_name(name) || names.is_some() && name.starts_with('*');
    if !is_fine {
        let mut capital = name.clone();
        if let Some(first) = capital.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let message =
            format!("unknown option `{name}` of header; the name of a header has a capital: {capital}");
        cx.mistake(option.key_place, message);
        return None;
    }
    let (node, which) = which(&option.value, name, cx)?;
    let view = view(node, name, cx)?;
    if which != Which::Any && matches!(view, View::Count(_)) {
        cx.mistake(node.place, "`count` is of all fields of a name, not of one or every");
        return None;
    }
    Some(Field { name: name.clone(), names, which, view })
}

/// Takes `first:`, `last:`, `every:` or a number off a value.
fn which<'n>(node: &'n Node, name: &str, cx: &mut Loader<'_>) -> Option<(&'n Node, Which)> {
    let options = node.as_map().unwrap_or_default();
    for option in options {
        let which = match option.key.as_str() {
            "first" => Which::At(1),
            "last" => Which::Last,
            "every" => Which::Every,
            key if key.bytes().all(|b| b.is_ascii_digit()) => match key.parse() {
                Ok(number @ 1..) => Which::At(number),
                _ => {
                    cx.mistake(
                        option.key_place,
                        format!("`{key}`: fields are counted from the top, beginning with 1"),
                    );
                    return None;
                }
            },
            _ => continue,
        };
        cx.only_keys(options, &[option.key.as_str()], name);
        return Some((&option.value, which));
    }
    Some((node, Which::Any))
}

fn view(node: &Node, name: &str, cx: &mut Loader<'_>) -> Option<View> {
    for word in ["raw", "address", "count", "size"] {
        let Some(inner) = node.get(word) else {
            continue;
        };
        cx.only_keys(node.as_map().unwrap_or_default(), &[word], name);
        return match word {
            "raw" => TextTest::parse(inner, name, Subject::Text, cx).map(View::Raw),
            "address" => TextTest::parse(inner, name, Subject::Address, cx).map(View::Address),
            "size" => NumberTest::parse(inner, name, cx).map(View::Size),
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
            ("header: '/^subject: =\\?utf-8/'", Match),
            ("header: {Subject: {size: 35}}", Match),
            ("header: {Subject: {size: {over: 35}}}", NoMatch),
            ("header: {'Re*': {size: {over: 30}}}", Match),
            ("header: {'*': {count: 4}}", Match),
            ("header: {X-*: present}", NoMatch),
            ("header: {'R*ed': /from b/}", Match),
        ] {
            check(yaml, MAIL, expected);
        }
    }

    #[test]
    fn one_field_of_several_is_asked_and_every_one() {
        for (yaml, expected) in [
            ("header: {Received: {first: /from a/}}", Match),
            ("header: {Received: {first: /from b/}}", NoMatch),
            ("header: {Received: {last: /from b/}}", Match),
            ("header: {Received: {last: /from a/}}", NoMatch),
            ("header: {Received: {2: {raw: /from b/}}}", Match),
            ("header: {Received: {2: absent}}", NoMatch),
            ("header: {Received: {3: absent}}", Match),
            ("header: {Received: {every: /^from (a|b)$/}}", Match),
            ("header: {Received: {every: /from a/}}", NoMatch),
            ("header: {X-Mailer: {every: /./}}", NoMatch),
            ("header: {Reply-To: {every: {address: freemail.test}}}", NoMatch),
            ("header: {Reply-To: {every: {address: [freemail.test, b.test]}}}", Match),
            ("header: {Received: {every: {size: 16}}}", Match),
            ("header: {X-Mailer: {every: {size: 16}}}", NoMatch),
        ] {
            check(yaml, MAIL, expected);
        }
    }

    #[test]
    fn fields_that_must_be_there_and_those_that_may_be_once() {
        let fine = "\n\nFrom: a@b.test\nDate: now\nReceived: 1\nReceived: 2\n\n";
        for (yaml, mail, expected) in [
            ("header: {missing: any}", fine, NoMatch),
            ("header: {missing: any}", MAIL, Match),
            ("header: {missing: [From, Message-ID]}", fine, Match),
            ("header: {repeated: any}", fine, NoMatch),
            ("header: {repeated: Received}", fine, Match),
            ("header: {repeated: any}", "\n\nSubject: a\nSUBJECT: b\n\n", Match),
            ("header: {repeated: any, Subject: /x/}", "\n\nSubject: a\nSubject: b\n\n", NoMatch),
        ] {
            check(yaml, mail, expected);
        }
    }

    #[test]
    fn mistakes_tell_names_from_options() {
        wrong("header: {missing: from}", &["`from` is no name of a header field; `any` stands alone"]);
        wrong("header: {repeated: [any, To]}", &["`any` is no name of a header field; `any` stands alone"]);
        wrong(
            "header: {To: {first: {count: 1}}}",
            &["`count` is of all fields of a name, not of one or every"],
        );
        wrong("header: {To: {0: /x/}}", &["`0`: fields are counted from the top, beginning with 1"]);
        wrong("header: {To: {first: /x/, last: /y/}}", &["unknown option `last` of To"]);
        wrong(
            "header: {subject: /x/}",
            &["unknown option `subject` of header; the name of a header has a capital: Subject"],
        );
        wrong("header: Subject", &["header needs a map such as {Subject: /x/}, in: LIST, or a /pattern/"]);
        wrong("header: {Subject: {raw: /x/, min: 1}}", &["unknown option `min` of Subject"]);
    }
}
