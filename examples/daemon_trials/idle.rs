//! Ten jobs on three servers with nothing to do: what the daemon takes all the same.

use std::fs;
use std::time::Duration;

use crate::rig::{Rig, wait_until, write};
use crate::{Doing, Given, Result, process};

const JOBS: usize = 10;
const FILES_PER_JOB: u32 = 1_000;
const MINUTES: u32 = 10;

/// USER_HZ, what /proc counts in: 100 wherever Linux runs today (include/asm-generic/param.h).
const TICKS_PER_SECOND: f64 = 100.0;

/// Waits until all is carried and connections have gone, then counts for ten minutes.
pub fn run(given: &Given) -> Result<Vec<String>> {
    let rigs = [0, 1, 2].map(|_| Rig::start(given, Duration::ZERO));
    let [first, second, third] = rigs;
    let rigs = [first?, second?, third?];
    let rig = &rigs[0];
    configure(&rigs, given)?;
    let mut daemon = rig.daemon()?;
    wait_for_all(rig)?;
    let busy = process::memory(daemon.id());
    wait_until("let the connections go", || Ok(sockets(daemon.id())? == 0))?;
    let before = cpu_seconds(daemon.id())?;
    let time = Duration::from_secs(60) * given.args.scaled(MINUTES);
    std::thread::sleep(time);
    let cpu = cpu_seconds(daemon.id())? - before;
    let memory = process::memory(daemon.id());
    daemon.stop()?;
    let mut daemon = rig.daemon()?;
    wait_for_all(rig)?;
    let again = process::memory(daemon.id());
    daemon.stop()?;
    for job in 0..JOBS {
        crate::compare::compare(&near(&rigs, job), &far(&rigs, job))?;
    }
    Ok(vec![
        format!(
            "idle for {:.0} s: CPU {cpu:.2} s, which is {:.3} %; memory {:.1} MiB",
            time.as_secs_f64(),
            cpu / time.as_secs_f64() * 100.0,
            memory.now as f64 / 1024.0
        ),
        format!(
            "after the first rounds of {JOBS} jobs, {FILES_PER_JOB} files each: memory {:.1} MiB, at most {:.1} MiB",
            busy.now as f64 / 1024.0,
            busy.peak as f64 / 1024.0
        ),
        format!("started again, with nothing to carry: memory {:.1} MiB", again.now as f64 / 1024.0),
    ])
}

fn wait_for_all(rig: &Rig) -> Result<()> {
    (0..JOBS).try_for_each(|job| rig.ask(&["wait", "--job", &format!("j{job}"), "--timeout", "5m"]).map(drop))
}

fn near(rigs: &[Rig; 3], job: usize) -> std::path::PathBuf {
    rigs[0].near().join(format!("j{job}"))
}

fn far(rigs: &[Rig; 3], job: usize) -> std::path::PathBuf {
    rigs[job % 3].far().join(format!("j{job}"))
}

/// The jobs in turn on the servers, each watched and with a schedule; all in the first rig's config.
fn configure(rigs: &[Rig; 3], given: &Given) -> Result<()> {
    let servers: String = (0..3).map(|n| rigs[n].server(&format!("s{n}"))).collect();
    let job = |n: usize| {
        format!(
            "  j{n}: {{mode: push, local: {}, remote: \"s{}:{}\", watch: {{settle: 2s}}, schedule: {{every: 15m}}}}\n",
            near(rigs, n).display(),
            n % 3,
            far(rigs, n).display()
        )
    };
    let jobs: String = (0..JOBS).map(job).collect();
    let text = format!("version: 1\nservers:\n{servers}jobs:\n{jobs}");
    fs::write(rigs[0].file("config.yml"), text).doing("write the config")?;
    let known = |rig: &Rig| fs::read_to_string(rig.file("home/.ssh/known_hosts")).doing("read known_hosts");
    let all = rigs.iter().map(known).collect::<Result<String>>()?;
    fs::write(rigs[0].file("home/.ssh/known_hosts"), all).doing("write known_hosts")?;
    for n in 0..JOBS {
        let folder = near(rigs, n);
        (0..given.args.scaled(FILES_PER_JOB))
            .try_for_each(|m| write(&folder.join(format!("{}/{m}", m % 20)), &[7; 2_000]))?;
    }
    Ok(())
}

/// User and system time so far: fields 14 and 15 of proc(5)'s stat, which count from the end of the name.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).doing("look at the daemon")?;
    let fields = stat.rsplit_once(')').ok_or("a stat without a name")?.1.split_whitespace().skip(11);
    let ticks: Vec<f64> = fields.take(2).filter_map(|field| field.parse().ok()).collect();
    Ok(ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
}

/// How many connections over TCP it has open.
fn sockets(pid: u32) -> Result<usize> {
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).doing("look at connections")?;
    let open: Vec<&str> = table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(9)).collect();
    let mut count = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).doing("look at the daemon")?.flatten() {
        // One that was closed meanwhile is none.
        let Ok(link) = fs::read_link(entry.path()) else { continue };
        let link = link.to_string_lossy().into_owned();
        let inode = link.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')).map(str::to_owned);
        count += usize::from(inode.is_some_and(|inode| open.contains(&inode.as_str())));
    }
    Ok(count)
}
