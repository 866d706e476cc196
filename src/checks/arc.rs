//! # What it does
//! Matches when the ARC chain of the message comes to one of the given results: `pass`,
//! `fail`, `temperror`, or `none` for a message without one. `present` is any but `none`; `any` is
//! whatever it comes to, for texts.
//!
//! # Why
//! A mailing list or a forwarder changes a message so that its signatures fail. With ARC
//! (RFC 8617) each of them seals what it found when the message reached it. That a
//! chain holds says who they were, not that they speak the truth: anybody can
//! seal anything. Excuse only mail of forwarders that you know.
//!
//! # Options
//! - `is`: the results, where there are other options.
//! - `sealer`: the domain of the newest seal, of who forwarded it last, is one of these.
//!   Who it is, is only known where the chain holds.
//!
//! A text may say `{arc}` (the result), `{arc_sealer}` and `{arc_reason}`, and what the
//! patterns of `sealer` give. A test gives the result with `given: {arc: pass}`, whichever sealer is
//! asked for.
//!
//! # Example
//! ```yaml
//! - arc: {is: pass, sealer: [lists.example.org, .forwarder.example]}
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
use super::Truth;
use crate::facts::Fact;
use crate::lists::Query;
use crate::lists::Subject;
use crate::values::Loader;
use crate::values::ResultTest;
use crate::values::TextTest;
use crate::yaml::Entry;

const RESULTS: &[&str] = &["pass", "fail", "none", "temperror"];

#[derive(Clone, Debug)]
pub struct Arc {
    wanted: ResultTest,
    sealer: Option<TextTest>,
}

/// What it comes to.
struct Found {
    result: &'static str,
    reason: &'static str,
    /// None if it is not known; if a test gives the result, any.
    sealer: Option<String>,
    is_given: bool,
}

impl Check for Arc {
    const OPTIONS: &'static [&'static str] = &["is", "sealer"];

    const GIVEABLE: Giveable = Giveable::Words(RESULTS);

    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
        let node = &entry.value;
        let Some(options) = node.as_map() else {
            return Some(Self { wanted: ResultTest::parse(node, "arc", RESULTS, cx)?, sealer: None });
        };
        let fine = cx.only_keys(options, Self::OPTIONS, "arc");
        let Some(is) = node.get("is") else {
            cx.mistake(node.place, "arc needs a result such as pass, or is: [fail, none]");
            return None;
        };
        let wanted = ResultTest::parse(is, "arc", RESULTS, cx);
        let sealer = match node.get("sealer") {
            Some(node) => Some(TextTest::parse(node, "sealer", Subject::Domain, cx)?),
            None => None,
        };
        fine.then_some(Self { wanted: wanted?, sealer })
    }

    fn needs(&self) -> Needs {
        Needs::of_signatures()
    }

    fn evaluate(&self, cx: &Context<'_>) -> Truth {
        let Some(found) = found(cx) else {
            return Truth::Unknown;
        };
        let is_sealed = match &self.sealer {
            Some(test) if !found.is_given => {
                let query = found.sealer.as_deref().map(query);
                test.matches(query.as_ref(), cx.facts)
            }
            _ => true,
        };
        let holds = self.wanted.holds(found.result).map_or(Truth::Unknown, Truth::from);
        holds.min(match is_sealed {
            // Who sealed it is as unknown as the rest.
            false if holds == Truth::Unknown => Truth::Unknown,
            is_sealed => is_sealed.into(),
        })
    }

    fn because(&self, cx: &Context<'_>) -> String {
        match found(cx) {
            None => "what ARC comes to is not known".into(),
            Some(Found { result, sealer: Some(sealer), .. }) => {
                format!("ARC comes to {result}: sealed by `{sealer}`")
            }
            Some(Found { result, reason: "", .. }) => format!("ARC comes to {result}"),
            Some(Found { result, reason, .. }) => format!("ARC comes to {result}: {reason}"),
        }
    }

    fn variables(&self) -> Vec<String> {
        let own = ["arc", "arc_sealer", "arc_reason"].map(str::to_owned);
        let patterns = self.sealer.iter().flat_map(TextTest::variables);
        own.into_iter().chain(patterns).collect()
    }

    fn bind(&self, cx: &Context<'_>, bindings: &mut Bindings) {
        let Some(Found { result, reason, sealer, .. }) = found(cx) else {
            return;
        };
        let sealer = sealer.unwrap_or_default();
        if let Some(test) = &self.sealer {
            let query = query(&sealer);
            test.way(&query, cx.facts).into_iter().for_each(|way| way.bind(&query, bindings));
        }
        bindings.push(("arc".into(), result.into()));
        bindings.push(("arc_sealer".into(), sealer));
        bindings.push(("arc_reason".into(), reason.into()));
    }
}

impl Arc {
    /// Which facts its values are compared with or looked up by.
    pub fn reads(&self) -> Vec<Fact> {
        self.sealer.iter().flat_map(TextTest::reads).collect()
    }
}

fn query(domain: &str) -> Query<'_> {
    Query { text: domain, folded: domain, ip: None }
}

fn found(cx: &Context<'_>) -> Option<Found> {
    if let Some(given) = cx.given("arc") {
        let result = RESULTS.iter().find(|result| given.iter().any(|word| word == *result))?;
        return Some(Found { result, reason: "", sealer: None, is_given: true });
    }
    let chain = cx.arc()?;
    let sealer = chain.sealers.first().cloned();
    Some(Found { result: chain.result.word(), reason: chain.reason, sealer, is_given: false })
}

#[cfg(test)]
mod tests {
    use super::super::testing::wrong;

    #[test]
    fn mistakes_say_what_was_expected() {
        wrong("arc: failed", &["`failed` is not an arc: pass fail none temperror"]);
        wrong("arc: {sealer: x.test}", &["arc needs a result such as pass, or is: [fail, none]"]);
        wrong(
            "arc: {is: pass, sealers: x.test}",
            &["unknown option `sealers` of arc; did you mean `sealer`?"],
        );
    }
}
