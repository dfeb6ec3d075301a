//! Runs that are killed at any moment: whatever is visible is one whole version, and the next run puts
//! everything right.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use highwater::clock::{Random, SeededRandom};
use rustix::process::Signal;

use crate::support::rig::Way;
use crate::support::scene::{Scene, does_nothing, noise};
use crate::support::sshd::Options;

const KILLS: u64 = 6;

/// Content by name.
type Version = BTreeMap<String, Vec<u8>>;

/// Small files in folders, and some large ones. Versions differ in size: mtimes are whole seconds.
fn version(seed: u64) -> Version {
    let small = (0..60)
        .map(|i| (format!("d{}/s{i}", i % 4), noise(2_000 + 1_000 * i + seed as usize, seed + i as u64)));
    let large = (0..3).map(|i| {
        (format!("d{i}/large{i}"), noise(2_500_000 * (i + 1) + seed as usize, seed + 100 + i as u64))
    });
    small.chain(large).collect()
}

fn make(rig: &Scene, way: Way, version: &Version) {
    version.iter().for_each(|(name, content)| rig.put(way, name, content));
}

/// All bytes below a folder, ours included, as far as they can be seen while others work there.
fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_below(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0, // renamed or removed since it was listed
    });
    sizes.sum()
}

/// The names of `versions` that stand in `root` with content that is in none of them.
fn torn(root: &Path, versions: &[&Version]) -> Vec<String> {
    let names = versions.iter().flat_map(|version| version.keys());
    let is_torn = |name: &&String| {
        let Ok(content) = fs::read(root.join(name)) else { return false }; // not there, or not yet
        !versions.iter().any(|version| version.get(*name) == Some(&content))
    };
    names.filter(is_torn).cloned().collect()
}

/// Looks at the target all the while `work` is done.
fn watched(root: &Path, versions: &[&Version], work: impl FnOnce()) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut looks = 0;
            while !done.load(Ordering::Relaxed) || looks == 0 {
                let torn = torn(root, versions);
                assert!(torn.is_empty(), "torn: {torn:?}");
                looks += 1;
            }
        });
        work();
        done.store(true, Ordering::Relaxed);
        watcher.join().expect("nothing torn is ever seen");
    });
}

fn check(way: Way, seed: u64) {
    let rig = Scene::sshd(Options::default());
    let (old, new) = (version(100), version(200));
    make(&rig, way, &old);
    rig.carry(way, &[]).ends("ok", 0);
    make(&rig, way, &new);
    let (root, random) = (rig.target(way), SeededRandom::new(seed));
    let total: u64 = new.values().map(|content| content.len() as u64).sum();
    watched(&root, &[&old, &new], || {
        for _ in 0..KILLS {
            let before = bytes_below(&root);
            // More than half of what is left comes often enough while the new version grows beside the old.
            let growth = random.u64() % (total / KILLS);
            let mut running = rig.start(way, &["--limit", "20MiB/s"]);
            while bytes_below(&root) < before + growth && !running.has_ended() {
                thread::yield_now();
            }
            running.signal(Signal::KILL);
            running.end();
        }
    });
    rig.carry(way, &[]).ends("ok", 0);
    assert_eq!(torn(&root, &[&new]), [""; 0], "seed {seed}");
    assert!(rig.staged(way).is_empty(), "seed {seed}");
    does_nothing(rig.carry(way, &[]));
}

#[test]
fn a_push_may_be_killed_at_any_moment() {
    [11, 12].into_iter().for_each(|seed| check(Way::Push, seed));
}

#[test]
fn a_pull_may_be_killed_at_any_moment() {
    [21, 22].into_iter().for_each(|seed| check(Way::Pull, seed));
}
