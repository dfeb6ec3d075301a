//! Highwater tortured: campaigns of faults against the real program and a real OpenSSH server, each case
//! drawn from a seed and judged by an oracle that shares no code with the program.
//!
//! ```text
//! contrib/torture                                   every campaign, until each is whole
//! contrib/torture --minutes 10                      every campaign, ten minutes together
//! contrib/torture --minutes 10 --campaign kills     one of them, for ten minutes
//! contrib/torture --campaign kills --case 1234      one case again, its folder kept
//! contrib/torture --list
//! ```
//!
//! A case makes two roots and a tree in one of them, mostly carries it once and lets people work on both
//! sides, then has the program carry while something goes wrong and people work on, looking all the while at
//! what stands under final names ([`watcher`]). After that one undisturbed round must put everything right: the source is
//! untouched, the target is as it should be to the byte, what was replaced or removed without being ours, or
//! was ours and is gone at the source, lies in the trash, nothing is left staged ([`oracle`]), and one more
//! round does nothing.
//!
//! Moments (when a process is killed, how far it is by then) depend on the machine: the same seed gives the
//! same trees, edits and faults, and about the same moments.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program to be run by hand: tables and progress

mod args;
mod bench;
mod campaign;
mod campaigns;
mod case;
mod content;
#[path = "../bench_peers/machine.rs"]
mod machine;
mod oracle;
#[path = "../bench_peers/process.rs"]
#[allow(dead_code, reason = "only the benchmark asks for CPU times")]
mod process;
mod program;
mod random;
mod relay;
mod report;
#[path = "../bench_peers/server.rs"]
#[allow(dead_code, reason = "only the benchmark waits for sessions to end")]
mod server;
mod watcher;
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

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

/// Where the roots of cases live: in memory, where there is room for that.
pub fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.into() } else { std::env::temp_dir() }
}

fn main() -> ExitCode {
    match campaign::run(&args::Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("torture: {reason}");
            ExitCode::FAILURE
        }
    }
}
