//! Logins by this machine's host key: what `ssh` and a server on loopback need for them, for as long as a test runs.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::account;

/// Keeps test processes from setting this up under each other.
const LOCK: &str = "/run/highwater-test-keysign.lock";

/// Allows ssh-keysign, which reads nothing but the system's configuration.
const ALLOWS: &str = "/etc/ssh/ssh_config.d/highwater-test.conf";

/// The ordinary user trusts this machine's root. Undone when dropped.
pub struct Keysign {
    files: Vec<PathBuf>,
    _lock: File,
}

impl Keysign {
    /// Whoever runs the tests may log in to the ordinary user by this machine's host keys. Panics when that is not
    /// root.
    pub fn allowed() -> Self {
        let home = Path::new("/home").join(account::ordinary());
        let lock = File::create(LOCK).expect("the lock file can be made");
        lock.lock().expect("the lock file can be locked");
        let (equiv, known) = (home.join(".shosts"), home.join(".ssh/known_hosts"));
        let made = Self { files: vec![ALLOWS.into(), equiv.clone(), known.clone()], _lock: lock };
        for file in &made.files {
            fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        }
        fs::write(ALLOWS, "EnableSSHKeysign yes\n").expect("a file of ssh_config");
        fs::write(&equiv, format!("localhost {}\n", account::current())).expect("a list of hosts");
        fs::write(&known, host_keys()).expect("known_hosts");
        let (uid, gid) = account::numbers(account::ORDINARY);
        for file in [&equiv, &known, &home.join(".ssh")] {
            chown(file, Some(uid), Some(gid)).expect("a file can be given away");
            fs::set_permissions(file, fs::Permissions::from_mode(0o700)).expect("a mode can be set");
        }
        made
    }
}

/// The host keys of this machine, which openssh-server makes when it is installed.
fn host_keys() -> String {
    let names = ["ecdsa", "ed25519", "rsa"].map(|kind| format!("/etc/ssh/ssh_host_{kind}_key.pub"));
    let keys: Vec<String> = names.iter().filter_map(|name| fs::read_to_string(name).ok()).collect();
    assert!(!keys.is_empty(), "this machine has no host keys: ssh-keygen -A makes them");
    keys.iter().map(|key| format!("localhost {key}")).collect()
}

impl Drop for Keysign {
    fn drop(&mut self) {
        for file in &self.files {
            let _ = fs::remove_file(file); // made above, or nothing is there
        }
    }
}
