//! Before-queue filters (`smtpd_proxy_filter`): one smtpd in front, asked by
//! policy, hands each mail over SMTP to another behind, where the milter is.

use crate::rig::*;

const RULES: &str = r#"
rules:
  - {name: no, when: {recipient: no@test.example}, then: {reject: 5.7.1 no such person}}
  - {name: mark, when: {recipient: mark@test.example}, then: {add_header: {X-Mark: "from {client_address}"}}}
  - {name: asked, when: {policy_context: submission}, then: {tag: asked}}
  - name: two-each
    when: {rate: {key: sender, limits: [2/1h]}}
    then: {defer_if_permit: "4.7.1 {used} of {allowed}"}
  - {name: end, when: {header: {Subject: present}}, then: {add_header: {X-End: "{sender} {client_address}"}}}
  - {name: end-asked, when: {tag: asked, header: {Subject: present}}, then: {add_header: {X-Asked: "yes"}}}
  - {name: end-no, when: {header: {Subject: no}}, then: {reject: 5.7.1 not this}}
"#;

struct Proxied {
    rig: Rig,
    front: u16,
}

/// `in_front` is said of the smtpd in front, beside the proxy's address. The one
/// behind has the milter, and asks nobody.
fn proxied(rules: &str, in_front: &str) -> Option<Proxied> {
    let (front, behind) = (port::free(), port::free());
    let master = format!(
        "127.0.0.1:{front} inet n - n - - smtpd -o smtpd_proxy_filter=127.0.0.1:{behind}\n\
         \x20 -o smtpd_recipient_restrictions=$ask_submission -o smtpd_data_restrictions=$ask_submission\n\
         \x20 -o smtpd_end_of_data_restrictions=$ask_submission {in_front}\n\
         127.0.0.1:{behind} inet n - n - - smtpd -o smtpd_authorized_xforward_hosts=127.0.0.0/8\n\
         \x20 -o smtpd_recipient_restrictions=permit_mynetworks,reject -o smtpd_data_restrictions=\n\
         \x20 -o smtpd_end_of_data_restrictions=\n"
    );
    Some(Proxied { rig: Rig::with(rules, Sockets::Inet, Setup { master, ..Setup::default() })?, front })
}

#[test]
fn each_side_of_a_proxy_is_decided_by_what_it_knows_and_charged_once() {
    for in_front in [
        "-o smtpd_milters=",
        "-o smtpd_milters= -o smtpd_proxy_options=speed_adjust",
        // A milter that hears of the envelope and never sees a content.
        "",
        "-o smtpd_delay_reject=no -o smtpd_sender_restrictions=$ask_submission",
    ] {
        let Some(Proxied { rig, front }) = proxied(RULES, in_front) else { return };
        let mut client = Smtp::greeted(front);
        client.mail(ALICE).expect(250);
        client.rcpt("no@test.example").expect_text(554, "no such person");
        client.rcpt("mark@test.example").expect(250);
        client.data(MAIL).expect(250);
        client.deliver(ALICE, &[BOB], &MAIL.replace("an ordinary mail", "no")).expect_text(554, "not this");
        client.mail(ALICE).expect(250);
        client.rcpt(BOB).expect_text(450, "3 of 2");
        client.say("RSET").expect(250);
        client.deliver("carl@sender.example", &[BOB, CAROL], MAIL).expect(250);
        client.say("QUIT").expect(221);
        for message in rig.sink.messages(2) {
            let marks: &[&str] = if message.sender == ALICE { &["from 127.0.0.2"] } else { &[] };
            assert_eq!(message.header("X-Mark"), marks, "{in_front}");
            // Behind, the client is the smtpd in front.
            assert_eq!(message.header("X-End"), [format!("{} 127.0.0.1", message.sender)]);
            assert!(message.header("X-Asked").is_empty(), "{in_front}");
        }
        // In front it ends with END-OF-MESSAGE, whatever the one behind says then.
        rig.gatepost.wait_lines(3, "message accept .*client=127.0.0.2 .*size=");
        rig.gatepost.wait_lines(2, "message accept .*client=127.0.0.1 .*seen_by=milter");
        rig.gatepost.wait_lines(1, "message reject .*client=127.0.0.1 .*seen_by=milter");
        rig.gatepost.wait_lines(1, "message aborted ");
        assert_eq!(rig.postfix.count_log("warning: "), 0, "{in_front}");
    }
}

#[test]
fn bytes_are_charged_in_front_of_a_proxy() {
    let rules = "rules:\n  - name: bytes\n    when: {policy_context: submission, rate: {key: sender, count: bytes, \
                 limits: [520/1h strict]}}\n    then: {defer: 4.7.1 enough}\n";
    let Some(Proxied { rig, front }) = proxied(rules, "") else { return };
    let mut client = Smtp::greeted(front);
    client.deliver(ALICE, &[BOB], MAIL).expect(250);
    client.say(&format!("MAIL FROM:<{ALICE}> SIZE=500")).expect(250);
    client.rcpt(BOB).expect_text(450, "enough");
    rig.sink.message();
}

/// A proxy may pretend, by XCLIENT, to be the client it has; its session and the
/// client's own are two all the same.
#[test]
fn a_proxy_that_pretends_to_be_its_client_has_a_session_of_its_own() {
    let Some(rig) = Rig::start(RULES) else { return };
    let port = port::free();
    let mut client = Smtp::connect_at(smtp::OUTSIDE, port, rig.postfix.ports.mx);
    client.read().expect(220);
    client.say("EHLO client.example").expect(250);
    client.envelope(ALICE, &[BOB]);
    let mut proxy = Smtp::greeted_from(smtp::INSIDE, rig.postfix.ports.submission);
    proxy.say(&format!("XCLIENT NAME=client.example ADDR=127.0.0.2 PORT={port}")).expect(220);
    proxy.say("EHLO client.example").expect(250);
    proxy.deliver("carl@sender.example", &[BOB], MAIL).expect(250);
    client.data(MAIL).expect(250);
    for message in rig.sink.messages(2) {
        let asked: &[&str] = if message.sender == ALICE { &[] } else { &["yes"] };
        assert_eq!(message.header("X-Asked"), asked);
    }
    rig.gatepost.wait_lines(2, "message accept .*client=127.0.0.2 .*seen_by=both");
}
