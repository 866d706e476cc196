//! What one policy request costs in instructions, without sockets: the same on
//! every machine and in every minute, so that a change can be seen that time
//! would hide. Counted by valgrind's callgrind, as the difference of two runs.

use crate::areas::Bench;
use crate::gatepost::asking_the_dns;
use crate::gatepost::folder;
use crate::report::Target;
use crate::requests::Requests;
use gatepost::config::Decides;
use gatepost::config::Log;
use gatepost::config::LogFormat;
use gatepost::config::LogLevel;
use gatepost::config::Selector;
use gatepost::desk::Deadlines;
use gatepost::desk::Desk;
use gatepost::desk::Parts;
use gatepost::desk::Peer;
use gatepost::dns::Resolver;
use gatepost::journal;
use gatepost::metrics::Metrics;
use gatepost::policy;
use gatepost::policy::Options;
use gatepost::reply::PolicyAction;
use gatepost::state::Clock;
use gatepost::state::State;
use gatepost::wire::delegation::Decoded;
use gatepost::wire::delegation::Decoder;
use jiff::Timestamp;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

const SHIPPED_RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/policy.d");

/// The first requests make what the others find: the table of sessions is full
/// after 65,536, and each that comes later pushes one out.
const FEW: u64 = 70_000;
const MANY: u64 = 90_000;

pub fn count(bench: &mut Bench) -> io::Result<()> {
    let (few, many) = (instructions(FEW)?, instructions(MANY)?);
    let each = many.saturating_sub(few) as f64 / (MANY - FEW) as f64;
    bench.report.value("count: instructions a policy request", each, "", Target::None);
    Ok(())
}

/// Of a process that decides on so many requests.
fn instructions(requests: u64) -> io::Result<u64> {
    let dir = folder()?;
    let said = dir.path().join("callgrind");
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--log-file={}", said.display()))
        .arg(std::env::current_exe()?)
        .args(["role", "decide", &requests.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|error| io::Error::other(format!("needs valgrind: {error}")))?;
    let said = fs::read_to_string(said)?;
    let count = said.lines().find_map(|line| line.split_once("Collected : "));
    count
        .and_then(|(_, count)| count.trim().parse().ok())
        .ok_or_else(|| io::Error::other(format!("valgrind told no count, {status}")))
}

/// Decides on so many requests of the shipped rules, and writes the log.
pub async fn decide(requests: u64) -> io::Result<u64> {
    let wrong = |mistakes: Vec<gatepost::yaml::Mistake>| {
        io::Error::other(mistakes.first().map(ToString::to_string).unwrap_or_default())
    };
    let disable =
        asking_the_dns()?.into_iter().map(|pattern| Selector { pattern, place: Default::default() });
    let options = Options { disable: disable.collect(), ..Options::default() };
    let loaded = policy::load(Path::new(SHIPPED_RULES), &options).map_err(wrong)?;
    let (journal, _guard) =
        journal::init(Log { format: LogFormat::Text, level: LogLevel::Info }).map_err(io::Error::other)?;
    journal.begin_gathering();
    let lines = journal.clone();
    let desk = Desk::new(Parts {
        policy: loaded.policy,
        state: State::in_memory(1_000_000),
        resolver: Resolver::default(),
        clock: Clock::starting_at(SystemTime::now()),
        metrics: Arc::new(Metrics::new(Timestamp::now())),
        journal: Some(journal),
        deadlines: Deadlines { envelope: Duration::from_secs(5), message: Duration::from_secs(20) },
        wall: Timestamp::now,
    });
    let peer = Peer {
        listener: "default".into(),
        pid: None,
        connection: 1,
        line: Arc::default(),
        decides: Decides::Message,
    };
    let (mut source, mut decoder, mut answer) = (Requests::new(1), Decoder::default(), Vec::new());
    let mut others = 0;
    for number in 0..requests {
        // As many as come in some milliseconds on a busy server.
        if number % 100 == 0 {
            lines.send_gathered();
        }
        let request = source.next();
        decoder.space()[..request.len()].copy_from_slice(request);
        decoder.filled(request.len());
        if let Decoded::Request(request, _) = decoder.decode() {
            let action = desk.delegation(&peer, request.values()).await;
            others += u64::from(action != PolicyAction::Dunno);
            answer.clear();
            action.write_to(&mut answer);
        }
    }
    Ok(others)
}
