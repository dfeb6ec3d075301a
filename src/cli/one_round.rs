//! `highwater push` and `highwater pull`: one round between two ends, without a config. Its journal belongs
//! to the two ends, so that a second call goes on where the first one stopped, whatever its flags.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::account::{self, Flags, Surroundings};
use super::args::Round;
use super::ends::{self, Ends};
use super::reach::Reach;
use super::{Context, config, journals, preview, work};
use crate::clock::SystemClock;
use crate::error::{Error, Kind, Result};
use crate::filter::{Filter, Rule};
use crate::hash::Level;
use crate::job::Spec;
use crate::journal::lock::Lock;
use crate::journal::place::{self, StateDir};
use crate::outcome::{Mode, Outcome};
use crate::path::{LocalRoot, Name, RelPath, RemoteRoot, escape};
use crate::plan::guard::DeleteLimits;
use crate::remote::connect::Endpoint;
use crate::report::progress::Progress;
use crate::report::summary::{Started, failed};
use crate::transfer::throttle::Limit;

/// How long what was deleted or displaced is kept.
const TRASH: Duration = Duration::from_secs(30 * 24 * 3600);

/// How often a push looks at the far side as a whole.
const AUDIT: Duration = Duration::from_secs(24 * 3600);

/// How long a lost connection is tried again.
const RETRY_FOR: Duration = Duration::from_secs(10 * 60);

/// How old a far file must be to be taken at the first look.
const SETTLE: Duration = Duration::from_secs(2);

/// Carries once and tells what came of it.
pub async fn run(context: &Context, mode: Mode, source: &OsStr, target: &OsStr, flags: &Round) -> Result<u8> {
    let started = Instant::now();
    let ends = ends::parse(mode, source, target)?;
    let filter = filter(flags)?;
    let config = match config::load(context) {
        Ok(loaded) => loaded.config,
        Err(errors) => {
            context.show.mistakes(&errors);
            return Ok(Kind::Usage.exit_code());
        }
    };
    let account_flags = Flags {
        port: flags.port,
        identity: flags.identity.clone(),
        accept_new_host_key: flags.accept_new_host_key,
        is_one_round: true,
        ssh_config: flags.ssh_config.clone(),
        via: flags.via,
    };
    let account = account::of_end(&config, &ends.far, &account_flags, &Surroundings::of_process())?;
    let endpoint = account.target.endpoint.clone();
    let state = journals::state_dir(context)?;
    let pair = Pair { context, mode, ends: &ends, endpoint, state, flags, filter };
    let outcome = match pair.carry(account).await {
        Ok(Some(outcome)) => outcome,
        Ok(None) => return Ok(0),
        Err(error) if error.kind().exit_code() == 2 => return Err(error),
        Err(error) => failed(ends.title.clone(), mode, &error, started.elapsed()),
    };
    let code = outcome.exit_code;
    context.show.rounds(&[outcome], Started::AsCommand)?;
    Ok(code)
}

/// All that was typed.
struct Pair<'a> {
    context: &'a Context,
    mode: Mode,
    ends: &'a Ends,
    endpoint: Endpoint,
    state: StateDir,
    flags: &'a Round,
    filter: Filter,
}

/// The two roots, and the one file that is carried if it is not all that is in them.
struct Roots {
    local: LocalRoot,
    remote: RemoteRoot,
    only: Option<RelPath>,
    reach: Reach,
}

impl Pair<'_> {
    /// Does it, or shows what would be done and returns nothing.
    async fn carry(&self, account: account::Account) -> Result<Option<Outcome>> {
        let near = canonical(&self.ends.near)?;
        let reach = Reach::new(&self.state, account, self.ends.far.path.clone()).await?;
        let name = self.job_name(&near);
        let pair = self.state.pair(&place::Ends {
            local: &near,
            user: &self.endpoint.user,
            host: &self.endpoint.host,
            port: self.endpoint.port,
            remote: self.ends.far.path.as_bytes(),
        });
        let roots = self.roots(&near, reach, is_first(&pair, &name).await).await?;
        if self.flags.dry_run {
            let (journal, job) = work::to_read(&pair, &name).await?;
            let reach = roots.reach.clone().with_journal(&journal);
            preview::show(self.context, self.spec(&roots), &journal, job, reach).await?;
            return Ok(None);
        }
        pair.create()?;
        let _lock = Lock::take(&pair.lock(), self.mode.as_str(), &SystemClock)?;
        let journal = work::open_journal(self.context, &pair)?;
        let job = journal.job(&name).await?;
        let reach = roots.reach.clone().with_journal(&journal);
        let progress = Arc::new(Progress::start(&self.context.bars, &self.ends.title));
        let outcome = work::round(self.context, self.spec(&roots), &journal, job, &reach, progress).await;
        work::close(self.context, &journal).await;
        Ok(Some(outcome))
    }

    /// What the journal calls it: the same however the ends were typed.
    fn job_name(&self, near: &Path) -> String {
        let near = escape(near.as_os_str().as_bytes());
        let far = format!("{}:{}", self.endpoint, self.ends.far.path);
        match self.mode {
            Mode::Push => format!("{near} -> {far}"),
            Mode::Pull => format!("{far} -> {near}"),
        }
    }

    async fn roots(&self, near: &Path, reach: Reach, is_first: bool) -> Result<Roots> {
        let one_file = match self.mode {
            Mode::Push => is_file(near)?,
            Mode::Pull => self.context.unless_stopped(reach.is_file()).await?,
        };
        if !one_file {
            let (local, remote) = (local_root(near)?, self.ends.far.path.clone());
            return Ok(Roots { local, remote, only: None, reach });
        }
        if self.mode == Mode::Push && is_first && self.context.unless_stopped(reach.is_folder()).await? {
            return Err(self.folder_at_target(&self.ends.far.path.to_string()));
        }
        if self.mode == Mode::Pull && near.is_dir() {
            return Err(self.folder_at_target(&escape(near.as_os_str().as_bytes())));
        }
        let (parent, here) = split(near).ok_or_else(|| self.folder_at_target("DST"))?;
        let (remote, there) = self.ends.far.path.split().ok_or_else(|| self.folder_at_target("DST"))?;
        let (local, only) = (local_root(&parent)?, Some(RelPath::root().join(&here)));
        let reach = reach.one_file(remote.clone(), here, there);
        Ok(Roots { local, remote, only, reach })
    }

    fn folder_at_target(&self, target: &str) -> Error {
        Error::new(Kind::Usage, self.mode.as_str(), &self.ends.title)
            .detail(format!("the source is a file and {target} a folder"))
            .hint("Name the file at the target too: DST/NAME.")
    }

    fn spec(&self, roots: &Roots) -> Spec {
        let rate = self.flags.limit.and_then(|rate| rate.bytes_per_second());
        let go_on = "the same command with --accept-deletes".to_owned();
        Spec {
            name: self.ends.title.clone(),
            mode: self.mode,
            local: roots.local.clone(),
            remote: roots.remote.clone(),
            server: self.endpoint.to_string(),
            filter: self.filter.clone(),
            only: roots.only.clone(),
            changes: None,
            delete: self.flags.delete,
            accept: self.flags.accept_deletes,
            stays_halted: false,
            limits: DeleteLimits::default(),
            trash: Some(TRASH),
            audit: Some(AUDIT),
            settle: SETTLE,
            durable: self.flags.durable.unwrap_or(true),
            level: self.flags.verify.unwrap_or(Level::Full),
            rate: Limit::new(rate.map(std::num::NonZeroU64::get)),
            line: None,
            breadth: None,
            retry_for: RETRY_FOR,
            accept_deletes: go_on.clone(),
            go_on,
        }
    }
}

/// Whether nothing was ever agreed on between the two ends, as far as can be told before their journal is
/// locked: one that is damaged is put right only then.
async fn is_first(pair: &StateDir, name: &str) -> bool {
    match work::to_read(pair, name).await {
        Ok((journal, job)) => journal.base_is_empty(job).await.unwrap_or(true),
        Err(_) => true,
    }
}

fn filter(flags: &Round) -> Result<Filter> {
    let rule = |pattern: &std::ffi::OsString| {
        Rule::exclude(pattern.as_bytes()).map_err(|e| {
            Error::new(Kind::Usage, "read --exclude", escape(pattern.as_bytes())).detail(e.to_string())
        })
    };
    flags.exclude.iter().map(rule).collect::<Result<Vec<Rule>>>().map(Filter::new)
}

/// Whether SRC is a file. What does not exist is taken for a folder, which says better what is missing.
fn is_file(near: &Path) -> Result<bool> {
    match std::fs::metadata(near) {
        Ok(metadata) if metadata.is_dir() => Ok(false),
        Ok(metadata) if metadata.is_file() => Ok(true),
        Ok(_) => Err(Error::new(Kind::Usage, "push", escape(near.as_os_str().as_bytes()))
            .detail("it is neither a file nor a folder")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io("look at", escape(near.as_os_str().as_bytes()), e)),
    }
}

fn local_root(path: &Path) -> Result<LocalRoot> {
    LocalRoot::new(path).map_err(|e| Error::io("find", escape(path.as_os_str().as_bytes()), e))
}

fn split(path: &Path) -> Option<(PathBuf, Name)> {
    let name = Name::new(path.file_name()?.as_bytes()).ok()?;
    Some((path.parent()?.into(), name))
}

/// The path with all links resolved, as far as it exists.
fn canonical(path: &Path) -> Result<PathBuf> {
    let error = |e| Error::io("find", escape(path.as_os_str().as_bytes()), e);
    let absolute = std::path::absolute(path).map_err(error)?;
    let mut missing = Vec::new();
    let mut there = absolute.as_path();
    loop {
        match there.canonicalize() {
            Ok(resolved) => return Ok(missing.iter().rev().fold(resolved, |path, name| path.join(name))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let (Some(parent), Some(name)) = (there.parent(), there.file_name()) else {
                    return Ok(absolute.clone());
                };
                missing.push(name.to_owned());
                there = parent;
            }
            Err(e) => return Err(error(e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_resolved_and_what_is_missing_stays_as_typed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("real")).unwrap();
        std::os::unix::fs::symlink("real", root.join("link")).unwrap();
        let check = |typed: &str, expected: &str| {
            assert_eq!(canonical(&root.join(typed)).unwrap(), root.join(expected), "{typed}");
        };
        check("real", "real");
        check("link", "real");
        check("link/new/x", "real/new/x");
        check("none/x", "none/x");
    }
}
