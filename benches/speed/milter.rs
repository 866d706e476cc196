//! A milter client that says what Postfix says, in Postfix's order and in its
//! packets: what needs no reply is held back and sent with what does.
//!
//! Numbers and letters are those of the milter protocol, version 6.

use crate::socket::Address;
use crate::socket::Stream;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

const VERSION: u32 = 6;
/// What Postfix 3.7 offers.
const ACTIONS: u32 = 0x1ff;
const OPTIONS: u32 = 0x1f_ffff;

const NO_CONNECT: u32 = 0x1;
const NO_HELO: u32 = 0x2;
const NO_MAIL: u32 = 0x4;
const NO_RCPT: u32 = 0x8;
const NO_BODY: u32 = 0x10;
const NO_HEADER: u32 = 0x20;
const NO_EOH: u32 = 0x40;
const NR_HEADER: u32 = 0x80;
const NO_DATA: u32 = 0x200;
const NR_CONNECT: u32 = 0x1000;
const NR_HELO: u32 = 0x2000;
const NR_MAIL: u32 = 0x4000;
const NR_RCPT: u32 = 0x8000;
const NR_DATA: u32 = 0x1_0000;
const NR_EOH: u32 = 0x4_0000;
const NR_BODY: u32 = 0x8_0000;

/// Postfix writes when its buffer is full, too.
const BUFFER_BYTES: usize = 4096;

/// What a frame of a filter may hold at most here: modifications of a header.
const MAX_FRAME_BYTES: u32 = 1 << 20;

/// What was agreed on: the steps, and the macros by the letter of their stage.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Agreed {
    pub actions: u32,
    pub options: u32,
    pub macros: Vec<(u32, String)>,
}

impl Agreed {
    fn read(payload: &[u8]) -> io::Result<Self> {
        let number = |at: usize| {
            let bytes = payload.get(at..at + 4)?;
            Some(u32::from_be_bytes(bytes.try_into().ok()?))
        };
        let (Some(_), Some(actions), Some(options)) = (number(0), number(4), number(8)) else {
            return Err(io::Error::other("a short answer to the negotiation"));
        };
        let mut macros = Vec::new();
        let mut at = 12;
        while let Some(stage) = number(at) {
            let rest = &payload[at + 4..];
            let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
            macros.push((stage, String::from_utf8_lossy(&rest[..end]).into_owned()));
            at += 4 + end + 1;
        }
        Ok(Self { actions, options, macros })
    }

    /// The same for the command line of another process.
    pub fn to_words(&self) -> Vec<String> {
        let mut words = vec![self.actions.to_string(), self.options.to_string()];
        words.extend(self.macros.iter().map(|(stage, names)| format!("{stage}:{names}")));
        words
    }

    pub fn from_words(words: &[String]) -> Option<Self> {
        let macros = words.get(2..)?.iter().map(|word| {
            let (stage, names) = word.split_once(':')?;
            Some((stage.parse().ok()?, names.to_owned()))
        });
        Some(Self {
            actions: words[0].parse().ok()?,
            options: words[1].parse().ok()?,
            macros: macros.collect::<Option<_>>()?,
        })
    }

    /// In words, for the reader of the results.
    pub fn steps(&self) -> String {
        const NAMES: [(u32, u32, &str); 8] = [
            (NO_CONNECT, NR_CONNECT, "connect"),
            (NO_HELO, NR_HELO, "helo"),
            (NO_MAIL, NR_MAIL, "mail"),
            (NO_RCPT, NR_RCPT, "rcpt"),
            (NO_DATA, NR_DATA, "data"),
            (NO_HEADER, NR_HEADER, "header"),
            (NO_EOH, NR_EOH, "eoh"),
            (NO_BODY, NR_BODY, "body"),
        ];
        let with = |pick: fn(&(u32, u32, &str), u32) -> bool| {
            let found = NAMES.iter().filter(|name| pick(name, self.options)).map(|(_, _, word)| *word);
            found.collect::<Vec<_>>().join(" ")
        };
        let skipped = with(|(no, _, _), options| options & no != 0);
        let quiet = with(|(no, quiet, _), options| options & no == 0 && options & quiet != 0);
        format!("not sent: {skipped}; without reply: {quiet}")
    }
}

/// Asks a filter what it wants.
pub async fn negotiate(address: &Address) -> io::Result<Agreed> {
    let mut session = Session::open(address).await?;
    session.command(b'Q', &[]);
    session.flush().await?;
    Ok(session.agreed)
}

/// Messages that were continued, those answered otherwise, and the time.
pub async fn load(
    address: &Address,
    connections: usize,
    per_session: usize,
    window: Duration,
) -> io::Result<(u64, u64, Duration)> {
    let counts = Arc::new(Counts::default());
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        tasks.spawn(send_messages(address.clone(), per_session, counts.clone()));
    }
    let measured = async {
        tokio::time::sleep(window / 5).await;
        let (first, start) = (counts.messages.load(Ordering::Relaxed), Instant::now());
        tokio::time::sleep(window).await;
        (counts.messages.load(Ordering::Relaxed) - first, start.elapsed())
    };
    tokio::select! {
        (messages, time) = measured => Ok((messages, counts.others.load(Ordering::Relaxed), time)),
        Some(ended) = tasks.join_next() => Err(ended.map_or_else(io::Error::other, |result| result.unwrap_err())),
    }
}

#[derive(Debug, Default)]
struct Counts {
    messages: AtomicU64,
    others: AtomicU64,
}

/// Session after session.
async fn send_messages(
    address: Address,
    per_session: usize,
    counts: Arc<Counts>,
) -> Result<std::convert::Infallible, io::Error> {
    loop {
        let mut session = Session::open(&address).await?;
        session.begin().await?;
        for _ in 0..per_session {
            let is_continued = session.message().await?;
            counts.messages.fetch_add(1, Ordering::Relaxed);
            if !is_continued {
                counts.others.fetch_add(1, Ordering::Relaxed);
            }
        }
        // At disconnect, after the one after the message.
        session.command(b'A', &[]);
        session.command(b'Q', &[]);
        session.flush().await?;
    }
}

/// Numbers the sessions and messages of this process.
static NUMBER: AtomicU32 = AtomicU32::new(0);

struct Session {
    stream: Box<dyn Stream>,
    pending: Vec<u8>,
    input: Vec<u8>,
    agreed: Agreed,
}

impl Session {
    async fn open(address: &Address) -> io::Result<Self> {
        let stream = address.connect().await?;
        let mut session = Self { stream, pending: Vec::new(), input: Vec::new(), agreed: Agreed::default() };
        let mut offer = Vec::new();
        for number in [VERSION, ACTIONS, OPTIONS] {
            offer.extend_from_slice(&number.to_be_bytes());
        }
        session.command(b'O', &[&offer]);
        session.flush().await?;
        let (letter, payload) = session.frame().await?;
        if letter != b'O' {
            return Err(io::Error::other("no answer to the negotiation"));
        }
        session.agreed = Agreed::read(&payload)?;
        Ok(session)
    }

    /// CONNECT and HELO.
    async fn begin(&mut self) -> io::Result<()> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let address = format!("193.{}.{}.{}", number / 2500 % 200, number / 50 % 50, 1 + number % 50);
        let host = format!("mail-{}.sender-{}.example", number % 5000, number % 2000);
        let port = (10_000 + number % 50_000) as u16;
        self.macros(b'C', 0, "j {daemon_name} {daemon_addr} v _", &host, &address, "");
        let connect: [&[u8]; 5] = [host.as_bytes(), b"\x004", &port.to_be_bytes(), address.as_bytes(), b"\0"];
        self.step(b'C', &connect, NO_CONNECT, NR_CONNECT).await?;
        self.macros(b'H', 1, "{tls_version} {cipher} {cipher_bits}", &host, &address, "");
        self.step(b'H', &[host.as_bytes(), b"\0"], NO_HELO, NR_HELO).await?;
        Ok(())
    }

    /// From MAIL to ABORT; true if the filter let it pass.
    async fn message(&mut self) -> io::Result<bool> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let sender = format!("<person-{}@sender-{}.example>", number % 20_000, number % 2000);
        let recipient = format!("<user-{:04}@example.com>", number % 1000);
        let id = format!("4X{number:08x}z1B");
        let passed = self.transaction(&sender, &recipient, &id).await?;
        self.command(b'A', &[]);
        Ok(passed)
    }

    async fn transaction(&mut self, sender: &str, recipient: &str, id: &str) -> io::Result<bool> {
        const MAIL: &str = "i {auth_type} {auth_authen} {auth_author} {mail_addr} {mail_host} {mail_mailer}";
        const RCPT: &str = "i {rcpt_addr} {rcpt_host} {rcpt_mailer}";
        self.macros(b'M', 2, MAIL, sender, sender, "");
        let mail: [&[u8]; 2] = [sender.as_bytes(), b"\0SIZE=4211\0BODY=8BITMIME\0"];
        if !self.step(b'M', &mail, NO_MAIL, NR_MAIL).await? {
            return Ok(false);
        }
        self.macros(b'R', 3, RCPT, recipient, recipient, "");
        if !self.step(b'R', &[recipient.as_bytes(), b"\0"], NO_RCPT, NR_RCPT).await? {
            return Ok(false);
        }
        self.macros(b'T', 4, "i", "", "", id);
        if !self.step(b'T', &[], NO_DATA, NR_DATA).await? {
            return Ok(false);
        }
        for (name, value) in HEADERS {
            self.empty_macros(b'L', NO_HEADER);
            let header: [&[u8]; 4] = [name.as_bytes(), b"\0", value.as_bytes(), b"\0"];
            if !self.step(b'L', &header, NO_HEADER, NR_HEADER).await? {
                return Ok(false);
            }
        }
        self.macros(b'N', 6, "i", "", "", id);
        if !self.step(b'N', &[], NO_EOH, NR_EOH).await? {
            return Ok(false);
        }
        self.empty_macros(b'B', NO_BODY);
        if !self.step(b'B', &[&BODY], NO_BODY, NR_BODY).await? {
            return Ok(false);
        }
        self.macros(b'E', 5, "i", "", "", id);
        self.step(b'E', &[], 0, 0).await
    }

    /// The macros a filter asked for at this stage, else Postfix's own. Those
    /// of RCPT and MAIL have no queue id yet, as with the default settings.
    fn macros(&mut self, event: u8, stage: u32, default: &str, name: &str, address: &str, id: &str) {
        let asked = self.agreed.macros.iter().find(|(s, names)| *s == stage && !names.is_empty());
        let names = asked.map_or(default, |(_, names)| names.as_str());
        let mut payload = vec![event];
        for word in names.split_whitespace() {
            let value = match word.trim_matches(['{', '}']) {
                "i" => id,
                "j" => "mx.example.com",
                "v" => "Postfix 3.7.11",
                "_" | "client_name" | "client_ptr" => name,
                "client_addr" | "mail_addr" | "rcpt_addr" => address,
                "daemon_addr" => "192.0.2.25",
                "daemon_name" => "mx.example.com",
                "daemon_port" => "25",
                "client_port" => "54431",
                "mail_host" | "rcpt_host" => "example.com",
                "mail_mailer" | "rcpt_mailer" => "smtp",
                "tls_version" => "TLSv1.3",
                "cipher" => "TLS_AES_256_GCM_SHA384",
                "cipher_bits" => "256",
                _ => "",
            };
            if !value.is_empty() {
                for part in [word, value] {
                    payload.extend_from_slice(part.as_bytes());
                    payload.push(0);
                }
            }
        }
        self.command(b'D', &[&payload]);
    }

    fn empty_macros(&mut self, event: u8, unwanted: u32) {
        if self.agreed.options & unwanted == 0 {
            self.command(b'D', &[&[event]]);
        }
    }

    /// One event; true if the filter lets it go on.
    async fn step(&mut self, letter: u8, parts: &[&[u8]], unwanted: u32, quiet: u32) -> io::Result<bool> {
        if self.agreed.options & unwanted != 0 {
            return Ok(true);
        }
        self.command(letter, parts);
        if self.agreed.options & quiet != 0 {
            if self.pending.len() >= BUFFER_BYTES {
                self.flush().await?;
            }
            return Ok(true);
        }
        self.flush().await?;
        loop {
            match self.frame().await?.0 {
                b'c' | b's' => return Ok(true),
                b'a' | b'd' | b'r' | b't' | b'y' => return Ok(false),
                // Modifications, and the word that it still works.
                b'+' | b'-' | b'2' | b'b' | b'e' | b'h' | b'i' | b'm' | b'p' | b'q' => {}
                other => {
                    return Err(io::Error::other(format!("the filter said `{}`", char::from(other))));
                }
            }
        }
    }

    fn command(&mut self, letter: u8, parts: &[&[u8]]) {
        let len = 1 + parts.iter().map(|part| part.len()).sum::<usize>() as u32;
        self.pending.extend_from_slice(&len.to_be_bytes());
        self.pending.push(letter);
        for part in parts {
            self.pending.extend_from_slice(part);
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.pending).await?;
        self.pending.clear();
        Ok(())
    }

    async fn frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        loop {
            if let Some(head) = self.input.first_chunk::<4>() {
                let len = u32::from_be_bytes(*head);
                if len == 0 || len > MAX_FRAME_BYTES {
                    return Err(io::Error::other(format!("a frame of {len} bytes")));
                }
                let end = 4 + len as usize;
                if self.input.len() >= end {
                    let payload = self.input[5..end].to_vec();
                    let letter = self.input[4];
                    self.input.drain(..end);
                    return Ok((letter, payload));
                }
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::Error::other("the filter closed the connection"));
            }
        }
    }
}

const HEADERS: &[(&str, &str)] = &[
    (
        "Received",
        " from app-7.sender.example (app-7.sender.example [192.0.2.7])\n\tby mail.sender.example (Postfix) with ESMTPS id 4X1b2c3d4e\n\tfor <user@example.com>; Thu, 21 Aug 2025 10:00:00 +0000 (UTC)",
    ),
    (
        "DKIM-Signature",
        " v=1; a=rsa-sha256; c=relaxed/relaxed; d=sender.example; s=2025;\n\tt=1755770400; h=From:To:Subject:Date:Message-ID;\n\tbh=g3zLYH4xKxcPrHOD18z9YfpQcnk/GaJedfustWU5uGs=;\n\tb=VnsKJ8fS0m4cXq0dU2RkE3j1Yq0p1QmX9s0aQ6oH3b7n2fW1v5dPz8cR4tGyL6kM",
    ),
    ("From", " A Person <person@sender.example>"),
    ("To", " user@example.com"),
    ("Subject", " =?utf-8?q?Minutes_of_last_week=E2=80=99s_meeting?="),
    ("Date", " Thu, 21 Aug 2025 12:00:00 +0200"),
    ("Message-ID", " <20250821100000.4X1b2c3d4e@mail.sender.example>"),
    ("MIME-Version", " 1.0"),
    ("Content-Type", " text/plain; charset=utf-8"),
    ("Content-Transfer-Encoding", " 8bit"),
    ("X-Mailer", " Some Program 7.1"),
    ("List-Id", " <minutes.sender.example>"),
];

/// With the header about 4 KB.
const BODY: [u8; 3_072] = lines();

const fn lines() -> [u8; 3_072] {
    const TEXT: &[u8; 64] = b"We talked about the bridge, and nobody knew who should mend it\r\n";
    let mut body = [0; 3_072];
    let mut at = 0;
    while at < body.len() {
        body[at] = TEXT[at % TEXT.len()];
        at += 1;
    }
    body
}
