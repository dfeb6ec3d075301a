//! SFTP packets behind their length field, taken apart and put together (draft-ietf-secsh-filexfer-02).

use highwater::remote::dialect::payload::{put_string, put_u32, put_u64};
use highwater::remote::dialect::{Reader, Short};

pub const INIT: u8 = 1;
pub const OPEN: u8 = 3;
pub const CLOSE: u8 = 4;
pub const READ: u8 = 5;
pub const WRITE: u8 = 6;
pub const LSTAT: u8 = 7;
pub const FSTAT: u8 = 8;
pub const SETSTAT: u8 = 9;
pub const FSETSTAT: u8 = 10;
pub const OPENDIR: u8 = 11;
pub const READDIR: u8 = 12;
pub const REMOVE: u8 = 13;
pub const MKDIR: u8 = 14;
pub const RMDIR: u8 = 15;
pub const REALPATH: u8 = 16;
pub const STAT: u8 = 17;
pub const RENAME: u8 = 18;
pub const READLINK: u8 = 19;
pub const SYMLINK: u8 = 20;
pub const EXTENDED: u8 = 200;

pub const VERSION: u8 = 2;
pub const STATUS: u8 = 101;
pub const HANDLE: u8 = 102;
pub const DATA: u8 = 103;
pub const NAME: u8 = 104;
pub const ATTRS: u8 = 105;
pub const EXTENDED_REPLY: u8 = 201;

/// NO_SUCH_FILE.
pub const NO_SUCH_FILE: u32 = 2;

/// What is said of a file. A field that is `None` is left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attrs {
    pub size: Option<u64>,
    pub owner: Option<u64>,
    pub mode: Option<u32>,
    pub times: Option<u64>,
    /// So many extended attributes besides.
    pub extended: u32,
}

impl Attrs {
    fn take(reader: &mut Reader<'_>) -> Result<Self, Short> {
        let flags = reader.u32()?;
        let has = |bit: u32| flags & bit != 0;
        Ok(Self {
            size: has(1).then(|| reader.u64()).transpose()?,
            owner: has(2).then(|| reader.u64()).transpose()?,
            mode: has(4).then(|| reader.u32()).transpose()?,
            times: has(8).then(|| reader.u64()).transpose()?,
            extended: 0,
        })
    }

    fn put(&self, out: &mut Vec<u8>) {
        let flag = |there: bool, bit: u32| if there { bit } else { 0 };
        let extended = flag(self.extended > 0, 0x8000_0000);
        let known = flag(self.size.is_some(), 1) | flag(self.owner.is_some(), 2);
        put_u32(out, known | flag(self.mode.is_some(), 4) | flag(self.times.is_some(), 8) | extended);
        self.size.into_iter().chain(self.owner).for_each(|number| put_u64(out, number));
        self.mode.into_iter().for_each(|mode| put_u32(out, mode));
        self.times.into_iter().for_each(|times| put_u64(out, times));
        if self.extended > 0 {
            put_u32(out, self.extended);
            (0..self.extended * 2).for_each(|_| put_string(out, b"\x1b[31m"));
        }
    }
}

/// A name in a listing.
#[derive(Debug, Clone)]
pub struct Entry {
    pub name: Vec<u8>,
    pub attrs: Attrs,
}

/// The id of a request or reply.
pub fn id_of(packet: &[u8]) -> [u8; 4] {
    packet.get(1..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default()
}

/// The first string behind the id: a path, a handle, the name of an extension. And what follows it.
pub fn first_string(packet: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = Reader::new(packet.get(5..)?);
    let string = reader.string().ok()?;
    Some((string, reader.rest()))
}

/// The packet with another first string.
pub fn with_first_string(packet: &[u8], string: &[u8]) -> Vec<u8> {
    let rest = first_string(packet).map_or(&[][..], |(_, rest)| rest);
    let mut out = packet[..5].to_vec();
    put_string(&mut out, string);
    out.extend_from_slice(rest);
    out
}

/// The names of a NAME reply.
pub fn names_of(packet: &[u8]) -> Option<Vec<Entry>> {
    let mut reader = Reader::new(packet.get(5..)?);
    let count = reader.u32().ok()?;
    let mut entry = || -> Result<Entry, Short> {
        let name = reader.string()?.to_vec();
        reader.string()?;
        Ok(Entry { name, attrs: Attrs::take(&mut reader)? })
    };
    (0..count).map(|_| entry().ok()).collect()
}

/// What an ATTRS reply says.
pub fn attrs_of(packet: &[u8]) -> Option<Attrs> {
    Attrs::take(&mut Reader::new(packet.get(5..)?)).ok()
}

/// A reply of this type that begins with an id.
pub fn reply(kind: u8, id: [u8; 4]) -> Vec<u8> {
    [&[kind], &id[..]].concat()
}

/// STATUS.
pub fn status(id: [u8; 4], code: u32, text: &[u8]) -> Vec<u8> {
    let mut out = reply(STATUS, id);
    put_u32(&mut out, code);
    put_string(&mut out, text);
    put_string(&mut out, b"");
    out
}

/// NAME.
pub fn names(id: [u8; 4], entries: &[Entry]) -> Vec<u8> {
    let mut out = reply(NAME, id);
    put_u32(&mut out, entries.len() as u32);
    for entry in entries {
        put_string(&mut out, &entry.name);
        put_string(&mut out, b"-rwsr-sr-x \x1b[31m");
        entry.attrs.put(&mut out);
    }
    out
}

/// ATTRS.
pub fn attrs(id: [u8; 4], attrs: &Attrs) -> Vec<u8> {
    let mut out = reply(ATTRS, id);
    attrs.put(&mut out);
    out
}

/// A reply that is one string: HANDLE, DATA.
pub fn one_string(kind: u8, id: [u8; 4], string: &[u8]) -> Vec<u8> {
    let mut out = reply(kind, id);
    put_string(&mut out, string);
    out
}

/// The packet as it goes over the wire.
pub fn framed(packet: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + packet.len());
    put_string(&mut out, packet);
    out
}
