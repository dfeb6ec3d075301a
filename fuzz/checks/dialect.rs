//! The dialect layer under any bytes. The first byte chooses the direction and the size of the pieces in which
//! the rest comes in.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use highwater::remote::dialect::{Dialect, FrameError, FrameLimits, Step};
use highwater::remote::stream::DialectStream;
use russh_sftp::protocol::Packet;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// Small, so that the limit is met.
const LIMITS: FrameLimits = FrameLimits { packet_bytes: 600 };

/// For what crossed once: texts may have grown.
const WIDER: FrameLimits = FrameLimits { packet_bytes: 2000 };

/// No panic, no packet beyond its limit, the same whatever the pieces, nothing that the SFTP library cannot read,
/// nothing that does not come back as it went in.
pub fn check(data: &[u8]) {
    let Some((&first, bytes)) = data.split_first() else { return };
    let stranger = Stranger { says: bytes, piece: 1 + usize::from(first >> 2), pause: false };
    match first % 4 {
        0 => {
            let inside = inward(Dialect::replies_in, Dialect::replies_out, bytes);
            assert_eq!(read_whole(DialectStream::for_client(stranger, LIMITS)), inside);
        }
        1 => {
            let inside = inward(Dialect::requests_in, Dialect::requests_out, bytes);
            assert_eq!(read_whole(DialectStream::for_server(stranger, LIMITS)), inside);
        }
        2 => drop(both_ways(Dialect::replies_out(LIMITS), LIMITS.inner_packet_bytes(), bytes)),
        _ => drop(both_ways(Dialect::requests_out(LIMITS), LIMITS.inner_packet_bytes(), bytes)),
    }
}

type Made = (Vec<u8>, Option<FrameError>);

fn inward(to_us: fn(FrameLimits) -> Dialect, back: fn(FrameLimits) -> Dialect, bytes: &[u8]) -> Made {
    let (inside, error) = both_ways(to_us(LIMITS), LIMITS.packet_bytes, bytes);
    let whole = whole_packets(&inside);
    for packet in &whole {
        let decoded = Packet::try_from(&mut Bytes::copy_from_slice(&packet[4..]));
        assert!(decoded.is_ok(), "the library does not read {packet:x?}");
    }
    let inside_whole = whole.concat();
    let (outside, wrong) = both_ways(back(WIDER), WIDER.inner_packet_bytes(), &inside_whole);
    assert_eq!(wrong, None, "what came in does not go out again: {inside_whole:x?}");
    let (again, wrong) = both_ways(to_us(WIDER), WIDER.packet_bytes, &outside);
    assert_eq!((again, wrong), (inside_whole, None), "it does not come back as it was");
    (inside, error)
}

/// What comes of the bytes: the same when all are there from the beginning, and when no more are there than are
/// asked for.
fn both_ways(dialect: Dialect, limit: u32, bytes: &[u8]) -> Made {
    let at_once = transcode(dialect, limit, bytes, bytes.len());
    let bit_by_bit = transcode(dialect, limit, bytes, 0);
    assert_eq!(at_once, bit_by_bit);
    at_once
}

fn transcode(dialect: Dialect, limit: u32, bytes: &[u8], ahead: usize) -> Made {
    let most = 4 + limit as usize;
    let (mut out, mut at, mut there) = (Vec::new(), 0, ahead);
    while at < bytes.len() {
        let before = out.len();
        let seen = &bytes[at..there.max(at)];
        match dialect.step(seen, &mut out) {
            Err(error) => {
                assert_eq!(out.len(), before, "a bad packet leaves nothing");
                return (out, Some(error));
            }
            Ok(Step::Need(count)) => {
                assert!(
                    count > seen.len() && count <= most && out.len() == before,
                    "{count} of {}",
                    seen.len()
                );
                if at + count > bytes.len() {
                    break;
                }
                there = at + count;
            }
            Ok(Step::Pass(count)) => {
                assert!(count <= most && out.len() == before);
                let end = (at + count).min(bytes.len());
                out.extend_from_slice(&bytes[at..end]);
                at = end;
            }
            Ok(Step::Replace { consumed, rest }) => {
                assert!(consumed <= seen.len() && consumed + rest <= most);
                assert!(out.len() - before + rest <= 4 + 2 * limit as usize + 64);
                let end = (at + consumed + rest).min(bytes.len());
                out.extend_from_slice(&bytes[at + consumed..end]);
                at = end;
            }
        }
    }
    (out, None)
}

/// The packets that are there to their end.
fn whole_packets(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut packets = Vec::new();
    while let Some(length) = bytes.first_chunk() {
        let total = 4 + u32::from_be_bytes(*length) as usize;
        let Some((packet, rest)) = bytes.split_at_checked(total) else { break };
        packets.push(packet);
        bytes = rest;
    }
    packets
}

/// What the SFTP library gets to read, and the bad packet that ended it.
fn read_whole(mut stream: DialectStream<Stranger<'_>>) -> Made {
    let mut read = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let outcome = runtime.block_on(stream.read_to_end(&mut read));
    let fault = stream.fault().get();
    let kind = outcome.err().map(|error| error.kind());
    // A stream that ends within a packet is no fault of the packet.
    let expected = if fault.is_some() {
        Some(io::ErrorKind::InvalidData)
    } else {
        kind.and(Some(io::ErrorKind::UnexpectedEof))
    };
    assert_eq!(kind, expected);
    (read, fault)
}

/// Says some bytes a piece at a time, with a pause before each, and hears whatever it is told.
struct Stranger<'a> {
    says: &'a [u8],
    piece: usize,
    pause: bool,
}

impl AsyncRead for Stranger<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.pause = !self.pause;
        if self.pause {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let (now, later) = self.says.split_at(self.piece.min(buf.remaining()).min(self.says.len()));
        buf.put_slice(now);
        self.says = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stranger<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
