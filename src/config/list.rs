//! Values of more than one piece: commands as lists of words, bandwidth by the time of the week.

use schemars::{Schema, SchemaGenerator, json_schema};

use super::leaf::Leaf;
use super::model::{Bandwidth, Slot};
use super::node::{Key, Node, Value};
use super::read::{Read, Reader};
use crate::path::escape;
use crate::units::Rate;

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Argv(pub Vec<String>);

impl Read for Argv {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if let Value::Scalar(_) | Value::Null = node.value {
            reader.mistake_hint(node.at, "a command is a list of its words", "write [pg_dump.sh, --all]");
            return None;
        }
        let words: Vec<crate::config::read::Spot<String>> = Read::read(node, reader)?;
        if words.is_empty() {
            reader.mistake(node.at, "the command is missing");
            return None;
        }
        Some(Self(words.into_iter().map(|word| word.value).collect()))
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "array", "items": {"type": "string"}, "minItems": 1})
    }
}

const ELSE: &str = "else";
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Read for Bandwidth {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if !matches!(node.value, Value::Map(_)) {
            let rate = Rate::read(node, reader)?;
            return Some(Self { slots: Vec::new(), otherwise: rate });
        }
        let mut bandwidth = Self::default();
        for (key, value) in reader.entries(node)? {
            let rate = reader.field::<Rate>(&key.text, value);
            let rate = rate.map_or(Rate::Unlimited, |spot| spot.value);
            if key.text == ELSE {
                bandwidth.otherwise = rate;
            } else if let Some(slot) = slot(key, rate, reader) {
                bandwidth.slots.push(slot);
            }
        }
        Some(bandwidth)
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        let rate = <Rate as Leaf>::schema();
        json_schema!({"anyOf": [rate, {"type": "object", "additionalProperties": rate}]})
    }
}

fn slot(key: &Key, rate: Rate, reader: &mut Reader<'_>) -> Option<Slot> {
    let parsed = parse_slot(&key.text, rate);
    if parsed.is_none() {
        let message = format!("\"{}\" is not a time of the week", escape(key.text.as_bytes()));
        reader.mistake_hint(
            key.at,
            message,
            "write \"mon-fri 08:00-18:00\", \"sat,sun\", \"22:00-06:00\" or else",
        );
    }
    parsed
}

fn parse_slot(text: &str, rate: Rate) -> Option<Slot> {
    let mut words = text.split_whitespace();
    let mut slot = Slot { days: [true; 7], from: 0, until: 1_440, rate };
    let mut next = words.next()?;
    if !next.starts_with(|c: char| c.is_ascii_digit()) {
        slot.days = parse_days(next)?;
        let Some(hours) = words.next() else { return Some(slot) };
        next = hours;
    }
    let (from, until) = next.split_once('-')?;
    (slot.from, slot.until) = (parse_minute(from)?, parse_minute(until)?);
    let is_sound = slot.from < 1_440 && slot.from != slot.until && words.next().is_none();
    is_sound.then_some(slot)
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
    (minute <= 1_440).then_some(minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_week() {
        let check = |text: &str, days: &str, from: u16, until: u16| {
            let slot = parse_slot(text, Rate::Unlimited).unwrap_or_else(|| panic!("{text}"));
            let marks: String = slot.days.iter().map(|on| if *on { 'x' } else { '.' }).collect();
            assert_eq!((marks.as_str(), slot.from, slot.until), (days, from, until), "{text}");
        };
        check("mon-fri 08:00-18:00", "xxxxx..", 480, 1_080);
        check("sat,sun", ".....xx", 0, 1_440);
        check("fri-mon 8:30-24:00", "x...xxx", 510, 1_440);
        check("22:00-06:00", "xxxxxxx", 1_320, 360);
        check("daily 00:00-12:00", "xxxxxxx", 0, 720);
        check("Mon,Wed-Thu 1:00-2:00", "x.xx...", 60, 120);
    }

    #[test]
    fn what_is_no_time_of_the_week() {
        let bad = ["", "mo-fr 08:00-18:00", "08:00", "8-18", "25:00-26:00", "08:60-09:00", "08:00-08:00"];
        for text in bad.into_iter().chain(["mon 08:00-18:00 x", "mon-fri-sun", "24:00-01:00", "+1:00-2:00"]) {
            assert_eq!(parse_slot(text, Rate::Unlimited), None, "{text}");
        }
    }
}
