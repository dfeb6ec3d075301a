//! Histories for people.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::{History, PastRound, state, why};
use crate::entry::Time;
use crate::journal::TrashSum;
use crate::outcome::Ending;
use crate::report::moment::in_zone;
use crate::report::{count, number, summary};
use crate::units::{ByteSize, human_duration};

/// How many things in the trash are shown per round.
const SHOWN: usize = 20;

/// Where and when a history is read.
#[derive(Debug, Clone)]
pub struct Reader {
    /// Now.
    pub now: Time,
    /// The time zone of the moments.
    pub zone: TimeZone,
}

impl Reader {
    fn when(&self, time: Time) -> String {
        let ago = u64::try_from(self.now.secs.saturating_sub(time.secs)).unwrap_or(0); // not yet: a clock was moved
        format!("{} ({} ago)", in_zone(time, &self.zone), human_duration(Duration::from_secs(ago)))
    }
}

/// The state of jobs for people: a line each, and indented lines for what a person must know.
pub fn status_text(histories: &[History], reader: &Reader) -> String {
    if histories.is_empty() {
        return "there is no job in the config, and none has had a round".into();
    }
    let mut text = String::new();
    for history in histories {
        let success = history.last_success.map_or_else(|| "never".into(), |time| reader.when(time));
        text += &format!("{}: {}, last success {success}\n", history.job, state(history));
        for note in notes(history, reader) {
            text += &format!("  {note}\n");
        }
    }
    text
}

fn notes(history: &History, reader: &Reader) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(why) = &history.state.halted {
        notes.extend(why.lines().map(str::to_owned));
        notes.push(format!("to go on: highwater resume {}", quoted(&history.job)));
    }
    if history.state.paused {
        notes.push(format!("to go on: highwater resume {}", quoted(&history.job)));
    }
    if let Some(due) = history.state.next_due {
        notes.push(format!("next round due {}", in_zone(due, &reader.zone)));
    }
    if history.backlog > 0 {
        notes.push(format!("{} to carry", count(history.backlog, "change")));
    }
    if let Some(live) = &history.live {
        notes.extend(live.notes());
    }
    if history.state.accept_deletes {
        notes.push("deletes that are held go with the next round".into());
    }
    if let Some(round) = history.rounds.first() {
        notes.extend(last_round(round, history, reader));
    }
    notes
}

fn last_round(round: &PastRound, history: &History, reader: &Reader) -> Option<String> {
    let began = reader.when(round.started);
    let Some(outcome) = &round.outcome else {
        return Some(format!("a round began {began} and is under way, or was cut off"));
    };
    let mut parts = Vec::new();
    if round.problems > 0 {
        parts.push(count(round.problems, "problem"));
    }
    if outcome.counts.held > 0 {
        parts.push(format!("{} held", number(outcome.counts.held)));
    }
    if outcome.ending == Ending::Ok && parts.is_empty() {
        return None;
    }
    parts.push(format!("highwater log {}", quoted(&history.job)));
    Some(format!("last round {began}: {}", parts.join(", ")))
}

/// A name as a shell takes it; the names of jobs need no quotes, the ends of a push do.
fn quoted(name: &str) -> String {
    let is_plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if is_plain { name.into() } else { format!("'{}'", name.replace('\'', r"'\''")) }
}

/// The rounds, problems and trash of jobs for people.
pub fn log_text(histories: &[History], reader: &Reader) -> String {
    if histories.is_empty() {
        return "no job has had a round yet".into();
    }
    let texts: Vec<String> = histories.iter().map(|history| job_text(history, reader)).collect();
    texts.join("\n")
}

fn job_text(history: &History, reader: &Reader) -> String {
    let mut text = format!("== {}\n", history.job);
    for round in &history.rounds {
        let began = in_zone(round.started, &reader.zone);
        match &round.outcome {
            Some(outcome) => text += &summary::in_full(&began, outcome, history.started),
            None => text += &format!("{began}: under way, or cut off\n"),
        }
    }
    for sum in &history.trash {
        text += &trash_text(sum, history, reader);
    }
    text
}

fn trash_text(sum: &TrashSum, history: &History, reader: &Reader) -> String {
    let (things, size) = (count(sum.count, "thing"), ByteSize(sum.bytes).human());
    let at = in_zone(sum.newest, &reader.zone);
    let folder = format!(".highwater/trash/{}", sum.round);
    let mut text = format!("in the trash since {at}, in {folder}: {things} ({size})\n");
    let shown = history.things.iter().filter(|thing| thing.round == sum.round).take(SHOWN);
    let mut left = sum.count;
    for thing in shown {
        left = left.saturating_sub(1);
        text += &format!("  {} ({}, {})\n", thing.path, why(thing.why), ByteSize(thing.size).human());
    }
    if left > 0 {
        text += &format!("  and {} more\n", number(left));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn reader() -> Reader {
        Reader { now: Time::from_secs(sample::START + 7500), zone: TimeZone::UTC }
    }

    #[test]
    fn the_state_says_what_a_person_must_know() {
        let text = status_text(&[sample::troubled(), sample::halted()], &reader());
        let expected = [
            "nightly: held, last success 2026-02-28 02:15:00 (1d 2h ago)",
            "  3 changes to carry",
            "  deletes that are held go with the next round",
            "  last round 2026-03-01 02:15:00 (2h 5m ago): 1 problem, 4 held, highwater log nightly",
            "/srv -> web1:it's: halted, last success never",
            "  the root was replaced",
            r"  to go on: highwater resume '/srv -> web1:it'\''s'",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
        assert_eq!(status_text(&[], &reader()), "there is no job in the config, and none has had a round");
    }

    #[test]
    fn the_log_has_rounds_problems_and_trash() {
        let text = log_text(&[sample::troubled()], &reader());
        let expected = [
            "== nightly",
            "2026-03-01 02:15:00: sent 2 files (3.0 MiB) in 1m 12s, 42.6 KiB/s",
            "  held: 4 changes at the target wait for a person; to let go: highwater resume nightly --accept-deletes",
            "  problems (1):",
            "    a\\xff: read: permission denied",
            "2026-03-01 02:14:00: under way, or cut off",
            "in the trash since 2026-03-01 02:15:00, in .highwater/trash/r1: 30 things (2.0 KiB)",
            "  old (deleted, 1.0 KiB)",
            "  new (displaced, 1.0 KiB)",
            "  and 28 more",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }
}
