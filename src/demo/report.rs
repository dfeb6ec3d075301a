//! What the demonstration came to.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::check::Check;
use super::sample::Sample;
use crate::outcome::Outcome;
use crate::path::escape;
use crate::report::document::JobDocument;

/// All of it.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The version of this document.
    pub version: u32,
    /// What everything followed from.
    pub seed: u64,
    /// What there was to carry.
    pub sample: Sample,
    /// The rounds, in order.
    pub steps: Vec<Step>,
    /// Whether every expectation of every step holds, and every step was come to.
    pub holds: bool,
    /// Where everything is.
    #[serde(serialize_with = "as_text")]
    pub folder: PathBuf,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "as_seconds")]
    pub elapsed: Duration,
}

/// One round, with what was expected of it.
#[derive(Debug, Serialize)]
pub struct Step {
    /// Its name in the story.
    pub step: &'static str,
    /// What the round came to.
    #[serde(serialize_with = "as_document")]
    pub round: Outcome,
    /// Connections that were made.
    pub connections: u64,
    /// Content that reached the server's disk, in bytes.
    pub bytes_written_by_server: u64,
    /// Content of large files that an attempt went on after, in bytes.
    pub bytes_gone_on_after: u64,
    /// What was expected.
    pub checks: Vec<Check>,
}

impl Report {
    /// The expectations that do not hold, with the step they belong to.
    pub fn failed(&self) -> impl Iterator<Item = (&'static str, &Check)> {
        let of_step =
            |step: &'static str, checks| std::iter::repeat(step).zip::<std::slice::Iter<'_, Check>>(checks);
        let checks = self.steps.iter().flat_map(move |step| of_step(step.step, step.checks.iter()));
        checks.filter(|(_, check)| !check.holds)
    }

    /// How many expectations hold.
    pub fn held(&self) -> u64 {
        self.steps.iter().flat_map(|step| &step.checks).filter(|check| check.holds).count() as u64
    }
}

fn as_document<S: Serializer>(outcome: &Outcome, serializer: S) -> Result<S::Ok, S::Error> {
    JobDocument::of(outcome).serialize(serializer)
}

fn as_text<S: Serializer>(path: &std::path::Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&escape(path.as_os_str().as_encoded_bytes()))
}

fn as_seconds<S: Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(elapsed.as_millis() as f64 / 1000.0)
}
