//! Flags.

/// Plays out seeds: the planner, the engine and the journal over two trees in memory, with everything that
/// can go wrong.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "simulate", max_term_width = 100)]
pub struct Args {
    /// So many seeds, one after the other
    #[arg(long, default_value_t = 1_000)]
    pub seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Seeds played at once
    #[arg(long, default_value_t = 1)]
    pub at_once: usize,
    /// Play every n-th seed twice and compare the traces; 0 for none
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub again: u64,
    /// Show every step: for one seed
    #[arg(long)]
    pub trace: bool,
}
