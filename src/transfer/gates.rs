//! Folders that are being made: what goes into one waits for it, everything else does not.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use tokio::sync::SetOnce;

use crate::path::RelPath;

/// So many folders are remembered as new: what goes into one follows soon.
const MOST_NEW: usize = 1_000;

/// The folders of one round that are not there yet, or could not be made, and those made last.
#[derive(Debug, Default)]
pub(super) struct Gates(Mutex<Folders>);

#[derive(Debug, Default)]
struct Folders {
    gates: HashMap<RelPath, Gate>,
    new: HashSet<RelPath>,
    /// The same, the oldest first.
    in_turn: VecDeque<RelPath>,
}

/// Whether the folder was made, once that is known. Those who wait go on in the order in which they came, which
/// `watch` does not see to: the same round takes the same steps.
type Gate = Arc<SetOnce<bool>>;

/// Opens one gate. Dropping it unused means that the folder could not be made.
pub(super) struct Opener {
    path: RelPath,
    gate: Gate,
}

impl Gates {
    /// Announces a folder before anything that goes into it is begun.
    pub fn announce(&self, path: &RelPath) -> Opener {
        let gate = Arc::new(SetOnce::new());
        self.lock().gates.insert(path.clone(), gate.clone());
        Opener { path: path.clone(), gate }
    }

    /// Notes that a folder is there.
    pub fn open(&self, opener: Opener) {
        self.lock().gates.remove(&opener.path);
        let _ = opener.gate.set(true); // nobody else does
    }

    /// Notes that a folder was not there and has been made.
    pub fn note_new(&self, path: &RelPath) {
        let mut folders = self.lock();
        folders.new.insert(path.clone());
        folders.in_turn.push_back(path.clone());
        if folders.in_turn.len() > MOST_NEW
            && let Some(oldest) = folders.in_turn.pop_front()
        {
            folders.new.remove(&oldest);
        }
    }

    /// Whether the folder that `path` goes into was made only just now.
    pub fn is_in_new(&self, path: &RelPath) -> bool {
        path.parent().is_some_and(|folder| self.lock().new.contains(&folder))
    }

    /// The same, or it is still being made and may turn out to be there already.
    pub fn may_be_in_new(&self, path: &RelPath) -> bool {
        let is_known = |folder: &RelPath| {
            let folders = self.lock();
            folders.new.contains(folder) || folders.gates.contains_key(folder)
        };
        path.parent().as_ref().is_some_and(is_known)
    }

    /// Waits for the folder that `path` goes into. `false`: it could not be made.
    pub async fn pass(&self, path: &RelPath) -> bool {
        let Some(folder) = path.parent() else { return true };
        let gate = self.lock().gates.get(&folder).cloned();
        let Some(gate) = gate else { return true };
        *gate.wait().await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Folders> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        let _ = self.gate.set(false); // unless it was made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).unwrap()
    }

    #[tokio::test]
    async fn contents_wait_for_their_folder_and_only_for_it() {
        let gates = Gates::default();
        let opener = gates.announce(&path("a"));
        assert!(gates.pass(&path("b/x")).await);
        let inside = path("a/x");
        let waiting = gates.pass(&inside);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        gates.open(opener);
        assert!(waiting.await);
        assert!(gates.pass(&path("a/y")).await);
    }

    #[test]
    fn the_folders_made_last_are_new() {
        let gates = Gates::default();
        let opener = gates.announce(&path("a"));
        assert_eq!((gates.may_be_in_new(&path("a/x")), gates.is_in_new(&path("a/x"))), (true, false));
        gates.note_new(&path("a"));
        gates.open(opener);
        assert!(gates.may_be_in_new(&path("a/x")) && gates.is_in_new(&path("a/x")));
        assert!(!gates.is_in_new(&path("a")) && !gates.may_be_in_new(&path("b/x")));
        (0..MOST_NEW).for_each(|number| gates.note_new(&path(&format!("d{number}"))));
        assert!(!gates.is_in_new(&path("a/x")), "it was long ago");
        assert!(gates.is_in_new(&path("d0/x")));
    }

    #[tokio::test]
    async fn a_folder_that_was_given_up_lets_nothing_in() {
        let gates = Gates::default();
        drop(gates.announce(&path("a")));
        assert!(!gates.pass(&path("a/x")).await);
    }
}
