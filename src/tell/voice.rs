//! The way to those who are to be told: what they were told is kept in the journal, so that neither a restart
//! nor a change of the config tells it twice.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::{Teller, Tries};
use crate::calendar::since;
use crate::clock::Random;
use crate::config::model::Config;
use crate::entry::Time;
use crate::error::Result;
use crate::journal::Journal;
use crate::outcome::Outcome;

/// Where the journal has what was told.
const KEY: &str = "told";

/// The longest time until it is looked again whether a job is late: the clock may have jumped.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Tells whoever wants to be told.
pub struct Voice {
    journal: Journal,
    random: Arc<dyn Random>,
    state: Mutex<State>,
}

struct State {
    teller: Teller,
    /// As the journal has it.
    kept: Option<String>,
}

impl Voice {
    /// Tells as the config says. Errors if the journal cannot be read.
    pub async fn new(config: &Config, journal: &Journal, random: &Arc<dyn Random>) -> Result<Self> {
        let kept = journal.meta_get(KEY).await?;
        let teller = Teller::new(config, kept.as_deref(), Tries::THREE, random);
        let (journal, random) = (journal.clone(), random.clone());
        Ok(Self { journal, random, state: Mutex::new(State { teller, kept }) })
    }

    /// Tells as another config says from now on. What is on its way is still told.
    pub fn change(&self, config: &Config) {
        let mut state = self.state();
        let remembered = state.teller.remember();
        let teller = Teller::new(config, Some(&remembered), Tries::THREE, &self.random);
        let old = std::mem::replace(&mut state.teller, teller);
        tokio::spawn(old.close(LOOK_EVERY));
    }

    /// A round begins.
    pub fn started(&self, job: &str, at: Time) {
        self.state().teller.started(job, at);
    }

    /// A round ended. Errors if the journal cannot be written.
    pub async fn ended(&self, outcome: &Outcome, started: Time, ended: Time) -> Result<()> {
        self.state().teller.ended(outcome, started, ended);
        self.keep().await
    }

    /// Tells which jobs are late, and returns how long until that is to be looked at again.
    pub async fn look(&self, now: Time) -> Result<Duration> {
        let next = {
            let state = self.state();
            state.teller.look(now);
            state.teller.next_look()
        };
        self.keep().await?;
        let wait = next.map_or(LOOK_EVERY, |next| since(next, now));
        Ok(wait.clamp(Duration::from_millis(10), LOOK_EVERY))
    }

    /// Tells what is on its way, for so long.
    pub async fn close(self, grace: Duration) {
        let state = self.state.into_inner().unwrap_or_else(|e| e.into_inner());
        if !state.teller.close(grace).await {
            tracing::warn!("the end comes before everybody was told");
        }
    }

    async fn keep(&self) -> Result<()> {
        let now = {
            let mut state = self.state();
            let now = state.teller.remember();
            if state.kept.as_ref() == Some(&now) {
                return Ok(());
            }
            state.kept = Some(now.clone());
            now
        };
        self.journal.meta_set(KEY, &now).await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}
