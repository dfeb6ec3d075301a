//! The interoperability matrix: one list of checks, run through the program and its far tree against real SFTP
//! servers of other makes, and real clients of other makes against `highwater serve`.
//!
//! ```text
//! contrib/test                                     installs what is needed and runs the gate of it
//! cargo test --test interop -- --full              all servers and clients, and the large variants
//! cargo test --test interop -- --only proftpd --check resume
//! cargo test --test interop -- --list
//! ```
//!
//! Run by root: servers work as an ordinary user, and disks are filled up on small file systems in memory. Nothing
//! skips itself: a peer that is missing fails the run with what installs it. Where a peer cannot do what a check
//! asks for, `expected.rs` says so and why: such a cell must fail just as it says there, and a cell that no longer
//! fails is a failure too.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)] // a program to be run by hand: tables

mod args;
mod bench;
mod caught;
mod checks;
mod clients;
mod expected;
mod peers;
#[path = "../../examples/bench_peers/process.rs"]
#[allow(dead_code, unused_imports, reason = "only the benchmark asks for CPU times, and tests itself")]
mod process;
#[path = "../../examples/torture/random.rs"]
#[allow(dead_code, reason = "nothing is drawn here")]
mod random;
#[path = "../../examples/torture/relay.rs"]
#[allow(dead_code, reason = "faults are not drawn here")]
mod relay;
mod run;
mod support;
mod table;
mod topics;

use std::process::ExitCode;

use clap::Parser;

/// What went wrong, for people.
type Result<T> = std::result::Result<T, String>;

/// Says what was being done when an error came up.
trait Doing<T> {
    /// The error as text, after what was being done.
    fn doing(self, what: &str) -> Result<T>;
}

impl<T, E: std::fmt::Display> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: &str) -> Result<T> {
        self.map_err(|e| format!("{what}: {e}"))
    }
}

fn main() -> ExitCode {
    let mut args = args::Args::parse();
    // Servers are started in folders of their own.
    match std::path::absolute(&args.peers) {
        Ok(peers) => args.peers = peers,
        Err(e) => {
            eprintln!("interop: where is {}: {e}", args.peers.display());
            return ExitCode::FAILURE;
        }
    }
    if args.list {
        table::list();
        return ExitCode::SUCCESS;
    }
    match run::run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("interop: {reason}");
            ExitCode::FAILURE
        }
    }
}
