//! Whether what arrived is what was sent.

use std::fs::{self, DirEntry, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::{Doing, Result};

const BLOCK_BYTES: usize = 256 * 1024;

/// What became of modification times, looked at by the second: SFTP carries no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mtimes {
    /// Every file has its source's.
    Kept,
    /// At least one has not.
    Lost,
}

/// Compares names, kinds and every byte. The error names the first difference.
/// Highwater's own `.highwater*` at the target is left out.
pub fn compare(source: &Path, target: &Path) -> Result<Mtimes> {
    let mut blocks = (vec![0; BLOCK_BYTES], vec![0; BLOCK_BYTES]);
    let mut mtimes = Mtimes::Kept;
    folder(source, target, &mut blocks, &mut mtimes)?;
    Ok(mtimes)
}

fn folder(source: &Path, target: &Path, blocks: &mut (Vec<u8>, Vec<u8>), mtimes: &mut Mtimes) -> Result<()> {
    let (wanted, found) = (entries(source)?, entries(target)?);
    if wanted.iter().map(DirEntry::file_name).ne(found.iter().map(DirEntry::file_name)) {
        return Err(format!(
            "{} holds {} names, its source {}, not the same",
            target.display(),
            found.len(),
            wanted.len()
        ));
    }
    for entry in wanted {
        let (from, to) = (entry.path(), target.join(entry.file_name()));
        match entry.file_type().doing("look at the source")?.is_dir() {
            true => folder(&from, &to, blocks, mtimes)?,
            false => file(&from, &to, blocks, mtimes)?,
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<DirEntry>> {
    let what = format!("list {}", folder.display());
    let entries: std::io::Result<Vec<_>> = fs::read_dir(folder).doing(&what)?.collect();
    let mut entries = entries.doing(&what)?;
    entries.retain(|entry| !entry.file_name().as_encoded_bytes().starts_with(b".highwater"));
    entries.sort_by_key(DirEntry::file_name);
    Ok(entries)
}

fn file(source: &Path, target: &Path, blocks: &mut (Vec<u8>, Vec<u8>), mtimes: &mut Mtimes) -> Result<()> {
    let what = format!("compare {}", target.display());
    let meta = fs::symlink_metadata(target).doing(&what)?;
    if !meta.is_file() {
        return Err(format!("{} is not a file", target.display()));
    }
    if !same_bytes(source, target, blocks).doing(&what)? {
        return Err(format!("{} differs from its source", target.display()));
    }
    if meta.mtime() != fs::symlink_metadata(source).doing(&what)?.mtime() {
        *mtimes = Mtimes::Lost;
    }
    Ok(())
}

fn same_bytes(a: &Path, b: &Path, blocks: &mut (Vec<u8>, Vec<u8>)) -> std::io::Result<bool> {
    let (mut a, mut b) = (File::open(a)?, File::open(b)?);
    loop {
        let (x, y) = (fill(&mut a, &mut blocks.0)?, fill(&mut b, &mut blocks.1)?);
        if blocks.0[..x] != blocks.1[..y] {
            return Ok(false);
        }
        if x == 0 {
            return Ok(true);
        }
    }
}

/// Reads until the block is full or the file at its end.
fn fill(file: &mut File, block: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match file.read(&mut block[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl Fn(&Path), expected: std::result::Result<Mtimes, &str>) {
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (folder.path().join("a"), folder.path().join("b"));
        for root in [&source, &target] {
            crate::data::create(root, crate::data::Shape::Small(3), 1).unwrap();
        }
        change(&target);
        match (compare(&source, &target), expected) {
            (Ok(found), Ok(wanted)) => assert_eq!(found, wanted),
            (Err(found), Err(wanted)) => assert!(found.contains(wanted), "{found}"),
            (found, wanted) => panic!("{found:?} is not {wanted:?}"),
        }
    }

    #[test]
    fn sees_every_difference() {
        let first = Path::new("d00000/f0000000.dat");
        check(|_| (), Ok(Mtimes::Kept));
        check(|root| fs::create_dir(root.join(".highwater")).unwrap(), Ok(Mtimes::Kept));
        check(|root| fs::write(root.join("more"), "").unwrap(), Err("not the same"));
        check(|root| fs::remove_file(root.join(first)).unwrap(), Err("not the same"));
        check(|root| fs::write(root.join(first), "short").unwrap(), Err("differs"));
        check(
            |root| {
                let mut bytes = fs::read(root.join(first)).unwrap();
                *bytes.last_mut().unwrap() ^= 1;
                fs::write(root.join(first), bytes).unwrap();
            },
            Err("differs"),
        );
        check(
            |root| {
                let bytes = fs::read(root.join(first)).unwrap();
                fs::write(root.join(first), bytes).unwrap();
            },
            Ok(Mtimes::Lost),
        );
    }
}
