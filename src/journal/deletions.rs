//! Deletes as they were done, for the guard that counts them over a sliding window.

use std::time::Duration;

use rusqlite::{Connection, params};

use super::Journal;
use super::columns::{Columns, clock_ns, duration_ns};
use crate::entry::Time;
use crate::error::Result;
use crate::id::JobId;

/// How long deletes are remembered: twice the window they are counted over.
const KEPT: Duration = Duration::from_secs(2 * 24 * 3600);

const BEGIN: &str = "INSERT INTO deletions (job, at_ns, count, base_size)
                     SELECT id, ?2, 0, base_files FROM jobs WHERE id = ?1";
const COUNT: &str = "UPDATE deletions SET count = count + 1 WHERE id = ?1";
const PRUNE: &str = "DELETE FROM deletions WHERE job = ?1 AND at_ns < ?2";
const SINCE: &str = "SELECT coalesce(sum(count), 0), coalesce(max(base_size), 0) FROM deletions
                     WHERE job = ?1 AND at_ns >= ?2";

/// Deletes that one attempt does, and that are counted one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletes(i64);

impl Journal {
    /// Records that files and links are about to be deleted, with the size of base as it is now. What is
    /// older than two days is dropped. Each delete that was done is then counted where base
    /// [forgets](Journal::forget_removed) it.
    pub async fn begin_deletes(&self, job: JobId, at: Time) -> Result<Deletes> {
        let (at, too_old) = (clock_ns(at), clock_ns(at).saturating_sub(duration_ns(KEPT)));
        self.commit(move |c| {
            c.prepare_cached(PRUNE)?.execute(params![job.0, too_old])?;
            c.prepare_cached(BEGIN)?.execute(params![job.0, at])?;
            Ok(Deletes(c.last_insert_rowid()))
        })
        .await
    }

    /// How many files and links were deleted at or after `since`, and the largest base those rounds
    /// began with; 0 and 0 if there were none.
    pub async fn deletes_since(&self, job: JobId, since: Time) -> Result<(u64, u64)> {
        let since = clock_ns(since);
        self.read(move |c| {
            c.prepare_cached(SINCE)?.query_row(params![job.0, since], |row| {
                let mut columns = Columns::new(row);
                Ok((columns.count()?, columns.count()?))
            })
        })
        .await
    }
}

/// One more was done.
pub(super) fn count(c: &Connection, deletes: Deletes) -> rusqlite::Result<()> {
    c.prepare_cached(COUNT)?.execute([deletes.0]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{file, journal, path};
    use super::*;
    use crate::id::RoundId;

    #[tokio::test]
    async fn deletes_count_where_they_are_done_against_the_largest_base() {
        let (journal, job) = journal().await;
        let hour = |h: i64| Time::from_secs(1_700_000_000 + h * 3600);
        for name in ["a", "b", "c", "d"] {
            journal.put_base_committed(job, file(name)).await.unwrap();
        }
        let round = RoundId(1);
        for (at, asked, done) in [(0, 3, &["a", "b"][..]), (10, 1, &["c"]), (20, 1, &[])] {
            let deletes = journal.begin_deletes(job, hour(at)).await.unwrap();
            for name in done {
                journal.forget_removed(job, path(name), round, Some(deletes)).await.unwrap();
            }
            assert!(asked >= done.len());
        }
        journal.forget_removed(job, path("d"), round, None).await.unwrap();
        journal.flush().await.unwrap();
        let check = async |since, expected| {
            assert_eq!(journal.deletes_since(job, hour(since)).await.unwrap(), expected, "{since}");
        };
        check(0, (3, 4)).await;
        check(1, (1, 2)).await;
        check(20, (0, 1)).await;
        check(21, (0, 0)).await;
        assert_eq!(journal.base_count(job).await.unwrap(), 0);
        journal.begin_deletes(job, hour(49)).await.unwrap();
        check(-100, (1, 2)).await;
    }
}
