//! What a daemon knows of its jobs at this moment: what it answers when it is asked for their state, and how
//! that reads.

use serde::{Deserialize, Serialize};

use super::count;
use crate::units::ByteSize;

/// One job of a daemon. Moments are RFC 3339 in UTC.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LiveJob {
    /// Its name.
    pub job: String,
    /// What it is doing: `starting`, `idle`, `running`, `waiting-retry`, `waiting-window`, `waiting-system`,
    /// `paused`, `halted`.
    pub doing: String,
    /// When its schedule wants the next round.
    pub next_due: Option<String>,
    /// When a failed round is tried again.
    pub retry_at: Option<String>,
    /// When its window opens, if it waits for that.
    pub window_opens: Option<String>,
    /// Why it gives way, if it waits for that.
    #[serde(default)]
    pub kept_back: Option<String>,
    /// How often it failed since its last round that did not.
    pub failures: u32,
    /// The round that is under way.
    pub round: Option<LiveRound>,
    /// How its watcher fares: `whole`, or what it could not see; `None`: the job is not watched.
    pub watch: Option<String>,
    /// Content per second at most, in bytes; `None`: no limit.
    pub limit: Option<u64>,
}

/// A round that is under way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LiveRound {
    /// For how long.
    pub seconds: f64,
    /// Files placed so far.
    pub files: u64,
    /// Files known to be carried, so far.
    pub files_planned: u64,
    /// Content that crossed so far.
    pub bytes: u64,
    /// Content known to be carried, so far.
    pub bytes_planned: u64,
    /// Content per second of late, in bytes.
    pub rate: u64,
    /// The server that is being connected to, or why the connection was lost.
    pub connecting: Option<String>,
}

impl LiveJob {
    /// What a person wants to know beside what the journal holds, on one line each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(round) = &self.round {
            notes.push(round.text());
        }
        if let Some(at) = &self.retry_at {
            notes.push(match self.failures {
                0 => format!("what has problems is tried again {at}"),
                failures => format!("failed {}, next try {at}", count(failures.into(), "time")),
            });
        }
        if let Some(at) = &self.window_opens {
            notes.push(format!("has something to do, and waits for its window, which opens {at}"));
        }
        if let Some(why) = &self.kept_back {
            notes.push(format!("has something to do, and waits: {why}"));
        }
        if let Some(watch) = self.watch.as_ref().filter(|watch| *watch != "whole") {
            notes.push(format!("watcher: {watch}"));
        }
        notes
    }
}

impl LiveRound {
    /// `3 of 10 files, 1.2 MiB of 4.0 MiB, 600.0 KiB/s`
    fn text(&self) -> String {
        let mut parts = vec![format!(
            "running for {:.0} s: {} of {}",
            self.seconds,
            super::number(self.files),
            count(self.files_planned, "file")
        )];
        parts.push(format!("{} of {}", ByteSize(self.bytes).human(), ByteSize(self.bytes_planned).human()));
        if self.rate > 0 {
            parts.push(format!("{}/s", ByteSize(self.rate).human()));
        }
        parts.extend(self.connecting.clone());
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(job: LiveJob, expected: &[&str]) {
        assert_eq!(job.notes(), expected);
    }

    #[test]
    fn notes_say_what_a_person_must_know() {
        check(LiveJob { watch: Some("whole".into()), ..LiveJob::default() }, &[]);
        let round = LiveRound {
            seconds: 12.3,
            files: 3,
            files_planned: 10,
            bytes: 1 << 20,
            bytes_planned: 4 << 20,
            rate: 600 << 10,
            connecting: None,
        };
        check(
            LiveJob { round: Some(round), ..LiveJob::default() },
            &["running for 12 s: 3 of 10 files, 1.0 MiB of 4.0 MiB, 600.0 KiB/s"],
        );
        let retry =
            LiveJob { retry_at: Some("2026-03-01T02:15:00Z".into()), failures: 2, ..LiveJob::default() };
        check(retry, &["failed 2 times, next try 2026-03-01T02:15:00Z"]);
        let window = LiveJob { window_opens: Some("2026-03-01T22:00:00Z".into()), ..LiveJob::default() };
        check(window, &["has something to do, and waits for its window, which opens 2026-03-01T22:00:00Z"]);
        let kept_back =
            LiveJob { kept_back: Some("the machine runs on its battery".into()), ..LiveJob::default() };
        check(kept_back, &["has something to do, and waits: the machine runs on its battery"]);
        let watch = LiveJob { watch: Some("the limit is reached".into()), ..LiveJob::default() };
        check(watch, &["watcher: the limit is reached"]);
    }
}
