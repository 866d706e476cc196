//! Lists `to: parent`: whose limits hold a name beside its own. A mailbox belongs to
//! its domain unless an entry is of the mailbox itself; all else, and the domain, to
//! what the list says. Names of parents are the operator's, so a chain that returns
//! to itself or is too long is found when the list is read.

use super::list::Content;
use super::pattern::Query;
use super::pattern::Subject;
use super::value::ListValue;
use super::value::Stored;
use crate::names::Mailbox;
use crate::names::without_extension;
use std::borrow::Cow;
use std::collections::HashMap;

/// Mailbox, domain, department, customer, reseller, and some to spare.
pub const MAX_PARENTS: usize = 8;

/// A name, and the entry that gave it if one did.
pub(super) struct Parent {
    pub name: String,
    pub entry: Option<String>,
}

/// A chain that can't be, and the entries it runs along.
pub(super) struct Trouble {
    pub entries: Vec<String>,
    pub message: String,
}

/// The next name above what is asked about.
pub(super) fn above(content: &Content, query: &Query<'_>) -> Option<Parent> {
    let hit = content.set.find(query).map(|found| content.hit(&found, query));
    let Mailbox { local, domain } = Mailbox::parse(query.folded);
    let domain = domain.filter(|domain| !local.is_empty() && !domain.is_empty());
    match (hit, domain) {
        // An entry for the domain is of its mailboxes only by way of the domain.
        (Some(hit), Some(domain)) if !is_of_mailbox(&hit.entry) => {
            Some(Parent { name: domain.to_owned(), entry: None })
        }
        (None, domain) => domain.map(|domain| Parent { name: domain.to_owned(), entry: None }),
        (Some(hit), _) => match hit.value {
            Some(ListValue::Parent(name)) => {
                Some(Parent { name: (*name).to_owned(), entry: Some(hit.entry) })
            }
            _ => None,
        },
    }
}

/// The same of a name that a list or a mailbox gave.
pub(super) fn above_name(content: &Content, name: &str) -> Option<Parent> {
    let asked = as_domain(content.set.subject(), name);
    above(content, &Query { text: &asked, folded: &asked, ip: None })
}

/// Among addresses a bare name is a login; `@name` is a domain, and below others.
pub(super) fn as_domain(subject: Subject, name: &str) -> Cow<'_, str> {
    match subject {
        Subject::Address if !name.contains('@') => Cow::from(format!("@{name}")),
        _ => Cow::from(name),
    }
}

/// `ann@example.com`, `ann@` or an expression, rather than a domain's name.
fn is_of_mailbox(entry: &str) -> bool {
    entry.contains('@') || entry.starts_with(['/', '!'])
}

/// A parent's name in the form of a key.
pub(super) fn read(text: &str) -> Result<ListValue, String> {
    let folded = text.to_ascii_lowercase();
    if folded.is_empty() || folded.contains(|c: char| c.is_whitespace() || matches!(c, '*' | '$' | '/')) {
        return Err(format!("`{text}` is not the name of a parent: a domain or one word, without patterns"));
    }
    Ok(ListValue::Parent(without_extension(folded.strip_suffix('.').unwrap_or(&folded)).as_ref().into()))
}

/// Follows each parent upwards. What is wrong with a chain is told once.
pub(super) fn troubles(content: &Content) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    // How many are above a name; none of what has been told.
    let mut heights: HashMap<String, usize> = HashMap::new();
    for stored in &content.values {
        let Stored::Ready(ListValue::Parent(parent)) = stored else {
            continue;
        };
        let mut chain = Chain::from(parent);
        let mut height = chain.climb(content, &heights);
        if let Some(circle) = chain.circle() {
            let told = format!("`{}` is its own parent: {}", circle[0], circle.join(" → "));
            troubles.push(Trouble { entries: chain.entries, message: told });
            height = 0;
        } else if height + chain.names.len() >= MAX_PARENTS {
            let told = format!("`{parent}` has {} or more parents above it", MAX_PARENTS - 1);
            troubles.push(Trouble { entries: chain.entries, message: told });
            height = 0;
        }
        for name in chain.names.into_iter().rev() {
            heights.entry(name).or_insert(height);
            height += 1;
        }
    }
    troubles
}

/// Names, each above the one before it, and the entries that said so.
struct Chain {
    names: Vec<String>,
    entries: Vec<String>,
}

impl Chain {
    fn from(name: &str) -> Self {
        Self { names: vec![name.to_owned()], entries: Vec::new() }
    }

    /// Adds what is above, up to what is known; says how many are above that.
    fn climb(&mut self, content: &Content, heights: &HashMap<String, usize>) -> usize {
        while self.names.len() < MAX_PARENTS {
            let name = self.names.last().map(String::as_str).unwrap_or_default();
            if let Some(height) = heights.get(name) {
                return *height;
            }
            let Some(next) = above_name(content, name) else {
                break;
            };
            self.names.push(next.name);
            self.entries.extend(next.entry);
            if self.circle().is_some() {
                break;
            }
        }
        0
    }

    /// From a name to where it stands again.
    fn circle(&self) -> Option<&[String]> {
        let (last, before) = self.names.split_last()?;
        let start = before.iter().position(|name| name == last)?;
        self.names.get(start..)
    }
}

#[cfg(test)]
mod tests {
    use super::super::list::Given;
    use super::super::list::Kind;
    use super::super::list::List;
    use super::super::list::Spec;
    use super::super::value::To;
    use crate::yaml::Place;
    use crate::yaml::Source;
    use std::fs;
    use std::sync::Arc;

    fn spec(kind: Kind, entries: &[(&str, &str)]) -> Spec {
        let source = Arc::new(Source { name: "p.yaml".into(), text: String::new() });
        let place = Place { line: 1, col: 1 };
        let given = |(text, value): &(&str, &str)| Given {
            text: (*text).to_owned(),
            quoted: false,
            place,
            values: Some((vec![(*value).to_owned()], place)),
        };
        let entries = entries.iter().map(given).collect();
        Spec { to: Some(To::Parent), entries, ..Spec::new("owners", kind, source) }
    }

    /// All that is above a name.
    fn above(list: &List, name: &str) -> String {
        let names: Vec<_> =
            std::iter::successors(list.parent_of_name(name), |name| list.parent_of_name(name)).collect();
        names.join(" ")
    }

    #[test]
    fn each_name_has_what_is_above_it() {
        let of_addresses: &[(&str, &str)] = &[
            ("x.test", "acme"),
            (".x.test", "x.test"),
            ("acme", "reseller"),
            ("robot@x.test", "machines"),
            ("postmaster@", "us"),
            ("*-list@x.test", "lists"),
            ("alone@x.test", "none"),
        ];
        let of_clients: &[(&str, &str)] =
            &[("192.0.2.0/24", "acme"), ("192.0.2.7", "none"), ("acme", "reseller"), (".y.test", "acme")];
        for (kind, entries, name, expected) in [
            (Kind::Address, of_addresses, "ann@x.test", "x.test acme reseller"),
            (Kind::Address, of_addresses, "ann@a.b.x.test", "a.b.x.test x.test acme reseller"),
            (Kind::Address, of_addresses, "robot@x.test", "machines"),
            (Kind::Address, of_addresses, "postmaster@y.test", "us"),
            (Kind::Address, of_addresses, "my-list@x.test", "x.test acme reseller"),
            (Kind::Address, of_addresses, "my-list@y.test", "y.test"),
            (Kind::Address, of_addresses, "alone@x.test", ""),
            (Kind::Address, of_addresses, "reseller", ""),
            (Kind::Domain, &[(".x.test", "acme")], "ann@mail.x.test", "mail.x.test acme"),
            (Kind::Text, &[("ann@x.test", "acme")], "ann@x.test", "acme"),
            (Kind::Client, of_clients, "192.0.2.8", "acme reseller"),
            (Kind::Client, of_clients, "192.0.2.7", ""),
            (Kind::Client, of_clients, "mx.y.test", "acme reseller"),
        ] {
            let list = List::build(spec(kind, entries)).unwrap();
            assert_eq!(above(&list, name), expected, "{name}");
        }
    }

    #[test]
    fn a_circle_that_a_changed_file_makes_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "x.test acme\n").unwrap();
        let file = Some(("texthash:f".to_owned(), Place::default()));
        let base = dir.path().to_owned();
        let list = List::build(Spec { file, base, ..spec(Kind::Address, &[("acme", "big")]) }).unwrap();
        fs::write(&path, "x.test acme\nbig  x.test\n").unwrap();
        let told = list.reload().unwrap_err();
        let told: Vec<_> = told.iter().map(|mistake| (mistake.place, mistake.message.as_str())).collect();
        let expected = "`big` is its own parent: big → x.test → acme → big";
        assert_eq!(told, [(Some(Place { line: 1, col: 1 }), expected)]);
        assert_eq!(above(&list, "ann@x.test"), "x.test acme big");
    }
}
