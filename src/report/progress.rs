//! Progress on a terminal, heard through [`Monitor`]: files, bytes, rate, time left.
//!
//! Events only count; a thread of its own draws ten times a second, so that a slow terminal never
//! holds up the work. What was not drawn is not lost: the summary has it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{count, number, one_line, summary};
use crate::monitor::{Event, Monitor};
use crate::units::{ByteSize, human_duration};

/// How often the lines are drawn.
const TICK: Duration = Duration::from_millis(100);

/// How many notes may wait to be drawn.
const MAX_NOTES: usize = 100;

/// Width of the bar in characters: both lines then fit 80 columns.
const BAR_WIDTH: u64 = 20;

/// Where progress lines appear: standard error if that is a terminal and `quiet` is not asked for,
/// else nowhere. The log writes above the same lines.
pub fn bars(quiet: bool) -> MultiProgress {
    let target = match quiet {
        true => ProgressDrawTarget::hidden(),
        false => ProgressDrawTarget::stderr_with_hz(10),
    };
    MultiProgress::with_draw_target(target)
}

/// A monitor that shows what it hears until it is dropped.
pub struct Progress {
    heard: Arc<Heard>,
    /// Dropping this end tells the drawing thread to stop.
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Shows the rounds of `title` in `bars`. Without a terminal it only counts.
    pub fn start(bars: &MultiProgress, title: &str) -> Self {
        let heard = Arc::new(Heard::default());
        if bars.is_hidden() {
            return Self { heard, stop: None, thread: None };
        }
        let (stop, stopped) = sync_channel(0);
        let painter = Painter::new(bars.clone(), one_line(title), heard.clone());
        let thread = std::thread::Builder::new().name("progress".into());
        let thread = thread.spawn(move || painter.run(&stopped)).ok(); // no thread, no progress: the work goes on
        Self { heard, stop: Some(stop), thread }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it only draws: if it panicked, nothing is lost
        }
    }
}

impl Monitor for Progress {
    fn event(&self, event: Event) {
        let heard = &self.heard;
        match event {
            Event::Connecting { server } => heard.set_phase(Phase::Connecting(server)),
            Event::Reconnecting { reason, delay_millis } => {
                heard.set_phase(Phase::Waiting { reason, delay: Duration::from_millis(delay_millis) });
                heard.plan_again();
            }
            Event::Scanned { near, far } => {
                heard.near.store(near, Ordering::Relaxed);
                heard.far.store(far, Ordering::Relaxed);
                heard.set_phase(Phase::Working);
            }
            Event::Planned { files, bytes } => {
                add(&heard.planned_files, files);
                add(&heard.planned_bytes, bytes);
            }
            Event::Moved { bytes } => {
                add(&heard.moved_bytes, bytes);
                add(&heard.done_bytes, bytes);
                heard.set_phase(Phase::Working);
            }
            Event::Verified { bytes } => add(&heard.verified_bytes, bytes),
            Event::Resumed { bytes, .. } => add(&heard.done_bytes, bytes),
            Event::Placed { bytes, .. } => {
                add(&heard.placed_files, 1);
                add(&heard.placed_bytes, bytes);
            }
            Event::Problem(problem) => heard.note(summary::problem(&problem)),
            Event::Recovered(problem) => {
                heard.note(format!("put right: {}", summary::problem(&problem)));
            }
        }
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

/// What the round is busy with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Working,
    Connecting(String),
    Waiting {
        reason: String,
        delay: Duration,
    },
}

/// What was heard so far. The counters are independent of each other: a reader may see them a moment apart.
#[derive(Default)]
struct Heard {
    near: AtomicU64,
    far: AtomicU64,
    planned_files: AtomicU64,
    planned_bytes: AtomicU64,
    placed_files: AtomicU64,
    placed_bytes: AtomicU64,
    moved_bytes: AtomicU64,
    verified_bytes: AtomicU64,
    /// Of what is planned: what crossed the wire, and what did not have to.
    done_bytes: AtomicU64,
    phase: Mutex<Phase>,
    notes: Mutex<Notes>,
}

/// Lines to be printed above the progress lines.
#[derive(Default)]
struct Notes {
    lines: Vec<String>,
    dropped: u64,
}

impl Heard {
    fn set_phase(&self, phase: Phase) {
        let mut now = lock(&self.phase);
        if *now != phase {
            *now = phase;
        }
    }

    /// The next attempt plans what is not placed, and counts what it need not carry again.
    fn plan_again(&self) {
        for (now, placed) in [
            (&self.planned_files, &self.placed_files),
            (&self.planned_bytes, &self.placed_bytes),
            (&self.done_bytes, &self.placed_bytes),
        ] {
            now.store(placed.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    fn note(&self, line: String) {
        let mut notes = lock(&self.notes);
        match notes.lines.len() < MAX_NOTES {
            true => notes.lines.push(one_line(&line)),
            false => notes.dropped += 1,
        }
    }

    fn take_notes(&self) -> Vec<String> {
        let Notes { mut lines, dropped } = std::mem::take(&mut *lock(&self.notes));
        if dropped > 0 {
            lines.push(format!("and {} more", number(dropped)));
        }
        lines
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// Draws what was heard, on a thread of its own.
struct Painter {
    bars: MultiProgress,
    upper: ProgressBar,
    lower: ProgressBar,
    title: String,
    heard: Arc<Heard>,
}

impl Painter {
    fn new(bars: MultiProgress, title: String, heard: Arc<Heard>) -> Self {
        let line = || bars.add(ProgressBar::no_length().with_style(whole_line()));
        let (upper, lower) = (line(), line());
        Self { bars, upper, lower, title, heard }
    }

    /// Draws until the other end of `stopped` is gone.
    fn run(&self, stopped: &Receiver<()>) {
        while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            self.print_notes();
            self.draw();
        }
        self.print_notes();
        self.upper.finish_and_clear();
        self.lower.finish_and_clear();
    }

    fn print_notes(&self) {
        let notes = self.heard.take_notes();
        if !notes.is_empty() {
            let _ = self.bars.println(notes.join("\n")); // the terminal is gone: the summary has them too
        }
    }

    fn draw(&self) {
        let heard = &self.heard;
        self.upper.set_position(heard.moved_bytes.load(Ordering::Relaxed));
        self.upper.tick();
        self.upper.set_message(upper_line(heard, self.upper.per_sec()));
        self.lower.set_message(format!("{}: {}", self.title, lower_line(heard)));
    }
}

fn whole_line() -> ProgressStyle {
    ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// The bar, or what the round waits for. `rate` in bytes per second.
fn upper_line(heard: &Heard, rate: f64) -> String {
    match &*lock(&heard.phase) {
        Phase::Connecting(server) => format!("connecting to {}", one_line(server)),
        Phase::Waiting { reason, delay } => {
            format!("connection lost, next try in {}: {}", human_duration(*delay), one_line(reason))
        }
        Phase::Working => bar_line(heard, rate),
    }
}

fn bar_line(heard: &Heard, rate: f64) -> String {
    let planned = heard.planned_bytes.load(Ordering::Relaxed);
    if heard.planned_files.load(Ordering::Relaxed) == 0 {
        return "looking for changes".into();
    }
    let done = heard.done_bytes.load(Ordering::Relaxed).min(planned);
    let share = if planned == 0 { 1.0 } else { done as f64 / planned as f64 }; // sizes are hostile: no overflow
    let filled = (share * BAR_WIDTH as f64) as u64;
    let percent = (share * 100.0) as u64;
    let bar: String = (0..BAR_WIDTH).map(|i| if i < filled { '#' } else { '-' }).collect();
    let mut line =
        format!("[{bar}] {percent:>3}%  {} of {}", ByteSize(done).human(), ByteSize(planned).human());
    if rate >= 1.0 && done < planned {
        let left = Duration::from_secs_f64(((planned - done) as f64 / rate).min(1e9));
        line += &format!("  {}/s  {} left", ByteSize(rate as u64).human(), human_duration(left));
    }
    line
}

fn lower_line(heard: &Heard) -> String {
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (placed, files) = (load(&heard.placed_files), load(&heard.planned_files));
    let mut parts = Vec::new();
    if files > 0 {
        parts.push(format!("{} of {}", number(placed), count(files, "file")));
    }
    if load(&heard.verified_bytes) > 0 {
        parts.push(format!("{} verified", ByteSize(load(&heard.verified_bytes)).human()));
    }
    parts.push(format!(
        "{} here and {} there looked at",
        number(load(&heard.near)),
        number(load(&heard.far))
    ));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Problem;
    use crate::path::RelPath;

    fn after(events: impl IntoIterator<Item = Event>) -> Progress {
        let progress = Progress::start(&bars(true), "nightly");
        events.into_iter().for_each(|event| progress.event(event));
        progress
    }

    fn check(events: Vec<Event>, rate: f64, expected: [&str; 2]) {
        let progress = after(events);
        let lines = [upper_line(&progress.heard, rate), lower_line(&progress.heard)];
        assert_eq!(lines, expected);
        assert!(lines.iter().all(|line| line.len() <= 80));
    }

    #[test]
    fn lines_follow_the_round() {
        let connecting = Event::Connecting { server: "web1@backup.example.org:22".into() };
        let scanned = Event::Scanned { near: 12_345, far: 17 };
        let planned = Event::Planned { files: 4_567, bytes: 3 << 30 };
        let placed = Event::Placed { path: RelPath::root(), bytes: 1 };
        let lost = Event::Reconnecting { reason: "no\x1banswer".into(), delay_millis: 2_500 };
        check(
            vec![connecting.clone()],
            0.0,
            ["connecting to web1@backup.example.org:22", "0 here and 0 there looked at"],
        );
        check(
            vec![connecting.clone(), scanned.clone()],
            0.0,
            ["looking for changes", "12,345 here and 17 there looked at"],
        );
        check(
            vec![
                scanned.clone(),
                planned.clone(),
                Event::Resumed { path: RelPath::root(), bytes: 1 << 30 },
                Event::Moved { bytes: 1 << 29 },
                placed,
                Event::Verified { bytes: 1 << 20 },
            ],
            f64::from(32 << 20),
            [
                "[##########----------]  50%  1.5 GiB of 3.0 GiB  32.0 MiB/s  48s left",
                "1 of 4,567 files, 1.0 MiB verified, 12,345 here and 17 there looked at",
            ],
        );
        check(
            vec![planned, lost],
            5.0,
            ["connection lost, next try in 2.5s: no\\x1banswer", "0 here and 0 there looked at"],
        );
        check(
            vec![Event::Planned { files: 1, bytes: 0 }],
            0.0,
            ["[####################] 100%  0 B of 0 B", "0 of 1 file, 0 here and 0 there looked at"],
        );
    }

    #[test]
    fn what_is_planned_again_after_a_cut_counts_once() {
        let path = RelPath::root;
        let lost = Event::Reconnecting { reason: "no answer".into(), delay_millis: 500 };
        check(
            vec![
                Event::Planned { files: 2, bytes: 3 << 20 },
                Event::Moved { bytes: 2 << 20 },
                Event::Placed { path: path(), bytes: 1 << 20 },
                lost,
                Event::Planned { files: 1, bytes: 2 << 20 },
                Event::Resumed { path: path(), bytes: 1 << 19 },
                Event::Moved { bytes: 3 << 18 },
            ],
            0.0,
            ["[###############-----]  75%  2.2 MiB of 3.0 MiB", "1 of 2 files, 0 here and 0 there looked at"],
        );
    }

    #[test]
    fn notes_waiting_to_be_drawn_are_bounded() {
        let problem = Problem::new(RelPath::root(), "read", "busy", "it\nchanged");
        let progress = after((0..MAX_NOTES + 7).map(|_| Event::Problem(problem.clone())));
        let notes = progress.heard.take_notes();
        assert_eq!(notes.len(), MAX_NOTES + 1);
        assert_eq!((notes[0].as_str(), notes[MAX_NOTES].as_str()), ("read: it\\x0achanged", "and 7 more"));
        assert!(progress.heard.take_notes().is_empty());
    }
}
