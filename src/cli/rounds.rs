//! Rounds as the daemon has them made: by the config's accounts, over connections that are kept for a while and
//! shared by the jobs of a server.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use super::account::{self, Surroundings};
use super::reach::Reach;
use super::{Context, config, run};
use crate::clock::{SystemClock, SystemRandom};
use crate::config::ConfigErrors;
use crate::config::model::{Config, Server};
use crate::daemon::{Order, Works};
use crate::error::Result;
use crate::job::{self, Spec};
use crate::journal::place::StateDir;
use crate::outcome::{Ending, Outcome};
use crate::remote::pool::{KEPT_FOR, Pool};
use crate::report::summary::failed;
use crate::transfer::room::Breadth;

/// Makes rounds for the daemon.
pub struct Rounds {
    context: Context,
    state: StateDir,
    /// The connections that no round uses right now.
    pool: Pool<Server>,
    /// What all rounds share of the memory.
    breadth: Breadth,
    /// The ways to servers that no round uses right now, by job.
    idle: Arc<Mutex<HashMap<String, Idle>>>,
    /// Numbers the times that a way was put there.
    times: AtomicU64,
}

/// A way to a server that was taken not long ago.
struct Idle {
    way: Way,
    time: u64,
}

/// A way to a server and how the server is shown.
struct Way {
    reach: Reach,
    shown: String,
}

impl Rounds {
    /// Rounds with the journal in `state`.
    pub fn new(context: &Context, state: &StateDir) -> Self {
        let (context, state, pool) = (context.clone(), state.clone(), Pool::default());
        let (breadth, idle) = (Breadth::default(), Arc::default());
        Self { context, state, pool, breadth, idle, times: 0.into() }
    }

    async fn way(&self, order: &Order) -> Result<Way> {
        let job = &order.task.job;
        if let Some(idle) = lock(&self.idle).remove(&job.name) {
            return Ok(idle.way);
        }
        // Nobody sits before a daemon who could be asked for a password.
        let around = Surroundings { prompt: None, ..Surroundings::of_process() };
        let account = account::of_server(&order.task.server, &around)?;
        let shown = account.target.endpoint.to_string();
        let reach = Reach::new(&self.state, account, job.remote.clone()).await?;
        let share = self.pool.share(order.task.server.clone(), &job.name);
        Ok(Way { reach: reach.with_journal(&order.journal).sharing(share), shown })
    }

    /// Keeps the way for the next round, and its connection for whichever is next. After a failure the next one
    /// begins anew, with secrets and host keys as they are then.
    fn keep(&self, job: &str, way: Way) {
        way.reach.rest();
        let time = self.times.fetch_add(1, Ordering::Relaxed);
        lock(&self.idle).insert(job.to_owned(), Idle { way, time });
        let (idle, job) = (self.idle.clone(), job.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(KEPT_FOR).await;
            let mut idle = lock(&idle);
            if idle.get(&job).is_some_and(|kept| kept.time == time) {
                idle.remove(&job);
            }
        });
    }
}

impl Works for Rounds {
    fn load(&self) -> std::result::Result<Config, ConfigErrors> {
        let config = config::load(&self.context).map(|loaded| loaded.config)?;
        if let Err(error) = self.context.log.to(config.log.as_ref()) {
            tracing::error!("{error}: {}; the log goes where it went", error.reason());
        }
        self.pool.keep_only(|server| config.server(&server.name) == Some(server));
        Ok(config)
    }

    async fn round(&self, order: Order) -> Outcome {
        let started = Instant::now();
        let (task, journal) = (order.task.clone(), order.journal.clone());
        let way = match self.way(&order).await {
            Ok(way) => way,
            Err(error) => return failed(&task.job.name, task.job.mode, &error, started.elapsed()),
        };
        let spec = run::spec(&task.job, way.shown.clone(), order.limit);
        let with = job::Context {
            journal: order.journal,
            job: order.id,
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            monitor: order.monitor,
            stop: order.stop,
        };
        let (changes, line, breadth) = (order.changes, order.line, Some(self.breadth.clone()));
        let outcome = job::run(Spec { changes, line, breadth, ..spec }, with, way.reach.clone()).await;
        if let Err(error) = way.reach.keep_learned(&journal).await {
            tracing::warn!("{error}: {}", error.reason());
        }
        if matches!(outcome.ending, Ending::Ok | Ending::Problems | Ending::Held) {
            self.keep(&task.job.name, way);
        }
        outcome
    }

    fn forget(&self, job: &str) {
        lock(&self.idle).remove(job);
        self.pool.forget(job);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
