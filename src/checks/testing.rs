//! The one place from which the tests of the checks call into the code.

use super::Answered;
use super::AnyCheck;
use super::Bindings;
use super::Context;
use super::Question;
use super::Truth;
use crate::content::File;
use crate::dns::Resolver;
use crate::dns::Zone;
use crate::facts::Fact;
use crate::facts::Facts;
use crate::facts::Known;
use crate::facts::Moment;
use crate::facts::Stage;
use crate::lists::Given;
use crate::lists::Kind;
use crate::lists::List;
use crate::lists::Registry;
use crate::lists::Spec;
use crate::lists::To;
use crate::lookup::Findings;
use crate::lookup::Given as Answer;
use crate::lookup::Lookups;
use crate::message::Message;
use crate::values::Loader;
use crate::yaml;
use crate::yaml::Mistakes;
use crate::yaml::Place;
use crate::yaml::Source;
use std::sync::Arc;

/// A check as a rule would write it, or the mistakes in it.
pub(super) fn load(text: &str) -> (Option<AnyCheck>, Vec<String>) {
    load_with(text, &mut Vec::new())
}

pub(super) fn load_with(text: &str, tags: &mut Vec<String>) -> (Option<AnyCheck>, Vec<String>) {
    load_beside(text, tags, &ours())
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

/// Who we are in tests, and who may send as whom.
fn ours() -> Registry {
    let mut lists = Registry::default();
    for (name, kind, entries) in [
        ("local.domains", Kind::Domain, &["example.com", ".below.example"][..]),
        ("local.hostnames", Kind::Domain, &["mx.example.com"]),
        ("local.networks", Kind::Network, &["127.0.0.0/8", "10.0.0.0/8"]),
        ("local.relays", Kind::Network, &["192.0.2.250/32"]),
    ] {
        let source = Arc::new(Source { name: "gatepost.yaml".into(), text: String::new() });
        let given =
            |text: &&str| Given { text: (*text).into(), quoted: true, place: Place::default(), values: None };
        let entries = entries.iter().map(given).collect();
        let list = List::build(Spec { entries, ..Spec::new(name, kind, source) });
        lists.add(Arc::new(list.expect("a list")));
    }
    let source = Arc::new(Source { name: "gatepost.yaml".into(), text: String::new() });
    let alias = |text: &str, logins: &[&str]| Given {
        text: text.into(),
        quoted: true,
        place: Place::default(),
        values: Some((logins.iter().map(|login| (*login).into()).collect(), Place::default())),
    };
    let entries = vec![
        alias("sales@example.com", &["ann@example.com", "eve@example.com"]),
        alias("example.org", &["eve@example.com"]),
        alias("office@example.com", &["none"]),
    ];
    let spec = Spec { to: Some(To::Names), entries, ..Spec::new("send-as", Kind::Address, source) };
    lists.add(Arc::new(List::build(spec).expect("a list")));
    lists
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

/// The same of a message of which some files are said.
#[track_caller]
pub(super) fn check_files(yaml: &str, given: &str, files: Vec<File>, expected: Truth) {
    let (check, facts) = with_files(yaml, given, files);
    let known = Known::default();
    let cx = Context::new(&facts, &known, Stage::Message);
    assert_eq!(check.evaluate(&cx), expected, "{yaml}: {}", check.because(&cx));
}

/// What a check gives to texts, of a message of which some files are said.
#[track_caller]
pub(super) fn bound(yaml: &str, given: &str, files: Vec<File>) -> String {
    let (check, facts) = with_files(yaml, given, files);
    let known = Known::default();
    let mut bindings = Bindings::new();
    check.bind(&Context::new(&facts, &known, Stage::Message), &mut bindings);
    let shown: Vec<_> = bindings.iter().map(|(name, value)| format!("{name}={value}")).collect();
    shown.join(", ")
}

/// The files are those of the first part behind the message itself; no other has any.
fn with_files(yaml: &str, given: &str, files: Vec<File>) -> (AnyCheck, Facts) {
    let (check, mistakes) = load(yaml);
    assert_eq!(mistakes, Vec::<String>::new(), "{yaml}");
    let mut facts = facts(given);
    let mut message = Arc::into_inner(facts.message.take().expect("a message")).expect("one owner");
    for part in 0..message.parts().len() as u32 {
        message.give_files(part, Vec::new());
    }
    message.give_files(1, files);
    facts.message = Some(Arc::new(message));
    (check.expect("a check"), facts)
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

/// Asks a check that asks the DNS, of a zone; `given` is what a test says that it
/// comes to.
#[track_caller]
pub(super) fn check_dns(yaml: &str, facts_text: &str, zone: &str, given: &[Answer], expected: Truth) {
    let (check, mistakes) = load(yaml);
    assert_eq!(mistakes, Vec::<String>::new(), "{yaml}");
    let check = check.expect("a check");
    let resolver = Resolver::of_zone(Zone::parse(zone).expect("a zone"));
    let lookups = Lookups::new(&resolver, given, Findings::default());
    let (facts, known) = (facts(facts_text), Known::default());
    let stage = check.needs().stage.max(Stage::Rcpt);
    let cx = Context { lookups: Some(&lookups), ..Context::new(&facts, &known, stage) };
    let found = check.evaluate(&cx);
    assert_eq!(found, expected, "{yaml} on {facts_text:?}: {}", check.because(&cx));
}

/// The mistakes in a check.
#[track_caller]
pub(super) fn wrong(yaml: &str, expected: &[&str]) {
    assert_eq!(load(yaml).1, expected, "{yaml}");
}
