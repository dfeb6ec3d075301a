//! What a user has on both sides, as a model: which versions stand where, what the user did since the last
//! whole round, and so what must be true after the next one. Everything is drawn from a seed.

mod meanwhile;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::content::Version;
use crate::random::Random;
use crate::{Doing, Result};

pub use meanwhile::Deed;

/// Modification times count up from here by the version, in UTC seconds: long ago, so that no look comes too
/// early, and another one for each version.
const OLDEST_MTIME: u64 = 1_500_000_000;

/// A file that nobody touches: a source of which nothing is left that was there before is taken for lost.
const ANCHOR: &str = "always here";

/// So many deletes, of all rounds of a case together, are never held.
pub const MOST_DELETES: usize = 15;

/// A content of so many bytes says of which version it is.
const LEAST_BYTES: u64 = 64;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A folder.
    Dir,
    /// A symbolic link to this.
    Link(String),
    /// A file: its content, and its permissions.
    File(Version, u32),
}

/// A tree: what stands where, parents before what is in them.
pub type Tree = BTreeMap<String, Node>;

/// How large the files are.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Most small files, of up to 40 KiB.
    pub small: u64,
    /// Most large ones.
    pub large: u64,
    /// Most bytes of a large one.
    pub large_bytes: u64,
}

/// Both sides.
#[derive(Debug, Clone)]
pub struct World {
    /// What the user has at the source.
    pub source: Tree,
    /// What the last whole round left at the target, and nobody touched there since.
    pub base: Tree,
    /// What somebody else has at the target, beside it.
    pub foreign: Tree,
    /// Versions that somebody put over ours at the target: they must be kept in the trash.
    pub edited: Vec<(String, Version)>,
    /// Paths where somebody worked at the source while the program did: which of their versions it took first is
    /// left to chance.
    pub touched: BTreeSet<String>,
    /// Every version that ever was at a path: any other content there is torn.
    pub known: BTreeMap<String, Vec<Version>>,
    next: u32,
    /// How many deletes earlier rounds have followed.
    followed: usize,
}

impl World {
    /// A first tree at the source, nothing at the target.
    pub fn draw(random: &mut Random, sizes: &Sizes) -> Self {
        let mut world = Self {
            source: Tree::new(),
            base: Tree::new(),
            foreign: Tree::new(),
            edited: Vec::new(),
            touched: BTreeSet::new(),
            known: BTreeMap::new(),
            next: 1,
            followed: 0,
        };
        world.put(random, ANCHOR, 1_000);
        for number in 0..random.between(1, 6) {
            let parent = world.draw_folder(random);
            world.source.insert(join(&parent, &format!("dir {number}")), Node::Dir);
        }
        for _ in 0..random.between(3, sizes.small) {
            world.add_file(random, 40 << 10);
        }
        for _ in 0..random.below(sizes.large + 1) {
            world.add_large(random, sizes);
        }
        for _ in 0..random.below(3) {
            world.add_link(random);
        }
        world
    }

    /// What a user does between two rounds: edits, adds, removes, swaps kinds.
    pub fn edit(&mut self, random: &mut Random, sizes: &Sizes) {
        let files = self.paths(|node| matches!(node, Node::File(..)));
        for path in files.iter().filter(|path| *path != ANCHOR) {
            match random.below(10) {
                0..=2 => self.change(random, path),
                3 if self.deletes() < MOST_DELETES => drop(self.source.remove(path)),
                5 => self.change_mode(random, path),
                4 if self.deletes() < MOST_DELETES && random.chance(10) => {
                    self.source.insert(path.clone(), Node::Dir);
                    let inside = join(path, "was a file");
                    self.put(random, &inside, 5_000);
                }
                _ => {}
            }
        }
        for _ in 0..random.between(1, sizes.small / 2 + 1) {
            self.add_file(random, 40 << 10);
        }
        if sizes.large > 0 && random.chance(70) {
            self.add_large(random, sizes);
        }
        for path in self.paths(|node| matches!(node, Node::Link(_))) {
            if random.chance(40) {
                self.source.insert(path, Node::Link(format!("elsewhere {}", self.next)));
            }
        }
        self.edit_folders(random);
    }

    /// Removes a folder with all that is in it, or puts a file in its place, as long as few things go.
    fn edit_folders(&mut self, random: &mut Random) {
        let folders = self.paths(|node| *node == Node::Dir);
        if folders.is_empty() || !random.chance(40) {
            return;
        }
        let folder = random.pick(&folders).clone();
        let inside: Vec<String> =
            self.source.keys().filter(|path| is_below(path, &folder)).cloned().collect();
        if self.deletes() + inside.len() > MOST_DELETES {
            return;
        }
        inside.iter().for_each(|path| drop(self.source.remove(path)));
        self.source.remove(&folder);
        if random.chance(30) && !self.foreign.keys().any(|path| is_below(path, &folder)) {
            self.put(random, &folder, 9_000);
        }
    }

    /// What somebody does at the target meanwhile: adds things of their own, and replaces some of ours: of
    /// those that changed at the source if `only_due`, because nothing else is looked at.
    pub fn meddle(&mut self, random: &mut Random, only_due: bool) {
        let stays = |world: &Self, path: &str| {
            world.base.get(path) == Some(&Node::Dir) && world.source.get(path) == Some(&Node::Dir)
        };
        let mut folders: Vec<String> = self.base.keys().filter(|path| stays(self, path)).cloned().collect();
        folders.push(String::new());
        for number in 0..random.below(3) {
            let folder = random.pick(&folders).clone();
            let path = join(&folder, &format!("foreign {number} {}", self.next));
            let version = self.version(&path, random.below(20_000));
            self.foreign.insert(path, Node::File(version, 0o644));
        }
        let ours: Vec<String> = self
            .base
            .iter()
            .filter(|(path, node)| is_file(node) && self.source.get(*path).is_some_and(is_file))
            .filter(|(path, node)| !only_due || self.source.get(*path) != Some(*node))
            .map(|(path, _)| path.clone())
            .collect();
        if !ours.is_empty() && random.chance(60) {
            let path = random.pick(&ours).clone();
            let size = match &self.base[&path] {
                // Large enough to be another content, at least.
                Node::File(version, _) => version.size.max(LEAST_BYTES) + random.below(3),
                _ => 0,
            };
            let version = self.version(&path, size);
            self.edited.push((path.clone(), version));
            self.base.insert(path, Node::File(version, 0o644));
        }
    }

    /// A whole round was made: the target follows the source, and nothing is left to keep an eye on.
    pub fn agree(&mut self) {
        self.followed = self.deletes();
        self.base = self.source.clone();
        self.edited.clear();
        self.touched.clear();
    }

    /// How many files and links are gone at the source, or are about to be, in all rounds so far.
    pub fn deletes(&self) -> usize {
        let gone =
            self.base.iter().filter(|(path, node)| **node != Node::Dir && !self.source.contains_key(*path));
        self.followed + gone.count()
    }

    /// How many bytes have to cross.
    pub fn bytes_to_carry(&self) -> u64 {
        let due = |(path, node): (&String, &Node)| match (self.base.get(path), node) {
            (Some(Node::File(old, _)), Node::File(new, _)) if old == new => 0,
            (_, Node::File(version, _)) => version.size,
            _ => 0,
        };
        self.source.iter().map(due).sum()
    }

    /// How many of them are of files that somebody replaced at the target.
    pub fn bytes_edited(&self) -> u64 {
        let size = |(path, _): &(String, Version)| match self.source.get(path) {
            Some(Node::File(version, _)) => version.size,
            _ => 0,
        };
        self.edited.iter().map(size).sum()
    }

    /// Files and links that the next round takes away from the target, with what stood there.
    pub fn gone(&self) -> impl Iterator<Item = (&String, &Node)> {
        self.base.iter().filter(|(path, node)| {
            **node != Node::Dir && !self.source.get(*path).is_some_and(|now| now.is_like(node))
        })
    }

    /// One more version of a file of the source.
    pub fn change_one(&mut self, random: &mut Random, path: &str) -> Option<Node> {
        self.change(random, path);
        self.source.get(path).cloned()
    }

    /// Changes what is on disk below `root` from `was` to `now`.
    pub fn write(root: &Path, was: &Tree, now: &Tree) -> Result<()> {
        fs::create_dir_all(root).doing("make a root")?;
        for (path, old) in was.iter().rev() {
            if now.get(path).is_none_or(|new| !new.is_like(old)) {
                remove(&root.join(path), old).doing("remove what the user removed")?;
            }
        }
        for (path, node) in now {
            if let (Some(Node::File(old, _)), Node::File(new, mode)) = (was.get(path), node)
                && old == new
            {
                fs::set_permissions(root.join(path), Permissions::from_mode(*mode)).doing("change a mode")?;
            } else if was.get(path) != Some(node) {
                write_node(&root.join(path), node).doing(&format!("write {path:?}"))?;
            }
        }
        Ok(())
    }

    fn paths(&self, wanted: impl Fn(&Node) -> bool) -> Vec<String> {
        self.source.iter().filter(|(_, node)| wanted(node)).map(|(path, _)| path.clone()).collect()
    }

    fn draw_folder(&self, random: &mut Random) -> String {
        let mut folders = self.paths(|node| *node == Node::Dir);
        folders.push(String::new());
        random.pick(&folders).clone()
    }

    fn add_file(&mut self, random: &mut Random, most_bytes: u64) {
        const NAMES: [&str; 6] = ["file", "-rf", "ümläut", "a b", "x.tmp~", "#1;$(id)"];
        let folder = self.draw_folder(random);
        let path = join(&folder, &format!("{} {}", random.pick(&NAMES), self.next));
        let size = if random.chance(8) { 0 } else { random.below(most_bytes) };
        self.put(random, &path, size);
    }

    fn add_large(&mut self, random: &mut Random, sizes: &Sizes) {
        let folder = self.draw_folder(random);
        let path = join(&folder, &format!("large {}", self.next));
        let size = random.between(200_000, sizes.large_bytes);
        self.put(random, &path, size);
    }

    fn add_link(&mut self, random: &mut Random) {
        let folder = self.draw_folder(random);
        let path = join(&folder, &format!("link {}", self.next));
        self.source.insert(path, Node::Link(format!("to {}", self.next)));
        self.next += 1;
    }

    /// Another version, now and then of the same size. Shorter ones would have the same content.
    fn change(&mut self, random: &mut Random, path: &str) {
        let Some(Node::File(old, _)) = self.source.get(path) else { return };
        let size = if random.chance(30) { old.size } else { random.below(old.size.max(4_000) + 2_000) };
        self.put(random, path, if size == 0 { 0 } else { size.max(LEAST_BYTES) });
    }

    fn change_mode(&mut self, random: &mut Random, path: &str) {
        if let Some(Node::File(_, mode)) = self.source.get_mut(path) {
            *mode = *random.pick(&[0o640, 0o700, 0o664]);
        }
    }

    /// A file of just this size in the root.
    pub fn put_large(&mut self, random: &mut Random, size: u64) {
        let path = format!("large of its own {}", self.next);
        self.put(random, &path, size);
    }

    fn put(&mut self, random: &mut Random, path: &str, size: u64) {
        let version = self.version(path, size);
        let mode = *random.pick(&[0o644, 0o600, 0o755, 0o444]);
        self.source.insert(path.into(), Node::File(version, mode));
    }

    fn version(&mut self, path: &str, size: u64) -> Version {
        let version = Version::new(path, self.next, size);
        self.next += 1;
        self.known.entry(path.into()).or_default().push(version);
        version
    }
}

impl Node {
    /// Whether one replaces the other in one step: files by files, links by links.
    fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl Version {
    /// When it was made, UTC seconds.
    pub fn mtime(&self) -> u64 {
        OLDEST_MTIME + u64::from(self.number)
    }
}

/// What must stand at the target besides what the source has: what is foreign, and the folders it is in.
pub fn with_foreign(source: &Tree, foreign: &Tree) -> Tree {
    let mut expected = source.clone();
    for (path, node) in foreign {
        for folder in parents(path) {
            expected.entry(folder.into()).or_insert(Node::Dir);
        }
        expected.insert(path.clone(), node.clone());
    }
    expected
}

fn parents(path: &str) -> BTreeSet<&str> {
    path.match_indices('/').map(|(at, _)| &path[..at]).collect()
}

fn is_file(node: &Node) -> bool {
    matches!(node, Node::File(..))
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.into() } else { format!("{folder}/{name}") }
}

fn remove(path: &PathBuf, node: &Node) -> std::io::Result<()> {
    if *node == Node::Dir { fs::remove_dir(path) } else { fs::remove_file(path) }
}

/// Writes something in place of what is there, if that is of the same kind.
pub fn write_node(path: &Path, node: &Node) -> std::io::Result<()> {
    match node {
        Node::Dir => fs::create_dir(path),
        Node::Link(target) => {
            if path.is_symlink() {
                fs::remove_file(path)?;
            }
            symlink(target, path)
        }
        Node::File(version, mode) => {
            if path.exists() {
                fs::remove_file(path)?; // another inode, as careful programs make one
            }
            fs::write(path, version.content())?;
            let mtime = SystemTime::UNIX_EPOCH + Duration::from_secs(version.mtime());
            let file = File::options().write(true).open(path)?;
            file.set_modified(mtime)?;
            file.set_permissions(Permissions::from_mode(*mode))
        }
    }
}
