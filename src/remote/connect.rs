//! From a host name to a logged-in SSH connection, within deadlines, and SFTP channels on it.
//!
//! What a session runs over is left to `line`, what travels on a channel to `stream` and `sftp`. Where `ssh` itself
//! makes the session, `by_ssh` has it.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::client::{self, Handle};
use russh::{ChannelMsg, ChannelStream, Disconnect};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::again::Again;
pub use super::algorithms::{Algorithms, Suite};
use super::algorithms::{Offer, is_signed_as_agreed};
pub use super::auth::Login;
use super::auth::log_in;
use super::by_ssh::{MOST_CHANNELS, Processes};
use super::client::{Check, Client, Notes, Peer, config, look};
pub use super::host_key::{HostKeyRecord, HostTrust};
use super::host_key::{Known, Place, by_type};
pub use super::key_file::KeyFile;
pub use super::line::Duplex;
use super::line::Line;
use super::pulse::{Counted, Pulse, Watchdog};
use super::refusal::{broken_off, end_of, refused, silent};
use super::route::{Manner, Route, Target, Way};
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
pub type SftpChannel = Counted<Box<dyn Duplex>>;

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
    pub(super) facts: ServerFacts,
    accepted_new_key: Option<HostKeyRecord>,
    /// The requests and replies of all channels.
    pulse: Arc<Pulse>,
    carrier: Carrier,
}

/// What makes the session.
enum Carrier {
    /// We do.
    Session(Box<Session>),
    /// `ssh` does, in processes of its own.
    BySsh(Box<Processes>),
}

/// A session of ours.
pub(super) struct Session {
    pub(super) handle: Handle<Client>,
    pub(super) notes: Arc<Mutex<Notes>>,
    wire: Grip,
    _watchdog: Watchdog,
    /// What it runs over; dropped after it.
    pub(super) line: Arc<Line>,
    /// For others beside it, if there may be any.
    pub(super) again: Option<Again>,
}

/// Connects, checks the host key and logs in.
///
/// Errors: `Unreachable` (no address answers, or the server hangs up), `Protocol` (it does not speak SSH
/// as we do), `HostKeyUnknown`, `HostKeyChanged`, `Login`, `Usage` (a pin that is none).
pub async fn connect(endpoint: &Endpoint, login: &Login, trust: &HostTrust) -> Result<Connection> {
    connect_by(endpoint, login, trust, &Route::default()).await
}

/// The same by the target's own route: through hops, a command, or `ssh` itself.
pub async fn connect_to(target: &Target) -> Result<Connection> {
    connect_by(&target.endpoint, &target.login, &target.trust, &target.route).await
}

async fn connect_by(
    endpoint: &Endpoint,
    login: &Login,
    trust: &HostTrust,
    route: &Route,
) -> Result<Connection> {
    if let Way::BySsh(ssh) = &route.way {
        let pulse = Arc::default();
        let (processes, facts) = Processes::start(ssh, endpoint, &pulse).await?;
        let (endpoint, carrier) = (endpoint.clone(), Carrier::BySsh(Box::new(processes)));
        return Ok(Connection { endpoint, facts, accepted_new_key: None, pulse, carrier });
    }
    let known = trust.look_up(&endpoint.host, endpoint.port)?;
    let line = Arc::new(Line::begin(route).await?);
    let over = Over { endpoint, line: &line, manner: &route.manner };
    let first = over.meet(&known, trust.accept_new, known.offer()).await;
    let met = match first {
        Err(refused) if refused.kind() == Kind::HostKeyChanged && known.may_be_of_any_type() => {
            over.meet_by_type(&known, refused).await?
        }
        first => first?,
    };
    let (login, again) = Again::after(login, &known, &route.manner);
    met.log_in(endpoint, &login, &known, line.clone(), Some(again)).await
}

/// A server, and what is laid towards it.
pub(super) struct Over<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) line: &'a Line,
    pub(super) manner: &'a Manner,
}

impl Over<'_> {
    /// Where only fingerprints are known, the server may have shown a key of another type than the one whose
    /// fingerprint was pinned: asks for each type in turn, and gives the first answer if none is the pinned one.
    async fn meet_by_type(&self, known: &Known, refused: Error) -> Result<Met> {
        let offer = known.offer();
        for these in by_type(&offer.host_keys) {
            let these = Offer { host_keys: these.to_vec(), ..offer.clone() };
            if let Ok(met) = self.meet(known, false, these).await {
                return Ok(met);
            }
        }
        Err(refused)
    }

    pub(super) async fn meet(&self, known: &Known, accept_new: bool, offer: Offer) -> Result<Met> {
        let laid = self.line.lay(self.endpoint).await?;
        let carried = laid.witness();
        let deadline = self.manner.connect_within.unwrap_or(HANDSHAKE_DEADLINE);
        match shake_hands(
            laid.stream,
            self.endpoint,
            trusting(known, accept_new),
            offer,
            self.manner,
            deadline,
        )
        .await
        {
            Ok(met) => Ok(met),
            Err(error) => Err(carried.explain(error).await),
        }
    }
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
    let met =
        shake_hands(stream, endpoint, check, known.offer(), &Manner::default(), HANDSHAKE_DEADLINE).await?;
    met.log_in(endpoint, login, &known, Arc::default(), None).await
}

/// The host key that a server shows, to be looked at by a person. Does not log in, but for hops.
/// Errors: `Unreachable`, `Protocol`; those of [`connect_to`], about a hop.
pub async fn fetch_host_key(endpoint: &Endpoint, route: &Route, suite: &Suite) -> Result<HostKeyRecord> {
    let line = Line::begin(route).await?;
    let laid = line.lay(endpoint).await?;
    let carried = laid.witness();
    let (wire, control) = Wire::new(laid.stream);
    let (client, notes) = Client::new(endpoint.peer(), Check::Look);
    let offer = Offer { host_keys: suite.host_keys(), certificates: Vec::new(), suite: suite.clone() };
    let config = Arc::new(config(offer, &route.manner)?);
    let outcome = timeout(HANDSHAKE_DEADLINE, client::connect_stream(config, wire, client)).await;
    let shown = look(&notes).host_key.take();
    match (shown, outcome) {
        (Some(shown), _) => Ok(shown),
        (None, Ok(Err(error))) => {
            let error = broken_off(endpoint, error, &notes, &control);
            Err(carried.explain(error).await)
        }
        (None, _) => Err(carried.explain(silent(endpoint, HANDSHAKE_DEADLINE)).await),
    }
}

/// A server whose host key is trusted.
pub(super) struct Met {
    handle: Handle<Client>,
    notes: Arc<Mutex<Notes>>,
    wire: Grip,
}

async fn shake_hands<S>(
    stream: S,
    endpoint: &Endpoint,
    check: Check,
    offer: Offer,
    manner: &Manner,
    deadline: Duration,
) -> Result<Met>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (stream, wire) = Wire::new(stream);
    let mut peer = endpoint.peer();
    if let Some((alias, port)) = &manner.known_as {
        (peer.host, peer.port) = (alias.clone(), port.unwrap_or(22)); // 22 is not told
    }
    let (client, notes) = Client::new(peer, check);
    let session = client::connect_stream(Arc::new(config(offer, manner)?), stream, client);
    match timeout(deadline, session).await {
        Ok(Ok(handle)) => {
            check_signature(endpoint, &handle, &notes)?;
            Ok(Met { handle, notes, wire })
        }
        Ok(Err(error)) => Err(broken_off(endpoint, error, &notes, &wire)),
        Err(_) => Err(silent(endpoint, deadline)),
    }
}

/// Errors with `Protocol` if the host proved itself by another kind of signature than was agreed on.
fn check_signature(endpoint: &Endpoint, handle: &Handle<Client>, notes: &Mutex<Notes>) -> Result<()> {
    let signature = handle.agent_session_binding().map(|binding| binding.signature()).unwrap_or_default();
    let agreed = look(notes).algorithms.as_ref().map(|algorithms| algorithms.host_key.clone());
    match agreed.unwrap_or_default() {
        agreed if is_signed_as_agreed(signature, &agreed) => Ok(()),
        agreed => Err(Error::new(Kind::Protocol, "speak SSH with", endpoint).detail(format!(
            "it proved its host key by another kind of signature than {agreed}, as was agreed on"
        ))),
    }
}

impl Met {
    pub(super) async fn log_in(
        mut self,
        endpoint: &Endpoint,
        login: &Login,
        known: &Known,
        line: Arc<Line>,
        again: Option<Again>,
    ) -> Result<Connection> {
        match log_in(&mut self.handle, &endpoint.user, login, known.suite()).await {
            Ok(by) => self.into_connection(endpoint, by, line, again),
            Err(refusal) => {
                let error = refused(endpoint, &refusal, &self.notes);
                say_goodbye(&mut self.handle, &self.wire).await;
                Err(error)
            }
        }
    }

    fn into_connection(
        self,
        endpoint: &Endpoint,
        login: String,
        line: Arc<Line>,
        again: Option<Again>,
    ) -> Result<Connection> {
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
        let carrier = Carrier::Session(Box::new(Session { handle, notes, wire, _watchdog, line, again }));
        Ok(Connection { endpoint, facts, accepted_new_key, pulse, carrier })
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

    /// The same of this server and of all hops.
    pub fn accepted_new_keys(&self) -> Vec<(&Endpoint, &HostKeyRecord)> {
        let mut keys = self.hop().map(Connection::accepted_new_keys).unwrap_or_default();
        keys.extend(self.accepted_new_key.as_ref().map(|key| (&self.endpoint, key)));
        keys
    }

    /// The session, if we made it.
    pub(super) fn session(&self) -> Option<&Session> {
        match &self.carrier {
            Carrier::Session(session) => Some(session),
            Carrier::BySsh(_) => None,
        }
    }

    fn hop(&self) -> Option<&Connection> {
        match &self.carrier {
            Carrier::Session(session) => session.line.hop(),
            Carrier::BySsh(_) => None,
        }
    }

    /// Whether the connection has come to an end.
    pub fn is_lost(&self) -> bool {
        match &self.carrier {
            Carrier::Session(session) => session.handle.is_closed(),
            Carrier::BySsh(processes) => processes.lost().is_some(),
        }
    }

    /// Bytes received on this connection so far, answers to keepalives among them.
    pub fn received_bytes(&self) -> u64 {
        match &self.carrier {
            Carrier::Session(session) => session.wire.received_bytes(),
            Carrier::BySsh(processes) => processes.received_bytes(),
        }
    }

    /// So many channels may be open at once, where the server does not say less.
    pub(super) fn most_channels(&self) -> usize {
        match &self.carrier {
            Carrier::Session(_) => usize::MAX,
            Carrier::BySsh(_) => MOST_CHANNELS,
        }
    }

    /// Opens a channel and has the server start SFTP on it.
    ///
    /// Errors: `Unsupported` (no SFTP here), `Failed` (no more channels on this connection), `Disconnected`,
    /// `TimedOut`; where `ssh` makes the session, also those of [`connect_to`].
    pub async fn open_sftp(&self) -> Result<SftpChannel> {
        let session = match &self.carrier {
            Carrier::Session(session) => session,
            Carrier::BySsh(processes) => {
                let channel = processes.open(&self.pulse).await?;
                return Ok(Counted::new(Box::new(channel), self.pulse.clone()));
            }
        };
        match timeout(OPEN_DEADLINE, self.request_sftp(session)).await {
            Ok(opened) => opened,
            Err(_) => Err(self
                .error(Kind::TimedOut)
                .detail(format!("no answer within {} s", OPEN_DEADLINE.as_secs()))),
        }
    }

    async fn request_sftp(&self, session: &Session) -> Result<SftpChannel> {
        let mut channel = session.handle.channel_open_session().await.map_err(|e| self.not_opened(e))?;
        channel.request_subsystem(true, "sftp").await.map_err(|e| self.not_opened(e))?;
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Success) => {
                    return Ok(Counted::new(Box::new(channel.into_stream()), self.pulse.clone()));
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

    /// Has this server connect to another one. Errors: `Unreachable`.
    pub(super) async fn open_tunnel(&self, to: &Endpoint) -> Result<ChannelStream<client::Msg>> {
        let error = |detail: String| {
            Error::new(Kind::Unreachable, "reach", to)
                .detail(format!("by way of {}: {detail}", self.endpoint))
        };
        let Carrier::Session(session) = &self.carrier else {
            return Err(error("ssh makes that session, and no other can run through it".into()));
        };
        let (host, port) = (to.host.as_str(), u32::from(to.port));
        let opening = session.handle.channel_open_direct_tcpip(host, port, "127.0.0.1", 0);
        match timeout(OPEN_DEADLINE, opening).await {
            Ok(Ok(channel)) => Ok(channel.into_stream()),
            Ok(Err(russh::Error::ChannelOpenFailure(reason))) => {
                let hint =
                    "Check host and port as seen from there, and whether it forwards (AllowTcpForwarding).";
                Err(error(format!("it refused: {}", escape(format!("{reason:?}").as_bytes()))).hint(hint))
            }
            Ok(Err(_)) => Err(error(self.lost().reason())),
            Err(_) => Err(error(format!("no answer within {} s", OPEN_DEADLINE.as_secs()))),
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
        let why = match &self.carrier {
            Carrier::Session(session) => end_of(&session.notes),
            Carrier::BySsh(processes) => processes.lost(),
        };
        // Where a hop is lost, it knows why.
        let of_hop = self.hop().filter(|hop| hop.is_lost()).map(Connection::lost);
        let of_hop = of_hop.map(|error| format!("{}: {}", error.subject(), error.reason()));
        let why = of_hop.or(why).unwrap_or_else(|| "the connection is lost".into());
        Error::new(Kind::Disconnected, "stay connected to", &self.endpoint).detail(why)
    }

    /// Ends the connection at once: nothing that is still queued is sent.
    pub fn cut(&self) {
        match &self.carrier {
            Carrier::Session(session) => session.wire.cut(),
            Carrier::BySsh(processes) => processes.cut(),
        }
    }

    /// Says goodbye and ends the connection.
    pub async fn close(self) {
        match self.carrier {
            Carrier::Session(session) => {
                let Session { mut handle, wire, line, .. } = *session;
                say_goodbye(&mut handle, &wire).await;
                if let Some(line) = Arc::into_inner(line) {
                    line.close().await;
                }
            }
            Carrier::BySsh(processes) => processes.cut(),
        }
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
        let met =
            shake_hands(near, &endpoint, Check::Look, offer, &Manner::default(), Duration::from_millis(20))
                .await;
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
