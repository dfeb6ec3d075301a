//! From what was typed or configured, and what ssh_config says of it, to an account: where it is, how it is reached,
//! how to log in, which host key to expect. Hops on the way are accounts too, of which ssh_config alone speaks.
//!
//! Nothing is connected to, and no secret read. Pins of the journal are the caller's to add, because a
//! command may have opened a journal of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::by_ssh::by_ssh;
use super::ends::{Far, Form};
use super::{alias, me};
use crate::config::model::{Auth, Config, Secret, Server, Via};
use crate::error::{Error, Kind, Result};
use crate::path::escape;
use crate::remote::connect::{Endpoint, HostTrust, KeyFile, Login, Suite};
use crate::remote::route::{Route, Target, Way};
use crate::secret::Prompt;
use crate::secret::terminal::Terminal;
use crate::sshconfig::{Jump, Note, Proxy, Query, Resolved, Source, Strict};

/// The port of SSH (RFC 4253 §4).
const SSH_PORT: u16 = 22;

/// Servers on the way to one.
const MOST_HOPS: usize = 16;

/// An account on a server.
#[derive(Debug, Clone)]
pub struct Account {
    /// All there is to know for logging in, but for the journal's pins.
    pub target: Target,
    /// What of ssh_config is not acted upon.
    pub notes: Vec<Note>,
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
    /// Whether a person started this one round: then ssh_config may say that new host keys are accepted.
    pub is_one_round: bool,
    /// `-F`
    pub ssh_config: Option<PathBuf>,
    /// `--via`
    pub via: Option<Via>,
}

impl Flags {
    /// Whether the key of a host that was never seen before is accepted.
    pub fn accept_new(&self, said: &Resolved) -> bool {
        let by_config = matches!(said.settings.strict, Some(Strict::AcceptNew | Strict::No));
        self.accept_new_host_key || (self.is_one_round && by_config)
    }
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
    let query = Query {
        host: server.map_or(&far.host, |server| &server.host).clone(),
        user: far.user.clone().or(server.and_then(|server| server.user.clone())),
        port: flags.port.or(far.port).or(server.and_then(port)),
        jumps: None,
    };
    Asked { server, flags, around }.account(&query)
}

/// The account of a server of the config.
pub fn of_server(server: &Server, around: &Surroundings) -> Result<Account> {
    let query =
        Query { host: server.host.clone(), user: server.user.clone(), port: port(server), jumps: None };
    Asked { server: Some(server), flags: &Flags::default(), around }.account(&query)
}

/// What was said of an account besides its name.
struct Asked<'a> {
    server: Option<&'a Server>,
    flags: &'a Flags,
    around: &'a Surroundings,
}

impl Asked<'_> {
    fn account(&self, query: &Query) -> Result<Account> {
        let source = self.source();
        let mut said = alias::ask(query, &source, self.around)?;
        let notes = std::mem::take(&mut said.notes);
        let via = self.flags.via.or(self.server.map(|server| server.via)).unwrap_or_default();
        let way = match via {
            Via::Direct => self.way(query, &said, MOST_HOPS)?,
            Via::Ssh => {
                let unattended = self.around.prompt.is_none();
                Way::BySsh(by_ssh(query, self.server, &said, self.flags, &source, unattended))
            }
        };
        Ok(Account { target: self.target(query, &said, way)?, notes })
    }

    /// Which files of ssh_config are read.
    fn source(&self) -> Source {
        match &self.flags.ssh_config {
            Some(path) if path.as_os_str() == "none" => Source::Nothing,
            Some(path) => Source::File(expanded(path, self.around.home.as_deref())),
            None => self.server.map(|server| server.ssh_config.clone()).unwrap_or_default(),
        }
    }

    fn target(&self, query: &Query, said: &Resolved, way: Way) -> Result<Target> {
        let named = query.user.as_ref().or(said.user());
        let endpoint = Endpoint {
            host: said.host.clone(),
            port: query.port.or(said.port()).unwrap_or(SSH_PORT),
            user: named.cloned().map_or_else(me::login_name, Ok)?,
        };
        let pinned = self.server.iter().flat_map(|server| &server.host_keys);
        let trust = HostTrust {
            pinned: pinned.map(|key| key.as_str().to_owned()).collect(),
            known_hosts: alias::known_hosts(said, self.around.home.as_deref()),
            alias: said.host_key_alias.clone(),
            accept_new: self.flags.accept_new(said),
            suite: Suite { legacy: self.server.is_some_and(|server| server.legacy) },
            ..HostTrust::default()
        };
        let mut manner = alias::manner(said);
        if said.host != query.host || !matches!(way, Way::Direct) {
            manner.known_as = Some((query.host.clone(), query.port));
        }
        let route = Route { way, manner };
        Ok(Target { endpoint, login: self.login(said)?, trust, route })
    }

    /// What carries the session, with so many hops at most.
    fn way(&self, query: &Query, said: &Resolved, most_hops: usize) -> Result<Way> {
        match &said.proxy {
            Proxy::Direct => Ok(Way::Direct),
            Proxy::Command(command) => {
                Ok(Way::Command { command: command.clone(), unattended: self.around.prompt.is_none() })
            }
            Proxy::Jumps(jumps) => self.hop(query, jumps, most_hops),
        }
    }

    /// The way through the last of these hosts, which is reached through those before it; the first one as
    /// ssh_config says of it. No config of ours, no key and no password of the server itself is for them.
    fn hop(&self, query: &Query, jumps: &[Jump], most_hops: usize) -> Result<Way> {
        let circle = || {
            let error = Error::new(Kind::Usage, "find the way to", escape(query.host.as_bytes()));
            error.detail("its ProxyJump in ssh_config leads in a circle, or over too many hosts")
        };
        let Some(((last, before), left)) = jumps.split_last().zip(most_hops.checked_sub(1)) else {
            return Err(circle());
        };
        let jumps = (!before.is_empty()).then(|| before.to_vec());
        let there = Query { host: last.host.clone(), user: last.user.clone(), port: last.port, jumps };
        let source = self.source();
        let said = alias::ask(&there, &source, self.around)?;
        let flags = Flags {
            accept_new_host_key: self.flags.accept_new_host_key,
            is_one_round: self.flags.is_one_round,
            ssh_config: as_flag(&source),
            ..Flags::default()
        };
        let hop = Asked { server: None, flags: &flags, around: self.around };
        let way = hop.way(&there, &said, left)?;
        Ok(Way::Jump(Box::new(hop.target(&there, &said, way)?)))
    }

    /// Keys of flags take the place of configured ones, those of what ssh_config says; the configured
    /// passphrase belongs to the configured ones only.
    fn login(&self, said: &Resolved) -> Result<Login> {
        let usual = Auth::default();
        let auth = self.server.map_or(&usual, |server| &server.auth);
        let agent = alias::agent(said, self.around).filter(|_| auth.agent);
        let mut login = match &self.around.home {
            Some(home) => Login::usual(&home.join(".ssh"), agent),
            None => Login { agent, ..Login::default() },
        };
        login.keys = match (self.flags.identity.is_empty(), auth.keys.is_empty()) {
            (false, _) => named(&self.flags.identity, self.around)?,
            (true, false) => configured(auth),
            (true, true) => {
                login.offers_agent_too = said.settings.identities_only != Some(true);
                said.identity_files.iter().map(KeyFile::new).collect()
            }
        };
        if said.settings.identities_only == Some(true) && login.keys.is_empty() {
            let there = login.default_keys.iter().filter(|path| path.exists());
            login.keys = there.map(KeyFile::new).collect();
        }
        login.certificates = auth.certificates.iter().chain(&said.certificate_files).cloned().collect();
        login.accepted_algorithms = said.settings.pubkey_algorithms.clone();
        login.password = auth.password.clone();
        login.code = auth.code.clone();
        login.prompt = self.around.prompt.clone();
        Ok(login)
    }
}

/// The flag that names these files; `None`: no flag.
fn as_flag(source: &Source) -> Option<PathBuf> {
    match source {
        Source::Usual => None,
        Source::File(path) => Some(path.clone()),
        Source::Nothing => Some("none".into()),
    }
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
            ssh_config: Source::Usual,
            via: Via::Direct,
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
            assert_eq!(account(end, &flags).target.endpoint.to_string(), expected, "{end}");
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
            let login = account(end, &flags).target.login;
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
            let login = account(end, &Flags::default()).target.login;
            assert_eq!(login.agent.as_deref(), expected.map(Path::new), "{end}");
            assert_eq!(login.default_keys[0], Path::new("/home/ann/.ssh/id_ed25519"));
        };
        check("me@host", Some("/run/agent"));
        check("offsite", None);
    }

    #[test]
    fn known_hosts_are_those_of_openssh() {
        let flags = Flags { accept_new_host_key: true, ..Flags::default() };
        let trust = account("me@host", &flags).target.trust;
        let expected = [Path::new("/home/ann/.ssh/known_hosts"), Path::new("/etc/ssh/ssh_known_hosts")];
        assert_eq!((trust.known_hosts, trust.accept_new), (expected.map(PathBuf::from).into(), true));
        let server = &config().servers[0];
        assert_eq!(
            of_server(server, &around()).unwrap().target.endpoint.to_string(),
            "web1@backup.example.org:2022"
        );
    }

    /// The account of `end` with this text as the file of ssh_config.
    fn with_ssh_config(text: &str, end: &str, flags: Flags) -> Result<Account> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let flags = Flags { ssh_config: Some(file.path().into()), ..flags };
        of_end(&config(), &parse_host(end).unwrap(), &flags, &around())
    }

    #[test]
    fn an_alias_says_where_who_and_with_which_keys() {
        let text = "Host box\nHostName h.example\nPort 2022\nUser web1\nIdentityFile ~/k\nCertificateFile /c\n\
                    HostKeyAlias name\nUserKnownHostsFile /kh\nIdentityAgent /agent\nServerAliveInterval 5\n";
        let check = |end: &str, flags: Flags, expected: &str, keys: &[&str]| {
            let target = with_ssh_config(text, end, flags).unwrap().target;
            let found: Vec<String> = target.login.keys.iter().map(|key| key.source.to_string()).collect();
            assert_eq!(
                (target.endpoint.to_string().as_str(), found),
                (expected, keys.iter().map(|k| (*k).into()).collect())
            );
            target
        };
        let target = check("box", Flags::default(), "web1@h.example:2022", &["file:/home/ann/k"]);
        assert_eq!((target.login.agent, target.login.offers_agent_too), (Some("/agent".into()), true));
        assert_eq!((target.login.certificates, target.trust.alias), (vec!["/c".into()], Some("name".into())));
        assert_eq!(target.trust.known_hosts, [PathBuf::from("/kh"), "/etc/ssh/ssh_known_hosts".into()]);
        assert_eq!(target.route.manner.ask_after, Some(std::time::Duration::from_secs(5)));
        let flags = Flags { identity: vec!["/i".into()], port: Some(1), ..Flags::default() };
        check("me@box", flags, "me@h.example:1", &["file:/i"]);
        check("sftp://me@box:7", Flags::default(), "me@h.example:7", &["file:/home/ann/k"]);
        check("offsite", Flags::default(), "web1@backup.example.org:2022", &["file:/keys/offsite"]);
        let only = with_ssh_config("IdentitiesOnly yes\nIdentityFile /k\n", "box", Flags::default()).unwrap();
        assert!(!only.target.login.offers_agent_too);
    }

    #[test]
    fn new_host_keys_are_accepted_by_ssh_config_in_one_round_only() {
        let check = |text: &str, is_one_round, expected| {
            let flags = Flags { is_one_round, ..Flags::default() };
            let account = with_ssh_config(text, "offsite", flags).unwrap();
            assert_eq!(account.target.trust.accept_new, expected, "{text}");
        };
        check("StrictHostKeyChecking no\n", true, true);
        check("StrictHostKeyChecking accept-new\n", true, true);
        check("StrictHostKeyChecking no\n", false, false);
        check("StrictHostKeyChecking ask\n", true, false);
        check("", true, false);
    }

    #[test]
    fn hops_are_accounts_of_their_own() {
        let text = "Host far\nProxyJump ann@two:2,three\nUser farmer\nHost two\nProxyJump one\nHostName 10.0.0.2\n\
                    Host three\nProxyJump never\nUser third\nIdentityFile /k3\n";
        let flags = Flags { identity: vec!["/i".into()], port: Some(9), ..Flags::default() };
        let target = with_ssh_config(text, "far", flags).unwrap().target;
        let hops = target.hops();
        let shown: Vec<String> = hops.iter().map(|hop| hop.endpoint.to_string()).collect();
        let me = me::login_name().unwrap();
        assert_eq!(shown, [format!("{me}@one:22"), "ann@10.0.0.2:2".into(), "third@three:22".into()]);
        assert_eq!(hops[2].login.keys, [KeyFile::new("/k3")]);
        assert_eq!(target.endpoint.to_string(), "farmer@far:9");
        let direct = with_ssh_config("Host a\nProxyJump none\nHost *\nProxyJump a\n", "b", Flags::default());
        assert_eq!(direct.unwrap().target.hops().len(), 1);
        for circle in ["Host *\nProxyJump a\n", "Host a\nProxyJump b\nHost b\nProxyJump a\n"] {
            let error = with_ssh_config(circle, "b", Flags::default()).unwrap_err();
            assert!(error.reason().contains("circle"), "{}", error.reason());
        }
    }

    #[test]
    fn a_server_may_be_reached_by_ssh_itself() {
        let flags = Flags { via: Some(Via::Ssh), ..Flags::default() };
        let target = with_ssh_config("ProxyJump a\n", "me@box", flags).unwrap().target;
        let Way::BySsh(ssh) = &target.route.way else { panic!("{:?}", target.route.way) };
        assert!(
            ssh.unattended && ssh.arguments.ends_with(&["-l", "me", "--", "box", "sftp"].map(String::from))
        );
        let command = with_ssh_config("ProxyCommand nc %h %p\n", "box:x", Flags::default()).unwrap().target;
        assert!(matches!(command.route.way, Way::Command { command, .. } if command == "nc box 22"));
    }
}
