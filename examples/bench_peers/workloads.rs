//! What is carried, over which line, by whom, and what highwater is to reach.

use std::time::Duration;

use crate::Result;
use crate::data::Shape;
use crate::target::Target::{self, Cpu, Memory, Seconds, Wall, WallOfWorkload};
use crate::tools::Direction::{self, Pull, Push};

/// One piece of work for every tool.
pub struct Workload {
    /// As people name it on the command line of the benchmark.
    pub name: &'static str,
    /// Which way.
    pub direction: Direction,
    /// What.
    pub shape: Shape,
    /// Over which round trip, in milliseconds; 0: loopback as it is.
    pub round_trip_ms: u64,
    /// From where to start.
    pub start: Start,
    /// Where the target lies.
    pub place: Place,
    /// Who takes part.
    pub tools: &'static [&'static str],
    /// What is to be reached.
    pub targets: &'static [Target],
}

/// What is at the target before the clock starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Nothing: first contact with the server is on the clock.
    Empty,
    /// Everything, brought there by the same tool.
    Unchanged,
}

/// What the target is kept on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A tmpfs, like the source.
    Memory,
    /// A real disk.
    Disk,
}

impl Workload {
    /// There and back again.
    pub fn round_trip(&self) -> Duration {
        Duration::from_millis(self.round_trip_ms)
    }
}

/// Everybody, where files are few enough or the line is short.
const ALL: &[&str] = &[
    "highwater-ack",
    "highwater-full",
    "highwater-default",
    "rsync",
    "sftp",
    "scp",
    "rclone",
    "rclone-32",
    "rclone-hash",
    "lftp",
    "tar",
];

/// Those who can tell that there is nothing to do.
const SYNC: &[&str] = &["highwater-ack", "rsync", "rclone", "rclone-32", "lftp"];

const SMALL: Shape = Shape::Small(10_000);
const LARGE: Shape = Shape::Single(1 << 30);
const LARGE_DELAYED: Shape = Shape::Single(256 << 20);
const MANY: Shape = Shape::Tiny(100_000);
const MILLION: Shape = Shape::MostlyEmpty(1_000_000);

/// Most memory any workload but the last may take, MiB.
const MEMORY: Target = Memory("highwater-", 64);

/// How far two medians of the same work may lie apart by chance.
const NOISE: f64 = 0.1;

const fn first(
    name: &'static str,
    direction: Direction,
    shape: Shape,
    round_trip_ms: u64,
    targets: &'static [Target],
) -> Workload {
    let (start, place) = (Start::Empty, Place::Memory);
    Workload { name, direction, shape, round_trip_ms, start, place, tools: ALL, targets }
}

const fn unchanged(
    name: &'static str,
    shape: Shape,
    round_trip_ms: u64,
    tools: &'static [&'static str],
    targets: &'static [Target],
) -> Workload {
    let (start, place) = (Start::Unchanged, Place::Memory);
    Workload { name, direction: Push, shape, round_trip_ms, start, place, tools, targets }
}

const LARGE_TARGETS: &[Target] =
    &[Wall("highwater-ack", 0.9, "sftp"), Cpu("highwater-ack", 1.0, "sftp"), MEMORY];

const LARGE_DELAYED_TARGETS: &[Target] = &[
    Wall("highwater-ack", 0.25, "sftp"),
    Wall("highwater-ack", 0.25, "rsync"),
    Wall("highwater-ack", 0.4, "rclone"),
    MEMORY,
];

const SMALL_PUSH_TARGETS: &[Target] = &[
    Wall("highwater-ack", 1.0, "rsync"),
    Wall("highwater-full", 1.7, "rsync"),
    Wall("highwater-ack", 0.15, "rclone"),
    MEMORY,
];

const SMALL_PUSH_50_TARGETS: &[Target] = &[
    Wall("highwater-ack", 1.0, "rsync"),
    Wall("highwater-full", 1.5, "rsync"),
    Wall("highwater-ack", 0.02, "lftp"),
    Wall("highwater-ack", 0.02, "rclone"),
    MEMORY,
];

const MANY_TARGETS: &[Target] = &[Wall("highwater-ack", 1.5, "rsync"), MEMORY];

const UNCHANGED_200_TARGETS: &[Target] =
    &[WallOfWorkload("highwater-ack", 1.0 + NOISE, "many-unchanged"), MEMORY];

const MILLION_TARGETS: &[Target] = &[Seconds("highwater-ack", 6), Memory("highwater-", 100)];

/// All of them. Those with the same data stand together, which is then made once.
pub const WORKLOADS: &[Workload] = &[
    first("small-push", Push, SMALL, 0, SMALL_PUSH_TARGETS),
    first("small-push-50", Push, SMALL, 50, SMALL_PUSH_50_TARGETS),
    first("small-push-200", Push, SMALL, 200, &[Wall("highwater-ack", 1.0, "rsync"), MEMORY]),
    first("small-pull", Pull, SMALL, 0, &[MEMORY]),
    first("small-pull-50", Pull, SMALL, 50, &[MEMORY]),
    first("small-pull-200", Pull, SMALL, 200, &[MEMORY]),
    Workload {
        place: Place::Disk,
        tools: &["highwater-default", "rsync-fsync"],
        ..first("small-push-disk", Push, SMALL, 0, &[MEMORY])
    },
    first("large-push", Push, LARGE, 0, LARGE_TARGETS),
    first("large-pull", Pull, LARGE, 0, LARGE_TARGETS),
    first("large-push-50", Push, LARGE_DELAYED, 50, LARGE_DELAYED_TARGETS),
    first("large-pull-50", Pull, LARGE_DELAYED, 50, LARGE_DELAYED_TARGETS),
    first("many-push", Push, MANY, 0, MANY_TARGETS),
    unchanged("many-unchanged", MANY, 0, SYNC, &[Wall("highwater-ack", 0.4, "rsync"), MEMORY]),
    unchanged("many-unchanged-200", MANY, 200, SYNC, UNCHANGED_200_TARGETS),
    unchanged("million-unchanged", MILLION, 0, &["highwater-ack"], MILLION_TARGETS),
];

/// Those asked for: by name, or else by how their names begin. All when none is asked for.
pub fn choose(asked: &[String]) -> Result<Vec<&'static Workload>> {
    let mut chosen = Vec::new();
    for word in asked {
        let exact = |w: &&Workload| w.name == word;
        let begins = |w: &&Workload| w.name.starts_with(word.as_str());
        let before = chosen.len();
        match WORKLOADS.iter().find(exact) {
            Some(workload) => chosen.push(workload),
            None => chosen.extend(WORKLOADS.iter().filter(begins)),
        }
        if chosen.len() == before {
            return Err(format!("there is no workload {word}: see --list"));
        }
    }
    let is_chosen = |w: &&Workload| asked.is_empty() || chosen.iter().any(|c| c.name == w.name);
    Ok(WORKLOADS.iter().filter(is_chosen).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_by_name_or_by_its_beginning() {
        let check = |asked: &[&str], expected: usize| {
            let asked: Vec<_> = asked.iter().map(|word| word.to_string()).collect();
            assert_eq!(choose(&asked).map(|chosen| chosen.len()).unwrap_or(0), expected, "{asked:?}");
        };
        check(&[], WORKLOADS.len());
        check(&["small-push"], 1);
        check(&["small"], 7);
        check(&["small-push", "large-pull"], 2);
        check(&["small-push", "nothing"], 0);
    }

    #[test]
    fn every_tool_that_takes_part_is_there() {
        for workload in WORKLOADS {
            for tool in workload.tools {
                assert!(crate::tools::named(tool).is_some(), "{tool} in {}", workload.name);
            }
        }
    }
}
