//! Disks that are full, refuse large files, take nothing, or fail at the n-th write or sync: the far one, the
//! near one, the one with the journal. A small tmpfs where root runs this, limits on the size of files, and
//! strace(1), which answers system calls in the kernel's stead.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::deeds;
use crate::bench::Bench;
use crate::campaign::{Campaign, Facts, Whole};
use crate::case::{Case, FarEnd};
use crate::oracle::{self, Deletes};
use crate::program::{Ran, Way};
use crate::random::Random;
use crate::server::Settings;
use crate::world::Sizes;
use crate::{Doing, Result};

/// See the [module](self).
pub const CAMPAIGN: Campaign = Campaign {
    name: "disks",
    about: "far, near and journal's disk full or read-only; files that may not grow; errors at the n-th write or sync",
    settings: Settings { config: "", before_sftp: LIMITED },
    case,
    short: 8,
    whole: Whole::Faults(300),
};

/// `sftp-server` heeds what stands beside its script: how large files may be, in blocks of 512 bytes, whether
/// it is told so by an error or by a signal, and what it is to be run by.
pub const LIMITED: &str = "here=$(dirname \"$0\")\n\
                       if [ -e \"$here/around\" ]; then around=$(cat \"$here/around\"); fi\n\
                       if [ -e \"$here/limit\" ]; then\n\
                       [ -e \"$here/signal\" ] || trap '' XFSZ\n\
                       ulimit -f \"$(cat \"$here/limit\")\"\nfi";

/// Which disk, and what is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    TargetFull,
    TargetReadOnly,
    JournalFull,
    FarLimit,
    FarSignal,
    NearLimit,
    FarErrors,
    NearErrors,
    JournalErrors,
}

/// The first three need root.
const TROUBLES: [Trouble; 9] = [
    Trouble::TargetFull,
    Trouble::JournalFull,
    Trouble::TargetReadOnly,
    Trouble::FarErrors,
    Trouble::NearErrors,
    Trouble::JournalErrors,
    Trouble::FarLimit,
    Trouble::NearLimit,
    Trouble::FarSignal,
];

impl Trouble {
    fn name(self) -> &'static str {
        match self {
            Self::TargetFull => "target full",
            Self::TargetReadOnly => "target read-only",
            Self::JournalFull => "journal's disk full",
            Self::FarLimit => "far files limited",
            Self::FarSignal => "server killed by a limit",
            Self::NearLimit => "near files limited",
            Self::FarErrors => "far calls failed",
            Self::NearErrors => "near calls failed",
            Self::JournalErrors => "journal's calls failed",
        }
    }
}

fn case(bench: &Bench, mut random: Random) -> Result<Facts> {
    let sizes = Sizes { small: 30, large: 3, large_bytes: 3 << 20 };
    let is_root = rustix::process::geteuid().is_root();
    let trouble = *random.pick(if is_root { &TROUBLES[..] } else { &TROUBLES[3..] });
    let way = match trouble {
        Trouble::FarLimit | Trouble::FarSignal | Trouble::FarErrors => Way::Push,
        Trouble::NearErrors => Way::Pull,
        _ => super::either_way(&mut random),
    };
    let mount = Mount::new(bench)?;
    let mut case = prepare(&mut random, bench, trouble, way, sizes, &mount)?;
    let turns = if bench.short { 1 } else { 2 };
    case.turns(turns, |case| {
        let mut struck = 0;
        for _ in 0..random.between(1, 3) {
            struck += u64::from(suffer(case, bench, trouble, &mount, &mut random)?);
        }
        case.settle(Deletes::Followed).map_err(|e| format!("after {trouble:?}: {e}"))?;
        Ok(Facts::struck(struck).count(trouble.name(), struck))
    })
}

/// One round while the disk is in trouble; whether it was noticed.
fn suffer(
    case: &mut Case,
    bench: &Bench,
    trouble: Trouble,
    mount: &Mount,
    random: &mut Random,
) -> Result<bool> {
    let before = oracle::read(&case.target(), &case.world)?;
    let deeds = deeds(random);
    let (ran, injected) = troubled(case, bench, trouble, mount, random, deeds)?;
    judge(case, trouble, &ran, deeds).map_err(|e| format!("{trouble:?}: {e}: {}", ran.describe()))?;
    let stays = before.into_iter().filter(|(path, _)| case.world.source.contains_key(path));
    oracle::lost_nothing(&case.world, &case.target(), &stays.collect())?;
    Ok(injected > 0 || ran.code() != Some(0))
}

fn prepare(
    random: &mut Random,
    bench: &Bench,
    trouble: Trouble,
    way: Way,
    sizes: Sizes,
    mount: &Mount,
) -> Result<Case> {
    let on_mount = matches!(trouble, Trouble::TargetFull | Trouble::TargetReadOnly);
    let end =
        FarEnd { folder: (on_mount && way == Way::Push).then(|| mount.folder.clone()), ..bench.far_end()? };
    let mut case = Case::first(random.split(), bench, &end, sizes, way)?;
    if on_mount {
        mount.make("256m")?;
        let target = case.target();
        if way == Way::Pull {
            case.program.near = mount.folder.join("near");
        } else {
            debug_assert!(target.starts_with(&mount.folder));
        }
        fs::create_dir_all(case.target()).doing("make a root")?;
    }
    if trouble == Trouble::JournalFull {
        mount.make("256m")?;
        let state = case.program.state();
        std::os::unix::fs::symlink(&mount.folder, &state).doing("put the state elsewhere")?;
    }
    if random.chance(70) {
        case.round_and_edits()?;
    }
    Ok(case)
}

/// One round while the disk is in trouble, which is over afterwards; and how many calls failed, where that is
/// known.
fn troubled(
    case: &mut Case,
    bench: &Bench,
    trouble: Trouble,
    mount: &Mount,
    random: &mut Random,
    deeds: u64,
) -> Result<(Ran, usize)> {
    let due = case.world.bytes_to_carry();
    let told = |ran| (ran, 0);
    match trouble {
        Trouble::TargetFull | Trouble::JournalFull => {
            let most = if trouble == Trouble::JournalFull { 300 << 10 } else { due + (64 << 10) };
            let filled = mount.leave(random.below(most))?;
            let ran = case.round(&[]); // nobody else can write there
            fs::remove_file(filled).doing("make room again")?;
            ran.map(told)
        }
        Trouble::TargetReadOnly => {
            mount.remount("ro")?;
            let ran = case.round(&[]);
            mount.remount("rw")?;
            ran.map(told)
        }
        Trouble::FarLimit | Trouble::FarSignal => {
            let signal = (trouble == Trouble::FarSignal).then(|| bench.folder().join("signal"));
            let files = [Some(bench.folder().join("limit")), signal];
            for file in files.iter().flatten() {
                fs::write(file, random.between(1, 4_000).to_string()).doing("limit the server")?;
            }
            let ran = patiently(case, trouble, deeds);
            for file in files.iter().flatten() {
                fs::remove_file(file).doing("end the limit")?;
            }
            ran.map(told)
        }
        Trouble::NearLimit => {
            let blocks = random.between(1, 4_000).to_string();
            let words = ["/bin/sh", "-c", "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\"", &blocks];
            run_by(case, &words, deeds).map(told)
        }
        Trouble::FarErrors => {
            let injector = Injector::new(case, random, &[]);
            let around = bench.folder().join("around");
            fs::write(&around, injector.words.join(" ")).doing("have the server's calls fail")?;
            let ran = case.round_amid(deeds, &[]);
            fs::remove_file(&around).doing("let the server work again")?;
            Ok((ran?, injector.injected()?))
        }
        Trouble::NearErrors | Trouble::JournalErrors => {
            let only = if trouble == Trouble::JournalErrors { journal_files(case) } else { Vec::new() };
            let injector = Injector::new(case, random, &only);
            let words: Vec<&str> = injector.words.iter().map(String::as_str).collect();
            Ok((run_by(case, &words, deeds)?, injector.injected()?))
        }
    }
}

/// The journal with its log; none while there is no journal.
fn journal_files(case: &Case) -> Vec<String> {
    let Ok(journal) = case.program.journal() else { return Vec::new() };
    ["", "-wal"].iter().map(|ending| format!("{}{ending}", journal.display())).collect()
}

/// Runs something with chosen calls answered by errors (strace(1), "Tampering").
struct Injector {
    words: Vec<String>,
    log: PathBuf,
}

impl Injector {
    /// Draws which calls, which of them and with which error. `only`: on these files.
    fn new(case: &Case, random: &mut Random, only: &[String]) -> Self {
        let log = case.folder.path().join("injected");
        // OpenSSH and the program write files by these; sockets and pipes by others.
        let calls =
            *random.pick(&["fsync,fdatasync", "pwrite64", "write,pwrite64", "fsync,fdatasync,pwrite64"]);
        let calls = if only.is_empty() && calls.starts_with("write") { "fsync" } else { calls };
        let error = *random.pick(&["EIO", "EIO", "ENOSPC", "EDQUOT"]);
        // Counted by thread. One of them, or all from there on.
        let nth = match random.below(3) {
            0 => random.between(1, 3),
            1 => random.between(1, 12),
            _ => random.between(1, 40),
        };
        let more = if random.chance(30) { "+" } else { "" };
        let mut words = vec!["strace".to_owned(), "-f".into(), "--seccomp-bpf".into(), "-qq".into()];
        words.extend(["-o".into(), log.display().to_string(), "-e".into(), format!("trace={calls}")]);
        words.extend(["-e".into(), format!("inject={calls}:error={error}:when={nth}{more}")]);
        words.extend(only.iter().flat_map(|path| ["-P".to_owned(), path.clone()]));
        Self { words, log }
    }

    /// How many calls failed so.
    fn injected(&self) -> Result<usize> {
        let log = fs::read_to_string(&self.log).doing("read what strace did (is it installed?)")?;
        Ok(log.lines().filter(|line| line.contains("(INJECTED)")).count())
    }
}

/// One round of the program run by another one.
fn run_by(case: &mut Case, words: &[&str], deeds: u64) -> Result<Ran> {
    let within = case.expected();
    let command = case.program.command(&[]);
    let mut around = Command::new(words[0]);
    around.args(&words[1..]).arg(command.get_program()).args(command.get_args());
    around.env_clear().envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let running = case.program.start(&mut around)?;
    case.work_along(deeds, within)?;
    running.end()
}

/// A server that dies of every large file is tried again for minutes: nobody waits for that.
fn patiently(case: &mut Case, trouble: Trouble, deeds: u64) -> Result<Ran> {
    if trouble == Trouble::FarLimit {
        return case.round_amid(deeds, &[]);
    }
    let patience = case.expected() * 6;
    let mut running = case.program.start(&mut case.program.command(&[]))?;
    case.work_along(deeds, patience / 6)?;
    let until = Instant::now() + patience;
    while !running.has_ended() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    running.kill();
    running.end()
}

/// Whether it ended as it may.
fn judge(case: &Case, trouble: Trouble, ran: &Ran, deeds: u64) -> Result<()> {
    let may = match trouble {
        Trouble::TargetFull | Trouble::FarLimit | Trouble::FarErrors => &[0, 1, 3, 4, 5][..],
        Trouble::TargetReadOnly | Trouble::NearErrors => &[0, 1, 3, 4, 5],
        Trouble::JournalFull | Trouble::NearLimit | Trouble::JournalErrors => &[0, 1, 3, 5],
        Trouble::FarSignal => &[0, 1, 3],
    };
    match ran.code() {
        Some(code) if !may.contains(&code) => Err(format!("exit code {code} is none of {may:?}")),
        None if trouble != Trouble::FarSignal => Err("it died".into()),
        Some(0) if deeds == 0 => case.check(Deletes::Followed),
        _ => Ok(()),
    }
}

/// A small file system in memory; gone when dropped.
struct Mount {
    folder: PathBuf,
}

impl Mount {
    fn new(bench: &Bench) -> Result<Self> {
        let folder = bench.folder().join("mount");
        fs::create_dir_all(&folder).doing("make a folder")?;
        Ok(Self { folder })
    }

    fn make(&self, size: &str) -> Result<()> {
        mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "torture"], Some(&self.folder))
    }

    fn remount(&self, how: &str) -> Result<()> {
        mount(&["-o", &format!("remount,{how}")], Some(&self.folder))
    }

    /// Fills it until so many bytes are free; returns the file that fills it.
    fn leave(&self, bytes: u64) -> Result<PathBuf> {
        let file = self.folder.join(".highwater-filler");
        let space = rustix::fs::statvfs(&self.folder).doing("ask for the free space")?;
        let free = space.f_bavail * space.f_frsize;
        let filler = fs::File::create(&file).doing("fill the disk")?;
        rustix::fs::fallocate(
            &filler,
            rustix::fs::FallocateFlags::empty(),
            0,
            free.saturating_sub(bytes).max(1),
        )
        .doing("fill the disk")?;
        Ok(file)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Nothing is mounted there in half of the cases.
        let _ = Command::new("umount").args(["-l", "-q"]).arg(&self.folder).output();
    }
}

fn mount(words: &[&str], folder: Option<&Path>) -> Result<()> {
    let output = Command::new("mount").args(words).args(folder).output().doing("mount")?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("mount {words:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
