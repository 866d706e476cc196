//! What each has a limit of its own: attributes of a mail in one form, however
//! they were written. Strangers choose the values; a value that could be read as
//! two is put in quotes, so that nobody can spell another's key.

use crate::facts::Fact;
use crate::facts::Facts;
use crate::facts::Kind;
use crate::near::did_you_mean;
use crate::values::IPV6_PREFIX;
use crate::values::Loader;
use crate::values::key_text;
use crate::yaml::Node;
use ipnet::IpNet;
use std::borrow::Cow;
use std::net::IpAddr;

/// What keys share when the table is full: a provider's block.
const COARSE_PREFIX: (u8, u8) = (16, 48);

#[derive(Clone, Debug)]
pub(in crate::checks) enum Key {
    /// All of them together.
    All(Vec<Part>),
    FirstOf(Vec<Part>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::checks) struct Part {
    pub fact: Fact,
    prefix: Option<u8>,
}

impl Key {
    pub(in crate::checks) fn parse(node: &Node, cx: &mut Loader<'_>) -> Option<Self> {
        if let Some(options) = node.as_map() {
            cx.only_keys(options, &["first_of"], "key");
            let Some(first_of) = node.get("first_of") else {
                cx.mistake(node.place, NO_KEY);
                return None;
            };
            return parts(first_of, cx).map(Self::FirstOf);
        }
        parts(node, cx).map(Self::All)
    }

    pub(in crate::checks) fn parts(&self) -> &[Part] {
        match self {
            Self::All(parts) | Self::FirstOf(parts) => parts,
        }
    }

    /// None when the mail does not have it.
    pub(in crate::checks) fn text(&self, facts: &Facts) -> Option<String> {
        match self {
            Self::All(parts) if parts.len() > 1 => {
                let texts: Option<Vec<_>> = parts.iter().map(|part| part.text(facts)).collect();
                texts.map(|texts| texts.iter().map(|text| one_word(text)).collect::<Vec<_>>().join(" "))
            }
            Self::All(_) | Self::FirstOf(_) => self.first(facts).map(|(_, text)| text.into_owned()),
        }
    }

    /// The first part that the mail has.
    pub(in crate::checks) fn first<'f>(&self, facts: &'f Facts) -> Option<(Part, Cow<'f, str>)> {
        self.parts().iter().find_map(|part| Some((*part, part.text(facts)?)))
    }

    pub(in crate::checks) fn coarse(&self, facts: &Facts) -> Option<IpNet> {
        let ip = self.parts().iter().find_map(|part| facts.ip(part.fact))?;
        let (v4, v6) = COARSE_PREFIX;
        IpNet::new(ip, if ip.is_ipv4() { v4 } else { v6 }).ok().map(|network| network.trunc())
    }
}

impl Part {
    pub(in crate::checks) fn parse(node: &Node, what: &str, cx: &mut Loader<'_>) -> Option<Self> {
        let text = cx.text(node, what)?;
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
            return Some(Self { fact, prefix: None });
        };
        let length = prefix.parse::<u8>().ok().filter(|length| (1..=128).contains(length));
        let is_address = fact.info().kind == Kind::Ip || fact == Fact::Client;
        if length.is_none() || !is_address {
            cx.mistake(
                node.place,
                format!("`{text}` is not an address with a prefix length, such as client_address/24"),
            );
            return None;
        }
        Some(Self { fact, prefix: length })
    }

    /// None when the mail does not have it.
    pub(in crate::checks) fn text(self, facts: &Facts) -> Option<Cow<'_, str>> {
        key_text(facts, self.fact, |ip| self.prefix_for(ip))
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

/// As a part of a key of several.
fn one_word(text: &str) -> Cow<'_, str> {
    if text.contains([' ', '"']) { Cow::from(format!("{text:?}")) } else { Cow::from(text) }
}

const NO_KEY: &str = "a key is an attribute, a list of them, or {first_of: […]}";

fn parts(node: &Node, cx: &mut Loader<'_>) -> Option<Vec<Part>> {
    let found: Vec<_> = node.items().iter().map(|item| Part::parse(item, "a key", cx)).collect();
    let found: Vec<Part> = found.into_iter().collect::<Option<_>>()?;
    if found.is_empty() {
        cx.mistake(node.place, NO_KEY);
        return None;
    }
    Some(found)
}
