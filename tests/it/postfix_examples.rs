//! The lines in `examples/postfix` do what its README says: pasted as they are
//! into a private Postfix, with other ports.

use crate::rig::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use tempfile::TempDir;

const RULES: &str = r#"
rules:
  - {name: no, when: {recipient: no@test.example}, then: {reject: 5.7.1 no such person}}
  - {name: where, when: {header: {Subject: present}}, then: {add_header: {X-Listener: "{listener}"}}}
"#;

const GATEPOST_YAML: &str = include_str!("../../examples/postfix/gatepost.yaml");
const MX: &str = include_str!("../../examples/postfix/mx.cf");
const SMARTHOST: &str = include_str!("../../examples/postfix/smarthost.cf");
const SUBMISSION: &str = include_str!("../../examples/postfix/submission.cf");

/// What differs from the shipped lines: ports, who is a customer, and no TLS or
/// SASL behind the submission port.
struct Substitutes(Vec<(String, String)>);

struct Services {
    gatepost: Gatepost,
    postfix: Postfix,
    sink: Sink,
    submission: u16,
    smarthost: u16,
    reinjection: u16,
    _run: TempDir,
}

impl Substitutes {
    fn apply(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }
}

/// main.cf's and master.cf's part of one file.
fn parts(text: &str) -> (&str, &str) {
    let (main, master) = text.split_once("# ==== master.cf ====").expect("a part for master.cf");
    (main, master)
}

fn services() -> Option<Services> {
    if skipped() {
        return None;
    }
    let ports: Vec<_> =
        [12040, 12041, 12042, 12044, 12045, 12046, 12047].map(|shipped| (shipped, port::free())).into();
    let (submission, smarthost, reinjection) = (port::free(), port::free(), port::free());
    // Postfix must get to the sockets in it.
    let run = tempfile::Builder::new().prefix("gatepost-").tempdir().unwrap();
    fs::set_permissions(run.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut substitutes: Vec<_> = ports
        .iter()
        .map(|(shipped, free)| (format!("127.0.0.1:{shipped}"), format!("127.0.0.1:{free}")))
        .collect();
    for (from, to) in [
        ("127.0.0.1:10025", format!("127.0.0.1:{reinjection}")),
        ("\nsubmission inet", format!("\n127.0.0.1:{submission} inet")),
        ("\n2525 inet", format!("\n127.0.0.1:{smarthost} inet")),
        ("192.0.2.0/24", "127.0.0.3/32".to_owned()),
        ("/run/gatepost/", format!("{}/", run.path().display())),
        ("/var/lib/gatepost", "state".to_owned()),
        ("smtpd_tls_security_level=encrypt", "smtpd_tls_security_level=none".to_owned()),
        ("smtpd_sasl_auth_enable=yes", "smtpd_sasl_auth_enable=no".to_owned()),
        // XCLIENT LOGIN= gives a name, but permit_sasl_authenticated wants a SASL backend.
        ("permit_sasl_authenticated, reject\n", "permit_mynetworks, reject\n".to_owned()),
    ] {
        substitutes.push((from.to_owned(), to));
    }
    let substitutes = Substitutes(substitutes);
    let sink = Sink::start();
    let http = ports[2].1;
    let [policy, milter] = [ports[0].1, ports[1].1].map(|port| format!("inet:127.0.0.1:{port}"));
    let gatepost = Gatepost::configured(
        &[("10-test.yaml", RULES)],
        &substitutes.apply(GATEPOST_YAML),
        &policy,
        &milter,
        http,
    );
    let mut setup = Setup { next_hop: sink.port, ..Setup::default() };
    for text in [MX, SUBMISSION, SMARTHOST] {
        let text = substitutes.apply(text);
        let (main, master) = parts(&text);
        setup.main.push_str(main);
        setup.master.push_str(master);
    }
    let postfix = Postfix::start(setup);
    Some(Services { gatepost, postfix, sink, submission, smarthost, reinjection, _run: run })
}

#[test]
fn postfix_reads_the_lines_without_a_warning() {
    let Some(services) = services() else { return };
    Smtp::greeted(services.postfix.ports.mx).deliver(ALICE, &[BOB], MAIL).expect(250);
    services.sink.message();
    let etc = services.postfix.etc();
    for args in [["-c", etc.to_str().unwrap(), "-n"], ["-c", etc.to_str().unwrap(), "-M"]] {
        let output = program::try_run("/usr/sbin/postconf", args, "");
        let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
        // The rig's own lines come first and are meant to be overridden.
        let ours: Vec<_> =
            warnings.lines().filter(|line| !line.contains("overriding earlier entry")).collect();
        assert!(ours.is_empty(), "{ours:?}");
    }
    assert_eq!(services.postfix.count_log("(warning|fatal|error): "), 0);
}

#[test]
fn each_service_is_heard_on_its_listener() {
    let Some(services) = services() else { return };
    Smtp::greeted(services.postfix.ports.mx).deliver("mx@sender.example", &[BOB], MAIL).expect(250);
    Smtp::greeted_from("127.0.0.1", services.submission)
        .deliver("submission@sender.example", &["x@elsewhere.example"], MAIL)
        .expect(250);
    Smtp::greeted_from("127.0.0.3", services.smarthost)
        .deliver("smarthost@sender.example", &["x@elsewhere.example"], MAIL)
        .expect(250);
    for message in services.sink.messages(3) {
        let listener = message.sender.split('@').next().unwrap().replace("mx", "default");
        assert_eq!(message.header("X-Listener"), [listener]);
    }
    // Nobody else may relay there.
    for port in [services.submission, services.smarthost] {
        let mut client = Smtp::greeted(port);
        client.mail(ALICE).expect(250);
        client.rcpt("x@elsewhere.example").expect(554);
    }
}

#[test]
fn mail_that_comes_back_from_a_filter_is_left_alone() {
    let Some(services) = services() else { return };
    let mut client = Smtp::greeted_from("127.0.0.1", services.reinjection);
    client.deliver(ALICE, &["no@test.example"], MAIL).expect(250);
    assert!(services.sink.message().header("X-Listener").is_empty());
}

#[test]
fn sendmail_passes_through_the_milter() {
    let Some(services) = services() else { return };
    services.postfix.sendmail(ALICE, &[BOB], "Subject: from a script\n\nHello.\n");
    assert_eq!(services.sink.message().header("X-Listener"), ["default"]);
}

#[test]
fn without_gatepost_mail_flows() {
    let Some(mut services) = services() else { return };
    services.gatepost.signal("KILL");
    services.gatepost.wait_exit(Duration::from_secs(5));
    Smtp::greeted(services.postfix.ports.mx).deliver(ALICE, &[BOB, "no@test.example"], MAIL).expect(250);
    Smtp::greeted_from("127.0.0.1", services.submission).deliver(ALICE, &[BOB], MAIL).expect(250);
    Smtp::greeted_from("127.0.0.3", services.smarthost).deliver(ALICE, &[BOB], MAIL).expect(250);
    services.postfix.sendmail(ALICE, &[BOB], "Subject: from a script\n\nHello.\n");
    services.sink.messages(4);
    // And no relay is open.
    let mut client = Smtp::greeted(services.postfix.ports.mx);
    client.mail(ALICE).expect(250);
    client.rcpt("x@elsewhere.example").expect(554);
}

#[test]
fn killed_in_the_middle_of_a_session_and_of_a_message_mail_flows() {
    let Some(mut services) = services() else { return };
    let mut writing = Smtp::greeted(services.postfix.ports.mx);
    writing.envelope(ALICE, &[BOB]);
    writing.say("DATA").expect(354);
    writing.send("Subject: half\r\n\r\nthe first line\r\n");
    let mut asking = Smtp::greeted_from("127.0.0.1", services.submission);
    asking.envelope(ALICE, &[BOB]);
    services.gatepost.signal("KILL");
    services.gatepost.wait_exit(Duration::from_secs(5));
    writing.send("the last line\r\n");
    writing.say(".").expect(250);
    asking.rcpt(CAROL).expect(250);
    asking.data(MAIL).expect(250);
    asking.deliver(ALICE, &[BOB], MAIL).expect(250);
    services.sink.messages(3);
}
