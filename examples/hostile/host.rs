//! The server: SSH by the library, SFTP by our own honest server, and a [`Teller`] between it and the client.

use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use highwater::server::{SessionOptions, serve_stream};
use russh::keys::PrivateKey;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::server::{Auth, ChannelOpenHandle, Handle, Handler, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, Disconnect};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::story::{SshLie, Story};
use crate::teller::{Out, Teller, Witness};

/// How long a silent server waits before it hangs up.
const HUSH: Duration = Duration::from_millis(400);

/// After how long a reply that is late goes out if no other comes.
const LATE: Duration = Duration::from_millis(30);

const BANNER: &str = "Welcome\r\n\x1b]0;owned\x07\x1b[2J\u{9b}31m you\u{202e} are owned\n\0";
static LONG_BANNER: LazyLock<String> = LazyLock::new(|| BANNER.repeat(2000));

/// What all connections of a session share.
pub struct Stage {
    pub story: Story,
    pub seed: u64,
    /// Which act is on.
    pub act: AtomicUsize,
    pub witness: Mutex<Witness>,
    /// What is served.
    pub options: SessionOptions,
    /// A folder that is none of the server's business.
    pub outside: String,
    /// Whether silence is borne for ever.
    pub patient: bool,
}

impl Stage {
    fn has(&self, lie: SshLie) -> bool {
        self.story.acts[self.act()].ssh.contains(&lie)
    }

    fn act(&self) -> usize {
        self.act.load(Ordering::SeqCst)
    }

    pub fn witness(&self) -> MutexGuard<'_, Witness> {
        self.witness.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The host key, and the one it has later.
fn key(number: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[number; 32]))
}

/// The line for known_hosts.
pub fn known_hosts_line(addr: SocketAddr) -> Result<String, russh::keys::ssh_key::Error> {
    Ok(format!("[127.0.0.1]:{} {}\n", addr.port(), key(1).public_key().to_openssh()?))
}

/// Serves until it is dropped with its runtime.
pub async fn serve(listener: TcpListener, stage: Arc<Stage>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(connection(stream, Arc::clone(&stage)));
    }
}

async fn connection(mut stream: TcpStream, stage: Arc<Stage>) -> Option<()> {
    if stage.has(SshLie::LinesBefore) {
        stream.write_all(b"\x1b[2Jnot yet\r\nSSH but no\r\n").await.ok()?;
    }
    let plain = stream.into_std().ok()?;
    let breaker = Arc::new(plain.try_clone().ok()?);
    let handler = Host { stage: Arc::clone(&stage), breaker: Arc::clone(&breaker), channels: HashMap::new() };
    let config = Arc::new(config(&stage));
    let session = russh::server::run_stream(config, TcpStream::from_std(plain).ok()?, handler).await;
    if let Ok(session) = session {
        session.await.ok(); // how the client leaves is its own affair
    }
    breaker.shutdown(Shutdown::Both).ok()
}

fn config(stage: &Stage) -> russh::server::Config {
    let number = if stage.has(SshLie::OtherKey) { 2 } else { 1 };
    russh::server::Config {
        keys: vec![key(number)],
        auth_rejection_time: Duration::from_millis(1),
        keepalive_interval: stage.has(SshLie::Keepalives).then_some(Duration::from_millis(3)),
        keepalive_max: 10_000,
        ..Default::default()
    }
}

struct Host {
    stage: Arc<Stage>,
    breaker: Arc<std::net::TcpStream>,
    channels: HashMap<ChannelId, Channel<Msg>>,
}

impl Handler for Host {
    type Error = russh::Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, Self::Error> {
        let banner = self.stage.has(SshLie::Banner).then(|| BANNER.to_owned());
        Ok(banner.or_else(|| self.stage.has(SshLie::LongBanner).then(|| LONG_BANNER.clone())))
    }

    async fn auth_publickey(&mut self, _: &str, _: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(if self.stage.has(SshLie::NoLogin) { Auth::reject() } else { Auth::Accept })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        if self.stage.has(SshLie::Channels) {
            tokio::spawn(open_channels(session.handle()));
        }
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self.stage.has(SshLie::NoSubsystem) {
            return session.channel_failure(id);
        }
        session.channel_success(id)?;
        let Some(channel) = self.channels.remove(&id) else { return Ok(()) };
        if self.stage.has(SshLie::Stderr) {
            session.extended_data(id, 1, b"\x1b[31mYour account is owned\x07\n".repeat(100))?;
        }
        let ending = Ending { handle: session.handle(), breaker: Arc::clone(&self.breaker) };
        tokio::spawn(lie(channel.into_stream(), Arc::clone(&self.stage), ending));
        Ok(())
    }
}

/// Channels that nobody asked for.
async fn open_channels(handle: Handle) {
    let _ = handle.channel_open_forwarded_tcpip("evil", 22, "evil", 22).await; // refused, as it should be
    let _ = handle.channel_open_agent().await;
    let _ = handle.channel_open_x11("evil", 22).await;
    let _ = handle.channel_open_session().await;
}

/// How a connection can end.
struct Ending {
    handle: Handle,
    breaker: Arc<std::net::TcpStream>,
}

impl Ending {
    fn cut(&self) {
        let _ = self.breaker.shutdown(Shutdown::Both); // an error means that the client was faster
    }

    async fn goodbye(&self) {
        let words = "\x1b[31mgo\x07 away\r\n".repeat(50);
        let _ = self.handle.disconnect(Disconnect::ByApplication, words, "en".into()).await; // as above
    }
}

/// One session of SFTP, between a client and an honest server of our own.
async fn lie(stream: impl AsyncRead + AsyncWrite + Unpin + Send, stage: Arc<Stage>, ending: Ending) {
    let act = stage.act();
    let teller = Teller::new(&stage.story.acts[act].rules, stage.seed ^ act as u64, stage.outside.clone());
    let teller = Mutex::new(teller);
    let (ours, honest) = tokio::io::duplex(1 << 18);
    let (mut from_client, to_client) = tokio::io::split(stream);
    let (mut from_honest, mut to_honest) = tokio::io::split(ours);
    let (queue, replies) = mpsc::channel(16);
    let hearing = async {
        while let Some(request) = packet(&mut from_client).await {
            let asked = lock(&teller).hear(request, &mut stage.witness());
            if to_honest.write_all(&crate::packet::framed(&asked)).await.is_err() {
                return;
            }
        }
        to_honest.shutdown().await.ok();
    };
    let reading = async {
        while let Some(reply) = packet(&mut from_honest).await {
            if queue.send(reply).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = async { tokio::join!(hearing, reading, serve_stream(honest, stage.options.clone())) } => {}
        _ = tell(replies, to_client, &teller, &stage, &ending) => {}
    }
}

fn lock(teller: &Mutex<Teller>) -> MutexGuard<'_, Teller> {
    teller.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn tell(
    mut honest: mpsc::Receiver<Vec<u8>>,
    mut to_client: impl AsyncWrite + Unpin,
    teller: &Mutex<Teller>,
    stage: &Stage,
    ending: &Ending,
) -> Option<()> {
    let mut replies = 0;
    loop {
        let Ok(reply) = tokio::time::timeout(LATE, honest.recv()).await else {
            let held = lock(teller).held();
            to_client.write_all(&held.unwrap_or_default()).await.ok()?;
            to_client.flush().await.ok()?;
            continue;
        };
        replies += 1;
        if stage.has(SshLie::Goodbye(replies)) {
            ending.goodbye().await;
            return None;
        }
        let told = lock(teller).tell(reply?, &mut stage.witness());
        for out in told {
            send(out, &mut to_client, stage, ending).await?;
        }
        to_client.flush().await.ok()?;
    }
}

async fn send(
    out: Out,
    to_client: &mut (impl AsyncWrite + Unpin),
    stage: &Stage,
    ending: &Ending,
) -> Option<()> {
    match out {
        Out::Now(bytes) => to_client.write_all(&bytes).await.ok(),
        Out::Slowly(bytes) => {
            for byte in bytes {
                to_client.write_all(&[byte]).await.ok()?;
                to_client.flush().await.ok()?;
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
            Some(())
        }
        Out::Cut => {
            to_client.flush().await.ok()?;
            ending.cut();
            None
        }
        Out::Silence => {
            if !stage.patient {
                tokio::time::sleep(HUSH).await;
                ending.cut();
            }
            Some(())
        }
    }
}

/// A packet behind its length field; `None` at the end. Both ends of this are honest about lengths.
async fn packet(reader: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let length = reader.read_u32().await.ok()?;
    let mut packet = vec![0; length as usize];
    reader.read_exact(&mut packet).await.ok()?;
    Some(packet)
}
