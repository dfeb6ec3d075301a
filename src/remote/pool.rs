//! Connections that no round uses right now, kept for whichever is next. `K` says what a connection leads to and as
//! whom: only equal ones share.
//!
//! A connection serves one round at a time. What it does not know: how to connect, what a round is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::{Instant, sleep_until};

use super::connect::Connection;
use super::far::Far;
/// How long a connection is kept for the next round, which then begins without a login.
pub const KEPT_FOR: Duration = Duration::from_secs(60);

/// The connections of all jobs.
pub struct Pool<K>(Arc<Inner<K>>);

struct Inner<K> {
    held: Mutex<Held<K>>,
    /// Told when a claim ends.
    ended: Notify,
}

struct Held<K> {
    idle: Vec<Idle<K>>,
    /// One for each round that has a connection or is making one.
    claims: Vec<K>,
    /// By job: the connection over which its last round ended in order, if it did.
    settled: HashMap<String, Weak<Connection>>,
}

struct Idle<K> {
    key: K,
    /// Who used it last.
    job: String,
    until: Instant,
    far: Arc<Far>,
}

/// What one job has of the pool.
pub struct Share<K> {
    pool: Pool<K>,
    key: K,
    job: String,
}

/// A round has a connection or is making one, until this is dropped.
pub struct Claim<K: PartialEq> {
    pool: Pool<K>,
    key: K,
    /// It has one.
    is_made: bool,
}

/// A connection for a round.
pub struct Lent<K: PartialEq> {
    /// The far side on it.
    pub far: Arc<Far>,
    /// Whether the job's last round over any connection was over this one, and ended in order.
    pub is_settled: bool,
    /// What stands for it.
    pub claim: Claim<K>,
}

impl<K> Clone for Pool<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Default for Pool<K> {
    fn default() -> Self {
        let held = Held { idle: Vec::new(), claims: Vec::new(), settled: HashMap::new() };
        Self(Arc::new(Inner { held: Mutex::new(held), ended: Notify::new() }))
    }
}

impl<K> Pool<K> {
    fn held(&self) -> MutexGuard<'_, Held<K>> {
        self.0.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<K: PartialEq + Send + Sync + 'static> Pool<K> {
    /// What `job` has of it, whose server is `key`.
    pub fn share(&self, key: K, job: &str) -> Share<K> {
        Share { pool: self.clone(), key, job: job.to_owned() }
    }

    /// Drops what is idle and was last used by `job`.
    pub fn forget(&self, job: &str) {
        let mut held = self.held();
        held.settled.remove(job);
        held.idle.retain(|idle| idle.job != job);
    }

    /// Drops what is idle and leads elsewhere.
    pub fn keep_only(&self, stays: impl Fn(&K) -> bool) {
        self.held().idle.retain(|idle| stays(&idle.key));
    }
}

impl<K: PartialEq> Drop for Claim<K> {
    fn drop(&mut self) {
        let mut held = self.pool.held();
        if let Some(at) = held.claims.iter().position(|key| *key == self.key) {
            held.claims.swap_remove(at);
        }
        // An attempt that failed frees nothing. Once nobody is left, nobody has to be waited for.
        if self.is_made || !held.claims.contains(&self.key) {
            self.pool.0.ended.notify_waiters();
        }
    }
}

impl<K: PartialEq + Clone + Send + Sync + 'static> Share<K> {
    /// A connection is about to be made.
    pub fn claim(&self) -> Claim<K> {
        self.pool.held().claims.push(self.key.clone());
        Claim { pool: self.pool.clone(), key: self.key.clone(), is_made: false }
    }

    /// Takes an idle connection, at best the one that the job used last.
    pub fn take(&self) -> Option<Lent<K>> {
        let mut held = self.pool.held();
        held.idle.retain(|idle| !idle.far.is_lost());
        let ours = |idle: &Idle<K>| idle.key == self.key;
        let at = held.idle.iter().position(|idle| ours(idle) && idle.job == self.job);
        let at = at.or_else(|| held.idle.iter().rposition(ours))?;
        let far = held.idle.remove(at).far;
        let settled = held.settled.get(&self.job);
        let is_settled = settled.is_some_and(|on| std::ptr::eq(on.as_ptr(), Arc::as_ptr(far.connection())));
        drop(held);
        Some(Lent { is_settled, ..self.note(far, self.claim()) })
    }

    /// What a new connection is to its round.
    pub fn note(&self, far: Arc<Far>, mut claim: Claim<K>) -> Lent<K> {
        self.pool.held().settled.remove(&self.job);
        claim.is_made = true;
        Lent { far, is_settled: false, claim }
    }

    /// A round ended well: its connection is kept for a while. `is_in_order`: so did all that it had begun.
    pub fn give_back(&self, far: Arc<Far>, is_in_order: bool) {
        let (until, far) = (Instant::now() + KEPT_FOR, far.narrowed());
        let mut held = self.pool.held();
        if is_in_order {
            held.settled.insert(self.job.clone(), Arc::downgrade(far.connection()));
        }
        held.idle.push(Idle { key: self.key.clone(), job: self.job.clone(), until, far });
        drop(held);
        let pool = self.pool.clone();
        tokio::spawn(async move {
            sleep_until(until).await;
            pool.held().idle.retain(|idle| idle.until > until);
        });
    }

    /// A connection of the job was lost: those that are idle may be dead too.
    pub fn distrust(&self) {
        self.pool.held().idle.retain(|idle| idle.key != self.key);
    }

    /// Whether other rounds have connections there, or are making some.
    pub fn has_others(&self) -> bool {
        self.pool.held().claims.contains(&self.key)
    }

    /// Waits until a claim of anybody ends; asked for before [`take`](Self::take), none is missed.
    pub fn ended(&self) -> Notified<'_> {
        self.pool.0.ended.notified()
    }
}
