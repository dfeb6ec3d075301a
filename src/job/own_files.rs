//! The two small files of ours on the far side: which root this is, and how often this agent changed it.

use bytes::Bytes;
use futures_util::future::join;
use serde::{Deserialize, Serialize};

use crate::clock::Random;
use crate::entry::{Meta, Time};
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

/// Gives a new root its id.
pub(super) async fn write_root_id<T: Tree>(tree: &T, id: &Token, writer: &Writer<'_>) -> Result<()> {
    let file = RootFile { version: 1, id: id.to_string() };
    writer.write_json(tree, &own::root_file(), &file).await
}

/// The generation this agent last wrote there. `None`: it never did.
pub(super) async fn read_generation<T: Tree>(tree: &T, agent: &Token) -> Result<Option<i64>> {
    let file = read_json::<T, AgentFile>(tree, &own::agent_file(agent)).await?;
    Ok(file.map(|file| file.generation))
}

/// Writes this agent's generation.
pub(super) async fn write_generation<T: Tree>(tree: &T, generation: i64, writer: &Writer<'_>) -> Result<()> {
    let file = AgentFile { version: 1, generation };
    own::make_folders(tree, &[own::folder(), own::agents()]).await?;
    writer.write_json(tree, &own::agent_file(writer.agent), &file).await
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
    async fn write_json<T: Tree, F: Serialize + Sync>(
        &self,
        tree: &T,
        path: &RelPath,
        file: &F,
    ) -> Result<()> {
        let text =
            serde_json::to_vec(file).map_err(|e| Error::new(Kind::Internal, "write", path).because(e))?;
        own::make_folders(tree, &[own::folder(), own::stages(), own::stage(self.agent)]).await?;
        let staged_path = own::staged(self.agent, &Token::draw(self.random));
        let staged = tree.stage(&staged_path).await?;
        let size = text.len() as u64;
        let meta = Meta { mode: 0o644, mtime: self.now };
        let (written, finished) =
            join(staged.write_at(0, Bytes::from(text)), staged.finish(size, &meta, self.durable)).await;
        written?;
        let finished = finished?;
        tree.place(&staged_path, path, &finished).await.map(drop)
    }
}
