//! A fact as a key: the form in which two values that mean the same are the same.

use crate::facts::Fact;
use crate::facts::Facts;
use crate::facts::Kind;
use crate::facts::parse_ip;
use crate::names::without_extension;
use ipnet::IpNet;
use std::borrow::Cow;
use std::net::IpAddr;

/// A host usually has a whole /64 to itself (RFC 6177).
pub const IPV6_PREFIX: u8 = 64;

/// Case never counts, nor the extension of a mailbox; an address is its network of
/// this length.
pub fn key_text(facts: &Facts, fact: Fact, prefix: impl FnOnce(IpAddr) -> u8) -> Option<Cow<'_, str>> {
    if let Some(ip) = facts.ip(fact) {
        return network(ip, prefix(ip)).map(Cow::from);
    }
    let folded = facts.folded(fact)?;
    Some(match fact.info().kind {
        Kind::Address => without_extension(folded),
        Kind::Domain => Cow::from(folded.strip_suffix('.').unwrap_or(folded)),
        _ => Cow::from(folded),
    })
}

/// The same of a single host.
pub fn canonical_key(facts: &Facts, fact: Fact) -> Option<String> {
    key_text(facts, fact, of_host).map(Cow::into_owned)
}

/// The same for what an operator writes, who need not say which attribute it is.
pub fn canonical_text(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    match parse_ip(text).and_then(|ip| network(ip, of_host(ip))) {
        Some(network) => network,
        None if lower.contains('@') && !lower.contains(' ') => without_extension(&lower).into_owned(),
        None => lower,
    }
}

fn of_host(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { IPV6_PREFIX }
}

/// As a limit's `{key}` has it.
pub fn network(ip: IpAddr, prefix: u8) -> Option<String> {
    if ip.is_ipv4() && prefix == 32 {
        return Some(ip.to_string());
    }
    IpNet::new(ip, prefix).ok().map(|net| net.trunc().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_and_a_mail_mean_the_same_key() {
        for (text, fact, expected) in [
            ("Bob@Example.com", Fact::SaslUsername, "bob@example.com"),
            ("Bob+lists@Example.com", Fact::Sender, "bob@example.com"),
            ("192.0.2.1", Fact::ClientAddress, "192.0.2.1"),
            ("::ffff:192.0.2.1", Fact::ClientAddress, "192.0.2.1"),
            ("2001:DB8::1", Fact::ClientAddress, "2001:db8::/64"),
        ] {
            let mut facts = Facts::default();
            facts.set(fact, text);
            assert_eq!(canonical_key(&facts, fact).as_deref(), Some(expected));
            assert_eq!(canonical_text(text), expected);
        }
        // As it is shown.
        assert_eq!(canonical_text("2001:db8::/64"), "2001:db8::/64");
    }
}
