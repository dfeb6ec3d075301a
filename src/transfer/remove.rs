//! What comes at the end of a round: removals, each proved right before it is done, and the metadata of
//! folders.

use futures_util::future::join_all;

use super::place::holds;
use super::{Engine, Shared, in_batches};
use crate::entry::{Kind, Meta};
use crate::error::{Error, Kind as ErrorKind, Problem, Result};
use crate::journal::Why;
use crate::path::RelPath;
use crate::plan::{Expect, FolderEnd, Removal};
use crate::tree::Tree;

/// Removals under way at once.
const WIDTH: usize = 64;

/// Folders given their times and modes at once.
const FOLDERS: usize = 512;

/// What came of one removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Removed {
    /// It is gone, or in the trash.
    Gone,
    /// It was gone already.
    Absent,
    /// It is not what base knows, or not empty: it stays and is none of ours.
    NotOurs,
    /// The source has it again: it stays and is ours.
    Back,
}

impl<S: Tree, T: Tree> Engine<S, T> {
    /// Removes what is gone at the source. Contents come before their folders, so files and links go
    /// first, many at once, then folders from the deepest up.
    pub async fn remove(&mut self, removals: &[Removal]) -> Result<()> {
        let shared = self.shared().clone();
        let (files, folders): (Vec<&Removal>, Vec<&Removal>) = removals.iter().partition(|r| r.is_delete());
        if !files.is_empty() {
            shared.record.begin_deletes(shared.clock.as_ref()).await?;
            crate::crash::point("delete: counted");
        }
        in_batches(files.into_iter().map(|removal| shared.remove(removal)), WIDTH).await;
        for folder in folders {
            shared.remove(folder).await;
        }
        self.drain().await
    }

    /// Whether a folder stands at this path of the target.
    pub async fn folder_stands(&self, path: &RelPath) -> Result<bool> {
        let there = self.shared().target.stat(path).await?;
        Ok(there.is_some_and(|there| there.kind == Kind::Dir))
    }

    /// Sets the metadata of folders in which nothing changes any more, deepest first.
    pub async fn settle_folders(&mut self, folders: &[FolderEnd]) -> Result<()> {
        let shared = self.shared().clone();
        let due: Vec<&FolderEnd> = folders.iter().filter(|f| f.certain || self.touched(&f.path)).collect();
        // Setting a folder's times changes nothing in the folder above it, so the order is free.
        in_batches(due.iter().map(|folder| shared.settle_folder(folder)), FOLDERS).await;
        let mut opened = std::mem::take(&mut *shared.lock_opened());
        for folder in &due {
            opened.remove(&folder.path);
        }
        in_batches(opened.iter().map(|(path, meta)| shared.close_folder(path, meta)), FOLDERS).await;
        self.drain().await
    }
}

impl<S: Tree, T: Tree> Shared<S, T> {
    async fn remove(&self, removal: &Removal) {
        if self.must_stop() {
            return;
        }
        let result = match self.try_remove(removal).await {
            Ok(Removed::Back) => return,
            Ok(removed) => self.note_removed(removal, removed).await,
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            self.tally.failed(&removal.path, error);
        }
    }

    async fn note_removed(&self, removal: &Removal, removed: Removed) -> Result<()> {
        if removed == Removed::NotOurs && removal.in_the_way {
            // Its row stays: until the folder is empty the next rounds find it in the way as well.
            self.tally.problem(Problem::new(
                removal.path.clone(),
                "remove the folder",
                "folder-in-the-way",
                "things that are none of ours are in it, so what replaced it at the source cannot take its place",
            ));
            return Ok(());
        }
        if removed == Removed::Absent {
            self.touch(&removal.path); // an attempt that was cut may have removed it
        }
        let counts = removed == Removed::Gone && removal.is_delete();
        crate::crash::point("delete: done");
        self.record.removed(&removal.path, counts).await?;
        crate::crash::point("delete: recorded");
        match removed {
            Removed::Gone if removal.is_delete() => {
                tracing::info!("deleted {}", removal.path);
                self.tally.count(|c| c.deleted += 1);
            }
            Removed::NotOurs => {
                self.tally.count(|c| c.foreign += 1);
                if removal.is_delete() {
                    self.tally.problem(Problem::new(
                        removal.path.clone(),
                        "delete",
                        "changed-at-target",
                        "it was changed at the target after the last round, so it is kept there",
                    ));
                }
            }
            Removed::Gone | Removed::Absent | Removed::Back => {}
        }
        Ok(())
    }

    async fn try_remove(&self, removal: &Removal) -> Result<Removed> {
        if !self.is_gone_at_source(removal).await? {
            return Ok(Removed::Back);
        }
        let Some(there) = self.target.stat(&removal.path).await? else {
            return Ok(Removed::Absent);
        };
        if there.kind != removal.target.kind || !holds(&Expect::Replace(removal.target), Some(&there)) {
            return Ok(Removed::NotOurs);
        }
        if let Some(known) = removal.prove
            && self.hash_of(self.target.as_ref(), &removal.path, &there).await? != Some(known)
        {
            return Ok(Removed::NotOurs);
        }
        crate::crash::point("delete: proved");
        if there.kind == Kind::Dir {
            return self.remove_folder(&removal.path).await;
        }
        let is_kept = self.retire(&removal.path, &there, Why::Deleted).await?.is_some();
        let is_gone = is_kept || self.do_away(&removal.path, &there).await?;
        Ok(if is_gone { Removed::Gone } else { Removed::NotOurs })
    }

    async fn remove_folder(&self, path: &RelPath) -> Result<Removed> {
        self.record.begin_changes().await?;
        match self.let_in(path, || self.target.remove_dir(path)).await {
            Ok(()) => {
                crate::crash::point("delete: folder removed");
                self.touch(path);
                Ok(Removed::Gone)
            }
            Err(error) if error.kind() == ErrorKind::NotEmpty => Ok(Removed::NotOurs),
            Err(error) => Err(error),
        }
    }

    /// Absence from a listing proves nothing: the side must say that this very name does not exist, in
    /// a folder that it shows, or in one that does not exist either. Looked at from the root down: what is
    /// seen through a link that took a folder's place does not stand at this path. Of what is neither file nor
    /// link nor folder, such as a folder whose type a server leaves out, it proves nothing: what is asked for
    /// below it decides.
    async fn is_gone_at_source(&self, removal: &Removal) -> Result<bool> {
        let path = Some(removal.path.clone());
        let mut chain: Vec<RelPath> = std::iter::successors(path, RelPath::parent).collect();
        chain.reverse();
        let looks = join_all(chain.iter().map(|path| self.source.stat(path))).await;
        let mut looks = looks.into_iter();
        let Some(_) = looks.next().transpose()?.flatten() else {
            return Err(Error::new(ErrorKind::Halt, "find", "the source's root")
                .detail("it vanished while deletes were being proved; nothing more is deleted"));
        };
        let mut chain = chain.iter().skip(1).peekable();
        while let (Some(_), Some(look)) = (chain.next(), looks.next()) {
            let is_folder = chain.peek().is_some() || removal.in_the_way;
            match look? {
                None => return Ok(true),
                Some(stat) if is_folder && matches!(stat.kind, Kind::File | Kind::Link) => return Ok(true),
                Some(_) => {}
            }
        }
        Ok(false)
    }

    async fn settle_folder(&self, folder: &FolderEnd) {
        let result = self.try_settle_folder(folder).await;
        if let Err(error) = result {
            self.tally.failed(&folder.path, error);
        }
    }

    /// Gives a folder that was opened its own metadata back, where nothing else gives it new ones.
    async fn close_folder(&self, path: &RelPath, meta: &Meta) {
        match self.target.set_meta(path, Kind::Dir, meta).await {
            Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Stale) => {
                self.tally.failed(path, error);
            }
            _ => {} // closed, or gone meanwhile
        }
    }

    async fn try_settle_folder(&self, folder: &FolderEnd) -> Result<()> {
        if self.must_stop() {
            return Ok(());
        }
        match self.target.set_meta(&folder.path, Kind::Dir, &Meta::from(&folder.source)).await {
            Ok(target) => {
                crate::crash::point("folder: metadata set");
                self.record.folder(&folder.path, folder.source, target, false).await
            }
            // Gone or replaced meanwhile, or never made: that was reported where it was met.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Stale) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
