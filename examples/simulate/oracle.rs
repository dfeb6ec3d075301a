//! Judges what the engine does from what can be seen, knowing nothing of how it works: every version that
//! people left in either tree is remembered, every change of the target is looked at when it is made, and what
//! must not be breaks the seed.

use std::collections::{BTreeMap, BTreeSet};

use highwater::entry::Kind;
use highwater::path::RelPath;
use highwater::tree::memory::Memory;

use crate::look::{self, Thing, Things};

/// Seconds in which deletes count together.
const DAY_SECS: i64 = 24 * 3600;

/// So many deletes a day go without asking where there are few files.
const DELETES_A_DAY: usize = 20;

/// What the job asks for.
#[derive(Debug, Clone, Copy)]
pub struct Wishes {
    pub delete: bool,
    /// How long the trash is kept, in seconds; `None`: there is none.
    pub trash_secs: Option<i64>,
    /// The target can rename without replacing anything.
    pub replaces_nothing: bool,
}

/// A change that the engine made at the target.
#[derive(Debug, Clone, Copy)]
pub struct Deed<'a> {
    pub operation: &'static str,
    pub path: &'a RelPath,
    /// Where it was moved.
    pub to: Option<&'a RelPath>,
    /// Seconds of the true clock.
    pub now: i64,
}

/// How something came to be no longer at its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gone {
    Replaced,
    Trashed,
    Removed,
}

pub struct Oracle {
    wishes: Wishes,
    /// The source as its users left it.
    source: Things,
    /// Since which step a path of the source has what it has.
    since: BTreeMap<RelPath, u64>,
    /// Every version that ever stood at a path of the source.
    ours: BTreeMap<RelPath, BTreeSet<u128>>,
    /// Every version that users of the target left at a path.
    theirs: BTreeMap<RelPath, BTreeSet<u128>>,
    /// What stood at the source at some time in this round, and whether something else than a folder did.
    present: BTreeMap<RelPath, bool>,
    /// The target as it was last seen.
    target: Things,
    /// What the engine saw at paths of the target when it looked last.
    looked: BTreeMap<RelPath, Option<u128>>,
    /// What was changed after the engine had looked, and moved aside to be removed: it has to go back.
    aside: BTreeMap<RelPath, u128>,
    /// Versions in the trash, with the second since when.
    trash: BTreeMap<RelPath, (u128, i64)>,
    /// What was placed in this round.
    placed: BTreeSet<RelPath>,
    /// What was placed by attempts that were cut off, and not again since: it may be that nobody wrote it down.
    unrecorded: BTreeSet<RelPath>,
    /// Files of which something was read wrong in this round.
    flipped: BTreeSet<RelPath>,
    /// Folders that the target once refused to make durable.
    unsyncable: BTreeSet<RelPath>,
    /// When something was deleted.
    deletes: Vec<i64>,
    accepts: bool,
    /// Whether the journal can have forgotten deletes, or which files are ours.
    is_forgetful: bool,
    step: u64,
    round_began: u64,
    /// Changes that the engine made at the target.
    pub changes: u64,
    /// Those of them that people can see, but for times and modes.
    pub visible_changes: u64,
    /// What must not be, the first time.
    pub broken: Option<String>,
}

impl Oracle {
    pub fn new(wishes: Wishes) -> Self {
        Self {
            wishes,
            source: Things::new(),
            since: BTreeMap::new(),
            ours: BTreeMap::new(),
            theirs: BTreeMap::new(),
            present: BTreeMap::new(),
            target: Things::new(),
            looked: BTreeMap::new(),
            aside: BTreeMap::new(),
            trash: BTreeMap::new(),
            placed: BTreeSet::new(),
            unrecorded: BTreeSet::new(),
            flipped: BTreeSet::new(),
            unsyncable: BTreeSet::new(),
            deletes: Vec::new(),
            accepts: false,
            is_forgetful: false,
            step: 0,
            round_began: 0,
            changes: 0,
            visible_changes: 0,
            broken: None,
        }
    }

    /// A round begins; `accepts`: a person let all deletes go.
    pub fn begin_round(&mut self, accepts: bool) {
        self.step += 1;
        self.round_began = self.step;
        self.accepts = accepts;
        self.present.clear();
        self.looked.clear();
        self.placed.clear();
        self.flipped.clear();
        let all: Vec<RelPath> = self.source.keys().cloned().collect();
        all.iter().for_each(|path| self.note_present(path));
    }

    /// Whether the journal ever lost something of what it knew.
    pub fn is_forgetful(&self) -> bool {
        self.is_forgetful
    }

    /// The journal lost something of what it knew, or was told that something is gone which is not.
    pub fn journal_forgot(&mut self) {
        self.is_forgetful = true;
    }

    /// Something under way was cut off.
    pub fn cut_off(&mut self) {
        self.unrecorded.append(&mut self.placed);
    }

    /// Something of this file was read wrong.
    pub fn flipped(&mut self, path: &RelPath) {
        self.flipped.insert(path.clone());
    }

    /// The target said that it cannot make this folder durable. Where it says so the engine leaves it at that:
    /// it may be a target that never can.
    pub fn sync_was_refused(&mut self, folder: &RelPath) {
        self.unsyncable.insert(folder.clone());
    }

    /// Users of the source did something at and below `path`.
    pub fn source_changed(&mut self, source: &Memory, path: &RelPath) {
        self.step += 1;
        let after = look::below(source, path, false);
        let gone: Vec<RelPath> = within(&self.source, path)
            .filter(|(p, _)| !after.contains_key(*p))
            .map(|(p, _)| p.clone())
            .collect();
        for path in gone {
            self.source.remove(&path);
            self.since.remove(&path);
        }
        for (path, thing) in after {
            let before = self.source.insert(path.clone(), thing);
            if before
                .is_none_or(|before| (before.version, before.stat.kind) != (thing.version, thing.stat.kind))
            {
                self.since.insert(path.clone(), self.step);
            }
            if thing.has_content() {
                self.ours.entry(path.clone()).or_default().insert(thing.version);
            }
            self.note_present(&path);
        }
    }

    fn note_present(&mut self, path: &RelPath) {
        let Some(thing) = self.source.get(path) else { return };
        let is_other = thing.stat.kind != Kind::Dir;
        *self.present.entry(path.clone()).or_default() |= is_other;
    }

    /// Users of the target did something at and below `path`.
    pub fn target_changed(&mut self, target: &Memory, path: &RelPath) {
        self.see(target, path);
        for (path, thing) in within(&self.target, path).filter(|(_, thing)| thing.has_content()) {
            self.theirs.entry(path.clone()).or_default().insert(thing.version);
        }
    }

    fn see(&mut self, target: &Memory, path: &RelPath) {
        self.target.retain(|p, _| !p.is_within(path));
        self.target.extend(look::below(target, path, false));
    }

    /// The engine looked at one path of the target.
    pub fn engine_looked(&mut self, path: &RelPath) {
        let seen = self.target.get(path).filter(|thing| thing.has_content()).map(|thing| thing.version);
        self.looked.insert(path.clone(), seen);
    }

    /// Whether users changed something after the engine had looked at it: SFTP has no rename that replaces this
    /// version and no other. Where nothing was, a target that can rename without replacing replaces nothing.
    fn came_after_the_look(&self, path: &RelPath, thing: &Thing) -> bool {
        match self.looked.get(path) {
            Some(Some(seen)) => *seen != thing.version,
            Some(None) => !self.wishes.replaces_nothing,
            None => false,
        }
    }

    /// The engine did something at the source.
    pub fn engine_touched_source(&mut self, deed: &Deed<'_>) {
        self.breaks(format!("the source was changed: {} {}", deed.operation, deed.path));
    }

    /// The engine did something at the target.
    pub fn engine_did(&mut self, target: &Memory, deed: &Deed<'_>) {
        self.step += 1;
        self.changes += 1;
        self.visible_changes += u64::from(!deed.path.is_own() && deed.operation != "set_meta");
        self.follow_trash(target, deed);
        let back = self.aside.remove(deed.path);
        if back.is_some() && deed.operation == "remove_file" {
            self.breaks(format!("lost: {} was changed after the look and was removed", deed.path));
        }
        if matches!(deed.operation, "place" | "make_dir") && !deed.path.is_own() {
            self.unrecorded.remove(deed.path);
            self.placed.insert(deed.path.clone());
        }
        for path in [Some(deed.path), deed.to].into_iter().flatten().filter(|path| !path.is_own()) {
            let before: Things = within(&self.target, path).map(|(p, t)| (p.clone(), *t)).collect();
            self.see(target, path);
            let after: Things = within(&self.target, path).map(|(p, t)| (p.clone(), *t)).collect();
            for (path, thing) in before.iter().filter(|(_, thing)| thing.has_content()) {
                if after.get(path).is_none_or(|now| now.version != thing.version) {
                    self.judge_gone(deed, path, thing);
                }
            }
            for (path, thing) in after.iter().filter(|(_, thing)| thing.has_content()) {
                let is_new = before.get(path).is_none_or(|then| then.version != thing.version);
                if is_new && back != Some(thing.version) {
                    self.judge_new(deed, path, thing);
                }
            }
        }
        for path in [Some(deed.path), deed.to].into_iter().flatten() {
            self.looked.remove(path); // whatever is done next takes a look of its own
        }
    }

    fn judge_new(&mut self, deed: &Deed<'_>, path: &RelPath, thing: &Thing) {
        if deed.operation != "place" {
            self.breaks(format!("{path} got its content by {}, which is no rename", deed.operation));
        }
        if !knows(&self.ours, path, thing) {
            self.breaks(format!("torn: {path} got content by {} that the source never had", deed.operation));
        }
    }

    fn judge_gone(&mut self, deed: &Deed<'_>, path: &RelPath, thing: &Thing) {
        let is_ours = knows(&self.ours, path, thing);
        let keeps = self.wishes.trash_secs.is_some();
        let Some(how) = how_gone(deed) else {
            return self.breaks(format!("{path} lost its content by {}", deed.operation));
        };
        if let (Gone::Removed, Some(to)) = (how, deed.to)
            && !is_ours
            && self.came_after_the_look(path, thing)
        {
            self.aside.insert(to.clone(), thing.version);
            return;
        }
        match how {
            Gone::Replaced if !is_ours && keeps && !self.came_after_the_look(path, thing) => {
                self.breaks(format!("lost: {path} was the target's own and was overwritten"));
            }
            Gone::Removed if keeps => {
                self.breaks(format!("lost: {path} was removed by {}, not kept", deed.operation));
            }
            Gone::Trashed if !self.is_in_trash(deed, path, thing) => {
                self.breaks(format!("lost: {path} did not arrive in the trash"));
            }
            _ => {}
        }
        if how == Gone::Replaced {
            return;
        }
        if self.made_way(path) {
            let is_same = self.source.get(path).is_some_and(|now| now.version == thing.version);
            // A bit that was turned while the two were compared made them differ; nothing can notice that, and
            // what was taken away is kept.
            let differed = self.flipped.contains(path);
            if is_same && !differed && self.since.get(path).is_some_and(|since| *since < self.round_began) {
                self.breaks(format!("{path} was taken away though the source has the same all the time"));
            }
            return;
        }
        self.judge_delete(deed, path, is_ours);
    }

    fn judge_delete(&mut self, deed: &Deed<'_>, path: &RelPath, is_ours: bool) {
        if !is_ours {
            self.breaks(format!("lost: {path} was the target's own and was deleted"));
        }
        if !self.wishes.delete {
            self.breaks(format!("{path} was deleted though deletes are off"));
        }
        self.deletes.push(deed.now);
        let today = self.deletes.iter().filter(|at| deed.now - **at < DAY_SECS).count();
        if today > DELETES_A_DAY && !self.accepts && !self.is_forgetful {
            self.breaks(format!("{path} is delete number {today} of a day"));
        }
    }

    /// Whether the source had something at that path in this round, or something that is no folder above it.
    fn made_way(&self, path: &RelPath) -> bool {
        let above = std::iter::successors(path.parent(), RelPath::parent);
        self.present.contains_key(path) || above.into_iter().any(|p| self.present.get(&p) == Some(&true))
    }

    fn is_in_trash(&self, deed: &Deed<'_>, path: &RelPath, thing: &Thing) -> bool {
        let rest = &path.as_bytes()[deed.path.as_bytes().len()..];
        let place = deed.to.map(|to| [to.as_bytes(), rest].concat());
        let place = place.and_then(|place| RelPath::parse(place).ok());
        place.and_then(|place| self.trash.get(&place)).is_some_and(|(version, _)| *version == thing.version)
    }

    /// What came into the trash, was moved in it, or left it.
    fn follow_trash(&mut self, target: &Memory, deed: &Deed<'_>) {
        let left: Vec<(RelPath, (u128, i64))> = self
            .trash
            .range(deed.path.clone()..)
            .take_while(|(path, _)| path.is_within(deed.path))
            .map(|(path, kept)| (path.clone(), *kept))
            .collect();
        for (path, _) in &left {
            self.trash.remove(path);
        }
        let to = deed.to.filter(|to| is_trash(to));
        for (path, thing) in to.map(|to| look::below(target, to, true)).into_iter().flatten() {
            if thing.has_content() {
                let since =
                    left.iter().filter(|(_, kept)| kept.0 == thing.version).map(|(_, kept)| kept.1).min();
                self.trash.insert(path, (thing.version, since.unwrap_or(deed.now)));
            }
        }
        if to.is_none() {
            for (path, (_, since)) in left {
                self.judge_swept(deed, &path, since);
            }
        }
    }

    fn judge_swept(&mut self, deed: &Deed<'_>, path: &RelPath, since: i64) {
        let kept = self.wishes.trash_secs.unwrap_or(0);
        if deed.now - since < kept {
            self.breaks(format!("lost: {path} left the trash after {} s", deed.now - since));
        }
    }

    /// The target's power was cut.
    pub fn power_was_cut(&mut self, target: &Memory) {
        let before = std::mem::take(&mut self.target);
        let old_trash = std::mem::take(&mut self.trash);
        self.see(target, &RelPath::root());
        for (path, thing) in look::below(target, &trash(), true) {
            if thing.has_content() {
                let since = old_trash.get(&path).map_or(i64::MAX, |kept| kept.1);
                self.trash.insert(path, (thing.version, since));
            }
        }
        let torn = |(path, thing): (&RelPath, &Thing)| {
            let is_known = knows(&self.ours, path, thing) || knows(&self.theirs, path, thing);
            (thing.has_content() && !is_known).then(|| path.clone())
        };
        let torn: Vec<RelPath> = self.target.iter().filter_map(torn).collect();
        for path in torn {
            self.breaks(format!("torn: {path} came out of a power cut with content nobody wrote"));
        }
        let seen = before.into_iter().map(|(path, thing)| (path, thing.version));
        let held: Vec<u128> =
            self.target.values().map(|t| t.version).chain(self.trash.values().map(|k| k.0)).collect();
        let is_lost = |(path, version): &(RelPath, u128)| {
            let is_theirs = self.theirs.get(path).is_some_and(|all| all.contains(version));
            let is_ours = self.ours.get(path).is_some_and(|all| all.contains(version));
            is_theirs && !is_ours && !held.contains(version)
        };
        let lost: Vec<RelPath> = seen.filter(is_lost).map(|(path, _)| path).collect();
        for path in lost {
            self.breaks(format!("lost: {path} was the target's own and did not come out of a power cut"));
        }
    }

    /// The power of a target at rest was cut: all that the last round left is there.
    ///
    /// But for what an attempt that was cut off left where the source has nothing by now: no round ever called
    /// that durable, or knows that it is ours; and for names in a folder that the target did not make durable.
    /// The times of folders tell of what was taken back in them, if only for a moment that nobody saw.
    ///
    /// Returns whether all is there that the source has, so that there is nothing to be made up for.
    pub fn judge_durable(&mut self, before: &Things, after: &Things) -> bool {
        let is_leftover = |path: &RelPath| self.unrecorded.contains(path) && !self.source.contains_key(path);
        let is_unsyncable =
            |path: &RelPath| path.parent().is_some_and(|folder| self.unsyncable.contains(&folder));
        let is_excused = |path: &RelPath| {
            std::iter::successors(Some(path.clone()), RelPath::parent)
                .any(|path| is_leftover(&path) || is_unsyncable(&path))
        };
        let is_durable = |path: &RelPath, thing: &Thing| match after.get(path) {
            Some(now) if thing.stat.kind == Kind::Dir => {
                (now.stat.kind, now.stat.mode) == (thing.stat.kind, thing.stat.mode)
            }
            Some(now) if now == thing => true,
            _ => is_excused(path),
        };
        let is_whole = before.keys().all(|path| !self.source.contains_key(path) || after.contains_key(path));
        let gone = before.iter().find(|(path, thing)| !is_durable(path, thing)).map(|(path, _)| path);
        // A folder that was removed, and forgotten with the folder above it, may come back: it holds nothing.
        let is_empty = |path: &RelPath, thing: &Thing| {
            thing.stat.kind == Kind::Dir
                && !self.source.contains_key(path)
                && within(after, path).count() == 1
        };
        let new = after
            .iter()
            .find(|(path, thing)| !before.contains_key(*path) && !is_excused(path) && !is_empty(path, thing));
        let new = new.map(|(path, _)| path);
        if let Some(path) = gone.or(new).cloned() {
            let (then, now) = (before.get(&path), after.get(&path));
            self.breaks(format!(
                "what a round called durable did not come out of a power cut: {path}: {then:?}, then {now:?}"
            ));
        }
        is_whole
    }

    /// What has to hold when everything has come to rest. `excused` are paths that the last round reported.
    pub fn judge_rest(&mut self, rest: &Rest<'_>) {
        let source = self.source.clone();
        let target = look::below(rest.target, &RelPath::root(), false);
        if look::below(rest.source, &RelPath::root(), false) != source {
            self.breaks("the source is not as its users left it".into());
        }
        for (path, thing) in &source {
            let is_unknown = self.is_forgetful || self.unrecorded.contains(path);
            let passes = |copy: &&Thing| is_unknown && rest.passes_for(thing, copy);
            let copy = target.get(path);
            if !rest.is_excused(path) && !rest.is_alike(thing, copy) && copy.filter(passes).is_none() {
                self.breaks(format!("not brought over: {path}: {thing:?}, but {:?}", target.get(path)));
            }
        }
        let theirs = |path: &RelPath, thing: &Thing| knows(&self.theirs, path, thing);
        let is_kept = |path: &RelPath, thing: &Thing| match thing.stat.kind {
            Kind::Dir => true,   // folders without anything in them hold nothing
            Kind::Other => true, // nobody carried it there
            _ => theirs(path, thing) || rest.is_excused(path),
        };
        let may_stay = !self.wishes.delete || self.is_forgetful || rest.is_held;
        let stray = target.iter().find(|(p, thing)| !source.contains_key(*p) && !is_kept(p, thing));
        if let Some((path, _)) = stray.filter(|_| !may_stay) {
            self.breaks(format!("not deleted: {path}"));
        }
    }

    fn breaks(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }
}

/// How everything came to rest.
pub struct Rest<'a> {
    pub source: &'a Memory,
    pub target: &'a Memory,
    /// Paths that the last round reported.
    pub excused: &'a [RelPath],
    /// Deletes or displacements wait for a person.
    pub is_held: bool,
    /// Seconds to which the target's times are rounded down; `None`: it keeps none.
    pub step_secs: Option<i64>,
    /// Whether the target can have links.
    pub has_links: bool,
    /// The job takes an OK for enough: what base does not know, or has forgotten, is the same if size and time are.
    pub is_by_ack: bool,
}

impl Rest<'_> {
    fn is_excused(&self, path: &RelPath) -> bool {
        self.excused.iter().any(|problem| path.is_within(problem) || problem.is_within(path))
    }

    fn passes_for(&self, thing: &Thing, copy: &Thing) -> bool {
        let essence = |of: &Thing| (of.stat.kind, of.stat.size, self.rounded(of.stat.mtime.secs));
        self.is_by_ack && thing.stat.kind == Kind::File && essence(thing) == essence(copy)
    }

    fn rounded(&self, secs: i64) -> i64 {
        match self.step_secs {
            None | Some(0) => secs,
            Some(step) => secs / step * step,
        }
    }

    fn is_alike(&self, thing: &Thing, copy: Option<&Thing>) -> bool {
        if thing.stat.kind == Kind::Other || (thing.stat.kind == Kind::Link && !self.has_links) {
            return true; // not carried
        }
        let Some(copy) = copy else { return false };
        let same = (copy.stat.kind, copy.version) == (thing.stat.kind, thing.version);
        if self.step_secs.is_none() {
            return same;
        }
        let times = self.rounded(thing.stat.mtime.secs) == self.rounded(copy.stat.mtime.secs);
        same && (thing.stat.kind == Kind::Link
            || (times && thing.stat.mode & 0o777 == copy.stat.mode & 0o777))
    }
}

fn how_gone(deed: &Deed<'_>) -> Option<Gone> {
    match (deed.operation, deed.to) {
        ("place", _) => Some(Gone::Replaced),
        ("move_aside", Some(to)) if is_trash(to) => Some(Gone::Trashed),
        ("move_aside", Some(to)) if to.is_own() => Some(Gone::Removed),
        ("remove_file", _) => Some(Gone::Removed),
        _ => None,
    }
}

fn trash() -> RelPath {
    RelPath::parse(&b".highwater/trash"[..]).expect("it is a path")
}

fn is_trash(path: &RelPath) -> bool {
    path.is_within(&trash())
}

fn knows(versions: &BTreeMap<RelPath, BTreeSet<u128>>, path: &RelPath, thing: &Thing) -> bool {
    versions.get(path).is_some_and(|all| all.contains(&thing.version))
}

fn within<'a>(things: &'a Things, path: &'a RelPath) -> impl Iterator<Item = (&'a RelPath, &'a Thing)> {
    things.range(path.clone()..).take_while(move |(p, _)| p.is_within(path))
}
