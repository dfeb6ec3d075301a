//! A [`Notice`] in words and for programs. Pure.

use serde_json::{Value, json};

use super::notice::{Notice, Round};
use crate::calendar::since;
use crate::config::model::Event;
use crate::entry::Time;
use crate::report::document::JobDocument;
use crate::report::moment::rfc3339;
use crate::report::summary::{self, Started};
use crate::report::{count, one_line};
use crate::units::human_duration;

/// Which program tells.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// One line: the subject of a mail, what a pager shows.
pub fn subject(notice: &Notice) -> String {
    let test = if notice.is_test { "test: " } else { "" };
    let again = if notice.again { ", still" } else { "" };
    one_line(&format!("{test}{} on {}: {}{again}", notice.job, notice.host, what(notice)))
}

fn what(notice: &Notice) -> String {
    match notice.event {
        Event::Start => "a round begins".into(),
        Event::Success => "done".into(),
        Event::Recovered => "well again".into(),
        Event::Problems => {
            format!("done with {}", count(notice.round.as_ref().map_or(0, |r| r.problems), "problem"))
        }
        Event::Held => "deletes wait for you".into(),
        Event::Failure => "failed".into(),
        Event::Halt => "halted, waits for you".into(),
        Event::Late => match notice.since {
            Some(begin) => format!("no success for {}", human_duration(since(notice.at, begin))),
            None => "no success for too long".into(),
        },
    }
}

/// All of it for people, lines each ended by a line feed. Nothing in it acts on a terminal.
pub fn text(notice: &Notice) -> String {
    let mut lines = vec![subject(notice), String::new()];
    if let Some(round) = &notice.round {
        lines.extend(summary::text(&round.outcome, Started::AsJob).lines().map(String::from));
        lines.extend(more(round));
        lines.push(String::new());
        lines.push(format!("Round: {} to {}", moment(round.started), moment(round.ended)));
    }
    lines.extend(notice.since.map(|since| match notice.event {
        Event::Recovered => format!("In trouble since: {}", moment(since)),
        Event::Late => format!("Last success, or first look: {}", moment(since)),
        _ => format!("Since: {}", moment(since)),
    }));
    lines.push(format!("Told: {} by highwater {VERSION} on {}", moment(notice.at), notice.host));
    lines.iter().map(|line| one_line(line) + "\n").collect()
}

/// The problems that are not in the sample.
fn more(round: &Round) -> Option<String> {
    let left = round.problems.saturating_sub(round.outcome.problems.len() as u64);
    (left > 0)
        .then(|| format!("    and {}: highwater log {}", count(left, "more problem"), round.outcome.job))
}

fn moment(time: Time) -> String {
    rfc3339(time).unwrap_or_else(|| format!("{} s", time.secs))
}

/// All of it for programs. Fields are added, never renamed or removed, while `version` is 1.
pub fn document(notice: &Notice) -> Value {
    let round = notice.round.as_ref();
    json!({
        "version": 1,
        "event": notice.event.as_str(),
        "job": notice.job,
        "host": notice.host,
        "subject": subject(notice),
        "text": text(notice),
        "test": notice.is_test,
        "again": notice.again,
        "at": rfc3339(notice.at),
        "since": notice.since.and_then(rfc3339),
        "started": round.and_then(|round| rfc3339(round.started)),
        "ended": round.and_then(|round| rfc3339(round.ended)),
        "problems": round.map(|round| round.problems),
        "round": round.map(|round| JobDocument::of(&round.outcome)),
        "highwater": VERSION,
    })
}

/// The facts as environment variables. A fact that there is not has an empty value, so that a script never
/// sees one from elsewhere.
pub fn variables(notice: &Notice) -> Vec<(&'static str, String)> {
    let round = notice.round.as_ref();
    let outcome = round.map(|round| &round.outcome);
    let number = |field: fn(&crate::outcome::Counts) -> u64| {
        outcome.map(|outcome| field(&outcome.counts).to_string()).unwrap_or_default()
    };
    let time = |time: Option<Time>| time.and_then(rfc3339).unwrap_or_default();
    let message = outcome.and_then(|outcome| outcome.message.as_deref()).unwrap_or_default();
    vec![
        ("HIGHWATER_JOB", one_line(&notice.job)),
        ("HIGHWATER_EVENT", notice.event.as_str().into()),
        ("HIGHWATER_RESULT", outcome.map(|outcome| outcome.ending.as_str()).unwrap_or_default().into()),
        ("HIGHWATER_MODE", outcome.map(|outcome| outcome.mode.as_str()).unwrap_or_default().into()),
        ("HIGHWATER_SUBJECT", subject(notice)),
        ("HIGHWATER_MESSAGE", message.lines().map(one_line).collect::<Vec<_>>().join("\n")),
        ("HIGHWATER_AGAIN", u8::from(notice.again).to_string()),
        ("HIGHWATER_TEST", u8::from(notice.is_test).to_string()),
        ("HIGHWATER_SINCE", time(notice.since)),
        ("HIGHWATER_STARTED", time(round.map(|round| round.started))),
        ("HIGHWATER_ENDED", time(round.map(|round| round.ended))),
        ("HIGHWATER_FILES_SENT", number(|counts| counts.files_sent)),
        ("HIGHWATER_FILES_RECEIVED", number(|counts| counts.files_received)),
        ("HIGHWATER_BYTES_SENT", number(|counts| counts.bytes_sent)),
        ("HIGHWATER_BYTES_RECEIVED", number(|counts| counts.bytes_received)),
        ("HIGHWATER_DELETED", number(|counts| counts.deleted)),
        ("HIGHWATER_HELD", number(|counts| counts.held)),
        ("HIGHWATER_PROBLEMS", round.map(|round| round.problems.to_string()).unwrap_or_default()),
        ("HIGHWATER_HOST", notice.host.clone()),
        ("HIGHWATER_VERSION", VERSION.into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Problem;
    use crate::outcome::Ending;
    use crate::path::RelPath;
    use std::time::Duration;

    fn at(secs: i64) -> Time {
        Time::from_secs(1_790_000_000 + secs)
    }

    fn failed() -> Notice {
        let mut round = Notice::test(Event::Failure, at(60)).round.unwrap();
        round.outcome.job = "nightly".into();
        round.outcome.message = Some("cannot connect to a@b:22: refused\nIs it up?\x1b[2J".into());
        round.outcome.counts.files_sent = 3;
        round.outcome.elapsed = Duration::from_secs(60);
        round.started = at(0);
        Notice { since: Some(at(-86_400)), again: true, host: "web1".into(), ..Notice::ended(round) }
    }

    fn with_problems() -> Notice {
        let mut notice = failed();
        let round = notice.round.as_mut().unwrap();
        round.outcome.ending = Ending::Problems;
        round.outcome.message = None;
        let path = RelPath::parse(&b"a\xff\x1b"[..]).unwrap();
        round.outcome.problems = vec![Problem::new(path, "read", "permission-denied", "denied")];
        round.problems = 1_042;
        Notice { event: Event::Problems, again: false, since: None, ..notice }
    }

    #[test]
    fn subjects_are_one_line_that_says_it() {
        let check = |event: Event, expected: &str| {
            let test = Notice { host: "web1".into(), ..Notice::test(event, at(0)) };
            assert_eq!(subject(&test), format!("test: test on web1: {expected}"));
        };
        check(Event::Start, "a round begins");
        check(Event::Success, "done");
        check(Event::Recovered, "well again");
        check(Event::Problems, "done with 1 problem");
        check(Event::Held, "deletes wait for you");
        check(Event::Failure, "failed");
        check(Event::Halt, "halted, waits for you");
        assert_eq!(subject(&failed()), "nightly on web1: failed, still");
        let late = Notice { event: Event::Late, since: Some(at(60 - 93_600)), ..failed() };
        assert_eq!(subject(&late), "nightly on web1: no success for 1d 2h, still");
    }

    #[test]
    fn people_read_what_happened_since_when_and_what_to_do() {
        let expected = [
            "nightly on web1: failed, still",
            "",
            "nightly: failed after 1m; sent 3 files (0 B) before that",
            "  cannot connect to a@b:22: refused",
            "  Is it up?\\x1b[2J",
            "",
            "Round: 2026-09-21T14:13:20Z to 2026-09-21T14:14:20Z",
            "Since: 2026-09-20T14:13:20Z",
            &format!("Told: 2026-09-21T14:14:20Z by highwater {VERSION} on web1"),
        ];
        assert_eq!(text(&failed()).lines().collect::<Vec<_>>(), expected);
        let text = text(&with_problems());
        let from = text.find("  problems").unwrap();
        let listed: Vec<&str> = text[from..].lines().take(3).collect();
        let expected = [
            "  problems (1):",
            "    a\\xff\\x1b: read: denied",
            "    and 1,041 more problems: highwater log nightly",
        ];
        assert_eq!(listed, expected);
    }

    #[test]
    fn programs_get_the_same_as_json() {
        let document = document(&with_problems());
        let check = |pointer: &str, expected: Value| {
            assert_eq!(document.pointer(pointer), Some(&expected), "{pointer}")
        };
        check("/version", json!(1));
        check("/event", json!("problems"));
        check("/job", json!("nightly"));
        check("/host", json!("web1"));
        check("/test", json!(false));
        check("/since", Value::Null);
        check("/started", json!("2026-09-21T14:13:20Z"));
        check("/problems", json!(1_042));
        check("/round/result", json!("problems"));
        check("/round/files_sent", json!(3));
        check("/round/problems/0/path", json!("a\\xff\\x1b"));
        check("/round/problems/0/path_base64", json!("Yf8b"));
        let late = Notice::test(Event::Late, at(0));
        assert_eq!(super::document(&late)["round"], Value::Null);
    }

    #[test]
    fn scripts_get_the_same_in_their_environment() {
        let variables = variables(&failed());
        let check = |name: &str, expected: &str| {
            let found = variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str());
            assert_eq!(found, Some(expected), "{name}");
        };
        check("HIGHWATER_JOB", "nightly");
        check("HIGHWATER_EVENT", "failure");
        check("HIGHWATER_RESULT", "failed");
        check("HIGHWATER_MODE", "push");
        check("HIGHWATER_MESSAGE", "cannot connect to a@b:22: refused\nIs it up?\\x1b[2J");
        check("HIGHWATER_AGAIN", "1");
        check("HIGHWATER_SINCE", "2026-09-20T14:13:20Z");
        check("HIGHWATER_ENDED", "2026-09-21T14:14:20Z");
        check("HIGHWATER_FILES_SENT", "3");
        check("HIGHWATER_PROBLEMS", "0");
        let start = super::variables(&Notice::start("nightly", at(0)));
        assert!(start.iter().any(|(key, value)| *key == "HIGHWATER_RESULT" && value.is_empty()));
        assert!(start.iter().all(|(_, value)| !value.contains('\0')));
    }
}
