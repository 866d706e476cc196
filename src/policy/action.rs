//! `then`: what a rule does, as it is written and as it is meant.

use super::template::Template;
use crate::facts::Stage;
use crate::facts::TagId;
use crate::lists::Pattern;
use crate::lists::Subject;
use crate::values::Loader;
use crate::values::near;
use crate::values::number;
use crate::yaml::Entry;
use crate::yaml::Node;
use crate::yaml::Place;
use crate::yaml::Value;

/// One action, in the order of the documents.
#[derive(Clone, Debug)]
pub enum Action {
    Accept,
    AddHeader(Vec<Addition>),
    AsListed,
    Bcc(String),
    ChangeHeader(Vec<(String, Template)>),
    ChangeSender(String),
    Defer(ReplyText),
    DeferIfPermit(ReplyText),
    Discard(Template),
    Filter(String),
    FirstOf(Vec<Self>),
    Hold(Template),
    Log(Template),
    Permit,
    Redirect(String),
    Reject(ReplyText),
    RemoveHeader(Vec<(String, Option<Pattern>)>),
    ReplaceBody(Template),
    Score(Change),
    Tag(Vec<TagId>),
}

/// A header field that is added.
#[derive(Clone, Debug)]
pub struct Addition {
    pub name: String,
    pub value: Template,
    /// Below all others rather than above them.
    pub at_end: bool,
}

/// Points that a rule gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// What the matched entry of a list `to: number` says.
    AsListed,
    Points(f64),
}

/// A reply whose text is still to be filled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReplyText {
    pub code: u16,
    pub enhanced: [u16; 3],
    pub text: Template,
}

/// One row of the reference documentation.
struct ActionInfo {
    word: &'static str,
    ends: bool,
    /// The earliest stage at which it can be done.
    stage: Stage,
    delegation: &'static str,
    milter: &'static str,
    doc: &'static str,
}

const fn info(
    word: &'static str,
    ends: bool,
    stage: Stage,
    delegation: &'static str,
    milter: &'static str,
    doc: &'static str,
) -> ActionInfo {
    ActionInfo { word, ends, stage, delegation, milter, doc }
}

use Stage::Connect;
use Stage::Message;

const ACTIONS: &[ActionInfo] = &[
    info(
        "accept",
        true,
        Connect,
        "DUNNO",
        "continue",
        "Ends the rest of its own file at this stage. Never OK: other restrictions and other files still decide.",
    ),
    info(
        "reject",
        true,
        Connect,
        "code and text",
        "reply",
        "Refuses for good. `\"[5NN] [5.Y.Z] text\"`, else 554 5.7.1 and a text with the rule's name; 521 hangs up.",
    ),
    info(
        "defer",
        true,
        Connect,
        "code and text",
        "reply",
        "Refuses for now. `\"[4NN] [4.Y.Z] text\"`, else 450 4.7.1; 421 hangs up.",
    ),
    info("discard", true, Connect, "DISCARD", "discard", "Says yes and throws the whole message away."),
    info(
        "defer_if_permit",
        false,
        Connect,
        "DEFER_IF_PERMIT",
        "4xx at the end",
        "Refuses for now what would otherwise be accepted: what limits should say.",
    ),
    info(
        "hold",
        false,
        Connect,
        "HOLD",
        "quarantine",
        "Puts the whole message into Postfix's hold queue, with a reason.",
    ),
    info(
        "filter",
        false,
        Connect,
        "FILTER",
        "load error",
        "`transport:nexthop` for the whole message. A constant.",
    ),
    info(
        "redirect",
        false,
        Connect,
        "REDIRECT",
        "recipients changed",
        "Sends the whole message to this address instead. A constant.",
    ),
    info("bcc", false, Connect, "BCC", "recipient added", "Adds a recipient. A constant."),
    info(
        "add_header",
        false,
        Connect,
        "PREPEND, once a transaction",
        "insert, or add with `at: end`",
        "`{Name: text}`, or `{Name: {text: …, at: end}}`.",
    ),
    info(
        "change_header",
        false,
        Message,
        "–",
        "change",
        "`{Name: text}` for each field of this name; `{old}` is its value. Fails when there is none.",
    ),
    info(
        "remove_header",
        false,
        Message,
        "–",
        "remove",
        "`Name`, `[Name…]`, or `{Name: pattern}` for those whose value fits.",
    ),
    info("change_sender", false, Message, "–", "change", "Another envelope sender. A constant."),
    info("replace_body", false, Message, "–", "replace", "Another body for the message; its header stays."),
    info("tag", false, Connect, "–", "–", "A word, or several, for rules below and for the other protocol."),
    info("score", false, Connect, "–", "–", "Points, or `as_listed` for what a list `to: number` says."),
    info("log", false, Connect, "WARN", "–", "A line in the log, ours and Postfix's."),
    info(
        "as_listed",
        true,
        Connect,
        "as listed",
        "as listed",
        "What the matched line of a list `to: action` says: access(5), header_checks(5).",
    ),
    info(
        "first_of",
        false,
        Connect,
        "–",
        "–",
        "A list of actions, tried until one succeeds. Fails when none does.",
    ),
    info(
        "permit",
        true,
        Connect,
        "OK",
        "accept",
        "Ends Postfix's restriction list with a yes. Only in a file that says `allow_relay: true`: it can make an open relay.",
    ),
];

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
    ACTIONS.iter().any(|info| info.word == word)
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
            None => format!("no action `{word}`{}", near(word, ACTIONS.iter().map(|info| info.word))),
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
        "log" => text(node, word, around, cx).map(Action::Log),
        "redirect" => address(node, word, cx).map(Action::Redirect),
        "reject" => reply(node, Class::Permanent, word, around, cx).map(Action::Reject),
        "remove_header" => removals(node, cx).map(Action::RemoveHeader),
        "replace_body" => text(node, word, around, cx).map(Action::ReplaceBody),
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
        _ => {
            cx.mistake(place, format!("`{word}` needs a value: {{{word}: …}}"));
            None
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Class {
    Permanent,
    Temporary,
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

impl Action {
    fn info(&self) -> &'static ActionInfo {
        let word = match self {
            Self::Accept => "accept",
            Self::AddHeader(_) => "add_header",
            Self::AsListed => "as_listed",
            Self::Bcc(_) => "bcc",
            Self::ChangeHeader(_) => "change_header",
            Self::ChangeSender(_) => "change_sender",
            Self::Defer(_) => "defer",
            Self::DeferIfPermit(_) => "defer_if_permit",
            Self::Discard(_) => "discard",
            Self::Filter(_) => "filter",
            Self::FirstOf(_) => "first_of",
            Self::Hold(_) => "hold",
            Self::Log(_) => "log",
            Self::Permit => "permit",
            Self::Redirect(_) => "redirect",
            Self::Reject(_) => "reject",
            Self::RemoveHeader(_) => "remove_header",
            Self::ReplaceBody(_) => "replace_body",
            Self::Score(_) => "score",
            Self::Tag(_) => "tag",
        };
        ACTIONS.iter().find(|info| info.word == word).unwrap_or(&ACTIONS[0])
    }

    pub fn word(&self) -> &'static str {
        self.info().word
    }

    /// Whether no rule behind it is asked: in a chain, whether any of it ends.
    pub fn ends(&self) -> bool {
        match self {
            Self::FirstOf(actions) => actions.iter().any(Self::ends),
            action => action.info().ends,
        }
    }

    /// The earliest stage at which it can be done.
    pub fn stage(&self) -> Stage {
        match self {
            Self::FirstOf(actions) => actions.iter().map(Self::stage).max().unwrap_or_default(),
            action => action.info().stage,
        }
    }

    /// Whether it must know which header fields there are.
    pub fn edits_headers(&self) -> bool {
        match self {
            Self::FirstOf(actions) => actions.iter().any(Self::edits_headers),
            Self::ChangeHeader(_) | Self::RemoveHeader(_) => true,
            _ => false,
        }
    }

    /// The texts that are filled when it is done.
    pub(super) fn each_text<'a>(&'a self, visit: &mut dyn FnMut(&'a Template)) {
        self.each(&mut |action| match action {
            Self::AddHeader(additions) => additions.iter().for_each(|addition| visit(&addition.value)),
            Self::ChangeHeader(changes) => changes.iter().for_each(|(_, text)| visit(text)),
            Self::Defer(reply) | Self::DeferIfPermit(reply) | Self::Reject(reply) => visit(&reply.text),
            Self::Discard(text) | Self::Hold(text) | Self::Log(text) | Self::ReplaceBody(text) => visit(text),
            Self::Accept
            | Self::AsListed
            | Self::Bcc(_)
            | Self::ChangeSender(_)
            | Self::Filter(_)
            | Self::FirstOf(_)
            | Self::Permit
            | Self::Redirect(_)
            | Self::RemoveHeader(_)
            | Self::Score(_)
            | Self::Tag(_) => {}
        });
    }

    /// It and, for a chain, what is in it.
    pub fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a Self)) {
        visit(self);
        if let Self::FirstOf(actions) = self {
            actions.iter().for_each(|action| action.each(visit));
        }
    }
}

/// The words that may stand in `expect:` and `fails:`.
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    ACTIONS.iter().map(|info| info.word)
}

/// The reference page of actions.
pub fn reference() -> String {
    let mut page = String::from(
        "# Actions\n\nWritten by `UPDATE=1 cargo test --test tidy`.\n\n\
         What a rule does, in `then`. At most one action ends, and it is the last.\n\n\
         | action | ends | policy delegation says | the milter says | what it does |\n\
         | --- | --- | --- | --- | --- |\n",
    );
    for info in ACTIONS {
        let ends = if info.ends { "yes" } else { "goes on" };
        page +=
            &format!("| `{}` | {ends} | {} | {} | {} |\n", info.word, info.delegation, info.milter, info.doc);
    }
    page
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
