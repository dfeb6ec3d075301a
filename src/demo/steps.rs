//! The five rounds, and what is expected of each.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::check::Check;
use super::compare::{self, Comparison};
use super::edits::{self, RECORDING};
use super::far_end::FarEnd;
use super::sample::{self, FILM, Sample};
use super::{Around, Options, Report, Step};
use crate::clock::{SystemClock, SystemRandom};
use crate::error::{Error, Kind, Result};
use crate::filter::Filter;
use crate::hash::{Level, PIECE_BYTES};
use crate::id::JobId;
use crate::job::{self, Spec};
use crate::journal::Journal;
use crate::monitor::{Event, Monitor};
use crate::outcome::{Mode, Outcome};
use crate::path::{LocalRoot, RelPath};
use crate::plan::guard::DeleteLimits;
use crate::report::{count, number};
use crate::server::misbehave::{Deed, Fault, Op, Rule};
use crate::units::{ByteSize, human_duration};

/// Where the demonstration's own folders are, below its folder.
const NEAR: &str = "source";
const FAR: &str = "server/data";
const BACK: &str = "pulled";
const STATE: &str = "state";

/// What a cut may cost of the file that was under way, in bytes.
const MOST_TWICE: u64 = 16 << 20;

/// How long the trash is kept, and how often the far side is looked at without need.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long a lost connection is tried again: it is a matter of milliseconds here.
const RETRY_FOR: Duration = Duration::from_secs(60);

/// Everything that the rounds work with.
pub struct Stage<'a, A: Around> {
    options: Options,
    around: &'a A,
    far: FarEnd,
    push: Job<A::Dial>,
    pull: Job<A::Dial>,
    report: Report,
}

/// One job: what its rounds do, and what they remember.
struct Job<D> {
    spec: Spec,
    journal: Journal,
    id: JobId,
    dial: D,
}

impl<'a, A: Around> Stage<'a, A> {
    /// Makes the folders, the sample and the journals, and starts the server.
    pub async fn set(options: Options, around: &'a A) -> Result<Self> {
        crate::local::raise_open_files();
        let folder = options.folder.clone();
        for name in ["server", STATE] {
            let path = folder.join(name);
            std::fs::create_dir(&path).map_err(|e| compare::failed("make the folder", &path, e))?;
        }
        let sample = make_sample(&options, around).await?;
        let far = FarEnd::start(&folder.join("server"), &folder.join("key")).await?;
        around.tell("server", &format!("ours, on {}, over SSH; its host key is pinned", far.addr()));
        let push = Job::new(Mode::Push, &folder.join(NEAR), &folder, &far, around).await?;
        let pull = Job::new(Mode::Pull, &folder.join(BACK), &folder, &far, around).await?;
        let (seed, elapsed) = (options.seed, Duration::ZERO);
        let report = Report { version: 1, seed, sample, steps: Vec::new(), holds: false, folder, elapsed };
        Ok(Self { options, around, far, push, pull, report })
    }

    /// One round after the other, until an expectation does not hold.
    pub async fn play(&mut self) -> Result<()> {
        self.report.holds = self.first_push().await?
            && self.changes().await?
            && self.nothing_to_do().await?
            && self.damage().await?
            && self.back().await?;
        Ok(())
    }

    /// Closes everything. What is in the folder stays.
    pub async fn clear(self) -> Result<Report> {
        for job in [self.push, self.pull] {
            job.journal.close().await?;
            drop(job.dial);
        }
        self.far.stop().await;
        Ok(self.report)
    }

    /// Everything is sent, and the line is cut in the middle of the largest file.
    async fn first_push(&mut self) -> Result<bool> {
        let mark = self.options.size.film_bytes() / 3 * 2;
        self.far.script.add(Rule::on(Op::Write, Fault::CutAtByte(mark)).each_file().once());
        let cut_after = ByteSize(mark).human();
        self.around
            .tell("push 1", &format!("sends everything; the line is cut {cut_after} into the largest file"));
        let (turn, seen) = self.round_with_cut().await?;
        let both = self.compare(FAR).await?;
        let kept = turn.kept_of(FILM);
        // What the server wrote beyond the content are some bytes of bookkeeping.
        let twice = turn.written.saturating_sub(self.report.sample.bytes);
        self.around.tell(
            "",
            &format!(
                "connects again, goes on at {}; done in {}, {} sent twice",
                ByteSize(kept).human(),
                human_duration(turn.outcome.elapsed),
                ByteSize(twice).human(),
            ),
        );
        let cuts = self.far.script.deeds(Deed::Cut);
        let checks = vec![
            Check::equal("the connection is cut once", 1, cuts),
            Check::equal("the round connects twice", 2, turn.connections),
            Check::none("no torn file has a final name when the line is cut", &seen.differences),
            Check::new("less than 16 MiB of the file cross twice", kept + MOST_TWICE > mark, {
                format!("goes on at {kept} of {mark} bytes")
            }),
            self.same(&both),
        ];
        self.end_step("push 1", turn, checks)
    }

    /// The first push, and a look at the far side at the moment of the cut.
    async fn round_with_cut(&self) -> Result<(Turn, Comparison)> {
        let mut round = std::pin::pin!(self.round(&self.push, "push 1"));
        let mut at_cut = std::pin::pin!(self.look_at_cut());
        let (turn, seen) = tokio::select! {
            turn = &mut round => (turn?, None),
            seen = &mut at_cut => (round.await?, Some(seen?)),
        };
        match seen {
            Some(seen) => Ok((turn, seen)),
            None if self.far.script.deeds(Deed::Cut) > 0 => Ok((turn, at_cut.await?)),
            None => Ok((turn, Comparison::default())),
        }
    }

    /// Waits for the cut, and looks at what has a final name by then.
    async fn look_at_cut(&self) -> Result<Comparison> {
        self.far.script.wait_for(Deed::Cut, 1).await;
        self.far.script.clear(); // what goes on has another name, whose bytes would be counted anew
        let (near, far) = (self.path(NEAR), self.path(FAR));
        let seen = self.blocking(move |stop| compare::whole(&near, &far, stop)).await?;
        if seen.differences.is_empty() {
            let files = count(seen.files, "file");
            self.around.tell("", &format!("at that moment {files} have their final names, each one whole"));
        }
        Ok(seen)
    }

    /// A few changes, and only these cross.
    async fn changes(&mut self) -> Result<bool> {
        let (near, kept, seed) = (self.path(NEAR), self.path("deleted"), self.options.seed);
        let keep = kept.clone();
        let edits = self.blocking(move |stop| edits::edit(&near, &keep, seed, stop)).await?;
        let turn = self.round(&self.push, "push 2").await?;
        let both = self.compare(FAR).await?;
        let (trash, deleted) = (self.path(FAR).join(".highwater/trash"), edits.deleted.clone());
        let in_trash = self.blocking(move |_| is_in_trash(&trash, &deleted, &kept)).await?;
        let counts = &turn.outcome.counts;
        self.around.tell(
            "push 2",
            &format!(
                "after an edit, a rename, a delete and a new file: sends {}, {}",
                number(counts.files_sent),
                ByteSize(counts.bytes_sent).human(),
            ),
        );
        self.around.tell(
            "",
            &format!(
                "the deleted file is in the trash; {} only touched do not cross",
                ByteSize(edits.touched_bytes).human(),
            ),
        );
        let checks = vec![
            Check::equal("changed files are sent", edits.new_files, counts.files_sent + counts.renamed),
            Check::new("no more than they hold crosses", counts.bytes_sent <= edits.new_bytes, {
                format!("{} of {} bytes", counts.bytes_sent, edits.new_bytes)
            }),
            Check::equal("names that went away are followed", edits.gone, counts.deleted + counts.renamed),
            Check::new("the deleted file is in the trash, byte for byte", in_trash, {
                format!("{in_trash}, for {}", compare::shown(&edits.deleted))
            }),
            self.same(&both),
        ];
        self.end_step("push 2", turn, checks)
    }

    /// Nothing has changed.
    async fn nothing_to_do(&mut self) -> Result<bool> {
        let sessions = self.far.script.requests(Op::Init);
        let turn = self.round(&self.push, "push 3").await?;
        let sessions = self.far.script.requests(Op::Init) - sessions;
        let (looked, time) = (turn.outcome.counts.unchanged, seconds(&turn.outcome));
        self.around.tell(
            "push 3",
            &format!("finds nothing to do among {} names, and does not connect ({time})", number(looked)),
        );
        let checks = vec![
            Check::equal("it does not connect", 0, turn.connections),
            Check::equal("the server sees no session", 0, sessions),
            Check::equal("nothing is sent", 0, turn.outcome.counts.bytes_sent),
        ];
        self.end_step("push 3", turn, checks)
    }

    /// One bit of a file is flipped on its way.
    async fn damage(&mut self) -> Result<bool> {
        let (near, size, seed) = (self.path(NEAR), self.options.size, self.options.seed);
        let bytes = self.blocking(move |stop| edits::add_recording(&near, size, seed, stop)).await?;
        // No request carries more than a piece, so this one is in the middle of the file. What else is written
        // meanwhile does not count.
        let middle = bytes / PIECE_BYTES / 2;
        self.far.script.add(Rule::on(Op::Write, Fault::Flip).each_file().from_nth(middle).once());
        let turn = self.round(&self.push, "push 4").await?;
        self.far.script.clear();
        let both = self.compare(FAR).await?;
        let caught = turn
            .outcome
            .recovered
            .iter()
            .filter(|p| p.kind == Kind::Corrupt.as_str() && p.path.as_bytes() == RECORDING.as_bytes());
        let caught = caught.count() as u64;
        self.around.tell(
            "push 4",
            &format!(
                "a bit of {} flips on the way: noticed, {} resent ({})",
                ByteSize(bytes).human(),
                ByteSize(turn.outcome.counts.bytes_sent.saturating_sub(bytes)).human(),
                seconds(&turn.outcome),
            ),
        );
        let checks = vec![
            Check::equal("one bit is flipped", 1, self.far.script.deeds(Deed::Flipped)),
            Check::equal("it is noticed, and the block sent again", 1, caught),
            self.same(&both),
        ];
        self.end_step("push 4", turn, checks)
    }

    /// Everything comes back into a third folder.
    async fn back(&mut self) -> Result<bool> {
        let turn = self.round(&self.pull, "pull").await?;
        let counts = &turn.outcome.counts;
        self.around.tell(
            "pull",
            &format!(
                "brings {}, {}, from there to a third folder ({})",
                count(counts.files_received, "file"),
                ByteSize(counts.bytes_received).human(),
                seconds(&turn.outcome),
            ),
        );
        let both = self.compare(BACK).await?;
        if both.differences.is_empty() {
            let text = "every byte, name, mode, time and link: the third folder is the first";
            self.around.tell("compare", text);
        }
        let mut staged = Vec::new();
        for root in [FAR, BACK] {
            let stage = self.path(root).join(".highwater/stage");
            staged.extend(self.blocking(move |_| compare::files_below(&stage)).await?);
        }
        let checks = vec![
            Check::equal("every file comes back", both.files, counts.files_received),
            self.same(&both),
            Check::none("nothing half-written is left on either side", &staged),
        ];
        self.end_step("pull", turn, checks)
    }

    /// Runs a round of a job.
    async fn round(&self, job: &Job<A::Dial>, title: &str) -> Result<Turn> {
        let written = self.far.script.written_bytes();
        let heard = Arc::new(Heard::new(self.around.watch(title)));
        let context = job::Context {
            journal: job.journal.clone(),
            job: job.id,
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            monitor: heard.clone(),
            stop: self.options.stop.clone(),
        };
        let outcome = job::run(job.spec.clone(), context, job.dial.clone()).await;
        compare::refuse_to_go_on(&self.options.stop)?;
        if outcome.exit_code == Kind::Internal.exit_code() {
            let message = outcome.message.unwrap_or_default();
            return Err(Error::new(Kind::Internal, "carry out", title).detail(message));
        }
        let written = self.far.script.written_bytes() - written;
        Ok(Turn {
            outcome,
            connections: heard.connections.load(Ordering::Relaxed),
            kept: heard.kept(),
            written,
        })
    }

    /// Compares the source with another of the demonstration's trees.
    async fn compare(&self, other: &str) -> Result<Comparison> {
        let (near, other) = (self.path(NEAR), self.path(other));
        self.blocking(move |stop| compare::compare(&near, &other, stop)).await
    }

    fn same(&self, both: &Comparison) -> Check {
        Check::none("both trees are the same, byte for byte", &both.differences)
    }

    /// Writes down what came of a step. Whether all of it was as expected.
    fn end_step(&mut self, step: &'static str, turn: Turn, checks: Vec<Check>) -> Result<bool> {
        let checks = [vec![Check::ended_well(&turn.outcome)], checks].concat();
        let holds = checks.iter().all(|check| check.holds);
        self.report.steps.push(Step {
            step,
            connections: turn.connections,
            bytes_written_by_server: turn.written,
            bytes_gone_on_after: turn.kept.iter().map(|(_, bytes)| bytes).sum(),
            round: turn.outcome,
            checks,
        });
        Ok(holds)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.options.folder.join(name)
    }

    /// Does something with files, where it holds up nobody.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&tokio::sync::watch::Receiver<bool>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        blocking(&self.options, work).await
    }
}

async fn blocking<T: Send + 'static>(
    options: &Options,
    work: impl FnOnce(&tokio::sync::watch::Receiver<bool>) -> Result<T> + Send + 'static,
) -> Result<T> {
    let stop = options.stop.clone();
    let done = tokio::task::spawn_blocking(move || work(&stop)).await;
    done.map_err(|e| Error::new(Kind::Internal, "work with", "the trees").because(e))?
}

async fn make_sample<A: Around>(options: &Options, around: &A) -> Result<Sample> {
    let started = std::time::Instant::now();
    let (root, size, seed) = (options.folder.join(NEAR), options.size, options.seed);
    let sample = blocking(options, move |stop| sample::make(&root, size, seed, stop)).await?;
    around.tell(
        "sample",
        &format!(
            "{} in {} with odd names, {}: {} ({})",
            count(sample.files, "file"),
            count(sample.folders, "folder"),
            count(sample.links, "link"),
            ByteSize(sample.bytes).human(),
            human_duration(started.elapsed()),
        ),
    );
    Ok(sample)
}

/// How long a round took, also where it was no time at all.
fn seconds(outcome: &Outcome) -> String {
    match outcome.elapsed.as_millis() {
        millis @ ..1_000 => format!("{millis}ms"),
        _ => human_duration(outcome.elapsed),
    }
}

/// Whether a round's folder of the trash holds what was deleted, byte for byte.
fn is_in_trash(trash: &Path, deleted: &Path, kept: &Path) -> Result<bool> {
    for round in std::fs::read_dir(trash).map_err(|e| compare::failed("list", trash, e))? {
        let round = round.map_err(|e| compare::failed("list", trash, e))?;
        if compare::same_bytes(&round.path().join(deleted), kept)? {
            return Ok(true);
        }
    }
    Ok(false)
}

impl<D> Job<D> {
    async fn new<A: Around<Dial = D>>(
        mode: Mode,
        local: &Path,
        folder: &Path,
        far: &FarEnd,
        around: &A,
    ) -> Result<Self> {
        let journal = Journal::open(&folder.join(STATE).join(format!("{}.db", mode.as_str())))?.journal;
        let id = journal.job(mode.as_str()).await?;
        let to = far.to(&folder.join(STATE), &journal)?;
        let local = LocalRoot::new(local).map_err(|e| compare::failed("find", local, e))?;
        let spec = Spec {
            name: mode.as_str().into(),
            mode,
            local,
            remote: to.root.clone(),
            server: to.endpoint.to_string(),
            filter: Filter::default(),
            only: None,
            changes: None,
            delete: true,
            accept: false,
            stays_halted: false,
            limits: DeleteLimits::default(),
            trash: Some(30 * DAY),
            audit: Some(DAY),
            settle: Duration::from_secs(2),
            durable: true,
            level: Level::Full,
            rate: crate::transfer::throttle::Limit::new(None),
            line: None,
            breadth: None,
            retry_for: RETRY_FOR,
            go_on: "highwater demo".into(),
            accept_deletes: "highwater demo".into(),
        };
        Ok(Self { spec, journal, id, dial: around.reach(to).await? })
    }
}

/// One round, and what was noticed of it from outside.
struct Turn {
    outcome: Outcome,
    connections: u64,
    /// Large files that were gone on with, and after how many bytes.
    kept: Vec<(RelPath, u64)>,
    /// Content that reached the server's disk, in bytes.
    written: u64,
}

impl Turn {
    fn kept_of(&self, path: &str) -> u64 {
        let kept = self.kept.iter().find(|(of, _)| of.as_bytes() == path.as_bytes());
        kept.map_or(0, |(_, bytes)| *bytes)
    }
}

/// Counts what the story is about, and passes on the rest.
struct Heard {
    onward: Arc<dyn Monitor>,
    connections: AtomicU64,
    kept: std::sync::Mutex<Vec<(RelPath, u64)>>,
}

impl Heard {
    fn new(onward: Arc<dyn Monitor>) -> Self {
        Self { onward, connections: AtomicU64::new(0), kept: Default::default() }
    }

    fn kept(&self) -> Vec<(RelPath, u64)> {
        self.kept.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }
}

impl Monitor for Heard {
    fn event(&self, event: Event) {
        match &event {
            Event::Connecting { .. } => drop(self.connections.fetch_add(1, Ordering::Relaxed)),
            Event::Resumed { path, bytes } => {
                self.kept.lock().unwrap_or_else(|e| e.into_inner()).push((path.clone(), *bytes));
            }
            _ => {}
        }
        self.onward.event(event);
    }
}
