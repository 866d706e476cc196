//! Texts with `{variables}`: read once, filled for each decision.
//!
//! What is filled in came from strangers. Nothing of it is expanded a second
//! time, and whoever sends or logs the result cleans it.

use crate::checks::Bindings;
use crate::facts::Fact;
use crate::facts::Facts;
use crate::values::Loader;
use crate::yaml::Place;
use std::borrow::Cow;

/// A filled text never grows beyond this, whatever its parts are.
const MAX_FILLED_BYTES: usize = 4096;

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Part {
    Text(String),
    Fact(Fact),
    /// Given by a check of the rule, or by the engine.
    Bound(String),
}

/// What the engine gives to every text.
pub(super) const ALWAYS: [&str; 4] = ["id", "rule", "reasons", "score"];

impl Template {
    /// Reads a text; `variables` are those of the rule's checks. Braces that
    /// hold no name stay as they are.
    pub fn parse(text: &str, variables: &[String], place: Place, cx: &mut Loader<'_>) -> Option<Self> {
        let mut parts = Vec::new();
        let mut fine = true;
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let (before, after) = rest.split_at(open);
            let Some(close) = after.find('}') else {
                break;
            };
            let name = &after[1..close];
            if !is_name(name) {
                push_text(&mut parts, before);
                push_text(&mut parts, &after[..1]);
                rest = &after[1..];
                continue;
            }
            push_text(&mut parts, before);
            match variable(name, variables) {
                Ok(part) => parts.push(part),
                Err(message) => {
                    cx.mistake(place, message);
                    fine = false;
                }
            }
            rest = &after[close + 1..];
        }
        push_text(&mut parts, rest);
        fine.then_some(Self { parts })
    }

    /// A text without variables.
    pub fn fixed(text: &str) -> Self {
        Self { parts: vec![Part::Text(text.to_owned())] }
    }

    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The text itself, if it has no variables.
    pub fn as_fixed(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    pub fn mentions(&self, name: &str) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Bound(bound) if bound == name))
    }

    /// The facts it shows.
    pub fn facts(&self) -> impl Iterator<Item = Fact> {
        self.parts.iter().filter_map(|part| match part {
            Part::Fact(fact) => Some(*fact),
            Part::Bound(_) | Part::Text(_) => None,
        })
    }

    /// What is not known becomes nothing.
    pub fn fill(&self, facts: &Facts, bindings: &Bindings) -> String {
        let mut filled = String::new();
        for part in &self.parts {
            let value = match part {
                Part::Text(text) => Cow::from(text),
                Part::Fact(fact) => facts.shown(*fact),
                Part::Bound(name) => bindings
                    .iter()
                    .find(|(bound, _)| bound == name)
                    .map(|(_, value)| Cow::from(value))
                    .unwrap_or_default(),
            };
            let room = MAX_FILLED_BYTES.saturating_sub(filled.len());
            let end = (0..=value.len().min(room))
                .rev()
                .find(|end| value.is_char_boundary(*end))
                .unwrap_or_default();
            filled.push_str(&value[..end]);
        }
        filled
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Text(last)) => last.push_str(text),
        _ => parts.push(Part::Text(text.to_owned())),
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn variable(name: &str, variables: &[String]) -> Result<Part, String> {
    match variables.iter().filter(|known| *known == name).count() {
        // A check's variable goes before a fact of that name: it is the nearer one.
        1 => return Ok(Part::Bound(name.to_owned())),
        0 => {}
        _ => return Err(format!("`{{{name}}}` could be that of two checks of this rule: make two rules")),
    }
    if let Some(fact) = Fact::named(name) {
        return Ok(Part::Fact(fact));
    }
    if ALWAYS.contains(&name) {
        return Ok(Part::Bound(name.to_owned()));
    }
    Err(format!("no variable `{{{name}}}` in this rule"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lists::Registry;
    use crate::yaml::Mistakes;
    use crate::yaml::Source;
    use std::sync::Arc;

    fn parse(text: &str, variables: &[&str]) -> Result<Template, String> {
        let mut mistakes = Mistakes::new(Arc::new(Source { name: "x".into(), text: String::new() }));
        let lists = Registry::default();
        let variables: Vec<_> = variables.iter().map(|name| (*name).to_owned()).collect();
        let mut cx = Loader { mistakes: &mut mistakes, lists: &lists, tags: &mut Vec::new() };
        let template = Template::parse(text, &variables, Place::default(), &mut cx);
        template.ok_or_else(|| mistakes.found[0].message.clone())
    }

    #[test]
    fn variables_are_filled_and_never_twice() {
        let mut facts = Facts::default();
        facts.set(Fact::Sender, "{recipient}@b.test");
        facts.set(Fact::Recipient, "r@x.test");
        let bindings = vec![("used".to_owned(), "51".to_owned())];
        for (text, expected) in [
            ("{sender} {used}", "{recipient}@b.test 51"),
            ("{} {not a name} {", "{} {not a name} {"),
            ("a{recipient}b", "ar@x.testb"),
            ("{queue_id}.", "."),
        ] {
            assert_eq!(parse(text, &["used"]).unwrap().fill(&facts, &bindings), expected);
        }
    }

    #[test]
    fn several_recipients_are_told_by_their_number() {
        for (recipients, expected) in [
            (&["a@x.test"][..], "a@x.test x.test"),
            (&["a@x.test", "b@y.test", "c@x.test"], "3 recipients 3 recipients"),
            (&[], " "),
        ] {
            let mut facts = Facts::default();
            facts.recipients.extend(recipients.iter().map(ToString::to_string));
            let text = parse("{recipient} {recipient_domain}", &[]).unwrap();
            assert_eq!(text.fill(&facts, &Vec::new()), expected);
            facts.set(Fact::Recipient, "postmaster");
            assert_eq!(text.fill(&facts, &Vec::new()), "postmaster ");
        }
    }

    #[test]
    fn an_unknown_or_doubtful_variable_is_a_mistake() {
        assert_eq!(parse("{usd}", &["used"]), Err("no variable `{usd}` in this rule".into()));
        assert_eq!(
            parse("{entry}", &["entry", "entry"]),
            Err("`{entry}` could be that of two checks of this rule: make two rules".into())
        );
    }

    #[test]
    fn a_filled_text_is_bounded() {
        let mut facts = Facts::default();
        facts.set(Fact::HeloName, &"ü".repeat(5000));
        assert!(parse("{helo_name}{helo_name}", &[]).unwrap().fill(&facts, &Vec::new()).len() <= 4096);
    }
}
