//! [`Tree`] over SFTP requests, pipelined.
//!
//! Several channels ("lanes") of one connection serve one tree; a file belongs to one lane while it is
//! open, names are served by any. Nothing here retries: an operation whose outcome is unknown ends the
//! tree, and whoever connects again looks before acting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::{join, join_all, join4};
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{FileAttributes, OpenFlags};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Mutex, Notify, Semaphore};

use super::abilities::{Abilities, Can, Known, takes_order};
use super::dialect;
use super::lane::{Acquaintance, Announced, Lane, Place};
use super::lanes::{Lanes, Seat};
use super::open_file::{FarSource, FarStaged, Handle, read_fully, request_read};
use super::status::{is_end, kind_of};
use super::to_the_end::to_the_end;
use crate::entry::{Kind, Listing, Meta, Stat, Time};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::path::{RelPath, RemoteRoot, escape, from_wire, to_wire};
use crate::tree::space::explain_space;
use crate::tree::{Beside, Blind, Traits, Tree, Whole};

/// Names that one folder may have before its listing is refused instead of believed.
const MOST_NAMES: usize = 4_000_000;

/// Bytes that one listing may take here.
const MOST_LISTING_BYTES: usize = 512 << 20;

/// Bytes that each listing may take while others do too: with 64 under way, 64 MiB. Of those that need
/// more, one at a time goes on.
const LISTING_SHARE_BYTES: usize = 1 << 20;

/// What a name takes besides its bytes.
const NAME_OVERHEAD_BYTES: usize = size_of::<(Vec<u8>, Stat)>() + 16;

/// How often something was asked for until it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Once,
    Twice,
}

/// A folder on an SFTP server.
pub struct SftpTree {
    pub(super) root: RemoteRoot,
    pub(super) lanes: Arc<Lanes>,
    pub(super) busy: Arc<Notify>,
    /// For the one listing that is larger than its share.
    pub(super) large_listing: Semaphore,
    pub(super) abilities: Arc<Abilities>,
    /// Whoever tries out what the server does.
    pub(super) trials: Mutex<()>,
    /// RENAME has refused where nothing stood in the way.
    pub(super) makes_no_second_names: AtomicBool,
}

impl SftpTree {
    /// Starts SFTP on a first channel. `ident` is the server's SSH identification, `remembered` what an
    /// earlier connection learned of it.
    pub async fn open<S>(stream: S, root: RemoteRoot, ident: &str, remembered: Known) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let busy = Arc::new(Notify::new());
        let known = if takes_order(ident) { Acquaintance::InOrder } else { Acquaintance::None };
        let lane = Lane::open(stream, busy.clone(), known, Place::Here).await?;
        let abilities = Abilities::new(remembered, &lane.announced, ident);
        Ok(Self {
            root,
            lanes: Arc::new(Lanes::new(Arc::new(lane))),
            busy,
            large_listing: Semaphore::new(1),
            abilities: Arc::new(abilities),
            trials: Mutex::default(),
            makes_no_second_names: false.into(),
        })
    }

    /// Told whenever the lanes could not take at once what they were given: another one would help.
    pub fn busy(&self) -> Arc<Notify> {
        self.busy.clone()
    }

    /// What is known of the server by now.
    pub fn known(&self) -> Known {
        self.abilities.known()
    }

    /// What the server announced.
    pub fn announced(&self) -> Announced {
        self.first_lane().announced.clone()
    }

    /// The root as it was given.
    pub fn root(&self) -> &RemoteRoot {
        &self.root
    }

    /// The absolute path of the root as the server resolves it (REALPATH).
    pub async fn real_root(&self) -> Result<Vec<u8>> {
        let root = self.root.join(&RelPath::root());
        let lane = self.first_lane();
        let reply = lane.session.realpath(to_wire(&root)).await;
        let names = reply.map_err(|e| lane.error("resolve the folder", &root, &e))?;
        let first = names.files.first().map(|f| from_wire(&f.filename));
        first.ok_or_else(|| {
            Error::new(ErrorKind::Protocol, "resolve the folder", escape(&root))
                .detail("the server answered without a name")
        })
    }

    /// Opens a staged file once more, on a channel on which none of `others` has it open. `None`: there
    /// is no such channel.
    pub(super) async fn reopen_elsewhere(
        &self,
        path: &RelPath,
        others: &[&FarStaged],
    ) -> Result<Option<FarStaged>> {
        let lanes: Vec<&Arc<Lane>> = others.iter().map(|other| other.lane()).collect();
        let Some(lane) = self.lanes.beside(&lanes) else { return Ok(None) };
        let Some(seat) = self.lanes.seat_on(lane) else { return Ok(None) };
        let flags = OpenFlags::READ | OpenFlags::WRITE;
        let handle = self.open_regular(seat, path, flags, "open the temporary file").await?;
        Ok(Some(FarStaged::new(handle, self.abilities.clone(), true)))
    }

    /// Servers that are known to keep order replace nothing by RENAME.
    pub(super) fn replaces_nothing(&self) -> bool {
        self.known().keeps_order == Can::Yes && self.makes_second_names()
    }

    /// From now on RENAME is not used for new files.
    pub(super) fn forgo_second_names(&self) {
        self.makes_no_second_names.store(true, Ordering::Relaxed);
    }

    pub(super) fn makes_second_names(&self) -> bool {
        !self.makes_no_second_names.load(Ordering::Relaxed)
    }

    pub(super) fn first_lane(&self) -> Arc<Lane> {
        self.lanes.first()
    }

    pub(super) fn lane(&self) -> Arc<Lane> {
        self.lanes.next()
    }

    /// Leave to open a file.
    async fn seat(&self) -> Result<Seat> {
        self.lanes.seat().await.ok_or_else(|| closed(b"a file"))
    }

    pub(super) fn at(&self, path: &RelPath) -> Vec<u8> {
        self.root.join(path)
    }

    pub(super) async fn lstat_at(&self, lane: &Lane, wire_path: &[u8]) -> Result<Option<Stat>> {
        match lane.timed(lane.session.lstat(to_wire(wire_path))).await {
            Ok(reply) => Ok(Some(stat_of(&reply.attrs))),
            Err(e) if kind_of(&e) == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(lane.error("look at", wire_path, &e)),
        }
    }

    /// FAILURE tells nothing: look whether the name is taken or the disk is full.
    pub(super) async fn explain(&self, lane: &Lane, wire_path: &[u8], error: Error) -> Error {
        if error.kind() != ErrorKind::Failed {
            return error;
        }
        if let Ok(Some(_)) = self.lstat_at(lane, wire_path).await {
            return Error::new(ErrorKind::Exists, error.operation(), escape(wire_path))
                .detail("something stands there already");
        }
        explain_space(self, error).await
    }

    async fn open_handle(
        &self,
        Seat { lane, permit }: Seat,
        path: &RelPath,
        flags: OpenFlags,
        operation: &'static str,
    ) -> Result<Handle> {
        let wire_path = self.at(path);
        let attrs = FileAttributes {
            permissions: flags.contains(OpenFlags::CREATE).then_some(0o600),
            ..FileAttributes::default()
        };
        let opening = async move {
            match lane.session.open(to_wire(&wire_path), flags, attrs).await {
                Ok(reply) => Ok(Handle::new(lane, reply.handle, wire_path, permit)),
                Err(e) => Err(lane.error(operation, &wire_path, &e)),
            }
        };
        to_the_end(opening).await
    }

    /// Opens what is a regular file and no link: SFTP's OPEN follows links, so LSTAT goes with it.
    async fn open_regular(
        &self,
        seat: Seat,
        path: &RelPath,
        flags: OpenFlags,
        operation: &'static str,
    ) -> Result<Handle> {
        let (lane, wire_path) = (seat.lane.clone(), self.at(path));
        let (seen, handle) =
            join(self.lstat_at(&lane, &wire_path), self.open_handle(seat, path, flags, operation)).await;
        match seen?.map(|stat| stat.kind) {
            Some(Kind::File) | None => handle,
            Some(kind) => Err(Error::new(ErrorKind::Stale, operation, escape(&wire_path))
                .detail(format!("it is a {} now", kind.describe()))),
        }
    }

    async fn read_names(&self, seat: Seat, wire_path: &[u8]) -> Result<Vec<(Vec<u8>, Stat)>> {
        let lane = seat.lane.clone();
        let handle = open_folder(seat, wire_path.to_vec()).await?;
        collect_names(&lane, handle.wire(), wire_path, &self.large_listing).await // dropping closes, without making us wait
    }

    /// Sets metadata of what was just seen to be no link: by `lsetstat`, which does not follow one that
    /// took its place since, else by SETSTAT.
    async fn set_attrs(&self, lane: &Lane, wire_path: &[u8], meta: &Meta) -> Result<Asked> {
        let attrs = attrs_of(meta);
        if self.known().lsetstat == Can::Yes {
            let mut payload = Vec::with_capacity(wire_path.len() + 20);
            dialect::put_string(&mut payload, wire_path);
            put_attrs(&mut payload, &attrs);
            match lane.command("lsetstat@openssh.com", payload).await {
                Ok(()) => return Ok(Asked::Once),
                Err(e) if kind_of(&e).loses_connection() => {
                    return Err(lane.error("set the mode and time of", wire_path, &e));
                }
                Err(_) => {} // some kernels cannot without following; SETSTAT tells the real reason
            }
        }
        let asked = if self.known().lsetstat == Can::Yes { Asked::Twice } else { Asked::Once };
        let reply = lane.session.setstat(to_wire(wire_path), attrs).await;
        reply.map(|_| asked).map_err(|e| lane.error("set the mode and time of", wire_path, &e))
    }

    async fn sync_handle(&self, handle: &Handle) -> Result<bool> {
        match handle.fsync().await {
            Ok(()) => {
                self.abilities.learn(|k| k.fsync_dir = Can::Yes);
                Ok(true)
            }
            Err(e) if kind_of(&e).loses_connection() => Err(handle.error("make durable", &e)),
            Err(e) if cannot_sync(&e) => {
                self.abilities.learn(|k| k.fsync_dir = Can::No);
                Ok(false)
            }
            Err(e) => {
                tracing::debug!("this folder is not made durable: {e}");
                Ok(false)
            }
        }
    }
}

impl Tree for SftpTree {
    type Source = FarSource;
    type Staged = FarStaged;

    async fn make_root(&self) -> Result<()> {
        let lane = self.first_lane();
        let prefixes = self.root.prefixes();
        let made = prefixes.iter().map(async |prefix| {
            let reply = lane.session.mkdir(to_wire(prefix), FileAttributes::empty()).await;
            reply.map(drop).map_err(|e| lane.error("make the folder", prefix, &e))
        });
        let root = self.at(&RelPath::root());
        let look = lane.session.stat(to_wire(&root));
        let mut last = Ok(());
        let there = if self.known().keeps_order == Can::Yes {
            let (mut made, there) = join(join_all(made), look).await;
            last = made.pop().unwrap_or(last);
            there
        } else {
            for one in made {
                last = one.await;
            }
            look.await
        };
        match there {
            Ok(reply) if stat_of(&reply.attrs).kind == Kind::Dir => Ok(()),
            Ok(_) => Err(Error::new(ErrorKind::Exists, "use", escape(&root)).detail("it is not a folder")),
            Err(e) => last.and(Err(lane.error("look at", &root, &e))),
        }
    }

    async fn list(&self, dir: &RelPath) -> Result<Listing> {
        let names = self.read_names(self.seat().await?, &self.at(dir)).await?;
        Ok(Listing::from_raw(names))
    }

    async fn stat(&self, path: &RelPath) -> Result<Option<Stat>> {
        let (lane, wire_path) = (self.lane(), self.at(path));
        if !path.is_root() {
            if self.known().keeps_names == Can::No {
                self.refuse_bytes(path, path.as_bytes()).await?; // it would tell of another name
            }
            return self.lstat_at(&lane, &wire_path).await;
        }
        match lane.timed(lane.session.stat(to_wire(&wire_path))).await {
            Ok(reply) => Ok(Some(stat_of(&reply.attrs))),
            Err(e) if kind_of(&e) == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(lane.error("look at", &wire_path, &e)),
        }
    }

    async fn stat_behind(&self, staged: &FarStaged, path: &RelPath) -> Option<Result<Option<Stat>>> {
        let wire_path = self.at(path);
        staged.behind(self.lstat_at(staged.lane(), &wire_path)).await
    }

    async fn read_link(&self, path: &RelPath) -> Result<Vec<u8>> {
        let wire_path = self.at(path);
        let lane = self.lane();
        let Err(refusal) = self.refuse_links("read the link", &wire_path) else {
            return self.link_target(&lane, &wire_path).await;
        };
        match self.lstat_at(&lane, &wire_path).await? {
            Some(_) => Err(refusal),
            None => Err(Error::new(ErrorKind::NotFound, "read the link", escape(&wire_path))
                .detail("there is nothing of this name")),
        }
    }

    async fn read_whole(&self, path: &RelPath, limit: u64) -> Result<Whole> {
        let seat = self.seat().await?;
        let lane = seat.lane.clone();
        let handle = self.open_regular(seat, path, OpenFlags::READ, "open").await?;
        if self.known().keeps_order != Can::Yes || limit > lane.read_bytes() {
            let before = handle.fstat().await?;
            let data = read_fully(&handle, 0, limit).await?;
            return Ok(Whole { before, data, after: handle.fstat().await? }); // dropping closes
        }
        let _room = lane.read_room(limit).await?; // before the first is sent: nothing may come between
        let (before, data, after, closed) =
            join4(handle.fstat(), request_read(&handle, 0, limit), handle.fstat(), handle.close()).await;
        let whole = Whole { before: before?, data: data?.into(), after: after? };
        closed?;
        Ok(whole)
    }

    async fn open(&self, path: &RelPath) -> Result<FarSource> {
        let handle = self.open_regular(self.seat().await?, path, OpenFlags::READ, "open").await?;
        Ok(FarSource::new(handle))
    }

    async fn stage(&self, path: &RelPath) -> Result<FarStaged> {
        let flags = OpenFlags::READ | OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
        let seat = self.seat().await?;
        let lane = seat.lane.clone();
        match self.open_handle(seat, path, flags, "make the temporary file").await {
            Ok(handle) => Ok(FarStaged::new(handle, self.abilities.clone(), false)),
            Err(error) => Err(self.explain(&lane, &self.at(path), error).await),
        }
    }

    async fn reopen(&self, path: &RelPath) -> Result<FarStaged> {
        let flags = OpenFlags::READ | OpenFlags::WRITE;
        let handle = self.open_regular(self.seat().await?, path, flags, "open the temporary file").await?;
        Ok(FarStaged::new(handle, self.abilities.clone(), true))
    }

    async fn reopen_beside(&self, path: &RelPath, others: &[&FarStaged]) -> Result<Beside<FarStaged>> {
        match self.reopen_elsewhere(path, others).await? {
            Some(staged) => {
                let is_apart = staged.lane().place() == Place::Elsewhere;
                let is_proved = !is_apart && self.known().two_handles == Can::Yes;
                Ok(Beside { staged, is_proved, is_apart })
            }
            None => Err(Error::new(ErrorKind::Unsupported, "open once more", escape(&self.at(path)))
                .detail("there is no other channel")),
        }
    }

    fn note_beside(&self, works: bool) {
        self.abilities.learn(|k| k.two_handles = if works { Can::Yes } else { Can::No });
    }

    async fn place(&self, staged: &RelPath, target: &RelPath, finished: &Stat) -> Result<Stat> {
        self.refuse_bytes(target, target.as_bytes()).await?;
        self.refuse_to_follow(target, staged).await?;
        self.rename_onto_any(staged, target).await.map(|()| *finished)
    }

    async fn place_onto_nothing(
        &self,
        staged: &RelPath,
        target: &RelPath,
        finished: &Stat,
        looked: bool,
    ) -> Result<Stat> {
        self.refuse_bytes(target, target.as_bytes()).await?;
        let (from, to) = (self.at(staged), self.at(target));
        let renamed = if looked {
            self.rename_over_nothing(&from, &to).await
        } else {
            self.rename_new(&from, &to).await
        };
        renamed.map(|()| *finished)
    }

    async fn make_dir(&self, path: &RelPath, mode: u32) -> Result<()> {
        self.refuse_bytes(path, path.as_bytes()).await?;
        let (lane, wire_path) = (self.first_lane(), self.at(path));
        let attrs = FileAttributes { permissions: Some(mode & 0o777 | 0o700), ..FileAttributes::default() };
        match lane.session.mkdir(to_wire(&wire_path), attrs).await {
            Ok(_) => Ok(()),
            Err(e) => {
                let error = lane.error("make the folder", &wire_path, &e);
                Err(self.explain(&lane, &wire_path, error).await)
            }
        }
    }

    async fn make_link(&self, path: &RelPath, target: &[u8]) -> Result<()> {
        self.refuse_bytes(path, path.as_bytes()).await?;
        self.refuse_bytes(path, target).await?;
        let order = self.link_order(path).await?;
        let wire_path = self.at(path);
        self.refuse_links("make the link", &wire_path)?;
        match self.symlink(order, &wire_path, target).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.explain(&self.lane(), &wire_path, error).await),
        }
    }

    async fn set_meta(&self, path: &RelPath, kind: Kind, meta: &Meta) -> Result<Stat> {
        let (lane, wire_path) = (self.lane(), self.at(path));
        let before = self.lstat_at(&lane, &wire_path).await?;
        if before.map(|s| s.kind) != Some(kind) {
            return Err(Error::new(ErrorKind::Stale, "set the mode and time of", escape(&wire_path))
                .detail(format!("there is no {} any more", kind.describe())));
        }
        let now = if self.known().keeps_order == Can::Yes {
            let (set, now) =
                join(self.set_attrs(&lane, &wire_path, meta), self.lstat_at(&lane, &wire_path)).await;
            if set? == Asked::Once { now? } else { self.lstat_at(&lane, &wire_path).await? }
        } else {
            self.set_attrs(&lane, &wire_path, meta).await?;
            self.lstat_at(&lane, &wire_path).await?
        };
        now.ok_or_else(|| {
            Error::new(ErrorKind::Stale, "set the mode and time of", escape(&wire_path))
                .detail("it vanished meanwhile")
        })
    }

    async fn remove_file(&self, path: &RelPath) -> Result<()> {
        let (lane, wire_path) = (self.lane(), self.at(path));
        let reply = lane.session.remove(to_wire(&wire_path)).await;
        reply.map(drop).map_err(|e| lane.error("remove", &wire_path, &e))
    }

    async fn remove_dir(&self, path: &RelPath) -> Result<()> {
        let (seat, wire_path) = (self.seat().await?, self.at(path));
        let lane = seat.lane.clone();
        let names = self.read_names(seat, &wire_path).await?;
        // Some servers remove full folders (CrushFTP, seen by rclone): never leave it to them.
        if names.iter().any(|(name, _)| !matches!(name.as_slice(), b"." | b"..")) {
            return Err(Error::new(ErrorKind::NotEmpty, "remove the folder", escape(&wire_path))
                .detail("it is not empty"));
        }
        let reply = lane.session.rmdir(to_wire(&wire_path)).await;
        reply.map(drop).map_err(|e| lane.error("remove the folder", &wire_path, &e))
    }

    async fn move_aside(&self, from: &RelPath, to: &RelPath) -> Result<()> {
        self.refuse_to_follow(from, to).await?;
        self.rename_onto_nothing(&self.at(from), &self.at(to)).await
    }

    async fn move_onto_nothing(&self, from: &RelPath, to: &RelPath) -> Result<()> {
        // Of those that are known to keep order it is also known that RENAME replaces nothing.
        match self.known().keeps_order {
            Can::Yes => self.rename_unless_taken(&self.at(from), &self.at(to)).await,
            _ => self.rename_onto_nothing(&self.at(from), &self.at(to)).await,
        }
    }

    async fn sync_dir(&self, path: &RelPath) -> Result<bool> {
        let known = self.known();
        if !known.fsync.may() || !known.fsync_dir.may() {
            return Ok(false);
        }
        let opened = self.open_handle(self.seat().await?, path, OpenFlags::READ, "open the folder").await;
        let handle = match opened {
            Ok(handle) => handle,
            Err(error) if error.kind().loses_connection() || error.kind() == ErrorKind::NotFound => {
                return Err(error);
            }
            Err(error) => {
                if error.kind() == ErrorKind::Unsupported {
                    self.abilities.learn(|k| k.fsync_dir = Can::No);
                }
                tracing::debug!("this folder is not made durable: {error}: {}", error.reason());
                return Ok(false); // it tells of this folder only: no right to read it, too many open files
            }
        };
        if known.keeps_order != Can::Yes {
            let synced = self.sync_handle(&handle).await?;
            return handle.close().await.map(|()| synced);
        }
        let (synced, closed) = join(self.sync_handle(&handle), handle.close()).await;
        closed.and(synced)
    }

    async fn free_bytes(&self) -> Result<Option<u64>> {
        if self.known().statvfs != Can::Yes {
            return Ok(None);
        }
        let root = self.at(&RelPath::root());
        let mut payload = Vec::with_capacity(root.len() + 4);
        dialect::put_string(&mut payload, &root);
        let lane = self.lane();
        match lane.query("statvfs@openssh.com", payload).await {
            Ok(reply) => Ok(free_of(&reply)),
            Err(e) if kind_of(&e).loses_connection() => Err(lane.error("ask for free space of", &root, &e)),
            Err(_) => Ok(None),
        }
    }

    fn traits(&self) -> Traits {
        let known = self.known();
        let lanes = self.lanes.all();
        Traits {
            mtime_granularity_secs: 1,
            keeps_mtime: known.keeps_mtime != Can::No,
            open_files: lanes.iter().map(|lane| lane.free_handles()).sum(),
            links: known.carries_links(),
            readers: lanes.len(),
            // Handles on several channels are several processes there: the first one that is opened beside
            // another proves whether they see each other's writes.
            writers: if known.two_handles.may() && known.write_at.may() { lanes.len() } else { 1 },
            is_far: true,
            in_order: known.keeps_order == Can::Yes,
            blind: if self.replaces_nothing() { Blind::NewFolders } else { Blind::Nowhere },
            round_trip: lanes[0].round_trip(),
        }
    }
}

/// Whether this answer to the fsync of an open folder tells of the server rather than of this folder:
/// FAILURE and, for EINVAL, OpenSSH's BAD_MESSAGE are what some file systems below it have it say.
fn cannot_sync(error: &SftpError) -> bool {
    matches!(kind_of(error), ErrorKind::Unsupported | ErrorKind::Failed | ErrorKind::Name)
}

async fn open_folder(Seat { lane, permit }: Seat, wire_path: Vec<u8>) -> Result<Handle> {
    let opening = async move {
        match lane.session.opendir(to_wire(&wire_path)).await {
            Ok(reply) => Ok(Handle::new(lane, reply.handle, wire_path, permit)),
            Err(e) => Err(lane.error("list the folder", &wire_path, &e)),
        }
    };
    to_the_end(opening).await
}

fn closed(wire_path: &[u8]) -> Error {
    Error::new(ErrorKind::Disconnected, "use", escape(wire_path)).detail("the channel is closed")
}

/// READDIR to the end, two requests under way: most folders have at most 100 names, and the second
/// reply is then the end. What does not fit into a listing's share waits until it is the only such one.
async fn collect_names(
    lane: &Lane,
    handle: &str,
    wire_path: &[u8],
    large: &Semaphore,
) -> Result<Vec<(Vec<u8>, Stat)>> {
    let mut names = Vec::new();
    let mut bytes = 0;
    let mut alone = None;
    let mut ended = false;
    while !ended {
        let (one, two) = join(lane.session.readdir(handle), lane.session.readdir(handle)).await;
        for reply in [one, two] {
            match reply {
                Ok(reply) if reply.files.is_empty() => return Err(endless(wire_path)),
                Ok(reply) => names.extend(reply.files.iter().map(|file| {
                    let name = from_wire(&file.filename);
                    bytes += name.len() + NAME_OVERHEAD_BYTES;
                    (name, stat_of(&file.attrs))
                })),
                Err(e) if is_end(&e) => ended = true, // the other reply may still hold names
                Err(e) => return Err(lane.error("list the folder", wire_path, &e)),
            }
        }
        if names.len() > MOST_NAMES || bytes > MOST_LISTING_BYTES {
            return Err(endless(wire_path));
        }
        if bytes > LISTING_SHARE_BYTES && alone.is_none() && !ended {
            alone = Some(large.acquire().await.map_err(|_| closed(wire_path))?);
        }
    }
    Ok(names)
}

fn endless(wire_path: &[u8]) -> Error {
    Error::new(ErrorKind::Failed, "list the folder", escape(wire_path))
        .detail(format!("the listing has no end (more than {MOST_NAMES} names, or a reply without any)"))
}

/// What a server's attributes say. The type is in the mode (draft-ietf-secsh-filexfer-02 §5); a server
/// that leaves it out lists things we cannot carry.
pub(super) fn stat_of(attrs: &FileAttributes) -> Stat {
    let mode = attrs.permissions.unwrap_or(0);
    let kind = match mode & 0o170_000 {
        0o100_000 => Kind::File,
        0o040_000 => Kind::Dir,
        0o120_000 => Kind::Link,
        _ => Kind::Other,
    };
    Stat {
        kind,
        size: attrs.size.unwrap_or(0),
        mtime: Time::from_secs(i64::from(attrs.mtime.unwrap_or(0))),
        mode: mode & 0o7777,
        ctime: None,
        inode: None,
    }
}

/// The attributes that carry our metadata.
pub(super) fn attrs_of(meta: &Meta) -> FileAttributes {
    let mtime = meta.mtime.to_sftp();
    FileAttributes {
        permissions: Some(meta.mode & 0o777),
        atime: Some(mtime),
        mtime: Some(mtime),
        ..FileAttributes::default()
    }
}

/// ATTRS with permissions and times, as bytes for an extension's payload.
fn put_attrs(payload: &mut Vec<u8>, attrs: &FileAttributes) {
    const PERMISSIONS_AND_TIMES: u32 = 0x4 | 0x8;
    let times = attrs.mtime.unwrap_or(0);
    for word in [PERMISSIONS_AND_TIMES, attrs.permissions.unwrap_or(0), times, times] {
        payload.extend_from_slice(&word.to_be_bytes());
    }
}

/// Free bytes for us: f_frsize × f_bavail of the eleven 64-bit fields (OpenSSH PROTOCOL §4.4).
fn free_of(reply: &[u8]) -> Option<u64> {
    let mut reader = dialect::Reader::new(reply);
    let fields: Vec<u64> = (0..5).map_while(|_| reader.u64().ok()).collect();
    let (fragment, available) = (fields.get(1)?, fields.get(4)?);
    fragment.checked_mul(*available)
}
