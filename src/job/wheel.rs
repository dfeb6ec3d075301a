//! The part of an attempt that is the same whichever way it carries: what comes after everything else.

use std::sync::atomic::Ordering;

use super::{Dial, Round};
use crate::error::Result;
use crate::plan::{Ending, Sight};
use crate::transfer::Engine;
use crate::tree::Tree;

/// What an attempt came to at the target.
pub(super) struct Closing {
    /// Why removals are held.
    pub held: Option<String>,
    /// Whether another pass is needed for what this one could not hold back.
    pub again: bool,
}

impl<D: Dial> Round<D> {
    /// Carries out what had to wait until everything else was done: removals, what waited for them,
    /// folders' metadata, durability.
    pub(super) async fn close<S: Tree, T: Tree>(
        &self,
        engine: &mut Engine<S, T>,
        ending: Ending,
    ) -> Result<Closing> {
        engine.drain().await?;
        engine.drop_unfinished().await?;
        let held = self.guard_deletes(ending.deletes()).await?;
        match &held {
            Some(_) => self.tally.count(|c| c.held += ending.deletes()),
            None => {
                if ending.deletes() > 0 {
                    self.use_acceptance().await?;
                }
                self.remove(engine, &ending).await?;
            }
        }
        engine.settle_folders(&ending.folders).await?;
        engine.sync_folders().await?;
        self.context.journal.flush().await?;
        self.count(&ending);
        let again = held.is_none() && self.is_progress(ending.postponed);
        Ok(Closing { again, held })
    }

    /// Whether another pass makes sense: something was postponed, and less than by the pass before.
    fn is_progress(&self, postponed: u64) -> bool {
        postponed > 0 && postponed < self.postponed.swap(postponed, Ordering::Relaxed)
    }

    async fn remove<S: Tree, T: Tree>(&self, engine: &mut Engine<S, T>, ending: &Ending) -> Result<()> {
        engine.remove(&ending.removals).await?;
        for action in &ending.after_removals {
            if engine.folder_stands(action.path()).await? {
                continue; // reported when it could not be removed
            }
            let sight = Sight {
                path: action.path().clone(),
                base: None,
                source: crate::plan::Seen::Absent,
                target: crate::plan::Seen::NotLooked,
            };
            engine.submit(&sight, action.clone()).await?;
        }
        engine.drain().await
    }

    /// What needed nothing, as the last pass saw it.
    pub(super) fn count(&self, ending: &Ending) {
        for problem in &ending.problems {
            self.tally.problem(problem.clone());
        }
        self.tally.count(|c| {
            c.unchanged = ending.tally.unchanged;
            c.foreign += ending.tally.foreign.total(); // to those met while removing
        });
    }
}
