//! Whom to tell of what. Pure: what happens goes in with its time, who is told what comes out, and what is
//! to be remembered can be written down.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::notice::{Notice, Round};
use crate::alarm::{self, Alarm, Standing, Told, Trouble};
use crate::config::model::{Config, Event, Target, Way};
use crate::entry::Time;
use crate::outcome::Ending;

/// Who wants to be told of which job, and what they were told.
#[derive(Debug, Default)]
pub struct Book {
    entries: Vec<Entry>,
}

/// One job and one of those who are told of it.
#[derive(Debug)]
struct Entry {
    job: String,
    target: Target,
    alarm: Alarm,
    standing: Standing,
}

/// Somebody's name, and what they are told.
pub type Letter = (String, Notice);

impl Book {
    /// As the configuration has it; `remembered` is what [`remember`](Self::remember) gave, of whichever
    /// configuration. What cannot be read is forgotten: somebody is told once more.
    pub fn new(config: &Config, remembered: Option<&str>) -> Self {
        let mut known = remembered.map(read).unwrap_or_default();
        let mut entries = Vec::new();
        for job in &config.jobs {
            for target in job.notify.iter().filter_map(|name| config.target(name)) {
                let no_success_for = job.no_success_for.filter(|_| target.wants(Event::Late));
                let standing = known.remove(&(job.name.clone(), target.name.clone())).unwrap_or_default();
                let alarm = Alarm { no_success_for, repeat: target.repeat };
                let (job, target) = (job.name.clone(), target.clone());
                if !entries.iter().any(|e: &Entry| e.job == job && e.target.name == target.name) {
                    entries.push(Entry { job, target, alarm, standing });
                }
            }
        }
        Self { entries }
    }

    /// A round of the job begins.
    pub fn started(&self, job: &str, at: Time) -> Vec<Letter> {
        let wanting =
            self.entries.iter().filter(|entry| entry.job == job && entry.target.wants(Event::Start));
        wanting.map(|entry| (entry.target.name.clone(), Notice::start(job, at))).collect()
    }

    /// A round ended.
    pub fn ended(&mut self, round: &Round) -> Vec<Letter> {
        let entries = self.entries.iter_mut().filter(|entry| entry.job == round.outcome.job);
        entries.filter_map(|entry| Some((entry.target.name.clone(), entry.ended(round)?))).collect()
    }

    /// Who is to be told now that a job is late. To be asked at [`next_look`](Self::next_look), and once at
    /// the start: from then on a job that never had a success can be late.
    pub fn look(&mut self, now: Time) -> Vec<Letter> {
        let late = |entry: &mut Entry| {
            let notice = entry.alarm.look(&mut entry.standing, now)?;
            Some((entry.target.name.clone(), Notice::of_alarm(&entry.job, notice, None, now)))
        };
        self.entries.iter_mut().filter_map(late).collect()
    }

    /// When [`look`](Self::look) may next have something to say, if nothing happens before.
    pub fn next_look(&self) -> Option<Time> {
        self.entries.iter().filter_map(|entry| entry.alarm.next_look(&entry.standing)).min()
    }

    /// What is to be remembered, as JSON.
    pub fn remember(&self) -> String {
        let standings = self.entries.iter().map(|entry| {
            let mut fields = write(&entry.standing);
            fields.insert("job".into(), json!(entry.job));
            fields.insert("target".into(), json!(entry.target.name));
            Value::Object(fields)
        });
        Value::Array(standings.collect()).to_string()
    }
}

impl Entry {
    fn ended(&mut self, round: &Round) -> Option<Notice> {
        let (ending, now) = (round.outcome.ending, round.ended);
        if ending != Ending::Ok && !self.counts(Event::of_ending(ending)) {
            return None;
        }
        let told = self.alarm.ended(&mut self.standing, ending, now);
        if let Way::Healthchecks(_) = self.target.way {
            // Whoever is pinged judges by the pings that come and do not come: each round is told.
            let notice = Notice::ended(round.clone());
            return self.target.wants(notice.event).then_some(notice);
        }
        let notice = Notice::of_alarm(&self.job, told?, Some(round.clone()), now);
        if self.target.wants(notice.event) {
            return Some(notice);
        }
        let is_success = matches!(told, Some(alarm::Notice::Recovered { .. }));
        (is_success && self.target.wants(Event::Success)).then(|| Notice::ended(round.clone()))
    }

    /// Whether a trouble counts as one that was told, of which a recovery is then told. For those who hear of
    /// no trouble, all do.
    fn counts(&self, event: Event) -> bool {
        let hears_of_some =
            Event::ALL.into_iter().any(|event| event.is_trouble() && self.target.wants(event));
        !hears_of_some || self.target.wants(event)
    }
}

fn write(standing: &Standing) -> Map<String, Value> {
    let time = |time: Time| json!(time.secs);
    let told = |told: Told| json!([told.since.secs, told.last.secs]);
    let fields = [
        ("begun", standing.begun.map(time)),
        ("last_success", standing.last_success.map(time)),
        ("trouble", standing.trouble.map(|trouble| told(trouble.told))),
        ("ending", standing.trouble.map(|trouble| json!(trouble.ending.as_str()))),
        ("late", standing.late.map(told)),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// Standings by job and target.
fn read(text: &str) -> BTreeMap<(String, String), Standing> {
    let rows: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
    let name = |row: &Value, key: &str| row.get(key)?.as_str().map(String::from);
    let rows = rows.iter().filter_map(|row| Some(((name(row, "job")?, name(row, "target")?), standing(row))));
    rows.collect()
}

fn standing(row: &Value) -> Standing {
    let time = |value: &Value| value.as_i64().map(Time::from_secs);
    let told = |value: &Value| Some(Told { since: time(value.get(0)?)?, last: time(value.get(1)?)? });
    let trouble = row.get("trouble").and_then(told);
    let ending = row.get("ending").and_then(Value::as_str).and_then(Ending::parse);
    Standing {
        begun: row.get("begun").and_then(time),
        last_success: row.get("last_success").and_then(time),
        trouble: ending.zip(trouble).map(|(ending, told)| Trouble { ending, told }),
        late: row.get("late").and_then(told),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Link;
    use std::time::Duration;

    fn hour(hour: i64) -> Time {
        Time::from_secs(1_790_000_000 + hour * 3_600)
    }

    fn book(way: Way, on: &[Event], remembered: Option<&str>) -> Book {
        let repeat = Some(Duration::from_secs(24 * 3_600));
        let target = Target {
            name: "x".into(),
            way,
            on: on.into(),
            repeat,
            timeout: Duration::from_secs(30),
            hidden: Vec::new(),
        };
        let standing = remembered.map(read).and_then(|mut known| known.remove(&("test".into(), "x".into())));
        let no_success_for = target.wants(Event::Late).then_some(Duration::from_secs(26 * 3_600));
        let alarm = Alarm { no_success_for, repeat };
        Book {
            entries: vec![Entry {
                job: "test".into(),
                target,
                alarm,
                standing: standing.unwrap_or_default(),
            }],
        }
    }

    fn mail() -> Way {
        Way::Email(vec!["a@b".into()])
    }

    /// Rows of an hour, how a round ended then (`None`: only a look), and what is told. After each row all but what
    /// is to be remembered is forgotten.
    fn check(way: Way, on: &[Event], rows: &[(i64, Option<Ending>, &str)]) {
        let mut remembered = None;
        for (at, ending, expected) in rows {
            let mut book = book(way.clone(), on, remembered.as_deref());
            let told = match ending {
                None => book.look(hour(*at)),
                Some(ending) => {
                    let round = Notice::test(Event::of_ending(*ending), hour(*at)).round.unwrap();
                    book.ended(&round)
                }
            };
            let again = |notice: &Notice| if notice.again { " again" } else { "" };
            let told: Vec<String> = told
                .iter()
                .map(|(_, notice)| format!("{}{}", notice.event.as_str(), again(notice)))
                .collect();
            assert_eq!(told.join(","), *expected, "hour {at} {on:?}");
            remembered = Some(book.remember());
        }
    }

    const WELL: Option<Ending> = Some(Ending::Ok);
    const AMISS: Option<Ending> = Some(Ending::Problems);
    const FAILED: Option<Ending> = Some(Ending::Failed);
    const HALTED: Option<Ending> = Some(Ending::Halted);

    #[test]
    fn people_are_told_of_trouble_once_and_when_it_is_over() {
        check(
            mail(),
            &[],
            &[
                (0, WELL, ""),
                (1, AMISS, ""),
                (2, FAILED, "failure"),
                (3, FAILED, ""),
                (4, HALTED, "halt"),
                (5, FAILED, ""),
                (26, None, "late"),
                (28, HALTED, "halt again"),
                (29, WELL, "recovered"),
                (30, WELL, ""),
            ],
        );
    }

    #[test]
    fn what_nobody_wants_to_hear_of_is_no_trouble_that_was_told() {
        check(mail(), &[], &[(0, AMISS, ""), (1, WELL, "")]);
        check(mail(), &[Event::Problems], &[(0, AMISS, "problems"), (1, FAILED, ""), (2, WELL, "")]);
        check(mail(), &[Event::Success], &[(0, FAILED, ""), (1, WELL, "success"), (2, WELL, "success")]);
        check(mail(), &[Event::Recovered], &[(0, FAILED, ""), (1, WELL, "recovered"), (2, WELL, "")]);
        check(mail(), &[Event::Failure], &[(0, FAILED, "failure"), (1, WELL, ""), (99, None, "")]);
    }

    #[test]
    fn whoever_is_pinged_hears_of_every_round() {
        let ping = || Way::Healthchecks(Link::Url("http://h/".into()));
        let rows = [
            (0, WELL, "success"),
            (1, FAILED, "failure"),
            (2, FAILED, "failure"),
            (3, WELL, "success"),
            (99, None, ""),
        ];
        check(ping(), &[], &rows);
        check(ping(), &[Event::Success], &[(0, FAILED, ""), (1, WELL, "success")]);
    }

    #[test]
    fn what_cannot_be_remembered_is_forgotten() {
        for broken in
            ["", "null", "[1, {}]", "[{\"job\":\"test\",\"target\":\"x\",\"begun\":\"x\",\"late\":[1]}]"]
        {
            let mut book = book(mail(), &[], Some(broken));
            assert!(book.look(hour(0)).is_empty());
            assert_eq!(book.next_look(), Some(hour(26)), "{broken}");
        }
    }
}
