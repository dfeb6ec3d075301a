//! The open handles of one large file at one side. A server's window holds one channel to a fixed number
//! of bytes per round trip, so a large file is read and written over several channels, each with a handle
//! of its own; they are added while the first one already works.

use std::sync::{Arc, Mutex, MutexGuard};

/// Handles to the same file, at least one.
pub(super) struct Hands<H> {
    first: Arc<H>,
    more: Mutex<More<H>>,
}

struct More<H> {
    hands: Vec<Arc<H>>,
    /// Set when no more are to be had.
    refused: bool,
}

impl<H> Hands<H> {
    pub fn new(first: H) -> Self {
        let more = Mutex::new(More { hands: Vec::new(), refused: false });
        Self { first: Arc::new(first), more }
    }

    /// The handle that was there from the beginning.
    pub fn first(&self) -> &H {
        &self.first
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<H>> {
        std::iter::once(&self.first).chain(&self.lock().hands).cloned().collect()
    }

    /// The handle that serves the piece with this number.
    pub fn of(&self, piece: u64) -> Arc<H> {
        let more = self.lock();
        let count = more.hands.len() as u64 + 1;
        let turn = usize::try_from(piece % count).unwrap_or(0);
        match turn.checked_sub(1) {
            Some(at) => more.hands[at].clone(),
            None => self.first.clone(),
        }
    }

    /// Whether another one is worth opening, given how many the side could use.
    pub fn wants_more(&self, useful: usize) -> bool {
        let more = self.lock();
        !more.refused && more.hands.len() + 1 < useful
    }

    /// Takes in one more, or learns that there is none. Nothing depends on it.
    pub fn add<E: std::fmt::Display>(&self, opened: Result<H, E>) {
        let mut more = self.lock();
        match opened {
            Ok(hand) => more.hands.push(Arc::new(hand)),
            Err(error) => {
                tracing::debug!("no further handle: {error}");
                more.refused = true;
            }
        }
    }

    /// Hands over all but the first, to be closed, and takes no more.
    pub fn let_go(&self) -> Vec<Arc<H>> {
        let mut more = self.lock();
        more.refused = true;
        std::mem::take(&mut more.hands)
    }

    fn lock(&self) -> MutexGuard<'_, More<H>> {
        self.more.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_go_round_over_all_handles_and_back_to_the_first() {
        let hands = Hands::new(0);
        let served = |hands: &Hands<i32>| (0..6).map(|piece| *hands.of(piece)).collect::<Vec<i32>>();
        assert_eq!(served(&hands), [0; 6]);
        assert!(hands.wants_more(3) && !hands.wants_more(1));
        hands.add(Ok::<_, String>(1));
        hands.add(Ok::<_, String>(2));
        assert!(!hands.wants_more(3));
        assert_eq!(served(&hands), [0, 1, 2, 0, 1, 2]);
        hands.add(Err("no more"));
        assert!(!hands.wants_more(9));
        assert_eq!(hands.all(), [0, 1, 2].map(Arc::new));
        assert_eq!(hands.let_go(), [1, 2].map(Arc::new));
        assert_eq!(served(&hands), [0; 6]);
    }
}
