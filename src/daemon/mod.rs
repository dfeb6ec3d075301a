//! The long-running process: when rounds begin, and what it takes to be left alone for years.
//!
//! One task per job ([`turns`]), and one loop that hears signals and requests and hands them on. Order of
//! start: lock, journal, jobs, then "ready". Order of stop: jobs, journal, lock.
//!
//! What it does not know: servers and accounts ([`Works`]), what a round does, how anything is printed.

pub mod control;
mod decide;
mod eyes;
mod lines;
mod live;
mod metered;
mod power;
mod pulse;
mod requests;
mod round;
pub mod systemd;
#[cfg(test)]
mod tests;
mod turns;
mod works;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinSet};

use self::control::listen::{Asked, listen};
use self::eyes::Eyes;
use self::lines::Lines;
use self::live::Live;
pub use self::power::Places;
use self::power::Power;
use self::pulse::Jumps;
use self::systemd::Manager;
use self::turns::{Ears, Turns, Word};
pub use self::works::{Order, Task, Works};
use crate::clock::{Clock, Random};
use crate::config::model::Config;
use crate::error::{Error, Kind, Result};
use crate::journal::Journal;
use crate::report::count;
use crate::report::live::LiveJob;
use crate::tell::Voice;

/// Words that a job has not heard yet.
const MOST_WORDS: usize = 16;

/// A job whose task broke is started again after this.
const START_AGAIN: Duration = Duration::from_secs(10);

/// How long telling may take at the end.
const TELL_GRACE: Duration = Duration::from_millis(500);

/// How long jobs may take to end.
const GRACE: Duration = Duration::from_millis(9_300);

/// What the daemon works with.
pub struct Setup<W> {
    /// Reads the config and makes rounds.
    pub works: W,
    /// The config to begin with.
    pub config: Config,
    /// The journal; whoever opened it holds the lock and closes it.
    pub journal: Journal,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Randomness for back-offs.
    pub random: Arc<dyn Random>,
    /// Turns true when the daemon shall end.
    pub stop: watch::Receiver<bool>,
    /// What else the system's signals ask for.
    pub signals: mpsc::Receiver<Signal>,
    /// Who is told that it has begun and ends.
    pub manager: Manager,
    /// Where it is talked to.
    pub socket: PathBuf,
    /// Where the system tells of power and network.
    pub places: Places,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Read the config again.
    Reload,
    /// Write to the log how things are.
    Report,
}

/// What all jobs share.
struct Shared<W> {
    works: W,
    journal: Journal,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    voice: Voice,
    lines: Lines,
    power: Power,
    began: Instant,
}

impl<W> Shared<W> {
    fn uptime(&self) -> Duration {
        self.began.elapsed()
    }
}

/// A job that has its task.
struct Handle {
    task: Arc<Task>,
    live: Arc<Live>,
    words: mpsc::Sender<Word>,
    stop: watch::Sender<bool>,
    id: Id,
}

/// What a job's task waits for before it begins.
enum First {
    Nothing,
    /// This time: it broke.
    Pause(Duration),
    /// The end of the task that the job had before. Rounds of one job never overlap.
    EndOf(mpsc::Sender<Word>),
}

impl First {
    /// Waits for it. `false`: the job was told to end meanwhile.
    async fn pass(self, mut stop: watch::Receiver<bool>) -> bool {
        match self {
            Self::Nothing => {}
            Self::Pause(time) => {
                // Being stopped ends it too.
                let _ = tokio::time::timeout(time, stop.wait_for(|stop| *stop)).await;
            }
            Self::EndOf(old) => old.closed().await,
        }
        !*stop.borrow()
    }
}

/// Runs until told to stop. Errors when the journal cannot be used any more.
pub async fn run<W: Works>(setup: Setup<W>) -> Result<()> {
    let Setup { works, config, journal, clock, random, stop, signals, manager, socket, places } = setup;
    let (ask, asked) = mpsc::channel(MOST_WORDS);
    let listening = listen(&socket, ask)?;
    let jumps = watch::Sender::new(Jumps::default());
    let pulse = tokio::spawn(pulse::watch_clock(clock.clone(), jumps.clone()));
    let voice = Voice::new(&config, &journal, &random).await?;
    let (lines, power, began) = (Lines::default(), Power::new(places), Instant::now());
    let shared = Arc::new(Shared { works, journal, clock, random, voice, lines, power, began });
    let mut daemon = Daemon { shared, jumps, manager, jobs: BTreeMap::new(), tasks: JoinSet::new() };
    daemon.take(&config).await;
    daemon.manager.ready(&count(daemon.jobs.len() as u64, "job"));
    tracing::info!("started with {}", count(daemon.jobs.len() as u64, "job"));
    let result = daemon.hear(stop, signals, asked).await;
    daemon.manager.stopping();
    daemon.end().await;
    drop(listening);
    let shared = daemon.shared.clone();
    drop(daemon);
    if let Some(shared) = Arc::into_inner(shared) {
        shared.voice.close(TELL_GRACE).await;
    }
    pulse.abort();
    tracing::info!("ended");
    result
}

struct Daemon<W: Works> {
    shared: Arc<Shared<W>>,
    jumps: watch::Sender<Jumps>,
    manager: Manager,
    jobs: BTreeMap<String, Handle>,
    tasks: JoinSet<Result<()>>,
}

impl<W: Works> Daemon<W> {
    async fn hear(
        &mut self,
        mut stop: watch::Receiver<bool>,
        mut signals: mpsc::Receiver<Signal>,
        mut asked: mpsc::Receiver<Asked>,
    ) -> Result<()> {
        let mut look = self.shared.voice.look(self.shared.clock.now()).await?;
        let mut alive = tokio::time::interval(self.manager.watchdog().unwrap_or(Duration::from_secs(3_600)));
        loop {
            tokio::select! {
                () = async { drop(stop.wait_for(|stop| *stop).await) } => return Ok(()),
                Some(signal) = signals.recv() => self.heed(signal).await,
                Some(asked) = asked.recv() => self.answer(asked).await,
                Some(ended) = self.tasks.join_next_with_id() => match ended {
                    Ok((id, Err(error))) => {
                        self.jobs.retain(|_, job| job.id != id);
                        return Err(error);
                    }
                    Ok((id, Ok(()))) => self.jobs.retain(|_, job| job.id != id),
                    Err(broken) => self.start_again(broken.id()),
                },
                _ = alive.tick() => self.manager.alive(),
                // Asked for anew each time something happens: that may have changed when to look.
                () = tokio::time::sleep(look) => {}
            }
            look = self.shared.voice.look(self.shared.clock.now()).await?;
        }
    }

    async fn heed(&mut self, signal: Signal) {
        match signal {
            Signal::Reload => {
                // Told in the log already.
                let _ = self.reload().await;
            }
            Signal::Report => self.report(),
        }
    }

    /// Reads the config again. A broken one changes nothing.
    async fn reload(&mut self) -> Result<String> {
        let config = match self.shared.works.load() {
            Ok(config) => config,
            Err(errors) => {
                errors.mistakes.iter().for_each(|mistake| tracing::error!("{mistake}"));
                let error = Error::new(Kind::Usage, "take the new config", "")
                    .detail(format!("it has {}", count(errors.mistakes.len() as u64, "mistake")))
                    .hint("See: highwater config check. The old one stays in force.");
                tracing::error!("{error}; the old one stays in force");
                return Err(error);
            }
        };
        self.shared.voice.change(&config);
        let changed = self.take(&config).await;
        let told = format!("{} in the config, {changed}", count(self.jobs.len() as u64, "job"));
        tracing::info!("reloaded: {told}");
        self.manager.status(&told);
        Ok(told)
    }

    /// Takes a config: jobs that it has as they were run on, others end, new ones begin. Says how many.
    async fn take(&mut self, config: &Config) -> String {
        let tasks = Task::all(config);
        let stays = |job: &Handle| tasks.contains(&job.task);
        let before = self.jobs.len();
        let gone: Vec<String> =
            self.jobs.iter().filter(|(_, job)| !stays(job)).map(|(name, _)| name.clone()).collect();
        let ending: HashMap<String, mpsc::Sender<Word>> =
            gone.iter().filter_map(|name| Some((name.clone(), self.stop(name)?))).collect();
        let mut began = 0;
        for task in tasks {
            if !self.jobs.contains_key(&task.job.name) {
                let first =
                    ending.get(&task.job.name).map_or(First::Nothing, |old| First::EndOf(old.clone()));
                self.start(task, first);
                began += 1;
            }
        }
        format!("{} stayed, {} ended, {began} began", before - gone.len(), gone.len())
    }

    /// Starts a job's task, which begins when that is over which comes first.
    fn start(&mut self, task: Arc<Task>, first: First) {
        let (words, heard) = mpsc::channel(MOST_WORDS);
        let (stop, stopped) = watch::channel(false);
        let before = stopped.clone();
        let live = Arc::new(Live::new(&task.job.name));
        let eyes = Eyes::of(&task.job, &self.shared.clock);
        let ears = Ears::new(heard, stopped, self.jumps.subscribe(), eyes);
        let (shared, its, its_live) = (self.shared.clone(), task.clone(), live.clone());
        let work = self.tasks.spawn(async move {
            if !first.pass(before).await {
                return Ok(());
            }
            Turns::new(shared, its, its_live, ears).await?.run().await
        });
        let handle = Handle { id: work.id(), task, live, words, stop };
        self.jobs.insert(handle.task.job.name.clone(), handle);
    }

    /// A job's own task broke, which only a fault of ours can do: it starts again, the others do not notice.
    fn start_again(&mut self, id: Id) {
        let Some(name) = self.jobs.iter().find(|(_, job)| job.id == id).map(|(name, _)| name.clone()) else {
            return;
        };
        tracing::error!("{name}: its task broke off by a fault of the program; it starts again");
        if let Some(job) = self.jobs.remove(&name) {
            self.start(job.task, First::Pause(START_AGAIN));
        }
    }

    /// Tells a job to end, which nobody waits for here: its round leaves what the next one goes on with. What
    /// is given is closed once it has ended.
    fn stop(&mut self, name: &str) -> Option<mpsc::Sender<Word>> {
        let job = self.jobs.remove(name)?;
        job.stop.send_replace(true);
        Some(job.words)
    }

    /// Ends all jobs at once, and waits for them and for those that were told to end before.
    async fn end(&mut self) {
        while let Some((_, job)) = self.jobs.pop_first() {
            job.stop.send_replace(true);
        }
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, all).await.is_err() {
            tracing::warn!("a job does not end in time and is left behind");
        }
        self.tasks.abort_all();
    }

    fn live(&self) -> Vec<LiveJob> {
        self.jobs.values().map(|job| job.live.now()).collect()
    }

    fn report(&self) {
        for job in self.live() {
            let due = job.next_due.as_deref().map_or(String::new(), |due| format!(", next due {due}"));
            tracing::info!("{}: {}{due}", job.job, job.doing);
            job.notes().iter().for_each(|note| tracing::info!("{}: {note}", job.job));
        }
    }
}
