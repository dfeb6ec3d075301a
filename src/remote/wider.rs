//! More channels for a tree: on its connection, and on others to the same server.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Mutex, Semaphore};

use super::lane::{Acquaintance, Lane, Place};
use super::lanes::Lanes;
use super::sftp::SftpTree;
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::path::{RelPath, RemoteRoot, escape};
use crate::tree::{Tree, own};

/// Over a line with such a round trip, all channels are worth what they cost from the start.
const LONG_LINE: Duration = Duration::from_millis(10);

impl SftpTree {
    /// Adds another channel of the same connection.
    pub async fn widen<S>(&self, stream: S) -> Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.lanes.add(Arc::new(self.lane_on(stream, Place::Here).await?));
        Ok(())
    }

    /// Adds a channel of another connection, if it leads to the same root. Errors with `Halt` if it does not.
    pub(super) async fn widen_elsewhere<S>(&self, stream: S) -> Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let lane = Arc::new(self.lane_on(stream, Place::Elsewhere).await?);
        let there = self.over(self.root.clone(), Arc::new(Lanes::new(lane.clone())));
        let root = || escape(&self.root.join(&RelPath::root()));
        // One after the other: a root may be given its name meanwhile.
        let Some(ours) = marker(self).await? else {
            return Err(Error::new(ErrorKind::Unsupported, "connect once more to", root())
                .detail("the folder has no name of ours by which it would be known again"));
        };
        if marker(&there).await? != Some(ours) {
            return Err(Error::new(ErrorKind::Halt, "connect once more to", root())
                .detail("another folder answers there: the name may lead to several machines"));
        }
        self.lanes.add(lane);
        Ok(())
    }

    async fn lane_on<S>(&self, stream: S, place: Place) -> Result<Lane>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let announced = self.announced();
        Lane::open(stream, self.busy.clone(), Acquaintance::Announced(&announced), place).await
    }

    /// Another folder, or the same over other channels.
    pub(super) fn over(&self, root: RemoteRoot, lanes: Arc<Lanes>) -> Self {
        let (busy, abilities) = (self.busy.clone(), self.abilities.clone());
        let makes_no_second_names = AtomicBool::new(!self.makes_second_names());
        let (large_listing, trials) = (Semaphore::new(1), Mutex::default());
        Self { root, lanes, busy, large_listing, abilities, trials, makes_no_second_names }
    }

    /// How many channels there are.
    pub(super) fn lanes(&self) -> usize {
        self.lanes.all().len()
    }

    /// Whether requests take so long that all channels are worth what they cost from the start, and further
    /// connections are where channels are refused.
    pub(super) fn is_far_away(&self) -> bool {
        self.first_lane().round_trip() >= LONG_LINE
    }
}

/// What a root is known by; nothing where it has no name of ours.
async fn marker(tree: &SftpTree) -> Result<Option<Bytes>> {
    const MOST_BYTES: u64 = 4096;
    match tree.read_whole(&own::root_file(), MOST_BYTES).await {
        Ok(whole) => Ok(Some(whole.data)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
