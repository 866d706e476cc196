//! What need not be found out twice: answers that hold for a connection or a
//! message, kept from request to request, and those that hold for one request,
//! whichever world asks.

use crate::checks::Truth;
use crate::facts::Fact;
use crate::facts::Listed;
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
#[derive(Debug, Default)]
pub(super) struct Once {
    /// In each world; by attribute.
    pub(super) listed: [Vec<(Fact, Listed)>; 2],
    conditions: RefCell<Asked>,
    guards: RefCell<Asked>,
}

impl Once {
    /// A rule's own condition.
    pub(super) fn condition(&self, rule: u32, evaluate: impl FnOnce() -> Truth) -> Truth {
        once(&self.conditions, rule, evaluate)
    }

    /// A file's guard.
    pub(super) fn guard(&self, file: usize, evaluate: impl FnOnce() -> Truth) -> Truth {
        match u32::try_from(file) {
            Ok(file) => once(&self.guards, file, evaluate),
            Err(_) => evaluate(),
        }
    }
}

fn once(kept: &RefCell<Asked>, number: u32, evaluate: impl FnOnce() -> Truth) -> Truth {
    let known = kept.borrow().get(number);
    known.unwrap_or_else(|| {
        let truth = evaluate();
        kept.borrow_mut().set(number, truth);
        truth
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let once = Once::default();
        assert_eq!(once.condition(0, || Truth::Match), Truth::Match);
        assert_eq!(once.condition(0, || unreachable!()), Truth::Match);
        assert_eq!(once.guard(0, || Truth::NoMatch), Truth::NoMatch);
        assert_eq!(once.guard(9, || Truth::Unknown), Truth::Unknown);
    }
}
