//! Highwater simulated: the real planner, engine and journal over two trees in memory, one seed after the other.
//!
//! ```text
//! cargo run --release --example simulate -- --seeds 50000 --at-once 2
//! cargo run --release --example simulate -- --seed 1234 --seeds 1 --trace
//! ```
//!
//! A seed draws a job and a server, fills two trees and plays a few rounds. Meanwhile people work on both sides,
//! between any two calls of the engine; calls are refused, requests and answers are late, lost or overtake one
//! another, what was sent before a cut is worked off long after it; listings leave things out; the program dies
//! at any call and is started again, with its machine's power or without; journals are put back. Time is made up
//! and passes only when everybody waits, so that the same seed takes the same steps, which the hash of its trace
//! shows. An [`oracle`] looks at every change of the target. Then peace returns, and after a few rounds both sides
//! must agree, and one more round do nothing.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program to be run by hand: seeds and figures
#![allow(clippy::expect_used, reason = "a world of our own that does not hold together is a bug of it")]

mod args;
mod look;
mod machine;
mod oracle;
mod play;
#[path = "../torture/random.rs"]
#[allow(dead_code, reason = "the torture uses the rest")]
mod random;
mod session;
mod settings;
mod trace;
mod tree;
mod user;
mod weather;
mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;

use crate::args::Args;
use crate::play::play_safely;
use crate::random::mix;

/// After so many failures what is wrong is known.
const MOST_FAILURES: usize = 20;

/// What came of all seeds so far.
#[derive(Default)]
struct Tally {
    seeds: u64,
    lines: u64,
    /// Of all hashes, whatever their order.
    hash: u64,
    counts: BTreeMap<&'static str, u64>,
    failures: Vec<(u64, String)>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let began = Instant::now();
    std::panic::set_hook(Box::new(|_| {})); // told as what broke the seed
    let tally = run(&args);
    report(&args, &tally, began.elapsed().as_secs_f64());
    if tally.failures.is_empty() && tally.seeds > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Where journals lie: in memory, where there is room for that.
fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.into() } else { std::env::temp_dir() }
}

fn run(args: &Args) -> Tally {
    let (next, tally, scratch) = (AtomicU64::new(0), Mutex::new(Tally::default()), scratch());
    std::thread::scope(|scope| {
        for _ in 0..args.at_once.max(1) {
            scope.spawn(|| work(args, &next, &tally, &scratch));
        }
    });
    tally.into_inner().expect("nobody panicked with it")
}

fn work(args: &Args, next: &AtomicU64, tally: &Mutex<Tally>, scratch: &Path) {
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let failures = tally.lock().expect("nobody panicked with it").failures.len();
        if index >= args.seeds || failures >= MOST_FAILURES {
            return;
        }
        let seed = args.seed + index;
        let mut played = play_safely(seed, scratch, args.trace);
        if args.again > 0 && index.is_multiple_of(args.again) && played.broken.is_none() {
            let again = play_safely(seed, scratch, false);
            if again.hash != played.hash {
                played.broken = Some(format!("two traces: {:016x} and {:016x}", played.hash, again.hash));
            }
        }
        if args.trace {
            println!("seed {seed}: trace {:016x}, {} lines", played.hash, played.lines);
        }
        tally.lock().expect("nobody panicked with it").add(seed, played);
    }
}

impl Tally {
    fn add(&mut self, seed: u64, played: play::Played) {
        self.seeds += 1;
        self.lines += played.lines;
        self.hash ^= mix(mix(seed) ^ played.hash);
        for (what, count) in played.counts {
            *self.counts.entry(what).or_default() += count;
        }
        if let Some(broken) = played.broken {
            eprintln!("seed {seed}: {broken}");
            self.failures.push((seed, broken));
        }
        if self.seeds.is_multiple_of(1_000) {
            eprintln!("{} seeds, {} failures", self.seeds, self.failures.len());
        }
    }
}

fn report(args: &Args, tally: &Tally, secs: f64) {
    let Tally { seeds, lines, hash, counts, failures } = tally;
    println!("seeds {}..{}: {seeds} played, {lines} steps, {secs:.1} s", args.seed, args.seed + seeds);
    println!("hash of all traces: {hash:016x}");
    let counts: Vec<String> = counts.iter().map(|(what, count)| format!("{what} {count}")).collect();
    println!("{}", counts.join(" · "));
    println!("failures: {}", failures.len());
}

#[cfg(test)]
mod sweeps;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_seeds_lose_nothing() {
        let args = Args { seeds: 150, seed: 1_000_000, at_once: 1, again: 20, trace: false };
        let tally = run(&args);
        assert_eq!(tally.failures, []);
        for what in ["crashes", "cuts", "late requests", "power cuts", "deleted", "displaced", "lies"] {
            assert!(tally.counts.get(what).is_some_and(|count| *count > 0), "no {what}");
        }
    }
}
