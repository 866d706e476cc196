//! Where log lines go: standard error, through a queue and a thread of its own,
//! so that a reader that has stopped costs lines and never an answer.

use std::fs::File;
use std::io;
use std::io::BufWriter;
use std::io::IsTerminal;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tracing_appender::non_blocking::NonBlocking;
use tracing_appender::non_blocking::NonBlockingBuilder;
use tracing_appender::non_blocking::WorkerGuard;

/// Chunks that wait for a slow reader: a line, or those that a thread has gathered, of
/// up to [`super::MAX_GATHERED_BYTES`] and a line. So at most 40 MiB, the half second of
/// the busiest server.
pub(super) const MAX_QUEUED_CHUNKS: usize = 1_024;

/// A burst becomes one write.
const BUFFER_BYTES: usize = 64 * 1024;

/// Until a descriptor that somebody else made non-blocking is tried again.
const RETRY: Duration = Duration::from_millis(10);

/// What standard error is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reader {
    Journald,
    Person,
    Program,
}

/// Standard error and what reads it.
pub(super) fn standard_error() -> (Box<dyn Write + Send>, Reader) {
    let stderr = io::stderr();
    // A descriptor of our own: the lock of `io::stderr` is not held while it blocks.
    let Ok(file) = stderr.as_fd().try_clone_to_owned().map(File::from) else {
        return (Box::new(stderr), Reader::Program);
    };
    let reader = if stderr.is_terminal() {
        Reader::Person
    } else if is_journal(&file) {
        Reader::Journald
    } else {
        Reader::Program
    };
    (Box::new(file), reader)
}

/// systemd.exec(5): JOURNAL_STREAM names the socket's device and inode, and has
/// to be compared, since the variable is inherited by those whose output is not.
fn is_journal(file: &File) -> bool {
    let Ok(variable) = std::env::var("JOURNAL_STREAM") else { return false };
    file.metadata().is_ok_and(|about| variable == format!("{}:{}", about.dev(), about.ino()))
}

/// The queue before a writer, its thread, and the count of lines that were lost
/// behind the queue.
pub(super) fn queue(writer: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard, Arc<AtomicU64>) {
    let lost = Arc::new(AtomicU64::new(0));
    let lossy = Lossy { writer, lost: Arc::clone(&lost) };
    let (queue, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(MAX_QUEUED_CHUNKS)
        .thread_name("journal")
        .finish(BufWriter::with_capacity(BUFFER_BYTES, lossy));
    (queue, guard, lost)
}

/// Never fails: what can't be written is counted and gone. Runs in the thread
/// of the queue, where waiting harms nobody.
struct Lossy<W> {
    writer: W,
    lost: Arc<AtomicU64>,
}

impl<W: Write> Write for Lossy<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.writer.write(bytes) {
                Ok(written) if written > 0 => return Ok(written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(RETRY),
                _ => {
                    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
                    self.lost.fetch_add(lines as u64, Relaxed);
                    return Ok(bytes.len());
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.writer.flush();
        Ok(())
    }
}
