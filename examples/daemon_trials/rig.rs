//! Two roots, an sshd between them, a line with or without delay, and the daemon.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::relay::{Line, Relay};
use crate::sshd::{Options, Sshd};
use crate::{Doing, Given, Result};

/// How long anything may take that takes a moment.
const PATIENCE: Duration = Duration::from_secs(120);

/// A near root, a far root and a server. In its folder: `near`, `home`, `state`, `config.yml`, `key`.
pub struct Rig {
    folder: tempfile::TempDir,
    program: PathBuf,
    /// The server.
    pub sshd: Sshd,
    relay: Option<Relay>,
}

impl Rig {
    /// Both roots empty. The line takes `round_trip` there and back.
    pub fn start(given: &Given, round_trip: Duration) -> Result<Self> {
        Self::start_with(given, round_trip, Vec::new())
    }

    /// The same with more lines for sshd_config.
    pub fn start_with(given: &Given, round_trip: Duration, config: Vec<String>) -> Result<Self> {
        let folder = tempfile::tempdir().doing("make a folder")?;
        let sshd = Sshd::start(Options { config, ..Options::external("", "") });
        fs::copy(sshd.client_key_path(), folder.path().join("key")).doing("copy the key")?;
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, sshd.port()));
        let relay = match round_trip.is_zero() {
            true => None,
            false => Some(Relay::start(server, Line { round_trip, rate: None })?),
        };
        let rig = Self { folder, program: given.program.clone(), sshd, relay };
        for folder in [rig.near(), rig.far(), rig.file("home/.ssh")] {
            fs::create_dir_all(folder).doing("make a folder")?;
        }
        let line = format!("[127.0.0.1]:{} {}\n", rig.port(), rig.sshd.host_key_text("ed25519"));
        fs::write(rig.file("home/.ssh/known_hosts"), line).doing("write known_hosts")?;
        Ok(rig)
    }

    /// Where clients connect.
    pub fn port(&self) -> u16 {
        self.relay.as_ref().map_or(self.sshd.port(), Relay::port)
    }

    /// A file of the rig's own folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The root that is pushed.
    pub fn near(&self) -> PathBuf {
        self.file("near")
    }

    /// The root that follows, as this machine sees it.
    pub fn far(&self) -> PathBuf {
        self.sshd.data().join("far")
    }

    /// What the config says of the server.
    pub fn server(&self, name: &str) -> String {
        let (port, user, key) = (self.port(), self.sshd.user(), self.file("key"));
        format!(
            "  {name}: {{host: 127.0.0.1, port: {port}, user: {user}, auth: {{key: {}}}}}\n",
            key.display()
        )
    }

    /// Writes a config with the job `j`, a push that deletes; `more` are further lines of the job.
    pub fn configure(&self, more: &str) -> Result<()> {
        let more: String = more.lines().map(|line| format!("    {line}\n")).collect();
        let text = format!(
            "version: 1\nservers:\n{}jobs:\n  j:\n    mode: push\n    local: {}\n    remote: far:{}\n    delete: true\n{more}",
            self.server("far"),
            self.near().display(),
            self.far().display(),
        );
        fs::write(self.file("config.yml"), text).doing("write the config")
    }

    /// The program with the rig's state and config.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--state").arg(self.file("state")).arg("--config").arg(self.file("config.yml"));
        command.env("HOME", self.file("home")).env_remove("XDG_CONFIG_HOME").env_remove("SSH_AUTH_SOCK");
        command.env_remove("NOTIFY_SOCKET").env_remove("JOURNAL_STREAM").stdin(Stdio::null());
        command
    }

    /// What a command prints with `--json`; its exit code has to be 0.
    pub fn ask(&self, words: &[&str]) -> Result<Value> {
        let output = self.command().args(words).arg("--json").output().doing("run highwater")?;
        let text = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(format!("highwater {}: {}: {text}", words.join(" "), output.status));
        }
        serde_json::from_slice(&output.stdout).doing("read what highwater prints")
    }

    /// What `status` says of the job `j`.
    pub fn status(&self) -> Result<Value> {
        Ok(self.ask(&["status"])?["jobs"][0].clone())
    }

    /// The rounds of the job `j`, the last one first.
    pub fn rounds(&self) -> Result<Vec<Value>> {
        let log = self.ask(&["log", "j"])?;
        log["jobs"][0]["rounds"].as_array().cloned().ok_or_else(|| format!("no rounds: {log}"))
    }

    /// Starts the daemon and waits until it says so.
    pub fn daemon(&self) -> Result<Daemon> {
        let daemon = self.launch()?;
        wait_until("start the daemon", || Ok(self.status().is_ok_and(|job| job["daemon"].is_object())))?;
        Ok(daemon)
    }

    /// Starts the daemon.
    pub fn launch(&self) -> Result<Daemon> {
        let log = File::options().create(true).append(true).open(self.file("daemon.log"));
        let log = log.doing("make the daemon's log")?;
        let child = self.command().arg("daemon").stdout(Stdio::null()).stderr(log).spawn();
        Ok(Daemon { child: child.doing("start the daemon")? })
    }

    /// Waits until the watcher stands and all that was there is carried.
    pub fn wait_until_watched(&self) -> Result<()> {
        wait_until("watch", || Ok(self.status()?["daemon"]["watch"] == "whole"))?;
        self.wait()
    }

    /// Waits until the job has nothing left to do.
    pub fn wait(&self) -> Result<()> {
        // What was written just now may not have come to the watcher's ears.
        std::thread::sleep(Duration::from_millis(300));
        self.ask(&["wait", "--job", "j", "--timeout", "20m"]).map(drop)
    }

    /// Waits for the daemon, then compares both sides.
    pub fn compare(&self) -> Result<()> {
        self.wait()?;
        crate::compare::compare(&self.near(), &self.far()).map(drop)
    }
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
}

impl Daemon {
    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(pid(self.id())?, signal).doing("signal the daemon")
    }

    /// Waits until it has ended; says how, and how long that took.
    pub fn wait(&mut self) -> Result<(ExitStatus, Duration)> {
        let began = Instant::now();
        let status = self.child.wait().doing("wait for the daemon")?;
        Ok((status, began.elapsed()))
    }

    /// Ends it as a service manager does. How long that took.
    pub fn stop(&mut self) -> Result<Duration> {
        self.signal(Signal::TERM)?;
        let (status, took) = self.wait()?;
        match status.success() {
            true => Ok(took),
            false => Err(format!("the daemon ended with {status}")),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

/// A process by its number.
pub fn pid(number: u32) -> Result<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw).ok_or_else(|| format!("{number} is no process"))
}

/// Asks again and again until the answer is yes.
pub fn wait_until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !done()? {
        if Instant::now() > deadline {
            return Err(format!("it takes too long to {what}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Writes a file, making its folder.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    let folder = path.parent().ok_or("a file is in a folder")?;
    fs::create_dir_all(folder).doing("make a folder")?;
    fs::write(path, content).doing("write a file")
}
