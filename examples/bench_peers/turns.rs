//! One workload: every tool in turn, again and again, and a look at each result.

use std::fs;
use std::path::PathBuf;

use crate::bench::{Bench, TREE, clear};
use crate::compare::{Mtimes, compare};
use crate::data::Made;
use crate::figures::{End, Results, Row};
use crate::relay::{Line, Relay};
use crate::supervise::{self, Measured};
use crate::tools::{Direction, Role, TOOLS, Task, Tool};
use crate::workloads::{Place, Start, Workload};
use crate::{Doing, Result};

/// How much of what a tool has said is shown when it fails, characters.
const LAST_WORDS: usize = 400;

/// Runs the workload over data that was made.
pub fn run(bench: &Bench, workload: &Workload, made: Made) -> Result<Results> {
    let mut results = Results::new(made);
    let turns = Turns { bench, workload, relay: relay(bench, workload)? };
    let mut tools: Vec<_> = TOOLS.iter().filter(|tool| takes_part(bench, workload, tool)).collect();
    for tool in &tools {
        results.rows.push(turns.first_row(tool)?);
    }
    for turn in 0..bench.args.runs {
        turns.take(&mut tools, &mut results, turn)?;
    }
    turns.count(&tools, &mut results)?;
    for tool in &tools {
        turns.clear(tool)?;
    }
    Ok(results)
}

fn takes_part(bench: &Bench, workload: &Workload, tool: &Tool) -> bool {
    let is_named = |word: &String| {
        let rest = tool.name.strip_prefix(word.as_str());
        rest.is_some_and(|rest| rest.is_empty() || (word == "highwater" && rest.starts_with('-')))
    };
    let args = bench.args;
    workload.tools.contains(&tool.name)
        && (args.only_tool.is_empty() || args.only_tool.iter().any(is_named))
        && !args.skip_tool.iter().any(is_named)
}

/// A relay for the timed runs. Where nothing is carried it counts beside, without being felt.
fn relay(bench: &Bench, workload: &Workload) -> Result<Option<Relay>> {
    let is_plain = workload.round_trip_ms == 0 && workload.start == Start::Empty;
    let rate = bench.args.line_rate.filter(|_| workload.round_trip_ms > 0);
    let rate = rate.map(|mib| mib.saturating_mul(1 << 20));
    (!is_plain).then(|| start_relay(bench, Line { round_trip: workload.round_trip(), rate })).transpose()
}

fn start_relay(bench: &Bench, line: Line) -> Result<Relay> {
    let relay = Relay::start(bench.sshd.address(), line)?;
    bench.access.know(relay.port())?;
    Ok(relay)
}

struct Turns<'a> {
    bench: &'a Bench<'a>,
    workload: &'a Workload,
    relay: Option<Relay>,
}

impl Turns<'_> {
    /// An empty row; where tools start with everything in place, after the run that brought it there.
    fn first_row(&self, tool: &Tool) -> Result<Row> {
        let mut row = Row::new(tool.name);
        if let Some(program) = tool.missing() {
            row.end = End::Missing(program);
        } else if self.workload.start == Start::Unchanged {
            // Over the line only where it matters: highwater knows a far side by its port, too.
            let port = if tool.role == Role::Ours { self.port() } else { self.bench.sshd.address().port() };
            self.clear(tool)?;
            self.make_target(tool)?;
            row.first = self.attempt(tool, port, &mut row)?;
        }
        Ok(row)
    }

    fn port(&self) -> u16 {
        self.relay.as_ref().map_or(self.bench.sshd.address().port(), Relay::port)
    }

    /// One turn of each tool that is still in it.
    fn take(&self, tools: &mut [&Tool], results: &mut Results, turn: u32) -> Result<()> {
        for (tool, row) in tools.iter().zip(&mut results.rows) {
            if row.end != End::Done || (turn > 0 && self.is_slow(row)) {
                continue;
            }
            let _ = self.relay.as_ref().map(Relay::take_crossed); // what stopped runs have left
            if let Some(measured) = self.run_once(tool, self.port(), row)? {
                let name = self.workload.name;
                eprintln!(
                    "{name} {}/{} {}: {:.2} s",
                    turn + 1,
                    self.bench.args.runs,
                    tool.name,
                    measured.wall_seconds
                );
                row.crossed = self.relay.as_ref().map(Relay::take_crossed);
                row.runs.push(measured);
            } else {
                eprintln!("{} {}: {:?}", self.workload.name, tool.name, row.end);
            }
        }
        Ok(())
    }

    fn is_slow(&self, row: &Row) -> bool {
        let limit = self.bench.args.once_over.as_secs_f64();
        row.runs.first().is_some_and(|run| run.wall_seconds > limit)
    }

    /// Where the timed runs had no relay, one more run of each tool with one.
    fn count(&self, tools: &[&Tool], results: &mut Results) -> Result<()> {
        if self.relay.is_some() {
            return Ok(());
        }
        let relay = start_relay(self.bench, Line::default())?;
        for (tool, row) in tools.iter().zip(&mut results.rows) {
            if row.end == End::Done && !self.is_slow(row) {
                relay.take_crossed();
                self.run_once(tool, relay.port(), row)?;
                row.crossed = Some(relay.take_crossed());
            }
        }
        Ok(())
    }

    /// One run from the workload's start. `None` when the tool is out of it now, as its row says.
    fn run_once(&self, tool: &Tool, port: u16, row: &mut Row) -> Result<Option<Measured>> {
        if self.workload.start == Start::Unchanged {
            return self.attempt(tool, port, row);
        }
        self.clear(tool)?;
        self.make_target(tool)?;
        let measured = self.attempt(tool, port, row);
        self.clear(tool)?;
        measured
    }

    /// Runs a tool on what is there, and compares what came of it.
    fn attempt(&self, tool: &Tool, port: u16, row: &mut Row) -> Result<Option<Measured>> {
        self.bench.go_on()?;
        if self.workload.place == Place::Disk {
            rustix::fs::sync(); // what the last run left to be written is not this one's to wait for
        }
        let command = tool.command(&self.task(tool, port))?;
        let (report, log) = (self.bench.file("report"), self.bench.file("log"));
        let measured = supervise::measure(&command, self.bench.args.cap, &report, &log, &self.bench.stop)?;
        self.bench.go_on()?;
        self.bench.sshd.wait_until_idle()?;
        row.end = self.judge(tool, &measured, row)?;
        Ok((row.end == End::Done).then_some(measured))
    }

    fn judge(&self, tool: &Tool, measured: &Measured, row: &mut Row) -> Result<End> {
        let cap_seconds = self.bench.args.cap.as_secs_f64();
        match measured.stopped {
            true if measured.wall_seconds >= cap_seconds => return Ok(End::Capped(cap_seconds)),
            true => return Err("interrupted".into()), // a signal that only the supervisor got
            false => {}
        }
        if measured.exit != Some(0) {
            let log = fs::read(self.bench.file("log")).doing("read a tool's log")?;
            let log: Vec<_> = String::from_utf8_lossy(&log).trim().chars().collect();
            let words: String = log[log.len().saturating_sub(LAST_WORDS)..].iter().collect();
            return Ok(End::Failed(format!("exit code {:?}: {words}", measured.exit)));
        }
        match compare(&self.bench.source(), &self.target(tool).join(TREE)) {
            Ok(mtimes) => row.keeps_mtimes &= mtimes == Mtimes::Kept,
            Err(reason) => return Ok(End::Failed(reason)),
        }
        match tool.role == Role::Ours && !row.keeps_mtimes {
            true => Ok(End::Failed("modification times were lost".into())),
            false => Ok(End::Done),
        }
    }

    fn task(&self, tool: &Tool, port: u16) -> Task<'_> {
        let (source, target) = (self.bench.source(), self.target(tool).join(TREE));
        let direction = self.workload.direction;
        let (near, far) = match direction {
            Direction::Push => (source, target),
            Direction::Pull => (target, source),
        };
        let (access, highwater) = (&self.bench.access, self.bench.highwater.as_path());
        Task { direction, near, far, port, access, highwater, state: self.state(tool) }
    }

    fn target(&self, tool: &Tool) -> PathBuf {
        self.bench.targets(self.workload.place).join(format!("to-{}", tool.name))
    }

    fn state(&self, tool: &Tool) -> PathBuf {
        self.bench.file(&format!("state-{}", tool.name))
    }

    fn clear(&self, tool: &Tool) -> Result<()> {
        clear(&self.target(tool))?;
        clear(&self.state(tool))
    }

    fn make_target(&self, tool: &Tool) -> Result<()> {
        let target = self.target(tool);
        for folder in [target.clone(), target.join(TREE)] {
            fs::create_dir(&folder).doing("make a target")?;
            self.bench.user.own(&folder)?;
        }
        Ok(())
    }
}
