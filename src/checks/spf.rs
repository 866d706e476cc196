//! # What it does
//! Matches when SPF comes to one of the given results: `pass`, `fail`, `softfail`,
//! `neutral`, `none`, `temperror` or `permerror`. `present` asks whether the domain has
//! said anything: any result but `none`. `any` is whatever it comes to, for header fields.
//!
//! # Why
//! The owner of a domain says in the DNS which hosts send its mail (RFC 7208). Mail that
//! fails was sent by others, or was forwarded.
//!
//! # Options
//! - `is`: the results, where there are other options.
//! - `identity` (default `mailfrom`): whose word counts. `mailfrom` is the domain of the
//!   envelope sender; for a mail without sender, such as a bounce, the name in HELO
//!   (RFC 7208, 2.4). `helo` is the name in HELO, known before there is a sender. `both` asks in
//!   the order of RFC 7208: HELO first, and the sender unless HELO fails.
//!
//! Mail of our own is never asked about, nor mail that `local.relays` hand on, nor mail from private and
//! loopback addresses, whose real sender is hidden behind a proxy or NAT: its result is `none`, and
//! `any` does not match. Forwarders fail by nature: name them under `unless`, of the rule or of its
//! file, and nothing is asked about them either.
//!
//! A text may say `{spf}` (the result), `{spf_identity}`, `{spf_domain}`, `{spf_reason}`
//! (the term of the record that matched, or what went wrong), `{spf_text}` (what the
//! domain itself has to say to who fails, else a sentence of ours), and `{received_spf}`: the value of
//! a field `Received-SPF`, to which a text may add `; receiver=mx.example.com`.
//!
//! At most ten terms of the records may ask the DNS, and two of their names may not
//! exist; what asks for more is `permerror`, as RFC 7208 has it, and so is a record of more than
//! 16 KiB. A test gives the result with `given: {spf: fail}`, or records with `dns:`.
//!
//! # Example
//! ```yaml
//! - spf: {is: [fail, softfail], identity: helo}
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
use crate::auth::SpfAnswer;
use crate::auth::SpfIdentity;
use crate::auth::SpfQuestion;
use crate::auth::SpfResult;
use crate::facts::Fact;
use crate::facts::Facts;
use crate::facts::is_private;
use crate::lists::List;
use crate::near::did_you_mean;
use crate::values::Loader;
use crate::values::query;
use crate::yaml::Entry;
use crate::yaml::Node;
use std::net::IpAddr;
use std::sync::Arc;

const RESULTS: &[&str] = &["pass", "fail", "softfail", "neutral", "none", "temperror", "permerror"];

#[derive(Clone, Debug)]
pub struct Spf {
    wanted: Wanted,
    whose: Whose,
    /// Whose mail is our own before it is known who logged in, and who hands on that of others.
    exempt: Vec<(Arc<List>, &'static str)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Wanted {
    Any,
    OneOf(Vec<SpfResult>),
    Present,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Whose {
    Both,
    One(SpfIdentity),
}

/// What is known of it.
#[derive(Debug)]
enum Found {
    /// Nobody is asked, and why.
    Exempt(&'static str),
    Said(SpfQuestion, Arc<SpfAnswer>),
    Unknown,
}

impl Check for Spf {
    const OPTIONS: &'static [&'static str] = &["is", "identity"];

    const GIVEABLE: Giveable = Giveable::Words(RESULTS);

    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
        let node = &entry.value;
        let Some(options) = node.as_map() else {
            return Some(Self::new(wanted(node, cx)?, Whose::One(SpfIdentity::MailFrom), cx));
        };
        let fine = cx.only_keys(options, Self::OPTIONS, "spf");
        let Some(is) = node.get("is") else {
            cx.mistake(node.place, "spf needs a result such as fail, or is: [fail, softfail]");
            return None;
        };
        let wanted = wanted(is, cx);
        let whose = match node.get("identity") {
            Some(node) => whose(node, cx),
            None => Some(Whose::One(SpfIdentity::MailFrom)),
        };
        let spf = Self::new(wanted?, whose?, cx);
        fine.then_some(spf)
    }

    fn needs(&self) -> Needs {
        match self.whose {
            Whose::One(SpfIdentity::Helo) => Needs::of(Fact::HeloName),
            _ => Needs::of(Fact::Sender).join(Needs::of(Fact::Direction)),
        }
    }

    fn evaluate(&self, cx: &Context<'_>) -> Truth {
        match self.found(cx) {
            Found::Said(_, answer) => self.wanted.holds(answer.result),
            Found::Exempt(_) => (self.wanted != Wanted::Any && self.wanted.has(SpfResult::None)).into(),
            Found::Unknown => Truth::Unknown,
        }
    }

    fn because(&self, cx: &Context<'_>) -> String {
        match self.found(cx) {
            Found::Said(_, answer) => {
                let SpfAnswer { result, identity, domain, .. } = &*answer;
                let (result, identity) = (result.word(), identity.word());
                format!("SPF of `{domain}` ({identity}) comes to {result}: {}", answer.reason())
            }
            Found::Exempt(why) => format!("SPF is not asked: {why}"),
            Found::Unknown => "what SPF comes to is not known".into(),
        }
    }

    fn variables(&self) -> Vec<String> {
        ["spf", "spf_identity", "spf_domain", "spf_reason", "spf_text", "received_spf"]
            .map(str::to_owned)
            .into()
    }

    fn bind(&self, cx: &Context<'_>, bindings: &mut Bindings) {
        let (question, answer) = match self.found(cx) {
            Found::Said(question, answer) => (question, answer),
            Found::Exempt(why) => {
                let question = question(cx.facts, self.whose.last(), IpAddr::from([0; 4]));
                let answer = SpfAnswer { problem: Some(why), ..question.plain(SpfResult::None) };
                (question, Arc::new(answer))
            }
            Found::Unknown => return,
        };
        let text = answer
            .text
            .clone()
            .unwrap_or_else(|| format!("{} is not known to send mail of {}", question.ip, answer.domain));
        for (name, value) in [
            ("spf", answer.result.word().to_owned()),
            ("spf_identity", answer.identity.word().to_owned()),
            ("spf_domain", answer.domain.clone()),
            ("spf_reason", answer.reason()),
            ("spf_text", text),
            ("received_spf", answer.received(&question)),
        ] {
            bindings.push((name.into(), value));
        }
    }
}

impl Wanted {
    fn has(&self, result: SpfResult) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(results) => results.contains(&result),
            Self::Present => result != SpfResult::None,
        }
    }

    /// Who does not ask for a temporary failure has no answer yet.
    fn holds(&self, result: SpfResult) -> Truth {
        match self {
            Self::OneOf(results) if results.contains(&result) => Truth::Match,
            Self::OneOf(_) | Self::Present if result == SpfResult::Temperror => Truth::Unknown,
            _ => self.has(result).into(),
        }
    }
}

impl Whose {
    /// The one that is asked about in the end.
    fn last(self) -> SpfIdentity {
        match self {
            Self::Both => SpfIdentity::MailFrom,
            Self::One(identity) => identity,
        }
    }
}

impl Spf {
    fn new(wanted: Wanted, whose: Whose, cx: &Loader<'_>) -> Self {
        let lists = [
            ("local.networks", "the client is of local.networks"),
            ("local.relays", "the client is of local.relays"),
        ];
        let exempt =
            lists.into_iter().filter_map(|(name, why)| Some((cx.lists.get(name).ok()?.clone(), why)));
        Self { wanted, whose, exempt: exempt.collect() }
    }

    /// For checks that build on what it says of the envelope's sender.
    pub(super) fn of_sender(cx: &Loader<'_>) -> Self {
        Self::new(Wanted::Any, Whose::One(SpfIdentity::MailFrom), cx)
    }

    /// What it says; None while it is not known, `Some(None)` where it is not asked.
    pub(super) fn said(&self, cx: &Context<'_>) -> Option<Option<(SpfQuestion, Arc<SpfAnswer>)>> {
        match self.found(cx) {
            Found::Said(question, answer) => Some(Some((question, answer))),
            Found::Exempt(_) => Some(None),
            Found::Unknown => None,
        }
    }

    /// Whose word counts, in lower case, asked or not.
    pub(super) fn domain(&self, cx: &Context<'_>) -> String {
        question(cx.facts, self.whose.last(), IpAddr::from([0; 4])).plain(SpfResult::None).domain
    }

    pub fn reads(&self) -> Vec<Fact> {
        vec![Fact::ClientAddress, Fact::HeloName]
    }

    fn found(&self, cx: &Context<'_>) -> Found {
        let ip = cx.facts.ip(Fact::ClientAddress);
        if let Some(given) = cx.given("spf") {
            let words = given.iter().map(String::as_str);
            let result = words.filter_map(result).next();
            return match result {
                Some(result) => {
                    let ip = ip.unwrap_or(IpAddr::from([0; 4]));
                    let question = question(cx.facts, self.whose.last(), ip);
                    let answer = question.plain(result);
                    Found::Said(question, Arc::new(answer))
                }
                None => Found::Unknown,
            };
        }
        let ip = match self.asked_about(cx.facts, ip) {
            Ok(ip) => ip,
            Err(why) => return Found::Exempt(why),
        };
        let ask = |identity| {
            let question = question(cx.facts, identity, ip);
            let answer = cx.spf(&question);
            answer.map(|answer| (question, answer))
        };
        let said = match self.whose {
            Whose::One(identity) => ask(identity),
            Whose::Both => match (ask(SpfIdentity::Helo), ask(SpfIdentity::MailFrom)) {
                (Some((question, answer)), _) if answer.result == SpfResult::Fail => Some((question, answer)),
                (Some(_), mail_from) => mail_from,
                (None, _) => None,
            },
        };
        said.map_or(Found::Unknown, |(question, answer)| Found::Said(question, answer))
    }

    /// The client's address, if what it says means anything.
    fn asked_about(&self, facts: &Facts, ip: Option<IpAddr>) -> Result<IpAddr, &'static str> {
        if facts.text(Fact::Direction).is_some_and(|direction| direction != "inbound") {
            return Err("the mail is our own");
        }
        let ip = ip.ok_or("there is no client's address")?;
        if is_private(ip) {
            return Err("the client has a private address");
        }
        let client = query(facts, Fact::ClientAddress);
        let exempt = client.and_then(|client| self.exempt.iter().find(|(list, _)| list.contains(&client)));
        exempt.map_or(Ok(ip), |(_, why)| Err(*why))
    }
}

fn question(facts: &Facts, identity: SpfIdentity, ip: IpAddr) -> SpfQuestion {
    let text = |fact| facts.text(fact).unwrap_or_default().to_owned();
    let sender = match identity {
        SpfIdentity::Helo => String::new(),
        SpfIdentity::MailFrom => text(Fact::Sender),
    };
    SpfQuestion { ip, identity, helo: text(Fact::HeloName), sender }
}

fn result(word: &str) -> Option<SpfResult> {
    SpfResult::ALL.into_iter().find(|result| result.word() == word)
}

fn wanted(node: &Node, cx: &mut Loader<'_>) -> Option<Wanted> {
    match node.as_word() {
        Some("any") => return Some(Wanted::Any),
        Some("present") => return Some(Wanted::Present),
        _ => {}
    }
    let items = cx.some_items(node, "spf")?;
    let mut results = Vec::new();
    for item in items {
        let text = cx.text(item, "spf")?;
        let Some(found) = result(&text.to_ascii_lowercase()) else {
            let hint = did_you_mean(text, RESULTS.iter().copied());
            cx.mistake(item.place, format!("`{text}` is not a spf: {}{hint}", RESULTS.join(" ")));
            return None;
        };
        results.push(found);
    }
    Some(Wanted::OneOf(results))
}

fn whose(node: &Node, cx: &mut Loader<'_>) -> Option<Whose> {
    match node.as_word() {
        Some("both") => Some(Whose::Both),
        Some("helo") => Some(Whose::One(SpfIdentity::Helo)),
        Some("mailfrom") => Some(Whose::One(SpfIdentity::MailFrom)),
        _ => {
            let text = cx.text(node, "identity")?;
            let hint = did_you_mean(text, ["mailfrom", "helo", "both"]);
            cx.mistake(node.place, format!("`{text}` is not an identity: mailfrom helo both{hint}"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::facts;
    use super::super::testing::load;
    use super::super::testing::wrong;
    use super::*;
    use crate::dns::Resolver;
    use crate::dns::Zone;
    use crate::facts::Known;
    use crate::facts::Stage;
    use crate::lookup::Findings;
    use crate::lookup::Given;
    use crate::lookup::Lookups;

    const ZONE: &str = r#"
a.test TXT "v=spf1 ip4:198.51.100.7 -all exp=why.a.test"
why.a.test TXT "%{i} is no host of %{d}"
soft.test TXT "v=spf1 ~all"
mail.a.test TXT "v=spf1 a -all"
mail.a.test A 198.51.100.7
bad.test TXT "v=spf1 nonsense"
down.test SERVFAIL
slow.test TIMEOUT
"#;

    fn asked(yaml: &str, given: &str, answers: &[Given]) -> (Truth, String, Bindings) {
        let (check, mistakes) = load(yaml);
        assert_eq!(mistakes, Vec::<String>::new(), "{yaml}");
        let check = check.unwrap();
        let (facts, known) = (facts(given), Known::default());
        let resolver = Resolver::of_zone(Zone::parse(ZONE).unwrap());
        let lookups = Lookups::new(&resolver, answers, Findings::default());
        let cx = Context { lookups: Some(&lookups), ..Context::new(&facts, &known, Stage::Rcpt) };
        let mut bindings = Vec::new();
        check.bind(&cx, &mut bindings);
        (check.evaluate(&cx), check.because(&cx), bindings)
    }

    fn mail(ip: &str, sender: &str) -> String {
        format!("client_address={ip} helo_name=mail.a.test sender={sender} direction=inbound")
    }

    #[test]
    fn a_result_is_asked_for_by_its_name() {
        let (pass, fail) = (mail("198.51.100.7", "x@a.test"), mail("203.0.113.7", "x@A.test"));
        let (soft, none) = (mail("203.0.113.7", "x@soft.test"), mail("203.0.113.7", "x@b.test"));
        let (bad, down) = (mail("203.0.113.7", "x@bad.test"), mail("203.0.113.7", "x@down.test"));
        let slow = mail("203.0.113.7", "x@slow.test");
        for (yaml, given, expected) in [
            ("spf: pass", &pass, Truth::Match),
            ("spf: fail", &pass, Truth::NoMatch),
            ("spf: Fail", &fail, Truth::Match),
            ("spf: [softfail, fail]", &soft, Truth::Match),
            ("spf: fail", &soft, Truth::NoMatch),
            ("spf: none", &none, Truth::Match),
            ("spf: present", &none, Truth::NoMatch),
            ("spf: present", &soft, Truth::Match),
            ("spf: any", &none, Truth::Match),
            ("spf: permerror", &bad, Truth::Match),
            ("spf: fail", &bad, Truth::NoMatch),
            ("spf: temperror", &down, Truth::Match),
            ("spf: temperror", &slow, Truth::Match),
            ("spf: [pass, temperror]", &slow, Truth::Match),
            ("spf: fail", &down, Truth::Unknown),
            ("spf: present", &down, Truth::Unknown),
            ("spf: any", &down, Truth::Match),
        ] {
            let (found, why, _) = asked(yaml, given, &[]);
            assert_eq!(found, expected, "{yaml} of {given}: {why}");
        }
    }

    #[test]
    fn helo_and_sender_are_asked_about_apart_or_in_order() {
        let good_host = |sender| mail("198.51.100.7", sender);
        let other_host = |sender| mail("203.0.113.7", sender);
        for (yaml, given, expected) in [
            ("spf: {is: pass, identity: helo}", good_host("x@soft.test"), Truth::Match),
            ("spf: {is: pass, identity: mailfrom}", good_host("x@soft.test"), Truth::NoMatch),
            ("spf: {is: softfail, identity: both}", good_host("x@soft.test"), Truth::Match),
            ("spf: {is: softfail, identity: both}", other_host("x@soft.test"), Truth::NoMatch),
            ("spf: {is: fail, identity: both}", other_host("x@soft.test"), Truth::Match),
            ("spf: pass", good_host("<>"), Truth::Match),
            ("spf: fail", other_host("<>"), Truth::Match),
        ] {
            let (found, why, _) = asked(yaml, &given, &[]);
            assert_eq!(found, expected, "{yaml} of {given}: {why}");
        }
        let helo = load("spf: {is: fail, identity: helo}").0.unwrap().needs();
        assert_eq!((helo.stage, helo.scope), (Stage::Helo, crate::facts::Scope::Connection));
        let sender = load("spf: fail").0.unwrap().needs();
        assert_eq!((sender.stage, sender.scope), (Stage::Mail, crate::facts::Scope::Message));
    }

    #[test]
    fn our_own_mail_and_hidden_clients_are_not_asked_about() {
        for (given, why) in [
            ("client_address=203.0.113.7 sender=x@a.test direction=outbound", "the mail is our own"),
            ("client_address=203.0.113.7 sender=x@a.test direction=local", "the mail is our own"),
            ("sender=x@a.test direction=inbound", "there is no client's address"),
            ("client_address=10.1.2.3 sender=x@a.test direction=inbound", "the client has a private address"),
            ("client_address=192.0.2.250 sender=x@a.test direction=inbound", "the client is of local.relays"),
            ("client_address=100.64.0.1 sender=x@a.test", "the client has a private address"),
            ("client_address=127.0.0.1 sender=x@a.test", "the client has a private address"),
            ("client_address=fd00::1 sender=x@a.test", "the client has a private address"),
            ("client_address=::ffff:192.168.0.1 sender=x@a.test", "the client has a private address"),
        ] {
            let (found, because, _) = asked("spf: none", given, &[]);
            assert_eq!((found, because), (Truth::Match, format!("SPF is not asked: {why}")), "{given}");
            for yaml in ["spf: any", "spf: present", "spf: fail"] {
                assert_eq!(asked(yaml, given, &[]).0, Truth::NoMatch, "{yaml} of {given}");
            }
        }
        for near in ["100.128.0.1", "172.32.0.1", "2001:db8::1", "192.0.2.251"] {
            assert_eq!(asked("spf: fail", &mail(near, "x@a.test"), &[]).0, Truth::Match, "{near}");
        }
    }

    #[test]
    fn texts_say_what_was_found() {
        let (_, because, bindings) = asked("spf: fail", &mail("203.0.113.7", "x@a.test"), &[]);
        assert_eq!(because, "SPF of `a.test` (mailfrom) comes to fail: matched all");
        let expected = [
            ("spf", "fail"),
            ("spf_identity", "mailfrom"),
            ("spf_domain", "a.test"),
            ("spf_reason", "matched all"),
            ("spf_text", "203.0.113.7 is no host of a.test"),
            (
                "received_spf",
                "fail client-ip=203.0.113.7; envelope-from=\"x@a.test\"; helo=mail.a.test; identity=mailfrom; mechanism=all",
            ),
        ];
        assert_eq!(bindings, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let (_, _, bindings) = asked("spf: temperror", &mail("203.0.113.7", "x@slow.test"), &[]);
        assert_eq!(bindings[3].1, "the DNS did not answer");
        assert_eq!(bindings[4].1, "203.0.113.7 is not known to send mail of slow.test");
    }

    #[test]
    fn a_test_may_give_the_result() {
        let given = |word: &str| [("spf", vec![word.to_owned()])];
        let pass = mail("198.51.100.7", "x@a.test");
        assert_eq!(asked("spf: softfail", &pass, &given("softfail")).0, Truth::Match);
        assert_eq!(asked("spf: pass", &pass, &given("softfail")).0, Truth::NoMatch);
        assert_eq!(asked("spf: pass", &pass, &given("unknown")).0, Truth::Unknown);
        assert_eq!(asked("spf: pass", &pass, &given("temperror")).0, Truth::Unknown);
        assert_eq!(asked("spf: temperror", &pass, &given("temperror")).0, Truth::Match);
        let (_, _, bindings) = asked("spf: fail", &pass, &given("fail"));
        assert_eq!((bindings[0].1.as_str(), bindings[2].1.as_str()), ("fail", "a.test"));
    }

    #[test]
    fn mistakes_show_the_remedy() {
        for (yaml, expected) in [
            ("spf: failed", "`failed` is not a spf: pass fail softfail neutral none temperror permerror"),
            ("spf: absent", "`absent` is not a spf: pass fail softfail neutral none temperror permerror"),
            ("spf: {identity: helo}", "spf needs a result such as fail, or is: [fail, softfail]"),
            (
                "spf: {is: fail, identity: hello}",
                "`hello` is not an identity: mailfrom helo both; did you mean `helo`?",
            ),
            ("spf: {is: fail, except: x}", "unknown option `except` of spf"),
        ] {
            wrong(yaml, &[expected]);
        }
    }
}
