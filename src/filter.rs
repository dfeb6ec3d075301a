//! Include and exclude rules matched against a [`RelPath`]: rsync's rules, the first that matches wins.
//!
//! A rule is `- PATTERN` or `+ PATTERN`. Patterns mean what they mean to rsync (rsync(1), "PATTERN MATCHING
//! RULES"; `tests/it/filter.rs` holds us to the real program): a leading `/` anchors at the root, a trailing
//! `/` matches folders only, `*` and `?` stop at slashes, `**` does not, `[…]` is one character of a set,
//! `folder/***` is the folder and all that is in it. A pattern with a slash inside matches the tail of the
//! path, one without matches the last component. Both are bytes: a name need not be UTF-8.
//!
//! What only rsync's command line needs is refused by name: merge files, modifiers, hide and protect.

mod wild;

use std::fmt;

use crate::path::{RelPath, escape};
use wild::Wild;

/// Why a rule cannot be used, with what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{rule}\" is not a filter rule: {why}")]
pub struct BadRule {
    rule: String,
    why: String,
}

/// An ordered list of rules. Without a rule that matches, a path is included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    rules: Vec<Rule>,
}

impl Filter {
    /// The rules in the order in which they are asked.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules }
    }

    /// The rules in the order in which they are asked.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether nothing is ever excluded because there are no rules.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether this path is left out, given that none of the folders it is in is. A folder that is left
    /// out takes everything in it along: whoever walks does not enter it. The root is never left out.
    pub fn excludes(&self, path: &RelPath, is_dir: bool) -> bool {
        self.excludes_bytes(path.as_bytes(), is_dir)
    }

    /// Whether this path is left out, be it by itself or along with a folder that it is in.
    pub fn excludes_with_parents(&self, path: &RelPath, is_dir: bool) -> bool {
        let bytes = path.as_bytes();
        let mut parents = (0..bytes.len()).filter(|&i| bytes[i] == b'/').map(|cut| &bytes[..cut]);
        parents.any(|parent| self.excludes_bytes(parent, true)) || self.excludes_bytes(bytes, is_dir)
    }

    fn excludes_bytes(&self, path: &[u8], is_dir: bool) -> bool {
        let decided = self.rules.iter().find(|rule| !path.is_empty() && rule.pattern.matches(path, is_dir));
        decided.is_some_and(|rule| rule.verdict == Verdict::Exclude)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Include,
    Exclude,
}

/// One rule: what it says of the paths that its pattern matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    verdict: Verdict,
    text: Box<[u8]>,
    pattern: Pattern,
}

impl Rule {
    /// Reads `- PATTERN` or `+ PATTERN` (also `exclude PATTERN`, `include PATTERN`).
    pub fn parse(line: &[u8]) -> Result<Self, BadRule> {
        let refuse = |why: String| BadRule { rule: escape(line), why };
        let word_end = line.iter().position(|b| matches!(b, b' ' | b'_')).unwrap_or(line.len());
        let (word, pattern) = (&line[..word_end], line.get(word_end + 1..).unwrap_or_default());
        let verdict = match word {
            b"-" | b"exclude" => Verdict::Exclude,
            b"+" | b"include" => Verdict::Include,
            _ => return Err(refuse(why_no_rule(line, word))),
        };
        Self::new(verdict, pattern).map_err(refuse)
    }

    /// A rule that excludes what `pattern` matches. As with rsync's `--exclude`, a pattern that begins with
    /// `- ` or `+ ` is taken as a whole rule.
    pub fn exclude(pattern: &[u8]) -> Result<Self, BadRule> {
        if pattern.starts_with(b"- ") || pattern.starts_with(b"+ ") {
            return Self::parse(pattern);
        }
        Self::new(Verdict::Exclude, pattern).map_err(|why| BadRule { rule: escape(pattern), why })
    }

    fn new(verdict: Verdict, pattern: &[u8]) -> Result<Self, String> {
        let sign: &[u8] = if verdict == Verdict::Exclude { b"- " } else { b"+ " };
        Ok(Self { verdict, text: [sign, pattern].concat().into(), pattern: Pattern::parse(pattern)? })
    }
}

/// The rule as [`Rule::parse`] takes it, escaped for people.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.text))
    }
}

fn why_no_rule(line: &[u8], word: &[u8]) -> String {
    let first = line.first().copied().unwrap_or_default();
    let only_in_rsync = [&b"merge"[..], b"dir-merge", b"hide", b"show", b"protect", b"risk", b"clear"];
    match first {
        0 => "it is empty".into(),
        b'-' | b'+' if word.len() == 1 => "the pattern is missing".into(),
        b'-' | b'+' => "a space must follow the sign, and rsync's modifiers are not supported".into(),
        _ if only_in_rsync.contains(&word.split(|&b| b == b',').next().unwrap_or_default()) => {
            "of rsync's rules only \"-\" and \"+\" are supported".into()
        }
        _ => format!("write \"- {0}\" to exclude or \"+ {0}\" to include", escape(line)),
    }
}

/// Which parts of a path a pattern is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The whole path.
    Whole,
    /// The whole path with a slash before it, so that a leading `**/` also matches at the root.
    WholeAfterSlash,
    /// So many components at the end.
    Tail(usize),
    /// The rest of the path from any component on.
    AnyTail,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    scope: Scope,
    dirs_only: bool,
    /// Ends in `***`: a folder is also tried with a slash after its name.
    folder_and_content: bool,
    body: Body,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Body {
    Literal(Box<[u8]>),
    Wild(Box<Wild>),
}

impl Pattern {
    fn parse(text: &[u8]) -> Result<Self, String> {
        if text.is_empty() {
            return Err("the pattern is missing".into());
        }
        if text.contains(&0) {
            return Err("no name contains a NUL byte".into());
        }
        let (text, dirs_only) = match text.strip_suffix(b"/") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        if text.is_empty() {
            return Err("it matches nothing; everything is \"*\"".into());
        }
        let wild = text.iter().any(|b| matches!(b, b'*' | b'?' | b'['));
        let body_text = text.strip_prefix(b"/").unwrap_or(text);
        let body = if wild {
            Body::Wild(Box::new(Wild::parse(body_text)?))
        } else {
            Body::Literal(body_text.into())
        };
        let folder_and_content = text.ends_with(b"***");
        Ok(Self { scope: scope_of(text), dirs_only, folder_and_content, body })
    }

    fn matches(&self, path: &[u8], is_dir: bool) -> bool {
        if self.dirs_only && !is_dir {
            return false;
        }
        let Some(part) = (match self.scope {
            Scope::Tail(components) => tail(path, components),
            Scope::Whole | Scope::WholeAfterSlash | Scope::AnyTail => Some(path),
        }) else {
            return false;
        };
        match &self.body {
            Body::Literal(bytes) => part == &**bytes,
            Body::Wild(wild) => {
                let before: &[u8] = if self.scope == Scope::WholeAfterSlash { b"/" } else { b"" };
                let after: &[u8] = if self.folder_and_content && is_dir { b"/" } else { b"" };
                let bytes = before.iter().chain(part).chain(after);
                wild.matches(bytes.copied(), self.scope == Scope::AnyTail)
            }
        }
    }
}

/// The scope of a pattern without its trailing slash.
fn scope_of(text: &[u8]) -> Scope {
    let crosses = text.windows(2).any(|pair| pair == b"**");
    let slashes = text.iter().filter(|&&b| b == b'/').count();
    match () {
        () if text.starts_with(b"/") => Scope::Whole,
        () if text.starts_with(b"**") => Scope::WholeAfterSlash,
        () if crosses => Scope::AnyTail,
        () => Scope::Tail(slashes + 1),
    }
}

/// The last `components` components; `None` if there are not so many.
fn tail(path: &[u8], components: usize) -> Option<&[u8]> {
    let mut slashes = (0..path.len()).rev().filter(|&i| path[i] == b'/');
    match slashes.nth(components - 1) {
        Some(slash) => Some(&path[slash + 1..]),
        None if path.iter().filter(|&&b| b == b'/').count() + 1 == components => Some(path),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(bytes: &[u8]) -> RelPath {
        RelPath::parse(bytes).unwrap()
    }

    fn filter(rules: &[&str]) -> Filter {
        Filter::new(rules.iter().map(|r| Rule::parse(r.as_bytes()).unwrap()).collect())
    }

    /// A path that ends in a slash is a folder.
    fn check(rules: &[&str], excluded: &[&str], included: &[&str]) {
        let filter = filter(rules);
        for (paths, expected) in [(excluded, true), (included, false)] {
            for text in paths {
                let plain = text.strip_suffix('/').unwrap_or(text);
                let verdict = filter.excludes_with_parents(&path(plain.as_bytes()), text.ends_with('/'));
                assert_eq!(verdict, expected, "{rules:?} {text}");
            }
        }
    }

    #[test]
    fn patterns_mean_what_they_mean_to_rsync() {
        check(&["- *.tmp"], &["a.tmp", "d/a.tmp", "d.tmp/", "d.tmp/x", ".tmp"], &["a.tmpx", "tmp"]);
        check(&["- /cache/"], &["cache/", "cache/x/y"], &["d/cache/", "cache", "cache2/"]);
        check(&["- cache/"], &["cache/", "d/cache/", "d/cache/x"], &["d/cache"]);
        check(&["- foo/bar"], &["foo/bar", "d/foo/bar", "foo/bar/x"], &["bar", "foo/x/bar", "xfoo/bar"]);
        check(&["- foo/*/bar"], &["foo/x/bar", "d/foo/x/bar"], &["foo/bar", "foo/x/y/bar"]);
        check(&["- /foo/**/bar"], &["foo/x/bar", "foo/x/y/bar"], &["foo/bar", "d/foo/x/bar"]);
        check(&["- foo/**"], &["foo/x", "d/foo/x", "foo/x/y"], &["foo/", "xfoo/x"]);
        check(&["- foo/***"], &["foo/", "foo/x", "d/foo/", "d/foo/x/y"], &["foo", "xfoo/"]);
        check(&["- **/foo"], &["foo", "d/foo", "d/e/foo"], &["xfoo"]);
        check(&["- a?c"], &["abc", "d/a.c"], &["ac", "a/c", "abbc"]);
        check(&["+ keep.tmp", "- *.tmp"], &["a.tmp"], &["keep.tmp", "d/keep.tmp"]);
        check(&["+ */", "+ *.c", "- *"], &["a.h", "d/a.h"], &["d/", "a.c", "d/e/a.c"]);
        check(&["- *.tmp", "- /cache/", "+ **"], &["a.tmp", "cache/x"], &["a", "d/cache/"]);
        check(&["exclude x", "-_y"], &["x", "y"], &["z"]);
        check(&[], &[], &["a", "d/", ".hidden"]);
    }

    #[test]
    fn sets_and_escapes() {
        check(&["- [a-c]x"], &["ax", "cx"], &["dx", "-x"]);
        check(&["- [!a-c]x"], &["dx"], &["ax"]);
        check(&["- [^a]"], &["b"], &["a"]);
        check(&["- []x]"], &["]", "x"], &["y"]);
        check(&["- [a-]"], &["a", "-"], &["b"]);
        check(&["- [[:digit:]_]"], &["7", "_"], &["x", ":"]);
        check(&["- [[:x]"], &["[", ":", "x"], &["y"]);
        check(&["- a[/]b"], &[], &["a/b"]);
        check(&[r"- \*"], &["*"], &["x", r"\*"]);
        check(&[r"- a\b"], &[r"a\b"], &["ab"]);
        check(&[r"- a\b*"], &["ab", "abc"], &[r"a\b"]);
    }

    #[test]
    fn names_are_bytes() {
        let rule = Rule::exclude(b"*\xff?").unwrap();
        let filter = Filter::new(vec![rule]);
        assert!(filter.excludes(&path(b"d/a\xff\xfe"), false));
        assert!(!filter.excludes(&path("\u{fffd}x".as_bytes()), false));
        assert!(!filter.excludes(&RelPath::root(), true));
    }

    #[test]
    fn what_is_no_rule_is_refused_with_what_to_write() {
        let check = |rule: &str, why: &str| {
            let error = Rule::parse(rule.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{rule}: {error}");
        };
        check("", "empty");
        check("- ", "pattern is missing");
        check("-", "pattern is missing");
        check("*.tmp", "write \"- *.tmp\" to exclude");
        check("-! */", "modifiers are not supported");
        check("-*.tmp", "a space must follow");
        check("merge rules.txt", "only \"-\" and \"+\"");
        check("dir-merge,n .filter", "only \"-\" and \"+\"");
        check("- [ab", "has no \"]\"");
        check("- [a\\", "has no \"]\"");
        check("- [[:nonsense:]]", "no class \"nonsense\"");
        check("- *\\", "last backslash");
        check("- /", "matches nothing");
        check("- a\0b", "NUL");
        check(&format!("- *{}", "x".repeat(1_023)), "more than 1023 characters");
    }

    #[test]
    fn exclude_flags_take_a_pattern_or_a_whole_rule() {
        let check = |flag: &str, rule: &str| {
            assert_eq!(Rule::exclude(flag.as_bytes()).unwrap(), Rule::parse(rule.as_bytes()).unwrap());
        };
        check("*.tmp", "- *.tmp");
        check("- *.tmp", "- *.tmp");
        check("+ *.c", "+ *.c");
        check("-x", "- -x");
    }

    #[test]
    fn long_patterns_cross_words_of_the_machine() {
        for length in [62, 63, 64, 65, 127, 128, 500, 1_021] {
            let name = "x".repeat(length);
            let filter = filter(&[&format!("- {name}*y")]);
            assert!(filter.excludes(&path(format!("{name}y").as_bytes()), false), "{length}");
            assert!(filter.excludes(&path(format!("{name}xxyy").as_bytes()), false), "{length}");
            assert!(!filter.excludes(&path(name.as_bytes()), false), "{length}");
        }
    }

    #[test]
    fn a_name_made_to_backtrack_costs_only_its_length() {
        let filter = filter(&["- **a*a*a*a*a*a*a*a*a*a*b"]);
        assert!(!filter.excludes(&path(&[b'a'; 60_000]), false));
    }

    proptest! {
        #[test]
        fn no_rule_and_no_path_makes_the_matcher_panic(
            rule in proptest::collection::vec(prop_oneof![Just(b'*'), Just(b'['), Just(b']'), any::<u8>()], 0..40),
            name in "[a-c/]{1,20}",
        ) {
            if let (Ok(rule), Ok(path)) = (Rule::exclude(&rule), RelPath::parse(name.into_bytes())) {
                let filter = Filter::new(vec![rule]);
                prop_assert!(!filter.excludes(&path, false) || filter.excludes_with_parents(&path, false));
            }
        }
    }
}
