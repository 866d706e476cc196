//! The suite of RFC 7208 (`tests/spf`): what SPF must come to, 203 times.

use crate::rig::Delegation;
use crate::rig::Gatepost;
use crate::rig::Sockets;
use crate::rig::zone::ZoneServer;
use gatepost::auth::SpfAnswer;
use gatepost::auth::SpfIdentity;
use gatepost::auth::SpfQuestion;
use gatepost::dns::Resolver;
use gatepost::dns::Settings;
use gatepost::dns::Zone;
use saphyr_parser::Event;
use saphyr_parser::Parser;
use std::fmt::Write as _;
use std::time::Duration;

const SUITE: &str = include_str!("../spf/rfc7208-tests.yml");

#[derive(Clone, Debug)]
enum Node {
    Text(String),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

impl Node {
    fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(entries) = self else { return None };
        entries.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    fn entries(&self) -> &[(String, Self)] {
        if let Self::Map(entries) = self { entries } else { &[] }
    }

    fn items(&self) -> &[Self] {
        if let Self::List(items) = self { items } else { std::slice::from_ref(self) }
    }

    fn text(&self) -> &str {
        if let Self::Text(text) = self { text } else { "" }
    }
}

/// All documents.
fn documents(text: &str) -> Vec<Node> {
    let mut found = Vec::new();
    let mut open: Vec<(bool, Vec<Node>)> = Vec::new();
    for event in Parser::new_from_str(text) {
        let done = match event.unwrap().0 {
            Event::Scalar(text, ..) => Node::Text(text.into_owned()),
            Event::SequenceStart(..) => {
                open.push((false, Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push((true, Vec::new()));
                continue;
            }
            Event::SequenceEnd => Node::List(open.pop().unwrap().1),
            Event::MappingEnd => {
                let (_, nodes) = open.pop().unwrap();
                let pairs = nodes.chunks(2).map(|pair| (pair[0].text().to_owned(), pair[1].clone()));
                Node::Map(pairs.collect())
            }
            _ => continue,
        };
        match open.last_mut() {
            Some((_, nodes)) => nodes.push(done),
            None => found.push(done),
        }
    }
    found
}

/// One scenario: a zone, and what is asked in it.
struct Scenario {
    zone: String,
    cases: Vec<Case>,
}

struct Case {
    name: String,
    ip: String,
    helo: String,
    sender: String,
    results: Vec<String>,
    /// What the domain says to who fails; `DEFAULT` for nothing.
    explanation: Option<String>,
}

fn scenarios() -> Vec<Scenario> {
    let read = |document: &Node| Scenario {
        zone: zone(document.get("zonedata").unwrap()),
        cases: document.get("tests").unwrap().entries().iter().map(case).collect(),
    };
    documents(SUITE).iter().map(read).collect()
}

fn case((name, node): &(String, Node)) -> Case {
    let text = |key: &str| node.get(key).map(|node| node.text().to_owned());
    let sender = text("mailfrom").unwrap_or_default();
    Case {
        name: name.clone(),
        ip: text("host").unwrap(),
        helo: text("helo").unwrap(),
        sender: if sender.is_empty() { "<>".into() } else { sender },
        results: node.get("result").unwrap().items().iter().map(|node| node.text().to_owned()).collect(),
        explanation: text("explanation"),
    }
}

/// As `src/dns/zone.rs` reads it. A record of type SPF stands for one of TXT too, unless
/// there is one of TXT; a name that is slow is slow about what it has no records of.
fn zone(data: &Node) -> String {
    let mut text = String::new();
    for (name, records) in data.entries() {
        let has = |kind: &str| records.items().iter().any(|record| record.get(kind).is_some());
        let mut written = 0;
        for (kind, value) in records.items().iter().flat_map(Node::entries) {
            let kind = if kind == "SPF" && !has("TXT") { "TXT" } else { kind };
            let data = match kind {
                "TXT" if value.text() == "NONE" => continue,
                "SPF" => continue,
                "TXT" => value.items().iter().map(quoted).collect::<Vec<_>>().join(" "),
                "MX" => value.items().iter().map(Node::text).collect::<Vec<_>>().join(" "),
                _ => value.text().to_owned(),
            };
            let data = if kind == "MX" && data.ends_with(' ') { data + "." } else { data };
            let data = if data.is_empty() { "\"\"".to_owned() } else { data };
            if data == "TIMEOUT" {
                continue;
            }
            written += 1;
            let _ = writeln!(text, "{} {kind} {data}", name.replace(' ', "\\032"));
        }
        let is_slow = records.items().iter().any(|record| record.text() == "TIMEOUT");
        if is_slow && written == 0 {
            let _ = writeln!(text, "{name} TIMEOUT");
        }
    }
    text
}

fn quoted(string: &Node) -> String {
    let bytes = string.text().bytes();
    let escaped = bytes.map(|byte| match byte {
        b' '..=b'~' if byte != b'"' && byte != b'\\' => char::from(byte).to_string(),
        _ => format!("\\{byte:03}"),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

impl Case {
    fn judge(&self, found: &SpfAnswer) -> Result<(), String> {
        let Self { name, results, .. } = self;
        if !results.iter().any(|result| result == found.result.word()) {
            return Err(format!("{name}: {found:?}, not {results:?}"));
        }
        let text = found.text.as_deref().unwrap_or("DEFAULT");
        match &self.explanation {
            Some(expected) if expected != text => Err(format!("{name}: says `{text}`, not `{expected}`")),
            _ => Ok(()),
        }
    }
}

/// Every case by every way to the DNS: a text, and the network.
async fn wrong(mut resolver: impl FnMut(&Scenario) -> Resolver) -> Vec<String> {
    let (mut wrong, mut number) = (Vec::new(), 0);
    for scenario in scenarios() {
        let resolver = resolver(&scenario);
        for case in &scenario.cases {
            let (helo, sender) = (case.helo.clone(), case.sender.clone());
            let ip = case.ip.parse().unwrap();
            let question = SpfQuestion { ip, identity: SpfIdentity::MailFrom, helo, sender };
            let found = question.answer(&resolver).await;
            wrong.extend(case.judge(&found).err());
            number += 1;
        }
    }
    assert_eq!(number, 203);
    wrong
}

#[tokio::test]
async fn every_case_comes_to_what_it_must_by_a_text() {
    let wrong = wrong(|scenario| Resolver::of_zone(Zone::parse(&scenario.zone).unwrap())).await;
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn every_case_comes_to_what_it_must_on_the_network() {
    let wrong = wrong(|scenario| {
        let server = ZoneServer::start(&scenario.zone);
        Resolver::live(Settings::new(vec![server.address], Duration::from_millis(200)))
    })
    .await;
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

/// Clients with private addresses are never asked about: the suite's are moved to a
/// network for examples.
fn moved(text: &str) -> String {
    text.replace("192.168.218", "203.0.113").replace("218.168.192", "113.0.203")
}

/// What the daemon says to Postfix, which is given the result as a refusal's text.
#[test]
fn every_case_comes_to_what_it_must_in_the_daemon() {
    let rules = "rules:\n  - {name: all, when: {spf: any}, then: {reject: \"5.7.1 {spf}; {spf_text}\"}}\n";
    let mut wrong = Vec::new();
    for scenario in scenarios() {
        let server = ZoneServer::start(&moved(&scenario.zone));
        let config = format!("dns: {{nameservers: [\"{}\"], timeout: 200ms}}", server.address);
        let gatepost = Gatepost::start(&[("all.yaml", rules)], &config, Sockets::Inet);
        for (case, number) in scenario.cases.iter().zip(1_u16..) {
            let ip = moved(&case.ip);
            let sender = if case.sender == "<>" { "" } else { &case.sender };
            // Each is a session of its own.
            let (port, instance) = (number.to_string(), format!("spf.{number}"));
            let attributes = [
                ("client_address", ip.as_str()),
                ("client_port", &port),
                ("helo_name", &case.helo),
                ("instance", &instance),
                ("sender", sender),
            ];
            let answer = Delegation::connect(&gatepost.policy).asks(&attributes);
            let (result, text) =
                answer.strip_prefix("554 5.7.1 ").and_then(|it| it.split_once("; ")).unwrap();
            let fits = case.results.iter().any(|expected| expected == result);
            let explained = match case.explanation.as_deref() {
                Some("DEFAULT") => text.contains(" is not known to send mail of "),
                Some(expected) => text.starts_with(&moved(expected)),
                None => true,
            };
            if !fits || !explained {
                wrong.push(format!("{}: {answer}, not {:?} {:?}", case.name, case.results, case.explanation));
            }
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}
