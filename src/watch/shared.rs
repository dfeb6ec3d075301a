//! What the watching thread and the daemon share: what waits to be quiet, and how the watch stands.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::{Options, WatchStatus};
use crate::clock::Clock;
use crate::error::Error;
use crate::path::RelPath;
use crate::settle::{Quiet, Settle};

/// Something changed at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub path: RelPath,
    pub is_whole: bool,
}

impl Note {
    /// At or anywhere below a path.
    pub fn whole(path: RelPath) -> Self {
        Self { path, is_whole: true }
    }
}

/// Why the thread ended.
#[derive(Debug)]
pub(super) enum End {
    /// It was told to.
    Stopped,
    /// The root is not where it was.
    RootGone,
    /// The system refused to go on.
    Failed(Error),
}

/// See the module.
pub(super) struct Shared {
    state: Mutex<SharedState>,
    /// Rings when `state` may have something for whoever waits.
    bell: Notify,
    clock: Arc<dyn Clock>,
    /// The times of `settle` count from here.
    started: Instant,
}

struct SharedState {
    settle: Settle,
    status: WatchStatus,
    ended: Option<End>,
}

/// What there is for whoever waits.
pub(super) enum News {
    /// These are quiet.
    Quiet(Vec<Quiet>),
    /// The watch has ended.
    Ended(End),
    /// Nothing yet; at the earliest after so long, if nothing happens.
    Later(Option<Duration>),
}

impl Shared {
    pub fn new(options: &Options, clock: Arc<dyn Clock>) -> Self {
        let settle = Settle::new(options.settle, options.most_waiting);
        let state = SharedState { settle, status: WatchStatus::default(), ended: None };
        Self { state: Mutex::new(state), bell: Notify::new(), clock, started: Instant::now() }
    }

    fn lock(&self) -> MutexGuard<'_, SharedState> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Takes in what changed, and how the watch stands.
    pub fn update(&self, notes: Vec<Note>, write: impl FnOnce(&mut WatchStatus)) {
        let mut state = self.lock();
        let was_set_up = state.status.is_set_up;
        let now = self.started.elapsed();
        let had_none = state.settle.is_empty();
        for Note { path, is_whole } in notes {
            match is_whole {
                true => state.settle.note_whole(path, now),
                false => state.settle.note(path, now),
            }
        }
        write(&mut state.status);
        // What waits longest is due first, whatever is noted after it.
        if had_none && !state.settle.is_empty() || was_set_up != state.status.is_set_up {
            self.bell.notify_one();
        }
    }

    /// Events were lost.
    pub fn count_overflow(&self) {
        let status = &mut self.lock().status;
        status.overflows += 1;
        status.last_overflow = Some(self.clock.now());
    }

    /// The thread is about to end.
    pub fn end(&self, end: End) {
        let mut state = self.lock();
        state.status.is_set_up = false;
        state.ended = Some(end);
        self.bell.notify_one();
    }

    /// What there is now.
    pub fn news(&self) -> News {
        let mut state = self.lock();
        let now = self.started.elapsed();
        let quiet = state.settle.take(now);
        if !quiet.is_empty() {
            return News::Quiet(quiet);
        }
        match state.ended.take() {
            Some(end) => News::Ended(end),
            None => News::Later(state.settle.due().map(|due| due.saturating_sub(now))),
        }
    }

    /// Why the thread ended, if it did and nobody took note of it.
    pub fn take_end(&self) -> Option<End> {
        self.lock().ended.take()
    }

    /// Returns when there may be something new.
    pub async fn changed(&self) {
        self.bell.notified().await;
    }

    pub fn status(&self) -> WatchStatus {
        let state = self.lock();
        WatchStatus { waiting: state.settle.len(), folded: state.settle.folded(), ..state.status.clone() }
    }
}
