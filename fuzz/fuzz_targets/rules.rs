//! A desk whose rules say back what they were told, and who waits for it.

use gatepost::config::Decides;
use gatepost::desk::Deadlines;
use gatepost::desk::Desk;
use gatepost::desk::Parts;
use gatepost::desk::Peer;
use gatepost::dns::Resolver;
use gatepost::metrics::Metrics;
use gatepost::policy::Options;
use gatepost::policy::load_texts;
use gatepost::state::Clock;
use gatepost::state::State;
use jiff::Timestamp;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::UNIX_EPOCH;
use tokio::runtime::Builder;
use tokio::runtime::Runtime;

/// Outlives one input: what one leaves behind must not harm the next.
pub struct Room {
    pub desk: Arc<Desk>,
    runtime: Runtime,
}

impl Room {
    pub fn with(rules: &str) -> Self {
        let loaded = load_texts(&[("rules", rules)], Path::new("."), &Options::default());
        let policy = loaded.unwrap_or_else(|mistakes| panic!("{mistakes:?}")).policy;
        let desk = Desk::new(Parts {
            policy,
            state: State::in_memory(1_000),
            resolver: Resolver::default(),
            clock: Clock::starting_at(UNIX_EPOCH + Duration::from_secs(1_800_000_000)),
            metrics: Arc::new(Metrics::new(Timestamp::UNIX_EPOCH)),
            journal: None,
            deadlines: Deadlines { envelope: Duration::from_secs(5), message: Duration::from_secs(20) },
            wall: || Timestamp::UNIX_EPOCH,
        });
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        Self { desk: Arc::new(desk), runtime }
    }

    pub fn wait<F: Future>(&self, for_what: F) -> F::Output {
        self.runtime.block_on(for_what)
    }
}

pub fn peer(decides: Decides) -> Peer {
    Peer { listener: "fuzz".into(), pid: None, connection: 1, line: Arc::default(), decides }
}
