//! How many actions of one round are under way at once, where other rounds are under way too.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Actions that any round may have under way, whatever others have.
const NARROW: usize = 32;

/// What all rounds of one process share, so that many of them take hardly more memory than one: beyond a few each,
/// they have together as many actions under way as the line of one of them takes.
#[derive(Debug, Clone, Default)]
pub struct Breadth(Arc<AtomicUsize>);

/// The room of one round.
pub(super) struct Room {
    own: Arc<Semaphore>,
    shared: Option<Breadth>,
    /// How many may be under way, the others' too, for there to be room for one more of this round.
    more: usize,
}

/// Room for one action.
pub(super) enum Permit {
    Own { _permit: OwnedSemaphorePermit },
    Shared(Breadth),
}

impl Room {
    /// For so many actions.
    pub fn new(most: usize, shared: Option<Breadth>) -> Self {
        let own = if shared.is_some() { most.min(NARROW) } else { most };
        Self { own: Arc::new(Semaphore::new(own)), shared, more: most - own }
    }

    /// Waits for room for one more action, but for no other round.
    pub async fn enter(&self) -> Option<Permit> {
        if let Ok(permit) = self.own.clone().try_acquire_owned() {
            return Some(Permit::Own { _permit: permit });
        }
        match self.shared.as_ref().and_then(|shared| shared.take(self.more)) {
            Some(permit) => Some(permit),
            None => self.own.clone().acquire_owned().await.ok().map(|permit| Permit::Own { _permit: permit }),
        }
    }
}

impl Breadth {
    fn take(&self, most: usize) -> Option<Permit> {
        let one_more = |count: usize| (count < most).then_some(count + 1);
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.ok().map(|_| Permit::Shared(self.clone()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Self::Shared(Breadth(count)) = self {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// Has so many come in, as far as there is room.
    fn fill(room: &Room, most: usize) -> Vec<Permit> {
        std::iter::from_fn(|| room.enter().now_or_never()).map(Option::unwrap).take(most).collect()
    }

    #[test]
    fn rounds_together_have_hardly_more_under_way_than_one() {
        let shared = Breadth::default();
        let rooms = [256, 256, 1_000].map(|most| Room::new(most, Some(shared.clone())));
        let first = fill(&rooms[0], 200);
        assert_eq!(first.len(), 200);
        let second = fill(&rooms[1], 999);
        assert_eq!(second.len(), 256 - 200 + NARROW, "the line is full, but for a few");
        let third = fill(&rooms[2], 9_999);
        assert_eq!(third.len(), 1_000 - (256 - NARROW), "a longer line takes more");
        drop((first, third));
        assert_eq!(fill(&rooms[1], 999).len(), 256 - second.len(), "what others had is free");
        drop(second);
        assert_eq!(shared.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_round_alone_has_all_and_a_small_one_shares_nothing() {
        assert_eq!(fill(&Room::new(256, None), 999).len(), 256);
        let shared = Breadth::default();
        let few = fill(&Room::new(10, Some(shared.clone())), 999);
        assert_eq!((few.len(), shared.0.load(Ordering::Relaxed)), (10, 0));
    }
}
