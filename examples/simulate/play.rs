//! One seed from its first file to its rest.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use highwater::clock::SeededRandom;
use highwater::entry::Kind;
use highwater::hash::Level;
use highwater::outcome::{Ending, Mode, Outcome};
use highwater::path::RelPath;
use highwater::tree::Tree;

use crate::look;
use crate::machine::{Machine, seed_of};
use crate::oracle::Rest;
use crate::random::{Random, mix};
use crate::settings::{AUDIT, Settings};
use crate::trace::Trace;
use crate::weather::Weather;
use crate::world::{Side, World};

/// After so many quiet rounds everything must be at rest.
const QUIET_ROUNDS: u64 = 8;

/// What came of a seed.
pub struct Played {
    /// Of its trace.
    pub hash: u64,
    /// Lines of its trace.
    pub lines: u64,
    /// What came up, by name.
    pub counts: BTreeMap<&'static str, u64>,
    /// What must not be.
    pub broken: Option<String>,
}

/// Plays a seed; the journal's files lie below `scratch`.
pub fn play(seed: u64, scratch: &Path, shows: bool) -> Played {
    let mut random = Random::new(mix(seed));
    let settings = Settings::draw(&mut random);
    run(seed, settings, random, scratch, shows, async |story| story.tell().await)
}

/// Plays a quiet round, then one in this weather, then brings everything to rest.
#[cfg(test)]
pub fn play_one(seed: u64, settings: Settings, weather: Weather, scratch: &Path) -> Played {
    let random = Random::new(mix(seed));
    run(seed, settings, random, scratch, false, async |story| {
        story.begin();
        story.quiet_round(false).await?;
        (0..4).for_each(|_| story.world.edit());
        if story.round(weather.clone(), false).await?.is_none() {
            story.machine.die(false).await.map_err(|e| e.to_string())?;
        }
        story.calm_down().await
    })
}

/// Plays a quiet round, loses the mark by which the journal knows that the target is as it left it, removes
/// everything from the source and brings that to rest.
#[cfg(test)]
pub fn play_without_mark(seed: u64, settings: Settings, scratch: &Path) -> Played {
    let random = Random::new(mix(seed));
    run(seed, settings, random, scratch, false, async |story| {
        story.begin();
        story.quiet_round(false).await?;
        let target = story.world.side(story.world.target());
        let agents = RelPath::parse(&b".highwater/agents"[..]).expect("it is a path");
        let marks = look::below(target, &agents, true);
        let lost = |mark| look::now(target.remove_file(mark)).is_ok();
        if !marks.keys().any(lost) {
            return Err("there was no mark".into());
        }
        story.world.clear();
        story.calm_down().await
    })
}

fn run(
    seed: u64,
    settings: Settings,
    mut random: Random,
    scratch: &Path,
    shows: bool,
    tell: impl AsyncFnOnce(&mut Story) -> Result<(), String>,
) -> Played {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime can be made");
    runtime.block_on(async {
        let mut trace = Trace::new(shows);
        trace.line(0, &format!("seed {seed}: {settings:?}"));
        let machine_seed = seed_of(&mut random);
        let world = World::new(settings, random, trace);
        let machine = Machine::new(&world, scratch, machine_seed);
        let mut story = Story { world, machine: machine.expect("there is room for a journal") };
        let told = tell(&mut story).await;
        story.played(told.err())
    })
}

/// The same, when it panics too.
pub fn play_safely(seed: u64, scratch: &Path, shows: bool) -> Played {
    catch_unwind(AssertUnwindSafe(|| play(seed, scratch, shows))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let broken = Some(format!("panicked: {}", text.unwrap_or_default()));
        Played { hash: 0, lines: 0, counts: BTreeMap::new(), broken }
    })
}

struct Story {
    world: Arc<World>,
    machine: Machine,
}

impl Story {
    fn played(&self, error: Option<String>) -> Played {
        let state = self.world.lock();
        Played {
            hash: state.trace.hash(),
            lines: state.trace.lines(),
            counts: state.counts.clone(),
            broken: state.oracle.broken.clone().or(error),
        }
    }

    async fn tell(&mut self) -> Result<(), String> {
        self.begin();
        for _ in 0..self.world.settings.rounds {
            self.between_rounds().await?;
            self.stormy_round().await?;
            if self.world.lock().oracle.broken.is_some() {
                return Ok(());
            }
        }
        self.calm_down().await
    }

    /// What is there before the first round.
    fn begin(&self) {
        let files = self.draw(|random| random.between(2, 12));
        (0..files).for_each(|_| self.world.edit());
        if self.world.settings.is_many {
            self.world.fill(40);
        }
    }

    fn draw<R>(&self, draw: impl FnOnce(&mut Random) -> R) -> R {
        draw(&mut self.world.lock().random)
    }

    async fn between_rounds(&mut self) -> Result<(), String> {
        let secs = self.draw(|random| *random.pick(&[0, 1, 5, 600, 9_000, 90_000]));
        tokio::time::sleep(Duration::from_secs(secs)).await;
        let edits = self.draw(|random| random.below(7));
        (0..edits).for_each(|_| self.world.edit());
        if self.world.settings.is_many && self.draw(|random| random.chance(30)) {
            self.world.clear();
        }
        match self.draw(|random| random.below(100)) {
            0..4 => self.machine.save().await.map_err(|e| e.to_string())?,
            4..7 => {
                self.machine.restore().await.map_err(|e| e.to_string())?;
                self.world.count("old journals");
            }
            7..15 => self.machine.stop().await.map_err(|e| e.to_string())?,
            15..19 => self.show_stranger(),
            _ => {}
        }
        Ok(())
    }

    /// Another folder stands in the place of one of the roots.
    fn show_stranger(&self) {
        let near = self.draw(|random| random.chance(50));
        let shown = if near { &self.world.strange_near } else { &self.world.strange_far };
        shown.store(true, Ordering::Relaxed);
        self.world.lock().oracle.journal_forgot(); // it may be that the first round makes friends with it
        self.world.say(if near { "another near root" } else { "another far root" });
        self.world.count("strange roots");
    }

    async fn stormy_round(&mut self) -> Result<(), String> {
        let settings = self.world.settings.clone();
        let (weather, accepts) = self.draw(|random| {
            (Weather::draw(random, &settings), random.chance(if settings.is_many { 20 } else { 4 }))
        });
        // Who says go on while another folder is shown means that folder.
        let is_strange = self.is_strange();
        let outcome = self.round(weather, accepts && !is_strange).await?;
        if is_strange {
            self.judge_stranger(outcome.as_ref());
            self.world.strange_near.store(false, Ordering::Relaxed);
            self.world.strange_far.store(false, Ordering::Relaxed);
        }
        self.maybe_cut_power(outcome.is_none()).await
    }

    fn is_strange(&self) -> bool {
        self.world.is_strange(Side::Near) || self.world.is_strange(Side::Far)
    }

    fn judge_stranger(&self, outcome: Option<&Outcome>) {
        if outcome.is_some_and(|outcome| outcome.ending == Ending::Halted) {
            self.world.count("halts");
        }
    }

    async fn round(&mut self, weather: Weather, accepts: bool) -> Result<Option<Outcome>, String> {
        self.world.begin_round(weather, accepts);
        let outcome = self.machine.round(accepts).await.map_err(|e| format!("{e}: {}", e.reason()))?;
        let is_whole = outcome.as_ref().is_some_and(|o| !matches!(o.ending, Ending::Failed | Ending::Halted));
        self.world.end_round(is_whole);
        self.world.count("rounds");
        match &outcome {
            Some(outcome) => self.hear(outcome),
            None => self.world.say("no round ended"),
        }
        Ok(outcome)
    }

    fn hear(&self, outcome: &Outcome) {
        let Outcome { ending, counts, problems, message, .. } = outcome;
        self.world.say(&format!("ended: {ending:?} {counts:?} {problems:?} {message:?}"));
        let mut state = self.world.lock();
        let sums = [
            ("resumed bytes", counts.bytes_resumed),
            ("deleted", counts.deleted),
            ("displaced", counts.displaced),
            ("held", counts.held),
            ("carried", counts.files_sent + counts.files_received),
            ("foreign", counts.foreign),
        ];
        for (what, count) in sums {
            *state.counts.entry(what).or_default() += count;
        }
    }

    /// A program that died is started again; now and then it was its machine's power that went, or the
    /// target's.
    async fn maybe_cut_power(&mut self, died: bool) -> Result<(), String> {
        let durable = self.world.settings.durable;
        let (of_program, of_far) = self.draw(|random| (random.chance(40), random.chance(12)));
        if died {
            self.machine.die(of_program).await.map_err(|e| e.to_string())?;
            if of_program && durable && self.world.settings.mode == Mode::Pull {
                self.cut_target_power();
            }
        }
        if of_far && durable && self.world.settings.mode == Mode::Push {
            self.machine.kill_server();
            self.cut_target_power();
        }
        Ok(())
    }

    fn cut_target_power(&self) {
        let seed = self.draw(seed_of);
        let target = self.world.side(self.world.target());
        target.cut_power(&SeededRandom::new(seed));
        self.world.say("the power of the target was cut");
        self.world.lock().oracle.power_was_cut(target);
        self.world.count("power cuts");
    }

    /// Nothing goes wrong any more: after a few rounds everything is where it belongs, and a round does
    /// nothing. What is told once is told by then: what a round at rest says, the next one says as well.
    async fn calm_down(&mut self) -> Result<(), String> {
        tokio::time::sleep(Duration::from_secs(120)).await; // what comes late is through
        let mut accepts = self.world.settings.is_many;
        let mut last = Ending::Ok;
        for _ in 0..QUIET_ROUNDS {
            let before = self.changes();
            let outcome = self.quiet_round(accepts).await?;
            let ending = outcome.ending;
            match ending {
                Ending::Failed => return Err(format!("a quiet round failed: {:?}", outcome.message)),
                Ending::Halted if accepts => return Err(format!("it halts for ever: {:?}", outcome.message)),
                Ending::Halted => accepts = true, // a root that somebody emptied: a person says that it is meant
                _ if self.is_still(before, ending) && (ending == Ending::Ok || ending == last) => {
                    return self.rest(&outcome).await;
                }
                _ => {}
            }
            last = ending;
        }
        Err(format!("no rest after {QUIET_ROUNDS} quiet rounds"))
    }

    /// Changes that the engine made at the target, and those of them that people can see.
    fn changes(&self) -> (u64, u64) {
        let state = self.world.lock();
        (state.oracle.changes, state.oracle.visible_changes)
    }

    /// Whether nothing was done; what cannot be done may have been tried again.
    fn is_still(&self, before: (u64, u64), ending: Ending) -> bool {
        let now = self.changes();
        now == before || (ending != Ending::Ok && now.1 == before.1)
    }

    async fn quiet_round(&mut self, accepts: bool) -> Result<Outcome, String> {
        tokio::time::sleep(AUDIT + Duration::from_secs(60)).await;
        self.round(Weather::calm(), accepts).await?.ok_or_else(|| "a quiet round died".into())
    }

    /// Everything has come to rest. What a round called durable outlives a power cut, and the next one finds
    /// nothing to do.
    async fn rest(&mut self, last: &Outcome) -> Result<(), String> {
        self.judge_rest(last)?;
        if !self.world.settings.durable || self.world.lock().oracle.is_forgetful() {
            return Ok(());
        }
        let visible = |world: &World| look::below(world.side(world.target()), &RelPath::root(), false);
        let before = visible(&self.world);
        self.cut_target_power();
        let after = visible(&self.world);
        if !self.world.lock().oracle.judge_durable(&before, &after) {
            return Ok(());
        }
        let changes = self.changes().1;
        let outcome = self.quiet_round(false).await?;
        if outcome.ending == Ending::Halted && self.is_source_emptied() {
            return Ok(());
        }
        if outcome.ending != last.ending || self.changes().1 != changes {
            return Err(format!(
                "a power cut at rest is noticed: {:?} {:?}",
                outcome.ending, outcome.message
            ));
        }
        Ok(())
    }

    /// Whether nothing of what was carried is left at the source while base goes on to know it, because deletes
    /// are not followed: every round halts then, unless a person says go on.
    fn is_source_emptied(&self) -> bool {
        let world = &self.world;
        let [source, target] = [world.source(), world.target()]
            .map(|side| look::below(world.side(side), &RelPath::root(), false));
        let is_carried = |(path, thing): (&RelPath, &look::Thing)| {
            path.depth() == 1 && thing.stat.kind != Kind::Other && target.contains_key(path)
        };
        !world.settings.delete && !source.iter().any(is_carried)
    }

    fn judge_rest(&self, last: &Outcome) -> Result<(), String> {
        let world = &self.world;
        let excused: Vec<RelPath> = last.problems.iter().map(|problem| problem.path.clone()).collect();
        let (source, target) = (world.side(world.source()), world.side(world.target()));
        let traits = target.traits();
        let rest = Rest {
            source,
            target,
            excused: &excused,
            is_held: last.ending == Ending::Held,
            step_secs: traits.keeps_mtime.then_some(traits.mtime_granularity_secs),
            has_links: traits.links,
            is_by_ack: world.settings.level == Level::Ack,
        };
        world.lock().oracle.judge_rest(&rest);
        self.judge_problems(last)
    }

    /// What a quiet world may still have to report.
    fn judge_problems(&self, last: &Outcome) -> Result<(), String> {
        let traits = self.world.side(self.world.target()).traits();
        let source = self.world.side(self.world.source());
        for problem in &last.problems {
            let kind = look::at(source, &problem.path).map(|thing| thing.stat.kind);
            let is_special = kind == Some(Kind::Other);
            let is_link = kind == Some(Kind::Link) && !traits.links;
            let in_the_way = !self.world.settings.has_trash || !self.world.settings.delete;
            let kept = matches!(problem.kind.as_str(), "folder-in-the-way" | "exists") && in_the_way;
            let takes_time = problem.kind == "folder-in-the-way" || problem.kind == "changed-at-target";
            if !(is_special || is_link || kept || takes_time) {
                return Err(format!("a problem without a reason: {problem:?}"));
            }
        }
        Ok(())
    }
}
