//! Whether what was placed at the target survives a power cut there. Rows of base know the round that
//! placed them; a job knows the last round that placed anything and the last after which everything was
//! made durable. So a round costs two updates, however many files it placed.

use std::collections::BTreeSet;

use rusqlite::{Row, params};

use super::Journal;
use super::columns::Columns;
use crate::error::Result;
use crate::id::{JobId, RoundId};
use crate::path::RelPath;
use crate::tree::own;

/// A round that has synced may place more in another attempt.
const PLACES: &str =
    "UPDATE jobs SET placed_round = max(placed_round, ?2), synced_round = min(synced_round, ?2 - 1)
                      WHERE id = ?1";
const SYNCED: &str = "UPDATE jobs SET synced_round = max(synced_round, ?2) WHERE id = ?1";
const IS_SYNCED: &str = "SELECT placed_round <= synced_round FROM jobs WHERE id = ?1";
const UNSYNCED: &str = "SELECT kind = 2, path FROM base WHERE job = ?1
                        AND round > (SELECT synced_round FROM jobs WHERE id = ?1)";
const TRASHED: &str = "SELECT round, path FROM trash WHERE job = ?1 AND at_ns >= (
                         SELECT min(started_ns) FROM rounds
                         WHERE job = ?1 AND id > (SELECT synced_round FROM jobs WHERE id = ?1))";

impl Journal {
    /// Records that `round` is about to place or remove something.
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

    /// The folders in which something was placed, removed or put into the trash that may not be durable, in
    /// path order. Reads all of base: ask only if [`is_synced`](Self::is_synced) says no.
    pub async fn unsynced_folders(&self, job: JobId) -> Result<Vec<RelPath>> {
        self.read(move |c| {
            let mut folders = BTreeSet::from([RelPath::root()]); // what was removed there left no row
            for row in c.prepare_cached(UNSYNCED)?.query_map([job.0], placed)? {
                let (is_folder, path) = row?;
                folders.extend(path.parent());
                folders.extend(is_folder.then_some(path)); // something in it was removed, perhaps
            }
            for row in c.prepare_cached(TRASHED)?.query_map([job.0], trashed)? {
                let (round, path) = row?;
                folders.extend(path.parent());
                let place = own::trash_of(&round).join_path(&path);
                folders.extend(std::iter::successors(place.parent(), RelPath::parent));
            }
            Ok(folders.into_iter().collect())
        })
        .await
    }
}

fn placed(row: &Row<'_>) -> rusqlite::Result<(bool, RelPath)> {
    let mut columns = Columns::new(row);
    Ok((columns.value()?, columns.path()?))
}

fn trashed(row: &Row<'_>) -> rusqlite::Result<(String, RelPath)> {
    let mut columns = Columns::new(row);
    Ok((columns.value()?, columns.path()?))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{file, journal, path};
    use super::super::{BaseRow, TrashRow, Why};
    use super::*;
    use crate::entry::{Kind, Time};

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
        let all = [path(""), path("a"), path("b")]; // no folder has a row here
        assert_eq!(journal.unsynced_folders(job).await.unwrap(), all);
        journal.synced(job, RoundId(2)).await.unwrap();
        assert!(!journal.is_synced(job).await.unwrap());
        assert_eq!(journal.unsynced_folders(job).await.unwrap(), [path(""), path("b")]);
        journal.synced(job, RoundId(3)).await.unwrap();
        assert!(journal.is_synced(job).await.unwrap());
        assert_eq!(journal.unsynced_folders(job).await.unwrap(), [path("")]);
    }

    #[tokio::test]
    async fn folders_that_something_left_before_a_cut_are_not_durable() {
        let (journal, job) = journal().await;
        let round = journal.begin_round(job, Time::from_secs(100)).await.unwrap();
        journal.places(job, round).await.unwrap();
        let folder = BaseRow { kind: Kind::Dir, round: None, ..file("d") };
        let kept = BaseRow { round: None, ..file("e/kept") };
        for row in [folder, file("d/gone"), kept] {
            journal.put_base_committed(job, row).await.unwrap();
        }
        journal.forget_removed(job, path("d/gone"), round, None).await.unwrap();
        let thing = |at: &str, secs| TrashRow {
            round: "r".into(),
            path: path(at),
            why: Why::Deleted,
            at: Time::from_secs(secs),
            size: 1,
        };
        journal.put_trash(job, thing("long/ago", 99)).await.unwrap();
        journal.put_trash(job, thing("x/y", 100)).await.unwrap();
        let trash = [".highwater", ".highwater/trash", ".highwater/trash/r", ".highwater/trash/r/x"];
        let expected = [&[""][..], &trash, &["d", "x"]].concat().into_iter().map(path).collect::<Vec<_>>();
        assert_eq!(journal.unsynced_folders(job).await.unwrap(), expected);
    }
}
