//! STARTTLS: the client greets a second time, and what is known of the
//! connection's encryption is the same on both sides.

use crate::rig::tls::Certificate;
use crate::rig::*;

const RULES: &str = r#"
rules:
  - {name: before, when: {helo_name: before.example}, then: [{tag: before}, {score: 2}]}
  - {name: after, when: {helo_name: after.example}, then: [{tag: after}, {score: 3}]}
  - {name: secret, when: {encryption_protocol: present}, then: {tag: secret}}
  - {name: plain, when: {encryption_keysize: 0}, then: {tag: plain}}
  - {name: at-rcpt, when: {recipient: present}, then: {add_header: {X-Rcpt: "<{helo_name} {encryption_protocol} {encryption_cipher} {encryption_keysize}>"}}}
  - {name: at-end, when: {header: {Subject: present}}, then: {add_header: {X-End: "<{helo_name} {encryption_protocol} {encryption_cipher} {encryption_keysize}>"}}}
  - {name: was-before, when: {tag: before, header: {Subject: present}}, then: {add_header: {X-Tag: before}}}
  - {name: was-after, when: {tag: after, header: {Subject: present}}, then: {add_header: {X-Tag: after}}}
  - {name: was-secret, when: {tag: secret, header: {Subject: present}}, then: {add_header: {X-Tag: secret}}}
  - {name: was-plain, when: {tag: plain, header: {Subject: present}}, then: {add_header: {X-Tag: plain}}}
  - {name: points, when: {score: {at_least: 1}, header: {Subject: present}}, then: {add_header: {X-Points: "{score}"}}}
"#;

const IN_PLAINTEXT: &str = "<before.example 0>";
const ENCRYPTED: &str = "<after.example TLSv1.3 TLS_AES_256_GCM_SHA384 256>";

fn with_tls() -> Option<(Rig, Certificate)> {
    let certificate = Certificate::of("mx.test.example");
    Some((Rig::with_main(RULES, &certificate.main())?, certificate))
}

/// Greeted as before.example.
fn in_plaintext(port: u16) -> Smtp {
    let mut client = Smtp::connect(smtp::OUTSIDE, port);
    client.read().expect(220);
    client.say("EHLO before.example").expect_text(250, "STARTTLS");
    client
}

/// Encrypted and greeted again, as after.example.
fn encrypted(client: Smtp, options: &[String]) -> Smtp {
    let mut client = client.starttls(options);
    client.say("EHLO after.example").expect(250);
    client
}

#[track_caller]
fn is(message: &sink::Delivered, facts: &str, tags: [&str; 2], points: &str) {
    let shown = |name: &str| {
        message
            .header(name)
            .iter()
            .map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
    };
    assert_eq!((shown("X-Rcpt"), shown("X-End")), (vec![facts.to_owned()], vec![facts.to_owned()]));
    let mut found = message.header("X-Tag");
    found.sort_unstable();
    assert_eq!((found, message.header("X-Points")), (tags.to_vec(), vec![points]));
}

#[test]
fn what_was_learnt_in_plaintext_is_asked_anew() {
    let Some((rig, _certificate)) = with_tls() else { return };
    for port in [rig.postfix.ports.mx, rig.postfix.ports.early] {
        encrypted(in_plaintext(port), &[]).deliver(ALICE, &[BOB], MAIL).expect(250);
    }
    for message in rig.sink.messages(2) {
        is(&message, ENCRYPTED, ["after", "secret"], "3");
    }
    rig.gatepost.wait_lines(2, "message accept .*seen_by=both");
    rig.gatepost.wait_lines(2, " message ");
}

#[test]
fn a_mail_before_and_a_mail_after_in_one_session_are_two() {
    let Some((rig, _certificate)) = with_tls() else { return };
    for port in [rig.postfix.ports.mx, rig.postfix.ports.early] {
        let mut client = in_plaintext(port);
        client.deliver("plain@sender.example", &[BOB], MAIL).expect(250);
        // Begun and given up by STARTTLS.
        client.envelope("gone@sender.example", &[CAROL]);
        let mut client = encrypted(client, &[]);
        client.deliver(ALICE, &[BOB], MAIL).expect(250);
        client.deliver(ALICE, &[CAROL, BOB], MAIL).expect(250);
    }
    for message in rig.sink.messages(6) {
        match message.sender.as_str() {
            "plain@sender.example" => is(&message, IN_PLAINTEXT, ["before", "plain"], "2"),
            _ => is(&message, ENCRYPTED, ["after", "secret"], "3"),
        }
    }
    rig.gatepost.wait_lines(6, "message accept .*seen_by=both");
    rig.gatepost.wait_lines(2, "message aborted .*from=gone@sender.example .*seen_by=both");
}

/// Postfix asks no restriction list about bare postmaster.
#[test]
fn the_milter_alone_knows_of_encryption() {
    let main = "myorigin = test.example\nsmtpd_data_restrictions =\nsmtpd_end_of_data_restrictions =\n";
    let certificate = Certificate::of("mx.test.example");
    let Some(rig) = Rig::with_main(RULES, &(certificate.main() + main)) else { return };
    let mut client = encrypted(in_plaintext(rig.postfix.ports.mx), &[]);
    client.mail(ALICE).expect(250);
    client.say("RCPT TO:<postmaster>").expect(250);
    client.data(MAIL).expect(250);
    assert_eq!(rig.sink.message().header("X-End"), [ENCRYPTED]);
    rig.gatepost.wait_lines(1, "message accept .*seen_by=milter");
}

/// Without delegation nobody else says that there was another greeting.
#[test]
fn a_milter_without_delegation_asks_anew_too() {
    if skipped() {
        return;
    }
    for decides in ["envelope", "message"] {
        let (sink, certificate) = (Sink::start(), Certificate::of("mx.test.example"));
        let (milter, http) = (format!("inet:127.0.0.1:{}", port::free()), port::free());
        let config = format!(
            "listen:\n  policy: []\n  milter: [{{address: \"{milter}\", decides: {decides}}}]\n  \
             http: {{address: \"127.0.0.1:{http}\"}}\npolicy_dir: policy.d\n"
        );
        let gatepost = Gatepost::configured(&[("10-test.yaml", RULES)], &config, "", &milter, http);
        let setup =
            Setup { milter: Some(milter), next_hop: sink.port, main: certificate.main(), ..Setup::default() };
        let rig = Rig { postfix: Postfix::start(setup), gatepost, sink };
        let mut client = in_plaintext(rig.postfix.ports.mx);
        client.deliver("plain@sender.example", &[BOB], MAIL).expect(250);
        let mut client = encrypted(client, &[]);
        client.deliver(ALICE, &[BOB], MAIL).expect(250);
        client.say("EHLO before.example").expect(250);
        client.deliver("back@sender.example", &[BOB], MAIL).expect(250);
        for message in rig.sink.messages(3) {
            let (tags, points) = match message.sender.as_str() {
                "plain@sender.example" => (["before", "plain"], "2"),
                ALICE => (["after", "secret"], "3"),
                _ => (["before", "secret"], "2"),
            };
            let mut found = message.header("X-Tag");
            found.sort_unstable();
            assert_eq!((found, message.header("X-Points")), (tags.to_vec(), vec![points]), "{decides}");
        }
    }
}

/// The subject's xtext in delegation and the milter's plain text are one fact; it
/// is told of trusted certificates only, the fingerprint of any.
#[test]
fn a_clients_certificate_is_a_fact() {
    if skipped() {
        return;
    }
    let rules = r#"
rules:
  - {name: rcpt, when: {ccert_fingerprint: present}, then: {add_header: {X-Rcpt: "<{ccert_subject}> <{ccert_issuer}>"}}}
  - {name: known, when: {ccert_subject: "a+b = c"}, then: {tag: known}}
  - {name: end, when: {header: {Subject: present}}, then: {add_header: {X-End: "<{ccert_subject}> <{ccert_issuer}>"}}}
  - {name: both, when: {tag: known, header: {Subject: present}}, then: {add_header: {X-Known: "yes"}}}
"#;
    let (server, client) = (Certificate::of("mx.test.example"), Certificate::of("a+b = c"));
    let names = "<a+b = c> <a+b = c>";
    for (main, expected, known) in
        [(server.main() + &client.trusted(), names, &["yes"][..]), (server.main(), "<> <>", &[])]
    {
        let Some(rig) = Rig::with_main(rules, &main) else { return };
        encrypted(in_plaintext(rig.postfix.ports.mx), &client.of_client())
            .deliver(ALICE, &[BOB], MAIL)
            .expect(250);
        let message = rig.sink.message();
        assert_eq!((message.header("X-Rcpt"), message.header("X-End")), (vec![expected], vec![expected]));
        assert_eq!(message.header("X-Known"), known);
    }
}
