//! One test binary; a module per feature.

mod cli;
mod config;
mod connect;
mod daemon;
mod damage;
mod demo;
mod dialect;
mod filter;
mod guards;
mod hostile;
mod moments;
mod no_room;
mod over_ssh;
mod probe;
mod pull;
mod push;
mod quirks;
mod refusals;
mod remote_tree;
mod resume;
mod run;
mod server;
mod support;
mod telling;
mod tidy;
mod trash;
