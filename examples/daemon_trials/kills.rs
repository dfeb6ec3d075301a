//! The daemon is killed at random moments while files change.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::random::Random;
use crate::rig::Rig;
use crate::torn::{Looker, content};
use crate::{Doing, Given, Result};

const KILLS: u32 = 50;

/// The longest that a daemon lives.
const LONGEST_MILLIS: u64 = 2_500;

/// Files that change; a quarter of them are large.
const FILES: u64 = 60;

/// Kills it, starts it again, and so on; at the end lets it finish, and compares.
pub fn run(given: &Given) -> Result<Vec<String>> {
    let rig = Rig::start(given, Duration::ZERO)?;
    let guards = "guards: {max_delete: {count: 0, share: 0%}}\ntrash: 0";
    rig.configure(&format!("watch: {{settle: 50ms, rescan: 1h}}\n{guards}"))?;
    let looker = Looker::start(&rig.far())?;
    let over = AtomicBool::new(false);
    let (killed, written) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| change(&rig.near(), given.args.seed, &over));
        let killed = kill(&rig, given);
        over.store(true, Ordering::Relaxed);
        let written = writer.join().map_err(|_| "the writer panicked".to_owned()).and_then(|result| result);
        (killed, written)
    });
    let (kills, written) = (killed?, written?);
    let mut daemon = rig.daemon()?;
    rig.wait_until_watched()?;
    rig.compare()?;
    daemon.stop()?;
    let looks = looker.end()?;
    let again = rig.ask(&["run", "j"])?;
    let sent = again["jobs"][0]["files_sent"].as_u64();
    if sent != Some(0) {
        return Err(format!("one more round sends something: {again:#}"));
    }
    Ok(vec![format!(
        "killed {kills} times while {written} versions were written; both sides equal, one more round does nothing; \
         {looks} looks at files of the far side, none torn"
    )])
}

fn kill(rig: &Rig, given: &Given) -> Result<u32> {
    let mut random = Random(given.args.seed + 1);
    let kills = given.args.scaled(KILLS);
    for _ in 0..kills {
        let mut daemon = rig.launch()?;
        std::thread::sleep(Duration::from_millis(random.below(LONGEST_MILLIS)));
        daemon.signal(Signal::KILL)?;
        daemon.wait()?;
    }
    Ok(kills)
}

/// Writes, renames and removes until it is over. How many versions of files there were.
fn change(root: &Path, seed: u64, over: &AtomicBool) -> Result<u64> {
    let mut random = Random(seed);
    let mut written = 0;
    while !over.load(Ordering::Relaxed) {
        let number = random.below(FILES);
        let folder = root.join(format!("d{}", number % 7));
        let path = folder.join(format!("{number}.whole"));
        fs::create_dir_all(&folder).doing("make a folder")?;
        match random.below(10) {
            // Whether there is one is chance.
            0 => drop(fs::remove_file(&path)),
            1 => drop(fs::rename(&path, folder.join(format!("{number}-moved.whole")))),
            2 if number == 0 => drop(fs::remove_dir_all(&folder)),
            _ => {
                let most = if number.is_multiple_of(4) { 3 << 20 } else { 30_000 };
                let length = random.below(most) as usize;
                let temporary = root.join("being-written");
                fs::write(&temporary, content(&mut random, length)).doing("write a file")?;
                fs::rename(&temporary, &path).doing("rename a file")?;
                written += 1;
            }
        }
        std::thread::sleep(Duration::from_millis(random.below(40)));
    }
    Ok(written)
}
