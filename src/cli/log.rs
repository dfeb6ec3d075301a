//! `highwater log`: rounds, problems and what is in the trash.

use jiff::tz::TimeZone;

use super::Context;
use super::args::Log;
use super::journals::{self, Depth};
use crate::clock::{Clock, SystemClock};
use crate::error::Result;
use crate::report::history::{Reader, log_document, log_text};

/// How many things in the trash are read per job.
const MAX_THINGS: usize = 10_000;

/// Shows the latest rounds of one job or of all, from the journals alone: nothing is written or locked.
pub async fn run(context: &Context, args: &Log) -> Result<u8> {
    let state = journals::state_dir(context)?;
    let depth = Depth { rounds: args.rounds, things: Some(MAX_THINGS) };
    let histories = journals::histories(&state, args.job.as_deref(), depth).await?;
    let reader = Reader { now: SystemClock.now(), zone: TimeZone::system() };
    context.show.either(&log_document(&histories), || log_text(&histories, &reader))?;
    Ok(0)
}
