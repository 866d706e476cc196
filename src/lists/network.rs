//! Networks: how operators write them, and a set of them that answers which
//! contain an address, in one hash look-up per prefix length in use.

use foldhash::fast::RandomState;
use ipnet::IpNet;
use ipnet::Ipv4Net;
use ipnet::Ipv6Net;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::ops::ControlFlow;

/// An address, `net/len`, or one to three octets of an IPv4 address, which
/// access(5) and postgrey take for a network. Bits beyond the length are dropped,
/// for operators write `192.168.1.0/22`; IPv4 in IPv6 is IPv4.
pub(super) fn parse(text: &str) -> Option<IpNet> {
    let (address, len) = match text.split_once('/') {
        Some((address, len)) => (address, Some(len)),
        None => (text, None),
    };
    let address = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address);
    let Ok(ip) = address.parse::<IpAddr>() else {
        return if len.is_none() { octets(address) } else { None };
    };
    let len = match len {
        None => return Some(IpNet::from(ip.to_canonical())),
        // No sign, no `/`: more than a number is a mistake.
        Some(len) if len.bytes().all(|b| b.is_ascii_digit()) => len.parse::<u8>().ok()?,
        Some(_) => return None,
    };
    let network = IpNet::new(ip, len).ok()?;
    let canonical = match (ip.to_canonical(), len.checked_sub(96)) {
        (IpAddr::V4(v4), Some(len)) if ip.is_ipv6() => IpNet::new(IpAddr::V4(v4), len).ok()?,
        _ => network,
    };
    Some(canonical.trunc())
}

fn octets(text: &str) -> Option<IpNet> {
    let text = text.strip_suffix(".*").or_else(|| text.strip_suffix('.')).unwrap_or(text);
    let mut bytes = [0; 4];
    let mut count = 0;
    for part in text.split('.') {
        let place = bytes.get_mut(count).filter(|_| count < 3)?;
        if part.is_empty() || part.len() > 3 || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *place = part.parse().ok()?;
        count += 1;
    }
    let len = u8::try_from(count * 8).ok()?;
    Ipv4Net::new(Ipv4Addr::from(bytes), len).ok().map(IpNet::V4)
}

/// What a network stands for: where it stood, and its caller's number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Mark {
    pub order: u32,
    pub tag: u32,
}

/// Networks by prefix length, the longest first.
#[derive(Debug, Default)]
pub(super) struct Networks {
    v4: Vec<(u8, Table<u32>)>,
    v6: Vec<(u8, Table<u128>)>,
}

type Table<A> = HashMap<A, Mark, RandomState>;

impl Networks {
    /// False if the very network is there already; the first one stays.
    pub(super) fn insert(&mut self, network: IpNet, mark: Mark) -> bool {
        match network {
            IpNet::V4(net) => insert(&mut self.v4, net.prefix_len(), u32::from(net.network()), mark),
            IpNet::V6(net) => insert(&mut self.v6, net.prefix_len(), u128::from(net.network()), mark),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (IpNet, Mark)> {
        let v4 = self.v4.iter().flat_map(|(len, table)| {
            table.iter().filter_map(|(address, mark)| {
                let network = Ipv4Net::new(Ipv4Addr::from(*address), *len).ok()?;
                Some((IpNet::V4(network), *mark))
            })
        });
        let v6 = self.v6.iter().flat_map(|(len, table)| {
            table.iter().filter_map(|(address, mark)| {
                let network = Ipv6Net::new(Ipv6Addr::from(*address), *len).ok()?;
                Some((IpNet::V6(network), *mark))
            })
        });
        v4.chain(v6)
    }

    /// Shows those which contain the address, the smallest first.
    pub(super) fn each_containing<B>(
        &self,
        ip: IpAddr,
        mut see: impl FnMut(IpNet, Mark) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                for (len, table) in &self.v4 {
                    let network = u32::from(ip) & u32::MAX.checked_shl(32 - u32::from(*len)).unwrap_or(0);
                    if let Some(mark) = table.get(&network)
                        && let Ok(network) = Ipv4Net::new(Ipv4Addr::from(network), *len)
                    {
                        see(IpNet::V4(network), *mark)?;
                    }
                }
            }
            IpAddr::V6(ip) => {
                for (len, table) in &self.v6 {
                    let network = u128::from(ip) & u128::MAX.checked_shl(128 - u32::from(*len)).unwrap_or(0);
                    if let Some(mark) = table.get(&network)
                        && let Ok(network) = Ipv6Net::new(Ipv6Addr::from(network), *len)
                    {
                        see(IpNet::V6(network), *mark)?;
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// The same, gathered.
    pub(super) fn containing(&self, ip: IpAddr) -> Vec<(IpNet, Mark)> {
        let mut found = Vec::new();
        let _ = self.each_containing(ip, |network, mark| {
            found.push((network, mark));
            ControlFlow::<()>::Continue(())
        });
        found
    }

    pub(super) fn shrink(&mut self) {
        self.v4.iter_mut().for_each(|(_, table)| table.shrink_to_fit());
        self.v6.iter_mut().for_each(|(_, table)| table.shrink_to_fit());
    }
}

fn insert<A: Eq + Hash>(tables: &mut Vec<(u8, Table<A>)>, len: u8, network: A, mark: Mark) -> bool {
    let at = tables.partition_point(|(other, _)| *other > len);
    if tables.get(at).is_none_or(|(other, _)| *other != len) {
        tables.insert(at, (len, Table::default()));
    }
    let Some((_, table)) = tables.get_mut(at) else {
        return false;
    };
    match table.entry(network) {
        std::collections::hash_map::Entry::Occupied(_) => false,
        std::collections::hash_map::Entry::Vacant(place) => {
            place.insert(mark);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_as_operators_write_them() {
        for (text, expected) in [
            ("192.0.2.1", Some("192.0.2.1/32")),
            ("192.168.1.0/22", Some("192.168.0.0/22")),
            ("195.235.39", Some("195.235.39.0/24")),
            ("10", Some("10.0.0.0/8")),
            ("10.1.*", Some("10.1.0.0/16")),
            ("10.1.", Some("10.1.0.0/16")),
            ("::ffff:192.0.2.1", Some("192.0.2.1/32")),
            ("::ffff:192.0.2.0/120", Some("192.0.2.0/24")),
            ("[2001:db8::1]/32", Some("2001:db8::/32")),
            ("::/0", Some("::/0")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("256.1.2", None),
            ("10.0.0.0/33", None),
            ("10.0.0.0/+8", None),
            ("10/8", None),
            ("", None),
            ("1.2.3.4.5", None),
            ("10..1", None),
        ] {
            assert_eq!(parse(text).map(|net| net.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn the_smallest_network_comes_first() {
        let mut networks = Networks::default();
        for (order, text) in
            ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "::/0", "2001:db8::/32"].iter().enumerate()
        {
            let mark = Mark { order: order as u32, tag: 0 };
            assert!(networks.insert(parse(text).unwrap(), mark));
        }
        assert!(!networks.insert(parse("10.0.0.0/8").unwrap(), Mark { order: 9, tag: 9 }));
        let found = |ip: &str| -> Vec<String> {
            networks.containing(ip.parse().unwrap()).into_iter().map(|(net, _)| net.to_string()).collect()
        };
        assert_eq!(found("10.1.2.3"), ["10.1.2.3/32", "10.1.0.0/16", "10.0.0.0/8", "0.0.0.0/0"]);
        assert_eq!(found("::ffff:10.2.0.1"), ["10.0.0.0/8", "0.0.0.0/0"]);
        assert_eq!(found("2001:db8::1"), ["2001:db8::/32", "::/0"]);
        assert_eq!(found("11.0.0.1"), ["0.0.0.0/0"]);
    }
}
