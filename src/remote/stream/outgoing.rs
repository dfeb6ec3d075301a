//! From russh-sftp to the stranger.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::Trouble;
use crate::remote::dialect::{Dialect, FrameError, Step};

/// So much is gathered before it has to go out, in bytes: the largest message that OpenSSH takes on a channel.
const GATHERED_BYTES: usize = 32 * 1024;

/// The rest of a packet is gathered up to this size, in bytes; more goes out from where it is.
const COPIED_BYTES: usize = 16 * 1024;

/// What russh-sftp has written and the stranger's stream has not taken yet.
///
/// Each write to the stranger's stream is an SSH message of its own, and thousands of short ones cost more than what
/// is in them: on this side, and more so in OpenSSH's sshd, whose buffer for a channel grows, and is copied, with each
/// message that its sftp-server has not taken yet (`sshbuf_allocate`, read in 9.2).
#[derive(Debug)]
pub(super) struct Outgoing {
    dialect: Dialect,
    /// The beginning of a packet that was written in pieces; russh-sftp does not do that.
    head: Vec<u8>,
    /// Bytes to come that go on as they are.
    clear: usize,
    /// What goes out before anything else: whole packets, or the beginning of one whose rest is `clear`.
    gathered: Vec<u8>,
    sent: usize,
    /// Bytes that came in and count as written once `changed` is out.
    owed: usize,
}

impl Outgoing {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, head: Vec::new(), clear: 0, gathered: Vec::new(), sent: 0, owed: 0 }
    }

    /// Whether something waits for [`poll_drain`](Self::poll_drain).
    pub(super) fn is_waiting(&self) -> bool {
        !self.gathered.is_empty()
    }

    /// Takes some of `buf`. What is short is gathered and goes out with what follows, or by
    /// [`poll_drain`](Self::poll_drain).
    pub(super) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<Result<usize, Trouble>> {
        loop {
            if self.gathered.len() >= GATHERED_BYTES {
                ready!(self.poll_drain(stream, cx))?;
            }
            if self.owed > 0 {
                return Poll::Ready(Ok(std::mem::take(&mut self.owed).min(buf.len())));
            }
            if buf.is_empty() {
                return Poll::Ready(Ok(0));
            }
            if self.clear > 0 {
                let here = &buf[..self.clear.min(buf.len())];
                let count = if here.len() <= COPIED_BYTES {
                    self.gathered.extend_from_slice(here);
                    here.len()
                } else {
                    ready!(self.poll_drain(stream, cx))?;
                    ready!(Pin::new(stream).poll_write(cx, here))?
                };
                self.clear -= count;
                return Poll::Ready(Ok(count));
            }
            self.owed = if self.head.is_empty() { self.take(buf)? } else { self.take_piece(buf)? };
        }
    }

    /// Hands on what was gathered.
    pub(super) fn poll_drain<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.sent < self.gathered.len() {
            match ready!(Pin::new(&mut *stream).poll_write(cx, &self.gathered[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
        }
        self.gathered.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Puts a packet of our own in, unless one of russh-sftp's is only half out.
    pub(super) fn queue(&mut self, packet: &[u8]) {
        if self.clear == 0 && self.head.is_empty() {
            self.gathered.extend_from_slice(packet);
        }
    }

    /// Begins the packet at the front of `buf`; says how much of it was taken.
    fn take(&mut self, buf: &[u8]) -> Result<usize, FrameError> {
        match self.dialect.step(buf, &mut self.gathered)? {
            Step::Pass(count) => {
                self.clear = count;
                Ok(0)
            }
            Step::Need(_) => {
                self.head.extend_from_slice(buf);
                Ok(buf.len())
            }
            Step::Replace { consumed, rest } => {
                let here = rest.min(buf.len() - consumed);
                self.gathered.extend_from_slice(&buf[consumed..consumed + here]);
                self.clear = rest - here;
                Ok(consumed + here)
            }
        }
    }

    /// Goes on with a packet whose beginning is kept; says how much of `buf` was taken.
    fn take_piece(&mut self, buf: &[u8]) -> Result<usize, FrameError> {
        let mut taken = 0;
        loop {
            match self.dialect.step(&self.head, &mut self.gathered)? {
                Step::Need(count) => {
                    let piece = (count - self.head.len()).min(buf.len() - taken);
                    self.head.extend_from_slice(&buf[taken..taken + piece]);
                    taken += piece;
                    if self.head.len() < count {
                        return Ok(taken);
                    }
                }
                Step::Pass(count) => return Ok(self.go_on(0, count, taken)),
                Step::Replace { consumed, rest } => return Ok(self.go_on(consumed, rest, taken)),
            }
        }
    }

    /// Sends the kept beginning from `consumed` on; `rest` bytes of the packet follow `consumed`.
    fn go_on(&mut self, consumed: usize, rest: usize, taken: usize) -> usize {
        let here = &self.head[consumed..];
        self.clear = rest - here.len();
        self.gathered.extend_from_slice(here);
        self.head.clear();
        taken
    }
}
