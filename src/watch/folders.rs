//! Which folders are watched, and under which number. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::path::RelPath;

/// What is known of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It is to be looked at.
    Pending,
    /// The system refused; nothing tells of what happens in it or below it.
    Unwatched,
    /// Under this number.
    Watched(i32),
}

/// The folders below a root, the root among them. What is below a folder that is not watched is not here.
#[derive(Debug, Default)]
pub(super) struct Folders {
    by_path: BTreeMap<Arc<RelPath>, State>,
    by_number: HashMap<i32, Arc<RelPath>>,
    unwatched: usize,
}

impl Folders {
    /// How many there are, in whatever state.
    pub fn len(&self) -> usize {
        self.by_path.len()
    }

    /// How many are watched.
    pub fn watched(&self) -> usize {
        self.by_number.len()
    }

    /// How many the system refused to watch.
    pub fn unwatched(&self) -> usize {
        self.unwatched
    }

    /// What is known of a folder; `None`: that it is there.
    pub fn state(&self, path: &RelPath) -> Option<State> {
        self.by_path.get(path).copied()
    }

    /// The folder that is watched under a number.
    pub fn at(&self, number: i32) -> Option<&Arc<RelPath>> {
        self.by_number.get(&number)
    }

    /// There is such a folder. What is known of it stays.
    pub fn add(&mut self, path: Arc<RelPath>) {
        self.by_path.entry(path).or_insert(State::Pending);
    }

    /// What came of looking at a folder. A number that another path had is that path's no more: the system
    /// gives one number to one folder, whatever it is called at the moment or, by a bind mount, besides.
    pub fn set(&mut self, path: &Arc<RelPath>, state: State) {
        let before = self.by_path.insert(path.clone(), state);
        if let Some(State::Watched(number)) = before {
            self.by_number.remove(&number);
        }
        if let State::Watched(number) = state
            && let Some(other) = self.by_number.insert(number, path.clone())
        {
            self.by_path.insert(other, State::Unwatched);
            self.unwatched += 1;
        }
        self.unwatched += usize::from(state == State::Unwatched);
        self.unwatched -= usize::from(before == Some(State::Unwatched));
    }

    /// Forgets a folder and all below it. Returns the numbers that are of no more use.
    pub fn remove(&mut self, path: &RelPath) -> Vec<i32> {
        let mut numbers = self.remove_below(path);
        if let Some(state) = self.by_path.remove(path) {
            numbers.extend(self.forget(state));
        }
        numbers
    }

    /// Forgets all below a folder. Returns the numbers that are of no more use.
    pub fn remove_below(&mut self, path: &RelPath) -> Vec<i32> {
        let all = self.by_path.range::<RelPath, _>(path..).map(|(below, _)| below);
        let within = all.take_while(|below| below.is_within(path)).filter(|below| ***below != *path);
        let below: Vec<Arc<RelPath>> = within.cloned().collect();
        let states: Vec<State> = below.iter().filter_map(|below| self.by_path.remove(below)).collect();
        states.into_iter().filter_map(|state| self.forget(state)).collect()
    }

    fn forget(&mut self, state: State) -> Option<i32> {
        match state {
            State::Pending => None,
            State::Unwatched => {
                self.unwatched -= 1;
                None
            }
            State::Watched(number) => self.by_number.remove(&number).map(|_| number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Arc<RelPath> {
        Arc::new(RelPath::parse(text.as_bytes()).unwrap())
    }

    /// A folder each, watched under the numbers from 1 on; those with a `-` before them are not watched.
    fn folders(paths: &[&str]) -> Folders {
        let mut folders = Folders::default();
        for (number, text) in (1..).zip(paths) {
            let refused = text.strip_prefix('-');
            let state = if refused.is_some() { State::Unwatched } else { State::Watched(number) };
            folders.add(path(refused.unwrap_or(text)));
            folders.set(&path(refused.unwrap_or(text)), state);
        }
        folders
    }

    #[test]
    fn a_folder_goes_with_all_below_it() {
        let check = |gone: &str, numbers: &[i32], left: (usize, usize, usize)| {
            let mut folders = folders(&["", "a", "a/b", "-a/c", "a-b", "ab", "-d"]);
            let mut ended = folders.remove(&path(gone));
            ended.sort_unstable();
            assert_eq!(ended, numbers, "{gone}");
            assert_eq!((folders.len(), folders.watched(), folders.unwatched()), left, "{gone}");
        };
        check("a", &[2, 3], (4, 3, 1));
        check("a/b", &[3], (6, 4, 2));
        check("d", &[], (6, 5, 1));
        check("none", &[], (7, 5, 2));
        check("", &[1, 2, 3, 5, 6], (0, 0, 0));
    }

    #[test]
    fn a_number_belongs_to_the_path_that_had_it_last() {
        let mut folders = folders(&["", "a", "a/x"]);
        folders.add(path("b"));
        folders.set(&path("b"), State::Watched(2));
        assert_eq!(folders.at(2), Some(&path("b")));
        assert_eq!(folders.state(&path("a")), Some(State::Unwatched));
        assert_eq!((folders.watched(), folders.unwatched()), (3, 1));
        assert_eq!(folders.remove(&path("a")), [3]);
        assert_eq!((folders.watched(), folders.unwatched()), (2, 0));
    }

    #[test]
    fn another_folder_at_a_path_has_another_number() {
        let mut folders = folders(&["", "a"]);
        folders.set(&path("a"), State::Watched(9));
        assert_eq!((folders.at(2), folders.at(9)), (None, Some(&path("a"))));
        folders.set(&path("a"), State::Watched(9));
        assert_eq!(folders.at(9), Some(&path("a")));
        folders.set(&path("a"), State::Unwatched);
        folders.set(&path("a"), State::Unwatched);
        assert_eq!((folders.watched(), folders.unwatched()), (1, 1));
        folders.add(path("a"));
        assert_eq!(folders.state(&path("a")), Some(State::Unwatched));
    }
}
