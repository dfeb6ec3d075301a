//! How long to wait before the next try: a function of how often it failed and one random draw.

use std::time::Duration;

/// A wait that is short for anybody.
const SHORT: Duration = Duration::from_secs(5);

/// Exponential back-off with full jitter between half and all of the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first step.
    pub first: Duration,
    /// No step is longer.
    pub longest: Duration,
}

impl Backoff {
    /// For lost connections: half a second, doubling up to a minute.
    pub const RECONNECT: Self = Self { first: Duration::from_millis(500), longest: Duration::from_secs(60) };

    /// For a source file that changes while it is read.
    pub const BUSY_SOURCE: Self = Self { first: Duration::from_millis(200), longest: Duration::from_secs(5) };

    /// [`delay`](Self::delay) after `failing` from the first failure on: a short outage is not followed by a wait
    /// of its own length.
    pub fn delay_after(&self, attempt: u32, draw: f64, failing: Duration) -> Duration {
        self.delay(attempt, draw).min((failing / 4).max(self.first).max(SHORT))
    }

    /// The wait before try number `attempt + 1` (the first failure is attempt 0), with `draw` from 0 to 1.
    pub fn delay(&self, attempt: u32, draw: f64) -> Duration {
        let doubled = self.first.saturating_mul(1u32.checked_shl(attempt).unwrap_or(u32::MAX));
        doubled.min(self.longest).mul_f64(0.5 + draw.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_double_up_to_the_longest_and_jitter_never_leaves_the_upper_half() {
        let check = |attempt, draw, millis| {
            let delay = Backoff::RECONNECT.delay(attempt, draw);
            assert_eq!(delay, Duration::from_millis(millis), "{attempt} {draw}");
        };
        check(0, 0.0, 250);
        check(0, 1.0, 500);
        check(3, 1.0, 4_000);
        check(40, 1.0, 60_000);
        check(40, 0.0, 30_000);
    }

    #[test]
    fn after_a_short_outage_the_wait_is_short() {
        let check = |attempt, failing_secs, millis| {
            let delay = Backoff::RECONNECT.delay_after(attempt, 1.0, Duration::from_secs(failing_secs));
            assert_eq!(delay, Duration::from_millis(millis), "{attempt} {failing_secs}");
        };
        check(0, 0, 500);
        check(5, 15, 5_000);
        check(7, 60, 15_000);
        check(9, 600, 60_000);
        let slow = Backoff { first: Duration::from_secs(30), longest: Duration::from_secs(900) };
        assert_eq!(slow.delay_after(3, 1.0, Duration::from_secs(90)), Duration::from_secs(30));
    }
}
