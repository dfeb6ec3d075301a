//! What ssh_config says of a host, as ssh_config(5) of OpenSSH 9 describes it: `~/.ssh/config`, then
//! `/etc/ssh/ssh_config`, the first value of a keyword wins.
//!
//! Small and strict. Nothing is connected to, looked up or run: `Match exec` and `Match localnetwork` do not hold
//! and are told, names are not made canonical, services are not looked up as ports. `matching` holds conditions
//! against what is known, `reader` walks the files, `settings` keeps what holds, `tokens` fills in, `names` works
//! out lists of algorithms. Files are read through [`files::Files`].

pub mod files;
mod jump;
mod keyword;
mod line;
mod matching;
pub mod names;
mod pattern;
mod reader;
mod settings;
#[cfg(test)]
mod tests;
mod time;
mod tokens;

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

pub use jump::Jump;
pub use settings::{Family, Settings, Strict};

use crate::error::{Error, Kind, Result};
use crate::path::escape;
use files::Files;
use reader::{Manner, Reader};
use tokens::{Taken, Tokens};

/// The file of the whole system.
const SYSTEM_FILE: &str = "/etc/ssh/ssh_config";

/// The port of SSH (RFC 4253 §4).
const SSH_PORT: u16 = 22;

/// Which files are read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Source {
    /// `~/.ssh/config`, then `/etc/ssh/ssh_config`; either may be missing.
    #[default]
    Usual,
    /// This one alone; it must be there.
    File(PathBuf),
    /// None.
    Nothing,
}

/// What is asked for: a host, and what was said of it elsewhere, which wins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// The host as it was typed.
    pub host: String,
    /// The user that was named.
    pub user: Option<String>,
    /// The port that was named.
    pub port: Option<u16>,
    /// The way that was named, in place of `ProxyJump` and `ProxyCommand`; empty: directly.
    pub jumps: Option<Vec<Jump>>,
}

/// What is known of this machine and whoever runs us.
pub struct Around<'a> {
    /// What `~` and `%d` stand for.
    pub home: Option<String>,
    /// The name of whoever runs us.
    pub user: String,
    /// Their number.
    pub uid: u32,
    /// The name of this machine, gethostname(2).
    pub machine: String,
    /// An environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The home folder of another user.
    pub home_of: &'a dyn Fn(&str) -> Option<String>,
    /// The files.
    pub files: &'a dyn Files,
}

/// What there is to know about a line that is not acted upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// File and line. Escaped.
    pub place: String,
    /// What it means that it is not. Escaped.
    pub message: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// What holds for a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The host to connect to.
    pub host: String,
    /// What the files say, as they say it.
    pub settings: Settings,
    /// Keys to offer, in order. Empty: the usual ones.
    pub identity_files: Vec<PathBuf>,
    /// Certificates for them.
    pub certificate_files: Vec<PathBuf>,
    /// Which agent is asked; `None`: the usual one.
    pub agent: Option<Agent>,
    /// The user's known_hosts files; `None`: the usual ones.
    pub user_known_hosts: Option<Vec<PathBuf>>,
    /// The system's known_hosts files; `None`: the usual ones.
    pub global_known_hosts: Option<Vec<PathBuf>>,
    /// The name to look up in them, in lower case.
    pub host_key_alias: Option<String>,
    /// How the host is reached.
    pub proxy: Proxy,
    /// What is not acted upon.
    pub notes: Vec<Note>,
}

/// Which agent is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agent {
    /// None.
    Nobody,
    /// The one whose socket this environment variable names.
    Variable(String),
    /// The one with this socket.
    Socket(PathBuf),
}

/// How a host is reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Proxy {
    /// By TCP.
    #[default]
    Direct,
    /// By way of these hosts, the first one first.
    Jumps(Vec<Jump>),
    /// By what a command reads and writes; a shell runs it.
    Command(String),
}

/// What the files say of a host. Errors with `Usage`: a file that cannot be read, is open to others or has mistakes.
pub fn resolve(query: &Query, source: &Source, around: &Around<'_>) -> Result<Resolved> {
    let settings = Settings {
        user: query.user.clone(),
        port: query.port,
        proxy_jump: query.jumps.clone(),
        proxy_command: query.jumps.as_ref().map(|_| "none".into()),
        ..Settings::default()
    };
    let mut reader = Reader::new(around, &query.host, settings);
    read_all(&mut reader, source)?;
    let host = match &reader.settings.host_name {
        Some(name) => tokens::host_name(name, &query.host).map_err(|why| unusable(query, &why))?,
        None => query.host.clone(),
    };
    let host = if is_address(&host) { host } else { host.to_ascii_lowercase() };
    if reader.wants_final {
        reader.host = host.clone();
        reader.is_final = true;
        read_all(&mut reader, source)?;
    }
    let (settings, notes) = (reader.settings, reader.notes);
    let resolved = Resolved { host, settings, notes, ..Resolved::default() };
    resolved.filled_in(query, around).map_err(|why| unusable(query, &why))
}

fn read_all(reader: &mut Reader<'_>, source: &Source) -> Result<()> {
    let users = Manner { is_users: true, is_checked: true, never_applies: false };
    match source {
        Source::Nothing => {}
        Source::File(path) => {
            if !reader.read(path, Manner { is_checked: false, ..users })? {
                let path = escape(path.as_os_str().as_encoded_bytes());
                return Err(Error::new(Kind::Usage, "use", path).detail("there is no such file"));
            }
        }
        Source::Usual => {
            if let Some(home) = &reader.around.home {
                let own = Path::new(home).join(".ssh/config");
                reader.read(&own, users)?;
            }
            let system = Manner { is_users: false, is_checked: false, never_applies: false };
            reader.read(Path::new(SYSTEM_FILE), system)?;
        }
    }
    Ok(())
}

fn unusable(query: &Query, why: &str) -> Error {
    let host = escape(query.host.as_bytes());
    Error::new(Kind::Usage, "use what ssh_config says of", host).detail(escape(why.as_bytes()))
}

fn is_address(host: &str) -> bool {
    host.contains(':') || host.parse::<IpAddr>().is_ok()
}

impl Resolved {
    /// Whom to log in as; `None`: nothing is said.
    pub fn user(&self) -> Option<&String> {
        self.settings.user.as_ref()
    }

    /// The port; `None`: nothing is said.
    pub fn port(&self) -> Option<u16> {
        self.settings.port
    }

    fn filled_in(mut self, query: &Query, around: &Around<'_>) -> Result<Self, String> {
        let settings = self.settings.clone();
        self.host_key_alias = settings.host_key_alias.as_ref().map(|alias| alias.to_ascii_lowercase());
        let jumps = settings.proxy_jump.as_deref().unwrap_or_default();
        let tokens = Tokens {
            host: self.host.clone(),
            typed: query.host.clone(),
            port: settings.port.unwrap_or(SSH_PORT),
            user: settings.user.as_ref().unwrap_or(&around.user).clone(),
            key_alias: self.host_key_alias.as_ref().unwrap_or(&query.host).clone(),
            jumps: jumps.iter().map(Jump::to_string).collect::<Vec<_>>().join(","),
        };
        let path = |text: &String| tokens.expand(text, Taken::OfPath, around).map(PathBuf::from);
        let paths = |texts: &[String]| {
            let named = texts.iter().filter(|text| !text.eq_ignore_ascii_case("none"));
            named.map(path).collect::<Result<Vec<_>, String>>()
        };
        self.identity_files = paths(&settings.identity_files)?;
        self.certificate_files = paths(&settings.certificate_files)?;
        if !settings.user_known_hosts.is_empty() {
            self.user_known_hosts = Some(paths(&settings.user_known_hosts)?);
        }
        if !settings.global_known_hosts.is_empty() {
            let named = settings.global_known_hosts.iter().filter(|name| !name.eq_ignore_ascii_case("none"));
            self.global_known_hosts = Some(named.map(PathBuf::from).collect()); // no tokens there
        }
        self.agent = settings
            .identity_agent
            .as_ref()
            .map(|agent| match agent.strip_prefix('$') {
                _ if agent.eq_ignore_ascii_case("none") => Ok(Agent::Nobody),
                _ if agent == "SSH_AUTH_SOCK" => Ok(Agent::Variable(agent.clone())),
                Some(name) if !name.starts_with('{') => Ok(Agent::Variable(name.into())),
                _ => path(agent).map(Agent::Socket),
            })
            .transpose()?;
        self.proxy = proxy(&settings, &tokens, around)?;
        Ok(self)
    }
}

fn proxy(settings: &Settings, tokens: &Tokens, around: &Around<'_>) -> Result<Proxy, String> {
    let expand = |text: &String| tokens.expand(text, Taken::OfConnection, around);
    match (&settings.proxy_jump, &settings.proxy_command) {
        (Some(jumps), _) if !jumps.is_empty() => {
            let jump = |jump: &Jump| {
                let user = jump.user.as_ref().map(expand).transpose()?;
                Ok(Jump { user, host: expand(&jump.host)?, port: jump.port })
            };
            jumps.iter().map(jump).collect::<Result<_, String>>().map(Proxy::Jumps)
        }
        (_, Some(command)) if !command.eq_ignore_ascii_case("none") => expand(command).map(Proxy::Command),
        _ => Ok(Proxy::Direct),
    }
}
