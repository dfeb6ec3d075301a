//! Which jobs work at the same place.

use std::path::{Path, PathBuf};

use super::model::Job;
use crate::outcome::Mode;

/// Pairs of jobs, the earlier first, whose local folders are the same or one inside the other, unless both
/// only read them.
pub(super) fn local(jobs: &[&Job]) -> Vec<(usize, usize)> {
    let paths: Vec<PathBuf> = jobs.iter().map(|job| real(job.local.as_path())).collect();
    pairs(jobs.len(), |a, b| {
        let overlap = paths[a].starts_with(&paths[b]) || paths[b].starts_with(&paths[a]);
        overlap && (jobs[a].mode == Mode::Pull || jobs[b].mode == Mode::Pull)
    })
}

/// Pairs of pushes, the earlier first, into one folder of one server.
pub(super) fn remote(jobs: &[&Job]) -> Vec<(usize, usize)> {
    let is_push = |job: &Job| job.mode == Mode::Push;
    pairs(jobs.len(), |a, b| {
        let (a, b) = (jobs[a], jobs[b]);
        is_push(a) && is_push(b) && (&a.server, &a.remote) == (&b.server, &b.remote)
    })
}

fn pairs(count: usize, is_meant: impl Fn(usize, usize) -> bool) -> Vec<(usize, usize)> {
    let all = (0..count).flat_map(|later| (0..later).map(move |earlier| (earlier, later)));
    all.filter(|&(earlier, later)| is_meant(earlier, later)).collect()
}

/// The path with its links followed, as far as it exists, and the rest as written.
fn real(path: &Path) -> PathBuf {
    let known = path.ancestors().find_map(|ancestor| Some((ancestor, ancestor.canonicalize().ok()?)));
    let Some((ancestor, real)) = known else { return path.into() };
    path.strip_prefix(ancestor).map_or_else(|_| real.clone(), |rest| real.join(rest).components().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_do_not_hide_that_two_folders_are_one() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("data")).unwrap();
        std::os::unix::fs::symlink("data", root.join("link")).unwrap();
        assert_eq!(real(&root.join("link/not/yet")), root.join("data/not/yet"));
        assert_eq!(real(&root.join("link/")), root.join("data"));
        assert_eq!(real(&root.join("none//x")), root.join("none/x"));
    }
}
