//! The near side: a folder on this machine, and file operations that never leave it.
//!
//! What it does not know: jobs, staging names, the far side.

pub mod disk;
mod failure;
pub mod file;
mod meta;
mod resolve;
pub mod rooted;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub use disk::Disk;

/// How many open files are enough for anything we do.
const WANTED_FILES: u64 = 65_536;

/// Open files that are left to sockets, the journal, the watcher and the runtime.
const RESERVED_FILES: u64 = 128;

/// Raises the number of files this process may have open to what the system grants without privilege.
/// Call it once at start, before trees are opened. Programs started from here inherit it.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(WANTED_FILES, |hard| hard.min(WANTED_FILES));
    if limit.current.is_some_and(|soft| soft < wanted) {
        // A refusal leaves the limit as it was, which `open_files` reads again.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    }
}

/// How many files a tree may hold open at once under the present limit: at least 16.
fn open_files() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(WANTED_FILES).min(WANTED_FILES);
    usize::try_from(limit.saturating_sub(RESERVED_FILES)).unwrap_or(usize::MAX).max(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_and_never_lowered() {
        let before = getrlimit(Resource::Nofile).current;
        raise_open_files();
        let after = getrlimit(Resource::Nofile).current;
        let number = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
        assert!(number(after) >= number(before));
        assert!((16..=WANTED_FILES as usize).contains(&open_files()));
    }
}
