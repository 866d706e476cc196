//! Entries and values into a list's content: first those of the rule file, then
//! those of its own, so that of two equal entries the rule file's stays.

use super::list::Content;
use super::list::Given;
use super::list::Kind;
use super::list::NO_VALUE;
use super::list::Spec;
use super::location;
use super::location::Format;
use super::location::Location;
use super::location::Stamp;
use super::ordered::Guard;
use super::overlap;
use super::overlap::Overlaps;
use super::parents;
use super::pattern::Pattern;
use super::pattern::Subject;
use super::row::Body;
use super::row::Key;
use super::row::Row;
use super::row::Wrong;
use super::set::Builder;
use super::set::Set;
use super::sites;
use super::sites::add_site;
use super::table;
use super::value::Reader;
use super::value::Stored;
use super::value::To;
use crate::state::Limits;
use crate::yaml::Mistake;
use crate::yaml::Place;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Conditions within conditions: written by people.
const MAX_NESTING: usize = 32;

/// Where the list's file is, if it has one.
pub(super) fn location_of(spec: &Spec, mistakes: &mut Vec<Mistake>) -> Option<(Location, PathBuf)> {
    let (text, place) = spec.file.as_ref()?;
    let read = Location::parse(text).and_then(|location| match (location.format, spec.kind) {
        (format, Kind::Dnsbl) if format != Format::Plain => {
            Err("the file of a list of dnsbl is a plain one, with a zone a line".to_owned())
        }
        (Format::Cidr, kind) if !matches!(kind, Kind::Client | Kind::Network) => {
            Err(format!("`cidr:` is for a list of network or client, not of {}", kind.word()))
        }
        (Format::Plain, _) if spec.to.is_some() => {
            Err(format!("a plain file has no values: say `texthash:{text}`"))
        }
        _ => Ok(location),
    });
    match read {
        Ok(location) => {
            let path = spec.base.join(&location.path);
            Some((location, path))
        }
        Err(message) => {
            mistakes.push(Mistake::at(&spec.source, *place, message));
            None
        }
    }
}

/// The classes of `named:` must be limits.
pub(super) fn check_classes(spec: &Spec, mistakes: &mut Vec<Mistake>) {
    for (name, limits, place) in &spec.named {
        let wrong = match spec.to {
            Some(To::Limits) => limits.join(", ").parse::<Limits>().err(),
            _ => Some(format!("`{name}` is a class of limits: say `to: limits`")),
        };
        mistakes.extend(wrong.map(|message| Mistake::at(&spec.source, *place, message)));
    }
}

pub(super) struct Loaded {
    pub content: Content,
    /// Of the file that was read.
    pub stamp: Option<Stamp>,
    pub mistakes: Vec<Mistake>,
}

/// Reads all entries; what is wrong does not end the reading.
pub(super) fn load(spec: &Spec, location: Option<&(Location, PathBuf)>) -> Loaded {
    let subject = spec.kind.subject();
    let mut loader = Loader::new(spec, subject.unwrap_or(Subject::Text));
    let mut mistakes = Vec::new();
    for given in spec.entries.iter().filter(|_| subject.is_some()) {
        if let Err((place, message)) = loader.given(given) {
            mistakes.push(Mistake::at(&spec.source, place, message));
        }
    }
    let mut stamp = None;
    let mut sites = Vec::new();
    for (site, place) in &spec.sites {
        if let Err(message) = add_site(&mut sites, site.clone()) {
            mistakes.push(Mistake::at(&spec.source, *place, message));
        }
    }
    if let (Some((location, path)), Some((_, place))) = (location, &spec.file) {
        loader.expands(location.format);
        match location::open(path) {
            Ok(None) if spec.optional => {}
            Ok(None) => {
                let message =
                    format!("there is no file `{}`; `optional: true` if there need not be", path.display());
                mistakes.push(Mistake { is_unread: true, ..Mistake::at(&spec.source, *place, message) });
            }
            Ok(Some((file, found))) => {
                stamp = Some(found);
                mistakes.extend(match spec.kind {
                    Kind::Dnsbl => sites::read(file, location, &mut sites),
                    _ => loader.file(file, location),
                });
            }
            Err(message) => {
                let message = format!("`{}` {message}", path.display());
                mistakes.push(Mistake { is_unread: true, ..Mistake::at(&spec.source, *place, message) });
            }
        }
    }
    let sites = sites.into_iter().map(Arc::new).collect();
    let content = Content { sites, ..loader.finish() };
    if spec.to == Some(To::Parent) && mistakes.is_empty() {
        mistakes.extend(place(parents::troubles(&content), spec, location));
    }
    Loaded { content, stamp, mistakes }
}

/// Finds where the entries of each trouble stand, by reading them again: places
/// are not kept.
fn place(
    mut troubles: Vec<parents::Trouble>,
    spec: &Spec,
    location: Option<&(Location, PathBuf)>,
) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mut take = |key: &str| {
        let key = key.trim_start_matches('@').trim_end_matches('.').to_ascii_lowercase();
        let at = troubles.iter().position(|trouble| trouble.entries.contains(&key))?;
        Some(troubles.swap_remove(at).message)
    };
    for given in &spec.entries {
        let place = given.values.as_ref().map_or(given.place, |(_, place)| *place);
        mistakes.extend(take(&given.text).map(|message| Mistake::at(&spec.source, place, message)));
    }
    if let Some((location, path)) = location
        && let Ok(Some((file, _))) = location::open(path)
        && let Some(subject) = spec.kind.subject()
    {
        let Location { format, path } = location;
        mistakes.extend(table::read(file, path, *format, subject, &mut |row| match &row.body {
            Body::Entry {
                key: Key::Expression { shown, .. } | Key::Network { shown, .. } | Key::Text(shown),
                ..
            } => take(shown).map_or(Ok(()), |message| Err((row.value_at, message))),
            Body::Endif | Body::If { .. } => Ok(()),
        }));
    }
    let name = &spec.name;
    let unplaced = troubles.into_iter().map(|trouble| format!("in list `{name}`: {}", trouble.message));
    mistakes.extend(unplaced.map(|message| Mistake::whole(&spec.source.name, message)));
    mistakes
}

struct Loader {
    subject: Subject,
    builder: Builder,
    reader: Option<Reader>,
    /// Where two entries must not contend.
    overlaps: Option<Overlaps>,
    /// The conditions that are open, the innermost last.
    guards: Vec<u32>,
    /// A file's right-hand sides are told of once, not in each line.
    told_of_values: bool,
}

impl Loader {
    fn new(spec: &Spec, subject: Subject) -> Self {
        let named: HashMap<_, _> =
            spec.named.iter().map(|(name, limits, _)| (name.clone(), limits.clone())).collect();
        let reader =
            spec.to.map(|to| Reader { to, named, expands: false, stored: Vec::new(), known: HashMap::new() });
        let builder = Set::builder(subject).subdomains(spec.subdomains);
        let decides = matches!(spec.to, Some(To::Limits | To::Parent));
        let overlaps = decides.then(|| Overlaps::new(spec.subdomains));
        Self { subject, builder, reader, overlaps, guards: Vec::new(), told_of_values: false }
    }

    fn expands(&mut self, format: Format) {
        if let Some(reader) = &mut self.reader {
            reader.expands = matches!(format, Format::Pcre | Format::Regexp);
        }
    }

    fn finish(self) -> Content {
        Content {
            set: self.builder.build(),
            values: self.reader.map(|reader| reader.stored).unwrap_or_default(),
            sites: Arc::default(),
        }
    }

    /// An entry of the rule file.
    fn given(&mut self, given: &Given) -> Result<(), (Place, String)> {
        let text = &given.text;
        let tag = match (&mut self.reader, &given.values) {
            (None, None) => NO_VALUE,
            (None, Some((_, place))) => {
                let message =
                    format!("`{text}` has a value: say to: limits (or action, names, number, text)");
                return Err((*place, message));
            }
            (Some(_), None) => {
                return Err((given.place, format!("a value is missing: `{text}: …`, or leave out `to`")));
            }
            (Some(reader), Some((values, place))) => {
                reader.several(values, false).map_err(|message| (*place, message))?
            }
        };
        let new = self.builder.add(text, given.quoted, tag).map_err(|message| (given.place, message))?;
        if !new && tag != NO_VALUE {
            return Err((given.place, format!("`{text}` is given twice")));
        }
        let contends = self.overlaps.as_mut().map(|overlaps| overlaps.given(text, self.subject));
        contends.unwrap_or(Ok(())).map_err(|message| (given.place, message))
    }

    fn file(&mut self, file: impl std::io::Read, location: &Location) -> Vec<Mistake> {
        let Location { format, path } = location;
        let subject = self.subject;
        let mut mistakes = table::read(file, path, *format, subject, &mut |row| self.row(row, *format, path));
        if !self.guards.is_empty() {
            mistakes.push(Mistake::whole(path, "an `if` has no `endif`"));
        }
        mistakes
    }

    fn row(&mut self, row: Row<'_>, format: Format, path: &str) -> Result<(), Wrong> {
        let Row { body, key_at, value_at } = row;
        match body {
            Body::Endif if self.guards.pop().is_some() => Ok(()),
            Body::Endif => Err((key_at, "an `endif` without its `if`".to_owned())),
            Body::If { key, negate } => {
                let opened = self.open(key, negate);
                // An `if` that is wrong is closed by its `endif` all the same.
                self.guards.push(*opened.as_ref().unwrap_or(&0));
                opened.map(|_| ()).map_err(|message| (key_at, message))
            }
            Body::Entry { key, negate, value } => {
                let has_blanks = matches!(self.subject, Subject::Filename | Subject::Header | Subject::Text);
                let (key, value, value_at) = match key {
                    // What stands behind a name in a plain file is meant as a value.
                    Key::Text(text) if format == Format::Plain && !has_blanks && !text.starts_with('/') => {
                        let mut parts = text.splitn(2, |c: char| c.is_ascii_whitespace());
                        let name = parts.next().unwrap_or_default();
                        (Key::Text(name), parts.next(), key_at + name.len() + 1)
                    }
                    key => (key, value, value_at),
                };
                let tag = self
                    .value(&key, value, path)
                    .map_err(|(is_key, message)| (if is_key { key_at } else { value_at }, message))?;
                self.entry(key, negate, tag).map_err(|message| (key_at, message))
            }
        }
    }

    /// The number of a line's value; a mistake may concern the key.
    fn value(&mut self, key: &Key<'_>, value: Option<&str>, path: &str) -> Result<u32, (bool, String)> {
        let shown = match key {
            Key::Expression { shown, .. } | Key::Network { shown, .. } | Key::Text(shown) => shown,
        };
        match (&mut self.reader, value) {
            (None, None) => Ok(NO_VALUE),
            (None, Some(_)) if self.told_of_values => Ok(NO_VALUE),
            (None, Some(_)) => {
                self.told_of_values = true;
                let message =
                    format!("`{path}` has right-hand sides: say to: action (or names, limits, number, text)");
                Err((false, message))
            }
            (Some(_), None) => Err((true, format!("no value behind `{shown}`"))),
            (Some(reader), Some(value)) => reader.line(value).map_err(|message| (false, message)),
        }
    }

    fn pattern(&self, key: Key<'_>) -> Result<Pattern, String> {
        match key {
            Key::Expression { shown, body, flags } => Pattern::expression(shown, body, flags, self.subject),
            Key::Network { shown, network } => Ok(Pattern::network(shown, network, self.subject)),
            Key::Text(text) => Pattern::parse(text, true, self.subject),
        }
    }

    fn open(&mut self, key: Key<'_>, negate: bool) -> Result<u32, String> {
        if self.guards.len() >= MAX_NESTING {
            return Err(format!("conditions are nested deeper than {MAX_NESTING} levels"));
        }
        let pattern = self.pattern(key)?;
        self.builder.add_guard(Guard { negate, parent: self.guards.last().copied(), pattern })
    }

    fn entry(&mut self, key: Key<'_>, negate: bool, tag: u32) -> Result<(), String> {
        let guard = self.guards.last().copied();
        match key {
            Key::Text(text) => {
                let new = self.builder.add(text, false, tag)?;
                if let Some(overlaps) = self.overlaps.as_mut().filter(|overlaps| !overlaps.may_repeat(text)) {
                    if !new {
                        return Err(format!("`{text}` is given twice"));
                    }
                    overlaps.entry(text, self.subject)?;
                }
                new
            }
            Key::Network { shown, network } if !negate && guard.is_none() => {
                if self.overlaps.is_some()
                    && let Some(wider) = self.builder.line_above(network)
                {
                    return Err(overlap::hidden(shown, &wider.to_string()));
                }
                self.builder.add_by_line(network, tag)?
            }
            key => {
                let pattern = self.pattern(key)?;
                self.check_groups(&pattern, negate, tag)?;
                self.builder.add_rule(pattern, negate, guard, tag)?
            }
        };
        Ok(())
    }

    /// A text may only ask for what its pattern can give.
    fn check_groups(&self, pattern: &Pattern, negate: bool, tag: u32) -> Result<(), String> {
        let stored = self.reader.as_ref().and_then(|reader| reader.stored.get(tag as usize));
        let needed = stored.map_or(0, Stored::highest_group);
        let has = if negate { 0 } else { pattern.group_count() };
        if needed <= has {
            return Ok(());
        }
        Err(if negate {
            format!("`${needed}` behind a `!`: what does not match has no groups")
        } else {
            format!("`${needed}` is asked for, the pattern has {has} groups")
        })
    }
}
