//! Which pieces are read back, and what that proves.

use crate::hash::Level;
use crate::path::RelPath;

/// One piece in so many is read back at level `sample`.
const SAMPLE_ONE_IN: u64 = 10;

/// Which pieces of which files are read back: a function of the level and a seed drawn per round.
#[derive(Debug, Clone, Copy)]
pub struct Sampling {
    level: Level,
    seed: u64,
}

impl Sampling {
    /// What `level` asks for, with this round's seed.
    pub fn new(level: Level, seed: u64) -> Self {
        Self { level, seed }
    }

    /// The level that following this proves.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Whether the piece with number `index` of `path` is read back.
    pub fn picks(&self, path: &RelPath, index: u64) -> bool {
        match self.level {
            Level::Full => true,
            Level::Ack => false,
            Level::Sample => self.draw(path, index).is_multiple_of(SAMPLE_ONE_IN),
        }
    }

    fn draw(&self, path: &RelPath, index: u64) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_le_bytes()).update(&index.to_le_bytes()).update(path.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        u64::from_le_bytes(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_about_a_tenth_and_the_same_for_the_same_seed() {
        let path = RelPath::parse(&b"a"[..]).unwrap();
        let picked = |level, seed| {
            let sampling = Sampling::new(level, seed);
            (0..10_000).filter(|&i| sampling.picks(&path, i)).collect::<Vec<u64>>()
        };
        let sample = picked(Level::Sample, 7);
        assert!((800..1_200).contains(&sample.len()), "{}", sample.len());
        assert_eq!(sample, picked(Level::Sample, 7));
        assert_ne!(sample, picked(Level::Sample, 8));
        assert_eq!(picked(Level::Full, 7).len(), 10_000);
        assert_eq!(picked(Level::Ack, 7).len(), 0);
    }
}
