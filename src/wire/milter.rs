//! What indymilter doesn't do with the milter protocol's bytes: it mends a
//! CONNECT frame it could not read, and makes texts safe to send.
//!
//! The bytes come from Postfix, and from whoever else can connect to the
//! socket. At most one frame of [`MAX_CONNECT_BYTES`] is ever held back.

use crate::names::external_form;
use std::io;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

/// A CONNECT holds a host name (at most 1 KiB in Postfix) and an address; what
/// is longer passes as it is, for indymilter to refuse.
pub const MAX_CONNECT_BYTES: usize = 4 * 1024;

/// Postfix cuts headers at 60,000 bytes while milters are active.
pub const MAX_HEADER_VALUE_BYTES: usize = 32 * 1024;

/// Length and kind of a frame.
const HEAD_BYTES: usize = 5;

/// A connection whose first CONNECT frame is mended on its way in: an address
/// that is none (`unknown`, after `XCLIENT ADDR=[UNAVAILABLE]`) becomes the
/// protocol's own *unknown family*, and Sendmail's `IPv6:` goes. indymilter
/// would close the session, and Postfix then defer its mail. All that follows
/// the frame passes untouched and uncopied.
#[derive(Debug)]
pub struct MendedConnect<S> {
    inner: S,
    phase: Phase,
    /// Bytes of a frame read and not yet handed on.
    held: Vec<u8>,
    /// How many of them were handed on; only once the frame is released.
    handed: usize,
    released: bool,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Collecting a frame's head.
    Head,
    /// Collecting a CONNECT frame of that whole length.
    Connect(usize),
    /// So many bytes of another frame are still to pass.
    Other(usize),
    /// The CONNECT has passed.
    Clear,
}

impl<S> MendedConnect<S> {
    pub fn new(inner: S) -> Self {
        Self { inner, phase: Phase::Head, held: Vec::new(), handed: 0, released: false }
    }

    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) {
        let rest = self.held.get(self.handed..).unwrap_or_default();
        let part = rest.get(..buf.remaining()).unwrap_or(rest);
        buf.put_slice(part);
        self.handed += part.len();
        if self.handed >= self.held.len() {
            self.held = Vec::new();
            self.handed = 0;
            self.released = false;
        }
    }

    /// The head is complete: which frame is it?
    fn begin_frame(&mut self) {
        let Some((length, [kind])) = self.held.split_first_chunk::<4>() else { return };
        // Counted as indymilter counts: the kind is read even of a length of 0.
        let payload = (u32::from_be_bytes(*length) as usize).saturating_sub(1);
        if *kind == b'C' && payload <= MAX_CONNECT_BYTES {
            self.phase = Phase::Connect(HEAD_BYTES + payload);
            return;
        }
        self.phase = Phase::Other(payload);
        self.released = true;
    }

    fn end_connect(&mut self) {
        if let Some(payload) = self.held.get(HEAD_BYTES..).and_then(mended_connect) {
            // At most a few KiB, so it fits.
            let length = u32::try_from(payload.len() + 1).unwrap_or(u32::MAX);
            self.held.clear();
            self.held.extend_from_slice(&length.to_be_bytes());
            self.held.push(b'C');
            self.held.extend_from_slice(&payload);
        }
        self.phase = Phase::Clear;
        self.released = true;
    }
}

impl<S: AsyncRead + Unpin> MendedConnect<S> {
    /// Reads until `target` bytes are held; false at the end of the stream.
    fn poll_hold(&mut self, cx: &mut Context<'_>, target: usize) -> Poll<io::Result<bool>> {
        while self.held.len() < target {
            let mut space = [0; 512];
            let wanted = (target - self.held.len()).min(space.len());
            let mut read = ReadBuf::new(space.get_mut(..wanted).unwrap_or_default());
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(false));
            }
            self.held.extend_from_slice(read.filled());
        }
        Poll::Ready(Ok(true))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MendedConnect<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if this.released {
                this.hand_on(buf);
                return Poll::Ready(Ok(()));
            }
            let target = match this.phase {
                Phase::Clear => return Pin::new(&mut this.inner).poll_read(cx, buf),
                Phase::Other(0) => {
                    this.phase = Phase::Head;
                    continue;
                }
                Phase::Other(left) => {
                    let wanted = left.min(buf.remaining());
                    let mut part = ReadBuf::new(buf.initialize_unfilled_to(wanted));
                    ready!(Pin::new(&mut this.inner).poll_read(cx, &mut part))?;
                    let count = part.filled().len();
                    buf.advance(count);
                    this.phase = Phase::Other(left - count);
                    return Poll::Ready(Ok(()));
                }
                Phase::Head => HEAD_BYTES,
                Phase::Connect(length) => length,
            };
            if !ready!(this.poll_hold(cx, target))? {
                // Cut off: what there is passes on, and then the end.
                this.phase = Phase::Clear;
                this.released = !this.held.is_empty();
                continue;
            }
            match this.phase {
                Phase::Connect(_) => this.end_connect(),
                _ => this.begin_frame(),
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MendedConnect<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

/// The payload of a CONNECT frame as indymilter can read it, if it has to be
/// another: host, NUL, family, and for `4` and `6` port (2 bytes), address, NUL.
fn mended_connect(payload: &[u8]) -> Option<Vec<u8>> {
    let host_end = memchr::memchr(0, payload)? + 1;
    let (host, rest) = payload.split_at_checked(host_end)?;
    let (family, rest) = rest.split_first()?;
    if !matches!(family, b'4' | b'6') {
        return None;
    }
    let unknown = || Some([host, b"U"].concat());
    let Some((port, address)) = rest.split_first_chunk::<2>() else { return unknown() };
    let Some(address) = address.strip_suffix(b"\0") else { return unknown() };
    let Some(ip) = parse_address(address) else { return unknown() };
    let right = if ip.is_ipv4() { b'4' } else { b'6' };
    let text = ip.to_string();
    if right == *family && text.as_bytes() == address {
        return None;
    }
    Some([host, &[right], port, text.as_bytes(), b"\0"].concat())
}

fn parse_address(address: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(address).ok()?;
    match text.get(..5) {
        Some(prefix) if prefix.eq_ignore_ascii_case("IPv6:") => {
            text.get(5..)?.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
        }
        _ => text.parse().ok(),
    }
}

/// A reply's text as Postfix wants it: `%` doubled, since it takes a single one
/// off, as Sendmail's library would expand it.
pub fn reply_text(text: &str) -> String {
    text.replace('%', "%%")
}

/// A header value that can't become two headers or end the header: a line may
/// go on only with a blank and something behind it (RFC 5322 section 2.2.3,
/// 4.2); any other line end, NUL or control character becomes `?`.
pub fn header_value(value: &str) -> String {
    let mut clean = String::with_capacity(value.len().min(MAX_HEADER_VALUE_BYTES));
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        let mut c = c;
        if c == '\r' && rest.as_str().starts_with('\n') {
            rest.next();
            c = '\n';
        }
        let safe = match c {
            '\t' => '\t',
            '\n' if is_fold(rest.as_str()) => '\n',
            c if c.is_control() => '?',
            c => c,
        };
        if clean.len() + safe.len_utf8() > MAX_HEADER_VALUE_BYTES {
            break;
        }
        clean.push(safe);
    }
    // The cut may have fallen right behind a line end.
    clean.truncate(clean.trim_end().len());
    clean
}

/// Whether what follows a line end continues the line.
fn is_fold(after: &str) -> bool {
    let line = after.split(['\r', '\n']).next().unwrap_or_default();
    line.starts_with([' ', '\t']) && !line.trim_matches([' ', '\t']).is_empty()
}

/// RFC 5322 section 3.6.8: printable ASCII but the colon.
pub fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 128 && name.bytes().all(|b| b.is_ascii_graphic() && b != b':')
}

/// An address in internal form as Postfix parses it: quoted where it must be, in
/// brackets; none if it could be taken for two or hides a control character.
pub fn bracketed(address: &str) -> Option<String> {
    let bare = address.strip_prefix('<').and_then(|a| a.strip_suffix('>')).unwrap_or(address);
    let safe = bare.len() <= 512 && !bare.chars().any(|c| c.is_control() || matches!(c, '<' | '>'));
    safe.then(|| format!("<{}>", external_form(bare)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len() + 1).unwrap();
        [&length.to_be_bytes()[..], &[kind], payload].concat()
    }

    /// What comes out if the bytes arrive by `size` and are read by `size`.
    async fn passed(bytes: &[u8], size: usize) -> Vec<u8> {
        let (mut theirs, ours) = tokio::io::duplex(size);
        let sent = bytes.to_vec();
        let writer = tokio::spawn(async move {
            theirs.write_all(&sent).await.unwrap();
        });
        let mut mended = MendedConnect::new(ours);
        let mut out = Vec::new();
        let mut space = vec![0; size];
        loop {
            match mended.read(&mut space).await.unwrap() {
                0 => break,
                count => out.extend_from_slice(&space[..count]),
            }
        }
        writer.await.unwrap();
        out
    }

    #[test]
    fn a_connect_frame_is_mended_where_it_must_be() {
        for (payload, expected) in [
            (&b"unknown\x004\0\0unknown\0"[..], Some(&b"unknown\0U"[..])),
            (b"h\x006\x10\xe1IPv6:2001:db8::1\0", Some(b"h\x006\x10\xe12001:db8::1\0")),
            (b"h\x006\x10\xe1ipv6:::1\0", Some(b"h\x006\x10\xe1::1\0")),
            (b"h\x004\x10\xe1::1\0", Some(b"h\x006\x10\xe1::1\0")),
            (b"h\x004\x10\xe1192.0.2.1\0", None),
            (b"h\x006\x10\xe12001:db8::1\0", None),
            (b"h\x004", Some(b"h\0U")),
            (b"h\x004\0\0\0", Some(b"h\0U")),
            (b"h\0L\0\0/run/unknown\0", None),
            (b"h\0U", None),
            (b"h\0", None),
            (b"", None),
        ] {
            assert_eq!(mended_connect(payload).as_deref(), expected, "{}", payload.escape_ascii());
        }
    }

    #[tokio::test]
    async fn only_the_connect_frame_is_touched_however_the_bytes_arrive() {
        let before = [frame(b'O', &[0; 12]), frame(b'D', b"Cj\0mx\0"), frame(b'D', b"")].concat();
        let after = [frame(b'H', b"unknown\0"), frame(b'B', &[b'C'; 70_000]), frame(b'Q', b"")].concat();
        let sent = [&before[..], &frame(b'C', b"h\x004\0\0unknown\0"), &after].concat();
        let expected = [&before[..], &frame(b'C', b"h\0U"), &after].concat();
        for size in [1, 3, 5, 8_192] {
            assert_eq!(passed(&sent, size).await, expected, "by {size}");
        }
    }

    #[tokio::test]
    async fn what_is_no_frame_passes_as_it_is() {
        for bytes in [
            &b""[..],
            b"\0",
            b"\0\0\0\x09C",
            b"\0\0\0\x09Cabc",
            b"\0\0\0\0C",
            b"\0\0\0\0Q\0\0\0\x01A",
            b"\xff\xff\xff\xffCabc",
            b"\xff\xff\xff\xffBabc",
        ] {
            assert_eq!(passed(bytes, 4).await, bytes, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn header_values_keep_folds_and_nothing_else() {
        for (value, expected) in [
            ("a", "a"),
            ("a\n b", "a\n b"),
            ("a\r\n\tb", "a\n\tb"),
            ("a\nX: b", "a?X: b"),
            ("a\r\n\r\nbody", "a??body"),
            ("a\n \nb", "a? ?b"),
            ("a\n ", "a?"),
            ("a\rb\0c\u{7f}\u{85}", "a?b?c??"),
            ("a\n\n b", "a?\n b"),
        ] {
            assert_eq!(header_value(value), expected, "{value:?}");
        }
        assert_eq!(header_value(&"ü".repeat(40_000)).len(), MAX_HEADER_VALUE_BYTES);
    }

    #[test]
    fn names_addresses_and_replies_are_safe() {
        assert!(is_header_name("X-Spam") && !is_header_name("X:") && !is_header_name("a b"));
        assert!(!is_header_name("") && !is_header_name("ü"));
        for (address, expected) in [
            ("a@b.example", Some("<a@b.example>")),
            ("<a@b.example>", Some("<a@b.example>")),
            ("", Some("<>")),
            ("<>", Some("<>")),
            ("a>,<b", None),
            ("a\nb", None),
        ] {
            assert_eq!(bracketed(address).as_deref(), expected, "{address:?}");
        }
        assert_eq!(reply_text("100% sure, %{i}"), "100%% sure, %%{i}");
    }

    proptest! {
        #[test]
        fn no_value_makes_a_second_header(value in "[a: \t\r\n\0]{0,40}") {
            let clean = header_value(&value);
            let mut lines = clean.split('\n');
            lines.next();
            for line in lines {
                prop_assert!(line.starts_with([' ', '\t']) && !line.trim().is_empty(), "{clean:?}");
            }
            prop_assert!(!clean.contains(['\r', '\0']));
        }
    }
}
