//! Telling people: when a round fails, a job halts or is late, all is well again; and commands around a round.
//!
//! [`Book`] decides who is told what and is pure, like [`render`], which words it. [`Post`] has it delivered:
//! by command, webhook, mail or ping, within a time, tried again, and never in the way of a round.
//! [`Teller`] joins the two. What this module does not know: when rounds run, and where what is to be
//! remembered is kept.

mod book;
mod deliver;
pub mod hooks;
mod http;
mod mail;
mod notice;
mod post;
mod program;
pub mod render;
mod voice;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Random;
use crate::config::model::Config;
use crate::entry::Time;
use crate::outcome::Outcome;

pub use book::{Book, Letter};
pub use deliver::{Tries, deliver};
pub use notice::{Notice, Round};
pub use post::{Post, Tally};
pub use voice::Voice;

/// Tells whoever wants to be told. Nothing here waits for anybody, and nothing fails: what could not be told is
/// logged and counted.
pub struct Teller {
    book: Mutex<Book>,
    post: Post,
}

impl Teller {
    /// Begins to tell as `config` says. `remembered` is what [`remember`](Self::remember) gave before the last
    /// stop or change of the configuration. Needs the runtime.
    pub fn new(config: &Config, remembered: Option<&str>, tries: Tries, random: &Arc<dyn Random>) -> Self {
        let book = Mutex::new(Book::new(config, remembered));
        Self { book, post: Post::open(&config.notify, config.smtp.as_ref(), tries, random) }
    }

    /// A round of the job begins.
    pub fn started(&self, job: &str, at: Time) {
        self.send(self.book().started(job, at));
    }

    /// A round ended.
    pub fn ended(&self, outcome: &Outcome, started: Time, ended: Time) {
        self.send(self.book().ended(&Round::new(outcome, started, ended)));
    }

    /// Tells which jobs are late. To be called once at the start and then at [`next_look`](Self::next_look).
    pub fn look(&self, now: Time) {
        self.send(self.book().look(now));
    }

    /// When to look next, if nothing happens before; may have passed already.
    pub fn next_look(&self) -> Option<Time> {
        self.book().next_look()
    }

    /// What is to be kept over a restart, so that nothing is told twice: text of at most some 300 bytes per job
    /// and target. Worth keeping after whatever was told here.
    pub fn remember(&self) -> String {
        self.book().remember()
    }

    /// How telling went so far, by the targets' names.
    pub fn tallies(&self) -> Vec<(String, Tally)> {
        self.post.tallies()
    }

    /// Tells no more, and waits until all that waits is told, no longer than `grace`. Whether it was.
    pub async fn close(self, grace: Duration) -> bool {
        self.post.close(grace).await
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, letters: Vec<Letter>) {
        letters.into_iter().for_each(|(target, notice)| self.post.send(&target, notice));
    }
}
