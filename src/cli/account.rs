//! From what was typed or configured to an account: where it is, how to log in, which host key to expect.
//!
//! Nothing is connected to, and no secret read. Pins of the journal are the caller's to add, because a
//! command may have opened a journal of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ends::{Far, Form};
use super::me;
use crate::config::model::{Auth, Config, Secret, Server};
use crate::error::{Error, Result};
use crate::path::escape;
use crate::remote::connect::{Endpoint, HostTrust, KeyFile, Login, Suite};
use crate::secret::Prompt;
use crate::secret::terminal::Terminal;

/// The port of SSH (RFC 4253 §4).
const SSH_PORT: u16 = 22;

/// The known_hosts file of the whole system, as OpenSSH has it.
const SYSTEM_KNOWN_HOSTS: &str = "/etc/ssh/ssh_known_hosts";

/// An account on a server.
#[derive(Debug, Clone)]
pub struct Account {
    /// Where, and who.
    pub endpoint: Endpoint,
    /// How to log in.
    pub login: Login,
    /// Whom to trust; without the journal's pins.
    pub trust: HostTrust,
}

/// What flags say about the account; they win over the config.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `-p`
    pub port: Option<u16>,
    /// `-i`, in the order given.
    pub identity: Vec<PathBuf>,
    /// `--accept-new-host-key`
    pub accept_new_host_key: bool,
}

/// What the process finds around it.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The home folder.
    pub home: Option<PathBuf>,
    /// The socket of ssh-agent.
    pub agent: Option<PathBuf>,
    /// The person at the terminal, if there is one.
    pub prompt: Option<Arc<dyn Prompt>>,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        let prompt = Terminal::new().map(|terminal| Arc::new(terminal) as Arc<dyn Prompt>);
        Self {
            home: crate::journal::place::home(&|name| std::env::var_os(name)),
            agent: std::env::var_os("SSH_AUTH_SOCK").filter(|v| !v.is_empty()).map(PathBuf::from),
            prompt,
        }
    }
}

/// The account of a remote end. In its short form the host may be a server of the config, whose user
/// and keys it then takes unless the end or the flags say otherwise.
pub fn of_end(config: &Config, far: &Far, flags: &Flags, around: &Surroundings) -> Result<Account> {
    let server = config.server(&far.host).filter(|_| far.form == Form::Short);
    let endpoint = Endpoint {
        host: server.map_or(&far.host, |server| &server.host).clone(),
        port: flags.port.or(far.port).or(server.and_then(port)).unwrap_or(SSH_PORT),
        user: user(far.user.as_ref().or(server.and_then(|server| server.user.as_ref())))?,
    };
    account(endpoint, server, flags, around)
}

/// The account of a server of the config.
pub fn of_server(server: &Server, around: &Surroundings) -> Result<Account> {
    let (host, user) = (server.host.clone(), user(server.user.as_ref())?);
    let endpoint = Endpoint { host, port: port(server).unwrap_or(SSH_PORT), user };
    account(endpoint, Some(server), &Flags::default(), around)
}

fn account(
    endpoint: Endpoint,
    server: Option<&Server>,
    flags: &Flags,
    around: &Surroundings,
) -> Result<Account> {
    let usual = Auth::default();
    let login = login(server.map_or(&usual, |server| &server.auth), &flags.identity, around)?;
    let pinned = server.map(|server| server.host_keys.iter().map(|key| key.as_str().to_owned()).collect());
    let own = around.home.as_ref().map(|home| home.join(".ssh/known_hosts"));
    let trust = HostTrust {
        pinned: pinned.unwrap_or_default(),
        known_hosts: own.into_iter().chain([SYSTEM_KNOWN_HOSTS.into()]).collect(),
        accept_new: flags.accept_new_host_key,
        suite: Suite { legacy: server.is_some_and(|server| server.legacy) },
        ..HostTrust::default()
    };
    Ok(Account { endpoint, login, trust })
}

/// Keys of flags take the place of configured ones; the configured passphrase belongs to those only.
fn login(auth: &Auth, identity: &[PathBuf], around: &Surroundings) -> Result<Login> {
    let agent = around.agent.clone().filter(|_| auth.agent);
    let mut login = match &around.home {
        Some(home) => Login::usual(&home.join(".ssh"), agent),
        None => Login { agent, ..Login::default() },
    };
    login.keys = if identity.is_empty() { configured(auth) } else { named(identity, around)? };
    login.certificates = auth.certificates.clone();
    login.password = auth.password.clone();
    login.code = auth.code.clone();
    login.prompt = around.prompt.clone();
    Ok(login)
}

fn configured(auth: &Auth) -> Vec<KeyFile> {
    let key = |source: &Secret| KeyFile { source: source.clone(), passphrase: auth.passphrase.clone() };
    auth.keys.iter().map(key).collect()
}

fn named(identity: &[PathBuf], around: &Surroundings) -> Result<Vec<KeyFile>> {
    let key = |path: &PathBuf| {
        let absolute = std::path::absolute(expanded(path, around.home.as_deref()));
        let file = absolute
            .map_err(|e| Error::io("find the key", escape(path.as_os_str().as_encoded_bytes()), e))?;
        Ok(KeyFile { source: Secret::File(file), passphrase: None })
    };
    identity.iter().map(key).collect()
}

fn expanded(path: &Path, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.into(),
    }
}

fn port(server: &Server) -> Option<u16> {
    server.port.map(std::num::NonZeroU16::get)
}

fn user(named: Option<&String>) -> Result<String> {
    named.cloned().map_or_else(me::login_name, Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ends::parse_host;

    fn config() -> Config {
        let auth = Auth {
            keys: vec![Secret::File("/keys/offsite".into())],
            passphrase: Some(Secret::Env("PHRASE".into())),
            agent: false,
            ..Auth::default()
        };
        let server = Server {
            bandwidth: None,
            name: "offsite".into(),
            host: "backup.example.org".into(),
            port: std::num::NonZeroU16::new(2022),
            user: Some("web1".into()),
            auth,
            host_keys: Vec::new(),
            legacy: false,
        };
        Config { servers: vec![server], ..Config::default() }
    }

    fn around() -> Surroundings {
        Surroundings { home: Some("/home/ann".into()), agent: Some("/run/agent".into()), prompt: None }
    }

    fn account(end: &str, flags: &Flags) -> Account {
        of_end(&config(), &parse_host(end).unwrap(), flags, &around()).unwrap()
    }

    #[test]
    fn flags_win_over_the_end_and_that_over_the_config() {
        let check = |end: &str, port, expected: &str| {
            let flags = Flags { port, ..Flags::default() };
            assert_eq!(account(end, &flags).endpoint.to_string(), expected, "{end}");
        };
        check("offsite", None, "web1@backup.example.org:2022");
        check("me@offsite:x", None, "me@backup.example.org:2022");
        check("offsite", Some(22), "web1@backup.example.org:22");
        check("me@host", None, "me@host:22");
        check("sftp://me@host:2200", None, "me@host:2200");
        check("sftp://me@host:2200", Some(23), "me@host:23");
        check("sftp://me@offsite", None, "me@offsite:22");
    }

    #[test]
    fn a_named_key_is_offered_instead_of_the_usual_ones() {
        let check = |end: &str, identity: &str, expected: &[&str], has_passphrase| {
            let identity = Some(PathBuf::from(identity)).filter(|path| path != Path::new(""));
            let flags = Flags { identity: identity.into_iter().collect(), ..Flags::default() };
            let login = account(end, &flags).login;
            let keys: Vec<String> = login.keys.iter().map(|key| key.source.to_string()).collect();
            assert_eq!(keys, expected, "{end}");
            assert_eq!(login.keys.iter().any(|key| key.passphrase.is_some()), has_passphrase, "{end}");
        };
        check("me@host", "", &[], false);
        check("me@host", "~/key", &["file:/home/ann/key"], false);
        check("offsite", "", &["file:/keys/offsite"], true);
        check("offsite", "/other", &["file:/other"], false);
    }

    #[test]
    fn the_agent_is_asked_unless_the_config_says_no() {
        let check = |end: &str, expected: Option<&str>| {
            let login = account(end, &Flags::default()).login;
            assert_eq!(login.agent.as_deref(), expected.map(Path::new), "{end}");
            assert_eq!(login.default_keys[0], Path::new("/home/ann/.ssh/id_ed25519"));
        };
        check("me@host", Some("/run/agent"));
        check("offsite", None);
    }

    #[test]
    fn known_hosts_are_those_of_openssh() {
        let flags = Flags { accept_new_host_key: true, ..Flags::default() };
        let trust = account("me@host", &flags).trust;
        let expected = [Path::new("/home/ann/.ssh/known_hosts"), Path::new(SYSTEM_KNOWN_HOSTS)];
        assert_eq!((trust.known_hosts, trust.accept_new), (expected.map(PathBuf::from).into(), true));
        let server = &config().servers[0];
        assert_eq!(
            of_server(server, &around()).unwrap().endpoint.to_string(),
            "web1@backup.example.org:2022"
        );
    }
}
