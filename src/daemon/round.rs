//! One round in the daemon: a task of its own, watched over until it ended.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep_until};

use super::power;
use super::turns::{Cut, Heard, Owed, Turns};
use super::works::{Order, Works};
use crate::calendar::since;
use crate::config::model::OnlyIf;
use crate::entry::Time;
use crate::error::{Error, Kind, Result};
use crate::outcome::{Ending, Outcome};
use crate::report::summary::failed;
use crate::tell::hooks;

/// How long a round that shall stop may take to leave things in order. Less than the ten seconds within
/// which the daemon ends.
const GRACE: Duration = Duration::from_millis(8_800);

/// The longest time until the timetable and the window are looked at again.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// A round that is under way.
struct Under {
    work: JoinHandle<Outcome>,
    stop: watch::Sender<bool>,
    cut: Option<Cut>,
    /// When it is given up, if it shall stop.
    give_up: Option<Instant>,
}

impl Under {
    fn stop(&mut self, why: Cut) {
        if self.cut.is_none() {
            self.stop.send_replace(true);
            self.cut = Some(why);
            self.give_up = Some(Instant::now() + GRACE);
        }
    }

    /// Gives up what should have stopped by now.
    fn look(&mut self) {
        if self.give_up.is_some_and(|at| at <= Instant::now()) {
            self.work.abort();
            self.give_up = None;
        }
    }
}

impl<W: Works> Turns<W> {
    /// Makes one round.
    pub(super) async fn turn(&mut self, whole: bool) -> Result<()> {
        let owed = self.take_up(whole).await?;
        let before = self.shared.journal.last_round(self.id).await?;
        let (started, started_at) = (std::time::Instant::now(), self.now());
        self.shared.voice.started(&self.task.job.name, started_at);
        self.live.begin();
        let mut under = self.begin(&owed);
        let joined = self.watch_over(&mut under, owed.asked).await;
        self.live.end();
        let outcome = joined?.unwrap_or_else(|broken| self.broken(&broken, started.elapsed()));
        let round = self.shared.journal.settle_round(self.id, before, self.now(), &outcome).await?;
        self.state = self.shared.journal.job_state(self.id).await?;
        match under.cut.filter(|_| hooks::is_unfinished(&outcome)) {
            Some(cut) => {
                tracing::info!("{}: stopped ({})", self.task.job.name, cut.why());
                self.owe(&owed);
            }
            None => {
                log(&outcome);
                self.shared.voice.ended(&outcome, started_at, self.now()).await?;
                self.learn(&outcome, &owed).await?;
            }
        }
        self.live.ended.send_modify(|ended| {
            ended.count += 1;
            ended.round = Some(round);
            ended.is_running = false;
        });
        Ok(())
    }

    fn begin(&mut self, owed: &Owed) -> Under {
        tracing::info!("{}: a round begins", self.task.job.name);
        self.apply_limit();
        let (stop, stopped) = watch::channel(false);
        let order = Order {
            task: self.task.clone(),
            id: self.id,
            journal: self.shared.journal.clone(),
            changes: owed.batch.changes.clone().filter(|_| !owed.whole),
            limit: self.limit.clone(),
            line: self.line.as_ref().map(|line| line.throttle.clone()),
            monitor: self.live.clone(),
            stop: stopped,
        };
        let shared = self.shared.clone();
        let work = tokio::spawn(async move {
            let (task, stop) = (order.task.clone(), order.stop.clone());
            hooks::around(&task.job, &*shared.clock, stop, shared.works.round(order)).await
        });
        Under { work, stop, cut: None, give_up: None }
    }

    /// Until it ended: hears what is said meanwhile, and stops it when its time is over.
    async fn watch_over(&mut self, under: &mut Under, asked: bool) -> Result<Result<Outcome, JoinError>> {
        loop {
            let look = self.next_look(under);
            let heard = tokio::select! {
                joined = &mut under.work => return Ok(joined),
                heard = self.ears.hear() => heard,
                () = sleep_until(look) => {
                    under.look();
                    if !self.window.is_open(self.now()) {
                        under.stop(Cut::Window);
                    }
                    if !asked && let Some(why) = self.shared.power.keeps_back(&self.task.job.only_if).await {
                        under.stop(Cut::System(why));
                    }
                    continue;
                }
            };
            match heard {
                Heard::Word(word) => {
                    if let Some(cut) = self.heed(word).await? {
                        under.stop(cut);
                    }
                }
                Heard::Jumped { forward: true } => under.stop(Cut::Slept),
                Heard::Seen(sight) => self.heed_sight(sight).await?,
                Heard::Jumped { forward: false } => {}
                Heard::Stop => under.stop(Cut::Stop),
            }
        }
    }

    /// When to look again: at the timetable, at the window, at whether it has stopped.
    fn next_look(&mut self, under: &Under) -> Instant {
        let now = self.now();
        let rate_until = self.apply_limit();
        let closes = self.window.closes_at(now).filter(|_| under.cut.is_none());
        let every = if self.task.job.only_if == OnlyIf::default() { LOOK_EVERY } else { power::LOOK_EVERY };
        let wait = |at: Option<Time>| at.map_or(every, |at| since(at, now));
        let wait = wait(rate_until).min(wait(closes)).min(every);
        let look = Instant::now() + wait.max(Duration::from_millis(1));
        under.give_up.map_or(look, |give_up| give_up.min(look))
    }

    fn broken(&self, broken: &JoinError, elapsed: Duration) -> Outcome {
        let job = &self.task.job;
        let error = match broken.is_panic() {
            true => Error::new(Kind::Internal, "finish the round of", &job.name)
                .detail("it broke off by a fault of the program")
                .hint("The log has more; please report it."),
            false => Error::new(Kind::Interrupted, "finish the round of", &job.name)
                .detail("it did not stop in time and was given up"),
        };
        failed(job.name.clone(), job.mode, &error, elapsed)
    }
}

impl Cut {
    fn why(self) -> &'static str {
        match self {
            Cut::Stop => "the job ends",
            Cut::Pause => "paused",
            Cut::Window => "its window closes",
            Cut::Slept => "the machine slept",
            Cut::System(why) => why,
        }
    }
}

/// Tells the log how a round ended: a line for each thing that a person may have to know.
fn log(outcome: &Outcome) {
    let text = crate::report::summary::text(outcome, crate::report::summary::Started::AsJob);
    for line in text.lines() {
        match outcome.ending {
            Ending::Ok => tracing::info!("{line}"),
            Ending::Problems | Ending::Held => tracing::warn!("{line}"),
            Ending::Failed | Ending::Halted => tracing::error!("{line}"),
        }
    }
}
