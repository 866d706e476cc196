//! # What it does
//! Matches when the client's name is as the word says: a name is verified if the
//! client's address points to it and one of the name's addresses is the client's.
//!
//! # Why
//! A verified name is the one thing about a client that it can't have made up, and what
//! lists of good servers should go by. Postfix verifies the first name of an address
//! only, and tells a server without a name from one whose DNS is broken by
//! `reverse_client_name` at best.
//!
//! # Options
//! - `is`: `verified`; `unverified`, there is a name, but it is another's; `no_name`;
//!   `temperror`, the DNS would not say. Several will do, and it may be left out:
//!   `client_fcrdns: [unverified, no_name]`.
//! - `name`: patterns or `{in: LISTS}`; with it only a verified name that fits matches.
//!
//! Where Postfix has verified a name that is taken. Else the DNS is asked for the
//! address's names, of which up to 10 are looked up, and for their addresses. A text may
//! say `{verified_name}`. A test gives it with `given: {client_fcrdns: unverified}`.
//!
//! # Example
//! ```yaml
//! - client_fcrdns: {name: [.partner.example, mailout-*.bigmail.example]}
//! ```
//!
//! # Unknown when
//! The DNS would not say, and it is asked for another word than `temperror`; or the
//! client's address is not known.

use super::Bindings;
use super::Check;
use super::Context;
use super::Giveable;
use super::Needs;
use super::Truth;
use crate::dns::Answer;
use crate::dns::Kind;
use crate::dns::Name;
use crate::dns::Question;
use crate::dns::Record;
use crate::facts::Fact;
use crate::facts::UNKNOWN_NAME;
use crate::lists::Query;
use crate::lists::Subject;
use crate::near::did_you_mean;
use crate::values::Loader;
use crate::values::TextTest;
use crate::values::WordTest;
use crate::yaml::Entry;
use std::borrow::Cow;
use std::net::IpAddr;

const WORDS: &[&str] = &["verified", "unverified", "no_name", "temperror"];

/// An address may point to thousands of names; an honest one has one or two.
const MAX_NAMES: usize = 10;

#[derive(Clone, Debug)]
pub struct ClientFcrdns {
    words: Vec<&'static str>,
    name: Option<TextTest>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq)]
enum Found<'a> {
    NoName,
    TempError,
    /// Still to come, or never will.
    Unknown,
    Unverified,
    /// The name, and who verified it.
    Verified(Cow<'a, str>, &'static str),
}

impl Found<'_> {
    fn word(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoName => "no_name",
            Self::TempError => "temperror",
            Self::Unknown => return None,
            Self::Unverified => "unverified",
            Self::Verified(..) => "verified",
        })
    }
}

impl Check for ClientFcrdns {
    const OPTIONS: &'static [&'static str] = &["is", "name"];
    const GIVEABLE: Giveable = Giveable::Words(WORDS);

    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
        let node = &entry.value;
        let name = match node.get("name") {
            Some(name) => Some(TextTest::parse(name, "name", Subject::Domain, cx)?),
            None => None,
        };
        let words = match (node.as_map(), node.get("is")) {
            (Some(options), is) => {
                let fine = cx.only_keys(options, Self::OPTIONS, "client_fcrdns");
                let words = match is {
                    Some(is) => WordTest::parse(is, "client_fcrdns", WORDS, cx)?,
                    None if name.is_some() => WordTest::OneOf(vec!["verified"]),
                    None => WordTest::OneOf(Vec::new()),
                };
                fine.then_some(words)?
            }
            (None, _) => WordTest::parse(node, "client_fcrdns", WORDS, cx)?,
        };
        let words = match words {
            WordTest::OneOf(words) if !words.is_empty() => words,
            _ => {
                let message = format!("client_fcrdns needs a word: {}; or name: PATTERNS", WORDS.join(" "));
                cx.mistake(node.place, message);
                return None;
            }
        };
        if let Some(word) = words.iter().find(|word| name.is_some() && **word != "verified") {
            let hint = did_you_mean(word, ["verified"]);
            cx.mistake(node.place, format!("a name is only known when it is verified, not `{word}`{hint}"));
            return None;
        }
        Some(Self { words, name })
    }

    fn needs(&self) -> Needs {
        Needs::of(Fact::ClientName).join(Needs::of(Fact::ClientAddress))
    }

    fn evaluate(&self, cx: &Context<'_>) -> Truth {
        let found = self.found(cx);
        match (&found, found.word()) {
            (Found::Verified(name, _), Some(word)) if self.words.contains(&word) => {
                self.fits(name, cx).into()
            }
            (_, Some(word)) if self.words.contains(&word) => Truth::Match,
            (Found::TempError | Found::Unknown, _) => Truth::Unknown,
            _ => Truth::NoMatch,
        }
    }

    fn because(&self, cx: &Context<'_>) -> String {
        match self.found(cx) {
            Found::NoName => "the client's address points to no name".into(),
            Found::TempError => "the DNS would not say which names the client has".into(),
            Found::Unknown => "the names of the client are not known".into(),
            Found::Unverified => "no name of the client has its address".into(),
            Found::Verified(name, by) => format!("the client is `{name}`, verified by {by}"),
        }
    }

    fn variables(&self) -> Vec<String> {
        vec!["verified_name".into()]
    }

    fn bind(&self, cx: &Context<'_>, bindings: &mut Bindings) {
        let name = match self.found(cx) {
            Found::Verified(name, _) => name.into_owned(),
            _ => UNKNOWN_NAME.into(),
        };
        bindings.push(("verified_name".into(), name));
    }
}

impl ClientFcrdns {
    fn found<'a>(&self, cx: &Context<'a>) -> Found<'a> {
        found(cx, &|name| self.fits(name, cx))
    }

    fn fits(&self, name: &str, cx: &Context<'_>) -> bool {
        let query = Query { text: name, folded: name, ip: None };
        self.name.as_ref().is_none_or(|test| test.matches(Some(&query), cx.facts))
    }

    /// Which facts the patterns are compared with or looked up by.
    pub fn reads(&self) -> Vec<Fact> {
        self.name.as_ref().map(TextTest::reads).unwrap_or_default()
    }
}

fn found<'a>(cx: &Context<'a>, fits: &dyn Fn(&str) -> bool) -> Found<'a> {
    let known = |fact| cx.facts.folded(fact).filter(|name: &&str| *name != UNKNOWN_NAME);
    if let Some(given) = cx.given("client_fcrdns") {
        return match given.first().map(String::as_str) {
            Some("verified") => {
                let name = known(Fact::ClientName).or_else(|| known(Fact::ReverseClientName));
                Found::Verified(name.unwrap_or_default().into(), "the test")
            }
            Some("unverified") => Found::Unverified,
            Some("no_name") => Found::NoName,
            Some("temperror") => Found::TempError,
            _ => Found::Unknown,
        };
    }
    if let Some(name) = known(Fact::ClientName) {
        return Found::Verified(name.into(), "Postfix");
    }
    match cx.facts.ip(Fact::ClientAddress) {
        Some(ip) => looked_up(ip, cx, fits),
        None => Found::Unknown,
    }
}

/// Of several verified names one that fits: the DNS tells them in any order.
fn looked_up<'a>(ip: IpAddr, cx: &Context<'_>, fits: &dyn Fn(&str) -> bool) -> Found<'a> {
    let Some(pointer) = Name::of_pointer(ip) else {
        return Found::Unknown;
    };
    let names = match cx.dns(&Question::new(pointer, Kind::Ptr)) {
        None => return Found::Unknown,
        Some(Answer::Absent(_)) => return Found::NoName,
        Some(Answer::Failed(_) | Answer::Silent) => return Found::TempError,
        Some(Answer::Records(records)) => records,
    };
    let names = names.iter().filter_map(|record| match record {
        Record::Ptr(name) => Some(name),
        _ => None,
    });
    // All are asked for before one is waited for.
    let ask = |name: &Name| cx.dns(&Question::new(name.clone(), Kind::of_address(ip)));
    let asked: Vec<_> = names.take(MAX_NAMES).map(|name| (name, ask(name))).collect();
    let is_client = |answer: &Answer| answer.records().iter().any(|record| record.ip() == Some(ip));
    let verified = asked.iter().filter(|(_, answer)| answer.as_ref().is_some_and(is_client));
    let mut verified = verified.map(|(name, _)| name.as_str());
    let first = verified.clone().next();
    let fitting = verified.find(|name| fits(name));
    if fitting.is_none() && asked.iter().any(|(_, answer)| answer.is_none()) {
        return Found::Unknown;
    }
    if let Some(name) = fitting.or(first) {
        return Found::Verified(name.to_owned().into(), "the DNS");
    }
    match asked.iter().flat_map(|(_, answer)| answer).all(Answer::is_known) {
        true => Found::Unverified,
        false => Found::TempError,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Truth::Match;
    use super::super::Truth::NoMatch;
    use super::super::Truth::Unknown;
    use super::super::testing::check_dns;
    use super::super::testing::wrong;

    const ZONE: &str = "\
        1.100.51.198.in-addr.arpa PTR other.example\n1.100.51.198.in-addr.arpa PTR mail-7.out.example\n\
        other.example A 192.0.2.1\nmail-7.out.example A 198.51.100.1\n\
        2.100.51.198.in-addr.arpa PTR other.example\n\
        3.100.51.198.in-addr.arpa SERVFAIL\n\
        4.100.51.198.in-addr.arpa PTR bad.example\n4.100.51.198.in-addr.arpa PTR other.example\nbad.example TIMEOUT\n\
        6.100.51.198.in-addr.arpa PTR none.example\n\
        8.100.51.198.in-addr.arpa PTR web.else.example\n8.100.51.198.in-addr.arpa PTR mail-8.out.example\n\
        web.else.example A 198.51.100.8\nmail-8.out.example A 198.51.100.8";

    #[test]
    fn a_name_is_verified_in_both_directions() {
        for (value, given, expected) in [
            ("verified", "client_address=198.51.100.9 client_name=mail.example", Match),
            ("verified", "client_address=198.51.100.1 client_name=unknown", Match),
            ("verified", "client_address=198.51.100.2 client_name=unknown", NoMatch),
            ("unverified", "client_address=198.51.100.2 client_name=unknown", Match),
            ("unverified", "client_address=198.51.100.6 client_name=unknown", Match),
            ("no_name", "client_address=198.51.100.5 client_name=unknown", Match),
            ("no_name", "client_address=2001:db8::1 client_name=unknown", Match),
            ("no_name", "client_address=198.51.100.2 client_name=unknown", NoMatch),
            ("[unverified, no_name]", "client_address=198.51.100.3 client_name=unknown", Unknown),
            ("temperror", "client_address=198.51.100.3 client_name=unknown", Match),
            ("unverified", "client_address=198.51.100.4 client_name=unknown", Unknown),
            ("temperror", "client_address=198.51.100.4 client_name=unknown", Match),
            ("temperror", "client_address=198.51.100.1 client_name=unknown", NoMatch),
            ("verified", "client_name=unknown", Unknown),
            ("{name: mail-*.out.example}", "client_address=198.51.100.1 client_name=unknown", Match),
            (
                "{name: mail-*.out.example}",
                "client_address=198.51.100.9 client_name=mail-8.out.example",
                Match,
            ),
            ("{name: .else.example}", "client_address=198.51.100.1 client_name=unknown", NoMatch),
            ("{name: mail-*.out.example}", "client_address=198.51.100.8 client_name=unknown", Match),
            ("{name: .else.example}", "client_address=198.51.100.8 client_name=unknown", Match),
            ("{name: other.example}", "client_address=198.51.100.8 client_name=unknown", NoMatch),
            (
                "{is: verified, name: .out.example}",
                "client_address=198.51.100.3 client_name=unknown",
                Unknown,
            ),
        ] {
            check_dns(&format!("client_fcrdns: {value}"), given, ZONE, &[], expected);
        }
    }

    #[test]
    fn no_more_names_are_looked_up_than_an_honest_address_has() {
        let mut zone: String =
            (0..40).map(|n| format!("1.2.0.192.in-addr.arpa PTR n{n}.example\n")).collect();
        zone += "n39.example A 192.0.2.1\n";
        let given = "client_address=192.0.2.1 client_name=unknown";
        check_dns("client_fcrdns: unverified", given, &zone, &[], Match);
        zone += "n9.example A 192.0.2.1\n";
        check_dns("client_fcrdns: verified", given, &zone, &[], Match);
    }

    #[test]
    fn a_test_gives_what_it_comes_to() {
        for (value, word, expected) in [
            ("unverified", "unverified", Match),
            ("verified", "unverified", NoMatch),
            ("{name: .sender.example}", "verified", Match),
            ("verified", "unknown", Unknown),
            ("no_name", "temperror", Unknown),
        ] {
            let given = [("client_fcrdns", vec![word.to_owned()])];
            let facts = "client_name=unknown reverse_client_name=a.sender.example";
            check_dns(&format!("client_fcrdns: {value}"), facts, "", &given, expected);
        }
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        let needs = "client_fcrdns needs a word: verified unverified no_name temperror; or name: PATTERNS";
        wrong("client_fcrdns: {}", &[needs]);
        wrong("client_fcrdns: present", &[needs]);
        wrong(
            "client_fcrdns: {is: no_name, name: .a.example}",
            &["a name is only known when it is verified, not `no_name`"],
        );
        wrong(
            "client_fcrdns: {names: .a.example}",
            &["unknown option `names` of client_fcrdns; did you mean `name`?"],
        );
        wrong(
            "client_fcrdns: forged",
            &["`forged` is not a client_fcrdns: verified unverified no_name temperror"],
        );
    }
}
