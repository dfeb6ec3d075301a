//! Moments for people, in the system's time zone, and for programs, in UTC.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::entry::Time;

/// `2026-03-01 02:15:00` in `zone`; for a moment no calendar has, its seconds since 1970.
pub fn in_zone(time: Time, zone: &TimeZone) -> String {
    match timestamp(time) {
        Some(moment) => moment.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => format!("{} s", time.secs),
    }
}

/// `2026-03-01T01:15:00Z`, whole seconds; `None` for a moment no calendar has.
pub fn rfc3339(time: Time) -> Option<String> {
    timestamp(time).map(|moment| moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

fn timestamp(time: Time) -> Option<Timestamp> {
    Timestamp::from_second(time.secs).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_in_both_forms() {
        let check = |secs, people: &str, programs: Option<&str>| {
            let time = Time { secs, nanos: 999_999_999 };
            let zone = TimeZone::fixed(jiff::tz::offset(2));
            assert_eq!(in_zone(time, &zone), people);
            assert_eq!(rfc3339(time).as_deref(), programs);
        };
        check(1_772_331_300, "2026-03-01 04:15:00", Some("2026-03-01T02:15:00Z"));
        check(-1, "1970-01-01 01:59:59", Some("1969-12-31T23:59:59Z"));
        check(i64::MAX, "9223372036854775807 s", None);
    }
}
