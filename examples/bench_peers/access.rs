//! How clients log in: one key, one known host, and a home folder without anybody's settings in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Doing, Result};

/// What every tool is told about the server.
#[derive(Debug, Clone)]
pub struct Access {
    /// Who logs in.
    pub user: String,
    /// Private key file.
    pub key: PathBuf,
    /// $HOME of every tool: empty but for what tools put there.
    pub home: PathBuf,
    /// For OpenSSH's programs, and what drives them.
    pub ssh_config: PathBuf,
    /// In OpenSSH's format.
    pub known_hosts: PathBuf,
    host_key: String,
}

impl Access {
    /// Writes the files into `folder`.
    pub fn create(folder: &Path, user: &str, key: PathBuf, host_key: String) -> Result<Self> {
        let home = folder.join("home");
        fs::create_dir(&home).doing("make a home")?;
        let (ssh_config, known_hosts) = (folder.join("ssh_config"), folder.join("known_hosts"));
        let text = format!(
            "User {user}\nIdentityFile {}\nIdentitiesOnly yes\nUserKnownHostsFile {}\n\
             GlobalKnownHostsFile none\nStrictHostKeyChecking yes\nBatchMode yes\nLogLevel ERROR\n",
            key.display(),
            known_hosts.display()
        );
        fs::write(&ssh_config, text).doing("write ssh_config")?;
        fs::write(&known_hosts, "").doing("write known_hosts")?;
        Ok(Self { user: user.into(), key, home, ssh_config, known_hosts, host_key })
    }

    /// Makes the server known at one more port.
    pub fn know(&self, port: u16) -> Result<()> {
        let mut text = fs::read_to_string(&self.known_hosts).doing("read known_hosts")?;
        text.push_str(&format!("[127.0.0.1]:{port} {}\n", self.host_key));
        fs::write(&self.known_hosts, text).doing("write known_hosts")
    }

    /// A command with nothing of this process's environment but its search path.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("HOME", &self.home).env("LANG", "C.UTF-8");
        command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()));
        command
    }

    /// `ssh` with its flags, as one line for tools that start it through a shell.
    pub fn ssh(&self, port: u16) -> String {
        format!("ssh -F {} -p {port}", self.ssh_config.display())
    }
}
