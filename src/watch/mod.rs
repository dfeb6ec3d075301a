//! Watches the near root of a job and says which places changed and have been quiet since.
//!
//! Nothing that changes below the root while the watches stand is lost: it comes out as a path, or within a
//! folder that is to be looked at as a whole. That is so for a folder that was made and filled, or moved in,
//! before its watch stood; for one whose changes are too many to be kept apart; and for the root when the
//! system lost events. Folders that cannot be watched are counted: of those only a scan can tell, as it can
//! of what makes no events: writes through a memory map, and what other machines do on a network share.
//!
//! A watch never starts a transfer. It does not know which changes are our own: a round finds that there is
//! nothing to do about those. One thread reads the system's events, whoever is busy meanwhile; no thread is
//! left a moment after a [`Watch`] is dropped.

mod backlog;
mod folders;
mod shared;
mod source;
mod watcher;

#[cfg(test)]
mod tests;

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

pub use backlog::{Batch, acknowledge, note, take};

use crate::clock::Clock;
use crate::entry::Time;
use crate::error::{Error, Kind, Result};
use crate::path::LocalRoot;
use crate::scan::Skip;
use crate::settle::Quiet;
use shared::{End, News, Shared};
use source::Inotify;
use watcher::{Opener, Watcher};

/// How a root is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How long a path must be quiet; see [`crate::settle`].
    pub settle: Duration,
    /// How many paths are waited for one by one; more of them become the folders they are in.
    pub most_waiting: usize,
    /// How many folders are watched at most, at some 300 bytes each here and 1 KiB in the kernel.
    pub most_folders: usize,
}

impl Options {
    /// As many paths and folders as fit well into memory.
    pub fn new(settle: Duration) -> Self {
        Self { settle, most_waiting: 10_000, most_folders: 500_000 }
    }
}

/// How a watch stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchStatus {
    /// Whether watches stand for all folders but the `unwatched`. Otherwise they are being set up, or the
    /// watch has ended.
    pub is_set_up: bool,
    /// Folders that are watched.
    pub watched_folders: usize,
    /// Folders that are not, each with all that is below it.
    pub unwatched: usize,
    /// Whether that is so because a limit was reached, the system's (`fs.inotify.max_user_watches`) or ours.
    pub is_limited: bool,
    /// How often the system lost events and the root was to be looked at as a whole.
    pub overflows: u64,
    /// When it last did.
    pub last_overflow: Option<Time>,
    /// Paths that changed and are not quiet yet.
    pub waiting: usize,
    /// How often such paths became the folder they are in, because there were too many.
    pub folded: u64,
}

impl WatchStatus {
    /// Whether all that changes is seen, as far as there are events for it.
    pub fn is_whole(&self) -> bool {
        self.is_set_up && self.unwatched == 0
    }
}

/// What a watch saw.
#[derive(Debug)]
pub enum Seen {
    /// These places changed and have been quiet since.
    Quiet(Vec<Quiet>),
    /// The root was removed, unmounted, renamed or replaced. The last that is seen.
    RootGone,
    /// The system refused to go on. The last that is seen.
    Failed(Error),
}

/// A watched root.
pub struct Watch {
    shared: Arc<Shared>,
    /// To the thread, which ends when this is closed.
    orders: UnixStream,
}

impl Watch {
    /// Watches a folder and all below it, but for what `skip` leaves out and our own names. Symbolic links
    /// are not followed. Returns when the watches stand: what changes from then on is seen, and what there
    /// is may be looked at.
    pub async fn start(root: LocalRoot, skip: Skip, options: Options, clock: Arc<dyn Clock>) -> Result<Self> {
        Self::start_on(root, skip, options, clock, Box::new(|| Ok(Box::new(Inotify::open()?)))).await
    }

    async fn start_on(
        root: LocalRoot,
        skip: Skip,
        options: Options,
        clock: Arc<dyn Clock>,
        open: Opener,
    ) -> Result<Self> {
        let cannot = |e| Error::io("watch the folder", &root, e);
        let shared = Arc::new(Shared::new(&options, clock));
        let (orders, theirs) = UnixStream::pair().map_err(cannot)?;
        orders.set_nonblocking(true).map_err(cannot)?;
        let (at, state, most) = (root.clone(), shared.clone(), options.most_folders);
        let work = move || match Watcher::new(at, skip, most, open, state.clone(), theirs) {
            Ok(watcher) => watcher.run(),
            Err(error) => state.end(End::Failed(error)),
        };
        thread::Builder::new().name("watch".into()).spawn(work).map_err(cannot)?;
        let watch = Self { shared, orders };
        watch.set_up(&root).await?;
        Ok(watch)
    }

    async fn set_up(&self, root: &LocalRoot) -> Result<()> {
        loop {
            if self.shared.status().is_set_up {
                return Ok(());
            }
            match self.shared.take_end() {
                Some(End::Failed(error)) => return Err(error),
                Some(End::RootGone | End::Stopped) => {
                    return Err(Error::new(Kind::NotFound, "watch the folder", root));
                }
                None => self.shared.changed().await,
            }
        }
    }

    /// Waits for what is seen next. May be given up at any moment without loss. After the last it waits
    /// for ever.
    pub async fn next(&mut self) -> Seen {
        loop {
            let wait = match self.shared.news() {
                News::Quiet(quiet) => return Seen::Quiet(quiet),
                News::Ended(End::RootGone) => return Seen::RootGone,
                News::Ended(End::Failed(error)) => return Seen::Failed(error),
                News::Ended(End::Stopped) | News::Later(None) => None,
                News::Later(Some(wait)) => Some(wait),
            };
            match wait {
                Some(wait) => tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = self.shared.changed() => {}
                },
                None => self.shared.changed().await,
            }
        }
    }

    /// How the watch stands.
    pub fn status(&self) -> WatchStatus {
        self.shared.status()
    }

    /// Sets up all watches anew, and tries again those that the system refused. Before and after, the root
    /// is seen as a whole. Worth it when everything is looked at anyway and some folders are unwatched.
    pub fn renew(&self) {
        // A full pipe holds more orders than one, and a closed one belongs to a watch that has ended.
        let _ = (&self.orders).write(&[1]);
    }
}
