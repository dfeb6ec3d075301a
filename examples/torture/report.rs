//! What is printed: failures as they come, a line per campaign, and the table at the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::args::Args;
use crate::campaign::{Campaign, Facts, Whole};
use crate::{Doing, Result, machine};

/// How often it is told how far a campaign is.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What one campaign came to.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Which.
    pub name: &'static str,
    /// Cases that were judged.
    pub cases: u64,
    /// Those that were not as they must be.
    pub failures: u64,
    /// How long it took.
    pub seconds: f64,
    /// Faults that came true.
    pub struck: u64,
    sent_again: Vec<u64>,
    counts: BTreeMap<&'static str, u64>,
    told: Instant,
}

impl Tally {
    /// Nothing yet.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            cases: 0,
            failures: 0,
            seconds: 0.0,
            struck: 0,
            sent_again: Vec::new(),
            counts: BTreeMap::new(),
            told: Instant::now(),
        }
    }

    /// One more case. Now and then it is told how far it is.
    pub fn add(&mut self, outcome: Result<Facts>) {
        self.count(outcome);
        if self.told.elapsed() > TELL_EVERY {
            self.told = Instant::now();
            eprintln!(
                "{}: {} cases, {} faults, {} failures so far",
                self.name, self.cases, self.struck, self.failures
            );
        }
    }

    fn count(&mut self, outcome: Result<Facts>) {
        self.cases += 1;
        let Ok(facts) = outcome else {
            self.failures += 1;
            return;
        };
        self.struck += facts.struck;
        self.sent_again.extend(facts.sent_again);
        for (what, count) in facts.counts {
            *self.counts.entry(what).or_default() += count;
        }
    }

    fn notes(&self) -> String {
        let mut notes: Vec<String> =
            self.counts.iter().map(|(what, count)| format!("{what}: {count}")).collect();
        let mut again = self.sent_again.clone();
        again.sort_unstable();
        if let Some(most) = again.last() {
            let median = again[again.len() / 2];
            notes.push(format!(
                "bytes sent again after a cut: median {median}, maximum {most}, of {} runs",
                again.len()
            ));
        }
        notes.join("; ")
    }
}

/// The campaigns there are.
pub fn list(campaigns: &[Campaign]) {
    for campaign in campaigns {
        let whole = match campaign.whole {
            Whole::Faults(count) => format!("{count} faults"),
            Whole::Cases(count) => format!("{count} cases"),
        };
        println!("{:<14} {whole:<12} {}", campaign.name, campaign.about);
    }
}

/// Before everything else.
pub fn heading(seed: u64) {
    eprintln!("seed {seed}");
}

/// A case failed.
pub fn failure(campaign: &str, seed: u64, reason: &str) {
    eprintln!(
        "FAILED {campaign} --case {seed}: {reason}\n  to repeat it: contrib/torture --campaign {campaign} --case {seed}"
    );
}

/// A campaign is over.
pub fn progress(tally: &Tally) {
    let Tally { name, cases, failures, seconds, .. } = tally;
    eprintln!("{name}: {cases} cases, {failures} failures, {seconds:.0} s; {}", tally.notes());
}

/// The table, printed, and kept if that was asked for.
pub fn save(args: &Args, seed: u64, tallies: &[Tally]) -> Result<()> {
    let table = table(seed, tallies);
    print!("{table}");
    match &args.report {
        Some(file) => fs::write(file, table).doing("write the report"),
        None => Ok(()),
    }
}

fn table(seed: u64, tallies: &[Tally]) -> String {
    let machine = machine::look();
    let mut table = String::from(
        "| campaign | cases | faults that struck | failures | seconds | commit | machine | notes |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    let (commit, processor) = (commit(), format!("{} × {}", machine.cores, machine.processor));
    for tally in tallies {
        let Tally { name, cases, failures, seconds, struck, .. } = tally;
        // A string takes everything that is written into it.
        let _ = writeln!(
            table,
            "| {name} | {cases} | {struck} | {failures} | {seconds:.0} | {commit} | {processor} | {} |",
            tally.notes()
        );
    }
    let _ = writeln!(
        table,
        "\nSeed {seed}, {}, {} GiB, {}, load {} at the end.",
        machine.date, machine.memory_gib, machine.system, machine.load
    );
    table
}

/// What git calls what was built, as far as can be told.
fn commit() -> String {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().into(),
        _ => "unknown".into(),
    }
}
