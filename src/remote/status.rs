//! From the SFTP library's errors to ours.

use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::StatusCode;

use super::stream::Blame;
use crate::error::{Error, Kind};
use crate::path::{escape, from_wire};

/// Turns what went wrong with one request into an error about `operation` on `subject` (wire bytes).
/// `fault` is what ended the channel, if the dialect layer did: the library only knows that it ended.
pub(super) fn to_error(operation: &str, subject: &[u8], error: &SftpError, fault: Option<Blame>) -> Error {
    let about = |kind| Error::new(kind, operation, escape(subject));
    match fault.filter(|_| is_of_channel(error)) {
        Some(Blame::Theirs(bad)) => {
            about(Kind::Protocol).detail("the server broke the SFTP protocol").because(bad)
        }
        Some(Blame::Ours(bad)) => {
            about(Kind::Internal).detail("a request of ours breaks the SFTP protocol").because(bad)
        }
        None => about(kind_of(error)).detail(explain(error)),
    }
}

/// Whether the request was not answered, rather than answered with something.
fn is_of_channel(error: &SftpError) -> bool {
    matches!(error, SftpError::IO(_) | SftpError::UnexpectedBehavior(_) | SftpError::Timeout)
}

/// What an error means. A request whose waiter vanished is a lost connection, whatever the library says.
pub(super) fn kind_of(error: &SftpError) -> Kind {
    match error {
        SftpError::Status(status) => match status.status_code {
            StatusCode::NoSuchFile => Kind::NotFound,
            StatusCode::PermissionDenied => Kind::Permission,
            StatusCode::OpUnsupported => Kind::Unsupported,
            StatusCode::NoConnection | StatusCode::ConnectionLost => Kind::Disconnected,
            StatusCode::BadMessage => Kind::Name, // OpenSSH: EINVAL and ENAMETOOLONG (sftp-server.c)
            StatusCode::Ok | StatusCode::Eof | StatusCode::Failure => Kind::Failed,
        },
        SftpError::Timeout => Kind::TimedOut,
        SftpError::IO(_) | SftpError::UnexpectedBehavior(_) => Kind::Disconnected,
        SftpError::Limited(_) => Kind::Internal,
        SftpError::UnexpectedPacket => Kind::Protocol,
    }
}

/// Whether the reply says that there is no more to read.
pub(super) fn is_end(error: &SftpError) -> bool {
    matches!(error, SftpError::Status(status) if status.status_code == StatusCode::Eof)
}

fn explain(error: &SftpError) -> String {
    match error {
        SftpError::Status(status) => {
            let text = from_wire(&status.error_message);
            let word = status.status_code.to_string();
            if text.is_empty() || text.eq_ignore_ascii_case(word.as_bytes()) {
                return format!("the server answered \"{word}\"");
            }
            let text = &text[..text.len().min(300)];
            format!("the server answered \"{word}\" ({})", escape(text))
        }
        SftpError::Timeout => "the server did not answer in time".into(),
        SftpError::IO(_) | SftpError::UnexpectedBehavior(_) => "the connection was lost".into(),
        SftpError::Limited(what) => format!("over a limit ({})", escape(what.as_bytes())),
        SftpError::UnexpectedPacket => "the server answered with the wrong kind of reply".into(),
    }
}
