//! The far side: SFTP over SSH.

pub mod abilities;
pub mod algorithms;
mod auth;
mod by_ssh;
mod candidate;
mod client;
pub mod connect;
mod dial;
pub mod dialect;
mod dialogue;
pub mod far;
mod host_certificate;
pub mod host_key;
mod identity;
pub mod key_file;
pub mod known_hosts;
mod lane;
mod line;
mod open_file;
pub mod pin;
pub mod probe;
mod program;
mod pulse;
mod refusal;
mod rename;
mod rotation;
pub mod route;
pub mod sftp;
mod status;
pub mod stream;
mod to_the_end;
mod user_certificate;
mod wire;
pub mod wishes;

pub use by_ssh::BySsh;
pub use lane::{Announced, VERSION};
