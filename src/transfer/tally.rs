//! What a round has come to so far: counts, problems, what was put right, and the error that ended it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::error::{Error, Kind, Problem};
use crate::hash::Level;
use crate::monitor::{Event, Monitor};
use crate::outcome::Counts;
use crate::path::RelPath;

/// Problems kept in memory; of more, only their number is known.
const MOST_PROBLEMS: usize = 10_000;

/// After so many files for which there was no room the round ends.
const FULL_AFTER: u32 = 10;

#[derive(Debug, Default)]
struct Inner {
    counts: Counts,
    problems: Vec<Problem>,
    more_problems: u64,
    recovered: Vec<Problem>,
    /// Of large files under way: the bytes that stood staged before this round.
    brought: HashMap<RelPath, u64>,
    /// How far large files came at most, and how often something was achieved that no cut takes back.
    farthest: HashMap<RelPath, u64>,
    achieved: u64,
    no_space: u32,
    fatal: Option<Error>,
}

/// Collects what happens, from many tasks, and passes it on to whoever watches.
pub struct Tally {
    inner: Mutex<Inner>,
    monitor: Arc<dyn Monitor>,
    pushes: bool,
}

/// What a [`Tally`] collected.
#[derive(Debug)]
pub struct Total {
    /// The counts.
    pub counts: Counts,
    /// What the round survived.
    pub problems: Vec<Problem>,
    /// What was put right.
    pub recovered: Vec<Problem>,
}

impl Tally {
    /// Nothing so far. `pushes`: content that crosses the wire is sent, not received.
    pub fn new(monitor: Arc<dyn Monitor>, pushes: bool) -> Self {
        Self { inner: Mutex::default(), monitor, pushes }
    }

    /// Tells whoever watches, without counting.
    pub fn tell(&self, event: Event) {
        self.monitor.event(event);
    }

    /// Changes the counts.
    pub fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.lock().counts);
    }

    /// Content crossed the wire.
    pub fn moved(&self, bytes: u64) {
        let mut inner = self.lock();
        let counter =
            if self.pushes { &mut inner.counts.bytes_sent } else { &mut inner.counts.bytes_received };
        *counter += bytes;
        drop(inner);
        self.tell(Event::Moved { bytes });
    }

    /// Content was read only to verify.
    pub fn verified_bytes(&self, bytes: u64) {
        self.count(|c| c.bytes_verified += bytes);
        self.tell(Event::Verified { bytes });
    }

    /// A large file is begun with `kept` bytes of it staged already. What an earlier attempt of this
    /// very round staged crossed the wire in this round and is counted there.
    pub fn begins(&self, path: &RelPath, kept: u64) {
        let mut inner = self.lock();
        let brought = *inner.brought.entry(path.clone()).and_modify(|b| *b = (*b).min(kept)).or_insert(kept);
        drop(inner);
        tracing::debug!(%path, kept, brought, "begins");
        if kept > 0 {
            self.tell(Event::Resumed { path: path.clone(), bytes: kept });
        }
    }

    /// A large file is complete: what was brought did not have to cross again.
    pub fn resumed(&self, path: &RelPath) {
        let bytes = self.lock().brought.remove(path).unwrap_or_default();
        if bytes > 0 {
            self.count(|c| c.bytes_resumed += bytes);
        }
    }

    /// A file stands at its name, proved at this level.
    pub fn placed(&self, path: &RelPath, bytes: u64, level: Level) {
        let mut inner = self.lock();
        let counts = &mut inner.counts;
        *(if self.pushes { &mut counts.files_sent } else { &mut counts.files_received }) += 1;
        *counts.verified.entry(level).or_default() += 1;
        inner.farthest.remove(path);
        drop(inner);
        tracing::info!("placed {path}: {bytes} bytes, proved {}", level.as_str());
        self.tell(Event::Placed { path: path.clone(), bytes });
    }

    /// A large file came so far without a gap, and the journal knows.
    pub fn advanced(&self, path: &RelPath, offset: u64) {
        let mut inner = self.lock();
        let farthest = inner.farthest.entry(path.clone()).or_default();
        if offset > *farthest {
            *farthest = offset;
            inner.achieved += 1;
        }
    }

    /// How often something was achieved that no cut takes back: files placed, deletes done, large files
    /// farther than ever before.
    pub fn achieved(&self) -> u64 {
        let inner = self.lock();
        let counts = &inner.counts;
        inner.achieved + counts.files_sent + counts.files_received + counts.deleted + counts.displaced
    }

    /// Something the round survives.
    pub fn problem(&self, problem: Problem) {
        let mut inner = self.lock();
        if inner.problems.len() < MOST_PROBLEMS {
            inner.problems.push(problem.clone());
        } else {
            inner.more_problems += 1;
        }
        drop(inner);
        self.tell(Event::Problem(problem));
    }

    /// Something was put right.
    pub fn recovered(&self, what: Problem) {
        let mut inner = self.lock();
        if inner.recovered.len() < MOST_PROBLEMS {
            inner.recovered.push(what.clone());
        }
        drop(inner);
        self.tell(Event::Recovered(what));
    }

    /// What an error means for one path: a problem, or the end of the round.
    pub fn failed(&self, path: &RelPath, error: Error) {
        if error.kind().ends_round() {
            return self.end(error);
        }
        self.problem(Problem::from_error(path.clone(), &error));
        if error.kind() == Kind::NoSpace && self.is_full() {
            self.end(error);
        }
    }

    /// Whether so many files found no room that no more need be tried.
    fn is_full(&self) -> bool {
        let mut inner = self.lock();
        inner.no_space += 1;
        inner.no_space >= FULL_AFTER
    }

    /// Begins another attempt: it meets again whatever is still amiss.
    pub fn begin_attempt(&self) {
        let mut inner = self.lock();
        // What base forgot about is not met again.
        inner.problems.retain(|problem| problem.kind == "changed-at-target");
        inner.more_problems = 0;
        inner.no_space = 0;
        let counts = &mut inner.counts;
        (counts.unchanged, counts.foreign, counts.held) = (0, 0, 0);
    }

    /// Ends the round. The first reason is kept.
    pub fn end(&self, error: Error) {
        let mut inner = self.lock();
        if inner.fatal.is_none() {
            inner.fatal = Some(error);
        }
    }

    /// Whether something ended the round.
    pub fn has_ended(&self) -> bool {
        self.lock().fatal.is_some()
    }

    /// Takes out what ended the round, so that another attempt may begin.
    pub fn take_end(&self) -> Option<Error> {
        self.lock().fatal.take()
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        self.lock().counts.clone()
    }

    /// Everything collected.
    pub fn total(&self) -> Total {
        let mut inner = self.lock();
        let mut problems = std::mem::take(&mut inner.problems);
        if inner.more_problems > 0 {
            let text = format!("{} more problems are not listed", inner.more_problems);
            problems.push(Problem::new(RelPath::root(), "list", "truncated", text));
        }
        Total { counts: inner.counts.clone(), problems, recovered: std::mem::take(&mut inner.recovered) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }
}
