//! The time of day and randomness, handed to whoever needs them. Nothing else asks the system.

use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::entry::Time;

/// Tells the time of day on this machine.
pub trait Clock: Send + Sync {
    /// Now, since 1970 UTC.
    fn now(&self) -> Time;
}

/// The system's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(); // a clock before 1970 reads as 1970
        Time { secs: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos() }
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub struct ManualClock(Mutex<Time>);

impl ManualClock {
    /// A clock that shows `now`.
    pub fn new(now: Time) -> Self {
        Self(Mutex::new(now))
    }

    /// Moves the clock, forward or back.
    pub fn set(&self, now: Time) {
        *self.0.lock().unwrap_or_else(|e| e.into_inner()) = now;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Time {
        *self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// A source of randomness.
pub trait Random: Send + Sync {
    /// 64 random bits.
    fn u64(&self) -> u64;

    /// 128 random bits.
    fn u128(&self) -> u128 {
        (u128::from(self.u64()) << 64) | u128::from(self.u64())
    }

    /// A number from 0 up to but not including 1.
    fn unit(&self) -> f64 {
        (self.u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The operating system's generator: cannot be guessed.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemRandom;

impl Random for SystemRandom {
    #[expect(clippy::expect_used, reason = "no safe name can be made without randomness")]
    fn u64(&self) -> u64 {
        POOL.with_borrow_mut(|pool| {
            if pool.left.is_empty() {
                getrandom::fill(&mut pool.bytes).expect("the operating system gives no random numbers");
                pool.left = 0..POOL_BYTES;
            }
            let at = pool.left.start;
            pool.left.start += 8;
            let mut number = [0; 8];
            number.copy_from_slice(&pool.bytes[at..at + 8]);
            pool.bytes[at..at + 8].fill(0); // what was given out is nobody else's to see
            u64::from_le_bytes(number)
        })
    }
}

/// How much randomness is fetched at once, in bytes; a multiple of eight.
const POOL_BYTES: usize = 512;

/// Random bytes of the operating system that were not given out yet.
struct Pool {
    bytes: [u8; POOL_BYTES],
    left: std::ops::Range<usize>,
}

thread_local! {
    static POOL: std::cell::RefCell<Pool> =
        const { std::cell::RefCell::new(Pool { bytes: [0; POOL_BYTES], left: 0..0 }) };
}

/// A repeatable sequence from a seed (SplitMix64), for tests and the demo's data.
#[derive(Debug)]
pub struct SeededRandom(Mutex<u64>);

impl SeededRandom {
    /// The sequence that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }
}

impl Random for SeededRandom {
    fn u64(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(|e| e.into_inner());
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
