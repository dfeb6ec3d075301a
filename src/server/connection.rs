//! One SSH connection: login, and the one subsystem there is. No shells, commands, terminals or
//! forwarding; what is not answered here russh refuses.

use std::collections::HashMap;
use std::sync::Arc;

use russh::keys::{Algorithm, PublicKey};
use russh::server::{
    Auth, ChannelOpenHandle, Handle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::accounts::{Account, Accounts};
use super::session::{End, serve_stream};
use super::sftp::SessionOptions;

/// What the owner of the connection has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    /// Somebody logged in.
    LoggedIn,
    /// A scripted fault wants the connection cut.
    Cut,
}

/// A channel without a subsystem yet, and its share of the sessions that a connection may have.
type Opened = (Channel<Msg>, OwnedSemaphorePermit);

/// Answers what a client asks for on one connection.
pub(super) struct Connection {
    accounts: Arc<Accounts>,
    sessions: Arc<Semaphore>,
    /// Read by the task that owns the socket. Few and small: one login, one cut per session.
    notices: UnboundedSender<Notice>,
    account: Option<SessionOptions>,
    channels: HashMap<ChannelId, Opened>,
}

impl Connection {
    pub(super) fn new(accounts: Arc<Accounts>, sessions: usize, notices: UnboundedSender<Notice>) -> Self {
        let sessions = Arc::new(Semaphore::new(sessions));
        Self { accounts, sessions, notices, account: None, channels: HashMap::new() }
    }

    fn by_key(&self, user: &str, key: &PublicKey, algorithm: &Algorithm) -> Option<&Account> {
        match algorithm {
            Algorithm::Rsa { hash: None } => None, // signs with SHA-1
            _ => self.accounts.by_key(user, key),
        }
    }

    fn log_in(&mut self, options: Option<SessionOptions>) -> Auth {
        let Some(options) = options else { return Auth::reject() };
        self.account = Some(options);
        let _ = self.notices.send(Notice::LoggedIn); // whoever owned the connection may be gone
        Auth::Accept
    }

    fn start_session(&self, (channel, share): Opened, options: SessionOptions, handle: Handle) {
        let notices = self.notices.clone();
        tokio::spawn(async move {
            let id = channel.id();
            let mut stream = channel.into_stream();
            let end = serve_stream(&mut stream, options).await;
            tracing::debug!(?end, "SFTP session ended");
            if end == End::Cut {
                let _ = notices.send(Notice::Cut);
            } else {
                let status = u32::from(end != End::Closed);
                let _ = handle.exit_status_request(id, status).await; // fails when nobody is there to hear
            }
            drop((stream, share)); // which closes the channel
        });
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        let options = self.accounts.by_password(user, password).map(|a| a.options().clone());
        Ok(self.log_in(options))
    }

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(match self.by_key(user, offer.public_key, offer.algorithm) {
            Some(_) => Auth::Accept,
            None => Auth::reject(),
        })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        let options = self.by_key(user, key.public_key, key.algorithm).map(|a| a.options().clone());
        Ok(self.log_in(options))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        match self.sessions.clone().try_acquire_owned() {
            Ok(share) => {
                self.channels.insert(channel.id(), (channel, share));
                reply.accept().await;
            }
            Err(_) => reply.reject(ChannelOpenFailure::ResourceShortage).await,
        }
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        self.channels.remove(&channel);
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let (Some(options), "sftp") = (&self.account, name) else { return session.channel_failure(channel) };
        let options = options.clone();
        let Some(opened) = self.channels.remove(&channel) else { return session.channel_failure(channel) };
        session.channel_success(channel)?;
        self.start_session(opened, options, session.handle());
        Ok(())
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(russh::Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn agent_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<bool, Self::Error> {
        session.channel_failure(channel)?;
        Ok(false)
    }
}
