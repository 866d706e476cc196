//! Sessions as both protocols tell them, against a desk with rules as text.

use super::Desk;
use super::MilterSession;
use super::Peer;
use super::testing;
use crate::config::Decides;
use crate::reply::Ending;
use crate::reply::MilterAnswer;
use crate::reply::PolicyAction;
use std::sync::Arc;

fn peer() -> Peer {
    Peer {
        listener: "default".into(),
        pid: None,
        connection: 1,
        line: Arc::default(),
        decides: Decides::Message,
    }
}

/// A request of 198.51.100.7:1000, with what is said otherwise.
async fn ask(desk: &Desk, peer: &Peer, changes: &[(&str, &str)]) -> PolicyAction {
    let mut attributes = vec![
        ("request", "smtpd_access_policy"),
        ("protocol_state", "RCPT"),
        ("client_address", "198.51.100.7"),
        ("client_port", "1000"),
        ("helo_name", "mail.sender.example"),
        ("sender", "a@sender.example"),
        ("recipient", "b@example.com"),
        ("instance", "1b2c.1.1.0"),
        ("policy_context", ""),
    ];
    for (name, value) in changes {
        attributes.retain(|(known, _)| known != name);
        attributes.push((name, value));
    }
    desk.delegation(peer, attributes.into_iter()).await
}

/// A milter session as far as MAIL.
async fn milter(desk: &Arc<Desk>, host: &str, address: &str, sender: &str) -> MilterSession {
    let mut session = desk.milter(peer());
    session.connect(host.as_bytes(), Some(address.parse().unwrap()), &|_| None).await;
    session.mail(sender.as_bytes(), &[], &|_| None).await;
    session
}

/// RCPT, a header and the end.
async fn finish(session: &mut MilterSession, recipient: &str, header: (&str, &str)) -> Ending {
    session.rcpt(recipient.as_bytes(), &[], &|_| None).await;
    session.header(header.0.as_bytes(), header.1.as_bytes());
    session.end_of_header();
    session.end_of_message(&|_| None).await
}

fn desk(rules: &str) -> Arc<Desk> {
    Arc::new(testing::desk(&[("10-test.yaml", rules)]))
}

const HEADER: (&str, &str) = ("Subject", " hi");

#[tokio::test]
async fn permit_is_said_for_each_recipient_and_in_each_list() {
    let desk =
        desk("allow_relay: true\nrules:\n  - {name: p, when: {sender: a@sender.example}, then: permit}");
    let peer = peer();
    assert_eq!(ask(&desk, &peer, &[]).await, PolicyAction::Ok);
    assert_eq!(ask(&desk, &peer, &[("policy_context", "relay")]).await, PolicyAction::Ok);
    assert_eq!(ask(&desk, &peer, &[("recipient", "c@example.com")]).await, PolicyAction::Ok);
}

#[tokio::test]
async fn a_list_with_another_service_string_is_no_retry() {
    let desk = desk("rules:\n  - {name: b, then: {bcc: archive@example.com}}");
    let (one, other) = (peer(), peer());
    assert!(matches!(ask(&desk, &one, &[]).await, PolicyAction::Bcc(_)));
    assert_eq!(ask(&desk, &other, &[]).await, PolicyAction::Dunno);
    drop(one);
    assert!(matches!(ask(&desk, &other, &[]).await, PolicyAction::Bcc(_)), "asked again on a new connection");
}

const ACCEPTED_ABOVE: &str = "
rules:
  - {name: trusted, when: {client_address: 198.51.100.0/24}, then: accept}
  - {name: odd, when: {sender: a@sender.example}, then: {score: 6}}
  - {name: six, when: [{score: {at_least: 6}}, {header: {Subject: present}}], then: reject}
";

#[tokio::test]
async fn accept_ends_its_file_for_mail_that_only_the_milter_sees() {
    let desk = desk(ACCEPTED_ABOVE);
    let mut trusted = milter(&desk, "x.example", "198.51.100.7:1000", "<a@sender.example>").await;
    assert_eq!(finish(&mut trusted, "<b@example.com>", HEADER).await.answer, MilterAnswer::Continue);
    let mut other = milter(&desk, "x.example", "203.0.113.7:1000", "<a@sender.example>").await;
    assert!(matches!(finish(&mut other, "<b@example.com>", HEADER).await.answer, MilterAnswer::Reject(_)));
}

#[tokio::test]
async fn a_guard_about_one_recipient_is_not_asked_about_none() {
    let desk = Arc::new(testing::desk(&[
        (
            "10.yaml",
            "unless: {recipient: abuse@}\nrules:\n  - {name: odd, when: {client_name: odd.example}, then: {score: 6}}",
        ),
        (
            "20.yaml",
            "rules:\n  - {name: six, when: [{score: {at_least: 6}}, {header: {Subject: present}}], then: reject}",
        ),
    ]));
    let mut session = milter(&desk, "odd.example", "198.51.100.7:1000", "<a@sender.example>").await;
    assert_eq!(finish(&mut session, "<abuse@example.com>", HEADER).await.answer, MilterAnswer::Continue);
}

const NO_SUBJECT: &str = "rules:\n  - {name: hi, when: {header: {Subject: hi}}, then: reject}";

#[tokio::test]
async fn only_a_local_client_without_a_port_is_sendmail() {
    let desk = desk(NO_SUBJECT);
    let mut bounce = milter(&desk, "localhost", "127.0.0.1:0", "<>").await;
    assert_eq!(finish(&mut bounce, "a@sender.example", HEADER).await.answer, MilterAnswer::Continue);
    let mut portless = milter(&desk, "x.example", "198.51.100.7:0", "<>").await;
    assert!(matches!(finish(&mut portless, "<b@example.com>", HEADER).await.answer, MilterAnswer::Reject(_)));
}

#[tokio::test]
async fn a_process_number_joins_no_session_of_another_client() {
    let desk = desk(NO_SUBJECT);
    let mut local = desk.milter(Peer { pid: Some(0x1b2c), ..peer() });
    local.connect(b"x.example", Some("198.51.100.7:1000".parse().unwrap()), &|_| None).await;
    local.mail(b"<a@sender.example>", &[], &|_| None).await;
    let peer = peer();
    for changes in [
        // Another machine's smtpd of the same number, and one whose port is not known.
        [("client_address", "203.0.113.9"), ("client_port", "2000")],
        [("client_address", "203.0.113.9"), ("client_port", "unknown")],
    ] {
        ask(&desk, &peer, &changes).await;
    }
    assert!(matches!(finish(&mut local, "<b@example.com>", HEADER).await.answer, MilterAnswer::Reject(_)));
}

#[tokio::test]
async fn a_unix_peer_of_another_namespace_joins_all_the_same() {
    let desk = desk(
        "rules:\n  - {name: mark, when: {sender: a@sender.example}, then: {tag: seen}}\n  \
         - {name: seen, when: [{tag: seen}, {header: {Subject: present}}], then: reject}",
    );
    let mut session = desk.milter(Peer { pid: Some(77), ..peer() });
    session.connect(b"x.example", Some("198.51.100.7:1000".parse().unwrap()), &|_| None).await;
    session.mail(b"<a@sender.example>", &[], &|_| None).await;
    ask(&desk, &peer(), &[]).await;
    ask(&desk, &peer(), &[("recipient", "c@example.com")]).await;
    assert!(matches!(finish(&mut session, "<b@example.com>", HEADER).await.answer, MilterAnswer::Reject(_)));
}

#[tokio::test]
async fn a_session_keeps_the_policy_whose_events_it_negotiated() {
    let desk = desk("rules:\n  - {name: none, when: {sender: nobody@x.test}, then: reject}");
    let mut session = desk.milter(peer());
    assert!(!session.needs().headers);
    session.connect(b"x.example", Some("198.51.100.7:1000".parse().unwrap()), &|_| None).await;
    let rules = "rules:\n  - {name: from, when: {header: {From: absent}}, then: reject}";
    desk.enforce(testing::policy(&[("10.yaml", rules)], 2));
    session.mail(b"<a@sender.example>", &[], &|_| None).await;
    session.rcpt(b"<b@example.com>", &[], &|_| None).await;
    assert_eq!(session.end_of_message(&|_| None).await.answer, MilterAnswer::Continue);
}

#[tokio::test]
async fn many_recipients_of_a_local_mail_take_no_more_than_their_number() {
    let desk = desk("rules:\n  - {name: none, when: {recipient: nobody@x.test}, then: reject}");
    let mut session = milter(&desk, "localhost", "127.0.0.1:0", "www@example.com").await;
    for number in 0..5_000 {
        session.rcpt(format!("user{number}@example.com").as_bytes(), &[], &|_| None).await;
    }
    // Each recipient is decided; copying the others for each would take minutes.
    assert_eq!(finish(&mut session, "last@example.com", HEADER).await.answer, MilterAnswer::Continue);
}

#[tokio::test]
async fn a_smtpd_that_asks_about_another_client_has_ended_its_session() {
    let sessions = |desk: &Desk| desk.sessions.sizes().0;
    let desk = desk(NO_SUBJECT);
    let (one, other) = (peer(), peer());
    for (peer, port, instance, expected) in [
        (&one, "1000", "1b2c.1.1.0", 1),
        (&one, "1001", "1b2c.1.2.0", 1),
        (&one, "1001", "1b2c.1.3.0", 1),
        // Another smtpd, and one that somebody gathers on this connection.
        (&other, "1002", "1b2d.1.1.0", 2),
        (&one, "1003", "1b2e.1.1.0", 3),
        (&one, "1004", "1b2e.1.2.0", 3),
    ] {
        ask(&desk, peer, &[("client_port", port), ("instance", instance)]).await;
        assert_eq!(sessions(&desk), expected, "{port}");
    }
    // What a milter has in hand ends with the milter.
    let mut session = milter(&desk, "x.example", "198.51.100.7:1005", "<a@sender.example>").await;
    ask(&desk, &one, &[("client_port", "1005"), ("instance", "1b2e.1.3.0")]).await;
    ask(&desk, &one, &[("client_port", "1006"), ("instance", "1b2e.1.4.0")]).await;
    assert_eq!(sessions(&desk), 4);
    assert!(matches!(finish(&mut session, "<b@example.com>", HEADER).await.answer, MilterAnswer::Reject(_)));
}
