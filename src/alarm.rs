//! Whether somebody is to be told how a job fares: late, in trouble, or well again. Pure; once for each
//! trouble, then at intervals if asked.
//!
//! A job is late when it had no success for too long. That is judged from the clock alone, so it is noticed
//! as well when rounds hang, are never due, or nobody starts them.

use std::time::Duration;

use crate::calendar::{add, since};
use crate::entry::Time;
use crate::outcome::Ending;

/// When somebody wants to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Alarm {
    /// A job without a success for so long is late; `None`: none ever is.
    pub no_success_for: Option<Duration>,
    /// The same thing is told again after so long; `None`: never.
    pub repeat: Option<Duration>,
}

/// What is to be remembered of one job and whoever is told; small enough for a few columns of the journal.
/// The default is for a job that was never looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// When the job was first looked at: from then on a job that never succeeded can be late.
    pub begun: Option<Time>,
    /// When a round last ended well.
    pub last_success: Option<Time>,
    /// The trouble that was told and is not over.
    pub trouble: Option<Trouble>,
    /// The lateness that was told and is not over.
    pub late: Option<Told>,
}

/// A trouble that was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trouble {
    /// How the round ended that was told of.
    pub ending: Ending,
    /// Since when, and when it was told.
    pub told: Told,
}

/// Something that was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// When it began.
    pub since: Time,
    /// When it was last told.
    pub last: Time,
}

/// What is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// A round ended, and not well.
    Trouble {
        /// How.
        ending: Ending,
        /// When the first of the rounds ended that did not end well.
        since: Time,
        /// Whether it was told before.
        again: bool,
    },
    /// There was no success for too long.
    Late {
        /// The last success; for a job without any, when it was first looked at.
        since: Time,
        /// Whether it was told before.
        again: bool,
    },
    /// A round ended well, after something else was told.
    Recovered {
        /// When what was told began.
        since: Time,
    },
    /// A round ended well, as before.
    Success,
}

impl Alarm {
    /// A round ended now. A trouble that is no worse than what was told waits for its repeat.
    pub fn ended(&self, standing: &mut Standing, ending: Ending, now: Time) -> Option<Notice> {
        if ending == Ending::Ok {
            return Some(succeeded(standing, now));
        }
        standing.begun.get_or_insert(now);
        let told = standing.trouble.map(|trouble| trouble.told);
        let is_worse = standing.trouble.is_none_or(|trouble| ending > trouble.ending);
        if !is_worse && !told.is_some_and(|told| self.is_again(told, now)) {
            return None;
        }
        let since = told.map_or(now, |told| told.since);
        standing.trouble = Some(Trouble { ending, told: Told { since, last: now } });
        Some(Notice::Trouble { ending, since, again: !is_worse })
    }

    /// Whether the job is late now. To be asked at times, whether or not rounds run; see
    /// [`next_look`](Self::next_look).
    pub fn look(&self, standing: &mut Standing, now: Time) -> Option<Notice> {
        let begun = *standing.begun.get_or_insert(now);
        let since_when = standing.last_success.unwrap_or(begun);
        if self.no_success_for.is_none_or(|limit| since(now, since_when) < limit) {
            standing.late = None;
            return None;
        }
        if standing.late.is_some_and(|told| !self.is_again(told, now)) {
            return None;
        }
        let again = standing.late.is_some();
        standing.late = Some(Told { since: since_when, last: now });
        Some(Notice::Late { since: since_when, again })
    }

    /// When [`look`](Self::look) may next have something to tell, as things are; `None`: not before a round
    /// ends. May have passed already.
    pub fn next_look(&self, standing: &Standing) -> Option<Time> {
        let limit = self.no_success_for?;
        match standing.late {
            Some(told) => self.repeat.map(|repeat| add(told.last, repeat)),
            None => standing.last_success.or(standing.begun).map(|since| add(since, limit)),
        }
    }

    /// What was told by a clock that was ahead is told again, rather than not for as long as it was ahead.
    fn is_again(&self, told: Told, now: Time) -> bool {
        self.repeat.is_some_and(|repeat| told.last > now || since(now, told.last) >= repeat)
    }
}

fn succeeded(standing: &mut Standing, now: Time) -> Notice {
    standing.begun.get_or_insert(now);
    standing.last_success = Some(now); // even if it is earlier: the clock was wrong then
    let trouble = standing.trouble.take().map(|trouble| trouble.told.since);
    let late = standing.late.take().map(|told| told.since);
    match [trouble, late].into_iter().flatten().min() {
        Some(since) => Notice::Recovered { since },
        None => Notice::Success,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Ending::{Failed, Halted, Held, Ok as Well, Problems};
    use proptest::prelude::*;

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(hours * 3_600)
    }

    fn hour(hour: i64) -> Time {
        Time::from_secs(1_790_000_000 + hour * 3_600)
    }

    fn shown(notice: Option<Notice>) -> String {
        let hour = |time: Time| (time.secs - 1_790_000_000) / 3_600;
        let again = |again| if again { " again" } else { "" };
        match notice {
            None => String::new(),
            Some(Notice::Success) => "success".into(),
            Some(Notice::Recovered { since }) => format!("recovered {}", hour(since)),
            Some(Notice::Late { since, again: a }) => format!("late {}{}", hour(since), again(a)),
            Some(Notice::Trouble { ending, since, again: a }) => {
                format!("{} {}{}", ending.as_str(), hour(since), again(a))
            }
        }
    }

    /// Rows of an hour, how a round ended then (`None`: only a look) and what is told.
    fn check(alarm: Alarm, rows: &[(i64, Option<Ending>, &str)]) {
        let mut standing = Standing::default();
        for (at, ending, expected) in rows {
            let notice = match ending {
                Some(ending) => alarm.ended(&mut standing, *ending, hour(*at)),
                None => alarm.look(&mut standing, hour(*at)),
            };
            assert_eq!(shown(notice), *expected, "hour {at}: {standing:?}");
        }
    }

    const ONCE: Alarm = Alarm { no_success_for: Some(Duration::from_secs(26 * 3_600)), repeat: None };
    const DAILY: Alarm = Alarm { repeat: Some(Duration::from_secs(24 * 3_600)), ..ONCE };

    #[test]
    fn a_job_is_late_whether_or_not_rounds_run() {
        check(ONCE, &[(0, None, ""), (25, None, ""), (26, None, "late 0"), (27, None, ""), (500, None, "")]);
        let never_well =
            [(0, Some(Failed), "failed 0"), (25, None, ""), (26, None, "late 0"), (27, Some(Failed), "")];
        check(ONCE, &never_well);
        check(
            ONCE,
            &[(0, Some(Well), "success"), (20, Some(Well), "success"), (45, None, ""), (46, None, "late 20")],
        );
        check(Alarm::default(), &[(0, None, ""), (100_000, None, "")]);
    }

    #[test]
    fn the_same_thing_is_told_again_at_intervals_only() {
        check(
            DAILY,
            &[
                (0, None, ""),
                (30, None, "late 0"),
                (53, None, ""),
                (54, None, "late 0 again"),
                (77, None, ""),
            ],
        );
        let failing = [
            (0, Some(Failed), "failed 0"),
            (1, Some(Failed), ""),
            (23, Some(Failed), ""),
            (25, Some(Failed), "failed 0 again"),
            (48, Some(Failed), ""),
            (49, Some(Failed), "failed 0 again"),
        ];
        check(DAILY, &failing);
        check(ONCE, &[(0, Some(Failed), "failed 0"), (1_000, Some(Failed), "")]);
    }

    #[test]
    fn what_gets_worse_is_told_at_once_and_what_gets_better_waits() {
        let rows = [
            (0, Some(Problems), "problems 0"),
            (1, Some(Held), "held 0"),
            (2, Some(Problems), ""),
            (3, Some(Held), ""),
            (4, Some(Halted), "halted 0"),
            (5, Some(Failed), ""),
            (28, Some(Failed), "failed 0 again"),
        ];
        check(DAILY, &rows);
    }

    #[test]
    fn recovery_is_told_once_and_only_after_something_was() {
        let rows = [
            (0, Some(Well), "success"),
            (1, Some(Failed), "failed 1"),
            (2, Some(Failed), ""),
            (3, Some(Well), "recovered 1"),
            (4, Some(Well), "success"),
            (30, None, "late 4"),
            (31, Some(Well), "recovered 4"),
            (32, Some(Failed), "failed 32"),
            (57, None, "late 31"),
            (58, Some(Well), "recovered 31"),
            (59, None, ""),
        ];
        check(ONCE, &rows);
    }

    #[test]
    fn a_clock_that_jumps_tells_at_most_once_too_often() {
        // Set back: not late, and what was told ahead of time is not kept back for as long.
        check(
            DAILY,
            &[
                (1_000, Some(Well), "success"),
                (0, None, ""),
                (20, Some(Well), "success"),
                (46, None, "late 20"),
            ],
        );
        let ahead = [
            (1_000, Some(Failed), "failed 1000"),
            (0, Some(Failed), "failed 1000 again"),
            (1, Some(Failed), ""),
        ];
        check(DAILY, &ahead);
    }

    #[test]
    fn the_next_look_is_when_there_may_be_something_to_tell() {
        let mut standing = Standing::default();
        assert_eq!(DAILY.next_look(&standing), None);
        DAILY.look(&mut standing, hour(0));
        assert_eq!(DAILY.next_look(&standing), Some(hour(26)));
        DAILY.look(&mut standing, hour(30));
        assert_eq!(DAILY.next_look(&standing), Some(hour(54)));
        assert_eq!(ONCE.next_look(&standing), None);
        DAILY.ended(&mut standing, Well, hour(31));
        assert_eq!(DAILY.next_look(&standing), Some(hour(57)));
        assert_eq!(Alarm::default().next_look(&standing), None);
    }

    proptest! {
        /// However often rounds end and somebody looks, each kind of thing is told at most once per
        /// interval, apart from getting worse; and a look before its time tells nothing.
        #[test]
        fn notices_are_few(steps in prop::collection::vec((0i64..40_000, 0usize..7), 1..100)) {
            let (mut standing, mut now) = (Standing::default(), hour(0));
            let mut told: [Option<Time>; 2] = [None, None];
            for (step, what) in steps {
                now.secs += step;
                let endings = [Well, Problems, Held, Failed, Halted];
                let early = DAILY.next_look(&standing).is_some_and(|at| now < at);
                let notice = match endings.get(what) {
                    Some(ending) => DAILY.ended(&mut standing, *ending, now),
                    None => DAILY.look(&mut standing, now),
                };
                match notice {
                    Some(Notice::Late { since: from, again }) => {
                        prop_assert!(!early && since(now, from) >= hours(26));
                        prop_assert_eq!(again, told[0].is_some());
                        prop_assert!(told[0].is_none_or(|last| since(now, last) >= hours(24)));
                        told[0] = Some(now);
                    }
                    Some(Notice::Trouble { again, .. }) => {
                        prop_assert!(!again || told[1].is_some_and(|last| since(now, last) >= hours(24)));
                        told[1] = Some(now);
                    }
                    Some(Notice::Recovered { .. }) => {
                        prop_assert!(told != [None, None]);
                        told = [None, None];
                    }
                    Some(Notice::Success) => prop_assert_eq!(told, [None, None]),
                    None => {}
                }
            }
        }
    }
}
