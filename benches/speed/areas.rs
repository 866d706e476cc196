//! What is measured, area by area, and what is wanted of it.

use crate::compare::Comparison;
use crate::compare::Measure;
use crate::compare::compare;
use crate::content;
use crate::count;
use crate::dns;
use crate::dnsbl;
use crate::gatepost::Ours;
use crate::gatepost::Rules;
use crate::gatepost::folder;
use crate::keys;
use crate::lookup;
use crate::names;
use crate::patterns;
use crate::postfix::Postfix;
use crate::processes;
use crate::processes::Server;
use crate::report::Report;
use crate::report::Target;
use crate::rules;
use crate::snapshot;
use crate::socket::Address;
use crate::table;
use std::cell::Cell;
use std::io;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::process::Stdio;
use std::time::Duration;

type Area = (&'static str, &'static str, fn(&mut Bench) -> io::Result<()>);

pub const AREAS: &[Area] = &[
    ("policy", "requests/s, against a bare echo of the protocol", policy),
    ("world", "the same with the rules that ask the DNS, eight zones and SPF, all warm", world),
    ("outbound", "the same by users who have logged in, with the rules for them enforced", outbound),
    ("milter", "messages/s of 4 KB, against a no-op indymilter with the same steps", milter),
    ("postfix", "messages/s by smtp-source through Postfix, against echo and no-op", postfix),
    ("rules", "requests/s with 1,000 rules, against 10", rules::rules),
    ("lists", "requests/s with lists of 1,000,000 entries, against 10", rules::lists),
    ("count", "instructions of a policy request, without sockets", count::count),
    ("lookup", "the same lists through the library: loading, and one look-up", lookup::lookup),
    (
        "content",
        "a message to its end through the library: texts, a large file, archives, many parts",
        content::content,
    ),
    ("dns", "answers of the DNS from the cache, and what a full one takes", dns::dns),
    ("dnsbl", "a decision over eight zones through the library, all in the cache", dnsbl::dnsbl),
    (
        "patterns",
        "5,000 patterns about the lines of a mail through the library, against 10",
        patterns::patterns,
    ),
    ("names", "whether a name is that of an access line, through the library", names::names),
    ("table", "limits through the library: a decision, and memory, from 10^3 to 10^7 keys", table::table),
    ("snapshot", "a decision while 10^6 keys are written down", snapshot::snapshot),
    ("keys", "requests/s through the socket with 10^5 to 10^7 keys of a limit, against 10^3", keys::keys),
    ("idle", "10,000 policy connections held, then a request on each", idle),
];

const POLICY_TARGET: Target = Target::AtLeast(0.8);
const WORLD_TARGET: Target = Target::AtLeast(0.6);
const WARMING: Duration = Duration::from_secs(10);
const MILTER_TARGET: Target = Target::AtLeast(0.7);
const POSTFIX_TARGET: Target = Target::AtLeast(0.9);
const IDLE_CONNECTIONS: usize = 10_000;
/// So many that none reaches a limit of theirs while it is measured.
const OUTBOUND_USERS: u32 = 100_000;
const OUTBOUND_RULES: &str = "50-submission";

#[derive(Clone, Copy, Debug)]
pub struct Scale {
    pub rounds: usize,
    /// Of a turn, of which a round has two.
    pub window: Duration,
    /// Sent by smtp-source in a turn.
    pub messages: usize,
}

pub struct Bench {
    pub report: Report,
    pub scale: Scale,
    /// The reference in the place of ours.
    pub null: bool,
}

impl Scale {
    pub fn new(quick: bool) -> Self {
        match quick {
            true => Self { rounds: 3, window: Duration::from_millis(200), messages: 100 },
            false => Self { rounds: 7, window: Duration::from_millis(600), messages: 400 },
        }
    }
}

/// Measured work of a server, for its cost in processor time.
#[derive(Debug, Default)]
pub struct Cost {
    micros: Cell<f64>,
    count: Cell<f64>,
    others: Cell<u64>,
}

impl Cost {
    /// Takes a sample and the server's time around it. The warm-up is in the
    /// time and not in the count: it is a sixth for everybody.
    pub fn measure(
        &self,
        cpu: impl Fn() -> Duration,
        sample: impl FnOnce() -> io::Result<processes::Sample>,
    ) -> io::Result<f64> {
        let before = cpu();
        let found = sample()?;
        let used = cpu().saturating_sub(before);
        self.micros.set(self.micros.get() + used.as_secs_f64() * 1e6 * 5.0 / 6.0);
        self.count.set(self.count.get() + found.count as f64);
        self.others.set(self.others.get() + found.others);
        Ok(found.rate)
    }

    pub fn each(&self) -> f64 {
        self.micros.get() / self.count.get().max(1.0)
    }

    pub fn others(&self) -> u64 {
        self.others.get()
    }
}

fn policy(bench: &mut Bench) -> io::Result<()> {
    against_echo(bench, "policy", (Rules::Shipped, 0), &[1, 16, 64])
}

fn world(bench: &mut Bench) -> io::Result<()> {
    against_echo(bench, "world", (Rules::World, 0), &[1, 16, 64])
}

fn outbound(bench: &mut Bench) -> io::Result<()> {
    against_echo(bench, "outbound", (Rules::Enforced(OUTBOUND_RULES), OUTBOUND_USERS), &[1, 16])
}

/// Policy requests of these users, or of all kinds where there are 0.
fn against_echo(
    bench: &mut Bench,
    what: &str,
    (rules, users): (Rules<'_>, u32),
    connections: &[usize],
) -> io::Result<()> {
    let ours = Ours::start(rules, bench.null)?;
    let target = match rules {
        Rules::World => {
            // Every client and domain once, some several times.
            processes::ask(&ours.policy[0], 64, WARMING)?;
            WORLD_TARGET
        }
        _ => POLICY_TARGET,
    };
    let dir = folder()?;
    let unix = |name: &str| Address::Unix(dir.path().join(name).display().to_string());
    for (own, second) in ours.policy.iter().zip([None, Some("unix")]) {
        let address = |name: &str| if second.is_some() { unix(name) } else { Address::free() };
        let echoes = [1, 2].map(|threads| (address(&format!("echo-{threads}")), threads));
        let servers = echoes.iter().map(|(address, threads)| Server::echo(address, *threads));
        let servers: Vec<Server> = servers.collect::<io::Result<_>>()?;
        for &connections in connections {
            let (window, cost) = (bench.scale.window, Cost::default());
            let costs = [Cost::default(), Cost::default()];
            let mut of_ours: Measure<'_> = Box::new(|| {
                ours.empty_log();
                cost.measure(|| ours.cpu(), || processes::ask_as(own, connections, window, users))
            });
            let mut references: Vec<Measure<'_>> = Vec::new();
            for (((echo, _), server), cost) in echoes.iter().zip(&servers).zip(&costs) {
                let cpu = || server.cpu();
                references.push(Box::new(move || {
                    cost.measure(cpu, || processes::ask_as(echo, connections, window, users))
                }));
            }
            let found = compare(bench.scale.rounds, &mut of_ours, &mut references)?;
            drop((of_ours, references));
            let name = format!("{what} {} x{connections}", own.kind());
            bench.report.ratio(&name, &found, target);
            note_cost(&bench.report, "request", &found, &cost, &costs);
        }
    }
    Ok(())
}

fn note_cost(report: &Report, what: &str, found: &Comparison, ours: &Cost, references: &[Cost]) {
    let reference = references.get(found.fastest).map_or(f64::NAN, Cost::each);
    let others = match ours.others() {
        0 => String::new(),
        others => format!("; {others} of ours were answered with more than to go on"),
    };
    report.note(&format!(
        "cpu {:.1} µs a {what}, reference {reference:.1} with {} thread(s){others}",
        ours.each(),
        found.fastest + 1,
    ));
}

fn milter(bench: &mut Bench) -> io::Result<()> {
    let ours = Ours::start(Rules::Shipped, bench.null)?;
    let agreed = ours.agreed()?;
    bench.report.note(&agreed.steps());
    let dir = folder()?;
    let unix = |name: &str| Address::Unix(dir.path().join(name).display().to_string());
    for (own, is_unix) in ours.milter.iter().zip([false, true]) {
        let address = |name: &str| if is_unix { unix(name) } else { Address::free() };
        let noops = [1, 2].map(|threads| (address(&format!("noop-{threads}")), threads));
        let servers = noops.iter().map(|(address, threads)| Server::noop(address, *threads, &agreed));
        let servers: Vec<Server> = servers.collect::<io::Result<_>>()?;
        for (connections, per_session) in [(1, 1), (16, 1), (16, 20)] {
            let (window, cost) = (bench.scale.window, Cost::default());
            let costs = [Cost::default(), Cost::default()];
            let mut of_ours: Measure<'_> = Box::new(|| {
                ours.empty_log();
                cost.measure(|| ours.cpu(), || processes::mail(own, connections, per_session, window))
            });
            let mut references: Vec<Measure<'_>> = Vec::new();
            for (((noop, _), server), cost) in noops.iter().zip(&servers).zip(&costs) {
                let cpu = || server.cpu();
                references.push(Box::new(move || {
                    cost.measure(cpu, || processes::mail(noop, connections, per_session, window))
                }));
            }
            let found = compare(bench.scale.rounds, &mut of_ours, &mut references)?;
            drop((of_ours, references));
            let name = format!("milter {} x{connections}, {per_session} a session", own.kind());
            bench.report.ratio(&name, &found, MILTER_TARGET);
            note_cost(&bench.report, "message", &found, &cost, &costs);
        }
    }
    Ok(())
}

fn postfix(bench: &mut Bench) -> io::Result<()> {
    let ours = Ours::start(Rules::Shipped, bench.null)?;
    let agreed = ours.agreed()?;
    let (echo, noop) = (Address::free(), Address::free());
    let _servers = [Server::echo(&echo, 1)?, Server::noop(&noop, 1, &agreed)?];
    let postfix = Postfix::start([(&ours.policy[0], &ours.milter[0]), (&echo, &noop)])?;
    // The first of each starts the processes of Postfix.
    for service in [0, 1] {
        postfix.send(service, bench.scale.messages / 2)?;
    }
    let messages = bench.scale.messages;
    let mut of_ours: Measure<'_> = Box::new(|| {
        ours.empty_log();
        postfix.send(0, messages)
    });
    let mut references: Vec<Measure<'_>> = vec![Box::new(|| postfix.send(1, messages))];
    let found = compare(bench.scale.rounds, &mut of_ours, &mut references)?;
    bench.report.ratio("postfix tcp x10", &found, POSTFIX_TARGET);
    Ok(())
}

fn idle(bench: &mut Bench) -> io::Result<()> {
    let ours = Ours::start(Rules::Shipped, bench.null)?;
    let before = ours.resident();
    let pause = bench.scale.window;
    let words = ["idle", &ours.policy[0].to_string(), &IDLE_CONNECTIONS.to_string()];
    let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    words.push(pause.as_millis().to_string());
    let mut child = processes::role(&words)?.stdout(Stdio::piped()).spawn()?;
    let mut out = BufReader::new(child.stdout.take().ok_or_else(|| io::Error::other("no output"))?);
    let mut opened = String::new();
    out.read_line(&mut opened)?;
    let held = ours.resident();
    let mut answered = String::new();
    out.read_to_string(&mut answered)?;
    child.wait()?;
    let Ok(answered) = answered.trim().parse::<f64>() else {
        return Err(io::Error::other("not so many connections could be opened: see `ulimit -Hn`"));
    };
    let target = Target::AtLeast(IDLE_CONNECTIONS as f64);
    bench.report.value("idle: connections answered", answered, "", target);
    bench.report.value("idle: resident before", before as f64 / 1024.0, " MiB", Target::None);
    bench.report.value("idle: resident with all held", held as f64 / 1024.0, " MiB", Target::None);
    let each = held.saturating_sub(before) as f64 / IDLE_CONNECTIONS as f64;
    bench.report.value("idle: resident a connection", each, " KiB", Target::None);
    bench.report.value("idle: resident after", ours.resident() as f64 / 1024.0, " MiB", Target::None);
    Ok(())
}
