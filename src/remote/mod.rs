//! The far side: SFTP over SSH.

pub mod abilities;
mod auth;
mod client;
pub mod connect;
mod dial;
pub mod dialect;
pub mod host_key;
pub mod key_file;
pub mod known_hosts;
mod lane;
mod open_file;
pub mod sftp;
mod status;
pub mod stream;
mod wire;

pub use lane::Announced;
