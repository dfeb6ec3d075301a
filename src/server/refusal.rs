//! Why a request is not carried out, as a status the client understands.

use std::io;

use russh_sftp::protocol::StatusCode;
use rustix::io::Errno;

/// A status other than OK, and what to say beside it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    pub(super) code: StatusCode,
    pub(super) text: String,
}

impl Refusal {
    pub(super) fn new(code: StatusCode, text: &str) -> Self {
        Self { code, text: text.into() }
    }

    pub(super) fn bad_message(text: &str) -> Self {
        Self::new(StatusCode::BadMessage, text)
    }

    pub(super) fn failure(text: &str) -> Self {
        Self::new(StatusCode::Failure, text)
    }

    pub(super) fn end() -> Self {
        Self::new(StatusCode::Eof, "End of file")
    }

    pub(super) fn read_only() -> Self {
        Self::new(StatusCode::PermissionDenied, "this account may only read")
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        let text = error.to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        Self::new(code_of(&error), text)
    }
}

impl From<Errno> for Refusal {
    fn from(error: Errno) -> Self {
        io::Error::from(error).into()
    }
}

/// As OpenSSH sorts them (sftp-server.c, errno_to_portable): everything not named, a full disk and a
/// name that exists included, is a plain FAILURE.
fn code_of(error: &io::Error) -> StatusCode {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::BADF | Errno::LOOP) => StatusCode::NoSuchFile,
        Some(Errno::PERM | Errno::ACCESS | Errno::FAULT) => StatusCode::PermissionDenied,
        Some(Errno::NAMETOOLONG | Errno::INVAL) => StatusCode::BadMessage,
        Some(Errno::NOSYS) => StatusCode::OpUnsupported,
        _ => StatusCode::Failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_openssh() {
        let check = |errno: Errno, code, text: &str| {
            assert_eq!(Refusal::from(errno), Refusal { code, text: text.into() });
        };
        check(Errno::NOENT, StatusCode::NoSuchFile, "No such file or directory");
        check(Errno::LOOP, StatusCode::NoSuchFile, "Too many levels of symbolic links");
        check(Errno::ACCESS, StatusCode::PermissionDenied, "Permission denied");
        check(Errno::NAMETOOLONG, StatusCode::BadMessage, "File name too long");
        check(Errno::NOSPC, StatusCode::Failure, "No space left on device");
        check(Errno::EXIST, StatusCode::Failure, "File exists");
        check(Errno::XDEV, StatusCode::Failure, "Invalid cross-device link");
        check(Errno::NOSYS, StatusCode::OpUnsupported, "Function not implemented");
        let ours = Refusal::from(io::Error::new(io::ErrorKind::Unsupported, "not here"));
        assert_eq!(ours, Refusal::failure("not here"));
    }
}
