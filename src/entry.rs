//! What stands at a path: its kind, its metadata, and when two looks at it saw the same thing.

use crate::path::{Name, escape};

/// A moment as a file system states it: seconds since 1970 (may be negative) and nanoseconds.
/// Far times have whole seconds, 32 bits unsigned (draft-ietf-secsh-filexfer-02 §5). Times of two hosts
/// are never compared with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Seconds since 1970-01-01 UTC.
    pub secs: i64,
    /// Nanoseconds after that, 0 to 999,999,999.
    pub nanos: u32,
}

impl Time {
    /// A whole second.
    pub fn from_secs(secs: i64) -> Self {
        Self { secs, nanos: 0 }
    }

    /// The time as SFTP version 3 carries it: clamped to 32 unsigned bits.
    pub fn to_sftp(self) -> u32 {
        u32::try_from(self.secs.max(0)).unwrap_or(u32::MAX)
    }
}

/// What kind of thing stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link.
    Link,
    /// A FIFO, socket, device, or something the server does not name: never opened, never carried.
    Other,
}

impl Kind {
    /// The kind in words, for messages.
    pub fn describe(self) -> &'static str {
        match self {
            Kind::File => "file",
            Kind::Dir => "folder",
            Kind::Link => "symbolic link",
            Kind::Other => "special file",
        }
    }
}

/// What one look (lstat) at a path saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Bytes of content; for links and folders whatever the system says, never compared.
    pub size: u64,
    /// Last change of the content.
    pub mtime: Time,
    /// Permission bits, `0o7777` at most.
    pub mode: u32,
    /// Last change of the inode; `None` on the far side.
    pub ctime: Option<Time>,
    /// Inode number; `None` on the far side.
    pub inode: Option<u64>,
}

impl Stat {
    /// The bits that are carried: never set-uid, set-gid or sticky.
    pub fn carried_mode(&self) -> u32 {
        self.mode & 0o777
    }
}

/// How sure it is that content stayed the same between two looks at one path on one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sameness {
    /// Every sign agrees.
    Same,
    /// Size and mtime agree, but ctime or inode do not: only metadata may have changed. Hash to know.
    Unsure,
    /// It is something else now.
    Different,
}

/// Compares two looks at one path on one host. Fields that either look lacks are passed over.
pub fn same_content(now: &Stat, then: &Stat) -> Sameness {
    if now.kind != then.kind {
        return Sameness::Different;
    }
    match now.kind {
        Kind::Dir => return Sameness::Same,
        Kind::File | Kind::Link | Kind::Other => {}
    }
    if now.mtime != then.mtime || (now.kind == Kind::File && now.size != then.size) {
        return Sameness::Different;
    }
    let differs = |a: Option<u64>, b: Option<u64>| matches!((a, b), (Some(a), Some(b)) if a != b);
    let ctime_differs = matches!((now.ctime, then.ctime), (Some(a), Some(b)) if a != b);
    if ctime_differs || differs(now.inode, then.inode) {
        return Sameness::Unsure;
    }
    Sameness::Same
}

/// Whether a look `taken` at a moment of the same clock cannot be trusted to notice a later change:
/// the file's mtime is so close that another write may leave it as it is (git's "racy" index entries).
/// `granularity_secs` is 2 for far sides (whole seconds, rounded either way), 0 means 10 ms for near ones,
/// but 2 s there too for an mtime without a fraction: vfat keeps even seconds, older NFS and ext3 whole ones.
/// An mtime that is days ahead was set by hand, and a write would set it to now.
pub fn is_racy(mtime: Time, taken: Time, granularity_secs: i64) -> bool {
    const DAY_SECS: i64 = 24 * 3600;
    const SECOND_NANOS: i128 = 1_000_000_000;
    if mtime.secs > taken.secs.saturating_add(DAY_SECS) {
        return false;
    }
    let slack_nanos = match granularity_secs {
        secs if secs > 0 => i128::from(secs) * SECOND_NANOS,
        _ if mtime.nanos == 0 => 2 * SECOND_NANOS,
        _ => 10_000_000,
    };
    let nanos = |t: Time| i128::from(t.secs) * SECOND_NANOS + i128::from(t.nanos);
    nanos(mtime) + slack_nanos > nanos(taken)
}

/// One name in a folder and what stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name in its folder.
    pub name: Name,
    /// What lstat says of it.
    pub stat: Stat,
}

/// A folder read to its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The entries, sorted by name, each name once, our own names (`.highwater*`) left out.
    pub entries: Vec<Entry>,
    /// Our own names, for who removes a folder with all that is in it. Never walked into.
    pub own: Vec<Entry>,
    /// Names that were refused: not a single component, or listed twice. Escaped, with the reason.
    /// While there are any, absence of a name from `entries` proves even less than usual.
    pub refused: Vec<RefusedName>,
}

/// A name that a listing contained and that was not taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedName {
    /// The bytes as listed, cut at 255.
    pub bytes: Vec<u8>,
    /// Why it was refused.
    pub reason: String,
}

impl Listing {
    /// Makes a listing from what a side returned: sorts, drops `.` and `..`, sets our own names apart, refuses
    /// what could leave the folder and what is listed twice (neither of the two is believed).
    pub fn from_raw(raw: impl IntoIterator<Item = (Vec<u8>, Stat)>) -> Self {
        let mut listing = Self::default();
        for (bytes, stat) in raw {
            if matches!(bytes.as_slice(), b"." | b"..") {
                continue;
            }
            match Name::new(bytes.as_slice()) {
                Ok(name) if name.is_own() => listing.own.push(Entry { name, stat }),
                Ok(name) => listing.entries.push(Entry { name, stat }),
                Err(error) => listing.refuse(&bytes, error.to_string()),
            }
        }
        listing.entries.sort_by(|a, b| a.name.cmp(&b.name));
        listing.refuse_twins();
        listing
    }

    fn refuse(&mut self, bytes: &[u8], reason: String) {
        let bytes = bytes[..bytes.len().min(255)].to_vec();
        self.refused.push(RefusedName { bytes, reason });
    }

    fn refuse_twins(&mut self) {
        let mut twins: Vec<Name> = self
            .entries
            .windows(2)
            .filter(|pair| pair[0].name == pair[1].name)
            .map(|pair| pair[0].name.clone())
            .collect();
        twins.dedup();
        self.entries.retain(|entry| twins.binary_search(&entry.name).is_err());
        for twin in twins {
            self.refuse(twin.as_bytes(), "the name is listed twice".into());
        }
    }
}

impl std::fmt::Display for RefusedName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", escape(&self.bytes), self.reason)
    }
}

/// The metadata we carry from one side to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Permission bits, `0o777` at most.
    pub mode: u32,
    /// Modification time.
    pub mtime: Time,
}

impl From<&Stat> for Meta {
    fn from(stat: &Stat) -> Self {
        Self { mode: stat.carried_mode(), mtime: stat.mtime }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(size: u64, secs: i64, inode: u64) -> Stat {
        Stat {
            kind: Kind::File,
            size,
            mtime: Time::from_secs(secs),
            mode: 0o644,
            ctime: Some(Time::from_secs(secs)),
            inode: Some(inode),
        }
    }

    #[test]
    fn signs_of_change() {
        let base = file(5, 100, 7);
        let far = Stat { ctime: None, inode: None, ..base };
        let check = |now: Stat, expected| assert_eq!(same_content(&now, &base), expected);
        check(base, Sameness::Same);
        check(far, Sameness::Same);
        check(file(6, 100, 7), Sameness::Different);
        check(file(5, 101, 7), Sameness::Different);
        check(file(5, 100, 8), Sameness::Unsure);
        check(Stat { kind: Kind::Link, ..base }, Sameness::Different);
    }

    #[test]
    fn a_write_in_the_same_moment_would_go_unnoticed() {
        let at = |secs, nanos| Time { secs, nanos };
        assert!(is_racy(at(100, 0), at(101, 0), 2));
        assert!(!is_racy(at(100, 0), at(102, 0), 2));
        assert!(is_racy(at(100, 999_000_000), at(101, 0), 0));
        assert!(!is_racy(at(100, 980_000_000), at(101, 0), 0));
        assert!(is_racy(at(50_000, 0), at(100, 0), 0));
        assert!(!is_racy(at(100_000, 0), at(100, 0), 0));
        assert!(!is_racy(at(100_000, 0), at(100, 0), 2));
    }

    #[test]
    fn a_near_file_system_that_keeps_no_fractions_of_seconds_hides_a_second_write_for_longer() {
        let at = |secs, nanos| Time { secs, nanos };
        assert!(is_racy(at(100, 0), at(101, 999_000_000), 0));
        assert!(!is_racy(at(100, 0), at(102, 0), 0));
        assert!(!is_racy(at(100, 1), at(101, 0), 0));
    }

    #[test]
    fn a_hostile_listing_is_cut_down_to_plain_names() {
        let names: [&[u8]; 11] =
            [b"b", b"..", b"../evil", b"/etc/evil", b"a/b", b"", b"twin", b"twin", b".", b".highwater", b"a"];
        let listing = Listing::from_raw(names.iter().map(|n| (n.to_vec(), file(1, 1, 1))));
        let kept: Vec<String> = listing.entries.iter().map(|e| e.name.to_string()).collect();
        assert_eq!(kept, ["a", "b"]);
        let own: Vec<String> = listing.own.iter().map(|e| e.name.to_string()).collect();
        assert_eq!(own, [".highwater"]);
        let refused: Vec<String> = listing.refused.iter().map(ToString::to_string).collect();
        assert_eq!(
            refused,
            [
                "../evil: the name contains a slash",
                "/etc/evil: the name contains a slash",
                "a/b: the name contains a slash",
                ": the name is empty",
                "twin: the name is listed twice",
            ]
        );
    }
}
