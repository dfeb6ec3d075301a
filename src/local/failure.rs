//! How the near side fails: the system's errors in our words, naming the whole path.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::io::Errno;

use crate::error::{self, Error, Result};
use crate::path::{LocalRoot, RelPath, escape};

/// What an error is about: the root, and the path below it.
#[derive(Debug, Clone)]
pub(super) struct Label {
    pub(super) root: Arc<LocalRoot>,
    pub(super) path: RelPath,
}

impl Label {
    pub(super) fn error(&self, kind: error::Kind, operation: &'static str) -> Error {
        Error::new(kind, operation, self.show())
    }

    fn show(&self) -> String {
        let full =
            self.root.as_path().join(if self.path.is_root() { "".as_ref() } else { self.path.as_os() });
        escape(full.as_os_str().as_bytes())
    }
}

/// Does work that blocks where blocking is allowed. It runs to its end even if nobody waits any more.
pub(super) async fn blocking<R: Send + 'static>(
    operation: &'static str,
    label: &Label,
    work: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> Result<R> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map_err(|error| failure(operation, label.show(), error)),
        Err(broken) if broken.is_panic() => {
            Err(label.error(error::Kind::Internal, operation).because(broken))
        }
        Err(_) => Err(label.error(error::Kind::Interrupted, operation)),
    }
}

pub(super) fn is_errno(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// An error of the system in our words. Never one that loses a connection: there is none.
pub(super) fn failure(operation: &'static str, subject: String, error: io::Error) -> Error {
    let stale = match Errno::from_io_error(&error) {
        Some(Errno::LOOP) => Some("there is a symbolic link, and none is followed"),
        Some(Errno::NOTDIR) => Some("it, or something on the way to it, is not a folder"),
        Some(Errno::ISDIR) => Some("it is a folder"),
        Some(Errno::NXIO) => Some("it is a special file"),
        Some(Errno::MLINK) => Some("it has a second name (hard link)"),
        _ => None,
    };
    if let Some(detail) = stale {
        return Error::new(error::Kind::Stale, operation, subject).detail(detail);
    }
    match error.kind() {
        io::ErrorKind::TimedOut
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::UnexpectedEof => Error::new(error::Kind::Failed, operation, subject).because(error),
        _ => Error::io(operation, subject, error),
    }
}
