//! Looks at the target all the while the program works there: whatever stands under a final name must be one
//! whole version, at every instant.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::Result;
use crate::content::{Version, recognise};

/// The versions that may stand at each path.
pub type Known = Arc<Mutex<BTreeMap<String, Vec<Version>>>>;

/// A thread that looks, until it is asked what it saw.
pub struct Watcher {
    done: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64>>,
}

impl Watcher {
    /// Begins to look at a root, which need not be there yet.
    pub fn start(root: &Path, known: &Known) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let (root, known, stop) = (root.to_path_buf(), Arc::clone(known), Arc::clone(&done));
        let thread = std::thread::spawn(move || watch(&root, &known, &stop));
        Self { done, thread }
    }

    /// Ends it. How often it went through the whole tree; what was torn.
    pub fn end(self) -> Result<u64> {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the watcher panicked")?
    }
}

/// What a file looked like when it was found whole: device, inode, size, mtime and ctime to the nanosecond.
type Looks = (u64, u64, u64, i64, i64, i64, i64);

fn watch(root: &Path, known: &Known, done: &AtomicBool) -> Result<u64> {
    let mut whole: HashSet<(PathBuf, Looks)> = HashSet::new();
    let mut turns = 0;
    loop {
        let last = done.load(Ordering::Relaxed);
        look(root, root, known, &mut whole)?;
        turns += 1;
        if last {
            return Ok(turns);
        }
        std::thread::yield_now();
    }
}

/// What cannot be read is gone again: names come and go while others work here.
fn look(root: &Path, folder: &Path, known: &Known, whole: &mut HashSet<(PathBuf, Looks)>) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(b".highwater") {
            continue;
        }
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => look(root, &path, known, whole)?,
            Ok(kind) if kind.is_file() => look_at(root, &path, known, whole)?,
            _ => {}
        }
    }
    Ok(())
}

fn look_at(root: &Path, path: &Path, known: &Known, whole: &mut HashSet<(PathBuf, Looks)>) -> Result<()> {
    let Ok(mut file) = File::open(path) else { return Ok(()) };
    let Ok(found) = file.metadata() else { return Ok(()) };
    let looks = (
        found.dev(),
        found.ino(),
        found.size(),
        found.mtime(),
        found.mtime_nsec(),
        found.ctime(),
        found.ctime_nsec(),
    );
    let seen = (path.to_path_buf(), looks);
    if whole.contains(&seen) {
        return Ok(());
    }
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
