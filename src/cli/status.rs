//! `highwater status`: how every job stands.

use jiff::tz::TimeZone;

use super::journals::{self, Depth};
use super::{Context, config};
use crate::clock::{Clock, SystemClock};
use crate::error::Result;
use crate::report::history::{History, Reader, status_document, status_text};
use crate::report::summary::Started;

/// Shows every job of the config, and every other that ever had a round. Nothing is written or locked.
pub async fn run(context: &Context) -> Result<u8> {
    let state = journals::state_dir(context)?;
    let mut histories = journals::histories(&state, None, Depth { rounds: 1, things: None }).await?;
    match config::load(context) {
        Ok(loaded) => add_new(&mut histories, loaded.config.jobs.into_iter().map(|job| job.name)),
        Err(_) => context.show.note("the config has mistakes, see: highwater config check"),
    }
    let reader = Reader { now: SystemClock.now(), zone: TimeZone::system() };
    context.show.either(&status_document(&histories), || status_text(&histories, &reader))?;
    Ok(0)
}

/// Adds jobs that no journal knows yet.
fn add_new(histories: &mut Vec<History>, names: impl Iterator<Item = String>) {
    for job in names {
        if !histories.iter().any(|known| known.started == Started::AsJob && known.job == job) {
            histories.push(History::new(job, Started::AsJob));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_listed_once_with_rounds_or_without() {
        let mut histories =
            vec![History::new("a".into(), Started::AsJob), History::new("b".into(), Started::AsCommand)];
        add_new(&mut histories, ["a", "b"].map(String::from).into_iter());
        let listed: Vec<(&str, Started)> = histories.iter().map(|h| (h.job.as_str(), h.started)).collect();
        assert_eq!(listed, [("a", Started::AsJob), ("b", Started::AsCommand), ("b", Started::AsJob)]);
    }
}
