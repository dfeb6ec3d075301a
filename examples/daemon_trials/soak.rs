//! A long life: files change all the while, keys are exchanged anew, connections are cut now and then. Memory
//! and open files must not grow.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use crate::random::Random;
use crate::rig::{Rig, write};
use crate::torn::{Looker, content};
use crate::{Doing, Given, Result, process};

const MINUTES: u32 = 20;

/// Files that change; every fiftieth is large.
const FILES: u64 = 1_000;

/// Between two looks at the daemon.
const LOOK: Duration = Duration::from_secs(2);

/// Between two cuts, on average.
const CUTS: Duration = Duration::from_secs(45);

/// How much more memory the last quarter may take than the first one, in KiB: pools fill up, rarely.
const GROWTH_KIB: u64 = 8 << 10;

/// What sshd says each time new keys are in force (OpenSSH 9.2, kex.c).
const NEW_KEYS: &str = "SSH2_MSG_NEWKEYS received";

/// The daemon as it was at one moment.
#[derive(Debug, Clone, Copy)]
struct Look {
    memory_kib: u64,
    open_files: u64,
    threads: u64,
}

/// Lets it work for `--minutes`, then compares both sides and the quarters of its life.
pub fn run(given: &Given) -> Result<Vec<String>> {
    let config = vec!["RekeyLimit 512K 60s".into(), "LogLevel DEBUG1".into()];
    let rig = Rig::start_with(given, Duration::ZERO, config)?;
    let guards = "guards: {max_delete: {count: 0, share: 0%}}\ntrash: 0";
    rig.configure(&format!("watch: {{settle: 200ms, rescan: 5m}}\naudit: 5m\n{guards}"))?;
    let mut random = Random(given.args.seed);
    (0..FILES).try_for_each(|number| put(&rig.near(), &mut random, number).map(drop))?;
    let mut daemon = rig.daemon()?;
    rig.wait_until_watched()?;
    let looker = Looker::start(&rig.far())?;
    let until = Instant::now() + time(given);
    let looks = Mutex::new(Vec::new());
    let (written, cuts) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| change(&rig.near(), given.args.seed + 1, until));
        let cutter = scope.spawn(|| cut(&rig, given.args.seed + 2, until));
        while Instant::now() < until {
            looks.lock().unwrap_or_else(PoisonError::into_inner).push(look(daemon.id()));
            std::thread::sleep(LOOK);
        }
        let written = writer.join().map_err(|_| "the writer panicked".to_owned()).and_then(|result| result);
        let cuts = cutter.join().map_err(|_| "the cutter panicked".to_owned());
        Ok::<_, String>((written?, cuts?))
    })?;
    rig.compare()?;
    let torn = looker.end()?;
    daemon.stop()?;
    let log = rig.sshd.log();
    let keys = log.matches(NEW_KEYS).count().saturating_sub(log.matches("Connection from ").count());
    let looks = looks.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut lines = vec![format!(
        "{} s: {written} versions written, {cuts} cuts, {keys} key re-exchanges; both sides equal, {torn} looks at \
         files of the far side, none torn",
        time(given).as_secs()
    )];
    lines.extend(judge(&looks)?);
    Ok(lines)
}

fn time(given: &Given) -> Duration {
    match given.args.minutes {
        Some(minutes) => Duration::from_secs_f64(minutes * 60.0),
        None => Duration::from_secs(60) * given.args.scaled(MINUTES),
    }
}

/// The first quarter against the last, by what was highest in each: what falls in between does no harm.
fn judge(looks: &[Look]) -> Result<Vec<String>> {
    let quarter = (looks.len() / 4).max(1);
    let (first, last) = (&looks[..quarter.min(looks.len())], &looks[looks.len().saturating_sub(quarter)..]);
    let figures = |name: &str, of: fn(&Look) -> u64| {
        let (before, after) = (Spread::of(first, of), Spread::of(last, of));
        (before, after, format!("{name}: first quarter {before}, last quarter {after}"))
    };
    let (memory_before, memory_after, memory) = figures("memory, KiB", |look| look.memory_kib);
    let (open_before, open_after, open) = figures("open files", |look| look.open_files);
    let (threads_before, threads_after, threads) = figures("threads", |look| look.threads);
    let grows = memory_after.median > memory_before.highest.max(memory_before.median + GROWTH_KIB)
        || open_after.median > open_before.highest
        || threads_after.median > threads_before.highest;
    let lines = vec![memory, open, threads];
    if grows { Err(format!("it grows: {}", lines.join("; "))) } else { Ok(lines) }
}

/// What many looks saw.
#[derive(Debug, Clone, Copy)]
struct Spread {
    median: u64,
    highest: u64,
}

impl Spread {
    fn of(looks: &[Look], of: fn(&Look) -> u64) -> Self {
        let mut all: Vec<u64> = looks.iter().map(of).collect();
        all.sort_unstable();
        let at = |index: usize| all.get(index).copied().unwrap_or(0);
        Self { median: at(all.len() / 2), highest: at(all.len().saturating_sub(1)) }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (highest {})", self.median, self.highest)
    }
}

fn look(pid: u32) -> Look {
    let entries =
        |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).map_or(0, |entries| entries.count() as u64);
    Look { memory_kib: process::memory(pid).now, open_files: entries("fd"), threads: entries("task") }
}

/// Kills the sessions of the server at random moments. How often.
fn cut(rig: &Rig, seed: u64, until: Instant) -> u32 {
    let mut random = Random(seed);
    let mut cuts = 0;
    loop {
        let next = Instant::now() + random.gap(CUTS);
        if next >= until {
            return cuts;
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        rig.sshd.kill_sessions();
        cuts += 1;
    }
}

/// Writes, renames and removes until it is time. How many versions of files there were.
fn change(root: &Path, seed: u64, until: Instant) -> Result<u64> {
    let mut random = Random(seed);
    let mut written = 0;
    while Instant::now() < until {
        for _ in 0..random.below(20) {
            let number = random.below(FILES);
            match random.below(10) {
                // Whether there is one is chance.
                0 => drop(fs::remove_file(place(root, number))),
                1 => drop(fs::rename(place(root, number), place(root, random.below(FILES)))),
                _ => written += put(root, &mut random, number)?,
            }
        }
        std::thread::sleep(Duration::from_millis(random.below(1_000)));
    }
    Ok(written)
}

fn place(root: &Path, number: u64) -> std::path::PathBuf {
    root.join(format!("d{}/{number}.whole", number % 31))
}

/// A new version of a file, put there as an editor does.
fn put(root: &Path, random: &mut Random, number: u64) -> Result<u64> {
    let most = if number.is_multiple_of(50) { 4 << 20 } else { 20_000 };
    let length = random.below(most) as usize;
    let temporary = root.join("being-written");
    write(&temporary, &content(random, length))?;
    let path = place(root, number);
    fs::create_dir_all(path.parent().unwrap_or(root)).doing("make a folder")?;
    fs::rename(&temporary, path).doing("rename a file")?;
    Ok(1)
}
