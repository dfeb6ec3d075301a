//! `highwater server probe` against OpenSSH and against our own server.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use highwater::clock::{SeededRandom, SystemClock};
use highwater::error::Kind;
use highwater::path::RemoteRoot;
use highwater::remote::abilities::{Can, Known, LinkOrder};
use highwater::remote::probe::{Trial, try_out};
use highwater::remote::sftp::SftpTree;
use highwater::server::misbehave::{Fault, Misbehave, Op, Rule};
use highwater::server::{SessionOptions, serve_stream};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::sshd::{Options, Sshd, generate_key};

/// A home and state folder of its own; nothing is known of any server.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn knowing(known_hosts: &str) -> Self {
        let home = Self::new();
        fs::create_dir(home.0.path().join(".ssh")).unwrap();
        fs::write(home.0.path().join(".ssh/known_hosts"), known_hosts).unwrap();
        home
    }

    fn highwater(&self, args: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("highwater"));
        command.arg("--state").arg(self.0.path().join("state")).args(args);
        command.env("HOME", self.0.path()).env_remove("XDG_CONFIG_HOME").env_remove("SSH_AUTH_SOCK");
        command
    }

    /// Exit code, standard output, standard error.
    fn run(&self, args: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.highwater(args).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    fn probe(&self, sshd: &Sshd, args: &[&str]) -> (i32, String, String) {
        let (port, key) = (sshd.port().to_string(), sshd.client_key_path());
        let host = format!("{}@127.0.0.1", sshd.user());
        let fixed = ["server", "probe", "-p", &port, "-i", key.to_str().unwrap(), &host];
        self.run(&[&fixed, args].concat())
    }

    fn document(&self, sshd: &Sshd, args: &[&str], code: i32) -> Value {
        let (got, stdout, stderr) = self.probe(sshd, &[args, &["--json"]].concat());
        assert_eq!(got, code, "{stdout}{stderr}");
        serde_json::from_str(&stdout).unwrap()
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn check(document: &Value, rows: &[(&str, Value)]) {
    for (pointer, expected) in rows {
        assert_eq!(document.pointer(pointer), Some(expected), "{pointer}: {document:#}");
    }
}

/// Everything works, and was tried.
fn check_openssh(sshd: &Sshd) {
    let home = Home::knowing(&sshd.known_hosts_line());
    let data = sshd.data();
    fs::write(data.join("theirs"), "theirs").unwrap();
    let folder = data.to_str().unwrap();
    let rows = [
        ("/version", json!(1)),
        ("/wrote", json!(true)),
        ("/problems", json!([])),
        ("/sftp/version", json!(3)),
        ("/folder/path", json!(folder)),
        ("/folder/kind", json!("folder")),
        ("/host_key/fingerprint", json!(sshd.host_key_fingerprint())),
        ("/host_key/known_from", json!("known_hosts")),
        ("/clock_skew_seconds", json!(0)),
        ("/abilities/link_order", json!({"value": "openssh", "source": "tried"})),
        ("/abilities/keeps_order", json!({"value": "yes", "source": "ident"})),
        ("/abilities/statvfs", json!({"value": "yes", "source": "announced"})),
    ];
    let document = home.document(sshd, &["--write", folder], 0);
    check(&document, &rows);
    for key in ["posix_rename", "keeps_mtime", "fsync", "fsync_dir", "write_at", "two_handles"] {
        assert_eq!(document["abilities"][key], json!({"value": "yes", "source": "tried"}), "{key}");
    }
    assert!(document["ident"].as_str().unwrap().starts_with("SSH-2.0-OpenSSH_"), "{document:#}");
    assert!(document["folder"]["free_bytes"].as_u64().unwrap() > 0);
    assert!(document["round_trip_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(names(&data), ["theirs"], "nothing is left behind");

    let (code, text, _) = home.probe(sshd, &[folder]);
    assert_eq!(code, 0, "{text}");
    for expected in [
        "server                 SSH-2.0-OpenSSH_",
        &format!("{}, known from ", sshd.host_key_fingerprint()),
        "let in by              key ",
        "posix-rename@openssh.com 1\n",
        &format!("folder                 {folder}, a folder, "),
        "clock                  not known without writing (--write)\n",
        "two handles            yes      known from before\n",
        "rename over a file     yes      announced\n",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert_eq!(names(&data), ["theirs"]);
}

#[test]
fn openssh_shows_what_it_can_do() {
    check_openssh(&Sshd::start(Options::default()));
}

#[test]
fn openssh_with_a_server_of_its_own_shows_what_it_can_do() {
    check_openssh(&Sshd::start(Options::external("", "")));
}

#[test]
fn without_the_flag_nothing_is_written() {
    let sshd = Sshd::start(Options::default());
    let home = Home::knowing(&sshd.known_hosts_line());
    let before = fs::metadata(sshd.data()).unwrap().modified().unwrap();
    let document = home.document(&sshd, &[sshd.data().to_str().unwrap()], 0);
    check(&document, &[("/wrote", json!(false)), ("/clock_skew_seconds", Value::Null)]);
    check(&document, &[("/abilities/two_handles", json!({"value": "unknown", "source": "nothing"}))]);
    assert_eq!(fs::metadata(sshd.data()).unwrap().modified().unwrap(), before);
    assert!(names(&sshd.data()).is_empty());

    let missing = sshd.data().join("missing");
    let document = home.document(&sshd, &[missing.to_str().unwrap()], 0);
    check(&document, &[("/folder/kind", json!("nothing")), ("/problems", json!([]))]);
    let document = home.document(&sshd, &["--write", missing.to_str().unwrap()], 1);
    check(&document, &[("/problems/0/kind", json!("not-found")), ("/clock_skew_seconds", Value::Null)]);
    assert!(names(&sshd.data()).is_empty());
}

#[test]
fn what_was_ours_before_stays() {
    let sshd = Sshd::start(Options::default());
    let home = Home::knowing(&sshd.known_hosts_line());
    fs::create_dir_all(sshd.data().join(".highwater/stage/other")).unwrap();
    fs::write(sshd.data().join(".highwater/stage/other/file"), "x").unwrap();
    home.document(&sshd, &["--write", sshd.data().to_str().unwrap()], 0);
    assert_eq!(names(&sshd.data().join(".highwater")), ["stage"]);
    assert_eq!(names(&sshd.data().join(".highwater/stage")), ["other"]);

    let elsewhere = sshd.file("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::remove_dir_all(sshd.data().join(".highwater")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, sshd.data().join(".highwater")).unwrap();
    let document = home.document(&sshd, &["--write", sshd.data().to_str().unwrap()], 1);
    check(&document, &[("/problems/0/kind", json!("exists"))]);
    assert!(names(&elsewhere).is_empty(), "nothing is written through a link");
}

#[test]
fn a_server_with_one_channel_says_so() {
    let sshd = Sshd::start(Options { config: vec!["MaxSessions 1".into()], ..Options::default() });
    let home = Home::knowing(&sshd.known_hosts_line());
    let document = home.document(&sshd, &["--write", sshd.data().to_str().unwrap()], 1);
    check(
        &document,
        &[
            ("/problems/0/kind", json!("failed")),
            ("/abilities/two_handles", json!({"value": "unknown", "source": "nothing"})),
            ("/abilities/posix_rename", json!({"value": "yes", "source": "tried"})),
        ],
    );
    assert!(names(&sshd.data()).is_empty());
}

#[test]
fn who_is_not_let_in_or_not_trusted_learns_why() {
    let mut sshd = Sshd::start(Options::default());
    let stranger = sshd.file("stranger");
    generate_key(&stranger, "ed25519", "");
    let home = Home::new();
    let (port, key) = (sshd.port().to_string(), sshd.client_key_path());
    let host = format!("{}@127.0.0.1", sshd.user());
    let probe = |key: &Path, more: &[&str]| {
        let fixed = ["server", "probe", "-p", &port, "-i", key.to_str().unwrap(), &host];
        home.run(&[&fixed, more].concat())
    };
    let check = |key: &Path, more: &[&str], code: i32, expected: &str| {
        let (got, stdout, stderr) = probe(key, more);
        assert_eq!(got, code, "{more:?}: {stdout}{stderr}");
        assert!(format!("{stdout}{stderr}").contains(expected), "{more:?}: {stdout}{stderr}");
    };
    check(&key, &[], 3, "nothing is known of this host");
    check(&key, &["--json"], 3, "\"kind\": \"host-key-unknown\"");
    check(&key, &["--accept-new-host-key"], 0, "new, accepted and pinned now");
    check(&key, &[], 0, "pinned before");
    check(&stranger, &["--json"], 3, "\"kind\": \"login\"");
    check(&key, &["a", "b"], 2, "unexpected argument");
    sshd.stop();
    sshd.new_host_keys();
    sshd.start_again();
    check(&key, &["--json", "--accept-new-host-key"], 4, "\"kind\": \"host-key-changed\"");
    sshd.stop();
    check(&key, &["--json"], 3, "\"kind\": \"unreachable\"");
}

#[test]
fn a_folder_is_named_once() {
    let (code, stdout, stderr) = Home::new().run(&["server", "probe", "me@127.0.0.1:a", "b"]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("a is named with the host already"), "{stderr}");
}

/// `highwater serve`, ended when dropped; with what it said.
struct Serving(Child, Value);

impl Serving {
    fn start(home: &Home, folder: &Path, more: &[&str]) -> Self {
        let key = home.0.path().join("key");
        generate_key(&key, "ed25519", "");
        let keys = key.with_extension("pub");
        let fixed = ["--json", "serve", "--listen", "127.0.0.1:0", "--user", "ann", "--authorized-keys"];
        let mut command =
            home.highwater(&[&fixed[..], &[keys.to_str().unwrap(), folder.to_str().unwrap()], more].concat());
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.as_mut().unwrap()).lines();
        let mut text = String::new();
        while !text.ends_with('}') {
            text += &lines.next().expect("the server says where it listens").unwrap();
        }
        Self(process, serde_json::from_str(&text).unwrap())
    }

    fn probe(&self, home: &Home, more: &[&str]) -> (i32, Value) {
        let url = format!("sftp://ann@127.0.0.1:{}/", self.1["port"]);
        let key = home.0.path().join("key");
        let fixed = ["--json", "server", "probe", "--accept-new-host-key", "-i", key.to_str().unwrap(), &url];
        let (code, stdout, stderr) = home.run(&[&fixed, more].concat());
        (code, serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{e}: {stdout}{stderr}")))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended by itself
        let _ = self.0.wait();
    }
}

#[test]
fn our_own_server_shows_what_it_can_do() {
    let (home, folder) = (Home::new(), tempfile::tempdir().unwrap());
    let serving = Serving::start(&home, folder.path(), &[]);
    let (code, document) = serving.probe(&home, &["--write"]);
    assert_eq!(code, 0, "{document:#}");
    check(
        &document,
        &[
            ("/problems", json!([])),
            ("/folder/path", json!("/")),
            ("/host_key/known_from", json!("accepted")),
            ("/host_key/fingerprint", serving.1["fingerprint"].clone()),
            ("/abilities/posix_rename", json!({"value": "yes", "source": "tried"})),
            ("/abilities/two_handles", json!({"value": "yes", "source": "tried"})),
            ("/clock_skew_seconds", json!(0)),
        ],
    );
    assert!(names(folder.path()).is_empty());
    let (code, document) = serving.probe(&home, &[]);
    assert_eq!(code, 0, "{document:#}");
    check(&document, &[("/host_key/known_from", json!("journal"))]);
    check(&document, &[("/abilities/two_handles", json!({"value": "yes", "source": "remembered"}))]);
}

#[test]
fn where_nothing_may_be_written_the_rest_is_shown() {
    let (home, folder) = (Home::new(), tempfile::tempdir().unwrap());
    let serving = Serving::start(&home, folder.path(), &["--read-only"]);
    let (code, document) = serving.probe(&home, &["--write"]);
    assert_eq!(code, 1, "{document:#}");
    check(
        &document,
        &[
            ("/problems/0/kind", json!("permission-denied")),
            ("/folder/kind", json!("folder")),
            ("/abilities/write_at", json!({"value": "unknown", "source": "nothing"})),
        ],
    );
    assert!(names(folder.path()).is_empty());
}

/// Tries out our own server in memory, misbehaving; what came of it, and what is left in the folder.
async fn try_misbehaving(rules: Vec<Rule>) -> (Trial, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let options = SessionOptions::new(folder.path()).unwrap().misbehave(Misbehave::script(rules));
    let open = || {
        let (near, far) = tokio::io::duplex(1 << 16);
        tokio::spawn(serve_stream(far, options.clone()));
        near
    };
    let root = RemoteRoot::new(b"/").unwrap();
    let tree = SftpTree::open(open(), root, "SSH-2.0-Highwater_0", Known::default()).await.unwrap();
    tree.widen(open()).await.unwrap();
    let trial = try_out(&tree, &SystemClock, &SeededRandom::new(1), std::future::pending()).await.unwrap();
    (trial, names(folder.path()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_only_says_it_did_is_not_believed() {
    let all = Known {
        posix_rename: Can::Yes,
        fsync: Can::Yes,
        fsync_dir: Can::Yes,
        keeps_mtime: Can::Yes,
        link_order: LinkOrder::Openssh,
        keeps_links: Can::Yes,
        keeps_names: Can::Yes,
        write_at: Can::Yes,
        two_handles: Can::Yes,
        ..Known::default()
    };
    let check = async |rules: Vec<Rule>, expected: Known| {
        let told = format!("{rules:?}");
        let (trial, left) = try_misbehaving(rules).await;
        assert_eq!(trial.shown, expected, "{told}");
        assert!(trial.problems.is_empty() && left.is_empty(), "{told}: {trial:?} {left:?}");
    };
    let lie = || Fault::Fail { code: 0, text: String::new() };
    check(vec![], all).await;
    check(vec![Rule::on(Op::Read, Fault::Short(700))], all).await;
    check(vec![Rule::on(Op::PosixRename, Fault::unsupported())], Known { posix_rename: Can::No, ..all })
        .await;
    check(vec![Rule::on(Op::PosixRename, Fault::failure())], Known { posix_rename: Can::No, ..all }).await;
    check(vec![Rule::on(Op::PosixRename, lie())], Known { posix_rename: Can::No, ..all }).await;
    check(vec![Rule::on(Op::Write, Fault::Flip).once()], Known { write_at: Can::No, ..all }).await;
    check(vec![Rule::on(Op::SetStat, lie())], Known { keeps_mtime: Can::No, ..all }).await;
    let no_fsync = Known { fsync: Can::No, fsync_dir: Can::No, ..all };
    check(vec![Rule::on(Op::Fsync, Fault::unsupported())], no_fsync).await;
    check(vec![Rule::on(Op::SymLink, Fault::unsupported())], Known { link_order: LinkOrder::None, ..all })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_interrupted_is_tidied_up() {
    let folder = tempfile::tempdir().unwrap();
    let script =
        Misbehave::script([Rule::on(Op::SymLink, Fault::Stall(std::time::Duration::from_secs(3600)))]);
    let options = SessionOptions::new(folder.path()).unwrap().misbehave(script.clone());
    let (near, far) = tokio::io::duplex(1 << 16);
    tokio::spawn(serve_stream(far, options));
    let root = RemoteRoot::new(b"/").unwrap();
    let tree = SftpTree::open(near, root, "SSH-2.0-Highwater_0", Known::default()).await.unwrap();
    let stop = async {
        while names(folder.path()).is_empty() {
            tokio::task::yield_now().await;
        }
        script.clear();
    };
    let error = try_out(&tree, &SystemClock, &SeededRandom::new(1), stop).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Interrupted);
    assert_eq!(error.operation(), "go on", "{}", error.reason());
    assert!(names(folder.path()).is_empty());
}
