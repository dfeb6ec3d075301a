//! Folders that are being made: what goes into one waits for it, everything else does not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::SetOnce;

use crate::path::RelPath;

/// The folders of one round that are not there yet, or could not be made.
#[derive(Debug, Default)]
pub(super) struct Gates(Mutex<HashMap<RelPath, Gate>>);

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
        self.lock().insert(path.clone(), gate.clone());
        Opener { path: path.clone(), gate }
    }

    /// Notes that a folder is there.
    pub fn open(&self, opener: Opener) {
        let _ = opener.gate.set(true); // nobody else does
        self.lock().remove(&opener.path);
    }

    /// Waits for the folder that `path` goes into. `false`: it could not be made.
    pub async fn pass(&self, path: &RelPath) -> bool {
        let Some(folder) = path.parent() else { return true };
        let gate = self.lock().get(&folder).cloned();
        let Some(gate) = gate else { return true };
        *gate.wait().await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<RelPath, Gate>> {
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

    #[tokio::test]
    async fn a_folder_that_was_given_up_lets_nothing_in() {
        let gates = Gates::default();
        drop(gates.announce(&path("a")));
        assert!(!gates.pass(&path("a/x")).await);
    }
}
