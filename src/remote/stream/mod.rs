//! The AsyncRead/AsyncWrite shell round [`super::dialect`]: stands between an SSH channel and russh-sftp.
//!
//! Whoever reads and writes a [`DialectStream`] is russh-sftp, what it wraps is the stranger's stream. Long packets
//! that need no change go through without being kept. Short ones are gathered, as every write is a channel message
//! of its own in russh: while the outer stream takes one message, the packets of the next one come together.
//!
//! russh-sftp writes and never flushes, so whoever reads carries out what was gathered: a write wakes the reader.
//! A write that was pending is to be repeated with the same bytes, as russh's own channel wants it too.

mod incoming;
mod outgoing;

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::incoming::Incoming;
use self::outgoing::Outgoing;
use super::dialect::{Dialect, FrameError, FrameLimits, refusal};

/// An SFTP stream whose inner side speaks as russh-sftp does, whatever the outer side speaks.
///
/// A bad packet, from either side, is one `InvalidData` error whose source is the [`FrameError`]. russh-sftp
/// only logs it: see [`fault`](Self::fault). After it, or an error of the outer stream while reading,
/// reading finds the end and writing a broken pipe.
#[derive(Debug)]
pub struct DialectStream<S> {
    stream: S,
    incoming: Incoming,
    outgoing: Outgoing,
    answers_bad_requests: bool,
    state: State,
    fault: Fault,
    end: End,
    /// Whoever waits to write.
    writer: Option<Waker>,
    /// Whoever reads, and carries out what was written.
    reader: Option<Waker>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Open,
    /// A bad packet came in; the refusal is on its way out, then the error is told.
    Refusing(FrameError),
    Ended,
}

/// The bad packet that ended a [`DialectStream`], once there was one. Clones see the same.
#[derive(Debug, Clone, Default)]
pub struct Fault(Arc<OnceLock<Blame>>);

/// Whose packet was bad, and what was wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// It came in from the stranger.
    Theirs(FrameError),
    /// It was to go out to the stranger.
    Ours(FrameError),
}

/// The moment at which no reply can come any more. Clones are the same.
#[derive(Clone, Default)]
pub struct End(Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>);

impl End {
    /// Has this called then, before whoever reads learns of it. Only the first one counts.
    pub fn tell(&self, whom: impl Fn() + Send + Sync + 'static) {
        self.0.get_or_init(|| Box::new(whom));
    }

    fn has_come(&self) {
        if let Some(told) = self.0.get() {
            told();
        }
    }
}

impl std::fmt::Debug for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("End")
    }
}

impl Fault {
    /// What was wrong with the packet.
    pub fn get(&self) -> Option<FrameError> {
        self.blame().map(|(Blame::Theirs(error) | Blame::Ours(error))| error)
    }

    /// The same, with whose packet it was.
    pub fn blame(&self) -> Option<Blame> {
        self.0.get().copied()
    }

    fn set(&self, blame: Blame) {
        self.0.get_or_init(|| blame); // the first one ended the stream
    }
}

/// What ends a read or a write.
#[derive(Debug)]
enum Trouble {
    Io(io::Error),
    Frame(FrameError),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Trouble::Io(error)
    }
}

impl From<FrameError> for Trouble {
    fn from(error: FrameError) -> Self {
        Trouble::Frame(error)
    }
}

impl<S> DialectStream<S> {
    /// For our russh-sftp client; `stream` leads to a strange server.
    pub fn for_client(stream: S, limits: FrameLimits) -> Self {
        let (incoming, outgoing) = (Dialect::replies_in(limits), Dialect::requests_out(limits));
        Self::new(stream, incoming, outgoing, false)
    }

    /// For our russh-sftp server; `stream` leads to a strange client. A bad request is answered with
    /// BAD_MESSAGE and its own id before the stream ends.
    pub fn for_server(stream: S, limits: FrameLimits) -> Self {
        let (incoming, outgoing) = (Dialect::requests_in(limits), Dialect::replies_out(limits));
        Self::new(stream, incoming, outgoing, true)
    }

    fn new(stream: S, incoming: Dialect, outgoing: Dialect, answers_bad_requests: bool) -> Self {
        Self {
            stream,
            incoming: Incoming::new(incoming),
            outgoing: Outgoing::new(outgoing),
            answers_bad_requests,
            state: State::Open,
            fault: Fault::default(),
            end: End::default(),
            writer: None,
            reader: None,
        }
    }

    /// Tells, also when the stream itself was given away, which bad packet ended it.
    pub fn fault(&self) -> Fault {
        self.fault.clone()
    }

    /// To hear, also when the stream itself was given away, that no reply can come any more.
    pub fn end(&self) -> End {
        self.end.clone()
    }

    /// Hands on what was gathered, as far as the outer stream takes it now. Whoever waits to write does that itself,
    /// and must not lose its place with the outer stream, which wakes only the last one that asked.
    fn carry_out(&mut self, cx: &mut Context<'_>) -> io::Result<()>
    where
        S: AsyncWrite + Unpin,
    {
        if self.writer.is_some() || !self.outgoing.is_waiting() {
            return Ok(());
        }
        match self.outgoing.poll_drain(&mut self.stream, cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(carried) => carried,
        }
    }

    /// Whoever writes waits, or does not any more.
    fn wait_to_write<T>(&mut self, cx: &Context<'_>, poll: Poll<T>) -> Poll<T> {
        self.writer = poll.is_pending().then(|| cx.waker().clone());
        poll
    }

    /// Nothing more comes from the server: nobody need wait to write to it either. russh-sftp would, for
    /// ever, where the channel's window is used up.
    fn end_client(&mut self) {
        if !self.answers_bad_requests {
            self.state = State::Ended;
            self.end.has_come();
            self.writer.take().into_iter().for_each(Waker::wake);
        }
    }

    /// A bad packet came in: nothing more is taken from the stranger.
    fn refuse(&mut self, error: FrameError) {
        self.fault.set(Blame::Theirs(error));
        self.state = State::Refusing(error);
        if let Some(id) = self.incoming.request_id().filter(|_| self.answers_bad_requests) {
            self.outgoing.queue(&refusal(id, &error));
        }
    }

    /// A bad packet was to go out: none of it went.
    fn fail(&mut self, error: FrameError) -> io::Error {
        self.fault.set(Blame::Ours(error));
        self.state = State::Ended;
        invalid(error)
    }
}

fn invalid(error: FrameError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for DialectStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let State::Open = this.state {
            let carried = this.carry_out(cx);
            let before = buf.filled().len();
            let read = match (this.incoming.poll_read(&mut this.stream, cx, buf), carried) {
                (Poll::Ready(read), _) => read, // what has come counts, whatever cannot be sent any more
                (Poll::Pending, Err(error)) => Err(Trouble::Io(error)),
                (Poll::Pending, Ok(())) => {
                    this.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            };
            match read {
                Ok(()) => {
                    if buf.filled().len() == before {
                        this.end_client();
                    }
                    return Poll::Ready(Ok(()));
                }
                // russh-sftp's server would read on after an error, for ever.
                Err(Trouble::Io(error)) => {
                    this.state = State::Ended;
                    this.end_client();
                    return Poll::Ready(Err(error));
                }
                Err(Trouble::Frame(error)) => this.refuse(error),
            }
        }
        let State::Refusing(error) = this.state else { return Poll::Ready(Ok(())) };
        // Whether the stranger still takes the refusal changes nothing: the bad packet is what is told.
        if this.answers_bad_requests {
            let _ = ready!(this.outgoing.poll_drain(&mut this.stream, cx));
        }
        this.state = State::Ended;
        this.end_client();
        Poll::Ready(Err(invalid(error)))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for DialectStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let State::Open = this.state else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        let written = this.outgoing.poll_write(&mut this.stream, cx, buf);
        let written = ready!(this.wait_to_write(cx, written));
        if this.outgoing.is_waiting() {
            this.reader.take().into_iter().for_each(Waker::wake);
        }
        Poll::Ready(written.map_err(|trouble| match trouble {
            Trouble::Io(error) => error,
            Trouble::Frame(error) => this.fail(error),
        }))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let drained = this.outgoing.poll_drain(&mut this.stream, cx);
        ready!(this.wait_to_write(cx, drained))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let State::Open = this.state {
            let drained = this.outgoing.poll_drain(&mut this.stream, cx);
            ready!(this.wait_to_write(cx, drained))?;
        }
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
