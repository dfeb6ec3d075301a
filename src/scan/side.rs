//! One side of a join: what its walk has shown so far, and what that says of a path it did not show.

use super::{Found, Visit, Visits};
use crate::entry::{Kind, RefusedName, Stat};
use crate::error::{Error, Problem, Result};
use crate::path::RelPath;
use crate::plan::{Role, Seen};

/// So many problems are kept; of the rest only the number.
const MOST_PROBLEMS: usize = 1_000;

/// A walk with one entry of foresight.
pub(super) struct Side<V> {
    pub walk: V,
    role: Role,
    /// What the walk shows next.
    ahead: Option<(RelPath, Stat)>,
    is_done: bool,
    /// The folders on the way down to what was taken last, topmost first.
    open: Vec<Folder>,
    /// How many entries were taken.
    pub seen: u64,
}

struct Folder {
    path: RelPath,
    /// Whether it was listed to its end, so that what it does not show is absent.
    is_whole: bool,
}

/// Problems that a join came upon, within a bound.
#[derive(Debug, Default)]
pub(super) struct Problems {
    kept: Vec<Problem>,
    dropped: u64,
}

impl<V: Visits> Side<V> {
    pub fn new(walk: V, role: Role) -> Self {
        let root = Folder { path: RelPath::root(), is_whole: true };
        Self { walk, role, ahead: None, is_done: false, open: vec![root], seen: 0 }
    }

    /// Looks one entry ahead, unless it was done. What the walk says of folders concerns the one that
    /// was taken last.
    pub async fn fill(&mut self, problems: &mut Problems) -> Result<()> {
        while self.ahead.is_none() && !self.is_done {
            match self.walk.next().await? {
                None => self.is_done = true,
                Some(Visit { path, found: Found::Here(stat) }) => self.ahead = Some((path, stat)),
                Some(Visit { path, found: Found::Unreadable(error) }) => {
                    problems.push(unreadable(&path, &error, self.role));
                    self.doubt(&path);
                }
                Some(Visit { path, found: Found::Incomplete(refused) }) => {
                    refused.iter().for_each(|name| problems.push(refusal(&path, name, self.role)));
                    self.doubt(&path);
                }
            }
        }
        Ok(())
    }

    /// The path that the walk shows next.
    pub fn peek(&self) -> Option<&RelPath> {
        self.ahead.as_ref().map(|(path, _)| path)
    }

    /// What this side holds at a path that is not after the one shown next.
    pub fn see(&mut self, path: &RelPath) -> Seen {
        match self.ahead.take_if(|(ahead, _)| ahead == path) {
            Some((path, stat)) => {
                self.take(path, &stat);
                Seen::Here(stat)
            }
            None if self.is_known_below(path) => Seen::Absent,
            None => Seen::Unknown,
        }
    }

    fn take(&mut self, path: RelPath, stat: &Stat) {
        self.seen += 1;
        while self.open.pop_if(|folder| !path.is_within(&folder.path)).is_some() {}
        if stat.kind == Kind::Dir {
            self.open.push(Folder { path, is_whole: true });
        }
    }

    /// Whether the nearest folder above a path that is there was listed to its end.
    fn is_known_below(&self, path: &RelPath) -> bool {
        let nearest = self.open.iter().rev().find(|folder| path.is_within(&folder.path));
        nearest.is_some_and(|folder| folder.is_whole)
    }

    fn doubt(&mut self, path: &RelPath) {
        if let Some(folder) = self.open.iter_mut().rev().find(|folder| folder.path == *path) {
            folder.is_whole = false;
        }
    }
}

impl Problems {
    fn push(&mut self, problem: Problem) {
        if self.kept.len() < MOST_PROBLEMS {
            self.kept.push(problem);
        } else {
            self.dropped += 1;
        }
    }

    /// Those that came up since they were taken last.
    pub fn take(&mut self) -> Vec<Problem> {
        let mut problems = std::mem::take(&mut self.kept);
        if self.dropped > 0 {
            let message = format!("{} more folders or names of which the same is true", self.dropped);
            problems.push(Problem::new(RelPath::root(), "list", "unknown", message));
        }
        self.dropped = 0;
        problems
    }
}

fn unreadable(path: &RelPath, error: &Error, role: Role) -> Problem {
    let mut problem = Problem::from_error(path.clone(), error);
    problem.message =
        format!("{}{}; what is in it is left alone on both sides", whose(role), problem.message);
    problem
}

fn refusal(path: &RelPath, name: &RefusedName, role: Role) -> Problem {
    let message = format!(
        "{}a name in this folder cannot be carried ({name}); what the folder does not show is left alone",
        whose(role)
    );
    Problem::new(path.clone(), "list", "name", message)
}

fn whose(role: Role) -> &'static str {
    match role {
        Role::Source => "",
        Role::Target => "at the target: ",
    }
}
