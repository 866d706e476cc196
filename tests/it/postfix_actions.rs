//! Every action at `rcpt`: what the client hears and what becomes of the mail.

use crate::rig::*;

const RULES: &str = r#"
rules:
  - {name: refuse, when: {recipient: refuse@test.example}, then: {reject: "553 5.7.9 not for {recipient}"}}
  - {name: refuse-briefly, when: {recipient: brief@test.example}, then: reject}
  - {name: later, when: {recipient: later@test.example}, then: {defer: "4.7.2 not now"}}
  - {name: busy, when: {recipient: busy@test.example}, then: {defer: "421 4.7.0 come back later"}}
  - {name: bot, when: {recipient: bot@test.example}, then: {reject: "521 5.7.1 go away"}}
  - {name: if-permit, when: {recipient: wait@test.example}, then: {defer_if_permit: "4.2.0 wait a little"}}
  - {name: keep, when: {recipient: hold@test.example}, then: {hold: to be read by a person}}
  - {name: swallow, when: {recipient: discard@test.example}, then: discard}
  - {name: elsewhere, when: {recipient: redirect@test.example}, then: {redirect: archive@test.example}}
  - {name: copy, when: {recipient: bcc@test.example}, then: {bcc: archive@test.example}}
  - {name: mark, when: {recipient: [mark@test.example, mark2@test.example]}, then: {add_header: {X-Mark: "for {recipient_domain}"}}}
  - {name: note, when: {recipient: log@test.example}, then: {log: "a mail from {sender}"}}
  - {name: both, when: {recipient: both@test.example}, then: [{add_header: {X-Mark: held}}, {hold: and marked}]}
  - {name: friend, when: {recipient: friend@test.example}, then: accept}
"#;

#[test]
fn reject_gives_its_code_and_text_and_the_next_recipient_goes_on() {
    let Some(rig) = Rig::start(RULES) else { return };
    let mut client = rig.client();
    client.mail(ALICE).expect(250);
    client.rcpt("refuse@test.example").expect_text(553, "5.7.9 <refuse@test.example>");
    client.rcpt("REFUSE@test.example").expect_text(553, "not for ");
    client.rcpt(BOB).expect(250);
    client.rcpt("brief@test.example").expect_text(554, "5.7.1");
    client.data(MAIL).expect(250);
    assert_eq!(rig.sink.message().recipients, [BOB]);
}

#[test]
fn defer_is_temporary() {
    let Some(rig) = Rig::start(RULES) else { return };
    let mut client = rig.client();
    client.mail(ALICE).expect(250);
    client.rcpt("later@test.example").expect_text(450, "4.7.2");
    client.say("DATA").expect(554);
}

#[test]
fn codes_421_and_521_hang_up() {
    let Some(rig) = Rig::start(RULES) else { return };
    for (recipient, code) in [("busy@test.example", 421), ("bot@test.example", 521)] {
        let mut client = rig.client();
        client.mail(ALICE).expect(250);
        client.rcpt(recipient).expect(code);
        assert!(client.is_hung_up(), "{recipient}");
    }
}

#[test]
fn defer_if_permit_waits_for_the_other_restrictions() {
    let Some(rig) = Rig::with_main(RULES, "smtpd_recipient_restrictions = $ask, reject") else {
        return;
    };
    // What would be refused anyway is refused, not put off.
    let mut client = rig.client();
    client.mail(ALICE).expect(250);
    let answer = client.rcpt("wait@test.example").expect(554);
    assert!(!answer.text.contains("wait a little"), "{answer:?}");
}

#[test]
fn defer_if_permit_defers_what_would_be_accepted() {
    let Some(rig) = Rig::start(RULES) else { return };
    let mut client = rig.client();
    client.mail(ALICE).expect(250);
    client.rcpt("wait@test.example").expect_text(450, "wait a little");
    client.rcpt(BOB).expect(250);
    client.data(MAIL).expect(250);
    assert_eq!(rig.sink.message().recipients, [BOB]);
}

#[test]
fn hold_puts_the_mail_into_the_hold_queue() {
    let Some(rig) = Rig::start(RULES) else { return };
    rig.client().deliver(ALICE, &["hold@test.example", BOB], MAIL).expect(250);
    let held = rig.postfix.held();
    assert_eq!(held.recipients, ["hold@test.example", BOB]);
    rig.postfix.wait_log("hold: .*to be read by a person");
    assert_eq!(rig.sink.count(), 0);
}

#[test]
fn discard_swallows_the_mail_with_a_friendly_answer() {
    let Some(rig) = Rig::start(RULES) else { return };
    rig.client().deliver(ALICE, &["discard@test.example", BOB], MAIL).expect(250);
    rig.postfix.wait_log(": discard: ");
    rig.postfix.wait_empty();
    assert_eq!(rig.sink.count(), 0);
}

#[test]
fn redirect_sends_the_whole_mail_elsewhere() {
    let Some(rig) = Rig::start(RULES) else { return };
    rig.client().deliver(ALICE, &["redirect@test.example", BOB], MAIL).expect(250);
    assert_eq!(rig.sink.message().recipients, ["archive@test.example"]);
}

#[test]
fn bcc_adds_a_recipient() {
    let Some(rig) = Rig::start(RULES) else { return };
    rig.client().deliver(ALICE, &["bcc@test.example"], MAIL).expect(250);
    rig.postfix.wait_log("to=<archive@test.example>.*status=sent");
    rig.postfix.wait_empty();
    // In one delivery or two.
    let messages = rig.sink.messages(rig.sink.count());
    let mut all: Vec<_> = messages.into_iter().flat_map(|message| message.recipients).collect();
    all.sort();
    assert_eq!(all, ["archive@test.example", "bcc@test.example"]);
}

#[test]
fn filter_chooses_transport_and_next_hop() {
    if skipped() {
        return;
    }
    let other = Sink::start();
    let rules = format!(
        "rules:\n  - {{name: detour, when: {{sender: {ALICE}}}, then: {{filter: \"other:[127.0.0.1]:{}\"}}}}\n",
        other.port
    );
    let Some(rig) = Rig::start(&rules) else { return };
    rig.send(MAIL).expect(250);
    assert_eq!(other.message().recipients, [BOB]);
    assert_eq!(rig.sink.count(), 0);
}

#[test]
fn add_header_comes_once_for_two_recipients() {
    let Some(rig) = Rig::start(RULES) else { return };
    let mut client = rig.client();
    for _ in 0..2 {
        client.deliver(ALICE, &["mark@test.example", "mark2@test.example"], MAIL).expect(250);
    }
    // Once a transaction, and in the next transaction again.
    for message in rig.sink.messages(2) {
        assert_eq!(message.header("X-Mark"), ["for test.example"]);
    }
}

#[test]
fn log_tells_postfix_and_changes_nothing() {
    let Some(rig) = Rig::start(RULES) else { return };
    rig.client().deliver(ALICE, &["log@test.example"], MAIL).expect(250);
    rig.postfix.wait_log("(info|warn): RCPT from .*a mail from alice@sender.example");
    assert_eq!(rig.sink.message().recipients, ["log@test.example"]);
}

#[test]
fn two_actions_of_one_rule_both_take_effect() {
    let Some(rig) = Rig::start(RULES) else { return };
    rig.client().deliver(ALICE, &["both@test.example"], MAIL).expect(250);
    let held = rig.postfix.held();
    assert!(rig.postfix.postcat(&held.id).contains("X-Mark: held"));
}

#[test]
fn accept_never_opens_a_relay() {
    let Some(rig) = Rig::with_main(
        "rules: [{name: friend, when: {sender: present}, then: accept}]\n",
        "smtpd_relay_restrictions =\n\
         smtpd_recipient_restrictions = permit_mynetworks, $ask, reject_unauth_destination",
    ) else {
        return;
    };
    // The service stands where an OK would let everything through.
    let mut client = rig.client();
    client.mail(ALICE).expect(250);
    client.rcpt("someone@elsewhere.example").expect(554);
    client.rcpt(BOB).expect(250);
}

#[test]
fn a_rule_in_observe_changes_nothing_but_is_counted() {
    let rules =
        "mode: observe\nrules:\n  - {name: would, when: {sender: present}, then: {reject: 5.7.1 no}}\n";
    let Some(rig) = Rig::start(rules) else { return };
    rig.send(MAIL).expect(250);
    rig.sink.message();
    let hits = rig.gatepost.metric("gatepost_rule_hits_total", &["rule=\"would\"", "mode=\"observe\""]);
    assert_eq!(hits, Some(1.0));
}
