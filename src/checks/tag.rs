//! # What it does
//! Matches when a rule above has set one of the tags on the connection, the
//! message or the recipient in question.
//!
//! # Why
//! What one rule found out (a partner, a known relay) others can take into
//! account without asking again, in both protocols.
//!
//! # Options
//! The value is a tag or a list of tags, of which any will do. At `data` and
//! `message` a mail may have several recipients; a tag that a rule has set on a
//! recipient is then asked with
//! - `every`: all recipients have one of the tags;
//! - `some`: at least one has.
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
use super::Quantifier;
use super::Truth;
use crate::facts::Marks;
use crate::facts::Stage;
use crate::facts::TagId;
use crate::values::Loader;
use crate::yaml::Entry;
use crate::yaml::Place;

#[derive(Clone, Debug)]
pub struct Tag {
    pub tags: Vec<TagId>,
    names: Vec<String>,
    pub quantifier: Option<Quantifier>,
    /// For "is only set by later rules".
    pub place: Place,
}

impl Check for Tag {
    const OPTIONS: &'static [&'static str] = &["every", "some"];

    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
        let (node, quantifier) = Quantifier::split(&entry.value, "tag", cx);
        let items = cx.some_items(node, "tag")?;
        let names: Vec<_> = items.iter().map(|item| cx.text(item, "a tag").map(str::to_owned)).collect();
        let names: Vec<String> = names.into_iter().collect::<Option<_>>()?;
        let tags = names.iter().map(|name| cx.tag(name)).collect();
        Some(Self { tags, names, quantifier, place: entry.key_place })
    }

    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn evaluate(&self, cx: &Context<'_>) -> Truth {
        self.holds(cx).into()
    }

    fn because(&self, cx: &Context<'_>) -> String {
        if let Some(quantifier) = self.quantifier.filter(|_| cx.stage >= Stage::Data) {
            let (word, names) = (quantifier.word(), self.names.join("`, `"));
            let holds = if self.holds(cx) { "have" } else { "lack" };
            return format!("{word} of {} recipients {holds} tag `{names}`", cx.known.recipients.len());
        }
        let set = self.tags.iter().zip(&self.names).find(|(tag, _)| cx.known.has_tag(**tag));
        match set {
            Some((_, name)) => format!("tag `{name}` is set"),
            None => format!("tag `{}` is not set", self.names.join("`, `")),
        }
    }
}

impl Tag {
    fn holds(&self, cx: &Context<'_>) -> bool {
        let shared = self.tags.iter().any(|tag| cx.known.has_tag(*tag));
        let Some(quantifier) = self.quantifier.filter(|_| cx.stage >= Stage::Data) else {
            return shared;
        };
        let own = |marks: &Marks| self.tags.iter().any(|tag| marks.tags.contains(tag));
        shared || quantifier.holds(cx.known.recipients.iter().map(own))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::facts;
    use super::super::testing::load_with;
    use super::*;
    use crate::facts::Known;

    #[test]
    fn a_tag_is_found_wherever_it_belongs() {
        let mut names = vec!["other".to_owned()];
        let (check, mistakes) = load_with("tag: [partner, known]", &mut names);
        assert_eq!((mistakes, names.len()), (Vec::new(), 3));
        let facts = facts("");
        let asked =
            |known: &Known| check.clone().unwrap().evaluate(&Context::new(&facts, known, Stage::Rcpt));
        let mut known = Known::default();
        known.connection.add_tag(0);
        assert_eq!(asked(&known), Truth::NoMatch);
        known.recipient.add_tag(2);
        assert_eq!(asked(&known), Truth::Match);
    }

    #[test]
    fn of_several_recipients_every_one_or_some_may_be_meant() {
        let facts = facts("");
        let (one, other) = (Marks { tags: vec![0], ..Marks::default() }, Marks::default());
        for (yaml, recipients, expected) in [
            ("tag: {some: vip}", vec![one.clone(), other.clone()], Truth::Match),
            ("tag: {every: vip}", vec![one.clone(), other.clone()], Truth::NoMatch),
            ("tag: {every: vip}", vec![one.clone()], Truth::Match),
            ("tag: {some: vip}", vec![other], Truth::NoMatch),
            ("tag: {every: vip}", vec![], Truth::NoMatch),
        ] {
            let (check, mistakes) = load_with(yaml, &mut Vec::new());
            assert_eq!(mistakes, Vec::<String>::new());
            let known = Known { recipients, ..Known::default() };
            let cx = Context::new(&facts, &known, Stage::Message);
            assert_eq!(check.unwrap().evaluate(&cx), expected, "{yaml}");
        }
    }
}
