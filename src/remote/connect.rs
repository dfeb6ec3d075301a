//! From a host name to a logged-in SSH connection, within deadlines, and SFTP channels on it.
//!
//! What travels on a channel is left to `stream` and `sftp`, how many connections there are to `pool`.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::client::{self, Handle};
use russh::keys::Algorithm;
use russh::{ChannelMsg, ChannelStream, Disconnect};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

pub use super::auth::Login;
use super::auth::{Refusal, log_in};
pub use super::client::Algorithms;
use super::client::{Check, Client, Notes, Peer, config, look};
use super::dial::dial;
pub use super::host_key::{HostKeyRecord, HostTrust};
use super::host_key::{Known, by_type};
pub use super::key_file::KeyFile;
use super::wire::{Control, Wire};
use crate::error::{Error, Kind, Result};
use crate::path::escape;

/// How long greeting and key exchange may take.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(60);

/// How long opening a channel may take.
const OPEN_DEADLINE: Duration = Duration::from_secs(60);

/// How long to wait for the last words to be sent.
const FAREWELL_DEADLINE: Duration = Duration::from_secs(5);

/// An account on a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// A name or an address.
    pub host: String,
    /// 22 unless said otherwise.
    pub port: u16,
    /// Who logs in.
    pub user: String,
}

/// `user@host:port`, an IPv6 address in brackets.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, host) = (escape(self.user.as_bytes()), escape(self.host.as_bytes()));
        match host.contains(':') {
            true => write!(f, "{user}@[{host}]:{}", self.port),
            false => write!(f, "{user}@{host}:{}", self.port),
        }
    }
}

impl Endpoint {
    fn peer(&self) -> Peer {
        Peer { shown: self.to_string(), host: self.host.clone(), port: self.port }
    }
}

/// A channel on which the server speaks SFTP.
pub type SftpChannel = ChannelStream<client::Msg>;

/// What became known of a server while connecting. All texts are escaped.
#[derive(Debug, Clone)]
pub struct ServerFacts {
    /// How it names itself: `SSH-2.0-OpenSSH_9.2` and the like.
    pub ident: String,
    /// What it showed before the login; often empty.
    pub banner: String,
    /// Its host key.
    pub host_key: HostKeyRecord,
    /// What was agreed on.
    pub algorithms: Option<Algorithms>,
    /// What let us in: "key /home/web1/.ssh/id_ed25519", "password".
    pub login: String,
}

/// A connection with somebody logged in. Cut when dropped, with all its channels.
pub struct Connection {
    endpoint: Endpoint,
    handle: Handle<Client>,
    notes: Arc<Mutex<Notes>>,
    wire: Arc<Control>,
    facts: ServerFacts,
    accepted_new_key: Option<HostKeyRecord>,
}

/// Connects, checks the host key and logs in.
///
/// Errors: `Unreachable` (no address answers, or the server hangs up), `Protocol` (it does not speak SSH
/// as we do), `HostKeyUnknown`, `HostKeyChanged`, `Login`, `Usage` (a pin that is none).
pub async fn connect(endpoint: &Endpoint, login: &Login, trust: &HostTrust) -> Result<Connection> {
    let known = trust.look_up(&endpoint.host, endpoint.port)?;
    let offered = known.algorithms();
    let first = meet(endpoint, &known, trust.accept_new, offered.clone()).await;
    let met = match first {
        Err(refused) if refused.kind() == Kind::HostKeyChanged && known.may_be_of_any_type() => {
            meet_by_type(endpoint, &known, &offered, refused).await?
        }
        first => first?,
    };
    met.log_in(endpoint, login).await
}

/// Where only fingerprints are known, the server may have shown a key of another type than the one whose
/// fingerprint was pinned: asks for each type in turn, and gives the first answer if none is the pinned one.
async fn meet_by_type(
    endpoint: &Endpoint,
    known: &Known,
    offered: &[Algorithm],
    refused: Error,
) -> Result<Met> {
    for these in by_type(offered) {
        if let Ok(met) = meet(endpoint, known, false, these.to_vec()).await {
            return Ok(met);
        }
    }
    Err(refused)
}

async fn meet(endpoint: &Endpoint, known: &Known, accept_new: bool, offered: Vec<Algorithm>) -> Result<Met> {
    let stream = dial(endpoint).await?;
    let check = Check::Trust { known: known.clone(), accept_new };
    shake_hands(stream, endpoint, check, offered).await
}

/// The same as [`connect`] over any stream, which ends in front of the server.
pub async fn connect_stream<S>(
    stream: S,
    endpoint: &Endpoint,
    login: &Login,
    trust: &HostTrust,
) -> Result<Connection>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let known = trust.look_up(&endpoint.host, endpoint.port)?;
    let offered = known.algorithms();
    let check = Check::Trust { known, accept_new: trust.accept_new };
    shake_hands(stream, endpoint, check, offered).await?.log_in(endpoint, login).await
}

/// The host key that a server shows, to be looked at by a person. Does not log in.
/// Errors: `Unreachable`, `Protocol`.
pub async fn fetch_host_key(endpoint: &Endpoint) -> Result<HostKeyRecord> {
    let stream = dial(endpoint).await?;
    let (wire, control) = Wire::new(stream);
    let (client, notes) = Client::new(endpoint.peer(), Check::Look);
    let config = Arc::new(config(Known::default().algorithms()));
    let outcome = timeout(HANDSHAKE_DEADLINE, client::connect_stream(config, wire, client)).await;
    let shown = look(&notes).host_key.take();
    match (shown, outcome) {
        (Some(shown), _) => Ok(shown),
        (None, Ok(Err(error))) => Err(broken_off(endpoint, error, &notes, &control)),
        (None, _) => Err(silent(endpoint)),
    }
}

/// A server whose host key is trusted.
struct Met {
    handle: Handle<Client>,
    notes: Arc<Mutex<Notes>>,
    wire: Arc<Control>,
}

async fn shake_hands<S>(stream: S, endpoint: &Endpoint, check: Check, offered: Vec<Algorithm>) -> Result<Met>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (stream, wire) = Wire::new(stream);
    let (client, notes) = Client::new(endpoint.peer(), check);
    let session = client::connect_stream(Arc::new(config(offered)), stream, client);
    match timeout(HANDSHAKE_DEADLINE, session).await {
        Ok(Ok(handle)) => Ok(Met { handle, notes, wire }),
        Ok(Err(error)) => Err(broken_off(endpoint, error, &notes, &wire)),
        Err(_) => {
            wire.cut(); // a key exchange that has begun would go on without us
            Err(silent(endpoint))
        }
    }
}

impl Met {
    async fn log_in(mut self, endpoint: &Endpoint, login: &Login) -> Result<Connection> {
        match log_in(&mut self.handle, &endpoint.user, login).await {
            Ok(by) => self.into_connection(endpoint, by),
            Err(refusal) => {
                let error = refused(endpoint, &refusal, &self.notes);
                say_goodbye(&mut self.handle, &self.wire).await;
                Err(error)
            }
        }
    }

    fn into_connection(self, endpoint: &Endpoint, login: String) -> Result<Connection> {
        let notes = look(&self.notes);
        let Some(host_key) = notes.host_key.clone() else {
            return Err(Error::new(Kind::Internal, "tell the host key of", endpoint));
        };
        let facts = ServerFacts {
            ident: notes.ident.clone(),
            banner: notes.banner.clone(),
            host_key: host_key.clone(),
            algorithms: notes.algorithms.clone(),
            login,
        };
        let accepted_new_key = notes.accepted_new_key.then_some(host_key);
        drop(notes);
        let Met { handle, notes, wire } = self;
        Ok(Connection { endpoint: endpoint.clone(), handle, notes, wire, facts, accepted_new_key })
    }
}

impl Connection {
    /// What became known of the server while connecting.
    pub fn server(&self) -> &ServerFacts {
        &self.facts
    }

    /// The host key that was accepted at first contact, for the caller to pin.
    pub fn accepted_new_key(&self) -> Option<&HostKeyRecord> {
        self.accepted_new_key.as_ref()
    }

    /// Whether the connection has come to an end.
    pub fn is_lost(&self) -> bool {
        self.handle.is_closed()
    }

    /// Bytes received on this connection so far, answers to keepalives among them.
    pub fn received_bytes(&self) -> u64 {
        self.wire.received_bytes()
    }

    /// Opens a channel and has the server start SFTP on it.
    ///
    /// Errors: `Unsupported` (no SFTP here), `Failed` (no more channels on this connection), `Disconnected`,
    /// `TimedOut`.
    pub async fn open_sftp(&self) -> Result<SftpChannel> {
        match timeout(OPEN_DEADLINE, self.request_sftp()).await {
            Ok(opened) => opened,
            Err(_) => Err(self
                .error(Kind::TimedOut)
                .detail(format!("no answer within {} s", OPEN_DEADLINE.as_secs()))),
        }
    }

    async fn request_sftp(&self) -> Result<SftpChannel> {
        let opened = self.handle.channel_open_session().await;
        let mut channel = opened.map_err(|e| self.not_opened(e))?;
        channel.request_subsystem(true, "sftp").await.map_err(|e| self.not_opened(e))?;
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Success) => return Ok(channel.into_stream()),
                Some(ChannelMsg::Failure) => {
                    let _ = channel.close().await; // fails only if the connection is gone, then it is closed
                    return Err(self.error(Kind::Unsupported).detail("the server offers no SFTP on this account").hint(
                        "its operator can enable it: in OpenSSH by a line \"Subsystem sftp internal-sftp\" in sshd_config",
                    ));
                }
                Some(ChannelMsg::Data { .. }) => {
                    return Err(self
                        .error(Kind::Protocol)
                        .detail("the server sends something else before SFTP starts")
                        .hint("a start file of the account's shell may print something"));
                }
                Some(ChannelMsg::Eof | ChannelMsg::Close) => {
                    return Err(self.error(Kind::Failed).detail("the server closed the channel again"));
                }
                Some(_) => {}
                None => return Err(self.lost()),
            }
        }
    }

    fn not_opened(&self, error: russh::Error) -> Error {
        match error {
            russh::Error::ChannelOpenFailure(reason) => self
                .error(Kind::Failed)
                .detail(format!("the server refused: {}", escape(format!("{reason:?}").as_bytes())))
                .hint("it may limit the channels of one connection (MaxSessions in OpenSSH)"),
            _ => self.lost(),
        }
    }

    /// The error for whatever needed this connection when it came to an end.
    pub fn lost(&self) -> Error {
        let why = end_of(&self.notes).unwrap_or_else(|| "the connection is lost".into());
        self.error(Kind::Disconnected).detail(why)
    }

    fn error(&self, kind: Kind) -> Error {
        Error::new(kind, "start SFTP at", &self.endpoint)
    }

    /// Ends the connection at once: nothing that is still queued is sent.
    pub fn cut(&self) {
        self.wire.cut();
    }

    /// Says goodbye and ends the connection.
    pub async fn close(mut self) {
        say_goodbye(&mut self.handle, &self.wire).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.wire.cut();
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("endpoint", &self.endpoint).field("facts", &self.facts).finish()
    }
}

/// Ends a session politely, and in any case. Whether the server heard it does not matter.
async fn say_goodbye(handle: &mut Handle<Client>, wire: &Control) {
    let _ = timeout(FAREWELL_DEADLINE, async {
        if handle.disconnect(Disconnect::ByApplication, "", "").await.is_ok() {
            let _ = handle.await;
        }
    })
    .await;
    wire.cut();
}

fn silent(endpoint: &Endpoint) -> Error {
    Error::new(Kind::Unreachable, "talk to", endpoint)
        .detail(format!("connected, but no SSH handshake within {} s", HANDSHAKE_DEADLINE.as_secs()))
        .hint("check that this is the port of the SSH server, and whether it is overloaded")
}

/// Why the session ended, as far as the server or the library said.
fn end_of(notes: &Mutex<Notes>) -> Option<String> {
    let notes = look(notes);
    let said = notes.farewell.as_ref().map(|words| format!("the server says: {words}"));
    said.or_else(|| notes.failure.clone())
}

/// The error for a handshake that came to nothing.
fn broken_off(endpoint: &Endpoint, error: russh::Error, notes: &Mutex<Notes>, wire: &Control) -> Error {
    if let Some(refusal) = look(notes).refusal.take() {
        return refusal;
    }
    let said = wire.first_words();
    let unreachable = Error::new(Kind::Unreachable, "talk to", endpoint);
    let protocol = Error::new(Kind::Protocol, "speak SSH with", endpoint);
    match error {
        russh::Error::NoCommonAlgo { kind, theirs, .. } => {
            let theirs: String = escape(theirs.join(", ").as_bytes()).chars().take(400).collect();
            protocol
                .detail(format!("no {} in common; the server offers {theirs}", algorithm_word(&kind)))
                .hint("the server needs newer software, or has everything modern switched off")
        }
        russh::Error::Version => protocol
            .detail(format!("it answers, but not as an SSH server does: {said:?}"))
            .hint("check the port"),
        russh::Error::WrongServerSig => protocol
            .detail("its signature does not fit its host key")
            .hint("somebody may be listening in: try from another network"),
        _ if !said.is_empty() => unreachable.detail(format!("the server hangs up, saying: {said}")),
        error => {
            let why = end_of(notes).unwrap_or_else(|| "the server hangs up during the handshake".into());
            unreachable.detail(why).because(error).hint("try later; if it goes on, ask its operator")
        }
    }
}

fn algorithm_word(kind: &russh::AlgorithmKind) -> &'static str {
    match kind {
        russh::AlgorithmKind::Kex => "way to exchange keys",
        russh::AlgorithmKind::Key => "type of host key",
        russh::AlgorithmKind::Cipher => "cipher",
        russh::AlgorithmKind::Compression => "compression",
        russh::AlgorithmKind::Mac => "integrity check",
    }
}

/// The error for a login that came to nothing.
fn refused(endpoint: &Endpoint, refusal: &Refusal, notes: &Mutex<Notes>) -> Error {
    let mut parts = refusal.tried.clone();
    if let Some(accepted) = &refusal.accepted {
        parts.push(format!("the server accepts {accepted}"));
    }
    let farewell = look(notes).farewell.is_some();
    if refusal.lost.is_some() || farewell {
        parts.extend(end_of(notes).or_else(|| refusal.lost.clone()));
    }
    // A server that hangs up after refusals has had enough of them; one that is just gone may come back.
    let given_up = refusal.lost.is_some() && !farewell;
    let kind = if given_up { Kind::Unreachable } else { Kind::Login };
    Error::new(kind, "log in to", endpoint).detail(parts.join("; ")).hint(login_hint(refusal, given_up))
}

fn login_hint(refusal: &Refusal, given_up: bool) -> &'static str {
    if given_up {
        "try later"
    } else if refusal.tried.is_empty() {
        "name a key (-i, or auth.key in the configuration), load one into ssh-agent, or say where the password is"
    } else if refusal.tried.iter().any(|t| t.contains("key ") && t.ends_with(": refused")) {
        "check the user name, and that the public key is in authorized_keys of that account"
    } else {
        "check the user name and what was given to log in with"
    }
}
