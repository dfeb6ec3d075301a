//! What the figures were measured on.

use std::fs;
use std::process::Command;

use serde::Serialize;

/// The machine, and what is installed on it.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// When, in UTC.
    pub date: String,
    /// The processor's name.
    pub processor: String,
    /// How many threads it runs at once for us.
    pub cores: usize,
    /// Memory, GiB.
    pub memory_gib: f64,
    /// Distribution and kernel.
    pub system: String,
    /// Load average of the last minute at the start: other work makes figures unreliable.
    pub load: String,
    /// The first line of what each program says of its version.
    pub versions: Vec<String>,
}

/// Looks around. What cannot be found out is `unknown`.
pub fn look() -> Machine {
    let memory =
        value("/proc/meminfo", "MemTotal:").and_then(|v| v.trim_end_matches("kB").trim().parse().ok());
    let distribution = value("/etc/os-release", "PRETTY_NAME=").unwrap_or_else(unknown);
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let load = fs::read_to_string("/proc/loadavg").ok();
    Machine {
        date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
        processor: value("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
        cores: std::thread::available_parallelism().map_or(0, Into::into),
        memory_gib: memory.map_or(0.0, |kib: f64| (kib / 1024.0 / 102.4).round() / 10.0),
        system: format!("{}, Linux {kernel}", distribution.trim_matches('"')),
        load: load.and_then(|load| Some(load.split(' ').next()?.into())).unwrap_or_else(unknown),
        versions: PROGRAMS.iter().filter_map(|(program, flag)| version(program, flag)).collect(),
    }
}

fn unknown() -> String {
    "unknown".into()
}

/// Programs and how they are asked.
const PROGRAMS: [(&str, &str); 5] = [
    ("ssh", "-V"),
    ("rsync", "--version"),
    ("rclone", "version"),
    ("lftp", "--version"),
    ("tar", "--version"),
];

/// `None` when it is not installed.
fn version(program: &str, flag: &str) -> Option<String> {
    let output = Command::new(program).arg(flag).output().ok()?;
    let said = [output.stdout, output.stderr].concat(); // ssh says it on standard error
    let text = String::from_utf8_lossy(&said);
    Some(text.lines().next()?.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// What follows a key at the start of a line, without what separates them.
fn value(file: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(rest.trim_start_matches([' ', '\t', ':']).trim().to_string())
}
