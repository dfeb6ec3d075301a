//! SIGINT and SIGTERM: the first asks for a graceful end, the second ends at once. For the daemon also SIGHUP
//! and SIGUSR1.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use signal_hook::low_level;
use tokio::sync::{mpsc, watch};

use crate::daemon::Signal;
use crate::error::{Error, Result};

/// Exit code of a program that was told to stop.
const INTERRUPTED: i32 = 130;

/// Listens for the rest of the process. What is returned becomes true when the work should end: no new
/// file is begun, what is under way is left so that the next round goes on with it.
pub fn listen() -> Result<watch::Receiver<bool>> {
    let error = |e| Error::io("listen for signals", "", e);
    let (stop, asked) = watch::channel(false);
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(error)?;
    let thread = std::thread::Builder::new().name("signals".into());
    thread
        .spawn(move || {
            for _ in signals.forever() {
                if stop.send_replace(true) {
                    low_level::exit(INTERRUPTED);
                }
                tracing::warn!("stopping; a second signal stops at once");
            }
        })
        .map_err(error)?;
    Ok(asked)
}

/// Signals that wait to be heard; more of them say no more.
const MOST_WAITING: usize = 4;

/// Listens for SIGHUP and SIGUSR1, for the rest of the process.
pub fn listen_beside() -> Result<mpsc::Receiver<Signal>> {
    let error = |e| Error::io("listen for signals", "", e);
    let (told, heard) = mpsc::channel(MOST_WAITING);
    let mut signals = Signals::new([SIGHUP, SIGUSR1]).map_err(error)?;
    let thread = std::thread::Builder::new().name("more signals".into());
    thread
        .spawn(move || {
            for signal in signals.forever() {
                let signal = if signal == SIGHUP { Signal::Reload } else { Signal::Report };
                if let Err(error) = told.try_send(signal) {
                    tracing::debug!("a signal is passed over: {error}");
                }
            }
        })
        .map_err(error)?;
    Ok(heard)
}
