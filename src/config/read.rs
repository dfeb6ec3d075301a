//! From the tree to typed pieces, gathering every mistake on the way instead of stopping at the first.
//!
//! A type that implements [`Read`] says how it is written, for the reader and for the JSON Schema alike;
//! `section!` makes both, and the list of known keys, out of one list of fields. So they cannot drift.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::mistake::Mistakes;
use super::nearest::nearest;
use super::node::{At, Key, Node, Value};
use crate::path::escape;

/// Something that can be read from a tree.
pub(super) trait Read: Sized {
    /// Reads it; `None` after the reason was given to the reader.
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self>;

    /// How it is written.
    fn schema(generator: &mut SchemaGenerator) -> Schema;
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Spot<T> {
    /// The value.
    pub value: T,
    /// Where it begins.
    pub at: At,
    /// The keys that lead there.
    pub key: String,
}

impl<T: Read> JsonSchema for Spot<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed(std::any::type_name::<T>())
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::schema(generator)
    }
}

/// Where we are in the tree, and what was wrong so far.
pub(super) struct Reader<'a> {
    path: String,
    mistakes: &'a mut Mistakes,
}

impl<'a> Reader<'a> {
    /// A reader at the keys `path`.
    pub fn new(path: impl Into<String>, mistakes: &'a mut Mistakes) -> Self {
        Self { path: path.into(), mistakes }
    }

    /// Notes a mistake at the keys where we are.
    pub fn mistake(&mut self, at: At, message: impl Into<String>) {
        self.mistakes.add(at, &self.path, message, None);
    }

    /// The same with what to write instead.
    pub fn mistake_hint(&mut self, at: At, message: impl Into<String>, hint: impl Into<String>) {
        self.mistakes.add(at, &self.path, message, Some(hint.into()));
    }

    /// Notes that something else was expected here.
    pub fn expected(&mut self, node: &Node, expected: &str) {
        self.mistake(node.at, format!("expected {expected}, found {}", node.describe()));
    }

    /// The text of a single value.
    pub fn text<'n>(&mut self, node: &'n Node, expected: &str) -> Option<&'n str> {
        match &node.value {
            Value::Scalar(text) => Some(text),
            _ => {
                self.expected(node, expected);
                None
            }
        }
    }

    /// The entries of a map of which only these keys are known. Others and repeated ones are mistakes.
    pub fn known<'n>(&mut self, node: &'n Node, keys: &[&str]) -> Option<Vec<&'n (Key, Node)>> {
        let entries = self.entries(node)?;
        let (known, unknown): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|(key, _)| keys.contains(&key.text.as_str()));
        for (key, _) in unknown {
            self.below(&key.text, |reader| {
                reader.mistake_hint(key.at, "this key is not known here", suggestion(&key.text, keys));
            });
        }
        Some(known)
    }

    /// The entries of a map with any keys. Repeated ones are mistakes; the first counts.
    pub fn entries<'n>(&mut self, node: &'n Node) -> Option<Vec<&'n (Key, Node)>> {
        if !matches!(node.value, Value::Map(_)) {
            self.expected(node, "a map of keys");
            return None;
        }
        let mut entries: Vec<&(Key, Node)> = Vec::new();
        for entry in node.entries() {
            match entries.iter().find(|(key, _)| key.text == entry.0.text) {
                None => entries.push(entry),
                Some((first, _)) => self.below(&entry.0.text, |reader| {
                    reader.mistake(
                        entry.0.at,
                        format!("this key is given twice, first in line {}", first.at.line),
                    );
                }),
            }
        }
        Some(entries)
    }

    /// One field of a section; `null` counts as not written.
    pub fn field<T: Read>(&mut self, name: &str, node: &Node) -> Option<Spot<T>> {
        if node.value == Value::Null {
            return None;
        }
        self.below(name, |reader| reader.spot(node))
    }

    /// One item of a list.
    pub fn item<T: Read>(&mut self, index: usize, node: &Node) -> Option<Spot<T>> {
        let length = self.path.len();
        self.path.push_str(&format!("[{index}]"));
        let spot = self.spot(node);
        self.path.truncate(length);
        spot
    }

    fn spot<T: Read>(&mut self, node: &Node) -> Option<Spot<T>> {
        let value = T::read(node, self)?;
        Some(Spot { value, at: node.at, key: self.path.clone() })
    }

    /// Does something one key further down.
    fn below<R>(&mut self, key: &str, deed: impl FnOnce(&mut Self) -> R) -> R {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(&escape(key.as_bytes()));
        let result = deed(self);
        self.path.truncate(length);
        result
    }
}

/// Words that people write at the wrong place or know from other tools.
const ELSEWHERE: [(&str, &str); 20] = [
    ("bandwidth", "limits.bandwidth"),
    ("limit", "limits.bandwidth"),
    ("bwlimit", "limits.bandwidth"),
    ("max_delete", "guards.max_delete"),
    ("exclude", "filter"),
    ("ignore", "filter"),
    ("cron", "schedule.cron"),
    ("every", "schedule.every"),
    ("tz", "schedule.tz"),
    ("only", "schedule.only"),
    ("window", "schedule.only"),
    ("key", "auth.key"),
    ("identity_file", "auth.key"),
    ("password", "auth.password"),
    ("agent", "auth.agent"),
    ("certificate_file", "auth.certificate"),
    ("totp", "auth.code"),
    ("source", "local"),
    ("username", "user"),
    ("fingerprint", "host_key"),
];

fn suggestion(written: &str, keys: &[&str]) -> String {
    if let Some(key) = nearest(written, keys.iter().copied()) {
        return format!("did you mean \"{key}\"?");
    }
    let moved = ELSEWHERE.iter().find(|(wrong, right)| {
        let head = right.split('.').next().unwrap_or_default();
        *wrong == written && keys.contains(&head)
    });
    match moved {
        Some((_, right)) => format!("did you mean \"{right}\"?"),
        None => format!("known here: {}", keys.join(", ")),
    }
}

impl<T: Read> Read for Vec<Spot<T>> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::List(items) = &node.value else {
            reader.expected(node, "a list");
            return None;
        };
        Some(items.iter().enumerate().filter_map(|(index, item)| reader.item(index, item)).collect())
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let items = T::schema(generator);
        json_schema!({"type": "array", "items": items})
    }
}

/// One value, or a list of them.
#[derive(Debug, Clone, Default)]
pub(super) struct OneOrMany<T>(pub Vec<Spot<T>>);

impl<T: Read> Read for OneOrMany<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::List(_) => Read::read(node, reader).map(Self),
            _ => reader.spot(node).map(|one| Self(vec![one])),
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let one = T::schema(generator);
        json_schema!({"anyOf": [one, {"type": "array", "items": one}]})
    }
}

/// Things by the names that the user gave them. Only judged here: what is in force is read from the layers.
#[derive(Debug, Clone)]
pub(super) struct Named<T>(PhantomData<T>);

impl<T: Read> Read for Named<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        for (key, node) in reader.entries(node)? {
            reader.below(&key.text, |reader| {
                check_name(key, reader);
                T::read(node, reader);
            });
        }
        Some(Self(PhantomData))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let value = T::schema(generator);
        json_schema!({
            "type": "object",
            "patternProperties": {"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$": value},
            "additionalProperties": false,
        })
    }
}

/// Names stand in command lines, file names and `server:path`.
fn check_name(key: &Key, reader: &mut Reader<'_>) {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let begins_well = key.text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !begins_well || !key.text.chars().all(is_plain) || key.text.len() > 64 {
        reader.mistake(
            key.at,
            "a name begins with a letter or digit and has only letters, digits, \"-\", \"_\" and \".\", 64 at most",
        );
    }
}

/// A map of known keys: a struct with a [`Spot`] for each, how it is read, and its schema.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        pub(super) struct $name { $($(#[$field_doc])* pub $field: Option<$crate::config::read::Spot<$type>>,)* }

        impl $name {
            /// The known keys.
            pub const KEYS: &'static [&'static str] = &[$(stringify!($field)),*];
        }

        impl $crate::config::read::Read for $name {
            fn read(
                node: &$crate::config::node::Node,
                reader: &mut $crate::config::read::Reader<'_>,
            ) -> Option<Self> {
                let mut section = Self::default();
                for (key, value) in reader.known(node, Self::KEYS)? {
                    $(if key.text == stringify!($field) {
                        section.$field = reader.field(stringify!($field), value);
                    })*
                }
                Some(section)
            }

            fn schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                generator.subschema_for::<Self>()
            }
        }
    };
}
pub(super) use section;
