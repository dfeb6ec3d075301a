//! What is about to be renamed to its final name. Written before the RENAME is sent, gone with the base
//! row that records what came of it; what is left over after a crash must be looked at.

use rusqlite::{Connection, Row, params};

use super::Journal;
use super::columns::{Binder, Columns, kind_code, level_code};
use crate::entry::{Kind, Stat};
use crate::error::Result;
use crate::hash::{ContentHash, Level};
use crate::id::JobId;
use crate::path::RelPath;

/// A staged file or link that is about to be placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Its final path.
    pub path: RelPath,
    /// The temporary's path below the target root.
    pub staged: RelPath,
    /// What it is.
    pub kind: Kind,
    /// The source version that was staged.
    pub source: Stat,
    /// What will stand at the target.
    pub finished: Stat,
    /// The content of a file.
    pub hash: Option<ContentHash>,
    /// Where a symbolic link points.
    pub link: Option<Vec<u8>>,
    /// How well the content was proved.
    pub level: Option<Level>,
    /// Whether the look at the source was so close to its mtime that a later write may not show.
    pub unsettled: bool,
}

const PUT: &str = include_str!("sql/intent_put.sql");
const OF_JOB: &str = include_str!("sql/intent_select.sql");
const REMOVE: &str = "DELETE FROM intents WHERE job = ?1 AND path = ?2";

impl Journal {
    /// Records that a RENAME is about to be sent, replacing an older intent for that path. Hundreds of
    /// calls at once share a transaction.
    pub async fn put_intent(&self, job: JobId, intent: Intent) -> Result<()> {
        self.commit(move |c| put(c, job, &intent)).await
    }

    /// Forgets an intent that did not come true. Queued.
    pub async fn forget_intent(&self, job: JobId, path: RelPath) -> Result<()> {
        self.queue(move |c| remove(c, job, &path)).await
    }

    /// The intents of a job, in path order: at the start of a round those that a crash left over.
    pub async fn intents(&self, job: JobId) -> Result<Vec<Intent>> {
        self.read(move |c| c.prepare_cached(OF_JOB)?.query_map([job.0], row_of)?.collect()).await
    }
}

fn put(c: &Connection, job: JobId, intent: &Intent) -> rusqlite::Result<()> {
    let mut statement = c.prepare_cached(PUT)?;
    let mut bind = Binder::new(&mut statement);
    bind.value(job.0)?;
    bind.path(&intent.path)?;
    bind.path(&intent.staged)?;
    bind.value(kind_code(intent.kind))?;
    bind.stat(&intent.source)?;
    bind.stat(&intent.finished)?;
    bind.hash(intent.hash.as_ref())?;
    bind.value(&intent.link)?;
    bind.value(intent.level.map(level_code))?;
    bind.value(intent.unsettled)?;
    statement.raw_execute().map(drop)
}

/// Removes the intent for a path, if there is one.
pub(super) fn remove(c: &Connection, job: JobId, path: &RelPath) -> rusqlite::Result<()> {
    c.prepare_cached(REMOVE)?.execute(params![job.0, path.to_key()]).map(drop)
}

fn row_of(row: &Row<'_>) -> rusqlite::Result<Intent> {
    let mut columns = Columns::new(row);
    let path = columns.path()?;
    let staged = columns.path()?;
    let kind = columns.kind()?;
    Ok(Intent {
        path,
        staged,
        kind,
        source: columns.stat(kind)?,
        finished: columns.stat(kind)?,
        hash: columns.hash()?,
        link: columns.value()?,
        level: columns.level()?,
        unsettled: columns.value()?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{intent, journal, path};
    use super::*;

    #[tokio::test]
    async fn intents_are_kept_until_they_are_settled() {
        let (journal, job) = journal().await;
        let link = Intent {
            kind: Kind::Link,
            source: Stat { kind: Kind::Link, ..intent("b").source },
            finished: Stat { kind: Kind::Link, ..intent("b").finished },
            hash: None,
            link: Some(b"to\xff".to_vec()),
            level: None,
            unsettled: true,
            ..intent("b")
        };
        journal.put_intent(job, link.clone()).await.unwrap();
        journal.put_intent(job, intent("a")).await.unwrap();
        let again = Intent { staged: path(".highwater-2"), ..intent("a") };
        journal.put_intent(job, again.clone()).await.unwrap();
        assert_eq!(journal.intents(job).await.unwrap(), [again, link.clone()]);
        journal.forget_intent(job, path("a")).await.unwrap();
        journal.flush().await.unwrap();
        assert_eq!(journal.intents(job).await.unwrap(), [link]);
    }

    #[tokio::test]
    async fn many_at_once_are_all_committed() {
        let (journal, job) = journal().await;
        let tasks: Vec<_> = (0..500)
            .map(|i| {
                let journal = journal.clone();
                tokio::spawn(async move { journal.put_intent(job, intent(&format!("f{i}"))).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert_eq!(journal.intents(job).await.unwrap().len(), 500);
    }
}
