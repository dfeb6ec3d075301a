//! READDIR: a folder read piece by piece, with the long names that people see.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use russh_sftp::protocol::{File, FileAttributes};
use rustix::fs::{AtFlags, Dir, Stat, statat};
use rustix::io::Errno;

use super::misbehave::Fault;
use super::refusal::Refusal;
use crate::entry::Time;
use crate::path::{RelPath, to_wire};

/// Most names in one reply, as OpenSSH has it (sftp-server.c, process_readdir).
const NAMES_PER_REPLY: usize = 100;

/// From here on a long name shows the year instead of the hour, as `ls` has it: half a year.
const RECENT_SECS: i64 = 365 * 24 * 3600 / 2;

/// A folder that is being listed. It is read as it is asked for, so its size costs no memory.
pub(super) struct OpenDir {
    path: RelPath,
    dir: Dir,
    sent: usize,
    /// What every further READDIR is answered.
    closed: Option<Refusal>,
}

impl std::fmt::Debug for OpenDir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OpenDir({}, {} sent)", self.path, self.sent)
    }
}

impl OpenDir {
    /// Takes a folder that was just opened.
    pub(super) fn new(path: RelPath, folder: std::fs::File) -> Result<Self, Refusal> {
        Ok(Self { path, dir: Dir::new(folder)?, sent: 0, closed: None })
    }

    /// Where it was when it was opened.
    pub(super) fn path(&self) -> &RelPath {
        &self.path
    }

    /// The next names, at least one; EOF when there are no more. An entry that cannot be looked at ends
    /// the listing with an error: left out in silence it would pass for deleted.
    pub(super) fn next(&mut self, now: Time, lies: &[Fault]) -> Result<Vec<File>, Refusal> {
        if let Some(refusal) = &self.closed {
            return Err(refusal.clone());
        }
        let mut files = Vec::new();
        if self.sent == 0 {
            files.extend(invented(lies).map(|name| file_of(name, invented_attrs(), 1u64, now)));
        }
        let end = end_of(lies).saturating_sub(self.sent);
        while files.len() < NAMES_PER_REPLY.min(end) && self.closed.is_none() {
            match self.read_one(now, lies) {
                Ok(file) => files.extend(file),
                Err(refusal) => self.closed = Some(refusal),
            }
        }
        files.truncate(end);
        if files.len() == end {
            self.closed = Some(Refusal::end());
        }
        self.sent += files.len();
        match &self.closed {
            Some(refusal) if files.is_empty() || *refusal != Refusal::end() => Err(refusal.clone()),
            _ => Ok(files),
        }
    }

    /// One entry; `None` if it vanished meanwhile or is left out on purpose.
    fn read_one(&mut self, now: Time, lies: &[Fault]) -> Result<Option<File>, Refusal> {
        let entry = match self.dir.read() {
            None => return Err(Refusal::end()),
            Some(entry) => entry?,
        };
        let name = entry.file_name().to_bytes();
        if is_omitted(name, lies) {
            return Ok(None);
        }
        // What is above the root is nobody's business: there, `..` is the root.
        let looked_at = if name == b".." && self.path.is_root() { b"." } else { name };
        match statat(self.dir.fd()?, looked_at, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(file_of(name, attrs_of(&stat), stat.st_nlink, now))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn invented(lies: &[Fault]) -> impl Iterator<Item = &[u8]> {
    let lists = lies.iter().filter_map(|lie| match lie {
        Fault::Invent(names) => Some(names),
        _ => None,
    });
    lists.flatten().map(Vec::as_slice)
}

fn invented_attrs() -> FileAttributes {
    FileAttributes { size: Some(4), permissions: Some(0o100_644), ..FileAttributes::dummy() }
}

fn is_omitted(name: &[u8], lies: &[Fault]) -> bool {
    lies.iter().any(|lie| matches!(lie, Fault::Omit(names) if names.iter().any(|n| n == name)))
}

fn end_of(lies: &[Fault]) -> usize {
    let ends = lies.iter().filter_map(|lie| match lie {
        Fault::EndListingAfter(entries) => Some(*entries),
        _ => None,
    });
    ends.min().unwrap_or(usize::MAX)
}

/// What a look at a file says, in the terms of version 3: whole seconds, 32 bits.
pub(super) fn attrs_of(stat: &Stat) -> FileAttributes {
    FileAttributes {
        size: u64::try_from(stat.st_size).ok(),
        uid: Some(stat.st_uid),
        gid: Some(stat.st_gid),
        permissions: Some(stat.st_mode),
        atime: Some(Time::from_secs(stat.st_atime).to_sftp()),
        mtime: Some(Time::from_secs(stat.st_mtime).to_sftp()),
        ..FileAttributes::empty()
    }
}

fn file_of(name: &[u8], attrs: FileAttributes, links: impl Into<u64>, now: Time) -> File {
    let filename = to_wire(name);
    let longname = format!(
        "{} {:>3} {:<8} {:<8} {:>8} {} {filename}",
        mode_text(attrs.permissions.unwrap_or(0)),
        links.into(),
        attrs.uid.unwrap_or(0),
        attrs.gid.unwrap_or(0),
        attrs.size.unwrap_or(0),
        time_text(attrs.mtime.unwrap_or(0).into(), now.secs),
    );
    File { filename, longname, attrs }
}

/// As `ls -l` writes it, with the blank that strmode(3) puts at the end.
fn mode_text(mode: u32) -> String {
    let kind = match mode & 0o170_000 {
        0o040_000 => 'd',
        0o120_000 => 'l',
        0o010_000 => 'p',
        0o140_000 => 's',
        0o020_000 => 'c',
        0o060_000 => 'b',
        _ => '-',
    };
    let mut text = String::from(kind);
    for (shift, special, mark) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, false) => 'x',
            (false, false) => '-',
            (true, true) => mark,
            (false, true) => mark.to_ascii_uppercase(),
        });
    }
    text + " "
}

fn time_text(mtime: i64, now: i64) -> String {
    let format = if (now - RECENT_SECS..=now).contains(&mtime) { "%b %e %H:%M" } else { "%b %e  %Y" };
    let time = Timestamp::from_second(mtime).unwrap_or(Timestamp::UNIX_EPOCH); // 32 bits always fit
    time.to_zoned(TimeZone::UTC).strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_read_like_ls() {
        let now = Time::from_secs(1_700_000_000);
        let check = |mode, size, mtime, expected: &str| {
            let attrs = FileAttributes {
                size: Some(size),
                uid: Some(1000),
                gid: Some(100),
                permissions: Some(mode),
                atime: None,
                mtime: Some(mtime),
                ..FileAttributes::empty()
            };
            assert_eq!(file_of(b"name", attrs, 2u64, now).longname, expected);
        };
        check(0o100_644, 5, 1_699_999_000, "-rw-r--r--    2 1000     100             5 Nov 14 21:56 name");
        check(0o041_777, 4096, 0, "drwxrwxrwt    2 1000     100          4096 Jan  1  1970 name");
        check(0o104_710, 1, u32::MAX, "-rws--x---    2 1000     100             1 Feb  7  2106 name");
        check(0o120_777, 1, 1_650_000_000, "lrwxrwxrwx    2 1000     100             1 Apr 15  2022 name");
    }

    fn listed(names: &[&str], lies: &[Fault]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let opened = std::fs::File::open(folder.path()).unwrap();
        let mut dir = OpenDir::new(RelPath::root(), opened).unwrap();
        let mut all = Vec::new();
        while let Ok(files) = dir.next(Time::default(), lies) {
            assert!((1..=NAMES_PER_REPLY).contains(&files.len()));
            all.extend(files.into_iter().map(|file| file.filename));
        }
        assert_eq!(dir.next(Time::default(), lies).unwrap_err(), Refusal::end());
        all.sort();
        all
    }

    #[test]
    fn a_listing_lies_as_it_is_told() {
        let names = ["a", "b", "c"];
        assert_eq!(listed(&names, &[]), [".", "..", "a", "b", "c"]);
        assert_eq!(listed(&names, &[Fault::Omit(vec![b"b".to_vec()])]), [".", "..", "a", "c"]);
        assert_eq!(listed(&names, &[Fault::EndListingAfter(0)]), [""; 0]);
        assert_eq!(listed(&names, &[Fault::EndListingAfter(2)]).len(), 2);
        let evil = Fault::Invent(vec![b"../evil".to_vec(), b"".to_vec(), b"a".to_vec()]);
        assert_eq!(listed(&names, &[evil]), ["", ".", "..", "../evil", "a", "a", "b", "c"]);
    }

    #[test]
    fn a_large_folder_comes_in_pieces() {
        let names: Vec<String> = (0..250).map(|i| format!("file-{i:03}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(listed(&names, &[])[2..], names);
        assert_eq!(listed(&names, &[Fault::EndListingAfter(120)]).len(), 120);
    }
}
