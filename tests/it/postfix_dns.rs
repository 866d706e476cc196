//! Rules that ask the DNS, before Postfix: what name servers say counts, and where they
//! say nothing mail flows.

use crate::rig::dns::BlackHole;
use crate::rig::dns::NameServer;
use crate::rig::dns::dns_is_missing;
use crate::rig::*;
use std::fs;
use std::time::Duration;
use std::time::Instant;

const RULES: &str = r#"
rules:
  - {name: nobody, when: {helo: unresolvable}, then: {reject: 5.7.1 no such name}}
"#;

/// `deadline.envelope`.
const DEADLINE: Duration = Duration::from_secs(5);

fn config(port: u16, timeout: &str) -> String {
    format!("dns: {{nameservers: [\"127.0.0.1:{port}\"], timeout: {timeout}}}")
}

fn greeted(rig: &Rig, name: &str) -> Smtp {
    let mut client = Smtp::connect(smtp::OUTSIDE, rig.postfix.ports.mx);
    client.read().expect(220);
    client.say(&format!("EHLO {name}")).expect(250);
    client.mail(ALICE).expect(250);
    client
}

#[test]
fn what_name_servers_say_decides_and_other_servers_are_asked_after_a_reload() {
    if dns_is_missing() {
        return;
    }
    let nsd = NameServer::nsd("lists.example", "host A 192.0.2.1\n");
    let unbound = NameServer::unbound(&[("lists.example", nsd.port)]);
    let Some(rig) = Rig::configured(RULES, &config(unbound.port, "10s")) else { return };
    greeted(&rig, "nobody.lists.example").rcpt(BOB).expect_text(554, "no such name");
    greeted(&rig, "host.lists.example").rcpt(BOB).expect(250);
    let count = |result: &str| {
        let label = format!("result=\"{result}\"");
        rig.gatepost.metric("gatepost_dns_queries_total", &[&label]).unwrap()
    };
    assert!(count("found") >= 1.0 && count("no_name") >= 1.0 && count("timeout") == 0.0);
    assert_eq!(rig.gatepost.metric("gatepost_fail_open_total", &["dns"]), Some(0.0));
    let asked = count("no_name");
    // Both protocols, and further mails, are told from what is known.
    greeted(&rig, "nobody.lists.example").rcpt(BOB).expect_text(554, "no such name");
    assert_eq!(count("no_name"), asked);
    let file = rig.gatepost.path("gatepost.yaml");
    let request = "client_address=192.0.2.7\nhelo_name=nobody.lists.example\nsender=a@b.example\nrecipient=c@d.example\n";
    let words = ["explain", "--config", file.to_str().unwrap()];
    let explained = program::both(&program::try_run(env!("CARGO_BIN_EXE_gatepost"), words, request));
    assert!(explained.contains("verdict: reject"), "{explained}");

    let other = NameServer::nsd("lists.example", "nobody A 192.0.2.1\n");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace(&unbound.port.to_string(), &other.port.to_string())).unwrap();
    rig.gatepost
        .write_rules("20-new.yaml", "rules: [{name: new, when: {sender: no@test.example}, then: reject}]\n");
    rig.gatepost.reload_until_rule("new");
    greeted(&rig, "nobody.lists.example").rcpt(BOB).expect(250);
}

#[test]
fn without_an_answer_mail_flows_within_the_deadline() {
    let hole = BlackHole::start();
    for (port, timeout) in [(hole.port, "500ms"), (hole.port, "10s"), (port::free(), "10s")] {
        let Some(rig) = Rig::configured(RULES, &config(port, timeout)) else { return };
        let began = Instant::now();
        let mut client = greeted(&rig, "host.lists.example");
        client.rcpt(BOB).expect(250);
        let waited = began.elapsed();
        // What nobody has answered is not waited for once more for each recipient.
        let again = Instant::now();
        for number in 0..5 {
            client.rcpt(&format!("{number}.{BOB}")).expect(250);
        }
        assert!(again.elapsed() < DEADLINE, "{port} {timeout}: {:?}", again.elapsed());
        client.data(MAIL).expect(250);
        // Some for a busy machine.
        assert!(waited < DEADLINE * 2, "{port} {timeout}: {waited:?}");
        assert!(rig.sink.message().recipients.contains(&BOB.to_owned()));
        assert!(rig.gatepost.metric("gatepost_fail_open_total", &["dns"]).unwrap() >= 1.0);
        assert_eq!(rig.gatepost.metric("gatepost_fail_open_total", &["store"]), Some(0.0));
        let left = ["timeout", "given_up"].map(|result| {
            let label = format!("result=\"{result}\"");
            rig.gatepost.metric("gatepost_dns_queries_total", &[&label]).unwrap()
        });
        assert!(left.iter().sum::<f64>() >= 1.0, "{left:?}");
    }
}
