//! What a person might do to the tree between two rounds.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use tokio::sync::watch;

use super::compare::failed;
use super::sample::{self, DUMP, Size};
use crate::error::Result;

/// The mtime that a touched file gets, UTC seconds: in 2015.
const TOUCHED: u64 = 1_420_074_061;

const EDITED: &str = "letters/0000.dat";
const RENAMED: [&str; 2] = ["-rf/0015.dat", "-rf/a new name.dat"];
const DELETED: &str = "~/0055.dat";
const ADDED: &str = "letters/added later.dat";
const ADDED_BYTES: u64 = 300_000;

/// The large file of the last push.
pub const RECORDING: &str = "films/recording.mkv";

/// What was changed.
#[derive(Debug)]
pub struct Edits {
    /// Content that is new under its name, in bytes: of the file edited, the one added, the one renamed.
    pub new_bytes: u64,
    /// How many files that are.
    pub new_files: u64,
    /// The size of the file that was only touched, in bytes.
    pub touched_bytes: u64,
    /// How many names went away: of the file deleted, and the one renamed.
    pub gone: u64,
    /// The file that was deleted, by its path in the tree.
    pub deleted: PathBuf,
}

/// Edits one file, touches a large one, renames one, deletes one, adds one. What is deleted is kept as
/// `kept`, to be compared with what lies in the trash.
pub fn edit(root: &Path, kept: &Path, seed: u64, stop: &watch::Receiver<bool>) -> Result<Edits> {
    let edited = append(root, Path::new(EDITED))?;
    sample::age(root, Path::new(DUMP), UNIX_EPOCH + Duration::from_secs(TOUCHED))?;
    let [old, new] = RENAMED.map(|path| root.join(path));
    fs::rename(&old, &new).map_err(|e| failed("rename", &old, e))?;
    let deleted = root.join(DELETED);
    fs::copy(&deleted, kept).map_err(|e| failed("copy", &deleted, e))?;
    fs::remove_file(&deleted).map_err(|e| failed("delete", &deleted, e))?;
    sample::write(root, Path::new(ADDED), ADDED_BYTES, seed, stop)?;
    Ok(Edits {
        new_bytes: edited + size_of(&new)? + ADDED_BYTES,
        new_files: 3,
        touched_bytes: size_of(&root.join(DUMP))?,
        gone: 2,
        deleted: DELETED.into(),
    })
}

/// Adds a large file.
pub fn add_recording(root: &Path, size: Size, seed: u64, stop: &watch::Receiver<bool>) -> Result<u64> {
    sample::write(root, Path::new(RECORDING), size.added_bytes(), seed, stop)?;
    Ok(size.added_bytes())
}

/// Changes the beginning of a file and adds to its end. Returns its new size in bytes.
fn append(root: &Path, path: &Path) -> Result<u64> {
    let failed = |e| failed("edit", path, e);
    let mut file: File = OpenOptions::new().write(true).open(root.join(path)).map_err(failed)?;
    file.write_all(b"Dear").map_err(failed)?;
    file.seek(SeekFrom::End(0)).map_err(failed)?;
    file.write_all(b"Yours, and so on.\n").map_err(failed)?;
    size_of(&root.join(path))
}

fn size_of(path: &Path) -> Result<u64> {
    fs::metadata(path).map(|metadata| metadata.len()).map_err(|e| failed("look at", path, e))
}
