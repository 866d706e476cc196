//! What need not be found out twice: answers that hold for a connection or a
//! message, kept from request to request, and those that hold for one request,
//! whichever world asks.

use crate::checks::Truth;
use crate::facts::Fact;
use crate::facts::Listed;
use crate::lookup::Lookup;
use crate::lookup::Lookups;
use std::cell::RefCell;

/// The answers of the rules of one connection or message, two bits each. The
/// first 64 rules need no memory of their own: a session is made for every mail.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    first: [u64; FIRST],
    more: Vec<u64>,
}

const FIRST: usize = 2;

const PER_WORD: u32 = 32;

impl Asked {
    /// None: the rule has not been asked.
    pub(super) fn get(&self, rule: u32) -> Option<Truth> {
        let (word, shift) = place(rule);
        let bits = match self.first.get(word) {
            Some(bits) => *bits,
            None => self.more.get(word - FIRST).copied().unwrap_or_default(),
        };
        match (bits >> shift) & 3 {
            1 => Some(Truth::NoMatch),
            2 => Some(Truth::Unknown),
            3 => Some(Truth::Match),
            _ => None,
        }
    }

    pub(super) fn set(&mut self, rule: u32, truth: Truth) {
        let (word, shift) = place(rule);
        let bits = match self.first.get_mut(word) {
            Some(bits) => bits,
            None => {
                let word = word - FIRST;
                if word >= self.more.len() {
                    self.more.resize(word + 1, 0);
                }
                &mut self.more[word]
            }
        };
        let code = match truth {
            Truth::NoMatch => 1,
            Truth::Unknown => 2,
            Truth::Match => 3,
        };
        *bits = (*bits & !(3 << shift)) | (code << shift);
    }
}

fn place(rule: u32) -> (usize, u32) {
    ((rule / PER_WORD) as usize, rule % PER_WORD * 2)
}

/// Conditions that read neither tags nor points come to the same in both worlds
/// and in every pass of one decision.
#[derive(Debug)]
pub(super) struct Once<'a> {
    /// In each world; by attribute.
    pub(super) listed: [Vec<(Fact, Listed)>; 2],
    pub(super) lookups: Lookups<'a>,
    /// What was found out of who vouches for the mail: by which method, and the result.
    pub(super) told: Vec<(&'static str, &'static str)>,
    conditions: RefCell<Asked>,
    guards: RefCell<Asked>,
}

impl<'a> Once<'a> {
    pub(super) fn new(lookups: Lookups<'a>) -> Self {
        Self {
            lookups,
            listed: Default::default(),
            told: Vec::new(),
            conditions: RefCell::default(),
            guards: RefCell::default(),
        }
    }

    /// A rule's own condition.
    pub(super) fn condition(&self, rule: u32, evaluate: impl FnOnce() -> For) -> For {
        once(&self.conditions, rule, evaluate)
    }

    /// A file's guard.
    pub(super) fn guard(&self, file: usize, evaluate: impl FnOnce() -> For) -> For {
        match u32::try_from(file) {
            Ok(file) => once(&self.guards, file, evaluate),
            Err(_) => evaluate(),
        }
    }

    /// What may miss an answer of the world.
    pub(super) fn watched(&self, evaluate: impl FnOnce() -> Truth) -> For {
        match self.lookups.watch(evaluate) {
            (Truth::Unknown, missed) if !missed.is_empty() => For::Now(missed),
            (truth, _) => For::Good(truth),
        }
    }
}

fn once(kept: &RefCell<Asked>, number: u32, evaluate: impl FnOnce() -> For) -> For {
    let known = kept.borrow().get(number);
    if let Some(known) = known {
        return For::Good(known);
    }
    let came_to = evaluate();
    if let For::Good(truth) = came_to {
        kept.borrow_mut().set(number, truth);
    }
    came_to
}

/// What a condition came to, and for how long.
#[derive(Debug, PartialEq)]
pub(super) enum For {
    Good(Truth),
    /// Unknown until these are found out.
    Now(Vec<Lookup>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Resolver;
    use crate::lookup::Findings;

    #[test]
    fn answers_are_kept_for_any_number_of_rules() {
        let mut asked = Asked::default();
        for rule in [0, 1, 63, 64, 130, 1_000] {
            assert_eq!(asked.get(rule), None);
            for truth in [Truth::Match, Truth::NoMatch, Truth::Unknown] {
                asked.set(rule, truth);
                assert_eq!(asked.get(rule), Some(truth), "{rule}");
            }
        }
        assert_eq!(asked.get(2), None);
    }

    #[test]
    fn a_condition_is_evaluated_once() {
        let resolver = Resolver::default();
        let once = Once::new(Lookups::new(&resolver, &[], Findings::default()));
        assert_eq!(once.condition(0, || For::Good(Truth::Match)), For::Good(Truth::Match));
        assert_eq!(once.condition(0, || unreachable!()), For::Good(Truth::Match));
        assert_eq!(once.guard(0, || For::Good(Truth::NoMatch)), For::Good(Truth::NoMatch));
        assert_eq!(once.guard(9, || For::Good(Truth::Unknown)), For::Good(Truth::Unknown));
    }
}
