//! What is in force and where each value comes from: as YAML with a comment on each line, and as JSON.
//! A secret is never shown: the configuration holds none, and of URLs, which may carry a token, only the host.

use std::collections::HashSet;

use serde_json::{Map, json};

use super::files::Files;
use super::model::host_only;
use super::node::{At, Key, Node, Source, Value, double_quote, quote};
use crate::path::escape;

/// What is needed to tell where a value comes from.
pub(super) struct Origins<'a> {
    /// Where the pieces stand that come from `defaults`.
    pub from_defaults: &'a HashSet<At>,
    /// The files.
    pub files: &'a Files,
}

impl Origins<'_> {
    fn of(&self, at: At) -> String {
        match at.source {
            Source::BuiltIn => "built in".into(),
            source if self.from_defaults.contains(&at) => {
                format!("defaults, {}:{}", self.files.name(source), at.line)
            }
            source => format!("{}:{}", self.files.name(source), at.line),
        }
    }
}

const COMMENT_COLUMN: usize = 48;

/// The tree as YAML.
pub(super) fn yaml(root: &Node, origins: &Origins<'_>) -> String {
    let mut text = String::from("version: 1\n");
    write_map(&mut text, root.entries(), 0, origins);
    text
}

fn write_map(text: &mut String, entries: &[(Key, Node)], indent: usize, origins: &Origins<'_>) {
    for (key, node) in entries {
        let head = format!("{:indent$}{}:", "", quote(&key.text));
        match &node.value {
            Value::Map(inner) if !inner.is_empty() => {
                text.push_str(&format!("{head}\n"));
                write_map(text, inner, indent + 2, origins);
            }
            Value::List(items) if !fits_one_line(key, node) => {
                text.push_str(&format!("{head}\n"));
                for item in items {
                    write_line(text, &format!("{:indent$}  - {}", "", flow(key, item)), item.at, origins);
                }
            }
            Value::Map(_) if indent == 0 => {} // a section that nothing was said in
            _ => write_line(text, &format!("{head} {}", flow(key, node)), node.at, origins),
        }
    }
}

/// Whether a list may stand on one line: all of it comes from one place.
fn fits_one_line(key: &Key, node: &Node) -> bool {
    let Value::List(items) = &node.value else { return true };
    let place = |node: &Node| (node.at.source, node.at.line);
    items.windows(2).all(|pair| place(&pair[0]) == place(&pair[1])) && flow(key, node).len() <= 60
}

fn write_line(text: &mut String, line: &str, at: At, origins: &Origins<'_>) {
    text.push_str(&format!("{line:COMMENT_COLUMN$} # {}\n", origins.of(at)));
}

/// A value on one line.
fn flow(key: &Key, node: &Node) -> String {
    match &node.value {
        Value::Null => "null".into(),
        Value::Scalar(text) if is_url_key(key) => quote(&host_only(text)),
        Value::Scalar(text) => in_flow(text),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| flow(key, item)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(entries) => {
            let entry = |(key, node): &(Key, Node)| format!("{}: {}", in_flow(&key.text), flow(key, node));
            let entries: Vec<String> = entries.iter().map(entry).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// Quoted as a list or map on one line needs it.
fn in_flow(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || " -_./:~@%+*=".contains(c);
    if text == "true" || text == "false" || text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        return text.into(); // a flag or a number is not a text that looks like one
    }
    let quoted = quote(text);
    if quoted == text && !text.chars().all(is_plain) { double_quote(text) } else { quoted }
}

fn is_url_key(key: &Key) -> bool {
    matches!(key.text.as_str(), "webhook" | "healthchecks")
}

/// The tree as JSON: maps as they are, everything else as its value and where it comes from.
pub(super) fn document(root: &Node, origins: &Origins<'_>) -> serde_json::Value {
    let mut document = Map::new();
    document.insert("version".into(), json!(1));
    document.extend(members(root.entries(), origins));
    serde_json::Value::Object(document)
}

fn members(entries: &[(Key, Node)], origins: &Origins<'_>) -> Map<String, serde_json::Value> {
    let member = |(key, node): &(Key, Node)| {
        let value = match &node.value {
            Value::Map(entries) => serde_json::Value::Object(members(entries, origins)),
            _ => json!({"value": plain(key, node), "from": origins.of(node.at)}),
        };
        (escape(key.text.as_bytes()), value)
    };
    entries.iter().map(member).collect()
}

fn plain(key: &Key, node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Scalar(text) if is_url_key(key) => json!(host_only(text)),
        Value::Scalar(text) => json!(text),
        Value::List(items) => items.iter().map(|item| plain(key, item)).collect(),
        Value::Map(entries) => {
            entries.iter().map(|(key, node)| (key.text.clone(), plain(key, node))).collect()
        }
    }
}
