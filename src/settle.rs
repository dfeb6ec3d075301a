//! Which changed paths have been quiet long enough: file events and time go in, paths come out. Pure.
//!
//! The times are of a clock that never goes back, such as the time since the daemon started; they are handed
//! in. Nothing is forgotten: whatever was noted comes out once, by itself or within a folder that is to be
//! looked at as a whole. Of those there are some when more paths wait than there is room for.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::path::RelPath;

/// How many times the settle time a path waits at most while it keeps changing.
const MOST_WAITS: u32 = 30;

/// After so many rounds of making room, all goes into one.
const MOST_PASSES: usize = 64;

/// What has been quiet long enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quiet {
    /// Where something changed.
    pub path: RelPath,
    /// Whether all that is below it is to be looked at as well.
    pub is_whole: bool,
}

/// Paths that changed and are waited for.
#[derive(Debug, Clone)]
pub struct Settle {
    settle: Duration,
    limit: usize,
    /// No path lies within a folder that waits as a whole.
    waiting: BTreeMap<RelPath, Waiting>,
    folded: u64,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    first: Duration,
    last: Duration,
    is_whole: bool,
}

impl Waiting {
    fn join(self, other: Waiting) -> Self {
        let is_whole = self.is_whole || other.is_whole;
        Self { first: self.first.min(other.first), last: self.last.max(other.last), is_whole }
    }

    fn due(&self, settle: Duration) -> Duration {
        let quiet = self.last.saturating_add(settle);
        quiet.min(self.first.saturating_add(settle.saturating_mul(MOST_WAITS)))
    }
}

impl Settle {
    /// Paths are to be quiet for `settle`; at most `limit` of them wait, at least one.
    pub fn new(settle: Duration, limit: usize) -> Self {
        Self { settle, limit: limit.max(1), waiting: BTreeMap::new(), folded: 0 }
    }

    /// Something changed at `path`.
    pub fn note(&mut self, path: RelPath, now: Duration) {
        self.put(path, Waiting { first: now, last: now, is_whole: false });
        self.make_room();
    }

    /// Something changed at or below `folder`, and it is not known what.
    pub fn note_whole(&mut self, folder: RelPath, now: Duration) {
        self.fold(folder, Waiting { first: now, last: now, is_whole: true });
        self.make_room();
    }

    /// Takes out what has been quiet for the settle time, or waited for thirty times that; in the order of
    /// paths.
    pub fn take(&mut self, now: Duration) -> Vec<Quiet> {
        let mut quiet = Vec::new();
        self.waiting.retain(|path, waiting| {
            let is_due = waiting.due(self.settle) <= now;
            if is_due {
                quiet.push(Quiet { path: path.clone(), is_whole: waiting.is_whole });
            }
            !is_due
        });
        quiet
    }

    /// When [`take`](Self::take) will next have something; `None` while nothing waits.
    pub fn due(&self) -> Option<Duration> {
        self.waiting.values().map(|waiting| waiting.due(self.settle)).min()
    }

    /// How many paths wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How often paths were folded into their folder for want of room.
    pub fn folded(&self) -> u64 {
        self.folded
    }

    fn put(&mut self, path: RelPath, waiting: Waiting) {
        let path = self.whole_above(&path).unwrap_or(path);
        self.waiting.entry(path).and_modify(|before| *before = before.join(waiting)).or_insert(waiting);
    }

    /// The folder that waits as a whole and contains `path`.
    fn whole_above(&self, path: &RelPath) -> Option<RelPath> {
        let mut above = std::iter::successors(path.parent(), RelPath::parent);
        above.find(|folder| self.waiting.get(folder).is_some_and(|waiting| waiting.is_whole))
    }

    /// The folder waits as a whole, and with it all that waited below it.
    fn fold(&mut self, folder: RelPath, waiting: Waiting) {
        let below = self.waiting.range(&folder..).map(|(path, _)| path);
        let below: Vec<RelPath> = below.take_while(|path| path.is_within(&folder)).cloned().collect();
        let all = below.iter().filter_map(|path| self.waiting.remove(path));
        let waiting = all.fold(waiting, Waiting::join);
        self.put(folder, waiting);
    }

    /// Folds until half of the room is free, so that it is not done for every path: the folders in which
    /// most paths wait first, and when no folder has two, the deepest paths.
    fn make_room(&mut self) {
        if self.waiting.len() <= self.limit {
            return;
        }
        for _ in 0..MOST_PASSES {
            for folder in self.fullest() {
                if self.waiting.len() <= self.limit.div_ceil(2) {
                    return;
                }
                self.fold_folder(folder);
            }
        }
        self.fold_folder(RelPath::root());
    }

    fn fold_folder(&mut self, folder: RelPath) {
        let inside = self.waiting.range(&folder..).take_while(|(path, _)| path.is_within(&folder));
        let Some(waiting) = inside.map(|(_, waiting)| *waiting).reduce(Waiting::join) else { return };
        self.folded += 1;
        self.fold(folder, Waiting { is_whole: true, ..waiting });
    }

    /// The folders that make most room.
    fn fullest(&self) -> Vec<RelPath> {
        let mut paths: HashMap<RelPath, usize> = HashMap::new();
        for folder in self.waiting.keys().filter_map(RelPath::parent) {
            *paths.entry(folder).or_default() += 1;
        }
        let deepest = paths.keys().map(RelPath::depth).max().unwrap_or_default();
        let has_several = paths.values().any(|count| *count > 1);
        paths.retain(|folder, count| if has_several { *count > 1 } else { folder.depth() == deepest });
        let mut folders: Vec<(RelPath, usize)> = paths.into_iter().collect();
        folders.sort_by(|(a, many), (b, few)| few.cmp(many).then_with(|| a.cmp(b)));
        folders.into_iter().map(|(folder, _)| folder).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SETTLE: Duration = Duration::from_secs(2);

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).unwrap()
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// What came out, a folder as a whole with a slash behind it.
    fn shown(quiet: &[Quiet]) -> Vec<String> {
        quiet.iter().map(|q| format!("{}{}", q.path, if q.is_whole { "/" } else { "" })).collect()
    }

    fn noted(paths: &[&str], limit: usize) -> Settle {
        let mut settle = Settle::new(SETTLE, limit);
        paths.iter().for_each(|p| settle.note(path(p), secs(0)));
        settle
    }

    #[test]
    fn a_path_is_due_when_it_was_quiet() {
        let mut settle = noted(&["b", "a", "a/x"], 10);
        settle.note(path("a"), secs(1));
        assert_eq!(settle.due(), Some(secs(2)));
        assert_eq!(settle.take(Duration::from_millis(1_999)), []);
        assert_eq!(shown(&settle.take(secs(2))), ["a/x", "b"]);
        assert_eq!(settle.due(), Some(secs(3)));
        assert_eq!(shown(&settle.take(secs(3))), ["a"]);
        assert!(settle.is_empty() && settle.due().is_none());
    }

    #[test]
    fn a_path_that_never_is_quiet_is_due_all_the_same() {
        let mut settle = noted(&["log"], 10);
        for second in 1..60 {
            settle.note(path("log"), secs(second));
            assert_eq!(settle.take(secs(second)), [], "{second}");
        }
        settle.note(path("log"), secs(60));
        assert_eq!(shown(&settle.take(secs(60))), ["log"]);
        settle.note(path("log"), secs(61));
        assert_eq!(settle.due(), Some(secs(63)));
    }

    #[test]
    fn without_a_settle_time_everything_is_due_at_once() {
        let mut settle = Settle::new(Duration::ZERO, 10);
        settle.note(path("a"), secs(5));
        assert_eq!(shown(&settle.take(secs(5))), ["a"]);
    }

    #[test]
    fn a_folder_that_is_looked_at_as_a_whole_takes_in_what_is_below_it() {
        let mut settle = noted(&["a", "a/x", "a/y/z", "a-b", "b"], 10);
        settle.note_whole(path("a"), secs(1));
        settle.note(path("a/later"), secs(2));
        settle.note_whole(path("a/y"), secs(2));
        assert_eq!(shown(&settle.take(secs(2))), ["a-b", "b"]);
        assert_eq!(shown(&settle.take(secs(4))), ["a/"]);
        let mut settle = noted(&["a", "b/c"], 10);
        settle.note_whole(RelPath::root(), secs(0));
        assert_eq!(shown(&settle.take(secs(2))), ["./"]);
    }

    #[test]
    fn too_many_paths_become_the_folder_they_have_in_common() {
        let check = |paths: &[&str], limit, expected: &[&str]| {
            let mut settle = noted(paths, limit);
            assert_eq!(shown(&settle.take(secs(2))), expected, "{paths:?}");
            assert_eq!(settle.folded() > 0, expected.iter().any(|p| p.ends_with('/')), "{paths:?}");
        };
        check(&["d/1", "d/2", "d/3", "x/y"], 4, &["d/1", "d/2", "d/3", "x/y"]);
        check(&["d/1", "d/2", "d/3", "d/4", "x/y"], 4, &["d/", "x/y"]);
        check(&["d/1", "d/2", "e/1", "e/2", "e/3", "x/y"], 5, &["d/", "e/", "x/y"]);
        check(&["a", "b", "c"], 2, &["./"]);
    }

    #[test]
    fn paths_far_apart_become_their_nearest_common_folder() {
        let mut settle = noted(&["a/1/x", "a/2/x", "a/3/x", "a/4/x", "b"], 4);
        assert_eq!(shown(&settle.take(secs(2))), ["a/", "b"]);
        let mut settle = noted(&["a/x", "b/x", "c/x"], 2);
        assert_eq!(shown(&settle.take(secs(2))), ["./"]);
    }

    #[test]
    fn a_burst_leaves_other_paths_as_they_are() {
        let mut settle = Settle::new(SETTLE, 1_000);
        settle.note(path("deep/down/there/a"), secs(0));
        settle.note(path("deep/down/b"), secs(0));
        for n in 0..100_000 {
            settle.note(path(&format!("burst/folder/{n}")), secs(0));
            assert!(settle.len() <= 1_000);
        }
        assert_eq!(shown(&settle.take(secs(2))), ["burst/folder/", "deep/down/b", "deep/down/there/a"]);
        assert_eq!(settle.folded(), 1);
    }

    #[test]
    fn very_deep_paths_find_an_end() {
        let deep = |name: &str| path(&format!("{}x", format!("{name}/").repeat(1_000)));
        let mut settle = Settle::new(SETTLE, 3);
        ["a", "b", "c", "d"].iter().for_each(|name| settle.note(deep(name), secs(0)));
        assert_eq!(shown(&settle.take(secs(2))), ["./"]);
    }

    /// Paths in a tree of three names and three levels, at times a third of the settle time apart.
    fn any_events() -> impl Strategy<Value = Vec<(RelPath, bool, u64)>> {
        let text = "[abc](/[abc]){0,3}";
        let event = (text, prop::bool::weighted(0.1), 0u64..1_500);
        prop::collection::vec(event.prop_map(|(text, is_whole, wait)| (path(&text), is_whole, wait)), 1..80)
    }

    proptest! {
        #[test]
        fn all_that_was_noted_comes_out_in_time_and_not_before(events in any_events(), limit in 1usize..12) {
            let mut settle = Settle::new(SETTLE, limit);
            let mut noted: Vec<(RelPath, Duration, Duration)> = Vec::new();
            let mut now = Duration::ZERO;
            for (path, is_whole, wait) in events {
                now += Duration::from_millis(wait);
                let before = settle.due();
                let quiet = settle.take(now);
                prop_assert_eq!(before.is_some_and(|due| due <= now), !quiet.is_empty());
                for quiet in &quiet {
                    let covers = |path: &RelPath| *path == quiet.path || quiet.is_whole && path.is_within(&quiet.path);
                    let here = noted.iter().filter(|(path, ..)| covers(path));
                    let (first, last) = here.fold((now, Duration::ZERO), |t, n| (t.0.min(n.1), t.1.max(n.2)));
                    prop_assert!(last + SETTLE <= now || first + 30 * SETTLE <= now);
                    noted.retain(|(path, ..)| !covers(path));
                }
                prop_assert!(noted.iter().all(|(_, first, _)| *first + 30 * SETTLE > now), "{noted:?} {now:?}");
                match noted.iter_mut().find(|(p, ..)| *p == path) {
                    Some(known) => known.2 = now,
                    None => noted.push((path.clone(), now, now)),
                }
                if is_whole { settle.note_whole(path, now) } else { settle.note(path, now) }
                prop_assert!(settle.len() <= limit);
            }
            for quiet in settle.take(now + SETTLE) {
                noted.retain(|(path, ..)| !(*path == quiet.path || quiet.is_whole && path.is_within(&quiet.path)));
            }
            prop_assert!(noted.is_empty() && settle.is_empty());
        }

        #[test]
        fn nothing_that_waits_lies_within_a_folder_that_waits_as_a_whole(events in any_events(), limit in 1usize..12) {
            let mut settle = Settle::new(SETTLE, limit);
            for (path, is_whole, _) in events {
                if is_whole { settle.note_whole(path, secs(0)) } else { settle.note(path, secs(0)) }
            }
            let quiet = settle.take(SETTLE);
            for whole in quiet.iter().filter(|quiet| quiet.is_whole) {
                prop_assert!(!quiet.iter().any(|q| q != whole && q.path.is_within(&whole.path)));
            }
        }
    }
}
