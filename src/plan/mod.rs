//! The planner: what both sides hold and what they last agreed on go in, actions come out.
//!
//! It speaks of roles, not sides: the *source* is followed, the *target* follows (push: the near side
//! is the source; pull: the far side). What makes a mode is a value of [`Rules`]; nothing here asks
//! which mode is running.
//!
//! ```text
//! Sight, in path order ─► Planner::next ─► actions that may be performed at once
//!                         Planner::finish ─► Ending: what must wait until everything else is done
//!      one Sight again ─► reconsider ─► actions, after a question was answered or the target had changed
//! ```
//!
//! The planner holds the folders above the path it is at and what must wait for the end, never the tree.
//!
//! What it does not know: disk, network, database, clock. Whether a delete has been proved and whether
//! the target still is what was seen is checked by whoever performs an action, right before (design:
//! "compare and swap", "absence proves nothing"); an [`Expect`] says what has to be checked.

pub mod action;
pub mod guard;
mod order;
mod reconcile;
pub mod rules;
#[cfg(test)]
mod tests;

use crate::entry::{Kind, Stat};
use crate::hash::ContentHash;
use crate::path::RelPath;

pub use action::{Action, Expect, FolderEnd, Removal, Role, Why};
pub use order::{Ending, Foreign, Planner, Tally};
pub use reconcile::reconsider;
pub use rules::Rules;

/// The last state that both sides agreed on, for one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseView {
    /// What it was.
    pub kind: Kind,
    /// The last look at the source.
    pub source: Stat,
    /// The last look at the target.
    pub target: Stat,
    /// What a file contained; `None` if it was never read as a whole.
    pub hash: Option<ContentHash>,
    /// Where a link pointed.
    pub link: Option<Vec<u8>>,
    /// Not to be believed even where everything looks the same. A file or link: the look at the source
    /// was so close to its mtime that a later write may not show ([`is_racy`](crate::entry::is_racy)).
    /// A folder: something was placed in it, or it was made, and its metadata were not set since.
    pub unsettled: bool,
}

/// What one side holds at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Not in its folder's listing, which was read to its end.
    Absent,
    /// This stands there.
    Here(Stat),
    /// It could not be looked at. Never the same as absent: everything at and below it is left alone.
    Unknown,
    /// The target was not looked at: what base says of it is believed until the moment of acting.
    NotLooked,
}

/// Everything known of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// The path.
    pub path: RelPath,
    /// The last agreed state, if there is one.
    pub base: Option<BaseView>,
    /// What the source holds. Never [`Seen::NotLooked`].
    pub source: Seen,
    /// What the target holds.
    pub target: Seen,
}

/// Answers to the planner's questions about one [`Sight`], true of exactly the stats in it. They add up:
/// what was found out before a second question is given again with its answer, or it is asked again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// Whether the source's content is what base remembers (answers [`Action::Recheck`]).
    pub source_is_base: Option<bool>,
    /// Whether the target's content is what base remembers (answers [`Action::Recheck`]).
    pub target_is_base: Option<bool>,
    /// Whether source and target have the same content (answers [`Action::Compare`]).
    pub equal: Option<bool>,
}
