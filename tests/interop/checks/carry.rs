//! A tree of everything that file systems allow is pushed, and pulled back to another place: each check looks at one
//! side of it.

use std::collections::BTreeMap;
use std::fs;

use super::Check;
use crate::bench::Bench;
use crate::support::program::Round;
use crate::support::sample;
use crate::support::tree_of::{Times, TreeOf, look};

/// Files in the wide folder.
const WIDE: usize = 400;

/// What stands where, as `tree_of::look` describes it.
type Look = BTreeMap<Vec<u8>, String>;

/// See the [module](self).
pub struct Carried {
    tree: TreeOf,
    near: Look,
    far: Look,
    back: Look,
    pushed: Round,
    again: Round,
    pulled: Round,
    pulled_again: Round,
}

/// The checks.
pub const LIST: [Check; 22] = [
    Check::carried("push: all goes well, and every file is read back", |c| {
        c.pushed.job["problems"]
            .as_array()
            .filter(|list| list.is_empty())
            .unwrap_or_else(|| panic!("{:#}", c.pushed.job));
        assert_eq!(c.pushed.code, 0, "{:#}", c.pushed.job);
        assert_eq!(c.pushed.verified("full"), c.tree.files(), "{:#}", c.pushed.job);
    }),
    Check::carried("push: once more does nothing", |c| nothing(&c.again)),
    Check::carried("push: names that are not UTF-8", |c| {
        c.arrive(|path| path.starts_with(b"names/") && std::str::from_utf8(path).is_err(), what)
    }),
    Check::carried("push: names with line feeds, tabs, escapes", |c| {
        c.arrive(|path| path.starts_with(b"names/") && path.iter().any(u8::is_ascii_control), what)
    }),
    Check::carried("push: names of 255 bytes", |c| {
        c.arrive(|path| path.starts_with(b"names/") && path.len() == 261, what)
    }),
    Check::carried("push: names that shells trip over", |c| {
        let is_odd = |byte: &u8| b" *?[]{}%~$`'\"\\|;&:-".contains(byte);
        c.arrive(
            move |path| path.starts_with(b"names/") && path.is_ascii() && path[6..].iter().any(is_odd),
            what,
        )
    }),
    Check::carried("push: names that differ by case or normalisation only", |c| {
        c.arrive(
            |path| path.starts_with(b"names/caf") || path.to_ascii_lowercase().starts_with(b"names/case"),
            what,
        )
    }),
    Check::carried("push: sizes from nothing to a megabyte, at the edges of packets", |c| {
        c.arrive(|path| path.starts_with(b"sizes"), what)
    }),
    Check::carried("push: empty folders", |c| {
        c.arrive(|path| path.ends_with(b"empty") || path.ends_with(b"at-all"), what)
    }),
    Check::carried("push: folders in folders, a path of 3,000 bytes", |c| {
        c.arrive(|path| path.starts_with(b"deep"), what)
    }),
    Check::carried("push: hundreds of files in one folder", |c| {
        c.arrive(|path| path.starts_with(b"wide"), what)
    }),
    Check::carried("push: links of all kinds, as links", |c| {
        c.arrive(|path| path.starts_with(b"links"), what);
        assert!(c.far.values().filter(|found| found.starts_with("link")).count() > 10);
    }),
    Check::carried("push: modes of files", |c| {
        c.arrive(|path| path.starts_with(b"modes") && !is_dir(&c.near, path), mode)
    }),
    Check::carried("push: modes of folders", |c| {
        c.arrive(|path| path.starts_with(b"modes") && is_dir(&c.near, path), mode)
    }),
    Check::carried("push: times of files, from 1970 to beyond 2038", |c| {
        c.arrive(|path| path.starts_with(b"times") && !is_dir(&c.near, path), mtime)
    }),
    Check::carried("push: times of folders", |c| {
        c.arrive(|path| path.starts_with(b"times") && is_dir(&c.near, path), mtime)
    }),
    Check::carried("pull: all goes well, and every file is read twice", |c| {
        assert_eq!((c.pulled.code, c.pulled.problems()), (0, Vec::new()), "{:#}", c.pulled.job);
        let files = c.far.values().filter(|found| found.starts_with("file")).count();
        assert_eq!(c.pulled.verified("full"), files as u64, "{:#}", c.pulled.job);
    }),
    Check::carried("pull: once more does nothing", |c| nothing(&c.pulled_again)),
    Check::carried("pull: names and contents come back", |c| c.come_back(what)),
    Check::carried("pull: links come back", |c| {
        assert!(c.back.values().filter(|found| found.starts_with("link")).count() > 10);
    }),
    Check::carried("pull: modes come back", |c| c.come_back(mode)),
    Check::carried("pull: times come back", |c| c.come_back(mtime)),
];

/// Pushes, pulls, and looks.
pub fn carry(bench: &Bench<'_>) -> Carried {
    let wide = (0..if bench.full { 5_000 } else { WIDE })
        .fold(TreeOf::new().dir("wide"), |tree, n| tree.file(format!("wide/file {n}"), n.to_string()));
    let tree = sample::everything().and(wide);
    bench.put_near(&tree);
    let near = look(&bench.near(), Times::Seconds);
    let (pushed, again) = (bench.push(&[]), bench.push(&[]));
    let far = look(&bench.far(), Times::Seconds);
    // Another place, so that nothing of it is there.
    fs::rename(bench.near(), bench.near().with_extension("pushed")).unwrap();
    let (pulled, pulled_again) = (bench.pull(&[]), bench.pull(&[]));
    let back = look(&bench.near(), Times::Seconds);
    Carried { tree, near, far, back, pushed, again, pulled, pulled_again }
}

impl Carried {
    /// Whether these paths are the same at the far side, as far as `aspect` tells.
    #[track_caller]
    fn arrive(&self, wanted: impl Fn(&[u8]) -> bool, aspect: fn(&str) -> &str) {
        let chosen: Vec<&Vec<u8>> = self.near.keys().filter(|path| wanted(path)).collect();
        assert!(chosen.len() > 1, "there is nothing to look at");
        compare(chosen.into_iter(), &self.near, &self.far, aspect);
    }

    /// Whether all that is at the far side is here again.
    #[track_caller]
    fn come_back(&self, aspect: fn(&str) -> &str) {
        assert!(self.far.len() > 50, "little is at the far side: {}", self.far.len());
        compare(self.far.keys(), &self.far, &self.back, aspect);
    }
}

#[track_caller]
fn compare<'a>(paths: impl Iterator<Item = &'a Vec<u8>>, one: &Look, other: &Look, aspect: fn(&str) -> &str) {
    let mut differences = Vec::new();
    for path in paths {
        let (one, other) = (one.get(path), other.get(path));
        let [expected, found] = [one, other].map(|found| found.map_or("nothing", |found| aspect(found)));
        if expected != found {
            differences.push(format!("{}: {expected} became {found}", path.escape_ascii()));
        }
    }
    let few = differences.iter().take(3).cloned().collect::<Vec<_>>().join("; ");
    assert!(differences.is_empty(), "{} differ: {few}", differences.len());
}

/// Kind and content, or target.
fn what(found: &str) -> &str {
    found.split(", mode").next().unwrap_or(found)
}

/// The permission bits; of a link its target, which is all it has.
fn mode(found: &str) -> &str {
    found.split(", mode ").nth(1).map_or(found, |rest| rest.split(',').next().unwrap_or(rest))
}

/// The mtime; of a link its target, which is all it has.
fn mtime(found: &str) -> &str {
    found.split("mtime ").nth(1).unwrap_or(found)
}

fn is_dir(look: &Look, path: &[u8]) -> bool {
    look[path].starts_with("folder")
}

#[track_caller]
fn nothing(round: &Round) {
    let fields = ["files_sent", "files_received", "bytes_sent", "bytes_received", "deleted", "displaced"];
    let did: Vec<_> = fields.into_iter().filter(|field| round.count(field) > 0).collect();
    assert!(round.code == 0 && did.is_empty(), "{did:?} {:#}", round.job);
}
