//! # What it does
//! Matches when a key has used up one of its limits: when this recipient, message
//! or byte would be one too many. Only what was let through is counted: also above
//! the limit, where the rule does not refuse.
//!
//! # Why
//! A person seldom writes to 200 strangers an hour; a bot does it in minutes.
//!
//! # Options
//! - `key` (needed): what each has a limit of its own: an attribute; with a prefix
//!   length (`client_address/24`); several (`[sasl_username, recipient_domain]`);
//!   or `{first_of: [sasl_username, client_address]}`. Case never counts; an IPv6
//!   address counts as its /64. A mail without the key has no limit.
//! - `limits` (needed): `[100/10m, 200/1h]`, all of which must hold; `100/1h burst
//!   20` for a bucket smaller than the rate; `100/1h strict` for never more than
//!   100 in any hour; `none`; or `{list: NAME, of: ATTRIBUTE, else: …}`, where `of`
//!   may be left out: the key.
//! - `count` (default `recipients`): `recipients`, `messages`, `bytes` or
//!   `connections`. Bytes are those announced at MAIL, and the rest once the size is
//!   known: at END-OF-MESSAGE (`smtpd_end_of_data_restrictions`), or by the milter if
//!   a rule reads the body. Without the milter a
//!   client that comes again from the port it had before is taken for the same
//!   connection, so whoever keeps his port is not counted: `connections` is exact
//!   only where Postfix also asks the milter.
//! - `bucket` (default: the rule's own): a name; rules that give the same one and
//!   `count` the same share their counters: what one of them lets through counts
//!   for all of them, and once, however many of them asked about it.
//! - `charge` (default `accepted`): with `attempts`, what was refused counts too.
//!
//! A text may say `{key}`, `{used}`, `{allowed}`, `{window}`, `{retry_after}`.
//!
//! # Example
//! ```yaml
//! - rate: {key: sasl_username, count: messages, limits: [100/10m, 500/1d]}
//! ```
//!
//! # Unknown when
//! The store of the counters does not answer in time.

use super::Answered;
use super::Bindings;
use super::Check;
use super::Context;
use super::Count;
use super::Needs;
use super::Question;
use super::Truth;
use crate::facts::Fact;
use crate::facts::Facts;
use crate::facts::Stage;
use crate::lists::ListValue;
use crate::lists::To;
use crate::near::did_you_mean;
use crate::quantity::show_duration;
use crate::quantity::show_wait;
use crate::state::Limits;
use crate::values::Loader;
use crate::values::Lookup;
use crate::values::query;
use crate::yaml::Entry;
use crate::yaml::Node;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;

/// A host usually has a whole /64 to itself (RFC 6177).
const IPV6_PREFIX: u8 = 64;

/// What keys share when the table is full: a provider's block.
const COARSE_PREFIX: (u8, u8) = (16, 48);

#[derive(Clone, Debug)]
pub struct Rate {
    key: Key,
    limits: Source,
    pub count: Count,
    /// A name that several rules share.
    pub bucket: Option<String>,
    /// Refused attempts are counted too.
    pub charge_attempts: bool,
}

#[derive(Clone, Debug)]
enum Key {
    /// All of them together.
    All(Vec<Part>),
    FirstOf(Vec<Part>),
}

#[derive(Clone, Copy, Debug)]
struct Part {
    fact: Fact,
    prefix: Option<u8>,
}

#[derive(Clone, Debug)]
enum Source {
    Fixed(Arc<Limits>),
    Listed { lookup: Lookup, otherwise: Option<Arc<Limits>> },
    None,
}

impl Check for Rate {
    const OPTIONS: &'static [&'static str] = &["key", "limits", "count", "bucket", "charge"];

    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
        let node = &entry.value;
        let options = node.as_map().unwrap_or_default();
        let fine = cx.only_keys(options, Self::OPTIONS, "rate");
        let (Some(key), Some(limits)) = (node.get("key"), node.get("limits")) else {
            cx.mistake(node.place, "rate needs key and limits");
            return None;
        };
        let key = Key::parse(key, cx);
        let limits = Source::parse(limits, cx);
        let count = match node.get("count") {
            Some(count) => one_of(count, "count", COUNTS, cx),
            None => Some(Count::Recipients),
        };
        let charge_attempts = match node.get("charge") {
            Some(charge) => one_of(charge, "charge", &[("accepted", false), ("attempts", true)], cx),
            None => Some(false),
        };
        let bucket = match node.get("bucket") {
            Some(bucket) => Some(cx.text(bucket, "bucket")?.to_owned()),
            None => None,
        };
        if !fine {
            return None;
        }
        Some(Self { key: key?, limits: limits?, count: count?, bucket, charge_attempts: charge_attempts? })
    }

    /// The key says when it can be asked, but not what the rule belongs to: a
    /// limit is asked again each time.
    fn needs(&self) -> Needs {
        let stage = self.reads().into_iter().map(|fact| fact.info().stage).max().unwrap_or_default();
        Needs { stage, ..Needs::default() }
    }

    fn evaluate(&self, cx: &Context<'_>) -> Truth {
        match cx.answer {
            Some(Answered::Said(answer)) => (!answer.allowed).into(),
            Some(Answered::Unknown) => Truth::Unknown,
            None => Truth::NoMatch,
        }
    }

    fn because(&self, cx: &Context<'_>) -> String {
        let key = self.key.text(cx.facts).unwrap_or_default();
        match cx.answer {
            Some(Answered::Said(answer)) => format!(
                "`{key}` has used {} of {} in {}",
                answer.used,
                answer.window.allowed,
                show_duration(answer.window.period)
            ),
            Some(Answered::Unknown) => format!("the counters of `{key}` did not answer"),
            None if key.is_empty() => "there is no key".into(),
            None => format!("`{key}` has no limit"),
        }
    }

    fn variables(&self) -> Vec<String> {
        ["key", "used", "allowed", "window", "retry_after"].map(str::to_owned).into()
    }

    fn bind(&self, cx: &Context<'_>, bindings: &mut Bindings) {
        bindings.push(("key".into(), self.key.text(cx.facts).unwrap_or_default()));
        let Some(Answered::Said(answer)) = cx.answer else {
            return;
        };
        bindings.push(("used".into(), answer.used.to_string()));
        bindings.push(("allowed".into(), answer.window.allowed.to_string()));
        bindings.push(("window".into(), show_duration(answer.window.period)));
        bindings.push(("retry_after".into(), show_wait(answer.retry_after)));
    }
}

const COUNTS: &[(&str, Count)] = &[
    ("recipients", Count::Recipients),
    ("messages", Count::Messages),
    ("bytes", Count::Bytes),
    ("connections", Count::Connections),
];

impl Rate {
    /// What the key is made of, and what its limits are looked up by.
    pub fn reads(&self) -> Vec<Fact> {
        let listed = match &self.limits {
            Source::Listed { lookup, .. } => lookup.of,
            _ => None,
        };
        self.key.parts().iter().map(|part| part.fact).chain(listed).collect()
    }

    /// What the store is to be asked; None when no limit applies.
    pub fn question(&self, bucket: u32, cx: &Context<'_>) -> Option<Question> {
        let key = self.key.text(cx.facts)?;
        let limits = self.limits.of(&key, &self.key, cx.facts)?;
        let n = match self.count {
            Count::Bytes => cx.facts.number(Fact::Size).or(cx.facts.number(Fact::AnnouncedSize)).unwrap_or(1),
            Count::Recipients if cx.stage >= Stage::Data => cx.facts.recipients.len() as u64,
            Count::Connections | Count::Messages | Count::Recipients => 1,
        };
        Some(Question {
            bucket,
            coarse: self.key.coarse(cx.facts),
            key,
            limits,
            n: n.max(1),
            count: self.count,
        })
    }
}

impl Key {
    fn parse(node: &Node, cx: &mut Loader<'_>) -> Option<Self> {
        if let Some(options) = node.as_map() {
            cx.only_keys(options, &["first_of"], "key");
            let Some(first_of) = node.get("first_of") else {
                cx.mistake(node.place, "a key is an attribute, a list of them, or {first_of: […]}");
                return None;
            };
            return parts(first_of, cx).map(Self::FirstOf);
        }
        parts(node, cx).map(Self::All)
    }

    fn parts(&self) -> &[Part] {
        match self {
            Self::All(parts) | Self::FirstOf(parts) => parts,
        }
    }

    /// None when the mail does not have it.
    fn text(&self, facts: &Facts) -> Option<String> {
        match self {
            Self::All(parts) => {
                let texts: Option<Vec<_>> = parts.iter().map(|part| part.text(facts)).collect();
                texts.map(|texts| texts.join(" "))
            }
            Self::FirstOf(parts) => parts.iter().find_map(|part| part.text(facts)),
        }
    }

    fn coarse(&self, facts: &Facts) -> Option<String> {
        let ip = self.parts().iter().find_map(|part| facts.ip(part.fact))?;
        let (v4, v6) = COARSE_PREFIX;
        network(ip, if ip.is_ipv4() { v4 } else { v6 })
    }
}

impl Part {
    fn text(self, facts: &Facts) -> Option<String> {
        match facts.ip(self.fact) {
            Some(ip) => network(ip, self.prefix_for(ip)),
            None => facts.folded(self.fact).map(str::to_owned),
        }
    }

    /// A length made for IPv4 means nothing for IPv6.
    fn prefix_for(self, ip: IpAddr) -> u8 {
        match (self.prefix, ip) {
            (Some(prefix), IpAddr::V4(_)) => prefix.min(32),
            (Some(prefix), IpAddr::V6(_)) if prefix > 32 => prefix,
            (None, IpAddr::V4(_)) => 32,
            (_, IpAddr::V6(_)) => IPV6_PREFIX,
        }
    }
}

fn network(ip: IpAddr, prefix: u8) -> Option<String> {
    if ip.is_ipv4() && prefix == 32 {
        return Some(ip.to_string());
    }
    IpNet::new(ip, prefix).ok().map(|net| net.trunc().to_string())
}

impl Source {
    fn parse(node: &Node, cx: &mut Loader<'_>) -> Option<Self> {
        if node.as_word() == Some("none") {
            return Some(Self::None);
        }
        if Lookup::is_one(node) {
            let lookup = Lookup::parse(node, To::Limits, cx)?;
            let otherwise = match &lookup.otherwise {
                Some(node) if node.as_word() == Some("none") => None,
                Some(node) => Some(limits(node, cx)?),
                None => None,
            };
            return Some(Self::Listed { lookup, otherwise });
        }
        limits(node, cx).map(Self::Fixed)
    }

    fn of(&self, key: &str, parts: &Key, facts: &Facts) -> Option<Arc<Limits>> {
        let (lookup, otherwise) = match self {
            Self::Fixed(limits) => return Some(Arc::clone(limits)),
            Self::None => return None,
            Self::Listed { lookup, otherwise } => (lookup, otherwise),
        };
        let hit = match lookup.of {
            Some(_) => lookup.find(facts),
            // The most telling part of the key: the one of the kind of the list.
            None => parts
                .parts()
                .iter()
                .find_map(|part| lookup.list.lookup(&query(facts, part.fact)?))
                .or_else(|| lookup.list.lookup(&crate::lists::Query { text: key, folded: key, ip: None })),
        };
        match hit {
            Some(hit) => match hit.value {
                Some(ListValue::Limits(limits)) => Some(limits),
                _ => None,
            },
            None => otherwise.clone(),
        }
    }
}

fn parts(node: &Node, cx: &mut Loader<'_>) -> Option<Vec<Part>> {
    let found: Vec<_> = node.items().iter().map(|item| part(item, cx)).collect();
    let found: Vec<Part> = found.into_iter().collect::<Option<_>>()?;
    if found.is_empty() {
        cx.mistake(node.place, "a key is an attribute, a list of them, or {first_of: […]}");
        return None;
    }
    Some(found)
}

fn part(node: &Node, cx: &mut Loader<'_>) -> Option<Part> {
    let text = cx.text(node, "a key")?;
    let (name, prefix) = match text.split_once('/') {
        Some((name, prefix)) => (name, Some(prefix)),
        None => (text, None),
    };
    let Some(fact) = Fact::named(name) else {
        let hint = did_you_mean(name, Fact::all().map(Fact::name));
        cx.mistake(node.place, format!("no attribute `{name}`{hint}"));
        return None;
    };
    let Some(prefix) = prefix else {
        return Some(Part { fact, prefix: None });
    };
    let length = prefix.parse::<u8>().ok().filter(|length| (1..=128).contains(length));
    let is_address = matches!(fact, Fact::Client | Fact::ClientAddress | Fact::ServerAddress);
    if length.is_none() || !is_address {
        cx.mistake(
            node.place,
            format!("`{text}` is not an address with a prefix length, such as client_address/24"),
        );
        return None;
    }
    Some(Part { fact, prefix: length })
}

fn limits(node: &Node, cx: &mut Loader<'_>) -> Option<Arc<Limits>> {
    let mut fine = true;
    let mut texts = Vec::new();
    for item in cx.some_items(node, "limits")? {
        let text = cx.text(item, "a limit")?;
        if let Err(message) = text.parse::<Limits>() {
            cx.mistake(item.place, message);
            fine = false;
        }
        texts.push(text);
    }
    if !fine {
        return None;
    }
    match texts.join(", ").parse::<Limits>() {
        Ok(limits) => Some(Arc::new(limits)),
        Err(message) => {
            cx.mistake(node.place, message);
            None
        }
    }
}

fn one_of<T: Copy>(node: &Node, name: &str, words: &[(&str, T)], cx: &mut Loader<'_>) -> Option<T> {
    let text = cx.text(node, name)?;
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, meant)| *meant);
    if found.is_none() {
        let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let hint = did_you_mean(text, known.iter().copied());
        cx.mistake(node.place, format!("`{text}` is not a {name}: {}{hint}", known.join(" ")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::testing::facts;
    use super::super::testing::load;
    use super::super::testing::wrong;
    use super::*;
    use crate::checks::AnyCheck;
    use crate::facts::Known;

    fn question(yaml: &str, given: &str) -> Option<(String, u64)> {
        let Some(AnyCheck::Rate(rate)) = load(yaml).0 else {
            panic!("{yaml}: {:?}", load(yaml).1);
        };
        let facts = facts(given);
        let stage = if facts.recipients.is_empty() { Stage::Rcpt } else { Stage::Data };
        let cx = Context { facts: &facts, known: &Known::default(), stage, answer: None };
        rate.question(0, &cx).map(|question| (question.key, question.n))
    }

    #[test]
    fn keys_are_canonical() {
        for (key, given, expected) in [
            ("sasl_username", "sasl_username=Bob@X.test", Some("bob@x.test")),
            ("sasl_username", "", None),
            ("client_address", "client_address=192.0.2.7", Some("192.0.2.7")),
            ("client_address/24", "client_address=192.0.2.7", Some("192.0.2.0/24")),
            ("client_address", "client_address=2001:db8::7", Some("2001:db8::/64")),
            ("client_address/24", "client_address=2001:db8::7", Some("2001:db8::/64")),
            ("client_address/48", "client_address=2001:db8:1:2::7", Some("2001:db8:1::/48")),
            ("[sasl_username, recipient_domain]", "sasl_username=b recipient=a@x.test", Some("b x.test")),
            ("[sasl_username, recipient_domain]", "recipient=a@x.test", None),
            ("{first_of: [sasl_username, client_address]}", "client_address=192.0.2.7", Some("192.0.2.7")),
            ("sender", "sender=<>", Some("<>")),
        ] {
            let yaml = format!("rate: {{key: {key}, limits: [1/1h]}}");
            assert_eq!(question(&yaml, given).map(|(key, _)| key).as_deref(), expected, "{key} of {given}");
        }
    }

    #[test]
    fn what_is_counted_is_what_is_asked_for() {
        let asked = |count: &str, given: &str| {
            question(&format!("rate: {{key: sender, count: {count}, limits: [1/1h]}}"), given).unwrap().1
        };
        assert_eq!(asked("recipients", "sender=a@b.test"), 1);
        assert_eq!(asked("recipients", "sender=a@b.test recipients=a@x.test,b@x.test"), 2);
        assert_eq!(asked("messages", "sender=a@b.test recipients=a@x.test,b@x.test"), 1);
        assert_eq!(asked("bytes", "sender=a@b.test announced_size=700"), 700);
    }

    #[test]
    fn mistakes_show_the_remedy() {
        wrong("rate: {key: sasl_username}", &["rate needs key and limits"]);
        wrong(
            "rate: {key: sasl_username, limits: [100/hour]}",
            &["`100/hour` is not a limit such as 100/10m or 500/1d burst 50"],
        );
        wrong("rate: {key: login, limits: [1/1h]}", &["no attribute `login`"]);
        wrong(
            "rate: {key: sender/24, limits: [1/1h]}",
            &["`sender/24` is not an address with a prefix length, such as client_address/24"],
        );
        wrong(
            "rate: {key: sender, count: mails, limits: [1/1h]}",
            &["`mails` is not a count: recipients messages bytes connections"],
        );
    }
}
