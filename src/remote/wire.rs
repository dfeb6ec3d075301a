//! The byte stream below SSH: counts what arrives, keeps what a server says before it speaks SSH, and
//! can be cut at once, whatever is still queued above.

use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};

use crate::path::escape;

/// How much is asked of the system at once, in bytes: two of the largest SSH packets.
const READ_BYTES: usize = 64 * 1024;

/// How much of a server's first words is kept.
const GREETING_BYTES: usize = 1024;

/// What its owner can see of a stream and do to it while SSH holds it.
#[derive(Debug, Default)]
pub(super) struct Control {
    cut: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    greeting: Mutex<Vec<u8>>,
}

impl Control {
    /// Ends the stream at once: nothing more is read or written.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.reader.wake();
        self.writer.wake();
    }

    /// Bytes received so far.
    pub(super) fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that the system took for sending so far.
    pub(super) fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// What the server said before or instead of speaking SSH, for people; empty when it said nothing.
    pub(super) fn first_words(&self) -> String {
        let greeting = self.greeting.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = greeting.split(|&b| b == b'\n').map(<[u8]>::trim_ascii);
        let lines: Vec<String> = lines.take_while(|l| !l.starts_with(b"SSH-")).map(escape).collect();
        lines.join(" ").trim().chars().take(300).collect()
    }

    fn note(&self, bytes: &[u8]) {
        let before = self.received_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if before < GREETING_BYTES as u64 {
            let mut greeting = self.greeting.lock().unwrap_or_else(PoisonError::into_inner);
            let room = GREETING_BYTES.saturating_sub(greeting.len());
            greeting.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// An error once the stream is cut; otherwise `waker` is told of the cut.
    fn check(&self, waker: &AtomicWaker, cx: &Context<'_>) -> io::Result<()> {
        waker.register(cx.waker());
        if self.cut.load(Ordering::Acquire) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was given up"));
        }
        Ok(())
    }
}

/// Holds a [`Control`], and cuts its stream when dropped: SSH would otherwise go on by itself.
#[derive(Debug)]
pub(super) struct Grip(Arc<Control>);

impl Deref for Grip {
    type Target = Control;

    fn deref(&self) -> &Control {
        &self.0
    }
}

impl Drop for Grip {
    fn drop(&mut self) {
        self.0.cut();
    }
}

impl Grip {
    /// To look on without holding.
    pub(super) fn look_on(&self) -> Weak<Control> {
        Arc::downgrade(&self.0)
    }
}

/// A stream under the control of a [`Control`]. SSH asks for a packet's length and then for the packet: what
/// there is is fetched at once.
pub(super) struct Wire<S> {
    stream: BufReader<S>,
    control: Arc<Control>,
}

impl<S: AsyncRead> Wire<S> {
    pub(super) fn new(stream: S) -> (Self, Grip) {
        let control = Arc::new(Control::default());
        let stream = BufReader::with_capacity(READ_BYTES, stream);
        (Self { stream, control: Arc::clone(&control) }, Grip(control))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.control.check(&this.control.reader, cx)?;
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        this.control.note(&buf.filled()[before..]);
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.control.check(&this.control.writer, cx)?;
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(bytes)) = &written {
            this.control.sent_bytes.fetch_add(*bytes as u64, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.control.check(&this.control.writer, cx)?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_cut_wakes_whoever_reads_or_writes() {
        let (near, _far) = tokio::io::duplex(1);
        let (wire, control) = Wire::new(near);
        let (mut reader, mut writer) = tokio::io::split(wire);
        let reading = tokio::spawn(async move { reader.read_u8().await });
        let writing = tokio::spawn(async move { writer.write_all(b"more than one byte").await });
        tokio::task::yield_now().await;
        control.cut();
        assert_eq!(reading.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(writing.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }

    #[tokio::test]
    async fn first_words_end_where_ssh_begins() {
        let check = async |sent: &[u8], expected: &str| {
            let (near, mut far) = tokio::io::duplex(4096);
            let (mut wire, control) = Wire::new(near);
            far.write_all(sent).await.unwrap();
            drop(far);
            wire.read_to_end(&mut Vec::new()).await.unwrap();
            assert_eq!(control.first_words(), expected);
            assert_eq!(control.received_bytes(), sent.len() as u64);
        };
        check(b"", "").await;
        check(b"SSH-2.0-OpenSSH_9.2\r\n\0\0\0", "").await;
        check(b"Exceeded MaxStartups\r\n", "Exceeded MaxStartups").await;
        check(b"mind\x1b the\r\ngap\r\nSSH-2.0-x\r\n", "mind\\x1b the gap").await;
        check(&[b'a'; 3000], &"a".repeat(300)).await;
    }
}
