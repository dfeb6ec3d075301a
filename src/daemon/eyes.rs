//! The watcher of a job, set up beside it and set up again when it fails: what it sees goes into the journal.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::clock::Clock;
use crate::config::model::{Job, Watch as Watched};
use crate::error::{Error, Kind, Result};
use crate::outcome::Mode;
use crate::path::LocalRoot;
use crate::report::count;
use crate::scan::Skip;
use crate::settle::Quiet;
use crate::watch::{Options, Seen, Watch, WatchStatus};

/// Until a watcher that failed is set up again.
const AGAIN: Duration = Duration::from_secs(60);

/// What there is to see.
pub(super) enum Sight {
    /// These places changed.
    Quiet(Vec<Quiet>),
    /// Nobody can say what changed up to now: look at all.
    Everything,
}

/// Watches the near root of a job.
pub(super) struct Eyes {
    root: LocalRoot,
    skip: Skip,
    options: Options,
    clock: Arc<dyn Clock>,
    state: State,
    /// Whether a look at all was asked for because no watcher could be set up: once is enough.
    has_told: bool,
}

enum State {
    SettingUp(JoinHandle<Result<Watch>>),
    Watching(Watch),
    Blind { until: Instant, why: String },
}

impl Eyes {
    /// Of a push that is to be watched. What changes at the far side of a pull cannot be seen from here.
    pub fn of(job: &Job, clock: &Arc<dyn Clock>) -> Option<Self> {
        let Watched { settle, .. } = *job.watch.as_ref().filter(|_| job.mode == Mode::Push)?;
        let filter = job.filter.clone();
        let skip: Skip = Arc::new(move |path, is_dir| filter.excludes(path, is_dir));
        let (root, options, clock) = (job.local.clone(), Options::new(settle), clock.clone());
        let state = State::Blind { until: Instant::now(), why: "not set up yet".into() };
        Some(Self { root, skip, options, clock, state, has_told: false })
    }

    /// Waits for what is seen next. Nothing is lost if nobody waits for the answer any more.
    pub async fn next(&mut self) -> Sight {
        loop {
            match &mut self.state {
                State::Blind { until, .. } => {
                    sleep_until(*until).await;
                    self.set_up();
                }
                State::SettingUp(work) => {
                    let result = work.await.unwrap_or_else(|broken| {
                        Err(Error::new(Kind::Internal, "set up the watcher of", &self.root).because(broken))
                    });
                    match result {
                        Ok(watch) => {
                            self.state = State::Watching(watch);
                            self.has_told = false;
                            return Sight::Everything;
                        }
                        Err(error) => {
                            self.fail(&error);
                            if !std::mem::replace(&mut self.has_told, true) {
                                return Sight::Everything;
                            }
                        }
                    }
                }
                State::Watching(watch) => match watch.next().await {
                    Seen::Quiet(quiet) => return Sight::Quiet(quiet),
                    Seen::RootGone => {
                        let gone = Error::new(Kind::NotFound, "watch", &self.root);
                        self.fail(&gone.detail("it was removed, renamed or replaced"));
                        return Sight::Everything;
                    }
                    Seen::Failed(error) => {
                        self.fail(&error);
                        return Sight::Everything;
                    }
                },
            }
        }
    }

    /// Tries again what could not be watched, now that all is looked at anyway.
    pub fn renew(&self) {
        if let State::Watching(watch) = &self.state
            && watch.status().unwatched > 0
        {
            watch.renew();
        }
    }

    /// Whether something changed that is not quiet yet.
    pub fn is_waiting(&self) -> bool {
        matches!(&self.state, State::Watching(watch) if watch.status().waiting > 0)
    }

    /// How it fares: `whole`, or what it cannot see.
    pub fn status(&self) -> String {
        match &self.state {
            State::Blind { why, .. } => why.clone(),
            State::SettingUp(_) => "being set up".into(),
            State::Watching(watch) => text(&watch.status()),
        }
    }

    fn set_up(&mut self) {
        let (root, skip) = (self.root.clone(), self.skip.clone());
        self.state =
            State::SettingUp(tokio::spawn(Watch::start(root, skip, self.options, self.clock.clone())));
    }

    fn fail(&mut self, error: &Error) {
        let why = format!("{error}: {}", error.reason());
        tracing::warn!("{why}; it is tried again, and all is looked at until then at intervals");
        self.state = State::Blind { until: Instant::now() + AGAIN, why };
    }
}

fn text(status: &WatchStatus) -> String {
    let folders = count(status.unwatched as u64, "folder");
    match (status.is_whole(), status.is_limited) {
        (true, _) => "whole".into(),
        (false, true) => format!(
            "{folders} not watched, because a limit is reached (fs.inotify.max_user_watches, or ours); they are \
             looked at when all is"
        ),
        (false, false) if status.unwatched > 0 => format!("{folders} not watched; looked at when all is"),
        (false, false) => "being set up".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_says_what_is_not_seen() {
        let whole = WatchStatus { is_set_up: true, watched_folders: 9, ..WatchStatus::default() };
        let check = |status: WatchStatus, expected: &str| {
            assert!(text(&status).starts_with(expected), "{}", text(&status));
        };
        check(whole.clone(), "whole");
        check(WatchStatus { unwatched: 1, ..whole.clone() }, "1 folder not watched; looked at");
        check(
            WatchStatus { unwatched: 2, is_limited: true, ..whole },
            "2 folders not watched, because a limit",
        );
        check(WatchStatus::default(), "being set up");
    }
}
