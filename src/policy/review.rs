//! What can be said of rules only once all of them are read: at which stage each
//! is asked, what it belongs to, and which can never do anything.
//!
//! Reading order is running order within a stage.

use super::Condition;
use super::Mode;
use super::Policy;
use super::Rule;
use super::load::Kept;
use super::rule::Written;
use crate::checks::AnyCheck;
use crate::checks::Count;
use crate::checks::Needs;
use crate::facts::Fact;
use crate::facts::Scope;
use crate::facts::Stage;
use crate::facts::TagId;
use crate::lists::Verb;
use crate::near::did_you_mean;
use crate::policy::action::Action;
use crate::yaml::Place;
use std::collections::HashMap;

/// Something to tell about a rule, by its number in the order of reading.
#[derive(Debug)]
pub(super) struct Remark {
    pub rule: usize,
    pub place: Place,
    pub message: String,
    /// It depends on which other rules there are, so it means little while some
    /// of them can't be read.
    pub is_about_others: bool,
}

impl Remark {
    fn new(rule: usize, place: Place, message: impl Into<String>) -> Self {
        Self { rule, place, message: message.into(), is_about_others: false }
    }
}

/// What was found out about each rule.
#[derive(Debug, Default)]
pub(super) struct Review {
    pub placed: Vec<Placed>,
    pub mistakes: Vec<Remark>,
    pub warnings: Vec<Remark>,
}

/// Where a rule belongs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Placed {
    pub stage: Stage,
    pub scope: Scope,
    pub holds_for: Scope,
    pub reads_known: bool,
    pub asks_world: bool,
}

/// Which rules set a tag or give points, as far as they were read.
#[derive(Default)]
struct Setters {
    tags: HashMap<TagId, Vec<usize>>,
    score: Vec<usize>,
}

/// Reviews all rules, each with the guard of its file.
pub(super) fn review(rules: &[(&Written, &Condition)], tag_names: &[String]) -> Review {
    let mut review = Review::default();
    let all = setters(rules);
    for index in 0..rules.len() {
        let placed = place(index, rules, &all, tag_names, &mut review);
        review.placed.push(placed);
    }
    for (index, (rule, guard)) in rules.iter().enumerate() {
        vague_recipients(index, rule, guard, review.placed[index].stage, &mut review);
        vague_tags(index, rule, guard, &all, &mut review);
        late_events(index, rule, guard, &all, &mut review);
        misplaced_actions(index, rule, review.placed[index].stage, &mut review);
        early_texts(index, rule, review.placed[index].stage, &mut review);
        contradictions(index, rule, guard, &mut review);
    }
    review
}

fn setters(rules: &[(&Written, &Condition)]) -> Setters {
    let mut setters = Setters::default();
    for (index, (rule, _)) in rules.iter().enumerate() {
        for (action, _) in &rule.actions {
            action.each(&mut |action| match action {
                Action::Tag(tags) => {
                    tags.iter().for_each(|tag| setters.tags.entry(*tag).or_default().push(index));
                }
                Action::Score(_) => setters.score.push(index),
                _ => {}
            });
        }
    }
    setters
}

fn place(
    index: usize,
    rules: &[(&Written, &Condition)],
    all: &Setters,
    tag_names: &[String],
    review: &mut Review,
) -> Placed {
    let (rule, guard) = rules[index];
    let own =
        rule.condition.needs().join(rule.limit.as_ref().map(|(check, _)| check.needs()).unwrap_or_default());
    let actions = rule.actions.iter().map(|(action, _)| action.stage()).max().unwrap_or_default();
    let mut needed = own.stage.max(actions).max(listed_stage(rule));
    let mut reads = Needs::default();
    let mut reads_known = false;
    let mut visit = |check: &AnyCheck, place: Place, review: &mut Review| {
        reads_known |= check.reads_known();
        let setters = match check {
            AnyCheck::Score(_) => Some((&all.score, None)),
            _ => None,
        };
        let tags = check.tags().iter().map(|tag| (all.tags.get(tag).unwrap_or(&EMPTY), Some(*tag)));
        for (setters, tag) in setters.into_iter().chain(tags) {
            let above: Vec<_> = setters.iter().copied().filter(|setter| *setter < index).collect();
            if above.is_empty() {
                let remark = nobody_above(index, place, setters, tag, rules, tag_names);
                // A policy may be written for marks that a site's own rules make.
                let found = match tag.is_some() && setters.is_empty() {
                    true => &mut review.warnings,
                    false => &mut review.mistakes,
                };
                found.push(remark);
            }
            for setter in above {
                let placed = review.placed.get(setter).copied().unwrap_or_default();
                reads.stage = reads.stage.max(placed.stage);
                reads.scope = reads.scope.max(placed.holds_for);
            }
        }
    };
    let mut checks = Vec::new();
    rule.condition.each_check(&mut |check| checks.push(check));
    guard.each_check(&mut |check| checks.push(check));
    for check in checks {
        let place = match check {
            AnyCheck::Tag(tag) => tag.place,
            _ => rule.place,
        };
        visit(check, place, review);
    }
    needed = needed.max(reads.stage).max(guard.needs().stage);
    let stage = match rule.stage {
        Some((stage, place)) if stage < needed => {
            let message = format!("this rule needs `{}`", needed.word());
            review.mistakes.push(Remark::new(index, place, message));
            needed
        }
        Some((stage, place)) => {
            review.mistakes.extend(nothing_to_count(index, rule, stage, place));
            stage
        }
        None => needed.max(Stage::Rcpt),
    };
    // What is asked at the end of a message is of that message.
    let by_stage = if stage >= Stage::Data { Scope::Message } else { Scope::Connection };
    let scope = rule.condition.needs().scope.max(by_stage);
    let scope = if stage >= Stage::Data { scope.min(Scope::Message) } else { scope };
    let by_limit =
        if rule.limit.is_some() && stage < Stage::Data { Scope::Recipient } else { Scope::Connection };
    let holds_for = scope.max(reads.scope).max(by_limit);
    let holds_for = if stage >= Stage::Data { Scope::Message } else { holds_for };
    let mut asks_world = false;
    rule.condition.each_check(&mut |check| asks_world |= !check.asks_nobody());
    Placed { stage, scope, holds_for, reads_known, asks_world }
}

static EMPTY: Vec<usize> = Vec::new();

/// A rule that is asked early is asked with every command: recipients and messages
/// that have not come yet can't be counted then.
fn nothing_to_count(index: usize, rule: &Written, stage: Stage, place: Place) -> Option<Remark> {
    let count = match &rule.limit {
        Some((AnyCheck::Rate(rate), _)) => rate.count,
        _ => return None,
    };
    if stage >= count.stage() {
        return None;
    }
    let remedy = if stage < Stage::Mail { "connections" } else { "messages" };
    let message = format!(
        "`count: {}` counts from `{}` on, this rule is asked at `{}`: say `count: {remedy}`, or leave out `stage`",
        count.word(),
        count.stage().word(),
        stage.word()
    );
    Some(Remark::new(index, place, message))
}

fn nobody_above(
    index: usize,
    place: Place,
    setters: &[usize],
    tag: Option<TagId>,
    rules: &[(&Written, &Condition)],
    tag_names: &[String],
) -> Remark {
    let later: Vec<_> = setters.iter().map(|setter| rules[*setter].0.name.as_str()).collect();
    let later = later.join(", ");
    let asker = &rules[index].0.name;
    let tag = tag.map(|tag| tag_names.get(usize::from(tag)).map(String::as_str).unwrap_or_default());
    let message = match tag {
        None if later.is_empty() => format!("`{asker}` asks the score, but no rule adds to it"),
        None => format!("`{asker}` asks the score before {later} adds to it"),
        Some(tag) if later.is_empty() => {
            let others = tag_names.iter().map(String::as_str).filter(|other| *other != tag);
            format!("no rule sets tag `{tag}`, so nothing ever has it{}", did_you_mean(tag, others))
        }
        Some(tag) => format!("tag `{tag}` is only set by later rules ({later})"),
    };
    Remark { is_about_others: true, ..Remark::new(index, place, message) }
}

/// A table for header lines may remove or replace them; others only decide.
fn listed_stage(rule: &Written) -> Stage {
    let asks_listed = rule.actions.iter().any(|(action, _)| {
        let mut found = false;
        action.each(&mut |action| found |= matches!(action, Action::AsListed));
        found
    });
    let edits = asks_listed
        && super::rule::matched_lists(&rule.condition)
            .iter()
            .any(|list| list.says(&[Verb::Remove, Verb::Replace, Verb::Strip]));
    if edits { Stage::Message } else { Stage::Connect }
}

/// What a limit counts, if that is an event.
fn event_of(rule: &Written) -> Option<(Count, Place)> {
    match &rule.limit {
        Some((AnyCheck::Rate(rate), place)) if rate.count.is_event() => Some((rate.count, *place)),
        _ => None,
    }
}

/// Events happen before DATA, when the rest of the rule must hold.
fn late_events(index: usize, rule: &Written, guard: &Condition, all: &Setters, review: &mut Review) {
    let Some((count, place)) = event_of(rule) else {
        return;
    };
    let limit = rule.limit.as_ref().map(|(check, _)| check.needs()).unwrap_or_default();
    let mut needed = rule.condition.needs().join(guard.needs()).join(limit).stage;
    for condition in [&rule.condition, guard] {
        condition.each_check(&mut |check| {
            let tags = check.tags().iter().filter_map(|tag| all.tags.get(tag));
            let score = matches!(check, AnyCheck::Score(_)).then_some(&all.score);
            let setters = tags.chain(score).flatten().filter(|setter| **setter < index);
            let late = setters.filter_map(|setter| review.placed.get(*setter)).map(|placed| placed.stage);
            needed = late.fold(needed, Stage::max);
        });
    }
    if needed >= Stage::Data {
        let (count, needed) = (count.word(), needed.word());
        let message = format!(
            "`{count}` are counted before DATA, and this rule asks for what is known at `{needed}`: list the key in a rule of its own, and ask `listed` here"
        );
        review.mistakes.push(Remark::new(index, place, message));
    }
}

/// At `data` and `message` a mail may have several recipients, and a probe has.
fn vague_recipients(index: usize, rule: &Written, guard: &Condition, stage: Stage, review: &mut Review) {
    let is_probe = matches!(event_of(rule), Some((Count::Probes, _)));
    if stage < Stage::Data && !is_probe {
        return;
    }
    let several = match is_probe {
        true => "a probe may have several recipients".to_owned(),
        false => format!("a mail may have several recipients at `{}`", stage.word()),
    };
    let mut visit = |check: &AnyCheck, place: Place| {
        if let AnyCheck::Fact(check) = check
            && check.is_vague_about_recipients()
        {
            let message = format!("{several}: say {}: {{every: …}} or {{some: …}}", check.fact.name());
            review.mistakes.push(Remark::new(index, check.place, message));
        }
        if let Some(fact) = check.reads().into_iter().find(|fact| fact.is_of_recipient()) {
            let (name, fact) = (check.name(), fact.name());
            let remedy = if is_probe { "count `refused`" } else { "ask it at rcpt, in a rule of its own" };
            let message = format!("{several}, and `{name}` can't mean one `{fact}` of them: {remedy}");
            review.mistakes.push(Remark::new(index, place, message));
        }
    };
    for condition in [&rule.condition, guard] {
        condition.each_check(&mut |check| match check {
            AnyCheck::Fact(fact) => visit(check, fact.place),
            _ => visit(check, rule.place),
        });
    }
    if let Some((check, place)) = &rule.limit {
        visit(check, *place);
    }
}

/// So is a tag that belongs to a recipient: of which?
fn vague_tags(index: usize, rule: &Written, guard: &Condition, all: &Setters, review: &mut Review) {
    let stage = review.placed[index].stage;
    if stage < Stage::Data {
        return;
    }
    let mut vague = Vec::new();
    for condition in [&rule.condition, guard] {
        condition.each_check(&mut |check| {
            if let AnyCheck::Tag(tag) = check
                && tag.quantifier.is_none()
            {
                let mut setters = tag.tags.iter().flat_map(|tag| all.tags.get(tag).into_iter().flatten());
                if setters.any(|setter| review.placed[*setter].holds_for == Scope::Recipient) {
                    vague.push(tag.place);
                }
            }
        });
    }
    for place in vague {
        let message = format!(
            "this tag belongs to a recipient, and a mail may have several at `{}`: say tag: {{every: …}} or {{some: …}}",
            stage.word()
        );
        review.mistakes.push(Remark::new(index, place, message));
    }
}

/// Rules that ask what no file of the configuration tells.
pub(super) fn never_known(policy: &Policy) -> Vec<Remark> {
    let mut remarks = Vec::new();
    for (fact, key) in policy.derived.missing() {
        let asks = |rule: &Rule| {
            let mut found = false;
            let memory = rule.memory.as_ref().map(|memory| memory.check.reads()).unwrap_or_default();
            let limit = rule.limit.as_ref().map(|limit| limit.rate.reads()).unwrap_or_default();
            let guard = policy.files.get(rule.file).map(|file| &file.guard);
            for condition in [&rule.condition].into_iter().chain(guard) {
                condition.each_check(&mut |check| {
                    let is_it = matches!(check, AnyCheck::Fact(check) if check.fact == fact);
                    found |= is_it || check.reads().contains(&fact);
                });
            }
            found || memory.contains(&fact) || limit.contains(&fact)
        };
        let asking = policy.rules.iter().enumerate().filter(|(_, rule)| asks(rule));
        remarks.extend(asking.map(|(index, rule)| {
            let message = format!("`{}` is never known: gatepost.yaml has no {key}", fact.name());
            Remark::new(index, rule.place, message)
        }));
    }
    remarks
}

fn misplaced_actions(index: usize, rule: &Written, stage: Stage, review: &mut Review) {
    for (action, place) in &rule.actions {
        action.each(&mut |action| {
            if matches!(action, Action::Filter(_)) && stage == Stage::Message {
                let message = "`filter` can't be done at `message`: a milter has no such answer; ask at rcpt"
                    .to_owned();
                review.mistakes.push(Remark::new(index, *place, message));
            }
            let limits_other_than_refusing = matches!(action, Action::Permit) && stage == Stage::Message;
            if limits_other_than_refusing {
                let message = "`permit` at `message` only ends the milter's part; say accept".to_owned();
                review.warnings.push(Remark::new(index, *place, message));
            }
            if let Action::DeferIfPermit(text) = action
                && text.code != 450
                && stage < Stage::Message
            {
                let message = format!("`defer_if_permit` never says {}: with Postfix it is 450", text.code);
                review.warnings.push(Remark::new(index, *place, message));
            }
            if matches!(action, Action::AsListed) && stage == Stage::Message {
                filters_in_tables(index, rule, *place, review);
            }
        });
    }
}

/// A table for header lines may come from Postfix, which can do more than a milter.
fn filters_in_tables(index: usize, rule: &Written, place: Place, review: &mut Review) {
    for list in super::rule::matched_lists(&rule.condition) {
        if list.says(&[Verb::Filter]) {
            let file = list.file().map(|file| format!(" ({file})")).unwrap_or_default();
            let message = format!(
                "`FILTER` in list `{}`{file} can't be done at `message`: a milter has no such answer",
                list.name()
            );
            review.warnings.push(Remark::new(index, place, message));
        }
    }
    for check in rule.condition.certain() {
        let AnyCheck::Body(body) = check else {
            continue;
        };
        for list in body.lists() {
            for (word, verb) in BODY_EDITS {
                if list.says(&[*verb]) {
                    let message = format!(
                        "`{word}` in list `{}` can't be done to a line of the body: only Postfix itself can",
                        list.name()
                    );
                    review.warnings.push(Remark::new(index, place, message));
                }
            }
        }
    }
}

/// What body_checks(5) do to a line.
const BODY_EDITS: &[(&str, Verb)] = &[
    ("IGNORE", Verb::Remove),
    ("PREPEND", Verb::Prepend),
    ("REPLACE", Verb::Replace),
    ("STRIP", Verb::Strip),
];

/// What is known later than the rule is asked would stand empty in its texts.
fn early_texts(index: usize, rule: &Written, stage: Stage, review: &mut Review) {
    for (action, place) in &rule.actions {
        action.each_text(&mut |text| {
            for fact in text.facts().filter(|fact| fact.info().stage > stage) {
                let (name, known) = (fact.name(), fact.info().stage.word());
                let message = format!(
                    "`{{{name}}}` is only known at `{known}`, this rule is asked at `{}`: say stage: {known}",
                    stage.word()
                );
                review.mistakes.push(Remark::new(index, *place, message));
            }
        });
    }
}

/// Conditions that exclude each other: the rule never applies.
fn contradictions(index: usize, rule: &Written, guard: &Condition, review: &mut Review) {
    let mut words: HashMap<Fact, Vec<&'static str>> = HashMap::new();
    let mut present: HashMap<Fact, bool> = HashMap::new();
    for check in guard.certain().into_iter().chain(rule.condition.certain()) {
        let AnyCheck::Fact(check) = check else {
            continue;
        };
        let name = check.fact.name();
        if let Some(allowed) = check.allowed_words() {
            let left = match words.get(&check.fact) {
                Some(before) => allowed.iter().copied().filter(|word| before.contains(word)).collect(),
                None => allowed.to_vec(),
            };
            if left.is_empty() {
                let message = format!("this rule can never apply: {name} can't be both");
                review.mistakes.push(Remark::new(index, check.place, message));
            }
            words.insert(check.fact, left);
        }
        let wants = check.wants_presence();
        if let Some(wants) = wants
            && present.insert(check.fact, wants).is_some_and(|before| before != wants)
        {
            let message = format!("this rule can never apply: {name} can't be both present and absent");
            review.mistakes.push(Remark::new(index, check.place, message));
        }
    }
}

/// Rules that are never reached: behind one of their stage that ends for
/// everything their file lets through, or that asks exactly the same. At another
/// stage it may be other mail that is asked about: what only the milter sees.
pub(super) fn unreachable(policy: &Policy, kept: &[Kept]) -> Vec<Remark> {
    let (rules, files) = (&policy.rules, &policy.files);
    let mut remarks = Vec::new();
    for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| !rule.disabled) {
        let earlier = rules.iter().zip(kept).take(index).find(|(other, other_kept)| {
            let same_file = other.file == rule.file;
            let covers = same_file || files[other.file].guard.is_empty();
            // Tags and points may have changed since.
            let asks_the_same = same_file
                && !other.reads_known
                && other.limit.is_none()
                && other.memory.is_none()
                && !other_kept.unconditional
                && other_kept.fingerprint == kept[index].fingerprint;
            let ends = match other.actions.last() {
                Some(Action::Reject(_) | Action::Defer(_) | Action::Discard(_)) => true,
                Some(Action::Accept) => same_file,
                _ => false,
            };
            let takes_all = (other_kept.unconditional && covers) || asks_the_same;
            is_enforced(other) && other.stage == rule.stage && takes_all && ends
        });
        if let Some((other, _)) = earlier {
            let message = format!(
                "`{}` is never reached: `{}` above ends the rules for all of it",
                rule.name, other.name
            );
            remarks.push(Remark::new(index, rule.place, message));
        }
    }
    remarks
}

fn is_enforced(rule: &Rule) -> bool {
    rule.mode == Mode::Enforce && !rule.disabled
}

/// Enforced rules that ask for tags or points which only rules in observe give:
/// in what is enforced there are none.
pub(super) fn only_observed(policy: &Policy) -> Vec<Remark> {
    let mut remarks = Vec::new();
    for (index, rule) in policy.rules.iter().enumerate().filter(|(_, rule)| is_enforced(rule)) {
        let mut checks = Vec::new();
        rule.condition.each_check(&mut |check| checks.push(check));
        policy.files[rule.file].guard.each_check(&mut |check| checks.push(check));
        for check in checks.into_iter().filter(|check| check.reads_known()) {
            let giving: Vec<_> =
                policy.rules.iter().take(index).filter(|other| gives(other, check)).collect();
            if giving.is_empty() || giving.iter().any(|other| is_enforced(other)) {
                continue;
            }
            let names: Vec<_> = giving.iter().map(|other| format!("`{}`", other.name)).collect();
            let what = match check.tags() {
                [] if matches!(check, AnyCheck::Listed(_)) => "the listing".to_owned(),
                [] => "the score".to_owned(),
                tags => {
                    let names: Vec<_> =
                        tags.iter().map(|tag| format!("`{}`", policy.tag_name(*tag))).collect();
                    format!("tag {}", names.join(" or "))
                }
            };
            let message = format!(
                "`{}` is enforced, but {what} comes only from rules that are not: {}",
                rule.name,
                names.join(", ")
            );
            remarks.push(Remark::new(index, rule.place, message));
        }
    }
    remarks
}

/// Whether a rule sets a tag that the check asks for, or gives it points.
fn gives(rule: &Rule, check: &AnyCheck) -> bool {
    let mut found = false;
    for action in &rule.actions {
        action.each(&mut |action| {
            found |= match action {
                Action::List(listing) => {
                    matches!(check, AnyCheck::Listed(asked) if asked.asks_for(listing.key, &listing.reason))
                }
                Action::Score(_) => matches!(check, AnyCheck::Score(_)),
                Action::Tag(tags) => tags.iter().any(|tag| check.tags().contains(tag)),
                _ => false,
            };
        });
    }
    found
}
