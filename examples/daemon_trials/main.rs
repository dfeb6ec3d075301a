//! The daemon at work for minutes, over real sshds on this machine: how soon what changes is there, and what
//! is left after everything that can happen to it.
//!
//! ```text
//! contrib/trials                          all of them, one after the other: some fifty minutes
//! contrib/trials latency latency-50ms
//! contrib/trials --list
//! ```
//!
//! Each trial makes its own folders, servers and daemons, and compares both sides at its end, byte by byte.
//! What is shown is what was measured. A trial that finds what must not be fails, and so does the program.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program to be run by hand: figures and progress

#[path = "../../tests/it/support/account.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod account;
mod changes;
#[path = "../bench_peers/compare.rs"]
#[allow(dead_code, reason = "the benchmark uses the rest")]
mod compare;
mod cuts;
mod idle;
mod kills;
mod latency;
#[path = "../bench_peers/machine.rs"]
#[allow(dead_code, reason = "the benchmark uses the rest")]
mod machine;
#[path = "../../tests/it/support/pam.rs"]
#[allow(dead_code, reason = "the tests use it")]
mod pam;
#[path = "../bench_peers/process.rs"]
#[allow(dead_code, reason = "the benchmark uses the rest")]
mod process;
mod random;
#[path = "../bench_peers/relay.rs"]
#[allow(dead_code, reason = "the benchmark uses the rest")]
mod relay;
mod rig;
mod soak;
#[path = "../../tests/it/support/sshd.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod sshd;
mod telling;
mod torn;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

/// Why a trial failed, for people.
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

/// Tries the daemon.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "daemon_trials", max_term_width = 100)]
pub struct Args {
    /// Which trials; without any, all of them
    pub trials: Vec<String>,
    /// Show the trials, and end
    #[arg(long)]
    pub list: bool,
    /// What moments, names and contents are drawn from
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The program to try [default: highwater beside the folder of this program]
    #[arg(long, value_name = "FILE")]
    pub highwater: Option<PathBuf>,
    /// How long the soak lasts [default: 20, scaled]
    #[arg(long)]
    pub minutes: Option<f64>,
    /// Multiply numbers of files, kills and minutes by this: for trials of trials, not for figures
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub scale: f64,
}

impl Args {
    /// So many, scaled; at least one.
    pub fn scaled(&self, number: u32) -> u32 {
        ((f64::from(number) * self.scale) as u32).max(1)
    }

    fn program(&self) -> Result<PathBuf> {
        let here = std::env::current_exe().doing("find this program")?;
        let beside = here.parent().and_then(|examples| examples.parent()).map(|dir| dir.join("highwater"));
        let program = self.highwater.clone().or(beside).ok_or("this program is in no folder")?;
        program.canonicalize().doing("find highwater (build it, or name it with --highwater)")
    }
}

/// What a trial is given.
pub struct Given {
    /// The flags.
    pub args: Args,
    /// The program.
    pub program: PathBuf,
}

/// A trial: its name, what it is about, and what gives its figures, a line each.
type Trial = (&'static str, &'static str, fn(&Given) -> Result<Vec<String>>);

const TRIALS: [Trial; 12] = [
    ("latency", "from close() to complete at the far side, no delay", |given| {
        latency::run(given, Duration::ZERO)
    }),
    ("latency-50ms", "the same over a line of 50 ms", |given| latency::run(given, Duration::from_millis(50))),
    ("changes", "a clone, a build, a folder that is moved, atomic saves", changes::usual),
    ("burst", "100,000 files while the kernel's queue of events is short", changes::burst),
    ("outage", "sshd is killed for a minute during a push", cuts::outage),
    ("half-open", "the server's processes are stopped during a push", cuts::half_open),
    ("sigterm", "the daemon is told to stop in mid-transfer, and started again", cuts::told_to_stop),
    ("sigterm-half-open", "the same while the server's processes are stopped", cuts::told_to_stop_half_open),
    ("sigkill", "the daemon is killed 50 times while files change", kills::run),
    ("telling", "targets of each kind at receivers that others wrote", telling::run),
    ("idle", "10 jobs on 3 servers for ten minutes: memory, CPU", idle::run),
    ("soak", "files change for 20 minutes, with new keys and cuts: memory, open files", soak::run),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let outcome = match words.get(1) {
        Some(word) if word == torn::WORD => torn::look(&words[2..]).map(|()| true),
        _ => run(Args::parse()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("daemon_trials: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// `false` when a trial failed.
fn run(args: Args) -> Result<bool> {
    if args.list {
        TRIALS.iter().for_each(|(name, about, _)| println!("{name:<19}{about}"));
        return Ok(true);
    }
    if let Some(unknown) = args.trials.iter().find(|name| !TRIALS.iter().any(|(known, ..)| known == name)) {
        return Err(format!("there is no trial {unknown}; see --list"));
    }
    let machine = machine::look();
    println!("{} · {} cores · {}", machine.processor, machine.cores, machine.system);
    println!("{} · load {} · seed {}\n", machine.date, machine.load, args.seed);
    let given = Given { program: args.program()?, args };
    let chosen = |name: &str| given.args.trials.is_empty() || given.args.trials.iter().any(|n| n == name);
    let mut all_well = true;
    for (name, about, trial) in TRIALS.iter().filter(|(name, ..)| chosen(name)) {
        println!("{name}: {about}");
        let began = Instant::now();
        match trial(&given) {
            Ok(lines) => lines.iter().for_each(|line| println!("  {line}")),
            Err(reason) => {
                println!("  FAILED: {reason}");
                all_well = false;
            }
        }
        println!("  ({:.0} s)\n", began.elapsed().as_secs_f64());
    }
    Ok(all_well)
}
