//! What people and programs read: tables, and JSON.

use std::fs;

use serde_json::json;

use crate::args::Args;
use crate::bench::Finished;
use crate::figures::{End, Ratio, Results, Row};
use crate::machine::Machine;
use crate::relay::Check;
use crate::table::Table;
use crate::target::Judged;
use crate::tools::Direction;
use crate::workloads::{Place, Start, Workload};
use crate::{Doing, Result};

/// `--list`
pub fn list(workloads: &[&'static Workload]) {
    for workload in workloads {
        println!("{:20} {}\n{:20} {}", workload.name, title(workload), "", workload.tools.join(" "));
    }
}

/// `--check-relay`
pub fn relay(check: &Check) {
    let gigabytes = |rate: f64| rate / 1e9;
    println!("without delay        {:.2} GB/s", gigabytes(check.bytes_per_second));
    println!("round trip 200 ms    {:.2} GB/s", gigabytes(check.delayed_bytes_per_second));
    println!("round trip 50 ms     {:.2} ms", check.round_trip_of_50_ms.as_secs_f64() * 1e3);
}

/// Machine, versions and how everything is run, before the first table.
pub fn heading(machine: &Machine, args: &Args) {
    println!("{}, {} cores, {} GiB", machine.processor, machine.cores, machine.memory_gib);
    println!("{}; load {} at the start; {}", machine.system, machine.load, machine.date);
    println!("{}", machine.versions.join("; "));
    println!("medians of {} runs, seed {}", args.runs, args.seed);
    if args.scale < 1.0 {
        println!("scaled by {}: a trial, not a measurement", args.scale);
    }
}

/// One workload's table, and what came of its targets.
pub fn workload(args: &Args, workload: &Workload, results: &Results, judged: &[Judged]) {
    let mib = results.bytes as f64 / f64::from(1 << 20);
    let mark = if args.markdown { "### " } else { "" };
    let (name, files, s) = (workload.name, results.files, if results.files == 1 { "" } else { "s" });
    println!("\n{mark}{name}: {}; {files} file{s}, {mib:.1} MiB\n", title(workload));
    let table = table(results);
    print!("{}", if args.markdown { table.markdown() } else { table.text() });
    println!();
    for line in notes(results).into_iter().chain(judged.iter().map(target)) {
        println!("{}{line}", if args.markdown { "- " } else { "" });
    }
}

fn title(workload: &Workload) -> String {
    let verb = match workload.direction {
        Direction::Push => "push",
        Direction::Pull => "pull",
    };
    let start = match workload.start {
        Start::Empty => "first",
        Start::Unchanged => "nothing changed,",
    };
    let line = match workload.round_trip_ms {
        0 => "loopback".into(),
        milliseconds => format!("round trip {milliseconds} ms"),
    };
    let disk = if workload.place == Place::Disk { ", to a disk" } else { "" };
    format!("{start} {verb}, {line}{disk}")
}

fn table(results: &Results) -> Table {
    let header =
        ["tool", "runs", "wall s", "least–most", "CPU s", "peak MiB", "wire MiB", "× best", "× rsync"];
    let mut table = Table::new(&header);
    for row in &results.rows {
        table.push(cells(results, row));
    }
    for (row, first) in results.rows.iter().filter_map(|row| Some((row, row.first.as_ref()?))) {
        let peak = first.peak_mib();
        let mut cells = vec![format!("{}, first push", row.tool), "1".into()];
        cells.extend([first.wall_seconds, first.cpu_seconds].map(|seconds| format!("{seconds:.2}")));
        cells.insert(3, "–".into());
        cells.extend([format!("{peak:.1}"), "–".into(), "–".into(), "–".into()]);
        table.push(cells);
    }
    table
}

fn cells(results: &Results, row: &Row) -> Vec<String> {
    let two = |figure: Option<f64>| figure.map_or("–".into(), |figure| format!("{figure:.2}"));
    let spread = row.spread().map_or("–".into(), |(least, most)| format!("{least:.2}–{most:.2}"));
    let wall = match &row.end {
        End::Done => two(row.wall()),
        End::Capped(seconds) => format!("> {seconds:.0}"),
        End::Failed(_) => "failed".into(),
        End::Missing(_) => "missing".into(),
    };
    let rsync = results.row("rsync").or_else(|| results.row("rsync-fsync"));
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    vec![
        row.tool.into(),
        row.runs.len().to_string(),
        wall,
        spread,
        two(row.cpu()),
        row.peak_mib().map_or("–".into(), |mib| format!("{mib:.1}")),
        row.crossed.map_or("–".into(), |crossed| format!("{:.2}", mib(crossed.up + crossed.down))),
        ratio(results.best_peer().and_then(|best| row.wall_ratio(best))),
        ratio(rsync.and_then(|rsync| row.wall_ratio(rsync))),
    ]
}

fn ratio(ratio: Option<Ratio>) -> String {
    let sign = |ratio: &Ratio| if ratio.is_bound { "< " } else { "" };
    ratio.map_or("–".into(), |ratio| format!("{}{:.2}", sign(&ratio), ratio.value))
}

fn notes(results: &Results) -> Vec<String> {
    let best = results.best_peer().map(|row| format!("best peer: {} (tar is not counted as one)", row.tool));
    let row_note = |row: &Row| match &row.end {
        End::Failed(reason) => Some(format!("{}: {reason}", row.tool)),
        End::Missing(program) => Some(format!("{}: {program} is not installed", row.tool)),
        _ if !row.keeps_mtimes => Some(format!("{}: modification times were lost", row.tool)),
        _ => None,
    };
    best.into_iter().chain(results.rows.iter().filter_map(row_note)).collect()
}

fn target(judged: &Judged) -> String {
    let verdict = match judged.reached {
        Some(true) => "reached",
        Some(false) => "MISSED",
        None => "not known",
    };
    let found = judged.found.as_deref().unwrap_or("no figure");
    format!("target: {}: {found}, {verdict}", judged.wanted)
}

/// `--json`
pub fn save(args: &Args, machine: &Machine, finished: &[Finished]) -> Result<()> {
    let Some(file) = &args.json else {
        return Ok(());
    };
    let document = json!({
        "version": 1,
        "machine": machine,
        "runs": args.runs,
        "seed": args.seed,
        "scale": args.scale,
        "cap_seconds": args.cap.as_secs_f64(),
        "workloads": finished,
    });
    fs::write(file, format!("{document:#}\n")).doing(&format!("write {}", file.display()))
}
