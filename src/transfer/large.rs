//! Carries one large file piece by piece, many pieces in flight, and goes on with what was kept.
//!
//! A piece is read, hashed, written, and read back if it is picked; all of a file's pieces go through one
//! window, in whatever order they are answered. What is acknowledged without a gap is journaled at
//! least each 4 MiB or second. A kept prefix is first hashed again from the near side, which is quick, so
//! that progress can be journaled from the first new piece on; what the far side has of it is proved piece
//! by piece beside the sending of the rest, and nothing is placed before all of it is proved.

use std::sync::OnceLock;
use std::time::Duration;

use futures_util::future::{Either, Fuse, FusedFuture, FutureExt, join, join_all, try_join_all};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::SetOnce;
use tokio::time::Instant;

use super::Shared;
use super::carry::{Carry, busy, damaged};
use super::hands::Hands;
use super::place::Fate;
use super::record::Placing;
use super::resume::{Kept, Resume, resume};
use crate::entry::{Kind, Meta, Sameness, Stat, Time, same_content};
use crate::error::{Error, Kind as ErrorKind, Problem, Result};
use crate::hash::{ContentHash, Level, PIECE_BYTES, Piece, PieceTree, PrefixHash, piece_count, piece_range};
use crate::id::TransferId;
use crate::journal::TransferRow;
use crate::path::RelPath;
use crate::tree::{Beside, SourceFile, StagedFile, Tree};

/// Pieces are sent from one moving window that begins where the gapless prefix ends: 8 MiB, or over a long line as
/// much as the windows of eight of OpenSSH's channels hold. With what is not journaled yet, a cut costs less than
/// 4 MiB more than that.
const WINDOW_BYTES: u64 = 8 << 20;
const LONG_WINDOW_BYTES: u64 = 16 << 20;

/// Pieces in flight through one handle: as much as the window of OpenSSH's channels holds while others are being
/// opened, afterwards more than any of ours, so that more channels are asked for where that helps.
const HAND_PIECES: usize = (2 << 20) / PIECE_BYTES as usize;
const FULL_HAND_PIECES: usize = (5 << 20) / PIECE_BYTES as usize;

/// From this round trip on a line is a long one.
const LONG_LINE: Duration = Duration::from_millis(10);

/// Pieces of a kept prefix that are read at once from the near side.
const PIECES_RECALLED: usize = 16;

/// Progress is journaled at least each so many pieces (4 MiB) …
const JOURNAL_PIECES: u64 = (4 << 20) / PIECE_BYTES;

/// … or after so much time.
const JOURNAL_EVERY: Duration = Duration::from_secs(1);

/// From this size on the target is asked for room first, in bytes.
const ASK_FOR_ROOM: u64 = 16 << 20;

/// How often one piece is sent again before the file is given up.
const PIECE_TRIES: u32 = 3;

/// One large file on its way.
struct Flight<'a, S: Tree, T: Tree> {
    engine: &'a Shared<S, T>,
    path: &'a RelPath,
    source: Hands<S::Source>,
    stat: Stat,
    looked: Time,
    staged: Hands<T::Staged>,
    staged_path: RelPath,
    /// A piece that the first handle wrote, before there were others.
    written: SetOnce<(u64, Piece)>,
    /// Whether what one handle wrote was seen through another one.
    shared: OnceLock<bool>,
}

/// How far it is.
struct Progress {
    tree: PieceTree,
    /// The prefix kept from an earlier attempt: its pieces, and what they must hash to.
    kept: Option<(u64, PrefixHash)>,
    id: Option<TransferId>,
    journaled: u64,
    journaled_at: Instant,
}

impl<S: Tree, T: Tree> Shared<S, T> {
    pub(super) async fn carry_large(&self, item: &Carry<'_>) -> Result<Fate> {
        let looked = self.clock.now();
        let source = match self.source.open(item.path).await {
            Ok(source) => Hands::new(source),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Stale) => {
                return self.source.stat(item.path).await.map(Fate::SourceIs);
            }
            Err(error) => return Err(error),
        };
        let stat = source.first().stat().await?;
        if stat.kind != Kind::File || stat.size <= PIECE_BYTES {
            return Ok(Fate::SourceIs(Some(stat)));
        }
        if self.reads_far() && same_content(&stat, &item.source) != Sameness::Same {
            return Ok(Fate::SourceIs(Some(stat)));
        }
        if let Some(known) = item.known.filter(|_| !self.reads_far())
            && self.hash_open(&source, stat.size, false).await? == Some(known)
        {
            let racy = self.is_racy_source(&stat, looked);
            return self.only_metadata(item, stat, racy).await;
        }
        let (room, there) =
            join(self.need_room(item.path, stat.size), self.look_behind_gate(item.path)).await;
        room?;
        let there = there?;
        if !super::place::holds(item.expect, there.as_ref()) {
            return Ok(Fate::Stale(there)); // before anything is sent; looked at again before it is placed
        }
        self.carry_open(item, source, stat, looked).await
    }

    /// Before much is sent for nothing: is there room for it?
    async fn need_room(&self, path: &RelPath, size: u64) -> Result<()> {
        if size < ASK_FOR_ROOM {
            return Ok(());
        }
        let unfinished =
            self.unfinished.lock().unwrap_or_else(|e| e.into_inner()).get(path).map(|row| row.offset);
        let missing = size.saturating_sub(unfinished.unwrap_or(0));
        match self.target.free_bytes().await? {
            Some(free) if free < missing => Err(Error::new(ErrorKind::NoSpace, "carry", path)
                .detail(format!(
                    "{missing} bytes of it are still to be carried, and {free} are free at the target"
                ))
                .hint("Make room there.")),
            _ => Ok(()),
        }
    }

    /// Pieces of one file in flight at most, those that are only proved included. `hands`: what the far side has
    /// it open by, and `useful`: how many of them it could use.
    fn window<H>(&self, hands: &Hands<H>, useful: usize) -> u64 {
        let (source, target) = (self.source.traits(), self.target.traits());
        let is_long = source.round_trip.max(target.round_trip) >= LONG_LINE;
        let bytes = if is_long { LONG_WINDOW_BYTES } else { WINDOW_BYTES };
        let each = if hands.wanted(useful) > 0 { HAND_PIECES } else { FULL_HAND_PIECES };
        (bytes / PIECE_BYTES).min((hands.count() * each) as u64)
    }

    async fn carry_open(
        &self,
        item: &Carry<'_>,
        source: Hands<S::Source>,
        stat: Stat,
        looked: Time,
    ) -> Result<Fate> {
        let kept = self.reopen_kept(item.path, source.first(), &stat).await?;
        let (staged, staged_path, progress) = match kept {
            Some(kept) => kept,
            None => {
                let staged_path = self.staging.fresh(item.path);
                let noted = self.note_beside(item.path, &staged_path, &stat).await?;
                let staged = self.staged(&staged_path, || self.target.stage(&staged_path)).await?;
                crate::crash::point("large: staged");
                (staged, staged_path, Progress::new(None, noted))
            }
        };
        let kept = progress.kept.map_or(0, |(pieces, _)| pieces * PIECE_BYTES);
        self.tally.begins(item.path, kept);
        if kept > 0 {
            crate::crash::point("large: taken up again");
            self.note_resumed(item.path, kept);
        }
        let staged = Hands::new(staged);
        let (path, written, shared) = (item.path, SetOnce::new(), OnceLock::new());
        let mut flight =
            Flight { engine: self, path, source, stat, looked, staged, staged_path, written, shared };
        let mut progress = progress;
        let result = self.explained(flight.run(item, &mut progress).await).await;
        flight.end(&mut progress, &result).await?;
        result
    }

    /// The whole content of an open source, hashed; `None` if it ended early.
    pub(super) async fn hash_open<F: SourceFile>(
        &self,
        file: &Hands<F>,
        size: u64,
        is_far: bool,
    ) -> Result<Option<ContentHash>> {
        let mut tree = PieceTree::new();
        let mut whole = None;
        let mut reading = FuturesUnordered::new();
        let width = if is_far { self.window(file, 1) } else { PIECES_RECALLED as u64 };
        let mut next = 0;
        loop {
            while (reading.len() as u64) < width && next < piece_count(size) {
                let (index, (offset, len)) = (next, piece_range(next, size));
                reading.push(async move {
                    let _room = self.piece_room(len).await?;
                    if is_far {
                        self.pay(len).await?;
                    }
                    file.lend().read_at(offset, len).await.map(|data| (index, len, data))
                });
                next += 1;
            }
            let Some(read) = reading.next().await else { break };
            let (index, len, data) = read?;
            if data.len() as u64 != len {
                return Ok(None);
            }
            if size <= PIECE_BYTES {
                whole = Some(ContentHash::of(&data));
            } else {
                tree.insert(index, Piece::of(index, &data));
            }
        }
        Ok(if size == 0 { Some(ContentHash::of(b"")) } else { whole.or_else(|| tree.finish()) })
    }

    /// What an earlier attempt left of this file, opened and quickly checked, if it can be gone on with.
    async fn reopen_kept(
        &self,
        path: &RelPath,
        source: &S::Source,
        stat: &Stat,
    ) -> Result<Option<(T::Staged, RelPath, Progress)>> {
        let row = self.unfinished.lock().unwrap_or_else(|e| e.into_inner()).remove(path);
        let Some(row) = row else { return Ok(None) };
        match self.try_kept(&row, source, stat).await {
            Ok(Ok((staged, pieces))) => {
                let progress = Progress::new(row.prefix.map(|prefix| (pieces, prefix)), Some(row.id));
                Ok(Some((staged, row.staged, progress)))
            }
            Ok(Err(why)) => self.give_up_kept(row, why).await.map(|()| None),
            Err(error) if error.kind().ends_round() => Err(error),
            Err(error) => self.give_up_kept(row, &error.reason()).await.map(|()| None),
        }
    }

    fn note_resumed(&self, path: &RelPath, kept: u64) {
        let message = format!("went on after the {kept} bytes that an earlier attempt had carried");
        self.tally.recovered(Problem::new(path.clone(), "resume", "resumed", message));
    }

    async fn try_kept(
        &self,
        row: &TransferRow,
        source: &S::Source,
        stat: &Stat,
    ) -> Result<Result<(T::Staged, u64), &'static str>> {
        let staged = self.target.reopen(&row.staged).await?;
        let decision = resume(&Kept {
            source_then: row.source,
            source_now: *stat,
            acknowledged: row.offset,
            staged_size: staged.stat().await?.size,
            far_source: self.reads_far(),
            now: self.clock.now(),
        });
        let pieces = match decision {
            Resume::Afresh(why) => return Ok(Err(why)),
            Resume::From(pieces) if row.prefix.is_none() || pieces * PIECE_BYTES != row.offset => {
                return Ok(Err("its kept prefix has no hash"));
            }
            Resume::From(pieces) => pieces,
        };
        let (offset, len) = piece_range(pieces - 1, stat.size);
        let (there, here) = join(staged.read_at(offset, len), source.read_at(offset, len)).await;
        Ok(if there? == here? { Ok((staged, pieces)) } else { Err("its last block is not the source's") })
    }

    pub(super) async fn give_up_kept(&self, row: TransferRow, why: &str) -> Result<()> {
        let message = format!("what was staged earlier is not used: {why}; started again");
        self.tally.recovered(Problem::new(row.path.clone(), "resume", "restarted", message));
        self.record.end_transfer(row.id).await?;
        crate::crash::point("large: kept one given up");
        self.discard(&row.staged).await;
        Ok(())
    }
}

impl Progress {
    fn new(kept: Option<(u64, PrefixHash)>, id: Option<TransferId>) -> Self {
        let journaled = kept.map_or(0, |(pieces, _)| pieces);
        let journaled_at = Instant::now();
        Self { tree: PieceTree::new(), kept, id, journaled, journaled_at }
    }

    fn is_due(&self) -> bool {
        let new = self.tree.gapless().saturating_sub(self.journaled);
        new >= JOURNAL_PIECES || (new > 0 && self.journaled_at.elapsed() >= JOURNAL_EVERY)
    }
}

impl<S: Tree, T: Tree> Flight<'_, S, T> {
    async fn run(&mut self, item: &Carry<'_>, progress: &mut Progress) -> Result<Fate> {
        self.recall(progress).await?;
        self.pieces(progress).await?;
        crate::crash::point("large: all pieces there");
        let Some(hash) = progress.tree.clone().finish() else {
            return Err(Error::new(ErrorKind::Internal, "hash", self.path).detail("pieces are missing"));
        };
        self.read_again(hash).await?;
        crate::crash::point("large: read again");
        let now = self.source.first().stat().await?;
        if same_content(&now, &self.stat) != Sameness::Same {
            return Err(busy(self.path));
        }
        self.engine.tally.resumed(self.path);
        self.finish(item, hash).await
    }

    /// Hashes the kept prefix again from the near side, which has all of it: from the source of a push, from
    /// the staged file of a pull. It must be what the journal remembers.
    async fn recall(&self, progress: &mut Progress) -> Result<()> {
        let Some((pieces, prefix)) = progress.kept else { return Ok(()) };
        let (mut reading, mut next) = (FuturesUnordered::new(), 0);
        loop {
            while reading.len() < PIECES_RECALLED && next < pieces {
                reading.push(self.near_piece(next));
                next += 1;
            }
            let Some(read) = reading.next().await else { break };
            let (index, piece) = read?;
            progress.tree.insert(index, piece);
            if self.engine.must_stop() {
                return Err(super::stopped());
            }
        }
        crate::crash::point("large: kept prefix recalled");
        if progress.tree.prefix() == prefix { Ok(()) } else { Err(not_the_prefix(self.path)) }
    }

    async fn near_piece(&self, index: u64) -> Result<(u64, Piece)> {
        let (offset, len) = piece_range(index, self.stat.size);
        let _room = self.engine.piece_room(len).await?;
        let data = if self.engine.reads_far() {
            self.staged.first().read_at(offset, len).await?
        } else {
            self.source.first().read_at(offset, len).await?
        };
        if data.len() as u64 == len {
            Ok((index, Piece::of(index, &data)))
        } else {
            Err(not_the_prefix(self.path))
        }
    }

    /// Sends all pieces that are not there yet, and in turn with them proves those that are.
    async fn pieces(&self, progress: &mut Progress) -> Result<()> {
        let kept = progress.kept.map_or(0, |(pieces, _)| pieces);
        let proved = if self.engine.reads_far() { kept } else { 0 }; // by recalling them
        let (mut to_prove, mut to_send) = (proved..kept, kept..piece_count(self.stat.size));
        let mut flying = FuturesUnordered::new();
        let mut widening = std::pin::pin!(Fuse::terminated());
        let mut sends_next = false;
        loop {
            let window = self.window();
            while (flying.len() as u64) < window && !self.engine.must_stop() {
                let may_send = to_send.start < to_send.end.min(progress.tree.gapless() + window);
                sends_next = may_send && (!sends_next || to_prove.is_empty());
                match if sends_next { to_send.next() } else { to_prove.next() } {
                    Some(index) if sends_next => flying.push(Either::Right(self.send(index))),
                    Some(index) => flying.push(Either::Left(self.prove(index))),
                    None => break,
                }
            }
            if widening.is_terminated() && !to_send.is_empty() && self.could_widen() {
                widening.set(self.widen().fuse());
            }
            let flown = tokio::select! {
                biased;
                () = &mut widening, if !widening.is_terminated() => continue,
                flown = flying.next() => flown,
            };
            let Some(flown) = flown else { break };
            let Some((index, piece)) = flown? else { continue };
            progress.tree.insert(index, piece);
            let _ = self.written.set((index, piece)); // the first one counts
            if progress.is_due() {
                self.journal(progress).await?;
            }
        }
        if self.engine.must_stop() { Err(super::stopped()) } else { Ok(()) }
    }

    fn window(&self) -> u64 {
        let engine = self.engine;
        match engine.reads_far() {
            true => engine.window(&self.source, engine.source.traits().readers),
            false => engine.window(&self.staged, engine.target.traits().writers),
        }
    }

    /// Whether another channel could help either side.
    fn could_widen(&self) -> bool {
        let (source, target) = (self.engine.source.traits(), self.engine.target.traits());
        self.source.wanted(source.readers) > 0 || self.staged.wanted(target.writers) > 0
    }

    /// Opens the file once more on each channel that there is to spare, on either side, all at once.
    async fn widen(&self) {
        let source = self.source.wanted(self.engine.source.traits().readers);
        let staged = self.staged.wanted(self.engine.target.traits().writers);
        let source = (0..source).map(|_| self.open_same());
        let (sources, ()) = join(join_all(source), self.widen_staged(staged)).await;
        sources.into_iter().for_each(|opened| self.source.add(opened));
    }

    /// Opens the staged file so many times more. A side of which it is not known must first show through one of
    /// the new handles what the first one wrote: another process, node or cache may serve it there.
    async fn widen_staged(&self, count: usize) {
        let (target, hands) = (&self.engine.target, self.staged.all());
        let others: Vec<&T::Staged> = hands.iter().map(|hand| &***hand).collect();
        let opened = (0..count).map(|_| target.reopen_beside(&self.staged_path, &others));
        for opened in join_all(opened).await {
            let proved = async { self.proved(opened?).await };
            self.staged.add(proved.await);
        }
    }

    async fn proved(&self, another: Beside<T::Staged>) -> Result<T::Staged> {
        let works = match self.shared.get() {
            Some(works) if !works || !another.is_apart => *works,
            None if another.is_proved => true,
            // What is so of one that is apart tells nothing of the others.
            _ if another.is_apart => self.shows_what_was_written(&another.staged).await?,
            _ => {
                let works = self.shows_what_was_written(&another.staged).await?;
                self.engine.target.note_beside(works);
                *self.shared.get_or_init(|| works)
            }
        };
        if works {
            return Ok(another.staged);
        }
        another.staged.close().await?;
        Err(Error::new(ErrorKind::Unsupported, "write through two handles", self.path)
            .detail("what one of them wrote is not seen through the other"))
    }

    async fn shows_what_was_written(&self, another: &T::Staged) -> Result<bool> {
        let &(index, piece) = self.written.wait().await;
        let (offset, len) = piece_range(index, self.stat.size);
        let _room = self.engine.piece_room(len).await?;
        let data = another.read_at(offset, len).await?;
        self.engine.count_read_back(len);
        Ok(data.len() as u64 == len && Piece::of(index, &data) == piece)
    }

    /// The source once more, if it still is what was opened first.
    async fn open_same(&self) -> Result<S::Source> {
        let again = self.engine.source.open(self.path).await?;
        let now = again.stat().await?;
        if same_content(&now, &self.stat) == Sameness::Same { Ok(again) } else { Err(busy(self.path)) }
    }

    /// One piece of a prefix that the far side keeps: it must be what the source has.
    async fn prove(&self, index: u64) -> Result<Option<(u64, Piece)>> {
        let (offset, len) = piece_range(index, self.stat.size);
        let _room = self.engine.piece_room(2 * len).await?;
        let (staged, source) = (self.staged.lend(), self.source.lend());
        let (there, here) = join(staged.read_at(offset, len), source.read_at(offset, len)).await;
        self.engine.count_read_back(len);
        if there? == here? { Ok(None) } else { Err(not_the_prefix(self.path)) }
    }

    /// Reads one piece, writes it, and reads it back if it is picked; again if it came back damaged.
    async fn send(&self, index: u64) -> Result<Option<(u64, Piece)>> {
        let engine = self.engine;
        let (offset, len) = piece_range(index, self.stat.size);
        let _room = engine.piece_room(len).await?;
        if engine.must_stop() {
            return Err(super::stopped());
        }
        engine.pay(len).await?;
        let data = self.source.lend().read_at(offset, len).await?;
        if data.len() as u64 != len {
            return Err(busy(self.path));
        }
        let piece = Piece::of(index, &data);
        let picked = engine.options.sampling.picks(self.path, index);
        let staged = self.staged.lend();
        if engine.reads_far() {
            engine.tally.moved(len);
        }
        if !picked {
            staged.write_at(offset, data).await?; // nothing here holds the bytes while they are under way
            self.piece_written(len);
            return Ok(Some((index, piece)));
        }
        for _ in 0..PIECE_TRIES {
            let (written, back) =
                join(staged.write_at(offset, data.clone()), staged.read_at(offset, len)).await;
            written?;
            self.piece_written(len);
            let back = back?;
            engine.count_read_back(len);
            if back == data {
                return Ok(Some((index, piece)));
            }
            engine.note_recovered(self.path, &damaged(self.path, offset));
        }
        Err(damaged(self.path, offset).hint("The server or its disk keeps changing bytes."))
    }

    fn piece_written(&self, len: u64) {
        crate::crash::point("large: piece written");
        self.engine.count_moved(len);
    }

    /// A far source is read a second time after the first read ended, and must hash the same.
    async fn read_again(&self, hash: ContentHash) -> Result<()> {
        if !self.engine.reads_far() {
            return Ok(());
        }
        match self.engine.level() {
            Level::Ack => return Ok(()),
            Level::Sample => return self.read_sample_again().await,
            Level::Full => {}
        }
        let again = self.engine.hash_open(&self.source, self.stat.size, true).await?;
        self.engine.tally.verified_bytes(self.stat.size);
        match again {
            Some(again) if again == hash => Ok(()),
            Some(_) => Err(Error::new(ErrorKind::Corrupt, "verify", self.path)
                .detail("two reads of the far file gave different bytes")),
            None => Err(busy(self.path)),
        }
    }

    /// The sampled pieces of a far source once more, against what is staged of them.
    async fn read_sample_again(&self) -> Result<()> {
        let picked = |&index: &u64| self.engine.options.sampling.picks(self.path, index);
        for index in (0..piece_count(self.stat.size)).filter(picked) {
            let (offset, len) = piece_range(index, self.stat.size);
            let _room = self.engine.piece_room(2 * len).await?;
            self.engine.pay(len).await?;
            let (far, near) =
                join(self.source.first().read_at(offset, len), self.staged.first().read_at(offset, len))
                    .await;
            self.engine.tally.verified_bytes(len);
            if far? != near? {
                return Err(damaged(self.path, offset));
            }
        }
        Ok(())
    }

    async fn finish(&self, item: &Carry<'_>, hash: ContentHash) -> Result<Fate> {
        let engine = self.engine;
        let meta = Meta::from(&self.stat);
        engine.will_place();
        let others = self.staged.let_go(); // everything written through them was answered
        try_join_all(others.iter().map(|hand| hand.close())).await?; // a late CLOSE may move the mtime
        let (finished, there) =
            engine.finish_and_look(self.staged.first(), self.stat.size, &meta, item, true).await;
        let (finished, there) = (finished?, there?);
        crate::crash::point("large: finished");
        let placing = Placing {
            path: self.path.clone(),
            staged: self.staged_path.clone(),
            kind: Kind::File,
            source: self.stat,
            finished,
            hash: Some(hash),
            link: None,
            level: Some(engine.level()),
            unsettled: engine.is_racy_source(&self.stat, self.looked),
        };
        let fate = engine.place(placing, item.expect, there).await?;
        if fate == Fate::Done {
            engine.tally.placed(self.path, self.stat.size, engine.level());
        }
        Ok(fate)
    }

    /// Journals how far the transfer is: the row first appears when there is something to go on with.
    async fn journal(&self, progress: &mut Progress) -> Result<()> {
        let pieces = progress.tree.gapless();
        let offset = (pieces * PIECE_BYTES).min(self.stat.size);
        let prefix = progress.tree.prefix();
        let record = &self.engine.record;
        let id = match progress.id {
            Some(id) => id,
            None => {
                let id = record.begin_transfer(self.path, &self.staged_path, &self.stat).await?;
                crate::crash::point("large: begun in the journal");
                id
            }
        };
        progress.id = Some(id);
        record.progress(id, offset, prefix).await?;
        crate::crash::point("large: progress noted");
        progress.journaled = pieces;
        self.engine.tally.advanced(self.path, offset);
        progress.journaled_at = Instant::now();
        Ok(())
    }

    /// What remains of the attempt: a row and a staged file to go on with after a cut or a stop,
    /// otherwise neither.
    async fn end(&self, progress: &mut Progress, result: &Result<Fate>) -> Result<()> {
        let keep =
            matches!(result, Err(e) if e.kind().loses_connection() || e.kind() == ErrorKind::Interrupted);
        if keep {
            if progress.tree.gapless() > progress.journaled {
                self.journal(progress).await?;
            }
            return Ok(());
        }
        if let Some(id) = progress.id {
            self.engine.record.end_transfer(id).await?;
        }
        crate::crash::point("large: row ended");
        if !matches!(result, Ok(Fate::Done)) {
            // A file that is open takes its room even after it was removed.
            let hands = self.staged.all();
            let closed = join_all(hands.iter().map(|hand| hand.close())).await;
            closed.into_iter().filter_map(Result::err).for_each(|error| tracing::debug!("{error}"));
        }
        self.engine.after_attempt(&self.staged_path, result).await;
        if let Err(error) = result
            && error.kind() == ErrorKind::Stale
        {
            self.engine.note_recovered(self.path, error);
        }
        Ok(())
    }
}

/// The staged prefix is not what was acknowledged: the file is begun again under a new name.
fn not_the_prefix(path: &RelPath) -> Error {
    Error::new(ErrorKind::Corrupt, "resume", path).detail("what was staged earlier is not what was sent then")
}
