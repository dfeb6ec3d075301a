//! Metadata between the system's form and ours, and setting it on an open file.

use std::io;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Mode, Stat as RawStat};
use rustix::io::Errno;

use super::rooted::{chmod_pinned, set_times_pinned, timestamps};
use crate::entry::{Kind, Meta, Stat, Time};

/// What a system's stat says, in our words.
pub(super) fn stat_of(raw: &RawStat) -> Stat {
    Stat {
        kind: kind_of(raw),
        size: u64::try_from(raw.st_size).unwrap_or(0),
        mtime: Time { secs: raw.st_mtime, nanos: nanos(raw.st_mtime_nsec) },
        mode: raw.st_mode & 0o7777,
        ctime: Some(Time { secs: raw.st_ctime, nanos: nanos(raw.st_ctime_nsec) }),
        inode: Some(raw.st_ino),
    }
}

/// What kind of thing a system's stat describes.
pub(super) fn kind_of(raw: &RawStat) -> Kind {
    match FileType::from_raw_mode(raw.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Dir,
        FileType::Symlink => Kind::Link,
        _ => Kind::Other,
    }
}

fn nanos(raw: u64) -> u32 {
    u32::try_from(raw).unwrap_or(0).min(999_999_999)
}

/// Looks at an open file.
pub(super) fn look(file: impl AsFd) -> io::Result<Stat> {
    Ok(stat_of(&rustix::fs::fstat(file)?))
}

/// Sets mode and mtime of a file that is open and that we made. The mode is exact: the umask has no say
/// in it, and set-uid, set-gid and sticky are gone.
pub(super) fn set_open(file: impl AsFd, meta: &Meta) -> io::Result<()> {
    let outcome = rustix::fs::fchmod(&file, Mode::from_raw_mode(meta.mode & 0o777));
    unless_modes_are_not_kept(outcome.map_err(io::Error::from))?;
    Ok(rustix::fs::futimens(&file, &timestamps(None, Some(meta.mtime)))?)
}

/// Sets mode and mtime of a pinned file or folder. A folder keeps set-gid and sticky: they came from
/// the folder above it or from whoever owns this side.
pub(super) fn set_pinned(pinned: &OwnedFd, now: &RawStat, meta: &Meta) -> io::Result<()> {
    let kept = if kind_of(now) == Kind::Dir { now.st_mode & 0o3000 } else { 0 };
    let outcome = chmod_pinned(pinned, Mode::from_raw_mode(kept | (meta.mode & 0o777)));
    if now.st_uid == rustix::process::geteuid().as_raw() {
        unless_modes_are_not_kept(outcome)
    } else {
        outcome
    }?;
    set_times_pinned(pinned, &timestamps(None, Some(meta.mtime)))
}

/// EPERM to the owner means that the file system has no such bits (vfat and exfat, say). What it keeps
/// instead is seen by looking afterwards, as everywhere.
fn unless_modes_are_not_kept(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => Ok(()),
        outcome => outcome,
    }
}
