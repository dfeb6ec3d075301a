//! What all jobs of a server share of the line: one rate, by the server's timetable.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};

use jiff::tz::TimeZone;

use crate::config::model::Server;
use crate::entry::Time;
use crate::timetable::Timetable;
use crate::transfer::throttle::{Limit, Throttle};

/// The lines to servers, by name.
#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<HashMap<String, (Limit, Throttle)>>);

/// The line to one server, as one of its jobs holds it.
#[derive(Debug)]
pub(super) struct Line {
    limit: Limit,
    timetable: Timetable,
    /// What all of them wait for.
    pub throttle: Throttle,
}

impl Lines {
    /// The line to a server; `None` where its config says nothing of one.
    pub fn to(&self, server: &Server) -> Option<Line> {
        let timetable = Timetable::new(server.bandwidth.clone()?, TimeZone::system());
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines.entry(server.name.clone()).or_insert_with(|| {
            let limit = Limit::new(None);
            let throttle = Throttle::new(&limit);
            (limit, throttle)
        });
        let (limit, throttle) = line.clone();
        Some(Line { limit, timetable, throttle })
    }
}

impl Line {
    /// Has the rate hold that the timetable says; each job does so, and all say the same. Returns it, and
    /// when another one will.
    pub fn apply(&self, now: Time) -> (Option<u64>, Option<Time>) {
        let holding = self.timetable.at(now);
        self.limit.set(holding.rate.bytes_per_second().map(NonZeroU64::get));
        (self.limit.get(), holding.until)
    }
}
