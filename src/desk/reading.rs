//! Reading a message to its end. Where that may take long it is done on a thread of its
//! own, and only so many at once as there are cores: others live on the thread that asks.

use super::Desk;
use crate::content::Stop;
use crate::message::Message;
use crate::metrics::FailOpen;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tokio::time::timeout;
use tokio::time::timeout_at;

/// Who may read at length now.
#[derive(Debug)]
pub(super) struct Readers(Arc<Semaphore>);

impl Default for Readers {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self(Arc::new(Semaphore::new(cores)))
    }
}

/// Tells the reader that nobody waits any more, also when whoever did has gone.
struct Waiting(Stop);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.now();
    }
}

impl Desk {
    /// The message with all that is wanted of it, or, when half of the deadline is over,
    /// what was found until then, as for any other cap. None only if reading it failed.
    pub(super) async fn read(&self, mut message: Message) -> Option<Message> {
        let stop = Stop::default();
        if !message.may_take_long() {
            message.finish(&stop);
            return Some(message);
        }
        let limit = self.deadlines.message / 2;
        let until = Instant::now() + limit;
        let waiting = Waiting(stop.clone());
        let Ok(Ok(permit)) = timeout_at(until, Arc::clone(&self.readers.0).acquire_owned()).await else {
            self.metrics.fail_open(FailOpen::Overload);
            stop.now();
            message.finish(&stop);
            return Some(message);
        };
        let mut reading = spawn_blocking(move || {
            message.finish(&stop);
            drop(permit);
            message
        });
        let read = match timeout_at(until, &mut reading).await {
            Ok(read) => Ok(read),
            Err(_) => {
                drop(waiting);
                timeout(at_last(limit), reading).await
            }
        };
        match read {
            Ok(Ok(message)) => return Some(message),
            Ok(Err(_)) => self.metrics.fail_open(FailOpen::Internal),
            Err(_) => self.metrics.fail_open(FailOpen::Deadline),
        }
        None
    }
}

/// A reader that is told to stop looks up after each file and each few MiB.
fn at_last(limit: Duration) -> Duration {
    (limit / 4).max(Duration::from_millis(100))
}
