//! Sizes, rates, durations and shares as people write them: parsed and printed alike in config, flags
//! and reports.
//!
//! `kB MB GB TB` count in thousands, `KiB MiB GiB TiB` in 1,024s. A bare `K M G T` counts in 1,024s, as
//! `rsync --bwlimit`, `dd` and `curl --limit-rate` do. What is printed by `Display` can be read back and
//! means exactly the same; the `human` forms are rounded and for reading only.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

const SECOND_NANOS: u64 = 1_000_000_000;

/// No duration is longer: about a hundred years, so that adding one to a date cannot overflow.
pub const MAX_DURATION: Duration = Duration::from_secs(36_500 * 86_400);

/// Why a text is not the quantity it should be. Says what was wrong and gives an example.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a {quantity}: {why}; for example {example}")]
pub struct BadQuantity {
    text: String,
    quantity: &'static str,
    why: String,
    example: &'static str,
}

/// What is being parsed: gives every error of one type its name and example.
#[derive(Clone, Copy)]
struct Reading<'a> {
    text: &'a str,
    quantity: &'static str,
    example: &'static str,
}

impl Reading<'_> {
    fn error(self, why: impl Into<String>) -> BadQuantity {
        let text = crate::path::escape(self.text.as_bytes());
        BadQuantity { text, quantity: self.quantity, why: why.into(), example: self.example }
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// Rounded for people: `1.2 GiB`.
    pub fn human(self) -> String {
        human_bytes(self.0)
    }
}

impl FromStr for ByteSize {
    type Err = BadQuantity;

    fn from_str(text: &str) -> Result<Self, BadQuantity> {
        let reading = Reading { text, quantity: "size", example: "2MiB, 500kB or 1GB" };
        let (number, unit) = split_number(reading, text.trim())?;
        let factor =
            byte_factor(unit).ok_or_else(|| reading.error(format!("there is no unit of size \"{unit}\"")))?;
        scale(reading, number, factor).map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&exact_bytes(self.0))
    }
}

/// A limit on bytes per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Rate {
    /// No limit. Written `unlimited` or `0`.
    #[default]
    Unlimited,
    /// So many bytes in each second.
    BytesPerSecond(NonZeroU64),
}

impl Rate {
    /// The limit in bytes per second; `None` when there is none.
    pub fn bytes_per_second(self) -> Option<NonZeroU64> {
        match self {
            Rate::Unlimited => None,
            Rate::BytesPerSecond(bytes) => Some(bytes),
        }
    }

    /// Rounded for people: `2.0 MiB/s`.
    pub fn human(self) -> String {
        match self {
            Rate::Unlimited => "unlimited".into(),
            Rate::BytesPerSecond(bytes) => format!("{}/s", human_bytes(bytes.get())),
        }
    }
}

impl FromStr for Rate {
    type Err = BadQuantity;

    fn from_str(text: &str) -> Result<Self, BadQuantity> {
        let reading = Reading { text, quantity: "rate", example: "2MiB/s, 50MB/s, 100Mbit/s or unlimited" };
        let trimmed = text.trim();
        if trimmed.eq_ignore_ascii_case("unlimited") || trimmed == "0" {
            return Ok(Self::Unlimited);
        }
        let (number, unit) = split_number(reading, trimmed)?;
        let (factor, divisor) = rate_factor(reading, unit)?;
        let bytes = scale(reading, number, factor)? / divisor;
        let bytes = NonZeroU64::new(bytes).ok_or_else(|| {
            reading.error("it is less than one byte per second; no limit is written \"unlimited\"")
        })?;
        Ok(Self::BytesPerSecond(bytes))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rate::Unlimited => f.write_str("unlimited"),
            Rate::BytesPerSecond(bytes) => write!(f, "{}/s", exact_bytes(bytes.get())),
        }
    }
}

/// A share of a whole, 0 to 100 %, in hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u16);

impl Percent {
    /// A whole number of percent; more than 100 counts as 100.
    pub const fn whole(percent: u8) -> Self {
        Self(if percent > 100 { 10_000 } else { percent as u16 * 100 })
    }

    /// That share of `whole`, rounded down.
    pub fn of(self, whole: u64) -> u64 {
        let part = u128::from(whole) * u128::from(self.0) / 10_000;
        u64::try_from(part).unwrap_or(whole) // never more than the whole
    }

    /// Whether it is nothing at all.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl FromStr for Percent {
    type Err = BadQuantity;

    fn from_str(text: &str) -> Result<Self, BadQuantity> {
        let reading = Reading { text, quantity: "share", example: "10% or 0.5%" };
        let (number, unit) = split_number(reading, text.trim())?;
        let is_zero = number.bytes().all(|b| matches!(b, b'0' | b'.'));
        if unit != "%" && !(unit.is_empty() && is_zero) {
            return Err(reading.error("a share ends with %"));
        }
        let hundredths = scale(reading, number, 100)?;
        u16::try_from(hundredths)
            .ok()
            .filter(|&h| h <= 10_000)
            .map(Self)
            .ok_or_else(|| reading.error("it is more than 100%"))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 100, self.0 % 100);
        if rest == 0 {
            return write!(f, "{whole}%");
        }
        let rest = format!("{rest:02}");
        write!(f, "{whole}.{}%", rest.trim_end_matches('0'))
    }
}

/// Units of duration, longest first; the first spelling is the one we print.
const DURATION_UNITS: [(&[&str], u64); 8] = [
    (&["w", "week", "weeks"], 7 * 86_400 * SECOND_NANOS),
    (&["d", "day", "days"], 86_400 * SECOND_NANOS),
    (&["h", "hour", "hours"], 3_600 * SECOND_NANOS),
    (&["m", "min", "mins", "minute", "minutes"], 60 * SECOND_NANOS),
    (&["s", "sec", "secs", "second", "seconds"], SECOND_NANOS),
    (&["ms"], 1_000_000),
    (&["us"], 1_000),
    (&["ns"], 1),
];

/// Reads `30d`, `1h30m`, `250ms`, `90 seconds` or `0`. A number without a unit is refused: half the
/// tools people know would take seconds and the other half minutes.
pub fn parse_duration(text: &str) -> Result<Duration, BadQuantity> {
    let reading = Reading { text, quantity: "duration", example: "30d, 1h30m, 10m or 250ms" };
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    let mut nanos: u128 = 0;
    let mut longest_allowed = u64::MAX;
    loop {
        let (number, tail) = split_number(reading, rest)?;
        let end = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
        let (unit, after) = tail.split_at(end);
        let unit_nanos = duration_unit(reading, unit)?;
        if unit_nanos >= longest_allowed {
            return Err(reading.error("units go from long to short, each once"));
        }
        longest_allowed = unit_nanos;
        nanos += scale_wide(reading, number, unit_nanos)?;
        rest = after.trim_start();
        if rest.is_empty() {
            break;
        }
    }
    let secs = u64::try_from(nanos / u128::from(SECOND_NANOS)).unwrap_or(u64::MAX);
    let subsec = u32::try_from(nanos % u128::from(SECOND_NANOS)).unwrap_or_default(); // below 10^9
    if secs > MAX_DURATION.as_secs() {
        return Err(reading.error("it is longer than a hundred years"));
    }
    Ok(Duration::new(secs, subsec))
}

fn duration_unit(reading: Reading<'_>, unit: &str) -> Result<u64, BadQuantity> {
    let known = DURATION_UNITS.iter().find(|(spellings, _)| spellings.contains(&unit));
    known.map(|&(_, nanos)| nanos).ok_or_else(|| match unit {
        "" => reading.error("the unit is missing"),
        "mo" | "month" | "months" | "M" | "y" | "year" | "years" => {
            reading.error("months and years differ in length, use d")
        }
        _ => reading.error(format!("there is no unit of time \"{unit}\"")),
    })
}

/// The duration as [`parse_duration`] reads it back, exactly: `1h30m`.
pub fn exact_duration(duration: Duration) -> String {
    let mut nanos = duration.as_nanos();
    let mut text = String::new();
    for (spellings, unit_nanos) in DURATION_UNITS.iter().skip(1) {
        let unit_nanos = u128::from(*unit_nanos);
        if nanos >= unit_nanos {
            text.push_str(&format!("{}{}", nanos / unit_nanos, spellings[0]));
            nanos %= unit_nanos;
        }
    }
    if text.is_empty() { "0".into() } else { text }
}

/// The duration for people, two units at most: `3m 20s`, `2d 4h`, `0.4s`.
pub fn human_duration(duration: Duration) -> String {
    let secs = duration.as_secs();
    let two = |major: u64, major_unit: &str, minor: u64, minor_unit: &str| match minor {
        0 => format!("{major}{major_unit}"),
        _ => format!("{major}{major_unit} {minor}{minor_unit}"),
    };
    match secs {
        0..10 => format!("{}.{}s", secs, duration.subsec_millis() / 100),
        10..60 => format!("{secs}s"),
        60..3_600 => two(secs / 60, "m", secs % 60, "s"),
        3_600..86_400 => two(secs / 3_600, "h", secs % 3_600 / 60, "m"),
        _ => two(secs / 86_400, "d", secs % 86_400 / 3_600, "h"),
    }
}

/// Splits `1.5 GiB` into the number and the unit.
fn split_number<'a>(reading: Reading<'_>, text: &'a str) -> Result<(&'a str, &'a str), BadQuantity> {
    if text.starts_with('-') {
        return Err(reading.error("it is negative"));
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(reading.error("it does not begin with a number"));
    }
    if number.matches('.').count() > 1 || number.ends_with('.') {
        return Err(reading.error(format!("\"{number}\" is not a number")));
    }
    Ok((number, unit.trim_start()))
}

fn scale(reading: Reading<'_>, number: &str, factor: u64) -> Result<u64, BadQuantity> {
    let scaled = scale_wide(reading, number, factor)?;
    u64::try_from(scaled).map_err(|_| reading.error("it is too large"))
}

/// `number` times `factor` in whole numbers, what is beyond the point rounded down.
fn scale_wide(reading: Reading<'_>, number: &str, factor: u64) -> Result<u128, BadQuantity> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = whole.parse().map_err(|_| reading.error("it is too large"))?;
    let fraction = &fraction[..fraction.len().min(18)]; // finer than any unit can tell
    let digits: u128 = if fraction.is_empty() { 0 } else { fraction.parse().unwrap_or_default() };
    let tenths = 10u128.pow(fraction.len().try_into().unwrap_or_default());
    Ok(u128::from(whole) * u128::from(factor) + digits * u128::from(factor) / tenths)
}

/// Bytes in one unit of size; upper and lower case alike.
fn byte_factor(unit: &str) -> Option<u64> {
    let unit = unit.to_ascii_lowercase();
    let (prefix, base): (&str, u64) = match unit.as_str() {
        "" | "b" | "byte" | "bytes" => return Some(1),
        "k" | "m" | "g" | "t" | "p" => (&unit, 1_024),
        _ => match unit.strip_suffix("ib") {
            Some(prefix) => (prefix, 1_024),
            None => (unit.strip_suffix('b')?, 1_000),
        },
    };
    let power = ["k", "m", "g", "t", "p"].iter().position(|p| *p == prefix)?;
    base.checked_pow(u32::try_from(power).ok()? + 1)
}

/// Factor and divisor that turn a number in `unit` into bytes per second.
fn rate_factor(reading: Reading<'_>, unit: &str) -> Result<(u64, u64), BadQuantity> {
    let size = unit.strip_suffix("/s").or_else(|| unit.strip_suffix("/sec")).map(str::trim_end);
    let unknown = || reading.error(format!("there is no unit of rate \"{unit}\""));
    let size = match (size, unit) {
        (Some(size), _) => size,
        (None, "") => return Err(reading.error("the unit is missing")),
        (None, "K" | "k" | "M" | "m" | "G" | "g" | "T" | "t") => unit,
        (None, _) if unit.to_ascii_lowercase().ends_with("bps") => return Err(bits_or_bytes(reading)),
        (None, _) if byte_factor(unit).is_some() => return Err(reading.error("it does not end with /s")),
        (None, _) => return Err(unknown()),
    };
    if let Some(prefix) = size.strip_suffix("bit") {
        let factor = byte_factor(&format!("{prefix}b")).ok_or_else(unknown)?;
        return Ok((factor, 8));
    }
    if size.ends_with('b') && !size.ends_with("ib") {
        return Err(bits_or_bytes(reading));
    }
    byte_factor(size).map(|factor| (factor, 1)).ok_or_else(unknown)
}

fn bits_or_bytes(reading: Reading<'_>) -> BadQuantity {
    reading.error("it may mean bits or bytes, write bit/s or B/s")
}

/// The largest unit that divides evenly, the 1,024s first.
fn exact_bytes(bytes: u64) -> String {
    const UNITS: [&str; 9] = ["PiB", "TiB", "GiB", "MiB", "TB", "GB", "MB", "KiB", "kB"];
    let even = |unit: &&&str| byte_factor(unit).is_some_and(|f| bytes >= f && bytes.is_multiple_of(f));
    match UNITS.iter().find(even).and_then(|unit| Some((unit, byte_factor(unit)?))) {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10 / 1_024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1_024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_as_people_write_them() {
        let check = |text: &str, bytes: u64| assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        check("0", 0);
        check("17", 17);
        check("17 B", 17);
        check("2MiB", 2 << 20);
        check("2 mib", 2 << 20);
        check("500 kB", 500_000);
        check("500kb", 500_000);
        check("1GB", 1_000_000_000);
        check("1.5GiB", 3 << 29);
        check("4k", 4_096);
        check("50M", 50 << 20);
        check(" 0.5 KiB ", 512);
        check("16383PiB", 16_383 << 50);
    }

    #[test]
    fn what_is_no_size_is_refused_with_the_reason() {
        let check = |text: &str, why: &str| {
            let error = text.parse::<ByteSize>().unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("for example 2MiB"), "{text}: {error}");
        };
        check("", "begin with a number");
        check("big", "begin with a number");
        check("-1", "negative");
        check("1.2.3MB", "not a number");
        check("1.MB", "not a number");
        check("5 parsecs", "no unit of size \"parsecs\"");
        check("5ib", "no unit of size \"ib\"");
        check("1,5GB", "no unit of size \",5GB\"");
        check("16384PiB", "too large");
        check("99999999999999999999", "too large");
        check("1\u{1b}[2J", "\\x1b");
    }

    #[test]
    fn rates_as_people_write_them() {
        let check = |text: &str, bytes: u64| {
            let rate = text.parse::<Rate>().unwrap();
            assert_eq!(rate.bytes_per_second().map_or(0, NonZeroU64::get), bytes, "{text}");
        };
        check("unlimited", 0);
        check("0", 0);
        check("2MiB/s", 2 << 20);
        check("50MB/s", 50_000_000);
        check("50 MB/s", 50_000_000);
        check("50MB /sec", 50_000_000);
        check("50M", 50 << 20);
        check("50M/s", 50 << 20);
        check("100Mbit/s", 12_500_000);
        check("300 B/s", 300);
    }

    #[test]
    fn what_is_no_rate_is_refused_with_the_reason() {
        let check = |text: &str, why: &str| {
            let error = text.parse::<Rate>().unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("for example 2MiB/s"), "{text}: {error}");
        };
        check("500", "unit is missing");
        check("50MB", "does not end with /s");
        check("50Mb/s", "bits or bytes");
        check("50mbps", "bits or bytes");
        check("50MB/h", "no unit of rate");
        check("4bit/min", "no unit of rate");
        check("0.5B/s", "less than one byte");
        check("0MB/s", "less than one byte");
        check("fast", "begin with a number");
        check("99999PB/s", "too large");
    }

    #[test]
    fn durations_as_people_write_them() {
        let check = |text: &str, millis: u64| {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        };
        check("0", 0);
        check("0s", 0);
        check("250ms", 250);
        check("2s", 2_000);
        check("10m", 600_000);
        check("10 min", 600_000);
        check("1h30m", 5_400_000);
        check("1h 30m", 5_400_000);
        check("1.5h", 5_400_000);
        check("30d", 2_592_000_000);
        check("2w", 1_209_600_000);
        check("2 weeks", 1_209_600_000);
    }

    #[test]
    fn what_is_no_duration_is_refused_with_the_reason() {
        let check = |text: &str, why: &str| {
            let error = parse_duration(text).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("for example 30d"), "{text}: {error}");
        };
        check("", "begin with a number");
        check("10", "unit is missing");
        check("1h30", "unit is missing");
        check("soon", "begin with a number");
        check("-5m", "negative");
        check("3 moons", "no unit of time \"moons\"");
        check("6 months", "differ in length");
        check("30m1h", "long to short");
        check("1h1h", "long to short");
        check("1h,30m", "begin with a number");
        check("101 years", "differ in length");
        check("40000d", "longer than a hundred years");
        check("99999999999999999999s", "too large");
    }

    #[test]
    fn shares() {
        let check = |text: &str, of_ten_thousand: u64| {
            assert_eq!(text.parse::<Percent>().unwrap().of(10_000), of_ten_thousand, "{text}");
        };
        check("10%", 1_000);
        check("0.5 %", 50);
        check("100%", 10_000);
        check("0", 0);
        let refused = |text: &str| text.parse::<Percent>().unwrap_err().to_string();
        assert!(refused("10").contains("ends with %"));
        assert!(refused("101%").contains("more than 100%"));
        assert!(refused("many").contains("for example 10%"));
        assert_eq!(Percent::whole(10).of(u64::MAX), u64::MAX / 10);
        assert_eq!("12.50%".parse::<Percent>().unwrap().to_string(), "12.5%");
    }

    #[test]
    fn for_people() {
        let bytes = |n: u64| ByteSize(n).human();
        assert_eq!([bytes(0), bytes(1_023), bytes(1_024)], ["0 B", "1023 B", "1.0 KiB"]);
        assert_eq!([bytes(1_288_490_189), bytes(u64::MAX)], ["1.2 GiB", "15.9 EiB"]);
        assert_eq!("2MiB/s".parse::<Rate>().unwrap().human(), "2.0 MiB/s");
        let time = |millis| human_duration(Duration::from_millis(millis));
        assert_eq!([time(0), time(450), time(59_999)], ["0.0s", "0.4s", "59s"]);
        assert_eq!([time(200_000), time(7_200_000), time(187_200_000)], ["3m 20s", "2h", "2d 4h"]);
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back_as_the_same(n in any::<u64>(), hundredths in 0u16..=10_000, shift in 0u32..60) {
            let n = n >> shift;
            prop_assert_eq!(ByteSize(n).to_string().parse(), Ok(ByteSize(n)));
            let rate = NonZeroU64::new(n).map_or(Rate::Unlimited, Rate::BytesPerSecond);
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
            let duration = Duration::from_nanos(n);
            if duration <= MAX_DURATION {
                prop_assert_eq!(parse_duration(&exact_duration(duration)), Ok(duration));
            }
            let share = Percent(hundredths);
            prop_assert_eq!(share.to_string().parse(), Ok(share));
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC{0,20}|[0-9.]{0,40}[a-zA-Z/%]{0,5}") {
            let _ = (text.parse::<ByteSize>(), text.parse::<Rate>(), text.parse::<Percent>(), parse_duration(&text));
        }
    }
}
