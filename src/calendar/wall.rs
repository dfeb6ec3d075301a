//! Wall times and moments, and the two ways in which the crate writes moments.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::entry::Time;

const SECOND_NANOS: i128 = 1_000_000_000;

/// The moment as jiff has it; one that no calendar has (before -9999 or after 9999) is brought to the nearest
/// that one has.
pub fn timestamp(time: Time) -> Timestamp {
    let limit = if time.secs < 0 { Timestamp::MIN } else { Timestamp::MAX };
    let nanos = i128::from(time.secs) * SECOND_NANOS + i128::from(time.nanos);
    Timestamp::from_nanosecond(nanos).unwrap_or(limit)
}

/// The moment as the crate has it.
pub fn time(timestamp: Timestamp) -> Time {
    let nanos = timestamp.as_nanosecond();
    // What remains of a division by a positive number is below it.
    Time {
        secs: i64::try_from(nanos.div_euclid(SECOND_NANOS)).unwrap_or(i64::MAX),
        nanos: u32::try_from(nanos.rem_euclid(SECOND_NANOS)).unwrap_or_default(),
    }
}

/// So much later, at most the last moment that a calendar has.
pub fn add(time: Time, duration: Duration) -> Time {
    add_nanos(time, i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX))
}

/// So many nanoseconds later, or earlier if negative, within what a calendar has.
pub fn add_nanos(to: Time, nanos: i128) -> Time {
    let sum = timestamp(to).as_nanosecond().saturating_add(nanos);
    let limit = if sum < 0 { Timestamp::MIN } else { Timestamp::MAX };
    time(Timestamp::from_nanosecond(sum).unwrap_or(limit))
}

/// How long `now` is after `then`; zero when it is not.
pub fn since(now: Time, then: Time) -> Duration {
    let nanos = timestamp(now).as_nanosecond() - timestamp(then).as_nanosecond();
    let nanos = nanos.clamp(0, i128::from(i64::MAX) * SECOND_NANOS);
    let part = u32::try_from(nanos % SECOND_NANOS).unwrap_or_default();
    Duration::new(u64::try_from(nanos / SECOND_NANOS).unwrap_or_default(), part)
}

/// The moment at which the clocks of `zone` first show `wall`, or would if they did not jump over it: then
/// the moment at which they land. `None` beyond the calendar.
pub fn first_instant(zone: &TimeZone, wall: DateTime) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(wall).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(wall).ok(),
        AmbiguousOffset::Gap { before, after } => {
            // By the new offset the missing time lies before the jump, by the old one it does not.
            let (not_yet, at_last) = (after.to_timestamp(wall).ok()?, before.to_timestamp(wall).ok()?);
            let jump = zone.following(not_yet).find(|change| change.offset() == after);
            Some(jump.map_or(at_last, |change| change.timestamp().min(at_last)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn instant(zone: &str, wall: &str) -> String {
        let zone = TimeZone::get(zone).unwrap();
        first_instant(&zone, wall.parse().unwrap()).unwrap().to_string()
    }

    #[test]
    fn every_wall_time_is_one_moment() {
        let check = |zone, wall, expected: &str| assert_eq!(instant(zone, wall), expected, "{zone} {wall}");
        check("UTC", "2026-03-29T02:30", "2026-03-29T02:30:00Z");
        check("Europe/Berlin", "2026-03-29T01:59", "2026-03-29T00:59:00Z");
        check("Europe/Berlin", "2026-03-29T02:00", "2026-03-29T01:00:00Z");
        check("Europe/Berlin", "2026-03-29T02:59", "2026-03-29T01:00:00Z");
        check("Europe/Berlin", "2026-03-29T03:00", "2026-03-29T01:00:00Z");
        check("Europe/Berlin", "2026-10-25T02:30", "2026-10-25T00:30:00Z");
        check("Europe/Berlin", "2026-10-25T03:00", "2026-10-25T02:00:00Z");
        check("America/New_York", "2026-03-08T02:30", "2026-03-08T07:00:00Z");
        check("America/New_York", "2026-11-01T01:30", "2026-11-01T05:30:00Z");
        check("Australia/Lord_Howe", "2026-10-04T02:10", "2026-10-03T15:30:00Z");
        check("Australia/Lord_Howe", "2026-04-05T01:45", "2026-04-04T14:45:00Z");
        // A whole day that never was.
        check("Pacific/Apia", "2011-12-30T12:00", "2011-12-30T10:00:00Z");
    }

    #[test]
    fn moments_no_calendar_has_are_brought_to_the_nearest() {
        let far = Time { secs: i64::MAX, nanos: 999_999_999 };
        assert_eq!(timestamp(far), Timestamp::MAX);
        assert_eq!(timestamp(Time::from_secs(i64::MIN)), Timestamp::MIN);
        assert_eq!(add(far, Duration::MAX), time(Timestamp::MAX));
        assert_eq!(add_nanos(Time::default(), i128::MIN), time(Timestamp::MIN));
        assert_eq!(since(Time::default(), far), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn moments_keep_their_nanoseconds(secs in -100_000_000_000i64..100_000_000_000, nanos in 0u32..1_000_000_000) {
            let moment = Time { secs, nanos };
            prop_assert_eq!(time(timestamp(moment)), moment);
            prop_assert_eq!(since(add(moment, Duration::from_nanos(7)), moment), Duration::from_nanos(7));
        }

        #[test]
        fn later_wall_times_are_never_earlier_moments(
            zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"]),
            day in 0i32..3_000, minute in 0i32..1_440, later in 1i32..3_000,
        ) {
            let zone = TimeZone::get(zone).unwrap();
            let wall = jiff::civil::date(2020, 1, 1).at(0, 0, 0, 0);
            let at = |minutes: i32| {
                let wall = wall.checked_add(jiff::SignedDuration::from_mins(i64::from(minutes))).unwrap();
                first_instant(&zone, wall).unwrap()
            };
            let start = day * 1_440 + minute;
            prop_assert!(at(start) <= at(start + later));
        }
    }
}
