//! The connections that the channels of one far side live on: nearly always one. More are made where a server gives one
//! connection fewer channels than a long line needs (MaxSessions in OpenSSH).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures_util::future::join_all;
use tokio::sync::Notify;

use super::abilities::Can;
use super::connect::Connection;
use super::sftp::SftpTree;
use crate::error::{Error, Kind, Result};

/// Channels that serve one round. OpenSSH's window holds one channel to 2 MiB per round trip, and its limit for
/// one connection (MaxSessions) is 10. As long as those there are have more than enough to do, their number is
/// doubled.
const LANES: usize = 8;

/// Connections that serve one round. Each costs a login, and servers count those of one address.
const CONNECTIONS: usize = 4;

/// Connections to one account, at least one. Cut when dropped.
pub(super) struct Connections {
    first: Arc<Connection>,
    further: Mutex<Vec<Arc<Connection>>>,
}

impl Connections {
    pub fn of(first: Arc<Connection>) -> Self {
        Self { first, further: Mutex::default() }
    }

    /// The one that was there from the beginning.
    pub fn first(&self) -> &Arc<Connection> {
        &self.first
    }

    /// Why one of them has come to an end, if one has: what is open on it is lost.
    pub fn lost(&self) -> Option<Error> {
        if self.first.is_lost() {
            return Some(self.first.lost());
        }
        self.further().iter().find(|further| further.is_lost()).map(|further| further.lost())
    }

    /// Makes one more, with so many channels at best. `false`: there can be none. Errors if it is of no use.
    async fn beside(&self, tree: &SftpTree, channels: usize) -> Result<bool> {
        let Some(made) = self.first.another().await?.map(Arc::new) else { return Ok(false) };
        self.further().push(made.clone()); // before its channels serve anybody
        let before = tree.lanes();
        let opened = (0..channels).map(|_| async { tree.widen_elsewhere(made.open_sftp().await?).await });
        let refusal = join_all(opened).await.into_iter().find_map(Result::err);
        match refusal.filter(|_| tree.lanes() == before) {
            None => Ok(true),
            Some(refusal) => {
                self.further().retain(|further| !Arc::ptr_eq(further, &made));
                Err(refusal)
            }
        }
    }

    fn further(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        self.further.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        1 + self.further().len()
    }
}

/// Opens more channels whenever those there are have more than enough to do, as many as are worth it or can be had.
pub(super) async fn widen(tree: Weak<SftpTree>, connections: Weak<Connections>, busy: Arc<Notify>) {
    let wider = Widening { tree, connections };
    wider.on_the_first(&busy).await;
    let Err(error) = wider.on_others(&busy).await else { return };
    if let Some(tree) = wider.tree.upgrade() {
        tree.abilities.learn(|k| k.more_connections = Can::No);
    }
    match error.kind() {
        Kind::HostKeyChanged | Kind::Halt => tracing::warn!("{error}: {}", error.reason()),
        _ => tracing::debug!("no further connection: {error}: {}", error.reason()),
    }
}

struct Widening {
    tree: Weak<SftpTree>,
    connections: Weak<Connections>,
}

/// What there is at some moment.
struct Now {
    tree: Arc<SftpTree>,
    connections: Arc<Connections>,
    /// How many channels are missing.
    missing: usize,
}

impl Widening {
    /// `None`: nobody needs more, or nobody is there any more.
    fn now(&self) -> Option<Now> {
        let (tree, connections) = (self.tree.upgrade()?, self.connections.upgrade()?);
        let most = LANES.min(connections.first.most_channels());
        let missing = most.checked_sub(tree.lanes()).filter(|&missing| missing > 0)?;
        Some(Now { tree, connections, missing })
    }

    /// Until there are enough, or the server refuses one.
    async fn on_the_first(&self, busy: &Notify) {
        while self.now().is_some() {
            busy.notified().await;
            let Some(Now { tree, connections, missing }) = self.now() else { break };
            let count = if tree.is_far_away() { missing } else { missing.min(tree.lanes()) };
            let opened = (0..count).map(|_| async { tree.widen(connections.first.open_sftp().await?).await });
            if let Some(refusal) = join_all(opened).await.into_iter().find_map(Result::err) {
                return tracing::debug!("no further channel here: {refusal}: {}", refusal.reason());
            }
        }
    }

    /// Until there are enough, one connection after the other, over a long line.
    async fn on_others(&self, busy: &Notify) -> Result<()> {
        while self.now().is_some() {
            busy.notified().await;
            let Some(Now { tree, connections, missing }) = self.now() else { break };
            let is_worth_it = tree.is_far_away() && tree.known().more_connections.may();
            if !is_worth_it || connections.count() == CONNECTIONS || connections.lost().is_some() {
                break;
            }
            let each = (tree.lanes() / connections.count()).max(1);
            if !connections.beside(&tree, each.min(missing)).await? {
                break;
            }
        }
        Ok(())
    }
}
