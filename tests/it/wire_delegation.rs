//! The policy port alone, byte for byte: what Postfix of any version sends, what
//! others might, and that each answer is one that Postfix takes as it is meant.

use crate::rig::delegation::request;
use crate::rig::delegation::without_id;
use crate::rig::*;
use std::net::Shutdown;
use std::net::TcpStream;

const RULES: &str = r#"
rules:
  - {name: no, when: {recipient: no@test.example}, then: {reject: "5.7.1 {sender} may not"}}
  - {name: helo, when: {helo_name: bad.example}, then: {reject: "5.7.1 bad name"}}
  - {name: bare, when: {recipient: bare@test.example}, then: {reject: "5.7.26"}}
  - {name: sure, when: {recipient: sure@test.example}, then: {reject: "5.7.1 100% sure %s {sender}"}}
  - {name: mark, when: {recipient: mark@test.example}, then: {add_header: {X-Mark: "{sender}"}}}
  - name: three
    when: {rate: {key: client_address, limits: [3/1h]}}
    then: {defer_if_permit: "4.7.1 {used} of {allowed}"}
"#;

fn started() -> Gatepost {
    Gatepost::start(&[("10-test.yaml", RULES)], "", Sockets::Inet)
}

#[test]
fn every_protocol_state_is_answered_and_only_mail_is_decided() {
    let gatepost = started();
    let mut policy = Delegation::connect(&gatepost.policy);
    let refused = "554 5.7.1 alice@sender.example may not";
    for (state, expected) in [
        ("RCPT", refused),
        ("CONNECT", "DUNNO"),
        ("HELO", "DUNNO"),
        ("EHLO", "DUNNO"),
        ("MAIL", "DUNNO"),
        ("DATA", "DUNNO"),
        ("END-OF-MESSAGE", "DUNNO"),
        ("VRFY", "DUNNO"),
        ("ETRN", "DUNNO"),
        ("XCLIENT", "DUNNO"),
        ("BDAT", "DUNNO"),
        ("rcpt", "DUNNO"),
        ("", "DUNNO"),
        ("SOMETHING-OF-POSTFIX-4", "DUNNO"),
    ] {
        let answer = policy.asks(&[("protocol_state", state), ("recipient", "no@test.example")]);
        assert_eq!(answer, expected, "{state}");
    }
}

#[test]
fn vrfy_etrn_and_unknown_states_are_never_charged() {
    let gatepost = started();
    let mut policy = Delegation::connect(&gatepost.policy);
    for state in ["VRFY", "ETRN", "SOMETHING-OF-POSTFIX-4"] {
        for n in 0..10 {
            let instance = format!("1.2.3.{n}");
            assert_eq!(policy.asks(&[("protocol_state", state), ("instance", &instance)]), "DUNNO");
        }
    }
    for n in 0..3 {
        assert_eq!(policy.asks(&[("instance", &format!("1.2.4.{n}"))]), "DUNNO");
    }
    assert_eq!(policy.asks(&[("instance", "1.2.5.0")]), "DEFER_IF_PERMIT 4.7.1 4 of 3");
}

#[test]
fn bytes_that_were_not_announced_are_charged_at_the_end_of_the_message() {
    let rules = r#"
rules:
  - name: bytes
    when: {rate: {key: sender, count: bytes, limits: [10K/1h strict]}}
    then: {defer: "4.7.1 {used} of {allowed}"}
"#;
    let gatepost = Gatepost::start(&[("10-test.yaml", rules)], "", Sockets::Inet);
    let mut policy = Delegation::connect(&gatepost.policy);
    let end = ("protocol_state", "END-OF-MESSAGE");
    for (mail, announced, size, expected) in [
        ("0", "0", "5000", "DUNNO"),
        ("1", "3000", "4000", "DUNNO"),
        // What was announced is charged though less came.
        ("2", "300", "200", "DUNNO"),
        ("3", "941", "", "450 4.7.1 10241 of 10240"),
        ("4", "940", "940", "DUNNO"),
    ] {
        let instance = format!("1.2.3.{mail}");
        let mail = [("instance", instance.as_str()), ("size", announced)];
        let answer = policy.asks(&mail);
        assert_eq!(answer.strip_prefix("DEFER ").unwrap_or(&answer), expected, "{announced}");
        if expected == "DUNNO" {
            // Another recipient is no other message, and the end may be told twice.
            assert_eq!(policy.asks(&[mail[0], mail[1], ("recipient", "carol@test.example")]), "DUNNO");
            for _ in 0..2 {
                assert_eq!(policy.asks(&[mail[0], ("size", size), end]), "DUNNO");
            }
        }
    }
}

#[test]
fn requests_of_old_new_and_odd_senders_are_decided() {
    let gatepost = started();
    let mut policy = Delegation::connect(&gatepost.policy);
    let old = "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=SMTP\nclient_address=192.0.2.9\n\
               client_name=unknown\nhelo_name=a=b\nqueue_id=\ninstance=1.2.3.0\nsender=a@sender.example\n";
    let no = "recipient=no@test.example\n\n";
    let refused = "554 5.7.1 a@sender.example may not";
    for (what, request, expected) in [
        ("postfix 2.1", format!("{old}{no}"), refused),
        ("another recipient", format!("{old}recipient=x@test.example\n\n"), "DUNNO"),
        ("the first of two counts", format!("{old}recipient=no@test.example\nrecipient=x@test.example\n\n"), refused),
        ("unknown attributes", format!("{old}future=1\n=\nno equals sign\n{no}"), refused),
        ("no client_address", request(&[("client_address", ""), ("recipient", "no@test.example"), ("sender", "a@sender.example")]), refused),
        ("a port that is none", request(&[("client_port", "99999"), ("recipient", "no@test.example"), ("sender", "a@sender.example")]), refused),
        ("no instance, no port", "request=smtpd_access_policy\nprotocol_state=RCPT\nsender=a@sender.example\nrecipient=no@test.example\n\n".to_owned(), refused),
        ("nothing but the request", "request=smtpd_access_policy\n\n".to_owned(), "DUNNO"),
        ("another protocol", "request=junk\n\n".to_owned(), "DUNNO"),
        ("nothing", "\n".to_owned(), "DUNNO"),
        ("lines end with CRLF", format!("{old}{no}").replace('\n', "\r\n"), refused),
    ] {
        assert_eq!(policy.ask(&request), expected, "{what}");
    }
}

#[test]
fn whatever_the_sender_is_called_the_answer_is_one_clean_line() {
    let gatepost = started();
    let mut policy = Delegation::connect(&gatepost.policy);
    let long = "a".repeat(3000);
    for (n, sender) in [
        &b"a\xff\xfe@sender.example"[..],
        b"a\rb@x",
        b"a\x00b@x",
        "jörg@x".as_bytes(),
        long.as_bytes(),
        b"%n%s@x",
        b"{recipient}@x",
        b"",
    ]
    .into_iter()
    .enumerate()
    {
        let mut bytes =
            request(&[("recipient", "no@test.example"), ("instance", &format!("1.2.3.{n}"))]).into_bytes();
        let at = bytes.windows(7).position(|window| window == b"sender=").unwrap();
        bytes.splice(at + 7..at + 7 + "alice@sender.example".len(), sender.iter().copied());
        policy.send(bytes);
        let answer = without_id(policy.answer().unwrap());
        assert!(
            answer.starts_with("554 5.7.1 ") && answer.ends_with("may not") || answer.len() > 400,
            "{answer}"
        );
        assert!(answer.len() <= 450 + "554 5.7.1 ".len(), "{}", answer.len());
        assert!(!answer.contains("no@test.example"), "{answer}");
    }
}

#[test]
fn an_enhanced_code_is_always_followed_by_text() {
    let gatepost = started();
    let mut policy = Delegation::connect(&gatepost.policy);
    let answer = policy.asks(&[("recipient", "bare@test.example")]);
    let text = answer.strip_prefix("554 5.7.26 ").unwrap();
    assert!(text.len() > 3, "{answer}");
}

#[test]
fn a_percent_sign_stays_what_it_is() {
    let gatepost = started();
    let mut policy = Delegation::connect(&gatepost.policy);
    let answer = policy.asks(&[("recipient", "sure@test.example"), ("sender", "50%off@sender.example")]);
    assert_eq!(answer, "554 5.7.1 100% sure %s 50%off@sender.example");
}

#[test]
fn a_request_made_again_is_answered_the_same_and_charged_once() {
    let gatepost = started();
    let mut first = Delegation::connect(&gatepost.policy);
    let marked = [("recipient", "mark@test.example")];
    assert_eq!(first.asks(&marked), "PREPEND X-Mark: alice@sender.example");
    // On a connection beside it another restriction list asks: told once is enough.
    assert_eq!(Delegation::connect(&gatepost.policy).asks(&marked), "DUNNO");
    // After a timeout Postfix gives the connection up and asks on another, and may again.
    drop(first);
    for _ in 0..5 {
        until("the same answer", || {
            let mut again = Delegation::connect(&gatepost.policy);
            (again.asks(&marked) == "PREPEND X-Mark: alice@sender.example").then_some(())
        });
    }
    let mut first = Delegation::connect(&gatepost.policy);
    assert_eq!(first.asks(&[("recipient", "two@test.example")]), "DUNNO");
    assert_eq!(first.asks(&[("recipient", "three@test.example")]), "DUNNO");
    let fourth = request(&[("recipient", "four@test.example")]);
    first.send(&fourth);
    let refused = first.answer().unwrap();
    assert!(refused.starts_with("DEFER_IF_PERMIT 4.7.1 4 of 3"), "{refused}");
    // Even the id is the same: it is one decision.
    let mut again = Delegation::connect(&gatepost.policy);
    again.send(&fourth);
    assert_eq!(again.answer().unwrap(), refused);
}

#[test]
fn without_port_or_with_one_of_zero_transactions_are_told_apart_by_instance() {
    let gatepost = started();
    for port in ["unknown", "0", "", "70000"] {
        let client = format!("198.51.100.{}", port.len());
        for instance in ["a1.1.1.0", "b2.1.1.0", "a1.1.1.0", "b2.1.1.0"] {
            // Asked again it costs nothing, so three are never reached.
            let asked = [("client_port", port), ("client_address", &*client), ("instance", instance)];
            assert_eq!(Delegation::connect(&gatepost.policy).asks(&asked), "DUNNO", "port `{port}`");
        }
    }
}

#[test]
fn two_requests_in_one_packet_get_two_answers_in_order() {
    let gatepost = started();
    let mut policy = Delegation::connect(&gatepost.policy);
    policy.send(
        request(&[])
            + &request(&[("recipient", "no@test.example")])
            + &request(&[("protocol_state", "VRFY")]),
    );
    let answers: Vec<_> = (0..3).map(|_| without_id(policy.answer().unwrap())).collect();
    assert_eq!(answers, ["DUNNO", "554 5.7.1 alice@sender.example may not", "DUNNO"]);
}

#[test]
fn a_client_that_only_half_closes_is_answered() {
    use std::io::Read as _;
    use std::io::Write as _;
    let gatepost = started();
    let mut stream = TcpStream::connect(gatepost::tcp_address(&gatepost.policy)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request(&[("recipient", "no@test.example")]).as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("action=554 5.7.1 alice@sender.example may not"), "{answer}");
}

#[test]
fn another_helo_in_the_session_is_judged_anew() {
    let gatepost = started();
    let mut policy = Delegation::connect(&gatepost.policy);
    let asked = |helo: &'static str, instance: &'static str| [("helo_name", helo), ("instance", instance)];
    assert_eq!(policy.asks(&asked("bad.example", "1.2.3.0")), "554 5.7.1 bad name");
    assert_eq!(policy.asks(&asked("good.example", "1.2.3.1")), "DUNNO");
    assert_eq!(policy.asks(&asked("bad.example", "1.2.3.2")), "554 5.7.1 bad name");
}

#[test]
fn steps_before_mail_have_no_instance_and_are_judged_at_once() {
    let rules = "rules:\n  - {name: helo, stage: helo, when: {helo_name: bad.example}, then: {reject: 5.7.1 bad name}}\n\
                 \x20 - {name: sender, stage: mail, when: {sender: bad@sender.example}, then: {reject: 5.7.1 bad sender}}\n";
    let gatepost = Gatepost::start(&[("10-test.yaml", rules)], "", Sockets::Inet);
    let mut policy = Delegation::connect(&gatepost.policy);
    let none = [("instance", ""), ("recipient", ""), ("sender", ""), ("protocol_name", "SMTP")];
    let step = |more: &[(&'static str, &'static str)]| [&none[..], more].concat();
    for (changes, expected) in [
        (step(&[("protocol_state", "CONNECT"), ("helo_name", "")]), "DUNNO"),
        (step(&[("protocol_state", "EHLO"), ("helo_name", "bad.example")]), "554 5.7.1 bad name"),
        (step(&[("protocol_state", "EHLO"), ("helo_name", "good.example")]), "DUNNO"),
        (step(&[("protocol_state", "MAIL"), ("sender", "bad@sender.example")]), "554 5.7.1 bad sender"),
        // The second MAIL of the session, on the same connection or another.
        (step(&[("protocol_state", "MAIL"), ("sender", "good@sender.example")]), "DUNNO"),
        (step(&[("protocol_state", "MAIL"), ("sender", "bad@sender.example")]), "554 5.7.1 bad sender"),
        (step(&[("protocol_state", "MAIL"), ("sender", "")]), "DUNNO"),
    ] {
        assert_eq!(policy.asks(&changes), expected, "{changes:?}");
    }
}
