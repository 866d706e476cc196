//! Patterns that are tried one after another: globs, expressions, and what
//! stands in a Postfix table between `if` and `endif` or behind a `!`.
//!
//! In one pass over the text it is found out which expressions may match at all
//! ([`Sieve`]); only these are tried, in order.

use super::pattern::Form;
use super::pattern::Pattern;
use super::pattern::Query;
use super::pattern::Subject;
use super::pattern::any_text;
use super::sieve::Bits;
use super::sieve::Sieve;
use smallvec::SmallVec;

/// Fewer expressions are tried each for itself.
const SIEVE_FROM: usize = 8;

/// Each costs time to compile and up to megabytes of memory.
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
    /// Knows a rule by its place, a guard by its own behind the last rule.
    sieve: Option<Sieve>,
    /// The rules that may match where no expression does.
    others: Bits,
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
        let patterns =
            self.rules.iter().map(|rule| &rule.pattern).chain(self.guards.iter().map(|it| &it.pattern));
        let sources: Vec<_> =
            patterns.enumerate().filter_map(|(at, pattern)| Some((at, source(pattern)?))).collect();
        if sources.len() >= SIEVE_FROM {
            self.sieve = Some(Sieve::new(self.rules.len() + self.guards.len(), &sources));
        }
        self.others = Bits::none(self.rules.len());
        for (at, rule) in self.rules.iter().enumerate() {
            if rule.negate || !rule.pattern.is_regex() {
                self.others.set(at);
            }
        }
    }

    /// The first that matches of those before `order`.
    pub(super) fn first(&self, subject: Subject, query: &Query<'_>, before: u32) -> Option<&Rule> {
        let asked = self.ask(subject, query);
        let mut open = asked.maybe.either(&self.others, self.rules.len());
        let mut guards = Guards::default();
        loop {
            let at = open.next()?;
            let rule = self.rules.get(at).filter(|rule| rule.order < before)?;
            if self.guard_holds(rule.guard, &asked, &mut guards)
                && asked.holds(at, &rule.pattern, rule.negate)
            {
                return Some(rule);
            }
        }
    }

    /// All that match, in order.
    pub(super) fn all(&self, subject: Subject, query: &Query<'_>) -> impl Iterator<Item = &Rule> {
        let asked = self.ask(subject, query);
        let mut guards = Guards::default();
        self.rules
            .iter()
            .enumerate()
            .filter(move |(at, rule)| {
                self.guard_holds(rule.guard, &asked, &mut guards)
                    && asked.holds(*at, &rule.pattern, rule.negate)
            })
            .map(|(_, rule)| rule)
    }

    fn ask<'q>(&self, subject: Subject, query: &'q Query<'q>) -> Asked<'q> {
        let maybe = match &self.sieve {
            Some(sieve) => {
                let mut maybe = sieve.open();
                any_text(subject, query, |text| {
                    sieve.look(text, &mut maybe);
                    false
                });
                maybe
            }
            None => Bits::all(self.rules.len() + self.guards.len()),
        };
        Asked { query, maybe }
    }

    /// Whether all the `if`s around a rule hold. Ends, as parents have lower indexes.
    fn guard_holds(&self, guard: Option<u32>, asked: &Asked<'_>, known: &mut Guards) -> bool {
        let mut next = guard.map(|index| index as usize);
        while let Some(index) = next {
            let Some(guard) = self.guards.get(index) else {
                return false;
            };
            if known.is_empty() {
                known.resize(self.guards.len(), None);
            }
            let fresh = || asked.holds(self.rules.len() + index, &guard.pattern, guard.negate);
            let holds = known.get_mut(index).is_some_and(|known| *known.get_or_insert_with(fresh));
            if !holds {
                return false;
            }
            next = guard.parent.map(|index| index as usize);
        }
        true
    }
}

/// What each `if` has come to for one question.
type Guards = SmallVec<[Option<bool>; 32]>;

/// One question, and which expressions may match it.
struct Asked<'q> {
    query: &'q Query<'q>,
    maybe: Bits,
}

impl Asked<'_> {
    fn holds(&self, number: usize, pattern: &Pattern, negate: bool) -> bool {
        if pattern.is_regex() && !self.maybe.has(number) {
            return negate;
        }
        holds(pattern, negate, self.query)
    }
}

fn source(pattern: &Pattern) -> Option<&str> {
    match pattern.form() {
        Form::Regex(expression) => Some(&expression.source),
        _ => None,
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
        assert_eq!(first, ordered.all(Subject::Domain, &query).next().map(|rule| rule.order), "{text}");
        first
    }

    #[test]
    fn the_first_line_wins_of_many() {
        let texts: Vec<String> = (0..200).map(|n| format!("/^x{n}[0-9]*$/")).collect();
        let lines: Vec<_> = texts.iter().map(|text| (text.as_str(), false, None)).collect();
        let many = ordered(&lines, &[]);
        assert!(many.sieve.is_some());
        for (text, expected) in [("x1999", Some(1)), ("x7", Some(7)), ("y", None), ("x", None)] {
            assert_eq!(first(&many, text), expected, "{text}");
        }
    }

    /// Whether or not there are so many that a sieve is made.
    #[test]
    fn what_is_turned_round_matches_what_has_nothing_of_it() {
        for filler in [0, 20] {
            let texts: Vec<String> = (0..filler).map(|n| format!("/needle{n}/")).collect();
            let mut lines: Vec<_> = texts.iter().map(|text| (text.as_str(), false, None)).collect();
            lines.extend([("/\\.example$/", true, Some(0)), ("/^mail/", false, None)]);
            let table = ordered(&lines, &[("/^[a-z]+\\.test/", true, None)]);
            for (text, expected) in [
                ("x.test", None),
                ("mail.test", Some(filler + 1)),
                ("mail.example", Some(filler + 1)),
                ("x1.org", Some(filler)),
                ("x1.example", None),
            ] {
                assert_eq!(first(&table, text), expected, "{filler} {text}");
            }
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
