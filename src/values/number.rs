//! Numbers: `N`, `[N…]`, `{over, under, at_least, at_most}`; with K, M and G as
//! powers of 1024, and look-ups where a number may stand.

use super::Loader;
use super::Lookup;
use crate::facts::Fact;
use crate::facts::Facts;
use crate::lists::ListValue;
use crate::lists::To;
use crate::quantity::parse_size;
use crate::yaml::Node;

/// A condition on one number. Several bounds must all hold.
#[derive(Clone, Debug)]
pub enum NumberTest {
    OneOf(Vec<f64>),
    Within(Vec<(Relation, Bound)>),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Relation {
    AtLeast,
    AtMost,
    Over,
    Under,
}

#[derive(Clone, Debug)]
pub enum Bound {
    Listed(Lookup, Option<f64>),
    Number(f64),
}

const RELATIONS: &[(&str, Relation)] = &[
    ("over", Relation::Over),
    ("under", Relation::Under),
    ("at_least", Relation::AtLeast),
    ("at_most", Relation::AtMost),
];

impl NumberTest {
    /// The options of the map form.
    pub const OPTIONS: [&'static str; 4] = ["over", "under", "at_least", "at_most"];

    pub fn parse(node: &Node, what: &str, cx: &mut Loader<'_>) -> Option<Self> {
        let Some(entries) = node.as_map() else {
            let items = cx.some_items(node, what)?;
            let numbers: Vec<_> = items.iter().map(|item| number(item, what, cx)).collect();
            return numbers.into_iter().collect::<Option<Vec<_>>>().map(Self::OneOf);
        };
        let fine = cx.only_keys(entries, &Self::OPTIONS, what);
        if entries.is_empty() {
            cx.mistake(
                node.place,
                format!("{what} needs a number, or one of over, under, at_least, at_most"),
            );
            return None;
        }
        let mut bounds = Vec::new();
        for entry in entries {
            let Some(&(_, relation)) = RELATIONS.iter().find(|(word, _)| *word == entry.key) else {
                continue;
            };
            bounds.push((relation, bound(&entry.value, what, cx)?));
        }
        if is_contradiction(&bounds) {
            cx.mistake(node.place, format!("{what} has bounds that exclude each other: no number fits"));
            return None;
        }
        fine.then_some(Self::Within(bounds))
    }

    /// Which facts its bounds are looked up by.
    pub fn reads(&self) -> Vec<Fact> {
        let Self::Within(bounds) = self else {
            return Vec::new();
        };
        let lookup = |bound: &Bound| match bound {
            Bound::Listed(lookup, _) => lookup.of,
            Bound::Number(_) => None,
        };
        bounds.iter().filter_map(|(_, bound)| lookup(bound)).collect()
    }

    pub fn matches(&self, value: f64, facts: &Facts) -> bool {
        match self {
            Self::OneOf(numbers) => numbers.contains(&value),
            Self::Within(bounds) => bounds.iter().all(|(relation, bound)| {
                bound.value(facts).is_some_and(|bound| match relation {
                    Relation::AtLeast => value >= bound,
                    Relation::AtMost => value <= bound,
                    Relation::Over => value > bound,
                    Relation::Under => value < bound,
                })
            }),
        }
    }
}

impl Bound {
    /// None when a list excuses it or has nothing for the key: no bound, no match.
    fn value(&self, facts: &Facts) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Listed(lookup, otherwise) => match lookup.find(facts) {
                Some(hit) => match hit.value {
                    Some(ListValue::Number(number)) => Some(number),
                    _ => None,
                },
                None => *otherwise,
            },
        }
    }
}

/// Whether no number is within bounds that are numbers themselves.
fn is_contradiction(bounds: &[(Relation, Bound)]) -> bool {
    let fixed = |(relation, bound): &(Relation, Bound)| match bound {
        Bound::Number(number) => Some((*relation, *number)),
        Bound::Listed(..) => None,
    };
    let bounds: Vec<_> = bounds.iter().filter_map(fixed).collect();
    bounds.iter().any(|&(low, above)| {
        bounds.iter().any(|&(high, below)| match (low, high) {
            (Relation::AtLeast, Relation::AtMost) => above > below,
            (Relation::AtLeast | Relation::Over, Relation::AtMost | Relation::Under) => above >= below,
            _ => false,
        })
    })
}

fn bound(node: &Node, what: &str, cx: &mut Loader<'_>) -> Option<Bound> {
    if !Lookup::is_one(node) {
        return number(node, what, cx).map(Bound::Number);
    }
    let lookup = Lookup::parse(node, To::Number, cx)?;
    if lookup.of.is_none() {
        cx.mistake(node.place, "a look-up here needs `of: ATTRIBUTE`");
        return None;
    }
    let otherwise = match &lookup.otherwise {
        Some(node) => Some(number(node, "`else`", cx)?),
        None => None,
    };
    Some(Bound::Listed(lookup, otherwise))
}

/// A number with an optional K, M or G; fractions only without.
pub fn number(node: &Node, what: &str, cx: &mut Loader<'_>) -> Option<f64> {
    let text = cx.text(node, what)?;
    let size = parse_size(text).map(|size| size as f64);
    let plain = || text.parse::<f64>().ok().filter(|n| n.is_finite() && !text.contains(['e', 'E']));
    let found = size.or_else(plain);
    if found.is_none() {
        cx.mistake(node.place, format!("`{text}` is not a number such as 10, 2.5 or 5M"));
    }
    found
}
