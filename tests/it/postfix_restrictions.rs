//! Where in Postfix's restriction lists the service stands, how often it is
//! asked there, and what that costs.

use crate::rig::*;

/// Three recipients an hour and client, counted by a rule that then refuses.
const THREE: &str = r#"
rules:
  - name: three
    when: {rate: {key: client_address, limits: [3/1h]}}
    then: {defer_if_permit: "4.7.1 {used} of {allowed}"}
"#;

/// The same service in every list that is evaluated at RCPT.
const EVERYWHERE: &str = "smtpd_client_restrictions = $ask\nsmtpd_helo_restrictions = $ask\n\
    smtpd_sender_restrictions = $ask\nsmtpd_relay_restrictions = $ask, permit_mynetworks, reject_unauth_destination\n";

#[test]
fn five_lists_are_one_evaluation_and_one_charge() {
    let Some(rig) = Rig::with_main(THREE, EVERYWHERE) else { return };
    let mut client = rig.client();
    client.mail(ALICE).expect(250);
    for recipient in [BOB, CAROL, "dave@test.example"] {
        client.rcpt(recipient).expect(250);
    }
    client.rcpt("erin@test.example").expect_text(450, "4 of 3");
    client.data(MAIL).expect(250);
    assert_eq!(rig.gatepost.metric("gatepost_rule_hits_total", &["rule=\"three\""]), Some(1.0));
}

/// A text of its own is a connection of its own, too; the first list's text is
/// the one that rules see.
#[test]
fn lists_that_name_themselves_are_one_evaluation() {
    let main = "smtpd_client_restrictions = check_policy_service { $service, policy_context=client }\n\
                smtpd_sender_restrictions = check_policy_service { $service, policy_context=sender }\n\
                smtpd_recipient_restrictions = check_policy_service { $service, policy_context=recipient }\n";
    let rules = format!(
        "{THREE}  - {{name: first, when: {{policy_context: client}}, then: {{add_header: {{X-Mark: \"{{policy_context}}\"}}}}}}\n\
         \x20 - {{name: later, when: {{policy_context: [sender, recipient]}}, then: {{reject: 5.7.1 asked twice}}}}\n"
    );
    let Some(rig) = Rig::with_main(&rules, main) else { return };
    let mut client = rig.client();
    client.envelope(ALICE, &[BOB, CAROL, "dave@test.example"]);
    client.rcpt("erin@test.example").expect_text(450, "4 of 3");
    client.data(MAIL).expect(250);
    assert_eq!(rig.sink.message().header("X-Mark"), ["client"]);
    let connections = rig.gatepost.metric("gatepost_connections", &["interface=\"policy\""]).unwrap();
    assert!(connections >= 3.0, "{connections}");
}

/// It comes with the transaction's instance, sender and queue id.
#[test]
fn vrfy_inside_a_transaction_is_no_recipient() {
    let Some(rig) = Rig::with_main(THREE, EVERYWHERE) else { return };
    let mut client = rig.client();
    client.mail(ALICE).expect(250);
    for recipient in [BOB, CAROL, "dave@test.example"] {
        client.say("VRFY erin@test.example").expect(252);
        client.rcpt(recipient).expect(250);
        client.say(&format!("VRFY {recipient}")).expect(252);
    }
    client.data(MAIL).expect(250);
    rig.gatepost.wait_lines(1, "message accept .*recipients=3 refused=0 .*seen_by=both");
}

/// Postfix asks twice, gives up, and takes its default action; when the service
/// comes to itself, both requests are waiting there.
#[test]
fn a_service_that_stood_still_charges_once() {
    let main = "ask = check_policy_service { $service, timeout=1s, default_action=DUNNO }\nsmtpd_milters =\n";
    let Some(rig) = Rig::with_main(THREE, main) else { return };
    let mut client = rig.client();
    client.mail(ALICE).expect(250);
    rig.gatepost.signal("STOP");
    client.rcpt(BOB).expect(250);
    rig.gatepost.signal("CONT");
    client.rcpt(CAROL).expect(250);
    client.rcpt("dave@test.example").expect(250);
    client.rcpt("erin@test.example").expect_text(450, "4 of 3");
    client.data(MAIL).expect(250);
    rig.gatepost.wait_lines(1, "message accept .*recipients=3 .*seen_by=policy");
}

#[test]
fn five_lists_give_one_refusal_and_one_header() {
    let rules = "rules:\n  - {name: no, when: {recipient: no@test.example}, then: {reject: 5.7.1 not him}}\n\
                 \x20 - {name: mark, when: {recipient: bob@test.example}, then: {add_header: {X-Mark: once}}}\n";
    let Some(rig) = Rig::with_main(rules, EVERYWHERE) else { return };
    let mut client = rig.client();
    client.mail(ALICE).expect(250);
    client.rcpt("no@test.example").expect_text(554, "not him");
    client.rcpt("no@test.example").expect_text(554, "not him");
    client.rcpt(BOB).expect(250);
    client.data(MAIL).expect(250);
    assert_eq!(rig.sink.message().header("X-Mark"), ["once"]);
}

#[test]
fn limits_hold_inside_mynetworks() {
    let Some(rig) = Rig::start(THREE) else { return };
    let mut client = Smtp::greeted_from(smtp::INSIDE, rig.postfix.ports.mx);
    for _ in 0..3 {
        client.deliver(ALICE, &["someone@elsewhere.example"], MAIL).expect(250);
    }
    client.mail(ALICE).expect(250);
    client.rcpt("someone@elsewhere.example").expect_text(450, "4 of 3");
    // Another client has its own bucket.
    rig.send(MAIL).expect(250);
    rig.sink.messages(4);
}

#[test]
fn vrfy_is_never_charged() {
    let Some(rig) = Rig::start(THREE) else { return };
    let mut client = rig.client();
    for _ in 0..5 {
        client.say("VRFY bob@test.example").expect(252);
    }
    client.deliver(ALICE, &[BOB, CAROL, "dave@test.example"], MAIL).expect(250);
}

#[test]
fn a_refused_recipient_costs_nothing_and_the_next_may_come() {
    let rules = "rules:\n  - {name: no, when: {recipient: no@test.example}, then: {reject: 5.7.1 no}}\n\
                 \x20 - name: two\n    when: {rate: {key: client_address, limits: [2/1h]}}\n\
                 \x20   then: {defer_if_permit: 4.7.1 enough}\n";
    let Some(rig) = Rig::start(rules) else { return };
    let mut client = rig.client();
    client.mail(ALICE).expect(250);
    for _ in 0..4 {
        client.rcpt("no@test.example").expect(554);
    }
    client.rcpt(BOB).expect(250);
    client.rcpt(CAROL).expect(250);
    client.rcpt("dave@test.example").expect_text(450, "enough");
    client.data(MAIL).expect(250);
    assert_eq!(rig.sink.message().recipients, [BOB, CAROL]);
}

#[test]
fn early_rules_speak_at_their_stage_or_at_rcpt() {
    let rules = "rules:\n  - {name: helo, stage: helo, when: {helo_name: bad.example}, then: {reject: 5.7.1 bad name}}\n\
                 \x20 - {name: sender, stage: mail, when: {sender: bad@sender.example}, then: {reject: 5.7.1 bad sender}}\n";
    let Some(rig) = Rig::start(rules) else { return };
    let mut early = Smtp::connect(smtp::OUTSIDE, rig.postfix.ports.early);
    early.read().expect(220);
    early.say("EHLO bad.example").expect_text(554, "bad name");
    early.say("EHLO good.example").expect(250);
    early.mail("bad@sender.example").expect_text(554, "bad sender");
    early.deliver(ALICE, &[BOB], MAIL).expect(250);

    // With delay_reject the same rules are heard at the first RCPT.
    let mut late = Smtp::connect(smtp::OUTSIDE, rig.postfix.ports.mx);
    late.read().expect(220);
    late.say("EHLO bad.example").expect(250);
    late.mail(ALICE).expect(250);
    late.rcpt(BOB).expect_text(554, "bad name");
    late.rcpt(CAROL).expect_text(554, "bad name");
}

#[test]
fn data_rules_refuse_at_data() {
    let rules = "rules:\n  - {name: many, stage: data, when: {recipient_count: {over: 2}}, then: {reject: \"5.5.3 {recipient_count} are too many\"}}\n";
    let Some(rig) = Rig::start(rules) else { return };
    let mut client = rig.client();
    client.envelope(ALICE, &[BOB, CAROL, "dave@test.example"]);
    client.say("DATA").expect_text(554, "3 are too many");
    client.say("RSET").expect(250);
    client.deliver(ALICE, &[BOB, CAROL], MAIL).expect(250);
}
