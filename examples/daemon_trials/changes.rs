//! What people and their programs do to a folder, and whether all of it is carried.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::random::Random;
use crate::rig::{Rig, write};
use crate::{Doing, Given, Result};

const WATCH: &str = "watch: {settle: 200ms, rescan: 1h}\nguards: {max_delete: {count: 0, share: 0%}}";

/// Files of the folder that is moved.
const MOVED_FILES: u32 = 1_000;

/// A clone, a build, a folder that is moved, atomic saves: after each, both sides are compared.
pub fn usual(given: &Given) -> Result<Vec<String>> {
    let rig = Rig::start(given, Duration::ZERO)?;
    rig.configure(WATCH)?;
    let mut daemon = rig.daemon()?;
    rig.wait_until_watched()?;
    let mut lines = Vec::new();
    let mut step = |name: &str, work: &mut dyn FnMut() -> Result<()>| {
        let began = Instant::now();
        work()?;
        let worked = began.elapsed();
        rig.compare().map_err(|e| format!("{name}: {e}"))?;
        let files = files(&rig.near())?;
        lines.push(format!(
            "{name}: took {:.1} s, equal {:.1} s later ({files} files there)",
            worked.as_secs_f64(),
            (began.elapsed() - worked).as_secs_f64()
        ));
        Ok::<(), String>(())
    };
    let origin = repository(&rig, given)?;
    step("git clone", &mut || {
        run(Command::new("git")
            .args(["clone", "--quiet", "--no-hardlinks"])
            .arg(&origin)
            .arg(rig.near().join("clone")))
    })?;
    step("cargo build", &mut || build(&rig))?;
    step("cargo clean", &mut || fs::remove_dir_all(rig.near().join("crate/target")).doing("remove target"))?;
    let moved = given.args.scaled(MOVED_FILES);
    step("mv of a folder into the root", &mut || {
        let elsewhere = rig.file("elsewhere");
        (0..moved).try_for_each(|n| write(&elsewhere.join(format!("{}/{n}", n % 10)), &n.to_le_bytes()))?;
        fs::rename(&elsewhere, rig.near().join("moved")).doing("move the folder")
    })?;
    step("mv of it within the root", &mut || {
        fs::rename(rig.near().join("moved"), rig.near().join("clone/here")).doing("move the folder")
    })?;
    step("100 atomic saves", &mut || saves(&rig.near(), given.args.seed))?;
    step("100 saves of vim's kind", &mut || saves_by_way_of_a_backup(&rig.near(), given.args.seed))?;
    daemon.stop()?;
    Ok(lines)
}

/// A repository with some history.
fn repository(rig: &Rig, given: &Given) -> Result<std::path::PathBuf> {
    let origin = rig.file("origin");
    let git = |words: &[&str]| {
        let names = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "init.defaultBranch=main"];
        run(Command::new("git").args(names).arg("-C").arg(&origin).args(words))
    };
    fs::create_dir(&origin).doing("make a folder")?;
    git(&["init", "--quiet"])?;
    let mut random = Random(given.args.seed);
    for commit in 0..5 {
        for n in 0..given.args.scaled(200) {
            let length = random.below(4_000) as usize;
            write(&origin.join(format!("src/{}/{n}.txt", n % 20)), &random.bytes(length))?;
        }
        git(&["add", "."])?;
        git(&["commit", "--quiet", "-m", &commit.to_string()])?;
    }
    Ok(origin)
}

fn build(rig: &Rig) -> Result<()> {
    let folder = rig.near().join("crate");
    write(&folder.join("Cargo.toml"), b"[package]\nname = \"a\"\nversion = \"0.1.0\"\nedition = \"2024\"\n")?;
    write(&folder.join("src/main.rs"), b"fn main() {}\n")?;
    for _ in 0..3 {
        let mut command = Command::new("cargo");
        command.args(["build", "--quiet", "--offline"]).current_dir(&folder).env_remove("CARGO_TARGET_DIR");
        run(&mut command)?;
        let file = fs::read_to_string(folder.join("src/main.rs")).doing("read")?;
        write(&folder.join("src/main.rs"), format!("// again\n{file}").as_bytes())?;
    }
    Ok(())
}

/// A new file in a temporary name beside it, renamed over the old one.
fn saves(root: &Path, seed: u64) -> Result<()> {
    let mut random = Random(seed);
    for n in 0..100 {
        let temporary = root.join(format!(".save-{n}"));
        let length = random.below(20_000) as usize;
        write(&temporary, &random.bytes(length))?;
        fs::rename(&temporary, root.join(format!("document-{}", n % 5))).doing("rename")?;
        std::thread::sleep(Duration::from_millis(random.below(60)));
    }
    Ok(())
}

/// The old one renamed to a backup, a new one written, the backup removed.
fn saves_by_way_of_a_backup(root: &Path, seed: u64) -> Result<()> {
    let mut random = Random(seed + 1);
    for n in 0..100 {
        let (file, backup) =
            (root.join(format!("document-{}", n % 5)), root.join(format!("document-{}~", n % 5)));
        fs::rename(&file, &backup).doing("rename")?;
        let length = random.below(20_000) as usize;
        write(&file, &random.bytes(length))?;
        fs::remove_file(&backup).doing("remove")?;
        std::thread::sleep(Duration::from_millis(random.below(60)));
    }
    Ok(())
}

/// Events that the kernel keeps for whoever watches.
const QUEUE: &str = "/proc/sys/fs/inotify/max_queued_events";

/// Puts the limit back when dropped.
struct ShortQueue(Option<String>);

impl ShortQueue {
    /// Only root may do this, and not in every container.
    fn of(events: u32) -> Self {
        let before = fs::read_to_string(QUEUE).ok();
        Self(before.filter(|_| fs::write(QUEUE, events.to_string()).is_ok()))
    }
}

impl Drop for ShortQueue {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // Nobody could be told who could do more about it.
            let _ = fs::write(QUEUE, before);
        }
    }
}

/// More files at once than the queue of events holds.
pub fn burst(given: &Given) -> Result<Vec<String>> {
    let queue = ShortQueue::of(1_024);
    let rig = Rig::start(given, Duration::ZERO)?;
    rig.configure(WATCH)?;
    let mut daemon = rig.daemon()?;
    rig.wait_until_watched()?;
    let count = given.args.scaled(100_000);
    let began = Instant::now();
    for n in 0..count / 100 {
        let folder = rig.near().join(format!("{}/{n}", n % 10));
        (0..100).try_for_each(|m| write(&folder.join(m.to_string()), &m.to_string().into_bytes()))?;
    }
    let wrote = began.elapsed();
    rig.compare()?;
    let log = fs::read_to_string(rig.file("daemon.log")).doing("read the log")?;
    let rounds = log.matches("a round begins").count();
    daemon.stop()?;
    let limit = if queue.0.is_some() { "lowered to 1,024" } else { "left as it is" };
    Ok(vec![format!(
        "{count} files made in {:.1} s, max_queued_events {limit}; equal after {:.1} s and {rounds} rounds",
        wrote.as_secs_f64(),
        began.elapsed().as_secs_f64()
    )])
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().doing(&format!("{command:?}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

fn files(root: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(root).doing("list a folder")? {
        let entry = entry.doing("list a folder")?;
        count += match entry.file_type().doing("look at a file")?.is_dir() {
            true => files(&entry.path())?,
            false => 1,
        };
    }
    Ok(count)
}
