//! Two trees and a base in memory, and an engine in a page that carries plans out on them as the real
//! one must: compare and swap, trash, proof before removal.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;
use crate::entry::{Sameness, Time, same_content};
use crate::error::Problem;

/// What stands at a path of the model. `text` is a file's content or a link's target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub kind: Kind,
    pub text: String,
    pub mode: u32,
    pub mtime: i64,
    pub ctime: i64,
    pub inode: u64,
}

/// One end. A near one shows ctime and inode.
#[derive(Debug, Clone)]
pub struct Side {
    pub nodes: BTreeMap<RelPath, Node>,
    pub is_near: bool,
}

/// Somebody's doing at one end.
#[derive(Debug, Clone)]
pub enum Edit {
    Write(&'static str, Kind, String),
    /// Other content of the same length under the same mtime: shows on a near side only.
    Swap(&'static str),
    Touch(&'static str),
    Chmod(&'static str, u32),
    Remove(&'static str),
}

/// What a round came to.
#[derive(Debug, Default)]
pub struct Outcome {
    pub performed: Vec<String>,
    pub problems: Vec<Problem>,
    pub deleted: u64,
    /// The world right after somebody meddled.
    pub meddled: Option<World>,
}

#[derive(Debug, Clone)]
pub struct World {
    pub source: Side,
    pub target: Side,
    pub base: BTreeMap<RelPath, BaseView>,
    pub trash: Vec<Node>,
    /// Whether the target is walked, or base believed.
    pub looks: bool,
    /// Folders of the source that cannot be listed.
    pub unreadable: BTreeSet<RelPath>,
    clock: i64,
}

impl Node {
    fn stat(&self, is_near: bool) -> Stat {
        Stat {
            kind: self.kind,
            size: self.text.len() as u64,
            mtime: Time::from_secs(self.mtime),
            mode: self.mode,
            ctime: is_near.then(|| Time::from_secs(self.ctime)),
            inode: is_near.then_some(self.inode),
        }
    }

    fn hash(&self) -> ContentHash {
        ContentHash::of(self.text.as_bytes())
    }

    /// Whether it is the version that base remembers.
    pub fn is_version_of(&self, base: &BaseView) -> bool {
        self.kind == base.kind
            && match self.kind {
                Kind::File => base.hash == Some(self.hash()),
                Kind::Link => base.link.as_deref() == Some(self.text.as_bytes()),
                _ => true,
            }
    }

    /// Whether both are alike in all that is carried.
    pub fn is_copy_of(&self, other: &Node) -> bool {
        let alike = self.kind == other.kind && self.text == other.text;
        alike && (self.kind == Kind::Link || (self.mode, self.mtime) == (other.mode, other.mtime))
    }
}

impl Side {
    fn new(is_near: bool) -> Self {
        Self { nodes: BTreeMap::new(), is_near }
    }

    pub fn stat(&self, path: &RelPath) -> Option<Stat> {
        self.nodes.get(path).map(|node| node.stat(self.is_near))
    }

    fn seen(&self, path: &RelPath) -> Seen {
        self.stat(path).map_or(Seen::Absent, Seen::Here)
    }

    fn has_parent(&self, path: &RelPath) -> bool {
        let parent = path.parent().unwrap();
        parent.is_root() || self.nodes.get(&parent).is_some_and(|n| n.kind == Kind::Dir)
    }

    fn is_empty_below(&self, path: &RelPath) -> bool {
        !self.nodes.keys().any(|p| p != path && p.is_within(path))
    }

    fn take(&mut self, path: &RelPath) -> Vec<Node> {
        let paths: Vec<RelPath> = self.nodes.keys().filter(|p| p.is_within(path)).cloned().collect();
        paths.iter().filter_map(|p| self.nodes.remove(p)).collect()
    }

    /// Changes the mtime of the folder that `path` is in, as every system does.
    fn stir(&mut self, path: &RelPath, now: i64) {
        if let Some(folder) = self.nodes.get_mut(&path.parent().unwrap()) {
            folder.mtime = now;
            folder.ctime = now;
        }
    }

    fn write(&mut self, path: &RelPath, kind: Kind, text: &str, now: i64) {
        let (text, inode) = (text.to_owned(), now as u64);
        let node = Node { kind, text, mode: 0o755, mtime: now, ctime: now, inode };
        self.nodes.insert(path.clone(), node);
        self.stir(path, now);
    }

    fn edit(&mut self, edit: &Edit, now: i64) {
        let path = |text: &str| RelPath::parse(text.as_bytes()).unwrap();
        match edit {
            Edit::Write(at, kind, text) => {
                let path = path(at);
                if !self.has_parent(&path) {
                    return;
                }
                self.take(&path);
                let text = if *kind == Kind::Dir { String::new() } else { text.clone() };
                let node = Node { kind: *kind, text, mode: 0o755, mtime: now, ctime: now, inode: now as u64 };
                self.nodes.insert(path.clone(), node);
                self.stir(&path, now);
            }
            Edit::Remove(at) => {
                self.take(&path(at));
                self.stir(&path(at), now);
            }
            Edit::Swap(at) if self.is_near => {
                if let Some(node) = self.nodes.get_mut(&path(at)).filter(|n| n.kind == Kind::File) {
                    node.text = node.text.chars().map(|c| if c == 'x' { 'y' } else { 'x' }).collect();
                    (node.ctime, node.inode) = (now, now as u64);
                }
            }
            Edit::Swap(_) => {}
            Edit::Touch(at) => {
                if let Some(node) = self.nodes.get_mut(&path(at)) {
                    (node.mtime, node.ctime) = (now, now);
                }
            }
            Edit::Chmod(at, mode) => {
                if let Some(node) = self.nodes.get_mut(&path(at)).filter(|n| n.kind != Kind::Link) {
                    (node.mode, node.ctime) = (*mode, now);
                }
            }
        }
    }
}

impl World {
    pub fn push() -> Self {
        Self::new(true)
    }

    pub fn pull() -> Self {
        Self::new(false)
    }

    fn new(source_is_near: bool) -> Self {
        Self {
            source: Side::new(source_is_near),
            target: Side::new(!source_is_near),
            base: BTreeMap::new(),
            trash: Vec::new(),
            looks: true,
            unreadable: BTreeSet::new(),
            clock: 0,
        }
    }

    fn tick(&mut self) -> i64 {
        self.clock += 1;
        self.clock
    }

    pub fn edit_source(&mut self, edit: &Edit) {
        let now = self.tick();
        self.source.edit(edit, now);
    }

    pub fn edit_target(&mut self, edit: &Edit) {
        let now = self.tick();
        self.target.edit(edit, now);
    }

    /// Makes sure that a folder and those above it are there.
    pub fn make_folder_at_source(&mut self, path: &RelPath) {
        if path.is_root() || self.source.stat(path).is_some_and(|s| s.kind == Kind::Dir) {
            return;
        }
        self.make_folder_at_source(&path.parent().unwrap());
        let now = self.tick();
        self.source.take(path);
        self.source.write(path, Kind::Dir, "", now);
    }

    fn is_unknown(&self, path: &RelPath) -> bool {
        self.unreadable.iter().any(|folder| path != folder && path.is_within(folder))
    }

    /// What the scan would bring: every path of either side or base, in order.
    fn sights(&self) -> Vec<Sight> {
        let mut paths: BTreeSet<&RelPath> = self.base.keys().collect();
        paths.extend(self.source.nodes.keys().filter(|p| !self.is_unknown(p)));
        if self.looks {
            paths.extend(self.target.nodes.keys());
        }
        paths.into_iter().map(|path| self.sight(path)).collect()
    }

    fn sight(&self, path: &RelPath) -> Sight {
        let source = if self.is_unknown(path) { Seen::Unknown } else { self.source.seen(path) };
        let target = if self.looks { self.target.seen(path) } else { Seen::NotLooked };
        Sight { path: path.clone(), base: self.base.get(path).cloned(), source, target }
    }

    /// What stands there at this moment.
    fn look(&self, path: &RelPath) -> Sight {
        Sight { target: self.target.seen(path), ..self.sight(path) }
    }

    /// One round; `meddle` is somebody's doing at the target right before the action of that number.
    pub fn round(&mut self, rules: Rules, meddle: Option<(usize, Edit)>) -> Outcome {
        let mut engine = Engine { rules, outcome: Outcome::default(), stirred: BTreeSet::new(), meddle };
        let mut planner = Planner::new(rules);
        for sight in self.sights() {
            for action in planner.next(&sight) {
                engine.perform(self, action, &sight, Facts::default());
            }
        }
        engine.end(self, planner.finish());
        engine.outcome
    }
}

struct Engine {
    rules: Rules,
    outcome: Outcome,
    /// Folders in which something was placed or removed.
    stirred: BTreeSet<RelPath>,
    meddle: Option<(usize, Edit)>,
}

impl Engine {
    fn meddle(&mut self, world: &mut World) {
        let due = self.meddle.take_if(|(after, _)| *after <= self.outcome.performed.len());
        if let Some((_, edit)) = due {
            world.edit_target(&edit);
            self.outcome.meddled = Some(world.clone());
        }
    }

    fn perform(&mut self, world: &mut World, action: Action, sight: &Sight, facts: Facts) {
        self.meddle(world);
        if !matches!(action, Action::Report(_)) {
            self.outcome.performed.push(action.to_string());
            assert!(self.outcome.performed.len() < 200, "questions without end at {action:?}");
        }
        match action {
            Action::Put { ref path, expect, known, .. } => {
                let same = known.is_some() && world.source.nodes.get(path).map(Node::hash) == known;
                self.place(world, path, expect, same);
            }
            Action::PutLink { ref path, expect, .. } => self.place(world, path, expect, false),
            Action::MakeDir { ref path, expect, .. } => self.place(world, path, expect, false),
            Action::AdoptDir { path, settled, .. } => record(world, &path, !settled),
            Action::Compare { path, target, .. } => {
                if !still(world.target.stat(&path), &target) {
                    return self.again(world, &path);
                }
                let text = |side: &Side| side.nodes.get(&path).map(|n| n.text.clone());
                let equal = Some(text(&world.source) == text(&world.target));
                self.answer(world, sight, Facts { equal, ..facts });
            }
            Action::Recheck { path, role, stat, hash, link } => {
                let side = if role == Role::Source { &world.source } else { &world.target };
                if !still(side.stat(&path), &stat) {
                    return self.again(world, &path);
                }
                let node = &side.nodes[&path];
                let found = match node.kind {
                    Kind::Link => link.as_deref() == Some(node.text.as_bytes()),
                    _ => hash == Some(node.hash()),
                };
                let facts = match role {
                    Role::Source => Facts { source_is_base: Some(found), ..facts },
                    Role::Target => Facts { target_is_base: Some(found), ..facts },
                };
                self.answer(world, sight, facts);
            }
            Action::SetMeta { path, target, .. } => {
                if !still(world.target.stat(&path), &target) {
                    return self.again(world, &path);
                }
                set_meta(world, &path);
                record(world, &path, false);
            }
            Action::Record { path, source, target } => {
                record(world, &path, false);
                if let Some(row) = world.base.get_mut(&path) {
                    (row.source, row.target) = (source, target);
                }
            }
            Action::Forget { path } => drop(world.base.remove(&path)),
            Action::Report(problem) => self.outcome.problems.push(problem),
        }
    }

    /// What stands there is not what was planned for.
    fn again(&mut self, world: &mut World, path: &RelPath) {
        self.answer(world, &world.look(path), Facts::default());
    }

    fn answer(&mut self, world: &mut World, sight: &Sight, facts: Facts) {
        for action in reconsider(&self.rules, sight, facts) {
            self.perform(world, action, sight, facts);
        }
    }

    fn place(&mut self, world: &mut World, path: &RelPath, expect: Expect, same: bool) {
        let there = world.target.stat(path);
        let (fits, clears) = match expect {
            Expect::Absent | Expect::Unknown => (there.is_none(), false),
            Expect::Replace(old) => (still(there, &old), false),
            Expect::Retire(old) | Expect::Displace(old) => (still(there, &old), true),
        };
        if !fits {
            return self.again(world, path);
        }
        if !world.target.has_parent(path) {
            let problem = Problem::new(path.clone(), "place", "not-found", "no folder to place it in");
            return self.outcome.problems.push(problem);
        }
        if clears {
            let moved = world.target.take(path);
            world.trash.extend(moved);
        }
        if let (Expect::Replace(_), Some(old)) = (expect, world.target.nodes.get(path)) {
            assert!(old.is_version_of(&world.base[path]), "{path}: a version base never knew is overwritten");
        }
        self.write(world, path, same);
    }

    fn write(&mut self, world: &mut World, path: &RelPath, same: bool) {
        let now = world.tick();
        let source = world.source.nodes[path].clone();
        if !same {
            let mut node = Node { ctime: now, inode: now as u64, ..source.clone() };
            if node.kind == Kind::Dir {
                node.mtime = now;
            }
            assert!(world.target.nodes.get(path).is_none_or(|old| old.kind != Kind::Dir));
            world.target.nodes.insert(path.clone(), node);
            world.target.stir(path, now);
            self.stir(world, path);
        }
        if source.kind == Kind::File {
            set_meta(world, path);
        }
        record(world, path, source.kind == Kind::Dir);
    }

    fn stir(&mut self, world: &mut World, path: &RelPath) {
        let parent = path.parent().unwrap();
        if let Some(row) = world.base.get_mut(&parent) {
            row.unsettled = true;
        }
        self.stirred.insert(parent);
    }

    fn end(&mut self, world: &mut World, ending: Ending) {
        self.outcome.deleted += ending.deletes();
        self.outcome.problems.extend(ending.problems);
        for removal in ending.removals {
            self.meddle(world);
            self.outcome.performed.push(removal.to_string());
            self.remove(world, &removal);
        }
        for action in ending.after_removals {
            if world.target.stat(action.path()).is_some() {
                let problem = Problem::new(action.path().clone(), "place", "folder-in-the-way", "");
                self.outcome.problems.push(problem);
            } else {
                let sight = world.look(action.path());
                self.perform(world, action, &sight, Facts::default());
            }
        }
        for folder in ending.folders {
            if (folder.certain || self.stirred.contains(&folder.path))
                && world.target.stat(&folder.path).is_some_and(|s| s.kind == Kind::Dir)
            {
                self.outcome.performed.push(folder.to_string());
                set_meta(world, &folder.path);
                record(world, &folder.path, false);
            }
        }
    }

    fn remove(&mut self, world: &mut World, removal: &Removal) {
        let path = &removal.path;
        let gone = world.source.nodes.get(path).is_none_or(|n| removal.target.kind != n.kind);
        assert!(gone && !world.is_unknown(path), "{path}: deleted without proof");
        let there = world.target.stat(path);
        if removal.target.kind == Kind::Dir {
            if there.is_some_and(|s| s.kind == Kind::Dir) && world.target.is_empty_below(path) {
                self.take_away(world, path);
            } else if removal.in_the_way {
                return;
            }
            world.base.remove(path);
            return;
        }
        if !still(there, &removal.target) {
            return self.again(world, path);
        }
        let node = &world.target.nodes[path];
        if removal.prove.is_some_and(|hash| hash != node.hash()) {
            let facts = Facts { target_is_base: Some(false), ..Facts::default() };
            return self.answer(world, &world.look(path), facts);
        }
        assert!(node.is_version_of(&world.base[path]), "{path}: a version base never knew is deleted");
        self.take_away(world, path);
        world.base.remove(path);
    }

    fn take_away(&mut self, world: &mut World, path: &RelPath) {
        let now = world.tick();
        let moved = world.target.take(path);
        world.trash.extend(moved);
        world.target.stir(path, now);
        self.stir(world, path);
    }
}

fn still(now: Option<Stat>, then: &Stat) -> bool {
    now.is_some_and(|now| same_content(&now, then) == Sameness::Same)
}

fn set_meta(world: &mut World, path: &RelPath) {
    let now = world.tick();
    let source = world.source.nodes[path].clone();
    let node = world.target.nodes.get_mut(path).unwrap();
    (node.mode, node.mtime, node.ctime) = (source.mode, source.mtime, now);
}

fn record(world: &mut World, path: &RelPath, unsettled: bool) {
    let (Some(source), Some(target)) = (world.source.nodes.get(path), world.target.nodes.get(path)) else {
        return;
    };
    let row = BaseView {
        kind: source.kind,
        source: source.stat(world.source.is_near),
        target: target.stat(world.target.is_near),
        hash: (source.kind == Kind::File).then(|| source.hash()),
        link: (source.kind == Kind::Link).then(|| source.text.clone().into_bytes()),
        unsettled,
    };
    world.base.insert(path.clone(), row);
}
