//! Rows for the tests of this folder.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;

use super::schema::{self, Ready};
use super::{BaseRow, Intent, Journal};
use crate::clock::{ManualClock, SeededRandom};
use crate::entry::{Kind, Stat, Time};
use crate::error::{Problem, Result};
use crate::hash::{ContentHash, Level};
use crate::id::{JobId, RoundId};
use crate::outcome::{Counts, Ending, Mode, Outcome};
use crate::path::RelPath;

pub fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

pub async fn journal() -> (Journal, JobId) {
    let journal = Journal::in_memory().unwrap();
    let job = journal.job("nightly").await.unwrap();
    (journal, job)
}

pub fn near(kind: Kind, size: u64) -> Stat {
    Stat {
        kind,
        size,
        mtime: Time { secs: 1_700_000_000, nanos: 123_456_789 },
        mode: 0o640,
        ctime: Some(Time { secs: 1_700_000_001, nanos: 5 }),
        inode: Some(4711),
    }
}

pub fn far(kind: Kind, size: u64) -> Stat {
    Stat { mtime: Time::from_secs(1_700_000_000), ctime: None, inode: None, ..near(kind, size) }
}

pub fn row(at: &str, kind: Kind) -> BaseRow {
    let is_file = kind == Kind::File;
    BaseRow {
        path: path(at),
        kind,
        near: near(kind, 5),
        far: far(kind, 5),
        hash: is_file.then(|| ContentHash::of(at.as_bytes())),
        link: (kind == Kind::Link).then(|| b"../to/\xff".to_vec()),
        level: is_file.then_some(Level::Full),
        round: Some(RoundId(1)),
        unsettled: false,
    }
}

pub fn file(at: &str) -> BaseRow {
    row(at, Kind::File)
}

pub fn intent(at: &str) -> Intent {
    Intent {
        path: path(at),
        staged: path(".highwater/stage/a/b"),
        kind: Kind::File,
        source: near(Kind::File, 5),
        finished: far(Kind::File, 5),
        hash: Some(ContentHash::of(b"x")),
        link: None,
        level: Some(Level::Sample),
        unsettled: false,
    }
}

pub fn outcome(ending: Ending) -> Outcome {
    Outcome {
        job: "nightly".into(),
        mode: Mode::Pull,
        ending,
        counts: Counts::default(),
        problems: Vec::new(),
        recovered: Vec::new(),
        elapsed: Duration::from_nanos(1_500_000_001),
        message: None,
        exit_code: 0,
    }
}

pub fn problem(text: &str) -> Problem {
    Problem::new(path("a/b"), "read", "permission-denied", text)
}

pub async fn round(journal: &Journal, job: JobId, secs: i64, outcome: &Outcome) -> RoundId {
    let id = journal.begin_round(job, Time { secs, nanos: 9 }).await.unwrap();
    journal.end_round(id, Time { secs: secs + 1, nanos: 9 }, outcome).await.unwrap();
    id
}

/// A folder for a journal that is opened with a clock that stands still at 2026-03-01 02:15 UTC.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn path(&self) -> PathBuf {
        self.beside("journal.db")
    }

    pub fn open(&self) -> Result<Ready> {
        let clock = ManualClock::new(Time::from_secs(1_772_331_300));
        schema::open(&self.path(), &clock, &SeededRandom::new(1))
    }

    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub fn sql(&self, sql: &str) {
        Connection::open(self.path()).unwrap().execute_batch(sql).unwrap();
    }
}
