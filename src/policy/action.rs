//! The actions: what each holds, what becomes of it in either protocol, and what
//! is said of it in the documents.

use super::template::Template;
use crate::facts::Fact;
use crate::facts::Stage;
use crate::facts::TagId;
use crate::lists::Pattern;
use std::time::Duration;

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
    List(Listing),
    Log(Template),
    Permit,
    Redirect(String),
    Reject(ReplyText),
    RemoveHeader(Vec<(String, Option<Pattern>)>),
    /// The fields that the rule's own checks found.
    RemoveMatched,
    RemoveParts,
    RenameParts(Template),
    ReplaceBody(Template),
    ReplaceParts(Template),
    Score(Change),
    Tag(Vec<TagId>),
}

/// What is put on a timed list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listing {
    pub key: Fact,
    pub reason: String,
    /// For the first time, the second, and so on; never empty.
    pub periods: Vec<Duration>,
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
        "`Name`, `[Name…]`, or `{Name: pattern}` for those whose value fits; `matched` for those that the rule's `forged_headers` found.",
    ),
    info("change_sender", false, Message, "–", "change", "Another envelope sender. A constant."),
    info("replace_body", false, Message, "–", "replace", "Another body for the message; its header stays."),
    info(
        "remove_parts",
        false,
        Message,
        "–",
        "replace, change header",
        "Takes out the parts that the rule's `attachment` found, or of an archive the whole; every other byte stays. Fails where the author has signed or encrypted them (S/MIME, PGP), where readers disagree about the message (`ambiguous_mime`), and where not all of it was read. A DKIM signature is broken by it: the log says so, and `Authentication-Results`.",
    ),
    info(
        "rename_parts",
        false,
        Message,
        "–",
        "replace, change header",
        "Another name for these parts, such as `{file}.txt`, and `application/octet-stream` for their type. Fails like `remove_parts`.",
    ),
    info(
        "replace_parts",
        false,
        Message,
        "–",
        "replace, change header",
        "A text in their place. Fails like `remove_parts`.",
    ),
    info("tag", false, Connect, "–", "–", "A word, or several, for rules below and for the other protocol."),
    info("score", false, Connect, "–", "–", "Points, or `as_listed` for what a list `to: number` says."),
    info(
        "list",
        false,
        Connect,
        "–",
        "–",
        "`{key: ATTRIBUTE, reason: WORD, for: TIME}` puts the key on a timed list, which the check `listed` asks; `for: [1h, 4h, 24h]` takes longer for each repeat. Also where the rule then refuses.",
    ),
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
            Self::List(_) => "list",
            Self::Log(_) => "log",
            Self::Permit => "permit",
            Self::Redirect(_) => "redirect",
            Self::Reject(_) => "reject",
            Self::RemoveHeader(_) | Self::RemoveMatched => "remove_header",
            Self::RemoveParts => "remove_parts",
            Self::RenameParts(_) => "rename_parts",
            Self::ReplaceBody(_) => "replace_body",
            Self::ReplaceParts(_) => "replace_parts",
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
            Self::ChangeHeader(_) | Self::RemoveHeader(_) | Self::RemoveMatched => true,
            _ => false,
        }
    }

    /// Whether it must have the body as it came.
    pub fn edits_parts(&self) -> bool {
        match self {
            Self::FirstOf(actions) => actions.iter().any(Self::edits_parts),
            Self::RemoveParts | Self::RenameParts(_) | Self::ReplaceParts(_) => true,
            _ => false,
        }
    }

    /// The word of the first in it that changes parts.
    pub fn parts_word(&self) -> &'static str {
        match self {
            Self::FirstOf(actions) => {
                actions.iter().find(|action| action.edits_parts()).map_or("", Self::parts_word)
            }
            action => action.word(),
        }
    }

    /// The texts that are filled when it is done.
    pub(super) fn each_text<'a>(&'a self, visit: &mut dyn FnMut(&'a Template)) {
        self.each(&mut |action| match action {
            Self::AddHeader(additions) => additions.iter().for_each(|addition| visit(&addition.value)),
            Self::ChangeHeader(changes) => changes.iter().for_each(|(_, text)| visit(text)),
            Self::Defer(reply) | Self::DeferIfPermit(reply) | Self::Reject(reply) => visit(&reply.text),
            Self::Discard(text)
            | Self::Hold(text)
            | Self::Log(text)
            | Self::RenameParts(text)
            | Self::ReplaceBody(text)
            | Self::ReplaceParts(text) => visit(text),
            Self::Accept
            | Self::AsListed
            | Self::Bcc(_)
            | Self::ChangeSender(_)
            | Self::Filter(_)
            | Self::FirstOf(_)
            | Self::List(_)
            | Self::Permit
            | Self::Redirect(_)
            | Self::RemoveHeader(_)
            | Self::RemoveMatched
            | Self::RemoveParts
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
