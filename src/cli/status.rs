//! `highwater status`: how every job stands.

use jiff::tz::TimeZone;

use super::Context;
use super::journals::{self, Depth};
use crate::clock::{Clock, SystemClock};
use crate::error::Result;
use crate::report::history::{Reader, status_document, status_text};

/// Shows every job that ever had a round, from the journals alone: nothing is written or locked.
pub async fn run(context: &Context) -> Result<u8> {
    let state = journals::state_dir(context)?;
    let histories = journals::histories(&state, None, Depth { rounds: 1, things: None }).await?;
    let reader = Reader { now: SystemClock.now(), zone: TimeZone::system() };
    context.show.either(&status_document(&histories), || status_text(&histories, &reader))?;
    Ok(0)
}
