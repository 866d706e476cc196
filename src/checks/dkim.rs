//! # What it does
//! Matches when DKIM comes to one of the given results: `pass`, `fail`, `policy`,
//! `permerror`, `neutral`, `temperror`, or `none` for a message without a signature. `present`
//! is any but `none`; `any` is whatever it comes to, for texts. Of several signatures the best
//! counts.
//!
//! # Why
//! A signature (RFC 6376) says which domain answers for a message, and that it is still
//! what that domain sent, whoever passed it on. It says nothing of the name that readers
//! see: that is what `dmarc` asks.
//!
//! # Options
//! - `is`: the results, where there are other options.
//! - `domain`: only signatures of these domains count (`example.com`, `.example.com`,
//!   `{in: partners}`, `{same_as: sender_domain}`).
//!
//! `fail` is a signature that does not fit the message; `permerror` one whose key is withdrawn, shorter
//! than 1,024 bits, longer than 8,192 or not there, or that can prove nothing (`rsa-sha1`, no signed
//! `From`); `policy` one that is right but covers only a part of the body (`l=`); `neutral` one that
//! can't be read or has expired. The first 10 signatures are looked at.
//!
//! A text may say `{dkim}` (the result), `{dkim_domain}`, and `{dkim_reason}`, and what the patterns
//! of `domain` give. A test gives the result with `given: {dkim: pass}`, whichever domain is asked for.
//!
//! # Example
//! ```yaml
//! - dkim: {is: pass, domain: [example.com, .example.com]}
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
use crate::auth::DkimSignature;
use crate::facts::Fact;
use crate::lists::Query;
use crate::lists::Subject;
use crate::values::Loader;
use crate::values::ResultTest;
use crate::values::TextTest;
use crate::yaml::Entry;

const RESULTS: &[&str] = &["pass", "fail", "policy", "permerror", "neutral", "none", "temperror"];

#[derive(Clone, Debug)]
pub struct Dkim {
    wanted: ResultTest,
    domain: Option<TextTest>,
}

/// What it comes to.
struct Found {
    result: &'static str,
    /// None if there is none, or a test gives the result.
    best: Option<DkimSignature>,
}

impl Check for Dkim {
    const OPTIONS: &'static [&'static str] = &["is", "domain"];

    const GIVEABLE: Giveable = Giveable::Words(RESULTS);

    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
        let node = &entry.value;
        let Some(options) = node.as_map() else {
            return Some(Self { wanted: ResultTest::parse(node, "dkim", RESULTS, cx)?, domain: None });
        };
        let fine = cx.only_keys(options, Self::OPTIONS, "dkim");
        let Some(is) = node.get("is") else {
            cx.mistake(node.place, "dkim needs a result such as fail, or is: [fail, permerror]");
            return None;
        };
        let wanted = ResultTest::parse(is, "dkim", RESULTS, cx);
        let domain = match node.get("domain") {
            Some(node) => Some(TextTest::parse(node, "domain", Subject::Domain, cx)?),
            None => None,
        };
        fine.then_some(Self { wanted: wanted?, domain })
    }

    fn needs(&self) -> Needs {
        Needs::of_signatures()
    }

    fn evaluate(&self, cx: &Context<'_>) -> Truth {
        let found = self.found(cx);
        found.and_then(|found| self.wanted.holds(found.result)).map_or(Truth::Unknown, Truth::from)
    }

    fn because(&self, cx: &Context<'_>) -> String {
        match self.found(cx) {
            None => "what DKIM comes to is not known".into(),
            Some(Found { result, best: None }) => format!("DKIM comes to {result}"),
            Some(Found { result, best: Some(best) }) => match best.reason {
                "" => format!("DKIM comes to {result}: signed by `{}`", best.domain),
                reason => format!("DKIM comes to {result}: of the signature of `{}`, {reason}", best.domain),
            },
        }
    }

    fn variables(&self) -> Vec<String> {
        let own = ["dkim", "dkim_domain", "dkim_reason"].map(str::to_owned);
        let patterns = self.domain.iter().flat_map(TextTest::variables);
        own.into_iter().chain(patterns).collect()
    }

    fn bind(&self, cx: &Context<'_>, bindings: &mut Bindings) {
        let Some(Found { result, best }) = self.found(cx) else {
            return;
        };
        bindings.push(("dkim".into(), result.into()));
        let (domain, reason) = best.map_or_else(Default::default, |best| (best.domain, best.reason));
        if let Some(test) = &self.domain {
            let query = Query { text: &domain, folded: &domain, ip: None };
            test.way(&query, cx.facts).into_iter().for_each(|way| way.bind(&query, bindings));
        }
        bindings.push(("dkim_domain".into(), domain));
        bindings.push(("dkim_reason".into(), reason.into()));
    }
}

impl Dkim {
    /// Which facts its values are compared with or looked up by.
    pub fn reads(&self) -> Vec<Fact> {
        self.domain.iter().flat_map(TextTest::reads).collect()
    }

    fn found(&self, cx: &Context<'_>) -> Option<Found> {
        if let Some(given) = cx.given("dkim") {
            let result = RESULTS.iter().find(|result| given.iter().any(|word| word == *result))?;
            return Some(Found { result, best: None });
        }
        let all = cx.dkim()?;
        let counts = |signature: &&DkimSignature| {
            let domain = signature.domain.as_str();
            let query = Query { text: domain, folded: domain, ip: None };
            self.domain.as_ref().is_none_or(|test| test.matches(Some(&query), cx.facts))
        };
        let best = all.iter().filter(counts).min_by_key(|signature| signature.result).cloned();
        Some(Found { result: best.as_ref().map_or("none", |best| best.result.word()), best })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::wrong;

    #[test]
    fn mistakes_say_what_was_expected() {
        wrong("dkim: passed", &["`passed` is not a dkim: pass fail policy permerror neutral none temperror"]);
        wrong("dkim: {domain: example.com}", &["dkim needs a result such as fail, or is: [fail, permerror]"]);
        wrong(
            "dkim: {is: pass, domian: x.test}",
            &["unknown option `domian` of dkim; did you mean `domain`?"],
        );
        wrong("dkim: []", &["`dkim` has an empty list: give it a value, or leave it out"]);
    }
}
