//! What can go wrong, in two types: an [`Error`] ends what was being done, a [`Problem`] is something
//! a round survives and reports.
//!
//! An error's `kind` serves the code (try again now, later, never; exit code), its text the reader:
//! what we were doing, to what, what came of it, and what to try. `Display` never repeats the source.

use std::error::Error as StdError;
use std::fmt;

use crate::path::RelPath;

/// The result of whatever can fail in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an error means to the code that gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The very name does not exist (SSH_FX_NO_SUCH_FILE, ENOENT).
    NotFound,
    /// The side refuses access.
    Permission,
    /// Something stands there already.
    Exists,
    /// A folder is not empty.
    NotEmpty,
    /// No room: disk full or quota.
    NoSpace,
    /// The side cannot do this at all.
    Unsupported,
    /// The side refused for a reason it does not tell (SSH_FX_FAILURE) or an I/O error.
    Failed,
    /// The connection is gone; what was under way has an unknown outcome.
    Disconnected,
    /// No answer in time; the outcome is unknown and the connection must be dropped.
    TimedOut,
    /// The server could not be reached at all.
    Unreachable,
    /// Login was refused.
    Login,
    /// The host key is unknown, and nobody accepted it.
    HostKeyUnknown,
    /// The host key is not the one we know.
    HostKeyChanged,
    /// The source changed while it was read.
    Busy,
    /// The target is not what the plan saw.
    Stale,
    /// Bytes that came back are not the bytes that were sent.
    Corrupt,
    /// The server broke the protocol or a bound.
    Protocol,
    /// The name cannot be carried.
    Name,
    /// Configuration or command line.
    Usage,
    /// Somebody else holds the lock.
    Locked,
    /// The journal cannot be read or written.
    Journal,
    /// A person must look: root lost or replaced.
    Halt,
    /// Stopped on request.
    Interrupted,
    /// A bug of ours.
    Internal,
}

impl Kind {
    /// The kind as reports and the journal write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::NotFound => "not-found",
            Kind::Permission => "permission-denied",
            Kind::Exists => "exists",
            Kind::NotEmpty => "not-empty",
            Kind::NoSpace => "no-space",
            Kind::Unsupported => "unsupported",
            Kind::Failed => "failed",
            Kind::Disconnected => "disconnected",
            Kind::TimedOut => "timed-out",
            Kind::Unreachable => "unreachable",
            Kind::Login => "login",
            Kind::HostKeyUnknown => "host-key-unknown",
            Kind::HostKeyChanged => "host-key-changed",
            Kind::Busy => "busy",
            Kind::Stale => "stale",
            Kind::Corrupt => "corrupt",
            Kind::Protocol => "protocol",
            Kind::Name => "name",
            Kind::Usage => "usage",
            Kind::Locked => "locked",
            Kind::Journal => "journal",
            Kind::Halt => "halt",
            Kind::Interrupted => "interrupted",
            Kind::Internal => "internal",
        }
    }

    /// Whether the connection is of no more use: what was under way has an unknown outcome.
    pub fn loses_connection(self) -> bool {
        matches!(self, Kind::Disconnected | Kind::TimedOut | Kind::Protocol)
    }

    /// Whether the whole round must end, rather than only this file.
    pub fn ends_round(self) -> bool {
        self.loses_connection()
            || matches!(
                self,
                Kind::Unreachable
                    | Kind::Login
                    | Kind::HostKeyUnknown
                    | Kind::HostKeyChanged
                    | Kind::Usage
                    | Kind::Locked
                    | Kind::Journal
                    | Kind::Halt
                    | Kind::Interrupted
                    | Kind::Internal
            )
    }

    /// The exit code of a command that ends with such an error (see README).
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Usage | Kind::Locked => 2,
            Kind::Unreachable
            | Kind::Login
            | Kind::HostKeyUnknown
            | Kind::Disconnected
            | Kind::TimedOut
            | Kind::Protocol => 3,
            Kind::HostKeyChanged | Kind::Halt => 4,
            Kind::Internal | Kind::Journal => 5,
            Kind::Interrupted => 130,
            _ => 1,
        }
    }
}

/// Something that ended what we were doing.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    operation: String,
    subject: String,
    detail: Option<String>,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind`: `operation` is a verb phrase ("open the file", "log in"), `subject` what it was
    /// done to, already escaped for people.
    pub fn new(kind: Kind, operation: impl Into<String>, subject: impl fmt::Display) -> Self {
        Self {
            kind,
            operation: operation.into(),
            subject: subject.to_string(),
            detail: None,
            hint: None,
            source: None,
        }
    }

    /// What came of it, where the kind and the source do not say: "the server answered …".
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// What to try next, as a whole sentence or a command.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What caused it.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// An error from the operating system, sorted by its code.
    pub fn io(operation: impl Into<String>, subject: impl fmt::Display, error: std::io::Error) -> Self {
        Self::new(kind_of_io(&error), operation, subject).because(error)
    }

    /// What the error means to the code.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What we were doing.
    pub fn operation(&self) -> &str {
        &self.operation
    }

    /// To what.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// What to try next.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// What came of it and why: detail, then the chain of causes. One line.
    pub fn reason(&self) -> String {
        let mut parts: Vec<String> = self.detail.iter().cloned().collect();
        let mut cause = self.source.as_deref().map(|e| e as &dyn StdError);
        while let Some(error) = cause {
            parts.push(error.to_string());
            cause = error.source();
        }
        if parts.is_empty() {
            return self.kind.as_str().replace('-', " ");
        }
        parts.join(": ")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.operation)?;
        if !self.subject.is_empty() {
            write!(f, " {}", self.subject)?;
        }
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn StdError + 'static))
    }
}

fn kind_of_io(error: &std::io::Error) -> Kind {
    use std::io::ErrorKind as Io;
    match error.kind() {
        Io::NotFound => Kind::NotFound,
        Io::PermissionDenied | Io::ReadOnlyFilesystem => Kind::Permission,
        Io::AlreadyExists => Kind::Exists,
        Io::DirectoryNotEmpty => Kind::NotEmpty,
        Io::StorageFull | Io::QuotaExceeded => Kind::NoSpace,
        Io::Unsupported => Kind::Unsupported,
        Io::InvalidFilename => Kind::Name,
        Io::TimedOut => Kind::TimedOut,
        Io::BrokenPipe | Io::ConnectionReset | Io::ConnectionAborted | Io::UnexpectedEof => {
            Kind::Disconnected
        }
        _ => Kind::Failed,
    }
}

/// Something a round survives: one file that could not be read, one name that cannot be carried, a
/// target that somebody else had changed. Also what was put right on the way (`recovered`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What it concerns; the root for the round as a whole.
    pub path: RelPath,
    /// What we were doing: "read", "place", "list", …
    pub operation: String,
    /// The kind as reports write it: [`Kind::as_str`], or a word of the planner such as `displaced`.
    pub kind: String,
    /// What came of it and what to try, for people. Escaped.
    pub message: String,
}

impl Problem {
    /// A problem of the planner's or the engine's own making.
    pub fn new(path: RelPath, operation: &str, kind: &str, message: impl Into<String>) -> Self {
        Self { path, operation: operation.into(), kind: kind.into(), message: message.into() }
    }

    /// What an error means for one path of a round.
    pub fn from_error(path: RelPath, error: &Error) -> Self {
        let message = match error.hint_text() {
            Some(hint) => format!("{}; {hint}", error.reason()),
            None => error.reason(),
        };
        Self::new(path, error.operation(), error.kind().as_str(), message)
    }
}
