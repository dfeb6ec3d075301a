//! Outcomes and errors as the JSON documents that `--json` prints. Their shape is a promise: fields are
//! added, never renamed or removed, while `version` is 1.

use std::collections::BTreeMap;

use base64ct::{Base64, Encoding};
use serde::Serialize;

use super::summary::what;
use crate::error::{Error, Problem};
use crate::hash::Level;
use crate::outcome::{Counts, Outcome};
use crate::path::{RelPath, escape};

/// What `push`, `pull` and `run` print.
pub fn of_rounds(outcomes: &[Outcome]) -> impl Serialize + '_ {
    Document { version: 1, jobs: outcomes.iter().map(JobDocument::of).collect() }
}

/// What other commands print when an error ends them.
pub fn of_error(error: &Error) -> impl Serialize {
    let message = what(error);
    let hint = error.hint_text().map(str::to_owned);
    ErrorDocument { version: 1, error: ErrorFields { kind: error.kind().as_str(), message, hint } }
}

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    jobs: Vec<JobDocument<'a>>,
}

/// One round of one job.
#[derive(Serialize)]
pub struct JobDocument<'a> {
    job: &'a str,
    mode: &'static str,
    result: &'static str,
    files_sent: u64,
    files_received: u64,
    bytes_sent: u64,
    bytes_received: u64,
    bytes_verified: u64,
    bytes_resumed: u64,
    renamed: u64,
    deleted: u64,
    displaced: u64,
    foreign: u64,
    unchanged: u64,
    held: u64,
    verified: BTreeMap<&'static str, u64>,
    problems: Vec<ProblemDocument>,
    recovered: Vec<ProblemDocument>,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

impl<'a> JobDocument<'a> {
    /// The fields of `outcome`.
    pub fn of(outcome: &'a Outcome) -> Self {
        let counts = &outcome.counts;
        Self {
            job: &outcome.job,
            mode: outcome.mode.as_str(),
            result: outcome.ending.as_str(),
            files_sent: counts.files_sent,
            files_received: counts.files_received,
            bytes_sent: counts.bytes_sent,
            bytes_received: counts.bytes_received,
            bytes_verified: counts.bytes_verified,
            bytes_resumed: counts.bytes_resumed,
            renamed: counts.renamed,
            deleted: counts.deleted,
            displaced: counts.displaced,
            foreign: counts.foreign,
            unchanged: counts.unchanged,
            held: counts.held,
            verified: per_level(counts),
            problems: outcome.problems.iter().map(ProblemDocument::of).collect(),
            recovered: outcome.recovered.iter().map(ProblemDocument::of).collect(),
            seconds: outcome.elapsed.as_millis() as f64 / 1000.0,
            message: outcome.message.as_deref(),
        }
    }
}

/// Files per level, with the levels that no file has, so that readers find every key.
fn per_level(counts: &Counts) -> BTreeMap<&'static str, u64> {
    let files = |level| counts.verified.get(&level).copied().unwrap_or(0);
    [Level::Ack, Level::Sample, Level::Full].map(|level| (level.as_str(), files(level))).into()
}

/// A problem for programs: the path as it is where that is text, else escaped beside its bytes.
#[derive(Debug, Serialize)]
pub struct ProblemDocument {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    operation: String,
    kind: String,
    message: String,
}

impl ProblemDocument {
    /// The fields of `problem`.
    pub fn of(problem: &Problem) -> Self {
        let (path, path_base64) = path_fields(&problem.path);
        Self {
            path,
            path_base64,
            operation: problem.operation.clone(),
            kind: problem.kind.clone(),
            message: problem.message.clone(),
        }
    }
}

/// A path for programs: as it is where that is text (`.` for the root); else escaped, with its bytes in
/// base64 beside it.
pub fn path_fields(path: &RelPath) -> (String, Option<String>) {
    match path.is_root() {
        true => (path.to_string(), None),
        false => bytes_fields(path.as_bytes()),
    }
}

/// The same of any bytes.
pub fn bytes_fields(bytes: &[u8]) -> (String, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (escape(bytes), Some(Base64::encode_string(bytes))),
    }
}

#[derive(Serialize)]
struct ErrorDocument {
    version: u32,
    error: ErrorFields,
}

#[derive(Serialize)]
struct ErrorFields {
    kind: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::outcome::{Ending, Mode};
    use std::time::Duration;

    fn problem(path: &[u8], message: &str) -> Problem {
        Problem::new(RelPath::parse(path).unwrap(), "read", "permission-denied", message)
    }

    /// This document is what programs rely on: a change here must only ever add fields.
    const EXPECTED: &str = r#"{
  "version": 1,
  "jobs": [
    {
      "job": "nightly",
      "mode": "push",
      "result": "held",
      "files_sent": 12,
      "files_received": 13,
      "bytes_sent": 14,
      "bytes_received": 15,
      "bytes_verified": 16,
      "bytes_resumed": 17,
      "renamed": 18,
      "deleted": 19,
      "displaced": 20,
      "foreign": 21,
      "unchanged": 22,
      "held": 23,
      "verified": {
        "ack": 2,
        "full": 10,
        "sample": 0
      },
      "problems": [
        {
          "path": "a\\b/c\u001b",
          "operation": "read",
          "kind": "permission-denied",
          "message": "permission denied"
        },
        {
          "path": "\\xff",
          "path_base64": "/w==",
          "operation": "read",
          "kind": "permission-denied",
          "message": "permission denied"
        }
      ],
      "recovered": [
        {
          "path": ".",
          "operation": "read",
          "kind": "permission-denied",
          "message": "connected again"
        }
      ],
      "seconds": 1.234,
      "message": "too many deletes"
    }
  ]
}"#;

    #[test]
    fn a_round_has_exactly_these_fields() {
        let counts = Counts {
            files_sent: 12,
            files_received: 13,
            bytes_sent: 14,
            bytes_received: 15,
            bytes_verified: 16,
            bytes_resumed: 17,
            renamed: 18,
            deleted: 19,
            displaced: 20,
            foreign: 21,
            unchanged: 22,
            held: 23,
            verified: [(Level::Full, 10), (Level::Ack, 2)].into(),
        };
        let outcome = Outcome {
            job: "nightly".into(),
            mode: Mode::Push,
            ending: Ending::Held,
            counts,
            problems: vec![
                problem(b"a\\b/c\x1b", "permission denied"),
                problem(b"\xff", "permission denied"),
            ],
            recovered: vec![problem(b"", "connected again")],
            elapsed: Duration::from_micros(1_234_567),
            message: Some("too many deletes".into()),
            exit_code: 4,
        };
        assert_eq!(serde_json::to_string_pretty(&of_rounds(&[outcome])).unwrap(), EXPECTED);
    }

    #[test]
    fn an_error_is_a_document_too() {
        let check = |error: Error, expected: &str| {
            assert_eq!(serde_json::to_string(&of_error(&error)).unwrap(), expected);
        };
        let error = Error::new(Kind::Login, "log in", "").detail("refused").hint("Look at -i.");
        check(
            error,
            r#"{"version":1,"error":{"kind":"login","message":"cannot log in: refused","hint":"Look at -i."}}"#,
        );
        check(
            Error::new(Kind::Journal, "open", "/j"),
            r#"{"version":1,"error":{"kind":"journal","message":"cannot open /j: journal"}}"#,
        );
    }
}
