//! Source, base and target brought together, path by path.

use std::collections::VecDeque;
use std::future::Future;

use super::Visits;
use super::side::{Problems, Side};
use crate::entry::Kind;
use crate::error::{Problem, Result};
use crate::path::RelPath;
use crate::plan::{BaseView, Role, Seen, Sight};

/// Base in path order, a page at a time.
pub trait BasePages: Send {
    /// The rows right after a path (from the first on for `None`). An empty page is the end.
    fn next_page(
        &mut self,
        after: Option<&RelPath>,
    ) -> impl Future<Output = Result<Vec<(RelPath, BaseView)>>> + Send;
}

/// Merges walks of the source and, if it is looked at, the target with base. What the source's walk leaves
/// out is left out of base as well, so that no rule can turn what it hides into something deleted.
pub struct Join<S, P, T> {
    source: Side<S>,
    rows: Rows<P>,
    target: Option<Side<T>>,
    problems: Problems,
}

impl<S: Visits, P: BasePages, T: Visits> Join<S, P, T> {
    /// A join at the start of the tree. Without a target, base is believed: all sights have
    /// [`Seen::NotLooked`].
    pub fn new(source: S, pages: P, target: Option<T>) -> Self {
        Self {
            source: Side::new(source, Role::Source),
            rows: Rows::new(pages),
            target: target.map(|walk| Side::new(walk, Role::Target)),
            problems: Problems::default(),
        }
    }

    /// The next path that any of the three knows, in path order. Errors only if a walk as a whole or
    /// base cannot be read on.
    pub async fn next(&mut self) -> Result<Option<Sight>> {
        self.source.fill(&mut self.problems).await?;
        self.rows.fill(&self.source.walk).await?;
        if let Some(target) = &mut self.target {
            target.fill(&mut self.problems).await?;
        }
        let Some(path) = self.first() else { return Ok(None) };
        let sight = Sight {
            base: self.rows.take(&path),
            source: self.source.see(&path),
            target: self.target.as_mut().map_or(Seen::NotLooked, |target| target.see(&path)),
            path,
        };
        self.pass_by(&sight).await?;
        Ok(Some(sight))
    }

    /// What could not be looked at since this was asked last.
    pub fn problems(&mut self) -> Vec<Problem> {
        self.problems.take()
    }

    /// How many entries of the source and of the target were seen so far.
    pub fn seen(&self) -> (u64, u64) {
        (self.source.seen, self.target.as_ref().map_or(0, |target| target.seen))
    }

    fn first(&self) -> Option<RelPath> {
        let target = self.target.as_ref().and_then(Side::peek);
        self.source.peek().into_iter().chain(self.rows.peek()).chain(target).min().cloned()
    }

    /// What is in a folder of the target's that neither the source nor base knows need not be looked at.
    async fn pass_by(&mut self, sight: &Sight) -> Result<()> {
        let Some(target) = &mut self.target else { return Ok(()) };
        let is_dir = |seen| matches!(seen, Seen::Here(stat) if stat.kind == Kind::Dir);
        if is_dir(sight.target) && !is_dir(sight.source) && sight.base.is_none() {
            self.rows.fill(&self.source.walk).await?;
            if !self.rows.peek().is_some_and(|next| next.is_within(&sight.path)) {
                target.walk.leave_out(&sight.path);
            }
        }
        Ok(())
    }
}

/// Base, a page in hand.
struct Rows<P> {
    pages: P,
    page: VecDeque<(RelPath, BaseView)>,
    last: Option<RelPath>,
    is_done: bool,
    /// The folder of the row looked at last, and whether it or one above it is left out.
    folder: (RelPath, bool),
}

impl<P: BasePages> Rows<P> {
    fn new(pages: P) -> Self {
        let folder = (RelPath::root(), false);
        Self { pages, page: VecDeque::new(), last: None, is_done: false, folder }
    }

    fn peek(&self) -> Option<&RelPath> {
        self.page.front().map(|(path, _)| path)
    }

    fn take(&mut self, path: &RelPath) -> Option<BaseView> {
        if self.peek() != Some(path) {
            return None;
        }
        self.page.pop_front().map(|(_, view)| view)
    }

    /// Sees to it that the next row that is not left out is at hand, unless there is none.
    async fn fill(&mut self, walk: &impl Visits) -> Result<()> {
        while self.page.is_empty() && !self.is_done {
            let page = self.pages.next_page(self.last.as_ref()).await?;
            self.is_done = page.is_empty();
            self.last = page.last().map(|(path, _)| path.clone());
            for (path, view) in page {
                if !self.skips(walk, &path, view.kind == Kind::Dir) {
                    self.page.push_back((path, view));
                }
            }
        }
        Ok(())
    }

    fn skips(&mut self, walk: &impl Visits, path: &RelPath, is_dir: bool) -> bool {
        let folder = path.parent().unwrap_or_default();
        if self.folder.0 != folder {
            let is_out = is_left_out(walk, &folder);
            self.folder = (folder, is_out);
        }
        self.folder.1 || walk.skips(path, is_dir)
    }
}

/// Whether a folder or one above it is left out.
fn is_left_out(walk: &impl Visits, folder: &RelPath) -> bool {
    let mut above = Some(folder.clone());
    while let Some(path) = above.filter(|path| !path.is_root()) {
        if walk.skips(&path, true) {
            return true;
        }
        above = path.parent();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Found, Skip, Visit, walk};
    use super::*;
    use crate::entry::{RefusedName, Stat, Time};
    use crate::error::{Error, Kind as ErrorKind};
    use crate::plan::{Planner, Rules};
    use crate::tree::memory::{Memory, Row};

    /// A walk written down: `a/` a folder, `a` a file, `a!` its folder cannot be listed, `a?` it was
    /// listed with a refused name.
    struct Written {
        visits: VecDeque<Visit>,
        left_out: Vec<String>,
        skip: Skip,
    }

    fn stat(kind: Kind) -> Stat {
        Stat { kind, size: 1, mtime: Time::from_secs(1), mode: 0o644, ctime: None, inode: None }
    }

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).unwrap()
    }

    fn refused() -> RefusedName {
        RefusedName { bytes: b"..".to_vec(), reason: "no".into() }
    }

    fn written(text: &str) -> Written {
        let visit = |word: &str| {
            let (name, mark) = word.split_at(word.len() - 1);
            let (name, found) = match mark {
                "/" => (name, Found::Here(stat(Kind::Dir))),
                "!" => (name, Found::Unreadable(Error::new(ErrorKind::Permission, "list", name))),
                "?" => (name, Found::Incomplete(vec![refused()])),
                _ => (word, Found::Here(stat(Kind::File))),
            };
            Visit { path: path(name), found }
        };
        let visits = text.split_whitespace().map(visit).collect();
        Written { visits, left_out: Vec::new(), skip: Arc::new(|_, _| false) }
    }

    impl Visits for Written {
        async fn next(&mut self) -> Result<Option<Visit>> {
            Ok(self.visits.pop_front())
        }

        fn leave_out(&mut self, folder: &RelPath) {
            self.left_out.push(folder.to_string());
            self.visits.retain(|visit| !visit.path.is_within(folder));
        }

        fn skips(&self, path: &RelPath, is_dir: bool) -> bool {
            (self.skip)(path, is_dir)
        }
    }

    /// Base written down, handed out in pages of this many rows.
    struct Pages(Vec<(RelPath, BaseView)>, usize);

    fn pages(text: &str, size: usize) -> Pages {
        let row = |word: &str| {
            let (name, kind) = match word.strip_suffix('/') {
                Some(name) => (name, Kind::Dir),
                None => (word, Kind::File),
            };
            let stat = stat(kind);
            let view =
                BaseView { kind, source: stat, target: stat, hash: None, link: None, unsettled: false };
            (path(name), view)
        };
        Pages(text.split_whitespace().map(row).collect(), size)
    }

    impl BasePages for Pages {
        async fn next_page(&mut self, after: Option<&RelPath>) -> Result<Vec<(RelPath, BaseView)>> {
            let rows = self.0.iter().filter(|(path, _)| after.is_none_or(|after| path > after));
            Ok(rows.take(self.1).cloned().collect())
        }
    }

    fn shown(sight: &Sight) -> String {
        let mark = |seen: Seen| match seen {
            Seen::Absent => '-',
            Seen::Here(_) => '+',
            Seen::Unknown => '?',
            Seen::NotLooked => '.',
        };
        let base = if sight.base.is_some() { '+' } else { '-' };
        format!("{}{}{base}{}", sight.path, mark(sight.source), mark(sight.target))
    }

    async fn joined<S: Visits, P: BasePages, T: Visits>(join: &mut Join<S, P, T>) -> String {
        let mut sights = Vec::new();
        while let Some(sight) = join.next().await.unwrap() {
            sights.push(shown(&sight));
        }
        sights.join(" ")
    }

    #[tokio::test]
    async fn three_streams_become_one_and_only_whole_listings_make_absent() {
        for (source, base, target, expected) in [
            ("a b", "b c", None, "a+-. b++. c-+."),
            ("a b", "b c", Some("c d"), "a+-- b++- c-++ d--+"),
            ("a/ a/x a-b", "a/ a/y a-c", Some("a/ a/z"), "a+++ a/x+-- a/y-+- a/z--+ a-b+-- a-c-+-"),
            // What is in a folder that cannot be listed is unknown, at any depth; what is beside it is not.
            ("a/ a! b", "a/ a/x/ a/x/y c", None, "a++. a/x?+. a/x/y?+. b+-. c-+."),
            ("a/ a! b", "a/ a/x", Some("a/ a/x a/y"), "a+++ a/x?++ a/y?-+ b+--"),
            ("a/ a/x", "a/ a/x a/y", Some("a/ a!"), "a+++ a/x++? a/y-+?"),
            ("! ", "a b/ b/c", None, "a?+. b?+. b/c?+."),
            // In a folder with refused names, what is shown is known, and what is not shown is not.
            (
                "a/ a? a/b/ a/x",
                "a/b/ a/b/c a/d a/d/e a/x b",
                None,
                "a+-. a/b++. a/b/c-+. a/d?+. a/d/e?+. a/x++. b-+.",
            ),
            // A file where base has a folder: what was in it is absent.
            ("a", "a/ a/x", Some("a/ a/x"), "a+++ a/x-++"),
            ("", "", None, ""),
        ] {
            for size in [1, 2, 100] {
                let target = target.map(written);
                let mut join = Join::new(written(source), pages(base, size), target);
                assert_eq!(joined(&mut join).await, expected, "{source} | {base} | {size}");
            }
        }
    }

    #[tokio::test]
    async fn a_foreign_folder_is_not_entered_unless_base_knows_what_is_in_it() {
        for (source, base, expected, left_out) in [
            ("", "", "f--+", "f"),
            ("f", "", "f+-+", "f"),
            ("f/", "", "f+-+ f/x--+", ""),
            ("", "f/", "f-++ f/x--+", ""),
            ("", "f/x", "f--+ f/x-++", ""),
            ("", "a f/x", "a-+- f--+ f/x-++", ""),
            ("", "g", "f--+ g-+-", "f"),
        ] {
            for size in [1, 100] {
                let mut join = Join::new(written(source), pages(base, size), Some(written("f/ f/x")));
                assert_eq!(joined(&mut join).await, expected, "{source} | {base} | {size}");
                assert_eq!(join.target.unwrap().walk.left_out.join(" "), left_out, "{source} | {base}");
            }
        }
    }

    #[tokio::test]
    async fn rows_that_are_left_out_now_are_as_if_they_were_not() {
        let base = "a/ a/b/ a/b/c a/d e.tmp f";
        for (skipped, expected) in [
            ("", "a++. a/b-+. a/b/c-+. a/d-+. e.tmp-+. f-+."),
            ("e.tmp", "a++. a/b-+. a/b/c-+. a/d-+. f-+."),
            ("a/b", "a++. a/d-+. e.tmp-+. f-+."),
            ("a", "e.tmp-+. f-+."),
        ] {
            for size in [1, 2, 100] {
                let skip: Skip = Arc::new(move |path, _| path.as_bytes() == skipped.as_bytes());
                let source = if skipped == "a" { "" } else { "a/" };
                let source = Written { skip, ..written(source) };
                let mut join = Join::new(source, pages(base, size), None::<Written>);
                assert_eq!(joined(&mut join).await, expected, "{skipped} {size}");
            }
        }
    }

    #[tokio::test]
    async fn a_row_in_a_left_out_folder_without_a_row_is_left_out_too() {
        let skip: Skip = Arc::new(|path, is_dir| is_dir && path.as_bytes() == b"a");
        let source = Written { skip, ..written("") };
        let mut join = Join::new(source, pages("a/b/c b", 1), None::<Written>);
        assert_eq!(joined(&mut join).await, "b-+.");
    }

    #[tokio::test]
    async fn what_could_not_be_looked_at_is_reported_within_a_bound() {
        let mut join = Join::new(written("a/ a! b/ b?"), pages("", 1), Some(written("a/ a!")));
        joined(&mut join).await;
        let problems = join.problems();
        let shown: Vec<String> = problems.iter().map(|p| format!("{} {}", p.path, p.kind)).collect();
        assert_eq!(shown, ["a permission-denied", "a permission-denied", "b name"]);
        assert!(join.problems().is_empty());
        let many: Vec<String> = (0..1_500).map(|i| format!("d{i:04}/ d{i:04}!")).collect();
        let mut join = Join::new(written(&many.join(" ")), pages("", 1), None::<Written>);
        joined(&mut join).await;
        let problems = join.problems();
        assert_eq!(problems.len(), 1_001);
        assert!(problems[1_000].message.starts_with("500 more"), "{}", problems[1_000].message);
    }

    /// From two trees to a plan: nothing in between is ours to invent.
    #[tokio::test]
    async fn two_trees_make_a_plan() {
        let source: [Row; 4] =
            [("a/new", "1", 1), ("a/same", "2", 1), ("kept", "3", 1), ("skipped.tmp", "4", 1)];
        let target: [Row; 4] =
            [("a/same", "2", 9), ("foreign/x/y", "5", 1), ("gone", "6", 1), ("kept", "3", 1)];
        let (source, target) = (Memory::near().and(&source), Memory::far().and(&target));
        let mut base = pages("a/ gone skipped.tmp", 2);
        for (path, view) in &mut base.0 {
            if let Some(stat) = crate::tree::Tree::stat(&target, path).await.unwrap() {
                (view.source, view.target) = (stat, stat);
            }
        }
        let skip: Skip = Arc::new(|path, _| path.as_bytes().ends_with(b".tmp"));
        let (near, far) = (walk(Arc::new(source), skip.clone()), walk(Arc::new(target), skip));
        let mut join = Join::new(near, base, Some(far));
        let mut planner = Planner::new(Rules::with_deletes());
        let mut lines = Vec::new();
        while let Some(sight) = join.next().await.unwrap() {
            lines.extend(planner.next(&sight).iter().map(ToString::to_string));
        }
        let ending = planner.finish();
        lines.extend(ending.removals.iter().map(ToString::to_string));
        assert_eq!(
            lines,
            [
                "copy    a/new  (new)",
                "compare a/same  (both sides may have the same content)",
                "compare kept  (both sides may have the same content)",
                "delete  gone  (gone at the source)",
            ]
        );
        assert_eq!(ending.tally.foreign.total(), 1);
        assert_eq!(join.seen(), (4, 5));
    }
}
