//! What highwater is to reach in a workload, and whether it did.

use serde::Serialize;

use crate::bench::Finished;
use crate::figures::{Ratio, Results, Row};
use crate::supervise::Measured;
use crate::workloads::Workload;

/// One thing to reach.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// Wall time of the first tool, as a multiple of another's in the same workload.
    Wall(&'static str, f64, &'static str),
    /// CPU time likewise.
    Cpu(&'static str, f64, &'static str),
    /// Wall time of a tool, as a multiple of its own in another workload.
    WallOfWorkload(&'static str, f64, &'static str),
    /// Wall time of a tool in seconds.
    Seconds(&'static str, u32),
    /// Peak memory, in MiB, of every tool whose name begins so, first pushes included.
    Memory(&'static str, u32),
}

/// A target, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    /// What was to be reached.
    pub wanted: String,
    /// What was; `None` when a figure for it is missing.
    pub found: Option<String>,
    /// Whether that is enough.
    pub reached: Option<bool>,
}

/// Holds a workload's results against its targets. `before`: the workloads run before it.
pub fn judge(workload: &Workload, results: &Results, before: &[Finished]) -> Vec<Judged> {
    workload.targets.iter().map(|target| judge_one(target, results, before)).collect()
}

fn judge_one(target: &Target, results: &Results, before: &[Finished]) -> Judged {
    match *target {
        Target::Wall(tool, factor, of) => {
            let ratio = both(results, tool, of).and_then(|(tool, of)| tool.wall_ratio(of));
            judged(format!("{tool} at most {factor} × {of}"), ratio, factor)
        }
        Target::Cpu(tool, factor, of) => {
            let ratio = both(results, tool, of).and_then(|(tool, of)| tool.cpu_ratio(of));
            judged(format!("CPU time of {tool} at most {factor} × {of}"), ratio, factor)
        }
        Target::WallOfWorkload(tool, factor, name) => {
            let other = before.iter().find(|done| done.workload == name);
            let other = other.and_then(|done| done.result.row(tool));
            let ratio = results.row(tool).zip(other).and_then(|(tool, other)| tool.wall_ratio(other));
            judged(format!("{tool} at most {factor} × itself in {name}"), ratio, factor)
        }
        Target::Seconds(tool, most) => {
            let wall = results.row(tool).and_then(Row::wall);
            figure(format!("{tool} at most {most} s"), wall, f64::from(most), "s")
        }
        Target::Memory(tools, most) => {
            let rows = results.rows.iter().filter(|row| row.tool.starts_with(tools));
            let runs = rows.flat_map(|row| row.runs.iter().chain(&row.first));
            let peak = runs.map(Measured::peak_mib).reduce(f64::max);
            figure(format!("{tools}* at most {most} MiB"), peak, f64::from(most), "MiB")
        }
    }
}

fn both<'a>(results: &'a Results, one: &str, other: &str) -> Option<(&'a Row, &'a Row)> {
    results.row(one).zip(results.row(other))
}

fn judged(wanted: String, ratio: Option<Ratio>, factor: f64) -> Judged {
    // A bound that is not low enough tells nothing.
    let reached = |ratio: Ratio| match ratio.value <= factor {
        true => Some(true),
        false => (!ratio.is_bound).then_some(false),
    };
    let found = ratio.map(|ratio| format!("{}{:.3} ×", if ratio.is_bound { "< " } else { "" }, ratio.value));
    Judged { wanted, found, reached: ratio.and_then(reached) }
}

fn figure(wanted: String, found: Option<f64>, most: f64, unit: &str) -> Judged {
    let text = found.map(|found| format!("{found:.1} {unit}"));
    Judged { wanted, found: text, reached: found.map(|found| found <= most) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::End;
    use crate::figures::tests::row;

    #[test]
    fn holds_figures_against_targets() {
        let results = Results {
            files: 1,
            bytes: 1,
            rows: vec![
                row("highwater-ack", &[2.0], End::Done),
                row("rsync", &[4.0], End::Done),
                row("lftp", &[], End::Capped(20.0)),
                row("sftp", &[1.0], End::Failed("no".into())),
            ],
        };
        let earlier = Results { files: 1, bytes: 1, rows: vec![row("highwater-ack", &[1.0], End::Done)] };
        let before = [Finished { workload: "before", result: earlier, judged: Vec::new() }];
        let check = |target: Target, expected: Option<bool>| {
            assert_eq!(judge_one(&target, &results, &before).reached, expected, "{target:?}");
        };
        check(Target::Wall("highwater-ack", 0.5, "rsync"), Some(true));
        check(Target::Wall("highwater-ack", 0.4, "rsync"), Some(false));
        check(Target::Wall("highwater-ack", 0.1, "lftp"), Some(true));
        check(Target::Wall("highwater-ack", 0.05, "lftp"), None);
        check(Target::Wall("highwater-ack", 0.5, "sftp"), None);
        check(Target::Wall("highwater-ack", 0.5, "scp"), None);
        check(Target::Cpu("highwater-ack", 0.5, "rsync"), Some(true));
        check(Target::WallOfWorkload("highwater-ack", 1.0, "before"), Some(false));
        check(Target::WallOfWorkload("highwater-ack", 1.0, "other"), None);
        check(Target::Seconds("highwater-ack", 2), Some(true));
        check(Target::Memory("highwater-", 9), Some(false));
        check(Target::Memory("highwater-", 10), Some(true));
    }
}
