//! Our SFTP server as OpenSSH's clients and our own see it.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use highwater::clock::{Random, SeededRandom};
use highwater::error::Kind;
use highwater::path::{RemoteRoot, from_wire};
use highwater::remote::abilities::Known;
use highwater::remote::connect::{Connection, Endpoint, Login, connect};
use highwater::remote::dialect::FrameLimits;
use highwater::remote::host_key::HostTrust;
use highwater::remote::sftp::SftpTree;
use highwater::remote::stream::DialectStream;
use highwater::server::accounts::{Account, Accounts};
use highwater::server::misbehave::{Deed, Fault, Misbehave, Op, Rule};
use highwater::server::{HostKey, Limits, RunningServer, Server, ServerConfig, SessionOptions, serve_stream};
use highwater::tree::{Tree, contract};
use russh_sftp::client::RawSftpSession;
use russh_sftp::protocol::{FileAttributes, OpenFlags};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A running server with one account, and what its client needs: a key and known hosts.
///
/// In `folder`: `served` (the account's root) and `secret` beside it, `here` (where the client works).
struct Fixture {
    folder: TempDir,
    server: RunningServer,
}

/// Logs in with a key, unless told otherwise.
async fn start() -> Fixture {
    start_with(|account| account, Limits::default()).await
}

async fn start_with(adjust: impl FnOnce(Account) -> Account, limits: Limits) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    for name in ["served", "here"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("secret"), "secret").unwrap();
    let key = make_key(folder.path(), "key");
    let account = Account::new("alice", &folder.path().join("served")).unwrap();
    let account = adjust(account.authorized_keys(&key).unwrap());
    let host_key = HostKey::load_or_create(&folder.path().join("host_key")).unwrap();
    let line = host_key.public_line().unwrap();
    let server = Server::start(ServerConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        accounts: Accounts::new([account]).unwrap(),
        host_key,
        limits: Limits { rejection_time: Duration::from_millis(20), ..limits },
    });
    let server = server.await.unwrap();
    let known = format!("[127.0.0.1]:{} {line}\n", server.addr().port());
    fs::write(folder.path().join("known_hosts"), known).unwrap();
    Fixture { folder, server }
}

/// A new client key; the public half.
fn make_key(folder: &Path, name: &str) -> String {
    let path = folder.join(name);
    let mut keygen = Command::new("ssh-keygen");
    let made = keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path).status().unwrap();
    assert!(made.success());
    fs::read_to_string(path.with_extension("pub")).unwrap()
}

impl Fixture {
    fn served(&self, name: &str) -> PathBuf {
        self.folder.path().join("served").join(name)
    }

    fn here(&self, name: &str) -> PathBuf {
        self.folder.path().join("here").join(name)
    }

    /// `sftp` or `ssh`, about to log in with the key called `key`.
    fn client(&self, program: &str, key: &str) -> Command {
        let folder = self.folder.path();
        let mut command = Command::new(program);
        command.current_dir(folder.join("here")).env_remove("SSH_AUTH_SOCK").env("LC_ALL", "C");
        command.args(["-q", "-F", "none"]);
        for option in [
            format!("UserKnownHostsFile={}", folder.join("known_hosts").display()),
            format!("IdentityFile={}", folder.join(key).display()),
            format!("Port={}", self.server.addr().port()),
            "IdentitiesOnly=yes".into(),
            "StrictHostKeyChecking=yes".into(),
            "ConnectTimeout=20".into(),
        ] {
            command.arg("-o").arg(option);
        }
        command
    }

    /// What `sftp` makes of these commands.
    async fn batch(&self, commands: &[u8]) -> Output {
        let mut command = self.client("sftp", "key");
        command.args(["-b", "-", "alice@127.0.0.1"]);
        run(command, commands).await
    }

    /// What `sftp` says when all commands succeed.
    async fn succeeds(&self, commands: &str) -> String {
        let output = self.batch(commands.as_bytes()).await;
        assert!(output.status.success(), "{commands}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What `sftp` says when a command fails.
    async fn fails(&self, command: &str) -> String {
        let output = self.batch(command.as_bytes()).await;
        assert!(!output.status.success(), "{command}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

async fn run(mut command: Command, input: &[u8]) -> Output {
    let input = input.to_vec();
    let running = tokio::task::spawn_blocking(move || {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A client that was refused does not read its commands; its exit status tells.
        let _ = child.stdin.take().unwrap().write_all(&input);
        child.wait_with_output().unwrap()
    });
    running.await.unwrap()
}

#[tokio::test]
async fn everyday_commands_do_what_they_say() {
    let f = start().await;
    fs::write(f.here("report"), "content").unwrap();
    f.succeeds("mkdir dir\nput report dir/report\nput -p report dir/kept").await;
    assert_eq!(fs::read(f.served("dir/report")).unwrap(), b"content");
    let kept = |path: PathBuf| fs::metadata(path).map(|m| (m.mode(), m.mtime())).unwrap();
    assert_eq!(kept(f.served("dir/kept")), kept(f.here("report")));
    f.succeeds("chmod 640 dir/report\nln -s report dir/link\nln dir/report dir/twin").await;
    let report = fs::metadata(f.served("dir/report")).unwrap();
    assert_eq!((report.permissions().mode() & 0o777, report.nlink()), (0o640, 2));
    assert_eq!(fs::read_link(f.served("dir/link")).unwrap(), Path::new("report"));
    let listed = f.succeeds("ls -la dir").await;
    assert!(listed.contains("-rw-r-----"), "{listed}");
    assert!(listed.contains("lrwxrwxrwx"), "{listed}");
    f.succeeds("get dir/link fetched\nrename dir/report dir/moved\nrm dir/link dir/twin").await;
    assert_eq!(fs::read(f.here("fetched")).unwrap(), b"content");
    f.succeeds("rename dir/kept dir/moved\nrm dir/twin\nrm dir/moved\nrmdir dir").await;
    assert_eq!(fs::read_dir(f.served("")).unwrap().count(), 0);
    assert!(f.succeeds("pwd").await.contains("Remote working directory: /"));
    assert!(f.succeeds("df").await.contains('%'));
    assert!(f.fails("rmdir dir").await.contains("No such file"));
    f.server.stop().await;
}

#[tokio::test]
async fn names_are_bytes() {
    let f = start().await;
    for name in [&b"na\xefve"[..], b"\xff\xfe", "gr\u{fc}n".as_bytes(), b"with space", b"-dash", b"new\nline"]
    {
        fs::write(f.here("file"), name).unwrap();
        fs::write(f.served("").join(OsStr::from_bytes(name)), name).unwrap();
    }
    f.succeeds("mget *").await;
    let fetched = fs::read_dir(f.here("")).unwrap().map(|e| e.unwrap().file_name());
    let fetched: Vec<_> = fetched.filter(|name| name != "file").collect();
    assert_eq!(fetched.len(), 6);
    for name in &fetched {
        assert_eq!(fs::read(f.here("").join(name)).unwrap(), name.as_bytes());
    }
    let output = f.batch(b"put file \"put\xff\xc3\"\nrename \"put\xff\xc3\" \"moved\x80\"").await;
    assert!(output.status.success(), "{output:?}");
    assert!(f.served("").join(OsStr::from_bytes(b"moved\x80")).exists());
}

#[tokio::test]
async fn nobody_leaves_the_root() {
    let f = start().await;
    symlink("../secret", f.served("up")).unwrap();
    symlink(f.folder.path().join("secret"), f.served("absolute")).unwrap();
    symlink("..", f.served("parent")).unwrap();
    for command in ["get up", "get absolute", "get parent/secret", "get ../secret", "get /../../secret"] {
        let said = f.fails(command).await;
        assert!(said.contains("not found") || said.contains("No such file"), "{command}: {said}");
    }
    f.succeeds("cd ..\ncd /../..\nmkdir ../inside").await;
    assert!(f.served("inside").is_dir());
    fs::write(f.here("file"), "new").unwrap();
    f.succeeds("put file parent/secret").await;
    assert_eq!(fs::read(f.served("secret")).unwrap(), b"new");
    assert_eq!(fs::read(f.folder.path().join("secret")).unwrap(), b"secret");
    assert!(!f.here("up").exists() && !f.here("secret").exists());
}

#[tokio::test]
async fn a_large_file_comes_back_the_same() {
    let f = start().await;
    let random = SeededRandom::new(64);
    let content: Vec<u8> = (0..8 << 20).flat_map(|_| random.u64().to_le_bytes()).collect();
    fs::write(f.here("large"), &content).unwrap();
    f.succeeds("put large large\nget large back\nput -f large synced").await;
    assert!(fs::read(f.served("large")).unwrap() == content, "as sent");
    assert!(fs::read(f.here("back")).unwrap() == content, "as fetched");
    assert!(fs::read(f.served("synced")).unwrap() == content, "with fsync");
    fs::write(f.served("large"), &content[..5_000_001]).unwrap();
    f.succeeds("reput large large").await;
    assert!(fs::read(f.served("large")).unwrap() == content, "resumed");
}

#[tokio::test]
async fn a_reader_may_only_read() {
    let f = start_with(|account| account.read_only(true), Limits::default()).await;
    fs::write(f.served("report"), "content").unwrap();
    fs::write(f.here("file"), "new").unwrap();
    f.succeeds("get report").await;
    assert_eq!(fs::read(f.here("report")).unwrap(), b"content");
    for command in ["put file report", "rm report", "mkdir dir", "rename report b", "chmod 600 report"] {
        let said = f.fails(command).await.to_lowercase();
        assert!(said.contains("permission denied"), "{command}: {said}");
    }
    assert_eq!(fs::read(f.served("report")).unwrap(), b"content");
    assert_eq!(fs::read_dir(f.served("")).unwrap().count(), 1);
}

/// Whether a login with this user, key and password succeeds.
async fn logs_in(f: &Fixture, user: &str, key: &str, password: Option<&str>) -> bool {
    let mut command = f.client("sftp", key);
    if let Some(password) = password {
        let asked = f.folder.path().join("askpass");
        fs::write(&asked, format!("#!/bin/sh\necho '{password}'\n")).unwrap();
        fs::set_permissions(&asked, fs::Permissions::from_mode(0o700)).unwrap();
        command.env("SSH_ASKPASS", &asked).env("SSH_ASKPASS_REQUIRE", "force");
        command.args(["-o", "NumberOfPasswordPrompts=1", "-o", "BatchMode=no"]);
    }
    command.args(["-b", "-", &format!("{user}@127.0.0.1")]);
    run(command, b"pwd\n").await.status.success()
}

#[tokio::test]
async fn only_those_with_an_account_come_in() {
    let f = start_with(|account| account.password("opensesame").unwrap(), Limits::default()).await;
    make_key(f.folder.path(), "stranger");
    let check = async |user: &str, key: &str, password: Option<&str>, expected: bool| {
        assert_eq!(logs_in(&f, user, key, password).await, expected, "{user} {key} {password:?}");
    };
    check("alice", "key", None, true).await;
    check("alice", "stranger", None, false).await;
    check("mallory", "key", None, false).await;
    check("alice", "stranger", Some("opensesame"), true).await;
    check("alice", "stranger", Some("opensesam"), false).await;
    check("alice", "stranger", Some(""), false).await;
    check("mallory", "stranger", Some("opensesame"), false).await;
}

#[tokio::test]
async fn sftp_is_all_there_is() {
    let f = start().await;
    let check = async |args: &[&str]| {
        let mut command = f.client("ssh", "key");
        command.arg("-o").arg("BatchMode=yes").args(args);
        let output = run(command, b"").await;
        assert!(!output.status.success() && output.stdout.is_empty(), "{args:?}: {output:?}");
    };
    check(&["alice@127.0.0.1", "id"]).await;
    check(&["alice@127.0.0.1"]).await;
    check(&["-tt", "alice@127.0.0.1"]).await;
    check(&["-s", "alice@127.0.0.1", "netconf"]).await;
    let target = f.server.addr().to_string();
    check(&["-W", &target, "alice@127.0.0.1"]).await;
    check(&["-o", "ExitOnForwardFailure=yes", "-N", "-R", &format!("0:{target}"), "alice@127.0.0.1"]).await;
}

/// What the server says before it closes a connection that says nothing.
async fn silence(addr: SocketAddr) -> Vec<u8> {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await.unwrap();
    heard
}

#[tokio::test]
async fn whoever_does_not_log_in_is_left() {
    let limits = Limits { login_time: Duration::from_millis(200), ..Limits::default() };
    let f = start_with(|account| account, limits).await;
    let expected = concat!("SSH-2.0-Highwater_", env!("CARGO_PKG_VERSION"), "\r\n");
    assert_eq!(silence(f.server.addr()).await, expected.as_bytes());
}

#[tokio::test]
async fn there_is_room_for_so_many_connections() {
    let f = start_with(|account| account, Limits { connections: 1, ..Limits::default() }).await;
    let mut first = TcpStream::connect(f.server.addr()).await.unwrap();
    first.read_exact(&mut [0; 8]).await.unwrap();
    assert_eq!(silence(f.server.addr()).await, b"");
    drop(first);
    let mut next = TcpStream::connect(f.server.addr()).await.unwrap();
    while next.write_all(b"x").await.is_err() || next.read(&mut [0; 8]).await.unwrap_or(0) == 0 {
        next = TcpStream::connect(f.server.addr()).await.unwrap();
    }
}

#[tokio::test]
async fn a_stopped_server_is_gone() {
    let f = start().await;
    let addr = f.server.addr();
    let mut waiting = TcpStream::connect(addr).await.unwrap();
    waiting.read_exact(&mut [0; 8]).await.unwrap();
    f.server.stop().await;
    let mut rest = Vec::new();
    waiting.read_to_end(&mut rest).await.unwrap();
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_scripted_cut_takes_the_connection_down() {
    let script = Misbehave::script([Rule::on(Op::Write, Fault::CutAtByte(100_000))]);
    let f = start_with(|account| account.misbehave(script.clone()), Limits::default()).await;
    fs::write(f.here("file"), vec![7; 1_000_000]).unwrap();
    f.fails("put file").await;
    assert_eq!(script.deeds(Deed::Cut), 1);
    assert_eq!(fs::metadata(f.served("file")).unwrap().len(), 100_000);
    script.clear();
    f.succeeds("reput file").await;
    assert_eq!(fs::read(f.served("file")).unwrap(), vec![7; 1_000_000]);
}

/// Our own client, logged in.
async fn connected(f: &Fixture) -> Connection {
    let endpoint = Endpoint { host: "127.0.0.1".into(), port: f.server.addr().port(), user: "alice".into() };
    let login = Login { default_keys: vec![f.folder.path().join("key")], ..Login::default() };
    let trust = HostTrust { pinned: vec![f.server.fingerprint().into()], ..HostTrust::default() };
    connect(&endpoint, &login, &trust).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_client_passes_the_contract_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let options = SessionOptions::new(folder.path()).unwrap();
    let open = || {
        let (near, far) = tokio::io::duplex(1 << 16);
        tokio::spawn(serve_stream(far, options.clone()));
        near
    };
    let root = RemoteRoot::new(b"/a/root").unwrap();
    let tree = SftpTree::open(open(), root, "SSH-2.0-Highwater_0", Known::default()).await.unwrap();
    tree.widen(open()).await.unwrap();
    tree.make_root().await.unwrap();
    contract::check_all(&tree, contract::Limits::FAR).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_client_passes_the_contract_over_ssh() {
    let f = start().await;
    let connection = connected(&f).await;
    let ident = connection.server().ident.clone();
    let root = RemoteRoot::new(b"a/root").unwrap();
    let first = connection.open_sftp().await.unwrap();
    let tree = SftpTree::open(first, root, &ident, Known::default()).await.unwrap();
    tree.widen(connection.open_sftp().await.unwrap()).await.unwrap();
    tree.make_root().await.unwrap();
    contract::check_all(&tree, contract::Limits::FAR).await;
    drop(tree);
    connection.close().await;
    f.server.stop().await;
}

#[tokio::test]
async fn one_connection_holds_so_many_sessions_and_handles() {
    let f = start_with(|account| account, Limits { sessions: 2, ..Limits::default() }).await;
    let connection = connected(&f).await;
    let limits = FrameLimits::default();
    let first = DialectStream::for_client(connection.open_sftp().await.unwrap(), limits);
    let second = connection.open_sftp().await.unwrap();
    assert_eq!(connection.open_sftp().await.err().map(|e| e.kind()), Some(Kind::Failed));
    let sftp = RawSftpSession::new(first);
    sftp.set_timeout(60);
    sftp.init().await.unwrap();
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
    let names: Vec<String> = (0..300).map(|i| format!("f{i}")).collect();
    let opened = names.iter().map(|name| sftp.open(name, flags, FileAttributes::empty()));
    let opened = futures_util::future::join_all(opened).await;
    let handles: Vec<String> = opened.into_iter().map(|handle| handle.unwrap().handle).collect();
    assert_eq!(from_wire(&handles[299]), [0, 0, 1, 43]);
    for (handle, name) in handles.iter().zip(&names) {
        sftp.write(handle, 0, name.as_bytes().to_vec()).await.unwrap();
    }
    for name in &names {
        assert_eq!(fs::read(f.served(name)).unwrap(), name.as_bytes());
    }
    drop(second);
    while connection.open_sftp().await.is_err() {
        tokio::task::yield_now().await; // until the server has heard that the channel is closed
    }
}
