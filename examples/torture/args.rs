//! Flags.

use std::path::PathBuf;

/// Puts highwater through campaigns of faults, over a real sshd, and judges every case from the disks.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "torture", max_term_width = 100)]
pub struct Args {
    /// Minutes for all campaigns together, each with its share [default: until each is whole, see --list]
    #[arg(long)]
    pub minutes: Option<f64>,
    /// So many cases of each campaign instead, however long they take
    #[arg(long)]
    pub cases: Option<u64>,
    /// What everything is drawn from [default: of the clock, printed]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Only this campaign; may be given again
    #[arg(long, value_name = "NAME")]
    pub campaign: Vec<String>,
    /// One case of the one campaign named, by the seed that its failure printed; its folder is kept
    #[arg(long, value_name = "SEED")]
    pub case: Option<u64>,
    /// A few small cases of each campaign: a taste, for tests
    #[arg(long)]
    pub short: bool,
    /// Cases under way at once: most of them wait most of the time
    #[arg(long, default_value_t = 8)]
    pub at_once: usize,
    /// Show the campaigns, and end
    #[arg(long)]
    pub list: bool,
    /// Write the table to this file as well
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// The program, built with the feature `crash-points` [default: highwater beside this program's folder]
    #[arg(long, value_name = "FILE")]
    pub highwater: Option<PathBuf>,
}
