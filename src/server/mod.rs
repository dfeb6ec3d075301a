//! An SFTP server of our own: the far side of `highwater demo`, a test double with scripted faults, and
//! a receiving end for people without sshd (`highwater serve`).
//!
//! It serves files below a folder with the semantics of OpenSSH's sftp-server. What it does not do:
//! shells, commands, forwarding, owners, anything outside that folder.

pub mod accounts;
mod connection;
mod handles;
mod host_key;
mod listen;
mod listing;
pub mod misbehave;
mod refusal;
mod request;
mod session;
mod sftp;

pub use self::host_key::HostKey;
pub use self::listen::{Limits, RunningServer, Server, ServerConfig};
pub use self::session::{End, serve_stream};
pub use self::sftp::{MAX_DATA_BYTES, MAX_HANDLES, MAX_PACKET_BYTES, SessionOptions};

#[cfg(test)]
mod tests;
