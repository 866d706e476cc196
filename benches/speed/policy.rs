//! The policy protocol without a policy: the server that only answers, which is
//! as fast as the protocol can be on tokio, and the client that asks both.

use crate::requests::Requests;
use crate::socket::Address;
use crate::socket::Stream;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::net::UnixListener;
use tokio::task::JoinSet;

/// A long request of Postfix is 6 KiB.
const BUFFER_BYTES: usize = 16 * 1024;

/// Reads to the empty line, answers DUNNO.
pub async fn echo(address: &Address) -> io::Result<()> {
    match address {
        Address::Inet(port) => {
            let listener = TcpListener::bind(("127.0.0.1", *port)).await?;
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                tokio::spawn(answer(stream));
            }
        }
        Address::Unix(path) => {
            let listener = UnixListener::bind(path)?;
            loop {
                let (stream, _) = listener.accept().await?;
                tokio::spawn(answer(stream));
            }
        }
    }
}

async fn answer<S: Stream>(mut stream: S) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        if buffer[..filled].ends_with(b"\n\n") {
            stream.write_all(b"action=DUNNO\n\n").await?;
            filled = 0;
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    answers: AtomicU64,
    /// Answers that were not DUNNO.
    others: AtomicU64,
}

/// Asks over `connections` for `window`, after a warm-up: how many answers
/// came, how many were not DUNNO, and the time.
pub async fn load(
    address: &Address,
    connections: usize,
    window: Duration,
    requests: impl Fn(u32) -> Requests,
) -> io::Result<(u64, u64, Duration)> {
    let counts = Arc::new(Counts::default());
    let mut tasks = JoinSet::new();
    for task in 0..connections as u32 {
        let stream = address.connect().await?;
        tasks.spawn(ask(stream, requests(task), counts.clone()));
    }
    let measured = async {
        tokio::time::sleep(window / 5).await;
        let (first, start) = (counts.answers.load(Ordering::Relaxed), Instant::now());
        tokio::time::sleep(window).await;
        (counts.answers.load(Ordering::Relaxed) - first, start.elapsed())
    };
    tokio::select! {
        (answers, time) = measured => Ok((answers, counts.others.load(Ordering::Relaxed), time)),
        Some(ended) = tasks.join_next() => Err(ended.map_or_else(io::Error::other, |result| result.unwrap_err())),
    }
}

async fn ask(
    mut stream: Box<dyn Stream>,
    mut requests: Requests,
    counts: Arc<Counts>,
) -> Result<std::convert::Infallible, io::Error> {
    loop {
        let is_dunno = ask_once(&mut stream, requests.next()).await?;
        counts.answers.fetch_add(1, Ordering::Relaxed);
        if !is_dunno {
            counts.others.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// True if the answer was DUNNO.
async fn ask_once(stream: &mut Box<dyn Stream>, request: &[u8]) -> io::Result<bool> {
    stream.write_all(request).await?;
    let mut answer = [0; 1024];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut answer[filled..]).await?;
        if read == 0 {
            return Err(io::Error::other("the server closed the connection, expected an answer"));
        }
        filled += read;
        if answer[..filled].ends_with(b"\n\n") {
            return Ok(answer.starts_with(b"action=DUNNO"));
        }
    }
}

/// Opens `connections`, leaves them idle for `pause`, then asks on each; how
/// many were answered. `opened` is called between.
pub async fn idle(
    address: &Address,
    connections: usize,
    pause: Duration,
    opened: impl FnOnce(),
) -> io::Result<usize> {
    let mut streams = Vec::with_capacity(connections);
    for _ in 0..connections {
        streams.push(address.connect().await?);
    }
    // All were accepted once the last has been answered.
    let mut requests = Requests::new(std::process::id());
    if let Some(last) = streams.last_mut() {
        ask_once(last, requests.next()).await?;
    }
    tokio::time::sleep(pause).await;
    opened();
    let mut answered = 0;
    for stream in &mut streams {
        let asked = ask_once(stream, requests.next());
        if let Ok(Ok(_)) = tokio::time::timeout(Duration::from_secs(10), asked).await {
            answered += 1;
        }
    }
    Ok(answered)
}
