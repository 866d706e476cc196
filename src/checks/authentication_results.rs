//! # What it does
//! Matches when all is known that is told to those behind us in a header field
//! `Authentication-Results` (RFC 8601): what `spf`, `dkim`, `dmarc` and `arc` come to, and
//! that the client's name is verified. A failing DNS is told too (`temperror`).
//!
//! # Why
//! Mail programs and filters behind us show and weigh what was found here, without asking
//! again, and when the DNS may have changed. They believe such a field by the name in front,
//! so those of strangers that bear our name have to go: see `forged_headers`.
//!
//! # Options
//! - `name` (default: the first of `local.hostnames`): which of `local.hostnames` is our name in the field
//!   (`authserv-id`). Where there are none it never matches.
//!
//! A text may say `{authentication_results}`: the value of the field, of at most 890 bytes; signatures that do not fit
//! are left out.
//!
//! # Example
//! ```yaml
//! - authentication_results: {name: mx.example.com}
//! ```
//!
//! # Unknown when
//! The deadline comes before all is known.

use super::Bindings;
use super::Check;
use super::Context;
use super::Needs;
use super::Spf;
use super::Truth;
use super::dmarc;
use crate::auth;
use crate::dns::Name;
use crate::facts::Fact;
use crate::facts::NULL_SENDER;
use crate::lists::Query;
use crate::values::Loader;
use crate::yaml::Entry;

/// What it looks at beside the message.
pub(super) const READS: &[Fact] = &[Fact::ClientAddress, Fact::ClientName, Fact::HeloName, Fact::Sender];

#[derive(Clone, Debug)]
pub struct AuthenticationResults {
    /// None: nobody said who we are.
    name: Option<String>,
    sender: Spf,
}

impl Check for AuthenticationResults {
    const OPTIONS: &'static [&'static str] = &["name"];

    const MAY_STAND_BARE: bool = true;

    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
        let node = &entry.value;
        let hostnames = cx.lists.get("local.hostnames").ok();
        let ours = hostnames.and_then(|list| list.written().next()).map(str::to_owned);
        let is_ours = |name: &str| {
            hostnames.is_some_and(|list| list.contains(&Query { text: name, folded: name, ip: None }))
        };
        if node.as_word() == Some("true") {
            return Some(Self { name: ours, sender: Spf::of_sender(cx) });
        }
        let Some(options) = node.as_map() else {
            cx.mistake(node.place, "authentication_results is true, or {name: mx.example.com}");
            return None;
        };
        let fine = cx.only_keys(options, Self::OPTIONS, "authentication_results");
        let name = match node.get("name") {
            Some(node) => {
                let text = cx.text(node, "name")?;
                let Some(name) = Name::parse(text) else {
                    cx.mistake(node.place, format!("`{text}` is not a name such as mx.example.com"));
                    return None;
                };
                if !is_ours(name.as_str()) {
                    let message = format!(
                        "`{text}` is not one of local.hostnames, so `forged_headers` would leave what strangers say in its name: put it there"
                    );
                    cx.mistake(node.place, message);
                    return None;
                }
                Some(name.as_str().to_owned())
            }
            None => ours,
        };
        fine.then_some(Self { name, sender: Spf::of_sender(cx) })
    }

    fn needs(&self) -> Needs {
        Needs::of_signatures()
    }

    fn evaluate(&self, cx: &Context<'_>) -> Truth {
        if self.name.is_none() {
            return Truth::NoMatch;
        }
        if self.field(cx, "").is_some() { Truth::Match } else { Truth::Unknown }
    }

    fn because(&self, cx: &Context<'_>) -> String {
        let Some(name) = &self.name else {
            return "there is no name to tell it by: local.hostnames is empty".into();
        };
        self.field(cx, name).unwrap_or_else(|| "not all is known of who sent it".into())
    }

    fn variables(&self) -> Vec<String> {
        vec!["authentication_results".into()]
    }

    fn bind(&self, cx: &Context<'_>, bindings: &mut Bindings) {
        let field = self.name.as_ref().and_then(|name| self.field(cx, name));
        bindings.push(("authentication_results".into(), field.unwrap_or_default()));
    }
}

impl AuthenticationResults {
    /// None while something is not known.
    fn field(&self, cx: &Context<'_>, name: &str) -> Option<String> {
        // All are asked before any is waited for.
        let (dkim, arc, spf) = (cx.dkim(), cx.arc(), self.sender.said(cx));
        let dmarc = dmarc::found(&self.sender, cx);
        let (dkim, arc, spf, dmarc) = (dkim?, arc?, spf?, dmarc?);
        let spf = spf.as_ref().map(|(question, answer)| match question.sender.as_str() {
            // A host that names no sender speaks for itself.
            "" | NULL_SENDER => (answer.result.word(), "helo", question.helo.as_str()),
            sender => (answer.result.word(), "mailfrom", sender),
        });
        // Postfix calls a client by a name only if that leads back to its address.
        let client = cx.facts.text(Fact::ClientName).filter(|name| *name != "unknown");
        let results = auth::AuthenticationResults {
            spf,
            dkim: Some(&dkim),
            dmarc: Some(&dmarc),
            arc: Some(&arc),
            iprev: client.and_then(|_| cx.facts.ip(Fact::ClientAddress)),
        };
        Some(results.field(name))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::wrong;

    #[test]
    fn mistakes_say_what_was_expected() {
        wrong("authentication_results: [a]", &["authentication_results is true, or {name: mx.example.com}"]);
        wrong("authentication_results: {name: a b}", &["`a b` is not a name such as mx.example.com"]);
        wrong(
            "authentication_results: {name: mx.other.example}",
            &[
                "`mx.other.example` is not one of local.hostnames, so `forged_headers` would leave what strangers say in its name: put it there",
            ],
        );
        wrong(
            "authentication_results: {nmae: a}",
            &["unknown option `nmae` of authentication_results; did you mean `name`?"],
        );
    }
}
