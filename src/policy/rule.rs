//! One rule, as it is written. What it means among the others (stage, scope) is
//! found out once all are read: `review.rs`.

use super::Condition;
use super::Mode;
use super::OnUnknown;
use super::TooLarge;
use super::Trial;
use super::action;
use super::action::Action;
use super::action::Change;
use super::condition;
use super::then;
use super::then::Around;
use super::trial;
use crate::checks::AnyCheck;
use crate::facts::Stage;
use crate::lists::List;
use crate::lists::To;
use crate::near::did_you_mean;
use crate::values::Loader;
use crate::values::is_word;
use crate::yaml::Node;
use crate::yaml::Place;
use std::sync::Arc;

const KEYS: [&str; 9] = ["name", "why", "when", "unless", "then", "stage", "mode", "on_unknown", "tests"];

/// A rule with the places of what may turn out wrong later.
#[derive(Debug)]
pub(super) struct Written {
    pub name: String,
    pub why: Option<String>,
    pub place: Place,
    pub condition: Condition,
    pub limit: Option<(AnyCheck, Place)>,
    /// Of the limit, if there is one.
    pub too_large: Option<TooLarge>,
    pub actions: Vec<(Action, Place)>,
    pub stage: Option<(Stage, Place)>,
    pub mode: Option<Mode>,
    pub on_unknown: Option<OnUnknown>,
    pub trials: Vec<Trial>,
    /// `when` and `unless` as text, to find a rule that repeats another.
    pub fingerprint: String,
    pub unconditional: bool,
}

/// Reads one rule; None after a mistake that leaves nothing to go on with. A
/// rule's name is told even then, so that whoever names it is not blamed too.
pub(super) fn read(node: &Node, allow_relay: bool, cx: &mut Loader<'_>) -> (Option<String>, Option<Written>) {
    let Some(entries) = node.as_map() else {
        cx.mistake(node.place, format!("a rule is a map with name and then, not {}", node.form()));
        return (None, None);
    };
    let before = cx.mistakes.found.len();
    rule_keys(entries, cx);
    let name = match node.get("name") {
        Some(name) => self::name(name, cx),
        None => {
            cx.mistake(node.place, "a rule needs a name");
            None
        }
    };
    let shown = name.clone().unwrap_or_default();
    let condition = condition::read(node.get("when"), node.get("unless"), false, cx);
    let mut limits = condition.limits.into_iter();
    let limit = limits.next();
    for (check, place) in limits {
        let first = limit.as_ref().map_or("", |(first, _)| first.name());
        cx.mistake(place, two_limits(first, check.name()));
    }
    let mut variables = condition.condition.variables();
    if let Some((check, _)) = &limit {
        variables.extend(check.variables());
    }
    let around = Around { rule: &shown, variables: &variables, allow_relay };
    // A text that names what a check gives can't be judged once that check is broken.
    let actions = match node.get("then") {
        Some(then) if condition.fine => then::read(then, around, cx),
        Some(then) => quietly(cx, |cx| then::read(then, around, cx)),
        None => {
            cx.mistake(node.place, "a rule needs `then`");
            None
        }
    };
    let rate = limit.as_ref().and_then(|(check, _)| check.as_rate());
    let too_large = match (rate, &actions) {
        (Some(rate), Some(actions)) => then::too_large(rate.too_large.as_ref(), actions, around, cx),
        _ => None,
    };
    let stage = node.get("stage").and_then(|stage| Some((self::stage(stage, cx)?, stage.place)));
    let mode = node.get("mode").and_then(|mode| self::mode(mode, cx));
    let on_unknown = node.get("on_unknown").and_then(|node| self::on_unknown(node, cx));
    let why = node.get("why").and_then(|why| cx.text(why, "why")).map(str::to_owned);
    let trials = node.get("tests").map(|tests| trial::read(tests, cx)).unwrap_or_default();
    if let Some(actions) = &actions {
        check_listed(&condition.condition, actions, cx);
        check_matched(&condition.condition, actions, cx);
        check_parts(&condition.condition, actions, cx);
    }
    if cx.mistakes.found.len() > before {
        return (name, None);
    }
    let written = name.clone().zip(actions).map(|(name, actions)| Written {
        name,
        why,
        place: node.place,
        fingerprint: format!("{:?} {:?}", node.get("when").map(shape), node.get("unless").map(shape)),
        unconditional: condition.condition.is_empty() && limit.is_none(),
        condition: condition.condition,
        limit,
        too_large,
        actions,
        stage,
        mode,
        on_unknown,
        trials,
    });
    (name, written)
}

/// Why a rule has one of what is asked last.
fn two_limits(first: &str, second: &str) -> String {
    let (what, remedy) = match (first, second) {
        ("greylist", _) | (_, "greylist") => {
            (format!("`{first}` and `{second}` in one rule: their {{retry_after}}"), "make two rules")
        }
        _ => ("two limits in one rule: their {used}".to_owned(), "make two rules, or several windows in one"),
    };
    format!("{what} would be ambiguous; {remedy}")
}

/// Reads without reporting: what is wrong follows from a mistake already told,
/// but for what is wrong in any case.
fn quietly<T>(cx: &mut Loader<'_>, read: impl FnOnce(&mut Loader<'_>) -> T) -> T {
    let before = cx.mistakes.found.len();
    let value = read(cx);
    let mut index = 0;
    cx.mistakes.found.retain(|mistake| {
        index += 1;
        index <= before || !mistake.message.starts_with("no variable")
    });
    value
}

fn rule_keys(entries: &[crate::yaml::Entry], cx: &mut Loader<'_>) {
    for entry in entries.iter().filter(|entry| !KEYS.contains(&entry.key.as_str())) {
        let is_check = crate::facts::Fact::named(&entry.key).is_some()
            || crate::checks::REGISTRY.iter().any(|info| info.name == entry.key);
        let remedy = if is_check {
            "; a check stands under when: or unless:".to_owned()
        } else if action::words().any(|word| word == entry.key) {
            "; an action stands under then:".to_owned()
        } else {
            did_you_mean(&entry.key, KEYS)
        };
        cx.mistake(entry.key_place, format!("unknown key `{}` of a rule{remedy}", entry.key));
    }
}

/// A word that can stand in a log, a metric's label and a command line.
fn name(node: &Node, cx: &mut Loader<'_>) -> Option<String> {
    let text = cx.text(node, "name")?;
    if !is_word(text) {
        cx.mistake(node.place, format!("`{text}` is not a name: up to 64 letters, digits, `-`, `_` and `.`"));
        return None;
    }
    Some(text.to_owned())
}

fn stage(node: &Node, cx: &mut Loader<'_>) -> Option<Stage> {
    let text = cx.text(node, "stage")?;
    let stage = Stage::from_word(text);
    if stage.is_none() {
        let known = Stage::ALL.map(Stage::word);
        let hint = did_you_mean(text, known);
        let remedy = if text == "end" { "; `end` can't refuse: say message".to_owned() } else { hint };
        cx.mistake(node.place, format!("`{text}` is not a stage: {}{remedy}", known.join(" ")));
    }
    stage
}

/// `mode:`, of a rule or a file.
pub(super) fn mode(node: &Node, cx: &mut Loader<'_>) -> Option<Mode> {
    match cx.text(node, "mode")? {
        "enforce" => Some(Mode::Enforce),
        "observe" => Some(Mode::Observe),
        other => {
            let hint = did_you_mean(other, ["enforce", "observe"]);
            cx.mistake(node.place, format!("`{other}` is not a mode: enforce observe{hint}"));
            None
        }
    }
}

/// `on_unknown:`, of a rule or a file.
pub(super) fn on_unknown(node: &Node, cx: &mut Loader<'_>) -> Option<OnUnknown> {
    match cx.text(node, "on_unknown")? {
        "defer" => Some(OnUnknown::Defer),
        "match" => Some(OnUnknown::Match),
        "skip" => Some(OnUnknown::Skip),
        other => {
            let hint = did_you_mean(other, ["skip", "match", "defer"]);
            cx.mistake(node.place, format!("`{other}` is not an on_unknown: skip match defer{hint}"));
            None
        }
    }
}

/// The lists that the rule's own checks ask, where a match is sure to come from
/// one of them.
pub(super) fn matched_lists(condition: &Condition) -> Vec<Arc<List>> {
    condition.certain().into_iter().flat_map(AnyCheck::listed).collect()
}

/// `as_listed` needs to know which list is meant.
fn check_listed(condition: &Condition, actions: &[(Action, Place)], cx: &mut Loader<'_>) {
    for (action, place) in actions {
        let mut wanted = Vec::new();
        action.each(&mut |action| match action {
            Action::AsListed => wanted.push(To::Action),
            Action::Score(Change::AsListed) => wanted.push(To::Number),
            _ => {}
        });
        for to in wanted {
            let fits = |list: &Arc<List>| list.to() == Some(to);
            let fitting = matched_lists(condition).into_iter().filter(fits).count();
            if fitting == 1 {
                continue;
            }
            let found = if fitting == 0 { astray(condition, fits) } else { "asks several".to_owned() };
            let message =
                format!("as_listed needs one list with `to: {}` under `when`; this rule {found}", to.word());
            cx.mistake(*place, message);
        }
    }
}

/// `remove_header: matched` needs to know which fields are meant.
fn check_matched(condition: &Condition, actions: &[(Action, Place)], cx: &mut Loader<'_>) {
    let finds = condition.certain().into_iter().any(AnyCheck::finds_lines);
    for (action, place) in actions {
        let mut wants = false;
        action.each(&mut |action| wants |= matches!(action, Action::RemoveMatched));
        if wants && !finds {
            let message = "`remove_header: matched` needs `forged_headers` under `when`, and not under any, not or unless";
            cx.mistake(*place, message);
        }
    }
}

/// What changes parts needs to know which.
fn check_parts(condition: &Condition, actions: &[(Action, Place)], cx: &mut Loader<'_>) {
    let finds = condition.certain().into_iter().any(AnyCheck::finds_parts);
    for (action, place) in actions.iter().filter(|(action, _)| action.edits_parts() && !finds) {
        let message = format!(
            "`{}` needs `attachment` under `when`, and not under any, not or unless",
            action.parts_word()
        );
        cx.mistake(*place, message);
    }
}

/// Where the list stands that was probably meant, and why it is not.
fn astray(condition: &Condition, fits: impl Fn(&Arc<List>) -> bool) -> String {
    let mut found = None;
    condition.each_check(&mut |check| {
        let of_fields = match check {
            AnyCheck::Header(header) => header.lists_of_fields(),
            _ => Vec::new(),
        };
        let loose = check.listed().into_iter().find(&fits).map(|list| {
            format!("asks `{}` only under any, not or unless, where it need not have matched", list.name())
        });
        let of_field = of_fields.into_iter().find(&fits).map(|list| {
            let name = list.name();
            format!("asks `{name}` about the text of a field: header: {{in: …}} asks lists `of: header` about whole lines")
        });
        found = found.take().or(loose).or(of_field);
    });
    found.unwrap_or_else(|| "asks none".into())
}

/// A value without its places, to compare two.
pub(super) fn shape(node: &Node) -> String {
    use crate::yaml::Value;
    match &node.value {
        Value::Scalar(scalar) => format!("{:?}{}", scalar.text, scalar.quoted),
        Value::Seq(items) => format!("[{}]", items.iter().map(shape).collect::<Vec<_>>().join(",")),
        Value::Map(entries) => {
            let shown: Vec<_> =
                entries.iter().map(|entry| format!("{}:{}", entry.key, shape(&entry.value))).collect();
            format!("{{{}}}", shown.join(","))
        }
    }
}
