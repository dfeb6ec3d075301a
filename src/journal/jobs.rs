//! Jobs, and what must be remembered of each between its rounds.

use rusqlite::{Connection, OptionalExtension, params};

use super::Journal;
use super::columns::{Columns, clock_ns};
use crate::entry::Time;
use crate::error::Result;
use crate::id::{JobId, Token};

/// What tells one folder of this machine from another one that took its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootIdentity {
    /// The file system it is on.
    pub device: u64,
    /// Its inode there.
    pub inode: u64,
}

/// What must be remembered of a job between rounds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobState {
    /// The near root as last seen; `None` before the first round.
    pub near_root: Option<RootIdentity>,
    /// The random id in the far root's `root.json`; `None` if it has none or was never seen.
    pub far_root: Option<Token>,
    /// How many rounds changed the far side.
    pub generation: i64,
    /// The generation that is being written to the far side; `None` when it is there.
    pub pending_generation: Option<i64>,
    /// When the far side was last looked at as a whole.
    pub last_audit: Option<Time>,
    /// When the schedule wants the next round.
    pub next_due: Option<Time>,
    /// Why the job waits for a person; `None` if it does not.
    pub halted: Option<String>,
    /// Whether a person paused the job.
    pub paused: bool,
    /// Whether a person accepted the deletes that the next round finds over the limit.
    pub accept_deletes: bool,
}

impl JobState {
    /// A person says go on, after a halt or a pause. The roots are looked at as if for the first time: who says go on
    /// after a halt accepts those that are there.
    pub fn go_on(&mut self, accept_deletes: bool) {
        if self.halted.take().is_some() {
            self.near_root = None;
            self.far_root = None;
        }
        self.paused = false;
        self.accept_deletes |= accept_deletes;
    }
}

const GET: &str = include_str!("sql/job_get.sql");
const SET: &str = include_str!("sql/job_set.sql");

impl Journal {
    /// The job of this name, made if there is none yet.
    pub async fn job(&self, name: &str) -> Result<JobId> {
        let name = name.to_owned();
        self.commit(move |c| {
            c.prepare_cached("INSERT OR IGNORE INTO jobs (name) VALUES (?1)")?.execute([&name])?;
            let mut statement = c.prepare_cached("SELECT id FROM jobs WHERE name = ?1")?;
            statement.query_row([&name], |row| row.get(0).map(JobId))
        })
        .await
    }

    /// The job of this name, if there ever was one. Writes nothing.
    pub async fn find_job(&self, name: &str) -> Result<Option<JobId>> {
        let name = name.to_owned();
        self.read(move |c| {
            let mut statement = c.prepare_cached("SELECT id FROM jobs WHERE name = ?1")?;
            statement.query_row([&name], |row| row.get(0).map(JobId)).optional()
        })
        .await
    }

    /// Every job there ever was, by name.
    pub async fn jobs(&self) -> Result<Vec<(JobId, String)>> {
        self.read(|c| {
            let mut statement = c.prepare_cached("SELECT id, name FROM jobs ORDER BY name")?;
            statement.query_map([], |row| Ok((JobId(row.get(0)?), row.get(1)?)))?.collect()
        })
        .await
    }

    /// What is remembered of a job.
    pub async fn job_state(&self, job: JobId) -> Result<JobState> {
        self.read(move |c| get(c, job)).await
    }

    /// Replaces what is remembered of a job. Where others may do the same at that time (a round and a
    /// command), use [`update_job_state`](Self::update_job_state).
    pub async fn set_job_state(&self, job: JobId, state: &JobState) -> Result<()> {
        let state = state.clone();
        self.commit(move |c| set(c, job, &state)).await
    }

    /// Changes what is remembered of a job, as one step, and returns the new state.
    pub async fn update_job_state(
        &self,
        job: JobId,
        change: impl FnOnce(&mut JobState) + Send + 'static,
    ) -> Result<JobState> {
        self.commit(move |c| {
            let mut state = get(c, job)?;
            change(&mut state);
            set(c, job, &state)?;
            Ok(state)
        })
        .await
    }
}

fn get(c: &Connection, job: JobId) -> rusqlite::Result<JobState> {
    c.prepare_cached(GET)?.query_row([job.0], |row| {
        let mut columns = Columns::new(row);
        let identity: (Option<i64>, Option<i64>) = (columns.value()?, columns.value()?);
        Ok(JobState {
            near_root: match identity {
                (Some(device), Some(inode)) => {
                    Some(RootIdentity { device: device.cast_unsigned(), inode: inode.cast_unsigned() })
                }
                _ => None,
            },
            far_root: token(&mut columns)?,
            generation: columns.value()?,
            pending_generation: columns.value()?,
            last_audit: columns.clock()?,
            next_due: columns.clock()?,
            halted: columns.value()?,
            paused: columns.value()?,
            accept_deletes: columns.value()?,
        })
    })
}

fn token(columns: &mut Columns<'_, '_>) -> rusqlite::Result<Option<Token>> {
    match columns.value::<Option<String>>()? {
        None => Ok(None),
        Some(text) => columns.known(Token::parse(&text)).map(Some),
    }
}

fn set(c: &Connection, job: JobId, state: &JobState) -> rusqlite::Result<()> {
    let updated = c.prepare_cached(SET)?.execute(params![
        job.0,
        state.near_root.map(|r| r.device.cast_signed()),
        state.near_root.map(|r| r.inode.cast_signed()),
        state.far_root.as_ref().map(Token::as_str),
        state.generation,
        state.pending_generation,
        state.last_audit.map(clock_ns),
        state.next_due.map(clock_ns),
        state.halted,
        state.paused,
        state.accept_deletes,
    ])?;
    if updated == 1 { Ok(()) } else { Err(rusqlite::Error::QueryReturnedNoRows) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::journal;
    use super::*;
    use crate::clock::SeededRandom;

    #[tokio::test]
    async fn a_name_has_one_number() {
        let (journal, job) = journal().await;
        assert_eq!(journal.job("nightly").await.unwrap(), job);
        assert_eq!(journal.find_job("nightly").await.unwrap(), Some(job));
        assert_eq!(journal.find_job("hourly").await.unwrap(), None);
        let other = journal.job("hourly").await.unwrap();
        assert_ne!(other, job);
        let all = journal.jobs().await.unwrap();
        assert_eq!(all, [(other, "hourly".to_owned()), (job, "nightly".to_owned())]);
    }

    #[tokio::test]
    async fn state_comes_back_as_it_went_in() {
        let (journal, job) = journal().await;
        let other = journal.job("other").await.unwrap();
        assert_eq!(journal.job_state(job).await.unwrap(), JobState::default());
        let full = JobState {
            near_root: Some(RootIdentity { device: u64::MAX, inode: 2 }),
            far_root: Some(Token::draw(&SeededRandom::new(1))),
            generation: 7,
            pending_generation: Some(8),
            last_audit: Some(Time { secs: 1_700_000_000, nanos: 1 }),
            next_due: Some(Time { secs: 1_800_000_000, nanos: 2 }),
            halted: Some("the near root is another folder now".into()),
            paused: true,
            accept_deletes: true,
        };
        for state in [full, JobState::default()] {
            journal.set_job_state(job, &state).await.unwrap();
            assert_eq!(journal.job_state(job).await.unwrap(), state);
        }
        assert_eq!(journal.job_state(other).await.unwrap(), JobState::default());
    }

    #[test]
    fn a_root_is_forgotten_only_where_it_halted_the_job() {
        let root = Some(RootIdentity { device: 1, inode: 2 });
        let check = |halted: Option<&str>, accept, expected: Option<RootIdentity>| {
            let mut state =
                JobState { near_root: root, halted: halted.map(str::to_owned), ..JobState::default() };
            state.go_on(accept);
            assert_eq!((state.near_root, state.halted, state.accept_deletes), (expected, None, accept));
        };
        check(None, true, root);
        check(Some("root replaced"), false, None);
    }

    #[tokio::test]
    async fn changes_made_at_once_are_all_kept() {
        let (journal, job) = journal().await;
        let raise = || journal.update_job_state(job, |state| state.generation += 1);
        for result in futures_util::future::join_all((0..50).map(|_| raise())).await {
            result.unwrap();
        }
        assert_eq!(journal.job_state(job).await.unwrap().generation, 50);
    }
}
