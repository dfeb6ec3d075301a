//! What went wrong with the database, kept so that every later call can say it again.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::error::{Error, Kind};
use crate::path::escape;

/// Why the journal is of no more use, or why one reading failed.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    reason: String,
    hint: &'static str,
}

impl Failure {
    /// The writer was closed, or this handle never had one.
    pub fn closed() -> Self {
        Self { reason: "it is closed for writing".into(), hint: "" }
    }

    /// What SQLite said.
    pub fn of(error: &rusqlite::Error) -> Self {
        Self { reason: error.to_string(), hint: hint(error) }
    }

    /// The error that callers get.
    pub fn error(&self, operation: &str, path: &Path) -> Error {
        let error = Error::new(Kind::Journal, operation, show(path)).detail(self.reason.clone());
        if self.hint.is_empty() { error } else { error.hint(self.hint) }
    }
}

/// A path of this machine for people.
pub(super) fn show(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}

/// Whether the file itself is damaged, rather than the disk full or the access refused.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

fn hint(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            "free some space on the file system that holds this file, then start again"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            "check that this file and its folder exist and may be written by this user"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another process holds this file; end it, then start again"
        }
        Some(ErrorCode::SystemIoFailure) => "check the disk that holds this file and the system's log",
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "start again: a damaged journal is then moved aside and rebuilt"
        }
        _ => "check this file and the disk that holds it, then start again",
    }
}
