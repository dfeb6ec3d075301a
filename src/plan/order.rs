//! What comes when: the [`Planner`] follows the path order, knows which folders it is in, and holds back
//! what must wait until everything else is done.

use super::reconcile::{Decision, decide, disown, in_the_way};
use super::{Action, Expect, Facts, FolderEnd, Removal, Rules, Seen, Sight};
use crate::entry::{Kind, Stat};
use crate::error::Problem;
use crate::path::RelPath;

/// Turns [`Sight`]s, which must come in path order, into actions.
#[derive(Debug)]
pub struct Planner {
    rules: Rules,
    /// The folders that the current path is in, topmost first.
    open: Vec<Folder>,
    ending: Ending,
}

/// What must come after everything that [`Planner::next`] returned is done, in this order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Ending {
    /// What goes, contents before their folder. To be held as a whole if the
    /// [guard](super::guard::check_deletes) says so.
    pub removals: Vec<Removal>,
    /// What was waiting for the removal of a folder at its own path. If that folder still stands, it
    /// cannot be done: report it.
    pub after_removals: Vec<Action>,
    /// Folders whose metadata are to be set, deepest first.
    pub folders: Vec<FolderEnd>,
    /// What came to light on the way out of the last folders.
    pub problems: Vec<Problem>,
    /// What needed nothing.
    pub tally: Tally,
    /// Removals and folders beyond what one pass holds back. If there are any, plan again when this
    /// ending has been carried out.
    pub postponed: u64,
    /// Files and links among the postponed.
    postponed_deletes: u64,
}

/// How many paths needed nothing, and why.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Files, links and folders that are as base has them.
    pub unchanged: u64,
    /// Things at the target that are none of ours. What is in a foreign folder is not counted.
    pub foreign: Foreign,
    /// Paths gone at the source and kept, because deletes are off.
    pub kept: u64,
    /// Paths that could not be looked at on one of the sides, or lie below such a one.
    pub frozen: u64,
}

/// Things at the target that are none of ours, by kind.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Foreign {
    /// Files.
    pub files: u64,
    /// Symbolic links.
    pub links: u64,
    /// Folders.
    pub dirs: u64,
    /// Sockets and the like.
    pub others: u64,
}

impl Foreign {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.files + self.links + self.dirs + self.others
    }

    fn add(&mut self, kind: Kind) {
        *match kind {
            Kind::File => &mut self.files,
            Kind::Link => &mut self.links,
            Kind::Dir => &mut self.dirs,
            Kind::Other => &mut self.others,
        } += 1;
    }
}

impl Ending {
    /// How many files and links this pass would delete, postponed ones among them: what to ask the guard.
    pub fn deletes(&self) -> u64 {
        let held_back = self.removals.iter().filter(|r| r.is_delete()).count();
        held_back as u64 + self.postponed_deletes
    }
}

/// A folder on the way down to the current path.
#[derive(Debug)]
struct Folder {
    path: RelPath,
    fate: Fate,
    /// Something is placed directly in it.
    changed: bool,
    /// Something may come to be placed directly in it or taken out of it.
    questioned: bool,
    /// Something in it, at any depth, could not be looked at or is left to the next pass.
    rest: bool,
    /// Something in it, at any depth, is kept or is none of ours.
    inhabited: bool,
}

/// What becomes of a folder, decided where it was met and carried out where it is left.
#[derive(Debug)]
enum Fate {
    /// Base does not have it and the source neither.
    Foreign,
    /// Nothing at or below it may be touched.
    Frozen,
    /// It goes to the trash with all that is in it.
    Trashed,
    /// Nothing to do when it is left.
    Idle,
    /// It is at both ends; its metadata may have to be set.
    Stays { source: Stat, settle: bool },
    /// It goes when it is empty.
    Goes(Removal),
    /// It goes when it is empty, and then something else takes its place.
    MakesWay(Removal, Box<Action>),
}

impl Planner {
    /// A planner at the start of the tree.
    pub fn new(rules: Rules) -> Self {
        Self { rules, open: Vec::new(), ending: Ending::default() }
    }

    /// Takes in the next path and returns what may be done now, at this path or at folders just left.
    pub fn next(&mut self, sight: &Sight) -> Vec<Action> {
        let mut actions = self.leave_until(|folder| sight.path.is_within(&folder.path));
        match self.open.last().map(|folder| &folder.fate) {
            Some(Fate::Frozen) => self.freeze(),
            Some(Fate::Trashed) => actions.extend(forget(sight)),
            Some(Fate::Foreign) if is_foreign(sight) => {}
            _ => self.take(sight, &mut actions),
        }
        actions
    }

    /// Ends the pass.
    pub fn finish(mut self) -> Ending {
        for action in self.leave_until(|_| false) {
            if let Action::Report(problem) = action {
                self.ending.problems.push(problem);
            }
        }
        self.ending
    }

    /// A path that nothing above it decides about.
    fn take(&mut self, sight: &Sight, actions: &mut Vec<Action>) {
        let decision = decide(&self.rules, sight, Facts::default());
        let fate = self.carry_out(sight, decision, actions);
        if may_contain(sight) {
            self.open.push(Folder::new(sight.path.clone(), fate));
        }
    }

    /// Does, counts or holds back what was decided; returns what that means for what lies below.
    fn carry_out(&mut self, sight: &Sight, decision: Decision, actions: &mut Vec<Action>) -> Fate {
        match decision {
            Decision::Nothing => {}
            Decision::Unchanged => self.ending.tally.unchanged += 1,
            Decision::Kept => {
                self.ending.tally.kept += 1;
                self.inhabit();
            }
            Decision::Foreign(kind) => {
                self.ending.tally.foreign.add(kind);
                self.inhabit();
                return Fate::Foreign;
            }
            Decision::Disowned(problem) => {
                self.ending.tally.foreign.add(kind_at_target(sight));
                self.inhabit();
                actions.extend(disown(problem));
            }
            Decision::Frozen => {
                self.freeze();
                return Fate::Frozen;
            }
            Decision::Special(problem) => {
                actions.push(Action::Report(problem));
                return Fate::Frozen;
            }
            Decision::Act(action) => return self.act(action, actions),
            Decision::Folder { make, settle } => return self.enter(sight, make, settle, actions),
            Decision::Remove(removal) => {
                self.remove(removal);
            }
            Decision::RemoveDir(removal) => return Fate::Goes(removal),
            Decision::Clear(removal, action) => return Fate::MakesWay(removal, action),
        }
        Fate::Idle
    }

    fn act(&mut self, action: Action, actions: &mut Vec<Action>) -> Fate {
        self.note_change(&action);
        let fate = if trashes_folder(&action) { Fate::Trashed } else { Fate::Idle };
        actions.push(action);
        fate
    }

    /// A folder of the source's: makes or adopts it now, and sees to its metadata when it is left.
    fn enter(
        &mut self,
        sight: &Sight,
        make: Option<Action>,
        settle: bool,
        actions: &mut Vec<Action>,
    ) -> Fate {
        match make {
            Some(action) => {
                self.act(action, actions);
            }
            None if !settle => self.ending.tally.unchanged += 1,
            None => {}
        }
        match sight.source {
            Seen::Here(source) => Fate::Stays { source, settle },
            Seen::Absent | Seen::Unknown | Seen::NotLooked => Fate::Idle,
        }
    }

    /// Leaves the folders at the bottom of the stack until one is to be kept.
    fn leave_until(&mut self, keep: impl Fn(&Folder) -> bool) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some(folder) = self.open.pop_if(|folder| !keep(folder)) {
            if let Some(above) = self.open.last_mut() {
                above.rest |= folder.rest;
                above.inhabited |= folder.inhabited;
            }
            self.leave(folder, &mut actions);
        }
        actions
    }

    fn leave(&mut self, folder: Folder, actions: &mut Vec<Action>) {
        match folder.fate {
            Fate::Stays { source, settle } => {
                let certain = settle || folder.changed;
                if certain || folder.questioned {
                    self.settle(FolderEnd { path: folder.path, source, certain });
                }
            }
            Fate::Goes(removal) if !folder.rest => {
                self.remove(removal);
            }
            Fate::MakesWay(removal, _) if folder.inhabited => {
                actions.push(Action::Report(in_the_way(&removal)));
            }
            Fate::MakesWay(removal, action) if !folder.rest => self.make_way(removal, *action),
            // What stays in them keeps them, and base keeps their rows.
            Fate::Goes(_) | Fate::MakesWay(..) => {}
            Fate::Foreign | Fate::Frozen | Fate::Trashed | Fate::Idle => {}
        }
    }

    fn make_way(&mut self, removal: Removal, action: Action) {
        if self.remove(removal) {
            self.ending.after_removals.push(action);
        }
    }

    fn settle(&mut self, folder: FolderEnd) {
        if self.ending.folders.len() < self.rules.held_back {
            self.ending.folders.push(folder);
        } else if folder.certain {
            // What is uncertain need not be planned for again: if something comes of it, base has the
            // folder as unsettled.
            self.ending.postponed += 1;
        }
    }

    /// Holds a removal back for the end, or leaves it to the next pass.
    fn remove(&mut self, removal: Removal) -> bool {
        if self.ending.removals.len() >= self.rules.held_back {
            self.ending.postponed += 1;
            self.ending.postponed_deletes += u64::from(removal.is_delete());
            self.mark_rest();
            return false;
        }
        if let Some(folder) = self.folder_of(&removal.path) {
            folder.questioned = true;
        }
        self.ending.removals.push(removal);
        true
    }

    fn note_change(&mut self, action: &Action) {
        if let Some(folder) = self.folder_of(action.path()) {
            folder.changed |= action.changes_folder();
            folder.questioned |= action.asks();
        }
    }

    fn freeze(&mut self) {
        self.ending.tally.frozen += 1;
        self.mark_rest();
    }

    fn mark_rest(&mut self) {
        if let Some(folder) = self.open.last_mut() {
            folder.rest = true;
        }
    }

    fn inhabit(&mut self) {
        if let Some(folder) = self.open.last_mut() {
            folder.inhabited = true;
        }
    }

    /// The folder that `path` is directly in, if it was met.
    fn folder_of(&mut self, path: &RelPath) -> Option<&mut Folder> {
        let folder = self.open.last_mut()?;
        let inside = path.as_bytes().strip_prefix(folder.path.as_bytes())?.strip_prefix(b"/")?;
        (!inside.contains(&b'/')).then_some(folder)
    }
}

impl Folder {
    fn new(path: RelPath, fate: Fate) -> Self {
        Self { path, fate, changed: false, questioned: false, rest: false, inhabited: false }
    }
}

fn may_contain(sight: &Sight) -> bool {
    let could = |seen: Seen| match seen {
        Seen::Here(stat) => stat.kind == Kind::Dir,
        Seen::Unknown => true,
        Seen::Absent | Seen::NotLooked => false,
    };
    could(sight.source) || could(sight.target) || sight.base.as_ref().is_some_and(|b| b.kind == Kind::Dir)
}

fn is_foreign(sight: &Sight) -> bool {
    sight.base.is_none() && sight.source == Seen::Absent
}

fn kind_at_target(sight: &Sight) -> Kind {
    match (sight.target, &sight.base) {
        (Seen::Here(stat), _) => stat.kind,
        (_, Some(base)) => base.kind,
        (_, None) => Kind::Other,
    }
}

/// What lies in a folder that goes to the trash as a whole goes with it.
fn forget(sight: &Sight) -> Option<Action> {
    sight.base.is_some().then(|| Action::Forget { path: sight.path.clone() })
}

fn trashes_folder(action: &Action) -> bool {
    matches!(
        action,
        Action::Put { expect: Expect::Displace(old), .. } | Action::PutLink { expect: Expect::Displace(old), .. }
            if old.kind == Kind::Dir
    )
}
