//! `highwater run`: one round of jobs of the config, one after the other.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use super::account::{self, Surroundings};
use super::args::Run;
use super::reach::Reach;
use super::{Context, ask, config, journals, work};
use crate::clock::{Clock, Random, SystemClock, SystemRandom};
use crate::config::model::{Bandwidth, Config, Job};
use crate::daemon::control::client::Client;
use crate::daemon::control::protocol::{Ask, Told};
use crate::error::{Error, Kind, Result};
use crate::id::JobId;
use crate::job::Spec;
use crate::journal::Journal;
use crate::journal::lock::Lock;
use crate::journal::place::StateDir;
use crate::outcome::Outcome;
use crate::path::escape;
use crate::plan::guard::DeleteLimits;
use crate::report::progress::Progress;
use crate::report::summary::{Started, exit_code, failed};
use crate::tell::{Voice, hooks};
use crate::timetable::Timetable;
use crate::transfer::throttle::{Limit, Throttle};

/// How long those who are to be told are waited for at the end: a receiver that hangs is given up.
const TELL_GRACE: Duration = Duration::from_secs(40);

/// Runs the jobs and tells what came of each.
pub async fn run(context: &Context, args: &Run) -> Result<u8> {
    let config = match config::load(context) {
        Ok(loaded) => loaded.config,
        Err(errors) => {
            context.show.mistakes(&errors);
            return Ok(Kind::Usage.exit_code());
        }
    };
    let jobs = chosen(&config, &args.jobs)?;
    let state = journals::state_dir(context)?;
    state.create()?;
    if let Some(client) = ask::daemon(&state).await? {
        return by_daemon(context, client, &jobs, &state).await;
    }
    let _lock = Lock::take(&state.lock(), "run", &SystemClock)?;
    let journal = work::open_journal(context, &state)?;
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    let voice = Voice::new(&config, &journal, &random).await?;
    let mut outcomes = Vec::new();
    for job in jobs {
        outcomes.push(round(context, &config, job, &state, &journal, &voice).await?);
        if *context.stop.borrow() {
            break;
        }
    }
    work::close(context, &journal).await;
    context.show.rounds(&outcomes, Started::AsJob)?;
    let mut stop = context.stop.clone();
    tokio::select! {
        () = voice.close(TELL_GRACE) => {}
        _ = stop.wait_for(|&stop| stop) => {}
    }
    Ok(exit_code(&outcomes))
}

/// Has the daemon do it, which holds the lock, and tells what came of each.
async fn by_daemon(context: &Context, mut client: Client, jobs: &[&Job], state: &StateDir) -> Result<u8> {
    let mut outcomes = Vec::new();
    for job in jobs {
        let asked = context.unless_stopped(client.ask(&Ask::Run { job: job.name.clone() })).await;
        let outcome = match asked {
            Ok(Told::Ended { round: Some(round) }) => journals::outcome(state, &job.name, round).await?,
            Ok(_) => return Err(ask::strange()),
            Err(error) if error.kind() == Kind::Usage => return Err(error),
            Err(error) => failed(job.name.clone(), job.mode, &error, Duration::ZERO),
        };
        outcomes.push(outcome);
        if *context.stop.borrow() {
            break;
        }
    }
    context.show.rounds(&outcomes, Started::AsJob)?;
    Ok(exit_code(&outcomes))
}

/// The jobs that were named, each once, or all.
fn chosen<'a>(config: &'a Config, names: &[String]) -> Result<Vec<&'a Job>> {
    if config.jobs.is_empty() {
        return Err(Error::new(Kind::Usage, "run", "").detail("the config has no jobs").hint(
            "Write one (see highwater config check), or carry without a config: highwater push SRC DST.",
        ));
    }
    let mut jobs: Vec<&Job> = Vec::new();
    for name in names {
        let job = find(config, name)?;
        if !jobs.iter().any(|chosen| chosen.name == job.name) {
            jobs.push(job);
        }
    }
    Ok(if names.is_empty() { config.jobs.iter().collect() } else { jobs })
}

/// The job of this name.
pub fn find<'a>(config: &'a Config, name: &str) -> Result<&'a Job> {
    config.job(name).ok_or_else(|| {
        let known: Vec<&str> = config.jobs.iter().map(|job| job.name.as_str()).collect();
        let error = Error::new(Kind::Usage, "find the job", format!("\"{}\"", escape(name.as_bytes())));
        match known.is_empty() {
            true => error.detail("the config has no jobs"),
            false => error.detail(format!("the config has: {}", known.join(", "))),
        }
    })
}

/// One round as the daemon makes it: with the commands around it, and told to those who are to be told.
async fn round(
    context: &Context,
    config: &Config,
    job: &Job,
    state: &StateDir,
    journal: &Journal,
    voice: &Voice,
) -> Result<Outcome> {
    let id = journal.job(&job.name).await?;
    let before = journal.last_round(id).await?;
    let started = SystemClock.now();
    voice.started(&job.name, started);
    let round = carry(context, config, job, state, journal, id);
    let outcome = hooks::around(job, &SystemClock, context.stop.clone(), round).await;
    let ended = SystemClock.now();
    journal.settle_round(id, before, ended, &outcome).await?;
    if !*context.stop.borrow() {
        voice.ended(&outcome, started, ended).await?;
    }
    Ok(outcome)
}

async fn carry(
    context: &Context,
    config: &Config,
    job: &Job,
    state: &StateDir,
    journal: &Journal,
    id: JobId,
) -> Outcome {
    let started = Instant::now();
    match prepare(config, job, state, journal).await {
        Ok((spec, reach)) => {
            let progress = Arc::new(Progress::start(&context.bars, &job.name));
            work::round(context, spec, journal, id, &reach, progress).await
        }
        Err(error) => failed(job.name.clone(), job.mode, &error, started.elapsed()),
    }
}

/// What a round of a job is to do, and the way to its server.
pub async fn prepare(
    config: &Config,
    job: &Job,
    state: &StateDir,
    journal: &Journal,
) -> Result<(Spec, Reach)> {
    let server = config
        .server(&job.server)
        .ok_or_else(|| Error::new(Kind::Internal, "find the server", escape(job.server.as_bytes())))?;
    let account = account::of_server(server, &Surroundings::of_process())?;
    let shown = account.target.endpoint.to_string();
    let reach = Reach::new(state, account, job.remote.clone()).await?.with_journal(journal);
    let line = server.bandwidth.as_ref().map(|bandwidth| Throttle::new(&Limit::new(rate_now(bandwidth))));
    let spec = spec(job, shown, Limit::new(rate_now(&job.bandwidth)));
    Ok((Spec { line, ..spec }, reach))
}

/// What a round of a job is to do, as the config says it.
pub fn spec(job: &Job, server: String, limit: Limit) -> Spec {
    Spec {
        name: job.name.clone(),
        mode: job.mode,
        local: job.local.clone(),
        remote: job.remote.clone(),
        server,
        filter: job.filter.clone(),
        only: None,
        changes: None,
        delete: job.delete,
        accept: false,
        stays_halted: true,
        limits: DeleteLimits { count: job.max_delete.count, share: job.max_delete.share },
        trash: job.trash,
        audit: job.audit,
        settle: job.settle,
        durable: job.durable,
        level: job.verify,
        rate: limit,
        line: None,
        breadth: None,
        retry_for: job.retry_for,
        go_on: format!("highwater resume {}", job.name),
        accept_deletes: format!("highwater resume {} --accept-deletes", job.name),
    }
}

/// The rate at which the timetable says to begin; it is kept for the whole round.
fn rate_now(bandwidth: &Bandwidth) -> Option<u64> {
    let timetable = Timetable::new(bandwidth.clone(), TimeZone::system());
    timetable.at(SystemClock.now()).rate.bytes_per_second().map(NonZeroU64::get)
}
