//! What a computed check may come to: `dkim: pass`, `[fail, permerror]`, `present`,
//! `any`.

use super::Loader;
use super::words::some_words;
use crate::yaml::Node;

/// What most checks say of a failing DNS.
const TEMPERROR: &str = "temperror";

const NONE: &str = "none";

/// A condition on a result.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ResultTest {
    /// Whatever it comes to, for texts.
    Any,
    OneOf(Vec<&'static str>),
    /// Anything but `none`.
    Present,
}

impl ResultTest {
    pub fn parse(
        node: &Node,
        name: &str,
        words: &'static [&'static str],
        cx: &mut Loader<'_>,
    ) -> Option<Self> {
        match node.as_word() {
            Some("any") => return Some(Self::Any),
            Some("present") => return Some(Self::Present),
            _ => {}
        }
        some_words(node, name, words, cx).map(Self::OneOf)
    }

    /// None: a temporary failure that was not asked for by its name.
    pub fn holds(&self, result: &str) -> Option<bool> {
        match self {
            Self::Any => Some(true),
            Self::OneOf(results) if results.contains(&result) => Some(true),
            Self::OneOf(_) | Self::Present if result == TEMPERROR => None,
            Self::OneOf(_) => Some(false),
            Self::Present => Some(result != NONE),
        }
    }
}
