//! Deletes as they were done, for the guard that counts them over a sliding window.

use std::time::Duration;

use rusqlite::params;

use super::Journal;
use super::columns::{Columns, clock_ns, duration_ns};
use crate::entry::Time;
use crate::error::Result;
use crate::id::JobId;

/// How long deletes are remembered: twice the window they are counted over.
const KEPT: Duration = Duration::from_secs(2 * 24 * 3600);

const RECORD: &str = "INSERT INTO deletions (job, at_ns, count, base_size) VALUES (?1, ?2, ?3, ?4)";
const PRUNE: &str = "DELETE FROM deletions WHERE job = ?1 AND at_ns < ?2";
const SINCE: &str = "SELECT coalesce(sum(count), 0), coalesce(max(base_size), 0) FROM deletions
                     WHERE job = ?1 AND at_ns >= ?2";

impl Journal {
    /// Records that `count` files and links are about to be deleted by a round that began with
    /// `base_size` of them in base. What is older than two days is dropped.
    pub async fn record_deletes(&self, job: JobId, at: Time, count: u64, base_size: u64) -> Result<()> {
        let (at, too_old) = (clock_ns(at), clock_ns(at).saturating_sub(duration_ns(KEPT)));
        self.commit(move |c| {
            c.prepare_cached(PRUNE)?.execute(params![job.0, too_old])?;
            let values = params![job.0, at, count.cast_signed(), base_size.cast_signed()];
            c.prepare_cached(RECORD)?.execute(values).map(drop)
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

#[cfg(test)]
mod tests {
    use super::super::testing::journal;
    use super::*;

    #[tokio::test]
    async fn many_small_rounds_add_up_against_the_largest_base() {
        let (journal, job) = journal().await;
        let other = journal.job("other").await.unwrap();
        let hour = |h: i64| Time::from_secs(1_700_000_000 + h * 3600);
        for (at, count, base) in [(0, 5, 100), (10, 3, 200), (20, 2, 50)] {
            journal.record_deletes(job, hour(at), count, base).await.unwrap();
        }
        journal.record_deletes(other, hour(20), 1_000, 1_000).await.unwrap();
        let check = async |since, expected| {
            assert_eq!(journal.deletes_since(job, hour(since)).await.unwrap(), expected, "{since}");
        };
        check(0, (10, 200)).await;
        check(1, (5, 200)).await;
        check(20, (2, 50)).await;
        check(21, (0, 0)).await;
        journal.record_deletes(job, hour(49), 1, 10).await.unwrap();
        check(-100, (6, 200)).await;
    }
}
