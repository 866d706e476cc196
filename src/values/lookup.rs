//! `{list: NAME, of: ATTRIBUTE, else: VALUE}`: a value that a list has for what
//! an attribute says.

use super::Loader;
use crate::facts::Fact;
use crate::facts::Facts;
use crate::lists::Hit;
use crate::lists::List;
use crate::lists::Query;
use crate::lists::To;
use crate::yaml::Node;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct Lookup {
    pub list: Arc<List>,
    /// Left out only where the asker has its own key (limits).
    pub of: Option<Fact>,
    /// The `else:` value, as it is written.
    pub otherwise: Option<Node>,
}

impl Lookup {
    pub fn is_one(node: &Node) -> bool {
        node.get("list").is_some()
    }

    /// Reads it where a value of the type `to` is wanted.
    pub fn parse(node: &Node, to: To, cx: &mut Loader<'_>) -> Option<Self> {
        let entries = node.as_map()?;
        let fine = cx.only_keys(entries, &["list", "of", "else"], "a look-up");
        let name = cx.text(node.get("list")?, "`list`")?;
        let of = match node.get("of") {
            Some(of) => Some(cx.fact(of, "`of`")?),
            None => None,
        };
        let place = node.get("list").map_or(node.place, |list| list.place);
        let list = match cx.lists.get(name) {
            Ok(list) => Arc::clone(list),
            Err(message) => {
                cx.mistake(place, message);
                return None;
            }
        };
        if list.to() != Some(to) {
            let has = match list.to() {
                Some(other) => format!("has {} as values", other.word()),
                None => "has no values".to_owned(),
            };
            cx.mistake(place, format!("`{name}` {has}; say `to: {}` in the list", to.word()));
            return None;
        }
        fine.then(|| Self { list, of, otherwise: node.get("else").cloned() })
    }

    /// The entry for what the attribute says; None when it says nothing or no
    /// entry fits.
    pub fn find(&self, facts: &Facts) -> Option<Hit> {
        self.list.lookup(&query(facts, self.of?)?)
    }
}

/// What a list or pattern is asked about a fact.
pub fn query(facts: &Facts, fact: Fact) -> Option<Query<'_>> {
    // A client is its address and its verified name; either may be all there is.
    let known = facts.both(if fact == Fact::Client { Fact::ClientName } else { fact });
    let ip = facts.ip(fact);
    let (text, folded) = match known {
        Some(both) => both,
        None if fact == Fact::Client && ip.is_some() => ("", ""),
        None => return None,
    };
    Some(Query { text, folded, ip })
}
