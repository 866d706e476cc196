//! What limits count when it happens, on a real Postfix: recipients that it or a rule
//! refuses, users that it does not know, clients that go away before DATA.

use crate::rig::*;

/// Each refuses its own sender once that has three of what it counts.
const THREE: &str = r#"
rules:
  - {name: refused, when: {sender: refused@sender.example, rate: {key: sender, count: refused, limits: [3/1h]}}, then: {defer: "4.7.1 {used} refused"}}
  - {name: unknown, when: {sender: unknown@sender.example, rate: {key: sender, count: unknown_users, limits: [3/1h]}}, then: {defer: "4.7.1 {used} unknown"}}
  - {name: probed, when: {sender: probed@sender.example, rate: {key: sender, count: probes, limits: [3/1h]}}, then: {defer: "4.7.1 {used} probed"}}
  - {name: no, when: {recipient: '/^no[0-9]@/'}, then: {reject: "5.7.1 no"}}
"#;

const REFUSED: &str = "refused@sender.example";
const UNKNOWN: &str = "unknown@sender.example";
const PROBED: &str = "probed@sender.example";

/// Bob and carol are all there are.
const TWO_USERS: &str = "relay_recipient_maps = inline:{bob@test.example=x, carol@test.example=x}\n\
                         smtpd_recipient_restrictions = $ask, check_recipient_access inline:{{carol@test.example = REJECT not now}}\n";

#[track_caller]
fn expect_unlimited(rig: &Rig, sender: &str) {
    rig.client().deliver(sender, &[BOB], MAIL).expect(250);
}

#[track_caller]
fn expect_limited(rig: &Rig, sender: &str, text: &str) {
    let mut client = rig.client();
    client.mail(sender).expect(250);
    client.rcpt(BOB).expect_text(450, text);
}

#[test]
fn users_that_postfix_does_not_know_are_counted_once_each() {
    let Some(rig) = Rig::with_main(THREE, TWO_USERS) else { return };
    for sender in [UNKNOWN, REFUSED] {
        let mut client = rig.client();
        client.mail(sender).expect(250);
        // The same again is none; nor is one who may not now, to those that count unknown ones.
        for (user, code, text) in [
            ("ann@test.example", 550, "User unknown"),
            ("ann@test.example", 550, "User unknown"),
            ("carol@test.example", 554, "not now"),
        ] {
            client.rcpt(user).expect_text(code, text);
        }
        client.rcpt(BOB).expect(250);
        client.data(MAIL).expect(250);
        client.mail(sender).expect(250);
        client.rcpt("dave@test.example").expect_text(550, "User unknown");
        client.say("RSET").expect(250);
    }
    expect_limited(&rig, REFUSED, "3 refused");
    expect_unlimited(&rig, UNKNOWN);
    let mut client = rig.client();
    client.mail(UNKNOWN).expect(250);
    client.rcpt("erin@test.example").expect_text(550, "User unknown");
    client.rcpt(BOB).expect_text(450, "3 unknown");
}

#[test]
fn what_our_own_rule_refuses_is_refused_and_a_normal_mail_counts_nowhere() {
    let Some(rig) = Rig::start(THREE) else { return };
    for sender in [REFUSED, UNKNOWN, PROBED] {
        for _ in 0..4 {
            rig.client().deliver(sender, &[BOB, CAROL], MAIL).expect(250);
        }
    }
    for sender in [REFUSED, UNKNOWN] {
        let mut client = rig.client();
        client.mail(sender).expect(250);
        for user in ["no1@test.example", "no2@test.example", "no3@test.example"] {
            client.rcpt(user).expect_text(554, "no");
        }
    }
    expect_limited(&rig, REFUSED, "3 refused");
    expect_unlimited(&rig, UNKNOWN);
    expect_unlimited(&rig, PROBED);
}

/// Delegation and the milter are told the same recipient in two ways.
#[test]
fn a_recipient_however_written_is_counted_once() {
    let Some(rig) = Rig::start(THREE) else { return };
    let mut client = rig.client();
    client.mail(REFUSED).expect(250);
    for user in ["\"no1\"@test.example", "no2@TEST.example"] {
        client.rcpt(user).expect_text(554, "no");
    }
    expect_unlimited(&rig, REFUSED);
    client.rcpt("@relay.example:no3@test.example").expect_text(554, "no");
    expect_limited(&rig, REFUSED, "3 refused");
}

/// By RSET, a lost connection and QUIT; not where there was a DATA, or nobody to send it to.
#[test]
fn a_prober_is_known_with_the_milter() {
    let Some(rig) = Rig::start(THREE) else { return };
    let mut client = rig.client();
    for recipient in [BOB, "no1@test.example"] {
        client.mail(PROBED).expect(250);
        client.rcpt(recipient);
        client.say("RSET").expect(250);
    }
    client.envelope(PROBED, &[BOB]);
    drop(client);
    let mut cut = rig.client();
    cut.envelope(PROBED, &[BOB]);
    cut.say("DATA").expect(354);
    cut.send("Subject: half\r\n");
    drop(cut);
    rig.gatepost.wait_lines(4, "message aborted");
    expect_unlimited(&rig, PROBED);
    let mut last = rig.client();
    last.envelope(PROBED, &[BOB, CAROL]);
    last.say("QUIT").expect(221);
    rig.gatepost.wait_lines(5, "message aborted");
    expect_limited(&rig, PROBED, "3 probed");
}

#[test]
fn a_prober_is_known_without_the_milter_where_data_is_asked() {
    for (data, is_known) in [("$ask", true), ("", false)] {
        let main =
            format!("smtpd_milters =\nsmtpd_data_restrictions = {data}\nsmtpd_end_of_data_restrictions =\n");
        let Some(rig) = Rig::with_main(THREE, &main) else { return };
        expect_unlimited(&rig, PROBED);
        let mut client = rig.client();
        for _ in 0..3 {
            client.envelope(PROBED, &[BOB]);
            client.say("RSET").expect(250);
        }
        client.mail(PROBED).expect(250);
        let answer = client.rcpt(BOB);
        if is_known {
            answer.expect_text(450, "3 probed")
        } else {
            answer.expect(250)
        };
    }
}
