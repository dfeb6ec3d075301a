//! `highwater daemon`: watch, schedule, keep going.

use std::sync::Arc;

use super::rounds::Rounds;
use super::{Context, args, config, journals, stop, work};
use crate::clock::{SystemClock, SystemRandom};
use crate::daemon::systemd::Manager;
use crate::daemon::{self, Places, Setup};
use crate::error::{Error, Kind, Result};
use crate::journal::lock::Lock;

/// Runs until a signal ends it.
pub async fn run(context: &Context) -> Result<u8> {
    let signals = stop::listen_beside()?;
    let loaded = match config::load(context) {
        Ok(loaded) => loaded,
        Err(errors) => {
            context.show.mistakes(&errors);
            return Ok(Kind::Usage.exit_code());
        }
    };
    if loaded.config.jobs.is_empty() {
        let error = Error::new(Kind::Usage, "run", "the daemon").detail("the config has no jobs");
        return Err(error.hint("Write one, see highwater config check; or name a config with --config FILE."));
    }
    context.log.to(loaded.config.log.as_ref())?;
    loaded.notes.iter().for_each(|note| tracing::warn!("{note}"));
    let state = journals::state_dir(context)?;
    state.create()?;
    let _lock = Lock::take(&state.lock(), "highwater daemon", &SystemClock)?;
    let journal = work::open_journal(context, &state)?;
    let setup = Setup {
        works: Rounds::new(context, &state),
        config: loaded.config,
        journal: journal.clone(),
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        stop: context.stop.clone(),
        signals,
        socket: state.socket(),
        manager: Manager::of(&|name| std::env::var_os(name)),
        places: Places::default(),
    };
    let result = daemon::run(setup).await;
    work::close(context, &journal).await;
    result.map(|()| 0)
}

/// The nice value that gives way to all others; ionice(1): without a class of its own, a process has the disk
/// priority that goes with it.
const NICEST: i32 = 19;

/// Takes the lowest priority if the flags ask for it: of this thread, and of those it starts (nice(2) on Linux).
pub fn give_way(flags: &args::Daemon) -> Result<()> {
    if flags.low_priority {
        rustix::process::nice(NICEST).map_err(|e| Error::io("take a low priority", "", e.into()))?;
    }
    Ok(())
}
