//! # What it does
//! Matches when the message has a file that fits: by its name, by what it is, by what
//! the sender says that it is, by its size or its content; attached, in an archive, or
//! in an attached message.
//!
//! # Why
//! Most malware still travels as a file that somebody is to click on. Its name says
//! what it is once all the ways of hiding a name are undone: every name that any mail
//! program might show is tried, and each as systems run it (`a.exe.`, `a.exe::$DATA`,
//! `a%2Eexe`, `a․exe`). Where the name says nothing its content does.
//!
//! # Options
//! Patterns for the file name (`.exe` is an ending, `*invoice*`, `/regex/`), `present`,
//! `absent` (no part has a name), or some of these, which must all fit the same file:
//! - `name`: the same patterns.
//! - `in`: lists of file names.
//! - `kind`: what it is, by its content; any of [these words](kinds.md).
//! - `type`: patterns for the media type that its part is declared as:
//!   `message/partial`, `image/*`.
//! - `inside`: where it is: in an `archive`, a `document`, an attached `message` (one of
//!   Outlook's and its `winmail.dat` too), or `nothing`: a part of the message itself. If not said, anywhere, but names of what
//!   is packed in a document are not asked.
//! - `disguise`: how its name hides what it is; `any` or some of
//!   the words below.
//! - `size`: a number of bytes, unpacked.
//! - `hash`: its SHA-256 in hexadecimal; a text, so a list of text is `hash: {in: LIST}`.
//! - `count`: how many files fit the other options, a number; alone, how many parts have
//!   a name.
//!
//! A text may say `{file}`: the name that fitted, as `setup.exe in invoice.zip`, or the
//! media type of a part without a name; `{kind}` and `{disguise}`: the first of those asked
//! for; `{macros}`: what modules of macros in it are called, where `kind` asks for macros;
//! `{file_size}`, `{file_count}` where they are asked for; of lists `{entry}` and
//! `{value}`, and `(?<name>…)` of expressions.
//!
//! # Example
//! ```yaml
//! - attachment: {kind: [executable, script], inside: [nothing, archive]}
//! ```
//!
//! # Unknown when
//! Never. Where there is more than is read, the file has the kind `limits`; what can't
//! be opened is `unscannable` or `damaged`, what needs a password `encrypted_archive` or
//! `encrypted_document`.

use super::Bindings;
use super::Check;
use super::Context;
use super::Needs;
use super::Truth;
use crate::content;
use crate::content::Disguise;
use crate::content::File;
use crate::content::Kind;
use crate::content::Kinds;
use crate::content::MAX_DEPTH;
use crate::content::Name;
use crate::content::Reading;
use crate::facts::Fact;
use crate::facts::Facts;
use crate::lists::Hit;
use crate::lists::List;
use crate::lists::Query;
use crate::lists::Subject;
use crate::lists::To;
use crate::message::Message;
use crate::message::Part;
use crate::message::Wants;
use crate::values::Loader;
use crate::values::NumberTest;
use crate::values::TextTest;
use crate::values::some_words;
use crate::yaml::Entry;
use crate::yaml::Node;
use data_encoding::HEXLOWER;
use std::collections::HashMap;
use std::collections::HashSet;
use std::iter;
use std::ptr;
use std::sync::Arc;

/// Where a file may be, in the order of the words.
const PLACES: &[&str] = &["archive", "document", "message", "nothing"];

const OPTIONS: [&str; 9] = ["name", "in", "kind", "type", "inside", "disguise", "size", "hash", "count"];

#[derive(Clone, Debug)]
pub struct Attachment {
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    /// A file that fits all of it.
    File(Box<Wanted>),
    /// No part has a name.
    NoName,
}

/// What has modules with names.
const WITH_MACROS: Kinds = Kinds::NONE.with(Kind::Macros).with(Kind::SignedMacros);

/// Modules of macros that a text names.
const MAX_MACROS_TOLD: usize = 5;

/// What is asked of one file.
#[derive(Clone, Debug, Default)]
struct Wanted {
    name: Option<TextTest>,
    listed: Option<TextTest>,
    /// Any of them.
    kinds: Kinds,
    media_type: Option<TextTest>,
    /// Any of [`PLACES`]; none: anywhere.
    places: Vec<&'static str>,
    /// Any of them.
    disguises: Vec<Disguise>,
    size: Option<NumberTest>,
    hash: Option<TextTest>,
    count: Option<NumberTest>,
}

/// A file, or what has no content but a name and a type: a multipart.
#[derive(Clone, Copy, Debug)]
struct Candidate<'m> {
    names: &'m [String],
    file: Option<&'m File>,
    part: &'m Part,
}

/// What stands in a message.
struct Contents<'m> {
    message: &'m Message,
    files: Vec<(&'m File, &'m Part)>,
}

/// A file that fits.
#[derive(Clone, Copy, Debug)]
struct Found<'m> {
    candidate: Candidate<'m>,
    /// The name that fitted; else its first.
    name: Option<&'m str>,
}

impl Check for Attachment {
    const OPTIONS: &'static [&'static str] = &OPTIONS;

    const TABLE: fn() -> String = table;

    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
        let node = &entry.value;
        let Some(options) = node.as_map() else {
            let name = TextTest::parse(node, "attachment", Subject::Filename, cx)?;
            let wanted = |name| Test::File(Box::new(Wanted { name: Some(name), ..Wanted::default() }));
            let test = if matches!(name, TextTest::Absent) { Test::NoName } else { wanted(name) };
            return Some(Self { test });
        };
        let fine = cx.only_keys(options, Self::OPTIONS, "attachment");
        if options.is_empty() {
            cx.mistake(node.place, format!("attachment needs patterns, or some of {}", OPTIONS.join(" ")));
            return None;
        }
        let mut wanted = Wanted::default();
        let read: Vec<_> = options.iter().map(|option| wanted.read(option, cx)).collect();
        let all = read.into_iter().collect::<Option<()>>();
        all.filter(|()| fine).map(|()| Self { test: Test::File(Box::new(wanted)) })
    }

    fn needs(&self) -> Needs {
        Needs::of_message(match &self.test {
            Test::File(wanted) => wanted.wants(),
            Test::NoName => Wants { parts: true, ..Wants::NOTHING },
        })
    }

    fn evaluate(&self, cx: &Context<'_>) -> Truth {
        let Some(message) = &cx.facts.message else {
            return Truth::NoMatch;
        };
        match &self.test {
            Test::File(wanted) => wanted.answer(message, cx.facts).is_some(),
            Test::NoName => message.parts().iter().all(|part| part.names.is_empty()),
        }
        .into()
    }

    fn because(&self, cx: &Context<'_>) -> String {
        let Some(message) = &cx.facts.message else {
            return "there is no message".to_owned();
        };
        let Test::File(wanted) = &self.test else {
            let names = message.parts().iter().filter(|part| !part.names.is_empty()).count();
            return format!("{names} parts have a name");
        };
        let contents = Contents::of(message);
        match wanted.answer(message, cx.facts) {
            Some((_, Some(found))) => wanted.because(&contents, found),
            Some((_, None)) => "no file fits".to_owned(),
            None => format!("none of {} files", contents.files.len()),
        }
    }

    fn variables(&self) -> Vec<String> {
        let Test::File(wanted) = &self.test else {
            return vec!["file".to_owned()];
        };
        let mut names = vec!["file".to_owned()];
        for (name, is_asked) in [
            ("kind", !wanted.kinds.is_empty()),
            ("disguise", !wanted.disguises.is_empty()),
            ("macros", wanted.kinds.has_any(WITH_MACROS)),
            ("file_size", wanted.size.is_some()),
            ("file_count", wanted.count.is_some()),
        ] {
            names.extend(is_asked.then(|| name.to_owned()));
        }
        for name in wanted.texts().flat_map(TextTest::variables) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    fn bind(&self, cx: &Context<'_>, bindings: &mut Bindings) {
        let (Test::File(wanted), Some(message)) = (&self.test, &cx.facts.message) else {
            bindings.push(("file".to_owned(), String::new()));
            return;
        };
        let Some((count, found)) = wanted.answer(message, cx.facts) else {
            return;
        };
        let contents = Contents::of(message);
        let shown = found.map(|found| contents.shown(found)).unwrap_or_default();
        bindings.push(("file".to_owned(), shown));
        if wanted.count.is_some() {
            bindings.push(("file_count".to_owned(), count.to_string()));
        }
        if let Some(found) = found {
            wanted.bind(found, cx.facts, bindings);
        }
    }
}

impl Attachment {
    pub fn lists(&self) -> Vec<Arc<List>> {
        self.wanted().iter().flat_map(|wanted| wanted.names()).flat_map(TextTest::lists).cloned().collect()
    }

    /// Whether it needs hashes for what its lists hold now.
    pub fn asks_hashes(&self) -> bool {
        self.wanted().and_then(|wanted| wanted.hash.as_ref()).is_some_and(|test| !test.is_idle())
    }

    /// Which facts its values are compared with or looked up by.
    pub fn reads(&self) -> Vec<Fact> {
        let Some(wanted) = self.wanted() else {
            return Vec::new();
        };
        let numbers = [&wanted.size, &wanted.count].into_iter().flatten().flat_map(NumberTest::reads);
        wanted.texts().flat_map(TextTest::reads).chain(numbers).collect()
    }

    /// The entry that matched, of a list of file names with such values.
    pub fn hit(&self, to: To, cx: &Context<'_>) -> Option<Hit> {
        let (wanted, message) = (self.wanted()?, cx.facts.message.as_ref()?);
        let contents = Contents::of(message);
        let fitting = contents
            .candidates(wanted.asks_parts())
            .filter(|it| wanted.fits(it, &contents, cx.facts).is_some());
        fitting.flat_map(|candidate| candidate.readings()).find_map(|reading| {
            let query = query_of(reading);
            wanted.names().find_map(|test| test.hit(to, &query))
        })
    }

    /// Each part with a file that fits, and how the first of these is shown.
    pub fn parts(&self, cx: &Context<'_>) -> Vec<(u32, String)> {
        let (Some(wanted), Some(message)) = (self.wanted(), &cx.facts.message) else {
            return Vec::new();
        };
        let contents = Contents::of(message);
        let mut first = HashMap::new();
        for candidate in contents.candidates(wanted.asks_parts()) {
            if let Some(found) = wanted.fits(&candidate, &contents, cx.facts) {
                first.entry(ptr::from_ref(candidate.part)).or_insert(found);
            }
        }
        let numbered = message.parts().iter().zip(0..);
        numbered
            .filter_map(|(part, number)| Some((number, contents.shown(*first.get(&ptr::from_ref(part))?))))
            .collect()
    }

    fn wanted(&self) -> Option<&Wanted> {
        match &self.test {
            Test::File(wanted) => Some(wanted),
            Test::NoName => None,
        }
    }
}

impl Wanted {
    fn read(&mut self, option: &Entry, cx: &mut Loader<'_>) -> Option<()> {
        let node = &option.value;
        match option.key.as_str() {
            "name" => self.name = Some(TextTest::parse(node, "name", Subject::Filename, cx)?),
            "in" => {
                let lists = crate::values::lists(node, Subject::Filename, cx)?;
                self.listed = Some(TextTest::in_lists(lists));
            }
            "kind" => {
                let words = some_words(node, "kind", Kind::WORDS, cx)?;
                self.kinds = Kind::ALL.iter().copied().filter(|kind| words.contains(&kind.word())).collect();
            }
            "type" => self.media_type = Some(TextTest::parse(node, "type", Subject::Text, cx)?),
            "inside" => self.places = some_words(node, "place", PLACES, cx)?,
            "disguise" => self.disguises = some_disguises(node, cx)?,
            "size" => self.size = Some(NumberTest::parse(node, "size", cx)?),
            "hash" => self.hash = Some(TextTest::parse(node, "hash", Subject::Text, cx)?),
            "count" => self.count = Some(NumberTest::parse(node, "count", cx)?),
            _ => {}
        }
        Some(())
    }

    /// No more than is asked for.
    fn wants(&self) -> Wants {
        let is_deep =
            self.places.is_empty() || self.places.iter().any(|it| matches!(*it, "archive" | "document"));
        let names = self.names().any(|test| matches!(test, TextTest::AnyOf(_)));
        let of_each = names || !self.disguises.is_empty() || self.size.is_some() || self.hash.is_some();
        let content = content::Wants {
            kinds: self.size.is_some() || !self.kinds.is_empty() || !self.places.is_empty(),
            inside: is_deep && (of_each || !self.kinds.is_empty() || !self.places.is_empty()),
            hashes: self.hash.is_some(),
            names: names || !self.disguises.is_empty(),
        };
        Wants { parts: true, content: content.join(content::Wants::of_kinds(self.kinds)), ..Wants::NOTHING }
    }

    /// The tests on names.
    fn names(&self) -> impl Iterator<Item = &TextTest> {
        [&self.name, &self.listed].into_iter().flatten()
    }

    /// All tests on texts.
    fn texts(&self) -> impl Iterator<Item = &TextTest> {
        [&self.name, &self.listed, &self.media_type, &self.hash].into_iter().flatten()
    }

    /// Whether what has no content, but a name or a type, can fit.
    fn asks_parts(&self) -> bool {
        let asks_content = !self.kinds.is_empty() || self.size.is_some() || self.hash.is_some();
        (self.asks_names() || self.media_type.is_some()) && !asks_content
    }

    fn asks_names(&self) -> bool {
        self.names().next().is_some() || !self.disguises.is_empty()
    }

    /// Nothing but what it is, or how many there are.
    fn asks_only_kinds(&self) -> bool {
        self.texts().next().is_none()
            && self.disguises.is_empty()
            && self.places.is_empty()
            && self.size.is_none()
    }

    /// How many fit, and the first of them; None: it does not match.
    fn answer<'m>(&self, message: &'m Message, facts: &Facts) -> Option<(usize, Option<Found<'m>>)> {
        let contents = Contents::of(message);
        let candidates = contents.candidates(self.asks_parts());
        let mut fitting = candidates.filter_map(|candidate| self.fits(&candidate, &contents, facts));
        let first = fitting.next();
        let Some(count) = &self.count else {
            return first.or_else(|| self.beyond(message)).map(|found| (1, Some(found)));
        };
        // A part that is read in several ways is one file.
        let mut parts = HashSet::new();
        let is_new = |found: &Found<'_>| {
            let Candidate { file, part, .. } = found.candidate;
            file.is_some_and(|file| file.within.is_some()) || parts.insert(ptr::from_ref(part))
        };
        let number = first.into_iter().chain(fitting).filter(is_new).count();
        count.matches(number as f64, facts).then_some((number, first))
    }

    /// For `limits`, which a message may have of itself.
    fn beyond<'m>(&self, message: &'m Message) -> Option<Found<'m>> {
        let is_asked = self.kinds.has(Kind::Limits) && self.asks_only_kinds();
        let part = message.parts().first()?;
        (is_asked && message.limits())
            .then_some(Found { candidate: Candidate { names: &[], file: None, part }, name: None })
    }

    fn fits<'m>(&self, it: &Candidate<'m>, contents: &Contents<'m>, facts: &Facts) -> Option<Found<'m>> {
        // What costs least comes first.
        let is_counted = || !it.names.is_empty() && it.file.is_some_and(|file| file.within.is_none());
        if self.kinds.is_empty() && self.asks_only_kinds() && !is_counted() {
            return None;
        }
        if !self.kinds.is_empty() && !it.file?.kinds.has_any(self.kinds) {
            return None;
        }
        if let Some(size) = &self.size
            && !size.matches(it.file?.size as f64, facts)
        {
            return None;
        }
        if !self.places.is_empty() && !self.places.iter().any(|place| contents.is_at(it, place)) {
            return None;
        }
        if self.asks_names() && self.places.is_empty() && contents.is_within(it, is_document) {
            return None;
        }
        if let Some(test) = &self.media_type {
            let text = media_type(it.part);
            if !test.matches(Some(&query(text, text)), facts) {
                return None;
            }
        }
        if let Some(test) = &self.hash {
            let hash = it.hash();
            if !test.matches(hash.as_deref().map(|hash| query(hash, hash)).as_ref(), facts) {
                return None;
            }
        }
        let mut name = None;
        for test in self.names() {
            let fitting = match test {
                TextTest::Absent => it.names.is_empty().then_some(None),
                TextTest::Present => it.names.first().map(|name| Some(name.as_str())),
                TextTest::AnyOf(_) => it.name_that_fits(test, facts).map(Some),
            };
            name = name.or(fitting?);
        }
        if !self.disguises.is_empty() {
            let (disguised, _) = it.told().find(|(_, told)| self.first_disguise(told).is_some())?;
            name = name.or(Some(disguised));
        }
        Some(Found { candidate: *it, name: name.or(it.names.first().map(String::as_str)) })
    }

    /// The first of those asked for.
    fn first_disguise(&self, name: &Name) -> Option<Disguise> {
        name.disguises.iter().copied().find(|disguise| self.disguises.contains(disguise))
    }

    fn first_kind(&self, found: Found<'_>) -> Option<Kind> {
        match found.candidate.file {
            Some(file) => file.kinds.iter().find(|kind| self.kinds.has(*kind)),
            None => self.kinds.has(Kind::Limits).then_some(Kind::Limits),
        }
    }

    fn disguise_of(&self, found: Found<'_>) -> Option<Disguise> {
        found.candidate.told().find_map(|(_, told)| self.first_disguise(told))
    }

    fn because(&self, contents: &Contents<'_>, found: Found<'_>) -> String {
        let mut text = format!("`{}`", contents.shown(found));
        for word in [
            self.first_kind(found).map(Kind::word),
            self.disguise_of(found).map(Disguise::word),
            self.media_type.as_ref().map(|_| media_type(found.candidate.part)),
        ]
        .into_iter()
        .flatten()
        {
            text += &format!(", {word}");
        }
        let macros = found.candidate.macros();
        if self.kinds.has_any(WITH_MACROS) && !macros.is_empty() {
            text += &format!(" {macros}");
        }
        if let (Some(_), Some(file)) = (&self.size, found.candidate.file) {
            text += &format!(", {} bytes", file.size);
        }
        format!("found {text}")
    }

    fn bind(&self, found: Found<'_>, facts: &Facts, bindings: &mut Bindings) {
        if let Some(kind) = self.first_kind(found) {
            bindings.push(("kind".to_owned(), kind.word().to_owned()));
        }
        if let Some(disguise) = self.disguise_of(found) {
            bindings.push(("disguise".to_owned(), disguise.word().to_owned()));
        }
        if self.kinds.has_any(WITH_MACROS) {
            bindings.push(("macros".to_owned(), found.candidate.macros()));
        }
        if let (Some(_), Some(file)) = (&self.size, found.candidate.file) {
            bindings.push(("file_size".to_owned(), file.size.to_string()));
        }
        for test in self.names() {
            let mut readings = found.candidate.readings();
            if let Some(values) = readings.find_map(|reading| bound(test, &query_of(reading), facts)) {
                add_new(bindings, values);
            }
        }
        let texts = [
            (&self.media_type, Some(media_type(found.candidate.part).to_owned())),
            (&self.hash, found.candidate.hash()),
        ];
        for (test, text) in texts {
            if let (Some(test), Some(text)) = (test, text) {
                let folded = text.to_ascii_lowercase();
                add_new(bindings, bound(test, &query(&text, &folded), facts).unwrap_or_default());
            }
        }
    }
}

impl<'m> Candidate<'m> {
    /// Each name with what it tells.
    fn told(self) -> impl Iterator<Item = (&'m str, &'m Name)> {
        let told = self.file.map_or(&self.part.told, |file| &file.told);
        self.names.iter().map(String::as_str).zip(told.of(self.names))
    }

    fn readings(self) -> impl Iterator<Item = &'m Reading> {
        self.told().flat_map(|(_, told)| &told.readings)
    }

    fn name_that_fits(self, test: &TextTest, facts: &Facts) -> Option<&'m str> {
        let fits = |reading| test.matches(Some(&query_of(reading)), facts);
        self.told().find(|(_, told)| told.readings.iter().any(fits)).map(|(name, _)| name)
    }

    /// What modules of macros in it are called.
    fn macros(&self) -> String {
        let names = self.file.map(|file| file.macros.as_slice()).unwrap_or_default();
        names.iter().take(MAX_MACROS_TOLD).map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    fn hash(&self) -> Option<String> {
        self.file?.sha256.map(|hash| HEXLOWER.encode(&hash))
    }
}

impl<'m> Contents<'m> {
    fn of(message: &'m Message) -> Self {
        Self { message, files: message.files().collect() }
    }

    /// Files in the order of the message; behind them multiparts, if they are asked.
    fn candidates(&self, with_parts: bool) -> impl Iterator<Item = Candidate<'m>> {
        let files = self.files.iter();
        let files = files.map(|(file, part)| Candidate { names: &file.names, file: Some(file), part });
        let parts = if with_parts { self.message.parts() } else { &[] };
        let others = parts.iter().filter(|part| media_type(part).starts_with("multipart/"));
        files.chain(others.map(|part| Candidate { names: &part.names, file: None, part }))
    }

    /// What it is in, from the inside out.
    fn outer(&self, it: &Candidate<'m>) -> impl Iterator<Item = &'m File> {
        let within = |file: &File| self.files.get(file.within? as usize).map(|(file, _)| *file);
        iter::successors(it.file.and_then(within), move |file| within(file)).take(usize::from(MAX_DEPTH))
    }

    fn is_within(&self, it: &Candidate<'m>, fits: fn(&File) -> bool) -> bool {
        self.outer(it).any(fits)
    }

    fn is_at(&self, it: &Candidate<'m>, place: &str) -> bool {
        match place {
            "archive" => self.is_within(it, |outer| !is_document(outer) && !is_message(outer)),
            "document" => self.is_within(it, is_document),
            "message" => self.is_in_message(it.part) || self.is_within(it, is_message),
            _ => it.file.is_none_or(|file| file.within.is_none()) && !self.is_in_message(it.part),
        }
    }

    /// Whether it is a part of a message that is attached.
    fn is_in_message(&self, part: &Part) -> bool {
        let parts = self.message.parts();
        let within = |part: &Part| parts.get(part.within? as usize);
        let mut outer = iter::successors(within(part), |part| within(part)).take(parts.len());
        outer.any(|part| part.content_type.as_deref().is_some_and(|it| it.starts_with("message/")))
    }

    /// For people: the name that fitted, and the archives that it is in.
    fn shown(&self, found: Found<'_>) -> String {
        let Candidate { file, part, .. } = found.candidate;
        let is_in_archive = file.is_some_and(|file| file.within.is_some());
        let mut shown = match found.name {
            Some(name) => name.to_owned(),
            None if is_in_archive => "a file".to_owned(),
            None if part.depth == 0 => format!("the message ({})", media_type(part)),
            None => format!("part {} ({})", part.path, media_type(part)),
        };
        let mut file = file;
        for _ in 0..MAX_DEPTH {
            file = file.and_then(|file| self.files.get(file.within? as usize)).map(|(file, _)| *file);
            let Some(outer) = file else { break };
            match outer.names.first() {
                Some(name) => shown += &format!(" in {name}"),
                None if outer.within.is_none() => shown += &format!(" in {}", media_type(part)),
                None => {}
            }
        }
        shown
    }
}

fn query<'a>(text: &'a str, folded: &'a str) -> Query<'a> {
    Query { text, folded, ip: None }
}

fn query_of(reading: &Reading) -> Query<'_> {
    query(&reading.text, reading.folded())
}

/// What a test gives to texts, if it fits.
fn bound(test: &TextTest, query: &Query<'_>, facts: &Facts) -> Option<Bindings> {
    let way = test.way(query, facts)?;
    let mut values = Bindings::new();
    way.bind(query, &mut values);
    Some(values)
}

/// Of two with the same name the first counts.
fn add_new(bindings: &mut Bindings, values: Bindings) {
    for (name, value) in values {
        if !bindings.iter().any(|(known, _)| *known == name) {
            bindings.push((name, value));
        }
    }
}

/// As declared; without a declaration it is text (RFC 2045, section 5.2).
fn media_type(part: &Part) -> &str {
    part.content_type.as_deref().unwrap_or("text/plain")
}

/// Whether what is packed in it belongs to it. Called `.zip` it is opened as an archive.
fn is_document(file: &File) -> bool {
    let is_zip = |name: &String| {
        name.get(name.len().saturating_sub(4)..).is_some_and(|it| it.eq_ignore_ascii_case(".zip"))
    };
    file.kinds.has(Kind::Document) && !file.names.iter().any(is_zip)
}

/// Outlook's own, such as `winmail.dat`: what is in it is shown as attached, not packed.
fn is_message(file: &File) -> bool {
    file.kinds.has(Kind::Message) && !file.kinds.has(Kind::Archive)
}

fn table() -> String {
    format!("| disguise | what is seen |\n| --- | --- |\n{}", Disguise::rows())
}

/// `any`, or some of the words.
fn some_disguises(node: &Node, cx: &mut Loader<'_>) -> Option<Vec<Disguise>> {
    if node.as_word() == Some("any") {
        return Some(Disguise::ALL.to_vec());
    }
    let words = some_words(node, "disguise", Disguise::WORDS, cx)?;
    Some(Disguise::ALL.iter().copied().filter(|disguise| words.contains(&disguise.word())).collect())
}

#[cfg(test)]
mod tests {
    use super::super::Truth::Match;
    use super::super::Truth::NoMatch;
    use super::super::testing::bound;
    use super::super::testing::check;
    use super::super::testing::check_files;
    use super::super::testing::load;
    use super::super::testing::wrong;
    use super::*;

    const MAIL: &str = "\n\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\
                        Content-Type: image/png\nContent-Disposition: attachment; filename=\"Invoice.PDF.exe\"\n\nMZ\n--b\n\
                        Content-Type: text/plain; name=notes.txt\n\ny\n--b--\n";

    const PLAIN: &str = "\n\nSubject: hi\n\nhello\n";

    #[test]
    fn file_names_are_found_in_the_parts() {
        for (yaml, expected) in [
            ("attachment: .exe", Match),
            ("attachment: [.scr, .pdf]", NoMatch),
            ("attachment: '*.pdf.*'", Match),
            ("attachment: {name: notes.txt}", Match),
            ("attachment: /^invoice/", Match),
            ("attachment: present", Match),
            ("attachment: absent", NoMatch),
            ("attachment: {type: image/*}", Match),
            ("attachment: {type: multipart/mixed}", Match),
            ("attachment: {type: image/gif}", NoMatch),
            ("attachment: {type: image/*, name: .exe}", Match),
            ("attachment: {type: image/*, name: .txt}", NoMatch),
            ("attachment: {disguise: double_extension}", Match),
            ("attachment: {disguise: [clsid, padded]}", NoMatch),
            ("attachment: {disguise: any, name: .txt}", NoMatch),
            ("attachment: {count: 2}", Match),
            ("attachment: {count: {over: 2}}", NoMatch),
            ("attachment: {name: .exe, count: 1}", Match),
            ("attachment: {name: .scr, count: {under: 1}}", Match),
            ("attachment: {kind: limits}", NoMatch),
        ] {
            check(yaml, MAIL, expected);
        }
        check("attachment: absent", PLAIN, Match);
        check("attachment: {count: 0}", PLAIN, Match);
        check("attachment: {type: text/plain}", PLAIN, Match);
    }

    #[test]
    fn every_reading_of_a_name_is_asked() {
        for (name, expected) in [
            ("a.exe.", Match),
            ("a.exe::$DATA", Match),
            ("a․exe", Match),
            ("a%2Eexe", Match),
            ("a.exe.txt", NoMatch),
        ] {
            let mail = format!("\n\nContent-Type: x/y; name=\"{name}\"\n\nx\n");
            check("attachment: .exe", &mail, expected);
        }
    }

    fn file(name: &str, kinds: &[Kind], within: Option<u32>) -> File {
        let names = Some(name).filter(|name| !name.is_empty()).map(Into::into).into_iter().collect();
        File {
            names,
            kinds: kinds.iter().copied().collect(),
            size: 1_000,
            sha256: Some([0xAB; 32]),
            within,
            ..File::default()
        }
    }

    /// A program in an archive in an archive, and one in a document.
    fn files() -> Vec<File> {
        vec![
            file("outer.zip", &[Kind::Archive], None),
            file("inner.7z", &[Kind::Archive, Kind::EncryptedArchive], Some(0)),
            file("docs/setup.exe", &[Kind::Executable], Some(1)),
            file("", &[Kind::Image], Some(0)),
            file("a.docx", &[Kind::Document], None),
            file("word/run.vbs", &[Kind::Script], Some(4)),
            file("winmail.dat", &[Kind::Message], None),
            file("offer.hta", &[Kind::Html], Some(6)),
        ]
    }

    #[test]
    fn options_are_asked_of_the_same_file() {
        for (yaml, expected) in [
            ("attachment: {kind: executable}", Match),
            ("attachment: {kind: [audio, video]}", NoMatch),
            ("attachment: {kind: executable, name: setup.exe}", Match),
            ("attachment: {kind: archive, name: setup.exe}", NoMatch),
            ("attachment: {kind: executable, inside: archive}", Match),
            ("attachment: {kind: executable, inside: [document, nothing]}", NoMatch),
            ("attachment: {kind: script, inside: document}", Match),
            ("attachment: {kind: script, inside: archive}", NoMatch),
            ("attachment: {kind: archive, inside: nothing}", Match),
            ("attachment: {kind: archive, inside: message}", NoMatch),
            ("attachment: {name: .hta, inside: message}", Match),
            ("attachment: {name: .hta, inside: [archive, document, nothing]}", NoMatch),
            ("attachment: .exe", Match),
            ("attachment: {name: .exe, inside: nothing}", NoMatch),
            ("attachment: .vbs", NoMatch),
            ("attachment: {name: .vbs, inside: document}", Match),
            ("attachment: {name: absent, kind: image}", Match),
            ("attachment: {name: present, kind: image}", NoMatch),
            ("attachment: {size: {over: 999}, name: .docx}", Match),
            ("attachment: {size: {over: 1000}}", NoMatch),
            ("attachment: {kind: archive, count: 2}", Match),
            ("attachment: {count: 1}", Match),
            (
                "attachment: {hash: ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB, kind: image}",
                Match,
            ),
            ("attachment: {hash: abab}", NoMatch),
        ] {
            check_files(yaml, MAIL, files(), expected);
        }
        let named_as_archive =
            vec![file("a.zip", &[Kind::Document], None), file("run.vbs", &[Kind::Script], Some(0))];
        check_files("attachment: .vbs", MAIL, named_as_archive, Match);
    }

    #[test]
    fn texts_say_which_file_and_where_it_is() {
        for (yaml, expected) in [
            (
                "attachment: {kind: executable}",
                "file=docs/setup.exe in inner.7z in outer.zip, kind=executable",
            ),
            ("attachment: {kind: image}", "file=a file in outer.zip, kind=image"),
            (
                "attachment: {kind: [encrypted_archive, script]}",
                "file=inner.7z in outer.zip, kind=encrypted_archive",
            ),
            // Three readings of one part, and five files in them.
            ("attachment: {size: {over: 10}, count: 6}", "file=outer.zip, file_count=6, file_size=1000"),
            ("attachment: {name: '/(?<stem>[a-z]+).docx/'}", "file=a.docx, 1=a, stem=a"),
        ] {
            assert_eq!(bound(yaml, MAIL, files()), expected, "{yaml}");
        }
        let document = File {
            macros: vec!["ThisDocument".to_owned(), "AutoOpen".to_owned()],
            ..file("a.docm", &[Kind::Macros], None)
        };
        assert_eq!(
            bound("attachment: {kind: [macros, executable]}", MAIL, vec![document]),
            "file=a.docm, kind=macros, macros=ThisDocument, AutoOpen"
        );
        let nameless =
            bound("attachment: {kind: executable}", MAIL, vec![file("", &[Kind::Executable], None)]);
        assert!(nameless.starts_with("file=part "), "{nameless}");
        assert!(nameless.ends_with(" (image/png), kind=executable"), "{nameless}");
    }

    #[test]
    fn no_more_is_found_out_than_is_asked() {
        for (yaml, expected) in [
            ("attachment: present", ""),
            ("attachment: {count: {over: 5}}", ""),
            ("attachment: {type: message/partial}", ""),
            ("attachment: .exe", "inside names"),
            ("attachment: {name: .exe, inside: nothing}", "kinds names"),
            ("attachment: {disguise: any}", "inside names"),
            ("attachment: {kind: image, inside: nothing}", "kinds"),
            ("attachment: {kind: macros, inside: nothing}", "kinds inside"),
            ("attachment: {kind: image}", "kinds inside"),
            ("attachment: {hash: ab, inside: message}", "kinds hashes"),
            ("attachment: {size: 1}", "kinds inside"),
        ] {
            let content = load(yaml).0.unwrap().needs().message.content;
            let wanted = [
                ("kinds", content.kinds),
                ("inside", content.inside),
                ("hashes", content.hashes),
                ("names", content.names),
            ];
            let found: Vec<_> = wanted.iter().filter(|(_, is)| *is).map(|(word, _)| *word).collect();
            assert_eq!(found.join(" "), expected, "{yaml}");
        }
    }

    #[test]
    fn mistakes_name_the_options() {
        wrong("attachment: {nane: x}", &["unknown option `nane` of attachment; did you mean `name`?"]);
        wrong(
            "attachment: {}",
            &["attachment needs patterns, or some of name in kind type inside disguise size hash count"],
        );
        wrong("attachment: {inside: zip}", &["`zip` is not a place: archive document message nothing"]);
    }
}
