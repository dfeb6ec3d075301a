//! Pull: the near side follows the far one. Nothing is ever written on the far side, so what is known of
//! its root is what it holds.

use std::sync::Arc;

use futures_util::future::join;

use super::own_files::read_generation;
use super::push::is_in_doubt;
use super::{Attempt, Dial, Near, Preview, Round, local};
use crate::entry::Kind as EntryKind;
use crate::error::{Error, Kind, Result};
use crate::path::RelPath;
use crate::plan::{Ending, Planner};
use crate::scan::{Join, walk};
use crate::transfer::{Engine, staging, stopped};
use crate::tree::Tree;

pub(super) async fn attempt<D: Dial>(round: &Round<D>) -> Result<Attempt> {
    let far = round.reach_source().await?;
    let near = round.open_near_target(true).await?;
    let Some(near) = near else { return Err(round.near_is_lost()) };
    let marked = round.look_at_mark(near.as_ref(), true).await?;
    let rules = round.rules(marked.in_doubt);
    let looked = staging::look(near.as_ref(), &round.agent).await;
    let parts = round.parts(far.clone(), near.clone());
    let mut engine = Engine::prepare(parts, round.options(rules), looked).await?;
    let result = run(round, &far, &near, &mut engine, &marked).await;
    if result.is_err() {
        engine.wind_up().await;
    }
    result
}

async fn run<D: Dial>(
    round: &Round<D>,
    far: &Arc<D::Far>,
    near: &Arc<D::Near>,
    engine: &mut Engine<D::Far, D::Near>,
    marked: &Marked,
) -> Result<Attempt> {
    let (from, to) = (walk(far.clone(), round.skip()), walk(near.clone(), round.skip()));
    let mut sights = Join::new(from, round.pages(), Some(to));
    let mut planner = Planner::new(round.rules(marked.in_doubt));
    while let Some(sight) = sights.next().await? {
        round.tell_seen(sights.seen(), false);
        if round.must_stop() {
            return Err(stopped());
        }
        for action in planner.next(&sight) {
            round.tell_planned(&action);
            engine.submit(&sight, action).await?;
        }
    }
    round.tell_seen(sights.seen(), true);
    sights.problems().into_iter().for_each(|problem| round.tally.problem(problem));
    end(round, near, engine, planner.finish(), marked).await
}

async fn end<D: Dial>(
    round: &Round<D>,
    near: &Arc<D::Near>,
    engine: &mut Engine<D::Far, D::Near>,
    ending: Ending,
    marked: &Marked,
) -> Result<Attempt> {
    if ending.deletes() > 0 {
        round.guard_place(near)?;
    }
    engine.drain().await?;
    let mark = engine.has_changed() || !ending.removals.is_empty() || marked.in_doubt;
    let raised = round.mark(near.as_ref(), marked.generation, mark);
    let (closing, raised) = join(round.close(engine, ending), raised).await;
    let closing = closing?;
    raised?;
    if closing.again {
        return Ok(Attempt::Again { look: false });
    }
    round.sweep(near.as_ref(), true).await?;
    Ok(Attempt::Done(closing.held))
}

/// The same walks and plan, shown instead of done.
pub(super) async fn preview<D: Dial>(round: &Round<D>, show: &mut dyn Preview) -> Result<()> {
    let far = round.reach_source().await?;
    let near = round.open_near_target(false).await?;
    let in_doubt = match &near {
        Some(near) => round.look_at_mark(near.as_ref(), false).await?.in_doubt,
        None => false,
    };
    let near_walk = near.map(|near| walk(near, round.skip()));
    let mut sights = Join::new(walk(far, round.skip()), round.pages(), near_walk);
    let mut planner = Planner::new(round.rules(in_doubt));
    while let Some(sight) = sights.next().await? {
        planner.next(&sight).iter().for_each(|action| show.action(action));
    }
    round.show_ending(planner.finish(), show).await
}

/// What the near root says of how often this agent changed it.
struct Marked {
    generation: i64,
    /// The journal does not know of all those changes, so it is an old one: delete nothing.
    in_doubt: bool,
}

impl<D: Dial> Round<D> {
    async fn look_at_mark(&self, near: &D::Near, make: bool) -> Result<Marked> {
        let generation = read_generation(near, &self.agent).await?.unwrap_or(0);
        let in_doubt = is_in_doubt(&self.state().await?, generation);
        if in_doubt && make && !self.has_base().await? {
            let (journal, job) = (&self.context.journal, self.context.job);
            journal.update_job_state(job, move |state| state.generation = generation).await?;
        }
        Ok(Marked { generation, in_doubt: in_doubt && self.has_base().await? })
    }

    /// Connects, and makes sure that the far root is there and holds something of what base remembers.
    async fn reach_source(&self) -> Result<Arc<D::Far>> {
        let far = self.reach().await?;
        let root = self.spec.far_name();
        let has_base = self.has_base().await?;
        match far.stat(&RelPath::root()).await? {
            Some(stat) if stat.kind == EntryKind::Dir => {}
            Some(stat) => {
                return Err(Error::new(Kind::Unreachable, "pull", &root)
                    .detail(format!("it is a {}, not a folder", stat.kind.describe())));
            }
            None if has_base && !self.accepts_roots() => {
                return Err(self.halt(&root, "it does not exist any more".into()));
            }
            None => return Err(local::unreachable(Error::new(Kind::NotFound, "pull", &root))),
        }
        self.guard_root(far.as_ref(), &root, None, None).await?;
        Ok(far)
    }

    /// Opens the near root; makes it where it was never there, or where a person said that it is meant to
    /// be new. `None`: it is missing and was not made, because nothing is to be changed or base knows it.
    async fn open_near_target(&self, make: bool) -> Result<Option<Arc<D::Near>>> {
        let state = self.state().await?;
        let may_make = make && (!self.has_base().await? || self.accepts_roots());
        let near = match self.dial.open_near(&self.spec.local) {
            Ok(near) => near,
            Err(error) if error.kind() != Kind::NotFound => return Err(error),
            Err(_) if may_make => self.dial.make_near(&self.spec.local)?,
            Err(_) => return Ok(None),
        };
        let now = near.identity()?;
        self.guard_root(&near, &self.spec.local.to_string(), state.near_root, Some(now)).await?;
        if make {
            self.remember_near(&near).await?;
        }
        Ok(Some(Arc::new(near)))
    }

    pub(super) fn near_is_lost(&self) -> Error {
        self.halt(&self.spec.local.to_string(), "it does not exist any more".into())
    }
}
