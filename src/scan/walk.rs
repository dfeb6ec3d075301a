//! One tree in path order, with listings fetched ahead.

use std::sync::Arc;

use super::ahead::{Ahead, Listed};
use super::{Found, Skip, Visit, Visits};
use crate::entry::{Entry, Kind};
use crate::error::Result;
use crate::path::RelPath;
use crate::tree::Tree;

/// How far a walk goes and how much it fetches ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Listings under way at once.
    pub at_once: usize,
    /// Listings that have arrived and are not needed yet.
    pub listings_ahead: usize,
    /// Entries in those.
    pub entries_ahead: usize,
    /// Levels of folders below the root. Linux cannot name what is deeper in one call (4,096 bytes);
    /// a server can make up any number.
    pub levels: usize,
}

impl Limits {
    /// What suits a tree. A far side answers late, so that much must be asked for at once; each listing
    /// holds one of the server's handles, of which transfers need most.
    pub fn of(tree: &impl Tree) -> Self {
        let traits = tree.traits();
        let most = if traits.is_far { 64 } else { 8 };
        Self {
            at_once: (traits.open_files / 4).clamp(1, most),
            listings_ahead: 1_024,
            entries_ahead: 200_000,
            levels: 2_048,
        }
    }
}

/// Visits a tree from its root, leaving out what `skip` says.
pub fn walk<T: Tree>(tree: Arc<T>, skip: Skip) -> Walk<T> {
    let limits = Limits::of(tree.as_ref());
    Walk::with(tree, skip, limits)
}

/// A walk under way. Dropping it ends the listings that it asked for.
pub struct Walk<T: Tree> {
    ahead: Ahead<T>,
    /// The folders on the way down to the current path, topmost first.
    open: Vec<Folder>,
    /// The folder that was visited last and is to be entered.
    entering: Option<RelPath>,
}

struct Folder {
    path: RelPath,
    entries: Arc<Vec<Entry>>,
    next: usize,
}

impl<T: Tree> Walk<T> {
    /// A walk with limits of one's own.
    pub fn with(tree: Arc<T>, skip: Skip, limits: Limits) -> Self {
        Self { ahead: Ahead::new(tree, skip, limits), open: Vec::new(), entering: Some(RelPath::root()) }
    }

    /// A walk of what is in one folder of the tree, which itself is not visited.
    pub fn within(tree: Arc<T>, skip: Skip, folder: RelPath) -> Self {
        let limits = Limits::of(tree.as_ref());
        Self { entering: Some(folder), ..Self::with(tree, skip, limits) }
    }

    /// Enters a folder; a visit comes of it only if something is wrong with its listing.
    async fn enter(&mut self, path: RelPath) -> Result<Option<Visit>> {
        match self.ahead.take(&path).await {
            Ok(Listed { entries, refused }) => {
                self.open.push(Folder { path: path.clone(), entries, next: 0 });
                let found = (!refused.is_empty()).then_some(Found::Incomplete(refused));
                Ok(found.map(|found| Visit { path, found }))
            }
            Err(error) if error.kind().ends_round() => Err(error),
            Err(error) => Ok(Some(Visit { path, found: Found::Unreadable(error) })),
        }
    }

    /// The next entry of the folder that the walk is in, leaving those that are through.
    fn step(&mut self) -> Option<Visit> {
        loop {
            let folder = self.open.last_mut()?;
            if let Some(entry) = folder.entries.get(folder.next) {
                folder.next += 1;
                return Some(Visit { path: folder.path.join(&entry.name), found: Found::Here(entry.stat) });
            }
            self.open.pop();
        }
    }
}

impl<T: Tree> Visits for Walk<T> {
    async fn next(&mut self) -> Result<Option<Visit>> {
        if let Some(path) = self.entering.clone() {
            let visit = self.enter(path).await?;
            self.entering = None;
            if visit.is_some() {
                return Ok(visit);
            }
        }
        let visit = self.step();
        if let Some(Visit { path, found: Found::Here(stat) }) = &visit
            && stat.kind == Kind::Dir
        {
            self.entering = Some(path.clone());
        }
        Ok(visit)
    }

    fn leave_out(&mut self, folder: &RelPath) {
        self.entering = self.entering.take().filter(|entering| entering != folder);
        self.ahead.forget(folder);
    }

    fn skips(&self, path: &RelPath, is_dir: bool) -> bool {
        self.ahead.skips(path, is_dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind as ErrorKind;
    use crate::tree::faulty::{Effect, Fault, Faulty, Gate};
    use crate::tree::memory::{Memory, Row};

    fn nothing() -> Skip {
        Arc::new(|_, _| false)
    }

    fn shown(visit: &Visit) -> String {
        match &visit.found {
            Found::Here(stat) if stat.kind == Kind::Dir => format!("{}/", visit.path),
            Found::Here(_) => visit.path.to_string(),
            Found::Unreadable(error) => format!("{} {}", visit.path, error.kind().as_str()),
            Found::Incomplete(refused) => format!("{} refused {}", visit.path, refused.len()),
        }
    }

    async fn all(walk: &mut impl Visits) -> Vec<String> {
        let mut visits = Vec::new();
        while let Some(visit) = walk.next().await.unwrap() {
            visits.push(shown(&visit));
        }
        visits
    }

    fn at(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).unwrap()
    }

    const ROWS: [Row; 8] = [
        ("a/b/c", "1", 1),
        ("a/b/d/", "", 0),
        ("a/e", "2", 1),
        ("a-f", "3", 1),
        ("a.g", "-> a", 0),
        (".highwater/trash/x", "4", 1),
        ("h/.highwater-1", "5", 1),
        ("h/i", "6", 1),
    ];

    #[tokio::test]
    async fn folders_come_before_their_contents_and_what_is_ours_never() {
        let tree = Arc::new(Memory::far().and(&ROWS));
        let visits = all(&mut walk(tree, nothing())).await;
        assert_eq!(visits, ["a/", "a/b/", "a/b/c", "a/b/d/", "a/e", "a-f", "a.g", "h/", "h/i"]);
    }

    #[tokio::test]
    async fn the_order_is_the_same_however_little_is_fetched_ahead() {
        let limits = |at_once, listings_ahead, entries_ahead| Limits {
            at_once,
            listings_ahead,
            entries_ahead,
            levels: 9,
        };
        let expected = all(&mut walk(Arc::new(Memory::far().and(&ROWS)), nothing())).await;
        for limits in [limits(1, 0, 0), limits(1, 1, 1), limits(2, 9, 9), limits(9, 0, 9), limits(9, 9, 0)] {
            let tree = Arc::new(Faulty::new(Memory::far().and(&ROWS), Vec::new()));
            let visits = all(&mut Walk::with(tree.clone(), nothing(), limits)).await;
            assert_eq!(visits, expected, "{limits:?}");
            assert_eq!(tree.script().calls("list"), 5, "{limits:?}: each folder is listed once");
        }
    }

    #[tokio::test]
    async fn what_is_left_out_is_not_listed() {
        let tree = Arc::new(Faulty::new(Memory::far().and(&ROWS), Vec::new()));
        let skip: Skip =
            Arc::new(|path, is_dir| is_dir && path.as_bytes() == b"a/b" || path.as_bytes() == b"a.g");
        let visits = all(&mut walk(tree.clone(), skip)).await;
        assert_eq!(visits, ["a/", "a/e", "a-f", "h/", "h/i"]);
        assert_eq!(tree.script().calls("list"), 3);
    }

    #[tokio::test]
    async fn a_folder_can_be_left_out_when_it_is_met() {
        let limits = Limits { at_once: 1, listings_ahead: 0, entries_ahead: 0, levels: 9 };
        for limits in [limits, Limits { at_once: 9, listings_ahead: 9, entries_ahead: 9, ..limits }] {
            let tree = Arc::new(Memory::far().and(&ROWS));
            let mut walk = Walk::with(tree, nothing(), limits);
            assert_eq!(shown(&walk.next().await.unwrap().unwrap()), "a/");
            walk.leave_out(&at("a"));
            assert_eq!(all(&mut walk).await, ["a-f", "a.g", "h/", "h/i"], "{limits:?}");
        }
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_listed_is_said_to_be_so_and_the_walk_goes_on() {
        let fault = Fault::on("list", Effect::Refuse(ErrorKind::Permission)).at(&at("a/b"));
        let tree = Arc::new(Faulty::new(Memory::far().and(&ROWS), vec![fault]));
        let visits = all(&mut walk(tree, nothing())).await;
        let expected = ["a/", "a/b/", "a/b permission-denied", "a/e", "a-f", "a.g", "h/", "h/i"];
        assert_eq!(visits, expected);
    }

    #[tokio::test]
    async fn a_lost_connection_ends_the_walk() {
        let fault = Fault::on("list", Effect::Lose).at(&at("h"));
        let tree = Arc::new(Faulty::new(Memory::far().and(&ROWS), vec![fault]));
        let mut walk = walk(tree, nothing());
        let error = loop {
            match walk.next().await {
                Ok(visit) => assert!(visit.is_some(), "the walk ended cleanly"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::Disconnected);
    }

    #[tokio::test]
    async fn a_missing_root_is_unreadable_not_empty() {
        let tree = Arc::new(Memory::without_root(crate::tree::memory::FAR));
        assert_eq!(all(&mut walk(tree, nothing())).await, [". not-found"]);
    }

    #[tokio::test]
    async fn folders_are_not_followed_for_ever() {
        let tree = Arc::new(Memory::far().and(&[("a/b/c/d/e", "1", 1), ("f", "2", 1)]));
        let limits = Limits { levels: 2, ..Limits::of(tree.as_ref()) };
        let visits = all(&mut Walk::with(tree, nothing(), limits)).await;
        assert_eq!(visits, ["a/", "a/b/", "a/b/c/", "a/b/c name", "f"]);
    }

    #[tokio::test]
    async fn listings_are_fetched_ahead_but_not_all_of_them() {
        let names: Vec<String> = (100..200).map(|i| format!("d{i}/x/y/f")).collect();
        let rows: Vec<Row> = names.iter().map(|name| (name.as_str(), "1", 1)).collect();
        let gate = Gate::shut();
        let held = Fault::on("list", Effect::Hold(gate.clone())).where_path(|path| !path.is_root());
        let tree = Arc::new(Faulty::new(Memory::far().and(&rows), vec![held]));
        let limits = Limits { at_once: 16, ..Limits::of(tree.as_ref()) };
        let mut walk = Walk::with(tree.clone(), nothing(), limits);
        walk.next().await.unwrap();
        gate.reached_by(16).await;
        assert_eq!(tree.script().calls("list"), 17);
        gate.open();
        assert_eq!(all(&mut walk).await.len(), 399);
        assert_eq!(tree.script().calls("list"), 301);
    }

    #[tokio::test]
    async fn entries_fetched_ahead_are_bounded() {
        let names: Vec<String> = (100..200).map(|i| format!("d{}/f{i}", i / 10)).collect();
        let rows: Vec<Row> = names.iter().map(|name| (name.as_str(), "1", 1)).collect();
        let tree = Arc::new(Faulty::new(Memory::far().and(&rows), Vec::new()));
        let limits = Limits { at_once: 1, entries_ahead: 20, ..Limits::of(tree.as_ref()) };
        let mut walk = Walk::with(tree.clone(), nothing(), limits);
        for _ in 0..12 {
            walk.next().await.unwrap();
        }
        let (done, listed) = (1, tree.script().calls("list") - 1);
        assert!(listed <= done + 3, "{listed} folders were listed though {done} was walked");
        assert_eq!(all(&mut walk).await.len(), 98);
    }
}
