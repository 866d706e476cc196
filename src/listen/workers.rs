//! Threads that connections live on: one for each core, each with a runtime of
//! its own.
//!
//! A request is answered within microseconds and waits for nothing. On a runtime
//! that shares its tasks between threads, waking the other one for each request
//! costs more than the answer; here a connection stays where it was put.

use parking_lot::Mutex;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Ends its threads when it is dropped; what runs on them then is cut.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<Thread>,
    next: AtomicUsize,
    /// Disconnected once all threads have ended.
    ended: Mutex<mpsc::Receiver<Infallible>>,
}

#[derive(Debug)]
struct Thread {
    handle: Handle,
    /// Dropped, it ends the thread.
    stop: Mutex<Option<oneshot::Sender<()>>>,
}

impl Workers {
    /// `count` threads, at least one. Each runs `beside` beside its connections, for as
    /// long as it lives, and calls `last` at its end.
    pub fn start<F: Future<Output = Infallible>>(
        count: usize,
        beside: impl FnOnce() -> F + Clone + Send + 'static,
        last: impl FnOnce() + Clone + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let (alive, ended) = mpsc::channel();
        let start = |number| start_one(number, beside.clone(), last.clone(), alive.clone());
        let threads = (0..count.max(1)).map(start).collect::<io::Result<_>>()?;
        Ok(Arc::new(Self { threads, next: AtomicUsize::new(0), ended: Mutex::new(ended) }))
    }

    /// Ends the threads and waits for them, so long at most: what they have to say at
    /// their end has been said then. Blocks.
    pub fn finish(&self, limit: Duration) {
        self.threads.iter().for_each(|thread| drop(thread.stop.lock().take()));
        // Nothing is ever sent.
        let _ = self.ended.lock().recv_timeout(limit);
    }

    /// The runtime for the next connection, in turn.
    pub fn next(&self) -> &Handle {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        &self.threads[turn % self.threads.len()].handle
    }
}

fn start_one<F: Future<Output = Infallible>>(
    number: usize,
    beside: impl FnOnce() -> F + Send + 'static,
    last: impl FnOnce() + Send + 'static,
    alive: mpsc::Sender<Infallible>,
) -> io::Result<Thread> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let (stop, stopped) = oneshot::channel::<()>();
    std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                // The error is the sender that was dropped: the end.
                _ = stopped => {}
                never = beside() => match never {},
            }
        });
        runtime.shutdown_background();
        last();
        drop(alive);
    })?;
    Ok(Thread { handle, stop: Mutex::new(Some(stop)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_put_on_the_threads_in_turn() {
        let workers = Workers::start(2, std::future::pending, || ()).unwrap();
        let names: Vec<_> = (0..4)
            .map(|_| {
                let (sender, receiver) = std::sync::mpsc::channel();
                workers.next().spawn(async move {
                    sender.send(std::thread::current().name().map(str::to_owned)).unwrap();
                });
                receiver.recv().unwrap().unwrap()
            })
            .collect();
        let ended = Arc::downgrade(&workers);
        workers.finish(Duration::from_secs(10));
        assert!(
            workers.ended.lock().try_recv() == Err(mpsc::TryRecvError::Disconnected)
                && ended.strong_count() == 1
        );
        assert_eq!(names, ["worker-0", "worker-1", "worker-0", "worker-1"]);
    }
}
