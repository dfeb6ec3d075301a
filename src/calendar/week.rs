//! Times of the week, `mon-fri 22:00-06:00`: parsed and printed alike in windows and timetables.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::wall::first_instant;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY_MINUTES: u16 = 1_440;
const HORIZON_DAYS: i64 = 15;

/// How far ahead times of the week are laid out: what does not change until then does not change at all. A
/// time comes once a week unless a gap of the clocks swallows it, and no two in a row do.
pub const HORIZON: SignedDuration = SignedDuration::from_hours(24 * HORIZON_DAYS);

/// A time of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// The days on which it begins; Monday first.
    pub days: [bool; 7],
    /// The minute of the day at which it begins, 0 to 1,439.
    pub from: u16,
    /// The minute at which it ends, not included, up to 1,440; not after `from` means on the next day.
    pub until: u16,
}

impl Span {
    /// When it begins and ends around `now`: the time that contains `now`, and all that begin until
    /// [`HORIZON`] after it, in order. One that falls into a gap of the clocks altogether is left out.
    pub fn around(&self, zone: &TimeZone, now: Timestamp) -> Vec<(Timestamp, Timestamp)> {
        let today = zone.to_datetime(now).date();
        // It may have begun the day before, and a zone may jump over a whole day.
        let days = (-2..=HORIZON_DAYS + 2).filter_map(|days| today.checked_add(days.days()).ok());
        days.filter_map(|day| self.on(zone, day)).collect()
    }

    fn on(&self, zone: &TimeZone, day: Date) -> Option<(Timestamp, Timestamp)> {
        if !self.days[usize::try_from(day.weekday().to_monday_zero_offset()).ok()?] {
            return None;
        }
        let next_day = if self.until > self.from { 0 } else { DAY_MINUTES };
        let begin = first_instant(zone, minute_of(day, self.from)?)?;
        let end = first_instant(zone, minute_of(day, self.until + next_day)?)?;
        (begin < end).then_some((begin, end))
    }
}

fn minute_of(day: Date, minute: u16) -> Option<DateTime> {
    day.at(0, 0, 0, 0).checked_add(SignedDuration::from_mins(i64::from(minute))).ok()
}

/// Why a text is no time of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a time of the week; for example \"mon-fri 22:00-06:00\"")]
pub struct BadSpan;

impl FromStr for Span {
    type Err = BadSpan;

    fn from_str(text: &str) -> Result<Self, BadSpan> {
        parse(text).ok_or(BadSpan)
    }
}

fn parse(text: &str) -> Option<Span> {
    let mut words = text.split_whitespace();
    let mut span = Span { days: [true; 7], from: 0, until: DAY_MINUTES };
    let mut next = words.next()?;
    if !next.starts_with(|c: char| c.is_ascii_digit()) {
        span.days = parse_days(next)?;
        let Some(hours) = words.next() else { return Some(span) };
        next = hours;
    }
    let (from, until) = next.split_once('-')?;
    (span.from, span.until) = (parse_minute(from)?, parse_minute(until)?);
    let is_sound = span.from < DAY_MINUTES && span.from != span.until && words.next().is_none();
    is_sound.then_some(span)
}

/// `mon-fri`, `sat,sun`, `fri-mon` or `daily`.
fn parse_days(text: &str) -> Option<[bool; 7]> {
    let text = text.to_ascii_lowercase();
    if text == "daily" {
        return Some([true; 7]);
    }
    let day = |name: &str| DAYS.iter().position(|d| *d == name);
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let length = (last + 7 - first) % 7;
        (first..=first + length).for_each(|d| days[d % 7] = true);
    }
    Some(days)
}

/// The minute of the day of `08:00`; `24:00` is its end.
fn parse_minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    if hours.len() > 2 || minutes.len() != 2 || !text.bytes().all(|b| b.is_ascii_digit() || b == b':') {
        return None;
    }
    let minute = hours.parse::<u16>().ok()? * 60 + minutes.parse::<u16>().ok().filter(|m| *m < 60)?;
    (minute <= DAY_MINUTES).then_some(minute)
}

/// `mon,tue 08:00-18:00`; the days only when they are not all, the hours always.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days: Vec<&str> = DAYS.iter().zip(self.days).filter(|(_, on)| *on).map(|(day, _)| *day).collect();
        if days.len() < 7 {
            write!(f, "{} ", days.join(","))?;
        }
        let [from, until] = [self.from, self.until];
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, until / 60, until % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_week() {
        let check = |text: &str, days: &str, from: u16, until: u16| {
            let span = text.parse::<Span>().unwrap_or_else(|_| panic!("{text}"));
            let marks: String = span.days.iter().map(|on| if *on { 'x' } else { '.' }).collect();
            assert_eq!((marks.as_str(), span.from, span.until), (days, from, until), "{text}");
            assert_eq!(span.to_string().parse(), Ok(span), "{text}");
        };
        check("mon-fri 08:00-18:00", "xxxxx..", 480, 1_080);
        check("sat,sun", ".....xx", 0, 1_440);
        check("fri-mon 8:30-24:00", "x...xxx", 510, 1_440);
        check("22:00-06:00", "xxxxxxx", 1_320, 360);
        check("daily 00:00-12:00", "xxxxxxx", 0, 720);
        check("Mon,Wed-Thu 1:00-2:00", "x.xx...", 60, 120);
        check("22:00-00:00", "xxxxxxx", 1_320, 0);
    }

    #[test]
    fn what_is_no_time_of_the_week() {
        let bad = ["", "mo-fr 08:00-18:00", "08:00", "8-18", "25:00-26:00", "08:60-09:00", "08:00-08:00"];
        for text in bad.into_iter().chain(["mon 08:00-18:00 x", "mon-fri-sun", "24:00-01:00", "+1:00-2:00"]) {
            assert_eq!(text.parse::<Span>(), Err(BadSpan), "{text}");
        }
    }

    #[test]
    fn on_days_when_the_clocks_change() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let check = |text: &str, day: &str, expected: &str| {
            let found = text.parse::<Span>().unwrap().on(&zone, day.parse().unwrap());
            let found = found.map(|(begin, end)| format!("{begin} {end}"));
            assert_eq!(found.as_deref().unwrap_or("none"), expected, "{text} {day}");
        };
        check("22:00-06:00", "2026-03-28", "2026-03-28T21:00:00Z 2026-03-29T04:00:00Z"); // 7 h
        check("22:00-06:00", "2026-10-24", "2026-10-24T20:00:00Z 2026-10-25T05:00:00Z"); // 9 h
        check("01:00-02:30", "2026-03-29", "2026-03-29T00:00:00Z 2026-03-29T01:00:00Z");
        check("02:15-02:45", "2026-03-29", "none");
        check("02:30-03:30", "2026-10-25", "2026-10-25T00:30:00Z 2026-10-25T02:30:00Z");
        check("sat", "2026-10-25", "none");
        check("sun", "2026-10-25", "2026-10-24T22:00:00Z 2026-10-25T23:00:00Z");
    }
}
