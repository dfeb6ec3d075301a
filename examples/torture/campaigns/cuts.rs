//! The connection is cut at random bytes, in every phase, once or several times in one run. The run goes on
//! by itself, unless it had not got so far as to log in.

use super::{deeds, either_way};
use crate::bench::Bench;
use crate::campaign::{Campaign, Facts, Whole};
use crate::case::Case;
use crate::oracle::Deletes;
use crate::program::Ran;
use crate::random::Random;
use crate::relay::{Deed, Fault, Relay};
use crate::server::Settings;
use crate::{Result, program};

/// See the [module](self).
pub const CAMPAIGN: Campaign = Campaign {
    name: "cuts",
    about: "connections cut at random bytes (reset, end, half-close, black hole), or standing still",
    settings: Settings { config: "", before_sftp: "" },
    case,
    short: 4,
    whole: Whole::Faults(2_000),
};

/// What one cut may cost: the contents that the program has in flight over all files (24 MiB), what of a large
/// file is acknowledged and not journaled yet (4 MiB), and one block to verify.
const MOST_PER_CUT: u64 = (28 << 20) + (128 << 10);

/// No run gets past its login with fewer bytes than these.
const LOGIN_BYTES: u64 = 16 * 1024;

fn case(bench: &Bench, mut random: Random) -> Result<Facts> {
    let relay = Relay::start(bench.sshd.address())?;
    let end = bench.far_end_at(([127, 0, 0, 1], relay.port()).into())?;
    let sizes = bench.sizes(&mut random);
    let mut case = Case::prepare(random.split(), bench, &end, sizes, either_way(&mut random))?;
    let turns = if bench.short { 1 } else { 4 };
    case.turns(turns, |case| disturb(case, &relay, &mut random, bench.short))
}

/// One run that is cut, and what follows.
fn disturb(case: &mut Case, relay: &Relay, random: &mut Random, short: bool) -> Result<Facts> {
    let (due, twice) = (case.world.bytes_to_carry(), case.world.bytes_edited());
    let (faults, deeds) = (draw(random, case.program.way, due, short), deeds(random));
    let before = relay.struck();
    relay.expect(faults.iter().map(|fault| Some(*fault)));
    let ran = case.round_amid(deeds, &[])?;
    let after = relay.struck();
    relay.expect([]);
    judge(&ran, &faults, deeds)?;
    let settled = case.settle(Deletes::Followed)?;
    let cut = after.1 - before.1;
    let mut facts = Facts::struck(after.0 - before.0)
        .count("cuts", cut)
        .count("files taken up again", ran.of_kind("recovered", "resumed") as u64);
    if deeds == 0 {
        let all = crossed(&ran, case.program.way) + crossed(&settled, case.program.way);
        let again = sent_again(due, all, twice, cut).map_err(|e| format!("{e}: {}", ran.describe()))?;
        facts.sent_again.extend(again.checked_div(cut));
    }
    Ok(facts)
}

fn crossed(ran: &Ran, way: program::Way) -> u64 {
    ran.count(if way == program::Way::Push { "bytes_sent" } else { "bytes_received" })
}

/// How many bytes crossed more than once for a cut. `due` had to cross; those that somebody changed at the
/// target meanwhile may have crossed `twice`, because they are planned anew when that is noticed.
fn sent_again(due: u64, all: u64, twice: u64, cut: u64) -> Result<u64> {
    let again = all.checked_sub(due).ok_or_else(|| format!("{all} bytes crossed, and {due} had to"))?;
    if again > twice + cut * MOST_PER_CUT {
        return Err(format!("{again} bytes crossed again after {cut} cuts"));
    }
    Ok(again.saturating_sub(twice))
}

/// What happens to the first connections. Contents cross once, are read back or read a second time the other
/// way, and are asked for in small packets.
fn draw(random: &mut Random, way: program::Way, due: u64, short: bool) -> Vec<Fault> {
    let (up, down) = match way {
        program::Way::Push => (due + 30_000, due + 20_000),
        program::Way::Pull => (due / 100 + 30_000, 2 * due + 20_000),
    };
    let mut faults = vec![Fault::draw(random, up, down)];
    while faults.len() < 8 && random.chance(75) {
        let left = 2 * faults.len() as u64; // each connection goes on where the last one ended
        faults.push(Fault::draw(random, up / left, down / left));
    }
    // It takes more than a minute until a run gives such a connection up.
    if !short && random.below(100) == 0 {
        faults.truncate(1);
        faults[0] = Fault { deed: Deed::BlackHole, ..faults[0] };
    }
    faults
}

/// Whether it ended as it may after these faults.
fn judge(ran: &Ran, faults: &[Fault], deeds: u64) -> Result<()> {
    let early = faults.first().is_some_and(|fault| fault.at < LOGIN_BYTES && !fault.deed.is_survivable());
    match ran.code() {
        Some(0) => Ok(()),
        Some(3) if early => Ok(()),
        // Whoever reads while others write may have to leave a file to the next round.
        Some(1) if deeds > 0 => Ok(()),
        _ => Err(format!("it did not go on after {faults:?}: {}", ran.describe())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::Way;

    #[test]
    fn faults_fall_on_every_phase_in_both_directions() {
        let mut random = Random::new(1);
        let mut draw = || draw(&mut random, program::Way::Push, 1 << 20, false);
        let faults: Vec<Fault> = (0..2_000).flat_map(|_| draw()).collect();
        for way in [Way::Up, Way::Down] {
            let at = |range: std::ops::Range<u64>| {
                faults.iter().filter(|f| f.way == way && range.contains(&f.at)).count()
            };
            assert!(at(0..3_000) > 50 && at(100_000..900_000) > 200 && at((1 << 20)..(2 << 20)) > 50);
        }
        assert!(faults.iter().any(|fault| fault.deed == Deed::BlackHole));
        assert!(faults.iter().any(|fault| fault.deed == Deed::Reset));
    }
}
