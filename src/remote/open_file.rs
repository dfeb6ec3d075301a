//! Files that are open on the far side: for reading, and staged ones for writing and reading back.
//!
//! # Order
//! Operations on one staged file may be joined, and the file keeps them right. Where the server carries
//! out requests in the order they were sent, it is enough to *send* them in program order: a gate is
//! held from the wait for window room until the request is on its way, so that nothing overtakes a write
//! that waits for room. Elsewhere (pkg/sftp runs eight requests side by side) a read or the end waits
//! until every earlier operation was answered.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex};
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use futures_util::future::{join4, try_join_all};
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{FileAttributes, OpenFlags};
use tokio::sync::{Mutex, OnceCell, RwLock};

use super::abilities::{Abilities, Can};
use super::dialect;
use super::lane::Lane;
use super::lanes::Permit;
use super::sftp::{attrs_of, stat_of};
use super::status::{is_end, kind_of};
use super::to_the_end::to_the_end;
use crate::entry::{Kind, Meta, Stat};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::path::{escape, to_wire};
use crate::tree::{SourceFile, StagedFile};

/// An open handle. Closed by [`close`](Self::close), or in the background when dropped.
pub(super) struct Handle {
    lane: Arc<Lane>,
    /// As the library carries it: one character per byte.
    wire: String,
    /// What it was opened by, for messages.
    wire_path: Vec<u8>,
    closed: AtomicBool,
    /// Until the server has closed it.
    permit: StdMutex<Option<Permit>>,
}

impl Handle {
    pub fn new(lane: Arc<Lane>, wire: String, wire_path: Vec<u8>, permit: Permit) -> Self {
        Self::with(lane, wire, wire_path, Some(permit))
    }

    fn with(lane: Arc<Lane>, wire: String, wire_path: Vec<u8>, permit: Option<Permit>) -> Self {
        Self { lane, wire, wire_path, closed: AtomicBool::new(false), permit: StdMutex::new(permit) }
    }

    pub fn error(&self, operation: &str, error: &SftpError) -> Error {
        self.lane.error(operation, &self.wire_path, error)
    }

    pub async fn fstat(&self) -> Result<Stat> {
        let reply = self.lane.session.fstat(self.wire.as_str()).await;
        reply.map(|r| stat_of(&r.attrs)).map_err(|e| self.error("look at", &e))
    }

    /// Another handle to the same file, for reading alone. It is not among those that are counted: where such
    /// handles are opened, half of what a server takes is left to them.
    async fn open_for_reading(&self) -> Result<Self> {
        let (lane, wire_path) = (self.lane.clone(), self.wire_path.clone());
        let opening = async move {
            let attrs = FileAttributes::default();
            match lane.session.open(to_wire(&wire_path), OpenFlags::READ, attrs).await {
                Ok(reply) => Ok(Self::with(lane, reply.handle, wire_path, None)),
                Err(e) => Err(lane.error("read back", &wire_path, &e)),
            }
        };
        to_the_end(opening).await
    }

    /// The handle as the library is given it.
    pub fn wire(&self) -> &str {
        &self.wire
    }

    pub async fn fsync(&self) -> Result<(), SftpError> {
        let handle = crate::path::from_wire(&self.wire);
        let mut payload = Vec::with_capacity(handle.len() + 4);
        dialect::put_string(&mut payload, &handle);
        self.lane.command("fsync@openssh.com", payload).await
    }

    /// Closes it, and lets another file be opened in its place: what is still done with its name needs
    /// no handle.
    ///
    /// Once only: servers give a closed handle's name to the next file they open.
    pub async fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let reply = self.lane.session.close(self.wire.as_str()).await;
        drop(self.take_permit());
        reply.map(drop).map_err(|e| self.error("close", &e))
    }

    fn take_permit(&self) -> Option<Permit> {
        self.permit.lock().unwrap_or_else(|e| e.into_inner()).take()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.closed.load(Ordering::Relaxed) {
            return;
        }
        let (lane, wire, permit) = (self.lane.clone(), std::mem::take(&mut self.wire), self.take_permit());
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return; // the program ends, and the connection with it
        };
        runtime.spawn(async move {
            if let Err(e) = lane.session.close(wire).await {
                tracing::debug!("closing a file that was given up: {e}");
            }
            drop(permit);
        });
    }
}

/// Reads `len` bytes at `offset`, fewer only where the file ends: as many READs as payloads are needed,
/// all under way at once, and again where the server returned less than it was asked for.
pub(super) async fn read_fully(handle: &Handle, offset: u64, len: u64) -> Result<Bytes> {
    let payload = handle.lane.read_bytes();
    if len <= payload {
        return read_range(handle, offset, len).await;
    }
    let ranges = (0..len.div_ceil(payload)).map(|i| (i * payload, payload.min(len - i * payload)));
    let parts =
        try_join_all(ranges.map(|(at, len)| async move {
            read_range(handle, offset + at, len).await.map(|part| (part, len))
        }))
        .await?;
    let mut whole = BytesMut::with_capacity(usize::try_from(len).unwrap_or(0));
    for (part, asked) in parts {
        whole.extend_from_slice(&part);
        if (part.len() as u64) < asked {
            break; // the file ends here
        }
    }
    Ok(whole.freeze())
}

async fn read_range(handle: &Handle, offset: u64, len: u64) -> Result<Bytes> {
    let first = read_once(handle, offset, len).await?;
    if first.len() as u64 == len {
        return Ok(first.into());
    }
    let mut whole = first;
    while (whole.len() as u64) < len {
        let have = whole.len() as u64;
        let more = read_once(handle, offset + have, len - have).await?;
        if more.is_empty() {
            break;
        }
        whole.extend_from_slice(&more);
    }
    Ok(whole.into())
}

async fn read_once(handle: &Handle, offset: u64, len: u64) -> Result<Vec<u8>> {
    let _room = handle.lane.read_room(len).await?;
    request_read(handle, offset, len).await
}

/// One READ. Empty at the end of the file and only there: an empty reply without the end is refused,
/// since nobody could tell it from a file cut short.
pub(super) async fn request_read(handle: &Handle, offset: u64, len: u64) -> Result<Vec<u8>> {
    if len == 0 {
        return Ok(Vec::new());
    }
    let asked = u32::try_from(len).unwrap_or(u32::MAX);
    let lie = |what: &str| {
        Error::new(ErrorKind::Protocol, "read", escape(&handle.wire_path)).detail(what.to_owned())
    };
    match handle.lane.session.read(handle.wire.as_str(), offset, asked).await {
        Ok(reply) if reply.data.is_empty() => Err(lie("the server sent no data and no end either")),
        Ok(reply) if reply.data.len() as u64 > len => Err(lie("the server sent more than was asked for")),
        Ok(reply) => Ok(reply.data),
        Err(e) if is_end(&e) => Ok(Vec::new()),
        Err(e) => Err(handle.error("read", &e)),
    }
}

/// A far file open for reading.
pub struct FarSource(Handle);

impl FarSource {
    pub(super) fn new(handle: Handle) -> Self {
        Self(handle)
    }
}

impl SourceFile for FarSource {
    async fn stat(&self) -> Result<Stat> {
        let stat = self.0.fstat().await?;
        if stat.kind != Kind::File {
            return Err(Error::new(ErrorKind::Stale, "read", escape(&self.0.wire_path))
                .detail(format!("it is a {} now", stat.kind.describe())));
        }
        Ok(stat)
    }

    async fn read_at(&self, offset: u64, len: u64) -> Result<Bytes> {
        read_fully(&self.0, offset, len).await
    }
}

/// How operations on one staged file are kept in order; see the [module](self).
enum Sequence {
    /// The server keeps order: whoever holds the gate is sending.
    Sending(Mutex<()>),
    /// It does not: writes share, everything else waits for what came before.
    Answered(RwLock<()>),
}

/// A staged file on the far side.
pub struct FarStaged {
    handle: Handle,
    abilities: Arc<Abilities>,
    sequence: Sequence,
    /// To read back through, where the handle that writes is not for that; `None`: the server gives no other.
    reader: OnceCell<Option<Handle>>,
    /// Whether it was opened again, rather than made.
    was_there: bool,
    /// No byte of the file lies at or after this offset; unknown for a file that was there before.
    end: AtomicU64,
}

impl FarStaged {
    /// The channel that the file is open on.
    pub(super) fn lane(&self) -> &Arc<Lane> {
        &self.handle.lane
    }

    pub(super) fn new(handle: Handle, abilities: Arc<Abilities>, reopened: bool) -> Self {
        let sequence = if abilities.known().keeps_order == Can::Yes {
            Sequence::Sending(Mutex::new(()))
        } else {
            Sequence::Answered(RwLock::new(()))
        };
        let end = AtomicU64::new(if reopened { u64::MAX } else { 0 });
        Self { handle, abilities, sequence, reader: OnceCell::new(), was_there: reopened, end }
    }

    /// Sends a request of its channel after all that was begun on it. `None`: the server keeps no order.
    pub(super) async fn behind<F: Future>(&self, request: F) -> Option<F::Output> {
        let Sequence::Sending(gate) = &self.sequence else { return None };
        let turn = gate.lock().await;
        Some(begin(request, turn).await)
    }

    async fn write_payload(&self, offset: u64, data: Bytes) -> Result<()> {
        let lane = &self.handle.lane;
        let len = data.len() as u64;
        self.end.fetch_max(offset + len, Ordering::Relaxed);
        let request = || lane.session.write(self.handle.wire.as_str(), offset, Vec::from(data));
        let reply = match &self.sequence {
            Sequence::Sending(gate) => {
                let turn = gate.lock().await;
                let _room = lane.write_room(len).await?;
                begin(request(), turn).await
            }
            Sequence::Answered(order) => {
                let _share = order.read().await;
                let _room = lane.write_room(len).await?;
                request().await
            }
        };
        reply.map(drop).map_err(|e| self.handle.error("write", &e))
    }

    /// Metadata, fsync if asked, a last look, close. What the server refuses of the metadata is no error:
    /// the look tells what it keeps.
    async fn seal(&self, attrs: FileAttributes, durable: bool) -> Result<Stat> {
        let set = async {
            let reply = self.handle.lane.session.fsetstat(self.handle.wire.as_str(), attrs).await;
            reply.map(drop)
        };
        let (set, synced, stat, closed) =
            join4(set, self.sync(durable), self.handle.fstat(), self.handle.close()).await;
        synced?;
        let stat = stat?;
        closed?;
        match set {
            Err(e) if kind_of(&e).loses_connection() => {
                Err(self.handle.error("set the mode and time of", &e))
            }
            Err(e) => {
                tracing::debug!("the server refused mode and time: {e}");
                Ok(stat)
            }
            Ok(()) => Ok(stat),
        }
    }

    /// The metadata, and the size where something may lie beyond it.
    fn attrs(&self, size: u64, meta: &Meta) -> FileAttributes {
        let longer = self.end.load(Ordering::Relaxed) > size;
        FileAttributes { size: longer.then_some(size), ..attrs_of(meta) }
    }

    async fn sync(&self, durable: bool) -> Result<()> {
        if !durable || !self.abilities.known().fsync.may() {
            return Ok(());
        }
        match self.handle.fsync().await {
            Ok(()) => Ok(()),
            Err(e) if kind_of(&e) == ErrorKind::Unsupported => {
                self.abilities.learn(|k| k.fsync = Can::No);
                Ok(())
            }
            Err(e) => Err(self.handle.error("make durable", &e)),
        }
    }

    fn learn_times(&self, asked: &Meta, kept: &Stat) {
        let keeps = kept.mtime.to_sftp() == asked.mtime.to_sftp();
        self.abilities.learn(|k| k.keeps_mtime = if keeps { Can::Yes } else { Can::No });
    }
}

impl StagedFile for FarStaged {
    async fn stat(&self) -> Result<Stat> {
        self.handle.fstat().await
    }

    async fn write_at(&self, offset: u64, data: Bytes) -> Result<()> {
        let payload = usize::try_from(self.handle.lane.write_bytes()).unwrap_or(usize::MAX);
        if data.len() <= payload {
            return self.write_payload(offset, data).await;
        }
        let part = |at: usize| data.slice(at..data.len().min(at + payload));
        let starts = (0..data.len()).step_by(payload);
        let parts: Vec<_> = starts.map(|at| self.write_payload(offset + at as u64, part(at))).collect();
        drop(data); // each part is copied once, into its request
        try_join_all(parts).await.map(drop)
    }

    async fn read_at(&self, offset: u64, len: u64) -> Result<Bytes> {
        match &self.sequence {
            Sequence::Sending(gate) => self.read_back(gate, offset, len).await,
            Sequence::Answered(order) => {
                let _share = order.write().await.downgrade();
                let through = Box::pin(self.to_read_through()).await?;
                read_fully(through, offset, len).await
            }
        }
    }

    async fn close(&self) -> Result<()> {
        if let Sequence::Answered(order) = &self.sequence {
            let _alone = order.write().await;
            self.close_reader().await?;
            return self.handle.close().await;
        }
        self.handle.close().await
    }

    async fn finish(&self, size: u64, meta: &Meta, durable: bool) -> Result<Stat> {
        let stat = match &self.sequence {
            Sequence::Sending(gate) => {
                let turn = gate.lock().await;
                begin(self.seal(self.attrs(size, meta), durable), turn).await?
            }
            Sequence::Answered(order) => {
                let _alone = order.write().await;
                Box::pin(self.seal_in_turn(size, meta, durable)).await?
            }
        };
        self.learn_times(meta, &stat);
        if stat.size != size {
            return Err(Error::new(ErrorKind::Corrupt, "finish", escape(&self.handle.wire_path))
                .detail(format!("it has {} bytes on the far side instead of {size}", stat.size)));
        }
        Ok(stat)
    }
}

impl FarStaged {
    /// Reads back in program order. What the server leaves out of a reply is not asked for again: the
    /// CLOSE may be on its way already, and whoever compares sees that something is missing.
    async fn read_back(&self, gate: &Mutex<()>, offset: u64, len: u64) -> Result<Bytes> {
        let payload = self.handle.lane.read_bytes();
        let read = |at: u64, len: u64| async move {
            let turn = gate.lock().await;
            let _room = self.handle.lane.read_room(len).await?;
            begin(request_read(&self.handle, at, len), turn).await
        };
        if len <= payload {
            return read(offset, len).await.map(Bytes::from);
        }
        let starts = (0..len.div_ceil(payload)).map(|i| i * payload);
        let parts = try_join_all(starts.map(|at| read(offset + at, payload.min(len - at)))).await?;
        Ok(parts.concat().into())
    }

    /// The same as [`seal`](Self::seal), each step awaited: for servers that do not keep order.
    async fn seal_in_turn(&self, size: u64, meta: &Meta, durable: bool) -> Result<Stat> {
        let attrs = self.attrs(size, meta);
        let set = self.handle.lane.session.fsetstat(self.handle.wire.as_str(), attrs).await;
        if let Err(e) = set.map(drop)
            && kind_of(&e).loses_connection()
        {
            return Err(self.handle.error("set the mode and time of", &e));
        }
        self.sync(durable).await?;
        let stat = self.handle.fstat().await?;
        self.close_reader().await?;
        self.handle.close().await?;
        Ok(stat)
    }

    /// The handle to read back through: not the one that writes, unless the server is known to need it. `rclone
    /// serve sftp` (1.60, by pkg/sftp's request server) takes a READ on such a handle for a WRITE of as many zeros,
    /// and answers OK. Where there is no other one, what comes of it is compared; but never so with a file that was
    /// there before, of which something counts as proved already.
    async fn to_read_through(&self) -> Result<&Handle> {
        if self.abilities.known().reads_staged == Can::Yes {
            return Ok(&self.handle);
        }
        let open = async || match self.handle.open_for_reading().await {
            Err(error) if !error.kind().loses_connection() && !self.was_there => {
                tracing::debug!("no second handle to read back through: {error}: {}", error.reason());
                Ok(None)
            }
            reader => reader.map(Some),
        };
        Ok(self.reader.get_or_try_init(open).await?.as_ref().unwrap_or(&self.handle))
    }

    async fn close_reader(&self) -> Result<()> {
        match self.reader.get() {
            Some(Some(reader)) => reader.close().await,
            _ => Ok(()),
        }
    }
}

/// Polls a request once, which sends it, lets the next sender go, and awaits the reply.
async fn begin<F: Future>(request: F, turn: tokio::sync::MutexGuard<'_, ()>) -> F::Output {
    let mut request = pin!(request);
    let first = poll_fn(|cx| Poll::Ready(request.as_mut().poll(cx))).await;
    drop(turn);
    match first {
        Poll::Ready(reply) => reply,
        Poll::Pending => request.await,
    }
}
