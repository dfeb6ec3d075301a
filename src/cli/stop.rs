//! SIGINT and SIGTERM: the first asks for a graceful end, the second ends at once.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level;
use tokio::sync::watch;

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
