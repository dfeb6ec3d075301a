//! The far side of a round: a folder on a server, or one file of a folder, with the connection it lives on.

use std::sync::Arc;

use tokio::task::AbortHandle;

use crate::entry::{Kind, Listing, Meta, Stat};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::path::{Name, RelPath, RemoteRoot};
use crate::tree::{Beside, Traits, Tree, Whole};

use super::abilities::{Abilities, Can, Known};
use super::connect::Connection;
use super::connections::{Connections, widen};
use super::open_file::{FarSource, FarStaged};
use super::sftp::SftpTree;

/// One file by two names: what it is called here is what the journal knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// Its name on this machine.
    pub here: Name,
    /// Its name on the server.
    pub there: Name,
}

/// A folder on a server. Its connections are cut when the last handle to this is dropped.
pub struct Far {
    tree: Arc<SftpTree>,
    connections: Arc<Connections>,
    alias: Option<Alias>,
    widening: AbortHandle,
}

impl Drop for Far {
    fn drop(&mut self) {
        self.widening.abort();
    }
}

impl Far {
    /// Starts SFTP at `root`. More channels are opened in the background when those there are have more
    /// than enough to do; a server that refuses them is served by those there are.
    pub async fn open(
        connection: Arc<Connection>,
        root: RemoteRoot,
        alias: Option<Alias>,
        remembered: Known,
    ) -> Result<Self> {
        let channel = connection.open_sftp().await?;
        let tree = SftpTree::open(channel, root, &connection.server().ident, remembered).await?;
        Ok(Self::on(Arc::new(Connections::of(connection)), tree, alias))
    }

    /// Another folder over the same connection and channels, for when nobody works with this one any more.
    pub fn at(self: Arc<Self>, root: &RemoteRoot) -> Arc<Self> {
        match self.tree.root() == root && self.alias.is_none() {
            true => self,
            false => Arc::new(Self::on(
                self.connections.clone(),
                self.tree.over(root.clone(), self.tree.lanes.clone()),
                None,
            )),
        }
    }

    /// The same for whoever is next, once nobody works with it: with one connection, which is what each costs a server
    /// that counts them.
    pub fn narrowed(self: Arc<Self>) -> Arc<Self> {
        if self.connections.count() == 1 {
            return self;
        }
        self.widening.abort();
        let connections = Connections::of(self.connection().clone());
        let tree = self.tree.over(self.tree.root().clone(), Arc::new(self.tree.lanes.here()));
        Arc::new(Self::on(Arc::new(connections), tree, self.alias.clone()))
    }

    fn on(connections: Arc<Connections>, tree: SftpTree, alias: Option<Alias>) -> Self {
        let tree = Arc::new(tree);
        let widening = widen(Arc::downgrade(&tree), Arc::downgrade(&connections), tree.busy());
        let widening = tokio::spawn(widening).abort_handle();
        Self { tree, connections, alias, widening }
    }

    /// Whether a connection that it lives on has come to an end.
    pub fn is_lost(&self) -> bool {
        self.connections.lost().is_some()
    }

    /// The connection that it was opened on.
    pub fn connection(&self) -> &Arc<Connection> {
        self.connections.first()
    }

    /// What is learned of the server, as it goes on.
    pub fn abilities(&self) -> Arc<Abilities> {
        self.tree.abilities.clone()
    }

    /// A path as the server has it.
    fn there(&self, path: &RelPath) -> RelPath {
        match &self.alias {
            Some(alias) if path.as_bytes() == alias.here.as_bytes() => RelPath::root().join(&alias.there),
            _ => path.clone(),
        }
    }

    /// A listing of the root with the file under the name it has here, and without whatever else has it.
    fn here(&self, dir: &RelPath, mut listing: Listing) -> Listing {
        let Some(alias) = self.alias.as_ref().filter(|alias| dir.is_root() && alias.here != alias.there)
        else {
            return listing;
        };
        listing.entries.retain(|entry| entry.name != alias.here);
        for entry in &mut listing.entries {
            if entry.name == alias.there {
                entry.name = alias.here.clone();
            }
        }
        listing.entries.sort_by(|a, b| a.name.cmp(&b.name));
        listing
    }

    /// The server's reason for hanging up is better than what a single request saw of it.
    fn explained<T>(&self, result: Result<T>) -> Result<T> {
        match result {
            Err(error) if error.kind() == ErrorKind::Disconnected => {
                let Some(lost) = self.connections.lost() else { return Err(error) };
                if self.connections.count() > 1 {
                    // It may be that the server takes no more than one.
                    self.tree.abilities.learn(|k| k.more_connections = Can::No);
                }
                Err(Error::new(ErrorKind::Disconnected, error.operation(), error.subject())
                    .detail(lost.reason()))
            }
            result => result,
        }
    }
}

impl Tree for Far {
    type Source = FarSource;
    type Staged = FarStaged;

    async fn make_root(&self) -> Result<()> {
        self.explained(self.tree.make_root().await)
    }

    async fn list(&self, dir: &RelPath) -> Result<Listing> {
        let listing = self.explained(self.tree.list(dir).await)?;
        Ok(self.here(dir, listing))
    }

    async fn stat(&self, path: &RelPath) -> Result<Option<Stat>> {
        self.explained(self.tree.stat(&self.there(path)).await)
    }

    async fn stat_behind(&self, staged: &FarStaged, path: &RelPath) -> Option<Result<Option<Stat>>> {
        let there = self.tree.stat_behind(staged, &self.there(path)).await?;
        Some(self.explained(there))
    }

    async fn read_link(&self, path: &RelPath) -> Result<Vec<u8>> {
        self.explained(self.tree.read_link(&self.there(path)).await)
    }

    async fn read_whole(&self, path: &RelPath, limit: u64) -> Result<Whole> {
        self.explained(self.tree.read_whole(&self.there(path), limit).await)
    }

    async fn open(&self, path: &RelPath) -> Result<FarSource> {
        self.explained(self.tree.open(&self.there(path)).await)
    }

    async fn stage(&self, path: &RelPath) -> Result<FarStaged> {
        self.explained(self.tree.stage(path).await)
    }

    async fn reopen(&self, path: &RelPath) -> Result<FarStaged> {
        self.explained(self.tree.reopen(path).await)
    }

    async fn reopen_beside(&self, path: &RelPath, others: &[&FarStaged]) -> Result<Beside<FarStaged>> {
        self.explained(self.tree.reopen_beside(path, others).await)
    }

    fn note_beside(&self, works: bool) {
        self.tree.note_beside(works);
    }

    async fn place(&self, staged: &RelPath, target: &RelPath, finished: &Stat) -> Result<Stat> {
        self.explained(self.tree.place(staged, &self.there(target), finished).await)
    }

    async fn place_onto_nothing(
        &self,
        staged: &RelPath,
        target: &RelPath,
        finished: &Stat,
        looked: bool,
    ) -> Result<Stat> {
        self.explained(self.tree.place_onto_nothing(staged, &self.there(target), finished, looked).await)
    }

    async fn make_dir(&self, path: &RelPath, mode: u32) -> Result<()> {
        self.explained(self.tree.make_dir(&self.there(path), mode).await)
    }

    async fn make_link(&self, path: &RelPath, target: &[u8]) -> Result<()> {
        self.explained(self.tree.make_link(&self.there(path), target).await)
    }

    async fn set_meta(&self, path: &RelPath, kind: Kind, meta: &Meta) -> Result<Stat> {
        self.explained(self.tree.set_meta(&self.there(path), kind, meta).await)
    }

    async fn remove_file(&self, path: &RelPath) -> Result<()> {
        self.explained(self.tree.remove_file(&self.there(path)).await)
    }

    async fn remove_dir(&self, path: &RelPath) -> Result<()> {
        self.explained(self.tree.remove_dir(&self.there(path)).await)
    }

    async fn move_aside(&self, from: &RelPath, to: &RelPath) -> Result<()> {
        self.explained(self.tree.move_aside(&self.there(from), &self.there(to)).await)
    }

    async fn move_onto_nothing(&self, from: &RelPath, to: &RelPath) -> Result<()> {
        self.explained(self.tree.move_onto_nothing(&self.there(from), &self.there(to)).await)
    }

    async fn sync_dir(&self, path: &RelPath) -> Result<bool> {
        self.explained(self.tree.sync_dir(path).await)
    }

    async fn free_bytes(&self) -> Result<Option<u64>> {
        self.explained(self.tree.free_bytes().await)
    }

    fn traits(&self) -> Traits {
        self.tree.traits()
    }

    fn expect_much(&self) {
        if self.tree.is_far_away() {
            self.tree.busy().notify_one();
        }
    }
}
