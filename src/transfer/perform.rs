//! One path from its first action to the last: perform, and where the world turned out to be other than
//! planned, or a question was answered, ask the planner again.

use super::Shared;
use super::carry::Carry;
use super::gates::Opener;
use super::hands::Hands;
use super::place::{Fate, Look, holds};
use super::record::{Content, Placing};
use crate::entry::{Kind, Meta, Stat, Time};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::hash::{ContentHash, Level};
use crate::path::RelPath;
use crate::plan::{Action, Expect, Facts, Role, Seen, Sight, Why, reconsider};
use crate::tree::space::explain_space;
use crate::tree::{SourceFile, Tree};

/// How often one path is thought over before it is left to the next round.
const MOST_TURNS: u32 = 8;

/// A path that is to be worked on.
pub(super) struct Work {
    /// What to do, the next one last.
    queue: Vec<Action>,
    turn: Turn,
    /// For what goes into a folder that is to be made.
    opener: Option<Opener>,
}

impl Work {
    /// Begins with this action.
    pub(super) fn new(sight: Sight, action: Action, opener: Option<Opener>, looked: Time) -> Self {
        let turn = Turn { sight, facts: Facts::default(), proved: None, link: None, looked };
        Self { queue: vec![action], turn, opener }
    }
}

/// A path that is being worked on.
struct Turn {
    sight: Sight,
    facts: Facts,
    /// What a comparison found both sides to contain.
    proved: Option<(ContentHash, Level)>,
    /// Where both links were found to point.
    link: Option<Vec<u8>>,
    /// When the first look at it began.
    looked: Time,
}

/// A link as it was read from the source.
struct Link<'a> {
    path: &'a RelPath,
    source: &'a Stat,
    target: Vec<u8>,
    /// Whether another one in its place might look the same.
    racy: bool,
}

impl<S: Tree, T: Tree> Shared<S, T> {
    /// Performs an action and what follows from it. Errors end up in the tally.
    pub(super) async fn perform(&self, mut work: Box<Work>) {
        let Work { queue, turn, opener } = &mut *work;
        let Some(path) = queue.last().map(|action| action.path().clone()) else { return };
        for _ in 0..MOST_TURNS {
            let Some(action) = queue.pop() else { return };
            let action = Box::new(action);
            let fate = match self.act(&action, turn, opener).await {
                Ok(fate) => fate,
                Err(_) if self.check.is_void() => return, // and so is what was found out
                Err(error) => {
                    let error = Box::pin(explain_space(self.target.as_ref(), error)).await;
                    return self.tally.failed(&path, error);
                }
            };
            if fate == Fate::Done {
                continue;
            }
            turn.learn(fate);
            *queue = reconsider(&self.options.rules, &turn.sight, turn.facts);
            queue.reverse();
        }
        let error = Error::new(ErrorKind::Stale, "settle", &path)
            .detail("it keeps changing while it is worked on")
            .hint("It is tried again in the next round.");
        self.tally.failed(&path, error);
    }

    async fn act(&self, action: &Action, turn: &mut Turn, opener: &mut Option<Opener>) -> Result<Fate> {
        match action {
            Action::Put { .. } => {} // a file waits before it is placed
            Action::MakeDir { .. } if self.check.lets_folders() => {}
            _ => self.checked().await?,
        }
        match action {
            Action::Put { path, source, expect, known, .. } => {
                self.carry(&Carry { path, source: *source, expect, known: *known }).await
            }
            Action::PutLink { path, source, expect, known, .. } => {
                Box::pin(self.put_link(path, source, expect, known.as_deref())).await
            }
            Action::MakeDir { path, source, expect, why } => {
                if *why != Why::New {
                    // After a crash the old row would pass for this folder's, and nobody made that durable.
                    self.record.forget_now(path).await?;
                }
                Box::pin(self.make_dir(path, source, expect, opener)).await
            }
            Action::AdoptDir { path, source, target, settled } => {
                self.adopt(path);
                self.record.folder(path, *source, *target, !settled).await?;
                Ok(Fate::Done)
            }
            Action::Compare { path, source, target, .. } => {
                Box::pin(self.compare(path, source, target, turn)).await
            }
            Action::Recheck { path, role, stat, hash, link } => {
                Box::pin(self.recheck(path, *role, stat, hash.as_ref(), link.as_deref())).await
            }
            Action::SetMeta { path, source, target, .. } => {
                Box::pin(self.set_meta(path, source, target, turn)).await
            }
            Action::Record { path, source, target } => self.write_base(path, source, target, turn).await,
            Action::Forget { path } => self.record.forget(path).await.map(|()| Fate::Done),
            Action::Report(problem) => {
                self.tally.problem(problem.clone());
                Ok(Fate::Done)
            }
        }
    }

    async fn put_link(
        &self,
        path: &RelPath,
        source: &Stat,
        expect: &Expect,
        known: Option<&[u8]>,
    ) -> Result<Fate> {
        let looked = self.clock.now();
        let target = self.source.read_link(path).await?;
        let link = Link { path, source, target, racy: self.is_racy_source(source, looked) };
        let there = self.look_behind_gate(path).await?;
        if !holds(expect, there.as_ref()) {
            return Ok(Fate::Stale(there));
        }
        if let Some(there) = there.filter(|_| known == Some(&link.target)) {
            self.record.link(path, *source, there, link.target, link.racy).await?;
            return Ok(Fate::Done);
        }
        let staged = self.staging.fresh(path);
        let noted = self.note_beside(path, &staged, source).await?;
        self.staged(&staged, || self.target.make_link(&staged, &link.target)).await?;
        crate::crash::point("link: made");
        let result = self.place_link(link, expect, &staged, there).await;
        self.after_attempt(&staged, &result).await;
        self.forget_beside(noted, &result).await?;
        result
    }

    async fn place_link(
        &self,
        link: Link<'_>,
        expect: &Expect,
        staged: &RelPath,
        there: Option<Stat>,
    ) -> Result<Fate> {
        let finished = self.target.stat(staged).await?.ok_or_else(|| {
            Error::new(ErrorKind::Failed, "make the link", link.path)
                .detail("it vanished right after it was made")
        })?;
        let placing = Placing {
            path: link.path.clone(),
            staged: staged.clone(),
            kind: Kind::Link,
            source: *link.source,
            finished,
            hash: None,
            link: Some(link.target),
            level: None,
            unsettled: link.racy,
        };
        self.place(placing, expect, Look::Saw(there)).await
    }

    async fn make_dir(
        &self,
        path: &RelPath,
        source: &Stat,
        expect: &Expect,
        opener: &mut Option<Opener>,
    ) -> Result<Fate> {
        self.pass_gate(path).await?;
        if matches!(expect, Expect::Retire(_) | Expect::Displace(_)) {
            self.checked().await?;
            let there = self.look_at_target(path).await?;
            if !holds(expect, there.as_ref()) {
                return Ok(Fate::Stale(there));
            }
            if let Some(old) = there {
                self.clear_for_dir(path, &old, expect).await?;
            }
        }
        match self.let_in(path, || self.target.make_dir(path, source.carried_mode())).await {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Exists => {
                let there = self.look_at_target(path).await?;
                if there.is_some_and(|t| t.kind == Kind::Dir)
                    && let Some(opener) = opener.take()
                {
                    self.gates.open(opener); // what goes into it can
                }
                return Ok(Fate::Stale(there));
            }
            Err(error) => return Err(error),
        }
        crate::crash::point("folder: made");
        self.gates.note_new(path);
        self.touch(path);
        if !self.check.has_passed() {
            if let Some(opener) = opener.take() {
                self.gates.open(opener); // what goes into it can, as far as it may before that
            }
            self.checked().await?;
        }
        let target = Stat { kind: Kind::Dir, size: 0, ctime: None, inode: None, ..*source };
        self.record.made(path, *source, target).await?;
        crate::crash::point("folder: recorded");
        if let Some(opener) = opener.take() {
            self.gates.open(opener);
        }
        Ok(Fate::Done)
    }

    async fn clear_for_dir(&self, path: &RelPath, old: &Stat, expect: &Expect) -> Result<()> {
        self.make_way(path, expect).await?;
        if !self.keeps_trash() && old.kind != Kind::Dir && !self.do_away(path, old).await? {
            return Err(Error::new(ErrorKind::Stale, "replace", path)
                .detail("it was changed in the last moment, and stays for this round"));
        }
        Ok(())
    }

    /// Reads both sides and compares. At level `ack` a file of the same size and second counts as the
    /// same, as it does for rsync.
    async fn compare(&self, path: &RelPath, source: &Stat, target: &Stat, turn: &mut Turn) -> Result<Fate> {
        if source.kind == Kind::Link {
            let (here, there) =
                futures_util::future::join(self.source.read_link(path), self.target.read_link(path)).await;
            let (here, there) = (here?, there?);
            let equal = here == there;
            turn.link = Some(here).filter(|_| equal);
            return Ok(Fate::Equal(equal));
        }
        let is_alike = source.mtime.to_sftp() == target.mtime.to_sftp();
        if self.level() == Level::Ack && is_alike && !turn.is_known_to_differ() {
            return Ok(Fate::Equal(true));
        }
        let (here, there) = futures_util::future::join(
            self.hash_of(self.source.as_ref(), path, source),
            self.hash_of(self.target.as_ref(), path, target),
        )
        .await;
        let (here, there) = (here?, there?);
        self.tally.verified_bytes(source.size);
        let equal = here.is_some() && here == there;
        turn.proved = here.filter(|_| equal).map(|hash| (hash, Level::Full));
        Ok(Fate::Equal(equal))
    }

    async fn recheck(
        &self,
        path: &RelPath,
        role: Role,
        stat: &Stat,
        hash: Option<&ContentHash>,
        link: Option<&[u8]>,
    ) -> Result<Fate> {
        let same = match (stat.kind, role) {
            (Kind::Link, Role::Source) => Some(self.source.read_link(path).await?.as_slice()) == link,
            (Kind::Link, Role::Target) => Some(self.target.read_link(path).await?.as_slice()) == link,
            (_, Role::Source) => {
                let now = self.hash_of(self.source.as_ref(), path, stat).await?;
                now.is_some() && now.as_ref() == hash
            }
            (_, Role::Target) => {
                let now = self.hash_of(self.target.as_ref(), path, stat).await?;
                now.is_some() && now.as_ref() == hash
            }
        };
        Ok(match role {
            Role::Source => Fate::SourceIsBase(same),
            Role::Target => Fate::TargetIsBase(same),
        })
    }

    /// What a file on one side contains. `None`: it is not the version of that stat any more.
    pub(super) async fn hash_of<X: Tree>(
        &self,
        tree: &X,
        path: &RelPath,
        stat: &Stat,
    ) -> Result<Option<ContentHash>> {
        let file = match tree.open(path).await {
            Ok(file) => Hands::new(file),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Stale) => return Ok(None),
            Err(error) => return Err(error),
        };
        let before = file.first().stat().await?;
        if before.size != stat.size {
            return Ok(None);
        }
        let hash = self.hash_open(&file, stat.size, tree.traits().is_far).await?;
        let after = file.first().stat().await?;
        let steady = crate::entry::same_content(&after, &before) == crate::entry::Sameness::Same;
        Ok(hash.filter(|_| steady))
    }

    async fn set_meta(&self, path: &RelPath, source: &Stat, target: &Stat, turn: &Turn) -> Result<Fate> {
        let there = self.look_at_target(path).await?;
        if there.is_none() || !holds(&Expect::Replace(*target), there.as_ref()) {
            return Ok(Fate::Stale(there));
        }
        let target = self.target.set_meta(path, source.kind, &Meta::from(source)).await?;
        crate::crash::point("metadata: set");
        self.adopt(path);
        let racy = self.is_racy_source(source, turn.looked);
        self.record.content(path, *source, target, turn.content(), racy).await?;
        Ok(Fate::Done)
    }

    /// Both sides are alike: base learns it.
    async fn write_base(&self, path: &RelPath, source: &Stat, target: &Stat, turn: &Turn) -> Result<Fate> {
        self.adopt(path);
        match source.kind {
            Kind::Dir => self.record.folder(path, *source, *target, false).await?,
            Kind::Link => {
                let racy = self.is_racy_source(source, turn.looked);
                let link = turn.link()?;
                self.record.link(path, *source, *target, link, racy).await?;
            }
            Kind::File | Kind::Other => {
                if turn.facts.equal == Some(true) {
                    let level = turn.proved.map_or(Level::Ack, |(_, level)| level);
                    self.tally.count(|c| *c.verified.entry(level).or_default() += 1);
                }
                let racy = self.is_racy_source(source, turn.looked);
                self.record.content(path, *source, *target, turn.content(), racy).await?;
            }
        }
        Ok(Fate::Done)
    }
}

impl Turn {
    /// Where the link at this path was found to point. Never read once more: what base learns is what was
    /// compared.
    fn link(&self) -> Result<Vec<u8>> {
        let of_base = || self.sight.base.as_ref().and_then(|base| base.link.clone());
        self.link.clone().or_else(of_base).ok_or_else(|| {
            Error::new(ErrorKind::Internal, "record the link", &self.sight.path).detail("nobody read it")
        })
    }

    /// Whether the content of a side was read and is not what base knows of both.
    fn is_known_to_differ(&self) -> bool {
        let has_hash = self.sight.base.as_ref().is_some_and(|base| base.hash.is_some());
        has_hash && [self.facts.source_is_base, self.facts.target_is_base].contains(&Some(false))
    }

    /// What is known of a file's content that both sides have.
    fn content(&self) -> Content {
        match (self.proved, self.facts.equal) {
            (Some((hash, level)), _) => Content::Proved(hash, level),
            (None, Some(true)) => Content::Assumed,
            (None, _) => Content::AsInBase,
        }
    }

    /// Takes in what came out, so that the planner can think again.
    fn learn(&mut self, fate: Fate) {
        match fate {
            Fate::Done | Fate::Beside => {}
            Fate::Stale(there) => {
                self.sight.target = there.map_or(Seen::Absent, Seen::Here);
                self.facts.target_is_base = None;
                self.facts.equal = None;
                self.proved = None;
                self.link = None;
            }
            Fate::SourceIs(now) => {
                self.sight.source = now.map_or(Seen::Absent, Seen::Here);
                self.facts = Facts::default();
                self.proved = None;
                self.link = None;
            }
            Fate::Equal(equal) => self.facts.equal = Some(equal),
            Fate::SourceIsBase(same) => self.facts.source_is_base = Some(same),
            Fate::TargetIsBase(same) => self.facts.target_is_base = Some(same),
        }
    }
}
