//! `rclone serve sftp`, which is pkg/sftp over rclone's own file system, with its cache for files that are written.
//! Without that cache it cannot write to any place in a file.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Peer, Setting, on_free_port, version_of};
use crate::support::account;

/// Starts it.
pub fn start(_: &Path) -> Peer {
    let version = version_of("rclone", &["version"], "apt-get install rclone");
    let setting = Setting::new();
    let (uid, gid) = account::numbers(&setting.user);
    let key = setting.file("own/host_key");
    fs::copy(setting.file("host_key"), &key).expect("the host key can be copied");
    chown(&key, Some(uid), Some(gid)).expect("the host key can be given away");
    let (port, process) = on_free_port(|port| {
        let mut command = Command::new("rclone");
        command.args(["serve", "sftp"]).arg(setting.file("data")).arg("--key").arg(&key);
        command
            .args(["--addr", &format!("127.0.0.1:{port}"), "--authorized-keys"])
            .arg(setting.file("authorized_keys"));
        command.args(["--config", "", "--cache-dir"]).arg(setting.file("own"));
        // What the checks do to the folder itself is to be seen at once.
        command.args(["--vfs-cache-mode", "full", "--vfs-write-back", "0", "--dir-cache-time", "1ms"]);
        setting.spawn(command.uid(uid).gid(gid).stdout(Stdio::null()))
    });
    let peer = setting.peer(version.replace("rclone v", ""), port, process);
    Peer { remote: String::new(), ..peer }
}
