//! Two roots, a server between them and the program: for tests that ask the same of push and pull.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use highwater::server::accounts::{Account, Accounts};
use highwater::server::misbehave::Misbehave;
use highwater::server::{HostKey, Limits, RunningServer, Server, ServerConfig};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::account;
use super::hostile;
use super::sshd::{Options, Sshd, generate_key};

/// How long a test waits for something that takes a moment.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which way is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the near root to the far one.
    Push,
    /// The other way.
    Pull,
}

impl Way {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Push, Self::Pull];

    /// The command that goes this way.
    pub fn command(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Pull => "pull",
        }
    }
}

/// What answers at the far side.
enum FarSide {
    OpenSsh(Box<Sshd>),
    Ours { server: RunningServer, _runtime: Runtime },
    Hostile { addr: SocketAddr, _runtime: Runtime },
}

/// A near root, a far root, a server, and the program with a home and a state folder of its own.
///
/// In its folder: `near`, `home`, `state`, `config.yml`, `key`; with our own server also `served`.
pub struct Rig {
    folder: TempDir,
    side: FarSide,
    data: PathBuf,
}

impl Rig {
    /// OpenSSH; whoever runs the tests logs in.
    pub fn openssh() -> Self {
        Self::with_sshd(Options::default())
    }

    /// OpenSSH; the ordinary user logs in, and the far root belongs to it.
    pub fn of_ordinary_user() -> Self {
        let rig = Self::with_sshd(Options::default().ordinary_user());
        let (uid, gid) = account::numbers(account::ORDINARY);
        chown(rig.far(), Some(uid), Some(gid)).expect("the far root can be given away");
        rig
    }

    /// OpenSSH, started so. Both roots are made.
    pub fn with_sshd(options: Options) -> Self {
        let sshd = Sshd::start(options);
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::copy(sshd.client_key_path(), folder.path().join("key")).expect("the key can be copied");
        let data = sshd.data();
        let known = sshd.known_hosts_line();
        Self { folder, side: FarSide::OpenSsh(Box::new(sshd)), data }.made(&known)
    }

    /// Our own server, which misbehaves as `script` says. Paths of the script begin at `/far`.
    pub fn ours(script: Misbehave) -> Self {
        let limits = Limits { rejection_time: Duration::from_millis(20), ..Limits::default() };
        Self::ours_within(limits, script)
    }

    /// The same with these limits.
    pub fn ours_within(limits: Limits, script: Misbehave) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = folder.path().join("served");
        fs::create_dir(&data).expect("a new folder");
        generate_key(&folder.path().join("key"), "ed25519", "");
        let key = fs::read_to_string(folder.path().join("key.pub")).expect("a public key");
        let account = Account::new("alice", &data).and_then(|account| account.authorized_keys(&key));
        let accounts = account.and_then(|account| Accounts::new([account.misbehave(script)]));
        let config = ServerConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            accounts: accounts.expect("an account"),
            host_key: HostKey::generate(),
            limits,
        };
        let line = config.host_key.public_line().expect("a host key");
        let runtime = Runtime::new().expect("a runtime");
        let server = runtime.block_on(Server::start(config)).expect("a server");
        let known = format!("[127.0.0.1]:{} {line}\n", server.addr().port());
        Self { folder, side: FarSide::Ours { server, _runtime: runtime }, data }.made(&known)
    }

    /// A server that tells what `script` says. Its far root is `/far`.
    pub fn hostile(script: hostile::Script) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        generate_key(&folder.path().join("key"), "ed25519", "");
        let runtime = Runtime::new().expect("a runtime");
        let (addr, known) = runtime.block_on(hostile::start(script));
        let data = folder.path().join("served");
        Self { folder, side: FarSide::Hostile { addr, _runtime: runtime }, data }.made(&known)
    }

    fn made(self, known_hosts: &str) -> Self {
        for folder in [self.near(), self.far(), self.file("home/.ssh")] {
            fs::create_dir_all(folder).expect("a new folder");
        }
        fs::write(self.file("home/.ssh/known_hosts"), known_hosts).expect("known_hosts can be written");
        self
    }

    /// The real sshd; there must be one.
    pub fn sshd(&mut self) -> &mut Sshd {
        match &mut self.side {
            FarSide::OpenSsh(sshd) => sshd,
            FarSide::Ours { .. } | FarSide::Hostile { .. } => panic!("this rig has no sshd"),
        }
    }

    /// A file of the rig's own folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The near root.
    pub fn near(&self) -> PathBuf {
        self.file("near")
    }

    /// The far root as this machine sees it.
    pub fn far(&self) -> PathBuf {
        self.data.join("far")
    }

    /// The root that is followed.
    pub fn source(&self, way: Way) -> PathBuf {
        if way == Way::Push { self.near() } else { self.far() }
    }

    /// The root that follows.
    pub fn target(&self, way: Way) -> PathBuf {
        if way == Way::Push { self.far() } else { self.near() }
    }

    /// What is typed for the far root.
    pub fn url(&self) -> String {
        format!("sftp://{}@127.0.0.1:{}{}", self.user(), self.port(), self.remote())
    }

    /// Who logs in.
    pub fn user(&self) -> &str {
        match &self.side {
            FarSide::OpenSsh(sshd) => sshd.user(),
            FarSide::Ours { .. } | FarSide::Hostile { .. } => "alice",
        }
    }

    /// Where the server listens.
    pub fn port(&self) -> u16 {
        match &self.side {
            FarSide::OpenSsh(sshd) => sshd.port(),
            FarSide::Ours { server, .. } => server.addr().port(),
            FarSide::Hostile { addr, .. } => addr.port(),
        }
    }

    fn remote(&self) -> String {
        match &self.side {
            FarSide::OpenSsh(_) => self.far().display().to_string(),
            FarSide::Ours { .. } | FarSide::Hostile { .. } => "/far".into(),
        }
    }

    /// The program with these arguments, not yet started.
    pub fn program(&self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("highwater"));
        command.arg("--state").arg(self.file("state")).args(args.into_iter().map(Into::into));
        command.env("HOME", self.file("home")).env_remove("XDG_CONFIG_HOME").env_remove("SSH_AUTH_SOCK");
        command
    }

    /// One round without a config, about to start.
    pub fn command(&self, way: Way, flags: &[&str]) -> Command {
        let (near, far) = (OsString::from(self.near()), OsString::from(self.url()));
        let (from, to) = if way == Way::Push { (near, far) } else { (far, near) };
        let mut command = self.program([way.command().into(), from, to]);
        command.arg("-i").arg(self.file("key")).args(flags);
        command
    }

    /// One round without a config.
    pub fn carry(&self, way: Way, flags: &[&str]) -> Ran {
        Ran::of(self.command(way, flags).arg("--json"))
    }

    /// Writes a config with the job `j`; `more` are further lines of the job, without indentation.
    pub fn configure(&self, way: Way, more: &str) {
        let more: String = more.lines().map(|line| format!("    {line}\n")).collect();
        let known = fs::read_to_string(self.file("home/.ssh/known_hosts")).expect("known_hosts");
        assert!(!known.is_empty(), "the config relies on known_hosts");
        let text = format!(
            "version: 1\nservers:\n  far: {{host: 127.0.0.1, port: {}, user: {}, auth: {{key: \"{}\"}}}}\n\
             jobs:\n  j:\n    mode: {}\n    local: \"{}\"\n    remote: \"far:{}\"\n{more}",
            self.port(),
            self.user(),
            self.file("key").display(),
            way.command(),
            self.near().display(),
            self.remote(),
        );
        fs::write(self.file("config.yml"), text).expect("the config can be written");
    }

    /// One round of the job `j`.
    pub fn run(&self) -> Ran {
        Ran::of(&mut self.with_config(&["run", "j", "--json"]))
    }

    /// Lets the job `j` go on.
    pub fn resume(&self, flags: &[&str]) {
        let ran = Ran::of(self.with_config(&["resume", "j", "--json"]).args(flags));
        assert_eq!(ran.code, 0, "{ran:?}");
    }

    /// The program with these arguments and the config.
    pub fn with_config(&self, args: &[&str]) -> Command {
        let mut command = self.program(["--config".into(), OsString::from(self.file("config.yml"))]);
        command.args(args);
        command
    }

    /// What `highwater log` knows of the trash: why, path and folder of each thing, sorted.
    pub fn trash(&self) -> Vec<(String, String, String)> {
        let ran = Ran::of(&mut self.program(["log", "--json"]));
        let jobs = ran.json["jobs"].as_array().expect("jobs").clone();
        let things = jobs.iter().flat_map(|job| job["trash"].as_array().expect("a list").clone());
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let mut trash: Vec<_> =
            things.map(|thing| (text(&thing["why"]), text(&thing["path"]), text(&thing["folder"]))).collect();
        trash.sort();
        trash
    }
}

/// What one run of the program came to.
#[derive(Debug)]
pub struct Ran {
    /// The exit code.
    pub code: i32,
    /// The document, if there was one.
    pub json: Value,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// Runs it to its end.
    pub fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().expect("the program can be run");
        let text = |bytes| String::from_utf8(bytes).expect("what it prints is text");
        let (stdout, stderr) = (text(stdout), text(stderr));
        let json = serde_json::from_str(&stdout).unwrap_or(Value::Null);
        Self { code: status.code().unwrap_or(-1), json, stdout, stderr }
    }

    /// The document of its one round.
    #[track_caller]
    pub fn job(&self) -> &Value {
        let jobs = self.json["jobs"].as_array().unwrap_or_else(|| panic!("no document: {self:?}"));
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        &jobs[0]
    }

    /// A count of its one round.
    #[track_caller]
    pub fn count(&self, field: &str) -> u64 {
        self.job()[field].as_u64().unwrap_or_else(|| panic!("{field} is no count: {:#}", self.job()))
    }

    /// Whether its one round ended like this. Gives itself back.
    #[track_caller]
    pub fn ends(self, result: &str, code: i32) -> Self {
        let job = self.job();
        assert_eq!((job["result"].as_str(), self.code), (Some(result), code), "{job:#}\n{}", self.stderr);
        self
    }

    /// Whether these counts are as expected. Gives itself back.
    #[track_caller]
    pub fn counts(self, expected: &[(&str, u64)]) -> Self {
        let found: Vec<(&str, u64)> = expected.iter().map(|&(field, _)| (field, self.count(field))).collect();
        assert_eq!(found, expected, "{:#}", self.job());
        self
    }

    /// Kind and path of everything in a list, `problems` or `recovered`, sorted.
    #[track_caller]
    pub fn list(&self, field: &str) -> Vec<(String, String)> {
        let text = |entry: &Value, key: &str| entry[key].as_str().expect("text").to_owned();
        let entries = self.job()[field].as_array().expect("a list");
        let mut list: Vec<_> = entries.iter().map(|e| (text(e, "kind"), text(e, "path"))).collect();
        list.sort();
        list
    }

    /// Why it failed, halted or holds.
    #[track_caller]
    pub fn message(&self) -> &str {
        self.job()["message"].as_str().unwrap_or_else(|| panic!("no message: {:#}", self.job()))
    }

    /// Whether the message has all of these parts. Gives itself back.
    #[track_caller]
    pub fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.message().contains(part), "{part:?} is not in: {}", self.message());
        }
        self
    }
}

/// Asks again and again until the answer is yes.
#[track_caller]
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "it takes too long to {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Writes files, making their folders.
pub fn write(root: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a new folder");
        fs::write(path, content).expect("a file can be written");
    }
}

/// The content of a file; `None` if there is nothing.
pub fn read(path: &Path) -> Option<String> {
    match fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// How many files there are in a tree, what is ours left out.
pub fn files_in(root: &Path) -> usize {
    let entries = fs::read_dir(root).unwrap_or_else(|e| panic!("{}: {e}", root.display()));
    let ours = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".highwater");
    entries
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| !ours(&entry.file_name()))
        .map(|entry| match entry.file_type().expect("a kind").is_dir() {
            true => files_in(&entry.path()),
            false => 1,
        })
        .sum()
}
