//! Whether a zone can be believed: what every such zone must list is listed, and what
//! none may list is not (RFC 5782, 5).

use super::health::Trouble;
use super::site::Kind;
use super::site::Says;
use super::site::Site;
use crate::dns::Name;
use crate::dns::Resolver;
use std::net::IpAddr;
use std::net::Ipv4Addr;

/// What the test entries came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Examined {
    Dead,
    Erring(Trouble),
    Fine,
    /// Nothing was said of them, which may be the zone's trouble, the network's or the
    /// resolver's.
    Silent,
    Wildcard,
}

/// Asks a zone about its test entries. None for one that has none.
pub async fn examine(site: &Site, kind: Kind, resolver: &Resolver) -> Option<Examined> {
    if !site.is_tested {
        return None;
    }
    let own = site.test.clone();
    let usual = |text: &str| kind.key(text);
    // A zone of addresses may have one family only. `::ffff:127.0.0.2` stands for both
    // in those of IPv6.
    let (listed, clean) = match kind {
        Kind::Ip => (
            [own.clone().or_else(|| usual("127.0.0.2")), Some(mapped(2)).filter(|_| own.is_none())],
            [usual("127.0.0.1"), Some(mapped(1))],
        ),
        Kind::Domain => ([own.or_else(|| usual("test")), None], [usual("invalid"), None]),
        // Of others nothing is agreed upon.
        Kind::Sha1 | Kind::Sha256 | Kind::Text => ([Some(own?), None], [usual("invalid"), None]),
    };
    let ask = async |key: &Option<Name>| match key.as_ref().and_then(|key| site.question(key)) {
        Some(question) => Some(site.says(&resolver.ask_anew(&question).await)),
        None => None,
    };
    let [one, other] = &listed;
    let [first, second] = &clean;
    let (one, other, first, second) = tokio::join!(ask(one), ask(other), ask(first), ask(second));
    Some(judge([one, other], [first, second]))
}

fn mapped(last: u8) -> Name {
    Name::backwards(IpAddr::V6(Ipv4Addr::new(127, 0, 0, last).to_ipv6_mapped()))
}

fn judge(listed: [Option<Says>; 2], clean: [Option<Says>; 2]) -> Examined {
    let is_listed = |says: &Says| matches!(says, Says::Listed { .. });
    let is_unknown = |says: &Says| matches!(says, Says::Unknown(_));
    let all = || listed.iter().chain(&clean).flatten();
    if clean.iter().flatten().any(is_listed) {
        return Examined::Wildcard;
    }
    let trouble = all().find_map(|says| match says {
        Says::Erred(trouble, _) => Some(*trouble),
        _ => None,
    });
    if listed.iter().flatten().any(is_listed) {
        return Examined::Fine;
    }
    if let Some(trouble) = trouble {
        return Examined::Erring(trouble);
    }
    if listed.iter().flatten().any(is_unknown) { Examined::Silent } else { Examined::Dead }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Zone;

    const TESTS: &str = "
2.0.0.127.good.example A 127.0.0.2
2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.six.example A 127.0.0.2
*.wild.example A 127.0.0.2
2.0.0.127.half.example A 127.0.0.2
1.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.half.example A 127.0.0.2
*.public.example A 127.255.255.254
*.sold.example A 192.0.2.1
2.0.0.127.slow.example TIMEOUT
2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.slow.example TIMEOUT
test.names.example A 127.0.0.2
probe.test.own.example A 127.0.1.2
c.own.example A 127.0.1.2
";

    async fn examined(zone: &str, kind: Kind, test: Option<&str>) -> Option<Examined> {
        let resolver = Resolver::of_zone(Zone::parse(TESTS).unwrap());
        let mut site = Site::parse(zone).unwrap();
        site.test = test.map(|test| Name::parse(test).unwrap());
        examine(&site, kind, &resolver).await
    }

    #[tokio::test]
    async fn a_zone_is_judged_by_its_test_entries() {
        for (zone, kind, test, expected) in [
            ("good.example", Kind::Ip, None, Some(Examined::Fine)),
            // Its filter does not matter.
            ("good.example=127.0.0.9", Kind::Ip, None, Some(Examined::Fine)),
            ("six.example", Kind::Ip, None, Some(Examined::Fine)),
            ("dead.example", Kind::Ip, None, Some(Examined::Dead)),
            ("wild.example", Kind::Ip, None, Some(Examined::Wildcard)),
            ("half.example", Kind::Ip, None, Some(Examined::Wildcard)),
            ("public.example", Kind::Ip, None, Some(Examined::Erring(Trouble::PublicResolver))),
            ("sold.example", Kind::Ip, None, Some(Examined::Erring(Trouble::Foreign))),
            ("slow.example", Kind::Ip, None, Some(Examined::Silent)),
            ("names.example", Kind::Domain, None, Some(Examined::Fine)),
            ("wild.example", Kind::Domain, None, Some(Examined::Wildcard)),
            ("own.example", Kind::Domain, None, Some(Examined::Dead)),
            ("own.example", Kind::Domain, Some("probe.test"), Some(Examined::Fine)),
            ("own.example", Kind::Text, None, None),
            ("own.example", Kind::Text, Some("c"), Some(Examined::Fine)),
        ] {
            assert_eq!(examined(zone, kind, test).await, expected, "{zone} {kind:?} {test:?}");
        }
        let mut site = Site::parse("dead.example").unwrap();
        site.is_tested = false;
        assert_eq!(examine(&site, Kind::Ip, &Resolver::default()).await, None);
    }
}
