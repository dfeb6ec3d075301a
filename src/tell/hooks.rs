//! Commands around a round.

use tokio::sync::watch;

use super::notice::{Notice, Round};
use super::program::Program;
use super::render;
use crate::clock::Clock;
use crate::config::model::{Hooks, Job};
use crate::error::{Error, Kind, Result};
use crate::outcome::{Ending, Outcome};
use crate::report::summary::{failed, what};

/// A round with the commands around it. If one before it fails there is none, and that is a failure. A round
/// that `stop` ended is gone on with later, and nothing comes after it.
pub async fn around(
    job: &Job,
    clock: &dyn Clock,
    mut stop: watch::Receiver<bool>,
    round: impl Future<Output = Outcome>,
) -> Outcome {
    let (started, begun) = (clock.now(), std::time::Instant::now());
    let facts = Notice::start(&job.name, started);
    let before = tokio::select! {
        before = before(&job.hooks, &facts) => before,
        _ = stop.wait_for(|stop| *stop) => {
            Err(Error::new(Kind::Interrupted, "begin", "the round").detail("it was stopped"))
        }
    };
    let outcome = match before {
        Ok(()) => round.await,
        Err(error) => failed(&job.name, job.mode, &error, begun.elapsed()),
    };
    if *stop.borrow() && is_unfinished(&outcome) {
        return outcome;
    }
    let facts = Notice::ended(Round::new(&outcome, started, clock.now()));
    for error in after(&job.hooks, &facts).await {
        tracing::warn!("{}: {}", job.name, what(&error));
    }
    outcome
}

/// Whether a round that was stopped came to less than its end.
pub fn is_unfinished(outcome: &Outcome) -> bool {
    outcome.ending == Ending::Failed
}

/// Runs what comes before a round, one after the other; `facts` says that one begins. Dropping this ends what
/// runs. Errors: of the first that fails; the others are not run, and there is to be no round.
pub async fn before(hooks: &Hooks, facts: &Notice) -> Result<()> {
    for words in &hooks.before {
        run("run the hook before the round,", words, hooks, facts).await?;
    }
    Ok(())
}

/// Runs what comes after a round, all of it; `facts` says how it ended. What failed comes back: it changes
/// nothing about the round.
pub async fn after(hooks: &Hooks, facts: &Notice) -> Vec<Error> {
    let is_well = facts.round.as_ref().is_some_and(|round| round.outcome.ending == Ending::Ok);
    let commands = if is_well { &hooks.after_success } else { &hooks.after_failure };
    let mut failed = Vec::new();
    for words in commands {
        failed.extend(run("run the hook after the round,", words, hooks, facts).await.err());
    }
    failed
}

async fn run(operation: &str, words: &[String], hooks: &Hooks, facts: &Notice) -> Result<()> {
    let document = serde_json::to_vec(&render::document(facts));
    let input = document.map_err(|e| Error::new(Kind::Internal, "make the JSON document", "").because(e))?;
    let variables = render::variables(facts);
    let (hidden, timeout) = (&hooks.hidden[..], hooks.timeout);
    Program { operation, words, variables, hidden, input, timeout }.run().await
}
