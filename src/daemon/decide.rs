//! Whether a job begins a round now, or until when it waits. Pure: whoever asks brings both clocks along.
//!
//! The time of day decides what the schedule and the windows say. What only has to pass (a back-off, the
//! time between two looks) is counted by the clock that never jumps: `uptime`, since the daemon began.

use std::time::Duration;

use crate::entry::Time;
use crate::schedule::Window;

/// What wants a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Wants {
    /// A person asked for one.
    pub asked: bool,
    /// All of the job is to be looked at: the last round was cut off, or nobody looked yet.
    pub whole: bool,
    /// The watcher saw something change.
    pub changes: bool,
    /// When the schedule wants one.
    pub due: Option<Time>,
    /// When all is to be looked at though nobody saw anything change, by uptime.
    pub rescan: Option<Duration>,
    /// The last round failed: not before this uptime.
    pub retry: Option<Duration>,
    /// A round left problems: once more then, unless there is another reason before.
    pub again: Option<Again>,
}

/// What a round left that had problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Again {
    /// By uptime.
    pub at: Duration,
    /// Whether all is to be looked at, or what the watcher saw.
    pub whole: bool,
}

/// What a job does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It begins a round, that looks at all, or only at what the watcher saw change.
    Begin {
        /// Whether it looks at all.
        whole: bool,
    },
    /// It waits until the first of these, or until something happens.
    Wait {
        /// By the time of day.
        until: Option<Time>,
        /// By uptime.
        uptime: Option<Duration>,
        /// For what.
        why: Waits,
    },
}

/// What a job waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    /// For something to do.
    Idle,
    /// For the end of a back-off.
    Retry,
    /// For the next opening of its window, with something to do.
    Window,
    /// For the machine to be as the job asks for, with something to do: what it is instead.
    System(&'static str),
}

impl Wants {
    /// What to do at `now` and `uptime`. A failed round keeps back everything but a person's wish, so that
    /// a server that is down is not asked once per changed file. One that left problems keeps back nothing.
    pub fn next(&self, window: &Window, now: Time, uptime: Duration) -> Next {
        self.with_again(uptime).decide(window, now, uptime)
    }

    /// The same once what a round left is due.
    fn with_again(self, uptime: Duration) -> Self {
        match self.again {
            Some(again) if again.at <= uptime => {
                let (whole, changes) = (self.whole || again.whole, self.changes || !again.whole);
                Self { whole, changes, again: None, ..self }
            }
            _ => self,
        }
    }

    fn decide(&self, window: &Window, now: Time, uptime: Duration) -> Next {
        if !self.wants_now(now, uptime) {
            return self.wait();
        }
        if !window.is_open(now) {
            return Next::Wait { until: window.opens_at(now), uptime: None, why: Waits::Window };
        }
        let only_changes = self.changes && !self.asked && !self.whole;
        Next::Begin { whole: !only_changes || self.is_due(now) || self.is_rescan(uptime) }
    }

    fn wants_now(&self, now: Time, uptime: Duration) -> bool {
        match self.retry {
            _ if self.asked => true,
            Some(retry) => retry <= uptime,
            None => self.whole || self.changes || self.is_due(now) || self.is_rescan(uptime),
        }
    }

    fn is_due(&self, now: Time) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Whether all is to be looked at though nobody saw anything change.
    pub fn is_rescan(&self, uptime: Duration) -> bool {
        self.rescan.is_some_and(|rescan| rescan <= uptime)
    }

    fn wait(&self) -> Next {
        match self.retry {
            Some(retry) => Next::Wait { until: None, uptime: Some(retry), why: Waits::Retry },
            None => {
                let uptime = [self.rescan, self.again.map(|again| again.at)].into_iter().flatten().min();
                Next::Wait { until: self.due, uptime, why: Waits::Idle }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    const NOW: Time = Time { secs: 1_790_000_000, nanos: 0 }; // 14:13 UTC
    const UP: Duration = Duration::from_secs(100);

    fn later(secs: i64) -> Option<Time> {
        Some(Time { secs: NOW.secs + secs, nanos: 0 })
    }

    fn up(secs: u64) -> Option<Duration> {
        Some(Duration::from_secs(secs))
    }

    fn always() -> Window {
        Window::new(Vec::new(), TimeZone::UTC)
    }

    fn check(wants: Wants, expected: Next) {
        assert_eq!(wants.next(&always(), NOW, UP), expected, "{wants:?}");
    }

    fn waits(until: Option<Time>, uptime: Option<Duration>, why: Waits) -> Next {
        Next::Wait { until, uptime, why }
    }

    #[test]
    fn a_round_begins_for_a_reason_and_looks_at_no_more_than_it_must() {
        let nothing = Wants::default();
        check(nothing, waits(None, None, Waits::Idle));
        check(Wants { due: later(1), rescan: up(101), ..nothing }, waits(later(1), up(101), Waits::Idle));
        check(Wants { changes: true, ..nothing }, Next::Begin { whole: false });
        check(Wants { changes: true, due: later(1), ..nothing }, Next::Begin { whole: false });
        for whole in [
            Wants { asked: true, changes: true, ..nothing },
            Wants { whole: true, changes: true, ..nothing },
            Wants { due: later(0), ..nothing },
            Wants { due: later(-5), changes: true, ..nothing },
            Wants { rescan: up(100), ..nothing },
        ] {
            check(whole, Next::Begin { whole: true });
        }
    }

    #[test]
    fn after_a_failure_only_a_person_begins_one_before_its_time() {
        let failed = Wants { retry: up(130), whole: true, changes: true, ..Wants::default() };
        check(failed, waits(None, up(130), Waits::Retry));
        check(Wants { due: later(-1), rescan: up(1), ..failed }, waits(None, up(130), Waits::Retry));
        check(Wants { asked: true, ..failed }, Next::Begin { whole: true });
        check(Wants { retry: up(100), ..failed }, Next::Begin { whole: true });
        check(Wants { retry: up(100), whole: false, ..failed }, Next::Begin { whole: false });
    }

    #[test]
    fn problems_are_tried_again_and_keep_nothing_back() {
        let again = |secs, whole| Some(Again { at: Duration::from_secs(secs), whole });
        let left = Wants { again: again(130, false), rescan: up(140), ..Wants::default() };
        check(left, waits(None, up(130), Waits::Idle));
        check(Wants { changes: true, ..left }, Next::Begin { whole: false });
        check(Wants { due: later(0), ..left }, Next::Begin { whole: true });
        check(Wants { again: again(100, false), ..left }, Next::Begin { whole: false });
        check(Wants { again: again(100, true), ..left }, Next::Begin { whole: true });
        check(Wants { again: again(100, true), retry: up(120), ..left }, waits(None, up(120), Waits::Retry));
    }

    #[test]
    fn nobody_begins_a_round_outside_of_its_window() {
        let nights = Window::new(vec!["22:00-06:00".parse().unwrap()], TimeZone::UTC);
        let check = |wants: Wants, expected| assert_eq!(wants.next(&nights, NOW, UP), expected);
        let opens = nights.opens_at(NOW);
        check(Wants { asked: true, ..Wants::default() }, waits(opens, None, Waits::Window));
        check(Wants { changes: true, ..Wants::default() }, waits(opens, None, Waits::Window));
        check(Wants::default(), waits(None, None, Waits::Idle));
    }
}
