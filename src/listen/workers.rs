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

/// So many connections more than another a thread may have before that one gets the
/// next: what stays on the thread that accepted it need not wake another. Few, since a
/// dozen busy milter sessions fill a thread.
const SLACK: usize = 4;

#[derive(Debug)]
struct Thread {
    handle: Handle,
    /// Connections on it.
    open: AtomicUsize,
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

    /// The runtime for the next listener, in turn.
    pub fn next(&self) -> &Handle {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        &self.threads[turn % self.threads.len()].handle
    }

    /// A place for a connection: on the thread that asks, unless that has many more
    /// than another.
    pub(super) fn place(self: &Arc<Self>) -> Place {
        let open = |thread: &Thread| thread.open.load(Ordering::Relaxed);
        let here = Handle::try_current().ok().map(|here| here.id());
        let at_home = |thread: &&Thread| Some(thread.handle.id()) == here;
        let all = || self.threads.iter().enumerate();
        let least = all().min_by_key(|(_, thread)| open(thread));
        let home = all().find(|(_, thread)| at_home(thread));
        let (at, thread) = match (home, least) {
            (Some(home), Some(least)) if open(home.1) < open(least.1) + SLACK => home,
            (_, Some(least)) => least,
            (_, None) => unreachable!("there is one at least"),
        };
        thread.open.fetch_add(1, Ordering::Relaxed);
        Place { workers: Arc::clone(self), at }
    }
}

/// Where a connection lives, for as long as it does.
#[derive(Debug)]
pub(super) struct Place {
    workers: Arc<Workers>,
    at: usize,
}

impl Place {
    pub(super) fn runtime(&self) -> &Handle {
        &self.workers.threads[self.at].handle
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.workers.threads[self.at].open.fetch_sub(1, Ordering::Relaxed);
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
    Ok(Thread { handle, open: AtomicUsize::new(0), stop: Mutex::new(Some(stop)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_workers() -> Arc<Workers> {
        Workers::start(2, std::future::pending, || ()).unwrap()
    }

    /// Runs it on a thread of connections.
    fn on<T: Send + 'static>(runtime: &Handle, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, receiver) = mpsc::channel();
        runtime.spawn(async move { drop(sender.send(work())) });
        receiver.recv().unwrap()
    }

    fn end(workers: Arc<Workers>) {
        let threads = Arc::downgrade(&workers);
        workers.finish(Duration::from_secs(10));
        let ended = workers.ended.lock().try_recv() == Err(mpsc::TryRecvError::Disconnected);
        assert!(ended && threads.strong_count() == 1);
    }

    #[test]
    fn listeners_are_put_on_the_threads_in_turn() {
        let workers = two_workers();
        let name = || std::thread::current().name().map(str::to_owned).unwrap();
        let names: Vec<_> = (0..4).map(|_| on(workers.next(), name)).collect();
        assert_eq!(names, ["worker-0", "worker-1", "worker-0", "worker-1"]);
        end(workers);
    }

    #[test]
    fn a_connection_stays_where_it_was_accepted_while_that_thread_has_not_many_more() {
        let workers = two_workers();
        let asked = Arc::clone(&workers);
        let places = on(workers.next(), move || (0..SLACK + 6).map(|_| asked.place()).collect::<Vec<_>>());
        let on_first = |places: &[Place]| places.iter().filter(|place| place.at == 0).count();
        assert_eq!(on_first(&places), SLACK + 3);
        drop(places);
        let asked = Arc::clone(&workers);
        let places = on(workers.next(), move || (0..SLACK).map(|_| asked.place()).collect::<Vec<_>>());
        assert_eq!(on_first(&places), 0);
        // From anywhere else: wherever there are fewest.
        let elsewhere: Vec<_> = (0..SLACK).map(|_| workers.place()).collect();
        assert_eq!(on_first(&elsewhere), SLACK);
        drop((places, elsewhere));
        end(workers);
    }
}
