//! Sockets: what is accepted, what bounds it, and how it ends. Here are the
//! types the listeners share; the work is in the files below.

pub mod control;
pub mod delegation;
pub mod http;
pub mod milter;
pub mod socket;
pub mod token;
pub mod workers;

use crate::config::Decides;
use crate::desk::Deadlines;
use crate::desk::Desk;
use crate::wire::delegation::Oddity;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use workers::Workers;

/// How much later than the desk's own deadline a listener answers for it: the
/// desk decides at its deadline with what it knows, which is the better answer.
const GRACE: Duration = Duration::from_secs(1);

/// What a listener needs beside its socket.
#[derive(Clone, Debug)]
pub struct Service {
    /// The listener's name, for `listener:` in rules.
    pub name: Arc<str>,
    pub desk: Arc<Desk>,
    pub stats: Arc<ListenStats>,
    pub shutdown: Shutdown,
    /// The desk's; a listener waits [`GRACE`] longer.
    pub deadlines: Deadlines,
    /// Beyond it connections wait in the kernel's queue until another ends.
    /// Postfix holds one a process and service string; so above its limits.
    pub max_connections: usize,
    /// For a milter: whether it also decides on recipients.
    pub decides: Decides,
    /// Where connections live; None: on the runtime that listens.
    pub workers: Option<Arc<Workers>>,
}

/// Which protocol a listener speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    Milter,
    Policy,
}

impl Kind {
    /// The word for logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Milter => "milter",
            Self::Policy => "policy",
        }
    }
}

/// What the listeners count; the metrics read it.
#[derive(Debug, Default)]
pub struct ListenStats {
    pub milter: KindStats,
    pub policy: KindStats,
    /// The last connection's number, over all listeners.
    connection: AtomicU64,
    oddities: [AtomicU64; Oddity::ALL.len()],
    /// Edits of messages that Postfix did not offer or that could not be sent.
    pub edits_refused: AtomicU64,
}

/// What is counted for each protocol.
#[derive(Debug, Default)]
pub struct KindStats {
    pub open: AtomicU64,
    pub total: AtomicU64,
    /// `accept` failed: mostly for want of file descriptors.
    pub accept_failures: AtomicU64,
    /// Answered *continue* because the desk did not answer in time.
    pub deadlines_missed: AtomicU64,
    /// Answered *continue* because the desk panicked.
    pub panics: AtomicU64,
}

impl ListenStats {
    pub fn kind(&self, kind: Kind) -> &KindStats {
        match kind {
            Kind::Milter => &self.milter,
            Kind::Policy => &self.policy,
        }
    }

    /// Odd requests of each kind, for the metrics.
    pub fn oddities(&self) -> impl Iterator<Item = (Oddity, u64)> {
        Oddity::ALL.into_iter().zip(self.oddities.iter().map(|n| n.load(Ordering::Relaxed)))
    }

    fn count_oddity(&self, oddity: Oddity) {
        if let Some(count) = self.oddities.get(oddity as usize) {
            add_one(count);
        }
    }

    fn next_connection(&self) -> u64 {
        self.connection.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts a connection for as long as what it returns lives.
    fn open(self: Arc<Self>, kind: Kind) -> OpenConnection {
        add_one(&self.kind(kind).open);
        add_one(&self.kind(kind).total);
        OpenConnection { stats: self, kind }
    }

    fn count_failure(&self, kind: Kind, failure: Failure) {
        match failure {
            Failure::Deadline => add_one(&self.kind(kind).deadlines_missed),
            Failure::Panic => add_one(&self.kind(kind).panics),
        }
    }
}

fn add_one(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

#[derive(Debug)]
struct OpenConnection {
    stats: Arc<ListenStats>,
    kind: Kind,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.stats.kind(self.kind).open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Asks all listeners to end. Dropped without a word, it means: at once.
#[derive(Debug)]
pub struct Stopper {
    sender: watch::Sender<Option<Instant>>,
}

impl Stopper {
    /// No new connections; what is being worked on has `drain` to end.
    pub fn stop(&self, drain: Duration) {
        self.sender.send_replace(Some(Instant::now() + drain));
    }
}

/// Whether, and until when, the listeners are to end.
#[derive(Clone, Debug)]
pub struct Shutdown {
    receiver: watch::Receiver<Option<Instant>>,
}

impl Shutdown {
    pub fn new() -> (Stopper, Self) {
        let (sender, receiver) = watch::channel(None);
        (Stopper { sender }, Self { receiver })
    }

    pub fn is_requested(&self) -> bool {
        self.receiver.borrow().is_some() || self.receiver.has_changed().is_err()
    }

    /// Completes when the end was asked for.
    pub async fn requested(&self) {
        // The error is a stopper that was dropped.
        let _ = self.receiver.clone().wait_for(Option::is_some).await;
    }

    /// Whether the time to end in good order is over: what ends now is ended by us.
    fn is_over(&self) -> bool {
        self.receiver.borrow().is_some_and(|until| Instant::now() >= until)
    }

    /// Completes when the time to end in good order is over.
    pub async fn drained(&self) {
        let mut receiver = self.receiver.clone();
        // Copied out at once: the watch stays locked while it is borrowed.
        let until = receiver.wait_for(Option::is_some).await.ok().and_then(|until| *until);
        if let Some(until) = until {
            tokio::time::sleep_until(until).await;
        }
    }
}

/// Why the desk gave no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Failure {
    Deadline,
    Panic,
}

/// Waits for the desk's answer, but not for ever, and outlives its panics: one
/// mistake of ours must cost no more than one answer.
async fn within<F: Future>(deadline: Duration, asked: F) -> Result<F::Output, Failure> {
    match tokio::time::timeout(deadline + GRACE, caught(asked)).await {
        Ok(answer) => answer,
        Err(_) => Err(Failure::Deadline),
    }
}

/// The future's output, unless it panics. What it borrowed may be left half
/// changed; the caller must not use that again.
async fn caught<F: Future>(future: F) -> Result<F::Output, Failure> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(_) => Poll::Ready(Err(Failure::Panic)),
    })
    .await
}

#[cfg(test)]
mod testing {
    use crate::config::Address;

    /// `inet:127.0.0.1:0` or `unix:/path`.
    pub(super) fn address_of(text: &str) -> Address {
        match text.strip_prefix("unix:") {
            Some(path) => Address::Unix(path.into()),
            None => Address::Inet(text.strip_prefix("inet:").unwrap().parse().unwrap()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_drain_ends_when_it_was_said_to() {
        let (stopper, shutdown) = Shutdown::new();
        assert!(!shutdown.is_requested());
        let begun = Instant::now();
        stopper.stop(Duration::from_secs(30));
        shutdown.requested().await;
        assert!(shutdown.is_requested() && begun.elapsed().is_zero());
        shutdown.drained().await;
        assert_eq!(begun.elapsed().as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_stopper_stops_at_once() {
        let (stopper, shutdown) = Shutdown::new();
        drop(stopper);
        shutdown.requested().await;
        shutdown.drained().await;
        assert!(shutdown.is_requested());
    }

    #[tokio::test(start_paused = true)]
    async fn a_desk_that_fails_costs_one_answer() {
        let limit = Duration::from_secs(5);
        assert_eq!(within(limit, async { 7 }).await, Ok(7));
        assert_eq!(within(limit, std::future::pending::<u8>()).await, Err(Failure::Deadline));
        let panics = async {
            tokio::task::yield_now().await;
            if tokio::time::Instant::now().elapsed().is_zero() {
                panic!("as it should");
            }
            7
        };
        assert_eq!(within(limit, panics).await, Err(Failure::Panic));
    }

    #[test]
    fn open_connections_are_counted_while_they_live() {
        let stats = Arc::new(ListenStats::default());
        let open = stats.clone().open(Kind::Milter);
        assert_eq!(stats.milter.open.load(Ordering::Relaxed), 1);
        drop(open);
        assert_eq!(stats.milter.open.load(Ordering::Relaxed), 0);
        assert_eq!(stats.milter.total.load(Ordering::Relaxed), 1);
        assert!(stats.next_connection() < stats.next_connection());
    }

    #[test]
    fn each_oddity_has_its_count() {
        let stats = ListenStats::default();
        for oddity in Oddity::ALL {
            stats.count_oddity(oddity);
        }
        assert!(stats.oddities().all(|(_, count)| count == 1));
    }
}
