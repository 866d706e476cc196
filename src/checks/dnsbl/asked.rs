//! What zones are asked about: an attribute of the mail, or the domains in a header field,
//! as it stands before the name of a zone.
//!
//! Strangers choose it. Nothing is asked about addresses that mean nothing to anybody else,
//! nor about what is no name.

use crate::checks::Context;
use crate::dns::Name;
use crate::facts::Fact;
use crate::facts::Facts;
use crate::facts::Kind as FactKind;
use crate::facts::UNKNOWN_NAME;
use crate::facts::is_private;
use crate::lists::List;
use crate::lists::Query;
use crate::names::split_address;
use crate::reputation::Kind;
use crate::values::Loader;
use crate::yaml::Node;

/// Domains of one header field that are asked about; a From has one.
const MAX_DOMAINS: usize = 5;

#[derive(Clone, Debug)]
pub(super) enum Key {
    Fact(Fact),
    /// The domains in a field of this name.
    Header(String),
}

/// What stands before the name of a zone.
pub(super) enum Keys {
    /// Of an address.
    One(Name),
    Several {
        keys: Vec<Name>,
        texts: Vec<String>,
    },
    /// As a domain, where it is one; and what it is made of for zones that have others.
    Text {
        key: Option<Name>,
        text: String,
    },
}

/// Why nobody was asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unasked {
    Missing,
    NoName,
    Own,
    Private,
}

impl Unasked {
    pub(super) fn shown(self) -> &'static str {
        match self {
            Self::Missing => "is not known",
            Self::NoName => "is no name that could be listed",
            Self::Own => "is in local.networks, which no zone is asked about",
            Self::Private => "is a private address, which no zone is asked about",
        }
    }
}

impl Key {
    /// An attribute, or a header field.
    pub(super) fn parse(node: &Node, cx: &mut Loader<'_>) -> Option<Self> {
        if let Some(options) = node.as_map() {
            let fine = cx.only_keys(options, &["header"], "key");
            let Some(header) = node.get("header") else {
                cx.mistake(node.place, "key is an attribute, or {header: From}");
                return None;
            };
            let name = cx.text(header, "the name of a header field")?;
            let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
            if !is_name {
                cx.mistake(header.place, format!("`{name}` is not the name of a header field"));
            }
            return (fine && is_name).then(|| Self::Header(name.to_owned()));
        }
        cx.key_fact(node).map(Self::Fact)
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Header(_) => Kind::Domain,
            Self::Fact(fact) => match fact.info().kind {
                FactKind::Ip | FactKind::Client => Kind::Ip,
                FactKind::Address | FactKind::Domain => Kind::Domain,
                FactKind::Number | FactKind::Text | FactKind::Words(_) => Kind::Text,
            },
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Fact(fact) => fact.name(),
            Self::Header(name) => name,
        }
    }

    pub(super) fn shown(&self, cx: &Context<'_>) -> String {
        match self {
            Self::Fact(fact) => match cx.facts.text(*fact) {
                Some(text) => format!("{} `{text}`", fact.name()),
                None => fact.name().to_owned(),
            },
            Self::Header(name) => format!("{name} `{}`", domains_in(cx.facts, name).join("`, `")),
        }
    }

    /// What the zones are asked about; `has_others`: whether any has neither addresses nor
    /// domains.
    pub(super) fn keys(
        &self,
        cx: &Context<'_>,
        own: Option<&List>,
        has_others: impl FnOnce() -> bool,
    ) -> Result<Keys, Unasked> {
        let facts = cx.facts;
        let fact = match self {
            Self::Header(name) => {
                let texts = domains_in(facts, name);
                let keys: Vec<_> = texts.iter().filter_map(|text| of_domain(text)).collect();
                return if keys.is_empty() {
                    Err(Unasked::Missing)
                } else {
                    Ok(Keys::Several { keys, texts })
                };
            }
            Self::Fact(fact) => *fact,
        };
        if let Some(ip) = facts.ip(fact).map(|ip| ip.to_canonical()) {
            if is_private(ip) {
                return Err(Unasked::Private);
            }
            let query = Query { text: "", folded: "", ip: Some(ip) };
            return match own.is_some_and(|own| own.contains(&query)) {
                true => Err(Unasked::Own),
                false => Ok(Keys::One(Name::backwards(ip))),
            };
        }
        let text = facts.folded(fact).filter(|text| !text.is_empty()).ok_or(Unasked::Missing)?;
        if matches!(fact, Fact::ClientName | Fact::ReverseClientName) && text == UNKNOWN_NAME {
            return Err(Unasked::Missing);
        }
        match self.kind() {
            Kind::Domain => {
                let domain = split_address(text).map_or(text, |(_, domain)| domain);
                // Zones of hashes have the address as a whole.
                let key = of_domain(domain);
                key.map(|key| Keys::Text { key: Some(key), text: text.to_owned() })
                    .or_else(|| has_others().then(|| Keys::Text { key: None, text: text.to_owned() }))
                    .ok_or(Unasked::NoName)
            }
            _ => Ok(Keys::Text { key: None, text: text.to_owned() }),
        }
    }
}

/// A name without a dot is nobody's domain, and could be a zone's test entry.
fn of_domain(folded: &str) -> Option<Name> {
    Kind::Domain.key(folded).filter(|key| key.as_str().contains('.'))
}

/// Of the addresses in all fields of a name, each once, in lower-case.
fn domains_in(facts: &Facts, name: &str) -> Vec<String> {
    let mut domains = Vec::new();
    let fields = facts.message.iter().flat_map(|message| message.headers().named(name));
    for address in fields.flat_map(|field| field.addresses()) {
        let domain = split_address(&address).map(|(_, domain)| domain.to_ascii_lowercase());
        if let Some(domain) = domain.filter(|domain| !domains.contains(domain)) {
            domains.push(domain);
        }
        if domains.len() >= MAX_DOMAINS {
            break;
        }
    }
    domains
}
