//! An OpenSSH server of the benchmark's own on loopback: own keys, own configuration, own log, no root's
//! login. What answers SFTP is the program `sftp-server`, as in most distributions' configuration.

use std::fs::{self, File, Permissions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Doing, Result, process};

const PROGRAM: &str = "/usr/sbin/sshd";

const SFTP_SERVERS: [&str; 3] =
    ["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server"];

/// The ordinary user that is made where root runs the benchmark: the one of the tests.
const ORDINARY: &str = "highwater-test";

/// How long the server may take to listen, and its sessions to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who logs in.
#[derive(Debug, Clone)]
pub struct User {
    /// Its name.
    pub name: String,
    uid: u32,
    gid: u32,
}

impl User {
    /// An ordinary user with a shell: whoever runs this, or one made for it when that is root.
    pub fn ordinary() -> Result<Self> {
        let name = match rustix::process::geteuid().is_root() {
            true => made()?,
            false => Self::current()?,
        };
        let number = |flag| output("id", &[flag, &name])?.parse().doing("read id's answer");
        Ok(Self { uid: number("-u")?, gid: number("-g")?, name })
    }

    /// The name of whoever runs this.
    pub fn current() -> Result<String> {
        output("id", &["-un"])
    }

    /// Gives a file or folder to this user.
    pub fn own(&self, path: &Path) -> Result<()> {
        chown(path, Some(self.uid), Some(self.gid)).doing("give a folder to the user")
    }
}

fn made() -> Result<String> {
    if output("id", &["-u", ORDINARY]).is_err() {
        let words =
            ["--create-home", "--shell", "/bin/sh", "--password", "*", "-K", "PASS_MAX_DAYS=-1", ORDINARY];
        output("useradd", &words)?;
    }
    Ok(ORDINARY.into())
}

/// What a program prints, trimmed; what it complains about when it fails.
fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().doing(program)?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().into()),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// A running server; it and its sessions are gone when dropped.
pub struct Sshd {
    folder: PathBuf,
    address: SocketAddr,
    listener: Child,
}

/// What a server does otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings<'a> {
    /// More lines for sshd_config.
    pub config: &'a str,
    /// Lines of a shell before `sftp-server` is run. What they set `around` to is run with it as its last argument.
    pub before_sftp: &'a str,
}

impl Sshd {
    /// Makes keys and configuration in `folder`, starts the server and waits until it listens.
    pub fn start(folder: &Path, settings: &Settings<'_>) -> Result<Self> {
        if rustix::process::geteuid().is_root() {
            // Where the server locks its unprivileged half in; made by the service unit otherwise.
            fs::create_dir_all("/run/sshd").doing("make /run/sshd")?;
        }
        for name in ["host_key", "client_key"] {
            let file = folder.join(name);
            output("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", utf8(&file)?])?;
        }
        let keys = folder.join("authorized_keys");
        fs::copy(folder.join("client_key.pub"), &keys).doing("authorize the key")?;
        fs::set_permissions(&keys, Permissions::from_mode(0o644)).doing("authorize the key")?;
        let port = free_port().doing("find a free port")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        fs::write(folder.join("sshd_config"), config(folder, address, settings)?)
            .doing("write sshd_config")?;
        let mut sshd = Self { folder: folder.into(), address, listener: spawn(folder)? };
        sshd.wait_until_it_listens()?;
        Ok(sshd)
    }

    fn wait_until_it_listens(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).is_err() {
            let ended = self.listener.try_wait().doing("look after sshd")?.is_some();
            if ended || Instant::now() > deadline {
                let log = fs::read_to_string(self.folder.join("sshd.log")).unwrap_or_default();
                return Err(format!("sshd does not start: {log}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The process that listens. Its sessions are below it.
    pub fn id(&self) -> u32 {
        self.listener.id()
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("sshd.log")).unwrap_or_default()).into_owned()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The private key that is let in.
    pub fn client_key(&self) -> PathBuf {
        self.folder.join("client_key")
    }

    /// The host key as `ssh-ed25519 AAAA…`.
    pub fn host_key(&self) -> Result<String> {
        let line = fs::read_to_string(self.folder.join("host_key.pub")).doing("read the host key")?;
        Ok(line.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
    }

    /// Waits until no session is left, so that none disturbs the next run; kills those that stay.
    pub fn wait_until_idle(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !process::descendants(self.listener.id()).is_empty() {
            if Instant::now() > deadline {
                process::kill_descendants(self.listener.id());
            }
            if Instant::now() > deadline + PATIENCE {
                return Err("sessions of sshd do not end".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        process::kill_descendants(self.listener.id());
        // It may have ended by itself; what matters is that it is gone.
        let _ = self.listener.kill();
        let _ = self.listener.wait();
    }
}

fn spawn(folder: &Path) -> Result<Child> {
    let log = File::create(folder.join("sshd.log")).doing("make sshd's log")?;
    let config = folder.join("sshd_config");
    let mut command = Command::new(PROGRAM);
    command.args(["-D", "-e", "-f"]).arg(&config);
    // OpenSSH 9.8 and newer shut out an address for a while whose connections were cut, as the cap does.
    let more = ["-o", "PerSourcePenalties=no"];
    if output(PROGRAM, &["-t", "-f", utf8(&config)?, more[0], more[1]]).is_ok() {
        command.args(more);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().doing("start sshd")
}

/// The defaults, but for MaxStartups: some peers open more than ten connections at once, and must not be
/// slowed down by those that the default drops at random; and for HOME, where a shell's start files would be,
/// which may take seconds or leave locks behind when they are killed.
fn config(folder: &Path, address: SocketAddr, settings: &Settings<'_>) -> Result<String> {
    let program = SFTP_SERVERS.into_iter().find(|path| Path::new(path).exists());
    let program = program.ok_or("sftp-server is not installed: apt-get install openssh-sftp-server")?;
    let sftp = match settings.before_sftp {
        "" => program.to_owned(),
        before => wrapped(folder, before, program)?,
    };
    let (folder, more) = (folder.display(), settings.config);
    Ok(format!(
        "ListenAddress {address}\nHostKey {folder}/host_key\nAuthorizedKeysFile {folder}/authorized_keys\n\
         Subsystem sftp {sftp}\nPidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nUseDNS no\nPrintMotd no\nMaxStartups 100\n\
         SetEnv HOME=/nonexistent\n{more}\n"
    ))
}

/// A script that runs `sftp-server` after some lines of a shell.
fn wrapped(folder: &Path, before: &str, program: &str) -> Result<String> {
    let script = folder.join("sftp-server");
    fs::write(&script, format!("#!/bin/sh\naround=\n{before}\nexec $around {program}\n"))
        .doing("write a script")?;
    fs::set_permissions(&script, Permissions::from_mode(0o755)).doing("write a script")?;
    Ok(utf8(&script)?.into())
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| format!("{} is not UTF-8", path.display()))
}
