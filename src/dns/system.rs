//! The name servers of the system: those of resolv.conf(5).

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::Path;

const FILE: &str = "/etc/resolv.conf";

/// As many as the resolver of the C library takes (MAXNS).
const MAX_SERVERS: usize = 3;

pub(super) const PORT: u16 = 53;

/// Without a file, or with none in it: the one on this machine, as that page has it.
pub(super) fn servers() -> Vec<SocketAddr> {
    of_text(&std::fs::read(Path::new(FILE)).unwrap_or_default())
}

fn of_text(text: &[u8]) -> Vec<SocketAddr> {
    let (config, _) = resolv_conf::Config::parse_with_errors(text);
    let plain = config.nameservers.into_iter().filter_map(|server| match server {
        resolv_conf::ScopedIp::V4(ip) => Some(ip.into()),
        resolv_conf::ScopedIp::V6(ip, None) => Some(ip.into()),
        // Of a home's router; the interface's number would have to be found out.
        resolv_conf::ScopedIp::V6(_, Some(_)) => None,
    });
    let servers: Vec<IpAddr> = plain.take(MAX_SERVERS).collect();
    let servers = if servers.is_empty() { vec![Ipv4Addr::LOCALHOST.into()] } else { servers };
    servers.into_iter().map(|ip| SocketAddr::new(ip, PORT)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_those_of_resolv_conf() {
        for (text, expected) in [
            ("", &["127.0.0.1:53"][..]),
            ("search example.com\noptions ndots:2\n", &["127.0.0.1:53"]),
            ("nameserver ::1 # here\nnameserver 192.0.2.1\n", &["[::1]:53", "192.0.2.1:53"]),
            ("nameserver fe80::1%eth0\nnameserver 192.0.2.1\n", &["192.0.2.1:53"]),
            ("nameserver nonsense\n\u{1}\nnameserver 192.0.2.1\n", &["192.0.2.1:53"]),
            (
                "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n",
                &["192.0.2.1:53", "192.0.2.2:53", "192.0.2.3:53"],
            ),
        ] {
            let shown: Vec<_> = of_text(text.as_bytes()).iter().map(ToString::to_string).collect();
            assert_eq!(shown, expected, "{text}");
        }
    }
}
