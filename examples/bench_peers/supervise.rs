//! Runs one client in a process between the benchmark and it, which does nothing else: so the CPU time of
//! everything that process has waited for is the client's and its children's alone, orphans included.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::io::{Errno, retry_on_intr};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, kill_process, set_child_subreaper,
    set_parent_process_death_signal, waitid, waitpid,
};
use serde::{Deserialize, Serialize};

use crate::{Doing, Result, process};

/// The first word of a command line that asks for [`run`].
pub const WORD: &str = "supervise";

/// How often memory and the deadline are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What one run of a client took.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    /// From its start to its end.
    pub wall_seconds: f64,
    /// User and system time of it and everything it started.
    pub cpu_seconds: f64,
    /// The most that was resident at once, of it and everything it started together.
    pub peak_kib: u64,
    /// It was stopped at the cap, or because the benchmark was.
    pub stopped: bool,
    /// Its exit code; `None` when a signal ended it.
    pub exit: Option<i32>,
}

impl Measured {
    /// The peak in MiB.
    pub fn peak_mib(&self) -> f64 {
        self.peak_kib as f64 / 1024.0
    }
}

/// Runs `command` under a supervisor, its output going to `log`, and stops it after `cap`, or when `stop`
/// is set. `report` is a file to hand the figures over in.
pub fn measure(
    command: &Command,
    cap: Duration,
    report: &Path,
    log: &Path,
    stop: &AtomicBool,
) -> Result<Measured> {
    let output = fs::File::create(log).doing("make a log")?;
    let this = std::env::current_exe().doing("find this program")?;
    let mut supervisor = Command::new(this);
    supervisor.arg(WORD).arg(cap.as_secs_f64().to_string()).arg(report);
    supervisor.arg(command.get_program()).args(command.get_args());
    supervisor.env_clear().envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    supervisor.stdin(Stdio::null()).stdout(output.try_clone().doing("share a log")?).stderr(output);
    let mut supervisor = supervisor.spawn().doing("run the supervisor")?;
    while supervisor.try_wait().doing("wait for the supervisor")?.is_none() {
        if stop.load(Ordering::Relaxed) {
            // It may just have ended, which is what we want.
            let _ = pid(&supervisor).map(|pid| kill_process(pid, Signal::TERM));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    if !supervisor.wait().doing("wait for the supervisor")?.success() {
        return Err(format!("the supervisor failed: {}", fs::read_to_string(log).unwrap_or_default()));
    }
    let text = fs::read(report).doing("read what the supervisor found")?;
    serde_json::from_slice(&text).doing("read what the supervisor found")
}

/// The supervisor itself: cap in seconds, report file, program, its arguments.
pub fn run(words: &[OsString]) -> Result<()> {
    let [cap, report, program, arguments @ ..] = words else {
        return Err("supervise: too few words".into());
    };
    let cap = cap.to_str().and_then(|text| text.parse().ok()).ok_or("supervise: not a number of seconds")?;
    set_child_subreaper(Some(getpid())).doing("take over orphans")?;
    set_parent_process_death_signal(Some(Signal::TERM)).doing("end with the benchmark")?;
    let measured = supervise(program, arguments, Duration::from_secs_f64(cap))?;
    let text = serde_json::to_vec(&measured).doing("write figures")?;
    fs::write(report, text).doing("write figures")
}

fn supervise(program: &OsStr, arguments: &[OsString], cap: Duration) -> Result<Measured> {
    let watch = Arc::new(Watch::default());
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&watch.stop)).doing("listen for signals")?;
    }
    let start = Instant::now();
    let mut child = Command::new(program).args(arguments).spawn().doing("start the client")?;
    let looker = std::thread::spawn({
        let watch = Arc::clone(&watch);
        move || watch.look(start + cap)
    });
    wait_for_end(&child)?;
    let wall_seconds = start.elapsed().as_secs_f64();
    watch.ended.store(true, Ordering::Relaxed);
    looker.thread().unpark();
    looker.join().map_err(|_| "the looker panicked")?;
    let exit = child.wait().doing("reap the client")?.code();
    reap_the_rest()?;
    Ok(Measured {
        wall_seconds,
        cpu_seconds: process::waited_cpu_seconds().ok_or("no CPU times in /proc/self/stat")?,
        peak_kib: watch.peak_kib.load(Ordering::Relaxed),
        stopped: watch.stopped.load(Ordering::Relaxed),
        exit,
    })
}

/// Leaves the client a zombie, so that its number is not given to another process while we look at it.
fn wait_for_end(child: &Child) -> Result<()> {
    let pid = pid(child)?;
    retry_on_intr(|| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT))
        .doing("wait for the client")?;
    Ok(())
}

fn pid(child: &Child) -> Result<Pid> {
    let number = i32::try_from(child.id()).ok();
    number.and_then(Pid::from_raw).ok_or_else(|| "a strange process number".into())
}

/// Ends what the client has left behind, and counts it in.
fn reap_the_rest() -> Result<()> {
    loop {
        process::kill_descendants(std::process::id());
        match retry_on_intr(|| waitpid(None, WaitOptions::empty())) {
            Ok(_) => {}
            Err(Errno::CHILD) => return Ok(()),
            Err(e) => return Err(format!("reap the client's children: {e}")),
        }
    }
}

/// What the thread that looks and the one that waits share.
#[derive(Default)]
struct Watch {
    /// Set by a signal.
    stop: Arc<AtomicBool>,
    ended: AtomicBool,
    stopped: AtomicBool,
    peak_kib: AtomicU64,
}

impl Watch {
    /// Looks until the client has ended, and kills it at the deadline or when a signal came.
    fn look(&self, deadline: Instant) {
        while !self.ended.load(Ordering::Relaxed) {
            let family = process::descendants(std::process::id());
            let memory: Vec<_> = family.into_iter().map(process::memory).collect();
            let together = memory.iter().map(|m| m.now).sum();
            let alone = memory.iter().map(|m| m.peak).max().unwrap_or(0);
            self.peak_kib.fetch_max(alone.max(together), Ordering::Relaxed);
            if self.stop.load(Ordering::Relaxed) || Instant::now() >= deadline {
                self.stopped.store(true, Ordering::Relaxed);
                process::kill_descendants(std::process::id());
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
    }
}
