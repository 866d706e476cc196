//! What need not be found out twice: answers that hold for a connection or a
//! message, kept from request to request, and those that hold for one request,
//! whichever world asks.

use crate::checks::Truth;
use std::cell::Cell;

/// The answers of the rules of one connection or message, two bits each. The
/// first 64 rules need no memory of their own: a session is made for every mail.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    first: u128,
    more: Vec<u128>,
}

const PER_WORD: usize = 64;

impl Asked {
    /// None: the rule has not been asked.
    pub(super) fn get(&self, rule: u32) -> Option<Truth> {
        let (word, shift) = place(rule);
        let bits = if word == 0 { self.first } else { self.more.get(word - 1).copied().unwrap_or_default() };
        match (bits >> shift) & 3 {
            1 => Some(Truth::NoMatch),
            2 => Some(Truth::Unknown),
            3 => Some(Truth::Match),
            _ => None,
        }
    }

    pub(super) fn set(&mut self, rule: u32, truth: Truth) {
        let (word, shift) = place(rule);
        if word > self.more.len() {
            self.more.resize(word, 0);
        }
        let bits = match word.checked_sub(1).and_then(|index| self.more.get_mut(index)) {
            Some(bits) => bits,
            None => &mut self.first,
        };
        *bits = (*bits & !(3 << shift)) | (code(truth) << shift);
    }
}

fn place(rule: u32) -> (usize, u32) {
    let rule = rule as usize;
    (rule / PER_WORD, (rule % PER_WORD) as u32 * 2)
}

fn code(truth: Truth) -> u128 {
    match truth {
        Truth::NoMatch => 1,
        Truth::Unknown => 2,
        Truth::Match => 3,
    }
}

/// Conditions that read neither tags nor points come to the same in both worlds
/// and in every pass of one decision.
#[derive(Debug)]
pub(super) struct Once {
    conditions: Vec<Cell<u8>>,
    guards: Vec<Cell<u8>>,
}

impl Once {
    pub(super) fn new(rules: usize, files: usize) -> Self {
        Self { conditions: vec![Cell::new(0); rules], guards: vec![Cell::new(0); files] }
    }

    /// A rule's own condition.
    pub(super) fn condition(&self, rule: u32, evaluate: impl FnOnce() -> Truth) -> Truth {
        once(self.conditions.get(rule as usize), evaluate)
    }

    /// A file's guard.
    pub(super) fn guard(&self, file: usize, evaluate: impl FnOnce() -> Truth) -> Truth {
        once(self.guards.get(file), evaluate)
    }
}

fn once(kept: Option<&Cell<u8>>, evaluate: impl FnOnce() -> Truth) -> Truth {
    let known = match kept.map(Cell::get) {
        Some(1) => Some(Truth::NoMatch),
        Some(2) => Some(Truth::Unknown),
        Some(3) => Some(Truth::Match),
        _ => None,
    };
    known.unwrap_or_else(|| {
        let truth = evaluate();
        if let Some(kept) = kept {
            kept.set(code(truth) as u8);
        }
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
        let once = Once::new(1, 1);
        assert_eq!(once.condition(0, || Truth::Match), Truth::Match);
        assert_eq!(once.condition(0, || unreachable!()), Truth::Match);
        assert_eq!(once.guard(0, || Truth::NoMatch), Truth::NoMatch);
        assert_eq!(once.guard(9, || Truth::Unknown), Truth::Unknown);
    }
}
