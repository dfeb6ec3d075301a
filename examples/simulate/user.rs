//! What people do in a folder while nobody asks them to wait.

use bytes::Bytes;
use highwater::entry::{Kind, Meta, Time};
use highwater::path::RelPath;
use highwater::tree::memory::Memory;
use highwater::tree::{StagedFile, Tree};

use crate::look::{self, now};
use crate::random::{Random, mix};

/// Names that people give, with twins by case and by normalisation, and what is no text.
const NAMES: [&[u8]; 10] =
    [b"a", b"b", b"c", b"dir", b"Dir", b"e\xcc\x81", b"\xc3\xa9", b"x\xff", b"two\nlines", b"-r"];

/// What is done is done to this tree, at this time of its clock.
pub struct User<'a> {
    pub memory: &'a Memory,
    pub random: &'a mut Random,
    pub now: Time,
    /// Numbers contents, so that no two are alike.
    pub count: &'a mut u64,
    /// Files of several pieces, now and then.
    pub is_large: bool,
    /// A file may get other content of the same length under the same time, because the tree shows it otherwise.
    pub may_hide: bool,
    /// Two versions of one file may be of the same length.
    pub may_repeat_sizes: bool,
}

impl User<'_> {
    /// Does something. Returns where, and what it was.
    pub fn act(&mut self) -> (Vec<RelPath>, &'static str) {
        let memory = self.memory.clone();
        memory.durably(|_| self.draw())
    }

    /// Writes so many files with simple names.
    pub fn fill(&mut self, files: u64) -> Vec<RelPath> {
        let memory = self.memory.clone();
        memory.durably(|_| (0..files).map(|index| self.fill_one(index)).collect())
    }

    /// Removes what [`fill`](Self::fill) wrote, and all else.
    pub fn clear(&mut self) -> Vec<RelPath> {
        let memory = self.memory.clone();
        let top = look::below(&memory, &RelPath::root(), false);
        let top: Vec<RelPath> = top.into_keys().filter(|path| path.depth() == 1).collect();
        memory.durably(|_| top.iter().for_each(|path| self.remove(path)));
        top
    }

    fn fill_one(&mut self, index: u64) -> RelPath {
        let path = parse(format!("many{index:02}").as_bytes());
        self.write(&path);
        path
    }

    fn draw(&mut self) -> (Vec<RelPath>, &'static str) {
        match self.random.below(100) {
            0..30 => self.write_new(),
            30..45 => self.overwrite(),
            45..60 => self.remove_some(),
            60..68 => self.make_folder(),
            68..78 => self.rename(),
            78..84 => self.link(),
            84..89 => self.change_mode(),
            89..94 => self.touch(),
            94..98 => self.hide_change(),
            _ => self.special(),
        }
    }

    fn write_new(&mut self) -> (Vec<RelPath>, &'static str) {
        let path = self.somewhere();
        self.make_room(&path);
        self.write(&path);
        (vec![top_of(&path)], "writes")
    }

    fn overwrite(&mut self) -> (Vec<RelPath>, &'static str) {
        let Some(path) = self.something(Kind::File) else { return self.write_new() };
        let Ok(file) = now(self.memory.reopen(&path)) else { return (vec![], "cannot open") };
        let stat = now(file.stat()).expect("it is open");
        let appends = self.random.chance(40);
        let content = self.content(Some(stat.size));
        let offset = if appends { stat.size } else { 0 };
        let size = offset + content.len() as u64;
        now(file.write_at(offset, content)).expect("there is room");
        now(file.finish(size, &Meta { mode: stat.mode, mtime: self.now }, true)).expect("it is open");
        (vec![path], if appends { "appends" } else { "overwrites" })
    }

    fn remove_some(&mut self) -> (Vec<RelPath>, &'static str) {
        let Some(path) = self.anything() else { return self.write_new() };
        self.remove(&path);
        (vec![path], "removes")
    }

    fn make_folder(&mut self) -> (Vec<RelPath>, &'static str) {
        let path = self.somewhere();
        self.make_room(&path);
        self.remove(&path);
        now(self.memory.make_dir(&path, 0o755)).expect("there is room");
        (vec![top_of(&path)], "makes the folder")
    }

    fn rename(&mut self) -> (Vec<RelPath>, &'static str) {
        let (Some(from), to) = (self.anything(), self.somewhere()) else { return self.write_new() };
        if to.is_within(&from) || from.is_within(&to) {
            return (vec![], "renames nothing");
        }
        self.make_room(&to);
        self.remove(&to);
        let _ = now(self.memory.move_aside(&from, &to)); // what it was in may have gone to make room
        (vec![top_of(&from), top_of(&to)], "renames")
    }

    fn link(&mut self) -> (Vec<RelPath>, &'static str) {
        let path = self.somewhere();
        self.make_room(&path);
        self.remove(&path);
        *self.count += 1;
        let target = format!("../to/{}", self.count);
        let _ = now(self.memory.make_link(&path, target.as_bytes())); // a side may have none
        (vec![top_of(&path)], "links")
    }

    fn change_mode(&mut self) -> (Vec<RelPath>, &'static str) {
        let mode = *self.random.pick(&[0o600, 0o644, 0o755, 0o700]);
        self.set(|stat| Meta { mode, mtime: stat.mtime }, "changes the mode of")
    }

    fn touch(&mut self) -> (Vec<RelPath>, &'static str) {
        let mtime = self.now;
        self.set(|stat| Meta { mode: stat.mode, mtime }, "touches")
    }

    fn set(
        &mut self,
        meta: impl Fn(&highwater::entry::Stat) -> Meta,
        what: &'static str,
    ) -> (Vec<RelPath>, &'static str) {
        let Some(path) = self.anything() else { return self.write_new() };
        let Some(thing) = look::at(self.memory, &path) else { return (vec![], what) };
        let _ = now(self.memory.set_meta(&path, thing.stat.kind, &meta(&thing.stat))); // special files have none
        (vec![path], what)
    }

    /// Other content of the same length under the same time.
    fn hide_change(&mut self) -> (Vec<RelPath>, &'static str) {
        let path = self.something(Kind::File).filter(|_| self.may_hide);
        let Some(path) = path else { return self.overwrite() };
        let Some(thing) = look::at(self.memory, &path) else { return (vec![], "finds nothing") };
        let Ok(file) = now(self.memory.reopen(&path)) else { return (vec![], "cannot open") };
        let content = self.content_of(thing.stat.size);
        now(file.write_at(0, content)).expect("there is room");
        now(file.finish(thing.stat.size, &Meta::from(&thing.stat), true)).expect("it is open");
        (vec![path], "changes without a sign")
    }

    fn special(&mut self) -> (Vec<RelPath>, &'static str) {
        let path = parse(b"fifo");
        self.memory.put_special("fifo");
        (vec![path], "makes the special file")
    }

    /// A new file, as an editor makes it: a new inode under the name.
    fn write(&mut self, path: &RelPath) {
        let before = look::at(self.memory, path).map(|thing| thing.stat.size);
        self.remove(path);
        let content = self.content(before);
        let file = now(self.memory.stage(path)).expect("there is room");
        let size = content.len() as u64;
        now(file.write_at(0, content)).expect("there is room");
        let mode = *self.random.pick(&[0o644, 0o644, 0o600, 0o755]);
        now(file.finish(size, &Meta { mode, mtime: self.now }, true)).expect("it is open");
    }

    fn remove(&mut self, path: &RelPath) {
        let mut doomed: Vec<RelPath> = look::below(self.memory, path, true).into_keys().collect();
        doomed.reverse(); // from the deepest up
        for path in doomed {
            if now(self.memory.remove_file(&path)).is_err() {
                let _ = now(self.memory.remove_dir(&path)); // it may be gone
            }
        }
    }

    /// Makes the folders above a path, in the place of whatever else stands there.
    fn make_room(&mut self, path: &RelPath) {
        let above: Vec<RelPath> = std::iter::successors(path.parent(), RelPath::parent).collect();
        for folder in above.into_iter().rev().filter(|folder| !folder.is_root()) {
            if look::at(self.memory, &folder).is_none_or(|thing| thing.stat.kind != Kind::Dir) {
                self.remove(&folder);
                now(self.memory.make_dir(&folder, 0o755)).expect("there is room");
            }
        }
    }

    fn content(&mut self, before: Option<u64>) -> Bytes {
        let size = match self.random.below(20) {
            0 => 0,
            1..4 if self.is_large => 128 * 1024 * self.random.between(1, 8) + self.random.below(3) - 1,
            _ => self.random.below(200) + 10,
        };
        let size = if before == Some(size) && !self.may_repeat_sizes { size + 1 } else { size };
        let repeats = self.may_repeat_sizes && self.random.chance(30);
        self.content_of(before.filter(|_| repeats).unwrap_or(size))
    }

    /// So many bytes that are nowhere else.
    fn content_of(&mut self, size: u64) -> Bytes {
        *self.count += 1;
        let words = (0..size.div_ceil(8)).flat_map(|at| mix(mix(*self.count) ^ at).to_le_bytes());
        words.take(size as usize).collect()
    }

    fn somewhere(&mut self) -> RelPath {
        let depth = self.random.between(1, 3);
        let names: Vec<&[u8]> = (0..depth).map(|_| *self.random.pick(&NAMES)).collect();
        parse(&names.join(&b'/'))
    }

    fn anything(&mut self) -> Option<RelPath> {
        self.one_of(|_| true)
    }

    fn something(&mut self, kind: Kind) -> Option<RelPath> {
        self.one_of(|found| found == kind)
    }

    fn one_of(&mut self, fits: impl Fn(Kind) -> bool) -> Option<RelPath> {
        let all = look::below(self.memory, &RelPath::root(), false);
        let fitting: Vec<RelPath> =
            all.into_iter().filter(|(_, thing)| fits(thing.stat.kind)).map(|(path, _)| path).collect();
        (!fitting.is_empty()).then(|| self.random.pick(&fitting).clone())
    }
}

fn parse(path: &[u8]) -> RelPath {
    RelPath::parse(path).expect("people's names are names")
}

/// The path's first component: room may have been made there.
pub fn top_of(path: &RelPath) -> RelPath {
    path.components().next().map(parse).unwrap_or_default()
}
