//! A [`Memory`] as tests write it down and change it: short rows, and edits that somebody else makes.
//!
//! Paths are text here. What is no path below a root, or leads through a file, panics: the test is wrong.

use super::store::{Content, Store};
use super::{Memory, Time};
use crate::path::{RelPath, escape};

/// One line of a small tree: path, content, mtime in seconds. A path that ends in a slash is a folder,
/// content that starts with `-> ` a link, `<special>` something that is neither; these have no mtime of
/// interest (0).
pub type Row<'a> = (&'a str, &'a str, i64);

/// A [`Row`] that was read from a tree. Names and contents that are not plain text are escaped.
pub type OwnedRow = (String, String, i64);

impl Memory {
    /// Adds what the rows describe, with the folders on the way.
    #[must_use]
    pub fn and(self, rows: &[Row]) -> Self {
        for &(path, content, mtime) in rows {
            match (path.strip_suffix('/'), content.strip_prefix("-> ")) {
                (Some(folder), _) => self.put_dir(folder),
                (None, Some(target)) => self.put_link(path, target.as_bytes()),
                (None, None) if content == SPECIAL => self.put_special(path),
                (None, None) => self.put_file(path, content.as_bytes(), mtime),
            }
        }
        self
    }

    /// Everything but `.highwater*`, as rows in path order: folders before what is in them.
    pub fn rows(&self) -> Vec<OwnedRow> {
        self.rows_where(|path| !path.is_own())
    }

    /// Everything, as rows in path order.
    pub fn all_rows(&self) -> Vec<OwnedRow> {
        self.rows_where(|_| true)
    }

    /// Writes a file, over whatever stands there and as a new inode, as an editor does.
    pub fn put_file(&self, path: &str, content: &[u8], mtime_secs: i64) {
        self.as_user(|store| {
            let inode = put(store, &parse(path), Content::File(content.to_vec()));
            store.set_mtime(inode, Time::from_secs(mtime_secs));
        });
    }

    /// Makes a folder, unless there is one, in the place of whatever else stands there.
    pub fn put_dir(&self, path: &str) {
        self.as_user(|store| put_dir(store, &parse(path)));
    }

    /// Makes a link in the place of whatever stands there.
    pub fn put_link(&self, path: &str, target: &[u8]) {
        self.as_user(|store| put(store, &parse(path), Content::Link(target.to_vec())));
    }

    /// Makes something that is neither file, folder nor link in the place of whatever stands there.
    pub fn put_special(&self, path: &str) {
        self.as_user(|store| put(store, &parse(path), Content::Other));
    }

    /// Takes away whatever stands there, and all below it. Nothing there is fine.
    pub fn take_away(&self, path: &str) {
        let _ = self.as_user(|store| store.remove(&parse(path))); // a miss is the only way to fail
    }

    /// The content of a file; `None` if there is no file.
    pub fn content(&self, path: &str) -> Option<Vec<u8>> {
        let store = self.lock();
        let inode = store.find_file(&parse(path)).ok()?;
        Some(store.data(inode).to_vec())
    }

    /// What users do is durable at once.
    fn as_user<R>(&self, work: impl FnOnce(&mut Store) -> R) -> R {
        let mut store = self.lock();
        let before = std::mem::replace(&mut store.is_durable, true);
        let result = work(&mut store);
        store.is_durable = before;
        result
    }

    fn rows_where(&self, wanted: impl Fn(&RelPath) -> bool) -> Vec<OwnedRow> {
        let store = self.lock();
        let mut found = Vec::new();
        let mut folders = vec![RelPath::root()];
        while let Some(folder) = folders.pop() {
            let inode = store.find(&folder).ok();
            let children = inode.and_then(|inode| store.children(inode).ok());
            for (name, &inode) in children.into_iter().flatten() {
                let path = folder.join_path(&parse_bytes(name));
                if store.children(inode).is_ok() {
                    folders.push(path.clone());
                }
                found.push((path, inode));
            }
        }
        found.retain(|(path, _)| wanted(path));
        found.sort();
        found.into_iter().map(|(path, inode)| row(&store, &path, inode)).collect()
    }
}

const SPECIAL: &str = "<special>";

fn row(store: &Store, path: &RelPath, inode: u64) -> OwnedRow {
    let node = store.node(inode);
    match &node.content {
        Content::File(data) => (path.to_string(), escape(data), node.mtime.secs),
        Content::Dir(_) => (format!("{path}/"), String::new(), 0),
        Content::Link(target) => (path.to_string(), format!("-> {}", escape(target)), 0),
        Content::Other => (path.to_string(), SPECIAL.into(), 0),
    }
}

fn put(store: &mut Store, path: &RelPath, content: Content) -> u64 {
    if let Some(parent) = path.parent() {
        put_dir(store, &parent);
    }
    let _ = store.remove(path); // there may be nothing
    let mode = if matches!(content, Content::Dir(_)) { 0o755 } else { 0o644 };
    store.create(path, content, mode).unwrap_or_else(|(_, why)| panic!("{path} cannot be put there: {why}"))
}

fn put_dir(store: &mut Store, path: &RelPath) {
    store.make_root();
    let mut folder = RelPath::root();
    for name in path.components() {
        folder = folder.join_path(&parse_bytes(name));
        let stands = store.find(&folder).is_ok_and(|inode| store.children(inode).is_ok());
        if !stands {
            let _ = store.remove(&folder); // there may be nothing
            let made = store.create(&folder, Content::Dir(Default::default()), 0o755);
            made.unwrap_or_else(|(_, why)| panic!("{folder}/ cannot be put there: {why}"));
        }
    }
}

fn parse(path: &str) -> RelPath {
    parse_bytes(path.as_bytes())
}

fn parse_bytes(path: &[u8]) -> RelPath {
    RelPath::parse(path).unwrap_or_else(|why| panic!("{}: {why}", escape(path)))
}
