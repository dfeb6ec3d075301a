//! Whether the server still answers, as seen from a whole connection: what is asked and answered on its
//! SFTP channels is counted, and a connection on which nothing moves although something was asked is cut.
//!
//! That SSH itself is alive, keepalives tell; a server whose SFTP process hangs answers those. How long
//! one request takes tells nothing: on a slow line it waits for all that was handed over before it.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::client::{Notes, look};
use super::wire::Grip;

/// How long nothing may move while something is asked for.
const SILENCE: Duration = Duration::from_secs(75);

/// How often it is looked.
const INTERVAL: Duration = Duration::from_secs(5);

/// What has to be sent to count as moving: more than keepalives are, three or four of which go out in a
/// silence, and less than a window, which the system takes without anything reaching the server.
const MOVED_BYTES: u64 = 4096;

/// What is under way on the channels of one connection.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// Requests without a reply.
    waiting: AtomicU64,
    /// Bytes that came in on SFTP channels.
    heard_bytes: AtomicU64,
}

/// An SFTP channel whose packets are counted, whatever is in them.
pub struct Counted<S> {
    stream: S,
    pulse: Arc<Pulse>,
    requests: Packets,
    replies: Packets,
    /// Requests of this channel without a reply.
    waiting: u64,
}

impl<S> Counted<S> {
    pub(super) fn new(stream: S, pulse: Arc<Pulse>) -> Self {
        let (requests, replies) = (Packets::default(), Packets::default());
        Self { stream, pulse, requests, replies, waiting: 0 }
    }

    fn sent(&mut self, bytes: &[u8]) {
        let begun = self.requests.pass(bytes).begun;
        self.waiting += begun;
        self.pulse.waiting.fetch_add(begun, Ordering::Relaxed);
    }

    fn heard(&mut self, bytes: &[u8]) {
        self.pulse.heard_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let answered = self.replies.pass(bytes).ended.min(self.waiting);
        self.waiting -= answered;
        self.pulse.waiting.fetch_sub(answered, Ordering::Relaxed);
    }
}

impl<S> Drop for Counted<S> {
    fn drop(&mut self) {
        self.pulse.waiting.fetch_sub(self.waiting, Ordering::Relaxed);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        this.heard(&buf.filled()[before..]);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(bytes)) = &written {
            this.sent(&buf[..*bytes]);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Where one packet ends and the next begins: a length of four bytes, then as many bytes
/// (draft-ietf-secsh-filexfer-02 §3).
#[derive(Debug, Default)]
struct Packets {
    length: [u8; 4],
    length_bytes: usize,
    left: u64,
}

/// How many packets began and ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Passed {
    begun: u64,
    ended: u64,
}

impl Packets {
    fn pass(&mut self, mut bytes: &[u8]) -> Passed {
        let mut passed = Passed::default();
        while !bytes.is_empty() {
            if self.length_bytes < 4 {
                self.length[self.length_bytes] = bytes[0];
                self.length_bytes += 1;
                bytes = &bytes[1..];
                if self.length_bytes < 4 {
                    continue;
                }
                self.left = u64::from(u32::from_be_bytes(self.length));
                passed.begun += 1;
            } else {
                let here = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= here as u64;
                bytes = &bytes[here..];
            }
            if self.left == 0 {
                self.length_bytes = 0;
                passed.ended += 1;
            }
        }
        passed
    }
}

/// Watches over a connection until dropped.
pub(super) struct Watchdog(AbortHandle);

impl Watchdog {
    /// Cuts `wire`, with the reason in `notes`, once the server does not answer any more.
    pub(super) fn start(pulse: &Arc<Pulse>, wire: &Grip, notes: &Arc<Mutex<Notes>>) -> Self {
        let (pulse, wire, notes) = (Arc::downgrade(pulse), wire.look_on(), Arc::clone(notes));
        let watching = async move {
            let mut watch = Watch::new(Instant::now());
            loop {
                tokio::time::sleep(INTERVAL).await;
                let (Some(pulse), Some(wire)) = (pulse.upgrade(), wire.upgrade()) else { return };
                let seen = Seen {
                    waits: pulse.waiting.load(Ordering::Relaxed) > 0,
                    heard_bytes: pulse.heard_bytes.load(Ordering::Relaxed),
                    sent_bytes: wire.sent_bytes(),
                };
                if watch.is_over(seen, Instant::now()) {
                    let why = format!("the server answered nothing for {} s", SILENCE.as_secs());
                    look(&notes).failure.get_or_insert(why);
                    return wire.cut();
                }
            }
        };
        Self(tokio::spawn(watching).abort_handle())
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One look at a connection.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// Something was asked that has no reply.
    waits: bool,
    heard_bytes: u64,
    sent_bytes: u64,
}

/// When something moved last.
#[derive(Debug)]
struct Watch {
    then: Seen,
    moved: Instant,
}

impl Watch {
    fn new(now: Instant) -> Self {
        Self { then: Seen::default(), moved: now }
    }

    /// Whether too long nothing moved that should have.
    fn is_over(&mut self, seen: Seen, now: Instant) -> bool {
        let sent = seen.sent_bytes.saturating_sub(self.then.sent_bytes);
        if !seen.waits || seen.heard_bytes != self.then.heard_bytes || sent >= MOVED_BYTES {
            (self.then, self.moved) = (seen, now);
        }
        now.duration_since(self.moved) >= SILENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_counted_however_they_are_cut() {
        let stream =
            [&[0, 0, 0, 1, 9][..], &[0, 0, 0, 0], &[0, 0, 1, 0], &[7; 256], &[0, 0, 0, 2, 1]].concat();
        for size in [1, 2, 3, 5, 100, stream.len()] {
            let mut packets = Packets::default();
            let passed = stream.chunks(size).map(|part| packets.pass(part));
            let sum = passed.fold((0, 0), |sum, p| (sum.0 + p.begun, sum.1 + p.ended));
            assert_eq!(sum, (4, 3), "in parts of {size}");
        }
    }

    #[tokio::test]
    async fn requests_wait_until_they_are_answered_or_their_channel_is_gone() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let pulse = Arc::new(Pulse::default());
        let waiting = || pulse.waiting.load(Ordering::Relaxed);
        let (near, mut far) = tokio::io::duplex(100);
        let mut channel = Counted::new(near, pulse.clone());
        channel.write_all(&[0, 0, 0, 1, 9, 0, 0, 0, 1, 9]).await.unwrap();
        assert_eq!(waiting(), 2);
        far.write_all(&[0, 0, 0, 1, 9]).await.unwrap();
        channel.read_exact(&mut [0; 5]).await.unwrap();
        assert_eq!((waiting(), pulse.heard_bytes.load(Ordering::Relaxed)), (1, 5));
        drop(channel);
        assert_eq!(waiting(), 0);
    }

    /// Seconds, whether something waits, bytes heard and sent by then; whether it is over.
    fn check(looks: &[(u64, bool, u64, u64, bool)]) {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        for &(secs, waits, heard_bytes, sent_bytes, over) in looks {
            let now = start + Duration::from_secs(secs);
            assert_eq!(watch.is_over(Seen { waits, heard_bytes, sent_bytes }, now), over, "after {secs} s");
        }
    }

    #[test]
    fn a_server_that_answers_nothing_is_given_up_though_ssh_is_alive() {
        check(&[(5, true, 100, 5000, false), (79, true, 100, 5400, false), (80, true, 100, 5400, true)]);
    }

    #[test]
    fn a_slow_line_that_moves_is_not_given_up() {
        // Megabytes were handed over: for minutes nothing is answered, but the system goes on sending.
        let sending = (1..100).map(|i| (i * 70, true, 0, i * 4096, false)).collect::<Vec<_>>();
        check(&sending);
        // One large reply arrives byte by byte.
        let hearing = (1..100).map(|i| (i * 70, true, i, 0, false)).collect::<Vec<_>>();
        check(&hearing);
    }

    #[test]
    fn a_connection_that_is_not_used_may_be_silent() {
        check(&[(5, false, 0, 0, false), (1000, false, 0, 0, false), (1005, true, 0, 0, false)]);
        check(&[(1000, false, 0, 0, false), (1074, true, 0, 0, false), (1075, true, 0, 0, true)]);
    }
}
