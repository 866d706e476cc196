//! `then`: reads what a rule does, as it is written in YAML.

use super::TooLarge;
use super::action::Action;
use super::action::Addition;
use super::action::Change;
use super::action::Listing;
use super::action::ReplyText;
use super::action::words;
use super::template::Template;
use crate::facts::TagId;
use crate::lists::Pattern;
use crate::lists::Subject;
use crate::near::did_you_mean;
use crate::quantity::parse_duration;
use crate::state::LONGEST_LISTING;
use crate::values::Loader;
use crate::values::number;
use crate::yaml::Entry;
use crate::yaml::Node;
use crate::yaml::Place;
use crate::yaml::Value;
use std::time::Duration;

/// Old words and what to say instead.
const INSTEAD: &[(&str, &str)] = &[
    ("prepend", "add_header"),
    ("replace", "change_header"),
    ("ignore", "remove_header"),
    ("strip", "remove_header"),
    ("warn", "log"),
    ("info", "log"),
    ("ok", "accept"),
    ("dunno", "nothing: what no rule refuses goes on"),
    ("quarantine", "hold"),
    ("tempfail", "defer"),
    ("defer_if_reject", "defer"),
];

/// What an action's texts may say and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    pub rule: &'a str,
    pub variables: &'a [String],
    pub allow_relay: bool,
}

/// Reads `then`, with the place of each action.
pub(super) fn read(node: &Node, around: Around<'_>, cx: &mut Loader<'_>) -> Option<Vec<(Action, Place)>> {
    let actions = read_list(node, around, cx)?;
    if actions.is_empty() {
        cx.mistake(node.place, "an action is missing here");
        return None;
    }
    let early = actions.iter().take(actions.len() - 1).find(|(action, _)| action.ends());
    if let Some((action, place)) = early {
        let message = format!("`{}` ends the rules: it must be the last action", action.word());
        cx.mistake(*place, message);
        return None;
    }
    Some(actions)
}

fn read_list(node: &Node, around: Around<'_>, cx: &mut Loader<'_>) -> Option<Vec<(Action, Place)>> {
    let mut fine = true;
    let mut actions = Vec::new();
    for item in node.items() {
        match &item.value {
            Value::Scalar(scalar) => {
                let entry = bare(&scalar.text, item.place);
                match read_one(&entry, true, around, cx) {
                    Some(action) => actions.push((action, item.place)),
                    None => fine = false,
                }
            }
            Value::Map(entries) => {
                if entries.len() > 1 && entries.iter().all(|entry| is_action(&entry.key)) {
                    cx.mistake(item.place, "several actions are a list: `- reject: …`, one item each");
                    fine = false;
                    continue;
                }
                for entry in entries {
                    match read_one(entry, false, around, cx) {
                        Some(action) => actions.push((action, entry.key_place)),
                        None => fine = false,
                    }
                }
            }
            Value::Seq(_) => {
                cx.mistake(item.place, "an action is a word or a map, not a list");
                fine = false;
            }
        }
    }
    fine.then_some(actions)
}

fn bare(word: &str, place: Place) -> Entry {
    Entry {
        key: word.to_owned(),
        key_quoted: false,
        key_place: place,
        value: Node { place, value: Value::Seq(Vec::new()) },
    }
}

fn is_action(word: &str) -> bool {
    words().any(|known| known == word)
}

fn read_one(entry: &Entry, is_bare: bool, around: Around<'_>, cx: &mut Loader<'_>) -> Option<Action> {
    let node = &entry.value;
    let word = entry.key.as_str();
    if !is_action(word) {
        let message = match INSTEAD.iter().find(|(old, _)| *old == word) {
            Some((_, new)) => format!("no action `{word}`; say {new}"),
            None if !is_bare && node.as_text() == Some("") => {
                "no action of this name; a text with a comma inside {…} must be quoted".to_owned()
            }
            None => format!("no action `{word}`{}", did_you_mean(word, words())),
        };
        cx.mistake(entry.key_place, message);
        return None;
    }
    if is_bare {
        return read_bare(word, entry.key_place, around, cx);
    }
    match word {
        "accept" | "as_listed" | "permit" => {
            cx.mistake(node.place, format!("`{word}` takes no value"));
            None
        }
        "add_header" => additions(node, around, cx).map(Action::AddHeader),
        "bcc" => address(node, word, cx).map(Action::Bcc),
        "change_header" => changes(node, around, cx).map(Action::ChangeHeader),
        "change_sender" => sender(node, cx).map(Action::ChangeSender),
        "defer" => reply(node, Class::Temporary, word, around, cx).map(Action::Defer),
        "defer_if_permit" => reply(node, Class::Temporary, word, around, cx).map(Action::DeferIfPermit),
        "discard" => text(node, word, around, cx).map(Action::Discard),
        "filter" => filter(node, cx).map(Action::Filter),
        "first_of" => first_of(node, around, cx).map(Action::FirstOf),
        "hold" => text(node, word, around, cx).map(Action::Hold),
        "list" => listing(node, cx).map(Action::List),
        "log" => text(node, word, around, cx).map(Action::Log),
        "redirect" => address(node, word, cx).map(Action::Redirect),
        "reject" => reply(node, Class::Permanent, word, around, cx).map(Action::Reject),
        "remove_header" if node.as_word() == Some("matched") => Some(Action::RemoveMatched),
        "remove_header" => removals(node, cx).map(Action::RemoveHeader),
        "remove_parts" => {
            cx.mistake(
                node.place,
                "`remove_parts` takes no value: it takes out what the rule's `attachment` found",
            );
            None
        }
        "rename_parts" => text(node, word, around, cx).map(Action::RenameParts),
        "replace_body" => text(node, word, around, cx).map(Action::ReplaceBody),
        "replace_parts" => text(node, word, around, cx).map(Action::ReplaceParts),
        "score" => score(node, cx).map(Action::Score),
        _ => tags(node, cx).map(Action::Tag),
    }
}

fn read_bare(word: &str, place: Place, around: Around<'_>, cx: &mut Loader<'_>) -> Option<Action> {
    let default = |code, enhanced| {
        let text = format!("refused by rule {}", around.rule);
        ReplyText { code, enhanced, text: Template::fixed(&text) }
    };
    match word {
        "accept" => Some(Action::Accept),
        "as_listed" => Some(Action::AsListed),
        "defer" => Some(Action::Defer(default(450, [4, 7, 1]))),
        "defer_if_permit" => Some(Action::DeferIfPermit(default(450, [4, 7, 1]))),
        "discard" => Some(Action::Discard(Template::fixed(&format!("rule {}", around.rule)))),
        "hold" => Some(Action::Hold(Template::fixed(&format!("rule {}", around.rule)))),
        "permit" if around.allow_relay => Some(Action::Permit),
        "permit" => {
            cx.mistake(place, "`permit` can make an open relay: say accept, or put `allow_relay: true` at the top of the file");
            None
        }
        "reject" => Some(Action::Reject(default(554, [5, 7, 1]))),
        "remove_parts" => Some(Action::RemoveParts),
        _ => {
            cx.mistake(place, format!("`{word}` needs a value: {{{word}: …}}"));
            None
        }
    }
}

/// What a rule with a limit says to a mail that alone is more than that.
pub(super) fn too_large(
    node: Option<&Node>,
    actions: &[(Action, Place)],
    around: Around<'_>,
    cx: &mut Loader<'_>,
) -> Option<TooLarge> {
    let Some(node) = node else {
        let text = "more than the limit of {key} could ever allow ({burst})";
        let text = Template::parse(text, around.variables, Place::default(), cx)?;
        return Some(TooLarge { reply: ReplyText { code: 552, enhanced: [5, 3, 4], text }, is_own: false });
    };
    let mut refuses = false;
    for (action, _) in actions {
        let is_refusal = |action: &Action| {
            matches!(action, Action::Defer(_) | Action::DeferIfPermit(_) | Action::Reject(_))
        };
        action.each(&mut |action| refuses |= is_refusal(action));
    }
    if !refuses {
        let message =
            "`too_large` takes the place of reject, defer or defer_if_permit: this rule has none of them";
        cx.mistake(node.place, message);
        return None;
    }
    let reply = reply(node, Class::TooLarge, "too_large", around, cx)?;
    Some(TooLarge { reply, is_own: true })
}

#[derive(Clone, Copy, PartialEq)]
enum Class {
    Permanent,
    Temporary,
    TooLarge,
}

/// `"[NNN] [X.Y.Z] TEXT"`.
fn reply(
    node: &Node,
    class: Class,
    word: &str,
    around: Around<'_>,
    cx: &mut Loader<'_>,
) -> Option<ReplyText> {
    let whole = cx.whole_text(node, word)?;
    let (digit, defaults) = match class {
        Class::Permanent => (5, (554, [5, 7, 1])),
        Class::Temporary => (4, (450, [4, 7, 1])),
        Class::TooLarge => (5, (552, [5, 3, 4])),
    };
    let mut fine = true;
    let (code, rest) = split_code(whole);
    if let Some(code) = code.filter(|code| code / 100 != digit) {
        cx.mistake(node.place, format!("`{word}` needs a {digit}xx code, not {code}"));
        fine = false;
    }
    let (enhanced, rest) = split_enhanced(rest);
    if let Some([first, subject, detail]) = enhanced.filter(|enhanced| enhanced[0] != digit) {
        cx.mistake(
            node.place,
            format!("`{word}` needs a {digit}.x.x enhanced code, not {first}.{subject}.{detail}"),
        );
        fine = false;
    }
    if word == "defer_if_permit" && code.is_some_and(|code| code == 421) {
        cx.mistake(node.place, "`defer_if_permit` can't hang up: 421 is for defer");
        fine = false;
    }
    let text = if rest.is_empty() {
        Template::fixed(&format!("refused by rule {}", around.rule))
    } else {
        Template::parse(rest, around.variables, node.place, cx)?
    };
    let (default_code, default_enhanced) = defaults;
    fine.then(|| ReplyText {
        code: code.unwrap_or(default_code),
        enhanced: enhanced.unwrap_or(default_enhanced),
        text,
    })
}

/// Three digits and then a blank or the end.
pub(super) fn split_code(text: &str) -> (Option<u16>, &str) {
    let text = text.trim();
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    let is_code = first.len() == 3 && first.bytes().all(|b| b.is_ascii_digit());
    match first.parse::<u16>() {
        Ok(code) if is_code => (Some(code), rest.trim_start()),
        _ => (None, text),
    }
}

/// `X.Y.Z` and then a blank or the end (RFC 3463: one, three and three digits).
pub(super) fn split_enhanced(text: &str) -> (Option<[u16; 3]>, &str) {
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    let numbers: Vec<_> = first.split('.').collect();
    let [class, subject, detail] = numbers.as_slice() else {
        return (None, text);
    };
    let fits = |digits: &str, most: usize| {
        !digits.is_empty() && digits.len() <= most && digits.bytes().all(|b| b.is_ascii_digit())
    };
    if !(fits(class, 1) && fits(subject, 3) && fits(detail, 3)) {
        return (None, text);
    }
    match (class.parse(), subject.parse(), detail.parse()) {
        (Ok(class), Ok(subject), Ok(detail)) => (Some([class, subject, detail]), rest.trim_start()),
        _ => (None, text),
    }
}

fn text(node: &Node, word: &str, around: Around<'_>, cx: &mut Loader<'_>) -> Option<Template> {
    let text = cx.whole_text(node, word)?;
    if text.trim().is_empty() {
        cx.mistake(node.place, format!("`{word}` needs a text"));
        return None;
    }
    Template::parse(text, around.variables, node.place, cx)
}

/// Addresses are constants: built from mail, they would let a stranger steer it.
fn address(node: &Node, word: &str, cx: &mut Loader<'_>) -> Option<String> {
    let text = cx.text(node, word)?;
    let (local, domain) = text.rsplit_once('@').unwrap_or_default();
    let plain = !text
        .contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '{' | '}' | ','));
    if local.is_empty() || domain.is_empty() || !plain {
        cx.mistake(
            node.place,
            format!("`{text}` is not an address such as user@example.com; it can't hold variables"),
        );
        return None;
    }
    Some(text.to_owned())
}

fn sender(node: &Node, cx: &mut Loader<'_>) -> Option<String> {
    if node.as_text() == Some("<>") {
        return Some(String::new());
    }
    address(node, "change_sender", cx)
}

fn filter(node: &Node, cx: &mut Loader<'_>) -> Option<String> {
    let text = cx.text(node, "filter")?;
    let (transport, _) = text.split_once(':').unwrap_or_default();
    let plain = !text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '{' | '}'));
    if transport.is_empty() || !plain {
        cx.mistake(node.place, format!("`{text}` is not transport:nexthop, such as `smtp:[192.0.2.1]:10025` or `slow:`; it can't hold variables"));
        return None;
    }
    Some(text.to_owned())
}

fn first_of(node: &Node, around: Around<'_>, cx: &mut Loader<'_>) -> Option<Vec<Action>> {
    let actions = read_list(node, around, cx)?;
    if actions.is_empty() || node.as_seq().is_none() {
        cx.mistake(node.place, "first_of needs a list of actions");
        return None;
    }
    Some(actions.into_iter().map(|(action, _)| action).collect())
}

fn listing(node: &Node, cx: &mut Loader<'_>) -> Option<Listing> {
    let Some(entries) = node.as_map() else {
        cx.mistake(node.place, "`list` needs {key: ATTRIBUTE, reason: WORD, for: TIME}");
        return None;
    };
    let fine = cx.only_keys(entries, &["key", "reason", "for"], "list");
    let (Some(key), Some(reason), Some(periods)) = (node.get("key"), node.get("reason"), node.get("for"))
    else {
        cx.mistake(node.place, "`list` needs key, reason and for");
        return None;
    };
    let key = cx.key_fact(key);
    let reason = cx.word(reason, "a reason").map(str::to_owned);
    let mut each = Vec::new();
    for item in cx.some_items(periods, "for")? {
        let text = cx.text(item, "a time")?;
        match parse_duration(text)
            .filter(|period| (Duration::from_secs(1)..=LONGEST_LISTING).contains(period))
        {
            Some(period) => each.push(period),
            None => {
                cx.mistake(item.place, format!("`{text}` is not a time such as 4h, from 1s to 366d"));
                return None;
            }
        }
    }
    fine.then_some(())?;
    Some(Listing { key: key?, reason: reason?, periods: each })
}

fn score(node: &Node, cx: &mut Loader<'_>) -> Option<Change> {
    if node.as_word() == Some("as_listed") {
        return Some(Change::AsListed);
    }
    number(node, "score", cx).map(Change::Points)
}

fn tags(node: &Node, cx: &mut Loader<'_>) -> Option<Vec<TagId>> {
    let mut tags = Vec::new();
    for item in cx.some_items(node, "tag")? {
        let name = cx.text(item, "a tag")?;
        let plain = !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        if !plain {
            cx.mistake(item.place, format!("`{name}` is not a tag: letters, digits, `_`, `-` and `.`"));
            return None;
        }
        tags.push(cx.tag(name));
    }
    Some(tags)
}

/// RFC 5322, 2.2: printable ASCII but the colon.
fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 76 && name.bytes().all(|b| b.is_ascii_graphic() && b != b':')
}

fn header_name(name: &str, place: Place, cx: &mut Loader<'_>) -> Option<String> {
    if !is_header_name(name) {
        cx.mistake(place, format!("`{name}` is not the name of a header field"));
        return None;
    }
    Some(name.to_owned())
}

fn named<'n>(node: &'n Node, word: &str, cx: &mut Loader<'_>) -> Option<&'n [Entry]> {
    let entries = node.as_map().filter(|entries| !entries.is_empty());
    if entries.is_none() {
        cx.mistake(node.place, format!("`{word}` needs a map {{Name: text}}"));
    }
    entries
}

fn additions(node: &Node, around: Around<'_>, cx: &mut Loader<'_>) -> Option<Vec<Addition>> {
    let mut additions = Vec::new();
    for entry in named(node, "add_header", cx)? {
        let name = header_name(&entry.key, entry.key_place, cx)?;
        let (text, at_end) = match entry.value.as_map() {
            None => (&entry.value, false),
            Some(options) => {
                cx.only_keys(options, &["text", "at"], "add_header");
                let Some(text) = entry.value.get("text") else {
                    cx.mistake(entry.value.place, "add_header needs `text`");
                    return None;
                };
                let at = entry.value.get("at");
                match at.map(|at| at.as_text().unwrap_or_default()) {
                    None | Some("start") => (text, false),
                    Some("end") => (text, true),
                    Some(other) => {
                        let place = at.map_or(entry.value.place, |at| at.place);
                        cx.mistake(place, format!("`{other}` is not a place in the header: start end"));
                        return None;
                    }
                }
            }
        };
        let text = cx.whole_text(text, "add_header").map(|value| (value, text.place))?;
        additions.push(Addition {
            name,
            value: Template::parse(text.0, around.variables, text.1, cx)?,
            at_end,
        });
    }
    Some(additions)
}

fn changes(node: &Node, around: Around<'_>, cx: &mut Loader<'_>) -> Option<Vec<(String, Template)>> {
    let mut variables = around.variables.to_vec();
    variables.push("old".into());
    let mut changes = Vec::new();
    for entry in named(node, "change_header", cx)? {
        let name = header_name(&entry.key, entry.key_place, cx)?;
        let text = cx.whole_text(&entry.value, "change_header")?;
        changes.push((name, Template::parse(text, &variables, entry.value.place, cx)?));
    }
    Some(changes)
}

fn removals(node: &Node, cx: &mut Loader<'_>) -> Option<Vec<(String, Option<Pattern>)>> {
    let mut removals = Vec::new();
    if let Some(entries) = node.as_map() {
        for entry in entries {
            let name = header_name(&entry.key, entry.key_place, cx)?;
            for item in entry.value.items() {
                let text = cx.text(item, "a pattern")?;
                match Pattern::parse(text, item.as_word().is_none(), Subject::Text) {
                    Ok(pattern) => removals.push((name.clone(), Some(pattern))),
                    Err(message) => {
                        cx.mistake(item.place, message);
                        return None;
                    }
                }
            }
        }
        return Some(removals);
    }
    for item in node.items() {
        let name = cx.text(item, "the name of a header field")?;
        removals.push((header_name(name, item.place, cx)?, None));
    }
    Some(removals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_split_off_a_reply() {
        assert_eq!(split_code("550 5.7.1 no"), (Some(550), "5.7.1 no"));
        assert_eq!(split_code("5500 x"), (None, "5500 x"));
        assert_eq!(split_code("550"), (Some(550), ""));
        assert_eq!(split_enhanced("5.7.1 no"), (Some([5, 7, 1]), "no"));
        assert_eq!(split_enhanced("1.2.3.4 no"), (None, "1.2.3.4 no"));
        assert_eq!(split_enhanced("5.7. no"), (None, "5.7. no"));
    }
}
