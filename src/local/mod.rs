//! The near side: a folder on this machine, and file operations that never leave it.
//!
//! What it does not know: jobs, staging names, the far side.

mod resolve;
pub mod rooted;
