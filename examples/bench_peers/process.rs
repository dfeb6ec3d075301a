//! Processes and their children, as /proc shows them (proc(5), Linux).

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// USER_HZ, what /proc counts in: 100 wherever Linux runs today (include/asm-generic/param.h).
const TICKS_PER_SECOND: f64 = 100.0;

/// Everything below a process that is there now; not the process itself.
pub fn descendants(of: u32) -> Vec<u32> {
    let mut found = vec![of];
    let mut next = 0;
    while next < found.len() {
        found.extend(children(found[next]));
        next += 1;
    }
    found.split_off(1)
}

/// Children of every thread. A process that ends meanwhile has none.
fn children(of: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{of}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// Kills everything below a process.
pub fn kill_descendants(of: u32) {
    for pid in descendants(of) {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        // One that is gone already is what we want.
        let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
    }
}

/// Resident memory of one process, KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Now.
    pub now: u64,
    /// At its highest so far.
    pub peak: u64,
}

/// Nothing for a process that has ended.
pub fn memory(pid: u32) -> Memory {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    Memory { now: status_kib(&status, "VmRSS:"), peak: status_kib(&status, "VmHWM:") }
}

fn status_kib(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// CPU seconds, user and system, of those children of this process that it has waited for, and of theirs.
pub fn waited_cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    Some(waited_ticks(&stat)? as f64 / TICKS_PER_SECOND)
}

/// Fields 16 and 17, cutime and cstime; the name in field 2 may hold anything, so they count from its end.
fn waited_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(13);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_where_proc_5_says() {
        let stat = "12 (a ) b) S 1 2 3 4 5 6 7 8 9 10 100 200 30 4 20 0 1 0 5";
        assert_eq!(waited_ticks(stat), Some(34));
        assert_eq!(waited_ticks("12 (a"), None);
        let status = "Name:\tx\nVmHWM:\t   512 kB\nVmRSS:\t  256 kB\n";
        assert_eq!((status_kib(status, "VmRSS:"), status_kib(status, "VmHWM:")), (256, 512));
        assert_eq!(status_kib("", "VmRSS:"), 0);
    }

    #[test]
    fn this_process_uses_memory_and_has_a_child_while_it_runs_one() {
        assert!(memory(std::process::id()).peak > 100);
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(descendants(std::process::id()).contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!descendants(std::process::id()).contains(&child.id()));
    }
}
