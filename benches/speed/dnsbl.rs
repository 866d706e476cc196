//! A decision over eight zones through the library, all of whose answers are in the
//! cache: names made, answers found, points summed.
//!
//! The answers come once from a server of the bench; the addresses are many, so that not
//! all of it stays in the processor's cache.

use crate::areas::Bench;
use crate::compare::median;
use crate::report::Target;
use gatepost::checks::Context;
use gatepost::checks::Truth;
use gatepost::dns::Kind;
use gatepost::dns::Name;
use gatepost::dns::Question;
use gatepost::dns::Resolver;
use gatepost::dns::Settings;
use gatepost::facts::Fact;
use gatepost::facts::Facts;
use gatepost::facts::Known;
use gatepost::facts::Stage;
use gatepost::lookup::Findings;
use gatepost::lookup::Lookups;
use gatepost::policy::Options;
use gatepost::policy::Policy;
use gatepost::policy::load_texts;
use std::hint::black_box;
use std::io;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::UdpSocket;
use std::path::Path;
use std::thread;
use std::time::Duration;
use std::time::Instant;

const ZONES: u32 = 8;
/// Two rules, as usual: one for the good and one for the bad.
const RULES: &str = "
lists:
  zones:
    of: dnsbl
    entries: [zone0.example*3, zone1.example*3, zone2.example*3, zone3.example*3, zone4.example*3,
      zone5.example*3, zone6.example*3, zone7.example*-4]
rules:
  - {name: good, when: {dnsbl: {in: zones, at_most: -4}}, then: {tag: good}}
  - {name: bad, when: {dnsbl: {in: zones, at_least: 8}}, then: {tag: bad}}
";
const CLIENTS: [u32; 2] = [1, 1_000];
const DECISIONS: u32 = 100_000;
const TARGET: Target = Target::AtMost(1.5);

pub fn dnsbl(bench: &mut Bench) -> io::Result<()> {
    let resolver = serve()?;
    let policy = load_texts(&[("bench.yaml", RULES)], Path::new(""), &Options::default());
    let policy = policy.map_err(|mistakes| io::Error::other(format!("{} mistakes", mistakes.len())))?.policy;
    let most = CLIENTS.into_iter().max().unwrap_or_default();
    warm(&resolver, most)?;
    for clients in CLIENTS {
        let facts: Vec<Facts> = (0..clients).map(facts).collect();
        let (mut first, mut both) = (Vec::new(), Vec::new());
        for _ in 0..bench.scale.rounds {
            first.push(each(&policy, 1, &facts, &resolver)?);
            both.push(each(&policy, 2, &facts, &resolver)?);
        }
        let name = format!("dnsbl: {ZONES} zones, {clients} clients");
        bench.report.value(&name, median(&first), " µs", TARGET);
        bench.report.value(&format!("{name}, asked by two rules"), median(&both), " µs", Target::None);
    }
    Ok(())
}

/// Microseconds of a decision by so many rules.
fn each(policy: &Policy, rules: usize, facts: &[Facts], resolver: &Resolver) -> io::Result<f64> {
    let known = Known::default();
    let start = Instant::now();
    for facts in facts.iter().cycle().take(DECISIONS as usize) {
        let lookups = Lookups::new(resolver, &[], Findings::default());
        let cx = Context { lookups: Some(&lookups), ..Context::new(facts, &known, Stage::Connect) };
        for rule in policy.rules.iter().take(rules) {
            if black_box(rule.condition.evaluate(&cx)) == Truth::Unknown {
                return Err(io::Error::other("an answer is not in the cache"));
            }
        }
        black_box(lookups.into_findings());
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(DECISIONS))
}

fn address(number: u32) -> IpAddr {
    // A network that nobody has (RFC 2544).
    Ipv4Addr::from(0xc612_0000 + number).into()
}

fn facts(number: u32) -> Facts {
    let mut facts = Facts::default();
    facts.set(Fact::ClientAddress, &address(number).to_string());
    facts
}

/// A server that answers every question with 127.0.0.2, to be forgotten in an hour.
fn serve() -> io::Result<Resolver> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let settings = Settings::new(vec![socket.local_addr()?], Duration::from_secs(5));
    thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, peer)) = socket.recv_from(&mut packet) {
            let Some(question) = packet.get(12..length) else {
                continue;
            };
            // Its name ends with an empty label, behind which are kind and class.
            let end = question.iter().position(|byte| *byte == 0).map_or(question.len(), |at| at + 5);
            let mut answer = packet[..2].to_vec();
            answer.extend([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
            answer.extend(question.iter().take(end));
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4, 127, 0, 0, 2]);
            let _ = socket.send_to(&answer, peer);
        }
    });
    Ok(Resolver::live(settings))
}

fn warm(resolver: &Resolver, clients: u32) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        for number in 0..clients {
            for zone in 0..ZONES {
                let name = Name::reversed(address(number), &format!("zone{zone}.example"));
                let name = name.ok_or_else(|| io::Error::other("no name"))?;
                let answer = resolver.ask(&Question::new(name, Kind::A)).await;
                if answer.records().is_empty() {
                    return Err(io::Error::other(format!("the bench's server said {}", answer.word())));
                }
            }
        }
        Ok(())
    })
}
