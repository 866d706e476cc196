//! The one place from which the tests of the checks call into the code.

use super::Answered;
use super::AnyCheck;
use super::Context;
use super::Question;
use super::Truth;
use crate::facts::Fact;
use crate::facts::Facts;
use crate::facts::Known;
use crate::facts::Moment;
use crate::facts::Stage;
use crate::lists::Registry;
use crate::message::Message;
use crate::values::Loader;
use crate::yaml;
use crate::yaml::Mistakes;
use crate::yaml::Source;
use std::sync::Arc;

/// A check as a rule would write it, or the mistakes in it.
pub(super) fn load(text: &str) -> (Option<AnyCheck>, Vec<String>) {
    load_with(text, &mut Vec::new())
}

pub(super) fn load_with(text: &str, tags: &mut Vec<String>) -> (Option<AnyCheck>, Vec<String>) {
    load_beside(text, tags, &Registry::default())
}

/// The same with lists.
pub(super) fn load_beside(
    text: &str,
    tags: &mut Vec<String>,
    lists: &Registry,
) -> (Option<AnyCheck>, Vec<String>) {
    let source = Arc::new(Source { name: "test.yaml".into(), text: text.into() });
    let mut mistakes = Mistakes::new(source);
    let node = yaml::parse(&mut mistakes);
    let check = node.and_then(|node| {
        let item = node.items().first()?.clone();
        let entry = item.as_map()?.first()?.clone();
        AnyCheck::parse(&entry, &mut Loader { mistakes: &mut mistakes, lists, tags })
    });
    let told = mistakes.found.iter().map(|mistake| mistake.message.clone()).collect();
    (check, told)
}

/// Facts such as `helo_name=mail.example.com sender=<>`, and lines of a message
/// behind an empty one; `at=2026-11-21T03:30` is the time.
pub(super) fn facts(text: &str) -> Facts {
    let (facts_text, message) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut facts = Facts::default();
    for (name, value) in facts_text.split_whitespace().filter_map(|pair| pair.split_once('=')) {
        match name {
            "at" => facts.moment = Moment { timestamp: None, civil: Some(value.parse().unwrap()) },
            "recipients" => facts.recipients = value.split(',').map(Into::into).collect(),
            _ => facts.set(Fact::named(name).expect("a fact"), value),
        }
    }
    facts.message = Some(Arc::new(Message::from_eml(message.as_bytes())));
    facts
}

/// Asks a check at the stage it needs.
#[track_caller]
pub(super) fn check(yaml: &str, given: &str, expected: Truth) {
    check_answered(yaml, given, None, expected);
}

#[track_caller]
pub(super) fn check_answered(yaml: &str, given: &str, answer: Option<(Question, Answered)>, expected: Truth) {
    let (check, mistakes) = load(yaml);
    assert_eq!(mistakes, Vec::<String>::new(), "{yaml}");
    let check = check.expect("a check");
    let facts = facts(given);
    let stage = check.needs().stage.max(if facts.recipients.is_empty() { Stage::Rcpt } else { Stage::Data });
    let known = Known::default();
    let cx = Context {
        answer: answer.as_ref().map(|(question, answer)| (question, answer)),
        ..Context::new(&facts, &known, stage)
    };
    let found = check.evaluate(&cx);
    assert_eq!(found, expected, "{yaml} on {given:?}: {}", check.because(&cx));
}

/// The mistakes in a check.
#[track_caller]
pub(super) fn wrong(yaml: &str, expected: &[&str]) {
    assert_eq!(load(yaml).1, expected, "{yaml}");
}
