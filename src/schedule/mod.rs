//! When the next round of a job is due: a pure function of its schedule, what its timer remembers, and now.
//!
//! A timer starts nothing and waits for nothing. Whoever does asks for the [`Due`] of a job whenever no
//! round of it is running (so rounds never overlap), sleeps until `at` or until the clock jumps, asks again,
//! and says [`Memory::started`] when a round starts, whatever started it.

mod moments;
#[cfg(test)]
mod tests;
mod window;

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::calendar::{Cron, time, timestamp};
use crate::config::model::{Job, Missed, Schedule, When};
use crate::entry::Time;
use moments::Moments;
pub use window::Window;

/// A moment counts as missed when nobody was there for so long after it; less is how late a busy machine may
/// wake somebody.
const GRACE: SignedDuration = SignedDuration::from_secs(60);

/// A clock set back further was wrong before: what was settled by it is not believed.
const LARGEST_SET_BACK: SignedDuration = SignedDuration::from_hours(3);

/// How many openings of the window are searched for one that has a moment: a year of nights.
const MAX_OPENINGS: usize = 400;

/// What a timer remembers between two looks and two runs of the daemon; for the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Every moment up to this one is dealt with: by a round, or because there was nothing yet to miss it.
    /// `None`: nobody ever looked.
    pub settled: Option<Time>,
}

impl Memory {
    /// A round starts now: what was due up to now is done by it.
    pub fn started(&mut self, now: Time) {
        self.settled = self.settled.max(Some(now));
    }
}

/// When a round is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The moment of the schedule that it is for, the first one of several that were missed.
    pub moment: Time,
    /// When it is to start: now or in the past means at once.
    pub at: Time,
}

/// The schedule of a job.
#[derive(Debug, Clone)]
pub struct Timer {
    moments: Moments,
    window: Window,
    jitter: Duration,
    missed: Missed,
    seed: u64,
}

impl Timer {
    /// A timer for `schedule`, its fields of cron meant in `zone`. `seed` makes the jitter: the same for a
    /// job each time, another for each job and machine. Says what is wrong with the fields of cron, should
    /// they not have been checked.
    pub fn new(schedule: &Schedule, window: Window, zone: TimeZone, seed: u64) -> Result<Self, String> {
        let moments = match &schedule.when {
            When::Cron { fields, .. } => Moments::Cron(Box::new(Cron::parse(fields)?), zone),
            When::Every(every) => Moments::Every(*every),
        };
        Ok(Self { moments, window, jitter: schedule.jitter, missed: schedule.missed, seed })
    }

    /// The times in which rounds may run.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// When the next round is due, judged anew each time: the clock may have jumped, the machine may have
    /// slept. Corrects what `memory` holds against the clock; keep it. `None`: never.
    ///
    /// A clock set back by up to three hours brings no time of day a second time, while intervals and
    /// rhythms such as `*/15 * * * *` go on by the new clock, for nobody wants them to stand still so long.
    pub fn next(&self, memory: &mut Memory, now: Time) -> Option<Due> {
        let now = timestamp(now);
        let settled = self.settled(memory, now);
        let (moment, at) = match self.missed {
            Missed::Run => self.first_in_window(settled, now)?,
            Missed::Skip => self.first_not_missed(settled, now)?,
        };
        Some(Due { moment: time(moment), at: time(at) })
    }

    fn settled(&self, memory: &mut Memory, now: Timestamp) -> Timestamp {
        let settled = match memory.settled.map(timestamp) {
            None => self.moments.settled_at_first(now),
            Some(settled) if settled <= now => settled,
            Some(settled) => {
                let keeps =
                    self.moments.are_times_of_day() && settled.duration_since(now) <= LARGEST_SET_BACK;
                if keeps { settled } else { now }
            }
        };
        memory.settled = Some(time(settled));
        settled
    }

    /// Whatever was missed is one round, which waits for the window.
    fn first_in_window(&self, settled: Timestamp, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let moment = self.moments.after(settled, settled)?;
        let at = self.start(settled, moment);
        let opens = self.window.opening(at.max(now))?;
        Some((moment, if opens > now { opens } else { at }))
    }

    /// Moments outside of the window are missed like those that nobody was there for.
    fn first_not_missed(&self, settled: Timestamp, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let edge = now.saturating_sub(GRACE).unwrap_or(Timestamp::MIN);
        // The start of the latest one may still lie ahead, by chance.
        let latest = self.moments.latest(settled, edge).filter(|moment| self.start(settled, *moment) >= edge);
        let mut moment = latest.or_else(|| self.moments.after(settled, edge))?;
        for _ in 0..MAX_OPENINGS {
            let at = self.start(settled, moment);
            let next_open = match self.window.opening(moment)? {
                opens if opens > moment => opens,
                _ if self.window.is_open_at(at.max(now)) => return Some((moment, at)),
                _ => self.window.opening(now)?, // it closed just now
            };
            let just_before = next_open.checked_sub(SignedDuration::from_nanos(1)).ok()?;
            moment = self.moments.after(settled, just_before)?;
        }
        None
    }

    /// The moment and its jitter, which goes neither beyond the next moment nor out of the window.
    fn start(&self, settled: Timestamp, moment: Timestamp) -> Timestamp {
        if self.jitter.is_zero() {
            return moment;
        }
        let latest = moment.saturating_add(self.jitter).unwrap_or(Timestamp::MAX);
        let ends = [self.moments.after(settled, moment), self.window.closing(moment)];
        let end = ends.into_iter().flatten().fold(latest, Timestamp::min);
        let room_millis = u128::try_from(end.duration_since(moment).as_millis()).unwrap_or_default();
        let draw = u128::from(scatter(self.seed, moment.as_second()));
        let millis = i64::try_from((draw * room_millis) >> 64).unwrap_or(i64::MAX);
        moment.saturating_add(SignedDuration::from_millis(millis)).unwrap_or(moment)
    }
}

/// 64 bits that look like chance and are always the same for the same job and moment: two steps of
/// SplitMix64.
fn scatter(seed: u64, moment: i64) -> u64 {
    let step = |state: u64| {
        let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    step(step(seed) ^ moment.cast_unsigned())
}

/// Whether a round of the job starts with the daemon: nothing but a change would start one, and what
/// changed while nobody watched is not known.
pub fn starts_with_daemon(job: &Job) -> bool {
    job.watch.is_some() && job.schedule.is_none()
}
