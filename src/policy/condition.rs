//! `when` and `unless`: checks joined by all, any and not.

use crate::checks::AnyCheck;
use crate::checks::Bindings;
use crate::checks::Context;
use crate::checks::Needs;
use crate::checks::REGISTRY;
use crate::checks::Truth;
use crate::facts::Facts;
use crate::lists::List;
use crate::values::Loader;
use crate::values::empty;
use crate::yaml::Entry;
use crate::yaml::Node;
use crate::yaml::Place;
use crate::yaml::Value;

/// A condition as it is asked.
#[derive(Clone, Debug)]
pub enum Condition {
    All(Vec<Self>),
    Any(Vec<Self>),
    Check(Box<AnyCheck>),
    /// None of them: `unless`, `not`.
    NoneOf(Vec<Self>),
}

impl Default for Condition {
    /// Holds for everything.
    fn default() -> Self {
        Self::All(Vec::new())
    }
}

/// Where a part of a condition stands: what counts is asked last, and only if
/// all else lets the rule apply, so it can't stand under another word.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Under {
    Any,
    Guard,
    Not,
    Unless,
    When,
}

/// A condition with the limits found in it, each with its place.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub condition: Condition,
    pub limits: Vec<(AnyCheck, Place)>,
    pub fine: bool,
}

/// Reads the `when` and `unless` of a rule or, with `guard`, of a file.
pub(super) fn read(when: Option<&Node>, unless: Option<&Node>, guard: bool, cx: &mut Loader<'_>) -> Read {
    let mut reader = Reader { limits: Vec::new(), fine: true };
    let mut parts = Vec::new();
    if let Some(node) = when {
        let under = if guard { Under::Guard } else { Under::When };
        for part in reader.checks(node, "when", under, cx) {
            match part {
                // What all must hold is asked in one row.
                Condition::All(inner) => parts.extend(inner),
                part => parts.push(part),
            }
        }
    }
    if let Some(node) = unless {
        let none = reader.checks(node, "unless", Under::Unless, cx);
        if !none.is_empty() {
            parts.push(Condition::NoneOf(none));
        }
    }
    let condition = match <[Condition; 1]>::try_from(parts) {
        Ok([only]) => only,
        Err(parts) => Condition::All(parts),
    };
    Read { condition, limits: reader.limits, fine: reader.fine }
}

struct Reader {
    limits: Vec<(AnyCheck, Place)>,
    fine: bool,
}

impl Reader {
    fn wrong(&mut self, place: Place, message: impl Into<String>, cx: &mut Loader<'_>) {
        cx.mistake(place, message);
        self.fine = false;
    }

    /// `CHECKS`: an item or a list of items, below `word`.
    fn checks(&mut self, node: &Node, word: &str, under: Under, cx: &mut Loader<'_>) -> Vec<Condition> {
        match &node.value {
            Value::Seq(items) if items.is_empty() => {
                self.wrong(node.place, empty(word), cx);
                Vec::new()
            }
            Value::Seq(items) => items.iter().filter_map(|item| self.item(item, under, true, cx)).collect(),
            _ => self.item(node, under, false, cx).into_iter().collect(),
        }
    }

    /// One item; `in_list` when it stands in a list, where a map of several means both.
    fn item(&mut self, node: &Node, under: Under, in_list: bool, cx: &mut Loader<'_>) -> Option<Condition> {
        let entries = match &node.value {
            Value::Map(entries) => entries,
            Value::Scalar(scalar) => {
                let name = scalar.text.clone();
                return self.bare(&name, node, under, cx);
            }
            Value::Seq(_) => {
                self.wrong(node.place, "a list inside a list: say any: or all:", cx);
                return None;
            }
        };
        let word = match under {
            Under::Unless => "unless",
            Under::Not => "not",
            Under::Any => "any",
            Under::Guard | Under::When => "",
        };
        if entries.len() > 1 && !in_list && !word.is_empty() {
            let message = format!(
                "`{word}` with several checks: one list item each if any of them will do, or `- {{…}}` if all must hold"
            );
            self.wrong(node.place, message, cx);
        }
        if entries.is_empty() {
            self.wrong(node.place, "a check is missing here", cx);
        }
        let mut parts: Vec<_> = entries.iter().filter_map(|entry| self.entry(entry, under, cx)).collect();
        match parts.len() {
            0 => None,
            1 => parts.pop(),
            _ => Some(Condition::All(parts)),
        }
    }

    fn entry(&mut self, entry: &Entry, under: Under, cx: &mut Loader<'_>) -> Option<Condition> {
        let inner = |inner: Under| if under == Under::When || under == Under::Guard { inner } else { under };
        match entry.key.as_str() {
            "any" => Some(Condition::Any(self.checks(&entry.value, "any", inner(Under::Any), cx))),
            "all" => {
                // Under `any` or `unless`, a map of several is what `all` is for.
                let parts = match &entry.value.value {
                    Value::Map(entries) => {
                        entries.iter().filter_map(|entry| self.entry(entry, under, cx)).collect()
                    }
                    _ => self.checks(&entry.value, "all", under, cx),
                };
                Some(Condition::All(parts))
            }
            "not" => Some(Condition::NoneOf(self.checks(&entry.value, "not", inner(Under::Not), cx))),
            "when" | "unless" => {
                let message =
                    format!("`{}` stands beside the rule's name, not inside a condition", entry.key);
                self.wrong(entry.key_place, message, cx);
                None
            }
            _ => self.check(entry, under, cx),
        }
    }

    fn check(&mut self, entry: &Entry, under: Under, cx: &mut Loader<'_>) -> Option<Condition> {
        let Some(check) = AnyCheck::parse(entry, cx) else {
            self.fine = false;
            return None;
        };
        if !check.has_memory() {
            return Some(Condition::Check(Box::new(check)));
        }
        let name = check.name();
        let under = match under {
            Under::When => {
                self.limits.push((check, entry.key_place));
                return None;
            }
            Under::Any => "`any`",
            Under::Guard => "a file's `when`",
            Under::Not => "`not`",
            Under::Unless => "`unless`",
        };
        let does = if name == "greylist" { "remembers" } else { "counts" };
        let message = format!(
            "`{name}` {does}, and is asked only if all else lets the rule apply: it can't stand under {under}"
        );
        self.wrong(entry.key_place, message, cx);
        None
    }

    /// A bare word is a yes/no check; all others take a value.
    fn bare(&mut self, name: &str, node: &Node, under: Under, cx: &mut Loader<'_>) -> Option<Condition> {
        let entry = Entry {
            key: name.to_owned(),
            key_quoted: false,
            key_place: node.place,
            value: Node { place: node.place, value: Value::Map(Vec::new()) },
        };
        if REGISTRY.iter().any(|info| info.name == name && info.may_stand_bare) {
            return self.check(&entry, under, cx);
        }
        let before = cx.mistakes.found.len();
        let known = AnyCheck::parse(&entry, cx).is_some();
        if known || cx.mistakes.found.len() == before {
            cx.mistake(node.place, format!("`{name}` needs a value: {{{name}: …}}"));
        }
        self.fine = false;
        None
    }
}

impl Condition {
    pub fn evaluate(&self, cx: &Context<'_>) -> Truth {
        match self {
            Self::Check(check) => check.evaluate(cx),
            Self::All(parts) => all(parts, cx),
            Self::Any(parts) => any(parts, cx),
            Self::NoneOf(parts) => !any(parts, cx),
        }
    }

    pub fn is_empty(&self) -> bool {
        matches!(self, Self::All(parts) if parts.is_empty())
    }

    /// Every check in it, wherever it stands.
    pub fn each_check<'c>(&'c self, visit: &mut dyn FnMut(&'c AnyCheck)) {
        match self {
            Self::Check(check) => visit(check),
            Self::All(parts) | Self::Any(parts) | Self::NoneOf(parts) => {
                parts.iter().for_each(|part| part.each_check(visit));
            }
        }
    }

    /// The same without what must not match.
    pub fn each_positive<'c>(&'c self, visit: &mut dyn FnMut(&'c AnyCheck)) {
        match self {
            Self::Check(check) => visit(check),
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.each_positive(visit)),
            Self::NoneOf(_) => {}
        }
    }

    /// The entries of lists that these facts are in.
    pub fn each_listed(&self, facts: &Facts, see: &mut dyn FnMut(&List, String)) {
        self.each_positive(&mut |check| {
            if let AnyCheck::Fact(check) = check {
                check.each_entry(facts, see);
            }
        });
    }

    pub fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        self.each_check(&mut |check| needs = needs.join(check.needs()));
        needs
    }

    /// The checks that must match for it to hold: not those under any or not.
    pub fn certain(&self) -> Vec<&AnyCheck> {
        match self {
            Self::Check(check) => vec![check],
            Self::All(parts) => parts.iter().flat_map(Self::certain).collect(),
            Self::Any(_) | Self::NoneOf(_) => Vec::new(),
        }
    }

    /// The names it gives to texts: of `any`, only what every branch gives.
    pub fn variables(&self) -> Vec<String> {
        match self {
            Self::Check(check) => check.variables(),
            Self::All(parts) => parts.iter().flat_map(Self::variables).collect(),
            Self::Any(parts) => {
                let mut each = parts.iter().map(Self::variables);
                let first = each.next().unwrap_or_default();
                each.fold(first, |kept, next| kept.into_iter().filter(|name| next.contains(name)).collect())
            }
            Self::NoneOf(_) => Vec::new(),
        }
    }

    /// The values of these, for a match.
    pub fn bind(&self, cx: &Context<'_>, bindings: &mut Bindings) {
        match self {
            Self::Check(check) => check.bind(cx, bindings),
            Self::All(parts) => parts.iter().for_each(|part| part.bind(cx, bindings)),
            Self::Any(parts) => {
                if let Some(part) = parts.iter().find(|part| part.evaluate(cx) == Truth::Match) {
                    part.bind(cx, bindings);
                }
            }
            Self::NoneOf(_) => {}
        }
    }

    /// Why it came to what it did: the parts that decided.
    ///
    /// Where nothing but exceptions were asked and none held, these.
    pub fn because(&self, cx: &Context<'_>) -> String {
        let mut found = Vec::new();
        self.collect_because(cx, &mut found);
        if found.is_empty() {
            self.each_check(&mut |check| found.push(check.because(cx)));
        }
        found.join(", ")
    }

    fn collect_because(&self, cx: &Context<'_>, found: &mut Vec<String>) {
        match self {
            Self::Check(check) => found.push(check.because(cx)),
            Self::All(parts) => {
                let truth = self.evaluate(cx);
                let parts = parts.iter().filter(|part| truth == Truth::Match || part.evaluate(cx) == truth);
                parts.for_each(|part| part.collect_because(cx, found));
            }
            Self::Any(parts) => {
                let truth = self.evaluate(cx);
                let part = parts.iter().find(|part| part.evaluate(cx) == truth);
                part.into_iter().for_each(|part| part.collect_because(cx, found));
            }
            Self::NoneOf(parts) => {
                // What kept it from holding; else there is nothing worth saying.
                let part = parts.iter().find(|part| part.evaluate(cx) != Truth::NoMatch);
                part.into_iter().for_each(|part| part.collect_because(cx, found));
            }
        }
    }
}

fn all(parts: &[Condition], cx: &Context<'_>) -> Truth {
    let mut least = Truth::Match;
    for part in parts {
        least = least.min(part.evaluate(cx));
        if least == Truth::NoMatch {
            break;
        }
    }
    least
}

fn any(parts: &[Condition], cx: &Context<'_>) -> Truth {
    let mut greatest = Truth::NoMatch;
    for part in parts {
        greatest = greatest.max(part.evaluate(cx));
        if greatest == Truth::Match {
            break;
        }
    }
    greatest
}
