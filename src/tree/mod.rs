//! A [`Tree`] is one side of a job: the dozen file operations that both sides share.
//!
//! The near side is a folder (`local::disk`), the far side SFTP (`remote::sftp`), and tests have one in
//! memory (`tree::memory`). Copying is one loop over this trait, so the trait is shaped by what makes
//! plain SFTP fast: operations are futures that *start when first polled*, and joining several of them
//! puts several requests on the wire before the first reply is in.
//!
//! A file reaches its final name in three steps, and none can be skipped: [`stage`](Tree::stage) makes
//! an exclusive temporary, [`StagedFile::finish`] closes it with its metadata on and, if asked, durable,
//! [`place`](Tree::place) renames it. Whoever calls `place` has waited for every answer before it.
//!
//! What a tree does not know: jobs, plans, the journal, which side is the source, and what is ours below
//! `.highwater` (see [`own`]).
//!
//! # Contract
//! `contract` checks these on every implementation:
//! - Paths are bytes; whatever the side can hold comes back unchanged.
//! - `stat` and `list` never follow a link, and no operation leaves the root through one.
//! - `Ok(None)` from `stat` means the side said that this very name does not exist. Everything else
//!   that prevents an answer is an error.
//! - `stage` and `move_aside` never replace anything; `place` replaces a file or link, never a folder.
//! - After an error of a kind that [loses the connection](crate::error::Kind::loses_connection), the
//!   outcome of operations under way is unknown and the tree is of no more use.

pub mod contract;
pub mod faulty;
pub mod memory;
pub mod own;
pub mod space;

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use crate::entry::{Kind, Listing, Meta, Stat};
use crate::error::Result;
use crate::path::RelPath;

/// One side of a job. See the [module](self) for the contract.
pub trait Tree: Send + Sync + 'static {
    /// A file open for reading.
    type Source: SourceFile;
    /// A temporary file open for writing and reading back.
    type Staged: StagedFile;

    /// Makes the root folder and its missing parents. Does nothing if it is there.
    fn make_root(&self) -> impl Future<Output = Result<()>> + Send;

    /// Reads a folder to its end. Errors with `NotFound` if it does not exist.
    fn list(&self, dir: &RelPath) -> impl Future<Output = Result<Listing>> + Send;

    /// Looks at one path without following it. `None`: the side says that the name does not exist.
    fn stat(&self, path: &RelPath) -> impl Future<Output = Result<Option<Stat>>> + Send;

    /// The same once all that was begun on `staged` is done, which nobody has to wait for before asking. `None`: it
    /// cannot be asked for so.
    fn stat_behind(
        &self,
        _staged: &Self::Staged,
        _path: &RelPath,
    ) -> impl Future<Output = Option<Result<Option<Stat>>>> + Send {
        async { None }
    }

    /// Where a symbolic link points, as bytes, uninterpreted.
    fn read_link(&self, path: &RelPath) -> impl Future<Output = Result<Vec<u8>>> + Send;

    /// Reads a small file in one go: opened without following a link, looked at before and after.
    /// Reads at most `limit` bytes; a file that is longer is returned cut, and `after` shows it.
    fn read_whole(&self, path: &RelPath, limit: u64) -> impl Future<Output = Result<Whole>> + Send;

    /// Opens a regular file for reading, not following a link. Errors with `Stale` if it is not one.
    fn open(&self, path: &RelPath) -> impl Future<Output = Result<Self::Source>> + Send;

    /// Makes a new file for writing and reading back, readable by us alone. Errors with `Exists` if
    /// the name is taken. `path` is one of [`own`]'s.
    fn stage(&self, path: &RelPath) -> impl Future<Output = Result<Self::Staged>> + Send;

    /// Opens a file staged earlier, to go on with it.
    fn reopen(&self, path: &RelPath) -> impl Future<Output = Result<Self::Staged>> + Send;

    /// Opens a staged file once more where a side can write it over several channels, on one that none of
    /// `others` is on. Errors with `Unsupported` if there is none to spare.
    fn reopen_beside(
        &self,
        path: &RelPath,
        others: &[&Self::Staged],
    ) -> impl Future<Output = Result<Beside<Self::Staged>>> + Send {
        let _ = others;
        async { Ok(Beside { staged: self.reopen(path).await?, is_proved: true, is_apart: false }) }
    }

    /// Takes note whether what one handle of a staged file wrote could be read back through another one;
    /// if not, [`Traits::writers`] is 1 from now on.
    fn note_beside(&self, works: bool) {
        let _ = works;
    }

    /// Renames a finished temporary (or staged link) to its final name, atomically where the side can,
    /// replacing a file or link that stands there. `finished` is what [`StagedFile::finish`] returned;
    /// the result is what stands at `target` now.
    fn place(
        &self,
        staged: &RelPath,
        target: &RelPath,
        finished: &Stat,
    ) -> impl Future<Output = Result<Stat>> + Send;

    /// The same where nothing stands at `target`: somebody `looked` a moment ago, or else this side replaces nothing by
    /// itself there ([`Traits::blind`]). Errors with `Exists` if something is seen to stand there after all.
    fn place_onto_nothing(
        &self,
        staged: &RelPath,
        target: &RelPath,
        finished: &Stat,
        looked: bool,
    ) -> impl Future<Output = Result<Stat>> + Send;

    /// Makes a folder with these permission bits (plus what we need to write into it; the final bits
    /// are set by `set_meta`). Errors with `Exists` if anything stands there.
    fn make_dir(&self, path: &RelPath, mode: u32) -> impl Future<Output = Result<()>> + Send;

    /// Makes a symbolic link with this target. Errors with `Exists` if anything stands there.
    fn make_link(&self, path: &RelPath, target: &[u8]) -> impl Future<Output = Result<()>> + Send;

    /// Sets mode and mtime of a file or folder in place, never through a link, and returns what stands
    /// there now. Links have no metadata that we carry.
    fn set_meta(&self, path: &RelPath, kind: Kind, meta: &Meta) -> impl Future<Output = Result<Stat>> + Send;

    /// Removes a file or link.
    fn remove_file(&self, path: &RelPath) -> impl Future<Output = Result<()>> + Send;

    /// Removes an empty folder; `NotEmpty` (or `Failed`, where the side does not tell) otherwise.
    fn remove_dir(&self, path: &RelPath) -> impl Future<Output = Result<()>> + Send;

    /// Renames to a name that nothing stands at: into the trash, out of it, or to fence a staged file.
    fn move_aside(&self, from: &RelPath, to: &RelPath) -> impl Future<Output = Result<()>> + Send;

    /// The same for whoever looked and saw nothing there a moment ago: a side that replaces nothing by itself need
    /// not look again.
    fn move_onto_nothing(&self, from: &RelPath, to: &RelPath) -> impl Future<Output = Result<()>> + Send {
        self.move_aside(from, to)
    }

    /// Makes the names in a folder durable. `Ok(false)`: this side cannot.
    fn sync_dir(&self, path: &RelPath) -> impl Future<Output = Result<bool>> + Send;

    /// Bytes that we may still write. `None`: the side does not tell.
    fn free_bytes(&self) -> impl Future<Output = Result<Option<u64>>> + Send;

    /// What must be known of this side before asking it for anything.
    fn traits(&self) -> Traits;

    /// Much is about to be asked for.
    fn expect_much(&self) {}
}

/// A further handle to a staged file.
#[derive(Debug)]
pub struct Beside<H> {
    /// The handle.
    pub staged: H,
    /// Whether this side is known to keep one file written through several handles whole. Whoever uses the
    /// first such handle finds out, and says so by [`Tree::note_beside`].
    pub is_proved: bool,
    /// Whether it lives on another connection, perhaps to another machine: what other handles prove is not proved of it.
    pub is_apart: bool,
}

/// What an engine must know of a side before it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traits {
    /// How finely the side keeps mtimes: 0 for nanoseconds, else whole seconds.
    pub mtime_granularity_secs: i64,
    /// Whether the side keeps the mtime and mode we set; if not, what it returns is recorded instead.
    pub keeps_mtime: bool,
    /// How many files may be open or staged at once.
    pub open_files: usize,
    /// Whether symbolic links can be made.
    pub links: bool,
    /// Over how many channels one large file may be read at once.
    pub readers: usize,
    /// Over how many channels one staged file may be written at once, each with a handle of its own.
    pub writers: usize,
    /// Whether reading costs the line (far) or only the disk (near).
    pub is_far: bool,
    /// Whether what is asked for is done in the order in which it was asked, without waiting for answers.
    pub in_order: bool,
    /// Where files may be [placed onto nothing](Tree::place_onto_nothing) without a look before.
    pub blind: Blind,
    /// The shortest time from a request to its answer that was seen so far; zero: none was, or it is near.
    pub round_trip: Duration,
}

/// Where a rename that replaces nothing is used for new files: there nobody has to look before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blind {
    /// Nowhere: the side has none.
    Nowhere,
    /// In folders that were only just made. Elsewhere people may wait for files to be moved in, and this side's
    /// rename that replaces nothing does not look like that.
    NewFolders,
    /// Everywhere.
    Everywhere,
}

/// A small file as [`Tree::read_whole`] found it.
#[derive(Debug, Clone)]
pub struct Whole {
    /// Before the first byte was read.
    pub before: Stat,
    /// The content, at most as long as asked for.
    pub data: Bytes,
    /// After the last byte was read. Differs from `before` if somebody wrote meanwhile.
    pub after: Stat,
}

/// A file open for reading. Dropping it closes it.
pub trait SourceFile: Send + Sync + 'static {
    /// What the open file is now.
    fn stat(&self) -> impl Future<Output = Result<Stat>> + Send;

    /// Reads `len` bytes at `offset`; fewer only where the file ends.
    fn read_at(&self, offset: u64, len: u64) -> impl Future<Output = Result<Bytes>> + Send;
}

/// A temporary file that is being written. Operations on one file may be joined: the implementation
/// keeps them in an order that is right for the side (a read after the write it covers, `finish` after
/// everything begun before it). Dropping it without `finish` closes it and leaves it where it is.
pub trait StagedFile: Send + Sync + 'static {
    /// What the file is now; its size tells how much an earlier attempt left.
    fn stat(&self) -> impl Future<Output = Result<Stat>> + Send;

    /// Writes all of `data` at `offset`. `Ok` means the side said so for every byte.
    fn write_at(&self, offset: u64, data: Bytes) -> impl Future<Output = Result<()>> + Send;

    /// Reads back `len` bytes at `offset`; fewer only where the file ends.
    fn read_at(&self, offset: u64, len: u64) -> impl Future<Output = Result<Bytes>> + Send;

    /// Closes one of several handles, not the one that finishes the file, once all that was begun on it
    /// is done. An error tells that what was written through it may not be there.
    fn close(&self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// Sets the metadata, makes the content durable if asked, closes. Returns what the side keeps.
    /// `size` is the final length; a longer remainder of an earlier attempt is cut off.
    fn finish(&self, size: u64, meta: &Meta, durable: bool) -> impl Future<Output = Result<Stat>> + Send;
}
