//! The books of a limit balance, whatever becomes of the mail: what was accepted is
//! charged, once; what was refused, given up or cut off is not.

use crate::rig::*;
use std::thread;

const TEN: &str = r#"
rules:
  - {name: limit, when: {rate: {key: sender, limits: 10/1h strict}}, then: {defer_if_permit: "4.7.1 {used} used"}}
  - {name: bad, when: {header: {Subject: /^bad/}}, then: {reject: "5.7.1 bad"}}
  - {name: never, when: {recipient: never@}, then: {reject: "5.7.1 never"}}
"#;

const BAD: &str = "Subject: bad\r\n\r\nx\r\n";

const DAVE: &str = "dave@test.example";

/// How much of the ten is left, by asking until it is refused.
#[track_caller]
fn expect_left(rig: &Rig, left: usize) {
    let mut client = rig.client();
    for _ in 0..left {
        client.deliver(ALICE, &[BOB], MAIL).expect(250);
    }
    client.mail(ALICE).expect(250);
    client.rcpt(BOB).expect_text(450, "11 used");
}

#[test]
fn a_hundred_sessions_at_once_let_through_what_is_allowed_and_no_more() {
    let Some(rig) = Rig::start(TEN) else { return };
    let port = rig.postfix.ports.mx;
    let sessions = (0..100).map(|number| {
        thread::spawn(move || {
            let mut client = Smtp::greeted_from(&format!("127.0.1.{}", number + 1), port);
            client.mail(ALICE).expect(250);
            let accepted = client.rcpt(BOB).code == 250;
            if accepted {
                client.data(MAIL).expect(250);
            }
            accepted
        })
    });
    let sessions: Vec<_> = sessions.collect();
    let accepted = sessions.into_iter().filter_map(|session| session.join().unwrap().then_some(())).count();
    assert_eq!(accepted, 10);
    expect_left(&rig, 0);
}

#[test]
fn a_message_that_is_refused_at_its_end_is_given_back() {
    let Some(rig) = Rig::start(TEN) else { return };
    for _ in 0..15 {
        rig.client().deliver(ALICE, &[BOB, CAROL], BAD).expect_text(554, "bad");
    }
    expect_left(&rig, 10);
}

#[test]
fn what_the_client_gives_up_is_given_back() {
    let Some(rig) = Rig::start(TEN) else { return };
    let mut client = rig.client();
    for _ in 0..3 {
        client.envelope(ALICE, &[BOB, CAROL, DAVE]);
        client.say("RSET").expect(250);
    }
    drop(client);
    for _ in 0..3 {
        let mut cut = rig.client();
        cut.envelope(ALICE, &[BOB, CAROL, DAVE]);
        cut.say("DATA").expect(354);
        cut.send("Subject: half\r\n");
    }
    rig.gatepost.wait_lines(6, "message aborted");
    expect_left(&rig, 10);
}

/// Behind our own answer; the milter is told.
#[test]
fn a_recipient_that_postfix_rejects_is_given_back() {
    let main = "smtpd_recipient_restrictions = check_policy_service { $service }, \
                check_recipient_access inline:{{carol@test.example = REJECT}}\n";
    let Some(rig) = Rig::with_main(TEN, main) else { return };
    for _ in 0..2 {
        let mut client = rig.client();
        client.mail(ALICE).expect(250);
        client.rcpt(BOB).expect(250);
        client.rcpt("never@test.example").expect(554);
        client.rcpt(CAROL).expect(554);
        client.data(MAIL).expect(250);
    }
    expect_left(&rig, 8);
}

/// Nobody says which; the count at DATA says how many.
#[test]
fn without_a_milter_the_count_at_data_gives_back() {
    let main = "smtpd_milters =\n\
                smtpd_recipient_restrictions = check_policy_service { $service }, \
                check_recipient_access inline:{{carol@test.example = REJECT}}\n\
                smtpd_data_restrictions = check_policy_service { $service }\n\
                smtpd_end_of_data_restrictions = check_policy_service { $service }\n";
    let Some(rig) = Rig::with_main(TEN, main) else { return };
    for _ in 0..2 {
        let mut client = rig.client();
        client.mail(ALICE).expect(250);
        client.rcpt(BOB).expect(250);
        client.rcpt(CAROL).expect(554);
        client.data(MAIL).expect(250);
    }
    expect_left(&rig, 8);
}

/// Nothing tells the end: what was let through is charged, not given back.
#[test]
fn with_delegation_at_rcpt_alone_all_is_charged() {
    let main = "smtpd_milters =\nsmtpd_data_restrictions =\nsmtpd_end_of_data_restrictions =\n";
    let Some(rig) = Rig::with_main(TEN, main) else { return };
    for _ in 0..3 {
        rig.client().envelope(ALICE, &[BOB, CAROL]);
    }
    expect_left(&rig, 4);
}
