//! What the daemon does when it is asked.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::control::listen::Asked;
use super::control::protocol::{Ask, Told};
use super::live::{Ended, Live};
use super::turns::{Word, answered};
use super::{Daemon, Handle, Works};
use crate::error::{Error, Kind, Result};
use crate::path::escape;
use crate::units::Rate;

type Reply = oneshot::Sender<Result<Told>>;

impl<W: Works> Daemon<W> {
    /// Does what is asked, or sees to it that it is done: nothing that takes long holds up the loop.
    pub(super) async fn answer(&mut self, asked: Asked) {
        let Asked { ask, reply } = asked;
        match ask {
            Ask::Status {} => answered(reply.send(Ok(Told::Jobs(self.live())))),
            Ask::Reload {} => answered(reply.send(self.reload().await.map(Told::Done))),
            Ask::Now { job } => self.with_job(&job, reply, |job, reply| drop(tokio::spawn(now(job, reply)))),
            Ask::Run { job } => self.with_job(&job, reply, |job, reply| drop(tokio::spawn(run(job, reply)))),
            Ask::Pause { job } => {
                self.with_job(&job, reply, |job, reply| drop(tokio::spawn(pause(job, reply))));
            }
            Ask::Resume { job, accept_deletes } => self.with_job(&job, reply, |job, reply| {
                drop(tokio::spawn(resume(job, accept_deletes, reply)));
            }),
            Ask::Wait { job, timeout_millis } => self.with_job(&job, reply, |job, reply| {
                drop(tokio::spawn(wait(job, timeout_millis.map(Duration::from_millis), reply)));
            }),
            Ask::Limit { job, rate } => self.with_job(&job, reply, |job, reply| {
                drop(tokio::spawn(limit(job, rate, reply)));
            }),
        }
    }

    fn with_job(&self, name: &str, reply: Reply, work: impl FnOnce(Line, Reply)) {
        match self.jobs.get(name) {
            Some(handle) => work(Line::to(handle), reply),
            None => {
                let known: Vec<&str> = self.jobs.keys().map(String::as_str).collect();
                let name = format!("\"{}\"", escape(name.as_bytes()));
                let error = Error::new(Kind::Usage, "find the job", name);
                answered(reply.send(Err(error.detail(format!("the daemon has: {}", known.join(", "))))));
            }
        }
    }
}

/// The way to one job.
struct Line {
    name: String,
    words: mpsc::Sender<Word>,
    live: Arc<Live>,
}

impl Line {
    fn to(handle: &Handle) -> Self {
        let name = handle.task.job.name.clone();
        Self { name, words: handle.words.clone(), live: handle.live.clone() }
    }

    async fn say<T>(&self, word: impl FnOnce(oneshot::Sender<Result<T>>) -> Word) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.words.send(word(reply)).await.map_err(|_| self.gone())?;
        answer.await.unwrap_or_else(|_| Err(self.gone()))
    }

    fn gone(&self) -> Error {
        let error = Error::new(Kind::Interrupted, "talk to the job", &self.name);
        error.detail("it ends, because the daemon does or its config changed")
    }

    /// Waits until the job is as `done` says.
    async fn until(&self, done: impl FnMut(&Ended) -> bool) -> Result<Told> {
        let mut ended = self.live.ended.subscribe();
        tokio::select! {
            found = ended.wait_for(done) => match found {
                Ok(ended) => Ok(Told::Ended { round: ended.round.map(|round| round.0) }),
                Err(_) => Err(self.gone()),
            },
            () = self.words.closed() => Err(self.gone()),
        }
    }
}

async fn now(job: Line, reply: Reply) {
    let told = job.say(Word::Now).await.map(|_| {
        let opens = job.live.now().window_opens;
        let when = opens.map_or(String::new(), |at| format!(" when its window opens, {at}"));
        Told::Done(format!("{}: a round begins{when}", job.name))
    });
    answered(reply.send(told));
}

async fn run(job: Line, reply: Reply) {
    let told = match job.say(Word::Now).await {
        Ok(number) => job.until(|ended| ended.count >= number).await,
        Err(error) => Err(error),
    };
    answered(reply.send(told));
}

async fn pause(job: Line, reply: Reply) {
    let told = job.say(Word::Pause).await.map(|()| Told::Done(format!("{}: paused", job.name)));
    answered(reply.send(told));
}

async fn resume(job: Line, accept_deletes: bool, reply: Reply) {
    let told = job.say(|reply| Word::Resume { accept_deletes, reply }).await;
    let told = told.map(|before| Told::Resumed { was_halted: before.halted, was_paused: before.paused });
    answered(reply.send(told));
}

async fn wait(job: Line, time: Option<Duration>, reply: Reply) {
    let idle = async {
        job.say(Word::Look).await?;
        job.until(|ended| !ended.is_running && !ended.has_work).await
    };
    let told = match time {
        None => idle.await,
        Some(time) => timeout(time, idle).await.unwrap_or_else(|_| {
            let error = Error::new(Kind::Busy, "wait for", &job.name);
            Err(error.detail("it still had something to do when the time was over"))
        }),
    };
    answered(reply.send(told));
}

async fn limit(job: Line, rate: Option<String>, reply: Reply) {
    let parsed = rate.as_deref().map(str::parse::<Rate>).transpose();
    let told = match parsed {
        Err(error) => Err(Error::new(Kind::Usage, "read the rate", "").detail(error.to_string())),
        Ok(rate) => {
            let bytes = rate.map(|rate| rate.bytes_per_second().map(std::num::NonZeroU64::get));
            let shown = rate.map_or("as the config says".into(), |rate| format!("limited to {rate}"));
            let told = job.say(|reply| Word::Limit(bytes, reply)).await;
            told.map(|()| Told::Done(format!("{}: {shown}", job.name)))
        }
    };
    answered(reply.send(told));
}
