//! # What it does
//! Matches when the value of an attribute is on a timed list: a rule put it there
//! with `list`, and its time is not over. Several may be asked for: `any` reason, or
//! some.
//!
//! # Why
//! What happened once, such as a virus from a customer's address, says something
//! about what comes from there for the next hours.
//!
//! # Options
//! - `key` (needed): the attribute. Case never counts, nor a mailbox's `+extension`; an
//!   IPv6 address counts as its /64.
//! - `reason` (default: any): a word or several, as in `list`.
//!
//! A text may say `{reason}` and `{until}`, of the listing that lasts longest. A
//! listing that a rule makes holds from the next connection on, or the next message
//! if the key is one of the message's. What a rule in observe lists is listed for
//! rules in observe only. A test gives it with `given: {listed: REASON}`.
//!
//! # Example
//! ```yaml
//! - listed: {key: client_address, reason: [virus, outbreak]}
//! ```
//!
//! # Unknown when
//! The store of the listings does not answer in time.

use super::Bindings;
use super::Check;
use super::Context;
use super::Needs;
use super::Truth;
use crate::facts::Fact;
use crate::facts::Suspicion;
use crate::values::Loader;
use crate::yaml::Entry;
use jiff::Timestamp;

#[derive(Clone, Debug)]
pub struct Listed {
    pub key: Fact,
    /// None: whatever the reason.
    reasons: Option<Vec<String>>,
}

impl Check for Listed {
    const OPTIONS: &'static [&'static str] = &["key", "reason"];

    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
        let node = &entry.value;
        let fine = cx.only_keys(node.as_map().unwrap_or_default(), Self::OPTIONS, "listed");
        let Some(key) = node.get("key") else {
            cx.mistake(node.place, "listed needs a key: {key: client_address}");
            return None;
        };
        let key = cx.key_fact(key);
        let reasons = match node.get("reason") {
            Some(reasons) => {
                let items = cx.some_items(reasons, "reason")?;
                let words = items.iter().map(|item| cx.word(item, "a reason").map(str::to_owned));
                Some(words.collect::<Option<Vec<_>>>()?)
            }
            None => None,
        };
        fine.then_some(Self { key: key?, reasons })
    }

    fn needs(&self) -> Needs {
        Needs::of(self.key)
    }

    fn evaluate(&self, cx: &Context<'_>) -> Truth {
        match self.found(cx) {
            Some(Some(_)) => Truth::Match,
            Some(None) => Truth::Unknown,
            None => Truth::NoMatch,
        }
    }

    fn because(&self, cx: &Context<'_>) -> String {
        let name = self.key.name();
        match self.found(cx) {
            Some(Some((key, suspicion))) => {
                format!(
                    "{name} `{key}` is listed for `{}` until {}",
                    suspicion.reason,
                    shown(suspicion.until)
                )
            }
            Some(None) => format!("the listings of {name} did not answer"),
            None if !cx.facts.is_known(self.key) => format!("{name} is not known"),
            None => format!("{name} `{}` is not listed", cx.facts.text(self.key).unwrap_or_default()),
        }
    }

    fn variables(&self) -> Vec<String> {
        ["reason", "until"].map(str::to_owned).into()
    }

    fn bind(&self, cx: &Context<'_>, bindings: &mut Bindings) {
        if let Some(Some((_, suspicion))) = self.found(cx) {
            bindings.push(("reason".into(), suspicion.reason.clone()));
            bindings.push(("until".into(), shown(suspicion.until)));
        }
    }
}

impl Listed {
    /// Whether a listing for this reason would be one of those it asks for.
    pub fn asks_for(&self, key: Fact, reason: &str) -> bool {
        let named = |reasons: &Vec<String>| reasons.iter().any(|known| known == reason);
        key == self.key && self.reasons.as_ref().is_none_or(named)
    }

    /// The key and what it is listed for until latest; `Some(None)` is unknown.
    fn found<'c>(&self, cx: &Context<'c>) -> Option<Option<(&'c str, &'c Suspicion)>> {
        let (_, listed) = cx.known.listed.iter().find(|(key, _)| *key == self.key)?;
        let Some(all) = &listed.reasons else {
            return Some(None);
        };
        let asked =
            |found: &&Suspicion| self.reasons.as_ref().is_none_or(|reasons| reasons.contains(&found.reason));
        let latest = all.iter().filter(asked).max_by_key(|suspicion| suspicion.until)?;
        Some(Some((&listed.key, latest)))
    }
}

/// To the minute, in UTC: who reads it may be anywhere.
fn shown(until: u64) -> String {
    let until = Timestamp::from_second((until / 1_000_000_000).try_into().unwrap_or(i64::MAX));
    until.map(|until| until.strftime("%Y-%m-%d %H:%M UTC").to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::testing::facts;
    use super::super::testing::load;
    use super::super::testing::wrong;
    use super::*;
    use crate::facts::Known;
    use crate::facts::Stage;

    fn asked(yaml: &str, reasons: Option<&[(&str, u64)]>) -> (Truth, String, Bindings) {
        let (check, mistakes) = load(yaml);
        assert_eq!(mistakes, Vec::<String>::new(), "{yaml}");
        let check = check.unwrap();
        let facts = facts("client_address=192.0.2.1");
        let reasons = reasons.map(|reasons| {
            let each = reasons.iter();
            each.map(|(reason, hour)| Suspicion {
                reason: (*reason).into(),
                until: (1_800_000_000 + hour * 3_600) * 1_000_000_000,
            })
            .collect()
        });
        let listed = crate::facts::Listed { key: "192.0.2.1".into(), reasons };
        let known = Known { listed: vec![(Fact::ClientAddress, listed)], ..Known::default() };
        let cx = Context::new(&facts, &known, Stage::Rcpt);
        let mut bindings = Vec::new();
        check.bind(&cx, &mut bindings);
        (check.evaluate(&cx), check.because(&cx), bindings)
    }

    #[test]
    fn a_key_is_listed_for_one_of_its_reasons() {
        let found = Some(&[("virus", 1), ("bot", 2)][..]);
        for (yaml, reasons, truth, because) in [
            (
                "listed: {key: client_address, reason: virus}",
                found,
                Truth::Match,
                "client_address `192.0.2.1` is listed for `virus` until 2027-01-15 09:00 UTC",
            ),
            (
                "listed: {key: client_address}",
                found,
                Truth::Match,
                "client_address `192.0.2.1` is listed for `bot` until 2027-01-15 10:00 UTC",
            ),
            (
                "listed: {key: client_address, reason: [a, b]}",
                found,
                Truth::NoMatch,
                "client_address `192.0.2.1` is not listed",
            ),
            ("listed: {key: sasl_username}", found, Truth::NoMatch, "sasl_username is not known"),
            (
                "listed: {key: client_address}",
                None,
                Truth::Unknown,
                "the listings of client_address did not answer",
            ),
        ] {
            let (found, why, _) = asked(yaml, reasons);
            assert_eq!((found, why.as_str()), (truth, because), "{yaml}");
        }
        let (_, _, bindings) = asked("listed: {key: client_address}", found);
        let expected = [("reason", "bot"), ("until", "2027-01-15 10:00 UTC")];
        assert_eq!(bindings, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        wrong("listed: bot", &["listed needs a key: {key: client_address}"]);
        wrong(
            "listed: {key: client}",
            &["`client` is several things at once: say client_address or client_name"],
        );
        wrong(
            "listed: {key: client_address, reason: two words}",
            &["`two words` is not a reason: up to 64 letters, digits, `_`, `-` and `.`"],
        );
        wrong(
            "listed: {key: client_adress}",
            &["no attribute `client_adress`; did you mean `client_address`?"],
        );
    }
}
