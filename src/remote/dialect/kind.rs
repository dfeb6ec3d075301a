//! The packet types of SFTP version 3 that are told apart (draft-ietf-secsh-filexfer-02 §3).

pub(super) const INIT: u8 = 1;
pub(super) const VERSION: u8 = 2;
pub(super) const OPEN: u8 = 3;
pub(super) const READ: u8 = 5;
pub(super) const WRITE: u8 = 6;
pub(super) const SETSTAT: u8 = 9;
pub(super) const FSETSTAT: u8 = 10;
pub(super) const MKDIR: u8 = 14;
pub(super) const RENAME: u8 = 18;
pub(super) const SYMLINK: u8 = 20;
pub(super) const STATUS: u8 = 101;
pub(super) const HANDLE: u8 = 102;
pub(super) const DATA: u8 = 103;
pub(super) const NAME: u8 = 104;
pub(super) const ATTRS: u8 = 105;
pub(super) const EXTENDED: u8 = 200;
pub(super) const EXTENDED_REPLY: u8 = 201;

/// Requests of version 3, INIT aside: each has an id and then a string.
pub(super) fn is_request(kind: u8) -> bool {
    matches!(kind, OPEN..=SYMLINK | EXTENDED)
}

/// Packets whose head says enough: what follows it passes as it is, and is not waited for.
pub(super) fn streams(kind: u8) -> bool {
    matches!(kind, WRITE | DATA | EXTENDED | EXTENDED_REPLY)
}
