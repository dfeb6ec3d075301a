//! File operations below an open folder. No path, however it is spelt and whoever swaps folders for links
//! meanwhile, leads out of it.
//!
//! All calls block. Errors are the system's own; whoever calls knows how to name the operation. What they
//! mean beyond the usual: `ELOOP`, a symbolic link where none is followed; `ENOTDIR`, something on the way
//! is no folder; `EBUSY`, the operation is not for the root itself.
//!
//! Every operation on a last component opens the folder it is in and uses the `*at` call on the bare name,
//! which follows nothing. No folder is kept open between calls: it might be moved out of the root.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, Stat, StatVfs, Timespec, Timestamps, UTIME_OMIT,
};
use rustix::io::{Errno, retry_on_intr};

pub use super::resolve::Links;
use super::resolve::{Resolver, open_root};
use crate::entry::Time;
use crate::path::RelPath;

/// A folder opened once, and operations on what is below it.
#[derive(Debug)]
pub struct Rooted(Resolver);

/// What a folder is known by while it exists: device and inode.
pub type Identity = (u64, u64);

impl Rooted {
    /// Opens a folder, following links on the way to it. Errors with `ENOTDIR` if it is something else,
    /// with `Unsupported` if [`Links::Within`] cannot be kept safe on this system.
    pub fn open(path: &Path, links: Links) -> io::Result<Self> {
        Ok(Self(Resolver::new(open_root(path)?, links)?))
    }

    /// Device and inode of the root.
    pub fn identity(&self) -> io::Result<Identity> {
        Ok(identity_of(&rustix::fs::fstat(self.0.root())?))
    }

    /// Whether `path` still leads to the folder that was opened.
    pub fn still_at(&self, path: &Path) -> io::Result<bool> {
        match rustix::fs::stat(path) {
            Ok(stat) => Ok(identity_of(&stat) == self.identity()?),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a file, or makes it if `flags` say so. Never becomes a controlling terminal or is inherited.
    /// May block on a FIFO: for files of unknown kind use [`open_regular`](Self::open_regular).
    pub fn open_file(&self, path: &RelPath, flags: OFlags, mode: Mode) -> io::Result<File> {
        let mode = if flags.contains(OFlags::CREATE) { mode } else { Mode::empty() }; // else EINVAL, openat2(2)
        Ok(File::from(self.0.open(path, flags | OFlags::NOCTTY, mode)?))
    }

    /// Opens a regular file without ever waiting. Errors with `EISDIR` for a folder, `ELOOP` for a link
    /// that is not followed, and `ENXIO` for anything else.
    pub fn open_regular(&self, path: &RelPath, flags: OFlags, mode: Mode) -> io::Result<(File, Stat)> {
        let file = self.open_file(path, flags | OFlags::NONBLOCK, mode)?;
        let stat = rustix::fs::fstat(&file)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok((file, stat)),
            FileType::Directory => Err(Errno::ISDIR.into()),
            FileType::Symlink => Err(Errno::LOOP.into()),
            _ => Err(Errno::NXIO.into()),
        }
    }

    /// Whether the root is on a file system of this machine, as far as that is known.
    pub fn is_on_local_disk(&self) -> bool {
        // statfs(2): ext2 to ext4, XFS, Btrfs, F2FS, tmpfs, overlayfs.
        const LOCAL: [i64; 6] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x0102_1994, 0x794c_7630];
        #[allow(clippy::unnecessary_cast, reason = "the type differs between platforms")]
        rustix::fs::fstatfs(self.0.root()).is_ok_and(|found| LOCAL.contains(&(found.f_type as i64)))
    }

    /// Whether the root's files are in memory and nowhere else (tmpfs).
    pub fn is_in_memory(&self) -> bool {
        const TMPFS: i64 = 0x0102_1994;
        #[allow(clippy::unnecessary_cast, reason = "the type differs between platforms")]
        rustix::fs::fstatfs(self.0.root()).is_ok_and(|found| found.f_type as i64 == TMPFS)
    }

    /// Opens a folder for reading.
    pub fn open_dir(&self, path: &RelPath) -> io::Result<Folder> {
        Ok(Folder(self.0.open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?))
    }

    /// The names in a folder; see [`Folder::names`].
    pub fn read_dir(&self, path: &RelPath) -> io::Result<Vec<Vec<u8>>> {
        self.open_dir(path)?.names()
    }

    /// Looks at what stands at a path, never following a link at its end.
    pub fn lstat(&self, path: &RelPath) -> io::Result<Stat> {
        if path.is_root() {
            return Ok(rustix::fs::fstat(self.0.root())?);
        }
        let place = self.place(path)?;
        Ok(rustix::fs::statat(place.folder(), place.name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Looks at what a path leads to.
    pub fn stat(&self, path: &RelPath) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(self.pin(path)?)?)
    }

    /// Where a symbolic link points. Errors with `EINVAL` if it is none.
    pub fn read_link(&self, path: &RelPath) -> io::Result<Vec<u8>> {
        let place = self.place(path)?;
        Ok(rustix::fs::readlinkat(place.folder(), place.name, Vec::new())?.into_bytes())
    }

    /// Makes a folder; the mode is subject to the umask.
    pub fn mkdir(&self, path: &RelPath, mode: Mode) -> io::Result<()> {
        let place = self.new_place(path)?;
        Ok(rustix::fs::mkdirat(place.folder(), place.name, mode)?)
    }

    /// Makes a symbolic link that points to `target`, whatever that is.
    pub fn symlink(&self, target: &[u8], path: &RelPath) -> io::Result<()> {
        let place = self.new_place(path)?;
        Ok(rustix::fs::symlinkat(target, place.folder(), place.name)?)
    }

    /// Gives a file (or a link itself) a second name.
    pub fn hard_link(&self, from: &RelPath, to: &RelPath) -> io::Result<()> {
        Ok(link(&self.place(from)?, &self.new_place(to)?)?)
    }

    /// Removes a file or link. Errors with `EISDIR` for a folder.
    pub fn remove_file(&self, path: &RelPath) -> io::Result<()> {
        Ok(unlink(&self.place(path)?)?)
    }

    /// Removes an empty folder.
    pub fn remove_dir(&self, path: &RelPath) -> io::Result<()> {
        Ok(rmdir(&self.place(path)?)?)
    }

    /// Renames, replacing what a rename replaces: a file or link by a file or link, an empty folder by a folder.
    pub fn rename(&self, from: &RelPath, to: &RelPath) -> io::Result<()> {
        Ok(rename(&self.place(from)?, &self.new_place(to)?)?)
    }

    /// Renames to a name that nothing stands at. Errors with `EEXIST` if something does.
    pub fn rename_noreplace(&self, from: &RelPath, to: &RelPath) -> io::Result<()> {
        let (from, to) = (self.place(from)?, self.new_place(to)?);
        match rename_with(&from, &to, RenameFlags::NOREPLACE) {
            // EINVAL: the file system does not know the flag (renameat2(2)); the others: the system does not.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(rename_unflagged(&from, &to)?),
            outcome => Ok(outcome?),
        }
    }

    /// Sets the permission bits of what a path leads to.
    pub fn chmod(&self, path: &RelPath, mode: Mode) -> io::Result<()> {
        chmod_pinned(&self.pin(path)?, mode)
    }

    /// Sets the times of what a path leads to; `None` leaves one as it is.
    pub fn set_times(&self, path: &RelPath, atime: Option<Time>, mtime: Option<Time>) -> io::Result<()> {
        set_times_pinned(&self.pin(path)?, &timestamps(atime, mtime))
    }

    /// Sets the times of a link itself, or of what stands there if it is none.
    pub fn set_link_times(&self, path: &RelPath, atime: Option<Time>, mtime: Option<Time>) -> io::Result<()> {
        let place = self.place(path)?;
        let times = timestamps(atime, mtime);
        Ok(rustix::fs::utimensat(place.folder(), place.name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Cuts a regular file off, or fills it up with zeros.
    pub fn truncate(&self, path: &RelPath, size: u64) -> io::Result<()> {
        let (file, _) = self.open_regular(path, OFlags::WRONLY, Mode::empty())?;
        Ok(retry_on_intr(|| rustix::fs::ftruncate(&file, size))?)
    }

    /// Room and limits of the file system that the root is on.
    pub fn statvfs(&self) -> io::Result<StatVfs> {
        Ok(rustix::fs::fstatvfs(self.0.root())?)
    }

    /// Makes the names in a folder durable.
    pub fn sync_dir(&self, path: &RelPath) -> io::Result<()> {
        self.open_dir(path)?.sync()
    }

    /// Holds on to what a path leads to without opening it: a FIFO or device notices nothing.
    pub fn pin(&self, path: &RelPath) -> io::Result<OwnedFd> {
        self.0.open(path, OFlags::PATH, Mode::empty())
    }

    /// Holds on to what stands at a path, a link itself included, without opening it.
    pub fn pin_itself(&self, path: &RelPath) -> io::Result<OwnedFd> {
        self.0.open(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())
    }

    /// As [`place`](Self::place), for a name that is to appear. `EEXIST` for the root.
    fn new_place<'a>(&'a self, path: &'a RelPath) -> io::Result<Place<'a>> {
        if path.is_root() {
            return Err(Errno::EXIST.into());
        }
        self.place(path)
    }

    fn place<'a>(&'a self, path: &'a RelPath) -> io::Result<Place<'a>> {
        let bytes = path.as_bytes();
        let slash = bytes.iter().rposition(|&b| b == b'/');
        let name = OsStr::from_bytes(&bytes[slash.map_or(0, |i| i + 1)..]);
        let opened = match path.parent() {
            None => return Err(Errno::BUSY.into()),
            Some(parent) if parent.is_root() => None,
            Some(parent) => Some(self.0.open(&parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?),
        };
        Ok(Place { root: self.0.root(), opened, name })
    }
}

/// A name in an open folder.
struct Place<'a> {
    root: BorrowedFd<'a>,
    /// `None` where the folder is the root.
    opened: Option<OwnedFd>,
    name: &'a OsStr,
}

impl Place<'_> {
    fn folder(&self) -> BorrowedFd<'_> {
        self.opened.as_ref().map_or(self.root, AsFd::as_fd)
    }
}

/// A folder open for reading.
#[derive(Debug)]
pub struct Folder(OwnedFd);

impl Folder {
    /// Every name in it but `.` and `..`, in the system's order. An error half-way is an error.
    pub fn names(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if !matches!(name.as_slice(), b"." | b"..") {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Looks at one of its names, not following a link. `name` is one that [`names`](Self::names) gave.
    pub fn lstat(&self, name: &[u8]) -> io::Result<Stat> {
        Ok(rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Looks at the folder itself.
    pub fn stat(&self) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(&self.0)?)
    }

    /// Makes its names durable.
    pub fn sync(&self) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::fsync(&self.0))?)
    }
}

/// Sets the permission bits of a pinned file. Not even O_PATH and fchmod do that before Linux 6.6, so it
/// goes through /proc, whose link leads to exactly the file that is open.
pub fn chmod_pinned(pinned: &OwnedFd, mode: Mode) -> io::Result<()> {
    through_proc(rustix::fs::chmodat(CWD, proc_name(pinned), mode, AtFlags::empty()))
}

/// Sets the times of a pinned file.
pub fn set_times_pinned(pinned: &OwnedFd, times: &Timestamps) -> io::Result<()> {
    through_proc(rustix::fs::utimensat(CWD, proc_name(pinned), times, AtFlags::empty()))
}

fn proc_name(pinned: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", pinned.as_raw_fd())
}

fn through_proc(outcome: rustix::io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(Errno::NOENT) => Err(io::Error::new(io::ErrorKind::Unsupported, "/proc is not mounted")),
        outcome => Ok(outcome?),
    }
}

/// Times as the system takes them; `None` leaves one as it is.
pub fn timestamps(atime: Option<Time>, mtime: Option<Time>) -> Timestamps {
    let spec = |time: Option<Time>| match time {
        Some(time) => Timespec { tv_sec: time.secs, tv_nsec: time.nanos.into() },
        None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
    };
    Timestamps { last_access: spec(atime), last_modification: spec(mtime) }
}

fn identity_of(stat: &Stat) -> Identity {
    (stat.st_dev, stat.st_ino)
}

fn link(from: &Place, to: &Place) -> rustix::io::Result<()> {
    rustix::fs::linkat(from.folder(), from.name, to.folder(), to.name, AtFlags::empty())
}

fn unlink(place: &Place) -> rustix::io::Result<()> {
    rustix::fs::unlinkat(place.folder(), place.name, AtFlags::empty())
}

fn rmdir(place: &Place) -> rustix::io::Result<()> {
    rustix::fs::unlinkat(place.folder(), place.name, AtFlags::REMOVEDIR)
}

fn rename(from: &Place, to: &Place) -> rustix::io::Result<()> {
    rustix::fs::renameat(from.folder(), from.name, to.folder(), to.name)
}

fn rename_with(from: &Place, to: &Place, flags: RenameFlags) -> rustix::io::Result<()> {
    rustix::fs::renameat_with(from.folder(), from.name, to.folder(), to.name, flags)
}

/// Renames without replacing where the system has no call for it. A folder replaces nothing but an empty
/// folder that we made just now; a file is linked and unlinked; only where there are no hard links is
/// looking first all that is left.
fn rename_unflagged(from: &Place, to: &Place) -> rustix::io::Result<()> {
    let stat = rustix::fs::statat(from.folder(), from.name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        rustix::fs::mkdirat(to.folder(), to.name, Mode::RWXU)?;
        return rename(from, to).inspect_err(|_| {
            let _ = rmdir(to); // the first error says more
        });
    }
    match link(from, to) {
        Ok(()) => unlink(from),
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => rename_after_look(from, to),
        Err(error) => Err(error),
    }
}

fn rename_after_look(from: &Place, to: &Place) -> rustix::io::Result<()> {
    match rustix::fs::statat(to.folder(), to.name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => rename(from, to),
        Err(error) => Err(error),
        Ok(_) => Err(Errno::EXIST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn rel(path: &str) -> RelPath {
        RelPath::parse(path.as_bytes()).unwrap()
    }

    /// A root inside a folder that holds a secret as well, with a link out of the root.
    fn populated(links: Links) -> (tempfile::TempDir, Rooted) {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        std::fs::create_dir_all(root.join("dir")).unwrap();
        std::fs::create_dir(outer.path().join("outside")).unwrap();
        std::fs::write(outer.path().join("outside/secret"), "secret").unwrap();
        std::fs::write(root.join("a"), "a").unwrap();
        std::fs::write(root.join("b"), "b").unwrap();
        symlink("../outside", root.join("out")).unwrap();
        let rooted = Rooted::open(&root, links).unwrap();
        (outer, rooted)
    }

    fn errno<T: std::fmt::Debug>(outcome: io::Result<T>) -> Errno {
        Errno::from_io_error(&outcome.unwrap_err()).unwrap()
    }

    #[test]
    fn no_operation_goes_through_a_link_out_of_the_root() {
        for (links, refusal) in [(Links::Never, Errno::LOOP), (Links::Within, Errno::NOENT)] {
            let (outer, rooted) = populated(links);
            let secret = &rel("out/secret");
            let check = |outcome: io::Result<()>| assert_eq!(errno(outcome), refusal, "{links:?}");
            check(rooted.open_file(secret, OFlags::RDONLY, Mode::empty()).map(drop));
            check(rooted.open_file(&rel("out/new"), OFlags::CREATE | OFlags::RDWR, Mode::RWXU).map(drop));
            check(rooted.read_dir(&rel("out")).map(drop));
            check(rooted.lstat(secret).map(drop));
            check(rooted.stat(secret).map(drop));
            check(rooted.read_link(secret).map(drop));
            check(rooted.mkdir(&rel("out/new"), Mode::RWXU));
            check(rooted.symlink(b"x", &rel("out/new")));
            check(rooted.hard_link(&rel("a"), &rel("out/new")));
            check(rooted.hard_link(secret, &rel("new")));
            check(rooted.remove_file(secret));
            check(rooted.remove_dir(&rel("out/x")));
            check(rooted.rename(&rel("a"), &rel("out/new")));
            check(rooted.rename(secret, &rel("new")));
            check(rooted.rename_noreplace(&rel("a"), &rel("out/new")));
            check(rooted.chmod(secret, Mode::RWXU));
            check(rooted.set_times(secret, None, Some(Time::from_secs(1))));
            check(rooted.set_link_times(secret, None, Some(Time::from_secs(1))));
            check(rooted.truncate(secret, 0));
            check(rooted.sync_dir(&rel("out")));
            let outside: Vec<_> = std::fs::read_dir(outer.path().join("outside")).unwrap().collect();
            assert_eq!(outside.len(), 1);
            assert_eq!(std::fs::read(outer.path().join("outside/secret")).unwrap(), b"secret");
        }
    }

    #[test]
    fn a_rename_that_must_not_replace_does_not() {
        let (outer, rooted) = populated(Links::Never);
        std::fs::create_dir(outer.path().join("root/dir2")).unwrap();
        let flagged = |from: &str, to: &str| rooted.rename_noreplace(&rel(from), &rel(to));
        let unflagged = |from: &str, to: &str| {
            let (from, to) = (rel(from), rel(to));
            let (from, to) = (rooted.place(&from).unwrap(), rooted.place(&to).unwrap());
            rename_unflagged(&from, &to).map_err(io::Error::from)
        };
        let looked = |from: &str, to: &str| {
            let (from, to) = (rel(from), rel(to));
            let (from, to) = (rooted.place(&from).unwrap(), rooted.place(&to).unwrap());
            rename_after_look(&from, &to).map_err(io::Error::from)
        };
        type Way<'a> = &'a dyn Fn(&str, &str) -> io::Result<()>;
        let ways: [Way; 3] = [&flagged, &unflagged, &looked];
        for way in ways {
            for (from, to) in [("a", "b"), ("a", "dir"), ("dir", "a"), ("dir", "dir2"), ("out", "a")] {
                assert_eq!(errno(way(from, to)), Errno::EXIST, "{from} to {to}");
            }
            for name in ["a", "dir", "out"] {
                way(name, "moved").unwrap();
                assert_eq!(errno(rooted.lstat(&rel(name))), Errno::NOENT);
                way("moved", name).unwrap();
            }
        }
        assert_eq!(rooted.read_link(&rel("out")).unwrap(), b"../outside");
    }

    #[test]
    fn metadata_is_set_on_what_cannot_be_read() {
        let (_outer, rooted) = populated(Links::Never);
        for path in [rel("a"), rel("dir")] {
            rooted.chmod(&path, Mode::empty()).unwrap();
            let time = Time { secs: -5, nanos: 123_456_789 };
            rooted.set_times(&path, None, Some(time)).unwrap();
            rooted.chmod(&path, Mode::from_raw_mode(0o750)).unwrap();
            let stat = rooted.lstat(&path).unwrap();
            assert_eq!((stat.st_mode & 0o7777, stat.st_mtime, stat.st_mtime_nsec), (0o750, -5, 123_456_789));
        }
        assert_eq!(errno(rooted.chmod(&rel("out"), Mode::RWXU)), Errno::LOOP);
    }

    #[test]
    fn only_regular_files_are_opened_and_nothing_waits() {
        let (outer, rooted) = populated(Links::Never);
        let fifo = outer.path().join("root/fifo");
        rustix::fs::mkfifoat(CWD, &fifo, Mode::RWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(outer.path().join("root/socket")).unwrap();
        let open = |path: &str, flags| rooted.open_regular(&rel(path), flags, Mode::empty()).map(drop);
        open("a", OFlags::RDONLY).unwrap();
        assert_eq!(errno(open("fifo", OFlags::RDONLY)), Errno::NXIO);
        assert_eq!(errno(open("fifo", OFlags::WRONLY)), Errno::NXIO);
        assert_eq!(errno(open("fifo", OFlags::RDWR)), Errno::NXIO);
        assert_eq!(errno(open("socket", OFlags::RDONLY)), Errno::NXIO);
        assert_eq!(errno(open("dir", OFlags::RDONLY)), Errno::ISDIR);
        assert_eq!(errno(open("out", OFlags::RDONLY)), Errno::LOOP);
    }

    #[test]
    fn the_root_is_known_by_more_than_its_name() {
        let (outer, rooted) = populated(Links::Never);
        let path = outer.path().join("root");
        assert!(rooted.still_at(&path).unwrap());
        std::fs::rename(&path, outer.path().join("moved")).unwrap();
        assert!(!rooted.still_at(&path).unwrap());
        std::fs::create_dir(&path).unwrap();
        assert!(!rooted.still_at(&path).unwrap());
        assert!(rooted.still_at(&outer.path().join("moved")).unwrap());
        assert_eq!(rooted.read_dir(&RelPath::root()).unwrap().len(), 4);
    }

    #[test]
    fn the_root_itself_is_not_to_be_removed_or_moved() {
        let (_outer, rooted) = populated(Links::Never);
        let root = RelPath::root();
        assert_eq!(errno(rooted.remove_dir(&root)), Errno::BUSY);
        assert_eq!(errno(rooted.rename(&root, &rel("x"))), Errno::BUSY);
        assert_eq!(errno(rooted.rename(&rel("dir"), &root)), Errno::EXIST);
        assert_eq!(errno(rooted.symlink(b"x", &root)), Errno::EXIST);
        assert_eq!(errno(rooted.mkdir(&root, Mode::RWXU)), Errno::EXIST);
        assert_eq!(rooted.lstat(&root).unwrap().st_ino, rooted.identity().unwrap().1);
    }
}
