//! What must hold whatever the bytes are. Run by libFuzzer (`fuzz/fuzz_targets`), and by `tests/it/fuzz.rs` on
//! `fuzz/seeds` and on what a few mutations make of them.

pub mod dialect;
pub mod known_hosts;
pub mod ssh_config;
