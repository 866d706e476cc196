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
    /// what was found until then, as for any other cap. If reading it failed, its header.
    pub(super) async fn read(&self, mut message: Message) -> Message {
        if !message.may_take_long() {
            message.finish(&Stop::default());
            return message;
        }
        let (message, failed) = self
            .readers
            .read(self.deadlines.message / 2, message, |message, stop| message.finish(stop))
            .await;
        failed.into_iter().for_each(|reason| self.metrics.fail_open(reason));
        message
    }
}

impl Readers {
    /// The header stays here, so that no fault of a reader takes it away: rules about a
    /// missing field, or about no file at all, would say what is not so.
    async fn read(
        &self,
        limit: Duration,
        mut message: Message,
        finish: impl FnOnce(&mut Message, &Stop) + Send + 'static,
    ) -> (Message, Option<FailOpen>) {
        let (headers, size) = (message.take_headers(), message.size());
        let read = self.run(limit, move |stop| {
            finish(&mut message, stop);
            message
        });
        match read.await {
            (Some(mut message), failed) => {
                message.give_headers(headers);
                (message, failed)
            }
            (None, failed) => (Message::unread(headers, size), failed),
        }
    }

    /// Has `work` done when it is its turn. After `limit` it is told to stop; what it has
    /// until then counts. What went wrong is beside it.
    async fn run<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce(&Stop) -> T + Send + 'static,
    ) -> (Option<T>, Option<FailOpen>) {
        let until = Instant::now() + limit;
        let stop = Stop::default();
        let waiting = Waiting(stop.clone());
        let Ok(Ok(permit)) = timeout_at(until, Arc::clone(&self.0).acquire_owned()).await else {
            // What needs no archive opened is known all the same.
            stop.now();
            return (Some(work(&stop)), Some(FailOpen::Overload));
        };
        let mut working = spawn_blocking(move || {
            let made = work(&stop);
            drop(permit);
            made
        });
        let made = match timeout_at(until, &mut working).await {
            Ok(made) => Ok(made),
            Err(_) => {
                drop(waiting);
                timeout(at_last(limit), working).await
            }
        };
        match made {
            Ok(Ok(made)) => (Some(made), None),
            Ok(Err(_)) => (None, Some(FailOpen::Internal)),
            Err(_) => (None, Some(FailOpen::Deadline)),
        }
    }
}

/// A reader that is told to stop looks up after each file and each few MiB.
fn at_last(limit: Duration) -> Duration {
    (limit / 4).max(Duration::from_millis(100))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    fn until_told(stop: &Stop) -> &'static str {
        while !stop.is_wanted() {
            std::thread::sleep(Duration::from_millis(1));
        }
        "so far"
    }

    #[tokio::test]
    async fn what_takes_too_long_is_told_to_stop_and_counts_as_it_is() {
        let readers = Readers::default();
        assert_eq!(readers.run(Duration::from_secs(10), |_| "all").await, (Some("all"), None));
        assert_eq!(readers.run(Duration::from_millis(20), until_told).await, (Some("so far"), None));
    }

    #[tokio::test]
    async fn what_does_not_stop_or_panics_is_given_up_and_counted() {
        let readers = Readers::default();
        let deaf = |_: &Stop| std::thread::sleep(Duration::from_millis(600));
        let given_up = readers.run(Duration::from_millis(20), deaf).await;
        assert_eq!(given_up, (None, Some(FailOpen::Deadline)));
        let panics = |_: &Stop| -> () { panic!("a reader's fault") };
        let failed = readers.run(Duration::from_secs(10), panics).await;
        assert_eq!(failed, (None, Some(FailOpen::Internal)));
        // Its place is free again.
        assert_eq!(readers.run(Duration::from_secs(10), |_| 1).await, (Some(1), None));
    }

    #[tokio::test]
    async fn of_a_message_that_was_lost_the_header_is_known_and_that_there_is_more() {
        let readers = Readers::default();
        let deaf = |_: &mut Message, _: &Stop| std::thread::sleep(Duration::from_millis(600));
        let panics = |_: &mut Message, _: &Stop| panic!("a reader's fault");
        let eml = b"Subject: x\n\nbody";
        let (lost, slow) = (Duration::from_secs(10), Duration::from_millis(20));
        for (read, failed) in [
            (readers.read(lost, Message::from_eml(eml), panics).await, FailOpen::Internal),
            (readers.read(slow, Message::from_eml(eml), deaf).await, FailOpen::Deadline),
        ] {
            assert_eq!(read.1, Some(failed));
            assert_eq!(read.0.headers().named("Subject").count(), 1);
            assert_eq!(read.0.size() as usize, "Subject: x\r\n\r\nbody".len());
            assert_eq!(read.0.limit(), Some("a message that could not be read"));
            assert_eq!((read.0.parts().len(), read.0.may_change(0).is_err()), (1, true));
        }
        let (whole, failed) = readers.read(lost, Message::from_eml(eml), |_, _| {}).await;
        assert_eq!((whole.headers().len(), whole.limits(), failed), (1, false, None));
    }

    #[tokio::test]
    async fn so_many_read_at_once_and_who_gets_no_turn_reads_without_archives() {
        let readers = Readers(Arc::new(Semaphore::new(1)));
        let at_work = Arc::new(AtomicUsize::new(0));
        let first = readers.run(Duration::from_millis(300), {
            let at_work = Arc::clone(&at_work);
            move |stop| {
                at_work.fetch_add(1, Ordering::SeqCst);
                until_told(stop)
            }
        });
        let second = readers.run(Duration::from_millis(50), {
            let at_work = Arc::clone(&at_work);
            move |stop: &Stop| (stop.is_wanted(), at_work.load(Ordering::SeqCst))
        });
        let (first, second) = tokio::join!(first, second);
        assert_eq!(first, (Some("so far"), None));
        assert_eq!(second, (Some((true, 1)), Some(FailOpen::Overload)));
    }

    #[tokio::test]
    async fn when_nobody_waits_any_more_the_reader_is_told() {
        let readers = Readers(Arc::new(Semaphore::new(1)));
        let gone = readers.run(Duration::from_secs(60), until_told);
        assert!(timeout(Duration::from_millis(50), gone).await.is_err());
        assert_eq!(readers.run(Duration::from_secs(10), |_| "next").await, (Some("next"), None));
    }
}
