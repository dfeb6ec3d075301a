//! Keys are exchanged anew every few hundred KiB, in the middle of transfers.

use super::either_way;
use crate::Result;
use crate::bench::Bench;
use crate::campaign::{Campaign, Facts};
use crate::case::Case;
use crate::oracle::Deletes;
use crate::random::Random;
use crate::server::Settings;
use crate::world::Sizes;

/// See the [module](self).
pub const CAMPAIGN: Campaign = Campaign {
    name: "rekeys",
    about: "key re-exchanges every 256 KiB of transfers",
    settings: Settings { config: "RekeyLimit 256K\nLogLevel DEBUG1\n", before_sftp: "" },
    case,
    short: 2,
    whole: None,
};

/// What sshd says each time new keys are in force (OpenSSH 9.2, kex.c).
const NEW_KEYS: &str = "SSH2_MSG_NEWKEYS received";

fn case(bench: &Bench, mut random: Random) -> Result<Facts> {
    let large_bytes = if bench.short { 3 << 20 } else { 16 << 20 };
    let sizes = Sizes { small: 20, large: 3, large_bytes };
    let way = either_way(&mut random);
    let mut case = Case::first(random.split(), bench, &bench.far_end()?, sizes, way)?;
    let watcher = case.watch();
    let before = keys(bench);
    let ran = case.settle(Deletes::Followed)?;
    let exchanged = keys(bench).saturating_sub(before);
    if ran.of_kind("recovered", "reconnected") > 0 {
        return Err(format!("a connection was lost: {}", ran.describe()));
    }
    watcher.end()?;
    case.world.agree();
    case.edit(true)?;
    let watcher = case.watch();
    let ran = case.settle(Deletes::Followed)?;
    if ran.of_kind("recovered", "reconnected") > 0 {
        return Err(format!("a connection was lost: {}", ran.describe()));
    }
    watcher.end()?;
    let all = keys(bench).saturating_sub(before);
    Ok(Facts::struck(all).count("of them in first rounds", exchanged))
}

/// How often this worker's server has got new keys, less once per connection.
fn keys(bench: &Bench) -> u64 {
    let log = bench.sshd.log();
    let of = |what: &str| log.lines().filter(|line| line.contains(what)).count() as u64;
    of(NEW_KEYS).saturating_sub(of("Connection from "))
}
