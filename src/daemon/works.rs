//! What the daemon is given: how a config is read and how a round is made. It knows no server, no account
//! and no file of the config itself.

use std::sync::Arc;

use tokio::sync::watch;

use crate::config::ConfigErrors;
use crate::config::model::{Config, Job, Server};
use crate::id::JobId;
use crate::journal::Journal;
use crate::monitor::Monitor;
use crate::outcome::Outcome;
use crate::settle::Quiet;
use crate::transfer::throttle::{Limit, Throttle};

/// Reads the config and makes rounds.
pub trait Works: Send + Sync + 'static {
    /// The config as it is written now.
    fn load(&self) -> Result<Config, ConfigErrors>;

    /// Makes one round. What is kept for the next one, connections above all, is the implementation's.
    fn round(&self, order: Order) -> impl Future<Output = Outcome> + Send;

    /// Nothing is to be kept for the job any more: it ends as it is, or the machine slept and connections may
    /// be dead.
    fn forget(&self, job: &str);
}

/// One round that is to be made.
pub struct Order {
    /// The job and its server.
    pub task: Arc<Task>,
    /// Its row in the journal.
    pub id: JobId,
    /// The journal.
    pub journal: Journal,
    /// No more than this is to be looked at; `None`: all.
    pub changes: Option<Vec<Quiet>>,
    /// How fast content may cross, now and later.
    pub limit: Limit,
    /// What all jobs of the server share; `None`: nothing is said of that.
    pub line: Option<Throttle>,
    /// Hears how it goes.
    pub monitor: Arc<dyn Monitor>,
    /// Turns true when it shall stop.
    pub stop: watch::Receiver<bool>,
}

/// A job of the config with what it refers to: equal ones run on untouched when the config is read again.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// The job.
    pub job: Job,
    /// Its server.
    pub server: Server,
}

impl Task {
    /// The jobs of a config. A job whose server is not there, which no valid config has, is left out.
    pub(super) fn all(config: &Config) -> Vec<Arc<Self>> {
        let task = |job: &Job| {
            let server = config.server(&job.server)?.clone();
            Some(Arc::new(Self { job: job.clone(), server }))
        };
        config.jobs.iter().filter_map(task).collect()
    }
}
