//! Commands around a round.

use super::notice::Notice;
use super::program::Program;
use super::render;
use crate::config::model::Hooks;
use crate::error::{Error, Kind, Result};
use crate::outcome::Ending;

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
    Program { operation, words, variables, input, timeout: hooks.timeout }.run().await
}
