//! The far side of the demonstration: a server of our own on the loopback, with keys that nobody else has.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::config::model::Secret;
use crate::error::{Error, Kind, Result};
use crate::journal::Journal;
use crate::path::RemoteRoot;
use crate::remote::connect::{Endpoint, HostTrust, KeyFile, Login};
use crate::server::accounts::{Account, Accounts};
use crate::server::misbehave::Misbehave;
use crate::server::{HostKey, Limits, RunningServer, Server, ServerConfig};

/// Who logs in.
const USER: &str = "demo";

/// A far root, and everything that is needed to reach it.
#[derive(Debug, Clone)]
pub struct To {
    /// Where the server listens, and who logs in.
    pub endpoint: Endpoint,
    /// With which key.
    pub login: Login,
    /// The one host key to accept.
    pub trust: HostTrust,
    /// The folder on the server.
    pub root: RemoteRoot,
    /// A folder for what is remembered of servers.
    pub state: PathBuf,
    /// The journal of the rounds that go there.
    pub journal: Journal,
}

/// A running server.
pub struct FarEnd {
    server: RunningServer,
    /// Its faults, and what it counts.
    pub script: Misbehave,
    key: PathBuf,
}

impl FarEnd {
    /// Starts a server for `root`, which exists. The key to log in with is written to `key`.
    pub async fn start(root: &Path, key: &Path) -> Result<Self> {
        let script = Misbehave::default();
        // An Ed25519 key pair proves whoever holds it, host or user.
        let user_key = HostKey::load_or_create(key)?.public_line()?;
        let account = Account::new(USER, root)?.authorized_keys(&user_key)?.misbehave(script.clone());
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (accounts, host_key) = (Accounts::new([account])?, HostKey::generate());
        let config = ServerConfig { listen, accounts, host_key, limits: Limits::default() };
        Ok(Self { server: Server::start(config).await?, script, key: key.into() })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// How rounds with this journal reach the folder that the server serves.
    pub fn to(&self, state: &Path, journal: &Journal) -> Result<To> {
        let addr = self.server.addr();
        let key = KeyFile { source: Secret::File(self.key.clone()), passphrase: None };
        let root = RemoteRoot::new(b"/data")
            .map_err(|e| Error::new(Kind::Internal, "name the far root", "").because(e))?;
        Ok(To {
            endpoint: Endpoint { host: addr.ip().to_string(), port: addr.port(), user: USER.into() },
            login: Login { keys: vec![key], ..Login::default() },
            trust: HostTrust { pinned: vec![self.server.fingerprint().into()], ..HostTrust::default() },
            root,
            state: state.into(),
            journal: journal.clone(),
        })
    }

    /// Stops it.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}
