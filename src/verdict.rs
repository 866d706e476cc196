//! What the engine says, independent of protocol: what ends, what is done, and
//! which rule wanted it.

use crate::message::Change;
use crate::reply::Reply;
use crate::reply::is_of_unknown_user;

/// Something a rule did, in the order of the rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// The rule's number within its policy.
    pub rule: u32,
    pub effect: Effect,
}

/// What happens to a message or recipient and lets the rules go on.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    AddHeader {
        name: String,
        value: String,
        at_end: bool,
    },
    Bcc(String),
    /// `occurrence` counts the fields of this name as received, from 1.
    ChangeHeader {
        name: String,
        occurrence: u32,
        value: String,
    },
    /// `part` by its place among the message's, `file` as it was found there.
    ChangePart {
        part: u32,
        file: String,
        change: Change,
    },
    ChangeSender(String),
    Filter(String),
    Hold(String),
    /// Above the field of this number among all as received, from 1.
    InsertHeader {
        place: u32,
        name: String,
        value: String,
    },
    Log(String),
    Permit,
    Redirect(String),
    RemoveHeader {
        name: String,
        occurrence: u32,
    },
    ReplaceBody(String),
}

impl Effect {
    /// The action's word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::AddHeader { .. } | Self::InsertHeader { .. } => "add_header",
            Self::Bcc(_) => "bcc",
            Self::ChangeHeader { .. } => "change_header",
            Self::ChangePart { change: Change::Remove, .. } => "remove_parts",
            Self::ChangePart { change: Change::Rename(_), .. } => "rename_parts",
            Self::ChangePart { change: Change::Replace(_), .. } => "replace_parts",
            Self::ChangeSender(_) => "change_sender",
            Self::Filter(_) => "filter",
            Self::Hold(_) => "hold",
            Self::Log(_) => "log",
            Self::Permit => "permit",
            Self::Redirect(_) => "redirect",
            Self::RemoveHeader { .. } => "remove_header",
            Self::ReplaceBody(_) => "replace_body",
        }
    }

    /// The text it was done with.
    pub fn text(&self) -> &str {
        match self {
            Self::AddHeader { value, .. }
            | Self::ChangeHeader { value, .. }
            | Self::InsertHeader { value, .. } => value,
            Self::ChangePart { change: Change::Rename(text) | Change::Replace(text), .. } => text,
            Self::ChangePart { file, .. } => file,
            Self::Bcc(text)
            | Self::ChangeSender(text)
            | Self::Filter(text)
            | Self::Hold(text)
            | Self::Log(text)
            | Self::Redirect(text)
            | Self::ReplaceBody(text) => text,
            Self::RemoveHeader { name, .. } => name,
            Self::Permit => "",
        }
    }
}

/// What ended the rules, or keeps the mail from going on.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    Defer(Reply),
    /// Only if nobody else refuses it for good.
    DeferIfPermit(Reply),
    Discard(String),
    Reject(Reply),
}

impl Refusal {
    /// Whether the client hears of it.
    pub fn is_told(&self) -> bool {
        !matches!(self, Self::Discard(_))
    }

    /// Whether it says that there is no such user.
    pub fn is_of_unknown_user(&self) -> bool {
        match self {
            Self::Defer(reply) | Self::DeferIfPermit(reply) | Self::Reject(reply) => {
                is_of_unknown_user(&reply.enhanced_code(), reply.text())
            }
            Self::Discard(_) => false,
        }
    }

    /// The action's word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Defer(_) => "defer",
            Self::DeferIfPermit(_) => "defer_if_permit",
            Self::Discard(_) => "discard",
            Self::Reject(_) => "reject",
        }
    }

    pub fn text(&self) -> String {
        match self {
            Self::Defer(reply) | Self::DeferIfPermit(reply) | Self::Reject(reply) => reply.to_string(),
            Self::Discard(text) => text.clone(),
        }
    }
}

/// The engine's answer for one recipient or one message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// The first refusal, and which rule it was.
    pub refusal: Option<(u32, Refusal)>,
    pub effects: Vec<Done>,
}

impl Verdict {
    /// Whether the recipient or message is not accepted (or thrown away).
    pub fn refuses(&self) -> bool {
        self.refusal.is_some()
    }

    /// Whether Postfix is told OK, from a file that allows it.
    pub fn permits(&self) -> bool {
        self.effects.iter().any(|done| done.effect == Effect::Permit)
    }

    pub fn is_held(&self) -> bool {
        self.effects.iter().any(|done| matches!(done.effect, Effect::Hold(_)))
    }

    /// The one word for logs and metrics: the gravest thing that happens.
    pub fn word(&self) -> &'static str {
        match &self.refusal {
            Some((_, refusal)) => refusal.word(),
            None if self.is_held() => "hold",
            None => "accept",
        }
    }

    /// The rule that decided, if one did.
    pub fn rule(&self) -> Option<u32> {
        let held = || self.effects.iter().find(|done| matches!(done.effect, Effect::Hold(_)));
        self.refusal.as_ref().map(|(rule, _)| *rule).or_else(|| held().map(|done| done.rule))
    }
}
