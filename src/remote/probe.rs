//! What a folder on a server is like, for people who ask: looked at, or tried out with files of our own.
//!
//! Rounds do not need this: they find out what they need as they go. What is tried out lies in a staging
//! folder under a name drawn for it, so that a round under way and this never meet, and what a cut
//! leaves behind is swept with other strangers' staging.

use std::future::Future;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join;

use super::abilities::{Can, Known, LinkOrder};
use super::link::link_probes;
use super::sftp::SftpTree;
use crate::clock::{Clock, Random};
use crate::entry::{Kind as EntryKind, Meta, Time};
use crate::error::{Error, Kind, Result};
use crate::id::Token;
use crate::path::RelPath;
use crate::tree::{StagedFile, Tree, own};

/// How many round trips are timed.
const ROUND_TRIPS: usize = 5;

/// Half of what a file that is tried out holds, in bytes.
const HALF_BYTES: usize = 5000;

/// How much of a file that is tried out is read: more than it should hold.
const MOST_BYTES: u64 = 3 * HALF_BYTES as u64;

/// A time that no clock shows by chance, and odd: some file systems keep even seconds only.
const MTIME: Time = Time { secs: 1_234_567_891, nanos: 0 };

/// How long removing what was made may take when nobody waits for the rest any more.
const CLEARING: Duration = Duration::from_secs(10);

/// What can be seen of a folder without writing.
#[derive(Debug, Default)]
pub struct Look {
    /// Its absolute path, if the server resolves it.
    pub real_path: Option<Vec<u8>>,
    /// What stands there.
    pub seen: Seen,
    /// Bytes that may still be written, if the server tells.
    pub free_bytes: Option<u64>,
    /// The median time that LSTAT takes.
    pub round_trip: Duration,
    /// What could not be looked at.
    pub problems: Vec<Error>,
}

/// What stands at a path, links followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Seen {
    /// The server would not say.
    #[default]
    Unknown,
    /// There is nothing of this name.
    Nothing,
    /// This.
    Is(EntryKind),
}

/// What came of writing.
#[derive(Debug, Default)]
pub struct Trial {
    /// What was shown by doing it. What was not is unknown.
    pub shown: Known,
    /// By how much the server's clock is ahead of ours, in seconds; 0 where no difference is seen.
    pub clock_skew_secs: Option<i64>,
    /// What went wrong otherwise.
    pub problems: Vec<Error>,
}

/// Looks at the root of `tree` and writes nothing. Errors only if the connection is lost.
pub async fn look(tree: &SftpTree) -> Result<Look> {
    let mut look = Look::default();
    let mut times = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let start = Instant::now();
        let seen = tree.stat(&RelPath::root()).await;
        times.push(start.elapsed());
        look.problems.clear(); // the last answer counts
        let seen = note(&mut look.problems, seen)?;
        look.seen = seen.map_or(Seen::Unknown, |s| s.map_or(Seen::Nothing, |stat| Seen::Is(stat.kind)));
    }
    look.round_trip = median(times);
    if look.seen != Seen::Nothing {
        look.real_path = note(&mut look.problems, tree.real_root().await)?;
        look.free_bytes = note(&mut look.problems, tree.free_bytes().await)?.flatten();
    }
    Ok(look)
}

/// Tries out what the server can do with files of ours below the root of `tree`, and removes them again,
/// also when `stop` comes first, which is an error of kind `Interrupted`. Errors otherwise only if the
/// connection is lost.
pub async fn try_out(
    tree: &SftpTree,
    clock: &dyn Clock,
    random: &dyn Random,
    stop: impl Future<Output = ()>,
) -> Result<Trial> {
    let mut bench = Bench::new(tree, clock, random);
    let mut trial = Trial::default();
    let set_up = bench.set_up().await;
    if note(&mut trial.problems, set_up)?.is_some() {
        let stopped = tokio::select! {
            tried = bench.try_everything(&mut trial) => { tried?; false }
            () = stop => true,
        };
        if stopped {
            return Err(bench.give_up().await);
        }
    }
    note(&mut trial.problems, bench.clear().await)?;
    Ok(trial)
}

/// A folder of ours to try things out in.
struct Bench<'a> {
    tree: &'a SftpTree,
    clock: &'a dyn Clock,
    folder: RelPath,
    /// The folders that were missing, topmost first.
    made: Vec<RelPath>,
    one: RelPath,
    two: RelPath,
    link: RelPath,
    names: RelPath,
}

impl<'a> Bench<'a> {
    fn new(tree: &'a SftpTree, clock: &'a dyn Clock, random: &dyn Random) -> Self {
        let bench = Token::draw(random);
        let file = || own::staged(&bench, &Token::draw(random));
        let (one, two, link, names) = (file(), file(), file(), file());
        Self { tree, clock, folder: own::stage(&bench), made: Vec::new(), one, two, link, names }
    }

    async fn set_up(&mut self) -> Result<()> {
        for folder in [own::folder(), own::stages(), self.folder.clone()] {
            match self.tree.make_dir(&folder, 0o700).await {
                Ok(()) => self.made.push(folder),
                Err(error) if error.kind() == Kind::Exists && folder != self.folder => {
                    self.refuse_strange(&folder, error).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What stands in the place of a folder of ours must be one: a link might lead anywhere.
    async fn refuse_strange(&self, folder: &RelPath, error: Error) -> Result<()> {
        match self.tree.stat(folder).await? {
            Some(stat) if stat.kind == EntryKind::Dir => Ok(()),
            _ => Err(error),
        }
    }

    /// Removes what was made, and says why nothing else was done.
    async fn give_up(&self) -> Error {
        let late = Err(Error::new(Kind::TimedOut, "remove", &self.folder));
        match tokio::time::timeout(CLEARING, self.clear()).await.unwrap_or(late) {
            Ok(()) => Error::new(Kind::Interrupted, "go on", ""),
            Err(error) => Error::new(Kind::Interrupted, "tidy up after", &self.folder).because(error),
        }
    }

    /// Removes what was made. A folder that somebody else has put something in by now stays.
    async fn clear(&self) -> Result<()> {
        match self.clear_once().await {
            // A request that nobody waited for any more made a file after all.
            Err(error) if error.kind() == Kind::NotEmpty => self.clear_once().await,
            cleared => cleared,
        }
    }

    async fn clear_once(&self) -> Result<()> {
        if self.made.contains(&self.folder) {
            let links = link_probes(&self.link)?;
            for file in [&self.one, &self.two].into_iter().chain(&links) {
                match self.tree.remove_file(file).await {
                    Err(error) if error.kind() != Kind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        for folder in self.made.iter().rev() {
            match self.tree.remove_dir(folder).await {
                Err(error) if error.kind() == Kind::NotEmpty && *folder != self.folder => break,
                removed => removed?,
            }
        }
        Ok(())
    }

    async fn try_everything(&self, trial: &mut Trial) -> Result<()> {
        let first = self.try_a_file(trial).await;
        if note(&mut trial.problems, first)?.is_none() {
            return Ok(()); // nothing else can be told where not even this works
        }
        let synced = self.tree.sync_dir(&self.folder).await;
        trial.shown.fsync_dir = note(&mut trial.problems, synced)?.map_or(Can::Unknown, can);
        let order = self.tree.link_order(&self.link).await;
        trial.shown.link_order = note(&mut trial.problems, order)?.unwrap_or_default();
        if trial.shown.link_order != LinkOrder::Unknown {
            trial.shown.keeps_links = self.tree.known().keeps_links;
        }
        let names = self.tree.try_names(std::slice::from_ref(&self.names)).await;
        if note(&mut trial.problems, names)?.is_some() {
            trial.shown.keeps_names = self.tree.known().keeps_names;
        }
        let second = self.try_two_handles(trial).await;
        if note(&mut trial.problems, second)?.is_some() {
            let renamed = self.try_rename().await;
            trial.shown.posix_rename = note(&mut trial.problems, renamed)?.unwrap_or_default();
        }
        Ok(())
    }

    /// One file, its second half first; made durable, with a time of its own.
    async fn try_a_file(&self, trial: &mut Trial) -> Result<()> {
        let file = self.tree.stage(&self.one).await?;
        let before = self.clock.now();
        file.write_at(HALF_BYTES as u64, half(2)).await?;
        let after = self.clock.now();
        trial.clock_skew_secs = Some(skew_secs(before, after, file.stat().await?.mtime));
        file.write_at(0, half(1)).await?;
        trial.shown.write_at = can(holds(&file, [1, 2]).await?);
        let fsync = self.tree.known().fsync.may();
        let kept = file.finish(2 * HALF_BYTES as u64, &Meta { mode: 0o600, mtime: MTIME }, true).await?;
        trial.shown.fsync = can(fsync && self.tree.known().fsync.may());
        trial.shown.keeps_mtime = can(kept.mtime.secs == MTIME.secs);
        Ok(())
    }

    /// Another file, its halves written side by side through two handles on two channels, if there are two.
    async fn try_two_handles(&self, trial: &mut Trial) -> Result<()> {
        let meta = Meta { mode: 0o600, mtime: MTIME };
        let file = self.tree.stage(&self.two).await?;
        let Some(other) = self.tree.reopen_elsewhere(&self.two, &[&file]).await? else {
            file.write_at(0, half(2)).await?;
            return file.finish(HALF_BYTES as u64, &meta, false).await.map(drop);
        };
        let (one, two) = join(file.write_at(0, half(2)), other.write_at(HALF_BYTES as u64, half(1))).await;
        one.and(two)?;
        trial.shown.two_handles = can(holds(&file, [2, 1]).await? && holds(&other, [2, 1]).await?);
        let size = file.stat().await?.size;
        other.finish(size, &meta, false).await?;
        file.finish(size, &meta, false).await.map(drop)
    }

    /// Renames the second file over the first. A server that refuses or only says that it did cannot.
    async fn try_rename(&self) -> Result<Can> {
        let content = async |file| self.tree.read_whole(file, MOST_BYTES).await.map(|whole| whole.data);
        let (old, new) = (content(&self.one).await?, content(&self.two).await?);
        let (from, to) = (self.tree.root().join(&self.two), self.tree.root().join(&self.one));
        match self.tree.rename_over(&from, &to).await {
            Ok(true) => {}
            Ok(false) => return Ok(Can::No),
            Err(error) if matches!(error.kind(), Kind::Failed | Kind::Exists) => return Ok(Can::No),
            Err(error) => return Err(error),
        }
        let is_gone = self.tree.stat(&self.two).await?.is_none();
        Ok(can(old != new && is_gone && content(&self.one).await? == new))
    }
}

fn can(yes: bool) -> Can {
    if yes { Can::Yes } else { Can::No }
}

/// Half of the content that is tried out. The halves differ.
fn half(which: u8) -> Bytes {
    (0..HALF_BYTES).map(|i| (i % 251) as u8 ^ which).collect()
}

async fn holds(file: &impl StagedFile, halves: [u8; 2]) -> Result<bool> {
    let mut read = Vec::new();
    while (read.len() as u64) < MOST_BYTES {
        let piece = file.read_at(read.len() as u64, MOST_BYTES - read.len() as u64).await?;
        if piece.is_empty() {
            break;
        }
        read.extend_from_slice(&piece); // some servers return less than was asked for
    }
    Ok(read == halves.map(half).concat())
}

/// By how many seconds the server's clock is ahead. It put `mtime`, a whole second, on a file at some
/// moment between `before` and `after`. Less than a second is no difference.
fn skew_secs(before: Time, after: Time, mtime: Time) -> i64 {
    const SECOND: i128 = 1_000_000_000;
    let nanos = |time: Time| i128::from(time.secs) * SECOND + i128::from(time.nanos);
    let (least, most) = (nanos(mtime) - nanos(after), nanos(mtime) + SECOND - nanos(before));
    if least < SECOND && most > -SECOND {
        return 0;
    }
    i64::try_from(least.midpoint(most).div_euclid(SECOND)).unwrap_or(i64::MAX)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Sorts out what ends the connection.
fn survived<T>(result: Result<T>) -> Result<Result<T>> {
    match result {
        Err(error) if error.kind().loses_connection() => Err(error),
        result => Ok(result),
    }
}

/// The value, or the problem noted.
fn note<T>(problems: &mut Vec<Error>, result: Result<T>) -> Result<Option<T>> {
    Ok(match survived(result)? {
        Ok(value) => Some(value),
        Err(error) => {
            problems.push(error);
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_differ_by_whole_seconds() {
        let check = |before: (i64, u32), after: (i64, u32), mtime, expected| {
            let time = |(secs, nanos)| Time { secs, nanos };
            let skew = skew_secs(time(before), time(after), Time::from_secs(mtime));
            assert_eq!(skew, expected, "{before:?} {after:?} {mtime}");
        };
        check((1000, 0), (1000, 5), 1000, 0);
        check((1000, 900_000_000), (1000, 990_000_000), 1001, 0); // less than a second ahead
        check((1000, 1_000_000), (1000, 2_000_000), 999, 0); // the tick before
        check((1000, 500_000_000), (1000, 500_000_000), 1060, 60);
        check((1000, 500_000_000), (1000, 500_000_000), 940, -60);
        check((1000, 0), (1090, 0), 1030, 0); // a slow line explains it
        check((1000, 0), (1000, 0), 4600, 3600);
        check((1000, 500_000_000), (1000, 500_000_000), 0, -1000);
    }

    #[test]
    fn the_median_leaves_out_the_odd_one() {
        let check = |millis: &[u64], expected| {
            let times = millis.iter().copied().map(Duration::from_millis).collect();
            assert_eq!(median(times), Duration::from_millis(expected));
        };
        check(&[5, 1, 900, 4, 3], 4);
        check(&[], 0);
    }
}
