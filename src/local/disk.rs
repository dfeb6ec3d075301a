//! [`Tree`] on a folder of this machine.
//!
//! Every operation is one trip to a thread that may block, whatever system calls it takes (but for small
//! files that are in memory); no link is
//! followed, on the way to a file or at its end; nothing is kept open between operations but the root and
//! the files that are being read or written.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, Stat as RawStat};
use rustix::io::Errno;

use super::failure::{Label, blocking, failure, is_errno};
use super::file::{DiskSource, DiskStaged, read_cached, read_range};
use super::meta::{kind_of, look, set_pinned, stat_of};
use super::rooted::{Identity, Links, Rooted};
use crate::entry::{Kind, Listing, Meta, RefusedName, Stat};
use crate::error::{self, Error, Result};
use crate::path::{LocalRoot, Name, RelPath};
use crate::tree::{Blind, Traits, Tree, Whole};

/// A folder on this machine, opened once. What is renamed to its path later is not it.
#[derive(Debug)]
pub struct Disk {
    rooted: Arc<Rooted>,
    root: Arc<LocalRoot>,
    open_files: usize,
    /// Looking up a name whose folder was just listed does not wait for a network or a slow medium.
    never_waits_long: bool,
    /// Neither does reading.
    is_in_memory: bool,
}

impl Disk {
    /// Opens a folder. Errors with `NotFound` if nothing is there, `Usage` if it is not a folder.
    pub fn open(root: &LocalRoot) -> Result<Self> {
        let rooted = Rooted::open(root.as_path(), Links::Never).map_err(|e| cannot_open(root, e))?;
        let (never_waits_long, is_in_memory) = (rooted.is_on_local_disk(), rooted.is_in_memory());
        let (rooted, root) = (rooted.into(), root.clone().into());
        Ok(Self { rooted, root, open_files: super::open_files(), never_waits_long, is_in_memory })
    }

    /// Opens a folder, made with its missing parents if it is not there.
    pub fn create(root: &LocalRoot) -> Result<Self> {
        match std::fs::create_dir_all(root.as_path()) {
            // Something other than a folder is there: opening it says so better.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::open(root),
            Err(error) => Err(failure("make the folder", root.to_string(), error)),
            Ok(()) => Self::open(root),
        }
    }

    /// The path it was opened by.
    pub fn root(&self) -> &LocalRoot {
        &self.root
    }

    /// Device and inode: what the folder is known by while it exists.
    pub fn identity(&self) -> Result<Identity> {
        self.rooted.identity().map_err(|e| failure("look at the folder", self.root.to_string(), e))
    }

    /// Whether the path still leads to the folder that was opened: false if it was removed, renamed, or
    /// covered by a mount.
    pub fn is_in_place(&self) -> Result<bool> {
        let outcome = self.rooted.still_at(self.root.as_path());
        outcome.map_err(|e| failure("look at the folder", self.root.to_string(), e))
    }

    async fn call<R: Send + 'static>(
        &self,
        operation: &'static str,
        path: &RelPath,
        work: impl FnOnce(&Rooted, &RelPath) -> io::Result<R> + Send + 'static,
    ) -> Result<R> {
        let label = self.label(path);
        let (rooted, path) = (self.rooted.clone(), path.clone());
        blocking(operation, &label, move || work(&rooted, &path)).await
    }

    /// A small file that is in memory already, read without a trip to another thread, which would cost
    /// several times as much. `None`: it is not, or it is not known how to find out without waiting.
    fn at_hand(&self, path: &RelPath, limit: u64) -> Option<Whole> {
        if !self.never_waits_long {
            return None;
        }
        let (file, before) = self.rooted.open_regular(path, OFlags::RDONLY, Mode::empty()).ok()?;
        let before = stat_of(&before);
        let len = limit.min(before.size);
        let data = if self.is_in_memory { read_range(&file, 0, len).ok()? } else { read_cached(&file, len)? };
        Some(Whole { before, data, after: look(&file).ok()? })
    }

    fn label(&self, path: &RelPath) -> Label {
        Label { root: self.root.clone(), path: path.clone() }
    }

    async fn placed(&self, staged: &RelPath, target: &RelPath, finished: &Stat, how: Rename) -> Result<Stat> {
        if finished.kind == Kind::Dir {
            let detail = "a folder is never staged";
            return Err(self.label(target).error(error::Kind::Internal, "place").detail(detail));
        }
        let from = staged.clone();
        self.call("place", target, move |rooted, target| match how(rooted, &from, target) {
            Err(error) if means_folder(&error) => Err(Errno::EXIST.into()),
            outcome => outcome.and_then(|()| Ok(stat_of(&rooted.lstat(target)?))),
        })
        .await
    }

    async fn staged(&self, operation: &'static str, path: &RelPath, how: OpenStaged) -> Result<DiskStaged> {
        let file = self.call(operation, path, how).await?;
        Ok(DiskStaged::new(file, self.label(path)))
    }
}

type OpenStaged = fn(&Rooted, &RelPath) -> io::Result<File>;

type Rename = fn(&Rooted, &RelPath, &RelPath) -> io::Result<()>;

impl Tree for Disk {
    type Source = DiskSource;
    type Staged = DiskStaged;

    /// The folder is there since it was opened; errors with `Halt` if it is not at its path any more.
    async fn make_root(&self) -> Result<()> {
        if self.is_in_place()? {
            return Ok(());
        }
        let error = Error::new(error::Kind::Halt, "use the folder", self.root.to_string());
        Err(error.detail("it was removed or replaced since it was opened"))
    }

    async fn list(&self, dir: &RelPath) -> Result<Listing> {
        self.call("list the folder", dir, |rooted, dir| {
            let folder = rooted.open_dir(dir)?;
            Ok(gather(folder.names()?, |name| folder.lstat(name)))
        })
        .await
    }

    async fn stat(&self, path: &RelPath) -> Result<Option<Stat>> {
        self.call("look at", path, |rooted, path| match rooted.lstat(path) {
            Ok(raw) => Ok(Some(stat_of(&raw))),
            Err(error) if means_absent(&error) => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    async fn read_link(&self, path: &RelPath) -> Result<Vec<u8>> {
        self.call("read the link", path, Rooted::read_link).await
    }

    async fn read_whole(&self, path: &RelPath, limit: u64) -> Result<Whole> {
        if let Some(whole) = self.at_hand(path, limit) {
            return Ok(whole);
        }
        self.call("read", path, move |rooted, path| {
            let (file, before) = rooted.open_regular(path, OFlags::RDONLY, Mode::empty())?;
            let before = stat_of(&before);
            // One more than there should be: a file that grew meanwhile shows it.
            let data = read_range(&file, 0, limit.min(before.size.saturating_add(1)))?;
            Ok(Whole { before, data, after: look(&file)? })
        })
        .await
    }

    async fn open(&self, path: &RelPath) -> Result<DiskSource> {
        let open = |rooted: &Rooted, path: &RelPath| rooted.open_regular(path, OFlags::RDONLY, Mode::empty());
        let (file, _) = self.call("open", path, open).await?;
        Ok(DiskSource::new(file, self.label(path)))
    }

    async fn stage(&self, path: &RelPath) -> Result<DiskStaged> {
        self.staged("make the temporary file", path, |rooted, path| {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW;
            rooted.open_file(path, flags, Mode::RUSR | Mode::WUSR)
        })
        .await
    }

    async fn reopen(&self, path: &RelPath) -> Result<DiskStaged> {
        self.staged("reopen the temporary file", path, |rooted, path| {
            let (file, stat) = rooted.open_regular(path, OFlags::RDWR, Mode::empty())?;
            // With a second name, writing would change a file that is not ours.
            if stat.st_nlink == 1 { Ok(file) } else { Err(Errno::MLINK.into()) }
        })
        .await
    }

    async fn place(&self, staged: &RelPath, target: &RelPath, finished: &Stat) -> Result<Stat> {
        self.placed(staged, target, finished, Rooted::rename).await
    }

    async fn place_onto_nothing(
        &self,
        staged: &RelPath,
        target: &RelPath,
        finished: &Stat,
        _looked: bool,
    ) -> Result<Stat> {
        self.placed(staged, target, finished, Rooted::rename_noreplace).await
    }

    async fn make_dir(&self, path: &RelPath, mode: u32) -> Result<()> {
        let mode = Mode::from_raw_mode((mode & 0o777) | 0o700);
        self.call("make the folder", path, move |rooted, path| rooted.mkdir(path, mode)).await
    }

    async fn make_link(&self, path: &RelPath, target: &[u8]) -> Result<()> {
        let target = target.to_vec();
        self.call("make the link", path, move |rooted, path| rooted.symlink(&target, path)).await
    }

    async fn set_meta(&self, path: &RelPath, kind: Kind, meta: &Meta) -> Result<Stat> {
        let meta = *meta;
        let found = self.call("set the metadata of", path, move |rooted, path| {
            if kind == Kind::Link {
                return Ok(stat_of(&rooted.lstat(path)?));
            }
            let pinned = rooted.pin(path)?;
            let now = rustix::fs::fstat(&pinned)?;
            if kind_of(&now) == kind {
                set_pinned(&pinned, &now, &meta)?;
            }
            look(&pinned)
        });
        let found = found.await?;
        if found.kind == kind {
            return Ok(found);
        }
        let detail = format!("it is a {}, not a {}", found.kind.describe(), kind.describe());
        Err(self.label(path).error(error::Kind::Stale, "set the metadata of").detail(detail))
    }

    async fn remove_file(&self, path: &RelPath) -> Result<()> {
        self.call("remove", path, Rooted::remove_file).await
    }

    async fn remove_dir(&self, path: &RelPath) -> Result<()> {
        self.call("remove the folder", path, Rooted::remove_dir).await
    }

    async fn move_aside(&self, from: &RelPath, to: &RelPath) -> Result<()> {
        let to = to.clone();
        self.call("move aside", from, move |rooted, from| rooted.rename_noreplace(from, &to)).await
    }

    async fn sync_dir(&self, path: &RelPath) -> Result<bool> {
        self.call("make durable", path, |rooted, path| match rooted.sync_dir(path) {
            Ok(()) => Ok(true),
            // What fsync says of folders where they cannot be synced (fsync(2)).
            Err(error) if is_errno(&error, Errno::INVAL) || is_errno(&error, Errno::ROFS) => Ok(false),
            Err(error) => Err(error),
        })
        .await
    }

    async fn free_bytes(&self) -> Result<Option<u64>> {
        self.call("ask for the free space of", &RelPath::root(), |rooted, _| {
            let space = rooted.statvfs()?;
            Ok(Some(space.f_bavail.saturating_mul(space.f_frsize)))
        })
        .await
    }

    fn traits(&self) -> Traits {
        Traits {
            mtime_granularity_secs: 0,
            keeps_mtime: true,
            open_files: self.open_files,
            links: true,
            readers: 1,
            writers: 1,
            is_far: false,
            in_order: false,
            blind: Blind::Everywhere,
            round_trip: Duration::ZERO,
        }
    }
}

/// A listing from names and a look at each. A name that is gone by now is not there; one that cannot be
/// looked at is neither there nor not there.
fn gather(names: Vec<Vec<u8>>, lstat: impl Fn(&[u8]) -> io::Result<RawStat>) -> Listing {
    let mut seen = Vec::with_capacity(names.len());
    let mut refused = Vec::new();
    for name in names {
        match lstat(&name) {
            Ok(raw) => seen.push((name, stat_of(&raw))),
            Err(error) if is_errno(&error, Errno::NOENT) => {}
            Err(_) if Name::new(name.as_slice()).is_ok_and(|name| name.is_own()) => {}
            Err(error) => refused.push(RefusedName { bytes: name, reason: error.to_string() }),
        }
    }
    let mut listing = Listing::from_raw(seen);
    listing.refused.append(&mut refused);
    listing
}

/// Whether a rename of a file failed because a folder is in its place (ENOTEMPTY: the folder it came from).
fn means_folder(error: &io::Error) -> bool {
    is_errno(error, Errno::ISDIR) || is_errno(error, Errno::NOTEMPTY)
}

/// Whether a look that failed has proved that the name does not exist: it does not, or something on the
/// way is not a folder. A link on the way proves nothing, as we did not look behind it.
fn means_absent(error: &io::Error) -> bool {
    is_errno(error, Errno::NOENT) || is_errno(error, Errno::NOTDIR)
}

fn cannot_open(root: &LocalRoot, error: io::Error) -> Error {
    if is_errno(&error, Errno::NOTDIR) {
        return Error::new(error::Kind::Usage, "open the folder", root).detail("it is not a folder");
    }
    failure("open the folder", root.to_string(), error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Time;
    use crate::tree::{SourceFile, StagedFile};
    use bytes::Bytes;
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn rel(path: &str) -> RelPath {
        RelPath::parse(path.as_bytes()).unwrap()
    }

    fn disk_at(path: &Path) -> Disk {
        Disk::create(&LocalRoot::new(path).unwrap()).unwrap()
    }

    const META: Meta = Meta { mode: 0o640, mtime: Time { secs: 1_000_000_007, nanos: 123_456_789 } };

    async fn put(disk: &Disk, staged: &RelPath, target: &RelPath) -> Result<Stat> {
        let file = disk.stage(staged).await?;
        file.write_at(0, Bytes::from_static(b"content")).await?;
        let finished = file.finish(7, &META, false).await?;
        disk.place(staged, target, &finished).await
    }

    #[tokio::test]
    async fn what_is_placed_is_what_was_staged_to_the_nanosecond() {
        let folder = tempfile::tempdir().unwrap();
        let disk = disk_at(folder.path());
        let placed = put(&disk, &rel("staged"), &rel("f")).await.unwrap();
        assert_eq!((placed.mtime, placed.mode, placed.size), (META.mtime, META.mode, 7));
        assert_eq!(disk.stat(&rel("f")).await.unwrap(), Some(placed));
        assert_eq!(disk.open(&rel("f")).await.unwrap().stat().await.unwrap(), placed);
        assert_eq!(disk.stat(&rel("staged")).await.unwrap(), None);
        assert!(disk.free_bytes().await.unwrap().unwrap() > 0);
        assert!(disk.sync_dir(&RelPath::root()).await.unwrap());
    }

    #[tokio::test]
    async fn a_staged_file_is_nobody_else_s_until_it_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let disk = disk_at(folder.path());
        let file = disk.stage(&rel("s")).await.unwrap();
        assert_eq!(file.stat().await.unwrap().mode, 0o600);
        let meta = Meta { mode: 0o6755, ..META };
        assert_eq!(file.finish(0, &meta, true).await.unwrap().mode, 0o755);
        let again = file.write_at(0, Bytes::from_static(b"x")).await.unwrap_err();
        assert_eq!(again.kind(), error::Kind::Internal);
        disk.rooted.hard_link(&rel("s"), &rel("twin")).unwrap();
        assert_eq!(disk.reopen(&rel("s")).await.unwrap_err().kind(), error::Kind::Stale);
    }

    #[tokio::test]
    async fn a_folder_keeps_the_bits_that_are_not_ours_to_set() {
        let folder = tempfile::tempdir().unwrap();
        let disk = disk_at(folder.path());
        disk.make_dir(&rel("d"), 0o500).await.unwrap();
        assert_eq!(disk.stat(&rel("d")).await.unwrap().unwrap().mode & 0o700, 0o700);
        disk.rooted.chmod(&rel("d"), Mode::from_raw_mode(0o3777)).unwrap();
        let stat = disk.set_meta(&rel("d"), Kind::Dir, &META).await.unwrap();
        assert_eq!((stat.mode, stat.mtime), (0o3640, META.mtime));
    }

    #[tokio::test]
    async fn errors_name_the_whole_path_and_never_a_connection() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("r\u{1b}");
        let disk = disk_at(&root);
        let error = disk.open(&rel("no\nsuch")).await.unwrap_err();
        let shown = escape_of(&root);
        assert_eq!(error.to_string(), format!("cannot open {shown}/no\\x0asuch"));
        assert_eq!(error.kind(), error::Kind::NotFound);
        let check = |errno: Errno, expected| {
            assert_eq!(failure("open", String::new(), errno.into()).kind(), expected, "{errno:?}");
        };
        check(Errno::TIMEDOUT, error::Kind::Failed);
        check(Errno::PIPE, error::Kind::Failed);
        check(Errno::ACCESS, error::Kind::Permission);
        check(Errno::NOSPC, error::Kind::NoSpace);
        check(Errno::DQUOT, error::Kind::NoSpace);
        check(Errno::NAMETOOLONG, error::Kind::Name);
        check(Errno::XDEV, error::Kind::Failed);
        check(Errno::LOOP, error::Kind::Stale);
    }

    fn escape_of(path: &Path) -> String {
        crate::path::escape(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()))
    }

    #[test]
    fn a_root_that_is_missing_or_no_folder_is_said_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let check = |outcome: Result<Disk>, expected| assert_eq!(outcome.unwrap_err().kind(), expected);
        let root = |path: &Path| LocalRoot::new(path).unwrap();
        check(Disk::open(&root(&folder.path().join("none"))), error::Kind::NotFound);
        check(Disk::open(&root(&file)), error::Kind::Usage);
        check(Disk::create(&root(&file)), error::Kind::Usage);
        Disk::create(&root(&folder.path().join("a/b/c"))).unwrap();
        Disk::open(&root(&folder.path().join("a/b/c"))).unwrap();
    }

    #[tokio::test]
    async fn a_root_that_was_replaced_is_noticed_and_not_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root");
        let disk = disk_at(&path);
        disk.make_root().await.unwrap();
        std::fs::rename(&path, folder.path().join("moved")).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(!disk.is_in_place().unwrap());
        assert_eq!(disk.make_root().await.unwrap_err().kind(), error::Kind::Halt);
        let other = disk_at(&path);
        assert_ne!(other.identity().unwrap(), disk.identity().unwrap());
    }

    #[test]
    fn a_name_that_cannot_be_looked_at_is_refused_and_one_that_is_gone_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let raw = rustix::fs::stat(folder.path()).unwrap();
        let names = ["kept", "gone", "locked", ".highwater-x"].map(|n| n.as_bytes().to_vec());
        let listing = gather(names.to_vec(), |name| match name {
            b"kept" => Ok(raw),
            b"gone" => Err(Errno::NOENT.into()),
            _ => Err(Errno::ACCESS.into()),
        });
        let kept: Vec<&[u8]> = listing.entries.iter().map(|e| e.name.as_bytes()).collect();
        assert_eq!(kept, [b"kept"]);
        let refused: Vec<&[u8]> = listing.refused.iter().map(|r| r.bytes.as_slice()).collect();
        assert_eq!(refused, [b"locked"]);
    }

    #[tokio::test]
    async fn special_files_are_listed_and_never_opened() {
        let folder = tempfile::tempdir().unwrap();
        let disk = disk_at(folder.path());
        rustix::fs::mkfifoat(rustix::fs::CWD, folder.path().join("fifo"), Mode::RWXU).unwrap();
        assert_eq!(disk.list(&RelPath::root()).await.unwrap().entries[0].stat.kind, Kind::Other);
        let fifo = rel("fifo");
        assert_eq!(disk.open(&fifo).await.unwrap_err().kind(), error::Kind::Stale);
        assert_eq!(disk.read_whole(&fifo, 10).await.unwrap_err().kind(), error::Kind::Stale);
        assert_eq!(disk.reopen(&fifo).await.unwrap_err().kind(), error::Kind::Stale);
    }

    /// Swaps `root/parent` between a folder and a link to `outside` until it is told to stop.
    fn race(root: &Path, stop: &AtomicBool) {
        let at = |name: &str| root.join(name);
        while !stop.load(Ordering::Relaxed) {
            std::fs::rename(at("parent"), at("real")).unwrap();
            std::fs::rename(at("link"), at("parent")).unwrap();
            std::fs::rename(at("parent"), at("link")).unwrap();
            std::fs::rename(at("real"), at("parent")).unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nothing_appears_outside_while_a_parent_is_swapped_for_a_link() {
        let outer = tempfile::tempdir().unwrap();
        let (root, outside) = (outer.path().join("root"), outer.path().join("outside"));
        std::fs::create_dir_all(root.join("parent")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("victim"), "untouched").unwrap();
        symlink(&outside, root.join("link")).unwrap();
        let disk = disk_at(&root);
        let stop = AtomicBool::new(false);
        let (mut done, mut refused) = (0, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| race(&root, &stop));
            let rounds = async {
                for round in 0..100_000 {
                    if round >= 3_000 && done >= 500 && refused >= 500 {
                        break;
                    }
                    let staged = put(&disk, &rel("parent/staged"), &rel("parent/victim")).await;
                    let removed = disk.remove_file(&rel("parent/victim")).await;
                    let made = disk.make_dir(&rel("parent/dir"), 0o755).await;
                    for outcome in [staged.map(drop), removed, made] {
                        *if outcome.is_ok() { &mut done } else { &mut refused } += 1;
                    }
                    for rest in ["parent/dir", "real/dir"] {
                        let _ = disk.remove_dir(&rel(rest)).await;
                    }
                    for rest in ["parent/staged", "real/staged"] {
                        let _ = disk.remove_file(&rel(rest)).await;
                    }
                }
            };
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(rounds));
            stop.store(true, Ordering::Relaxed);
        });
        assert!(done >= 500 && refused >= 500, "done {done}, refused {refused}: the race did not take place");
        let names: Vec<_> = std::fs::read_dir(&outside).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["victim"]);
        assert_eq!(std::fs::read(outside.join("victim")).unwrap(), b"untouched");
    }
}
