//! # What it does
//! Matches when the client's name looks like that of an access line which is given to
//! one customer today and to another tomorrow. Points say how much it does: for the
//! address in the name, in whatever spelling, and for words such as `dyn`, `dhcp`,
//! `pool`, `adsl`, `cable` and their like in many languages; less for `static`,
//! `business`, `server` and all that mail servers are called.
//!
//! # Why
//! Mail that comes straight from a home comes from a bot. There are a few honest
//! servers on such lines, whose providers give them no better name: so this is a
//! reason for points and for greylisting, and never alone one to refuse.
//!
//! # Options
//! - `at_least` (default: 5): how many points it takes, from 1 to 20. The address alone
//!   is 5; 8 is sure.
//!
//! The name is the verified one, or else the one that the address points to; a client
//! without any is not matched: ask `client_name: unknown`. A text may say
//! `{name_points}`. A test gives it with `given: {dynamic_name: true}`.
//!
//! # Example
//! ```yaml
//! - dynamic_name: {at_least: 8}
//! ```
//!
//! # Unknown when
//! Never.

use super::Bindings;
use super::Check;
use super::Context;
use super::Giveable;
use super::Needs;
use super::Truth;
use crate::facts::Fact;
use crate::facts::UNKNOWN_NAME;
use crate::names::generic::DYNAMIC_FROM;
use crate::names::generic::points;
use crate::values::Loader;
use crate::yaml::Entry;

/// More than any name comes to.
const MOST: i32 = 20;

#[derive(Clone, Debug)]
pub struct DynamicName {
    at_least: i32,
}

impl Check for DynamicName {
    const OPTIONS: &'static [&'static str] = &["at_least"];
    const MAY_STAND_BARE: bool = true;
    const GIVEABLE: Giveable = Giveable::YesNo;

    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
        let node = &entry.value;
        if node.as_word() == Some("true") {
            return Some(Self { at_least: DYNAMIC_FROM });
        }
        let Some(options) = node.as_map() else {
            cx.mistake(node.place, "dynamic_name stands alone, or with {at_least: POINTS}");
            return None;
        };
        let fine = cx.only_keys(options, Self::OPTIONS, "dynamic_name");
        let Some(least) = node.get("at_least") else {
            return fine.then_some(Self { at_least: DYNAMIC_FROM });
        };
        let text = cx.text(least, "at_least")?;
        let Some(at_least) = text.parse().ok().filter(|points| (1..=MOST).contains(points)) else {
            cx.mistake(least.place, format!("`{text}` is not a number of points from 1 to {MOST}"));
            return None;
        };
        fine.then_some(Self { at_least })
    }

    fn needs(&self) -> Needs {
        Needs::of(Fact::ClientName).join(Needs::of(Fact::ClientAddress))
    }

    fn evaluate(&self, cx: &Context<'_>) -> Truth {
        if let Some(given) = cx.given_truth("dynamic_name") {
            return given;
        }
        let points = name(cx).map(|name| points(name, cx.facts.ip(Fact::ClientAddress), &mut |_, _| {}));
        points.is_some_and(|points| points >= self.at_least).into()
    }

    fn because(&self, cx: &Context<'_>) -> String {
        if let Some(given) = cx.given_truth("dynamic_name") {
            return format!("the test gives {}", given.word());
        }
        let Some(name) = name(cx) else {
            return "the client has no name".into();
        };
        let mut found = Vec::new();
        let mut note = |what: &str, points: i32| found.push(format!("{what} {points}"));
        let points = points(name, cx.facts.ip(Fact::ClientAddress), &mut note);
        let found = if found.is_empty() { "nothing in it".to_owned() } else { found.join(", ") };
        format!("`{name}` has {points} of {} points ({found})", self.at_least)
    }

    fn variables(&self) -> Vec<String> {
        vec!["name_points".into()]
    }

    fn bind(&self, cx: &Context<'_>, bindings: &mut Bindings) {
        let ip = cx.facts.ip(Fact::ClientAddress);
        let points = name(cx).map(|name| points(name, ip, &mut |_, _| {})).unwrap_or_default();
        bindings.push(("name_points".into(), points.to_string()));
    }
}

fn name<'c>(cx: &Context<'c>) -> Option<&'c str> {
    let known = |fact| cx.facts.folded(fact).filter(|name| *name != UNKNOWN_NAME);
    known(Fact::ClientName).or_else(|| known(Fact::ReverseClientName))
}

#[cfg(test)]
mod tests {
    use super::super::Truth::Match;
    use super::super::Truth::NoMatch;
    use super::super::testing::check;
    use super::super::testing::facts;
    use super::super::testing::load;
    use super::super::testing::wrong;
    use super::*;
    use crate::facts::Known;
    use crate::facts::Stage;

    #[test]
    fn the_name_of_a_line_matches() {
        for (yaml, given, expected) in [
            (
                "dynamic_name: true",
                "client_address=198.51.100.7 client_name=198-51-100-7.DSL.isp.example",
                Match,
            ),
            (
                "dynamic_name: true",
                "client_address=198.51.100.7 client_name=unknown reverse_client_name=dyn-7.isp.example",
                Match,
            ),
            (
                "dynamic_name: true",
                "client_address=198.51.100.7 client_name=mail.sender.example reverse_client_name=dyn-7.isp.example",
                NoMatch,
            ),
            (
                "dynamic_name: {at_least: 6}",
                "client_address=198.51.100.7 client_name=198-51-100-7.isp.example",
                NoMatch,
            ),
            (
                "dynamic_name: {at_least: 5}",
                "client_address=198.51.100.7 client_name=198-51-100-7.isp.example",
                Match,
            ),
            ("dynamic_name: true", "client_address=198.51.100.7 client_name=unknown", NoMatch),
            ("dynamic_name: true", "", NoMatch),
        ] {
            check(yaml, given, expected);
        }
    }

    #[test]
    fn it_says_what_the_points_are_for() {
        let check = load("dynamic_name: true").0.unwrap();
        let facts = facts("client_address=198.51.100.7 client_name=198-51-100-7.dsl.isp.example");
        let known = Known::default();
        let cx = Context::new(&facts, &known, Stage::Rcpt);
        let why = "`198-51-100-7.dsl.isp.example` has 10 of 5 points (its address 5, dsl 5)";
        assert_eq!(check.because(&cx), why);
        let mut bindings = Vec::new();
        check.bind(&cx, &mut bindings);
        assert_eq!(bindings, [("name_points".to_owned(), "10".to_owned())]);
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        wrong("dynamic_name: false", &["dynamic_name stands alone, or with {at_least: POINTS}"]);
        wrong("dynamic_name: {at_least: 0}", &["`0` is not a number of points from 1 to 20"]);
        wrong("dynamic_name: {over: 5}", &["unknown option `over` of dynamic_name"]);
    }
}
