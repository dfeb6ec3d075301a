//! One SFTP channel: a session of the SFTP library behind the dialect layer, with what the server
//! announced and the bounds on what may be in flight.
//!
//! The library's send queue is unbounded and its futures send when first polled, so the windows here
//! are what keeps memory small: nobody sends content without holding as many bytes of the window.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::client::{Config, RawSftpSession};
use russh_sftp::protocol::Packet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::dialect::{self, FrameLimits};
use super::status;
use super::stream::{DialectStream, Fault};
use crate::error::{Error, Kind, Result};

/// The version of SFTP that we speak: the one that every server has (draft-ietf-secsh-filexfer-02).
pub const VERSION: u32 = 3;

/// Seconds that one request may take, counted from when it was handed to the library, where on a slow
/// line it waits for all that was handed over before. Whether the server still answers at all is watched
/// over by `pulse`.
const REQUEST_TIMEOUT_SECS: u64 = 3600;

/// The same for requests of a session that has ended.
const LAST_REQUESTS_SECS: u64 = 1;

/// Content of WRITE requests in flight on one channel, in bytes.
const WRITE_WINDOW_BYTES: usize = 4 << 20;

/// Content asked for by READ requests in flight on one channel, in bytes.
const READ_WINDOW_BYTES: usize = 4 << 20;

/// What one READ or WRITE carries where the server does not state its limits (every server takes 32 KiB:
/// draft-ietf-secsh-filexfer-02 §3).
const PLAIN_PAYLOAD_BYTES: u64 = 32 * 1024;

/// What one WRITE carries there: with all that stands before its content (281 bytes, the handle may have 256) it
/// fits into one SSH packet of 32 KiB. ProFTPD's mod_sftp (1.3.8) answers no more when requests that were cut in two
/// arrive on several channels at once.
const PLAIN_WRITE_BYTES: u64 = PLAIN_PAYLOAD_BYTES - 512;

/// What one READ or WRITE carries at most: one piece.
const LARGEST_PAYLOAD_BYTES: u64 = crate::hash::PIECE_BYTES;

/// Open handles where the server does not state its limit. libssh's server stops at 256.
const PLAIN_HANDLES: u64 = 200;

/// Handles we hold at most on one channel.
const MOST_HANDLES: u64 = 900;

/// How much is known of a server before it has said anything on a channel.
pub(super) enum Acquaintance<'a> {
    /// Nothing: one thing is asked after the other.
    None,
    /// It takes requests in order, and most of its kind have `limits@openssh.com`: asked for at once.
    InOrder,
    /// It has announced this on another channel.
    Announced(&'a Announced),
}

/// On which connection a channel lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The one that a tree was opened on.
    Here,
    /// One beside it.
    Elsewhere,
}

/// From so many open handles on, another lane would help.
const MANY_HANDLES: usize = 64;

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
    pub session: Arc<RawSftpSession>,
    pub announced: Announced,
    handles: Arc<Semaphore>,
    writes: Semaphore,
    reads: Semaphore,
    /// Told when this lane could not take at once what it was given.
    busy: Arc<Notify>,
    /// Handles that may be open at all.
    most_handles: usize,
    /// The shortest time that a request took, in microseconds.
    round_trip_micros: AtomicU64,
    place: Place,
    fault: Fault,
}

impl Lane {
    /// Starts SFTP on a channel: INIT, VERSION, limits. `busy` is told when another lane would help.
    pub async fn open<S>(stream: S, busy: Arc<Notify>, known: Acquaintance<'_>, place: Place) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let config = Config {
            max_packet_len: 1 << 20, // names may double behind the dialect layer, which has its own limit
            request_timeout_secs: REQUEST_TIMEOUT_SECS,
            ..Config::default()
        };
        let stream = DialectStream::for_client(stream, FrameLimits::default());
        let fault = stream.fault();
        let end = stream.end();
        let session = Arc::new(RawSftpSession::new_with_config(stream, config));
        let of_lane = Arc::downgrade(&session);
        // A request that the library takes in while its session comes to an end is never answered: from
        // here on it need not be waited for.
        end.tell(move || {
            if let Some(session) = of_lane.upgrade() {
                session.set_timeout(LAST_REQUESTS_SECS);
            }
        });
        let announced = greet(&session, &fault, known).await?;
        let most_handles = usize::try_from(most_handles(&announced)).unwrap_or(1);
        Ok(Self {
            session,
            announced,
            handles: Arc::new(Semaphore::new(most_handles)),
            writes: Semaphore::new(WRITE_WINDOW_BYTES),
            reads: Semaphore::new(READ_WINDOW_BYTES),
            busy,
            most_handles,
            round_trip_micros: AtomicU64::new(u64::MAX),
            place,
            fault,
        })
    }

    /// Where it lives.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Measures how long a request takes that the server answers at once.
    pub async fn timed<R>(&self, request: impl Future<Output = R>) -> R {
        let asked = Instant::now();
        let reply = request.await;
        let micros = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.round_trip_micros.fetch_min(micros, Ordering::Relaxed);
        reply
    }

    /// The shortest time that a [`timed`](Self::timed) request took; zero if there was none.
    pub fn round_trip(&self) -> Duration {
        match self.round_trip_micros.load(Ordering::Relaxed) {
            u64::MAX => Duration::ZERO,
            micros => Duration::from_micros(micros),
        }
    }

    /// The error for what went wrong with a request on this channel: about `operation` on `subject`
    /// (wire bytes).
    pub fn error(&self, operation: &str, subject: &[u8], error: &SftpError) -> Error {
        status::to_error(operation, subject, error, self.fault.blame())
    }

    /// How much one WRITE may carry.
    pub fn write_bytes(&self) -> u64 {
        payload(self.announced.write_bytes, PLAIN_WRITE_BYTES)
    }

    /// How much one READ may ask for.
    pub fn read_bytes(&self) -> u64 {
        payload(self.announced.read_bytes, PLAIN_PAYLOAD_BYTES)
    }

    /// Room for a WRITE of `bytes`, at most one payload.
    pub async fn write_room(&self, bytes: u64) -> Result<SemaphorePermit<'_>> {
        self.room(&self.writes, bytes).await
    }

    /// Room for the reply to a READ of `bytes`, at most one payload.
    pub async fn read_room(&self, bytes: u64) -> Result<SemaphorePermit<'_>> {
        self.room(&self.reads, bytes).await
    }

    async fn room<'a>(&'a self, window: &'a Semaphore, bytes: u64) -> Result<SemaphorePermit<'a>> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if let Ok(room) = window.try_acquire_many(bytes) {
            return Ok(room);
        }
        self.busy.notify_one();
        window
            .acquire_many(bytes)
            .await
            .map_err(|_| Error::new(Kind::Disconnected, "send over", "a closed channel"))
    }

    /// Handles that may be open at all.
    pub fn most_handles(&self) -> usize {
        self.most_handles
    }

    /// Handles that may still be opened.
    pub fn free_handles(&self) -> usize {
        self.handles.available_permits()
    }

    /// Leave to open one more file, if that may be at once.
    pub fn free_handle(&self) -> Option<OwnedSemaphorePermit> {
        self.handles.clone().try_acquire_owned().ok()
    }

    /// Tells that another lane would help.
    pub fn ask_for_another(&self) {
        self.busy.notify_one();
    }

    /// Leave to open one more file; `None` once the channel is closed.
    pub async fn handle(&self) -> Option<OwnedSemaphorePermit> {
        if self.most_handles - self.free_handles().min(self.most_handles) >= MANY_HANDLES {
            self.ask_for_another();
        }
        self.handles.clone().acquire_owned().await.ok()
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

/// Handles that are counted at most. Where no order is kept (see `order_of` in abilities.rs), each staged file may be
/// read back through another one, which is not.
fn most_handles(announced: &Announced) -> u64 {
    let most = announced.handles.unwrap_or(PLAIN_HANDLES);
    let counted = if announced.has("fstatvfs@openssh.com") { most } else { most / 2 };
    counted.clamp(1, MOST_HANDLES)
}

fn payload(stated: Option<u64>, otherwise: u64) -> u64 {
    stated.unwrap_or(otherwise).clamp(1, LARGEST_PAYLOAD_BYTES)
}

async fn query(session: &RawSftpSession, extension: &str, payload: Vec<u8>) -> Result<Vec<u8>, SftpError> {
    match session.extended(extension, payload).await? {
        Packet::ExtendedReply(reply) => Ok(reply.data),
        Packet::Status(status) => Err(status.into()),
        _ => Err(SftpError::UnexpectedPacket),
    }
}

async fn greet(session: &RawSftpSession, fault: &Fault, known: Acquaintance<'_>) -> Result<Announced> {
    let start = |e: &SftpError| status::to_error("start SFTP on", b"the server", e, fault.blame());
    let ask = || query(session, "limits@openssh.com", Vec::new());
    let in_order = matches!(known, Acquaintance::InOrder);
    let (init, early) =
        (pin!(session.init()), pin!(async { if in_order { Some(ask().await) } else { None } }));
    // Whoever does not announce it may never answer: then that is waited for no longer than for VERSION.
    let (version, limits) = match select(init, early).await {
        Either::Left((version, limits)) => (version, Either::Left(limits)),
        Either::Right((limits, init)) => (init.await, Either::Right(limits)),
    };
    let version = version.map_err(|e| match start(&e) {
        error if error.kind() == Kind::Protocol => error
            .hint("Something else than an SFTP server answers; `sftp` should be able to open the account."),
        error => error.hint("The account may have no SFTP subsystem; `sftp` should be able to open it."),
    })?;
    if version.version != VERSION {
        return Err(Error::new(Kind::Protocol, "start SFTP on", "the server")
            .detail(format!("it speaks version {} although asked for {VERSION}", version.version)));
    }
    if let Acquaintance::Announced(announced) = known {
        return Ok(announced.clone());
    }
    let mut announced = Announced { extensions: version.extensions, ..Announced::default() };
    if announced.has("limits@openssh.com") {
        let early = match limits {
            Either::Left(limits) => limits.await,
            Either::Right(limits) => limits,
        };
        let limits = match early {
            Some(reply) => reply,
            None => ask().await,
        };
        match limits {
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::super::abilities::{Can, Known};
    use super::super::sftp::SftpTree;
    use super::*;
    use crate::entry::{Kind as EntryKind, Meta, Stat, Time};
    use crate::path::{RelPath, RemoteRoot};
    use crate::tree::{SourceFile, StagedFile, Tree};

    const HELLO: &[u8] = &[0, 0, 0, 5, 2, 0, 0, 0, 3];

    #[test]
    fn no_plain_write_is_cut_in_two_by_its_channel() {
        let (before_content, packet) = (4 + 1 + 4 + (4 + 256) + 8 + 4, 32 * 1024);
        assert!(payload(None, PLAIN_WRITE_BYTES) + before_content <= packet);
        assert_eq!(payload(Some(40_000), PLAIN_WRITE_BYTES), 40_000);
    }

    /// A server that answers requests with these packets in turn, whatever is asked, and then hangs up.
    /// An id of 0xee… in a packet becomes that of the request.
    fn server(replies: Vec<Vec<u8>>) -> DuplexStream {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move {
            for mut reply in replies {
                let Ok(length) = far.read_u32().await else { return };
                let mut request = vec![0; length as usize];
                far.read_exact(&mut request).await.unwrap();
                if let Some(at) = reply.windows(4).position(|id| id == [0xee; 4]) {
                    reply[at..at + 4].copy_from_slice(&request[1..5]);
                }
                far.write_all(&reply).await.unwrap();
            }
        });
        near
    }

    /// HANDLE "h".
    fn handle() -> Vec<u8> {
        vec![0, 0, 0, 10, 102, 0xee, 0xee, 0xee, 0xee, 0, 0, 0, 1, b'h']
    }

    /// ATTRS of a regular file.
    fn attrs() -> Vec<u8> {
        vec![0, 0, 0, 13, 105, 0xee, 0xee, 0xee, 0xee, 0, 0, 0, 4, 0, 0, 0x81, 0xa4]
    }

    async fn tree(replies: &[Vec<u8>]) -> Result<SftpTree> {
        let replies = [&[HELLO.to_vec()], replies].concat();
        let known = Known { statvfs: Can::Yes, ..Known::default() };
        SftpTree::open(server(replies), RemoteRoot::new(b"r").unwrap(), "SSH-2.0-strange", known).await
    }

    fn path() -> RelPath {
        RelPath::parse(&b"a"[..]).unwrap()
    }

    #[tokio::test]
    async fn what_the_server_broke_is_told() {
        let check = async |bad: &[u8], expected: &str| {
            let error = tree(&[bad.to_vec()]).await.unwrap().stat(&path()).await.unwrap_err();
            assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Protocol, BROKEN));
            let reason = format!("the server broke the SFTP protocol: {expected}");
            assert_eq!(error.reason(), reason);
        };
        const BROKEN: &str = "cannot look at r/a: the server broke the SFTP protocol";
        check(&[0, 0, 0, 0], "an SFTP packet without a type").await;
        check(&[0, 0, 0, 1, 99], "an SFTP packet of type 99, which has no place here").await;
        check(&[0, 0, 0, 2, 105, 0], "an SFTP packet of type 105 that ends in the middle of a field").await;
        check(&[0x7f; 4], "an SFTP packet of 2139062143 bytes, where at most 263168 are taken").await;
        let text = "text (\"moin\") where an SFTP packet should be; a login script may print it";
        check(b"moin, moin", text).await;
    }

    #[tokio::test]
    async fn a_connection_that_is_cut_is_no_broken_protocol() {
        let check = async |cut: &[u8]| {
            let error = tree(&[cut.to_vec()]).await.unwrap().stat(&path()).await.unwrap_err();
            assert_eq!(
                (error.kind(), error.reason().as_str()),
                (Kind::Disconnected, "the connection was lost")
            );
        };
        check(b"").await;
        check(&[0, 0, 0, 13, 105, 0]).await;
    }

    #[tokio::test]
    async fn a_start_that_is_text_is_told() {
        let server = server(vec![b"Last login: never\n".to_vec()]);
        let error = Lane::open(server, Arc::default(), Acquaintance::None, Place::Here).await.err().unwrap();
        assert_eq!(error.kind(), Kind::Protocol);
        assert!(error.hint_text().unwrap().starts_with("Something else than an SFTP server answers"));
        assert!(error.reason().contains("text (\"Last\") where"), "{}", error.reason());
    }

    #[tokio::test]
    async fn every_operation_tells_what_the_server_broke() {
        check(&[], async |tree| tree.make_root().await).await;
        check(&[], async |tree| tree.list(&path()).await.map(drop)).await;
        check(&[handle()], async |tree| tree.list(&path()).await.map(drop)).await;
        check(&[], async |tree| tree.stat(&RelPath::root()).await.map(drop)).await;
        check(&[], async |tree| tree.read_link(&path()).await.map(drop)).await;
        check(&[], async |tree| tree.read_whole(&path(), 9).await.map(drop)).await;
        check(&[attrs(), handle()], async |tree| tree.read_whole(&path(), 9).await.map(drop)).await;
        check(&[attrs(), handle()], async |tree| tree.open(&path()).await?.read_at(0, 9).await.map(drop))
            .await;
        check(&[attrs()], async |tree| tree.reopen(&path()).await.map(drop)).await;
        check(&[], async |tree| tree.stage(&path()).await.map(drop)).await;
        check(&[handle()], async |tree| tree.stage(&path()).await?.write_at(0, "x".into()).await).await;
        check(&[handle()], async |tree| tree.stage(&path()).await?.finish(0, &META, true).await.map(drop))
            .await;
        check(&[], async |tree| tree.place(&path(), &path(), &stat()).await.map(drop)).await;
        check(&[], async |tree| tree.make_dir(&path(), 0o700).await).await;
        check(&[], async |tree| tree.make_link(&path(), b"x").await).await;
        check(&[attrs()], async |tree| tree.set_meta(&path(), EntryKind::File, &META).await.map(drop)).await;
        check(&[], async |tree| tree.remove_file(&path()).await).await;
        check(&[], async |tree| tree.remove_dir(&path()).await).await;
        check(&[], async |tree| tree.move_aside(&path(), &path()).await).await;
        check(&[handle()], async |tree| tree.sync_dir(&path()).await.map(drop)).await;
        check(&[], async |tree| tree.free_bytes().await.map(drop)).await;
        check(&[], async |tree| tree.real_root().await.map(drop)).await;
    }

    const META: Meta = Meta { mode: 0o644, mtime: Time { secs: 1, nanos: 0 } };

    fn stat() -> Stat {
        let (kind, mtime) = (EntryKind::File, META.mtime);
        Stat { kind, size: 0, mtime, mode: 0o644, ctime: None, inode: None }
    }

    /// Has `operation` meet a bad packet after these good ones, and then the channel that it ended.
    async fn check(good: &[Vec<u8>], operation: impl AsyncFn(&SftpTree) -> Result<()>) {
        let tree = tree(&[good, &[vec![0, 0, 0, 1, 99]]].concat()).await.unwrap();
        for _ in 0..2 {
            let error = operation(&tree).await.unwrap_err();
            let reason = error.reason();
            assert!(error.kind() == Kind::Protocol && reason.contains("of type 99"), "{error}: {reason}");
        }
    }
}
