//! Talking to the daemon: one JSON object per line over a Unix socket in the state folder.
//!
//! Whoever connects must be the user that the daemon runs as, or root. A connection carries any number of
//! requests, each answered by one line. Lines, connections and waiting have bounds.

pub mod client;
pub(super) mod listen;
pub mod protocol;

/// The version of the protocol. A request of another one is refused.
pub const VERSION: u32 = 1;

/// Bytes of a request, its line feed included.
const MOST_REQUEST_BYTES: u64 = 64 << 10;

/// Bytes of an answer.
const MOST_ANSWER_BYTES: u64 = 16 << 20;
