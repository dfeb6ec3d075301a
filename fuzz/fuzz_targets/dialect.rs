//! libFuzzer's way into `checks::dialect`.
#![no_main]

#[path = "../checks/dialect.rs"]
mod dialect;

libfuzzer_sys::fuzz_target!(|data: &[u8]| dialect::check(data));
