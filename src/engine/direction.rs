//! Which way mail goes, where neither Postfix nor its sender says so.

use crate::facts::Fact;
use crate::facts::Facts;
use crate::lists::Registry;
use crate::values::query;

/// The direction of mail that came over the network: outbound from those who
/// logged in and from local.networks, else inbound.
pub fn usual_direction(facts: &Facts, lists: &Registry) -> &'static str {
    let ours = lists.local_networks();
    let client = query(facts, Fact::ClientAddress);
    let is_ours = ours.zip(client).is_some_and(|(list, client)| list.contains(&client));
    if is_ours || facts.is_known(Fact::SaslUsername) { "outbound" } else { "inbound" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Local;
    use crate::policy::Options;
    use crate::policy::load_texts;
    use std::path::Path;

    #[test]
    fn mail_of_our_own_goes_out() {
        let local = Local { networks: vec!["192.0.2.0/24".parse().unwrap()], ..Local::default() };
        let options = Options { local, ..Options::default() };
        let policy = load_texts(&[("p.yaml", "rules: []")], Path::new(""), &options).unwrap().policy;
        for (address, login, expected) in [
            ("192.0.2.7", None, "outbound"),
            ("198.51.100.7", None, "inbound"),
            ("198.51.100.7", Some("bob"), "outbound"),
        ] {
            let mut facts = Facts::default();
            facts.set(Fact::ClientAddress, address);
            login.into_iter().for_each(|login| facts.set(Fact::SaslUsername, login));
            assert_eq!(usual_direction(&facts, &policy.lists), expected, "{address} {login:?}");
        }
    }
}
