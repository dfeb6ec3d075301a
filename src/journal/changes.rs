//! Paths that watcher or scan saw differ and no round has settled yet.

use rusqlite::{Connection, Row, params};

use super::Journal;
use super::columns::Columns;
use crate::error::Result;
use crate::id::{ChangeSeq, JobId};
use crate::path::RelPath;

/// What happened at a path, as far as the observer could tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// Something is there that was not.
    Created,
    /// The content is another.
    Modified,
    /// It seems to be gone. Proves nothing.
    Deleted,
    /// Mode or times are others.
    Meta,
    /// Something; for a folder also anything below it.
    Unknown,
}

/// Who noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SeenBy {
    /// A walk.
    Scan,
    /// The file events of the system.
    Watch,
}

/// A path that no round has settled yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Rises each time something is seen, at whatever path.
    pub seq: ChangeSeq,
    /// Where.
    pub path: RelPath,
    /// What was seen there last, or [`What::Unknown`] if that was ever seen there since it was settled.
    pub what: What,
    /// By whom.
    pub seen_by: SeenBy,
}

const WHATS: [What; 5] = [What::Created, What::Modified, What::Deleted, What::Meta, What::Unknown];
const SEERS: [SeenBy; 2] = [SeenBy::Scan, SeenBy::Watch];

/// The old row goes and the new one has a higher number than any before: AUTOINCREMENT. Where it is not known
/// what changed, it stays so: 5.
const APPEND: &str = "INSERT OR REPLACE INTO changes (job, path, what, seen) VALUES (?1, ?2, \
    CASE WHEN EXISTS (SELECT 1 FROM changes WHERE job = ?1 AND path = ?2 AND what = 5) THEN 5 ELSE ?3 END, ?4)";
const SETTLE: &str = "DELETE FROM changes WHERE job = ?1 AND path = ?2 AND seq <= ?3";
const SETTLE_TO: &str = "DELETE FROM changes WHERE job = ?1 AND seq <= ?2";
const TAKE: &str =
    "SELECT seq, path, what, seen FROM changes WHERE job = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
const LAST: &str = "SELECT max(seq) FROM changes WHERE job = ?1";
const BACKLOG: &str = "SELECT count(*) FROM changes WHERE job = ?1";

impl Journal {
    /// Records that something was seen at a path, instead of what was seen there before. Queued.
    pub async fn changes_append(&self, job: JobId, path: RelPath, what: What, seen_by: SeenBy) -> Result<()> {
        self.queue(move |c| append(c, job, &path, what, seen_by).map(drop)).await
    }

    /// [`changes_append`](Self::changes_append), committed when it returns, with the number it got.
    pub async fn changes_append_committed(
        &self,
        job: JobId,
        path: RelPath,
        what: What,
        seen_by: SeenBy,
    ) -> Result<ChangeSeq> {
        self.commit(move |c| append(c, job, &path, what, seen_by)).await
    }

    /// The same for several paths, committed together when it returns. The number of the last; `None`: there
    /// were no paths.
    pub async fn changes_append_all(
        &self,
        job: JobId,
        seen: Vec<(RelPath, What)>,
        seen_by: SeenBy,
    ) -> Result<Option<ChangeSeq>> {
        self.commit(move |c| {
            seen.iter().try_fold(None, |_, (path, what)| append(c, job, path, *what, seen_by).map(Some))
        })
        .await
    }

    /// The highest number of a change; `None`: there are no changes.
    pub async fn changes_last(&self, job: JobId) -> Result<Option<ChangeSeq>> {
        self.read(move |c| {
            c.prepare_cached(LAST)?.query_row([job.0], |row| Ok(row.get::<_, Option<i64>>(0)?.map(ChangeSeq)))
        })
        .await
    }

    /// Removes the change at a path unless something newer than `seq` was seen there. Queued.
    pub async fn changes_settle(&self, job: JobId, path: RelPath, seq: ChangeSeq) -> Result<()> {
        self.queue(move |c| c.prepare_cached(SETTLE)?.execute(params![job.0, path.to_key(), seq.0]).map(drop))
            .await
    }

    /// Removes all changes up to `seq`: what a round that looked at everything has settled.
    pub async fn changes_settle_to(&self, job: JobId, seq: ChangeSeq) -> Result<()> {
        self.commit(move |c| c.prepare_cached(SETTLE_TO)?.execute(params![job.0, seq.0]).map(drop)).await
    }

    /// At most `limit` changes with a number above `after` (0: from the beginning), in order. They stay
    /// until they are settled.
    pub async fn changes_take(&self, job: JobId, after: ChangeSeq, limit: usize) -> Result<Vec<Change>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read(move |c| {
            c.prepare_cached(TAKE)?.query_map(params![job.0, after.0, limit], row_of)?.collect()
        })
        .await
    }

    /// How many paths wait to be settled.
    pub async fn backlog(&self, job: JobId) -> Result<u64> {
        self.read(move |c| c.prepare_cached(BACKLOG)?.query_row([job.0], |row| Columns::new(row).count()))
            .await
    }
}

fn append(
    c: &Connection,
    job: JobId,
    path: &RelPath,
    what: What,
    seen_by: SeenBy,
) -> rusqlite::Result<ChangeSeq> {
    let values = params![job.0, path.to_key(), code(&WHATS, what), code(&SEERS, seen_by)];
    c.prepare_cached(APPEND)?.execute(values)?;
    Ok(ChangeSeq(c.last_insert_rowid()))
}

/// The place of a word in its list, from 1 on: as the schema numbers them.
fn code<T: PartialEq>(words: &[T], word: T) -> Option<i64> {
    (1..).zip(words).find(|(_, w)| **w == word).map(|(code, _)| code)
}

fn word<T: Copy>(words: &[T], code: i64) -> Option<T> {
    (1..).zip(words).find(|(c, _)| *c == code).map(|(_, word)| *word)
}

fn row_of(row: &Row<'_>) -> rusqlite::Result<Change> {
    let mut columns = Columns::new(row);
    let seq = ChangeSeq(columns.value()?);
    let path = columns.path()?;
    let code = columns.value()?;
    let what = columns.known(word(&WHATS, code))?;
    let code = columns.value()?;
    let seen_by = columns.known(word(&SEERS, code))?;
    Ok(Change { seq, path, what, seen_by })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{journal, path};
    use super::*;

    async fn append(journal: &Journal, job: JobId, at: &str, what: What) -> ChangeSeq {
        journal.changes_append_committed(job, path(at), what, SeenBy::Watch).await.unwrap()
    }

    fn shown(changes: &[Change]) -> Vec<(String, What)> {
        changes.iter().map(|c| (c.path.to_string(), c.what)).collect()
    }

    #[tokio::test]
    async fn every_word_comes_back() {
        let (journal, job) = journal().await;
        for what in WHATS {
            for seen_by in SEERS {
                journal.changes_append(job, path("a"), what, seen_by).await.unwrap();
                journal.flush().await.unwrap();
                let taken = journal.changes_take(job, ChangeSeq(0), 9).await.unwrap();
                assert_eq!((taken.len(), taken[0].what, taken[0].seen_by), (1, what, seen_by));
            }
        }
    }

    #[tokio::test]
    async fn a_path_seen_again_moves_to_the_end() {
        let (journal, job) = journal().await;
        let first = append(&journal, job, "a", What::Created).await;
        let second = append(&journal, job, "b", What::Deleted).await;
        let third = append(&journal, job, "a", What::Modified).await;
        assert!(first < second && second < third);
        let take = async |after, limit| shown(&journal.changes_take(job, after, limit).await.unwrap());
        let (a, b) = (("a".to_owned(), What::Modified), ("b".to_owned(), What::Deleted));
        assert_eq!(take(ChangeSeq(0), 9).await, [b.clone(), a.clone()]);
        assert_eq!(take(ChangeSeq(0), 1).await, [b]);
        assert_eq!(take(second, 9).await, [a]);
        assert_eq!(journal.backlog(job).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn what_was_seen_after_the_round_looked_stays() {
        let (journal, job) = journal().await;
        let first = append(&journal, job, "a", What::Created).await;
        let second = append(&journal, job, "a", What::Modified).await;
        let backlog = async || {
            journal.flush().await.unwrap();
            journal.backlog(job).await.unwrap()
        };
        journal.changes_settle(job, path("a"), first).await.unwrap();
        assert_eq!(backlog().await, 1);
        journal.changes_settle(job, path("a"), second).await.unwrap();
        assert_eq!(backlog().await, 0);
        assert!(append(&journal, job, "a", What::Created).await > second);
    }

    #[tokio::test]
    async fn a_whole_round_settles_all_that_it_could_have_seen() {
        let (journal, job) = journal().await;
        append(&journal, job, "a", What::Created).await;
        let seen = append(&journal, job, "b", What::Created).await;
        append(&journal, job, "c", What::Created).await;
        journal.changes_settle_to(job, seen).await.unwrap();
        let left = journal.changes_take(job, ChangeSeq(0), 9).await.unwrap();
        assert_eq!(shown(&left), [("c".to_owned(), What::Created)]);
    }
}
