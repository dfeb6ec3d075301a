//! The two small files of ours at a target: which root this is, and how often this agent changed it.

use bytes::Bytes;
use futures_util::future::{join, join3};
use serde::{Deserialize, Serialize};

use crate::clock::Random;
use crate::entry::{Meta, Stat, Time};
use crate::error::{Error, Kind, Result};
use crate::id::Token;
use crate::path::RelPath;
use crate::tree::{StagedFile, Tree, own};

/// Longest file of ours that is read, in bytes.
const MOST_BYTES: u64 = 4096;

/// `.highwater/root.json`: made with the root, never changed.
#[derive(Debug, Serialize, Deserialize)]
struct RootFile {
    version: u32,
    id: String,
}

/// `.highwater/agents/<agent>.json`: how many rounds of this agent changed this root.
#[derive(Debug, Serialize, Deserialize)]
struct AgentFile {
    version: u32,
    generation: i64,
}

/// The root's id. `None`: the file is not there.
pub(super) async fn read_root_id<T: Tree>(tree: &T) -> Result<Option<Token>> {
    let Some(file) = read_json::<T, RootFile>(tree, &own::root_file()).await? else { return Ok(None) };
    Token::parse(&file.id).map(Some).ok_or_else(|| {
        Error::new(Kind::Halt, "read", own::root_file()).detail("it holds no id that we wrote")
    })
}

/// Gives a new root its id, unless somebody gave it one at the same time. Returns the one it has. The staging
/// folder must be there.
pub(super) async fn write_root_id<T: Tree>(tree: &T, id: &Token, writer: &Writer<'_>) -> Result<Token> {
    let file = RootFile { version: 1, id: id.to_string() };
    let path = own::root_file();
    let (staged, seen) = join(writer.stage_json(tree, &path, &file), tree.stat(&path)).await;
    let (staged, _) = staged?;
    crate::crash::point("root: id staged");
    let named = async {
        match seen? {
            Some(_) => Err(Error::new(Kind::Exists, "name", &path).detail("it has a name by now")),
            None => tree.move_onto_nothing(&staged, &path).await,
        }
    };
    match named.await {
        Ok(()) => {
            crate::crash::point("root: id placed");
            Ok(id.clone())
        }
        Err(error) if error.kind() == Kind::Exists => {
            discard(tree, &staged, &error).await;
            read_root_id(tree).await?.ok_or(error)
        }
        Err(error) => Err(error),
    }
}

/// The generation this agent last wrote there. `None`: it never did.
pub(super) async fn read_generation<T: Tree>(tree: &T, agent: &Token) -> Result<Option<i64>> {
    let file = read_json::<T, AgentFile>(tree, &own::agent_file(agent)).await?;
    Ok(file.map(|file| file.generation))
}

/// Writes this agent's generation; `is_first`: there was none.
pub(super) async fn write_generation<T: Tree>(
    tree: &T,
    generation: i64,
    is_first: bool,
    writer: &Writer<'_>,
) -> Result<()> {
    let file = AgentFile { version: 1, generation };
    let path = own::agent_file(writer.agent);
    let folders = [own::folder(), own::agents()];
    let make = async { if is_first { own::make_folders(tree, &folders).await } else { Ok(false) } };
    let (made, staged) = join(make, writer.stage_json(tree, &path, &file)).await;
    let (staged, finished) = staged?;
    if let Err(error) = made {
        discard(tree, &staged, &error).await;
        return Err(error);
    }
    crate::crash::point("generation: staged");
    let placed = with_folders(tree, &folders, || tree.place(&staged, &path, &finished)).await;
    if let Err(error) = &placed {
        discard(tree, &staged, error).await;
    }
    placed.map(drop)
}

/// Removes a staged file that failed with `error`, as far as that can be done.
async fn discard<T: Tree>(tree: &T, staged: &RelPath, error: &Error) {
    if error.kind().loses_connection() {
        return;
    }
    if let Err(error) = tree.remove_file(staged).await {
        tracing::info!("leaving a staged file to the next sweep: {error}");
    }
}

/// Does something that needs these folders of ours, which are there but for the first time.
async fn with_folders<T: Tree, R, F>(tree: &T, folders: &[RelPath], change: impl Fn() -> F) -> Result<R>
where
    F: Future<Output = Result<R>>,
{
    match change().await {
        Err(error) if !error.kind().ends_round() => {
            own::make_folders(tree, folders).await?;
            change().await
        }
        result => result,
    }
}

async fn read_json<T: Tree, F: for<'a> Deserialize<'a>>(tree: &T, path: &RelPath) -> Result<Option<F>> {
    let whole = match tree.read_whole(path, MOST_BYTES).await {
        Ok(whole) => whole,
        Err(error) if error.kind() == Kind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    serde_json::from_slice(&whole.data).map(Some).map_err(|e| {
        Error::new(Kind::Halt, "read", path)
            .detail("it is not as we wrote it")
            .hint("Look at it, and remove it if it is damaged: it is made again.")
            .because(e)
    })
}

/// What writing a small file of ours takes: a name for the temporary, a time for the file.
pub(super) struct Writer<'a> {
    pub agent: &'a Token,
    pub random: &'a dyn Random,
    pub now: Time,
    pub durable: bool,
}

impl Writer<'_> {
    async fn stage_json<T: Tree, F: Serialize + Sync>(
        &self,
        tree: &T,
        path: &RelPath,
        file: &F,
    ) -> Result<(RelPath, Stat)> {
        let text =
            serde_json::to_vec(file).map_err(|e| Error::new(Kind::Internal, "write", path).because(e))?;
        let (size, text) = (text.len() as u64, Bytes::from(text));
        let folders = own::staging_folders(self.agent);
        let staged_path = own::staged(self.agent, &Token::draw(self.random));
        let staged = with_folders(tree, &folders, || tree.stage(&staged_path)).await?;
        let meta = Meta { mode: 0o644, mtime: self.now };
        let (written, back, finished) = join3(
            staged.write_at(0, text.clone()),
            staged.read_at(0, size),
            staged.finish(size, &meta, self.durable),
        )
        .await;
        let checked = written.and(back).and_then(|back| match back == text {
            true => finished,
            false => Err(Error::new(Kind::Corrupt, "write", path).detail("it came back with other bytes")),
        });
        match checked {
            Ok(finished) => Ok((staged_path, finished)),
            Err(error) => {
                discard(tree, &staged_path, &error).await;
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SeededRandom;
    use crate::tree::memory::Memory;

    fn token(digit: &str) -> Token {
        Token::parse(&digit.repeat(32)).unwrap()
    }

    async fn name(tree: &Memory, agent: &str, id: &str) -> Token {
        let random = SeededRandom::new(agent.len() as u64);
        let agent = token(agent);
        let writer = Writer { agent: &agent, random: &random, now: Time::from_secs(100), durable: true };
        own::make_folders(tree, &own::staging_folders(&agent)).await.unwrap();
        write_root_id(tree, &token(id), &writer).await.unwrap()
    }

    #[tokio::test]
    async fn two_machines_that_name_a_root_at_once_agree_on_one_id() {
        let tree = Memory::far();
        assert_eq!(read_root_id(&tree).await.unwrap(), None);
        assert_eq!(name(&tree, "a", "1").await, token("1"));
        assert_eq!(name(&tree, "b", "2").await, token("1"));
        assert_eq!(read_root_id(&tree).await.unwrap(), Some(token("1")));
        let left = tree.list(&own::stage(&token("b"))).await.unwrap();
        assert_eq!(left.entries, []);
    }
}
