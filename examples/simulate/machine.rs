//! The machine that the program runs on: its journal, its connection, and what becomes of both when it dies.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use highwater::clock::{Random as _, SeededRandom};
use highwater::error::{Error, Kind, Result};
use highwater::id::JobId;
use highwater::job::{self, Context, Dial};
use highwater::journal::Journal;
use highwater::monitor::Silent;
use highwater::outcome::{Ending, Outcome};
use highwater::path::LocalRoot;
use tempfile::TempDir;

use crate::session::Session;
use crate::tree::SimTree;
use crate::world::World;

/// The program's place on disk, from one life to the next.
pub struct Machine {
    world: Arc<World>,
    folder: TempDir,
    /// Counts lives: each has a file of its own.
    life: u64,
    journal: Option<(Journal, JobId)>,
    random: Arc<SeededRandom>,
    dialer: Dialer,
}

impl Machine {
    pub fn new(world: &Arc<World>, scratch: &Path, seed: u64) -> std::io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("highwater-simulate-").tempdir_in(scratch)?;
        let dialer = Dialer { world: world.clone(), line: Arc::default() };
        let random = Arc::new(SeededRandom::new(seed));
        Ok(Self { world: world.clone(), folder, life: 0, journal: None, random, dialer })
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join(format!("{}.db", self.life))
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join(format!("{}.db-wal", self.life))
    }

    fn saved(&self) -> PathBuf {
        self.folder.path().join("saved")
    }

    async fn opened(&mut self) -> Result<(Journal, JobId)> {
        if let Some(open) = &self.journal {
            return Ok(open.clone());
        }
        let opened = Journal::open_inline(&self.file(), self.world.as_ref(), self.random.as_ref())?;
        let job = opened.journal.job("job").await?;
        Ok(self.journal.insert((opened.journal, job)).clone())
    }

    /// One round, unless the program dies in it: then nothing is returned.
    pub async fn round(&mut self, accepts: bool) -> Result<Option<Outcome>> {
        let (journal, job) = self.opened().await?;
        let (_stop, stop) = tokio::sync::watch::channel(false);
        let context = Context {
            journal,
            job,
            clock: self.world.clone(),
            random: self.random.clone(),
            monitor: Arc::new(Silent),
            stop,
        };
        let spec = self.world.settings.spec(accepts);
        let round = job::run(spec, context, self.dialer.clone());
        let outcome = tokio::select! {
            biased;
            () = self.world.crash.notified() => None,
            outcome = round => Some(outcome),
        };
        // Whoever died with the last word of a round died in it, and not in the next one.
        let outcome = outcome.filter(|_| self.world.crash.notified().now_or_never().is_none());
        if let Some(outcome) = &outcome {
            self.dialer.rest(self.world.settings.keeps_connection && outcome.ending <= Ending::Held);
        }
        Ok(outcome)
    }

    /// The program is gone. With `power`, so is what its machine had not written yet.
    pub async fn die(&mut self, power: bool) -> std::io::Result<()> {
        self.dialer.rest(false);
        for _ in 0..3 {
            tokio::task::yield_now().await; // what was under way ends
        }
        let (file, log) = (self.file(), self.log());
        self.life += 1;
        if file.exists() {
            std::fs::copy(&file, self.file())?;
        }
        if log.exists() {
            let mut bytes = std::fs::read(&log)?;
            if power {
                bytes.truncate(self.world.lock().random.below(bytes.len() as u64 + 1) as usize);
                self.world.lock().oracle.journal_forgot();
            }
            std::fs::write(self.log(), bytes)?;
        }
        self.journal = None;
        self.world.say(if power { "the machine is off" } else { "the program is dead" });
        Ok(())
    }

    /// The program ends in order.
    pub async fn stop(&mut self) -> Result<()> {
        self.dialer.rest(false);
        match self.journal.take() {
            Some((journal, _)) => journal.close().await,
            None => Ok(()),
        }
    }

    /// Keeps a copy of the journal.
    pub async fn save(&mut self) -> Result<()> {
        self.stop().await?;
        let (from, to) = (self.file(), self.saved());
        if !from.exists() {
            return Ok(());
        }
        std::fs::copy(from, to).map(drop).map_err(|e| Error::io("save the journal", "", e))
    }

    /// Puts the copy in the journal's place, or without one nothing at all.
    pub async fn restore(&mut self) -> Result<()> {
        self.stop().await?;
        self.life += 1;
        if self.saved().exists() {
            let put_back = std::fs::copy(self.saved(), self.file());
            put_back.map_err(|e| Error::io("put back the journal", "", e))?;
        }
        self.world.lock().oracle.journal_forgot();
        self.world.say("an old journal is put back");
        Ok(())
    }

    /// Every server process is gone with what it had to do.
    pub fn kill_server(&self) {
        if let Some(session) = self.dialer.line().session.take() {
            session.kill();
        }
    }
}

/// The way to the far side.
#[derive(Clone)]
struct Dialer {
    world: Arc<World>,
    line: Arc<Mutex<Line>>,
}

#[derive(Default)]
struct Line {
    session: Option<Arc<Session>>,
    tree: Option<Arc<SimTree>>,
    /// The last round over it ended in order; whoever dials next takes that, too.
    ended_in_order: bool,
    /// That was so when it was dialled last.
    is_settled: bool,
}

impl Dialer {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A round is over: its connection is kept or closed.
    fn rest(&self, keeps: bool) {
        let mut line = self.line();
        if !keeps {
            (line.is_settled, line.ended_in_order) = (false, false);
            line.tree = None;
            if let Some(session) = &line.session {
                session.cut();
            }
        }
    }
}

impl Dial for Dialer {
    type Near = SimTree;
    type Far = SimTree;

    fn open_near(&self, _root: &LocalRoot) -> Result<SimTree> {
        Ok(SimTree::near(&self.world))
    }

    fn make_near(&self, _root: &LocalRoot) -> Result<SimTree> {
        Ok(SimTree::near(&self.world))
    }

    async fn dial(&self) -> Result<Arc<SimTree>> {
        let kept = {
            let mut line = self.line();
            let is_whole = line.session.as_ref().is_some_and(|session| !session.is_cut());
            line.tree.take().filter(|_| is_whole)
        };
        if let Some(tree) = kept {
            let mut line = self.line();
            line.is_settled = std::mem::take(&mut line.ended_in_order);
            line.tree = Some(tree.clone());
            return Ok(tree);
        }
        self.rest(false);
        tokio::time::sleep(Duration::from_millis(self.world.way_millis() + 1)).await;
        let is_refused = {
            let mut state = self.world.lock();
            let is_refused = state.weather.refusals > 0;
            state.weather.refusals = state.weather.refusals.saturating_sub(1);
            is_refused
        };
        if is_refused {
            self.world.say("nobody answers");
            return Err(Error::new(Kind::Unreachable, "reach", "the server").detail("simulated"));
        }
        let session = Session::open(self.world.clone());
        let tree = Arc::new(SimTree::far(&self.world, session.clone()));
        self.world.say("connected");
        let mut line = self.line();
        (line.session, line.tree) = (Some(session), Some(tree.clone()));
        Ok(tree)
    }

    fn is_settled(&self) -> bool {
        self.line().is_settled
    }

    fn settled(&self, is_in_order: bool) {
        self.line().ended_in_order = self.world.settings.keeps_connection && is_in_order;
    }
}

/// A number for the seed of a life.
pub fn seed_of(random: &mut crate::random::Random) -> u64 {
    SeededRandom::new(random.next()).u64()
}
