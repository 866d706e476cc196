//! Milter commands out of the order that indymilter knows: a recipient, or DATA
//! again, behind DATA.
//!
//! Postfix sends that when the mail was refused behind our back: at DATA by a
//! milter after us, or at its end by a restriction (Postfix before mid-2026 does
//! not reset the transaction then). indymilter gives such a command no reply;
//! Postfix would wait for its timeout, and with `default_action=accept` let the
//! rest of the session pass us by. Here it is answered *tempfail* and taken out,
//! so a client must begin a new transaction.
//!
//! The bytes come from Postfix, and from whoever else can connect to the socket.
//! A connection costs one buffer of [`BUFFER_BYTES`].

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

/// Holds any frames but those of a body; those longer than it are not copied.
const BUFFER_BYTES: usize = 4 * 1024;

/// Length and kind of a frame.
const HEAD_BYTES: usize = 5;

/// SMFIR_TEMPFAIL.
const TEMPFAIL: &[u8] = b"\0\0\0\x01t";

/// A connection without the commands that would go unanswered.
#[derive(Debug)]
pub struct InOrder<S> {
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
    /// Not known yet: its head is not all there.
    Head,
    /// So many bytes of it are still to pass.
    Pass(usize),
    /// So many bytes of it are still to be taken out.
    TakeOut(usize),
}

impl<S> InOrder<S> {
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
        // Macros stand before a command and are none.
        if kind != b'D' {
            self.behind_data = kind == b'T';
        }
        Some(Frame::Pass(whole))
    }

    fn hand_on(&mut self, most: usize, buf: &mut ReadBuf<'_>) -> usize {
        let count = self.held().len().min(most).min(buf.remaining());
        buf.put_slice(self.held().get(..count).unwrap_or_default());
        self.start += count;
        count
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> InOrder<S> {
    /// Reads once; false at the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
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

    /// Passes on some of the frame; true if nothing more comes.
    fn poll_pass(
        &mut self,
        left: usize,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let mut count = self.hand_on(left, buf);
        if count == 0 && left.min(buf.remaining()) >= BUFFER_BYTES {
            let mut part = ReadBuf::new(buf.initialize_unfilled_to(left.min(buf.remaining())));
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut part))?;
            count = part.filled().len();
            buf.advance(count);
        } else if count == 0 {
            if !ready!(self.poll_fill(cx))? {
                return Poll::Ready(Ok(true));
            }
            count = self.hand_on(left, buf);
        }
        self.frame = if count == left { Frame::Head } else { Frame::Pass(left - count) };
        Poll::Ready(Ok(count == 0))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for InOrder<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            match this.frame {
                Frame::Pass(left) => return this.poll_pass(left, cx, buf).map_ok(|_| ()),
                Frame::TakeOut(0) => {
                    if !this.answer.is_empty() {
                        ready!(this.poll_answer(cx))?;
                    }
                    this.frame = Frame::Head;
                }
                Frame::TakeOut(left) => {
                    if this.held().is_empty() && !ready!(this.poll_fill(cx))? {
                        return Poll::Ready(Ok(()));
                    }
                    let count = this.held().len().min(left);
                    this.start += count;
                    this.frame = Frame::TakeOut(left - count);
                    if count == left {
                        this.answer = TEMPFAIL;
                    }
                }
                Frame::Head => match this.begin() {
                    Some(frame) => this.frame = frame,
                    None if ready!(this.poll_fill(cx))? => {}
                    // Cut off: what there is passes on, and then the end.
                    None if this.held().is_empty() => return Poll::Ready(Ok(())),
                    None => this.frame = Frame::Pass(this.held().len()),
                },
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for InOrder<S> {
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
        let mut ordered = InOrder::new(ours);
        let mut out = Vec::new();
        let mut space = vec![0; size];
        loop {
            match ordered.read(&mut space).await.unwrap() {
                0 => break,
                count => out.extend_from_slice(&space[..count]),
            }
        }
        writer.await.unwrap();
        drop(ordered);
        (out, reader.await.unwrap())
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
    async fn what_is_no_frame_passes_as_it_is() {
        for bytes in [
            &b""[..],
            b"\0",
            b"\0\0\0\x09C",
            b"\0\0\0\x09Cabc",
            b"\0\0\0\0T\0\0\0\0Q",
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
