//! The rate limit: a bucket that fills with time, and the wait until it holds enough.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How much may be taken at once after a pause, as a time at the full rate.
const BURST: Duration = Duration::from_millis(250);

/// When the next bytes may go: pure, on instants handed in.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    bytes_per_second: u64,
    /// When everything taken so far will have been paid for.
    paid_at: Instant,
}

impl Bucket {
    /// Takes `bytes` at `now` and returns the moment at which they may be sent.
    fn take(&mut self, now: Instant, bytes: u64) -> Instant {
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let start = self.paid_at.max(earliest);
        self.paid_at = start + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        start
    }
}

/// Limits the content that crosses the wire in one direction.
#[derive(Debug)]
pub struct Throttle(Option<Mutex<Bucket>>);

impl Throttle {
    /// A limit in bytes per second; `None` or 0 is no limit.
    pub fn new(bytes_per_second: Option<u64>) -> Self {
        let bucket = bytes_per_second
            .filter(|&rate| rate > 0)
            .map(|rate| Mutex::new(Bucket { bytes_per_second: rate, paid_at: Instant::now() }));
        Self(bucket)
    }

    /// Waits until `bytes` may go.
    pub async fn take(&self, bytes: u64) {
        let Some(bucket) = &self.0 else { return };
        let now = Instant::now();
        let go = bucket.lock().unwrap_or_else(|e| e.into_inner()).take(now, bytes);
        if go > now {
            sleep_until(go).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_and_a_pause_saves_up_no_more_than_a_burst() {
        let start = Instant::now() + Duration::from_secs(10);
        let mut bucket = Bucket { bytes_per_second: 1_000, paid_at: start };
        let mut check = |at_millis: u64, bytes: u64, go_millis: u64| {
            let now = start + Duration::from_millis(at_millis);
            let go = bucket.take(now, bytes).max(now) - start;
            assert_eq!(go, Duration::from_millis(go_millis));
        };
        check(0, 500, 0);
        check(0, 500, 500);
        check(0, 1_000, 1_000);
        check(10_000, 250, 10_000); // paid for by the pause
        check(10_000, 500, 10_000);
        check(10_000, 500, 10_500);
    }
}
