//! The demonstration: everything this program promises, on one machine, with nothing to set up.
//!
//! A sample tree, a server of our own in the same process, and five real rounds over SSH on the loopback,
//! with a cut and a damaged byte on the way. After each round both sides are compared by code that shares
//! nothing with the rounds. Every expectation is written down with what was found.
//!
//! What it does not know: where it is printed, and how a dialled connection is made ([`Around`]).

mod check;
mod compare;
mod edits;
mod far_end;
mod report;
mod sample;
mod steps;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

pub use self::check::Check;
pub use self::far_end::To;
pub use self::report::{Report, Step};
pub use self::sample::{Sample, Size};
use self::steps::Stage;
use crate::error::{Error, Kind, Result};
use crate::job::Dial;
use crate::monitor::Monitor;
use crate::path::escape;
use crate::units::ByteSize;

/// Room that the trees need besides their content: blocks that are not full, journals.
const SPARE_BYTES: u64 = 64 << 20;

/// What the demonstration is to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// An empty folder for all of it. Who made it removes it.
    pub folder: PathBuf,
    /// How much there is to carry.
    pub size: Size,
    /// What names, sizes, times and contents follow from.
    pub seed: u64,
    /// Turns true when the program shall stop.
    pub stop: watch::Receiver<bool>,
}

/// Where the demonstration is given.
pub trait Around: Send + Sync {
    /// Makes the connections.
    type Dial: Dial + Clone;

    /// What reaches this far side, again and again. Connects to nothing yet.
    fn reach(&self, to: To) -> impl Future<Output = Result<Self::Dial>> + Send;

    /// Hears one round, until it is dropped.
    fn watch(&self, title: &str) -> Arc<dyn Monitor>;

    /// A line of the story: which part of it, and what happens. Escaped.
    fn tell(&self, part: &str, text: &str);
}

/// Gives the demonstration. An expectation that does not hold ends it and is in the report; an error is
/// what kept it from being given.
pub async fn run<A: Around>(options: Options, around: &A) -> Result<Report> {
    let started = Instant::now();
    let mut stage = Stage::set(options, around).await?;
    let played = stage.play().await;
    let mut report = stage.clear().await?;
    played?;
    report.elapsed = started.elapsed();
    Ok(report)
}

/// How much room the demonstration needs, in bytes: three trees, and what is added on the way.
pub fn needed_bytes(size: Size) -> u64 {
    3 * (size.total_bytes() + size.added_bytes()) + SPARE_BYTES
}

/// Errors with `NoSpace` if there is not enough room in a folder that exists.
pub fn need_room(folder: &Path, size: Size) -> Result<()> {
    let shown = escape(folder.as_os_str().as_encoded_bytes());
    let room = rustix::fs::statvfs(folder).map_err(|e| Error::io("look for room in", &shown, e.into()))?;
    let (free, needed) = (room.f_bavail.saturating_mul(room.f_frsize), needed_bytes(size));
    if free >= needed {
        return Ok(());
    }
    let (free, needed) = (ByteSize(free).human(), ByteSize(needed).human());
    Err(Error::new(Kind::NoSpace, "give the demonstration in", shown)
        .detail(format!("it needs {needed} for a while, and {free} are free")))
}
