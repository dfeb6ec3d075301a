//! Listening for connections, and stopping.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use russh::server::RunningSession;
use russh::{Disconnect, MethodKind, MethodSet, SshId};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::accounts::Accounts;
use super::connection::{Connection, Notice};
use super::host_key::HostKey;
use crate::error::{Error, Result};

/// How long a client may take to hear that the server stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long to wait when no connection can be taken (out of file descriptors, say).
const BREATHER: Duration = Duration::from_millis(200);

/// What one server bears, and how patient it is.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once; further ones are closed at once.
    pub connections: usize,
    /// SFTP sessions at once on one connection.
    pub sessions: usize,
    /// Failed logins on one connection.
    pub login_attempts: usize,
    /// From the first byte to a successful login.
    pub login_time: Duration,
    /// How long every refusal of a login takes.
    pub rejection_time: Duration,
    /// Silence after which the client is asked whether it is there; three times without an answer ends
    /// the connection.
    pub keepalive: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            sessions: 16,
            login_attempts: 6,
            login_time: Duration::from_secs(60),
            rejection_time: Duration::from_secs(1),
            keepalive: Duration::from_secs(30),
        }
    }
}

/// What a server needs to start.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Who may log in.
    pub accounts: Accounts,
    /// What to prove ourselves with.
    pub host_key: HostKey,
    /// What to bear.
    pub limits: Limits,
}

/// The server, before it runs.
#[derive(Debug, Clone, Copy)]
pub struct Server;

impl Server {
    /// Starts listening. Errors if the address cannot be taken.
    pub async fn start(config: ServerConfig) -> Result<RunningServer> {
        let failed = |error: io::Error| Error::io("listen on", config.listen, error);
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let fingerprint = config.host_key.fingerprint();
        let (stop, stopped) = watch::channel(());
        let running = tokio::spawn(accept(listener, Arc::new(Shared::new(config)), stopped));
        Ok(RunningServer { addr, fingerprint, stop, running })
    }
}

/// A running server. Dropping it stops it as [`stop`](Self::stop) does, without waiting.
#[derive(Debug)]
pub struct RunningServer {
    addr: SocketAddr,
    fingerprint: String,
    /// Dropped to stop; every connection's task holds the other end.
    stop: watch::Sender<()>,
    running: JoinHandle<()>,
}

impl RunningServer {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The host key's `SHA256:…`.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Takes no more connections, says goodbye on those there are, and waits until they are closed.
    pub async fn stop(self) {
        drop(self.stop);
        if let Err(error) = self.running.await {
            tracing::error!(%error, "the SFTP server did not end well");
        }
    }
}

/// What all connections share.
struct Shared {
    accounts: Arc<Accounts>,
    limits: Limits,
    ssh: Arc<russh::server::Config>,
}

impl Shared {
    fn new(config: ServerConfig) -> Self {
        let ssh = Arc::new(ssh_config(&config));
        Self { accounts: Arc::new(config.accounts), limits: config.limits, ssh }
    }
}

fn ssh_config(config: &ServerConfig) -> russh::server::Config {
    let limits = &config.limits;
    let mut methods = MethodSet::empty();
    if config.accounts.take_keys() {
        methods.push(MethodKind::PublicKey);
    }
    if config.accounts.take_passwords() {
        methods.push(MethodKind::Password);
    }
    russh::server::Config {
        server_id: SshId::Standard(concat!("SSH-2.0-Highwater_", env!("CARGO_PKG_VERSION")).into()),
        methods,
        auth_rejection_time: limits.rejection_time,
        // The "none" with which clients ask for the methods tells nobody anything.
        auth_rejection_time_initial: Some(Duration::ZERO),
        max_auth_attempts: limits.login_attempts,
        keys: vec![config.host_key.private()],
        keepalive_interval: Some(limits.keepalive),
        keepalive_max: 3,
        inactivity_timeout: Some(limits.keepalive * 5),
        nodelay: true,
        ..Default::default()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopped: watch::Receiver<()>) {
    let room = Arc::new(Semaphore::new(shared.limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => break,
            Some(_) = connections.join_next() => continue,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection");
                tokio::time::sleep(BREATHER).await;
                continue;
            }
        };
        let Ok(share) = room.clone().try_acquire_owned() else {
            tracing::warn!(%peer, "connection refused: there are too many");
            continue;
        };
        let connection = serve_connection(shared.clone(), socket, stopped.clone());
        connections.spawn(async move {
            let outcome = connection.await;
            tracing::debug!(%peer, ?outcome, "connection ended");
            drop(share);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Serves one connection until it ends, for whatever reason.
async fn serve_connection(
    shared: Arc<Shared>,
    socket: TcpStream,
    mut stopped: watch::Receiver<()>,
) -> std::result::Result<(), russh::Error> {
    socket.set_nodelay(true)?;
    let (socket, breaker) = with_breaker(socket)?;
    let (sender, notices) = unbounded_channel();
    let handler = Connection::new(shared.accounts.clone(), shared.limits.sessions, sender);
    let deadline = tokio::time::Instant::now() + shared.limits.login_time;
    let greeting = russh::server::run_stream(shared.ssh.clone(), socket, handler);
    let outcome = tokio::select! {
        session = tokio::time::timeout_at(deadline, greeting) => match session {
            Ok(Ok(session)) => attend(session, notices, deadline, stopped).await,
            Ok(Err(error)) => Err(error),
            Err(_) => Err(russh::Error::ConnectionTimeout),
        },
        _ = stopped.changed() => Ok(()),
    };
    breaker.cut();
    outcome
}

async fn attend(
    mut session: RunningSession<Connection>,
    mut notices: UnboundedReceiver<Notice>,
    deadline: tokio::time::Instant,
    mut stopped: watch::Receiver<()>,
) -> std::result::Result<(), russh::Error> {
    let mut logged_in = false;
    loop {
        tokio::select! {
            outcome = &mut session => return outcome,
            Some(notice) = notices.recv() => match notice {
                Notice::LoggedIn => logged_in = true,
                Notice::Cut => return Ok(()),
            },
            () = tokio::time::sleep_until(deadline), if !logged_in => {
                return Err(russh::Error::ConnectionTimeout);
            }
            _ = stopped.changed() => {
                let handle = session.handle();
                let goodbye = handle.disconnect(Disconnect::ByApplication, "the server stops".into(), "en".into());
                // Whoever does not listen is cut off.
                let _ = tokio::time::timeout(FAREWELL, async { goodbye.await.ok(); session.await }).await;
                return Ok(());
            }
        }
    }
}

/// Cuts a connection that belongs to somebody else by then.
struct Breaker(std::net::TcpStream);

impl Breaker {
    fn cut(&self) {
        // An error means that the other side was faster.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

fn with_breaker(socket: TcpStream) -> io::Result<(TcpStream, Breaker)> {
    let socket = socket.into_std()?;
    let breaker = Breaker(socket.try_clone()?);
    Ok((TcpStream::from_std(socket)?, breaker))
}
