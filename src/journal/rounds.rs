//! The rounds of each job: how they ended and what they did.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Journal;
use super::columns::{Binder, Columns, clock_ns, duration_ns, time_of};
use super::problems::{self, Problems};
use crate::entry::Time;
use crate::error::Result;
use crate::hash::Level;
use crate::id::{JobId, RoundId};
use crate::outcome::{Counts, Ending, Mode, Outcome};

/// Rounds kept per job.
const KEPT_ROUNDS: i64 = 1_000;

/// A round as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoundRow {
    /// Its number.
    pub id: RoundId,
    /// When it began.
    pub started: Time,
    /// When it ended; `None`: under way, or cut off by a crash.
    pub ended: Option<Time>,
    /// Which way it carried; `None` until it ended.
    pub mode: Option<Mode>,
    /// How it ended.
    pub ending: Option<Ending>,
    /// What it did.
    pub counts: Counts,
    /// How long it took.
    pub elapsed: Duration,
    /// Why it failed, halted or holds.
    pub message: Option<String>,
    /// The exit code it asked for.
    pub exit_code: u8,
    /// How many problems it survived, listed or not.
    pub problems: u64,
    /// How much it put right on the way, listed or not.
    pub recovered: u64,
}

const BEGIN: &str = "INSERT INTO rounds (job, started_ns) VALUES (?1, ?2)";
const END: &str = include_str!("sql/round_end.sql");
const OF_JOB: &str = include_str!("sql/round_select.sql");
const PRUNE: &str = include_str!("sql/round_prune.sql");
const SUCCEEDED: &str =
    "UPDATE jobs SET last_success_ns = ?2 WHERE id = (SELECT job FROM rounds WHERE id = ?1)";
const CUT_OFF: &str =
    "SELECT id FROM rounds WHERE job = ?1 AND (ending IS NULL OR ending IN ('failed', 'halted'))";
const LAST_SUCCESS: &str = "SELECT last_success_ns FROM jobs WHERE id = ?1";

impl Journal {
    /// Begins a round. The oldest rounds of the job are dropped.
    pub async fn begin_round(&self, job: JobId, started: Time) -> Result<RoundId> {
        self.commit(move |c| {
            c.prepare_cached(BEGIN)?.execute(params![job.0, clock_ns(started)])?;
            let round = RoundId(c.last_insert_rowid());
            c.prepare_cached(PRUNE)?.execute(params![job.0, KEPT_ROUNDS])?;
            problems::prune(c, job)?;
            Ok(round)
        })
        .await
    }

    /// Records what a round came to. Of each list the first 10,000 are kept, and a last row that says
    /// how many more there were.
    pub async fn end_round(&self, round: RoundId, ended: Time, outcome: &Outcome) -> Result<()> {
        let end = End::of(ended, outcome);
        self.commit(move |c| end.put(c, round)).await
    }

    /// The last round of a job; `None`: it never had one.
    pub async fn last_round(&self, job: JobId) -> Result<Option<RoundId>> {
        Ok(self.rounds(job, 1).await?.first().map(|round| round.id))
    }

    /// Makes sure that a round after `before` is recorded with its end, also where it could not begin, or broke
    /// off without a word.
    pub async fn settle_round(
        &self,
        job: JobId,
        before: Option<RoundId>,
        ended: Time,
        outcome: &Outcome,
    ) -> Result<RoundId> {
        let last = self.rounds(job, 1).await?.into_iter().next();
        let (id, is_open) = match last.filter(|row| Some(row.id) != before) {
            Some(row) => (row.id, row.ended.is_none()),
            None => (self.begin_round(job, ended).await?, true),
        };
        if is_open {
            self.end_round(id, ended, outcome).await?;
        }
        Ok(id)
    }

    /// The last `limit` rounds of a job, newest first.
    pub async fn rounds(&self, job: JobId, limit: usize) -> Result<Vec<RoundRow>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read(move |c| c.prepare_cached(OF_JOB)?.query_map(params![job.0, limit], row_of)?.collect())
            .await
    }

    /// The rounds that are under way, were cut off, or failed.
    pub async fn cut_off_rounds(&self, job: JobId) -> Result<Vec<RoundId>> {
        self.read(move |c| {
            c.prepare_cached(CUT_OFF)?.query_map([job.0], |row| row.get(0).map(RoundId))?.collect()
        })
        .await
    }

    /// When the last round that ended ok did so; `None` if none ever did.
    pub async fn last_success(&self, job: JobId) -> Result<Option<Time>> {
        self.read(move |c| {
            let time = c.prepare_cached(LAST_SUCCESS)?.query_row([job.0], |row| Columns::new(row).clock());
            Ok(time.optional()?.flatten())
        })
        .await
    }
}

/// What is written at the end of a round: an outcome with its lists cut.
struct End {
    ended: Time,
    mode: Mode,
    ending: Ending,
    counts: Counts,
    elapsed: Duration,
    message: Option<String>,
    exit_code: u8,
    problems: usize,
    recovered: usize,
    lists: Problems,
}

impl End {
    fn of(ended: Time, outcome: &Outcome) -> Self {
        Self {
            ended,
            mode: outcome.mode,
            ending: outcome.ending,
            counts: outcome.counts.clone(),
            elapsed: outcome.elapsed,
            message: outcome.message.clone(),
            exit_code: outcome.exit_code,
            problems: outcome.problems.len(),
            recovered: outcome.recovered.len(),
            lists: Problems::cut(outcome),
        }
    }

    fn put(&self, c: &Connection, round: RoundId) -> rusqlite::Result<()> {
        self.put_round(c, round)?;
        problems::put(c, round, &self.lists)?;
        if self.ending == Ending::Ok {
            c.prepare_cached(SUCCEEDED)?.execute(params![round.0, clock_ns(self.ended)])?;
        }
        Ok(())
    }

    fn put_round(&self, c: &Connection, round: RoundId) -> rusqlite::Result<()> {
        let mut statement = c.prepare_cached(END)?;
        let mut bind = Binder::new(&mut statement);
        bind.value(round.0)?;
        bind.value(clock_ns(self.ended))?;
        bind.value(self.mode.as_str())?;
        bind.value(self.ending.as_str())?;
        bind.value(duration_ns(self.elapsed))?;
        bind.value(&self.message)?;
        bind.value(self.exit_code)?;
        for count in numbers(&self.counts) {
            bind.value(count.cast_signed())?;
        }
        bind.value(rows(self.problems))?;
        bind.value(rows(self.recovered))?;
        bind.value(rows(self.lists.len()))?;
        statement.raw_execute().map(drop)
    }
}

/// A length as a column.
pub(super) fn rows(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The counts in the order of the columns.
fn numbers(counts: &Counts) -> [u64; 15] {
    let level = |l| counts.verified.get(&l).copied().unwrap_or_default();
    [
        counts.files_sent,
        counts.files_received,
        counts.bytes_sent,
        counts.bytes_received,
        counts.bytes_verified,
        counts.bytes_resumed,
        counts.renamed,
        counts.deleted,
        counts.displaced,
        counts.foreign,
        counts.unchanged,
        counts.held,
        level(Level::Ack),
        level(Level::Sample),
        level(Level::Full),
    ]
}

fn counts_of(columns: &mut Columns<'_, '_>) -> rusqlite::Result<Counts> {
    let mut counts = Counts {
        files_sent: columns.count()?,
        files_received: columns.count()?,
        bytes_sent: columns.count()?,
        bytes_received: columns.count()?,
        bytes_verified: columns.count()?,
        bytes_resumed: columns.count()?,
        renamed: columns.count()?,
        deleted: columns.count()?,
        displaced: columns.count()?,
        foreign: columns.count()?,
        unchanged: columns.count()?,
        held: columns.count()?,
        ..Counts::default()
    };
    for level in [Level::Ack, Level::Sample, Level::Full] {
        let files = columns.count()?;
        if files > 0 {
            counts.verified.insert(level, files);
        }
    }
    Ok(counts)
}

fn row_of(row: &Row<'_>) -> rusqlite::Result<RoundRow> {
    let mut columns = Columns::new(row);
    Ok(RoundRow {
        id: RoundId(columns.value()?),
        started: time_of(columns.value()?),
        ended: columns.clock()?,
        mode: word(&mut columns, mode_of)?,
        ending: word(&mut columns, Ending::parse)?,
        elapsed: Duration::from_nanos(columns.count()?),
        message: columns.value()?,
        exit_code: columns.value()?,
        counts: counts_of(&mut columns)?,
        problems: columns.count()?,
        recovered: columns.count()?,
    })
}

fn word<T>(columns: &mut Columns<'_, '_>, parse: fn(&str) -> Option<T>) -> rusqlite::Result<Option<T>> {
    match columns.value::<Option<String>>()? {
        None => Ok(None),
        Some(text) => columns.known(parse(&text)).map(Some),
    }
}

fn mode_of(text: &str) -> Option<Mode> {
    [Mode::Push, Mode::Pull].into_iter().find(|mode| mode.as_str() == text)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{journal, outcome, problem, round};
    use super::*;

    fn at(secs: i64) -> Time {
        Time { secs, nanos: 9 }
    }

    #[tokio::test]
    async fn a_round_comes_back_as_it_ended() {
        let (journal, job) = journal().await;
        let all: Vec<u64> = (1..=15).collect();
        let counts = Counts {
            files_sent: all[0],
            files_received: all[1],
            bytes_sent: u64::MAX,
            bytes_received: all[3],
            bytes_verified: all[4],
            bytes_resumed: all[5],
            renamed: all[6],
            deleted: all[7],
            displaced: all[8],
            foreign: all[9],
            unchanged: all[10],
            held: all[11],
            verified: [(Level::Ack, all[12]), (Level::Sample, all[13]), (Level::Full, all[14])].into(),
        };
        let ended = Outcome {
            counts: counts.clone(),
            problems: vec![problem("one"), problem("two")],
            recovered: vec![problem("three")],
            message: Some("why".into()),
            exit_code: 4,
            ..outcome(Ending::Held)
        };
        let first = round(&journal, job, 10, &ended).await;
        let second = journal.begin_round(job, at(20)).await.unwrap();

        let rounds = journal.rounds(job, 9).await.unwrap();
        let begun = RoundRow {
            id: second,
            started: at(20),
            ended: None,
            mode: None,
            ending: None,
            counts: Counts::default(),
            elapsed: Duration::ZERO,
            message: None,
            exit_code: 0,
            problems: 0,
            recovered: 0,
        };
        let done = RoundRow {
            id: first,
            started: at(10),
            ended: Some(at(11)),
            mode: Some(Mode::Pull),
            ending: Some(Ending::Held),
            counts,
            elapsed: ended.elapsed,
            message: ended.message.clone(),
            exit_code: 4,
            problems: 2,
            recovered: 1,
        };
        assert_eq!(rounds, [begun, done]);
        assert_eq!(journal.rounds(job, 1).await.unwrap(), rounds[..1]);
        let lists = journal.problems(first).await.unwrap();
        assert_eq!(lists, Problems { problems: ended.problems, recovered: ended.recovered });
        assert_eq!(journal.problems(second).await.unwrap(), Problems::default());
    }

    #[tokio::test]
    async fn only_a_round_that_ended_ok_is_a_success() {
        let (journal, job) = journal().await;
        let mut expected = None;
        assert_eq!(journal.last_success(job).await.unwrap(), expected);
        let endings = [Ending::Problems, Ending::Ok, Ending::Held, Ending::Failed, Ending::Halted];
        for (ending, secs) in endings.into_iter().zip(1..) {
            round(&journal, job, secs, &outcome(ending)).await;
            if ending == Ending::Ok {
                expected = Some(at(secs + 1));
            }
            assert_eq!(journal.last_success(job).await.unwrap(), expected, "{ending:?}");
        }
    }

    #[tokio::test]
    async fn old_rounds_go_but_the_last_success_is_remembered() {
        let (journal, job) = journal().await;
        let other = journal.job("other").await.unwrap();
        let elsewhere = round(&journal, other, 1, &outcome(Ending::Ok)).await;
        let first = round(&journal, job, 1, &outcome(Ending::Ok)).await;
        let failed = Outcome { problems: vec![problem("x")], ..outcome(Ending::Failed) };
        let second = round(&journal, job, 2, &failed).await;
        for secs in 0..KEPT_ROUNDS - 1 {
            journal.begin_round(job, at(secs)).await.unwrap();
        }
        let ids: Vec<RoundId> =
            journal.rounds(job, usize::MAX).await.unwrap().into_iter().map(|r| r.id).collect();
        assert_eq!((ids.len(), ids.last()), (1_000, Some(&second)));
        assert!(!ids.contains(&first));
        assert_eq!(journal.problems(second).await.unwrap().problems.len(), 1);
        journal.begin_round(job, at(0)).await.unwrap();
        assert_eq!(journal.problems(second).await.unwrap(), Problems::default());
        assert_eq!(journal.last_success(job).await.unwrap(), Some(at(2)));
        assert_eq!(journal.rounds(other, 9).await.unwrap()[0].id, elsewhere);
    }
}
