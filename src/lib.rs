//! Highwater: an unattended sync and backup agent that needs nothing on the far side but an SFTP account.
//!
//! ```text
//!   scan ──► plan ──► transfer ──► journal        one round: job
//!    ▲ ▲    (pure)      │  │          │
//!    │ └── base ◄───────┼──┼──────────┘           rounds by the clock: daemon, schedule
//!    │                  ▼  ▼
//!   near: local::disk   far: remote::sftp         both are a tree::Tree
//! ```
//!
//! Data flows one way. [`scan`] walks both sides and joins them with what the [`journal`] says they last
//! agreed on; [`plan`], a pure function, turns that into actions; [`transfer`] carries the actions out over two
//! [`tree::Tree`]s and writes down what came of them. [`job`] makes a round of it, with the guards before what
//! could not be undone. [`cli`] is the only place that prints, [`remote`] the only one that knows SSH and SFTP,
//! [`local`] the only one that touches this machine's files, [`path`] the only way between bytes and names.
//!
//! What is always true, and where it is seen to:
//! - No torn file under a final name: [`tree`] has no other way to one than stage, finish, place.
//! - Nothing is lost: what makes way goes to the trash ([`plan::Expect`] says what may be replaced).
//! - Absence from a listing proves nothing: [`scan::Join`] says absent only of whole listings, and every
//!   delete is proved at the source right before it is done.
//! - Errors are not absence: what cannot be looked at is [`plan::Seen::Unknown`], and is left alone.
//! - Compare and swap: the target is looked at again right before it is changed.
//! - A request without an answer has an unknown outcome: after a cut, staged files are fenced before
//!   anything else is done.
//! - Done means proven: the level reached is in base ([`hash::Level`]).
//! - Replay is harmless: going on after a cut and beginning after a crash are the same code.
//! - Every server string is hostile: [`remote::dialect`] bounds it, [`path::escape`] shows it.

pub mod alarm;
pub mod backoff;
pub mod calendar;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crash;
pub mod daemon;
pub mod demo;
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
pub mod schedule;
pub mod secret;
pub mod server;
pub mod settle;
pub mod sshconfig;
pub mod tell;
pub mod timetable;
pub mod transfer;
pub mod tree;
pub mod units;
pub mod watch;
