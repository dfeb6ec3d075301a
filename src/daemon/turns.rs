//! One job in the daemon: waits for a reason, makes a round, and so on until it is told to stop.
//!
//! Rounds of one job never overlap, because this is where all of them begin. Each is a task of its own, so
//! that a panic in one fails that round and nothing else.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::sync::{mpsc, oneshot, watch};

use super::Shared;
use super::decide::{Again, Next, Waits, Wants};
use super::eyes::{Eyes, Sight};
use super::lines::Line;
use super::live::Live;
use super::power::LOOK_EVERY;
use super::pulse::Jumps;
use super::works::{Task, Works};
use crate::backoff::Backoff;
use crate::calendar::{add, since};
use crate::config::model::{Schedule, When};
use crate::entry::Time;
use crate::error::{Error, Kind, Result};
use crate::id::JobId;
use crate::journal::JobState;
use crate::outcome::{Ending, Outcome};
use crate::report::moment::rfc3339;
use crate::schedule::{Memory, Timer, Window, starts_with_daemon};
use crate::timetable::Timetable;
use crate::transfer::throttle::Limit;
use crate::watch::{Batch, acknowledge, note, take};

/// Between a round that failed and the next try.
const RETRY: Backoff = Backoff { first: Duration::from_secs(30), longest: Duration::from_secs(15 * 60) };

/// A round that left problems is tried again so often; then its schedule decides.
const MOST_TRIES_FOR_PROBLEMS: u32 = 5;

/// The longest time that is waited at once: whatever is due later is judged anew then.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// Something that a job is told.
pub(super) enum Word {
    /// Begin a round, whatever the schedule says; answered with the number of the round to wait for.
    Now(oneshot::Sender<Result<u64>>),
    /// Begin none until told to resume; stop the one that is under way.
    Pause(oneshot::Sender<Result<()>>),
    /// A person looked, and says go on.
    Resume {
        /// Let deletes that are held go with the next round.
        accept_deletes: bool,
        /// Answered with how the job stood before.
        reply: oneshot::Sender<Result<JobState>>,
    },
    /// Say whether something changed that is not quiet yet.
    Look(oneshot::Sender<Result<()>>),
    /// Another rate until the daemon ends or is told again; `None`: that of the config.
    Limit(Option<Option<u64>>, oneshot::Sender<Result<()>>),
}

/// Where a job hears what it is told.
pub(super) struct Ears {
    words: mpsc::Receiver<Word>,
    stop: watch::Receiver<bool>,
    jumps: watch::Receiver<Jumps>,
    /// Whether it was told to stop already; that is told once.
    knows: bool,
    /// How often the clock had jumped forward when that was last told.
    forward: u64,
    /// What the watcher sees, if the job has one.
    eyes: Option<Eyes>,
}

/// What a job hears.
pub(super) enum Heard {
    /// What a person says.
    Word(Word),
    /// The time of day is another than expected.
    Jumped {
        /// It is later: the machine may have slept.
        forward: bool,
    },
    /// The watcher saw something.
    Seen(Sight),
    /// The job shall end.
    Stop,
}

impl Ears {
    /// `stop` turns true when the job shall end.
    pub fn new(
        words: mpsc::Receiver<Word>,
        stop: watch::Receiver<bool>,
        jumps: watch::Receiver<Jumps>,
        eyes: Option<Eyes>,
    ) -> Self {
        let forward = jumps.borrow().forward;
        Self { words, stop, jumps, knows: false, forward, eyes }
    }

    /// Waits for the next thing. Nothing is lost if nobody waits for the answer any more.
    pub async fn hear(&mut self) -> Heard {
        // Only the fact is kept: the answer borrows the channel.
        let stop = async { drop(self.stop.wait_for(|stop| *stop).await) };
        tokio::select! {
            () = stop, if !self.knows => {
                self.knows = true;
                Heard::Stop
            }
            Some(word) = self.words.recv() => Heard::Word(word),
            sight = see(self.eyes.as_mut()) => Heard::Seen(sight),
            Ok(()) = self.jumps.changed() => {
                let forward = self.jumps.borrow().forward;
                Heard::Jumped { forward: std::mem::replace(&mut self.forward, forward) != forward }
            }
        }
    }
}

async fn see(eyes: Option<&mut Eyes>) -> Sight {
    match eyes {
        Some(eyes) => eyes.next().await,
        None => std::future::pending().await,
    }
}

/// Why a round was stopped before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// The job ends: the daemon does, or the config changed.
    Stop,
    /// A person said pause.
    Pause,
    /// The window closed.
    Window,
    /// The machine slept: what it was connected to is gone.
    Slept,
    /// The machine is not as the job asks for any more.
    System(&'static str),
}

/// A job with what it remembers between its rounds.
pub(super) struct Turns<W: Works> {
    pub(super) shared: Arc<Shared<W>>,
    pub(super) task: Arc<Task>,
    pub(super) id: JobId,
    pub(super) live: Arc<Live>,
    pub(super) ears: Ears,
    pub(super) window: Window,
    pub(super) timetable: Timetable,
    /// What the job shares with others of its server.
    pub(super) line: Option<Line>,
    /// What holds now, for the round under way too.
    pub(super) limit: Limit,
    /// What a person said instead of the timetable.
    pub(super) limited: Option<Option<u64>>,
    /// The rate that holds for it, be it its own or its server's.
    shown_limit: Option<u64>,
    pub(super) wants: Wants,
    timer: Option<Timer>,
    memory: Memory,
    kept_memory: Option<Time>,
    kept_due: Option<Time>,
    pub(super) state: JobState,
    failures: u32,
    /// Since when, by uptime, if the last round failed.
    failing_since: Option<Duration>,
    /// How often what has problems was tried again.
    tries: u32,
    /// Whether the round under way is one of these tries.
    is_another_try: bool,
}

impl<W: Works> Turns<W> {
    /// A job as the journal remembers it. Errors if the journal cannot be read.
    pub async fn new(shared: Arc<Shared<W>>, task: Arc<Task>, live: Arc<Live>, ears: Ears) -> Result<Self> {
        let journal = &shared.journal;
        let id = journal.job(&task.job.name).await?;
        let state = journal.job_state(id).await?;
        let last = journal.rounds(id, 1).await?.into_iter().next();
        // Cut off by a crash or by the last daemon's end, or failed: it goes on at once.
        let was_cut = last.is_some_and(|round| match round.ending {
            None => true,
            Some(ending) => ending == Ending::Failed,
        });
        let settled = journal.meta_get(&memory_key(id)).await?.and_then(|text| parse_time(&text));
        // A watcher asks for a look at all as soon as it stands, or cannot.
        let whole = was_cut || starts_with_daemon(&task.job) && ears.eyes.is_none();
        let changes = ears.eyes.is_some() && journal.backlog(id).await? > 0;
        let wants = Wants { whole, changes, ..Wants::default() };
        let window = Window::new(task.job.only.spans.clone(), zone(task.job.only.zone.as_deref()));
        let timetable = Timetable::new(task.job.bandwidth.clone(), TimeZone::system());
        let seed = seed(journal.agent().await?.as_str(), &task.job.name);
        let timer = task.job.schedule.as_ref().map(|schedule| timer(schedule, &window, seed)).transpose()?;
        let kept_due = state.next_due;
        let line = shared.lines.to(&task.server);
        let mut turns = Self {
            limit: Limit::new(None),
            limited: None,
            shown_limit: None,
            memory: Memory { settled },
            kept_memory: settled,
            failures: 0,
            failing_since: None,
            tries: 0,
            is_another_try: false,
            shared,
            task,
            id,
            live,
            ears,
            window,
            timetable,
            line,
            wants,
            timer,
            kept_due,
            state,
        };
        turns.expect_rescan();
        Ok(turns)
    }

    /// Round after round, until told to stop. Errors when the journal cannot be written any more.
    pub async fn run(mut self) -> Result<()> {
        while !self.ears.knows {
            self.judge_due().await?;
            let next = match self.waits_for_person() {
                true => Next::Wait { until: None, uptime: None, why: Waits::Idle },
                false => self.wants.next(&self.window, self.now(), self.shared.uptime()),
            };
            let next = self.or_give_way(next).await;
            self.show(&next);
            match next {
                Next::Begin { whole } => self.turn(whole).await?,
                Next::Wait { until, uptime, .. } => self.wait(until, uptime).await?,
            }
        }
        self.shared.works.forget(&self.task.job.name);
        Ok(())
    }

    pub(super) fn now(&self) -> Time {
        self.shared.clock.now()
    }

    /// The same, unless the machine is not as the job asks for. A person's wish comes first.
    async fn or_give_way(&self, next: Next) -> Next {
        if !matches!(next, Next::Begin { .. }) || self.wants.asked {
            return next;
        }
        match self.shared.power.keeps_back(&self.task.job.only_if).await {
            Some(why) => {
                let uptime = Some(self.shared.uptime() + LOOK_EVERY);
                Next::Wait { until: None, uptime, why: Waits::System(why) }
            }
            None => next,
        }
    }

    /// Halted or paused.
    fn waits_for_person(&self) -> bool {
        self.state.halted.is_some() || self.state.paused
    }

    /// Asks the schedule, and keeps what it says and remembers.
    async fn judge_due(&mut self) -> Result<()> {
        let now = self.now();
        let due = self.timer.as_ref().and_then(|timer| timer.next(&mut self.memory, now));
        self.wants.due = due.map(|due| due.at);
        if self.kept_due != self.wants.due {
            let due = self.wants.due;
            self.shared.journal.update_job_state(self.id, move |state| state.next_due = due).await?;
            self.kept_due = due;
        }
        self.keep_memory().await
    }

    async fn keep_memory(&mut self) -> Result<()> {
        if self.kept_memory != self.memory.settled
            && let Some(settled) = self.memory.settled
        {
            let text = format!("{}.{:09}", settled.secs, settled.nanos);
            self.shared.journal.meta_set(&memory_key(self.id), &text).await?;
            self.kept_memory = Some(settled);
        }
        Ok(())
    }

    fn show(&self, next: &Next) {
        let (now, uptime) = (self.now(), self.shared.uptime());
        let why = match next {
            Next::Wait { why, .. } => Some(*why),
            Next::Begin { .. } => None,
        };
        let opens = match next {
            Next::Wait { until, why: Waits::Window, .. } => until.and_then(rfc3339),
            _ => None,
        };
        let again = self.wants.again.map(|again| again.at);
        let retry = self.wants.retry.or(again).filter(|_| why.is_some());
        let retry_at = retry.and_then(|at| rfc3339(add(now, at.saturating_sub(uptime))));
        let doing = match why {
            _ if self.state.halted.is_some() => "halted",
            _ if self.state.paused => "paused",
            None => "running",
            Some(Waits::Idle) => "idle",
            Some(Waits::Retry) => "waiting-retry",
            Some(Waits::Window) => "waiting-window",
            Some(Waits::System(_)) => "waiting-system",
        };
        let kept_back = match why {
            Some(Waits::System(why)) => Some(why.to_owned()),
            _ => None,
        };
        self.live.show(|live| {
            live.doing = doing.into();
            live.next_due = self.wants.due.and_then(rfc3339);
            live.retry_at = retry_at;
            live.window_opens = opens;
            live.failures = self.failures;
            live.limit = self.shown_limit;
            live.kept_back = kept_back;
            live.watch = self.ears.eyes.as_ref().map(Eyes::status);
        });
        let waits = self.ears.eyes.as_ref().is_some_and(Eyes::is_waiting);
        let has_work = waits || !matches!(why, Some(Waits::Idle));
        self.live
            .ended
            .send_if_modified(|ended| std::mem::replace(&mut ended.has_work, has_work) != has_work);
    }

    async fn wait(&mut self, until: Option<Time>, uptime: Option<Duration>) -> Result<()> {
        let wall = until.map(|until| since(until, self.now()));
        let steady = uptime.map(|uptime| uptime.saturating_sub(self.shared.uptime()));
        let wait = [wall, steady].into_iter().flatten().fold(LONGEST_WAIT, Duration::min);
        let heard = tokio::select! {
            () = tokio::time::sleep(wait) => return Ok(()),
            heard = self.ears.hear() => heard,
        };
        match heard {
            Heard::Word(word) => drop(self.heed(word).await?),
            // After a sleep the network may be another, and a server that was away may be back.
            Heard::Jumped { forward: true } => {
                self.shared.works.forget(&self.task.job.name);
                self.wants.retry = self.wants.retry.map(|_| Duration::ZERO);
            }
            Heard::Seen(sight) => self.heed_sight(sight).await?,
            Heard::Jumped { forward: false } | Heard::Stop => {}
        }
        Ok(())
    }

    /// Does what a person says. Returns whether the round that is under way has to stop.
    pub(super) async fn heed(&mut self, word: Word) -> Result<Option<Cut>> {
        match word {
            Word::Now(reply) => {
                let answer = self.begin_now();
                answered(reply.send(answer));
            }
            Word::Pause(reply) => {
                let id = self.id;
                self.state = self.shared.journal.update_job_state(id, |state| state.paused = true).await?;
                answered(reply.send(Ok(())));
                return Ok(Some(Cut::Pause));
            }
            Word::Resume { accept_deletes, reply } => {
                let before = self.resume(accept_deletes).await?;
                answered(reply.send(Ok(before)));
            }
            Word::Look(reply) => {
                let waits = self.ears.eyes.as_ref().is_some_and(Eyes::is_waiting);
                self.live.ended.send_modify(|ended| ended.has_work |= waits);
                answered(reply.send(Ok(())));
            }
            Word::Limit(limited, reply) => {
                self.limited = limited;
                self.apply_limit();
                answered(reply.send(Ok(())));
            }
        }
        Ok(None)
    }

    fn begin_now(&mut self) -> Result<u64> {
        let name = &self.task.job.name;
        if let Some(why) = &self.state.halted {
            let error = Error::new(Kind::Halt, "run", name).detail(format!("it is halted: {why}"));
            return Err(error.hint(format!("Look at it, then: highwater resume {name}")));
        }
        if self.state.paused {
            let error = Error::new(Kind::Usage, "run", name).detail("it is paused");
            return Err(error.hint(format!("To let it go on: highwater resume {name}")));
        }
        self.wants.asked = true;
        self.live.ended.send_modify(|ended| ended.has_work = true);
        let ended = self.live.ended.borrow();
        // One that is under way may have passed by what the person means.
        Ok(ended.count + 1 + u64::from(ended.is_running))
    }

    async fn resume(&mut self, accept_deletes: bool) -> Result<JobState> {
        let before = self.state.clone();
        let go_on = move |state: &mut JobState| state.go_on(accept_deletes);
        self.state = self.shared.journal.update_job_state(self.id, go_on).await?;
        self.wants.asked |= before.halted.is_some() || accept_deletes;
        let has_work = self.wants.asked;
        self.live.ended.send_modify(|ended| ended.has_work |= has_work);
        self.wants.retry = None;
        Ok(before)
    }

    /// The rate that holds now, and when another one will.
    pub(super) fn apply_limit(&mut self) -> Option<Time> {
        let now = self.now();
        let holding = self.timetable.at(now);
        let by_table = holding.rate.bytes_per_second().map(std::num::NonZeroU64::get);
        self.limit.set(self.limited.unwrap_or(by_table));
        let (shared, until) = self.line.as_ref().map_or((None, None), |line| line.apply(now));
        self.shown_limit = [self.limit.get(), shared].into_iter().flatten().min();
        self.live.show(|live| live.limit = self.shown_limit);
        [holding.until, until].into_iter().flatten().min()
    }

    /// Keeps what the watcher saw, and wants a round for it.
    pub(super) async fn heed_sight(&mut self, sight: Sight) -> Result<()> {
        match sight {
            Sight::Quiet(quiet) => {
                note(&self.shared.journal, self.id, &quiet).await?;
                self.wants.changes = true;
            }
            Sight::Everything => self.wants.whole = true,
        }
        Ok(())
    }

    pub(super) fn expect_rescan(&mut self) {
        let rescan = self.task.job.watch.as_ref().and_then(|watch| watch.rescan);
        self.wants.rescan = rescan.map(|every| self.shared.uptime() + every);
    }

    /// A round begins now: what it is to do is taken from what is wanted.
    pub(super) async fn take_up(&mut self, whole: bool) -> Result<Owed> {
        let batch = take(&self.shared.journal, self.id).await?;
        let whole = whole || batch.changes.is_none();
        let now = self.now();
        if self.wants.due.is_some_and(|due| due <= now) || whole {
            // Kept when the round has ended: until then the journal has it as one that was cut off.
            self.memory.started(now);
        }
        if let Some(eyes) = self.ears.eyes.as_ref().filter(|_| self.wants.is_rescan(self.shared.uptime())) {
            eyes.renew();
        }
        if whole {
            self.expect_rescan();
        }
        let asked = self.wants.asked;
        let uptime = self.shared.uptime();
        let again = self.wants.again.filter(|again| again.at > uptime && !whole);
        self.is_another_try = again.is_none();
        self.wants = Wants { rescan: self.wants.rescan, again, ..Wants::default() };
        Ok(Owed { whole, asked, batch })
    }

    /// A round came to nothing: what it was to do is wanted again.
    pub(super) fn owe(&mut self, owed: &Owed) {
        self.wants.whole |= owed.whole;
        self.wants.changes |= !owed.batch.is_empty();
    }

    /// What follows from how a round ended.
    pub(super) async fn learn(&mut self, outcome: &Outcome, owed: &Owed) -> Result<()> {
        match outcome.ending {
            Ending::Ok | Ending::Held => {
                self.forget_failures();
                if self.is_another_try {
                    (self.tries, self.wants.again) = (0, None);
                }
                self.acknowledge(owed).await
            }
            Ending::Problems => self.learn_of_problems(owed).await,
            Ending::Failed => {
                self.owe(owed);
                let uptime = self.shared.uptime();
                let since = *self.failing_since.get_or_insert(uptime);
                let wait = RETRY.delay_after(self.failures, self.shared.random.unit(), uptime - since);
                self.wants.retry = Some(uptime + wait);
                self.failures += 1;
                Ok(())
            }
            // What it keeps back stays to be carried.
            Ending::Halted => Ok(()),
        }
    }

    fn forget_failures(&mut self) {
        (self.failures, self.failing_since) = (0, None);
    }

    /// What has problems is tried again a few times, whatever else is done meanwhile.
    async fn learn_of_problems(&mut self, owed: &Owed) -> Result<()> {
        self.forget_failures();
        if !self.is_another_try {
            return Ok(());
        }
        if self.tries >= MOST_TRIES_FOR_PROBLEMS {
            (self.tries, self.wants.again) = (0, None);
            return self.acknowledge(owed).await;
        }
        let at = self.shared.uptime() + RETRY.delay(self.tries, self.shared.random.unit());
        self.wants.again = Some(Again { at, whole: owed.whole || owed.batch.is_empty() });
        self.tries += 1;
        Ok(())
    }

    async fn acknowledge(&self, owed: &Owed) -> Result<()> {
        acknowledge(&self.shared.journal, self.id, &owed.batch).await
    }
}

/// What a round is to do.
pub(super) struct Owed {
    /// It looks at all.
    pub whole: bool,
    /// A person asked for it.
    pub asked: bool,
    /// What the watcher saw change up to then.
    pub batch: Batch,
}

/// Whoever asked may have hung up meanwhile; what was asked is done all the same.
pub(super) fn answered<T>(_: std::result::Result<(), T>) {}

fn memory_key(id: JobId) -> String {
    format!("schedule.{id}")
}

/// Takes back `1790000000.000000001`.
fn parse_time(text: &str) -> Option<Time> {
    let (secs, nanos) = text.split_once('.')?;
    Some(Time { secs: secs.parse().ok()?, nanos: nanos.parse().ok().filter(|nanos| *nanos < 1_000_000_000)? })
}

/// The zone of this name, which the config has checked; else the system's own.
fn zone(name: Option<&str>) -> TimeZone {
    name.and_then(|name| TimeZone::get(name).ok()).unwrap_or_else(TimeZone::system)
}

fn timer(schedule: &Schedule, window: &Window, seed: u64) -> Result<Timer> {
    let named = match &schedule.when {
        When::Cron { zone, .. } => zone.as_deref(),
        When::Every(_) => None,
    };
    Timer::new(schedule, window.clone(), zone(named), seed)
        .map_err(|why| Error::new(Kind::Internal, "understand the schedule", "").detail(why))
}

/// The same for a job each time, another for each job and each agent.
fn seed(agent: &str, job: &str) -> u64 {
    let hash = blake3::hash(format!("{agent}/{job}").as_bytes());
    hash.as_bytes().iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back_from_text() {
        let check = |text: &str, expected: Option<Time>| assert_eq!(parse_time(text), expected, "{text}");
        check("1790000000.000000001", Some(Time { secs: 1_790_000_000, nanos: 1 }));
        check("-1.999999999", Some(Time { secs: -1, nanos: 999_999_999 }));
        check("1.9999999999", None);
        check("1", None);
        check("x.1", None);
    }

    #[test]
    fn jitter_differs_from_job_to_job_and_stays() {
        assert_eq!(seed("a", "nightly"), seed("a", "nightly"));
        assert_ne!(seed("a", "nightly"), seed("b", "nightly"));
        assert_ne!(seed("a", "nightly"), seed("a", "hourly"));
    }
}
