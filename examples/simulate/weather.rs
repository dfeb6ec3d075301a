//! What goes wrong in one round, and how often.

use crate::random::Random;
use crate::settings::Settings;

/// Drawn once per round. Calls are counted from 1, both sides together.
#[derive(Debug, Clone, Default)]
pub struct Weather {
    /// Things that people do while the round is under way.
    pub edits: u64,
    /// In so many calls of a thousand somebody does something.
    pub edit_permille: u64,
    /// Calls that are refused.
    pub errors: u64,
    pub error_permille: u64,
    /// Another one, at this call.
    pub error_at: Option<u64>,
    /// Data that arrives with a bit turned.
    pub flips: u64,
    /// Listings that leave things out and end as if they were whole.
    pub lies: u64,
    /// The connection is lost at these calls of the far side, counted from the last cut.
    pub cuts: Vec<u64>,
    /// Whether a request is lost by time and not with its connection.
    pub times_out: bool,
    /// Logins that are refused before one is let in.
    pub refusals: u64,
    /// The program dies at this call.
    pub crash: Option<u64>,
    /// Longest way of a request, and of an answer, in milliseconds.
    pub way_millis: u64,
}

impl Weather {
    /// Nothing goes wrong, nobody does anything.
    pub fn calm() -> Self {
        Self { way_millis: 3, ..Self::default() }
    }

    /// One kind of trouble, or several.
    pub fn draw(random: &mut Random, settings: &Settings) -> Self {
        let mut weather = Self { way_millis: *random.pick(&[0, 3, 20, 150]), ..Self::default() };
        if random.chance(60) {
            weather.edits = random.between(1, 6);
            weather.edit_permille = *random.pick(&[5, 20, 80]);
        }
        if random.chance(30) {
            weather.errors = random.between(1, 4);
            weather.error_permille = *random.pick(&[10, 30, 100]);
        }
        if random.chance(15) && settings.level == highwater::hash::Level::Full {
            weather.flips = random.between(1, 2);
        }
        if random.chance(15) {
            weather.lies = random.between(1, 3);
        }
        if random.chance(45) {
            weather.cuts = (0..random.between(1, 3)).map(|_| random.between(1, 60)).collect();
            weather.times_out = random.chance(30);
            weather.refusals = random.below(3);
        }
        if random.chance(35) {
            let latest = *random.pick(&[40, 150]);
            weather.crash = Some(random.between(1, latest));
        }
        weather
    }
}
