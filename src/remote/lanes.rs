//! The channels that serve one tree, and who opens a file on which.
//!
//! A server bounds the handles of one channel. Whoever needs one waits for any channel to have one, not for a
//! certain one: channels come while others wait, and are put to work at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::lane::{Lane, Place};

/// The channels of one tree, at least one.
pub(super) struct Lanes {
    lanes: RwLock<Vec<Arc<Lane>>>,
    turn: AtomicUsize,
    /// The handles of all of them.
    handles: Arc<Semaphore>,
}

/// Leave to open one file on this channel.
pub(super) struct Seat {
    pub lane: Arc<Lane>,
    pub permit: Permit,
}

/// One handle, until this is dropped.
pub(super) struct Permit {
    /// Given back before the other one: whoever has one of all finds one that is free.
    _of_lane: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Lanes {
    pub fn new(first: Arc<Lane>) -> Self {
        let handles = Arc::new(Semaphore::new(first.most_handles()));
        Self { lanes: RwLock::new(vec![first]), turn: AtomicUsize::new(0), handles }
    }

    /// Adds another one, for whoever waits as well.
    pub fn add(&self, lane: Arc<Lane>) {
        let more = lane.most_handles();
        self.lanes.write().unwrap_or_else(PoisonError::into_inner).push(lane);
        self.handles.add_permits(more);
    }

    /// Those that live on the connection of the first one.
    pub fn here(&self) -> Self {
        let lanes: Vec<Arc<Lane>> =
            self.all().iter().filter(|lane| lane.place() == Place::Here).cloned().collect();
        // Those that are only just being closed come back too.
        let handles = lanes.iter().map(|lane| lane.most_handles()).sum();
        Self {
            lanes: RwLock::new(lanes),
            turn: AtomicUsize::new(0),
            handles: Arc::new(Semaphore::new(handles)),
        }
    }

    /// All of them, at least one.
    pub fn all(&self) -> RwLockReadGuard<'_, Vec<Arc<Lane>>> {
        self.lanes.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that was there from the beginning.
    pub fn first(&self) -> Arc<Lane> {
        self.all()[0].clone()
    }

    /// The next one in turn.
    pub fn next(&self) -> Arc<Lane> {
        let lanes = self.all();
        lanes[self.turn.fetch_add(1, Ordering::Relaxed) % lanes.len()].clone()
    }

    /// The next one in turn that is none of these; `None`: there is none.
    pub fn beside(&self, others: &[&Arc<Lane>]) -> Option<Arc<Lane>> {
        let lanes = self.all();
        let free: Vec<&Arc<Lane>> =
            lanes.iter().filter(|lane| !others.iter().any(|other| Arc::ptr_eq(lane, other))).collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(free.len())?;
        Some(free[turn].clone())
    }

    /// Waits until a file may be opened, on the next channel in turn that has a handle left. `None`: they are closed.
    pub async fn seat(&self) -> Option<Seat> {
        if self.handles.available_permits() == 0 {
            self.first().ask_for_another();
        }
        let of_all = self.handles.clone().acquire_owned().await.ok()?;
        let lane = self.next_free();
        let of_lane = lane.handle().await?;
        Some(Seat { lane, permit: Permit { _of_lane: of_lane, _of_all: of_all } })
    }

    /// The same at once, on a certain channel. `None`: it has none left.
    pub fn seat_on(&self, lane: Arc<Lane>) -> Option<Seat> {
        let of_all = self.handles.clone().try_acquire_owned().ok()?;
        let of_lane = lane.free_handle()?;
        Some(Seat { lane, permit: Permit { _of_lane: of_lane, _of_all: of_all } })
    }

    fn next_free(&self) -> Arc<Lane> {
        let lanes = self.all();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut in_turn = (0..lanes.len()).map(|step| &lanes[(turn + step) % lanes.len()]);
        let free = in_turn.find(|lane| lane.free_handles() > 0);
        free.unwrap_or(&lanes[turn % lanes.len()]).clone()
    }
}
