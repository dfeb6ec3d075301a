//! What a power cut may take back: names that changed and content that was written since they were last made
//! durable.
//!
//! A change of names is taken back as a whole or not at all, as on a file system with a journal, and any of
//! them may be, whatever became of the others, as POSIX has it. A folder's sync settles every change that it
//! takes part in: as a rename is never taken back by halves, the folder it came from is as good as the one it
//! went to.

use std::collections::BTreeMap;

use super::store::{Content, Store};
use crate::clock::Random;

/// What is not durable yet.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    /// Changes of names, in their order.
    names: Vec<Vec<Change>>,
    /// Files by inode, with what was durable of them before they were written.
    contents: BTreeMap<u64, Vec<u8>>,
}

/// What one name in a folder stood for before and after.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub folder: u64,
    pub name: Vec<u8>,
    pub before: Option<u64>,
    pub after: Option<u64>,
}

impl Store {
    /// From now on, what is not made durable may be lost. What is there already is durable.
    pub(super) fn begin_losing(&mut self) {
        self.unsynced.get_or_insert_default();
    }

    /// Notes a change of names.
    pub(super) fn note_names(&mut self, changes: Vec<Change>) {
        if self.is_durable {
            return changes.iter().for_each(|change| {
                self.sync_way_to(change.folder);
                change.after.into_iter().for_each(|inode| self.sync_below(inode));
            });
        }
        if self.unsynced.is_none() {
            return;
        }
        changes.iter().filter_map(|change| change.before).for_each(|inode| self.hold(inode));
        if let Some(unsynced) = &mut self.unsynced {
            unsynced.names.push(changes);
        }
    }

    /// Notes that the content of a file is about to change.
    pub(super) fn note_content(&mut self, inode: u64) {
        let Some(unsynced) = &self.unsynced else { return };
        if self.is_durable {
            self.sync_way_to(inode);
            return self.sync_content(inode);
        }
        if !unsynced.contents.contains_key(&inode) {
            let before = self.data(inode).to_vec();
            self.unsynced.get_or_insert_default().contents.insert(inode, before);
        }
    }

    /// Makes the content of a file durable.
    pub(super) fn sync_content(&mut self, inode: u64) {
        if let Some(unsynced) = &mut self.unsynced {
            unsynced.contents.remove(&inode);
        }
    }

    /// Makes the names in a folder durable.
    pub(super) fn sync_names(&mut self, folder: u64) {
        let Some(unsynced) = &mut self.unsynced else { return };
        let takes_part = |changes: &Vec<Change>| changes.iter().any(|change| change.folder == folder);
        let (synced, left) = std::mem::take(&mut unsynced.names).into_iter().partition(takes_part);
        unsynced.names = left;
        self.let_go(synced);
    }

    /// Makes the names durable by which an inode is reached: what is in it could not be durable without them.
    fn sync_way_to(&mut self, inode: u64) {
        let Some(unsynced) = &mut self.unsynced else { return };
        let leads_there = |changes: &Vec<Change>| changes.iter().any(|change| change.after == Some(inode));
        let (synced, left) = std::mem::take(&mut unsynced.names).into_iter().partition(leads_there);
        unsynced.names = left;
        let synced: Vec<Vec<Change>> = synced;
        let above: Vec<u64> = synced.iter().flatten().map(|change| change.folder).collect();
        self.let_go(synced);
        above.into_iter().for_each(|folder| self.sync_way_to(folder));
    }

    /// Makes all names below a folder durable: who put it in its place put them there as well.
    fn sync_below(&mut self, folder: u64) {
        let mut waiting = vec![folder];
        while let Some(folder) = waiting.pop() {
            self.sync_names(folder);
            waiting.extend(self.children(folder).into_iter().flat_map(|children| children.values()));
        }
    }

    fn let_go(&mut self, changes: Vec<Vec<Change>>) {
        changes.iter().flatten().filter_map(|change| change.before).for_each(|inode| self.release(inode));
    }

    /// Takes back what is not durable, as far as `random` says; the rest is durable from now on.
    pub(super) fn cut_power(&mut self, random: &dyn Random) {
        let Some(Unsynced { names, contents }) = self.unsynced.take() else { return };
        let how_many = random.u64() % 4;
        for changes in names.iter().rev() {
            let is_lost = match how_many {
                0 => false,
                1 => true,
                _ => random.u64().is_multiple_of(2),
            };
            if is_lost && changes.iter().all(|change| self.can_take_back(change)) {
                changes.iter().for_each(|change| self.take_back(change));
            }
        }
        for (inode, durable) in contents {
            self.damage(inode, durable, random);
        }
        self.let_go(names);
        self.begin_losing();
    }

    fn can_take_back(&self, change: &Change) -> bool {
        let now = self.children_of(change.folder).map(|children| children.get(&change.name).copied());
        now == Some(change.after)
    }

    fn take_back(&mut self, change: &Change) {
        self.set_name(change.folder, &change.name, change.before);
    }

    /// What of an unsynced file reaches the disk is up to the disk.
    fn damage(&mut self, inode: u64, durable: Vec<u8>, random: &dyn Random) {
        let Some(Content::File(live)) = self.content_of(inode) else { return };
        if *live == durable {
            return; // it was written over with what it held
        }
        let kept = match random.u64() % 4 {
            0 => return,
            1 => durable,
            2 => vec![0; live.len()],
            _ => live[..live.len() / 2].to_vec(),
        };
        *live = kept;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::Memory;
    use crate::clock::SeededRandom;
    use crate::entry::{Meta, Time};
    use crate::path::RelPath;
    use crate::tree::{StagedFile, Tree};

    fn rel(path: &str) -> RelPath {
        RelPath::parse(path.as_bytes()).unwrap()
    }

    /// How the two files "f" and "d/g" read after each of many power cuts.
    async fn cuts(syncs_content: bool, folders: &[&str]) -> Vec<[Option<String>; 2]> {
        let mut seen = Vec::new();
        for seed in 0..200 {
            let memory = Memory::near().and(&[("f", "old", 1), ("stage/", "", 1)]);
            memory.lose_unsynced();
            memory.make_dir(&rel("d"), 0o755).await.unwrap();
            for (staged, target) in [("stage/s", "f"), ("stage/t", "d/g")] {
                let file = memory.stage(&rel(staged)).await.unwrap();
                file.write_at(0, Bytes::from_static(b"new")).await.unwrap();
                let meta = Meta { mode: 0o644, mtime: Time::from_secs(1) };
                let finished = file.finish(3, &meta, syncs_content).await.unwrap();
                memory.place(&rel(staged), &rel(target), &finished).await.unwrap();
            }
            for folder in folders {
                memory.sync_dir(&rel(folder)).await.unwrap();
            }
            memory.cut_power(&SeededRandom::new(seed));
            let read = |path| memory.content(path).map(|data| String::from_utf8(data).unwrap());
            seen.push([read("f"), read("d/g")]);
        }
        seen.sort();
        seen.dedup();
        seen
    }

    fn text(text: &str) -> Option<String> {
        Some(text.into())
    }

    #[tokio::test]
    async fn what_was_made_durable_outlives_a_power_cut() {
        assert_eq!(cuts(true, &["", "d"]).await, [[text("new"), text("new")]]);
    }

    #[tokio::test]
    async fn a_name_that_was_not_made_durable_may_be_lost_and_its_content_is_whole() {
        let expected = [[text("new"), None], [text("new"), text("new")]];
        assert_eq!(cuts(true, &[""]).await, expected);
        let either = |old| [[text(old), None], [text(old), text("new")]];
        assert_eq!(cuts(true, &[]).await, [either("new"), either("old")].concat());
    }

    #[tokio::test]
    async fn a_rename_is_durable_in_both_folders_or_in_none() {
        let seen = cuts(true, &["stage"]).await;
        assert!(seen.iter().all(|[f, _]| *f == text("new")), "{seen:?}");
        assert!(seen.contains(&[text("new"), None]), "nobody made the folder durable that it went to");
    }

    #[tokio::test]
    async fn content_that_was_not_made_durable_may_be_empty_short_or_zeros() {
        let seen = cuts(false, &["", "d"]).await;
        for content in ["", "n", "\0\0\0", "new"] {
            assert!(seen.iter().any(|[f, _]| *f == text(content)), "{content:?}");
        }
        assert!(seen.iter().all(|[f, g]| f.is_some() && g.is_some()));
    }

    #[tokio::test]
    async fn what_its_users_do_is_durable_at_once() {
        let memory = Memory::far();
        memory.lose_unsynced();
        memory.put_file("kept", b"by its user", 1);
        memory.make_dir(&rel("lost"), 0o755).await.unwrap();
        memory.make_dir(&rel("way"), 0o755).await.unwrap();
        memory.put_file("way/there", b"as well", 1);
        memory.cut_power(&SeededRandom::new(3)); // takes all of it back
        let kept = [("kept", "by its user", 1), ("way/", "", 0), ("way/there", "as well", 1)];
        assert_eq!(memory.rows(), kept.map(|(path, content, mtime)| (path.into(), content.into(), mtime)));
    }
}
