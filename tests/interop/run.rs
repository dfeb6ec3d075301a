//! Goes through the matrix: a few peers at once, the checks of each one after another.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::args::Args;
use crate::caught::{caught, keep_panics};
use crate::checks::{self, Shared};
use crate::clients;
use crate::expected::{lack, may_pass};
use crate::peers::{self, Peer};
use crate::support::pair::{Serve, Server};
use crate::table;

/// What is tested against.
pub enum Subject {
    /// A server.
    Server(peers::Kind),
    /// A client.
    Client(clients::Kind),
}

/// All of them.
pub fn subjects() -> Vec<Subject> {
    let servers = peers::KINDS.into_iter().map(Subject::Server);
    servers.chain(clients::KINDS.into_iter().map(Subject::Client)).collect()
}

impl Subject {
    /// What it is called on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Server(kind) => kind.name,
            Self::Client(kind) => kind.name,
        }
    }

    /// What it is called in the table.
    pub fn title(&self) -> &'static str {
        match self {
            Self::Server(kind) => kind.title,
            Self::Client(kind) => kind.title,
        }
    }

    /// Whether the gate has it.
    pub fn in_gate(&self) -> bool {
        match self {
            Self::Server(kind) => kind.in_gate,
            Self::Client(kind) => kind.in_gate,
        }
    }
}

/// What one check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As it must be.
    Passed,
    /// It fails as was said of this peer, for this reason.
    Lacks(&'static str),
    /// It fails.
    Failed(String),
}

/// One cell of the matrix.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The check.
    pub check: &'static str,
    /// What it came to.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

/// One peer with all its checks.
#[derive(Debug, Clone)]
pub struct Column {
    /// Whether it is a client of ours.
    pub is_client: bool,
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is called in the table.
    pub title: &'static str,
    /// Its version.
    pub version: String,
    /// Its checks.
    pub cells: Vec<Cell>,
    /// How long all of it took.
    pub took: Duration,
}

/// Runs what was asked for, and prints the table. `false`: something failed.
pub fn run(args: &Args) -> Result<bool> {
    if !crate::support::account::is_root() {
        return Err("run this as root, as contrib/test does: servers log in as an ordinary user".into());
    }
    in_memory();
    keep_panics();
    let wanted = |subject: &Subject| match args.only.is_empty() {
        true => subject.in_gate() || args.full,
        false => args.only.iter().any(|only| only == subject.name()),
    };
    let subjects: Vec<Subject> = subjects().into_iter().filter(wanted).collect();
    if subjects.is_empty() {
        return Err(format!("there is none of {:?}: see --list", args.only));
    }
    let (next, columns) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..args.at_once {
            scope.spawn(|| {
                while let Some(subject) = subjects.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let column = column(subject, args);
                    columns.lock().unwrap().push(column);
                }
            });
        }
    });
    let mut columns = columns.into_inner().unwrap();
    columns.sort_by_key(|column: &Column| subjects.iter().position(|subject| subject.name() == column.name));
    table::print(&columns, args)?;
    let failed = |cell: &Cell| matches!(cell.outcome, Outcome::Failed(_));
    Ok(!columns.iter().flat_map(|column| &column.cells).any(failed))
}

/// Folders live in memory where there is room: what is tested is not the disk.
fn in_memory() {
    let memory = std::path::Path::new("/dev/shm");
    let free = rustix::fs::statvfs(memory).map_or(0, |found| found.f_bavail * found.f_frsize);
    if free > 4 << 30 {
        let _ = tempfile::env::override_temp_dir(memory); // nobody has chosen another one before
    }
}

fn column(subject: &Subject, args: &Args) -> Column {
    let began = Instant::now();
    let mut column = Column {
        is_client: matches!(subject, Subject::Client(_)),
        name: subject.name(),
        title: subject.title(),
        version: "not started".into(),
        cells: Vec::new(),
        took: Duration::ZERO,
    };
    match subject {
        Subject::Server(kind) => {
            if let Some(peer) = column.start(|| (kind.start)(&args.peers)) {
                column.version.clone_from(&peer.version);
                column.serve(&peer, args);
            }
        }
        Subject::Client(kind) => {
            let started = column.start(|| ((kind.version)(&args.peers), Server::Serve(Serve::start(&[]))));
            if let Some((version, server)) = started {
                column.version = version;
                column.ask(kind, &server, args);
            }
        }
    }
    column.took = began.elapsed();
    let seconds = column.took.as_secs_f64();
    eprintln!("{} {}: {} checks in {seconds:.1} s", column.title, column.version, column.cells.len());
    column
}

impl Column {
    fn start<T>(&mut self, start: impl FnOnce() -> T) -> Option<T> {
        let mut started = None;
        self.check("it starts", || started = Some(start()));
        started
    }

    /// The conformance list.
    fn serve(&mut self, peer: &Peer, args: &Args) {
        let shared = Shared::default();
        for check in checks::list().iter().filter(|check| is_wanted(check.name, check.is_large, args)) {
            self.check(check.name, || check.run(peer, &shared, args.full));
        }
    }

    /// What clients are asked to do.
    fn ask(&mut self, kind: &clients::Kind, server: &Server, args: &Args) {
        for check in clients::LIST.iter().filter(|check| is_wanted(check.name, check.is_large, args)) {
            self.check(check.name, || {
                (check.run)(clients::Bench::new(kind, server, &args.peers, check.name));
            });
        }
    }

    fn check(&mut self, check: &'static str, run: impl FnOnce()) {
        let began = Instant::now();
        let outcome = judge(self.name, check, caught(run));
        if let Outcome::Failed(reason) = &outcome {
            eprintln!("FAILED {} | {check}: {reason}", self.name);
        }
        self.cells.push(Cell { check, outcome, took: began.elapsed() });
    }
}

/// What is asked for by name is wanted in any case.
fn is_wanted(check: &str, is_large: bool, args: &Args) -> bool {
    match args.check.is_empty() {
        true => args.full || !is_large,
        false => args.check.iter().any(|part| check.contains(part.as_str())),
    }
}

fn judge(peer: &str, check: &str, ended: Result<()>) -> Outcome {
    match (lack(peer, check), ended) {
        (None, Ok(())) => Outcome::Passed,
        (None, Err(reason)) => Outcome::Failed(reason),
        (Some((why, says)), Err(reason)) if reason.contains(says) => Outcome::Lacks(why),
        (Some((_, says)), Err(reason)) => {
            Outcome::Failed(format!("not for the known reason ({says:?}): {reason}"))
        }
        (Some(_), Ok(())) if may_pass(peer, check) => Outcome::Passed,
        (Some((why, _)), Ok(())) => {
            Outcome::Failed(format!("it passes now: take it off expected.rs ({why})"))
        }
    }
}
