//! libFuzzer's way into `checks::ssh_config`.
#![no_main]

#[path = "../checks/ssh_config.rs"]
mod ssh_config;

libfuzzer_sys::fuzz_target!(|data: &[u8]| ssh_config::check(data));
