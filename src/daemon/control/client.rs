//! The other side of the control socket: commands that ask the daemon.

use std::io;
use std::path::Path;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::MOST_ANSWER_BYTES;
use super::protocol::{Answer, Ask, Told};
use crate::error::{Error, Kind, Result};

/// A connection to a daemon.
pub struct Client(BufReader<UnixStream>);

impl Client {
    /// Connects to the daemon whose socket this is; `None`: there is none.
    pub async fn connect(socket: &Path) -> Result<Option<Self>> {
        match UnixStream::connect(socket).await {
            Ok(stream) => Ok(Some(Self(BufReader::new(stream)))),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                Ok(None)
            }
            Err(e) => Err(Error::io("reach the daemon", "", e)),
        }
    }

    /// Asks, and waits for the answer for as long as it takes. Errors if the daemon says so, or ends.
    pub async fn ask(&mut self, ask: &Ask) -> Result<Told> {
        let lost = |e: io::Error| Error::new(Kind::Failed, "ask the daemon", "").because(e);
        self.0.write_all(ask.line()?.as_bytes()).await.map_err(lost)?;
        let mut line = String::new();
        (&mut self.0).take(MOST_ANSWER_BYTES).read_line(&mut line).await.map_err(lost)?;
        if line.is_empty() {
            return Err(Error::new(Kind::Failed, "ask the daemon", "").detail("it ended"));
        }
        let answer: Answer = serde_json::from_str(&line).map_err(|e| {
            let error = Error::new(Kind::Failed, "understand the daemon", "").because(e);
            error.hint("It may be of another version: restart it.")
        })?;
        match answer.told {
            Told::Error(refusal) => Err(refusal.into_error()),
            told => Ok(told),
        }
    }
}
