//! Sessions as they come: other clients, forged and hidden addresses, mail that
//! never passes a restriction list.

use crate::rig::*;

const RULES: &str = r#"
rules:
  - {name: stranger, when: {client_address: 198.51.100.7}, then: {reject: "5.7.1 not from {client_address}"}}
  - {name: login, when: {sasl_username: eve}, then: {reject: "5.7.1 {sasl_username} is suspended"}}
  - {name: seen, when: {header: {Subject: present}}, then: {add_header: {X-Seen: "yes"}}}
"#;

#[test]
fn xclient_starts_the_session_anew() {
    let Some(rig) = Rig::start(RULES) else { return };
    for port in [rig.postfix.ports.mx, rig.postfix.ports.early] {
        let mut client = Smtp::greeted(port);
        client.envelope(ALICE, &[BOB]);
        client.say("RSET").expect(250);
        client.say("XCLIENT NAME=spike.example ADDR=198.51.100.7 PORT=4321").expect(220);
        client.say("EHLO client.example").expect(250);
        client.mail(ALICE).expect(250);
        client.rcpt(BOB).expect_text(554, "not from 198.51.100.7");
    }
}

#[test]
fn a_login_is_a_fact() {
    let Some(rig) = Rig::start(RULES) else { return };
    let mut client = rig.client();
    client.say("XCLIENT LOGIN=eve").expect(220);
    client.say("EHLO client.example").expect(250);
    client.mail(ALICE).expect(250);
    client.rcpt(BOB).expect_text(554, "eve is suspended");
}

#[test]
fn a_client_without_address_is_served() {
    let Some(rig) = Rig::start(RULES) else { return };
    let mut client = rig.client();
    client.say("XCLIENT NAME=[UNAVAILABLE] ADDR=[UNAVAILABLE] PORT=[UNAVAILABLE]").expect(220);
    client.say("EHLO client.example").expect(250);
    for _ in 0..2 {
        client.deliver(ALICE, &[BOB], MAIL).expect(250);
    }
    for message in rig.sink.messages(2) {
        assert_eq!(message.header("X-Seen"), ["yes"]);
    }
}

#[test]
fn xclient_without_address_on_the_port_that_asks_early() {
    let Some(rig) = Rig::start(RULES) else { return };
    let mut client = Smtp::greeted(rig.postfix.ports.early);
    client.say("XCLIENT ADDR=[UNAVAILABLE]").expect(220);
    client.say("EHLO client.example").expect(250);
    client.deliver(ALICE, &[BOB], MAIL).expect(250);
}

/// Postfix skips all restriction lists for it; only the milter hears of it.
#[test]
fn bare_postmaster_is_accepted_and_seen() {
    let Some(rig) = Rig::with_main(RULES, "myorigin = test.example\n") else { return };
    let mut client = rig.client();
    client.mail(ALICE).expect(250);
    client.say("RCPT TO:<postmaster>").expect(250);
    client.data(MAIL).expect(250);
    assert_eq!(rig.sink.message().header("X-Seen"), ["yes"]);
}

#[test]
fn a_pipelined_session() {
    let Some(rig) = Rig::start(RULES) else { return };
    let mut client = rig.client();
    client.send(format!("MAIL FROM:<{ALICE}>\r\nRCPT TO:<{BOB}>\r\nRCPT TO:<{CAROL}>\r\nDATA\r\n"));
    for code in [250, 250, 250, 354] {
        client.read().expect(code);
    }
    client.send(format!("{MAIL}.\r\nMAIL FROM:<>\r\nRCPT TO:<{BOB}>\r\nRSET\r\nQUIT\r\n"));
    for code in [250, 250, 250, 250, 221] {
        client.read().expect(code);
    }
    assert_eq!(rig.sink.message().header("X-Seen"), ["yes"]);
}

#[test]
fn odd_addresses_pass() {
    let Some(rig) = Rig::start(RULES) else { return };
    let mut client = rig.client();
    for sender in ["", "\"a b\"@sender.example", "@relay.example:a@sender.example", "a=b+c@sender.example"] {
        client.deliver(sender, &["\"x y\"@test.example"], MAIL).expect(250);
    }
    client.mail("jörg@sender.example").expect(250);
    client.rcpt(BOB).expect(250);
    client.data(MAIL).expect(250);
    rig.sink.messages(5);
}

/// Up to `line_length_limit`, of which the answers show only a part.
#[test]
fn commands_as_long_as_postfix_takes_them_pass() {
    let rules = "rules:\n  - {name: no, when: {recipient: no@test.example}, then: {reject: \"5.7.1 {helo_name} {sender}\"}}\n\
                 \x20 - {name: rate, when: {rate: {key: [sender, recipient], limits: [1/1h]}}, then: {reject: 5.7.1 enough}}\n\
                 \x20 - {name: seen, when: {header: {Subject: present}}, then: [{add_header: {X-Seen: \"{recipient}\"}}, hold]}\n";
    let Some(rig) = Rig::start(rules) else { return };
    let long = "a".repeat(1_850);
    let recipient = format!("{long}@test.example");
    let mut client = Smtp::connect(smtp::OUTSIDE, rig.postfix.ports.mx);
    client.read().expect(220);
    client.say(&format!("EHLO {}", "h".repeat(2_000))).expect(250);
    client.mail(&format!("{long}@sender.example")).expect(250);
    let answer = client.rcpt("no@test.example").expect_text(554, "hhh");
    assert!(answer.text.len() < 520, "{}", answer.text.len());
    client.rcpt(&recipient).expect(250);
    client.data(MAIL).expect(250);
    client.mail(&format!("{long}@sender.example")).expect(250);
    client.rcpt(&recipient).expect_text(554, "enough");
    // The sink takes no such address.
    let held = rig.postfix.held();
    assert!(rig.postfix.postcat(&held.id).contains(&format!("X-Seen: {}", &long[..800])));
    rig.gatepost.wait_lines(1, "message hold .*seen_by=both");
}

#[test]
fn swaks_sends_a_mail() {
    let Some(rig) = Rig::start(RULES) else { return };
    let server = format!("127.0.0.1:{}", rig.postfix.ports.mx);
    program::run(
        "/usr/bin/swaks",
        ["--server", &server, "--from", ALICE, "--to", BOB, "--helo", "client.example"],
    );
    assert_eq!(rig.sink.message().header("X-Seen"), ["yes"]);
}

#[test]
fn smtp_source_sends_two_hundred_mails_in_ten_sessions() {
    let Some(rig) = Rig::start(RULES) else { return };
    let server = format!("127.0.0.1:{}", rig.postfix.ports.mx);
    let args = ["-s", "10", "-m", "200", "-l", "2000", "-d", "-S", "load", "-f", ALICE, "-t", BOB, &server];
    program::run("/usr/sbin/smtp-source", args);
    for message in rig.sink.messages(200) {
        assert_eq!(message.header("X-Seen"), ["yes"]);
    }
}
