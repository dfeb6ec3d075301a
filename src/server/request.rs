//! From a packet to what it asks for, with names as bytes and paths below the root.
//!
//! Plain requests and the extensions that do the same come out alike. Nothing here touches a file.

use russh_sftp::protocol::{FileAttributes, OpenFlags, Packet};

use super::misbehave::Op;
use super::refusal::Refusal;
use crate::path::{BadName, MAX_PATH_BYTES, RelPath, from_wire};
use crate::remote::dialect::payload::{Reader, Short};

/// The extensions that are announced, with their versions (OpenSSH's PROTOCOL, section 4).
pub(super) const EXTENSIONS: [(&str, &str); 8] = [
    ("posix-rename@openssh.com", "1"),
    ("statvfs@openssh.com", "2"),
    ("fstatvfs@openssh.com", "2"),
    ("hardlink@openssh.com", "1"),
    ("fsync@openssh.com", "1"),
    ("lsetstat@openssh.com", "1"),
    ("limits@openssh.com", "1"),
    ("expand-path@openssh.com", "1"),
];

/// A handle as the client states it.
pub(super) type Handle = Vec<u8>;

/// What a client asks for.
#[derive(Debug)]
pub(super) enum Ask {
    Init,
    Open { path: RelPath, flags: OpenFlags, mode: Option<u32> },
    Close { handle: Handle },
    Read { handle: Handle, offset: u64, len: u32 },
    Write { handle: Handle, offset: u64, data: Vec<u8> },
    Stat { path: RelPath, follow: bool },
    StatHandle { handle: Handle },
    SetStat { path: RelPath, attrs: FileAttributes, follow: bool },
    SetStatHandle { handle: Handle, attrs: FileAttributes },
    OpenDir { path: RelPath },
    List { handle: Handle },
    Remove { path: RelPath },
    MakeDir { path: RelPath, mode: Option<u32> },
    RemoveDir { path: RelPath },
    RealPath { path: RelPath },
    Rename { from: RelPath, to: RelPath, replace: bool },
    ReadLink { path: RelPath },
    SymLink { target: Vec<u8>, path: RelPath },
    HardLink { from: RelPath, to: RelPath },
    Fsync { handle: Handle },
    Statvfs { path: RelPath },
    StatvfsHandle { handle: Handle },
    Limits,
    Unknown,
}

impl Ask {
    /// Takes a packet that came through the dialect layer.
    pub(super) fn from_packet(packet: Packet) -> Result<Self, Refusal> {
        Ok(match packet {
            Packet::Init(_) => Self::Init,
            Packet::Open(p) => {
                Self::Open { path: resolve_wire(&p.filename)?, flags: p.pflags, mode: p.attrs.permissions }
            }
            Packet::Close(p) => Self::Close { handle: from_wire(&p.handle) },
            Packet::Read(p) => Self::Read { handle: from_wire(&p.handle), offset: p.offset, len: p.len },
            Packet::Write(p) => Self::Write { handle: from_wire(&p.handle), offset: p.offset, data: p.data },
            Packet::Stat(p) => Self::Stat { path: resolve_wire(&p.path)?, follow: true },
            Packet::Lstat(p) => Self::Stat { path: resolve_wire(&p.path)?, follow: false },
            Packet::Fstat(p) => Self::StatHandle { handle: from_wire(&p.handle) },
            Packet::SetStat(p) => {
                Self::SetStat { path: resolve_wire(&p.path)?, attrs: p.attrs, follow: true }
            }
            Packet::FSetStat(p) => Self::SetStatHandle { handle: from_wire(&p.handle), attrs: p.attrs },
            Packet::OpenDir(p) => Self::OpenDir { path: resolve_wire(&p.path)? },
            Packet::ReadDir(p) => Self::List { handle: from_wire(&p.handle) },
            Packet::Remove(p) => Self::Remove { path: resolve_wire(&p.filename)? },
            Packet::MkDir(p) => Self::MakeDir { path: resolve_wire(&p.path)?, mode: p.attrs.permissions },
            Packet::RmDir(p) => Self::RemoveDir { path: resolve_wire(&p.path)? },
            Packet::RealPath(p) => Self::RealPath { path: resolve_wire(&p.path)? },
            Packet::Rename(p) => Self::Rename {
                from: resolve_wire(&p.oldpath)?,
                to: resolve_wire(&p.newpath)?,
                replace: false,
            },
            Packet::ReadLink(p) => Self::ReadLink { path: resolve_wire(&p.path)? },
            // OpenSSH sends and takes the target first, against the draft (its PROTOCOL, section 4.1).
            Packet::Symlink(p) => {
                Self::SymLink { target: link_target(&p.linkpath)?, path: resolve_wire(&p.targetpath)? }
            }
            Packet::Extended(p) => Self::from_extension(&p.request, &p.data)?,
            _ => return Err(Refusal::bad_message("not a request")),
        })
    }

    fn from_extension(name: &str, payload: &[u8]) -> Result<Self, Refusal> {
        let mut fields = Reader::new(payload);
        Ok(match name {
            "posix-rename@openssh.com" => {
                Self::Rename { from: path(&mut fields)?, to: path(&mut fields)?, replace: true }
            }
            "hardlink@openssh.com" => Self::HardLink { from: path(&mut fields)?, to: path(&mut fields)? },
            "fsync@openssh.com" => Self::Fsync { handle: fields.string()?.to_vec() },
            "statvfs@openssh.com" => Self::Statvfs { path: path(&mut fields)? },
            "fstatvfs@openssh.com" => Self::StatvfsHandle { handle: fields.string()?.to_vec() },
            "lsetstat@openssh.com" => {
                Self::SetStat { path: path(&mut fields)?, attrs: attrs(&mut fields)?, follow: false }
            }
            "expand-path@openssh.com" => Self::RealPath { path: expand(fields.string()?)? },
            "limits@openssh.com" => Self::Limits,
            _ => Self::Unknown,
        })
    }

    /// The kind of request.
    pub(super) fn op(&self) -> Op {
        match self {
            Self::Init => Op::Init,
            Self::Open { .. } => Op::Open,
            Self::Close { .. } => Op::Close,
            Self::Read { .. } => Op::Read,
            Self::Write { .. } => Op::Write,
            Self::Stat { .. } | Self::StatHandle { .. } => Op::Stat,
            Self::SetStat { .. } | Self::SetStatHandle { .. } => Op::SetStat,
            Self::OpenDir { .. } => Op::OpenDir,
            Self::List { .. } => Op::List,
            Self::Remove { .. } => Op::Remove,
            Self::MakeDir { .. } => Op::MakeDir,
            Self::RemoveDir { .. } => Op::RemoveDir,
            Self::RealPath { .. } => Op::RealPath,
            Self::Rename { replace: false, .. } => Op::Rename,
            Self::Rename { replace: true, .. } => Op::PosixRename,
            Self::ReadLink { .. } => Op::ReadLink,
            Self::SymLink { .. } => Op::SymLink,
            Self::HardLink { .. } => Op::HardLink,
            Self::Fsync { .. } => Op::Fsync,
            Self::Statvfs { .. } | Self::StatvfsHandle { .. } => Op::Statvfs,
            Self::Limits | Self::Unknown => Op::Other,
        }
    }

    /// Whether it would change anything on the disk.
    pub(super) fn changes(&self) -> bool {
        match self {
            Self::Open { flags, .. } => flags
                .intersects(OpenFlags::WRITE | OpenFlags::APPEND | OpenFlags::CREATE | OpenFlags::TRUNCATE),
            _ => matches!(
                self.op(),
                Op::Write
                    | Op::SetStat
                    | Op::Remove
                    | Op::MakeDir
                    | Op::RemoveDir
                    | Op::Rename
                    | Op::PosixRename
                    | Op::SymLink
                    | Op::HardLink
            ),
        }
    }

    /// The path that it names; the new one where there are two.
    pub(super) fn path(&self) -> Option<&RelPath> {
        match self {
            Self::Open { path, .. }
            | Self::Stat { path, .. }
            | Self::SetStat { path, .. }
            | Self::OpenDir { path }
            | Self::Remove { path }
            | Self::MakeDir { path, .. }
            | Self::RemoveDir { path }
            | Self::RealPath { path }
            | Self::Rename { to: path, .. }
            | Self::ReadLink { path }
            | Self::SymLink { path, .. }
            | Self::HardLink { to: path, .. }
            | Self::Statvfs { path } => Some(path),
            _ => None,
        }
    }

    /// The handle that it names.
    pub(super) fn handle(&self) -> Option<&[u8]> {
        match self {
            Self::Close { handle }
            | Self::Read { handle, .. }
            | Self::Write { handle, .. }
            | Self::StatHandle { handle }
            | Self::SetStatHandle { handle, .. }
            | Self::List { handle }
            | Self::Fsync { handle }
            | Self::StatvfsHandle { handle } => Some(handle),
            _ => None,
        }
    }
}

impl From<Short> for Refusal {
    fn from(error: Short) -> Self {
        Self::bad_message(&error.to_string())
    }
}

/// A path of the account, for the client: absolute, the root is `/`.
pub(super) fn to_virtual(path: &RelPath) -> Vec<u8> {
    [b"/", path.as_bytes()].concat()
}

fn resolve_wire(text: &str) -> Result<RelPath, Refusal> {
    resolve(&from_wire(text))
}

/// What a path leads to by its letters: from the root, whether it starts with a slash or not, `.` and
/// empty components dropped, and `..` at the root is the root. Links are met later, by the system.
fn resolve(bytes: &[u8]) -> Result<RelPath, Refusal> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for component in bytes.split(|&b| b == b'/') {
        match component {
            b"" | b"." => {}
            b".." => drop(kept.pop()),
            name => kept.push(name),
        }
    }
    RelPath::parse(kept.join(&b'/')).map_err(bad_name)
}

fn bad_name(error: BadName) -> Refusal {
    Refusal::bad_message(&error.to_string())
}

fn path(fields: &mut Reader) -> Result<RelPath, Refusal> {
    resolve(fields.string()?)
}

/// `~` and `~/x` are the root; other users' folders are names like any other.
fn expand(bytes: &[u8]) -> Result<RelPath, Refusal> {
    match bytes.strip_prefix(b"~") {
        Some(rest) if rest.is_empty() || rest.starts_with(b"/") => resolve(rest),
        _ => resolve(bytes),
    }
}

fn link_target(text: &str) -> Result<Vec<u8>, Refusal> {
    let target = from_wire(text);
    match target.len() {
        _ if target.contains(&0) => Err(bad_name(BadName::Nul)),
        0 => Err(bad_name(BadName::Empty)),
        1..=MAX_PATH_BYTES => Ok(target),
        _ => Err(bad_name(BadName::TooLong)),
    }
}

/// Attributes inside an extension's payload (draft-ietf-secsh-filexfer-02 §5); extended ones come last
/// and are not read.
fn attrs(fields: &mut Reader) -> Result<FileAttributes, Refusal> {
    let flags = fields.u32()?;
    let mut attrs = FileAttributes::empty();
    if flags & 0x1 != 0 {
        attrs.size = Some(fields.u64()?);
    }
    if flags & 0x2 != 0 {
        (attrs.uid, attrs.gid) = (Some(fields.u32()?), Some(fields.u32()?));
    }
    if flags & 0x4 != 0 {
        attrs.permissions = Some(fields.u32()?);
    }
    if flags & 0x8 != 0 {
        (attrs.atime, attrs.mtime) = (Some(fields.u32()?), Some(fields.u32()?));
    }
    Ok(attrs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_never_lead_above_the_root() {
        let check = |typed: &str, expected: &str| {
            let path = resolve(typed.as_bytes()).unwrap();
            assert_eq!(to_virtual(&path), expected.as_bytes(), "{typed}");
        };
        check("", "/");
        check(".", "/");
        check("/", "/");
        check("a//b/./c/", "/a/b/c");
        check("/a/../b", "/b");
        check("../../etc/passwd", "/etc/passwd");
        check("/a/../../../b/..", "/");
        assert!(resolve(b"a\0b").is_err());
        assert!(resolve(&vec![b'a'; MAX_PATH_BYTES + 1]).is_err());
    }

    #[test]
    fn a_tilde_is_the_root() {
        let check = |typed: &[u8], expected: &[u8]| assert_eq!(to_virtual(&expand(typed).unwrap()), expected);
        check(b"~", b"/");
        check(b"~/a", b"/a");
        check(b"~bob/a", b"/~bob/a");
        check(b"a/~", b"/a/~");
    }

    #[test]
    fn extensions_come_out_like_plain_requests() {
        let check = |name: &str, payload: &[u8], expected: Option<Op>| {
            let op = Ask::from_extension(name, payload).ok().map(|ask| ask.op());
            assert_eq!(op, expected, "{name} {payload:?}");
        };
        let two = b"\0\0\0\x01a\0\0\0\x01b";
        check("posix-rename@openssh.com", two, Some(Op::PosixRename));
        check("posix-rename@openssh.com", &two[..7], None);
        check("hardlink@openssh.com", two, Some(Op::HardLink));
        check("lsetstat@openssh.com", b"\0\0\0\x01a\0\0\0\x08\0\0\0\0\0\0\0\x01", Some(Op::SetStat));
        check("lsetstat@openssh.com", b"\0\0\0\x01a\0\0\0\x08\0\0\0\0\0\0\0", None);
        check("fsync@openssh.com", b"\xff\xff\xff\xff", None);
        check("limits@openssh.com", b"", Some(Op::Other));
        check("nonsense", b"\xff", Some(Op::Other));
    }
}
