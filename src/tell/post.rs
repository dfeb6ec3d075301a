//! Who waits to be told: a bounded queue for each target and a task that empties it, so that nobody waits
//! for a target, neither a round nor another target.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::deliver::{Tries, deliver};
use super::notice::Notice;
use crate::clock::Random;
use crate::config::model::{Smtp, Target};
use crate::report::summary::what;

/// What waits for one target at most; what comes then is dropped, counted and logged.
const WAITING: usize = 64;

/// How telling one target went so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Notices that arrived.
    pub told: u64,
    /// Notices that did not, after every try.
    pub failed: u64,
    /// Notices that found too many others waiting.
    pub dropped: u64,
    /// Why the last one that failed did.
    pub last_error: Option<String>,
}

/// The queues.
pub struct Post {
    desks: Vec<Desk>,
    tasks: JoinSet<()>,
}

struct Desk {
    target: String,
    /// The task of this target holds the other end.
    queue: mpsc::Sender<Notice>,
    tally: Arc<Mutex<Tally>>,
}

impl Post {
    /// Opens a queue for each target. Needs the runtime.
    pub fn open(targets: &[Target], smtp: Option<&Smtp>, tries: Tries, random: &Arc<dyn Random>) -> Self {
        let mut tasks = JoinSet::new();
        let mut desks = Vec::new();
        for target in targets {
            let (queue, waiting) = mpsc::channel(WAITING);
            let tally = Arc::new(Mutex::new(Tally::default()));
            let clerk = Clerk {
                target: target.clone(),
                smtp: smtp.cloned(),
                tries,
                random: Arc::clone(random),
                tally: Arc::clone(&tally),
            };
            tasks.spawn(clerk.work(waiting));
            desks.push(Desk { target: target.name.clone(), queue, tally });
        }
        Self { desks, tasks }
    }

    /// Has the target of this name told, some time. Never waits.
    pub fn send(&self, target: &str, notice: Notice) {
        let Some(desk) = self.desks.iter().find(|desk| desk.target == target) else { return };
        let (job, event) = (notice.job.clone(), notice.event.as_str());
        if let Err(TrySendError::Full(_) | TrySendError::Closed(_)) = desk.queue.try_send(notice) {
            lock(&desk.tally).dropped += 1;
            tracing::warn!(target, job, event, "nobody is told of this: {WAITING} others wait already");
        }
    }

    /// How it went so far, by the targets' names.
    pub fn tallies(&self) -> Vec<(String, Tally)> {
        self.desks.iter().map(|desk| (desk.target.clone(), lock(&desk.tally).clone())).collect()
    }

    /// Takes no more, and waits until all is told, no longer than `grace`. Whether it was.
    pub async fn close(mut self, grace: Duration) -> bool {
        self.desks.clear();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        timeout(grace, all).await.is_ok()
    }
}

struct Clerk {
    target: Target,
    smtp: Option<Smtp>,
    tries: Tries,
    random: Arc<dyn Random>,
    tally: Arc<Mutex<Tally>>,
}

impl Clerk {
    async fn work(self, mut waiting: mpsc::Receiver<Notice>) {
        while let Some(notice) = waiting.recv().await {
            let told = deliver(&self.target, self.smtp.as_ref(), &notice, self.tries, &*self.random).await;
            let (target, job, event) = (&self.target.name, &notice.job, notice.event.as_str());
            let mut tally = lock(&self.tally);
            match told {
                Ok(()) => {
                    tally.told += 1;
                    tracing::info!(target, job, event, "told");
                }
                Err(error) => {
                    tally.failed += 1;
                    let why = what(&error);
                    tracing::warn!(target, job, event, "{why}");
                    tally.last_error = Some(why);
                }
            }
        }
    }
}

fn lock(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
