//! Servers and daemons that stop in the middle of a push.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::random::Random;
use crate::rig::{Rig, pid, wait_until};
use crate::{Doing, Given, Result, process};

/// The file that is under way.
const BYTES: u32 = 96 << 20;

/// So that it takes a while.
const RATE: &str = "limits: {bandwidth: 8MiB/s}";

/// What may be on its way when a connection is cut, and has to cross again.
const WINDOW_BYTES: u64 = 16 << 20;

/// A rig whose daemon has sent a fifth of a large file.
fn under_way(given: &Given) -> Result<(Rig, crate::rig::Daemon)> {
    let rig = Rig::start(given, Duration::ZERO)?;
    rig.configure(&format!("watch: {{settle: 50ms, rescan: 1h}}\n{RATE}"))?;
    let content = Random(given.args.seed).bytes(given.args.scaled(BYTES) as usize);
    fs::write(rig.near().join("large"), content).doing("write the file")?;
    let daemon = rig.daemon()?;
    let part = u64::from(given.args.scaled(BYTES) / 5);
    wait_until("send a part", || Ok(sent(&rig)? > part))?;
    Ok((rig, daemon))
}

/// Content that has crossed in the round that is under way.
fn sent(rig: &Rig) -> Result<u64> {
    Ok(rig.status()?["daemon"]["round"]["bytes"].as_u64().unwrap_or(0))
}

/// sshd and all its sessions are killed, and a new one comes after a minute.
pub fn outage(given: &Given) -> Result<Vec<String>> {
    let (mut rig, mut daemon) = under_way(given)?;
    rig.sshd.stop();
    std::thread::sleep(Duration::from_secs(60).mul_f64(given.args.scale));
    rig.sshd.start_again();
    let back = Instant::now();
    rig.compare()?;
    let equal = back.elapsed();
    daemon.stop()?;
    let rounds = rig.rounds()?;
    let sent = |round: &&Value| round["files_sent"].as_u64() > Some(0);
    let round = rounds.iter().find(sent).ok_or_else(|| format!("no round sent it: {rounds:#?}"))?;
    let count = |field: &str| round[field].as_u64().unwrap_or(u64::MAX);
    let (bytes, size) = (count("bytes_sent"), u64::from(given.args.scaled(BYTES)));
    let failed = rounds.iter().filter(|round| round["result"] != "ok").count();
    if failed > 0 || bytes > size + WINDOW_BYTES {
        return Err(format!("{failed} rounds failed, {bytes} bytes sent of {size}: {round:#}"));
    }
    let recovered = round["recovered"].as_array().map_or(0, Vec::len);
    Ok(vec![format!(
        "the same round ended by itself, {:.1} s after the server was back, {recovered} recovered; {:.1} MiB sent of a \
         file of {:.1} MiB",
        equal.as_secs_f64(),
        mib(bytes),
        mib(size)
    )])
}

/// Its processes stand still, as behind a line that was cut without a word; later they go on.
pub fn half_open(given: &Given) -> Result<Vec<String>> {
    let (rig, mut daemon) = under_way(given)?;
    let servers = servers();
    let all = |signal| signal_all(&servers, signal);
    all(Signal::STOP)?;
    let began = Instant::now();
    wait_until("notice", || Ok(rig.status()?["daemon"]["round"]["connecting"].is_string()))?;
    let noticed = began.elapsed();
    let why = rig.status()?["daemon"]["round"]["connecting"].clone();
    all(Signal::CONT)?;
    rig.compare()?;
    daemon.stop()?;
    if noticed > Duration::from_secs(90) {
        return Err(format!("noticed after {:.0} s only", noticed.as_secs_f64()));
    }
    Ok(vec![format!(
        "noticed after {:.1} s: {why}; afterwards the round ended by itself",
        noticed.as_secs_f64()
    )])
}

/// The daemon is told to stop while the server's processes stand still.
pub fn told_to_stop_half_open(given: &Given) -> Result<Vec<String>> {
    let (rig, mut daemon) = under_way(given)?;
    let servers = servers();
    signal_all(&servers, Signal::STOP)?;
    let took = daemon.stop();
    signal_all(&servers, Signal::CONT)?;
    let took = took?;
    let mut daemon = rig.daemon()?;
    rig.compare()?;
    daemon.stop()?;
    match took <= Duration::from_secs(10) {
        true => {
            Ok(vec![format!("ended after {:.2} s; the next start finished the push", took.as_secs_f64())])
        }
        false => Err(format!("ended after {took:?} only")),
    }
}

/// The processes of sshd that this one started.
fn servers() -> Vec<u32> {
    process::descendants(std::process::id()).into_iter().filter(|&pid| is_of_server(pid)).collect()
}

fn signal_all(servers: &[u32], signal: Signal) -> Result<()> {
    servers.iter().try_for_each(|&n| kill_process(pid(n)?, signal).doing("signal the server"))
}

fn is_of_server(pid: u32) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.starts_with("ssh") || name.starts_with("sftp-server")
}

/// SIGTERM in the middle of a file, and another start.
pub fn told_to_stop(given: &Given) -> Result<Vec<String>> {
    let (rig, mut daemon) = under_way(given)?;
    let took = daemon.stop()?;
    let torn = rig.far().join("large").exists();
    let mut daemon = rig.daemon()?;
    rig.compare()?;
    daemon.stop()?;
    let resumed: u64 = rig.rounds()?.iter().filter_map(|round| round["bytes_resumed"].as_u64()).sum();
    if took > Duration::from_secs(10) || torn || resumed == 0 {
        return Err(format!("ended after {took:?}, torn: {torn}, resumed {resumed} bytes"));
    }
    Ok(vec![format!(
        "ended after {:.2} s; the next start went on at {:.1} MiB",
        took.as_secs_f64(),
        mib(resumed)
    )])
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
