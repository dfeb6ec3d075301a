//! Looks at the target all the while the program works there: whatever stands under a final name must be one
//! whole version, at every instant.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::content::{Version, recognise};
use crate::{Doing, Result};

/// The versions that may stand at each path.
pub type Known = Arc<Mutex<BTreeMap<String, Vec<Version>>>>;

/// How often it asks whether anything has changed: between two looks nothing is missed, only seen later.
const ASK_EVERY: Duration = Duration::from_millis(3);

/// A thread that looks, until it is asked what it saw.
pub struct Watcher {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u64>>>,
}

impl Watcher {
    /// Begins to look at a root, which need not be there yet.
    pub fn start(root: &Path, known: &Known) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let (root, known, stop) = (root.to_path_buf(), Arc::clone(known), Arc::clone(&done));
        let thread = std::thread::spawn(move || watch(&root, &known, &stop));
        Self { done, thread: Some(thread) }
    }

    /// Ends it. How often it went through the whole tree; what was torn.
    pub fn end(mut self) -> Result<u64> {
        self.stop().unwrap_or(Ok(0))
    }

    fn stop(&mut self) -> Option<Result<u64>> {
        let thread = self.thread.take()?;
        self.done.store(true, Ordering::Relaxed);
        thread.thread().unpark();
        Some(thread.join().unwrap_or_else(|_| Err("the watcher panicked".into())))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.stop(); // a case that is given up has said why, or has nothing to say
    }
}

/// What a file looked like when it was found whole: device, inode, size, mtime and ctime to the nanosecond.
type Looks = (u64, u64, u64, i64, i64, i64, i64);

fn watch(root: &Path, known: &Known, done: &AtomicBool) -> Result<u64> {
    let mut eyes = Eyes {
        root,
        known,
        changes: inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).doing("watch for changes")?,
        whole: HashSet::new(),
    };
    let mut turns = 0;
    loop {
        let last = done.load(Ordering::Relaxed);
        if eyes.have_news() || turns == 0 || last {
            eyes.look(root)?;
            turns += 1;
        }
        if last {
            return Ok(turns);
        }
        std::thread::park_timeout(ASK_EVERY);
    }
}

/// What one watcher goes by.
struct Eyes<'a> {
    root: &'a Path,
    known: &'a Known,
    /// Says whether anything has changed (inotify(7)); whole looks find out what.
    changes: OwnedFd,
    whole: HashSet<(PathBuf, Looks)>,
}

impl Eyes<'_> {
    fn have_news(&self) -> bool {
        let mut buffer = [const { MaybeUninit::uninit() }; 4096];
        let mut events = inotify::Reader::new(&self.changes, &mut buffer);
        let mut any = !self.root.exists(); // there is nothing to be told of before
        while events.next().is_ok() {
            any = true;
        }
        any
    }

    /// What cannot be read is gone again: names come and go while others work here.
    fn look(&mut self, folder: &Path) -> Result<()> {
        const CHANGES: WatchFlags = WatchFlags::CREATE
            .union(WatchFlags::MODIFY)
            .union(WatchFlags::MOVED_TO)
            .union(WatchFlags::CLOSE_WRITE)
            .union(WatchFlags::ONLYDIR);
        // Before the look, so that what comes after it is told; and again each time, where it is known already.
        let _ = inotify::add_watch(&self.changes, folder, CHANGES);
        let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
        for entry in entries.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(b".highwater") {
                continue;
            }
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.look(&path)?,
                Ok(kind) if kind.is_file() => look_at(self.root, &path, self.known, &mut self.whole)?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn look_at(root: &Path, path: &Path, known: &Known, whole: &mut HashSet<(PathBuf, Looks)>) -> Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if whole.contains(&(path.to_path_buf(), looks(&found))) {
        return Ok(());
    }
    let Ok(mut file) = File::open(path) else { return Ok(()) };
    let Ok(found) = file.metadata() else { return Ok(()) };
    let seen = (path.to_path_buf(), looks(&found));
    let mut content = Vec::new();
    if file.read_to_end(&mut content).is_err() {
        return Ok(());
    }
    let name = path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
    let versions =
        known.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned().unwrap_or_default();
    recognise(&content, &versions).map_err(|what| format!("torn under its final name, {name:?}: {what}"))?;
    whole.insert(seen);
    Ok(())
}

fn looks(found: &Metadata) -> Looks {
    (
        found.dev(),
        found.ino(),
        found.size(),
        found.mtime(),
        found.mtime_nsec(),
        found.ctime(),
        found.ctime_nsec(),
    )
}
