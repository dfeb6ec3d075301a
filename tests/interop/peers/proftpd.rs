//! ProFTPD with mod_sftp, its server run by root, its sessions by who logs in.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Peer, Setting, on_free_port, version_of};

const INSTALL: &str = "apt-get install proftpd-core proftpd-mod-crypto";

/// Starts it.
pub fn start(_: &Path) -> Peer {
    let version = version_of("proftpd", &["-v"], INSTALL).replace("ProFTPD Version", "");
    assert!(Path::new("/usr/lib/proftpd/mod_sftp.so").exists(), "mod_sftp is not installed: {INSTALL}");
    let setting = Setting::new();
    let keys = Command::new("ssh-keygen").arg("-ef").arg(setting.file("client_key.pub")).output();
    fs::write(setting.file("keys"), keys.expect("ssh-keygen can be run").stdout).expect("a key is let in");
    let (port, process) = on_free_port(|port| {
        fs::write(setting.file("config"), config(&setting, port)).expect("a configuration");
        let mut command = Command::new("proftpd");
        setting.spawn(command.args(["-n", "-q", "-c"]).arg(setting.file("config")).stdout(Stdio::null()))
    });
    setting.peer(version.trim().to_owned(), port, process)
}

/// As Debian's, but for one account and no other logs; `AllowOverwrite` and restarts are off by default.
fn config(setting: &Setting, port: u16) -> String {
    let (folder, user) = (setting.folder.path().display(), &setting.user);
    format!(
        "ModulePath /usr/lib/proftpd\nLoadModule mod_sftp.c\nServerType standalone\nServerName highwater\n\
         DefaultAddress 127.0.0.1\nSocketBindTight on\nPort {port}\nUseIPv6 off\nUser {user}\nGroup {user}\n\
         PidFile {folder}/pid\nScoreboardFile {folder}/scoreboard\nSystemLog {folder}/system.log\n\
         DelayTable none\nRequireValidShell off\nWtmpLog off\nUmask 022 022\nMaxInstances 200\n\
         AllowOverwrite on\nAllowStoreRestart on\nAllowRetrieveRestart on\n\
         SFTPEngine on\nSFTPHostKey {folder}/host_key\nSFTPAuthMethods publickey\n\
         SFTPAuthorizedUserKeys file:{folder}/keys\nSFTPLog {folder}/sftp.log\n"
    )
}
