//! How the number of keys in a limit slows requests down that come through the socket.
//!
//! Each server is a process of its own that begins with its keys already in the table:
//! a desk as `gatepost serve` has it, without a log. Clients ask for any of the keys.

use crate::areas::Bench;
use crate::areas::Cost;
use crate::compare::Measure;
use crate::compare::compare;
use crate::processes;
use crate::processes::Server;
use crate::report::Target;
use crate::requests::login;
use crate::socket::Address;
use gatepost::config;
use gatepost::config::Decides;
use gatepost::desk::Deadlines;
use gatepost::desk::Desk;
use gatepost::desk::Parts;
use gatepost::dns::Resolver;
use gatepost::listen::Service;
use gatepost::listen::Shutdown;
use gatepost::listen::delegation;
use gatepost::listen::socket::Access;
use gatepost::listen::socket::Listener;
use gatepost::listen::workers::Workers;
use gatepost::metrics::Metrics;
use gatepost::policy::Options;
use gatepost::policy::load_texts;
use gatepost::state::Clock;
use gatepost::state::Limits;
use gatepost::state::Question;
use gatepost::state::State;
use jiff::Timestamp;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

const CONNECTIONS: usize = 16;
const FEW: u32 = 1_000;
const MANY: [u32; 3] = [100_000, 1_000_000, 10_000_000];
/// Flat within 1.5 times.
const KEYS_TARGET: Target = Target::AtLeast(0.67);

/// So wide that not even the few reach them.
const LIMITS: &str = "1M/1h, 5M/1d, 20M/7d";

/// Half an hour of the narrowest window: what has come back whole is forgotten.
const USED: u64 = 500_000;

pub fn keys(bench: &mut Bench) -> io::Result<()> {
    if bench.null {
        return Err(io::Error::other("it has no reference but gatepost itself"));
    }
    let hold = |keys| {
        let address = Address::free();
        Server::hold(&address, keys).map(|server| (address, server))
    };
    let few = hold(FEW)?;
    for keys in MANY {
        // One at a time: the largest takes above a gigabyte.
        let many = hold(keys)?;
        let window = bench.scale.window;
        let costs = [Cost::default(), Cost::default()];
        let measure = |(address, server): &(Address, Server), keys, cost: &Cost| {
            cost.measure(|| server.cpu(), || processes::ask_as(address, CONNECTIONS, window, keys))
        };
        let mut of_many: Measure<'_> = Box::new(|| measure(&many, keys, &costs[0]));
        let mut of_few: [Measure<'_>; 1] = [Box::new(|| measure(&few, FEW, &costs[1]))];
        let found = compare(bench.scale.rounds, &mut of_many, &mut of_few)?;
        drop((of_many, of_few));
        bench.report.ratio(&format!("keys: {keys} against {FEW}"), &found, KEYS_TARGET);
        let [dear, cheap] = [&costs[0], &costs[1]].map(Cost::each);
        let memory = many.1.resident() as f64 / 1024.0;
        bench
            .report
            .note(&format!("cpu {dear:.1} µs a request, with {FEW} {cheap:.1}; {memory:.0} MiB resident"));
    }
    Ok(())
}

/// Serves a policy of one limit, each of whose keys has been used before.
pub async fn serve(address: &Address, keys: u32) -> io::Result<()> {
    let rules = format!(
        "rules:\n  - {{name: logins, when: {{rate: {{key: sasl_username, limits: [{LIMITS}]}}}}, then: defer}}\n"
    );
    let options = Options { generation: 1, ..Options::default() };
    let loaded = load_texts(&[("10-keys.yaml", &rules)], Path::new("."), &options)
        .map_err(|mistakes| io::Error::other(format!("{mistakes:?}")))?;
    let clock = Clock::starting_at(SystemTime::now());
    // Shards fill unevenly.
    let state = State::in_memory((keys + keys / 8) as usize + 64);
    let limit = loaded.policy.rules.first().and_then(|rule| rule.limit.as_ref());
    let bucket = limit.ok_or_else(|| io::Error::other("there is no limit"))?.buckets.own;
    let limits: Limits = LIMITS.parse().map_err(io::Error::other)?;
    for user in 0..keys {
        let key = login(user);
        let used = Question {
            bucket,
            key: &key,
            coarse: None,
            limits: &limits,
            n: USED,
            counted: 0,
            must_fit: true,
        };
        state.admit(&[used], clock.now()).await;
    }
    let deadlines = Deadlines { envelope: Duration::from_secs(5), message: Duration::from_secs(20) };
    let desk = Desk::new(Parts {
        policy: loaded.policy,
        state,
        resolver: Resolver::default(),
        clock,
        metrics: Arc::new(Metrics::new(Timestamp::now())),
        journal: None,
        deadlines,
        wall: Timestamp::now,
    });
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (_stopper, shutdown) = Shutdown::new();
    let service = Service {
        name: "default".into(),
        desk: Arc::new(desk),
        stats: Arc::default(),
        shutdown,
        deadlines,
        max_connections: CONNECTIONS * 2,
        decides: Decides::Message,
        workers: Some(Workers::start(threads, std::future::pending, || {})?),
    };
    let address = match address {
        Address::Inet(port) => config::Address::Inet(([127, 0, 0, 1], *port).into()),
        Address::Unix(path) => config::Address::Unix(path.into()),
    };
    let listener = Listener::bind(&address, &Access::default()).await.map_err(io::Error::other)?;
    delegation::serve(listener, service).await;
    Ok(())
}
