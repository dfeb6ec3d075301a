//! Journals as earlier schemas wrote them must open, migrate, and say what they said.

use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;

use super::testing::{far, intent, near, path, row};
use super::{
    Change, JobState, Journal, Pin, Problems, RootIdentity, RoundRow, SeenBy, TransferRow, TrashRow, What,
    Why,
};
use crate::entry::{Kind, Time};
use crate::error::Problem;
use crate::hash::{Level, PrefixHash};
use crate::id::{ChangeSeq, JobId, RoundId, Token, TransferId};
use crate::outcome::{Counts, Ending, Mode};

const SAMPLES: [&str; 1] = [include_str!("../../tests/samples/journal_v1.sql")];

fn open(sample: &str) -> (TempDir, Journal) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("journal.db");
    Connection::open(&file).unwrap().execute_batch(sample).unwrap();
    let opened = Journal::open(&file).unwrap();
    assert_eq!(opened.rebuilt, None);
    (folder, opened.journal)
}

/// Names and SQL of all that is in a journal.
async fn schema(journal: &Journal) -> Vec<(String, String)> {
    let sql = "SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name";
    let read = journal.read(move |c| {
        c.prepare(sql)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()
    });
    read.await.unwrap()
}

#[tokio::test]
async fn every_sample_is_brought_to_the_newest_schema() {
    let newest = schema(&Journal::in_memory().unwrap()).await;
    assert!(newest.len() > 10);
    for sample in SAMPLES {
        assert_eq!(schema(&open(sample).1).await, newest);
    }
}

fn at(secs: i64) -> Time {
    Time { secs, nanos: 7 }
}

#[tokio::test]
async fn every_sample_keeps_agent_and_job() {
    for sample in SAMPLES {
        let (_folder, journal) = open(sample);
        assert_eq!(journal.agent().await.unwrap().as_str(), "910a2dec89025cc1beeb8da1658eec67");
        let job = journal.find_job("nightly").await.unwrap();
        assert_eq!(job, Some(JobId(1)));
        let state = JobState {
            near_root: Some(RootIdentity { device: 1, inode: u64::MAX }),
            far_root: Token::parse("975835de1c9756cebfc846100bfc1e42"),
            generation: 3,
            pending_generation: Some(4),
            last_audit: Some(at(1_772_331_300)),
            next_due: Some(at(1_772_417_700)),
            halted: Some("the far root is missing".into()),
            paused: true,
            accept_deletes: true,
        };
        assert_eq!(journal.job_state(JobId(1)).await.unwrap(), state);
        assert_eq!(journal.last_success(JobId(1)).await.unwrap(), Some(at(1_772_331_360)));
    }
}

#[tokio::test]
async fn every_sample_keeps_what_both_sides_agreed_on() {
    for sample in SAMPLES {
        let (_folder, journal) = open(sample);
        let rows = [
            row("", Kind::Dir),
            row("a", Kind::Dir),
            row("a/b", Kind::File),
            row("a-b", Kind::Link),
            row("c", Kind::Other),
        ];
        assert_eq!(journal.base_page(JobId(1), None, 9).await.unwrap(), rows);
        assert_eq!(journal.base_count(JobId(1)).await.unwrap(), 2);
    }
}

#[tokio::test]
async fn every_sample_keeps_what_was_under_way() {
    for sample in SAMPLES {
        let (_folder, journal) = open(sample);
        let new = super::Intent { path: path("a/new"), finished: far(Kind::File, 5), ..intent("") };
        assert_eq!(journal.intents(JobId(1)).await.unwrap(), [new]);
        let transfer = TransferRow {
            id: TransferId(1),
            path: path("big"),
            staged: path(".highwater-1"),
            source: near(Kind::File, 1 << 40),
            offset: 1 << 20,
            pieces: 8,
            prefix: Some(PrefixHash::from_bytes([7; 32])),
        };
        assert_eq!(journal.transfers(JobId(1)).await.unwrap(), [transfer]);
        let change = |seq, at, what, seen_by| Change { seq: ChangeSeq(seq), path: path(at), what, seen_by };
        let changes =
            [change(1, "a/new", What::Created, SeenBy::Watch), change(2, "a", What::Unknown, SeenBy::Scan)];
        assert_eq!(journal.changes_take(JobId(1), ChangeSeq(0), 9).await.unwrap(), changes);
    }
}

#[tokio::test]
async fn every_sample_keeps_its_history() {
    for sample in SAMPLES {
        let (_folder, journal) = open(sample);
        let round = RoundRow {
            id: RoundId(1),
            started: at(1_772_331_300),
            ended: Some(at(1_772_331_360)),
            mode: Some(Mode::Push),
            ending: Some(Ending::Ok),
            counts: Counts { files_sent: 1, verified: [(Level::Full, 1)].into(), ..Counts::default() },
            elapsed: Duration::from_secs(60),
            message: Some("message".into()),
            exit_code: 0,
            problems: 1,
            recovered: 1,
        };
        assert_eq!(journal.rounds(JobId(1), 9).await.unwrap(), [round]);
        let problem = |text: &str| Problem::new(path("a/b"), "read", "permission-denied", text);
        let lists = Problems { problems: vec![problem("one")], recovered: vec![problem("two")] };
        assert_eq!(journal.problems(RoundId(1)).await.unwrap(), lists);
        assert_eq!(journal.deletes_since(JobId(1), at(0)).await.unwrap(), (2, 10));
        let thing = TrashRow {
            round: "20260301T021500Z-1".into(),
            path: path("gone"),
            why: Why::Displaced,
            at: at(1_772_331_301),
            size: 5,
        };
        assert_eq!(journal.trash(JobId(1), None, 9).await.unwrap(), [thing]);
    }
}

#[tokio::test]
async fn every_sample_keeps_what_is_known_of_servers() {
    for sample in SAMPLES {
        let (_folder, journal) = open(sample);
        let abilities = journal.server_abilities("SSH-2.0-OpenSSH_9.2").await.unwrap();
        assert_eq!(abilities.as_deref(), Some("{}"));
        let pin = Pin {
            host: "backup.example.org".into(),
            port: 22,
            key_type: "ssh-ed25519".into(),
            key: "AAAA".into(),
            fingerprint: "SHA256:x".into(),
            added: at(1_772_331_000),
        };
        assert_eq!(journal.pins("backup.example.org", 22).await.unwrap(), [pin]);
    }
}
