//! What is to go wrong and when, and the log of what was asked.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;

use crate::error::{Error, Kind, Result};
use crate::path::RelPath;

/// What goes wrong with a call.
#[derive(Clone)]
pub enum Effect {
    /// Nothing is done, and the call fails.
    Refuse(Kind),
    /// It is done, and the call fails all the same.
    DoThenRefuse(Kind),
    /// Nothing is done; this call and all that follow fail with `Disconnected`.
    Lose,
    /// It is done, but no answer comes; this call and all that follow fail with `Disconnected`.
    DoThenLose,
    /// One bit of the data, in the byte at this position (from the start again where the data is shorter),
    /// arrives the wrong way round. For calls that carry data.
    Flip(usize),
    /// Only this many bytes arrive, and nothing is said of it. For calls that carry data.
    Cut(usize),
    /// Somebody else does something right before.
    First(Arc<dyn Fn() + Send + Sync>),
    /// The call waits at a gate, then goes on.
    Hold(Gate),
}

impl fmt::Debug for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Effect::Refuse(kind) => write!(f, "Refuse({kind:?})"),
            Effect::DoThenRefuse(kind) => write!(f, "DoThenRefuse({kind:?})"),
            Effect::Lose => f.write_str("Lose"),
            Effect::DoThenLose => f.write_str("DoThenLose"),
            Effect::Flip(at) => write!(f, "Flip({at})"),
            Effect::Cut(len) => write!(f, "Cut({len})"),
            Effect::First(_) => f.write_str("First"),
            Effect::Hold(_) => f.write_str("Hold"),
        }
    }
}

/// Where calls wait until a test lets them go on. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate {
    is_open: Arc<watch::Sender<bool>>,
    waiting: Arc<watch::Sender<usize>>,
}

impl Gate {
    /// A gate that is shut.
    pub fn shut() -> Self {
        Self { is_open: Arc::new(watch::Sender::new(false)), waiting: Arc::new(watch::Sender::new(0)) }
    }

    /// Lets everybody through, now and from now on.
    pub fn open(&self) {
        self.is_open.send_replace(true);
    }

    /// Returns when so many calls have come to the gate.
    pub async fn reached_by(&self, calls: usize) {
        // The sender is ours, so it cannot be gone.
        let _ = self.waiting.subscribe().wait_for(|waiting| *waiting >= calls).await;
    }

    async fn pass(&self) {
        self.waiting.send_modify(|waiting| *waiting += 1);
        let _ = self.is_open.subscribe().wait_for(|open| *open).await; // as above
    }
}

/// A fault: the effect, and the calls that it falls upon.
pub struct Fault {
    /// `None` for every operation.
    operation: Option<&'static str>,
    concerns: Box<dyn Fn(&RelPath) -> bool + Send + Sync>,
    first: usize,
    times: usize,
    effect: Effect,
    seen: usize,
}

impl Fault {
    /// On every call of an operation, named as in the [log](Script::log).
    pub fn on(operation: &'static str, effect: Effect) -> Self {
        Self { operation: Some(operation), ..Self::on_any(effect) }
    }

    /// On every call of any operation.
    pub fn on_any(effect: Effect) -> Self {
        Self { operation: None, concerns: Box::new(|_| true), first: 1, times: usize::MAX, effect, seen: 0 }
    }

    /// Only on calls that concern this path.
    #[must_use]
    pub fn at(self, path: &RelPath) -> Self {
        let path = path.clone();
        self.where_path(move |p| *p == path)
    }

    /// Only on calls whose path this holds for. Calls on an open file have the path it was opened by, calls
    /// with two paths the one that is in the signature first, and `place` the target.
    #[must_use]
    pub fn where_path(mut self, concerns: impl Fn(&RelPath) -> bool + Send + Sync + 'static) -> Self {
        self.concerns = Box::new(concerns);
        self
    }

    /// Only on the n-th of these calls, counted from 1.
    #[must_use]
    pub fn nth(mut self, n: usize) -> Self {
        (self.first, self.times) = (n, 1);
        self
    }

    /// Not on every one from the first such call on, but only so often.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// Counts a call and says whether the fault falls upon it.
    fn strikes(&mut self, call: &Call) -> bool {
        if self.operation.is_some_and(|operation| operation != call.operation) || !(self.concerns)(&call.path)
        {
            return false;
        }
        self.seen += 1;
        self.seen >= self.first && self.seen - self.first < self.times
    }
}

/// A call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The name of the method; with `source.` or `staged.` before it for those of open files.
    pub operation: &'static str,
    /// What it concerns.
    pub path: RelPath,
    /// How many bytes it was to carry; 0 for calls that carry no content.
    pub bytes: u64,
}

/// The faults of one tree, and the log of calls that reached it.
#[derive(Default)]
pub struct Script(Mutex<State>);

#[derive(Default)]
struct State {
    faults: Vec<Fault>,
    log: Vec<Call>,
    is_lost: bool,
}

impl Script {
    pub(super) fn new(faults: Vec<Fault>) -> Self {
        Self(Mutex::new(State { faults, ..State::default() }))
    }

    /// Adds a fault, which counts calls from now on. Of several that fall upon one call, the first
    /// that was added takes effect.
    pub fn add(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Loses the connection now: calls under way have no answer, others are not made any more.
    pub fn lose(&self) {
        self.state().is_lost = true;
    }

    /// Every call so far, in order, with those that failed.
    pub fn log(&self) -> Vec<Call> {
        self.state().log.clone()
    }

    /// How often an operation was called.
    pub fn calls(&self, operation: &str) -> usize {
        self.state().log.iter().filter(|call| call.operation == operation).count()
    }

    /// How many bytes the calls of an operation were to carry.
    pub fn bytes(&self, operation: &str) -> u64 {
        self.state().log.iter().filter(|call| call.operation == operation).map(|call| call.bytes).sum()
    }

    /// Faults that have not fallen upon any call: what a test believed to happen and did not.
    pub fn unused(&self) -> Vec<String> {
        let state = self.state();
        let unused = state.faults.iter().filter(|fault| fault.seen < fault.first);
        unused.map(|fault| format!("{:?} on {}", fault.effect, fault.operation.unwrap_or("any"))).collect()
    }

    pub(super) async fn enter(
        &self,
        operation: &'static str,
        path: &RelPath,
        bytes: u64,
    ) -> Result<Verdict<'_>> {
        let call = Call { operation, path: path.clone(), bytes };
        let effect = self.strike(&call);
        let verdict = Verdict { script: self, call, effect };
        match &verdict.effect {
            Some(Effect::Refuse(kind)) => return Err(verdict.error(*kind)),
            Some(Effect::Lose) => self.lose(),
            Some(Effect::First(deed)) => deed(),
            Some(Effect::Hold(gate)) => gate.pass().await,
            _ => {}
        }
        verdict.unless_lost().map(|()| verdict)
    }

    fn strike(&self, call: &Call) -> Option<Effect> {
        let mut state = self.state();
        state.log.push(call.clone());
        if state.is_lost {
            return None;
        }
        let mut effect = None;
        for fault in &mut state.faults {
            if fault.strikes(call) && effect.is_none() {
                effect = Some(fault.effect.clone());
            }
        }
        effect
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// What is to become of one call that has begun.
pub(super) struct Verdict<'a> {
    script: &'a Script,
    call: Call,
    effect: Option<Effect>,
}

impl Verdict<'_> {
    /// The data as it arrives.
    pub(super) fn tamper(&self, data: Bytes) -> Bytes {
        match self.effect {
            Some(Effect::Cut(len)) => data.slice(..data.len().min(len)),
            Some(Effect::Flip(at)) if !data.is_empty() => {
                let mut wrong = BytesMut::from(data);
                let at = at % wrong.len();
                wrong[at] ^= 1;
                wrong.freeze()
            }
            _ => data,
        }
    }

    /// The answer as it arrives, if it does.
    pub(super) fn leave<R>(self, outcome: Result<R>) -> Result<R> {
        match self.effect {
            Some(Effect::DoThenRefuse(kind)) => return outcome.and(Err(self.error(kind))),
            Some(Effect::DoThenLose) => self.script.lose(),
            _ => {}
        }
        self.unless_lost().and(outcome)
    }

    fn unless_lost(&self) -> Result<()> {
        if self.script.state().is_lost {
            return Err(self.error(Kind::Disconnected));
        }
        Ok(())
    }

    fn error(&self, kind: Kind) -> Error {
        Error::new(kind, self.call.operation, &self.call.path).detail("a scripted fault")
    }
}
