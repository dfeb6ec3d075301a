//! The trash: where deletes and displacements go instead of away. A rename on the target side, so it
//! costs no content, and a plain rename brings a thing back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::OnceCell;

use super::place::holds;
use super::record::Record;
use super::{Shared, in_batches};
use crate::entry::{Kind, Stat};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::id::Token;
use crate::journal::Why;
use crate::path::RelPath;
use crate::plan::Expect;
use crate::tree::{Tree, own};

/// Folders closed at once.
const WIDTH: usize = 64;

/// The trash of one round.
pub(super) struct Trash {
    /// The name of the round's folder; `None`: nothing is kept.
    round: Option<String>,
    /// Where this attempt puts what is not kept, before it is removed; `None`: there is no such place.
    bin: OnceCell<Option<RelPath>>,
    /// Its folders: each is made once, by whoever needs it first.
    folders: Mutex<HashMap<RelPath, Folder>>,
}

/// What came of removing something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Away {
    Gone,
    /// Somebody had changed it. It is back.
    Changed,
    /// There is nowhere to put it before.
    Impossible,
}

/// Set once the folder is there.
type Folder = Arc<OnceCell<()>>;

impl Trash {
    pub fn new(round: Option<String>) -> Self {
        Self { round, bin: OnceCell::new(), folders: Mutex::default() }
    }

    fn folder(&self, path: &RelPath) -> Folder {
        let mut folders = self.folders.lock().unwrap_or_else(|e| e.into_inner());
        folders.entry(path.clone()).or_default().clone()
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
        if let Ok(place) = &place {
            self.touch(place);
        }
        place.map(Some).map_err(|e| self.held(path, e))
    }

    async fn retire_to(&self, round: &str, path: &RelPath, old: &Stat, why: Why) -> Result<RelPath> {
        let place = own::trash_of(round).join_path(path);
        self.record.begin_changes().await?;
        self.make_trash_for(&place).await?;
        self.record.trashed(round, path, why, old.size, self.clock.as_ref()).await?;
        crate::crash::point("trash: noted");
        match self.let_in(path, || self.target.move_aside(path, &place)).await {
            Ok(()) => {
                crate::crash::point("trash: moved");
                Ok(place)
            }
            Err(error) => {
                // What stands there already has that record.
                if !error.kind().loses_connection() && error.kind() != ErrorKind::Exists {
                    self.record.not_trashed(round, path).await?;
                }
                Err(error)
            }
        }
    }

    /// Removes a file or link for good. `false`: it is not what `old` was any more, and stays.
    pub(super) async fn do_away(&self, path: &RelPath, old: &Stat) -> Result<bool> {
        self.record.begin_changes().await?;
        let away = self.put_away(path, old).await?;
        if away == Away::Impossible {
            self.let_in(path, || self.target.remove_file(path)).await?;
        }
        self.touch(path);
        Ok(away != Away::Changed)
    }

    /// A REMOVE that was cut off may run when something new stands at that path. So it goes by a name that
    /// nothing else ever has, in a folder that the next attempt takes away. There it is looked at once more: what
    /// somebody put in its place in the last moment goes back.
    async fn put_away(&self, path: &RelPath, old: &Stat) -> Result<Away> {
        let Some(bin) = self.bin().await? else { return Ok(Away::Impossible) };
        let place = bin.join_path(&own::nameless(&Token::draw(self.random.as_ref())));
        match self.let_in(path, || self.target.move_aside(path, &place)).await {
            Ok(()) => crate::crash::point("bin: moved"),
            Err(error) if error.kind().ends_round() || error.kind() == ErrorKind::NotFound => {
                return Err(error);
            }
            Err(_) => return Ok(Away::Impossible), // another file system, perhaps
        }
        let there = self.target.stat(&place).await?;
        if there.is_some_and(|there| !holds(&Expect::Replace(*old), Some(&there))) {
            return self.put_back(&place, path).await.map(|()| Away::Changed);
        }
        match self.target.remove_file(&place).await {
            Err(error) if error.kind().ends_round() => return Err(error),
            Err(error) => tracing::info!("leaving it to the next sweep: {error}"),
            Ok(()) => crate::crash::point("bin: removed"),
        }
        Ok(Away::Gone)
    }

    /// Back where it was, or, if something stands there again, where nothing is swept.
    async fn put_back(&self, place: &RelPath, path: &RelPath) -> Result<()> {
        match self.let_in(path, || self.target.move_aside(place, path)).await {
            Err(error) if !error.kind().ends_round() => {
                let kept = format!("kept-{}", Token::draw(self.random.as_ref()));
                let kept = own::trash_of(&kept).join_path(path);
                self.make_trash_for(&kept).await?;
                self.target.move_aside(place, &kept).await?;
                Err(Error::new(error.kind(), "leave where it is", path)
                    .detail(format!("it was changed in the last moment, and is at {kept} now"))
                    .because(error))
            }
            outcome => outcome,
        }
    }

    async fn bin(&self) -> Result<Option<&RelPath>> {
        let make = || async {
            if !self.target.traits().is_far || self.staging.is_beside() {
                return Ok(None); // what this machine was asked for is done or not when we are gone
            }
            let folder = self.staging.fresh_inside();
            match self.target.make_dir(&folder, 0o700).await {
                Ok(()) => {
                    crate::crash::point("bin: made");
                    Ok(Some(folder))
                }
                Err(error) if error.kind().ends_round() => Err(error),
                Err(_) => Ok(None),
            }
        };
        self.trash.bin.get_or_try_init(make).await.map(Option::as_ref)
    }

    async fn make_trash_for(&self, place: &RelPath) -> Result<()> {
        let folders = std::iter::successors(place.parent(), RelPath::parent).filter(|f| !f.is_root());
        let made = |folder: &RelPath| self.trash.folder(folder).initialized();
        let mut missing: Vec<RelPath> = folders.take_while(|folder| !made(folder)).collect();
        missing.reverse();
        for folder in missing {
            self.trash.folder(&folder).get_or_try_init(|| self.make_trash_folder(&folder)).await?;
        }
        Ok(())
    }

    async fn make_trash_folder(&self, folder: &RelPath) -> Result<()> {
        match self.target.make_dir(folder, 0o700).await {
            Err(error) if error.kind() == ErrorKind::Exists => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                crate::crash::point("trash: folder made");
                self.touch(folder);
                Ok(())
            }
        }
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

/// What the names of folders end in into which nothing goes any more.
const CLOSED: &str = "-kept";

/// Whether nothing goes into this folder any more.
pub(super) fn is_closed(round: &str) -> bool {
    round.ends_with(CLOSED)
}

/// Gives each folder in the trash that an attempt which was cut off may have moved things into another
/// name: a rename that runs late finds no folder, and leaves what stands at its path by now.
pub(super) async fn fence_trash<T: Tree>(target: &T, record: &Record) -> Result<()> {
    let open = record.open_trash().await?;
    let closed = in_batches(open.iter().map(|round| close(target, record, round)), WIDTH).await;
    closed.into_iter().collect()
}

async fn close<T: Tree>(target: &T, record: &Record, round: &str) -> Result<()> {
    let now = format!("{round}{CLOSED}");
    let is_there = match target.move_aside(&own::trash_of(round), &own::trash_of(&now)).await {
        Ok(()) => true,
        Err(error) if error.kind().ends_round() => return Err(error),
        // A fence that was cut off may have done it.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            target.stat(&own::trash_of(&now)).await?.is_some()
        }
        Err(error) => {
            tracing::info!("cannot close a folder in the trash: {error}");
            false
        }
    };
    crate::crash::point("trash: fence moved");
    if is_there { record.trash_renamed(round, &now).await } else { Ok(()) }
}
