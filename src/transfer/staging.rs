//! Where files are staged on the target: names, what an earlier attempt left, and fencing it.
//!
//! After a cut the old server process may still work through its queue, and a RENAME sent long ago may
//! run at any later time. So before anything else happens, every staged file of ours gets a fresh random
//! name or is removed: a late RENAME then finds nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::record::Record;
use crate::clock::Random;
use crate::error::{Kind, Result};
use crate::id::Token;
use crate::journal::TransferRow;
use crate::path::RelPath;
use crate::tree::{Tree, own};

/// Names for staged files of one agent on one target.
pub(super) struct Staging {
    agent: Token,
    random: Arc<dyn Random>,
    /// It was made just now, so nothing can be in it.
    is_new: bool,
    beside: AtomicBool,
}

impl Staging {
    /// Makes the staging folder. Where that is refused, files are staged beside their targets.
    pub async fn prepare<T: Tree>(target: &T, agent: Token, random: Arc<dyn Random>) -> Result<Self> {
        let folders = [own::folder(), own::stages(), own::stage(&agent)];
        let made = own::make_folders(target, &folders).await;
        let (is_new, beside) = match made {
            Ok(last_is_new) => (last_is_new, false),
            Err(error) if error.kind().ends_round() || error.kind() == Kind::NoSpace => return Err(error),
            Err(error) => {
                tracing::info!("staging beside the targets: {error}");
                (false, true)
            }
        };
        Ok(Self { agent, random, is_new, beside: beside.into() })
    }

    /// A name that nobody had before, for something that will stand at `target`.
    pub fn fresh(&self, target: &RelPath) -> RelPath {
        if self.is_beside() { self.fresh_beside(target) } else { own::staged(&self.agent, &self.token()) }
    }

    /// Whether files are staged beside their targets, where no sweep would find what a crash left.
    pub fn is_beside(&self) -> bool {
        self.beside.load(Ordering::Relaxed)
    }

    /// From now on, stage beside the targets.
    pub fn go_beside(&self) {
        self.beside.store(true, Ordering::Relaxed);
    }

    /// A fresh name in the folder where `old` is: a rename between folders may not be possible.
    fn fresh_like(&self, old: &RelPath, target: &RelPath) -> RelPath {
        let in_staging = old.is_within(&own::folder());
        if in_staging { own::staged(&self.agent, &self.token()) } else { self.fresh_beside(target) }
    }

    /// The same beside its target, for where a rename out of the staging folder fails.
    pub fn fresh_beside(&self, target: &RelPath) -> RelPath {
        own::staged_beside(target, &self.token())
    }

    fn token(&self) -> Token {
        Token::draw(self.random.as_ref())
    }
}

/// What a fence found out about the staged files of earlier attempts.
#[derive(Default)]
pub(super) struct Fenced {
    /// The old and the fresh name of each that may be gone on with.
    pub kept: HashMap<RelPath, RelPath>,
    /// Those that were removed, under the name they had.
    removed: HashSet<RelPath>,
    /// Whether all of them were found.
    is_whole: bool,
}

impl Fenced {
    /// Whether a rename of this staged file may have happened: it was not where it had been staged.
    pub fn may_be_placed(&self, staged: &RelPath) -> bool {
        self.is_whole && !self.kept.contains_key(staged) && !self.removed.contains(staged)
    }
}

/// Fences everything that this agent left staged: what a transfer names gets a fresh name, the rest is
/// removed. Returns what is still there.
pub(super) async fn fence<T: Tree>(
    target: &T,
    staging: &Staging,
    rows: &[TransferRow],
    record: &Record,
) -> Result<Fenced> {
    let mut fenced = Fenced { is_whole: true, ..Fenced::default() };
    for row in rows {
        let (old, fresh) = (&row.staged, staging.fresh_like(&row.staged, &row.path));
        record.rename_staged(row.id, &fresh).await?;
        match target.move_aside(old, &fresh).await {
            Ok(()) => drop(fenced.kept.insert(old.clone(), fresh)),
            Err(error) if error.kind().ends_round() => return Err(error),
            Err(error) => {
                tracing::info!("cannot go on with a staged file: {error}");
                fenced.is_whole &= error.kind() == Kind::NotFound;
            }
        }
    }
    if !staging.is_new {
        sweep(target, staging, &mut fenced).await?;
    }
    Ok(fenced)
}

/// Removes what is in this agent's staging folder and was not kept.
async fn sweep<T: Tree>(target: &T, staging: &Staging, fenced: &mut Fenced) -> Result<()> {
    let folder = own::stage(&staging.agent);
    let listing = match target.list(&folder).await {
        Ok(listing) => listing,
        Err(error) if error.kind().ends_round() => return Err(error),
        Err(error) => {
            fenced.is_whole &= error.kind() == Kind::NotFound;
            return Ok(()); // there is none, or we may not: nothing is staged there from now on
        }
    };
    let stale = listing.entries.iter().map(|entry| folder.join(&entry.name));
    let kept: HashSet<RelPath> = fenced.kept.values().cloned().collect();
    for path in stale.filter(|path| !kept.contains(path)) {
        match target.remove_file(&path).await {
            Ok(()) => drop(fenced.removed.insert(path)),
            Err(error) if error.kind() == Kind::NotFound => {} // a late rename took it at this moment
            Err(error) if error.kind().ends_round() => return Err(error),
            Err(error) => {
                tracing::info!("cannot sweep a staged file: {error}");
                fenced.removed.insert(path); // it is there, so it was not placed
            }
        }
    }
    Ok(())
}
