//! `highwater resume`: a person looked, and says go on.

use serde::Serialize;

use super::args::Resume;
use super::journals::{self, Place};
use super::{Context, ask};
use crate::clock::SystemClock;
use crate::daemon::control::protocol::{Ask, Told};
use crate::error::{Error, Kind, Result};
use crate::journal::Journal;
use crate::journal::lock::Lock;
use crate::report::summary::Started;

/// Clears the halt or the pause of a job, and with `--accept-deletes` lets what is held go with its next
/// round, which a daemon begins at once.
pub async fn run(context: &Context, args: &Resume) -> Result<u8> {
    let state = journals::state_dir(context)?;
    let place = journals::find(&state, &args.job).await?;
    let client = match place.started {
        Started::AsJob => ask::daemon(&state).await?,
        Started::AsCommand => None,
    };
    let (was_halted, was_paused) = match client {
        None => in_journal(&place, args).await?,
        Some(mut client) => {
            let ask = Ask::Resume { job: args.job.clone(), accept_deletes: args.accept_deletes };
            match client.ask(&ask).await? {
                Told::Resumed { was_halted, was_paused } => (was_halted, was_paused),
                _ => return Err(ask::strange()),
            }
        }
    };
    let (was_halted, accept_deletes) = (was_halted.as_deref(), args.accept_deletes);
    let document = Resumed { version: 1, job: &args.job, was_halted, was_paused, accept_deletes };
    context.show.either(&document, || text(&document))?;
    Ok(0)
}

async fn in_journal(place: &Place, args: &Resume) -> Result<(Option<String>, bool)> {
    let _lock = Lock::take(&place.state.lock(), "highwater resume", &SystemClock)?;
    let journal = Journal::open(&place.state.journal())?.journal;
    let job = journal.find_job(&args.job).await?.ok_or_else(|| {
        Error::new(Kind::Journal, "find the job", &args.job).detail("the journal was damaged and made anew")
    })?;
    let before = journal.job_state(job).await?;
    let accept_deletes = args.accept_deletes;
    journal.update_job_state(job, move |state| state.go_on(accept_deletes)).await?;
    journal.close().await?;
    Ok((before.halted, before.paused))
}

#[derive(Serialize)]
struct Resumed<'a> {
    version: u32,
    job: &'a str,
    was_halted: Option<&'a str>,
    was_paused: bool,
    accept_deletes: bool,
}

fn text(resumed: &Resumed<'_>) -> String {
    let before = match (resumed.was_halted, resumed.was_paused) {
        (Some(why), _) => format!("was halted ({why}) and goes on with its next round"),
        (None, true) => "was paused and goes on".into(),
        (None, false) => "was not halted".into(),
    };
    let deletes = match resumed.accept_deletes {
        true => "; deletes that are held go with it",
        false => "",
    };
    format!("{}: {before}{deletes}", resumed.job)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_says_what_follows() {
        let check = |was_halted, was_paused, accept_deletes, expected: &str| {
            let resumed = Resumed { version: 1, job: "nightly", was_halted, was_paused, accept_deletes };
            assert_eq!(text(&resumed), format!("nightly: {expected}"));
        };
        check(None, false, true, "was not halted; deletes that are held go with it");
        check(Some("root lost"), false, false, "was halted (root lost) and goes on with its next round");
        check(None, true, false, "was paused and goes on");
    }
}
