//! Timed listings on a real Postfix: made by either protocol, asked by the other,
//! over sessions and reloads.

use crate::rig::*;

const RULES: &str = r#"
rules:
  - {name: seen, when: {listed: {key: client_address, reason: [liar, virus]}}, then: {defer: "4.7.1 {client_address} is listed for {reason} until {until}"}}
  - {name: liar, when: {helo_name: liar.example}, then: [{list: {key: client_address, reason: liar, for: 1h}}, {reject: "5.7.1 that is not you"}]}
  - {name: virus, when: {attachment: "*.exe"}, then: [{list: {key: client_address, reason: virus, for: 1h}}, {reject: "5.7.1 no programs"}]}
"#;

const PROGRAM: &str = "Subject: hi\r\nMIME-Version: 1.0\r\n\
     Content-Type: application/octet-stream; name=a.exe\r\n\
     Content-Disposition: attachment; filename=a.exe\r\n\r\nx\r\n";

/// A session of a client at this address.
fn client(rig: &Rig, address: &str, helo: &str) -> Smtp {
    let mut client = rig.client();
    client.say(&format!("XCLIENT NAME=x.example ADDR={address} PORT=1000")).expect(220);
    client.say(&format!("EHLO {helo}")).expect(250);
    client.mail(ALICE).expect(250);
    client
}

#[test]
fn what_one_connection_did_the_next_one_is_refused_for() {
    let Some(rig) = Rig::start(RULES) else { return };
    client(&rig, "198.51.100.7", "liar.example").rcpt(BOB).expect_text(554, "that is not you");
    client(&rig, "198.51.100.7", "honest.example").rcpt(BOB).expect_text(450, "is listed for liar until ");
    client(&rig, "198.51.100.8", "honest.example").rcpt(BOB).expect(250);
    assert_eq!(rig.gatepost.metric("gatepost_table_entries", &["table=\"listings\""]), Some(1.0));
    // A reload changes rules, not what is known.
    rig.gatepost.write_rules("10-test.yaml", &RULES.replace("name: seen", "name: seen-again"));
    rig.gatepost.reload_until_rule("seen-again");
    client(&rig, "198.51.100.7", "honest.example").rcpt(BOB).expect_text(450, "is listed for liar until ");
}

#[test]
fn what_a_message_held_its_client_is_refused_for_at_rcpt() {
    let Some(rig) = Rig::start(RULES) else { return };
    let mut infected = client(&rig, "198.51.100.9", "pc.example");
    infected.rcpt(BOB).expect(250);
    infected.data(PROGRAM).expect_text(554, "no programs");
    drop(infected);
    client(&rig, "198.51.100.9", "pc.example").rcpt(BOB).expect_text(450, "is listed for virus until ");
}
