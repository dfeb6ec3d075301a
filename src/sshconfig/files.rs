//! Where the lines come from: the files themselves, and the names that a pattern of `Include` means.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use globset::GlobBuilder;

/// Larger files are no configuration.
const MOST_BYTES: u64 = 1 << 20;

/// Files that one pattern may mean.
const MOST_NAMES: usize = 1000;

/// A file as it was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// What is in it; nothing, as OpenSSH has it, if it is a folder.
    pub bytes: Vec<u8>,
    /// The number of its owner.
    pub uid: u32,
    /// Its permissions.
    pub mode: u32,
}

/// Access to files, so that tests need none.
pub trait Files {
    /// Reads a file; `None` if there is nothing.
    fn read(&self, path: &Path) -> io::Result<Option<Found>>;

    /// The names that an absolute pattern with `*`, `?` and `[…]` means, sorted. Names that begin with a dot
    /// are meant only by patterns that do (glob(7)).
    fn glob(&self, pattern: &str) -> io::Result<Vec<PathBuf>>;
}

/// The files of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Option<Found>> {
        let file = match fs::File::open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let meta = file.metadata()?;
        let mut found = Found { bytes: Vec::new(), uid: meta.uid(), mode: meta.mode() };
        if !meta.is_dir() {
            file.take(MOST_BYTES + 1).read_to_end(&mut found.bytes)?;
        }
        if found.bytes.len() as u64 > MOST_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is too large"));
        }
        Ok(Some(found))
    }

    fn glob(&self, pattern: &str) -> io::Result<Vec<PathBuf>> {
        let mut paths = vec![PathBuf::from("/")];
        for part in pattern.split('/').filter(|part| !part.is_empty()) {
            paths = match part.contains(['*', '?', '[']) {
                true => expand(&paths, part)?,
                false => paths.iter().map(|path| path.join(part)).collect(),
            };
        }
        paths.retain(|path| path.exists());
        paths.sort();
        Ok(paths)
    }
}

/// The names in these folders that a pattern of one part means. A folder that cannot be listed has none.
fn expand(folders: &[PathBuf], part: &str) -> io::Result<Vec<PathBuf>> {
    let plain = part.replace('{', "\\{").replace('}', "\\}");
    let glob = GlobBuilder::new(&plain).backslash_escape(true).build();
    let matcher = glob.map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?.compile_matcher();
    let mut paths = Vec::new();
    for folder in folders {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let name = entry?.file_name();
            let is_hidden = name.as_encoded_bytes().starts_with(b".");
            if matcher.is_match(&name) && (!is_hidden || part.starts_with('.')) {
                paths.push(folder.join(name));
            }
        }
    }
    if paths.len() > MOST_NAMES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it means too many files"));
    }
    Ok(paths)
}

/// The lines of a file with their numbers, comments left out; `None` in place of one that is not UTF-8.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, Option<&str>)> {
    let numbered = bytes.split(|&b| b == b'\n').enumerate();
    let said = numbered.filter(|(_, line)| !line.trim_ascii_start().starts_with(b"#"));
    said.map(|(i, line)| (i + 1, std::str::from_utf8(line).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_the_shell_would_make_of_them() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["conf.d/b.conf", "conf.d/a.conf", "conf.d/.hidden.conf", "conf.d/c.txt", "other/a.conf"]
        {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let check = |pattern: &str, expected: &[&str]| {
            let found = Disk.glob(folder.path().join(pattern).to_str().unwrap()).unwrap();
            let expected: Vec<PathBuf> = expected.iter().map(|name| folder.path().join(name)).collect();
            assert_eq!(found, expected, "{pattern}");
        };
        check("conf.d/*.conf", &["conf.d/a.conf", "conf.d/b.conf"]);
        check("*/[ab].conf", &["conf.d/a.conf", "conf.d/b.conf", "other/a.conf"]);
        check("conf.d/.*.conf", &["conf.d/.hidden.conf"]);
        check("conf.d/?.txt", &["conf.d/c.txt"]);
        check("conf.d/{a,b}.conf*", &[]);
        check("none/*", &[]);
        check("conf.d/none", &[]);
        check("other/a.conf", &["other/a.conf"]);
    }

    #[test]
    fn files_that_are_not_there_folders_and_large_files() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Disk.read(&folder.path().join("none")).unwrap(), None);
        assert_eq!(Disk.read(folder.path()).unwrap().unwrap().bytes, b"");
        let large = folder.path().join("large");
        fs::write(&large, vec![b'#'; 2 << 20]).unwrap();
        assert!(Disk.read(&large).is_err());
    }
}
