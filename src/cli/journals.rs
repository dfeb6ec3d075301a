//! Every journal of a state folder: that of the config's jobs, and those of one-round commands.

use std::io;
use std::path::{Path, PathBuf};

use super::Context;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Kind, Result};
use crate::id::JobId;
use crate::journal::lock::Lock;
use crate::journal::place::StateDir;
use crate::journal::{Journal, Pin};
use crate::outcome::Outcome;
use crate::path::escape;
use crate::remote::connect::{Connection, Endpoint, HostKeyRecord};
use crate::remote::route::Target;
use crate::report::history::{History, PastRound};
use crate::report::summary::Started;

/// A folder with a journal.
#[derive(Debug, Clone)]
pub struct Place {
    /// The folder.
    pub state: StateDir,
    /// Whose rounds it keeps.
    pub started: Started,
}

/// How much of each job's history is read.
#[derive(Debug, Clone, Copy)]
pub struct Depth {
    /// How many rounds, the latest first.
    pub rounds: usize,
    /// Whether their problems and the trash are read too; at most so many things in the trash.
    pub things: Option<usize>,
}

/// Among so many rounds one is looked for that ended just now.
const RECENT_ROUNDS: usize = 100;

/// The state folder that the flags and the environment name.
pub fn state_dir(context: &Context) -> Result<StateDir> {
    StateDir::resolve(context.global.state.as_deref(), &|name| std::env::var_os(name))
}

/// The folders that have a journal, the config's jobs first, then by name.
pub fn places(state: &StateDir) -> Result<Vec<Place>> {
    let mut pairs = folders(&state.path().join("pairs"))?;
    pairs.sort();
    let mut places = vec![Place { state: state.clone(), started: Started::AsJob }];
    for pair in pairs {
        let state = StateDir::resolve(Some(&pair), &|_| None)?;
        places.push(Place { state, started: Started::AsCommand });
    }
    places.retain(|place| place.state.journal().exists());
    Ok(places)
}

/// What is remembered of the job called `name`, or of all jobs. Errors with `Usage` if there never was
/// a job of that name.
pub async fn histories(state: &StateDir, name: Option<&str>, depth: Depth) -> Result<Vec<History>> {
    let mut histories = Vec::new();
    for place in places(state)? {
        let Some(journal) = Journal::open_to_read(&place.state.journal())? else { continue };
        for (id, job) in journal.jobs().await? {
            if name.is_none_or(|name| name == job) {
                histories.push(history(&journal, id, job, place.started, depth).await?);
            }
        }
    }
    match name {
        Some(name) if histories.is_empty() => Err(unknown_job(name)),
        _ => Ok(histories),
    }
}

/// The folder whose journal has the job called `name`, and the job.
pub async fn find(state: &StateDir, name: &str) -> Result<Place> {
    for place in places(state)? {
        if let Some(journal) = Journal::open_to_read(&place.state.journal())?
            && journal.find_job(name).await?.is_some()
        {
            return Ok(place);
        }
    }
    Err(unknown_job(name))
}

/// The host keys of a server that a person pinned with `highwater server trust`, oldest first.
pub async fn pins(state: &StateDir, server: &Endpoint) -> Result<Vec<Pin>> {
    match Journal::open_to_read(&state.journal())? {
        Some(journal) => journal.pins(&server.host, server.port).await,
        None => Ok(Vec::new()),
    }
}

/// Adds the journal's pins to whom a server and the hops on the way to it are trusted by.
pub async fn add_pins(state: &StateDir, target: &mut Target) -> Result<()> {
    let mut next = Some(target);
    while let Some(target) = next {
        let pinned = pins(state, &target.endpoint).await?;
        target.trust.journal_pins =
            pinned.iter().map(|pin| format!("{} {}", pin.key_type, pin.key)).collect();
        next = target.hop_mut();
    }
    Ok(())
}

/// Pins the host keys that were accepted at first contact, of hops too.
pub async fn pin_accepted(state: &StateDir, connection: &Connection, command: &str) -> Result<()> {
    for (endpoint, key) in connection.accepted_new_keys() {
        pin(state, endpoint, key, false, command).await?;
    }
    Ok(())
}

/// Pins a host key that a person accepted, in place of the old ones or beside them. `command` is who
/// does so, for whoever finds the journal locked.
pub async fn pin(
    state: &StateDir,
    endpoint: &Endpoint,
    shown: &HostKeyRecord,
    replace: bool,
    command: &str,
) -> Result<()> {
    let (_lock, journal) = to_note(state, command)?;
    let pin = as_pin(endpoint, shown);
    match replace {
        true => journal.replace_pins(&endpoint.host, endpoint.port, vec![pin]).await?,
        false => journal.add_pin(pin).await?,
    }
    journal.close().await
}

/// Pins the keys that a server which is trusted has proven to hold, in place of those pinned before.
pub async fn rotate(state: &StateDir, endpoint: &Endpoint, keys: &[HostKeyRecord]) -> Result<()> {
    let (_lock, journal) = to_note(state, "highwater")?;
    let pins = keys.iter().map(|key| as_pin(endpoint, key)).collect();
    journal.replace_pins(&endpoint.host, endpoint.port, pins).await?;
    journal.close().await
}

fn as_pin(endpoint: &Endpoint, shown: &HostKeyRecord) -> Pin {
    Pin {
        host: endpoint.host.clone(),
        port: endpoint.port,
        key_type: shown.key_type.clone(),
        key: shown.public_key.rsplit(' ').next().unwrap_or_default().to_owned(),
        fingerprint: shown.fingerprint.clone(),
        added: SystemClock.now(),
    }
}

/// What a round of a job of the config came to, as the journal has it.
pub async fn outcome(state: &StateDir, job: &str, round: i64) -> Result<Outcome> {
    let gone = || Error::new(Kind::Journal, "find the round of", escape(job.as_bytes()));
    let journal = Journal::open_to_read(&state.journal())?.ok_or_else(gone)?;
    let id = journal.find_job(job).await?.ok_or_else(gone)?;
    let rows = journal.rounds(id, RECENT_ROUNDS).await?;
    let row = rows.into_iter().find(|row| row.id.0 == round).ok_or_else(gone)?;
    let lists = journal.problems(row.id).await?;
    PastRound::new(job, row, lists).outcome.ok_or_else(gone)
}

/// The journal, to write a word into it: beside the process that works with it, if there is one.
/// `command` is who does so.
pub fn to_note(state: &StateDir, command: &str) -> Result<(Option<Lock>, Journal)> {
    state.create()?;
    match Lock::take(&state.lock(), command, &SystemClock) {
        Ok(lock) => Ok((Some(lock), Journal::open(&state.journal())?.journal)),
        Err(locked) if locked.kind() == Kind::Locked => match Journal::open_beside(&state.journal()) {
            Ok(journal) => Ok((None, journal)),
            Err(missing) if missing.kind() == Kind::NotFound => Err(locked),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    }
}

async fn history(
    journal: &Journal,
    id: JobId,
    job: String,
    started: Started,
    depth: Depth,
) -> Result<History> {
    let mut rounds = Vec::new();
    for row in journal.rounds(id, depth.rounds).await? {
        let lists = match depth.things {
            Some(_) => journal.problems(row.id).await?,
            None => Default::default(),
        };
        rounds.push(PastRound::new(&job, row, lists));
    }
    let (trash, things) = match depth.things {
        Some(limit) => (journal.trash_rounds(id).await?, journal.trash(id, None, limit).await?),
        None => Default::default(),
    };
    let (state, last_success) = (journal.job_state(id).await?, journal.last_success(id).await?);
    let backlog = journal.backlog(id).await?;
    Ok(History { job, started, state, last_success, rounds, trash, things, backlog, live: None })
}

fn unknown_job(name: &str) -> Error {
    Error::new(Kind::Usage, "find the job", format!("\"{}\"", escape(name.as_bytes())))
        .detail("it never had a round")
        .hint("highwater status shows the jobs that had")
}

fn folders(parent: &Path) -> Result<Vec<PathBuf>> {
    let error = |e| Error::io("list", parent.display(), e);
    let entries = match std::fs::read_dir(parent) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(error)?,
    };
    entries.map(|entry| entry.map(|e| e.path()).map_err(error)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_host_key_is_pinned_while_another_process_holds_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::resolve(Some(folder.path()), &|_| None).unwrap();
        let server = Endpoint { host: "example.org".into(), port: 22, user: "web1".into() };
        let key_type = "ssh-ed25519".to_owned();
        let shown = HostKeyRecord {
            public_key: format!("{key_type} AAAA"),
            fingerprint: "SHA256:x".into(),
            key_type,
        };
        let _lock = Lock::take(&state.lock(), "daemon", &SystemClock).unwrap();
        let too_early = pin(&state, &server, &shown, false, "test").await.unwrap_err();
        assert_eq!(too_early.kind(), Kind::Locked, "there is no journal yet");
        let _owned = Journal::open(&state.journal()).unwrap();
        pin(&state, &server, &shown, false, "test").await.unwrap();
        let pinned = pins(&state, &server).await.unwrap();
        assert_eq!(pinned.iter().map(|pin| pin.key.as_str()).collect::<Vec<_>>(), ["AAAA"]);
    }
}
