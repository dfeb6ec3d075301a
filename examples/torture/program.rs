//! The program under test, as a person starts it: one round between a folder and a server, with a home and a
//! state folder of its own.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Doing, Result};

/// A run that takes longer hangs. Far above what a server that answers nothing costs, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(900);

/// How often whoever waits for a run looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Which way is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From here to the server.
    Push,
    /// The other way.
    Pull,
}

/// The program between two roots.
#[derive(Debug, Clone)]
pub struct Program {
    /// The executable.
    pub file: PathBuf,
    /// Which way it carries.
    pub way: Way,
    /// The near root.
    pub near: PathBuf,
    /// The far root as it is typed.
    pub url: String,
    /// Its home, with a known_hosts; state and output are kept here too.
    pub home: PathBuf,
    /// The private key to log in with.
    pub key: PathBuf,
    /// The config with the job `j` that is run; `None`: one round without a config.
    pub config: Option<PathBuf>,
}

/// What one run came to.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub status: ExitStatus,
    /// Its one round in the document, if there is one.
    pub job: Value,
    /// Standard error.
    pub log: String,
}

impl Program {
    /// The state folder.
    pub fn state(&self) -> PathBuf {
        self.home.join("state")
    }

    /// The one journal in it.
    pub fn journal(&self) -> Result<PathBuf> {
        if self.config.is_some() {
            return Ok(self.state().join("journal.db"));
        }
        let pairs = fs::read_dir(self.state().join("pairs")).doing("find the journal")?;
        let found: Vec<PathBuf> = pairs.flatten().map(|pair| pair.path().join("journal.db")).collect();
        match found.as_slice() {
            [one] => Ok(one.clone()),
            many => Err(format!("{} journals where one was expected", many.len())),
        }
    }

    /// One round, about to start, with more flags.
    pub fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(&self.file);
        let (near, far) = (self.near.as_os_str(), std::ffi::OsStr::new(&self.url));
        match (&self.config, self.way) {
            (Some(config), _) => command.args(["run", "j", "--config"]).arg(config),
            (None, Way::Push) => {
                command.arg("push").arg(near).arg(far).arg("-i").arg(&self.key).arg("--delete")
            }
            (None, Way::Pull) => {
                command.arg("pull").arg(far).arg(near).arg("-i").arg(&self.key).arg("--delete")
            }
        };
        command.arg("--state").arg(self.state()).args(["--json", "--quiet"]).args(flags);
        command.env_clear().env("HOME", &self.home).env("PATH", "/usr/bin:/bin");
        command
    }

    /// Starts it.
    pub fn start(&self, command: &mut Command) -> Result<Running> {
        let log = fs::File::create(self.home.join("log")).doing("make a log")?;
        let out = fs::File::create(self.home.join("out")).doing("make a file for the output")?;
        let child = command.stdin(Stdio::null()).stdout(out).stderr(log).spawn().doing("run the program")?;
        Ok(Running { child, home: self.home.clone() })
    }

    /// One round from start to end.
    pub fn round(&self, flags: &[&str]) -> Result<Ran> {
        self.start(&mut self.command(flags))?.end()
    }
}

/// A run that has not ended. Killed when dropped.
pub struct Running {
    child: Child,
    home: PathBuf,
}

impl Running {
    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills it, if it has not ended.
    pub fn kill(&mut self) {
        let _ = self.child.kill(); // it may just have ended
    }

    /// Waits for its end.
    pub fn end(mut self) -> Result<Ran> {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().doing("wait for the program")? {
                break status;
            }
            if Instant::now() > deadline {
                return Err(format!("it hangs: {}", read(&self.home.join("log"))));
            }
            std::thread::sleep(LOOK_EVERY);
        };
        let (out, log) = (read(&self.home.join("out")), read(&self.home.join("log")));
        let document: Value = serde_json::from_str(&out).unwrap_or(Value::Null);
        Ok(Ran { status, job: document["jobs"][0].clone(), log })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_ended() {
            self.kill();
            let _ = self.child.wait(); // it is gone; nobody is left to be told how
        }
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

impl Ran {
    /// The exit code; `None` if a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Whether it ended itself by a crash point.
    pub fn has_aborted(&self) -> bool {
        self.status.signal() == Some(6) // SIGABRT (signal(7), Linux)
    }

    /// A count of its round; 0 where there is no document.
    pub fn count(&self, field: &str) -> u64 {
        self.job[field].as_u64().unwrap_or(0)
    }

    /// How many of a list of its round, `problems` or `recovered`, are of this kind.
    pub fn of_kind(&self, list: &str, kind: &str) -> usize {
        let entries = self.job[list].as_array().map_or(&[][..], Vec::as_slice);
        entries.iter().filter(|entry| entry["kind"] == kind).count()
    }

    /// Whether it ended with this code.
    pub fn ends(self, code: i32) -> Result<Self> {
        if self.code() == Some(code) {
            Ok(self)
        } else {
            Err(format!("exit code {code} expected: {}", self.describe()))
        }
    }

    /// Whether it ended well and changed nothing.
    pub fn did_nothing(self) -> Result<Self> {
        let ran = self.ends(0)?;
        const NOTHING: [&str; 8] = [
            "files_sent",
            "files_received",
            "bytes_sent",
            "bytes_received",
            "bytes_resumed",
            "renamed",
            "deleted",
            "displaced",
        ];
        match NOTHING.iter().find(|field| ran.count(field) != 0) {
            None => Ok(ran),
            Some(field) => Err(format!("a further round did something ({field}): {}", ran.describe())),
        }
    }

    /// All that is known of it.
    pub fn describe(&self) -> String {
        format!("{}; {:#}\n{}", self.status, self.job, self.log)
    }
}
