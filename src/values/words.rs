//! Words from a closed set: `direction: outbound`, `[inbound, bounce]`, `present`.

use super::Loader;
use crate::near::did_you_mean;
use crate::yaml::Node;

/// A condition on a word.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum WordTest {
    Absent,
    OneOf(Vec<&'static str>),
    Present,
}

impl WordTest {
    pub fn parse(
        node: &Node,
        name: &str,
        words: &'static [&'static str],
        cx: &mut Loader<'_>,
    ) -> Option<Self> {
        match node.as_word() {
            Some("present") => return Some(Self::Present),
            Some("absent") => return Some(Self::Absent),
            _ => {}
        }
        let node = match node.as_map() {
            None => node,
            Some(entries) => {
                cx.only_keys(entries, &["is"], name);
                let Some(is) = node.get("is") else {
                    cx.mistake(node.place, format!("{name} needs a word, or is: WORDS"));
                    return None;
                };
                is
            }
        };
        some_words(node, name, words, cx).map(Self::OneOf)
    }

    /// `value` in lower case; None when it is not known.
    pub fn matches(&self, value: Option<&str>) -> bool {
        match self {
            Self::Absent => value.is_none(),
            Self::OneOf(words) => value.is_some_and(|value| words.contains(&value)),
            Self::Present => value.is_some(),
        }
    }
}

/// All of one or several words; each that is none of them is told.
pub fn some_words(
    node: &Node,
    name: &str,
    words: &'static [&'static str],
    cx: &mut Loader<'_>,
) -> Option<Vec<&'static str>> {
    let items = cx.some_items(node, name)?;
    let found: Vec<_> = items.iter().map(|item| word(item, name, words, cx)).collect();
    found.into_iter().collect()
}

fn word(
    node: &Node,
    name: &str,
    words: &'static [&'static str],
    cx: &mut Loader<'_>,
) -> Option<&'static str> {
    let text = cx.text(node, name)?;
    let found = words.iter().find(|word| word.eq_ignore_ascii_case(text)).copied();
    if found.is_none() {
        let hint = did_you_mean(text, words.iter().copied());
        let article = if name.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
        cx.mistake(node.place, format!("`{text}` is not {article} {name}: {}{hint}", words.join(" ")));
    }
    found
}
