//! What is checked before anything is done that the next round could not undo.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Dial, Near, Round};
use crate::entry::Time;
use crate::error::{Error, Kind, Result};
use crate::journal::RootIdentity;
use crate::path::RelPath;
use crate::plan::guard::{self, RootLook, RootVerdict, Verdict, check_deletes, check_root};
use crate::tree::Tree;

/// Deletes count over so long.
const WINDOW: Duration = Duration::from_secs(24 * 3600);

/// So many names of a root's top level are looked for.
const TOP_NAMES: usize = 1_000;

impl<D: Dial> Round<D> {
    /// Why `asked` deletes are held; `None`: they may go.
    pub(super) async fn guard_deletes(&self, asked: u64) -> Result<Option<String>> {
        if asked == 0 {
            return Ok(None);
        }
        let (already, largest) = self.deletes_so_far().await?;
        let accepted = self.spec.accept
            || self.accepts_deletes.load(Ordering::Relaxed)
            || self.state().await?.accept_deletes;
        match check_deletes(already, asked, largest, &self.spec.limits, accepted, &self.spec.accept_deletes) {
            Verdict::Held { message, .. } => Ok(Some(message)),
            Verdict::Go => Ok(None),
        }
    }

    /// Deletes are about to go: what a person accepted is used up by this round, however it ends.
    pub(super) async fn use_acceptance(&self) -> Result<()> {
        if self.state().await?.accept_deletes {
            self.accepts_deletes.store(true, Ordering::Relaxed);
            let (journal, job) = (&self.context.journal, self.context.job);
            journal.update_job_state(job, |state| state.accept_deletes = false).await?;
        }
        Ok(())
    }

    /// Deletes in the window, and the largest base in it.
    async fn deletes_so_far(&self) -> Result<(u64, u64)> {
        let (journal, job) = (&self.context.journal, self.context.job);
        let window = i64::try_from(WINDOW.as_secs()).unwrap_or(i64::MAX);
        let since = Time { secs: self.context.clock.now().secs - window, nanos: 0 };
        let (already, largest) = journal.deletes_since(job, since).await?;
        let base = journal.base_count(job).await?;
        Ok((already, largest.max(base)))
    }

    /// Whether a root that could be opened holds what base remembers at its top.
    pub(super) async fn guard_root<T: Tree>(
        &self,
        tree: &T,
        root: &str,
        before: Option<RootIdentity>,
        now: Option<RootIdentity>,
    ) -> Result<()> {
        let (journal, job) = (&self.context.journal, self.context.job);
        let names = journal.base_children(job, &RelPath::root(), None, TOP_NAMES).await?;
        let mut present = 0;
        for row in &names {
            present += u64::from(tree.stat(&row.path).await?.is_some());
            if present * 2 >= names.len() as u64 {
                break; // enough for every verdict
            }
        }
        let look = RootLook {
            before: before.map(plain),
            now: now.map(plain),
            remembered: names.len() as u64,
            present,
        };
        match check_root(root, &look) {
            RootVerdict::Halt { why } if !self.accepts_roots() => Err(self.halt(root, why)),
            RootVerdict::Halt { .. } | RootVerdict::Same => Ok(()),
        }
    }

    /// Whether a person said that the roots are meant as they are. Before the first round nobody did, and
    /// there is nothing to lose.
    pub(super) fn accepts_roots(&self) -> bool {
        self.accepts_roots.load(Ordering::Relaxed)
    }

    /// Whether the near root's path still leads to the folder that was looked at.
    pub(super) fn guard_place(&self, near: &D::Near) -> Result<()> {
        if near.is_in_place()? {
            return Ok(());
        }
        let why = "another folder or a mount took its place during the round; nothing was deleted".to_owned();
        Err(self.halt(&self.spec.local.to_string(), why))
    }

    /// A halt, with the way out.
    pub(super) fn halt(&self, root: &str, why: String) -> Error {
        Error::new(Kind::Halt, "go on with", root).detail(why).hint(self.spec.go_on_hint())
    }
}

fn plain(identity: RootIdentity) -> guard::RootIdentity {
    guard::RootIdentity { device: identity.device, inode: identity.inode }
}
