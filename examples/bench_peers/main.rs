//! Highwater measured beside its peers, over a real sshd of its own on this machine.
//!
//! ```text
//! contrib/bench                     everything; takes hours, most of them spent on slow peers
//! contrib/bench --only small-push --only-tool highwater --only-tool rsync
//! contrib/bench --list
//! ```
//!
//! What is measured: wall time from the start of the client to its end; CPU time of the client and every
//! process it started (user and system); the peak of their resident memory together, looked at every 20 ms;
//! bytes that crossed the connection in both directions, SSH's own share included. Tools take turns
//! (A B C A B C) and medians are shown. Every single run is compared with its source, byte by byte, and
//! modification times by the second.
//!
//! Where there is no delay, clients talk to sshd directly, and bytes are counted in one more, untimed run
//! through the relay. Delays are those of [`relay`]: nothing is lost there and nothing starts slowly, so it
//! is a long clean line and not the Internet.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program to be run by hand: tables and progress

mod access;
mod args;
mod bench;
mod compare;
mod data;
mod figures;
mod machine;
mod process;
mod relay;
mod report;
#[allow(dead_code, reason = "the torture asks for more")]
mod server;
mod supervise;
mod table;
mod target;
mod tools;
mod turns;
mod workloads;

use std::process::ExitCode;

use clap::Parser;

/// Why the benchmark cannot go on, for people.
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

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    let outcome = match words.get(1) {
        Some(word) if word == supervise::WORD => supervise::run(&words[2..]).map(|()| true),
        _ => run(&args::Args::parse()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("bench_peers: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// `false` when a tool failed or a result was not its source.
fn run(args: &args::Args) -> Result<bool> {
    let chosen = workloads::choose(&args.only)?;
    if args.list {
        report::list(&chosen);
        return Ok(true);
    }
    if args.check_relay {
        report::relay(&relay::check()?);
        return Ok(true);
    }
    let machine = machine::look();
    report::heading(&machine, args);
    let mut bench = bench::Bench::start(args)?;
    for workload in &chosen {
        let result = bench.run(workload)?;
        let judged = target::judge(workload, &result, bench.done());
        report::workload(args, workload, &result, &judged);
        bench.keep(workload.name, result, judged);
    }
    report::save(args, &machine, bench.done())?;
    Ok(bench.done().iter().all(|done| done.result.is_sound()))
}
