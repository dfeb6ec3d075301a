//! The program is killed at random moments, several times in a row, while a user may go on working.

use std::time::{Duration, Instant};

use super::either_way;
use crate::Result;
use crate::bench::Bench;
use crate::campaign::{Campaign, Facts};
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
    whole: None,
};

/// About how long a run takes besides carrying bytes.
const RUN_MILLIS: u64 = 120;

/// About how many bytes are carried in a millisecond.
const BYTES_PER_MILLI: u64 = 60_000;

fn case(bench: &Bench, mut random: Random) -> Result<Facts> {
    let sizes = bench.sizes(&mut random);
    let (end, way) = (bench.far_end()?, either_way(&mut random));
    let mut case = Case::prepare(random.split(), bench, &end, sizes, way)?;
    let watcher = case.watch();
    let mut killed = 0;
    for _ in 0..random.between(1, 4) {
        killed += u64::from(kill_one(&mut case, &mut random)?);
    }
    case.settle(Deletes::Followed)?;
    watcher.end()?;
    Ok(Facts::struck(killed))
}

/// Whether the run had not ended before.
fn kill_one(case: &mut Case, random: &mut Random) -> Result<bool> {
    let flags: &[&str] = if random.chance(30) { &["--limit", "20MiB/s"] } else { &[] };
    let most = Duration::from_millis(RUN_MILLIS + case.world.bytes_to_carry() / BYTES_PER_MILLI);
    let moment = Instant::now() + most.mul_f64(random.below(1000) as f64 / 1000.0);
    let mut running = case.program.start(&mut case.program.command(flags))?;
    let edits = if random.chance(30) { random.between(1, 3) } else { 0 };
    for _ in 0..edits {
        case.replace_one()?;
    }
    std::thread::sleep(moment.saturating_duration_since(Instant::now()));
    let is_running = !running.has_ended();
    running.kill();
    let ran = running.end()?;
    match ran.code() {
        // Whoever reads while others write may have to leave a file to the next round.
        None | Some(0) => Ok(is_running),
        Some(1) if edits > 0 => Ok(is_running),
        Some(_) => Err(ran.describe()),
    }
}
