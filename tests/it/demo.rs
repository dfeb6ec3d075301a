//! The demonstration as people start it.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The command on a machine with nothing on it: no home folder, no programs to be found, no settings.
fn demo(temporary: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("highwater"));
    command.env_clear().env("TMPDIR", temporary).env("HOME", "/nowhere").current_dir("/");
    command.arg("demo").args(args);
    command
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn it_proves_everything_on_an_empty_machine_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let output = demo(temporary.path(), &["--json"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["holds"], true);
    assert!(document["sample"]["bytes"].as_u64().unwrap() > 300 << 20);
    assert!(document["seconds"].as_f64().unwrap() < 120.0);
    let steps = document["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 5);
    for step in steps {
        assert_eq!(step["round"]["result"], "ok", "{step}");
        assert!(step["checks"].as_array().unwrap().iter().all(|check| check["holds"] == true), "{step}");
    }
    assert!(steps[0]["bytes_gone_on_after"].as_u64().unwrap() > 50 << 20);
    assert!(is_empty(temporary.path()));
}

#[test]
fn a_signal_ends_it_and_nothing_is_left() {
    let temporary = tempfile::tempdir().unwrap();
    let mut process = demo(temporary.path(), &[]).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(process.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("push 1") {
        line.clear();
        assert!(stdout.read_line(&mut line).unwrap() > 0, "it ended before the first push");
        assert!(line.trim_end().chars().count() <= 80, "{line}");
    }
    kill_process(Pid::from_child(&process), Signal::INT).unwrap();
    stdout.read_to_string(&mut line).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(130), "{line}");
    assert!(is_empty(temporary.path()));
}

#[test]
fn a_folder_with_something_in_it_is_not_worked_in() {
    let temporary = tempfile::tempdir().unwrap();
    fs::write(temporary.path().join("mine"), "mine").unwrap();
    let output = demo(temporary.path(), &["--keep", temporary.path().to_str().unwrap()]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), &b""[..]), "{stderr}");
    assert!(stderr.contains("it is not empty"), "{stderr}");
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1);
}
