//! The journal: what was seen, what both sides agreed on, what is under way, and what came of it, in one
//! SQLite file.
//!
//! [`Journal`] is a handle that is cheap to clone. One thread owns the connection that writes; calls
//! reach it over a bounded queue, and everything queued goes into one transaction. Reading uses other
//! connections, a page at a time, and sees what is committed: [`flush`](Journal::flush) first to read
//! what was only queued.
//!
//! Calls that write come in two styles. Those whose name ends in `_committed`, and all whose doc does
//! not say otherwise, return when the transaction is committed. **Queued** calls wait for room in the
//! queue only; if one fails later, the next call returns its error. Calls from one task are carried out
//! in their order, whichever style they have.
//!
//! After the first write that fails (disk full, I/O error) the journal is failed: every later call
//! returns an error of [`Kind::Journal`], and the transaction it shared is not there.
//! A committed transaction survives the process; a power cut may take the last ones, never half of one.
//!
//! What the journal does not know: what its rows mean. Whoever opens it for writing holds the
//! [`lock`] of its folder first, because a damaged file is moved aside at opening.
//!
//! [`Kind::Journal`]: crate::error::Kind::Journal

mod base;
mod changes;
mod columns;
mod damaged;
mod deletions;
mod failure;
mod inline;
mod intents;
mod jobs;
pub mod lock;
mod meta;
pub mod place;
mod problems;
mod reader;
mod rounds;
#[cfg(test)]
mod sample;
mod schema;
mod servers;
mod synced;
#[cfg(test)]
mod testing;
mod transfers;
mod trash;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rusqlite::Connection;
use tempfile::TempDir;
use tokio::sync::oneshot;

pub use self::base::BaseRow;
pub use self::changes::{Change, SeenBy, What};
pub use self::deletions::Deletes;
pub use self::intents::Intent;
pub use self::jobs::{JobState, RootIdentity};
pub use self::problems::Problems;
pub use self::rounds::RoundRow;
pub use self::servers::Pin;
pub use self::transfers::{TransferRow, TransferStart};
pub use self::trash::{TrashRow, TrashSum, Why};

use self::failure::{Failure, show};
use self::reader::Readers;
use self::writer::{Call, Mailbox, Message, Reply};
use crate::clock::{Clock, Random, SystemClock, SystemRandom};
use crate::error::{Error, Kind, Result};

/// A journal that was opened.
#[derive(Debug)]
pub struct Opened {
    /// The handle.
    pub journal: Journal,
    /// Where the damaged file was moved, if there was one. The journal is empty then: the next round
    /// compares both sides and deletes nothing.
    pub rebuilt: Option<PathBuf>,
}

/// A handle to the journal. See the [module](self).
///
/// When the last one is dropped, what is queued is still written, but nobody waits for it: use
/// [`close`](Self::close) before the process ends.
#[derive(Clone)]
pub struct Journal(Arc<Inner>);

struct Inner {
    path: PathBuf,
    /// The thread in [`writer`] holds the other end; `None` where only reading was asked for.
    writer: Option<Mailbox>,
    /// Set by the writer at its first failure.
    failure: Arc<OnceLock<Failure>>,
    readers: Readers,
}

impl Journal {
    /// Opens the journal file at `path`; makes it (mode 0600) if it is missing. Checks the whole file,
    /// which takes about a second per million paths. Blocks.
    ///
    /// Errors with [`Kind::Journal`] if the file cannot be used and is not damaged: no access, no room,
    /// a newer schema, another program's database.
    pub fn open(path: &Path) -> Result<Opened> {
        Self::open_with(path, &SystemClock, &SystemRandom)
    }

    /// [`open`](Self::open) with a clock for the name of a damaged file and the source of the agent's id.
    pub fn open_with(path: &Path, clock: &dyn Clock, random: &dyn Random) -> Result<Opened> {
        let ready = schema::open(path, clock, random)?;
        let journal = Self::start(path, ready.connection, None)?;
        Ok(Opened { journal, rebuilt: ready.rebuilt })
    }

    /// [`open_with`](Self::open_with) without threads, for simulations: what is queued is written by the next
    /// call that somebody waits for, in its transaction, and every call blocks. Dropping the last handle is a
    /// crash: what is still queued is gone.
    pub fn open_inline(path: &Path, clock: &dyn Clock, random: &dyn Random) -> Result<Opened> {
        let ready = schema::open(path, clock, random)?;
        let failure: Arc<OnceLock<Failure>> = Arc::default();
        let writer = Mailbox::inline(ready.connection, Arc::clone(&failure));
        Ok(Opened { journal: Self::new(path, Some(writer), failure), rebuilt: ready.rebuilt })
    }

    /// Opens the journal at `path` beside a process that owns it, to write a word into it: a pin, say.
    /// Checks nothing as a whole and moves nothing. Errors with [`Kind::NotFound`] if there is no file, or one
    /// that is only being made.
    pub fn open_beside(path: &Path) -> Result<Self> {
        Self::start(path, schema::open_beside(path)?, None)
    }

    /// [`open_beside`](Self::open_beside), only to read. Every call that writes returns an error. `None`: there
    /// is no journal, or one that is only being made.
    pub fn open_to_read(path: &Path) -> Result<Option<Self>> {
        match schema::open_beside(path) {
            Ok(_) => Ok(Some(Self::new(path, None, Arc::default()))),
            Err(missing) if missing.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A journal that goes with its last handle: for tests, `demo` and `--dry-run`. It is a file in a
    /// folder of its own below the system's temporary folder, because SQLite's databases in memory lock
    /// readers out while something is written.
    pub fn in_memory() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("highwater-").tempdir();
        let folder = folder.map_err(|e| Error::io("make a temporary folder", "", e))?;
        let path = folder.path().join("journal.db");
        let ready = schema::open(&path, &SystemClock, &SystemRandom)?;
        let relaxed = ready.connection.pragma_update(None, "synchronous", "off");
        relaxed.map_err(|e| Failure::of(&e).error("open the journal", &path))?;
        Self::start(&path, ready.connection, Some(folder))
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Returns when everything queued before is committed; errors if any of it was not.
    pub async fn flush(&self) -> Result<()> {
        self.commit(|_| Ok(())).await
    }

    /// Writes everything queued and closes the file, for all handles. Errors if anything was not written.
    pub async fn close(&self) -> Result<()> {
        self.0.readers.close();
        let Some(writer) = &self.0.writer else { return Ok(()) };
        let (reply, closed) = oneshot::channel();
        if writer.send(Message::Close(reply)).await {
            let _ = closed.await; // an error here means that it had closed just before
        }
        match self.0.failure.get() {
            Some(failure) => Err(self.cannot_write(failure)),
            None => Ok(()),
        }
    }

    fn start(path: &Path, connection: Connection, folder: Option<TempDir>) -> Result<Self> {
        let failure = Arc::default();
        let writer = writer::start(connection, folder, Arc::clone(&failure))
            .map_err(|e| Error::new(Kind::Journal, "start the journal's thread", "").because(e))?;
        Ok(Self::new(path, Some(writer), failure))
    }

    fn new(path: &Path, writer: Option<Mailbox>, failure: Arc<OnceLock<Failure>>) -> Self {
        Self(Arc::new(Inner { path: path.into(), writer, failure, readers: Readers::new(path) }))
    }

    /// Runs `work` in the writer's next transaction and returns when that is committed.
    async fn commit<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.send(work, Some(reply)).await?;
        let result = answer.await.unwrap_or_else(|_| Err(Failure::closed()));
        result.map_err(|failure| self.cannot_write(&failure))
    }

    /// Queues `work` for the writer's next transaction.
    async fn queue<F>(&self, work: F) -> Result<()>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static,
    {
        self.send(work, None).await
    }

    async fn send<T, F>(&self, work: F, reply: Option<Reply<T>>) -> Result<()>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.not_failed()?;
        let message = Message::Write(Box::new(Call::new(work, reply)));
        let sent = match &self.0.writer {
            Some(writer) => writer.send(message).await,
            None => false,
        };
        if sent { Ok(()) } else { Err(self.cannot_write(&Failure::closed())) }
    }

    /// Runs `work` on a connection for reading, where blocking is allowed.
    async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.not_failed()?;
        if matches!(self.0.writer, Some(Mailbox::Inline(_))) {
            return self.0.readers.read(work).map_err(|e| self.cannot_read(&e));
        }
        let journal = self.clone();
        match tokio::task::spawn_blocking(move || journal.0.readers.read(work)).await {
            Ok(result) => result.map_err(|e| self.cannot_read(&e)),
            Err(e) if e.is_cancelled() => Err(Error::new(Kind::Interrupted, "read the journal", "")),
            Err(e) => Err(Error::new(Kind::Internal, "read the journal", "").because(e)),
        }
    }

    fn not_failed(&self) -> Result<()> {
        self.0.failure.get().map_or(Ok(()), |failure| Err(self.cannot_write(failure)))
    }

    fn cannot_read(&self, error: &rusqlite::Error) -> Error {
        Failure::of(error).error("read the journal", self.path())
    }

    fn cannot_write(&self, failure: &Failure) -> Error {
        failure.error("write the journal", self.path())
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Journal({})", show(self.path()))
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::testing::{file, journal, path};
    use super::*;

    fn at(folder: &TempDir) -> PathBuf {
        folder.path().join("journal.db")
    }

    async fn with_one_row(file_path: &Path) -> Journal {
        let journal = Journal::open(file_path).unwrap().journal;
        let job = journal.job("nightly").await.unwrap();
        journal.put_base_committed(job, file("a")).await.unwrap();
        journal
    }

    async fn rows_in(file_path: &Path) -> u64 {
        let opened = Journal::open(file_path).unwrap();
        assert_eq!(opened.rebuilt, None);
        let job = opened.journal.find_job("nightly").await.unwrap().unwrap();
        opened.journal.base_count(job).await.unwrap()
    }

    fn check_error(error: &Error, journal: &Journal, reason: &str, hint: &str) {
        assert_eq!(error.kind(), Kind::Journal);
        assert_eq!(error.subject(), show(journal.path()));
        assert!(error.reason().contains(reason), "{}", error.reason());
        assert!(error.hint_text().unwrap_or_default().contains(hint), "{:?}", error.hint_text());
    }

    #[tokio::test]
    async fn what_was_committed_outlives_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let journal = with_one_row(&at(&folder)).await;
        let left_behind = tempfile::tempdir().unwrap(); // what the disk holds when the process is killed
        for name in ["journal.db", "journal.db-wal"] {
            std::fs::copy(folder.path().join(name), left_behind.path().join(name)).unwrap();
        }
        assert_eq!(rows_in(&at(&left_behind)).await, 1);
        drop(journal);
    }

    #[tokio::test]
    async fn what_was_queued_is_written_at_the_close() {
        let folder = tempfile::tempdir().unwrap();
        let journal = with_one_row(&at(&folder)).await;
        let job = journal.find_job("nightly").await.unwrap().unwrap();
        journal.put_base(job, file("b")).await.unwrap();
        journal.close().await.unwrap();
        let names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["journal.db"], "the log was moved into the file");
        assert_eq!(rows_in(&at(&folder)).await, 2);
    }

    #[tokio::test]
    async fn a_closed_journal_takes_nothing_more() {
        let (journal, job) = journal().await;
        journal.close().await.unwrap();
        journal.close().await.unwrap();
        let error = journal.put_base(job, file("a")).await.unwrap_err();
        check_error(&error, &journal, "closed for writing", "");
        assert!(journal.flush().await.is_err());
    }

    #[tokio::test]
    async fn a_reader_beside_the_writer_sees_what_is_committed_and_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Journal::open_to_read(&at(&folder)).unwrap().is_none());
        let writer = with_one_row(&at(&folder)).await;
        let reader = Journal::open_to_read(&at(&folder)).unwrap().unwrap();
        let job = reader.find_job("nightly").await.unwrap().unwrap();
        assert_eq!(reader.base_count(job).await.unwrap(), 1);
        writer.put_base_committed(job, file("b")).await.unwrap();
        assert_eq!(reader.base_count(job).await.unwrap(), 2);
        assert!(reader.put_base_committed(job, file("c")).await.is_err());
        reader.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_command_may_write_beside_the_owner() {
        let folder = tempfile::tempdir().unwrap();
        let owner = with_one_row(&at(&folder)).await;
        let command = Journal::open_beside(&at(&folder)).unwrap();
        command.meta_set("word", "written beside").await.unwrap();
        command.close().await.unwrap();
        assert_eq!(owner.meta_get("word").await.unwrap().as_deref(), Some("written beside"));
        owner.flush().await.unwrap();
    }

    #[tokio::test]
    async fn a_reading_connection_cannot_write() {
        let (journal, _) = journal().await;
        let result = journal.read(|c| c.execute("DELETE FROM jobs", [])).await;
        check_error(&result.unwrap_err(), &journal, "readonly", "may be written");
        journal.flush().await.unwrap();
    }

    /// Stands for a full disk: SQLite reports both alike.
    async fn fill(journal: &Journal) {
        let full = |c: &Connection| c.pragma_update_and_check(None, "max_page_count", 1, |_| Ok(()));
        journal.commit(full).await.unwrap();
    }

    fn many_rows() -> Vec<BaseRow> {
        (0..2_000).map(|i| file(&i.to_string())).collect()
    }

    #[tokio::test]
    async fn a_full_disk_fails_the_call_and_all_after_it() {
        let (journal, job) = journal().await;
        journal.put_base_committed(job, file("before")).await.unwrap();
        fill(&journal).await;
        journal.put_base_rows(job, many_rows()).await.unwrap();
        let errors = [
            journal.flush().await.unwrap_err(),
            journal.put_base(job, file("a")).await.unwrap_err(),
            journal.put_base_committed(job, file("a")).await.unwrap_err(),
            journal.base_get(job, &path("a")).await.unwrap_err(),
            journal.close().await.unwrap_err(),
        ];
        for error in errors {
            check_error(&error, &journal, "full", "free some space");
        }
    }

    #[tokio::test]
    async fn a_transaction_that_failed_left_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let journal = with_one_row(&at(&folder)).await;
        let job = journal.find_job("nightly").await.unwrap().unwrap();
        fill(&journal).await;
        journal.put_base_rows(job, many_rows()).await.unwrap();
        journal.close().await.unwrap_err();
        assert_eq!(rows_in(&at(&folder)).await, 1);
    }

    #[tokio::test]
    async fn a_file_that_may_not_be_written_fails_the_journal() {
        let (journal, job) = journal().await;
        journal.commit(|c| c.pragma_update(None, "query_only", true)).await.unwrap();
        let error = journal.put_base_committed(job, file("a")).await.unwrap_err();
        check_error(&error, &journal, "readonly", "may be written");
    }

    #[tokio::test]
    async fn a_full_queue_makes_callers_wait_and_loses_nothing() {
        let (journal, job) = journal().await;
        let (go, gate) = std::sync::mpsc::channel::<()>();
        let (arrived, holding) = oneshot::channel();
        journal
            .queue(move |_| {
                let _ = arrived.send(());
                let _ = gate.recv();
                Ok(())
            })
            .await
            .unwrap();
        holding.await.unwrap();

        let mut context = Context::from_waker(Waker::noop());
        let mut queued = 0;
        let waiting = loop {
            let put = journal.put_base(job, file(&queued.to_string()));
            let mut call = Box::pin(tokio::task::unconstrained(put)); // only the queue may make it wait
            match call.as_mut().poll(&mut context) {
                Poll::Ready(result) => result.unwrap(),
                Poll::Pending => break call,
            }
            queued += 1;
        };
        assert!(queued >= 1_000);
        go.send(()).unwrap();
        waiting.await.unwrap();
        journal.flush().await.unwrap();
        assert_eq!(journal.base_count(job).await.unwrap(), queued + 1);
    }

    #[tokio::test]
    async fn calls_of_one_task_keep_their_order() {
        let (journal, job) = journal().await;
        for _ in 0..200 {
            journal.put_base(job, file("a")).await.unwrap();
            journal.forget_base(job, path("a")).await.unwrap();
        }
        journal.flush().await.unwrap();
        assert!(journal.base_is_empty(job).await.unwrap());
    }

    #[tokio::test]
    async fn a_journal_in_memory_leaves_nothing_behind() {
        let (journal, _) = journal().await;
        let folder = journal.path().parent().unwrap().to_owned();
        assert!(folder.exists());
        journal.close().await.unwrap();
        assert!(!folder.exists());
    }
}
