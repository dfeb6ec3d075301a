//! Files, folders and links as an inode table, and a clock that moves with every change.

use std::collections::BTreeMap;

use super::power::{Change, Unsynced};
use crate::entry::{Kind, Meta, Stat, Time};
use crate::error;
use crate::path::{Name, RelPath};
use crate::tree::Traits;

/// Why something cannot be done.
pub(super) type Fault = (error::Kind, &'static str);
pub(super) type Outcome<T> = std::result::Result<T, Fault>;

/// Names longer than this are refused, as most file systems do (NAME_MAX).
const NAME_BYTES: usize = 255;

const ABSENT: Fault = (error::Kind::NotFound, "nothing is there");
const THROUGH_FILE: Fault = (error::Kind::Stale, "it, or something on the way to it, is not a folder");
const THROUGH_LINK: Fault = (error::Kind::Stale, "there is a symbolic link, and none is followed");
const TAKEN: Fault = (error::Kind::Exists, "something stands there");
const NO_ROOM: Fault = (error::Kind::NoSpace, "no space left");
const ROOT: Fault = (error::Kind::Failed, "it is the root");

/// What an inode is.
#[derive(Debug, Clone)]
pub(super) enum Content {
    File(Vec<u8>),
    Dir(BTreeMap<Vec<u8>, u64>),
    Link(Vec<u8>),
    Other,
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) content: Content,
    pub(super) mode: u32,
    pub(super) mtime: Time,
    ctime: Time,
    has_name: bool,
    handles: u32,
}

/// The whole tree. Everything in it happens at once, under one lock of the owner's.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) traits: Traits,
    /// Bytes of content that fit in.
    pub(super) capacity: Option<u64>,
    /// What a power cut may take back; `None`: nothing.
    pub(super) unsynced: Option<Unsynced>,
    /// What is done now is durable at once.
    pub(super) is_durable: bool,
    /// `None` while there is no root folder.
    root: Option<u64>,
    nodes: BTreeMap<u64, Node>,
    next_inode: u64,
    now: Time,
}

impl Store {
    /// A tree without even a root.
    pub(super) fn new(traits: Traits) -> Self {
        let now = Time::from_secs(1_000_000_000);
        Self {
            traits,
            capacity: None,
            unsynced: None,
            is_durable: false,
            root: None,
            nodes: BTreeMap::new(),
            next_inode: 1,
            now,
        }
    }

    pub(super) fn set_now(&mut self, now: Time) {
        self.now = now;
    }

    /// Moves the clock on, never back.
    pub(super) fn advance_to(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    /// Moves the clock by a millisecond: changes follow one another.
    fn tick(&mut self) -> Time {
        let nanos = self.now.nanos + 1_000_000;
        self.now =
            Time { secs: self.now.secs + i64::from(nanos / 1_000_000_000), nanos: nanos % 1_000_000_000 };
        self.now
    }

    /// A time as this side keeps it.
    pub(super) fn kept(&self, time: Time) -> Time {
        match self.traits.mtime_granularity_secs {
            0 => time,
            step => Time::from_secs(i64::from(time.to_sftp()) / step * step),
        }
    }

    pub(super) fn make_root(&mut self) {
        if self.root.is_none() {
            self.root = Some(self.new_node(Content::Dir(BTreeMap::new()), 0o755));
        }
    }

    pub(super) fn drop_root(&mut self) {
        if let Some(root) = self.root.take() {
            self.discard(root);
        }
    }

    /// The inode at a path. Nothing is followed.
    pub(super) fn find(&self, path: &RelPath) -> Outcome<u64> {
        let mut inode = self.root.ok_or(ABSENT)?;
        for name in path.components() {
            inode = *self.children(inode)?.get(name).ok_or(ABSENT)?;
        }
        Ok(inode)
    }

    /// What stands at a path; `None` if it is certain that nothing does.
    pub(super) fn look(&self, path: &RelPath) -> Outcome<Option<Stat>> {
        match self.find(path) {
            Ok(inode) => Ok(Some(self.stat(inode))),
            Err(ABSENT | THROUGH_FILE) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    pub(super) fn find_file(&self, path: &RelPath) -> Outcome<u64> {
        let inode = self.find(path)?;
        match self.nodes[&inode].content {
            Content::File(_) => Ok(inode),
            Content::Dir(_) => Err((error::Kind::Stale, "it is a folder")),
            Content::Link(_) => Err(THROUGH_LINK),
            Content::Other => Err((error::Kind::Stale, "it is a special file")),
        }
    }

    pub(super) fn node(&self, inode: u64) -> &Node {
        &self.nodes[&inode]
    }

    /// The names in a folder and their inodes.
    pub(super) fn children(&self, inode: u64) -> Outcome<&BTreeMap<Vec<u8>, u64>> {
        match &self.nodes[&inode].content {
            Content::Dir(children) => Ok(children),
            Content::Link(_) => Err(THROUGH_LINK),
            _ => Err(THROUGH_FILE),
        }
    }

    pub(super) fn stat(&self, inode: u64) -> Stat {
        let node = &self.nodes[&inode];
        let (kind, size) = match &node.content {
            Content::File(data) => (Kind::File, data.len() as u64),
            Content::Dir(_) => (Kind::Dir, 4096),
            Content::Link(target) => (Kind::Link, target.len() as u64),
            Content::Other => (Kind::Other, 0),
        };
        let near = !self.traits.is_far;
        let (ctime, inode) = (near.then_some(node.ctime), near.then_some(inode));
        Stat { kind, size, mtime: node.mtime, mode: node.mode, ctime, inode }
    }

    /// Makes something new. Errors with `Exists` if anything stands there.
    pub(super) fn create(&mut self, path: &RelPath, content: Content, mode: u32) -> Outcome<u64> {
        let Some(name) = path.name() else { return Err(TAKEN) };
        let folder = self.folder_of(path)?;
        if name.as_bytes().len() > NAME_BYTES {
            return Err((error::Kind::Name, "the name is too long"));
        }
        if self.children(folder)?.contains_key(name.as_bytes()) {
            return Err(TAKEN);
        }
        let inode = self.new_node(content, mode);
        self.note_names(vec![change(folder, &name, None, Some(inode))]);
        self.enter(folder, name.as_bytes(), inode);
        Ok(inode)
    }

    /// Renames, with `may_replace` over a file, link or special file; never over a folder.
    pub(super) fn rename(&mut self, from: &RelPath, to: &RelPath, may_replace: bool) -> Outcome<u64> {
        // In the order in which rename(2) finds out.
        let old = from.name().ok_or(ROOT)?;
        let left = self.folder_of(from)?;
        let new = to.name().ok_or(TAKEN)?;
        let folder = self.folder_of(to)?;
        let inode = *self.children(left)?.get(old.as_bytes()).ok_or(ABSENT)?;
        let target = self.children(folder)?.get(new.as_bytes()).copied();
        match target {
            Some(target) if target == inode && may_replace => return Ok(inode),
            Some(target) if !may_replace || self.children(target).is_ok() => return Err(TAKEN),
            _ if to.is_within(from) => return Err((error::Kind::Failed, "a folder cannot go into itself")),
            Some(_) if self.children(inode).is_ok() => return Err(THROUGH_FILE),
            _ => {}
        }
        if new.as_bytes().len() > NAME_BYTES {
            return Err((error::Kind::Name, "the name is too long"));
        }
        self.note_names(vec![
            change(left, &old, Some(inode), None),
            change(folder, &new, target, Some(inode)),
        ]);
        self.detach(left, old.as_bytes());
        if let Some(replaced) = target {
            self.discard(replaced);
        }
        self.enter(folder, new.as_bytes(), inode);
        Ok(inode)
    }

    pub(super) fn remove_file(&mut self, path: &RelPath) -> Outcome<()> {
        let inode = self.find(path)?;
        match self.children(inode) {
            Ok(_) if path.is_root() => Err(ROOT),
            Ok(_) => Err((error::Kind::Stale, "it is a folder")),
            Err(_) => self.remove(path),
        }
    }

    pub(super) fn remove_dir(&mut self, path: &RelPath) -> Outcome<()> {
        let inode = self.find(path)?;
        if path.is_root() {
            return Err(ROOT);
        }
        // rmdir(2) says of a link what it says of a file.
        if !self.children(inode).map_err(|_| THROUGH_FILE)?.is_empty() {
            return Err((error::Kind::NotEmpty, "the folder is not empty"));
        }
        self.remove(path)
    }

    /// Takes a name away, whatever it stands for and whatever is below it.
    pub(super) fn remove(&mut self, path: &RelPath) -> Outcome<()> {
        let inode = self.find(path)?;
        let Some(name) = path.name() else { return Err(ROOT) };
        let folder = self.folder_of(path)?;
        self.note_names(vec![change(folder, &name, Some(inode), None)]);
        self.detach(folder, name.as_bytes());
        self.discard(inode);
        Ok(())
    }

    pub(super) fn write(&mut self, inode: u64, offset: u64, bytes: &[u8]) -> Outcome<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let start = usize::try_from(offset).map_err(|_| NO_ROOM)?;
        let end = start.checked_add(bytes.len()).ok_or(NO_ROOM)?;
        self.resize(inode, end.max(self.data(inode).len()) as u64)?;
        if let Some(node) = self.nodes.get_mut(&inode)
            && let Content::File(data) = &mut node.content
        {
            data[start..end].copy_from_slice(bytes);
        }
        self.touch(inode);
        Ok(())
    }

    pub(super) fn resize(&mut self, inode: u64, len: u64) -> Outcome<()> {
        let len = usize::try_from(len).map_err(|_| NO_ROOM)?;
        let growth = (len as u64).saturating_sub(self.data(inode).len() as u64);
        if growth > 0 && self.free().is_some_and(|free| growth > free) {
            return Err(NO_ROOM);
        }
        self.note_content(inode);
        if let Some(node) = self.nodes.get_mut(&inode)
            && let Content::File(data) = &mut node.content
        {
            data.resize(len, 0);
        }
        Ok(())
    }

    /// The content of a file; empty for anything else.
    pub(super) fn data(&self, inode: u64) -> &[u8] {
        match &self.nodes[&inode].content {
            Content::File(data) => data,
            _ => &[],
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Bytes that still fit in.
    pub(super) fn free(&self) -> Option<u64> {
        let used = || self.nodes.keys().map(|inode| self.data(*inode).len() as u64).sum();
        self.capacity.map(|capacity| capacity.saturating_sub(used()))
    }

    /// Sets mode and mtime as far as this side keeps them.
    pub(super) fn set_meta(&mut self, inode: u64, meta: &Meta) {
        if !self.traits.keeps_mtime {
            return self.touch(inode);
        }
        self.set_mtime(inode, meta.mtime);
        if let Some(node) = self.nodes.get_mut(&inode) {
            node.mode = meta.mode & 0o777;
        }
    }

    /// Sets the mtime, whatever this side lets its user set.
    pub(super) fn set_mtime(&mut self, inode: u64, mtime: Time) {
        let (now, kept) = (self.tick(), self.kept(mtime));
        if let Some(node) = self.nodes.get_mut(&inode) {
            (node.mtime, node.ctime) = (kept, now);
        }
    }

    /// One more handle keeps the inode.
    pub(super) fn hold(&mut self, inode: u64) {
        if let Some(node) = self.nodes.get_mut(&inode) {
            node.handles += 1;
        }
    }

    pub(super) fn release(&mut self, inode: u64) {
        if let Some(node) = self.nodes.get_mut(&inode) {
            node.handles -= 1;
        }
        self.forget_unused(inode);
    }

    fn new_node(&mut self, content: Content, mode: u32) -> u64 {
        let inode = self.next_inode;
        self.next_inode += 1;
        let ctime = self.tick();
        let mtime = self.kept(ctime);
        self.nodes.insert(inode, Node { content, mode, mtime, ctime, has_name: true, handles: 0 });
        inode
    }

    fn folder_of(&self, path: &RelPath) -> Outcome<u64> {
        let folder = self.find(&path.parent().ok_or(ROOT)?)?;
        self.children(folder).map(|_| folder)
    }

    fn enter(&mut self, folder: u64, name: &[u8], inode: u64) {
        self.with_children(folder, |children| children.insert(name.to_vec(), inode));
        let now = self.tick();
        if let Some(node) = self.nodes.get_mut(&inode) {
            (node.has_name, node.ctime) = (true, now);
        }
    }

    fn detach(&mut self, folder: u64, name: &[u8]) {
        self.with_children(folder, |children| children.remove(name));
    }

    /// Lets go of an inode without a name, and of all that is below it.
    fn discard(&mut self, inode: u64) {
        let mut doomed = vec![inode];
        while let Some(inode) = doomed.pop() {
            let Some(node) = self.nodes.get_mut(&inode) else { continue };
            node.has_name = false;
            if let Content::Dir(children) = &mut node.content {
                doomed.extend(std::mem::take(children).into_values());
            }
            self.forget_unused(inode);
        }
    }

    fn with_children<R>(
        &mut self,
        folder: u64,
        work: impl FnOnce(&mut BTreeMap<Vec<u8>, u64>) -> R,
    ) -> Option<R> {
        self.touch(folder);
        match &mut self.nodes.get_mut(&folder)?.content {
            Content::Dir(children) => Some(work(children)),
            _ => None,
        }
    }

    fn touch(&mut self, inode: u64) {
        let now = self.tick();
        let kept = self.kept(now);
        if let Some(node) = self.nodes.get_mut(&inode) {
            (node.mtime, node.ctime) = (kept, now);
        }
    }

    /// The names in a folder; `None` if it is none.
    pub(super) fn children_of(&self, folder: u64) -> Option<&BTreeMap<Vec<u8>, u64>> {
        match &self.nodes.get(&folder)?.content {
            Content::Dir(children) => Some(children),
            _ => None,
        }
    }

    /// What an inode is, to be changed behind everybody's back.
    pub(super) fn content_of(&mut self, inode: u64) -> Option<&mut Content> {
        self.nodes.get_mut(&inode).map(|node| &mut node.content)
    }

    /// Makes a name stand for an inode or for nothing, whatever it stood for.
    pub(super) fn set_name(&mut self, folder: u64, name: &[u8], inode: Option<u64>) {
        let old = self
            .with_children(folder, |children| match inode {
                Some(inode) => children.insert(name.to_vec(), inode),
                None => children.remove(name),
            })
            .flatten();
        if let Some(old) = old.filter(|old| !self.is_named(*old)) {
            self.discard(old);
        }
        if let Some(node) = inode.and_then(|inode| self.nodes.get_mut(&inode)) {
            node.has_name = true;
        }
    }

    fn is_named(&self, inode: u64) -> bool {
        let holds = |node: &Node| matches!(&node.content, Content::Dir(c) if c.values().any(|&i| i == inode));
        self.nodes.values().any(holds)
    }

    fn forget_unused(&mut self, inode: u64) {
        if self.nodes.get(&inode).is_some_and(|node| !node.has_name && node.handles == 0) {
            self.nodes.remove(&inode);
        }
    }
}

fn change(folder: u64, name: &Name, before: Option<u64>, after: Option<u64>) -> Change {
    Change { folder, name: name.as_bytes().to_vec(), before, after }
}
