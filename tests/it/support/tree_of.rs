//! Trees to carry: made from a few lines, looked at as a whole, compared path by path.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, Metadata, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, mknodat, utimensat};

/// What stands at one path of a tree to be made.
#[derive(Debug, Clone)]
enum Thing {
    Dir,
    File(Vec<u8>),
    Link(Vec<u8>),
    Fifo,
}

#[derive(Debug, Clone)]
struct Node {
    path: Vec<u8>,
    thing: Thing,
    mode: Option<u32>,
    mtime: Option<(i64, u32)>,
}

/// A tree to be made. Folders are named before what is in them; `mode` and `mtime` concern the node
/// named last.
#[derive(Debug, Clone, Default)]
pub struct TreeOf {
    nodes: Vec<Node>,
}

impl TreeOf {
    /// Nothing at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// A folder.
    pub fn dir(self, path: impl AsRef<[u8]>) -> Self {
        self.node(path, Thing::Dir)
    }

    /// A file with this content.
    pub fn file(self, path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        self.node(path, Thing::File(content.as_ref().to_vec()))
    }

    /// A symbolic link to `target`, whatever that is.
    pub fn link(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.node(path, Thing::Link(target.as_ref().to_vec()))
    }

    /// A FIFO.
    pub fn fifo(self, path: impl AsRef<[u8]>) -> Self {
        self.node(path, Thing::Fifo)
    }

    /// The permission bits of the node named last.
    pub fn mode(mut self, mode: u32) -> Self {
        self.last().mode = Some(mode);
        self
    }

    /// The modification time of the node named last.
    pub fn mtime(mut self, secs: i64, nanos: u32) -> Self {
        self.last().mtime = Some((secs, nanos));
        self
    }

    /// Everything of `other` after what is here.
    pub fn and(mut self, other: Self) -> Self {
        self.nodes.extend(other.nodes);
        self
    }

    /// How many files and links there are.
    pub fn files(&self) -> u64 {
        self.count(|thing| matches!(thing, Thing::File(_)))
    }

    /// How many things there are that can be carried.
    pub fn carried(&self) -> u64 {
        self.count(|thing| !matches!(thing, Thing::Fifo))
    }

    /// The content of all files, in bytes.
    pub fn bytes(&self) -> u64 {
        let sizes = self.nodes.iter().map(|node| match &node.thing {
            Thing::File(content) => content.len() as u64,
            Thing::Dir | Thing::Link(_) | Thing::Fifo => 0,
        });
        sizes.sum()
    }

    /// Makes it in `root`, which is made too where it is missing.
    pub fn make(&self, root: &Path) {
        fs::create_dir_all(root).expect("the root can be made");
        self.nodes.iter().for_each(|node| node.make(root));
        // Modes and times come last, from the bottom up: making things in a folder changes both.
        self.nodes.iter().rev().for_each(|node| node.finish(root));
    }

    fn node(mut self, path: impl AsRef<[u8]>, thing: Thing) -> Self {
        self.nodes.push(Node { path: path.as_ref().to_vec(), thing, mode: None, mtime: None });
        self
    }

    fn last(&mut self) -> &mut Node {
        self.nodes.last_mut().expect("a node to which this belongs")
    }

    fn count(&self, which: impl Fn(&Thing) -> bool) -> u64 {
        self.nodes.iter().filter(|node| which(&node.thing)).count() as u64
    }
}

impl Node {
    fn make(&self, root: &Path) {
        let path = at(root, &self.path);
        let made = match &self.thing {
            Thing::Dir => fs::create_dir_all(&path),
            Thing::File(content) => fs::write(&path, content),
            Thing::Link(target) => symlink(OsStr::from_bytes(target), &path),
            Thing::Fifo => {
                mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o644), 0).map_err(Into::into)
            }
        };
        made.unwrap_or_else(|e| panic!("{} cannot be made: {e}", path.display()));
    }

    fn finish(&self, root: &Path) {
        let path = at(root, &self.path);
        if let Some(mode) = self.mode {
            set_mode(&path, mode);
        }
        if let Some((secs, nanos)) = self.mtime {
            set_mtime(&path, secs, nanos);
        }
    }
}

/// A path of bytes below a root.
pub fn at(root: &Path, path: impl AsRef<[u8]>) -> PathBuf {
    root.join(OsStr::from_bytes(path.as_ref()))
}

/// Sets permission bits.
pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("the mode can be set");
}

/// Sets the modification time of what stands there, links included.
pub fn set_mtime(path: &Path, secs: i64, nanos: u32) {
    let time = Timespec { tv_sec: secs, tv_nsec: nanos.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("the time can be set");
}

/// Gives a whole tree to an account.
pub fn give_to(root: &Path, (uid, gid): (u32, u32)) {
    lchown(root, Some(uid), Some(gid)).expect("the tree can be given away");
    for path in paths_below(root, &|_| true) {
        lchown(at(root, path), Some(uid), Some(gid)).expect("the tree can be given away");
    }
}

/// `len` bytes that no compression or hole shortens, other ones for each `seed`.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&next());
    }
    bytes.truncate(len);
    bytes
}

/// How closely times are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Whole seconds as SFTP carries them: 32 bits, unsigned.
    Seconds,
    /// Nanoseconds.
    Nanos,
}

/// Everything below a root, `.highwater*` left out: a line for each path.
pub fn look(root: &Path, times: Times) -> BTreeMap<Vec<u8>, String> {
    let not_ours = |name: &[u8]| !name.starts_with(b".highwater");
    let paths = paths_below(root, &not_ours);
    paths.into_iter().map(|path| (path.clone(), describe(&at(root, &path), times))).collect()
}

/// Whether both trees hold the same: names, kinds, contents, link targets, permission bits and the times
/// of files and folders. Panics with the differences.
#[track_caller]
pub fn assert_same(near: &Path, far: &Path, times: Times) {
    let differences = differences(&look(near, times), &look(far, times));
    assert!(differences.is_empty(), "{} and {} differ:\n{differences}", near.display(), far.display());
}

/// What is not the same in two looks, a line for each path.
pub fn differences(one: &BTreeMap<Vec<u8>, String>, other: &BTreeMap<Vec<u8>, String>) -> String {
    let mut text = String::new();
    let paths: std::collections::BTreeSet<&Vec<u8>> = one.keys().chain(other.keys()).collect();
    for path in paths.into_iter().filter(|path| one.get(*path) != other.get(*path)) {
        let shown = |side: &BTreeMap<Vec<u8>, String>| side.get(path).map_or("nothing".into(), Clone::clone);
        let name = String::from_utf8_lossy(path).escape_debug().to_string();
        writeln!(text, "{name}: {} against {}", shown(one), shown(other)).expect("a string takes it");
    }
    text
}

/// The names in a folder, sorted, those of ours included.
pub fn names(folder: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut names: Vec<Vec<u8>> =
        entries.map(|entry| entry.expect("an entry").file_name().as_bytes().to_vec()).collect();
    names.sort();
    names
}

/// The paths of everything below a root whose names, and whose folders' names, are wanted.
pub fn paths_below(root: &Path, wanted: &dyn Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
    let mut paths = Vec::new();
    let mut folders = vec![Vec::new()];
    while let Some(folder) = folders.pop() {
        for name in names(&at(root, &folder)).into_iter().filter(|name| wanted(name)) {
            let path = if folder.is_empty() { name } else { [&folder[..], b"/", &name].concat() };
            if fs::symlink_metadata(at(root, &path)).expect("it is there").is_dir() {
                folders.push(path.clone());
            }
            paths.push(path);
        }
    }
    paths
}

fn describe(path: &Path, times: Times) -> String {
    let found = fs::symlink_metadata(path).expect("it is there");
    let meta = format!("mode {:o}, mtime {}", found.mode() & 0o777, mtime(&found, times));
    let kind = found.file_type();
    if kind.is_symlink() {
        let target = fs::read_link(path).expect("a link");
        return format!("link to {}", target.as_os_str().as_bytes().escape_ascii());
    }
    if kind.is_dir() {
        return format!("folder, {meta}");
    }
    if kind.is_file() {
        let content = fs::read(path).expect("a file that can be read");
        return format!("file of {} bytes, {}, {meta}", content.len(), blake3::hash(&content).to_hex());
    }
    if kind.is_fifo() { "fifo".into() } else { "something else".into() }
}

fn mtime(found: &Metadata, times: Times) -> String {
    match times {
        Times::Seconds => found.mtime().clamp(0, u32::MAX.into()).to_string(),
        Times::Nanos => format!("{}.{:09}", found.mtime(), found.mtime_nsec()),
    }
}

#[test]
fn differences_are_found_and_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tree = TreeOf::new().dir("d").mode(0o555).mtime(1_000, 5).file("d/a\n", "1").mode(0o600).mtime(9, 9);
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    tree.clone().link("l", "nowhere").make(&one);
    tree.link("l", "nowhere").make(&other);
    assert_same(&one, &other, Times::Nanos);
    let check = |change: &dyn Fn(), path: &str, seconds: bool| {
        change();
        let found = |times| differences(&look(&one, times), &look(&other, times));
        assert!(found(Times::Nanos).contains(path), "{path}: {}", found(Times::Nanos));
        assert_eq!(found(Times::Seconds).contains(path), seconds, "{path}");
    };
    check(&|| set_mtime(&other.join("d"), 1_000, 6), "d: ", false);
    check(&|| set_mtime(&other.join("d/a\n"), 10, 9), "d/a\\n: ", true);
    check(&|| set_mode(&other.join("d"), 0o755), "d: ", true);
    check(&|| fs::remove_file(other.join("l")).expect("a link"), "l: link to nowhere against nothing", true);
    check(&|| fs::create_dir(other.join("new")).expect("a name"), "new: nothing against folder", true);
}
