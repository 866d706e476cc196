//! Facts that follow from others, from files and from the message: the country and the
//! network of an address, and who is behind the servers that we trust.
//!
//! They cost a look-up or a walk through the header, so each is only found out where
//! the rules speak of it.

use crate::config::Relay;
use crate::facts::Fact;
use crate::facts::Facts;
use crate::facts::Trust;
use crate::facts::origin;
use crate::geoip::GeoIp;
use crate::lists::List;
use crate::lists::Query;
use std::net::IpAddr;
use std::sync::Arc;

/// What the rules speak of, and what it is found out by.
#[derive(Debug, Default)]
pub struct Derived {
    /// Empty for most: then there is nothing to do.
    wanted: Vec<Fact>,
    geoip: Arc<GeoIp>,
    networks: Option<Arc<List>>,
    relays: Vec<Relay>,
}

const DERIVED: [Fact; 4] = [Fact::Country, Fact::Asn, Fact::OriginIp, Fact::OriginCountry];

impl Derived {
    /// `speaks_of`: whether a name stands anywhere in the rules.
    pub(super) fn new(
        geoip: &Arc<GeoIp>,
        relays: &[Relay],
        networks: Option<&Arc<List>>,
        speaks_of: impl Fn(&str) -> bool,
    ) -> Self {
        let wanted = DERIVED.into_iter().filter(|fact| speaks_of(fact.name()));
        Self {
            wanted: wanted.collect(),
            geoip: Arc::clone(geoip),
            networks: networks.cloned(),
            relays: relays.to_vec(),
        }
    }

    /// What can never be known, and the key of the configuration that would change it.
    pub(super) fn missing(&self) -> impl Iterator<Item = (Fact, &'static str)> {
        self.wanted.iter().filter_map(|fact| match fact {
            Fact::Country | Fact::OriginCountry if !self.geoip.has_country() => {
                Some((*fact, "geoip.country"))
            }
            Fact::Asn if !self.geoip.has_asn() => Some((*fact, "geoip.asn")),
            _ => None,
        })
    }

    /// Whether the header is needed.
    pub(super) fn reads_header(&self) -> bool {
        self.wanted.iter().any(|fact| matches!(fact, Fact::OriginIp | Fact::OriginCountry))
    }

    /// Adds what is not known and follows from what is.
    pub fn add_to(&self, facts: &mut Facts) {
        for fact in &self.wanted {
            if !facts.is_known(*fact)
                && let Some(value) = self.value(*fact, facts)
            {
                facts.set(*fact, &value);
            }
        }
    }

    fn value(&self, fact: Fact, facts: &Facts) -> Option<String> {
        let client = || facts.ip(Fact::ClientAddress);
        match fact {
            Fact::Asn => self.geoip.asn(client()?).map(|number| number.to_string()),
            Fact::Country => self.geoip.country(client()?),
            Fact::OriginIp => self.origin(facts).map(|ip| ip.to_string()),
            // Without a rule that asks for the address itself it is not among the facts.
            Fact::OriginCountry => {
                self.geoip.country(facts.ip(Fact::OriginIp).or_else(|| self.origin(facts))?)
            }
            _ => None,
        }
    }

    fn origin(&self, facts: &Facts) -> Option<IpAddr> {
        let message = facts.message.as_ref()?;
        origin(facts.ip(Fact::ClientAddress)?, message.headers(), |ip| self.trust(ip))
    }

    fn trust(&self, ip: IpAddr) -> Trust<'_> {
        if let Some(relay) = self.relays.iter().find(|relay| relay.network.contains(&ip)) {
            return relay.header.as_deref().map_or(Trust::Relay, Trust::Declares);
        }
        let query = Query { text: "", folded: "", ip: Some(ip) };
        let is_ours = self.networks.as_ref().is_some_and(|networks| networks.contains(&query));
        // Of a server that is trusted it is the server itself.
        if is_ours || ip.is_loopback() { Trust::Relay } else { Trust::Stranger }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Local;
    use crate::message::Message;
    use crate::policy::Options;
    use crate::policy::Policy;
    use crate::policy::load_texts;
    use std::path::Path;

    fn policy(rule: &str) -> Policy {
        let relay = |network: &str, header: Option<&str>| Relay {
            network: network.parse().unwrap(),
            header: header.map(str::to_owned),
        };
        let local = Local {
            networks: vec!["10.0.0.0/8".parse().unwrap()],
            relays: vec![relay("192.0.2.1/32", None), relay("10.0.0.80/32", Some("X-Client"))],
            ..Local::default()
        };
        let options = Options { local, ..Options::default() };
        let text = format!("rules:\n  - {{name: a, when: {{{rule}}}, then: {{log: x}}}}\n");
        load_texts(&[("p.yaml", &text)], Path::new(""), &options).unwrap().policy
    }

    fn origin(policy: &Policy, client: &str, header: &str) -> Option<String> {
        let mut facts = Facts::default();
        facts.set(Fact::ClientAddress, client);
        facts.message = Some(Arc::new(Message::from_eml(format!("{header}\n\nx").as_bytes())));
        policy.derived.add_to(&mut facts);
        facts.text(Fact::OriginIp).map(str::to_owned)
    }

    #[test]
    fn the_origin_is_behind_those_who_are_trusted() {
        let policy = policy("origin_ip: 203.0.113.0/24");
        assert!(policy.milter.header);
        let from = "Received: from x (y [203.0.113.7]) by z";
        for (client, header, expected) in [
            ("198.51.100.1", from, Some("198.51.100.1")),
            ("192.0.2.1", from, Some("203.0.113.7")),
            ("192.0.2.2", from, Some("192.0.2.2")),
            ("10.1.2.3", from, Some("203.0.113.7")),
            (
                "10.0.0.80",
                "X-Client: 203.0.113.8\nReceived: from x (y [203.0.113.7]) by z",
                Some("203.0.113.8"),
            ),
            ("127.0.0.1", from, Some("203.0.113.7")),
        ] {
            assert_eq!(origin(&policy, client, header).as_deref(), expected, "{client} {header}");
        }
    }

    #[test]
    fn what_no_rule_speaks_of_is_not_found_out() {
        let policy = policy("sender: a@b.test");
        assert!(!policy.milter.header && policy.derived.wanted.is_empty());
        assert_eq!(origin(&policy, "198.51.100.1", "Subject: x"), None);
    }

    #[test]
    fn what_is_known_already_stays() {
        let policy = policy("origin_ip: 203.0.113.0/24");
        let mut facts = Facts::default();
        facts.set(Fact::ClientAddress, "198.51.100.1");
        facts.set(Fact::OriginIp, "203.0.113.7");
        facts.message = Some(Arc::new(Message::from_eml(b"Subject: x\n\nx")));
        policy.derived.add_to(&mut facts);
        assert_eq!(facts.text(Fact::OriginIp), Some("203.0.113.7"));
    }
}
