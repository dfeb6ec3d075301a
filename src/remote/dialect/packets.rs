//! The fields of each packet (draft-ietf-secsh-filexfer-02 §4 to §8), and what is put right on the way.

use super::walk::{Stop, Turn, Walk};
use super::{FrameError, UNKNOWN_REQUEST, kind, put_string};

/// The last STATUS code of version 3 (OP_UNSUPPORTED).
const LAST_STATUS: u32 = 8;
const FAILURE: u32 = 4;

/// What is in a request.
pub(super) fn request(walk: &mut Walk, turn: Turn) -> Result<(), Stop> {
    match walk.kind() {
        kind::INIT => return versions(walk),
        unknown if !kind::is_request(unknown) => return unknown_request(walk, turn),
        _ => walk.skip(4)?,
    };
    walk.name()?; // every request goes on with a path, a handle or the name of an extension
    match walk.kind() {
        kind::OPEN => {
            walk.skip(4)?;
            walk.attrs()
        }
        kind::READ => walk.skip(12).map(drop),
        kind::WRITE => {
            walk.skip(8)?;
            walk.data()
        }
        kind::SETSTAT | kind::FSETSTAT | kind::MKDIR => walk.attrs(),
        kind::RENAME | kind::SYMLINK => walk.name(),
        _ => Ok(()),
    }
}

fn unknown_request(walk: &mut Walk, turn: Turn) -> Result<(), Stop> {
    let kind = walk.kind();
    if turn == Turn::Outward {
        return Err(Stop::Bad(FrameError::Unexpected { kind }));
    }
    walk.put_instead(4, &[kind::EXTENDED]);
    walk.skip(4)?;
    let mut instead = Vec::new();
    put_string(&mut instead, UNKNOWN_REQUEST.as_bytes());
    instead.push(kind);
    let from = walk.position();
    walk.skip(walk.remaining())?;
    walk.put_instead(from, &instead);
    Ok(())
}

/// What is in a reply.
pub(super) fn reply(walk: &mut Walk, turn: Turn) -> Result<(), Stop> {
    match walk.kind() {
        kind::VERSION => return versions(walk),
        kind::STATUS | kind::HANDLE | kind::DATA | kind::NAME | kind::ATTRS | kind::EXTENDED_REPLY => {
            walk.skip(4)?
        }
        kind => return Err(Stop::Bad(FrameError::Unexpected { kind })),
    };
    match walk.kind() {
        kind::STATUS => status(walk, turn),
        kind::HANDLE => walk.name(),
        kind::DATA => walk.data(),
        kind::NAME => names(walk),
        kind::ATTRS => walk.attrs(),
        _ => Ok(()),
    }
}

fn versions(walk: &mut Walk) -> Result<(), Stop> {
    walk.skip(4)?;
    while walk.remaining() > 0 {
        walk.name()?;
        walk.name()?;
    }
    Ok(())
}

fn names(walk: &mut Walk) -> Result<(), Stop> {
    for _ in 0..walk.u32()? {
        walk.name()?;
        walk.text("")?; // the long name is for people
        walk.attrs()?;
    }
    Ok(())
}

fn status(walk: &mut Walk, turn: Turn) -> Result<(), Stop> {
    let from = walk.position();
    let code = walk.u32()?;
    if code <= LAST_STATUS || turn == Turn::Outward {
        optional_text(walk, "")?;
    } else {
        walk.put_instead(from, &FAILURE.to_be_bytes());
        optional_text(walk, &format!(" (status {code})"))?;
    }
    optional_text(walk, "")
}

fn optional_text(walk: &mut Walk, suffix: &str) -> Result<(), Stop> {
    if walk.remaining() > 0 {
        return walk.text(suffix);
    }
    let mut field = Vec::new();
    put_string(&mut field, suffix.trim_start().as_bytes());
    walk.put_instead(walk.position(), &field);
    Ok(())
}
