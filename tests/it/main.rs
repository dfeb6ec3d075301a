//! One test binary; a module per feature.

mod dialect;
mod filter;
mod remote_tree;
mod support;
