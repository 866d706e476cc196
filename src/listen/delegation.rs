//! Policy delegation on a stream: requests in, one answer each, in order.
//!
//! Postfix is at the other end, or whoever may connect. A connection costs one
//! buffer (bounded by the codec) and one request at a time. It stays open for
//! as long as Postfix wants: closing it in mid-session costs the client a
//! second. A stranger may hold it idle, or dribble a request for
//! [`REQUEST_TIMEOUT`].

use crate::desk::Peer;
use crate::listen::Failure;
use crate::listen::GRACE;
use crate::listen::Kind;
use crate::listen::Service;
use crate::listen::caught;
use crate::listen::socket::Listener;
use crate::listen::socket::Stream;
use crate::reply::PolicyAction;
use crate::wire::delegation::Decoded;
use crate::wire::delegation::Decoder;
use crate::wire::delegation::Oddities;
use crate::wire::delegation::Oddity;
use crate::wire::delegation::Request;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;
use tokio::time::Sleep;

/// Above Postfix's `smtpd_policy_service_max_ttl` of 1,000 s, so that it is
/// Postfix who closes.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3_600);

/// Postfix writes a request at once.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// An answer is below 1 KiB; who does not take it does not read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves until the shutdown is asked for and the drain is over.
pub async fn serve(listener: Listener, service: Service) {
    let shared = Arc::new(service.clone());
    listener.run(Kind::Policy, &service, |stream, peer| converse(stream, peer, shared.clone())).await;
}

async fn converse(mut stream: Stream, peer: Peer, service: Arc<Service>) {
    let mut conversation = Conversation { peer, service: service.clone(), told: Oddities::default() };
    let mut decoder = Decoder::default();
    let mut answer = Vec::with_capacity(256);
    let mut stop = pin!(service.shutdown.requested());
    let mut reader = Reader::new();
    loop {
        let (action, last) = match decoder.decode() {
            Decoded::More => match reader.read(&mut stream, &mut decoder, stop.as_mut()).await {
                Read::Some => continue,
                Read::End => return,
                Read::TooSlow => return conversation.note(&stream, Oddity::TooSlow),
            },
            Decoded::Broken(oddity) => {
                conversation.note(&stream, oddity);
                (PolicyAction::Dunno, true)
            }
            Decoded::Request(request, oddities) => {
                oddities.iter().for_each(|oddity| conversation.note(&stream, oddity));
                if oddities.contains(Oddity::NoRequest) {
                    (PolicyAction::Dunno, false)
                } else {
                    let Some(action) = conversation.decide(&stream, &request).await else { return };
                    (action, false)
                }
            }
        };
        answer.clear();
        action.write_to(&mut answer);
        if stream.send(&answer, WRITE_TIMEOUT).await.is_err() || last {
            return;
        }
        reader.request_until = None;
    }
}

struct Conversation {
    peer: Peer,
    service: Arc<Service>,
    /// Oddities already logged: each once a connection, or a stranger writes our log.
    told: Oddities,
}

impl Conversation {
    fn note(&mut self, stream: &Stream, oddity: Oddity) {
        self.service.stats.count_oddity(oddity);
        if self.told.contains(oddity) {
            return;
        }
        self.told.insert(oddity);
        let (listener, connection) = (&self.peer.listener, self.peer.connection);
        tracing::warn!(%listener, connection, peer = stream.peer_text(), "odd policy request: {oddity}");
    }

    /// None if nobody waits for the answer any more.
    async fn decide(&self, stream: &Stream, request: &Request<'_>) -> Option<PolicyAction> {
        // It is large, and made where it stays.
        let decision = pin!(self.service.desk.delegation(&self.peer, request.values()));
        let mut decision = pin!(caught(decision));
        // Most decisions are ready at once, and need neither timer nor watch.
        let first = std::future::poll_fn(|cx| Poll::Ready(decision.as_mut().poll(cx))).await;
        let decided = match first {
            Poll::Ready(decided) => decided,
            Poll::Pending => tokio::select! {
                biased;
                decided = &mut decision => decided,
                // Postfix asks again on another connection. What only half
                // closes, as some tools do, gets no answer that takes time.
                () = stream.closed_by_peer() => return None,
                () = tokio::time::sleep(self.service.deadlines.envelope + GRACE) => Err(Failure::Deadline),
            },
        };
        match decided {
            Ok(action) => Some(action),
            Err(failure) => {
                self.service.stats.count_failure(Kind::Policy, failure);
                let (listener, connection) = (&self.peer.listener, self.peer.connection);
                tracing::error!(%listener, connection, ?failure, "no decision on a policy request, answered DUNNO");
                Some(PolicyAction::Dunno)
            }
        }
    }
}

enum Read {
    /// The stream ended, or we are to end and no request is in hand.
    End,
    Some,
    TooSlow,
}

struct Reader {
    /// Set anew only when it has fired or a request has begun, since most
    /// requests come whole: so an idle connection ends after once to twice its time.
    timer: Pin<Box<Sleep>>,
    /// Whether something came since the timer was set.
    active: bool,
    /// When the request begun must be complete.
    request_until: Option<Instant>,
}

impl Reader {
    fn new() -> Self {
        Self { timer: Box::pin(tokio::time::sleep(IDLE_TIMEOUT)), active: false, request_until: None }
    }

    /// `stop` is not asked again once it has completed.
    async fn read(
        &mut self,
        stream: &mut Stream,
        decoder: &mut Decoder,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Read {
        let partial = decoder.is_partial();
        if partial && self.request_until.is_none() {
            let until = Instant::now() + REQUEST_TIMEOUT;
            self.request_until = Some(until);
            self.timer.as_mut().reset(until);
        }
        loop {
            let read = tokio::select! {
                biased;
                read = stream.read(decoder.space()) => read,
                () = stop.as_mut(), if !partial => return Read::End,
                () = &mut self.timer => {
                    if partial {
                        return Read::TooSlow;
                    }
                    if !std::mem::take(&mut self.active) {
                        return Read::End;
                    }
                    self.timer.as_mut().reset(Instant::now() + IDLE_TIMEOUT);
                    continue;
                }
            };
            return match read {
                Ok(count) if count > 0 => {
                    decoder.filled(count);
                    self.active = true;
                    Read::Some
                }
                _ => Read::End,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Address;
    use crate::config::Decides;
    use crate::desk::Deadlines;
    use crate::desk::Desk;
    use crate::listen::ListenStats;
    use crate::listen::Shutdown;
    use crate::listen::Stopper;
    use crate::listen::socket::Access;
    use crate::listen::testing::address_of;
    use std::sync::atomic::Ordering;
    use tokio::io::AsyncRead;
    use tokio::io::AsyncWrite;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpStream;
    use tokio::net::UnixStream;
    use tokio::task::JoinHandle;

    /// The desk knows only that a request came; the answer is DUNNO.
    const REQUEST: &[u8] = b"request=smtpd_access_policy\nprotocol_state=VRFY\n\n";
    const DUNNO: &[u8] = b"action=DUNNO\n\n";

    struct Running {
        address: Address,
        stats: Arc<ListenStats>,
        stopper: Stopper,
        task: JoinHandle<()>,
    }

    async fn running(address: &str, max_connections: usize) -> Running {
        let listener = Listener::bind(&address_of(address), &Access::default()).await.unwrap();
        let address = listener.address().clone();
        let (stopper, shutdown) = Shutdown::new();
        let stats = Arc::new(ListenStats::default());
        let service = Service {
            name: "submission".into(),
            desk: Arc::new(Desk::default()),
            stats: stats.clone(),
            shutdown,
            deadlines: Deadlines { envelope: Duration::from_secs(5), message: Duration::from_secs(20) },
            max_connections,
            decides: Decides::Message,
            workers: None,
        };
        let task = tokio::spawn(serve(listener, service));
        Running { address, stats, stopper, task }
    }

    async fn tcp(running: &Running) -> TcpStream {
        let Address::Inet(address) = &running.address else { panic!("not TCP") };
        TcpStream::connect(address).await.unwrap()
    }

    async fn asked(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), bytes: &[u8], answers: usize) {
        stream.write_all(bytes).await.unwrap();
        let mut got = vec![0; DUNNO.len() * answers];
        stream.read_exact(&mut got).await.unwrap();
        assert_eq!(got, DUNNO.repeat(answers));
    }

    #[tokio::test]
    async fn requests_are_answered_in_order_on_tcp_and_unix() {
        let dir = tempfile::tempdir().unwrap();
        let running = running(&format!("unix:{}/policy", dir.path().display()), 10).await;
        let Address::Unix(path) = &running.address else { panic!("not unix") };
        let mut unix = UnixStream::connect(path).await.unwrap();
        asked(&mut unix, REQUEST, 1).await;
        running.stopper.stop(Duration::from_secs(5));
        running.task.await.unwrap();
        assert!(!path.exists());

        let running = super::tests::running("inet:127.0.0.1:0", 10).await;
        let mut stream = tcp(&running).await;
        asked(&mut stream, &REQUEST.repeat(100), 100).await;
        for byte in REQUEST {
            stream.write_all(&[*byte]).await.unwrap();
        }
        asked(&mut stream, b"", 1).await;
    }

    #[tokio::test]
    async fn odd_requests_are_counted_answered_and_the_connection_kept() {
        let running = running("inet:127.0.0.1:0", 10).await;
        let mut stream = tcp(&running).await;
        for odd in [&b"\n"[..], b"request=x\n\n", b"request=smtpd_access_policy\r\na=\0\r\n\r\n"] {
            asked(&mut stream, odd, 1).await;
        }
        let counted: Vec<_> = running.stats.oddities().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(Oddity::CarriageReturn, 1), (Oddity::NoRequest, 2), (Oddity::Nul, 1)]);
        asked(&mut stream, REQUEST, 1).await;
    }

    #[tokio::test]
    async fn beyond_the_limits_there_is_one_answer_and_the_end() {
        let running = running("inet:127.0.0.1:0", 10).await;
        let mut stream = tcp(&running).await;
        asked(&mut stream, &b"x".repeat(8_200), 1).await;
        assert!(matches!(stream.read(&mut [0; 9]).await, Ok(0) | Err(_)));
        asked(&mut tcp(&running).await, REQUEST, 1).await;
    }

    #[tokio::test]
    async fn a_connection_beyond_the_limit_waits_for_a_place() {
        let running = running("inet:127.0.0.1:0", 1).await;
        let mut first = tcp(&running).await;
        asked(&mut first, REQUEST, 1).await;
        let mut second = tcp(&running).await;
        second.write_all(REQUEST).await.unwrap();
        assert_eq!(running.stats.policy.total.load(Ordering::Relaxed), 1);
        drop(first);
        asked(&mut second, b"", 1).await;
        assert_eq!(running.stats.policy.total.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn at_the_end_idle_connections_close_and_begun_requests_are_answered() {
        let running = running("inet:127.0.0.1:0", 10).await;
        let mut idle = tcp(&running).await;
        asked(&mut idle, REQUEST, 1).await;
        let mut busy = tcp(&running).await;
        let (begun, rest) = REQUEST.split_at(9);
        asked(&mut busy, &[REQUEST, begun].concat(), 1).await;
        running.stopper.stop(Duration::from_secs(60));
        assert_eq!(idle.read(&mut [0; 9]).await.unwrap(), 0);
        asked(&mut busy, rest, 1).await;
        assert_eq!(busy.read(&mut [0; 9]).await.unwrap(), 0);
        running.task.await.unwrap();
        assert_eq!(running.stats.policy.open.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dribbled_request_ends_and_an_idle_connection_stays() {
        let running = running("inet:127.0.0.1:0", 10).await;
        let mut stream = tcp(&running).await;
        asked(&mut stream, REQUEST, 1).await;
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(1_200)).await;
            asked(&mut stream, REQUEST, 1).await;
        }
        let begun = Instant::now();
        stream.write_all(b"request=").await.unwrap();
        assert_eq!(stream.read(&mut [0; 9]).await.unwrap(), 0);
        assert_eq!(begun.elapsed().as_secs(), REQUEST_TIMEOUT.as_secs());
        let counted: Vec<_> = running.stats.oddities().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(Oddity::TooSlow, 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_gone_without_a_word_does_not_keep_the_place() {
        let running = running("inet:127.0.0.1:0", 10).await;
        let mut stream = tcp(&running).await;
        asked(&mut stream, REQUEST, 1).await;
        let begun = Instant::now();
        assert_eq!(stream.read(&mut [0; 9]).await.unwrap(), 0);
        let limits = IDLE_TIMEOUT.as_secs()..=2 * IDLE_TIMEOUT.as_secs();
        assert!(limits.contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    }
}
