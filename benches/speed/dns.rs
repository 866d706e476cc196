//! Answers of the DNS from the cache: what one costs, of eight lists as a rule asks
//! them, and what a full cache takes in memory.
//!
//! A process of its own, with a name server in it that says of each name that it is
//! listed.

use crate::areas::Bench;
use crate::compare::median;
use crate::processes;
use crate::report::Target;
use crate::table::resident;
use futures_util::StreamExt as _;
use futures_util::stream;
use gatepost::dns::Answer;
use gatepost::dns::Kind;
use gatepost::dns::Name;
use gatepost::dns::Question;
use gatepost::dns::Resolver;
use gatepost::dns::Settings;
use std::hint::black_box;
use std::io;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::UdpSocket;
use std::time::Duration;
use std::time::Instant;

const ZONES: u32 = 8;
/// Clients whose answers are in the cache.
const CLIENTS: u32 = 10_000;
/// Questions put at once while it is filled.
const AT_ONCE: usize = 64;
/// More answers than have room.
const ENOUGH: u32 = 600_000;

const EIGHT_TARGET: Target = Target::AtMost(1_500.0);
/// A tenth above what the bound says.
const MEMORY_TARGET: Target = Target::AtMost(1.1);

pub fn dns(bench: &mut Bench) -> io::Result<()> {
    let said = processes::role(&["dns".to_owned(), bench.scale.rounds.to_string()])?.output()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let numbers: Vec<f64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [hot, any, entries, bytes, bound] = numbers[..] else {
        return Err(io::Error::other(format!("the process said `{said}`")));
    };
    bench.report.value("dns: eight lists, a hot client", hot, " ns", EIGHT_TARGET);
    bench.report.value("dns: eight lists, any of 10,000 clients", any, " ns", Target::None);
    bench.report.value("dns: a full cache, to its bound", bytes / bound, "", MEMORY_TARGET);
    bench.report.note(&format!("{:.0} MiB for {entries} answers", bytes / f64::from(1 << 20)));
    Ok(())
}

/// Nanoseconds of a client in all lists, the same each time and another; answers in a full cache, the bytes they take,
/// and the bound on these.
pub async fn measure(rounds: usize) -> io::Result<[f64; 5]> {
    let server = UdpSocket::bind("127.0.0.1:0")?;
    let settings = Settings::new(vec![server.local_addr()?], Duration::from_secs(5));
    std::thread::spawn(move || serve(&server));
    let resolver = Resolver::live(settings);
    let before = resident();
    let questions: Vec<_> =
        (0..CLIENTS).flat_map(|client| (0..ZONES).map(move |zone| question(client, zone))).collect();
    ask(&resolver, questions.iter().cloned()).await;
    let (mut hot, mut any) = (Vec::new(), Vec::new());
    let one = questions.iter().take(ZONES as usize);
    for _ in 0..rounds {
        hot.push(each(&resolver, one.clone().cycle().take(questions.len()))?);
        any.push(each(&resolver, questions.iter())?);
    }
    ask(&resolver, (CLIENTS..ENOUGH).map(|client| question(client, 0))).await;
    let bytes = resident().saturating_sub(before) as f64;
    let entries = (0..ENOUGH).filter(|client| resolver.known(&question(*client, 0)).is_some()).count();
    let left = questions.iter().filter(|asked| resolver.known(asked).is_some()).count();
    let all = entries + left - left / ZONES as usize;
    Ok([median(&hot), median(&any), all as f64, bytes, resolver.stats().cache_capacity as f64])
}

/// Nanoseconds of one client in all lists.
fn each<'q>(resolver: &Resolver, questions: impl Iterator<Item = &'q Question>) -> io::Result<f64> {
    let start = Instant::now();
    let known = questions.filter(|asked| resolver.known(black_box(asked)).is_some()).count();
    match known == (CLIENTS * ZONES) as usize {
        true => Ok(start.elapsed().as_secs_f64() * 1e9 / f64::from(CLIENTS)),
        false => Err(io::Error::other(format!("only {known} are in the cache"))),
    }
}

fn question(client: u32, zone: u32) -> Question {
    let ip = IpAddr::from(Ipv4Addr::from(0xc600_0000 + client));
    let name = Name::reversed(ip, &format!("list{zone}.example.com"));
    Question::new(name.unwrap(), Kind::A)
}

async fn ask(resolver: &Resolver, questions: impl Iterator<Item = Question>) {
    let asked = questions.map(|question| async move {
        let answer = resolver.ask(&question).await;
        assert!(matches!(answer, Answer::Records(_)), "{answer:?}");
    });
    stream::iter(asked).buffer_unordered(AT_ONCE).collect::<()>().await;
}

/// Answers each packet with its own question and one address.
fn serve(server: &UdpSocket) {
    let mut packet = [0; 512];
    while let Ok((length, from)) = server.recv_from(&mut packet) {
        // The question ends behind the root, a type and a class.
        let end = packet[12..length].iter().position(|byte| *byte == 0).unwrap() + 12 + 5;
        let mut answer = packet[..end].to_vec();
        // A response, with one question and one answer.
        answer[2] |= 0x80;
        answer[4..12].copy_from_slice(&[0, 1, 0, 1, 0, 0, 0, 0]);
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 1, 0, 0, 0, 4, 127, 0, 0, 2]);
        let _ = server.send_to(&answer, from);
    }
}
