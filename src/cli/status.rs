//! `highwater status`: how every job stands.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::args::Status;
use super::journals::{self, Depth};
use super::{Context, ask, config};
use crate::clock::{Clock, SystemClock};
use crate::daemon::control::protocol::{Ask, Told};
use crate::error::{Error, Kind, Result};
use crate::journal::place::StateDir;
use crate::report::history::{History, Reader, status_document, status_text};
use crate::report::live::LiveJob;
use crate::report::summary::Started;

/// How often it is shown again.
const EVERY: Duration = Duration::from_secs(1);

/// Shows every job of the config, and every other that ever had a round. Nothing is written or locked.
pub async fn run(context: &Context, args: &Status) -> Result<u8> {
    let state = journals::state_dir(context)?;
    if args.watch {
        return watch(context, &state).await;
    }
    let histories = histories(context, &state).await?;
    context.show.either(&status_document(&histories), || text(&histories))?;
    Ok(0)
}

/// Shows it again and again, until a signal comes.
async fn watch(context: &Context, state: &StateDir) -> Result<u8> {
    if context.show.is_json() {
        let error = Error::new(Kind::Usage, "show the state again and again", "");
        return Err(error.detail("--watch is for people, --json for programs"));
    }
    let mut stop = context.stop.clone();
    let mut shown = 0;
    loop {
        shown = context.show.in_place(&text(&histories(context, state).await?), shown)?;
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(0),
        }
    }
}

fn text(histories: &[History]) -> String {
    let reader = Reader { now: SystemClock.now(), zone: TimeZone::system() };
    status_text(histories, &reader)
}

/// What the journals hold, and what a daemon knows beside.
async fn histories(context: &Context, state: &StateDir) -> Result<Vec<History>> {
    let mut histories = journals::histories(state, None, Depth { rounds: 1, things: None }).await?;
    match config::load(context) {
        Ok(loaded) => add_new(&mut histories, loaded.config.jobs.into_iter().map(|job| job.name)),
        Err(_) => context.show.note("the config has mistakes, see: highwater config check"),
    }
    for live in live(state).await? {
        let of_job = |known: &&mut History| known.started == Started::AsJob && known.job == live.job;
        if let Some(history) = histories.iter_mut().find(of_job) {
            history.live = Some(live);
        }
    }
    Ok(histories)
}

async fn live(state: &StateDir) -> Result<Vec<LiveJob>> {
    let Some(mut client) = ask::daemon(state).await? else { return Ok(Vec::new()) };
    match client.ask(&Ask::Status {}).await? {
        Told::Jobs(jobs) => Ok(jobs),
        _ => Err(ask::strange()),
    }
}

/// Adds jobs that no journal knows yet.
fn add_new(histories: &mut Vec<History>, names: impl Iterator<Item = String>) {
    for job in names {
        if !histories.iter().any(|known| known.started == Started::AsJob && known.job == job) {
            histories.push(History::new(job, Started::AsJob));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_listed_once_with_rounds_or_without() {
        let mut histories =
            vec![History::new("a".into(), Started::AsJob), History::new("b".into(), Started::AsCommand)];
        add_new(&mut histories, ["a", "b"].map(String::from).into_iter());
        let listed: Vec<(&str, Started)> = histories.iter().map(|h| (h.job.as_str(), h.started)).collect();
        assert_eq!(listed, [("a", Started::AsJob), ("b", Started::AsCommand), ("b", Started::AsJob)]);
    }
}
