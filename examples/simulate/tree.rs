//! Either side as the engine sees it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use highwater::entry::{Kind, Listing, Meta, Stat};
use highwater::error::Result;
use highwater::job::Near;
use highwater::journal::RootIdentity;
use highwater::path::RelPath;
use highwater::tree::memory::{Memory, MemorySource, MemoryStaged};
use highwater::tree::{SourceFile, StagedFile, Traits, Tree, Whole};

use crate::look::now;
use crate::session::{Lane, Session};
use crate::world::{Call, Fate, Side, World};

/// A tree in memory, behind a line if it is the far one.
#[derive(Clone)]
pub struct SimTree {
    world: Arc<World>,
    /// `None`: it is the near one.
    session: Option<Arc<Session>>,
}

impl SimTree {
    pub fn near(world: &Arc<World>) -> Self {
        Self { world: world.clone(), session: None }
    }

    pub fn far(world: &Arc<World>, session: Arc<Session>) -> Self {
        Self { world: world.clone(), session: Some(session) }
    }

    fn side(&self) -> Side {
        if self.session.is_some() { Side::Far } else { Side::Near }
    }

    /// What its path leads to now: a server looks it up for every request, whatever the connection has seen.
    fn memory(&self) -> Memory {
        self.world.shown(self.side())
    }

    fn call(&self, operation: &'static str, path: &RelPath) -> Call {
        let side = self.side();
        Call { side, operation, path: path.clone(), to: None, is_strange: self.world.is_strange(side) }
    }

    async fn ask<R: Send + 'static>(
        &self,
        call: Call,
        lane: Option<&Lane>,
        deed: impl FnOnce(&Memory) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        match &self.session {
            Some(session) => session.ask(self.memory(), call, session.lane(lane), deed).await,
            None => self.ask_near(call, lane, deed).await,
        }
    }

    async fn ask_near<R>(
        &self,
        call: Call,
        lane: Option<&Lane>,
        deed: impl FnOnce(&Memory) -> Result<R>,
    ) -> Result<R> {
        let _turn = match lane {
            Some(lane) => Some(lane.lock().await),
            None => None,
        };
        let waits = self.world.lock().random.chance(30);
        if waits {
            tokio::time::sleep(Duration::from_millis(self.world.way_millis().min(3))).await;
        }
        match self.world.perform(&self.memory(), &call, deed) {
            Fate::Answer(result) => result,
            Fate::Cut | Fate::Crash => std::future::pending().await,
        }
    }

    async fn simple<R: Send + 'static>(
        &self,
        operation: &'static str,
        path: &RelPath,
        deed: impl AsyncFnOnce(&Memory, &RelPath) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let at = path.clone();
        self.ask(self.call(operation, path), None, move |memory| now(deed(memory, &at))).await
    }
}

impl Near for SimTree {
    fn identity(&self) -> Result<RootIdentity> {
        Ok(RootIdentity { device: 1, inode: if self.world.is_strange(self.side()) { 3 } else { 2 } })
    }

    fn is_in_place(&self) -> Result<bool> {
        Ok(true)
    }
}

impl Tree for SimTree {
    type Source = SimSource;
    type Staged = SimStaged;

    async fn make_root(&self) -> Result<()> {
        self.simple("make_root", &RelPath::root(), async |m, _| m.make_root().await).await
    }

    async fn list(&self, dir: &RelPath) -> Result<Listing> {
        let call = self.call("list", dir);
        let lie = self.world.lie(&call);
        let at = dir.clone();
        let mut listing = self.ask(call, None, move |memory| now(memory.list(&at))).await?;
        if let Some(mut random) = lie {
            let all = random.chance(30);
            listing.entries.retain(|_| !all && random.chance(60));
        }
        Ok(listing)
    }

    async fn stat(&self, path: &RelPath) -> Result<Option<Stat>> {
        self.simple("stat", path, async |m, path| m.stat(path).await).await
    }

    async fn read_link(&self, path: &RelPath) -> Result<Vec<u8>> {
        self.simple("read_link", path, async |m, path| m.read_link(path).await).await
    }

    async fn read_whole(&self, path: &RelPath, limit: u64) -> Result<Whole> {
        self.simple("read_whole", path, async move |m, path| m.read_whole(path, limit).await).await
    }

    async fn open(&self, path: &RelPath) -> Result<SimSource> {
        let file = self.simple("open", path, async |m, path| m.open(path).await).await?;
        Ok(SimSource { tree: self.clone(), path: path.clone(), file: Arc::new(file), lane: Lane::default() })
    }

    async fn stage(&self, path: &RelPath) -> Result<SimStaged> {
        let file = self.simple("stage", path, async |m, path| m.stage(path).await).await?;
        Ok(SimStaged { tree: self.clone(), path: path.clone(), file: Arc::new(file), lane: Lane::default() })
    }

    async fn reopen(&self, path: &RelPath) -> Result<SimStaged> {
        let file = self.simple("reopen", path, async |m, path| m.reopen(path).await).await?;
        Ok(SimStaged { tree: self.clone(), path: path.clone(), file: Arc::new(file), lane: Lane::default() })
    }

    async fn place(&self, staged: &RelPath, target: &RelPath, finished: &Stat) -> Result<Stat> {
        let (from, finished) = (staged.clone(), *finished);
        self.simple("place", target, async move |m, target| m.place(&from, target, &finished).await).await
    }

    async fn place_onto_nothing(
        &self,
        staged: &RelPath,
        target: &RelPath,
        finished: &Stat,
        looked: bool,
    ) -> Result<Stat> {
        let (from, finished) = (staged.clone(), *finished);
        let place = async move |m: &Memory, target: &RelPath| {
            m.place_onto_nothing(&from, target, &finished, looked).await
        };
        self.simple("place", target, place).await
    }

    async fn make_dir(&self, path: &RelPath, mode: u32) -> Result<()> {
        self.simple("make_dir", path, async move |m, path| m.make_dir(path, mode).await).await
    }

    async fn make_link(&self, path: &RelPath, target: &[u8]) -> Result<()> {
        let target = target.to_vec();
        self.simple("make_link", path, async move |m, path| m.make_link(path, &target).await).await
    }

    async fn set_meta(&self, path: &RelPath, kind: Kind, meta: &Meta) -> Result<Stat> {
        let meta = *meta;
        self.simple("set_meta", path, async move |m, path| m.set_meta(path, kind, &meta).await).await
    }

    async fn remove_file(&self, path: &RelPath) -> Result<()> {
        self.simple("remove_file", path, async |m, path| m.remove_file(path).await).await
    }

    async fn remove_dir(&self, path: &RelPath) -> Result<()> {
        self.simple("remove_dir", path, async |m, path| m.remove_dir(path).await).await
    }

    async fn move_aside(&self, from: &RelPath, to: &RelPath) -> Result<()> {
        let call = Call { to: Some(to.clone()), ..self.call("move_aside", from) };
        let (from, to) = (from.clone(), to.clone());
        self.ask(call, None, move |memory| now(memory.move_aside(&from, &to))).await
    }

    async fn sync_dir(&self, path: &RelPath) -> Result<bool> {
        self.simple("sync_dir", path, async |m, path| m.sync_dir(path).await).await
    }

    async fn free_bytes(&self) -> Result<Option<u64>> {
        self.simple("free_bytes", &RelPath::root(), async |m, _| m.free_bytes().await).await
    }

    fn traits(&self) -> Traits {
        self.memory().traits()
    }
}

/// A file open for reading.
pub struct SimSource {
    tree: SimTree,
    path: RelPath,
    file: Arc<MemorySource>,
    lane: Lane,
}

impl SourceFile for SimSource {
    async fn stat(&self) -> Result<Stat> {
        let file = self.file.clone();
        let call = self.tree.call("source.stat", &self.path);
        self.tree.ask(call, Some(&self.lane), move |_| now(file.stat())).await
    }

    async fn read_at(&self, offset: u64, len: u64) -> Result<Bytes> {
        let file = self.file.clone();
        let call = self.tree.call("source.read_at", &self.path);
        let read = move |_: &Memory| now(file.read_at(offset, len));
        let data = self.tree.ask(call.clone(), Some(&self.lane), read).await?;
        Ok(self.tree.world.carry(&call, data))
    }
}

/// A file that is being written.
pub struct SimStaged {
    tree: SimTree,
    path: RelPath,
    file: Arc<MemoryStaged>,
    lane: Lane,
}

impl SimStaged {
    async fn ask<R: Send + 'static>(
        &self,
        operation: &'static str,
        deed: impl FnOnce(&MemoryStaged) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let (file, call) = (self.file.clone(), self.tree.call(operation, &self.path));
        self.tree.ask(call, Some(&self.lane), move |_| deed(&file)).await
    }
}

impl StagedFile for SimStaged {
    async fn stat(&self) -> Result<Stat> {
        self.ask("staged.stat", |file| now(file.stat())).await
    }

    async fn write_at(&self, offset: u64, data: Bytes) -> Result<()> {
        let data = self.tree.world.carry(&self.tree.call("staged.write_at", &self.path), data);
        self.ask("staged.write_at", move |file| now(file.write_at(offset, data))).await
    }

    async fn read_at(&self, offset: u64, len: u64) -> Result<Bytes> {
        let data = self.ask("staged.read_at", move |file| now(file.read_at(offset, len))).await?;
        Ok(self.tree.world.carry(&self.tree.call("staged.read_at", &self.path), data))
    }

    async fn close(&self) -> Result<()> {
        self.ask("staged.close", |file| now(file.close())).await
    }

    async fn finish(&self, size: u64, meta: &Meta, durable: bool) -> Result<Stat> {
        let meta = *meta;
        self.ask("staged.finish", move |file| now(file.finish(size, &meta, durable))).await
    }
}
