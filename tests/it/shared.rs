//! Connections of a daemon that jobs of the same server share.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;

use highwater::server::Limits;
use highwater::server::misbehave::Misbehave;

use crate::support::daemon::Daemon;
use crate::support::rig::{Ran, Rig, Way, read, wait_until, write};

/// Begins no round while a test runs.
const NEVER: &str = "schedule: {cron: \"0 0 29 2 *\"}";

/// Jobs after `j`, which are like it but for their names, servers and folders: `near-NAME` and `far-NAME`.
fn add_jobs(rig: &Rig, jobs: &[(&str, &str)]) {
    let config = fs::read_to_string(rig.file("config.yml")).unwrap();
    let (head, job) = config.split_once("  j:\n").unwrap();
    let server = head.lines().find(|line| line.starts_with("  far:")).unwrap();
    let head = head.replacen(server, &format!("{server}\n{}", server.replacen("far:", "other:", 1)), 1);
    let like = |(name, server): &(&str, &str)| {
        fs::create_dir_all(rig.file(&format!("near-{name}"))).unwrap();
        let job =
            job.replace("/near\"", &format!("/near-{name}\"")).replace("\"far:", &format!("\"{server}:"));
        format!("  {name}:\n{}", job.replace("/far\"", &format!("/far-{name}\"")))
    };
    let more: String = jobs.iter().map(like).collect();
    fs::write(rig.file("config.yml"), format!("{head}  j:\n{job}{more}")).unwrap();
}

fn far(rig: &Rig, job: &str) -> std::path::PathBuf {
    rig.far().parent().unwrap().join(if job == "j" { "far".into() } else { format!("far-{job}") })
}

/// Writes a file for a job, and has the daemon carry it.
#[track_caller]
fn carry(rig: &Rig, job: &str, name: &str) {
    let near = rig.file(&if job == "j" { "near".into() } else { format!("near-{job}") });
    write(&near, &[(name, name)]);
    let ran = Ran::of(&mut rig.with_config(&["run", job, "--json"]));
    assert_eq!((ran.code, ran.count("files_sent")), (0, 1), "{job}: {}", ran.json);
    assert_eq!(read(&far(rig, job).join(name)).as_deref(), Some(name));
}

#[test]
fn jobs_of_one_server_share_a_connection_and_those_of_another_do_not() {
    let mut rig = Rig::openssh();
    rig.configure(Way::Push, NEVER);
    add_jobs(&rig, &[("k", "far"), ("l", "other")]);
    let mut daemon = Daemon::start(&rig);
    for (number, job) in ["j", "k", "j", "k", "k"].into_iter().enumerate() {
        carry(&rig, job, &number.to_string());
    }
    assert_eq!(rig.sshd().logins(), 1);
    carry(&rig, "l", "elsewhere");
    assert_eq!(rig.sshd().logins(), 2, "an entry of its own has a connection of its own");
    carry(&rig, "j", "again");
    assert_eq!(rig.sshd().logins(), 2);
    let config = fs::read_to_string(rig.file("config.yml")).unwrap();
    let changed = config.replacen("far: {", "far: {limits: {bandwidth: 100MiB/s}, ", 1);
    fs::write(rig.file("config.yml"), changed).unwrap();
    assert_eq!(Ran::of(&mut rig.with_config(&["reload"])).code, 0);
    carry(&rig, "k", "after a reload");
    assert_eq!(rig.sshd().logins(), 3, "what an entry said before it was changed is gone");
    daemon.stop();
}

#[test]
fn a_connection_that_died_while_nobody_used_it_is_replaced() {
    let mut rig = Rig::openssh();
    rig.configure(Way::Push, NEVER);
    add_jobs(&rig, &[("k", "far")]);
    let mut daemon = Daemon::start(&rig);
    carry(&rig, "j", "before");
    rig.sshd().kill_sessions();
    carry(&rig, "k", "after");
    carry(&rig, "j", "after");
    assert_eq!(rig.sshd().logins(), 2);
    daemon.stop();
}

#[test]
fn a_job_waits_for_the_connection_of_another_where_the_server_takes_no_more() {
    let limits = Limits { connections: 1, ..Limits::default() };
    let rig = Rig::ours_within(limits, Misbehave::default());
    rig.configure(Way::Push, "schedule: {every: 1h}\nlimits: {bandwidth: 2MiB/s}");
    add_jobs(&rig, &[("k", "far")]);
    for near in ["near", "near-k"] {
        fs::write(rig.file(near).join("large"), vec![7u8; 3 << 20]).unwrap();
    }
    let mut daemon = Daemon::start(&rig);
    wait_until("send both", || {
        far(&rig, "j").join("large").exists() && far(&rig, "k").join("large").exists()
    });
    daemon.wait_for("waiting for a connection that another job has");
    for job in ["j", "k"] {
        assert_eq!(Ran::of(&mut rig.with_config(&["wait", "--job", job, "--timeout", "20s"])).code, 0);
    }
    let status = Ran::of(&mut rig.with_config(&["status", "--json"]));
    let jobs = status.json["jobs"].as_array().unwrap();
    assert!(jobs.iter().all(|job| job["state"] == "ok"), "{jobs:#?}");
    daemon.stop();
}
