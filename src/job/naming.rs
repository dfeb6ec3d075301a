//! The far root as a push finds it, and giving one that has none its id, while the first files are on their way.

use std::future::ready;
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{BoxFuture, Either, join, select};

use super::own_files::{Writer, write_root_id};
use super::{Dial, Round};
use crate::clock::Random;
use crate::entry::{Listing, Time};
use crate::error::Result;
use crate::id::{JobId, RoundId, Token};
use crate::journal::Journal;
use crate::plan::guard::FarRoot;
use crate::tree::{Tree, own};

/// Gives a root the id that it has not; nothing is placed before it has.
pub(super) type Name = BoxFuture<'static, Result<bool>>;

/// The far side as an attempt found it.
pub(super) struct Reached<D: Dial> {
    pub far: Arc<D::Far>,
    /// How often this agent changed this root, as it says there itself.
    pub generation: i64,
    /// What is in this agent's staging folder; `None`: there is none.
    pub staged: Result<Option<Listing>>,
    /// Its root is new to us, so that nothing in it can be ours.
    pub is_new: bool,
    /// There was no root, so nothing need be looked for in it.
    pub is_empty: bool,
    /// A person said that it is meant though base was made with another one: base counts no more.
    pub starts_over: bool,
    /// What the journal says of it cannot be relied on: look at it as a whole, delete nothing.
    pub in_doubt: bool,
}

impl<D: Dial> Reached<D> {
    /// A root that this job has worked with before.
    pub fn known(far: Arc<D::Far>, generation: i64, staged: Result<Option<Listing>>, in_doubt: bool) -> Self {
        let (is_new, is_empty, starts_over) = (false, false, false);
        Self { far, generation, staged, is_new, is_empty, starts_over, in_doubt }
    }
}

impl<D: Dial> Round<D> {
    /// A root that this job has not worked with: where it is nobody's yet, it is made, and its id is still to be
    /// written.
    pub(super) async fn name_root(
        &self,
        far: Arc<D::Far>,
        found: FarRoot,
        generation: i64,
        staged: Result<Option<Listing>>,
        make: bool,
    ) -> Result<(Reached<D>, Option<Name>)> {
        let is_empty = found == FarRoot::Missing;
        let reached = Reached { is_empty, is_new: true, ..Reached::known(far, generation, staged, false) };
        match found {
            FarRoot::Named(_) if !make => Ok((Reached { is_new: false, in_doubt: true, ..reached }, None)),
            _ if !make => Ok((Reached { in_doubt: true, ..reached }, None)),
            FarRoot::Named(id) => {
                remember(&self.context.journal, self.context.job, id, generation).await?;
                Ok((reached, None))
            }
            FarRoot::Missing | FarRoot::Unnamed => {
                reached.far.expect_much();
                let id = self.new_root_id().await?;
                let naming = Box::pin(self.naming(reached.far.clone(), id, generation).run());
                self.prepare_root(reached, naming).await
            }
        }
    }

    /// Makes the root and our folders in it, all asked for at once where the far side works in order. There the
    /// naming begins behind them, unless there is something in the staging folder, whose sweep it must not meet.
    async fn prepare_root(&self, reached: Reached<D>, naming: Name) -> Result<(Reached<D>, Option<Name>)> {
        let far = reached.far.clone();
        let begins = far.traits().in_order && matches!(reached.staged, Ok(None));
        let (is_new, naming) = match begins {
            true => beside(self.make_folders(&far, reached.is_empty), naming).await,
            false => (self.make_folders(&far, reached.is_empty).await, naming),
        };
        let (staged, naming): (_, Name) = match is_new? {
            true => (Ok(Some(Listing::default())), naming),
            false if begins => (reached.staged, Box::pin(ready(naming.await))),
            false => (reached.staged, naming),
        };
        Ok((Reached { staged, ..reached }, Some(naming)))
    }

    /// Makes the root and our folders in it. Returns whether the staging folder is new; why it could not be made
    /// is found out by whoever stages in it.
    async fn make_folders(&self, far: &D::Far, is_missing: bool) -> Result<bool> {
        let folders = own::staging_folders(&self.agent);
        let root = async { if is_missing { far.make_root().await } else { Ok(()) } };
        let (root, made) = join(root, own::make_folders(far, &folders)).await;
        root?;
        crate::crash::point("root: made");
        Ok(made.unwrap_or(false))
    }

    /// What is left to do for a root without an id, beside the first files.
    fn naming(&self, far: Arc<D::Far>, id: Token, generation: i64) -> Naming<D::Far> {
        let (journal, job) = (self.context.journal.clone(), self.context.job);
        let (agent, random) = (self.agent.clone(), self.context.random.clone());
        let (now, durable) = (self.context.clock.now(), self.spec.durable);
        Naming { far, id, generation, journal, job, round: self.id, agent, random, now, durable }
    }

    /// The id that a root without one shall get. The journal knows it first: a rename that was cut off may
    /// still put it there, and must not meet another one of ours.
    async fn new_root_id(&self) -> Result<Token> {
        if self.has_base().await? {
            return Ok(Token::draw(self.context.random.as_ref()));
        }
        let drawn = Token::draw(self.context.random.as_ref());
        let (journal, job, id) = (&self.context.journal, self.context.job, drawn.clone());
        let state = journal
            .update_job_state(job, move |state| {
                state.far_root.get_or_insert(id);
            })
            .await?;
        Ok(state.far_root.unwrap_or(drawn))
    }
}

/// What naming takes. The staging folder must be there, or be made.
struct Naming<T> {
    far: Arc<T>,
    /// The id it gets, unless somebody names it at the same time.
    id: Token,
    /// How often this agent changed this root.
    generation: i64,
    journal: Journal,
    job: JobId,
    round: RoundId,
    agent: Token,
    random: Arc<dyn Random>,
    now: Time,
    durable: bool,
}

impl<T: Tree> Naming<T> {
    /// Names the root and remembers it. Always `true`: whatever its id is, this is the root.
    async fn run(self) -> Result<bool> {
        let (agent, random, now, durable) = (&self.agent, self.random.as_ref(), self.now, self.durable);
        let writer = Writer { agent, random, now, durable };
        self.journal.places(self.job, self.round).await?; // until it is durable, each round sees to that
        let id = write_root_id(self.far.as_ref(), &self.id, &writer).await?;
        remember(&self.journal, self.job, id, self.generation).await?;
        Ok(true)
    }
}

/// The journal knows the root of this job from now on, with what it says of our changes to it.
async fn remember(journal: &Journal, job: JobId, id: Token, generation: i64) -> Result<()> {
    journal
        .update_job_state(job, move |state| {
            state.far_root = Some(id);
            state.generation = generation;
            state.pending_generation = None;
        })
        .await?;
    crate::crash::point("root: remembered");
    Ok(())
}

/// Does one thing to its end, and of another one as much as can be done meanwhile.
async fn beside<A: Future, B: Send + 'static>(
    first: A,
    other: BoxFuture<'static, B>,
) -> (A::Output, BoxFuture<'static, B>) {
    match select(pin!(first), other).await {
        Either::Left((first, other)) => (first, other),
        Either::Right((other, first)) => (first.await, Box::pin(ready(other))),
    }
}
