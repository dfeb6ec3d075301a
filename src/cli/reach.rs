//! From an account to the far side of a round: connects, keeps the connection for the first look, pins an
//! accepted key, and remembers what was learned of the server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::account::Account;
use super::journals;
use crate::entry::{Kind as EntryKind, Stat};
use crate::error::{Error, Kind, Result};
use crate::job::Dial;
use crate::journal::Journal;
use crate::journal::place::StateDir;
use crate::path::{Name, RelPath, RemoteRoot};
use crate::remote::abilities::{Abilities, Known};
use crate::remote::connect::{Connection, connect_to};
use crate::remote::far::{Alias, Far};
use crate::remote::route::Target;
use crate::remote::sftp::SftpTree;
use crate::tree::Tree;

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
    /// Whether the far side of one round is kept for the next.
    keeps: bool,
    /// The far side of the round under way, if it is to be kept.
    last: Mutex<Option<Arc<Far>>>,
    /// The far side of a round that ended well.
    rested: Mutex<Option<Arc<Far>>>,
    /// Whether a round ended in order over the connection of `last` or `rested`.
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

    /// The same, for many rounds, one after the other: the connection of one is kept for the next from
    /// [`rest`](Self::rest) on.
    pub fn keeping(self) -> Self {
        let mut inner = self.anew(self.0.root.clone());
        inner.alias = self.0.alias.clone();
        inner.journal = self.0.journal.clone();
        Self(Arc::new(Inner { keeps: true, ..inner }))
    }

    /// A round ended well: the next one may go on over its connection, or over the one before if it needed
    /// none.
    pub fn rest(&self) {
        if let Some(far) = lock(&self.0.last).take() {
            *lock(&self.0.rested) = Some(far);
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
    type Far = Far;

    async fn dial(&self) -> Result<Arc<Far>> {
        // What failed has to be gone before its successor comes.
        drop(lock(&self.0.last).take());
        let rested = lock(&self.0.rested).take();
        if let Some(far) = rested.filter(|far| !far.connection().is_lost()) {
            *lock(&self.0.last) = Some(far.clone());
            return Ok(far);
        }
        self.0.is_settled.store(false, Ordering::Relaxed);
        let connection = self.connection().await?;
        let identity = connection.identity();
        let remembered = self.remembered(&identity).await;
        let far = Far::open(connection, self.0.root.clone(), self.0.alias.clone(), remembered).await?;
        *lock(&self.0.learned) = Some((identity, far.abilities()));
        if let Err(error) = self.keep_host_keys(far.connection()).await {
            tracing::warn!("{error}: {}", error.reason()); // those that are known will do
        }
        let far = Arc::new(far);
        if self.0.keeps {
            *lock(&self.0.last) = Some(far.clone());
        }
        Ok(far)
    }

    fn is_settled(&self) -> bool {
        self.0.is_settled.load(Ordering::Relaxed)
    }

    fn settled(&self, is_in_order: bool) {
        self.0.is_settled.store(self.0.keeps && is_in_order, Ordering::Relaxed);
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
            keeps: false,
            last: Mutex::default(),
            rested: Mutex::default(),
            is_settled: false.into(),
            learned: Mutex::default(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
