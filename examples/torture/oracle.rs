//! Decides from the disks alone whether all is as it must be. Shares nothing with the program: it knows the
//! [world](crate::world) and looks at both sides byte by byte.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::content::{Version, recognise};
use crate::world::{Node, Tree, World, with_foreign};
use crate::{Doing, Result};

/// What begins the names of things that are the program's own.
const OURS: &str = ".highwater";

/// What a case may ask of deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletes {
    /// They were followed.
    Followed,
    /// What is gone at the source may still stand at the target: deletes could not be proved.
    MayWait,
}

/// What must be true once a round has ended well: the source is untouched, the target follows it, what is
/// foreign stays, nothing was lost.
pub fn check(world: &World, source: &Path, target: &Path, deletes: Deletes) -> Result<()> {
    same("the source", &read(source, world)?, &world.source)?;
    let found = read(target, world)?;
    let expected = with_foreign(&world.source, &world.foreign);
    match deletes {
        Deletes::Followed => same("the target", &found, &expected)?,
        Deletes::MayWait => may_have_more(world, &found, &expected)?,
    }
    Ok(())
}

/// Whether what went from the target by our hand lies in its trash: what is gone at the source, and what was
/// not ours. Where somebody worked while the program did, it is one of the versions there were.
pub fn nothing_lost(world: &World, target: &Path) -> Result<()> {
    let found = read(target, world)?;
    let trash = trash(target, world)?;
    let kept = |path: &str, node: &Node| match node {
        Node::File(..) if world.touched.contains(path) => trash.contains_key(path),
        Node::File(version, _) => trash.get(path).is_some_and(|there| there.contains(version)),
        _ => true, // links in the trash are not looked at
    };
    let lost: Vec<_> =
        world.gone().filter(|(path, node)| found.get(*path) != Some(*node) && !kept(path, node)).collect();
    if !lost.is_empty() {
        return Err(format!("gone from the target and not in its trash: {lost:?}"));
    }
    for (path, version) in &world.edited {
        if !trash.get(path).is_some_and(|there| there.contains(version)) {
            return Err(format!(
                "{path:?}: version {} of somebody else was replaced and is not in the trash",
                version.number
            ));
        }
    }
    Ok(())
}

/// Whether a tree stands on disk as it does here.
fn same(what: &str, found: &Tree, expected: &Tree) -> Result<()> {
    let paths: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    let differ: Vec<String> = paths
        .into_iter()
        .filter(|path| found.get(*path) != expected.get(*path))
        .map(|path| format!("{path:?} is {:?}, not {:?}", found.get(path), expected.get(path)))
        .collect();
    if differ.is_empty() {
        Ok(())
    } else {
        Err(format!("{what} is not as it should be: {}", differ.join("; ")))
    }
}

/// The target has all that it must have, and besides only what stood there before.
fn may_have_more(world: &World, found: &Tree, expected: &Tree) -> Result<()> {
    let more =
        |path: &String, node: &Node| !expected.contains_key(path) && world.base.get(path) == Some(node);
    let rest: Tree =
        found.iter().filter(|(path, node)| !more(path, node)).map(|(p, n)| (p.clone(), n.clone())).collect();
    same("the target", &rest, expected)
}

/// Whether every one of the target's files stands as it did before, changed by nobody.
pub fn lost_nothing(world: &World, target: &Path, before: &Tree) -> Result<()> {
    let found = read(target, world)?;
    let missing: Vec<&String> = before.keys().filter(|path| !found.contains_key(*path)).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("deleted without proof: {missing:?}")) }
}

/// What stands below a root, except what is the program's own. Every file must be one of the versions that
/// there were at its path.
pub fn read(root: &Path, world: &World) -> Result<Tree> {
    let mut tree = Tree::new();
    walk(root, "", &mut |path, found| {
        if is_ours(path) {
            return Ok(false);
        }
        let node = node(&root.join(path), found, world.known.get(path).map_or(&[], Vec::as_slice))?;
        tree.insert(path.into(), node);
        Ok(true)
    })?;
    Ok(tree)
}

fn node(path: &Path, found: &Metadata, known: &[Version]) -> Result<Node> {
    if found.is_dir() {
        return Ok(Node::Dir);
    }
    if found.is_symlink() {
        let target = fs::read_link(path).doing("read a link")?;
        return Ok(Node::Link(target.to_string_lossy().into_owned()));
    }
    let content = fs::read(path).doing("read a file")?;
    let version = version(found, &content, known).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(Node::File(version, found.mode() & 0o7777))
}

/// Which version it is by content and mtime. By content alone two empty ones would be the same.
fn version(found: &Metadata, content: &[u8], known: &[Version]) -> Result<Version> {
    let of_then: Vec<Version> =
        known.iter().filter(|version| version.mtime().cast_signed() == found.mtime()).copied().collect();
    recognise(content, &of_then).map_err(|what| match recognise(content, known) {
        Ok(version) => format!("its mtime is {}, and its content that of {version:?}", found.mtime()),
        Err(_) => what,
    })
}

/// The versions in the trash, by the path that they had.
fn trash(target: &Path, world: &World) -> Result<BTreeMap<String, BTreeSet<Version>>> {
    let root = target.join(OURS).join("trash");
    let mut kept: BTreeMap<String, BTreeSet<Version>> = BTreeMap::new();
    if !root.exists() {
        return Ok(kept);
    }
    walk(&root, "", &mut |path, found| {
        let Some((_, path_then)) = path.split_once('/') else { return Ok(true) };
        if found.is_file() {
            let content = fs::read(root.join(path)).doing("read a file in the trash")?;
            let known = world.known.get(path_then).map_or(&[][..], Vec::as_slice);
            let version =
                version(found, &content, known).map_err(|e| format!("in the trash, {path}: {e}"))?;
            kept.entry(path_then.into()).or_default().insert(version);
        }
        Ok(true)
    })?;
    Ok(kept)
}

/// Whether the program left nothing half done behind, but for `orphans`: what an agent had staged whose journal
/// was lost. That is a stranger's from then on, and is left alone for 30 days.
pub fn nothing_staged(target: &Path, orphans: &BTreeSet<String>) -> Result<()> {
    let left: Vec<String> = staged(target)?.into_iter().filter(|path| !orphans.contains(path)).collect();
    if left.is_empty() { Ok(()) } else { Err(format!("left staged: {left:?}")) }
}

/// What stands staged at the target.
pub fn staged(target: &Path) -> Result<BTreeSet<String>> {
    let mut left = BTreeSet::new();
    walk(target, "", &mut |path, found| {
        let name = path.rsplit('/').next().unwrap_or_default();
        let in_stage = path.starts_with(".highwater/stage/") && path.matches('/').count() > 2;
        let beside = name.starts_with(".highwater-");
        // An empty folder is where the last round moved what it removed for good; the next one takes it away.
        if !found.is_dir() && (in_stage || beside) {
            left.insert(path.to_owned());
        }
        Ok(!path.starts_with(".highwater/trash"))
    })?;
    Ok(left)
}

fn is_ours(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| name.starts_with(OURS))
}

/// Goes through everything below a root; whoever is asked says whether to go into a folder.
fn walk(root: &Path, below: &str, see: &mut dyn FnMut(&str, &Metadata) -> Result<bool>) -> Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root.join(below)).doing("list a folder")? {
        let name = entry.doing("list a folder")?.file_name();
        names.push(name.into_string().map_err(|name| format!("a name that nobody gave: {name:?}"))?);
    }
    names.sort();
    for name in names {
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        let found = fs::symlink_metadata(root.join(&path)).doing("look at a file")?;
        if see(&path, &found)? && found.is_dir() {
            walk(root, &path, see)?;
        }
    }
    Ok(())
}
