//! # What it does
//! Matches when a key has shown too many different values of an attribute: when this
//! one would be one too many in a window. The same value again is not another one.
//!
//! # Why
//! An office does not have ten new senders in an hour, nor a user's password ten
//! networks in a day; a worm and a sold password do, long before any limit of
//! recipients is reached.
//!
//! # Options
//! - `key` (needed): whose values are counted, as in `rate`.
//! - `count` (needed): the attribute whose different values are counted, such as
//!   `sender`, `recipient`, `recipient_domain`, or with a prefix length
//!   `client_address/24`. Values that mean the same are one: case never counts, nor a
//!   mailbox's `+extension`; an IPv6 address counts as its /64. A mail without it is
//!   not counted.
//! - `limits` (needed): as in `rate`, but that `burst` and `strict` mean nothing here: the
//!   window always slides, to the second.
//!
//! A value counts from the moment when a mail with it is let through, also if that
//! mail is refused later, and until it was not seen for as long as the window. What is
//! refused at once shows nothing; where the rule does not refuse, values above the limit
//! are counted as well.
//!
//! Of a key that has shown up to 1,024 values in its longest window the number is
//! exact. Above that it is estimated by a sample, with a standard error of 6 % at
//! 10,000 values and 10 % at 500,000, less in shorter windows. A key takes 12 bytes a
//! value and never more than 12 KiB. 100,000 keys are remembered, and two million
//! values; the key that has shown least goes first, never one that is at its limit.
//!
//! A text may say `{key}`, `{used}`, `{allowed}`, `{window}` and `{retry_after}`.
//!
//! # Example
//! ```yaml
//! - distinct: {key: client_address, count: sender, limits: [10/1h]}
//! ```
//!
//! # Unknown when
//! The store of the values does not answer in time, or has no room for one more key.

use super::Bindings;
use super::Check;
use super::Context;
use super::Needs;
use super::Truth;
use super::limit::Allowance;
use super::limit::Key;
use super::limit::Part;
use super::limit::bind_answer;
use crate::facts::Fact;
use crate::quantity::show_duration;
use crate::state::Answer;
use crate::state::Memory;
use crate::state::Remembered;
use crate::state::Showing;
use crate::values::Loader;
use crate::yaml::Entry;
use crate::yaml::Place;

#[derive(Clone, Debug)]
pub struct Distinct {
    key: Key,
    count: Part,
    limits: Allowance,
}

impl Check for Distinct {
    const OPTIONS: &'static [&'static str] = &["key", "count", "limits"];

    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
        let node = &entry.value;
        let fine = cx.only_keys(node.as_map().unwrap_or_default(), Self::OPTIONS, "distinct");
        let (Some(key), Some(count), Some(limits)) = (node.get("key"), node.get("count"), node.get("limits"))
        else {
            cx.mistake(node.place, "distinct needs key, count and limits");
            return None;
        };
        let key = Key::parse(key, cx);
        let count_at = count.place;
        let count = Part::parse(count, "count", cx);
        let limits_at = limits.place;
        let limits = Allowance::parse(limits, cx);
        let (key, count, limits) = (key?, count?, limits?);
        let is_itself = match &key {
            Key::All(parts) => parts.contains(&count),
            // Behind another, it is the value of those who have that one.
            Key::FirstOf(parts) => parts.first() == Some(&count),
        };
        if is_itself {
            let name = count.fact.name();
            cx.mistake(count_at, format!("each `{name}` has one `{name}`: count another attribute"));
        }
        let slides = slide(&limits, limits_at, cx);
        (fine && !is_itself && slides).then_some(Self { key, count, limits })
    }

    fn needs(&self) -> Needs {
        Needs::stage_of(self.reads())
    }

    fn evaluate(&self, cx: &Context<'_>) -> Truth {
        match cx.memory {
            Some((_, Some(Remembered::Distinct(Some(answer))))) => (!answer.allowed).into(),
            Some(_) => Truth::Unknown,
            None => Truth::NoMatch,
        }
    }

    fn because(&self, cx: &Context<'_>) -> String {
        let name = self.count.fact.name();
        let Some(key) = self.key.text(cx.facts) else {
            return "there is no key".into();
        };
        let told = self.limits.told(&key, &self.key, cx.facts);
        let told = if told.is_empty() { told } else { format!(" ({told})") };
        match cx.memory {
            Some((_, Some(Remembered::Distinct(Some(answer))))) => format!(
                "`{key}` has shown {} of {} different values of {name} in {}{told}",
                answer.used,
                answer.window.allowed,
                show_duration(answer.window.period)
            ),
            Some((_, Some(_))) => format!("there is no room for the values of `{key}`"),
            Some((_, None)) => format!("the store of the values of `{key}` did not answer"),
            None if self.count.text(cx.facts).is_none() => format!("{name} is not known"),
            None => format!("`{key}` has no limit{told}"),
        }
    }

    fn variables(&self) -> Vec<String> {
        ["key", "used", "allowed", "window", "retry_after"].map(str::to_owned).into()
    }

    fn bind(&self, cx: &Context<'_>, bindings: &mut Bindings) {
        bindings.push(("key".into(), self.key.text(cx.facts).unwrap_or_default()));
        if let Some((_, Some(Remembered::Distinct(Some(answer))))) = cx.memory {
            let answer: Answer = answer;
            bind_answer(&answer, bindings);
        }
    }
}

impl Distinct {
    /// What the key and the value are, and what limits are looked up by.
    pub fn reads(&self) -> Vec<Fact> {
        let listed = self.limits.lookup().and_then(|lookup| lookup.of);
        let of_key = self.key.parts().iter().map(|part| part.fact);
        of_key.chain([self.count.fact]).chain(listed).collect()
    }

    /// What the store is to be asked; nothing when no limit applies.
    pub fn question(&self, bucket: u32, cx: &Context<'_>) -> Option<Memory> {
        let key = self.key.text(cx.facts)?;
        let value = self.count.text(cx.facts)?.into_owned();
        let limits = self.limits.of(&key, &self.key, cx.facts)?;
        Some(Memory::Distinct(Showing { bucket, key, value, limits }))
    }
}

/// What a window may say beside its number and time means nothing here.
fn slide(limits: &Allowance, place: Place, cx: &mut Loader<'_>) -> bool {
    let known = limits.known();
    let mut windows = known.iter().flat_map(|limits| limits.windows());
    let odd = windows.find(|window| window.burst.is_some() || window.strict);
    if let Some(window) = odd {
        let message =
            format!("`{window}`: the windows of distinct always slide; leave out `burst` and `strict`");
        cx.mistake(place, message);
    }
    odd.is_none()
}

#[cfg(test)]
mod tests {
    use super::super::testing::facts;
    use super::super::testing::load;
    use super::super::testing::wrong;
    use super::*;
    use crate::checks::AnyCheck;
    use crate::facts::Known;
    use crate::facts::Stage;

    fn distinct(yaml: &str) -> Distinct {
        match load(yaml) {
            (Some(AnyCheck::Distinct(distinct)), _) => distinct,
            (_, mistakes) => panic!("{yaml}: {mistakes:?}"),
        }
    }

    #[test]
    fn keys_and_values_are_canonical() {
        for (key, count, given, expected) in [
            (
                "client_address",
                "sender",
                "client_address=192.0.2.7 sender=Bob+x@B.test",
                Some(("192.0.2.7", "bob@b.test")),
            ),
            (
                "sasl_username",
                "client_address/24",
                "sasl_username=Bob client_address=192.0.2.7",
                Some(("bob", "192.0.2.0/24")),
            ),
            (
                "sasl_username",
                "client_address/24",
                "sasl_username=b client_address=2001:db8::7",
                Some(("b", "2001:db8::/64")),
            ),
            (
                "sasl_username",
                "client_address/48",
                "sasl_username=b client_address=2001:db8:1::7",
                Some(("b", "2001:db8:1::/48")),
            ),
            ("sender", "recipient_domain", "sender=<> recipient=a@X.test.", Some(("<>", "x.test"))),
            (
                "[sender, helo_name]",
                "recipient",
                "sender=a@b.test helo_name=x recipient=a@x.test",
                Some(("a@b.test x", "a@x.test")),
            ),
            (
                "{first_of: [sasl_username, client_address]}",
                "client_address",
                "sasl_username=bob client_address=192.0.2.7",
                Some(("bob", "192.0.2.7")),
            ),
            ("sasl_username", "sender", "sender=a@b.test", None),
            ("client_address", "sasl_username", "client_address=192.0.2.7", None),
        ] {
            let check = distinct(&format!("distinct: {{key: {key}, count: {count}, limits: [1/1h]}}"));
            let facts = facts(given);
            let known = Known::default();
            let cx = Context::new(&facts, &known, Stage::Rcpt);
            let found = check.question(7, &cx).map(|memory| match memory {
                Memory::Distinct(showing) => (showing.bucket, showing.key, showing.value),
                Memory::Greylist(_) => panic!("{key}"),
            });
            assert_eq!(
                found,
                expected.map(|(key, value)| (7, key.to_owned(), value.to_owned())),
                "{key} {count}"
            );
        }
    }

    #[test]
    fn what_was_remembered_decides() {
        let check = distinct("distinct: {key: client_address, count: sender, limits: [10/1h]}");
        let facts = facts("client_address=192.0.2.7 sender=a@b.test");
        let limits: crate::state::Limits = "10/1h".parse().unwrap();
        let answer = |allowed, used| Answer {
            allowed,
            used,
            window: limits.windows()[0],
            retry_after: std::time::Duration::from_secs(90),
            never: false,
            remaining: 0,
        };
        let memory = Memory::Distinct(Showing {
            bucket: 1,
            key: "192.0.2.7".into(),
            value: "a@b.test".into(),
            limits: limits.clone().into(),
        });
        for (remembered, truth, because) in [
            (
                Some(Remembered::Distinct(Some(answer(false, 11)))),
                Truth::Match,
                "`192.0.2.7` has shown 11 of 10 different values of sender in 1h",
            ),
            (
                Some(Remembered::Distinct(Some(answer(true, 10)))),
                Truth::NoMatch,
                "`192.0.2.7` has shown 10 of 10 different values of sender in 1h",
            ),
            (
                Some(Remembered::Distinct(None)),
                Truth::Unknown,
                "there is no room for the values of `192.0.2.7`",
            ),
            (None, Truth::Unknown, "the store of the values of `192.0.2.7` did not answer"),
        ] {
            let known = Known::default();
            let cx =
                Context { memory: Some((&memory, remembered)), ..Context::new(&facts, &known, Stage::Rcpt) };
            assert_eq!((check.evaluate(&cx), check.because(&cx).as_str()), (truth, because));
            let mut bindings = Vec::new();
            check.bind(&cx, &mut bindings);
            assert_eq!(bindings[0], ("key".into(), "192.0.2.7".into()));
            let wait = bindings.iter().find(|(name, _)| name == "retry_after").map(|(_, wait)| wait.as_str());
            assert_eq!(wait, matches!(remembered, Some(Remembered::Distinct(Some(_)))).then_some("1m30s"));
        }
    }

    #[test]
    fn mistakes_show_the_remedy() {
        for (yaml, expected) in [
            ("distinct: {key: sender, limits: [1/1h]}", "distinct needs key, count and limits"),
            (
                "distinct: {key: sender, count: sender, limits: [1/1h]}",
                "each `sender` has one `sender`: count another attribute",
            ),
            (
                "distinct: {key: [helo_name, sender], count: sender, limits: [1/1h]}",
                "each `sender` has one `sender`: count another attribute",
            ),
            (
                "distinct: {key: {first_of: [sender, helo_name]}, count: sender, limits: [1/1h]}",
                "each `sender` has one `sender`: count another attribute",
            ),
            (
                "distinct: {key: sender, count: recipients, limits: [1/1h]}",
                "no attribute `recipients`; did you mean `recipient`?",
            ),
            (
                "distinct: {key: sender, count: recipient/24, limits: [1/1h]}",
                "`recipient/24` is not an address with a prefix length, such as client_address/24",
            ),
            ("distinct: {key: sender, count: [recipient], limits: [1/1h]}", "count is a text, not a list"),
            (
                "distinct: {key: sender, count: recipient, limits: [10/1h burst 5]}",
                "`10/1h burst 5`: the windows of distinct always slide; leave out `burst` and `strict`",
            ),
        ] {
            wrong(yaml, &[expected]);
        }
    }
}
