//! The far side: SFTP over SSH.

pub mod dialect;
pub mod stream;
