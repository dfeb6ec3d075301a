//! A round's [`Outcome`] for people. Pure: what is made here is printed by `cli::show`.

use std::fmt::Write;
use std::time::Duration;

use super::{count, number, one_line};
use crate::error::{Error, Kind, Problem};
use crate::outcome::{Counts, Ending, Mode, Outcome};
use crate::units::{ByteSize, human_duration};

/// How many entries of a list are shown to a person before "and N more".
const SHOWN: usize = 20;

/// How a person started the round, and so how its next one is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// As a job of the config.
    AsJob,
    /// By `highwater push` or `highwater pull` with its two ends.
    AsCommand,
}

/// The outcome of a round that an error ended before it came to one.
pub fn failed(job: impl Into<String>, mode: Mode, error: &Error, elapsed: Duration) -> Outcome {
    let halted = matches!(error.kind(), Kind::Halt | Kind::HostKeyChanged);
    Outcome {
        job: job.into(),
        mode,
        ending: if halted { Ending::Halted } else { Ending::Failed },
        counts: Counts::default(),
        problems: Vec::new(),
        recovered: Vec::new(),
        elapsed,
        message: Some(describe(error)),
        exit_code: error.kind().exit_code(),
    }
}

/// What went wrong and why, and on a line of its own what to try.
pub fn describe(error: &Error) -> String {
    match error.hint_text() {
        Some(hint) => format!("{}\n{hint}", what(error)),
        None => what(error),
    }
}

/// What went wrong and why: on one line, or with a line for each of several reasons. Harmless to a
/// terminal, wherever the reasons came from.
pub fn what(error: &Error) -> String {
    let space = if error.subject().is_empty() { "" } else { " " };
    let operation = one_line(&format!("cannot {}{space}{}", error.operation(), error.subject()));
    let reason = error.reason();
    let reasons: Vec<String> = reason.lines().map(one_line).collect();
    let between = if reasons.len() > 1 { ":\n  " } else { ": " };
    operation + between + &reasons.join("\n  ")
}

/// The exit code of a command that made these rounds: the gravest of theirs.
pub fn exit_code(outcomes: &[Outcome]) -> u8 {
    outcomes.iter().map(|o| o.exit_code).max().unwrap_or(0)
}

/// One round for people: a head line, and indented lines for what needs saying. Ends with a line feed.
pub fn text(outcome: &Outcome, started: Started) -> String {
    lines(&outcome.job, outcome, started, SHOWN).join("\n") + "\n"
}

/// One round of the past, under the name `label`, with its lists in full. Ends with a line feed.
pub fn in_full(label: &str, outcome: &Outcome, started: Started) -> String {
    lines(label, outcome, started, usize::MAX).join("\n") + "\n"
}

fn lines(label: &str, outcome: &Outcome, started: Started, shown: usize) -> Vec<String> {
    let mut lines = vec![format!("{label}: {}", head(outcome))];
    lines.extend(details(&outcome.counts));
    if let Some(message) = &outcome.message {
        lines.extend(message.lines().map(|line| format!("  {line}")));
    }
    lines.extend(way_on(outcome, started));
    let log = match started {
        Started::AsJob => format!("highwater log {}", outcome.job),
        Started::AsCommand => "highwater log".into(),
    };
    for (title, entries) in [("put right on the way", &outcome.recovered), ("problems", &outcome.problems)] {
        list(&mut lines, title, entries, shown, &log);
    }
    lines
}

fn head(outcome: &Outcome) -> String {
    let (done, time) = (done(&outcome.counts), human_duration(outcome.elapsed));
    let nothing = outcome.counts == Counts::default();
    match outcome.ending {
        Ending::Ok | Ending::Problems | Ending::Held => {
            format!("{done} in {time}{}", rate(&outcome.counts, outcome.elapsed))
        }
        ending if nothing => format!("{} after {time}", ending.as_str()),
        ending => format!("{} after {time}; {done} before that", ending.as_str()),
    }
}

fn done(counts: &Counts) -> String {
    let moved =
        |verb: &str, files, bytes| format!("{verb} {} ({})", count(files, "file"), ByteSize(bytes).human());
    let mut parts = Vec::new();
    if counts.files_sent > 0 || counts.bytes_sent > 0 {
        parts.push(moved("sent", counts.files_sent, counts.bytes_sent));
    }
    if counts.files_received > 0 || counts.bytes_received > 0 {
        parts.push(moved("received", counts.files_received, counts.bytes_received));
    }
    if parts.is_empty() {
        parts.push("no file to carry".into());
    }
    parts.join(", ")
}

/// The mean rate, for rounds long enough to have one.
fn rate(counts: &Counts, elapsed: Duration) -> String {
    let bytes = counts.bytes_sent.saturating_add(counts.bytes_received);
    if bytes == 0 || elapsed < Duration::from_secs(1) {
        return String::new();
    }
    format!(", {}/s", ByteSize((bytes as f64 / elapsed.as_secs_f64()) as u64).human())
}

fn details(counts: &Counts) -> Vec<String> {
    let some = |n: u64, word: &str| (n > 0).then(|| format!("{} {word}", number(n)));
    let changes: Vec<String> = [
        some(counts.renamed, "renamed"),
        some(counts.deleted, "deleted"),
        some(counts.displaced, "displaced (moved to the trash)"),
        some(counts.unchanged, "unchanged"),
        some(counts.foreign, "not ours (left alone)"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let levels = counts.verified.iter().rev();
    let proved: Vec<String> = levels.filter_map(|(level, &files)| some(files, level.as_str())).collect();
    let resumed =
        || format!("resumed: {} did not have to cross again", ByteSize(counts.bytes_resumed).human());
    let mut lines = Vec::new();
    if !changes.is_empty() {
        lines.push(format!("  {}", changes.join(", ")));
    }
    if !proved.is_empty() {
        let read = ByteSize(counts.bytes_verified).human();
        lines.push(format!("  verified: {} ({read} read to verify)", proved.join(", ")));
    }
    if counts.bytes_resumed > 0 {
        lines.push(format!("  {}", resumed()));
    }
    lines
}

/// What is held or halted, and the command that lets it go, where the message does not say so itself.
fn way_on(outcome: &Outcome, started: Started) -> Vec<String> {
    let held = outcome.counts.held;
    let mut lines = Vec::new();
    if held > 0 && outcome.message.is_none() {
        let accept = match started {
            Started::AsJob => format!("highwater resume {} --accept-deletes", outcome.job),
            Started::AsCommand => "the same command with --accept-deletes".into(),
        };
        lines.push(format!("  held: {} for a person; to let go: {accept}", wait(held)));
    }
    if outcome.ending == Ending::Halted && started == Started::AsJob {
        lines.push(format!("  to go on: highwater resume {}", outcome.job));
    }
    lines
}

fn wait(held: u64) -> String {
    match held {
        1 => "1 change at the target waits".into(),
        n => format!("{} changes at the target wait", number(n)),
    }
}

fn list(lines: &mut Vec<String>, title: &str, entries: &[Problem], shown: usize, log: &str) {
    if entries.is_empty() {
        return;
    }
    lines.push(format!("  {title} ({}):", number(entries.len() as u64)));
    lines.extend(entries.iter().take(shown).map(|p| format!("    {}", problem(p))));
    if entries.len() > shown {
        lines.push(format!("    and {} more: {log}", number((entries.len() - shown) as u64)));
    }
}

/// One problem on one line.
pub fn problem(problem: &Problem) -> String {
    let mut text = String::new();
    if !problem.path.is_root() {
        let _ = write!(text, "{}: ", problem.path); // writing to a String cannot fail
    }
    if !problem.operation.is_empty() {
        let _ = write!(text, "{}: ", problem.operation); // as above
    }
    text + &problem.message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Level;
    use crate::path::RelPath;

    fn outcome(ending: Ending, counts: Counts) -> Outcome {
        Outcome {
            job: "nightly".into(),
            mode: Mode::Push,
            ending,
            counts,
            problems: Vec::new(),
            recovered: Vec::new(),
            elapsed: Duration::from_secs(72),
            message: None,
            exit_code: 0,
        }
    }

    fn note(path: &[u8], message: &str) -> Problem {
        Problem::new(RelPath::parse(path).unwrap(), "read", "permission-denied", message)
    }

    fn check(outcome: &Outcome, started: Started, expected: &[&str]) {
        assert_eq!(text(outcome, started).lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_quiet_round_is_one_line() {
        let counts = Counts { unchanged: 1204, ..Counts::default() };
        let mut quiet = outcome(Ending::Ok, counts);
        quiet.elapsed = Duration::from_millis(300);
        check(&quiet, Started::AsJob, &["nightly: no file to carry in 0.3s", "  1,204 unchanged"]);
    }

    #[test]
    fn a_full_round_says_what_was_done_and_proved() {
        let counts = Counts {
            files_sent: 12,
            bytes_sent: 3 << 30,
            bytes_verified: 3 << 30,
            bytes_resumed: 1 << 30,
            renamed: 3,
            deleted: 2,
            displaced: 1,
            foreign: 4,
            unchanged: 120,
            verified: [(Level::Full, 11), (Level::Ack, 1)].into(),
            ..Counts::default()
        };
        let mut full = outcome(Ending::Problems, counts);
        full.recovered = vec![Problem::new(RelPath::root(), "", "disconnected", "connected again")];
        full.problems = vec![note(b"a/\xff\x1b", "permission denied")];
        let expected = [
            "nightly: sent 12 files (3.0 GiB) in 1m 12s, 42.6 MiB/s",
            "  3 renamed, 2 deleted, 1 displaced (moved to the trash), 120 unchanged, 4 not ours (left alone)",
            "  verified: 11 full, 1 ack (3.0 GiB read to verify)",
            "  resumed: 1.0 GiB did not have to cross again",
            "  put right on the way (1):",
            "    connected again",
            "  problems (1):",
            "    a/\\xff\\x1b: read: permission denied",
        ];
        check(&full, Started::AsJob, &expected);
    }

    #[test]
    fn what_is_held_comes_with_the_command_that_lets_it_go() {
        let mut held = outcome(Ending::Held, Counts { held: 34, ..Counts::default() });
        let head = "nightly: no file to carry in 1m 12s";
        let row = |way| format!("  held: 34 changes at the target wait for a person; to let go: {way}");
        let job = row("highwater resume nightly --accept-deletes");
        check(&held, Started::AsJob, &[head, &job]);
        let command = row("the same command with --accept-deletes");
        check(&held, Started::AsCommand, &[head, &command]);
        held.message = Some("nothing can be kept in the trash".into());
        check(&held, Started::AsJob, &[head, "  nothing can be kept in the trash"]);
    }

    #[test]
    fn an_error_before_the_round_becomes_its_outcome() {
        let error =
            Error::new(Kind::HostKeyChanged, "connect to", "a@b:22").detail("the key is new").hint("Look.");
        let halted = failed("nightly", Mode::Pull, &error, Duration::from_secs(3));
        let expected = [
            "nightly: halted after 3.0s",
            "  cannot connect to a@b:22: the key is new",
            "  Look.",
            "  to go on: highwater resume nightly",
        ];
        check(&halted, Started::AsJob, &expected);
        assert_eq!(halted.exit_code, 4);
        let error = Error::new(Kind::Unreachable, "connect to", "a@b:22");
        let failed = failed("nightly", Mode::Pull, &error, Duration::from_secs(3));
        check(
            &failed,
            Started::AsJob,
            &["nightly: failed after 3.0s", "  cannot connect to a@b:22: unreachable"],
        );
        assert_eq!(exit_code(&[halted, failed]), 4);
    }

    #[test]
    fn several_reasons_have_a_line_each() {
        let check = |detail: &str, expected: &str| {
            let error = Error::new(Kind::Usage, "use", "it\n").detail(detail).hint("Look.");
            assert_eq!(describe(&error), expected);
        };
        check("one", "cannot use it\\x0a: one\nLook.");
        check("one\n\x1btwo\r", "cannot use it\\x0a:\n  one\n  \\x1btwo\\x0d\nLook.");
    }

    #[test]
    fn a_list_is_cut_after_twenty() {
        let mut many = outcome(Ending::Problems, Counts::default());
        many.problems = (0..1042).map(|i| note(format!("f{i}").as_bytes(), "permission denied")).collect();
        let text = text(&many, Started::AsJob);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1 + 1 + 20 + 1);
        assert_eq!(lines[1], "  problems (1,042):");
        assert_eq!(lines[21], "    f19: read: permission denied");
        assert_eq!(lines[22], "    and 1,022 more: highwater log nightly");
    }
}
