//! Who a client is: its country, who is behind a relay of ours, what it may not write
//! into a header.

use crate::rig::ip_files::Value;
use crate::rig::ip_files::file;
use crate::rig::*;
use std::fs;

const RULES: &str = r#"
rules:
  - {name: country, when: {country: "NO"}, then: {reject: "5.7.1 not from {country}"}}
  - {name: helo-is-ours, when: {helo: ours}, then: {reject: "5.7.1 {helo_name} is mine"}}
  - {name: dynamic, when: dynamic_name, then: {defer: "4.7.1 {name_points} points"}}
  - name: forged
    when: forged_headers
    then: [{remove_header: matched}, {add_header: {X-Taken-Out: "{headers}"}}]
  - {name: origin, when: {origin_ip: present}, then: {add_header: {X-Origin: "{origin_ip} {origin_country}"}}}
  - {name: not-yours, when: {sasl_username: present}, unless: from_matches_login, then: {reject: "5.7.1 not your name"}}
"#;

const MORE: &str = "local: {hostnames: [mx.test.example], domains: [test.example], relays: [192.0.2.1]}";

fn countries(net: &str, other: &str) -> Vec<u8> {
    let code = |code| Value::Text(code);
    file(
        "Test-Country",
        &[
            ("198.51.100.0/24", Value::Map(&[("country", Value::Map(&[("iso_code", code(net))]))])),
            ("203.0.113.0/24", Value::Map(&[("country", Value::Map(&[("iso_code", code(other))]))])),
        ],
    )
}

fn start(folder: &std::path::Path) -> Option<Rig> {
    if skipped() {
        return None;
    }
    let path = folder.join("country.mmdb");
    fs::write(&path, countries("NO", "FR")).unwrap();
    let sink = Sink::start();
    let more = format!("{MORE}\ngeoip: {{country: {}}}", path.display());
    let gatepost = Gatepost::start(&[("10-test.yaml", RULES)], &more, Sockets::Inet);
    let setup = Setup {
        next_hop: sink.port,
        policy: Some(gatepost.policy.clone()),
        milter: Some(gatepost.milter.clone()),
        ..Setup::default()
    };
    Some(Rig { postfix: Postfix::start(setup), gatepost, sink })
}

/// A session of another address.
fn client_at(rig: &Rig, xclient: &str, helo: &str) -> Smtp {
    let mut client = rig.client();
    client.say(&format!("XCLIENT {xclient}")).expect(220);
    client.say(&format!("EHLO {helo}")).expect(250);
    client
}

#[test]
fn a_client_has_a_country_and_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let Some(rig) = start(folder.path()) else { return };
    for (xclient, helo, code, text) in [
        ("NAME=a.example ADDR=198.51.100.7", "a.example", 554, "not from NO"),
        ("NAME=a.example ADDR=203.0.113.7", "a.example", 250, ""),
        ("NAME=a.example ADDR=203.0.113.7", "MX.test.example", 554, "MX.test.example is mine"),
        ("NAME=203-0-113-7.dsl.isp.example ADDR=203.0.113.7", "a.example", 450, "10 points"),
        ("NAME=203-0-113-7.static.isp.example ADDR=203.0.113.7", "a.example", 250, ""),
        ("LOGIN=bob@test.example", "PC", 250, ""),
    ] {
        let mut client = client_at(&rig, xclient, helo);
        client.mail(ALICE).expect(250);
        client.rcpt(BOB).expect_text(code, text);
    }
    // The next files are read at a reload, and broken ones leave those before.
    fs::write(folder.path().join("country.mmdb"), countries("SE", "NO")).unwrap();
    let more = RULES.to_owned() + "  - {name: later, when: {sender: x@y.test}, then: {log: x}}\n";
    fs::write(rig.gatepost.path("policy.d/10-test.yaml"), more).unwrap();
    rig.gatepost.reload_until_rule("later");
    for (address, code) in [("198.51.100.7", 250), ("203.0.113.7", 554)] {
        let mut client = client_at(&rig, &format!("NAME=a.example ADDR={address}"), "a.example");
        client.mail(ALICE).expect(250);
        client.rcpt(BOB).expect(code);
    }
}

#[test]
fn what_a_stranger_may_not_write_is_taken_out_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let Some(rig) = start(folder.path()) else { return };
    let mail = "Authentication-Results: mx.sender.example; dkim=pass\r\nX-Spam-Status: No\r\n\
                Authentication-Results: mx.test.example;\r\n dkim=pass\r\nReceived: from x (y [203.0.113.9]) by z\r\n\
                X-SPAM-Status: No, really\r\nFrom: alice@sender.example\r\n\r\nx\r\n";
    client_at(&rig, "NAME=a.example ADDR=203.0.113.7", "a.example").deliver(ALICE, &[BOB], mail).expect(250);
    let message = rig.sink.message();
    assert_eq!(message.header("Authentication-Results"), ["mx.sender.example; dkim=pass"]);
    assert!(message.header("X-Spam-Status").is_empty());
    assert_eq!(message.header("X-Taken-Out"), ["X-Spam-Status, Authentication-Results"]);
    assert_eq!(message.header("X-Origin"), ["203.0.113.7 FR"]);
}

#[test]
fn a_relay_of_ours_is_believed() {
    let folder = tempfile::tempdir().unwrap();
    let Some(rig) = start(folder.path()) else { return };
    let mail = "Received: from x (y [203.0.113.9]) by relay\r\nReceived: from x (y [198.51.100.9]) by z\r\n\
                X-Spam-Status: No\r\nFrom: alice@sender.example\r\n\r\nx\r\n";
    client_at(&rig, "NAME=a.example ADDR=192.0.2.1", "a.example").deliver(ALICE, &[BOB], mail).expect(250);
    let message = rig.sink.message();
    assert_eq!(message.header("X-Origin"), ["203.0.113.9 FR"]);
    assert_eq!(message.header("X-Spam-Status"), ["No"]);
}

#[test]
fn who_has_logged_in_writes_as_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let Some(rig) = start(folder.path()) else { return };
    let mut client = client_at(&rig, "LOGIN=bob@test.example", "PC");
    client.deliver(BOB, &[CAROL], "From: Bob <Bob+x@test.example>\r\n\r\nx\r\n").expect(250);
    client
        .deliver(BOB, &[CAROL], "From: \"bob@test.example\" <carol@test.example>\r\n\r\nx\r\n")
        .expect_text(554, "not your name");
    client.deliver(CAROL, &[CAROL], "From: bob@test.example\r\n\r\nx\r\n").expect_text(554, "not your name");
}
