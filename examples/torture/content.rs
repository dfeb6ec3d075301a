//! Contents that describe themselves: every line of a file says of which file, version and size it is, and
//! which line. So a file that is cut short, or put together from two versions, is recognised by itself.

use std::io::Write;

use crate::random::{mix, number_of};

/// Bytes of one line, its line feed included.
const LINE_BYTES: usize = 64;

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
        let size = self.size as usize;
        let mut content = Vec::with_capacity(size + LINE_BYTES);
        let mut line = 0;
        while content.len() < size {
            let mixed = mix(self.file ^ (u64::from(self.number) << 32) ^ line) >> 12;
            let (file, number, size) = (self.file, self.number, self.size);
            // A vector takes everything that is written into it.
            let _ = writeln!(content, "{file:016x} {number:08} {size:012} {line:010} {mixed:013x}");
            line += 1;
        }
        content.truncate(size);
        content
    }

    fn is(&self, content: &[u8]) -> bool {
        self.size == content.len() as u64 && self.content() == content
    }
}

/// Which of these versions it is; what it looks like, if it is none of them.
pub fn recognise(content: &[u8], among: &[Version]) -> Result<Version, String> {
    among.iter().find(|version| version.is(content)).copied().ok_or_else(|| describe(content))
}

/// What can be said of a content that nobody made: the runs of lines that belong together.
fn describe(content: &[u8]) -> String {
    let mut runs: Vec<(String, usize)> = Vec::new();
    for line in content.chunks(LINE_BYTES) {
        let head = String::from_utf8_lossy(&line[..line.len().min(38)]).into_owned();
        match runs.last_mut() {
            Some((last, count)) if *last == head => *count += 1,
            _ => runs.push((head, 1)),
        }
    }
    runs.truncate(4);
    format!("{} bytes that are no version there was; file, version, size, lines: {runs:?}", content.len())
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
        for cut in [63, 64, 500] {
            assert!(recognise(&first[..cut], &[old, new]).is_err(), "cut at {cut}");
            let mixed = [&first[..cut], &second[cut..]].concat();
            assert!(recognise(&mixed, &[old, new]).is_err(), "mixed at {cut}");
        }
        assert!(recognise(&Version::new("b", 1, 1_000).content(), &[old, new]).is_err());
    }
}
