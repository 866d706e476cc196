//! Addresses as Postfix writes them, and connecting to them.

use std::io;
use std::net::TcpListener;
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::net::UnixStream;

/// What both kinds of stream can do.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Address {
    Inet(u16),
    Unix(String),
}

impl Address {
    pub fn parse(text: &str) -> io::Result<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.to_owned()));
        }
        let port = text.strip_prefix("inet:127.0.0.1:").and_then(|port| port.parse().ok());
        port.map(Self::Inet).ok_or_else(|| io::Error::other(format!("`{text}` is not an address")))
    }

    /// A port of 127.0.0.1 that nobody uses, below the ephemeral ones: those may
    /// be taken by an outgoing connection before our server listens.
    pub fn free() -> Self {
        let start = 13_000 + (std::process::id() % 18_000) as u16;
        let port = (start..32_000).chain(13_000..start).find(|port| {
            let next = NEXT_PORT.load(std::sync::atomic::Ordering::Relaxed);
            (next == 0 || *port >= next) && TcpListener::bind(("127.0.0.1", *port)).is_ok()
        });
        let port = port.unwrap_or(31_999);
        NEXT_PORT.store(port + 1, std::sync::atomic::Ordering::Relaxed);
        Self::Inet(port)
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Self::Inet(_) => "tcp",
            Self::Unix(_) => "unix",
        }
    }

    /// Whether somebody listens.
    pub fn is_open(&self) -> bool {
        match self {
            Self::Inet(port) => std::net::TcpStream::connect(("127.0.0.1", *port)).is_ok(),
            Self::Unix(path) => std::os::unix::net::UnixStream::connect(path).is_ok(),
        }
    }

    pub async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Inet(port) => {
                let stream = TcpStream::connect(("127.0.0.1", *port)).await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Self::Unix(path) => Ok(Box::new(connect_unix(path).await?)),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inet(port) => write!(f, "inet:127.0.0.1:{port}"),
            Self::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

/// Ports given out by this process are not given out again.
static NEXT_PORT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);

/// A full backlog of a unix socket is an error at once, not a wait as with TCP.
async fn connect_unix(path: &str) -> io::Result<UnixStream> {
    for _ in 0..1_000 {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            result => return result,
        }
    }
    UnixStream::connect(path).await
}
