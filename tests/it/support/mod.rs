//! What tests need of the outside world.
#![allow(dead_code, reason = "what one feature's tests leave unused, another's need")]

pub mod account;
pub mod agent;
pub mod daemon;
pub mod hostile;
pub mod keysign;
pub mod pair;
pub mod pam;
pub mod program;
pub mod receiver;
pub mod rig;
pub mod sample;
pub mod scene;
pub mod sshd;
pub mod tree_of;
