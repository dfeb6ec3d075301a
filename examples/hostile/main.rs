//! A server that lies, and what the program makes of it: random sessions from a seed, each judged by what is on the
//! disks afterwards, by what went over the wire, and by what was printed.
//!
//! ```text
//! cargo run --release --example hostile -- --sessions 5000 --seed 1
//! cargo run --release --example hostile -- --session 1234        one again, told in full, its folder kept
//! cargo run --release --example hostile -- --patient             silence and listings without end too
//! ```
//!
//! [`story`] is the grammar of misbehaviours; [`teller`] bends what an honest server of our own says; [`judge`] knows
//! what must hold: nothing outside the roots is written or sent, a pull changes nothing on the far side and a push
//! nothing here, nothing that people wrote here is lost, nothing is removed without proof, no set-uid bit, no raw
//! control character, no panic, an exit code that is meant for it, bounded memory, bounded time.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program to be run by hand

mod host;
mod judge;
#[allow(missing_docs, reason = "they are the protocol's names")]
mod packet;
#[path = "../bench_peers/process.rs"]
#[allow(dead_code, reason = "only the benchmark asks for more than memory")]
mod process;
#[path = "../torture/random.rs"]
#[allow(dead_code, reason = "torture asks for more")]
mod random;
mod run;
mod session;
mod story;
mod teller;
mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;

use random::mix;
use session::{Facts, Setting, play};
use world::Tree;

/// What went wrong, for people.
pub type Result<T> = std::result::Result<T, String>;

/// Says what was being done when an error came up.
pub trait Doing<T> {
    /// The error as text, after what was being done.
    fn doing(self, what: &str) -> Result<T>;
}

impl<T, E: std::fmt::Display> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: &str) -> Result<T> {
        self.map_err(|e| format!("{what}: {e}"))
    }
}

/// Lets servers lie to highwater.
#[derive(Debug, Parser)]
#[command(name = "hostile", max_term_width = 100)]
struct Args {
    /// How many sessions
    #[arg(long, default_value_t = 200)]
    sessions: u64,
    /// What they are drawn from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One session, by the number that its failure printed; told in full, its folder kept
    #[arg(long)]
    session: Option<u64>,
    /// Let servers fall silent, and listings go on, for as long as the program bears it
    #[arg(long)]
    patient: bool,
    /// Sessions under way at once
    #[arg(long, default_value_t = 4)]
    at_once: usize,
    /// Memory that a run may take at its highest, MiB
    #[arg(long, default_value_t = 160)]
    most_mib: u64,
    /// The program [default: highwater beside the folder of this program]
    #[arg(long, value_name = "FILE")]
    highwater: Option<PathBuf>,
}

fn main() -> ExitCode {
    match go(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("hostile: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// `false` when something was not right.
fn go(args: &Args) -> Result<bool> {
    let highwater = args.highwater.clone().map_or_else(beside, Ok)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.doing("start a runtime")?;
    let memory = Path::new("/dev/shm");
    let setting = Setting {
        program: run::Program {
            file: &highwater,
            patience: Duration::from_secs(if args.patient { 900 } else { 180 }),
        },
        scratch: if memory.is_dir() { memory.into() } else { std::env::temp_dir() },
        runtime: runtime.handle().clone(),
        patient: args.patient,
        most_kib: args.most_mib * 1024,
        is_shown: args.session.is_some(),
    };
    let seeds: Vec<u64> = match args.session {
        Some(seed) => vec![seed],
        None => (0..args.sessions).map(|n| mix(mix(args.seed) ^ n)).collect(),
    };
    let began = Instant::now();
    let tally = all(&seeds, args.at_once, &setting);
    println!("{} sessions of seed {} in {:.1} s", seeds.len(), args.seed, began.elapsed().as_secs_f64());
    tally.print();
    runtime.shutdown_background();
    Ok(tally.failures.is_empty())
}

/// The program that was built beside this one.
fn beside() -> Result<PathBuf> {
    let own = std::env::current_exe().doing("find this program")?;
    let folder = own.parent().and_then(Path::parent).ok_or("this program is in no folder")?;
    Ok(folder.join("highwater"))
}

fn all(seeds: &[u64], at_once: usize, setting: &Setting<'_>) -> Tally {
    let (next, tally) = (AtomicU64::new(0), Mutex::new(Tally::default()));
    std::thread::scope(|scope| {
        for _ in 0..at_once.max(1) {
            scope.spawn(|| {
                while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let played = play(seed, setting);
                    tally.lock().unwrap_or_else(PoisonError::into_inner).add(seed, played);
                }
            });
        }
    });
    tally.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// What all sessions came to.
#[derive(Debug, Default)]
struct Tally {
    failures: Vec<(u64, String)>,
    codes: BTreeMap<i32, u64>,
    lies: BTreeMap<String, u64>,
    requests: u64,
    /// Highest memory of each session, KiB.
    peaks: Vec<u64>,
    /// And the session in which it was.
    longest: (Duration, u64),
}

impl Tally {
    fn add(&mut self, seed: u64, played: Result<Facts>) {
        let facts = match played {
            Ok(facts) => facts,
            Err(what) => {
                let what: String = what.chars().take(2000).collect();
                println!("session {seed}: {what}");
                return self.failures.push((seed, what));
            }
        };
        facts.codes.iter().for_each(|code| *self.codes.entry(*code).or_default() += 1);
        facts.witness.lies.into_iter().for_each(|(lie, count)| *self.lies.entry(lie).or_default() += count);
        self.requests += facts.witness.requests;
        self.peaks.push(facts.peak);
        self.longest = self.longest.max((facts.longest, seed));
    }

    fn print(&self) {
        let mut peaks = self.peaks.clone();
        peaks.sort_unstable();
        let mib = |kib: Option<&u64>| kib.copied().unwrap_or_default() / 1024;
        println!("rounds by exit code: {:?}", self.codes);
        println!("lies told: {:?}", self.lies);
        println!(
            "peak memory: median {} MiB, most {} MiB",
            mib(peaks.get(peaks.len() / 2)),
            mib(peaks.last())
        );
        println!("longest run: {:.1} s, in session {}", self.longest.0.as_secs_f64(), self.longest.1);
        for (seed, what) in &self.failures {
            println!("FAILED: --session {seed}: {}", what.lines().next().unwrap_or_default());
        }
        println!("{} failed", self.failures.len());
    }
}

/// The first thing that is not the same in two trees.
fn difference(before: &Tree, after: &Tree) -> Option<String> {
    let mut paths: Vec<&PathBuf> = before.keys().chain(after.keys()).collect();
    paths.sort();
    let path = paths.into_iter().find(|path| before.get(*path) != after.get(*path))?;
    let mode = |tree: &Tree| tree.get(path).map(|thing| (format!("{:o}", thing.mode), thing.mtime));
    Some(format!("{}: {:?} and then {:?}", path.display(), mode(before), mode(after)))
}
