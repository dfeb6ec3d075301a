//! The planner, the engine and the journal over trees in memory: `examples/simulate`, which is a program of its
//! own beside this one.

use std::process::Command;

use crate::bench::Bench;
use crate::campaign::{Campaign, Facts, Whole};
use crate::random::Random;
use crate::server::Settings;
use crate::{Doing, Result};

/// See the [module](self).
pub const CAMPAIGN: Campaign = Campaign {
    name: "simulation",
    about: "seeds of examples/simulate: requests late, lost and overtaken, power cuts, another root",
    settings: Settings { config: "", before_sftp: "" },
    case,
    short: 1,
    whole: Whole::Faults(50_000),
};

/// Seeds of one case.
const SEEDS: u64 = 100;

/// A few traces are made twice and compared.
const AGAIN: u64 = 50;

fn case(_bench: &Bench, mut random: Random) -> Result<Facts> {
    let this = std::env::current_exe().doing("find this program")?;
    let mut simulate = Command::new(this.with_file_name("simulate"));
    let first = random.next() >> 24; // short enough to be typed again
    let flags = [("--seed", first), ("--seeds", SEEDS), ("--again", AGAIN)];
    simulate.args(flags.map(|(flag, number)| format!("{flag}={number}")));
    let output = simulate.output().doing("run simulate (build it, or use contrib/torture)")?;
    match output.status.success() {
        true => Ok(Facts::struck(SEEDS)),
        false => Err(String::from_utf8_lossy(&output.stderr).trim_end().to_owned()),
    }
}
