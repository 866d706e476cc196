//! A named list: entries of a rule file, of a file of their own, or both as one
//! set, with or without values. It reloads alone when its file has changed; a
//! file with mistakes leaves what was there.

use super::action::Verb;
use super::load;
use super::location::Location;
use super::location::Stamp;
use super::parents;
use super::pattern::Query;
use super::pattern::Subject;
use super::set::Found;
use super::set::Set;
use super::value::ListValue;
use super::value::Stored;
use super::value::To;
use crate::reputation::Site;
use crate::state::Limits;
use crate::yaml::Mistake;
use crate::yaml::Place;
use crate::yaml::Source;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;

/// The number of an entry without a value.
pub(super) const NO_VALUE: u32 = u32::MAX;

/// What a list is of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    Address,
    Client,
    /// Zones of the DNS that list others.
    Dnsbl,
    Domain,
    Filename,
    Header,
    Network,
    Text,
}

impl Kind {
    pub const WORDS: &[&str] =
        &["address", "client", "dnsbl", "domain", "filename", "header", "network", "text"];

    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "address" => Self::Address,
            "client" => Self::Client,
            "dnsbl" => Self::Dnsbl,
            "domain" => Self::Domain,
            "filename" => Self::Filename,
            "header" => Self::Header,
            "network" => Self::Network,
            "text" => Self::Text,
            _ => return None,
        })
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Client => "client",
            Self::Dnsbl => "dnsbl",
            Self::Domain => "domain",
            Self::Filename => "filename",
            Self::Header => "header",
            Self::Network => "network",
            Self::Text => "text",
        }
    }

    /// Whether such a list can be asked about a subject. Addresses and names are
    /// also clients, and what is in a list of clients may be either.
    pub fn fits(self, subject: Subject) -> bool {
        match (self, subject) {
            (Self::Network | Self::Domain, Subject::Client) => true,
            (Self::Client, Subject::Network | Subject::Domain) => true,
            // An address is asked by its domain.
            (Self::Domain, Subject::Address) => true,
            (kind, subject) => kind.subject() == Some(subject),
        }
    }

    /// What its entries are patterns for; zones are none.
    pub fn subject(self) -> Option<Subject> {
        Some(match self {
            Self::Address => Subject::Address,
            Self::Client => Subject::Client,
            Self::Dnsbl => return None,
            Self::Domain => Subject::Domain,
            Self::Filename => Subject::Filename,
            Self::Header => Subject::Header,
            Self::Network => Subject::Network,
            Self::Text => Subject::Text,
        })
    }
}

/// A list as it stands in a rule file.
#[derive(Clone, Debug)]
pub struct Spec {
    pub name: String,
    pub kind: Kind,
    pub to: Option<To>,
    /// The rule file, for mistakes in what follows.
    pub source: Arc<Source>,
    pub entries: Vec<Given>,
    /// The entries of a list of zones.
    pub sites: Vec<(Site, Place)>,
    /// `[FORMAT:]PATH`.
    pub file: Option<(String, Place)>,
    /// What a path begins at that is not absolute.
    pub base: PathBuf,
    /// Classes: the limits, one text or several, that a word stands for.
    pub named: Vec<(String, Vec<String>, Place)>,
    pub subdomains: bool,
    pub optional: bool,
}

/// An entry in a rule file.
#[derive(Clone, Debug)]
pub struct Given {
    pub text: String,
    pub quoted: bool,
    pub place: Place,
    /// One text or several, and where they begin.
    pub values: Option<(Vec<String>, Place)>,
}

#[derive(Debug)]
pub struct List {
    spec: Spec,
    location: Option<(Location, PathBuf)>,
    content: ArcSwap<Content>,
    /// The file that was last tried, for better or worse.
    tried: Mutex<Option<Stamp>>,
}

/// Entries and values, replaced as a whole.
#[derive(Debug)]
pub(super) struct Content {
    pub set: Set,
    pub values: Vec<Stored>,
    /// Of a list of zones, each zone once.
    pub sites: Arc<[Arc<Site>]>,
}

/// What a look-up found.
#[derive(Clone, Debug)]
pub struct Hit {
    /// As an operator would write it.
    pub entry: String,
    pub value: Option<ListValue>,
    /// Of the entry's expression: by number, and by name where there is one.
    pub captures: Vec<(String, String)>,
}

impl Hit {
    /// What texts may say of it.
    pub fn bind(self, bindings: &mut Vec<(String, String)>) {
        bindings.extend(self.captures);
        bindings.push(("entry".into(), self.entry));
        bindings.extend(self.value.map(|value| ("value".into(), value.to_string())));
    }
}

impl List {
    /// An empty list in place of one that can't be read.
    pub fn stand_in(name: &str, kind: Kind, to: Option<To>, source: Arc<Source>) -> Self {
        let spec = Spec { to, ..Spec::new(name, kind, source) };
        let content = Content {
            set: Set::builder(kind.subject().unwrap_or(Subject::Text)).build(),
            values: Vec::new(),
            sites: Arc::default(),
        };
        Self { spec, location: None, content: ArcSwap::from_pointee(content), tried: Mutex::new(None) }
    }

    /// Reads all entries, or says all that is wrong with them. Reads a file:
    /// not to be called where waiting matters.
    pub fn build(spec: Spec) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let location = load::location_of(&spec, &mut mistakes);
        load::check_classes(&spec, &mut mistakes);
        let loaded = load::load(&spec, location.as_ref());
        mistakes.extend(loaded.mistakes);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let content = ArcSwap::from_pointee(loaded.content);
        Ok(Self { spec, location, content, tried: Mutex::new(loaded.stamp) })
    }

    pub fn name(&self) -> &str {
        &self.spec.name
    }

    pub fn kind(&self) -> Kind {
        self.spec.kind
    }

    pub fn to(&self) -> Option<To> {
        self.spec.to
    }

    /// How many entries there are, for metrics.
    pub fn entries(&self) -> usize {
        match self.spec.kind {
            Kind::Dnsbl => self.content.load().sites.len(),
            _ => self.content.load().set.len(),
        }
    }

    /// Of a list of zones, each zone once.
    pub fn sites(&self) -> Arc<[Arc<Site>]> {
        Arc::clone(&self.content.load().sites)
    }

    /// All entries as an operator would write them, in order; None for more than `most`.
    pub fn texts(&self, most: usize) -> Option<Vec<String>> {
        let content = self.content.load();
        (content.set.len() <= most).then(|| content.set.texts())
    }

    /// The entries that do not come from a file, as written.
    pub fn written(&self) -> impl Iterator<Item = &str> {
        self.spec.entries.iter().map(|entry| entry.text.as_str())
    }

    /// `[FORMAT:]PATH`, where it has one.
    pub fn file(&self) -> Option<&str> {
        self.spec.file.as_ref().map(|(file, _)| file.as_str())
    }

    /// Whether a line of its table says one of these.
    pub fn says(&self, verbs: &[Verb]) -> bool {
        self.content.load().values.iter().any(|stored| match stored {
            Stored::Ready(ListValue::Action(action)) => verbs.contains(&action.verb),
            _ => false,
        })
    }

    /// All limits that its entries give.
    pub fn limits(&self) -> Vec<Arc<Limits>> {
        let limits = |stored: &Stored| match stored {
            Stored::Ready(ListValue::Limits(limits, _)) => Some(Arc::clone(limits)),
            _ => None,
        };
        self.content.load().values.iter().filter_map(limits).collect()
    }

    /// The names of groups that every entry has.
    pub fn capture_names(&self) -> Vec<String> {
        self.content.load().set.capture_names()
    }

    pub fn contains(&self, query: &Query<'_>) -> bool {
        self.content.load().set.contains(query)
    }

    /// The entry that wins.
    pub fn lookup(&self, query: &Query<'_>) -> Option<Hit> {
        let content = self.content.load();
        content.set.find(query).map(|found| content.hit(&found, query))
    }

    /// Of a list `to: parent`, the next name above what is asked about.
    pub fn parent(&self, query: &Query<'_>) -> Option<String> {
        parents::above(&self.content.load(), query).map(|parent| parent.name)
    }

    /// The same of a parent.
    pub fn parent_of_name(&self, name: &str) -> Option<String> {
        parents::above_name(&self.content.load(), name).map(|parent| parent.name)
    }

    /// The entry that wins for a domain or a parent's name.
    pub fn lookup_name(&self, name: &str) -> Option<Hit> {
        let content = self.content.load();
        let asked = parents::as_domain(content.set.subject(), name);
        let query = Query { text: &asked, folded: &asked, ip: None };
        content.set.find(&query).map(|found| content.hit(&found, &query))
    }

    /// All entries that match, the winner first, for who wants it explained.
    pub fn all_hits(&self, query: &Query<'_>) -> Vec<Hit> {
        let content = self.content.load();
        content.set.find_all(query).iter().map(|found| content.hit(found, query)).collect()
    }

    /// Whether the file is another than the one last tried.
    pub fn is_stale(&self) -> bool {
        self.location.as_ref().is_some_and(|(_, path)| Stamp::of(path) != *self.tried.lock())
    }

    /// Reads a changed file again; false if it has not changed. With mistakes
    /// the old entries stay, and the same file is not tried again.
    pub fn reload(&self) -> Result<bool, Vec<Mistake>> {
        let stamp = self.location.as_ref().and_then(|(_, path)| Stamp::of(path));
        if self.location.is_none() || stamp == *self.tried.lock() {
            return Ok(false);
        }
        let loaded = load::load(&self.spec, self.location.as_ref());
        *self.tried.lock() = loaded.stamp.or(stamp);
        if !loaded.mistakes.is_empty() {
            return Err(loaded.mistakes);
        }
        self.content.store(Arc::new(loaded.content));
        Ok(true)
    }
}

impl Content {
    pub(super) fn hit(&self, found: &Found<'_>, query: &Query<'_>) -> Hit {
        let captures = found.captures(query);
        let value = self.values.get(found.tag as usize).map(|stored| stored.value(&captures));
        Hit { entry: found.to_string(), value, captures }
    }
}

impl Spec {
    /// A list without entries, to be filled in.
    pub fn new(name: &str, kind: Kind, source: Arc<Source>) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            to: None,
            source,
            entries: Vec::new(),
            sites: Vec::new(),
            file: None,
            base: PathBuf::new(),
            named: Vec::new(),
            subdomains: false,
            optional: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn given(text: &str, values: &[&str]) -> Given {
        let place = Place { line: 1, col: 1 };
        let values = values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
        let values = Some((values, place)).filter(|(values, _)| !values.is_empty());
        Given { text: text.to_owned(), quoted: false, place, values }
    }

    fn spec(kind: Kind, to: Option<To>, entries: &[(&str, &[&str])]) -> Spec {
        let source = Arc::new(Source { name: "p.yaml".into(), text: "the line".into() });
        let entries = entries.iter().map(|(text, values)| given(text, values)).collect();
        Spec { to, entries, ..Spec::new("x", kind, source) }
    }

    /// A list whose only entries are in a file of this content.
    fn filed(kind: Kind, to: Option<To>, format: &str, content: &str) -> Result<List, Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("f"), content).unwrap();
        let file = Some((format!("{format}f"), Place { line: 1, col: 5 }));
        let spec = Spec { file, base: dir.path().to_owned(), ..spec(kind, to, &[]) };
        List::build(spec).map_err(first_lines)
    }

    fn first_lines(mistakes: Vec<Mistake>) -> Vec<String> {
        mistakes.iter().map(|m| m.to_string().lines().next().unwrap_or_default().to_owned()).collect()
    }

    fn shown(value: &ListValue) -> String {
        match value {
            ListValue::Action(action) => format!("{:?}", action.verb),
            ListValue::Limits(limits, None) => limits.to_string(),
            ListValue::Limits(limits, Some(class)) => format!("{limits} ({class})"),
            ListValue::Parent(text) | ListValue::Text(text) => text.to_string(),
            ListValue::Names(names) => names.texts().collect::<Vec<_>>().join("|"),
            ListValue::None => "none".to_owned(),
            ListValue::Number(number) => number.to_string(),
        }
    }

    /// `entry = value` of what wins.
    fn ask(list: &List, text: &str) -> String {
        let folded = text.to_ascii_lowercase();
        let query = Query { text, folded: &folded, ip: None };
        let hit = list.lookup(&query);
        assert_eq!(list.contains(&query), hit.is_some());
        assert_eq!(list.all_hits(&query).first().map(|hit| &hit.entry), hit.as_ref().map(|hit| &hit.entry));
        let Some(Hit { entry, value, .. }) = hit else {
            return "-".to_owned();
        };
        value.map_or(entry.clone(), |value| format!("{entry} = {}", shown(&value)))
    }

    #[test]
    fn inline_and_file_entries_are_one_set() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("f"), "news@d.test 1000/1h\nuser@d.test 1/1h\nbig@d.test bulk\n").unwrap();
        let entries: &[(&str, &[&str])] =
            &[("user@d.test", &["100/6m"]), ("d.test", &["5/1h", "9/1d"]), ("boss@d.test", &["none"])];
        let list = List::build(Spec {
            file: Some(("texthash:f".to_owned(), Place::default())),
            base: dir.path().to_owned(),
            named: vec![("bulk".to_owned(), vec!["7/1h".to_owned()], Place::default())],
            ..spec(Kind::Address, Some(To::Limits), entries)
        })
        .unwrap();
        for (text, expected) in [
            ("User@d.test", "user@d.test = 100/6m"),
            ("news+x@d.test", "news@d.test = 1000/1h"),
            ("big@d.test", "big@d.test = 7/1h (bulk)"),
            ("other@d.test", "d.test = 5/1h, 9/1d"),
            ("boss@d.test", "boss@d.test = none"),
            ("x@else.test", "-"),
        ] {
            assert_eq!(ask(&list, text), expected, "{text}");
        }
        assert_eq!(list.entries(), 5);
    }

    /// A table's OK lines are no hits to be refused: without `to:` it is no list.
    #[test]
    fn an_access_table_must_say_what_its_lines_mean() {
        let table = "# HELO\n/outbound-mail\\.sendgrid\\.net$/ OK\n/(\\.local)$/ REJECT not ($1)\n";
        let expected = "f:2:33: `f` has right-hand sides: say to: action (or names, limits, number, text)";
        assert_eq!(filed(Kind::Domain, None, "pcre:", table).unwrap_err(), [expected]);
        assert_eq!(
            filed(Kind::Address, None, "", "news@d.test 1000/1h\nb\n").unwrap_err(),
            ["f:1:13: `f` has right-hand sides: say to: action (or names, limits, number, text)"]
        );
        let list = filed(Kind::Domain, Some(To::Action), "pcre:", table).unwrap();
        assert_eq!(ask(&list, "o7.outbound-mail.sendgrid.net"), "/outbound-mail\\.sendgrid\\.net$/ = Accept");
        let hit = list.lookup(&Query { text: "PC.local", folded: "pc.local", ip: None }).unwrap();
        let Some(ListValue::Action(action)) = hit.value else { panic!("an action expected") };
        assert_eq!(action.expand(&hit.captures), "not (.local)");
    }

    #[test]
    fn the_first_line_of_a_table_of_expressions_wins() {
        let table = "if /test$/\n/^a/ REJECT\n!/x/ WARN\nendif\n/^a/ HOLD\n/./ DUNNO\n";
        let list = filed(Kind::Domain, Some(To::Action), "pcre:", table).unwrap();
        for (text, expected) in [
            ("a.test", "/^a/ = Reject"),
            ("b.test", "!/x/ = Warn"),
            ("bx.test", "/./ = Dunno"),
            ("a.example", "/^a/ = Hold"),
        ] {
            assert_eq!(ask(&list, text), expected, "{text}");
        }
    }

    #[test]
    fn the_first_line_of_a_cidr_table_wins() {
        let table = "10.1.0.0/16 a\n10.1.2.3 b\nif 192.0.2.0/24\n!192.0.2.1 c\nendif\n0.0.0.0/0 d\n!10.0.0.0/8 e\n!2001:db8::/32 f\n";
        let list = filed(Kind::Network, Some(To::Text), "cidr:", table).unwrap();
        for (text, expected) in [
            ("10.1.2.3", "10.1.0.0/16 = a"),
            ("192.0.2.9", "!192.0.2.1 = c"),
            ("192.0.2.1", "0.0.0.0/0 = d"),
            ("::1", "!2001:db8::/32 = f"),
            ("2001:db8::1", "-"),
        ] {
            assert_eq!(ask(&list, text), expected, "{text}");
        }
    }

    #[test]
    fn a_postgrey_whitelist_means_what_it_meant() {
        let text = "debian.org\n/^ms-smtp.*\\.rr\\.com$/\n66.216.126.174\n195.235.39\n";
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("f"), text).unwrap();
        let file = Some(("f".to_owned(), Place::default()));
        let base = dir.path().to_owned();
        let entries: &[(&str, &[&str])] = &[("amazon.com", &[])];
        let list =
            List::build(Spec { file, base, subdomains: true, ..spec(Kind::Client, None, entries) }).unwrap();
        for (text, expected) in [
            ("mx.amazon.com", "amazon.com"),
            ("bendel.debian.org", "debian.org"),
            ("ms-smtp-01.RR.com", "/^ms-smtp.*\\.rr\\.com$/"),
            ("66.216.126.174", "66.216.126.174"),
            ("195.235.39.20", "195.235.39.0/24"),
            ("notdebian.org", "-"),
            ("unknown", "-"),
        ] {
            assert_eq!(ask(&list, text), expected, "{text}");
        }
    }

    #[test]
    fn login_maps_are_read_as_they_are() {
        let list = filed(
            Kind::Address,
            Some(To::Names),
            "texthash:",
            "sales@b.test a@b.test, b@b.test\n@c.test c\n",
        )
        .unwrap();
        assert_eq!(ask(&list, "Sales@b.test"), "sales@b.test = a@b.test|b@b.test");
        assert_eq!(ask(&list, "x@c.test"), "c.test = c");
        let list = filed(Kind::Address, Some(To::Names), "pcre:", "/^(.*)@d\\.test$/ $1@b.test\n").unwrap();
        assert_eq!(ask(&list, "bob@d.test"), "/^(.*)@d\\.test$/ = bob@b.test");
    }

    #[test]
    fn all_mistakes_of_a_file_are_told_at_once() {
        let table = "/(a/ OK\n/a(?=b)/ OK\n/a/ RJECT\n/a/ REJECT $1\n!/(a)/ REJECT $1\n/b/\nendif\nif /c/\n";
        assert_eq!(
            filed(Kind::Header, Some(To::Action), "pcre:", table).unwrap_err(),
            [
                "f:1:1: `/(a/` is no pattern: unclosed group",
                "f:2:1: lookahead `(?=` is not supported, for patterns run in linear time: write `/a(?:b)/`",
                "f:3:5: `RJECT` is no action of access(5) or header_checks(5); did you mean `REJECT`?",
                "f:4:1: `$1` is asked for, the pattern has 0 groups",
                "f:5:1: `$1` behind a `!`: what does not match has no groups",
                "f:6:1: no value behind `/b/`",
                "f:7:1: an `endif` without its `if`",
                "f: an `if` has no `endif`",
            ]
        );
    }

    #[test]
    fn mistakes_in_the_rule_file_have_its_places() {
        let text: &[(&str, &[&str])] = &[("a.test", &["x"]), ("A.test", &["y"]), ("b.test", &[])];
        let plain: &[(&str, &[&str])] = &[("office", &[]), ("10.0.0.1", &["x"])];
        let with_file = |kind, to, file: &str| {
            let file = Some((file.to_owned(), Place { line: 1, col: 5 }));
            Spec { file, base: "/nowhere".into(), ..spec(kind, to, &[]) }
        };
        for (spec, expected) in [
            (
                spec(Kind::Domain, Some(To::Text), text),
                vec![
                    "p.yaml:1:1: `A.test` is given twice",
                    "p.yaml:1:1: a value is missing: `b.test: …`, or leave out `to`",
                ],
            ),
            (
                spec(Kind::Network, None, plain),
                vec![
                    "p.yaml:1:1: `office` is not an address or network",
                    "p.yaml:1:1: `10.0.0.1` has a value: say to: limits (or action, names, number, text)",
                ],
            ),
            (
                with_file(Kind::Address, None, "hash:lists/x"),
                vec![
                    "p.yaml:1:5: `hash:` is a compiled table: give `texthash:` and the text it is made from",
                ],
            ),
            (
                with_file(Kind::Address, None, "cidr:x"),
                vec!["p.yaml:1:5: `cidr:` is for a list of network or client, not of address"],
            ),
            (
                with_file(Kind::Address, Some(To::Names), "x"),
                vec!["p.yaml:1:5: a plain file has no values: say `texthash:x`"],
            ),
            (
                with_file(Kind::Address, None, "x"),
                vec!["p.yaml:1:5: there is no file `/nowhere/x`; `optional: true` if there need not be"],
            ),
            (
                with_file(Kind::Address, None, "/dev/null"),
                vec!["p.yaml:1:5: `/dev/null` is not a regular file"],
            ),
        ] {
            assert_eq!(List::build(spec).map_err(first_lines).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_bad_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = Some(("f".to_owned(), Place::default()));
        let base = dir.path().to_owned();
        let list =
            List::build(Spec { file, base, optional: true, ..spec(Kind::Network, None, &[]) }).unwrap();
        assert_eq!((list.entries(), list.is_stale(), list.reload()), (0, false, Ok(false)));
        fs::write(&path, "10.0.0.0/8\n").unwrap();
        assert_eq!((list.is_stale(), list.reload(), list.entries()), (true, Ok(true), 1));
        fs::write(&path, "10.0.0.0/8\nrubbish\n").unwrap();
        assert_eq!(
            first_lines(list.reload().unwrap_err()),
            ["f:2:1: `rubbish` is not an address or network"]
        );
        assert_eq!(
            (list.is_stale(), list.reload(), ask(&list, "10.1.1.1")),
            (false, Ok(false), "10.0.0.0/8".into())
        );
        fs::remove_file(&path).unwrap();
        assert_eq!((list.reload(), list.entries()), (Ok(true), 0));
    }
}
