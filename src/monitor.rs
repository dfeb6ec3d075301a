//! What the core tells whoever watches: progress, as it happens. Nothing depends on being heard.

use std::sync::Mutex;

use crate::error::Problem;
use crate::path::RelPath;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A connection is being made to this server.
    Connecting {
        /// `user@host:port`.
        server: String,
    },
    /// The connection was lost; the next try comes after this many milliseconds.
    Reconnecting {
        /// Why it was lost.
        reason: String,
        /// The wait.
        delay_millis: u64,
    },
    /// So many entries have been looked at so far.
    Scanned {
        /// Entries on the near side.
        near: u64,
        /// Entries on the far side.
        far: u64,
    },
    /// More work was planned.
    Planned {
        /// Files to carry.
        files: u64,
        /// Their content.
        bytes: u64,
    },
    /// Content crossed the wire.
    Moved {
        /// How much.
        bytes: u64,
    },
    /// Content was read again to verify it.
    Verified {
        /// How much.
        bytes: u64,
    },
    /// A large file goes on after content that an earlier attempt, of this round or another, had carried.
    Resumed {
        /// Its path.
        path: RelPath,
        /// How much.
        bytes: u64,
    },
    /// A file stands at its final name.
    Placed {
        /// Its path.
        path: RelPath,
        /// Its size.
        bytes: u64,
    },
    /// Something the round survives.
    Problem(Problem),
    /// Something that was put right on the way.
    Recovered(Problem),
}

/// Hears events. Must not block: it is called from the middle of the work.
pub trait Monitor: Send + Sync {
    /// One event.
    fn event(&self, event: Event);
}

/// Hears nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Monitor for Silent {
    fn event(&self, _event: Event) {}
}

/// Remembers everything, for tests.
#[derive(Debug, Default)]
pub struct Recording(Mutex<Vec<Event>>);

impl Recording {
    /// What was heard so far.
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }
}

impl Monitor for Recording {
    fn event(&self, event: Event) {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).push(event);
    }
}
