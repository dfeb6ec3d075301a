//! What people do while the program works: everything is whole at once, as careful programs make it.

use super::{ANCHOR, MOST_DELETES, Node, World, join};
use crate::random::Random;

/// One thing that somebody does.
#[derive(Debug, Clone)]
pub enum Deed {
    /// A file appears at the source, or takes the place of one.
    Put(String, Node),
    /// A file goes from the source.
    Remove(String),
    /// A file of the source gets another name.
    Rename(String, String),
    /// A folder appears at the source.
    Folder(String),
    /// Somebody else's file appears at the target.
    Foreign(String, Node),
}

impl World {
    /// Draws one, as if it were done already.
    pub fn meanwhile(&mut self, random: &mut Random) -> Deed {
        let (roll, victim) = (random.below(10), self.victim(random));
        match (roll, victim) {
            (0..=3, Some(path)) => {
                self.change(random, &path);
                self.touch(&path)
            }
            (4, Some(path)) if self.may_go(&path) => {
                self.take_away(&path);
                Deed::Remove(path)
            }
            (5, Some(path)) if self.may_go(&path) => self.rename(random, path),
            (6, _) => {
                let path = join(&self.draw_folder(random), &format!("dir {}", self.next));
                self.next += 1;
                self.source.insert(path.clone(), Node::Dir);
                Deed::Folder(path)
            }
            (7, _) => {
                let path = join(&self.lasting_folder(random), &format!("foreign {}", self.next));
                let node = Node::File(self.version(&path, random.below(20_000)), 0o644);
                self.foreign.insert(path.clone(), node.clone());
                Deed::Foreign(path, node)
            }
            _ => {
                let path = join(&self.draw_folder(random), &format!("new {}", self.next));
                let size = random.below(60_000);
                self.put(random, &path, size);
                self.touch(&path)
            }
        }
    }

    fn victim(&self, random: &mut Random) -> Option<String> {
        let files = self.paths(|node| matches!(node, Node::File(..)));
        let files: Vec<String> = files.into_iter().filter(|path| path != ANCHOR).collect();
        (!files.is_empty()).then(|| random.pick(&files).clone())
    }

    /// Whether it may be removed: few enough are, and what somebody else put over it at the target stays a
    /// matter of the two versions.
    fn may_go(&self, path: &str) -> bool {
        self.deletes() < MOST_DELETES && self.edited.iter().all(|(edited, _)| edited != path)
    }

    fn rename(&mut self, random: &mut Random, from: String) -> Deed {
        let to = join(&self.draw_folder(random), &format!("renamed {}", self.next));
        self.next += 1;
        if let Some(node) = self.take_away(&from) {
            if let Node::File(version, _) = node {
                self.known.entry(to.clone()).or_default().push(version);
            }
            self.source.insert(to.clone(), node);
        }
        self.touched.insert(to.clone());
        Deed::Rename(from, to)
    }

    fn take_away(&mut self, path: &str) -> Option<Node> {
        // One that came after the last whole round may have been carried already: that counts as well.
        self.followed += usize::from(!self.base.contains_key(path));
        self.touched.insert(path.into());
        self.source.remove(path)
    }

    fn touch(&mut self, path: &str) -> Deed {
        self.touched.insert(path.into());
        Deed::Put(path.into(), self.source[path].clone())
    }

    /// A folder that is at both sides, and stays.
    fn lasting_folder(&self, random: &mut Random) -> String {
        let mut folders = self.paths(|node| *node == Node::Dir);
        folders.retain(|path| self.base.get(path) == Some(&Node::Dir));
        folders.push(String::new());
        random.pick(&folders).clone()
    }
}
