//! Scripted faults: how the server misbehaves, for tests and for the demo.
//!
//! A [`Misbehave`] is a shared handle: the session asks it before each request, the test changes the
//! rules while the server runs, reads what was done, and waits for it to happen. Without rules it only
//! counts. What it does not do: break the SSH layer or the framing of packets.

mod rule;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

pub use self::rule::{Fault, Op, Rule};
use crate::clock::{Random, SeededRandom};

/// A fault that was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Deed {
    /// A request was answered with a status of the script.
    Failed,
    /// A connection was cut.
    Cut,
    /// A WRITE found the disk full.
    NoSpace,
    /// A session stood still.
    Stalled,
    /// A READ was shortened.
    Shortened,
    /// A bit was flipped.
    Flipped,
    /// A listing lied.
    Lied,
    /// Extensions were left out of the greeting.
    Unannounced,
}

/// A script of faults, shared by a server, its sessions and whoever directs them.
#[derive(Debug, Clone, Default)]
pub struct Misbehave(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    rules: Vec<Rule>,
    random: SeededRandom,
    requests: BTreeMap<Op, u64>,
    deeds: BTreeMap<Deed, u64>,
    written_bytes: u64,
    read_bytes: u64,
    clearings: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            random: SeededRandom::new(0),
            requests: BTreeMap::new(),
            deeds: BTreeMap::new(),
            written_bytes: 0,
            read_bytes: 0,
            clearings: 0,
        }
    }
}

impl Misbehave {
    /// A script of these rules, in this order.
    pub fn script(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self::seeded(0, rules)
    }

    /// A script whose chances and flipped bits follow from `seed`.
    pub fn seeded(seed: u64, rules: impl IntoIterator<Item = Rule>) -> Self {
        let script = Self::default();
        script.state().random = SeededRandom::new(seed);
        rules.into_iter().for_each(|rule| script.add(rule));
        script
    }

    /// One more rule, from the next request on.
    pub fn add(&self, rule: Rule) {
        self.state().rules.push(rule);
    }

    /// Behaves from now on; sessions that stand still go on.
    pub fn clear(&self) {
        let mut state = self.state();
        state.rules.clear();
        state.clearings += 1;
        drop(state);
        self.0.changed.notify_waiters();
    }

    /// How many requests of a kind have come in.
    pub fn requests(&self, op: Op) -> u64 {
        self.state().requests.get(&op).copied().unwrap_or(0)
    }

    /// How often something was done.
    pub fn deeds(&self, deed: Deed) -> u64 {
        self.state().deeds.get(&deed).copied().unwrap_or(0)
    }

    /// Bytes of content that reached the disk.
    pub fn written_bytes(&self) -> u64 {
        self.state().written_bytes
    }

    /// Bytes of content that were sent in answers to READ.
    pub fn read_bytes(&self) -> u64 {
        self.state().read_bytes
    }

    /// Waits until something has been done so many times.
    pub async fn wait_for(&self, deed: Deed, times: u64) {
        self.wait_until(|state| state.deeds.get(&deed).is_some_and(|&done| done >= times)).await;
    }

    /// What happens to a request of `op` at `path` that carries `len` bytes of content.
    pub(super) fn judge(&self, op: Op, path: &[u8], len: usize) -> Verdict {
        let mut state = self.state();
        *state.requests.entry(op).or_default() += 1;
        let mut verdict = Verdict::default();
        let State { rules, random, clearings, .. } = &mut *state;
        for rule in rules {
            verdict.no_space_left |= op == Op::Statvfs && rule.is_full();
            let draw = if rule.op == op { random.u64() } else { 0 };
            if let Some(room) = rule.strikes(op, path, len as u64, (draw % 1000) as u32) {
                verdict.take(&rule.fault, room, draw >> 10, *clearings);
            }
        }
        let deeds = verdict.deeds();
        for deed in &deeds {
            *state.deeds.entry(*deed).or_default() += 1;
        }
        drop(state);
        if !deeds.is_empty() {
            self.0.changed.notify_waiters();
        }
        verdict
    }

    /// Counts content that reached the disk.
    pub(super) fn wrote(&self, bytes: usize) {
        self.state().written_bytes += bytes as u64;
    }

    /// Counts content that was read.
    pub(super) fn read(&self, bytes: usize) {
        self.state().read_bytes += bytes as u64;
    }

    /// Stands still for as long as it takes, or until the rules are cleared.
    pub(super) async fn stall(&self, stall: Stall) {
        let cleared = self.wait_until(|state| state.clearings != stall.clearings);
        let _ = tokio::time::timeout(stall.time, cleared).await; // either end is the end of the stall
    }

    async fn wait_until(&self, reached: impl Fn(&State) -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            changed.as_mut().enable();
            if reached(&self.state()) {
                return;
            }
            changed.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// How long a session stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stall {
    time: Duration,
    /// How often the rules had been cleared when it began; one more ends it.
    clearings: u64,
}

/// When the connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    Before,
    After,
}

/// What happens to one request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Not carried out, answered with this code and text.
    pub(super) fail: Option<(u32, String)>,
    /// The connection is cut.
    pub(super) cut: Option<Cut>,
    /// Stands still before that.
    pub(super) stall: Option<Stall>,
    /// A READ returns, or a WRITE carries out, at most so many bytes.
    pub(super) at_most: Option<usize>,
    /// A WRITE is answered with FAILURE after what it carried out.
    pub(super) no_space: bool,
    /// statvfs says that nothing is free.
    pub(super) no_space_left: bool,
    /// The bit to flip, modulo the number there are.
    pub(super) flip: Option<u64>,
    /// What a listing does with the truth.
    pub(super) lies: Vec<Fault>,
    /// Extensions left out of the greeting; an empty list means all.
    pub(super) unannounced: Option<Vec<String>>,
}

impl Verdict {
    fn take(&mut self, fault: &Fault, room: u64, draw: u64, clearings: u64) {
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        match fault {
            Fault::Fail { code, text } => self.fail = Some((*code, text.clone())),
            Fault::CutBefore => self.cut = Some(Cut::Before),
            Fault::CutAfter => self.cut = Some(Cut::After),
            Fault::CutAtByte(_) => {
                self.cut = Some(Cut::After);
                self.limit(room);
            }
            Fault::NoSpaceAfter(_) => {
                self.no_space = true;
                self.limit(room);
            }
            Fault::Stall(time) => self.stall = Some(Stall { time: *time, clearings }),
            Fault::Short(bytes) => self.limit(*bytes),
            Fault::Flip => self.flip = Some(draw),
            Fault::Omit(_) | Fault::EndListingAfter(_) | Fault::Invent(_) => self.lies.push(fault.clone()),
            Fault::Unannounced(names) => self.unannounced = Some(names.clone()),
        }
    }

    fn limit(&mut self, bytes: usize) {
        self.at_most = Some(self.at_most.map_or(bytes, |limit| limit.min(bytes)));
    }

    fn deeds(&self) -> Vec<Deed> {
        let limited = self.at_most.is_some() && self.cut.is_none() && !self.no_space;
        [
            (self.fail.is_some(), Deed::Failed),
            (self.cut.is_some(), Deed::Cut),
            (self.no_space, Deed::NoSpace),
            (self.stall.is_some(), Deed::Stalled),
            (limited, Deed::Shortened),
            (self.flip.is_some(), Deed::Flipped),
            (!self.lies.is_empty(), Deed::Lied),
            (self.unannounced.is_some(), Deed::Unannounced),
        ]
        .into_iter()
        .filter_map(|(done, deed)| done.then_some(deed))
        .collect()
    }
}

/// Flips one bit, chosen by `draw`.
pub(super) fn flip_bit(data: &mut [u8], draw: u64) {
    let bits = data.len() as u64 * 8;
    if bits > 0 {
        let bit = draw % bits;
        data[(bit / 8) as usize] ^= 1 << (bit % 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_is_counted() {
        let script = Misbehave::script([
            Rule::on(Op::Write, Fault::Flip).from_nth(2).once(),
            Rule::on(Op::Write, Fault::NoSpaceAfter(25)),
            Rule::on(Op::PosixRename, Fault::unsupported()),
        ]);
        let verdicts: Vec<Verdict> = (0..3).map(|_| script.judge(Op::Write, b"/f", 10)).collect();
        assert_eq!(verdicts[0], Verdict::default());
        assert!(verdicts[1].flip.is_some());
        assert_eq!((verdicts[2].no_space, verdicts[2].at_most), (true, Some(5)));
        assert!(script.judge(Op::Statvfs, b"/", 0).no_space_left);
        assert_eq!(script.judge(Op::PosixRename, b"/f", 0).fail.map(|f| f.0), Some(8));
        assert_eq!(script.requests(Op::Write), 3);
        for deed in [Deed::Flipped, Deed::NoSpace, Deed::Failed] {
            assert_eq!(script.deeds(deed), 1, "{deed:?}");
        }
        script.clear();
        assert_eq!(script.judge(Op::PosixRename, b"/f", 0), Verdict::default());
        assert!(!script.judge(Op::Statvfs, b"/", 0).no_space_left);
    }

    #[test]
    fn a_seed_is_one_story() {
        let story = |seed| {
            let script = Misbehave::seeded(seed, [Rule::on(Op::Write, Fault::Flip).chance(300)]);
            (0..50).map(|_| script.judge(Op::Write, b"/f", 10).flip).collect::<Vec<_>>()
        };
        assert_eq!(story(7), story(7));
        assert_ne!(story(7), story(8));
        let struck = story(7).iter().flatten().count();
        assert!((5..25).contains(&struck), "{struck} of 50");
    }

    #[tokio::test]
    async fn a_stall_ends_when_the_script_is_cleared() {
        let script = Misbehave::script([Rule::on(Op::Stat, Fault::Stall(Duration::from_secs(3600)))]);
        let stall = || script.judge(Op::Stat, b"/", 0).stall.unwrap();
        let early = stall();
        let late = stall();
        let stalled = tokio::spawn({
            let script = script.clone();
            async move { script.stall(early).await }
        });
        tokio::task::yield_now().await;
        script.clear();
        script.stall(late).await;
        stalled.await.unwrap();
        assert_eq!(script.deeds(Deed::Stalled), 2);
    }

    #[test]
    fn one_bit_is_flipped() {
        let mut data = [0u8; 3];
        flip_bit(&mut data, 24 + 9);
        assert_eq!(data, [0, 2, 0]);
        flip_bit(&mut [], 5);
    }
}
