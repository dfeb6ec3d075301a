//! What there is to tell: the facts, before anybody words them.

use rustix::system::uname;

use crate::alarm;
use crate::config::model::Event;
use crate::entry::Time;
use crate::error::Problem;
use crate::outcome::{Counts, Ending, Mode, Outcome};
use crate::path::{RelPath, escape};

/// Problems, and things put right on the way, that are told one by one; of the rest only how many.
const SAMPLE: usize = 20;
/// The reason of a failure is cut to so many bytes.
const MAX_MESSAGE_BYTES: usize = 4 << 10;
/// The reason of a problem is cut to so many bytes.
const MAX_PROBLEM_BYTES: usize = 512;

/// Something to tell of one job.
#[derive(Debug, Clone)]
pub struct Notice {
    /// The job's name.
    pub job: String,
    /// What happened.
    pub event: Event,
    /// Whether it was told before and still is so.
    pub again: bool,
    /// Since when what was told holds: the first round that did not end well, the last that did; for a
    /// recovery when the trouble began.
    pub since: Option<Time>,
    /// The time of telling.
    pub at: Time,
    /// The round, if it is about one that ended.
    pub round: Option<Round>,
    /// This machine.
    pub host: String,
    /// Whether somebody only tries whether telling works.
    pub is_test: bool,
}

/// A round that ended, with its lists cut to a sample.
#[derive(Debug, Clone)]
pub struct Round {
    /// What came of it.
    pub outcome: Outcome,
    /// How many problems there were.
    pub problems: u64,
    /// When it began.
    pub started: Time,
    /// When it ended.
    pub ended: Time,
}

impl Round {
    /// The round that ended so.
    pub fn new(outcome: &Outcome, started: Time, ended: Time) -> Self {
        let problems = outcome.problems.len() as u64;
        let outcome = Outcome {
            job: outcome.job.clone(),
            mode: outcome.mode,
            ending: outcome.ending,
            counts: outcome.counts.clone(),
            problems: sample(&outcome.problems),
            recovered: sample(&outcome.recovered),
            elapsed: outcome.elapsed,
            message: outcome.message.as_deref().map(|message| cut(message, MAX_MESSAGE_BYTES)),
            exit_code: outcome.exit_code,
        };
        Self { outcome, problems, started, ended }
    }
}

fn sample(problems: &[Problem]) -> Vec<Problem> {
    let short = |p: &Problem| Problem { message: cut(&p.message, MAX_PROBLEM_BYTES), ..p.clone() };
    problems.iter().take(SAMPLE).map(short).collect()
}

/// The text, or its beginning and an ellipsis.
pub(super) fn cut(text: &str, limit_bytes: usize) -> String {
    if text.len() <= limit_bytes {
        return text.into();
    }
    let end = (0..=limit_bytes).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    format!("{}…", &text[..end])
}

impl Notice {
    /// A round begins.
    pub fn start(job: &str, at: Time) -> Self {
        Self::new(job, Event::Start, at)
    }

    /// A round ended, seen by itself.
    pub fn ended(round: Round) -> Self {
        let event = Event::of_ending(round.outcome.ending);
        let job = round.outcome.job.clone();
        Self { round: Some(round.clone()), ..Self::new(&job, event, round.ended) }
    }

    /// What an alarm says. `round` is the one that raised it, if one did.
    pub fn of_alarm(job: &str, notice: alarm::Notice, round: Option<Round>, at: Time) -> Self {
        let (event, since, again) = match notice {
            alarm::Notice::Trouble { ending, since, again } => (Event::of_ending(ending), Some(since), again),
            alarm::Notice::Late { since, again } => (Event::Late, Some(since), again),
            alarm::Notice::Recovered { since } => (Event::Recovered, Some(since), false),
            alarm::Notice::Success => (Event::Success, None, false),
        };
        Self { since, again, round, ..Self::new(job, event, at) }
    }

    /// Something made up, for trying whether telling works.
    pub fn test(event: Event, at: Time) -> Self {
        let ending = match event {
            Event::Start | Event::Late => None,
            Event::Success | Event::Recovered => Some(Ending::Ok),
            Event::Problems => Some(Ending::Problems),
            Event::Held => Some(Ending::Held),
            Event::Failure => Some(Ending::Failed),
            Event::Halt => Some(Ending::Halted),
        };
        let round = ending.map(|ending| made_up(ending, at));
        let since = matches!(event, Event::Recovered | Event::Late).then_some(at);
        Self { is_test: true, since, round, ..Self::new(TEST_JOB, event, at) }
    }

    fn new(job: &str, event: Event, at: Time) -> Self {
        let host = escape(uname().nodename().to_bytes());
        Self { job: job.into(), event, again: false, since: None, at, round: None, host, is_test: false }
    }
}

/// The job of notices that are made up.
const TEST_JOB: &str = "test";

fn made_up(ending: Ending, at: Time) -> Round {
    let path = RelPath::parse(&b"example.txt"[..]).unwrap_or_else(|_| RelPath::root());
    let problem = Problem::new(path, "read", "permission-denied", "permission denied (made up)");
    let outcome = Outcome {
        job: TEST_JOB.into(),
        mode: Mode::Push,
        ending,
        counts: Counts { held: u64::from(ending == Ending::Held), ..Counts::default() },
        problems: Vec::from_iter((ending == Ending::Problems).then_some(problem)),
        recovered: Vec::new(),
        elapsed: std::time::Duration::ZERO,
        message: Some("This is made up, to try whether you are told.".into()),
        exit_code: 0,
    };
    Round::new(&outcome, at, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_a_round_is_bounded() {
        let problem = |n: usize| {
            Problem::new(RelPath::parse(format!("f{n}").as_bytes()).unwrap(), "read", "failed", "é".repeat(n))
        };
        let mut outcome = made_up(Ending::Problems, Time::from_secs(0)).outcome;
        outcome.problems = (0..1_000).map(problem).collect();
        outcome.message = Some("x".repeat(1 << 20));
        let round = Round::new(&outcome, Time::from_secs(1), Time::from_secs(2));
        assert_eq!((round.problems, round.outcome.problems.len()), (1_000, SAMPLE));
        assert_eq!(round.outcome.message.unwrap().len(), MAX_MESSAGE_BYTES + "…".len());
        assert_eq!(cut("ééé", 3), "é…");
        assert_eq!(cut("ééé", 6), "ééé");
    }

    #[test]
    fn every_event_can_be_tried_and_says_so() {
        for event in Event::ALL {
            let notice = Notice::test(event, Time::from_secs(0));
            assert!(notice.is_test && notice.event == event && !notice.host.is_empty());
            let ending = notice.round.map(|round| Event::of_ending(round.outcome.ending));
            let expected = match event {
                Event::Start | Event::Late => None,
                Event::Recovered => Some(Event::Success),
                event => Some(event),
            };
            assert_eq!(ending, expected);
        }
    }
}
