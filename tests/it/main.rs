//! One test binary; a module per feature.

mod cli;
mod config;
mod connect;
mod dialect;
mod filter;
mod guards;
mod over_ssh;
mod probe;
mod refusals;
mod remote_tree;
mod server;
mod support;
mod tidy;
mod trash;
