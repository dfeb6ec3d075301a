//! A look at chosen places of a tree instead of all of it: single paths, the folders above them, and
//! whole folders where that was asked for.

use std::collections::BTreeMap;
use std::collections::btree_map::IntoIter;
use std::sync::Arc;

use super::{Found, Skip, Visit, Visits, Walk};
use crate::entry::Kind;
use crate::error::Result;
use crate::path::RelPath;
use crate::tree::Tree;

/// Which places, in path order. The folders above each are among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(BTreeMap<RelPath, Extent>);

/// How much is looked at at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What stands there.
    Itself,
    /// What stands there and all below it.
    Whole,
}

impl Places {
    /// Adds a place and the folders above it. What is within a whole folder needs no place of its own.
    pub fn add(&mut self, path: RelPath, extent: Extent) {
        if path.is_root() {
            return;
        }
        let mut above = Vec::new();
        let mut next = path.parent();
        while let Some(folder) = next.filter(|folder| !folder.is_root()) {
            if self.0.get(&folder) == Some(&Extent::Whole) {
                return;
            }
            next = folder.parent();
            above.push(folder);
        }
        for folder in above {
            self.0.entry(folder).or_insert(Extent::Itself);
        }
        if extent == Extent::Whole {
            self.0.retain(|other, _| other == &path || !other.is_within(&path));
        }
        let place = self.0.entry(path).or_insert(extent);
        if extent == Extent::Whole {
            *place = extent;
        }
    }

    /// Each place, in path order.
    pub fn iter(&self) -> impl Iterator<Item = (&RelPath, Extent)> {
        self.0.iter().map(|(path, extent)| (path, *extent))
    }
}

/// Visits places of a tree, in path order.
pub struct Spots<T: Tree> {
    tree: Arc<T>,
    skip: Skip,
    places: IntoIter<RelPath, Extent>,
    /// The whole folder that is being walked.
    inside: Option<Walk<T>>,
    /// A whole folder that was just visited and is to be walked.
    entering: Option<RelPath>,
}

impl<T: Tree> Spots<T> {
    /// Looks at `places`, leaving out what `skip` says.
    pub fn new(tree: Arc<T>, skip: Skip, places: Places) -> Self {
        Self { tree, skip, places: places.0.into_iter(), inside: None, entering: None }
    }

    async fn look(&mut self, path: RelPath, extent: Extent) -> Result<Option<Visit>> {
        match self.tree.stat(&path).await {
            Ok(Some(stat)) => {
                if extent == Extent::Whole && stat.kind == Kind::Dir {
                    self.entering = Some(path.clone());
                }
                let skipped = (self.skip)(&path, stat.kind == Kind::Dir);
                Ok((!skipped).then_some(Visit { path, found: Found::Here(stat) }))
            }
            Ok(None) => Ok(None),
            Err(error) if error.kind().ends_round() => Err(error),
            Err(error) => {
                let path = path.parent().unwrap_or_default();
                Ok(Some(Visit { path, found: Found::Unreadable(error) }))
            }
        }
    }
}

impl<T: Tree> Visits for Spots<T> {
    async fn next(&mut self) -> Result<Option<Visit>> {
        loop {
            if let Some(folder) = self.entering.take() {
                self.inside = Some(Walk::within(self.tree.clone(), self.skip.clone(), folder));
            }
            if let Some(walk) = &mut self.inside {
                if let Some(visit) = walk.next().await? {
                    return Ok(Some(visit));
                }
                self.inside = None;
            }
            let Some((path, extent)) = self.places.next() else { return Ok(None) };
            if let Some(visit) = self.look(path, extent).await? {
                return Ok(Some(visit));
            }
        }
    }

    fn leave_out(&mut self, folder: &RelPath) {
        self.entering = self.entering.take().filter(|entering| entering != folder);
        if let Some(walk) = &mut self.inside {
            walk.leave_out(folder);
        }
    }

    fn skips(&self, path: &RelPath, is_dir: bool) -> bool {
        (self.skip)(path, is_dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::memory::Memory;

    fn at(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).unwrap()
    }

    fn places(text: &str) -> Places {
        let mut places = Places::default();
        for word in text.split_whitespace() {
            match word.strip_suffix('/') {
                Some(folder) => places.add(at(folder), Extent::Whole),
                None => places.add(at(word), Extent::Itself),
            }
        }
        places
    }

    #[test]
    fn a_whole_folder_swallows_what_is_in_it_in_whatever_order_they_come() {
        let check = |text: &str, expected: &str| {
            let shown = |(path, extent): (&RelPath, Extent)| match extent {
                Extent::Whole => format!("{path}/"),
                Extent::Itself => path.to_string(),
            };
            assert_eq!(places(text).iter().map(shown).collect::<Vec<_>>().join(" "), expected, "{text}");
        };
        check("a/b/c", "a a/b a/b/c");
        check("a/b/c a/", "a/");
        check("a/ a/b/c", "a/");
        check("a/b/ a/b", "a a/b/");
        check("a/b a/b/", "a a/b/");
        check("a-b a/x a/", "a/ a-b");
    }

    #[tokio::test]
    async fn only_the_places_are_visited() {
        let rows = [("a/b/c", "1", 1), ("a/b/d", "2", 1), ("a/e", "3", 1), ("f/g", "4", 1), ("h", "5", 1)];
        let check = async |text: &str, expected: &str| {
            let tree = Arc::new(Memory::near().and(&rows));
            let mut spots = Spots::new(tree, Arc::new(|path, _| path == &at("f/g")), places(text));
            let mut seen = Vec::new();
            while let Some(visit) = spots.next().await.unwrap() {
                assert!(matches!(visit.found, Found::Here(_)));
                seen.push(visit.path.to_string());
            }
            assert_eq!(seen.join(" "), expected, "{text}");
        };
        check("a/b/c", "a a/b a/b/c").await;
        check("a/ h", "a a/b a/b/c a/b/d a/e h").await;
        check("a/gone f/g", "a f").await;
    }
}
