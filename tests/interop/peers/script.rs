//! Servers that are libraries: a short script round each makes a server of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Peer, Setting};
use crate::support::account;

/// Where the scripts are.
pub fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/peers/scripts")
}

/// AsyncSSH, of PyPI.
pub fn asyncssh(peers: &Path) -> Peer {
    let setting = Setting::new();
    let mut command = python(peers);
    command.arg(scripts().join("asyncssh_server.py")).arg(setting.folder.path()).arg(&setting.user);
    start(setting, &mut command, Some("Beginning key exchange"))
}

/// ssh2, of npm.
pub fn ssh2(peers: &Path) -> Peer {
    let modules = peers.join("npm/node_modules");
    assert!(
        modules.join("ssh2").exists(),
        "npm's ssh2 is not in {}: contrib/test installs it",
        modules.display()
    );
    let setting = Setting::new();
    let (uid, gid) = account::numbers(&setting.user);
    let mut command = Command::new("node");
    command.arg(scripts().join("ssh2_server.js")).arg(setting.folder.path());
    command.args([setting.user.clone(), uid.to_string(), gid.to_string()]).env("NODE_PATH", modules);
    start(setting, &mut command, Some("rekeyed"))
}

/// The Python of the virtual environment.
pub fn python(peers: &Path) -> Command {
    let program = peers.join("venv/bin/python");
    assert!(program.exists(), "{} is missing: contrib/test installs it", program.display());
    let mut command = Command::new(program);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// The script says first where it listens and which version it is: `port N version V`.
fn start(setting: Setting, command: &mut Command, rekeyed: Option<&'static str>) -> Peer {
    let mut process = setting.spawn(command.stdout(Stdio::piped()));
    let line = process.first_line();
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["port", port, "version", version] = words[..] else { panic!("not what was expected: {line:?}") };
    let (port, version) = (port.parse().expect("a port"), version.to_owned());
    let log = setting.file("log");
    Peer { rekeyed: rekeyed.map(|mark| (log, mark)), ..setting.peer(version, port, process) }
}
