//! A fact as a key: the form in which two values that mean the same are the same.

use crate::facts::Fact;
use crate::facts::Facts;
use crate::facts::parse_ip;
use ipnet::IpNet;
use std::net::IpAddr;

/// A host usually has a whole /64 to itself (RFC 6177).
const IPV6_PREFIX: u8 = 64;

/// Case never counts; an IPv6 address is its /64.
pub fn canonical_key(facts: &Facts, fact: Fact) -> Option<String> {
    match facts.ip(fact) {
        Some(ip) => Some(of_address(ip)),
        None => facts.folded(fact).map(str::to_owned),
    }
}

/// The same for what an operator writes, who need not say which attribute it is.
pub fn canonical_text(text: &str) -> String {
    match parse_ip(text) {
        Some(ip) => of_address(ip),
        None => text.to_ascii_lowercase(),
    }
}

fn of_address(ip: IpAddr) -> String {
    match IpNet::new(ip, IPV6_PREFIX) {
        Ok(network) if ip.is_ipv6() => network.trunc().to_string(),
        _ => ip.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_and_a_mail_mean_the_same_key() {
        for (text, fact, expected) in [
            ("Bob@Example.com", Fact::SaslUsername, "bob@example.com"),
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
