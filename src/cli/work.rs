//! What all commands that carry have in common: opening a journal, running a round, closing up.

use std::sync::Arc;

use super::Context;
use super::reach::Reach;
use crate::clock::{SystemClock, SystemRandom};
use crate::error::Result;
use crate::id::JobId;
use crate::job::{self, Spec};
use crate::journal::Journal;
use crate::journal::place::StateDir;
use crate::local;
use crate::monitor::Monitor;
use crate::outcome::Outcome;
use crate::path::escape;

/// Opens a journal to write and says so if it had been damaged. Whoever calls holds the folder's lock.
pub fn open_journal(context: &Context, state: &StateDir) -> Result<Journal> {
    local::raise_open_files();
    let opened = Journal::open(&state.journal())?;
    if let Some(kept) = &opened.rebuilt {
        let kept = escape(kept.as_os_str().as_encoded_bytes());
        context.show.note(&format!(
            "highwater: the journal was damaged; it is kept as {kept} and rebuilt from both sides, \
             deleting nothing"
        ));
    }
    Ok(opened.journal)
}

/// The journal and the job of this name to read, or empty ones if there never was a round.
pub async fn to_read(state: &StateDir, name: &str) -> Result<(Journal, JobId)> {
    if let Some(journal) = Journal::open_to_read(&state.journal())?
        && let Some(job) = journal.find_job(name).await?
    {
        return Ok((journal, job));
    }
    let journal = Journal::in_memory()?;
    let job = journal.job(name).await?;
    Ok((journal, job))
}

/// Runs one round.
pub async fn round(
    context: &Context,
    spec: Spec,
    journal: &Journal,
    job: JobId,
    reach: &Reach,
    monitor: Arc<dyn Monitor>,
) -> Outcome {
    let with = with(context, journal, job, monitor);
    let outcome = job::run(spec, with, reach.clone()).await;
    if let Err(error) = reach.keep_learned(journal).await {
        tracing::warn!("{error}: {}", error.reason());
    }
    outcome
}

/// What a round works with.
pub fn with(context: &Context, journal: &Journal, job: JobId, monitor: Arc<dyn Monitor>) -> job::Context {
    job::Context {
        journal: journal.clone(),
        job,
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        monitor,
        stop: context.stop.clone(),
    }
}

/// Closes a journal. Its rounds have flushed it: what fails now concerns nothing that was reported done.
pub async fn close(context: &Context, journal: &Journal) {
    if let Err(error) = journal.close().await {
        context.show.error(&error);
    }
}
