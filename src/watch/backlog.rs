//! What was seen and no round has settled yet, kept in the journal: a daemon that dies, a job that is paused
//! and a server that is away lose nothing.
//!
//! A round takes the backlog before it looks, and acknowledges it when it went well. What was seen after it
//! was taken has higher numbers and stays.

use crate::error::Result;
use crate::id::{ChangeSeq, JobId};
use crate::journal::{Change, Journal, SeenBy, What};
use crate::path::RelPath;
use crate::settle::Quiet;

/// So many places are looked at one by one; for more of them the whole root is.
const MOST_TAKEN: usize = 10_000;

/// So many places are kept; more of them become the whole root. A server may be away for months.
const MOST_KEPT: u64 = 100_000;

/// What a round is to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// These places; `None`: everything. As a round takes it.
    pub changes: Option<Vec<Quiet>>,
    /// The last change that is among them; `None`: there are none.
    last: Option<ChangeSeq>,
}

impl Batch {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }
}

/// Puts what was seen into the journal. It is durable when this returns.
pub async fn note(journal: &Journal, job: JobId, quiet: &[Quiet]) -> Result<()> {
    note_up_to(journal, job, quiet, MOST_KEPT).await
}

async fn note_up_to(journal: &Journal, job: JobId, quiet: &[Quiet], most: u64) -> Result<()> {
    let seen = quiet.iter().map(|quiet| (quiet.path.clone(), what_of(quiet))).collect();
    journal.changes_append_all(job, seen, SeenBy::Watch).await?;
    if journal.backlog(job).await? > most {
        let root =
            journal.changes_append_committed(job, RelPath::root(), What::Unknown, SeenBy::Watch).await?;
        journal.changes_settle_to(job, ChangeSeq(root.0 - 1)).await?;
    }
    Ok(())
}

/// All that waits to be settled. It stays until it is acknowledged.
pub async fn take(journal: &Journal, job: JobId) -> Result<Batch> {
    take_up_to(journal, job, MOST_TAKEN).await
}

async fn take_up_to(journal: &Journal, job: JobId, most: usize) -> Result<Batch> {
    let changes = journal.changes_take(job, ChangeSeq(0), most.saturating_add(1)).await?;
    let is_everything = changes.len() > most || changes.iter().any(is_everything);
    let last = match is_everything {
        true => journal.changes_last(job).await?,
        false => changes.last().map(|change| change.seq),
    };
    Ok(Batch { changes: (!is_everything).then(|| changes.into_iter().map(quiet_of).collect()), last })
}

/// The round that looked at a batch went well: what is in it is settled.
pub async fn acknowledge(journal: &Journal, job: JobId, batch: &Batch) -> Result<()> {
    match batch.last {
        Some(last) => journal.changes_settle_to(job, last).await,
        None => Ok(()),
    }
}

fn what_of(quiet: &Quiet) -> What {
    if quiet.is_whole { What::Unknown } else { What::Modified }
}

fn quiet_of(change: Change) -> Quiet {
    Quiet { is_whole: change.what == What::Unknown, path: change.path }
}

fn is_everything(change: &Change) -> bool {
    change.path.is_root() && change.what == What::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn journal() -> (Journal, JobId) {
        let journal = Journal::in_memory().unwrap();
        let job = journal.job("nightly").await.unwrap();
        (journal, job)
    }

    /// Places; those with a slash behind them as a whole.
    fn places(texts: &[&str]) -> Vec<Quiet> {
        let place = |text: &&str| {
            let path = text.trim_end_matches('/');
            let path = RelPath::parse(path.trim_start_matches('.').as_bytes()).unwrap();
            Quiet { path, is_whole: text.ends_with('/') }
        };
        texts.iter().map(place).collect()
    }

    #[tokio::test]
    async fn what_was_noted_is_taken_until_it_is_acknowledged() {
        let (journal, job) = journal().await;
        assert!(take(&journal, job).await.unwrap().is_empty());
        note(&journal, job, &places(&["a", "b/"])).await.unwrap();
        let batch = take(&journal, job).await.unwrap();
        assert_eq!(batch.changes, Some(places(&["a", "b/"])));
        assert_eq!(take(&journal, job).await.unwrap(), batch);
        acknowledge(&journal, job, &batch).await.unwrap();
        let batch = take(&journal, job).await.unwrap();
        assert_eq!((batch.is_empty(), &batch.changes), (true, &Some(vec![])));
        acknowledge(&journal, job, &batch).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_seen_during_the_round_stays() {
        let (journal, job) = journal().await;
        note(&journal, job, &places(&["a", "b", "c"])).await.unwrap();
        let batch = take(&journal, job).await.unwrap();
        note(&journal, job, &places(&["b", "d"])).await.unwrap();
        acknowledge(&journal, job, &batch).await.unwrap();
        assert_eq!(take(&journal, job).await.unwrap().changes, Some(places(&["b", "d"])));
    }

    #[tokio::test]
    async fn a_folder_stays_whole_when_something_is_seen_at_it_again() {
        let (journal, job) = journal().await;
        note(&journal, job, &places(&["a/"])).await.unwrap();
        note(&journal, job, &places(&["a"])).await.unwrap();
        assert_eq!(take(&journal, job).await.unwrap().changes, Some(places(&["a/"])));
    }

    #[tokio::test]
    async fn too_many_places_are_everything() {
        let check = async |noted: &[&str], expected: Option<&[&str]>| {
            let (journal, job) = journal().await;
            note(&journal, job, &places(noted)).await.unwrap();
            let batch = take_up_to(&journal, job, 3).await.unwrap();
            assert_eq!(batch.changes, expected.map(places), "{noted:?}");
            note(&journal, job, &places(&["later"])).await.unwrap();
            acknowledge(&journal, job, &batch).await.unwrap();
            assert_eq!(take(&journal, job).await.unwrap().changes, Some(places(&["later"])), "{noted:?}");
        };
        check(&["a", "b", "c"], Some(&["a", "b", "c"])).await;
        check(&["a", "b", "c", "d"], None).await;
        check(&["a", "./", "b"], None).await;
        check(&["."], Some(&["."])).await;
    }

    #[tokio::test]
    async fn the_backlog_of_a_long_time_has_a_bound() {
        let (journal, job) = journal().await;
        for n in 0..10 {
            note_up_to(&journal, job, &places(&[&format!("{n}/x"), &format!("{n}/y")]), 5).await.unwrap();
            assert!(journal.backlog(job).await.unwrap() <= 5);
        }
        assert_eq!(take(&journal, job).await.unwrap().changes, None);
    }
}
