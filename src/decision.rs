//! One decision as it is written down: who asked, what was decided, by which
//! rule and why. The log shows it; `explain` and whoever reads JSON get the same.

use crate::journal::push_quoted;
use serde::Serialize;

/// What a decision was about.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// A connection, HELO or sender that was refused before there was a recipient.
    Client,
    /// A whole message, once it has come to its end.
    #[default]
    Message,
    /// One recipient that was refused, or would have been.
    Recipient,
}

/// Who says what happens and why.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Ruling {
    /// `accept`, `reject`, `defer`, `defer_if_permit`, `discard`, `hold`, `aborted`.
    pub verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub because: String,
    /// What Postfix was told.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
}

impl Ruling {
    pub fn is_plain(&self) -> bool {
        self.rule.is_none()
    }
}

/// One line of the log. Fields that are empty are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Decision<'a> {
    pub about: About,
    pub id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub queue_id: &'a str,
    #[serde(flatten)]
    pub ruling: Ruling,
    /// What would have happened were all rules enforced, if that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would: Option<Ruling>,
    pub client_address: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub client_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub helo_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub sasl_username: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub sender: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub recipient: &'a str,
    /// Accepted, and refused by whomever.
    pub recipients: usize,
    pub refused: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    pub direction: &'a str,
    pub listener: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<&'a str>,
    #[serde(skip_serializing_if = "is_zero")]
    pub score: f64,
    /// What was found in the message: kinds of files, and tricks.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub found: &'a [&'static str],
    /// What was changed in its parts.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub changed: &'a str,
    /// Which protocols saw it: `policy`, `milter`, `both`.
    pub seen_by: &'static str,
}

fn is_zero(score: &f64) -> bool {
    *score == 0.0
}

impl Decision<'_> {
    /// Appends `key=value key="quoted value"`, without a line end.
    pub fn write_to(&self, line: &mut String) {
        let about = match self.about {
            About::Client => "client",
            About::Message => "message",
            About::Recipient => "recipient",
        };
        line.push_str(about);
        line.push(' ');
        line.push_str(self.ruling.verdict);
        put_plain(line, " id=", self.id);
        put(line, " queue_id=", self.queue_id);
        put(line, " rule=", self.ruling.rule.as_deref().unwrap_or_default());
        put(line, " because=", &self.ruling.because);
        put(line, " text=", &self.ruling.text);
        if let Some(would) = &self.would {
            put(line, " would=", would.verdict);
            put(line, " would_rule=", would.rule.as_deref().unwrap_or_default());
            put(line, " would_because=", &would.because);
        }
        put(line, " client=", self.client_address);
        put(line, " client_name=", self.client_name);
        put(line, " helo=", self.helo_name);
        put(line, " sasl_username=", self.sasl_username);
        put(line, " from=", self.sender);
        put(line, " to=", self.recipient);
        let number = |line: &mut String, head: &str, number: u64| {
            line.push_str(head);
            line.push_str(itoa::Buffer::new().format(number));
        };
        if self.about == About::Message {
            number(line, " recipients=", self.recipients as u64);
            number(line, " refused=", self.refused as u64);
        }
        if let Some(size) = self.size {
            number(line, " size=", size);
        }
        put(line, " direction=", self.direction);
        put(line, " listener=", self.listener);
        if !self.tags.is_empty() {
            put(line, " tags=", &self.tags.join(","));
        }
        if self.score != 0.0 {
            put(line, " score=", &crate::checks::show_score(self.score));
        }
        if !self.found.is_empty() {
            put(line, " found=", &self.found.join(","));
        }
        put(line, " changed=", self.changed);
        put_plain(line, " seen_by=", self.seen_by);
    }
}

/// Appends ` key=` and a value, unless there is none.
fn put(line: &mut String, head: &str, value: &str) {
    if !value.is_empty() {
        line.push_str(head);
        push_quoted(line, value);
    }
}

/// The same for what we chose ourselves, and needs no quotes.
fn put_plain(line: &mut String, head: &str, value: &str) {
    if !value.is_empty() {
        line.push_str(head);
        line.push_str(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_quotes_what_strangers_wrote_and_leaves_out_what_is_not_known() {
        let decision = Decision {
            about: About::Recipient,
            id: "1a",
            ruling: Ruling {
                verdict: "reject",
                rule: Some("helo-is-us".into()),
                because: "helo_name `a b` fits".into(),
                text: String::new(),
            },
            client_address: "192.0.2.1",
            sender: "a\nb@c.test",
            direction: "inbound",
            listener: "default",
            seen_by: "policy",
            ..Decision::default()
        };
        let mut line = String::new();
        decision.write_to(&mut line);
        assert!(
            line.starts_with("recipient reject id=1a rule=helo-is-us because=\"helo_name `a b` fits\""),
            "{line}"
        );
        assert!(!line.contains('\n') && !line.contains("queue_id"), "{line}");
    }
}
