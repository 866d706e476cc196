//! Texts on their way through Postfix: long, with signs that mean something to
//! a protocol, in no known character set.

use crate::rig::*;

const RULES: &str = r#"
rules:
  - {name: bare, when: {recipient: bare@test.example}, then: {reject: "5.7.26"}}
  - {name: sure, when: {recipient: sure@test.example}, then: {reject: "5.7.1 100% sure, 50%% off, %n%s for {sender}"}}
  - {name: long, when: {recipient: long@test.example}, then: {reject: "5.7.1 {sender} {sender} {sender} {sender} {sender} {sender} {sender} {sender}"}}
  - {name: odd, when: {recipient: odd@test.example}, then: {reject: "5.7.1 not from {sender}"}}
  - {name: hold, when: {recipient: hold@test.example}, then: {hold: "from {sender}"}}
  - {name: mark, when: {recipient: mark@test.example}, then: {add_header: {X-From: "{sender}"}}}
  - {name: end-long, when: {header: {X-Do: long}}, then: {reject: "5.7.1 {sender} {sender} {sender} {sender} {sender} {sender} {sender} {sender}"}}
  - {name: end-odd, when: {header: {X-Do: odd}}, then: {reject: "5.7.1 not from {sender} 100%"}}
  - {name: end-mark, when: {header: {X-Do: mark}}, then: {add_header: {X-At-End: "{sender}"}}}
  - {name: end-hold, when: {header: {X-Do: hold}}, then: {hold: "100% from {sender}"}}
"#;

fn asking(what: &str) -> String {
    format!("X-Do: {what}\r\nSubject: x\r\n\r\nHello.\r\n")
}

fn no_warning(rig: &Rig) {
    assert_eq!(rig.postfix.count_log("(warning|error|fatal|panic): "), 0);
    assert_eq!(rig.gatepost.count_log(" (warn|error) "), 0);
}

#[test]
fn long_and_odd_texts_reach_the_client_as_one_line() {
    let Some(rig) = Rig::start(RULES) else { return };
    let sender = format!("{}@sender.example", "a".repeat(64));
    let mut client = rig.client();
    client.mail(&sender).expect(250);
    client
        .rcpt("bare@test.example")
        .expect_text(554, "5.7.26 <bare@test.example>: Recipient address rejected: ");
    client.rcpt("sure@test.example").expect_text(554, "100% sure, 50%% off, %n%s for aaa");
    let answer = client.rcpt("long@test.example").expect_text(554, "5.7.1 ");
    assert!(answer.text.len() <= 510 && !answer.text.contains('\n'), "{answer:?}");
    client.say("RSET").expect(250);
    let answer = client.deliver(&sender, &[BOB], &asking("long")).expect_text(554, "5.7.1 ");
    assert!((400..=510).contains(&answer.text.len()) && !answer.text.contains('\n'), "{answer:?}");
    client.deliver(&sender, &[BOB], &asking("nothing")).expect(250);
    no_warning(&rig);
}

/// With smtputf8_enable=no Postfix passes any byte on to both sides.
#[test]
fn senders_in_no_character_set_are_refused_held_and_marked_like_others() {
    let Some(rig) = Rig::with_main(RULES, "smtputf8_enable = no\n") else { return };
    let mut client = rig.client();
    let mail = |client: &mut Smtp| {
        client.send(b"MAIL FROM:<j\xf6rg\xff@sender.example>\r\n");
        client.read().expect(250);
    };
    mail(&mut client);
    client.rcpt("odd@test.example").expect_text(554, "not from j");
    client.rcpt("mark@test.example").expect(250);
    client.data(&asking("mark")).expect(250);
    mail(&mut client);
    client.rcpt(BOB).expect(250);
    client.data(&asking("odd")).expect_text(554, "not from j");
    mail(&mut client);
    client.rcpt("hold@test.example").expect(250);
    client.data(&asking("nothing")).expect(250);
    rig.postfix.wait_log("hold: .*from j");
    no_warning(&rig);
}

#[test]
fn senders_in_utf8_are_told_in_utf8() {
    let Some(rig) = Rig::start(RULES) else { return };
    let mut client = rig.client();
    client.mail("jörg@sender.example").expect(250);
    client.rcpt("odd@test.example").expect_text(554, "not from jörg@sender.example");
    client.rcpt("mark@test.example").expect(250);
    client.data(&asking("odd")).expect_text(554, "not from jörg@sender.example 100%");
    // What is no UTF-8 never gets here.
    client.send(b"MAIL FROM:<j\xf6rg@sender.example>\r\n");
    client.read().expect(500);
    client.deliver(ALICE, &["mark@test.example"], &asking("mark")).expect(250);
    let message = rig.sink.message();
    assert_eq!((message.header("X-From"), message.header("X-At-End")), (vec![ALICE], vec![ALICE]));
    no_warning(&rig);
}

#[test]
fn why_a_mail_is_held_stands_in_our_log_since_postfix_drops_it() {
    let Some(rig) = Rig::start(RULES) else { return };
    rig.send(&asking("hold")).expect(250);
    let held = rig.postfix.held();
    let line = rig.gatepost.wait_log("message hold ");
    assert!(line.contains(&held.id) && line.contains("100% from alice@sender.example"), "{line}");
    no_warning(&rig);
}

#[test]
fn a_milter_that_decides_on_recipients_keeps_per_cent_signs() {
    if skipped() {
        return;
    }
    let sink = Sink::start();
    let (milter, http) = (format!("inet:127.0.0.1:{}", port::free()), port::free());
    let config = format!(
        "listen:\n  policy: []\n  milter: [{{address: \"{milter}\", decides: envelope}}]\n  \
         http: {{address: \"127.0.0.1:{http}\"}}\npolicy_dir: policy.d\n"
    );
    let gatepost = Gatepost::configured(&[("10-test.yaml", RULES)], &config, "", &milter, http);
    let setup = Setup { milter: Some(milter), next_hop: sink.port, ..Setup::default() };
    let rig = Rig { postfix: Postfix::start(setup), gatepost, sink };
    let mut client = rig.client();
    client.mail(ALICE).expect(250);
    client.rcpt("sure@test.example").expect_text(554, "5.7.1 100% sure, 50%% off, %n%s for alice");
    client.rcpt("bare@test.example").expect_text(554, "5.7.26 ");
    client.rcpt("hold@test.example").expect(250);
    client.data(&asking("nothing")).expect(250);
    rig.postfix.held();
    no_warning(&rig);
}
