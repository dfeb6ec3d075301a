//! The `highwater` program.

use std::process::ExitCode;

/// The C library keeps what was in use once, in pieces for each thread; this gives it back to the system ten seconds
/// later, also when the program has nothing to do. What a daemon is left with for months is what it needs.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    highwater::cli::run(std::env::args_os())
}
