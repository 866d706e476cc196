//! Mail of which one protocol sees less than usual: by Postfix's settings, or by
//! what an older milter protocol can say.

use crate::rig::*;

const RULES: &str = r#"
rules:
  - {name: no, when: {recipient: no@test.example}, then: {reject: 5.7.1 no such person}}
  - {name: person, when: {recipient: bob@test.example}, then: {tag: person}}
  - {name: data, stage: data, when: {recipient_count: {over: 2}}, then: {reject: 5.5.3 too many}}
  - {name: end, when: {header: {Subject: present}}, then: {add_header: {X-End: "{recipient_count} and {refused_recipients}"}}}
  - {name: both, when: {tag: {some: person}, header: {Subject: present}}, then: {add_header: {X-Both: "yes"}}}
  - {name: change, when: {header: {X-Old: present}}, then: {change_header: {X-Old: "was {old}"}}}
  - {name: end-no, when: {header: {Subject: no}}, then: {reject: 5.7.1 not this}}
  - {name: bye, when: {header: {Subject: bye}}, then: {defer: 421 4.7.0 come back later}}
"#;

fn mail(subject: &str) -> String {
    format!("Subject: {subject}\r\nX-Old:  two blanks\r\n folded\r\n\r\nHello.\r\n")
}

#[test]
fn a_client_for_whom_the_milter_is_switched_off() {
    let main = "smtpd_milter_maps = inline:{127.0.0.2=DISABLE}\n";
    let Some(rig) = Rig::with_main(RULES, main) else { return };
    let mut client = rig.client();
    for _ in 0..2 {
        client.mail(ALICE).expect(250);
        client.rcpt("no@test.example").expect(554);
        client.rcpt(BOB).expect(250);
        client.data(&mail("hello")).expect(250);
    }
    rig.gatepost.wait_lines(2, "message accept .*recipients=1 refused=1 .*seen_by=policy");
    assert!(rig.sink.messages(2)[0].header("X-End").is_empty());
}

#[test]
fn delegation_that_is_asked_at_data_alone() {
    let main = "smtpd_recipient_restrictions =\nsmtpd_end_of_data_restrictions =\n";
    let Some(rig) = Rig::with_main(RULES, main) else { return };
    let mut client = rig.client();
    client.envelope(ALICE, &[BOB, CAROL, "no@test.example"]);
    client.say("DATA").expect_text(554, "too many");
    client.say("RSET").expect(250);
    client.deliver(ALICE, &[BOB, CAROL], &mail("hello")).expect(250);
    assert_eq!(rig.sink.message().header("X-End"), ["2 and 0"]);
    rig.gatepost.wait_lines(1, "message accept .*recipients=2 .*seen_by=both");
}

/// Postfix asks delegation at END-OF-MESSAGE all the same, and the milter sees no
/// more than DATA.
#[test]
fn mail_that_header_checks_refuse_leaves_the_session_in_order() {
    let main = "header_checks = inline:{{X-Bad:yes = REJECT bad header}}\n";
    let Some(rig) = Rig::with_main(RULES, main) else { return };
    let mut client = rig.client();
    client.deliver(ALICE, &[BOB], &format!("X-Bad:yes\r\n{}", mail("hello"))).expect_text(550, "bad header");
    client.deliver("eve@sender.example", &[CAROL], &mail("hello")).expect(250);
    client.deliver(ALICE, &[BOB], &mail("no")).expect_text(554, "not this");
    client.deliver(ALICE, &[BOB, CAROL], &mail("hello")).expect(250);
    for message in rig.sink.messages(2) {
        let (end, both): (&str, &[&str]) =
            if message.sender == ALICE { ("2 and 0", &["yes"]) } else { ("1 and 0", &[]) };
        assert_eq!((message.header("X-End"), message.header("X-Both")), (vec![end], both.to_vec()));
    }
    rig.gatepost.wait_lines(1, "message aborted .*from=alice@sender.example .*seen_by=both");
}

/// Without DATA (2 to 3), without a choice of macros, refused recipients and
/// leading blanks (2 to 4): less is known, and nothing is mixed up.
#[test]
fn older_milter_protocols_join_and_decide() {
    if skipped() {
        return;
    }
    for protocol in [2, 3, 4, 6] {
        let (sink, gatepost) =
            (Sink::start(), Gatepost::start(&[("10-test.yaml", RULES)], "", Sockets::Inet));
        let main = format!("smtpd_milters = {{ {}, protocol={protocol} }}\n", gatepost.milter);
        let (policy, next_hop) = (Some(gatepost.policy.clone()), sink.port);
        let postfix = Postfix::start(Setup { policy, next_hop, main, ..Setup::default() });
        let rig = Rig { postfix, gatepost, sink };
        for port in [rig.postfix.ports.mx, rig.postfix.ports.early] {
            let mut client = Smtp::greeted(port);
            client.mail(ALICE).expect(250);
            client.rcpt("no@test.example").expect(554);
            client.rcpt(BOB).expect(250);
            client.data(&mail("hello")).expect(250);
            client.deliver("eve@sender.example", &[CAROL, "dave@test.example"], &mail("hello")).expect(250);
            client.deliver(ALICE, &[BOB], &mail("no")).expect_text(554, "not this");
        }
        for message in rig.sink.messages(4) {
            let (end, both): (&str, &[&str]) =
                if message.sender == ALICE { ("1 and 1", &["yes"]) } else { ("2 and 0", &[]) };
            assert_eq!(message.header("X-End"), [end], "protocol {protocol}");
            assert_eq!(message.header("X-Both"), both, "protocol {protocol}");
            assert_eq!(message.header("X-Old"), ["was two blanks folded"], "protocol {protocol}");
        }
        rig.gatepost.wait_lines(4, "message accept .*seen_by=both");
        assert_eq!(rig.postfix.count_log("warning: "), 0, "protocol {protocol}");
    }
}

#[test]
fn code_421_at_the_end_of_a_message_hangs_up() {
    let Some(rig) = Rig::start(RULES) else { return };
    let mut client = rig.client();
    client.deliver(ALICE, &[BOB], &mail("bye")).expect_text(421, "come back later");
    assert!(client.is_hung_up());
    rig.gatepost.wait_lines(1, "message defer .*rule=bye");
    rig.send(&mail("hello")).expect(250);
    assert_eq!(rig.sink.message().header("X-Both"), ["yes"]);
}

/// Where Postfix does not know the client's port, the smtpd's process is the key.
#[test]
fn without_a_port_the_process_joins_over_unix_sockets() {
    let Some(rig) = Rig::with(RULES, Sockets::Unix, Setup::default()) else { return };
    // The second session is most likely of the same process, and of the same client.
    for recipients in [[BOB, CAROL], [CAROL, CAROL]] {
        let mut client = rig.client();
        client.say("XCLIENT ADDR=198.51.100.7 PORT=[UNAVAILABLE]").expect(220);
        client.say("EHLO client.example").expect(250);
        for recipient in recipients {
            client.deliver(ALICE, &[recipient], &mail("hello")).expect(250);
        }
        client.say("QUIT").expect(221);
    }
    for message in rig.sink.messages(4) {
        let both: &[&str] = if message.recipients == [BOB] { &["yes"] } else { &[] };
        assert_eq!(message.header("X-Both"), both);
    }
    rig.gatepost.wait_lines(4, "message accept .*client=198.51.100.7 .*seen_by=both");
}

/// Delegation tells addresses in internal form, the milter as they were written:
/// each recipient is one.
#[test]
fn recipients_written_oddly_are_counted_once() {
    let Some(rig) = Rig::start(RULES) else { return };
    let mut client = rig.client();
    client.mail("\"A B\"@Sender.Example").expect(250);
    for recipient in [
        "\"x y\"@test.example",
        "@relay.example:Carol+Ext@TEST.example",
        "\"bob\"@test.example",
        "a\\ b@test.example",
    ] {
        client.rcpt(recipient).expect(250);
    }
    client.say("DATA").expect_text(554, "too many");
    for recipient in ["\"x y\"@test.example", "@relay.example:Carol+Ext@TEST.example", "\"bob\"@test.example"]
    {
        client.say("RSET").expect(250);
        client.mail("\"A B\"@Sender.Example").expect(250);
        client.rcpt("\"no\"@test.example").expect(554);
        client.rcpt(recipient).expect(250);
        client.rcpt(recipient).expect(250);
        client.data(&mail("hello")).expect(250);
    }
    for message in rig.sink.messages(3) {
        assert_eq!(message.header("X-End"), ["1 and 1"], "{:?}", message.recipients);
    }
}
