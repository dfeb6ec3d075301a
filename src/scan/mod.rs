//! Looking at both sides: a [`walk`] visits one tree in path order, a [`Join`] brings two walks and the
//! base together, path by path, as the planner wants them.
//!
//! Nothing here decides what to do. What it does decide is what may be called *absent*: only what is
//! missing from a folder's listing that was read to its end, without an error and without a name that had
//! to be refused. All else that is not seen is unknown.
//!
//! Memory is bounded by the listings of the folders on the way down and those fetched ahead, whatever the
//! size of the tree.

mod ahead;
mod join;
mod side;
mod spots;
mod walk;

use std::future::Future;
use std::sync::Arc;

use crate::entry::{RefusedName, Stat};
use crate::error::{Error, Result};
use crate::path::RelPath;

pub use join::{BasePages, Join};
pub use spots::{Extent, Places, Spots};
pub use walk::{Limits, Walk, walk};

/// Says of a path (and whether it is a folder) that it is left out, given that no folder above it is.
pub type Skip = Arc<dyn Fn(&RelPath, bool) -> bool + Send + Sync>;

/// One step of a walk.
#[derive(Debug)]
pub struct Visit {
    /// Where.
    pub path: RelPath,
    /// What was found there.
    pub found: Found,
}

/// What a step of a walk found.
#[derive(Debug)]
pub enum Found {
    /// This stands there. A folder comes before what is in it. The root itself is not visited.
    Here(Stat),
    /// The folder, visited right before, cannot be listed: nothing is known of what is in it.
    Unreadable(Error),
    /// The folder, visited right before, was listed with names that had to be refused: what it does not
    /// list may be there all the same.
    Incomplete(Vec<RefusedName>),
}

/// A walk, as a [`Join`] uses it.
pub trait Visits: Send {
    /// The next step, in path order. Errors only if the walk as a whole has come to an end, because the
    /// connection is lost, say.
    fn next(&mut self) -> impl Future<Output = Result<Option<Visit>>> + Send;

    /// Leaves out what is in the folder that was visited last.
    fn leave_out(&mut self, folder: &RelPath);

    /// Whether a path is left out of this walk, given that no folder above it is.
    fn skips(&self, path: &RelPath, is_dir: bool) -> bool;
}
