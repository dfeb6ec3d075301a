//! How many actions of one round are under way at once, where other rounds are under way too.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Actions that any round may have under way.
const NARROW: usize = 64;

/// Rounds that may have as many under way as their line takes, while others do.
const WIDE_ROUNDS: usize = 2;

/// What all rounds of one process share, so that many of them take hardly more memory than a few.
#[derive(Debug, Clone)]
pub struct Breadth(Arc<Semaphore>);

impl Default for Breadth {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(WIDE_ROUNDS)))
    }
}

/// The room of one round.
pub(super) struct Room {
    free: Arc<Semaphore>,
    /// What it has besides once it is wide.
    more: usize,
    shared: Option<Breadth>,
    /// Held until the round ends.
    _wide: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// For so many actions; at first only for a few, if other rounds share it.
    pub fn new(most: usize, shared: Option<Breadth>) -> Self {
        let first = if shared.is_some() { most.min(NARROW) } else { most };
        Self { free: Arc::new(Semaphore::new(first)), more: most - first, shared, _wide: None }
    }

    /// Waits for room for one more action, which has it until it drops it. Waits for no other round.
    pub async fn enter(&mut self) -> Option<OwnedSemaphorePermit> {
        if self.more > 0 && self.free.available_permits() == 0 {
            self.widen();
        }
        self.free.clone().acquire_owned().await.ok()
    }

    fn widen(&mut self) {
        let Some(Breadth(shared)) = &self.shared else { return };
        if let Ok(wide) = shared.clone().try_acquire_owned() {
            self._wide = Some(wide);
            self.free.add_permits(std::mem::take(&mut self.more));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// How many fit in at once.
    fn fill(room: &mut Room) -> Vec<OwnedSemaphorePermit> {
        std::iter::from_fn(|| room.enter().now_or_never()).map(Option::unwrap).collect()
    }

    #[test]
    fn two_rounds_are_wide_and_others_get_by() {
        let shared = Breadth::default();
        let mut rooms: Vec<Room> = (0..3).map(|_| Room::new(256, Some(shared.clone()))).collect();
        let held: Vec<_> = rooms.iter_mut().map(fill).collect();
        assert_eq!(held.iter().map(Vec::len).collect::<Vec<_>>(), [256, 256, NARROW]);
        rooms.remove(0);
        assert_eq!(fill(&mut rooms[1]).len(), 256 - NARROW, "another may be wide now");
    }

    #[test]
    fn a_round_alone_has_all_and_a_small_one_needs_no_more() {
        assert_eq!(fill(&mut Room::new(256, None)).len(), 256);
        let shared = Breadth::default();
        assert_eq!(fill(&mut Room::new(10, Some(shared.clone()))).len(), 10);
        assert_eq!(shared.0.available_permits(), WIDE_ROUNDS);
    }
}
