//! # What it does
//! Matches when mail from outside claims to be from one of `local.domains`: as its
//! envelope sender, or in its header From, which people read.
//!
//! # Why
//! Our people send through us, logged in. What comes from outside in their name is
//! forged, or went a way around: through a mailing list, a forwarder, or a service that
//! sends for us.
//!
//! # Options
//! - `is`: `sender`, `header_from` or both; any of them will do. It may be left out:
//!   `own_domain: sender`.
//!
//! From outside means `direction: inbound`. Exempt what may be so with `unless`:
//! `spf: pass`, `sender: {in: SERVICES}`, a tag for forwarders, and for `header_from`
//! the mailing lists that our people write to (`header: {List-Id: {in: LISTS}}`; whoever
//! likes can write some List-Id). Of several addresses in several From fields any may be
//! ours. A text may say `{own_address}`.
//!
//! # Example
//! ```yaml
//! - own_domain: [sender, header_from]
//! ```
//!
//! # Unknown when
//! Never.

use super::Bindings;
use super::Check;
use super::Context;
use super::Needs;
use super::Truth;
use crate::facts::Fact;
use crate::facts::Scope;
use crate::facts::Stage;
use crate::lists::List;
use crate::lists::Query;
use crate::names::Mailbox;
use crate::values::Loader;
use crate::values::WordTest;
use crate::yaml::Entry;
use std::sync::Arc;

const WORDS: &[&str] = &["sender", "header_from"];

#[derive(Clone, Debug)]
pub struct OwnDomain {
    sender: bool,
    header_from: bool,
    /// `local.domains`; None where nobody said who we are.
    ours: Option<Arc<List>>,
}

impl Check for OwnDomain {
    const OPTIONS: &'static [&'static str] = &["is"];

    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
        let WordTest::OneOf(words) = WordTest::parse(&entry.value, "own_domain", WORDS, cx)? else {
            cx.mistake(
                entry.value.place,
                "own_domain is asked by where our domain stands: sender, header_from",
            );
            return None;
        };
        let ours = cx.lists.get("local.domains").ok().cloned();
        Some(Self { sender: words.contains(&"sender"), header_from: words.contains(&"header_from"), ours })
    }

    fn needs(&self) -> Needs {
        let header = Needs { stage: Stage::Message, header: true, ..Needs::default() };
        let sender = Needs { stage: Stage::Mail, scope: Scope::Message, ..Needs::default() };
        if self.header_from { sender.join(header) } else { sender }
    }

    fn evaluate(&self, cx: &Context<'_>) -> Truth {
        self.found(cx).is_some().into()
    }

    fn because(&self, cx: &Context<'_>) -> String {
        if !is_from_outside(cx) {
            return "the mail is not from outside".into();
        }
        match self.found(cx) {
            Some((place, address)) => format!("{place} `{address}` is ours"),
            None => "nothing it says it is from is ours".into(),
        }
    }

    fn variables(&self) -> Vec<String> {
        vec!["own_address".into()]
    }

    fn bind(&self, cx: &Context<'_>, bindings: &mut Bindings) {
        if let Some((_, address)) = self.found(cx) {
            bindings.push(("own_address".into(), address));
        }
    }
}

fn is_from_outside(cx: &Context<'_>) -> bool {
    cx.facts.text(Fact::Direction) == Some("inbound")
}

impl OwnDomain {
    /// Where an address of ours stands, and which.
    fn found(&self, cx: &Context<'_>) -> Option<(&'static str, String)> {
        if !is_from_outside(cx) {
            return None;
        }
        let ours = self.ours.as_ref()?;
        let is_ours = |domain: &str| ours.contains(&Query { text: domain, folded: domain, ip: None });
        if self.sender && cx.facts.folded(Fact::SenderDomain).is_some_and(is_ours) {
            return Some(("sender", cx.facts.text(Fact::Sender).unwrap_or_default().to_owned()));
        }
        let message = cx.facts.message.as_ref().filter(|_| self.header_from)?;
        let mut addresses = message.headers().named("From").flat_map(|field| field.addresses());
        let found = addresses.find(|address| {
            Mailbox::parse(address).domain.is_some_and(|domain| is_ours(&domain.to_ascii_lowercase()))
        });
        found.map(|address| ("header From", address))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Truth::Match;
    use super::super::Truth::NoMatch;
    use super::super::testing::check;
    use super::super::testing::wrong;

    #[test]
    fn our_domain_from_outside_matches() {
        let from = |direction: &str, from: &str| {
            format!("direction={direction} sender=a@sender.example recipients=a@b.test\n\nFrom: {from}\n\nx")
        };
        for (yaml, given, expected) in [
            ("own_domain: sender", "direction=inbound sender=Ceo@Example.COM".to_owned(), Match),
            ("own_domain: sender", "direction=outbound sender=ceo@example.com".into(), NoMatch),
            ("own_domain: sender", "direction=inbound sender=ceo@example.com.evil.test".into(), NoMatch),
            ("own_domain: sender", "direction=inbound sender=ceo@sub.example.com".into(), NoMatch),
            ("own_domain: sender", "direction=inbound sender=ceo@a.below.example".into(), Match),
            ("own_domain: sender", "direction=inbound sender=<>".into(), NoMatch),
            ("own_domain: sender", from("inbound", "ceo@example.com"), NoMatch),
            ("own_domain: header_from", from("inbound", "Boss <Ceo@Example.com.>"), Match),
            ("own_domain: header_from", from("outbound", "ceo@example.com"), NoMatch),
            ("own_domain: header_from", from("inbound", "\"ceo@example.com\" <x@evil.test>"), NoMatch),
            ("own_domain: header_from", from("inbound", "x@evil.test, ceo@example.com"), Match),
            ("own_domain: header_from", from("inbound", "x@evil.test\nFROM: ceo@example.com"), Match),
            ("own_domain: [sender, header_from]", from("inbound", "ceo@example.com"), Match),
            ("own_domain: {is: [sender, header_from]}", from("inbound", "a@b.test"), NoMatch),
        ] {
            check(yaml, &given, expected);
        }
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        wrong(
            "own_domain: sendr",
            &["`sendr` is not an own_domain: sender header_from; did you mean `sender`?"],
        );
        let asked = "own_domain is asked by where our domain stands: sender, header_from";
        wrong("own_domain: present", &[asked]);
        wrong(
            "own_domain: {of: sender}",
            &["unknown option `of` of own_domain", "own_domain needs a word, or is: WORDS"],
        );
    }
}
