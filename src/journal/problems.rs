//! What rounds survived and what they put right on the way.

use rusqlite::{Connection, Row, params};

use super::Journal;
use super::columns::Columns;
use super::rounds::rows;
use crate::error::{Problem, Result};
use crate::id::{JobId, RoundId};
use crate::outcome::Outcome;
use crate::path::RelPath;

/// Problems kept per list of a round.
const KEPT_PER_LIST: usize = 10_000;

/// Problems kept per job, by whole rounds, newest first.
const KEPT_PER_JOB: i64 = 100_000;

/// The lists of a round, in the order of its report, as far as they are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    /// What the round survived.
    pub problems: Vec<Problem>,
    /// What was put right on the way.
    pub recovered: Vec<Problem>,
}

impl Problems {
    /// The lists of an outcome, as much of them as is kept.
    pub(super) fn cut(outcome: &Outcome) -> Self {
        Self { problems: cut(&outcome.problems), recovered: cut(&outcome.recovered) }
    }

    /// How many rows they make.
    pub(super) fn len(&self) -> usize {
        self.problems.len() + self.recovered.len()
    }
}

const FORGET: &str = "DELETE FROM problems WHERE round = ?1";
const PUT: &str = "INSERT INTO problems VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const PRUNE: &str = include_str!("sql/problem_prune.sql");
const OF_ROUND: &str =
    "SELECT recovered, path, operation, kind, message FROM problems WHERE round = ?1 ORDER BY place";

impl Journal {
    /// What a round survived and put right.
    pub async fn problems(&self, round: RoundId) -> Result<Problems> {
        self.read(move |c| {
            let mut lists = Problems::default();
            let mut statement = c.prepare_cached(OF_ROUND)?;
            for row in statement.query_map([round.0], row_of)? {
                let (recovered, problem) = row?;
                let list = if recovered { &mut lists.recovered } else { &mut lists.problems };
                list.push(problem);
            }
            Ok(lists)
        })
        .await
    }
}

/// Replaces the lists of a round.
pub(super) fn put(c: &Connection, round: RoundId, lists: &Problems) -> rusqlite::Result<()> {
    c.prepare_cached(FORGET)?.execute([round.0])?;
    let mut statement = c.prepare_cached(PUT)?;
    let problems = lists.problems.iter().map(|p| (p, false));
    let recovered = lists.recovered.iter().map(|p| (p, true));
    for (place, (problem, recovered)) in problems.chain(recovered).enumerate() {
        let Problem { path, operation, kind, message } = problem;
        let key = path.to_key();
        statement.execute(params![round.0, rows(place), recovered, key, operation, kind, message])?;
    }
    Ok(())
}

/// Forgets the problems of a job's older rounds when there are too many in all.
pub(super) fn prune(c: &Connection, job: JobId) -> rusqlite::Result<()> {
    c.prepare_cached(PRUNE)?.execute(params![job.0, KEPT_PER_JOB]).map(drop)
}

/// The first problems of a list, and how many more there were.
fn cut(list: &[Problem]) -> Vec<Problem> {
    let mut kept = list[..list.len().min(KEPT_PER_LIST)].to_vec();
    let more = list.len() - kept.len();
    if more > 0 {
        kept.push(Problem::new(RelPath::root(), "list", "more", format!("and {more} more")));
    }
    kept
}

fn row_of(row: &Row<'_>) -> rusqlite::Result<(bool, Problem)> {
    let mut columns = Columns::new(row);
    let recovered = columns.value()?;
    let path = columns.path()?;
    let (operation, kind, message) = (columns.value()?, columns.value()?, columns.value()?);
    Ok((recovered, Problem { path, operation, kind, message }))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{journal, outcome, problem, round};
    use super::*;
    use crate::entry::Time;
    use crate::outcome::Ending;

    #[tokio::test]
    async fn a_long_list_ends_with_how_many_more_there_were() {
        let (journal, job) = journal().await;
        let many: Vec<Problem> = (0..KEPT_PER_LIST + 7).map(|i| problem(&i.to_string())).collect();
        let ended = Outcome {
            recovered: many[..KEPT_PER_LIST].to_vec(),
            problems: many,
            ..outcome(Ending::Problems)
        };
        let id = round(&journal, job, 1, &ended).await;
        let lists = journal.problems(id).await.unwrap();
        assert_eq!(lists.recovered, ended.recovered);
        assert_eq!(lists.problems[..KEPT_PER_LIST], ended.problems[..KEPT_PER_LIST]);
        let rest: Vec<&str> = lists.problems[KEPT_PER_LIST..].iter().map(|p| p.message.as_str()).collect();
        assert_eq!(rest, ["and 7 more"]);
        assert_eq!(journal.rounds(job, 1).await.unwrap()[0].problems, KEPT_PER_LIST as u64 + 7);
    }

    #[tokio::test]
    async fn a_job_that_always_has_many_problems_keeps_the_newest() {
        let (journal, job) = journal().await;
        let many = Outcome { problems: vec![problem("x"); KEPT_PER_LIST], ..outcome(Ending::Problems) };
        let few = Outcome { problems: vec![problem("y")], ..outcome(Ending::Problems) };
        let oldest = round(&journal, job, 0, &few).await;
        let mut ids = Vec::new();
        for secs in 1..=10 {
            ids.push(round(&journal, job, secs, &many).await);
        }
        round(&journal, job, 11, &outcome(Ending::Ok)).await;
        let kept = async |id| journal.problems(id).await.unwrap().problems.len();
        assert_eq!(kept(oldest).await, 0);
        assert_eq!(kept(ids[0]).await, KEPT_PER_LIST);
        assert_eq!(journal.rounds(job, 99).await.unwrap().last().unwrap().problems, 1);
    }

    #[tokio::test]
    async fn a_round_that_ends_twice_keeps_its_last_lists() {
        let (journal, job) = journal().await;
        let ended = Outcome { problems: vec![problem("one"), problem("two")], ..outcome(Ending::Problems) };
        let id = round(&journal, job, 1, &ended).await;
        let again = Outcome { problems: vec![problem("three")], ..ended };
        journal.end_round(id, Time::from_secs(3), &again).await.unwrap();
        assert_eq!(journal.problems(id).await.unwrap().problems, again.problems);
    }
}
