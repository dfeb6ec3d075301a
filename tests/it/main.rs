//! One test binary; a module per feature.

mod filter;
mod support;
