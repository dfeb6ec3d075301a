//! Histories as the JSON documents that `--json` prints.

use serde::Serialize;

use super::{History, PastRound, state, why};
use crate::journal::TrashRow;
use crate::report::document::{JobDocument, path_fields};
use crate::report::live::LiveJob;
use crate::report::moment::rfc3339;

/// The document of `highwater status`.
pub fn status_document(histories: &[History]) -> impl Serialize + '_ {
    StatusDocument { version: 1, jobs: histories.iter().map(JobStatus::of).collect() }
}

#[derive(Serialize)]
struct StatusDocument<'a> {
    version: u32,
    jobs: Vec<JobStatus<'a>>,
}

#[derive(Serialize)]
struct JobStatus<'a> {
    job: &'a str,
    state: &'static str,
    halted: Option<&'a str>,
    paused: bool,
    accept_deletes: bool,
    last_success: Option<String>,
    next_due: Option<String>,
    backlog: u64,
    last_round: Option<LastRound<'a>>,
    daemon: Option<&'a LiveJob>,
}

#[derive(Serialize)]
struct LastRound<'a> {
    started: Option<String>,
    ended: Option<String>,
    mode: Option<&'static str>,
    result: Option<&'static str>,
    problems: u64,
    held: u64,
    seconds: Option<f64>,
    message: Option<&'a str>,
}

impl<'a> JobStatus<'a> {
    fn of(history: &'a History) -> Self {
        Self {
            job: &history.job,
            state: state(history),
            halted: history.state.halted.as_deref(),
            paused: history.state.paused,
            accept_deletes: history.state.accept_deletes,
            last_success: history.last_success.and_then(rfc3339),
            next_due: history.state.next_due.and_then(rfc3339),
            backlog: history.backlog,
            daemon: history.live.as_ref(),
            last_round: history.rounds.first().map(LastRound::of),
        }
    }
}

impl<'a> LastRound<'a> {
    fn of(round: &'a PastRound) -> Self {
        let outcome = round.outcome.as_ref();
        Self {
            started: rfc3339(round.started),
            ended: round.ended.and_then(rfc3339),
            mode: outcome.map(|o| o.mode.as_str()),
            result: outcome.map(|o| o.ending.as_str()),
            problems: round.problems,
            held: outcome.map_or(0, |o| o.counts.held),
            seconds: outcome.map(|o| o.elapsed.as_millis() as f64 / 1000.0),
            message: outcome.and_then(|o| o.message.as_deref()),
        }
    }
}

/// The document of `highwater log`.
pub fn log_document(histories: &[History]) -> impl Serialize + '_ {
    LogDocument { version: 1, jobs: histories.iter().map(JobLog::of).collect() }
}

#[derive(Serialize)]
struct LogDocument<'a> {
    version: u32,
    jobs: Vec<JobLog<'a>>,
}

#[derive(Serialize)]
struct JobLog<'a> {
    job: &'a str,
    rounds: Vec<RoundLog<'a>>,
    trash: Vec<Thing<'a>>,
    trash_total: u64,
}

/// A round as it was reported then, but for one that never ended.
#[derive(Serialize)]
struct RoundLog<'a> {
    started: Option<String>,
    ended: Option<String>,
    #[serde(flatten)]
    round: Option<JobDocument<'a>>,
}

#[derive(Serialize)]
struct Thing<'a> {
    folder: &'a str,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    why: &'static str,
    at: Option<String>,
    bytes: u64,
}

impl<'a> JobLog<'a> {
    fn of(history: &'a History) -> Self {
        let rounds = history.rounds.iter().map(|round| RoundLog {
            started: rfc3339(round.started),
            ended: round.ended.and_then(rfc3339),
            round: round.outcome.as_ref().map(JobDocument::of),
        });
        Self {
            job: &history.job,
            rounds: rounds.collect(),
            trash: history.things.iter().map(Thing::of).collect(),
            trash_total: history.trash.iter().fold(0, |sum, round| sum.saturating_add(round.count)),
        }
    }
}

impl<'a> Thing<'a> {
    fn of(row: &'a TrashRow) -> Self {
        let (path, path_base64) = path_fields(&row.path);
        let (why, at) = (why(row.why), rfc3339(row.at));
        Self { folder: &row.round, path, path_base64, why, at, bytes: row.size }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use serde_json::{Value, json};

    fn check(document: impl Serialize, expected: &Value) {
        assert_eq!(&serde_json::to_value(&document).unwrap(), expected);
    }

    #[test]
    fn states_have_these_fields() {
        let troubled = json!({
            "job": "nightly", "state": "held", "halted": null, "paused": false, "accept_deletes": true,
            "last_success": "2026-02-28T02:15:00Z", "next_due": null,
            "last_round": {
                "started": "2026-03-01T02:15:00Z", "ended": "2026-03-01T02:16:12Z", "mode": "push",
                "result": "held", "problems": 1, "held": 4, "seconds": 72.0, "message": null,
            },
            "backlog": 3, "daemon": null,
        });
        let halted = json!({
            "job": "/srv -> web1:it's", "state": "halted", "halted": "the root was replaced",
            "paused": false, "accept_deletes": false, "last_success": null, "next_due": null,
            "last_round": null, "backlog": 0, "daemon": null,
        });
        let histories = [sample::troubled(), sample::halted()];
        check(status_document(&histories), &json!({"version": 1, "jobs": [troubled, halted]}));
    }

    #[test]
    fn a_log_holds_rounds_as_they_were_reported() {
        let histories = [sample::troubled()];
        let document = serde_json::to_value(log_document(&histories)).unwrap();
        let job = &document["jobs"][0];
        assert_eq!(job["rounds"][0]["result"], "held");
        assert_eq!(job["rounds"][0]["problems"][0]["path_base64"], "Yf8=");
        assert_eq!(job["rounds"][1], json!({"started": "2026-03-01T02:14:00Z", "ended": null}));
        let thing = json!({
            "folder": "r1", "path": "old", "why": "deleted", "at": "2026-03-01T02:15:00Z", "bytes": 1024,
        });
        assert_eq!((&job["trash"][0], &job["trash_total"]), (&thing, &json!(30)));
    }
}
