//! Rows for the tests of this folder.

use super::{BaseRow, Intent, Journal};
use crate::entry::{Kind, Stat, Time};
use crate::hash::{ContentHash, Level};
use crate::id::JobId;
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
        durable: true,
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
        durable: false,
    }
}
