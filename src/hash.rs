//! Content hashes: BLAKE3 over the whole file, the same as `b3sum` prints, computed piece by piece
//! and in any order.
//!
//! BLAKE3 is a tree, so one hash of each aligned 128 KiB [`Piece`] serves three ends at once: it proves
//! a single block read back from the far side, it proves a kept prefix, and all of them together
//! give the [`ContentHash`] of the file. Nothing is hashed twice and pieces may arrive out of order.

use std::collections::BTreeMap;
use std::fmt;

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

/// Size of a piece in bytes: a power of two, and small enough for one READ or WRITE where the server
/// states its limits (OpenSSH: 255 KiB).
pub const PIECE_BYTES: u64 = 128 * 1024;

/// BLAKE3 of a file's content, 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// The hash of content that is at hand as a whole.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The 32 bytes, for the journal.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Takes back what [`as_bytes`](Self::as_bytes) gave.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

/// The hash of one aligned piece: BLAKE3's chaining value of that subtree. Depends on the position,
/// so equal bytes at two offsets have different hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece(ChainingValue);

impl Piece {
    /// Hashes the piece with number `index`, which begins at `index * PIECE_BYTES`. Every piece but the
    /// last of a file has exactly [`PIECE_BYTES`] bytes; none is empty.
    pub fn of(index: u64, bytes: &[u8]) -> Self {
        debug_assert!(!bytes.is_empty() && bytes.len() as u64 <= PIECE_BYTES);
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(index * PIECE_BYTES).update(bytes);
        Self(hasher.finalize_non_root())
    }
}

/// What a prefix of whole pieces hashes to: kept in the journal beside an unfinished transfer.
/// Not the BLAKE3 of the prefix, but as strong: a hash over its subtrees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixHash([u8; 32]);

impl PrefixHash {
    /// The 32 bytes, for the journal.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Takes back what [`as_bytes`](Self::as_bytes) gave.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// Collects the pieces of one file of more than one piece, in any order, and yields the hash of the
/// gapless prefix and, at the end, of the whole. Holds one hash per level and per piece out of order.
#[derive(Debug, Default, Clone)]
pub struct PieceTree {
    subtrees: Vec<ChainingValue>,
    taken: u64,
    early: BTreeMap<u64, Piece>,
}

impl PieceTree {
    /// A tree without pieces.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the piece with number `index`. A piece that was already taken in is ignored.
    pub fn insert(&mut self, index: u64, piece: Piece) {
        if index >= self.taken {
            self.early.insert(index, piece);
        }
        while let Some(next) = self.early.remove(&self.taken) {
            self.merge_complete();
            self.subtrees.push(next.0);
            self.taken += 1;
        }
    }

    /// How many pieces are there without a gap, from the first on.
    pub fn gapless(&self) -> u64 {
        self.taken
    }

    /// The hash of the gapless prefix.
    pub fn prefix(&self) -> PrefixHash {
        let mut complete = self.clone();
        complete.merge_complete();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.taken.to_le_bytes());
        for subtree in &complete.subtrees {
            hasher.update(subtree);
        }
        PrefixHash(*hasher.finalize().as_bytes())
    }

    /// The hash of the whole file; `None` if pieces are missing before the last one taken, or if there
    /// were fewer than two (such content is hashed by [`ContentHash::of`]).
    pub fn finish(mut self) -> Option<ContentHash> {
        if !self.early.is_empty() {
            return None;
        }
        let mut right = self.subtrees.pop()?;
        while self.subtrees.len() > 1 {
            let left = self.subtrees.pop()?;
            right = merge_subtrees_non_root(&left, &right, Mode::Hash);
        }
        let left = self.subtrees.pop()?;
        let root = merge_subtrees_root(&left, &right, Mode::Hash);
        Some(ContentHash(*root.as_bytes()))
    }

    /// Merges until one subtree is left per set bit of the count: those are complete whatever follows.
    /// Done late, because the last merge of a file is the root and is computed differently.
    fn merge_complete(&mut self) {
        while self.subtrees.len() > self.taken.count_ones() as usize {
            let (Some(right), Some(left)) = (self.subtrees.pop(), self.subtrees.pop()) else {
                return;
            };
            self.subtrees.push(merge_subtrees_non_root(&left, &right, Mode::Hash));
        }
    }
}

/// How well a file's content was proved on both sides. Recorded per file, never lowered in silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The size, and an OK for every write over a connection that authenticates each packet.
    Ack,
    /// A seeded share of the pieces was read back and compared.
    Sample,
    /// All of the content was read back, or hashed by the far side, and compared.
    Full,
}

impl Level {
    /// The level as config, flags, journal and reports write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Ack => "ack",
            Level::Sample => "sample",
            Level::Full => "full",
        }
    }

    /// Takes back what [`as_str`](Self::as_str) gave.
    pub fn parse(text: &str) -> Option<Self> {
        [Level::Ack, Level::Sample, Level::Full].into_iter().find(|l| l.as_str() == text)
    }
}

/// How many pieces a file of `size` bytes has.
pub fn piece_count(size: u64) -> u64 {
    size.div_ceil(PIECE_BYTES)
}

/// Offset and length of the piece with number `index` in a file of `size` bytes.
pub fn piece_range(index: u64, size: u64) -> (u64, u64) {
    let start = (index * PIECE_BYTES).min(size);
    (start, (size - start).min(PIECE_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(size: usize) -> Vec<u8> {
        (0..size).map(|i| (i * 31 + i / 251) as u8).collect()
    }

    fn pieces(content: &[u8]) -> Vec<(u64, Piece)> {
        (0..piece_count(content.len() as u64))
            .map(|i| {
                let (start, len) = piece_range(i, content.len() as u64);
                (i, Piece::of(i, &content[start as usize..(start + len) as usize]))
            })
            .collect()
    }

    #[test]
    fn pieces_give_the_hash_that_b3sum_prints() {
        let piece = PIECE_BYTES as usize;
        for size in [piece + 1, 2 * piece, 3 * piece - 7, 5 * piece, 8 * piece, 21 * piece + 1000] {
            let content = bytes(size);
            let mut tree = PieceTree::new();
            for (i, p) in pieces(&content) {
                tree.insert(i, p);
            }
            assert_eq!(tree.finish(), Some(ContentHash::of(&content)), "{size}");
        }
    }

    #[test]
    fn a_missing_piece_gives_no_hash() {
        let content = bytes(3 * PIECE_BYTES as usize);
        let mut tree = PieceTree::new();
        for (i, p) in pieces(&content).into_iter().filter(|(i, _)| *i != 1) {
            tree.insert(i, p);
        }
        assert_eq!(tree.gapless(), 1);
        assert_eq!(tree.finish(), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn order_does_not_matter_and_prefixes_agree(
            order in Just((0..13u64).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let content = bytes(12 * PIECE_BYTES as usize + 99);
            let all = pieces(&content);
            let mut in_order = PieceTree::new();
            let mut prefixes = vec![in_order.prefix()];
            for (i, p) in &all {
                in_order.insert(*i, *p);
                prefixes.push(in_order.prefix());
            }
            let mut shuffled = PieceTree::new();
            for i in order {
                shuffled.insert(i, all[i as usize].1);
                prop_assert_eq!(shuffled.prefix(), prefixes[shuffled.gapless() as usize]);
            }
            prop_assert_eq!(shuffled.finish(), Some(ContentHash::of(&content)));
        }
    }
}
