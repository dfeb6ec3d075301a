//! The decision for one path: base, source, target and rules in, one [`Decision`] out.

use super::{Action, BaseView, Expect, Facts, Removal, Role, Rules, Seen, Sight, Why};
use crate::entry::{Kind, Sameness, Stat, same_content};
use crate::error::Problem;
use crate::hash::ContentHash;

/// What one path comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing to do.
    Unchanged,
    /// Neither end has it and base never did.
    Nothing,
    /// Gone at the source, kept because deletes are off.
    Kept,
    /// Somebody else's, left alone.
    Foreign(Kind),
    /// It could not be looked at: nothing at or below it may be touched.
    Frozen,
    /// The source has something that is not carried: nothing at or below it may be touched.
    Special(Problem),
    /// Changed at the target since base and gone at the source: left alone, base forgets it.
    Disowned(Problem),
    /// Do this.
    Act(Action),
    /// The source has a folder.
    Folder {
        /// What brings it about, if it is not there as base has it.
        make: Option<Action>,
        /// Whether its metadata must be set at the end in any case.
        settle: bool,
    },
    /// A file or link to remove at the end.
    Remove(Removal),
    /// A folder to remove after what is in it.
    RemoveDir(Removal),
    /// Base's folder must go, after what is in it, before this can be done.
    Clear(Removal, Box<Action>),
}

/// What stands at the target, measured against base.
#[derive(Debug, Clone, Copy)]
enum Standing {
    Unlooked,
    Nothing,
    /// As base has it.
    Base(Stat),
    /// As base has it by size and mtime only.
    Unsure(Stat),
    /// Not known to base, or changed since.
    Other(Stat),
}

/// Plans one path again, alone: after a question was answered, or when the target was not what the plan
/// expected. `sight` holds what stands there now; `facts` what was found out about exactly that.
///
/// A removal never comes out of this: what turns out to be removable waits for the next round. Nor is
/// any path below touched, so a folder of base's that stands in the way is only reported.
pub fn reconsider(rules: &Rules, sight: &Sight, facts: Facts) -> Vec<Action> {
    match decide(rules, sight, facts) {
        Decision::Act(action) => vec![action],
        Decision::Folder { make, .. } => make.into_iter().collect(),
        Decision::Special(problem) => vec![Action::Report(problem)],
        Decision::Disowned(problem) => disown(problem),
        Decision::Clear(removal, _) => vec![Action::Report(in_the_way(&removal))],
        Decision::Unchanged
        | Decision::Nothing
        | Decision::Kept
        | Decision::Foreign(_)
        | Decision::Frozen
        | Decision::Remove(_)
        | Decision::RemoveDir(_) => Vec::new(),
    }
}

/// What becomes of something the target's users took over.
pub(super) fn disown(problem: Problem) -> Vec<Action> {
    vec![Action::Forget { path: problem.path.clone() }, Action::Report(problem)]
}

/// A folder that may not be emptied stands where a file shall.
pub(super) fn in_the_way(folder: &Removal) -> Problem {
    let message = "a folder with content stands there and cannot make way: deletes are off, or what is in \
                   it is not ours; move it away, or turn deletes on";
    Problem::new(folder.path.clone(), "place", "folder-in-the-way", message)
}

/// Decides one path. Whatever is above it is the [`Planner`](super::Planner)'s matter.
pub(super) fn decide(rules: &Rules, sight: &Sight, facts: Facts) -> Decision {
    let Some(standing) = standing(sight, facts) else { return Decision::Frozen };
    match sight.source {
        Seen::Unknown | Seen::NotLooked => Decision::Frozen,
        Seen::Absent => gone(rules, sight, standing),
        Seen::Here(source) => match source.kind {
            Kind::Other => Decision::Special(special(sight)),
            Kind::Dir => folder(sight, &source, standing),
            Kind::File | Kind::Link => content(sight, &source, standing, facts),
        },
    }
}

/// Measures the target against base; `None` if it is unknown.
fn standing(sight: &Sight, facts: Facts) -> Option<Standing> {
    let base = sight.base.as_ref();
    Some(match (sight.target, base) {
        (Seen::Unknown, _) => return None,
        (Seen::Absent, _) => Standing::Nothing,
        (Seen::NotLooked, None) => Standing::Unlooked,
        (Seen::NotLooked, Some(base)) => Standing::Base(base.target),
        (Seen::Here(target), None) => Standing::Other(target),
        (Seen::Here(target), Some(base)) => match doubtful(&target, &base.target, facts.target_is_base) {
            Sameness::Same => Standing::Base(target),
            Sameness::Unsure => Standing::Unsure(target),
            Sameness::Different => Standing::Other(target),
        },
    })
}

/// Compares a look with base's, settling doubt by what was found out about the content.
fn doubtful(now: &Stat, then: &Stat, found: Option<bool>) -> Sameness {
    match (same_content(now, then), found) {
        (Sameness::Unsure, Some(true)) => Sameness::Same,
        (Sameness::Unsure, Some(false)) => Sameness::Different,
        (sameness, _) => sameness,
    }
}

fn special(sight: &Sight) -> Problem {
    let message =
        "a special file (socket, FIFO or device): it is not carried, and the target is left as it is";
    Problem::new(sight.path.clone(), "carry", "special-file", message)
}

/// The source has it no more, or never had.
fn gone(rules: &Rules, sight: &Sight, standing: Standing) -> Decision {
    let Some(base) = &sight.base else {
        return match standing {
            Standing::Base(t) | Standing::Unsure(t) | Standing::Other(t) => Decision::Foreign(t.kind),
            Standing::Nothing | Standing::Unlooked => Decision::Nothing,
        };
    };
    let removal = |target, prove| Removal { path: sight.path.clone(), target, in_the_way: false, prove };
    match standing {
        Standing::Nothing | Standing::Unlooked => Decision::Act(Action::Forget { path: sight.path.clone() }),
        _ if !rules.delete => Decision::Kept,
        Standing::Base(t) if t.kind == Kind::Dir => Decision::RemoveDir(removal(t, None)),
        Standing::Base(t) => Decision::Remove(removal(t, None)),
        Standing::Unsure(t) if base.hash.is_some() => Decision::Remove(removal(t, base.hash)),
        Standing::Unsure(_) | Standing::Other(_) => Decision::Disowned(taken_over(sight)),
    }
}

fn taken_over(sight: &Sight) -> Problem {
    let message = "gone at the source, but changed at the target since the last round: it is kept";
    Problem::new(sight.path.clone(), "delete", "changed-at-target", message)
}

/// The source has a folder.
fn folder(sight: &Sight, source: &Stat, standing: Standing) -> Decision {
    let path = sight.path.clone();
    let make = |expect, why| Decision::Folder {
        make: Some(Action::MakeDir { path: path.clone(), source: *source, expect, why }),
        settle: true,
    };
    match (standing, &sight.base) {
        (Standing::Unlooked, _) => make(Expect::Unknown, Why::New),
        (Standing::Nothing, base) => make(Expect::Absent, why_absent(base)),
        (Standing::Base(target), Some(base)) if target.kind == Kind::Dir => {
            Decision::Folder { make: None, settle: folder_differs(base, source, &target) }
        }
        (Standing::Base(target), base) => make(Expect::Retire(target), why_other(base)),
        (Standing::Other(target) | Standing::Unsure(target), _) if target.kind == Kind::Dir => {
            let settled = same_meta(source, &target);
            let make = Some(Action::AdoptDir { path, source: *source, target, settled });
            Decision::Folder { make, settle: !settled }
        }
        (Standing::Other(target) | Standing::Unsure(target), base) => {
            make(Expect::Displace(target), why_other(base))
        }
    }
}

fn folder_differs(base: &BaseView, source: &Stat, target: &Stat) -> bool {
    base.unsettled
        || source.mtime != base.source.mtime
        || source.carried_mode() != base.source.carried_mode()
        || target.mtime != base.target.mtime
        || target.carried_mode() != base.target.carried_mode()
}

/// The source has a file or link.
fn content(sight: &Sight, source: &Stat, standing: Standing, facts: Facts) -> Decision {
    match (standing, &sight.base) {
        (Standing::Unlooked, _) => put(sight, source, Expect::Unknown, Why::New),
        (Standing::Nothing, base) => put(sight, source, Expect::Absent, why_absent(base)),
        (Standing::Base(target), Some(base)) => follow(sight, base, source, &target, facts),
        (Standing::Unsure(target), Some(base)) => recheck(sight, base, Role::Target, target),
        (Standing::Base(target) | Standing::Unsure(target) | Standing::Other(target), base) => {
            meet(sight, source, &target, why_other(base), facts)
        }
    }
}

/// The target is as base has it: follow the source.
fn follow(sight: &Sight, base: &BaseView, source: &Stat, target: &Stat, facts: Facts) -> Decision {
    if base.kind == Kind::Dir {
        let removal = Removal { path: sight.path.clone(), target: *target, in_the_way: true, prove: None };
        return match put(sight, source, Expect::Absent, Why::Type { from: Kind::Dir }) {
            Decision::Act(action) => Decision::Clear(removal, Box::new(action)),
            other => other,
        };
    }
    if source.kind != base.kind {
        return put(sight, source, Expect::Replace(*target), Why::Type { from: base.kind });
    }
    match (same_content(source, &base.source), facts.source_is_base) {
        (_, Some(true)) => refresh(sight, base, source, target),
        (Sameness::Same, None) if !base.unsettled => refresh(sight, base, source, target),
        (Sameness::Same | Sameness::Unsure, None) => recheck(sight, base, Role::Source, *source),
        (Sameness::Same | Sameness::Unsure, Some(false)) => {
            put(sight, source, Expect::Replace(*target), Why::Content)
        }
        (Sameness::Different, _) => replace(sight, base, source, target),
    }
}

/// The source differs from base in size or time.
fn replace(sight: &Sight, base: &BaseView, source: &Stat, target: &Stat) -> Decision {
    let is_file = source.kind == Kind::File;
    if is_file && source.size != base.source.size {
        let why = Why::Size { from: base.source.size, to: source.size };
        return put(sight, source, Expect::Replace(*target), why);
    }
    let known = if is_file { base.hash } else { None };
    put_knowing(sight, source, Expect::Replace(*target), Why::Time, known, base.link.clone())
}

/// The content is base's on both sides: see to the metadata.
fn refresh(sight: &Sight, base: &BaseView, source: &Stat, target: &Stat) -> Decision {
    let (path, source, target) = (sight.path.clone(), *source, *target);
    let (from, to) = (base.source.carried_mode(), source.carried_mode());
    if source.kind == Kind::File {
        let meta = |why| Decision::Act(Action::SetMeta { path: path.clone(), source, target, why });
        if from != to {
            return meta(Why::Mode { from, to });
        }
        if source.mtime != base.source.mtime {
            return meta(Why::Time);
        }
        if target.carried_mode() != base.target.carried_mode() {
            return meta(Why::Drift);
        }
    }
    let as_recorded = !base.unsettled
        && same_content(&source, &base.source) == Sameness::Same
        && same_content(&target, &base.target) == Sameness::Same;
    if as_recorded { Decision::Unchanged } else { Decision::Act(Action::Record { path, source, target }) }
}

/// Source and target both have something, and base does not know the target's.
fn meet(sight: &Sight, source: &Stat, target: &Stat, why: Why, facts: Facts) -> Decision {
    let alike = match source.kind {
        Kind::File => target.kind == Kind::File && source.size == target.size,
        _ => target.kind == source.kind,
    };
    match facts.equal {
        None if alike => Decision::Act(Action::Compare {
            path: sight.path.clone(),
            source: *source,
            target: *target,
            source_hash: known_source(sight, source, facts),
            why,
        }),
        Some(true) if alike => adopt(sight, source, target),
        _ => put(sight, source, Expect::Displace(*target), why),
    }
}

/// What the source contains, if it is surely what base remembers.
fn known_source(sight: &Sight, source: &Stat, facts: Facts) -> Option<ContentHash> {
    let base = sight.base.as_ref()?;
    let same = same_content(source, &base.source) == Sameness::Same && !base.unsettled;
    (facts.source_is_base.unwrap_or(same)).then_some(base.hash).flatten()
}

fn adopt(sight: &Sight, source: &Stat, target: &Stat) -> Decision {
    let (path, source, target) = (sight.path.clone(), *source, *target);
    if source.kind == Kind::File && !same_meta(&source, &target) {
        return Decision::Act(Action::SetMeta { path, source, target, why: Why::Adopted });
    }
    Decision::Act(Action::Record { path, source, target })
}

/// Whether the target already has the metadata that would be set, as finely as it keeps them. Times of
/// two hosts are compared here, but nothing is concluded from them: setting them again does no harm.
fn same_meta(source: &Stat, target: &Stat) -> bool {
    let nanos_fit = target.mtime.nanos == 0 || source.mtime.nanos == target.mtime.nanos;
    source.carried_mode() == target.carried_mode() && source.mtime.secs == target.mtime.secs && nanos_fit
}

fn recheck(sight: &Sight, base: &BaseView, role: Role, stat: Stat) -> Decision {
    let (path, hash, link) = (sight.path.clone(), base.hash, base.link.clone());
    Decision::Act(Action::Recheck { path, role, stat, hash, link })
}

fn put(sight: &Sight, source: &Stat, expect: Expect, why: Why) -> Decision {
    put_knowing(sight, source, expect, why, None, None)
}

fn put_knowing(
    sight: &Sight,
    source: &Stat,
    expect: Expect,
    why: Why,
    hash: Option<ContentHash>,
    link: Option<Vec<u8>>,
) -> Decision {
    let (path, source) = (sight.path.clone(), *source);
    Decision::Act(match source.kind {
        Kind::Link => Action::PutLink { path, source, expect, known: link, why },
        _ => Action::Put { path, source, expect, known: hash, why },
    })
}

fn why_absent(base: &Option<BaseView>) -> Why {
    if base.is_some() { Why::Missing } else { Why::New }
}

fn why_other(base: &Option<BaseView>) -> Why {
    if base.is_some() { Why::Drift } else { Why::New }
}
