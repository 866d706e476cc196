//! # What it does
//! Matches when the message is written so that those who read it may take it for
//! different things: in one or all of the ways below, by their words; `any` is
//! whichever of them.
//!
//! # Why
//! A filter and a mail client that disagree about where a part begins, how it is encoded
//! or what it is called see different files, and whoever wants a program past the filter
//! writes the mail so. gatepost finds an attachment in every reading that it knows of; where
//! there is more than one, this says so, for there may be one that it does not know. Programs
//! that people use write hardly any of this: of 2,500 mails of a public collection one.
//!
//! # Options
//! - `is`: the words, where a map is wanted; `ambiguous_mime: [name_conflict, name_hidden]` is
//!   the same as `{is: [name_conflict, name_hidden]}`. `absent`: none of them.
//!
//! A text may say `{tricks}`, the words that were found. A test gives them with
//! `given: {ambiguous_mime: [boundary_conflict]}`.
//!
//! # Example
//! ```yaml
//! - ambiguous_mime: [base64_junk, boundary_conflict, encoding_conflict]
//! ```
//!
//! # Unknown when
//! Never. A message that is larger than what is read is judged by what was read.

use super::Bindings;
use super::Check;
use super::Context;
use super::Giveable;
use super::Needs;
use super::Truth;
use crate::message::Trick;
use crate::message::Wants;
use crate::values::Loader;
use crate::values::WordTest;
use crate::yaml::Entry;

#[derive(Clone, Debug)]
pub struct AmbiguousMime {
    wanted: WordTest,
}

impl Check for AmbiguousMime {
    const OPTIONS: &'static [&'static str] = &["is"];

    const GIVEABLE: Giveable = Giveable::Words(Trick::WORDS);

    const TABLE: fn() -> String = table;

    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
        let wanted = match entry.value.as_word() {
            Some("any") => WordTest::Present,
            _ => WordTest::parse(&entry.value, "ambiguous_mime", Trick::WORDS, cx)?,
        };
        Some(Self { wanted })
    }

    fn needs(&self) -> Needs {
        Needs::of_message(Wants { parts: true, ..Wants::NOTHING })
    }

    fn evaluate(&self, cx: &Context<'_>) -> Truth {
        match found(cx) {
            None => Truth::Unknown,
            Some(found) if found.is_empty() => self.wanted.matches(None).into(),
            Some(found) => found.iter().any(|word| self.wanted.matches(Some(word))).into(),
        }
    }

    fn because(&self, cx: &Context<'_>) -> String {
        match found(cx) {
            None => "how its readers take the message is not known".into(),
            Some(found) if found.is_empty() => "all readers take the message for the same".into(),
            Some(found) => format!("readers of the message may differ: {}", found.join(", ")),
        }
    }

    fn variables(&self) -> Vec<String> {
        vec!["tricks".into()]
    }

    fn bind(&self, cx: &Context<'_>, bindings: &mut Bindings) {
        bindings.push(("tricks".into(), found(cx).unwrap_or_default().join(", ")));
    }
}

/// None: a test says that it is not known.
fn found(cx: &Context<'_>) -> Option<Vec<&'static str>> {
    if let Some(given) = cx.given("ambiguous_mime") {
        let word = |given: &String| Trick::WORDS.iter().find(|word| *word == given).copied();
        return given.iter().map(word).collect();
    }
    let tricks = cx.facts.message.as_ref().map_or(&[][..], |message| message.tricks());
    Some(tricks.iter().map(|trick| trick.word()).collect())
}

/// Every word with what it means.
fn table() -> String {
    format!("| word | what is seen |\n| --- | --- |\n{}", Trick::rows())
}

#[cfg(test)]
mod tests {
    use super::super::Truth::Match;
    use super::super::Truth::NoMatch;
    use super::super::Truth::Unknown;
    use super::super::testing::check;
    use super::super::testing::check_dns;
    use super::super::testing::load;
    use super::super::testing::wrong;
    use super::*;
    use crate::facts::Known;
    use crate::facts::Stage;

    const CLEAN: &str = "Content-Type: multipart/mixed; boundary=b\n\n--b\n\ntext\n--b--";
    const TWO_BOUNDARIES: &str =
        "Content-Type: multipart/mixed; boundary=b; boundary=c\n\n--b\n\ntext\n--b--";

    #[test]
    fn a_message_that_can_be_read_in_two_ways_is_told() {
        for (value, mail, expected) in [
            ("any", TWO_BOUNDARIES, Match),
            ("any", CLEAN, NoMatch),
            ("any", "Subject: x\n\ntext", NoMatch),
            ("boundary_conflict", TWO_BOUNDARIES, Match),
            ("[name_hidden, boundary_conflict]", TWO_BOUNDARIES, Match),
            ("{is: boundary_conflict}", TWO_BOUNDARIES, Match),
            ("name_hidden", TWO_BOUNDARIES, NoMatch),
            ("absent", CLEAN, Match),
            ("absent", TWO_BOUNDARIES, NoMatch),
            ("control_in_header", "Subject: a\u{8}b\n\ntext", Match),
            ("control_in_header", "Subject: a\tb\n\ntext", NoMatch),
        ] {
            check(&format!("ambiguous_mime: {value}"), &format!("sender=a@b.test\n\n{mail}"), expected);
        }
    }

    #[test]
    fn what_a_test_gives_is_taken_for_what_was_found() {
        for (value, given, expected) in
            [("any", "bare_cr", Match), ("name_hidden", "bare_cr", NoMatch), ("any", "unknown", Unknown)]
        {
            let given = ("ambiguous_mime", vec![given.to_owned()]);
            check_dns(&format!("ambiguous_mime: {value}"), "sender=a@b.test", "", &[given], expected);
        }
    }

    #[test]
    fn texts_name_what_was_found() {
        let check = load("ambiguous_mime: any").0.unwrap();
        let facts = super::super::testing::facts(&format!("sender=a@b.test\n\n{TWO_BOUNDARIES}"));
        let known = Known::default();
        let cx = Context::new(&facts, &known, Stage::Message);
        assert_eq!(check.because(&cx), "readers of the message may differ: boundary_conflict");
        let mut bindings = Vec::new();
        check.bind(&cx, &mut bindings);
        assert_eq!(bindings, [("tricks".to_owned(), "boundary_conflict".to_owned())]);
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        let words = Trick::WORDS.join(" ");
        wrong(
            "ambiguous_mime: name_hiden",
            &[&format!("`name_hiden` is not an ambiguous_mime: {words}; did you mean `name_hidden`?")],
        );
        wrong(
            "ambiguous_mime: {of: bare_cr}",
            &["unknown option `of` of ambiguous_mime", "ambiguous_mime needs a word, or is: WORDS"],
        );
    }
}
