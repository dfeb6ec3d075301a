//! What stands in a tree, found out without the engine's help.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use highwater::entry::{Kind, Stat};
use highwater::path::RelPath;
use highwater::tree::Tree;
use highwater::tree::memory::Memory;

/// Things by their paths.
pub type Things = BTreeMap<RelPath, Thing>;

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thing {
    pub stat: Stat,
    /// Of a file's content or a link's target, and of which of the two; 0 for everything else.
    pub version: u128,
}

impl Thing {
    /// Whether it has content that can be lost.
    pub fn has_content(&self) -> bool {
        matches!(self.stat.kind, Kind::File | Kind::Link)
    }
}

/// Trees in memory do everything when they are first asked.
pub fn now<R>(call: impl Future<Output = R>) -> R {
    call.now_or_never().expect("a tree in memory never waits")
}

/// What stands at one path.
pub fn at(memory: &Memory, path: &RelPath) -> Option<Thing> {
    let stat = now(memory.stat(path)).ok()??;
    Some(Thing { stat, version: version(memory, path, &stat) })
}

/// The path itself and everything below it; what is ours only `with_own`.
pub fn below(memory: &Memory, path: &RelPath, with_own: bool) -> Things {
    let mut found = Things::new();
    let mut waiting = vec![path.clone()];
    while let Some(path) = waiting.pop() {
        if path.is_own() && !with_own {
            continue;
        }
        let Some(thing) = at(memory, &path) else { continue };
        if thing.stat.kind == Kind::Dir
            && let Ok(listing) = now(memory.list(&path))
        {
            waiting.extend(listing.entries.iter().chain(&listing.own).map(|entry| path.join(&entry.name)));
        }
        if !path.is_root() {
            found.insert(path, thing);
        }
    }
    found
}

fn version(memory: &Memory, path: &RelPath, stat: &Stat) -> u128 {
    match stat.kind {
        Kind::File => now(memory.read_whole(path, u64::MAX)).map_or(0, |whole| version_of(b"f", &whole.data)),
        Kind::Link => now(memory.read_link(path)).map_or(0, |target| version_of(b"l", &target)),
        Kind::Dir | Kind::Other => 0,
    }
}

fn version_of(kind: &[u8], content: &[u8]) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(kind).update(content);
    hasher.finalize().as_bytes().iter().take(16).fold(0, |number, byte| (number << 8) | u128::from(*byte))
}
