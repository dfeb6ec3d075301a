//! Makes the sample tree: many small files in folders with odd names, links, and a few large files. All of
//! it follows from a seed.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::sync::watch;

use super::compare::{failed, refuse_to_go_on};
use crate::clock::{Random, SeededRandom};
use crate::error::Result;
use crate::hash::PIECE_BYTES;

/// The largest of the small files, in bytes; most are much smaller.
const MOST_SMALL_BYTES: u64 = 64 * 1024;

/// Content is made in pieces of so many bytes.
const CHUNK_BYTES: usize = 256 * 1024;

/// No file is older than this (UTC seconds), nor younger than so many seconds more: 2001 to 2020.
const AGES: (u64, u64) = (1_000_000_000, 600_000_000);

/// Folders below each of those with an odd name.
const INNER: u64 = 4;

/// Names that people, scripts and other systems really come up with.
const ODD_NAMES: [&[u8]; 24] = [
    b"letters",
    b"with  two spaces",
    b" leading and trailing ",
    b"-rf",
    b"--delete",
    b"line\nfeed",
    b"tab\tand\rreturn",
    b"quo'te\" `id` $HOME",
    b"back\\slash",
    b"star * question ? [glob]",
    b"semi;colon & pipe |",
    b"~",
    b"#comment",
    b"a%20b",
    b".hidden",
    b"...",
    b"CON",
    b"dot at the end.",
    "caf\u{e9}".as_bytes(),
    "cafe\u{301}".as_bytes(),
    "\u{65e5}\u{672c}\u{8a9e}".as_bytes(),
    "\u{1f30a} high water".as_bytes(),
    b"latin-1 \xe9t\xe9",
    b"\xff\xfe not text",
];

/// The large files, and their shares of all large bytes in hundredths.
const LARGE: [(&str, u64); 3] = [(FILM, 50), (DUMP, 30), (DISK, 20)];

/// The largest file; the connection is cut in the middle of it.
pub const FILM: &str = "films/the long film.mkv";

/// The second largest.
pub const DUMP: &str = "databases/dump.sql";

const DISK: &str = "machines/disk.img";

/// How much there is to carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// How many small files.
    pub small_files: u64,
    /// The content of the large files together, in bytes.
    pub large_bytes: u64,
}

impl Default for Size {
    /// Some hundred MiB, and still a matter of seconds.
    fn default() -> Self {
        Self { small_files: 2_000, large_bytes: 300 << 20 }
    }
}

impl Size {
    /// The most that the tree can come to, in bytes.
    pub fn total_bytes(self) -> u64 {
        self.small_files * MOST_SMALL_BYTES / 4 + 4 * PIECE_BYTES + self.large_bytes
    }

    /// The size of the largest file, in bytes.
    pub fn film_bytes(self) -> u64 {
        share(self.large_bytes, LARGE[0].1)
    }

    /// The size of the large file that is added later, in bytes.
    pub fn added_bytes(self) -> u64 {
        share(self.large_bytes, 8)
    }
}

fn share(whole: u64, hundredths: u64) -> u64 {
    whole / 100 * hundredths
}

/// What was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// Files.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Symbolic links.
    pub links: u64,
    /// Content of the files, in bytes.
    pub bytes: u64,
}

/// Makes the tree in a folder that does not exist.
pub fn make(root: &Path, size: Size, seed: u64, stop: &watch::Receiver<bool>) -> Result<Sample> {
    let maker = Maker { root, seed, random: SeededRandom::new(seed), stop };
    let mut sample = Sample::default();
    let folders = maker.folders()?;
    for number in 0..size.small_files {
        let folder = &folders[(number % folders.len() as u64) as usize];
        let bytes = maker.small_bytes(number);
        maker.file(&folder.join(format!("{number:04}.dat")), bytes)?;
        (sample.files, sample.bytes) = (sample.files + 1, sample.bytes + bytes);
    }
    for (path, hundredths) in LARGE {
        let bytes = share(size.large_bytes, hundredths);
        maker.folder(Path::new(path).parent().unwrap_or(Path::new("")))?;
        maker.file(Path::new(path), bytes)?;
        (sample.files, sample.bytes) = (sample.files + 1, sample.bytes + bytes);
    }
    sample.links = maker.links(&folders)?;
    sample.folders = (folders.len() + LARGE.len()) as u64;
    maker.age_folders(&folders)?;
    Ok(sample)
}

/// Writes a file of random content that follows from seed and path.
pub fn write(root: &Path, path: &Path, bytes: u64, seed: u64, stop: &watch::Receiver<bool>) -> Result<()> {
    let mut content = blake3::Hasher::new();
    content.update(&seed.to_le_bytes()).update(path.as_os_str().as_bytes());
    let mut content = content.finalize_xof();
    let failed = |e| failed("write", path, e);
    let mut file = File::create(root.join(path)).map_err(failed)?;
    let (mut left, mut chunk) = (bytes, vec![0; CHUNK_BYTES]);
    while left > 0 {
        refuse_to_go_on(stop)?;
        let len = left.min(CHUNK_BYTES as u64);
        let chunk = &mut chunk[..len as usize];
        content.fill(chunk);
        file.write_all(chunk).map_err(failed)?;
        left -= len;
    }
    Ok(())
}

/// Sets the mtime of a file or folder.
pub fn age(root: &Path, path: &Path, mtime: SystemTime) -> Result<()> {
    let aged = File::open(root.join(path)).and_then(|file| file.set_modified(mtime));
    aged.map_err(|e| failed("set the time of", path, e))
}

struct Maker<'a> {
    root: &'a Path,
    seed: u64,
    random: SeededRandom,
    stop: &'a watch::Receiver<bool>,
}

impl Maker<'_> {
    /// Makes the folders for the small files.
    fn folders(&self) -> Result<Vec<PathBuf>> {
        self.folder(Path::new(""))?;
        let mut folders = Vec::new();
        for (number, odd) in ODD_NAMES.iter().enumerate() {
            let outer = PathBuf::from(std::ffi::OsStr::from_bytes(odd));
            self.folder(&outer)?;
            folders.push(outer.clone());
            for depth in 1..=INNER {
                let inner = ODD_NAMES[(number + depth as usize * 5) % ODD_NAMES.len()];
                let inner = outer.join(std::ffi::OsStr::from_bytes(inner));
                self.folder(&inner)?;
                folders.push(inner);
            }
        }
        Ok(folders)
    }

    fn folder(&self, path: &Path) -> Result<()> {
        let mode = self.one_of(&[0o755, 0o755, 0o750, 0o700]);
        fs::create_dir(self.root.join(path))
            .and_then(|()| fs::set_permissions(self.root.join(path), Permissions::from_mode(mode)))
            .map_err(|e| failed("make the folder", path, e))
    }

    /// Most are small, a few are large, some sit on a boundary of ours.
    fn small_bytes(&self, number: u64) -> u64 {
        let draw = self.random.u64();
        let most = MOST_SMALL_BYTES >> (draw % 8);
        match number {
            10 => 0,
            11 => 1,
            12 => PIECE_BYTES,
            13 => PIECE_BYTES + 1,
            _ => (draw >> 8) % (most + 1),
        }
    }

    fn file(&self, path: &Path, bytes: u64) -> Result<()> {
        write(self.root, path, bytes, self.seed, self.stop)?;
        age(self.root, path, self.some_time())?;
        let mode = self.one_of(&[0o644, 0o644, 0o600, 0o640, 0o755]);
        fs::set_permissions(self.root.join(path), Permissions::from_mode(mode))
            .map_err(|e| failed("set the mode of", path, e))
    }

    /// A link in every fifth folder: to a file, to a folder, to nothing, out of the tree, to no text.
    fn links(&self, folders: &[PathBuf]) -> Result<u64> {
        let targets: [&[u8]; 5] = [b"0000.dat", b"..", b"gone\nfor good", b"/nowhere/at/all", b"\xfe\xff"];
        let mut made = 0;
        for (folder, target) in folders.iter().step_by(5).zip(targets.iter().cycle()) {
            let path = folder.join("link");
            symlink(std::ffi::OsStr::from_bytes(target), self.root.join(&path))
                .map_err(|e| failed("make the link", &path, e))?;
            made += 1;
        }
        Ok(made)
    }

    fn age_folders(&self, folders: &[PathBuf]) -> Result<()> {
        let large = LARGE.iter().filter_map(|(path, _)| Path::new(path).parent());
        folders
            .iter()
            .map(PathBuf::as_path)
            .chain(large)
            .try_for_each(|folder| age(self.root, folder, self.some_time()))
    }

    fn some_time(&self) -> SystemTime {
        let draw = self.random.u64();
        let (secs, nanos) = (AGES.0 + draw % AGES.1, (draw >> 40) % 1_000_000_000);
        UNIX_EPOCH + Duration::from_secs(secs) + Duration::from_nanos(nanos)
    }

    fn one_of(&self, modes: &[u32]) -> u32 {
        modes[(self.random.u64() % modes.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::super::compare::compare;
    use super::*;

    #[test]
    fn a_seed_is_one_tree() {
        let folder = tempfile::tempdir().unwrap();
        let (_go, stop) = watch::channel(false);
        let size = Size { small_files: 150, large_bytes: 1 << 20 };
        let tree = |name: &str, seed| {
            let root = folder.path().join(name);
            (make(&root, size, seed, &stop).unwrap(), root)
        };
        let ((first, one), (second, two), (_, other)) = (tree("one", 7), tree("two", 7), tree("other", 8));
        assert_eq!(first, second);
        assert_eq!((first.files, first.folders, first.links), (153, 123, 24));
        assert!(first.bytes <= size.total_bytes());
        let same = compare(&one, &two, &stop).unwrap();
        assert_eq!((same.files, same.bytes, same.differences.len()), (first.files, first.bytes, 0));
        assert!(!compare(&one, &other, &stop).unwrap().differences.is_empty());
    }

    #[test]
    fn it_ends_when_it_shall() {
        let folder = tempfile::tempdir().unwrap();
        let (_go, stop) = watch::channel(true);
        let error = make(&folder.path().join("x"), Size::default(), 7, &stop).unwrap_err();
        assert_eq!(error.kind(), crate::error::Kind::Interrupted);
    }
}
