//! Reading the file and all that it includes into trees. Knows of keys only `include`.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use globset::Glob;

use super::mistake::Mistakes;
use super::node::{At, Node, Source, Value, parse};
use crate::path::escape;

/// A larger file is refused.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// More files are refused.
const MAX_FILES: usize = 1_000;

/// The files of a configuration, the named one first.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Their paths; a [`Source::File`] is an index here.
    pub paths: Vec<PathBuf>,
    /// What they contain, as far as they could be read.
    pub roots: Vec<Node>,
    seen: Vec<PathBuf>,
}

impl Files {
    /// Reads `path` and what it includes.
    pub fn read(path: &Path, mistakes: &mut Mistakes) -> Self {
        let mut files = Self::default();
        files.add(path, mistakes);
        files
    }

    /// Whether every file could be read.
    pub fn is_whole(&self) -> bool {
        self.roots.len() == self.paths.len()
    }

    /// The name of a source, for people.
    pub fn name(&self, source: Source) -> String {
        match source {
            Source::BuiltIn => "built in".into(),
            Source::File(index) => self.paths.get(index).map(|path| shown(path)).unwrap_or_default(),
        }
    }

    fn add(&mut self, path: &Path, mistakes: &mut Mistakes) {
        let source = Source::File(self.paths.len());
        self.paths.push(path.into());
        self.seen.extend(path.canonicalize());
        match read_text(path).map(|text| parse(&text, source).map_err(|error| (error, text))) {
            Err(why) => mistakes.add(At::whole(source), "", why, None),
            Ok(Err((error, text))) => {
                mistakes.add(error.at, "", error.message, excerpt(&text, error.at.line));
            }
            Ok(Ok(root)) => {
                let includes = root.get("include").cloned();
                self.roots.push(root);
                includes.iter().for_each(|node| self.include(path, node, mistakes));
            }
        }
    }

    fn include(&mut self, from: &Path, node: &Node, mistakes: &mut Mistakes) {
        match &node.value {
            Value::List(items) => items.iter().for_each(|item| self.include(from, item, mistakes)),
            Value::Scalar(pattern) => match expand(from, pattern) {
                Ok(paths) => paths.iter().for_each(|path| self.include_one(path, node.at, mistakes)),
                Err(why) => mistakes.add(node.at, "include", why, None),
            },
            Value::Null | Value::Map(_) => {} // a wrong type, which whoever reads the keys reports
        }
    }

    fn include_one(&mut self, path: &Path, at: At, mistakes: &mut Mistakes) {
        if path.canonicalize().is_ok_and(|real| self.seen.contains(&real)) {
            let message = format!("{} was read already: each file is included once", shown(path));
            mistakes.add(at, "include", message, None);
        } else if self.paths.len() >= MAX_FILES {
            mistakes.add(at, "include", format!("there are more than {MAX_FILES} files"), None);
        } else {
            self.add(path, mistakes);
        }
    }
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_bytes())
}

fn read_text(path: &Path) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("this file cannot be read: {error}");
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(cannot)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err("this file is larger than 1 MiB".into());
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|&&b| b == b'\n').count() + 1;
        format!("this file is not UTF-8 text, see line {line}")
    })
}

/// The files that a pattern names, in the order of their names. A wildcard may match nothing.
fn expand(from: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let path = from.parent().unwrap_or(Path::new("")).join(pattern);
    let (Some(folder), Some(last)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err("this does not name a file".into());
    };
    let is_wild = |text: &str| text.contains(['*', '?', '[', '{']);
    if is_wild(pattern.rsplit_once('/').map_or("", |(head, _)| head)) {
        return Err("a wildcard may stand only in the last part of the path".into());
    }
    if !is_wild(last) {
        return Ok(vec![path]);
    }
    let glob = Glob::new(last).map_err(|error| error.to_string())?.compile_matcher();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| format!("{} cannot be listed: {error}", shown(folder)))?,
    };
    let is_meant = |name: &Path| glob.is_match(name) && !name.as_os_str().as_bytes().starts_with(b".");
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| format!("{} cannot be listed: {error}", shown(folder)))?;
        if is_meant(Path::new(&entry.file_name())) && !entry.path().is_dir() {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// The line where reading stopped, unless a secret may stand there.
fn excerpt(text: &str, line: usize) -> Option<String> {
    let text = text.lines().nth(line.checked_sub(1)?)?.trim();
    let lower = text.to_ascii_lowercase();
    let may_be_secret = ["pass", "secret", "token", "key"].iter().any(|word| lower.contains(word));
    if text.is_empty() || may_be_secret {
        return None;
    }
    let short: String = text.chars().take(60).collect();
    Some(format!("the line reads: {}", escape(short.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `main.yml` of these files; the names that were read and the mistakes.
    fn check(files: &[(&str, &str)], expected: &[&str], wrong: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let mut mistakes = Mistakes::default();
        let read = Files::read(&folder.path().join("main.yml"), &mut mistakes);
        let relative = |path: &PathBuf| shown(path.strip_prefix(folder.path()).unwrap());
        assert_eq!(read.paths.iter().map(relative).collect::<Vec<_>>(), expected);
        let errors = mistakes.into_errors(|source| match source {
            Source::File(index) => relative(&read.paths[index]),
            Source::BuiltIn => String::new(),
        });
        let shown = errors.to_string().replace(&format!("{}/", folder.path().display()), "");
        assert_eq!(shown.lines().collect::<Vec<_>>(), wrong);
    }

    #[test]
    fn includes_are_read_in_the_order_of_their_names() {
        let include = ("main.yml", "include: [conf.d/*.yml, more.yml]\n");
        let files = [
            include,
            ("conf.d/b.yml", ""),
            ("conf.d/a.yml", ""),
            ("conf.d/.c.yml", ""),
            ("conf.d/d", ""),
            ("more.yml", ""),
        ];
        check(&files, &["main.yml", "conf.d/a.yml", "conf.d/b.yml", "more.yml"], &[]);
        check(&[("main.yml", "include: conf.d/*.yml\n")], &["main.yml"], &[]);
    }

    #[test]
    fn what_cannot_be_included_is_a_mistake_at_its_line() {
        let again = "main.yml:2:10: include: main.yml was read already: each file is included once";
        check(&[("main.yml", "version: 1\ninclude: '*.yml'\n")], &["main.yml"], &[again]);
        let cycle = [("main.yml", "include: a.yml\n"), ("a.yml", "\ninclude: [main.yml]\n")];
        let cycle_found = "a.yml:2:11: include: main.yml was read already: each file is included once";
        check(&cycle, &["main.yml", "a.yml"], &[cycle_found]);
        let deep = "main.yml:1:10: include: a wildcard may stand only in the last part of the path";
        check(&[("main.yml", "include: '*/x.yml'\n")], &["main.yml"], &[deep]);
        let missing = "a.yml: this file cannot be read: No such file or directory (os error 2)";
        check(&[("main.yml", "include: a.yml\n")], &["main.yml", "a.yml"], &[missing]);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_shown_unless_it_may_hold_a_secret() {
        let broken = "main.yml:2:8: this is not YAML: mapping values are not allowed in this context; \
                      the line reads: host: a: b";
        check(&[("main.yml", "x: 1\nhost: a: b\n")], &["main.yml"], &[broken]);
        let secret = "main.yml:1:17: this is not YAML: mapping values are not allowed in this context";
        check(&[("main.yml", "password: hunter: 2\n")], &["main.yml"], &[secret]);
    }

    #[test]
    fn files_that_are_no_text_or_too_large_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.yml");
        fs::write(&path, b"a: 1\nb: \xff\n").unwrap();
        assert!(read_text(&path).unwrap_err().contains("line 2"));
        fs::write(&path, vec![b' '; (1 << 20) + 1]).unwrap();
        assert!(read_text(&path).unwrap_err().contains("larger than 1 MiB"));
    }
}
