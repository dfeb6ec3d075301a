//! The connection is cut at random bytes, in every phase, once or several times in one run. The run goes on
//! by itself, unless it had not got so far as to log in.

use super::either_way;
use crate::bench::Bench;
use crate::campaign::{Campaign, Facts};
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
    whole: None,
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
    let case = Case::prepare(random.split(), bench, &end, sizes, either_way(&mut random))?;
    let due = case.world.bytes_to_carry();
    let faults = draw(&mut random, due, bench.short);
    relay.expect(faults.iter().map(|fault| Some(*fault)));
    let watcher = case.watch();
    let ran = case.round(&[])?;
    let (struck, cut) = relay.struck();
    relay.expect([]);
    judge(&ran, &faults)?;
    let settled = case.settle(Deletes::Followed)?;
    watcher.end()?;
    let crossed = |ran: &Ran| {
        ran.count(if case.program.way == program::Way::Push { "bytes_sent" } else { "bytes_received" })
    };
    let all = crossed(&ran) + crossed(&settled);
    if all < due {
        return Err(format!("{all} bytes crossed, and {due} had to: {}", ran.describe()));
    }
    let again = all - due;
    if again > cut * MOST_PER_CUT {
        return Err(format!("{again} bytes crossed again after {cut} cuts: {}", ran.describe()));
    }
    let facts = Facts { sent_again: (cut > 0).then_some(again), ..Facts::struck(struck) };
    Ok(facts.count("cuts", cut).count("files taken up again", ran.of_kind("recovered", "resumed") as u64))
}

/// What happens to the first connections.
fn draw(random: &mut Random, due: u64, short: bool) -> Vec<Fault> {
    // Everything is read back, or a second time.
    let (up, down) = (due + 20_000, due + 20_000);
    let mut faults = vec![Fault::draw(random, up, down)];
    while faults.len() < 4 && random.chance(35) {
        faults.push(Fault::draw(random, up, down));
    }
    // It takes more than a minute until a run gives such a connection up.
    if !short && random.below(60) == 0 {
        faults.truncate(1);
        faults[0] = Fault { deed: Deed::BlackHole, ..faults[0] };
    }
    faults
}

/// Whether it ended as it may after these faults.
fn judge(ran: &Ran, faults: &[Fault]) -> Result<()> {
    let early = faults.first().is_some_and(|fault| fault.at < LOGIN_BYTES && !fault.deed.is_survivable());
    match ran.code() {
        Some(0) => Ok(()),
        Some(3) if early => Ok(()),
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
        let faults: Vec<Fault> = (0..2_000).flat_map(|_| draw(&mut random, 1 << 20, false)).collect();
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
