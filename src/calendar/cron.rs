//! Five fields of cron, and the moments they stand for: the crate's one door to croner.
//!
//! croner is asked about wall times only; what a change of the clocks does to them is decided here, by one
//! of two rules. Fields that leave out at least one hour of the day mean times of day: each comes once,
//! whatever the clocks do (croner would drop `*/15 2 * * *` on the day without a 2 o'clock). Fields that hold
//! in every hour mean a rhythm: it goes on through both comings of an hour and adds nothing for a gap.

use std::fmt;

use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::wall::first_instant;
use crate::path::escape;

/// Changes of the clocks that one search goes through, and matches within an overlap: far more than a
/// zone has between two moments of a schedule that can come at all.
const MAX_STEPS: usize = 10_000;

/// Five fields of cron, or `@daily` and the like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    pattern: croner::Cron,
    text: String,
}

impl Cron {
    /// Takes the fields, or says what is wrong with them.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fields = text.split_whitespace().count();
        if fields != 5 && !text.starts_with('@') {
            return Err(format!("expected five fields, found {fields}"));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let pattern = parser.parse(text).map_err(|error| escape(error.to_string().as_bytes()))?;
        let cron = Self { pattern, text: text.into() };
        // 30 February is found out now, not by a job that never runs.
        let ever = cron.wall_after(DateTime::constant(2000, 1, 1, 0, 0, 0, 0), true);
        ever.map(|_| cron).ok_or_else(|| "no such day ever comes".into())
    }

    /// The first moment after `then`, by the clocks of `zone`; `None` beyond the calendar.
    pub fn after(&self, then: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        if self.is_rhythm() { self.beat_after(then, zone) } else { self.time_after(then, zone) }
    }

    /// Whether the fields hold in every hour of the day.
    pub fn is_rhythm(&self) -> bool {
        (0..24).all(|hour| self.pattern.pattern.hour_match(hour).unwrap_or(false))
    }

    /// Wall times and their moments have the same order, so the first wall time whose moment is later is
    /// it. Those passed over are the ones of an overlap, whose first coming was before.
    fn time_after(&self, then: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut wall = zone.to_datetime(then);
        for _ in 0..MAX_STEPS {
            wall = self.wall_after(wall, false)?;
            let moment = first_instant(zone, wall)?;
            if moment > then {
                return Some(moment);
            }
        }
        None
    }

    /// Looks along one offset until the clocks change, then on from there.
    fn beat_after(&self, then: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let (mut from, mut is_included) = (then, false);
        for _ in 0..MAX_STEPS {
            let offset = zone.to_offset(from);
            let wall = self.wall_after(offset.to_datetime(from), is_included)?;
            let moment = offset.to_timestamp(wall).ok()?;
            match zone.following(from).next().map(|change| change.timestamp()) {
                Some(change) if change <= moment => (from, is_included) = (change, true),
                _ => return Some(moment),
            }
        }
        None
    }

    /// The first wall time after `wall` that the fields hold, or `wall` itself when it is included.
    fn wall_after(&self, wall: DateTime, is_included: bool) -> Option<DateTime> {
        let has_fraction = wall.subsec_nanosecond() > 0;
        let whole = wall.with().subsec_nanosecond(0).build().ok()?;
        let whole = if has_fraction && is_included {
            whole.checked_add(SignedDuration::from_secs(1)).ok()?
        } else {
            whole
        };
        self.pattern.find_next_occurrence(&whole, is_included).ok()
    }
}

/// The fields as they were written.
impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cron(fields: &str) -> Cron {
        Cron::parse(fields).unwrap_or_else(|why| panic!("{fields}: {why}"))
    }

    /// The moments after `from` (wall time without offset: UTC) as `hh:mm` of the zone with their offset.
    fn moments(fields: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let (cron, zone) = (cron(fields), TimeZone::get(zone).unwrap());
        let mut at: Timestamp = format!("{from}Z").parse().unwrap();
        let mut found = Vec::new();
        for _ in 0..count {
            at = cron.after(at, &zone).unwrap();
            found.push(at.to_zoned(zone.clone()).strftime("%d %H:%M %:z").to_string());
        }
        found
    }

    fn check(fields: &str, zone: &str, from: &str, expected: &[&str]) {
        assert_eq!(moments(fields, zone, from, expected.len()), expected, "{fields} {zone} {from}");
    }

    #[test]
    fn times_of_day_that_the_clocks_jump_over_come_once_right_after_it() {
        let berlin = "Europe/Berlin"; // 29 March 2026, 02:00 +01:00 is 03:00 +02:00
        let eve = "2026-03-28T12:00";
        check("30 2 * * *", berlin, eve, &["29 03:00 +02:00", "30 02:30 +02:00"]);
        check("*/15 2 * * *", berlin, eve, &["29 03:00 +02:00", "30 02:00 +02:00", "30 02:15 +02:00"]);
        check("0 2,3 * * *", berlin, eve, &["29 03:00 +02:00", "30 02:00 +02:00"]);
        check("15 2,3 * * *", berlin, eve, &["29 03:00 +02:00", "29 03:15 +02:00", "30 02:15 +02:00"]);
        check("0 1 * * *", berlin, eve, &["29 01:00 +01:00", "30 01:00 +02:00"]);
        check("30 2 * * sun", berlin, eve, &["29 03:00 +02:00", "05 02:30 +02:00"]);
        let new_york = "America/New_York"; // 8 March 2026, 02:00
        check("30 2 * * *", new_york, "2026-03-07T20:00", &["08 03:00 -04:00", "09 02:30 -04:00"]);
        let lord_howe = "Australia/Lord_Howe"; // 4 October 2026, 02:00 +10:30 is 02:30 +11:00
        check("15 2 * * *", lord_howe, "2026-10-03T02:00", &["04 02:30 +11:00", "05 02:15 +11:00"]);
        check("30 2 * * *", lord_howe, "2026-10-03T02:00", &["04 02:30 +11:00", "05 02:30 +11:00"]);
        check("30 2 * * *", "UTC", eve, &["29 02:30 +00:00", "30 02:30 +00:00"]);
        // At midnight, and a whole day.
        check("0 0 * * *", "Africa/Cairo", "2026-04-23T00:00", &["24 01:00 +03:00", "25 00:00 +03:00"]);
        check("0 12 30 * *", "Pacific/Apia", "2011-12-20T00:00", &["31 00:00 +14:00", "30 12:00 +14:00"]);
    }

    #[test]
    fn times_of_day_that_come_twice_count_the_first_time() {
        let berlin = "Europe/Berlin"; // 25 October 2026, 03:00 +02:00 is 02:00 +01:00
        let eve = "2026-10-24T12:00";
        check("30 2 * * *", berlin, eve, &["25 02:30 +02:00", "26 02:30 +01:00"]);
        check("*/30 2 * * *", berlin, eve, &["25 02:00 +02:00", "25 02:30 +02:00", "26 02:00 +01:00"]);
        check("0 3 * * *", berlin, eve, &["25 03:00 +01:00", "26 03:00 +01:00"]);
        // From within the second coming.
        check("*/30 2 * * *", berlin, "2026-10-25T01:10", &["26 02:00 +01:00"]);
        let new_york = "America/New_York"; // 1 November 2026, 02:00
        check("30 1 * * *", new_york, "2026-10-31T20:00", &["01 01:30 -04:00", "02 01:30 -05:00"]);
        let lord_howe = "Australia/Lord_Howe"; // 5 April 2026, 02:00 +11:00 is 01:30 +10:30
        check("45 1 * * *", lord_howe, "2026-04-04T02:00", &["05 01:45 +11:00", "06 01:45 +10:30"]);
        check("45 1 * * *", lord_howe, "2026-04-04T15:05", &["06 01:45 +10:30"]);
    }

    #[test]
    fn a_rhythm_goes_on_through_changes_of_the_clocks() {
        let berlin = "Europe/Berlin";
        check("30 * * * *", berlin, "2026-03-29T00:00", &["29 01:30 +01:00", "29 03:30 +02:00"]);
        let autumn = &["25 02:00 +02:00", "25 02:30 +02:00", "25 02:00 +01:00", "25 02:30 +01:00"];
        check("*/30 * * * *", berlin, "2026-10-24T23:59", autumn);
        check("0 * * * *", berlin, "2026-10-25T00:50", &["25 02:00 +01:00", "25 03:00 +01:00"]);
        check("@hourly", "UTC", "2026-10-25T00:50", &["25 01:00 +00:00"]);
        let lord_howe = "Australia/Lord_Howe";
        check("15 * * * *", lord_howe, "2026-10-03T15:00", &["04 03:15 +11:00"]);
        check("*/15 * * * *", lord_howe, "2026-10-03T15:20", &["04 02:30 +11:00"]);
        check("45 * * * *", lord_howe, "2026-04-04T14:30", &["05 01:45 +11:00", "05 01:45 +10:30"]);
    }

    #[test]
    fn days_that_never_come_are_refused() {
        let check = |fields: &str, why: &str| {
            let error = Cron::parse(fields).unwrap_err();
            assert!(error.contains(why), "{fields}: {error}");
        };
        check("0 0 30 2 *", "no such day");
        check("0 0 31 4,6 *", "no such day");
        check("0 0 * *", "found 4");
        assert_eq!(moments("0 0 29 2 *", "Europe/Berlin", "2097-01-01T00:00", 1), ["29 00:00 +01:00"]);
    }

    #[test]
    fn beyond_the_calendar_there_is_nothing() {
        for fields in ["0 0 * * *", "* * * * *"] {
            assert_eq!(cron(fields).after(Timestamp::MAX, &TimeZone::UTC), None);
            assert!(cron(fields).after(Timestamp::MIN, &TimeZone::UTC).is_none_or(|t| t > Timestamp::MIN));
        }
    }

    proptest! {
        #[test]
        fn moments_are_later_whole_minutes_and_none_lies_between(
            fields in prop::sample::select(vec![
                "15 2 * * *", "*/20 * * * *", "30 1,2,3 * * *", "0 0 * * mon", "*/7 0-5 * * *", "0 */6 1 * *",
            ]),
            zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]),
            secs in 1_700_000_000i64..1_900_000_000, nanos in 0i32..1_000_000_000, share in 0.0..1.0f64,
        ) {
            let (cron, zone) = (cron(fields), TimeZone::get(zone).unwrap());
            let then = Timestamp::new(secs, nanos).unwrap();
            let next = cron.after(then, &zone).unwrap();
            prop_assert!(next > then);
            prop_assert_eq!((next.as_second() % 60, next.subsec_nanosecond()), (0, 0));
            let gap = next.as_second() - then.as_second();
            let between = Timestamp::new(secs + (gap as f64 * share) as i64, 0).unwrap().max(then);
            if between < next {
                prop_assert_eq!(cron.after(between, &zone), Some(next));
            }
        }
    }
}
