//! The command line and the running daemon: what an operator lists and takes off
//! is what rules find, and nobody else is heard.

use crate::rig::*;
use std::fs;
use std::io::Read as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::process::Stdio;

const RULES: &str = r#"
rules:
  - {name: suspended, when: {listed: {key: sasl_username, reason: cracked}}, then: {hold: "suspended: {reason}"}}
  - {name: stopped, when: {listed: {key: client_address}}, then: {defer: "4.7.1 stopped for {reason}"}}
"#;

/// A session of this address as far as a recipient, and what is answered.
fn rcpt(rig: &Rig, address: &str, code: u16, text: &str) {
    let mut client = rig.client();
    client.say(&format!("XCLIENT NAME=x.example ADDR={address} PORT=1000")).expect(220);
    client.say("EHLO x.example").expect(250);
    client.mail(ALICE).expect(250);
    client.rcpt(BOB).expect_text(code, text);
}

#[test]
fn an_operator_lists_and_takes_off() {
    let Some(rig) = Rig::start(RULES) else { return };
    let run = |words: &[&str]| rig.gatepost.command(words);
    assert_eq!(run(&["listed", "show"]), (0, String::new(), String::new()));
    rcpt(&rig, "198.51.100.7", 250, "Ok");
    assert_eq!(run(&["listed", "add", "198.51.100.7", "virus", "--for", "2h"]).0, 0);
    assert_eq!(run(&["listed", "add", "IPv6:2001:DB8::7", "bot"]).0, 0);
    rcpt(&rig, "198.51.100.7", 450, "stopped for virus");
    let (code, shown, _) = run(&["listed", "show"]);
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!((code, lines.len()), (0, 2), "{shown}");
    assert!(lines[0].starts_with("198.51.100.7 reason=virus since=20"), "{shown}");
    assert!(
        lines[1].starts_with("2001:db8::/64 reason=bot ") && lines[1].ends_with(" times=1 by=operator"),
        "{shown}"
    );
    assert_eq!(run(&["listed", "show", "198.51.100.8"]).1, "");
    assert_eq!(run(&["listed", "del", "198.51.100.7", "other"]).0, 1);
    assert_eq!(run(&["listed", "del", "198.51.100.7"]).0, 0);
    rcpt(&rig, "198.51.100.7", 250, "Ok");
    rig.gatepost.wait_log("taken off the lists by the operator");
    for (words, code, why) in [
        (&["listed", "add", "x", "two words"][..], 3, "is not a reason"),
        (&["listed", "add", "x", "y", "--for", "soon"], 2, "is not a time"),
        (&["listed", "add", "x", "y", "--for", "400d"], 3, "from 1s to 366d"),
        (&["listed"], 2, "Usage"),
    ] {
        let (found, _, said) = run(words);
        assert!(found == code && said.contains(why), "{words:?}: {found} {said}");
    }
}

#[test]
fn an_operator_sees_of_what_use_lists_are() {
    let rules = "lists:\n  known: {of: client, entries: [198.51.100.0/28, .friend.example]}\n\
                 rules:\n  - {name: known, when: {client: {in: known}}, then: {tag: known}}\n";
    let Some(rig) = Rig::start(rules) else { return };
    let run = |words: &[&str]| rig.gatepost.command(words);
    rcpt(&rig, "198.51.100.7", 250, "Ok");
    rcpt(&rig, "198.51.100.99", 250, "Ok");
    let (code, shown, _) = run(&["lists", "show"]);
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!((code, lines.len()), (0, 2), "{shown}");
    assert_eq!(lines[0], ".friend.example list=known count=0 first=never last=never");
    assert!(lines[1].starts_with("198.51.100.0/28 list=known count=1 first=20"), "{shown}");
    for (words, code, why) in [
        (&["lists", "show", "nowhere"][..], 3, "no rule asks for list `nowhere`"),
        (&["lists", "unused"], 3, "has not counted for so long"),
        (&["lists", "unused", "--for", "soon"], 2, "is not a time"),
    ] {
        let (found, _, said) = run(words);
        assert!(found == code && said.contains(why), "{words:?}: {found} {said}");
    }
}

#[test]
fn an_operator_sees_a_limit_and_sets_it_back() {
    let rules =
        "rules:\n  - {name: busy, when: {rate: {key: sender, limits: [2/1h strict, 50/1d]}}, then: defer}\n";
    let Some(rig) = Rig::start(rules) else { return };
    let run = |words: &[&str]| rig.gatepost.command(words);
    let (code, _, said) = run(&["limits", "show", ALICE]);
    assert!(code == 1 && said.contains("nothing is counted"), "{said}");
    for _ in 0..2 {
        rig.send(MAIL).expect(250);
    }
    let mut refused = rig.client();
    refused.mail(ALICE).expect(250);
    refused.rcpt(BOB).expect(450);
    let (code, shown, _) = run(&["limits", "show", &ALICE.to_uppercase()]);
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!((code, lines.len()), (0, 2), "{shown}");
    assert!(
        lines[0].starts_with(&format!("{ALICE} used=2 allowed=2 window=\"2/1h strict\" next=")),
        "{shown}"
    );
    assert!(lines[0].ends_with(" rules=busy") && !lines[0].contains("next=now"), "{shown}");
    assert!(lines[1].contains(" used=2 allowed=50 window=50/1d next=now "), "{shown}");
    assert_eq!(run(&["limits", "top"]).1, shown);
    assert_eq!(run(&["limits", "reset", ALICE]).0, 0);
    rig.send(MAIL).expect(250);
    rig.gatepost.wait_log("its limits are set back by the operator");
}

/// The mode keeps others out; where it does not, the daemon asks who they are.
#[test]
fn another_user_is_refused() {
    let Some(rig) = Rig::start(RULES) else { return };
    let socket = rig.gatepost.control();
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let script = r#"use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "$!";
        print $s qq({"ask":"listed_add","key":"x","reason":"y","seconds":9}\n); $s->flush; print <$s>;"#;
    let said = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "perl", "-e", script])
        .arg(&socket)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains("refused") && said.contains("user 65534 may not"), "{said}");
    assert_eq!(rig.gatepost.command(&["listed", "show"]).1, "");
    rig.gatepost.wait_log("refused on the control socket");
}

#[test]
fn garbage_on_the_control_socket_is_refused_and_the_next_is_served() {
    let Some(rig) = Rig::start(RULES) else { return };
    for bytes in
        [&b"\n"[..], b"{}\n", b"\xff\xfe\n", b"{\"ask\":\"listed_show\",\"key\":5}\n", &[b'x'; 100_000]]
    {
        let mut stream = UnixStream::connect(rig.gatepost.control()).unwrap();
        let _ = stream.write_all(bytes);
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said);
        assert!(said.is_empty() || said.contains("refused"), "{said}");
    }
    assert_eq!(rig.gatepost.command(&["listed", "show"]).0, 0);
}

#[test]
fn without_a_daemon_the_command_says_what_to_do() {
    let Some(rig) = Rig::start(RULES) else { return };
    fs::remove_file(rig.gatepost.control()).unwrap();
    let (code, _, said) = rig.gatepost.command(&["listed", "show"]);
    assert!(code == 3 && said.contains("does it run with this configuration?"), "{code} {said}");
}
