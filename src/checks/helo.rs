//! # What it does
//! Matches when the name that the client greets us with is what the word says; of
//! several words any will do.
//!
//! # Why
//! A greeting is the first thing that a client can lie about, and bots do not take the
//! trouble to lie well.
//!
//! # Options
//! - `is`: one of the words below, or several. It may be left out:
//!   `helo: [address, no_dot]`.
//!
//! | word | the greeting |
//! | --- | --- |
//! | `ours` | is one of `local.hostnames` or `local.domains`, or the address that the client connected to; never from `local.networks` or `local.relays`, where our own machines have such names |
//! | `address` | is an address, in brackets as it should be or bare |
//! | `bare_address` | is an address without brackets, which is no greeting (RFC 5321, 4.1.3) |
//! | `foreign_address` | is an address, but not the client's |
//! | `no_dot` | is a name without a dot, such as `localhost` or `PC-7`, and no address |
//! | `unresolvable` | is a name that has neither an address nor an MX in the DNS |
//! | `mismatch` | is a name that has addresses, none of which is the client's |
//! | `verified` | is a name of which one address is the client's |
//! | `temperror` | is a name about which the DNS would not say |
//!
//! The DNS is asked for the last four, and only if a rule asks for one of them. Many
//! honest servers greet with a name that is not the client's: `mismatch` alone is no
//! reason for anything. Programs of people who log in greet as they like: ask where
//! `direction` is `inbound`. A test gives what the DNS would say with
//! `given: {helo: mismatch}`; all else follows from `helo_name`.
//!
//! # Example
//! ```yaml
//! - helo: [address, no_dot]
//! ```
//!
//! # Unknown when
//! The DNS would not say, and it is asked for another word than `temperror`; or the
//! client's address is not known.

use super::Check;
use super::Context;
use super::Giveable;
use super::Needs;
use super::Truth;
use crate::dns::Absence;
use crate::dns::Answer;
use crate::dns::Kind;
use crate::dns::Name;
use crate::dns::Question;
use crate::facts::Fact;
use crate::facts::parse_ip;
use crate::lists::List;
use crate::lists::Query;
use crate::values::Loader;
use crate::values::WordTest;
use crate::yaml::Entry;
use std::net::IpAddr;
use std::sync::Arc;

const WORDS: &[&str] = &[
    "ours",
    "address",
    "bare_address",
    "foreign_address",
    "no_dot",
    "unresolvable",
    "mismatch",
    "verified",
    "temperror",
];

/// What the DNS says of a name; each is also a word.
const RESOLVED: &[&str] = &["unresolvable", "mismatch", "verified", "temperror"];

const TEMPERROR: &str = "temperror";

#[derive(Clone, Debug)]
pub struct Helo {
    words: Vec<&'static str>,
    own: Own,
}

/// Who we are; None where nobody said so.
#[derive(Clone, Debug)]
struct Own {
    hostnames: Option<Arc<List>>,
    domains: Option<Arc<List>>,
    networks: Option<Arc<List>>,
    relays: Option<Arc<List>>,
}

impl Check for Helo {
    const OPTIONS: &'static [&'static str] = &["is"];
    const GIVEABLE: Giveable = Giveable::Words(RESOLVED);

    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
        let WordTest::OneOf(words) = WordTest::parse(&entry.value, "helo", WORDS, cx)? else {
            cx.mistake(entry.value.place, "helo is asked for what the name is: ours, address, no_dot and so on; whether there is one is `helo_name: present`");
            return None;
        };
        let list = |name| cx.lists.get(name).ok().cloned();
        let own = Own {
            hostnames: list("local.hostnames"),
            domains: list("local.domains"),
            networks: list("local.networks"),
            relays: list("local.relays"),
        };
        Some(Self { words, own })
    }

    fn needs(&self) -> Needs {
        Needs::of(Fact::HeloName)
    }

    fn evaluate(&self, cx: &Context<'_>) -> Truth {
        let Some(greeting) = Greeting::of(cx) else {
            return Truth::NoMatch;
        };
        // What costs nothing first: if that will do, nothing is asked.
        let (asked, known): (Vec<_>, Vec<_>) = self.words.iter().partition(|word| RESOLVED.contains(word));
        if known.into_iter().any(|word| self.fits(word, &greeting, cx)) {
            return Truth::Match;
        }
        if asked.is_empty() {
            return Truth::NoMatch;
        }
        match greeting.resolved(cx) {
            Resolved::Word(word) if asked.contains(&word) => Truth::Match,
            Resolved::Word(TEMPERROR) | Resolved::Unknown => Truth::Unknown,
            Resolved::Word(_) | Resolved::NoName => Truth::NoMatch,
        }
    }

    fn because(&self, cx: &Context<'_>) -> String {
        let Some(greeting) = Greeting::of(cx) else {
            return "helo_name is not known".into();
        };
        let is_known = |word: &&&str| !RESOLVED.contains(word) && self.fits(word, &greeting, cx);
        let mut found: Vec<_> = self.words.iter().filter(is_known).copied().collect();
        if found.is_empty() && self.asks_dns() {
            match greeting.resolved(cx) {
                Resolved::Word(word) => found.push(word),
                Resolved::Unknown => found.push("not looked up"),
                Resolved::NoName => {}
            }
        }
        let shown = cx.facts.text(Fact::HeloName).unwrap_or_default();
        match found.is_empty() {
            true => format!("helo_name `{shown}` is not {}", self.words.join(" or ")),
            false => format!("helo_name `{shown}` is {}", found.join(", ")),
        }
    }
}

impl Helo {
    /// Whether any of its words needs the DNS.
    pub fn asks_dns(&self) -> bool {
        self.words.iter().any(|word| RESOLVED.contains(word))
    }

    /// Whether a word holds about which nobody need be asked.
    fn fits(&self, word: &str, greeting: &Greeting<'_>, cx: &Context<'_>) -> bool {
        match (word, greeting.address) {
            ("ours", _) => self.is_ours(greeting, cx),
            ("address", Some(_)) => true,
            ("bare_address", Some(_)) => !greeting.name.starts_with('['),
            ("foreign_address", Some(ip)) => {
                cx.facts.ip(Fact::ClientAddress).is_some_and(|client| client != ip)
            }
            ("no_dot", None) => !greeting.name.contains('.'),
            _ => false,
        }
    }

    fn is_ours(&self, greeting: &Greeting<'_>, cx: &Context<'_>) -> bool {
        let has = |list: &Option<Arc<List>>, query: &Query<'_>| {
            list.as_ref().is_some_and(|list| list.contains(query))
        };
        let client = crate::values::query(cx.facts, Fact::ClientAddress);
        let is_own = |client| has(&self.own.networks, client) || has(&self.own.relays, client);
        if client.as_ref().is_some_and(is_own) {
            return false;
        }
        if let Some(ip) = greeting.address {
            return cx.facts.ip(Fact::ServerAddress) == Some(ip);
        }
        let name = Query { text: greeting.name, folded: greeting.name, ip: None };
        has(&self.own.hostnames, &name) || has(&self.own.domains, &name)
    }
}

/// What the client has said.
struct Greeting<'a> {
    /// In lower case, without the root's dot.
    name: &'a str,
    /// If it is one.
    address: Option<IpAddr>,
}

/// What the DNS says of it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Resolved {
    /// It is an address: there is nothing to ask.
    NoName,
    /// Still to come, or never will.
    Unknown,
    Word(&'static str),
}

impl<'a> Greeting<'a> {
    fn of(cx: &Context<'a>) -> Option<Self> {
        let name = cx.facts.folded(Fact::HeloName).filter(|name| !name.is_empty())?;
        let name = name.strip_suffix('.').unwrap_or(name);
        let inner = name.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(name);
        Some(Self { name, address: parse_ip(inner) })
    }

    fn resolved(&self, cx: &Context<'_>) -> Resolved {
        if let Some(given) = cx.given("helo") {
            let word = RESOLVED.iter().find(|word| given.iter().any(|given| given == **word));
            return word.map_or(Resolved::Unknown, |word| Resolved::Word(word));
        }
        if self.address.is_some() {
            return Resolved::NoName;
        }
        // Nobody has a name without a dot, so nobody need be asked for one.
        let Some(name) = Name::parse(self.name).filter(|name| name.as_str().contains('.')) else {
            return Resolved::Word("unresolvable");
        };
        let Some(client) = cx.facts.ip(Fact::ClientAddress) else {
            return Resolved::Unknown;
        };
        // Postfix has verified its own name for the client both ways.
        if cx.facts.folded(Fact::ClientName) == Some(self.name) {
            return Resolved::Word("verified");
        }
        let ask = |kind| cx.dns(&Question::new(name.clone(), kind));
        let other = if client.is_ipv4() { Kind::Aaaa } else { Kind::A };
        // What Postfix takes for a name that resolves (reject_unknown_helo_hostname).
        for kind in [Kind::of_address(client), other, Kind::Mx] {
            match ask(kind) {
                None => return Resolved::Unknown,
                Some(Answer::Records(records)) => {
                    let is_client = records.iter().any(|record| record.ip() == Some(client));
                    return Resolved::Word(if is_client { "verified" } else { "mismatch" });
                }
                Some(Answer::Absent(Absence::NoName)) => break,
                Some(Answer::Absent(Absence::NoRecord)) => {}
                Some(Answer::Failed(_) | Answer::Silent) => return Resolved::Word(TEMPERROR),
            }
        }
        Resolved::Word("unresolvable")
    }
}

#[cfg(test)]
mod tests {
    use super::super::Truth::Match;
    use super::super::Truth::NoMatch;
    use super::super::Truth::Unknown;
    use super::super::testing::check;
    use super::super::testing::check_dns;
    use super::super::testing::wrong;

    #[test]
    fn a_greeting_is_told_by_its_form() {
        let client = "client_address=198.51.100.7 server_address=192.0.2.25";
        for (word, name, expected) in [
            ("ours", "MX.Example.com", Match),
            ("ours", "mx.example.com.", Match),
            ("ours", "example.com", Match),
            ("ours", "a.below.example", Match),
            ("ours", "smtp.example.com", NoMatch),
            ("ours", "mx.example.com.evil.test", NoMatch),
            ("ours", "192.0.2.25", Match),
            ("ours", "[192.0.2.25]", Match),
            ("ours", "[192.0.2.26]", NoMatch),
            ("address", "198.51.100.7", Match),
            ("address", "[198.51.100.7]", Match),
            ("address", "[IPv6:2001:db8::1]", Match),
            ("address", "2001:db8::1", Match),
            ("address", "198.51.100.7.isp.example", NoMatch),
            ("address", "[mail.example]", NoMatch),
            ("bare_address", "198.51.100.7", Match),
            ("bare_address", "[198.51.100.7]", NoMatch),
            ("foreign_address", "[198.51.100.7]", NoMatch),
            ("foreign_address", "[::ffff:198.51.100.7]", NoMatch),
            ("foreign_address", "[198.51.100.8]", Match),
            ("foreign_address", "mail.example", NoMatch),
            ("no_dot", "localhost", Match),
            ("no_dot", "PC-7", Match),
            ("no_dot", "localhost.", Match),
            ("no_dot", "a.b", NoMatch),
            ("no_dot", "2001:db8::1", NoMatch),
            ("[address, no_dot]", "localhost", Match),
            ("{is: [address, no_dot]}", "mail.example", NoMatch),
        ] {
            check(&format!("helo: {word}"), &format!("{client} helo_name={name}"), expected);
        }
        check("helo: ours", "client_address=127.0.0.1 helo_name=mx.example.com", NoMatch);
        check("helo: ours", "client_address=192.0.2.250 helo_name=mx.example.com", NoMatch);
        check("helo: no_dot", client, NoMatch);
    }

    #[test]
    fn a_name_is_looked_up_where_a_word_asks_for_it() {
        let zone = "mail.example A 198.51.100.7\nmail.example A 198.51.100.8\nelse.example A 192.0.2.9\n\
                    six.example AAAA 2001:db8::1\nmx.example MX 10 mail.example\nbad.example SERVFAIL\n\
                    slow.example TIMEOUT\ntext.example TXT x";
        for (word, client, name, expected) in [
            ("verified", "198.51.100.7", "mail.example", Match),
            ("verified", "198.51.100.9", "mail.example", NoMatch),
            ("mismatch", "198.51.100.9", "mail.example", Match),
            ("mismatch", "198.51.100.7", "six.example", Match),
            ("verified", "2001:db8::1", "six.example", Match),
            ("mismatch", "198.51.100.7", "mx.example", Match),
            ("unresolvable", "198.51.100.7", "mx.example", NoMatch),
            ("unresolvable", "198.51.100.7", "text.example", Match),
            ("unresolvable", "198.51.100.7", "none.example", Match),
            ("unresolvable", "198.51.100.7", "localhost", Match),
            ("unresolvable", "198.51.100.7", "[192.0.2.1]", NoMatch),
            ("mismatch", "198.51.100.7", "[192.0.2.1]", NoMatch),
            ("unresolvable", "198.51.100.7", "a..b", Match),
            ("unresolvable", "198.51.100.7", "bad.example", Unknown),
            ("mismatch", "198.51.100.7", "slow.example", Unknown),
            ("temperror", "198.51.100.7", "bad.example", Match),
            ("temperror", "198.51.100.7", "slow.example", Match),
            ("temperror", "198.51.100.7", "mail.example", NoMatch),
            ("[no_dot, unresolvable]", "198.51.100.7", "localhost", Match),
            ("[mismatch, unresolvable]", "198.51.100.7", "none.example", Match),
        ] {
            let given = format!("client_address={client} helo_name={name}");
            check_dns(&format!("helo: {word}"), &given, zone, &[], expected);
        }
        check_dns("helo: unresolvable", "helo_name=mail.example", zone, &[], Unknown);
        // Postfix has asked before us.
        for (client_name, expected) in [("Bad.example", Match), ("mail.bad.example", Unknown)] {
            let given =
                format!("client_address=198.51.100.7 client_name={client_name} helo_name=bad.example");
            check_dns("helo: verified", &given, zone, &[], expected);
        }
    }

    #[test]
    fn a_test_gives_what_the_dns_would_say() {
        for (word, words, expected) in [
            ("mismatch", "mismatch", Match),
            ("unresolvable", "mismatch", NoMatch),
            ("mismatch", "unknown", Unknown),
            ("mismatch", "temperror", Unknown),
            ("no_dot", "mismatch", Match),
        ] {
            let given = [("helo", vec![words.to_owned()])];
            check_dns(&format!("helo: {word}"), "helo_name=localhost", "", &given, expected);
        }
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        let words =
            "ours address bare_address foreign_address no_dot unresolvable mismatch verified temperror";
        wrong("helo: our", &[&format!("`our` is not a helo: {words}; did you mean `ours`?")]);
        wrong(
            "helo: present",
            &[
                "helo is asked for what the name is: ours, address, no_dot and so on; whether there is one is `helo_name: present`",
            ],
        );
    }
}
