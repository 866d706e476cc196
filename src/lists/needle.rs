//! What must stand in a text for an expression to match it: of many expressions only
//! those are tried whose needle was found.
//!
//! `/^Subject: .*(casino|poker)/` matches no text that has neither `casino` nor `poker`
//! in it. The expressions are the operator's; the work is proportional to their length,
//! and what is kept of one is bounded below.

use regex_syntax::hir::Class;
use regex_syntax::hir::Hir;
use regex_syntax::hir::HirKind;

/// Shorter ones are found everywhere.
const MIN_BYTES: usize = 3;

/// The rest of a longer one hardly ever tells more.
const MAX_BYTES: usize = 24;

/// Of a class, or of what its neighbours make together.
const MAX_SPELLINGS: usize = 16;

/// Of one expression: `(a|b|c…)` by the hundred is tried on every text instead.
const MAX_NEEDLES: usize = 64;

/// Texts, folded, of which at least one is in whatever the expression matches.
pub(super) type Needles = Vec<String>;

/// Every such set that the expression gives. Empty if it may match texts with nothing
/// in common.
pub(super) fn needles(source: &str) -> Vec<Needles> {
    let Ok(hir) = regex_syntax::parse(source) else {
        return Vec::new();
    };
    let found = Found::of(&hir);
    found.all().filter_map(usable).collect()
}

/// Letters as both cases have them: the two beyond ASCII that an `s` and a `k` also match
/// are theirs.
pub(super) fn fold(c: char) -> char {
    match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    }
}

/// What one piece of an expression says.
#[derive(Default)]
struct Found {
    /// All that it matches, if these are few.
    exact: Option<Vec<String>>,
    /// Sets as above.
    sets: Vec<Vec<String>>,
}

impl Found {
    fn exactly(texts: Vec<String>) -> Self {
        Self { exact: Some(texts), sets: Vec::new() }
    }

    fn all(&self) -> impl Iterator<Item = &[String]> {
        self.exact.iter().chain(&self.sets).map(Vec::as_slice)
    }

    /// The expression nests no deeper than its parser allows.
    fn of(hir: &Hir) -> Self {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => Self::exactly(vec![String::new()]),
            HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
                Ok(text) => Self::exactly(vec![text.chars().map(fold).collect()]),
                Err(_) => Self::default(),
            },
            HirKind::Class(class) => Self { exact: letters(class), sets: Vec::new() },
            HirKind::Capture(capture) => Self::of(&capture.sub),
            HirKind::Repetition(repetition) => {
                let inner = Self::of(&repetition.sub);
                match (repetition.min, repetition.max) {
                    (1, Some(1)) => inner,
                    (0, Some(1)) => Self {
                        exact: inner.exact.map(|mut texts| {
                            texts.push(String::new());
                            texts
                        }),
                        sets: Vec::new(),
                    },
                    (0, _) => Self::default(),
                    _ => Self { exact: None, sets: inner.exact.into_iter().chain(inner.sets).collect() },
                }
            }
            HirKind::Concat(parts) => Self::of_row(parts),
            HirKind::Alternation(branches) => Self::of_branches(branches),
        }
    }

    fn of_row(parts: &[Hir]) -> Self {
        let mut sets = Vec::new();
        // What stands side by side, as long as all its spellings are known.
        let mut row = vec![String::new()];
        let mut is_whole = true;
        for part in parts {
            let mut found = Self::of(part);
            sets.append(&mut found.sets);
            let Some(texts) = found.exact else {
                is_whole = false;
                sets.push(std::mem::replace(&mut row, vec![String::new()]));
                continue;
            };
            let is_long = row.iter().any(|text| text.len() >= MAX_BYTES);
            if is_long || row.len() * texts.len() > MAX_SPELLINGS {
                is_whole = false;
                sets.push(std::mem::take(&mut row));
                row = texts;
                continue;
            }
            row = row
                .iter()
                .flat_map(|before| texts.iter().map(move |text| [&**before, text].concat()))
                .collect();
        }
        if is_whole {
            return Self { exact: Some(row), sets };
        }
        sets.push(row);
        Self { exact: None, sets }
    }

    fn of_branches(branches: &[Hir]) -> Self {
        let found: Vec<_> = branches.iter().map(Self::of).collect();
        let exact: Option<Vec<_>> = found.iter().map(|branch| branch.exact.clone()).collect();
        let exact = exact.map(|texts| texts.concat()).filter(|texts| texts.len() <= MAX_SPELLINGS);
        if exact.is_some() {
            return Self { exact, sets: Vec::new() };
        }
        // One set of each branch makes one of all.
        let best = |branch: &Self| {
            let usable = branch.all().filter_map(usable);
            usable.max_by_key(|set| set.iter().map(String::len).min())
        };
        let sets: Option<Vec<_>> = found.iter().map(best).collect();
        Self { exact, sets: sets.map(|sets| sets.concat()).into_iter().collect() }
    }
}

/// The letters of a class, folded, if they are few.
fn letters(class: &Class) -> Option<Vec<String>> {
    let ranges: Vec<(char, char)> = match class {
        Class::Unicode(class) => class.ranges().iter().map(|range| (range.start(), range.end())).collect(),
        // Beyond ASCII a byte is no letter.
        Class::Bytes(class) if class.is_ascii() => {
            class.ranges().iter().map(|range| (range.start().into(), range.end().into())).collect()
        }
        Class::Bytes(_) => return None,
    };
    let mut letters = Vec::new();
    for letter in ranges.into_iter().flat_map(|(first, last)| first..=last).map(fold) {
        let letter = letter.to_string();
        if !letters.contains(&letter) {
            letters.push(letter);
        }
        if letters.len() > MAX_SPELLINGS {
            return None;
        }
    }
    Some(letters)
}

/// Cut to what is looked for; None if a text that is too short stands for all.
fn usable(set: &[String]) -> Option<Needles> {
    let cut = |text: &String| text.get(..text.floor_char_boundary(MAX_BYTES)).unwrap_or_default().to_owned();
    let mut needles: Vec<_> = set.iter().map(cut).collect();
    needles.sort();
    needles.dedup();
    let fits = !needles.is_empty()
        && needles.len() <= MAX_NEEDLES
        && needles.iter().all(|needle| needle.len() >= MIN_BYTES);
    fits.then_some(needles)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use regex::Regex;

    #[test]
    fn one_of_each_set_is_in_whatever_matches() {
        for (source, expected) in [
            ("(?is)^Subject: .*(casino|Poker)", &[&["subject: "][..], &["casino", "poker"]][..]),
            ("(?i)ab[cd]e", &[&["abce", "abde"]]),
            ("(?i)via?gra", &[&["vigra", "viagra"][..]]),
            ("(?i)(viagra)+", &[&["viagra"]]),
            ("(?i)x*yahoo.com", &[&["yahoo"], &["com"]]),
            ("a|bcd", &[]),
            (".*", &[]),
            ("(?i)ab", &[]),
            ("É{2}x", &[&["É"]]),
            ("[a-z]{3}", &[]),
        ] {
            let mut expected: Vec<Vec<String>> =
                expected.iter().map(|set| set.iter().map(|text| (*text).to_owned()).collect()).collect();
            expected.iter_mut().for_each(|set| set.sort());
            expected.retain(|set| set.iter().all(|text| text.len() >= MIN_BYTES));
            let mut found = needles(source);
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{source}");
        }
    }

    fn piece() -> impl Strategy<Value = String> {
        let texts =
            ["abc", "Bca", "s", "k", "\u{17f}", "É", ".", "[ab]", "[^a]", "\\b", "^", "$", "x?", "(?-i:K)"];
        let leaf = prop::sample::select(texts.to_vec()).prop_map(str::to_owned);
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
                prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| format!("({})", parts.join("|"))),
                (inner, prop::sample::select(vec!["?", "*", "+", "{2}", "{0,2}", "{1,3}"]))
                    .prop_map(|(part, often)| format!("(?:{part}){often}")),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_match_is_missed(body in piece(), text in "[abckKsSE\u{17f}\u{212a}Éx ]{0,24}") {
            let source = format!("(?is){body}");
            let Ok(regex) = Regex::new(&source) else { return Ok(()) };
            let Some(found) = regex.find(&text) else { return Ok(()) };
            let matched: String = found.as_str().chars().map(fold).collect();
            for set in needles(&source) {
                prop_assert!(set.iter().any(|needle| matched.contains(needle.as_str())), "{source} {set:?} {text}");
            }
        }
    }
}
