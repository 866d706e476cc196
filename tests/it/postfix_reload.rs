//! The policy changes, or gatepost ends, while mail is on its way.

use crate::rig::*;
use std::net::TcpStream;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A rule of this name that marks each mail with it.
fn rules(name: &str) -> String {
    format!(
        "rules:\n  - {{name: {name}, when: {{header: {{Subject: present}}}}, then: {{add_header: {{X-Policy: {name}}}}}}}\n"
    )
}

#[test]
fn a_transaction_keeps_its_policy_and_the_next_has_the_new_one() {
    let Some(rig) = Rig::start(&rules("first")) else { return };
    let mut client = rig.client();
    client.envelope(ALICE, &[BOB]);
    rig.gatepost.write_rules("10-test.yaml", &rules("second"));
    rig.gatepost.reload_until_rule("second");
    client.data(MAIL).expect(250);
    client.deliver(ALICE, &[CAROL], MAIL).expect(250);
    for message in rig.sink.messages(2) {
        let policy = if message.recipients == [BOB] { "first" } else { "second" };
        assert_eq!(message.header("X-Policy"), [policy]);
    }
}

#[test]
fn a_bad_policy_keeps_the_old_one_and_says_so() {
    let Some(rig) = Rig::start(&rules("first")) else { return };
    let successful = || rig.gatepost.metric("gatepost_config_last_reload_successful", &[]);
    assert_eq!(successful(), Some(1.0));
    rig.gatepost.write_rules(
        "10-test.yaml",
        "rules:\n  - {name: bad, when: {sasl_usrname: present}, then: reject}\n",
    );
    rig.gatepost.signal("HUP");
    until("the failed reload", || (successful() == Some(0.0)).then_some(()));
    rig.gatepost.wait_log("sasl_usrname");
    rig.send(MAIL).expect(250);
    assert_eq!(rig.sink.message().header("X-Policy"), ["first"]);
    // And back.
    rig.gatepost.write_rules("10-test.yaml", &rules("third"));
    rig.gatepost.reload_until_rule("third");
    assert_eq!(successful(), Some(1.0));
}

#[test]
fn term_in_the_middle_of_data_finishes_the_mail_and_exits_zero() {
    let setup = Setup { fail_open: true, ..Setup::default() };
    let Some(mut rig) = Rig::with(&rules("first"), Sockets::Inet, setup) else { return };
    let mut client = rig.client();
    client.envelope(ALICE, &[BOB]);
    client.say("DATA").expect(354);
    client.send("Subject: half\r\n\r\nthe first line\r\n");
    rig.gatepost.signal("TERM");
    let address = rig.gatepost.milter.trim_start_matches("inet:").to_owned();
    until("no new milter session to be taken", || TcpStream::connect(&address).is_err().then_some(()));
    client.send("the last line\r\n");
    client.say(".").expect(250);
    let message = rig.sink.message();
    assert_eq!(message.header("X-Policy"), ["first"]);
    assert!(message.body.ends_with("the last line\n"));
    client.say("QUIT").expect(221);
    assert!(rig.gatepost.wait_exit(Duration::from_secs(30)).success());
}

#[test]
fn term_with_idle_connections_ends_at_once() {
    let setup = Setup { fail_open: true, ..Setup::default() };
    let Some(mut rig) = Rig::with(&rules("first"), Sockets::Inet, setup) else { return };
    // Its smtpd keeps a policy and a milter connection.
    let mut client = rig.client();
    client.deliver(ALICE, &[BOB], MAIL).expect(250);
    rig.gatepost.signal("TERM");
    assert!(rig.gatepost.wait_exit(Duration::from_secs(5)).success());
    client.deliver(ALICE, &[BOB], MAIL).expect(250);
    rig.sink.messages(2);
}

#[test]
fn killed_in_the_middle_of_a_session_mail_flows() {
    let setup = Setup { fail_open: true, ..Setup::default() };
    let Some(mut rig) = Rig::with(&rules("first"), Sockets::Inet, setup) else { return };
    let mut client = rig.client();
    client.deliver(ALICE, &[BOB], MAIL).expect(250);
    client.envelope(ALICE, &[BOB]);
    rig.gatepost.signal("KILL");
    rig.gatepost.wait_exit(Duration::from_secs(5));
    client.data(MAIL).expect(250);
    client.deliver(ALICE, &[BOB], MAIL).expect(250);
    rig.send(MAIL).expect(250);
    rig.sink.messages(4);
}

#[test]
fn killed_in_the_middle_of_a_message_mail_flows_and_rules_come_back_with_it() {
    let setup = Setup { fail_open: true, ..Setup::default() };
    let Some(mut rig) = Rig::with(&rules("first"), Sockets::Inet, setup) else { return };
    let mut client = rig.client();
    client.envelope(ALICE, &[BOB]);
    client.say("DATA").expect(354);
    client.send("Subject: half\r\n\r\nthe first line\r\n");
    rig.gatepost.signal("KILL");
    rig.gatepost.wait_exit(Duration::from_secs(5));
    client.send("the last line\r\n");
    client.say(".").expect(250);
    client.deliver(ALICE, &[BOB], MAIL).expect(250);
    // Started again on the same sockets while that session goes on.
    let Gatepost { policy, milter, http, .. } = &rig.gatepost;
    let config = format!(
        "listen:\n  policy: [\"{policy}\"]\n  milter: [\"{milter}\"]\n  http: {{address: \"127.0.0.1:{http}\"}}\n\
         policy_dir: policy.d\n"
    );
    let again = Gatepost::configured(&[("10-test.yaml", &rules("second"))], &config, policy, milter, *http);
    rig.gatepost = again;
    client.deliver(ALICE, &[BOB], MAIL).expect(250);
    rig.client().deliver(ALICE, &[CAROL], MAIL).expect(250);
    let messages = rig.sink.messages(4);
    let marked: Vec<_> = messages.iter().filter(|message| message.recipients == [CAROL]).collect();
    assert_eq!(marked[0].header("X-Policy"), ["second"]);
}

#[test]
fn fifty_reloads_under_load_lose_no_answer() {
    let counted = |name: &str| {
        rules(name)
            + "  - name: many\n    when: {rate: {key: sender, limits: [100000/1h]}}\n    then: {defer: 4.7.1 enough}\n"
    };
    let Some(rig) = Rig::start(&counted("r0")) else { return };
    let server = format!("127.0.0.1:{}", rig.postfix.ports.mx);
    let done = AtomicBool::new(false);
    let reloads = std::thread::scope(|scope| {
        scope.spawn(|| {
            let args =
                ["-s", "5", "-m", "300", "-l", "2000", "-d", "-S", "load", "-f", ALICE, "-t", BOB, &server];
            let output = program::try_run("/usr/sbin/smtp-source", args, "");
            done.store(true, Ordering::Relaxed);
            assert!(output.status.success(), "{}", program::both(&output));
        });
        let mut reloads = 0;
        while reloads < 50 || !done.load(Ordering::Relaxed) {
            reloads += 1;
            rig.gatepost.write_rules("10-test.yaml", &counted(&format!("r{reloads}")));
            rig.gatepost.signal("HUP");
            let in_force = until("the reload", || {
                let count = rig.gatepost.count_log("the new policy is in force");
                (count >= reloads).then_some(count)
            });
            assert_eq!(in_force, reloads);
        }
        reloads
    });
    assert!(reloads >= 50);
    for message in rig.sink.messages(300) {
        assert_eq!(message.header("X-Policy").len(), 1);
    }
    assert_eq!(rig.postfix.count_log("(warning|error|fatal|panic): "), 0);
    assert_eq!(rig.gatepost.count_log(" (warn|error) "), 0);
    assert_eq!(rig.gatepost.metric("gatepost_fail_open_total", &[]), Some(0.0));
    // Each recipient was decided once, whatever the policy was.
    assert_eq!(rig.gatepost.metric("gatepost_recipients_total", &["verdict=\"accept\""]), Some(300.0));
}
