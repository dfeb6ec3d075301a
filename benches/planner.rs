//! How fast the planner is: paths a second, for rounds of the usual kinds. Nothing here touches a disk.
//!
//! ```text
//! cargo bench --bench planner
//! ```
#![allow(clippy::print_stdout, clippy::unwrap_used)] // a program to be run by hand

use std::hint::black_box;
use std::time::Instant;

use highwater::entry::{Kind, Stat, Time};
use highwater::hash::ContentHash;
use highwater::path::RelPath;
use highwater::plan::{BaseView, Planner, Rules, Seen, Sight};

/// Folders in a tree, and files in each.
const FOLDERS: usize = 1000;
const FILES: usize = 200;

/// Runs, of which the median is shown.
const RUNS: usize = 5;

fn main() {
    println!("{:44} {:>14} {:>10}", "round", "paths/s", "actions");
    let file = stat(Kind::File, 1000);
    let newer = stat(Kind::File, 2000);
    let check = |name: &str, base: bool, source: Seen, target: Seen| {
        let sights = tree(base, source, target);
        let (seconds, actions) = median(&sights);
        println!("{name:44} {:14.0} {actions:10}", sights.len() as f64 / seconds);
    };
    check("nothing changed, far side not looked at", true, Seen::Here(file), Seen::NotLooked);
    check("nothing changed, both sides looked at", true, Seen::Here(file), Seen::Here(file));
    check("everything is new", false, Seen::Here(file), Seen::Absent);
    check("everything changed at the source", true, Seen::Here(newer), Seen::Here(file));
    check("everything is gone at the source", true, Seen::Absent, Seen::Here(file));
    check("both have everything, nothing agreed yet", false, Seen::Here(file), Seen::Here(file));
}

fn stat(kind: Kind, mtime: i64) -> Stat {
    let mode = if kind == Kind::Dir { 0o755 } else { 0o644 };
    Stat { kind, size: 4096, mtime: Time::from_secs(mtime), mode, ctime: None, inode: None }
}

/// Every file of the tree in the same state, in path order; the folders are as they were.
fn tree(has_base: bool, source: Seen, target: Seen) -> Vec<Sight> {
    let dir = stat(Kind::Dir, 1000);
    let mut sights = Vec::with_capacity(FOLDERS * (FILES + 1));
    for folder in 0..FOLDERS {
        let path = format!("folder-{folder:04}");
        let there = if has_base || target != Seen::Absent { Seen::Here(dir) } else { Seen::Absent };
        sights.push(sight(&path, has_base.then_some(dir), Seen::Here(dir), there));
        for file in 0..FILES {
            let base = has_base.then(|| stat(Kind::File, 1000));
            sights.push(sight(&format!("{path}/file-{file:04}"), base, source, target));
        }
    }
    sights
}

fn sight(path: &str, base: Option<Stat>, source: Seen, target: Seen) -> Sight {
    let base = base.map(|stat| BaseView {
        kind: stat.kind,
        source: stat,
        target: stat,
        hash: (stat.kind == Kind::File).then(|| ContentHash::of(b"")),
        link: None,
        unsettled: false,
    });
    Sight { path: RelPath::parse(path.as_bytes()).unwrap(), base, source, target }
}

/// Seconds that the median run takes, and how many actions came out.
fn median(sights: &[Sight]) -> (f64, u64) {
    let mut times = Vec::new();
    let mut actions = 0;
    for _ in 0..RUNS {
        let start = Instant::now();
        let mut planner = Planner::new(Rules::with_deletes());
        actions = 0;
        for sight in sights {
            actions += black_box(planner.next(black_box(sight))).len() as u64;
        }
        actions += planner.finish().deletes();
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    (times[RUNS / 2], actions)
}
