//! libFuzzer's way into `checks::known_hosts`.
#![no_main]

#[path = "../checks/known_hosts.rs"]
mod known_hosts;

libfuzzer_sys::fuzz_target!(|data: &[u8]| known_hosts::check(data));
