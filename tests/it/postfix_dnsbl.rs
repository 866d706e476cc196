//! Rules that ask zones, before Postfix, with rbldnsd(8) behind unbound(8): who is listed,
//! zones that lie, are dead or silent, and that mail flows through all of it.

use crate::rig::dns::BlackHole;
use crate::rig::dns::NameServer;
use crate::rig::dns::dns_is_missing;
use crate::rig::rbldnsd::Rbldnsd;
use crate::rig::rbldnsd::rbldnsd_is_missing;
use crate::rig::*;
use std::time::Duration;
use std::time::Instant;

const LISTED: &str = "192.0.2.66";
const CLEAN: &str = "192.0.2.99";
const GOOD: &str = "192.0.2.77";
const V6: &str = "2001:db8::66";

const KEY: &str = "s3cretkey0123456789abcd";

fn zones() -> Vec<(String, &'static str, String)> {
    let zone = |name: &str, kind, data: &str| (format!("{name}.lists.example"), kind, data.to_owned());
    vec![
        zone("bl", "ip4set", ":127.0.0.4:listed\n127.0.0.2\n192.0.2.66\n192.0.2.77\n"),
        zone(&format!("{KEY}.zen"), "ip4set", ":127.0.0.2:listed\n127.0.0.2\n192.0.2.66\n"),
        zone("six", "ip6trie", ":127.0.0.2:listed\n::ffff:7f00:2/128\n2001:db8::/64\n"),
        zone("wl", "ip4set", ":127.0.5.2:good\n127.0.0.2\n192.0.2.77\n"),
        zone("wild", "ip4set", ":127.0.0.2:all\n0.0.0.0/1\n128.0.0.0/1\n"),
        zone("dead", "ip4set", "192.0.2.200\n"),
        zone("public", "ip4set", ":127.255.255.254:no public resolvers\n0.0.0.0/1\n128.0.0.0/1\n"),
        zone("dbl", "dnset", ":127.0.1.2:bad\ntest\nbad.example\n"),
    ]
}

const RULES: &str = r#"
lists:
  reputation:
    of: dnsbl
    entries:
      - bl.lists.example=127.0.0.[2..11]*4
      - {zone: s3cretkey0123456789abcd.zen.lists.example, weight: 4}
      - six.lists.example*8
      - wl.lists.example=127.0.[0..255].[1..3]*-4
      - wild.lists.example*8
      - dead.lists.example*8
      - public.lists.example*8
      - hole1.example*3
      - hole2.example*3
  domains: {of: dnsbl, entries: [{zone: dbl.lists.example, kind: domain}]}
rules:
  - {name: good, when: {dnsbl: {in: reputation, at_most: 1}}, then: {tag: good}}
  - name: listed
    when: {dnsbl: {in: reputation, at_least: 8}}
    then: {reject: "550 5.7.1 {client_address} is listed: {zones} ({points})"}
  - name: bad-domain
    when: {dnsbl: {in: domains, key: sender_domain}}
    then: {reject: "550 5.7.1 {sender_domain} is listed: {zones}"}
"#;

fn from(rig: &Rig, address: &str, sender: &str) -> Answer {
    let mut client = Smtp::connect(smtp::OUTSIDE, rig.postfix.ports.mx);
    client.read().expect(220);
    client.say(&format!("XCLIENT NAME=x.example ADDR={address} PORT=1000")).expect(220);
    client.say("EHLO x.example").expect(250);
    client.mail(sender).expect(250);
    client.rcpt(BOB)
}

#[test]
fn zones_decide_as_far_as_they_can_be_believed() {
    if dns_is_missing() || rbldnsd_is_missing() {
        return;
    }
    let zones = zones();
    let zones: Vec<_> =
        zones.iter().map(|(zone, kind, data)| (zone.as_str(), *kind, data.as_str())).collect();
    let lists = Rbldnsd::start(&zones);
    let hole = BlackHole::start();
    let mut stubs: Vec<_> = zones.iter().map(|(zone, ..)| (*zone, lists.port)).collect();
    stubs.extend([("hole1.example", hole.port), ("hole2.example", hole.port)]);
    let unbound = NameServer::unbound(&stubs);
    let config = format!("dns: {{nameservers: [\"127.0.0.1:{}\"], timeout: 500ms}}", unbound.port);
    let Some(rig) = Rig::configured(RULES, &config) else { return };
    let gatepost = &rig.gatepost;
    // The tests are made at the start, before anything is accepted.
    for (zone, suspended) in [("wild", 1.0), ("dead", 1.0), ("public", 1.0), ("bl", 0.0)] {
        let label = format!("zone=\"{zone}.lists.example\"");
        assert_eq!(gatepost.metric("gatepost_dnsbl_suspended", &[&label]), Some(suspended), "{zone}");
    }
    for (zone, why) in [
        ("wild.lists.example", "lists what it must not list"),
        ("dead.lists.example", "has lost its test entry"),
        ("public.lists.example", "answers its test entry with an error"),
    ] {
        gatepost.wait_log(&format!("the zone is not asked any more.*zone=.?{zone}.*{why}"));
    }
    gatepost.wait_log("the zone answers with an error.*zone=.?public.lists.example.*error=.?public_resolver.*dns.nameservers");

    // Two zones list it, and the silent ones could only add.
    let began = Instant::now();
    from(&rig, LISTED, ALICE)
        .expect_text(550, "192.0.2.66 is listed: bl.lists.example, zen.lists.example (8)");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    from(&rig, GOOD, ALICE).expect(250);
    from(&rig, CLEAN, ALICE).expect(250);
    from(&rig, CLEAN, "x@Bad.example").expect_text(550, "Bad.example is listed: dbl.lists.example");
    // Whom nobody is asked about.
    let asked =
        || gatepost.metric("gatepost_dnsbl_answers_total", &["zone=\"bl.lists.example\"", "not_listed"]);
    let before = asked();
    from(&rig, "10.1.2.3", ALICE).expect(250);
    assert_eq!(asked(), before);

    // The key is nowhere.
    let file = gatepost.path("gatepost.yaml");
    let explained = |address: &str| {
        let request = format!("client_address={address}\nsender={ALICE}\nrecipient={BOB}\n");
        let words = ["explain", "--config", file.to_str().unwrap()];
        program::both(&program::try_run(env!("CARGO_BIN_EXE_gatepost"), words, &request))
    };
    // Postfix here speaks IPv4 alone.
    let six = explained(V6);
    assert!(six.contains("2001:db8::66 is listed: six.lists.example (8)"), "{six}");
    let explained = explained(LISTED);
    assert!(
        explained.contains("has 8 points: bl.lists.example 4 (127.0.0.4), zen.lists.example 4"),
        "{explained}"
    );
    assert!(explained.contains("wild.lists.example not asked"), "{explained}");
    let metrics = http::get(gatepost.http, "/metrics").unwrap().1;
    for text in [&explained, &gatepost.log(), &metrics] {
        assert!(!text.contains(KEY), "{text}");
    }
    assert!(
        metrics.contains("gatepost_dnsbl_answers_total{zone=\"zen.lists.example\",answer=\"listed\"}"),
        "{metrics}"
    );
}
