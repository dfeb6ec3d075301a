//! The last state both sides agreed on, per path: the merge base.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Journal;
use super::columns::{Binder, Columns, kind_code, level_code};
use super::deletions::{self, Deletes};
use super::intents;
use crate::entry::{Kind, Stat};
use crate::error::Result;
use crate::hash::{ContentHash, Level};
use crate::id::{JobId, RoundId};
use crate::path::RelPath;

/// What both sides agreed on at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseRow {
    /// Where, below both roots.
    pub path: RelPath,
    /// What stood there. The two stats have the same kind.
    pub kind: Kind,
    /// What a look at the near side saw.
    pub near: Stat,
    /// What a look at the far side saw.
    pub far: Stat,
    /// The content of a file; `None` if nobody read it as a whole.
    pub hash: Option<ContentHash>,
    /// Where a symbolic link points.
    pub link: Option<Vec<u8>>,
    /// How well the content was proved on both sides; `None` where there is nothing to prove.
    pub level: Option<Level>,
    /// The round that placed it at the target, or found it there. Durable once [`synced`](Journal::synced) says
    /// so for that round; `None`: it is.
    pub round: Option<RoundId>,
    /// Not to be believed even where nothing seems to have changed: see
    /// [`BaseView`](crate::plan::BaseView).
    pub unsettled: bool,
}

const PUT: &str = include_str!("sql/base_put.sql");
const GET: &str = concat!(include_str!("sql/base_select.sql"), "WHERE job = ?1 AND path = ?2");
const PAGE: &str =
    concat!(include_str!("sql/base_select.sql"), "WHERE job = ?1 AND path >= ?2 ORDER BY path LIMIT ?3");
const PAGE_WITHIN: &str = concat!(
    include_str!("sql/base_select.sql"),
    "WHERE job = ?1 AND path >= ?2 AND path < ?4 ORDER BY path LIMIT ?3"
);
const FORGET: &str = "DELETE FROM base WHERE job = ?1 AND path = ?2";
const FORGET_ALL: &str = "DELETE FROM base WHERE job = ?1";
const FORGET_WITHIN: &str = "DELETE FROM base WHERE job = ?1 AND path >= ?2 AND path < ?3";
const UNSETTLE: &str = "UPDATE base SET unsettled = 1 WHERE job = ?1 AND path = ?2 AND unsettled = 0";
const CHANGED_IN: &str = "UPDATE base SET round = ?3 WHERE job = ?1 AND path = ?2";
const COUNT: &str = "SELECT base_files FROM jobs WHERE id = ?1";
const IS_EMPTY: &str = "SELECT NOT EXISTS (SELECT 1 FROM base WHERE job = ?1)";

impl Journal {
    /// Records what both sides agree on now, and that an intent for that path came true. Queued.
    pub async fn put_base(&self, job: JobId, row: BaseRow) -> Result<()> {
        self.queue(move |c| put(c, job, &row)).await
    }

    /// [`put_base`](Self::put_base), committed when it returns.
    pub async fn put_base_committed(&self, job: JobId, row: BaseRow) -> Result<()> {
        self.commit(move |c| put(c, job, &row)).await
    }

    /// [`put_base`](Self::put_base) of something that was placed just now. The folder it is in becomes
    /// [unsettled](BaseRow::unsettled): its mtime changed at the target. Queued.
    pub async fn put_placed(&self, job: JobId, row: BaseRow) -> Result<()> {
        self.queue(move |c| {
            put(c, job, &row)?;
            let Some(folder) = row.path.parent() else { return Ok(()) };
            c.prepare_cached(UNSETTLE)?.execute(params![job.0, folder.to_key()]).map(drop)
        })
        .await
    }

    /// [`put_base`](Self::put_base) of many rows at once: what is adopted, say. Queued. A thousand rows
    /// per call are plenty.
    pub async fn put_base_rows(&self, job: JobId, rows: Vec<BaseRow>) -> Result<()> {
        self.queue(move |c| rows.iter().try_for_each(|row| put(c, job, row))).await
    }

    /// Forgets one path. Queued.
    pub async fn forget_base(&self, job: JobId, path: RelPath) -> Result<()> {
        self.queue(move |c| forget(c, job, &path)).await
    }

    /// [`forget_base`](Self::forget_base), committed when it returns.
    pub async fn forget_base_committed(&self, job: JobId, path: RelPath) -> Result<()> {
        self.commit(move |c| forget(c, job, &path)).await
    }

    /// Forgets what this round removed at the target, or found to be gone. Its folder counts as changed by
    /// the round, so that it is made durable. With `deletes` it counts as one of those. Queued.
    pub async fn forget_removed(
        &self,
        job: JobId,
        path: RelPath,
        round: RoundId,
        deletes: Option<Deletes>,
    ) -> Result<()> {
        self.queue(move |c| {
            forget(c, job, &path)?;
            if let Some(folder) = path.parent() {
                c.prepare_cached(CHANGED_IN)?.execute(params![job.0, folder.to_key(), round.0])?;
            }
            deletes.map_or(Ok(()), |deletes| deletions::count(c, deletes))
        })
        .await
    }

    /// Forgets a path and all below it; everything if it is the root.
    pub async fn forget_base_under(&self, job: JobId, path: &RelPath) -> Result<()> {
        let path = path.clone();
        self.commit(move |c| forget_under(c, job, &path)).await
    }

    /// What is known of one path.
    pub async fn base_get(&self, job: JobId, path: &RelPath) -> Result<Option<BaseRow>> {
        let key = path.to_key();
        self.read(move |c| c.prepare_cached(GET)?.query_row(params![job.0, key], row_of).optional()).await
    }

    /// At most `limit` rows in path order, after `after` or from the beginning.
    pub async fn base_page(&self, job: JobId, after: Option<&RelPath>, limit: usize) -> Result<Vec<BaseRow>> {
        self.base_page_within(job, &RelPath::root(), after, limit).await
    }

    /// [`base_page`](Self::base_page) of `dir` itself and all below it.
    pub async fn base_page_within(
        &self,
        job: JobId,
        dir: &RelPath,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<BaseRow>> {
        let first = after.map_or_else(|| dir.to_key(), key_after).max(dir.to_key());
        let end = (!dir.is_root()).then(|| key_end(dir.to_key()));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read(move |c| match end {
            None => c.prepare_cached(PAGE)?.query_map(params![job.0, first, limit], row_of)?.collect(),
            Some(end) => {
                c.prepare_cached(PAGE_WITHIN)?.query_map(params![job.0, first, limit, end], row_of)?.collect()
            }
        })
        .await
    }

    /// At most `limit` rows of what stands in `dir` itself, in order, after the child `after`. Steps over
    /// what lies deeper. What is only known by something below it is not returned.
    pub async fn base_children(
        &self,
        job: JobId,
        dir: &RelPath,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<BaseRow>> {
        let dir = dir.clone();
        let first = after.map_or_else(|| key_after(&dir), |child| key_end(child.to_key()));
        self.read(move |c| children(c, job, &dir, first, limit)).await
    }

    /// How many files and links base holds. Does not count them: it is kept up to date.
    pub async fn base_count(&self, job: JobId) -> Result<u64> {
        self.read(move |c| c.prepare_cached(COUNT)?.query_row([job.0], |row| Columns::new(row).count())).await
    }

    /// Whether nothing at all is known, folders included.
    pub async fn base_is_empty(&self, job: JobId) -> Result<bool> {
        self.read(move |c| c.prepare_cached(IS_EMPTY)?.query_row([job.0], |row| row.get(0))).await
    }
}

fn put(c: &Connection, job: JobId, row: &BaseRow) -> rusqlite::Result<()> {
    let mut statement = c.prepare_cached(PUT)?;
    let mut bind = Binder::new(&mut statement);
    bind.value(job.0)?;
    bind.path(&row.path)?;
    bind.value(kind_code(row.kind))?;
    bind.stat(&row.near)?;
    bind.stat(&row.far)?;
    bind.hash(row.hash.as_ref())?;
    bind.value(&row.link)?;
    bind.value(row.level.map(level_code))?;
    bind.value(row.round.map(|round| round.0))?;
    bind.value(row.unsettled)?;
    statement.raw_execute()?;
    intents::remove(c, job, &row.path)
}

fn row_of(row: &Row<'_>) -> rusqlite::Result<BaseRow> {
    let mut columns = Columns::new(row);
    let path = columns.path()?;
    let kind = columns.kind()?;
    Ok(BaseRow {
        path,
        kind,
        near: columns.stat(kind)?,
        far: columns.stat(kind)?,
        hash: columns.hash()?,
        link: columns.value()?,
        level: columns.level()?,
        round: columns.value::<Option<i64>>()?.map(RoundId),
        unsettled: columns.value()?,
    })
}

fn forget(c: &Connection, job: JobId, path: &RelPath) -> rusqlite::Result<()> {
    c.prepare_cached(FORGET)?.execute(params![job.0, path.to_key()]).map(drop)
}

fn forget_under(c: &Connection, job: JobId, path: &RelPath) -> rusqlite::Result<()> {
    if path.is_root() {
        return c.prepare_cached(FORGET_ALL)?.execute([job.0]).map(drop);
    }
    let key = path.to_key();
    let end = key_end(key.clone());
    c.prepare_cached(FORGET_WITHIN)?.execute(params![job.0, key, end]).map(drop)
}

fn children(
    c: &Connection,
    job: JobId,
    dir: &RelPath,
    mut first: Vec<u8>,
    limit: usize,
) -> rusqlite::Result<Vec<BaseRow>> {
    let end = if dir.is_root() { None } else { Some(key_end(dir.to_key())) };
    let depth = dir.depth() + 1;
    let mut statement = c.prepare_cached(PAGE)?;
    let mut found = Vec::new();
    while found.len() < limit {
        let next = statement.query_row(params![job.0, first, 1], row_of).optional()?;
        let Some(row) = next.filter(|row| end.as_ref().is_none_or(|end| row.path.to_key() < *end)) else {
            break;
        };
        first = key_end(first_components(&row.path, depth));
        if row.path.depth() == depth {
            found.push(row);
        }
    }
    Ok(found)
}

/// The key of the first `depth` components of a path.
fn first_components(path: &RelPath, depth: usize) -> Vec<u8> {
    path.components().take(depth).collect::<Vec<_>>().join(&0)
}

/// The smallest key after that of `path`.
fn key_after(path: &RelPath) -> Vec<u8> {
    let mut key = path.to_key();
    key.push(0);
    key
}

/// The smallest key after those of a path and of all below it: they go on with NUL or not at all.
fn key_end(mut key: Vec<u8>) -> Vec<u8> {
    key.push(1);
    key
}

#[cfg(test)]
mod tests {
    use super::super::testing::{file, intent, journal, path, row};
    use super::*;
    use crate::entry::Time;

    async fn with(paths: &[&str]) -> (Journal, JobId) {
        let (journal, job) = journal().await;
        journal.put_base_rows(job, paths.iter().map(|p| file(p)).collect()).await.unwrap();
        journal.flush().await.unwrap();
        (journal, job)
    }

    fn shown(rows: &[BaseRow]) -> Vec<String> {
        rows.iter().map(|row| row.path.to_string()).collect()
    }

    #[tokio::test]
    async fn rows_come_back_as_they_went_in() {
        let (journal, job) = journal().await;
        let plain = file("a");
        let odd_stat = Stat {
            kind: Kind::File,
            size: u64::MAX,
            mtime: Time { secs: i64::MIN, nanos: u32::MAX },
            mode: u32::MAX,
            ctime: Some(Time { secs: -1, nanos: 0 }),
            inode: Some(u64::MAX),
        };
        for row in [
            plain.clone(),
            row("a dir", Kind::Dir),
            row("a link", Kind::Link),
            row("a fifo", Kind::Other),
            row("", Kind::Dir),
            BaseRow { near: odd_stat, far: odd_stat, ..plain.clone() },
            BaseRow { hash: None, level: None, round: None, unsettled: true, ..plain.clone() },
            BaseRow { level: Some(Level::Ack), ..plain.clone() },
            BaseRow { path: RelPath::parse(&b"\x01\xff/\xf0 \n"[..]).unwrap(), ..plain },
        ] {
            journal.put_base_committed(job, row.clone()).await.unwrap();
            assert_eq!(journal.base_get(job, &row.path).await.unwrap(), Some(row));
        }
        assert_eq!(journal.base_get(job, &path("absent")).await.unwrap(), None);
    }

    #[tokio::test]
    async fn pages_follow_each_other_in_the_order_of_a_walk() {
        let walk =
            ["\x01", " ", "a", "a/\x01", "a/b", "a/b/c", "a/b-c", "a\x01", "a-b", "a.b", "ab", "é", "日"];
        let mut reversed = walk;
        reversed.reverse();
        let (journal, job) = with(&reversed).await;
        let expected: Vec<RelPath> = walk.iter().map(|p| path(p)).collect();
        for limit in [1, 2, 5, 13, 100] {
            let mut seen: Vec<RelPath> = Vec::new();
            loop {
                let page = journal.base_page(job, seen.last(), limit).await.unwrap();
                assert!(page.len() <= limit);
                if page.is_empty() {
                    break;
                }
                seen.extend(page.into_iter().map(|row| row.path));
            }
            assert_eq!(seen, expected, "{limit}");
        }
    }

    #[tokio::test]
    async fn a_folder_is_read_and_forgotten_without_its_neighbours() {
        let all = ["a", "a/b", "a/b/c", "a/b\x01", "a\x01", "a-b", "b"];
        let check = async |dir: &str, within: &[&str], left: &[&str]| {
            let (journal, job) = with(&all).await;
            let rows = journal.base_page_within(job, &path(dir), None, 100).await.unwrap();
            let expected: Vec<String> = within.iter().map(|p| path(p).to_string()).collect();
            assert_eq!(shown(&rows), expected);
            let after_dir = journal.base_page_within(job, &path(dir), Some(&path(dir)), 100).await.unwrap();
            let without_dir: Vec<String> = expected.iter().filter(|p| *p != dir).cloned().collect();
            assert_eq!(shown(&after_dir), without_dir);
            journal.forget_base_under(job, &path(dir)).await.unwrap();
            let rest = journal.base_page(job, None, 100).await.unwrap();
            let expected: Vec<String> = left.iter().map(|p| path(p).to_string()).collect();
            assert_eq!(shown(&rest), expected);
        };
        check("a", &["a", "a/b", "a/b/c", "a/b\x01"], &["a\x01", "a-b", "b"]).await;
        check("a/b", &["a/b", "a/b/c"], &["a", "a/b\x01", "a\x01", "a-b", "b"]).await;
        check("b", &["b"], &["a", "a/b", "a/b/c", "a/b\x01", "a\x01", "a-b"]).await;
        check("c", &[], &all).await;
        check("", &all, &[]).await;
    }

    #[tokio::test]
    async fn children_are_found_whatever_lies_below_them() {
        let (journal, job) =
            with(&["", "a", "a/1", "a/1/x", "a/1\x01", "a/2/deep", "a/3", "a-b", "b/only/deep", "c"]).await;
        let check = async |dir: &str, after: Option<&str>, limit, expected: &[&str]| {
            let after = after.map(path);
            let rows = journal.base_children(job, &path(dir), after.as_ref(), limit).await.unwrap();
            assert_eq!(shown(&rows), expected, "{dir} {after:?}");
        };
        check("", None, 9, &["a", "a-b", "c"]).await;
        check("", None, 2, &["a", "a-b"]).await;
        check("", Some("a-b"), 2, &["c"]).await;
        check("a", None, 9, &["a/1", "a/1\\x01", "a/3"]).await;
        check("a", Some("a/1"), 9, &["a/1\\x01", "a/3"]).await;
        check("a/1", None, 9, &["a/1/x"]).await;
        check("c", None, 9, &[]).await;
    }

    #[tokio::test]
    async fn the_count_follows_every_change() {
        let (journal, job) = journal().await;
        let check = async |expected| {
            assert_eq!(journal.base_count(job).await.unwrap(), expected);
        };
        assert!(journal.base_is_empty(job).await.unwrap());
        journal.put_base_committed(job, row("d", Kind::Dir)).await.unwrap();
        assert!(!journal.base_is_empty(job).await.unwrap());
        check(0).await;
        for at in ["d/1", "d/2", "d/2", "e"] {
            journal.put_base_committed(job, file(at)).await.unwrap();
        }
        check(3).await;
        journal.put_base_committed(job, row("d/1", Kind::Link)).await.unwrap();
        check(3).await;
        journal.put_base_committed(job, row("d/1", Kind::Dir)).await.unwrap();
        check(2).await;
        journal.put_base_committed(job, file("d/1")).await.unwrap();
        check(3).await;
        journal.forget_base_committed(job, path("e")).await.unwrap();
        journal.forget_base_committed(job, path("e")).await.unwrap();
        check(2).await;
        journal.forget_base_under(job, &path("d")).await.unwrap();
        check(0).await;
        assert!(journal.base_is_empty(job).await.unwrap());
    }

    #[tokio::test]
    async fn what_is_placed_unsettles_its_folder_and_no_other() {
        let (journal, job) = journal().await;
        for at in ["", "a", "a/b"] {
            journal.put_base(job, row(at, Kind::Dir)).await.unwrap();
        }
        journal.put_placed(job, file("a/new")).await.unwrap();
        journal.flush().await.unwrap();
        let rows = journal.base_page(job, None, 9).await.unwrap();
        let unsettled: Vec<String> =
            rows.iter().filter(|row| row.unsettled).map(|row| row.path.to_string()).collect();
        assert_eq!(unsettled, ["a"]);
    }

    #[tokio::test]
    async fn jobs_do_not_see_each_other() {
        let (journal, job) = with(&["a", "b"]).await;
        let other = journal.job("other").await.unwrap();
        journal.put_base_committed(other, file("a")).await.unwrap();
        journal.forget_base_under(job, &RelPath::root()).await.unwrap();
        assert_eq!(journal.base_count(job).await.unwrap(), 0);
        assert_eq!(journal.base_count(other).await.unwrap(), 1);
        assert_eq!(shown(&journal.base_page(other, None, 9).await.unwrap()), ["a"]);
    }

    #[tokio::test]
    async fn an_intent_goes_with_the_row_that_fulfils_it() {
        let (journal, job) = journal().await;
        for at in ["a", "b"] {
            journal.put_intent(job, intent(at)).await.unwrap();
        }
        journal.put_base(job, file("a")).await.unwrap();
        journal.flush().await.unwrap();
        assert_eq!(journal.intents(job).await.unwrap(), [intent("b")]);
    }

    #[tokio::test]
    async fn a_hundred_thousand_rows_go_in_and_come_out() {
        let (journal, job) = journal().await;
        for i in 0..100_000 {
            let row =
                BaseRow { near: super::super::testing::near(Kind::File, i), ..file(&format!("{i:06}")) };
            journal.put_base(job, row).await.unwrap();
        }
        journal.flush().await.unwrap();
        assert_eq!(journal.base_count(job).await.unwrap(), 100_000);
        let (mut after, mut count) = (None, 0);
        loop {
            let page = journal.base_page(job, after.as_ref(), 4_000).await.unwrap();
            let Some(last) = page.last() else { break };
            assert!(page.iter().zip(count..).all(|(row, i)| row.near.size == i));
            count += page.len() as u64;
            after = Some(last.path.clone());
        }
        assert_eq!(count, 100_000);
    }
}
