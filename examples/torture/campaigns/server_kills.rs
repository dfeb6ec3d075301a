//! The server's processes die in the middle: the session, or only the `sftp-server` in it, or the session
//! alone, so that `sftp-server` works through what it has already read.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid};

use super::{deeds, either_way};
use crate::bench::Bench;
use crate::campaign::{Campaign, Facts, Whole};
use crate::case::Case;
use crate::oracle::Deletes;
use crate::random::Random;
use crate::server::Settings;
use crate::{Doing, Result, process};

/// See the [module](self).
pub const CAMPAIGN: Campaign = Campaign {
    name: "server-kills",
    about: "SIGKILL of sshd's session or of sftp-server while it serves, up to four times in a run",
    settings: Settings { config: "", before_sftp: "" },
    case,
    short: 4,
    whole: Whole::Faults(300),
};

/// How long a run may have no session to be killed.
const PATIENCE: Duration = Duration::from_secs(20);

fn case(bench: &Bench, mut random: Random) -> Result<Facts> {
    // Orphans become children of this process: not every container has an init that reaps them.
    set_child_subreaper(Some(getpid())).doing("take over orphans")?;
    let sizes = bench.sizes(&mut random);
    let way = either_way(&mut random);
    let mut case = Case::prepare(random.split(), bench, &bench.far_end()?, sizes, way)?;
    let turns = if bench.short { 1 } else { 3 };
    case.turns(turns, |case| disturb(case, bench, &mut random))
}

/// One run whose servers are killed, and what follows.
fn disturb(case: &mut Case, bench: &Bench, random: &mut Random) -> Result<Facts> {
    let flags: &[&str] = if random.chance(40) { &["--limit", "10MiB/s"] } else { &[] };
    let (expected, deeds) = (case.expected(), deeds(random));
    let mut running = case.program.start(&mut case.program.command(flags))?;
    let (mut killed, mut orphans) = (0, Vec::new());
    for number in 0..random.between(1, 4) {
        let pause = expected.mul_f64(random.below(1000) as f64 / 1500.0);
        let Some(victims) = choose(bench, &mut running, random, pause) else { break };
        victims.iter().for_each(|&pid| {
            let _ = kill_process(pid, Signal::KILL); // it may have ended by itself
        });
        killed += 1;
        orphans.extend(victims);
        if number == 0 {
            case.work_along(deeds, expected)?;
        }
    }
    let ran = running.end()?;
    match ran.code() {
        Some(0 | 3) => {}
        Some(1) if deeds > 0 => {}
        _ => return Err(format!("it did not go on: {}", ran.describe())),
    }
    case.settle(Deletes::Followed)?;
    reap(&orphans);
    Ok(Facts::struck(killed).count("runs that ended before their login", u64::from(ran.code() == Some(3))))
}

/// Whom to kill, some while after there is somebody; nobody once the run has ended.
fn choose(
    bench: &Bench,
    running: &mut crate::program::Running,
    random: &mut Random,
    pause: Duration,
) -> Option<Vec<Pid>> {
    let deadline = Instant::now() + PATIENCE;
    let early = random.chance(15); // while it logs in
    let is_there = || {
        let family = process::descendants(bench.sshd.id());
        if early { !family.is_empty() } else { family.into_iter().any(is_sftp_server) }
    };
    while !is_there() && !running.has_ended() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(pause);
    if running.has_ended() {
        return None;
    }
    let family: Vec<Pid> = process::descendants(bench.sshd.id())
        .into_iter()
        .filter_map(|pid| Pid::from_raw(pid.cast_signed()))
        .collect();
    match random.below(3) {
        0 => family.last().map(|last| vec![*last]), // the innermost: sftp-server, if it has come so far
        1 => family.first().map(|first| vec![*first]), // the session: what is in it becomes an orphan
        _ => (!family.is_empty()).then_some(family),
    }
}

fn is_sftp_server(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sftp-server")
}

/// Those that fell to this process are gone for good.
fn reap(orphans: &[Pid]) {
    for &pid in orphans {
        let _ = waitpid(Some(pid), WaitOptions::NOHANG); // fails where somebody else is its parent
    }
}
