//! What goes for good after its time: rounds in the trash, and staging folders of agents that are no more.

use std::time::Duration;

use super::{Dial, Round};
use crate::entry::{Kind, Time};
use crate::error::{Error, Kind as ErrorKind, Problem, Result};
use crate::path::RelPath;
use crate::tree::{Tree, own};

/// A stranger's staging folder is left alone for so long after it last changed.
const STRANGERS_DAYS: u64 = 30;

const DAY: Duration = Duration::from_secs(24 * 3600);

impl<D: Dial> Round<D> {
    /// Sweeps the target. What cannot be swept is a problem and waits for the next round.
    pub(super) async fn sweep<T: Tree>(&self, target: &T) -> Result<()> {
        let journal = &self.context.journal;
        let kept = self.spec.trash.unwrap_or_default();
        let now = self.context.clock.now();
        let mut swept = false;
        for sum in journal.trash_rounds(self.context.job).await? {
            if is_older(sum.newest, now, kept) {
                let place = own::trash_of(&sum.round);
                if self.swept(&place, remove_tree(target, &place).await)? {
                    journal.forget_trash(self.context.job, &sum.round).await?;
                }
                swept = true;
            }
        }
        if swept { self.sweep_strangers(target, now).await } else { Ok(()) }
    }

    /// Removes staging folders of other agents that have not changed for long.
    async fn sweep_strangers<T: Tree>(&self, target: &T, now: Time) -> Result<()> {
        let listing = match target.list(&own::stages()).await {
            Ok(listing) => listing,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return self.swept(&own::stages(), Err(error)).map(drop),
        };
        let age = DAY * u32::try_from(STRANGERS_DAYS).unwrap_or(u32::MAX);
        for entry in listing.entries {
            let place = own::stages().join(&entry.name);
            let is_ours = place == own::stage(&self.agent);
            if !is_ours && entry.stat.kind == Kind::Dir && is_older(entry.stat.mtime, now, age) {
                self.swept(&place, remove_tree(target, &place).await)?;
            }
        }
        Ok(())
    }

    fn swept(&self, place: &RelPath, result: Result<()>) -> Result<bool> {
        match result {
            Ok(()) => Ok(true),
            Err(error) if error.kind().ends_round() => Err(error),
            Err(error) => {
                let error = Error::new(error.kind(), "sweep", place).because(error);
                self.tally.problem(Problem::from_error(place.clone(), &error));
                Ok(false)
            }
        }
    }
}

fn is_older(then: Time, now: Time, age: Duration) -> bool {
    let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
    now.secs.saturating_sub(then.secs) >= age
}

/// Removes a folder of ours with all that is in it, following no link.
async fn remove_tree<T: Tree>(tree: &T, folder: &RelPath) -> Result<()> {
    let listing = match tree.list(folder).await {
        Ok(listing) => listing,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in &listing.entries {
        let path = folder.join(&entry.name);
        match entry.stat.kind {
            Kind::Dir => Box::pin(remove_tree(tree, &path)).await?,
            Kind::File | Kind::Link | Kind::Other => tree.remove_file(&path).await?,
        }
    }
    tree.remove_dir(folder).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_counted_in_whole_seconds_and_a_clock_set_back_makes_nothing_old() {
        let check = |then, now, age_secs, expected| {
            let age = Duration::from_secs(age_secs);
            assert_eq!(is_older(Time::from_secs(then), Time::from_secs(now), age), expected);
        };
        check(100, 109, 10, false);
        check(100, 110, 10, true);
        check(100, 50, 10, false);
        check(100, 50, 0, false);
        check(100, 100, 0, true);
    }
}
