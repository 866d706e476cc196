//! One request without a body: /readyz, /metrics and /v1.

use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

/// Status and body; None while nobody answers.
pub(crate) fn get(port: u16, path: &str) -> Option<(u16, String)> {
    ask(port, "GET", path, None)
}

/// The same with another method, and with a token.
pub(crate) fn ask(port: u16, method: &str, path: &str, token: Option<&str>) -> Option<(u16, String)> {
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{token}Connection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}
