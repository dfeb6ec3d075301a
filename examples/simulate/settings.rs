//! What one seed plays: the job, the server, and how much there is.

use std::time::Duration;

use highwater::filter::Filter;
use highwater::hash::Level;
use highwater::job::Spec;
use highwater::outcome::Mode;
use highwater::path::{LocalRoot, RemoteRoot};
use highwater::plan::guard::DeleteLimits;
use highwater::transfer::throttle::Limit;
use highwater::tree::memory::FAR;
use highwater::tree::{Blind, Traits};

use crate::random::Random;

/// How long the trash is kept.
pub const TRASH: Duration = Duration::from_secs(30 * 24 * 3600);

/// How often a push looks at the far side.
pub const AUDIT: Duration = Duration::from_secs(24 * 3600);

/// Drawn once per seed.
#[derive(Debug, Clone)]
pub struct Settings {
    pub mode: Mode,
    pub delete: bool,
    pub has_trash: bool,
    pub durable: bool,
    pub level: Level,
    /// The server works off requests one after the other, as OpenSSH's does; else several at once, each file's in
    /// their order.
    pub is_in_order: bool,
    /// The connection is kept from round to round, as the daemon does.
    pub keeps_connection: bool,
    pub far: Traits,
    /// Seconds by which the far clock is ahead.
    pub far_ahead_secs: i64,
    /// Files of more than one piece.
    pub is_large: bool,
    /// Many files, to be deleted at once.
    pub is_many: bool,
    /// Rounds in which things go wrong.
    pub rounds: u64,
}

impl Settings {
    pub fn draw(random: &mut Random) -> Self {
        let far = Traits {
            mtime_granularity_secs: if random.chance(85) { 1 } else { 2 },
            keeps_mtime: random.chance(92),
            links: random.chance(92),
            blind: *random.pick(&[Blind::Nowhere, Blind::NewFolders, Blind::Everywhere]),
            ..FAR
        };
        Self {
            mode: if random.chance(50) { Mode::Push } else { Mode::Pull },
            delete: random.chance(80),
            has_trash: random.chance(80),
            durable: random.chance(65),
            level: *random.pick(&[Level::Full, Level::Full, Level::Full, Level::Sample, Level::Ack]),
            is_in_order: random.chance(65),
            keeps_connection: random.chance(40),
            far,
            far_ahead_secs: if random.chance(60) { 0 } else { random.below(600) as i64 - 300 },
            is_large: random.chance(6),
            is_many: random.chance(5),
            rounds: random.between(2, 5),
        }
    }

    /// The job of one round. `accepts`: a person said go on.
    pub fn spec(&self, accepts: bool) -> Spec {
        Spec {
            name: "job".into(),
            mode: self.mode,
            local: LocalRoot::new("/near").expect("it is absolute"),
            remote: RemoteRoot::new(b"/far").expect("it is absolute"),
            server: "simulated".into(),
            filter: Filter::default(),
            only: None,
            changes: None,
            delete: self.delete,
            accept: accepts,
            stays_halted: false,
            limits: DeleteLimits::default(),
            trash: self.has_trash.then_some(TRASH),
            audit: Some(AUDIT),
            settle: Duration::from_secs(2),
            durable: self.durable,
            level: self.level,
            rate: Limit::new(None),
            line: None,
            breadth: None,
            retry_for: Duration::from_secs(120),
            go_on: "go on".into(),
            accept_deletes: "accept".into(),
        }
    }
}
