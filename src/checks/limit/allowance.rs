//! How much a key is allowed: the same for all, or what a list says of it. Which
//! entry and class decided is found again when somebody wants it explained.

use super::key::Key;
use crate::facts::Facts;
use crate::lists::Hit;
use crate::lists::ListValue;
use crate::lists::Query;
use crate::lists::To;
use crate::state::Limits;
use crate::values::Loader;
use crate::values::Lookup;
use crate::values::query;
use crate::yaml::Node;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub(in crate::checks) enum Allowance {
    Fixed(Arc<Limits>),
    Listed {
        lookup: Lookup,
        otherwise: Option<Arc<Limits>>,
    },
    /// The word `none`.
    Unlimited,
}

impl Allowance {
    pub(in crate::checks) fn parse(node: &Node, cx: &mut Loader<'_>) -> Option<Self> {
        if node.as_word() == Some("none") {
            return Some(Self::Unlimited);
        }
        if Lookup::is_one(node) {
            let lookup = Lookup::parse(node, To::Limits, cx)?;
            let otherwise = match &lookup.otherwise {
                Some(node) if node.as_word() == Some("none") => None,
                Some(node) => Some(limits(node, cx)?),
                None => None,
            };
            return Some(Self::Listed { lookup, otherwise });
        }
        limits(node, cx).map(Self::Fixed)
    }

    pub(in crate::checks) fn lookup(&self) -> Option<&Lookup> {
        match self {
            Self::Listed { lookup, .. } => Some(lookup),
            Self::Fixed(_) | Self::Unlimited => None,
        }
    }

    /// Of a mail with this key; None when it has no limit.
    pub(in crate::checks) fn of(&self, key: &str, parts: &Key, facts: &Facts) -> Option<Arc<Limits>> {
        self.given(|lookup| find(lookup, key, parts, facts))
    }

    /// Of a name from a list.
    pub(in crate::checks) fn of_name(&self, name: &str) -> Option<Arc<Limits>> {
        self.given(|lookup| lookup.list.lookup_name(name))
    }

    fn given(&self, find: impl FnOnce(&Lookup) -> Option<Hit>) -> Option<Arc<Limits>> {
        let (lookup, otherwise) = match self {
            Self::Fixed(limits) => return Some(Arc::clone(limits)),
            Self::Unlimited => return None,
            Self::Listed { lookup, otherwise } => (lookup, otherwise),
        };
        match find(lookup) {
            Some(hit) => match hit.value {
                Some(ListValue::Limits(limits, _)) => Some(limits),
                _ => None,
            },
            None => otherwise.clone(),
        }
    }

    /// Which entry and class decided; nothing where there is no list.
    pub(in crate::checks) fn told(&self, key: &str, parts: &Key, facts: &Facts) -> String {
        self.lookup().map(|lookup| told(lookup, find(lookup, key, parts, facts))).unwrap_or_default()
    }

    pub(in crate::checks) fn told_of_name(&self, name: &str) -> String {
        self.lookup().map(|lookup| told(lookup, lookup.list.lookup_name(name))).unwrap_or_default()
    }

    /// The limits that are written in the rule, or in its list by now.
    pub(in crate::checks) fn known(&self) -> Vec<Arc<Limits>> {
        match self {
            Self::Fixed(limits) => vec![Arc::clone(limits)],
            Self::Listed { lookup, otherwise } => {
                lookup.list.limits().into_iter().chain(otherwise.clone()).collect()
            }
            Self::Unlimited => Vec::new(),
        }
    }
}

fn find(lookup: &Lookup, key: &str, parts: &Key, facts: &Facts) -> Option<Hit> {
    if lookup.of.is_some() {
        return lookup.find(facts);
    }
    // The most telling part of the key: the one of the kind of the list.
    let of_part = parts.parts().iter().find_map(|part| lookup.list.lookup(&query(facts, part.fact)?));
    of_part.or_else(|| lookup.list.lookup(&Query { text: key, folded: key, ip: None }))
}

fn told(lookup: &Lookup, hit: Option<Hit>) -> String {
    let list = lookup.list.name();
    match hit {
        None => format!("no entry in {list}"),
        Some(Hit { entry, value: Some(ListValue::Limits(_, Some(class))), .. }) => {
            format!("class `{class}` of entry `{entry}` in {list}")
        }
        Some(Hit { entry, .. }) => format!("entry `{entry}` in {list}"),
    }
}

fn limits(node: &Node, cx: &mut Loader<'_>) -> Option<Arc<Limits>> {
    let mut fine = true;
    let mut texts = Vec::new();
    for item in cx.some_items(node, "limits")? {
        let text = cx.text(item, "a limit")?;
        if let Err(message) = text.parse::<Limits>() {
            cx.mistake(item.place, message);
            fine = false;
        }
        texts.push(text);
    }
    if !fine {
        return None;
    }
    match texts.join(", ").parse::<Limits>() {
        Ok(limits) => Some(Arc::new(limits)),
        Err(message) => {
            cx.mistake(node.place, message);
            None
        }
    }
}
