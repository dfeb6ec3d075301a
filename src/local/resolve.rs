//! From a path below an open folder to an open file, without ever leaving that folder.
//!
//! Linux 5.6 does the whole walk in one system call that nobody can race: openat2. Where it is missing
//! (old kernels; sandboxes that answer ENOSYS, or EPERM where they are older than the call), the walk is
//! made component by component with O_NOFOLLOW, which is as safe but cannot follow links.

use std::io;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2, statat};
use rustix::io::Errno;

use crate::path::RelPath;

/// What becomes of symbolic links on the way to a file, and at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Refused with ELOOP. For folders that we work in.
    Never,
    /// Followed, as if the root were the root of the system: an absolute target starts at it, and `..`
    /// stops at it. For folders that we serve. Needs openat2.
    Within,
}

/// Longest path handed to one system call. Linux takes 4,095 bytes (PATH_MAX with the closing NUL).
const CALL_BYTES: usize = 4_000;

/// How often openat2 is asked again when somebody renames folders on the way (EAGAIN, openat2(2)).
const RACES: usize = 64;

/// An open folder, and how paths below it are resolved.
#[derive(Debug)]
pub(super) struct Resolver {
    root: OwnedFd,
    links: Links,
    by_kernel: bool,
}

impl Resolver {
    /// Takes an open folder. Errors with `Unsupported` where links cannot be followed safely.
    pub(super) fn new(root: OwnedFd, links: Links) -> io::Result<Self> {
        let mut resolver = Self { root, links, by_kernel: true };
        match resolver.ask_kernel(resolver.root(), b".", OFlags::PATH, Mode::empty()) {
            Ok(_) => {}
            Err(Errno::NOSYS | Errno::PERM) if links == Links::Never => resolver.by_kernel = false,
            Err(Errno::NOSYS | Errno::PERM) => return Err(needs_openat2()),
            Err(error) => return Err(error.into()),
        }
        Ok(resolver)
    }

    /// The open folder itself. Opened with O_PATH.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens `path`. A link at its end is treated as those on the way, unless `flags` hold O_NOFOLLOW.
    pub(super) fn open(&self, path: &RelPath, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        let mut rest = if path.is_root() { b"." } else { path.as_bytes() };
        let mut folder: Option<OwnedFd> = None;
        while rest.len() > CALL_BYTES {
            let (head, tail) = self.cut(rest)?;
            let next =
                self.step(at(&folder, &self.root), head, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
            folder = Some(next);
            rest = tail;
        }
        self.step(at(&folder, &self.root), rest, flags, mode)
    }

    /// Cuts a long path so that its first part fits into one call. Only where no link is followed: a link
    /// below the cut could not be resolved against the root any more.
    fn cut<'a>(&self, rest: &'a [u8]) -> io::Result<(&'a [u8], &'a [u8])> {
        let slash = rest[..CALL_BYTES].iter().rposition(|&b| b == b'/');
        match slash {
            Some(slash) if self.links == Links::Never => Ok((&rest[..slash], &rest[slash + 1..])),
            _ => Err(Errno::NAMETOOLONG.into()),
        }
    }

    fn step(&self, folder: BorrowedFd<'_>, path: &[u8], flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        if self.by_kernel {
            return Ok(self.ask_kernel(folder, path, flags, mode)?);
        }
        Ok(walk(folder, path, flags, mode)?)
    }

    fn ask_kernel(
        &self,
        folder: BorrowedFd<'_>,
        path: &[u8],
        flags: OFlags,
        mode: Mode,
    ) -> rustix::io::Result<OwnedFd> {
        let resolve = match self.links {
            Links::Never => ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
            Links::Within => ResolveFlags::IN_ROOT,
        };
        let resolve = resolve | ResolveFlags::NO_MAGICLINKS;
        let mut left = RACES;
        loop {
            match openat2(folder, path, flags, mode, resolve) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if left > 0 => left -= 1,
                outcome => return outcome,
            }
        }
    }
}

fn at<'a>(folder: &'a Option<OwnedFd>, root: &'a OwnedFd) -> BorrowedFd<'a> {
    folder.as_ref().unwrap_or(root).as_fd()
}

fn needs_openat2() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "links below a folder can be followed safely only with openat2 (Linux 5.6), which this system does not offer",
    )
}

/// The walk for systems without openat2, following no link.
fn walk(folder: BorrowedFd<'_>, path: &[u8], flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
    let mut components = path.split(|&b| b == b'/');
    let last = components.next_back().unwrap_or(path);
    let mut opened: Option<OwnedFd> = None;
    for name in components {
        let folder = opened.as_ref().map_or(folder, AsFd::as_fd);
        opened =
            Some(open_one(folder, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?);
    }
    open_one(opened.as_ref().map_or(folder, AsFd::as_fd), last, flags, mode)
}

fn open_one(folder: BorrowedFd<'_>, name: &[u8], flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
    let opened = loop {
        match openat(folder, name, flags | OFlags::NOFOLLOW, mode) {
            Err(Errno::INTR) => {}
            // O_DIRECTORY on a link says ENOTDIR, where openat2 says ELOOP.
            Err(Errno::NOTDIR) if is_link(folder, name) => return Err(Errno::LOOP),
            outcome => break outcome?,
        }
    };
    let may_be_link = flags.contains(OFlags::PATH) && !flags.contains(OFlags::NOFOLLOW);
    if may_be_link && FileType::from_raw_mode(fstat(&opened)?.st_mode) == FileType::Symlink {
        return Err(Errno::LOOP);
    }
    Ok(opened)
}

fn is_link(folder: BorrowedFd<'_>, name: &[u8]) -> bool {
    statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

/// Opens the folder that everything is to be below; links on the way to it are the caller's business.
pub(super) fn open_root(path: &std::path::Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn rel(path: &str) -> RelPath {
        RelPath::parse(path.as_bytes()).unwrap()
    }

    /// `file`, `dir/file`, and links: inside, absolute, upwards out of the root, and to a folder.
    fn populated() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("dir")).unwrap();
        std::fs::write(root.path().join("file"), "top").unwrap();
        std::fs::write(root.path().join("dir/file"), "below").unwrap();
        symlink("file", root.path().join("inside")).unwrap();
        symlink("/dir/file", root.path().join("absolute")).unwrap();
        symlink("../../../../../../etc/passwd", root.path().join("upwards")).unwrap();
        symlink("dir", root.path().join("folder")).unwrap();
        symlink("/proc/self/root/etc", root.path().join("magic")).unwrap();
        root
    }

    fn open(resolver: &Resolver, path: &str) -> Result<(), Errno> {
        let outcome = resolver.open(&rel(path), OFlags::RDONLY, Mode::empty());
        outcome.map(drop).map_err(|e| Errno::from_io_error(&e).unwrap())
    }

    #[test]
    fn no_link_is_followed_by_kernel_or_by_walk() {
        let root = populated();
        let mut resolver = Resolver::new(open_root(root.path()).unwrap(), Links::Never).unwrap();
        assert!(resolver.by_kernel, "these tests are to cover both ways");
        for by_kernel in [true, false] {
            resolver.by_kernel = by_kernel;
            let check = |path, expected| assert_eq!(open(&resolver, path), expected, "{path} {by_kernel}");
            check("", Ok(()));
            check("file", Ok(()));
            check("dir/file", Ok(()));
            check("missing", Err(Errno::NOENT));
            check("missing/file", Err(Errno::NOENT));
            check("file/x", Err(Errno::NOTDIR));
            for link in ["inside", "absolute", "upwards", "folder", "folder/file", "magic/passwd"] {
                check(link, Err(Errno::LOOP));
            }
            let pinned = resolver.open(&rel("folder"), OFlags::PATH, Mode::empty());
            assert_eq!(Errno::from_io_error(&pinned.unwrap_err()), Some(Errno::LOOP));
            let link = resolver.open(&rel("folder"), OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).unwrap();
            assert_eq!(FileType::from_raw_mode(fstat(&link).unwrap().st_mode), FileType::Symlink);
        }
    }

    #[test]
    fn links_are_followed_as_if_the_root_were_the_system_s() {
        let root = populated();
        let resolver = Resolver::new(open_root(root.path()).unwrap(), Links::Within).unwrap();
        let check = |path, expected| assert_eq!(open(&resolver, path), expected, "{path}");
        check("inside", Ok(()));
        check("absolute", Ok(()));
        check("folder/file", Ok(()));
        check("upwards", Err(Errno::NOENT));
        check("magic/passwd", Err(Errno::NOENT));
    }

    #[test]
    fn a_path_longer_than_one_call_is_walked_in_parts() {
        let root = tempfile::tempdir().unwrap();
        let mut resolver = Resolver::new(open_root(root.path()).unwrap(), Links::Never).unwrap();
        let mut path = RelPath::root();
        for _ in 0..40 {
            let deeper = path.join(&crate::path::Name::new(vec![b'd'; 250]).unwrap());
            let parent = resolver.open(&path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
            rustix::fs::mkdirat(&parent, deeper.name().unwrap().as_bytes(), Mode::RWXU).unwrap();
            path = deeper;
        }
        assert!(path.as_bytes().len() > 10_000);
        for by_kernel in [true, false] {
            resolver.by_kernel = by_kernel;
            resolver.open(&path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        resolver.links = Links::Within;
        let refused = resolver.open(&path, OFlags::RDONLY, Mode::empty()).unwrap_err();
        assert_eq!(Errno::from_io_error(&refused), Some(Errno::NAMETOOLONG));
    }
}
