//! Symbolic links on a server: in which order it takes SYMLINK's names, and whether a link stays what it is.

use russh_sftp::protocol::{FileAttributes, OpenFlags};

use super::abilities::{Can, LinkOrder};
use super::lane::Lane;
use super::sftp::SftpTree;
use super::status::kind_of;
use crate::clock::SystemRandom;
use crate::entry::Kind;
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::id::Token;
use crate::path::{Name, RelPath, escape, from_wire, to_wire};
use crate::tree::own;

impl SftpTree {
    /// Makes a link with the names in this order.
    pub(super) async fn symlink(&self, order: LinkOrder, link: &[u8], target: &[u8]) -> Result<()> {
        let (first, second) = match order {
            LinkOrder::Draft => (link, target),
            _ => (target, link),
        };
        let lane = self.lane();
        let reply = lane.session.symlink(to_wire(first), to_wire(second)).await;
        reply.map(drop).map_err(|e| lane.error("make the link", link, &e))
    }

    /// What a link says, as bytes.
    pub(super) async fn link_target(&self, lane: &Lane, link: &[u8]) -> Result<Vec<u8>> {
        let reply = lane.session.readlink(to_wire(link)).await;
        let reply = reply.map_err(|e| lane.error("read the link", link, &e))?;
        let first = reply.files.first().map(|f| from_wire(&f.filename));
        first.ok_or_else(|| {
            Error::new(ErrorKind::Protocol, "read the link", escape(link))
                .detail("the server answered without a name")
        })
    }

    /// An error on servers that are known to have no links, or none that stay what they are.
    pub(super) fn refuse_links(&self, operation: &str, wire_path: &[u8]) -> Result<()> {
        let known = self.known();
        let why = match (known.link_order, known.keeps_links) {
            (LinkOrder::None, _) => "the server has no symbolic links",
            (_, Can::No) => "the server follows symbolic links where it should tell or rename them",
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::Unsupported, operation, escape(wire_path)).detail(why))
    }

    /// An error for a link that a server might follow where it is to be renamed or replaced itself. What it does is
    /// found out beside `ours`, which is a name of ours.
    pub(super) async fn refuse_to_follow(&self, path: &RelPath, ours: &RelPath) -> Result<()> {
        if self.known().keeps_links == Can::Yes {
            return Ok(());
        }
        let wire_path = self.at(path);
        let seen = self.lstat_at(&self.lane(), &wire_path).await?;
        if seen.is_none_or(|stat| stat.kind != Kind::Link) {
            return Ok(());
        }
        let refused = |why: &str| {
            Error::new(ErrorKind::Unsupported, "rename the link", escape(&wire_path)).detail(why.to_owned())
        };
        let tried = match self.known().keeps_links {
            Can::Unknown => self.link_order(&fresh_link(ours)?).await.map(drop),
            _ => Ok(()),
        };
        match (tried, self.known().keeps_links) {
            (Err(error), _) if error.kind().loses_connection() => Err(error),
            (_, Can::Yes) => Ok(()),
            (_, Can::No) => Err(refused("the server follows symbolic links where it should rename them")),
            (Ok(()), Can::Unknown) => {
                Err(refused("the server makes no links, and so does not show whether it follows them"))
            }
            (Err(error), Can::Unknown) => {
                Err(refused("what the server does with links cannot be found out").because(error))
            }
        }
    }

    /// Finds out which way round this server takes SYMLINK's names, with both of them in our own
    /// folder, so that the wrong order does no harm either; and whether it leaves links alone.
    pub(super) async fn link_order(&self, link: &RelPath) -> Result<LinkOrder> {
        let known = self.known();
        if known.link_order == LinkOrder::None
            || (known.link_order != LinkOrder::Unknown && known.keeps_links != Can::Unknown)
        {
            return Ok(known.link_order);
        }
        let probes = link_probes(link)?;
        let [one, two, _] = probes.each_ref().map(|path| self.at(path));
        let order = match self.symlink(LinkOrder::Openssh, &one, &two).await {
            Ok(()) => self.link_made_at(&one, &two).await?,
            Err(error) if error.kind() == ErrorKind::Unsupported => LinkOrder::None,
            Err(error) => return Err(error),
        };
        let keeps_links = match (order, known.keeps_links) {
            (LinkOrder::None, before) => before,
            (_, Can::Unknown) => self.links_stay(order, &probes).await?,
            (_, before) => before,
        };
        self.abilities.learn(|k| (k.link_order, k.keeps_links) = (order, keeps_links));
        Ok(order)
    }

    async fn link_made_at(&self, one: &[u8], two: &[u8]) -> Result<LinkOrder> {
        let lane = self.lane();
        let order = match (self.lstat_at(&lane, one).await?, self.lstat_at(&lane, two).await?) {
            (Some(_), _) => LinkOrder::Openssh,
            (None, Some(_)) => LinkOrder::Draft,
            (None, None) => LinkOrder::None,
        };
        let made = if order == LinkOrder::Draft { two } else { one };
        if order != LinkOrder::None {
            self.unlink(&lane, made).await?;
        }
        Ok(order)
    }

    /// Whether a link that points to a file beside it is told as it was made, and renamed itself. ProFTPD's
    /// mod_sftp (1.3.8) does neither: READLINK makes the target absolute, RENAME moves the file.
    async fn links_stay(&self, order: LinkOrder, probes: &[RelPath; 3]) -> Result<Can> {
        let lane = self.lane();
        let [link, file, moved] = probes.each_ref().map(|path| self.at(path));
        let target = probes[1].name().map(|name| name.as_bytes().to_vec()).unwrap_or_default();
        self.make_empty(&lane, &file).await?;
        let stays = match self.symlink(order, &link, &target).await {
            Ok(()) => self.stays(&lane, [&link, &file, &moved], &target).await,
            Err(error) => Err(error),
        };
        for path in [&link, &file, &moved] {
            self.unlink(&lane, path).await?;
        }
        stays.map(|stays| if stays { Can::Yes } else { Can::No })
    }

    /// Only what is seen counts: a refusal may have any reason.
    async fn stays(&self, lane: &Lane, [link, file, moved]: [&[u8]; 3], target: &[u8]) -> Result<bool> {
        if self.link_target(lane, link).await? != target {
            return Ok(false);
        }
        self.rename_onto_nothing(link, moved).await?;
        let kind = async |path| self.lstat_at(lane, path).await.map(|seen| seen.map(|stat| stat.kind));
        Ok(kind(moved).await? == Some(Kind::Link) && kind(file).await? == Some(Kind::File))
    }

    pub(super) async fn make_empty(&self, lane: &Lane, file: &[u8]) -> Result<()> {
        let fail = |e| lane.error("make the temporary file", file, &e);
        let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
        let attrs = FileAttributes { permissions: Some(0o600), ..FileAttributes::default() };
        let opened = lane.session.open(to_wire(file), flags, attrs).await.map_err(fail)?;
        lane.session.close(opened.handle).await.map(drop).map_err(fail)
    }

    /// Removes it if it is there.
    pub(super) async fn unlink(&self, lane: &Lane, path: &[u8]) -> Result<()> {
        match lane.session.remove(to_wire(path)).await {
            Err(e) if kind_of(&e) != ErrorKind::NotFound => Err(lane.error("remove", path, &e)),
            _ => Ok(()),
        }
    }
}

/// A name that nobody has, where `ours` is. Nothing is tried in the trash: there are names of users there.
fn fresh_link(ours: &RelPath) -> Result<RelPath> {
    let folder =
        if ours.is_within(&own::trash()) { own::folder() } else { ours.parent().unwrap_or_default() };
    let name = Name::new(format!(".highwater-{}", Token::draw(&SystemRandom)).into_bytes())
        .map_err(|e| Error::new(ErrorKind::Internal, "name a link in", &folder).because(e))?;
    Ok(folder.join(&name))
}

/// The names by which it is found out what a server does with links, beside the link that is wanted.
pub(super) fn link_probes(link: &RelPath) -> Result<[RelPath; 3]> {
    let folder = link.parent().unwrap_or_default();
    let probe = |tail: &str| -> Result<RelPath> {
        let own = link.name().map(|n| n.as_bytes().to_vec()).unwrap_or_default();
        // A staged link is among ours already; a name of its own kind is what a sweep finds after a crash.
        let prefix = if link.is_own() { &b""[..] } else { b".highwater-" };
        let name = Name::new([prefix, own.as_slice(), tail.as_bytes()].concat())
            .map_err(|e| Error::new(ErrorKind::Internal, "name a probe in", &folder).because(e))?;
        Ok(folder.join(&name))
    };
    Ok([probe("-1")?, probe("-2")?, probe("-3")?])
}
