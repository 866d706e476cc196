//! Every action at `message`: what the client hears at the end of its data,
//! and what the next hop gets.

use crate::rig::*;

const RULES: &str = r#"
rules:
  - {name: refuse, when: {header: {X-Do: refuse}}, then: {reject: "552 5.7.8 100% sure, 50%% off"}}
  - {name: later, when: {header: {X-Do: later}}, then: {defer: "452 4.7.8 90% full"}}
  - {name: if-permit, when: {header: {X-Do: wait}}, then: {defer_if_permit: 4.2.0 wait a little}}
  - {name: keep, when: {header: {X-Do: hold}}, then: {hold: a person will look}}
  - {name: swallow, when: {header: {X-Do: discard}}, then: discard}
  - {name: elsewhere, when: {header: {X-Do: redirect}}, then: {redirect: archive@test.example}}
  - {name: copy, when: {header: {X-Do: bcc}}, then: {bcc: archive@test.example}}
  - {name: top, when: {header: {X-Do: add}}, then: {add_header: {X-Top: "from {sender}"}}}
  - {name: end, when: {header: {X-Do: add}}, then: {add_header: {X-End: {text: below all, at: end}}}}
  - {name: change, when: {header: {X-Do: change}}, then: {change_header: {Subject: "[list] {old}"}}}
  - {name: change-missing, when: {header: {X-Do: missing}}, then: {change_header: {X-Nowhere: new}}}
  - {name: remove, when: {header: {X-Do: remove}}, then: {remove_header: [X-Mailer, X-Spam-Flag]}}
  - {name: sender, when: {header: {X-Do: sender}}, then: {change_sender: robot@test.example}}
  - {name: body, when: {header: {X-Do: body}}, then: {replace_body: Taken away.}}
  - {name: large, when: {size: {over: 20K}}, then: {reject: "5.3.4 too large"}}
  - {name: program, when: {attachment: .exe}, then: {reject: "5.7.1 {file} is a program"}}
  - {name: enough, when: {header: {X-Do: first}}, then: {add_header: {X-First: "yes"}}}
  - {name: ends, when: {header: {X-Do: first}}, then: accept}
  - {name: never, when: {header: {X-Do: /first/}}, then: {reject: 5.7.1 not reached}}
"#;

/// A mail that asks for one of the rules.
fn asking(what: &str) -> String {
    format!(
        "From: alice@sender.example\r\nX-Mailer: one\r\nSubject: an\r\n ordinary mail\r\nX-Do: {what}\r\n\
         x-mailer: two\r\nX-Spam-Flag: NO\r\nX-Last: yes\r\n\r\nHello.\r\n"
    )
}

#[test]
fn reject_and_defer_give_their_own_code_and_keep_the_percent_sign() {
    let Some(rig) = Rig::start(RULES) else { return };
    let mut client = rig.client();
    client.deliver(ALICE, &[BOB], &asking("refuse")).expect_text(552, "5.7.8 100% sure, 50%% off");
    client.deliver(ALICE, &[BOB], &asking("later")).expect_text(452, "4.7.8 90% full");
    client.deliver(ALICE, &[BOB], &asking("refuse")).expect_text(552, "5.7.8");
    client.deliver(ALICE, &[BOB], &asking("wait")).expect_text(450, "4.2.0 wait a little");
    // The session is as good as before.
    client.deliver(ALICE, &[BOB], &asking("nothing")).expect(250);
    assert_eq!(rig.sink.message().header("X-Do"), ["nothing"]);
}

#[test]
fn hold_quarantines() {
    let Some(rig) = Rig::start(RULES) else { return };
    rig.send(&asking("hold")).expect(250);
    rig.postfix.held();
    rig.postfix.wait_log("milter-hold");
    assert_eq!(rig.sink.count(), 0);
}

#[test]
fn discard_swallows() {
    let Some(rig) = Rig::start(RULES) else { return };
    rig.send(&asking("discard")).expect(250);
    rig.postfix.wait_log("milter-discard");
    rig.postfix.wait_empty();
    assert_eq!(rig.sink.count(), 0);
}

#[test]
fn redirect_replaces_all_recipients() {
    let Some(rig) = Rig::start(RULES) else { return };
    rig.client().deliver(ALICE, &[BOB, "\"odd name\"@test.example"], &asking("redirect")).expect(250);
    assert_eq!(rig.sink.message().recipients, ["archive@test.example"]);
}

#[test]
fn bcc_adds_a_recipient() {
    let Some(rig) = Rig::start(RULES) else { return };
    rig.send(&asking("bcc")).expect(250);
    rig.postfix.wait_log("to=<archive@test.example>.*status=sent");
    rig.postfix.wait_empty();
    let messages = rig.sink.messages(rig.sink.count());
    let mut all: Vec<_> = messages.into_iter().flat_map(|message| message.recipients).collect();
    all.sort();
    assert_eq!(all, ["archive@test.example", BOB]);
}

#[test]
fn add_header_stands_on_top_or_at_the_end() {
    let Some(rig) = Rig::start(RULES) else { return };
    rig.send(&asking("add")).expect(250);
    let message = rig.sink.message();
    assert_eq!(message.header("X-Top"), ["from alice@sender.example"]);
    assert_eq!(message.header("X-End"), ["below all"]);
    assert!(message.position("X-Top") < message.position("From"));
    assert!(message.position("X-End") > message.position("X-Last"));
}

#[test]
fn change_header_knows_the_old_value_and_keeps_the_place() {
    let Some(rig) = Rig::start(RULES) else { return };
    rig.send(&asking("change")).expect(250);
    let message = rig.sink.message();
    assert_eq!(message.header("Subject"), ["[list] an ordinary mail"]);
    assert!(message.position("Subject") < message.position("X-Do"));
}

#[test]
fn remove_header_takes_every_instance_whatever_its_case() {
    let Some(rig) = Rig::start(RULES) else { return };
    rig.send(&asking("remove")).expect(250);
    let message = rig.sink.message();
    assert!(message.header("X-Mailer").is_empty());
    assert!(message.header("X-Spam-Flag").is_empty());
    assert_eq!(message.header("X-Last"), ["yes"]);
}

#[test]
fn change_header_without_such_a_header_leaves_the_rest_alone() {
    let Some(rig) = Rig::start(RULES) else { return };
    rig.send(&asking("missing")).expect(250);
    assert_eq!(rig.sink.message().header("Subject"), ["an ordinary mail"]);
}

#[test]
fn change_sender_and_replace_body() {
    let Some(rig) = Rig::start(RULES) else { return };
    let mut client = rig.client();
    client.deliver(ALICE, &[BOB], &asking("sender")).expect(250);
    client.deliver(ALICE, &[BOB], &asking("body")).expect(250);
    let messages = rig.sink.messages(2);
    let by = |what: &str| messages.iter().find(|message| message.header("X-Do") == [what]).unwrap();
    assert_eq!(by("sender").sender, "robot@test.example");
    assert_eq!(by("sender").body, "Hello.\n");
    assert_eq!(by("body").sender, ALICE);
    assert_eq!(by("body").body, "Taken away.\n");
}

#[test]
fn size_is_the_real_one_and_attachments_are_found_in_a_long_body() {
    let Some(rig) = Rig::start(RULES) else { return };
    let mut client = rig.client();
    let long = format!("Subject: long\r\n\r\n{}", "0123456789abcdef\r\n".repeat(2000));
    // The client's word counts for nothing.
    client.say(&format!("MAIL FROM:<{ALICE}> SIZE=10")).expect(250);
    client.rcpt(BOB).expect(250);
    client.data(&long).expect_text(554, "too large");
    let mail = |name: &str| {
        format!(
            "Subject: a file\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nsee file\r\n--b\r\n\
             Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename={name}\r\n\r\n\
             MZ\r\n--b--\r\n"
        )
    };
    client.deliver(ALICE, &[BOB], &mail("photo.EXE")).expect_text(554, "photo.EXE is a program");
    client.deliver(ALICE, &[BOB], &mail("photo.exe.txt")).expect(250);
    assert_eq!(rig.sink.message().header("Subject"), ["a file"]);
}

/// Postfix cuts a field at 60,000 bytes where there is a milter.
#[test]
fn a_field_that_was_cut_is_noted_and_the_next_is_its_own() {
    let rules = "rules:\n  - {name: long, when: {header: {X-Long: present}}, then: {add_header: {X-Seen: \"yes\"}}}\n\
                 \x20 - {name: behind, when: {header: {X-Behind: present}}, then: {change_header: {X-Behind: changed}}}\n";
    let Some(rig) = Rig::start(rules) else { return };
    let lines = vec!["0123456 ".repeat(100).trim_end().to_owned(); 110];
    rig.send(&format!("X-Long: {}\r\nX-Behind: yes\r\n\r\nHello.\r\n", lines.join("\r\n "))).expect(250);
    let message = rig.sink.message();
    assert!(lines.join(" ").starts_with(message.header("X-Long")[0]));
    rig.gatepost.wait_log("not all of the message was read .*may have been cut");
    assert_eq!((message.header("X-Seen"), message.header("X-Behind")), (vec!["yes"], vec!["changed"]));
}

#[test]
fn accept_ends_the_file_and_keeps_what_was_done_before() {
    let Some(rig) = Rig::start(RULES) else { return };
    rig.send(&asking("first")).expect(250);
    assert_eq!(rig.sink.message().header("X-First"), ["yes"]);
}
