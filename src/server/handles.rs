//! What a session holds open, numbered as OpenSSH numbers it: the lowest free number, four bytes
//! big-endian. From 128 open handles on these are bytes that are no UTF-8.

use std::fs::File;

use super::listing::OpenDir;
use super::refusal::Refusal;
use crate::path::RelPath;

/// An open file or folder.
#[derive(Debug)]
pub(super) enum Open {
    /// From OPEN; also a folder, which can be synced but not read.
    File(OpenFile),
    /// From OPENDIR.
    Dir(OpenDir),
}

/// A file, and where it was when it was opened.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) file: File,
    pub(super) path: RelPath,
}

impl Open {
    /// The path that it was opened at.
    pub(super) fn path(&self) -> &RelPath {
        match self {
            Self::File(file) => &file.path,
            Self::Dir(dir) => dir.path(),
        }
    }
}

/// The handles of one session.
#[derive(Debug)]
pub(super) struct Handles {
    slots: Vec<Option<Open>>,
    limit: usize,
}

impl Handles {
    /// No more than `limit` at once.
    pub(super) fn new(limit: usize) -> Self {
        Self { slots: Vec::new(), limit }
    }

    /// Whether one more may be opened.
    pub(super) fn check_room(&self) -> Result<(), Refusal> {
        match self.free() {
            Some(_) => Ok(()),
            None => Err(Refusal::failure("too many open handles")),
        }
    }

    /// Takes in what was opened.
    pub(super) fn insert(&mut self, open: Open) -> Result<Vec<u8>, Refusal> {
        self.check_room()?;
        let slot = self.free().unwrap_or_default();
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[slot] = Some(open);
        Ok((slot as u32).to_be_bytes().to_vec())
    }

    /// What a handle stands for.
    pub(super) fn get(&self, handle: &[u8]) -> Result<&Open, Refusal> {
        slot_of(handle).and_then(|slot| self.slots.get(slot)?.as_ref()).ok_or_else(unknown)
    }

    /// The file that a handle stands for.
    pub(super) fn file(&self, handle: &[u8]) -> Result<&File, Refusal> {
        match self.get(handle)? {
            Open::File(open) => Ok(&open.file),
            Open::Dir(_) => Err(Refusal::failure("the handle is a folder's")),
        }
    }

    /// The folder that a handle stands for.
    pub(super) fn dir(&mut self, handle: &[u8]) -> Result<&mut OpenDir, Refusal> {
        match slot_of(handle).and_then(|slot| self.slots.get_mut(slot)?.as_mut()) {
            Some(Open::Dir(dir)) => Ok(dir),
            Some(Open::File(_)) => Err(Refusal::failure("the handle is a file's")),
            None => Err(unknown()),
        }
    }

    /// Closes a handle.
    pub(super) fn remove(&mut self, handle: &[u8]) -> Result<(), Refusal> {
        let open = slot_of(handle).and_then(|slot| self.slots.get_mut(slot)?.take());
        open.map(drop).ok_or_else(unknown)
    }

    fn free(&self) -> Option<usize> {
        let slot = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        (slot < self.limit).then_some(slot)
    }
}

fn slot_of(handle: &[u8]) -> Option<usize> {
    Some(u32::from_be_bytes(handle.try_into().ok()?) as usize)
}

fn unknown() -> Refusal {
    Refusal::failure("no such handle")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Open {
        Open::File(OpenFile { file: tempfile::tempfile().unwrap(), path: RelPath::root() })
    }

    #[test]
    fn the_lowest_free_number_is_taken_and_there_is_a_limit() {
        let mut handles = Handles::new(3);
        let given: Vec<Vec<u8>> = (0..3).map(|_| handles.insert(open()).unwrap()).collect();
        assert_eq!(given, [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 2]]);
        assert!(handles.insert(open()).is_err());
        handles.remove(&given[1]).unwrap();
        assert!(handles.file(&given[1]).is_err());
        assert!(handles.remove(&given[1]).is_err());
        assert_eq!(handles.insert(open()).unwrap(), given[1]);
        assert!(handles.file(&given[1]).is_ok());
        assert!(handles.dir(&given[1]).is_err());
    }

    #[test]
    fn what_is_no_handle_is_refused() {
        let mut handles = Handles::new(3);
        let handle = handles.insert(open()).unwrap();
        for bad in [&b""[..], b"\0\0\0", b"\0\0\0\x01", b"\xff\xff\xff\xff", b"\0\0\0\0\0"] {
            assert!(handles.file(bad).is_err() && handles.remove(bad).is_err(), "{bad:?}");
        }
        assert!(handles.file(&handle).is_ok());
    }
}
