//! Both protocols' sides of a session, in the orders that Postfix makes and a
//! test with the real one can't force: an ABORT that comes late, a port that is
//! used again, a milter that breaks off.

use crate::rig::*;
use std::time::Duration;
use std::time::Instant;

const RULES: &str = r#"
rules:
  - {name: alice, when: {sender: alice@sender.example}, then: {tag: alice}}
  - {name: eve, when: {sender: eve@sender.example}, then: {tag: eve}}
  - {name: swallow, when: {recipient: discard@test.example}, then: discard}
  - {name: from-alice, when: {tag: alice, header: {Subject: present}}, then: {add_header: {X-From: alice}}}
  - {name: from-eve, when: {tag: eve, header: {Subject: present}}, then: {add_header: {X-From: eve}}}
  - {name: asked, when: {policy_context: asked, header: {Subject: present}}, then: {add_header: {X-Asked: "yes"}}}
  - {name: count, when: {refused_recipients: {over: 0}, header: {Subject: present}}, then: {add_header: {X-Count: "{recipient_count} and {refused_recipients}"}}}
  - {name: friend, when: {sender: alice@sender.example}, then: accept}
"#;

const CLIENT: &str = "192.0.2.1:4321";
const FIRST: (&str, &str) = ("instance", "5b95.6b00f7ac.90922.0");
const SECOND: (&str, &str) = ("instance", "5b95.6b00f7ac.90922.1");
const ASKED: (&str, &str) = ("policy_context", "asked");

struct Both {
    gatepost: Gatepost,
    policy: Delegation,
    milter: Milter,
}

fn both() -> Both {
    let gatepost = Gatepost::start(&[("10-test.yaml", RULES)], "", Sockets::Inet);
    let policy = Delegation::connect(&gatepost.policy);
    let milter = Milter::of_client(&gatepost.milter, CLIENT);
    Both { gatepost, policy, milter }
}

impl Both {
    /// A whole mail seen from both sides; what was added to it.
    #[track_caller]
    fn mail(&mut self, sender: &str, instance: (&str, &str)) -> Vec<String> {
        assert_eq!(self.milter.mail(&format!("<{sender}>")), 'c');
        assert_eq!(self.policy.asks(&[("sender", sender), instance, ASKED]), "DUNNO");
        self.rest()
    }

    /// From the milter's RCPT on.
    #[track_caller]
    fn rest(&mut self) -> Vec<String> {
        assert_eq!(self.milter.rcpt(&format!("<{BOB}>")).kind, 'c');
        added(self.milter.message())
    }

    #[track_caller]
    fn wait_sessions(&self, count: f64) {
        until("the sessions to end", || {
            let entries = self.gatepost.metric("gatepost_table_entries", &["table=\"sessions\""]);
            (entries == Some(count)).then_some(())
        });
    }
}

/// `X-From|alice`, sorted; the mail itself must have been accepted, and never by
/// SMFIR_ACCEPT: other milters and the rest of our own rules shall see it.
#[track_caller]
fn added((edits, answer): (Vec<milter::Frame>, milter::Frame)) -> Vec<String> {
    assert_eq!(answer.kind, 'c', "{answer:?}");
    let mut added: Vec<_> = edits
        .iter()
        .map(|edit| {
            let payload = if edit.kind == 'i' { &edit.payload[4..] } else { &edit.payload };
            String::from_utf8_lossy(payload).trim_end_matches('\0').replace('\0', "|").replace("| ", "|")
        })
        .collect();
    added.sort();
    added
}

#[test]
fn one_mail_after_another() {
    let mut both = both();
    assert_eq!(both.mail(ALICE, FIRST), ["X-Asked|yes", "X-From|alice"]);
    both.milter.abort();
    assert_eq!(both.mail("eve@sender.example", SECOND), ["X-Asked|yes", "X-From|eve"]);
    both.milter.abort();
    both.milter.abort();
    assert_eq!(both.mail(ALICE, ("instance", "5b95.6b00f7ac.90922.2")), ["X-Asked|yes", "X-From|alice"]);
}

#[test]
fn bytes_that_were_not_announced_are_charged_when_the_milter_has_them() {
    let rules = r#"
rules:
  - {name: bytes, when: {rate: {key: sender, count: bytes, limits: [540/1h strict]}}, then: defer}
  - {name: bad, when: {header: {Subject: bad}}, then: reject}
  - {name: reads-the-body, when: {size: {over: 1M}}, then: reject}
"#;
    let gatepost = Gatepost::start(&[("10-test.yaml", rules)], "", Sockets::Inet);
    let mut policy = Delegation::connect(&gatepost.policy);
    let mut milter = Milter::of_client(&gatepost.milter, CLIENT);
    let body = format!("{}\r\nTwenty-five bytes are in.\r\n", "x".repeat(500));
    // Only a byte is charged of what is refused for its content.
    for (mail, subject, fits) in [(0, "bad", true), (1, "good", true), (2, "good", false)] {
        let instance = format!("5b95.6b00f7ac.90922.{mail}");
        assert_eq!(milter.mail(&format!("<{ALICE}>")), 'c');
        assert_eq!(policy.asks(&[("instance", &instance)]) == "DUNNO", fits, "{mail}");
        if fits {
            assert_eq!(milter.rcpt(&format!("<{BOB}>")).kind, 'c');
            milter.data();
            milter.content(&[("Subject", subject)], body.as_bytes());
            milter.end();
        }
        milter.abort();
    }
}

#[test]
fn an_abort_that_comes_after_the_next_request_ends_the_right_transaction() {
    let mut both = both();
    // smtpd_delay_reject=no: delegation hears of MAIL first.
    let early = |sender: &'static str| {
        [("protocol_state", "MAIL"), ("instance", ""), ("recipient", ""), ("sender", sender)]
    };
    assert_eq!(both.policy.asks(&early(ALICE)), "DUNNO");
    assert_eq!(both.milter.mail(&format!("<{ALICE}>")), 'c');
    assert_eq!(both.policy.asks(&[FIRST, ASKED]), "DUNNO");
    assert_eq!(both.milter.rcpt(&format!("<{BOB}>")).kind, 'c');
    // RSET, and the next MAIL: Postfix sends the buffered ABORT with the milter's MAIL.
    assert_eq!(both.policy.asks(&early("eve@sender.example")), "DUNNO");
    both.milter.abort();
    assert_eq!(both.milter.mail("<eve@sender.example>"), 'c');
    assert_eq!(both.policy.asks(&[("sender", "eve@sender.example"), SECOND, ASKED]), "DUNNO");
    assert_eq!(both.rest(), ["X-Asked|yes", "X-From|eve"]);
}

#[test]
fn after_discard_the_milter_hears_nothing_and_the_next_mail_is_clean() {
    let mut both = both();
    assert_eq!(both.milter.mail(&format!("<{ALICE}>")), 'c');
    let answer = both.policy.asks(&[("recipient", "discard@test.example"), FIRST]);
    assert!(answer.starts_with("DISCARD"), "{answer}");
    both.milter.abort();
    assert_eq!(both.mail("eve@sender.example", SECOND), ["X-Asked|yes", "X-From|eve"]);
}

#[test]
fn recipients_that_postfix_refused_are_told_and_counted() {
    let mut both = both();
    assert_eq!(both.milter.mail("<x@sender.example>"), 'c');
    // Refused behind delegation, by another restriction, and before it.
    assert_eq!(both.policy.asks(&[("sender", "x@sender.example"), FIRST]), "DUNNO");
    assert_eq!(both.milter.refused_rcpt(&format!("<{BOB}>")).kind, 'c');
    assert_eq!(both.milter.refused_rcpt("<nobody@test.example>").kind, 'c');
    assert_eq!(both.policy.asks(&[("sender", "x@sender.example"), ("recipient", CAROL), FIRST]), "DUNNO");
    assert_eq!(both.milter.rcpt(&format!("<{CAROL}>")).kind, 'c');
    assert_eq!(added(both.milter.message()), ["X-Count|1 and 2"]);
}

#[test]
fn ipv6_clients_are_joined() {
    let gatepost = Gatepost::start(&[("10-test.yaml", RULES)], "", Sockets::Inet);
    let policy = Delegation::connect(&gatepost.policy);
    let milter = Milter::of_client(&gatepost.milter, "[2001:db8::1]:4321");
    let mut both = Both { gatepost, policy, milter };
    assert_eq!(both.milter.mail(&format!("<{ALICE}>")), 'c');
    assert_eq!(both.policy.asks(&[("client_address", "2001:db8::1"), FIRST, ASKED]), "DUNNO");
    assert_eq!(both.rest(), ["X-Asked|yes", "X-From|alice"]);
}

#[test]
fn a_milter_that_breaks_off_takes_nothing_with_it() {
    let mut both = both();
    both.milter.mail(&format!("<{ALICE}>"));
    both.policy.asks(&[FIRST]);
    both.milter.rcpt(&format!("<{BOB}>"));
    both.milter.data();
    both.milter = Milter::of_client(&both.gatepost.milter, "192.0.2.2:1");
    both.wait_sessions(1.0);
    // Delegation goes on alone, and the next session of that port has no memory.
    assert_eq!(both.policy.asks(&[("recipient", CAROL), FIRST]), "DUNNO");
    assert_eq!(both.policy.asks(&[("protocol_state", "DATA"), ("recipient_count", "2"), FIRST]), "DUNNO");
    both.milter = Milter::of_client(&both.gatepost.milter, CLIENT);
    assert_eq!(
        both.mail("eve@sender.example", ("instance", "77.6b00f7ac.90922.0")),
        ["X-Asked|yes", "X-From|eve"]
    );
}

#[test]
fn a_port_that_is_used_again_begins_anew() {
    let gatepost = Gatepost::start(&[("10-test.yaml", RULES)], "", Sockets::Inet);
    let mut policy = Delegation::connect(&gatepost.policy);
    assert_eq!(policy.asks(&[FIRST, ASKED]), "DUNNO");
    // Another smtpd has the same client's next session, and a milter with it.
    let milter = Milter::of_client(&gatepost.milter, CLIENT);
    let mut both = Both { gatepost, policy, milter };
    assert_eq!(both.milter.mail("<eve@sender.example>"), 'c');
    assert_eq!(both.policy.asks(&[("sender", "eve@sender.example"), ("instance", "77.1.1.0")]), "DUNNO");
    assert_eq!(both.rest(), ["X-From|eve"]);
}

#[test]
fn mail_that_only_the_milter_sees_is_taken() {
    let mut both = both();
    assert_eq!(both.milter.mail("<x@sender.example>"), 'c');
    assert_eq!(both.rest(), [""; 0]);
    both.gatepost.wait_log("message accept .*seen_by=milter");
}

#[test]
fn mail_that_only_delegation_sees_is_told_at_its_end() {
    let gatepost = Gatepost::start(&[("10-test.yaml", RULES)], "", Sockets::Inet);
    let mut policy = Delegation::connect(&gatepost.policy);
    assert_eq!(policy.asks(&[FIRST]), "DUNNO");
    let queue = ("queue_id", "92F9E9C290F");
    let count = ("recipient_count", "1");
    assert_eq!(policy.asks(&[FIRST, queue, count, ("protocol_state", "DATA")]), "DUNNO");
    let end = [FIRST, queue, count, ("protocol_state", "END-OF-MESSAGE"), ("size", "1234")];
    assert_eq!(policy.asks(&end), "DUNNO");
    let line = gatepost.wait_log("message accept .*seen_by=policy");
    assert!(line.contains("queue_id=92F9E9C290F") && line.contains("size=1234"), "{line}");
    // Asked again it is not told again.
    assert_eq!(Delegation::connect(&gatepost.policy).asks(&end), "DUNNO");
    let end = [SECOND, ("queue_id", "92F9E9C2910"), count, ("protocol_state", "END-OF-MESSAGE")];
    assert_eq!(policy.asks(&[SECOND]), "DUNNO");
    assert_eq!(policy.asks(&end), "DUNNO");
    gatepost.wait_log("message accept .*queue_id=92F9E9C2910");
    assert_eq!(gatepost.count_log("message accept"), 2);
}

#[test]
fn the_same_end_of_two_sessions_at_once_is_not_mixed_up() {
    let gatepost = Gatepost::start(&[("10-test.yaml", RULES)], "", Sockets::Inet);
    let mut sides: Vec<_> = (0..8)
        .map(|n| {
            let milter = Milter::of_client(&gatepost.milter, &format!("192.0.2.1:{}", 5000 + n));
            (n, milter, Delegation::connect(&gatepost.policy))
        })
        .collect();
    let sender = |n: u32| if n.is_multiple_of(2) { ALICE } else { "eve@sender.example" };
    for (n, milter, _) in &mut sides {
        assert_eq!(milter.mail(&format!("<{}>", sender(*n))), 'c');
    }
    for (n, _, policy) in sides.iter_mut().rev() {
        let (port, instance) = ((5000 + *n).to_string(), format!("{:x}.1.1.0", 100 + *n));
        let asked = [("client_port", &*port), ("instance", &*instance), ("sender", sender(*n)), ASKED];
        assert_eq!(policy.asks(&asked), "DUNNO");
    }
    for (n, milter, _) in &mut sides {
        assert_eq!(milter.rcpt(&format!("<{BOB}>")).kind, 'c');
        let who = if n.is_multiple_of(2) { "alice" } else { "eve" };
        assert_eq!(added(milter.message()), ["X-Asked|yes".to_owned(), format!("X-From|{who}")]);
    }
}

/// As after a refusal at DATA by a milter behind us, or at the end of data by a
/// restriction: without an answer Postfix would wait, and then pass us by.
#[test]
fn recipients_and_data_behind_data_are_put_off_at_once() {
    let mut both = both();
    assert_eq!(both.milter.mail(&format!("<{ALICE}>")), 'c');
    assert_eq!(both.policy.asks(&[FIRST]), "DUNNO");
    assert_eq!(both.milter.rcpt(&format!("<{BOB}>")).kind, 'c');
    assert_eq!(both.milter.data(), 'c');
    assert_eq!(both.policy.asks(&[FIRST, ("recipient", CAROL)]), "DUNNO");
    assert_eq!(both.milter.rcpt(&format!("<{CAROL}>")).kind, 't');
    assert_eq!(both.milter.data(), 't');
    both.milter.abort();
    assert_eq!(both.mail("eve@sender.example", SECOND), ["X-Asked|yes", "X-From|eve"]);
}

/// A client may use one port of its own for two of ours; what it does in one
/// session must not take the rules away from the other.
#[test]
fn a_second_session_from_the_same_port_takes_nothing_from_the_first() {
    let mut both = both();
    assert_eq!(both.milter.mail(&format!("<{ALICE}>")), 'c');
    assert_eq!(both.policy.asks(&[FIRST, ASKED]), "DUNNO");
    assert_eq!(both.milter.rcpt(&format!("<{BOB}>")).kind, 'c');
    assert_eq!(both.milter.data(), 'c');
    let mut second = Milter::of_client(&both.gatepost.milter, CLIENT);
    assert_eq!(second.mail("<eve@sender.example>"), 'c');
    assert_eq!(both.policy.asks(&[("sender", "eve@sender.example"), ("instance", "77.1.1.0")]), "DUNNO");
    assert_eq!(second.rcpt(&format!("<{BOB}>")).kind, 'c');
    both.milter.content(&[("Subject", "an ordinary mail")], b"Hello.\r\n");
    assert_eq!(added(both.milter.end()), ["X-Asked|yes", "X-From|alice"]);
    assert_eq!(added(second.message()), ["X-From|eve"]);
}

/// The same over a service that asks early and has no milter.
#[test]
fn a_mail_whose_transaction_another_session_took_is_still_decided() {
    let rules = "rules:\n  - {name: seen, when: {header: {Subject: present}}, then: {add_header: {X-Seen: \"{sender}\"}}}\n";
    let gatepost = Gatepost::start(&[("10-test.yaml", rules)], "", Sockets::Inet);
    let policy = Delegation::connect(&gatepost.policy);
    let milter = Milter::of_client(&gatepost.milter, CLIENT);
    let mut both = Both { gatepost, policy, milter };
    assert_eq!(both.milter.mail(&format!("<{ALICE}>")), 'c');
    assert_eq!(both.policy.asks(&[FIRST]), "DUNNO");
    assert_eq!(both.milter.rcpt(&format!("<{BOB}>")).kind, 'c');
    for state in ["CONNECT", "EHLO", "MAIL"] {
        let early = [("protocol_state", state), ("instance", ""), ("recipient", ""), ("sender", "")];
        assert_eq!(both.policy.asks(&early), "DUNNO");
    }
    assert_eq!(added(both.milter.message()), ["X-Seen|alice@sender.example"]);
}

/// Both sides name the mail in Postfix's queue; where the names differ, the rest
/// of the join is an accident.
#[test]
fn sides_that_name_different_mails_are_not_one() {
    for (queue_id, expected) in [("92F9E9C290F", &["X-Asked|yes", "X-From|alice"][..]), ("1111111111", &[])] {
        let mut both = both();
        assert_eq!(both.milter.mail("<x@sender.example>"), 'c');
        assert_eq!(both.policy.asks(&[FIRST, ASKED]), "DUNNO");
        assert_eq!(both.milter.rcpt(&format!("<{BOB}>")).kind, 'c');
        let count = ("recipient_count", "1");
        assert_eq!(
            both.policy.asks(&[FIRST, ASKED, count, ("protocol_state", "DATA"), ("queue_id", queue_id)]),
            "DUNNO"
        );
        let named = [("i", "92F9E9C290F")];
        assert_eq!(both.milter.event_with('T', b"", &named).unwrap().kind, 'c');
        both.milter.content(&[("Subject", "an ordinary mail")], b"Hello.\r\n");
        assert_eq!(added(both.milter.end()), expected, "{queue_id}");
    }
}

/// With Nagle's algorithm the answer behind an edit would wait for an
/// acknowledgement that comes 40 ms later.
#[test]
fn edits_and_the_answer_come_without_delay() {
    let mut both = both();
    let quickest = (0..10)
        .map(|n| {
            assert_eq!(both.milter.mail(&format!("<{ALICE}>")), 'c');
            assert_eq!(both.policy.asks(&[ASKED, ("instance", &format!("1.1.1.{n}"))]), "DUNNO");
            assert_eq!(both.milter.rcpt(&format!("<{BOB}>")).kind, 'c');
            both.milter.data();
            both.milter.content(&[("Subject", "an ordinary mail")], b"Hello.\r\n");
            let began = Instant::now();
            assert_eq!(added(both.milter.end()).len(), 2);
            let took = began.elapsed();
            both.milter.abort();
            took
        })
        .min()
        .unwrap();
    assert!(quickest < Duration::from_millis(30), "{quickest:?}");
}
