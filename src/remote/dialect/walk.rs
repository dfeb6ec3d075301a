//! A walk over one frame that copies nothing until something has to change.

use super::text::{NotLatin1, collapse, collapse_lossy, expand};
use super::{FrameError, Step};

/// Flag of ATTRS: a count and that many pairs of strings follow (draft-ietf-secsh-filexfer-02 §5).
const ATTRS_EXTENDED: u32 = 0x8000_0000;

/// The other flags of ATTRS, each with the bytes of its fields, in the order on the wire.
const ATTRS_FIELDS: [(u32, usize); 4] = [(1, 8), (2, 8), (4, 4), (8, 8)];

/// Which way strings are turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Bytes of a stranger into the text russh-sftp keeps.
    Inward,
    /// And back.
    Outward,
}

/// Why a walk ends before the frame does.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The frame is good so far; this many of its bytes are needed to go on.
    Need(usize),
    /// The frame cannot be passed on.
    Bad(FrameError),
}

/// Where we are in a frame, and what has become of it so far.
pub(super) struct Walk<'a> {
    frame: &'a [u8],
    total: usize,
    at: usize,
    settled: usize,
    out: &'a mut Vec<u8>,
    start: usize,
    turn: Turn,
}

impl<'a> Walk<'a> {
    /// Starts behind the type byte. `frame` is what is there of a frame of `total` bytes, both
    /// counted from its length field on.
    pub(super) fn new(frame: &'a [u8], total: usize, turn: Turn, out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        Self { frame: &frame[..total.min(frame.len())], total, at: 5, settled: 0, out, start, turn }
    }

    /// How many bytes of the frame the walk has before it.
    pub(super) fn remaining(&self) -> usize {
        self.total - self.at
    }

    /// The type byte.
    pub(super) fn kind(&self) -> u8 {
        self.frame[4]
    }

    /// Steps over `count` bytes that stay as they are.
    pub(super) fn skip(&mut self, count: usize) -> Result<&'a [u8], Stop> {
        if count > self.remaining() {
            return Err(Stop::Bad(FrameError::Truncated { kind: self.kind() }));
        }
        let end = self.at + count;
        let bytes = self.frame.get(self.at..end).ok_or(Stop::Need(end))?;
        self.at = end;
        Ok(bytes)
    }

    /// Steps over a number.
    pub(super) fn u32(&mut self) -> Result<u32, Stop> {
        let bytes = self.skip(4)?;
        Ok(bytes.iter().fold(0, |value, &byte| value << 8 | u32::from(byte)))
    }

    /// Steps over a string that must arrive as it left: a name, a handle.
    pub(super) fn name(&mut self) -> Result<(), Stop> {
        let from = self.at;
        let bytes = self.string()?;
        if bytes.is_ascii() {
            return Ok(());
        }
        let length_at = self.cut(from);
        match self.turn {
            Turn::Inward => expand(bytes, self.out),
            Turn::Outward => collapse(bytes, self.out)
                .map_err(|NotLatin1| Stop::Bad(FrameError::NotLatin1 { kind: self.kind() }))?,
        }
        set_length(self.out, length_at);
        Ok(())
    }

    /// Steps over a string for people and adds an ASCII `suffix`. What no byte stands for becomes `?`.
    pub(super) fn text(&mut self, suffix: &str) -> Result<(), Stop> {
        let from = self.at;
        let bytes = self.string()?;
        if bytes.is_ascii() && suffix.is_empty() {
            return Ok(());
        }
        let length_at = self.cut(from);
        match self.turn {
            Turn::Inward => expand(bytes, self.out),
            Turn::Outward => collapse_lossy(bytes, self.out),
        }
        self.out.extend_from_slice(suffix.as_bytes());
        set_length(self.out, length_at);
        Ok(())
    }

    /// Steps over the length of file data, which stays as it is and need not be there yet.
    pub(super) fn data(&mut self) -> Result<(), Stop> {
        let length = self.u32()? as usize;
        if length > self.remaining() {
            return Err(Stop::Bad(FrameError::Truncated { kind: self.kind() }));
        }
        Ok(())
    }

    /// Steps over attributes and takes the extended ones out.
    pub(super) fn attrs(&mut self) -> Result<(), Stop> {
        let from = self.at;
        let flags = self.u32()?;
        if flags & ATTRS_EXTENDED != 0 {
            self.put_instead(from, &(flags & !ATTRS_EXTENDED).to_be_bytes());
        }
        for (flag, length) in ATTRS_FIELDS {
            if flags & flag != 0 {
                self.skip(length)?;
            }
        }
        if flags & ATTRS_EXTENDED != 0 { self.drop_extended() } else { Ok(()) }
    }

    fn drop_extended(&mut self) -> Result<(), Stop> {
        let from = self.at;
        for _ in 0..self.u32()? {
            self.string()?;
            self.string()?;
        }
        self.put_instead(from, b"");
        Ok(())
    }

    /// Where the walk is, to hand to [`put_instead`](Self::put_instead).
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Puts `bytes` in the place of what the walk went over since `from`.
    pub(super) fn put_instead(&mut self, from: usize, bytes: &[u8]) {
        self.settle(from);
        self.out.extend_from_slice(bytes);
    }

    /// Ends the walk: what was not walked over passes as it is.
    pub(super) fn finish(mut self) -> Step {
        if self.out.len() == self.start {
            return Step::Pass(self.total);
        }
        self.settle(self.at);
        let rest = self.remaining();
        let length = (self.out.len() - self.start - 4 + rest) as u32;
        self.out[self.start..self.start + 4].copy_from_slice(&length.to_be_bytes());
        Step::Replace { consumed: self.at, rest }
    }

    fn string(&mut self) -> Result<&'a [u8], Stop> {
        let length = self.u32()? as usize;
        self.skip(length)
    }

    /// Begins a string in the place of what the walk went over since `from`; says where its length is.
    fn cut(&mut self, from: usize) -> usize {
        self.put_instead(from, &[0; 4]);
        self.out.len() - 4
    }

    /// Copies what was unchanged up to `from`, and takes all up to here as dealt with.
    fn settle(&mut self, from: usize) {
        self.out.extend_from_slice(&self.frame[self.settled..from]);
        self.settled = self.at;
    }
}

fn set_length(out: &mut [u8], at: usize) {
    let length = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}
