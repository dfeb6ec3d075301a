//! The rate limit: what was taken is paid for as time passes, at a rate that may change meanwhile.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// How much may be taken at once after a pause, as a time at the full rate.
const BURST: Duration = Duration::from_millis(250);

/// The longest wait until the next look; by then the rate has changed or the look changes nothing.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// A rate in bytes of content per second that whoever holds a clone may change, for all who hold one.
#[derive(Debug, Clone)]
pub struct Limit(watch::Sender<Option<u64>>);

impl Limit {
    /// So many bytes per second; `None` or 0 is no limit.
    pub fn new(bytes_per_second: Option<u64>) -> Self {
        Self(watch::Sender::new(bytes_per_second.filter(|&rate| rate > 0)))
    }

    /// Another rate from now on, also for what waits already.
    pub fn set(&self, bytes_per_second: Option<u64>) {
        let rate = bytes_per_second.filter(|&rate| rate > 0);
        self.0.send_if_modified(|old| std::mem::replace(old, rate) != rate);
    }

    /// The rate that holds now; `None`: no limit.
    pub fn get(&self) -> Option<u64> {
        *self.0.borrow()
    }
}

/// How much was taken and how much of it is paid for: pure, on instants handed in.
#[derive(Debug, Clone, Copy)]
struct Account {
    taken: u64,
    paid: f64,
    at: Instant,
}

impl Account {
    /// Takes `bytes`. They may go when everything taken before is paid for: the place to wait for.
    fn take(&mut self, bytes: u64) -> u64 {
        let place = self.taken;
        self.taken += bytes;
        place
    }

    /// Pays for the time that passed at `rate`. A pause saves up no more than a burst.
    fn pay(&mut self, now: Instant, rate: Option<u64>) {
        let passed = now.saturating_duration_since(self.at);
        self.at = self.at.max(now);
        let taken = self.taken as f64;
        self.paid = match rate {
            None => taken,
            Some(rate) => {
                let most = taken + rate as f64 * BURST.as_secs_f64();
                (self.paid + rate as f64 * passed.as_secs_f64()).min(most)
            }
        };
    }

    /// How long until what stands at `place` may go; `None`: now.
    fn wait(&self, place: u64, rate: Option<u64>) -> Option<Duration> {
        let missing = place as f64 - self.paid;
        let rate = rate? as f64;
        // Below a nanosecond's worth there is nothing to wait for, only rounding.
        (missing / rate >= 1e-9).then(|| Duration::from_secs_f64((missing / rate).min(1e9)))
    }
}

/// Limits the content that crosses the wire: of one round, or of all that hold a clone.
#[derive(Debug, Clone)]
pub struct Throttle {
    rate: watch::Receiver<Option<u64>>,
    account: Arc<Mutex<Account>>,
}

impl Throttle {
    /// Holds to `limit`, whatever it is changed to.
    pub fn new(limit: &Limit) -> Self {
        let account = Account { taken: 0, paid: 0.0, at: Instant::now() };
        Self { rate: limit.0.subscribe(), account: Arc::new(Mutex::new(account)) }
    }

    /// Whether nothing is limited now, so that nothing need be counted either.
    pub fn is_open(&self) -> bool {
        self.rate.borrow().is_none()
    }

    /// Waits until `bytes` may go.
    pub async fn take(&self, bytes: u64) {
        let mut rate = self.rate.clone();
        let place = self.settled(*rate.borrow_and_update()).take(bytes);
        loop {
            let now = *rate.borrow_and_update();
            let Some(wait) = self.settled(now).wait(place, now) else { return };
            // Whoever could change the rate is gone: it stays as it is.
            if let Ok(Err(_)) = timeout(wait.min(LONGEST_WAIT), rate.changed()).await {
                tokio::time::sleep(wait.min(LONGEST_WAIT)).await;
            }
        }
    }

    fn settled(&self, rate: Option<u64>) -> MutexGuard<'_, Account> {
        let mut account = self.account.lock().unwrap_or_else(|e| e.into_inner());
        account.pay(Instant::now(), rate);
        account
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An account at 1,000 bytes per second: rows of when, how much, and when it may go, in milliseconds.
    fn check(account: &mut Account, start: Instant, at_millis: u64, bytes: u64, go_millis: u64) {
        let now = start + Duration::from_millis(at_millis);
        account.pay(now, Some(1_000));
        let place = account.take(bytes);
        let go = now + account.wait(place, Some(1_000)).unwrap_or_default();
        assert_eq!((go - start).as_millis(), u128::from(go_millis), "{bytes} at {at_millis}");
    }

    #[test]
    fn the_rate_holds_and_a_pause_saves_up_no_more_than_a_burst() {
        let start = Instant::now();
        let mut account = Account { taken: 0, paid: 0.0, at: start };
        let mut check = |at, bytes, go| check(&mut account, start, at, bytes, go);
        check(0, 500, 0);
        check(0, 500, 500);
        check(0, 1_000, 1_000);
        check(10_000, 250, 10_000); // paid for by the pause
        check(10_000, 500, 10_000);
        check(10_000, 500, 10_500);
    }

    #[test]
    fn a_rate_that_changes_holds_from_then_on() {
        let start = Instant::now();
        let mut account = Account { taken: 0, paid: 0.0, at: start };
        account.take(10_000);
        let place = account.take(10);
        assert_eq!(account.wait(place, Some(1_000)), Some(Duration::from_secs(10)));
        account.pay(start + Duration::from_secs(5), Some(1_000));
        assert_eq!(account.wait(place, Some(5_000)), Some(Duration::from_secs(1)));
        account.pay(start + Duration::from_secs(5), None);
        assert_eq!(account.wait(place, None), None);
    }

    #[tokio::test]
    async fn those_who_share_a_throttle_share_its_rate() {
        let limit = Limit::new(Some(1));
        let (one, other) = (Throttle::new(&limit), Throttle::new(&limit));
        let shared = one.clone();
        one.take(1 << 30).await;
        other.take(1 << 30).await;
        let wait = Duration::from_millis(50);
        assert!(timeout(wait, shared.take(1)).await.is_err());
        limit.set(None);
        timeout(Duration::from_secs(20), shared.take(1)).await.unwrap();
    }

    #[tokio::test]
    async fn what_waits_at_a_low_rate_goes_when_the_limit_is_lifted() {
        let limit = Limit::new(Some(1));
        let throttle = Throttle::new(&limit);
        throttle.take(1 << 30).await;
        let lifted = async {
            tokio::task::yield_now().await;
            limit.set(None);
        };
        let both = futures_util::future::join(throttle.take(1), lifted);
        timeout(Duration::from_secs(20), both).await.unwrap();
    }
}
