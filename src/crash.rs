//! Named places between one step and the next, at which a test can end the process as a crash would.
//!
//! With the feature `crash-points`, `HIGHWATER_CRASH=NAME:N` in the environment ends the process, without any
//! of its own cleaning up, when the place of that name is passed for the N-th time, and
//! `HIGHWATER_CRASH_SEEN=FILE` adds to a file the name of every place that is passed. Without the feature
//! there is nothing but the names.
//!
//! A place stands where one thing was done and the next was not: after an answer of a disk, a server or the
//! journal, before what follows from it.

/// All places, in about the order in which a round comes by.
pub const POINTS: [&str; 66] = [
    "journal: made, empty",
    "journal: schema there, not committed",
    "journal: damaged, before it is moved",
    "journal: damaged, moved without its log",
    "journal: damaged, moved",
    "journal: before a commit",
    "journal: after a commit",
    "journal: before it is closed",
    "round: begun",
    "root: made",
    "root: id staged",
    "root: id placed",
    "root: remembered",
    "root: near one remembered",
    "staging: prepared",
    "trash: fence moved",
    "trash: fenced",
    "fence: new name noted",
    "fence: moved",
    "fence: old name forgotten",
    "fence: swept",
    "intent: looked at",
    "intent: settled",
    "small: noted beside",
    "small: staged",
    "small: written and finished",
    "small: placed",
    "small: discarded",
    "large: staged",
    "large: taken up again",
    "large: kept prefix recalled",
    "large: kept one given up",
    "large: piece written",
    "large: begun in the journal",
    "large: progress noted",
    "large: all pieces there",
    "large: read again",
    "large: finished",
    "large: row ended",
    "link: made",
    "place: way made",
    "place: intended",
    "place: renamed",
    "place: recorded",
    "folder: made",
    "folder: recorded",
    "folder: metadata set",
    "metadata: set",
    "trash: folder made",
    "trash: noted",
    "trash: moved",
    "bin: made",
    "bin: moved",
    "bin: removed",
    "delete: counted",
    "delete: proved",
    "delete: done",
    "delete: recorded",
    "delete: folder removed",
    "sync: folders synced",
    "sync: recorded",
    "generation: pending",
    "generation: staged",
    "generation: placed",
    "generation: recorded",
    "round: before its end is written",
];

/// One of the [`POINTS`] is passed.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub(crate) fn point(_name: &'static str) {}

/// One of the [`POINTS`] is passed.
#[cfg(feature = "crash-points")]
pub(crate) fn point(name: &'static str) {
    armed::passed(name);
}

#[cfg(feature = "crash-points")]
mod armed {
    use std::fs::File;
    use std::io::Write;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// What the environment asks for.
    struct Orders {
        crash: Option<(String, u64)>,
        seen: Option<File>,
    }

    static ORDERS: LazyLock<Orders> = LazyLock::new(|| {
        let crash = std::env::var("HIGHWATER_CRASH").ok();
        let seen = std::env::var_os("HIGHWATER_CRASH_SEEN");
        Orders {
            crash: crash.and_then(|order| {
                let (name, nth) = order.rsplit_once(':')?;
                Some((name.to_owned(), nth.parse().ok()?))
            }),
            // Who asks for it looks whether it is there.
            seen: seen.and_then(|path| File::options().create(true).append(true).open(path).ok()),
        }
    });

    static PASSED: AtomicU64 = AtomicU64::new(0);

    pub fn passed(name: &str) {
        if let Some(mut seen) = ORDERS.seen.as_ref() {
            let _ = seen.write_all(format!("{name}\n").as_bytes()); // missing names are missed by who asked
        }
        let Some((wanted, nth)) = &ORDERS.crash else { return };
        if wanted == name && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *nth {
            std::process::abort();
        }
    }
}
