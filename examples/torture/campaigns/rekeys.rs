//! Keys are exchanged anew every few hundred KiB, in the middle of transfers, and after each pause.

use std::time::Duration;

use super::{deeds, either_way};
use crate::Result;
use crate::bench::Bench;
use crate::campaign::{Campaign, Facts, Whole};
use crate::case::Case;
use crate::oracle::Deletes;
use crate::random::Random;
use crate::relay::{self, Deed, Fault, Relay};
use crate::server::Settings;
use crate::world::Sizes;

/// See the [module](self).
pub const CAMPAIGN: Campaign = Campaign {
    name: "rekeys",
    about: "key re-exchanges every 256 KiB of transfers and every second, also after standing still for longer",
    settings: Settings { config: "RekeyLimit 256K 1s\nLogLevel DEBUG1\n", before_sftp: "" },
    case,
    short: 2,
    whole: Whole::Faults(2_000),
};

/// So long, by the server's setting above.
const KEYS_LAST: Duration = Duration::from_secs(1);

/// About how many bytes go up until somebody is logged in.
const LOGIN_BYTES: u64 = 8 * 1024;

/// What sshd says each time new keys are in force (OpenSSH 9.2, kex.c).
const NEW_KEYS: &str = "SSH2_MSG_NEWKEYS received";

fn case(bench: &Bench, mut random: Random) -> Result<Facts> {
    let relay = Relay::start(bench.sshd.address())?;
    let end = bench.far_end_at(([127, 0, 0, 1], relay.port()).into())?;
    let large_bytes = if bench.short { 3 << 20 } else { 8 << 20 };
    let sizes = Sizes { small: 20, large: 3, large_bytes };
    let mut case = Case::first(random.split(), bench, &end, sizes, either_way(&mut random))?;
    let before = keys(bench);
    let mut facts = case.turns(2, |case| exchange(case, &relay, &mut random))?;
    facts.struck = keys(bench).saturating_sub(before);
    Ok(facts)
}

/// One run, which may have to stand still for longer than keys are good for, and what follows.
fn exchange(case: &mut Case, relay: &Relay, random: &mut Random) -> Result<Facts> {
    let is_idle = random.chance(30);
    if is_idle {
        let at = random.between(LOGIN_BYTES, LOGIN_BYTES + case.world.bytes_to_carry());
        let deed = Deed::Stall(KEYS_LAST + KEYS_LAST / 2);
        relay.expect([Some(Fault { deed, way: relay::Way::Up, at })]);
    }
    let ran = case.round_amid(deeds(random), &[])?;
    relay.expect([]);
    if !matches!(ran.code(), Some(0 | 1)) {
        return Err(ran.describe());
    }
    let settled = case.settle(Deletes::Followed)?;
    match [ran, settled].iter().find(|ran| ran.of_kind("recovered", "reconnected") > 0) {
        Some(ran) => Err(format!("a connection was lost: {}", ran.describe())),
        None => Ok(Facts::default().count("runs that stood still", u64::from(is_idle))),
    }
}

/// How often this worker's server has got new keys, less once per connection.
fn keys(bench: &Bench) -> u64 {
    let log = bench.sshd.log();
    let of = |what: &str| log.lines().filter(|line| line.contains(what)).count() as u64;
    of(NEW_KEYS).saturating_sub(of("Connection from "))
}
