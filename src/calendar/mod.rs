//! From what the clock on the wall shows to moments: the one place where time zones and their changes are
//! understood.
//!
//! A wall time that a change of the clocks leaves out (the gap in spring) stands for the first moment after
//! it; one that comes twice (the overlap in autumn) for its first coming. So every wall time is one moment,
//! and later wall times are never earlier moments. The zone is an argument everywhere: nothing here asks the
//! system for the time, its zone or a file.

mod cron;
mod wall;
mod week;

pub use cron::Cron;
pub use wall::{add, add_nanos, first_instant, since, time, timestamp};
pub use week::{HORIZON, Span};
