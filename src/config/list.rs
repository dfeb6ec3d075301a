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
    let parsed = key.text.parse().ok().map(|span| Slot { span, rate });
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
