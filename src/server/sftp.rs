//! One SFTP session: requests carried out on the files below a root, with the semantics and the status
//! codes of OpenSSH's sftp-server.
//!
//! All of it blocks and runs in the order of the requests; [`super::session`] reads and writes packets.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use russh_sftp::protocol::{
    Attrs, Data, ExtendedReply, File, FileAttributes, Handle, Name, OpenFlags, Packet, StatusCode, Version,
};
use rustix::fs::{Mode, OFlags, StatVfs, StatVfsMountFlags};
use rustix::io::Errno;

use super::handles::{Handles, Open, OpenFile};
use super::listing::{OpenDir, attrs_of};
use super::misbehave::{Misbehave, Verdict, flip_bit};
use super::refusal::Refusal;
use super::request::{Ask, EXTENSIONS, to_virtual};
use crate::clock::{Clock, SystemClock};
use crate::entry::Time;
use crate::error::{Error, Result as CrateResult};
use crate::local::rooted::{Links, Rooted, chmod_pinned, set_times_pinned, timestamps};
use crate::path::{RelPath, escape, to_wire};
use crate::remote::dialect::payload::put_u64;

/// Largest packet in either direction, in bytes behind its length field (OpenSSH: 256 KiB).
pub const MAX_PACKET_BYTES: u32 = 256 * 1024;

/// Largest READ and WRITE, in bytes of content (OpenSSH: the packet less 1 KiB).
pub const MAX_DATA_BYTES: u32 = MAX_PACKET_BYTES - 1024;

/// Handles that one session may hold.
pub const MAX_HANDLES: usize = 1000;

/// What a session works on, and how.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    root: Arc<Rooted>,
    read_only: bool,
    max_handles: usize,
    misbehave: Misbehave,
}

impl SessionOptions {
    /// Serves the folder at `root`, which has to exist; links in it are followed as if it were the root
    /// of the system. Errors with `Unsupported` where that cannot be done safely (Linux before 5.6).
    pub fn new(root: &Path) -> CrateResult<Self> {
        use std::os::unix::ffi::OsStrExt;
        let shown = || escape(root.as_os_str().as_bytes());
        let opened = Rooted::open(root, Links::Within);
        let root = opened.map_err(|e| Error::io("open the folder to serve", shown(), e))?;
        Ok(Self {
            root: Arc::new(root),
            read_only: false,
            max_handles: MAX_HANDLES,
            misbehave: Misbehave::default(),
        })
    }

    /// Whether every change is refused with PERMISSION_DENIED.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// How many handles a session may hold.
    #[must_use]
    pub fn max_handles(mut self, max_handles: usize) -> Self {
        self.max_handles = max_handles;
        self
    }

    /// The faults to commit.
    #[must_use]
    pub fn misbehave(mut self, script: Misbehave) -> Self {
        self.misbehave = script;
        self
    }
}

/// The state of one session.
#[derive(Debug)]
pub(super) struct Sftp {
    options: SessionOptions,
    handles: Handles,
}

type Answer = Result<Packet, Refusal>;

impl Sftp {
    pub(super) fn new(options: SessionOptions) -> Self {
        let handles = Handles::new(options.max_handles);
        Self { options, handles }
    }

    /// The faults that are committed.
    pub(super) fn script(&self) -> &Misbehave {
        &self.options.misbehave
    }

    /// What the script has in store for a request.
    pub(super) fn judge(&self, ask: &Ask) -> Verdict {
        let open = ask.handle().and_then(|handle| self.handles.get(handle).ok()).map(Open::path);
        let path = ask.path().or(open).map(to_virtual).unwrap_or_default();
        let len = match ask {
            Ask::Write { data, .. } => data.len(),
            _ => 0,
        };
        self.options.misbehave.judge(ask.op(), &path, len)
    }

    /// Carries out a request, and its faults but for cuts and stalls.
    pub(super) fn answer(&mut self, id: u32, ask: Ask, verdict: &Verdict) -> Packet {
        if self.options.read_only && ask.changes() {
            return refuse(id, Refusal::read_only());
        }
        self.perform(id, ask, verdict).unwrap_or_else(|refusal| refuse(id, refusal))
    }

    fn perform(&mut self, id: u32, ask: Ask, verdict: &Verdict) -> Answer {
        let root = &self.options.root;
        match ask {
            Ask::Init => return Ok(version(verdict)),
            Ask::Open { path, flags, mode } => return self.open(id, path, flags, mode),
            Ask::OpenDir { path } => return self.open_dir(id, path),
            Ask::Read { handle, offset, len } => return self.read(id, &handle, offset, len, verdict),
            Ask::List { handle } => {
                let files = self.handles.dir(&handle)?.next(SystemClock.now(), &verdict.lies)?;
                return Ok(Name { id, files }.into());
            }
            Ask::Stat { path, follow: true } => return Ok(attrs(id, &root.stat(&path)?)),
            Ask::Stat { path, follow: false } => return Ok(attrs(id, &root.lstat(&path)?)),
            Ask::StatHandle { handle } => return self.stat_handle(id, &handle),
            Ask::RealPath { path } => return Ok(one_name(id, &to_virtual(&path))),
            Ask::ReadLink { path } => return Ok(one_name(id, &root.read_link(&path)?)),
            Ask::Statvfs { path } => {
                root.stat(&path)?; // one file system is served, but a missing path is an error
                return self.statvfs(id, verdict);
            }
            Ask::StatvfsHandle { handle } => {
                self.handles.get(&handle)?;
                return self.statvfs(id, verdict);
            }
            Ask::Limits => return Ok(self.limits(id)),
            Ask::Unknown => {
                return Err(Refusal::new(StatusCode::OpUnsupported, "this server does not know the request"));
            }
            Ask::Write { handle, offset, data } => self.write(&handle, offset, data, verdict)?,
            Ask::Close { handle } => self.handles.remove(&handle)?,
            Ask::SetStat { path, attrs, follow } => self.set_stat(&path, &attrs, follow)?,
            Ask::SetStatHandle { handle, attrs } => set_stat_open(self.handles.file(&handle)?, &attrs)?,
            Ask::Remove { path } => root.remove_file(&path)?,
            Ask::MakeDir { path, mode } => root.mkdir(&path, mode_of(mode, 0o777))?,
            Ask::RemoveDir { path } => root.remove_dir(&path)?,
            Ask::Rename { from, to, replace: false } => root.rename_noreplace(&from, &to)?,
            Ask::Rename { from, to, replace: true } => root.rename(&from, &to)?,
            Ask::SymLink { target, path } => root.symlink(&target, &path)?,
            Ask::HardLink { from, to } => root.hard_link(&from, &to)?,
            Ask::Fsync { handle } => self.handles.file(&handle)?.sync_all()?,
        }
        Ok(ok(id))
    }

    fn open(&mut self, id: u32, path: RelPath, flags: OpenFlags, mode: Option<u32>) -> Answer {
        self.handles.check_room()?;
        let root = &self.options.root;
        let opened = root.open_regular(&path, open_flags(flags), mode_of(mode, 0o666));
        let file = match opened {
            Ok((file, _)) => file,
            // A folder can be opened for reading, to be synced: OpenSSH allows it, and clients use it.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::ISDIR) && is_plain_read(flags) => {
                root.open_file(&path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?
            }
            Err(error) => return Err(error.into()),
        };
        let handle = self.handles.insert(Open::File(OpenFile { file, path }))?;
        Ok(Handle { id, handle: to_wire(&handle) }.into())
    }

    fn open_dir(&mut self, id: u32, path: RelPath) -> Answer {
        self.handles.check_room()?;
        let folder = self.options.root.open_file(&path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        let handle = self.handles.insert(Open::Dir(OpenDir::new(path, folder)?))?;
        Ok(Handle { id, handle: to_wire(&handle) }.into())
    }

    /// Fewer bytes than asked for only at the end of the file, and EOF there, unless the script says
    /// otherwise.
    fn read(&self, id: u32, handle: &[u8], offset: u64, len: u32, verdict: &Verdict) -> Answer {
        let file = self.handles.file(handle)?;
        let len = (len.min(MAX_DATA_BYTES) as usize).min(verdict.at_most.unwrap_or(usize::MAX));
        let mut data = vec![0; len];
        let read = read_full(file, &mut data, offset)?;
        if read == 0 {
            return Err(Refusal::end());
        }
        data.truncate(read);
        if let Some(draw) = verdict.flip {
            flip_bit(&mut data, draw);
        }
        self.options.misbehave.read(read);
        Ok(Data { id, data }.into())
    }

    /// At its offset; at the end for a file opened with APPEND, whose offset the system ignores as
    /// OpenSSH does.
    fn write(&self, handle: &[u8], offset: u64, mut data: Vec<u8>, verdict: &Verdict) -> Result<(), Refusal> {
        let file = self.handles.file(handle)?;
        if let Some(draw) = verdict.flip {
            flip_bit(&mut data, draw);
        }
        data.truncate(verdict.at_most.unwrap_or(usize::MAX));
        file.write_all_at(&data, offset)?;
        self.options.misbehave.wrote(data.len());
        match verdict.no_space {
            true => Err(Errno::NOSPC.into()),
            false => Ok(()),
        }
    }

    fn stat_handle(&self, id: u32, handle: &[u8]) -> Answer {
        match self.handles.get(handle)? {
            Open::File(open) => Ok(attrs(id, &rustix::fs::fstat(&open.file)?)),
            Open::Dir(_) => Err(Refusal::failure("the handle is a folder's")),
        }
    }

    fn set_stat(&self, path: &RelPath, attrs: &FileAttributes, follow: bool) -> Result<(), Refusal> {
        let root = &self.options.root;
        if let Some(size) = attrs.size {
            match follow {
                true => root.truncate(path, size)?,
                false => return Err(Errno::INVAL.into()), // as OpenSSH's lsetstat has it
            }
        }
        let pinned = if follow { root.pin(path)? } else { root.pin_itself(path)? };
        check_owner(&rustix::fs::fstat(&pinned)?, attrs)?;
        if let Some(mode) = attrs.permissions {
            chmod_pinned(&pinned, mode_of(Some(mode), 0))?;
        }
        match (times_of(attrs), follow) {
            (None, _) => Ok(()),
            (Some((atime, mtime)), true) => Ok(set_times_pinned(&pinned, &timestamps(atime, mtime))?),
            (Some((atime, mtime)), false) => Ok(root.set_link_times(path, atime, mtime)?),
        }
    }

    fn statvfs(&self, id: u32, verdict: &Verdict) -> Answer {
        let mut room = self.options.root.statvfs()?;
        if verdict.no_space_left {
            (room.f_bfree, room.f_bavail) = (0, 0);
        }
        Ok(ExtendedReply { id, data: statvfs_payload(&room, self.options.read_only) }.into())
    }

    /// OpenSSH's PROTOCOL, section 4.8.
    fn limits(&self, id: u32) -> Packet {
        let mut data = Vec::new();
        put_u64(&mut data, MAX_PACKET_BYTES.into());
        put_u64(&mut data, MAX_DATA_BYTES.into());
        put_u64(&mut data, MAX_DATA_BYTES.into());
        put_u64(&mut data, self.options.max_handles as u64);
        ExtendedReply { id, data }.into()
    }
}

/// A status that says why not.
pub(super) fn refuse(id: u32, refusal: Refusal) -> Packet {
    Packet::status(id, refusal.code, &to_wire(refusal.text.as_bytes()), "en")
}

fn ok(id: u32) -> Packet {
    Packet::status(id, StatusCode::Ok, "Success", "en")
}

fn attrs(id: u32, stat: &rustix::fs::Stat) -> Packet {
    Attrs { id, attrs: attrs_of(stat) }.into()
}

fn one_name(id: u32, name: &[u8]) -> Packet {
    let name = to_wire(name);
    let file = File { filename: name.clone(), longname: name, attrs: FileAttributes::empty() };
    Name { id, files: vec![file] }.into()
}

fn version(verdict: &Verdict) -> Packet {
    let hidden = |name: &str| match &verdict.unannounced {
        Some(names) => names.is_empty() || names.iter().any(|n| n == name),
        None => false,
    };
    let mut version = Version::new();
    for (name, data) in EXTENSIONS.into_iter().filter(|(name, _)| !hidden(name)) {
        version.extensions.insert(name.into(), data.into());
    }
    version.into()
}

fn is_plain_read(flags: OpenFlags) -> bool {
    flags.bits() == OpenFlags::READ.bits()
}

/// As OpenSSH translates them (sftp-server.c, flags_from_portable). EXCL means nothing without CREAT.
fn open_flags(flags: OpenFlags) -> OFlags {
    let access = match (flags.contains(OpenFlags::READ), flags.contains(OpenFlags::WRITE)) {
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        (_, false) => OFlags::RDONLY,
    };
    let create = flags.contains(OpenFlags::CREATE);
    let also = [
        (flags.contains(OpenFlags::APPEND), OFlags::APPEND),
        (create, OFlags::CREATE),
        (flags.contains(OpenFlags::TRUNCATE), OFlags::TRUNC),
        (create && flags.contains(OpenFlags::EXCLUDE), OFlags::EXCL),
    ];
    also.into_iter().filter(|(set, _)| *set).fold(access, |all, (_, flag)| all | flag)
}

fn mode_of(mode: Option<u32>, default: u32) -> Mode {
    Mode::from_raw_mode(mode.unwrap_or(default) & 0o7777)
}

fn read_full(file: &std::fs::File, data: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < data.len() {
        match file.read_at(&mut data[read..], offset.saturating_add(read as u64)) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

fn set_stat_open(file: &std::fs::File, attrs: &FileAttributes) -> Result<(), Refusal> {
    check_owner(&rustix::fs::fstat(file)?, attrs)?;
    if let Some(size) = attrs.size {
        file.set_len(size)?;
    }
    if let Some(mode) = attrs.permissions {
        rustix::fs::fchmod(file, mode_of(Some(mode), 0))?;
    }
    if let Some((atime, mtime)) = times_of(attrs) {
        rustix::fs::futimens(file, &timestamps(atime, mtime))?;
    }
    Ok(())
}

/// Owners stay as they are; asking for the present one is no error.
fn check_owner(stat: &rustix::fs::Stat, attrs: &FileAttributes) -> Result<(), Refusal> {
    let same = |asked: Option<u32>, now: u32| asked.is_none_or(|id| id == now);
    match same(attrs.uid, stat.st_uid) && same(attrs.gid, stat.st_gid) {
        true => Ok(()),
        false => Err(Errno::PERM.into()),
    }
}

type Times = (Option<Time>, Option<Time>);

fn times_of(attrs: &FileAttributes) -> Option<Times> {
    let time = |secs: Option<u32>| secs.map(|secs| Time::from_secs(secs.into()));
    let times = (time(attrs.atime), time(attrs.mtime));
    (times != (None, None)).then_some(times)
}

/// OpenSSH's PROTOCOL, section 4.4: eleven numbers; flag 1 is read-only, 2 is no set-uid.
fn statvfs_payload(room: &StatVfs, read_only: bool) -> Vec<u8> {
    let set = |flag| room.f_flag.contains(flag);
    let flags = u64::from(read_only || set(StatVfsMountFlags::RDONLY))
        | u64::from(set(StatVfsMountFlags::NOSUID)) << 1;
    let numbers = [
        room.f_bsize,
        room.f_frsize,
        room.f_blocks,
        room.f_bfree,
        room.f_bavail,
        room.f_files,
        room.f_ffree,
        room.f_favail,
        room.f_fsid,
        flags,
        room.f_namemax,
    ];
    let mut payload = Vec::with_capacity(8 * numbers.len());
    numbers.into_iter().for_each(|number| put_u64(&mut payload, number));
    payload
}
