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
async fn a_message_that_is_decided_is_not_kept_while_its_connection_stays_open() {
    let desk = desk("rules: [{name: a, when: {attachment: {kind: executable}}, then: {tag: x}}]");
    let mut session = milter(&desk, "client.example", "198.51.100.7:4000", "a@b.test").await;
    session.rcpt(b"<c@d.test>", &[], &|_| None).await;
    session.header(b"Content-Type", b" application/x-msdownload; name=a.exe");
    session.end_of_header();
    session.body(b"MZ");
    session.end_of_message(&|_| None).await;
    let handle = desk.sessions.drain().pop().unwrap();
    let session = handle.lock().await;
    let transaction = session.transaction.as_ref().unwrap();
    assert!(transaction.facts.as_ref().unwrap().message.is_none());
    assert!(transaction.found.contains(&"executable"), "{:?}", transaction.found);
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

/// Each refuses once its key has one of what it counts.
const EVENTS: &str = "
when: {client_address: 198.51.100.0/24}
rules:
  - {name: probed, when: {sender: probed@x.test, rate: {key: client_address, count: probes, limits: [1/1h]}}, then: {defer: 4.7.1 probed}}
  - {name: refused, when: {sender: refused@x.test, rate: {key: client_address, count: refused, limits: [1/1h]}}, then: {defer: 4.7.1 refused}}
  - {name: unknown, when: {sender: unknown@x.test, rate: {key: client_address, count: unknown_users, limits: [1/1h]}}, then: {defer: 4.7.1 unknown}}
  - {name: no, when: {recipient: no@}, then: {reject: 5.7.1 no}}
  - {name: none, when: {recipient: none@}, then: {reject: 550 5.1.1 none}}
";

/// What would be refused to this sender now: nothing, if nothing was counted.
async fn counted(desk: &Desk, sender: &str) -> bool {
    let peer = peer();
    let port = format!("{}", 2_000 + desk.next_id().len());
    let changes = [("sender", sender), ("client_port", &*port), ("instance", "9.9.9.9")];
    let answer = ask(desk, &peer, &changes).await;
    ask(
        desk,
        &peer,
        &[
            ("client_port", &*port),
            ("instance", "9.9.9.9"),
            ("protocol_state", "DATA"),
            ("sender", sender),
            ("recipient_count", "1"),
        ],
    )
    .await;
    matches!(answer, PolicyAction::Defer(_))
}

#[tokio::test]
async fn what_our_rules_refuse_is_counted_once_a_transaction() {
    for (sender, recipient, expected) in [
        ("refused@x.test", "no@example.com", true),
        ("refused@x.test", "none@example.com", true),
        ("refused@x.test", "b@example.com", false),
        ("unknown@x.test", "no@example.com", false),
        ("unknown@x.test", "none@example.com", true),
        ("probed@x.test", "none@example.com", false),
    ] {
        // Once is not twice: with room for two, the same again is still one.
        for (limit, asks, expected) in [("1/1h", 1, expected), ("2/1h", 3, false)] {
            let desk = desk(&EVENTS.replace("1/1h", limit));
            for _ in 0..asks {
                let peer = peer();
                ask(&desk, &peer, &[("sender", sender), ("recipient", recipient)]).await;
            }
            assert_eq!(counted(&desk, sender).await, expected, "{sender} {recipient} {limit}");
        }
    }
}

#[tokio::test]
async fn what_postfix_refuses_is_told_by_the_milter() {
    for (sender, code, words, expected) in [
        ("refused@x.test", "5.7.1", "Relay access denied", true),
        ("unknown@x.test", "5.7.1", "Relay access denied", false),
        (
            "unknown@x.test",
            "5.1.1",
            "Recipient address rejected: User unknown in relay recipient table",
            true,
        ),
        ("unknown@x.test", "4.1.1", "unverified address: Address verification in progress", false),
        ("probed@x.test", "5.1.1", "User unknown", false),
    ] {
        let desk = desk(EVENTS);
        let mut session = milter(&desk, "x.example", "198.51.100.7:1000", &format!("<{sender}>")).await;
        let peer = peer();
        // Delegation let him through.
        ask(&desk, &peer, &[("sender", sender)]).await;
        let macros = |name: &str| match name {
            "rcpt_mailer" => Some("error".to_owned()),
            "rcpt_host" => Some(code.to_owned()),
            "rcpt_addr" => Some(words.to_owned()),
            _ => None,
        };
        session.rcpt(b"<b@example.com>", &[], &macros).await;
        session.abort().await;
        session.close().await;
        assert_eq!(counted(&desk, sender).await, expected, "{sender} {code} {words}");
    }
}

#[tokio::test]
async fn with_a_milter_every_end_before_data_is_a_probe() {
    for (data, expected) in [(false, true), (true, false)] {
        let desk = desk(EVENTS);
        let mut session = milter(&desk, "x.example", "198.51.100.7:1000", "<probed@x.test>").await;
        session.rcpt(b"<b@example.com>", &[], &|_| None).await;
        session.rcpt(b"<c@example.com>", &[], &|_| None).await;
        if data {
            session.data(&|_| None).await;
        }
        session.abort().await;
        session.abort().await;
        session.close().await;
        assert_eq!(counted(&desk, "probed@x.test").await, expected, "{data}");
    }
}

#[tokio::test]
async fn without_a_milter_a_probe_is_known_where_data_is_asked() {
    const PROBER: &str = "probed@x.test";
    for (data_port, port, states, stops, expected) in [
        (None, "25", &["RCPT"][..], false, false),
        (Some("587"), "25", &["RCPT"], false, false),
        (Some("25"), "25", &["RCPT"], false, true),
        (Some("25"), "25", &["RCPT", "DATA"], false, false),
        (Some("25"), "25", &["RCPT"], true, false),
    ] {
        let desk = desk(EVENTS);
        if let Some(port) = data_port {
            let other =
                [("protocol_state", "DATA"), ("server_port", port), ("client_address", "203.0.113.1")];
            ask(&desk, &peer(), &other).await;
        }
        let prober = peer();
        for (state, instance) in states.iter().zip(["1b2c.1.1.0", "1b2c.1.1.0"]) {
            let asked = [
                ("protocol_state", *state),
                ("sender", PROBER),
                ("server_port", port),
                ("instance", instance),
                ("recipient_count", "1"),
            ];
            ask(&desk, &prober, &asked).await;
        }
        if stops {
            desk.end_all().await;
        } else {
            let next = [("instance", "1b2c.1.2.0"), ("client_address", "203.0.113.9"), ("server_port", port)];
            ask(&desk, &prober, &next).await;
        }
        assert_eq!(counted(&desk, PROBER).await, expected, "{data_port:?} {port} {states:?} {stops}");
    }
}

/// The count at DATA says how many; nobody says which.
#[tokio::test]
async fn without_a_milter_those_missing_at_data_were_refused() {
    for (accepted, expected) in [("2", false), ("1", true)] {
        let desk = desk(EVENTS);
        let peer = peer();
        for changes in [
            &[("recipient", "b@example.com")][..],
            &[("recipient", "c@example.com")],
            &[("protocol_state", "DATA"), ("recipient_count", accepted)],
        ] {
            let changes: Vec<_> = changes.iter().copied().chain([("sender", "refused@x.test")]).collect();
            ask(&desk, &peer, &changes).await;
        }
        assert_eq!(counted(&desk, "refused@x.test").await, expected, "{accepted}");
    }
}

/// A rule that refuses would else refuse for ever, and one in observe sees what it would.
#[tokio::test]
async fn a_rule_s_own_refusals_are_none_to_it_and_observe_is_a_world_of_its_own() {
    let own = "rules:\n  - {name: r, when: {sender: a@sender.example, rate: {key: sender, count: refused, limits: [2/1h strict]}}, then: reject}\n  \
               - {name: no, when: {recipient: no@}, then: reject}";
    let desk = desk(own);
    let peer = peer();
    for (recipient, expected) in
        [("no@a.test", true), ("no@b.test", true), ("c@x.test", true), ("d@x.test", true)]
    {
        let answer = ask(&desk, &peer, &[("recipient", recipient)]).await;
        assert_eq!(matches!(answer, PolicyAction::Reject(_)), expected, "{recipient}");
    }
    let used = desk.limits_of("a@sender.example").await;
    assert_eq!(used[0].used.windows[0].used, 2);

    // Nor do two of them feed each other.
    let both = self::desk(&format!(
        "{own}\n  - {{name: host, when: {{rate: {{key: client_address, count: refused, limits: [2/1h strict]}}}}, then: defer}}"
    ));
    for recipient in ["no@a.test", "no@b.test", "c@x.test", "d@x.test"] {
        ask(&both, &self::peer(), &[("recipient", recipient)]).await;
    }
    for key in ["a@sender.example", "198.51.100.7"] {
        assert_eq!(both.limits_of(key).await[0].used.windows[0].used, 2, "{key}");
    }

    let observed = self::desk(&format!(
        "{own}\n  - {{name: seen, mode: observe, when: {{recipient: seen@}}, then: reject}}\n  - {{name: s, mode: observe, when: {{rate: {{key: sender, count: refused, limits: [9/1h]}}}}, then: reject}}"
    ));
    ask(&observed, &self::peer(), &[("recipient", "seen@x.test")]).await;
    ask(&observed, &self::peer(), &[("recipient", "no@x.test")]).await;
    let used = observed.limits_of("a@sender.example").await;
    let used: Vec<_> = used.iter().map(|it| (it.rules[0].as_str(), it.used.windows[0].used)).collect();
    let expected = [("r", 1), ("s", 2)];
    assert!(expected.iter().all(|it| used.contains(it)) && used.len() == 2, "{used:?}");
}

/// With `reject_unlisted_recipient` in front of us nobody has asked the rules that mark.
#[tokio::test]
async fn who_is_excused_by_a_tag_is_so_before_delegation_was_asked() {
    for (tagged, expected) in [("198.51.100.7", 0), ("198.51.100.8", 1)] {
        let desk = desk(&format!(
            "rules:\n  - {{name: t, when: {{client_address: {tagged}}}, then: {{tag: partner}}}}\n  \
             - {{name: s, when: {{recipient: c@}}, then: {{tag: theirs}}}}\n  \
             - {{name: u, when: {{rate: {{key: sender, count: unknown_users, limits: [9/1h]}}}}, unless: [{{tag: partner}}, {{tag: theirs}}], then: reject}}",
        ));
        let mut session = milter(&desk, "x.example", "198.51.100.7:1000", "<a@sender.example>").await;
        let macros = |name: &str| match name {
            "rcpt_mailer" => Some("error".to_owned()),
            "rcpt_host" => Some("5.1.1".to_owned()),
            _ => None,
        };
        session.rcpt(b"<b@example.com>", &[], &macros).await;
        session.rcpt(b"<c@example.com>", &[], &macros).await;
        let used: u64 =
            desk.limits_of("a@sender.example").await.iter().map(|it| it.used.windows[0].used).sum();
        assert_eq!(used, expected, "{tagged}");
    }
}
