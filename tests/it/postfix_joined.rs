//! Both protocols see one transaction: what rules at `rcpt` found out, rules at
//! `message` know, on every way into Postfix.

use crate::rig::postfix::Ports;
use crate::rig::*;

/// Tags and points are given at `rcpt`, asked for with a header at `message`.
const RULES: &str = r#"
rules:
  - {name: friend, when: {sender: alice@sender.example}, then: {tag: friend}}
  - {name: point, when: {helo_name: client.example}, then: {score: 2}}
  - {name: person, when: {recipient: bob@test.example}, then: [{tag: person}, {score: 3}]}
  - {name: from-friend, when: {tag: friend, header: {Subject: present}}, then: {add_header: {X-Friend: "{client_address}"}}}
  - {name: for-person, when: {tag: {some: person}, header: {Subject: present}}, then: {add_header: {X-Person: "yes"}}}
  - {name: four, when: {score: {at_least: 4}, header: {Subject: present}}, then: {add_header: {X-Four: "{score}"}}}
  - {name: nine, when: {score: {at_least: 9}, header: {Subject: present}}, then: {reject: "5.7.1 {score} points"}}
"#;

#[track_caller]
fn is_joined(rig: &Rig, client_address: &str) {
    let message = rig.sink.message();
    assert_eq!(message.header("X-Friend"), [client_address]);
    assert_eq!(message.header("X-Person"), ["yes"]);
    // The message's points and its highest recipient's.
    assert_eq!(message.header("X-Four"), ["5"]);
}

#[test]
fn tags_and_points_of_rcpt_are_known_at_message() {
    let Some(rig) = Rig::start(RULES) else { return };
    rig.client().deliver(ALICE, &[CAROL, BOB], MAIL).expect(250);
    is_joined(&rig, "127.0.0.2");
}

#[test]
fn the_next_mail_of_a_session_starts_anew() {
    let Some(rig) = Rig::start(RULES) else { return };
    let mut client = rig.client();
    client.deliver(ALICE, &[BOB], MAIL).expect(250);
    client.deliver("eve@sender.example", &[CAROL], MAIL).expect(250);
    let second = rig.sink.messages(2).into_iter().find(|message| message.recipients == [CAROL]).unwrap();
    for name in ["X-Friend", "X-Person", "X-Four"] {
        assert!(second.header(name).is_empty(), "{name}");
    }
}

#[test]
fn a_transaction_given_up_leaves_nothing_behind() {
    let Some(rig) = Rig::start(RULES) else { return };
    let mut client = rig.client();
    client.envelope(ALICE, &[BOB]);
    client.say("RSET").expect(250);
    client.deliver("eve@sender.example", &[CAROL], MAIL).expect(250);
    assert!(rig.sink.message().header("X-Person").is_empty());
}

#[test]
fn a_recipient_that_was_refused_adds_nothing() {
    let rules = "rules:\n  - {name: no, when: {recipient: no@test.example}, then: {reject: 5.7.1 no}}\n\
                 \x20 - {name: all, when: {recipient: {every: bob@test.example}, header: {Subject: present}}, \
                 then: {add_header: {X-Only: bob}}}\n";
    let Some(rig) = Rig::start(rules) else { return };
    let mut client = rig.client();
    client.mail(ALICE).expect(250);
    client.rcpt("no@test.example").expect(554);
    client.rcpt(BOB).expect(250);
    client.data(MAIL).expect(250);
    assert_eq!(rig.sink.message().header("X-Only"), ["bob"]);
}

#[test]
fn over_unix_sockets() {
    let Some(rig) = Rig::with(RULES, Sockets::Unix, Setup::default()) else { return };
    rig.send(MAIL).expect(250);
    is_joined(&rig, "127.0.0.2");
}

#[test]
fn through_postscreen() {
    let Some(rig) = Rig::start(RULES) else { return };
    Smtp::greeted(rig.postfix.ports.postscreen).deliver(ALICE, &[BOB], MAIL).expect(250);
    is_joined(&rig, "127.0.0.2");
}

#[test]
fn behind_a_proxy() {
    let Some(rig) = Rig::start(RULES) else { return };
    let mut client = Smtp::connect(smtp::INSIDE, rig.postfix.ports.haproxy);
    client.send("PROXY TCP4 198.51.100.77 203.0.113.25 5566 25\r\n");
    client.read().expect(220);
    client.say("EHLO client.example").expect(250);
    client.deliver(ALICE, &[BOB], MAIL).expect(250);
    is_joined(&rig, "198.51.100.77");
}

#[test]
fn with_delay_reject_off() {
    let Some(rig) = Rig::start(RULES) else { return };
    Smtp::greeted(rig.postfix.ports.early).deliver(ALICE, &[BOB], MAIL).expect(250);
    is_joined(&rig, "127.0.0.2");
}

#[test]
fn after_xclient_with_and_without_ports() {
    for port in [
        "",
        " PORT=4321",
        " PORT=4321 DESTADDR=203.0.113.25 DESTPORT=587",
        " PORT=4321 DESTADDR=[UNAVAILABLE] DESTPORT=[UNAVAILABLE]",
    ] {
        let Some(rig) = Rig::start(RULES) else { return };
        let mut client = rig.client();
        client.say(&format!("XCLIENT NAME=spike.example ADDR=198.51.100.7{port}")).expect(220);
        client.say("EHLO client.example").expect(250);
        client.deliver(ALICE, &[BOB], MAIL).expect(250);
        is_joined(&rig, "198.51.100.7");
    }
}

#[test]
fn ten_sessions_at_once_are_not_mixed_up() {
    let rules = "rules:\n  - {name: a, when: {sender: a@sender.example}, then: {tag: a}}\n\
                 \x20 - {name: b, when: {sender: b@sender.example}, then: {tag: b}}\n\
                 \x20 - {name: is-a, when: {tag: a, header: {Subject: present}}, then: {add_header: {X-Is: a}}}\n\
                 \x20 - {name: is-b, when: {tag: b, header: {Subject: present}}, then: {add_header: {X-Is: b}}}\n";
    let Some(rig) = Rig::start(rules) else { return };
    std::thread::scope(|scope| {
        for n in 0..10 {
            let rig = &rig;
            let sender = if n % 2 == 0 { "a@sender.example" } else { "b@sender.example" };
            scope.spawn(move || {
                let mut client = rig.client();
                for _ in 0..3 {
                    client.deliver(sender, &[BOB, CAROL], MAIL).expect(250);
                }
            });
        }
    });
    for message in rig.sink.messages(30) {
        assert_eq!(message.header("X-Is"), [&message.sender[..1]]);
    }
}

const A_OR_B: &str = r#"
rules:
  - {name: a, when: {sender: a@sender.example}, then: {tag: a}}
  - {name: b, when: {sender: b@sender.example}, then: {tag: b}}
  - {name: is-a, when: {tag: a, header: {Subject: present}}, then: {add_header: {X-Is: "a {server_port}"}}}
  - {name: is-b, when: {tag: b, header: {Subject: present}}, then: {add_header: {X-Is: "b {server_port}"}}}
"#;

/// Legal in TCP: one port of the client's for two of ours, at the same time.
#[test]
fn one_client_port_for_two_of_ours_is_two_sessions() {
    let Some(rig) = Rig::start(A_OR_B) else { return };
    let Ports { early, submission, .. } = rig.postfix.ports;
    let port = port::free();
    let [a, b] = [early, submission].map(|server| {
        let mut client = Smtp::connect_at(smtp::OUTSIDE, port, server);
        client.read().expect(220);
        client
    });
    are_two_sessions(&rig, a, b, [early, submission]);
}

/// The same behind a proxy, which hands on what its client connected to.
#[test]
fn one_client_port_for_two_ports_of_the_proxy_is_two_sessions() {
    let Some(rig) = Rig::start(A_OR_B) else { return };
    let [a, b] = [25, 587].map(|server| {
        let mut client = Smtp::connect(smtp::INSIDE, rig.postfix.ports.haproxy);
        client.send(format!("PROXY TCP4 198.51.100.77 203.0.113.25 5566 {server}\r\n"));
        client.read().expect(220);
        client
    });
    are_two_sessions(&rig, a, b, [25, 587]);
}

/// Both go on by turns, and each mail is one, decided by what its own session said.
#[track_caller]
fn are_two_sessions(rig: &Rig, mut a: Smtp, mut b: Smtp, servers: [u16; 2]) {
    a.say("EHLO client.example").expect(250);
    b.say("EHLO client.example").expect(250);
    for round in 0..3 {
        a.mail("a@sender.example").expect(250);
        b.mail("b@sender.example").expect(250);
        if round == 1 {
            // The second of the two is the first to go on.
            b.rcpt(CAROL).expect(250);
        }
        a.rcpt(BOB).expect(250);
        b.rcpt(BOB).expect(250);
        a.say("DATA").expect(354);
        b.data(MAIL).expect(250);
        a.send(MAIL);
        a.say(".").expect(250);
    }
    // The end of one session is not that of the other.
    a.envelope("a@sender.example", &[BOB]);
    b.say("QUIT").expect(221);
    a.data(MAIL).expect(250);
    for message in rig.sink.messages(7) {
        let server = if message.sender.starts_with('a') { servers[0] } else { servers[1] };
        assert_eq!(message.header("X-Is"), [format!("{} {server}", &message.sender[..1])]);
    }
    rig.gatepost.wait_lines(7, "message accept .*seen_by=both");
    rig.gatepost.wait_lines(7, " message ");
}

#[test]
fn policy_context_names_the_service() {
    let rules = "rules:\n  - {name: here, when: {policy_context: submission}, then: {tag: mua}}\n\
                 \x20 - {name: show, when: {tag: mua, header: {Subject: present}}, then: {add_header: {X-Mua: \"yes\"}}}\n";
    let Some(rig) = Rig::start(rules) else { return };
    Smtp::greeted(rig.postfix.ports.submission).deliver(ALICE, &[BOB], MAIL).expect(250);
    rig.send(MAIL).expect(250);
    let marks: usize = rig.sink.messages(2).iter().map(|message| message.header("X-Mua").len()).sum();
    assert_eq!(marks, 1);
}
