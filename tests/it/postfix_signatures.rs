//! Signed mail through a real Postfix: what comes to the milter, to the byte, is what was
//! signed; and what was found is told to the next hop.

use crate::rig::dns::NameServer;
use crate::rig::dns::dns_is_missing;
use crate::rig::*;
use std::fs;
use std::path::Path;

const RULES: &str = r#"
rules:
  - {name: dkim, when: {dkim: any}, then: {add_header: {X-Dkim: "{dkim} {dkim_domain} {dkim_reason}"}}}
  - {name: arc, when: {arc: any}, then: {add_header: {X-Arc: "{arc} {arc_sealer} {arc_reason}"}}}
  - {name: dmarc, when: {dmarc: any}, then: {add_header: {X-Dmarc: "{dmarc} {dmarc_policy} {from_domain}"}}}
  - {name: believed, when: {arc: {is: pass, sealer: forwarder.example}}, then: {add_header: {X-Believed: "{arc_sealer}"}}}
  - {name: older, when: {arc: {is: pass, sealer: lists.example}}, then: {add_header: {X-Older: "{arc_sealer}"}}}
  - {name: forged, when: forged_headers, then: {remove_header: matched}}
  - {name: forged-twice, when: forged_headers, then: {remove_header: matched}}
  - name: results
    when: {authentication_results: {name: mx.test.example}}
    then: {add_header: {Authentication-Results: "{authentication_results}"}}
"#;

fn signed(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/signed").join(format!("{name}.eml"));
    fs::read_to_string(path).unwrap().replace('\n', "\r\n")
}

/// The records of the messages below `example`, and a policy.
fn records() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/signed/zone");
    let text = fs::read_to_string(path).unwrap();
    let texts = text.lines().filter(|line| line.contains(" TXT "));
    let lines = texts.map(|line| line.replacen(".example TXT", " TXT", 1));
    let lines: String = lines.map(|line| line + "\n").collect();
    lines + "_dmarc.signer TXT \"v=DMARC1; p=reject\"\n"
}

fn start() -> Option<(Rig, NameServer)> {
    if skipped() || dns_is_missing() {
        return None;
    }
    let server = NameServer::nsd("example", &records());
    let sink = Sink::start();
    let more =
        format!("dns: {{nameservers: [\"{}\"]}}\nlocal: {{hostnames: [mx.test.example]}}", server.address());
    let gatepost = Gatepost::start(&[("10-test.yaml", RULES)], &more, Sockets::Inet);
    let setup = Setup {
        next_hop: sink.port,
        policy: Some(gatepost.policy.clone()),
        milter: Some(gatepost.milter.clone()),
        ..Setup::default()
    };
    Some((Rig { postfix: Postfix::start(setup), gatepost, sink }, server))
}

#[test]
fn signed_mail_passes_and_changed_mail_fails() {
    let Some((rig, _server)) = start() else { return };
    let cases = [
        ("relaxed", "pass signer.example", "pass reject signer.example"),
        ("simple", "pass signer.example", "pass reject signer.example"),
        ("mixed", "pass signer.example", "pass reject signer.example"),
        ("ed25519", "pass signer.example", "pass reject signer.example"),
        ("blank-tail", "pass signer.example", "pass reject signer.example"),
        ("body-changed", "fail signer.example the body was changed", "fail reject signer.example"),
        (
            "subject-changed",
            "fail signer.example its header was changed, or its key is another",
            "fail reject signer.example",
        ),
        ("key-absent", "permerror signer.example there is no such key", "fail reject signer.example"),
        ("sha1", "permerror signer.example rsa-sha1 proves nothing any more", "fail reject signer.example"),
    ];
    for ((name, dkim, dmarc), count) in cases.into_iter().zip(1..) {
        rig.send(&signed(name)).expect(250);
        let messages = rig.sink.messages(count);
        let message = messages.last().unwrap();
        assert_eq!(message.header("X-Dkim"), [dkim], "{name}");
        assert_eq!(message.header("X-Dmarc"), [dmarc], "{name}");
        assert_eq!(message.header("X-Arc"), ["none"], "{name}");
    }
    let counted = |result: &str| {
        let result = format!("result=\"{result}\"");
        rig.gatepost.metric("gatepost_authentication_results_total", &["method=\"dkim\"", &result])
    };
    assert_eq!([counted("pass"), counted("fail"), counted("permerror")], [Some(5.0), Some(2.0), Some(2.0)]);
}

#[test]
fn forwarded_mail_has_its_chain_and_all_is_told_in_one_field() {
    let Some((rig, _server)) = start() else { return };
    rig.send(&signed("arc-two")).expect(250);
    rig.send(&signed("arc-changed")).expect(250);
    let messages = rig.sink.messages(2);
    assert_eq!(messages[0].header("X-Arc"), ["pass forwarder.example"]);
    assert_eq!(messages[1].header("X-Arc"), ["fail  the body was changed since it was last forwarded"]);
    // Who sealed it last counts, and only where the chain holds.
    assert_eq!(messages[0].header("X-Believed"), ["forwarder.example"]);
    assert_eq!(messages[0].header("X-Older"), Vec::<&str>::new());
    assert_eq!(messages[1].header("X-Older"), Vec::<&str>::new());
    // Ours stands above those that came with it.
    let told = messages[0].header("Authentication-Results")[0];
    assert!(told.starts_with("mx.test.example; "), "{told}");
    for part in [
        "; dmarc=pass policy.dmarc=reject header.from=signer.example; ",
        "; arc=pass header.d=forwarder.example; ",
        "; dkim=pass header.d=signer.example header.s=r2048 header.b=",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

/// A session of a stranger.
fn stranger(rig: &Rig) -> Smtp {
    let mut client = rig.client();
    client.say("XCLIENT NAME=a.example ADDR=203.0.113.7").expect(220);
    client.say("EHLO a.example").expect(250);
    client
}

#[test]
fn what_strangers_say_in_our_name_goes_and_ours_stays() {
    let Some((rig, _server)) = start() else { return };
    let forged = "Authentication-Results: mx.test.example; dmarc=pass header.from=bank.example\r\n";
    let folded = "authentication-results:\r\n (x) MX.test.example 1;\r\n dmarc=pass\r\n";
    let other = "Authentication-Results: mx.other.example; dkim=pass\r\n";
    let mail = format!("{forged}{other}{folded}{forged}{other}{}", signed("body-changed"));
    stranger(&rig).deliver(ALICE, &[BOB], &mail).expect(250);
    let message = rig.sink.message();
    let results = message.header("Authentication-Results");
    assert_eq!(results.len(), 3, "{results:?}");
    assert!(results[0].starts_with("mx.test.example; "), "{results:?}");
    assert!(results[0].contains("dmarc=fail ") && !results[0].contains("bank.example"), "{results:?}");
    assert_eq!(results[1..], ["mx.other.example; dkim=pass"; 2]);
}

#[test]
fn a_sender_puts_no_results_into_ours() {
    let Some((rig, _server)) = start() else { return };
    for sender in ["\"; dmarc=pass header.from=bank.example; x\"@sender.example", "\"a(b\"@sender.example"] {
        stranger(&rig).deliver(sender, &[BOB], "From: a@signer.example\r\n\r\nx\r\n").expect(250);
    }
    for message in rig.sink.messages(2) {
        let results = message.header("Authentication-Results");
        assert_eq!(results.len(), 1, "{results:?}");
        assert_eq!(results[0].matches("; dmarc=").count(), 1, "{results:?}");
        assert!(results[0].contains("dmarc=fail ") && !results[0].contains("smtp.mailfrom"), "{results:?}");
    }
    // A bounce has no sender: the host speaks for itself.
    stranger(&rig).deliver("", &[BOB], "From: a@signer.example\r\n\r\nx\r\n").expect(250);
    let messages = rig.sink.messages(3);
    let told = messages[2].header("Authentication-Results")[0];
    assert!(told.contains("; spf=none smtp.helo=a.example; "), "{told}");
}
