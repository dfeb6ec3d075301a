//! A real OpenSSH server for one test: own host keys, own configuration, own log, on a free loopback port.

use std::fs::{self, File, Permissions};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid};
use tempfile::TempDir;

use super::account;
use super::pam::Pam;

const PROGRAM: &str = "/usr/sbin/sshd";

/// How long the server may take to listen, or to do what a test waits for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// Whoever runs the tests.
    Current,
    /// The ordinary user [`account::ORDINARY`]; root only.
    Ordinary,
}

/// What answers SFTP requests.
#[derive(Debug, Clone)]
pub enum Subsystem {
    /// Inside sshd's own process.
    Internal,
    /// The program `sftp-server` with `args`, after the shell lines `setup` (`ulimit -f 100`, `export …`).
    External { args: String, setup: String },
}

/// How to start a server.
#[derive(Debug)]
pub struct Options {
    /// What answers SFTP requests.
    pub subsystem: Subsystem,
    /// Who logs in.
    pub account: Account,
    /// Types of the host keys, as ssh-keygen's `-t` takes them.
    pub host_keys: Vec<&'static str>,
    /// Who is asked in a keyboard-interactive login; with `UsePAM yes`, nobody means the service `sshd`.
    pub pam: Option<Pam>,
    /// More lines for sshd_config. They come first, and the first value of a keyword wins.
    pub config: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            subsystem: Subsystem::Internal,
            account: Account::Current,
            host_keys: vec!["ed25519"],
            pam: None,
            config: Vec::new(),
        }
    }
}

impl Options {
    /// `sftp-server` as a program of its own, with `args` and after the shell lines `setup`.
    pub fn external(args: &str, setup: &str) -> Self {
        let subsystem = Subsystem::External { args: args.into(), setup: setup.into() };
        Self { subsystem, ..Self::default() }
    }

    /// The same with the ordinary user logging in.
    pub fn ordinary_user(self) -> Self {
        Self { account: Account::Ordinary, ..self }
    }
}

/// A running server; gone when dropped.
pub struct Sshd {
    folder: TempDir,
    user: String,
    port: u16,
    host_keys: Vec<&'static str>,
    pam: Option<Pam>,
    listener: Option<Child>,
}

impl Sshd {
    /// Starts a server and waits until it listens.
    pub fn start(options: Options) -> Self {
        assert!(Path::new(PROGRAM).exists(), "sshd is not installed: apt-get install openssh-server");
        let user = match options.account {
            Account::Current => account::current(),
            Account::Ordinary => account::ordinary().to_string(),
        };
        // Orphaned sessions become our children, to be reaped by us: not every container has an init that does.
        set_child_subreaper(Some(getpid())).expect("orphans can be taken over");
        let folder = tempfile::tempdir().expect("a temporary folder");
        set_mode(folder.path(), 0o755);
        let mut sshd =
            Self { folder, user, port: 0, host_keys: options.host_keys.clone(), pam: None, listener: None };
        sshd.prepare(&options);
        sshd.pam = options.pam;
        sshd.start_again();
        sshd
    }

    fn prepare(&self, options: &Options) {
        if account::is_root() {
            // Where the server locks its unprivileged half in; made by the service unit otherwise.
            fs::create_dir_all("/run/sshd").expect("/run/sshd can be made");
        }
        fs::create_dir(self.data()).expect("the data folder can be made");
        let (uid, gid) = account::numbers(&self.user);
        chown(self.data(), Some(uid), Some(gid)).expect("the data folder can be given away");
        self.new_host_keys();
        generate_key(&self.client_key_path(), "ed25519", "");
        self.authorize(&self.client_key_path().with_extension("pub"));
        write(&self.file("sshd_config"), &self.config(options), 0o644);
    }

    fn config(&self, options: &Options) -> String {
        let mut lines = options.config.clone();
        lines.extend(self.host_keys.iter().map(|kind| format!("HostKey {}", self.host_key(kind).display())));
        lines.push(format!("AuthorizedKeysFile {}", self.file("authorized_keys").display()));
        lines.push(format!("Subsystem sftp {}", self.subsystem(&options.subsystem)));
        let fixed = "LogLevel VERBOSE\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n\
                     PasswordAuthentication no\nKbdInteractiveAuthentication no\nUseDNS no\nPrintMotd no\n\
                     MaxStartups 1000\nMaxSessions 1000\nMaxAuthTries 20\nLoginGraceTime 60\n";
        format!("{}\n{fixed}", lines.join("\n"))
    }

    fn subsystem(&self, subsystem: &Subsystem) -> String {
        let Subsystem::External { args, setup } = subsystem else {
            return "internal-sftp".into();
        };
        let places =
            ["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server"];
        let program = places.iter().find(|p| Path::new(p).exists());
        let program = program.expect("sftp-server is not installed: apt-get install openssh-sftp-server");
        let script = self.file("sftp-server");
        write(&script, &format!("#!/bin/sh\n{setup}\nexec {program} {args}\n"), 0o755);
        script.display().to_string()
    }

    /// Starts the server after [`stop`](Self::stop): same port, same keys, same configuration.
    pub fn start_again(&mut self) {
        assert!(self.listener.is_none(), "the server is running");
        let chosen = self.port;
        for _ in 0..20 {
            if chosen == 0 {
                self.port = free_port();
            }
            if self.try_start() {
                return;
            }
        }
        panic!("sshd does not start:\n{}", self.log());
    }

    /// `false` when the port was taken in the meantime.
    fn try_start(&mut self) -> bool {
        let log =
            File::options().create(true).append(true).open(self.file("log")).expect("the log can be made");
        let seen = self.log().len();
        let mut command = Command::new(self.program());
        command.args(["-D", "-e", "-f"]).arg(self.file("sshd_config"));
        command.args(["-o", &format!("ListenAddress=127.0.0.1:{}", self.port)]);
        if self.knows("PerSourcePenalties=no") {
            command.args(["-o", "PerSourcePenalties=no"]); // OpenSSH 9.8 and newer: tests fail to log in on purpose
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.listener = Some(child.expect("sshd can be run"));
        let listening = format!("Server listening on 127.0.0.1 port {}.", self.port);
        self.wait_until("listen", |sshd| sshd.log()[seen..].contains(&listening) || sshd.has_ended());
        if !self.has_ended() {
            return true;
        }
        self.listener = None;
        let log = self.log();
        assert!(log[seen..].contains("Cannot bind any address"), "sshd does not start:\n{log}");
        false
    }

    /// The service that sshd asks of PAM is called as sshd itself.
    fn program(&self) -> PathBuf {
        let Some(pam) = &self.pam else { return PROGRAM.into() };
        let program = self.file(pam.service());
        if !program.exists() {
            symlink(PROGRAM, &program).expect("sshd can be given another name");
        }
        program
    }

    fn knows(&self, option: &str) -> bool {
        let mut command = Command::new(PROGRAM);
        command.args(["-t", "-f"]).arg(self.file("sshd_config")).args(["-o", option]);
        command.output().expect("sshd can be run").status.success()
    }

    fn has_ended(&mut self) -> bool {
        let listener = self.listener.as_mut().expect("a running server");
        listener.try_wait().expect("the server can be waited for").is_some()
    }

    /// Waits until `done`, looking again and again; panics with `what` and the log when it takes too long.
    pub fn wait_until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "sshd takes too long to {what}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops the server and cuts every connection.
    pub fn stop(&mut self) {
        self.kill_sessions();
        if let Some(mut listener) = self.listener.take() {
            listener.kill().expect("the server can be killed");
            listener.wait().expect("the server can be waited for");
            // A child that it forked just now has the port for a moment longer.
            let port = self.port;
            self.wait_until("let go of its port", |_| TcpStream::connect(("127.0.0.1", port)).is_err());
        }
    }

    /// Cuts every connection by killing the processes that serve them; the server goes on listening.
    /// An external `sftp-server` is left to work through its queue, as after a cut in the wild.
    pub fn kill_sessions(&self) {
        let sessions = self.sessions();
        for &pid in &sessions {
            let _ = kill_process(pid, Signal::KILL); // it may have ended by itself meanwhile
        }
        let deadline = Instant::now() + PATIENCE;
        while !sessions.iter().all(|&pid| is_gone(pid)) {
            assert!(Instant::now() < deadline, "sessions of sshd do not die");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The sshd processes below the listening one.
    fn sessions(&self) -> Vec<Pid> {
        let Some(listener) = &self.listener else {
            return Vec::new();
        };
        let processes = processes();
        let mut family = vec![listener.id()];
        let mut next = 0;
        while next < family.len() {
            let parent = family[next];
            family.extend(processes.iter().filter(|p| p.parent == parent && p.is_sshd).map(|p| p.pid));
            next += 1;
        }
        family[1..].iter().filter_map(|&pid| Pid::from_raw(i32::try_from(pid).ok()?)).collect()
    }

    /// The port it listens on, at 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Who logs in.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// A folder of this server that belongs to the user who logs in. Absolute.
    pub fn data(&self) -> PathBuf {
        self.file("data")
    }

    /// A private key that is let in: ed25519, without a passphrase.
    pub fn client_key_path(&self) -> PathBuf {
        self.file("client_key")
    }

    /// Lets in whoever holds the private key of this public key file.
    pub fn authorize(&self, public_key: &Path) {
        let file = self.file("authorized_keys");
        let mut keys = fs::read_to_string(&file).unwrap_or_default();
        keys.push_str(&fs::read_to_string(public_key).expect("a public key"));
        write(&file, &keys, 0o644);
    }

    /// Replaces the host keys. A running server goes on with the old ones.
    pub fn new_host_keys(&self) {
        for kind in &self.host_keys {
            generate_key(&self.host_key(kind), kind, "");
        }
    }

    /// The fingerprint of the first host key: `SHA256:…`.
    pub fn host_key_fingerprint(&self) -> String {
        let output = Command::new("ssh-keygen").arg("-lf").arg(self.host_key(self.host_keys[0])).output();
        let output = output.expect("ssh-keygen can be run");
        let line = String::from_utf8(output.stdout).expect("text");
        line.split_whitespace().nth(1).expect("a fingerprint").to_string()
    }

    /// The host key of a type as `ssh-ed25519 AAAA…`.
    pub fn host_key_text(&self, kind: &str) -> String {
        let line = fs::read_to_string(self.host_key(kind).with_extension("pub")).expect("a public key");
        line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    }

    /// A line for known_hosts with the first host key.
    pub fn known_hosts_line(&self) -> String {
        format!("[127.0.0.1]:{} {}\n", self.port, self.host_key_text(self.host_keys[0]))
    }

    /// A known_hosts file that knows exactly this server. Written anew by each call.
    pub fn known_hosts_path(&self) -> PathBuf {
        let file = self.file("known_hosts");
        write(&file, &self.known_hosts_line(), 0o644);
        file
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.file("log")).unwrap_or_default()).into_owned()
    }

    /// How many connections the server has accepted.
    pub fn connections(&self) -> usize {
        self.log().lines().filter(|line| line.starts_with("Connection from ")).count()
    }

    /// How many logins the server has granted.
    pub fn logins(&self) -> usize {
        let grants = |line: &&str| line.starts_with("Accepted ") && line.contains(" ssh2");
        self.log().lines().filter(grants).count()
    }

    /// A file of this server's own folder, gone with it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn host_key(&self, kind: &str) -> PathBuf {
        self.file(&format!("host_key_{kind}"))
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Makes a key pair with ssh-keygen: `path` and `path.pub`.
pub fn generate_key(path: &Path, kind: &str, passphrase: &str) {
    for old in [path.to_path_buf(), path.with_extension("pub")] {
        let _ = fs::remove_file(old); // there is none the first time; ssh-keygen would ask
    }
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", kind, "-N", passphrase, "-C", "test", "-f"]).arg(path);
    if kind == "rsa" {
        command.args(["-b", "2048"]);
    }
    let output = command.output().expect("ssh-keygen is not installed: apt-get install openssh-client");
    assert!(output.status.success(), "ssh-keygen: {}", String::from_utf8_lossy(&output.stderr));
}

/// Below the ports that the system hands out itself: nobody is given it while the server is stopped. Each process
/// of tests begins to look somewhere else.
fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 22_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut candidates = (0..COUNT).map(|_| {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = std::process::id().wrapping_mul(7919).wrapping_add(step) % COUNT;
        u16::try_from(FIRST + offset).expect("a port")
    });
    candidates.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).expect("a file of the server can be written");
    set_mode(path, mode);
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("the mode can be set");
}

/// Whether a killed process is gone. Those whose parent was killed too fall to us (see `Sshd::start`).
fn is_gone(pid: Pid) -> bool {
    let _ = waitpid(Some(pid), WaitOptions::NOHANG); // fails where the listener is the parent and reaps
    !Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).exists()
}

struct Process {
    pid: u32,
    parent: u32,
    is_sshd: bool,
}

/// All processes, from /proc. One that ends meanwhile is left out.
fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").expect("/proc is there").flatten();
    entries.filter_map(|entry| process(entry.file_name().to_str()?.parse().ok()?)).collect()
}

fn process(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?; // proc(5): pid (name) state parent …
    let parent = rest.split_whitespace().nth(1)?.parse().ok()?;
    Some(Process { pid, parent, is_sshd: name.starts_with("sshd") })
}

#[test]
fn stops_starts_again_and_cuts_its_sessions() {
    let mut sshd = Sshd::start(Options::default());
    let (port, before) = (sshd.port(), sshd.host_key_fingerprint());
    assert!(before.starts_with("SHA256:"), "{before}");
    let connect = |port| std::net::TcpStream::connect(("127.0.0.1", port));
    let _first = connect(port).expect("the server listens");
    sshd.wait_until("accept the connection", |sshd| sshd.connections() == 1 && sshd.sessions().len() == 1);
    sshd.kill_sessions();
    sshd.wait_until("lose the session", |sshd| sshd.sessions().is_empty());
    let _second = connect(port).expect("the server still listens");
    sshd.stop();
    assert!(connect(port).is_err());
    sshd.new_host_keys();
    sshd.start_again();
    assert_eq!(sshd.port(), port);
    assert_ne!(sshd.host_key_fingerprint(), before);
}
