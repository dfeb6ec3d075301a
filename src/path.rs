//! Names and paths as bytes, and the one place where they become text.
//!
//! A [`Name`] is one component, a [`RelPath`] a path below a root. Both are bytes from end to end:
//! nothing here assumes UTF-8, folds case or normalises. Text appears in three forms only, each made
//! here: [`escape`] for people, [`to_wire`]/[`from_wire`] for SFTP strings, and `OsStr` for the disk.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Every name of ours starts like this; such names are skipped at every depth on both sides.
pub const OWN_PREFIX: &[u8] = b".highwater";

/// Longest path below a root that we carry, in bytes. Linux stops at 4,096 for one system call;
/// a server that lists something longer is refused instead of believed.
pub const MAX_PATH_BYTES: usize = 64 * 1024;

/// Why some bytes are not a name or a path below a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// No bytes at all.
    #[error("the name is empty")]
    Empty,
    /// `.` or `..`.
    #[error("the name is \".\" or \"..\"")]
    Dots,
    /// A slash inside one component.
    #[error("the name contains a slash")]
    Slash,
    /// A NUL byte, which no file system carries.
    #[error("the name contains a NUL byte")]
    Nul,
    /// More than [`MAX_PATH_BYTES`].
    #[error("the path is longer than {MAX_PATH_BYTES} bytes")]
    TooLong,
}

/// One component of a path: not empty, not `.` or `..`, no slash, no NUL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

impl Name {
    /// Takes one component, or says why it is none.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Result<Self, BadName> {
        let bytes = bytes.into();
        check_component(&bytes)?;
        Ok(Self(bytes))
    }

    /// The bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the name is one of ours (`.highwater*`).
    pub fn is_own(&self) -> bool {
        self.0.starts_with(OWN_PREFIX)
    }
}

fn check_component(bytes: &[u8]) -> Result<(), BadName> {
    match bytes {
        b"" => Err(BadName::Empty),
        b"." | b".." => Err(BadName::Dots),
        _ if bytes.contains(&b'/') => Err(BadName::Slash),
        _ if bytes.contains(&0) => Err(BadName::Nul),
        _ if bytes.len() > MAX_PATH_BYTES => Err(BadName::TooLong),
        _ => Ok(()),
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({})", escape(&self.0))
    }
}

/// A path below a root: components joined by `/`, none of them special. Empty means the root itself.
///
/// Paths order as a walk meets them: a folder before what is in it, and all of that before the
/// folder's next sibling (`a`, `a/b`, `a-b`), which plain byte order does not give.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct RelPath(Box<[u8]>);

impl RelPath {
    /// The root itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// Parses `a/b/c`. Leading, trailing and doubled slashes are refused: such a path was not made by us.
    pub fn parse(bytes: impl Into<Box<[u8]>>) -> Result<Self, BadName> {
        let bytes = bytes.into();
        if bytes.len() > MAX_PATH_BYTES {
            return Err(BadName::TooLong);
        }
        if !bytes.is_empty() {
            bytes.split(|&b| b == b'/').try_for_each(check_component)?;
        }
        Ok(Self(bytes))
    }

    /// The path of `name` inside this folder.
    pub fn join(&self, name: &Name) -> Self {
        self.append(name.as_bytes())
    }

    /// This path with the components of `other` after it.
    pub fn join_path(&self, other: &RelPath) -> Self {
        if other.is_root() {
            return self.clone();
        }
        self.append(&other.0)
    }

    fn append(&self, tail: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + tail.len());
        if !self.0.is_empty() {
            bytes.extend_from_slice(&self.0);
            bytes.push(b'/');
        }
        bytes.extend_from_slice(tail);
        Self(bytes.into())
    }

    /// Whether this is the root itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The folder this path is in; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let cut = self.0.iter().rposition(|&b| b == b'/').unwrap_or(0);
        Some(Self(self.0[..cut].into()))
    }

    /// The last component; `None` for the root.
    pub fn name(&self) -> Option<Name> {
        let last = self.0.rsplit(|&b| b == b'/').next()?;
        (!last.is_empty()).then(|| Name(last.into()))
    }

    /// The components from the top down.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').filter(|c| !c.is_empty())
    }

    /// How many components the path has; 0 for the root.
    pub fn depth(&self) -> usize {
        self.components().count()
    }

    /// Whether this path is `ancestor` or lies below it.
    pub fn is_within(&self, ancestor: &RelPath) -> bool {
        ancestor.is_root()
            || (self.0.starts_with(&ancestor.0) && matches!(self.0.get(ancestor.0.len()), None | Some(b'/')))
    }

    /// Whether any component is one of ours (`.highwater*`).
    pub fn is_own(&self) -> bool {
        self.components().any(|c| c.starts_with(OWN_PREFIX))
    }

    /// The bytes, components joined by `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path for system calls relative to an open folder; `.` for the root.
    pub fn as_os(&self) -> &Path {
        if self.is_root() {
            return Path::new(".");
        }
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// A key whose plain byte order is the order of paths: `/` becomes NUL, which no name contains.
    pub fn to_key(&self) -> Vec<u8> {
        self.0.iter().map(|&b| if b == b'/' { 0 } else { b }).collect()
    }

    /// The path that [`to_key`](Self::to_key) was made from.
    pub fn from_key(key: &[u8]) -> Result<Self, BadName> {
        let bytes: Vec<u8> = key.iter().map(|&b| if b == 0 { b'/' } else { b }).collect();
        Self::parse(bytes)
    }
}

impl Ord for RelPath {
    fn cmp(&self, other: &Self) -> Ordering {
        let shared = self.0.iter().zip(other.0.iter());
        for (&a, &b) in shared {
            if a != b {
                let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
                return rank(a).cmp(&rank(b));
            }
        }
        self.0.len().cmp(&other.0.len())
    }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        f.write_str(&escape(&self.0))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelPath({self})")
    }
}

/// The folder on this machine that a job works below. Absolute.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LocalRoot(PathBuf);

impl LocalRoot {
    /// Takes a path; a relative one is taken from the current folder.
    pub fn new(path: impl AsRef<Path>) -> std::io::Result<Self> {
        std::path::absolute(path).map(Self)
    }

    /// The path as the system takes it.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for LocalRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(self.0.as_os_str().as_bytes()))
    }
}

/// The folder on the server that a job works below: absolute, or relative to the login folder
/// (some providers allow nothing else). Trailing slashes are dropped; empty means the login folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RemoteRoot(Box<[u8]>);

impl RemoteRoot {
    /// Takes the path as typed. `~` and `~/x` mean the login folder, as an empty path does.
    pub fn new(bytes: &[u8]) -> Result<Self, BadName> {
        if bytes.contains(&0) {
            return Err(BadName::Nul);
        }
        if bytes.len() > MAX_PATH_BYTES {
            return Err(BadName::TooLong);
        }
        let bytes = match bytes {
            b"~" => b"",
            _ => bytes.strip_prefix(b"~/").unwrap_or(bytes),
        };
        let kept = bytes.iter().rposition(|&b| b != b'/').map_or(0, |i| i + 1);
        let only_slashes = kept == 0 && !bytes.is_empty();
        Ok(Self(if only_slashes { &b"/"[..] } else { &bytes[..kept] }.into()))
    }

    /// The bytes a server is asked for to reach `path` below this root.
    pub fn join(&self, path: &RelPath) -> Vec<u8> {
        let mut bytes = self.0.to_vec();
        if path.is_root() {
            return if bytes.is_empty() { b".".to_vec() } else { bytes };
        }
        if !bytes.is_empty() && bytes.last() != Some(&b'/') {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(path.as_bytes());
        bytes
    }

    /// The root and the folders above it that may have to be made, topmost first.
    pub fn prefixes(&self) -> Vec<Vec<u8>> {
        let mut cuts: Vec<usize> = (1..self.0.len()).filter(|&i| self.0[i] == b'/').collect();
        cuts.push(self.0.len());
        cuts.into_iter()
            .map(|cut| self.0[..cut].to_vec())
            .filter(|p| !p.is_empty() && p.as_slice() != b"/" && p.last() != Some(&b'/'))
            .collect()
    }

    /// The bytes as normalised from what was typed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The folder that this is in, and its name there. `None` for `/`, the login folder, and what ends
    /// in `.` or `..`.
    pub fn split(&self) -> Option<(RemoteRoot, Name)> {
        let cut = self.0.iter().rposition(|&b| b == b'/');
        let (folder, name) = match cut {
            None => (&b""[..], &self.0[..]),
            Some(0) => (&b"/"[..], &self.0[1..]),
            Some(cut) => (&self.0[..cut], &self.0[cut + 1..]),
        };
        Some((RemoteRoot::new(folder).ok()?, Name::new(name).ok()?))
    }
}

impl fmt::Display for RemoteRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.join(&RelPath::root())))
    }
}

/// Whether bytes are UTF-8.
pub fn is_text(bytes: &[u8]) -> bool {
    bytes.utf8_chunks().all(|chunk| chunk.invalid().is_empty())
}

/// Bytes for people: UTF-8 as it is, control characters, bidirectional overrides and bytes that are
/// not UTF-8 as `\x1b`, a backslash as `\\`. Never contains anything a terminal acts upon.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if is_unsafe_to_show(c) => {
                    let mut utf8 = [0; 4];
                    push_hex(&mut text, c.encode_utf8(&mut utf8).as_bytes());
                }
                c => text.push(c),
            }
        }
        push_hex(&mut text, chunk.invalid());
    }
    text
}

/// Whether a terminal acts upon it, or shows what stands around it in another order or not at all. All of them are
/// below U+10000.
pub fn is_unsafe_to_show(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    use fmt::Write;
    for byte in bytes {
        let _ = write!(text, "\\x{byte:02x}"); // writing to a String cannot fail
    }
}

/// An SFTP string as the SFTP library carries it: byte `b` is the character U+00`b` (see `remote::dialect`).
pub fn to_wire(bytes: &[u8]) -> String {
    bytes.iter().map(|&b| char::from(b)).collect()
}

/// The bytes of an SFTP string that came through `remote::dialect`. A character above U+00FF cannot
/// come from there and becomes `?`.
pub fn from_wire(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn names_that_could_leave_the_root_are_refused() {
        let check = |bytes: &[u8], expected| assert_eq!(Name::new(bytes), Err(expected));
        check(b"", BadName::Empty);
        check(b".", BadName::Dots);
        check(b"..", BadName::Dots);
        check(b"a/b", BadName::Slash);
        check(b"/etc", BadName::Slash);
        check(b"a\0b", BadName::Nul);
        assert!(Name::new(&b"..."[..]).is_ok());
        for bad in ["/a", "a/", "a//b", "../a", "a/..", "./a"] {
            assert!(RelPath::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_folder_comes_before_its_contents_and_those_before_its_siblings() {
        let mut paths: Vec<RelPath> =
            ["a-b", "a/b", "a", "a.txt", "a/b/c", "a/b-c", ""].iter().map(|p| path(p)).collect();
        paths.sort();
        let shown: Vec<String> = paths.iter().map(ToString::to_string).collect();
        assert_eq!(shown, [".", "a", "a/b", "a/b/c", "a/b-c", "a-b", "a.txt"]);
    }

    #[test]
    fn within_means_whole_components() {
        assert!(path("a/b").is_within(&path("a")));
        assert!(path("a").is_within(&path("a")));
        assert!(path("a").is_within(&RelPath::root()));
        assert!(!path("ab").is_within(&path("a")));
        assert_eq!(path("a/b").parent(), Some(path("a")));
        assert_eq!(path("a").parent(), Some(RelPath::root()));
        assert_eq!(RelPath::root().parent(), None);
    }

    #[test]
    fn remote_roots_join_as_typed() {
        let check = |root: &str, below: &str, expected: &str| {
            let joined = RemoteRoot::new(root.as_bytes()).unwrap().join(&path(below));
            assert_eq!(String::from_utf8(joined).unwrap(), expected);
        };
        check("/backups/web1/", "a/b", "/backups/web1/a/b");
        check("/backups/web1/", "", "/backups/web1");
        check("/", "a", "/a");
        check("/", "", "/");
        check("dir", "a", "dir/a");
        check("", "a", "a");
        check("", "", ".");
        check("~/dir", "a", "dir/a");
        check("~", "", ".");
        let prefixes = |root: &str| -> Vec<String> {
            let root = RemoteRoot::new(root.as_bytes()).unwrap();
            root.prefixes().iter().map(|p| escape(p)).collect()
        };
        assert_eq!(prefixes("/a/b"), ["/a", "/a/b"]);
        assert_eq!(prefixes("a/b"), ["a", "a/b"]);
        assert!(prefixes("").is_empty() && prefixes("/").is_empty());
    }

    #[test]
    fn nothing_a_terminal_acts_upon_is_shown() {
        assert_eq!(escape(b"a\x1b[2Jb\n\t\xff\\"), "a\\x1b[2Jb\\x0a\\x09\\xff\\\\");
        assert_eq!(escape("gr\u{fc}n \u{202e}x".as_bytes()), "gr\u{fc}n \\xe2\\x80\\xaex");
    }

    proptest! {
        #[test]
        fn every_byte_survives_the_wire_form(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(from_wire(&to_wire(&bytes)), bytes);
        }

        #[test]
        fn keys_order_as_paths_do(
            a in proptest::collection::vec("[a-c./-]{1,3}", 1..4),
            b in proptest::collection::vec("[a-c./-]{1,3}", 1..4),
        ) {
            let (a, b) = (RelPath::parse(a.join("/").into_bytes()), RelPath::parse(b.join("/").into_bytes()));
            if let (Ok(a), Ok(b)) = (a, b) {
                prop_assert_eq!(a.cmp(&b), a.to_key().cmp(&b.to_key()));
                prop_assert_eq!(RelPath::from_key(&a.to_key()).unwrap(), a);
            }
        }
    }
}
