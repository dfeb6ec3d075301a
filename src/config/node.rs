//! YAML text as a tree that knows where each piece of it stands: the crate's one door to YAML.
//!
//! Read from the parser's events rather than through a loader, because a loader refuses at the first key
//! that is given twice and we want every mistake at once. Knows nothing of what the keys mean.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use crate::path::escape;

/// More nodes than this, aliases written out, are refused: a few lines of aliases to aliases can stand for
/// billions.
const MAX_NODES: usize = 100_000;
/// Deeper nesting is refused.
const MAX_DEPTH: usize = 40;

/// Which text a piece comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A file, by its number in the order of reading.
    File(usize),
    /// What is built in.
    BuiltIn,
}

/// Where a piece stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    /// The text.
    pub source: Source,
    /// Line, from 1; 0 means the text as a whole.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl At {
    /// The text as a whole.
    pub fn whole(source: Source) -> Self {
        Self { source, line: 0, column: 0 }
    }
}

/// A piece of YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it begins.
    pub at: At,
    /// What it is.
    pub value: Value,
}

/// What a piece of YAML is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing, `null` or `~`.
    Null,
    /// Text, a number, yes or no: told apart by who reads it.
    Scalar(String),
    /// A list.
    List(Vec<Node>),
    /// Keys and values in the order of the file, a key maybe more than once.
    Map(Vec<(Key, Node)>),
}

/// A key and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The key.
    pub text: String,
    /// Where it begins.
    pub at: At,
}

impl Node {
    /// The value of a key, the first one; `None` also when this is no map or the value is null.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let (_, node) = self.entries().iter().find(|(k, _)| k.text == key)?;
        (node.value != Value::Null).then_some(node)
    }

    /// The entries of a map; none when it is something else.
    pub fn entries(&self) -> &[(Key, Node)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The same with the entries of a map in the order of these keys.
    pub fn in_order(mut self, keys: &[&str]) -> Self {
        if let Value::Map(entries) = &mut self.value {
            entries.sort_by_key(|(key, _)| keys.iter().position(|k| *k == key.text));
        }
        self
    }

    /// What it is, for messages.
    pub fn describe(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Scalar(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map of keys",
        }
    }

    fn count(&self) -> usize {
        match &self.value {
            Value::Null | Value::Scalar(_) => 1,
            Value::List(items) => 1 + items.iter().map(Node::count).sum::<usize>(),
            Value::Map(entries) => 1 + entries.iter().map(|(_, node)| 1 + node.count()).sum::<usize>(),
        }
    }
}

/// Why a text is no tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Where it was noticed.
    pub at: At,
    /// What is wrong.
    pub message: String,
}

/// Reads one YAML document.
pub fn parse(text: &str, source: Source) -> Result<Node, Unreadable> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder =
        Builder { text, parser: Parser::new_from_str(text), source, anchors: HashMap::new(), nodes: 0 };
    builder.document()
}

/// A scalar as YAML writes it: quoted where it must be, on one line, with nothing a terminal acts upon.
pub fn quote(text: &str) -> String {
    let is_safe = escape(text.as_bytes()) == text.replace('\\', "\\\\");
    match serde_yaml::to_string(text) {
        Ok(quoted) if is_safe => quoted.trim_end_matches('\n').to_string(),
        _ => double_quote(text),
    }
}

/// A scalar between double quotes, which can hold any character.
pub fn double_quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_alphanumeric() || c.is_ascii_graphic() || c == ' ' => quoted.push(c),
            c => quoted.push_str(&format!("\\U{:08X}", u32::from(c))),
        }
    }
    quoted + "\""
}

struct Builder<'a> {
    text: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    source: Source,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'a> Builder<'a> {
    fn document(&mut self) -> Result<Node, Unreadable> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
                _ if root.is_some() => {
                    return Err(self.refuse(span, "a second document begins here; there must be only one"));
                }
                event => root = Some(self.node(event, span, 0)?),
            }
        }
        Ok(root.unwrap_or(Node { at: At::whole(self.source), value: Value::Null }))
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Unreadable> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(self.syntax(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Unreadable> {
        if depth > MAX_DEPTH {
            return Err(self.refuse(span, "this is nested too deeply"));
        }
        let (anchor, value) = match event {
            Event::Alias(anchor) => return self.alias(anchor, span),
            Event::Scalar(text, style, anchor, tag) => {
                (anchor, self.scalar(text, style, tag.as_deref(), span)?)
            }
            Event::SequenceStart(anchor, tag) => {
                self.no_tag(tag.as_deref(), span)?;
                (anchor, self.list(depth)?)
            }
            Event::MappingStart(anchor, tag) => {
                self.no_tag(tag.as_deref(), span)?;
                (anchor, self.map(depth)?)
            }
            _ => return Err(self.refuse(span, "something is missing here")),
        };
        self.grow(1, span)?;
        let node = Node { at: self.at(span), value };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Value, Unreadable> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Value::List(items));
            }
            items.push(self.node(event, span, depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, Unreadable> {
        let mut entries = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Value::Map(entries));
            }
            let key = self.node(event, span, depth + 1)?;
            let Value::Scalar(text) = key.value else {
                return Err(self.refuse(span, "a key must be a single word"));
            };
            if text == "<<" {
                return Err(self.refuse(span, "merge keys (<<) are not supported; use \"defaults:\""));
            }
            let (event, value_span) = self.next()?;
            let value = self.node(event, value_span, depth + 1)?;
            entries.push((Key { text, at: key.at }, value));
        }
    }

    fn scalar(
        &self,
        text: impl Into<String>,
        style: ScalarStyle,
        tag: Option<&Tag>,
        span: Span,
    ) -> Result<Value, Unreadable> {
        self.no_tag(tag, span)?;
        let text = text.into();
        let is_null = matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL");
        let is_plain = style == ScalarStyle::Plain && tag.is_none();
        Ok(if is_null && is_plain { Value::Null } else { Value::Scalar(text) })
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<Node, Unreadable> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(self.refuse(span, "this alias stands inside what it stands for"));
        };
        let node = node.clone();
        self.grow(node.count(), span)?;
        Ok(node)
    }

    fn grow(&mut self, nodes: usize, span: Span) -> Result<(), Unreadable> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(self.refuse(span, format!("there are more than {MAX_NODES} values up to here")));
        }
        Ok(())
    }

    fn no_tag(&self, tag: Option<&Tag>, span: Span) -> Result<(), Unreadable> {
        match tag {
            Some(tag) if !tag.is_yaml_core_schema() => {
                Err(self.refuse(span, "tags (a word with \"!\" before it) are not supported; quote the text"))
            }
            _ => Ok(()),
        }
    }

    fn at(&self, span: Span) -> At {
        At { source: self.source, line: span.start.line(), column: span.start.col() + 1 }
    }

    fn refuse(&self, span: Span, message: impl Into<String>) -> Unreadable {
        Unreadable { at: self.at(span), message: message.into() }
    }

    fn syntax(&self, error: &ScanError) -> Unreadable {
        match self.tab_from(error.marker().line()) {
            Some(at) if error.info().contains("tab") => {
                Unreadable { at, message: "this is not YAML: a tab indents here; use spaces".into() }
            }
            _ => {
                let message = format!("this is not YAML: {}", error.info());
                self.refuse(Span::empty(*error.marker()), message)
            }
        }
    }

    /// The first tab in the indentation of this line or one below. The parser blames the line above it.
    fn tab_from(&self, line: usize) -> Option<At> {
        let lines = self.text.lines().enumerate().skip(line.saturating_sub(1));
        let mut tabs = lines.filter_map(|(index, text)| {
            let indent = text.len() - text.trim_start_matches([' ', '\t']).len();
            Some((index + 1, text[..indent].find('\t')? + 1))
        });
        tabs.next().map(|(line, column)| At { source: self.source, line, column })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Node {
        parse(text, Source::File(0)).unwrap()
    }

    /// The tree with positions, in short.
    fn outline(node: &Node) -> String {
        let at = format!("{}:{}", node.at.line, node.at.column);
        match &node.value {
            Value::Null => format!("null@{at}"),
            Value::Scalar(text) => format!("{text}@{at}"),
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(outline).collect();
                format!("[{}]@{at}", items.join(" "))
            }
            Value::Map(entries) => {
                let entry = |(key, node): &(Key, Node)| {
                    format!("{}@{}:{}={}", key.text, key.at.line, key.at.column, outline(node))
                };
                let entries: Vec<String> = entries.iter().map(entry).collect();
                format!("{{{}}}@{at}", entries.join(" "))
            }
        }
    }

    #[test]
    fn every_piece_knows_its_place() {
        let check = |text: &str, expected: &str| assert_eq!(outline(&parsed(text)), expected, "{text}");
        check("", "null@0:0");
        check("a: 1\nb:\n  c: x y\n", "{a@1:1=1@1:4 b@2:1={c@3:3=x y@3:6}@3:3}@1:1");
        check("a: [1, 'two']\r\n", "{a@1:1=[1@1:5 two@1:8]@1:4}@1:1");
        check("a: {b: ~, c: null, d: 'null', e: }", {
            "{a@1:1={b@1:5=null@1:8 c@1:11=null@1:14 d@1:20=null@1:23 e@1:31=null@1:32}@1:4}@1:1"
        });
        check("a: &x [1]\nb: *x\n", "{a@1:1=[1@1:8]@1:4 b@2:1=[1@1:8]@1:4}@1:1");
        check("a: 1\na: 2\n", "{a@1:1=1@1:4 a@2:1=2@2:4}@1:1");
        check("\u{feff}# comment\na: !!str 12 # more\n", "{a@2:1=12@2:4}@2:1");
    }

    #[test]
    fn null_and_the_word_null_differ() {
        let node = parsed("{a: null, b: 'null', c: ''}");
        assert!(node.get("a").is_none());
        assert_eq!(node.get("b").unwrap().value, Value::Scalar("null".into()));
        assert_eq!(node.get("c").unwrap().value, Value::Scalar(String::new()));
    }

    #[test]
    fn what_is_no_tree_is_refused_where_it_goes_wrong() {
        let check = |text: &str, line: usize, message: &str| {
            let error = parse(text, Source::File(0)).unwrap_err();
            assert_eq!(error.at.line, line, "{text}: {}", error.message);
            assert!(error.message.contains(message), "{text}: {}", error.message);
        };
        check("a: 1\nb: [1, 2\nc: 3\n", 3, "not YAML");
        check("a: 1\n\tb: 2\n", 2, "not YAML");
        check("a: 1\n---\nb: 2\n", 3, "second document");
        check("a: 1\nb: *nowhere\n", 2, "not YAML");
        check("a: &x [*x]\n", 1, "inside what it stands for");
        check("? [a, b]\n: 1\n", 1, "single word");
        check("a: &x {b: 1}\nc:\n  <<: *x\n", 3, "defaults");
        check("a: !secret x\n", 1, "tags");
        check(&format!("{}1{}", "[".repeat(50), "]".repeat(50)), 1, "nested too deeply");
    }

    #[test]
    fn aliases_to_aliases_stay_bounded() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let alias = format!("*a{}", level - 1);
            text += &format!("a{level}: &a{level} [{}]\n", vec![alias; 9].join(", "));
        }
        let error = parse(&text, Source::File(0)).unwrap_err();
        assert!(error.message.contains("more than 100000 values"), "{}", error.message);
    }

    proptest! {
        #[test]
        fn quoted_scalars_read_back_as_the_same_text(
            text in prop_oneof![any::<String>(), Just("a\u{2028}\n\u{1b} \u{feff}".into()), "[-+*&!%@`'\":#,{}\\[\\]?|>~a-z0-9 ]{0,12}"],
        ) {
            for quoted in [quote(&text), double_quote(&text)] {
                prop_assert!(!quoted.contains('\n'));
                let node = parsed(&format!("key: {quoted}"));
                prop_assert_eq!(&node.get("key").unwrap().value, &Value::Scalar(text.clone()));
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[-a-c:,&*!?|>'\"#%@~{}\\[\\] \n\t]{0,60}") {
            let _ = parse(&text, Source::File(0));
        }
    }
}
