//! Which of many expressions may match a text, in one pass over it whatever their
//! number: by the needles that must stand in it, and for those that have none by
//! automata of some dozens each.
//!
//! The expressions are the operator's, the texts strangers'. A text that has a needle in
//! it costs the expression that it belongs to, tried on that text, and no more.

use super::needle::Needles;
use super::needle::fold;
use super::needle::needles;
use aho_corasick::AhoCorasick;
use aho_corasick::AhoCorasickBuilder;
use aho_corasick::AhoCorasickKind;
use regex::RegexSet;
use regex::RegexSetBuilder;
use smallvec::SmallVec;
use std::collections::HashMap;

/// Larger automata exceed the engine's cache and become slow.
const SET_TO: usize = 64;

/// Of one automaton; if it has more, its expressions are tried one by one.
const MAX_SET_BYTES: usize = 32 << 20;

/// Of all needles of a list: up to here the fastest automaton, which takes at most 1 KiB
/// for each byte of them; beyond, one that is half as fast and takes some 16.
const MAX_DENSE_BYTES: usize = 64 << 10;

/// Numbers, one bit each. What a list usually has stands without the heap.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits {
    words: SmallVec<[u64; 32]>,
}

impl Bits {
    pub(super) fn none(count: usize) -> Self {
        Self { words: SmallVec::from_elem(0, count.div_ceil(64)) }
    }

    pub(super) fn all(count: usize) -> Self {
        Self { words: SmallVec::from_elem(u64::MAX, count.div_ceil(64)) }
    }

    pub(super) fn set(&mut self, number: usize) {
        if let Some(word) = self.words.get_mut(number / 64) {
            *word |= 1 << (number % 64);
        }
    }

    pub(super) fn has(&self, number: usize) -> bool {
        self.words.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Those below `count` that are here or there, in order.
    pub(super) fn either(&self, other: &Self, count: usize) -> impl Iterator<Item = usize> {
        let words = self.words.iter().zip(&other.words).enumerate();
        words
            .flat_map(|(at, (one, another))| {
                let mut word = one | another;
                std::iter::from_fn(move || {
                    let bit = word.trailing_zeros() as usize;
                    word &= word.checked_sub(1)?;
                    Some(at * 64 + bit)
                })
            })
            .take_while(move |number| *number < count)
    }
}

/// Expressions by their numbers.
#[derive(Debug)]
pub(super) struct Sieve {
    automaton: Option<AhoCorasick>,
    /// Whose each needle is: from the number in the first to that in the next.
    owners: Vec<u32>,
    starts: Vec<usize>,
    sets: Vec<(RegexSet, Vec<u32>)>,
    /// Neither has said anything of these.
    open: Bits,
}

impl Sieve {
    /// Of expressions as they are compiled, each with its number below `count`.
    pub(super) fn new(count: usize, expressions: &[(usize, &str)]) -> Self {
        let found: Vec<(usize, Vec<Needles>)> =
            expressions.iter().map(|(number, source)| (*number, needles(source))).collect();
        let mut often: HashMap<&str, usize> = HashMap::new();
        for needle in found.iter().flat_map(|(_, sets)| sets.iter().flatten()) {
            *often.entry(needle).or_default() += 1;
        }
        // A needle of many tells little, and so does a field's name, which stands in each
        // line of its kind; a long one tells much.
        let cost = |set: &Needles| -> f64 {
            let each = |needle: &String| {
                let often = often.get(needle.as_str()).copied().unwrap_or(1) as f64;
                let common = if needle.contains(':') { 256.0 } else { 1.0 };
                often * often * common / 4_f64.powi(needle.len().min(8) as i32)
            };
            set.iter().map(each).sum()
        };
        let mut owned: HashMap<&str, Vec<u32>> = HashMap::new();
        let mut others = Vec::new();
        for ((number, sets), (_, source)) in found.iter().zip(expressions) {
            match sets.iter().min_by(|one, other| cost(one).total_cmp(&cost(other))) {
                Some(set) => {
                    set.iter().for_each(|needle| owned.entry(needle).or_default().push(*number as u32))
                }
                None => others.push((*number, *source)),
            }
        }
        let mut sieve = Self {
            automaton: None,
            owners: Vec::new(),
            starts: vec![0],
            sets: Vec::new(),
            open: Bits::none(count),
        };
        sieve.add_needles(owned);
        sieve.add_sets(&others);
        sieve
    }

    fn add_needles(&mut self, owned: HashMap<&str, Vec<u32>>) {
        let mut owned: Vec<_> = owned.into_iter().collect();
        owned.sort();
        let bytes: usize = owned.iter().map(|(needle, _)| needle.len()).sum();
        let kind =
            if bytes <= MAX_DENSE_BYTES { AhoCorasickKind::DFA } else { AhoCorasickKind::ContiguousNFA };
        let automaton = AhoCorasickBuilder::new()
            .ascii_case_insensitive(true)
            .kind(Some(kind))
            .build(owned.iter().map(|(needle, _)| needle))
            .ok();
        for (_, numbers) in &owned {
            match automaton {
                Some(_) => self.owners.extend(numbers),
                None => numbers.iter().for_each(|number| self.open.set(*number as usize)),
            }
            self.starts.push(self.owners.len());
        }
        self.automaton = automaton.filter(|_| !owned.is_empty());
    }

    fn add_sets(&mut self, expressions: &[(usize, &str)]) {
        for some in expressions.chunks(SET_TO) {
            let sources = some.iter().map(|(_, source)| source);
            match RegexSetBuilder::new(sources).size_limit(MAX_SET_BYTES).build() {
                Ok(set) => self.sets.push((set, some.iter().map(|(number, _)| *number as u32).collect())),
                Err(_) => some.iter().for_each(|(number, _)| self.open.set(*number)),
            }
        }
    }

    /// Before any text was looked at: those that must be tried on each.
    pub(super) fn open(&self) -> Bits {
        self.open.clone()
    }

    /// Adds the numbers of those that may match the text.
    pub(super) fn look(&self, text: &str, found: &mut Bits) {
        if let Some(automaton) = &self.automaton {
            let folded: String;
            let has_odd = !text.is_ascii() && text.chars().any(|c| matches!(c, '\u{17f}' | '\u{212a}'));
            let asked = if has_odd {
                folded = text.chars().map(fold).collect();
                &folded
            } else {
                text
            };
            let mut told = Bits::none(self.starts.len());
            for hit in automaton.find_overlapping_iter(asked) {
                let needle = hit.pattern().as_usize();
                // One that stands in the text a thousand times is told once.
                if told.has(needle) {
                    continue;
                }
                told.set(needle);
                let from = self.starts.get(needle).copied().unwrap_or_default();
                let to = self.starts.get(needle + 1).copied().unwrap_or_default();
                for number in self.owners.get(from..to).unwrap_or_default() {
                    found.set(*number as usize);
                }
            }
        }
        for (set, numbers) in &self.sets {
            if set.is_match(text) {
                let hits = set.matches(text);
                hits.iter().filter_map(|at| numbers.get(at)).for_each(|number| found.set(*number as usize));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(sources: &[&str], text: &str) -> Vec<usize> {
        let numbered: Vec<_> = sources.iter().copied().enumerate().collect();
        let sieve = Sieve::new(sources.len(), &numbered);
        let mut bits = sieve.open();
        sieve.look(text, &mut bits);
        bits.either(&Bits::none(sources.len()), sources.len()).collect()
    }

    #[test]
    fn what_may_match_is_told_and_little_else() {
        let sources =
            ["(?is)^Subject: .*casino", "(?is)^Subject: .*poker", "(?i)^[0-9-]+$", "(?i)as\u{e9}?k"];
        for (text, expected) in [
            ("Subject: the Casino and POKER", &[0, 1][..]),
            ("Subject: nothing", &[]),
            ("12-3", &[2]),
            ("casino a\u{17f}\u{212a}", &[0, 3]),
            ("", &[]),
        ] {
            assert_eq!(found(&sources, text), expected, "{text}");
        }
    }

    #[test]
    fn bits_are_those_that_were_set() {
        let mut bits = Bits::none(130);
        let mut others = Bits::none(130);
        [0, 63, 64, 129].into_iter().for_each(|number| bits.set(number));
        others.set(65);
        assert_eq!(bits.either(&others, 130).collect::<Vec<_>>(), [0, 63, 64, 65, 129]);
        assert_eq!(bits.either(&others, 129).collect::<Vec<_>>(), [0, 63, 64, 65]);
        assert!(bits.has(64) && !bits.has(65) && !bits.has(1000));
        assert!(Bits::all(3).has(2));
    }
}
