//! The daemon against a real OpenSSH server: schedules, stops, crashes, changes of its config.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::daemon::Daemon;
use crate::support::rig::{Ran, Rig, Way, read, wait_until, write};

/// A rig with the job `j`, which is pushed as these lines say.
fn rig(more: &str) -> Rig {
    let rig = Rig::openssh();
    rig.configure(Way::Push, more);
    rig
}

#[test]
fn rounds_begin_by_the_schedule_until_the_daemon_is_told_to_stop() {
    let rig = rig("schedule: {every: 1s}");
    write(&rig.near(), &[("a", "one")]);
    let mut daemon = Daemon::start(&rig);
    wait_until("send a", || read(&rig.far().join("a")).as_deref() == Some("one"));
    write(&rig.near(), &[("a", "two!"), ("d/b", "three")]);
    wait_until("send a and b", || {
        let read = |path: &str| read(&rig.far().join(path));
        read("a").as_deref() == Some("two!") && read("d/b").as_deref() == Some("three")
    });
    daemon.stop();
    let ended = Ran::of(&mut rig.program(["status", "--json"])).json;
    assert!(ended["jobs"][0]["last_success"].is_string(), "{ended}");
    assert!(ended["jobs"][0]["next_due"].is_string(), "{ended}");
}

#[test]
fn a_second_daemon_is_refused_and_told_who_is_the_first() {
    let rig = rig("schedule: {every: 1h}");
    let mut first = Daemon::start(&rig);
    let mut second = Daemon::launch(&rig);
    let (status, _) = second.wait();
    assert_eq!(status.code(), Some(2));
    assert!(second.log().contains("(highwater daemon, since "), "{}", second.log());
    first.stop();
}

#[test]
fn what_was_cut_off_by_a_stop_goes_on_at_the_next_start() {
    let rig = rig("schedule: {every: 1h}\nlimits: {bandwidth: 2MiB/s}");
    fs::write(rig.near().join("large"), vec![7u8; 12 << 20]).unwrap();
    let mut daemon = Daemon::start(&rig);
    let staged = rig.far().join(".highwater/stage");
    let size = || {
        let agents = fs::read_dir(&staged).into_iter().flatten().flatten();
        let files = agents.flat_map(|agent| fs::read_dir(agent.path()).into_iter().flatten().flatten());
        files.map(|file| file.metadata().map_or(0, |m| m.len())).max().unwrap_or(0)
    };
    wait_until("send a part", || size() > 3 << 20);
    daemon.stop();
    assert_eq!(read(&rig.far().join("large")), None);
    rig.configure(Way::Push, "schedule: {every: 1h}");
    let mut daemon = Daemon::start(&rig);
    wait_until("send the rest", || rig.far().join("large").exists());
    daemon.wait_for("nightly: sent 1 file".replace("nightly", "j").as_str());
    daemon.stop();
    let log = Ran::of(&mut rig.program(["log", "j", "--json"])).json;
    let resumed = log["jobs"][0]["rounds"][0]["bytes_resumed"].as_u64().unwrap();
    assert!(resumed >= 2 << 20, "{log:#}");
    assert_eq!(fs::read(rig.far().join("large")).unwrap(), vec![7u8; 12 << 20]);
}

#[test]
fn a_daemon_that_was_killed_goes_on_at_the_next_start() {
    let rig = rig("schedule: {every: 1h}");
    (0..300).for_each(|i| write(&rig.near(), &[(&format!("{i}"), "x")]));
    let mut daemon = Daemon::start(&rig);
    daemon.wait_for("a round begins");
    daemon.signal(Signal::KILL);
    daemon.wait();
    write(&rig.near(), &[("later", "y")]);
    let mut daemon = Daemon::start(&rig);
    wait_until("send all", || {
        rig.far().join("later").exists() && crate::support::rig::files_in(&rig.far()) == 301
    });
    daemon.stop();
}

#[test]
fn a_changed_config_is_taken_and_a_broken_one_is_not() {
    let rig = rig("schedule: {every: 1h}");
    let mut daemon = Daemon::start(&rig);
    fs::write(rig.file("config.yml"), "version: 1\njobs: {j: {mode: push, locale: /x}}\n").unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_for("the old one stays in force");
    assert!(daemon.log().contains("locale"), "{}", daemon.log());
    write(&rig.near(), &[("a", "one")]);
    rig.configure(Way::Push, "schedule: {every: 1s}");
    daemon.signal(Signal::HUP);
    daemon.wait_for("0 stayed, 1 ended, 1 began");
    wait_until("send a", || rig.far().join("a").exists());
    daemon.signal(Signal::HUP);
    daemon.wait_for("1 stayed, 0 ended, 0 began");
    daemon.signal(Signal::USR1);
    daemon.wait_for("next due");
    daemon.stop();
}

#[test]
fn rounds_that_follow_each_other_share_a_connection() {
    let mut rig = rig("schedule: {every: 1s}");
    let mut daemon = Daemon::start(&rig);
    for i in 0..3 {
        write(&rig.near(), &[(&format!("{i}"), "x")]);
        wait_until("send a file", || rig.far().join(i.to_string()).exists());
    }
    daemon.stop();
    assert_eq!(rig.sshd().logins(), 1);
}

#[test]
fn a_second_signal_ends_the_daemon_at_once() {
    let rig = rig("schedule: {every: 1h}\nlimits: {bandwidth: 100kB/s}");
    fs::write(rig.near().join("large"), vec![7u8; 12 << 20]).unwrap();
    let mut daemon = Daemon::start(&rig);
    daemon.wait_for("a round begins");
    daemon.signal(Signal::TERM);
    daemon.signal(Signal::INT);
    let (status, took) = daemon.wait();
    assert!(matches!(status.code(), Some(0 | 130)), "{status:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// One round an hour, so that whatever else begins one is what the test asked for.
const SELDOM: &str = "schedule: {every: 1h}";

/// What a command prints with `--json`, and its exit code.
fn ask(rig: &Rig, args: &[&str]) -> (i32, serde_json::Value) {
    let ran = Ran::of(rig.with_config(args).arg("--json"));
    (ran.code, ran.json)
}

fn status(rig: &Rig) -> serde_json::Value {
    let (code, json) = ask(rig, &["status"]);
    assert_eq!(code, 0);
    json["jobs"][0].clone()
}

#[test]
fn a_round_of_the_daemon_is_told_like_one_of_a_command() {
    let rig = rig(SELDOM);
    let mut daemon = Daemon::start(&rig);
    assert_eq!(ask(&rig, &["wait", "--job", "j", "--timeout", "20s"]).0, 0);
    write(&rig.near(), &[("a", "one"), ("b", "two")]);
    rig.run().ends("ok", 0).counts(&[("files_sent", 2)]);
    rig.run().ends("ok", 0).counts(&[("files_sent", 0)]);
    write(&rig.near(), &[("c", "three")]);
    assert_eq!(ask(&rig, &["now", "j"]).0, 0);
    assert_eq!(ask(&rig, &["wait", "--job", "j", "--timeout", "20s"]).0, 0);
    assert_eq!(read(&rig.far().join("c")).as_deref(), Some("three"));
    let (code, json) = ask(&rig, &["now", "k"]);
    assert_eq!((code, json.is_null()), (2, true));
    daemon.stop();
    let (code, json) = ask(&rig, &["now", "j"]);
    assert_eq!(code, 3, "{json}");
    assert!(json["error"]["message"].as_str().unwrap().contains("none runs with this state folder"));
}

/// A terminal that remembers all that was shown on it.
fn terminal() -> (Stdio, Arc<Mutex<String>>) {
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    let name = ptsname(&person, Vec::new()).unwrap();
    let program = File::options().read(true).write(true).open(OsStr::from_bytes(name.as_bytes())).unwrap();
    let (mut person, shown) = (File::from(person), Arc::new(Mutex::new(String::new())));
    let writes = shown.clone();
    std::thread::spawn(move || {
        let mut some = [0; 4096];
        // Ends with an error once no program has the terminal any more.
        while let Ok(count) = person.read(&mut some) {
            writes.lock().unwrap().push_str(&String::from_utf8_lossy(&some[..count]));
        }
    });
    (program.into(), shown)
}

#[test]
fn status_is_shown_in_place_until_somebody_has_seen_enough() {
    let rig = rig("schedule: {every: 1h}");
    let mut daemon = Daemon::start(&rig);
    let (screen, shown) = terminal();
    let mut watching = rig.with_config(&["status", "--watch"]).stdout(screen).spawn().unwrap();
    let last = || {
        let shown = shown.lock().unwrap();
        shown.rsplit_once("\x1b[2K").map_or(shown.clone(), |(_, last)| last.to_owned())
    };
    wait_until("show the job", || last().contains("j:"));
    assert!(!last().contains("paused"), "{}", last());
    assert_eq!(Ran::of(&mut rig.with_config(&["pause", "j", "--json"])).code, 0);
    wait_until("show that it is paused", || last().contains("paused"));
    assert!(shown.lock().unwrap().contains("\x1b[2K"), "nothing was taken back");
    kill_process(Pid::from_child(&watching), Signal::INT).unwrap();
    let mut status = None;
    wait_until("end the watching", || {
        status = watching.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(0));
    daemon.stop();
}

#[test]
fn a_paused_job_stays_paused_over_a_restart_until_it_is_resumed() {
    let rig = rig("schedule: {every: 1s}\nlimits: {bandwidth: 1MiB/s}");
    fs::write(rig.near().join("large"), vec![7u8; 8 << 20]).unwrap();
    let mut daemon = Daemon::start(&rig);
    wait_until("begin", || status(&rig)["daemon"]["round"]["bytes"].as_u64() > Some(0));
    assert_eq!(ask(&rig, &["pause", "j"]).0, 0);
    daemon.wait_for("j: stopped (paused)");
    assert_eq!(
        (status(&rig)["state"].as_str(), status(&rig)["paused"].as_bool()),
        (Some("paused"), Some(true))
    );
    assert_eq!(ask(&rig, &["run", "j"]).0, 2);
    daemon.stop();
    let mut daemon = Daemon::start(&rig);
    wait_until("remember the pause", || status(&rig)["daemon"]["doing"] == "paused");
    assert_eq!(ask(&rig, &["limit", "j", "unlimited"]).0, 0);
    let (code, json) = ask(&rig, &["resume", "j"]);
    assert_eq!((code, json["was_paused"].as_bool()), (0, Some(true)));
    wait_until("send it", || rig.far().join("large").exists());
    daemon.stop();
}

#[test]
fn a_halted_job_stays_halted_until_a_person_says_go_on() {
    let rig = rig(SELDOM);
    write(&rig.near(), &[("a", "one"), ("b", "two")]);
    let mut daemon = Daemon::start(&rig);
    assert_eq!(ask(&rig, &["run", "j"]).0, 0);
    fs::rename(rig.near(), rig.file("elsewhere")).unwrap();
    rig.run().ends("halted", 4);
    assert_eq!((status(&rig)["state"].as_str(), ask(&rig, &["now", "j"]).0), (Some("halted"), 4));
    fs::rename(rig.file("elsewhere"), rig.near()).unwrap();
    daemon.stop();
    let mut daemon = Daemon::start(&rig);
    wait_until("remember the halt", || status(&rig)["daemon"]["doing"] == "halted");
    write(&rig.near(), &[("c", "three")]);
    assert_eq!(ask(&rig, &["resume", "j"]).0, 0);
    wait_until("go on", || rig.far().join("c").exists());
    assert_eq!(ask(&rig, &["wait", "--job", "j", "--timeout", "20s"]).0, 0);
    assert_eq!(status(&rig)["state"], "ok");
    daemon.stop();
}

#[test]
fn deletes_that_are_held_go_when_a_person_accepts_them() {
    let rig = rig(&format!("{SELDOM}\ndelete: true\nguards: {{max_delete: {{count: 20, share: 100%}}}}"));
    (0..40).for_each(|i| write(&rig.near(), &[(&format!("{i}"), "x")]));
    write(&rig.near(), &[("stays", "x")]);
    let mut daemon = Daemon::start(&rig);
    rig.run().ends("ok", 0);
    (0..40).for_each(|i| fs::remove_file(rig.near().join(i.to_string())).unwrap());
    rig.run().ends("held", 4);
    assert_eq!(status(&rig)["state"], "held");
    rig.resume(&["--accept-deletes"]);
    wait_until("delete them", || crate::support::rig::files_in(&rig.far()) == 1);
    daemon.stop();
}

#[test]
fn a_limit_holds_at_once_and_is_taken_back_at_once() {
    let rig = rig(&format!("{SELDOM}\nlimits: {{bandwidth: 1kB/s}}"));
    fs::write(rig.near().join("large"), vec![7u8; 4 << 20]).unwrap();
    let mut daemon = Daemon::start(&rig);
    wait_until("begin", || status(&rig)["daemon"]["doing"] == "running");
    assert_eq!(status(&rig)["daemon"]["limit"], 1000);
    let (code, _) = ask(&rig, &["wait", "--job", "j", "--timeout", "100ms"]);
    assert_eq!(code, 1);
    assert_eq!(ask(&rig, &["limit", "j", "100MiB/s"]).0, 0);
    assert_eq!(ask(&rig, &["wait", "--job", "j", "--timeout", "20s"]).0, 0);
    assert!(rig.far().join("large").exists());
    daemon.stop();
}

#[test]
fn a_server_that_was_down_is_found_again_and_nothing_is_forgotten() {
    let mut rig = rig(SELDOM);
    let mut daemon = Daemon::start(&rig);
    rig.run().ends("ok", 0);
    rig.sshd().stop();
    write(&rig.near(), &[("a", "one")]);
    let failed = ask(&rig, &["now", "j"]);
    assert_eq!(failed.0, 0);
    wait_until("fail", || status(&rig)["daemon"]["doing"] == "waiting-retry");
    assert_eq!(status(&rig)["daemon"]["failures"], 1);
    rig.sshd().start_again();
    rig.run().ends("ok", 0).counts(&[("files_sent", 1)]);
    assert_eq!(status(&rig)["daemon"]["failures"], 0);
    daemon.stop();
}

#[test]
fn a_reload_that_is_refused_says_why() {
    let rig = rig(SELDOM);
    let mut daemon = Daemon::start(&rig);
    assert_eq!(ask(&rig, &["reload"]).0, 0);
    fs::write(rig.file("config.yml"), "version: 1\njobs: [").unwrap();
    let ran = Ran::of(&mut rig.with_config(&["reload"]));
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("The old one stays in force"), "{ran:?}");
    assert!(rig.file("state/control.sock").exists());
    daemon.stop();
}

/// A rig with hooks and a target that write what they hear into files of the rig.
fn telling(more: &str) -> Rig {
    let rig = rig("");
    let script = "#!/bin/sh\nprintf '%s %s %s\\n' \"$1\" \"$HIGHWATER_EVENT\" \"$HIGHWATER_RESULT\" >> \"$0.heard\"\n\
                  test ! -e \"$0.$1.fails\"\n";
    let path = rig.file("hear");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let hear = path.display();
    let hooks = format!(
        "before: [[{hear}, before]], after_success: [[{hear}, after]], after_failure: [[{hear}, sorry]]"
    );
    rig.configure(Way::Push, &format!("hooks: {{{hooks}}}\nnotify: [ops]\n{more}"));
    let config = fs::read_to_string(rig.file("config.yml")).unwrap();
    let target = format!("notify: {{ops: {{command: [{hear}, told], on: [failure, recovered, late]}}}}\n");
    fs::write(rig.file("config.yml"), config + &target).unwrap();
    rig
}

fn heard(rig: &Rig) -> Vec<String> {
    let text = read(&rig.file("hear.heard")).unwrap_or_default();
    text.lines().map(|line| line.trim_end().to_owned()).collect()
}

fn wait_to_hear(rig: &Rig, line: &str) {
    wait_until(line, || heard(rig).iter().any(|heard| heard == line));
}

#[test]
fn hooks_run_around_a_round_and_one_that_fails_before_it_is_a_failure() {
    let rig = telling(SELDOM);
    write(&rig.near(), &[("a", "one")]);
    let mut daemon = Daemon::start(&rig);
    wait_to_hear(&rig, "after success ok");
    assert_eq!(heard(&rig)[..2], ["before start", "after success ok"]);
    fs::write(rig.file("hear.before.fails"), "").unwrap();
    write(&rig.near(), &[("b", "two")]);
    rig.run().ends("failed", 1).says(&["run the hook before the round"]);
    wait_to_hear(&rig, "sorry failure failed");
    wait_to_hear(&rig, "told failure failed");
    assert!(!rig.far().join("b").exists());
    rig.run().ends("failed", 1);
    fs::remove_file(rig.file("hear.before.fails")).unwrap();
    daemon.stop();
    let mut daemon = Daemon::start(&rig);
    rig.run().ends("ok", 0);
    wait_to_hear(&rig, "told recovered ok");
    assert_eq!(
        heard(&rig).iter().filter(|line| *line == "told failure failed").count(),
        1,
        "{:?}",
        heard(&rig)
    );
    daemon.stop();
}

#[test]
fn a_run_without_a_daemon_runs_hooks_and_tells_as_one_with_it() {
    let rig = telling(SELDOM);
    write(&rig.near(), &[("a", "one")]);
    rig.run().ends("ok", 0);
    assert_eq!(heard(&rig), ["before start", "after success ok"]);
    fs::write(rig.file("hear.before.fails"), "").unwrap();
    for _ in 0..2 {
        rig.run().ends("failed", 1).says(&["run the hook before the round"]);
    }
    let failed = [
        "before start",
        "sorry failure failed",
        "told failure failed",
        "before start",
        "sorry failure failed",
    ];
    assert_eq!(heard(&rig)[2..], failed);
    assert_eq!(status(&rig)["last_round"]["result"], "failed");
    fs::remove_file(rig.file("hear.before.fails")).unwrap();
    rig.run().ends("ok", 0);
    assert_eq!(heard(&rig)[7..], ["before start", "after success ok", "told recovered ok"]);
}

#[test]
fn a_job_that_never_has_a_round_is_late() {
    let rig = telling("schedule: {cron: \"0 0 29 2 *\"}\nalarm: {no_success_for: 1s}");
    let mut daemon = Daemon::start(&rig);
    wait_to_hear(&rig, "told late");
    assert_eq!(heard(&rig), ["told late"]);
    daemon.stop();
}

/// Nothing but the watcher begins rounds.
const WATCH: &str = "watch: {settle: 50ms, rescan: 1h}";

#[test]
fn what_changes_is_carried_without_a_schedule_and_over_one_connection() {
    let mut rig = rig(&format!("{WATCH}\ndelete: true"));
    let mut daemon = Daemon::start(&rig);
    wait_until("stand", || status(&rig)["daemon"]["watch"] == "whole");
    for i in 0..10 {
        write(&rig.near(), &[(&format!("d{i}/e/f"), "x")]);
        wait_until("send a file", || rig.far().join(format!("d{i}/e/f")).exists());
    }
    fs::rename(rig.near().join("d0"), rig.near().join("moved")).unwrap();
    fs::remove_file(rig.near().join("d1/e/f")).unwrap();
    wait_until("follow", || {
        let there = |path: &str| rig.far().join(path).exists();
        there("moved/e/f") && !there("d0") && !there("d1/e/f")
    });
    assert_eq!(rig.sshd().logins(), 1);
    daemon.stop();
}

#[test]
fn a_folder_that_comes_as_a_whole_is_carried_as_a_whole() {
    let rig = rig(WATCH);
    let mut daemon = Daemon::start(&rig);
    wait_until("stand", || status(&rig)["daemon"]["watch"] == "whole");
    (0..500).for_each(|i| write(&rig.file("elsewhere"), &[(&format!("{}/{i}", i % 7), "x")]));
    fs::rename(rig.file("elsewhere"), rig.near().join("here")).unwrap();
    wait_until("send all", || crate::support::rig::files_in(&rig.far()) == 500);
    daemon.stop();
}

#[test]
fn what_changes_while_the_server_is_down_is_kept_over_a_restart() {
    let mut rig = rig(WATCH);
    let mut daemon = Daemon::start(&rig);
    assert_eq!(ask(&rig, &["wait", "--job", "j", "--timeout", "20s"]).0, 0);
    rig.sshd().stop();
    write(&rig.near(), &[("a", "one")]);
    wait_until("fail", || status(&rig)["daemon"]["doing"] == "waiting-retry");
    write(&rig.near(), &[("b", "two")]);
    wait_until("keep both", || status(&rig)["backlog"] == 2);
    daemon.stop();
    rig.sshd().start_again();
    let mut daemon = Daemon::start(&rig);
    wait_until("send both", || crate::support::rig::files_in(&rig.far()) == 2);
    assert_eq!(ask(&rig, &["wait", "--job", "j", "--timeout", "20s"]).0, 0);
    assert_eq!(status(&rig)["backlog"], 0);
    daemon.stop();
}

#[test]
fn a_root_that_goes_away_under_the_watcher_halts_the_job() {
    let rig = rig(WATCH);
    write(&rig.near(), &[("a", "one")]);
    let mut daemon = Daemon::start(&rig);
    wait_until("send a", || rig.far().join("a").exists());
    wait_until("stand", || status(&rig)["daemon"]["watch"] == "whole");
    fs::rename(rig.near(), rig.file("elsewhere")).unwrap();
    wait_until("halt", || status(&rig)["state"] == "halted");
    assert!(rig.far().join("a").exists());
    daemon.stop();
}
