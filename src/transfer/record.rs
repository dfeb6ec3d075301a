//! What the engine writes into the journal: intents before deeds, outcomes after. Knows which side is
//! near, so that the rest of the engine need not.

use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::clock::Clock;
use crate::entry::{Kind, Stat};
use crate::error::Result;
use crate::hash::{ContentHash, Level, PIECE_BYTES, PrefixHash};
use crate::id::RoundId;
use crate::id::{JobId, TransferId};
use crate::journal::{BaseRow, Deletes, Intent, Journal, TransferRow, TransferStart};
use crate::outcome::Mode;
use crate::path::RelPath;

/// Something staged and finished that is about to be placed.
#[derive(Debug, Clone)]
pub(crate) struct Placing {
    pub path: RelPath,
    pub staged: RelPath,
    pub kind: Kind,
    pub source: Stat,
    pub finished: Stat,
    pub hash: Option<ContentHash>,
    pub link: Option<Vec<u8>>,
    pub level: Option<Level>,
    pub unsettled: bool,
}

/// What is known of a file's content when only the rest of its row is new.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Content {
    /// What base says, if it says anything.
    AsInBase,
    /// This, on both sides.
    Proved(ContentHash, Level),
    /// The same on both sides by size and second; nobody read it.
    Assumed,
}

/// The journal of one job, in terms of source and target.
#[derive(Clone)]
pub struct Record {
    journal: Journal,
    job: JobId,
    round: RoundId,
    mode: Mode,
    /// Whether what goes at the source goes at the target.
    follows_deletes: bool,
    /// Set when the journal knows that this round places or removes something.
    changes: Arc<OnceCell<()>>,
    /// What the deletes of this attempt are counted by.
    deletes: Arc<OnceCell<Deletes>>,
}

impl Record {
    /// The journal as seen by one round of a job of this mode that deletes nothing.
    pub fn new(journal: Journal, job: JobId, round: RoundId, mode: Mode) -> Self {
        let (changes, deletes) = (Arc::default(), Arc::default());
        Self { journal, job, round, mode, follows_deletes: false, changes, deletes }
    }

    /// The same for a job that deletes at the target what is gone at the source.
    pub fn following_deletes(self, follows_deletes: bool) -> Self {
        Self { follows_deletes, ..self }
    }

    /// Notes that something is about to be placed in the target or taken out of it; committed when this
    /// returns.
    pub(super) async fn begin_changes(&self) -> Result<()> {
        self.changes.get_or_try_init(|| self.journal.places(self.job, self.round)).await.map(drop)
    }

    /// Notes that a rename is about to be sent; committed when this returns. For small files and links that
    /// is not worth a row: if a crash comes between, comparing them once is cheaper. Unless deletes are followed:
    /// what was placed right before the crash would be nobody's once its source is gone, and stay for ever.
    pub(super) async fn intend(&self, placing: &Placing) -> Result<()> {
        self.begin_changes().await?;
        if placing.finished.size <= PIECE_BYTES && !self.follows_deletes {
            return Ok(());
        }
        let intent = Intent {
            path: placing.path.clone(),
            staged: placing.staged.clone(),
            kind: placing.kind,
            source: placing.source,
            finished: placing.finished,
            hash: placing.hash,
            link: placing.link.clone(),
            level: placing.level,
            unsettled: placing.unsettled,
        };
        self.journal.put_intent(self.job, intent).await
    }

    /// Commits what is queued: from then on it is read as well.
    pub(super) async fn flush(&self) -> Result<()> {
        self.journal.flush().await
    }

    /// A rename did not happen.
    pub(super) async fn drop_intent(&self, path: &RelPath) -> Result<()> {
        self.journal.forget_intent(self.job, path.clone()).await
    }

    /// Something stands at its final name.
    pub(super) async fn placed(&self, placing: Placing, target: Stat) -> Result<()> {
        let row = self.row(placing.path, placing.source, target);
        let row = BaseRow {
            hash: placing.hash,
            link: placing.link,
            level: placing.level,
            round: Some(self.round),
            unsettled: placing.unsettled,
            ..row
        };
        self.journal.put_placed(self.job, row).await
    }

    /// A leftover intent turned out to have come true.
    pub(super) async fn came_true(&self, intent: Intent, target: Stat) -> Result<()> {
        let row = self.row(intent.path, intent.source, target);
        let row = BaseRow {
            hash: intent.hash,
            link: intent.link,
            level: intent.level,
            round: Some(self.round),
            unsettled: intent.unsettled,
            ..row
        };
        self.journal.put_placed(self.job, row).await
    }

    /// A file's metadata were set, or both sides were found alike; the level is what base says unless
    /// the content was proved just now.
    pub(crate) async fn content(
        &self,
        path: &RelPath,
        source: Stat,
        target: Stat,
        content: Content,
        unsettled: bool,
    ) -> Result<()> {
        let old = self.journal.base_get(self.job, path).await?;
        let row = self.row(path.clone(), source, target);
        let (hash, level) = match content {
            Content::Proved(hash, level) => (Some(hash), Some(level)),
            Content::Assumed => (None, Some(Level::Ack)),
            Content::AsInBase => (old.as_ref().and_then(|o| o.hash), old.as_ref().and_then(|o| o.level)),
        };
        let round = match content {
            Content::AsInBase => old.as_ref().and_then(|o| o.round),
            Content::Proved(..) | Content::Assumed => Some(self.round),
        };
        let row = BaseRow { hash, link: old.and_then(|o| o.link), level, round, unsettled, ..row };
        self.journal.put_base(self.job, row).await
    }

    /// Both sides have this link; `unsettled` where another one in its place might look the same.
    pub(super) async fn link(
        &self,
        path: &RelPath,
        source: Stat,
        target: Stat,
        link: Vec<u8>,
        unsettled: bool,
    ) -> Result<()> {
        let row = self.row(path.clone(), source, target);
        let row = BaseRow { link: Some(link), unsettled, round: Some(self.round), ..row };
        self.journal.put_base(self.job, row).await
    }

    /// A folder was made; its metadata are still to be set.
    pub(super) async fn made(&self, path: &RelPath, source: Stat, target: Stat) -> Result<()> {
        self.begin_changes().await?;
        let row = self.row(path.clone(), source, target);
        self.journal.put_placed(self.job, BaseRow { round: Some(self.round), unsettled: true, ..row }).await
    }

    /// Both sides have this folder; `unsettled` while its metadata are still to be set.
    pub(super) async fn folder(
        &self,
        path: &RelPath,
        source: Stat,
        target: Stat,
        unsettled: bool,
    ) -> Result<()> {
        let row = BaseRow { unsettled, round: Some(self.round), ..self.row(path.clone(), source, target) };
        self.journal.put_base(self.job, row).await
    }

    /// Base no longer knows this path.
    pub(crate) async fn forget(&self, path: &RelPath) -> Result<()> {
        self.journal.forget_base(self.job, path.clone()).await
    }

    /// The same, committed when this returns.
    pub(super) async fn forget_now(&self, path: &RelPath) -> Result<()> {
        self.journal.forget_base_committed(self.job, path.clone()).await
    }

    /// Notes that deletes are about to be done.
    pub(super) async fn begin_deletes(&self, clock: &dyn Clock) -> Result<()> {
        let begin = || self.journal.begin_deletes(self.job, clock.now());
        self.deletes.get_or_try_init(begin).await.map(drop)
    }

    /// Something is gone at the target; `counts` if this is a delete of ours.
    pub(super) async fn removed(&self, path: &RelPath, counts: bool) -> Result<()> {
        let deletes = self.deletes.get().copied().filter(|_| counts);
        self.journal.forget_removed(self.job, path.clone(), self.round, deletes).await
    }

    /// Folders of the target in which an earlier round changed something that may not be durable.
    pub(super) async fn unsynced_folders(&self) -> Result<Vec<RelPath>> {
        if self.journal.is_synced(self.job).await? {
            return Ok(Vec::new());
        }
        self.journal.unsynced_folders(self.job).await
    }

    /// Everything placed up to now is durable at the target.
    pub(super) async fn synced(&self) -> Result<()> {
        self.journal.synced(self.job, self.round).await
    }

    pub(super) async fn intents(&self) -> Result<Vec<Intent>> {
        self.journal.intents(self.job).await
    }

    pub(super) async fn transfers(&self) -> Result<Vec<TransferRow>> {
        self.journal.transfers(self.job).await
    }

    pub(super) async fn begin_transfer(
        &self,
        path: &RelPath,
        staged: &RelPath,
        source: &Stat,
    ) -> Result<TransferId> {
        let start = TransferStart { path: path.clone(), staged: staged.clone(), source: *source };
        self.journal.begin_transfer(self.job, start).await
    }

    pub(super) async fn progress(&self, id: TransferId, offset: u64, prefix: PrefixHash) -> Result<()> {
        let pieces = offset / PIECE_BYTES;
        self.journal.transfer_progress(id, offset, pieces, Some(prefix)).await
    }

    /// The same transfer under the name that its staged file is about to get.
    pub(super) async fn fork_transfer(&self, id: TransferId, staged: &RelPath) -> Result<TransferId> {
        self.journal.fork_transfer(id, staged.clone()).await
    }

    pub(super) async fn end_transfer(&self, id: TransferId) -> Result<()> {
        self.journal.end_transfer(id).await
    }

    /// Something went into the trash.
    pub(super) async fn trashed(
        &self,
        round: &str,
        path: &RelPath,
        why: crate::journal::Why,
        size: u64,
        clock: &dyn Clock,
    ) -> Result<()> {
        let row = crate::journal::TrashRow {
            round: round.to_owned(),
            path: path.clone(),
            why,
            at: clock.now(),
            size,
        };
        self.journal.put_trash(self.job, row).await
    }

    /// Folders in the trash into which a request of an attempt that was cut off may still move something.
    pub(super) async fn open_trash(&self) -> Result<Vec<String>> {
        let cut_off = self.journal.cut_off_rounds(self.job).await?;
        let of = |name: &str| name.split('-').nth(2).and_then(|id| id.parse().ok()).map(RoundId);
        let names = self.journal.trash_rounds(self.job).await?.into_iter().map(|sum| sum.round);
        let is_open = |name: &String| {
            !super::trash::is_closed(name) && of(name).is_some_and(|id| cut_off.contains(&id))
        };
        Ok(names.filter(is_open).collect())
    }

    /// A folder in the trash has another name by now.
    pub(super) async fn trash_renamed(&self, round: &str, now: &str) -> Result<()> {
        self.journal.rename_trash(self.job, round, now).await
    }

    /// It did not go into the trash after all.
    pub(super) async fn not_trashed(&self, round: &str, path: &RelPath) -> Result<()> {
        self.journal.not_trashed(self.job, round, path.clone()).await
    }

    /// A row without content: which of the two stats is near depends on the mode.
    fn row(&self, path: RelPath, source: Stat, target: Stat) -> BaseRow {
        let (near, far) = match self.mode {
            Mode::Push => (source, target),
            Mode::Pull => (target, source),
        };
        BaseRow {
            path,
            kind: source.kind,
            near,
            far,
            hash: None,
            link: None,
            level: None,
            round: None,
            unsettled: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Time;

    fn rel(path: &str) -> RelPath {
        RelPath::parse(path.as_bytes()).unwrap()
    }

    fn stat(kind: Kind) -> Stat {
        Stat { kind, size: 1, mtime: Time::from_secs(1), mode: 0o700, ctime: None, inode: None }
    }

    #[tokio::test]
    async fn what_was_found_at_the_target_is_not_durable_before_the_round_has_synced_it() {
        let journal = Journal::in_memory().unwrap();
        let job = journal.job("j").await.unwrap();
        let round = journal.begin_round(job, Time::from_secs(100)).await.unwrap();
        let record = Record::new(journal.clone(), job, round, Mode::Push);
        record.begin_changes().await.unwrap();
        let (file, dir, link) = (stat(Kind::File), stat(Kind::Dir), stat(Kind::Link));
        let proved = Content::Proved(ContentHash::of(b"x"), Level::Full);
        record.content(&rel("found/f"), file, file, proved, false).await.unwrap();
        record.content(&rel("assumed/f"), file, file, Content::Assumed, false).await.unwrap();
        record.content(&rel("long/known"), file, file, Content::AsInBase, false).await.unwrap();
        record.link(&rel("links/l"), link, link, b"to".to_vec(), false).await.unwrap();
        record.made(&rel("made/d"), dir, dir).await.unwrap();
        record.folder(&rel("made/d"), dir, dir, false).await.unwrap(); // it has its times now
        journal.flush().await.unwrap();
        let unsynced = ["", "assumed", "found", "links", "made", "made/d"].map(rel);
        assert_eq!(record.unsynced_folders().await.unwrap(), unsynced);
        record.synced().await.unwrap();
        assert_eq!(record.unsynced_folders().await.unwrap(), []);
    }
}
