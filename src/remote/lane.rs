//! One SFTP channel: a session of the SFTP library behind the dialect layer, with what the server
//! announced and the bounds on what may be in flight.
//!
//! The library's send queue is unbounded and its futures send when first polled, so the windows here
//! are what keeps memory small: nobody sends content without holding as many bytes of the window.

use std::collections::HashMap;

use russh_sftp::client::error::Error as SftpError;
use russh_sftp::client::{Config, RawSftpSession};
use russh_sftp::protocol::Packet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::dialect::{self, FrameLimits};
use super::status;
use super::stream::DialectStream;
use crate::error::{Error, Kind, Result};

/// Seconds that one request may take, counted from when it was handed to the library.
const REQUEST_TIMEOUT_SECS: u64 = 120;

/// Content of WRITE requests in flight on one channel, in bytes.
const WRITE_WINDOW_BYTES: usize = 4 << 20;

/// Content asked for by READ requests in flight on one channel, in bytes.
const READ_WINDOW_BYTES: usize = 4 << 20;

/// What one READ or WRITE carries where the server does not state its limits (every server takes 32 KiB:
/// draft-ietf-secsh-filexfer-02 §3).
const PLAIN_PAYLOAD_BYTES: u64 = 32 * 1024;

/// What one READ or WRITE carries at most: one piece.
const LARGEST_PAYLOAD_BYTES: u64 = crate::hash::PIECE_BYTES;

/// Open handles where the server does not state its limit. libssh's server stops at 256.
const PLAIN_HANDLES: u64 = 200;

/// Handles we hold at most on one channel.
const MOST_HANDLES: u64 = 900;

/// What the server announced in VERSION and `limits@openssh.com`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Announced {
    /// Extension names (wire bytes as text) and their data.
    pub extensions: HashMap<String, String>,
    /// Largest READ in bytes, if stated.
    pub read_bytes: Option<u64>,
    /// Largest WRITE in bytes, if stated.
    pub write_bytes: Option<u64>,
    /// Open handles, if stated.
    pub handles: Option<u64>,
}

impl Announced {
    /// Whether an extension was announced.
    pub fn has(&self, extension: &str) -> bool {
        self.extensions.contains_key(extension)
    }
}

pub(super) struct Lane {
    pub session: RawSftpSession,
    pub announced: Announced,
    pub handles: std::sync::Arc<Semaphore>,
    writes: Semaphore,
    reads: Semaphore,
}

impl Lane {
    /// Starts SFTP on a channel: INIT, VERSION, limits.
    pub async fn open<S>(stream: S) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let config = Config {
            max_packet_len: 1 << 20, // names may double behind the dialect layer, which has its own limit
            request_timeout_secs: REQUEST_TIMEOUT_SECS,
            ..Config::default()
        };
        let stream = DialectStream::for_client(stream, FrameLimits::default());
        let session = RawSftpSession::new_with_config(stream, config);
        let announced = greet(&session).await?;
        let handles = announced.handles.unwrap_or(PLAIN_HANDLES).clamp(1, MOST_HANDLES);
        Ok(Self {
            session,
            announced,
            handles: std::sync::Arc::new(Semaphore::new(usize::try_from(handles).unwrap_or(1))),
            writes: Semaphore::new(WRITE_WINDOW_BYTES),
            reads: Semaphore::new(READ_WINDOW_BYTES),
        })
    }

    /// How much one WRITE may carry.
    pub fn write_bytes(&self) -> u64 {
        payload(self.announced.write_bytes)
    }

    /// How much one READ may ask for.
    pub fn read_bytes(&self) -> u64 {
        payload(self.announced.read_bytes)
    }

    /// Room for a WRITE of `bytes`, at most one payload.
    pub async fn write_room(&self, bytes: u64) -> Result<SemaphorePermit<'_>> {
        room(&self.writes, bytes).await
    }

    /// Room for the reply to a READ of `bytes`, at most one payload.
    pub async fn read_room(&self, bytes: u64) -> Result<SemaphorePermit<'_>> {
        room(&self.reads, bytes).await
    }

    /// An extension that answers with a status.
    pub async fn command(&self, extension: &str, payload: Vec<u8>) -> Result<(), SftpError> {
        match self.session.extended(extension, payload).await? {
            Packet::Status(status) if status.status_code == russh_sftp::protocol::StatusCode::Ok => Ok(()),
            Packet::Status(status) => Err(status.into()),
            _ => Err(SftpError::UnexpectedPacket),
        }
    }

    /// An extension that answers with data.
    pub async fn query(&self, extension: &str, payload: Vec<u8>) -> Result<Vec<u8>, SftpError> {
        query(&self.session, extension, payload).await
    }
}

fn payload(stated: Option<u64>) -> u64 {
    stated.unwrap_or(PLAIN_PAYLOAD_BYTES).clamp(1, LARGEST_PAYLOAD_BYTES)
}

async fn room(window: &Semaphore, bytes: u64) -> Result<SemaphorePermit<'_>> {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    window
        .acquire_many(bytes)
        .await
        .map_err(|_| Error::new(Kind::Disconnected, "send over", "a closed channel"))
}

async fn query(session: &RawSftpSession, extension: &str, payload: Vec<u8>) -> Result<Vec<u8>, SftpError> {
    match session.extended(extension, payload).await? {
        Packet::ExtendedReply(reply) => Ok(reply.data),
        Packet::Status(status) => Err(status.into()),
        _ => Err(SftpError::UnexpectedPacket),
    }
}

async fn greet(session: &RawSftpSession) -> Result<Announced> {
    let start = |e: &SftpError| status::to_error("start SFTP on", b"the server", e);
    let version = session.init().await.map_err(|e| {
        start(&e).hint("The account may have no SFTP subsystem; `sftp` should be able to open it.")
    })?;
    if version.version != 3 {
        return Err(Error::new(Kind::Protocol, "start SFTP on", "the server")
            .detail(format!("it speaks version {} although asked for 3", version.version)));
    }
    let mut announced = Announced { extensions: version.extensions, ..Announced::default() };
    if announced.has("limits@openssh.com") {
        match query(session, "limits@openssh.com", Vec::new()).await {
            Ok(reply) => take_limits(&mut announced, &reply),
            Err(error) if status::kind_of(&error).loses_connection() => return Err(start(&error)),
            Err(error) => tracing::debug!("limits@openssh.com was announced and refused: {error}"),
        }
    }
    Ok(announced)
}

/// Four 64-bit numbers, 0 meaning "not stated": packet, read, write, handles (OpenSSH PROTOCOL §4.8).
fn take_limits(announced: &mut Announced, reply: &[u8]) {
    let mut reader = dialect::Reader::new(reply);
    let mut next = || reader.u64().ok().filter(|&n| n > 0);
    let _packet_bytes = next();
    announced.read_bytes = next();
    announced.write_bytes = next();
    announced.handles = next();
}
