//! Two ends for one round after another: a folder here, and one on a server of any flavour.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::account;
use super::program::{Program, Round};
use super::sshd::{Account, Options, Sshd, generate_key};
use super::tree_of::{Times, assert_same};

/// What answers at the far side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// OpenSSH with SFTP inside sshd.
    Internal,
    /// OpenSSH with `sftp-server` as a program of its own.
    External,
    /// `highwater serve`.
    Served,
}

impl Flavour {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Internal, Self::External, Self::Served];
}

/// A near folder, a far folder, and the program that carries between them.
pub struct Pair {
    /// The program on this side.
    pub program: Program,
    /// The server.
    pub server: Server,
    near: TempDir,
}

/// A running server of any flavour.
pub enum Server {
    /// OpenSSH.
    Sshd(Box<Sshd>),
    /// Our own.
    Serve(Serve),
}

impl Pair {
    /// Both ends belong to whoever runs the tests.
    pub fn new(flavour: Flavour) -> Self {
        match flavour {
            Flavour::Internal => Self::with_sshd(Program::new(), Options::default()),
            Flavour::External => Self::with_sshd(Program::new(), Options::external("", "")),
            Flavour::Served => Self::with(Program::new(), Server::Serve(Serve::start(&[]))),
        }
    }

    /// A pair with OpenSSH at the far side.
    pub fn with_sshd(program: Program, options: Options) -> Self {
        let sshd = Sshd::start(options);
        program.trust(&sshd.known_hosts_line());
        Self::with(program, Server::Sshd(Box::new(sshd)))
    }

    /// Both the program and the far account are the ordinary user's.
    pub fn of_ordinary_user(options: Options) -> Self {
        let program = Program::of_ordinary_user();
        let pair = Self::with_sshd(program, Options { account: Account::Ordinary, ..options });
        let numbers = account::numbers(account::ORDINARY);
        chown(pair.near.path(), Some(numbers.0), Some(numbers.1)).expect("the near folder can be given away");
        chown(pair.server.key(), Some(numbers.0), Some(numbers.1)).expect("the key can be given away");
        pair
    }

    fn with(program: Program, server: Server) -> Self {
        if let Server::Serve(serve) = &server {
            program.trust(&format!("{}\n", serve.known_hosts));
        }
        Self { program, server, near: tempfile::tempdir().expect("a temporary folder") }
    }

    /// The near root. Not made yet.
    pub fn near(&self) -> PathBuf {
        self.near.path().join("near")
    }

    /// The far root as this machine sees it. Not made yet.
    pub fn far(&self) -> PathBuf {
        self.server.data().join("far")
    }

    /// What is typed for a path of the server's data folder.
    pub fn url(&self, path: impl AsRef<[u8]>) -> OsString {
        let Server::Sshd(sshd) = &self.server else { return self.server.url(b"", path.as_ref()) };
        self.server.url(sshd.data().as_os_str().as_bytes(), path.as_ref())
    }

    /// The flags that every round needs.
    pub fn identity(&self) -> [OsString; 2] {
        ["-i".into(), self.server.key().into()]
    }

    /// Pushes the near root to the far one.
    pub fn push(&self, flags: &[&str]) -> Round {
        self.carry("push", self.near().into(), self.url("far"), flags)
    }

    /// Pulls the far root to the near one.
    pub fn pull(&self, flags: &[&str]) -> Round {
        self.carry("pull", self.url("far"), self.near().into(), flags)
    }

    /// One round between any two ends.
    pub fn carry(&self, command: &str, source: OsString, target: OsString, flags: &[&str]) -> Round {
        let mut rounds = self.program.rounds(self.args(command, source, target, flags));
        assert_eq!(rounds.len(), 1);
        rounds.remove(0)
    }

    /// The arguments of one round.
    pub fn args(&self, command: &str, source: OsString, target: OsString, flags: &[&str]) -> Vec<OsString> {
        let flags = flags.iter().map(OsString::from);
        [OsString::from(command)]
            .into_iter()
            .chain(self.identity())
            .chain(flags)
            .chain([source, target])
            .collect()
    }

    /// Whether one more push does nothing at all, not even connect, and both sides are alike.
    #[track_caller]
    pub fn is_pushed(&self, flags: &[&str]) {
        let before = self.connections();
        self.push(flags).ok().nothing();
        assert_eq!(self.connections(), before, "a push that changes nothing does not connect");
        assert_same(&self.near(), &self.far(), Times::Seconds);
    }

    /// Whether one more pull does nothing at all, and both sides are alike.
    #[track_caller]
    pub fn is_pulled(&self, flags: &[&str]) {
        self.pull(flags).ok().nothing();
        assert_same(&self.near(), &self.far(), Times::Seconds);
    }

    /// How many connections the server accepted so far; `None` where it does not say.
    pub fn connections(&self) -> Option<usize> {
        match &self.server {
            Server::Sshd(sshd) => Some(sshd.connections()),
            Server::Serve(_) => None,
        }
    }
}

impl Drop for Pair {
    /// Whoever may not write in a folder cannot remove what is in it either.
    fn drop(&mut self) {
        for root in [self.near.path().to_path_buf(), self.server.data()] {
            open_folders(&root);
        }
    }
}

fn open_folders(folder: &Path) {
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700)); // somebody else's stays as it is
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        open_folders(&entry.path());
    }
}

impl Server {
    /// The folder that clients see, on this machine.
    pub fn data(&self) -> PathBuf {
        match self {
            Server::Sshd(sshd) => sshd.data(),
            Server::Serve(serve) => serve.data.path().into(),
        }
    }

    /// A private key that is let in.
    pub fn key(&self) -> PathBuf {
        match self {
            Server::Sshd(sshd) => sshd.client_key_path(),
            Server::Serve(serve) => serve.key(),
        }
    }

    /// Where it listens, at 127.0.0.1, and who logs in.
    pub fn login(&self) -> (String, u16) {
        match self {
            Server::Sshd(sshd) => (sshd.user().into(), sshd.port()),
            Server::Serve(serve) => ("ann".into(), serve.port),
        }
    }

    fn url(&self, folder: &[u8], path: &[u8]) -> OsString {
        let (user, port) = self.login();
        let mut url = format!("sftp://{user}@127.0.0.1:{port}");
        for byte in [folder, b"/", path].concat() {
            match byte {
                b'/' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => url.push(byte.into()),
                other => write!(url, "%{other:02x}").expect("a string takes it"),
            }
        }
        url.into()
    }
}

/// `highwater serve` on a free port; gone when dropped.
pub struct Serve {
    data: TempDir,
    program: Program,
    process: Child,
    port: u16,
    known_hosts: String,
}

impl Serve {
    /// Starts it with more flags and waits until it says where it listens. The user is `ann`.
    pub fn start(flags: &[&str]) -> Self {
        let (data, program) = (tempfile::tempdir().expect("a temporary folder"), Program::new());
        let key = program.home().join("client_key");
        generate_key(&key, "ed25519", "");
        let mut args: Vec<&OsStr> = vec!["--json".as_ref(), "serve".as_ref(), data.path().as_ref()];
        args.extend(["--listen", "127.0.0.1:0", "--user", "ann", "--authorized-keys"].map(OsStr::new));
        let public = key.with_extension("pub");
        args.push(public.as_ref());
        args.extend(flags.iter().map(OsStr::new));
        let mut command = program.command(args);
        let mut process = command.stdout(Stdio::piped()).spawn().expect("the program can be run");
        let said = first_document(&mut process);
        let port = said["port"].as_u64().and_then(|port| port.try_into().ok()).expect("a port");
        let known_hosts = said["known_hosts"].as_str().expect("a line").to_owned();
        Self { data, program, process, port, known_hosts }
    }

    /// Its line for known_hosts.
    pub fn known_hosts(&self) -> &str {
        &self.known_hosts
    }

    fn key(&self) -> PathBuf {
        self.program.home().join("client_key")
    }
}

fn first_document(process: &mut Child) -> Value {
    let mut lines = BufReader::new(process.stdout.as_mut().expect("a pipe")).lines();
    let mut text = String::new();
    while !text.ends_with('}') {
        text += &lines.next().expect("the server says where it listens").expect("text");
    }
    serde_json::from_str(&text).expect("a document")
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM); // it may have ended by itself
        let _ = self.process.wait(); // nothing is left to be told
    }
}

/// Writes a file and gives it an age, so that a look right after it is beyond doubt.
pub fn write_aged(path: &Path, content: impl AsRef<[u8]>, age_secs: u64) {
    fs::write(path, content).expect("the file can be written");
    let time = std::time::SystemTime::now() - std::time::Duration::from_secs(age_secs);
    let file = fs::File::options().write(true).open(path).expect("the file is there");
    file.set_modified(time).expect("the time can be set");
}
