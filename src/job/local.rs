//! What a push does on this side alone, without connecting: it looks again at what is in doubt, and
//! writes down what needs nothing at the target.

use std::sync::Arc;

use super::{Dial, Round};
use crate::entry::{Kind, Sameness, Stat, Time, is_racy, same_content};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::hash::{ContentHash, PIECE_BYTES, Piece, PieceTree, piece_count, piece_range};
use crate::path::RelPath;
use crate::plan::{Action, Facts, Role, Sight, reconsider};
use crate::transfer::record::Content;
use crate::tree::{SourceFile, Tree};

/// Performs an action and what follows from it, as far as that needs no target. Returns what does.
pub(super) async fn perform<D: Dial>(
    round: &Round<D>,
    near: &Arc<D::Near>,
    sight: &Sight,
    action: Action,
) -> Result<Vec<Action>> {
    let looked = round.context.clock.now();
    perform_at(round, near, sight, action, looked).await
}

async fn perform_at<D: Dial>(
    round: &Round<D>,
    near: &Arc<D::Near>,
    sight: &Sight,
    action: Action,
    looked: Time,
) -> Result<Vec<Action>> {
    if action.needs_target() {
        return Ok(vec![action]);
    }
    let result = match &action {
        Action::Recheck { path, role: Role::Source, stat, hash, link } => {
            match recheck(near.as_ref(), path, stat, hash.as_ref(), link.as_deref()).await {
                Ok(same) => return after_recheck(round, near, sight, same, looked).await,
                Err(error) => Err(error),
            }
        }
        Action::Record { path, source, target } => {
            let racy = source.kind != Kind::Dir && is_racy(source.mtime, looked, 0);
            round.record().content(path, *source, *target, Content::AsInBase, racy).await
        }
        Action::Forget { path } => round.record().forget(path).await,
        Action::Report(problem) => {
            round.tally.problem(problem.clone());
            Ok(())
        }
        _ => return Ok(vec![action]),
    };
    if let Err(error) = result {
        if error.kind().ends_round() {
            return Err(error);
        }
        round.tally.failed(action.path(), error);
    }
    Ok(Vec::new())
}

async fn after_recheck<D: Dial>(
    round: &Round<D>,
    near: &Arc<D::Near>,
    sight: &Sight,
    same: bool,
    looked: Time,
) -> Result<Vec<Action>> {
    let facts = Facts { source_is_base: Some(same), ..Facts::default() };
    let mut left = Vec::new();
    for action in reconsider(&round.rules(false), sight, facts) {
        left.extend(Box::pin(perform_at(round, near, sight, action, looked)).await?);
    }
    Ok(left)
}

/// Whether a near file or link still holds what base says.
async fn recheck<N: Tree>(
    near: &N,
    path: &RelPath,
    stat: &Stat,
    hash: Option<&ContentHash>,
    link: Option<&[u8]>,
) -> Result<bool> {
    if stat.kind == Kind::Link {
        return Ok(Some(near.read_link(path).await?.as_slice()) == link);
    }
    let file = match near.open(path).await {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Stale) => return Ok(false),
        Err(error) => return Err(error),
    };
    let before = file.stat().await?;
    let now = hash_file(&file, before.size).await?;
    let steady = same_content(&file.stat().await?, &before) == Sameness::Same;
    Ok(steady && now.is_some() && now.as_ref() == hash)
}

async fn hash_file<F: SourceFile>(file: &F, size: u64) -> Result<Option<ContentHash>> {
    if size <= PIECE_BYTES {
        let data = file.read_at(0, size).await?;
        return Ok((data.len() as u64 == size).then(|| ContentHash::of(&data)));
    }
    let mut tree = PieceTree::new();
    for index in 0..piece_count(size) {
        let (offset, len) = piece_range(index, size);
        let data = file.read_at(offset, len).await?;
        if data.len() as u64 != len {
            return Ok(None);
        }
        tree.insert(index, Piece::of(index, &data));
    }
    Ok(tree.finish())
}

/// A source that is not there before anything was ever agreed on: as good as a server that is not.
pub(super) fn unreachable(error: Error) -> Error {
    if error.kind() != ErrorKind::NotFound {
        return error;
    }
    Error::new(ErrorKind::Unreachable, "read", error.subject())
        .detail("there is no such folder")
        .hint("Check the path; nothing was changed on either side.")
}
