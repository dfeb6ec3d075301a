//! The open handles of one large file at one side. A server's window holds one channel to a fixed number
//! of bytes per round trip, so a large file is read and written over several channels, each with a handle
//! of its own; they are added while the first one already works.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Handles to the same file, at least one.
pub(super) struct Hands<H> {
    first: Arc<Hand<H>>,
    more: Mutex<More<H>>,
}

struct More<H> {
    hands: Vec<Arc<Hand<H>>>,
    /// Set when no more are to be had.
    refused: bool,
}

/// One handle.
pub(super) struct Hand<H> {
    file: H,
    /// Pieces that it serves just now.
    pieces: AtomicUsize,
}

impl<H> Hand<H> {
    fn new(file: H) -> Arc<Self> {
        Arc::new(Self { file, pieces: AtomicUsize::new(0) })
    }
}

impl<H> Deref for Hand<H> {
    type Target = H;

    fn deref(&self) -> &H {
        &self.file
    }
}

/// A handle that serves one piece for as long as this is held.
pub(super) struct Lent<H>(Arc<Hand<H>>);

impl<H> Deref for Lent<H> {
    type Target = H;

    fn deref(&self) -> &H {
        &self.0.file
    }
}

impl<H> Drop for Lent<H> {
    fn drop(&mut self) {
        self.0.pieces.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<H> Hands<H> {
    pub fn new(first: H) -> Self {
        let more = Mutex::new(More { hands: Vec::new(), refused: false });
        Self { first: Hand::new(first), more }
    }

    /// The handle that was there from the beginning.
    pub fn first(&self) -> &H {
        &self.first.file
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Hand<H>>> {
        std::iter::once(&self.first).chain(&self.lock().hands).cloned().collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().hands.len() + 1
    }

    /// The handle that has least to do, for one more piece: one that came late is given work until it has as much
    /// as those that were there before it.
    pub fn lend(&self) -> Lent<H> {
        let more = self.lock();
        let least = more.hands.iter().min_by_key(|hand| hand.pieces.load(Ordering::Relaxed));
        let least = least
            .filter(|hand| hand.pieces.load(Ordering::Relaxed) < self.first.pieces.load(Ordering::Relaxed));
        let hand = least.unwrap_or(&self.first).clone();
        hand.pieces.fetch_add(1, Ordering::Relaxed);
        Lent(hand)
    }

    /// How many more are worth opening, given how many the side could use.
    pub fn wanted(&self, useful: usize) -> usize {
        let more = self.lock();
        if more.refused { 0 } else { useful.saturating_sub(more.hands.len() + 1) }
    }

    /// Takes in one more, or learns that there is none. Nothing depends on it.
    pub fn add<E: std::fmt::Display>(&self, opened: Result<H, E>) {
        let mut more = self.lock();
        match opened {
            Ok(hand) => more.hands.push(Hand::new(hand)),
            Err(error) => {
                tracing::debug!("no further handle: {error}");
                more.refused = true;
            }
        }
    }

    /// Hands over all but the first, to be closed, and takes no more.
    pub fn let_go(&self) -> Vec<Arc<Hand<H>>> {
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

    fn pieces_of(hands: &[Arc<Hand<char>>]) -> Vec<(char, usize)> {
        hands.iter().map(|hand| (hand.file, hand.pieces.load(Ordering::Relaxed))).collect()
    }

    #[test]
    fn whoever_has_least_to_do_gets_the_next_piece() {
        let hands = Hands::new('a');
        assert_eq!([0, 1, 3].map(|useful| hands.wanted(useful)), [0, 0, 2]);
        let early = [hands.lend(), hands.lend()];
        hands.add(Ok::<_, String>('b'));
        hands.add(Ok::<_, String>('c'));
        let late: String = (0..4).map(|_| *hands.lend()).collect();
        assert_eq!(late, "bbbb"); // each was given back at once
        let lent: Vec<_> = (0..4).map(|_| hands.lend()).collect();
        assert_eq!(pieces_of(&hands.all()), [('a', 2), ('b', 2), ('c', 2)]);
        drop((early, lent));
        assert_eq!(pieces_of(&hands.all()), [('a', 0), ('b', 0), ('c', 0)]);
    }

    #[test]
    fn no_more_are_wanted_after_a_refusal_or_the_end() {
        let hands = Hands::new('a');
        hands.add(Ok::<_, String>('b'));
        assert_eq!((hands.wanted(2), hands.wanted(9), hands.count()), (0, 7, 2));
        hands.add(Err("no more"));
        assert_eq!(hands.wanted(9), 0);
        let hands = Hands::new('a');
        hands.add(Ok::<_, String>('b'));
        assert_eq!(pieces_of(&hands.let_go()), [('b', 0)]);
        assert_eq!((hands.wanted(9), hands.count()), (0, 1));
    }
}
