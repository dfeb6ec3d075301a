//! Runs campaigns: cases from seeds, several at once, until the time is over.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::Result;
use crate::args::Args;
use crate::bench::{self, Bench};
use crate::campaigns;
use crate::random::{Random, mix, number_of};
use crate::report::{self, Tally};
use crate::server::Settings;

/// After so many failures a campaign ends: what is wrong is known by then.
const MOST_FAILURES: u64 = 20;

/// A kind of fault.
pub struct Campaign {
    /// As it is typed.
    pub name: &'static str,
    /// What goes wrong in it.
    pub about: &'static str,
    /// What its servers do otherwise.
    pub settings: Settings<'static>,
    /// One case.
    pub case: fn(&Bench, Random) -> Result<Facts>,
    /// How many cases make a taste of it.
    pub short: u64,
    /// What makes it whole.
    pub whole: Whole,
}

/// What makes a campaign whole, if there is time for it.
#[derive(Debug, Clone, Copy)]
pub enum Whole {
    /// So many faults that came true.
    Faults(u64),
    /// So many cases, numbered: chance has no part in which ones there are.
    Cases(u64),
}

/// What is told of one case.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// How many faults came true.
    pub struck: u64,
    /// Bytes that crossed more than once, of each run in which a connection was cut.
    pub sent_again: Vec<u64>,
    /// More counts, by what they count.
    pub counts: Vec<(&'static str, u64)>,
}

impl Facts {
    /// So many faults came true.
    pub fn struck(struck: u64) -> Self {
        Self { struck, ..Self::default() }
    }

    /// Those of another turn as well.
    pub fn add(&mut self, other: Self) {
        self.struck += other.struck;
        self.sent_again.extend(other.sent_again);
        self.counts.extend(other.counts);
    }

    /// With one more count.
    pub fn count(mut self, what: &'static str, count: u64) -> Self {
        self.counts.push((what, count));
        self
    }
}

/// `false` when a case failed.
pub fn run(args: &Args) -> Result<bool> {
    let chosen = choose(&args.campaign)?;
    if args.list {
        report::list(&chosen);
        return Ok(true);
    }
    let seed = args.seed.or(args.case).unwrap_or_else(of_the_clock);
    let program = bench::program(args)?;
    report::heading(seed);
    let mut tallies = Vec::new();
    for campaign in &chosen {
        let share = args.minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0 / chosen.len() as f64));
        let seed = mix(seed ^ number_of(campaign.name));
        let turn = Turn {
            campaign,
            args,
            program: &program,
            seed,
            until: share.map(|share| Instant::now() + share),
        };
        let tally = turn.run()?;
        report::progress(&tally);
        tallies.push(tally);
    }
    report::save(args, seed, &tallies)?;
    Ok(tallies.iter().all(|tally| tally.failures == 0 && tally.cases > 0))
}

fn choose(names: &[String]) -> Result<Vec<Campaign>> {
    let all = campaigns::all();
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|campaign| campaign.name != *name)) {
        return Err(format!("there is no campaign {unknown:?}: see --list"));
    }
    let chosen = |campaign: &Campaign| names.is_empty() || names.iter().any(|name| name == campaign.name);
    Ok(all.into_iter().filter(chosen).collect())
}

fn of_the_clock() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_micros() as u64
}

/// One campaign under way.
struct Turn<'a> {
    campaign: &'a Campaign,
    args: &'a Args,
    program: &'a Path,
    seed: u64,
    until: Option<Instant>,
}

impl Turn<'_> {
    fn run(&self) -> Result<Tally> {
        let began = Instant::now();
        let tally = Mutex::new(Tally::new(self.campaign.name));
        let next = AtomicU64::new(0);
        let workers = if self.args.case.is_some() { 1 } else { self.args.at_once };
        std::thread::scope(|scope| {
            let working: Vec<_> = (0..workers).map(|_| scope.spawn(|| self.work(&next, &tally))).collect();
            working
                .into_iter()
                .try_for_each(|worker| worker.join().map_err(|_| "a worker panicked".to_owned())?)
        })?;
        let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
        tally.seconds = began.elapsed().as_secs_f64();
        Ok(tally)
    }

    fn work(&self, next: &AtomicU64, tally: &Mutex<Tally>) -> Result<()> {
        let bench = Bench::start(self.program, &self.campaign.settings, self.args)?;
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let (struck, failures) = {
                let tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                (tally.struck, tally.failures)
            };
            if !self.goes_on(index, struck) || failures >= MOST_FAILURES {
                return Ok(());
            }
            let seed = self.args.case.unwrap_or_else(|| self.seed_of(index));
            let outcome = (self.campaign.case)(&bench, Random::new(seed));
            if let Err(reason) = &outcome {
                report::failure(self.campaign.name, seed, reason);
            }
            tally.lock().unwrap_or_else(PoisonError::into_inner).add(outcome);
        }
    }

    /// The seed of a case. Where the cases are counted, its number is in it, so that it can be repeated.
    fn seed_of(&self, index: u64) -> u64 {
        let seed = mix(self.seed ^ index) >> 8;
        match self.campaign.whole {
            Whole::Cases(whole) if !self.args.short => seed / whole * whole + index % whole,
            _ => seed,
        }
    }

    fn goes_on(&self, index: u64, struck: u64) -> bool {
        if self.args.case.is_some() {
            return index == 0;
        }
        match (self.args.cases, self.args.short, self.until, self.campaign.whole) {
            (Some(cases), ..) => index < cases,
            (None, true, ..) => index < self.campaign.short,
            (None, false, Some(until), _) => Instant::now() < until,
            (None, false, None, Whole::Faults(faults)) => struck < faults,
            (None, false, None, Whole::Cases(cases)) => index < cases,
        }
    }
}
