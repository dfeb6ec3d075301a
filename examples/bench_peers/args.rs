//! Flags.

use std::path::PathBuf;
use std::time::Duration;

/// Measures highwater beside rsync, OpenSSH's sftp and scp, rclone and lftp, over an sshd of its own.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "bench_peers", max_term_width = 100)]
pub struct Args {
    /// Timed runs of each tool in each workload; medians are shown
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
    /// Only this workload, or those whose names begin with it; may be given again
    #[arg(long, value_name = "WORKLOAD")]
    pub only: Vec<String>,
    /// Only this tool (highwater: all its levels); may be given again
    #[arg(long, value_name = "TOOL")]
    pub only_tool: Vec<String>,
    /// Without this tool; may be given again
    #[arg(long, value_name = "TOOL")]
    pub skip_tool: Vec<String>,
    /// Show workloads and tools, and end
    #[arg(long)]
    pub list: bool,
    /// Show what the delay relay can carry and how exact its delays are, and end
    #[arg(long)]
    pub check_relay: bool,
    /// What names, sizes and contents of the files are drawn from
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Stop a run after this many seconds
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = seconds)]
    pub cap: Duration,
    /// Run a tool only once where its first run took longer than this many seconds
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub once_over: Duration,
    /// Hold each direction of a delayed line to this many MiB/s
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub line_rate: Option<u32>,
    /// Multiply the number of files, or the size of a single one, by this: for trials, not for figures
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = factor)]
    pub scale: f64,
    /// Write everything measured to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Print tables as Markdown
    #[arg(long)]
    pub markdown: bool,
    /// Where data lives: a folder on a tmpfs
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    pub memory: PathBuf,
    /// Where the targets of the workloads on a real disk live
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    pub disk: PathBuf,
    /// The program to measure [default: highwater beside the folder of this program]
    #[arg(long, value_name = "FILE")]
    pub highwater: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|e| format!("{e}"))?;
    Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())
}

fn factor(text: &str) -> Result<f64, String> {
    let factor: f64 = text.parse().map_err(|e| format!("{e}"))?;
    if factor > 0.0 && factor <= 1.0 { Ok(factor) } else { Err("more than 0 and at most 1".into()) }
}
