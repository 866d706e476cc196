//! A desk for tests: rules as text, counters in memory, no log.

use super::Deadlines;
use super::Desk;
use super::Parts;
use crate::dns::Resolver;
use crate::metrics::Metrics;
use crate::policy::Options;
use crate::policy::Policy;
use crate::policy::load_texts;
use crate::state::Clock;
use crate::state::State;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A policy of these rule files.
#[track_caller]
pub(super) fn policy(files: &[(&str, &str)], generation: u64) -> Policy {
    let mut options = Options { generation, ..Options::default() };
    options.local.networks = ["127.0.0.0/8", "192.0.2.0/24"].map(|net| net.parse().unwrap()).into();
    match load_texts(files, Path::new("."), &options) {
        Ok(loaded) => loaded.policy,
        Err(mistakes) => {
            panic!("{}", mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        }
    }
}

/// A desk with these rule files.
#[track_caller]
pub fn desk(files: &[(&str, &str)]) -> Desk {
    Desk::new(Parts {
        policy: policy(files, 1),
        state: State::in_memory(1_000),
        resolver: Resolver::default(),
        clock: Clock::starting_at(std::time::UNIX_EPOCH + Duration::from_secs(1_800_000_000)),
        metrics: Arc::new(Metrics::new(jiff::Timestamp::UNIX_EPOCH)),
        journal: None,
        deadlines: Deadlines { envelope: Duration::from_secs(5), message: Duration::from_secs(20) },
        wall: || jiff::Timestamp::UNIX_EPOCH,
    })
}
