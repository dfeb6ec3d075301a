//! Highwater and its peers: what each is told to do, all the same thing.
//!
//! Every tool keeps modification times, compresses nothing, and carries the contents of one folder into
//! another that is there and empty.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::access::Access;
use crate::{Doing, Result};

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To the server.
    Push,
    /// From the server.
    Pull,
}

/// What a tool is here for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// What is measured.
    Ours,
    /// What it is measured by.
    Peer,
    /// For orientation: it compares nothing and goes on from nowhere, so it does not count as a peer.
    Extra,
}

/// One way of running one program.
pub struct Tool {
    /// As people name it on the command line of the benchmark.
    pub name: &'static str,
    /// What it is here for.
    pub role: Role,
    /// The programs it needs on the search path; none for ours.
    pub needs: &'static [&'static str],
    command: fn(&Task) -> Result<Command>,
}

/// One thing to do.
pub struct Task<'a> {
    /// Which way.
    pub direction: Direction,
    /// The folder here: source of a push, target of a pull. Its last name is the same as that of `far`.
    pub near: PathBuf,
    /// The folder there.
    pub far: PathBuf,
    /// The port on 127.0.0.1: of sshd, or of a relay before it.
    pub port: u16,
    /// How to log in.
    pub access: &'a Access,
    /// The program that is measured.
    pub highwater: &'a Path,
    /// A folder that outlives one run as long as both ends do.
    pub state: PathBuf,
}

/// All of them, in the order in which they take turns.
pub const TOOLS: &[Tool] = &[
    ours("highwater-ack", |task| highwater(task, &["--verify", "ack", "--durable", "no"])),
    ours("highwater-full", |task| highwater(task, &["--verify", "full", "--durable", "no"])),
    ours("highwater-default", |task| highwater(task, &[])),
    peer("rsync", &["rsync", "ssh"], |task| rsync(task, &[])),
    peer("rsync-fsync", &["rsync", "ssh"], |task| rsync(task, &["--fsync"])),
    peer("sftp", &["sftp", "ssh"], sftp),
    peer("scp", &["scp", "ssh"], scp),
    peer("rclone", &["rclone"], |task| rclone(task, &UNCHECKED)),
    peer("rclone-32", &["rclone"], |task| rclone(task, &[&UNCHECKED[..], &MANY].concat())),
    peer("rclone-hash", &["rclone"], |task| rclone(task, &[])),
    peer("lftp", &["lftp", "ssh"], lftp),
    Tool { name: "tar", role: Role::Extra, needs: &["tar", "ssh"], command: tar },
];

const fn ours(name: &'static str, command: fn(&Task) -> Result<Command>) -> Tool {
    Tool { name, role: Role::Ours, needs: &[], command }
}

const fn peer(
    name: &'static str,
    needs: &'static [&'static str],
    command: fn(&Task) -> Result<Command>,
) -> Tool {
    Tool { name, role: Role::Peer, needs, command }
}

/// The tool of this name. Names stand in this program only.
pub fn named(name: &str) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.name == name)
}

impl Tool {
    /// The command line that does it.
    pub fn command(&self, task: &Task) -> Result<Command> {
        (self.command)(task)
    }

    /// The first program it needs that is not there.
    pub fn missing(&self) -> Option<&'static str> {
        self.needs.iter().copied().find(|program| !is_on_path(program))
    }
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

impl Task<'_> {
    /// From where to where, as OpenSSH's and rsync's users write it; with a slash at the end.
    fn ends(&self) -> (String, String) {
        let near = format!("{}/", self.near.display());
        let far = format!("{}@127.0.0.1:{}/", self.access.user, self.far.display());
        self.ordered(near, far)
    }

    fn ordered<T>(&self, near: T, far: T) -> (T, T) {
        match self.direction {
            Direction::Push => (near, far),
            Direction::Pull => (far, near),
        }
    }

    fn ssh(&self) -> String {
        self.access.ssh(self.port)
    }

    fn host(&self) -> String {
        format!("{}@127.0.0.1", self.access.user)
    }
}

fn highwater(task: &Task, levels: &[&str]) -> Result<Command> {
    let far = format!("sftp://{}:{}{}", task.host(), task.port, task.far.display());
    let (source, target) = task.ordered(task.near.display().to_string(), far);
    let mut command = task.access.command(task.highwater);
    command.arg(match task.direction {
        Direction::Push => "push",
        Direction::Pull => "pull",
    });
    command.arg("-i").arg(&task.access.key).arg("--state").arg(&task.state);
    command.args(["--accept-new-host-key", "--quiet", "--json"]).args(levels).args([source, target]);
    Ok(command)
}

fn rsync(task: &Task, more: &[&str]) -> Result<Command> {
    let (source, target) = task.ends();
    let mut command = task.access.command("rsync");
    command.arg("-a").args(more).arg("-e").arg(task.ssh()).args([source, target]);
    Ok(command)
}

fn sftp(task: &Task) -> Result<Command> {
    // A folder goes below one that is there, under its own name.
    let (from, to) = task.ordered(&task.near, &task.far);
    let verb = match task.direction {
        Direction::Push => "put",
        Direction::Pull => "get",
    };
    let batch = task.access.home.join("sftp-batch");
    let line = format!("{verb} -rp {} {}\n", from.display(), parent(to)?.display());
    fs::write(&batch, line).doing("write a batch file")?;
    let mut command = task.access.command("sftp");
    command.arg("-q").arg("-F").arg(&task.access.ssh_config).arg("-b").arg(&batch);
    command.arg("-P").arg(task.port.to_string()).arg(task.host());
    Ok(command)
}

fn scp(task: &Task) -> Result<Command> {
    let far = |path: &Path| format!("{}:{}", task.host(), path.display());
    let (source, target) = match task.direction {
        Direction::Push => (task.near.display().to_string(), far(parent(&task.far)?)),
        Direction::Pull => (far(&task.far), parent(&task.near)?.display().to_string()),
    };
    let mut command = task.access.command("scp");
    command.args(["-q", "-r", "-p", "-F"]).arg(&task.access.ssh_config);
    command.arg("-P").arg(task.port.to_string()).args([source, target]);
    Ok(command)
}

fn parent(path: &Path) -> Result<&Path> {
    path.parent().ok_or_else(|| format!("{} has no parent", path.display()))
}

/// For rclone: no checksums after the copy, and no commands run on the server to make some.
const UNCHECKED: [&str; 2] = ["--ignore-checksum", "--sftp-disable-hashcheck"];

/// For rclone: more at once than its defaults of 4 and 8, as its users do where latency is high.
const MANY: [&str; 2] = ["--transfers=32", "--checkers=32"];

fn rclone(task: &Task, more: &[&str]) -> Result<Command> {
    let far = format!(":sftp:{}", task.far.display());
    let (source, target) = task.ordered(task.near.display().to_string(), far);
    let mut command = task.access.command("rclone");
    command.arg("copy").args(more).arg("--config").arg(task.access.home.join("rclone.conf"));
    command.args(["--sftp-host", "127.0.0.1", "--sftp-port", &task.port.to_string()]);
    command.args(["--sftp-user", &task.access.user, "--sftp-key-file"]).arg(&task.access.key);
    command.arg("--sftp-known-hosts-file").arg(&task.access.known_hosts).args([source, target]);
    Ok(command)
}

fn lftp(task: &Task) -> Result<Command> {
    let (source, target) = task.ordered(task.near.display(), task.far.display());
    let mirror = match task.direction {
        Direction::Push => "mirror -R --parallel=8",
        Direction::Pull => "mirror --parallel=8 --use-pget-n=8",
    };
    let ssh = format!("ssh -a -x -F {}", task.access.ssh_config.display());
    let script = format!(
        "set cmd:fail-exit yes; set sftp:connect-program '{ssh}'; set net:max-retries 2; \
         open -p {} -u {}, sftp://127.0.0.1; {mirror} {source} {target}",
        task.port, task.access.user
    );
    let mut command = task.access.command("lftp");
    command.arg("-c").arg(script);
    Ok(command)
}

fn tar(task: &Task) -> Result<Command> {
    let (near, far) = (task.near.display(), task.far.display());
    let (ssh, host) = (task.ssh(), task.host());
    let script = match task.direction {
        Direction::Push => format!("tar -C {near} -cf - . | {ssh} {host} tar -C {far} -xf -"),
        Direction::Pull => format!("{ssh} {host} tar -C {far} -cf - . | tar -C {near} -xf -"),
    };
    let mut command = task.access.command("sh");
    command.arg("-c").arg(script);
    Ok(command)
}
