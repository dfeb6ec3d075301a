//! Our side of an SSH session: which algorithms and deadlines we want, what we note of the server, and
//! the answer to everything it may ask of us unbidden, which is no.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use russh::client::{self, ChannelOpenHandle, DisconnectReason, Msg, Session};
use russh::keys::{Algorithm, PublicKeyOrCertificate};
use russh::{Channel, Names, Preferred, SshId, cipher, compression};

use super::host_key::{HostKeyRecord, Known, Verdict, refusal};
use crate::error::{Error, Result};
use crate::path::escape;

/// What a server may send on one channel before we take it up: enough for 1 Gbit/s at 130 ms.
const WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// The largest piece of channel data we take; OpenSSH sends 32 KiB, others what we allow.
const PACKET_BYTES: u32 = 65_535;

/// Pieces that wait for a slow reader of one channel before the whole connection waits: a window of
/// pieces of 32 KiB.
const BUFFERED_PIECES: usize = 512;

/// A connection on which nothing was heard gets a question this often, and is dropped after three.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// A connection that neither reads nor writes for so long is dropped.
const INACTIVITY: Duration = Duration::from_secs(120);

/// How much of a banner is kept.
const BANNER_CHARS: usize = 4096;

/// AES first where the processor has instructions for it, ChaCha20 first elsewhere.
const CIPHERS_WITH_AES: &[cipher::Name] = &[
    cipher::AES_128_GCM,
    cipher::AES_256_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
    cipher::AES_128_CTR,
];
const CIPHERS_WITHOUT_AES: &[cipher::Name] = &[
    cipher::CHACHA20_POLY1305,
    cipher::AES_128_GCM,
    cipher::AES_256_GCM,
    cipher::AES_256_CTR,
    cipher::AES_128_CTR,
];

/// The settings of a session that offers these host key algorithms.
pub(super) fn config(host_key_algorithms: Vec<Algorithm>) -> client::Config {
    let ciphers = if has_aes() { CIPHERS_WITH_AES } else { CIPHERS_WITHOUT_AES };
    client::Config {
        client_id: SshId::Standard(Cow::Borrowed(concat!("SSH-2.0-Highwater_", env!("CARGO_PKG_VERSION")))),
        window_size: WINDOW_BYTES,
        maximum_packet_size: PACKET_BYTES,
        channel_buffer_size: BUFFERED_PIECES,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: 3,
        inactivity_timeout: Some(INACTIVITY),
        nodelay: true,
        preferred: Preferred {
            key: Cow::Owned(host_key_algorithms),
            cipher: Cow::Borrowed(ciphers),
            compression: Cow::Borrowed(&[compression::NONE]),
            ..Preferred::DEFAULT // hybrid post-quantum exchange first; no SHA-1, no CBC
        },
        ..client::Config::default() // new keys after 1 GiB or an hour
    }
}

fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    false
}

/// What was agreed on for a session, by the names of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Algorithms {
    /// Key exchange.
    pub key_exchange: String,
    /// The server's signature.
    pub host_key: String,
    /// Cipher, the same both ways.
    pub cipher: String,
    /// Integrity of what we send and of what we receive; `none` where the cipher sees to it.
    pub mac: (String, String),
}

impl Algorithms {
    fn new(names: &Names) -> Self {
        Self {
            key_exchange: names.kex.as_ref().into(),
            host_key: names.key.as_str().into(),
            cipher: names.cipher.as_ref().into(),
            mac: (names.client_mac.as_ref().into(), names.server_mac.as_ref().into()),
        }
    }
}

/// What became known of the server during a session. All texts are escaped.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// `SSH-2.0-OpenSSH_9.2` and the like.
    pub(super) ident: String,
    pub(super) banner: String,
    pub(super) host_key: Option<HostKeyRecord>,
    pub(super) accepted_new_key: bool,
    pub(super) algorithms: Option<Algorithms>,
    /// Why the host key was refused.
    pub(super) refusal: Option<Error>,
    /// What the server said when it ended the session.
    pub(super) farewell: Option<String>,
    /// Why the session ended, if not by a word of the server.
    pub(super) failure: Option<String>,
}

/// What to do with the server's host key.
pub(super) enum Check {
    /// Trust it only if it is known, or nothing is known and new ones are accepted.
    Trust { known: Known, accept_new: bool },
    /// Note it and go no further.
    Look,
}

/// Whom a session is with, for messages.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) shown: String,
    pub(super) host: String,
    pub(super) port: u16,
}

/// Answers the library on our behalf.
pub(super) struct Client {
    peer: Peer,
    check: Check,
    notes: Arc<Mutex<Notes>>,
}

impl Client {
    pub(super) fn new(peer: Peer, check: Check) -> (Self, Arc<Mutex<Notes>>) {
        let notes = Arc::new(Mutex::new(Notes::default()));
        (Self { peer, check, notes: Arc::clone(&notes) }, notes)
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        look(&self.notes)
    }

    fn judge(&self, shown: &HostKeyRecord) -> bool {
        let Check::Trust { known, accept_new } = &self.check else {
            return false;
        };
        let verdict = known.judge(shown);
        let is_new = verdict == Verdict::Unknown && *accept_new;
        let trusted = is_new || matches!(verdict, Verdict::Trusted(_));
        let mut notes = self.notes();
        notes.accepted_new_key = is_new;
        if !trusted {
            notes.refusal = Some(refusal(&verdict, shown, &self.peer.shown, &self.peer.host, self.peer.port));
        }
        trusted
    }
}

/// The notes, also after a panic elsewhere.
pub(super) fn look(notes: &Mutex<Notes>) -> MutexGuard<'_, Notes> {
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server may ask to open channels towards us; we never asked for any. Dropping the handle refuses.
macro_rules! refuse_channels {
    ($($name:ident($($argument:ty),*);)*) => { $(
        async fn $name(
            &mut self, _: Channel<Msg>, $(_: $argument,)* handle: ChannelOpenHandle, _: &mut Session,
        ) -> Result<(), russh::Error> {
            drop(handle);
            Ok(())
        }
    )* };
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        match HostKeyRecord::from_key(&key.public_key()) {
            Ok(shown) => {
                self.notes().host_key = Some(shown.clone());
                Ok(self.judge(&shown))
            }
            Err(error) => {
                self.notes().refusal = Some(error);
                Ok(false)
            }
        }
    }

    async fn kex_done(
        &mut self,
        _: Option<&[u8]>,
        names: &Names,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let mut notes = self.notes();
        notes.algorithms = Some(Algorithms::new(names));
        notes.ident = escape(session.remote_sshid());
        Ok(())
    }

    async fn auth_banner(&mut self, banner: &str, _: &mut Session) -> Result<(), russh::Error> {
        let mut notes = self.notes();
        for line in banner.lines() {
            let room = BANNER_CHARS.saturating_sub(notes.banner.len());
            let line: String = escape(line.trim_end().as_bytes()).chars().take(room).collect();
            if !notes.banner.is_empty() && room > 0 {
                notes.banner.push('\n');
            }
            notes.banner.push_str(&line);
        }
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<russh::Error>) -> Result<(), russh::Error> {
        let mut notes = self.notes();
        match reason {
            DisconnectReason::ReceivedDisconnect(said) => {
                notes.farewell = Some(escape(said.message.as_bytes()).chars().take(500).collect());
            }
            DisconnectReason::Error(error) => {
                notes.failure.get_or_insert_with(|| escape(error.to_string().as_bytes()));
            }
        }
        Ok(())
    }

    refuse_channels! {
        server_channel_open_forwarded_tcpip(&str, u32, &str, u32);
        server_channel_open_forwarded_streamlocal(&str);
        server_channel_open_agent_forward();
        server_channel_open_session();
        server_channel_open_direct_tcpip(&str, u32, &str, u32);
        server_channel_open_direct_streamlocal(&str);
        server_channel_open_x11(&str, u32);
    }
}
