//! Contents that describe themselves: every block of a file says of which file, version and size it is, and
//! which block. So a file that is cut short, or put together from two versions, is recognised by itself.

use crate::random::number_of;

/// Bytes of one block: a line that tells what it is, and what follows from the version.
const BLOCK_BYTES: usize = 4096;

/// Bytes of that line which are the same in all blocks of a version.
const HEAD_BYTES: usize = 38;

/// One version of one file: all that is needed to make its content again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Which file it was made for.
    pub file: u64,
    /// Counts up over the whole world.
    pub number: u32,
    /// Bytes.
    pub size: u64,
}

impl Version {
    /// A version of the file at `path`.
    pub fn new(path: &str, number: u32, size: u64) -> Self {
        Self { file: number_of(path), number, size }
    }

    /// Its content.
    pub fn content(&self) -> Vec<u8> {
        let mut content = vec![0; self.size as usize];
        let head = self.head();
        blake3::Hasher::new().update(head.as_bytes()).finalize_xof().fill(&mut content);
        for (number, block) in content.chunks_mut(BLOCK_BYTES).enumerate() {
            let line = format!("{head} {number:010}\n");
            let length = line.len().min(block.len());
            block[..length].copy_from_slice(&line.as_bytes()[..length]);
        }
        content
    }

    /// What its blocks begin with.
    fn head(&self) -> String {
        let Self { file, number, size } = self;
        format!("{file:016x} {number:08} {size:012}")
    }

    fn is(&self, content: &[u8]) -> bool {
        self.size == content.len() as u64 && self.content() == content
    }
}

/// Which of these versions it is; what it looks like, if it is none of them.
pub fn recognise(content: &[u8], among: &[Version]) -> Result<Version, String> {
    among.iter().find(|version| version.is(content)).copied().ok_or_else(|| describe(content))
}

/// What can be said of a content that nobody made: the runs of blocks that belong together.
fn describe(content: &[u8]) -> String {
    let mut runs: Vec<(String, usize)> = Vec::new();
    for block in content.chunks(BLOCK_BYTES) {
        let head = String::from_utf8_lossy(&block[..block.len().min(HEAD_BYTES)]).into_owned();
        match runs.last_mut() {
            Some((last, count)) if *last == head => *count += 1,
            _ => runs.push((head, 1)),
        }
    }
    runs.truncate(4);
    format!("{} bytes that are no version there was; file, version, size, blocks: {runs:?}", content.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_file_is_recognised() {
        let (old, new) = (Version::new("a", 1, 1_000), Version::new("a", 2, 1_000));
        for version in [old, new, Version::new("a", 3, 0), Version::new("a", 4, 7)] {
            assert_eq!(recognise(&version.content(), &[version, old, new]), Ok(version));
        }
        let (first, second) = (old.content(), new.content());
        for cut in [63, 64, 700] {
            assert!(recognise(&first[..cut], &[old, new]).is_err(), "cut at {cut}");
            let mixed = [&first[..cut], &second[cut..]].concat();
            assert!(recognise(&mixed, &[old, new]).is_err(), "mixed at {cut}");
        }
        assert!(recognise(&Version::new("b", 1, 1_000).content(), &[old, new]).is_err());
    }
}
