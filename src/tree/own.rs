//! What is ours below a root: `.highwater/` and where things lie in it.
//!
//! ```text
//! .highwater/root.json              which root this is: a random id, never changed
//! .highwater/agents/<agent>.json    how often this agent has changed this root
//! .highwater/stage/<agent>/<token>  files being written
//! .highwater/trash/<round>/<path>   what deletes and displacements moved away
//! <folder>/.highwater-<token>       a file being written where the staging folder cannot serve
//! ```

use futures_util::future::join_all;

use super::Tree;
use crate::error::{Kind, Result};
use crate::id::Token;
use crate::path::RelPath;

#[expect(clippy::expect_used, reason = "made of constants and hexadecimal digits")]
fn own(path: String) -> RelPath {
    RelPath::parse(path.into_bytes()).expect("our own names are plain")
}

/// The folder that holds all that is ours.
pub fn folder() -> RelPath {
    own(".highwater".into())
}

/// Makes folders of ours, each in the one before it, all asked for at once where the side works in order.
/// Returns whether the last one is new.
pub async fn make_folders<T: Tree>(tree: &T, folders: &[RelPath]) -> Result<bool> {
    let made = join_all(folders.iter().map(|folder| make_folder(tree, folder))).await;
    if made.iter().all(Result::is_ok) {
        return made.into_iter().next_back().unwrap_or(Ok(false));
    }
    let mut is_new = false;
    for folder in folders {
        is_new = make_folder(tree, folder).await?;
    }
    Ok(is_new)
}

async fn make_folder<T: Tree>(tree: &T, folder: &RelPath) -> Result<bool> {
    match tree.make_dir(folder, 0o700).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == Kind::Exists => Ok(false),
        Err(error) => Err(error),
    }
}

/// The root's identity.
pub fn root_file() -> RelPath {
    own(".highwater/root.json".into())
}

/// The folder of the agents' generations.
pub fn agents() -> RelPath {
    own(".highwater/agents".into())
}

/// One agent's generation.
pub fn agent_file(agent: &Token) -> RelPath {
    own(format!(".highwater/agents/{agent}.json"))
}

/// The folder of all staging folders.
pub fn stages() -> RelPath {
    own(".highwater/stage".into())
}

/// The folder where one agent stages.
pub fn stage(agent: &Token) -> RelPath {
    own(format!(".highwater/stage/{agent}"))
}

/// The folders that have to be there before one agent can stage, each in the one before it.
pub fn staging_folders(agent: &Token) -> [RelPath; 3] {
    [folder(), stages(), stage(agent)]
}

/// A file being written.
pub fn staged(agent: &Token, token: &Token) -> RelPath {
    own(format!(".highwater/stage/{agent}/{token}"))
}

/// A name in a folder of ours.
pub fn nameless(token: &Token) -> RelPath {
    own(token.to_string())
}

/// A file being written beside its target.
pub fn staged_beside(target: &RelPath, token: &Token) -> RelPath {
    let folder = target.parent().unwrap_or_default();
    folder.join_path(&own(format!(".highwater-{token}")))
}

/// The folder of all trash.
pub fn trash() -> RelPath {
    own(".highwater/trash".into())
}

/// The trash of one round. `round` is a name we made: letters, digits, dashes.
pub fn trash_of(round: &str) -> RelPath {
    own(format!(".highwater/trash/{round}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_of_ours_is_recognised_as_ours() {
        let token = Token::parse("00112233445566778899aabbccddeeff").unwrap();
        let target = RelPath::parse(&b"a/b"[..]).unwrap();
        for path in [
            folder(),
            root_file(),
            agent_file(&token),
            staged(&token, &token),
            staged_beside(&target, &token),
            trash_of("20260101T000000Z-1"),
        ] {
            assert!(path.is_own(), "{path}");
        }
        assert_eq!(staged_beside(&target, &token).parent(), Some(RelPath::parse(&b"a"[..]).unwrap()));
    }
}
