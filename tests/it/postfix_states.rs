//! Dialogues that lead the two protocols astray: commands out of order, several
//! milters, mail that one side does not see.

use crate::rig::*;
use indymilter::Actions;
use indymilter::Callbacks;
use indymilter::Config;
use indymilter::ContextActions as _;
use indymilter::EomContext;
use indymilter::Status;
use std::net::TcpListener;
use std::time::Duration;
use std::time::Instant;

const RULES: &str = r#"
rules:
  - {name: helo, when: {helo_name: bad.example}, then: {reject: 5.7.1 bad name}}
  - {name: swallow, when: {recipient: discard@test.example}, then: discard}
  - {name: no, when: {recipient: no@test.example}, then: {reject: 5.7.1 no such person}}
  - {name: many, stage: data, when: {recipient_count: {over: 2}}, then: {reject: 5.5.3 too many}}
  - {name: alice, when: {sender: alice@sender.example}, then: {tag: alice}}
  - {name: seen, when: {tag: alice, header: {Subject: present}}, then: {add_header: {X-Seen: "{recipient_count} and {refused_recipients}"}}}
  - {name: odd, when: {header: {X-Same: /two/}}, then: {remove_header: {X-Same: /two/}}}
  - {name: changed, when: {header: {X-Other: /two/}}, then: {change_header: {X-Other: "was {old}"}}}
"#;

const SEEN: &str = "Subject: an ordinary mail\r\n\r\nHello.\r\n";

/// Postfix waits 10 s for a milter's answer, 30 s unless told: below both.
const AT_ONCE: Duration = Duration::from_secs(5);

#[test]
fn an_unknown_command_in_a_transaction_does_no_harm() {
    let Some(rig) = Rig::start(RULES) else { return };
    let mut client = rig.client();
    let began = Instant::now();
    client.say("FOO bar").expect(500);
    client.envelope(ALICE, &[BOB]);
    client.say("FOO bar").expect(500);
    client.say("NOOP").expect(250);
    client.data(SEEN).expect(250);
    assert!(began.elapsed() < AT_ONCE);
    assert_eq!(rig.sink.message().header("X-Seen"), ["1 and 0"]);
}

#[test]
fn after_a_refused_data_recipients_and_data_may_come_again() {
    let Some(rig) = Rig::start(RULES) else { return };
    let mut client = rig.client();
    let began = Instant::now();
    client.envelope(ALICE, &[BOB, CAROL, "dave@test.example"]);
    client.say("DATA").expect_text(554, "too many");
    client.rcpt("erin@test.example").expect(250);
    client.say("DATA").expect_text(554, "too many");
    client.mail(ALICE).expect(503);
    client.say("RSET").expect(250);
    client.deliver(ALICE, &[BOB], SEEN).expect(250);
    assert!(began.elapsed() < AT_ONCE);
    assert_eq!(rig.sink.message().header("X-Seen"), ["1 and 0"]);
}

#[test]
fn after_discard_the_next_mail_of_the_session_is_a_mail() {
    let Some(rig) = Rig::start(RULES) else { return };
    let mut client = rig.client();
    client.deliver(ALICE, &["discard@test.example", "no@test.example"], SEEN).expect(250);
    client.deliver(ALICE, &[BOB], SEEN).expect(250);
    assert_eq!(rig.sink.message().header("X-Seen"), ["1 and 0"]);
    rig.gatepost.wait_log("recipient discard .*to=discard@test.example");
}

#[test]
fn greetings_may_change_and_end_a_transaction() {
    let Some(rig) = Rig::start(RULES) else { return };
    let mut client = rig.client();
    client.say("EHLO bad.example").expect(250);
    client.mail(ALICE).expect(250);
    client.rcpt(BOB).expect_text(554, "bad name");
    client.say("EHLO good.example").expect(250);
    client.envelope("eve@sender.example", &[CAROL]);
    client.say("HELO better.example").expect(250);
    client.deliver(ALICE, &[BOB], SEEN).expect(250);
    client.say("HELO bad.example").expect(250);
    client.mail(ALICE).expect(250);
    client.rcpt(BOB).expect_text(554, "bad name");
    assert_eq!(rig.sink.message().header("X-Seen"), ["1 and 0"]);
}

#[test]
fn with_delay_reject_off_each_mail_of_a_session_is_one() {
    let Some(rig) = Rig::start(RULES) else { return };
    let mut client = Smtp::greeted(rig.postfix.ports.early);
    client.envelope(ALICE, &[BOB]);
    client.say("RSET").expect(250);
    client.deliver("eve@sender.example", &[BOB], SEEN).expect(250);
    client.mail(ALICE).expect(250);
    client.rcpt("no@test.example").expect(554);
    client.say("EHLO client.example").expect(250);
    client.deliver(ALICE, &[BOB, CAROL], SEEN).expect(250);
    for message in rig.sink.messages(2) {
        let expected: &[&str] = if message.sender == ALICE { &["2 and 0"] } else { &[] };
        assert_eq!(message.header("X-Seen"), expected);
    }
}

#[test]
fn recipients_that_others_refuse_are_counted_as_refused() {
    let main = "smtpd_recipient_restrictions = check_recipient_access inline:{nobody@test.example=reject}, $ask, \
                check_recipient_access inline:{late@test.example=reject}\n";
    let Some(rig) = Rig::with_main(RULES, main) else { return };
    let mut client = rig.client();
    client.mail(ALICE).expect(250);
    for refused in ["nobody@test.example", "no@test.example", "late@test.example"] {
        client.rcpt(refused).expect(554);
    }
    client.rcpt(BOB).expect(250);
    // Twice the same is one to us.
    client.rcpt(BOB).expect(250);
    client.data(SEEN).expect(250);
    assert_eq!(rig.sink.message().header("X-Seen"), ["1 and 3"]);
}

/// Neither side is told of those that are too many.
#[test]
fn recipients_beyond_postfixs_own_limit_are_nobodys() {
    let Some(rig) = Rig::with_main(RULES, "smtpd_recipient_limit = 2\n") else { return };
    let mut client = rig.client();
    client.envelope(ALICE, &[BOB, CAROL]);
    client.rcpt("dave@test.example").expect(452);
    client.data(SEEN).expect(250);
    assert_eq!(rig.sink.message().header("X-Seen"), ["2 and 0"]);
    rig.gatepost.wait_lines(1, "message accept .*recipients=2 refused=0 .*seen_by=both");
}

#[test]
fn chunked_mail_is_mail() {
    let Some(rig) = Rig::start(RULES) else { return };
    let mut client = rig.client();
    client.envelope(ALICE, &[BOB]);
    let (first, second) = SEEN.split_at(20);
    client.send(format!("BDAT {}\r\n{first}", first.len()));
    client.read().expect(250);
    client.send(format!("BDAT {} LAST\r\n{second}", second.len()));
    client.read().expect(250);
    // Delegation is asked at DATA, whichever command it was.
    client.envelope(ALICE, &[BOB, CAROL, "dave@test.example"]);
    client.send(format!("BDAT {}\r\n{first}", first.len()));
    client.read().expect_text(554, "too many");
    client.say("RSET").expect(250);
    client.envelope(ALICE, &[BOB, CAROL]);
    client.send(format!("BDAT {} LAST\r\n{SEEN}", SEEN.len()));
    client.read().expect(250);
    let messages = rig.sink.messages(2);
    let mut seen: Vec<_> = messages.iter().flat_map(|message| message.header("X-Seen")).collect();
    seen.sort_unstable();
    assert_eq!(seen, ["1 and 0", "2 and 0"]);
}

#[test]
fn a_queue_id_that_is_there_from_the_first_recipient_joins_as_well() {
    let Some(rig) = Rig::with_main(RULES, "smtpd_delay_open_until_valid_rcpt = no\n") else { return };
    let mut client = rig.client();
    for _ in 0..2 {
        client.deliver(ALICE, &[BOB, CAROL], SEEN).expect(250);
    }
    for message in rig.sink.messages(2) {
        assert_eq!(message.header("X-Seen"), ["2 and 0"]);
    }
    rig.gatepost.wait_lines(2, "message accept .*queue_id=.*seen_by=both");
}

#[test]
fn the_one_of_two_fields_that_is_meant_is_edited() {
    let Some(rig) = Rig::start(RULES) else { return };
    let mail = "X-Same: one\r\nX-Other: one\r\nSubject: x\r\nx-same: two\r\nX-Same: three\r\nX-OTHER: two\r\n\r\nHello.\r\n";
    rig.send(mail).expect(250);
    let message = rig.sink.message();
    assert_eq!(message.header("X-Same"), ["one", "three"]);
    assert!(message.position("X-Same") < message.position("Subject"));
    assert_eq!(message.header("X-Other").len(), 2, "{:?}", message.headers);
}

#[test]
fn etrn_and_vrfy_pass_and_cost_nothing() {
    let rules = "rules:\n  - name: one\n    when: {rate: {key: client_address, limits: [1/1h]}}\n    then: {defer: 4.7.1 enough}\n";
    let main = "smtpd_etrn_restrictions = $ask\nsmtpd_client_restrictions = $ask\n\
                fast_flush_domains = test.example\n";
    let Some(rig) = Rig::with_main(rules, main) else { return };
    let mut client = rig.client();
    for _ in 0..3 {
        client.say("ETRN test.example").expect(250);
        client.say("VRFY bob@test.example").expect(252);
    }
    client.deliver(ALICE, &[BOB], MAIL).expect(250);
    client.mail(ALICE).expect(250);
    client.rcpt(CAROL).expect_text(450, "enough");
}

#[test]
fn ipv6_clients_are_joined() {
    let Some(rig) = Rig::with_main(
        RULES,
        "inet_interfaces = 127.0.0.1\ninet_protocols = all\nsmtp_bind_address = 127.0.0.1\n",
    ) else {
        return;
    };
    let mut client = rig.client();
    client
        .say("XCLIENT NAME=six.example ADDR=IPv6:2001:db8::7 PORT=4321 DESTADDR=IPv6:2001:db8::1")
        .expect(220);
    client.say("EHLO client.example").expect(250);
    client.deliver(ALICE, &[BOB], SEEN).expect(250);
    let mut proxied = Smtp::connect(smtp::INSIDE, rig.postfix.ports.haproxy);
    proxied.send("PROXY TCP6 2001:db8::8 2001:db8::1 5566 25\r\n");
    proxied.read().expect(220);
    proxied.say("EHLO client.example").expect(250);
    proxied.deliver(ALICE, &[BOB], SEEN).expect(250);
    for message in rig.sink.messages(2) {
        assert_eq!(message.header("X-Seen"), ["1 and 0"]);
    }
    for client in ["2001:db8::7", "2001:db8::8"] {
        rig.gatepost.wait_log(&format!("message accept .*client={client}.*seen_by=both"));
    }
}

/// What a content filter does: its XFORWARD tells of the first client, and
/// changes nothing of who is connected.
#[test]
fn mail_forwarded_by_a_filter_is_a_session_of_its_own() {
    let Some(rig) = Rig::with_main(RULES, "smtpd_authorized_xforward_hosts = 127.0.0.0/8\n") else { return };
    let mut client = rig.client();
    client
        .say("XFORWARD NAME=spike.example ADDR=198.51.100.7 PORT=4321 PROTO=ESMTP HELO=bad.example")
        .expect(250);
    client.deliver(ALICE, &[BOB], SEEN).expect(250);
    assert_eq!(rig.sink.message().header("X-Seen"), ["1 and 0"]);
    rig.gatepost.wait_log("message accept .*client=127.0.0.2 ");
}

#[test]
fn delegation_alone_and_the_milter_alone_serve() {
    if skipped() {
        return;
    }
    for (policy, seen_by) in [(true, "policy"), (false, "milter")] {
        let sink = Sink::start();
        let gatepost = Gatepost::start(&[("10-test.yaml", RULES)], "", Sockets::Inet);
        let setup = Setup {
            policy: policy.then(|| gatepost.policy.clone()),
            milter: (!policy).then(|| gatepost.milter.clone()),
            next_hop: sink.port,
            ..Setup::default()
        };
        let postfix = Postfix::start(setup);
        let mut client = Smtp::greeted(postfix.ports.mx);
        for _ in 0..2 {
            client.deliver(ALICE, &[BOB, CAROL], SEEN).expect(250);
        }
        client.mail(ALICE).expect(250);
        client.rcpt("no@test.example").expect(if policy { 554 } else { 250 });
        until("both messages' lines", || {
            let lines = gatepost.count_log(&format!("message accept .*recipients=2 .*seen_by={seen_by}"));
            (lines == 2).then_some(())
        });
        sink.messages(2);
    }
}

/// Another milter on 127.0.0.1.
fn other_milter(callbacks: Callbacks<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let config = Config { actions: Actions::QUARANTINE, ..Config::default() };
            indymilter::run(listener, callbacks, config, std::future::pending::<()>()).await.unwrap();
        });
    });
    format!("inet:127.0.0.1:{port}")
}

fn quarantines() -> Callbacks<()> {
    Callbacks::<()>::new().on_eom(|context: &mut EomContext<()>| {
        Box::pin(async {
            context.actions.quarantine("by another").await.unwrap();
            Status::Continue
        })
    })
}

fn with_other(before: bool, callbacks: Callbacks<()>) -> Option<Rig> {
    if skipped() {
        return None;
    }
    let sink = Sink::start();
    let gatepost = Gatepost::start(&[("10-test.yaml", RULES)], "", Sockets::Inet);
    let other = other_milter(callbacks);
    let milters = if before {
        format!("{other}, {}", gatepost.milter)
    } else {
        format!("{}, {other}", gatepost.milter)
    };
    let main = format!("smtpd_milters = {milters}\n");
    let setup =
        Setup { policy: Some(gatepost.policy.clone()), next_hop: sink.port, main, ..Setup::default() };
    Some(Rig { postfix: Postfix::start(setup), gatepost, sink })
}

#[test]
fn a_milter_before_us_that_quarantines_hides_the_mail_and_we_go_on() {
    let Some(rig) = with_other(true, quarantines()) else { return };
    let mut client = rig.client();
    client.deliver(ALICE, &[BOB], SEEN).expect(250);
    rig.postfix.held();
    // It is told with what we know, and the session serves on.
    client.say("RSET").expect(250);
    client.mail(ALICE).expect(250);
    client.rcpt("no@test.example").expect(554);
    client.say("QUIT").expect(221);
    rig.gatepost.wait_log("message .*seen_by=both");
}

#[test]
fn a_milter_behind_us_that_refuses_recipient_data_and_mail_leaves_us_in_order() {
    let refuses = Callbacks::<()>::new()
        .on_rcpt(|_, arguments| {
            Box::pin(async move {
                let refused = arguments[0].to_bytes().starts_with(b"<late");
                if refused { Status::Reject } else { Status::Continue }
            })
        })
        .on_data(|_| Box::pin(async { Status::Reject }));
    let Some(rig) = with_other(false, refuses) else { return };
    let began = Instant::now();
    let mut client = rig.client();
    client.mail(ALICE).expect(250);
    client.rcpt("late@test.example").expect(550);
    client.rcpt(BOB).expect(250);
    client.say("DATA").expect(550);
    // Without RSET, as a client may.
    let again = client.rcpt(CAROL);
    assert!(again.code == 250 || again.code == 451, "{again:?}");
    let again = client.say("DATA");
    assert!(again.code == 550 || again.code == 451, "{again:?}");
    client.say("RSET").expect(250);
    client.mail(ALICE).expect(250);
    client.rcpt("no@test.example").expect_text(554, "no such person");
    client.rcpt(BOB).expect(250);
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert_eq!(rig.postfix.count_log("warning: milter"), 0);
}

/// Postfix before mid-2026 does not reset a transaction that a restriction
/// refused at its end, and lets recipients be added to it.
#[test]
fn after_anothers_refusal_at_end_of_data_we_are_not_passed_by() {
    let main =
        "smtpd_end_of_data_restrictions = $ask, check_sender_access inline:{bad@sender.example=reject}\n";
    let Some(rig) =
        Rig::with(RULES, Sockets::Inet, Setup { main: main.into(), fail_open: true, ..Setup::default() })
    else {
        return;
    };
    let began = Instant::now();
    let mut client = rig.client();
    client.deliver("bad@sender.example", &[BOB], SEEN).expect(554);
    let _ = client.rcpt(CAROL);
    let _ = client.say("DATA");
    client.say("RSET");
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    client.say("RSET").expect(250);
    client.deliver(ALICE, &[BOB], SEEN).expect(250);
    assert_eq!(rig.sink.message().header("X-Seen"), ["1 and 0"]);
}

/// Where the service closes a connection, the next request costs a second.
#[test]
fn a_policy_connection_is_kept_as_long_as_postfix_wants_it() {
    let Some(rig) = Rig::start(RULES) else { return };
    for _ in 0..2 {
        let mut client = rig.client();
        for _ in 0..3 {
            client.deliver(ALICE, &[BOB], SEEN).expect(250);
        }
        client.say("QUIT").expect(221);
    }
    let total =
        rig.gatepost.metric("gatepost_accepted_connections_total", &["interface=\"policy\""]).unwrap();
    // One for each smtpd, of which there may be two.
    assert!(total <= 2.0, "{total}");
    assert_eq!(rig.postfix.count_log("warning: "), 0);
}
