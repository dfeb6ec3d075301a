//! One round of one job: observe, plan, guard, transfer, record.
//!
//! A round is made of attempts. An attempt looks at both sides, plans and carries out; if the connection
//! is lost, the next attempt begins from what the journal holds, exactly as the first one after a crash
//! would. That is the only way of going on there is, so it is the one that is tested.
//!
//! What a job does not know: schedules, config files, how a server is reached ([`Dial`]), who watches.

mod base;
mod guard;
mod local;
mod naming;
mod near;
mod own_files;
mod pull;
mod push;
mod scope;
mod spec;
mod sweep;
mod wheel;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::clock::{Clock, Random};
use crate::entry::Time;
use crate::error::{Error, Kind, Problem, Result};
use crate::id::{JobId, RoundId, Token};
use crate::journal::{JobState, Journal};
use crate::monitor::{Event, Monitor};
use crate::outcome::{Ending, Mode, Outcome};
use crate::path::{LocalRoot, RelPath};
use crate::plan::{Action, Removal, Rules};
use crate::report::summary::{describe, failed};
use crate::scan::Skip;
use crate::transfer::record::Record;
use crate::transfer::tally::Tally;
use crate::transfer::verify::Sampling;
use crate::transfer::{Options, Parts};
use crate::tree::Tree;
pub use near::Near;
pub use spec::Spec;

/// How long an attempt may take to end after it was told to stop.
const STOP_WITHIN: Duration = Duration::from_secs(9);

/// Reaches both sides.
pub trait Dial: Send + Sync + 'static {
    /// The near side.
    type Near: Near;
    /// The far side once it is reached. Dropping the last handle closes the connection.
    type Far: Tree;

    /// Opens the near root. Errors with `NotFound` if it is not there.
    fn open_near(&self, root: &LocalRoot) -> Result<Self::Near>;

    /// Makes the near root if it is not there, and opens it.
    fn make_near(&self, root: &LocalRoot) -> Result<Self::Near>;

    /// Connects, logs in, starts SFTP.
    fn dial(&self) -> impl Future<Output = Result<Arc<Self::Far>>> + Send;

    /// Whether an earlier round of the same job ended in order over the connection that was dialled last,
    /// with its target prepared and nothing left under way.
    fn is_settled(&self) -> bool {
        false
    }

    /// A round over it ended: in order, or not.
    fn settled(&self, _is_in_order: bool) {}
}

/// What a round works with besides its [`Spec`].
pub struct Context {
    /// The journal.
    pub journal: Journal,
    /// The job's row in it.
    pub job: JobId,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Randomness for names, samples and waits.
    pub random: Arc<dyn Random>,
    /// Hears what happens.
    pub monitor: Arc<dyn Monitor>,
    /// Turns true when the program shall stop.
    pub stop: watch::Receiver<bool>,
}

/// Shown what a round would do, instead of doing it.
pub trait Preview: Send {
    /// One action, in the order in which they would begin.
    fn action(&mut self, action: &Action);

    /// One removal, at the end.
    fn removal(&mut self, removal: &Removal);

    /// Why the removals would be held.
    fn held(&mut self, message: &str);
}

/// Runs one round and records it.
pub async fn run<D: Dial>(spec: Spec, context: Context, dial: D) -> Outcome {
    let started = Instant::now();
    let begun = async {
        let agent = context.journal.agent().await?;
        Ok((agent, context.journal.begin_round(context.job, context.clock.now()).await?))
    };
    let (agent, id) = match begun.await {
        Ok(begun) => begun,
        Err(error) => return failed(spec.name, spec.mode, &error, started.elapsed()),
    };
    crate::crash::point("round: begun");
    let round = Round::new(spec, context, dial, id, agent);
    let result = Box::pin(round.attempts()).await; // a type of its own: what is below is deep enough
    round.end(result, started.elapsed()).await
}

/// Shows what a round would do. Connects if it must, changes nothing on either side.
pub async fn preview<D: Dial>(spec: Spec, context: Context, dial: D, show: &mut dyn Preview) -> Result<()> {
    let agent = context.journal.agent().await?;
    let round = Round::new(spec, context, dial, RoundId(0), agent);
    round.hear().await?;
    match round.spec.mode {
        Mode::Push => push::preview(&round, show).await,
        Mode::Pull => pull::preview(&round, show).await,
    }
}

/// How an attempt ended.
enum Attempt {
    /// Everything that could be done was done; removals are held for this reason.
    Done(Option<String>),
    /// Once more; with a look at the far side as a whole if asked for.
    Again { look: bool },
}

/// One round on its way.
struct Round<D: Dial> {
    spec: Spec,
    context: Context,
    dial: D,
    id: RoundId,
    agent: Token,
    tally: Arc<Tally>,
    /// Which pieces are read back in this round.
    seed: u64,
    started: Time,
    was_connected: AtomicBool,
    /// The server was reached in this attempt: what is unreachable is not the server.
    is_connected: AtomicBool,
    /// A person said that the roots are meant as they are.
    accepts_roots: AtomicBool,
    /// A person accepted the deletes of this round, and the journal knows it no more.
    accepts_deletes: AtomicBool,
    /// How many names for folders in the trash were given out: each attempt has one of its own.
    trash_names: AtomicU64,
    /// What the last pass left to the next one.
    postponed: AtomicU64,
}

impl<D: Dial> Round<D> {
    fn new(spec: Spec, context: Context, dial: D, id: RoundId, agent: Token) -> Self {
        let tally = Arc::new(Tally::new(context.monitor.clone(), spec.mode == Mode::Push));
        let (seed, started) = (context.random.u64(), context.clock.now());
        let (was_connected, is_connected, postponed) = (false.into(), false.into(), u64::MAX.into());
        let (accepts_roots, accepts_deletes) = (spec.accept.into(), false.into());
        Self {
            spec,
            context,
            dial,
            id,
            agent,
            tally,
            seed,
            started,
            was_connected,
            is_connected,
            accepts_roots,
            accepts_deletes,
            trash_names: 0.into(),
            postponed,
        }
    }

    /// Attempt after attempt, until one is done or fails for good. Returns why removals are held.
    async fn attempts(&self) -> Result<Option<String>> {
        self.refuse_halted().await?;
        let mut look = false;
        let mut lost_since: Option<Instant> = None;
        let mut tries = 0;
        let mut achieved = 0;
        loop {
            self.tally.begin_attempt();
            let result = self.unless_overdue(self.attempt(look)).await;
            let error = match self.settle_result(result) {
                Ok(Attempt::Done(held)) => return Ok(held),
                Ok(Attempt::Again { look: whole }) => {
                    look = whole;
                    continue;
                }
                Err(error) => error,
            };
            let now_achieved = self.tally.achieved();
            if now_achieved > achieved {
                (achieved, tries, lost_since) = (now_achieved, 0, None);
            }
            let lost_since = *lost_since.get_or_insert_with(Instant::now);
            if !self.may_reconnect(&error, lost_since) {
                return Err(error);
            }
            self.wait_to_reconnect(&error, tries, lost_since.elapsed()).await?;
            tries += 1;
        }
    }

    async fn attempt(&self, look: bool) -> Result<Attempt> {
        match self.spec.mode {
            Mode::Push => push::attempt(self, look).await,
            Mode::Pull => pull::attempt(self).await,
        }
    }

    /// An attempt that was told to stop has a while to leave things in order; a server that does not answer
    /// gets no more than that.
    async fn unless_overdue(&self, attempt: impl Future<Output = Result<Attempt>>) -> Result<Attempt> {
        let mut stop = self.context.stop.clone();
        let overdue = async {
            if stop.wait_for(|stop| *stop).await.is_err() {
                std::future::pending::<()>().await; // nobody can stop it any more
            }
            tokio::time::sleep(STOP_WITHIN).await;
        };
        tokio::select! {
            biased;
            result = attempt => result,
            () = overdue => Err(crate::transfer::stopped()),
        }
    }

    /// Whether the program shall stop.
    fn must_stop(&self) -> bool {
        *self.context.stop.borrow()
    }

    /// The reason that ended an attempt is in the tally; what its tasks saw was only that it ended.
    fn settle_result(&self, result: Result<Attempt>) -> Result<Attempt> {
        match (result, self.tally.take_end()) {
            (_, Some(end)) => Err(end),
            (result, None) => result,
        }
    }

    fn may_reconnect(&self, error: &Error, lost_since: Instant) -> bool {
        let unreached = error.kind() == Kind::Unreachable && !self.is_connected.load(Ordering::Relaxed);
        let lost = error.kind().loses_connection() || unreached;
        let was_connected = self.was_connected.load(Ordering::Relaxed);
        lost && was_connected && lost_since.elapsed() < self.spec.retry_for
    }

    async fn wait_to_reconnect(&self, error: &Error, tries: u32, lost_for: Duration) -> Result<()> {
        let delay = Backoff::RECONNECT.delay_after(tries, self.context.random.unit(), lost_for);
        let reason = error.reason();
        if tries == 0 {
            let message = format!("connected again: {reason}");
            self.tally.recovered(Problem::new(RelPath::root(), "connect", "reconnected", message));
        }
        let delay_millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.tally.tell(Event::Reconnecting { reason, delay_millis });
        let mut stop = self.context.stop.clone();
        tokio::select! {
            biased;
            () = tokio::time::sleep(delay) => Ok(()),
            _ = stop.wait_for(|stop| *stop) => Err(crate::transfer::stopped()),
        }
    }

    /// Takes in what a person said since the last round: `highwater resume` forgets the near root.
    async fn hear(&self) -> Result<JobState> {
        let state = self.state().await?;
        if state.near_root.is_none() {
            self.accepts_roots.store(true, Ordering::Relaxed);
        }
        Ok(state)
    }

    async fn refuse_halted(&self) -> Result<()> {
        let state = self.hear().await?;
        match state.halted {
            Some(why) if self.spec.stays_halted && !self.spec.accept => {
                Err(Error::new(Kind::Halt, "run", &self.spec.name)
                    .detail(format!("it is halted: {why}"))
                    .hint(self.spec.go_on_hint()))
            }
            _ => Ok(()),
        }
    }

    async fn state(&self) -> Result<JobState> {
        self.context.journal.job_state(self.context.job).await
    }

    /// Connects to the far side.
    async fn reach(&self) -> Result<Arc<D::Far>> {
        self.is_connected.store(false, Ordering::Relaxed);
        self.tally.tell(Event::Connecting { server: self.spec.server.clone() });
        let mut stop = self.context.stop.clone();
        let far = tokio::select! {
            biased;
            far = self.dial.dial() => far?,
            _ = stop.wait_for(|stop| *stop) => return Err(crate::transfer::stopped()),
        };
        self.was_connected.store(true, Ordering::Relaxed);
        self.is_connected.store(true, Ordering::Relaxed);
        tracing::info!("connected to {}", self.spec.server);
        Ok(far)
    }

    fn rules(&self, no_deletes: bool) -> Rules {
        if self.spec.delete && !no_deletes { Rules::with_deletes() } else { Rules::without_deletes() }
    }

    /// What is left out on both sides.
    fn skip(&self) -> Skip {
        let (filter, only) = (self.spec.filter.clone(), self.spec.only.clone());
        Arc::new(move |path, is_dir| {
            only.as_ref().is_some_and(|only| only != path) || filter.excludes(path, is_dir)
        })
    }

    /// The same for a path of which nobody has looked at the folders above.
    fn skip_with_parents(&self) -> Skip {
        let (filter, only) = (self.spec.filter.clone(), self.spec.only.clone());
        Arc::new(move |path, is_dir| {
            only.as_ref().is_some_and(|only| only != path) || filter.excludes_with_parents(path, is_dir)
        })
    }

    /// Tells whoever watches how far the look at both sides is.
    fn tell_seen(&self, (source, target): (u64, u64), last: bool) {
        const EVERY: u64 = 256;
        if last || (source + target).is_multiple_of(EVERY) {
            let (near, far) = if self.spec.mode == Mode::Push { (source, target) } else { (target, source) };
            self.tally.tell(Event::Scanned { near, far });
        }
    }

    fn tell_planned(&self, action: &Action) {
        if let Action::Put { source, .. } = action {
            self.tally.tell(Event::Planned { files: 1, bytes: source.size });
        }
    }

    fn parts<S: Tree, T: Tree>(&self, source: Arc<S>, target: Arc<T>) -> Parts<S, T> {
        Parts {
            source,
            target,
            record: self.record(),
            tally: self.tally.clone(),
            random: self.context.random.clone(),
            clock: self.context.clock.clone(),
        }
    }

    fn record(&self) -> Record {
        Record::new(self.context.journal.clone(), self.context.job, self.id, self.spec.mode)
            .following_deletes(self.spec.delete)
    }

    fn options(&self, rules: Rules) -> Options {
        Options {
            sampling: Sampling::new(self.spec.level, self.seed),
            durable: self.spec.durable,
            settle: self.spec.settle,
            agent: self.agent.clone(),
            trash: self.spec.trash.map(|_| self.trash_name()),
            rate: self.spec.rate.clone(),
            line: self.spec.line.clone(),
            breadth: self.spec.breadth.clone(),
            rules,
            stop: self.context.stop.clone(),
        }
    }

    /// The name of this round's folder in the trash: when, whose, which.
    fn trash_name(&self) -> String {
        let stamp = jiff::Timestamp::from_second(self.started.secs)
            .map(|t| t.strftime("%Y%m%dT%H%M%SZ").to_string())
            .unwrap_or_default();
        let name = format!("{stamp}-{}-{}", &self.agent.as_str()[..8], self.id);
        match self.trash_names.fetch_add(1, Ordering::Relaxed) {
            0 => name,
            attempt => format!("{name}-{attempt}"),
        }
    }

    /// Records how the round ended.
    async fn end(self, result: Result<Option<String>>, elapsed: Duration) -> Outcome {
        let total = self.tally.total();
        let result = result.map(|held| held.or_else(|| kept_back(total.counts.held)));
        let (ending, message, exit_code) = match &result {
            Ok(Some(held)) => (Ending::Held, Some(held.clone()), 4),
            Ok(None) if !total.problems.is_empty() => (Ending::Problems, None, 1),
            Ok(None) => (Ending::Ok, None, 0),
            Err(error) => (ending_of(error), Some(describe(error)), error.kind().exit_code()),
        };
        let mut outcome = Outcome {
            job: self.spec.name.clone(),
            mode: self.spec.mode,
            ending,
            counts: total.counts,
            problems: total.problems,
            recovered: total.recovered,
            elapsed,
            message,
            exit_code,
        };
        if let Err(error) = self.write_end(&result, &outcome).await {
            outcome.ending = outcome.ending.max(Ending::Failed);
            outcome.exit_code = outcome.exit_code.max(error.kind().exit_code());
            let text = describe(&error);
            outcome.message = Some(outcome.message.map_or(text.clone(), |old| format!("{old}\n{text}")));
        }
        outcome
    }

    async fn write_end(&self, result: &Result<Option<String>>, outcome: &Outcome) -> Result<()> {
        crate::crash::point("round: before its end is written");
        let journal = &self.context.journal;
        let halt = match result {
            Err(error) if ending_of(error) == Ending::Halted => Some(error.reason()),
            _ => None,
        };
        let (went_on, all_done) = (result.is_ok(), matches!(result, Ok(None)));
        journal
            .update_job_state(self.context.job, move |state| {
                if halt.is_some() {
                    state.halted = halt;
                } else if went_on {
                    state.halted = None;
                    state.accept_deletes &= !all_done;
                }
            })
            .await?;
        journal.end_round(self.id, self.context.clock.now(), outcome).await?;
        journal.flush().await
    }
}

/// Why `held` deletes and displacements wait that no limit holds.
fn kept_back(held: u64) -> Option<String> {
    let message =
        "are held: what makes way cannot be kept in the trash, see the problems; everything else goes on";
    (held > 0).then(|| format!("{held} deletes or displacements {message}"))
}

fn ending_of(error: &Error) -> Ending {
    match error.kind() {
        Kind::Halt | Kind::HostKeyChanged => Ending::Halted,
        _ => Ending::Failed,
    }
}
