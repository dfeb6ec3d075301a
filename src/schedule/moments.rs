//! The moments of a schedule, before chance and circumstances.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::calendar::Cron;

/// Where the moments come from.
#[derive(Debug, Clone)]
pub(super) enum Moments {
    /// Fields of cron in a time zone.
    Cron(Box<Cron>, TimeZone),
    /// So long after the start of the last round, and so on. Not zero.
    Every(Duration),
}

impl Moments {
    /// The first moment after `then`, for a job whose moments up to `settled` are dealt with.
    pub fn after(&self, settled: Timestamp, then: Timestamp) -> Option<Timestamp> {
        match self {
            Moments::Cron(cron, zone) => cron.after(then.max(settled), zone),
            Moments::Every(every) => {
                let every = i128::try_from(every.as_nanos()).ok()?.max(1);
                let since = (then.as_nanosecond() - settled.as_nanosecond()).max(0);
                let steps = (since / every + 1).checked_mul(every)?;
                Timestamp::from_nanosecond(settled.as_nanosecond().checked_add(steps)?).ok()
            }
        }
    }

    /// The last moment after `settled` that is not after `now`, found by halving: to a second, should there be
    /// several within one.
    pub fn latest(&self, settled: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let is_before_one = |then| self.after(settled, then).is_some_and(|moment| moment <= now);
        if !is_before_one(settled) {
            return None;
        }
        let (mut low, mut high) = (settled, now);
        while high.duration_since(low) > SignedDuration::from_secs(1) {
            let middle = low.checked_add(high.duration_since(low) / 2).ok()?;
            *(if is_before_one(middle) { &mut low } else { &mut high }) = middle;
        }
        self.after(settled, low)
    }

    /// Whether they are times of day rather than a rhythm.
    pub fn are_times_of_day(&self) -> bool {
        matches!(self, Moments::Cron(cron, _) if !cron.is_rhythm())
    }

    /// Up to when the moments of a job are dealt with that nobody has seen before: an interval begins at
    /// once, for it has no moment of its own to wait for.
    pub fn settled_at_first(&self, now: Timestamp) -> Timestamp {
        match self {
            Moments::Cron(..) => now,
            Moments::Every(every) => now.saturating_sub(*every).unwrap_or(Timestamp::MIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_interval_counts_from_the_last_start() {
        let every = Moments::Every(Duration::from_secs(900));
        let at = |secs| Timestamp::from_second(secs).unwrap();
        let check = |settled, then, expected| {
            assert_eq!(every.after(at(settled), at(then)), Some(at(expected)), "{settled} {then}");
        };
        check(1_000, 1_000, 1_900);
        check(1_000, 1_899, 1_900);
        check(1_000, 1_900, 2_800);
        check(1_000, 0, 1_900);
        assert_eq!(every.after(Timestamp::MAX, Timestamp::MAX), None);
        assert_eq!(Moments::Every(Duration::MAX).after(at(0), at(0)), None);
    }

    proptest! {
        #[test]
        fn the_latest_is_the_last_of_all_that_come_before(
            fields in prop::sample::select(vec!["*/20 * * * *", "30 1,2,3 * * *", "0 0 * * mon", ""]),
            settled in 1_790_000_000i64..1_800_000_000, ahead in 0i64..1_000_000,
        ) {
            let moments = match fields {
                "" => Moments::Every(Duration::from_secs(1_234)),
                _ => Moments::Cron(Box::new(Cron::parse(fields).unwrap()), TimeZone::get("Europe/Berlin").unwrap()),
            };
            let settled = Timestamp::from_second(settled).unwrap();
            let now = settled + SignedDuration::from_secs(ahead);
            let mut all = std::iter::successors(moments.after(settled, settled), |m| moments.after(settled, *m));
            let mut last = None;
            while let Some(moment) = all.next().filter(|moment| *moment <= now) {
                last = Some(moment);
            }
            prop_assert_eq!(moments.latest(settled, now), last);
        }
    }
}
