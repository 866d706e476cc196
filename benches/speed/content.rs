//! Messages through the library: from the first header field to all that the rules
//! want of it.

use crate::areas::Bench;
use crate::compare::median;
use crate::report::Target;
use data_encoding::BASE64;
use gatepost::content;
use gatepost::content::Stop;
use gatepost::message::Message;
use gatepost::message::Wants;
use std::hint::black_box;
use std::io;
use std::process::Command;
use std::process::Stdio;
use std::time::Instant;

/// Bytes that the milter hands over at once.
const CHUNK_BYTES: usize = 65_535;
const MIB: usize = 1 << 20;

const WHOLE_TEXT: Target = Target::AtMost(30.0);
/// 2 GB of body a second.
const SPLIT: Target = Target::AtLeast(2.0);
/// One part of a hundred thousand may cost so much of one of a thousand.
const LINEAR: Target = Target::AtMost(1.5);

const NAMES: Wants = Wants { parts: true, ..Wants::NOTHING };
const KINDS: Wants =
    Wants { content: content::Wants { kinds: true, inside: false, hashes: false, names: false }, ..NAMES };
const INSIDE: Wants =
    Wants { content: content::Wants { kinds: true, inside: true, hashes: false, names: false }, ..NAMES };
/// As the shipped rules want it.
const SHIPPED: Wants = Wants { whole: true, ..INSIDE };

const HEADER: &[(&str, &str)] = &[
    (
        "Received",
        " from mail.sender.example (mail.sender.example [192.0.2.1])\n\tby mx.example.com (Postfix) with ESMTPS id 4TESTqueueID",
    ),
    ("From", " Someone <someone@sender.example>"),
    ("To", " user@example.com"),
    ("Subject", " =?utf-8?Q?Gr=C3=BC=C3=9Fe?= from the bench"),
    ("Date", " Wed, 18 Nov 2026 12:00:00 +0000"),
    ("Message-ID", " <bench@sender.example>"),
    ("MIME-Version", " 1.0"),
];

/// A message, ready to be handed over again and again.
struct Mail {
    content_type: String,
    signatures: Vec<String>,
    body: Vec<u8>,
}

impl Mail {
    fn new(content_type: &str, body: Vec<u8>) -> Self {
        Self { content_type: format!(" {content_type}"), signatures: Vec::new(), body }
    }

    /// One file in base64 beside a text.
    fn with_file(name: &str, file: &[u8]) -> Self {
        let mut body = format!(
            "--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nSee the file.\r\n--b\r\n\
             Content-Type: application/octet-stream; name={name}\r\n\
             Content-Disposition: attachment; filename={name}\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        )
        .into_bytes();
        for line in file.chunks(57) {
            body.extend_from_slice(BASE64.encode(line).as_bytes());
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--b--\r\n");
        Self::new("multipart/mixed; boundary=b", body)
    }

    fn read(&self, wants: Wants) -> Message {
        let mut message = Message::new(wants);
        if !self.signatures.is_empty() {
            message = message.with_signed();
        }
        for (name, value) in HEADER {
            message.header(name.as_bytes(), value.as_bytes());
        }
        for signature in &self.signatures {
            message.header(b"DKIM-Signature", signature.as_bytes());
        }
        message.header(b"Content-Type", self.content_type.as_bytes());
        message.end_of_header();
        self.body.chunks(CHUNK_BYTES).for_each(|chunk| message.body(chunk));
        message.finish(&Stop::default());
        message
    }

    /// Seconds that reading it takes, the median of some rounds.
    fn seconds(&self, wants: Wants, rounds: usize, times: usize) -> f64 {
        let mut seconds = Vec::new();
        for _ in 0..rounds {
            let start = Instant::now();
            for _ in 0..times {
                black_box(self.read(black_box(wants)));
            }
            seconds.push(start.elapsed().as_secs_f64() / times as f64);
        }
        median(&seconds)
    }
}

pub fn content(bench: &mut Bench) -> io::Result<()> {
    let rounds = bench.scale.rounds;
    // Before anything else has taken memory that it keeps.
    memory(bench)?;
    // The first pages of memory are dear.
    black_box(Mail::with_file("report.pdf", &pdf(8 * MIB)).read(SHIPPED));
    let text = Mail::new("text/plain; charset=utf-8", lines(4096));
    let micros = text.seconds(SHIPPED, rounds, 2_000) * 1e6;
    bench.report.value("content: a text of 4 KB, as shipped", micros, " µs", WHOLE_TEXT);
    let pages = Mail::new("multipart/alternative; boundary=b", alternative());
    let micros = pages.seconds(SHIPPED, rounds, 1_000) * 1e6;
    bench.report.value("content: 16 KB as text and as a page", micros, " µs", Target::None);

    let large = Mail::with_file("report.pdf", &pdf(8 * MIB));
    for (what, wants, target) in [
        ("names alone", NAMES, Target::None),
        ("split, decoded, kind", KINDS, SPLIT),
        ("all that is in it", INSIDE, Target::None),
    ] {
        let rate = large.body.len() as f64 / large.seconds(wants, rounds, 4) / 1e9;
        bench.report.value(&format!("content: a PDF of 8 MB, {what}"), rate, " GB/s", target);
    }
    archives(bench)?;
    signed(bench);
    many_parts(bench);
    Ok(())
}

/// Made by the tools that people use.
fn archives(bench: &mut Bench) -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("data.txt"), prose(4 * MIB))?;
    std::fs::write(dir.path().join("noise.bin"), noise(4 * MIB))?;
    for (name, command) in [
        ("a.zip", "zip -q a.zip data.txt noise.bin"),
        ("a.tar.gz", "tar czf a.tar.gz data.txt noise.bin"),
        ("a.tar.bz2", "tar cjf a.tar.bz2 data.txt noise.bin"),
        ("a.tar.xz", "tar cJf a.tar.xz data.txt noise.bin"),
        ("a.tar.zst", "tar c data.txt noise.bin | zstd -q -o a.tar.zst"),
        ("a.7z", "7zz a -bd a.7z data.txt noise.bin"),
    ] {
        let mut tool = Command::new("sh");
        tool.args(["-c", command]).current_dir(dir.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let row = format!("content: {name} of 8 MB, a MB of it");
        let (Ok(true), Ok(file)) =
            (tool.status().map(|status| status.success()), std::fs::read(dir.path().join(name)))
        else {
            bench.report.skip(&row, &format!("`{command}` could not be run"));
            continue;
        };
        let mail = Mail::with_file(name, &file);
        let found = mail.read(INSIDE).files().count();
        let micros = mail.seconds(INSIDE, bench.scale.rounds.min(3), 1) * 1e6 / 8.0;
        bench.report.value(&row, micros, " µs", Target::None);
        if found < 4 {
            bench.report.note(&format!("only {found} files were found in it"));
        }
    }
    Ok(())
}

fn signed(bench: &mut Bench) {
    for form in ["relaxed/relaxed", "simple/simple"] {
        let mut mail = Mail::with_file("report.pdf", &pdf(4 * MIB));
        mail.signatures
            .push(format!(" v=1; a=rsa-sha256; c={form}; d=sender.example; s=s; h=From:To; bh=AAAA; b=AAAA"));
        let size = mail.body.len() as f64 / 1e6;
        let micros = mail.seconds(KINDS, bench.scale.rounds, 2) * 1e6 / size;
        bench.report.value(&format!("content: signed {form}, a MB"), micros, " µs", Target::None);
    }
}

/// What each of many parts costs, against each of few.
fn many_parts(bench: &mut Bench) {
    let parts = |count: usize| {
        let part = "--b\r\nContent-Type: text/plain; name=a.txt\r\n\r\nhello\r\n";
        Mail::new(
            "multipart/mixed; boundary=b",
            [part.repeat(count), "--b--\r\n".to_owned()].concat().into_bytes(),
        )
    };
    // As deep as it is read, and as deep as a line is long.
    let nested = |depth: usize| {
        let mut body = String::new();
        for level in 0..depth {
            body += &format!("--b{level}\r\nContent-Type: multipart/mixed; boundary=b{}\r\n\r\n", level + 1);
        }
        Mail::new("multipart/mixed; boundary=b0", body.into_bytes())
    };
    let rounds = bench.scale.rounds;
    let each = |mail: &Mail| mail.seconds(KINDS, rounds, 1) * 1e9 / mail.body.len() as f64;
    for (what, few, many) in [
        ("100,000 parts against 5,000, a byte", parts(5_000), parts(100_000)),
        ("100,000 levels against 5,000, a byte", nested(5_000), nested(100_000)),
    ] {
        let (few, many) = (each(&few), each(&many));
        bench.report.value(&format!("content: {what}"), many / few, "", LINEAR);
        bench.report.note(&format!("{many:.1} ns a byte, {few:.1}"));
    }
}

/// The most memory that a message of 32 MB takes, in its own sizes.
fn memory(bench: &mut Bench) -> io::Result<()> {
    let mail = Mail::with_file("report.pdf", &pdf(24 * MIB));
    let size = mail.body.len() as f64;
    // What the kernel has seen at most is forgotten.
    std::fs::write("/proc/self/clear_refs", "5")?;
    let before = peak()?;
    let message = mail.read(SHIPPED);
    let used = (peak()? - before).max(0.0);
    drop(message);
    bench.report.value("content: memory for 32 MB, of its size", used / size, "", Target::None);
    Ok(())
}

/// Bytes.
fn peak() -> io::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<f64>().ok());
    kib.map(|kib| kib * 1024.0).ok_or_else(|| io::Error::other("no VmHWM"))
}

fn lines(bytes: usize) -> Vec<u8> {
    let line = "The quick brown fox jumps over the lazy dog and writes home about it.\r\n";
    line.bytes().cycle().take(bytes).collect()
}

fn alternative() -> Vec<u8> {
    let text = String::from_utf8_lossy(&lines(4096)).into_owned();
    let page = format!("<html><body><p>{}</p></body></html>", text.repeat(3));
    format!(
        "--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n--b\r\n\
         Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n{page}\r\n--b--\r\n"
    )
    .into_bytes()
}

/// Looks like one: a head, objects, and streams that are no text.
fn pdf(bytes: usize) -> Vec<u8> {
    let mut pdf = b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n".to_vec();
    while pdf.len() < bytes {
        pdf.extend_from_slice(b"4 0 obj\n<< /Length 65536 >>\nstream\n");
        pdf.extend_from_slice(&noise(65_536));
        pdf.extend_from_slice(b"\nendstream\nendobj\n");
    }
    pdf.extend_from_slice(b"trailer\n<< /Root 1 0 R >>\n%%EOF\n");
    pdf
}

/// Bytes that no packer makes smaller.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes.div_ceil(8)).flat_map(|_| next()).take(bytes).collect()
}

/// Text that packers make a third of, as they do of books.
fn prose(bytes: usize) -> Vec<u8> {
    const WORDS: &[&str] = &[
        "mail",
        "from",
        "the",
        "server",
        "was",
        "held",
        "and",
        "nobody",
        "said",
        "why",
        "until",
        "morning",
        "when",
        "somebody",
        "read",
        "its",
        "log",
        "postmaster",
        "recipient",
        "queue",
    ];
    let mut text = Vec::with_capacity(bytes + 16);
    for byte in noise(bytes / 4) {
        text.extend_from_slice(WORDS[usize::from(byte) % WORDS.len()].as_bytes());
        text.push(if byte % 13 == 0 { b'\n' } else { b' ' });
    }
    text.truncate(bytes);
    text
}
