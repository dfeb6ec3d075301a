//! Servers of other makes on free loopback ports: own keys, own configuration, own folder. Stopped by the process
//! that was started.

mod openssh;
mod proftpd;
mod rclone;
mod script;

pub use script::{python, scripts};

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process;
use crate::support::account;
use crate::support::sshd::{Sshd, generate_key};
use crate::support::tree_of::{give_to, set_mode};

/// How long a server may take to listen or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that can be started.
pub struct Kind {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it is called in the table.
    pub title: &'static str,
    /// Whether the gate has it; otherwise `--full`.
    pub in_gate: bool,
    /// Starts it, with what comes from PyPI and npm in this folder.
    pub start: fn(&Path) -> Peer,
}

/// All of them.
pub const KINDS: [Kind; 6] = [
    Kind { name: "openssh", title: "OpenSSH internal-sftp", in_gate: true, start: openssh::internal },
    Kind { name: "sftp-server", title: "OpenSSH sftp-server", in_gate: false, start: openssh::external },
    Kind { name: "proftpd", title: "ProFTPD mod_sftp", in_gate: true, start: proftpd::start },
    Kind { name: "rclone", title: "rclone serve sftp", in_gate: true, start: rclone::start },
    Kind { name: "asyncssh", title: "AsyncSSH", in_gate: true, start: script::asyncssh },
    Kind { name: "ssh2", title: "npm ssh2", in_gate: true, start: script::ssh2 },
];

/// A running server.
pub struct Peer {
    /// Its version, as its package or program says.
    pub version: String,
    /// Who logs in.
    pub user: String,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    /// A private key that is let in.
    pub client_key: PathBuf,
    /// A line for known_hosts.
    pub known_hosts: String,
    /// The folder that clients work in, as this machine has it.
    pub data: PathBuf,
    /// What clients call that folder.
    pub remote: String,
    /// What in its log tells that keys were exchanged anew; `None`: nothing does.
    rekeyed: Option<(PathBuf, &'static str)>,
    _runs: Runs,
}

/// What is gone when a peer is dropped.
enum Runs {
    Sshd { _sshd: Box<Sshd> },
    Process { _process: Process, _folder: TempDir },
}

impl Peer {
    /// How often keys were exchanged anew so far, as far as it tells.
    pub fn rekeys(&self) -> usize {
        let Some((log, mark)) = &self.rekeyed else { return 0 };
        let log = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
        log.lines().filter(|line| line.contains(mark)).count()
    }

    /// User and group number of who logs in.
    pub fn numbers(&self) -> (u32, u32) {
        account::numbers(&self.user)
    }
}

/// A folder with keys, and with `data` that belongs to the ordinary user.
struct Setting {
    folder: TempDir,
    user: String,
}

impl Setting {
    fn new() -> Self {
        let (folder, user) =
            (tempfile::tempdir().expect("a temporary folder"), account::ordinary().to_owned());
        set_mode(folder.path(), 0o755);
        let setting = Self { folder, user };
        for key in ["host_key", "client_key"] {
            generate_key(&setting.file(key), "ed25519", "");
        }
        fs::copy(setting.file("client_key.pub"), setting.file("authorized_keys")).expect("a key is let in");
        for folder in ["data", "own"] {
            fs::create_dir(setting.file(folder)).expect("a new folder");
            give_to(&setting.file(folder), account::numbers(&setting.user));
        }
        setting
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A process of the server, its output in `log`.
    fn spawn(&self, command: &mut Command) -> Process {
        let log = File::create(self.file("log")).expect("a log can be made");
        let program = command.get_program().to_owned();
        command.current_dir(self.folder.path()).env("HOME", self.file("own")).stdin(Stdio::null());
        let child = command.process_group(0).stderr(log).spawn();
        Process {
            child: child.unwrap_or_else(|e| panic!("{} cannot be run: {e}", program.display())),
            log: self.file("log"),
        }
    }

    fn peer(self, version: String, port: u16, process: Process) -> Peer {
        let line = fs::read_to_string(self.file("host_key.pub")).expect("a host key");
        let key: Vec<&str> = line.split_whitespace().take(2).collect();
        Peer {
            version,
            port,
            client_key: self.file("client_key"),
            known_hosts: format!("[127.0.0.1]:{port} {}\n", key.join(" ")),
            data: self.file("data"),
            remote: self.file("data").display().to_string(),
            rekeyed: None,
            user: self.user,
            _runs: Runs::Process { _process: process, _folder: self.folder },
        }
    }
}

/// A process that was started here, gone when dropped, with what it started.
struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The first line that it prints on standard output, which is a pipe.
    fn first_line(&mut self) -> String {
        let mut line = String::new();
        let output = self.child.stdout.as_mut().expect("a pipe");
        BufReader::new(output).read_line(&mut line).expect("it prints text");
        assert!(!line.is_empty(), "the server ended:\n{}", self.said());
        line
    }

    /// `false`: it ended before it listened.
    fn listens(&mut self, port: u16) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.child.try_wait().expect("it can be looked after").is_some() {
                return false;
            }
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return true;
            }
            assert!(Instant::now() < deadline, "the server does not listen:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        process::kill_descendants(self.child.id());
        // It may have ended by itself; what matters is that it is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts it on free ports until it listens on one: somebody else may be quicker.
fn on_free_port(mut start: impl FnMut(u16) -> Process) -> (u16, Process) {
    for _ in 0..10 {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("a port").port();
        drop(listener);
        let mut process = start(port);
        if process.listens(port) {
            return (port, process);
        }
        eprintln!("the server did not start, another port is tried: {}", process.said());
    }
    panic!("the server does not start");
}

/// What a program says of its version: its first line with a digit.
pub fn version_of(program: &str, args: &[&str], install: &str) -> String {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|e| panic!("{program} cannot be run ({e}): {install}"));
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().find(|line| line.contains(|c: char| c.is_ascii_digit()));
    line.unwrap_or("unknown").trim().to_owned()
}
