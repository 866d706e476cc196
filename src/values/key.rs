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
    match ip {
        IpAddr::V4(ip) => network_v4(u32::from(ip), prefix),
        IpAddr::V6(_) => IpNet::new(ip, prefix).ok().map(|net| net.trunc().to_string()),
    }
}

/// Limits by client ask it of every mail, and formatting costs ten times as much.
fn network_v4(address: u32, prefix: u8) -> Option<String> {
    let host_bits = 32_u32.checked_sub(u32::from(prefix))?;
    let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
    // `255.255.255.255/32` has 18 bytes.
    let mut text = Vec::with_capacity(18);
    for (at, octet) in (address & mask).to_be_bytes().into_iter().enumerate() {
        if at > 0 {
            text.push(b'.');
        }
        push_number(&mut text, octet);
    }
    if prefix < 32 {
        text.push(b'/');
        push_number(&mut text, prefix);
    }
    String::from_utf8(text).ok()
}

fn push_number(text: &mut Vec<u8>, number: u8) {
    if number >= 100 {
        text.push(b'0' + number / 100);
    }
    if number >= 10 {
        text.push(b'0' + number / 10 % 10);
    }
    text.push(b'0' + number % 10);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_written_as_everybody_writes_them() {
        for address in ["0.0.0.0", "192.0.2.200", "255.255.255.255", "10.1.99.100"] {
            let ip: IpAddr = address.parse().unwrap();
            for prefix in 0..32 {
                let expected = IpNet::new(ip, prefix).unwrap().trunc().to_string();
                assert_eq!(network(ip, prefix), Some(expected));
            }
            assert_eq!((network(ip, 32).as_deref(), network(ip, 33)), (Some(address), None));
        }
    }

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
