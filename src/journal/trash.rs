//! What lies in the trash on the target side, per round that put it there.

use rusqlite::{Row, params};

use super::Journal;
use super::columns::{Columns, clock_ns};
use crate::entry::Time;
use crate::error::Result;
use crate::id::JobId;
use crate::path::RelPath;

/// Why something went into the trash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// It was deleted at the source.
    Deleted,
    /// It had to make way for our version.
    Displaced,
}

/// One thing in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrashRow {
    /// The name of the round's folder in the trash.
    pub round: String,
    /// Where it was, below the root, and where it is, below the round's folder.
    pub path: RelPath,
    /// Why it is there.
    pub why: Why,
    /// When it was moved there.
    pub at: Time,
    /// Its size in bytes.
    pub size: u64,
}

/// What one round put into the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrashSum {
    /// The name of the round's folder in the trash.
    pub round: String,
    /// When the last of it was moved there.
    pub newest: Time,
    /// How many things.
    pub count: u64,
    /// Their sizes together.
    pub bytes: u64,
}

const PUT: &str = "INSERT OR REPLACE INTO trash VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const PAGE: &str = "SELECT round, path, why, at_ns, size FROM trash
                    WHERE job = ?1 AND (round, path) > (?2, ?3) ORDER BY round, path LIMIT ?4";
const SUMS: &str = "SELECT round, max(at_ns), count(*), sum(size) FROM trash
                    WHERE job = ?1 GROUP BY round ORDER BY round";
const TAKE_BACK: &str = "DELETE FROM trash WHERE job = ?1 AND round = ?2 AND path = ?3";
const KNOWS: &str = "SELECT EXISTS (SELECT 1 FROM trash WHERE round = ?1)";
const RENAME: &str = "UPDATE OR REPLACE trash SET round = ?3 WHERE job = ?1 AND round = ?2";
const FORGET: &str = "DELETE FROM trash WHERE job = ?1 AND round = ?2";

impl Journal {
    /// Records something that is about to be moved into the trash; committed when this returns, so that
    /// nothing lies there that nobody knows of.
    pub async fn put_trash(&self, job: JobId, row: TrashRow) -> Result<()> {
        self.commit(move |c| {
            let why = match row.why {
                Why::Deleted => 1,
                Why::Displaced => 2,
            };
            let values =
                params![job.0, row.round, row.path.to_key(), why, clock_ns(row.at), row.size.cast_signed()];
            c.prepare_cached(PUT)?.execute(values).map(drop)
        })
        .await
    }

    /// Takes back one record: the thing was not moved after all. Queued.
    pub async fn not_trashed(&self, job: JobId, round: &str, path: RelPath) -> Result<()> {
        let round = round.to_owned();
        self.queue(move |c| {
            c.prepare_cached(TAKE_BACK)?.execute(params![job.0, round, path.to_key()]).map(drop)
        })
        .await
    }

    /// At most `limit` things in the trash, by round and path, after the one with that round and path.
    pub async fn trash(
        &self,
        job: JobId,
        after: Option<(&str, &RelPath)>,
        limit: usize,
    ) -> Result<Vec<TrashRow>> {
        let (round, key) = after.map_or_else(Default::default, |(r, p)| (r.to_owned(), p.to_key()));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read(move |c| {
            c.prepare_cached(PAGE)?.query_map(params![job.0, round, key, limit], row_of)?.collect()
        })
        .await
    }

    /// What each round has in the trash, by name.
    pub async fn trash_rounds(&self, job: JobId) -> Result<Vec<TrashSum>> {
        self.read(move |c| c.prepare_cached(SUMS)?.query_map([job.0], sum_of)?.collect()).await
    }

    /// Whether anything is known of a folder in the trash, by any job.
    pub async fn knows_trash(&self, round: &str) -> Result<bool> {
        let round = round.to_owned();
        self.read(move |c| c.prepare_cached(KNOWS)?.query_row([round], |row| row.get(0))).await
    }

    /// Records that a folder in the trash has another name by now.
    pub async fn rename_trash(&self, job: JobId, round: &str, now: &str) -> Result<()> {
        let (round, now) = (round.to_owned(), now.to_owned());
        self.commit(move |c| c.prepare_cached(RENAME)?.execute(params![job.0, round, now]).map(drop)).await
    }

    /// Forgets what a round put into the trash: swept, or put back as a whole.
    pub async fn forget_trash(&self, job: JobId, round: &str) -> Result<()> {
        let round = round.to_owned();
        self.commit(move |c| c.prepare_cached(FORGET)?.execute(params![job.0, round]).map(drop)).await
    }
}

fn row_of(row: &Row<'_>) -> rusqlite::Result<TrashRow> {
    let mut columns = Columns::new(row);
    Ok(TrashRow {
        round: columns.value()?,
        path: columns.path()?,
        why: match columns.value::<i64>()? {
            1 => Why::Deleted,
            2 => Why::Displaced,
            _ => return columns.known(None),
        },
        at: super::columns::time_of(columns.value()?),
        size: columns.count()?,
    })
}

fn sum_of(row: &Row<'_>) -> rusqlite::Result<TrashSum> {
    let mut columns = Columns::new(row);
    Ok(TrashSum {
        round: columns.value()?,
        newest: super::columns::time_of(columns.value()?),
        count: columns.count()?,
        bytes: columns.count()?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{journal, path};
    use super::*;

    fn thing(round: &str, at: &str, why: Why, secs: i64, size: u64) -> TrashRow {
        TrashRow { round: round.into(), path: path(at), why, at: Time::from_secs(secs), size }
    }

    #[tokio::test]
    async fn trash_is_listed_in_order_and_forgotten_by_round() {
        let (journal, job) = journal().await;
        let rows = [
            thing("r1", "a/b", Why::Deleted, 10, 1),
            thing("r1", "a-b", Why::Displaced, 11, 2),
            thing("r2", "a", Why::Deleted, 20, 4),
        ];
        for row in rows.iter().rev() {
            journal.put_trash(job, row.clone()).await.unwrap();
        }
        journal.flush().await.unwrap();
        assert_eq!(journal.trash(job, None, 9).await.unwrap(), rows);
        assert_eq!(journal.trash(job, None, 1).await.unwrap(), rows[..1]);
        let after_first = journal.trash(job, Some(("r1", &path("a/b"))), 9).await.unwrap();
        assert_eq!(after_first, rows[1..]);

        let sum = |round: &str, newest, count, bytes| TrashSum {
            round: round.into(),
            newest: Time::from_secs(newest),
            count,
            bytes,
        };
        assert_eq!(journal.trash_rounds(job).await.unwrap(), [sum("r1", 11, 2, 3), sum("r2", 20, 1, 4)]);
        assert!(journal.knows_trash("r1").await.unwrap());
        journal.forget_trash(job, "r1").await.unwrap();
        assert!(!journal.knows_trash("r1").await.unwrap());
        assert_eq!(journal.trash(job, None, 9).await.unwrap(), rows[2..]);
    }
}
