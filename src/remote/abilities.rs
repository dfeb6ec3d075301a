//! What one server can do: announced, or found out when it was first needed. Probed, not guessed.
//!
//! Nothing is tried ahead of the work: the first file that needs an ability finds it out, and what
//! was found is kept in the journal per server identity. A "no" always has a fallback in `sftp`.

use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::lane::Announced;

/// Whether a server can do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Can {
    /// Not tried yet.
    #[default]
    Unknown,
    /// It was announced or it worked.
    Yes,
    /// It was refused, or it did not do what it should.
    No,
}

impl Can {
    /// Whether it is worth trying.
    pub fn may(self) -> bool {
        self != Can::No
    }
}

/// In which order the server takes the two names of SYMLINK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkOrder {
    /// Not tried yet.
    #[default]
    Unknown,
    /// Target first, as OpenSSH does and most servers after it (OpenSSH PROTOCOL §4.1).
    Openssh,
    /// Link first, as draft-ietf-secsh-filexfer-02 §6.10 says.
    Draft,
    /// No links at all.
    None,
}

/// What is known of a server. Kept in the journal as JSON; unknown fields of a newer version are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Known {
    /// `posix-rename@openssh.com`: rename over an existing name, atomically.
    pub posix_rename: Can,
    /// `fsync@openssh.com` on a file.
    pub fsync: Can,
    /// `fsync@openssh.com` on a folder opened for reading.
    pub fsync_dir: Can,
    /// `lsetstat@openssh.com`: metadata without following a link.
    pub lsetstat: Can,
    /// `statvfs@openssh.com`: free space.
    pub statvfs: Can,
    /// Whether the mtime we set is the mtime we read back, to the second.
    pub keeps_mtime: Can,
    /// How SYMLINK wants its names.
    pub link_order: LinkOrder,
    /// Whether requests of one channel are carried out in the order they were sent.
    pub keeps_order: Can,
}

/// The abilities of the server at the other end, learned as the work goes on.
#[derive(Debug)]
pub struct Abilities(Mutex<Known>);

impl Abilities {
    /// Starts from what an earlier connection learned and what this one announced. `ident` is the
    /// server's SSH identification (`SSH-2.0-OpenSSH_9.2p1 …`).
    pub fn new(remembered: Known, announced: &Announced, ident: &str) -> Self {
        let mut known = remembered;
        let offers = |name: &str, can: &mut Can| {
            if announced.has(name) && *can == Can::Unknown {
                *can = Can::Yes;
            }
        };
        offers("posix-rename@openssh.com", &mut known.posix_rename);
        offers("fsync@openssh.com", &mut known.fsync);
        offers("lsetstat@openssh.com", &mut known.lsetstat);
        offers("statvfs@openssh.com", &mut known.statvfs);
        known.keeps_order = order_by_ident(ident);
        Self(Mutex::new(known))
    }

    /// What is known now.
    pub fn known(&self) -> Known {
        *self.lock()
    }

    /// Notes something that was learned.
    pub fn learn(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Keeping order cannot be probed, only known: a server that runs requests side by side does so when
/// it is busy. OpenSSH's sftp-server is one loop (read in 5.1 to 10.5); ours takes one request at a time.
fn order_by_ident(ident: &str) -> Can {
    let software = ident.strip_prefix("SSH-2.0-").unwrap_or_default();
    if software.starts_with("OpenSSH") || software.starts_with("Highwater") { Can::Yes } else { Can::No }
}
