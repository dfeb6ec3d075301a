//! What was measured, and what it comes to.

use serde::Serialize;

use crate::data::Made;
use crate::relay::Crossed;
use crate::supervise::Measured;
use crate::tools::{Role, named};

/// All rows of one workload.
#[derive(Debug, Clone, Serialize)]
pub struct Results {
    /// Number of files.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// One for each tool, in the order of their turns.
    pub rows: Vec<Row>,
}

/// One tool in one workload.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Its name.
    pub tool: &'static str,
    /// The timed runs that reached their end.
    pub runs: Vec<Measured>,
    /// Bytes over the connection in the last run that was counted.
    pub crossed: Option<Crossed>,
    /// Whether every run kept modification times.
    pub keeps_mtimes: bool,
    /// The run that brought everything there, where the others had nothing to do.
    pub first: Option<Measured>,
    /// How it ended.
    pub end: End,
}

/// How a tool fared.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// It did what it should.
    Done,
    /// It was stopped after this many seconds.
    Capped(f64),
    /// It failed, or its result was not the source: why.
    Failed(String),
    /// It is not installed: this program is missing.
    Missing(&'static str),
}

/// A ratio to somebody else's figure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ratio {
    /// How many times the other's.
    pub value: f64,
    /// The other was stopped before its end: the ratio is less than this.
    pub is_bound: bool,
}

impl Results {
    /// No row yet.
    pub fn new(made: Made) -> Self {
        Self { files: made.files, bytes: made.bytes, rows: Vec::new() }
    }

    /// The row of a tool.
    pub fn row(&self, tool: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.tool == tool)
    }

    /// Whether no tool failed.
    pub fn is_sound(&self) -> bool {
        !self.rows.iter().any(|row| matches!(row.end, End::Failed(_)))
    }

    /// The quickest of the peers, those that were stopped only when no other came to its end.
    pub fn best_peer(&self) -> Option<&Row> {
        let is_peer = |row: &&Row| named(row.tool).is_some_and(|tool| tool.role == Role::Peer);
        let key = |row: &&Row| (matches!(row.end, End::Capped(_)), row.wall_or_cap());
        let timed = self.rows.iter().filter(is_peer).filter(|row| row.wall_or_cap().is_some());
        timed.min_by(|a, b| key(a).partial_cmp(&key(b)).unwrap_or(std::cmp::Ordering::Equal))
    }
}

impl Row {
    /// Nothing measured yet.
    pub fn new(tool: &'static str) -> Self {
        Self { tool, runs: Vec::new(), crossed: None, keeps_mtimes: true, first: None, end: End::Done }
    }

    /// Median of the wall times, seconds.
    pub fn wall(&self) -> Option<f64> {
        median(self.runs.iter().map(|run| run.wall_seconds))
    }

    /// Median of the CPU times, seconds.
    pub fn cpu(&self) -> Option<f64> {
        median(self.runs.iter().map(|run| run.cpu_seconds))
    }

    /// The highest peak of all timed runs, MiB.
    pub fn peak_mib(&self) -> Option<f64> {
        self.runs.iter().map(Measured::peak_mib).reduce(f64::max)
    }

    /// The quickest and the slowest run, seconds.
    pub fn spread(&self) -> Option<(f64, f64)> {
        let walls = || self.runs.iter().map(|run| run.wall_seconds);
        Some((walls().reduce(f64::min)?, walls().reduce(f64::max)?))
    }

    fn wall_or_cap(&self) -> Option<f64> {
        match self.end {
            End::Done => self.wall(),
            End::Capped(seconds) => Some(seconds),
            End::Failed(_) | End::Missing(_) => None,
        }
    }

    /// Wall time as a multiple of another tool's; `None` when this one did not come to its end.
    pub fn wall_ratio(&self, other: &Row) -> Option<Ratio> {
        let value = self.finished()?.wall()? / other.wall_or_cap()?;
        Some(Ratio { value, is_bound: matches!(other.end, End::Capped(_)) })
    }

    /// CPU time as a multiple of another tool's; `None` unless both came to their ends.
    pub fn cpu_ratio(&self, other: &Row) -> Option<Ratio> {
        let value = self.finished()?.cpu()? / other.finished()?.cpu()?;
        Some(Ratio { value, is_bound: false })
    }

    fn finished(&self) -> Option<&Self> {
        (self.end == End::Done).then_some(self)
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some((lower + upper) / 2.0)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A row with these wall times.
    pub(crate) fn row(tool: &'static str, walls: &[f64], end: End) -> Row {
        let run = |&wall_seconds: &f64| Measured {
            wall_seconds,
            cpu_seconds: wall_seconds / 2.0,
            peak_kib: 10 * 1024,
            stopped: false,
            exit: Some(0),
        };
        Row { runs: walls.iter().map(run).collect(), end, ..Row::new(tool) }
    }

    #[test]
    fn medians() {
        let check = |values: &[f64], expected| assert_eq!(median(values.iter().copied()), expected);
        check(&[], None);
        check(&[3.0], Some(3.0));
        check(&[9.0, 1.0, 2.0], Some(2.0));
        check(&[4.0, 1.0, 2.0, 9.0], Some(3.0));
    }

    #[test]
    fn the_best_peer_is_the_quickest_that_came_to_its_end() {
        let check = |rows: Vec<Row>, expected: Option<&str>| {
            let results = Results { files: 1, bytes: 1, rows };
            assert_eq!(results.best_peer().map(|row| row.tool), expected);
        };
        let ours = || row("highwater-ack", &[1.0], End::Done);
        check(vec![ours()], None);
        check(vec![ours(), row("tar", &[1.0], End::Done)], None);
        check(vec![ours(), row("rsync", &[9.0], End::Done), row("sftp", &[8.0], End::Done)], Some("sftp"));
        check(vec![row("rsync", &[9.0], End::Done), row("sftp", &[], End::Capped(5.0))], Some("rsync"));
        check(vec![ours(), row("sftp", &[], End::Capped(5.0))], Some("sftp"));
        check(vec![ours(), row("sftp", &[1.0], End::Failed("no".into()))], None);
    }

    #[test]
    fn ratios_to_a_tool_that_was_stopped_are_bounds() {
        let ours = row("highwater-ack", &[1.0], End::Done);
        let check = |other: Row, expected: Option<(f64, bool)>| {
            let ratio = ours.wall_ratio(&other);
            assert_eq!(ratio, expected.map(|(value, is_bound)| Ratio { value, is_bound }));
        };
        check(row("rsync", &[2.0], End::Done), Some((0.5, false)));
        check(row("rsync", &[], End::Capped(4.0)), Some((0.25, true)));
        check(row("rsync", &[2.0], End::Failed("no".into())), None);
        let stopped = row("rsync", &[], End::Capped(4.0));
        assert_eq!(stopped.wall_ratio(&ours), None);
        assert_eq!(ours.cpu_ratio(&stopped), None);
    }
}
