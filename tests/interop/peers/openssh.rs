//! OpenSSH, with SFTP inside sshd and with `sftp-server`.

use std::path::Path;

use super::{Peer, Runs, version_of};
use crate::support::sshd::{Options, Sshd};

/// SFTP inside sshd.
pub fn internal(_: &Path) -> Peer {
    start(Options::default())
}

/// `sftp-server` as a program of its own.
pub fn external(_: &Path) -> Peer {
    start(Options::external("", ""))
}

fn start(options: Options) -> Peer {
    let config = ["RekeyLimit 8M", "LogLevel DEBUG1"].map(str::to_owned);
    let sshd = Sshd::start(Options { config: config.into(), ..options }.ordinary_user());
    let said = version_of("ssh", &["-V"], "apt-get install openssh-client");
    Peer {
        version: said.split([',', ' ']).next().unwrap_or_default().replace("OpenSSH_", ""),
        user: sshd.user().to_owned(),
        port: sshd.port(),
        client_key: sshd.client_key_path(),
        known_hosts: sshd.known_hosts_line(),
        data: sshd.data(),
        remote: sshd.data().display().to_string(),
        // As OpenSSH 9.2 has it (kex.c): once for each connection, and once more each time.
        rekeyed: Some((sshd.file("log"), "SSH2_MSG_NEWKEYS received")),
        _runs: Runs::Sshd { _sshd: Box::new(sshd) },
    }
}
