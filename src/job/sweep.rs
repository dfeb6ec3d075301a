//! What goes for good after its time: rounds in the trash, and staging folders of agents that are no more.

use std::time::Duration;

use futures_util::future::join;
use tokio::time::Instant;

use super::{Dial, Round};
use crate::entry::{Kind, Time};
use crate::error::{Error, Kind as ErrorKind, Problem, Result};
use crate::path::RelPath;
use crate::transfer::in_batches;
use crate::tree::{Tree, own};

/// A stranger's staging folder is left alone for so long after it last changed.
const STRANGERS_DAYS: u64 = 30;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long one round sweeps; the next one goes on.
const SWEEP_TIME: Duration = Duration::from_secs(60);

/// Requests under way at once.
const WIDTH: usize = 64;

impl<D: Dial> Round<D> {
    /// Sweeps the target. What cannot be swept is a problem and waits for the next round. Once a day, where
    /// the round `looks` at the whole target, what no row of the journal leads to is looked for.
    pub(super) async fn sweep<T: Tree>(&self, target: &T, looks: bool) -> Result<()> {
        let began = Instant::now();
        let may_go = || !self.must_stop() && began.elapsed() < SWEEP_TIME;
        let now = self.context.clock.now();
        self.sweep_trash(target, now, &may_go).await?;
        let last = self.context.journal.meta_get(&self.strays_key()).await?;
        let last = last.and_then(|secs| secs.parse().ok()).map_or(Time::default(), Time::from_secs);
        if looks && is_older(last, now, DAY) {
            let trash = self.sweep_stray_trash(target, now, &may_go);
            let (trash, staging) = join(trash, self.sweep_strangers(target, now, &may_go)).await;
            trash?;
            staging?;
            if may_go() {
                self.context.journal.meta_set(&self.strays_key(), &now.secs.to_string()).await?;
            }
        }
        Ok(())
    }

    fn strays_key(&self) -> String {
        format!("strays-swept-{}", self.context.job.0)
    }

    async fn sweep_trash<T: Tree>(&self, target: &T, now: Time, may_go: &impl Fn() -> bool) -> Result<()> {
        let (journal, kept) = (&self.context.journal, self.spec.trash.unwrap_or_default());
        for sum in journal.trash_rounds(self.context.job).await? {
            if is_older(sum.newest, now, kept) {
                let place = own::trash_of(&sum.round);
                if self.swept(&place, remove_tree(target, &place, may_go).await)? {
                    journal.forget_trash(self.context.job, &sum.round).await?;
                }
            }
        }
        Ok(())
    }

    /// Removes what this agent put into the trash so long ago by its name, and what no row knows any more:
    /// the journal was lost, or is an old one.
    async fn sweep_stray_trash<T: Tree>(
        &self,
        target: &T,
        now: Time,
        may_go: &impl Fn() -> bool,
    ) -> Result<()> {
        let kept = self.spec.trash.unwrap_or_default();
        for (name, place) in self.folders(target, own::trash()).await? {
            let is_due = began(&name, self.agent.as_str()).is_some_and(|then| is_older(then, now, kept));
            if is_due && !self.context.journal.knows_trash(&name).await? {
                self.swept(&place, remove_tree(target, &place, may_go).await)?;
            }
        }
        Ok(())
    }

    /// Removes staging folders of other agents that have not changed for long.
    async fn sweep_strangers<T: Tree>(
        &self,
        target: &T,
        now: Time,
        may_go: &impl Fn() -> bool,
    ) -> Result<()> {
        let age = DAY * u32::try_from(STRANGERS_DAYS).unwrap_or(u32::MAX);
        for (_, place) in self.folders(target, own::stages()).await? {
            let is_ours = place == own::stage(&self.agent);
            let changed = if is_ours { None } else { target.stat(&place).await?.map(|stat| stat.mtime) };
            if changed.is_some_and(|then| is_older(then, now, age)) {
                self.swept(&place, remove_tree(target, &place, may_go).await)?;
            }
        }
        Ok(())
    }

    /// Names and places of the folders in a folder of ours.
    async fn folders<T: Tree>(&self, target: &T, folder: RelPath) -> Result<Vec<(String, RelPath)>> {
        let listing = match target.list(&folder).await {
            Ok(listing) => listing,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return self.swept(&folder, Err(error)).map(|_| Vec::new()),
        };
        let folders = listing.entries.into_iter().filter(|entry| entry.stat.kind == Kind::Dir);
        Ok(folders.map(|entry| (entry.name.to_string(), folder.join(&entry.name))).collect())
    }

    fn swept(&self, place: &RelPath, result: Result<bool>) -> Result<bool> {
        match result {
            Ok(is_gone) => Ok(is_gone),
            Err(error) if error.kind().ends_round() => Err(error),
            Err(error) => {
                let error = Error::new(error.kind(), "sweep", place).because(error);
                self.tally.problem(Problem::from_error(place.clone(), &error));
                Ok(false)
            }
        }
    }
}

/// When the round began whose folder in the trash has this name; `None` if it is not this agent's.
fn began(name: &str, agent: &str) -> Option<Time> {
    let (stamp, rest) = name.split_once('-')?;
    rest.strip_prefix(agent.get(..8)?)?.strip_prefix('-')?;
    let stamp = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", stamp).ok()?;
    Some(Time::from_secs(stamp.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second()))
}

fn is_older(then: Time, now: Time, age: Duration) -> bool {
    let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
    now.secs.saturating_sub(then.secs) >= age
}

/// A folder that is to go.
struct Due {
    folder: RelPath,
    /// What is in it goes before it.
    is_listed: bool,
}

/// Removes a folder of ours with all that is in it, following no link. `false`: it may not go on, and what
/// is left is left to the next round. What cannot be removed keeps nothing else: the first error is told at
/// the end.
async fn remove_tree<T: Tree>(tree: &T, folder: &RelPath, may_go: impl Fn() -> bool) -> Result<bool> {
    let mut failed = None;
    let mut stack = vec![Due { folder: folder.clone(), is_listed: false }];
    while !stack.is_empty() {
        if !may_go() {
            return Ok(false);
        }
        let batch = take_batch(&mut stack);
        let results = if batch[0].is_listed {
            in_batches(batch.iter().map(|due| tree.remove_dir(&due.folder)), WIDTH).await
        } else {
            empty_folders(tree, batch, &mut stack, &may_go).await?
        };
        for result in results {
            note(result, &mut failed)?;
        }
    }
    failed.map_or(Ok(true), Err)
}

/// Takes from the top what can be done at once: folders that are to be listed, or folders of which none is
/// in another.
fn take_batch(stack: &mut Vec<Due>) -> Vec<Due> {
    let mut batch: Vec<Due> = Vec::new();
    while batch.len() < WIDTH
        && let Some(next) = stack.last()
        && batch.first().is_none_or(|first| first.is_listed == next.is_listed)
        && !batch.iter().any(|taken| taken.folder.is_within(&next.folder))
    {
        batch.extend(stack.pop());
    }
    batch
}

/// Lists folders, removes the files in them, and puts the folders back, below those that are in them.
async fn empty_folders<T: Tree>(
    tree: &T,
    batch: Vec<Due>,
    stack: &mut Vec<Due>,
    may_go: &impl Fn() -> bool,
) -> Result<Vec<Result<()>>> {
    let listings =
        in_batches(batch.iter().map(async |due| (&due.folder, tree.list(&due.folder).await)), WIDTH);
    let (mut folders, mut files, mut results) = (Vec::new(), Vec::new(), Vec::new());
    for (folder, listing) in listings.await {
        let listing = match listing {
            Ok(listing) => listing,
            Err(error) => {
                results.push(Err(error));
                continue;
            }
        };
        stack.push(Due { folder: folder.clone(), is_listed: true });
        for entry in listing.entries.iter().chain(&listing.own) {
            let is_folder = entry.stat.kind == Kind::Dir;
            (if is_folder { &mut folders } else { &mut files }).push(folder.join(&entry.name));
        }
    }
    stack.extend(folders.into_iter().map(|folder| Due { folder, is_listed: false }));
    let removals = files.iter().take_while(|_| may_go()).map(|file| tree.remove_file(file));
    results.extend(in_batches(removals, WIDTH).await);
    Ok(results)
}

fn note(result: Result<()>, failed: &mut Option<Error>) -> Result<()> {
    match result {
        Err(error) if error.kind().ends_round() => Err(error),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()), // gone already
        Err(error) => {
            failed.get_or_insert(error);
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::tree::memory::Memory;

    #[test]
    fn age_is_counted_in_whole_seconds_and_a_clock_set_back_makes_nothing_old() {
        let check = |then, now, age_secs, expected| {
            let age = Duration::from_secs(age_secs);
            assert_eq!(is_older(Time::from_secs(then), Time::from_secs(now), age), expected);
        };
        check(100, 109, 10, false);
        check(100, 110, 10, true);
        check(100, 50, 10, false);
        check(100, 50, 0, false);
        check(100, 100, 0, true);
    }

    #[test]
    fn a_folder_in_the_trash_tells_whose_it_is_and_since_when() {
        let check = |name, expected: Option<i64>| {
            let found = began(name, "00112233445566778899aabbccddeeff");
            assert_eq!(found, expected.map(Time::from_secs), "{name}");
        };
        check("19700101T000140Z-00112233-7", Some(100));
        check("19700101T000140Z-00112233-7-aa", Some(100));
        check("19700101T000140Z-0011223-7", None);
        check("19700101T000140Z-00112234-7", None);
        check("19700101T000140Z-00112233", None);
        check("yesterday-00112233-7", None);
        check("", None);
    }

    fn rel(path: &str) -> RelPath {
        RelPath::parse(path.as_bytes()).unwrap()
    }

    async fn full_trash() -> Memory {
        let tree = Memory::far();
        for folder in ["t", "t/a", "t/a/b", "t/c", "t/.highwater", "t/.highwater/stage"] {
            tree.make_dir(&rel(folder), 0o700).await.unwrap();
        }
        for link in ["t/1", "t/a/b/2", "t/c/.highwater-3", "t/.highwater/stage/4"] {
            tree.make_link(&rel(link), b"x").await.unwrap();
        }
        tree
    }

    #[tokio::test]
    async fn what_has_our_names_is_swept_with_the_folder_it_is_in() {
        let tree = full_trash().await;
        assert!(remove_tree(&tree, &rel("t"), || true).await.unwrap());
        assert_eq!(tree.stat(&rel("t")).await.unwrap(), None);
        assert!(remove_tree(&tree, &rel("t"), || true).await.unwrap(), "what is gone is gone");
    }

    #[tokio::test]
    async fn a_sweep_that_is_stopped_goes_on_where_it_was() {
        let tree = full_trash().await;
        let mut rounds = 0;
        loop {
            rounds += 1;
            assert!(rounds < 100);
            let left = AtomicUsize::new(7);
            let may_go =
                || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok();
            if remove_tree(&tree, &rel("t"), may_go).await.unwrap() {
                break;
            }
        }
        assert!(rounds > 1);
        assert_eq!(tree.stat(&rel("t")).await.unwrap(), None);
    }
}
