//! Listening sockets and their streams: binding by name, accepting within a
//! limit and through a shortage of file descriptors, ending in good order.
//!
//! Everybody who may reach a socket may connect. Connections are bounded by
//! `max_connections`; who may connect, by the address or the socket's mode.

use crate::config::Address;
use crate::desk::Peer;
use crate::listen::Kind;
use crate::listen::OpenConnection;
use crate::listen::Service;
use crate::listen::add_one;
use crate::listen::workers::Place;
use crate::listen::workers::Workers;
use futures_util::FutureExt as _;
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::Interest;
use tokio::io::ReadBuf;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinError;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Postfix's smtpd runs as another user than we do: a group both are in.
const DEFAULT_MODE: u32 = 0o660;

/// How long the owner of a socket file may take to accept before it is taken
/// for one that is busy, and so in use.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Between attempts to accept when file descriptors are short: from the first
/// to the second. Twenty attempts a second cost nothing and are soon over.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(50));

/// How long nobody may be accepted before those who wait are turned away: most
/// shortages are over sooner, and Postfix would wait for 30 s at least.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long no attempt may have failed for a shortage to be over: when descriptors
/// are few, each that is freed is soon taken.
const CALM: Duration = Duration::from_secs(1);

/// After the drain deadline, for milter sessions to end the command in hand.
const LAST_GRACE: Duration = Duration::from_secs(1);

/// Who may connect to a unix socket.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Access {
    /// `0660` unless said.
    pub mode: Option<u32>,
    /// A group's name in /etc/group, or its number.
    pub group: Option<String>,
}

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    inner: Inner,
    address: Address,
    /// Removed with the listener.
    _file: Option<SocketFile>,
}

#[derive(Debug)]
enum Inner {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// The error says what is wrong with which address, and what to do.
    pub async fn bind(address: &Address, access: &Access) -> Result<Self, String> {
        match address {
            Address::Inet(socket) => {
                let listener = TcpListener::bind(socket).await.map_err(|e| explain(address, &e))?;
                // Port 0 is whichever is free; the log says which.
                let bound = listener.local_addr().unwrap_or(*socket);
                Ok(Self { inner: Inner::Tcp(listener), address: Address::Inet(bound), _file: None })
            }
            Address::Unix(path) => {
                let (listener, file) = bind_unix(path, access).await?;
                Ok(Self { inner: Inner::Unix(listener), address: address.clone(), _file: Some(file) })
            }
        }
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Accepts until the end is asked for, a task for each connection, then
    /// waits for them until the drain is over. The socket closes first, so that
    /// Postfix learns at once that we are going.
    pub(super) async fn run<F, C>(self, kind: Kind, service: &Service, converse: F)
    where
        F: Fn(Stream, Peer) -> C,
        C: Future<Output = ()> + Send + 'static,
    {
        let mut connections = JoinSet::new();
        let mut shortage = Shortage::new(service.name.to_string());
        let mut told_full = false;
        loop {
            let full = connections.len() >= service.max_connections;
            if full && !told_full {
                told_full = true;
                tracing::warn!(listener = %service.name, kind = kind.word(), limit = service.max_connections,
                    "as many connections as allowed, the next ones wait; raise the limit above what Postfix opens");
            }
            tokio::select! {
                () = service.shutdown.requested() => break,
                Some(ended) = connections.join_next() => note_end(kind, service, ended),
                accepted = self.accept(), if !full => match accepted {
                    Ok(io) => {
                        shortage.over();
                        let Some((io, place)) = settle(io, service) else {
                            continue;
                        };
                        let runtime = place.as_ref().map(|place| place.runtime().clone());
                        let (stream, peer) = admit(io, place, kind, service);
                        match runtime {
                            Some(runtime) => connections.spawn_on(converse(stream, peer), &runtime),
                            None => connections.spawn(converse(stream, peer)),
                        };
                    }
                    Err(error) => {
                        add_one(&service.stats.kind(kind).accept_failures);
                        if let Some(pause) = shortage.pause_after(&error) {
                            if shortage.lasts() {
                                self.shed(&mut shortage);
                            }
                            tokio::time::sleep(pause).await;
                        }
                    }
                },
            }
        }
        drop(self);
        let drained = async {
            service.shutdown.drained().await;
            tokio::time::sleep(LAST_GRACE).await;
        };
        let all = async {
            while let Some(ended) = connections.join_next().await {
                note_end(kind, service, ended);
            }
        };
        tokio::select! {
            () = all => {}
            () = drained => {
                tracing::warn!(listener = %service.name, kind = kind.word(), "connections were cut at the end of the drain");
            }
        }
        connections.shutdown().await;
    }

    async fn accept(&self) -> io::Result<StreamIo> {
        match &self.inner {
            Inner::Tcp(listener) => listener.accept().await.map(|(stream, _)| StreamIo::Tcp(stream)),
            Inner::Unix(listener) => listener.accept().await.map(|(stream, _)| StreamIo::Unix(stream)),
        }
    }

    /// Lets one waiting client know that there is no place, by means of the
    /// reserve: it goes on with its default action instead of timing out.
    fn shed(&self, shortage: &mut Shortage) {
        if shortage.reserve.take().is_none() {
            return;
        }
        // Asked once only. Without descriptors `accept` fails also when nobody is
        // there, and who came while we waited here would find the place free.
        if self.accept().now_or_never().is_none() {
            shortage.since = None;
        }
        shortage.refill();
    }
}

/// Moves a connection to the thread it is to live on.
fn settle(io: StreamIo, service: &Service) -> Option<(StreamIo, Option<Place>)> {
    let Some(place) = service.workers.as_ref().map(Workers::place) else {
        return Some((io, None));
    };
    if place.runtime().id() == Handle::current().id() {
        return Some((io, Some(place)));
    }
    match io.moved_to(place.runtime()) {
        Ok(io) => Some((io, Some(place))),
        Err(error) => {
            tracing::warn!(listener = %service.name, %error, "a connection can't be moved to its thread and is closed");
            None
        }
    }
}

/// Counts and numbers a connection and learns who is there.
fn admit(io: StreamIo, place: Option<Place>, kind: Kind, service: &Service) -> (Stream, Peer) {
    let peer = Peer {
        listener: service.name.clone(),
        pid: io.peer_pid(),
        connection: service.stats.next_connection(),
        line: std::sync::Arc::default(),
        decides: service.decides,
    };
    if let StreamIo::Tcp(stream) = &io {
        // Many small frames each way: with Nagle's algorithm each message
        // would take 40 ms longer. If it fails, it is only slower.
        let _ = stream.set_nodelay(true);
    }
    (Stream { io, dropped: None, _open: service.stats.clone().open(kind), _place: place }, peer)
}

fn note_end(kind: Kind, service: &Service, ended: Result<(), JoinError>) {
    if ended.is_err_and(|error| error.is_panic()) {
        add_one(&service.stats.kind(kind).panics);
        tracing::error!(listener = %service.name, kind = kind.word(), "a connection's task panicked; the others go on");
    }
}

/// No file descriptors or buffers left: said once, waited out, without a busy
/// loop. Who comes waits too; a descriptor kept in reserve serves to turn clients
/// away when it lasts.
struct Shortage {
    listener: String,
    reserve: Option<fs::File>,
    pause: Duration,
    /// Since when nobody was accepted who wanted to be.
    since: Option<Instant>,
    /// The last failure, if the shortage was told and its end was not.
    told: Option<Instant>,
}

impl Shortage {
    fn new(listener: String) -> Self {
        let mut shortage = Self { listener, reserve: None, pause: BACK_OFF.0, since: None, told: None };
        shortage.refill();
        shortage
    }

    fn refill(&mut self) {
        if self.reserve.is_none() {
            self.reserve = fs::File::open("/dev/null").ok();
        }
    }

    /// How long to wait before accepting again; not at all if only that one
    /// client failed us.
    fn pause_after(&mut self, error: &io::Error) -> Option<Duration> {
        use io::ErrorKind::ConnectionAborted;
        use io::ErrorKind::ConnectionReset;
        use io::ErrorKind::Interrupted;
        if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
            return None;
        }
        let now = Instant::now();
        // After a calm it is another one: nobody came in between.
        if self.told.replace(now).is_none_or(|last| now - last >= CALM) {
            self.since = None;
            tracing::error!(listener = %self.listener, %error,
                "cannot accept connections, open ones go on; if files are short, raise LimitNOFILE");
        }
        self.since.get_or_insert(now);
        let pause = self.pause;
        self.pause = (pause * 2).min(BACK_OFF.1);
        Some(pause)
    }

    /// Whether those who wait have waited long enough.
    fn lasts(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() >= PATIENCE)
    }

    /// Somebody was accepted.
    fn over(&mut self) {
        let Some(last) = self.told else { return };
        self.since = None;
        self.pause = BACK_OFF.0;
        self.refill();
        if last.elapsed() >= CALM {
            self.told = None;
            tracing::info!(listener = %self.listener, "connections are accepted again");
        }
    }
}

fn explain(address: &Address, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "address already in use: {address}: another process listens there, perhaps another gatepost; stop it or choose another address"
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!("address not available: {address}: this machine has no such address")
        }
        io::ErrorKind::NotFound => {
            format!("cannot listen on {address}: no such directory; create it first")
        }
        io::ErrorKind::PermissionDenied => {
            format!(
                "cannot listen on {address}: permission denied; run as a user who may, or choose another address"
            )
        }
        _ => format!("cannot listen on {address}: {error}"),
    }
}

/// Bound beside its place, given its mode and group, then moved there: nobody
/// can connect before the mode is right, and a stale file goes in the same step.
pub(super) async fn bind_unix(path: &Path, access: &Access) -> Result<(UnixListener, SocketFile), String> {
    let address = Address::Unix(path.to_owned());
    refuse_living(path, &address).await?;
    let mut beside = path.as_os_str().to_owned();
    beside.push("~");
    let beside = PathBuf::from(beside);
    if fs::symlink_metadata(&beside).is_ok_and(|found| found.file_type().is_socket()) {
        // Left by a start that was cut off in these few lines.
        let _ = fs::remove_file(&beside);
    }
    let listener = UnixListener::bind(&beside).map_err(|e| explain(&address, &e))?;
    let placed = place(&beside, path, access).map_err(|why| format!("cannot listen on {address}: {why}"));
    match placed {
        Ok(file) => Ok((listener, file)),
        Err(why) => {
            let _ = fs::remove_file(&beside);
            Err(why)
        }
    }
}

fn place(beside: &Path, path: &Path, access: &Access) -> Result<SocketFile, String> {
    if let Some(group) = &access.group {
        let id = group_id(group)?;
        std::os::unix::fs::chown(beside, None, Some(id)).map_err(|e| {
            format!("cannot give it to group `{group}`: {e}; run as root or as a member of that group")
        })?;
    }
    let mode = access.mode.unwrap_or(DEFAULT_MODE);
    fs::set_permissions(beside, fs::Permissions::from_mode(mode))
        .map_err(|e| format!("cannot set mode `{mode:04o}`: {e}"))?;
    let made = fs::symlink_metadata(beside).map_err(|e| e.to_string())?;
    fs::rename(beside, path).map_err(|e| e.to_string())?;
    Ok(SocketFile { path: path.to_owned(), device: made.dev(), inode: made.ino() })
}

/// A socket file may be replaced only if nobody answers on it.
async fn refuse_living(path: &Path, address: &Address) -> Result<(), String> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(format!(
            "cannot listen on {address}: the file there is not a socket; remove it or choose another path"
        ));
    }
    match tokio::time::timeout(PROBE_TIMEOUT, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => Err(explain(address, &io::ErrorKind::AddrInUse.into())),
    }
}

/// A number, or a name in /etc/group; other sources of groups need the number.
fn group_id(group: &str) -> Result<u32, String> {
    if let Ok(id) = group.parse() {
        return Ok(id);
    }
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let named = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(1))?
    });
    named
        .and_then(|id| id.parse().ok())
        .ok_or_else(|| format!("no group `{group}` in /etc/group; create it or give its number"))
}

/// The file of a unix socket: removed at the end, if it is still ours.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let Ok(found) = fs::symlink_metadata(&self.path) else { return };
        if (found.dev(), found.ino()) == (self.device, self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// One accepted connection.
#[derive(Debug)]
pub struct Stream {
    io: StreamIo,
    /// Lets go of its receiver when the stream is dropped.
    dropped: Option<oneshot::Sender<()>>,
    _open: OpenConnection,
    _place: Option<Place>,
}

#[derive(Debug)]
enum StreamIo {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl StreamIo {
    /// The same socket, waited for by another runtime.
    fn moved_to(self, runtime: &Handle) -> io::Result<Self> {
        match self {
            Self::Tcp(stream) => {
                let stream = stream.into_std()?;
                let _entered = runtime.enter();
                TcpStream::from_std(stream).map(Self::Tcp)
            }
            Self::Unix(stream) => {
                let stream = stream.into_std()?;
                let _entered = runtime.enter();
                UnixStream::from_std(stream).map(Self::Unix)
            }
        }
    }

    fn peer_pid(&self) -> Option<u32> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(stream) => stream.peer_cred().ok()?.pid()?.try_into().ok(),
        }
    }
}

impl Stream {
    /// Completes when this stream has been dropped, whoever holds it then.
    pub(super) fn dropped(&mut self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.dropped = Some(sender);
        receiver
    }

    /// Who is at the other end, for logs.
    pub(super) fn peer_text(&self) -> String {
        match &self.io {
            StreamIo::Tcp(stream) => stream.peer_addr().map_or_else(|_| "unknown".into(), |a| a.to_string()),
            StreamIo::Unix(_) => match self.io.peer_pid() {
                Some(pid) => format!("process {pid}"),
                None => "unknown".into(),
            },
        }
    }

    /// Sends all, within the limit.
    pub(super) async fn send(&mut self, bytes: &[u8], limit: Duration) -> io::Result<()> {
        // An answer nearly always fits at once; a timer would cost more than it.
        let tried = match &self.io {
            StreamIo::Tcp(stream) => stream.try_write(bytes),
            StreamIo::Unix(stream) => stream.try_write(bytes),
        };
        let sent = match tried {
            Ok(count) if count == bytes.len() => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        tokio::time::timeout(limit, self.write_all(bytes.get(sent..).unwrap_or_default())).await?
    }

    /// Completes when the other side has closed; never, if it sends instead.
    pub(super) async fn closed_by_peer(&self) {
        let ready = match &self.io {
            StreamIo::Tcp(stream) => stream.ready(Interest::READABLE).await,
            StreamIo::Unix(stream) => stream.ready(Interest::READABLE).await,
        };
        if ready.is_ok_and(|ready| !ready.is_read_closed()) {
            std::future::pending().await
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            StreamIo::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            StreamIo::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().io {
            StreamIo::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            StreamIo::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            StreamIo::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            StreamIo::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            StreamIo::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            StreamIo::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::unix::net::UnixStream as BlockingStream;

    async fn bound(path: &Path) -> Result<Listener, String> {
        Listener::bind(&Address::Unix(path.to_owned()), &Access::default()).await
    }

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let first =
            Listener::bind(&Address::Inet(([127, 0, 0, 1], 0).into()), &Access::default()).await.unwrap();
        let error = Listener::bind(first.address(), &Access::default()).await.unwrap_err();
        assert!(error.starts_with(&format!("address already in use: {}: ", first.address())), "{error}");
        let dir = tempfile::tempdir().unwrap();
        let error = bound(&dir.path().join("none/policy")).await.unwrap_err();
        assert!(error.contains("none/policy: no such directory"), "{error}");
    }

    #[tokio::test]
    async fn a_unix_socket_replaces_only_what_nobody_answers_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy");
        let first = bound(&path).await.unwrap();
        let error = bound(&path).await.unwrap_err();
        assert!(error.starts_with("address already in use: unix:/"), "{error}");
        drop(first);
        assert!(!path.exists(), "the file goes with its listener");

        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a stale file");
        let second = bound(&path).await.unwrap();
        UnixStream::connect(&path).await.unwrap();

        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        drop(second);
        assert!(path.exists(), "another's file stays");
        assert!(bound(&path).await.unwrap_err().contains("not a socket"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn mode_and_group_are_set_before_anyone_can_connect() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy");
        let own = fs::metadata(dir.path()).unwrap().gid();
        for (mode, expected) in [(None, DEFAULT_MODE), (Some(0o606), 0o606)] {
            let access = Access { mode, group: Some(own.to_string()) };
            let _listener = Listener::bind(&Address::Unix(path.clone()), &access).await.unwrap();
            let found = fs::metadata(&path).unwrap();
            assert_eq!((found.permissions().mode() & 0o777, found.gid()), (expected, own));
        }
        let access = Access { mode: None, group: Some("no-such-group".into()) };
        let error = Listener::bind(&Address::Unix(path), &access).await.unwrap_err();
        assert!(error.contains("no group `no-such-group`"), "{error}");
        assert_eq!(group_id("root"), Ok(0));
    }

    const EMFILE: i32 = 24;

    fn fails(shortage: &mut Shortage) -> Duration {
        shortage.pause_after(&io::Error::from_raw_os_error(EMFILE)).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_shortage_is_waited_out_and_lasts_while_nobody_is_accepted() {
        let mut shortage = Shortage::new("x".into());
        assert!(shortage.reserve.is_some());
        assert_eq!(shortage.pause_after(&io::ErrorKind::ConnectionAborted.into()), None);
        let pauses: Vec<_> = (0..6).map(|_| fails(&mut shortage).as_millis()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 50, 50]);
        shortage.over();
        assert_eq!(fails(&mut shortage), BACK_OFF.0);

        let begun = Instant::now();
        while !shortage.lasts() {
            tokio::time::sleep(fails(&mut shortage)).await;
        }
        assert_eq!(begun.elapsed().as_secs(), PATIENCE.as_secs());
        shortage.over();
        fails(&mut shortage);
        assert!(!shortage.lasts(), "somebody was accepted");
    }

    #[tokio::test(start_paused = true)]
    async fn a_shortage_is_over_when_no_attempt_failed_for_a_while() {
        let mut shortage = Shortage::new("x".into());
        fails(&mut shortage);
        tokio::time::sleep(CALM / 2).await;
        shortage.over();
        assert!(shortage.told.is_some(), "said once for all these failures");
        tokio::time::sleep(CALM / 2).await;
        shortage.over();
        assert!(shortage.told.is_none());

        fails(&mut shortage);
        tokio::time::sleep(PATIENCE).await;
        fails(&mut shortage);
        assert!(!shortage.lasts(), "nobody waited in between");
    }

    #[tokio::test(start_paused = true)]
    async fn turned_away_is_who_waits_and_not_who_comes_after() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy");
        let listener = bound(&path).await.unwrap();
        let mut shortage = Shortage::new("x".into());
        let begun = Instant::now();
        for came in [1, 0, 2] {
            let come = |_| BlockingStream::connect(&path).unwrap();
            let waiting: Vec<_> = (0..came).map(come).collect();
            // The runtime learns of them.
            tokio::task::yield_now().await;
            shortage.since = Some(begun);
            listener.shed(&mut shortage);
            assert_eq!(shortage.since.is_some(), came > 0, "{came}");
            assert!(shortage.reserve.is_some());
            let is_closed = |mut stream: &BlockingStream| {
                stream.set_nonblocking(true).unwrap();
                stream.read(&mut [0]).is_ok()
            };
            let closed = waiting.iter().filter(|stream| is_closed(stream)).count();
            assert_eq!(closed, came.min(1), "{came}");
        }
        assert!(begun.elapsed().is_zero(), "nobody was waited for");
    }
}
