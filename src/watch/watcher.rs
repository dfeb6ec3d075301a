//! The thread that keeps a watch on every folder below a root, and turns events into places to look at.
//!
//! An event says of a folder only that something stands or stood at its name: what is there is found out by
//! looking, and by looking again whenever another event comes. A folder is watched first and listed then, so
//! that nothing falls between; what was in it already may have come before the watch, and the folder is noted
//! as a whole. Looking at folders takes turns with reading events, so that a large tree that is moved in does
//! not fill the queue.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::folders::{Folders, State};
use super::shared::{End, Note, Shared};
use super::source::{Event, Role, Source, What};
use crate::error::{Error, Result};
use crate::local::rooted::{Links, Rooted};
use crate::path::{LocalRoot, Name, RelPath};
use crate::scan::Skip;

/// How many folders are looked at before events are read again.
const LOOKS_PER_TURN: usize = 64;

/// How many watches are ended before events are read again: each leaves an event behind.
const ENDS_PER_TURN: usize = 256;

/// Opens a queue for events.
pub(super) type Opener = Box<dyn Fn() -> io::Result<Box<dyn Source>> + Send>;

/// Why a folder is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// All watches are set up; whoever asked for that looks at everything afterwards.
    Setup,
    /// It is new: what is in it is to be told of.
    New,
}

/// What one look at a folder found in it.
struct Inside {
    folders: Vec<RelPath>,
    is_empty: bool,
}

/// Keeps the watches of one root.
pub(super) struct Watcher {
    root: Rooted,
    at: LocalRoot,
    skip: Skip,
    most_folders: usize,
    open: Opener,
    source: Box<dyn Source>,
    /// The folders that the root is in, and its names there: as it was given, and as it is without links.
    above: Vec<(i32, Vec<u8>)>,
    folders: Folders,
    /// Folders to look at, the last first.
    looks: Vec<(Arc<RelPath>, Why)>,
    /// Watches to end, unless they are in use again.
    ends: Vec<i32>,
    notes: Vec<Note>,
    /// Folders that were not even remembered for want of room.
    beyond: usize,
    is_limited: bool,
    is_set_up: bool,
    /// Whether all watches stood at some time, so that somebody relies on them.
    was_set_up: bool,
    shared: Arc<Shared>,
    /// A byte: set up all watches anew. The end: stop.
    orders: UnixStream,
    /// Is readable when something was mounted or unmounted, proc_pid_mounts(5).
    mounts: File,
}

/// What the thread woke up for.
struct Woken {
    by_events: bool,
    by_orders: bool,
    by_mounts: bool,
}

impl Watcher {
    /// Opens the root and begins to set up watches.
    pub fn new(
        at: LocalRoot,
        skip: Skip,
        most_folders: usize,
        open: Opener,
        shared: Arc<Shared>,
        orders: UnixStream,
    ) -> Result<Self> {
        let root =
            Rooted::open(at.as_path(), Links::Never).map_err(|e| Error::io("open the folder", &at, e))?;
        let source = open().map_err(|e| cannot_watch(&at, e))?;
        let mounts = File::open("/proc/self/mountinfo").map_err(|e| cannot_watch(&at, e))?;
        orders.set_nonblocking(true).map_err(|e| cannot_watch(&at, e))?;
        let folders = Folders::default();
        let (looks, ends, notes) = (Vec::new(), Vec::new(), Vec::new());
        let (beyond, is_limited, is_set_up, was_set_up) = (0, false, false, false);
        let mut watcher = Self {
            root,
            at,
            skip,
            most_folders,
            open,
            source,
            above: Vec::new(),
            folders,
            looks,
            ends,
            notes,
            beyond,
            is_limited,
            is_set_up,
            was_set_up,
            shared,
            orders,
            mounts,
        };
        watcher.begin_set_up();
        Ok(watcher)
    }

    /// Watches until the other end of `orders` is closed or the root is gone.
    pub fn run(mut self) {
        let end = loop {
            match self.turn() {
                Ok(None) => self.publish(),
                Ok(Some(end)) => break end,
                Err(error) => break End::Failed(cannot_watch(&self.at, error)),
            }
        };
        self.publish();
        self.shared.end(end);
    }

    fn turn(&mut self) -> io::Result<Option<End>> {
        let woken = self.wait()?;
        if woken.by_orders && self.is_told_to_stop()? {
            return Ok(Some(End::Stopped));
        }
        if (woken.by_mounts || woken.by_orders) && !self.is_root_there() {
            return Ok(Some(End::RootGone));
        }
        if woken.by_orders {
            self.set_up_again()?;
        }
        if woken.by_events && self.take_events()? {
            return Ok(Some(End::RootGone));
        }
        self.end_watches()?;
        for _ in 0..LOOKS_PER_TURN {
            let Some((path, why)) = self.looks.pop() else { break };
            self.look(&path, why);
        }
        if self.looks.is_empty() && !self.is_set_up {
            return Ok(self.finish_set_up());
        }
        Ok(None)
    }

    /// Waits while there is nothing to do.
    fn wait(&self) -> io::Result<Woken> {
        let is_idle = self.looks.is_empty() && self.ends.is_empty() && self.is_set_up;
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let source = self.source.fd();
        let mut fds = [
            PollFd::from_borrowed_fd(source, PollFlags::IN),
            PollFd::new(&self.orders, PollFlags::IN),
            PollFd::new(&self.mounts, PollFlags::PRI),
        ];
        match poll(&mut fds, (!is_idle).then_some(&at_once)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [by_events, by_orders, by_mounts] = fds.map(|fd| !fd.revents().is_empty());
        Ok(Woken { by_events, by_orders, by_mounts })
    }

    fn is_told_to_stop(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 64];
        match self.orders.read(&mut bytes) {
            Ok(count) => Ok(count == 0),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the root's path still leads to it. A path that cannot be looked at is gone as well.
    fn is_root_there(&self) -> bool {
        self.root.still_at(self.at.as_path()).unwrap_or(false)
    }

    /// All watches stand. Whether the root does is asked only now: until its own stood, nothing told.
    fn finish_set_up(&mut self) -> Option<End> {
        if self.was_set_up {
            self.notes.push(Note::whole(RelPath::root()));
        }
        (self.is_set_up, self.was_set_up) = (true, true);
        (!self.is_root_there()).then_some(End::RootGone)
    }

    /// A new queue and new watches: the old ones may be of folders that are elsewhere by now. What happens
    /// until they stand is in the note of the root that comes at the end, and in one from now on.
    fn set_up_again(&mut self) -> io::Result<()> {
        self.source = (self.open)()?;
        self.folders = Folders::default();
        (self.beyond, self.is_limited, self.is_set_up) = (0, false, false);
        self.looks.clear();
        self.ends.clear();
        self.notes.push(Note::whole(RelPath::root()));
        self.begin_set_up();
        Ok(())
    }

    fn begin_set_up(&mut self) {
        let given = self.at.as_path().to_path_buf();
        let real = given.canonicalize().ok();
        self.above =
            [Some(given), real].into_iter().flatten().filter_map(|at| self.watch_above(&at)).collect();
        self.look_at(Arc::new(RelPath::root()), Why::Setup);
    }

    /// `None` where that folder may not be read: that the root is gone is found out by whoever looks there.
    fn watch_above(&mut self, root: &Path) -> Option<(i32, Vec<u8>)> {
        let folder = File::open(root.parent()?).ok()?;
        let number = self.source.watch(&folder, Role::Above).ok()?;
        Some((number, root.file_name()?.as_bytes().to_vec()))
    }

    /// Takes in what happened. Whether the root is gone.
    fn take_events(&mut self) -> io::Result<bool> {
        let mut events = Vec::new();
        self.source.read(&mut events)?;
        for event in events {
            match event.what {
                What::Overflow => {
                    self.shared.count_overflow();
                    self.set_up_again()?;
                    return Ok(false); // the others are of watches that are no more
                }
                _ if self.is_of_root(&event) => {
                    if !self.is_root_there() {
                        return Ok(true);
                    }
                }
                What::RootWent => {}
                What::Ended => {
                    if self.has_ended(event.number) {
                        return Ok(true);
                    }
                }
                What::Came | What::Went | What::Changed => self.take_event(event),
            }
        }
        Ok(false)
    }

    /// Whether the root may be gone after this.
    fn is_of_root(&self, event: &Event) -> bool {
        let is_it = |(number, name): &(i32, Vec<u8>)| {
            event.number == *number && event.name.as_ref().is_none_or(|gone| gone == name)
        };
        event.what == What::RootWent || self.above.iter().any(is_it)
    }

    /// The system ended a watch. Whether it was that of the root.
    fn has_ended(&mut self, number: i32) -> bool {
        let Some(path) = self.folders.at(number).cloned() else { return false };
        if path.is_root() {
            return true;
        }
        // Deleted, then this is the end of it; or what was mounted there is not there any more.
        self.folders.set(&path, State::Pending);
        self.looks.push((path, Why::New));
        false
    }

    fn take_event(&mut self, event: Event) {
        let Some(folder) = self.folders.at(event.number) else { return };
        let Some(Ok(name)) = event.name.map(Name::new) else { return };
        let path = folder.join(&name);
        if name.is_own() || (self.skip)(&path, event.is_dir) {
            return;
        }
        if event.is_dir {
            self.take_folder_event(&path, event.what);
        }
        let is_whole = event.is_dir && event.what == What::Went;
        let note = Note { path, is_whole };
        // A new file is told of three times: made, written, closed.
        if self.notes.last() != Some(&note) {
            self.notes.push(note);
        }
    }

    /// A folder that went may stand there again by now, or another one, as after an exchange of two.
    fn take_folder_event(&mut self, path: &RelPath, what: What) {
        if what == What::Went {
            self.ends.extend(self.folders.remove(path));
        }
        if what != What::Changed || self.folders.state(path) == Some(State::Unwatched) {
            self.look_at(Arc::new(path.clone()), Why::New);
        }
    }

    fn look_at(&mut self, path: Arc<RelPath>, why: Why) {
        if self.folders.len() >= self.most_folders && self.folders.state(&path).is_none() {
            self.beyond += 1;
            self.is_limited = true;
            self.notes.extend((why == Why::New).then(|| Note::whole((*path).clone())));
            return;
        }
        self.folders.add(path.clone());
        self.looks.push((path, why));
    }

    fn look(&mut self, path: &Arc<RelPath>, why: Why) {
        if self.folders.state(path).is_none() {
            return; // it went since
        }
        let note = match self.watch(path) {
            Ok(Some(inside)) => {
                let note = Note { path: (**path).clone(), is_whole: !inside.is_empty };
                inside.folders.into_iter().for_each(|folder| self.look_at(Arc::new(folder), why));
                note
            }
            Ok(None) => return,
            Err(error) if is_gone(&error) => {
                self.ends.extend(self.folders.remove(path));
                return;
            }
            Err(error) => {
                self.refuse(path, &error);
                Note::whole((**path).clone())
            }
        };
        self.notes.extend((why == Why::New).then_some(note));
    }

    /// Watches a folder and lists it. `None`: it is the one that was watched there already, and since it was
    /// listed there have been events.
    fn watch(&mut self, path: &Arc<RelPath>) -> io::Result<Option<Inside>> {
        let folder = self.root.open_file(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        let role = if path.is_root() { Role::Root } else { Role::Below };
        let number = self.source.watch(&folder, role)?;
        if self.folders.state(path) == Some(State::Watched(number)) {
            return Ok(None);
        }
        self.ends.extend(self.folders.remove_below(path));
        self.folders.set(path, State::Watched(number));
        self.list(path, &folder).map(Some)
    }

    fn list(&self, path: &RelPath, folder: &File) -> io::Result<Inside> {
        let mut inside = Inside { folders: Vec::new(), is_empty: true };
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let bytes = entry.file_name().to_bytes();
            let Ok(name) = Name::new(bytes) else { continue }; // "." and ".."
            let is_dir = match entry.file_type() {
                FileType::Unknown => is_folder(folder, entry.file_name())?,
                kind => kind == FileType::Directory,
            };
            let path = path.join(&name);
            if name.is_own() || (self.skip)(&path, is_dir) {
                continue;
            }
            inside.is_empty = false;
            inside.folders.extend(is_dir.then_some(path));
        }
        Ok(inside)
    }

    /// A folder cannot be watched, and nothing that is below it.
    fn refuse(&mut self, path: &Arc<RelPath>, error: &io::Error) {
        if is_limit(error) && !self.is_limited {
            self.is_limited = true;
            let root = &self.at;
            tracing::warn!(%root, folder = %path, %error, "not all folders can be watched; raise fs.inotify.max_user_watches");
        }
        self.ends.extend(self.folders.remove_below(path));
        if let Some(State::Watched(number)) = self.folders.state(path) {
            self.ends.push(number);
        }
        self.folders.set(path, State::Unwatched);
    }

    fn end_watches(&mut self) -> io::Result<()> {
        let kept = self.ends.len().saturating_sub(ENDS_PER_TURN);
        for number in self.ends.split_off(kept) {
            if self.folders.at(number).is_none() {
                self.source.unwatch(number)?;
            }
        }
        Ok(())
    }

    fn publish(&mut self) {
        let unwatched = self.folders.unwatched() + self.beyond;
        self.shared.update(std::mem::take(&mut self.notes), |status| {
            status.watched_folders = self.folders.watched();
            status.unwatched = unwatched;
            status.is_limited = self.is_limited;
            status.is_set_up = self.is_set_up;
        });
    }
}

fn is_folder(folder: &File, name: &std::ffi::CStr) -> io::Result<bool> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether an error means that no folder stands there.
fn is_gone(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}

/// Whether an error means that the system watches no more folders for this user, inotify_add_watch(2).
fn is_limit(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::NOSPC | Errno::NOMEM))
}

fn cannot_watch(root: &LocalRoot, error: io::Error) -> Error {
    let too_many = error.raw_os_error().map(Errno::from_raw_os_error) == Some(Errno::MFILE);
    let error = Error::io("watch the folder", root, error);
    if too_many {
        error.hint("Raise fs.inotify.max_user_instances, or the limit of open files.")
    } else {
        error
    }
}
