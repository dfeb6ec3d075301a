//! What a round does, one path at a time, and how it reads to a person.

use std::fmt;

use crate::entry::{Kind, Stat};
use crate::error::Problem;
use crate::hash::ContentHash;
use crate::path::RelPath;

/// One of the two ends, by what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The end that is followed.
    Source,
    /// The end that follows.
    Target,
}

/// What must stand at the target right before it is changed, and what becomes of it. If something else
/// stands there at that moment, nothing is done and the path is [reconsidered](super::reconsider).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Absent,
    /// This, known to base: it is replaced in place.
    Replace(Stat),
    /// This, known to base but of another kind: it goes to the trash first, and no more is said of it.
    Retire(Stat),
    /// This, not known to base (a folder: with all that is in it): it goes to the trash first, and that
    /// is reported as `displaced`.
    Displace(Stat),
    /// Nobody has looked. If nothing stands there, go on; else reconsider with what does.
    Unknown,
}

/// Why something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The source has it, base does not.
    New,
    /// The size changed since base.
    Size {
        /// Bytes in base.
        from: u64,
        /// Bytes at the source now.
        to: u64,
    },
    /// The modification time changed since base, the size did not.
    Time,
    /// The content changed since base though size and time did not.
    Content,
    /// Base has something of another kind.
    Type {
        /// What base has.
        from: Kind,
    },
    /// The permission bits changed since base.
    Mode {
        /// Bits in base.
        from: u32,
        /// Bits at the source now.
        to: u32,
    },
    /// Base has it, the target lost it.
    Missing,
    /// Somebody changed it at the target since base.
    Drift,
    /// Both sides have the same content, and base did not know.
    Adopted,
    /// Its inode changed, or it was written just before the last look: only its content can tell.
    Doubt,
}

/// One thing to do. All may be performed in the order in which they come, several at once, as long as
/// a folder is there before its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Carry a file over and record it.
    Put {
        /// Where.
        path: RelPath,
        /// The version to carry.
        source: Stat,
        /// What it replaces.
        expect: Expect,
        /// What the target's file contains, if `expect` holds: where the source turns out to have the
        /// same, only its metadata need be set.
        known: Option<ContentHash>,
        /// The reason.
        why: Why,
    },
    /// Carry a symbolic link over and record it.
    PutLink {
        /// Where.
        path: RelPath,
        /// The version to carry.
        source: Stat,
        /// What it replaces.
        expect: Expect,
        /// Where the target's link points, if `expect` holds: if the source's does too, record it.
        known: Option<Vec<u8>>,
        /// The reason.
        why: Why,
    },
    /// Make a folder and record it as [unsettled](super::BaseView::unsettled); its metadata are set at
    /// the end.
    MakeDir {
        /// Where.
        path: RelPath,
        /// The folder at the source.
        source: Stat,
        /// What makes way for it.
        expect: Expect,
        /// The reason.
        why: Why,
    },
    /// Both sides have the folder and base did not know: record it.
    AdoptDir {
        /// Where.
        path: RelPath,
        /// At the source.
        source: Stat,
        /// At the target.
        target: Stat,
        /// Whether the metadata are alike; if not, record it as unsettled.
        settled: bool,
    },
    /// A question: have both files, or both links, the same content? Reconsider with the answer as
    /// [`Facts::equal`](super::Facts::equal).
    Compare {
        /// Where.
        path: RelPath,
        /// At the source.
        source: Stat,
        /// At the target.
        target: Stat,
        /// What the source contains, where that is known already.
        source_hash: Option<ContentHash>,
        /// The reason.
        why: Why,
    },
    /// A question: does the file (or link) at this end still contain what base says? Reconsider with the
    /// answer as [`Facts::source_is_base`](super::Facts::source_is_base) or
    /// [`Facts::target_is_base`](super::Facts::target_is_base).
    Recheck {
        /// Where.
        path: RelPath,
        /// At which end.
        role: Role,
        /// What stands there.
        stat: Stat,
        /// What a file contained.
        hash: Option<ContentHash>,
        /// Where a link pointed.
        link: Option<Vec<u8>>,
    },
    /// Set mode and mtime of a file whose content is right, and record it.
    SetMeta {
        /// Where.
        path: RelPath,
        /// Where the metadata come from.
        source: Stat,
        /// What must stand there.
        target: Stat,
        /// The reason.
        why: Why,
    },
    /// Both sides are alike: write this into base.
    Record {
        /// Where.
        path: RelPath,
        /// At the source.
        source: Stat,
        /// At the target.
        target: Stat,
    },
    /// Drop the base row: neither side has it any more, or the target's is no longer ours.
    Forget {
        /// Where.
        path: RelPath,
    },
    /// Nothing can be done; say so.
    Report(Problem),
}

impl Action {
    /// The path it concerns.
    pub fn path(&self) -> &RelPath {
        match self {
            Action::Put { path, .. }
            | Action::PutLink { path, .. }
            | Action::MakeDir { path, .. }
            | Action::AdoptDir { path, .. }
            | Action::Compare { path, .. }
            | Action::Recheck { path, .. }
            | Action::SetMeta { path, .. }
            | Action::Record { path, .. }
            | Action::Forget { path } => path,
            Action::Report(problem) => &problem.path,
        }
    }

    /// The file content that it carries, in bytes, unless `known` spares it.
    pub fn bytes(&self) -> u64 {
        match self {
            Action::Put { source, .. } => source.size,
            _ => 0,
        }
    }

    /// Whether anything has to be done at the target, so that a connection is needed where it is far.
    pub fn needs_target(&self) -> bool {
        match self {
            Action::Put { .. }
            | Action::PutLink { .. }
            | Action::MakeDir { .. }
            | Action::Compare { .. }
            | Action::SetMeta { .. } => true,
            Action::Recheck { role, .. } => *role == Role::Target,
            Action::AdoptDir { .. } | Action::Record { .. } | Action::Forget { .. } | Action::Report(_) => {
                false
            }
        }
    }

    /// Whether it surely changes what its folder at the target contains.
    pub fn changes_folder(&self) -> bool {
        matches!(self, Action::Put { .. } | Action::PutLink { .. } | Action::MakeDir { .. })
    }

    /// Whether what follows from it may change what its folder at the target contains.
    pub(super) fn asks(&self) -> bool {
        matches!(self, Action::Compare { .. } | Action::Recheck { .. })
    }
}

/// Something in base that is gone at the source and shall go at the target, once that is proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// Where.
    pub path: RelPath,
    /// What must stand at the target. A folder goes only if it is empty by then; if it is not, somebody
    /// else's things are in it: it stays, and base forgets it unless it is in the way.
    pub target: Stat,
    /// Something in [`Ending::after_removals`](super::Ending::after_removals) waits for its place.
    pub in_the_way: bool,
    /// If given, the file must be read first and still contain this: size and mtime do not suffice. If
    /// it does not, reconsider with [`Facts::target_is_base`](super::Facts::target_is_base).
    pub prove: Option<ContentHash>,
}

impl Removal {
    /// Whether it counts as a delete: a file or link. Empty folders do not.
    pub fn is_delete(&self) -> bool {
        self.target.kind != Kind::Dir
    }
}

/// A folder whose metadata are set when nothing changes in it any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderEnd {
    /// Where.
    pub path: RelPath,
    /// The folder at the source.
    pub source: Stat,
    /// Whether it is sure that the metadata must be set. If not, it depends on what became of questions
    /// and removals in the folder: only if something was placed in it or taken out of it.
    pub certain: bool,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Put { path, expect, why, .. } => line(f, "copy", path, &reason(why, expect)),
            Action::PutLink { path, expect, why, .. } => line(f, "link", path, &reason(why, expect)),
            Action::MakeDir { path, expect, why, .. } => line(f, "mkdir", path, &reason(why, expect)),
            Action::AdoptDir { path, .. } => line(f, "adopt", path, "the folder is there already"),
            Action::Compare { path, .. } => line(f, "compare", path, "both sides may have the same content"),
            Action::Recheck { path, role, .. } => line(f, "check", path, in_doubt(*role)),
            Action::SetMeta { path, why, .. } => line(f, "set", path, &why.to_string()),
            Action::Record { path, .. } => line(f, "record", path, "same content on both sides"),
            Action::Forget { path } => line(f, "forget", path, "gone, or no longer ours"),
            Action::Report(problem) => line(f, "problem", &problem.path, &problem.message),
        }
    }
}

impl fmt::Display for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.is_delete() { "delete" } else { "rmdir" };
        line(f, verb, &self.path, "gone at the source")
    }
}

impl fmt::Display for FolderEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "set", &self.path, "time and permissions of the folder")
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::New => f.write_str("new"),
            Why::Size { from, to } => write!(f, "changed: size {from} → {to}"),
            Why::Time => f.write_str("changed: modification time"),
            Why::Content => f.write_str("changed: content"),
            Why::Type { from } => write!(f, "changed: was a {}", from.describe()),
            Why::Mode { from, to } => write!(f, "changed: permissions {from:o} → {to:o}"),
            Why::Missing => f.write_str("missing at the target"),
            Why::Drift => f.write_str("changed at the target"),
            Why::Adopted => f.write_str("same content, other metadata"),
            Why::Doubt => f.write_str("only its content can tell"),
        }
    }
}

fn line(f: &mut fmt::Formatter<'_>, verb: &str, path: &RelPath, reason: &str) -> fmt::Result {
    write!(f, "{verb:<8}{path}  ({reason})")
}

fn reason(why: &Why, expect: &Expect) -> String {
    match expect {
        Expect::Displace(old) => format!("{why}; the {} there goes to the trash", old.kind.describe()),
        Expect::Absent | Expect::Replace(_) | Expect::Retire(_) | Expect::Unknown => why.to_string(),
    }
}

fn in_doubt(role: Role) -> &'static str {
    match role {
        Role::Source => "may have changed: only its content can tell",
        Role::Target => "may have changed at the target: only its content can tell",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Time;

    fn stat(kind: Kind) -> Stat {
        Stat { kind, size: 12, mtime: Time::from_secs(1), mode: 0o644, ctime: None, inode: None }
    }

    #[test]
    fn actions_read_as_one_line() {
        let path = RelPath::parse(&b"reports/a.csv"[..]).unwrap();
        let put = |expect, why| Action::Put {
            path: path.clone(),
            source: stat(Kind::File),
            expect,
            known: None,
            why,
        };
        let check = |action: &dyn fmt::Display, expected: &str| assert_eq!(action.to_string(), expected);
        check(
            &put(Expect::Replace(stat(Kind::File)), Why::Size { from: 10, to: 12 }),
            "copy    reports/a.csv  (changed: size 10 → 12)",
        );
        check(
            &put(Expect::Displace(stat(Kind::Dir)), Why::New),
            "copy    reports/a.csv  (new; the folder there goes to the trash)",
        );
        check(
            &Removal { path: path.clone(), target: stat(Kind::File), in_the_way: false, prove: None },
            "delete  reports/a.csv  (gone at the source)",
        );
        check(
            &Action::Report(Problem::new(path.clone(), "carry", "special", "a\\x1b")),
            "problem reports/a.csv  (a\\x1b)",
        );
    }
}
