//! Any server's SFTP bytes ↔ bytes that russh-sftp 3.0.1 carries without loss. Pure: no I/O here, that
//! is [`super::stream`].
//!
//! russh-sftp keeps names and handles in `String` and decodes them lossily, ends the session on a
//! STATUS whose code is above 8 or that has no text, and misreads extended attributes. So a [`Dialect`]
//! goes over every packet on its way in or out:
//! - each SFTP string crosses as Latin-1: byte `b` is the character U+00`b` inside. A bijection over all
//!   bytes; `path::to_wire` and `path::from_wire` are the same for whole names.
//! - file data and the payloads of EXTENDED and EXTENDED_REPLY pass untouched (see [`payload`]).
//! - STATUS codes above 8 become FAILURE with the code in the text, missing texts are added empty.
//! - extended attributes are taken out.
//! - a request of a type that version 3 does not know becomes [`UNKNOWN_REQUEST`].
//!
//! Lengths are checked before anything is kept. Bytes behind the last field of a packet pass as they
//! are: OpenSSH and russh-sftp ignore them too. Ids, and whether a reply fits its request, are not
//! looked at. When russh-sftp carries bytes itself, this module goes.

mod kind;
mod packets;
pub mod payload;
mod text;
mod walk;

pub use payload::{Reader, Short, put_string};
use walk::{Stop, Turn, Walk};

/// Name of the extended request that our server gets in place of a request of an unknown type; the
/// payload is that type, one byte. To be answered with OP_UNSUPPORTED, as every unknown extension is.
pub const UNKNOWN_REQUEST: &str = "unknown-request@highwater";

const BAD_MESSAGE: u32 = 5;

/// What a packet may grow by on its way in, doubled strings aside: the number of an unknown status
/// code in words, and two empty strings.
const INNER_SLACK: u32 = 64;

/// How large packets may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// Largest packet taken from the stranger, in bytes behind its length field. At most 1 GiB.
    pub packet_bytes: u32,
}

impl FrameLimits {
    /// Largest packet on russh-sftp's side, where strings may be twice as long: its `max_packet_len`
    /// (client) and `max_client_packet_len` (server) must be no less than this.
    pub fn inner_packet_bytes(self) -> u32 {
        2 * self.clamped() + INNER_SLACK
    }

    fn clamped(self) -> u32 {
        self.packet_bytes.min(1 << 30)
    }
}

impl Default for FrameLimits {
    /// 256 KiB of data and 1 KiB for what stands before them. OpenSSH takes 256 KiB in all.
    fn default() -> Self {
        Self { packet_bytes: 257 * 1024 }
    }
}

/// What is wrong with a packet. The stream ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length field says more than the limit; both in bytes.
    #[error("an SFTP packet of {length} bytes, where at most {limit} are taken")]
    TooLong {
        /// What the length field says.
        length: u32,
        /// What is taken.
        limit: u32,
    },
    /// The length field is four printable characters: some shell or login script is talking.
    #[error("text (\"{}\") where an SFTP packet should be; a login script may print it", start.escape_ascii())]
    Text {
        /// Those characters.
        start: [u8; 4],
    },
    /// A length of zero: no type.
    #[error("an SFTP packet without a type")]
    Empty,
    /// A field goes beyond the end of the packet.
    #[error("an SFTP packet of type {kind} that ends in the middle of a field")]
    Truncated {
        /// The type of the packet.
        kind: u8,
    },
    /// Version 3 has no such packet in this direction.
    #[error("an SFTP packet of type {kind}, which has no place here")]
    Unexpected {
        /// The type of the packet.
        kind: u8,
    },
    /// One of our own packets carries a name that did not come from `path::to_wire`.
    #[error("an SFTP packet of type {kind} with a name that is not bytes in Latin-1")]
    NotLatin1 {
        /// The type of the packet.
        kind: u8,
    },
}

/// What becomes of the bytes at the front of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// This many bytes in all must be there to say more. Never more than a whole packet.
    Need(usize),
    /// That many bytes go on as they are, whether they are here yet or not: one packet.
    Pass(usize),
    /// The first `consumed` bytes were replaced by what was appended to `out`; the `rest` of the packet
    /// goes on as it is, whether it is here yet or not.
    Replace {
        /// Bytes dealt with.
        consumed: usize,
        /// Bytes of the same packet that follow them.
        rest: usize,
    },
}

/// One direction of one facing.
#[derive(Debug, Clone, Copy)]
pub struct Dialect {
    traffic: Traffic,
    turn: Turn,
    limit: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Traffic {
    Requests,
    Replies,
}

impl Dialect {
    /// From our russh-sftp client to a strange server.
    pub fn requests_out(limits: FrameLimits) -> Self {
        Self { traffic: Traffic::Requests, turn: Turn::Outward, limit: limits.inner_packet_bytes() }
    }

    /// From a strange server to our russh-sftp client.
    pub fn replies_in(limits: FrameLimits) -> Self {
        Self { traffic: Traffic::Replies, turn: Turn::Inward, limit: limits.clamped() }
    }

    /// From a strange client to our russh-sftp server.
    pub fn requests_in(limits: FrameLimits) -> Self {
        Self { traffic: Traffic::Requests, turn: Turn::Inward, limit: limits.clamped() }
    }

    /// From our russh-sftp server to a strange client.
    pub fn replies_out(limits: FrameLimits) -> Self {
        Self { traffic: Traffic::Replies, turn: Turn::Outward, limit: limits.inner_packet_bytes() }
    }

    /// What becomes of the packet that begins at the first byte of `bytes`. `out` grows only with
    /// [`Step::Replace`], and by no more than the packet's share of
    /// [`inner_packet_bytes`](FrameLimits::inner_packet_bytes).
    pub fn step(&self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Step, FrameError> {
        let start = out.len();
        let stop = match self.walk(bytes, out) {
            Ok(step) => return Ok(step),
            Err(stop) => stop,
        };
        out.truncate(start);
        match stop {
            Stop::Need(count) => Ok(Step::Need(count)),
            Stop::Bad(error) => Err(error),
        }
    }

    fn walk(&self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Step, Stop> {
        let total = 4 + self.length(bytes)?;
        let kind = *bytes.get(4).ok_or(Stop::Need(5))?;
        if bytes.len() < total && !kind::streams(kind) {
            return Err(Stop::Need(total));
        }
        let mut walk = Walk::new(bytes, total, self.turn, out);
        match self.traffic {
            Traffic::Requests => packets::request(&mut walk, self.turn)?,
            Traffic::Replies => packets::reply(&mut walk, self.turn)?,
        }
        Ok(walk.finish())
    }

    fn length(&self, bytes: &[u8]) -> Result<usize, Stop> {
        let field = *bytes.first_chunk::<4>().ok_or(Stop::Need(4))?;
        let length = u32::from_be_bytes(field);
        match length {
            0 => Err(Stop::Bad(FrameError::Empty)),
            _ if length <= self.limit => Ok(length as usize),
            _ if field.iter().all(|b| matches!(b, b'\n' | b'\r' | b'\t' | b' '..=b'~')) => {
                Err(Stop::Bad(FrameError::Text { start: field }))
            }
            _ => Err(Stop::Bad(FrameError::TooLong { length, limit: self.limit })),
        }
    }
}

/// The id of the request at the front of `bytes`, as far as it is there and has one.
pub fn request_id(bytes: &[u8]) -> Option<u32> {
    let length = u32::from_be_bytes(*bytes.first_chunk()?);
    let kind = *bytes.get(4)?;
    let id = bytes.get(5..)?.first_chunk()?;
    (length >= 5 && kind != kind::INIT).then(|| u32::from_be_bytes(*id))
}

/// The answer to a request that is refused for `error`: STATUS BAD_MESSAGE, as a whole packet.
pub fn refusal(id: u32, error: &FrameError) -> Vec<u8> {
    let mut body = vec![kind::STATUS];
    payload::put_u32(&mut body, id);
    payload::put_u32(&mut body, BAD_MESSAGE);
    put_string(&mut body, error.to_string().as_bytes());
    put_string(&mut body, b"en");
    let mut packet = Vec::with_capacity(4 + body.len());
    put_string(&mut packet, &body); // a packet is framed as a string is
    packet
}

#[cfg(test)]
mod tests;
