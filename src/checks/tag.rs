//! # What it does
//! Matches when a rule above has set one of the tags on the connection, the
//! message or the recipient in question.
//!
//! # Why
//! What one rule found out (a partner, a known relay) others can take into
//! account without asking again, in both protocols.
//!
//! # Options
//! None: the value is a tag or a list of tags.
//!
//! # Example
//! ```yaml
//! - tag: [partner, known_good]
//! ```
//!
//! # Unknown when
//! Never.

use super::Check;
use super::Context;
use super::Needs;
use super::Truth;
use crate::facts::TagId;
use crate::values::Loader;
use crate::yaml::Entry;
use crate::yaml::Place;

#[derive(Clone, Debug)]
pub struct Tag {
    pub tags: Vec<TagId>,
    names: Vec<String>,
    /// For "is only set by later rules".
    pub place: Place,
}

impl Check for Tag {
    const OPTIONS: &'static [&'static str] = &[];

    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
        let names: Vec<_> =
            entry.value.items().iter().map(|item| cx.text(item, "a tag").map(str::to_owned)).collect();
        let names: Vec<String> = names.into_iter().collect::<Option<_>>()?;
        let tags = names.iter().map(|name| cx.tag(name)).collect();
        Some(Self { tags, names, place: entry.key_place })
    }

    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn evaluate(&self, cx: &Context<'_>) -> Truth {
        self.tags.iter().any(|tag| cx.known.has_tag(*tag)).into()
    }

    fn because(&self, cx: &Context<'_>) -> String {
        let set = self.tags.iter().zip(&self.names).find(|(tag, _)| cx.known.has_tag(**tag));
        match set {
            Some((_, name)) => format!("tag `{name}` is set"),
            None => format!("tag `{}` is not set", self.names.join("`, `")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::facts;
    use super::super::testing::load_with;
    use super::*;
    use crate::facts::Known;
    use crate::facts::Stage;

    #[test]
    fn a_tag_is_found_wherever_it_belongs() {
        let mut names = vec!["other".to_owned()];
        let (check, mistakes) = load_with("tag: [partner, known]", &mut names);
        assert_eq!((mistakes, names.len()), (Vec::new(), 3));
        let facts = facts("");
        let asked = |known: &Known| {
            check.clone().unwrap().evaluate(&Context {
                facts: &facts,
                known,
                stage: Stage::Rcpt,
                answer: None,
            })
        };
        let mut known = Known::default();
        known.connection.add_tag(0);
        assert_eq!(asked(&known), Truth::NoMatch);
        known.recipient.add_tag(2);
        assert_eq!(asked(&known), Truth::Match);
    }
}
