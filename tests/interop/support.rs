//! What the other tests are helped by.
#![allow(dead_code, reason = "the other tests need more of it")]

#[path = "../it/support/account.rs"]
pub mod account;
#[path = "../it/support/pair.rs"]
pub mod pair;
#[path = "../it/support/pam.rs"]
pub mod pam;
#[path = "../it/support/program.rs"]
pub mod program;
#[path = "../it/support/sample.rs"]
pub mod sample;
#[path = "../it/support/sshd.rs"]
pub mod sshd;
#[path = "../it/support/tree_of.rs"]
pub mod tree_of;
