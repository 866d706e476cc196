//! Mail that comes through no port: sendmail(1), and Postfix's own bounces.
//! Only the milter sees it, and must not refuse a simulated RCPT: the mail
//! would stay in the queue, or a bounce be lost.

use crate::rig::*;

const RULES: &str = r#"
rules:
  - {name: rcpt, when: {recipient: no@test.example}, then: {reject: 5.7.1 no such person}}
  - {name: keep, when: {recipient: hold@test.example}, then: {hold: look at it}}
  - {name: swallow, when: {header: {X-Do: discard}}, then: discard}
  - {name: local, when: {direction: local, header: {Subject: present}}, then: {add_header: {X-Local: "yes"}}}
"#;

fn mail(what: &str) -> String {
    format!("From: {ALICE}\nX-Do: {what}\nSubject: from a script\n\nHello.\n")
}

#[test]
fn sendmail_is_seen() {
    let Some(rig) = Rig::start(RULES) else { return };
    rig.postfix.sendmail(ALICE, &[BOB, CAROL], &mail("nothing"));
    let message = rig.sink.message();
    assert_eq!(message.header("X-Local"), ["yes"]);
    assert_eq!(message.recipients, [BOB, CAROL]);
}

/// SMTP on standard input, as some mail programs speak it: no restriction list is
/// asked, and the milter sees it as it sees any local mail.
#[test]
fn sendmail_that_speaks_smtp_is_seen() {
    let Some(rig) = Rig::start(RULES) else { return };
    let dialogue = format!(
        "EHLO localhost\r\nMAIL FROM:<{ALICE}>\r\nRCPT TO:<{BOB}>\r\nDATA\r\n{}\r\n.\r\nQUIT\r\n",
        mail("nothing").trim_end().replace('\n', "\r\n")
    );
    let etc = rig.postfix.etc();
    let output = program::try_run("/usr/sbin/sendmail", ["-C", etc.to_str().unwrap(), "-bs"], &dialogue);
    assert!(output.status.success(), "{}", program::both(&output));
    assert_eq!(rig.sink.message().header("X-Local"), ["yes"]);
    rig.gatepost.wait_lines(1, "message accept .*direction=local .*seen_by=milter");
}

#[test]
fn sendmail_is_held_and_discarded_at_the_end() {
    let Some(rig) = Rig::start(RULES) else { return };
    rig.postfix.sendmail(ALICE, &["hold@test.example"], &mail("nothing"));
    rig.postfix.held();
    rig.postfix.sendmail(ALICE, &[BOB], &mail("discard"));
    rig.postfix.wait_log("milter-discard");
    assert_eq!(rig.sink.count(), 0);
}

#[test]
fn a_recipient_refused_in_sendmail_stops_the_mail_without_a_bounce() {
    let Some(rig) = Rig::start(RULES) else { return };
    rig.postfix.sendmail(ALICE, &["no@test.example", BOB], &mail("nothing"));
    // Held, or put off in the maildrop; never refused, since nobody is there to hear it.
    let queued = until("the mail in some queue", || {
        rig.postfix
            .queue()
            .into_iter()
            .find(|queued| ["hold", "maildrop", "deferred"].contains(&queued.queue.as_str()))
    });
    assert_eq!(rig.postfix.count_log(&format!("{}: sender non-delivery", queued.id)), 0);
    // Another mail is not held up behind it.
    rig.postfix.sendmail(ALICE, &[BOB], &mail("nothing"));
    assert_eq!(rig.sink.message().recipients, [BOB]);
}

#[test]
fn our_own_bounce_is_never_refused() {
    if skipped() {
        return;
    }
    let refusing = Sink::refusing();
    let rules = "rules:\n  - {name: null-sender, when: {sender: <>}, then: {reject: 5.7.1 no bounces}}\n\
                 \x20 - {name: null-content, when: {sender: <>, header: {Subject: present}}, then: {reject: 5.7.1 no bounces}}\n";
    let main = format!("transport_maps = inline:{{refusing.example=smtp:[127.0.0.1]:{}}}", refusing.port);
    let Some(rig) = Rig::with_main(rules, &main) else { return };
    let mut client = Smtp::greeted_from(smtp::INSIDE, rig.postfix.ports.mx);
    client.deliver(ALICE, &["someone@refusing.example"], MAIL).expect(250);
    let bounce = rig.sink.message();
    assert_eq!(bounce.sender, "");
    assert_eq!(bounce.recipients, [ALICE]);
    // A stranger's bounce meets the rule.
    let mut stranger = rig.client();
    stranger.mail("").expect(250);
    stranger.rcpt(BOB).expect(554);
}
