//! From the stranger to russh-sftp.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::Trouble;
use crate::remote::dialect::{Dialect, Step, request_id};

/// How much is read ahead of a packet's head, in bytes: a hundred short replies, or so little of file
/// data that copying it once more does not show.
const AHEAD_BYTES: usize = 4096;

/// What has come in and not gone on yet.
#[derive(Debug)]
pub(super) struct Incoming {
    dialect: Dialect,
    inbox: Inbox,
    /// Bytes from the front of the inbox, and beyond it of the stream, that go on as they are.
    clear: usize,
    /// What replaced the head of a packet; goes on before `clear`.
    changed: Vec<u8>,
    told: usize,
}

impl Incoming {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, inbox: Inbox::default(), clear: 0, changed: Vec::new(), told: 0 }
    }

    /// Fills `buf` with some of what russh-sftp is to see; with nothing at the end of the stream.
    pub(super) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), Trouble>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if self.told < self.changed.len() {
                self.tell_changed(buf);
                return Poll::Ready(Ok(()));
            }
            if self.clear > 0 {
                return self.poll_clear(stream, cx, buf).map_err(Trouble::Io);
            }
            self.changed.clear();
            self.told = 0;
            match self.dialect.step(self.inbox.unread(), &mut self.changed)? {
                Step::Pass(count) => self.clear = count,
                Step::Replace { consumed, rest } => {
                    self.inbox.consume(consumed);
                    self.clear = rest;
                }
                Step::Need(count) => {
                    if !ready!(self.inbox.poll_fill(stream, cx, count))? {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }

    /// The id of the request at the front, if it is one.
    pub(super) fn request_id(&self) -> Option<u32> {
        request_id(self.inbox.unread())
    }

    /// How much memory is kept for packets, in bytes.
    #[cfg(test)]
    pub(super) fn kept_bytes(&self) -> usize {
        self.inbox.bytes.capacity() + self.changed.capacity()
    }

    fn tell_changed(&mut self, buf: &mut ReadBuf<'_>) {
        let changed = &self.changed[self.told..];
        let count = changed.len().min(buf.remaining());
        buf.put_slice(&changed[..count]);
        self.told += count;
    }

    fn poll_clear<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = self.clear.min(buf.remaining());
        let here = self.inbox.unread();
        let count = if here.is_empty() {
            ready!(poll_into(stream, cx, buf.initialize_unfilled_to(room)))?
        } else {
            let count = here.len().min(room);
            buf.initialize_unfilled_to(count).copy_from_slice(&here[..count]);
            self.inbox.consume(count);
            count
        };
        buf.advance(count);
        self.clear -= count;
        Poll::Ready(Ok(()))
    }
}

/// Bytes read ahead: one buffer that is reused, as large as the largest packet that was kept.
#[derive(Debug, Default)]
struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end);
    }

    /// Reads once, so that `count` bytes may be here; `false` at the end of the stream. An end inside a
    /// packet is an error.
    fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        count: usize,
    ) -> Poll<io::Result<bool>> {
        let target = self.make_room(count.max(AHEAD_BYTES));
        let read = ready!(poll_into(stream, cx, &mut self.bytes[self.end..target]))?;
        self.end += read;
        match read {
            0 if self.start == self.end => Poll::Ready(Ok(false)),
            0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            _ => Poll::Ready(Ok(true)),
        }
    }

    /// Moves what is unread to the front where that is needed for `count` bytes in all; says where they end.
    fn make_room(&mut self, count: usize) -> usize {
        if self.start + count > self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.bytes.len() < count {
            self.bytes.resize(count, 0);
        }
        self.start + count
    }
}

fn poll_into<S: AsyncRead + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    room: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buf = ReadBuf::new(room);
    ready!(Pin::new(stream).poll_read(cx, &mut buf))?;
    Poll::Ready(Ok(buf.filled().len()))
}
