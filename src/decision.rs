//! One decision as it is written down: who asked, what was decided, by which
//! rule and why. The log shows it; `explain` and whoever reads JSON get the same.

use crate::journal::field;
use serde::Serialize;
use std::fmt::Write as _;

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
pub struct Decision {
    pub about: About,
    pub id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub queue_id: String,
    #[serde(flatten)]
    pub ruling: Ruling,
    /// What would have happened were all rules enforced, if that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would: Option<Ruling>,
    pub client_address: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub helo_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sasl_username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sender: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub recipient: String,
    /// Accepted, and refused by whomever.
    pub recipients: usize,
    pub refused: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    pub direction: String,
    pub listener: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(skip_serializing_if = "is_zero")]
    pub score: f64,
    /// Which protocols saw it: `policy`, `milter`, `both`.
    pub seen_by: &'static str,
}

fn is_zero(score: &f64) -> bool {
    *score == 0.0
}

impl Decision {
    /// `key=value key="quoted value"`, on one line.
    pub fn line(&self) -> String {
        let mut line = String::with_capacity(256);
        let about = match self.about {
            About::Client => "client",
            About::Message => "message",
            About::Recipient => "recipient",
        };
        // Writing to a String can't fail.
        let _ = write!(line, "{about} {}", self.ruling.verdict);
        let mut put = |key: &str, value: &str| {
            if !value.is_empty() {
                field(&mut line, key, value);
            }
        };
        put("id", &self.id);
        put("queue_id", &self.queue_id);
        put("rule", self.ruling.rule.as_deref().unwrap_or_default());
        put("because", &self.ruling.because);
        put("text", &self.ruling.text);
        if let Some(would) = &self.would {
            put("would", would.verdict);
            put("would_rule", would.rule.as_deref().unwrap_or_default());
            put("would_because", &would.because);
        }
        put("client", &self.client_address);
        put("client_name", &self.client_name);
        put("helo", &self.helo_name);
        put("sasl_username", &self.sasl_username);
        put("from", &self.sender);
        put("to", &self.recipient);
        if self.about == About::Message {
            put("recipients", &self.recipients.to_string());
            put("refused", &self.refused.to_string());
        }
        put("size", &self.size.map(|size| size.to_string()).unwrap_or_default());
        put("direction", &self.direction);
        put("listener", &self.listener);
        put("tags", &self.tags.join(","));
        if self.score != 0.0 {
            put("score", &crate::checks::show_score(self.score));
        }
        put("seen_by", self.seen_by);
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_quotes_what_strangers_wrote_and_leaves_out_what_is_not_known() {
        let decision = Decision {
            about: About::Recipient,
            id: "1a".into(),
            ruling: Ruling {
                verdict: "reject",
                rule: Some("helo-is-us".into()),
                because: "helo_name `a b` fits".into(),
                text: String::new(),
            },
            client_address: "192.0.2.1".into(),
            sender: "a\nb@c.test".into(),
            direction: "inbound".into(),
            listener: "default".into(),
            seen_by: "policy",
            ..Decision::default()
        };
        let line = decision.line();
        assert!(
            line.starts_with("recipient reject id=1a rule=helo-is-us because=\"helo_name `a b` fits\""),
            "{line}"
        );
        assert!(!line.contains('\n') && !line.contains("queue_id"), "{line}");
    }
}
