//! The control socket: `gatepost listed` and others ask the running daemon. One request a
//! connection.
//!
//! The file's mode keeps others away, and the kernel says who is at the other end:
//! root and our own user are heard, all others refused.

use crate::desk::Desk;
use crate::desk::EntryUse;
use crate::desk::LONGEST_LISTING;
use crate::desk::LimitUse;
use crate::desk::Listing;
use crate::desk::is_word;
use crate::desk::pool_of;
use crate::listen::Shutdown;
use crate::listen::socket::Access;
use crate::listen::socket::SocketFile;
use crate::listen::socket::bind_unix;
use crate::wire::control::Answer;
use crate::wire::control::EntryRow;
use crate::wire::control::LimitRow;
use crate::wire::control::ListedRow;
use crate::wire::control::MAX_REQUEST_BYTES;
use crate::wire::control::Request;
use crate::wire::control::line;
use crate::wire::control::read;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

/// Operators are few.
const MAX_CONNECTIONS: usize = 16;

/// For the request and the whole answer, which may be megabytes.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What is thrown away of one who sends on, and how long it may take.
const MAX_UNREAD_BYTES: u64 = 1 << 20;
const LINGER: Duration = Duration::from_secs(1);

/// Rows that somebody may want to read.
const MAX_TOP: usize = 10_000;

/// A bound control socket.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    /// The user who made the socket's file: ourselves.
    owner: u32,
    _file: SocketFile,
}

impl Control {
    /// The error says what is wrong with the path, and what to do.
    pub async fn bind(path: &Path) -> Result<Self, String> {
        let (listener, file) = bind_unix(path, &Access { mode: Some(0o600), group: None }).await?;
        let made = std::fs::symlink_metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { listener, owner: made.uid(), _file: file })
    }

    /// Answers until the end is asked for.
    pub async fn serve(self, desk: Arc<Desk>, shutdown: Shutdown) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = shutdown.requested() => return,
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Ok((stream, _)) => {
                        let (desk, owner) = (Arc::clone(&desk), self.owner);
                        connections.spawn(async move {
                            // Whoever has gone away needs no answer.
                            let _ = tokio::time::timeout(TIMEOUT, converse(stream, &desk, owner)).await;
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the control socket can't accept");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
    }
}

async fn converse(stream: UnixStream, desk: &Desk, owner: u32) -> io::Result<()> {
    let user = stream.peer_cred()?.uid();
    let mut stream = BufReader::new(stream);
    if user != 0 && user != owner {
        tracing::warn!(user, "refused on the control socket: neither root nor our own user");
        let why = format!("user {user} may not: root and the daemon's own user may");
        stream.write_all(line(&Answer::Refused { why }).as_bytes()).await?;
        return leave(stream).await;
    }
    let mut request = String::new();
    (&mut stream).take(MAX_REQUEST_BYTES as u64).read_line(&mut request).await?;
    let answers = match read(&request) {
        Ok(request) => answers(request, desk).await,
        Err(why) => vec![Answer::Refused { why: format!("not a request: {why}") }],
    };
    for answer in answers {
        stream.write_all(line(&answer).as_bytes()).await?;
    }
    leave(stream).await
}

/// What was sent and not read would take the answer with it when the socket closes.
async fn leave(mut stream: BufReader<UnixStream>) -> io::Result<()> {
    stream.shutdown().await?;
    let mut rest = stream.take(MAX_UNREAD_BYTES);
    let mut sink = tokio::io::sink();
    let _ = tokio::time::timeout(LINGER, tokio::io::copy(&mut rest, &mut sink)).await;
    Ok(())
}

/// What HTTP says as well.
pub(super) async fn answers(request: Request, desk: &Desk) -> Vec<Answer> {
    match request {
        Request::GreylistPass { pool } => {
            let Some(pool) = pool_of(&pool) else {
                let why =
                    format!("`{pool}` is no pool: an address, its /24 or /64, or a domain as the log has it");
                return vec![Answer::Refused { why }];
            };
            match desk.pass_greylist(&pool).await {
                Some(count) => vec![Answer::Done { count: count as u64 }],
                None => vec![Answer::Refused { why: "there is no room for another pool".into() }],
            }
        }
        Request::ListedAdd { key, reason, seconds } => {
            if !is_word(&reason) {
                let why = format!("`{reason}` is not a reason: up to 64 letters, digits, `_`, `-` and `.`");
                return vec![Answer::Refused { why }];
            }
            let period = Duration::from_secs(seconds);
            if period.is_zero() || period > LONGEST_LISTING {
                return vec![Answer::Refused { why: "a time from 1s to 366d is expected".into() }];
            }
            match desk.list(&key, &reason, period).await {
                true => vec![Answer::Done { count: 1 }],
                false => vec![Answer::Refused { why: "there is no room for another key".into() }],
            }
        }
        Request::ListedDel { key, reason } => {
            vec![Answer::Done { count: desk.unlist(&key, reason.as_deref()).await as u64 }]
        }
        Request::LimitsShow { key } => limits(desk.limits_of(&key).await),
        Request::LimitsReset { key } => {
            vec![Answer::Done { count: desk.reset_limits(&key).await as u64 }]
        }
        Request::LimitsTop { count } => limits(desk.fullest(count.min(MAX_TOP)).await),
        Request::ListsShow { list, idle_seconds } => {
            match desk.entries(list.as_deref(), idle_seconds.map(Duration::from_secs)) {
                Ok(found) => {
                    let count = found.len() as u64;
                    found.into_iter().map(entry).chain([Answer::Done { count }]).collect()
                }
                Err(why) => vec![Answer::Refused { why }],
            }
        }
        Request::ListedShow { key } => {
            let found = desk.listed(key.as_deref()).await;
            let count = found.len() as u64;
            let rows = found.into_iter().map(|(key, listing)| Answer::Listed(row(key, listing)));
            rows.chain([Answer::Done { count }]).collect()
        }
    }
}

/// A row for each window, and at the end the number of keys.
fn limits(found: Vec<LimitUse>) -> Vec<Answer> {
    let count = found.len() as u64;
    let rows = found.into_iter().flat_map(|LimitUse { rules, used }| {
        let key = used.key;
        used.windows.into_iter().map(move |of| {
            Answer::Limit(LimitRow {
                key: key.clone(),
                rules: rules.clone(),
                window: of.window.to_string(),
                used: of.used,
                allowed: of.window.capacity(),
                next_millis: u64::try_from(of.next.as_millis()).unwrap_or(u64::MAX),
            })
        })
    });
    rows.chain([Answer::Done { count }]).collect()
}

fn entry(found: EntryUse) -> Answer {
    let seconds = |nanos: u64| nanos / 1_000_000_000;
    let EntryUse { list, entry, count, first, last } = found;
    Answer::Entry(EntryRow { list, entry, count, first: first.map(seconds), last: last.map(seconds) })
}

fn row(key: String, listing: Listing) -> ListedRow {
    let seconds = |nanos: u64| nanos / 1_000_000_000;
    ListedRow {
        key,
        since: seconds(listing.since),
        until: seconds(listing.observed_until),
        observed: listing.until < listing.observed_until,
        times: listing.times,
        reason: listing.reason,
        by: listing.by,
    }
}
