//! The last steps of everything that gets a name: is the target still what the plan saw, what makes
//! way, the intent, the rename, the record.

use futures_util::future::join;

use super::Shared;
use super::record::Placing;
use crate::entry::{Kind, Meta, Sameness, Stat, same_content};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::journal::Why;
use crate::path::RelPath;
use crate::plan::Expect;
use crate::tree::{Blind, Tree, own};

/// What came of one attempt at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is done and recorded.
    Done,
    /// The target is not what was expected; this stands there.
    Stale(Option<Stat>),
    /// The target renames nothing out of the staging folder: once more, staged beside its target.
    Beside,
    /// The source is something else by now.
    SourceIs(Option<Stat>),
    /// The answer to a comparison.
    Equal(bool),
    /// The answer to whether the source's content is what base remembers.
    SourceIsBase(bool),
    /// The same for the target.
    TargetIsBase(bool),
}

/// What is known of a target before something is placed there.
#[derive(Debug, Clone, Copy)]
pub(super) enum Look {
    /// Nobody has looked.
    Not,
    /// This was there.
    Saw(Option<Stat>),
}

/// Whether what stands at the target is what was expected. Nothing at all never stands in the way.
pub(super) fn holds(expect: &Expect, there: Option<&Stat>) -> bool {
    match (expect, there) {
        (_, None) => true,
        (Expect::Absent | Expect::Unknown, Some(_)) => false,
        (Expect::Replace(seen) | Expect::Retire(seen) | Expect::Displace(seen), Some(now)) => {
            same_content(now, seen) == Sameness::Same
        }
    }
}

impl<S: Tree, T: Tree> Shared<S, T> {
    /// Places something staged and finished. `Ok(Stale)` leaves the staged file where it is.
    pub(super) async fn place(&self, placing: Placing, expect: &Expect, look: Look) -> Result<Fate> {
        let waits = !self.check.has_passed();
        self.checked().await?;
        self.pass_gate(&placing.path).await?;
        let is_in_new = self.gates.is_in_new(&placing.path);
        let is_blind = placing.kind == Kind::File && self.goes_blindly(expect, is_in_new);
        let there = match look {
            _ if is_blind => None,
            Look::Saw(there) if !waits => there,
            // There was none, or it was before that, and much may have come meanwhile.
            _ => self.look_at_target(&placing.path).await?,
        };
        if !holds(expect, there.as_ref()) {
            return Ok(Fate::Stale(there));
        }
        if there.is_some() {
            Box::pin(self.make_way(&placing.path, expect)).await?;
            crate::crash::point("place: way made");
        }
        self.will_place();
        self.record.intend(&placing).await?;
        crate::crash::point("place: intended");
        let (staged, path, finished) = (&placing.staged, &placing.path, &placing.finished);
        // Without a trash nothing makes way.
        let is_free = there.is_none() || (!matches!(expect, Expect::Replace(_)) && self.keeps_trash());
        let placed = if is_free {
            self.let_in(path, || self.target.place_onto_nothing(staged, path, finished, !is_blind)).await
        } else {
            self.let_in(path, || self.target.place(staged, path, finished)).await
        };
        let placed = match placed {
            Ok(stat) => stat,
            Err(error) => {
                Box::pin(self.give_up_intent(&placing, &error)).await?;
                if error.kind() == ErrorKind::Exists && is_free {
                    return Box::pin(self.look_at_target(path)).await.map(Fate::Stale);
                }
                return if Box::pin(self.should_go_beside(&placing, &error)).await? {
                    Ok(Fate::Beside)
                } else {
                    Err(error)
                };
            }
        };
        crate::crash::point("place: renamed");
        self.touch(&placing.path);
        self.record.placed(placing, placed).await?;
        crate::crash::point("place: recorded");
        Ok(Fate::Done)
    }

    /// Whether a file goes to its name by a rename that replaces nothing, so that nobody need look for something in its
    /// way: what stands there makes the rename fail, also if it came in the last moment. `is_in_new`: the folder it goes
    /// into was made only just now.
    pub(super) fn goes_blindly(&self, expect: &Expect, is_in_new: bool) -> bool {
        let may = match self.target.traits().blind {
            Blind::Everywhere => true,
            Blind::NewFolders => is_in_new,
            Blind::Nowhere => false,
        };
        may && matches!(expect, Expect::Absent | Expect::Unknown)
    }

    /// Waits for the folder that something goes into.
    pub(super) async fn pass_gate(&self, path: &RelPath) -> Result<()> {
        if self.gates.pass(path).await {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Failed, "place", path)
            .detail("the folder it belongs into could not be made"))
    }

    /// Does something that changes the folder `path` is in. If that may not be written, because the source's
    /// may not either, it is opened and done once more; the folder gets its own mode back at the end.
    pub(super) async fn let_in<R, F>(&self, path: &RelPath, change: impl Fn() -> F) -> Result<R>
    where
        F: Future<Output = Result<R>>,
    {
        match change().await {
            Err(error) if error.kind() == ErrorKind::Permission => {
                Box::pin(async move {
                    match path.parent() {
                        Some(folder) if self.open_up(&folder).await? => change().await,
                        _ => Err(error),
                    }
                })
                .await
            }
            result => result,
        }
    }

    /// What stands at a target that is about to get something. Where its folder is only being made, perhaps
    /// in the place of a link that leads elsewhere, that is waited for.
    pub(super) async fn look_behind_gate(&self, path: &RelPath) -> Result<Option<Stat>> {
        self.pass_gate(path).await?;
        self.look_at_target(path).await
    }

    /// What stands at the target, also in a folder that may not be searched as it is.
    pub(super) async fn look_at_target(&self, path: &RelPath) -> Result<Option<Stat>> {
        self.let_in(path, || self.target.stat(path)).await
    }

    async fn open_up(&self, folder: &RelPath) -> Result<bool> {
        const OWNER_MAY: u32 = 0o700;
        let there = Box::pin(self.look_at_target(folder)).await?;
        let Some(now) = there.filter(|now| now.kind == Kind::Dir && !folder.is_root()) else {
            return Ok(false);
        };
        if now.mode & OWNER_MAY == OWNER_MAY {
            return Ok(true); // somebody else of us opened it meanwhile
        }
        let meta = Meta { mode: now.carried_mode() | OWNER_MAY, mtime: now.mtime };
        match self.target.set_meta(folder, Kind::Dir, &meta).await {
            Ok(_) => {
                self.lock_opened().entry(folder.clone()).or_insert(Meta::from(&now));
                Ok(true)
            }
            Err(error) if error.kind().ends_round() => Err(error),
            Err(_) => Ok(false), // it is not ours to open: the first error says what is wrong
        }
    }

    /// SFTP cannot say "another file system": a rename that fails for no told reason though both of its
    /// ends exist is taken for that.
    async fn should_go_beside(&self, placing: &Placing, error: &Error) -> Result<bool> {
        if error.kind() != ErrorKind::Failed || !placing.staged.is_within(&own::folder()) {
            return Ok(false);
        }
        let folder = placing.path.parent().unwrap_or_default();
        let ends = join(self.target.stat(&placing.staged), self.target.stat(&folder)).await;
        let both = ends.0?.is_some() && ends.1?.is_some();
        if both {
            self.staging.go_beside();
        }
        Ok(both)
    }

    /// An answered failure took nothing place; an unanswered one may have, and its intent stays.
    async fn give_up_intent(&self, placing: &Placing, error: &Error) -> Result<()> {
        if error.kind().loses_connection() {
            return Ok(());
        }
        self.record.drop_intent(&placing.path).await
    }

    /// Moves what must make way to the trash, and reports it if it was none of ours.
    pub(super) async fn make_way(&self, path: &RelPath, expect: &Expect) -> Result<()> {
        match expect {
            Expect::Displace(old) => {
                let kept = self.retire(path, old, Why::Displaced).await?;
                self.report_displaced(path, old.kind, kept);
                Ok(())
            }
            Expect::Retire(old) => self.retire(path, old, Why::Deleted).await.map(drop),
            Expect::Absent | Expect::Unknown | Expect::Replace(_) => Ok(()),
        }
    }

    fn report_displaced(&self, path: &RelPath, kind: Kind, kept: Option<RelPath>) {
        let message = match kept {
            Some(place) => format!("the {} that stood there was moved to {place}", kind.describe()),
            None => format!("the {} that stood there was replaced (trash is off)", kind.describe()),
        };
        self.tally.count(|c| c.displaced += 1);
        self.tally.recovered(crate::error::Problem::new(path.clone(), "place", "displaced", message));
    }

    /// Removes a staged file that will not be placed, as far as that can be done.
    pub(super) async fn discard(&self, staged: &RelPath) {
        if let Err(error) = self.target.remove_file(staged).await {
            tracing::info!("leaving a staged file to the next sweep: {error}");
        }
    }
}
