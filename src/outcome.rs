//! What a round came to: the counts and lists that reports show and the journal keeps.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::Problem;
use crate::hash::Level;

/// Which way a job carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The far side follows the near one.
    Push,
    /// The near side follows the far one.
    Pull,
}

impl Mode {
    /// The mode as config, journal and reports write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Push => "push",
            Mode::Pull => "pull",
        }
    }
}

/// How a round ended, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ending {
    /// Everything was done, if need be after putting something right on the way.
    Ok,
    /// Done, but not for everything: see the problems.
    Problems,
    /// Done, but deletes or displacements wait for a person.
    Held,
    /// It could not be begun or finished: not reached, not logged in, interrupted.
    Failed,
    /// It stopped and stays stopped until a person says go on.
    Halted,
}

impl Ending {
    /// The ending as journal and reports write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Ending::Ok => "ok",
            Ending::Problems => "problems",
            Ending::Held => "held",
            Ending::Failed => "failed",
            Ending::Halted => "halted",
        }
    }

    /// Takes back what [`as_str`](Self::as_str) gave.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Ok, Self::Problems, Self::Held, Self::Failed, Self::Halted]
            .into_iter()
            .find(|e| e.as_str() == text)
    }
}

/// The counts of one round. Bytes are bytes of file content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files placed on the far side.
    pub files_sent: u64,
    /// Files placed on the near side.
    pub files_received: u64,
    /// Content that crossed the wire towards the far side, verification apart.
    pub bytes_sent: u64,
    /// Content that crossed the wire towards the near side, verification apart.
    pub bytes_received: u64,
    /// Content that was read only to verify.
    pub bytes_verified: u64,
    /// Content that an earlier attempt had carried and that did not have to cross again.
    pub bytes_resumed: u64,
    /// Paths that were renamed on the target instead of carried again.
    pub renamed: u64,
    /// Files and links that followed a delete at the source, into the trash or away.
    pub deleted: u64,
    /// Things at the target that had to make way, into the trash.
    pub displaced: u64,
    /// Things at the target that are none of ours and were left alone.
    pub foreign: u64,
    /// Files, links and folders that needed nothing.
    pub unchanged: u64,
    /// Deletes and displacements that wait for a person.
    pub held: u64,
    /// Files proved in this round, per level.
    pub verified: BTreeMap<Level, u64>,
}

/// What one round of one job came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The job's name; for one-round commands the two ends as typed.
    pub job: String,
    /// Which way.
    pub mode: Mode,
    /// How it ended.
    pub ending: Ending,
    /// What was done.
    pub counts: Counts,
    /// What the round survived.
    pub problems: Vec<Problem>,
    /// What was put right on the way.
    pub recovered: Vec<Problem>,
    /// How long it took.
    pub elapsed: Duration,
    /// Why it failed, halted or holds: what was done to what, why, and what to try. One entry per line.
    pub message: Option<String>,
    /// The exit code that this outcome asks for.
    pub exit_code: u8,
}
