//! The milter frames that indymilter could not take, mended or taken out on their
//! way in. All others pass untouched.
//!
//! *A CONNECT whose address is none* (`unknown`, after `XCLIENT
//! ADDR=[UNAVAILABLE]`) becomes the protocol's own *unknown family*, and
//! Sendmail's `IPv6:` goes. indymilter would close the session, and Postfix then
//! defer its mail.
//!
//! *A recipient, or DATA again, behind DATA.* Postfix sends that when the mail was
//! refused behind our back: at DATA by a milter after us, or at its end by a
//! restriction (Postfix before mid-2026 does not reset the transaction then).
//! indymilter gives such a command no reply; Postfix would wait for its timeout,
//! and with `default_action=accept` let the rest of the session pass us by. Here it
//! is answered *tempfail* and taken out, so a client must begin a new transaction.
//!
//! The bytes come from Postfix, and from whoever else can connect to the socket.
//! A connection costs one buffer of [`BUFFER_BYTES`].

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
const MAX_CONNECT_BYTES: usize = 4 * 1024;

/// Length and kind of a frame.
const HEAD_BYTES: usize = 5;

/// Holds what Postfix sends at once but for long bodies, and so a CONNECT; frames
/// longer than it are not copied.
const BUFFER_BYTES: usize = 8 * 1024;

/// SMFIR_TEMPFAIL.
const TEMPFAIL: &[u8] = b"\0\0\0\x01t";

/// A connection whose frames indymilter can take.
#[derive(Debug)]
pub struct Mended<S> {
    inner: S,
    buffer: Vec<u8>,
    /// What of the buffer is read and not yet handed on.
    start: usize,
    end: usize,
    frame: Frame,
    /// DATA has passed, and nothing of the mail or its end yet.
    behind_data: bool,
    /// Of an answer, what is still to be written.
    answer: &'static [u8],
}

/// What becomes of the frame at hand.
#[derive(Clone, Copy, Debug)]
enum Frame {
    /// A CONNECT of that whole length, which waits to be all there.
    Connect(usize),
    /// Not known yet: its head is not all there.
    Head,
    /// So many bytes of it are still to pass.
    Pass(usize),
    /// So many bytes of it are still to be taken out.
    TakeOut(usize),
}

impl<S> Mended<S> {
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            frame: Frame::Head,
            behind_data: false,
            answer: b"",
        }
    }

    fn held(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// What becomes of the frame that begins here; none while its head is not whole.
    fn begin(&mut self) -> Option<Frame> {
        let (length, rest) = self.held().split_first_chunk::<4>()?;
        let kind = *rest.first()?;
        // Counted as indymilter counts: the kind is read even of a length of 0.
        let payload = (u32::from_be_bytes(*length) as usize).saturating_sub(1);
        let whole = HEAD_BYTES.saturating_add(payload);
        if self.behind_data && matches!(kind, b'R' | b'T') {
            return Some(Frame::TakeOut(whole));
        }
        if kind == b'C' && payload <= MAX_CONNECT_BYTES {
            self.behind_data = false;
            return Some(Frame::Connect(whole));
        }
        // Macros stand before a command and are none.
        if kind != b'D' {
            self.behind_data = kind == b'T';
        }
        Some(Frame::Pass(whole))
    }

    /// The CONNECT that begins here is all there: its length once it is mended.
    fn mend_connect(&mut self, whole: usize) -> usize {
        let Some(payload) = self.held().get(HEAD_BYTES..whole).and_then(mended_connect) else { return whole };
        // At most a few KiB, so it fits.
        let length = u32::try_from(payload.len() + 1).unwrap_or(u32::MAX).to_be_bytes();
        let mended = [&length[..], b"C", &payload].concat();
        let count = mended.len();
        self.buffer.splice(self.start..self.start + whole, mended);
        self.end = self.end - whole + count;
        count
    }

    fn hand_on(&mut self, most: usize, buf: &mut ReadBuf<'_>) -> usize {
        let count = self.held().len().min(most).min(buf.remaining());
        buf.put_slice(self.held().get(..count).unwrap_or_default());
        self.start += count;
        count
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Mended<S> {
    /// Reads once; false at the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        // Mended frames differ in length; less than the longest is held here.
        self.buffer.resize(BUFFER_BYTES.max(self.end), 0);
        let mut space = ReadBuf::new(self.buffer.get_mut(self.end..).unwrap_or_default());
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut space))?;
        let count = space.filled().len();
        self.end += count;
        Poll::Ready(Ok(count > 0))
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.answer.is_empty() {
            let count = ready!(Pin::new(&mut self.inner).poll_write(cx, self.answer))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.answer = self.answer.get(count..).unwrap_or_default();
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    /// Passes on some of a frame that is not held; false if nothing more comes.
    fn poll_pass(
        &mut self,
        left: usize,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let most = left.min(buf.remaining());
        if most < BUFFER_BYTES {
            return self.poll_fill(cx);
        }
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut part))?;
        let count = part.filled().len();
        buf.advance(count);
        self.frame = Frame::Pass(left - count);
        Poll::Ready(Ok(count > 0))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Mended<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        // Frames that are held are handed on together; what would wait comes after them.
        while buf.remaining() > 0 {
            let is_first = buf.filled().len() == before;
            match this.frame {
                Frame::Connect(whole) if this.held().len() >= whole => {
                    this.frame = Frame::Pass(this.mend_connect(whole));
                }
                Frame::Pass(0) => this.frame = Frame::Head,
                Frame::Pass(left) if !this.held().is_empty() => {
                    this.frame = Frame::Pass(left - this.hand_on(left, buf));
                }
                Frame::Head if this.held().len() >= HEAD_BYTES => {
                    if let Some(frame) = this.begin() {
                        this.frame = frame;
                    }
                }
                _ if !is_first => break,
                Frame::Connect(_) => {
                    if !ready!(this.poll_fill(cx))? {
                        // Cut off: what there is passes on, and then the end.
                        this.frame = Frame::Pass(this.held().len());
                    }
                }
                Frame::Pass(left) => {
                    if !ready!(this.poll_pass(left, cx, buf))? {
                        break;
                    }
                }
                Frame::TakeOut(0) => {
                    if !this.answer.is_empty() {
                        ready!(this.poll_answer(cx))?;
                    }
                    this.frame = Frame::Head;
                }
                Frame::TakeOut(left) => {
                    if this.held().is_empty() && !ready!(this.poll_fill(cx))? {
                        break;
                    }
                    let count = this.held().len().min(left);
                    this.start += count;
                    this.frame = Frame::TakeOut(left - count);
                    if count == left {
                        this.answer = TEMPFAIL;
                    }
                }
                Frame::Head => {
                    if !ready!(this.poll_fill(cx))? {
                        if this.held().is_empty() {
                            break;
                        }
                        this.frame = Frame::Pass(this.held().len());
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Mended<S> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len() + 1).unwrap();
        [&length.to_be_bytes()[..], &[kind], payload].concat()
    }

    /// What passes and what is answered, if the bytes arrive by `size` and are
    /// read by `size`.
    async fn passed(bytes: &[u8], size: usize) -> (Vec<u8>, Vec<u8>) {
        let (theirs, ours) = tokio::io::duplex(size);
        let (mut answers, mut sender) = tokio::io::split(theirs);
        let sent = bytes.to_vec();
        let writer = tokio::spawn(async move {
            sender.write_all(&sent).await.unwrap();
            sender.shutdown().await.unwrap();
        });
        let reader = tokio::spawn(async move {
            let mut all = Vec::new();
            answers.read_to_end(&mut all).await.unwrap();
            all
        });
        let mut mended = Mended::new(ours);
        let mut out = Vec::new();
        let mut space = vec![0; size];
        loop {
            match mended.read(&mut space).await.unwrap() {
                0 => break,
                count => out.extend_from_slice(&space[..count]),
            }
        }
        writer.await.unwrap();
        drop(mended);
        (out, reader.await.unwrap())
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
            let (out, answered) = passed(&sent, size).await;
            assert_eq!((&*out, &*answered), (&*expected, &b""[..]), "by {size}");
        }
    }

    #[tokio::test]
    async fn only_what_comes_behind_data_is_taken_out_and_answered() {
        let rcpt = frame(b'R', b"<b@test.example>\0");
        let (data, macros) = (frame(b'T', b""), frame(b'D', b"Ri\0x\0"));
        let body = frame(b'B', &[b'R'; 70_000]);
        let mail = [frame(b'L', b"a\0 b\0"), frame(b'N', b""), body, frame(b'E', b"")].concat();
        let abort = frame(b'A', b"");
        for (what, sent, expected, answers) in [
            ("a mail", vec![&rcpt, &rcpt, &data, &mail, &rcpt, &data, &mail], None, 0),
            ("macros", vec![&rcpt, &macros, &data, &macros, &mail], None, 0),
            ("given up", vec![&data, &abort, &rcpt, &data, &abort, &rcpt], None, 0),
            (
                "a recipient, and DATA again",
                vec![&rcpt, &data, &macros, &rcpt, &rcpt, &data, &mail, &rcpt],
                Some(vec![&rcpt, &data, &macros, &mail, &rcpt]),
                3,
            ),
        ] {
            let expected = expected.unwrap_or_else(|| sent.clone());
            let (sent, expected) = (sent.iter().copied().flatten(), expected.iter().copied().flatten());
            let (sent, expected): (Vec<u8>, Vec<u8>) = (sent.copied().collect(), expected.copied().collect());
            for size in [1, 3, 5, 8_192] {
                let (out, answered) = passed(&sent, size).await;
                assert!(out == expected, "{what} by {size}");
                assert_eq!(answered, TEMPFAIL.repeat(answers), "{what} by {size}");
            }
        }
    }

    #[tokio::test]
    async fn frames_that_grow_do_not_grow_the_buffer() {
        let sent = frame(b'C', b"h\x006\x10\xe1::ffff:1:1\0").repeat(10_000);
        let expected = frame(b'C', b"h\x006\x10\xe1::ffff:0.1.0.1\0").repeat(10_000);
        let mut mended = Mended::new(tokio::io::join(&sent[..], tokio::io::sink()));
        let mut out = Vec::new();
        mended.read_to_end(&mut out).await.unwrap();
        assert!(out == expected);
        assert!(mended.buffer.len() <= 2 * BUFFER_BYTES, "{}", mended.buffer.len());
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
            b"\0\0\0\0T\0\0\0\0Q",
            b"\xff\xff\xff\xffCabc",
            b"\xff\xff\xff\xffBabc",
            b"\xff\xff\xff\xffTabc",
        ] {
            let (out, answered) = passed(bytes, 4).await;
            assert_eq!((&*out, &*answered), (bytes, &b""[..]), "{}", bytes.escape_ascii());
        }
        // A recipient without end behind DATA takes no memory and ends with the stream.
        let endless = [&frame(b'T', b"")[..], b"\xff\xff\xff\xffR", &[b'x'; 100_000]].concat();
        assert_eq!(passed(&endless, 4096).await, (frame(b'T', b""), vec![]));
    }
}
