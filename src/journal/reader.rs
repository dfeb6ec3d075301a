//! Connections for reading: opened when needed, a few kept. No read spans two calls, so none holds
//! the write-ahead log back.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rusqlite::Connection;

use super::schema;

/// Idle connections that are kept.
const KEPT_CONNECTIONS: usize = 4;

pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub fn new(path: &Path) -> Self {
        Self { path: path.into(), idle: Mutex::default() }
    }

    /// Runs `work` on a connection that cannot write. Blocks for as long as the disk takes.
    pub fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let kept = self.idle().pop();
        let connection = match kept {
            Some(connection) => connection,
            None => open(&self.path)?,
        };
        let result = work(&connection);
        self.keep(connection);
        result
    }

    /// Closes the idle connections.
    pub fn close(&self) {
        self.idle().clear();
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle();
        if idle.len() < KEPT_CONNECTIONS {
            idle.push(connection);
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(|e| e.into_inner())
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = schema::connect(path)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}
