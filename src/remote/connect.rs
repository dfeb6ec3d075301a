//! From a host name to a logged-in SSH connection, within deadlines, and SFTP channels on it.
//!
//! What travels on a channel is left to `stream` and `sftp`, how many connections there are to `pool`.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::client::{self, Handle};
use russh::{ChannelMsg, ChannelStream, Disconnect};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::algorithms::Offer;
pub use super::algorithms::{Algorithms, Suite};
pub use super::auth::Login;
use super::auth::log_in;
use super::client::{Check, Client, Notes, Peer, config, look};
use super::dial::dial;
pub use super::host_key::{HostKeyRecord, HostTrust};
use super::host_key::{Known, Place, by_type};
pub use super::key_file::KeyFile;
use super::pulse::{Counted, Pulse, Watchdog};
use super::refusal::{broken_off, end_of, refused, silent};
use super::wire::{Grip, Wire};
use crate::clock::{Clock, SystemClock};
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
pub type SftpChannel = Counted<ChannelStream<client::Msg>>;

/// What became known of a server while connecting. All texts are escaped.
#[derive(Debug, Clone)]
pub struct ServerFacts {
    /// How it names itself: `SSH-2.0-OpenSSH_9.2` and the like.
    pub ident: String,
    /// What it showed before the login; often empty.
    pub banner: String,
    /// Its host key.
    pub host_key: HostKeyRecord,
    /// Where its host key is recorded; `None`: it was accepted just now.
    pub trusted: Option<Place>,
    /// What was agreed on.
    pub algorithms: Option<Algorithms>,
    /// What let us in: "key /home/web1/.ssh/id_ed25519", "password".
    pub login: String,
}

/// A connection with somebody logged in. Cut when dropped, with all its channels.
pub struct Connection {
    endpoint: Endpoint,
    pub(super) handle: Handle<Client>,
    pub(super) notes: Arc<Mutex<Notes>>,
    wire: Grip,
    pub(super) facts: ServerFacts,
    accepted_new_key: Option<HostKeyRecord>,
    /// The requests and replies of all channels.
    pulse: Arc<Pulse>,
    _watchdog: Watchdog,
}

/// Connects, checks the host key and logs in.
///
/// Errors: `Unreachable` (no address answers, or the server hangs up), `Protocol` (it does not speak SSH
/// as we do), `HostKeyUnknown`, `HostKeyChanged`, `Login`, `Usage` (a pin that is none).
pub async fn connect(endpoint: &Endpoint, login: &Login, trust: &HostTrust) -> Result<Connection> {
    let known = trust.look_up(&endpoint.host, endpoint.port)?;
    let first = meet(endpoint, &known, trust.accept_new, known.offer()).await;
    let met = match first {
        Err(refused) if refused.kind() == Kind::HostKeyChanged && known.may_be_of_any_type() => {
            meet_by_type(endpoint, &known, refused).await?
        }
        first => first?,
    };
    met.log_in(endpoint, login, &known).await
}

/// Where only fingerprints are known, the server may have shown a key of another type than the one whose
/// fingerprint was pinned: asks for each type in turn, and gives the first answer if none is the pinned one.
async fn meet_by_type(endpoint: &Endpoint, known: &Known, refused: Error) -> Result<Met> {
    let offer = known.offer();
    for these in by_type(&offer.host_keys) {
        let these = Offer { host_keys: these.to_vec(), ..offer.clone() };
        if let Ok(met) = meet(endpoint, known, false, these).await {
            return Ok(met);
        }
    }
    Err(refused)
}

async fn meet(endpoint: &Endpoint, known: &Known, accept_new: bool, offer: Offer) -> Result<Met> {
    let stream = dial(endpoint).await?;
    shake_hands(stream, endpoint, trusting(known, accept_new), offer, HANDSHAKE_DEADLINE).await
}

fn trusting(known: &Known, accept_new: bool) -> Check {
    Check::Trust { known: known.clone(), accept_new, now: SystemClock.now() }
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
    let check = trusting(&known, trust.accept_new);
    let met = shake_hands(stream, endpoint, check, known.offer(), HANDSHAKE_DEADLINE).await?;
    met.log_in(endpoint, login, &known).await
}

/// The host key that a server shows, to be looked at by a person. Does not log in.
/// Errors: `Unreachable`, `Protocol`.
pub async fn fetch_host_key(endpoint: &Endpoint, suite: &Suite) -> Result<HostKeyRecord> {
    let stream = dial(endpoint).await?;
    let (wire, control) = Wire::new(stream);
    let (client, notes) = Client::new(endpoint.peer(), Check::Look);
    let offer = Offer { host_keys: suite.host_keys(), certificates: Vec::new(), suite: suite.clone() };
    let config = Arc::new(config(offer));
    let outcome = timeout(HANDSHAKE_DEADLINE, client::connect_stream(config, wire, client)).await;
    let shown = look(&notes).host_key.take();
    match (shown, outcome) {
        (Some(shown), _) => Ok(shown),
        (None, Ok(Err(error))) => Err(broken_off(endpoint, error, &notes, &control)),
        (None, _) => Err(silent(endpoint, HANDSHAKE_DEADLINE)),
    }
}

/// A server whose host key is trusted.
struct Met {
    handle: Handle<Client>,
    notes: Arc<Mutex<Notes>>,
    wire: Grip,
}

async fn shake_hands<S>(
    stream: S,
    endpoint: &Endpoint,
    check: Check,
    offer: Offer,
    deadline: Duration,
) -> Result<Met>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (stream, wire) = Wire::new(stream);
    let (client, notes) = Client::new(endpoint.peer(), check);
    let session = client::connect_stream(Arc::new(config(offer)), stream, client);
    match timeout(deadline, session).await {
        Ok(Ok(handle)) => Ok(Met { handle, notes, wire }),
        Ok(Err(error)) => Err(broken_off(endpoint, error, &notes, &wire)),
        Err(_) => Err(silent(endpoint, deadline)),
    }
}

impl Met {
    async fn log_in(mut self, endpoint: &Endpoint, login: &Login, known: &Known) -> Result<Connection> {
        match log_in(&mut self.handle, &endpoint.user, login, known.suite()).await {
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
            trusted: notes.trusted.clone(),
            algorithms: notes.algorithms.clone(),
            login,
        };
        let accepted_new_key = notes.accepted_new_key.then_some(host_key);
        drop(notes);
        let Met { handle, notes, wire } = self;
        let (endpoint, pulse) = (endpoint.clone(), Arc::default());
        let _watchdog = Watchdog::start(&pulse, &wire, &notes);
        Ok(Connection { endpoint, handle, notes, wire, facts, accepted_new_key, pulse, _watchdog })
    }
}

impl Connection {
    /// What became known of the server while connecting.
    pub fn server(&self) -> &ServerFacts {
        &self.facts
    }

    /// The account that is logged in to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// By what the server's abilities are remembered: where it is and how it names itself. Two servers of
    /// one software may differ in what they run and what lies below them.
    pub fn identity(&self) -> String {
        format!("{}:{} {}", self.endpoint.host, self.endpoint.port, self.facts.ident)
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
        let mut channel = self.handle.channel_open_session().await.map_err(|e| self.not_opened(e))?;
        channel.request_subsystem(true, "sftp").await.map_err(|e| self.not_opened(e))?;
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Success) => {
                    return Ok(Counted::new(channel.into_stream(), self.pulse.clone()));
                }
                Some(ChannelMsg::Failure) => {
                    let _ = channel.close().await; // fails only if the connection is gone, then it is closed
                    return Err(self.no_sftp());
                }
                Some(ChannelMsg::Data { .. }) => return Err(self.noise()),
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
                .hint("It may limit the channels of one connection (MaxSessions in OpenSSH)."),
            _ => self.lost(),
        }
    }

    fn no_sftp(&self) -> Error {
        self.error(Kind::Unsupported).detail("the server offers no SFTP to this account").hint(
            "Its operator can enable it: in OpenSSH by \"Subsystem sftp internal-sftp\" in sshd_config.",
        )
    }

    fn noise(&self) -> Error {
        self.error(Kind::Protocol)
            .detail("the server sends something else before SFTP starts")
            .hint("A start file of the account's shell may print something.")
    }

    fn error(&self, kind: Kind) -> Error {
        Error::new(kind, "start SFTP at", &self.endpoint)
    }

    /// The error for whatever needed this connection when it came to an end.
    pub fn lost(&self) -> Error {
        let why = end_of(&self.notes).unwrap_or_else(|| "the connection is lost".into());
        Error::new(Kind::Disconnected, "stay connected to", &self.endpoint).detail(why)
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

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("endpoint", &self.endpoint).field("facts", &self.facts).finish()
    }
}

/// Ends a session politely, and in any case. Whether the server heard it does not matter.
async fn say_goodbye(handle: &mut Handle<Client>, wire: &Grip) {
    let _ = timeout(FAREWELL_DEADLINE, async {
        if handle.disconnect(Disconnect::ByApplication, "", "").await.is_ok() {
            let _ = handle.await;
        }
    })
    .await;
    wire.cut();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_says_nothing_is_given_up() {
        let (near, _far) = tokio::io::duplex(4096);
        let endpoint = Endpoint { host: "example.org".into(), port: 22, user: "web1".into() };
        let offer = Known::default().offer();
        let met = shake_hands(near, &endpoint, Check::Look, offer, Duration::from_millis(20)).await;
        let error = met.err().unwrap();
        assert_eq!(error.kind(), Kind::Unreachable);
        assert!(
            error.to_string().contains("web1@example.org:22: connected, but no SSH handshake"),
            "{error}"
        );
    }

    #[test]
    fn endpoints_are_shown_as_typed() {
        let check = |host: &str, expected: &str| {
            let endpoint = Endpoint { host: host.into(), port: 2222, user: "web1".into() };
            assert_eq!(endpoint.to_string(), expected);
        };
        check("example.org", "web1@example.org:2222");
        check("2001:db8::1", "web1@[2001:db8::1]:2222");
        check("evil\x1b[2J", "web1@evil\\x1b[2J:2222");
    }
}
