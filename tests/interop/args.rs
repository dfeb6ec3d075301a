//! Flags.

use std::path::PathBuf;

/// Runs the conformance list against servers of other makes, and clients of other makes against ours.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "interop", max_term_width = 100)]
pub struct Args {
    /// All servers and clients, and the large variants of the checks
    #[arg(long)]
    pub full: bool,
    /// Only this server or client, of all there are; may be given again
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// Only checks with this in their names; may be given again
    #[arg(long, value_name = "PART")]
    pub check: Vec<String>,
    /// Show servers, clients and checks, and end
    #[arg(long)]
    pub list: bool,
    /// How many servers and clients are worked on at once
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..))]
    pub at_once: u8,
    /// Where contrib/test has put what comes from PyPI (venv) and npm
    #[arg(long, value_name = "DIR", default_value = "target/peers")]
    pub peers: PathBuf,
    /// Write every cell to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Say how long each check took
    #[arg(long)]
    pub times: bool,
}
