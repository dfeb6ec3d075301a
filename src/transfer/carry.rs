//! Carries one file: small ones in one go, with every step that may be joined joined.

use bytes::Bytes;
use futures_util::future::join;
use tokio::sync::SemaphorePermit;

use super::Shared;
use super::place::{Fate, Look};
use super::record::{self, Placing};
use crate::backoff::Backoff;
use crate::entry::{Kind, Meta, Sameness, Stat, Time, same_content};
use crate::error::{Error, Kind as ErrorKind, Problem, Result};
use crate::hash::{ContentHash, Level, PIECE_BYTES};
use crate::id::TransferId;
use crate::path::RelPath;
use crate::plan::Expect;
use crate::tree::space::explain_space;
use crate::tree::{StagedFile, Tree, own};

/// How often a file is begun again, because it changed while it was read or came back damaged.
const MOST_TRIES: u32 = 4;

/// How far a server's clock may be from ours, in seconds, before its files look older than they are.
const CLOCKS_APART_SECS: i64 = 10;

/// One file to carry.
#[derive(Clone, Copy)]
pub(super) struct Carry<'a> {
    pub path: &'a RelPath,
    pub source: Stat,
    pub expect: &'a Expect,
    pub known: Option<ContentHash>,
}

/// A small file as it was read from the source.
struct Content {
    stat: Stat,
    data: Bytes,
    hash: ContentHash,
    /// Whether a later write might leave no sign.
    racy: bool,
}

impl<S: Tree, T: Tree> Shared<S, T> {
    /// Carries a file, and begins again where that helps.
    pub(super) async fn carry(&self, item: &Carry<'_>) -> Result<Fate> {
        let mut tries = 0;
        loop {
            let error = match self.carry_once(item).await {
                Err(error) if tries + 1 < MOST_TRIES && can_begin_again(error.kind()) => error,
                result => return result,
            };
            if error.kind() == ErrorKind::Corrupt {
                self.note_recovered(item.path, &error);
            } else {
                tokio::time::sleep(Backoff::BUSY_SOURCE.delay(tries, self.random.unit())).await;
            }
            tries += 1;
        }
    }

    async fn carry_once(&self, item: &Carry<'_>) -> Result<Fate> {
        if self.reads_far() {
            let now = Box::pin(self.look_when_settled(item.path, &item.source)).await?;
            if !now.is_some_and(|now| same_content(&now, &item.source) == Sameness::Same) {
                return Ok(Fate::SourceIs(now));
            }
        }
        let small = item.source.size <= PIECE_BYTES;
        if small { self.carry_small(item).await } else { Box::pin(self.carry_large(item)).await }
    }

    /// A far file that somebody may still be writing is left alone until two looks at it, as far apart as
    /// the job asks, saw the same. So is known, too, that a later write would show in its mtime, whatever
    /// the server's clock says. One that is much older need not be waited for. Returns the last look.
    async fn look_when_settled(&self, path: &RelPath, seen: &Stat) -> Result<Option<Stat>> {
        let settle = self.options.settle;
        let age = self.clock.now().secs.saturating_sub(seen.mtime.secs);
        if age >= i64::try_from(settle.as_secs()).unwrap_or(i64::MAX).saturating_add(CLOCKS_APART_SECS) {
            return Ok(Some(*seen));
        }
        let mut stop = self.options.stop.clone();
        tokio::select! {
            biased;
            () = tokio::time::sleep(settle) => {}
            Ok(_) = stop.wait_for(|stop| *stop) => return Err(super::stopped()),
        }
        self.source.stat(path).await
    }

    /// Something came back wrong and was carried again.
    pub(super) fn note_recovered(&self, path: &RelPath, error: &Error) {
        let message = format!("{}; sent again", error.reason());
        self.tally.recovered(Problem::new(path.clone(), error.operation(), error.kind().as_str(), message));
    }

    async fn carry_small(&self, item: &Carry<'_>) -> Result<Fate> {
        let room = self.content_room(item.source.size.max(1)).await?;
        if self.reads_far() {
            self.pay(item.source.size).await?;
        }
        let content = match Box::pin(self.read_small(item)).await? {
            Ok(content) => content,
            Err(now) => return Ok(Fate::SourceIs(now)),
        };
        if item.known == Some(content.hash) {
            return Box::pin(self.only_metadata(item, content.stat, content.racy)).await;
        }
        if !self.reads_far() {
            self.pay(content.data.len() as u64).await?;
        }
        let staged = self.staging.fresh(item.path);
        let noted = self.note_beside(item.path, &staged, &content.stat).await?;
        let result = self.send_small(item, content, room, &staged).await;
        let result = self.explained(result).await;
        self.after_attempt(&staged, &result).await;
        self.forget_beside(noted, &result).await?;
        result
    }

    /// What is staged beside its target goes into the journal first: no sweep would find it after a crash.
    pub(super) async fn note_beside(
        &self,
        path: &RelPath,
        staged: &RelPath,
        source: &Stat,
    ) -> Result<Option<TransferId>> {
        if staged.is_within(&own::folder()) {
            return Ok(None);
        }
        Box::pin(async {
            self.pass_gate(path).await?;
            let id = self.record.begin_transfer(path, staged, source).await?;
            crate::crash::point("small: noted beside");
            Ok(Some(id))
        })
        .await
    }

    pub(super) async fn forget_beside(&self, noted: Option<TransferId>, result: &Result<Fate>) -> Result<()> {
        match (noted, result) {
            (Some(_), Err(error)) if error.kind().loses_connection() => Ok(()),
            (Some(id), _) => self.record.end_transfer(id).await,
            (None, _) => Ok(()),
        }
    }

    /// Tells a full disk from other failures while what was staged still takes its share of it.
    pub(super) async fn explained(&self, result: Result<Fate>) -> Result<Fate> {
        match result {
            Err(error) => Err(Box::pin(explain_space(self.target.as_ref(), error)).await),
            done => done,
        }
    }

    /// What stays staged after an attempt: nothing, unless its outcome is unknown.
    pub(super) async fn after_attempt(&self, staged: &RelPath, result: &Result<Fate>) {
        match result {
            Ok(Fate::Done) => {}
            Err(error) if error.kind().loses_connection() => {}
            _ => {
                Box::pin(self.discard(staged)).await;
                crate::crash::point("small: discarded");
            }
        }
    }

    async fn send_small(
        &self,
        item: &Carry<'_>,
        content: Content,
        room: SemaphorePermit<'_>,
        staged: &RelPath,
    ) -> Result<Fate> {
        let file = Box::pin(self.staged(staged, || self.target.stage(staged))).await?;
        crate::crash::point("small: staged");
        let Content { stat, data, hash, racy } = content;
        let (len, meta) = (data.len() as u64, Meta::from(&stat));
        let sealed = || self.finish_and_look(&file, len, &meta, item, self.options.durable);
        // Futures of one step live no longer than the step: with thousands of files under way they count.
        let (is_there, (finished, there)) = if len > 0 && self.options.sampling.picks(item.path, 0) {
            let proved = async {
                let (written, back) = join(file.write_at(0, data.clone()), file.read_at(0, len)).await;
                written?;
                self.count_moved(len);
                let back = back?;
                self.count_read_back(len);
                Ok(back == data)
            };
            Box::pin(join(proved, sealed())).await
        } else {
            let written = async {
                match len {
                    0 => Ok(true),
                    // Nothing here holds the bytes meanwhile.
                    _ => file.write_at(0, data).await.map(|()| self.count_moved(len)).map(|()| true),
                }
            };
            Box::pin(join(written, sealed())).await
        };
        let is_there = is_there?;
        crate::crash::point("small: written and finished");
        if !is_there {
            return Err(damaged(item.path, 0));
        }
        let placing = Placing {
            path: item.path.clone(),
            staged: staged.clone(),
            kind: Kind::File,
            source: stat,
            finished: finished?,
            hash: Some(hash),
            link: None,
            level: Some(self.options.sampling.level()),
            unsettled: racy,
        };
        drop((room, file));
        let fate = Box::pin(self.place(placing, item.expect, there?)).await?;
        if fate == Fate::Done {
            crate::crash::point("small: placed");
            self.tally.placed(item.path, len, self.options.sampling.level());
        }
        Ok(fate)
    }

    /// Seals a file and looks at its target, unless that is left to the rename; at the same time unless sealing
    /// `takes_long`, as between that look and the rename nobody's change is seen. A server that keeps order looks when
    /// it has sealed.
    pub(super) async fn finish_and_look(
        &self,
        file: &T::Staged,
        len: u64,
        meta: &Meta,
        Carry { path, expect, .. }: &Carry<'_>,
        takes_long: bool,
    ) -> (Result<Stat>, Result<Look>) {
        if self.goes_blindly(expect, self.gates.may_be_in_new(path)) {
            return (file.finish(len, meta, self.options.durable).await, Ok(Look::Not));
        }
        if !takes_long {
            let look = async { self.look_behind_gate(path).await.map(Look::Saw) };
            return join(file.finish(len, meta, false), look).await;
        }
        let look = async {
            // A folder that could not be made is told of below.
            if self.gates.pass(path).await { self.target.stat_behind(file, path).await } else { None }
        };
        match join(file.finish(len, meta, self.options.durable), look).await {
            (finished, Some(Ok(there))) => (finished, Ok(Look::Saw(there))),
            (finished, _) => (finished, self.look_behind_gate(path).await.map(Look::Saw)),
        }
    }

    /// Reads a small source file as one version: the same before and after. `Err` inside: it is no file,
    /// or one that is not small, any more.
    async fn read_small(&self, item: &Carry<'_>) -> Result<Result<Content, Option<Stat>>> {
        let looked = self.clock.now();
        let whole = match self.source.read_whole(item.path, self.most_read(item.source.size)).await {
            Ok(whole) => whole,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Stale) => {
                return self.source.stat(item.path).await.map(Err);
            }
            Err(error) => return Err(error),
        };
        if whole.before.kind != Kind::File || whole.after.size > PIECE_BYTES {
            return Ok(Err(Some(whole.after)));
        }
        let steady = same_content(&whole.after, &whole.before) == Sameness::Same;
        if self.reads_far() && same_content(&whole.before, &item.source) != Sameness::Same {
            return Ok(Err(Some(whole.before)));
        }
        if !steady || whole.data.len() as u64 != whole.after.size {
            return Err(busy(item.path));
        }
        if self.reads_far() {
            self.tally.moved(whole.data.len() as u64);
            Box::pin(self.read_again(item.path, &whole.data)).await?;
        }
        let hash = ContentHash::of(&whole.data);
        let racy = self.is_racy_source(&whole.after, looked);
        Ok(Ok(Content { stat: whole.after, data: whole.data, hash, racy }))
    }

    /// How much of a small file is asked for: not much more than is expected, where what is asked for takes its
    /// share of a window. The looks before and after tell whether it grew.
    fn most_read(&self, size: u64) -> u64 {
        if self.reads_far() { (size + 1).min(PIECE_BYTES) } else { PIECE_BYTES }
    }

    /// A far source is read a second time, after the first read ended: nothing else can tell whether
    /// the bytes were damaged on their way into the server's memory or out of it.
    async fn read_again(&self, path: &RelPath, first: &Bytes) -> Result<()> {
        if first.is_empty() || !self.options.sampling.picks(path, 0) {
            return Ok(());
        }
        self.pay(first.len() as u64).await?;
        let second = self.source.read_whole(path, self.most_read(first.len() as u64)).await?;
        self.tally.verified_bytes(second.data.len() as u64);
        if second.data == first {
            return Ok(());
        }
        let steady = second.before.size == first.len() as u64;
        Err(if steady { damaged(path, 0) } else { busy(path) })
    }

    /// The target has this content already: only its metadata differ.
    pub(super) async fn only_metadata(&self, item: &Carry<'_>, source: Stat, racy: bool) -> Result<Fate> {
        self.checked().await?;
        let there = self.look_at_target(item.path).await?;
        let Some(seen) = there.filter(|_| super::place::holds(item.expect, there.as_ref())) else {
            return Ok(Fate::Stale(there));
        };
        let target = self.target.set_meta(item.path, seen.kind, &Meta::from(&source)).await?;
        self.record.content(item.path, source, target, record::Content::AsInBase, racy).await?;
        Ok(Fate::Done)
    }

    async fn content_room(&self, bytes: u64) -> Result<SemaphorePermit<'_>> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.content.acquire_many(bytes).await.map_err(|_| super::stopped())
    }

    pub(super) async fn piece_room(&self, bytes: u64) -> Result<SemaphorePermit<'_>> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.pieces.acquire_many(bytes).await.map_err(|_| super::stopped())
    }

    /// Whether reading the source costs the line.
    pub(super) fn reads_far(&self) -> bool {
        self.source.traits().is_far
    }

    /// Content that crossed the line to the target.
    pub(super) fn count_moved(&self, bytes: u64) {
        if !self.reads_far() {
            self.tally.moved(bytes);
        }
    }

    /// Content read back from the target; counted where it crossed the line.
    pub(super) fn count_read_back(&self, bytes: u64) {
        if self.target.traits().is_far {
            self.tally.verified_bytes(bytes);
        }
    }

    /// Whether a write after this look at the source might leave no sign, because the last one had only
    /// just been made.
    pub(super) fn is_racy_source(&self, stat: &Stat, looked: Time) -> bool {
        let granularity = self.source.traits().mtime_granularity_secs;
        if granularity == 0 {
            return crate::entry::is_racy(stat.mtime, looked, 0);
        }
        // Far files were waited for, links are not; unless the job asked for less than their mtimes can show.
        let waited = stat.kind == Kind::File
            && i64::try_from(self.options.settle.as_secs()).unwrap_or(i64::MAX) > granularity;
        !waited && crate::entry::is_racy(stat.mtime, looked, 2 * granularity)
    }

    /// The level that every piece proved so far adds up to.
    pub(super) fn level(&self) -> Level {
        self.options.sampling.level()
    }
}

fn can_begin_again(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Busy | ErrorKind::Corrupt)
}

/// The source changed while it was read.
pub(super) fn busy(path: &RelPath) -> Error {
    Error::new(ErrorKind::Busy, "read", path)
        .detail("it changed while it was read")
        .hint("It is tried again in the next round.")
}

/// Bytes came back other than they were sent.
pub(super) fn damaged(path: &RelPath, offset: u64) -> Error {
    Error::new(ErrorKind::Corrupt, "verify", path)
        .detail(format!("the block at {offset} came back with other bytes than were sent"))
}
