//! What a round is to do: a job of the config, or the flags of a one-round command.

use std::time::Duration;

use crate::filter::Filter;
use crate::hash::Level;
use crate::outcome::Mode;
use crate::path::{LocalRoot, RelPath, RemoteRoot};
use crate::plan::guard::DeleteLimits;
use crate::settle::Quiet;
use crate::transfer::room::Breadth;
use crate::transfer::throttle::{Limit, Throttle};

/// What one round is to do.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The job's name; for one-round commands the two ends as typed.
    pub name: String,
    /// Which way.
    pub mode: Mode,
    /// The near root.
    pub local: LocalRoot,
    /// The far root.
    pub remote: RemoteRoot,
    /// The server, for messages: `user@host:port`.
    pub server: String,
    /// What is left out, on both sides.
    pub filter: Filter,
    /// Nothing but this file of the root is carried; `None`: the whole root.
    pub only: Option<RelPath>,
    /// Look at no more than this of the near side, because a watcher saw all that changed; `None`: at all.
    /// A push that has to look at the far side looks at all in any case.
    pub changes: Option<Vec<Quiet>>,
    /// Whether what is gone at the source goes at the target.
    pub delete: bool,
    /// A person said go on: deletes over the limit are accepted, a root that is not what it was as well.
    pub accept: bool,
    /// Whether a halt lasts until a person says go on, or only until the next round finds things in order.
    pub stays_halted: bool,
    /// How many deletes go without asking.
    pub limits: DeleteLimits,
    /// How long the trash is kept; `None`: no trash.
    pub trash: Option<Duration>,
    /// How often a push looks at the far side as a whole although nothing changed here; `None`: never.
    pub audit: Option<Duration>,
    /// How old a far file must be to be taken at the first look.
    pub settle: Duration,
    /// Whether files are made durable before they count.
    pub durable: bool,
    /// How contents are proved.
    pub level: Level,
    /// Content per second over the wire; may change while the round runs.
    pub rate: Limit,
    /// What all jobs of the server share of the line; `None`: nothing is said of that.
    pub line: Option<Throttle>,
    /// What all rounds of the process share; `None`: it is the only one.
    pub breadth: Option<Breadth>,
    /// How long a lost connection is tried again.
    pub retry_for: Duration,
    /// How a person says that the roots are meant as they are.
    pub go_on: String,
    /// How a person lets held deletes go.
    pub accept_deletes: String,
}

impl Spec {
    /// What to tell a person whose job waits.
    pub(super) fn go_on_hint(&self) -> String {
        format!(
            "If a disk is not mounted or a folder was moved, put that right. If this is meant: {}",
            self.go_on
        )
    }

    /// The far root as people write it.
    pub(super) fn far_name(&self) -> String {
        format!("{}:{}", self.server, self.remote)
    }
}
