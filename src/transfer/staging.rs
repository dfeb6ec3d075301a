//! Where files are staged on the target: names, what an earlier attempt left, and fencing it.
//!
//! After a cut the old server process may still work through its queue, and a RENAME sent long ago may
//! run at any later time. So before anything else happens, every staged file of ours gets a fresh random
//! name or is removed: a late RENAME then finds nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::in_batches;
use super::record::Record;
use crate::clock::Random;
use crate::entry::{Kind as EntryKind, Listing};
use crate::error::{Kind, Result};
use crate::id::Token;
use crate::journal::TransferRow;
use crate::path::RelPath;
use crate::tree::{Tree, own};

/// Files fenced or removed at once.
const WIDTH: usize = 64;

/// Names for staged files of one agent on one target.
pub(super) struct Staging {
    agent: Token,
    random: Arc<dyn Random>,
    /// What an earlier attempt left in it; `None`: that cannot be told.
    left: Option<Listing>,
    beside: AtomicBool,
}

/// Looks into the staging folder of `agent`. `None`: there is none.
pub async fn look<T: Tree>(target: &T, agent: &Token) -> Result<Option<Listing>> {
    match target.list(&own::stage(agent)).await {
        Ok(listing) => Ok(Some(listing)),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Staging {
    /// Makes the staging folder, if `looked`, a [`look`] into it, did not find it. Where that is refused, files
    /// are staged beside their targets.
    pub async fn prepare<T: Tree>(
        target: &T,
        agent: Token,
        random: Arc<dyn Random>,
        looked: Result<Option<Listing>>,
    ) -> Result<Self> {
        let unseen = match looked {
            Ok(Some(left)) => return Ok(Self { agent, random, left: Some(left), beside: false.into() }),
            Err(error) if error.kind().ends_round() => return Err(error),
            Ok(None) => Some(Listing::default()),
            Err(_) => None,
        };
        let (left, beside) = match own::make_folders(target, &own::staging_folders(&agent)).await {
            Ok(true) => (Some(Listing::default()), false),
            Ok(false) => match look(target, &agent).await {
                Err(error) if error.kind().ends_round() => return Err(error),
                looked => (looked.ok().flatten(), false),
            },
            Err(error) if error.kind().ends_round() || error.kind() == Kind::NoSpace => return Err(error),
            Err(error) => {
                tracing::info!("staging beside the targets: {error}");
                (unseen, true)
            }
        };
        Ok(Self { agent, random, left, beside: beside.into() })
    }

    /// The staging folder as an earlier engine of this connection made it and left it empty.
    pub fn prepared(agent: Token, random: Arc<dyn Random>) -> Self {
        Self { agent, random, left: Some(Listing::default()), beside: false.into() }
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

    /// A fresh name in the staging folder.
    pub fn fresh_inside(&self) -> RelPath {
        own::staged(&self.agent, &self.token())
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
    /// Those that may be gone on with, as they are now, by the name they had.
    pub kept: HashMap<RelPath, TransferRow>,
    /// Those that were removed, under the name they had.
    removed: HashSet<RelPath>,
    /// Whether something is amiss with one of them, so that nothing is known of any.
    is_partial: bool,
}

impl Fenced {
    /// Whether a rename of this staged file may have happened: it was not where it had been staged.
    pub fn may_be_placed(&self, staged: &RelPath) -> bool {
        !self.is_partial && !self.kept.contains_key(staged) && !self.removed.contains(staged)
    }

    fn add(&mut self, other: Self) {
        self.kept.extend(other.kept);
        self.removed.extend(other.removed);
        self.is_partial |= other.is_partial;
    }
}

/// Fences everything that this agent left staged: what a transfer names gets a fresh name, the rest is
/// removed. Returns what is still there. `rows` are in order of path and number.
pub(super) async fn fence<T: Tree>(
    target: &T,
    staging: &Staging,
    rows: &[TransferRow],
    record: &Record,
) -> Result<Fenced> {
    let mut fenced = Fenced::default();
    let of_paths = rows.chunk_by(|a, b| a.path == b.path);
    let each = of_paths.map(|rows| fence_path(target, staging, rows, record));
    for one in in_batches(each, WIDTH).await {
        fenced.add(one?);
    }
    match &staging.left {
        Some(left) => {
            sweep(target, staging, left, rows, &mut fenced).await?;
            // Whoever left something may have a process over there that works on: what it made since the look.
            if !left.entries.is_empty() || !rows.is_empty() {
                match look(target, &staging.agent).await {
                    Ok(more) => sweep(target, staging, &more.unwrap_or_default(), rows, &mut fenced).await?,
                    Err(error) if error.kind().ends_round() => return Err(error),
                    Err(error) => tracing::info!("cannot look into the staging folder again: {error}"),
                }
            }
        }
        None => fenced.is_partial = true,
    }
    Ok(fenced)
}

/// Fences what is staged for one path, the older before the newer: a fence that was cut off left two names
/// for one file, and may still move it from the first to the second.
async fn fence_path<T: Tree>(
    target: &T,
    staging: &Staging,
    rows: &[TransferRow],
    record: &Record,
) -> Result<Fenced> {
    let mut fenced = Fenced::default();
    let mut gone = Vec::new();
    for row in rows {
        let fresh = staging.fresh_like(&row.staged, &row.path);
        let id = record.fork_transfer(row.id, &fresh).await?;
        crate::crash::point("fence: new name noted");
        match target.move_aside(&row.staged, &fresh).await {
            Ok(()) => {
                crate::crash::point("fence: moved");
                record.end_transfer(row.id).await?;
                crate::crash::point("fence: old name forgotten");
                fenced.kept.insert(row.staged.clone(), TransferRow { id, staged: fresh, ..row.clone() });
            }
            Err(error) if error.kind().ends_round() => return Err(error),
            Err(error) if error.kind() == Kind::NotFound => {
                record.end_transfer(row.id).await?;
                record.end_transfer(id).await?;
                gone.push(row.staged.clone());
            }
            Err(error) => {
                tracing::info!("cannot go on with a staged file: {error}");
                record.end_transfer(id).await?;
                fenced.is_partial |= !drop_staged(target, row, record).await?;
                fenced.removed.insert(row.staged.clone());
            }
        }
    }
    if !fenced.kept.is_empty() {
        fenced.removed.extend(gone); // moved on by an earlier fence, not placed
    }
    Ok(fenced)
}

/// Removes a staged file that is of no use. `false`: that cannot be done now, and its row stays, so that it
/// is tried again.
pub(super) async fn drop_staged<T: Tree>(target: &T, row: &TransferRow, record: &Record) -> Result<bool> {
    match target.remove_file(&row.staged).await {
        Err(error) if error.kind().ends_round() => Err(error),
        Err(error) if error.kind() != Kind::NotFound => {
            tracing::info!("cannot remove a staged file: {error}");
            Ok(false)
        }
        _ => record.end_transfer(row.id).await.map(|()| true),
    }
}

/// Removes what was left in this agent's staging folder and no transfer names. What an old server process
/// makes there after the look has no name yet that a rename could know.
async fn sweep<T: Tree>(
    target: &T,
    staging: &Staging,
    left: &Listing,
    rows: &[TransferRow],
    fenced: &mut Fenced,
) -> Result<()> {
    let folder = own::stage(&staging.agent);
    let kept: HashSet<RelPath> = fenced.kept.values().map(|row| row.staged.clone()).collect();
    let known: HashSet<&RelPath> = rows.iter().map(|row| &row.staged).chain(&kept).collect();
    let found = left.entries.iter().map(|entry| (folder.join(&entry.name), entry.stat.kind));
    let stale = found.filter(|(path, _)| !known.contains(path));
    let swept = stale.map(async |(path, kind)| {
        let result = match kind {
            EntryKind::Dir => sweep_bin(target, &path, &staging.fresh_inside()).await,
            _ => target.remove_file(&path).await,
        };
        (path, result)
    });
    for (path, result) in in_batches(swept, WIDTH).await {
        match result {
            Ok(()) => {
                crate::crash::point("fence: swept");
                fenced.removed.insert(path);
            }
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

/// Removes the folder in which an attempt put what it removed, under a fresh name: a late rename into it
/// finds no folder.
async fn sweep_bin<T: Tree>(target: &T, bin: &RelPath, fresh: &RelPath) -> Result<()> {
    target.move_aside(bin, fresh).await?;
    let listing = target.list(fresh).await?;
    let files = listing.entries.iter().chain(&listing.own).map(|entry| fresh.join(&entry.name));
    for removed in in_batches(files.map(async |file| target.remove_file(&file).await), WIDTH).await {
        removed?;
    }
    target.remove_dir(fresh).await
}
