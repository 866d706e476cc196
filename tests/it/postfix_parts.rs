//! Parts taken out, renamed and replaced in mail on its way through a real Postfix: what
//! the next hop gets, byte by byte, and what is said of it.

use crate::rig::*;

const RULES: &str = r#"
rules:
  - name: out
    when: {header: {X-Do: remove}, attachment: .exe}
    then:
      first_of:
        - remove_parts
        - hold: "{file} in a mail that can't be changed"
  - {name: notice, when: {header: {X-Do: replace}, attachment: [.exe, .scr]}, then: {replace_parts: "{file} was taken out here: {rule}"}}
  - {name: other-name, when: {header: {X-Do: rename}, attachment: .exe}, then: {rename_parts: "{file}.txt"}}
"#;

const NAME: &str = "local: {hostnames: [mx.test.example]}";

fn mail(what: &str, more: &str, body: &str) -> String {
    format!(
        "From: alice@sender.example\r\nX-Do: {what}\r\n{more}MIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=b\r\n\r\n{body}"
    )
}

const TEXT: &str = "preamble \t \r\n--b\r\nContent-Type: text/plain\r\n\r\nhello  \r\n";
const PROGRAM: &str = "--b\r\nX-Kept: yes\r\nContent-Type: application/octet-stream;\r\n name=\"setup.exe\"\r\n\
    Content-Transfer-Encoding: base64\r\n\r\nTVqQAAMAAAAEAAAA\r\n";
const REST: &str = "--b\r\nContent-Type: text/x-log; name=a.log\r\n\r\n\r\nlast \r\n--b--\r\nepilogue\r\n";

fn whole() -> String {
    [TEXT, PROGRAM, REST].concat()
}

/// As smtp-sink writes it down, with LF.
fn written(body: &str) -> String {
    body.replace("\r\n", "\n")
}

#[test]
fn a_part_is_taken_out_and_every_other_byte_arrives() {
    let Some(rig) = Rig::configured(RULES, NAME) else { return };
    rig.send(&mail("remove", "", &whole())).expect(250);
    let message = rig.sink.message();
    assert_eq!(message.body.trim_end(), written(&[TEXT, REST].concat()).trim_end());
    assert_eq!(message.header("Content-Type"), ["multipart/mixed; boundary=b"]);
    assert_eq!(message.header("Authentication-Results"), Vec::<&str>::new());
    let line = rig.gatepost.wait_log("^.* message accept .*changed=");
    assert!(line.contains("changed=\"removed setup.exe\""), "{line}");
}

#[test]
fn a_signature_that_breaks_is_told_to_the_next_hop_and_in_the_log() {
    let Some(rig) = Rig::configured(RULES, NAME) else { return };
    let signature = "DKIM-Signature: v=1; a=rsa-sha256; d=sender.example; s=s; h=From; bh=x; b=x\r\n";
    rig.send(&mail("remove", signature, &whole())).expect(250);
    let message = rig.sink.message();
    let told = message.header("Authentication-Results");
    assert!(told[0].starts_with("mx.test.example; none (the body was changed"), "{told:?}");
    let line = rig.gatepost.wait_log("changed=");
    assert!(line.contains("changed=\"removed setup.exe; signatures no longer fit\""), "{line}");
}

#[test]
fn a_notice_stands_where_the_part_was() {
    let Some(rig) = Rig::configured(RULES, NAME) else { return };
    let second = PROGRAM.replace("setup.exe", "saver.scr");
    rig.send(&mail("replace", "", &[TEXT, PROGRAM, &second, REST].concat())).expect(250);
    let notice = |name: &str| {
        format!(
            "--b\r\nX-Kept: yes\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Disposition: inline\r\n\
             Content-Transfer-Encoding: 7bit\r\n\r\n{name} was taken out here: notice\r\n\r\n"
        )
    };
    let expected = [TEXT, &notice("setup.exe"), &notice("saver.scr"), REST].concat();
    assert_eq!(rig.sink.message().body.trim_end(), written(&expected).trim_end());
}

#[test]
fn a_part_gets_a_name_that_nothing_opens() {
    let Some(rig) = Rig::configured(RULES, NAME) else { return };
    rig.send(&mail("rename", "", &whole())).expect(250);
    let renamed = "--b\r\nX-Kept: yes\r\nContent-Transfer-Encoding: base64\r\n\
        Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=\"setup.exe.txt\"\r\n\r\n\
        TVqQAAMAAAAEAAAA\r\n";
    assert_eq!(rig.sink.message().body.trim_end(), written(&[TEXT, renamed, REST].concat()).trim_end());
}

#[test]
fn a_mail_of_one_part_has_another_header() {
    let Some(rig) = Rig::configured(RULES, NAME) else { return };
    let mail = "From: alice@sender.example\r\nX-Do: replace\r\nMIME-Version: 1.0\r\n\
        Content-Type: application/x-msdownload; name=setup.exe\r\nContent-Disposition: attachment\r\n\
        Content-Transfer-Encoding: base64\r\n\r\nTVqQAAMAAAAEAAAA\r\n";
    rig.send(mail).expect(250);
    let message = rig.sink.message();
    assert_eq!(message.header("Content-Type"), ["text/plain; charset=utf-8"]);
    assert_eq!(message.header("Content-Transfer-Encoding"), ["7bit"]);
    assert_eq!(message.header("Content-Disposition"), ["inline"]);
    assert_eq!(message.body.trim_end(), "setup.exe was taken out here: notice");
}

#[test]
fn what_its_author_signed_is_held_instead() {
    let Some(rig) = Rig::configured(RULES, NAME) else { return };
    let signed = format!(
        "From: alice@sender.example\r\nX-Do: remove\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\"; micalg=sha-256; boundary=s\r\n\r\n\
         --s\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{}\r\n--s\r\n\
         Content-Type: application/pkcs7-signature; name=smime.p7s\r\nContent-Transfer-Encoding: base64\r\n\r\n\
         MIIB\r\n--s--\r\n",
        whole()
    );
    rig.send(&signed).expect(250);
    let held = rig.postfix.held();
    let kept = rig.postfix.postcat(&held.id);
    assert!(kept.contains("TVqQAAMAAAAEAAAA"), "{kept}");
    rig.gatepost.wait_log("setup.exe in a mail that can't be changed");
    assert_eq!(rig.sink.count(), 0);
}

#[test]
fn a_large_mail_arrives_whole_but_for_its_part() {
    let Some(rig) = Rig::configured(RULES, NAME) else { return };
    let line = "All work and no play makes a postmaster a dull person, they say here.\r\n";
    let rest = REST.replace("last", &line.repeat(30_000));
    rig.send(&mail("remove", "", &[TEXT, PROGRAM, &rest].concat())).expect(250);
    let is_whole = rig.sink.message().body.trim_end() == written(&[TEXT, &rest].concat()).trim_end();
    assert!(is_whole);
}

#[test]
fn mail_of_programs_on_this_machine_is_changed_too() {
    let Some(rig) = Rig::configured(RULES, NAME) else { return };
    rig.postfix.sendmail(ALICE, &[BOB], &written(&mail("remove", "", &whole())));
    assert!(!rig.sink.message().body.contains("TVqQ"));
}
