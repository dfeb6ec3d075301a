//! Whether a server keeps names as they are. Some take them for UTF-8 and put other characters where they are not:
//! ssh2 for Node.js (1.17.0) does.

use russh_sftp::protocol::FileAttributes;

use super::abilities::Can;
use super::sftp::SftpTree;
use super::status::kind_of;
use crate::clock::SystemRandom;
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::id::Token;
use crate::path::{Name, RelPath, escape, is_text, to_wire};
use crate::tree::{Tree, own};

/// A name that is not UTF-8.
const ODD: &[u8] = b"\xff";

impl SftpTree {
    /// An error for bytes that are not UTF-8, in the name or the link at `path`, where the server would put others in
    /// their place. What it does is found out when it first matters.
    pub(super) async fn refuse_bytes(&self, path: &RelPath, bytes: &[u8]) -> Result<()> {
        if is_text(bytes) {
            return Ok(());
        }
        if self.known().keeps_names == Can::Unknown {
            let _one_at_a_time = self.trials.lock().await;
            if self.known().keeps_names == Can::Unknown {
                // Best where stagings are: there a folder that stays after a crash is swept.
                let token = Token::draw(&SystemRandom);
                self.try_names(&[own::stage(&token), own::staged_beside(path, &token)]).await?;
            }
        }
        match self.known().keeps_names {
            Can::No => Err(Error::new(ErrorKind::Name, "carry over", path)
                .detail(format!("\"{}\" is not UTF-8, and the server changes such names", escape(bytes)))
                .hint("Rename it, or use another SFTP server.")),
            Can::Yes | Can::Unknown => Ok(()),
        }
    }

    /// Tries it in a folder of its own, which goes away again: the first of these that can be made.
    pub(super) async fn try_names(&self, trials: &[RelPath]) -> Result<()> {
        for trial in trials {
            let (lane, wire_path) = (self.lane(), self.at(trial));
            match lane.session.mkdir(to_wire(&wire_path), FileAttributes::default()).await {
                Ok(_) => {
                    let keeps_names = self.name_stays(trial).await?;
                    self.abilities.learn(|k| k.keeps_names = keeps_names);
                    return Ok(());
                }
                Err(e) if kind_of(&e) == ErrorKind::NotFound => {}
                Err(e) if kind_of(&e).loses_connection() => {
                    return Err(lane.error("make the folder", &wire_path, &e));
                }
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    async fn name_stays(&self, trial: &RelPath) -> Result<Can> {
        let lane = self.lane();
        let odd = self.at(&trial.join(
            &Name::new(ODD)
                .map_err(|e| Error::new(ErrorKind::Internal, "name a file in", trial).because(e))?,
        ));
        let listed = match self.make_empty(&lane, &odd).await {
            Ok(()) => self.list(trial).await,
            Err(error) => Err(error),
        };
        // Whatever became of the name, it is the same once more.
        match self.unlink(&lane, &odd).await {
            Err(error) if error.kind().loses_connection() => return Err(error),
            Err(error) => tracing::info!("a file that was to try its name stays: {error}"),
            Ok(()) => {}
        }
        if let Err(e) = lane.session.rmdir(to_wire(&self.at(trial))).await {
            tracing::info!("a folder that was to try names in stays at {trial}: {e}");
        }
        match listed {
            Ok(listing) if listing.entries.iter().any(|entry| entry.name.as_bytes() == ODD) => Ok(Can::Yes),
            Ok(_) => Ok(Can::No),
            Err(error) if error.kind().loses_connection() => Err(error),
            Err(_) => Ok(Can::Unknown), // it says so itself of each such name
        }
    }
}
