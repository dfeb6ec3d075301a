//! One process per folder: a lock file that the kernel lets go of when its holder ends, however it does.
//!
//! The text in the file is for people only. A file without a holder is no obstacle, whatever it says,
//! so it is never removed: removing it would let two processes hold two files of one name.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::failure::show;
use crate::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::path::escape;

/// Most of the holder's text that is read.
const TEXT_BYTES: u64 = 512;

/// The right to use a folder, until it is dropped or the process ends.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Takes the lock file at `path`, made if it is missing (mode 0600), for `command` ("daemon", say).
    /// Does not wait: errors with [`Kind::Locked`], naming the holder, if another process has it.
    pub fn take(path: &Path, command: &str, clock: &dyn Clock) -> Result<Self> {
        let io = |e| Error::io("open the lock file", show(path), e);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held(path, &mut file)),
            Err(TryLockError::Error(e)) => return Err(io(e)),
        }
        sign(&mut file, command, clock).map_err(io)?;
        Ok(Self(file))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.0.set_len(0); // the text is for people; closing the file is what lets go
    }
}

fn sign(file: &mut File, command: &str, clock: &dyn Clock) -> io::Result<()> {
    let since = match jiff::Timestamp::from_second(clock.now().secs) {
        Ok(at) => at.to_string(),
        Err(_) => String::new(),
    };
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{} {command} {since}", std::process::id())
}

fn held(path: &Path, file: &mut File) -> Error {
    Error::new(Kind::Locked, "take the lock", show(path))
        .detail(format!("it is held by {}", holder(file)))
        .hint("wait until that process has ended, or use another state folder (--state DIR)")
}

/// What the holder wrote: "process 4711 (daemon, since 2026-03-01T02:15:00Z)".
fn holder(file: &mut File) -> String {
    let mut text = Vec::new();
    let read = file.take(TEXT_BYTES).read_to_end(&mut text);
    let text = escape(text.trim_ascii());
    let words: Vec<&str> = text.split(' ').collect();
    match (read, words.as_slice()) {
        (Ok(_), [pid, command @ .., since]) if !command.is_empty() => {
            format!("process {pid} ({}, since {since})", command.join(" "))
        }
        _ => "another process".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::entry::Time;

    fn clock() -> ManualClock {
        ManualClock::new(Time::from_secs(1_772_331_300))
    }

    #[test]
    fn the_second_is_told_who_was_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("daemon.lock");
        let first = Lock::take(&path, "highwater daemon", &clock()).unwrap();
        let error = Lock::take(&path, "push", &clock()).unwrap_err();
        assert_eq!(error.kind(), Kind::Locked);
        let pid = std::process::id();
        assert_eq!(
            error.reason(),
            format!("it is held by process {pid} (highwater daemon, since 2026-03-01T02:15:00Z)")
        );
        drop(first);
        Lock::take(&path, "push", &clock()).unwrap();
    }

    #[test]
    fn what_a_dead_holder_left_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        std::fs::write(&path, "1 daemon 2020-01-01T00:00:00Z\nand more than the next holder writes").unwrap();
        let _lock = Lock::take(&path, "push", &clock()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{} push 2026-03-01T02:15:00Z\n", std::process::id()));
    }

    #[test]
    fn a_holder_that_wrote_nothing_sensible_is_still_a_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let _lock = Lock::take(&path, "push", &clock()).unwrap();
        for text in ["", "\x1b[2J", "4711"] {
            std::fs::write(&path, text).unwrap();
            let error = Lock::take(&path, "pull", &clock()).unwrap_err();
            assert_eq!(error.reason(), "it is held by another process", "{text:?}");
        }
    }
}
