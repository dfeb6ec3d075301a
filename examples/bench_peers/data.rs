//! The trees that are carried: made from a seed, the same on every machine.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::{Doing, Result};

/// Files in one folder.
const FILES_PER_FOLDER: u64 = 100;

/// Modification times count up from here by the second, so that a tool which loses them is seen. UTC.
const OLDEST_MTIME: Duration = Duration::from_secs(1_600_000_000);

/// How much is drawn and written at once.
const BLOCK_BYTES: usize = 1 << 20;

/// What kind of tree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// This many files of 512 bytes to 8 KiB.
    Small(u64),
    /// This many files of up to 2,000 bytes.
    Tiny(u64),
    /// This many files of which nine in ten are empty, so that a million of them fit into memory twice.
    MostlyEmpty(u64),
    /// One file of this many bytes.
    Single(u64),
}

/// What was made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Made {
    /// Number of files.
    pub files: u64,
    /// Bytes in all of them.
    pub bytes: u64,
}

impl Shape {
    /// The same shape with fewer files, or a smaller one. At least one of either.
    pub fn scaled(self, factor: f64) -> Self {
        let less = |n: u64| ((n as f64 * factor) as u64).max(1);
        match self {
            Self::Small(files) => Self::Small(less(files)),
            Self::Tiny(files) => Self::Tiny(less(files)),
            Self::MostlyEmpty(files) => Self::MostlyEmpty(less(files)),
            Self::Single(bytes) => Self::Single(less(bytes)),
        }
    }

    fn files(self) -> u64 {
        match self {
            Self::Small(files) | Self::Tiny(files) | Self::MostlyEmpty(files) => files,
            Self::Single(_) => 1,
        }
    }

    /// The size of the next file.
    fn draw_size(self, random: &mut Random) -> u64 {
        match self {
            Self::Small(_) => 512 + random.below(8 * 1024 - 512 + 1),
            Self::Tiny(_) => random.below(2_000 + 1),
            Self::MostlyEmpty(_) if random.below(10) > 0 => 0,
            Self::MostlyEmpty(_) => 1 + random.below(100),
            Self::Single(bytes) => bytes,
        }
    }
}

/// Makes the tree below `root`, which must not be there yet.
pub fn create(root: &Path, shape: Shape, seed: u64) -> Result<Made> {
    let mut random = Random(seed);
    let mut block = vec![0; BLOCK_BYTES];
    let mut made = Made { files: shape.files(), bytes: 0 };
    fs::create_dir_all(root).doing("make the data's folder")?;
    for number in 0..made.files {
        let folder = root.join(format!("d{:05}", number / FILES_PER_FOLDER));
        if number % FILES_PER_FOLDER == 0 {
            fs::create_dir(&folder).doing("make a folder of data")?;
        }
        let size = shape.draw_size(&mut random);
        let mtime = SystemTime::UNIX_EPOCH + OLDEST_MTIME + Duration::from_secs(number);
        write(&folder.join(format!("f{number:07}.dat")), size, mtime, &mut random, &mut block)
            .doing("make a file of data")?;
        made.bytes += size;
    }
    Ok(made)
}

fn write(
    path: &Path,
    size: u64,
    mtime: SystemTime,
    random: &mut Random,
    block: &mut [u8],
) -> std::io::Result<()> {
    let mut file = File::create_new(path)?;
    let mut left = size;
    while left > 0 {
        let length = left.min(block.len() as u64) as usize;
        random.fill(&mut block[..length]);
        file.write_all(&block[..length])?;
        left -= length as u64;
    }
    file.set_modified(mtime)
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014): not for secrets.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_tree_each_time_and_another_seed_another() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, seed| create(&folder.path().join(name), Shape::Small(250), seed).unwrap();
        let (first, second, third) = (make("1", 7), make("2", 7), make("3", 8));
        assert_eq!(first, second);
        let alike =
            |a: &str, b: &str| crate::compare::compare(&folder.path().join(a), &folder.path().join(b));
        assert_eq!(alike("1", "2"), Ok(crate::compare::Mtimes::Kept));
        assert!(alike("1", "3").is_err());
        assert_ne!(first.bytes, third.bytes);
    }

    #[test]
    fn sizes_lie_within_their_bounds() {
        let check = |shape: Shape, least: u64, most: u64| {
            let mut random = Random(3);
            let sizes: Vec<_> = (0..10_000).map(|_| shape.draw_size(&mut random)).collect();
            assert!(sizes.iter().all(|size| (least..=most).contains(size)), "{shape:?}");
        };
        check(Shape::Small(1), 512, 8192);
        check(Shape::Tiny(1), 0, 2000);
        check(Shape::MostlyEmpty(1), 0, 100);
        check(Shape::Single(77), 77, 77);
    }
}
