//! The transfer engine: performs actions with bounded work in flight, and records what came of them.
//!
//! One loop serves both directions: it reads from the source tree and writes to the target tree, and
//! never asks which of them is far. Per file: stage, write, read back, finish, look at the target, note
//! the intent, place, record. The steps before the intent are joined, so that on a server that keeps
//! order they cost one round trip; nothing is placed before all of them were answered.
//!
//! What it does not know: schedules, config, how to connect. A lost connection ends it; whoever connects
//! again makes a new engine, and what the journal holds decides how it goes on.

mod carry;
mod check;
mod gates;
mod hands;
mod large;
mod perform;
mod place;
pub mod record;
pub mod remove;
pub mod resume;
pub mod room;
pub mod settle;
pub mod staging;
pub mod tally;
pub mod throttle;
mod trash;
pub mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Semaphore, SetOnce, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::clock::{Clock, Random};
use crate::entry::{Listing, Meta};
use crate::error::{Error, Kind, Result};
use crate::id::Token;
use crate::journal::TransferRow;
use crate::path::RelPath;
use crate::plan::{Action, Rules, Sight};
use crate::tree::{Traits, Tree};
use check::Check;
pub use check::Folders;
use gates::Gates;
use perform::Work;
use record::Record;
use room::{Breadth, Room};
use staging::Staging;
use tally::Tally;
use throttle::{Limit, Throttle};
use trash::Trash;
use verify::Sampling;

/// Actions under way at once, each small file one: no fewer, and no more. A server's handles and the content
/// held in memory bound them further.
const LEAST_ACTIONS: usize = 256;
const MOST_ACTIONS: usize = 1_536;

/// Small files that a fast server places in a second, so many actions are under way over a long line.
const FILES_PER_SECOND: f64 = 12_000.0;

/// Round trips from the first request for a small file to its last answer.
const TRIPS_PER_FILE: f64 = 3.0;

/// Content of small files held in memory at once, in bytes.
const CONTENT_BYTES: usize = 12 << 20;

/// Pieces of large files held in memory at once, in bytes: one file's window, and some for others. Apart from the
/// content of small files, which is there before there is a handle: a piece is read when there is one already,
/// and whoever waits for room for it must not wait for somebody who waits for a handle.
const PIECES_BYTES: usize = 20 << 20;

/// How long tasks may take to end after the round has.
const LAST_WORK: Duration = Duration::from_secs(8);

/// How often whoever waits looks whether it still should.
const GLANCE: Duration = Duration::from_millis(200);

/// What the engine is told for one round.
pub struct Options {
    /// How contents are proved.
    pub sampling: Sampling,
    /// Whether files and folders are made durable before they count.
    pub durable: bool,
    /// How old a far source must be to be taken at the first look.
    pub settle: Duration,
    /// This agent, whose staging folder is used.
    pub agent: Token,
    /// The name of this round's folder in the trash; `None`: nothing is kept.
    pub trash: Option<String>,
    /// Content per second over the wire.
    pub rate: Limit,
    /// What this round shares with others of the same server.
    pub line: Option<Throttle>,
    /// What it shares with others of the same process.
    pub breadth: Option<Breadth>,
    /// The planner's rules, for what has to be reconsidered.
    pub rules: Rules,
    /// Turns true when the program shall stop.
    pub stop: watch::Receiver<bool>,
}

/// What all tasks of one engine share.
pub(crate) struct Shared<S: Tree, T: Tree> {
    source: Arc<S>,
    target: Arc<T>,
    options: Options,
    record: Record,
    tally: Arc<Tally>,
    gates: Gates,
    check: Check,
    staging: Staging,
    trash: Trash,
    throttle: Throttle,
    content: Semaphore,
    pieces: Semaphore,
    /// Transfers that an earlier attempt left and that may be gone on with, by target path.
    unfinished: Mutex<BTreeMap<RelPath, TransferRow>>,
    /// Folders of the target in which names changed.
    touched: Mutex<BTreeSet<RelPath>>,
    /// Folders of the target in which something was found that base did not know. An attempt of ours may have
    /// put it there that was cut off before it could make it durable.
    adopted: Mutex<BTreeSet<RelPath>>,
    /// Folders of the target that were opened for a change, with what they get back.
    opened: Mutex<BTreeMap<RelPath, Meta>>,
    /// Set once something is about to be placed.
    places: Arc<SetOnce<()>>,
    /// Set when what is under way shall come to an end.
    winds_up: AtomicBool,
    random: Arc<dyn Random>,
    clock: Arc<dyn Clock>,
}

/// Performs the actions of one round over one connection.
pub struct Engine<S: Tree, T: Tree> {
    shared: Arc<Shared<S, T>>,
    tasks: JoinSet<()>,
    room: Room,
    /// What is found out while work has begun; ends with the engine.
    checks: JoinSet<()>,
}

/// What an engine works with: two trees and what outlives it.
pub struct Parts<S, T> {
    /// The side that is followed.
    pub source: Arc<S>,
    /// The side that follows.
    pub target: Arc<T>,
    /// Writes outcomes into the journal.
    pub record: Record,
    /// Collects counts and problems.
    pub tally: Arc<Tally>,
    /// Randomness for names.
    pub random: Arc<dyn Random>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
}

impl<S: Tree, T: Tree> Engine<S, T> {
    /// Prepares the target: makes the staging folder if a [`look`](staging::look) into it did not find it,
    /// fences and sweeps what an earlier attempt left, and settles the renames whose outcome was unknown.
    /// After this, planning may begin.
    pub async fn prepare(
        parts: Parts<S, T>,
        options: Options,
        looked: Result<Option<Listing>>,
    ) -> Result<Self> {
        let (target, random) = (parts.target.as_ref(), parts.random.clone());
        let staging = Staging::prepare(target, options.agent.clone(), random, looked).await?;
        Self::with_staging(parts, options, staging).await
    }

    /// The same over a connection on which an engine prepared the target before, which drained and left
    /// nothing under way.
    pub async fn prepare_again(parts: Parts<S, T>, options: Options) -> Result<Self> {
        let staging = Staging::prepared(options.agent.clone(), parts.random.clone());
        Self::with_staging(parts, options, staging).await
    }

    /// Nothing is changed outside of the staging folder before `check` has said yes, unless it is that `folders` may
    /// be made; until then, what needs no more than that is begun. If it says no, or the staging folder is gone, the engine is
    /// [void](Self::is_void); an error ends the round. To be asked before anything is submitted.
    pub fn check_beside(
        &mut self,
        folders: Folders,
        check: impl Future<Output = Result<bool>> + Send + 'static,
    ) {
        let (answer, tally) = (self.shared.check.ask(folders), self.shared.tally.clone());
        self.checks.spawn(async move {
            match check.await {
                Ok(yes) => answer.say(yes),
                Err(error) => {
                    tally.end(error);
                    answer.say(false);
                }
            }
        });
    }

    async fn with_staging(parts: Parts<S, T>, options: Options, staging: Staging) -> Result<Self> {
        let Parts { source, target, record, tally, random, clock } = parts;
        crate::crash::point("staging: prepared");
        let unfinished = settle::settle(target.as_ref(), &staging, &record).await?;
        let unsynced = if options.durable { record.unsynced_folders().await? } else { Vec::new() };
        let room = Room::new(width(&source.traits(), &target.traits()), options.breadth.clone());
        let shared = Shared {
            throttle: Throttle::new(&options.rate),
            trash: Trash::new(options.trash.clone()),
            content: Semaphore::new(CONTENT_BYTES),
            pieces: Semaphore::new(PIECES_BYTES),
            gates: Gates::default(),
            check: Check::passed(),
            unfinished: Mutex::new(unfinished),
            places: Arc::default(),
            winds_up: AtomicBool::new(false),
            touched: Mutex::new(unsynced.into_iter().collect()),
            adopted: Mutex::default(),
            opened: Mutex::default(),
            source,
            target,
            options,
            record,
            tally,
            staging,
            random,
            clock,
        };
        let (tasks, checks) = (JoinSet::new(), JoinSet::new());
        Ok(Self { shared: Arc::new(shared), tasks, room, checks })
    }

    /// Waits until it is known that the target is the one that is meant.
    pub async fn checked(&self) -> Result<()> {
        self.shared.checked().await
    }

    /// Whether the target turned out not to be as an earlier engine left it: nothing was done, and nothing
    /// will be.
    pub fn is_void(&self) -> bool {
        self.shared.check.is_void()
    }

    /// Whether files are staged in the staging folder.
    pub fn stages_inside(&self) -> bool {
        !self.shared.staging.is_beside()
    }

    /// Begins one action, as soon as there is room. Errors with `Interrupted` when no more shall be
    /// begun: the round has ended or the program shall stop; [`Tally`] knows why.
    pub async fn submit(&mut self, sight: &Sight, action: Action) -> Result<()> {
        if self.shared.must_stop() {
            return Err(stopped());
        }
        let permit = self.room.enter().await.ok_or_else(stopped)?;
        while self.tasks.try_join_next().is_some_and(|joined| self.shared.survived(joined)) {}
        let opener = match &action {
            Action::MakeDir { path, .. } => Some(self.shared.gates.announce(path)),
            _ => None,
        };
        let shared = self.shared.clone();
        let work = Box::new(Work::new(sight.clone(), action, opener, shared.clock.now()));
        self.tasks.spawn(async move {
            shared.perform(work).await;
            drop(permit);
        });
        Ok(())
    }

    /// Waits until everything begun is done.
    pub async fn drain(&mut self) -> Result<()> {
        let mut ended: Option<Instant> = None;
        loop {
            let joined = tokio::select! {
                biased;
                joined = self.tasks.join_next() => joined,
                () = sleep(GLANCE) => {
                    if self.shared.must_stop() && ended.get_or_insert_with(Instant::now).elapsed() > LAST_WORK {
                        self.tasks.abort_all();
                    }
                    continue;
                }
            };
            match joined {
                Some(joined) => self.shared.survived(joined),
                None => break,
            };
        }
        if self.shared.must_stop() { Err(stopped()) } else { Ok(()) }
    }

    /// Removes what earlier attempts left staged and nothing in this pass went on with: its source is gone
    /// or something else by now.
    pub async fn drop_unfinished(&self) -> Result<()> {
        let shared = &self.shared;
        let rows: Vec<TransferRow> = {
            let mut unfinished = shared.unfinished.lock().unwrap_or_else(|e| e.into_inner());
            std::mem::take(&mut *unfinished).into_values().collect()
        };
        for row in rows {
            shared.discard(&row.staged).await;
            shared.record.end_transfer(row.id).await?;
        }
        Ok(())
    }

    /// Makes the names in all touched folders durable, if the job asks for it and the target can, and says
    /// so in the journal.
    pub async fn sync_folders(&self) -> Result<()> {
        self.shared.sync_folders().await
    }

    /// Ends what is under way after an error: each task leaves behind what can be gone on with. What does
    /// not end in time is given up; the journal knows of it up to its last second.
    pub async fn wind_up(&mut self) {
        self.shared.winds_up.store(true, Ordering::Relaxed);
        let _ = self.drain().await; // that it was stopped is what was asked for
    }

    /// Waits until something is about to be placed in the target.
    pub fn places(&self) -> impl Future<Output = ()> + Send + use<S, T> {
        let places = self.shared.places.clone();
        async move {
            places.wait().await;
        }
    }

    /// Whether anything was placed in the target or taken out of it.
    pub fn has_changed(&self) -> bool {
        !self.shared.lock_touched().is_empty()
    }

    /// Something of ours stands there, put there beside the actions or by an earlier attempt, and is to be durable as
    /// well.
    pub fn note_found(&self, path: &RelPath) {
        self.shared.adopt(path);
    }

    /// Folders of the target in which something was placed or from which something was taken.
    pub fn touched(&self, folder: &RelPath) -> bool {
        self.shared.lock_touched().contains(folder)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared<S, T>> {
        &self.shared
    }
}

/// How many actions shall be under way between two sides.
fn width(source: &Traits, target: &Traits) -> usize {
    let round_trip = source.round_trip.max(target.round_trip);
    let fills = (FILES_PER_SECOND * TRIPS_PER_FILE * round_trip.as_secs_f64()) as usize;
    let near = [source, target].into_iter().filter(|side| !side.is_far).map(|side| side.open_files).min();
    fills.clamp(LEAST_ACTIONS, MOST_ACTIONS).min(near.unwrap_or(MOST_ACTIONS)).max(1)
}

pub(crate) fn stopped() -> Error {
    Error::new(Kind::Interrupted, "go on with", "the round").detail("it was stopped")
}

impl<S: Tree, T: Tree> Shared<S, T> {
    /// Whether nothing new may be begun.
    fn must_stop(&self) -> bool {
        let stop = *self.options.stop.borrow() || self.winds_up.load(Ordering::Relaxed);
        stop || self.tally.has_ended() || self.check.is_void()
    }

    /// Waits until it is known that the target is the one that is meant.
    async fn checked(&self) -> Result<()> {
        if self.check.pass().await { Ok(()) } else { Err(stopped()) }
    }

    /// Stages a file, or a link by `make`. The folder for that is there, or the target is another one.
    async fn staged<R, F>(&self, staged: &RelPath, make: impl Fn() -> F) -> Result<R>
    where
        F: Future<Output = Result<R>>,
    {
        let result = self.let_in(staged, make).await;
        if result.as_ref().is_err_and(|error| error.kind() == Kind::NotFound) {
            self.check.give_up();
        }
        result
    }

    /// A task that panicked ends the round, not the program.
    fn survived(&self, joined: Result<(), tokio::task::JoinError>) -> bool {
        if let Err(error) = joined
            && !error.is_cancelled()
        {
            self.tally.end(Error::new(Kind::Internal, "carry out", "an action").because(error));
        }
        true
    }

    fn lock_touched(&self) -> std::sync::MutexGuard<'_, BTreeSet<RelPath>> {
        self.touched.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn lock_adopted(&self) -> std::sync::MutexGuard<'_, BTreeSet<RelPath>> {
        self.adopted.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn lock_opened(&self) -> std::sync::MutexGuard<'_, BTreeMap<RelPath, Meta>> {
        self.opened.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Waits until so much content may cross the wire.
    async fn pay(&self, bytes: u64) -> Result<()> {
        if self.throttle.is_open() && self.options.line.is_none() {
            return Ok(());
        }
        let paid = async {
            self.throttle.take(bytes).await;
            if let Some(line) = &self.options.line {
                line.take(bytes).await;
            }
        };
        let mut paid = std::pin::pin!(paid);
        loop {
            tokio::select! {
                biased;
                () = &mut paid => return Ok(()),
                () = sleep(GLANCE) => {
                    if self.must_stop() {
                        return Err(stopped());
                    }
                }
            }
        }
    }

    /// There will be something to tell of in the target.
    fn will_place(&self) {
        let _ = self.places.set(()); // that it was set before is as well
    }

    fn touch(&self, path: &RelPath) {
        self.will_place();
        if let Some(folder) = path.parent() {
            self.lock_touched().insert(folder);
        }
    }

    /// Notes that something stands at the target that base is about to learn of.
    fn adopt(&self, path: &RelPath) {
        self.lock_adopted().extend(path.parent());
    }

    async fn sync_folders(&self) -> Result<()> {
        if !self.options.durable {
            return Ok(());
        }
        let folders = self.lock_touched().union(&self.lock_adopted()).cloned().collect::<Vec<RelPath>>();
        for synced in in_batches(folders.iter().map(|folder| self.sync_folder(folder)), 64).await {
            synced?;
        }
        crate::crash::point("sync: folders synced");
        self.record.synced().await?;
        crate::crash::point("sync: recorded");
        Ok(())
    }

    /// What cannot be made durable is as good as it gets: the next round could not do better.
    async fn sync_folder(&self, folder: &RelPath) -> Result<()> {
        match self.target.sync_dir(folder).await {
            Err(error) if error.kind().ends_round() => Err(error),
            Err(error) if error.kind() == Kind::NotFound => Ok(()), // it was removed meanwhile
            Err(error) => {
                tracing::info!("{error}");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }
}

/// Runs futures, at most `width` at once, and returns their results in order of completion.
pub(crate) async fn in_batches<F: Future>(futures: impl Iterator<Item = F>, width: usize) -> Vec<F::Output> {
    use futures_util::stream::{FuturesUnordered, StreamExt};
    let mut waiting = futures;
    let mut running = FuturesUnordered::new();
    let mut results = Vec::new();
    loop {
        while running.len() < width {
            let Some(next) = waiting.next() else { break };
            running.push(next);
        }
        match running.next().await {
            Some(result) => results.push(result),
            None => return results,
        }
    }
}

#[cfg(test)]
mod tests;
