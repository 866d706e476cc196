//! Asks name servers over the network: one after the other, by UDP, and by TCP what was
//! cut off.
//!
//! Hickory writes and reads the packets; each question has a port and an id of its own,
//! and what does not fit them is not looked at. Its resolver above is not used: among
//! several servers it goes on preferring one that refuses, sends up to four packets from
//! four sockets, takes a circle of aliases for "no such record", and has its sockets
//! served by whichever thread came first.
//!
//! A server may be slow, gone or hostile: a question has [`TRIES`] times the timeout in
//! all, and costs [`SENDS`] packets each time.

use super::Answer;
use super::Failure;
use super::Question;
use super::Settings;
use super::reply::Chain;
use super::reply::Reply;
use super::reply::failure;
use hickory_net::DnsHandle as _;
use hickory_net::NetError;
use hickory_net::proto::op::DnsRequest;
use hickory_net::proto::op::DnsRequestOptions;
use hickory_net::proto::op::DnsResponse;
use hickory_net::proto::op::Query;
use hickory_net::runtime::DnsUdpSocket;
use hickory_net::runtime::RuntimeProvider;
use hickory_net::runtime::TokioHandle;
use hickory_net::runtime::TokioRuntimeProvider;
use hickory_net::runtime::TokioTime;
use hickory_net::tcp::TcpClientStream;
use hickory_net::udp::UdpClientStream;
use hickory_net::xfer::DnsRequestSender as _;
use hickory_net::xfer::FirstAnswer as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// How often a question is put: to the next server, or to the only one again.
const TRIES: usize = 2;

/// Packets of one try by UDP, the second at half its time: one that is lost costs that.
const SENDS: u8 = 2;

#[derive(Debug)]
pub(super) struct Network {
    settings: Settings,
    /// Who is asked first: the last that helped where another did not.
    first: AtomicUsize,
}

impl Network {
    pub(super) fn new(settings: Settings) -> Self {
        let Settings { servers, timeout } = &settings;
        tracing::info!(?servers, ?timeout, "names are looked up");
        Self { settings, first: AtomicUsize::new(0) }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) async fn find_out(&self, question: &Question) -> Reply {
        let whole = self.settings.timeout * TRIES as u32;
        timeout(whole, self.follow(question)).await.unwrap_or(Answer::Silent.into())
    }

    async fn follow(&self, question: &Question) -> Reply {
        let Some(mut chain) = Chain::new(question) else {
            return Failure::Malformed.into();
        };
        loop {
            let query = Query::query(chain.name.clone(), question.kind.record_type());
            match self.put(query).await {
                Ok(message) => match chain.read(&message) {
                    Some(reply) => return reply,
                    // Its aliases are counted over all messages.
                    None => continue,
                },
                Err(answer) => return answer.into(),
            }
        }
    }

    /// A message that says something about the name, or why there is none.
    async fn put(&self, query: Query) -> Result<DnsResponse, Answer> {
        let servers = &self.settings.servers;
        let first = self.first.load(Relaxed);
        let mut said = Answer::Silent;
        for turn in 0..TRIES {
            let at = (first + turn) % servers.len().max(1);
            let Some(server) = servers.get(at) else { return Err(Answer::Silent) };
            // Another id each time.
            let mut options = DnsRequestOptions::default();
            options.retry_interval = self.settings.timeout / u32::from(SENDS);
            let request = DnsRequest::from_query(query.clone(), options);
            let asked = timeout(self.settings.timeout, self.exchange(*server, request)).await;
            let trouble = match asked.unwrap_or(Err(NetError::Timeout)) {
                Ok(message) => match failure(&message) {
                    Some(failure) => Answer::Failed(failure),
                    None => {
                        if turn > 0 {
                            self.first.store(at, Relaxed);
                        }
                        return Ok(message);
                    }
                },
                Err(error) => of_error(&error),
            };
            let has_spoken = trouble != Answer::Silent;
            if has_spoken || said == Answer::Silent {
                said = trouble;
            }
            // It would say the same again.
            if has_spoken && servers.len() == 1 {
                break;
            }
        }
        if said == Answer::Silent && servers.len() > TRIES {
            self.first.store((first + TRIES) % servers.len(), Relaxed);
        }
        Err(said)
    }

    async fn exchange(&self, server: SocketAddr, request: DnsRequest) -> Result<DnsResponse, NetError> {
        let limit = self.settings.timeout;
        let sockets = Sockets::default();
        let mut udp = UdpClientStream::builder(server, sockets.clone())
            .with_timeout(Some(limit))
            .with_max_retries(SENDS)
            .with_retry_interval_floor(0)
            .build();
        let message = udp.send_message(request.clone()).first_answer().await?;
        if !message.truncation {
            return Ok(message);
        }
        // The task that serves the connection ends with `sockets`.
        let tcp = TcpClientStream::exchange(server, None, limit, Some(1), sockets.clone()).await;
        let tcp = tcp.map_err(|_| NetError::Truncated)?;
        tcp.send(request).first_answer().await.map_err(|_| NetError::Truncated)
    }
}

fn of_error(error: &NetError) -> Answer {
    match error {
        NetError::Proto(_) | NetError::Truncated | NetError::QueryCaseMismatch => {
            Answer::Failed(Failure::Malformed)
        }
        // Nobody listens there, there is no way, or no socket is left.
        _ => Answer::Silent,
    }
}

/// Tokio's, but for UDP sockets, which are connected: the kernel drops what others send,
/// and a server that is not running is noticed at once.
#[derive(Clone, Default)]
struct Sockets(TokioRuntimeProvider);

type Soon<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

impl RuntimeProvider for Sockets {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = Connected;
    type Tcp = <TokioRuntimeProvider as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> TokioHandle {
        self.0.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        from: Option<SocketAddr>,
        limit: Option<Duration>,
    ) -> Soon<'static, Self::Tcp> {
        self.0.connect_tcp(server, from, limit)
    }

    fn bind_udp(&self, from: SocketAddr, server: SocketAddr) -> Soon<'static, Connected> {
        Box::pin(async move {
            let socket = UdpSocket::bind(from).await?;
            socket.connect(server).await?;
            Ok(Connected(socket))
        })
    }
}

struct Connected(UdpSocket);

impl DnsUdpSocket for Connected {
    type Time = TokioTime;

    fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        DnsUdpSocket::poll_recv_from(&self.0, cx, buffer)
    }

    fn poll_send_to(&self, cx: &mut Context<'_>, packet: &[u8], to: SocketAddr) -> Poll<io::Result<usize>> {
        self.0.poll_send_to(cx, packet, to)
    }

    /// Tokio does not wake who reads when the kernel has an error for him. Written as the
    /// trait's macro would.
    fn recv_from<'s, 'b, 'r>(&'s self, buffer: &'b mut [u8]) -> Soon<'r, (usize, SocketAddr)>
    where
        's: 'r,
        'b: 'r,
    {
        let again = || io::Error::from(io::ErrorKind::WouldBlock);
        Box::pin(async move {
            loop {
                let ready = self.0.ready(Interest::READABLE | Interest::ERROR).await?;
                let came = match ready.is_error() {
                    true => {
                        self.0.try_io(Interest::ERROR, || Err(self.0.take_error()?.unwrap_or_else(again)))
                    }
                    false => self.0.try_recv_from(buffer),
                };
                match came {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    came => return came,
                }
            }
        })
    }
}
