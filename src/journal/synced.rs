//! Whether what was placed at the target survives a power cut there. Rows of base know the round that
//! placed them; a job knows the last round that placed anything and the last after which everything was
//! made durable. So a round costs two updates, however many files it placed.

use rusqlite::params;

use super::Journal;
use super::columns::Columns;
use crate::error::Result;
use crate::id::{JobId, RoundId};
use crate::path::RelPath;

const PLACES: &str = "UPDATE jobs SET placed_round = max(placed_round, ?2) WHERE id = ?1";
const SYNCED: &str = "UPDATE jobs SET synced_round = max(synced_round, ?2) WHERE id = ?1";
const IS_SYNCED: &str = "SELECT placed_round <= synced_round FROM jobs WHERE id = ?1";
const UNSYNCED: &str = "SELECT path FROM base WHERE job = ?1
                        AND round > (SELECT synced_round FROM jobs WHERE id = ?1) ORDER BY path";

impl Journal {
    /// Records that `round` is about to place something.
    pub async fn places(&self, job: JobId, round: RoundId) -> Result<()> {
        self.commit(move |c| c.prepare_cached(PLACES)?.execute(params![job.0, round.0]).map(drop)).await
    }

    /// Records that everything placed up to `round` is durable.
    pub async fn synced(&self, job: JobId, round: RoundId) -> Result<()> {
        self.commit(move |c| c.prepare_cached(SYNCED)?.execute(params![job.0, round.0]).map(drop)).await
    }

    /// Whether everything ever placed is durable.
    pub async fn is_synced(&self, job: JobId) -> Result<bool> {
        self.read(move |c| c.prepare_cached(IS_SYNCED)?.query_row([job.0], |row| row.get(0))).await
    }

    /// The folders in which something was placed that may not be durable, in path order. Reads all of
    /// base: ask only if [`is_synced`](Self::is_synced) says no.
    pub async fn unsynced_folders(&self, job: JobId) -> Result<Vec<RelPath>> {
        self.read(move |c| {
            let mut statement = c.prepare_cached(UNSYNCED)?;
            let mut folders = std::collections::BTreeSet::new();
            for path in statement.query_map([job.0], |row| Columns::new(row).path())? {
                folders.extend(path?.parent());
            }
            Ok(folders.into_iter().collect())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::super::BaseRow;
    use super::super::testing::{file, journal, path};
    use super::*;

    #[tokio::test]
    async fn what_was_placed_is_not_durable_until_a_round_says_so() {
        let (journal, job) = journal().await;
        assert!(journal.is_synced(job).await.unwrap());
        journal.places(job, RoundId(3)).await.unwrap();
        for (at, round) in [("a/old", Some(2)), ("b/new", Some(3)), ("c/found", None), ("top", Some(3))] {
            let row = BaseRow { round: round.map(RoundId), ..file(at) };
            journal.put_base_committed(job, row).await.unwrap();
        }
        assert!(!journal.is_synced(job).await.unwrap());
        let all = [path(""), path("a"), path("b")];
        assert_eq!(journal.unsynced_folders(job).await.unwrap(), all);
        journal.synced(job, RoundId(2)).await.unwrap();
        assert!(!journal.is_synced(job).await.unwrap());
        assert_eq!(journal.unsynced_folders(job).await.unwrap(), [path(""), path("b")]);
        journal.synced(job, RoundId(3)).await.unwrap();
        assert!(journal.is_synced(job).await.unwrap());
        assert_eq!(journal.unsynced_folders(job).await.unwrap(), []);
    }
}
