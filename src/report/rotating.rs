//! A log file that is begun anew when it is full, the old ones kept for a while under numbers.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::config::model::LogFile;

/// An open log file.
#[derive(Debug)]
pub(super) struct Rotating {
    place: LogFile,
    file: File,
    written: u64,
}

impl Rotating {
    /// Opens it at its end. Nobody but the owner may read what it holds.
    pub fn open(place: LogFile) -> io::Result<Self> {
        let file = open(&place.path)?;
        let written = file.metadata()?.len();
        Ok(Self { place, file, written })
    }

    /// Writes a line, in the next file if it has no room in this one.
    pub fn write(&mut self, line: &str) -> io::Result<()> {
        let length = line.len() as u64;
        if self.written > 0 && self.written.saturating_add(length) > self.place.size {
            self.begin_anew()?;
        }
        self.file.write_all(line.as_bytes())?;
        self.written += length;
        Ok(())
    }

    fn begin_anew(&mut self) -> io::Result<()> {
        let name = |number: u32| numbered(&self.place.path, number);
        if self.place.keep == 0 {
            fs::remove_file(&self.place.path)?;
        }
        for number in (0..self.place.keep).rev() {
            match fs::rename(name(number), name(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.file = open(&self.place.path)?;
        self.written = 0;
        Ok(())
    }
}

/// The name of an old file; 0 is the one that is written.
fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_path_buf();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes ten lines of four bytes each, opened anew in the middle: what the files hold then.
    fn check(size: u64, keep: u32, expected: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        for part in 0..2 {
            let mut file = Rotating::open(LogFile { path: path.clone(), size, keep }).unwrap();
            (0..5).for_each(|n| file.write(&format!("{:03}\n", part * 5 + n)).unwrap());
        }
        let mut found = Vec::new();
        while let Ok(text) = fs::read_to_string(numbered(&path, found.len() as u32)) {
            found.push(text.replace('\n', " "));
        }
        assert_eq!(found, expected, "{size} {keep}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), expected.len());
    }

    #[test]
    fn a_full_file_gets_a_number_and_the_oldest_goes() {
        check(100, 3, &["000 001 002 003 004 005 006 007 008 009 "]);
        check(20, 3, &["005 006 007 008 009 ", "000 001 002 003 004 "]);
        check(12, 2, &["009 ", "006 007 008 ", "003 004 005 "]);
        check(12, 1, &["009 ", "006 007 008 "]);
        check(12, 0, &["009 "]);
        check(1, 1, &["009 ", "008 "]); // a line that has no room anywhere stands alone
    }

    #[test]
    fn only_the_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        Rotating::open(LogFile { path: path.clone(), size: 10, keep: 1 }).unwrap();
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
