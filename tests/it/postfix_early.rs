//! `smtpd_delay_reject = no`: delegation is asked at CONNECT, HELO and MAIL, when
//! Postfix itself does not know everything yet and takes fewer answers.

use crate::rig::*;

fn no_warning(rig: &Rig) {
    assert_eq!(rig.postfix.count_log("(warning|error|fatal|panic): "), 0);
    assert_eq!(rig.gatepost.count_log(" (warn|error) "), 0);
}

/// Postfix says SMTP until it has answered the greeting, whichever it was.
#[test]
fn a_greeting_tells_the_protocol() {
    let rules = "rules:\n  - {name: none, stage: helo, when: {protocol_name: smtp, helo_name: new.example}, then: {reject: 5.7.1 no}}\n\
                 \x20 - {name: old, when: {protocol_name: smtp}, then: {tag: old}}\n\
                 \x20 - {name: new, when: {protocol_name: esmtp}, then: {tag: new}}\n\
                 \x20 - {name: is-old, when: {tag: old, header: {Subject: present}}, then: {add_header: {X-Is: old}}}\n\
                 \x20 - {name: is-new, when: {tag: new, header: {Subject: present}}, then: {add_header: {X-Is: new}}}\n";
    let Some(rig) = Rig::start(rules) else { return };
    for port in [rig.postfix.ports.early, rig.postfix.ports.mx] {
        for (greeting, sender) in
            [("HELO again.example", "old@sender.example"), ("EHLO again.example", "new@sender.example")]
        {
            let mut client = Smtp::connect(smtp::OUTSIDE, port);
            client.read().expect(220);
            // A client whose first greeting was refused may say HELO, then EHLO.
            client.say("HELO again.example").expect(250);
            client.envelope(sender, &[BOB]);
            client.say("RSET").expect(250);
            client.say(greeting).expect(250);
            client.deliver(sender, &[BOB], MAIL).expect(250);
        }
        let mut client = Smtp::connect(smtp::OUTSIDE, port);
        client.read().expect(220);
        client.say("EHLO new.example").expect(250);
        client.deliver("new@sender.example", &[BOB], MAIL).expect(250);
    }
    for message in rig.sink.messages(6) {
        assert_eq!(message.header("X-Is"), [&message.sender[..3]]);
    }
    no_warning(&rig);
}

/// At HELO the name comes raw, later with `?` for what is odd in it: it is one
/// greeting all the same, and one name for the rules.
#[test]
fn an_odd_greeting_is_one_name_throughout() {
    let rules = r#"
rules:
  - {name: odd, stage: helo, when: {helo_name: '/^foo\?bar\?x\?$/'}, then: [{tag: odd}, {score: 2}]}
  - {name: raw, stage: helo, when: {helo_name: '/[@(]/'}, then: {reject: 5.7.1 raw}}
  - {name: end, when: {tag: odd, helo_name: '/^foo\?bar\?x\?$/', header: {Subject: present}}, then: {add_header: {X-Helo: "{helo_name} {score}"}}}
"#;
    let Some(rig) = Rig::start(rules) else { return };
    for port in [rig.postfix.ports.early, rig.postfix.ports.mx] {
        let mut client = Smtp::connect(smtp::OUTSIDE, port);
        client.read().expect(220);
        client.say("EHLO foo@bar(x)").expect(250);
        for _ in 0..2 {
            client.deliver(ALICE, &[BOB], MAIL).expect(250);
        }
    }
    for message in rig.sink.messages(4) {
        assert_eq!(message.header("X-Helo"), ["foo?bar?x? 2"]);
    }
}

/// What Postfix takes only from MAIL on is told from MAIL on.
#[test]
fn actions_on_the_message_wait_for_it() {
    for (action, what) in [
        ("{add_header: {X-Mark: \"yes\"}}", "mark"),
        ("{hold: a person will look}", "hold"),
        ("discard", "discard"),
        ("{redirect: archive@test.example}", "redirect"),
        ("{bcc: archive@test.example}", "bcc"),
    ] {
        for stage in ["connect", "helo"] {
            let rules = format!(
                "rules:\n  - {{name: early, stage: {stage}, when: {{client_address: 127.0.0.2}}, then: {action}}}\n"
            );
            let Some(rig) = Rig::start(&rules) else { return };
            let mut client = Smtp::greeted(rig.postfix.ports.early);
            client.deliver(ALICE, &[BOB, CAROL], MAIL).expect(250);
            match what {
                "mark" => assert_eq!(rig.sink.message().header("X-Mark"), ["yes"]),
                "hold" => _ = rig.postfix.held(),
                "discard" => {
                    rig.postfix.wait_log(": discard: ");
                    rig.postfix.wait_empty();
                    assert_eq!(rig.sink.count(), 0);
                    rig.gatepost.wait_lines(1, "message discard ");
                    // Postfix shows what it throws away to the milter for sendmail(1).
                    rig.gatepost.wait_log("message .*client_name=localhost .*direction=local ");
                }
                "redirect" => assert_eq!(rig.sink.message().recipients, ["archive@test.example"]),
                _ => _ = rig.postfix.wait_log("to=<archive@test.example>.*status=sent"),
            }
            no_warning(&rig);
        }
    }
}
