//! A blocking SMTP client for dialogues: says exactly what it is told, so that
//! a test can be as rude as strangers are.

use super::tls;
use std::fs::File;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Outside `mynetworks` (127.0.0.1/32), and no interface of Postfix's own.
pub(crate) const OUTSIDE: &str = "127.0.0.2";
/// In `mynetworks`.
pub(crate) const INSIDE: &str = "127.0.0.1";

/// One reply, its lines joined.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub code: u16,
    /// Without the codes' column; lines joined by LF.
    pub text: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect(self, code: u16) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn expect_text(self, code: u16, part: &str) -> Self {
        assert!(self.code == code && self.text.contains(part), "not {code} … {part}: {self:?}");
        self
    }
}

pub(crate) struct Smtp {
    stream: File,
    reader: BufReader<File>,
    tls: Option<tls::Tls>,
}

impl Smtp {
    /// Connects, and reads nothing yet (the haproxy port wants to hear first).
    pub(crate) fn connect(source: &str, port: u16) -> Self {
        Self::connect_at(source, 0, port)
    }

    /// The same from a port of one's own, which several clients may have at once
    /// as long as they connect to different servers.
    pub(crate) fn connect_at(source: &str, source_port: u16, port: u16) -> Self {
        let stream = connect_from(source, source_port, port);
        // Postfix at its slowest: a policy client that gives up after two tries.
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self::over(OwnedFd::from(stream), None)
    }

    fn over(stream: OwnedFd, tls: Option<tls::Tls>) -> Self {
        let stream = File::from(stream);
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader, tls }
    }

    /// Encrypted from here on; `options` are more words for openssl's `s_client`.
    /// EHLO has to be said again.
    #[track_caller]
    pub(crate) fn starttls(mut self, options: &[String]) -> Self {
        self.say("STARTTLS").expect(220);
        assert!(self.tls.is_none() && self.reader.buffer().is_empty());
        let (stream, tls) = tls::encrypt(TcpStream::from(OwnedFd::from(self.stream)), options);
        Self::over(stream, Some(tls))
    }

    /// From outside, banner read, EHLO said.
    pub(crate) fn greeted(port: u16) -> Self {
        Self::greeted_from(OUTSIDE, port)
    }

    pub(crate) fn greeted_from(source: &str, port: u16) -> Self {
        let mut client = Self::connect(source, port);
        client.read().expect(220);
        client.say("EHLO client.example").expect(250);
        client
    }

    /// Bytes as they are.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// A line, and the reply to it.
    #[track_caller]
    pub(crate) fn say(&mut self, line: &str) -> Answer {
        self.send(format!("{line}\r\n"));
        self.read()
    }

    /// The next reply.
    #[track_caller]
    pub(crate) fn read(&mut self) -> Answer {
        self.try_read().expect("a reply from Postfix")
    }

    /// None when the server has hung up.
    pub(crate) fn try_read(&mut self) -> Option<Answer> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            let code = line.get(..3)?.parse().ok()?;
            lines.push(line.get(4..).unwrap_or("").to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Some(Answer { code, text: lines.join("\n") });
            }
        }
    }

    /// True once the other side has closed.
    pub(crate) fn is_hung_up(&mut self) -> bool {
        self.try_read().is_none()
    }

    #[track_caller]
    pub(crate) fn mail(&mut self, from: &str) -> Answer {
        self.say(&format!("MAIL FROM:<{from}>"))
    }

    #[track_caller]
    pub(crate) fn rcpt(&mut self, to: &str) -> Answer {
        self.say(&format!("RCPT TO:<{to}>"))
    }

    /// MAIL and RCPTs, all of which must be accepted.
    #[track_caller]
    pub(crate) fn envelope(&mut self, from: &str, to: &[&str]) {
        self.mail(from).expect(250);
        for to in to {
            self.rcpt(to).expect(250);
        }
    }

    /// DATA and a message; the answer to its end.
    #[track_caller]
    pub(crate) fn data(&mut self, message: &str) -> Answer {
        self.say("DATA").expect(354);
        self.send(message);
        self.say(".")
    }

    /// A whole transaction; the answer to its end.
    #[track_caller]
    pub(crate) fn deliver(&mut self, from: &str, to: &[&str], message: &str) -> Answer {
        self.envelope(from, to);
        self.data(message)
    }
}

/// std can't bind an outgoing socket; tokio can, and gives it back blocking.
fn connect_from(source: &str, source_port: u16, port: u16) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(source_port != 0).unwrap();
        socket.bind(SocketAddr::new(source.parse().unwrap(), source_port)).unwrap();
        let stream = socket.connect(SocketAddr::from(([127, 0, 0, 1], port))).await;
        stream.unwrap_or_else(|error| panic!("connect {source} to port {port}: {error}")).into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}
