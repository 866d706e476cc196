//! The MTA's side of the milter protocol, frame by frame, as Postfix speaks it:
//! a macro frame before each event, and no reply read where none was promised.

use super::PATIENCE;
use super::gatepost::tcp_address;
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpStream;

/// SMFIF_* and SMFIP_* as Postfix 3.7 offers them.
const ACTIONS: u32 = 0x1ff;
const OPTIONS: u32 = 0x1f_ffff;

pub(crate) struct Milter {
    stream: TcpStream,
    /// What was asked for.
    pub options: u32,
}

/// A reply: its letter and what follows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Frame {
    pub kind: char,
    pub payload: Vec<u8>,
}

/// The first frame, as Postfix sends it.
pub(crate) fn negotiation() -> Vec<u8> {
    frame('O', &[6, ACTIONS, OPTIONS].map(u32::to_be_bytes).concat())
}

fn frame(kind: char, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 1).unwrap();
    [&length.to_be_bytes()[..], &[kind as u8], payload].concat()
}

impl Milter {
    /// To an inet socket as Postfix writes it; negotiated.
    pub(crate) fn connect(milter: &str) -> Self {
        let stream = TcpStream::connect(tcp_address(milter)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut milter = Self { stream, options: 0 };
        milter.stream.write_all(&negotiation()).unwrap();
        let answer = milter.frame();
        assert_eq!(answer.kind, 'O');
        milter.options = u32::from_be_bytes(answer.payload[8..12].try_into().unwrap());
        milter
    }

    /// With the client's address told and HELO said.
    pub(crate) fn of_client(milter: &str, client: &str) -> Self {
        let client: SocketAddr = client.parse().unwrap();
        let mut milter = Self::connect(milter);
        let family = if client.is_ipv4() { b'4' } else { b'6' };
        let host = format!("[{}]\0", client.ip());
        let address = format!("{}\0", client.ip());
        let port = client.port().to_be_bytes();
        let payload = [host.as_bytes(), &[family], &port, address.as_bytes()].concat();
        assert_eq!(milter.event('C', &payload).unwrap().kind, 'c');
        milter.event('H', b"client.example\0");
        milter
    }

    pub(crate) fn send(&mut self, kind: char, payload: &[u8]) {
        self.stream.write_all(&frame(kind, payload)).unwrap();
    }

    #[track_caller]
    pub(crate) fn frame(&mut self) -> Frame {
        self.try_frame().expect("a frame from gatepost")
    }

    /// None once it has closed.
    pub(crate) fn try_frame(&mut self) -> Option<Frame> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).ok()?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame).ok()?;
        let payload = frame.split_off(1);
        Some(Frame { kind: char::from(frame[0]), payload })
    }

    /// Sends an event with its macro frame, if it was asked for; its reply, if
    /// one was promised.
    #[track_caller]
    pub(crate) fn event(&mut self, kind: char, payload: &[u8]) -> Option<Frame> {
        self.event_with(kind, payload, &[])
    }

    #[track_caller]
    pub(crate) fn event_with(
        &mut self,
        kind: char,
        payload: &[u8],
        macros: &[(&str, &str)],
    ) -> Option<Frame> {
        let (unwanted, quiet) = bits(kind);
        if self.options & unwanted != 0 {
            return None;
        }
        let mut definitions = vec![kind as u8];
        for (name, value) in macros {
            definitions.extend([name, "\0", value, "\0"].concat().into_bytes());
        }
        self.send('D', &definitions);
        self.send(kind, payload);
        (self.options & quiet == 0).then(|| self.frame())
    }

    /// `mail("<a@b>")`: the reply's letter.
    #[track_caller]
    pub(crate) fn mail(&mut self, path: &str) -> char {
        self.event('M', format!("{path}\0").as_bytes()).unwrap().kind
    }

    #[track_caller]
    pub(crate) fn rcpt(&mut self, path: &str) -> Frame {
        let macros = [("{rcpt_mailer}", "relay"), ("{rcpt_host}", "test.example"), ("{rcpt_addr}", path)];
        self.event_with('R', format!("{path}\0").as_bytes(), &macros).unwrap()
    }

    /// A recipient that Postfix has refused: only told.
    #[track_caller]
    pub(crate) fn refused_rcpt(&mut self, path: &str) -> Frame {
        let macros = [("{rcpt_mailer}", "error"), ("{rcpt_host}", "5.1.1"), ("{rcpt_addr}", "no such user")];
        self.event_with('R', format!("{path}\0").as_bytes(), &macros).unwrap()
    }

    #[track_caller]
    pub(crate) fn data(&mut self) -> char {
        self.event('T', b"").unwrap().kind
    }

    /// `Name: value` lines, the end of headers, the body.
    #[track_caller]
    pub(crate) fn content(&mut self, headers: &[(&str, &str)], body: &[u8]) {
        for (name, value) in headers {
            self.event('L', format!("{name}\0 {value}\0").as_bytes());
        }
        self.event('N', b"");
        self.event('B', body);
    }

    /// All frames up to the one that answers the end of the message.
    #[track_caller]
    pub(crate) fn end(&mut self) -> (Vec<Frame>, Frame) {
        self.send('D', b"E");
        self.send('E', b"");
        let mut edits = Vec::new();
        loop {
            let frame = self.frame();
            match frame.kind {
                'p' => {}
                'c' | 'a' | 'r' | 't' | 'd' | 'y' => return (edits, frame),
                _ => edits.push(frame),
            }
        }
    }

    /// From DATA to the end of a small message.
    #[track_caller]
    pub(crate) fn message(&mut self) -> (Vec<Frame>, Frame) {
        self.data();
        self.content(&[("Subject", "an ordinary mail")], b"Hello.\r\n");
        self.end()
    }

    pub(crate) fn abort(&mut self) {
        self.send('A', b"");
    }
}

/// SMFIP_NO* and SMFIP_NR_* of an event.
fn bits(kind: char) -> (u32, u32) {
    match kind {
        'C' => (0x1, 0x1000),
        'H' => (0x2, 0x2000),
        'M' => (0x4, 0x4000),
        'R' => (0x8, 0x8000),
        'B' => (0x10, 0x8_0000),
        'L' => (0x20, 0x80),
        'N' => (0x40, 0x4_0000),
        'U' => (0x100, 0x2_0000),
        'T' => (0x200, 0x1_0000),
        _ => (0, 0),
    }
}
