//! The program is killed at random moments, several times in a row, while a user may go on working.

use std::time::Instant;

use super::{deeds, either_way};
use crate::Result;
use crate::bench::Bench;
use crate::campaign::{Campaign, Facts, Whole};
use crate::case::Case;
use crate::oracle::Deletes;
use crate::random::Random;
use crate::server::Settings;

/// See the [module](self).
pub const CAMPAIGN: Campaign = Campaign {
    name: "kills",
    about: "SIGKILL of the program at random moments, once to four times in a row, with edits meanwhile",
    settings: Settings { config: "", before_sftp: "" },
    case,
    short: 4,
    whole: Whole::Faults(500),
};

fn case(bench: &Bench, mut random: Random) -> Result<Facts> {
    let sizes = bench.sizes(&mut random);
    let (end, way) = (bench.far_end()?, either_way(&mut random));
    let mut case = Case::prepare(random.split(), bench, &end, sizes, way)?;
    let turns = if bench.short { 1 } else { 3 };
    case.turns(turns, |case| {
        let mut killed = 0;
        for _ in 0..random.between(1, 4) {
            killed += u64::from(kill_one(case, &mut random)?);
        }
        case.settle(Deletes::Followed)?;
        Ok(Facts::struck(killed))
    })
}

/// Whether the run had not ended before.
fn kill_one(case: &mut Case, random: &mut Random) -> Result<bool> {
    let flags: &[&str] = if random.chance(30) { &["--limit", "20MiB/s"] } else { &[] };
    let moment = case.expected().mul_f64(random.below(1000) as f64 / 900.0);
    let (began, deeds) = (Instant::now(), deeds(random));
    let mut running = case.program.start(&mut case.program.command(flags))?;
    case.work_along(deeds, moment)?;
    std::thread::sleep(moment.saturating_sub(began.elapsed()));
    let is_running = !running.has_ended();
    running.kill();
    let ran = running.end()?;
    match ran.code() {
        // Whoever reads while others write may have to leave a file to the next round.
        None | Some(0) => Ok(is_running),
        Some(1) if deeds > 0 => Ok(is_running),
        Some(_) => Err(ran.describe()),
    }
}
