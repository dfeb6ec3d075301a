//! From an account to the far side of a round: connects, keeps the connection for the first look, pins an
//! accepted key, and remembers what was learned of the server.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::account::Account;
use super::journals;
use crate::config::model::Server;
use crate::entry::{Kind as EntryKind, Stat};
use crate::error::{Error, Kind, Result};
use crate::job::Dial;
use crate::journal::Journal;
use crate::journal::place::StateDir;
use crate::local::disk::Disk;
use crate::path::{LocalRoot, Name, RelPath, RemoteRoot};
use crate::remote::abilities::{Abilities, Known};
use crate::remote::connect::{Connection, connect_to};
use crate::remote::far::{Alias, Far};
use crate::remote::pool::{Claim, Lent, Share};
use crate::remote::route::Target;
use crate::remote::sftp::SftpTree;
use crate::tree::Tree;

/// How long a connection is waited for that others have, and how often a new one is tried meanwhile.
const FULL_FOR: Duration = Duration::from_secs(600);
const KNOCK_EVERY: Duration = Duration::from_secs(30);

/// Reaches one folder on one server, again and again.
#[derive(Clone)]
pub struct Reach(Arc<Inner>);

struct Inner {
    target: Target,
    state: StateDir,
    root: RemoteRoot,
    alias: Option<Alias>,
    /// Knows what earlier rounds learned of servers.
    journal: Option<Journal>,
    /// A connection that was made and not used yet.
    ready: Mutex<Option<Arc<Connection>>>,
    /// Where connections come from and go to that are kept from round to round.
    share: Option<Share<Server>>,
    /// The far side of the round under way, if its connection is to be kept.
    last: Mutex<Option<(Arc<Far>, Claim<Server>)>>,
    /// Whether a round ended in order over the connection of `last`.
    is_settled: AtomicBool,
    /// What is known of the server, by its [identity](Connection::identity).
    learned: Mutex<Option<(String, Arc<Abilities>)>>,
}

impl Reach {
    /// Nothing is connected to yet. The journal's pins are added to whom the account trusts.
    pub async fn new(state: &StateDir, account: Account, root: RemoteRoot) -> Result<Self> {
        let mut target = account.target;
        journals::add_pins(state, &mut target).await?;
        Ok(Self(Arc::new(Inner::new(target, state.clone(), root))))
    }

    /// The same, for a round that keeps this journal.
    pub fn with_journal(self, journal: &Journal) -> Self {
        let (root, alias) = (self.0.root.clone(), self.0.alias.clone());
        self.become_of(root, alias, Some(journal.clone()))
    }

    /// The same server and connection, but one file of a folder, which has another name here.
    pub fn one_file(&self, folder: RemoteRoot, here: Name, there: Name) -> Self {
        self.become_of(folder, Some(Alias { here, there }), self.0.journal.clone())
    }

    /// The same, for many rounds, one after the other: their connections are shared.
    pub fn sharing(self, share: Share<Server>) -> Self {
        let mut inner = self.anew(self.0.root.clone());
        inner.alias = self.0.alias.clone();
        inner.journal = self.0.journal.clone();
        Self(Arc::new(Inner { share: Some(share), ..inner }))
    }

    /// A round ended well: its connection, if it needed one, is there for whichever is next.
    pub fn rest(&self) {
        let last = lock(&self.0.last).take();
        if let (Some(share), Some((far, _claim))) = (&self.0.share, last) {
            share.give_back(far, self.0.is_settled.swap(false, Ordering::Relaxed));
        }
    }

    fn become_of(&self, root: RemoteRoot, alias: Option<Alias>, journal: Option<Journal>) -> Self {
        Self(Arc::new(Inner { alias, journal, ..self.anew(root) }))
    }

    /// The same account and connection.
    fn anew(&self, root: RemoteRoot) -> Inner {
        let inner = Inner::new(self.0.target.clone(), self.0.state.clone(), root);
        Inner { ready: Mutex::new(lock(&self.0.ready).take()), ..inner }
    }

    /// Connects and looks at the root, following links. `None`: there is nothing.
    pub async fn look(&self) -> Result<Option<Stat>> {
        let connection = self.connection().await?;
        let channel = connection.open_sftp().await?;
        let known = self.remembered(&connection.identity()).await;
        let tree = SftpTree::open(channel, self.0.root.clone(), &connection.server().ident, known).await?;
        let stat = tree.stat(&RelPath::root()).await;
        *lock(&self.0.ready) = Some(connection);
        stat
    }

    /// Whether the root is there and is a file.
    pub async fn is_file(&self) -> Result<bool> {
        Ok(self.look().await?.is_some_and(|stat| stat.kind == EntryKind::File))
    }

    /// Writes what was learned of the server into the journal.
    pub async fn keep_learned(&self, journal: &Journal) -> Result<()> {
        let Some((identity, abilities)) = lock(&self.0.learned).clone() else { return Ok(()) };
        let json = serde_json::to_string(&abilities.known())
            .map_err(|e| Error::new(Kind::Internal, "write down what the server can do", "").because(e))?;
        journal.set_server_abilities(&identity, &json).await
    }

    /// Pins the host keys that the server has proven to hold, if they are other ones than before.
    async fn keep_host_keys(&self, connection: &Connection) -> Result<()> {
        let target = self.target().await?;
        let Some(keys) = connection.new_host_keys(&target.trust).await? else { return Ok(()) };
        journals::rotate(&self.0.state, &target.endpoint, &keys).await?;
        let shown: Vec<&str> = keys.iter().map(|key| key.fingerprint.as_str()).collect();
        tracing::info!("the host keys of {} are now {}", target.endpoint, shown.join(", "));
        Ok(())
    }

    /// The server, trusted by the pins as they are now: they change as servers change their keys.
    async fn target(&self) -> Result<Target> {
        let mut target = self.0.target.clone();
        journals::add_pins(&self.0.state, &mut target).await?;
        Ok(target)
    }

    /// Whether the root is there and is a folder.
    pub async fn is_folder(&self) -> Result<bool> {
        Ok(self.look().await?.is_some_and(|stat| stat.kind == EntryKind::Dir))
    }

    async fn connection(&self) -> Result<Arc<Connection>> {
        let ready = lock(&self.0.ready).take();
        match ready.filter(|ready| !ready.is_lost()) {
            Some(ready) => Ok(ready),
            None => self.connect().await,
        }
    }

    async fn connect(&self) -> Result<Arc<Connection>> {
        let connection = connect_to(&self.target().await?).await?;
        journals::pin_accepted(&self.0.state, &connection, "highwater").await?;
        Ok(Arc::new(connection))
    }

    /// What an earlier round learned of the server. What cannot be read is learned again.
    async fn remembered(&self, identity: &str) -> Known {
        if let Some((_, abilities)) = lock(&self.0.learned).as_ref().filter(|(of, _)| of == identity) {
            return abilities.known();
        }
        let Some(journal) = &self.0.journal else { return Known::default() };
        let json = journal.server_abilities(identity).await.ok().flatten();
        json.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default()
    }
}

impl Dial for Reach {
    type Near = Disk;
    type Far = Far;

    fn open_near(&self, root: &LocalRoot) -> Result<Disk> {
        Disk::open(root)
    }

    fn make_near(&self, root: &LocalRoot) -> Result<Disk> {
        Disk::create(root)
    }

    async fn dial(&self) -> Result<Arc<Far>> {
        let Some(share) = &self.0.share else { return self.dial_anew().await };
        // What failed has to be gone before its successor comes.
        if lock(&self.0.last).take().is_some() {
            share.distrust();
        }
        let Lent { far, is_settled, claim } = self.borrow(share).await?;
        let far = far.at(&self.0.root);
        *lock(&self.0.learned) = Some((far.connection().identity(), far.abilities()));
        self.0.is_settled.store(is_settled, Ordering::Relaxed);
        *lock(&self.0.last) = Some((far.clone(), claim));
        Ok(far)
    }

    fn is_settled(&self) -> bool {
        self.0.is_settled.load(Ordering::Relaxed)
    }

    fn settled(&self, is_in_order: bool) {
        self.0.is_settled.store(is_in_order, Ordering::Relaxed);
    }
}

impl Reach {
    /// A connection that is idle, or a new one. A server may take only so many at once: while other rounds
    /// have some, one that cannot be had is waited for.
    async fn borrow(&self, share: &Share<Server>) -> Result<Lent<Server>> {
        let give_up = Instant::now() + FULL_FOR;
        loop {
            if let Some(lent) = share.take() {
                return Ok(lent);
            }
            let claim = share.claim();
            let error = match self.dial_anew().await {
                Ok(far) => return Ok(share.note(far, claim)),
                Err(error) => error,
            };
            drop(claim);
            let mut ended = pin!(share.ended());
            ended.as_mut().enable();
            match share.take() {
                Some(lent) => return Ok(lent),
                None if may_be_full(&error) && share.has_others() && Instant::now() < give_up => {}
                None => return Err(error),
            }
            tracing::info!("waiting for a connection that another job has: {error}: {}", error.reason());
            let _ = timeout(KNOCK_EVERY, ended).await; // whatever comes first
        }
    }

    async fn dial_anew(&self) -> Result<Arc<Far>> {
        let connection = self.connection().await?;
        let identity = connection.identity();
        let remembered = self.remembered(&identity).await;
        let far = Far::open(connection, self.0.root.clone(), self.0.alias.clone(), remembered).await?;
        *lock(&self.0.learned) = Some((identity, far.abilities()));
        if let Err(error) = self.keep_host_keys(far.connection()).await {
            tracing::warn!("{error}: {}", error.reason()); // those that are known will do
        }
        Ok(Arc::new(far))
    }
}

impl Inner {
    fn new(target: Target, state: StateDir, root: RemoteRoot) -> Self {
        Self {
            target,
            state,
            root,
            alias: None,
            journal: None,
            ready: Mutex::default(),
            share: None,
            last: Mutex::default(),
            is_settled: false.into(),
            learned: Mutex::default(),
        }
    }
}

/// Whether a server that takes no more connections may answer so.
fn may_be_full(error: &Error) -> bool {
    matches!(error.kind(), Kind::Unreachable | Kind::Disconnected | Kind::Failed)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
