//! How much of a file staged earlier may be gone on with: a decision, without I/O.

use crate::entry::{Kind, Sameness, Stat, Time, is_racy, same_content};
use crate::hash::PIECE_BYTES;

/// A far source whose mtime is closer to now than this may still change without a sign of it.
const FAR_RACY_SECS: i64 = 2;

/// What to do with a file staged earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// Prove the first so many pieces and go on after them.
    From(u64),
    /// Start again under a new name, for this reason.
    Afresh(&'static str),
}

/// What the journal and both sides say of an unfinished transfer.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    /// The source when the transfer was begun.
    pub source_then: Stat,
    /// The source now.
    pub source_now: Stat,
    /// Bytes acknowledged without a gap, as journaled.
    pub acknowledged: u64,
    /// Bytes that the staged file has now.
    pub staged_size: u64,
    /// Whether the source is the far side, and so without ctime and inode.
    pub far_source: bool,
    /// Now, by this machine's clock.
    pub now: Time,
}

/// Decides. Only whole pieces count.
pub fn resume(kept: &Kept) -> Resume {
    let then = &kept.source_then;
    if kept.source_now.kind != Kind::File || then.size != kept.source_now.size {
        return Resume::Afresh("the source changed meanwhile");
    }
    if same_content(&kept.source_now, then) != Sameness::Same {
        return Resume::Afresh("the source changed meanwhile");
    }
    if kept.far_source && is_racy(kept.source_now.mtime, kept.now, FAR_RACY_SECS) {
        return Resume::Afresh("the source is so new that a change would not show");
    }
    if kept.staged_size < kept.acknowledged {
        return Resume::Afresh("the staged file is shorter than what was acknowledged");
    }
    match kept.acknowledged.min(then.size) / PIECE_BYTES {
        0 => Resume::Afresh("nothing of it was acknowledged"),
        pieces => Resume::From(pieces),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn kept() -> Kept {
        let source = Stat {
            kind: Kind::File,
            size: 100 * MIB,
            mtime: Time::from_secs(1_000),
            mode: 0o644,
            ctime: Some(Time::from_secs(1_000)),
            inode: Some(7),
        };
        Kept {
            source_then: source,
            source_now: source,
            acknowledged: 10 * MIB,
            staged_size: 12 * MIB,
            far_source: false,
            now: Time::from_secs(5_000),
        }
    }

    #[test]
    fn only_the_same_source_and_what_is_really_there_is_gone_on_with() {
        let check = |change: fn(&mut Kept), expected: Option<u64>| {
            let mut kept = kept();
            change(&mut kept);
            let pieces = match resume(&kept) {
                Resume::From(pieces) => Some(pieces),
                Resume::Afresh(_) => None,
            };
            assert_eq!(pieces, expected, "{kept:?}");
        };
        check(|_| {}, Some(80));
        check(|k| k.acknowledged += 1, Some(80));
        check(|k| k.acknowledged = PIECE_BYTES - 1, None);
        check(|k| k.staged_size = 10 * MIB - 1, None);
        check(|k| k.source_now.size += 1, None);
        check(|k| k.source_now.mtime.nanos = 1, None);
        check(|k| k.source_now.ctime = Some(Time::from_secs(1_001)), None);
        check(|k| k.source_now.inode = Some(8), None);
        check(|k| k.source_now.kind = Kind::Link, None);
        check(
            |k| {
                k.far_source = true;
                k.now = Time::from_secs(1_001);
            },
            None,
        );
    }
}
