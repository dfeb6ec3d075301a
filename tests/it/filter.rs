//! Our filter rules against the real rsync: both must carry the same files, whatever the rules and names.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use highwater::clock::{Random, SeededRandom};
use highwater::filter::{Filter, Rule};
use highwater::path::{RelPath, escape};

const CASES: u64 = 300;
const LANES: u64 = 8;

/// Names that rules trip over: shared beginnings, wildcard characters, bytes that are not UTF-8.
const NAMES: [&[u8]; 14] = [
    b"a", b"b", b"ab", b"abc", b"foo", b"bar", b"a.c", b".x", b"a*", b"[b]", b"\xffa", b"a b", b"-", b"b\\c",
];

/// What patterns are put together from.
const PIECES: [&[u8]; 25] = [
    b"a",
    b"b",
    b"foo",
    b"bar",
    b"*",
    b"*",
    b"*",
    b"**",
    b"**",
    b"***",
    b"?",
    b"/",
    b"/",
    b"/",
    b"[ab]",
    b"[!a]",
    b"[^b-z]",
    b"[[:alpha:]]",
    b"[]a-]",
    b"\\*",
    b"\\b",
    b".",
    b"\xff",
    b"[a\\]]",
    b"b\\c",
];

struct Draw(SeededRandom);

impl Draw {
    fn below(&self, end: usize) -> usize {
        usize::try_from(self.0.u64() % end as u64).unwrap()
    }

    fn of<'a>(&self, choices: &[&'a [u8]]) -> &'a [u8] {
        choices[self.below(choices.len())]
    }

    fn rule(&self) -> (Vec<u8>, Rule) {
        loop {
            let anchor: &[u8] = self.of(&[b"", b"", b"", b"/"]);
            let body: Vec<u8> = (0..=self.below(4)).flat_map(|_| self.of(&PIECES).to_vec()).collect();
            let end: &[u8] = self.of(&[b"", b"", b"", b"/", b"/**", b"/***"]);
            let line = [self.of(&[b"- ", b"- ", b"+ "]), anchor, &body, end].concat();
            if let Ok(rule) = Rule::parse(&line) {
                return (line, rule);
            }
        }
    }

    /// Makes files and folders at random below `folder`.
    fn grow(&self, folder: &Path, depth: usize) {
        for _ in 0..2 + self.below(5) {
            let path = folder.join(OsStr::from_bytes(self.of(&NAMES)));
            if path.exists() {
                continue;
            }
            if depth > 0 && self.below(2) == 0 {
                fs::create_dir(&path).unwrap();
                self.grow(&path, depth - 1);
            } else {
                fs::write(&path, b"").unwrap();
            }
        }
    }
}

/// Every path below `root`, with whether it is a folder; `keep` says what to take and enter.
fn walk(root: &Path, keep: &dyn Fn(&RelPath, bool) -> bool) -> BTreeSet<(Vec<u8>, bool)> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let below = entry.path().strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            let is_dir = entry.file_type().unwrap().is_dir();
            if keep(&RelPath::parse(below.clone()).unwrap(), is_dir) {
                found.insert((below, is_dir));
                folders.extend(is_dir.then(|| entry.path()));
            }
        }
    }
    found
}

fn rsync(rules: &[Vec<u8>], from: &Path, to: &Path) {
    let mut command = Command::new("rsync");
    command.arg("-a");
    for rule in rules {
        command.arg(OsStr::from_bytes(&[b"--filter=", rule.as_slice()].concat()));
    }
    let with_slash = |path: &Path| [path.as_os_str().as_bytes(), b"/"].concat();
    command.arg(OsStr::from_bytes(&with_slash(from))).arg(OsStr::from_bytes(&with_slash(to)));
    let output = command.output().expect("this test compares us with rsync, which must be installed");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn show(paths: &BTreeSet<(Vec<u8>, bool)>) -> Vec<String> {
    paths.iter().map(|(path, is_dir)| escape(path) + if *is_dir { "/" } else { "" }).collect()
}

/// Compares one rule set on one tree; how many paths it excluded.
fn compare(seed: u64) -> usize {
    let draw = Draw(SeededRandom::new(seed));
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::create_dir(&from).unwrap();
    fs::create_dir(&to).unwrap();
    draw.grow(&from, 3);
    let (lines, rules): (Vec<Vec<u8>>, Vec<Rule>) = (0..=draw.below(4)).map(|_| draw.rule()).unzip();
    rsync(&lines, &from, &to);

    let filter = Filter::new(rules);
    let ours = walk(&from, &|path, is_dir| !filter.excludes(path, is_dir));
    let theirs = walk(&to, &|_, _| true);
    let shown: Vec<String> = lines.iter().map(|line| escape(line)).collect();
    assert_eq!(show(&ours), show(&theirs), "seed {seed}, rules {shown:?}");

    let all = walk(&from, &|_, _| true);
    for (path, is_dir) in &all {
        let excluded = filter.excludes_with_parents(&RelPath::parse(path.clone()).unwrap(), *is_dir);
        assert_eq!(excluded, !ours.contains(&(path.clone(), *is_dir)), "seed {seed}: {}", escape(path));
    }
    all.len() - ours.len()
}

#[test]
fn we_leave_out_what_rsync_leaves_out() {
    // rsync waits more than it works, so several at once.
    let excluded: usize = std::thread::scope(|scope| {
        let share = |lane| (0..CASES).filter(move |seed| seed % LANES == lane).map(compare).sum::<usize>();
        let lanes: Vec<_> = (0..LANES).map(|lane| scope.spawn(move || share(lane))).collect();
        lanes.into_iter().map(|lane| lane.join().unwrap()).sum()
    });
    assert!(excluded > 1_000, "the rules hardly excluded anything: {excluded}");
}
