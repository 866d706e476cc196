//! Texts by their form: `PATTERN`, `[PATTERN…]`, `present`, `absent`, or
//! `{is, in, same_as, within}`, of which any may hold.

use super::Loader;
use super::Lookup;
use crate::facts::Fact;
use crate::facts::Facts;
use crate::facts::Kind as FactKind;
use crate::lists::Hit;
use crate::lists::Kind;
use crate::lists::List;
use crate::lists::ListValue;
use crate::lists::Pattern;
use crate::lists::Query;
use crate::lists::Set;
use crate::lists::Subject;
use crate::lists::To;
use crate::names::is_within;
use crate::names::split_address;
use crate::yaml::Node;
use std::sync::Arc;

/// The options of the map form.
const OPTIONS: [&str; 4] = ["is", "in", "same_as", "within"];

/// A condition on one text.
#[derive(Clone, Debug)]
pub enum TextTest {
    Absent,
    AnyOf(Ways),
    Present,
}

/// Ways of which any may hold.
#[derive(Clone, Debug)]
pub struct Ways {
    each: Vec<Way>,
    /// All of them, where they are patterns and many: found without a look at each.
    index: Option<Arc<Set>>,
}

/// One way in which a text may fit.
#[derive(Clone, Debug)]
pub enum Way {
    Listed(Arc<List>),
    /// With what the asker's value is, for names that are patterns.
    LookedUp(Lookup, Subject),
    Pattern(Pattern),
    SameAs(Fact),
    Within(Fact),
}

impl TextTest {
    /// Reads a value for `name`, which is a text of the given subject.
    pub fn parse(node: &Node, name: &str, subject: Subject, cx: &mut Loader<'_>) -> Option<Self> {
        match node.as_word() {
            Some("present") => return Some(Self::Present),
            Some("absent") => return Some(Self::Absent),
            _ => {}
        }
        let Some(entries) = node.as_map() else {
            return patterns(node, name, subject, cx).map(|ways| Self::AnyOf(Ways::new(ways, subject)));
        };
        let mut fine = cx.only_keys(entries, &OPTIONS, name);
        if entries.is_empty() {
            cx.mistake(node.place, format!("{name} needs a value, or one of is, in, same_as, within"));
            return None;
        }
        let mut ways = Vec::new();
        for entry in entries {
            let found = match entry.key.as_str() {
                "is" if Lookup::is_one(&entry.value) => {
                    looked_up(&entry.value, subject, cx).map(|way| vec![way])
                }
                "is" => patterns(&entry.value, name, subject, cx),
                "in" => listed(&entry.value, subject, cx),
                "same_as" => cx.fact(&entry.value, "`same_as`").map(|fact| vec![Way::SameAs(fact)]),
                "within" => within(&entry.value, cx).map(|fact| vec![Way::Within(fact)]),
                _ => continue,
            };
            match found {
                Some(found) => ways.extend(found),
                None => fine = false,
            }
        }
        fine.then(|| Self::AnyOf(Ways::new(ways, subject)))
    }

    /// Whether the text is in any of these.
    pub fn in_lists(lists: impl IntoIterator<Item = Arc<List>>) -> Self {
        Self::AnyOf(Ways { each: lists.into_iter().map(Way::Listed).collect(), index: None })
    }

    /// `value` is None when nothing is known.
    pub fn matches(&self, value: Option<&Query<'_>>, facts: &Facts) -> bool {
        match self {
            Self::Absent => value.is_none(),
            Self::Present => value.is_some(),
            Self::AnyOf(ways) => value.is_some_and(|value| ways.any_matches(value, facts)),
        }
    }

    /// The first way that fits, for texts and for `explain`.
    pub fn way<'t>(&'t self, value: &Query<'_>, facts: &Facts) -> Option<&'t Way> {
        match self {
            Self::AnyOf(ways) => ways.each.iter().find(|way| way.matches(value, facts)),
            _ => None,
        }
    }

    /// The entry of the first list with such values that has the text.
    pub fn hit(&self, to: To, value: &Query<'_>) -> Option<Hit> {
        self.lists().filter(|list| list.to() == Some(to)).find_map(|list| list.lookup(&as_asked(list, value)))
    }

    /// The names of captures and values that a match gives to texts: only those
    /// that every way gives.
    pub fn variables(&self) -> Vec<String> {
        let Self::AnyOf(ways) = self else {
            return Vec::new();
        };
        let mut each = ways.each.iter().map(Way::variables);
        let first = each.next().unwrap_or_default();
        each.fold(first, |kept, next| kept.into_iter().filter(|name| next.contains(name)).collect())
    }

    /// Which other facts it reads.
    pub fn reads(&self) -> Vec<Fact> {
        let Self::AnyOf(ways) = self else {
            return Vec::new();
        };
        ways.each
            .iter()
            .filter_map(|way| match way {
                Way::SameAs(fact) | Way::Within(fact) => Some(*fact),
                Way::LookedUp(lookup, _) => lookup.of,
                Way::Listed(_) | Way::Pattern(_) => None,
            })
            .collect()
    }

    /// Whether nothing could fit: it asks lists alone, and they are empty for now.
    pub fn is_idle(&self) -> bool {
        let is_empty = |way: &Way| matches!(way, Way::Listed(list) if list.entries() == 0);
        matches!(self, Self::AnyOf(ways) if ways.each.iter().all(is_empty))
    }

    /// The lists it asks, for `as_listed`.
    pub fn lists(&self) -> impl Iterator<Item = &Arc<List>> {
        let ways = match self {
            Self::AnyOf(ways) => ways.each.as_slice(),
            _ => &[],
        };
        ways.iter().filter_map(|way| match way {
            Way::Listed(list) => Some(list),
            _ => None,
        })
    }
}

/// Fewer patterns are asked one by one.
const INDEX_FROM: usize = 4;

impl Ways {
    fn new(each: Vec<Way>, subject: Subject) -> Self {
        let mut index = Set::builder(subject);
        let mut count = 0;
        for way in &each {
            if let Way::Pattern(pattern) = way
                && index.add_pattern(pattern).is_ok()
            {
                count += 1;
            }
        }
        let whole = count == each.len() && count >= INDEX_FROM;
        Self { index: whole.then(|| Arc::new(index.build())), each }
    }

    fn any_matches(&self, value: &Query<'_>, facts: &Facts) -> bool {
        match &self.index {
            Some(index) => index.contains(value),
            None => self.each.iter().any(|way| way.matches(value, facts)),
        }
    }
}

impl Way {
    pub fn matches(&self, value: &Query<'_>, facts: &Facts) -> bool {
        match self {
            Self::Listed(list) => list.contains(&as_asked(list, value)),
            Self::LookedUp(lookup, subject) => lookup.find(facts).is_some_and(|hit| match &hit.value {
                Some(ListValue::Names(names)) => names.matches(*subject, value),
                Some(ListValue::None) => true,
                _ => false,
            }),
            Self::Pattern(pattern) => pattern.matches(value),
            Self::SameAs(fact) => facts.folded(*fact).is_some_and(|other| other == value.folded),
            Self::Within(fact) => facts.folded(*fact).is_some_and(|domain| is_within(value.folded, domain)),
        }
    }

    /// The values of what it gives to texts: an expression its groups, a list
    /// its entry.
    pub fn bind(&self, value: &Query<'_>, bindings: &mut Vec<(String, String)>) {
        match self {
            Self::Pattern(pattern) if pattern.is_regex() => bindings.extend(pattern.captures(value)),
            Self::Listed(list) => {
                if let Some(hit) = list.lookup(&as_asked(list, value)) {
                    hit.bind(bindings);
                }
            }
            _ => {}
        }
    }

    fn variables(&self) -> Vec<String> {
        match self {
            Self::Pattern(pattern) => pattern.capture_names(),
            // {entry} and {value} come with every list.
            Self::Listed(list) => {
                let mut names = list.capture_names();
                names.push("entry".into());
                names.extend(list.to().map(|_| "value".to_owned()));
                names
            }
            Self::LookedUp(..) | Self::SameAs(_) | Self::Within(_) => Vec::new(),
        }
    }

    /// What fitted, in a few words.
    pub fn because(&self, value: &Query<'_>) -> String {
        match self {
            Self::Listed(list) => {
                let entry = list.lookup(&as_asked(list, value)).map(|hit| hit.entry).unwrap_or_default();
                format!("in {} (`{entry}`)", list.name())
            }
            Self::LookedUp(lookup, _) => format!("as list {} says", lookup.list.name()),
            Self::Pattern(pattern) => format!("fits `{}`", pattern.text()),
            Self::SameAs(fact) => format!("is the {}", fact.name()),
            Self::Within(fact) => format!("is within the {}", fact.name()),
        }
    }
}

/// A list of domains is asked about an address's domain.
pub fn as_asked<'q>(list: &List, value: &Query<'q>) -> Query<'q> {
    if list.kind() != Kind::Domain {
        return *value;
    }
    let Some((local, domain)) = split_address(value.text) else {
        return *value;
    };
    // Folded it is as long.
    let folded = value.folded.get(local.len() + 1..).unwrap_or(domain);
    Query { text: domain, folded, ip: value.ip }
}

/// What kind of patterns a fact of this kind takes.
pub fn subject(kind: FactKind) -> Subject {
    match kind {
        FactKind::Address => Subject::Address,
        FactKind::Client => Subject::Client,
        FactKind::Domain => Subject::Domain,
        FactKind::Ip => Subject::Network,
        FactKind::Number | FactKind::Text | FactKind::Words(_) => Subject::Text,
    }
}

fn patterns(node: &Node, name: &str, subject: Subject, cx: &mut Loader<'_>) -> Option<Vec<Way>> {
    let items = cx.some_items(node, name)?;
    let found: Vec<_> = items.iter().map(|item| pattern(item, name, subject, cx)).collect();
    found.into_iter().collect()
}

fn pattern(node: &Node, name: &str, subject: Subject, cx: &mut Loader<'_>) -> Option<Way> {
    let text = cx.text(node, name)?;
    let quoted = node.as_word().is_none();
    if !quoted && matches!(text, "present" | "absent") {
        cx.mistake(node.place, format!("`{text}` stands alone, not among other values"));
        return None;
    }
    let is_list = !quoted && cx.lists.contains(text);
    match Pattern::parse(text, quoted, subject) {
        Ok(_) if is_list => {
            cx.mistake(node.place, format!("`{text}` is a list; a list is named with in: {text}"));
            None
        }
        Ok(pattern) => Some(Way::Pattern(pattern)),
        Err(mut message) => {
            if is_list {
                message += &format!("; a list is named with in: {text}");
            }
            cx.mistake(node.place, message);
            None
        }
    }
}

fn listed(node: &Node, subject: Subject, cx: &mut Loader<'_>) -> Option<Vec<Way>> {
    Some(lists(node, subject, cx)?.into_iter().map(Way::Listed).collect())
}

/// `in:`, a list's name or several.
pub fn lists(node: &Node, subject: Subject, cx: &mut Loader<'_>) -> Option<Vec<Arc<List>>> {
    let items = cx.some_items(node, "in")?;
    let found: Vec<_> = items.iter().map(|item| list(item, subject, cx)).collect();
    found.into_iter().collect()
}

/// A list by its name, which must be one of the subject.
fn list(node: &Node, subject: Subject, cx: &mut Loader<'_>) -> Option<Arc<List>> {
    let name = cx.text(node, "the name of a list")?;
    let list = match cx.lists.get(name) {
        Ok(list) => Arc::clone(list),
        Err(message) => {
            cx.mistake(node.place, message);
            return None;
        }
    };
    if !list.kind().fits(subject) {
        let message = format!("`{name}` is a list of {}, {} expected", list.kind().word(), subject.word());
        cx.mistake(node.place, message);
        return None;
    }
    Some(list)
}

fn looked_up(node: &Node, subject: Subject, cx: &mut Loader<'_>) -> Option<Way> {
    let lookup = Lookup::parse(node, To::Names, cx)?;
    if lookup.of.is_none() {
        cx.mistake(node.place, "a look-up here needs `of: ATTRIBUTE`");
        return None;
    }
    if let Some(otherwise) = &lookup.otherwise {
        cx.mistake(otherwise.place, "a look-up of names has no `else`: what is in no entry does not match");
        return None;
    }
    Some(Way::LookedUp(lookup, subject))
}

fn within(node: &Node, cx: &mut Loader<'_>) -> Option<Fact> {
    let fact = cx.fact(node, "`within`")?;
    if fact.info().kind != FactKind::Domain {
        cx.mistake(
            node.place,
            format!("`{}` is not a domain; `within` asks whether a name is in one", fact.name()),
        );
        return None;
    }
    Some(fact)
}
