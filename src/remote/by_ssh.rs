//! SFTP over `ssh -s HOST sftp`: OpenSSH's own client makes the session, for logins that only it can do. Each
//! channel is a process; with ControlMaster in ssh_config they share one session.
//!
//! What `ssh -v` tells of itself is read for what we show of a server; what else it says, for why it failed.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::process::Command;
use tokio::time::timeout;

use super::algorithms::Algorithms;
use super::client::Notes;
use super::connect::{Endpoint, ServerFacts};
use super::host_key::Place;
use super::pin::HostKeyRecord;
use super::program::{Piped, Witness, start};
use super::pulse::{Pulse, Watchdog};
use super::wire::{Control, Grip, Wire};
use crate::error::{Error, Kind, Result};

/// Processes that one connection may have: each is a login of its own.
pub(super) const MOST_CHANNELS: usize = 4;

/// How long `ssh` may take until SFTP answers.
const START_DEADLINE: Duration = Duration::from_secs(75);

/// The same where a person may have to type something.
const PERSONS_DEADLINE: Duration = Duration::from_secs(600);

/// SSH_FXP_INIT of version 3 (draft-ietf-secsh-filexfer-02 §4).
const INIT: [u8; 9] = [0, 0, 0, 5, 1, 0, 0, 0, 3];

/// SSH_FXP_VERSION is not longer than this.
const MOST_GREETING_BYTES: usize = 256 * 1024;

/// The program and what it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BySsh {
    /// Options, then `--`, the host and `sftp`.
    pub arguments: Vec<String>,
    /// Whether nobody is there whom it could ask for something.
    pub unattended: bool,
}

/// The processes of one connection.
pub(super) struct Processes {
    ssh: BySsh,
    endpoint: Endpoint,
    /// The first one, until it is asked for.
    ready: Mutex<Option<Channel>>,
    shared: Arc<Shared>,
}

/// What the processes have in common.
#[derive(Default)]
struct Shared {
    /// Why the connection is lost, if it is.
    lost: Mutex<Option<String>>,
    wires: Mutex<Vec<Weak<Control>>>,
}

/// SFTP over one process, which has answered already.
pub(super) struct Channel {
    stream: Wire<Piped>,
    /// How much of INIT is still to come: it was sent before.
    init_left: usize,
    /// The answer to it, given once it was asked for.
    greeting: Vec<u8>,
    told: usize,
    /// Whoever waits for the answer before it was asked for.
    reader: Option<Waker>,
    _grip: Grip,
    _watchdog: Watchdog,
    /// Says that the process may end.
    _done: Done,
}

/// Dropped when a channel is not needed any more: what comes of its process then is no loss.
struct Done(tokio::task::AbortHandle);

impl Drop for Done {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Processes {
    /// Starts the first process and waits until SFTP answers. Errors: `Usage` (there is no `ssh`, or it does not
    /// take its configuration), `Login`, `HostKeyUnknown`, `HostKeyChanged`, `Unsupported`, `Unreachable`.
    pub(super) async fn start(
        ssh: &BySsh,
        endpoint: &Endpoint,
        pulse: &Arc<Pulse>,
    ) -> Result<(Self, ServerFacts)> {
        let shared = Arc::<Shared>::default();
        let (channel, debug) = begin(ssh, endpoint, pulse, &shared).await?;
        let ready = Mutex::new(Some(channel));
        Ok((Self { ssh: ssh.clone(), endpoint: endpoint.clone(), ready, shared }, facts(&debug)))
    }

    /// A channel: the first process, or one more.
    pub(super) async fn open(&self, pulse: &Arc<Pulse>) -> Result<Channel> {
        if let Some(ready) = lock(&self.ready).take() {
            return Ok(ready);
        }
        begin(&self.ssh, &self.endpoint, pulse, &self.shared).await.map(|(channel, _)| channel)
    }

    /// Why the connection is lost, if it is.
    pub(super) fn lost(&self) -> Option<String> {
        lock(&self.shared.lost).clone()
    }

    /// Bytes that came from all processes there are.
    pub(super) fn received_bytes(&self) -> u64 {
        lock(&self.shared.wires).iter().filter_map(Weak::upgrade).map(|wire| wire.received_bytes()).sum()
    }

    /// Ends all processes.
    pub(super) fn cut(&self) {
        self.shared.lose("the connection was given up".into());
        drop(lock(&self.ready).take());
    }
}

impl Shared {
    /// One process is gone, and with it the connection: whoever uses the others connects anew.
    fn lose(&self, why: String) {
        lock(&self.lost).get_or_insert(why);
        lock(&self.wires).iter().filter_map(Weak::upgrade).for_each(|wire| wire.cut());
    }
}

async fn begin(
    ssh: &BySsh,
    endpoint: &Endpoint,
    pulse: &Arc<Pulse>,
    shared: &Arc<Shared>,
) -> Result<(Channel, Vec<String>)> {
    let mut command = Command::new("ssh");
    command.args(&ssh.arguments);
    let (stream, witness) = start(command, ssh.unattended).map_err(|e| {
        let error = Error::new(Kind::Usage, "run ssh to reach", endpoint).because(e);
        error.hint("Install OpenSSH's client, or take \"via: ssh\" out.")
    })?;
    let (mut stream, grip) = Wire::new(stream);
    let deadline = if ssh.unattended { START_DEADLINE } else { PERSONS_DEADLINE };
    let greeting = match timeout(deadline, greet(&mut stream)).await {
        Ok(Ok(greeting)) => greeting,
        Ok(Err(noise)) => return Err(failed(endpoint, &witness, noise).await),
        Err(_) => {
            let error = Error::new(Kind::Unreachable, "reach", endpoint);
            return Err(error.detail(format!("ssh came to nothing within {} s", deadline.as_secs())));
        }
    };
    let debug = witness.debug();
    let notes = Arc::new(Mutex::new(Notes::default()));
    let watchdog = Watchdog::start(pulse, &grip, &notes);
    lock(&shared.wires).retain(|wire| wire.strong_count() > 0);
    lock(&shared.wires).push(grip.look_on());
    let watching = tokio::spawn(watch(witness, Arc::downgrade(shared), notes));
    let done = Done(watching.abort_handle());
    let channel = Channel {
        stream,
        init_left: INIT.len(),
        greeting,
        told: 0,
        reader: None,
        _grip: grip,
        _watchdog: watchdog,
        _done: done,
    };
    Ok((channel, debug))
}

/// Tells the others when a process ends by itself.
async fn watch(witness: Witness, shared: Weak<Shared>, notes: Arc<Mutex<Notes>>) {
    let mut ended = witness.ended();
    let _ = ended.wait_for(Option::is_some).await; // fails only if nobody can tell any more
    let words = witness.last_words();
    let noted = lock(&notes).failure.clone();
    let why = noted.unwrap_or_else(|| match words.is_empty() {
        true => "ssh has ended".into(),
        false => format!("ssh has ended, saying: {words}"),
    });
    if let Some(shared) = shared.upgrade() {
        shared.lose(why);
    }
}

/// Says INIT and waits for VERSION: then ssh has logged in and SFTP answers. Gives the whole packet back.
async fn greet(stream: &mut Wire<Piped>) -> Result<Vec<u8>, Noise> {
    stream.write_all(&INIT).await.map_err(|_| Noise::Ended)?;
    stream.flush().await.map_err(|_| Noise::Ended)?;
    let mut head = [0; 5];
    stream.read_exact(&mut head).await.map_err(|_| Noise::Ended)?;
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    if !(5..=MOST_GREETING_BYTES).contains(&length) || head[4] != 2 {
        return Err(Noise::Other);
    }
    let mut packet = head.to_vec();
    packet.resize(4 + length, 0);
    stream.read_exact(&mut packet[5..]).await.map_err(|_| Noise::Ended)?;
    Ok(packet)
}

/// What came in place of VERSION.
enum Noise {
    /// The end; ssh says why on standard error.
    Ended,
    /// Something else.
    Other,
}

/// What went wrong, as far as ssh said.
async fn failed(endpoint: &Endpoint, witness: &Witness, noise: Noise) -> Error {
    if let Noise::Other = noise {
        return Error::new(Kind::Protocol, "start SFTP at", endpoint)
            .detail("the server sends something else before SFTP starts")
            .hint("A start file of the account's shell may print something.");
    }
    let mut ended = witness.ended();
    let _ = timeout(Duration::from_secs(5), ended.wait_for(Option::is_some)).await; // it closed its output before
    let words = witness.last_words();
    let said =
        if words.is_empty() { "ssh ended without a word".into() } else { format!("ssh says: {words}") };
    let (kind, operation, hint) = meaning(&words);
    Error::new(kind, operation, endpoint).detail(said).hint(hint)
}

/// What the words of ssh (sshconnect.c, sshconnect2.c, readconf.c of OpenSSH 9) mean to us.
fn meaning(words: &str) -> (Kind, &'static str, &'static str) {
    let says = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    if says(&[
        "has changed and you have requested",
        "IDENTIFICATION HAS CHANGED",
        "REVOKED HOST KEY",
        "revoked",
    ]) {
        let hint =
            "If the server was rebuilt, ask its operator for the new fingerprint, then mend known_hosts.";
        (Kind::HostKeyChanged, "trust the host key of", hint)
    } else if says(&["Host key verification failed", "host key is known for"]) {
        let hint =
            "Compare its fingerprint with what its operator says, by: ssh HOST; or --accept-new-host-key.";
        (Kind::HostKeyUnknown, "trust the host key of", hint)
    } else if says(&[
        "Permission denied",
        "Too many authentication failures",
        "No more authentication methods",
    ]) {
        (Kind::Login, "log in to", "Try by hand what ssh can do unattended: ssh -o BatchMode=yes HOST.")
    } else if says(&["subsystem request failed"]) {
        let hint =
            "Its operator can enable it: in OpenSSH by \"Subsystem sftp internal-sftp\" in sshd_config.";
        (Kind::Unsupported, "start SFTP at", hint)
    } else if says(&["bad configuration option", "Bad configuration option", "Bad owner or permissions"]) {
        (Kind::Usage, "use ssh's configuration for", "Correct it; ssh -G HOST shows whether it is right.")
    } else {
        (Kind::Unreachable, "reach", "Try by hand: ssh -v HOST.")
    }
}

/// What `ssh -v` told of the server. A session that is shared tells nothing.
fn facts(debug: &[String]) -> ServerFacts {
    let after = |start: &str| debug.iter().find_map(|line| line.strip_prefix(start)).map(str::to_owned);
    let word = |start: &str| after(start).unwrap_or_else(|| "unknown".into());
    let software = after("Remote protocol version 2.0, remote software version ");
    let host_key = after("Server host key: ");
    let (key_type, fingerprint) =
        host_key.as_deref().and_then(|key| key.split_once(' ')).unwrap_or(("unknown", "unknown"));
    // "Authenticated to host ([address]:port) using "publickey"."
    let by =
        debug.iter().rev().find_map(|line| line.strip_prefix("Authenticated to ")?.rsplit_once(" using "));
    let by = by.map(|(_, by)| by.trim_end_matches('.').replace(['"', '\\'], ""));
    // "kex: server->client cipher: aes128-ctr MAC: hmac-sha2-256 compression: none"
    let cipher = |way: &str| {
        let line = after(&format!("kex: {way} cipher: "))?;
        let (cipher, rest) = line.split_once(" MAC: ")?;
        Some((cipher.to_owned(), rest.split(' ').next().unwrap_or_default().to_owned()))
    };
    let agreed = cipher("client->server").zip(cipher("server->client"));
    // OpenSSH 9.6 and newer says so.
    let strict = debug.iter().any(|line| line.contains("strict KEX ordering"));
    let algorithms = agreed.map(|((cipher, out), (_, back))| Algorithms {
        strict,
        key_exchange: word("kex: algorithm: "),
        host_key: word("kex: host key algorithm: "),
        cipher,
        mac: (out, back).into_plain(),
    });
    ServerFacts {
        ident: software.map_or_else(|| "SSH-2.0-unknown".into(), |software| format!("SSH-2.0-{software}")),
        banner: String::new(),
        host_key: HostKeyRecord {
            key_type: key_type.into(),
            public_key: String::new(),
            fingerprint: fingerprint.into(),
        },
        trusted: Some(Place::Ssh),
        algorithms,
        login: by.map_or_else(|| "ssh, over a shared session".into(), |by| format!("ssh, by {by}")),
    }
}

/// What ssh calls implicit is none here.
trait IntoPlain {
    fn into_plain(self) -> Self;
}

impl IntoPlain for (String, String) {
    fn into_plain(self) -> Self {
        let plain = |mac: String| if mac == "<implicit>" { "none".into() } else { mac };
        (plain(self.0), plain(self.1))
    }
}

impl AsyncRead for Channel {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.init_left > 0 {
            // An answer that comes before its question ends the session.
            this.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let left = &this.greeting[this.told..];
        if left.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let taken = left.len().min(buf.remaining());
        buf.put_slice(&left[..taken]);
        this.told += taken;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Channel {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.init_left == 0 || buf.is_empty() {
            return Pin::new(&mut this.stream).poll_write(cx, buf);
        }
        let begun = INIT.len() - this.init_left;
        let taken = this.init_left.min(buf.len());
        if buf[..taken] != INIT[begun..begun + taken] {
            let detail = "a session of SFTP begins otherwise than this one did";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, detail)));
        }
        this.init_left -= taken;
        if this.init_left == 0
            && let Some(reader) = this.reader.take()
        {
            reader.wake();
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_says_tells_what_went_wrong() {
        let check = |words: &str, expected| assert_eq!(meaning(words).0, expected, "{words}");
        check("me@h: Permission denied (publickey).", Kind::Login);
        check("Received disconnect from ::1 port 22:2: Too many authentication failures", Kind::Login);
        check(
            "No ED25519 host key is known for h and you have requested strict checking.",
            Kind::HostKeyUnknown,
        );
        check("Host key verification failed.", Kind::HostKeyUnknown);
        check(
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @ / Host key verification failed.",
            Kind::HostKeyChanged,
        );
        check("Host key for h has changed and you have requested strict checking.", Kind::HostKeyChanged);
        check("subsystem request failed on channel 0", Kind::Unsupported);
        check("/x/config: line 1: Bad configuration option: prot", Kind::Usage);
        check("ssh: connect to host h port 22: Connection refused", Kind::Unreachable);
        check("", Kind::Unreachable);
    }

    #[test]
    fn what_ssh_tells_of_itself_is_shown() {
        let lines = [
            "Remote protocol version 2.0, remote software version OpenSSH_9.2p1 Debian-2",
            "kex: algorithm: sntrup761x25519-sha512",
            "kex: host key algorithm: ssh-ed25519",
            "kex: server->client cipher: aes128-gcm@openssh.com MAC: <implicit> compression: none",
            "kex: client->server cipher: aes128-gcm@openssh.com MAC: <implicit> compression: none",
            "Server host key: ssh-ed25519 SHA256:abc",
            "Authenticated to h ([127.0.0.1]:22) using \"publickey\".",
        ];
        let known = facts(&lines.map(String::from));
        assert_eq!(known.ident, "SSH-2.0-OpenSSH_9.2p1 Debian-2");
        assert_eq!(
            (known.host_key.key_type.as_str(), known.host_key.fingerprint.as_str()),
            ("ssh-ed25519", "SHA256:abc")
        );
        assert_eq!(known.login, "ssh, by publickey");
        let agreed = known.algorithms.unwrap();
        assert_eq!((agreed.cipher.as_str(), agreed.mac.0.as_str()), ("aes128-gcm@openssh.com", "none"));
        let shared = facts(&[]);
        assert_eq!((shared.ident.as_str(), shared.algorithms), ("SSH-2.0-unknown", None));
    }
}
