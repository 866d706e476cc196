//! # What it does
//! Matches when the points that rules above gave fit the condition.
//!
//! # Why
//! Several weak signs together are a strong one; none of them alone should
//! refuse mail.
//!
//! # Options
//! A number, or bounds:
//! - `over`, `under`: more than, less than.
//! - `at_least`, `at_most`: the same with the number itself.
//!
//! At `data` and `message` the score is the connection's and message's points
//! with those of the recipient who has most. `{score}` and `{reasons}` stand in
//! the rule's texts.
//!
//! # Example
//! ```yaml
//! - score: {at_least: 6}
//! ```
//!
//! # Unknown when
//! Never: a rule whose condition was unknown has given no points.

use super::Check;
use super::Context;
use super::Needs;
use super::Truth;
use crate::facts::Fact;
use crate::values::Loader;
use crate::values::NumberTest;
use crate::yaml::Entry;

#[derive(Clone, Debug)]
pub struct Score {
    test: NumberTest,
}

impl Check for Score {
    const OPTIONS: &'static [&'static str] = &NumberTest::OPTIONS;

    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
        NumberTest::parse(&entry.value, "score", cx).map(|test| Self { test })
    }

    fn needs(&self) -> Needs {
        self.reads().into_iter().map(Needs::of).fold(Needs::default(), Needs::join)
    }

    fn evaluate(&self, cx: &Context<'_>) -> Truth {
        self.test.matches(cx.known.score(), cx.facts).into()
    }

    fn because(&self, cx: &Context<'_>) -> String {
        format!("score is {}", show_score(cx.known.score()))
    }
}

impl Score {
    /// Which facts its bounds are looked up by.
    pub fn reads(&self) -> Vec<Fact> {
        self.test.reads()
    }
}

/// `6`, `6.5`, `-0.1`: without the noise of binary fractions.
pub fn show_score(score: f64) -> String {
    let rounded = (score * 1000.0).round() / 1000.0;
    format!("{rounded}")
}

#[cfg(test)]
mod tests {
    use super::super::testing::facts;
    use super::super::testing::load;
    use super::*;
    use crate::facts::Known;
    use crate::facts::Reason;
    use crate::facts::Stage;

    #[test]
    fn points_are_compared() {
        let facts = facts("");
        let mut known = Known::default();
        known.connection.reasons.push(Reason { rule: 0, points: 0.1 });
        known.message.reasons.push(Reason { rule: 1, points: 0.2 });
        for (yaml, expected) in [
            ("score: {at_least: 0.3}", Truth::Match),
            ("score: {over: 0.4}", Truth::NoMatch),
            ("score: {under: 1, over: 0}", Truth::Match),
        ] {
            let cx = Context::new(&facts, &known, Stage::Rcpt);
            assert_eq!(load(yaml).0.unwrap().evaluate(&cx), expected, "{yaml}");
        }
        assert_eq!(show_score(0.1 + 0.2), "0.3");
        assert_eq!(show_score(6.0), "6");
    }
}
