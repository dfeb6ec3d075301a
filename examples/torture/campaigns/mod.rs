//! One file per campaign.

mod crashes;
mod cuts;
mod disks;
mod journals;
mod kills;
mod listings;
mod rekeys;
mod server_kills;
mod simulation;

use crate::campaign::Campaign;

/// All of them.
pub fn all() -> Vec<Campaign> {
    vec![
        cuts::CAMPAIGN,
        kills::CAMPAIGN,
        crashes::CAMPAIGN,
        server_kills::CAMPAIGN,
        disks::CAMPAIGN,
        journals::CAMPAIGN,
        listings::CAMPAIGN,
        rekeys::CAMPAIGN,
        simulation::CAMPAIGN,
    ]
}

/// Half of the cases each.
fn either_way(random: &mut crate::random::Random) -> crate::program::Way {
    if random.chance(50) { crate::program::Way::Push } else { crate::program::Way::Pull }
}

/// How many deeds of people fall into a run: often none.
fn deeds(random: &mut crate::random::Random) -> u64 {
    if random.chance(40) { random.between(1, 4) } else { 0 }
}
