//! What is remembered of mail, on a real Postfix: who has come back, and how many
//! different values a key has shown.

use crate::rig::*;
use std::thread;
use std::time::Duration;
use std::time::Instant;

const GREYLIST: &str = r#"
rules:
  - {name: wait, when: {greylist: {delay: 2s}}, then: {defer_if_permit: "4.2.0 try again in {retry_after}"}}
"#;

const SENDERS: &str = r#"
rules:
  - {name: senders, when: {distinct: {key: client_address/8, count: sender, limits: [10/1h]}}, then: {defer: "4.7.1 {used} senders of {key}"}}
  - {name: never, when: {recipient: never@}, then: {reject: "5.7.1 never"}}
"#;

/// A session of a client at this address, with this verified name.
fn client(rig: &Rig, address: &str, name: &str) -> Smtp {
    let mut client = rig.client();
    client.say(&format!("XCLIENT NAME={name} ADDR={address} PORT=1000")).expect(220);
    client.say("EHLO mail.sender.example").expect(250);
    client.mail(ALICE).expect(250);
    client
}

/// Also where several restriction lists ask about the same recipient.
#[test]
fn a_mail_is_deferred_and_accepted_when_it_comes_back() {
    let main = "smtpd_sender_restrictions = check_policy_service { $service }\n";
    let Some(rig) = Rig::with_main(GREYLIST, main) else { return };
    let began = Instant::now();
    let mut first = client(&rig, "198.51.100.7", "[UNAVAILABLE]");
    first.rcpt(BOB).expect_text(450, "4.2.0");
    first.rcpt(BOB).expect_text(450, "try again in ");
    drop(first);
    // A neighbour of the same /24 has the same mail.
    until("the mail is let in", || {
        let answer = client(&rig, "198.51.100.8", "[UNAVAILABLE]").rcpt(BOB);
        (answer.code == 250).then_some(())
    });
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    let mut again = client(&rig, "198.51.100.7", "[UNAVAILABLE]");
    again.rcpt(BOB).expect(250);
    again.rcpt(CAROL).expect(450);
    again.data(MAIL).expect(250);
    client(&rig, "198.51.101.7", "[UNAVAILABLE]").rcpt(BOB).expect(450);
    let entries =
        |table: &str| rig.gatepost.metric("gatepost_table_entries", &[&format!("table=\"{table}\"")]);
    assert_eq!(entries("greylist_proved"), Some(1.0));
    assert_eq!(entries("greylist_networks"), Some(1.0));
    assert_eq!(entries("greylist_waiting"), Some(2.0));
}

#[test]
fn another_host_of_the_pool_brings_the_mail() {
    let Some(rig) = Rig::start(GREYLIST) else { return };
    client(&rig, "198.51.100.7", "out1.pool.example").rcpt(BOB).expect(450);
    until("the mail is let in", || {
        let answer = client(&rig, "203.0.113.9", "out2.pool.example").rcpt(BOB);
        (answer.code == 250).then_some(())
    });
    client(&rig, "203.0.113.9", "out2.other.example").rcpt(BOB).expect(450);
}

#[test]
fn an_operator_lets_a_pool_pass() {
    let Some(rig) = Rig::start(&GREYLIST.replace("2s", "1h")) else { return };
    let run = |words: &[&str]| rig.gatepost.command(words);
    for (address, name, pool) in [
        ("198.51.100.7", "[UNAVAILABLE]", "198.51.100.99"),
        ("203.0.113.9", "out2.pool.example", "Pool.example"),
    ] {
        client(&rig, address, name).rcpt(BOB).expect_text(450, "try again in ");
        assert_eq!(run(&["greylist", "pass", pool]).0, 0);
        client(&rig, address, name).rcpt(BOB).expect(250);
        client(&rig, "192.0.2.7", name).rcpt(CAROL).expect(if name == "out2.pool.example" {
            250
        } else {
            450
        });
    }
    rig.gatepost.wait_log("its greylisted mail is let pass by the operator");
    let (code, _, said) = run(&["greylist", "pass", ALICE]);
    assert!(code == 3 && said.contains("is no pool: an address, its /24 or /64, or a domain"), "{said}");
    let Some(rig) = Rig::start(SENDERS) else { return };
    let (code, _, said) = rig.gatepost.command(&["greylist", "pass", "192.0.2.7"]);
    assert!(code == 1 && said.contains("no rule greylists"), "{said}");
}

#[test]
fn sessions_at_once_show_as_many_values_as_allowed() {
    let Some(rig) = Rig::start(SENDERS) else { return };
    let port = rig.postfix.ports.mx;
    let sessions: Vec<_> = (1..=40)
        .map(|number| {
            thread::spawn(move || {
                let mut client = Smtp::greeted_from(&format!("127.0.1.{number}"), port);
                client.mail(&format!("a{number}@sender.example")).expect(250);
                let answer = client.rcpt(BOB);
                let accepted = answer.code == 250;
                if accepted {
                    client.data(MAIL).expect(250);
                } else {
                    answer.expect_text(450, "11 senders of 127.0.0.0/8");
                }
                accepted.then_some(number)
            })
        })
        .collect();
    let accepted: Vec<i32> = sessions.into_iter().filter_map(|session| session.join().unwrap()).collect();
    assert_eq!(accepted.len(), 10);
    // Who was let through is again, with as many recipients as he likes; a new one is not.
    let mut known = rig.client();
    known.envelope(&format!("A{}+x@Sender.example", accepted[0]), &[BOB, CAROL]);
    let mut new = rig.client();
    new.mail("new@sender.example").expect(250);
    new.rcpt(BOB).expect_text(450, "11 senders");
    let shown = rig.gatepost.command(&["limits", "show", "127.0.0.0/8"]).1;
    assert!(shown.starts_with("127.0.0.0/8 used=10 allowed=10 window=10/1h next="), "{shown}");
    assert!(shown.ends_with(" rules=senders\n"), "{shown}");
    assert_eq!(rig.gatepost.command(&["limits", "reset", "127.0.0.0/8"]).0, 0);
    new.rcpt(CAROL).expect(250);
}

#[test]
fn what_is_refused_shows_nothing() {
    let Some(rig) = Rig::start(SENDERS) else { return };
    for number in 0..20 {
        let mut client = rig.client();
        client.mail(&format!("refused{number}@sender.example")).expect(250);
        client.rcpt("never@test.example").expect(554);
    }
    for number in 0..10 {
        rig.client().deliver(&format!("a{number}@sender.example"), &[BOB], MAIL).expect(250);
    }
    let mut client = rig.client();
    client.mail("new@sender.example").expect(250);
    client.rcpt(BOB).expect_text(450, "11 senders");
}
