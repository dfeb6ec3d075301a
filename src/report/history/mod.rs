//! What the journal remembers of jobs, for people and as JSON: their state, their rounds, their trash.

mod document;
mod text;

pub use self::document::{log_document, status_document};
pub use self::text::{Reader, log_text, status_text};

use super::live::LiveJob;
use super::summary::Started;
use crate::entry::Time;
use crate::journal::{JobState, Problems, RoundRow, TrashRow, TrashSum, Why};
use crate::outcome::{Ending, Outcome};

/// What is remembered of one job.
#[derive(Debug, Clone)]
pub struct History {
    /// Its name; for one-round commands the two ends.
    pub job: String,
    /// How it was started, and so how it is reached again.
    pub started: Started,
    /// What it carries on from round to round.
    pub state: JobState,
    /// When the last round that ended ok did so.
    pub last_success: Option<Time>,
    /// Its latest rounds, newest first.
    pub rounds: Vec<PastRound>,
    /// What each round has in the trash.
    pub trash: Vec<TrashSum>,
    /// The first things in the trash.
    pub things: Vec<TrashRow>,
    /// How many paths changed that no round has settled yet.
    pub backlog: u64,
    /// What the daemon knows of it, if one runs.
    pub live: Option<LiveJob>,
}

impl History {
    /// A job without a past.
    pub fn new(job: String, started: Started) -> Self {
        Self {
            job,
            started,
            state: JobState::default(),
            last_success: None,
            rounds: Vec::new(),
            trash: Vec::new(),
            things: Vec::new(),
            backlog: 0,
            live: None,
        }
    }
}

/// A round as the journal has it.
#[derive(Debug, Clone)]
pub struct PastRound {
    /// When it began.
    pub started: Time,
    /// When it ended; `None` if it is under way or was cut off.
    pub ended: Option<Time>,
    /// How many problems it had, listed or not.
    pub problems: u64,
    /// What it came to; `None` if it did not end.
    pub outcome: Option<Outcome>,
}

impl PastRound {
    /// A round of `job` with its lists, which may be left empty.
    pub fn new(job: &str, row: RoundRow, lists: Problems) -> Self {
        let (started, ended, problems) = (row.started, row.ended, row.problems);
        Self { started, ended, problems, outcome: outcome(job, row, lists) }
    }
}

fn outcome(job: &str, row: RoundRow, lists: Problems) -> Option<Outcome> {
    Some(Outcome {
        job: job.to_owned(),
        mode: row.mode?,
        ending: row.ending?,
        counts: row.counts,
        problems: lists.problems,
        recovered: lists.recovered,
        elapsed: row.elapsed,
        message: row.message,
        exit_code: row.exit_code,
    })
}

/// One word for how a job stands.
fn state(history: &History) -> &'static str {
    match (&history.state, history.rounds.first()) {
        (state, _) if state.halted.is_some() => "halted",
        (state, _) if state.paused => "paused",
        (_, None) => "new",
        (_, Some(round)) => match &round.outcome {
            None => "unfinished",
            Some(outcome) if outcome.ending == Ending::Halted => "resumed",
            Some(outcome) => outcome.ending.as_str(),
        },
    }
}

fn why(why: Why) -> &'static str {
    match why {
        Why::Deleted => "deleted",
        Why::Displaced => "displaced",
    }
}

#[cfg(test)]
pub(super) mod sample {
    //! Two jobs that had some trouble, for the tests of this module.

    use std::time::Duration;

    use super::*;
    use crate::error::Problem;
    use crate::outcome::{Counts, Mode};
    use crate::path::RelPath;

    /// 2026-03-01 02:15:00 UTC.
    pub const START: i64 = 1_772_331_300;

    fn round(started: i64, ending: Option<Ending>, counts: Counts, lists: Problems) -> PastRound {
        let outcome = ending.map(|ending| Outcome {
            job: "nightly".into(),
            mode: Mode::Push,
            ending,
            counts,
            problems: lists.problems,
            recovered: lists.recovered,
            elapsed: Duration::from_secs(72),
            message: None,
            exit_code: 0,
        });
        let ended = outcome.is_some().then(|| Time::from_secs(started + 72));
        PastRound { started: Time::from_secs(started), ended, problems: 0, outcome }
    }

    pub fn troubled() -> History {
        let path = |text: &[u8]| RelPath::parse(text).unwrap();
        let problem = Problem::new(path(b"a\xff"), "read", "permission-denied", "permission denied");
        let counts = Counts { files_sent: 2, bytes_sent: 3 << 20, held: 4, ..Counts::default() };
        let lists = Problems { problems: vec![problem], recovered: Vec::new() };
        let at = Time::from_secs(START);
        let thing = |name: &[u8], why| TrashRow { round: "r1".into(), path: path(name), why, at, size: 1024 };
        let mut held = round(START, Some(Ending::Held), counts, lists);
        held.problems = 1;
        History {
            job: "nightly".into(),
            started: Started::AsJob,
            state: JobState { accept_deletes: true, ..JobState::default() },
            last_success: Some(Time::from_secs(START - 86_400)),
            rounds: vec![held, round(START - 60, None, Counts::default(), Problems::default())],
            trash: vec![TrashSum { round: "r1".into(), newest: at, count: 30, bytes: 2048 }],
            things: vec![thing(b"old", Why::Deleted), thing(b"new", Why::Displaced)],
            backlog: 3,
            live: None,
        }
    }

    pub fn halted() -> History {
        let state = JobState { halted: Some("the root was replaced".into()), ..JobState::default() };
        History { state, ..History::new("/srv -> web1:it's".into(), Started::AsCommand) }
    }
}
