//! What goes wrong, and when: one [`Rule`] per fault.

use std::collections::HashMap;
use std::time::Duration;

/// A kind of request, as rules name it and the tally counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// The first packet of a session.
    Init,
    /// OPEN.
    Open,
    /// CLOSE of a file or folder.
    Close,
    /// READ.
    Read,
    /// WRITE.
    Write,
    /// STAT, LSTAT and FSTAT.
    Stat,
    /// SETSTAT, FSETSTAT and `lsetstat@openssh.com`.
    SetStat,
    /// OPENDIR.
    OpenDir,
    /// READDIR.
    List,
    /// REMOVE.
    Remove,
    /// MKDIR.
    MakeDir,
    /// RMDIR.
    RemoveDir,
    /// REALPATH.
    RealPath,
    /// RENAME as version 3 has it.
    Rename,
    /// `posix-rename@openssh.com`.
    PosixRename,
    /// READLINK.
    ReadLink,
    /// SYMLINK.
    SymLink,
    /// `hardlink@openssh.com`.
    HardLink,
    /// `fsync@openssh.com`.
    Fsync,
    /// `statvfs@openssh.com` and `fstatvfs@openssh.com`.
    Statvfs,
    /// Any other extended request.
    Other,
}

/// Something that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The request is not carried out and answered with this status code, which need not be one of
    /// version 3.
    Fail {
        /// The code on the wire; 0 acknowledges what was never done.
        code: u32,
        /// The text beside it.
        text: String,
    },
    /// The connection is cut before the request is carried out.
    CutBefore,
    /// The connection is cut after the request is carried out and before it is answered.
    CutAfter,
    /// The connection is cut when so many bytes of content have been written; the WRITE that crosses
    /// the mark is carried out up to it.
    CutAtByte(u64),
    /// The disk is full when so many bytes of content have been written; the WRITE that crosses the
    /// mark is carried out up to it and answered with FAILURE, and statvfs tells that nothing is free.
    NoSpaceAfter(u64),
    /// The session stands still for this long before the request is carried out, or until the rules
    /// are cleared.
    Stall(Duration),
    /// READ returns at most so many bytes.
    Short(usize),
    /// One bit is flipped: of a WRITE before it reaches the disk, of a READ after it left it.
    Flip,
    /// Names that a listing leaves out.
    Omit(Vec<Vec<u8>>),
    /// A listing that claims to be over after so many entries (`.` and `..` count).
    EndListingAfter(usize),
    /// Names that a listing has besides the real ones; each looks like a small file.
    Invent(Vec<Vec<u8>>),
    /// Extensions that are not announced, though they work. Empty: all.
    Unannounced(Vec<String>),
}

impl Fault {
    /// A plain FAILURE, all that OpenSSH says of most errors.
    pub fn failure() -> Self {
        Self::Fail { code: 4, text: "Failure".into() }
    }

    /// PERMISSION_DENIED.
    pub fn denied() -> Self {
        Self::Fail { code: 3, text: "Permission denied".into() }
    }

    /// OP_UNSUPPORTED, as a server without this request says.
    pub fn unsupported() -> Self {
        Self::Fail { code: 8, text: "Operation unsupported".into() }
    }
}

/// A fault and the requests that it strikes. Without more, every request of one kind.
#[derive(Debug, Clone)]
pub struct Rule {
    pub(super) op: Op,
    pub(super) fault: Fault,
    below: Option<Vec<u8>>,
    first: u64,
    times: u64,
    per_mille: u32,
    each_file: bool,
    counts: HashMap<Vec<u8>, Count>,
}

/// What a rule has seen and done, in all or for one file.
#[derive(Debug, Clone, Default)]
struct Count {
    seen: u64,
    done: u64,
    bytes: u64,
}

impl Rule {
    /// `fault` on every `op`.
    pub fn on(op: Op, fault: Fault) -> Self {
        Self {
            op,
            fault,
            below: None,
            first: 1,
            times: u64::MAX,
            per_mille: 1000,
            each_file: false,
            counts: HashMap::new(),
        }
    }

    /// Only at this path of the account (`/a/b`), or below it.
    #[must_use]
    pub fn below(mut self, path: impl AsRef<[u8]>) -> Self {
        let path = path.as_ref();
        self.below = Some(path.strip_suffix(b"/").unwrap_or(path).to_vec());
        self
    }

    /// From the n-th such request on, counting from 1.
    #[must_use]
    pub fn from_nth(mut self, n: u64) -> Self {
        self.first = n;
        self
    }

    /// So many times, then never again.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// One time only.
    #[must_use]
    pub fn once(self) -> Self {
        self.times(1)
    }

    /// With so many chances in a thousand, by the seed of the script.
    #[must_use]
    pub fn chance(mut self, per_mille: u32) -> Self {
        self.per_mille = per_mille;
        self
    }

    /// Counts for each path apart instead of for the whole server.
    #[must_use]
    pub fn each_file(mut self) -> Self {
        self.each_file = true;
        self
    }

    /// Whether the rule strikes a request of `op` at `path` that carries `len` bytes of content, and
    /// for faults at a byte mark how many of them still pass. `draw` is a random number below 1000.
    pub(super) fn strikes(&mut self, op: Op, path: &[u8], len: u64, draw: u32) -> Option<u64> {
        if op != self.op || !self.covers(path) {
            return None;
        }
        let (mark, first, times) = (self.mark(), self.first, self.times);
        let chosen = draw < self.per_mille;
        let count = self.count(path);
        count.seen += 1;
        if count.seen < first || count.done >= times || !chosen {
            return None;
        }
        let room = match mark {
            Some(mark) => mark.saturating_sub(count.bytes),
            None => 0,
        };
        if mark.is_some() {
            count.bytes = count.bytes.saturating_add(len.min(room));
            if len <= room {
                return None;
            }
        }
        count.done += 1;
        Some(room)
    }

    /// Whether a disk-full rule has been reached and still holds.
    pub(super) fn is_full(&self) -> bool {
        let Fault::NoSpaceAfter(mark) = self.fault else { return false };
        self.counts.values().any(|c| c.done > 0 && c.done < self.times && c.bytes >= mark)
    }

    fn mark(&self) -> Option<u64> {
        match self.fault {
            Fault::CutAtByte(mark) | Fault::NoSpaceAfter(mark) => Some(mark),
            _ => None,
        }
    }

    fn covers(&self, path: &[u8]) -> bool {
        self.below.as_deref().is_none_or(|below| {
            path.strip_prefix(below).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
        })
    }

    fn count(&mut self, path: &[u8]) -> &mut Count {
        let key = if self.each_file { path.to_vec() } else { Vec::new() };
        self.counts.entry(key).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of these writes (path, length) a rule strikes, with what still passes.
    fn check(mut rule: Rule, writes: &[(&str, u64)], expected: &[Option<u64>]) {
        let struck: Vec<Option<u64>> =
            writes.iter().map(|(path, len)| rule.strikes(Op::Write, path.as_bytes(), *len, 500)).collect();
        assert_eq!(struck, expected, "{rule:?}");
    }

    #[test]
    fn rules_strike_when_they_say() {
        let flip = || Rule::on(Op::Write, Fault::Flip);
        let three = [("/a", 10), ("/a", 10), ("/b", 10)];
        check(flip(), &three, &[Some(0), Some(0), Some(0)]);
        check(flip().once(), &three, &[Some(0), None, None]);
        check(flip().from_nth(2), &three, &[None, Some(0), Some(0)]);
        check(flip().from_nth(2).once(), &three, &[None, Some(0), None]);
        check(flip().below("/b"), &three, &[None, None, Some(0)]);
        check(flip().below("/"), &three, &[Some(0), Some(0), Some(0)]);
        check(flip().once().each_file(), &three, &[Some(0), None, Some(0)]);
        check(flip().chance(0), &three, &[None, None, None]);
        check(flip().below("/b"), &[("/bc", 1), ("/b/c", 1)], &[None, Some(0)]);
        check(Rule::on(Op::Read, Fault::Flip), &three, &[None, None, None]);
    }

    #[test]
    fn marks_count_bytes_and_let_the_rest_pass() {
        let writes = [("/a", 10), ("/b", 10), ("/b", 10)];
        let full = |mark| Rule::on(Op::Write, Fault::NoSpaceAfter(mark));
        check(full(15), &writes, &[None, Some(5), Some(0)]);
        check(full(15).each_file(), &writes, &[None, None, Some(5)]);
        check(full(15).once(), &writes, &[None, Some(5), None]);
        check(Rule::on(Op::Write, Fault::CutAtByte(20)), &writes, &[None, None, Some(0)]);
    }
}
