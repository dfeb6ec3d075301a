//! Schedules on a manual clock: weeks in a second.

use proptest::prelude::*;

use super::*;
use crate::calendar::{add, add_nanos};
use crate::clock::{Clock, ManualClock};

/// A machine that does what a daemon does with one timer.
struct Machine {
    timer: Timer,
    memory: Memory,
    clock: ManualClock,
    zone: TimeZone,
    /// How long each round takes.
    round: Duration,
    started: Vec<Time>,
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

fn at(text: &str, zone: &TimeZone) -> Time {
    match text.parse::<Timestamp>() {
        Ok(moment) => time(moment),
        Err(_) => time(zone.to_timestamp(text.parse().unwrap()).unwrap()),
    }
}

fn when(text: &str) -> When {
    match crate::units::parse_duration(text) {
        Ok(every) => When::Every(every),
        Err(_) => When::Cron { fields: text.into(), zone: None },
    }
}

fn timer(text: &str, jitter: Duration, missed: Missed, only: &[&str], zone: &TimeZone) -> Timer {
    let window = Window::new(only.iter().map(|span| span.parse().unwrap()).collect(), zone.clone());
    let schedule = Schedule { when: when(text), jitter, missed };
    Timer::new(&schedule, window, zone.clone(), 42).unwrap()
}

impl Machine {
    fn new(text: &str, missed: Missed, only: &[&str], now: &str) -> Self {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let clock = ManualClock::new(at(now, &zone));
        let timer = timer(text, Duration::ZERO, missed, only, &zone);
        Self { timer, memory: Memory::default(), clock, zone, round: MINUTE, started: Vec::new() }
    }

    /// Awake until then: every round starts when it is due and the one before has ended.
    fn awake(&mut self, until: &str) -> &mut Self {
        let until = at(until, &self.zone);
        while self.clock.now() < until {
            let now = self.clock.now();
            let due = self.timer.next(&mut self.memory, now);
            match due.map_or(until, |due| due.at) {
                at if at <= now => {
                    self.started.push(now);
                    self.memory.started(now);
                    self.clock.set(add(now, self.round));
                }
                at => self.clock.set(at.min(until)),
            }
        }
        self
    }

    /// Asleep or down until then, or the clock is set: what it shows next.
    fn jump(&mut self, to: &str) -> &mut Self {
        self.clock.set(at(to, &self.zone));
        self
    }

    /// The starts since the last look, as `day hour:minute` on the wall.
    fn starts(&mut self) -> Vec<String> {
        let wall = |t: Time| timestamp(t).to_zoned(self.zone.clone()).strftime("%d %H:%M").to_string();
        std::mem::take(&mut self.started).into_iter().map(wall).collect()
    }

    fn check(&mut self, expected: &[&str]) {
        assert_eq!(self.starts(), expected);
    }
}

/// 2026-03-29, 02:00 is 03:00 in Berlin.
#[test]
fn a_week_with_a_change_of_the_clocks_a_sleep_and_a_clock_set_back() {
    let mut machine = Machine::new("30 2 * * *", Missed::Run, &[], "2026-03-25T12:00");
    machine.awake("2026-03-27T01:00").check(&["26 02:30"]);
    machine
        .jump("2026-03-27T04:00")
        .awake("2026-03-30T02:31")
        .check(&["27 04:00", "28 02:30", "29 03:00", "30 02:30"]);
    machine.awake("2026-03-30T02:45").jump("2026-03-30T01:45"); // an hour back, after the round
    machine.awake("2026-03-31T12:00").check(&["31 02:30"]);

    let mut machine = Machine::new("30 2 * * *", Missed::Skip, &[], "2026-03-25T12:00");
    machine.awake("2026-03-27T01:00").jump("2026-03-27T04:00").awake("2026-03-30T02:45");
    machine.check(&["26 02:30", "28 02:30", "29 03:00", "30 02:30"]);
    machine.jump("2026-03-30T01:45").awake("2026-03-31T12:00").check(&["31 02:30"]);

    let mut machine = Machine::new("0 */6 * * *", Missed::Run, &[], "2026-03-28T11:00");
    machine.awake("2026-03-29T11:00").check(&["28 12:00", "28 18:00", "29 00:00", "29 06:00"]);
    machine.jump("2026-03-29T14:00").awake("2026-03-29T19:00").check(&["29 14:00", "29 18:00"]);
}

/// 2026-10-25, 03:00 is 02:00 in Berlin.
#[test]
fn the_night_with_an_hour_more() {
    let mut machine = Machine::new("30 2 * * *", Missed::Run, &[], "2026-10-24T12:00");
    machine.awake("2026-10-26T12:00").check(&["25 02:30", "26 02:30"]);
    let mut machine = Machine::new("30 * * * *", Missed::Run, &[], "2026-10-25T01:00");
    machine.awake("2026-10-25T04:00").check(&["25 01:30", "25 02:30", "25 02:30", "25 03:30"]);
    let mut machine = Machine::new("1h", Missed::Run, &[], "2026-10-25T01:00");
    machine.awake("2026-10-25T04:00").check(&["25 01:00", "25 02:00", "25 02:00", "25 03:00"]);
}

#[test]
fn missed_moments_are_one_round_or_none() {
    let check = |missed, expected: &[&str]| {
        let mut machine = Machine::new("*/15 * * * *", missed, &[], "2026-11-16T08:05");
        machine.awake("2026-11-16T08:20").jump("2026-11-18T11:07").awake("2026-11-18T11:32").check(expected);
    };
    check(Missed::Run, &["16 08:15", "18 11:07", "18 11:15", "18 11:30"]);
    check(Missed::Skip, &["16 08:15", "18 11:15", "18 11:30"]);
    let check = |missed, expected: &[&str]| {
        let mut machine = Machine::new("15m", missed, &[], "2026-11-16T08:05");
        machine.awake("2026-11-16T08:25").jump("2026-11-16T11:07").awake("2026-11-16T11:23").check(expected);
    };
    check(Missed::Run, &["16 08:05", "16 08:20", "16 11:07", "16 11:22"]);
    check(Missed::Skip, &["16 08:05", "16 08:20", "16 11:20"]);
}

#[test]
fn a_wake_a_few_seconds_late_misses_nothing() {
    let mut machine = Machine::new("0 3 * * *", Missed::Skip, &[], "2026-11-16T02:00");
    machine
        .awake("2026-11-16T02:59")
        .jump("2026-11-16T03:00:59")
        .awake("2026-11-16T04:00")
        .check(&["16 03:00"]);
    let mut machine = Machine::new("0 3 * * *", Missed::Skip, &[], "2026-11-16T02:00");
    machine.awake("2026-11-16T02:59").jump("2026-11-16T03:01:01").awake("2026-11-16T04:00").check(&[]);
}

#[test]
fn rounds_never_overlap_and_what_passes_meanwhile_is_missed() {
    let check = |text, missed, expected: &[&str]| {
        let mut machine = Machine::new(text, missed, &[], "2026-11-16T08:00");
        machine.round = 25 * MINUTE;
        machine.awake("2026-11-16T09:05").check(expected);
    };
    check("*/10 * * * *", Missed::Run, &["16 08:10", "16 08:35", "16 09:00"]);
    check("*/10 * * * *", Missed::Skip, &["16 08:10", "16 08:40"]);
    check("10m", Missed::Run, &["16 08:00", "16 08:25", "16 08:50"]);
    check("10m", Missed::Skip, &["16 08:00", "16 08:30", "16 09:00"]);
}

#[test]
fn a_clock_set_back_repeats_no_time_of_day_and_stops_no_rhythm() {
    let check = |text, back_to: &str, until: &str, expected: &[&str]| {
        let mut machine = Machine::new(text, Missed::Run, &[], "2026-11-16T07:59");
        machine.awake("2026-11-16T10:20").starts();
        machine.jump(back_to).awake(until).check(expected);
    };
    check("0 8,9,10,12 * * *", "2026-11-16T07:30", "2026-11-16T12:30", &["16 12:00"]);
    check("0 * * * *", "2026-11-16T08:30", "2026-11-16T10:30", &["16 09:00", "16 10:00"]);
    check("1h", "2026-11-16T08:30", "2026-11-16T10:40", &["16 09:30", "16 10:30"]);
    // So far back that it was wrong before: the day is gone through again.
    check("0 8,9,10,12 * * *", "2026-11-15T20:00", "2026-11-16T08:30", &["16 08:00"]);
    check("0 8,9,10,12 * * *", "2016-11-15T09:30", "2016-11-15T11:00", &["15 10:00"]);
}

#[test]
fn a_clock_set_forward_is_like_a_sleep() {
    let mut machine = Machine::new("0 8,9,10,12 * * *", Missed::Run, &[], "2026-11-16T07:59");
    machine.awake("2026-11-16T08:30").jump("2026-11-16T11:30").awake("2026-11-16T12:30");
    machine.check(&["16 08:00", "16 11:30", "16 12:00"]);
}

#[test]
fn moments_outside_of_the_window_wait_for_it_or_count_for_nothing() {
    let check = |text, missed, expected: &[&str]| {
        let mut machine = Machine::new(text, missed, &["22:00-06:00"], "2026-11-16T05:10");
        machine.awake("2026-11-16T23:10").check(expected);
    };
    check("30 * * * *", Missed::Run, &["16 05:30", "16 22:00", "16 22:30"]);
    check("30 * * * *", Missed::Skip, &["16 05:30", "16 22:30"]);
    check("0 12 * * *", Missed::Run, &["16 22:00"]);
    check("0 12 * * *", Missed::Skip, &[]);
    check("0 22 * * *", Missed::Skip, &["16 22:00"]);
    check("30m", Missed::Run, &["16 05:10", "16 05:40", "16 22:00", "16 22:30", "16 23:00"]);
    check("7h", Missed::Skip, &["16 05:10"]);
}

#[test]
fn a_schedule_that_never_meets_its_window_is_never_due() {
    let zone = TimeZone::UTC;
    let never = timer("0 12 * * *", Duration::ZERO, Missed::Skip, &["22:00-06:00"], &zone);
    assert_eq!(never.next(&mut Memory::default(), at("2026-11-16T05:10", &zone)), None);
    let rare = timer("0 12 29 2 *", Duration::ZERO, Missed::Skip, &["sun"], &zone);
    let due = rare.next(&mut Memory::default(), at("2026-11-16T05:10", &zone)).unwrap();
    assert_eq!(due.at, at("2032-02-29T12:00", &zone));
}

#[test]
fn what_was_settled_is_remembered_over_a_restart() {
    let mut machine = Machine::new("0 3 * * *", Missed::Run, &[], "2026-11-16T12:00");
    machine.awake("2026-11-17T01:00").check(&[]);
    let kept = machine.memory;
    let mut machine = Machine::new("0 3 * * *", Missed::Run, &[], "2026-11-18T14:00");
    machine.memory = kept;
    machine.awake("2026-11-19T12:00").check(&["18 14:00", "19 03:00"]);
}

#[test]
fn a_round_that_somebody_else_started_counts() {
    let mut machine = Machine::new("15m", Missed::Run, &[], "2026-11-16T08:00");
    machine.awake("2026-11-16T08:10");
    machine.memory.started(at("2026-11-16T08:10", &machine.zone));
    machine.awake("2026-11-16T08:30").check(&["16 08:00", "16 08:25"]);
}

#[test]
fn jitter_is_the_same_each_time_and_another_for_each_job_and_moment() {
    let zone = TimeZone::UTC;
    let mut daily = timer("0 3 * * *", 10 * MINUTE, Missed::Skip, &[], &zone);
    let start = |timer: &Timer, day: u32| {
        let now = at(&format!("2026-11-{day:02}T01:00"), &zone);
        timer.next(&mut Memory::default(), now).unwrap().at
    };
    let first = start(&daily, 16);
    assert_eq!(first, start(&daily, 16));
    let offsets: Vec<i64> = (1..=20).map(|day| start(&daily, day).secs % 86_400 - 3 * 3_600).collect();
    assert!(offsets.iter().all(|offset| (0..600).contains(offset)), "{offsets:?}");
    assert!(offsets.iter().any(|o| *o < 200) && offsets.iter().any(|o| *o > 400), "{offsets:?}");
    daily.seed = 43;
    assert_ne!(first, start(&daily, 16));
    // Between a moment and its start, a restart skips nothing.
    daily.seed = 42;
    let mut memory = Memory { settled: Some(at("2026-11-16T01:00", &zone)) };
    let shortly_before = add_nanos(first, -1);
    assert_eq!(daily.next(&mut memory, shortly_before).unwrap().at, first);
}

#[test]
fn jitter_leads_neither_past_the_next_moment_nor_out_of_the_window() {
    let zone = TimeZone::UTC;
    let often = timer("*/5 * * * *", HOUR, Missed::Run, &[], &zone);
    let late = timer("50 5 * * *", HOUR, Missed::Skip, &["22:00-06:00"], &zone);
    for day in 1..=30 {
        let now = at(&format!("2026-11-{day:02}T05:41"), &zone);
        let due = often.next(&mut Memory::default(), now).unwrap();
        assert!(due.at >= add(now, 4 * MINUTE) && due.at < add(now, 9 * MINUTE), "{due:?}");
        let due = late.next(&mut Memory::default(), now).unwrap();
        assert!(due.at >= add(now, 9 * MINUTE) && due.at < add(now, 19 * MINUTE), "{due:?}");
    }
}

#[test]
fn a_job_that_only_watches_starts_with_the_daemon() {
    use crate::config::{Env, load};
    let check = |lines: &str, expected: bool| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yml");
        let job = format!("jobs: {{j: {{mode: push, local: /l, remote: 's:/r', {lines}}}}}");
        std::fs::write(&path, format!("version: 1\nservers: {{s: {{host: h}}}}\n{job}\n")).unwrap();
        let env = Env { home: None, config_home: None, system_file: path.clone() };
        let loaded = load(Some(&path), &env).unwrap();
        assert_eq!(starts_with_daemon(&loaded.config.jobs[0]), expected, "{lines}");
    };
    check("watch: {}", true);
    check("watch: {}, schedule: {only: sat}", true);
    check("watch: {}, schedule: {every: 1h}", false);
    check("schedule: {every: 1h}", false);
}

const TEXTS: [&str; 7] =
    ["15 2 * * *", "*/20 * * * *", "30 1,2,3 * * *", "0 0 * * mon", "*/7 0-5 * * *", "25m", "9h"];
const ZONES: [&str; 4] = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"];

fn any_timer() -> impl Strategy<Value = Timer> {
    let missed = prop_oneof![Just(Missed::Run), Just(Missed::Skip)];
    let only = prop::sample::select(vec![vec![], vec!["22:00-06:00"], vec!["sat,sun", "mon 01:30-02:30"]]);
    let (text, zone) = (prop::sample::select(&TEXTS[..]), prop::sample::select(&ZONES[..]));
    let jitter = prop_oneof![Just(Duration::ZERO), (1u64..7_200).prop_map(Duration::from_secs)];
    (text, zone, missed, only, jitter).prop_map(|(text, zone, missed, only, jitter)| {
        timer(text, jitter, missed, &only, &TimeZone::get(zone).unwrap())
    })
}

/// Some two years, which hold every change of the clocks.
fn any_moment() -> impl Strategy<Value = Time> {
    (1_790_000_000i64..1_850_000_000).prop_map(Time::from_secs)
}

proptest! {
    #[test]
    fn after_a_start_the_next_due_is_later(timer in any_timer(), now in any_moment()) {
        let mut memory = Memory::default();
        memory.started(now);
        if let Some(due) = timer.next(&mut memory, now) {
            prop_assert!(due.at > now && due.moment > now && due.at >= due.moment);
            prop_assert!(timer.window.is_open(due.at));
        }
    }

    #[test]
    fn what_is_due_never_moves_back_while_time_goes_on(
        timer in any_timer(), now in any_moment(), steps in prop::collection::vec(0u64..50_000, 1..20),
    ) {
        let mut memory = Memory { settled: Some(now) };
        let mut now = now;
        let mut last = Time::default();
        for step in steps {
            now = add(now, Duration::from_secs(step));
            let Some(due) = timer.next(&mut memory, now) else { return Ok(()) };
            let start = due.at.max(now);
            prop_assert!(start >= last, "{start:?} after {last:?}");
            last = start;
        }
    }

    /// With `missed: run`, each round starts at the first chance after the first moment that none
    /// covers yet: no moment is left out, no round is for nothing.
    #[test]
    fn every_moment_is_followed_by_a_round(
        timer in any_timer(), begin in any_moment(), naps in prop::collection::vec((1u64..40_000, 1u64..90_000), 1..12),
        round in 1u64..4_000,
    ) {
        let timer = Timer { missed: Missed::Run, ..timer };
        let mut memory = Memory { settled: Some(begin) };
        let (mut now, mut last) = (begin, begin);
        for (awake, asleep) in naps {
            let nap = add(now, Duration::from_secs(awake));
            while let Some(due) = timer.next(&mut memory, now).filter(|due| due.at.max(now) < nap) {
                let moment = timer.moments.after(timestamp(last), timestamp(last)).unwrap();
                prop_assert_eq!(due.moment, time(moment));
                let wanted = timer.start(timestamp(last), moment).max(timestamp(now));
                now = due.at.max(now);
                prop_assert_eq!(timer.window.opening(wanted), Some(timestamp(now)));
                memory.started(now);
                last = now;
                now = add(now, Duration::from_secs(round));
            }
            now = add(now.max(nap), Duration::from_secs(asleep));
        }
    }

    #[test]
    fn no_memory_and_no_clock_make_it_panic(timer in any_timer(), settled in any::<Option<i64>>(), now in any::<i64>()) {
        let mut memory = Memory { settled: settled.map(Time::from_secs) };
        timer.next(&mut memory, Time::from_secs(now));
    }
}
