//! Our side of an SSH session: which algorithms and deadlines we want, what we note of the server, and
//! the answer to everything it may ask of us unbidden, which is no.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use russh::client::{self, ChannelOpenHandle, DisconnectReason, Msg, Session};
use russh::keys::{PublicKey, PublicKeyOrCertificate};
use russh::{Channel, Names, SshId};

use super::algorithms::{Algorithms, Offer};
use super::host_key::{HostKeyRecord, Known, Place, Verdict, refusal};
use super::route::Manner;
use crate::entry::Time;
use crate::error::{Error, Kind, Result};
use crate::path::escape;

/// What a server may send on one channel before we take it up: enough for 1 Gbit/s at 130 ms.
const WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// The largest piece of channel data we take; OpenSSH sends 32 KiB, others what we allow.
const PACKET_BYTES: u32 = 65_535;

/// Pieces that wait for a slow reader of one channel before the whole connection waits: a window of
/// pieces of 32 KiB.
const BUFFERED_PIECES: usize = 512;

/// A connection on which nothing was heard gets a question this often.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// It is dropped after so many questions without an answer.
const KEEPALIVE_TIMES: usize = 3;

/// A connection that neither reads nor writes for so long is dropped.
const INACTIVITY: Duration = Duration::from_secs(120);

/// More host keys than this that a server tells of are passed over.
const MAX_HOST_KEYS: usize = 32;

/// How much of a banner is kept.
const BANNER_CHARS: usize = 4096;

/// The settings of a session. Errors with `Usage`: ssh_config leaves nothing of a kind of algorithms.
pub(super) fn config(offer: Offer, manner: &Manner) -> Result<client::Config> {
    Ok(client::Config {
        client_id: SshId::Standard(Cow::Borrowed(concat!("SSH-2.0-Highwater_", env!("CARGO_PKG_VERSION")))),
        window_size: WINDOW_BYTES,
        maximum_packet_size: PACKET_BYTES,
        channel_buffer_size: BUFFERED_PIECES,
        keepalive_interval: Some(manner.ask_after.unwrap_or(KEEPALIVE)),
        keepalive_max: manner.ask_times.map_or(KEEPALIVE_TIMES, |times| times as usize),
        inactivity_timeout: Some(inactivity(manner)),
        nodelay: true,
        preferred: manner.wishes.apply(offer.preferred())?,
        ..client::Config::default() // new keys after 1 GiB or an hour
    })
}

/// Where questions are asked less often, a silent connection must be left longer.
fn inactivity(manner: &Manner) -> Duration {
    let patience = manner.ask_after.unwrap_or_default() * (manner.ask_times.unwrap_or(3).saturating_add(1));
    patience.max(INACTIVITY)
}

/// What became known of the server during a session. All texts are escaped.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// `SSH-2.0-OpenSSH_9.2` and the like.
    pub(super) ident: String,
    pub(super) banner: String,
    pub(super) host_key: Option<HostKeyRecord>,
    pub(super) accepted_new_key: bool,
    /// Where the host key is recorded.
    pub(super) trusted: Option<Place>,
    /// Keys that the server says it has besides, without proof. Gone once they were looked at.
    pub(super) told_keys: Option<Vec<PublicKey>>,
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
    Trust { known: Known, accept_new: bool, now: Time },
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

    fn judge(&self, key: &PublicKeyOrCertificate, shown: &HostKeyRecord) -> bool {
        let Check::Trust { known, accept_new, now } = &self.check else {
            return false;
        };
        let verdict = match key.certificate() {
            Some(certificate) => known.judge_certificate(certificate, shown, *now),
            None => known.judge(shown),
        };
        let is_new = verdict == Verdict::Unknown && *accept_new;
        let trusted = is_new || matches!(verdict, Verdict::Trusted(_));
        let mut notes = self.notes();
        notes.accepted_new_key = is_new;
        if let Verdict::Trusted(place) = &verdict {
            notes.trusted = Some(place.clone());
        }
        if !trusted {
            notes.refusal = Some(refusal(&verdict, shown, &self.peer.shown, &self.peer.host, self.peer.port));
        }
        trusted
    }
}

/// The error for a session whose beginning somebody in between could cut off.
fn could_be_cut(server: &str) -> Error {
    Error::new(Kind::Protocol, "speak SSH with", server)
        .detail(
            "it knows neither strict key exchange nor AES-GCM, so that somebody in between could cut off \
             the beginning of the session (CVE-2023-48795)",
        )
        .hint("The server needs newer software. Where that cannot be had, say in its entry of the config: legacy: true")
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
                Ok(self.judge(key, &shown))
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
        match &self.check {
            Check::Trust { known, .. } if !known.suite().allows(names) => {
                notes.refusal = Some(could_be_cut(&self.peer.shown));
                Err(russh::Error::KexInit)
            }
            _ => Ok(()),
        }
    }

    async fn openssh_ext_host_keys_announced(
        &mut self,
        mut keys: Vec<PublicKey>,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        keys.truncate(MAX_HOST_KEYS);
        self.notes().told_keys = Some(keys);
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
