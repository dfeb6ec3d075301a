//! Listings fetched ahead of a walk, the nearest first, within bounds.
//!
//! Each listing that arrives tells of folders that will be needed; the one that comes first in path order
//! is asked for next. So the requests run down into the tree as well as along it, and a walk over a long
//! line seldom waits for a whole round trip.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::{Id, JoinError, JoinSet};

use super::{Limits, Skip};
use crate::entry::{Entry, Kind, Listing, RefusedName};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::path::{MAX_PATH_BYTES, RelPath};
use crate::tree::Tree;

/// A folder's listing without what is left out.
#[derive(Debug)]
pub(super) struct Listed {
    pub entries: Arc<Vec<Entry>>,
    pub refused: Vec<RefusedName>,
}

/// The listings of one walk. They may be taken in path order only, each once.
pub(super) struct Ahead<T: Tree> {
    tree: Arc<T>,
    skip: Skip,
    limits: Limits,
    /// Those that find too much kept already return nothing.
    tasks: JoinSet<Option<Result<Listing>>>,
    /// What each task lists. One that is not here any more has become of no interest.
    under_way: HashMap<Id, RelPath>,
    ready: BTreeMap<RelPath, Result<Listed>>,
    /// Entries in `ready`, and of tasks that have ended.
    entries: Arc<AtomicUsize>,
    /// Of every listing that arrived, the first folder in it that was not asked for yet.
    wanted: BTreeMap<RelPath, Cursor>,
}

/// When a listing is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Now,
    Later,
}

/// Where in a listing to look for the next folder.
struct Cursor {
    folder: RelPath,
    entries: Arc<Vec<Entry>>,
    next: usize,
}

impl<T: Tree> Ahead<T> {
    pub fn new(tree: Arc<T>, skip: Skip, limits: Limits) -> Self {
        Self {
            tree,
            skip,
            limits,
            tasks: JoinSet::new(),
            under_way: HashMap::new(),
            ready: BTreeMap::new(),
            entries: Arc::default(),
            wanted: BTreeMap::new(),
        }
    }

    pub fn skips(&self, path: &RelPath, is_dir: bool) -> bool {
        (self.skip)(path, is_dir)
    }

    /// Waits for the listing of a folder.
    pub async fn take(&mut self, folder: &RelPath) -> Result<Listed> {
        if folder.depth() > self.limits.levels {
            return Err(too_deep(folder, self.limits.levels));
        }
        loop {
            while let Some(done) = self.tasks.try_join_next_with_id() {
                self.absorb(done);
            }
            if let Some(listed) = self.ready.remove(folder) {
                self.entries.fetch_sub(count(&listed), Ordering::Relaxed);
                self.top_up();
                return listed;
            }
            if !self.under_way.values().any(|path| path == folder) {
                self.ask(folder.clone(), Need::Now);
            }
            self.top_up();
            if let Some(done) = self.tasks.join_next_with_id().await {
                self.absorb(done);
            }
        }
    }

    /// Drops all that concerns a folder and what is in it.
    pub fn forget(&mut self, folder: &RelPath) {
        if let Some(cursor) = self.wanted.remove(folder) {
            self.want(cursor);
        }
        self.wanted.retain(|path, _| !path.is_within(folder));
        self.under_way.retain(|_, path| !path.is_within(folder));
        let entries = &self.entries;
        self.ready.retain(|path, listed| {
            let stays = !path.is_within(folder);
            if !stays {
                entries.fetch_sub(count(listed), Ordering::Relaxed);
            }
            stays
        });
    }

    /// Asks for what will be needed next, within bounds.
    fn top_up(&mut self) {
        while self.tasks.len() < self.limits.at_once
            && self.ready.len() < self.limits.listings_ahead
            && self.entries.load(Ordering::Relaxed) < self.limits.entries_ahead
        {
            let Some(path) = self.wanted.keys().next().cloned() else { return };
            self.ask(path, Need::Later);
        }
    }

    /// What is needed later is let go of if too much is kept by the time it is there: a server may have
    /// answered many requests with endless folders. It is asked for again when it is needed.
    fn ask(&mut self, folder: RelPath, need: Need) {
        if let Some(cursor) = self.wanted.remove(&folder) {
            self.want(cursor);
        }
        let (tree, path) = (self.tree.clone(), folder.clone());
        let (entries, most) = (self.entries.clone(), self.limits.entries_ahead);
        let task = self.tasks.spawn(async move {
            let listing = tree.list(&path).await;
            let count = size(&listing);
            let before = entries.fetch_add(count, Ordering::Relaxed);
            if need == Need::Now || count == 0 || before < most {
                return Some(listing);
            }
            entries.fetch_sub(count, Ordering::Relaxed);
            None
        });
        self.under_way.insert(task.id(), folder);
    }

    fn absorb(&mut self, done: std::result::Result<(Id, Option<Result<Listing>>), JoinError>) {
        let (id, listing) = match done {
            Ok(done) => done,
            Err(error) => (error.id(), Some(Err(broken(&error)))),
        };
        let folder = self.under_way.remove(&id);
        let Some(listing) = listing else { return };
        self.entries.fetch_sub(size(&listing), Ordering::Relaxed);
        let Some(folder) = folder else { return };
        let listed = listing.map(|listing| self.sift(&folder, listing));
        self.entries.fetch_add(count(&listed), Ordering::Relaxed);
        self.ready.insert(folder, listed);
    }

    /// Takes out what is left out or cannot be carried, and notes the folders in the rest.
    fn sift(&mut self, folder: &RelPath, listing: Listing) -> Listed {
        let Listing { mut entries, mut refused, .. } = listing;
        entries.retain(|entry| {
            if folder.as_bytes().len() + 1 + entry.name.as_bytes().len() > MAX_PATH_BYTES {
                let bytes = entry.name.as_bytes().iter().take(255).copied().collect();
                let reason = format!("the path would be longer than {MAX_PATH_BYTES} bytes");
                refused.push(RefusedName { bytes, reason });
                return false;
            }
            !(self.skip)(&folder.join(&entry.name), entry.stat.kind == Kind::Dir)
        });
        let entries = Arc::new(entries);
        if folder.depth() < self.limits.levels {
            self.want(Cursor { folder: folder.clone(), entries: entries.clone(), next: 0 });
        }
        Listed { entries, refused }
    }

    /// Moves a cursor to its next folder.
    fn want(&mut self, mut cursor: Cursor) {
        let rest = cursor.entries.get(cursor.next..).unwrap_or_default();
        let Some(skipped) = rest.iter().position(|entry| entry.stat.kind == Kind::Dir) else { return };
        let path = cursor.folder.join(&rest[skipped].name);
        cursor.next += skipped + 1;
        self.wanted.insert(path, cursor);
    }
}

fn count(listed: &Result<Listed>) -> usize {
    listed.as_ref().map_or(0, |listed| listed.entries.len() + listed.refused.len())
}

fn size(listing: &Result<Listing>) -> usize {
    listing.as_ref().map_or(0, |listing| listing.entries.len() + listing.refused.len())
}

fn too_deep(folder: &RelPath, levels: usize) -> Error {
    Error::new(ErrorKind::Name, "list the folder", folder)
        .detail(format!("it is more than {levels} folders deep"))
}

fn broken(error: &JoinError) -> Error {
    Error::new(ErrorKind::Internal, "list a folder", "").detail(error.to_string())
}
