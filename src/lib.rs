//! Highwater: an unattended sync and backup agent that needs nothing on the far side but an SFTP account.

pub mod backoff;
pub mod calendar;
pub mod cli;
pub mod clock;
pub mod config;
pub mod entry;
pub mod error;
pub mod filter;
pub mod hash;
pub mod id;
pub mod job;
pub mod journal;
pub mod local;
pub mod monitor;
pub mod outcome;
pub mod path;
pub mod plan;
pub mod remote;
pub mod report;
pub mod scan;
pub mod secret;
pub mod server;
pub mod timetable;
pub mod transfer;
pub mod tree;
pub mod units;
