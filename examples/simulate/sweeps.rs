//! One thing goes wrong, at every call of a round in turn.

use highwater::hash::Level;
use highwater::outcome::Mode;
use highwater::tree::memory::FAR;

use crate::play::{play_one, play_without_mark};
use crate::scratch;
use crate::settings::Settings;
use crate::weather::Weather;

const PLAIN: Settings = Settings {
    mode: Mode::Push,
    delete: true,
    has_trash: true,
    durable: true,
    level: Level::Full,
    is_in_order: true,
    keeps_connection: false,
    far: FAR,
    far_ahead_secs: 0,
    is_large: false,
    is_many: false,
    rounds: 1,
};

/// Plays the same seeds with the trouble at the first call, the second, and so on.
fn check(trouble: impl Fn(u64) -> Weather) {
    let mut failures = Vec::new();
    for mode in [Mode::Push, Mode::Pull] {
        for at in 1..=50 {
            let weather = Weather { way_millis: 3, ..trouble(at) };
            let played = play_one(at % 3, Settings { mode, ..PLAIN }, weather, &scratch());
            failures.extend(played.broken.map(|broken| format!("{mode:?}, call {at}: {broken}")));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn what_an_attempt_that_was_cut_off_left_is_found_and_made_durable() {
    check(|at| Weather { cuts: vec![at], ..Weather::default() });
}

#[test]
fn a_program_that_died_at_any_call_goes_on() {
    check(|at| Weather { crash: Some(at), ..Weather::default() });
}

#[test]
fn a_call_that_fails_is_made_up_for() {
    check(|at| Weather { error_at: Some(at), ..Weather::default() });
}

#[test]
fn doubt_ends_with_the_round_that_looked_and_deletes_go_on() {
    for mode in [Mode::Push, Mode::Pull] {
        for seed in 0..10 {
            let played = play_without_mark(seed, Settings { mode, ..PLAIN }, &scratch());
            assert_eq!(played.broken, None, "{mode:?}, seed {seed}");
        }
    }
}

#[test]
fn a_root_is_known_again_after_a_power_cut() {
    for (mode, seed) in
        [Mode::Push, Mode::Pull].into_iter().flat_map(|mode| (0..5).map(move |seed| (mode, seed)))
    {
        let played = play_one(seed, Settings { mode, ..PLAIN }, Weather::calm(), &scratch());
        assert_eq!(played.broken, None, "{mode:?}, seed {seed}");
    }
}
