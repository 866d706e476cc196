//! A fact as a key: the form in which two values that mean the same are the same.

use crate::facts::Fact;
use crate::facts::Facts;
use ipnet::IpNet;

/// A host usually has a whole /64 to itself (RFC 6177).
const IPV6_PREFIX: u8 = 64;

/// Case never counts; an IPv6 address is its /64.
pub fn canonical_key(facts: &Facts, fact: Fact) -> Option<String> {
    match facts.ip(fact) {
        Some(ip) if ip.is_ipv6() => Some(IpNet::new(ip, IPV6_PREFIX).ok()?.trunc().to_string()),
        Some(ip) => Some(ip.to_string()),
        None => facts.folded(fact).map(str::to_owned),
    }
}
