//! What is on the disk in a session: two roots, a folder outside that must stay as it is, and how trees change.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::random::{Random, mix};
use crate::story::{Edit, Way};
use crate::teller::CANARY;
use crate::{Doing, Result};

/// The folders of a session.
pub struct World {
    folder: TempDir,
}

/// What stands at a path: its type and permissions, when it was changed (not for folders), and its content or target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thing {
    pub mode: u32,
    pub mtime: i64,
    pub content: Vec<u8>,
}

impl Thing {
    pub fn is_file(&self) -> bool {
        self.mode & 0o170_000 == 0o100_000
    }

    pub fn is_folder(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }
}

/// Everything below a folder, by path.
pub type Tree = BTreeMap<PathBuf, Thing>;

impl World {
    /// Two roots with a tree in each: that of the source is to be carried, that of the target is somebody's own.
    pub fn make(scratch: &Path, way: Way, mut random: Random) -> Result<Self> {
        let folder =
            tempfile::Builder::new().prefix("hostile-").tempdir_in(scratch).doing("make a folder")?;
        let world = Self { folder };
        for name in ["near", "served/far", "victim/folder", "home/.ssh", "notes"] {
            fs::create_dir_all(world.at(name)).doing("make a folder")?;
        }
        for name in ["victim/secret", "victim/folder/x", "victim/evil"] {
            fs::write(world.at(name), [CANARY, name.as_bytes()].concat()).doing("write a file")?;
        }
        let (source, target) = match way {
            Way::Push => (world.near(), world.far()),
            Way::Pull => (world.far(), world.near()),
        };
        plant(&source, &mut random)?;
        symlink(world.at("victim"), source.join("plant")).doing("make a link")?;
        for name in ["mine.txt", "own/mine"] {
            let path = target.join(name);
            fs::create_dir_all(path.parent().unwrap_or(&target)).doing("make a folder")?;
            fs::write(path, format!("mine {name} {}", random.next())).doing("write a file")?;
        }
        symlink(world.at("victim"), target.join("own/link")).doing("make a link")?;
        Ok(world)
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn near(&self) -> PathBuf {
        self.at("near")
    }

    pub fn far(&self) -> PathBuf {
        self.at("served/far")
    }

    /// Leaves the folders where they are.
    pub fn keep(self) -> PathBuf {
        self.folder.keep()
    }

    /// All but what may change: the near root of a pull, the far one of a push, the state, what was printed.
    pub fn untouchable(&self, way: Way) -> Result<Tree> {
        let mut tree = tree_of(self.folder.path())?;
        let target = if way == Way::Push { self.far() } else { self.near() };
        let free = [target, self.at("state"), self.at("notes")];
        tree.retain(|path, _| !free.iter().any(|free| path.starts_with(free)));
        Ok(tree)
    }
}

fn plant(root: &Path, random: &mut Random) -> Result<()> {
    for name in ["a", "b.txt", "d/e", "d/f", "d/deep/g", "own2/h"] {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap_or(root)).doing("make a folder")?;
        fs::write(&path, content(random.next(), random.below(3000))).doing("write a file")?;
    }
    fs::write(root.join("large"), content(random.next(), 300_000)).doing("write a file")?;
    fs::create_dir(root.join("empty")).doing("make a folder")?;
    symlink("d/e", root.join("link")).doing("make a link")
}

fn content(seed: u64, bytes: u64) -> Vec<u8> {
    (0..bytes / 8 + 1).flat_map(|n| mix(seed ^ n).to_le_bytes()).collect()
}

/// Everything below a folder. Links are not followed.
pub fn tree_of(root: &Path) -> Result<Tree> {
    let mut tree = Tree::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).doing("list a folder")? {
            let path = entry.doing("list a folder")?.path();
            let meta = fs::symlink_metadata(&path).doing("look at a file")?;
            let (content, mtime) = if meta.is_dir() {
                folders.push(path.clone());
                (Vec::new(), 0) // something may be made in it
            } else if meta.is_symlink() {
                let target = fs::read_link(&path).doing("read a link")?;
                (target.as_os_str().as_bytes().to_vec(), meta.mtime())
            } else {
                (fs::read(&path).doing("read a file")?, meta.mtime())
            };
            tree.insert(path, Thing { mode: meta.mode(), mtime, content });
        }
    }
    Ok(tree)
}

/// Changes the tree below `root`, in which everything but folders and files of `own` may be chosen. `outside` is where
/// links lead.
pub fn edit(root: &Path, edit: Edit, outside: &Path) -> Result<()> {
    let tree: Tree = tree_of(root)?
        .into_iter()
        .filter(|(path, _)| {
            !path.components().any(|part| part.as_os_str().as_bytes().starts_with(b".highwater"))
        })
        .collect();
    let of_type = |bits: u32| -> Vec<&PathBuf> {
        tree.iter().filter(|(_, thing)| thing.mode & 0o170_000 == bits).map(|(path, _)| path).collect()
    };
    let (files, folders, linked) = (of_type(0o100_000), of_type(0o040_000), of_type(0o120_000));
    let pick =
        |from: &[&PathBuf], which: u64| (!from.is_empty()).then(|| from[which as usize % from.len()].clone());
    let changed = (|| match edit {
        Edit::Rewrite(n) => Some(fs::write(pick(&files, n)?, content(n, n % 5000))),
        Edit::New(n) => {
            let folder = pick(&folders, n).unwrap_or_else(|| root.into());
            Some(fs::write(folder.join(format!("new-{n:x}")), content(n, n % 3000)))
        }
        Edit::Remove(n) => Some(remove(&pick(&[&files[..], &linked, &folders].concat(), n)?)),
        Edit::FileToFolder(n) => {
            let path = pick(&files, n)?;
            Some(
                remove(&path)
                    .and_then(|()| fs::create_dir(&path))
                    .and_then(|()| fs::write(path.join("x"), "x")),
            )
        }
        Edit::FolderToFile(n) => {
            let path = pick(&folders, n)?;
            Some(remove(&path).and_then(|()| fs::write(path, "was a folder")))
        }
        Edit::FolderToLink(n) => {
            let path = pick(&folders, n)?;
            Some(remove(&path).and_then(|()| symlink(outside, path)))
        }
        Edit::LinkToFolder(n) => {
            let path = pick(&linked, n)?;
            let made = remove(&path).and_then(|()| fs::create_dir_all(path.join("folder")));
            Some(
                made.and_then(|()| fs::write(path.join("folder/x"), "evil"))
                    .and_then(|()| fs::write(path.join("secret"), "evil")),
            )
        }
        Edit::FileToLink(n) => {
            let path = pick(&files, n)?;
            Some(remove(&path).and_then(|()| symlink(outside.join("secret"), path)))
        }
        Edit::Swap(n) => {
            let (one, two) = (pick(&files, n)?, pick(&files, n / 7)?);
            Some(fs::read(&one).and_then(|bytes| fs::write(two, bytes)))
        }
        Edit::SetUid(n) => Some(fs::set_permissions(pick(&files, n)?, Permissions::from_mode(0o6755))),
        Edit::EmptyRoot => {
            Some(tree.keys().filter(|path| path.parent() == Some(root)).try_for_each(|path| remove(path)))
        }
    })();
    changed.unwrap_or(Ok(())).doing("change a tree")
}

fn remove(path: &Path) -> std::io::Result<()> {
    match fs::symlink_metadata(path)?.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    }
}
