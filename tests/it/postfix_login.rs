//! Logins by SASL: who somebody says to be is a fact only once the password was
//! right, and then on both sides.

use crate::rig::sasl::PASSWORD;
use crate::rig::*;

const ANNA: &str = "anna@test.example";
const BERT: &str = "bert@test.example";
const ELSEWHERE: &str = "someone@elsewhere.example";

const RULES: &str = r#"
rules:
  - {name: rcpt, when: {recipient: present}, then: {add_header: {X-Rcpt: "<{sasl_username}> <{sasl_method}> {direction}"}}}
  - {name: anna, when: {sasl_username: anna@test.example}, then: {tag: anna}}
  - {name: end, when: {header: {Subject: present}}, then: {add_header: {X-End: "<{sasl_username}> <{sasl_method}> {direction}"}}}
  - {name: both, when: {tag: anna, header: {Subject: present}}, then: {add_header: {X-Anna: "yes"}}}
  - name: two-each
    when: {policy_context: submission, rate: {key: sasl_username, limits: [2/1h]}}
    then: {reject: "5.7.1 {key}: {used} of {allowed}"}
"#;

const AS_ANNA: &str = "<anna@test.example> <PLAIN> outbound";
const AS_BERT: &str = "<bert@test.example> <PLAIN> outbound";
const AS_NOBODY: &str = "<> <> inbound";

fn rig(main: &str) -> Option<Rig> {
    let setup = Setup { logins: &["anna", "bert"], main: main.to_owned(), ..Setup::default() };
    Rig::with(RULES, Sockets::Inet, setup)
}

/// AUTH PLAIN.
#[track_caller]
fn log_in(client: &mut Smtp, user: &str, password: &str) -> Answer {
    client.say(&format!("AUTH PLAIN {}", base64(format!("\0{user}\0{password}").as_bytes())))
}

fn base64(bytes: &[u8]) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let number =
            three.iter().enumerate().fold(0, |sum, (n, byte)| sum | u32::from(*byte) << (16 - 8 * n));
        for n in 0..4 {
            let sign = SIGNS[(number >> (18 - 6 * n)) as usize % 64];
            text.push(if n <= three.len() { char::from(sign) } else { '=' });
        }
    }
    text
}

/// The facts as they were at RCPT and at the end.
#[track_caller]
fn is_from(message: &sink::Delivered, expected: &str) {
    assert_eq!((message.header("X-Rcpt"), message.header("X-End")), (vec![expected], vec![expected]));
    let tagged: &[&str] = if expected == AS_ANNA { &["yes"] } else { &[] };
    assert_eq!(message.header("X-Anna"), tagged);
}

#[test]
fn a_login_by_swaks_is_known_at_rcpt_and_at_the_end() {
    let Some(rig) = rig("") else { return };
    let ports = [rig.postfix.ports.mx, rig.postfix.ports.early];
    for port in ports {
        let server = format!("127.0.0.1:{port}");
        let login = ["--auth", "PLAIN", "--auth-user", ANNA, "--auth-password", PASSWORD];
        let mail = ["--server", &server, "--from", ALICE, "--to", BOB, "--helo", "client.example"];
        program::run("/usr/bin/swaks", login.iter().chain(&mail));
    }
    for message in rig.sink.messages(ports.len()) {
        is_from(&message, AS_ANNA);
    }
    rig.gatepost.wait_lines(ports.len(), "message accept .* sasl_username=anna@test.example .*seen_by=both");
}

/// permit_sasl_authenticated in front of us hides the session from delegation.
#[test]
fn the_milter_alone_knows_of_a_login() {
    let main = "smtpd_recipient_restrictions = permit_sasl_authenticated, $ask\nsmtpd_data_restrictions =\n\
                smtpd_end_of_data_restrictions =\n";
    let Some(rig) = rig(main) else { return };
    let mut client = rig.client();
    log_in(&mut client, BERT, PASSWORD).expect(235);
    client.deliver(ALICE, &[ELSEWHERE], MAIL).expect(250);
    assert_eq!(rig.sink.message().header("X-End"), [AS_BERT]);
    rig.gatepost.wait_lines(1, "message accept .* sasl_username=bert@test.example .*seen_by=milter");
}

#[test]
fn a_failed_login_changes_nothing_and_the_right_one_after_it_does() {
    let Some(rig) = rig("") else { return };
    let mut client = rig.client();
    // From a network that is not ours, so that the login alone makes it outbound.
    client.say("XCLIENT ADDR=198.51.100.7 PORT=4321").expect(220);
    client.say("EHLO client.example").expect(250);
    client.deliver("first@sender.example", &[BOB], MAIL).expect(250);
    for (user, password) in [(ANNA, "wrong"), ("nobody@test.example", PASSWORD), (ANNA, "")] {
        log_in(&mut client, user, password).expect(535);
    }
    client.deliver("second@sender.example", &[BOB], MAIL).expect(250);
    client.mail(ALICE).expect(250);
    client.rcpt(ELSEWHERE).expect(554);
    client.say("RSET").expect(250);
    log_in(&mut client, ANNA, PASSWORD).expect(235);
    client.deliver("third@sender.example", &[ELSEWHERE], MAIL).expect(250);
    for message in rig.sink.messages(3) {
        is_from(&message, if message.sender.starts_with("third") { AS_ANNA } else { AS_NOBODY });
    }
}

/// On the submission port, from inside `mynetworks`: neither keeps us from being
/// asked, and each login has a limit of its own, whichever session it is in.
#[test]
fn a_limit_by_login_refuses_on_the_submission_port() {
    let Some(rig) = rig("") else { return };
    let submission = || Smtp::greeted_from(smtp::INSIDE, rig.postfix.ports.submission);
    let mut anna = submission();
    // Nobody's attempts are nobody's tokens.
    for _ in 0..3 {
        log_in(&mut anna, ANNA, "wrong").expect(535);
        anna.envelope(ALICE, &[ELSEWHERE]);
        anna.say("RSET").expect(250);
    }
    log_in(&mut anna, ANNA, PASSWORD).expect(235);
    anna.deliver(ALICE, &[ELSEWHERE], MAIL).expect(250);
    let mut again = submission();
    log_in(&mut again, ANNA, PASSWORD).expect(235);
    again.deliver(ALICE, &[ELSEWHERE], MAIL).expect(250);
    for client in [&mut anna, &mut again] {
        client.mail(ALICE).expect(250);
        client.rcpt(ELSEWHERE).expect_text(554, "anna@test.example: 3 of 2");
        client.rcpt(BOB).expect_text(554, "anna@test.example: 3 of 2");
    }
    let mut bert = submission();
    log_in(&mut bert, BERT, PASSWORD).expect(235);
    bert.deliver(ALICE, &[ELSEWHERE], MAIL).expect(250);
    rig.sink.messages(3);
}

/// Where the login is the address's own, in any case it is written.
#[test]
fn the_login_is_one_however_it_is_written() {
    let Some(rig) = rig("") else { return };
    for (user, allowed) in [("anna", true), (ANNA, true), ("anna", false)] {
        let mut client = Smtp::greeted_from(smtp::INSIDE, rig.postfix.ports.submission);
        log_in(&mut client, user, PASSWORD).expect(235);
        if allowed {
            client.deliver(ALICE, &[BOB], MAIL).expect(250);
        } else {
            client.mail(ALICE).expect(250);
            client.rcpt(BOB).expect(554);
        }
    }
}

/// The milter knows who has logged in, also where Postfix refuses in front of us.
#[test]
fn unknown_users_count_for_the_login() {
    let rules = r#"
rules:
  - {name: partner, when: {sasl_username: bert@test.example}, then: {tag: partner}}
  - name: unknown
    when: {rate: {key: sasl_username, count: unknown_users, limits: [2/1h]}}
    unless: {tag: partner}
    then: {reject: "5.7.1 {key}: {used} unknown"}
"#;
    let main = "relay_recipient_maps = inline:{bob@test.example=x}\n\
                smtpd_recipient_restrictions = reject_unlisted_recipient, $ask\n";
    let setup = Setup { logins: &["anna", "bert"], main: main.to_owned(), ..Setup::default() };
    let Some(rig) = Rig::with(rules, Sockets::Inet, setup) else { return };
    for (user, expected) in [(ANNA, "anna@test.example: 2 unknown"), (BERT, "")] {
        let mut client = rig.client();
        log_in(&mut client, user, PASSWORD).expect(235);
        client.mail(ALICE).expect(250);
        for unknown in ["ann@test.example", "ben@test.example"] {
            client.rcpt(unknown).expect_text(550, "User unknown");
        }
        let answer = client.rcpt(BOB);
        if expected.is_empty() {
            answer.expect(250)
        } else {
            answer.expect_text(554, expected)
        };
    }
}
