//! What an earlier attempt left behind, before anything new is begun: staged files are fenced or swept,
//! and for each rename that was sent without an answer it is found out whether it happened.

use std::collections::HashMap;

use super::record::Record;
use super::staging::{Fenced, Staging, fence};
use crate::entry::{Sameness, Stat, same_content};
use crate::error::Result;
use crate::journal::{Intent, TransferRow};
use crate::path::RelPath;
use crate::tree::Tree;

/// Settles everything and returns the transfers that may be gone on with, by their final path.
pub(super) async fn settle<T: Tree>(
    target: &T,
    staging: &Staging,
    record: &Record,
) -> Result<HashMap<RelPath, TransferRow>> {
    let rows = record.transfers().await?;
    let fenced = fence(target, staging, &rows, record).await?;
    for intent in record.intents().await? {
        settle_intent(target, record, &fenced, intent).await?;
    }
    let mut unfinished = HashMap::new();
    for row in rows {
        match fenced.kept.get(&row.staged) {
            Some(fresh) => {
                let row = TransferRow { staged: fresh.clone(), ..row };
                if let Some(twin) = unfinished.insert(row.path.clone(), row) {
                    record.end_transfer(twin.id).await?; // swept as a stranger in the next round
                }
            }
            None => record.end_transfer(row.id).await?,
        }
    }
    Ok(unfinished)
}

/// After the fence a rename has either happened or never will. If the staged file is gone from where it was
/// and what stands at the final name is what was to be placed, it happened: its content had been proved
/// before it was sent. By its looks alone an older version of the same size and second might pass for it.
async fn settle_intent<T: Tree>(target: &T, record: &Record, fenced: &Fenced, intent: Intent) -> Result<()> {
    if !fenced.may_be_placed(&intent.staged) {
        return record.drop_intent(&intent.path).await;
    }
    let there = match target.stat(&intent.path).await {
        Ok(there) => there,
        Err(error) if error.kind().ends_round() => return Err(error),
        Err(_) => None,
    };
    match there.filter(|there| is_what_was_staged(there, &intent.finished)) {
        Some(there) => record.came_true(intent, there).await,
        None => record.drop_intent(&intent.path).await,
    }
}

/// A rename changes the ctime and nothing else.
fn is_what_was_staged(there: &Stat, finished: &Stat) -> bool {
    let there = Stat { ctime: None, ..*there };
    same_content(&there, finished) == Sameness::Same
}
