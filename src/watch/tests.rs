//! Real files in a temporary folder. A test waits until what must be told was told, up to a deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use tempfile::TempDir;

use super::source::{Event, Role, Source};
use super::*;
use crate::clock::{ManualClock, Random, SeededRandom};
use crate::path::RelPath;

const SETTLE: Duration = Duration::from_millis(20);
const DEADLINE: Duration = Duration::from_secs(60);

/// A watched folder, `root`, beside one that is not, `out`.
struct Fixture {
    dir: TempDir,
    watch: Watch,
    seen: Vec<Quiet>,
}

impl Fixture {
    /// Watches what `prepare` made, leaving out what is called `skipped`.
    async fn new(prepare: impl FnOnce(&Path)) -> Self {
        Self::on(prepare, Options::new(SETTLE), Box::new(|| Ok(Box::new(Inotify::open()?)))).await
    }

    async fn on(prepare: impl FnOnce(&Path), options: Options, open: Opener) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("out")).unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        prepare(&dir.path().join("root"));
        let watch = start(&dir.path().join("root"), options, open).await.unwrap();
        Self { dir, watch, seen: Vec::new() }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    fn out(&self, path: &str) -> PathBuf {
        self.dir.path().join("out").join(path)
    }

    async fn until(&mut self, what: &str, is_done: impl Fn(&[Quiet], &WatchStatus) -> bool) {
        let began = Instant::now();
        while !is_done(&self.seen, &self.watch.status()) {
            let (status, seen) = (self.watch.status(), self.seen.len());
            assert!(began.elapsed() < DEADLINE, "{what}: {seen} seen, {status:?}");
            if let Ok(seen) = tokio::time::timeout(SETTLE, self.watch.next()).await {
                let Seen::Quiet(quiet) = seen else { panic!("{what}: {seen:?}") };
                self.seen.extend(quiet);
            }
        }
    }

    async fn until_told(&mut self, paths: &[&str]) {
        let paths: Vec<RelPath> = paths.iter().map(|text| path(text)).collect();
        self.until_covered(&paths).await;
    }

    async fn until_covered(&mut self, paths: &[RelPath]) {
        let missing = |seen: &[Quiet]| paths.iter().filter(|path| !covers(seen, path)).count();
        self.until("not all was told", |seen, _| missing(seen) == 0).await;
    }

    fn told_of(&self) -> BTreeSet<RelPath> {
        self.seen.iter().map(|quiet| quiet.path.clone()).collect()
    }

    /// Until all that happened so far was told, and forgets it.
    async fn until_calm(&mut self) {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        // Told by its own name it comes after all that happened before; told within the root it may not.
        let is_told = |seen: &[Quiet], mark: &RelPath| seen.iter().any(|quiet| quiet.path == *mark);
        let mut mark = RelPath::root();
        while mark.is_root() || !is_told(&self.seen, &mark) {
            mark = path(&format!("mark-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
            symlink("nowhere", self.root().join(mark.as_os())).unwrap(); // one event, where a file makes two
            self.until_covered(std::slice::from_ref(&mark)).await;
            self.seen.retain(|quiet| !quiet.path.is_root());
        }
        let folders = folders_in(&self.root());
        self.until("it does not end", |_, status| {
            status.is_set_up && status.waiting == 0 && status.watched_folders + status.unwatched == folders
        })
        .await;
        self.seen.clear();
    }

    /// The watches stand where the folders are: a file in each of them is told of by its own name.
    async fn check_watches(&mut self) {
        self.until_calm().await;
        let snapshot = snapshot(&self.root());
        let folders = snapshot.iter().filter(|(_, look)| look.is_dir).map(|(path, _)| path);
        let probes: Vec<RelPath> = folders.map(|path| path.join_path(&self::path("probe"))).collect();
        probes.iter().for_each(|probe| fs::write(self.root().join(probe.as_os()), "probe").unwrap());
        self.until_covered(&probes).await;
        assert!(self.seen.iter().all(|quiet| !quiet.is_whole), "{:?}", self.seen);
        assert_eq!(self.told_of(), probes.into_iter().collect());
    }
}

async fn start(root: &Path, options: Options, open: Opener) -> Result<Watch> {
    let skip: Skip = Arc::new(|path, _| path.name().is_some_and(|name| name.as_bytes() == b"skipped"));
    let clock = Arc::new(ManualClock::new(Time::from_secs(77)));
    Watch::start_on(LocalRoot::new(root).unwrap(), skip, options, clock, open).await
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

fn covers(seen: &[Quiet], path: &RelPath) -> bool {
    seen.iter().any(|quiet| quiet.path == *path || quiet.is_whole && path.is_within(&quiet.path))
}

/// What a round would compare.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Look {
    is_dir: bool,
    mode: u32,
    content: Option<(u64, u64, i64, i64)>,
}

/// All below a folder, links not followed.
fn snapshot(root: &Path) -> BTreeMap<RelPath, Look> {
    let mut all = BTreeMap::new();
    let mut open = vec![RelPath::root()];
    while let Some(folder) = open.pop() {
        let meta = fs::symlink_metadata(root.join(folder.as_os())).unwrap();
        let content = (!meta.is_dir()).then(|| (meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()));
        all.insert(folder.clone(), Look { is_dir: meta.is_dir(), mode: meta.mode(), content });
        if meta.is_dir() {
            let entries = fs::read_dir(root.join(folder.as_os())).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name());
            open.extend(names.map(|name| folder.join_path(&RelPath::parse(name.as_bytes()).unwrap())));
        }
    }
    all
}

fn folders_in(root: &Path) -> usize {
    snapshot(root).values().filter(|look| look.is_dir).count()
}

fn differing(before: &BTreeMap<RelPath, Look>, after: &BTreeMap<RelPath, Look>) -> Vec<RelPath> {
    let paths: BTreeSet<&RelPath> = before.keys().chain(after.keys()).collect();
    paths.into_iter().filter(|path| before.get(path) != after.get(path)).cloned().collect()
}

fn write_files(folder: &Path, count: usize) {
    fs::create_dir_all(folder).unwrap();
    (0..count).for_each(|n| fs::write(folder.join(format!("f{n}")), "x").unwrap());
}

fn exchange(a: &Path, b: &Path) {
    renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).unwrap();
}

/// Does something, and checks that all that differs afterwards is told of and every folder is watched.
async fn check(prepare: impl FnOnce(&Path), act: impl FnOnce(&Fixture)) {
    let mut fixture = Fixture::new(prepare).await;
    let before = snapshot(&fixture.root());
    act(&fixture);
    let differing = differing(&before, &snapshot(&fixture.root()));
    assert!(!differing.is_empty());
    fixture.until_covered(&differing).await;
    fixture.check_watches().await;
}

#[tokio::test]
async fn files_are_told_of_one_by_one() {
    let mut fixture = Fixture::new(|root| write_files(&root.join("a/b"), 3)).await;
    fs::write(fixture.at("new"), "x").unwrap();
    fs::write(fixture.at("a/b/f0"), "xx").unwrap();
    fs::remove_file(fixture.at("a/b/f1")).unwrap();
    fs::set_permissions(fixture.at("a/b/f2"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(fixture.at("a"), fs::Permissions::from_mode(0o700)).unwrap();
    let told = ["a", "a/b/f0", "a/b/f1", "a/b/f2", "new"];
    fixture.until_told(&told).await;
    assert_eq!(fixture.told_of(), told.map(path).into());
    assert!(fixture.seen.iter().all(|quiet| !quiet.is_whole));
}

#[tokio::test]
async fn names_are_bytes() {
    let names = [&b"\xff\xfe"[..], b"new\nline", b" ", b"\x01", b"caf\xc3\xa9", &[b'n'; 255]];
    let mut fixture = Fixture::new(|_| {}).await;
    for name in names {
        let folder = fixture.root().join(OsStr::from_bytes(name));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(OsStr::from_bytes(name)), "x").unwrap();
    }
    let at = |name: &[u8]| RelPath::parse([name, b"/", name].concat()).unwrap();
    fixture.until_covered(&names.map(at)).await;
    fixture.check_watches().await;
}

#[tokio::test]
async fn what_is_left_out_is_not_even_watched() {
    let prepare = |root: &Path| {
        write_files(&root.join("skipped/below"), 2);
        write_files(&root.join("a/skipped"), 2);
        write_files(&root.join(".highwater/stage"), 2);
    };
    let mut fixture = Fixture::new(prepare).await;
    assert_eq!(fixture.watch.status().watched_folders, 2);
    for ours in ["skipped/f0", "skipped/below/f0", ".highwater/stage/f0", ".highwater-x", "a/.highwater-y"] {
        fs::write(fixture.at(ours), "more").unwrap();
    }
    fs::rename(fixture.at(".highwater/stage/f1"), fixture.at("placed")).unwrap();
    fs::remove_dir_all(fixture.at("a/skipped")).unwrap();
    write_files(&fixture.at("b/skipped"), 1);
    fixture.until_told(&["placed", "b"]).await;
    assert_eq!(fixture.watch.status().watched_folders, 3);
    assert_eq!(fixture.told_of(), [path("placed"), path("b")].into());
}

#[tokio::test]
async fn a_folder_that_is_made_and_filled_is_told_of() {
    check(|_| {}, |f| write_files(&f.at("a/b/c/d/e/f"), 50)).await;
    let many = |f: &Fixture| (0..40).for_each(|n| write_files(&f.at(&format!("{}/{n}", n % 7)), 5));
    check(|_| {}, many).await;
}

#[tokio::test]
async fn folders_move_in_about_and_out() {
    let full = |root: &Path| write_files(&root.join("a/b/c"), 200);
    let into = |f: &Fixture| {
        write_files(&f.out("x/y"), 1_000);
        fs::rename(f.out("x"), f.at("moved")).unwrap();
    };
    check(|_| {}, into).await;
    check(full, |f| fs::rename(f.at("a"), f.at("d")).unwrap()).await;
    check(full, |f| fs::rename(f.at("a/b/c"), f.at("c")).unwrap()).await;
    check(full, |f| fs::rename(f.at("a/b"), f.out("b")).unwrap()).await;
    let chain = |f: &Fixture| {
        (0..50).for_each(|n| fs::rename(f.at(&format!("a{n}")), f.at(&format!("a{}", n + 1))).unwrap());
    };
    check(|root| write_files(&root.join("a0/b"), 3), chain).await;
}

#[tokio::test]
async fn what_moved_out_is_told_of_no_more() {
    let mut fixture = Fixture::new(|root| write_files(&root.join("a/b"), 3)).await;
    fs::rename(fixture.at("a"), fixture.out("a")).unwrap();
    fixture.until_calm().await;
    fs::write(fixture.out("a/b/f0"), "xx").unwrap();
    fs::write(fixture.out("a/b/new"), "xx").unwrap();
    fs::write(fixture.at("last"), "").unwrap();
    fixture.until_told(&["last"]).await;
    assert_eq!(fixture.told_of(), [path("last")].into());
}

#[tokio::test]
async fn two_folders_exchange_their_names() {
    let two = |root: &Path| {
        write_files(&root.join("a/x"), 3);
        write_files(&root.join("b/y/z"), 2);
        fs::write(root.join("c"), "x").unwrap();
    };
    check(two, |f| exchange(&f.at("a"), &f.at("b"))).await;
    check(two, |f| exchange(&f.at("a"), &f.at("c"))).await;
    check(two, |f| exchange(&f.at("a/x"), &f.at("b/y"))).await;
    let replaced = |f: &Fixture| {
        fs::create_dir(f.at("empty")).unwrap();
        fs::rename(f.at("a"), f.at("empty")).unwrap();
    };
    check(two, replaced).await;
}

#[tokio::test]
async fn an_editor_saves() {
    let save = |f: &Fixture| {
        fs::write(f.at("a/.text.swp"), "draft").unwrap();
        fs::rename(f.at("a/f0"), f.at("a/f0~")).unwrap();
        fs::write(f.at("a/new"), "text").unwrap();
        fs::rename(f.at("a/new"), f.at("a/f0")).unwrap();
        fs::remove_file(f.at("a/f0~")).unwrap();
        fs::remove_file(f.at("a/.text.swp")).unwrap();
    };
    check(|root| write_files(&root.join("a"), 2), save).await;
}

#[tokio::test]
async fn trees_are_deleted_and_made_again() {
    let tree = |root: &Path| (0..20).for_each(|n| write_files(&root.join(format!("a/{n}/x")), 10));
    check(tree, |f| fs::remove_dir_all(f.at("a")).unwrap()).await;
    let again = |f: &Fixture| {
        for n in 0..10 {
            fs::remove_dir_all(f.at("a")).unwrap();
            write_files(&f.at("a/3/x"), n);
            write_files(&f.at(&format!("a/{n}/y/z")), 2);
        }
    };
    check(tree, again).await;
}

#[tokio::test]
async fn links_to_folders_are_not_followed() {
    let mut fixture = Fixture::new(|root| write_files(&root.join("a"), 1)).await;
    write_files(&fixture.out("there"), 1);
    symlink(fixture.out("there"), fixture.at("link")).unwrap();
    symlink(fixture.at("a"), fixture.at("a/loop")).unwrap();
    fixture.until_told(&["link", "a/loop"]).await;
    assert_eq!(fixture.watch.status().watched_folders, 2);
    fs::write(fixture.out("there/f0"), "xx").unwrap();
    fs::write(fixture.at("a/f0"), "xx").unwrap();
    fixture.until_told(&["a/f0"]).await;
    assert!(
        fixture.seen.iter().all(|quiet| !quiet.path.is_within(&path("link")) || quiet.path == path("link"))
    );
}

#[tokio::test]
async fn a_file_is_quiet_only_when_its_writer_pauses() {
    let options = Options::new(Duration::from_millis(400));
    let mut fixture = Fixture::on(|_| {}, options, Box::new(|| Ok(Box::new(Inotify::open()?)))).await;
    let mut file = File::create(fixture.at("log")).unwrap();
    let mut last = Instant::now();
    let began = Instant::now();
    while began.elapsed() < 2 * options.settle {
        last = Instant::now();
        file.write_all(b"line\n").unwrap();
        let told = tokio::time::timeout(Duration::from_millis(5), fixture.watch.next()).await;
        assert!(told.is_err() || last.elapsed() >= options.settle, "{told:?}");
    }
    fixture.until_told(&["log"]).await;
    assert!(last.elapsed() >= options.settle);
}

#[tokio::test]
async fn whoever_asks_late_misses_nothing() {
    let mut fixture = Fixture::new(|_| {}).await;
    write_files(&fixture.at("a"), 500);
    fixture.until("they are not noted", |_, status| status.watched_folders == 2).await;
    fixture.until_told(&["a/f0", "a/f499"]).await;
}

#[tokio::test]
async fn a_burst_is_kept_within_bounds() {
    let options = Options { most_waiting: 500, ..Options::new(SETTLE) };
    let open: Opener = Box::new(|| Ok(Box::new(Inotify::open()?)));
    let mut fixture = Fixture::on(|root| write_files(&root.join("a"), 0), options, open).await;
    let before = snapshot(&fixture.root());
    write_files(&fixture.at("a"), 20_000);
    fixture.until_covered(&differing(&before, &snapshot(&fixture.root()))).await;
    assert!(fixture.seen.len() < 20_000);
    let status = fixture.watch.status();
    assert!(status.folded > 0 || status.overflows > 0, "{status:?}");
    fixture.check_watches().await;
}

/// A source that is not read while somebody holds the gate, and that watches no more than so many folders.
struct Tamed {
    inner: Inotify,
    gate: Arc<Mutex<()>>,
    most: Arc<AtomicUsize>,
    watched: usize,
}

impl Source for Tamed {
    fn fd(&self) -> BorrowedFd<'_> {
        self.inner.fd()
    }

    fn watch(&mut self, folder: &File, role: Role) -> io::Result<i32> {
        if role == Role::Above {
            return self.inner.watch(folder, role);
        }
        if self.watched >= self.most.load(Ordering::Relaxed) {
            return Err(rustix::io::Errno::NOSPC.into());
        }
        self.watched += 1;
        self.inner.watch(folder, role)
    }

    fn unwatch(&mut self, number: i32) -> io::Result<()> {
        self.inner.unwatch(number)
    }

    fn read(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        let _open = self.gate.lock().unwrap();
        self.inner.read(events)
    }
}

fn tamed(gate: &Arc<Mutex<()>>, most: &Arc<AtomicUsize>) -> Opener {
    let (gate, most) = (gate.clone(), most.clone());
    Box::new(move || {
        let (gate, most) = (gate.clone(), most.clone());
        Ok(Box::new(Tamed { inner: Inotify::open()?, gate, most, watched: 0 }))
    })
}

#[tokio::test]
async fn after_lost_events_the_root_is_told_of_as_a_whole() {
    let queue: usize =
        fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    let (gate, most) = (Arc::new(Mutex::new(())), Arc::new(AtomicUsize::new(usize::MAX)));
    let prepare = |root: &Path| write_files(&root.join("a/gone"), 5);
    let mut fixture = Fixture::on(prepare, Options::new(SETTLE), tamed(&gate, &most)).await;
    let before = snapshot(&fixture.root());
    {
        let _closed = gate.lock().unwrap();
        write_files(&fixture.at("b"), 5);
        write_files(&fixture.at("a"), queue.div_ceil(2)); // at least two events each
        fs::rename(fixture.at("a/gone"), fixture.at("found")).unwrap();
        write_files(&fixture.at("c/d"), 5);
    }
    fixture.until_covered(&differing(&before, &snapshot(&fixture.root()))).await;
    let status = fixture.watch.status();
    assert_eq!((status.overflows > 0, status.last_overflow), (true, Some(Time::from_secs(77))));
    fixture.check_watches().await;
}

#[tokio::test]
async fn a_root_that_was_replaced_while_events_were_lost_is_gone() {
    let queue: usize =
        fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    let (gate, most) = (Arc::new(Mutex::new(())), Arc::new(AtomicUsize::new(usize::MAX)));
    let mut fixture = Fixture::on(|_| {}, Options::new(SETTLE), tamed(&gate, &most)).await;
    {
        let _closed = gate.lock().unwrap();
        write_files(&fixture.root(), queue.div_ceil(2));
        fs::rename(fixture.root(), fixture.out("root")).unwrap();
        fs::create_dir(fixture.root()).unwrap();
    }
    until_gone(&mut fixture.watch).await;
}

#[tokio::test]
async fn folders_beyond_the_limit_are_counted_and_tried_again() {
    let (gate, most) = (Arc::new(Mutex::new(())), Arc::new(AtomicUsize::new(3)));
    let prepare = |root: &Path| ["a", "b", "c", "d"].iter().for_each(|name| write_files(&root.join(name), 1));
    let mut fixture = Fixture::on(prepare, Options::new(SETTLE), tamed(&gate, &most)).await;
    let status = fixture.watch.status();
    assert_eq!((status.watched_folders, status.unwatched, status.is_limited), (3, 2, true));
    assert!(!status.is_whole());
    write_files(&fixture.at("late/later"), 1);
    fixture.until_told(&["late", "late/later/f0"]).await;
    assert_eq!(fixture.watch.status().unwatched, 3);
    fs::remove_dir_all(fixture.at("late")).unwrap();
    fixture.until("it still counts", |_, status| status.unwatched == 2).await;
    most.store(100, Ordering::Relaxed);
    fixture.seen.clear();
    fixture.watch.renew();
    fixture.until("it is not whole", |_, status| status.is_whole()).await;
    fixture.until_told(&["a", "d/f0"]).await;
    fixture.check_watches().await;
}

#[tokio::test]
async fn a_folder_that_was_refused_is_tried_again_when_its_mode_changes() {
    let (gate, most) = (Arc::new(Mutex::new(())), Arc::new(AtomicUsize::new(1)));
    let mut fixture =
        Fixture::on(|root| write_files(&root.join("a/b"), 1), Options::new(SETTLE), tamed(&gate, &most))
            .await;
    most.store(100, Ordering::Relaxed);
    fs::set_permissions(fixture.at("a"), fs::Permissions::from_mode(0o700)).unwrap();
    fixture.until_told(&["a", "a/b/f0"]).await;
    fixture.check_watches().await;
}

#[tokio::test]
async fn no_more_folders_are_remembered_than_allowed() {
    let options = Options { most_folders: 10, ..Options::new(SETTLE) };
    let prepare = |root: &Path| (0..30).for_each(|n| write_files(&root.join(n.to_string()), 0));
    let mut fixture = Fixture::on(prepare, options, Box::new(|| Ok(Box::new(Inotify::open()?)))).await;
    let status = fixture.watch.status();
    assert_eq!((status.watched_folders, status.unwatched, status.is_limited), (10, 21, true));
    write_files(&fixture.at("new/below"), 1);
    fixture.until_told(&["new/below/f0"]).await;
}

async fn until_gone(watch: &mut Watch) {
    let gone = async { while !matches!(watch.next().await, Seen::RootGone) {} };
    tokio::time::timeout(DEADLINE, gone).await.unwrap();
    assert!(!watch.status().is_set_up);
    let more = tokio::time::timeout(2 * SETTLE, watch.next()).await;
    assert!(!matches!(more, Ok(Seen::RootGone | Seen::Failed(_))), "{more:?}");
}

#[tokio::test]
async fn a_root_that_is_gone_is_told_of() {
    let check = async |act: fn(&Fixture)| {
        let mut fixture = Fixture::new(|root| write_files(&root.join("a"), 2)).await;
        act(&fixture);
        until_gone(&mut fixture.watch).await;
    };
    check(|f| fs::remove_dir_all(f.root()).unwrap()).await;
    check(|f| fs::rename(f.root(), f.out("root")).unwrap()).await;
    check(|f| exchange(&f.root(), &f.out(""))).await;
}

#[tokio::test]
async fn a_root_that_is_not_there_cannot_be_watched() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "x").unwrap();
    for (name, kind) in [("none", Kind::NotFound), ("file", Kind::Failed)] {
        let open: Opener = Box::new(|| Ok(Box::new(Inotify::open()?)));
        let error = start(&dir.path().join(name), Options::new(SETTLE), open).await.err().unwrap();
        assert_eq!(error.kind(), kind, "{error}");
    }
}

#[tokio::test]
async fn no_thread_is_left_behind() {
    let fixture = Fixture::new(|root| write_files(&root.join("a"), 2)).await;
    let shared = Arc::downgrade(&fixture.watch.shared);
    drop(fixture);
    let began = Instant::now();
    while shared.upgrade().is_some() {
        assert!(began.elapsed() < DEADLINE);
        tokio::task::yield_now().await;
    }
}

/// Whatever happens at random; `n` is the number of this step.
fn step(fixture: &Fixture, random: &SeededRandom, n: usize) {
    let snapshot = snapshot(&fixture.root());
    let is_mark = |at: &RelPath| at.as_bytes().starts_with(b"mark-");
    let any = |is_dir: bool| {
        let all: Vec<&RelPath> = snapshot
            .iter()
            .filter(|(at, look)| look.is_dir == is_dir && !is_mark(at))
            .map(|(p, _)| p)
            .collect();
        let chosen = (random.unit() * all.len() as f64) as usize;
        all.get(chosen).map(|path| fixture.root().join(path.as_os()))
    };
    let folder = any(true).unwrap();
    let other = any(true).unwrap();
    let file = any(false);
    let is_movable = folder != fixture.root() && !other.starts_with(&folder);
    match ((random.unit() * 10.0) as u32, file) {
        (0, _) => write_files(&folder.join(format!("d{n}/e{n}")), 2),
        (1, _) if is_movable => fs::rename(&folder, other.join(format!("m{n}"))).unwrap(),
        (2, _) if is_movable => fs::rename(&folder, fixture.out(&format!("{n}"))).unwrap(),
        (3, _) if is_movable && !folder.starts_with(&other) => exchange(&folder, &other),
        (4, _) if folder != fixture.root() && random.unit() < 0.3 => fs::remove_dir_all(&folder).unwrap(),
        (5, _) => {
            write_files(&fixture.out(&format!("new{n}/x")), 2);
            fs::rename(fixture.out(&format!("new{n}")), folder.join(format!("in{n}"))).unwrap();
        }
        (6, Some(file)) => fs::rename(file, folder.join(format!("r{n}"))).unwrap(),
        (7, Some(file)) => fs::remove_file(file).unwrap(),
        (8, Some(file)) => File::options().append(true).open(file).unwrap().write_all(b"more").unwrap(),
        _ => fs::write(folder.join(format!("f{n}")), "x").unwrap(),
    }
}

#[tokio::test]
async fn whatever_happens_all_that_differs_is_told_of() {
    for seed in 0..6 {
        let random = SeededRandom::new(seed);
        let prepare = |root: &Path| (0..4).for_each(|n| write_files(&root.join(format!("a/{n}/b")), 3));
        let mut fixture = Fixture::new(prepare).await;
        for round in 0..4 {
            let before = snapshot(&fixture.root());
            (0..60).for_each(|n| step(&fixture, &random, round * 60 + n));
            let differing = differing(&before, &snapshot(&fixture.root()));
            fixture.until_covered(&differing).await;
            fixture.until_calm().await;
        }
        fixture.check_watches().await;
    }
}

#[tokio::test]
async fn two_hundred_files_at_random_times_are_all_told_of_soon() {
    let mut fixture =
        Fixture::new(|root| (0..5).for_each(|n| write_files(&root.join(n.to_string()), 0))).await;
    let random = SeededRandom::new(4);
    let mut paths = Vec::new();
    for n in 0..200 {
        let at = format!("{}/file{n}", n % 5);
        fs::write(fixture.at(&at), vec![b'x'; 10 * 1024]).unwrap();
        paths.push(path(&at));
        let pause = Duration::from_micros(random.u64() % 4_000);
        if let Ok(Seen::Quiet(quiet)) = tokio::time::timeout(pause, fixture.watch.next()).await {
            fixture.seen.extend(quiet);
        }
    }
    fixture.until_covered(&paths).await;
    assert!(fixture.seen.iter().all(|quiet| !quiet.is_whole));
}
