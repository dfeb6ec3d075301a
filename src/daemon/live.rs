//! What a job is doing at this moment, for whoever asks: written by its task, read by the rest.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::id::RoundId;
use crate::monitor::{Event, Monitor};
use crate::report::live::{LiveJob, LiveRound};

/// Over how long a rate is measured.
const RATE_OVER: Duration = Duration::from_secs(5);

/// The rounds of a job that ended since the daemon began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ended {
    /// How many.
    pub count: u64,
    /// The last one.
    pub round: Option<RoundId>,
    /// Whether one is under way.
    pub is_running: bool,
    /// Whether something is waiting to be done that nothing but time keeps back.
    pub has_work: bool,
}

/// A job, for those who look on.
pub(super) struct Live {
    /// Everything but the round.
    job: Mutex<LiveJob>,
    round: Mutex<Option<Counted>>,
    /// What whoever waits for a round listens to.
    pub ended: watch::Sender<Ended>,
}

/// A round that is under way.
#[derive(Debug)]
struct Counted {
    since: Instant,
    files: u64,
    files_planned: u64,
    bytes: u64,
    bytes_planned: u64,
    connecting: Option<String>,
    /// Bytes at some moments, the oldest first, not much older than [`RATE_OVER`].
    marks: Vec<(Instant, u64)>,
}

impl Live {
    pub fn new(job: &str) -> Self {
        let job = LiveJob { job: job.to_owned(), doing: "starting".into(), ..LiveJob::default() };
        // Until its task has looked, nobody knows that there is nothing to do.
        let ended = Ended { has_work: true, ..Ended::default() };
        Self { job: Mutex::new(job), round: Mutex::default(), ended: watch::Sender::new(ended) }
    }

    /// Changes what is shown of the job.
    pub fn show(&self, change: impl FnOnce(&mut LiveJob)) {
        change(&mut lock(&self.job));
    }

    /// A round begins.
    pub fn begin(&self) {
        *lock(&self.round) = Some(Counted::new(Instant::now()));
        self.ended.send_modify(|ended| ended.is_running = true);
    }

    /// It ended.
    pub fn end(&self) {
        *lock(&self.round) = None;
    }

    /// The job as it is now.
    pub fn now(&self) -> LiveJob {
        let round = lock(&self.round).as_mut().map(|round| round.now(Instant::now()));
        LiveJob { round, ..lock(&self.job).clone() }
    }
}

impl Counted {
    fn new(since: Instant) -> Self {
        Self {
            since,
            files: 0,
            files_planned: 0,
            bytes: 0,
            bytes_planned: 0,
            connecting: None,
            marks: vec![(since, 0)],
        }
    }

    fn now(&mut self, now: Instant) -> LiveRound {
        let bytes = self.bytes;
        LiveRound {
            seconds: now.saturating_duration_since(self.since).as_secs_f64(),
            files: self.files,
            files_planned: self.files_planned,
            bytes,
            bytes_planned: self.bytes_planned,
            rate: self.rate(now, bytes),
            connecting: self.connecting.clone(),
        }
    }

    fn rate(&mut self, now: Instant, bytes: u64) -> u64 {
        self.marks.retain(|(at, _)| now.saturating_duration_since(*at) <= RATE_OVER);
        let (at, then) = *self.marks.first().unwrap_or(&(self.since, 0));
        let seconds = now.saturating_duration_since(at).as_secs_f64().max(0.1);
        (bytes.saturating_sub(then) as f64 / seconds) as u64
    }

    fn moved(&mut self, now: Instant, more: u64) {
        self.bytes += more;
        let last = self.marks.last().map_or(self.since, |(at, _)| *at);
        if now.saturating_duration_since(last) >= RATE_OVER / 10 {
            self.marks.retain(|(at, _)| now.saturating_duration_since(*at) <= RATE_OVER);
            self.marks.push((now, self.bytes));
        }
    }
}

impl Monitor for Live {
    fn event(&self, event: Event) {
        let mut round = lock(&self.round);
        let Some(round) = round.as_mut() else { return };
        match event {
            Event::Connecting { server } => round.connecting = Some(format!("connecting to {server}")),
            Event::Reconnecting { reason, .. } => {
                round.connecting = Some(format!("the connection was lost ({reason})"));
            }
            Event::Planned { files, bytes } => {
                round.files_planned += files;
                round.bytes_planned += bytes;
            }
            Event::Moved { bytes } => {
                round.connecting = None;
                round.moved(Instant::now(), bytes);
            }
            Event::Resumed { bytes, .. } => round.bytes_planned = round.bytes_planned.saturating_sub(bytes),
            Event::Placed { .. } => round.files += 1,
            Event::Scanned { .. } => round.connecting = None,
            Event::Verified { .. } | Event::Problem(_) | Event::Recovered(_) => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_counted_while_it_lasts() {
        let live = Live::new("nightly");
        live.event(Event::Moved { bytes: 9 }); // of a round that is over
        assert_eq!(live.now().round, None);
        live.begin();
        live.event(Event::Planned { files: 2, bytes: 100 });
        live.event(Event::Resumed { path: crate::path::RelPath::root(), bytes: 40 });
        live.event(Event::Moved { bytes: 50 });
        live.event(Event::Placed { path: crate::path::RelPath::root(), bytes: 50 });
        let round = live.now().round.unwrap();
        assert_eq!((round.files, round.files_planned, round.bytes, round.bytes_planned), (1, 2, 50, 60));
        live.end();
        assert_eq!(live.now().round, None);
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let start = Instant::now();
        let at = |secs: u64| start + Duration::from_secs(secs);
        let mut round = Counted::new(start);
        (1..=20).for_each(|second| round.moved(at(second), if second <= 10 { 1_000 } else { 100 }));
        assert_eq!(round.now(at(20)).rate, 100);
        assert_eq!(round.now(at(60)).rate, 11_000 / 60);
    }
}
