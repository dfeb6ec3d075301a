//! A disk that is full, told apart from other failures.

use super::Tree;
use crate::error::{Error, Kind};

/// Less room than this explains a failure that nothing else explains.
const FULL_BELOW_BYTES: u64 = 1 << 20;

/// What a failure to write really was: SFTP version 3 has no code for a full disk, so OpenSSH answers
/// FAILURE to it as to everything else, and free space tells.
pub async fn explain_space<T: Tree>(tree: &T, error: Error) -> Error {
    if error.kind() != Kind::Failed {
        return error;
    }
    match tree.free_bytes().await {
        Ok(Some(free)) if free < FULL_BELOW_BYTES => {
            Error::new(Kind::NoSpace, error.operation(), error.subject())
                .detail(format!("no room on that side ({free} bytes are free)"))
                .hint("Make room there or shorten what is kept in its trash.")
        }
        _ => error,
    }
}
