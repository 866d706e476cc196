//! The thread that writes down what the daemon remembers, with what all clocks of the
//! machine say. It has nothing to do with answering: a disk that hangs holds up it alone.

use super::serve::Trouble;
use crate::config;
use crate::desk::Desk;
use crate::metrics::Metrics;
use crate::metrics::StateFile;
use crate::state::Clock;
use crate::state::Event;
use crate::state::Keeper;
use crate::state::Reading;
use crate::state::State;
use jiff::Timestamp;
use std::fs;
use std::sync::Arc;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::mpsc::Sender;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

/// For the last writing at the end: some millions of keys. With the time that mail has
/// to end it stays below systemd's TimeoutStopSec of 90 s.
const LAST_WRITING: Duration = Duration::from_secs(20);

/// How often is looked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The state as it was kept, and who goes on to keep it; neither is there without a folder.
pub(super) fn open(config: &config::State, state: &State, clock: Clock) -> Result<Option<Keeper>, Trouble> {
    let Some(dir) = &config.dir else {
        return Ok(None);
    };
    let opened = Keeper::open(dir, config.snapshot_every, state, reading(clock));
    let (keeper, loaded) = opened.map_err(Trouble::World)?;
    for warning in &loaded.warnings {
        tracing::warn!(warning, "not all of what was remembered could be read");
    }
    tracing::info!(
        dir = %dir.display(),
        keys = loaded.keys,
        listed = loaded.listed_keys,
        distinct = loaded.distinct_keys,
        greylisted = loaded.greylisted,
        "what is remembered goes on from where it was"
    );
    Ok(Some(keeper))
}

/// Keeps the state while it lives.
pub(super) struct Keeping {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Keeping {
    pub(super) fn start(
        keeper: Keeper,
        desk: Arc<Desk>,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Result<Self, Trouble> {
        metrics.state_kept(Timestamp::now());
        let (stop, stopped) = mpsc::channel();
        let work = move || {
            let mut keeper = keeper;
            let mut pause = Duration::ZERO;
            // A sender that is gone asks for the end too.
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(pause) {
                let turned = desk.keep(&mut keeper, reading(clock));
                turned.event.iter().for_each(|event| tell(event, &metrics));
                pause = turned.pause;
            }
            let events = desk.keep_all(&mut keeper, || reading(clock));
            events.iter().for_each(|event| tell(event, &metrics));
        };
        let thread = thread::Builder::new().name("state".into()).spawn(work);
        let thread = thread.map_err(|error| Trouble::World(format!("can't start threads: {error}")))?;
        Ok(Self { stop, thread })
    }

    /// Writes what is left, if the disk lets it.
    pub(super) async fn finish(self) {
        drop(self.stop);
        let ended = async {
            while !self.thread.is_finished() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        if tokio::time::timeout(LAST_WRITING, ended).await.is_err() {
            tracing::error!("the disk did not take what was remembered; the last of it is lost");
        }
    }
}

/// Said once, until it is otherwise; counted each time.
fn tell(event: &Event, metrics: &Metrics) {
    match event {
        Event::Failed { why, is_news } => {
            metrics.state_failed();
            if *is_news {
                tracing::error!(
                    why,
                    "what is remembered can't be written down; decisions go on, a restart would forget"
                );
            }
        }
        Event::Journal(written) => {
            metrics.state_written(StateFile::Journal, written.bytes, written.took);
            metrics.state_kept(Timestamp::now());
        }
        Event::Snapshot { written, is_relief } => {
            metrics.state_written(StateFile::Snapshot, written.bytes, written.took);
            metrics.state_kept(Timestamp::now());
            if *is_relief {
                tracing::info!(bytes = written.bytes, "what is remembered is written down again");
            }
        }
    }
}

fn reading(clock: Clock) -> Reading {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let (uptime, boot) = uptime().unwrap_or_default();
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Reading { nanos: clock.now(), wall: nanos(wall), uptime, boot }
}

/// Nanoseconds since the machine was started, and which start that was. Not everybody may
/// see them (ProcSubset= in systemd.exec(5)).
fn uptime() -> Option<(u64, u128)> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    // In hundredths, with a point.
    let hundredths = uptime.split_whitespace().next()?.replace('.', "").parse::<u64>().ok()?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let boot = u128::from_str_radix(&boot.trim().replace('-', ""), 16).ok()?;
    Some((hundredths.checked_mul(10_000_000)?, boot))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_tells_how_long_it_runs() {
        let (first, boot) = uptime().unwrap();
        let (second, again) = uptime().unwrap();
        assert!(first > 0 && second >= first && boot != 0 && again == boot);
    }
}
