//! The bandwidth timetable at a moment: which rate holds now, and when it will be another. Pure.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::calendar::{HORIZON, time, timestamp};
use crate::config::model::Bandwidth;
use crate::entry::Time;
use crate::units::Rate;

/// Rates by the time of the week, in a time zone.
#[derive(Debug, Clone)]
pub struct Timetable {
    bandwidth: Bandwidth,
    zone: TimeZone,
}

/// A rate and how long it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// The rate.
    pub rate: Rate,
    /// When another one begins; `None`: none does.
    pub until: Option<Time>,
}

impl Timetable {
    /// The rates of a job, their times meant in `zone`.
    pub fn new(bandwidth: Bandwidth, zone: TimeZone) -> Self {
        Self { bandwidth, zone }
    }

    /// The rate that holds at `now`. `until` is to be trusted as long as the clock runs evenly: after a jump
    /// ask again.
    pub fn at(&self, now: Time) -> Holding {
        let now = timestamp(now);
        let slots = self.slots(now);
        let rate = self.rate(&slots, now);
        let mut edges: Vec<Timestamp> = slots.iter().flat_map(|slot| [slot.begin, slot.end]).collect();
        let horizon = now.saturating_add(HORIZON).unwrap_or(Timestamp::MAX);
        edges.retain(|edge| *edge > now && *edge <= horizon);
        edges.sort_unstable();
        let until = edges.into_iter().find(|edge| self.rate(&slots, *edge) != rate);
        Holding { rate, until: until.map(time) }
    }

    fn slots(&self, now: Timestamp) -> Vec<Dated> {
        let dated = |slot: &crate::config::model::Slot| {
            let rate = slot.rate;
            let times = slot.span.around(&self.zone, now).into_iter();
            times.map(move |(begin, end)| Dated { begin, end, rate })
        };
        self.bandwidth.slots.iter().flat_map(dated).collect()
    }

    /// The first slot of the configuration that contains the moment counts.
    fn rate(&self, slots: &[Dated], at: Timestamp) -> Rate {
        let slot = slots.iter().find(|slot| slot.begin <= at && at < slot.end);
        slot.map_or(self.bandwidth.otherwise, |slot| slot.rate)
    }
}

/// A slot on a certain day.
struct Dated {
    begin: Timestamp,
    end: Timestamp,
    rate: Rate,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Slot;
    use proptest::prelude::*;

    fn timetable(slots: &[(&str, &str)], otherwise: &str, zone: &str) -> Timetable {
        let slot =
            |(span, rate): &(&str, &str)| Slot { span: span.parse().unwrap(), rate: rate.parse().unwrap() };
        let slots = slots.iter().map(slot).collect();
        let bandwidth = Bandwidth { slots, otherwise: otherwise.parse().unwrap() };
        Timetable::new(bandwidth, TimeZone::get(zone).unwrap())
    }

    fn check(table: &Timetable, now: &str, rate: &str, until: &str) {
        let holding = table.at(time(now.parse().unwrap()));
        let shown = holding.until.map(|t| timestamp(t).to_zoned(table.zone.clone()));
        let shown = shown.map_or("never".into(), |t| t.strftime("%a %H:%M %:z").to_string());
        assert_eq!((holding.rate.to_string().as_str(), shown.as_str()), (rate, until), "{now}");
    }

    #[test]
    fn the_first_slot_that_contains_the_moment_counts() {
        let slots = [("mon-fri 08:00-18:00", "2MiB/s"), ("mon-fri 22:00-06:00", "9MiB/s"), ("fri", "1MiB/s")];
        let table = timetable(&slots, "5MiB/s", "Europe/Berlin"); // 16 November 2026 is a Monday
        check(&table, "2026-11-16T07:59:59+01", "5MiB/s", "Mon 08:00 +01:00");
        check(&table, "2026-11-16T08:00:00+01", "2MiB/s", "Mon 18:00 +01:00");
        check(&table, "2026-11-16T18:00:00+01", "5MiB/s", "Mon 22:00 +01:00");
        check(&table, "2026-11-16T23:00:00+01", "9MiB/s", "Tue 06:00 +01:00");
        check(&table, "2026-11-20T00:30:00+01", "9MiB/s", "Fri 06:00 +01:00");
        check(&table, "2026-11-20T06:00:00+01", "1MiB/s", "Fri 08:00 +01:00");
        check(&table, "2026-11-20T23:00:00+01", "9MiB/s", "Sat 06:00 +01:00");
        check(&table, "2026-11-21T23:00:00+01", "5MiB/s", "Mon 08:00 +01:00");
    }

    #[test]
    fn slots_that_say_the_same_are_one() {
        let table = timetable(&[("00:00-12:00", "2MiB/s"), ("12:00-24:00", "2MiB/s")], "2MiB/s", "UTC");
        check(&table, "2026-11-16T08:00:00Z", "2MiB/s", "never");
        let table = timetable(&[("sat", "2MiB/s"), ("sun", "2MiB/s")], "unlimited", "UTC");
        check(&table, "2026-11-21T08:00:00Z", "2MiB/s", "Mon 00:00 +00:00");
        let table =
            timetable(&[("00:00-12:00", "2MiB/s"), ("12:00-24:00", "2MiB/s")], "1MB/s", "Europe/Berlin");
        check(&table, "2026-10-20T08:00:00Z", "2MiB/s", "never");
        check(&timetable(&[], "1MB/s", "UTC"), "2026-11-16T08:00:00Z", "1MB/s", "never");
    }

    #[test]
    fn local_time_is_what_counts_when_the_clocks_change() {
        let slots = [("02:00-02:45", "1MiB/s"), ("08:00-18:00", "2MiB/s")];
        let berlin = timetable(&slots, "unlimited", "Europe/Berlin");
        check(&berlin, "2026-03-28T20:00:00+01", "unlimited", "Sun 08:00 +02:00");
        check(&berlin, "2026-10-24T20:00:00+02", "unlimited", "Sun 02:00 +02:00");
        check(&berlin, "2026-10-25T02:45:00+02", "unlimited", "Sun 08:00 +01:00");
        let rare = timetable(&[("sun 02:15-02:45", "1MiB/s")], "unlimited", "Europe/Berlin");
        check(&rare, "2026-03-22T02:45:00+01", "unlimited", "Sun 02:15 +02:00"); // 5 April, not 29 March
        let lord_howe = timetable(&slots, "unlimited", "Australia/Lord_Howe");
        check(&lord_howe, "2026-10-04T01:59:00+10:30", "unlimited", "Sun 02:30 +11:00");
        check(&lord_howe, "2026-10-04T02:30:00+11:00", "1MiB/s", "Sun 02:45 +11:00");
        let new_york = timetable(&slots, "unlimited", "America/New_York");
        check(&new_york, "2026-11-01T07:59:00-05", "unlimited", "Sun 08:00 -05:00");
    }

    proptest! {
        #[test]
        fn a_rate_holds_until_the_moment_that_is_told(secs in 1_700_000_000i64..1_900_000_000, share in 0.0..1.0f64) {
            let slots = [("mon-fri 08:00-18:00", "2MiB/s"), ("sun 01:30-02:30", "1MiB/s"), ("22:00-06:00", "9MiB/s")];
            let table = timetable(&slots, "unlimited", "Europe/Berlin");
            let now = Time::from_secs(secs);
            let holding = table.at(now);
            let until = holding.until.unwrap();
            prop_assert!(until > now);
            prop_assert_ne!(table.at(until).rate, holding.rate);
            let between = Time::from_secs(secs + ((until.secs - secs) as f64 * share) as i64);
            prop_assert_eq!(table.at(between), holding);
        }
    }
}
