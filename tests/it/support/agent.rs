//! A real ssh-agent for one test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::sshd::Sshd;

/// An ssh-agent; gone when dropped.
pub struct Agent {
    child: Child,
    /// Where it listens.
    pub socket: PathBuf,
}

impl Agent {
    /// Starts one with its socket in `folder`.
    pub fn start(folder: &Path) -> Self {
        let socket = folder.join("agent");
        let mut command = Command::new("ssh-agent");
        command.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null());
        let child = command.spawn().expect("ssh-agent is not installed: apt-get install openssh-client");
        Self { child, socket }
    }

    /// Adds a key, and the certificate beside it if there is one.
    pub fn add(&self, sshd: &mut Sshd, key: &Path) {
        sshd.wait_until("see the agent", |_| self.socket.exists());
        let mut command = Command::new("ssh-add");
        command.arg("-q").arg(key).env("SSH_AUTH_SOCK", &self.socket).stdin(Stdio::null());
        assert!(command.status().expect("ssh-add can be run").success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended by itself
        let _ = self.child.wait();
    }
}
