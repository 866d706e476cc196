//! What a part of a rule may see and say while it is read: the mistakes of its
//! file, the lists and the tags of the policy.

use crate::facts::Fact;
use crate::facts::TagId;
use crate::lists::Registry;
use crate::near::did_you_mean;
use crate::yaml::Entry;
use crate::yaml::Mistakes;
use crate::yaml::Node;
use crate::yaml::Place;

/// Passed down while one file is read.
#[derive(Debug)]
pub struct Loader<'a> {
    pub mistakes: &'a mut Mistakes,
    pub lists: &'a Registry,
    /// The names of all tags of the policy, by their number.
    pub tags: &'a mut Vec<String>,
}

impl Loader<'_> {
    pub fn mistake(&mut self, place: Place, message: impl Into<String>) {
        self.mistakes.add(place, message);
    }

    /// A tag's number, given out when it is first named.
    pub fn tag(&mut self, name: &str) -> TagId {
        let at = self.tags.iter().position(|known| known == name).unwrap_or_else(|| {
            self.tags.push(name.to_owned());
            self.tags.len() - 1
        });
        TagId::try_from(at).unwrap_or(TagId::MAX)
    }

    /// The items of a list, or the one that stands for it; a mistake when there
    /// are none: nothing would match, or everything.
    pub fn some_items<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        let items = node.items();
        if items.is_empty() {
            self.mistake(node.place, empty(what));
            return None;
        }
        Some(items)
    }

    /// The text of a scalar; a mistake when it is a list or a map.
    pub fn text<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        let text = node.as_text();
        if text.is_none() {
            self.mistake(node.place, format!("{what} is a text, not {}", node.form()));
        }
        text
    }

    /// A free text, which must not have lost its end to a comment.
    pub fn whole_text<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        let scalar = node.as_scalar();
        if scalar.is_some_and(|scalar| scalar.cut) {
            self.mistake(node.place, "the text is cut at ` #`: quote it");
        }
        self.text(node, what)
    }

    /// A word that stands in logs and texts as it is.
    pub fn word<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        let text = self.text(node, what)?;
        if !is_word(text) {
            let message = format!("`{text}` is not {what}: up to 64 letters, digits, `_`, `-` and `.`");
            self.mistake(node.place, message);
            return None;
        }
        Some(text)
    }

    /// The fact that a value names, where it is to tell one from another.
    pub fn key_fact(&mut self, node: &Node) -> Option<Fact> {
        let fact = self.fact(node, "`key`")?;
        if fact == Fact::Client {
            self.mistake(node.place, "`client` is several things at once: say client_address or client_name");
            return None;
        }
        Some(fact)
    }

    /// The fact that a value names.
    pub fn fact(&mut self, node: &Node, what: &str) -> Option<Fact> {
        let name = self.text(node, what)?;
        let fact = Fact::named(name);
        if fact.is_none() {
            let hint = did_you_mean(name, Fact::all().map(Fact::name));
            self.mistake(node.place, format!("no attribute `{name}`{hint}"));
        }
        fact
    }

    /// A mistake for each key that is not among `known`; true when all are.
    pub fn only_keys(&mut self, entries: &[Entry], known: &[&str], of: &str) -> bool {
        let mut all = true;
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let hint = did_you_mean(&entry.key, known.iter().copied());
            self.mistake(entry.key_place, format!("unknown option `{}` of {of}{hint}", entry.key));
            all = false;
        }
        all
    }
}

/// A name or a reason: up to 64 letters, digits, `_`, `-` and `.`.
pub fn is_word(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    (1..=64).contains(&text.len()) && text.bytes().all(plain)
}

/// What is said of a list with nothing in it.
pub fn empty(what: &str) -> String {
    format!("`{what}` has an empty list: give it a value, or leave it out")
}
