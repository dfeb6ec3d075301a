//! Large files that are under way or were cut off: how far they came, and of which source version.

use rusqlite::{Connection, Row, params};

use super::Journal;
use super::columns::{Binder, Columns};
use crate::entry::{Kind, Stat};
use crate::error::Result;
use crate::hash::PrefixHash;
use crate::id::{JobId, TransferId};
use crate::path::RelPath;

/// A transfer that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferStart {
    /// The file's final path.
    pub path: RelPath,
    /// The temporary's path below the target root.
    pub staged: RelPath,
    /// The source's fingerprint. A regular file.
    pub source: Stat,
}

/// A transfer that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferRow {
    /// Its number.
    pub id: TransferId,
    /// The file's final path.
    pub path: RelPath,
    /// The temporary's path below the target root. It belongs to this source version for ever.
    pub staged: RelPath,
    /// The source's fingerprint when the transfer began.
    pub source: Stat,
    /// Bytes that the target acknowledged without a gap.
    pub offset: u64,
    /// How many pieces `prefix` covers: as many as lie whole below `offset`.
    pub pieces: u64,
    /// The hash of those pieces; `None` while there is none.
    pub prefix: Option<PrefixHash>,
}

const BEGIN: &str = include_str!("sql/transfer_begin.sql");
const OF_JOB: &str = include_str!("sql/transfer_select.sql");
const PROGRESS: &str = "UPDATE transfers SET offset = ?2, pieces = ?3, prefix = ?4 WHERE id = ?1";
const FORK: &str = include_str!("sql/transfer_fork.sql");
const END: &str = "DELETE FROM transfers WHERE id = ?1";

impl Journal {
    /// Records that a staged file is about to be made.
    pub async fn begin_transfer(&self, job: JobId, start: TransferStart) -> Result<TransferId> {
        self.commit(move |c| begin(c, job, &start)).await
    }

    /// Records how far a transfer came. Queued.
    pub async fn transfer_progress(
        &self,
        id: TransferId,
        offset: u64,
        pieces: u64,
        prefix: Option<PrefixHash>,
    ) -> Result<()> {
        self.queue(move |c| {
            let prefix = prefix.as_ref().map(|p| &p.as_bytes()[..]);
            let values = params![id.0, offset.cast_signed(), pieces.cast_signed(), prefix];
            c.prepare_cached(PROGRESS)?.execute(values).map(drop)
        })
        .await
    }

    /// Records the new name that the staged file is about to get, beside the old one: the fence against what
    /// an old connection may still do. Until the rename was answered the file may have either, so both are
    /// known; then [`end_transfer`](Self::end_transfer) of the one it does not have.
    pub async fn fork_transfer(&self, id: TransferId, staged: RelPath) -> Result<TransferId> {
        self.commit(move |c| {
            c.prepare_cached(FORK)?.execute(params![id.0, staged.to_key()])?;
            Ok(TransferId(c.last_insert_rowid()))
        })
        .await
    }

    /// Forgets a transfer: placed, or given up and its staged file removed. Queued.
    pub async fn end_transfer(&self, id: TransferId) -> Result<()> {
        self.queue(move |c| c.prepare_cached(END)?.execute([id.0]).map(drop)).await
    }

    /// The transfers of a job that have not ended, in path order, older before newer.
    pub async fn transfers(&self, job: JobId) -> Result<Vec<TransferRow>> {
        self.read(move |c| c.prepare_cached(OF_JOB)?.query_map([job.0], row_of)?.collect()).await
    }
}

fn begin(c: &Connection, job: JobId, start: &TransferStart) -> rusqlite::Result<TransferId> {
    let mut statement = c.prepare_cached(BEGIN)?;
    let mut bind = Binder::new(&mut statement);
    bind.value(job.0)?;
    bind.path(&start.path)?;
    bind.path(&start.staged)?;
    bind.stat(&start.source)?;
    statement.raw_execute()?;
    Ok(TransferId(c.last_insert_rowid()))
}

fn row_of(row: &Row<'_>) -> rusqlite::Result<TransferRow> {
    let mut columns = Columns::new(row);
    Ok(TransferRow {
        id: TransferId(columns.value()?),
        path: columns.path()?,
        staged: columns.path()?,
        source: columns.stat(Kind::File)?,
        offset: columns.count()?,
        pieces: columns.count()?,
        prefix: columns.value::<Option<[u8; 32]>>()?.map(PrefixHash::from_bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{journal, near, path};
    use super::*;

    #[tokio::test]
    async fn a_transfer_from_its_begin_to_its_end() {
        let (journal, job) = journal().await;
        let start = TransferStart {
            path: path("big"),
            staged: path(".highwater-1"),
            source: near(Kind::File, 1 << 40),
        };
        let id = journal.begin_transfer(job, start.clone()).await.unwrap();
        let second = TransferStart { path: path("also"), staged: path(".highwater-2"), source: start.source };
        let other = journal.begin_transfer(job, second).await.unwrap();
        assert_ne!(id, other);

        let prefix = PrefixHash::from_bytes([7; 32]);
        journal.transfer_progress(id, 1 << 20, 8, Some(prefix)).await.unwrap();
        let fresh = journal.fork_transfer(id, path(".highwater-3")).await.unwrap();
        let rows = journal.transfers(job).await.unwrap();
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        assert_eq!(ids, [other, id, fresh], "both names are known until the rename was answered");
        assert_eq!((rows[0].offset, rows[0].pieces, rows[0].prefix), (0, 0, None));
        let expected = TransferRow {
            id: fresh,
            path: start.path,
            staged: path(".highwater-3"),
            source: start.source,
            offset: 1 << 20,
            pieces: 8,
            prefix: Some(prefix),
        };
        assert_eq!(rows[2], expected);
        assert_eq!(rows[1], TransferRow { id, staged: path(".highwater-1"), ..expected });

        journal.end_transfer(fresh).await.unwrap();
        journal.end_transfer(id).await.unwrap();
        journal.end_transfer(other).await.unwrap();
        journal.flush().await.unwrap();
        assert_eq!(journal.transfers(job).await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_number_is_never_used_twice() {
        let (journal, job) = journal().await;
        let start = TransferStart { path: path("a"), staged: path("s"), source: near(Kind::File, 1) };
        let first = journal.begin_transfer(job, start.clone()).await.unwrap();
        journal.end_transfer(first).await.unwrap();
        let second = journal.begin_transfer(job, start).await.unwrap();
        assert!(second > first);
    }
}
