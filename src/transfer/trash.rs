//! The trash: where deletes and displacements go instead of away. A rename on the target side, so it
//! costs no content, and a plain rename brings a thing back.

use std::collections::HashSet;

use tokio::sync::Mutex;

use super::Shared;
use crate::entry::{Kind, Stat};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::id::Token;
use crate::journal::Why;
use crate::path::RelPath;
use crate::tree::{Tree, own};

/// The trash of one round.
pub(super) struct Trash {
    /// The name of the round's folder; `None`: nothing is kept.
    round: Option<String>,
    /// Folders that are there already. Held while one is made, so that nobody makes it twice.
    made: Mutex<HashSet<RelPath>>,
}

impl Trash {
    pub fn new(round: Option<String>) -> Self {
        Self { round, made: Mutex::default() }
    }
}

impl<S: Tree, T: Tree> Shared<S, T> {
    /// Whether what is removed is kept for a while.
    pub(super) fn keeps_trash(&self) -> bool {
        self.trash.round.is_some()
    }

    /// Moves what stands at `path` into the trash and returns where it is now. `None`: trash is off and
    /// what stands there may simply be replaced; a folder never may.
    pub(super) async fn retire(&self, path: &RelPath, old: &Stat, why: Why) -> Result<Option<RelPath>> {
        let Some(round) = &self.trash.round else {
            if old.kind != Kind::Dir {
                return Ok(None);
            }
            return Err(Error::new(ErrorKind::Exists, "replace the folder at", path)
                .detail("trash is off, and a folder is never removed with what is in it")
                .hint("Move it away by hand, or give the job a trash."));
        };
        let first = self.retire_to(round, path, old, why).await;
        let place = match first {
            Err(error) if error.kind() == ErrorKind::Exists => {
                // The second thing of one round at one path lies in a folder of its own.
                let again = format!("{round}-{}", Token::draw(self.random.as_ref()));
                self.retire_to(&again, path, old, why).await
            }
            first => first,
        };
        self.touch(path);
        place.map(Some).map_err(|e| self.held(path, e))
    }

    async fn retire_to(&self, round: &str, path: &RelPath, old: &Stat, why: Why) -> Result<RelPath> {
        let place = own::trash_of(round).join_path(path);
        self.make_trash_for(&place).await?;
        self.record.trashed(round, path, why, old.size, self.clock.as_ref()).await?;
        match self.let_in(path, || self.target.move_aside(path, &place)).await {
            Ok(()) => Ok(place),
            Err(error) => {
                // What stands there already has that record.
                if !error.kind().loses_connection() && error.kind() != ErrorKind::Exists {
                    self.record.not_trashed(round, path).await?;
                }
                Err(error)
            }
        }
    }

    async fn make_trash_for(&self, place: &RelPath) -> Result<()> {
        let Some(folder) = place.parent() else { return Ok(()) };
        let mut made = self.trash.made.lock().await;
        let mut missing = Vec::new();
        let mut next = Some(folder);
        while let Some(folder) = next.filter(|f| !f.is_root() && !made.contains(f)) {
            next = folder.parent();
            missing.push(folder);
        }
        for folder in missing.into_iter().rev() {
            match self.target.make_dir(&folder, 0o700).await {
                Err(error) if error.kind() != ErrorKind::Exists => return Err(error),
                _ => drop(made.insert(folder)),
            }
        }
        Ok(())
    }

    /// Without a trash nothing makes way: what stands there is kept where it is, until a person sees to it.
    fn held(&self, path: &RelPath, error: Error) -> Error {
        if error.kind().ends_round() || error.kind() == ErrorKind::NotFound {
            return error;
        }
        self.tally.count(|c| c.held += 1);
        Error::new(error.kind(), "move to the trash", path)
            .detail("it stays where it is, since it cannot be kept in the trash")
            .hint("Make .highwater/trash writable on that side, or make room there.")
            .because(error)
    }
}
