//! Commands that have the daemon do something: `now`, `pause`, `reload`, `wait`, `limit`.

use serde::Serialize;

use super::args::{JobName, LimitJob, Wait};
use super::work::open_journal;
use super::{Context, journals};
use crate::clock::SystemClock;
use crate::daemon::control::client::Client;
use crate::daemon::control::protocol::{Ask, Told, millis};
use crate::error::{Error, Kind, Result};
use crate::journal::lock::Lock;
use crate::journal::place::StateDir;
use crate::report::summary::Started;

/// The daemon that works with this state folder; `None`: there is none.
pub async fn daemon(state: &StateDir) -> Result<Option<Client>> {
    Client::connect(&state.socket()).await
}

/// `now JOB`: begins a round.
pub async fn now(context: &Context, args: &JobName) -> Result<u8> {
    done(context, Ask::Now { job: args.job.clone() }).await
}

/// `reload`: reads the config again.
pub async fn reload(context: &Context) -> Result<u8> {
    done(context, Ask::Reload {}).await
}

/// `limit JOB RATE`: another rate until the daemon ends.
pub async fn limit(context: &Context, args: &LimitJob) -> Result<u8> {
    let rate = args.rate.map(|rate| rate.to_string());
    done(context, Ask::Limit { job: args.job.clone(), rate }).await
}

/// `pause JOB`: no rounds until `resume`. Without a daemon the next one finds the job paused.
pub async fn pause(context: &Context, args: &JobName) -> Result<u8> {
    let state = journals::state_dir(context)?;
    if daemon(&state).await?.is_some() {
        return done(context, Ask::Pause { job: args.job.clone() }).await;
    }
    let place = journals::find(&state, &args.job).await?;
    if place.started == Started::AsCommand {
        let error = Error::new(Kind::Usage, "pause", &args.job);
        return Err(error.detail("it is no job of the config, and runs only when it is typed"));
    }
    let _lock = Lock::take(&state.lock(), "highwater pause", &SystemClock)?;
    let journal = open_journal(context, &state)?;
    let job = journal.job(&args.job).await?;
    journal.update_job_state(job, |state| state.paused = true).await?;
    journal.close().await?;
    tell(context, &format!("{}: paused", args.job))
}

/// `wait`: until a job has nothing left to do. The exit code is that of its last round.
pub async fn wait(context: &Context, args: &Wait) -> Result<u8> {
    let timeout_millis = args.timeout.map(millis);
    let ask = Ask::Wait { job: args.job.clone(), timeout_millis };
    let (state, told) = ask_daemon(context, &ask).await?;
    let Told::Ended { round } = told else { return Err(strange()) };
    let outcome = match round {
        Some(round) => Some(journals::outcome(&state, &args.job, round).await?),
        None => None,
    };
    let result = outcome.as_ref().map_or("idle", |outcome| outcome.ending.as_str());
    let document = Waited { version: 1, job: &args.job, result };
    context.show.either(&document, || format!("{}: {result}, nothing left to do", args.job))?;
    Ok(outcome.map_or(0, |outcome| outcome.exit_code))
}

#[derive(Serialize)]
struct Waited<'a> {
    version: u32,
    job: &'a str,
    result: &'a str,
}

async fn done(context: &Context, ask: Ask) -> Result<u8> {
    match ask_daemon(context, &ask).await?.1 {
        Told::Done(text) => tell(context, &text),
        _ => Err(strange()),
    }
}

/// Asks the daemon, which there has to be.
async fn ask_daemon(context: &Context, ask: &Ask) -> Result<(StateDir, Told)> {
    let state = journals::state_dir(context)?;
    let mut client = daemon(&state).await?.ok_or_else(|| {
        Error::new(Kind::Unreachable, "reach the daemon", "")
            .detail("none runs with this state folder")
            .hint("Start one with highwater daemon, or name its state folder with --state DIR.")
    })?;
    let told = context.unless_stopped(client.ask(ask)).await?;
    Ok((state, told))
}

/// An answer that does not fit what was asked.
pub fn strange() -> Error {
    Error::new(Kind::Internal, "understand the daemon", "").hint("It may be of another version: restart it.")
}

#[derive(Serialize)]
struct Done<'a> {
    version: u32,
    done: &'a str,
}

fn tell(context: &Context, text: &str) -> Result<u8> {
    context.show.either(&Done { version: 1, done: text }, || text.to_owned())?;
    Ok(0)
}
