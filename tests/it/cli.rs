//! The program from outside: what it prints, and its exit codes.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::support::sshd::{Options, Sshd};
use highwater::clock::{Clock, SystemClock};
use highwater::error::Problem;
use highwater::journal::Journal;
use highwater::outcome::{Counts, Ending, Mode, Outcome};
use highwater::path::RelPath;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

fn highwater(state: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("highwater"));
    command.arg("--state").arg(state).args(args).env("HOME", state).env_remove("XDG_CONFIG_HOME");
    command
}

/// Runs to the end: exit code, standard output, standard error.
fn run(state: &Path, args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = highwater(state, args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn document(state: &Path, args: &[&str]) -> Value {
    let (code, stdout, _) = run(state, args);
    assert_eq!(code, 0, "{args:?}");
    serde_json::from_str(&stdout).unwrap()
}

/// A state folder in which the job `nightly` had one round that ended with deletes held.
fn state_with_a_round() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = RelPath::parse(&b"a\xff"[..]).unwrap();
    let outcome = Outcome {
        job: "nightly".into(),
        mode: Mode::Push,
        ending: Ending::Held,
        counts: Counts { files_sent: 2, held: 30, ..Counts::default() },
        problems: vec![Problem::new(path, "read", "permission-denied", "permission denied")],
        recovered: Vec::new(),
        elapsed: Duration::from_secs(1),
        message: None,
        exit_code: 4,
    };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let journal = Journal::open(&folder.path().join("journal.db")).unwrap().journal;
        let job = journal.job("nightly").await.unwrap();
        let round = journal.begin_round(job, SystemClock.now()).await.unwrap();
        journal.end_round(round, SystemClock.now(), &outcome).await.unwrap();
        journal.update_job_state(job, |state| state.halted = Some("root lost".into())).await.unwrap();
        journal.close().await.unwrap();
    });
    folder
}

#[test]
fn a_command_line_that_is_wrong_exits_with_2_and_prints_no_document() {
    let state = tempfile::tempdir().unwrap();
    let check = |args: &[&str], expected: &str| {
        let (code, stdout, stderr) = run(state.path(), args);
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}");
        assert!(stderr.contains(expected), "{args:?}: {stderr}");
    };
    check(&[], "Usage: highwater");
    check(&["--json", "nonsense"], "nonsense");
    check(&["status", "--nonsense"], "--nonsense");
    check(&["--json", "log", "nobody"], "highwater: cannot find the job \"nobody\": it never had a round");
    check(&["resume", "nobody"], "highwater status shows");
}

#[test]
fn help_and_version_are_no_mistakes() {
    let state = tempfile::tempdir().unwrap();
    let check = |args: &[&str], expected: &str| {
        let (code, stdout, stderr) = run(state.path(), args);
        assert_eq!((code, stderr.as_str()), (0, ""), "{args:?}");
        assert!(stdout.contains(expected), "{args:?}: {stdout}");
    };
    check(&["--version"], env!("CARGO_PKG_VERSION"));
    check(&["-V"], "highwater ");
    check(&["--help"], "Exit codes");
    check(&["log", "--help"], "Example");
}

#[test]
fn a_state_folder_without_journals_is_no_mistake_and_is_not_made() {
    let parent = tempfile::tempdir().unwrap();
    let state = parent.path().join("none");
    let nothing = "there is no job in the config, and none has had a round\n";
    assert_eq!(run(&state, &["status"]), (0, nothing.into(), String::new()));
    assert_eq!(document(&state, &["status", "--json"]), json!({"version": 1, "jobs": []}));
    assert!(!state.exists());
}

#[test]
fn a_reader_that_went_away_is_no_mistake() {
    let state = tempfile::tempdir().unwrap();
    for args in [&["status"][..], &["status", "--json"], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = highwater(state.path(), args).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{args:?}");
    }
}

#[test]
fn what_the_journal_knows_is_shown() {
    let state = state_with_a_round();
    let (code, stdout, _) = run(state.path(), &["status"]);
    assert_eq!(code, 0);
    assert!(stdout.starts_with("nightly: halted, last success never\n  root lost\n"), "{stdout}");
    assert_eq!(document(state.path(), &["status", "--json"])["jobs"][0]["last_round"]["problems"], 1);
    let (code, stdout, _) = run(state.path(), &["log", "nightly"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("\n    a\\xff: read: permission denied\n"), "{stdout}");
    let log = document(state.path(), &["log", "--json"]);
    assert_eq!(log["jobs"][0]["rounds"][0]["problems"][0]["path_base64"], "Yf8=");
}

#[test]
fn a_person_lets_a_job_go_on() {
    let state = state_with_a_round();
    let resumed = document(state.path(), &["resume", "nightly", "--accept-deletes", "--json"]);
    let expected = json!({"version": 1, "job": "nightly", "was_halted": "root lost",
        "was_paused": false, "accept_deletes": true});
    assert_eq!(resumed, expected);
    let status = document(state.path(), &["status", "--json"]);
    let job = &status["jobs"][0];
    assert_eq!((&job["state"], &job["accept_deletes"]), (&json!("held"), &json!(true)));
}

#[test]
fn the_config_is_checked_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yml");
    let path = file.to_str().unwrap();
    let job = "{mode: push, local: /srv, remote: \"offsite:x\"}";
    let server = "{host: backup.example.org, user: web1}";
    std::fs::write(&file, format!("version: 1\nservers: {{offsite: {server}}}\njobs: {{nightly: {job}}}\n"))
        .unwrap();
    let checked = document(folder.path(), &["config", "check", "--json", "--config", path]);
    assert_eq!((&checked["jobs"], &checked["servers"]), (&json!(1), &json!(1)));
    let (code, stdout, _) = run(folder.path(), &["--config", path, "config", "show"]);
    assert_eq!(code, 0);
    assert!(stdout.contains("backup.example.org") && stdout.contains("config.yml:2"), "{stdout}");
    let status = document(folder.path(), &["status", "--json", "--config", path]);
    assert_eq!((&status["jobs"][0]["job"], &status["jobs"][0]["state"]), (&json!("nightly"), &json!("new")));
    assert!(document(folder.path(), &["config", "schema"])["properties"]["jobs"].is_object());

    std::fs::write(&file, "version: 1\njobs: {nightly: {mode: posh}}\nserver: 1\n").unwrap();
    let (code, stdout, stderr) = run(folder.path(), &["--json", "--config", path, "config", "check"]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    let lines: Vec<&str> = stderr.lines().collect();
    assert!(lines.len() > 2 && lines[..lines.len() - 1].iter().all(|l| l.starts_with(path)), "{stderr}");
    assert_eq!(lines[lines.len() - 1], format!("highwater: {} mistakes in the config", lines.len() - 1));
    let (code, _, stderr) = run(folder.path(), &["--config", path, "config", "show"]);
    assert_eq!(code, 2);
    assert!(stderr.contains(&format!(":\n  {path}:2:")), "{stderr}");
}

#[test]
fn a_host_key_is_pinned_when_a_flag_says_so() {
    let mut sshd = Sshd::start(Options::default());
    let state = tempfile::tempdir().unwrap();
    let port = sshd.port().to_string();
    let trust = |more: &[&str]| {
        let args = [&["server", "trust", "-p", &port, "127.0.0.1"], more].concat();
        let (code, stdout, stderr) = run(state.path(), &args);
        (code, format!("{stdout}{stderr}"))
    };
    let check = |more: &[&str], code: i32, expected: &str| {
        let (got, text) = trust(more);
        assert_eq!(got, code, "{more:?}: {text}");
        assert!(text.contains(expected), "{more:?}: {text}");
    };
    let key = sshd.host_key_fingerprint();
    check(&[], 3, "nobody said that it is the right one");
    check(&["--fingerprint", "SHA256:abc"], 2, "fingerprint");
    check(&["--accept-new-host-key"], 0, &format!("ssh-ed25519 {key}, is pinned now"));
    check(&["--fingerprint", &key], 0, "was pinned already");
    sshd.stop();
    sshd.new_host_keys();
    sshd.start_again();
    let new_key = sshd.host_key_fingerprint();
    check(&["--fingerprint", &key], 4, "not the one that was named");
    check(&["--accept-new-host-key"], 4, "another one was pinned before");
    check(&["--fingerprint", &new_key, "--json"], 0, &format!("\"replaced\": [\n    \"{key}\"\n  ]"));
    check(&[], 0, "was pinned already");
    sshd.stop();
    check(&["--json"], 3, "\"kind\": \"unreachable\"");
}

/// `highwater serve` on a free port, with what it said.
struct Serving {
    process: Child,
    said: Value,
}

fn serve(state: &Path, args: &[&str]) -> Serving {
    let mut command = highwater(state, &["--json", "serve", "--listen", "127.0.0.1:0"]);
    let mut process = command.args(args).env("PW", "opensesame").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.as_mut().unwrap()).lines();
    let mut text = String::new();
    while !text.ends_with('}') {
        text += &lines.next().expect("the server says where it listens").unwrap();
    }
    Serving { said: serde_json::from_str(&text).unwrap(), process }
}

#[test]
fn a_folder_is_served_until_a_signal_comes() {
    let state = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hello"), "hello").unwrap();
    let path = folder.path().to_str().unwrap();
    let Serving { mut process, said } = serve(state.path(), &[path, "--user", "ann", "--password", "env:PW"]);
    let port = u16::try_from(said["port"].as_u64().unwrap()).unwrap();
    let key = said["fingerprint"].as_str().unwrap().to_owned();
    let (code, stdout, _) =
        run(state.path(), &["server", "trust", "--fingerprint", &key, &format!("sftp://127.0.0.1:{port}")]);
    assert_eq!(code, 0, "{stdout}");
    assert!(said["known_hosts"].as_str().unwrap().starts_with(&format!("[127.0.0.1]:{port} ssh-ed25519 ")));

    let pid = Pid::from_child(&process);
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(0));
    let again = serve(state.path(), &[path, "--password", "env:PW"]);
    assert_eq!(again.said["fingerprint"], key, "the host key is kept");
    let mut process = again.process;
    kill_process(Pid::from_child(&process), Signal::INT).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(0));
}

#[test]
fn a_folder_that_nobody_could_log_in_to_is_not_served() {
    let state = tempfile::tempdir().unwrap();
    let check = |args: &[&str], code: i32, expected: &str| {
        let (got, stdout, stderr) = run(state.path(), &[&["serve"], args].concat());
        assert_eq!((got, stdout.as_str()), (code, ""), "{args:?}: {stderr}");
        assert!(stderr.contains(expected), "{args:?}: {stderr}");
    };
    check(&["/"], 2, "nobody could log in\nGive --authorized-keys FILE");
    check(&["/nowhere", "--password", "env:PW"], 2, "it is not a folder");
    check(&["/", "--authorized-keys", "/nowhere"], 2, "cannot read the authorised keys /nowhere");
    check(&["/", "--authorized-keys", "/dev/null"], 2, "neither a key nor a password");
    check(&["/", "--password", "opensesame"], 2, "it is given by reference");
    check(&["/", "--password", "env:NOT_SET_ANYWHERE"], 3, "cannot get the secret env:NOT_SET_ANYWHERE");
    check(&["/", "--listen", "nowhere", "--password", "env:PW"], 2, "--listen");
}
