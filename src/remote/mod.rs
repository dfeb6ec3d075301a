//! The far side: SFTP over SSH.

pub mod abilities;
pub mod dialect;
mod lane;
mod open_file;
pub mod sftp;
mod status;
pub mod stream;

pub use lane::Announced;
