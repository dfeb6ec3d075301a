//! Compares two trees byte by byte, on its own: it shares no code with what carried them.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tokio::sync::watch;

use crate::error::{Error, Kind, Result};
use crate::path::escape;

/// Differences that are listed; of more, nothing new is learned.
const MOST: usize = 10;

/// Bytes of each file that are looked at at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// Names that begin so are ours, on either side.
const OURS: &[u8] = b".highwater";

/// What a comparison came to.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Files that were looked at.
    pub files: u64,
    /// Their content on one side, in bytes.
    pub bytes: u64,
    /// Where the trees differ, for people. At most [`MOST`].
    pub differences: Vec<String>,
}

/// Compares names, kinds, modes, mtimes to the second, link targets and contents of all that is not ours.
pub fn compare(one: &Path, other: &Path, stop: &watch::Receiver<bool>) -> Result<Comparison> {
    let mut found = Comparison::default();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let (here, there) = (list(&one.join(&folder))?, list(&other.join(&folder))?);
        for name in there.keys().filter(|name| !here.contains_key(*name)) {
            found.differs(&below(&folder, name), "is only in the second tree");
        }
        for (name, entry) in &here {
            let path = below(&folder, name);
            let Some(twin) = there.get(name) else {
                found.differs(&path, "is only in the first tree");
                continue;
            };
            refuse_to_go_on(stop)?;
            if let Some(what) = differ(entry, twin) {
                found.differs(&path, &what);
            } else if entry.is_dir() {
                folders.push(path);
            } else {
                found.contents(one, other, &path, entry)?;
            }
        }
    }
    Ok(found)
}

/// Compares only the contents of files that stand in `copy`, while it is still growing: whatever has its
/// final name must be whole.
pub fn whole(original: &Path, copy: &Path, stop: &watch::Receiver<bool>) -> Result<Comparison> {
    let mut found = Comparison::default();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for (name, entry) in list(&copy.join(&folder))? {
            let path = below(&folder, &name);
            refuse_to_go_on(stop)?;
            if entry.is_dir() {
                folders.push(path);
            } else if entry.is_file() {
                found.contents(original, copy, &path, &entry)?;
            }
        }
    }
    Ok(found)
}

/// All files below a folder, for people; none if it does not exist.
pub fn files_below(folder: &Path) -> Result<Vec<String>> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.map_err(|e| failed("list", &folder, e))?,
        };
        for entry in entries {
            let entry = entry.map_err(|e| failed("list", &folder, e))?;
            match entry.file_type().map_err(|e| failed("look at", &entry.path(), e))?.is_dir() {
                true => folders.push(entry.path()),
                false => files.push(shown(&entry.path())),
            }
        }
    }
    Ok(files)
}

impl Comparison {
    fn differs(&mut self, path: &Path, what: &str) {
        if self.differences.len() < MOST {
            self.differences.push(format!("{} {what}", shown(path)));
        }
    }

    fn contents(&mut self, one: &Path, other: &Path, path: &Path, entry: &Metadata) -> Result<()> {
        if entry.is_symlink() {
            let target = |root: &Path| fs::read_link(root.join(path)).map_err(|e| failed("read", path, e));
            if target(one)? != target(other)? {
                self.differs(path, "points elsewhere");
            }
            return Ok(());
        }
        self.files += 1;
        self.bytes += entry.len();
        if !same_bytes(&one.join(path), &other.join(path))? {
            self.differs(path, "has other content");
        }
        Ok(())
    }
}

/// What is to be seen without opening. A link's mode and mtime are its own affair.
fn differ(one: &Metadata, other: &Metadata) -> Option<String> {
    if one.file_type() != other.file_type() {
        return Some("is of another kind".into());
    }
    if one.is_symlink() {
        return None;
    }
    let mode = |entry: &Metadata| entry.mode() & 0o7777;
    if mode(one) != mode(other) {
        return Some(format!("has mode {:04o}, not {:04o}", mode(other), mode(one)));
    }
    (one.mtime() != other.mtime()).then(|| format!("is of {}, not of {}", other.mtime(), one.mtime()))
}

/// Whether two files have the same bytes. A file that does not exist has others.
pub fn same_bytes(one: &Path, other: &Path) -> Result<bool> {
    let open = |path: &Path| match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        file => file.map(Some).map_err(|e| failed("read", path, e)),
    };
    let (Some(mut one_file), Some(mut other_file)) = (open(one)?, open(other)?) else { return Ok(false) };
    let (mut here, mut there) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    loop {
        let some = fill(&mut one_file, &mut here).map_err(|e| failed("read", one, e))?;
        let others = fill(&mut other_file, &mut there).map_err(|e| failed("read", other, e))?;
        if here[..some] != there[..others] {
            return Ok(false);
        }
        if some == 0 {
            return Ok(true);
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match file.read(&mut buffer[len..])? {
            0 => break,
            more => len += more,
        }
    }
    Ok(len)
}

/// What is in a folder, by name, without what is ours.
fn list(folder: &Path) -> Result<BTreeMap<Vec<u8>, Metadata>> {
    let mut entries = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(|e| failed("list", folder, e))? {
        let entry = entry.map_err(|e| failed("list", folder, e))?;
        let name = entry.file_name().into_vec();
        match entry.metadata() {
            _ if name.starts_with(OURS) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {} // it made way while this was listed
            metadata => drop(entries.insert(name, metadata.map_err(|e| failed("look at", folder, e))?)),
        }
    }
    Ok(entries)
}

fn below(folder: &Path, name: &[u8]) -> PathBuf {
    folder.join(std::ffi::OsStr::from_bytes(name))
}

/// Errors with `Interrupted` once the program shall stop.
pub fn refuse_to_go_on(stop: &watch::Receiver<bool>) -> Result<()> {
    if *stop.borrow() {
        Err(Error::new(Kind::Interrupted, "go on with", "the demonstration"))
    } else {
        Ok(())
    }
}

pub(super) fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_bytes())
}

pub(super) fn failed(operation: &str, path: &Path, error: io::Error) -> Error {
    Error::io(operation, shown(path), error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::{Duration, UNIX_EPOCH};

    fn tree(root: &Path) {
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir(root.join(".highwater")).unwrap();
        fs::write(root.join(".highwater/x"), root.as_os_str().as_bytes()).unwrap();
        fs::write(root.join("a/b/long"), vec![7; CHUNK_BYTES + 1]).unwrap();
        fs::write(root.join("a/short"), "short").unwrap();
        symlink("short", root.join("a/link")).unwrap();
        for path in ["a/b/long", "a/short", "a/b", "a"] {
            fs::set_permissions(root.join(path), fs::Permissions::from_mode(0o755)).unwrap();
            aged(&root.join(path), 1_000);
        }
    }

    fn aged(path: &Path, secs: u64) {
        File::open(path).unwrap().set_modified(UNIX_EPOCH + Duration::from_secs(secs)).unwrap();
    }

    /// What is found after `change` was made to the second of two equal trees.
    fn check(change: fn(&Path), expected: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        tree(&one);
        tree(&other);
        change(&other);
        let (_go, stop) = watch::channel(false);
        assert_eq!(compare(&one, &other, &stop).unwrap().differences, expected);
    }

    #[test]
    fn what_differs_is_named() {
        check(|_| (), &[]);
        check(
            |root| {
                fs::write(root.join("a/b/long"), vec![7; CHUNK_BYTES]).unwrap();
                aged(&root.join("a/b/long"), 1_000);
            },
            &["a/b/long has other content"],
        );
        check(
            |root| {
                fs::write(root.join("a/short"), "shorT").unwrap();
                aged(&root.join("a/short"), 1_000);
            },
            &["a/short has other content"],
        );
        check(|root| aged(&root.join("a/b"), 1_001), &["a/b is of 1001, not of 1000"]);
        check(
            |root| {
                fs::remove_file(root.join("a/short")).unwrap();
                fs::write(root.join("a/more"), "").unwrap();
                aged(&root.join("a"), 1_000);
            },
            &["a/more is only in the second tree", "a/short is only in the first tree"],
        );
        check(
            |root| {
                fs::remove_file(root.join("a/link")).unwrap();
                symlink("b", root.join("a/link")).unwrap();
                aged(&root.join("a"), 1_000);
            },
            &["a/link points elsewhere"],
        );
        check(
            |root| fs::set_permissions(root.join("a"), fs::Permissions::from_mode(0o700)).unwrap(),
            &["a has mode 0700, not 0755"],
        );
    }
}
