//! What is asked and answered.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::VERSION;
use crate::error::{Error, Kind, Result};
use crate::report::live::LiveJob;
use crate::report::summary::what;

/// A request as it crosses: `{"version":1,"do":"now","job":"nightly"}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Of the protocol.
    pub version: u32,
    /// What to do.
    #[serde(flatten)]
    pub ask: Ask,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// How the jobs are.
    Status {},
    /// Begin a round, and answer at once.
    Now {
        /// Of this job.
        job: String,
    },
    /// Begin a round, and answer when it has ended.
    Run {
        /// Of this job.
        job: String,
    },
    /// Begin no rounds until told to resume.
    Pause {
        /// Of this job.
        job: String,
    },
    /// A person looked, and says go on.
    Resume {
        /// This job.
        job: String,
        /// Let deletes that are held go with the next round.
        #[serde(default)]
        accept_deletes: bool,
    },
    /// Answer when the job has nothing left to do.
    Wait {
        /// This job.
        job: String,
        /// For so long; without it for ever.
        #[serde(default)]
        timeout_millis: Option<u64>,
    },
    /// Another rate until the daemon ends.
    Limit {
        /// Of this job.
        job: String,
        /// `2MiB/s` or `unlimited`; without it what the config says.
        #[serde(default)]
        rate: Option<String>,
    },
    /// Read the config again.
    Reload {},
}

impl Ask {
    /// The line that asks for this.
    pub(super) fn line(&self) -> Result<String> {
        line(&Request { version: VERSION, ask: self.clone() })
    }
}

impl Request {
    /// What a line asks for.
    pub(super) fn parse(line: &str) -> Result<Ask> {
        let bad = |why: String| Error::new(Kind::Usage, "understand the request", "").detail(why);
        // The version first: a later one may have words that this one does not know.
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version } = serde_json::from_str(line).map_err(|e| bad(e.to_string()))?;
        if version != VERSION {
            return Err(bad(format!("it is of version {version}, and this daemon knows version {VERSION}")));
        }
        let request: Self = serde_json::from_str(line).map_err(|e| bad(e.to_string()))?;
        Ok(request.ask)
    }
}

/// An answer as it crosses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Of the protocol.
    pub version: u32,
    /// What came of it, or why nothing did.
    #[serde(flatten)]
    pub told: Told,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// To `status`.
    Jobs(Vec<LiveJob>),
    /// To `run` and `wait`.
    Ended {
        /// The job's last round, if it had any since the daemon began.
        round: Option<i64>,
    },
    /// To `resume`.
    Resumed {
        /// Why it was halted, if it was.
        was_halted: Option<String>,
        /// Whether it was paused.
        was_paused: bool,
    },
    /// To all else: what was done, for people.
    Done(String),
    /// Why it could not be done.
    Error(Refusal),
}

/// Why something could not be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    /// Of what kind, as reports write it.
    pub kind: String,
    /// What could not be done, and why.
    pub message: String,
    /// What to try.
    pub hint: Option<String>,
}

impl Refusal {
    /// The words of an error.
    pub(super) fn of(error: &Error) -> Self {
        let hint = error.hint_text().map(str::to_owned);
        Self { kind: error.kind().as_str().into(), message: what(error), hint }
    }

    /// The error again, on the other side: its words are one text now.
    pub(super) fn into_error(self) -> Error {
        let kinds = [Kind::Usage, Kind::Halt, Kind::Busy, Kind::Interrupted, Kind::Journal, Kind::Internal];
        let kind = kinds.into_iter().find(|kind| kind.as_str() == self.kind).unwrap_or(Kind::Failed);
        let error = Error::new(kind, "have the daemon do it", "").detail(self.message);
        match self.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

impl Answer {
    /// The answer with this outcome.
    pub(super) fn of(result: Result<Told>) -> Self {
        let told = result.unwrap_or_else(|error| Told::Error(Refusal::of(&error)));
        Self { version: VERSION, told }
    }

    /// Its line.
    pub(super) fn line(&self) -> Result<String> {
        line(self)
    }
}

fn line(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string(value);
    let text = text.map_err(|e| Error::new(Kind::Internal, "make a line for the daemon", "").because(e))?;
    Ok(text + "\n")
}

/// A time as it crosses.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_what_people_may_write_by_hand() {
        let check = |line: &str, expected: Ask| assert_eq!(Request::parse(line).unwrap(), expected, "{line}");
        let job = || "nightly".to_owned();
        check(r#"{"version":1,"do":"status"}"#, Ask::Status {});
        check(r#"{"version":1,"do":"now","job":"nightly"}"#, Ask::Now { job: job() });
        check(
            r#"{"version":1,"do":"resume","job":"nightly"}"#,
            Ask::Resume { job: job(), accept_deletes: false },
        );
        check(
            r#"{"version":1,"do":"wait","job":"nightly","timeout_millis":5}"#,
            Ask::Wait { job: job(), timeout_millis: Some(5) },
        );
        for ask in [Ask::Reload {}, Ask::Limit { job: job(), rate: Some("2MiB/s".into()) }] {
            check(&ask.line().unwrap(), ask);
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_with_the_reason() {
        let check = |line: &str, why: &str| {
            let error = Request::parse(line).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.reason().contains(why), "{line}: {}", error.reason());
        };
        check("", "EOF");
        check("now", "expected");
        check(r#"{"do":"status"}"#, "version");
        check(r#"{"version":2,"do":"something new"}"#, "of version 2");
        check(r#"{"version":1,"do":"explode"}"#, "explode");
        check(r#"{"version":1,"do":"now"}"#, "job");
    }

    #[test]
    fn errors_keep_their_words_and_their_exit_code() {
        let error = Error::new(Kind::Halt, "run", "nightly").detail("it is halted").hint("Look at it.");
        let error = Refusal::of(&error).into_error();
        assert_eq!((error.kind(), error.hint_text()), (Kind::Halt, Some("Look at it.")));
        assert_eq!(error.reason(), "cannot run nightly: it is halted");
        let answer = Answer::of(Ok(Told::Ended { round: Some(3) }));
        let text = answer.line().unwrap();
        assert_eq!(text, "{\"version\":1,\"ended\":{\"round\":3}}\n");
        assert_eq!(serde_json::from_str::<Answer>(&text).unwrap(), answer);
    }
}
