//! Everything outside of the engine: two trees, their users, the weather, the clock, and who judges.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use highwater::clock::Clock;
use highwater::entry::Time;
use highwater::error::{Error, Kind, Result};
use highwater::outcome::Mode;
use highwater::path::RelPath;
use highwater::tree::Blind;
use highwater::tree::memory::Memory;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::look;
use crate::oracle::{Deed, Oracle, Wishes};
use crate::random::Random;
use crate::settings::{Settings, TRASH};
use crate::trace::Trace;
use crate::user::{User, top_of};
use crate::weather::Weather;

/// When all seeds begin, in seconds.
const BEGIN_SECS: i64 = 1_700_000_000;

/// One of the two trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Near,
    Far,
}

/// A call of the engine's.
#[derive(Debug, Clone)]
pub struct Call {
    pub side: Side,
    pub operation: &'static str,
    pub path: RelPath,
    pub to: Option<RelPath>,
    /// It goes to a folder that stands in the place of the one that is meant.
    pub is_strange: bool,
}

impl Call {
    /// Whether it changes the tree.
    pub fn changes(&self) -> bool {
        const LOOKS: [&str; 10] = [
            "list",
            "stat",
            "read_link",
            "read_whole",
            "open",
            "source.stat",
            "source.read_at",
            "staged.stat",
            "staged.read_at",
            "free_bytes",
        ];
        !LOOKS.contains(&self.operation) && !matches!(self.operation, "sync_dir" | "reopen" | "staged.close")
    }

    pub fn error(&self, kind: Kind) -> Error {
        Error::new(kind, self.operation, &self.path).detail("simulated")
    }
}

/// What becomes of a call.
pub enum Fate<R> {
    /// This is the answer.
    Answer(Result<R>),
    /// The connection is lost; whatever was done, nobody is told.
    Cut,
    /// The program is no more.
    Crash,
}

/// How a call that is carried out goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    /// Nothing is done.
    Refused(Kind),
    /// It is done all the same.
    DoneAndRefused(Kind),
    CutBefore,
    CutAfter,
    CrashBefore,
    CrashAfter,
}

pub struct World {
    pub settings: Settings,
    pub near: Memory,
    pub far: Memory,
    /// Stand in the place of the two while a disk is not mounted or a server shows another folder.
    pub strangers: [Memory; 2],
    pub strange_near: AtomicBool,
    pub strange_far: AtomicBool,
    /// The program is to die now.
    pub crash: Notify,
    begin: Instant,
    state: Mutex<State>,
}

pub struct State {
    pub random: Random,
    pub weather: Weather,
    pub oracle: Oracle,
    pub trace: Trace,
    /// What came up, by name.
    pub counts: std::collections::BTreeMap<&'static str, u64>,
    /// Calls in this round.
    calls: u64,
    far_calls: u64,
    contents: u64,
}

impl World {
    pub fn new(settings: Settings, random: Random, trace: Trace) -> Arc<Self> {
        let wishes = Wishes {
            delete: settings.delete,
            trash_secs: settings.has_trash.then_some(TRASH.as_secs() as i64),
            replaces_nothing: settings.mode == Mode::Pull || settings.far.blind == Blind::Everywhere,
        };
        let state = State {
            random,
            weather: Weather::calm(),
            oracle: Oracle::new(wishes),
            trace,
            counts: Default::default(),
            calls: 0,
            far_calls: 0,
            contents: 0,
        };
        let far = if settings.mode == Mode::Push {
            Memory::without_root(settings.far)
        } else {
            Memory::with(settings.far)
        };
        let strangers = [Memory::near(), Memory::with(settings.far)];
        let world = Self {
            near: Memory::near(),
            far,
            strangers,
            strange_near: false.into(),
            strange_far: false.into(),
            crash: Notify::new(),
            begin: Instant::now(),
            state: Mutex::new(state),
            settings,
        };
        world.side(world.target()).lose_unsynced();
        Arc::new(world)
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn source(&self) -> Side {
        if self.settings.mode == Mode::Push { Side::Near } else { Side::Far }
    }

    pub fn target(&self) -> Side {
        if self.settings.mode == Mode::Push { Side::Far } else { Side::Near }
    }

    /// The tree itself, also while something else is shown in its place.
    pub fn side(&self, side: Side) -> &Memory {
        match side {
            Side::Near => &self.near,
            Side::Far => &self.far,
        }
    }

    /// What is shown now.
    pub fn shown(&self, side: Side) -> Memory {
        match side {
            Side::Near if self.is_strange(side) => self.strangers[0].clone(),
            Side::Far if self.is_strange(side) => self.strangers[1].clone(),
            _ => self.side(side).clone(),
        }
    }

    /// Whether something else is shown in the place of this side.
    pub fn is_strange(&self, side: Side) -> bool {
        let strange = if side == Side::Near { &self.strange_near } else { &self.strange_far };
        strange.load(Ordering::Relaxed)
    }

    pub fn millis(&self) -> u128 {
        self.begin.elapsed().as_millis()
    }

    /// The time of a side's clock.
    fn time_of(&self, side: Side) -> Time {
        let now = Clock::now(self);
        match side {
            Side::Near => now,
            Side::Far => Time { secs: now.secs + self.settings.far_ahead_secs, ..now },
        }
    }

    pub fn say(&self, text: &str) {
        let at = self.millis();
        self.lock().trace.line(at, text);
    }

    pub fn count(&self, what: &'static str) {
        *self.lock().counts.entry(what).or_default() += 1;
    }

    /// A new round begins in this weather.
    pub fn begin_round(&self, weather: Weather, accepts: bool) {
        let at = self.millis();
        let mut state = self.lock();
        state.trace.line(at, &format!("round: accepts {accepts}, {weather:?}"));
        state.weather = weather;
        (state.calls, state.far_calls) = (0, 0);
        state.oracle.begin_round(accepts);
    }

    /// A round is over: what was to go wrong in it goes wrong in no other, and what it began, unless it came to its
    /// end, nobody wrote down.
    pub fn end_round(&self, is_whole: bool) {
        let mut state = self.lock();
        let (way_millis, times_out) = (state.weather.way_millis, state.weather.times_out);
        state.weather = Weather { way_millis, times_out, ..Weather::calm() };
        if !is_whole {
            state.oracle.cut_off();
        }
    }

    /// Somebody does something, mostly at the source.
    pub fn edit(&self) {
        let mut state = self.lock();
        let has_target = look::at(self.side(self.target()), &RelPath::root()).is_some();
        let side = if state.random.chance(75) || !has_target { self.source() } else { self.target() };
        self.as_user(&mut state, side, |user| user.act());
    }

    /// The source is filled with many files, or emptied of everything.
    pub fn fill(&self, files: u64) {
        let mut state = self.lock();
        self.as_user(&mut state, self.source(), |user| (user.fill(files), "writes many"));
    }

    /// Everything at the source is removed.
    pub fn clear(&self) {
        let mut state = self.lock();
        self.as_user(&mut state, self.source(), |user| (user.clear(), "removes everything"));
    }

    fn as_user(
        &self,
        state: &mut State,
        side: Side,
        act: impl FnOnce(&mut User<'_>) -> (Vec<RelPath>, &'static str),
    ) {
        let (memory, now) = (self.side(side), self.time_of(side));
        memory.advance_to(now);
        let is_source = side == self.source();
        let mut user = User {
            memory,
            random: &mut state.random,
            now,
            count: &mut state.contents,
            is_large: self.settings.is_large,
            may_hide: side == Side::Near,
            // A far clock that is behind makes what changes this very second look old, and far sides show whole
            // seconds only: of two versions of one length in one second a pull cannot tell.
            may_repeat_sizes: side == Side::Near || (is_source && self.settings.far_ahead_secs >= 0),
        };
        let (mut paths, what) = act(&mut user);
        let shown: Vec<String> = paths.iter().map(ToString::to_string).collect();
        state.trace.line(self.millis(), &format!("{side:?} user {what} {}", shown.join(", ")));
        paths.iter_mut().for_each(|path| *path = top_of(path)); // the folder they are in was changed, too
        for path in &paths {
            match is_source {
                true => state.oracle.source_changed(memory, path),
                false => state.oracle.target_changed(memory, path),
            }
        }
        *state.counts.entry("edits").or_default() += 1;
    }

    /// Carries out a call, with whatever comes before, instead and after it.
    pub fn perform<R>(
        &self,
        memory: &Memory,
        call: &Call,
        deed: impl FnOnce(&Memory) -> Result<R>,
    ) -> Fate<R> {
        let mut state = self.lock();
        state.calls += 1;
        let permille = state.weather.edit_permille;
        if state.weather.edits > 0 && state.chance_permille(permille) {
            state.weather.edits -= 1;
            drop(state);
            self.edit();
            self.count("edits in a round");
            state = self.lock();
        }
        let trouble = state.trouble(call);
        drop(state);
        memory.advance_to(self.time_of(call.side));
        let fate = match trouble {
            Trouble::None | Trouble::DoneAndRefused(_) | Trouble::CutAfter | Trouble::CrashAfter => {
                let result = deed(memory);
                self.watch(memory, call, result.is_ok());
                match trouble {
                    Trouble::DoneAndRefused(kind) => Fate::Answer(result.and(Err(call.error(kind)))),
                    Trouble::CutAfter => Fate::Cut,
                    Trouble::CrashAfter => Fate::Crash,
                    _ => Fate::Answer(result),
                }
            }
            Trouble::Refused(kind) => Fate::Answer(Err(call.error(kind))),
            Trouble::CutBefore => Fate::Cut,
            Trouble::CrashBefore => Fate::Crash,
        };
        if call.operation == "sync_dir"
            && matches!(trouble, Trouble::Refused(_))
            && call.side == self.target()
        {
            self.lock().oracle.sync_was_refused(&call.path);
        }
        self.note(call, trouble, &fate);
        if matches!(fate, Fate::Crash | Fate::Cut) {
            self.lock().oracle.cut_off();
        }
        if matches!(fate, Fate::Crash) {
            self.crash.notify_one();
        }
        fate
    }

    /// Carries out a call whose connection is lost, in whichever round that is: nothing goes wrong, for that
    /// would be another round's trouble, and nobody hears of it.
    pub fn perform_late<R>(&self, memory: &Memory, call: &Call, deed: impl FnOnce(&Memory) -> Result<R>) {
        memory.advance_to(self.time_of(call.side));
        let result = deed(memory);
        self.watch(memory, call, result.is_ok());
        let came = result.map_or_else(|error| error.kind().as_str(), |_| "ok");
        self.say(&format!("late: {:?} {} {}: {came}", call.side, call.operation, call.path));
        self.lock().oracle.cut_off();
    }

    fn watch(&self, memory: &Memory, call: &Call, is_done: bool) {
        if call.operation == "stat" && call.side == self.target() && !call.is_strange {
            self.lock().oracle.engine_looked(&call.path);
        }
        if !is_done || !call.changes() || call.is_strange {
            return;
        }
        let now = Clock::now(self).secs;
        let deed = Deed { operation: call.operation, path: &call.path, to: call.to.as_ref(), now };
        let mut state = self.lock();
        match call.side == self.source() {
            true => state.oracle.engine_touched_source(&deed),
            false => state.oracle.engine_did(memory, &deed),
        }
    }

    fn note<R>(&self, call: &Call, trouble: Trouble, fate: &Fate<R>) {
        let came = match fate {
            Fate::Answer(Ok(_)) => "ok".to_owned(),
            Fate::Answer(Err(error)) => error.kind().as_str().to_owned(),
            Fate::Cut | Fate::Crash => format!("{trouble:?}"),
        };
        let to = call.to.as_ref().map(|to| format!(" to {to}")).unwrap_or_default();
        let (side, operation, path) = (call.side, call.operation, &call.path);
        self.say(&format!("{side:?} {operation} {path}{to}: {came}"));
        if trouble != Trouble::None {
            let what = match trouble {
                Trouble::Refused(_) | Trouble::DoneAndRefused(_) => "errors",
                Trouble::CutBefore | Trouble::CutAfter => "cuts",
                _ => "crashes",
            };
            self.count(what);
        }
    }

    /// Data on its way, with a bit turned where the weather has it so.
    pub fn carry(&self, call: &Call, data: Bytes) -> Bytes {
        let mut state = self.lock();
        let can_be_noticed = match call.operation {
            "staged.write_at" | "staged.read_at" => true,
            "source.read_at" => call.side == Side::Far && self.source() == Side::Far,
            _ => false,
        };
        if !can_be_noticed || data.is_empty() || state.weather.flips == 0 || !state.random.chance(20) {
            return data;
        }
        state.weather.flips -= 1;
        state.oracle.flipped(&call.path);
        let at = state.random.below(data.len() as u64) as usize;
        *state.counts.entry("flips").or_default() += 1;
        let at_millis = self.millis();
        state.trace.line(at_millis, "a bit is turned");
        let mut wrong = BytesMut::from(data);
        wrong[at] ^= 1 << (state.weather.flips % 8); // each another bit: two do not make up for each other
        wrong.freeze()
    }

    /// How long something takes on its way, in milliseconds.
    pub fn way_millis(&self) -> u64 {
        let mut state = self.lock();
        let most = state.weather.way_millis;
        state.random.below(most + 1)
    }

    /// Whether this listing leaves things out, and for each name whether it is in.
    pub fn lie(&self, call: &Call) -> Option<Random> {
        let mut state = self.lock();
        if call.path.is_own() || state.weather.lies == 0 || !state.random.chance(30) {
            return None;
        }
        state.weather.lies -= 1;
        *state.counts.entry("lies").or_default() += 1;
        if call.side == self.target() {
            state.oracle.journal_forgot(); // what is gone on both sides is not looked for again
        }
        Some(state.random.split())
    }
}

impl State {
    fn chance_permille(&mut self, permille: u64) -> bool {
        self.random.below(1_000) < permille
    }

    fn trouble(&mut self, call: &Call) -> Trouble {
        if self.weather.crash.is_some_and(|at| self.calls >= at) {
            self.weather.crash = None;
            return if self.random.chance(50) { Trouble::CrashBefore } else { Trouble::CrashAfter };
        }
        if call.side == Side::Far {
            self.far_calls += 1;
            if self.weather.cuts.last().is_some_and(|at| self.far_calls >= *at) {
                self.weather.cuts.pop();
                self.far_calls = 0;
                return if self.random.chance(50) { Trouble::CutBefore } else { Trouble::CutAfter };
            }
        }
        if self.weather.error_at == Some(self.calls) {
            return Trouble::Refused(Kind::Failed);
        }
        let permille = self.weather.error_permille;
        if self.weather.errors > 0 && self.chance_permille(permille) {
            self.weather.errors -= 1;
            let kind = *self.random.pick(&[Kind::Permission, Kind::NoSpace, Kind::Failed, Kind::Failed]);
            let may_be_done = matches!(call.operation, "staged.write_at" | "staged.finish" | "sync_dir");
            let is_done = may_be_done && self.random.chance(50);
            return if is_done { Trouble::DoneAndRefused(kind) } else { Trouble::Refused(kind) };
        }
        Trouble::None
    }
}

impl Clock for World {
    fn now(&self) -> Time {
        let since = self.begin.elapsed();
        Time { secs: BEGIN_SECS + since.as_secs() as i64, nanos: since.subsec_nanos() }
    }
}
