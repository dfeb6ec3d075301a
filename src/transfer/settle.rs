//! What an earlier attempt left behind, before anything new is begun: staged files are fenced or swept,
//! and for each rename that was sent without an answer it is found out whether it happened.

use std::collections::BTreeMap;

use super::in_batches;
use super::record::Record;
use super::staging::{Fenced, Staging, drop_staged, fence};
use super::trash::fence_trash;
use crate::entry::{Sameness, Stat, same_content};
use crate::error::Result;
use crate::journal::{Intent, TransferRow};
use crate::path::RelPath;
use crate::tree::Tree;

/// Renames looked into at once.
const WIDTH: usize = 64;

/// Settles everything and returns the transfers that may be gone on with, by their final path.
pub(super) async fn settle<T: Tree>(
    target: &T,
    staging: &Staging,
    record: &Record,
) -> Result<BTreeMap<RelPath, TransferRow>> {
    fence_trash(target, record).await?;
    crate::crash::point("trash: fenced");
    let rows = record.transfers().await?;
    let fenced = fence(target, staging, &rows, record).await?;
    let intents = record.intents().await?;
    if !intents.is_empty() {
        let settled = intents.into_iter().map(|intent| settle_intent(target, record, &fenced, intent));
        in_batches(settled, WIDTH).await.into_iter().collect::<Result<()>>()?;
        record.flush().await?; // what came true is in base before this round reads it
    }
    let mut kept: Vec<TransferRow> = fenced.kept.into_values().collect();
    kept.sort_by_key(|row| row.id.0);
    let mut unfinished = BTreeMap::new();
    for row in kept {
        if let Some(twin) = unfinished.insert(row.path.clone(), row) {
            drop_staged(target, &twin, record).await?;
        }
    }
    Ok(unfinished)
}

/// After the fence a rename has either happened or never will. If the staged file is gone from where it was
/// and what stands at the final name is what was to be placed, it happened: its content had been proved
/// before it was sent. By its looks alone an older version of the same size and second might pass for it.
async fn settle_intent<T: Tree>(target: &T, record: &Record, fenced: &Fenced, intent: Intent) -> Result<()> {
    if !fenced.may_be_placed(&intent.staged) {
        return record.drop_intent(&intent.path).await;
    }
    let there = match target.stat(&intent.path).await {
        Ok(there) => there,
        Err(error) if error.kind().ends_round() => return Err(error),
        Err(_) => None,
    };
    crate::crash::point("intent: looked at");
    let settled = match there.filter(|there| is_what_was_staged(there, &intent.finished)) {
        Some(there) => record.came_true(intent, there).await,
        None => record.drop_intent(&intent.path).await,
    };
    crate::crash::point("intent: settled");
    settled
}

/// A rename changes the ctime and nothing else.
fn is_what_was_staged(there: &Stat, finished: &Stat) -> bool {
    let there = Stat { ctime: None, ..*there };
    same_content(&there, finished) == Sameness::Same
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::staging::look;
    use super::*;
    use crate::clock::SeededRandom;
    use crate::entry::{Kind, Time};
    use crate::id::{JobId, RoundId, Token};
    use crate::journal::{Journal, TransferStart, TrashRow, Why};
    use crate::outcome::Mode;
    use crate::tree::memory::Memory;
    use crate::tree::own;

    struct Scene {
        target: Memory,
        staging: Staging,
        journal: Journal,
        job: JobId,
        round: RoundId,
        record: Record,
    }

    async fn scene() -> Scene {
        let journal = Journal::in_memory().unwrap();
        let job = journal.job("j").await.unwrap();
        let round = journal.begin_round(job, Time::from_secs(100)).await.unwrap();
        let (target, agent) = (Memory::far(), Token::parse(&"a".repeat(32)).unwrap());
        let random = Arc::new(SeededRandom::new(1));
        let staging = Staging::prepare(&target, agent, random, Ok(None)).await.unwrap();
        let record = Record::new(journal.clone(), job, round, Mode::Push);
        Scene { target, staging, journal, job, round, record }
    }

    fn rel(path: &str) -> RelPath {
        RelPath::parse(path.as_bytes()).unwrap()
    }

    async fn names(target: &Memory, folder: &RelPath) -> Vec<RelPath> {
        let listing = target.list(folder).await.unwrap();
        listing.entries.iter().chain(&listing.own).map(|entry| folder.join(&entry.name)).collect()
    }

    async fn begin(scene: &Scene, path: &str, staged: &RelPath) -> TransferRow {
        let (mtime, mode) = (Time::from_secs(1), 0o600);
        let source = Stat { kind: Kind::File, size: 9, mtime, mode, ctime: None, inode: None };
        let start = TransferStart { path: rel(path), staged: staged.clone(), source };
        let id = scene.journal.begin_transfer(scene.job, start).await.unwrap();
        drop(scene.target.stage(staged).await.unwrap());
        scene.record.transfers().await.unwrap().into_iter().find(|row| row.id == id).unwrap()
    }

    async fn settled(scene: &Scene) -> BTreeMap<RelPath, TransferRow> {
        let (agent, random) = (Token::parse(&"a".repeat(32)).unwrap(), Arc::new(SeededRandom::new(2)));
        let looked = look(&scene.target, &agent).await;
        let staging = Staging::prepare(&scene.target, agent, random, looked).await.unwrap();
        let settled = settle(&scene.target, &staging, &scene.record).await.unwrap();
        scene.journal.flush().await.unwrap();
        settled
    }

    #[tokio::test]
    async fn a_fence_cut_off_beside_the_target_loses_no_staged_file() {
        for has_moved in [false, true] {
            let scene = scene().await;
            let old = rel(".highwater-0");
            let row = begin(&scene, "a", &old).await;
            // Killed before the answer to the rename.
            let fresh = rel(".highwater-1");
            scene.record.fork_transfer(row.id, &fresh).await.unwrap();
            if has_moved {
                scene.target.move_aside(&old, &fresh).await.unwrap();
            }
            let settled = settled(&scene).await;
            let now = &settled[&rel("a")];
            let beside = [own::folder(), now.staged.clone()];
            assert_eq!(names(&scene.target, &RelPath::root()).await, beside);
            assert!(now.staged != old && now.staged != fresh);
            assert_eq!(scene.record.transfers().await.unwrap(), std::slice::from_ref(now));
        }
    }

    #[tokio::test]
    async fn of_two_files_staged_for_one_path_beside_it_the_older_is_removed() {
        let scene = scene().await;
        for staged in [".highwater-0", ".highwater-1"] {
            begin(&scene, "a", &rel(staged)).await;
        }
        let settled = settled(&scene).await;
        let now = &settled[&rel("a")];
        assert_eq!(names(&scene.target, &RelPath::root()).await, [own::folder(), now.staged.clone()]);
        assert_eq!(scene.record.transfers().await.unwrap(), std::slice::from_ref(now));
    }

    #[tokio::test]
    async fn a_rename_that_comes_late_finds_no_folder() {
        let scene = scene().await;
        let open = format!("19700101T000140Z-aaaaaaaa-{}", scene.round);
        let row = |round: &str| TrashRow {
            round: round.into(),
            path: rel("x"),
            why: Why::Deleted,
            at: Time::from_secs(100),
            size: 0,
        };
        let other = "19700101T000140Z-aaaaaaaa-77";
        scene.target.make_dir(&own::trash(), 0o700).await.unwrap();
        for round in [&open, other] {
            scene.journal.put_trash(scene.job, row(round)).await.unwrap();
            scene.target.make_dir(&own::trash_of(round), 0o700).await.unwrap();
            scene.target.make_link(&own::trash_of(round).join_path(&rel("x")), b"x").await.unwrap();
        }
        let bin = scene.staging.fresh_inside();
        scene.target.make_dir(&bin, 0o700).await.unwrap();
        scene.target.make_link(&bin.join_path(&rel("y")), b"y").await.unwrap();
        scene.target.make_link(&rel("x"), b"a new one").await.unwrap();
        for _ in 0..2 {
            settled(&scene).await;
            for folder in [own::trash_of(&open), bin.clone()] {
                scene.target.move_aside(&rel("x"), &folder.join_path(&rel("late"))).await.unwrap_err();
            }
            let closed = format!("{open}-kept");
            let kept = [own::trash_of(other), own::trash_of(&closed)];
            let mut found = names(&scene.target, &own::trash()).await;
            found.sort();
            let mut expected = kept.to_vec();
            expected.sort();
            assert_eq!(found, expected, "a round that is not known to be cut off is left");
            let mut rows: Vec<_> =
                scene.journal.trash(scene.job, None, 9).await.unwrap().into_iter().map(|r| r.round).collect();
            rows.sort();
            assert_eq!(rows, [closed, other.to_owned()]);
            assert_eq!(names(&scene.target, &own::stage(&Token::parse(&"a".repeat(32)).unwrap())).await, []);
        }
    }
}
