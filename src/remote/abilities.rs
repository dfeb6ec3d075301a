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
    /// Whether a link is told as it was made, and is renamed rather than what it points to.
    pub keeps_links: Can,
    /// Whether names and links that are not UTF-8 stay what they are.
    pub keeps_names: Can,
    /// Whether a file that is being written is better read through that same handle than through another.
    pub reads_staged: Can,
    /// Whether a file may be written in any order: the end first, the beginning later.
    pub write_at: Can,
    /// Whether one file may be written through two handles on two channels.
    pub two_handles: Can,
    /// Whether further connections beside the first are worth a try; known for as long as the program runs.
    #[serde(skip)]
    pub more_connections: Can,
    /// Whether requests of one channel are carried out in the order they were sent.
    pub keeps_order: Can,
}

impl Known {
    /// This, and of what it does not know what was known before.
    pub fn or(self, before: Self) -> Self {
        let or = |now: Can, before: Can| if now == Can::Unknown { before } else { now };
        let link_order = match self.link_order {
            LinkOrder::Unknown => before.link_order,
            order => order,
        };
        Self {
            posix_rename: or(self.posix_rename, before.posix_rename),
            fsync: or(self.fsync, before.fsync),
            fsync_dir: or(self.fsync_dir, before.fsync_dir),
            lsetstat: or(self.lsetstat, before.lsetstat),
            statvfs: or(self.statvfs, before.statvfs),
            keeps_mtime: or(self.keeps_mtime, before.keeps_mtime),
            link_order,
            keeps_links: or(self.keeps_links, before.keeps_links),
            keeps_names: or(self.keeps_names, before.keeps_names),
            reads_staged: or(self.reads_staged, before.reads_staged),
            write_at: or(self.write_at, before.write_at),
            two_handles: or(self.two_handles, before.two_handles),
            more_connections: or(self.more_connections, before.more_connections),
            keeps_order: or(self.keeps_order, before.keeps_order),
        }
    }

    /// Whether links are carried, as far as is known.
    pub fn carries_links(&self) -> bool {
        self.link_order != LinkOrder::None && self.keeps_links.may()
    }
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
        known.keeps_order = order_of(ident, announced);
        known.keeps_links = match known.keeps_order {
            Can::Yes => Can::Yes,
            _ if resolves_links(ident) => Can::No,
            _ if remembered.keeps_order == Can::Yes => Can::Unknown, // another program serves SFTP there now
            _ => known.keeps_links,
        };
        if known.keeps_order == Can::Yes {
            known.keeps_names = Can::Yes;
        }
        known.reads_staged = if keeps_first_size(ident) { Can::Yes } else { Can::Unknown };
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
/// sshd may be told to run something else for SFTP under its own identification, as `rclone serve sftp
/// --stdio`, so that what is announced must fit too: `fstatvfs` is announced by OpenSSH's own in all these
/// versions, inside sshd or not, and by ours; pkg/sftp, which rclone uses, has only `statvfs`.
fn order_of(ident: &str, announced: &Announced) -> Can {
    if takes_order(ident) && announced.has("fstatvfs@openssh.com") { Can::Yes } else { Can::No }
}

/// ProFTPD's mod_sftp (1.3.8): READLINK answers with an absolute path whatever the link says, RENAME moves what
/// it points to, to another disk too. Pushes find that out with links of their own. A pull writes nothing over
/// there: it goes by the name.
fn resolves_links(ident: &str) -> bool {
    ident.starts_with("SSH-2.0-mod_sftp")
}

/// ProFTPD's mod_sftp (1.3.8) remembers how long a file was when a handle was opened, or written through: another
/// handle ends there whatever was written since. Reading through the handle that writes is exact.
fn keeps_first_size(ident: &str) -> bool {
    ident.starts_with("SSH-2.0-mod_sftp")
}

/// Whether a server with this identification most likely keeps order.
pub fn takes_order(ident: &str) -> bool {
    let software = ident.strip_prefix("SSH-2.0-").unwrap_or_default();
    software.starts_with("OpenSSH") || software.starts_with("Highwater")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_now_comes_before_what_was_known() {
        let before =
            Known { fsync: Can::Yes, statvfs: Can::Yes, link_order: LinkOrder::Draft, ..Known::default() };
        let now = Known { fsync: Can::No, write_at: Can::Yes, ..Known::default() };
        let both = Known {
            fsync: Can::No,
            statvfs: Can::Yes,
            write_at: Can::Yes,
            link_order: LinkOrder::Draft,
            ..Known::default()
        };
        assert_eq!(now.or(before), both);
        assert_eq!(both.or(Known::default()), both);
    }

    #[test]
    fn rclone_run_by_openssh_does_not_keep_order() {
        let check = |ident: &str, extensions: &[&str], expected| {
            let extensions = extensions.iter().map(|name| (format!("{name}@openssh.com"), "2".to_owned()));
            let announced = Announced { extensions: extensions.collect(), ..Announced::default() };
            let known = Abilities::new(Known::default(), &announced, ident).known();
            assert_eq!(known.keeps_order, expected, "{ident} {:?}", announced.extensions);
        };
        check("SSH-2.0-OpenSSH_9.2p1 Debian-2", &["posix-rename", "statvfs", "fstatvfs"], Can::Yes);
        check("SSH-2.0-OpenSSH_9.2p1 Debian-2", &["hardlink", "posix-rename", "statvfs"], Can::No);
        check("SSH-2.0-Highwater_0.1.0", &["fstatvfs"], Can::Yes);
        check("SSH-2.0-rclone/v1.70", &["posix-rename", "statvfs", "fstatvfs"], Can::No);
    }

    #[test]
    fn servers_are_known_by_what_they_do_to_links() {
        let check = |ident: &str, extensions: &[&str], expected| {
            let extensions = extensions.iter().map(|name| (format!("{name}@openssh.com"), "2".to_owned()));
            let announced = Announced { extensions: extensions.collect(), ..Announced::default() };
            let known = Abilities::new(Known::default(), &announced, ident).known();
            assert_eq!((known.keeps_links, known.carries_links()), expected, "{ident}");
        };
        check("SSH-2.0-OpenSSH_9.2p1", &["fstatvfs"], (Can::Yes, true));
        check("SSH-2.0-mod_sftp", &["fstatvfs"], (Can::No, false));
        check("SSH-2.0-mod_sftp/0.9.9", &[], (Can::No, false));
        check("SSH-2.0-Go", &[], (Can::Unknown, true));
    }

    #[test]
    fn what_an_older_version_kept_is_read() {
        let known: Known =
            serde_json::from_str(r#"{"fsync": "no", "link_order": "draft", "news": 1}"#).unwrap();
        assert_eq!(known, Known { fsync: Can::No, link_order: LinkOrder::Draft, ..Known::default() });
    }
}
