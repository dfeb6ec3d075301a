//! The valid configuration: what the rest of the crate sees. Every default is filled in, every name that
//! is referred to exists. Knows nothing of YAML, files or mistakes.

use std::fmt;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

pub use super::telling::{Event, Link, Smtp, Target, Tls, Way, host_only};
use crate::calendar::Span;
use crate::filter::Filter;
use crate::hash::Level;
use crate::outcome::Mode;
use crate::path::{LocalRoot, RemoteRoot, escape};
use crate::sshconfig::Source;
use crate::units::{Percent, Rate};

/// All that a configuration says.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The servers, in the order of the file.
    pub servers: Vec<Server>,
    /// The jobs, in the order of the file.
    pub jobs: Vec<Job>,
    /// Whom to tell, in the order of the file.
    pub notify: Vec<Target>,
    /// The mail server; there when somebody is told by mail.
    pub smtp: Option<Smtp>,
    /// A file that the daemon's log goes to as well.
    pub log: Option<LogFile>,
}

/// Where a log goes, and how much of it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// The file. Full ones get `.1`, `.2` and so on after their name, the youngest the lowest number.
    pub path: PathBuf,
    /// When it is full, in bytes.
    pub size: u64,
    /// How many full ones are kept.
    pub keep: u32,
}

impl Config {
    /// The server of this name.
    pub fn server(&self, name: &str) -> Option<&Server> {
        self.servers.iter().find(|server| server.name == name)
    }

    /// The job of this name.
    pub fn job(&self, name: &str) -> Option<&Job> {
        self.jobs.iter().find(|job| job.name == name)
    }

    /// Whom to tell, by name.
    pub fn target(&self, name: &str) -> Option<&Target> {
        self.notify.iter().find(|target| target.name == name)
    }
}

/// A named SFTP account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// What jobs and command lines call it: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// A host name, an address, or an alias of `~/.ssh/config`.
    pub host: String,
    /// The port; `None` means what ssh_config says of the host, else 22.
    pub port: Option<NonZeroU16>,
    /// Whom to log in as; `None` means what ssh_config says, else whoever runs us.
    pub user: Option<String>,
    /// How to log in.
    pub auth: Auth,
    /// The keys that the host may show; any one is enough. Empty: those that were pinned before.
    pub host_keys: Vec<Fingerprint>,
    /// How fast file content of all jobs of this server together may cross; `None`: each job's own limit is
    /// all there is.
    pub bandwidth: Option<Bandwidth>,
    /// Whether it may be spoken to with SHA-1 and CBC too. Default no.
    pub legacy: bool,
    /// Which files of ssh_config speak of it.
    pub ssh_config: Source,
    /// What makes the session.
    pub via: Via,
}

/// What makes the session with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Via {
    /// We do.
    #[default]
    Direct,
    /// OpenSSH's `ssh`, which can log in by ways that we cannot.
    Ssh,
}

/// How to log in. What is given here is tried before what ssh_config names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// Private keys, in the order in which they are offered.
    pub keys: Vec<Secret>,
    /// Certificates for these keys or the agent's, beside those that lie next to the keys. Absolute.
    pub certificates: Vec<PathBuf>,
    /// What unlocks them.
    pub passphrase: Option<Secret>,
    /// The account's password, also for keyboard-interactive login.
    pub password: Option<Secret>,
    /// Gives a one-time code when the server asks for one.
    pub code: Option<Secret>,
    /// Whether the running ssh-agent is asked. Default yes.
    pub agent: bool,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            certificates: Vec::new(),
            passphrase: None,
            password: None,
            code: None,
            agent: true,
        }
    }
}

/// Where a secret is to be had; never the secret itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// The value of an environment variable.
    Env(String),
    /// The content of a file, which must be 0600; for a key the key file. Absolute.
    File(PathBuf),
    /// What a command prints: program and arguments, no shell.
    Command(Vec<String>),
    /// A systemd credential: a file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

/// The reference as the configuration writes it, escaped for people.
impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Secret::Env(name) => format!("env:{name}"),
            Secret::File(path) => format!("file:{}", path.display()),
            Secret::Command(words) => format!("cmd:{}", words.join(" ")),
            Secret::Credential(name) => format!("credential:{name}"),
        };
        f.write_str(&escape(text.as_bytes()))
    }
}

/// The SHA-256 fingerprint of a host key, as `ssh-keygen -l` prints it: `SHA256:` and 43 characters of
/// base64 without padding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Takes a fingerprint, with or without the padding that some tools print. Says what else it looks like.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(digest) = text.strip_prefix("SHA256:") else {
            return Err(what_else(text).into());
        };
        let digest = digest.strip_suffix('=').unwrap_or(digest);
        let in_alphabet = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
        // 32 bytes are 42 characters of 6 bits and one of 4: its last two bits are 0.
        let ends_well = digest.ends_with(|c: char| "AEIMQUYcgkosw048".contains(c));
        if digest.len() != 43 || !digest.bytes().all(in_alphabet) || !ends_well {
            return Err("a SHA256 fingerprint has 43 characters of base64 after \"SHA256:\"".into());
        }
        Ok(Self(format!("SHA256:{digest}")))
    }

    /// The fingerprint with `SHA256:` before it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn what_else(text: &str) -> &'static str {
    let is_hex_pair = |pair: &str| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit());
    if text.starts_with("MD5:") || text.split(':').count() == 16 && text.split(':').all(is_hex_pair) {
        "this is an MD5 fingerprint, which can be forged; use the one that begins with \"SHA256:\""
    } else if text.starts_with("ssh-") || text.starts_with("ecdsa-") || text.starts_with("AAAA") {
        "this is a public key; use its fingerprint, which begins with \"SHA256:\""
    } else {
        "a fingerprint begins with \"SHA256:\""
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A named task.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its name: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Which way it carries.
    pub mode: Mode,
    /// The near side.
    pub local: LocalRoot,
    /// The name of the server; [`Config::server`] has it.
    pub server: String,
    /// The folder on it.
    pub remote: RemoteRoot,
    /// When the daemon starts rounds by the clock.
    pub schedule: Option<Schedule>,
    /// When rounds may run at all, whoever starts them.
    pub only: Only,
    /// What has to be so of the machine for the daemon to begin and go on with rounds.
    pub only_if: OnlyIf,
    /// When the daemon starts rounds because something changed.
    pub watch: Option<Watch>,
    /// What is carried at all.
    pub filter: Filter,
    /// Whether a delete at the source is followed.
    pub delete: bool,
    /// How many deletes need a person.
    pub max_delete: MaxDelete,
    /// How long the trash keeps things; `None`: there is no trash.
    pub trash: Option<Duration>,
    /// How often a push looks at the far side though nothing changed here; `None`: never.
    pub audit: Option<Duration>,
    /// Whether what was carried is forced to the disk before it counts as done.
    pub durable: bool,
    /// What is proved of each file.
    pub verify: Level,
    /// How fast file content may cross.
    pub bandwidth: Bandwidth,
    /// How long a lost connection is tried again within a round; zero: not at all.
    pub retry_for: Duration,
    /// How old a far file must be before a pull takes it at the first look.
    pub settle: Duration,
    /// What is run around a round.
    pub hooks: Hooks,
    /// The names of those who are told; [`Config::notify`] has them.
    pub notify: Vec<String>,
    /// They are told that the job is late when it had no success for so long; `None`: never.
    pub no_success_for: Option<Duration>,
}

/// When rounds start by the clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The moments.
    pub when: When,
    /// Each round starts up to this much later, by chance.
    pub jitter: Duration,
    /// What happens to a moment that passed while nobody was there.
    pub missed: Missed,
}

/// The moments of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// Five fields of cron, already checked.
    Cron {
        /// The fields as written.
        fields: String,
        /// A time zone that this system knows, as `Europe/Berlin`; `None`: the system's own.
        zone: Option<String>,
    },
    /// So long after the start of the last one. Not zero.
    Every(Duration),
}

/// What happens to a moment of a schedule that passed while nobody was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// One round as soon as somebody is, for however many were missed.
    Run,
    /// Nothing until the next.
    Skip,
}

/// The times of the week in which rounds may run: at the end of one a round pauses, in the next it goes on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Only {
    /// The times; without any, always.
    pub spans: Vec<Span>,
    /// The time zone of these times; `None`: the system's own.
    pub zone: Option<String>,
}

/// What has to be so of the machine; `None`: it does not matter. What the system does not tell is taken to be
/// as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OnlyIf {
    /// Whether it runs on mains.
    pub on_ac: Option<bool>,
    /// Whether its network costs by what crosses it.
    pub metered: Option<bool>,
}

/// When rounds start because something changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// How long a path must be quiet.
    pub settle: Duration,
    /// How often everything is looked at all the same; `None`: never.
    pub rescan: Option<Duration>,
}

/// How many deletes within 24 hours need a person. The lesser limit counts; without any, none does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxDelete {
    /// So many files.
    pub count: Option<u64>,
    /// Such a share of the largest base.
    pub share: Option<Percent>,
}

impl Default for MaxDelete {
    fn default() -> Self {
        Self { count: Some(1_000), share: Some(Percent::whole(10)) }
    }
}

/// How fast file content may cross, by the time of the week; [`Timetable`](crate::timetable::Timetable) tells
/// what that means at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bandwidth {
    /// The first one that contains the moment counts.
    pub slots: Vec<Slot>,
    /// At all other times.
    pub otherwise: Rate,
}

/// A time of the week and its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The time.
    pub span: Span,
    /// The rate meanwhile.
    pub rate: Rate,
}

/// What is run around a round: each a program and its arguments, no shell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hooks {
    /// Before it; if one fails there is no round.
    pub before: Vec<Vec<String>>,
    /// After one without problems.
    pub after_success: Vec<Vec<String>>,
    /// After any other.
    pub after_failure: Vec<Vec<String>>,
    /// How long each may take. Not zero where there are any.
    pub timeout: Duration,
    /// Environment variables that hold secrets of the configuration: these are not handed on.
    pub hidden: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "uNiVztksCsDhcc0u9e8BrrJXVGDiP1DcF7wYA3HZuUs";

    #[test]
    fn fingerprints_as_ssh_keygen_prints_them() {
        let expected = format!("SHA256:{DIGEST}");
        assert_eq!(Fingerprint::parse(&expected).unwrap().as_str(), expected);
        assert_eq!(Fingerprint::parse(&format!("{expected}=")).unwrap().as_str(), expected);
        let check = |text: &str, why: &str| {
            let error = Fingerprint::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        };
        check("SHA256:…", "43 characters");
        check(&format!("SHA256:{}", &DIGEST[1..]), "43 characters");
        check(&format!("SHA256:{}t", &DIGEST[..42]), "43 characters");
        check(DIGEST, "begins with");
        check("MD5:16:27:ac", "MD5");
        check("16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48", "MD5");
        check("ssh-ed25519 AAAAC3Nz", "public key");
    }
}
