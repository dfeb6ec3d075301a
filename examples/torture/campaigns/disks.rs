//! Disks that are full, refuse large files, or take nothing: the far one, the near one, the one with the
//! journal. A small tmpfs where root runs this, else limits on the size of files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bench::Bench;
use crate::campaign::{Campaign, Facts};
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
    about: "far, near and journal's disk full or read-only; files that may not grow (I/O errors)",
    settings: Settings { config: "", before_sftp: LIMITED },
    case,
    short: 6,
    whole: None,
};

/// `sftp-server` heeds limits that stand beside its script: how large files may be, in blocks of 512 bytes,
/// and whether it is told so by an error or by a signal.
pub const LIMITED: &str = "here=$(dirname \"$0\")\n\
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
}

const TROUBLES: [Trouble; 6] = [
    Trouble::TargetFull,
    Trouble::JournalFull,
    Trouble::FarLimit,
    Trouble::NearLimit,
    Trouble::TargetReadOnly,
    Trouble::FarSignal,
];

fn case(bench: &Bench, mut random: Random) -> Result<Facts> {
    let sizes = Sizes { small: 30, large: 3, large_bytes: 3 << 20 };
    let is_root = rustix::process::geteuid().is_root();
    let trouble = *random.pick(if is_root { &TROUBLES[..] } else { &TROUBLES[2..4] });
    let way = match trouble {
        Trouble::FarLimit | Trouble::FarSignal => Way::Push,
        _ => super::either_way(&mut random),
    };
    let mount = Mount::new(bench)?;
    let case = prepare(&mut random, bench, trouble, way, sizes, &mount)?;
    let watcher = case.watch();
    let mut struck = 0;
    for _ in 0..random.between(1, 3) {
        let before = oracle::read(&case.target(), &case.world)?;
        let ran = troubled(&case, bench, trouble, &mount, &mut random)?;
        judge(&case, trouble, &ran).map_err(|e| format!("{trouble:?}: {e}: {}", ran.describe()))?;
        let stays = before.iter().filter(|(path, _)| case.world.source.contains_key(*path));
        oracle::lost_nothing(
            &case.world,
            &case.target(),
            &stays.map(|(p, n)| (p.clone(), n.clone())).collect(),
        )?;
        struck += u64::from(ran.code() != Some(0));
    }
    case.settle(Deletes::Followed).map_err(|e| format!("after {trouble:?}: {e}"))?;
    watcher.end()?;
    Ok(Facts::struck(struck))
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

/// One round while the disk is in trouble, which is over afterwards.
fn troubled(case: &Case, bench: &Bench, trouble: Trouble, mount: &Mount, random: &mut Random) -> Result<Ran> {
    let due = case.world.bytes_to_carry();
    match trouble {
        Trouble::TargetFull => {
            let room = random.below(due + (64 << 10));
            let filled = mount.leave(room)?;
            let ran = case.round(&[]);
            fs::remove_file(filled).doing("make room again")?;
            ran
        }
        Trouble::JournalFull => {
            let filled = mount.leave(random.below(300 << 10))?;
            let ran = case.round(&[]);
            fs::remove_file(filled).doing("make room again")?;
            ran
        }
        Trouble::TargetReadOnly => {
            mount.remount("ro")?;
            let ran = case.round(&[]);
            mount.remount("rw")?;
            ran
        }
        Trouble::FarLimit | Trouble::FarSignal => {
            let limit = bench.folder().join("limit");
            let signal = bench.folder().join("signal");
            fs::write(&limit, random.between(1, 4_000).to_string()).doing("limit the server")?;
            if trouble == Trouble::FarSignal {
                fs::write(&signal, "").doing("limit the server")?;
            }
            let ran = patiently(case, trouble);
            fs::remove_file(&limit).doing("end the limit")?;
            if trouble == Trouble::FarSignal {
                fs::remove_file(&signal).doing("end the limit")?;
            }
            ran
        }
        Trouble::NearLimit => {
            let command = case.program.command(&[]);
            let mut limited = Command::new("/bin/sh");
            let blocks = random.between(1, 4_000);
            limited.args(["-c", "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\""]).arg(blocks.to_string());
            limited.arg(command.get_program()).args(command.get_args());
            limited.env_clear().envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
            case.program.start(&mut limited)?.end()
        }
    }
}

/// A server that dies of every large file is tried again for minutes: nobody waits for that.
fn patiently(case: &Case, trouble: Trouble) -> Result<Ran> {
    if trouble == Trouble::FarLimit {
        return case.round(&[]);
    }
    let mut running = case.program.start(&mut case.program.command(&[]))?;
    for _ in 0..150 {
        if running.has_ended() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    running.kill();
    running.end()
}

/// Whether it ended as it may.
fn judge(case: &Case, trouble: Trouble, ran: &Ran) -> Result<()> {
    let may = match trouble {
        Trouble::TargetFull | Trouble::FarLimit => &[0, 1, 3, 4, 5][..],
        Trouble::TargetReadOnly => &[0, 1, 3, 4, 5],
        Trouble::JournalFull | Trouble::NearLimit => &[0, 1, 3, 5],
        Trouble::FarSignal => &[0, 1, 3],
    };
    match ran.code() {
        Some(code) if !may.contains(&code) => Err(format!("exit code {code} is none of {may:?}")),
        None if trouble != Trouble::FarSignal => Err("it died".into()),
        Some(0) => case.check(Deletes::Followed),
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
