//! Push: the far side follows the near one.
//!
//! The far side is connected to only when there is something to do there, or when it is time to look
//! at it as a whole: nothing is known of it yet, the last look is too long ago, or something about the
//! last rounds is in doubt.

use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{Either, join, join3, join4, select};

use super::naming::{Name, Reached};
use super::own_files::{Writer, read_generation, read_root_id, write_generation};
use super::scope::PlacePages;
use super::{Attempt, Dial, Near, Preview, Round, base, local};
use crate::error::{Kind, Result};
use crate::id::Token;
use crate::journal::JobState;
use crate::path::RelPath;
use crate::plan::guard::{FarRoot, FarVerdict, check_far_root};
use crate::plan::{Action, Ending, Planner, Sight};
use crate::scan::{BasePages, Join, Spots, Visits, Walk, walk};
use crate::transfer::{Engine, Folders, staging, stopped};
use crate::tree::space::explain_space;
use crate::tree::{Tree, own};

/// One attempt: the near side, and the far side from when it is needed.
struct Push<'a, D: Dial> {
    round: &'a Round<D>,
    near: Arc<D::Near>,
    looks: bool,
    far: Option<Engaged<D>>,
    /// Whether the connection is one on which the last round ended in order.
    goes_on: bool,
    /// Whether anything was begun that changes what folders of the target contain.
    changes: bool,
}

/// A far side that work was begun on.
type Engaged<D> = (Reached<D>, Engine<<D as Dial>::Near, <D as Dial>::Far>);

pub(super) async fn attempt<D: Dial>(round: &Round<D>, look: bool) -> Result<Attempt> {
    let near = round.open_near_source().await?;
    let looks = look || round.must_look().await?;
    let mut push = Push { round, near, looks, far: None, goes_on: false, changes: false };
    let result = push.run().await;
    if let (Err(_), Some((_, engine))) = (&result, &mut push.far) {
        engine.wind_up().await;
        if engine.is_void() && !round.must_stop() && !round.tally.has_ended() {
            tracing::info!("the far side is not as the last round left it: looking again from the start");
            return Ok(Attempt::Again { look });
        }
    }
    result
}

/// Whether the far root is still the one that the last round over this connection left. What keeps us from
/// seeing that is found again by the look from the start.
async fn is_as_left<T: Tree>(far: Arc<T>, agent: Token, state: JobState) -> Result<bool> {
    let root = RelPath::root();
    let (stat, id, generation) =
        join3(far.stat(&root), read_root_id(far.as_ref()), read_generation(far.as_ref(), &agent)).await;
    let (Ok(Some(_)), Ok(Some(id)), Ok(generation)) = (stat, id, generation) else { return Ok(false) };
    Ok(state.far_root == Some(id) && !is_in_doubt(&state, generation.unwrap_or(0)))
}

/// The same walk and plan, shown instead of done.
pub(super) async fn preview<D: Dial>(round: &Round<D>, show: &mut dyn Preview) -> Result<()> {
    let near = round.open_near_source().await?;
    let looks = round.must_look().await? || round.accepts_roots(); // who says so may mean another root
    let reached = if looks { Some(round.reach_root(false).await?) } else { None };
    let in_doubt = reached.as_ref().is_some_and(|r| r.in_doubt);
    let far_walk = match &reached {
        Some(reached) if !reached.is_empty => Some(walk(reached.far.clone(), round.skip())),
        _ => None,
    };
    let pages = match &reached {
        Some(reached) if reached.starts_over => round.no_pages(),
        _ => round.pages(),
    };
    let mut sights = Join::new(walk(near, round.skip()), pages, far_walk);
    let mut planner = Planner::new(round.rules(in_doubt));
    while let Some(sight) = sights.next().await? {
        planner.next(&sight).iter().for_each(|action| show.action(action));
    }
    round.show_ending(planner.finish(), show).await
}

impl<D: Dial> Push<'_, D> {
    async fn run(&mut self) -> Result<Attempt> {
        let round = self.round;
        if self.looks {
            self.engage().await?;
        }
        let in_doubt = self.far.as_ref().is_some_and(|(reached, _)| reached.in_doubt);
        let looked_at = self.far.as_ref().filter(|(reached, _)| !reached.is_empty);
        let far_walk = looked_at.map(|(reached, _)| walk(reached.far.clone(), round.skip()));
        if let (Some(changes), None) = (&round.spec.changes, &far_walk) {
            let places = round.places(self.near.as_ref(), changes).await?;
            let (journal, job) = (round.context.journal.clone(), round.context.job);
            let pages = PlacePages::new(journal, job, round.spec.mode, &places);
            let spots = Spots::new(self.near.clone(), round.skip_with_parents(), places);
            return self.go(Join::new(spots, pages, far_walk), in_doubt).await;
        }
        let near_walk = walk(self.near.clone(), round.skip());
        self.go(Join::new(near_walk, round.pages(), far_walk), in_doubt).await
    }

    async fn go<V: Visits, P: BasePages>(
        &mut self,
        mut sights: Join<V, P, Walk<D::Far>>,
        in_doubt: bool,
    ) -> Result<Attempt> {
        let round = self.round;
        let mut planner = Planner::new(round.rules(in_doubt));
        while let Some(sight) = sights.next().await? {
            round.tell_seen(sights.seen(), false);
            if round.must_stop() {
                return Err(stopped());
            }
            for action in planner.next(&sight) {
                if !self.begin(&sight, action).await? {
                    return Ok(Attempt::Again { look: true });
                }
            }
        }
        round.tell_seen(sights.seen(), true);
        sights.problems().into_iter().for_each(|problem| round.tally.problem(problem));
        self.end(planner.finish()).await
    }

    /// Begins an action: here if that suffices, else at the far side. `false`: the far side turned out
    /// to need a look as a whole.
    async fn begin(&mut self, sight: &Sight, action: Action) -> Result<bool> {
        let actions = match self.far {
            Some(_) => vec![action],
            None => local::perform(self.round, &self.near, sight, action).await?,
        };
        for action in actions {
            if !self.engage().await? {
                return Ok(false);
            }
            self.changes |= action.changes_folder();
            self.round.tell_planned(&action);
            if let Some((_, engine)) = &mut self.far {
                engine.submit(sight, action).await?;
            }
        }
        Ok(true)
    }

    async fn end(&mut self, ending: Ending) -> Result<Attempt> {
        let round = self.round;
        if ending.deletes() > 0 {
            round.guard_place(&self.near)?;
        }
        if needs_target(&ending) && !round.would_hold_all(&ending).await? && !self.engage().await? {
            return Ok(Attempt::Again { look: true });
        }
        let Some((reached, engine)) = &mut self.far else {
            round.remember_near(&self.near).await?;
            return round.close_unconnected(&ending).await;
        };
        engine.checked().await?;
        let (far, generation, in_doubt) = (reached.far.clone(), reached.generation, reached.in_doubt);
        let sure = !ending.removals.is_empty() || in_doubt || (self.goes_on && self.changes);
        let places = engine.places();
        let sure = async {
            if !sure {
                places.await
            }
        };
        let raise = round.raise_generation(far.as_ref(), generation);
        // Beside the files, once there surely is something to mark: the next round waits for all of it.
        let (closing, marked) = beside(round.close(engine, ending), sure, raise).await;
        let closing = closing?;
        match marked {
            Some(Ok(())) => {}
            // Beside the files there may have been no room for it.
            Some(Err(error)) if error.kind().ends_round() => return Err(error),
            Some(Err(_)) => round.mark(far.as_ref(), generation, true).await?,
            None => round.mark(far.as_ref(), generation, in_doubt || engine.has_changed()).await?,
        }
        if self.looks {
            round.remember_audit().await?;
        }
        if closing.again {
            return Ok(Attempt::Again { look: false });
        }
        round.sweep(reached.far.as_ref(), self.looks && !reached.is_new).await?;
        round.dial.settled(engine.stages_inside());
        Ok(Attempt::Done(closing.held))
    }

    /// Connects, if that has not been done. `false`: what was found needs a look as a whole, and this
    /// attempt did not begin with one.
    async fn engage(&mut self) -> Result<bool> {
        if self.far.is_some() {
            return Ok(true);
        }
        let far = self.round.reach().await?;
        if !self.looks && self.round.dial.is_settled() && self.has_nothing_staged().await? {
            return self.go_on(far).await.map(|()| true);
        }
        let (mut reached, naming) = self.round.look_at_root(far, true).await?;
        self.round.remember_near(&self.near).await?;
        if !self.looks && (reached.in_doubt || reached.is_new) {
            return Ok(false);
        }
        let round = self.round;
        let (parts, rules) =
            (round.parts(self.near.clone(), reached.far.clone()), round.rules(reached.in_doubt));
        let looked = std::mem::replace(&mut reached.staged, Ok(None));
        let mut engine = Engine::prepare(parts, round.options(rules), looked).await?;
        if reached.is_new || !round.has_synced_all().await? {
            // Without it, what a power cut leaves would be taken for another root.
            [own::folder(), own::root_file()].iter().for_each(|path| engine.note_found(path));
        }
        if let Some(naming) = naming {
            engine.check_beside(Folders::May, naming);
        }
        self.far = Some((reached, engine));
        Ok(true)
    }

    /// Whether no earlier round left a staged file that is to be gone on with: those are fenced first.
    async fn has_nothing_staged(&self) -> Result<bool> {
        let context = &self.round.context;
        Ok(context.journal.transfers(context.job).await?.is_empty())
    }

    /// Over a connection on which the last round ended in order, work begins while the root is looked at.
    async fn go_on(&mut self, far: Arc<D::Far>) -> Result<()> {
        let round = self.round;
        round.remember_near(&self.near).await?;
        let state = round.state().await?;
        let generation = state.generation;
        let parts = round.parts(self.near.clone(), far.clone());
        let check = is_as_left(far.clone(), round.agent.clone(), state);
        let mut engine = Engine::prepare_again(parts, round.options(round.rules(false))).await?;
        engine.check_beside(Folders::Wait, check);
        let known = Reached::known(far, generation, Ok(None), false);
        self.far = Some((known, engine));
        self.goes_on = true;
        Ok(())
    }
}

/// Does one thing, and beside it another one, if that is `sure` to be wanted before the first has ended.
async fn beside<A, B>(
    main: impl Future<Output = A>,
    sure: impl Future<Output = ()>,
    other: impl Future<Output = B>,
) -> (A, Option<B>) {
    let main = pin!(main);
    match select(main, pin!(sure)).await {
        Either::Left((main, _)) => (main, None),
        Either::Right(((), main)) => {
            let (main, other) = join(main, other).await;
            (main, Some(other))
        }
    }
}

/// Whether the journal is not the one that changed the target last.
pub(super) fn is_in_doubt(state: &JobState, generation: i64) -> bool {
    generation != state.generation && Some(generation) != state.pending_generation
}

/// The next generation is about to be written to a target that says `found`. If an earlier round wrote that
/// and did not live to note it, it is noted now: this round may not live to it either.
fn pend(state: &mut JobState, found: i64) {
    if state.pending_generation == Some(found) {
        state.generation = found;
    }
    state.pending_generation = Some(state.generation.max(found) + 1);
}

fn needs_target(ending: &Ending) -> bool {
    !ending.removals.is_empty()
        || !ending.after_removals.is_empty()
        || ending.folders.iter().any(|f| f.certain)
}

impl<D: Dial> Round<D> {
    /// Opens the near root and makes sure that it is the one that base was made with.
    async fn open_near_source(&self) -> Result<Arc<D::Near>> {
        let near = self.dial.open_near(&self.spec.local);
        let near = match near {
            Ok(near) => Arc::new(near),
            Err(error) if error.kind() == Kind::NotFound && self.has_base().await? => {
                return Err(self.near_is_lost());
            }
            Err(error) => return Err(local::unreachable(error)),
        };
        let state = self.state().await?;
        let now = near.identity()?;
        self.guard_root(near.as_ref(), &self.spec.local.to_string(), state.near_root, Some(now)).await?;
        Ok(near)
    }

    pub(super) async fn has_base(&self) -> Result<bool> {
        Ok(!self.context.journal.base_is_empty(self.context.job).await?)
    }

    /// Whether the far side must be looked at as a whole.
    async fn must_look(&self) -> Result<bool> {
        let state = self.state().await?;
        let audit =
            self.spec.audit.map_or(i64::MAX, |audit| i64::try_from(audit.as_secs()).unwrap_or(i64::MAX));
        let fresh = state.last_audit.is_some_and(|last| {
            let age = self.context.clock.now().secs - last.secs;
            (0..audit).contains(&age)
        });
        Ok(!fresh
            || state.pending_generation.is_some()
            || !self.has_base().await?
            || !self.context.journal.intents(self.context.job).await?.is_empty()
            || (self.spec.durable && !self.context.journal.is_synced(self.context.job).await?))
    }

    /// Whether a round with something to carry has come to its end, and what rounds placed is durable.
    async fn has_synced_all(&self) -> Result<bool> {
        Ok(self.has_base().await? && self.context.journal.is_synced(self.context.job).await?)
    }

    /// The near root from now on, once anything can be agreed on with it.
    pub(super) async fn remember_near(&self, near: &D::Near) -> Result<()> {
        let now = near.identity()?;
        let (journal, job) = (&self.context.journal, self.context.job);
        journal.update_job_state(job, move |state| state.near_root = Some(now)).await?;
        crate::crash::point("root: near one remembered");
        Ok(())
    }

    /// Connects, and makes sure that the far root is the one that base was made with. A new one gets
    /// its id if `make` is set.
    async fn reach_root(&self, make: bool) -> Result<Reached<D>> {
        let far = self.reach().await?;
        Ok(self.look_at_root(far, make).await?.0)
    }

    /// The same once connected.
    async fn look_at_root(&self, far: Arc<D::Far>, make: bool) -> Result<(Reached<D>, Option<Name>)> {
        let state = self.state().await?;
        let root = RelPath::root();
        let (stat, id, generation, staged) = join4(
            far.stat(&root),
            read_root_id(far.as_ref()),
            read_generation(far.as_ref(), &self.agent),
            staging::look(far.as_ref(), &self.agent),
        )
        .await;
        let found = match stat? {
            None => FarRoot::Missing,
            Some(_) => id?.map_or(FarRoot::Unnamed, FarRoot::Named),
        };
        let generation = if found == FarRoot::Missing { 0 } else { generation?.unwrap_or(0) };
        let has_base = self.has_base().await?;
        let root = self.spec.far_name();
        let verdict = check_far_root(&root, state.far_root.as_ref(), has_base, found.clone());
        match verdict {
            FarVerdict::Same => {
                let in_doubt = is_in_doubt(&state, generation);
                Ok((Reached::known(far, generation, staged, in_doubt), None))
            }
            FarVerdict::Halt { why } if !self.accepts_roots() => Err(self.halt(&root, why)),
            FarVerdict::Halt { .. } => {
                self.start_over(make).await?;
                let (reached, naming) = self.name_root(far, found, generation, staged, make).await?;
                Ok((Reached { starts_over: true, ..reached }, naming))
            }
            FarVerdict::Name | FarVerdict::Remember(_) => {
                self.name_root(far, found, generation, staged, make).await
            }
        }
    }

    /// A person said that this root is meant: what was agreed with another one counts no more.
    async fn start_over(&self, make: bool) -> Result<()> {
        if make {
            let (journal, job) = (&self.context.journal, self.context.job);
            journal.forget_base_under(job, &RelPath::root()).await?;
            journal.update_job_state(job, |state| state.far_root = None).await?;
        }
        Ok(())
    }

    fn writer(&self) -> Writer<'_> {
        Writer {
            agent: &self.agent,
            random: self.context.random.as_ref(),
            now: self.context.clock.now(),
            durable: self.spec.durable,
        }
    }

    /// Raises the generation at the target, found as `generation`, in a round that changes something there. A
    /// failure is a problem: the generation stays pending, so that the next round looks at the whole; files
    /// need not wait for it.
    pub(super) async fn mark<T: Tree>(&self, target: &T, generation: i64, changes: bool) -> Result<()> {
        if !changes {
            return Ok(());
        }
        match self.raise_generation(target, generation).await {
            Err(error) if !error.kind().ends_round() => {
                let error = explain_space(target, error).await;
                self.tally.failed(&own::agent_file(&self.agent), error);
                Ok(())
            }
            result => result,
        }
    }

    async fn raise_generation<T: Tree>(&self, target: &T, generation: i64) -> Result<()> {
        let (journal, job) = (&self.context.journal, self.context.job);
        let state = journal.update_job_state(job, move |state| pend(state, generation)).await?;
        let next = state.pending_generation.unwrap_or(generation);
        crate::crash::point("generation: pending");
        write_generation(target, next, generation == 0, &self.writer()).await?;
        crate::crash::point("generation: placed");
        let arrived = move |state: &mut JobState| {
            state.generation = next;
            state.pending_generation = None;
        };
        journal.update_job_state(job, arrived).await?;
        crate::crash::point("generation: recorded");
        Ok(())
    }

    /// The far side was looked at as a whole just now.
    async fn remember_audit(&self) -> Result<()> {
        let now = self.context.clock.now();
        let (journal, job) = (&self.context.journal, self.context.job);
        journal.update_job_state(job, move |state| state.last_audit = Some(now)).await.map(drop)
    }

    /// Whether there are no more than removals to do, and those would be held.
    async fn would_hold_all(&self, ending: &Ending) -> Result<bool> {
        let only_removals = !ending.folders.iter().any(|f| f.certain);
        Ok(only_removals && self.guard_deletes(ending.deletes()).await?.is_some())
    }

    /// Ends a round that had nothing to do at the far side.
    async fn close_unconnected(&self, ending: &Ending) -> Result<Attempt> {
        self.context.journal.flush().await?;
        let held = self.guard_deletes(ending.deletes()).await?;
        if held.is_some() {
            self.tally.count(|c| c.held = ending.deletes());
        }
        self.count(ending);
        Ok(Attempt::Done(held))
    }

    pub(super) async fn show_ending(&self, ending: Ending, show: &mut dyn Preview) -> Result<()> {
        if let Some(message) = self.guard_deletes(ending.deletes()).await? {
            show.held(&message);
        }
        ending.removals.iter().for_each(|removal| show.removal(removal));
        ending.after_removals.iter().for_each(|action| show.action(action));
        self.count(&ending);
        Ok(())
    }

    /// Base, page by page.
    pub(super) fn pages(&self) -> base::Pages {
        base::Pages::new(self.context.journal.clone(), self.context.job, self.spec.mode)
    }

    /// A base that knows nothing.
    fn no_pages(&self) -> base::Pages {
        self.pages().none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_rounds_cut_off_about_the_generation_leave_no_doubt() {
        let mut state = JobState { generation: 1, ..JobState::default() };
        pend(&mut state, 1);
        assert_eq!(state.pending_generation, Some(2));
        assert!(!is_in_doubt(&state, 1), "cut off before it was written");
        assert!(!is_in_doubt(&state, 2), "cut off after it was written");
        pend(&mut state, 2);
        assert!(!is_in_doubt(&state, 2), "cut off before it was written, for the second time");
        assert!(!is_in_doubt(&state, 3), "cut off after it was written, for the second time");
        for unknown in [1, 4] {
            assert!(is_in_doubt(&state, unknown), "{unknown}");
        }
        // Doubt that was there stays until the generation was raised.
        pend(&mut state, 7);
        assert!(is_in_doubt(&state, 7));
    }
}
