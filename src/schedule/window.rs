//! The times of the week in which rounds may run.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::calendar::{HORIZON, Span, time, timestamp};
use crate::entry::Time;

/// Times of the week in a time zone. Times that touch or overlap are one.
#[derive(Debug, Clone)]
pub struct Window {
    spans: Vec<Span>,
    zone: TimeZone,
}

impl Window {
    /// These times, meant in `zone`; without any it is always open.
    pub fn new(spans: Vec<Span>, zone: TimeZone) -> Self {
        Self { spans, zone }
    }

    /// Whether rounds may run now.
    pub fn is_open(&self, now: Time) -> bool {
        self.is_open_at(timestamp(now))
    }

    /// When the time that contains `now` ends; `None` when it is not open, or open for good.
    pub fn closes_at(&self, now: Time) -> Option<Time> {
        self.closing(timestamp(now)).map(time)
    }

    /// The first moment from `now` on, maybe `now` itself, at which it is open; `None`: it never is.
    pub fn opens_at(&self, now: Time) -> Option<Time> {
        self.opening(timestamp(now)).map(time)
    }

    pub(super) fn is_open_at(&self, now: Timestamp) -> bool {
        self.opening(now) == Some(now)
    }

    pub(super) fn closing(&self, now: Timestamp) -> Option<Timestamp> {
        let mut end = None;
        for (begin, until) in self.times(now) {
            let reached = end.unwrap_or(now);
            if begin <= reached && until > reached {
                end = Some(until);
            }
        }
        let horizon = now.saturating_add(HORIZON).unwrap_or(Timestamp::MAX);
        end.filter(|end| *end < horizon)
    }

    pub(super) fn opening(&self, now: Timestamp) -> Option<Timestamp> {
        if self.spans.is_empty() {
            return Some(now);
        }
        let first = self.times(now).into_iter().find(|(_, until)| *until > now);
        first.map(|(begin, _)| begin.max(now))
    }

    /// The times around `now` by their beginning.
    fn times(&self, now: Timestamp) -> Vec<(Timestamp, Timestamp)> {
        let mut times: Vec<_> = self.spans.iter().flat_map(|span| span.around(&self.zone, now)).collect();
        times.sort_unstable();
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn window(spans: &[&str], zone: &str) -> Window {
        let spans = spans.iter().map(|span| span.parse().unwrap()).collect();
        Window::new(spans, TimeZone::get(zone).unwrap())
    }

    fn shown(moment: Option<Time>, zone: &TimeZone) -> String {
        let shown = |t| timestamp(t).to_zoned(zone.clone()).strftime("%a %d %H:%M %:z").to_string();
        moment.map_or("never".into(), shown)
    }

    fn check(window: &Window, now: &str, opens: &str, closes: &str) {
        let now: Time = time(now.parse().unwrap());
        assert_eq!(window.is_open(now), opens == "now", "{now:?}");
        let opens_at = window.opens_at(now).filter(|at| *at != now);
        assert_eq!(shown(opens_at, &window.zone), if opens == "now" { "never" } else { opens }, "{now:?}");
        assert_eq!(shown(window.closes_at(now), &window.zone), closes, "{now:?}");
    }

    #[test]
    fn nights_of_workdays() {
        let nights = window(&["mon-fri 22:00-06:00"], "Europe/Berlin"); // 16 November 2026 is a Monday
        check(&nights, "2026-11-16T05:00:00+01", "Mon 16 22:00 +01:00", "never");
        check(&nights, "2026-11-16T22:00:00+01", "now", "Tue 17 06:00 +01:00");
        check(&nights, "2026-11-17T05:59:59+01", "now", "Tue 17 06:00 +01:00");
        check(&nights, "2026-11-17T06:00:00+01", "Tue 17 22:00 +01:00", "never");
        check(&nights, "2026-11-21T05:00:00+01", "now", "Sat 21 06:00 +01:00");
        check(&nights, "2026-11-21T23:00:00+01", "Mon 23 22:00 +01:00", "never");
    }

    #[test]
    fn times_that_touch_are_one_and_some_never_end() {
        let both = window(&["sat,sun", "mon-fri 18:00-24:00", "mon-sat 23:00-06:00"], "UTC");
        check(&both, "2026-11-20T19:00:00Z", "now", "Mon 23 00:00 +00:00");
        check(&both, "2026-11-18T19:00:00Z", "now", "Thu 19 06:00 +00:00");
        check(&window(&[], "UTC"), "2026-11-18T19:00:00Z", "now", "never");
        check(&window(&["daily"], "Europe/Berlin"), "2026-10-20T19:00:00Z", "now", "never");
        check(
            &window(&["06:00-18:00", "18:00-06:00"], "Europe/Berlin"),
            "2026-10-20T19:00:00Z",
            "now",
            "never",
        );
    }

    #[test]
    fn nights_in_which_the_clocks_change() {
        let nights = window(&["22:00-02:30"], "Europe/Berlin");
        check(&nights, "2026-03-29T00:59:59Z", "now", "Sun 29 03:00 +02:00");
        check(&nights, "2026-03-29T01:00:00Z", "Sun 29 22:00 +02:00", "never");
        // It closes at the first 02:30, and does not open again for the second.
        check(&nights, "2026-10-25T00:29:00Z", "now", "Sun 25 02:30 +02:00");
        check(&nights, "2026-10-25T01:10:00Z", "Sun 25 22:00 +01:00", "never");
        let dawn = window(&["02:15-04:00"], "Australia/Lord_Howe");
        check(&dawn, "2026-10-03T15:20:00Z", "Sun 04 02:30 +11:00", "never");
        let rare = window(&["sun 02:15-02:45"], "America/New_York");
        check(&rare, "2026-03-07T12:00:00Z", "Sun 15 02:15 -04:00", "never");
    }

    proptest! {
        #[test]
        fn what_is_told_stays_true_until_it_is_reached(secs in 1_700_000_000i64..1_900_000_000, share in 0.0..1.0f64) {
            let window = window(&["mon-fri 22:00-06:00", "sun 01:30-02:30", "sat 05:00-07:00"], "Europe/Berlin");
            let now = Time::from_secs(secs);
            let is_open = window.is_open(now);
            prop_assert_eq!(window.closes_at(now).is_some(), is_open);
            let change = if is_open { window.closes_at(now) } else { window.opens_at(now) }.unwrap();
            prop_assert!(change > now);
            prop_assert_eq!(window.is_open(change), !is_open);
            let between = Time::from_secs(secs + ((change.secs - secs) as f64 * share) as i64);
            prop_assert_eq!(window.is_open(between), is_open);
        }
    }
}
