//! Notices that the time of day jumped: the machine slept, or somebody set its clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::calendar::timestamp;
use crate::clock::Clock;
use crate::entry::Time;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(3);

/// A difference between the clocks that is no rounding and no slow correction.
const GAP_SECS: f64 = 5.0;

/// How often the time of day jumped so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Jumps {
    /// Either way: what is due is to be judged anew.
    pub any: u64,
    /// Forward: the machine may have slept, and what it was connected to may be gone.
    pub forward: u64,
}

/// Looks until it is aborted. Whether anybody listens just now says nothing: jobs come and go.
pub(super) async fn watch_clock(clock: Arc<dyn Clock>, jumps: watch::Sender<Jumps>) {
    let mut before = (clock.now(), Instant::now());
    loop {
        tokio::time::sleep(EVERY).await;
        let after = (clock.now(), Instant::now());
        let gap = gap_secs(before.0, after.0, after.1.saturating_duration_since(before.1));
        before = after;
        if gap.abs() >= GAP_SECS {
            tracing::info!("the clock jumped by {gap:.0} s");
            jumps.send_modify(|jumps| {
                jumps.any += 1;
                jumps.forward += u64::from(gap > 0.0);
            });
        }
    }
}

/// By how much the time of day went further than the clock that does not run while the machine sleeps.
fn gap_secs(before: Time, after: Time, passed: Duration) -> f64 {
    timestamp(after).duration_since(timestamp(before)).as_secs_f64() - passed.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_jump_is_a_gap() {
        let check = |wall_secs: i64, passed_secs: u64, is_gap: bool| {
            let (before, after) = (Time::from_secs(1_000), Time::from_secs(1_000 + wall_secs));
            let gap = gap_secs(before, after, Duration::from_secs(passed_secs));
            assert_eq!(gap.abs() >= GAP_SECS, is_gap, "{gap}");
        };
        check(3, 3, false);
        check(60, 60, false); // a busy machine
        check(4, 3, false);
        check(10_803, 3, true);
        check(-3_597, 3, true);
    }
}
