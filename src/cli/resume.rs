//! `highwater resume`: a person looked, and says go on.

use serde::Serialize;

use super::Context;
use super::args::Resume;
use super::journals;
use crate::clock::SystemClock;
use crate::error::{Error, Kind, Result};
use crate::journal::lock::Lock;
use crate::journal::{JobState, Journal};

/// Clears the halt of a job, and with `--accept-deletes` lets what is held go with its next round.
pub async fn run(context: &Context, args: &Resume) -> Result<u8> {
    let state = journals::state_dir(context)?;
    let place = journals::find(&state, &args.job).await?;
    let _lock = Lock::take(&place.state.lock(), "highwater resume", &SystemClock)?;
    let journal = Journal::open(&place.state.journal())?.journal;
    let job = journal.find_job(&args.job).await?.ok_or_else(|| {
        Error::new(Kind::Journal, "find the job", &args.job).detail("the journal was damaged and made anew")
    })?;
    let before = journal.job_state(job).await?;
    let accept_deletes = args.accept_deletes;
    let after = journal.update_job_state(job, move |state| go_on(state, accept_deletes)).await?;
    journal.close().await?;
    let document = Resumed {
        version: 1,
        job: &args.job,
        was_halted: before.halted.as_deref(),
        accept_deletes: after.accept_deletes,
    };
    context.show.either(&document, || text(&document))?;
    Ok(0)
}

#[derive(Serialize)]
struct Resumed<'a> {
    version: u32,
    job: &'a str,
    was_halted: Option<&'a str>,
    accept_deletes: bool,
}

/// The roots are looked at as if for the first time: a person who says go on accepts those that are there.
fn go_on(state: &mut JobState, accept_deletes: bool) {
    if state.halted.take().is_some() {
        state.near_root = None;
        state.far_root = None;
    }
    state.accept_deletes |= accept_deletes;
}

fn text(resumed: &Resumed<'_>) -> String {
    let halted = match resumed.was_halted {
        Some(why) => format!("was halted ({why}) and goes on with its next round"),
        None => "was not halted".into(),
    };
    let deletes = match resumed.accept_deletes {
        true => "; deletes that are held go with it",
        false => "",
    };
    format!("{}: {halted}{deletes}", resumed.job)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::RootIdentity;

    #[test]
    fn a_root_is_forgotten_only_where_it_halted_the_job() {
        let root = Some(RootIdentity { device: 1, inode: 2 });
        let check = |halted: Option<&str>, accept, expected: Option<RootIdentity>| {
            let mut state =
                JobState { near_root: root, halted: halted.map(str::to_owned), ..JobState::default() };
            go_on(&mut state, accept);
            assert_eq!((state.near_root, state.halted, state.accept_deletes), (expected, None, accept));
        };
        check(None, true, root);
        check(Some("root replaced"), false, None);
    }

    #[test]
    fn the_answer_says_what_follows() {
        let resumed = Resumed { version: 1, job: "nightly", was_halted: None, accept_deletes: true };
        assert_eq!(text(&resumed), "nightly: was not halted; deletes that are held go with it");
        let resumed = Resumed { was_halted: Some("root lost"), accept_deletes: false, ..resumed };
        assert_eq!(text(&resumed), "nightly: was halted (root lost) and goes on with its next round");
    }
}
