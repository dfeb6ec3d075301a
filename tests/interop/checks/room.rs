//! Full disks, and what may not be written or read.

use std::fs;
use std::os::unix::fs::lchown;
use std::path::PathBuf;
use std::process::Command;

use super::Check;
use crate::bench::{Bench, LONG_AGO, write};
use crate::support::tree_of::{TreeOf, noise, set_mode};

/// The checks.
pub const LIST: [Check; 6] = [
    Check::own("a full disk is told, small files arrive, and later all", full_disk),
    Check::own("a full disk leaves the old version where it is", full_disk_keeps),
    Check::own("a folder that may not be written is told, the rest arrives", no_right_to_write),
    Check::own("a file that may not be read is told, the rest arrives", no_right_to_read),
    Check::own("a folder that may not be entered is told, the rest arrives", no_right_to_enter),
    Check::own("free space is told", free_space),
];

/// A file system in memory of this many MiB, where the far root will be. Gone when dropped.
struct Small(PathBuf);

impl Small {
    fn mount(bench: &Bench<'_>, mib: u32) -> Self {
        let small = Self(bench.far_parent());
        small.run("mount", &["-t", "tmpfs", "-o", &format!("size={mib}m,mode=0755"), "tmpfs"]);
        bench.give(&small.0);
        small
    }

    fn grow(&self, mib: u32) {
        self.run("mount", &["-o", &format!("remount,size={mib}m")]);
    }

    fn run(&self, program: &str, args: &[&str]) {
        let output = Command::new(program).args(args).arg(&self.0).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program}, which needs root with the right to mount: {said}");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status(); // it is empty by now or goes with the folder
    }
}

fn full_disk(bench: &Bench<'_>) {
    let small = Small::mount(bench, 4);
    for n in 0..5 {
        bench.write_near(&format!("small {n}"), noise(10_000, n));
    }
    bench.write_near("large", noise(8 << 20, 9));
    let round = bench.push(&[]).ends("problems", 1);
    let problems = round.problems();
    assert!(problems.len() == 1 && problems[0].1 == "large", "{problems:?}");
    for n in 0..5 {
        assert_eq!(bench.read_far(&format!("small {n}")), noise(10_000, n));
    }
    assert!(!bench.far().join("large").exists(), "a torn file has its name");
    small.grow(64);
    bench.push(&[]).ok();
    bench.is_same();
}

fn full_disk_keeps(bench: &Bench<'_>) {
    let _small = Small::mount(bench, 4);
    bench.write_near("large", "the old one");
    bench.push(&[]).ok();
    write(&bench.near().join("large"), &noise(8 << 20, 9), LONG_AGO + 5);
    bench.push(&[]).ends("problems", 1);
    assert_eq!(bench.read_far("large"), b"the old one");
    bench.nothing_is_staged();
}

fn no_right_to_write(bench: &Bench<'_>) {
    bench.put_near(&TreeOf::new().file("a", "a").dir("locked").file("locked/in", "in").file("z", "z"));
    bench.put_far(&TreeOf::new().dir("locked"));
    let locked = bench.far().join("locked");
    lchown(&locked, Some(0), Some(0)).unwrap();
    set_mode(&locked, 0o555);
    let round = bench.push(&[]).ends("problems", 1);
    assert!(
        round.problems().iter().any(|(kind, path)| kind == "permission-denied" && path.starts_with("locked")),
        "{:#}",
        round.job
    );
    assert_eq!((bench.read_far("a"), bench.read_far("z")), (b"a".to_vec(), b"z".to_vec()));
    assert!(!locked.join("in").exists());
    bench.give(&bench.far());
    set_mode(&locked, 0o755);
    bench.push(&[]).ok();
    assert_eq!(bench.read_far("locked/in"), b"in");
}

/// Somebody else's, for nobody but them.
fn lock(bench: &Bench<'_>, name: &str) {
    let path = bench.far().join(name);
    lchown(&path, Some(0), Some(0)).unwrap();
    set_mode(&path, 0o000);
}

fn no_right_to_read(bench: &Bench<'_>) {
    bench.put_far(&TreeOf::new().file("a", "a").file("secret", "s").file("z", "z"));
    lock(bench, "secret");
    let round = bench.pull(&["--delete"]).ends("problems", 1);
    assert_eq!(round.problems(), [("permission-denied".to_owned(), "secret".to_owned())], "{:#}", round.job);
    assert_eq!((bench.read_near("a"), bench.read_near("z")), (b"a".to_vec(), b"z".to_vec()));
}

fn no_right_to_enter(bench: &Bench<'_>) {
    bench.put_far(&TreeOf::new().file("a", "a").dir("secret").file("secret/in", "in").file("z", "z"));
    lock(bench, "secret");
    let round = bench.pull(&["--delete"]).ends("problems", 1);
    assert_eq!(round.problems(), [("permission-denied".to_owned(), "secret".to_owned())], "{:#}", round.job);
    assert_eq!((bench.read_near("a"), bench.read_near("z")), (b"a".to_vec(), b"z".to_vec()));
    bench.give(&bench.far());
    set_mode(&bench.far().join("secret"), 0o755);
    bench.pull(&["--delete"]).ok();
    assert_eq!(fs::read(bench.near().join("secret/in")).unwrap(), b"in");
}

fn free_space(bench: &Bench<'_>) {
    let _small = Small::mount(bench, 4);
    bench.with_tree(async |tree| {
        use highwater::tree::Tree;
        tree.make_root().await.unwrap();
        let free = tree.free_bytes().await.unwrap().expect("the server tells of free space");
        assert!(free > 0 && free <= 4 << 20, "{free}");
    });
}
