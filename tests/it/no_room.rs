//! A WRITE that fails while its followers succeed: what stands at the target stays, nothing torn is ever
//! placed, and when there is room the next run completes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use highwater::server::misbehave::{Deed, Fault, Op, Rule};

use crate::support::rig::{Ran, Way};
use crate::support::scene::{Scene, noise, write_old};
use crate::support::sshd::Options;

const LARGE: usize = 6 << 20;
const SMALL: usize = 100 << 10;

/// Old versions at the target, and new ones too large for it. `keep` has not changed.
fn prepare(rig: &Scene) {
    for name in ["large", "small", "keep"] {
        rig.put(Way::Push, name, format!("the old {name}").as_bytes());
    }
    rig.carry(Way::Push, &[]).ends("ok", 0);
    rig.put(Way::Push, "large", &noise(LARGE, 5));
    rig.put(Way::Push, "small", &noise(SMALL, 6));
}

/// Whether the old versions are untouched and the message is one paragraph that names the file.
#[track_caller]
fn is_refused(rig: &Scene, round: &Ran, kind: &str, names: &[&str]) {
    let expected: Vec<(String, String)> = names.iter().map(|&name| (kind.into(), name.into())).collect();
    assert_eq!(round.list("problems"), expected, "{:#}", round.job());
    for name in names.iter().chain(&["keep"]) {
        let placed = rig.placed(Way::Push, name).expect("it is there");
        assert_eq!(String::from_utf8_lossy(&placed), format!("the old {name}"));
    }
    for problem in round.job()["problems"].as_array().expect("a list") {
        let message = problem["message"].as_str().expect("text");
        assert!(!message.is_empty() && !message.contains('\n'), "{message:?}");
    }
    assert!(rig.staged(Way::Push).is_empty(), "what was staged is removed");
}

#[track_caller]
fn completes(rig: &Scene) {
    rig.carry(Way::Push, &[]).ends("ok", 0);
    rig.is_done(Way::Push, "small", &noise(SMALL, 6));
    rig.is_done(Way::Push, "large", &noise(LARGE, 5));
}

/// `ulimit -f` counts blocks of 512 bytes. The limit lies in the middle of a block of 32 KiB, so that a
/// part of the WRITE that crosses it reaches the disk.
#[test]
fn files_over_the_limit_of_an_sftp_server_are_not_placed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let limit = folder.path().join("limit");
    let setup = format!("trap '' XFSZ\nif [ -e '{0}' ]; then ulimit -f $(cat '{0}'); fi", limit.display());
    let rig = Scene::sshd(Options::external("", &setup));
    prepare(&rig);
    for flags in [&["--verify", "full"][..], &["--verify", "ack"], &["--durable", "no"]] {
        fs::write(&limit, "2001").expect("it can be written");
        let round = rig.carry(Way::Push, flags).ends("problems", 1);
        is_refused_large_only(&rig, &round);
        rig.put(Way::Push, "small", &noise(SMALL, 7));
        fs::write(&limit, "101").expect("it can be written");
        let round = rig.carry(Way::Push, flags).ends("problems", 1);
        let problems = round.list("problems");
        assert_eq!(
            problems,
            [("failed".into(), "large".into()), ("failed".into(), "small".into())] as [(String, String); 2]
        );
        assert!(rig.placed(Way::Push, "small") == Some(noise(SMALL, 6)), "the version before stays");
        rig.put(Way::Push, "small", &noise(SMALL, 6));
    }
    fs::remove_file(&limit).expect("it is there");
    completes(&rig);
}

/// The small file fits.
fn is_refused_large_only(rig: &Scene, round: &Ran) {
    is_refused(rig, round, "failed", &["large"]);
    assert!(rig.placed(Way::Push, "small") == Some(noise(SMALL, 6)));
}

/// Our own server runs full in the middle of a file.
#[test]
fn a_far_side_that_runs_full_keeps_what_it_has() {
    for room in [0, 50 << 10, 3 << 20] {
        let rig = Scene::own();
        prepare(&rig);
        let staging = "/far/.highwater/stage";
        rig.script().add(Rule::on(Op::Write, Fault::NoSpaceAfter(room)).below(staging));
        let round = rig.carry(Way::Push, &[]);
        assert_eq!(round.code, 1, "{:#}", round.job());
        assert!(rig.script().deeds(Deed::NoSpace) > 0);
        let names = if room < SMALL as u64 { &["large", "small"][..] } else { &["large"] };
        if room < SMALL as u64 {
            is_refused(&rig, &round, "no-space", names);
        } else {
            assert!(round.list("problems").iter().all(|(kind, _)| kind == "no-space"), "{:#}", round.job());
            assert_eq!(rig.placed(Way::Push, "large").as_deref(), Some(&b"the old large"[..]));
        }
        rig.script().clear();
        completes(&rig);
    }
}

/// One WRITE in the middle fails, and all that follow succeed.
#[test]
fn one_failed_write_among_many_places_nothing() {
    for nth in [1, 2, 20] {
        let rig = Scene::own();
        prepare(&rig);
        let staging = "/far/.highwater/stage";
        let rule = Rule::on(Op::Write, Fault::failure()).below(staging).from_nth(nth).once();
        // The later ones are counted for each file: one of ours is written beside them, whenever that is.
        rig.script().add(if nth > 1 { rule.each_file() } else { rule });
        let round = rig.carry(Way::Push, &["--verify", "ack"]).ends("problems", 1);
        let problems = round.list("problems");
        let [(kind, name)] = &problems[..] else { panic!("{problems:?}") };
        assert_eq!(kind, "failed");
        assert_eq!(rig.placed(Way::Push, name), Some(format!("the old {name}").into_bytes()));
        rig.script().clear();
        completes(&rig);
    }
}

/// A small file system of its own; unmounted when dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Mounts it. Only a root that may mount can: everybody else's full disk is our own server's.
    fn mount(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).expect("the folder can be made");
        let options = format!("size={size},mode=0755");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(at).output();
        mounted.expect("mount can be run").status.success().then(|| Self(at.into()))
    }

    fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        let grown = Command::new("mount").args(["-o", &options]).arg(&self.0).status();
        assert!(grown.expect("mount can be run").success());
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

/// OpenSSH on a file system that is full: in the middle of a small file, of a large one that was not asked
/// for room, and of one that was. Where nobody may mount, our own server's full disk stands for it.
#[test]
fn a_full_file_system_keeps_what_it_has() {
    let rig = Scene::sshd(Options::default());
    let Some(tmpfs) = Tmpfs::mount(&rig.far(), "8m") else {
        return a_far_side_that_runs_full_keeps_what_it_has();
    };
    prepare(&rig);
    let ballast = rig.far().join(".highwater/ballast");
    let fill = |free: usize| {
        let of = rustix::fs::statvfs(rig.far()).expect("it is mounted");
        let there = fs::metadata(&ballast).map_or(0, |m| m.size());
        let size = (there + of.f_bavail * of.f_frsize) as usize - free;
        fs::write(&ballast, vec![7; size]).expect("there is room for it");
    };
    for free in [0, 48 << 10] {
        fill(free);
        let round = rig.carry(Way::Push, &[]);
        assert_eq!(round.code, 1, "{:#}", round.job());
        assert!(round.list("problems").iter().all(|(kind, _)| kind == "no-space"), "{:#}", round.job());
        for name in ["large", "small", "keep"] {
            let placed = rig.placed(Way::Push, name).expect("it is there");
            assert_eq!(String::from_utf8_lossy(&placed), format!("the old {name}"));
        }
    }
    fill(2 << 20);
    let round = rig.carry(Way::Push, &[]).ends("problems", 1);
    is_refused(&rig, &round, "no-space", &["large"]);
    write_old(&rig.near().join("huge"), &noise(17 << 20, 8));
    let round = rig.carry(Way::Push, &[]).ends("problems", 1);
    let huge = ("no-space".to_owned(), "huge".to_owned());
    assert!(round.list("problems").contains(&huge), "{:#}", round.job());
    assert_eq!(rig.placed(Way::Push, "huge"), None);
    tmpfs.grow("64m");
    completes(&rig);
    rig.is_done(Way::Push, "huge", &noise(17 << 20, 8));
}
