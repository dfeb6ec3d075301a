//! A [`Tree`] in memory, for tests and simulations: nothing happens by itself, and the same calls give
//! the same inodes and times every time.
//!
//! Every operation is done as a whole when it is first polled. The clock moves by a millisecond with every
//! change. It plays either side: what its [`Traits`] say of granularity, links and kept metadata is what it
//! does. Not kept: permissions are stored and returned, and refuse nobody.

#[cfg(test)]
mod likeness;
mod power;
mod rows;
mod store;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;

pub use self::rows::{OwnedRow, Row};
use self::store::{Content, Outcome, Store};
use super::{Blind, SourceFile, StagedFile, Traits, Tree, Whole};
use crate::clock::Random;
use crate::entry::{Kind, Listing, Meta, Stat, Time};
use crate::error::{self, Error, Result};
use crate::path::RelPath;

/// What [`Memory::near`] is: everything kept, to the nanosecond.
pub const NEAR: Traits = Traits {
    mtime_granularity_secs: 0,
    keeps_mtime: true,
    open_files: 1_000,
    links: true,
    readers: 1,
    writers: 1,
    is_far: false,
    in_order: true,
    blind: Blind::Everywhere,
    round_trip: Duration::ZERO,
};

/// What [`Memory::far`] is: whole seconds, neither ctime nor inodes.
pub const FAR: Traits = Traits { mtime_granularity_secs: 1, readers: 3, writers: 3, is_far: true, ..NEAR };

/// A tree in memory. Clones are the same tree.
#[derive(Debug, Clone)]
pub struct Memory(Arc<Mutex<Store>>);

impl Memory {
    /// An empty tree that behaves like a folder of this machine.
    pub fn near() -> Self {
        Self::with(NEAR)
    }

    /// An empty tree that behaves like the far side.
    pub fn far() -> Self {
        Self::with(FAR)
    }

    /// An empty tree that behaves as told.
    pub fn with(traits: Traits) -> Self {
        let memory = Self::without_root(traits);
        memory.lock().make_root();
        memory
    }

    /// A tree whose root folder does not exist yet.
    pub fn without_root(traits: Traits) -> Self {
        Self(Arc::new(Mutex::new(Store::new(traits))))
    }

    /// Takes the root folder away with all that is in it, as an unmounted disk does.
    pub fn drop_root(&self) {
        self.lock().drop_root();
    }

    /// Moves the side's clock, forward or back.
    pub fn set_now(&self, now: Time) {
        self.lock().set_now(now);
    }

    /// Moves the side's clock on, never back.
    pub fn advance_to(&self, now: Time) {
        self.lock().advance_to(now);
    }

    /// From now on a [power cut](Self::cut_power) takes back what was not made durable. What tests and
    /// simulated users put there is durable at once.
    pub fn lose_unsynced(&self) {
        self.lock().begin_losing();
    }

    /// Does something as its users do: durable at once.
    pub fn durably<R>(&self, work: impl FnOnce(&Self) -> R) -> R {
        let before = std::mem::replace(&mut self.lock().is_durable, true);
        let result = work(self);
        self.lock().is_durable = before;
        result
    }

    /// Cuts the power: of what was not made durable, `random` chooses what is lost. Handles that were open are
    /// of no more use.
    pub fn cut_power(&self, random: &dyn Random) {
        self.lock().cut_power(random);
    }

    /// Bytes of content that fit in; `None` for any number.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn call<R>(
        &self,
        operation: &str,
        path: &RelPath,
        work: impl FnOnce(&mut Store) -> Outcome<R>,
    ) -> Result<R> {
        let outcome = work(&mut self.lock());
        outcome.map_err(|(kind, why)| Error::new(kind, operation, path).detail(why))
    }

    fn handle(&self, path: &RelPath, store: &mut Store, inode: u64) -> Handle {
        store.hold(inode);
        Handle { tree: self.clone(), path: path.clone(), inode }
    }
}

impl Tree for Memory {
    type Source = MemorySource;
    type Staged = MemoryStaged;

    async fn make_root(&self) -> Result<()> {
        self.lock().make_root();
        Ok(())
    }

    async fn list(&self, dir: &RelPath) -> Result<Listing> {
        self.call("list the folder", dir, |store| {
            let children = store.children(store.find(dir)?)?;
            Ok(Listing::from_raw(children.iter().map(|(name, &inode)| (name.clone(), store.stat(inode)))))
        })
    }

    async fn stat(&self, path: &RelPath) -> Result<Option<Stat>> {
        self.call("look at", path, |store| store.look(path))
    }

    async fn read_link(&self, path: &RelPath) -> Result<Vec<u8>> {
        self.call("read the link", path, |store| match &store.node(store.find(path)?).content {
            Content::Link(target) => Ok(target.clone()),
            _ => Err((error::Kind::Failed, "it is not a link")),
        })
    }

    async fn read_whole(&self, path: &RelPath, limit: u64) -> Result<Whole> {
        self.call("read", path, |store| {
            let inode = store.find_file(path)?;
            let stat = store.stat(inode);
            Ok(Whole { before: stat, data: range(store.data(inode), 0, limit), after: stat })
        })
    }

    async fn open(&self, path: &RelPath) -> Result<MemorySource> {
        self.call("open", path, |store| {
            let inode = store.find_file(path)?;
            Ok(MemorySource(self.handle(path, store, inode)))
        })
    }

    async fn stage(&self, path: &RelPath) -> Result<MemoryStaged> {
        self.call("make the temporary file", path, |store| {
            let inode = store.create(path, Content::File(Vec::new()), 0o600)?;
            Ok(MemoryStaged::new(self.handle(path, store, inode)))
        })
    }

    async fn reopen(&self, path: &RelPath) -> Result<MemoryStaged> {
        self.call("reopen the temporary file", path, |store| {
            let inode = store.find_file(path)?;
            Ok(MemoryStaged::new(self.handle(path, store, inode)))
        })
    }

    async fn place(&self, staged: &RelPath, target: &RelPath, _finished: &Stat) -> Result<Stat> {
        self.call("place", target, |store| {
            let inode = store.rename(staged, target, true)?;
            Ok(store.stat(inode))
        })
    }

    async fn place_onto_nothing(
        &self,
        staged: &RelPath,
        target: &RelPath,
        _finished: &Stat,
        looked: bool,
    ) -> Result<Stat> {
        self.call("place", target, |store| {
            // As OpenSSH: what was looked at is renamed to by a rename that replaces.
            let replaces = match store.traits.blind {
                Blind::Nowhere => true,
                Blind::NewFolders => looked,
                Blind::Everywhere => false,
            };
            let inode = store.rename(staged, target, replaces)?;
            Ok(store.stat(inode))
        })
    }

    async fn make_dir(&self, path: &RelPath, mode: u32) -> Result<()> {
        let mode = (mode & 0o777) | 0o700;
        let content = Content::Dir(Default::default());
        self.call("make the folder", path, |store| store.create(path, content, mode).map(drop))
    }

    async fn make_link(&self, path: &RelPath, target: &[u8]) -> Result<()> {
        self.call("make the link", path, |store| {
            if !store.traits.links {
                return Err((error::Kind::Unsupported, "this side has no links"));
            }
            store.create(path, Content::Link(target.to_vec()), 0o777).map(drop)
        })
    }

    async fn set_meta(&self, path: &RelPath, kind: Kind, meta: &Meta) -> Result<Stat> {
        self.call("set the metadata of", path, |store| {
            let inode = store.find(path)?;
            if store.stat(inode).kind != kind {
                return Err((error::Kind::Stale, "it is something else"));
            }
            if kind != Kind::Link {
                store.set_meta(inode, meta);
            }
            Ok(store.stat(inode))
        })
    }

    async fn remove_file(&self, path: &RelPath) -> Result<()> {
        self.call("remove", path, |store| store.remove_file(path))
    }

    async fn remove_dir(&self, path: &RelPath) -> Result<()> {
        self.call("remove the folder", path, |store| store.remove_dir(path))
    }

    async fn move_aside(&self, from: &RelPath, to: &RelPath) -> Result<()> {
        self.call("move aside", from, |store| store.rename(from, to, false).map(drop))
    }

    async fn sync_dir(&self, path: &RelPath) -> Result<bool> {
        self.call("make durable", path, |store| {
            let folder = store.find(path)?;
            store.children(folder)?;
            store.sync_names(folder);
            Ok(true)
        })
    }

    async fn free_bytes(&self) -> Result<Option<u64>> {
        Ok(self.lock().free())
    }

    fn traits(&self) -> Traits {
        self.lock().traits
    }
}

/// An inode that stays while somebody has it open, whatever becomes of its name.
#[derive(Debug)]
struct Handle {
    tree: Memory,
    /// What it was opened by, for errors.
    path: RelPath,
    inode: u64,
}

impl Handle {
    fn stat(&self) -> Stat {
        self.tree.lock().stat(self.inode)
    }

    fn read(&self, offset: u64, len: u64) -> Bytes {
        range(self.tree.lock().data(self.inode), offset, len)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.tree.lock().release(self.inode);
    }
}

fn range(data: &[u8], offset: u64, len: u64) -> Bytes {
    let clamp = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(data.len());
    Bytes::copy_from_slice(&data[clamp(offset)..clamp(offset.saturating_add(len))])
}

/// A file of a [`Memory`], open for reading.
#[derive(Debug)]
pub struct MemorySource(Handle);

impl SourceFile for MemorySource {
    async fn stat(&self) -> Result<Stat> {
        Ok(self.0.stat())
    }

    async fn read_at(&self, offset: u64, len: u64) -> Result<Bytes> {
        Ok(self.0.read(offset, len))
    }
}

/// A temporary file of a [`Memory`].
#[derive(Debug)]
pub struct MemoryStaged {
    path: RelPath,
    /// `None` once it is finished.
    handle: Mutex<Option<Handle>>,
}

impl MemoryStaged {
    fn new(handle: Handle) -> Self {
        Self { path: handle.path.clone(), handle: Mutex::new(Some(handle)) }
    }

    fn slot(&self) -> MutexGuard<'_, Option<Handle>> {
        self.handle.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn with<R>(&self, operation: &str, work: impl FnOnce(&Handle) -> Result<R>) -> Result<R> {
        match &*self.slot() {
            Some(handle) => work(handle),
            None => {
                let error = Error::new(error::Kind::Internal, operation, &self.path);
                Err(error.detail("it is finished already"))
            }
        }
    }
}

impl StagedFile for MemoryStaged {
    async fn stat(&self) -> Result<Stat> {
        self.with("look at", |handle| Ok(handle.stat()))
    }

    async fn write_at(&self, offset: u64, data: Bytes) -> Result<()> {
        self.with("write", |handle| {
            handle.tree.call("write", &self.path, |store| store.write(handle.inode, offset, &data))
        })
    }

    async fn read_at(&self, offset: u64, len: u64) -> Result<Bytes> {
        self.with("read back", |handle| Ok(handle.read(offset, len)))
    }

    async fn finish(&self, size: u64, meta: &Meta, durable: bool) -> Result<Stat> {
        let stat = self.with("finish", |handle| {
            handle.tree.call("finish", &self.path, |store| {
                store.resize(handle.inode, size)?;
                store.set_meta(handle.inode, meta);
                if durable {
                    store.sync_content(handle.inode);
                }
                Ok(store.stat(handle.inode))
            })
        })?;
        *self.slot() = None;
        Ok(stat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rel(path: &str) -> RelPath {
        RelPath::parse(path.as_bytes()).unwrap()
    }

    fn owned(rows: &[Row]) -> Vec<OwnedRow> {
        rows.iter().map(|&(path, content, mtime)| (path.into(), content.into(), mtime)).collect()
    }

    #[test]
    fn rows_come_back_in_path_order() {
        let rows = [
            ("a/", "", 0),
            ("a/b", "one", 100),
            ("a/dir/", "", 0),
            ("a/dir/l", "-> ../b", 0),
            ("a-b", "two", -5),
            ("fifo", "<special>", 0),
        ];
        assert_eq!(Memory::near().and(&rows).rows(), owned(&rows));
        let memory =
            Memory::near().and(&[(".highwater/x", "", 1), ("f", "", 1), ("f/g", "file to folder", 1)]);
        assert_eq!(memory.rows(), owned(&[("f/", "", 0), ("f/g", "file to folder", 1)]));
        assert_eq!(memory.all_rows().len(), 4);
        memory.take_away("f");
        memory.take_away("f");
        assert_eq!(memory.rows(), []);
        assert_eq!(memory.content(".highwater/x"), Some(vec![]));
    }

    #[tokio::test]
    async fn an_open_file_outlives_its_name() {
        let memory = Memory::near().and(&[("f", "old", 1)]);
        let open = memory.open(&rel("f")).await.unwrap();
        memory.put_file("f", b"new", 2);
        assert_eq!(open.read_at(0, 10).await.unwrap(), "old");
        memory.drop_root();
        assert_eq!(open.read_at(1, 1).await.unwrap(), "l");
        assert_eq!(memory.stat(&RelPath::root()).await.unwrap(), None);
        drop(open);
        assert!(memory.lock().is_empty());
    }

    #[tokio::test]
    async fn the_same_calls_give_the_same_tree() {
        let build = || Memory::near().and(&[("a/b", "x", 1), ("c", "y", 2), ("a/b", "z", 3)]);
        let (one, two) = (build(), build());
        for path in ["a", "a/b", "c"] {
            assert_eq!(one.stat(&rel(path)).await.unwrap(), two.stat(&rel(path)).await.unwrap());
        }
    }

    #[tokio::test]
    async fn a_side_keeps_what_its_traits_say() {
        let meta = Meta { mode: 0o640, mtime: Time { secs: 1_001, nanos: 5 } };
        let check = async |traits: Traits, expected: Option<Time>| {
            let memory = Memory::with(traits);
            let stat = memory.stage(&rel("f")).await.unwrap().finish(0, &meta, true).await.unwrap();
            match expected {
                Some(mtime) => assert_eq!((stat.mtime, stat.mode), (mtime, meta.mode)),
                None => assert!(stat.mtime.secs >= 1_000_000_000 && stat.mode == 0o600, "{stat:?}"),
            }
            assert_eq!(stat.inode.is_none(), traits.is_far);
        };
        check(NEAR, Some(Time { secs: 1_001, nanos: 5 })).await;
        check(FAR, Some(Time::from_secs(1_001))).await;
        check(Traits { mtime_granularity_secs: 2, ..FAR }, Some(Time::from_secs(1_000))).await;
        check(Traits { keeps_mtime: false, ..FAR }, None).await;
    }

    #[tokio::test]
    async fn a_full_side_says_so_and_keeps_what_it_has() {
        let memory = Memory::near().and(&[("f", "12345", 1)]);
        memory.set_capacity(Some(8));
        let staged = memory.stage(&rel("s")).await.unwrap();
        staged.write_at(0, Bytes::from_static(b"abc")).await.unwrap();
        let error = staged.write_at(2, Bytes::from_static(b"cd")).await.unwrap_err();
        assert_eq!(error.kind(), error::Kind::NoSpace);
        assert_eq!(staged.read_at(0, 9).await.unwrap(), "abc");
        assert_eq!(memory.free_bytes().await.unwrap(), Some(0));
    }
}
