//! Patterns that are tried one after another: globs, expressions, and what
//! stands in a Postfix table between `if` and `endif` or behind a `!`.
//!
//! Expressions in a row are first asked together, in one pass over the text;
//! only if one of them matches is it looked for which.

use super::pattern::Form;
use super::pattern::Pattern;
use super::pattern::Query;
use super::pattern::Subject;
use super::pattern::any_text;
use regex::RegexSet;
use regex::RegexSetBuilder;

/// From so many on, one automaton for all is faster than each for itself.
const SET_FROM: usize = 8;

/// Larger automata exceed the engine's cache and become slow.
const SET_TO: usize = 64;

/// Of one automaton; if it has more, its expressions are tried one by one.
const MAX_SET_BYTES: usize = 32 << 20;

/// Each costs time in every look-up and up to megabytes of memory.
pub(super) const MAX_RULES: usize = 10_000;

/// A pattern in its place.
#[derive(Debug)]
pub(super) struct Rule {
    pub order: u32,
    pub tag: u32,
    /// It matches what its pattern does not.
    pub negate: bool,
    /// The innermost `if` around it.
    pub guard: Option<u32>,
    pub pattern: Pattern,
}

impl Rule {
    fn matches(&self, query: &Query<'_>) -> bool {
        holds(&self.pattern, self.negate, query)
    }
}

/// An `if`; the one around it is named by its index, which is lower than its own.
#[derive(Debug)]
pub struct Guard {
    pub negate: bool,
    pub parent: Option<u32>,
    pub pattern: Pattern,
}

#[derive(Debug, Default)]
pub(super) struct Ordered {
    guards: Vec<Guard>,
    rules: Vec<Rule>,
    runs: Vec<Run>,
}

/// Neighbours with the same guard; with `set`, non-negated expressions only.
#[derive(Debug)]
struct Run {
    from: usize,
    to: usize,
    guard: Option<u32>,
    set: Option<RegexSet>,
}

impl Ordered {
    pub(super) fn count(&self) -> usize {
        self.rules.len()
    }

    pub(super) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The index for [`Rule::guard`] and [`Guard::parent`]. None if there are too many.
    pub(super) fn add_guard(&mut self, guard: Guard) -> Option<u32> {
        let index = u32::try_from(self.guards.len()).ok().filter(|_| self.guards.len() < MAX_RULES)?;
        self.guards.push(guard);
        Some(index)
    }

    /// False if there are too many.
    pub(super) fn add(&mut self, rule: Rule) -> bool {
        if self.rules.len() >= MAX_RULES {
            return false;
        }
        self.rules.push(rule);
        true
    }

    /// To be called when all rules are there.
    pub(super) fn finish(&mut self) {
        let mut from = 0;
        while let Some(first) = self.rules.get(from) {
            let together = in_a_set(first);
            let rest = self.rules.get(from..).unwrap_or_default();
            let len = rest
                .iter()
                .take(if together { SET_TO } else { usize::MAX })
                .take_while(|rule| rule.guard == first.guard && in_a_set(rule) == together)
                .count();
            let run = rest.get(..len).unwrap_or_default();
            let set = if together && len >= SET_FROM { set_of(run) } else { None };
            self.runs.push(Run { from, to: from + len, guard: first.guard, set });
            from += len;
        }
    }

    /// The first that matches of those before `order`.
    pub(super) fn first(&self, subject: Subject, query: &Query<'_>, before: u32) -> Option<&Rule> {
        let mut last_guard = (None, true);
        for run in &self.runs {
            let rules = self.rules.get(run.from..run.to).unwrap_or_default();
            if rules.first().is_none_or(|rule| rule.order >= before) {
                return None;
            }
            if last_guard.0 != run.guard {
                last_guard = (run.guard, self.guard_holds(run.guard, query));
            }
            let nothing =
                run.set.as_ref().is_some_and(|set| !any_text(subject, query, |text| set.is_match(text)));
            if !last_guard.1 || nothing {
                continue;
            }
            if let Some(rule) = rules.iter().find(|rule| rule.matches(query)) {
                return Some(rule).filter(|rule| rule.order < before);
            }
        }
        None
    }

    /// All that match, in order.
    pub(super) fn all(&self, query: &Query<'_>) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(move |rule| self.guard_holds(rule.guard, query) && rule.matches(query))
    }

    /// Whether all the `if`s around a rule hold. Ends, as parents have lower indexes.
    fn guard_holds(&self, guard: Option<u32>, query: &Query<'_>) -> bool {
        let mut next = guard;
        while let Some(guard) = next.and_then(|index| self.guards.get(index as usize)) {
            if !holds(&guard.pattern, guard.negate, query) {
                return false;
            }
            next = guard.parent;
        }
        true
    }
}

/// As in cidr_table(5), an address is not outside of a network of the other
/// family, and a client without an address is neither inside nor outside.
fn holds(pattern: &Pattern, negate: bool, query: &Query<'_>) -> bool {
    match pattern.form() {
        Form::Network(network) if negate => query
            .address()
            .is_some_and(|ip| ip.is_ipv4() == network.addr().is_ipv4() && !network.contains(&ip)),
        _ => pattern.matches(query) != negate,
    }
}

fn in_a_set(rule: &Rule) -> bool {
    !rule.negate && rule.pattern.is_regex()
}

fn set_of(run: &[Rule]) -> Option<RegexSet> {
    let sources = run.iter().filter_map(|rule| match rule.pattern.form() {
        Form::Regex(expression) => Some(&expression.source),
        _ => None,
    });
    RegexSetBuilder::new(sources).size_limit(MAX_SET_BYTES).build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(lines: &[(&str, bool, Option<u32>)], guards: &[(&str, bool, Option<u32>)]) -> Ordered {
        let parse = |text: &str| Pattern::parse(text, true, Subject::Domain).unwrap();
        let mut ordered = Ordered::default();
        for (text, negate, parent) in guards {
            ordered.add_guard(Guard { negate: *negate, parent: *parent, pattern: parse(text) });
        }
        for (order, (text, negate, guard)) in lines.iter().enumerate() {
            let order = order as u32;
            ordered.add(Rule { order, tag: 0, negate: *negate, guard: *guard, pattern: parse(text) });
        }
        ordered.finish();
        ordered
    }

    fn first(ordered: &Ordered, text: &str) -> Option<u32> {
        let query = Query { text, folded: text, ip: None };
        let first = ordered.first(Subject::Domain, &query, u32::MAX).map(|rule| rule.order);
        assert_eq!(first, ordered.all(&query).next().map(|rule| rule.order), "{text}");
        first
    }

    #[test]
    fn the_first_line_wins_alone_and_in_sets() {
        let texts: Vec<String> = (0..200).map(|n| format!("/^x{n}[0-9]*$/")).collect();
        let lines: Vec<_> = texts.iter().map(|text| (text.as_str(), false, None)).collect();
        let many = ordered(&lines, &[]);
        assert!(many.runs.iter().all(|run| run.set.is_some()));
        for (text, expected) in [("x1999", Some(1)), ("x7", Some(7)), ("y", None), ("x", None)] {
            assert_eq!(first(&many, text), expected, "{text}");
        }
    }

    #[test]
    fn conditions_nest_and_turn_round() {
        let table = ordered(
            &[("/a/", false, Some(1)), ("/b/", true, Some(0)), ("/./", false, None)],
            &[("/example/", false, None), ("/^mx/", true, Some(0))],
        );
        for (text, expected) in [
            ("a.example", Some(0)),
            ("mxa.example", Some(1)),
            ("mxb.example", Some(2)),
            ("a.test", Some(2)),
            ("", None),
        ] {
            assert_eq!(first(&table, text), expected, "{text}");
        }
    }
}
