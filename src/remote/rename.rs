//! The ways to rename on a server: over an existing name, onto nothing, and the detour where the server has no
//! rename over an existing name.

use futures_util::future::join;

use super::abilities::Can;
use super::dialect;
use super::lane::Lane;
use super::sftp::SftpTree;
use super::status::kind_of;
use crate::entry::Kind;
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::path::{RelPath, escape, to_wire};
use crate::tree::{Tree, own};

impl SftpTree {
    /// RENAME refuses an existing target on OpenSSH, replaces it elsewhere: look first.
    pub(super) async fn rename_onto_nothing(&self, from: &[u8], to: &[u8]) -> Result<()> {
        match self.lstat_at(&self.lane(), to).await? {
            Some(_) => Err(taken(to)),
            None => self.rename_unless_taken(from, to).await,
        }
    }

    /// The same after such a look.
    pub(super) async fn rename_unless_taken(&self, from: &[u8], to: &[u8]) -> Result<()> {
        let lane = self.lane();
        match self.rename_plainly(&lane, from, to).await {
            // Version 3 has no status for "it exists": somebody may have been there in between.
            Err(error) if error.kind() == ErrorKind::Failed => {
                let (source, target) = join(self.lstat_at(&lane, from), self.lstat_at(&lane, to)).await;
                Err(if source?.is_some() && target?.is_some() { taken(to) } else { error })
            }
            outcome => outcome,
        }
    }

    async fn rename_plainly(&self, lane: &Lane, from: &[u8], to: &[u8]) -> Result<()> {
        let reply = lane.session.rename(to_wire(from), to_wire(to)).await;
        reply.map(drop).map_err(|e| lane.error("rename to", to, &e))
    }

    /// `posix-rename@openssh.com`, tried even where it was not announced (paramiko's server has it so).
    /// `false`: it was not done, and the server may not have it.
    pub(super) async fn rename_over(&self, from: &[u8], to: &[u8]) -> Result<bool> {
        let known = self.known().posix_rename;
        if !known.may() {
            return Ok(false);
        }
        let is_guess = known == Can::Unknown; // neither announced nor done before
        let mut payload = Vec::with_capacity(from.len() + to.len() + 8);
        dialect::put_string(&mut payload, from);
        dialect::put_string(&mut payload, to);
        let lane = self.lane();
        match lane.command("posix-rename@openssh.com", payload).await {
            Ok(()) => {
                self.abilities.learn(|k| k.posix_rename = Can::Yes);
                Ok(true)
            }
            Err(e) if kind_of(&e) == ErrorKind::Unsupported => {
                self.abilities.learn(|k| k.posix_rename = Can::No);
                Ok(false)
            }
            // Some servers answer so to every request that they do not know; then nothing happened.
            Err(e) if kind_of(&e) == ErrorKind::Failed && is_guess => {
                match self.lstat_at(&lane, from).await? {
                    Some(_) => Ok(false),
                    None => Err(lane.error("rename to", to, &e)),
                }
            }
            Err(e) => Err(lane.error("rename to", to, &e)),
        }
    }

    /// To a name that most likely nothing has, without anybody having looked. Errors with `Exists` if something is seen
    /// there.
    ///
    /// OpenSSH's RENAME gives a file a second name and removes the first (process_rename in sftp-server.c, 9.2). Not
    /// every disk has second names and not every policy allows them; the answer is then FAILURE or PERMISSION_DENIED.
    pub(super) async fn rename_new(&self, from: &[u8], to: &[u8]) -> Result<()> {
        if !self.replaces_nothing() {
            return self.rename_over_unless_seen(from, to).await;
        }
        let Err(error) = self.rename_unless_taken(from, to).await else { return Ok(()) };
        if !matches!(error.kind(), ErrorKind::Failed | ErrorKind::Permission | ErrorKind::Unsupported) {
            return Err(error);
        }
        self.rename_over_unless_seen(from, to).await?;
        self.forgo_second_names();
        Ok(())
    }

    async fn rename_over_unless_seen(&self, from: &[u8], to: &[u8]) -> Result<()> {
        match self.lstat_at(&self.lane(), to).await? {
            Some(_) => Err(taken(to)),
            None => self.rename_over_nothing(from, to).await,
        }
    }

    /// To a name that nothing had a moment ago: the atomic rename where there is one, otherwise the one that there is,
    /// after one more look, since it may replace something.
    pub(super) async fn rename_over_nothing(&self, from: &[u8], to: &[u8]) -> Result<()> {
        match self.rename_over(from, to).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.rename_onto_nothing(from, to).await?;
                self.abilities.learn(|k| k.posix_rename = Can::No); // what it refused can be done
                Ok(())
            }
            // A folder came meanwhile.
            Err(error) if error.kind() == ErrorKind::Failed => {
                let there = self.lstat_at(&self.lane(), to).await?;
                Err(if there.is_some() { taken(to) } else { error })
            }
            Err(error) => Err(error),
        }
    }

    /// Over whatever stands there that is no folder.
    pub(super) async fn rename_onto_any(&self, staged: &RelPath, target: &RelPath) -> Result<()> {
        match self.rename_over(&self.at(staged), &self.at(target)).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.refuse_folder(target).await?;
                self.replace_by_detour(staged, target).await?;
                self.abilities.learn(|k| k.posix_rename = Can::No); // what it refused can be done
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Failed => {
                self.refuse_folder(target).await?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Where nothing renames over an existing name: move the old one aside, place, drop the old one.
    /// A crash in between leaves the old version where files are staged, which the next round sweeps; it
    /// sees the target missing and places again.
    pub(super) async fn replace_by_detour(&self, staged: &RelPath, target: &RelPath) -> Result<()> {
        let (from, to) = (self.at(staged), self.at(target));
        let lane = self.lane();
        if self.lstat_at(&lane, &to).await?.is_none() {
            return self.rename_plainly(&lane, &from, &to).await;
        }
        let aside = self.at(&aside_of(staged, target)?);
        self.rename_plainly(&lane, &to, &aside).await?;
        if let Err(error) = self.rename_plainly(&lane, &from, &to).await {
            if error.kind().loses_connection() {
                return Err(error);
            }
            self.rename_plainly(&lane, &aside, &to).await?;
            return Err(error);
        }
        if let Err(e) = lane.session.remove(to_wire(&aside)).await {
            tracing::info!("an old version stays at {}: {e}", escape(&aside)); // the new one is in its place
        }
        Ok(())
    }

    pub(super) async fn refuse_folder(&self, target: &RelPath) -> Result<()> {
        match self.stat(target).await? {
            Some(stat) if stat.kind == Kind::Dir => {
                Err(Error::new(ErrorKind::Exists, "place a file at", escape(&self.at(target)))
                    .detail("a folder stands there"))
            }
            _ => Ok(()),
        }
    }
}

fn taken(name: &[u8]) -> Error {
    Error::new(ErrorKind::Exists, "rename to", escape(name)).detail("something stands there already")
}

/// Where the old version waits during a replacement without `posix-rename`: in the staging folder, whose
/// sweep finds it if nobody else does, or beside a target beside which the new one was staged.
fn aside_of(staged: &RelPath, target: &RelPath) -> Result<RelPath> {
    let token = staged.name().map(|n| n.as_bytes().to_vec()).unwrap_or_default();
    let (folder, name) = if staged.is_within(&own::folder()) {
        (staged.parent(), [token.as_slice(), b"-old"].concat())
    } else {
        (target.parent(), [b".highwater-old-", token.as_slice()].concat())
    };
    let name = crate::path::Name::new(name)
        .map_err(|e| Error::new(ErrorKind::Internal, "name the old version of", target).because(e))?;
    Ok(folder.unwrap_or_default().join(&name))
}
