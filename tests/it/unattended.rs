//! The daemon as nobody sees it: its log, its service manager, its manners, and what it does not let go.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::daemon::Daemon;
use crate::support::rig::{Ran, Rig, Way, files_in, read, wait_until, write};

/// Nothing but the watcher begins rounds.
const WATCH: &str = "watch: {settle: 50ms, rescan: 1h}";

fn rig(more: &str) -> Rig {
    let rig = Rig::openssh();
    rig.configure(Way::Push, more);
    rig
}

/// Adds lines to the top level of the config.
fn add_to_config(rig: &Rig, lines: &str) {
    let config = fs::read_to_string(rig.file("config.yml")).unwrap();
    fs::write(rig.file("config.yml"), format!("{config}{lines}\n")).unwrap();
}

fn status(rig: &Rig, job: usize) -> serde_json::Value {
    let ran = Ran::of(&mut rig.with_config(&["status", "--json"]));
    ran.json["jobs"][job].clone()
}

#[test]
fn the_service_manager_hears_of_begin_life_and_end() {
    let rig = rig("schedule: {every: 1h}");
    let path = rig.file("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut daemon = Daemon::launch_as(&rig, |command| {
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    });
    let hear = |expected: &str| {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let mut buffer = [0; 512];
            let length = socket.recv(&mut buffer).unwrap();
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.lines().any(|line| line == expected) {
                return text;
            }
            assert!(Instant::now() < deadline, "{expected} is never heard");
        }
    };
    assert!(hear("READY=1").contains("STATUS=1 job"));
    (0..3).for_each(|_| drop(hear("WATCHDOG=1")));
    daemon.signal(Signal::TERM);
    hear("STOPPING=1");
    assert_eq!(daemon.wait().0.code(), Some(0));
}

#[test]
fn systemd_takes_the_units() {
    let folder = tempfile::tempdir().unwrap();
    let program = assert_cmd::cargo::cargo_bin!("highwater").display().to_string();
    for (unit, whose) in [("highwater.service", "--system"), ("highwater-user.service", "--user")] {
        let text =
            fs::read_to_string(format!("{}/contrib/service/{unit}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let start = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
        let installed = start.split_whitespace().next().unwrap();
        let path = folder.path().join(unit);
        fs::write(&path, text.replace(installed, &program)).unwrap();
        let mut verify = Command::new("systemd-analyze");
        verify.args([whose, "verify"]).arg(&path).env("XDG_RUNTIME_DIR", folder.path());
        let output = verify.output().unwrap();
        assert!(output.status.success(), "{unit}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_poisoned_file_keeps_nothing_else_back() {
    let rig = Rig::of_ordinary_user();
    rig.configure(Way::Push, WATCH);
    fs::create_dir(rig.far().join("poisoned")).unwrap(); // of another user, who lets nobody write
    write(&rig.near(), &[("poisoned/x", "never"), ("a", "one")]);
    let mut daemon = Daemon::start(&rig);
    wait_until("send a", || read(&rig.far().join("a")).as_deref() == Some("one"));
    wait_until("tell of it", || status(&rig, 0)["state"] == "problems");
    for name in ["b", "c/d"] {
        write(&rig.near(), &[(name, "two")]);
        wait_until("send more", || read(&rig.far().join(name)).as_deref() == Some("two"));
    }
    assert!(!rig.far().join("poisoned/x").exists());
    daemon.stop();
}

#[test]
fn a_slow_removal_over_many_rounds_is_held_like_a_fast_one() {
    let rig = rig(&format!("{WATCH}\ndelete: true\nguards: {{max_delete: {{count: 20, share: 100%}}}}"));
    (0..50).for_each(|i| write(&rig.near(), &[(&format!("d/{i}"), "x")]));
    write(&rig.near(), &[("stays", "x")]); // a root that is empty at once is another matter
    let mut daemon = Daemon::start(&rig);
    wait_until("send all", || files_in(&rig.far()) == 51 && status(&rig, 0)["daemon"]["watch"] == "whole");
    for i in 0..20 {
        fs::remove_file(rig.near().join(format!("d/{i}"))).unwrap();
        wait_until("follow", || !rig.far().join(format!("d/{i}")).exists());
    }
    fs::remove_dir_all(rig.near().join("d")).unwrap();
    let removed = Instant::now();
    wait_until("hold the rest", || status(&rig, 0)["state"] == "held");
    assert!(removed.elapsed() < Duration::from_secs(10), "{:?}", removed.elapsed());
    assert_eq!(files_in(&rig.far()), 31);
    write(&rig.near(), &[("goes-on", "y")]);
    wait_until("go on with the rest", || rig.far().join("goes-on").exists());
    assert_eq!(files_in(&rig.far()), 32);
    daemon.stop();
}

#[test]
fn the_log_goes_to_a_file_that_is_begun_anew_when_it_is_full() {
    let rig = rig("schedule: {every: 1h}\nnotify: [ops]");
    let log = rig.file("logs/highwater.log");
    fs::create_dir(rig.file("logs")).unwrap();
    add_to_config(&rig, &format!("log: {{file: {}, size: 1kB, keep: 2}}", log.display()));
    add_to_config(&rig, "notify: {ops: {webhook: \"env:HOOK\", on: [success, failure]}}");
    let mut daemon = Daemon::launch_as(&rig, |command| {
        command.arg("-vvv").env("HOOK", "http://127.0.0.1:9/s3cr3t-in-the-path");
    });
    daemon.wait_for("started with");
    let all = || {
        let files = fs::read_dir(rig.file("logs")).unwrap().map(|entry| entry.unwrap().path());
        files.filter_map(|path| read(&path)).collect::<String>() // one may get its number at this moment
    };
    let names = || {
        let mut names: Vec<_> =
            fs::read_dir(rig.file("logs")).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    wait_until("fill three files", || names() == ["highwater.log", "highwater.log.1", "highwater.log.2"]);
    assert!(all().lines().all(|line| line.starts_with("20")), "each line has its time: {}", all());
    fs::rename(&log, rig.file("taken-away")).unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_for("reloaded");
    assert!(log.exists());
    daemon.stop();
    assert!(!all().contains("s3cr3t") && !daemon.log().contains("s3cr3t"), "{}", daemon.log());
}

#[test]
fn the_journal_and_programs_are_told_levels_as_they_read_them() {
    let check = |env: &[(&str, &str)], flags: &[&str], begins: &str| {
        let rig = rig("schedule: {every: 1h}");
        fs::remove_file(rig.file("home/.ssh/known_hosts")).unwrap(); // so that something is amiss
        let mut daemon = Daemon::launch_as(&rig, |command| {
            command.envs(env.iter().copied()).args(flags);
        });
        daemon.wait_for("started with");
        daemon.wait_for("host key");
        daemon.stop();
        let log = daemon.log();
        assert!(log.lines().all(|line| line.starts_with(begins)), "{log}");
        log
    };
    let log = check(&[("JOURNAL_STREAM", "8:1")], &[], "<");
    assert!(log.contains("<6>") && log.contains("<3>"), "{log}");
    let log = check(&[], &["--json"], "{\"timestamp\":");
    let levels =
        log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["level"].clone());
    let levels: Vec<_> = levels.collect();
    assert!(levels.contains(&"INFO".into()) && levels.contains(&"ERROR".into()), "{log}");
}

#[test]
fn jobs_of_one_server_share_its_bandwidth() {
    let rig = rig("schedule: {every: 1h}");
    let config = fs::read_to_string(rig.file("config.yml")).unwrap();
    let limited = config.replacen("far: {", "far: {limits: {bandwidth: 1MiB/s}, ", 1);
    let (_, job) = limited.split_once("  j:\n").unwrap();
    let other = job.replace("/near\"", "/other\"").replace("/far\"", "/far2\"");
    fs::write(rig.file("config.yml"), format!("{limited}  k:\n{other}")).unwrap();
    for folder in ["near", "other"] {
        fs::create_dir_all(rig.file(folder)).unwrap();
        fs::write(rig.file(folder).join("large"), vec![7u8; 1 << 20]).unwrap();
    }
    let began = Instant::now();
    let mut daemon = Daemon::start(&rig);
    wait_until("limit both", || (0..2).all(|job| status(&rig, job)["daemon"]["limit"] == 1 << 20));
    let there = |folder: &str| rig.far().parent().unwrap().join(folder).join("large").exists();
    wait_until("send both", || there("far") && there("far2"));
    // A quarter of a second's worth may go at once.
    assert!(began.elapsed() > Duration::from_millis(1_700), "{:?}", began.elapsed());
    daemon.stop();
}

#[test]
fn the_daemon_lets_others_go_first_if_it_is_asked_to() {
    let rig = rig("schedule: {every: 1h}");
    let mut daemon = Daemon::launch_as(&rig, |command| {
        command.arg("--low-priority");
    });
    daemon.wait_for("started with");
    for task in fs::read_dir(format!("/proc/{}/task", daemon.id())).unwrap() {
        let stat = fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
        let nice = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16).unwrap(); // proc(5): field 19
        assert_eq!(nice, "19", "{stat}");
    }
    daemon.stop();
}

/// A daemon that watches, its connection kept after the first round.
fn with_kept_connection() -> (Rig, Daemon) {
    let rig = rig(WATCH);
    write(&rig.near(), &[("a", "one")]);
    let daemon = Daemon::start(&rig);
    wait_until("watch", || status(&rig, 0)["daemon"]["watch"] == "whole");
    wait_until("send a", || rig.far().join("a").exists() && status(&rig, 0)["state"] == "ok");
    (rig, daemon)
}

#[test]
fn a_far_root_replaced_under_a_kept_connection_halts_the_job_before_anything_is_placed() {
    let (rig, mut daemon) = with_kept_connection();
    fs::rename(rig.far(), rig.far().with_extension("old")).unwrap();
    fs::create_dir(rig.far()).unwrap();
    write(&rig.near(), &[("b", "two")]);
    wait_until("halt", || status(&rig, 0)["state"] == "halted");
    assert_eq!((files_in(&rig.far()), files_in(&rig.far().with_extension("old"))), (0, 1));
    daemon.stop();
}

#[test]
fn a_far_root_put_back_under_a_kept_connection_is_looked_at_as_a_whole() {
    let (rig, mut daemon) = with_kept_connection();
    let older = rig.far().with_extension("older");
    let copied = Command::new("cp").arg("-a").args([rig.far(), older.clone()]).status().unwrap();
    assert!(copied.success());
    write(&rig.near(), &[("b", "two")]);
    wait_until("send b", || rig.far().join("b").exists());
    // The generation comes after the file.
    wait_until("end the round", || status(&rig, 0)["daemon"]["doing"] == "idle");
    fs::rename(rig.far(), rig.far().with_extension("old")).unwrap();
    fs::rename(older, rig.far()).unwrap();
    write(&rig.near(), &[("c", "three")]);
    wait_until("send b again, and c", || rig.far().join("b").exists() && rig.far().join("c").exists());
    assert_eq!(files_in(&rig.far().with_extension("old")), 2);
    daemon.stop();
}

#[test]
fn a_staging_folder_that_is_gone_under_a_kept_connection_is_made_again() {
    let (rig, mut daemon) = with_kept_connection();
    for name in ["b", "c"] {
        fs::remove_dir_all(rig.far().join(".highwater/stage")).unwrap();
        write(&rig.near(), &[(name, "two")]);
        wait_until("send it", || rig.far().join(name).exists());
        wait_until("end the round", || status(&rig, 0)["daemon"]["doing"] == "idle");
    }
    let problems = status(&rig, 0)["last_round"]["problems"].clone();
    assert_eq!(problems, 0, "{}", daemon.log());
    daemon.stop();
}
