//! Lists through the library: reading a million entries from a file, and what
//! one look-up costs.

use crate::areas::Bench;
use crate::compare::median;
use crate::gatepost::folder;
use crate::report::Target;
use crate::requests::mix;
use crate::rules::domain;
use crate::rules::network;
use gatepost::lists::Kind;
use gatepost::lists::List;
use gatepost::lists::Query;
use gatepost::lists::Spec;
use gatepost::yaml::Place;
use gatepost::yaml::Source;
use std::fmt::Write as _;
use std::hint::black_box;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const FEW: u64 = 10;
const MANY: u64 = 1_000_000;
/// Different ones in a round, so that they do not all stay in the cache.
const LOOK_UPS: u64 = 200_000;
const LOAD_TARGET: Target = Target::AtMost(2.0);
const LOOK_UP_TARGET: Target = Target::AtMost(1.0);

/// What is asked: a text, and the address it is.
type Question = (String, Option<IpAddr>);

pub fn lookup(bench: &mut Bench) -> io::Result<()> {
    let dir = folder()?;
    for (kind, line) in [(Kind::Network, network as fn(u64) -> String), (Kind::Domain, domain)] {
        let questions: Vec<Question> = (0..LOOK_UPS).map(|number| question(kind, number)).collect();
        for entries in [FEW, MANY] {
            let path = dir.path().join(format!("{}-{entries}", kind.word()));
            write_entries(&path, entries, line)?;
            let mut loads = Vec::new();
            let mut look_ups = Vec::new();
            let mut hits = 0;
            for _ in 0..bench.scale.rounds.min(5) {
                let start = Instant::now();
                let list = load(kind, &path)?;
                loads.push(start.elapsed().as_secs_f64());
                let start = Instant::now();
                hits = questions.iter().filter(|asked| contains(&list, asked)).count();
                look_ups.push(start.elapsed().as_secs_f64() * 1e6 / LOOK_UPS as f64);
            }
            let name = format!("lookup: {} of {entries}", kind.word());
            if entries == MANY {
                bench.report.value(&format!("{name}, load"), median(&loads), " s", LOAD_TARGET);
            }
            bench.report.value(&name, median(&look_ups), " µs", LOOK_UP_TARGET);
            if entries == MANY {
                bench.report.note(&format!("{hits} of {LOOK_UPS} were listed"));
            }
        }
    }
    Ok(())
}

fn write_entries(path: &Path, entries: u64, line: fn(u64) -> String) -> io::Result<()> {
    let mut text = String::new();
    for number in 0..entries {
        let _ = writeln!(text, "{}", line(number));
    }
    std::fs::write(path, text)
}

fn load(kind: Kind, path: &Path) -> io::Result<List> {
    let source = Arc::new(Source { name: "bench.yaml".into(), text: String::new() });
    let file = Some((path.display().to_string(), Place::default()));
    List::build(Spec { file, ..Spec::new("bench", kind, source) }).map_err(|mistakes| {
        let first = mistakes.first().map(ToString::to_string).unwrap_or_default();
        io::Error::other(format!("{} mistakes, the first: {first}", mistakes.len()))
    })
}

/// Every second one is in the list of a million.
fn question(kind: Kind, number: u64) -> Question {
    let entry = mix(number) % MANY + if number.is_multiple_of(2) { 0 } else { 2 * MANY };
    match kind {
        Kind::Domain => {
            let entry = domain(entry);
            (if entry.starts_with('.') { format!("www{entry}") } else { entry }, None)
        }
        _ => {
            let entry = network(entry);
            let address = entry.split('/').next().unwrap_or_default().to_owned();
            let ip = address.parse().ok();
            (address, ip)
        }
    }
}

fn contains(list: &List, (text, ip): &Question) -> bool {
    // The facts are folded already when a rule asks.
    black_box(list.contains(&Query { text, folded: text, ip: *ip }))
}
