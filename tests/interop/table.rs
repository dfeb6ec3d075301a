//! What is printed: the list, and the table at the end.

use serde_json::json;

use crate::args::Args;
use crate::run::{Cell, Column, Outcome, subjects};
use crate::topics::{OF_CLIENTS, OF_SERVERS, Topic, topic_of};
use crate::{Doing, Result, checks, clients};

/// What there is.
pub fn list() {
    for subject in subjects() {
        println!(
            "{:<16} {}{}",
            subject.name(),
            subject.title(),
            if subject.in_gate() { "" } else { " (--full)" }
        );
    }
    let servers: Vec<_> = checks::list().iter().map(|check| (check.name, check.is_large)).collect();
    let clients = clients::LIST.map(|check| (check.name, check.is_large));
    for (name, is_large) in servers.iter().chain(&clients) {
        println!("- {name}{}", if *is_large { " (--full)" } else { "" });
    }
    println!("{} checks of servers, {} of clients", servers.len(), clients.len());
}

/// The tables, as Markdown: a column for each peer, a row for each topic, and what is not plain below.
pub fn print(columns: &[Column], args: &Args) -> Result<()> {
    for (is_client, topics) in [(false, OF_SERVERS), (true, OF_CLIENTS)] {
        let columns: Vec<&Column> = columns.iter().filter(|column| column.is_client == is_client).collect();
        if !columns.is_empty() {
            println!("\n{}", Table::of(&columns, topics).markdown());
        }
    }
    if args.times {
        columns.iter().for_each(print_times);
    }
    match &args.json {
        Some(file) => std::fs::write(file, document(columns).to_string()).doing("write the document"),
        None => Ok(()),
    }
}

/// Lines of a table, and its notes.
#[derive(Default)]
struct Table {
    lines: Vec<String>,
    /// Each reason with those that it is said of; cells have its number.
    notes: Vec<(&'static str, Vec<&'static str>)>,
}

impl Table {
    fn of(columns: &[&Column], topics: &[Topic]) -> Self {
        let mut table = Self::default();
        let row = |title: &str, cells: Vec<String>| format!("| {title} | {} |", cells.join(" | "));
        let heads = columns.iter().map(|column| format!("{} {}", column.title, column.version));
        table.lines.push(row("", heads.collect()));
        table.lines.push(format!("|{}", "---|".repeat(columns.len() + 1)));
        for (n, topic) in topics.iter().enumerate() {
            let outcomes = |column: &Column| -> Vec<Outcome> {
                let cells = column.cells.iter().filter(|cell| topic_of(topics, cell.check) == n);
                cells.map(|cell| cell.outcome.clone()).collect()
            };
            let cells = columns.iter().map(|column| table.cell(column.title, &outcomes(column))).collect();
            table.lines.push(row(topic.title, cells));
        }
        let counts = columns.iter().map(|column| counts(column)).collect();
        table.lines.push(row("checks passed", counts));
        table
    }

    /// What a peer's checks of one topic came to, together.
    fn cell(&mut self, peer: &'static str, outcomes: &[Outcome]) -> String {
        let passed = outcomes.iter().filter(|outcome| **outcome == Outcome::Passed).count();
        if outcomes.iter().any(|outcome| matches!(outcome, Outcome::Failed(_))) {
            return "FAILED".into();
        }
        let mut numbers: Vec<usize> = Vec::new();
        for outcome in outcomes {
            if let Outcome::Lacks(why) = outcome {
                numbers.push(self.note(why, peer));
            }
        }
        numbers.sort_unstable();
        numbers.dedup();
        let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        match (passed, numbers.len()) {
            (0, 0) => "not asked".into(),
            (_, 0) => "yes".into(),
            (0, _) => format!("no ({})", numbers.join(", ")),
            (_, _) => format!("partly ({})", numbers.join(", ")),
        }
    }

    /// The number of a reason, which is said of this peer too.
    fn note(&mut self, why: &'static str, peer: &'static str) -> usize {
        let at = self.notes.iter().position(|(known, _)| *known == why).unwrap_or_else(|| {
            self.notes.push((why, Vec::new()));
            self.notes.len() - 1
        });
        let peers = &mut self.notes[at].1;
        if !peers.contains(&peer) {
            peers.push(peer);
        }
        at + 1
    }

    fn markdown(&self) -> String {
        let notes = self.notes.iter().enumerate();
        let notes: Vec<String> =
            notes.map(|(n, (why, peers))| format!("{}. {}: {why}.", n + 1, peers.join(", "))).collect();
        format!("{}\n\n{}", self.lines.join("\n"), notes.join("\n"))
    }
}

/// How many passed, of all; what else there is stands in the notes.
fn counts(column: &Column) -> String {
    let passed = column.cells.iter().filter(|cell| cell.outcome == Outcome::Passed).count();
    let failed = column.cells.iter().filter(|cell| matches!(cell.outcome, Outcome::Failed(_))).count();
    let failed = if failed > 0 { format!(", {failed} FAILED") } else { String::new() };
    format!("{passed} of {}{failed}", column.cells.len())
}

fn print_times(column: &Column) {
    let mut cells: Vec<&Cell> = column.cells.iter().collect();
    cells.sort_by_key(|cell| std::cmp::Reverse(cell.took));
    println!("\n{}: {:.1} s", column.title, column.took.as_secs_f64());
    for cell in cells.iter().take(12) {
        println!("  {:6.2} s {}", cell.took.as_secs_f64(), cell.check);
    }
}

fn document(columns: &[Column]) -> serde_json::Value {
    let cell = |cell: &Cell| {
        let (outcome, reason) = match &cell.outcome {
            Outcome::Passed => ("pass", None),
            Outcome::Lacks(why) => ("cannot", Some((*why).to_owned())),
            Outcome::Failed(reason) => ("fail", Some(reason.clone())),
        };
        json!({"check": cell.check, "outcome": outcome, "reason": reason, "seconds": cell.took.as_secs_f64()})
    };
    let column = |column: &Column| {
        json!({"peer": column.title, "version": column.version, "seconds": column.took.as_secs_f64(),
            "checks": column.cells.iter().map(cell).collect::<Vec<_>>()})
    };
    json!({"version": 1, "peers": columns.iter().map(column).collect::<Vec<_>>()})
}
