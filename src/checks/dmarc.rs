//! # What it does
//! Matches when DMARC comes to one of the given results: `pass`, `fail`, `temperror`,
//! `permerror`, or `none` if the author's domain has no policy, or only SPF could tell and is not
//! asked, as of mail from `local.relays`. `present` is any but `none`; `any` is whatever it comes to, for texts.
//!
//! # Why
//! The domain in the field From is the one that readers see, and the one that is
//! forged. Its owner says in the DNS (RFC 9989) that its mail is signed or comes from
//! its servers, and what is to be done with mail that is neither.
//!
//! # Options
//! - `is`: the results, where there are other options.
//! - `policy`: what the owner wants done with mail that fails is one of `reject`,
//!   `quarantine`, `none`. A domain on trial (`t=y`) has the next milder one; `pct=` counts no more.
//!
//! It passes when a signature passes (`dkim`), or the envelope sender does (`spf`), and its domain is that
//! of the author or of one organization with it, which records in the DNS tell. Where there is
//! not one author's domain (no field From or several, addresses of several domains), it is `permerror`,
//! and never `pass`. Mailing lists and forwarders make honest mail fail: see `arc`.
//!
//! A text may say `{dmarc}` (the result), `{dmarc_policy}`, `{dmarc_reason}` and `{from_domain}`, the author's
//! domain. A test gives result and policy with `given: {dmarc: [fail, reject]}`.
//!
//! # Example
//! ```yaml
//! - dmarc: {is: fail, policy: [reject, quarantine]}
//! ```
//!
//! # Unknown when
//! The DNS fails or does not answer and the result that is asked for is not `temperror`;
//! or the deadline comes first.

use super::Bindings;
use super::Check;
use super::Context;
use super::Giveable;
use super::Needs;
use super::Spf;
use super::Truth;
use crate::auth;
use crate::auth::DmarcPolicy;
use crate::auth::DmarcResult;
use crate::auth::Sender;
use crate::facts::Fact;
use crate::near::did_you_mean;
use crate::values::Loader;
use crate::values::ResultTest;
use crate::yaml::Entry;
use crate::yaml::Node;

const RESULTS: &[&str] = &["pass", "fail", "permerror", "temperror", "none"];

/// What a test gives: the result, and the policy if it is not `none`.
const GIVEN: &[&str] = &["pass", "fail", "permerror", "temperror", "none", "reject", "quarantine"];

const POLICIES: [&str; 3] = ["reject", "quarantine", "none"];

/// What it looks at beside the message.
pub(super) const READS: &[Fact] = &[Fact::ClientAddress, Fact::HeloName, Fact::Sender];

#[derive(Clone, Debug)]
pub struct Dmarc {
    wanted: ResultTest,
    /// None: whichever.
    policies: Option<Vec<DmarcPolicy>>,
    sender: Spf,
}

impl Check for Dmarc {
    const OPTIONS: &'static [&'static str] = &["is", "policy"];

    const GIVEABLE: Giveable = Giveable::Words(GIVEN);

    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
        let node = &entry.value;
        let Some(options) = node.as_map() else {
            let wanted = ResultTest::parse(node, "dmarc", RESULTS, cx)?;
            return Some(Self { wanted, policies: None, sender: Spf::of_sender(cx) });
        };
        let fine = cx.only_keys(options, Self::OPTIONS, "dmarc");
        let Some(is) = node.get("is") else {
            cx.mistake(node.place, "dmarc needs a result such as fail, or is: [fail, permerror]");
            return None;
        };
        let wanted = ResultTest::parse(is, "dmarc", RESULTS, cx);
        let policies = match node.get("policy") {
            Some(node) => Some(policies(node, cx)?),
            None => None,
        };
        let sender = Spf::of_sender(cx);
        fine.then_some(Self { wanted: wanted?, policies, sender })
    }

    fn needs(&self) -> Needs {
        Needs::of_signatures()
    }

    fn evaluate(&self, cx: &Context<'_>) -> Truth {
        let Some(found) = found(&self.sender, cx) else {
            return Truth::Unknown;
        };
        let has_policy = match (&self.policies, found.policy) {
            (None, _) => Truth::Match,
            (Some(policies), Some(policy)) => policies.contains(&policy).into(),
            (Some(_), None) if found.result == DmarcResult::Temperror => Truth::Unknown,
            (Some(_), None) => Truth::NoMatch,
        };
        self.wanted.holds(found.result.word()).map_or(Truth::Unknown, Truth::from).min(has_policy)
    }

    fn because(&self, cx: &Context<'_>) -> String {
        let Some(found) = found(&self.sender, cx) else {
            return "what DMARC comes to is not known".into();
        };
        let mut because = match found.domain.as_str() {
            "" => format!("DMARC comes to {}", found.result.word()),
            domain => format!("DMARC of `{domain}` comes to {}", found.result.word()),
        };
        if let Some(policy) = found.policy {
            because += &format!(" (policy {})", policy.word());
        }
        if !found.reason.is_empty() {
            because += &format!(": {}", found.reason);
        }
        because
    }

    fn variables(&self) -> Vec<String> {
        ["dmarc", "dmarc_policy", "dmarc_reason", "from_domain"].map(str::to_owned).into()
    }

    fn bind(&self, cx: &Context<'_>, bindings: &mut Bindings) {
        let Some(found) = found(&self.sender, cx) else {
            return;
        };
        let policy = found.policy.map(DmarcPolicy::word).unwrap_or_default();
        bindings.push(("dmarc".into(), found.result.word().into()));
        bindings.push(("dmarc_policy".into(), policy.into()));
        bindings.push(("dmarc_reason".into(), found.reason.into()));
        bindings.push(("from_domain".into(), found.domain));
    }
}

fn policies(node: &Node, cx: &mut Loader<'_>) -> Option<Vec<DmarcPolicy>> {
    let mut policies = Vec::new();
    for item in cx.some_items(node, "policy")? {
        let text = cx.text(item, "policy")?;
        let Some(policy) = DmarcPolicy::from_word(text) else {
            let hint = did_you_mean(text, POLICIES);
            cx.mistake(item.place, format!("`{text}` is not a policy: {}{hint}", POLICIES.join(" ")));
            return None;
        };
        policies.push(policy);
    }
    Some(policies)
}

/// What it comes to; None while it is not known.
pub(super) fn found(sender: &Spf, cx: &Context<'_>) -> Option<auth::Dmarc> {
    let author = auth::author(cx.facts.message.as_ref()?);
    if let Some(given) = cx.given("dmarc") {
        return as_given(given, author.as_deref().unwrap_or_default());
    }
    let author = match author {
        Ok(author) => author,
        Err(why) => return Some(auth::Dmarc::plain(DmarcResult::Permerror, "", why)),
    };
    let dkim = cx.dkim();
    let said = sender.said(cx).map(|said| match said {
        Some((_, answer)) => Sender::from(&*answer),
        None => Sender::Hidden(sender.domain(cx)),
    });
    auth::evaluate_dmarc(&author, dkim.as_deref(), said.as_ref(), &|question| cx.dns(&question))
}

fn as_given(given: &[String], author: &str) -> Option<auth::Dmarc> {
    let results = [
        DmarcResult::Pass,
        DmarcResult::Fail,
        DmarcResult::Permerror,
        DmarcResult::Temperror,
        DmarcResult::None,
    ];
    let result = results.into_iter().find(|result| given.iter().any(|word| word == result.word()))?;
    let mut policies = given.iter().filter_map(|word| DmarcPolicy::from_word(word));
    let strictest = policies.by_ref().max_by_key(|policy| *policy as u8);
    let policy = match result {
        DmarcResult::Pass | DmarcResult::Fail => Some(strictest.unwrap_or(DmarcPolicy::None)),
        _ => None,
    };
    Some(auth::Dmarc { policy, ..auth::Dmarc::plain(result, author, "") })
}

#[cfg(test)]
mod tests {
    use super::super::testing::wrong;

    #[test]
    fn mistakes_say_what_was_expected() {
        wrong("dmarc: reject", &["`reject` is not a dmarc: pass fail permerror temperror none"]);
        wrong("dmarc: {policy: reject}", &["dmarc needs a result such as fail, or is: [fail, permerror]"]);
        wrong(
            "dmarc: {is: fail, policy: quarantaine}",
            &["`quarantaine` is not a policy: reject quarantine none; did you mean `quarantine`?"],
        );
    }
}
